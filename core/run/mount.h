/* core/run/mount.h
 *
 * Mount work, done by a child: umount, bind and rm -r can hang for ever on a dead file server, and a hung child holds
 * neither the loop nor the state lock. A job is a list of operations run in order; it stops at the first that fails and
 * undoes nothing, since every operation is idempotent and the step that asked knows how to take back.
 *
 * Thread: mount_run on the loop; mount_apply in a child (or in a worker, for paths that are ours alone).
 */
#ifndef CORACLE_CORE_RUN_MOUNT_H
#define CORACLE_CORE_RUN_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/run/fault.h"

enum mount_kind {
	MOUNT_INVALID,
	MOUNT_MKDIR, /* target with its missing parents, @mode; there already: fine */
	MOUNT_BIND,  /* source onto target (which exists), @flags, @propagation */
	MOUNT_FS,    /* a file system of @fstype with @options on target, @flags */
	MOUNT_PIN, /* source onto target, an empty file made when it is missing: keeps a namespace alive */
	MOUNT_DETACH, /* target and what is mounted below, deepest first; nothing mounted: fine */
	MOUNT_UNPIN,  /* detach target, then unlink it; missing: fine */
	MOUNT_REMOVE_TREE, /* detach all mounts at and below target, then rm -r; missing: fine */
	MOUNT_KINDS,
};

#define MOUNT_RECURSIVE (1u << 0) /* bind: with submounts */
#define MOUNT_READONLY  (1u << 1) /* bind: this mount only, not its submounts */
#define MOUNT_RRO       (1u << 2) /* bind: submounts too (kernel >= 5.12) */
#define MOUNT_NOSUID    (1u << 3)
#define MOUNT_NODEV     (1u << 4)
#define MOUNT_NOEXEC    (1u << 5)
#define MOUNT_IF_ABSENT (1u << 6) /* bind, fs: done already when target is a mount point */

enum mount_propagation { MOUNT_KEEP, MOUNT_PRIVATE, MOUNT_SLAVE, MOUNT_SHARED };

struct mount_op {
	enum mount_kind kind;
	const char *source, *target;
	const char *fstype, *options; /* MOUNT_FS; options NULL: none */
	unsigned flags;
	enum mount_propagation propagation;
	mode_t mode; /* MOUNT_MKDIR */
};

/* One operation, now. Blocking. 0, or -1 with @fault filled. */
NODISCARD int mount_apply(const struct mount_op *op, struct fault *fault);
/* /dev/shm of a pod: tmpfs "shm" on @target (made if missing), noexec nosuid nodev, mode 1777. Fills two operations. */
#define MOUNT_SHM_OPS   2
#define MOUNT_SHM_BYTES UINT64_C(67108864)
struct mount_shm {
	struct mount_op ops[MOUNT_SHM_OPS];
	char options[64];
};
void mount_shm_ops(struct mount_shm *shm, const char *target, uint64_t size_bytes);

/* err NULL: done. Else what failed first; a child that survives SIGKILL is named there ("stuck") and stays behind. */
typedef void (*mount_done_fn)(void *arg, const struct err *err);
/*
 * mount_run - run @ops in one child; strings are copied.
 * @oplock_fd: -1, or the op's lock, which the child inherits.
 * Returns: 0 and @done follows on the loop (never from inside this call), or -1 with @err set and no @done.
 */
NODISCARD int mount_run(struct loop *loop, const struct mount_op *ops, size_t nops, int oplock_fd,
                        int64_t timeout_ms, mount_done_fn done, void *arg, struct err *err);

/* Mount points at and below @prefix (whole path components), innermost mounts first, as a strv; the orphan sweep uses it. */
NODISCARD int mount_list(const char *prefix, char ***ret_targets, struct err *err);

#endif
