/* cmd/check/check_state.c: what a start would find on disk (group state), what the images consist of (fsck) and what the
 * running daemon answers (live). Read-only: not a byte and not a time stamp changes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/overlay.h"
#include "core/journal/load.h"
#include "cri/grpc/client.h"
#include "cri/proto/cri.h"

#define LAYER_HEX     64
#define STRAY_SECONDS 3600
#define META_MAX      256
#define LIVE_MS       2000

static char *root_path(const struct check_ctx *ctx, const char *name)
{
	return xasprintf("%s%s/%s", ctx->sysroot, ctx->config->root, name);
}

static void lock(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *path = root_path(ctx, "lock");
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char pid[32] = "";

	if (fd < 0) {
		check_report(out, errno == ENOENT ? CHECK_OK : CHECK_FAIL, NULL, "%s",
		             errno == ENOENT ? "nothing was started here yet" : errno_name(errno));
		return;
	}
	if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
		check_ok(out, NULL, "no daemon runs");
		return;
	}
	if (pread(fd, pid, sizeof(pid) - 1, 0) < 0)
		pid[0] = '\0';
	check_ok(out, NULL, "the daemon runs%s%s", *pid ? ", pid " : "", pid);
}

static void journal(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *path = root_path(ctx, "journal");
	cleanup_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct load load = { .base = 0 };
	struct err err = { .code = CODE_OK };

	if (dir < 0) {
		check_report(out, errno == ENOENT ? CHECK_OK : CHECK_FAIL, NULL, "%s: %s", path,
		             errno == ENOENT ? "there is none yet" : errno_name(errno));
		return;
	}
	if (load_scan(dir, LOAD_STATE, 0, &load, &err) < 0) {
		check_fail(out, NULL, "%s", err.msg);
	} else if (load.is_damaged) {
		check_fail(out, NULL, "%s", load.damage);
		check_hint(out, "coracle recover shows what is left");
	} else {
		check_ok(out, NULL, "whole up to record %llu%s", (unsigned long long)load.last,
		         load.torn_records || load.torn_bytes
		                 ? ", behind it a tail that was never acknowledged"
		                 : "");
	}
	load_release(&load);
}

static void stray(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *dir = root_path(ctx, "");
	cleanup(strv_free) char **names = NULL;
	bool any = false;

	if (fsx_list(AT_FDCWD, dir, &names) < 0) {
		check_skip(out, NULL, "nothing is there");
		return;
	}
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = root_path(ctx, names[i]);
		struct stat st;

		if (!starts_with(names[i], ".check-") && !ends_with(names[i], ".tmp"))
			continue;
		if (lstat(path, &st) < 0 || time(NULL) - st.st_mtim.tv_sec < STRAY_SECONDS)
			continue;
		any = true;
		check_warn(out, names[i], "%s was left behind by an interrupted run", path);
		check_hint(out, "rm -r %s", path);
	}
	if (!any)
		check_ok(out, NULL, "nothing was left behind");
}

/* --- fsck */

static bool is_layer_name(const char *name)
{
	return strlen(name) == LAYER_HEX && strspn(name, "0123456789abcdef") == LAYER_HEX;
}

typedef bool (*layer_fn)(struct check_out *out, const char *name, const char *path);

static void each_layer(const struct check_ctx *ctx, struct check_out *out, layer_fn fn,
                       const char *fine)
{
	cleanup_free char *dir = root_path(ctx, "layers");
	cleanup(strv_free) char **names = NULL;
	size_t count = 0;
	bool good = true;

	if (fsx_list(AT_FDCWD, dir, &names) < 0) {
		check_skip(out, NULL, "there are no layers");
		return;
	}
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

		if (!is_layer_name(names[i]))
			continue;
		count++;
		good &= fn(out, names[i], path);
	}
	if (good)
		check_ok(out, NULL, "%zu layers %s", count, fine);
}

static bool look_at_tree(struct check_out *out, const char *name, const char *path)
{
	cleanup_free char *fs = xasprintf("%s/fs", path);

	if (fsx_is_dir(fs))
		return true;
	check_fail(out, name, "%s is missing: containers of its images do not start", fs);
	check_hint(out, "coracle ctl removes an image, and a pull fetches it again");
	return false;
}

static bool look_at_meta(struct check_out *out, const char *name, const char *path)
{
	cleanup_free char *file = xasprintf("%s/meta", path), *text = NULL;
	struct layer_meta meta;
	size_t len;
	int rc = fsx_read(AT_FDCWD, file, META_MAX, &text, &len);

	if (rc >= 0 && layer_meta_parse(text, len, &meta) == 0)
		return true;
	check_fail(out, name, "%s: %s", file,
	           rc < 0 ? errno_name(-rc) : "not what was written there");
	return false;
}

static void layer_tree(const struct check_ctx *ctx, struct check_out *out)
{
	each_layer(ctx, out, look_at_tree, "have their files");
}

static void layer_meta_check(const struct check_ctx *ctx, struct check_out *out)
{
	each_layer(ctx, out, look_at_meta, "know their size");
}

/* --- live */

static void answers(const struct check_ctx *ctx, struct check_out *out)
{
	const char *path = ctx->endpoint ? ctx->endpoint : ctx->config->listen;
	cleanup(grpc_client_free) struct grpc_client *client = NULL;
	const cri_VersionRequest request = { 0 };
	cri_VersionResponse response = { 0 };
	struct pb_arena *arena = pb_arena_new(1 << 20);
	struct err err = { .code = CODE_OK };

	client = grpc_client_new(path, &err);
	if (!client || grpc_client_unary(client,
	                                 &(struct grpc_client_call){
						 .method = "/runtime.v1.RuntimeService/Version",
						 .request_desc = cri_VersionRequest_fields,
						 .request = &request,
						 .response_desc = cri_VersionResponse_fields,
						 .timeout_ms = LIVE_MS },
	                                 arena, &response, &err) < 0)
		check_fail(out, NULL, "%s", err.msg);
	else
		check_ok(out, NULL, "%s: %s %s", path, or_empty(response.runtime_name),
		         or_empty(response.runtime_version));
	pb_arena_free(arena);
}

static const struct check state_checks[] = {
	{ "state.lock", CHECK_FAIL, 0, lock },
	{ "state.journal", CHECK_FAIL, 0, journal },
	{ "state.tmp", CHECK_WARN, 0, stray },
};

static const struct check fsck_checks[] = {
	{ "fsck.layer", CHECK_FAIL, CHECK_ASKED, layer_tree },
	{ "fsck.meta", CHECK_FAIL, CHECK_ASKED, layer_meta_check },
};

static const struct check live_checks[] = {
	{ "live.version", CHECK_FAIL, CHECK_ASKED | CHECK_HOST, answers },
};

const struct check_group check_group_state = { "state", state_checks, ARRAY_SIZE(state_checks) };
const struct check_group check_group_fsck = { "fsck", fsck_checks, ARRAY_SIZE(fsck_checks) };
const struct check_group check_group_live = { "live", live_checks, ARRAY_SIZE(live_checks) };
