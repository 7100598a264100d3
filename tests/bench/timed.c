/* tests/bench/timed.c
 *
 * Stands in for a program and writes down how long it ran. Called as <dir>/<any>/<name>, it runs <dir>/real/<name> with the same
 * arguments, and appends "<name> <nanoseconds>" to <dir>/times, from before the fork to after the end. Programs that the real
 * one calls in turn (a CNI plugin its IPAM) are part of its time: below it, this steps aside.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NESTED "CORACLE_BENCH_NESTED"

extern char **environ;

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Cut the last component off; returns it. */
static char *cut(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash) {
		fprintf(stderr, "timed: called as %s, not by path\n", path);
		exit(127);
	}
	*slash = '\0';
	return slash + 1;
}

int main(int argc, char **argv)
{
	char *dir = strdup((const char *)getauxval(AT_EXECFN));
	char real[4096], times[4096], line[256];
	long long start = now_ns();
	const char *name;
	int status, fd, rc;
	pid_t pid;

	(void)argc;
	name = cut(dir);
	cut(dir);
	snprintf(real, sizeof(real), "%s/real/%s", dir, name);
	snprintf(times, sizeof(times), "%s/times", dir);
	if (getenv(NESTED))
		return execv(real, argv), 127;
	setenv(NESTED, "1", 1);
	rc = posix_spawn(&pid, real, NULL, NULL, argv, environ);
	if (rc != 0) {
		fprintf(stderr, "timed: %s: %s\n", real, strerror(rc));
		return 127;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	snprintf(line, sizeof(line), "%s %lld\n", name, now_ns() - start);
	fd = open(times, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		fprintf(stderr, "timed: %s: %s\n", times, strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
