/* tests/unit/core/base/dies.h
 *
 * Does @fn end in abort()? In a child, silently; what it said on stderr comes back in @said if that
 * is not NULL.
 */
#ifndef CORACLE_TESTS_UNIT_CORE_BASE_DIES_H
#define CORACLE_TESTS_UNIT_CORE_BASE_DIES_H

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool dies_saying(void (*fn)(void), char *said, size_t size)
{
	int pipe_fds[2] = { -1, -1 };
	size_t len = 0;
	int status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		signal(SIGABRT, SIG_DFL);
		dup2(pipe_fds[1], STDERR_FILENO);
		fn();
		_exit(0);
	}
	close(pipe_fds[1]);
	while (len + 1 < size && (n = read(pipe_fds[0], said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(pipe_fds[0]);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGABRT;
}

static inline bool dies(void (*fn)(void))
{
	char said[1024];

	return dies_saying(fn, said, sizeof(said));
}

#endif
