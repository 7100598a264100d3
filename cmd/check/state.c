#include "cmd/check/state.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/base/mem.h"
#include "core/base/str.h"

char *check_root_path(const struct check_ctx *ctx, const char *name)
{
	return xasprintf("%s%s%s%s", ctx->sysroot, ctx->config->root, *name ? "/" : "", name);
}

char *check_state_path(const struct check_ctx *ctx, const char *name)
{
	return xasprintf("%s%s%s%s", ctx->sysroot, ctx->config->state, *name ? "/" : "", name);
}

int check_state_read(const struct check_ctx *ctx, struct offline *ret, struct err *err)
{
	cleanup_free char *root = check_root_path(ctx, "");

	return offline_read(root, ctx->config, true, ret, err);
}

bool check_state_whole(const struct check_ctx *ctx, struct check_out *out, struct offline *ret)
{
	struct err err = { .code = CODE_OK };

	if (check_state_read(ctx, ret, &err) < 0)
		check_skip(out, NULL, "%s", err.msg);
	else if (ret->load.damage[0])
		check_skip(out, NULL, "the journal is damaged: see state.journal");
	else
		return true;
	return false;
}

bool check_state_settled(const struct check_ctx *ctx, struct check_out *out, check_amiss_fn amiss,
                         void *arg, struct offline *ret)
{
	cleanup_free char *root = check_root_path(ctx, "");

	if (!check_state_whole(ctx, out, ret))
		return false;
	if (!offline_daemon(root) || !amiss(ctx, ret, arg))
		return true;
	nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL);
	offline_release(ret);
	return check_state_whole(ctx, out, ret);
}

bool check_is_on_record(const struct state *state, const char *id)
{
	if (sandbox_get(state, id) || container_get(state, id))
		return true;
	list_for_each(l, &state->quarantine)
		if (streq(list_entry(l, struct quarantine, link)->id, id))
			return true;
	return false;
}
