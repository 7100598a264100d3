/* cmd/check/check_config.c: coracle.conf and its drop-ins. What the reader complains about keeps its kind; only what
 * would keep the daemon from starting is a failure. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/check/check.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* "FILE:12: text": the place and the rest. */
static void report_problem(struct check_out *out, const struct config_problem *problem)
{
	const char *colon = problem->text, *text = problem->text;
	cleanup_free char *file = NULL;
	unsigned int line = 0;

	while ((colon = strchr(colon, ':'))) {
		char *end;
		unsigned long n = strtoul(colon + 1, &end, 10);

		if (end > colon + 1 && *end == ':') {
			file = xstrndup(problem->text, (size_t)(colon - problem->text));
			line = (unsigned int)n;
			text = end + 1 + strspn(end + 1, " ");
			break;
		}
		colon++;
	}
	check_report(out, problem->fatal ? CHECK_FAIL : CHECK_WARN, NULL, "%s", text);
	if (file)
		check_source(out, file, line);
}

static void report_all(const struct check_ctx *ctx, struct check_out *out,
                       enum config_trouble trouble, const char *fine)
{
	bool any = false;

	for (size_t i = 0; i < ctx->config->nproblems; i++) {
		if (ctx->config->problems[i].trouble != trouble)
			continue;
		report_problem(out, &ctx->config->problems[i]);
		any = true;
	}
	if (!any)
		check_ok(out, NULL, "%s", fine);
}

static void readable(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_UNREADABLE,
	           fsx_exists(ctx->config->file) ? ctx->config->file : "no file: all defaults");
}

static void syntax(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_SYNTAX, "every line is a section or a setting");
}

static void unknown(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_UNKNOWN, "every section and key is known");
}

static void duplicate(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_DUPLICATE, "nothing is set twice");
}

static void deprecated(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_DEPRECATED, "every key has its present name");
}

static void value(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_VALUE, "every value is accepted");
}

static void runtime(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_RUNTIME, "runtime handlers fit together");
}

static void paths(const struct check_ctx *ctx, struct check_out *out)
{
	report_all(ctx, out, CONFIG_PATHS, "root, state and socket lie apart");
}

static bool look_at_perms(struct check_out *out, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return true; /* somebody else's check */
	if (st.st_mode & S_IWOTH)
		check_fail(out, path, "%s can be written by everybody (mode %04o)", path,
		           st.st_mode & 07777);
	else if ((st.st_mode & S_IWGRP) && st.st_gid != 0)
		check_warn(out, path, "%s can be written by group %u (mode %04o)", path, st.st_gid,
		           st.st_mode & 07777);
	else if (st.st_uid != 0)
		check_warn(out, path, "%s belongs to user %u, not to root", path, st.st_uid);
	else
		return true;
	check_hint(out, "chown root: %s; chmod go-w %s", path, path);
	return false;
}

static void perms(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *dir = xasprintf("%s.d", ctx->config->file);
	cleanup(strv_free) char **names = NULL;
	bool fine = look_at_perms(out, ctx->config->file);

	fine &= look_at_perms(out, dir);
	if (fsx_list(AT_FDCWD, dir, &names) >= 0) {
		for (size_t i = 0; names[i]; i++) {
			cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

			if (ends_with(names[i], ".conf"))
				fine &= look_at_perms(out, path);
		}
	}
	if (fine)
		check_ok(out, NULL, "only root can change it");
}

static const struct check checks[] = {
	{ "config.readable", CHECK_FAIL, 0, readable },
	{ "config.perms", CHECK_FAIL, 0, perms },
	{ "config.syntax", CHECK_WARN, 0, syntax },
	{ "config.unknown", CHECK_WARN, 0, unknown },
	{ "config.duplicate", CHECK_WARN, 0, duplicate },
	{ "config.deprecated", CHECK_WARN, 0, deprecated },
	{ "config.value", CHECK_WARN, 0, value },
	{ "config.runtime", CHECK_FAIL, 0, runtime },
	{ "config.paths", CHECK_FAIL, 0, paths },
};

const struct check_group check_group_config = { "config", checks, ARRAY_SIZE(checks) };
