/* core/life/container_create.c
 *
 * CreateContainer: reserve -> snapshot mounted -> spec built -> gate -> bundle -> CREATED.
 *
 * All names derive from the id, so the undo of any step is one child: detach and remove bundle, writable layer and directory.
 * The hidden container of a `pause` pod takes the same table, with a root file system that is there already and a spec that
 * nobody may adjust.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/image/overlay.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"
#include "core/run/controller.h"
#include "core/run/mount.h"

/* No CRI name begins with a dot: it cannot meet a container of the pod. */
#define PAUSE_NAME ".pause"
#define SPEC_CHILD "build the spec"

struct container_create {
	struct op op;
	struct pb_arena *arena; /* the request's copy */
	rec_Container creating;
	char *key;
	char name_turn[ID_SIZE];
	bool recovered; /* found CREATING by a start: whoever is known may have been called */
	char target_id[ID_SIZE]; /* PID mode TARGET, or "" */
	bool pod_pid;
	struct bundle bundle;
	struct overlay_plan *plan;
	char *image_config;
	size_t image_config_len;
	struct spec_input input;
	char *sandbox_dir, *container_dir;
	struct gate_request request;
	struct gate_edit edit;
};

static struct container_create *create_of(struct op *op)
{
	return container_of(op, struct container_create, op);
}

static void create_free(struct op *op)
{
	struct container_create *cc = create_of(op);

	if (cc->key && map_find(&op->life->creating, cc->key) == op)
		map_remove(&op->life->creating, cc->key);
	outbox_request_drop(op->life->outbox, &cc->request);
	overlay_plan_free(cc->plan);
	free(cc->image_config);
	free(cc->sandbox_dir);
	free(cc->container_dir);
	free(cc->edit.spec_json);
	bytes_release(&cc->edit.resources);
	free(cc->key);
	pb_arena_free(cc->arena);
	free(cc);
}

/* --- steps */

/* One operation per name: behind an undo of the same name the new one waits here (D7). */
static enum step name_run(struct op *op)
{
	return op_take_turn(op, create_of(op)->name_turn, true);
}

static enum step turn_run(struct op *op)
{
	/* the pause container is made inside RunPodSandbox, whose pod nobody else knows yet */
	return create_of(op)->creating.hidden ? STEP_DONE : op_take_turn(op, op->sandbox_id, false);
}

static enum step reserve_run(struct op *op)
{
	struct container_create *cc = create_of(op);
	const struct sandbox *sb = sandbox_get(op->life->state, op->sandbox_id);
	const struct container *target, *other;

	other = container_by_key(op->life->state, cc->key);
	if (other)
		return op_fail(op, CODE_ALREADY_EXISTS,
		               "container name \"%s\" is used by %s, which is %s", cc->key,
		               other->id, container_state_name(other->state));
	if (!sb || sb->state != (cc->creating.hidden ? SANDBOX_CREATING : SANDBOX_READY))
		return op_fail(op, CODE_FAILED_PRECONDITION, "pod sandbox %.12s is not ready",
		               op->sandbox_id);
	if (!cc->creating.hidden && !image_get(op->life->state, cc->creating.image_id))
		return op_fail(op, CODE_NOT_FOUND, "image %s was removed", cc->creating.image_ref);
	if (cc->target_id[0]) {
		target = container_get(op->life->state, cc->target_id);
		if (!target || target->state != CONTAINER_RUNNING ||
		    !streq(target->sandbox_id, op->sandbox_id))
			return op_fail(op, CODE_FAILED_PRECONDITION,
			               "target container %.12s is not running in this pod",
			               cc->target_id);
	}
	if (!cc->creating.hidden)
		outbox_request_announce(op->life->outbox, &cc->request, GATE_CONTAINER_CREATE,
		                        op->sandbox_id, op->id);
	return op_record(op, RECORD_CONTAINER_CREATING, &cc->creating);
}

static enum step reserve_undo(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);
	const rec_Ref ref = { .id = op->id };

	if (!c || c->state != CONTAINER_REMOVING)
		return STEP_DONE; /* never was on record */
	return op_record(op, RECORD_CONTAINER_REMOVED, &ref);
}

static void config_read(void *arg, const char *text, size_t len, const struct err *err)
{
	struct op *op = arg;
	struct container_create *cc = create_of(op);

	if (!err) {
		cc->image_config = xstrndup(text, len);
		cc->image_config_len = len;
	}
	op_step_done(op, err);
}

static enum step image_run(struct op *op)
{
	struct container_create *cc = create_of(op);

	if (cc->creating.hidden)
		return STEP_DONE;
	life_image_config(op->life, cc->creating.image_id, config_read, op);
	return op_busy(op);
}

static enum step snapshot_run(struct op *op)
{
	struct container_create *cc = create_of(op);
	struct life *life = op->life;
	const struct sandbox *sb = sandbox_get(life->state, op->sandbox_id);
	const struct image *image;
	struct overlay_args args = { .root = life->root,
		                     .id = op->id,
		                     .target = cc->bundle.rootfs };
	struct child_args child = CHILD_ARGS_INIT;

	if (bundle_create(&cc->bundle, op_err(op)) < 0)
		return STEP_FAIL;
	if (cc->creating.hidden)
		return STEP_DONE;
	image = image_get(life->state, cc->creating.image_id);
	if (!sb || !image)
		return op_fail(op, CODE_ABORTED, "the pod or its image went away");
	args.layers = image->layers;
	args.userns = sb->userns_path;
	args.owner_uid = id_map_root(&sb->uid_maps);
	args.owner_gid = id_map_root(&sb->gid_maps);
	cc->plan = overlay_plan_new(&args, op_err(op));
	if (!cc->plan)
		return STEP_FAIL;
	child.name = "mount root file system";
	child.fn = overlay_mount_child;
	child.fn_arg = cc->plan;
	child.capture_err = true;
	child.timeout_ms = MOUNT_TIMEOUT_MS;
	return op_child(op, &child, NULL);
}

static enum step snapshot_undo(struct op *op)
{
	return container_files_remove(op);
}

/* The builder looks at paths that came with the request: one on a dead file system holds a child up, not the loop. The fork has a
 * copy of everything @input points to, and fork() leaves the allocator usable. */
/* config.json on stdout, else the error as it is on stderr. */
static int spec_child(void *arg)
{
	const struct container_create *cc = arg;
	const struct spec_builder *builder = &cc->op.life->args.builder;
	struct err err = { 0 };
	char *json = NULL;

	if (builder->build(builder->arg, &cc->input, &json, &err) < 0)
		return write_full(STDERR_FILENO, &err, sizeof(err)) < 0 ? 2 : 1;
	return write_full(STDOUT_FILENO, json, strlen(json)) < 0 ? 2 : 0;
}

static enum step spec_built(struct op *op, const struct child_result *result)
{
	static const struct child_args named = { .name = SPEC_CHILD };
	struct container_create *cc = create_of(op);

	if (WIFEXITED(result->wstatus) && WEXITSTATUS(result->wstatus) == 1 &&
	    result->errout_len == sizeof(struct err)) {
		memcpy(op_err(op), result->errout, sizeof(struct err));
		return STEP_FAIL;
	}
	if (child_check(&named, result, op_err(op)) < 0)
		return STEP_FAIL;
	if (result->truncated)
		return op_fail(op, CODE_RESOURCE_EXHAUSTED, "config.json: larger than %u bytes",
		               BUNDLE_CONFIG_MAX_BYTES);
	cc->edit.spec_json = xstrndup(result->out, result->out_len);
	return STEP_DONE;
}

static enum step spec_run(struct op *op)
{
	struct container_create *cc = create_of(op);
	struct life *life = op->life;
	const struct sandbox *sb = sandbox_get(life->state, op->sandbox_id);
	const struct container *c = container_get(life->state, op->id);
	struct spec_input *input = &cc->input;
	struct child_args child = CHILD_ARGS_INIT;
	enum step step;

	if (!sb || !c)
		return op_fail(op, CODE_ABORTED, "the pod went away");
	if (cc->creating.hidden)
		return pause_spec(op, sb, &cc->edit.spec_json);
	cc->sandbox_dir = life_sandbox_dir(life, op->sandbox_id);
	cc->container_dir = life_container_dir(life, op->id);
	*input = (struct spec_input){
		.sandbox = sb,
		.container = c,
		.image_config = cc->image_config,
		.image_config_len = cc->image_config_len,
		.rootfs = cc->bundle.rootfs,
		.sandbox_dir = cc->sandbox_dir,
		.container_dir = cc->container_dir,
		.runtime = runtime_find(life->args.runtime, sb->runtime, op_err(op)),
		.limits = runtime_host_limits(life->args.runtime),
	};
	if (!input->runtime)
		return STEP_FAIL;
	if (cc->pod_pid && sb->pause_container) {
		const struct container *pause = container_get(life->state, sb->pause_container);

		if (!pause || pause->state != CONTAINER_RUNNING)
			return op_fail(op, CODE_FAILED_PRECONDITION,
			               "the pod's PID namespace is gone");
		input->pause_pid = pause->pid;
	}
	if (cc->target_id[0]) {
		const struct container *target = container_get(life->state, cc->target_id);

		if (!target || target->state != CONTAINER_RUNNING)
			return op_fail(op, CODE_FAILED_PRECONDITION,
			               "target container %.12s is not running", cc->target_id);
		input->target_pid = target->pid;
	}
	child.name = SPEC_CHILD;
	child.fn = spec_child;
	child.fn_arg = cc;
	child.capture_out = child.capture_err = true;
	child.max_output = BUNDLE_CONFIG_MAX_BYTES;
	child.timeout_ms = MOUNT_TIMEOUT_MS;
	step = op_child(op, &child, spec_built);
	*input = (struct spec_input){
		0
	}; /* the fork has its copy: no op keeps a pointer into the state */
	return step;
}

static void gate_done(struct gate_request *req, const struct err *err)
{
	op_step_done(req->arg, err);
}

static enum step gate_run(struct op *op)
{
	struct container_create *cc = create_of(op);

	if (cc->creating.hidden)
		return STEP_DONE;
	cc->request.edit = &cc->edit;
	cc->request.done = gate_done;
	cc->request.arg = op;
	outbox_request(op->life->outbox, &cc->request);
	return STEP_WAIT;
}

static enum step bundle_run(struct op *op)
{
	struct container_create *cc = create_of(op);

	return bundle_write_config(&cc->bundle, cc->edit.spec_json, strlen(cc->edit.spec_json),
	                           op_err(op)) < 0
	               ? STEP_FAIL
	               : STEP_DONE;
}

static enum step commit_run(struct op *op)
{
	const rec_Ref ref = { .id = op->id };

	return op_record(op, RECORD_CONTAINER_CREATED, &ref);
}

/* clang-format off */
static const struct op_step create_steps[] = {
	{ "name",     name_run,     NULL          },
	{ "turn",     turn_run,     NULL          },
	{ "reserve",  reserve_run,  reserve_undo  },
	{ "image",    image_run,    NULL          },
	{ "snapshot", snapshot_run, snapshot_undo },
	{ "spec",     spec_run,     NULL          },
	{ "gate",     gate_run,     NULL          },
	{ "bundle",   bundle_run,   NULL          },
	{ "commit",   commit_run,   NULL          },
};
/* clang-format on */

/* REMOVING comes before the first undo; it names who is owed Stop and Remove. */
static enum step create_begin_undo(struct op *op)
{
	struct container_create *cc = create_of(op);
	const struct container *c = container_get(op->life->state, op->id);
	char *names[PLUGIN_MAX];
	rec_Removing msg = { .id = op->id, .undo = true, .all_plugins = cc->recovered };

	if (op_take_turn(op, cc->name_turn, true) == STEP_WAIT)
		return STEP_WAIT;
	if (!c || c->state != CONTAINER_CREATING)
		return STEP_DONE;
	cc->request.sealed = true;
	removing_plugins(op->life, cc->request.seen_mask, &msg, names);
	return op_record(op, RECORD_CONTAINER_REMOVING, &msg);
}

static void create_stuck(struct op *op)
{
	life_record_stuck(op, RECORD_CONTAINER_REMOVING);
}

static struct container_create *create_new(void)
{
	struct container_create *cc = xcalloc(1, sizeof(*cc));

	cc->op.name = "CreateContainer";
	cc->op.steps = create_steps;
	cc->op.nsteps = ARRAY_SIZE(create_steps);
	cc->op.undoable = true;
	cc->op.begin_undo = create_begin_undo;
	cc->op.stuck = create_stuck;
	cc->op.free_fn = create_free;
	return cc;
}

struct op *container_undo_start(struct life *life, const struct container *c)
{
	struct container_create *cc = create_new();
	struct err err = { 0 };

	memcpy(cc->op.id, c->id, ID_SIZE);
	memcpy(cc->op.sandbox_id, c->sandbox_id, ID_SIZE);
	cc->recovered = true;
	turn_name(c->key, cc->name_turn);
	ignore(bundle_names(&cc->bundle, life->state_dir, c->id,
	                    &err)); /* it fitted when it was made */
	op_start_at(life, &cc->op, ARRAY_SIZE(create_steps) - 1, true);
	/* at once: it may have to wait for an earlier daemon's children, and a retry of the name for it (D7) */
	ignore(op_take_turn(&cc->op, cc->name_turn, true)); /* begin_undo asks again */
	return &cc->op;
}

/* --- the request */

int life_copy_pairs(struct pb_arena *arena, const struct pairs *pairs, rec_Pair **ret_items,
                    pb_size_t *ret_count)
{
	rec_Pair *items;

	if (!pairs->count)
		return 0;
	items = pb_arena_alloc(arena, pairs->count * sizeof(*items));
	if (!items)
		return -1;
	for (size_t i = 0; i < pairs->count; i++) {
		items[i].key = pb_arena_strdup(arena, pairs->items[i].key);
		items[i].value = pb_arena_strdup(arena, pairs->items[i].value);
		if (!items[i].key || !items[i].value)
			return -1;
	}
	*ret_items = items;
	*ret_count = (pb_size_t)pairs->count;
	return 0;
}

/* ContainerStatus.image_ref: the digest that goes with the name asked for, else any, else the id. */
static const char *image_digest(const struct image *image)
{
	return image->digests[0] ? image->digests[0] : image->id;
}

static int fill_creating(struct life *life, struct container_create *cc,
                         const struct life_container *c, const struct sandbox *sb,
                         const struct image *image, struct err *err)
{
	rec_Container *msg = &cc->creating;

	*msg = (rec_Container){
		.id = cc->op.id,
		.sandbox_id = cc->op.sandbox_id,
		.name = pb_arena_strdup(cc->arena, c->name),
		.attempt = c->attempt,
		.image_ref = pb_arena_strdup(cc->arena, c->image),
		.image_id = pb_arena_strdup(cc->arena, image->id),
		.image_digest = pb_arena_strdup(cc->arena, image_digest(image)),
		.log_path = pb_arena_strdup(cc->arena, or_empty(c->log_path)),
		.tty = c->tty,
		.stdin_open = c->stdin_open,
		.stdin_once = c->stdin_once,
		.shared_pid = c->host_pid || c->pod_pid || c->target_id,
		.runtime = pb_arena_strdup(cc->arena, sb->runtime),
		.stop_signal =
			pb_arena_strdup(cc->arena, c->stop_signal ? c->stop_signal : "SIGTERM"),
		.created_ns = life_created_ns(life),
		.request = pb_arena_bytes(cc->arena, c->request.data, c->request.len),
	};
	cleanup_free char *cgroups = cgroup_oci_path(sb->cgroup_parent, cc->op.id, err);

	if (!cgroups)
		return -1;
	msg->cgroups_path = pb_arena_strdup(cc->arena, cgroups);
	if (life_copy_pairs(cc->arena, &c->labels, &msg->labels, &msg->labels_count) < 0 ||
	    life_copy_pairs(cc->arena, &c->annotations, &msg->annotations,
	                    &msg->annotations_count) < 0 ||
	    !msg->request || !msg->cgroups_path || !msg->name || !msg->image_ref)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "container %s: request too large",
		               c->name);
	return 0;
}

/* A container of that name is on its way, or there already and just as asked for: answered here. */
static bool answer_existing(struct life *life, const struct life_container *c, const char *key,
                            struct life_wait *wait)
{
	const struct container *old = container_by_key(life->state, key);
	struct op *op = map_find(&life->creating, key);

	if (op && !op->undoing && !op->cancelled) {
		life_wait_op(wait, life, op);
		return true;
	}
	if (old && old->state == CONTAINER_CREATED && old->request.len == c->request.len &&
	    !memcmp(old->request.data, c->request.data, c->request.len)) {
		life_answer(wait, life, old->id, NULL);
		return true;
	}
	return false; /* anything else is judged when it is this name's turn */
}

void life_container_create(struct life *life, const struct life_container *c, int64_t deadline_ns,
                           struct life_wait *wait)
{
	struct err err = { 0 };
	const struct sandbox *sb = sandbox_find(life->state, c->sandbox_id, &err);
	const struct image *image = sb ? life_image_find(life->state, c->image, &err) : NULL;
	const struct container *target = NULL;
	struct container_create *cc;
	cleanup_free char *key = NULL;

	if (!sb || !image) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	if (c->target_id) {
		target = container_find(life->state, c->target_id, &err);
		if (!target) {
			life_answer(wait, life, NULL, &err);
			return;
		}
	}
	key = container_key(c->name, sb, c->attempt);
	if (answer_existing(life, c, key, wait))
		return;
	cc = create_new();
	cc->arena = pb_arena_new(pb_budget_for(4 * RECORD_MAX_BYTES));
	rand_id(cc->op.id);
	memcpy(cc->op.sandbox_id, sb->id, ID_SIZE);
	cc->op.deadline_ns = deadline_ns;
	cc->pod_pid = c->pod_pid;
	if (target)
		memcpy(cc->target_id, target->id, ID_SIZE);
	if (fill_creating(life, cc, c, sb, image, &err) < 0 ||
	    bundle_names(&cc->bundle, life->state_dir, cc->op.id, &err) < 0) {
		cc->op.life = life;
		create_free(&cc->op);
		life_answer(wait, life, NULL, &err);
		return;
	}
	cc->key = xstrdup(key);
	turn_name(key, cc->name_turn);
	map_set(&life->creating, key, &cc->op);
	op_start(life, &cc->op);
	life_wait_op(wait, life, &cc->op);
}

struct op *pause_create_new(struct life *life, const struct sandbox *sb)
{
	struct container_create *cc = create_new();
	struct err err = { 0 };
	cleanup_free char *cgroups = NULL;

	cc->arena = pb_arena_new(pb_budget_for(0));
	pause_container_id(sb->id, cc->op.id);
	memcpy(cc->op.sandbox_id, sb->id, ID_SIZE);
	cgroups = cgroup_oci_path(sb->cgroup_parent, cc->op.id, &err);
	cc->creating = (rec_Container){
		.id = cc->op.id,
		.sandbox_id = cc->op.sandbox_id,
		.name = pb_arena_strdup(cc->arena, PAUSE_NAME),
		.hidden = true,
		.runtime = pb_arena_strdup(cc->arena, sb->runtime),
		.cgroups_path = pb_arena_strdup(cc->arena, or_empty(cgroups)),
		.stop_signal = pb_arena_strdup(cc->arena, "SIGKILL"),
		.created_ns = life_created_ns(life),
	};
	ignore(bundle_names(&cc->bundle, life->state_dir, cc->op.id,
	                    &err)); /* ids are of one length: as for any container */
	cc->key = container_key(PAUSE_NAME, sb, 0);
	turn_name(cc->key, cc->name_turn);
	return &cc->op;
}
