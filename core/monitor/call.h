/* core/monitor/call.h
 *
 * One run of the OCI runtime: spawn, capture what it says, kill it at its deadline.
 *
 * The child gets a session of its own, default signals, our environment, three standard descriptors
 * and the op lock (whose file it tells its session, as every child of an op does:
 * core/loop/oplock.h); nothing else survives its exec. A program that cannot be executed says so on
 * its standard error and ends with 127.
 */
#ifndef CORACLE_CORE_MONITOR_CALL_H
#define CORACLE_CORE_MONITOR_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/monitor/proto.h"

enum call_kind { CALL_NONE, CALL_CREATE, CALL_START, CALL_OTHER };

#define CALL_TEXT (2 * MONITOR_TEXT_MAX)

struct call {
	enum call_kind kind; /* CALL_NONE: nothing is running */
	pid_t pid;
	int out_fd; /* its words, nonblocking; -1: none */
	uint32_t tag;
	int conn;            /* who asked; -1: gone */
	int64_t deadline_ns; /* boot clock */
	bool timed_out;
	char *text; /* CALL_TEXT bytes; the last MONITOR_TEXT_MAX of what was said are in it */
	size_t text_len;
};

struct call_args {
	enum call_kind kind;
	const char *const *argv;
	int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null; stdout and stderr: captured */
	int oplock_fd;                      /* -1: none */
	int64_t deadline_ns;
	uint32_t tag;
	int conn;
};

/* 0, or -errno with nothing changed. */
NODISCARD int call_spawn(struct call *call, const struct call_args *args);
/* Reads what is there; false at its end (out_fd is closed then). */
bool call_read(struct call *call);
void call_add_text(struct call *call, const void *data, size_t len);
/* Where the last MONITOR_TEXT_MAX bytes begin. */
const char *call_text(const struct call *call, size_t *ret_len);
void call_kill(const struct call *call); /* the whole session's group */
/* It was reaped: out_fd is read to what is there and closed. kind, tag and conn stay for the
 * answer. */
void call_reaped(struct call *call);

#endif
