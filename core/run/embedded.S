/* core/run/embedded.S: the monitor and pause programs, byte for byte. Declared in embedded.h; make passes the paths. */
	.section .rodata.coracle_embedded, "a", @progbits

	.balign 64
	.globl coracle_monitor_elf
	.globl coracle_monitor_elf_end
coracle_monitor_elf:
	.incbin MONITOR
coracle_monitor_elf_end:

	.balign 64
	.globl coracle_pause_elf
	.globl coracle_pause_elf_end
coracle_pause_elf:
	.incbin PAUSE
coracle_pause_elf_end:

	.section .note.GNU-stack, "", @progbits
