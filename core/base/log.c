/* core/base/log.c
 *
 * A line is composed once: "Operation: what happened sandbox=... container=...". Where it goes was
 * decided by log_init:
 *
 *   journal   native protocol: the same text as MESSAGE plus one field per member of the context
 *   prefix    "<4>text" on stderr, which journald or a similar reader turns into a priority
 *   text      "2026-11-25T02:23:13.123Z warn  text" on stderr
 *
 * Nothing here may block a caller for long or fail in a way a caller has to handle. The journal
 * socket is opened per line: children close every descriptor but their own, and a number kept here
 * could be somebody else's file by then. When journald does not read, lines are dropped and
 * counted; the next one that gets through says how many.
 */
#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/str.h"

#define JOURNAL_SOCKET  "/run/systemd/journal/socket"
#define MAX_LINE        (1024 * 1024)
#define SHORT_ID        12 /* as the tools of this trade show ids */
#define JOURNAL_WAIT_MS 5

enum sink { SINK_TEXT, SINK_PREFIX, SINK_JOURNAL };

/* The only mutable file-scope state: the level, and what log_init found out. */
static _Atomic int current_level = LOG_LEVEL_INFO;
static _Atomic int current_sink = SINK_TEXT;
static _Atomic uint32_t lines_dropped;
static char program[32] = "coracle"; /* written by log_init, before there are threads */

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warn";
	case LOG_LEVEL_NOTICE:
		return "notice";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "?";
}

int log_level_parse(const char *text)
{
	for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
		if (streq(text, level_name((enum log_level)level)))
			return level;
	return -1;
}

/* systemd says "device:inode" of the stream it gave us; stderr may be something else by now. */
static bool stderr_is_stream(const char *stream)
{
	struct str dev, ino;
	uint64_t dev_number, ino_number;
	struct stat st;

	if (!str_cut(str_of(stream), ':', &dev, &ino) ||
	    str_u64(dev, UINT64_MAX, &dev_number) < 0 || str_u64(ino, UINT64_MAX, &ino_number) < 0)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev_number && st.st_ino == ino_number;
}

static enum sink choose_sink(void)
{
	const char *stream = getenv("JOURNAL_STREAM");

	if (!stream)
		return SINK_TEXT;
	if (stderr_is_stream(stream))
		return SINK_JOURNAL;
	return isatty(STDERR_FILENO) ? SINK_TEXT : SINK_PREFIX;
}

void log_init(const char *name, enum log_level level)
{
	if (str_copy(program, sizeof(program), name) < 0)
		ignore(str_copy(program, sizeof(program), "coracle")); /* it fits */
	atomic_store(&current_sink, choose_sink());
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	atomic_store(&current_level, level);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load(&current_level);
}

/*
 * Text that came from anywhere, made harmless for terminals and for readers of lines: C0, DEL and
 * C1 controls and bytes that are not UTF-8 become \n, \t or \xNN.
 */
static int add_escaped(struct buf *out, struct str text)
{
	while (text.len) {
		size_t n = str_utf8_seq(text);
		unsigned char c = (unsigned char)text.p[0];
		bool control = n == 0 || c < ' ' || c == 0x7f ||
		               (c == 0xc2 && (unsigned char)text.p[1] < 0xa0);
		int rc = 0;

		if (!control)
			rc = buf_add(out, text.p, n);
		else if (c == '\n' || c == '\t')
			rc = buf_add_str(out, c == '\n' ? "\\n" : "\\t");
		else
			for (size_t i = 0; i < MAX(n, (size_t)1) && rc == 0; i++)
				rc = buf_printf(out, "\\x%02x", (unsigned char)text.p[i]);
		if (rc < 0)
			return -1;
		n = MAX(n, (size_t)1);
		text.p += n;
		text.len -= n;
	}
	return 0;
}

static int add_member(struct buf *out, const char *key, const char *value, size_t max)
{
	struct str text = str_of(value);

	if (!value)
		return 0;
	text.len = MIN(text.len, max);
	return buf_printf(out, " %s=", key) < 0 || add_escaped(out, text) < 0 ? -1 : 0;
}

/* "Operation: message sandbox=... ..."; what does not fit any more is left out. */
static void add_body(struct buf *out, const struct log_ctx *ctx, struct str message)
{
	if (!streq(program, "coracle") && atomic_load(&current_sink) == SINK_TEXT &&
	    buf_printf(out, "%s: ", program) < 0)
		return;
	if (ctx->op && (add_escaped(out, str_of(ctx->op)) < 0 || buf_add_str(out, ": ") < 0))
		return;
	if (add_escaped(out, message) < 0 ||
	    add_member(out, "sandbox", ctx->sandbox, SHORT_ID) < 0 ||
	    add_member(out, "container", ctx->container, SHORT_ID) < 0 ||
	    add_member(out, "image", ctx->image, SIZE_MAX) < 0 ||
	    add_member(out, "plugin", ctx->plugin, SIZE_MAX) < 0)
		return;
	if (ctx->seq && buf_printf(out, " seq=%llu", (unsigned long long)ctx->seq) < 0)
		return;
	ignore(add_member(out, "code", ctx->code, SIZE_MAX)); /* full: the line is long enough */
}

static void write_text(enum log_level level, const struct log_ctx *ctx, struct str message)
{
	cleanup(buf_release) struct buf line = { 0 };
	int rc;

	buf_init(&line, MAX_LINE);
	if (atomic_load(&current_sink) == SINK_TEXT) {
		char now[CLOCK_TEXT_SIZE];

		clock_format_utc(clock_real_ns(), now);
		rc = buf_printf(&line, "%.23sZ %-5s ", now,
		                level_name(level)); /* to the millisecond */
	} else {
		rc = buf_printf(&line, "<%d>", level);
	}
	if (rc < 0)
		return; /* no memory for a line: nothing to tell it with */
	line.max--;     /* keeps room for the newline */
	add_body(&line, ctx, message);
	line.max++;
	if (buf_add_str(&line, "\n") == 0)
		ignore(write_full(STDERR_FILENO, line.data, line.len) <
		       0); /* stderr is the last resort */
}

static int add_field(struct buf *out, const char *key, const char *value)
{
	if (!value)
		return 0;
	/* no newline inside, so the simple form of the protocol does */
	return buf_printf(out, "%s=", key) < 0 || add_escaped(out, str_of(value)) < 0 ||
	                       buf_add_str(out, "\n") < 0
	               ? -1
	               : 0;
}

static int add_fields(struct buf *out, enum log_level level, const struct log_ctx *ctx)
{
	if (buf_printf(out, "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n", level, program) < 0 ||
	    add_field(out, "CORACLE_OP", ctx->op) < 0 ||
	    add_field(out, "CORACLE_SANDBOX", ctx->sandbox) < 0 ||
	    add_field(out, "CORACLE_CONTAINER", ctx->container) < 0 ||
	    add_field(out, "CORACLE_IMAGE", ctx->image) < 0 ||
	    add_field(out, "CORACLE_PLUGIN", ctx->plugin) < 0 ||
	    add_field(out, "CORACLE_CODE", ctx->code) < 0)
		return -1;
	if (ctx->seq && buf_printf(out, "CORACLE_SEQ=%llu\n", (unsigned long long)ctx->seq) < 0)
		return -1;
	if (ctx->sys && buf_printf(out, "ERRNO=%d\n", ctx->sys) < 0)
		return -1;
	return 0;
}

/* What no datagram can carry travels as a sealed memfd, which journald maps. */
static ssize_t send_memfd(int sock, const struct buf *entry)
{
	cleanup_close int fd = memfd_create("coracle-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write_full(fd, entry->data, entry->len);
	if (n < 0)
		return n;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	return fd_send(sock, NULL, 0, &fd, 1);
}

static int send_entry(const struct buf *entry, bool patient)
{
	cleanup_close int sock = unix_connect(JOURNAL_SOCKET, SOCK_DGRAM | SOCK_NONBLOCK);
	struct pollfd room = { .fd = sock, .events = POLLOUT };
	ssize_t n;

	if (sock < 0)
		return sock;
	n = fd_send(sock, entry->data, entry->len, NULL, 0);
	if (n == -EAGAIN && patient && poll(&room, 1, JOURNAL_WAIT_MS) > 0)
		n = fd_send(sock, entry->data, entry->len, NULL, 0);
	if (n == -EMSGSIZE || n == -ENOBUFS)
		n = send_memfd(sock, entry);
	return n < 0 ? (int)n : 0;
}

/* False: journald is not there, so stderr has to do. */
static bool write_journal(enum log_level level, const struct log_ctx *ctx, struct str message)
{
	cleanup(buf_release) struct buf entry = { 0 };
	uint32_t dropped = atomic_exchange(&lines_dropped, 0);
	int rc;

	buf_init(&entry, 2 * MAX_LINE);
	if (add_fields(&entry, level, ctx) < 0 || buf_add_str(&entry, "MESSAGE=") < 0)
		return false;
	if (dropped && buf_printf(&entry, "[%u lines dropped before this one] ", dropped) < 0)
		return false;
	entry.max--;
	add_body(&entry, ctx, message);
	entry.max++;
	if (buf_add_str(&entry, "\n") < 0)
		return false;

	rc = send_entry(&entry,
	                dropped == 0); /* who did not read a moment ago is not waited for again */
	if (rc == -EAGAIN) {
		atomic_fetch_add(&lines_dropped, dropped + 1);
		return true;
	}
	return rc == 0;
}

static void emit(enum log_level level, const struct log_ctx *ctx, struct str message)
{
	static const struct log_ctx nothing;

	if (!ctx)
		ctx = &nothing;
	if (atomic_load(&current_sink) == SINK_JOURNAL && write_journal(level, ctx, message))
		return;
	write_text(level, ctx, message);
}

void log_line(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
{
	cleanup(buf_release) struct buf message = { 0 };
	int saved = errno; /* callers log between a failed call and the use of its errno */
	va_list ap;

	if (!log_enabled(level))
		return;
	buf_init(&message, MAX_LINE);
	va_start(ap, fmt);
	if (buf_vprintf(&message, fmt, ap) < 0)
		emit(level, ctx, STR("(a message too long to print)"));
	else
		emit(level, ctx, (struct str){ message.data, message.len });
	va_end(ap);
	errno = saved;
}

bool log_limit_pass(struct log_limit *limit)
{
	int64_t now = clock_mono_ns();

	if (!limit->window_ns ||
	    now - limit->window_ns >= (int64_t)limit->interval_ms * NS_PER_MS) {
		uint32_t dropped = limit->dropped;

		limit->window_ns = now;
		limit->used = 0;
		limit->dropped = 0;
		if (dropped)
			log_notice(NULL, "%u more lines like the next one were dropped", dropped);
	}
	if (limit->used < limit->burst) {
		limit->used++;
		return true;
	}
	limit->dropped++;
	return false;
}
