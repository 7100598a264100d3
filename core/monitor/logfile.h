/* core/monitor/logfile.h
 *
 * A container's log in the CRI text form, one record per line:
 *
 *   2026-11-25T02:23:13.000000001Z SP stdout|stderr SP F|P SP content LF
 *
 * F ends a line, P is a piece of one that goes on in the next record of the same stream. Time is
 * UTC with nine digits, taken once per read. "\r\n" counts as a line end; any other CR is content.
 * A line longer than max_line is cut after exactly max_line bytes. What is unfinished stays in
 * memory until its end, the cut or the end of the stream arrives: only then it is written as P.
 *
 * Every write holds whole records, so O_APPEND keeps them whole. What cannot be written (full disk,
 * error) is dropped and counted: a container never waits for a disk. A record that the kernel took
 * only in part is cut off the file again.
 *
 * No allocation: the stream's buffer belongs to the caller.
 */
#ifndef CORACLE_CORE_MONITOR_LOGFILE_H
#define CORACLE_CORE_MONITOR_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"

#define LOG_LINE_DEFAULT 16384
#define LOG_LINE_MAX     (1024 * 1024) /* what "unlimited" means */
#define LOG_READ         16384         /* bytes asked for in one read */

struct logfile {
	int fd;           /* -1: nothing is kept, all output is dropped silently */
	const char *path; /* borrowed; "" when there is no log */
	uint64_t lost;    /* bytes of output that could not be written */
	int error;        /* errno of the last failed write; 0 after one that worked */
	bool torn;        /* the file ends within a record that could not be cut off */
};

/* One output stream of the container. buf is LOG_STREAM_BYTES(max_line) long. */
struct logstream {
	const char *name; /* "stdout" or "stderr" */
	uint8_t *buf;
	size_t size, len; /* buf[0..len) is content that is in no record yet */
	size_t scanned;   /* no LF below this offset */
	size_t max_line;
	size_t touched; /* high-water mark of len, for logstream_trim() */
};
#define LOG_STREAM_BYTES(max_line) ((max_line) + LOG_READ)

/* Opens for appending, made 0640 with missing directories 0755 when it is not there. path "" is
 * fine: fd stays -1. 0 or -errno: -ELOOP for a symbolic link, -EINVAL for what is no regular
 * file. @path is borrowed. */
NODISCARD int logfile_open(struct logfile *log, const char *path);
/* A new file under the same path: opened first, then swapped in; on failure the old one stays in
 * use. */
NODISCARD int logfile_reopen(struct logfile *log);
void logfile_close(struct logfile *log);

void logstream_init(struct logstream *stream, const char *name, uint8_t *buf, size_t max_line);
/* Where the next bytes go; never NULL, *ret_room >= LOG_READ / 2. */
uint8_t *logstream_room(struct logstream *stream, size_t *ret_room);
/* @len bytes were put there at @now_ns (realtime): write what they complete. */
void logstream_grew(struct logstream *stream, struct logfile *log, size_t len, int64_t now_ns);
/* The stream ended: the rest goes out as P. */
void logstream_finish(struct logstream *stream, struct logfile *log, int64_t now_ns);
/* Nothing more is coming for now: give memory beyond the first page back. The buffer must be
 * page aligned. */
void logstream_trim(struct logstream *stream);

#endif
