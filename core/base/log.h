/* core/base/log.h
 *
 * One line per event. Under journald (stderr is the journal's stream, JOURNAL_STREAM matches):
 * native fields through /run/systemd/journal/socket, else "<N>" prefixed lines on stderr; on a
 * terminal or file: readable text with time. Below core/life code returns errors and stays silent
 * (debug excepted). Never request bodies, environments, credentials.
 *
 * Thread: any. The level and the sink are the only mutable file-scope state in the tree.
 */
#ifndef CORACLE_CORE_BASE_LOG_H
#define CORACLE_CORE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"

/* syslog severities */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* What a line is about; every member optional. Becomes journal fields CORACLE_OP, CORACLE_SANDBOX,
 * ... and in text a suffix. */
struct log_ctx {
	const char *op;
	const char *sandbox;
	const char *container;
	const char *image;
	const char *plugin;
	uint64_t seq;
	int sys;          /* errno, 0 if none */
	const char *code; /* code_name(), NULL if none */
};

/* Called once by an applet before the first line and the first thread. @name is the journal's
 * SYSLOG_IDENTIFIER; text lines start with it when it is not "coracle". Without it: stderr text,
 * level info. */
void log_init(const char *name, enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* "error" "warn" "notice" "info" "debug" -> level, -1 if unknown */
int log_level_parse(const char *text);

void log_line(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

/* ctx may be NULL */
#define log_error(ctx, ...)  log_line(LOG_LEVEL_ERROR, ctx, __VA_ARGS__)
#define log_warn(ctx, ...)   log_line(LOG_LEVEL_WARN, ctx, __VA_ARGS__)
#define log_notice(ctx, ...) log_line(LOG_LEVEL_NOTICE, ctx, __VA_ARGS__)
#define log_info(ctx, ...)   log_line(LOG_LEVEL_INFO, ctx, __VA_ARGS__)
#define log_debug(ctx, ...)                                                                        \
	do {                                                                                       \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                  \
			log_line(LOG_LEVEL_DEBUG, ctx, __VA_ARGS__);                               \
	} while (0)

/* A place that may repeat without end logs through one of these: at most @burst lines per
 * @interval_ms, then one line that says how many were dropped. Zero-initialise with burst and
 * interval set; embedded in the owner, not global. */
struct log_limit {
	uint32_t burst, interval_ms;
	int64_t window_ns;
	uint32_t used, dropped;
};
NODISCARD bool log_limit_pass(struct log_limit *limit);

#endif
