/* core/state/exit_record.h
 *
 * What a monitor leaves behind: one small file per container, written in place long before it is
 * needed, so that a full disk cannot stop an exit from being told. The monitor creates it UNFILLED
 * when it starts, keeps pid and start time in it as they become known, and fills it with one pwrite
 * when the container's init was reaped.
 *
 * Layout, little endian, EXIT_RECORD_BYTES long (docs/wire.md shows the same table):
 *
 *   offset size field        unit and meaning
 *        0    8 magic        "coraexit"
 *        8    2 version      1
 *       10    2 flags        bit 0 filled, bit 1 oom; all others 0
 *       12    4 exit_code    0..255; 128 + n when signal n ended it; 0 while unfilled
 *       16   64 id           container id, NUL padded, not NUL terminated when 64 long
 *       80   16 boot_id      /proc/sys/kernel/random/boot_id as bytes
 *       96    8 start_ticks  clock ticks since boot, field 22 of /proc/PID/stat; 0: no init yet
 *      104    8 started_ns   ns since 1970, signed; 0: never started
 *      112    8 exited_ns    ns since 1970, signed; 0 while unfilled
 *      120    4 pid          0: no init yet
 *      124    4 wstatus      raw wait status; 0 while unfilled
 *      128    4 reserved     0
 *      132    4 crc          CRC-32C of bytes 0..131
 *
 * Shared by monitor and daemon: pure, no allocation, no I/O.
 */
#ifndef CORACLE_CORE_STATE_EXIT_RECORD_H
#define CORACLE_CORE_STATE_EXIT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define EXIT_RECORD_BYTES   136
#define EXIT_RECORD_VERSION 1
#define EXIT_RECORD_ID_MAX  64

struct exit_record {
	char id[EXIT_RECORD_ID_MAX + 1];
	bool filled; /* the exit is known; else only what the monitor knew so far */
	bool oom;    /* the OOM killer struck in the container's cgroup */
	int32_t pid;
	uint64_t start_ticks;
	int64_t started_ns; /* realtime; 0: never started */
	int64_t exited_ns;  /* realtime; >= started_ns */
	int wstatus;        /* as wait() gave it */
	uint32_t exit_code; /* 0..255, derived from wstatus */
	uint8_t boot_id[16];
};

enum exit_record_kind {
	EXIT_RECORD_DAMAGED = -1,
	EXIT_RECORD_UNFILLED = 0, /* made by a monitor that has seen no exit (yet) */
	EXIT_RECORD_FILLED = 1,
};

/*
 * exit_record_decode - read one file's bytes.
 * Returns: an enum exit_record_kind. On DAMAGED @err says what is wrong and @ret is untouched.
 * Errors:  DATA_LOSS (length, magic, checksum, a field that contradicts another);
 * FAILED_PRECONDITION when a newer version
 *          wrote it (the checksum is good, the meaning unknown).
 */
NODISCARD int exit_record_decode(const void *data, size_t len, struct exit_record *ret,
                                 struct err *err);

/* The same question without words: is this a good record that tells an exit? For the monitor,
 * which has no err. */
NODISCARD bool exit_record_is_filled(const void *data, size_t len);

/* exit_record_encode - @rec must hold a valid id; exit_code is taken as it stands. Cannot fail. */
void exit_record_encode(const struct exit_record *rec, uint8_t ret[EXIT_RECORD_BYTES]);

/* 0..255: exit status, or 128 + signal. */
uint32_t exit_code_from_wstatus(int wstatus);

/* 1..64 characters of [0-9A-Za-z_.-], not starting with '.': what may name a record, a socket, a
 * lock. */
bool exit_record_id_valid(const char *id);

#endif
