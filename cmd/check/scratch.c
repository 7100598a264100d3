/* cmd/check/scratch.c */
#include "cmd/check/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"

char *scratch_place(const struct check_ctx *ctx, const char *path)
{
	char *full = check_path(ctx, path), *slash;

	while (!fsx_exists(full) && (slash = strrchr(full, '/')) && slash > full)
		*slash = '\0';
	if (!fsx_exists(full))
		return free(full), xstrdup("/");
	return full;
}

int scratch_try(const struct check_ctx *ctx, struct scratch *ret)
{
	cleanup_free char *root = scratch_place(ctx, ctx->config->root);
	cleanup_free char *path = xasprintf("%s/.check-XXXXXX", root);

	if (!mkdtemp(path))
		return -errno;
	ret->path = take_ptr(path);
	return 0;
}

bool scratch_make(const struct check_ctx *ctx, struct check_out *out, struct scratch *ret)
{
	int rc = scratch_try(ctx, ret);

	if (rc < 0) {
		check_fail(out, NULL, "nothing can be made in %s: %s", ctx->config->root,
		           errno_name(-rc));
		check_hint(out, "%s, or its parent where it is to be made, has to be writable",
		           ctx->config->root);
	}
	return rc == 0;
}

void scratch_remove(struct scratch *scratch)
{
	if (scratch->path)
		ignore(fsx_remove_tree(AT_FDCWD, scratch->path) < 0); /* state.tmp shows it */
	free(scratch->path);
}

int scratch_own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return 0;
}

pid_t scratch_fork(int namespaces)
{
	pid_t pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}
