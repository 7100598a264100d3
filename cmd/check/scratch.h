/* cmd/check/scratch.h: a private directory .check-XXXXXX below [daemon] root for what a check tries out. */
#ifndef CORACLE_CMD_CHECK_SCRATCH_H
#define CORACLE_CMD_CHECK_SCRATCH_H

#include <sys/types.h>

#include "cmd/check/check.h"

struct scratch {
	char *path; /* NULL: could not be made */
};

/* @path below the sysroot, or the nearest directory above it that exists: where it would be made. Heap. */
char *scratch_place(const struct check_ctx *ctx, const char *path);
/* 0 or -errno. */
NODISCARD int scratch_try(const struct check_ctx *ctx, struct scratch *ret);
/* The same; false after a report. */
NODISCARD bool scratch_make(const struct check_ctx *ctx, struct check_out *out,
                            struct scratch *ret);
void scratch_remove(struct scratch *scratch);
/* A mount namespace of our own, private and gone with this process; -errno. */
NODISCARD int scratch_own_mounts(void);

/* fork() into new namespaces (CLONE_NEWx); the child dies with us. */
NODISCARD pid_t scratch_fork(int namespaces);

DEFINE_CLEANUP(struct scratch, scratch_remove);

#endif
