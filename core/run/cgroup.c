/* core/run/cgroup.c
 *
 * Directories and processes of cgroups. Hierarchies: cgroup_host.c; names: cgroup_path.c; statistics:
 * cgroup_stats.c.
 *
 * A container's cgroup is made by its OCI runtime; we make exec sub-cgroups and the monitors' one,
 * kill, and clean up what a runtime left behind. All of it works on every hierarchy at the same path,
 * and takes a hierarchy without that path as having nothing to do there.
 */
#include "core/run/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"

#define PATH_LEN_MAX 2048
/* What a container nests deeper than this keeps its cgroup from being removed. */
#define DEPTH_MAX     64
#define FILE_MAX      (4u << 20)
#define PAUSE_MIN_MS  5
#define PAUSE_MAX_MS  80
#define PROCS_MAX     (1u << 20)
#define DEFAULT_STATE "/run/coracle"
#define APP           "coracle"

/* ------------------------------------------------------------------------------------------ directories, processes */

static int path_of(const struct cgroup_hierarchy *h, const char *dir, const char *file,
                   char path[PATH_LEN_MAX])
{
	return str_format(path, PATH_LEN_MAX, "%s%s%s%s", h->mount, streq(dir, "/") ? "" : dir,
	                  file ? "/" : "", file ? file : "");
}

/* "/" would be every process of the machine, and a relative path or one with ".." anybody's. */
static int check_dir(const char *dir, struct err *err)
{
	if (dir[0] != '/' || streq(dir, "/") || strstr(dir, "/..") ||
	    strlen(dir) > CGROUP_DIR_MAX + NAME_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "\"%.150s\" is not the path of a container's cgroup", dir);
	return 0;
}

static int write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static void pause_ms(int64_t ms)
{
	struct timespec ts = { .tv_nsec = (long)(ms * NS_PER_MS) };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* An empty cpuset takes no process: it gets what its parent has. */
static int inherit_cpuset(const char *child)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	cleanup_free char *parent = xstrdup(child);

	*strrchr(parent, '/') = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_free char *to = xasprintf("%s/%s", child, files[i]),
				  *from = xasprintf("%s/%s", parent, files[i]);
		cleanup_free char *have = NULL, *text = NULL;
		int rc;

		rc = fsx_read(AT_FDCWD, to, 65536, &have, NULL);
		if (rc >= 0 && str_trim(str_of(have)).len > 0)
			continue;
		if (rc >= 0)
			rc = fsx_read(AT_FDCWD, from, 65536, &text, NULL);
		if (rc >= 0)
			rc = write_file(to, text);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* mkdir of each element, with what v1 needs before anything can be put in. */
static int create_in(const struct cgroup_hierarchy *h, const char *dir, struct err *err)
{
	char path[PATH_LEN_MAX];
	size_t at = strlen(h->mount);
	int rc;

	if (path_of(h, dir, NULL, path) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "cgroup %.100s...: path is too long",
		               dir);
	while (path[at]) {
		size_t end = at + 1 + strcspn(path + at + 1, "/");
		char saved = path[end];

		path[end] = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_sys(err, errno, "create cgroup %s", path);
		rc = !h->v2 && (h->has & CGROUP_HAS(CGROUP_CPUSET)) ? inherit_cpuset(path) : 0;
		if (rc < 0)
			return err_sys(err, -rc, "set up cpuset of cgroup %s", path);
		path[end] = saved;
		at = end;
	}
	return 0;
}

int cgroup_create(const struct cgroup_host *host, const char *dir, struct err *err)
{
	if (check_dir(dir, err) < 0)
		return -1;
	for (size_t i = 0; i < host->nhierarchies; i++)
		if (create_in(&host->hierarchies[i], dir, err) < 0)
			return -1;
	return 0;
}

bool cgroup_exists(const struct cgroup_host *host, const char *dir)
{
	char path[PATH_LEN_MAX];

	for (size_t i = 0; i < host->nhierarchies; i++)
		if (path_of(&host->hierarchies[i], dir, NULL, path) == 0 && access(path, F_OK) == 0)
			return true;
	return false;
}

/* Calls @fn for the cgroup open at @fd and all below, children first; takes @fd. The first negative result stays, all others
 * are still visited. */
typedef int (*visit_fn)(int fd, void *arg);

static int visit(int fd, int depth, visit_fn fn, void *arg, bool remove)
{
	DIR *dir = fdopendir(fd);
	int result = 0, rc;

	if (!dir) {
		rc = -errno;
		close(fd);
		return rc;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		int sub;

		if (entry->d_type != DT_DIR || streq(entry->d_name, ".") ||
		    streq(entry->d_name, ".."))
			continue;
		if (depth == DEPTH_MAX) {
			result = -ELOOP;
			break;
		}
		sub = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		rc = sub < 0 ? -errno : visit(sub, depth + 1, fn, arg, remove);
		if (rc >= 0 && remove && unlinkat(fd, entry->d_name, AT_REMOVEDIR) < 0)
			rc = -errno;
		if (rc < 0 && rc != -ENOENT && result == 0)
			result = rc;
	}
	rc = fn ? fn(fd, arg) : 0;
	closedir(dir);
	return result ? result : rc;
}

static int visit_path(const char *path, visit_fn fn, void *arg, bool remove)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ENODEV ? 0 : -errno;
	rc = visit(fd, 0, fn, arg, remove);
	if (rc >= 0 && remove && rmdir(path) < 0)
		rc = -errno;
	return rc == -ENOENT || rc == -ENODEV ? 0 : rc;
}

struct pids {
	pid_t *pid;
	size_t count, cap;
};

static int add_procs(int fd, void *arg)
{
	cleanup_free char *text = NULL;
	struct pids *pids = arg;
	struct str line, rest;
	size_t len;
	int rc;

	rc = fsx_read(fd, "cgroup.procs", FILE_MAX, &text, &len);
	if (rc <
	    0) /* a threaded cgroup (EOPNOTSUPP): its processes are listed further up; gone (ENODEV) */
		return rc == -EOPNOTSUPP || rc == -ENODEV || rc == -ENOENT ? 0 : rc;
	rest = (struct str){ text, len };
	while (rest.len > 0) {
		uint64_t pid;

		str_cut(rest, '\n', &line, &rest);
		/* 0: a process that our PID namespace cannot see */
		if (str_u64(line, INT32_MAX, &pid) < 0 || pid == 0 || pids->count == PROCS_MAX)
			continue;
		if (pids->count == pids->cap) {
			pids->cap = pids->cap ? pids->cap * 2 : 64;
			pids->pid = xrealloc(pids->pid, pids->cap, sizeof(*pids->pid));
		}
		pids->pid[pids->count++] = (pid_t)pid;
	}
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

static int gather(const struct cgroup_host *host, const char *dir, struct pids *pids,
                  struct err *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < host->nhierarchies; i++) {
		char path[PATH_LEN_MAX];
		int rc;

		if (path_of(&host->hierarchies[i], dir, NULL, path) < 0)
			continue;
		rc = visit_path(path, add_procs, pids, false);
		if (rc < 0)
			return err_sys(err, -rc, "list processes of cgroup %s", path);
	}
	if (pids->count > 1)
		qsort(pids->pid, pids->count, sizeof(*pids->pid), by_pid);
	for (size_t i = 0; i < pids->count; i++)
		if (kept == 0 || pids->pid[i] != pids->pid[kept - 1])
			pids->pid[kept++] = pids->pid[i];
	pids->count = kept;
	return 0;
}

ssize_t cgroup_procs(const struct cgroup_host *host, const char *dir, pid_t *ret, size_t max,
                     struct err *err)
{
	struct pids pids = { 0 };
	int rc = gather(host, dir, &pids, err);

	if (rc == 0 && pids.count > 0 && max > 0)
		memcpy(ret, pids.pid, MIN(pids.count, max) * sizeof(*ret));
	free(pids.pid);
	return rc < 0 ? -1 : (ssize_t)pids.count;
}

/* Best effort: without it a fork storm may need a few rounds more. */
static void freeze(const struct cgroup_host *host, const char *dir, bool on)
{
	for (size_t i = 0; i < host->nhierarchies; i++) {
		const struct cgroup_hierarchy *h = &host->hierarchies[i];
		char path[PATH_LEN_MAX];

		if (!h->v2 && !(h->has & CGROUP_HAS(CGROUP_FREEZER)))
			continue;
		if (path_of(h, dir, h->v2 ? "cgroup.freeze" : "freezer.state", path) < 0)
			continue;
		if (h->v2)
			ignore(write_file(path, on ? "1" : "0") < 0);
		else
			ignore(write_file(path, on ? "FROZEN" : "THAWED") < 0);
	}
}

static void kill_v2(const struct cgroup_host *host, const char *dir)
{
	for (size_t i = 0; i < host->nhierarchies; i++) {
		char path[PATH_LEN_MAX];

		/* Kernels before 5.14 do not have the file; the loop over pids does it then. */
		if (host->hierarchies[i].v2 &&
		    path_of(&host->hierarchies[i], dir, "cgroup.kill", path) == 0)
			ignore(write_file(path, "1") < 0);
	}
}

static int64_t next_pause(int64_t ms)
{
	return MIN(ms * 2, PAUSE_MAX_MS);
}

int cgroup_kill(const struct cgroup_host *host, const char *dir, int64_t timeout_ms,
                struct err *err)
{
	int64_t end_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	int64_t wait_ms = PAUSE_MIN_MS;

	if (check_dir(dir, err) < 0)
		return -1;
	for (bool first = true;; first = false) {
		struct pids pids = { 0 };
		pid_t survivor;
		int rc;

		if (first)
			kill_v2(host, dir);
		freeze(host, dir, true);
		rc = gather(host, dir, &pids, err);
		for (size_t i = 0; rc == 0 && i < pids.count; i++)
			if (pids.pid[i] != getpid())
				kill(pids.pid[i], SIGKILL);
		freeze(host, dir, false); /* on v1 the frozen die only when they thaw */
		survivor = pids.count > 0 ? pids.pid[0] : 0;
		free(pids.pid);
		if (rc < 0 || !survivor)
			return rc;
		if (clock_mono_ns() >= end_ns)
			return err_set(err, CODE_DEADLINE_EXCEEDED,
			               "cgroup %s: process %d survives SIGKILL", dir,
			               (int)survivor);
		pause_ms(wait_ms);
		wait_ms = next_pause(wait_ms);
	}
}

static int busy_error(const struct cgroup_host *host, const char *dir, const char *path, int sys,
                      struct err *err)
{
	pid_t pid = 0;
	struct err unused;

	if (sys != EBUSY)
		return err_sys(err, sys, "remove cgroup %s", path);
	if (cgroup_procs(host, dir, &pid, 1, &unused) > 0)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "cgroup %s cannot be removed: process %d is in it", dir, (int)pid);
	return err_set(err, CODE_FAILED_PRECONDITION,
	               "cgroup %s cannot be removed: the kernel says it is busy", path);
}

int cgroup_remove(const struct cgroup_host *host, const char *dir, int64_t timeout_ms,
                  struct err *err)
{
	int64_t end_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	int64_t wait_ms = PAUSE_MIN_MS;

	if (check_dir(dir, err) < 0)
		return -1;
	for (size_t i = 0; i < host->nhierarchies;) {
		char path[PATH_LEN_MAX];
		int rc;

		rc = path_of(&host->hierarchies[i], dir, NULL, path);
		if (rc == 0)
			rc = visit_path(path, NULL, NULL, true);
		if (rc >= 0) {
			i++;
			continue;
		}
		/* What was just killed leaves its cgroup when it is reaped, a moment later. */
		if (rc != -EBUSY || clock_mono_ns() >= end_ns)
			return busy_error(host, dir, path, -rc, err);
		pause_ms(wait_ms);
		wait_ms = next_pause(wait_ms);
	}
	return 0;
}

int cgroup_move(const struct cgroup_host *host, const char *dir, pid_t pid, struct err *err)
{
	bool moved = false;
	char text[16];

	if (check_dir(dir, err) < 0)
		return -1;
	snprintf(text, sizeof(text), "%d", (int)pid);
	for (size_t i = 0; i < host->nhierarchies; i++) {
		char path[PATH_LEN_MAX];
		int rc;

		rc = path_of(&host->hierarchies[i], dir, "cgroup.procs", path);
		if (rc == 0)
			rc = write_file(path, text);
		if (rc == -ENOENT)
			continue;
		if (rc < 0)
			return err_sys(err, -rc, "move process %d into cgroup %s", (int)pid, path);
		moved = true;
	}
	return moved ? 0 : err_set(err, CODE_NOT_FOUND, "cgroup %s does not exist", dir);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int cgroup_list(const struct cgroup_host *host, const char *dir, char ***ret_names, struct err *err)
{
	cleanup(strv_free) char **names = xcalloc(1, sizeof(*names));
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < host->nhierarchies; i++) {
		char path[PATH_LEN_MAX];
		struct dirent *entry;
		DIR *d;

		if (path_of(&host->hierarchies[i], dir, NULL, path) < 0)
			continue;
		d = opendir(path);
		if (!d && (errno == ENOENT || errno == ENOTDIR))
			continue;
		if (!d)
			return err_sys(err, errno, "list cgroup %s", path);
		while ((entry = readdir(d))) {
			if (entry->d_type != DT_DIR || streq(entry->d_name, ".") ||
			    streq(entry->d_name, ".."))
				continue;
			names = xrealloc(names, count + 2, sizeof(*names));
			names[count++] = xstrdup(entry->d_name);
			names[count] = NULL;
		}
		closedir(d);
	}
	if (count > 1)
		qsort(names, count, sizeof(*names), by_name);
	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && streq(names[i], names[kept - 1]))
			free(names[i]);
		else
			names[kept++] = names[i];
	}
	names[kept] = NULL;
	*ret_names = take_ptr(names);
	return 0;
}

/* ------------------------------------------------------------------------------------------------- exec sub-cgroups */

static bool exec_number(const char *name, uint64_t *ret)
{
	return starts_with(name, "exec-") &&
	       str_u64(str_of(name + strlen("exec-")), UINT64_MAX, ret) == 0;
}

bool cgroup_is_exec_name(const char *name)
{
	uint64_t n;

	return exec_number(name, &n);
}

int cgroup_exec_create(const struct cgroup_host *host, const char *dir, uint64_t n,
                       char ret_name[CGROUP_EXEC_NAME], struct err *err)
{
	cleanup_free char *path = NULL;
	char name[CGROUP_EXEC_NAME];
	bool made = false;

	if (check_dir(dir, err) < 0)
		return -1;
	snprintf(name, sizeof(name), "exec-%llu", (unsigned long long)n);
	path = xasprintf("%s/%s", dir, name);
	for (size_t i = 0; i < host->nhierarchies; i++) {
		const struct cgroup_hierarchy *h = &host->hierarchies[i];
		char parent[PATH_LEN_MAX];

		/* Where the container has no cgroup its exec needs none. */
		if (path_of(h, dir, NULL, parent) < 0 || access(parent, F_OK) < 0)
			continue;
		if (create_in(h, path, err) < 0)
			return -1;
		made = true;
	}
	if (!made)
		return err_set(err, CODE_NOT_FOUND, "cgroup %s does not exist", dir);
	memcpy(ret_name, name, sizeof(name));
	return 0;
}

int cgroup_exec_remove(const struct cgroup_host *host, const char *dir, const char *name,
                       int64_t timeout_ms, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	ensure(cgroup_is_exec_name(name));
	if (cgroup_kill(host, path, timeout_ms, err) < 0)
		return -1;
	return cgroup_remove(host, path, timeout_ms, err);
}

int cgroup_exec_sweep(const struct cgroup_host *host, const char *dir, uint64_t below,
                      int64_t timeout_ms, struct err *err)
{
	cleanup(strv_free) char **names = NULL;
	int count = 0;
	uint64_t n;

	if (cgroup_list(host, dir, &names, err) < 0)
		return -1;
	for (char **name = names; name && *name; name++) {
		if (!exec_number(*name, &n) || n >= below)
			continue;
		if (cgroup_exec_remove(host, dir, *name, timeout_ms, err) < 0)
			return -1;
		count++;
	}
	return count;
}

/* --------------------------------------------------------------------------------------------- the monitors' cgroup */

/* Where the service manager counts a service's processes: v2 if there is one, else v1's named hierarchy, else any. */
static const struct cgroup_hierarchy *tracking(const struct cgroup_host *host)
{
	const struct cgroup_hierarchy *named = cgroup_find(host, CGROUP_SYSTEMD);

	for (size_t i = 0; i < host->nhierarchies; i++)
		if (host->hierarchies[i].v2 && host->hierarchies[i].own)
			return &host->hierarchies[i];
	if (named && named->own)
		return named;
	return host->nhierarchies > 0 && host->hierarchies[0].own ? &host->hierarchies[0] : NULL;
}

int cgroup_monitors_open(const struct cgroup_host *host, const char *state, int *ret_fd,
                         struct err *err)
{
	const struct cgroup_hierarchy *h = tracking(host);
	cleanup_free char *dir = NULL;
	char path[PATH_LEN_MAX];
	char key[16] = "";
	int fd;

	if (!h)
		return err_set(err, CODE_UNAVAILABLE, "no cgroup hierarchy shows our own cgroup");
	if (!streq(state, DEFAULT_STATE))
		snprintf(key, sizeof(key), "-%08x", crc32c(0, state, strlen(state)));
	dir = xasprintf("%s/%smonitors%s", h->own, h->own[0] ? "" : APP "-", key);
	if (create_in(h, dir, err) < 0)
		return -1;
	if (path_of(h, dir, h->v2 ? NULL : "cgroup.procs", path) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "cgroup %.100s...: path is too long",
		               dir);
	fd = open(path, (h->v2 ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "open %s", path);
	*ret_fd = fd;
	return 0;
}

void cgroup_monitors_close(int fd)
{
	char link[32], path[PATH_LEN_MAX];
	char *slash;
	ssize_t n;

	if (fd < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	close(fd);
	if (n <= 0)
		return;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (slash && streq(slash, "/cgroup.procs")) /* v1 */
		*slash = '\0';
	ignore(rmdir(path) < 0); /* EBUSY: they live on */
}
