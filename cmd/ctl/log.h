/* cmd/ctl/log.h
 *
 * Reads a CRI log file: lines of "TIME stdout|stderr F|P text", where P says that the line goes on in the next entry. The file may
 * be rotated meanwhile: renamed, and a new one begun at its path.
 */
#ifndef CORACLE_CMD_CTL_LOG_H
#define CORACLE_CMD_CTL_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/str.h"

struct log_entry {
	struct str time, text;
	bool is_stderr, partial;
};
/* One line without its newline. -1: not such a line. */
NODISCARD int log_entry_parse(struct str line, struct log_entry *ret);

struct log_reader {
	const char *path;   /* borrowed */
	int fd;             /* -1: not there (yet) */
	int watch;          /* inotify on the file's directory, -1: none */
	struct buf pending; /* read, not yet a whole line */
	bool times;         /* print them */
	bool begins;        /* the next entry of stdout begins a line: print its time */
	bool begins_err;
};

/* @tail: how many entries of the end to begin with; negative: all. A file that is not there yet is fine if @watch. */
NODISCARD int log_open(struct log_reader *reader, const char *path, int64_t tail, bool watch,
                       struct err *err);
/* Print what is there: stdout's to stdout, stderr's to stderr. -1 when they or the file fail. */
NODISCARD int log_print(struct log_reader *reader, struct err *err);
/* Wait until the file has grown, perhaps; @stop_fd (-1: none) readable, or @timeout_ms over. True: stop_fd is. */
bool log_wait(struct log_reader *reader, int stop_fd, int timeout_ms);
void log_close(struct log_reader *reader);
DEFINE_CLEANUP(struct log_reader, log_close);

struct ctl;
/*
 * Print @path until the container has ended (all that it wrote is there by then), or @signals is readable.
 * Returns: 1 it ended, 0 interrupted, -1 @err.
 */
NODISCARD int log_follow(struct ctl *ctl, struct log_reader *reader, const char *id, int signals,
                         struct err *err);

#endif
