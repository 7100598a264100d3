/* core/monitor/internal.h
 *
 * What the monitor's parts share: its one state, and what each part does for the others.
 */
#ifndef CORACLE_CORE_MONITOR_INTERNAL_H
#define CORACLE_CORE_MONITOR_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/base/attr.h"
#include "core/base/clock.h"
#include "core/monitor/attach.h"
#include "core/monitor/call.h"
#include "core/monitor/logfile.h"
#include "core/monitor/oom.h"
#include "core/monitor/proto.h"
#include "core/state/exit_record.h"

#define CONTROLS      4 /* daemons, and clients that have not said yet what they are */
#define DRAIN_IDLE_NS (500 * NS_PER_MS)
#define NEVER         INT64_MAX
#define PAGE          4096
#define ARGV_ROOM     (MONITOR_ARGV_MAX + 16) /* a runtime's argv with what we append */

enum token {
	TOKEN_SIGNAL,
	TOKEN_LISTEN,
	TOKEN_OUT,
	TOKEN_ERR,
	TOKEN_TTY,
	TOKEN_STDIN,
	TOKEN_CALL,
	TOKEN_OOM,
	TOKEN_CONTROL,                     /* + index */
	TOKEN_CLIENT = TOKEN_CONTROL + 16, /* + index */
};

/* Bump allocator over one mapping: what is used together shares a page, what is not used has
 * none. */
struct memory {
	uint8_t *p;
	size_t used, size;
};

struct monitor {
	struct memory memory;
	struct monitor_config config;
	enum monitor_stage stage;
	int epoll_fd, signal_fd;
	int controls[CONTROLS]; /* -1: free */
	uint8_t *frame; /* MONITOR_FRAME_MAX bytes: what was received, or is about to be sent */

	const char *log_path, *pid_path, *tty_path; /* of the runtime's calls */
	struct call call;
	bool call_ended;
	int oplock_fd;        /* of the start op; -1: none, or its daemon is gone */
	int oplock_owner;     /* the control that gave it */
	int console_fd;       /* listening for the terminal during create */
	enum monitor_why why; /* of a failed create or start */
	int why_sys;
	char *why_text; /* MONITOR_TEXT_MAX bytes */
	size_t why_len;
	bool told; /* somebody has the result of the failed create */

	struct logfile log;
	struct logstream out, err;
	int out_fd, err_fd; /* out_fd: the terminal's master with a tty */
	bool tty_more;      /* the master was not read dry: it is polled by edges */
	struct attach attach;
	struct oom oom;
	uint64_t lost_said;
	int64_t lost_next_ns;

	int record_fd;
	struct exit_record record;
	bool record_written;  /* the filled record is in tmp/ */
	int64_t exit_seen_ns; /* realtime; init was seen dead while start was running */
	bool cgroup_empty, drained, delivered, released, terminated;
	int64_t drain_idle_ns, drain_end_ns, kill_next_ns, retry_ns; /* boot clock */
};

/* --- start.c: the beginning, and small things */
void *mon_memory_take(struct memory *memory, size_t len, size_t align);
/* Zeroed memory without pages yet; NULL: none. */
uint8_t *mon_map(size_t len);
NODISCARD int mon_watch(const struct monitor *m, int fd, uint32_t events, uint32_t token);
/* A small file into @text, NUL terminated; its length or -errno. */
NODISCARD ssize_t mon_read_small(int dirfd, const char *path, char *text, size_t size);
/* Record, log, streams, then `runtime create`. -errno: *ret_what (or the path) is the culprit. */
NODISCARD int mon_begin(struct monitor *m, const char **ret_what);
/* Our own place is the beginning of our memory. NULL: there is none. */
struct monitor *mon_make(void);
/* Descriptors, configuration, signals, epoll. */
NODISCARD int mon_prepare(struct monitor *m);

/* --- control.c: daemons */
bool mon_has_control(const struct monitor *m);
/* True: the answer is on its way. Never waits; a connection that cannot take it is dropped. */
bool mon_reply(struct monitor *m, int conn, uint32_t tag, struct monitor_result_frame *result);
bool mon_reply_text(struct monitor *m, int conn, uint32_t tag, enum monitor_why why, int sys,
                    const char *text);
/* A frame that nobody asked for: its payload is in m->frame already. */
void mon_send_all(struct monitor *m, enum monitor_frame type, size_t payload_len);
void mon_on_control(struct monitor *m, int i);
void mon_on_connect(struct monitor *m);

/* --- record.c: the exit record */
NODISCARD int mon_record_write(struct monitor *m);
NODISCARD int mon_record_prepare(struct monitor *m);
void mon_record_remove(struct monitor *m);
/* Into new/, or over the sockets and again a second later. */
void mon_record_deliver(struct monitor *m, int64_t now_ns);

/* --- output.c: output and terminal */
/* One read. True: there may be more right away. */
bool mon_read_stream(struct monitor *m, int *fd, struct logstream *stream, enum monitor_frame type);
void mon_read_tty(struct monitor *m);
/* The end of input, output, log and attach clients. */
void mon_finish_output(struct monitor *m);
NODISCARD int mon_make_streams(struct monitor *m);
NODISCARD int mon_listen_console(struct monitor *m);
void mon_close_console(struct monitor *m);
/* After create: the master that the runtime sent. */
NODISCARD int mon_take_console(struct monitor *m);

/* --- calls.c: runtime calls */
/* The runtime, its global options, our log file, @verb: how many strings that are. @argv: ARGV_ROOM. */
size_t mon_runtime_argv(const struct monitor *m, const char **argv, const char *verb);
NODISCARD int mon_spawn(struct monitor *m, struct call_args *args, uint32_t timeout_ms);
/* The create failed: told, kept for who asks later. */
void mon_fail(struct monitor *m, int conn, uint32_t tag, struct monitor_result_frame *result);
void mon_fail_sys(struct monitor *m, int conn, uint32_t tag, int rc, const char *what);
/* The runtime process was reaped. */
void mon_call_done(struct monitor *m, int wstatus);
/* Its deadline passed: killed, and given up when even that does not end it. */
void mon_call_overdue(struct monitor *m, int64_t now_ns);

static inline void mon_close(int *fd)
{
	if (*fd >= 0)
		close(take_fd(fd));
}

static inline bool mon_flag(const struct monitor *m, enum monitor_config_flags which)
{
	return m->config.flags & (uint32_t)which;
}

#endif
