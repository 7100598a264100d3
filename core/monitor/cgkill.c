/* core/monitor/cgkill.c
 *
 * Directories are walked with getdents64 into a buffer on the stack: opendir() would allocate.
 */
#include "core/monitor/cgkill.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/monitor/text.h"

#define DEPTH_MAX 16 /* nested cgroups that a container made itself */

/* struct linux_dirent64, which no header of libc's gives without its own readdir */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};
#define ENTRY_DIR 4

static int write_at(int dirfd, const char *name, const char *value)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -1;
	rc = write(fd, value, strlen(value)) < 0 ? -1 : 0;
	close(fd);
	return rc;
}

/* SIGKILL to each process listed in cgroup.procs of one directory. */
static int kill_listed(int dirfd)
{
	char data[4096];
	int64_t pid = 0;
	bool digits = false;
	int found = 0;
	ssize_t n;
	int fd;

	fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while ((n = read(fd, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (data[i] >= '0' && data[i] <= '9') {
				pid = pid * 10 + (data[i] - '0');
				digits = true;
				continue;
			}
			/* 0 stands for a process outside our PID namespace: not ours to kill */
			if (digits && pid > 1 && pid <= INT32_MAX && pid != getpid()) {
				found++;
				ignore(kill((pid_t)pid, SIGKILL));
			}
			pid = 0;
			digits = false;
		}
	}
	close(fd);
	return found;
}

static int kill_tree(int dirfd, int depth)
{
	_Alignas(struct entry) char data[1024];
	int found = kill_listed(dirfd);
	long n;
	int fd;

	if (depth == DEPTH_MAX)
		return found;
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return found;
	while ((n = syscall(SYS_getdents64, fd, data, sizeof(data))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *entry = (const struct entry *)(const void *)(data + at);
			int sub;

			at += entry->reclen;
			if (entry->type != ENTRY_DIR || entry->name[0] == '.')
				continue;
			sub = openat(dirfd, entry->name,
			             O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
			if (sub < 0)
				continue;
			found += kill_tree(sub, depth + 1);
			close(sub);
		}
	}
	close(fd);
	return found;
}

/* Freezing is asynchronous; a process in the middle of a system call may take a moment. 50 ms,
 * then go on without. */
static void wait_frozen(int dirfd)
{
	const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };

	for (int i = 0; i < 25; i++) {
		char state[16];
		int fd = openat(dirfd, "freezer.state", O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, state, sizeof(state));

		if (fd >= 0)
			close(fd);
		if (n <= 0 || strncmp(state, "FROZEN", 6) == 0)
			return;
		nanosleep(&pause, NULL);
	}
}

int cgkill_pass(const char *const *cgroups)
{
	int freezer = -1;
	int found = 0;

	for (const char *const *path = cgroups; *path && freezer < 0; path++) {
		int dirfd = open(*path, O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (dirfd < 0)
			continue;
		if (write_at(dirfd, "freezer.state", "FROZEN") == 0) {
			freezer = dirfd;
			wait_frozen(freezer);
		} else {
			close(dirfd);
		}
	}
	for (const char *const *path = cgroups; *path; path++) {
		int dirfd = open(*path, O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (dirfd < 0)
			continue;
		ignore(write_at(dirfd, "cgroup.kill", "1") < 0); /* then the walk only counts */
		found += kill_tree(dirfd, 0);
		close(dirfd);
	}
	if (freezer >= 0) {
		ignore(write_at(freezer, "freezer.state", "THAWED") < 0);
		close(freezer);
	}
	return found;
}
