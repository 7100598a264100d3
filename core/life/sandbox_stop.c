/* core/life/sandbox_stop.c
 *
 * StopPodSandbox and RemovePodSandbox: one table, the second goes on where the first ends. Forward only and idempotent: an error
 * leaves the pod where it is, the next call or the next start goes on.
 *
 * STOPPING comes only after every container's exit is released, so a plugin hears them before the pod's stop; the network goes
 * after the plugins heard it, since they may still need the namespaces.
 */
#include <string.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/mount.h"

struct sandbox_stop {
	struct op op;
	bool children_started, removal_started;
	struct outbox_wait heard;
};

static struct sandbox_stop *stop_of(struct op *op)
{
	return container_of(op, struct sandbox_stop, op);
}

static void stop_free(struct op *op)
{
	outbox_wait_drop(op->life->outbox, &stop_of(op)->heard);
	free(stop_of(op));
}

/* The pod while there is something to do for it; NULL: it went away. */
static const struct sandbox *current(struct op *op)
{
	const struct sandbox *sb = sandbox_get(op->life->state, op->id);

	return sb && !sandbox_is_tombstone(sb) ? sb : NULL;
}

static const struct sandbox *unstopped(struct op *op)
{
	const struct sandbox *sb = current(op);

	return sb && !sb->stopped && sb->state != SANDBOX_REMOVING ? sb : NULL;
}

static enum step turn_run(struct op *op)
{
	return op_take_turn(op, op->id, true);
}

static enum step containers_run(struct op *op)
{
	struct sandbox_stop *ss = stop_of(op);
	const struct sandbox *sb = unstopped(op);

	if (ss->children_started || !sb)
		return op_children_step(op);
	ss->children_started = true;
	list_for_each(l, &sb->containers) {
		const struct container *c = list_entry(l, struct container, pod_link);

		if (!c->hidden && c->state != CONTAINER_EXITED && c->state != CONTAINER_REMOVING)
			op_start_child(op, container_stop_new(op->life, c, 0, false));
	}
	return op_children_step(op);
}

static enum step stopping_run(struct op *op)
{
	const struct sandbox *sb = unstopped(op);
	const rec_Ref ref = { .id = op->id };

	if (!sb || sb->notified.stop_seq)
		return STEP_DONE;
	return op_record(op, RECORD_SANDBOX_STOPPING, &ref);
}

static void heard(void *arg)
{
	op_resume(arg, STEP_DONE);
}

static enum step gate_run(struct op *op)
{
	struct sandbox_stop *ss = stop_of(op);
	const struct sandbox *sb = unstopped(op);

	if (!sb)
		return STEP_DONE;
	ss->heard.done = heard;
	ss->heard.arg = op;
	outbox_wait_heard(op->life->outbox, &ss->heard, sb->notified.stop_seq);
	return STEP_WAIT;
}

static enum step network_run(struct op *op)
{
	return unstopped(op) ? sandbox_network_delete(op) : STEP_DONE;
}

static enum step pause_run(struct op *op)
{
	return unstopped(op) ? sandbox_pause_remove(op) : STEP_DONE;
}

static enum step shm_run(struct op *op)
{
	cleanup_free char *shm = xasprintf("%s/%s/shm", op->life->sandboxes_dir, op->id);
	const struct mount_op ops[] = { { .kind = MOUNT_DETACH, .target = shm } };

	if (!unstopped(op))
		return STEP_DONE;
	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	if (mount_run(op->life->loop, ops, ARRAY_SIZE(ops), op->lock.fd, CLEANUP_TIMEOUT_MS,
	              op_step_done, op, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

static enum step unpin_run(struct op *op)
{
	return unstopped(op) ? sandbox_unpin(op) : STEP_DONE;
}

static enum step stopped_run(struct op *op)
{
	const rec_Ref ref = { .id = op->id };

	return unstopped(op) ? op_record(op, RECORD_SANDBOX_STOPPED, &ref) : STEP_DONE;
}

/* --- RemovePodSandbox goes on */

static enum step remove_containers_run(struct op *op)
{
	struct sandbox_stop *ss = stop_of(op);
	const struct sandbox *sb = current(op);

	if (ss->removal_started || !sb)
		return op_children_step(op);
	ss->removal_started = true;
	list_for_each(l, &sb->containers) {
		const struct container *c = list_entry(l, struct container, pod_link);

		if (c->undone)
			op_adopt_child(op, container_undo_start(op->life, c));
		else
			op_start_child(op, container_remove_new(op->life, c, false));
	}
	return op_children_step(op);
}

static enum step removing_run(struct op *op)
{
	const struct sandbox *sb = current(op);
	const rec_Removing msg = { .id = op->id };

	return sb && sb->state != SANDBOX_REMOVING ? op_record(op, RECORD_SANDBOX_REMOVING, &msg)
	                                           : STEP_DONE;
}

static enum step removed_run(struct op *op)
{
	const rec_Ref ref = { .id = op->id };

	return current(op) ? op_record(op, RECORD_SANDBOX_REMOVED, &ref) : STEP_DONE;
}

static enum step event_run(struct op *op)
{
	events_push(op->life->args.events, EVENT_DELETED, op->id, op->id, clock_real_ns());
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step stop_steps[] = {
	{ "turn",              turn_run,              NULL },
	{ "containers",        containers_run,        NULL },
	{ "stopping",          stopping_run,          NULL },
	{ "gate",              gate_run,              NULL },
	{ "network",           network_run,           NULL },
	{ "pause",             pause_run,             NULL },
	{ "shm",               shm_run,               NULL },
	{ "unpin",             unpin_run,             NULL },
	{ "stopped",           stopped_run,           NULL },
	/* StopPodSandbox ends here */
	{ "remove containers", remove_containers_run, NULL },
	{ "removing",          removing_run,          NULL },
	{ "files",             sandbox_files_remove,  NULL },
	{ "removed",           removed_run,           NULL },
	{ "event",             event_run,             NULL },
};
/* clang-format on */
enum { STOP_STEPS = 9, REMOVE_STEPS = ARRAY_SIZE(stop_steps) };

struct op *sandbox_stop_new(const struct sandbox *sb, bool remove)
{
	struct sandbox_stop *ss = xcalloc(1, sizeof(*ss));

	ss->op.name = remove ? "RemovePodSandbox" : "StopPodSandbox";
	ss->op.steps = stop_steps;
	ss->op.nsteps = remove ? REMOVE_STEPS : STOP_STEPS;
	ss->op.free_fn = stop_free;
	memcpy(ss->op.id, sb->id, ID_SIZE);
	memcpy(ss->op.sandbox_id, sb->id, ID_SIZE);
	return &ss->op;
}

bool sandbox_is_lost(const struct life *life, const struct sandbox *sb)
{
	cleanup_free char *dir = life_sandbox_dir(life, sb->id);
	const struct namespaces *ns = life->args.namespaces;

	if (sb->state != SANDBOX_READY)
		return false;
	if (!fsx_exists(dir))
		return true;
	return ns && ((sb->netns_path && !namespaces_is_pinned(ns, sb->id, NAMESPACE_NET)) ||
	              (sb->ipcns_path && !namespaces_is_pinned(ns, sb->id, NAMESPACE_IPC)));
}

static void stop_or_remove(struct life *life, const char *id, bool remove, struct life_wait *wait)
{
	struct err err = { 0 };
	const struct sandbox *sb = sandbox_find(life->state, id, &err);
	struct op *op;

	if (!sb) {
		op = remove && err_is(&err, CODE_NOT_FOUND) ? quarantine_remove_new(life, id)
		                                            : NULL;
		if (!op) {
			life_answer(wait, life, id, err_is(&err, CODE_NOT_FOUND) ? NULL : &err);
			return;
		}
	} else if (sb->undone) {
		/* a failed creation whose clean-up is stuck: go on with it */
		life_wait_op(wait, life, sandbox_undo_start(life, sb));
		return;
	} else if (!remove && sb->stopped) {
		life_answer(wait, life, sb->id, NULL);
		return;
	} else {
		op = sandbox_stop_new(sb, remove);
	}
	op_start(life, op);
	life_wait_op(wait, life, op);
}

void life_sandbox_stop(struct life *life, const char *id, struct life_wait *wait)
{
	stop_or_remove(life, id, false, wait);
}

void life_sandbox_remove(struct life *life, const char *id, struct life_wait *wait)
{
	stop_or_remove(life, id, true, wait);
}
