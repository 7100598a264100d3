/* core/monitor/proto.h
 *
 * What daemon and monitor say to each other.
 *
 * Transport: unix SOCK_SEQPACKET, one frame per packet, little endian. The first connection is a
 * socketpair that the monitor inherits; afterwards anybody who may open <state>/monitors/<id>.sock
 * (mode 0600) connects as often as he likes. On an accepted connection the monitor speaks first: a
 * STATUS frame, with which a new daemon knows all there is to know, the results of create and start
 * included. On the inherited connection the daemon speaks first: CONFIG.
 *
 *   frame header, 8 bytes
 *   offset size field
 *        0    1 version   of the frame's sender, see below
 *        1    1 type      enum monitor_frame
 *        2    2 reserved  0
 *        4    4 tag       chosen by who asks, repeated in the answer; 0 in what nobody asked for
 *
 * Versions: a monitor outlives its daemon, so a daemon also serves the monitors of the two releases
 * before it. The monitor's STATUS carries the monitor's version; towards it the daemon uses only
 * what that version knows. A monitor answers a frame type it does not know with
 * RESULT(MONITOR_UNSUPPORTED). Fields are only ever added at the end of the fixed part of a frame,
 * whose length is sent along. CONFIG and the descriptor map below are exempt: they pass between
 * parts of one binary.
 *
 * Shared by daemon and monitor: no allocation, no stdio.
 */
#ifndef CORACLE_CORE_MONITOR_PROTO_H
#define CORACLE_CORE_MONITOR_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"

#define MONITOR_PROTO_VERSION 1

/* Descriptors a monitor is born with (0, 1, 2: /dev/null). The op lock is one more, its number
 * is in CONFIG. */
enum monitor_fd {
	MONITOR_FD_CONTROL = 3, /* SEQPACKET socketpair to the daemon */
	MONITOR_FD_LOCK = 4,    /* lifetime lock, flock()ed */
	MONITOR_FD_LISTEN = 5,  /* <state>/monitors/<id>.sock, listening */
	MONITOR_FD_DIR = 6,     /* <state>/monitors */
	MONITOR_FD_TMP = 7,     /* spool/tmp */
	MONITOR_FD_NEW = 8,     /* spool/new */
	MONITOR_FD_OPLOCK = 9,  /* only with MONITOR_HAS_OPLOCK */
	MONITOR_FD_END = 10,
};

enum monitor_frame {
	/* daemon -> monitor */
	MONITOR_CONFIG =
		1,         /* first on the inherited connection; RESULT: the container is created */
	MONITOR_START = 2, /* u32 timeout_ms; may carry an op lock descriptor; RESULT */
	MONITOR_CALL = 3,  /* u32 timeout_ms, argv as NUL terminated strings; the same; RESULT */
	MONITOR_REOPEN = 4, /* RESULT once the new log file is open and in use */
	MONITOR_RESIZE = 5, /* u16 width, u16 height; no answer */
	MONITOR_QUERY = 6,  /* STATUS */
	/* The exit, or the failed create, is on record elsewhere: end, keep nothing. No answer */
	MONITOR_RELEASE = 7,
	/* attach client -> monitor (RESIZE too) */
	/* u8 flags MONITOR_ATTACH_*; makes the connection an attach connection; RESULT */
	MONITOR_ATTACH = 16,
	MONITOR_STDIN = 17,     /* bytes */
	MONITOR_STDIN_EOF = 18, /* the client's input ended: see attach.h for what follows */
	/* monitor -> daemon */
	MONITOR_RESULT = 32,
	MONITOR_STATUS = 33,
	/* The exit record's bytes: it could not be renamed into new/, which is tried each second */
	MONITOR_RECORD = 34,
	/* i32 errno, u64 bytes of output lost so far: when it begins, then each minute */
	MONITOR_LOG_LOST = 35,
	/* monitor -> attach client */
	MONITOR_STDOUT = 48, /* bytes */
	MONITOR_STDERR = 49, /* bytes */
	MONITOR_CLOSE = 50,  /* u8 enum monitor_close; the last frame */
};

enum monitor_attach_flags {
	MONITOR_ATTACH_STDIN = 1,
	MONITOR_ATTACH_STDOUT = 2,
	MONITOR_ATTACH_STDERR = 4,
};

enum monitor_close {
	MONITOR_CLOSE_EXITED = 1,   /* the container's output reached its end */
	MONITOR_CLOSE_SLOW = 2,     /* the client did not read: output for it was lost */
	MONITOR_CLOSE_DETACHED = 3, /* the client's input ended and so did its part */
};

/* Why a request failed; the text that follows in RESULT says more. */
enum monitor_why {
	MONITOR_OK = 0,
	MONITOR_RUNTIME_FAILED = 1, /* it ended otherwise than with 0: wstatus, text = its words */
	MONITOR_TIMED_OUT = 2,      /* it was killed at its deadline */
	MONITOR_SYS = 3,            /* a system call failed: sys = errno, text = which */
	MONITOR_WRONG_STATE = 4,    /* not created, started, exited, another call runs: text */
	MONITOR_UNSUPPORTED = 5,    /* this monitor does not know that frame */
	MONITOR_BAD_REQUEST = 6,    /* the frame makes no sense */
};

enum monitor_stage {
	MONITOR_CREATING = 1, /* runtime create is running */
	MONITOR_FAILED = 2,   /* it failed; the monitor waits until somebody has been told */
	MONITOR_CREATED = 3,
	MONITOR_RUNNING = 4, /* runtime start succeeded */
	MONITOR_EXITED = 5,  /* reaped; output is being drained or the record delivered */
};

/*
 * RESULT: this fixed part (its length first, so that later versions may append), then text up to
 * the end of the packet.
 *
 *    0 u16 length = 36   2 u8 why   3 u8 stage   4 i32 wstatus (of the runtime)   8 i32 sys (errno)
 *   12 u32 pid   16 u64 start_ticks   24 i64 started_ns   32 u32 0
 */
#define MONITOR_RESULT_BYTES 36
struct monitor_result_frame {
	uint8_t why, stage;
	int32_t wstatus, sys;
	uint32_t pid;
	uint64_t start_ticks;
	int64_t started_ns;
	const char *text; /* not NUL terminated, inside the frame */
	size_t text_len;
};

/*
 * STATUS: the same shape, then the text of the last create or start that failed.
 *
 *    0 u16 length = 56   2 u8 stage   3 u8 MONITOR_STATUS_*   4 u8 why (of that failure)   5 0[3]
 *    8 i32 wstatus (of init)   12 u32 pid   16 u64 start_ticks   24 i64 started_ns
 *   32 i64 exited_ns   40 u64 log bytes lost   48 u32 attached clients   52 i32 sys (of that failure)
 */
#define MONITOR_STATUS_BYTES 56
enum monitor_status_flags {
	MONITOR_STATUS_TTY = 1,
	MONITOR_STATUS_OOM = 2,
	MONITOR_STATUS_CALLING = 4, /* a runtime call is running */
	MONITOR_STATUS_STDIN = 8,   /* the container's input is open */
};
struct monitor_status_frame {
	uint8_t stage, flags, why;
	int32_t wstatus, sys;
	uint32_t pid, attached;
	uint64_t start_ticks, log_lost;
	int64_t started_ns, exited_ns;
	const char *text;
	size_t text_len;
};

/*
 * CONFIG: this fixed part, then NUL terminated strings: id, bundle, log path ("" = none), the
 * runtime's argv, cgroup directories.
 *
 *    0 u32 flags   4 u32 max_line (bytes)   8 u32 timeout_ms (of create)   12 u32 io_uid
 *   16 u32 io_gid   20 u16 strings in argv   22 u16 cgroup directories
 */
#define MONITOR_CONFIG_BYTES 24
enum monitor_config_flags {
	MONITOR_TTY = 1,
	MONITOR_WANT_STDIN = 2,
	MONITOR_STDIN_ONCE = 4,
	MONITOR_KILL_CGROUP = 8,
	MONITOR_HAS_OPLOCK = 16,
};
#define MONITOR_ARGV_MAX    48 /* what the monitor appends itself not counted */
#define MONITOR_CGROUPS_MAX 20
struct monitor_config {
	uint32_t flags, max_line, timeout_ms, io_uid, io_gid;
	const char *id, *bundle, *log_path;
	const char *runtime[MONITOR_ARGV_MAX + 1]; /* NULL terminated; [0] is an absolute path */
	const char *cgroups[MONITOR_CGROUPS_MAX + 1];
};

#define MONITOR_HEADER_BYTES 8
#define MONITOR_DATA_MAX     8192  /* bytes of output or input in one frame */
#define MONITOR_TEXT_MAX     4096  /* of a RESULT or STATUS */
#define MONITOR_FRAME_MAX    16384 /* any frame but CONFIG */
#define MONITOR_CONFIG_MAX   65536

struct monitor_header {
	uint8_t version, type;
	uint32_t tag;
};

void monitor_put_header(uint8_t *frame, uint8_t type, uint32_t tag);
/* 0, or -1: shorter than a header, version 0 or reserved bits set. */
NODISCARD int monitor_get_header(const void *frame, size_t len, struct monitor_header *ret);

/* Whole frames. Encoders return the length; 0 when @size is too small. Decoders get the payload
 * behind the header and return 0 or -1; strings in what they return point into the payload. Text
 * longer than MONITOR_TEXT_MAX keeps its end. */
NODISCARD size_t monitor_encode_config(const struct monitor_config *config, uint32_t tag,
                                       uint8_t *frame, size_t size);
NODISCARD int monitor_decode_config(const uint8_t *payload, size_t len, struct monitor_config *ret);
NODISCARD size_t monitor_encode_call(uint32_t timeout_ms, const char *const *argv, uint32_t tag,
                                     uint8_t *frame, size_t size);
/* @argv has room for MONITOR_ARGV_MAX + 1 pointers. */
NODISCARD int monitor_decode_call(const uint8_t *payload, size_t len, uint32_t *ret_timeout_ms,
                                  const char **argv);
NODISCARD size_t monitor_encode_result(const struct monitor_result_frame *result, uint32_t tag,
                                       uint8_t *frame, size_t size);
NODISCARD int monitor_decode_result(const uint8_t *payload, size_t len,
                                    struct monitor_result_frame *ret);
NODISCARD size_t monitor_encode_status(const struct monitor_status_frame *status, uint32_t tag,
                                       uint8_t *frame, size_t size);
NODISCARD int monitor_decode_status(const uint8_t *payload, size_t len,
                                    struct monitor_status_frame *ret);

#endif
