/* core/loop/child.h
 *
 * Children: spawned by the loop thread only, watched by pidfd, with a deadline and capped output.
 *
 * Every child starts in a session of its own (setsid), with signal mask and dispositions reset, all descriptors closed but
 * its fd map (close_range first: the state lock and the journal never leak), OOM score not inherited, PWD "/".
 * At the deadline the whole session's process group gets SIGKILL; a child that survives SIGKILL for 5 s (D state) is
 * reported as failed with stuck = true and its pid, and watched until it really ends (then only counted).
 */
#ifndef CORACLE_CORE_LOOP_CHILD_H
#define CORACLE_CORE_LOOP_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/loop/loop.h"

struct child;

struct child_fd {
	int fd; /* ours, borrowed for the time of child_spawn */
	int as_fd; /* number in the child; -1: any free number >= 10, inheritable under its own number (an op lock) */
};

struct child_result {
	int wstatus;    /* raw; meaningless when stuck */
	bool timed_out; /* we killed it at its deadline */
	bool cancelled; /* child_kill() */
	bool stuck;     /* SIGKILL did not end it: wstatus unknown */
	bool truncated; /* output beyond the cap was dropped */
	pid_t pid;
	const char *out; /* captured stdout, NUL terminated, borrowed during the callback */
	size_t out_len;
	const char *errout; /* captured stderr, likewise; the LAST bytes when truncated */
	size_t errout_len;
};
typedef void (*child_done_fn)(void *arg, const struct child_result *result);

struct child_args {
	const char *name; /* for logs and errors: "crun create" */
	/* Either exec ... */
	const char *path; /* absolute; or exec_fd >= 0 (execveat, AT_EMPTY_PATH) */
	int exec_fd;      /* -1 when unused; set it: 0 is a descriptor */
	char *const *argv;
	char *const *envp; /* NULL: PATH only */
	/* ... or a function that runs in the fork and returns its exit status (async-signal-safe world: no malloc after fork in
	 * a threaded parent, no stdio; prepare everything before). */
	int (*fn)(void *arg);
	void *fn_arg;

	const void *input; /* fed to stdin, then closed; NULL: /dev/null */
	size_t input_len;
	bool capture_out, capture_err;
	size_t max_output; /* per stream, default 1 MiB */
	const struct child_fd *fds;
	size_t nfds;
	int oplock_fd; /* -1, or the op's lock: inherited by this child (design 7.9) */
	int cgroup_fd; /* -1, or a cgroup v2 directory / v1 cgroup.procs written before exec; see child.c */
	int64_t timeout_ms; /* 0: none */
	child_done_fn done;
	void *arg;
};
#define CHILD_ARGS_INIT                                                                            \
	{                                                                                          \
		.exec_fd = -1, .oplock_fd = -1, .cgroup_fd = -1                                    \
	}

/*
 * NULL and err set when fork or exec failed: exec failure is reported here, synchronously, through a CLOEXEC pipe. Only a child that
 * got no CPU for 5 ms counts as spawned before its exec; should that fail, done gets status 127 with the reason in errout.
 */
NODISCARD struct child *child_spawn(struct loop *loop, const struct child_args *args,
                                    struct err *err);
pid_t child_pid(const struct child *child);
void child_kill(struct child *child); /* SIGKILL to its group; done is still called */
/* Forget it: done will not be called; the process goes on unless killed before. */
void child_detach(struct child *child);

/* Fill err from a result that is not "exit 0": "crun create: exit status 1: <last stderr line(s)>", "...: killed by signal 9",
 * "...: timed out after 10 s", "...: stuck (pid 123 survives SIGKILL)". 0 when it was exit 0. */
NODISCARD int child_check(const struct child_args *args, const struct child_result *result,
                          struct err *err);
size_t child_stuck(const struct loop *loop); /* how many are in D state now */

#endif
