/* core/run/monitors.h
 *
 * The daemon's side of the monitors: spawn one per container, ask it things, find it again after a
 * restart, tell from its lock whether it lives.
 *
 * Files in <state>/monitors/ (made 0700 by the first start; gone after a reboot with the rest of
 * <state>):
 *   <id>.lock  held by the monitor as long as it lives: the one proof of life
 *   <id>.sock  where it listens, for daemons and for attach clients (core/monitor/proto.h)
 *   <id>.pid, <id>.log, <id>.tty   pid file, runtime log and console socket of its runtime calls
 *
 * Nothing here waits. Every answer has a deadline, and the end of the connection fails what is
 * pending (UNAVAILABLE); a monitor that is stopped or killed costs one error, never a hang. An exit
 * is learnt from the spool, not from here: `gone` only says "look there now".
 *
 * Thread: loop only. Callbacks come from the loop, never from inside the call that asked.
 */
#ifndef CORACLE_CORE_RUN_MONITORS_H
#define CORACLE_CORE_RUN_MONITORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/state/exit_record.h"

struct monitors;

struct monitors_args {
	struct loop *loop;
	const char *state_dir; /* "/run/coracle": monitors/ is below it */
	const char
		*spool_dir; /* "/var/lib/coracle/spool": tmp/ and new/ are there before a start */
	const void *elf;    /* the monitor program, borrowed for ever (it is in our own image) */
	size_t elf_len;
	int cgroup_fd; /* as child_args.cgroup_fd: where monitors live; -1: ours. Borrowed */
	/* The monitor's connection ended: its container exited (record in new/, or in tmp/ when
	 * the monitor was killed), or its create failed. Scan the spool; if there is no record,
	 * and monitor_lock_held() says no: 8.4 row 4. Not called for a connection that
	 * monitor_forget() closed. */
	void (*gone)(void *arg, const char *id);
	/* The monitor could not rename its record into new/ and sent it along; once it is
	 * durable in the journal call monitor_release(). May come again each second until then. */
	void (*record)(void *arg, const char *id, const struct exit_record *rec);
	void *arg;
};

/* Does no I/O: nothing is made before the first monitor_start(), so that `recover` may have one
 * too. */
NODISCARD struct monitors *monitors_new(const struct monitors_args *args);
/* Closes the connections and calls nobody. Monitors and containers live on. */
void monitors_free(struct monitors *monitors);

struct monitor_result {
	pid_t pid; /* of init; 0 when there is none */
	uint64_t start_ticks;
	int64_t started_ns; /* realtime, after monitor_run_start() */
	int wstatus;        /* of the runtime process */
	const char *output; /* what the runtime printed (its last 4 KiB), "" if nothing; borrowed */
};
/* Exactly one call per request. err is NULL on success, else says what failed, runtime and its
 * own words included; result is never NULL. Codes: DEADLINE_EXCEEDED, UNAVAILABLE (monitor gone
 * or not connected), FAILED_PRECONDITION (wrong state), INTERNAL (the runtime refused, a system
 * call failed). */
typedef void (*monitor_done_fn)(void *arg, const struct monitor_result *result,
                                const struct err *err);

struct monitor_start_args {
	const char *id;
	const char *bundle;   /* absolute */
	char *const *runtime; /* absolute path, then global options; --log is added here */
	/* Absolute; NULL: output is read and dropped. Its directory is made when missing. */
	const char *log_path;
	int64_t max_line; /* longest log line before it is cut into P pieces; <= 0: 1 MiB */
	bool tty, want_stdin, stdin_once;
	/* The PID namespace is not its own: when init ends, kill what is left in the cgroup. */
	bool kill_cgroup;
	/* NULL terminated: every cgroup directory of the container, v1 and v2, absolute. They may
	 * not exist yet; each must have the container's id in its path. OOM is watched there, too. */
	const char *const *cgroups;
	/* Owner of the stdio pipes: root as mapped in the pod's user namespace, else 0. */
	uid_t io_uid;
	gid_t io_gid;
	int oplock_fd;      /* -1, or the start op's lock (design 7.9) */
	int64_t timeout_ms; /* of runtime create */
	monitor_done_fn done;
	void *arg;
};
#define MONITOR_START_ARGS_INIT                                                                    \
	{                                                                                          \
		.oplock_fd = -1, .max_line = 16384, .timeout_ms = 120000                           \
	}

/*
 * monitor_start - spawn the monitor; it prepares its exit record, opens the log, runs `runtime
 * create`.
 * done:    pid and start_ticks of the created init, or the runtime's error. After an error the
 *          monitor is gone or about to go, and tmp/<id> is removed by it; the caller still runs
 *          `runtime delete --force` and monitor_forget().
 * Returns: -1 when not even the spawn worked (done is not called then).
 */
NODISCARD int monitor_start(struct monitors *monitors, const struct monitor_start_args *args,
                            struct err *err);

/* runtime start, run by the monitor with the op lock it got at monitor_start (or with @oplock_fd
 * when that is >= 0: a daemon that took over). Success: started_ns is set, the monitor's copy of
 * the op lock is closed. */
void monitor_run_start(struct monitors *monitors, const char *id, int oplock_fd, int64_t timeout_ms,
                       monitor_done_fn done, void *arg);

/* Any other runtime call that must run under the monitor: argv[0] is an absolute path. One at a
 * time per monitor. */
void monitor_call(struct monitors *monitors, const char *id, char *const *argv, int oplock_fd,
                  int64_t timeout_ms, monitor_done_fn done, void *arg);

/* When done says success the new file exists and nothing is written to the old one any more. */
void monitor_reopen_log(struct monitors *monitors, const char *id, monitor_done_fn done, void *arg);

/* tty only; best effort */
void monitor_resize(struct monitors *monitors, const char *id, uint16_t width, uint16_t height);

struct monitor_status {
	enum {
		MONITOR_IS_CREATING = 1,
		MONITOR_IS_FAILED,
		MONITOR_IS_CREATED,
		MONITOR_IS_RUNNING,
		MONITOR_IS_EXITED
	} stage;
	bool calling; /* a runtime call is running now */
	bool oom;
	pid_t pid;
	uint64_t start_ticks;
	int64_t started_ns, exited_ns;
	int wstatus;       /* of init, when EXITED */
	uint64_t log_lost; /* bytes of output that could not be written */
	const char *error; /* of a failed create or start, "" otherwise; borrowed */
};
typedef void (*monitor_status_fn)(void *arg, const struct monitor_status *status,
                                  const struct err *err);
/* What happened to create and start? (a new daemon asks). err set: status is NULL. */
void monitor_query(struct monitors *monitors, const char *id, monitor_status_fn fn, void *arg);

/* The exit or the failed create is durably on record: the monitor may end without its rename. */
void monitor_release(struct monitors *monitors, const char *id);

/* Connect to a monitor of an earlier daemon life. 0: connected (queries may follow); -1: nobody
 * there or not answering. */
NODISCARD int monitor_reconnect(struct monitors *monitors, const char *id, struct err *err);
bool monitor_connected(const struct monitors *monitors, const char *id);
/* Is the monitor alive? A fresh open and a try-lock: never blocks, needs no connection. */
bool monitor_lock_held(const struct monitors *monitors, const char *id);

/* Ids that have files here, as a strv (sorted): for the sweep of orphans. A missing directory is
 * an empty list. */
NODISCARD int monitors_list(const struct monitors *monitors, char ***ret_ids, struct err *err);

/* The container is history: release the monitor if one is connected, close the connection
 * (pending requests fail with CANCELLED) and remove the files. Idempotent; unknown ids are fine. */
void monitor_forget(struct monitors *monitors, const char *id);

/* --- attach: one client of a container's standard streams */

struct monitor_attach;

struct monitor_attach_ops {
	void (*output)(void *arg, bool is_stderr, const void *data, size_t len);
	/* The last callback, once: err NULL when the container's output ended or this client
	 * detached itself; else the client was too slow (RESOURCE_EXHAUSTED) or the monitor is
	 * gone (UNAVAILABLE). */
	void (*end)(void *arg, const struct err *err);
	/* Input is taken again after monitor_attach_stdin() took less than it was given. Or NULL. */
	void (*drain)(void *arg);
};

NODISCARD struct monitor_attach *monitor_attach(struct monitors *monitors, const char *id,
                                                bool want_stdin, bool want_stdout, bool want_stderr,
                                                const struct monitor_attach_ops *ops, void *arg,
                                                struct err *err);
/* How many bytes were taken; fewer than @len: wait for drain. Bytes for a container without
 * stdin are taken and dropped. */
size_t monitor_attach_stdin(struct monitor_attach *attach, const void *data, size_t len);
/* The client's input ended: stdin_once and no tty closes the container's input, outputs go on;
 * otherwise detaches. */
void monitor_attach_stdin_eof(struct monitor_attach *attach);
void monitor_attach_resize(struct monitor_attach *attach, uint16_t width, uint16_t height);
/* Stop or resume output (flow control); a client paused too long is dropped by the monitor,
 * container and log go on. When the container ends, what is still queued (<= 1 MiB) is delivered
 * in spite of a pause. */
void monitor_attach_pause(struct monitor_attach *attach, bool paused);
/* Detaches; no callback afterwards. NULL is fine. */
void monitor_attach_free(struct monitor_attach *attach);

DEFINE_CLEANUP_PTR(struct monitors, monitors_free);

#endif
