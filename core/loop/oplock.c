/* core/loop/oplock.c
 *
 * flock() belongs to the open file description, and a forked child shares it: the lock falls when the last process that
 * inherited it is gone. A probe opens the file anew, so even our own lock shows.
 *
 * File contents: session ids in decimal, one a line. The first is our own, in which a child is for
 * its first moments; then one per child of the operation, of the session that it leads (written by
 * the child itself, see child.c). A holder whose session is in the file belongs to the operation;
 * any other has made itself a session of its own, that is, daemonized.
 */
#include "core/loop/oplock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define MAX_HOLDERS    256
#define MAX_SESSIONS   256
#define MAX_FILE_BYTES (64 * 1024)

int oplock_take(struct oplock *lock, const char *dir, const char *id, uint64_t seq, struct err *err)
{
	struct oplock taken = { .fd = -1 };

	if (str_format(taken.path, sizeof(taken.path), "%s/%s.%llu", dir, id,
	               (unsigned long long)seq) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "op lock: path too long: %s/%s", dir,
		               id);
	taken.fd = open(taken.path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (taken.fd < 0)
		return err_sys(err, errno, "op lock %s", taken.path);
	/* The first line takes the page that the children's lines need: they cannot find the disk full. */
	if (flock(taken.fd, LOCK_EX | LOCK_NB) < 0 ||
	    dprintf(taken.fd, "%d\n", (int)getsid(0)) < 0) {
		int sys = errno;

		close(taken.fd);
		unlink(taken.path);
		return err_sys(err, sys, "op lock %s", taken.path);
	}
	*lock = taken;
	return 0;
}

/* A fresh open tells whether anybody still holds it. */
static enum oplock_probe probe_file(int dirfd, const char *name, bool sweep)
{
	cleanup_close int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT ? OPLOCK_NONE
		                       : OPLOCK_HELD; /* what cannot be judged is not free */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return OPLOCK_HELD;
	if (sweep)
		ignore(unlinkat(dirfd, name, 0)); /* stays for the next sweep */
	return OPLOCK_FREE;
}

bool oplock_drop(struct oplock *lock)
{
	if (lock->fd < 0)
		return true;
	close(take_fd(&lock->fd));
	return oplock_gone(lock->path);
}

bool oplock_gone(const char *path)
{
	return probe_file(AT_FDCWD, path, true) != OPLOCK_HELD;
}

/* Calls @fn for every op file of @id until it returns false. */
typedef bool (*op_file_fn)(int dirfd, const char *name, void *arg);

static void each_op_file(const char *dir, const char *id, op_file_fn fn, void *arg)
{
	size_t len = strlen(id);
	DIR *d = opendir(dir);
	struct dirent *entry;

	if (!d)
		return;
	while ((entry = readdir(d))) {
		if (strncmp(entry->d_name, id, len) == 0 && entry->d_name[len] == '.' &&
		    !fn(dirfd(d), entry->d_name, arg))
			break;
	}
	closedir(d);
}

struct probe {
	enum oplock_probe worst;
	bool sweep;
};

static bool probe_one(int dirfd, const char *name, void *arg)
{
	struct probe *probe = arg;
	enum oplock_probe found = probe_file(dirfd, name, probe->sweep);

	if (found > probe->worst)
		probe->worst = found;
	return true;
}
_Static_assert(OPLOCK_NONE < OPLOCK_FREE && OPLOCK_FREE < OPLOCK_HELD,
               "the worst answer wins by order");

enum oplock_probe oplock_probe(const char *dir, const char *id, bool sweep)
{
	struct probe probe = { .worst = OPLOCK_NONE, .sweep = sweep };

	each_op_file(dir, id, probe_one, &probe);
	return probe.worst;
}

/* ------------------------------------------------------------------ holders */

struct op_files {
	struct {
		dev_t dev;
		ino_t ino;
	} files[32];
	size_t nfiles;
	pid_t sessions[MAX_SESSIONS];
	size_t nsessions;
};

static void read_sessions(struct op_files *ops, const char *text, size_t len)
{
	struct str rest = { text, len }, line;

	while (rest.len > 0 && ops->nsessions < MAX_SESSIONS) {
		uint64_t sid;

		str_cut(rest, '\n', &line, &rest);
		if (str_u64(line, INT32_MAX, &sid) == 0)
			ops->sessions[ops->nsessions++] = (pid_t)sid;
	}
}

static bool collect_file(int dirfd, const char *name, void *arg)
{
	struct op_files *ops = arg;
	cleanup_free char *text = NULL;
	struct stat st;
	size_t len;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return true;
	ops->files[ops->nfiles].dev = st.st_dev;
	ops->files[ops->nfiles].ino = st.st_ino;
	ops->nfiles++;
	if (fsx_read(dirfd, name, MAX_FILE_BYTES, &text, &len) >= 0)
		read_sessions(ops, text, len);
	return ops->nfiles < ARRAY_SIZE(ops->files);
}

static bool is_op_file(const struct op_files *ops, const struct stat *st)
{
	for (size_t i = 0; i < ops->nfiles; i++) {
		if (ops->files[i].dev == st->st_dev && ops->files[i].ino == st->st_ino)
			return true;
	}
	return false;
}

static bool is_op_session(const struct op_files *ops, pid_t sid)
{
	for (size_t i = 0; i < ops->nsessions; i++) {
		if (ops->sessions[i] == sid)
			return true;
	}
	return false;
}

static bool holds_op_file(const struct op_files *ops, pid_t pid)
{
	char path[64];
	struct dirent *entry;
	bool holds = false;
	struct stat st;
	DIR *d;

	ignore(str_format(path, sizeof(path), "/proc/%d/fd", (int)pid)); /* fits */
	d = opendir(path);
	if (!d)
		return false;
	while (!holds && (entry = readdir(d))) {
		if (entry->d_name[0] != '.' && fstatat(dirfd(d), entry->d_name, &st, 0) == 0)
			holds = is_op_file(ops, &st);
	}
	closedir(d);
	return holds;
}

/* Any line of /proc/PID/cgroup at or below @cgroup? */
static bool in_cgroup(pid_t pid, const char *cgroup)
{
	cleanup_free char *text = NULL;
	struct str rest, line, head, path;
	char file[64];
	size_t len;

	ignore(str_format(file, sizeof(file), "/proc/%d/cgroup", (int)pid)); /* fits */
	if (fsx_read(AT_FDCWD, file, MAX_FILE_BYTES, &text, &len) < 0)
		return false;
	rest = (struct str){ text, len };
	while (rest.len > 0) {
		str_cut(rest, '\n', &line, &rest);
		/* hierarchy:controllers:path */
		if (!str_cut(line, ':', &head, &path) || !str_cut(path, ':', &head, &path))
			continue;
		if (str_starts(path, cgroup) &&
		    (path.len == strlen(cgroup) || path.p[strlen(cgroup)] == '/'))
			return true;
	}
	return false;
}

static void read_comm(pid_t pid, char *comm, size_t size)
{
	cleanup_free char *text = NULL;
	char file[64];
	size_t len;

	comm[0] = '\0';
	ignore(str_format(file, sizeof(file), "/proc/%d/comm", (int)pid)); /* fits */
	if (fsx_read(AT_FDCWD, file, 4096, &text, &len) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	ignore(str_copy(comm, size, text)); /* 15 characters at most; "" would be as true */
}

/* Is session @sid none of the operation's? The files are read after @sid was: a child that has just left
 * our session wrote its line before. */
static bool is_stranger(const char *dir, const char *id, pid_t sid)
{
	struct op_files ops = { .nfiles = 0 };

	each_op_file(dir, id, collect_file, &ops);
	return !is_op_session(&ops, sid);
}

int oplock_holders(const char *dir, const char *id, const char *skip_cgroup,
                   struct oplock_holder *ret, size_t max)
{
	struct op_files ops = { .nfiles = 0 };
	struct dirent *entry;
	int found = 0;
	DIR *d;

	each_op_file(dir, id, collect_file, &ops);
	if (ops.nfiles == 0)
		return 0;
	d = opendir("/proc");
	if (!d)
		return 0;
	while ((entry = readdir(d))) {
		uint64_t pid;
		pid_t sid;

		if (str_u64(str_of(entry->d_name), INT32_MAX, &pid) < 0 || (pid_t)pid == getpid())
			continue;
		if (!holds_op_file(&ops, (pid_t)pid) ||
		    (skip_cgroup && in_cgroup((pid_t)pid, skip_cgroup)))
			continue;
		sid = getsid((pid_t)pid);
		if (sid < 0)
			continue; /* ended meanwhile */
		if ((size_t)found < max) {
			struct oplock_holder *holder = &ret[found];

			*holder = (struct oplock_holder){
				.pid = (pid_t)pid,
				.daemonized = is_stranger(dir, id, sid),
			};
			read_comm((pid_t)pid, holder->comm, sizeof(holder->comm));
		}
		found++;
	}
	closedir(d);
	return found;
}

int oplock_kill(const char *dir, const char *id, const char *skip_cgroup)
{
	cleanup_free struct oplock_holder *holders = xcalloc(MAX_HOLDERS, sizeof(*holders));
	int found = oplock_holders(dir, id, skip_cgroup, holders, MAX_HOLDERS);
	int killed = 0;

	for (int i = 0; i < found && i < MAX_HOLDERS; i++) {
		cleanup_close int pidfd = -1;

		if (holders[i].daemonized)
			continue;
		/* Between the scan and the kill the number may have gone to somebody else: pin it, then look again. */
		pidfd = sys_pidfd_open(holders[i].pid, 0);
		if (pidfd >= 0) {
			struct op_files ops = { .nfiles = 0 };

			each_op_file(dir, id, collect_file, &ops);
			if (holds_op_file(&ops, holders[i].pid) &&
			    sys_pidfd_send_signal(pidfd, SIGKILL) >= 0)
				killed++;
		}
	}
	return killed;
}
