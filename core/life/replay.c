#include "core/life/replay.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mutant.h"
#include "core/base/str.h"
#include "core/image/image_job.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"
#include "core/run/mount.h"

#define OWED_TEXT 256

#define REST_PER_TURN 4 /* containers: a few system calls and a woken monitor each */

struct replay {
	struct life *life;
	enum replay_mode mode;
	struct replay_report *report;
	bool from_tmp;
};

/*
 * What no answer depends on, and what would make every reader wait: connections to monitors (their locks told already that they
 * live), left-over execs, orphans. It goes on behind the opening of reads, a slice each loop turn; changes wait for its end, so
 * that nothing new can be taken for an orphan.
 */
struct replay_rest {
	struct replay replay;
	char **running; /* ids */
	size_t at;
};

/* --- the report */

void replay_report_init(struct replay_report *report)
{
	*report = (struct replay_report){ 0 };
	list_init(&report->lines);
}

void replay_report_release(struct replay_report *report)
{
	list_for_each_safe(l, &report->lines) {
		struct replay_line *line = list_entry(l, struct replay_line, link);

		free(line->text);
		free(line);
	}
	list_init(&report->lines);
}

static size_t *report_counter(struct replay_report *report, enum replay_what what)
{
	switch (what) {
	case REPLAY_EXIT:
		return &report->exits;
	case REPLAY_ADOPTED:
		return &report->adopted;
	case REPLAY_RUNNING:
		return &report->running;
	case REPLAY_UNDO:
		return &report->undone;
	case REPLAY_FORWARD:
		return &report->forward;
	case REPLAY_ORPHAN:
		return &report->orphans;
	case REPLAY_QUARANTINE:
		return &report->quarantined;
	}
	return NULL;
}

static void PRINTF_LIKE(3, 4) note(struct replay *r, enum replay_what what, const char *fmt, ...)
{
	struct replay_line *line = xcalloc(1, sizeof(*line));
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	line->what = what;
	line->text = xstrdup(text);
	list_push_back(&r->report->lines, &line->link);
	++*report_counter(r->report, what);
}

/* " owed to 90-rec, 10-logger": whom a stop that is only now found will be told; "" when nobody listens. */
static const char *owed_to(const struct life *life, char text[OWED_TEXT])
{
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < PLUGIN_MAX && n < OWED_TEXT; i++) {
		const char *name = life->state->plugins[i].name;

		if (name)
			n += (size_t)snprintf(text + n, OWED_TEXT - n, "%s%s",
			                      n ? ", " : " owed to ", name);
	}
	return text;
}

/* --- row 2: the spool */

static enum exit_verdict replay_exit(void *arg, const char *id, const struct exit_record *rec)
{
	struct replay *r = arg;
	enum exit_verdict verdict = life_exit(r->life, id, rec);
	char owed[OWED_TEXT];

	switch (verdict) {
	case EXIT_APPENDED:
		note(r, REPLAY_EXIT, "container %.12s exited %u%s%s", id, rec->exit_code,
		     r->from_tmp ? " (its monitor was killed)" : "", owed_to(r->life, owed));
		break;
	case EXIT_BAD:
		note(r, REPLAY_EXIT, "container %.12s exited 255 (damaged exit record)%s", id,
		     owed_to(r->life, owed));
		break;
	case EXIT_UNKNOWN:
		note(r, REPLAY_ORPHAN, "exit record %.12s of an unknown container", id);
		break;
	case EXIT_CONSUME:
	case EXIT_IN_FLIGHT:
		break;
	}
	return verdict;
}

static int replay_spool(struct replay *r, struct err *err)
{
	struct life *life = r->life;
	cleanup(strv_free) char **ids = NULL;

	if (spool_scan(life->args.spool, replay_exit, r, err) < 0)
		return err_wrap(err, "exit records");
	if (!r->report->probes)
		return 0;
	if (spool_list_tmp(life->args.spool, &ids, err) < 0)
		return err_wrap(err, "exit records");
	r->from_tmp = true;
	for (size_t i = 0; ids && ids[i]; i++)
		if (!monitor_lock_held(life->args.monitors, ids[i]))
			spool_scan_one(life->args.spool, ids[i], true, replay_exit, r);
	r->from_tmp = false;
	return 0;
}

/* --- row 3: another boot */

static bool runs(const struct container *c)
{
	return c->state == CONTAINER_STARTING || c->state == CONTAINER_RUNNING;
}

static void replay_reboot(struct replay *r)
{
	struct life *life = r->life;
	char owed[OWED_TEXT];

	list_for_each(l, &life->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (!runs(c) || map_find(&life->exiting, c->id) ||
		    !memcmp(c->boot_id, life->boot_id, sizeof(c->boot_id)))
			continue;
		life_exit_unknown(life, c->id, 255, "Unknown", "node rebooted");
		note(r, REPLAY_EXIT, "container %.12s exited 255 (node rebooted)%s", c->id,
		     owed_to(life, owed));
	}
}

/* --- row 4: who still runs? */

static void replay_running(struct replay *r)
{
	struct life *life = r->life;
	char owed[OWED_TEXT];

	list_for_each(l, &life->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (c->state != CONTAINER_RUNNING || map_find(&life->exiting, c->id))
			continue;
		if (monitor_lock_held(life->args.monitors, c->id)) {
			note(r, REPLAY_RUNNING, "container %.12s runs", c->id);
			continue;
		}
		life_probe(life, c);
		if (map_find(&life->adopted, c->id))
			note(r, REPLAY_ADOPTED, "container %.12s runs without its monitor: adopted",
			     c->id);
		else if (map_find(&life->exiting, c->id))
			note(r, REPLAY_EXIT, "container %.12s has ended%s", c->id,
			     owed_to(life, owed));
	}
}

/* --- row 5: what did not finish */

struct recover_start {
	struct op op;
	bool asked;
	enum { ASK, RAN, NEVER } verdict;
	struct monitor_status status;
	char why[160];
};

static struct recover_start *recover_of(struct op *op)
{
	return container_of(op, struct recover_start, op);
}

static void recover_free(struct op *op)
{
	life_scan_soon(op->life);
	free(recover_of(op));
}

static enum step recover_turn_run(struct op *op)
{
	return op_take_turn(op, op->id, true);
}

static void recover_told(void *arg, const struct monitor_status *status, const struct err *err)
{
	struct op *op = arg;
	struct recover_start *rs = recover_of(op);

	rs->verdict = NEVER;
	if (err) {
		ignore(str_copy(rs->why, sizeof(rs->why), err->msg));
	} else {
		rs->status = *status;
		if (status->stage == MONITOR_IS_RUNNING ||
		    (status->stage == MONITOR_IS_EXITED && status->started_ns))
			rs->verdict = RAN;
	}
	op_resume(op, STEP_DONE);
}

static enum step recover_ask_run(struct op *op)
{
	struct recover_start *rs = recover_of(op);
	struct life *life = op->life;
	struct err err = { 0 };

	if (rs->asked)
		return STEP_WAIT;
	rs->asked = true;
	rs->verdict = NEVER;
	if (monitor_reconnect(life->args.monitors, op->id, &err) < 0) {
		/* the record decides if there is one (life_exit), else it never ran */
		spool_scan_one(life->args.spool, op->id, true, life_exit, life);
		return STEP_DONE;
	}
	monitor_query(life->args.monitors, op->id, recover_told, op);
	return op_busy(op);
}

static enum step recover_delete_run(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);

	if (recover_of(op)->verdict == RAN || !c || c->state != CONTAINER_STARTING ||
	    map_find(&op->life->exiting, op->id))
		return STEP_DONE;
	return container_runtime_delete(op, c);
}

static enum step recover_record_run(struct op *op)
{
	struct recover_start *rs = recover_of(op);
	const struct container *c = container_get(op->life->state, op->id);
	const rec_ContainerRunning running = {
		.id = op->id,
		.started_ns = rs->status.started_ns,
		.pid = rs->status.pid,
		.start_ticks = rs->status.start_ticks,
	};

	if (!c || c->state != CONTAINER_STARTING || map_find(&op->life->exiting, op->id))
		return STEP_DONE;
	if (rs->verdict == RAN)
		return op_record(op, RECORD_CONTAINER_RUNNING, &running);
	life_exit_unknown(op->life, op->id, 128, "StartError",
	                  "the daemon was restarted while the container was started");
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step recover_steps[] = {
	{ "turn",   recover_turn_run,   NULL },
	{ "ask",    recover_ask_run,    NULL },
	{ "delete", recover_delete_run, NULL },
	{ "record", recover_record_run, NULL },
};
/* clang-format on */

static struct op *recover_start_new(const struct container *c)
{
	struct recover_start *rs = xcalloc(1, sizeof(*rs));

	rs->op.name = "RecoverStart";
	rs->op.steps = recover_steps;
	rs->op.nsteps = ARRAY_SIZE(recover_steps);
	rs->op.free_fn = recover_free;
	memcpy(rs->op.id, c->id, ID_SIZE);
	memcpy(rs->op.sandbox_id, c->sandbox_id, ID_SIZE);
	return &rs->op;
}

static void replay_container(struct replay *r, const struct container *c)
{
	struct life *life = r->life;
	bool act = r->mode == REPLAY_SERVE;
	cleanup_free char *runtime_dir = xasprintf("%s/runtime/%s", life->state_dir, c->id);

	switch (c->state) {
	case CONTAINER_CREATING:
		note(r, REPLAY_UNDO, "container %.12s (%s): creation is undone", c->id, c->name);
		if (act)
			container_undo_start(life, c);
		break;
	case CONTAINER_REMOVING:
		note(r, REPLAY_FORWARD, "container %.12s (%s): removal goes on", c->id, c->name);
		if (act && c->undone)
			container_undo_start(life, c);
		else if (act)
			op_start(life, container_remove_new(life, c, false));
		break;
	case CONTAINER_STARTING:
		if (map_find(&life->exiting, c->id))
			break;
		note(r, REPLAY_FORWARD, "container %.12s (%s): its start is looked into", c->id,
		     c->name);
		if (act)
			op_start(life, recover_start_new(c));
		break;
	case CONTAINER_EXITED:
		/* its `delete` may not have been reached, or what follows that */
		if (act && fsx_exists(runtime_dir))
			op_start(life, container_clean_new(life, c));
		else if (act)
			monitor_forget(life->args.monitors, c->id);
		break;
	case CONTAINER_CREATED:
	case CONTAINER_RUNNING:
	case CONTAINER_INVALID:
	case CONTAINER_GONE:
	case CONTAINER_STATES:
		break;
	}
}

static void replay_sandbox(struct replay *r, const struct sandbox *sb)
{
	struct life *life = r->life;
	bool act = r->mode == REPLAY_SERVE;

	if (r->report->probes && sandbox_is_lost(life, sb)) {
		note(r, REPLAY_FORWARD, "pod %.12s (%s/%s): its namespaces are gone, it is stopped",
		     sb->id, sb->ns, sb->name);
		if (act)
			op_start(life, sandbox_stop_new(sb, false));
	} else if (sb->state == SANDBOX_CREATING || (sb->state == SANDBOX_REMOVING && sb->undone)) {
		note(r, REPLAY_UNDO, "pod %.12s (%s/%s): creation is undone", sb->id, sb->ns,
		     sb->name);
		if (act)
			sandbox_undo_start(life, sb);
	} else if (sb->state == SANDBOX_REMOVING || (sb->notified.stop_seq && !sb->stopped)) {
		bool remove = sb->state == SANDBOX_REMOVING;

		note(r, REPLAY_FORWARD, "pod %.12s (%s/%s): %s goes on", sb->id, sb->ns, sb->name,
		     remove ? "removal" : "stop");
		if (act)
			op_start(life, sandbox_stop_new(sb, remove));
	}
}

static void replay_unfinished(struct replay *r)
{
	/* containers whose pod is undone or removed are its operation's business; turns keep them apart */
	list_for_each(l, &r->life->state->containers)
		replay_container(r, list_entry(l, struct container, link));
	list_for_each(l, &r->life->state->sandboxes)
		replay_sandbox(r, list_entry(l, struct sandbox, link));
}

/* --- row 7: what belongs to nobody */

static bool has_owner(const struct life *life, const char *id)
{
	if (sandbox_get(life->state, id) || container_get(life->state, id))
		return true;
	list_for_each(l, &life->state->quarantine)
		if (!strcmp(list_entry(l, struct quarantine, link)->id, id))
			return true; /* kept for whoever looks into it */
	return false;
}

static enum step sweep_runtime_run(struct op *op)
{
	struct life *life = op->life;
	const struct runtime_info *info = runtime_default(life->args.runtime);
	cleanup_free char *runtime_dir = xasprintf("%s/runtime/%s", life->state_dir, op->id);
	const struct container ghost = { .runtime = (char *)info->name,
		                         .cgroups_path = (char *)"" };
	struct container c = ghost;

	if (!fsx_exists(runtime_dir))
		return STEP_DONE;
	memcpy(c.id, op->id, ID_SIZE);
	return container_runtime_delete(op, &c);
}

static enum step sweep_pod_files_run(struct op *op)
{
	return sandbox_files_remove(op);
}

static enum step sweep_monitor_run(struct op *op)
{
	monitor_forget(op->life->args.monitors, op->id);
	map_remove(&op->life->cleaned, op->id);
	spool_consume(op->life->args.spool, op->id);
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step sweep_steps[] = {
	{ "turn",       recover_turn_run,       NULL },
	{ "runtime",    sweep_runtime_run,      NULL },
	{ "monitor",    sweep_monitor_run,      NULL },
	{ "files",      container_files_remove, NULL },
	{ "pod files",  sweep_pod_files_run,    NULL },
	{ "namespaces", sandbox_unpin,          NULL },
};
/* clang-format on */

static void sweep_free(struct op *op)
{
	free(op);
}

static void orphan_found(struct replay *r, struct map *seen, const char *where, const char *id)
{
	struct op *op;

	if (has_owner(r->life, id))
		return;
	note(r, REPLAY_ORPHAN, "%s %s belongs to nobody", where, id);
	if (r->mode != REPLAY_SERVE || strlen(id) >= ID_SIZE || !map_insert(seen, id, r))
		return;
	op = xcalloc(1, sizeof(*op));
	op->name = "SweepOrphan";
	op->steps = sweep_steps;
	op->nsteps = ARRAY_SIZE(sweep_steps);
	op->free_fn = sweep_free;
	memcpy(op->id, id, strlen(id));
	memcpy(op->sandbox_id, id, strlen(id));
	op_start(r->life, op);
}

static void orphans_in(struct replay *r, struct map *seen, const char *where, char **ids)
{
	for (size_t i = 0; ids && ids[i]; i++)
		orphan_found(r, seen, where, ids[i]);
	strv_free(ids);
}

static char **names_in(const char *dir)
{
	char **names = NULL;

	return fsx_list(AT_FDCWD, dir, &names) < 0 ? NULL : names;
}

/* Lock files of operations on objects that nobody knows: old_lock.c removes them. */
static void orphaned_locks(struct replay *r)
{
	cleanup(strv_free) char **ids = old_lock_ids(r->life);

	for (char **id = ids; id && *id; id++)
		if (!has_owner(r->life, *id))
			note(r, REPLAY_ORPHAN, "operation lock %s belongs to nobody", *id);
}

static void replay_orphans(struct replay *r)
{
	struct life *life = r->life;
	cleanup_free char *snapshots = xasprintf("%s/snapshots", life->root);
	cleanup(map_release) struct map seen = { 0 };
	struct err err = { 0 };
	char **ids = NULL;

	map_init(&seen);
	if (bundle_list(life->state_dir, &ids, &err) == 0)
		orphans_in(r, &seen, "bundle", ids);
	ids = NULL;
	if (monitors_list(life->args.monitors, &ids, &err) == 0)
		orphans_in(r, &seen, "monitor", ids);
	ids = NULL;
	if (life->args.namespaces && namespaces_list(life->args.namespaces, &ids, &err) == 0)
		orphans_in(r, &seen, "namespaces", ids);
	orphans_in(r, &seen, "pod directory", names_in(life->sandboxes_dir));
	orphans_in(r, &seen, "container directory", names_in(life->containers_dir));
	orphans_in(r, &seen, "writable layer", names_in(snapshots));
	ids = NULL;
	if (spool_list_tmp(life->args.spool, &ids, &err) == 0)
		orphans_in(r, &seen, "exit record", ids);
	orphaned_locks(r);
	images_sweep(life, r->mode == REPLAY_SERVE);
}

/* --- what can wait for the reads */

static void rest_container(struct life *life, const char *id)
{
	const struct container *c = container_get(life->state, id);
	struct err err = { 0 };

	if (!c || c->state != CONTAINER_RUNNING || map_find(&life->exiting, id))
		return;
	exec_sweep(life, c);
	if (map_find(&life->adopted, id) || monitor_reconnect(life->args.monitors, id, &err) == 0)
		return;
	if (monitor_lock_held(life->args.monitors, id))
		log_warn(&(struct log_ctx){ .container = id }, "its monitor does not answer: %s",
		         err.msg);
	else
		life_probe(life, c); /* it has ended since its lock was looked at */
}

/* False: that was all. */
static bool rest_turn(struct replay_rest *rest)
{
	for (int i = 0; i < REST_PER_TURN && rest->running[rest->at]; i++)
		rest_container(rest->replay.life, rest->running[rest->at++]);
	if (rest->running[rest->at])
		return true;
	replay_orphans(&rest->replay);
	return false;
}

static void rest_free(struct replay_rest *rest)
{
	if (rest)
		strv_free(rest->running);
	free(rest);
}

static struct replay_rest *rest_new(const struct replay *r)
{
	struct replay_rest *rest = xcalloc(1, sizeof(*rest));
	size_t n = 0;

	rest->replay = *r;
	rest->running = xcalloc(1, sizeof(char *));
	list_for_each(l, &r->life->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (c->state != CONTAINER_RUNNING)
			continue;
		rest->running = xrealloc(rest->running, n + 2, sizeof(char *));
		rest->running[n++] = xstrdup(c->id);
		rest->running[n] = NULL;
	}
	return rest;
}

/* --- the whole */

static void spool_woke(void *arg)
{
	life_scan_soon(arg);
}

static void replay_tell(struct life *life)
{
	if (life->replay_done)
		life->replay_done(life->replay_arg);
}

static void rest_go_on(void *arg)
{
	struct life *life = arg;

	if (!life->stopping && rest_turn(life->replay_rest)) {
		loop_defer_queue(life->loop, &life->replay_defer);
		return;
	}
	rest_free(take_ptr(life->replay_rest));
	replay_tell(life);
}

static void replay_settled(void *arg)
{
	struct life *life = arg;

	replay_tell(life);
	if (!life->replay_rest)
		return;
	loop_defer_init(&life->replay_defer, rest_go_on, life);
	loop_defer_queue(life->loop, &life->replay_defer);
}

void replay_init(struct life *life)
{
	loop_defer_init(&life->replay_defer, replay_settled, life);
}

void replay_free(struct life *life)
{
	loop_defer_cancel(&life->replay_defer);
	rest_free(take_ptr(life->replay_rest));
}

void replay_released(struct life *life, uint64_t seq)
{
	if (life->replay_seq && seq >= life->replay_seq) {
		life->replay_seq = 0;
		replay_settled(life);
	}
}

int replay_run(struct life *life, enum replay_mode mode, struct replay_report *ret_report,
               void (*done)(void *arg), void *arg, struct err *err)
{
	struct replay r = { .life = life, .mode = mode, .report = ret_report };

	ret_report->probes = mode != REPLAY_INSPECT_AWAY;
	if (mode == REPLAY_SERVE &&
	    spool_watch(life->args.spool, life->loop, spool_woke, life, err) < 0)
		return -1;
	if (mode == REPLAY_SERVE) /* as long as their own deadline would have been */
		old_locks_find(life, MAX(life->args.config->runtime_timeout_ms,
		                         life->args.config->cni_timeout_ms));
	if (MUTANT(reboot_before_scan))
		replay_reboot(&r);
	if (replay_spool(&r, err) < 0)
		return -1;
	if (ret_report->probes) {
		replay_reboot(&r);
		replay_running(&r);
	}
	replay_unfinished(&r);
	list_for_each(l, &life->state->quarantine) {
		const struct quarantine *q = list_entry(l, struct quarantine, link);

		note(&r, REPLAY_QUARANTINE, "%s: %s", q->id[0] ? q->id : "(no id)", q->why);
	}
	if (mode == REPLAY_SERVE)
		life->replay_rest = rest_new(&r);
	else if (ret_report->probes)
		replay_orphans(&r);
	life->replay_done = done;
	life->replay_arg = arg;
	life->replay_seq = journal_next_seq(life->journal) - 1;
	if (life->replay_seq <= journal_released_seq(life->journal)) {
		life->replay_seq = 0;
		loop_defer_queue(life->loop, &life->replay_defer);
	}
	return 0;
}
