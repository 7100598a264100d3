/* cmd/check/applet.c: the command line of coracle check, the choice of checks, and how the result is shown. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cmd/applets.h"
#include "cmd/check/check.h"
#include "cmd/check/run.h"
#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define MAX_WORDS 64

static const char usage[] =
	"usage: coracle check [OPTION...] [GROUP|ID...]\n"
	"Look whether the daemon will start on this machine and pods will run. Nothing is changed.\n"
	"\n"
	"Without operands: every group that need not be asked for. An ID may end in '.*'.\n"
	"\n"
	"  -c, --config FILE        configuration file (/etc/coracle/coracle.conf; a missing default is fine)\n"
	"      --root DIR           persistent data (/var/lib/coracle)\n"
	"      --state DIR          run-time data, gone after a reboot (/run/coracle)\n"
	"  -t, --config-only        group config alone, silent when good; fails on what keeps the daemon from starting\n"
	"      --containerd[=FILE]  also a containerd configuration (/etc/containerd/config.toml)\n"
	"      --fsck               also whether the images' layers are whole\n"
	"      --live[=SOCKET]      also whether the running daemon answers\n"
	"      --sysroot DIR        look at the system in DIR; what only the running kernel knows is skipped\n"
	"      --kconfig FILE       configuration of the kernel\n"
	"  -j, --json               JSON\n"
	"  -q, --quiet              only warnings and failures, no summary\n"
	"  -v, --verbose            also what is fine, and a container that is started (oci.smoke)\n"
	"      --strict             warnings count as failures\n"
	"      --ignore ID[,ID...]  a failure of ID is a warning; all: of any\n"
	"      --list               print every id with its group and severity\n"
	"      --print-config       print the configuration in force, each value with its origin\n"
	"  -h, --help               this text\n"
	"\n"
	"Exit status: 0 nothing failed, 1 something failed, 2 usage or trouble.\n";

static const struct check_group *const groups[] = {
	&check_group_config,  &check_group_kernel,     &check_group_sysctl, &check_group_cgroup,
	&check_group_storage, &check_group_oci,        &check_group_cni,    &check_group_net,
	&check_group_state,   &check_group_containerd, &check_group_fsck,   &check_group_live,
};

struct options {
	bool config_only, json, quiet, verbose, strict, list, print_config, fsck, help;
	const char *containerd, *live, *sysroot, *kconfig, *ignore;
	struct config_flags flags;
	const char *words[MAX_WORDS];
	size_t nwords;
};

static PRINTF_LIKE(1, 2) int usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("coracle: check: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\nTry 'coracle check --help'.\n", stderr);
	return -1;
}

/* ------------------------------------------------------------------------------------------------------- options */

struct option {
	const char *name;
	char letter;
	bool *flag;
	const char **value;
	const char *dflt; /* of a value that may be left out */
};

static int unknown_option(const struct option *options, size_t n, const char *arg)
{
	const char *names[32], *meant;

	for (size_t i = 0; i < n; i++)
		names[i] = options[i].name;
	meant = str_suggest(arg + strspn(arg, "-"), names, n);
	return usage_error("unknown option '%s'%s%s%s", arg, meant ? "; did you mean '--" : "",
	                   or_empty(meant), meant ? "'?" : "");
}

static const struct option *find_option(const struct option *options, size_t n, const char *arg)
{
	size_t len = strcspn(arg, "=");

	for (size_t i = 0; i < n; i++) {
		if (arg[1] != '-' ? options[i].letter && arg[1] == options[i].letter && !arg[2]
		                  : strlen(options[i].name) == len - 2 &&
		                            strncmp(options[i].name, arg + 2, len - 2) == 0)
			return &options[i];
	}
	return NULL;
}

static int parse_options(int argc, char **argv, struct options *opt)
{
	const struct option options[] = {
		{ "config", 'c', NULL, &opt->flags.file, NULL },
		{ "root", 0, NULL, &opt->flags.root, NULL },
		{ "state", 0, NULL, &opt->flags.state, NULL },
		{ "config-only", 't', &opt->config_only, NULL, NULL },
		{ "containerd", 0, NULL, &opt->containerd, "" },
		{ "fsck", 0, &opt->fsck, NULL, NULL },
		{ "live", 0, NULL, &opt->live, "" },
		{ "sysroot", 0, NULL, &opt->sysroot, NULL },
		{ "kconfig", 0, NULL, &opt->kconfig, NULL },
		{ "json", 'j', &opt->json, NULL, NULL },
		{ "quiet", 'q', &opt->quiet, NULL, NULL },
		{ "verbose", 'v', &opt->verbose, NULL, NULL },
		{ "strict", 0, &opt->strict, NULL, NULL },
		{ "ignore", 0, NULL, &opt->ignore, NULL },
		{ "list", 0, &opt->list, NULL, NULL },
		{ "print-config", 0, &opt->print_config, NULL, NULL },
		{ "help", 'h', &opt->help, NULL, NULL },
	};

	for (int i = 1; i < argc; i++) {
		const struct option *option;
		const char *equals = strchr(argv[i], '=');

		if (argv[i][0] != '-' || !argv[i][1]) {
			if (opt->nwords == MAX_WORDS)
				return usage_error("more than %d operands", MAX_WORDS);
			opt->words[opt->nwords++] = argv[i];
			continue;
		}
		option = find_option(options, ARRAY_SIZE(options), argv[i]);
		if (!option)
			return unknown_option(options, ARRAY_SIZE(options), argv[i]);
		if (option->flag) {
			if (equals)
				return usage_error("option '--%s' takes no value", option->name);
			*option->flag = true;
		} else if (equals && argv[i][1] == '-') {
			*option->value = equals + 1;
		} else if (option->dflt) {
			*option->value = option->dflt;
		} else if (i + 1 < argc) {
			*option->value = argv[++i];
		} else {
			return usage_error("option '--%s' needs a value", option->name);
		}
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ selection */

/* Does an operand mean this check? */
static bool means(const char *word, const struct check_group *group, const struct check *check)
{
	size_t len = strlen(word);

	if (streq(word, group->name) || streq(word, check->id))
		return true;
	return len > 2 && streq(word + len - 2, ".*") && strncmp(check->id, word, len - 1) == 0;
}

typedef void (*check_fn)(void *arg, const struct check_group *group, const struct check *check);

static void each_check(check_fn fn, void *arg)
{
	for (size_t g = 0; g < ARRAY_SIZE(groups); g++)
		for (size_t i = 0; i < groups[g]->count; i++)
			fn(arg, groups[g], &groups[g]->checks[i]);
}

struct match {
	const char *word;
	bool is_id, any;
};

static void match_word(void *arg, const struct check_group *group, const struct check *check)
{
	struct match *match = arg;

	match->any |=
		match->is_id ? streq(match->word, check->id) : means(match->word, group, check);
}

static bool is_known(const char *word, bool is_id)
{
	struct match match = { .word = word, .is_id = is_id };

	each_check(match_word, &match);
	return match.any;
}

static bool is_ignored(const struct options *opt, const char *id)
{
	struct str rest = str_of(opt->ignore), one;

	while (rest.len) {
		str_cut(rest, ',', &one, &rest);
		if (str_eq_c(one, "all") || str_eq_c(one, id))
			return true;
	}
	return false;
}

static int check_options(const struct options *opt)
{
	struct str rest = str_of(opt->ignore), one;

	for (size_t i = 0; i < opt->nwords; i++)
		if (!is_known(opt->words[i], false))
			return usage_error(
				"no group and no check '%s' (coracle check --list shows them)",
				opt->words[i]);
	while (rest.len) {
		cleanup_free char *id = NULL;

		str_cut(rest, ',', &one, &rest);
		id = str_dup(one);
		if (!streq(id, "all") && !is_known(id, true))
			return usage_error(
				"--ignore: no check '%s' (coracle check --list shows them)", id);
	}
	return 0;
}

static bool is_named(const struct options *opt, const char *id)
{
	for (size_t i = 0; i < opt->nwords; i++)
		if (streq(opt->words[i], id))
			return true;
	return false;
}

static bool is_chosen(const struct options *opt, const struct check_group *group,
                      const struct check *check)
{
	if (opt->config_only)
		return streq(group->name, "config");
	if ((check->needs & CHECK_NAMED) && !opt->verbose)
		return is_named(opt, check->id);
	for (size_t i = 0; i < opt->nwords; i++)
		if (means(opt->words[i], group, check))
			return true;
	if (streq(group->name, "containerd"))
		return opt->containerd != NULL;
	if (streq(group->name, "fsck"))
		return opt->fsck;
	if (streq(group->name, "live"))
		return opt->live != NULL;
	return opt->nwords == 0;
}

/* --------------------------------------------------------------------------------------------------------- output */

struct run {
	const struct options *opt;
	const struct check_ctx *ctx;
	struct check_reports reports;
	size_t count[CHECK_SKIP + 1];
};

static void print_line(const struct options *opt, const struct check_report *report)
{
	static const char *const tags[] = { [CHECK_OK] = "[ ok ]",
		                            [CHECK_WARN] = "[warn]",
		                            [CHECK_FAIL] = "[FAIL]",
		                            [CHECK_SKIP] = "[skip]" };
	bool is_bad = report->status == CHECK_WARN || report->status == CHECK_FAIL;

	if (!is_bad && !opt->verbose)
		return;
	printf("%s %-22s %s%s%s", tags[report->status], report->check->id, or_empty(report->object),
	       report->object ? ": " : "", report->message);
	if (report->file && report->line)
		printf(" (%s:%u)", report->file, report->line);
	else if (report->file)
		printf(" (%s)", report->file);
	putchar('\n');
	if (report->hint)
		printf("       %-22s hint: %s\n", "", report->hint);
}

/* Compilers' style, for units and editors. */
static void print_config_line(const struct check_report *report)
{
	if (report->status != CHECK_WARN && report->status != CHECK_FAIL)
		return;
	if (report->file && report->line)
		fprintf(stderr, "%s:%u: ", report->file, report->line);
	fprintf(stderr, "%s: %s [%s]\n", report->status == CHECK_FAIL ? "error" : "warning",
	        report->message, report->check->id);
}

static void print_text(struct run *run)
{
	for (size_t i = 0; i < run->reports.count; i++) {
		if (run->opt->config_only)
			print_config_line(&run->reports.all[i]);
		else
			print_line(run->opt, &run->reports.all[i]);
	}
	if (!run->opt->quiet && !run->opt->config_only)
		printf("coracle: %zu checks: %zu ok, %zu warnings, %zu failed, %zu skipped\n",
		       run->reports.count, run->count[CHECK_OK], run->count[CHECK_WARN],
		       run->count[CHECK_FAIL], run->count[CHECK_SKIP]);
}

static void add_report(yyjson_mut_doc *doc, yyjson_mut_val *array,
                       const struct check_report *report)
{
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, array), *source;

	yyjson_mut_obj_add_str(doc, obj, "id", report->check->id);
	yyjson_mut_obj_add_str(doc, obj, "group", report->group->name);
	yyjson_mut_obj_add_str(doc, obj, "status", check_status_name(report->status));
	yyjson_mut_obj_add_str(doc, obj, "message", report->message);
	if (report->hint)
		yyjson_mut_obj_add_str(doc, obj, "hint", report->hint);
	if (report->object)
		yyjson_mut_obj_add_str(doc, obj, "object", report->object);
	if (report->file) {
		source = yyjson_mut_obj_add_obj(doc, obj, "source");
		yyjson_mut_obj_add_str(doc, source, "file", report->file);
		if (report->line)
			yyjson_mut_obj_add_uint(doc, source, "line", report->line);
	}
	if (report->is_ignored)
		yyjson_mut_obj_add_bool(doc, obj, "ignored", true);
	yyjson_mut_obj_add_sint(doc, obj, "ms", report->took_ms);
}

static void add_facts(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct check_ctx *ctx)
{
	yyjson_mut_val *facts = yyjson_mut_obj_add_obj(doc, root, "facts");
	cleanup_free char *release = check_read(ctx, "/proc/sys/kernel/osrelease");
	struct utsname uts;

	if (release) {
		release[strcspn(release, "\n")] = '\0';
		yyjson_mut_obj_add_strcpy(doc, facts, "kernel", release);
	}
	if (!*ctx->sysroot && uname(&uts) == 0)
		yyjson_mut_obj_add_strcpy(doc, facts, "arch", uts.machine);
	yyjson_mut_obj_add_str(doc, facts, "root", ctx->config->root);
	yyjson_mut_obj_add_str(doc, facts, "state", ctx->config->state);
}

static int print_json(struct run *run, const char *result)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *summary, *array;
	cleanup_free char *json = NULL;
	time_t now = time(NULL);
	char text[32];
	struct tm tm;

	yyjson_mut_doc_set_root(doc, root);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	yyjson_mut_obj_add_str(doc, root, "schema", "coracle.check/1");
	yyjson_mut_obj_add_str(doc, root, "coracle", CORACLE_VERSION);
	yyjson_mut_obj_add_strcpy(doc, root, "time", text);
	yyjson_mut_obj_add_str(doc, root, "sysroot", *run->ctx->sysroot ? run->ctx->sysroot : "/");
	yyjson_mut_obj_add_str(doc, root, "result", result);
	summary = yyjson_mut_obj_add_obj(doc, root, "summary");
	for (enum check_status s = CHECK_OK; s <= CHECK_SKIP; s++)
		yyjson_mut_obj_add_uint(doc, summary, check_status_name(s), run->count[s]);
	add_facts(doc, root, run->ctx);
	array = yyjson_mut_obj_add_arr(doc, root, "checks");
	for (size_t i = 0; i < run->reports.count; i++)
		add_report(doc, array, &run->reports.all[i]);
	json = json_write(doc, true, NULL);
	return json && puts(json) >= 0 ? 0 : -1;
}

static void print_id(void *arg, const struct check_group *group, const struct check *check)
{
	(void)arg;
	printf("%-24s %-10s %s\n", check->id, group->name, check_status_name(check->severity));
}

/* ------------------------------------------------------------------------------------------------------------ run */

static void run_one(void *arg, const struct check_group *group, const struct check *check)
{
	struct run *run = arg;
	size_t before = run->reports.count;

	if (!is_chosen(run->opt, group, check))
		return;
	check_run(group, check, run->ctx, &run->reports);
	for (size_t i = before; i < run->reports.count; i++) {
		struct check_report *report = &run->reports.all[i];

		if (report->status == CHECK_FAIL && is_ignored(run->opt, check->id)) {
			report->status = CHECK_WARN;
			report->is_ignored = true;
		}
		run->count[report->status]++;
	}
}

static int print_config_in_force(const struct config *config)
{
	struct buf text;
	int rc = -1;

	buf_init(&text, 16 << 20);
	if (config_print(config, &text) == 0)
		rc = fwrite(text.data, 1, text.len, stdout) == text.len ? 0 : -1;
	buf_release(&text);
	return rc;
}

/* Output that did not reach anybody is trouble. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fputs("coracle: check: cannot write to standard output\n", stderr);
	return 2;
}

static int run_checks(const struct options *opt, const struct check_ctx *ctx)
{
	struct run run = { .opt = opt, .ctx = ctx };
	const char *result;
	int status = 0;

	each_check(run_one, &run);
	result = run.count[CHECK_FAIL] || (opt->strict && run.count[CHECK_WARN]) ? "fail"
	         : run.count[CHECK_WARN]                                         ? "warn"
	                                                                         : "ok";
	if (!opt->json)
		print_text(&run);
	else if (print_json(&run, result) < 0)
		status = 2;
	if (streq(result, "fail") && status == 0)
		status = 1;
	check_reports_release(&run.reports);
	return status;
}

int applet_check(int argc, char **argv)
{
	struct options opt = { .sysroot = "" };
	struct check_ctx ctx;
	int status = 0;

	if (parse_options(argc, argv, &opt) < 0 || check_options(&opt) < 0)
		return 2;
	if (opt.help) {
		fputs(usage, stdout);
		return finish(0);
	}
	if (opt.list) {
		each_check(print_id, NULL);
		return finish(0);
	}
	if (streq(opt.sysroot, "/"))
		opt.sysroot = "";
	ctx = (struct check_ctx){
		.sysroot = opt.sysroot,
		.flags = opt.flags,
		.kconfig = opt.kconfig,
		.containerd = opt.containerd && *opt.containerd ? opt.containerd : NULL,
		.endpoint = opt.live && *opt.live ? opt.live : NULL,
	};
	ctx.config = config_inspect(&opt.flags, opt.sysroot);
	if (opt.print_config)
		status = print_config_in_force(ctx.config) < 0 ? 2 : 0;
	else
		status = run_checks(&opt, &ctx);
	config_free(ctx.config);
	return finish(status);
}
