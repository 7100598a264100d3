/* core/monitor/call.c */
#include "core/monitor/call.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/monitor/text.h"

#define EXIT_NO_EXEC 127

static void write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	ignore(write(fd, value, strlen(value)) < 0);
	close(fd);
}

/* The next daemon tells an op's own processes from daemonized ones by the sessions listed in the
 * op file. */
static void note_session(int oplock_fd)
{
	char line[24];
	struct text text = TEXT(line);

	text_int(&text, getpid());
	text_str(&text, "\n");
	ignore(write(oplock_fd, text.p, text.len) <
	       0); /* a full tmpfs: then this call counts as daemonized */
}

static void reset_signals(void)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < 65; sig++)
		ignore(sigaction(sig, &dfl, NULL)); /* refused for KILL, STOP and libc's own */
	sigemptyset(&none);
	ignore(sigprocmask(SIG_SETMASK, &none, NULL));
}

/* @fds are all above 2 (monitor_main has 0..2 on /dev/null from birth), so no dup2 destroys the
 * source of another. */
static NORETURN void child_main(const struct call_args *args, const int fds[3])
{
	char line[512];
	struct text text = TEXT(line);

	setsid();
	/* Ours is below zero where we may; the container's own comes from its spec, and a
	 * runtime without one passes this on. */
	write_file("/proc/self/oom_score_adj", "0");
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			_exit(EXIT_NO_EXEC);
	if (args->oplock_fd >= 0) {
		note_session(args->oplock_fd);
		ignore(fcntl(args->oplock_fd, F_SETFD, 0));
	}
	reset_signals();
	execve(args->argv[0], (char *const *)(uintptr_t)args->argv, environ);

	text_str(&text, "exec ");
	text_str(&text, args->argv[0]);
	text_str(&text, ": ");
	text_str(&text, strerror(errno));
	text_str(&text, "\n");
	ignore(write(STDERR_FILENO, text.p, text.len) < 0);
	_exit(EXIT_NO_EXEC);
}

int call_spawn(struct call *call, const struct call_args *args)
{
	cleanup_close int out = -1, in = -1;
	cleanup_close int null = -1;
	int fds[3], ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	out = ends[0];
	in = ends[1];
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || fcntl(out, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	fds[0] = args->stdin_fd >= 0 ? args->stdin_fd : null;
	fds[1] = args->stdout_fd >= 0 ? args->stdout_fd : in;
	fds[2] = args->stderr_fd >= 0 ? args->stderr_fd : in;

	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_main(args, fds);

	call->kind = args->kind;
	call->pid = pid;
	call->out_fd = take_fd(&out);
	call->tag = args->tag;
	call->conn = args->conn;
	call->deadline_ns = args->deadline_ns;
	call->timed_out = false;
	call->text_len = 0;
	return 0;
}

void call_add_text(struct call *call, const void *data, size_t len)
{
	const char *p = data;

	if (len > MONITOR_TEXT_MAX) {
		p += len - MONITOR_TEXT_MAX;
		len = MONITOR_TEXT_MAX;
	}
	if (call->text_len + len > CALL_TEXT) { /* only the end matters, and it is short enough */
		size_t keep = MONITOR_TEXT_MAX;

		memmove(call->text, call->text + call->text_len - keep, keep);
		call->text_len = keep;
	}
	if (len > 0)
		memcpy(call->text + call->text_len, p, len);
	call->text_len += len;
}

const char *call_text(const struct call *call, size_t *ret_len)
{
	size_t skip = call->text_len > MONITOR_TEXT_MAX ? call->text_len - MONITOR_TEXT_MAX : 0;

	*ret_len = call->text_len - skip;
	return call->text + skip;
}

bool call_read(struct call *call)
{
	char data[1024];
	ssize_t n;

	while ((n = read(call->out_fd, data, sizeof(data))) > 0)
		call_add_text(call, data, (size_t)n);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	close(take_fd(&call->out_fd));
	return false;
}

void call_kill(const struct call *call)
{
	ignore(kill(-call->pid, SIGKILL));
	ignore(kill(call->pid, SIGKILL)); /* before its setsid there is no such group */
}

void call_reaped(struct call *call)
{
	call->pid = 0;
	/* A process it left behind may hold the pipe: take what is there, do not wait for its
	 * end. */
	if (call->out_fd >= 0 && call_read(call))
		close(take_fd(&call->out_fd));
}
