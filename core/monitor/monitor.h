/* core/monitor/monitor.h
 *
 * The monitor: parent of one container, for as long as that container lives.
 *
 *   CREATING --create ok--> CREATED --start ok--> RUNNING
 *      |                       |                     |
 *      | create failed         +------ reaped -------+
 *      v                                  v
 *   FAILED (told, then ends)           EXITED: record written, rest of the cgroup killed, output
 *                                      drained, log closed, record renamed into spool/new; then
 *                                      ends, and its lifetime lock falls
 *
 * What the order of things guarantees:
 *  - The exit record exists, block and all, before the container does; filling it needs no space.
 *  - While create or start runs, nobody but the runtime is reaped: init's pid stays ours until we
 *    know it, and start's success is known before init's exit is told.
 *  - Whoever sees the record in new/ finds the complete log.
 *  - Nothing a client or a daemon does stops the reaping. Without a daemon the record is fsynced
 *    here.
 *
 * Draining: until end of file on all outputs, else 500 ms after the last byte, 5 s in all. Normally
 * everyone who could hold them is dead by then; a process that got the descriptor out of the
 * container may have them for ever.
 *
 * Memory: no malloc, no stdio. Everything large is one anonymous mapping whose pages exist once
 * they are used.
 */
#ifndef CORACLE_CORE_MONITOR_MONITOR_H
#define CORACLE_CORE_MONITOR_MONITOR_H

/* The whole program behind its descriptors (enum monitor_fd). Returns the exit status. */
int monitor_main(void);

#endif
