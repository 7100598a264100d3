/* core/life/container_update.c
 *
 * UpdateContainerResources: gate -> runtime update -> on record; and ReopenContainerLog.
 */
#include <string.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"

struct container_update {
	struct op op;
	struct gate_request request;
	struct gate_edit edit; /* resources: CRI bytes; plugins may replace them */
	char *oci_json;
};

static struct container_update *update_of(struct op *op)
{
	return container_of(op, struct container_update, op);
}

static void update_free(struct op *op)
{
	struct container_update *cu = update_of(op);

	outbox_request_drop(op->life->outbox, &cu->request);
	bytes_release(&cu->edit.resources);
	free(cu->edit.spec_json);
	free(cu->oci_json);
	free(cu);
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
	struct container_update *cu = update_of(op);

	cu->request.kind = GATE_CONTAINER_UPDATE;
	memcpy(cu->request.sandbox_id, op->sandbox_id, ID_SIZE);
	memcpy(cu->request.container_id, op->id, ID_SIZE);
	cu->request.edit = &cu->edit;
	cu->request.done = gate_done;
	cu->request.arg = op;
	outbox_request(op->life->outbox, &cu->request);
	return STEP_WAIT;
}

/* Not started yet: the runtime reads it from the bundle. What the update names replaces, the rest stays. */
static void merge(yyjson_mut_doc *doc, yyjson_mut_val *into, yyjson_val *from)
{
	yyjson_obj_iter iter = yyjson_obj_iter_with(from);
	yyjson_val *key;

	while ((key = yyjson_obj_iter_next(&iter))) {
		yyjson_val *value = yyjson_obj_iter_get_val(key);
		yyjson_mut_val *old = yyjson_mut_obj_get(into, yyjson_get_str(key));

		if (yyjson_is_obj(value) && yyjson_mut_is_obj(old)) {
			merge(doc, old, value);
			continue;
		}
		yyjson_mut_obj_remove_key(into, yyjson_get_str(key));
		yyjson_mut_obj_add(into, yyjson_val_mut_copy(doc, key),
		                   yyjson_val_mut_copy(doc, value));
	}
}

static enum step spec_resources(struct op *op, const char *oci_json)
{
	struct bundle bundle;
	cleanup_free char *config = NULL;
	cleanup_free char *text = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *update = NULL;
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *out = NULL;
	yyjson_mut_val *linux_obj, *resources;
	size_t len;

	if (bundle_names(&bundle, op->life->state_dir, op->id, op_err(op)) < 0 ||
	    bundle_read_config(&bundle, &config, &len, op_err(op)) < 0)
		return STEP_FAIL;
	doc = json_parse(config, len, BUNDLE_CONFIG_MAX_BYTES, "config.json", op_err(op));
	update = doc ? json_parse(oci_json, strlen(oci_json), BUNDLE_CONFIG_MAX_BYTES, "resources",
	                          op_err(op))
	             : NULL;
	if (!update)
		return STEP_FAIL;
	out = yyjson_doc_mut_copy(doc, NULL);
	linux_obj = yyjson_mut_obj_get(yyjson_mut_doc_get_root(out), "linux");
	if (!yyjson_mut_is_obj(linux_obj))
		return op_fail(op, CODE_INTERNAL, "config.json has no linux section");
	resources = yyjson_mut_obj_get(linux_obj, "resources");
	if (!resources)
		resources = yyjson_mut_obj_add_obj(out, linux_obj, "resources");
	merge(out, resources, yyjson_doc_get_root(update));
	text = json_write(out, false, &len);
	return bundle_write_config(&bundle, text, len, op_err(op)) < 0 ? STEP_FAIL : STEP_DONE;
}

static void updated(void *arg, const struct runtime_result *result UNUSED, const struct err *err)
{
	/* it ended meanwhile: what is on record counts for nobody any more, and that is no error */
	op_step_done(arg, err && err_is(err, CODE_NOT_FOUND) ? NULL : err);
}

static enum step runtime_run(struct op *op)
{
	struct container_update *cu = update_of(op);
	struct life *life = op->life;
	const struct container *c = container_get(life->state, op->id);
	struct runtime_call call = RUNTIME_CALL_INIT;

	if (!c || container_is_tombstone(c) || c->state == CONTAINER_REMOVING)
		return op_fail(op, CODE_NOT_FOUND, "container %.12s is being removed", op->id);
	if (c->state == CONTAINER_EXITED)
		return op_fail(op, CODE_FAILED_PRECONDITION, "container %.12s has exited", op->id);
	call.info = runtime_find(life->args.runtime, c->runtime, op_err(op));
	if (!call.info || runtime_usable(call.info, op_err(op)) < 0)
		return STEP_FAIL;
	if (c->state != CONTAINER_RUNNING)
		return spec_resources(op, cu->oci_json);
	call.id = op->id;
	call.cgroups_path = c->cgroups_path;
	call.timeout_ms = life->args.config->runtime_timeout_ms;
	call.done = updated;
	call.arg = op;
	if (runtime_update(life->args.runtime, &call, cu->oci_json, strlen(cu->oci_json),
	                   op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

enum step op_record_resources(struct op *op, enum record_kind kind, const struct bytes *resources)
{
	cleanup_free uint8_t *raw = xcalloc(1, PB_BYTES_ARRAY_T_ALLOCSIZE(resources->len));
	pb_bytes_array_t *bytes = (pb_bytes_array_t *)(void *)raw;
	const rec_Resources msg = { .id = op->id, .resources = bytes };

	bytes->size = (pb_size_t)resources->len;
	if (resources->len)
		memcpy(bytes->bytes, resources->data, resources->len);
	return op_record(op, kind, &msg);
}

static enum step record_run(struct op *op)
{
	return op_record_resources(op, RECORD_CONTAINER_RESOURCES, &update_of(op)->edit.resources);
}

static enum step notify_run(struct op *op)
{
	outbox_notify(op->life->outbox, GATE_POST_UPDATE, op->sandbox_id, op->id);
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step update_steps[] = {
	{ "turn",    turn_run,    NULL },
	{ "gate",    gate_run,    NULL },
	{ "runtime", runtime_run, NULL },
	{ "record",  record_run,  NULL },
	{ "notify",  notify_run,  NULL },
};
/* clang-format on */

void life_container_update(struct life *life, const char *id, struct bytes resources,
                           const char *oci_json, struct life_wait *wait)
{
	struct err err = { 0 };
	const struct container *c = container_find(life->state, id, &err);
	struct container_update *cu;

	if (!c) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	cu = xcalloc(1, sizeof(*cu));
	memcpy(cu->op.id, c->id, ID_SIZE);
	memcpy(cu->op.sandbox_id, c->sandbox_id, ID_SIZE);
	cu->oci_json = xstrdup(oci_json);
	if (resources.len)
		cu->edit.resources = (struct bytes){ .data = xmemdup(resources.data, resources.len),
			                             .len = resources.len };
	cu->op.name = "UpdateContainerResources";
	cu->op.steps = update_steps;
	cu->op.nsteps = ARRAY_SIZE(update_steps);
	cu->op.free_fn = update_free;
	op_start(life, &cu->op);
	life_wait_op(wait, life, &cu->op);
}

/* --- log */

static void reopened(void *arg, const struct monitor_result *result UNUSED, const struct err *err)
{
	op_step_done(arg, err);
}

static enum step reopen_run(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);

	if (!c || c->state != CONTAINER_RUNNING)
		return op_fail(op, CODE_FAILED_PRECONDITION, "container %.12s is not running",
		               op->id);
	if (!c->log_path[0])
		return STEP_DONE;
	monitor_reopen_log(op->life->args.monitors, op->id, reopened, op);
	return op_busy(op);
}

static void reopen_free(struct op *op)
{
	free(op);
}

/* clang-format off */
static const struct op_step reopen_steps[] = {
	{ "reopen", reopen_run, NULL },
};
/* clang-format on */

void life_container_reopen_log(struct life *life, const char *id, struct life_wait *wait)
{
	struct err err = { 0 };
	const struct container *c = container_find(life->state, id, &err);
	struct op *op;

	if (!c) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	op = xcalloc(1, sizeof(*op));
	memcpy(op->id, c->id, ID_SIZE);
	memcpy(op->sandbox_id, c->sandbox_id, ID_SIZE);
	op->name = "ReopenContainerLog";
	op->steps = reopen_steps;
	op->nsteps = ARRAY_SIZE(reopen_steps);
	op->free_fn = reopen_free;
	op_start(life, op);
	life_wait_op(wait, life, op);
}
