/* core/run/embedded.h
 *
 * The two programs inside our binary: the monitor that looks after one container, and pause, the init of a shared PID
 * namespace. Both are complete static ELF files; embedded.S puts them here.
 */
#ifndef CORACLE_CORE_RUN_EMBEDDED_H
#define CORACLE_CORE_RUN_EMBEDDED_H

extern const unsigned char coracle_monitor_elf[];
extern const unsigned char coracle_monitor_elf_end[]; /* one past the last byte */

extern const unsigned char coracle_pause_elf[];
extern const unsigned char coracle_pause_elf_end[];

#endif
