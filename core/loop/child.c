/* core/loop/child.c
 *
 * From spawn to reap.
 *
 * The parent prepares everything: argument vectors, descriptors, the list of what goes where. Between fork and exec the child
 * makes system calls only, so it does not matter which locks other threads held at the fork. (The fn form uses fork() of the
 * C library, which leaves the allocator usable. The exec form forks as well: measured, spawning /bin/true takes 0.23 ms up to
 * the successful exec and 0.25 ms with 16 MiB resident, so sharing the address space would save next to nothing.)
 *
 * The status pipe is CLOEXEC: EOF tells that exec went well, a message tells which step failed with which errno. The parent
 * waits for it, but not for long: a busy machine that does not run the child yet, a cgroup move that is stuck in the kernel,
 * must not stop the loop. After STATUS_WAIT_MS the child counts as spawned and a failure that comes later ends it with status
 * 127 and the reason on its captured stderr. The usual failure, a program that is not there, is found before the fork. The fn
 * form is not waited for at all: it has no exec to fail, and its few steps before are told when it ends.
 *
 *   cgroup_fd   a directory of cgroup v2: the child is born in it; a directory the kernel does not take for that (v1, or Linux
 *               before 5.7): "0" is written to its cgroup.procs; any other file: "0" is written to it. Moving a process waits
 *               for every CPU to pass a quiet point, 5 to 15 ms on an idle machine; being born elsewhere costs nothing.
 *   oplock_fd   the child appends its session id to the op file before it does anything else, so that the next daemon can
 *               tell the operation's own processes from those that daemonized (see oplock.c).
 *
 * States: RUNNING --deadline or child_kill--> KILLED --5 s--> STUCK; the pidfd ends each of them. done() is called once, at the
 * first of "ended" and "stuck".
 */
#include "core/loop/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/loop/loop_internal.h"

#define MAX_FDS            64 /* fd map, stdio and what we need ourselves */
#define INHERIT_MIN        10 /* as_fd -1 lands here or above */
#define DEFAULT_MAX_OUTPUT (1024 * 1024)
#define STATUS_WAIT_MS     5 /* half of a callback's budget */
#define DRAIN_MAX                                                                                  \
	(1024 * 1024) /* more than a pipe holds, less than a grandchild could write for ever */
#define STUCK_AFTER_MS     5000
#define STATUS_EXEC_FAILED 127

enum stage { STAGE_NONE, STAGE_OPLOCK, STAGE_CGROUP, STAGE_FDS, STAGE_EXEC };

/* What travels over the status pipe; far below PIPE_BUF, so it arrives whole. */
struct status_msg {
	int stage;
	int sys;
};

/* One captured stream. */
struct capture {
	struct child *child;
	int fd;
	struct loop_io *io;
	char *data;
	size_t len, cap;
	size_t max;     /* what is handed out at most */
	bool keep_tail; /* drop from the front instead of the end */
	bool truncated;
};

struct child {
	struct list link; /* loop_children.list */
	struct loop *loop;
	char *name, *path;
	pid_t pid;
	int pidfd, status_fd;
	struct loop_io *pid_io, *status_io;
	struct loop_timer deadline;
	struct capture out, err;
	struct status_msg late;
	bool timed_out, cancelled, stuck, kill_sent, ended;
	child_done_fn done; /* NULL: told already, or detached */
	void *arg;
};

/* ------------------------------------------------------------------ in the child: system calls only */

struct plan {
	const struct child_args *args;
	char *const *envp;
	int status_fd;
	struct child_fd map[MAX_FDS];
	size_t nmap;
	int next_fd; /* lowest number above every target */
	bool cgroup_is_dir, born_in_cgroup;
	int exec_fd;
	struct rlimit nofile;
};

static NORETURN void child_fail(int status_fd, enum stage stage, int sys)
{
	struct status_msg msg = { .stage = (int)stage, .sys = sys };

	ignore(write(status_fd, &msg, sizeof(msg)) < 0);
	_exit(STATUS_EXEC_FAILED);
}

/* The decimal form of a pid, a newline behind it. */
static size_t format_pid(char text[24], pid_t pid)
{
	char digits[20];
	size_t n = 0, len = 0;

	do {
		digits[n++] = (char)('0' + pid % 10);
		pid /= 10;
	} while (pid > 0);
	while (n > 0)
		text[len++] = digits[--n];
	text[len++] = '\n';
	return len;
}

static int write_file_at(int dirfd, const char *path, const char *data, size_t len)
{
	int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int sys;

	if (fd < 0)
		return -errno;
	n = write(fd, data, len);
	sys = errno;
	close(fd);
	return n < 0 ? -sys : 0;
}

static void child_reset_signals(void)
{
	/* The kernel's struct sigaction, all zero: SIG_DFL. The C library's call would refuse the signals it keeps for itself. */
	static const unsigned long dfl[8];
	sigset_t none;

	for (int sig = 1; sig < 65; sig++)
		syscall(SYS_rt_sigaction, sig, dfl, NULL, 8); /* refused for KILL and STOP: fine */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Close everything but what is in keep[] (any order, may repeat). */
static int child_close_others(int *keep, size_t n)
{
	unsigned from = 0;

	for (size_t i = 1; i < n; i++) { /* insertion sort: a handful of entries */
		int fd = keep[i];
		size_t k = i;

		for (; k > 0 && keep[k - 1] > fd; k--)
			keep[k] = keep[k - 1];
		keep[k] = fd;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned fd = (unsigned)keep[i];

		if (fd > from && sys_close_range(from, fd - 1, 0) < 0)
			return -1;
		if (fd >= from)
			from = fd + 1;
	}
	return sys_close_range(from, ~0U, 0);
}

/*
 * Move every descriptor to its number. Sources may have the numbers of targets, so all of them are first lifted above the
 * highest target.
 */
static void child_place_fds(struct plan *plan)
{
	int keep[MAX_FDS + 2];
	size_t nkeep = 0;
	int lifted;

	lifted = fcntl(plan->status_fd, F_DUPFD_CLOEXEC, plan->next_fd);
	if (lifted < 0)
		child_fail(plan->status_fd, STAGE_FDS, errno);
	plan->status_fd = lifted;
	keep[nkeep++] = lifted;
	if (plan->exec_fd >= 0) {
		plan->exec_fd = fcntl(plan->exec_fd, F_DUPFD_CLOEXEC, plan->next_fd);
		if (plan->exec_fd < 0)
			child_fail(plan->status_fd, STAGE_FDS, errno);
		keep[nkeep++] = plan->exec_fd;
	}
	for (size_t i = 0; i < plan->nmap; i++) {
		struct child_fd *entry = &plan->map[i];
		bool inherit = entry->as_fd < 0;

		entry->fd = fcntl(entry->fd, inherit ? F_DUPFD : F_DUPFD_CLOEXEC, plan->next_fd);
		if (entry->fd < 0)
			child_fail(plan->status_fd, STAGE_FDS, errno);
		if (inherit)
			keep[nkeep++] = entry->fd;
	}
	for (size_t i = 0; i < plan->nmap; i++) {
		const struct child_fd *entry = &plan->map[i];

		if (entry->as_fd < 0)
			continue;
		if (dup2(entry->fd, entry->as_fd) < 0)
			child_fail(plan->status_fd, STAGE_FDS, errno);
		keep[nkeep++] = entry->as_fd;
	}
	if (child_close_others(keep, nkeep) < 0)
		child_fail(plan->status_fd, STAGE_FDS, errno);
}

static NORETURN void child_main(struct plan *plan)
{
	const struct child_args *args = plan->args;
	int rc;

	/* First into the file, then out of the parent's session, whose id the file has already: at no
	 * moment does this child look like a stranger to the operation. */
	if (args->oplock_fd >= 0) {
		char text[24];
		size_t len = format_pid(text, getpid());

		if (write(args->oplock_fd, text, len) < 0)
			child_fail(plan->status_fd, STAGE_OPLOCK, errno);
	}
	setsid(); /* cannot fail: a fresh fork leads no group. The id is our pid */
	if (args->cgroup_fd >= 0 && !plan->born_in_cgroup) {
		if (plan->cgroup_is_dir)
			rc = write_file_at(args->cgroup_fd, "cgroup.procs", "0", 1);
		else
			rc = write(args->cgroup_fd, "0", 1) < 0 ? -errno : 0;
		if (rc < 0)
			child_fail(plan->status_fd, STAGE_CGROUP, -rc);
	}
	/* A negative score is meant for us alone. Lowering a positive one may be refused, which is as good. */
	ignore(write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "0", 1));
	umask(022);
	ignore(chdir("/"));
	child_place_fds(plan);
	/* Behind the placing, which may need numbers above it. A lower soft limit is always allowed. */
	ignore(setrlimit(RLIMIT_NOFILE, &plan->nofile));
	child_reset_signals();

	if (args->fn) {
		close(plan->status_fd);
		_exit(args->fn(args->fn_arg));
	}
	if (plan->exec_fd >= 0) {
		rc = sys_execveat(plan->exec_fd, "", args->argv, plan->envp, AT_EMPTY_PATH);
		child_fail(plan->status_fd, STAGE_EXEC, -rc);
	}
	execve(args->path, args->argv, plan->envp);
	child_fail(plan->status_fd, STAGE_EXEC, errno);
}

/* ------------------------------------------------------------------ captured output */

/* With keep_tail the buffer holds up to twice the maximum, so that dropping from the front is amortised. */
static void capture_add(struct capture *cap, const char *data, size_t len)
{
	size_t limit = cap->keep_tail ? 2 * cap->max : cap->max;

	if (len > limit) {
		data += cap->keep_tail ? len - limit : 0;
		len = limit;
		cap->truncated = true;
	}
	if (cap->len + len > limit) {
		cap->truncated = true;
		if (cap->keep_tail) {
			size_t keep = MIN(cap->len, MIN(cap->max, limit - len));

			memmove(cap->data, cap->data + cap->len - keep, keep);
			cap->len = keep;
		} else {
			len = limit - cap->len;
		}
	}
	if (cap->len + len + 1 > cap->cap) {
		cap->cap = MIN(MAX(2 * cap->cap, cap->len + len + 1), limit + 1);
		cap->data = xrealloc(cap->data, cap->cap, 1);
	}
	if (len > 0)
		memcpy(cap->data + cap->len, data, len);
	cap->len += len;
	cap->data[cap->len] = '\0';
}

static void capture_close(struct capture *cap)
{
	loop_io_free(take_ptr(cap->io));
	if (cap->fd >= 0)
		close(take_fd(&cap->fd));
}

/* Take what is there, at most @budget bytes. */
static void capture_drain(struct capture *cap, size_t budget)
{
	char data[16384];

	while (cap->fd >= 0 && budget > 0) {
		ssize_t n = read(cap->fd, data, MIN(sizeof(data), budget));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			capture_close(cap);
			return;
		}
		capture_add(cap, data, (size_t)n);
		budget -= (size_t)n;
	}
}

static void on_capture(void *arg, uint32_t events)
{
	(void)events;
	capture_drain(arg, 256 * 1024); /* then others get their turn */
}

/* What is handed out: the last max bytes, or all. */
static const char *capture_text(struct capture *cap, size_t *ret_len)
{
	size_t skip = cap->len > cap->max ? cap->len - cap->max : 0;

	cap->truncated = cap->truncated || skip > 0;
	*ret_len = cap->len - skip;
	return cap->data ? cap->data + skip : "";
}

static int capture_open(struct capture *cap, struct child *child, size_t max, bool keep_tail,
                        int *ret_write_fd)
{
	int fds[2];

	*cap = (struct capture){ .child = child, .fd = -1, .max = max, .keep_tail = keep_tail };
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	cap->fd = fds[0];
	*ret_write_fd = fds[1];
	return fd_set_nonblock(fds[0], true);
}

/* ------------------------------------------------------------------ the life of a child */

static void child_free(struct child *child)
{
	list_remove(&child->link);
	loop_timer_disarm(child->loop, &child->deadline);
	loop_io_free(child->pid_io);
	loop_io_free(child->status_io);
	capture_close(&child->out);
	capture_close(&child->err);
	if (child->pidfd >= 0)
		close(child->pidfd);
	if (child->status_fd >= 0)
		close(child->status_fd);
	free(child->out.data);
	free(child->err.data);
	free(child->name);
	free(child->path);
	free(child);
}

void child_release_all(struct loop *loop)
{
	struct loop_children *children = loop_children(loop);

	while (!list_empty(&children->list))
		child_free(list_entry(children->list.next, struct child, link));
}

static const char *stage_text(int stage)
{
	switch (stage) {
	case STAGE_OPLOCK:
		return "note session in op lock";
	case STAGE_CGROUP:
		return "enter cgroup";
	case STAGE_FDS:
		return "set up descriptors";
	default:
		return "exec";
	}
}

/* The step that failed before the program ran. */
static int status_err(const struct status_msg *msg, const char *path, struct err *err)
{
	if (msg->stage == STAGE_EXEC)
		return err_sys(err, msg->sys, "exec %s", path ? path : "embedded program");
	return err_sys(err, msg->sys, "%s", stage_text(msg->stage));
}

static void child_tell(struct child *child, int wstatus)
{
	child_done_fn done = take_ptr(child->done);
	struct child_result result;

	if (!done)
		return;
	if (child->late.stage != STAGE_NONE) {
		struct err err = { 0 };

		status_err(&child->late, child->path, &err);
		capture_add(&child->err, err.msg, strlen(err.msg));
	}
	result = (struct child_result){
		.wstatus = wstatus,
		.timed_out = child->timed_out,
		.cancelled = child->cancelled,
		.stuck = child->stuck,
		.pid = child->pid,
	};
	result.out = capture_text(&child->out, &result.out_len);
	result.errout = capture_text(&child->err, &result.errout_len);
	result.truncated = child->out.truncated || child->err.truncated;
	done(child->arg, &result);
}

static void child_send_kill(struct child *child)
{
	/* The pid is not reaped, so neither it nor its group can have been reused. */
	ignore(kill(-child->pid, SIGKILL));
	ignore(kill(child->pid, SIGKILL));
	child->kill_sent = true;
	loop_timer_arm_in(child->loop, &child->deadline, STUCK_AFTER_MS);
}

static void on_deadline(void *arg)
{
	struct child *child = arg;

	if (!child->kill_sent) {
		child->timed_out = true;
		child_send_kill(child);
		return;
	}
	child->stuck = true;
	loop_children(child->loop)->stuck++;
	child_tell(child, 0);
}

static void on_late_status(void *arg, uint32_t events)
{
	struct child *child = arg;
	struct status_msg msg;

	(void)events;
	if (read_full(child->status_fd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg))
		child->late = msg;
	loop_io_free(take_ptr(child->status_io));
	close(take_fd(&child->status_fd));
}

static void on_exit_of_child(void *arg, uint32_t events)
{
	struct child *child = arg;
	int wstatus = 0;
	pid_t pid;

	(void)events;
	/* A process group outlives its leader; what is left of one that had to go must go too, and only while the leader's
	 * zombie keeps the number ours. */
	if (child->kill_sent)
		ignore(kill(-child->pid, SIGKILL));
	do {
		pid = waitpid(child->pid, &wstatus, WNOHANG);
	} while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return;
	child->ended = true;
	if (pid < 0)
		wstatus = 255
		          << 8; /* reaped by somebody else: it ended, we cannot know how; never 0 */

	if (child->stuck)
		loop_children(child->loop)->stuck--;
	if (child->status_fd >= 0)
		on_late_status(child, 0);
	/* What the child wrote before it ended is in the pipes. A grandchild may hold them open: do not wait for EOF. */
	capture_drain(&child->out, DRAIN_MAX);
	capture_drain(&child->err, DRAIN_MAX);
	child_tell(child, wstatus);
	child_free(child);
}

/* ------------------------------------------------------------------ spawn */

/* Descriptors that are ours only until the fork. */
struct fd_set_own {
	int fds[8];
	size_t n;
};

static void own_close(struct fd_set_own *own)
{
	while (own->n > 0)
		close(own->fds[--own->n]);
}
DEFINE_CLEANUP(struct fd_set_own, own_close);

static int own(struct fd_set_own *own, int fd)
{
	if (fd >= 0) {
		ensure(own->n < ARRAY_SIZE(own->fds));
		own->fds[own->n++] = fd;
	}
	return fd;
}

/* The child's stdin: a sealed memory file, so that neither side ever waits for the other. */
static int make_input(const void *data, size_t len)
{
	cleanup_close int fd = -1;
	ssize_t n;

	if (!data) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return fd < 0 ? -errno : take_fd(&fd);
	}
	fd = memfd_create("stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	n = pwrite_full(fd, data, len, 0);
	if (n < 0)
		return (int)n;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return take_fd(&fd);
}

static void plan_add(struct plan *plan, int fd, int as_fd)
{
	ensure(plan->nmap < ARRAY_SIZE(plan->map));
	plan->map[plan->nmap++] = (struct child_fd){ .fd = fd, .as_fd = as_fd };
	if (as_fd >= plan->next_fd)
		plan->next_fd = as_fd + 1;
}

static bool plan_has(const struct plan *plan, int as_fd)
{
	for (size_t i = 0; i < plan->nmap; i++) {
		if (plan->map[i].as_fd == as_fd)
			return true;
	}
	return false;
}

/* stdin, stdout and stderr: what the caller mapped, else input and captures, else /dev/null. */
static int plan_stdio(struct plan *plan, struct child *child, struct fd_set_own *owned)
{
	const struct child_args *args = plan->args;
	size_t max = args->max_output ? args->max_output : DEFAULT_MAX_OUTPUT;
	int fd, rc;

	if (!plan_has(plan, 0)) {
		fd = own(owned, make_input(args->input, args->input_len));
		if (fd < 0)
			return fd;
		plan_add(plan, fd, 0);
	}
	for (int n = 1; n <= 2; n++) {
		bool wanted = n == 1 ? args->capture_out : args->capture_err;

		if (plan_has(plan, n))
			continue;
		if (wanted) {
			fd = -1;
			rc = capture_open(n == 1 ? &child->out : &child->err, child, max, n == 2,
			                  &fd);
			own(owned, fd);
			if (rc < 0)
				return rc;
		} else {
			fd = own(owned, open("/dev/null", O_WRONLY | O_CLOEXEC));
			if (fd < 0)
				return -errno;
		}
		plan_add(plan, fd, n);
	}
	return 0;
}

/* Did the child get as far as its program? 0 and *ret_known false: it is still on its way. */
static int wait_status(int status_fd, struct status_msg *ret_msg, bool *ret_known)
{
	struct pollfd poll_fd = { .fd = status_fd, .events = POLLIN };
	ssize_t n;
	int rc;

	do {
		rc = poll(&poll_fd, 1, STATUS_WAIT_MS);
	} while (rc < 0 && errno == EINTR);
	*ret_known = rc != 0;
	if (rc <= 0)
		return rc < 0 ? -errno : 0;
	n = read_full(status_fd, ret_msg, sizeof(*ret_msg));
	if (n < 0)
		return (int)n;
	if (n != (ssize_t)sizeof(*ret_msg))
		ret_msg->stage = STAGE_NONE;
	return 0;
}

static int watch_child(struct child *child, bool started, bool is_fn, struct err *err)
{
	struct capture *captures[] = { &child->out, &child->err };

	child->pidfd = sys_pidfd_open(child->pid, 0);
	if (child->pidfd < 0)
		return err_sys(err, -child->pidfd, "pidfd of process %d", (int)child->pid);
	child->pid_io = loop_io_new(child->loop, child->pidfd, EPOLLIN, on_exit_of_child, child,
	                            child->name, err);
	if (!child->pid_io)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(captures); i++) {
		struct capture *cap = captures[i];

		if (cap->fd < 0)
			continue;
		cap->io = loop_io_new(child->loop, cap->fd, EPOLLIN, on_capture, cap, child->name,
		                      err);
		if (!cap->io)
			return -1;
	}
	if (started)
		close(take_fd(&child->status_fd));
	if (started || is_fn)
		return 0; /* on_exit_of_child() reads what an fn child left in its pipe */
	child->status_io = loop_io_new(child->loop, child->status_fd, EPOLLIN, on_late_status,
	                               child, child->name, err);
	return child->status_io ? 0 : -1;
}

/* A child that cannot be watched, or that failed before its program: end it here. It is runnable, so this is short. */
static void reap_now(pid_t pid)
{
	ignore(kill(-pid, SIGKILL));
	ignore(kill(pid, SIGKILL));
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static struct child *child_new(struct loop *loop, const struct child_args *args)
{
	struct child *child = xcalloc(1, sizeof(*child));

	*child = (struct child){
		.loop = loop,
		.name = xstrdup(args->name),
		.path = xstrdup(args->path),
		.pid = -1,
		.pidfd = -1,
		.status_fd = -1,
		.out = { .fd = -1, .max = DEFAULT_MAX_OUTPUT },
		.err = { .fd = -1, .max = DEFAULT_MAX_OUTPUT, .keep_tail = true },
		.done = args->done,
		.arg = args->arg,
	};
	loop_timer_init(&child->deadline, on_deadline, child, child->name);
	list_push_back(&loop_children(loop)->list, &child->link);
	return child;
}

static int plan_fds(struct plan *plan, struct child *child, struct fd_set_own *owned,
                    struct err *err)
{
	const struct child_args *args = plan->args;
	struct stat st;
	int rc;

	for (size_t i = 0; i < args->nfds; i++)
		plan_add(plan, args->fds[i].fd, args->fds[i].as_fd);
	if (args->oplock_fd >= 0)
		plan_add(plan, args->oplock_fd, -1);
	rc = plan_stdio(plan, child, owned);
	if (rc < 0)
		return err_sys(err, -rc, "standard streams");
	if (args->cgroup_fd >= 0) {
		if (fstat(args->cgroup_fd, &st) < 0)
			return err_sys(err, errno, "cgroup descriptor");
		plan->cgroup_is_dir = S_ISDIR(st.st_mode);
	}
	return 0;
}

/* fork(), into the cgroup if the kernel can. Past the C library, which is of no use between here and exec. */
static pid_t fork_child(struct plan *plan)
{
	struct clone_args clone = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)plan->args->cgroup_fd,
	};
	long pid;

	if (plan->cgroup_is_dir && !plan->args->fn) {
		plan->born_in_cgroup = true;
		pid = syscall(SYS_clone3, &clone, sizeof(clone));
		if (pid >= 0)
			return (pid_t)pid;
		plan->born_in_cgroup = false;
	}
	return fork();
}

/* What exec would refuse for certain. */
static int check_program(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0 || access(path, X_OK) < 0)
		return err_sys(err, errno, "exec %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, CODE_PERMISSION_DENIED, "exec %s: not a regular file", path);
	return 0;
}

struct child *child_spawn(struct loop *loop, const struct child_args *args, struct err *err)
{
	static char *const path_only[] = {
		(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL
	};
	cleanup(own_close) struct fd_set_own owned = { .n = 0 };
	struct plan plan = { .args = args, .next_fd = INHERIT_MIN, .exec_fd = args->exec_fd };
	struct status_msg msg = { .stage = STAGE_NONE };
	bool known = false;
	struct child *child;
	int status[2], rc;

	ensure(args->name && args->done);
	ensure((args->fn != NULL) + (args->path != NULL) + (args->exec_fd >= 0) == 1);
	ensure(args->fn || args->argv);
	ensure(args->nfds + 8 < MAX_FDS);

	plan.envp = args->envp ? args->envp : path_only;
	plan.nofile = loop_children(loop)->nofile;
	child = child_new(loop, args);
	if (args->path && check_program(args->path, err) < 0)
		goto fail;
	if (plan_fds(&plan, child, &owned, err) < 0)
		goto fail;
	if (pipe2(status, O_CLOEXEC) < 0) {
		err_sys(err, errno, "status pipe");
		goto fail;
	}
	child->status_fd = status[0];
	plan.status_fd = own(&owned, status[1]);

	child->pid = fork_child(&plan);
	if (child->pid == 0)
		child_main(&plan);
	if (child->pid < 0) {
		err_sys(err, errno, "fork");
		goto fail;
	}
	own_close(&owned);

	rc = args->fn ? 0 : wait_status(child->status_fd, &msg, &known);
	if (rc < 0 || msg.stage != STAGE_NONE) {
		reap_now(child->pid);
		if (rc < 0)
			err_sys(err, -rc, "status pipe");
		else
			status_err(&msg, args->path, err);
		goto fail;
	}
	if (watch_child(child, known, args->fn != NULL, err) < 0) {
		reap_now(child->pid);
		goto fail;
	}
	if (args->timeout_ms > 0)
		loop_timer_arm_in(loop, &child->deadline, args->timeout_ms);
	return child;

fail:
	err_wrap(err, "%s", args->name);
	child_free(child);
	return NULL;
}

pid_t child_pid(const struct child *child)
{
	return child->pid;
}

void child_kill(struct child *child)
{
	if (child->ended || child->kill_sent)
		return;
	child->cancelled = true;
	child_send_kill(child);
}

void child_detach(struct child *child)
{
	child->done = NULL;
	if (!child->kill_sent)
		loop_timer_disarm(child->loop, &child->deadline);
}

size_t child_stuck(const struct loop *loop)
{
	return loop_children((struct loop *)loop)->stuck;
}

/* ------------------------------------------------------------------ what went wrong */

/* The last line of @text that says something, without control characters. */
static void last_line(const char *text, size_t len, char *dst, size_t size)
{
	size_t end = len, start, n = 0;

	while (end > 0 && (unsigned char)text[end - 1] <= ' ')
		end--;
	for (start = end; start > 0 && text[start - 1] != '\n';)
		start--;
	for (size_t i = start; i < end && n + 1 < size; i++) {
		unsigned char c = (unsigned char)text[i];

		dst[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
	dst[n] = '\0';
}

int child_check(const struct child_args *args, const struct child_result *result, struct err *err)
{
	char line[200];

	last_line(result->errout, result->errout_len, line, sizeof(line));
	if (result->stuck)
		return err_set(err, CODE_DEADLINE_EXCEEDED, "%s: stuck (pid %d survives SIGKILL)",
		               args->name, (int)result->pid);
	if (result->timed_out)
		return err_set(err, CODE_DEADLINE_EXCEEDED, "%s: timed out after %g s%s%s",
		               args->name, (double)args->timeout_ms / 1000, line[0] ? ": " : "",
		               line);
	if (result->cancelled)
		return err_set(err, CODE_CANCELLED, "%s: cancelled", args->name);
	if (WIFEXITED(result->wstatus) && WEXITSTATUS(result->wstatus) == 0)
		return 0;
	if (WIFEXITED(result->wstatus))
		return err_set(err, CODE_UNKNOWN, "%s: exit status %d%s%s", args->name,
		               WEXITSTATUS(result->wstatus), line[0] ? ": " : "", line);
	return err_set(err, CODE_UNKNOWN, "%s: killed by signal %d%s%s", args->name,
	               WTERMSIG(result->wstatus), line[0] ? ": " : "", line);
}
