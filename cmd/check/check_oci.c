/* cmd/check/check_oci.c: the OCI runtimes that are configured, or found where none is. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/runtime.h"
#include "core/run/runtime_info.h"

#define VERSION(major, minor, patch) ((major)*1000000u + (minor)*1000u + (patch))

static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
	                            "/usr/bin",        "/sbin",          "/bin" };

/* Where a program is; heap. NULL: nowhere. */
static char *find_program(const struct check_ctx *ctx, const char *name)
{
	if (*name == '/')
		return check_exists(ctx, name) ? xstrdup(name) : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dirs[i], name);

		if (check_exists(ctx, path))
			return take_ptr(path);
	}
	return NULL;
}

struct handler {
	const char *name, *wanted; /* wanted: path or name from the configuration */
	char *path;                /* NULL: not found */
};

typedef void (*handler_fn)(const struct check_ctx *ctx, struct check_out *out,
                           const struct handler *handler);

static void each_handler(const struct check_ctx *ctx, struct check_out *out, handler_fn fn)
{
	static const char *const usual[] = { "crun", "runc" };
	size_t found = 0;

	for (size_t i = 0; i < ctx->config->nruntimes; i++) {
		const struct config_runtime *r = &ctx->config->runtimes[i];
		struct handler handler = { r->name, r->path, find_program(ctx, r->path) };

		fn(ctx, out, &handler);
		free(handler.path);
	}
	for (size_t i = 0; ctx->config->nruntimes == 0 && i < ARRAY_SIZE(usual); i++) {
		struct handler handler = { usual[i], usual[i], find_program(ctx, usual[i]) };

		if (handler.path) {
			fn(ctx, out, &handler);
			found++;
		}
		free(handler.path);
	}
	if (ctx->config->nruntimes == 0 && !found)
		fn(ctx, out, &(struct handler){ "crun", "crun or runc", NULL });
}

static void path_of(const struct check_ctx *ctx, struct check_out *out,
                    const struct handler *handler)
{
	cleanup_free char *full = handler->path ? check_path(ctx, handler->path) : NULL;
	struct stat st;

	if (!full) {
		check_fail(out, handler->name, "%s is not installed", handler->wanted);
		check_hint(out, "install crun or runc, or name it in [runtime %s] path",
		           handler->name);
	} else if (stat(full, &st) < 0) {
		check_fail(out, handler->name, "%s: %s", full, errno_name(errno));
	} else if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)) {
		check_fail(out, handler->name, "%s is no program", full);
	} else if (st.st_mode & 022) {
		check_fail(out, handler->name, "%s can be changed by others (mode %04o)", full,
		           st.st_mode & 07777);
	} else {
		check_ok(out, handler->name, "%s", full);
	}
}

/* What the program says to an argument; NULL after a report. */
static char *ask(struct check_out *out, const struct handler *handler, const char *word,
                 int *ret_status)
{
	cleanup_free char *program = xstrdup(handler->path), *argument = xstrdup(word);
	char *argv[] = { program, argument, NULL }, *text = NULL;
	struct err err = { .code = CODE_OK };

	if (check_command(argv, NULL, &text, ret_status, &err) == 0)
		return text;
	check_fail(out, handler->name, "%s", err.msg);
	return NULL;
}

static void release_info(struct runtime_info *info)
{
	free(info->program);
	free(info->version);
	free(info->features_json);
}

static bool read_version(struct check_out *out, const struct handler *handler,
                         struct runtime_info *info)
{
	struct err err = { .code = CODE_OK };
	int status = 0;
	cleanup_free char *text = ask(out, handler, "--version", &status);

	if (!text)
		return false;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		check_fail(out, handler->name, "%s --version fails", handler->path);
	else if (runtime_parse_version(str_of(text), info, &err) < 0)
		check_fail(out, handler->name, "%s --version: %s", handler->path, err.msg);
	else
		return true;
	return false;
}

static void version_of(const struct check_ctx *ctx, struct check_out *out,
                       const struct handler *handler)
{
	struct runtime_info info = { .kind = RUNTIME_OTHER };
	uint32_t oldest;

	(void)ctx;
	if (!handler->path) {
		check_skip(out, handler->name, "not installed");
		return;
	}
	if (read_version(out, handler, &info)) {
		oldest = info.kind == RUNTIME_CRUN   ? VERSION(1, 8, 0)
		         : info.kind == RUNTIME_RUNC ? VERSION(1, 1, 0)
		                                     : 0;
		if (info.number && info.number < oldest)
			check_fail(
				out, handler->name,
				"%s %s is too old: crun 1.8 and runc 1.1 are the oldest that work",
				info.program, info.version);
		else
			check_ok(out, handler->name, "%s %s", or_empty(info.program),
			         or_empty(info.version));
	}
	release_info(&info);
}

/* A distribution that keeps an old version mends it: "1.1.5+ds1", "1.1.5-0ubuntu1". */
static bool has_backports(const char *text)
{
	return strpbrk(text, "+~") != NULL;
}

static void advisory_of(const struct check_ctx *ctx, struct check_out *out,
                        const struct handler *handler)
{
	struct runtime_info info = { .kind = RUNTIME_OTHER };
	const char *holes = NULL;
	uint32_t n;

	(void)ctx;
	if (!handler->path) {
		check_skip(out, handler->name, "not installed");
		return;
	}
	if (read_version(out, handler, &info)) {
		n = info.number;
		if (info.kind == RUNTIME_RUNC && n < VERSION(1, 1, 12))
			holes = "CVE-2024-21626, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881";
		else if (info.kind == RUNTIME_RUNC &&
		         (n < VERSION(1, 2, 8) || (n >= VERSION(1, 3, 0) && n < VERSION(1, 3, 3))))
			holes = "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881";
		if (holes && !has_backports(info.version)) {
			check_warn(out, handler->name, "%s %s has known holes: %s", info.program,
			           info.version, holes);
			check_hint(out, "update it");
		} else {
			check_ok(out, handler->name, "%s %s%s", or_empty(info.program),
			         or_empty(info.version),
			         holes ? ": mended by the distribution, as far as its version tells"
			               : "");
		}
	}
	release_info(&info);
}

static void features_of(const struct check_ctx *ctx, struct check_out *out,
                        const struct handler *handler)
{
	struct runtime_info info = { .kind = RUNTIME_OTHER };
	struct err err = { .code = CODE_OK };
	cleanup_free char *text = NULL;
	int status = 0;

	(void)ctx;
	if (!handler->path) {
		check_skip(out, handler->name, "not installed");
		return;
	}
	text = ask(out, handler, "features", &status);
	if (!text)
		return;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		check_warn(out, handler->name,
		           "%s has no command features: what it can do is told by its version",
		           handler->path);
	} else if (runtime_parse_features(str_of(text), &info, &err) < 0) {
		check_warn(out, handler->name, "%s features: %s", handler->path, err.msg);
	} else {
		check_ok(out, handler->name, "%s tells what it can do", handler->path);
	}
	release_info(&info);
}

static void path(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, path_of);
}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, version_of);
}

static void advisory(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, advisory_of);
}

static void features(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, features_of);
}

static const struct check checks[] = {
	{ "oci.path", CHECK_FAIL, 0, path },
	{ "oci.version", CHECK_FAIL, CHECK_HOST, version },
	{ "oci.advisory", CHECK_WARN, CHECK_HOST, advisory },
	{ "oci.features", CHECK_WARN, CHECK_HOST, features },
};

const struct check_group check_group_oci = { "oci", checks, ARRAY_SIZE(checks) };
