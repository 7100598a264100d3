/* core/life/sandbox_update.c
 *
 * UpdatePodSandboxResources: gate -> on record. The pod's own cgroup is kubelet's; what changes here is what plugins are told and
 * what is shown.
 */
#include <string.h>

#include "core/base/mem.h"
#include "core/life/life_internal.h"

struct sandbox_update {
	struct op op;
	struct gate_request request;
	struct gate_edit edit; /* resources: CRI bytes; plugins may replace them */
};

static struct sandbox_update *update_of(struct op *op)
{
	return container_of(op, struct sandbox_update, op);
}

static void update_free(struct op *op)
{
	struct sandbox_update *su = update_of(op);

	outbox_request_drop(op->life->outbox, &su->request);
	bytes_release(&su->edit.resources);
	free(su);
}

static enum step turn_run(struct op *op)
{
	return op_take_turn(op, op->id, false);
}

static void gate_done(struct gate_request *req, const struct err *err)
{
	op_step_done(req->arg, err);
}

static enum step gate_run(struct op *op)
{
	struct sandbox_update *su = update_of(op);
	const struct sandbox *sb = sandbox_get(op->life->state, op->id);

	if (!sb || sb->state != SANDBOX_READY)
		return op_fail(op, CODE_FAILED_PRECONDITION, "pod sandbox %.12s is not ready",
		               op->id);
	su->request.kind = GATE_SANDBOX_UPDATE;
	memcpy(su->request.sandbox_id, op->id, ID_SIZE);
	su->request.edit = &su->edit;
	su->request.done = gate_done;
	su->request.arg = op;
	outbox_request(op->life->outbox, &su->request);
	return STEP_WAIT;
}

static enum step record_run(struct op *op)
{
	struct sandbox_update *su = update_of(op);

	return op_record_resources(op, RECORD_SANDBOX_RESOURCES, &su->edit.resources);
}

static enum step notify_run(struct op *op)
{
	outbox_notify(op->life->outbox, GATE_SANDBOX_POST_UPDATE, op->id, "");
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step update_steps[] = {
	{ "turn",   turn_run,   NULL },
	{ "gate",   gate_run,   NULL },
	{ "record", record_run, NULL },
	{ "notify", notify_run, NULL },
};
/* clang-format on */

void life_sandbox_update(struct life *life, const char *id, struct bytes resources,
                         struct life_wait *wait)
{
	struct err err = { 0 };
	const struct sandbox *sb = sandbox_find(life->state, id, &err);
	struct sandbox_update *su;

	if (!sb) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	su = xcalloc(1, sizeof(*su));
	memcpy(su->op.id, sb->id, ID_SIZE);
	memcpy(su->op.sandbox_id, sb->id, ID_SIZE);
	if (resources.len)
		su->edit.resources = (struct bytes){ .data = xmemdup(resources.data, resources.len),
			                             .len = resources.len };
	su->op.name = "UpdatePodSandboxResources";
	su->op.steps = update_steps;
	su->op.nsteps = ARRAY_SIZE(update_steps);
	su->op.free_fn = update_free;
	op_start(life, &su->op);
	life_wait_op(wait, life, &su->op);
}
