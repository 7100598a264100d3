/* core/life/container_start.c
 *
 * StartContainer: STARTING -> monitor and runtime create -> gate -> runtime start -> RUNNING. Any failure ends in
 * `runtime delete` and EXITED 128 StartError: a container that could not be started has an exit like any other.
 *
 * While this runs, exits of the container are left in the spool; its end looks there again.
 */
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"

struct container_start {
	struct op op;
	bool own_turn;
	struct bundle bundle;
	char **head;    /* the runtime's argv */
	char **cgroups; /* the container's cgroup in every hierarchy */
	pid_t pid;
	uint64_t start_ticks;
	int64_t started_ns;
	struct gate_request request;
	struct gate_edit edit;
};

static struct container_start *start_of(struct op *op)
{
	return container_of(op, struct container_start, op);
}

static void start_free(struct op *op)
{
	struct container_start *cs = start_of(op);
	struct life *life = op->life;

	if (map_find(&life->starting, op->id) == op)
		map_remove(&life->starting, op->id);
	/* its exit may have been waiting for this */
	life_scan_soon(life);
	outbox_request_drop(life->outbox, &cs->request);
	strv_free(cs->head);
	strv_free(cs->cgroups);
	free(cs);
}

static enum step pod_turn_run(struct op *op)
{
	return start_of(op)->own_turn ? op_take_turn(op, op->sandbox_id, false) : STEP_DONE;
}

static enum step turn_run(struct op *op)
{
	return op_take_turn(op, op->id, true);
}

static enum step starting_run(struct op *op)
{
	struct life *life = op->life;
	const struct container *c = container_get(life->state, op->id);
	const struct sandbox *sb = sandbox_get(life->state, op->sandbox_id);
	PB_BYTES_ARRAY_T(16) boot_id = { .size = 16 };
	const rec_ContainerStarting msg = { .id = op->id, .boot_id = (pb_bytes_array_t *)&boot_id };

	if (!c || !sb)
		return op_fail(op, CODE_NOT_FOUND, "container \"%s\" not found", op->id);
	if (c->state != CONTAINER_CREATED)
		return op_fail(op, CODE_FAILED_PRECONDITION, "container %.12s is %s, not created",
		               op->id, container_state_name(c->state));
	if (sb->state != SANDBOX_READY && !c->hidden)
		return op_fail(op, CODE_FAILED_PRECONDITION, "pod sandbox %.12s is not ready",
		               op->sandbox_id);
	if (!c->hidden && sandbox_is_lost(life, sb)) {
		/* kubelet makes it anew only once it is not ready */
		op_start(life, sandbox_stop_new(sb, false));
		return op_fail(op, CODE_FAILED_PRECONDITION,
		               "pod sandbox %.12s has lost its namespaces: it is stopped",
		               op->sandbox_id);
	}
	memcpy(boot_id.bytes, life->boot_id, sizeof(life->boot_id));
	map_set(&life->starting, op->id, op);
	return op_record(op, RECORD_CONTAINER_STARTING, &msg);
}

static enum step starting_undo(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);
	const rec_ContainerExited msg = {
		.id = op->id,
		.exit_code = 128,
		.finished_ns = clock_real_ns(),
		.reason = (char *)"StartError",
		.message = op->err.msg,
	};
	enum step step;

	if (!c || c->state != CONTAINER_STARTING)
		return STEP_DONE; /* refused before it was on record */
	step = op_record(op, RECORD_CONTAINER_EXITED, &msg);
	if (op->wait_seq)
		map_set(&op->life->exiting, op->id, op->life);
	return step;
}

static void created(void *arg, const struct monitor_result *result, const struct err *err)
{
	struct op *op = arg;
	struct container_start *cs = start_of(op);

	cs->pid = result->pid;
	cs->start_ticks = result->start_ticks;
	op_step_done(op, err);
}

/* Where the container's processes will be, for OOM events and for killing what outlives a shared PID namespace. */
static char **cgroup_directories(const struct life *life, const char *cgroups_path, struct err *err)
{
	const struct cgroup_host *host = life->args.cgroups;
	cleanup_free char *dir = cgroup_dir(cgroups_path, err);
	char **list;
	size_t n = 0;

	if (!dir)
		return NULL;
	list = xcalloc(host->nhierarchies + 1, sizeof(*list));
	for (size_t i = 0; i < host->nhierarchies; i++)
		list[n++] = xasprintf("%s%s", host->hierarchies[i].mount, dir);
	return list;
}

static enum step create_run(struct op *op)
{
	struct container_start *cs = start_of(op);
	struct life *life = op->life;
	const struct container *c = container_get(life->state, op->id);
	const struct sandbox *sb = sandbox_get(life->state, op->sandbox_id);
	const struct runtime_info *info = runtime_find(life->args.runtime, c->runtime, op_err(op));
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;

	if (!info || runtime_usable(info, op_err(op)) < 0)
		return STEP_FAIL;
	if (bundle_names(&cs->bundle, life->state_dir, op->id, op_err(op)) < 0 ||
	    op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	cs->head = runtime_argv_head(life->args.runtime, info, c->cgroups_path);
	cs->cgroups = cgroup_directories(life, c->cgroups_path, op_err(op));
	if (!cs->cgroups)
		return STEP_FAIL;
	args.id = op->id;
	args.bundle = cs->bundle.dir;
	args.runtime = cs->head;
	args.log_path = c->log_path[0] ? c->log_path : NULL;
	args.tty = c->tty;
	args.want_stdin = c->stdin_open;
	args.stdin_once = c->stdin_once;
	args.kill_cgroup = c->shared_pid;
	args.cgroups = (const char *const *)cs->cgroups;
	args.io_uid = id_map_root(&sb->uid_maps);
	args.io_gid = id_map_root(&sb->gid_maps);
	args.oplock_fd = op->lock.fd;
	args.timeout_ms = life->args.config->runtime_timeout_ms;
	args.done = created;
	args.arg = op;
	if (monitor_start(life->args.monitors, &args, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

static enum step create_undo(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);

	return c ? container_runtime_delete(op, c) : STEP_DONE;
}

static void gate_done(struct gate_request *req, const struct err *err)
{
	op_step_done(req->arg, err);
}

static enum step gate_run(struct op *op)
{
	struct container_start *cs = start_of(op);
	const struct container *c = container_get(op->life->state, op->id);

	if (!c || c->hidden)
		return STEP_DONE;
	cs->edit.pid = cs->pid;
	cs->request.kind = GATE_CONTAINER_START;
	memcpy(cs->request.sandbox_id, op->sandbox_id, ID_SIZE);
	memcpy(cs->request.container_id, op->id, ID_SIZE);
	cs->request.edit = &cs->edit;
	cs->request.done = gate_done;
	cs->request.arg = op;
	outbox_request(op->life->outbox, &cs->request);
	return STEP_WAIT;
}

static void started(void *arg, const struct monitor_result *result, const struct err *err)
{
	struct op *op = arg;

	start_of(op)->started_ns = result->started_ns;
	op_step_done(op, err);
}

static enum step start_run(struct op *op)
{
	const struct life_args *args = &op->life->args;

	monitor_run_start(args->monitors, op->id, -1, args->config->runtime_timeout_ms, started,
	                  op);
	return op_busy(op);
}

static enum step running_run(struct op *op)
{
	struct container_start *cs = start_of(op);
	const rec_ContainerRunning msg = {
		.id = op->id,
		.started_ns = cs->started_ns,
		.pid = cs->pid,
		.start_ticks = cs->start_ticks,
	};

	return op_record(op, RECORD_CONTAINER_RUNNING, &msg);
}

/* clang-format off */
static const struct op_step start_steps[] = {
	{ "pod turn", pod_turn_run, NULL          },
	{ "turn",     turn_run,     NULL          },
	{ "starting", starting_run, starting_undo },
	{ "create",   create_run,   create_undo   },
	{ "gate",     gate_run,     NULL          },
	{ "start",    start_run,    NULL          },
	{ "running",  running_run,  NULL          },
};
/* clang-format on */

struct op *container_start_new(struct life *life UNUSED, const char *id, const char *sandbox_id,
                               bool own_turn)
{
	struct container_start *cs = xcalloc(1, sizeof(*cs));

	cs->own_turn = own_turn;
	cs->op.name = "StartContainer";
	cs->op.steps = start_steps;
	cs->op.nsteps = ARRAY_SIZE(start_steps);
	cs->op.undoable = true;
	cs->op.free_fn = start_free;
	ignore(str_copy(cs->op.id, ID_SIZE, id));
	ignore(str_copy(cs->op.sandbox_id, ID_SIZE, sandbox_id));
	return &cs->op;
}

void life_container_start(struct life *life, const char *id, int64_t deadline_ns,
                          struct life_wait *wait)
{
	struct err err = { 0 };
	const struct container *c = container_find(life->state, id, &err);
	struct op *op;

	if (!c) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	/* not joined: CRI has a second StartContainer fail, and it will, in its turn */
	op = container_start_new(life, c->id, c->sandbox_id, true);
	op->deadline_ns = deadline_ns;
	op_start(life, op);
	life_wait_op(wait, life, op);
}
