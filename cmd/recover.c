/* cmd/recover.c
 *
 * coracle recover: what would the next start find, and what would it do? The same code as the daemon's start answers, on the same
 * files, without writing to them; --fix then does it, without serving anybody.
 *
 *   report             pods, containers, images, what is under way, the end of the journal, what the next start will do
 *   explain ID         one object: its story, its state, what plugins are still to hear of it
 *   timeline [ID]      the records, one line each
 *   at SEQ             the state after that record, as JSON
 */
#include "cmd/recover.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/applets.h"
#include "cmd/options.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/state/dump.h"
#include "cri/spec/to_spec.h"

static const char usage[] =
	"usage: coracle recover [OPTION...]\n"
	"       coracle recover [OPTION...] explain ID|NAME\n"
	"       coracle recover [OPTION...] timeline [ID|NAME]\n"
	"       coracle recover [OPTION...] at SEQ\n"
	"Show what the daemon's journal holds and what its next start will do about it.\n\n"
	"Without --fix nothing is changed, not even a time stamp; a daemon may run meanwhile.\n\n"
	"  explain               the story of one pod, container, image or plugin, and how it goes on\n"
	"  timeline              the records of the journal, or those about one object\n"
	"  at                    the state as it was after record SEQ, as JSON\n\n"
	"      --fix             do what the next start would do, without serving anybody, and end\n"
	"      --truncate        the same for a damaged journal: what lies behind the damage is given up\n"
	"      --json            for programs\n" OPTIONS_COMMON_HELP
	"  -h, --help            this text\n\n"
	"On another machine than the daemon's, or for a copy of its directory, containers are not looked at and --fix is refused.\n"
	"Exit status: 0 done, 1 failed or damage was found, 2 usage or not ours to fix, 75 --fix while a daemon runs,\n"
	"78 configuration or newer state.\n";

static int fail(const struct err *err)
{
	fprintf(stderr, "coracle recover: %s\n", err->msg);
	return EXIT_FAILED;
}

/* --- the report */

static const char *home_text(enum home home)
{
	switch (home) {
	case HOME_NEW:
		return "no daemon has used it yet";
	case HOME_HERE:
		return "of this machine, and of this boot";
	case HOME_REBOOTED:
		return "of this machine, before it was rebooted";
	case HOME_AWAY:
		break;
	}
	return "of another machine, or a copy: whether containers run is unknown here";
}

static const char *home_name(enum home home)
{
	switch (home) {
	case HOME_NEW:
		return "new";
	case HOME_HERE:
		return "here";
	case HOME_REBOOTED:
		return "rebooted";
	case HOME_AWAY:
		break;
	}
	return "away";
}

static const char *what_name(enum replay_what what)
{
	switch (what) {
	case REPLAY_EXIT:
		return "exit";
	case REPLAY_ADOPTED:
		return "adopt";
	case REPLAY_RUNNING:
		return "runs";
	case REPLAY_UNDO:
		return "undo";
	case REPLAY_FORWARD:
		return "go on";
	case REPLAY_ORPHAN:
		return "orphan";
	case REPLAY_QUARANTINE:
		break;
	}
	return "quarantine";
}

static void print_journal(const struct recover *r)
{
	const struct journal_report *load = &r->engine.load;

	printf("state    %s, %s\n", r->engine.config->root, home_text(r->engine.home));
	printf("journal  records up to %" PRIu64 ", known to be on disk up to %" PRIu64,
	       load->last_seq, load->synced_seq);
	if (load->snapshot_seq)
		printf(", snapshot of %" PRIu64, load->snapshot_seq);
	printf("\n");
	if (load->torn_records || load->torn_bytes)
		printf("torn     %" PRIu64 " record(s), %" PRIu64
		       " bytes behind the end: never acknowledged, dropped\n",
		       load->torn_records, load->torn_bytes);
	if (load->damage[0])
		printf("DAMAGE   %s\n         what follows is what was there before it\n",
		       load->damage);
}

static void print_pods(const struct state *state)
{
	list_for_each(l, &state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		printf("pod        %.12s  %-9s %s%s/%s\n", sb->id, sandbox_state_name(sb->state),
		       sb->stopped ? "(stopped) " : "", sb->ns, sb->name);
		list_for_each(k, &sb->containers) {
			const struct container *c = list_entry(k, struct container, pod_link);

			printf("  container %.12s  %-9s %s", c->id, container_state_name(c->state),
			       c->name);
			if (c->state == CONTAINER_EXITED || c->state == CONTAINER_REMOVING)
				printf(", exit code %d (%s)", c->exit_code, c->reason);
			printf("\n");
		}
	}
}

static size_t list_length(const struct list *list)
{
	size_t n = 0;

	list_for_each(l, list)
		n++;
	return n;
}

static void print_owed(const struct state *state)
{
	for (int slot = 0; slot < PLUGIN_MAX; slot++) {
		struct owed *owed;
		size_t n;

		if (!state->plugins[slot].name)
			continue;
		n = state_owed(state, slot, &owed);
		printf("plugin   %s%s: %zu owed\n", state->plugins[slot].name,
		       state->plugins[slot].preinstalled ? ", pre-installed" : "", n);
		for (size_t i = 0; i < n; i++) {
			printf("  ");
			recover_print_owed(state->plugins[slot].name, &owed[i]);
		}
		free(owed);
	}
}

static void print_next(const struct recover *r, pid_t daemon)
{
	const struct replay_report *report = &r->engine.report;

	if (daemon)
		printf("\nA daemon is running (pid %d). Were it killed now, the next start would find:\n",
		       (int)daemon);
	else
		printf("\nThe next start will find:\n");
	if (list_empty(&report->lines))
		printf("  nothing to do\n");
	list_for_each(l, &report->lines) {
		const struct replay_line *line = list_entry(l, struct replay_line, link);

		printf("  %-10s %s\n", what_name(line->what), line->text);
	}
}

static int report_text(const struct recover *r)
{
	const struct state *state = r->engine.state;

	print_journal(r);
	printf("images   %zu\n", list_length(&state->images));
	printf("pods     %zu, containers %zu%s", list_length(&state->sandboxes),
	       list_length(&state->containers),
	       list_empty(&state->dead_containers) && list_empty(&state->dead_sandboxes) ? "\n"
	                                                                                 : "");
	if (!list_empty(&state->dead_containers) || !list_empty(&state->dead_sandboxes))
		printf("; %zu removed ones that plugins have not heard of\n",
		       list_length(&state->dead_containers) + list_length(&state->dead_sandboxes));
	print_pods(state);
	print_owed(state);
	print_next(r, offline_daemon(r->engine.config->root));
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* @lines: what the report's lines are called: what will be, or what was done. */
static int report_json(const struct recover *r, const char *lines)
{
	const struct replay_report *report = &r->engine.report;
	pid_t daemon = offline_daemon(r->engine.config->root);
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *arr;
	cleanup_free char *text = NULL;

	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "version", CORACLE_VERSION);
	yyjson_mut_obj_add_strcpy(doc, root, "root", r->engine.config->root);
	yyjson_mut_obj_add_str(doc, root, "home", home_name(r->engine.home));
	if (daemon)
		yyjson_mut_obj_add_int(doc, root, "daemon_pid", daemon);
	offline_journal_json(doc, yyjson_mut_obj_add_obj(doc, root, "journal"), &r->engine.load);
	yyjson_mut_obj_add_val(doc, root, "state", dump_state(r->engine.state, doc));
	arr = yyjson_mut_obj_add_arr(doc, root, lines);
	list_for_each(l, &report->lines) {
		const struct replay_line *line = list_entry(l, struct replay_line, link);
		yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);

		yyjson_mut_obj_add_str(doc, obj, "what", what_name(line->what));
		yyjson_mut_obj_add_strcpy(doc, obj, "text", line->text);
	}
	text = json_write(doc, true, NULL);
	puts(text);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* --- --fix */

struct fix {
	struct engine *engine;
	struct loop_hook hook;
	bool recovered, interrupted;
};

static void fix_recovered(void *arg)
{
	((struct fix *)arg)->recovered = true;
}

/* Each turn: is everything done that the start began? */
static void fix_check(void *arg)
{
	struct fix *fix = arg;

	if (fix->recovered && life_idle(fix->engine->life))
		loop_stop(fix->engine->loop);
}

static void fix_stopped(void *arg)
{
	loop_stop(((struct fix *)arg)->engine->loop);
}

static void fix_signal(void *arg, const struct signalfd_siginfo *info UNUSED)
{
	struct fix *fix = arg;

	if (fix->interrupted) {
		loop_stop(fix->engine->loop);
		return;
	}
	fix->interrupted = true;
	life_stop(fix->engine->life, fix_stopped,
	          fix); /* operations stay where they are, as when the daemon stops */
}

static int fix_run(struct fix *fix, struct err *err)
{
	struct loop *loop = fix->engine->loop;
	int rc;

	if (loop_signal(loop, SIGTERM, fix_signal, fix, err) < 0 ||
	    loop_signal(loop, SIGINT, fix_signal, fix, err) < 0)
		return -1;
	loop_hook_add(loop, &fix->hook, fix_check, fix);
	loop_wake(loop);
	rc = loop_run(loop, err);
	loop_hook_remove(&fix->hook);
	return rc;
}

static void print_done(const struct replay_report *report)
{
	list_for_each(l, &report->lines) {
		const struct replay_line *line = list_entry(l, struct replay_line, link);

		printf("%-10s %s\n", what_name(line->what), line->text);
	}
	printf("%zu running, %zu exits recorded, %zu adopted, %zu undone, %zu continued, %zu orphans, %zu in quarantine\n",
	       report->running, report->exits, report->adopted, report->undone, report->forward,
	       report->orphans, report->quarantined);
}

static int do_fix(struct recover *r, struct config *config)
{
	struct fix fix = { .engine = &r->engine };
	const struct replay_report *report = &r->engine.report;
	struct err err = { 0 };
	const struct engine_args args = {
		.mode = ENGINE_FIX,
		.config = config,
		.builder = cri_spec_builder(),
		.truncate = r->truncate,
		.recovered = fix_recovered,
		.arg = &fix,
	};
	int status = (int)engine_open(&r->engine, &args, &err);

	if (status != EXIT_OK) {
		config_free(config);
		fail(&err);
		return status;
	}
	if (fix_run(&fix, &err) < 0)
		status = fail(&err);
	else if (fix.interrupted)
		status = fail(
			&(struct err){ .code = CODE_CANCELLED,
		                       .msg = "interrupted; the next start goes on from here" });
	if (r->json)
		ignore(report_json(r, "done") != EXIT_OK); /* the flush below tells again */
	else
		print_done(report);
	engine_close(&r->engine);
	return fflush(stdout) == 0 ? status : EXIT_FAILED;
}

/* --- the rest only looks */

static int do_inspect(struct recover *r, struct config *config, const char *explain)
{
	const struct engine_args args = { .mode = ENGINE_INSPECT,
		                          .config = config,
		                          .builder = cri_spec_builder() };
	struct err err = { 0 };
	int status = (int)engine_open(&r->engine, &args, &err);

	if (status != EXIT_OK) {
		config_free(config);
		fail(&err);
		return status;
	}
	if (explain)
		status = recover_explain(r, explain);
	else
		status = r->json ? report_json(r, "next_start") : report_text(r);
	if (r->engine.load.damage[0] && status == EXIT_OK) {
		fprintf(stderr,
		        "coracle recover: the journal is damaged; 'coracle recover --truncate' gives up what lies behind\n");
		status = EXIT_FAILED;
	}
	engine_close(&r->engine);
	return status;
}

static int usage_error(const char *what, const char *word)
{
	fprintf(stderr, "coracle recover: %s'%s'\nTry 'coracle recover --help'.\n", what, word);
	return EXIT_USAGE;
}

static int dispatch(struct recover *r, struct config *config, int words, char **argv)
{
	const char *verb = words ? argv[1] : NULL;
	int status;

	if (!verb)
		return r->fix || r->truncate ? do_fix(r, config) : do_inspect(r, config, NULL);
	if (streq(verb, "explain"))
		return do_inspect(r, config, argv[2]);
	if (streq(verb, "timeline"))
		status = recover_timeline(config, words > 1 ? argv[2] : NULL, r->json);
	else
		status = recover_at(config, argv[2]);
	config_free(config);
	return status;
}

/* -1: fine */
static int check_words(const struct recover *r, int words, char **argv)
{
	static const char *const names[] = { "explain", "timeline", "at" };
	const char *meant;
	size_t i;

	if (!words)
		return -1;
	for (i = 0; i < ARRAY_SIZE(names) && !streq(argv[1], names[i]); i++)
		;
	if (i == ARRAY_SIZE(names)) {
		meant = str_suggest(argv[1], names, ARRAY_SIZE(names));
		fprintf(stderr, "coracle recover: no subcommand '%s'", argv[1]);
		if (meant)
			fprintf(stderr, "; did you mean '%s'?", meant);
		fputs("\nTry 'coracle recover --help'.\n", stderr);
		return EXIT_USAGE;
	}
	if (r->fix || r->truncate)
		return usage_error("--fix and --truncate do not go with ", argv[1]);
	if (words < 2 && !streq(argv[1], "timeline"))
		return usage_error("too few arguments for ", argv[1]);
	if (words > 2)
		return usage_error("unexpected argument ", argv[3]);
	return -1;
}

int applet_recover(int argc, char **argv)
{
	struct config_flags flags = { 0 };
	struct recover r = { 0 };
	const struct option_extra extras[] = {
		{ "json", NULL, &r.json },
		{ "fix", NULL, &r.fix },
		{ "truncate", NULL, &r.truncate },
	};
	int words = options_parse(argc, argv, &flags, extras, ARRAY_SIZE(extras)), status;
	struct err err = { 0 };
	struct config *config;

	if (words == -2) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (words < 0)
		return EXIT_USAGE;
	status = check_words(&r, words, argv);
	if (status >= 0)
		return status;
	/* what is looked at is told once, in the report; --fix speaks as the daemon does */
	log_init("coracle", r.fix || r.truncate ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	config = config_load(&flags, &err);
	if (!config) {
		err_wrap(&err, "configuration");
		fail(&err);
		return EXIT_CONFIG;
	}
	return dispatch(&r, config, words, argv);
}
