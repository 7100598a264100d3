/* core/life/container_remove.c
 *
 * RemoveContainer, and what it shares with the undo of CreateContainer and the cleaning after an exit: everything a container
 * leaves has a name that derives from its id, so removing is idempotent and needs no memory of how far the last one came.
 */
#include <string.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"
#include "core/run/mount.h"

/* --- shared */

uint32_t id_map_root(const struct id_maps *maps)
{
	for (size_t i = 0; i < maps->count; i++)
		if (maps->items[i].inside == 0)
			return maps->items[i].outside;
	return 0;
}

void life_record_stuck(struct op *op, enum record_kind kind)
{
	const rec_Removing msg = { .id = op->id, .undo = true, .step = op->at + 1 };
	struct err err = { 0 };

	if (!journal_append(op->life->journal, kind, record_info(kind)->class, &msg, &err))
		log_warn(&(struct log_ctx){ .op = op->name },
		         "%.12s: where it is stuck is not recorded: %s", op->id, err.msg);
}

enum step container_files_remove(struct op *op)
{
	struct life *life = op->life;
	struct bundle bundle;
	cleanup_free char *snapshot = xasprintf("%s/snapshots/%s", life->root, op->id);
	cleanup_free char *directory = life_container_dir(life, op->id);
	struct mount_op ops[] = {
		{ .kind = MOUNT_REMOVE_TREE, .target = bundle.dir },
		{ .kind = MOUNT_REMOVE_TREE, .target = snapshot },
		{ .kind = MOUNT_REMOVE_TREE, .target = directory },
	};

	if (bundle_names(&bundle, life->state_dir, op->id, op_err(op)) < 0 ||
	    op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	if (mount_run(life->loop, ops, ARRAY_SIZE(ops), op->lock.fd, CLEANUP_TIMEOUT_MS,
	              op_step_done, op, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

static void runtime_deleted(void *arg, const struct runtime_result *result UNUSED,
                            const struct err *err)
{
	struct op *op = arg;
	const struct container *c = container_get(op->life->state, op->id);

	if (!err) {
		monitor_forget(op->life->args.monitors, op->id);
		map_set(&op->life->cleaned, op->id, op->life);
	} else if (c && c->state == CONTAINER_STARTING) {
		/* a start that failed has to end in EXITED all the same: what follows that, and a removal, try again */
		log_warn(&(struct log_ctx){ .op = op->name, .container = op->id },
		         "not cleaned up yet: %s", err->msg);
		err = NULL;
	}
	op_step_done(op, err);
}

/* A runtime that failed in `create` before it wrote anything down has nothing to delete, and may fail in that, too. */
static bool runtime_knows(const struct life *life, const struct container *c)
{
	cleanup_free char *dir = xasprintf("%s/runtime/%s", life->state_dir, c->id);

	return c->pid || fsx_exists(dir);
}

enum step container_runtime_delete(struct op *op, const struct container *c)
{
	struct life *life = op->life;
	struct runtime_call call = RUNTIME_CALL_INIT;
	struct err err = { 0 };

	if (map_find(&life->cleaned, c->id))
		return STEP_DONE;
	if (!runtime_knows(life, c)) {
		monitor_forget(life->args.monitors, c->id);
		return STEP_DONE;
	}
	call.info = runtime_find(life->args.runtime, c->runtime, &err);
	if (!call.info || runtime_usable(call.info, &err) < 0) {
		/* the handler was taken away: what is left of the container goes with its cgroup and its files */
		log_warn(&(struct log_ctx){ .op = op->name, .container = c->id },
		         "removed without its runtime: %s", err.msg);
		monitor_forget(life->args.monitors, c->id);
		return STEP_DONE;
	}
	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	call.id = op->id;
	call.cgroups_path = c->cgroups_path;
	call.oplock_fd = op->lock.fd;
	call.timeout_ms = life->args.config->runtime_timeout_ms;
	call.done = runtime_deleted;
	call.arg = op;
	if (runtime_delete(life->args.runtime, &call, true, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

/* --- after an exit */

static void clean_free(struct op *op)
{
	free(op);
}

static enum step clean_turn_run(struct op *op)
{
	return op_take_turn(op, op->id, true);
}

static enum step clean_delete_run(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);

	return c && c->state == CONTAINER_EXITED ? container_runtime_delete(op, c) : STEP_DONE;
}

/* clang-format off */
static const struct op_step clean_steps[] = {
	{ "turn",   clean_turn_run,   NULL },
	{ "delete", clean_delete_run, NULL },
};
/* clang-format on */

struct op *container_clean_new(struct life *life UNUSED, const struct container *c)
{
	struct op *op = xcalloc(1, sizeof(*op));

	op->name = "CleanContainer";
	op->steps = clean_steps;
	op->nsteps = ARRAY_SIZE(clean_steps);
	op->free_fn = clean_free;
	memcpy(op->id, c->id, ID_SIZE);
	memcpy(op->sandbox_id, c->sandbox_id, ID_SIZE);
	return op;
}

/* --- RemoveContainer */

struct container_remove {
	struct op op;
	char *image_id;
	bool own_turn, stopping;
};

static struct container_remove *remove_of(struct op *op)
{
	return container_of(op, struct container_remove, op);
}

static void remove_free(struct op *op)
{
	free(remove_of(op)->image_id);
	free(remove_of(op));
}

static const struct container *remaining(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);

	return c && !container_is_tombstone(c) ? c : NULL;
}

static enum step pod_turn_run(struct op *op)
{
	return remove_of(op)->own_turn ? op_take_turn(op, op->sandbox_id, false) : STEP_DONE;
}

static enum step turn_run(struct op *op)
{
	return op_take_turn(op, op->id, true);
}

static enum step stop_run(struct op *op)
{
	struct container_remove *cr = remove_of(op);
	const struct container *c = remaining(op);

	if (cr->stopping)
		return op_children_step(op);
	if (!c || c->state == CONTAINER_EXITED || c->state == CONTAINER_REMOVING)
		return STEP_DONE;
	cr->stopping = true;
	op_start_child(op, container_stop_new(op->life, c, 0, false));
	return STEP_WAIT;
}

static enum step delete_run(struct op *op)
{
	const struct container *c = remaining(op);

	return c ? container_runtime_delete(op, c) : STEP_DONE;
}

static enum step removing_run(struct op *op)
{
	const struct container *c = remaining(op);
	const rec_Removing msg = { .id = op->id };

	return c && c->state == CONTAINER_EXITED ? op_record(op, RECORD_CONTAINER_REMOVING, &msg)
	                                         : STEP_DONE;
}

static enum step files_run(struct op *op)
{
	return container_files_remove(op);
}

static enum step removed_run(struct op *op)
{
	const rec_Ref ref = { .id = op->id };

	return remaining(op) ? op_record(op, RECORD_CONTAINER_REMOVED, &ref) : STEP_DONE;
}

static enum step event_run(struct op *op)
{
	map_remove(&op->life->cleaned, op->id);
	life_image_unused(op->life, remove_of(op)->image_id);
	events_push(op->life->args.events, EVENT_DELETED, op->id, op->sandbox_id, clock_real_ns());
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step remove_steps[] = {
	{ "pod turn", pod_turn_run, NULL },
	{ "turn",     turn_run,     NULL },
	{ "stop",     stop_run,     NULL },
	{ "delete",   delete_run,   NULL },
	{ "removing", removing_run, NULL },
	{ "files",    files_run,    NULL },
	{ "removed",  removed_run,  NULL },
	{ "event",    event_run,    NULL },
};
/* clang-format on */

struct op *container_remove_new(struct life *life UNUSED, const struct container *c, bool own_turn)
{
	struct container_remove *cr = xcalloc(1, sizeof(*cr));

	cr->own_turn = own_turn;
	cr->image_id = xstrdup(c->image_id);
	cr->op.name = "RemoveContainer";
	cr->op.steps = remove_steps;
	/* the hidden container has no events */
	cr->op.nsteps = ARRAY_SIZE(remove_steps) - c->hidden;
	cr->op.free_fn = remove_free;
	memcpy(cr->op.id, c->id, ID_SIZE);
	memcpy(cr->op.sandbox_id, c->sandbox_id, ID_SIZE);
	return &cr->op;
}

/* A record of this id could not be followed: what it names goes, and the quarantine with it. */
static enum step quarantine_removed_run(struct op *op)
{
	const rec_Ref ref = { .id = op->id };

	return op_record(op, RECORD_CONTAINER_REMOVED, &ref);
}

/* clang-format off */
static const struct op_step quarantine_steps[] = {
	{ "turn",    clean_turn_run,         NULL },
	{ "files",   files_run,              NULL },
	{ "removed", quarantine_removed_run, NULL },
};
/* clang-format on */

static const struct quarantine *find_quarantine(const struct life *life, const char *id)
{
	list_for_each(l, &life->state->quarantine) {
		const struct quarantine *q = list_entry(l, struct quarantine, link);

		if (q->id[0] && !strcmp(q->id, id))
			return q;
	}
	return NULL;
}

struct op *quarantine_remove_new(struct life *life, const char *id)
{
	const struct quarantine *q = find_quarantine(life, id);
	struct op *op;

	if (!q)
		return NULL;
	op = xcalloc(1, sizeof(*op));
	op->name = "RemoveQuarantined";
	op->steps = quarantine_steps;
	op->nsteps = ARRAY_SIZE(quarantine_steps);
	op->free_fn = clean_free;
	memcpy(op->id, q->id, ID_SIZE);
	return op;
}

void life_container_remove(struct life *life, const char *id, struct life_wait *wait)
{
	struct err err = { 0 };
	const struct container *c = container_find(life->state, id, &err);
	struct op *op;

	if (!c) {
		op = err_is(&err, CODE_NOT_FOUND) ? quarantine_remove_new(life, id) : NULL;
		if (op) {
			op_start(life, op);
			life_wait_op(wait, life, op);
		} else {
			life_answer(wait, life, id, err_is(&err, CODE_NOT_FOUND) ? NULL : &err);
		}
		return;
	}
	if (c->undone) {
		life_wait_op(wait, life, container_undo_start(life, c));
		return;
	}
	op = container_remove_new(life, c, true);
	op_start(life, op);
	life_wait_op(wait, life, op);
}
