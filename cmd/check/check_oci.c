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
#include "cmd/check/scratch.h"
#include "cmd/check/smoke.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/cgroup.h"
#include "core/run/runtime.h"
#include "core/run/runtime_info.h"
#include "core/run/spec.h"

#define SMOKE_MS     10000 /* for one runtime, on a machine that has other things to do */
#define ALL_SMOKE_MS 25000 /* for all of them: what is left of CHECK_NAMED_MS cleans up */

#define VERSION(major, minor, patch) ((major)*1000000u + (minor)*1000u + (patch))

static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
	                            "/usr/bin",        "/sbin",          "/bin" };

/* Handlers where none is configured. */
static const char *const usual[] = { "crun", "runc" };

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
		check_hint(out, "install it anew");
	} else if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)) {
		check_fail(out, handler->name, "%s is no program", full);
		check_hint(out, "chmod 0755 %s if it is one, or correct [runtime %s] path", full,
		           handler->name);
	} else if (st.st_mode & 022) {
		check_fail(out, handler->name, "%s can be changed by others (mode %04o)", full,
		           st.st_mode & 07777);
		check_hint(out, "chmod go-w %s", full);
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
	check_hint(out, "run it by hand: %s %s", handler->path, word);
	return NULL;
}

static bool has_succeeded(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void release_info(struct runtime_info *info)
{
	free(info->program);
	free(info->version);
	free(info->features_json);
}
DEFINE_CLEANUP(struct runtime_info, release_info);

static bool read_version(struct check_out *out, const struct handler *handler,
                         struct runtime_info *info)
{
	struct err err = { .code = CODE_OK };
	int status = 0;
	cleanup_free char *text = ask(out, handler, "--version", &status);

	if (!text)
		return false;
	if (!has_succeeded(status))
		check_fail(out, handler->name, "%s --version fails", handler->path);
	else if (runtime_parse_version(str_of(text), info, &err) < 0)
		check_fail(out, handler->name, "%s --version: %s", handler->path, err.msg);
	else
		return true;
	check_hint(out, "install crun or runc anew, or name another in [runtime %s] path",
	           handler->name);
	return false;
}

static void version_of(const struct check_ctx *ctx, struct check_out *out,
                       const struct handler *handler)
{
	cleanup(release_info) struct runtime_info info = { .kind = RUNTIME_OTHER };

	(void)ctx;
	if (!handler->path)
		check_skip(out, handler->name, "not installed");
	else if (read_version(out, handler, &info))
		check_ok(out, handler->name, "%s %s", info.program, info.version);
}

/* What it prints when all is well; heap. NULL: it is not, which other checks tell about. */
static char *output_of(const struct handler *handler, const char *word)
{
	cleanup_free char *program = xstrdup(handler->path), *argument = xstrdup(word);
	char *argv[] = { program, argument, NULL };
	cleanup_free char *text = NULL;
	struct err unused;
	int status = 0;

	if (check_command(argv, NULL, &text, &status, &unused) < 0 || !has_succeeded(status))
		return NULL;
	return take_ptr(text);
}

/* False after a report. */
static bool ask_version(const struct check_ctx *ctx, struct check_out *out,
                        const struct handler *handler, struct runtime_info *ret)
{
	cleanup_free char *text = NULL;
	struct err unused;

	if (!handler->path) {
		check_skip(out, handler->name, "not installed");
		return false;
	}
	if (!check_has_failed(ctx, "oci.version", handler->name))
		text = output_of(handler, "--version");
	if (text && runtime_parse_version(str_of(text), ret, &unused) == 0)
		return true;
	check_skip(out, handler->name, "it does not tell its version");
	return false;
}

/* A distribution that keeps an old version mends it: "1.1.5+ds1", "1.1.5-0ubuntu1". */
static bool has_backports(const char *text)
{
	return strpbrk(text, "+~") != NULL;
}

/* The CVEs of a runtime, NULL: none is known. */
static const char *holes_of(const struct runtime_info *info)
{
	uint32_t n = info->number;

	if (info->kind != RUNTIME_RUNC)
		return NULL;
	if (n < VERSION(1, 1, 12))
		return "CVE-2024-21626, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881";
	if (n < VERSION(1, 2, 8) || (n >= VERSION(1, 3, 0) && n < VERSION(1, 3, 3)))
		return "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881";
	return NULL;
}

static void advisory_of(const struct check_ctx *ctx, struct check_out *out,
                        const struct handler *handler)
{
	cleanup(release_info) struct runtime_info info = { .kind = RUNTIME_OTHER };
	const char *holes;

	if (!ask_version(ctx, out, handler, &info))
		return;
	holes = holes_of(&info);
	if (holes && !has_backports(info.version)) {
		check_warn(out, handler->name, "%s %s has known holes: %s", info.program,
		           info.version, holes);
		check_hint(out, "update %s", handler->path);
	} else {
		check_ok(out, handler->name, "%s %s%s", info.program, info.version,
		         holes ? ": mended by the distribution, as far as its version tells" : "");
	}
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
	if (!has_succeeded(status)) {
		check_warn(out, handler->name,
		           "%s has no command features: what it can do is told by its version",
		           handler->path);
		check_hint(out, "crun 1.8.6, runc 1.1.0 and later have it");
	} else if (runtime_parse_features(str_of(text), &info, &err) < 0) {
		check_warn(out, handler->name, "%s features: %s", handler->path, err.msg);
		check_hint(out, "update %s", handler->path);
	} else {
		check_ok(out, handler->name, "%s tells what it can do", handler->path);
	}
	release_info(&info);
}

/* --- what it can do: by its features, else by its version */

struct answers {
	struct runtime_info info;
	yyjson_doc *features; /* NULL: it does not tell */
};

static void answers_release(struct answers *answers)
{
	release_info(&answers->info);
	yyjson_doc_free(answers->features);
}
DEFINE_CLEANUP(struct answers, answers_release);

/* False after a report. */
static bool ask_all(const struct check_ctx *ctx, struct check_out *out,
                    const struct handler *handler, struct answers *ret)
{
	cleanup_free char *text = NULL;
	struct err unused;

	if (!ask_version(ctx, out, handler, &ret->info))
		return false;
	if (!check_has_failed(ctx, "oci.features", handler->name))
		text = output_of(handler, "features");
	if (text && runtime_parse_features(str_of(text), &ret->info, &unused) == 0)
		ret->features =
			json_parse(text, strlen(text), CHECK_OUT_BYTES, "features", &unused);
	return true;
}

/* What stands at a JSON pointer; NULL: it does not tell, which does not mean no. */
static yyjson_val *told(const struct answers *answers, const char *pointer)
{
	return answers->features ? yyjson_doc_ptr_get(answers->features, pointer) : NULL;
}

/* Does it say, or is it known of its version, whether it can? False after a report. */
static bool is_known(struct check_out *out, const struct handler *handler,
                     const struct answers *answers, const char *pointer)
{
	if (answers->info.kind != RUNTIME_OTHER || told(answers, pointer))
		return true;
	check_skip(out, handler->name, "it does not tell");
	return false;
}

/* The first of @words that is not in the list at a JSON pointer; NULL: all are, or there is no list. */
static const char *first_missing(const struct answers *answers, const char *pointer,
                                 const char *const *words, size_t count)
{
	yyjson_val *list = told(answers, pointer), *item;
	yyjson_arr_iter it;

	for (size_t i = 0; i < count && yyjson_is_arr(list); i++) {
		it = yyjson_arr_iter_with(list);
		while ((item = yyjson_arr_iter_next(&it)) && !yyjson_equals_str(item, words[i]))
			;
		if (!item)
			return words[i];
	}
	return NULL;
}

static void min_version_of(const struct check_ctx *ctx, struct check_out *out,
                           const struct handler *handler)
{
	cleanup(release_info) struct runtime_info info = { .kind = RUNTIME_OTHER };
	uint32_t oldest;

	if (!ask_version(ctx, out, handler, &info))
		return;
	oldest = info.kind == RUNTIME_CRUN   ? VERSION(1, 8, 0)
	         : info.kind == RUNTIME_RUNC ? VERSION(1, 1, 0)
	                                     : 0;
	if (info.number < oldest) {
		check_fail(out, handler->name,
		           "%s %s is too old: crun 1.8 and runc 1.1 are the oldest that work",
		           info.program, info.version);
		check_hint(out, "update %s", handler->path);
	} else if (!oldest) {
		check_skip(out, handler->name, "no oldest version of %s is known", info.program);
	} else {
		check_ok(out, handler->name, "%s %s", info.program, info.version);
	}
}

static void spec_of(const struct check_ctx *ctx, struct check_out *out,
                    const struct handler *handler)
{
	cleanup(answers_release) struct answers answers = { .features = NULL };
	uint32_t ours = runtime_version_number(STR(SPEC_OCI_VERSION));
	const char *min, *max;

	if (!ask_all(ctx, out, handler, &answers))
		return;
	min = yyjson_get_str(told(&answers, "/ociVersionMin"));
	max = yyjson_get_str(told(&answers, "/ociVersionMax"));
	if (!min || !max) {
		check_skip(out, handler->name, "it does not tell which OCI specification it takes");
	} else if (runtime_version_number(str_of(min)) > ours ||
	           runtime_version_number(str_of(max)) < ours) {
		check_fail(out, handler->name,
		           "it takes OCI specification %s to %s, coracle writes " SPEC_OCI_VERSION,
		           min, max);
		check_hint(out, "use a version of %s that takes it", answers.info.program);
	} else {
		check_ok(out, handler->name,
		         "OCI specification %s to %s, coracle writes " SPEC_OCI_VERSION, min, max);
	}
}

/* What it lacks on this machine; NULL: nothing. */
static const char *missing_cgroup(const struct answers *answers, bool is_v2, bool by_systemd)
{
	if (!runtime_has(&answers->info, is_v2 ? RUNTIME_CGROUP_V2 : RUNTIME_CGROUP_V1))
		return is_v2 ? "cgroup v2, which this machine has"
		             : "cgroup v1, which this machine has";
	if (by_systemd && !runtime_has(&answers->info, RUNTIME_SYSTEMD_CGROUP))
		return "cgroups made by systemd, which pods get here";
	return NULL;
}

static void cgroup_of(const struct check_ctx *ctx, struct check_out *out,
                      const struct handler *handler)
{
	cleanup(answers_release) struct answers answers = { .features = NULL };
	struct err unused;
	cleanup(cgroup_host_free) struct cgroup_host *host = cgroup_host_new(&unused);
	bool is_v2 = host && host->mode == CGROUP_V2, by_systemd = check_uses_systemd(ctx);
	const char *missing;

	if (!ask_all(ctx, out, handler, &answers) ||
	    !is_known(out, handler, &answers, is_v2 ? "/linux/cgroup/v2" : "/linux/cgroup/v1") ||
	    (by_systemd && !is_known(out, handler, &answers, "/linux/cgroup/systemd")))
		return;
	missing = missing_cgroup(&answers, is_v2, by_systemd);
	if (!host || host->mode == CGROUP_NONE) {
		check_skip(out, handler->name, "no cgroups");
	} else if (missing) {
		check_fail(out, handler->name, "%s does not know %s", handler->path, missing);
		check_hint(out, "use another version or build of %s", answers.info.program);
	} else {
		check_ok(out, handler->name, "cgroup v%d, made by %s", is_v2 ? 2 : 1,
		         by_systemd ? "systemd" : "the runtime");
	}
}

static void seccomp_of(const struct check_ctx *ctx, struct check_out *out,
                       const struct handler *handler)
{
	/* of the default profile */
	static const char *const actions[] = { "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO" };
	cleanup(answers_release) struct answers answers = { .features = NULL };
	const char *missing;

	if (!ask_all(ctx, out, handler, &answers) ||
	    !is_known(out, handler, &answers, "/linux/seccomp/enabled"))
		return;
	missing = first_missing(&answers, "/linux/seccomp/actions", actions, ARRAY_SIZE(actions));
	if (!runtime_has(&answers.info, RUNTIME_SECCOMP)) {
		check_warn(out, handler->name,
		           "%s was built without seccomp: it cannot apply a profile",
		           handler->path);
	} else if (missing) {
		check_warn(out, handler->name,
		           "%s has no seccomp action %s: it cannot apply the default profile",
		           handler->path, missing);
	} else {
		check_ok(out, handler->name, "profiles can be applied");
		return;
	}
	check_hint(out, "use a build of %s with seccomp", answers.info.program);
}

static void mounts_of(const struct check_ctx *ctx, struct check_out *out,
                      const struct handler *handler)
{
	static const char *const options[] = { "rbind", "rprivate", "rslave", "rshared" };
	static const struct {
		enum runtime_feature feature;
		const char *who;
	} extras[] = {
		{ RUNTIME_RRO, "recursively read-only volumes" },
		{ RUNTIME_IDMAP, "volumes of pods with hostUsers: false" },
	};
	cleanup(answers_release) struct answers answers = { .features = NULL };
	const char *missing;
	bool fine = true;

	if (!ask_all(ctx, out, handler, &answers) ||
	    !is_known(out, handler, &answers, "/mountOptions"))
		return;
	missing = first_missing(&answers, "/mountOptions", options, ARRAY_SIZE(options));
	if (missing) {
		check_warn(out, handler->name, "%s has no mount option %s: volumes with it fail",
		           handler->path, missing);
		check_hint(out, "use another version of %s", answers.info.program);
		fine = false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(extras); i++) {
		struct err err = { .code = CODE_OK };

		if (runtime_require(&answers.info, extras[i].feature, &err) == 0)
			continue;
		check_warn(out, handler->name, "%s fail: %s", extras[i].who, err.msg);
		check_hint(out, "use a version of %s that can", answers.info.program);
		fine = false;
	}
	if (fine)
		check_ok(out, handler->name, "every kind of volume can be mounted");
}

static void hooks_of(const struct check_ctx *ctx, struct check_out *out,
                     const struct handler *handler)
{
	static const char *const hooks[] = { "createRuntime", "createContainer", "startContainer",
		                             "poststart", "poststop" };
	cleanup(answers_release) struct answers answers = { .features = NULL };
	const char *missing;

	if (!ask_all(ctx, out, handler, &answers))
		return;
	missing = first_missing(&answers, "/hooks", hooks, ARRAY_SIZE(hooks));
	if (missing) {
		check_warn(out, handler->name,
		           "%s has no hook %s: what an NRI plugin adds there does not run",
		           handler->path, missing);
		check_hint(out, "use another version of %s", answers.info.program);
	} else if (!told(&answers, "/hooks")) {
		check_skip(out, handler->name, "it does not tell which hooks it has");
	} else {
		check_ok(out, handler->name, "every hook that NRI plugins add");
	}
}

static void smoke_of(const struct check_ctx *ctx, struct check_out *out,
                     const struct handler *handler)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };
	struct err err = { .code = CODE_OK };
	int limit_ms;

	if (!handler->path) {
		check_skip(out, handler->name, "not installed");
		return;
	}
	if (!scratch_make(ctx, out, &scratch))
		return;
	limit_ms = MIN(SMOKE_MS, ALL_SMOKE_MS / (int)MAX(ctx->config->nruntimes, 1));
	if (smoke_run(handler->path, scratch.path, limit_ms, &err) == 0) {
		check_ok(out, handler->name, "a container was created, started and deleted");
		return;
	}
	check_fail(out, handler->name, "no container can be run: %s", err.msg);
	check_hint(out,
	           "coracle check -v kernel cgroup storage oci tells what this machine or %s lacks",
	           handler->path);
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

static void min_version(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, min_version_of);
}

static void spec(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, spec_of);
}

static void cgroup(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, cgroup_of);
}

static void seccomp(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, seccomp_of);
}

static void mounts(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, mounts_of);
}

static void hooks(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, hooks_of);
}

static void smoke(const struct check_ctx *ctx, struct check_out *out)
{
	each_handler(ctx, out, smoke_of);
}

static const struct check checks[] = {
	{ "oci.path", CHECK_FAIL, 0, path },
	{ "oci.version", CHECK_FAIL, CHECK_HOST, version },
	{ "oci.min-version", CHECK_FAIL, CHECK_HOST, min_version },
	{ "oci.advisory", CHECK_WARN, CHECK_HOST, advisory },
	{ "oci.features", CHECK_WARN, CHECK_HOST, features },
	{ "oci.spec", CHECK_FAIL, CHECK_HOST, spec },
	{ "oci.cgroup", CHECK_FAIL, CHECK_HOST, cgroup },
	{ "oci.seccomp", CHECK_WARN, CHECK_HOST, seccomp },
	{ "oci.mounts", CHECK_WARN, CHECK_HOST, mounts },
	{ "oci.hooks", CHECK_WARN, CHECK_HOST, hooks },
	{ "oci.smoke", CHECK_FAIL, CHECK_HOST | CHECK_ROOT | CHECK_NAMED, smoke },
};

const struct check_group check_group_oci = { "oci", checks, ARRAY_SIZE(checks) };
