/* core/run/mount.c
 *
 * The operations, and the child that runs a list of them.
 *
 * The mount table names real paths, our callers may come through a symlink (/var/run/coracle): targets are compared after
 * their parent directory was resolved. The last component is never resolved, since that would ask the mounted file system,
 * which may be a dead server.
 */
#include "core/run/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define BUSY_TRIES    10 /* then the mount is detached: its users keep it, the path is free */
#define BUSY_PAUSE_MS 20
#define DETACH_ROUNDS 64 /* somebody who mounts faster than this is somebody else's problem */
#define LIST_MAX      65536

/* ------------------------------------------------------------------------------------------------ the mount table */

struct mount_seen {
	char *target;
	size_t at; /* place in the table: later is above */
};

struct mount_scan {
	const char *prefix;
	size_t prefix_len, at;
	struct mount_seen *seen;
	size_t count, cap;
};

static bool is_at_or_below(const char *path, const char *prefix, size_t prefix_len)
{
	if (strncmp(path, prefix, prefix_len) != 0)
		return false;
	return path[prefix_len] == '\0' || path[prefix_len] == '/' || prefix_len == 1;
}

static int scan_one(const struct proc_mount *mount, void *arg)
{
	struct mount_scan *scan = arg;

	scan->at++;
	if (!is_at_or_below(mount->target, scan->prefix, scan->prefix_len))
		return 0;
	if (scan->count == LIST_MAX)
		return -E2BIG;
	if (scan->count == scan->cap) {
		scan->cap = scan->cap ? scan->cap * 2 : 16;
		scan->seen = xrealloc(scan->seen, scan->cap, sizeof(*scan->seen));
	}
	scan->seen[scan->count++] = (struct mount_seen){ xstrdup(mount->target), scan->at };
	return 0;
}

/* What lies deeper first; of what is stacked on one path, the uppermost first. */
static int innermost_first(const void *a, const void *b)
{
	const struct mount_seen *x = a, *y = b;
	size_t x_len = strlen(x->target), y_len = strlen(y->target);

	if (x_len != y_len)
		return x_len > y_len ? -1 : 1;
	return x->at > y->at ? -1 : x->at < y->at;
}

/* The target with its parent resolved; heap. -ENOENT: there is no such directory, so nothing is mounted there. */
static int real_target(const char *target, char **ret_path)
{
	cleanup_free char *parent = xstrdup(target);
	char resolved[PATH_MAX];
	char *slash;

	while ((slash = strrchr(parent, '/')) && slash > parent && slash[1] == '\0')
		*slash = '\0';
	if (parent[0] != '/' || !slash || slash[1] == '\0' || streq(slash, "/.") ||
	    streq(slash, "/.."))
		return -EINVAL;
	*slash = '\0';
	if (!realpath(parent[0] ? parent : "/", resolved))
		return -errno;
	*ret_path = xasprintf("%s/%s", streq(resolved, "/") ? "" : resolved, slash + 1);
	return 0;
}

static int list_below(const char *prefix, char ***ret_targets)
{
	cleanup_free char *real = NULL;
	struct mount_scan scan = { 0 };
	char **targets;
	int rc;

	rc = real_target(prefix, &real);
	if (real) {
		scan.prefix = real;
		scan.prefix_len = strlen(real);
		rc = proc_mounts(scan_one, &scan);
	}
	if (rc == -ENOENT || rc == -ENOTDIR)
		rc = 0;

	targets = xcalloc(scan.count + 1, sizeof(*targets));
	if (scan.count > 0)
		qsort(scan.seen, scan.count, sizeof(*scan.seen), innermost_first);
	for (size_t i = 0; i < scan.count; i++)
		targets[i] = scan.seen[i].target;
	free(scan.seen);
	if (rc < 0) {
		strv_free(targets);
		return rc;
	}
	*ret_targets = targets;
	return 0;
}

int mount_list(const char *prefix, char ***ret_targets, struct err *err)
{
	int rc = list_below(prefix, ret_targets);

	return rc < 0 ? err_sys(err, -rc, "list mounts below %s", prefix) : 0;
}

/* ----------------------------------------------------------------------------------------------------- operations */

static void pause_ms(int64_t ms)
{
	struct timespec ts = { .tv_nsec = (long)(ms * 1000000) };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* Politely first: a file system that is really unmounted reports its write errors, and its device is free at once. */
static int detach_one(const char *target)
{
	for (int try = 0; try < BUSY_TRIES; try++) {
		if (umount2(target, UMOUNT_NOFOLLOW) == 0)
			return 0;
		if (errno == EINVAL || errno == ENOENT)
			return 0; /* somebody was quicker */
		if (errno != EBUSY)
			break;
		pause_ms(BUSY_PAUSE_MS);
	}
	if (umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH) == 0 || errno == EINVAL ||
	    errno == ENOENT)
		return 0;
	return -errno;
}

static int apply_detach(const struct mount_op *op, struct fault *fault)
{
	for (int round = 0; round < DETACH_ROUNDS; round++) {
		cleanup(strv_free) char **targets = NULL;
		int rc;

		rc = list_below(op->target, &targets);
		if (rc < 0)
			return fault_sys(fault, -rc, "list mounts below ", op->target);
		if (!targets[0])
			return 0;
		for (char **t = targets; *t; t++) {
			rc = detach_one(*t);
			if (rc < 0)
				return fault_sys(fault, -rc, "unmount ", *t);
		}
	}
	return fault_code(fault, CODE_ABORTED, "unmount ", op->target,
	                  ": mounted again each time it was unmounted");
}

static int apply_mkdir(const struct mount_op *op, struct fault *fault)
{
	int rc = fsx_mkdir_p(op->target, op->mode);

	return rc < 0 ? fault_sys(fault, -rc, "create directory ", op->target) : 0;
}

static uint64_t attr_flags(unsigned flags)
{
	return (flags & (MOUNT_READONLY | MOUNT_RRO) ? MOUNT_ATTR_RDONLY : 0) |
	       (flags & MOUNT_NOSUID ? MOUNT_ATTR_NOSUID : 0) |
	       (flags & MOUNT_NODEV ? MOUNT_ATTR_NODEV : 0) |
	       (flags & MOUNT_NOEXEC ? MOUNT_ATTR_NOEXEC : 0);
}

static unsigned long mount_flags(unsigned flags)
{
	return (flags & (MOUNT_READONLY | MOUNT_RRO) ? MS_RDONLY : 0) |
	       (flags & MOUNT_NOSUID ? MS_NOSUID : 0) | (flags & MOUNT_NODEV ? MS_NODEV : 0) |
	       (flags & MOUNT_NOEXEC ? MS_NOEXEC : 0);
}

/* A remount of a bind replaces all its flags: those that the source's mount has are kept. */
static int remount_bind(const char *target, unsigned flags)
{
	unsigned long all = mount_flags(flags) | MS_REMOUNT | MS_BIND;
	struct statvfs st;

	if (statvfs(target, &st) < 0)
		return -errno;
	all |= (st.f_flag & ST_RDONLY ? MS_RDONLY : 0) | (st.f_flag & ST_NOSUID ? MS_NOSUID : 0) |
	       (st.f_flag & ST_NODEV ? MS_NODEV : 0) | (st.f_flag & ST_NOEXEC ? MS_NOEXEC : 0) |
	       (st.f_flag & ST_NOATIME ? MS_NOATIME : 0) |
	       (st.f_flag & ST_NODIRATIME ? MS_NODIRATIME : 0) |
	       (st.f_flag & ST_RELATIME ? MS_RELATIME : 0);
	return mount(NULL, target, NULL, all, NULL) < 0 ? -errno : 0;
}

static int restrict_bind(const struct mount_op *op)
{
	struct mount_attr attr = { .attr_set = attr_flags(op->flags) };
	bool recursive = (op->flags & MOUNT_RRO) != 0;
	int rc;

	if (attr.attr_set == 0)
		return 0;
	rc = sys_mount_setattr(AT_FDCWD, op->target,
	                       AT_SYMLINK_NOFOLLOW | (recursive ? AT_RECURSIVE : 0), &attr,
	                       sizeof(attr));
	if (rc == -ENOSYS && !recursive)
		rc = remount_bind(op->target, op->flags);
	return rc;
}

static int set_propagation(const struct mount_op *op)
{
	static const unsigned long how[] = {
		[MOUNT_PRIVATE] = MS_PRIVATE,
		[MOUNT_SLAVE] = MS_SLAVE,
		[MOUNT_SHARED] = MS_SHARED,
	};
	unsigned long rec = op->flags & MOUNT_RECURSIVE ? MS_REC : 0;

	if (op->propagation == MOUNT_KEEP)
		return 0;
	return mount(NULL, op->target, NULL, how[op->propagation] | rec, NULL) < 0 ? -errno : 0;
}

static bool is_done_already(const struct mount_op *op)
{
	return (op->flags & MOUNT_IF_ABSENT) && proc_is_mount_point(op->target) == 1;
}

/* What is only half set up must not be taken for finished by a later MOUNT_IF_ABSENT. */
static int take_back(const struct mount_op *op, int rc, const char *step, struct fault *fault)
{
	ignore(umount2(op->target, UMOUNT_NOFOLLOW | MNT_DETACH) <
	       0); /* the first error is the one that counts */
	return fault_sys(fault, -rc, step, op->target);
}

static int apply_bind(const struct mount_op *op, struct fault *fault)
{
	unsigned long rec = op->flags & MOUNT_RECURSIVE ? MS_REC : 0;
	int rc;

	if (is_done_already(op))
		return 0;
	if (mount(op->source, op->target, NULL, MS_BIND | rec, NULL) < 0)
		return fault_sys(fault, errno, "bind ", op->source, " onto ", op->target);
	rc = restrict_bind(op);
	if (rc < 0)
		return take_back(op, rc, "restrict the bind mount ", fault);
	rc = set_propagation(op);
	return rc < 0 ? take_back(op, rc, "set propagation of ", fault) : 0;
}

static int apply_fs(const struct mount_op *op, struct fault *fault)
{
	int rc;

	if (is_done_already(op))
		return 0;
	if (mount(op->source ? op->source : op->fstype, op->target, op->fstype,
	          mount_flags(op->flags), op->options) < 0)
		return fault_sys(fault, errno, "mount ", op->fstype, " on ", op->target);
	rc = set_propagation(op);
	return rc < 0 ? take_back(op, rc, "set propagation of ", fault) : 0;
}

static int apply_unpin(const struct mount_op *op, struct fault *fault)
{
	/* Stacked pins of retried attempts come off one by one; namespace files are never busy. */
	while (umount2(op->target, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
		;
	if (errno != EINVAL && errno != ENOENT)
		return fault_sys(fault, errno, "unmount ", op->target);
	if (unlink(op->target) < 0 && errno != ENOENT)
		return fault_sys(fault, errno, "remove ", op->target);
	return 0;
}

static int apply_pin(const struct mount_op *op, struct fault *fault)
{
	int fd;

	if (apply_unpin(op, fault) < 0)
		return -1;
	fd = open(op->target, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (fd < 0)
		return fault_sys(fault, errno, "create ", op->target);
	close(fd);
	if (mount(op->source, op->target, NULL, MS_BIND, NULL) < 0)
		return fault_sys(fault, errno, "bind ", op->source, " onto ", op->target);
	return 0;
}

static int apply_remove_tree(const struct mount_op *op, struct fault *fault)
{
	int rc;

	if (apply_detach(op, fault) < 0)
		return -1;
	rc = fsx_remove_tree(AT_FDCWD, op->target);
	return rc < 0 ? fault_sys(fault, -rc, "remove ", op->target) : 0;
}

/* clang-format off */
static const struct {
	const char *verb;
	bool has_source;
	int (*apply)(const struct mount_op *op, struct fault *fault);
} kinds[MOUNT_KINDS] = {
	[MOUNT_MKDIR]       = { "mkdir",   false, apply_mkdir },
	[MOUNT_BIND]        = { "bind",    true,  apply_bind },
	[MOUNT_FS]          = { "mount",   false, apply_fs },
	[MOUNT_PIN]         = { "pin",     true,  apply_pin },
	[MOUNT_DETACH]      = { "unmount", false, apply_detach },
	[MOUNT_UNPIN]       = { "unpin",   false, apply_unpin },
	[MOUNT_REMOVE_TREE] = { "remove",  false, apply_remove_tree },
};
/* clang-format on */

int mount_apply(const struct mount_op *op, struct fault *fault)
{
	ensure(op->kind > MOUNT_INVALID && op->kind < MOUNT_KINDS);
	ensure(op->target && op->target[0] == '/');
	ensure(!kinds[op->kind].has_source || op->source);
	ensure(op->kind != MOUNT_FS || op->fstype);
	return kinds[op->kind].apply(op, fault);
}

void mount_shm_ops(struct mount_shm *shm, const char *target, uint64_t size_bytes)
{
	ensure(str_format(shm->options, sizeof(shm->options), "mode=1777,size=%llu",
	                  (unsigned long long)size_bytes) == 0);
	shm->ops[0] = (struct mount_op){ .kind = MOUNT_MKDIR, .target = target, .mode = 0700 };
	shm->ops[1] = (struct mount_op){
		.kind = MOUNT_FS,
		.source = "shm",
		.target = target,
		.fstype = "tmpfs",
		.options = shm->options,
		.flags = MOUNT_NOEXEC | MOUNT_NOSUID | MOUNT_NODEV | MOUNT_IF_ABSENT,
	};
}

/* ------------------------------------------------------------------------------------------------------ the child */

struct mount_job {
	struct mount_op *ops; /* their strings are on the heap */
	size_t nops;
	struct child_args child;
	mount_done_fn done;
	void *arg;
};

static void job_free(struct mount_job *job)
{
	if (!job)
		return;
	for (size_t i = 0; i < job->nops; i++) {
		const char *strings[] = { job->ops[i].source, job->ops[i].target,
			                  job->ops[i].fstype, job->ops[i].options };

		for (size_t k = 0; k < ARRAY_SIZE(strings); k++)
			free((void *)(uintptr_t)strings[k]);
	}
	free(job->ops);
	free((void *)(uintptr_t)job->child.name);
	free(job);
}

DEFINE_CLEANUP_PTR(struct mount_job, job_free);

static int job_child(void *arg)
{
	const struct mount_job *job = arg;
	struct fault fault;

	for (size_t i = 0; i < job->nops; i++)
		if (mount_apply(&job->ops[i], &fault) < 0)
			return fault_send(&fault, STDOUT_FILENO);
	return 0;
}

static void job_done(void *arg, const struct child_result *result)
{
	cleanup(job_free) struct mount_job *job = arg;
	struct err err = { 0 };

	job->done(job->arg, fault_check(&job->child, result, &err) < 0 ? &err : NULL);
}

int mount_run(struct loop *loop, const struct mount_op *ops, size_t nops, int oplock_fd,
              int64_t timeout_ms, mount_done_fn done, void *arg, struct err *err)
{
	cleanup(job_free) struct mount_job *job = xcalloc(1, sizeof(*job));

	ensure(loop && ops && nops > 0 && done);
	*job = (struct mount_job){
		.ops = xcalloc(nops, sizeof(*ops)), .nops = nops, .done = done, .arg = arg
	};
	for (size_t i = 0; i < nops; i++) {
		job->ops[i] = ops[i];
		job->ops[i].source = xstrdup(ops[i].source);
		job->ops[i].target = xstrdup(ops[i].target);
		job->ops[i].fstype = xstrdup(ops[i].fstype);
		job->ops[i].options = xstrdup(ops[i].options);
	}
	job->child = (struct child_args)CHILD_ARGS_INIT;
	job->child.name = xasprintf("%s %s%s", kinds[ops[0].kind].verb, ops[0].target,
	                            nops > 1 ? " ..." : "");
	job->child.fn = job_child;
	job->child.fn_arg = job;
	job->child.capture_out = true;
	job->child.capture_err = true;
	job->child.oplock_fd = oplock_fd;
	job->child.timeout_ms = timeout_ms;
	job->child.done = job_done;
	job->child.arg = job;
	if (!child_spawn(loop, &job->child, err))
		return -1;
	take_ptr(job);
	return 0;
}
