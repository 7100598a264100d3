/* core/life/container_exec.c
 *
 * ExecSync (D6). The daemon is the parent of `runtime exec`; each exec runs in its own sub-cgroup exec-<n>, so that a time-out
 * can kill all of it: a process that forked twice is reparented to the container's init, no subreaper would find it.
 *
 * The exit status is the process's when the runtime wrote its pid file, else the runtime's own failure, and its log says why.
 * Nothing of this is on record: an exec does not survive the daemon, and a starting daemon kills what is left in exec-*.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"

#define OUTPUT_MAX      (16 * 1024 * 1024)
#define RUNTIME_LOG_MAX (256 * 1024)
#define GROUP_KILL_MS   5000
#define RUNTIME_END_MS  2000 /* from the end of its process to its own */

struct exec_op {
	struct op op;
	struct life_exec *exec;
	char **argv;
	int64_t timeout_ms;
	uint64_t n;
	struct bundle bundle;
	char group[CGROUP_EXEC_NAME];
	char pid_file[BUNDLE_PATH_SIZE], process[BUNDLE_PATH_SIZE], log[BUNDLE_PATH_SIZE];
	struct child *child;
	struct loop_timer timeout;
	bool timed_out, killing;
	char *out, *errout;
	size_t out_len, errout_len;
	int exit_code;
};

static struct exec_op *exec_of(struct op *op)
{
	return container_of(op, struct exec_op, op);
}

static void exec_free(struct op *op)
{
	struct exec_op *eo = exec_of(op);

	loop_timer_disarm(op->life->loop, &eo->timeout);
	if (eo->n)
		bundle_remove_exec(&eo->bundle, eo->n);
	strv_free(eo->argv);
	free(eo->out);
	free(eo->errout);
	free(eo);
}

/* --- cgroup work is done by workers: cgroupfs may block */

struct group_job {
	struct worker_job job;
	struct op *op; /* NULL: nobody waits */
	const struct cgroup_host *host;
	char *dir;
	uint64_t n; /* of the new one; sweep: of the first that is not swept */
	char name[CGROUP_EXEC_NAME];
	struct err err;
};

static void group_create(struct worker_job *job)
{
	struct group_job *gj = container_of(job, struct group_job, job);

	ignore(cgroup_exec_create(gj->host, gj->dir, gj->n, gj->name, &gj->err)); /* err tells */
}

static void group_remove(struct worker_job *job)
{
	struct group_job *gj = container_of(job, struct group_job, job);

	ignore(cgroup_exec_remove(gj->host, gj->dir, gj->name, GROUP_KILL_MS,
	                          &gj->err)); /* err tells */
}

static void group_sweep(struct worker_job *job)
{
	struct group_job *gj = container_of(job, struct group_job, job);

	ignore(cgroup_exec_sweep(gj->host, gj->dir, gj->n, GROUP_KILL_MS,
	                         &gj->err)); /* err tells */
}

static void group_done(struct worker_job *job)
{
	struct group_job *gj = container_of(job, struct group_job, job);

	if (gj->op) {
		memcpy(exec_of(gj->op)->group, gj->name, sizeof(gj->name));
		op_step_done(gj->op, gj->err.code == CODE_OK ? NULL : &gj->err);
	} else if (gj->err.code != CODE_OK) {
		log_warn(NULL, "exec cgroup: %s", gj->err.msg);
	}
	free(gj->dir);
	free(gj);
}

static int group_submit(struct life *life, struct op *op, const struct container *c,
                        void (*run)(struct worker_job *job), const char *name, uint64_t n,
                        struct err *err)
{
	struct group_job *gj = xcalloc(1, sizeof(*gj));

	gj->op = op;
	gj->host = life->args.cgroups;
	gj->n = n;
	ignore(str_copy(gj->name, sizeof(gj->name), or_empty(name))); /* "" for a new one */
	gj->dir = cgroup_dir(c->cgroups_path, err);
	if (!gj->dir) {
		free(gj);
		return -1;
	}
	gj->job.name = "exec cgroup";
	gj->job.run = run;
	gj->job.done = group_done;
	worker_submit(life->args.worker, &gj->job);
	return 0;
}

void exec_sweep(struct life *life, const struct container *c)
{
	struct err err = { 0 };

	ignore(group_submit(life, NULL, c, group_sweep, NULL, life->first_serial,
	                    &err)); /* a path that runs has a directory */
}

/* --- steps */

static const struct container *running(struct op *op)
{
	const struct container *c = container_get(op->life->state, op->id);

	if (c && c->state == CONTAINER_RUNNING)
		return c;
	err_set(op_err(op), CODE_FAILED_PRECONDITION, "container %.12s is not running", op->id);
	return NULL;
}

static enum step group_run(struct op *op)
{
	struct exec_op *eo = exec_of(op);
	const struct container *c = running(op);

	if (!c)
		return STEP_FAIL;
	eo->n = ++op->life->op_serial;
	return group_submit(op->life, op, c, group_create, NULL, eo->n, op_err(op)) < 0
	               ? STEP_FAIL
	               : op_busy(op);
}

/* Who hears of a time-out may rely on it: nothing that the exec started is left. */
static enum step group_undo(struct op *op)
{
	struct exec_op *eo = exec_of(op);
	const struct container *c = container_get(op->life->state, op->id);

	if (!c || !eo->group[0])
		return STEP_DONE;
	return group_submit(op->life, op, c, group_remove, eo->group, 0, op_err(op)) < 0
	               ? STEP_FAIL
	               : op_busy(op);
}

static void group_drop(struct op *op)
{
	struct exec_op *eo = exec_of(op);
	const struct container *c = container_get(op->life->state, op->id);
	struct err err = { 0 };

	if (c && eo->group[0])
		ignore(group_submit(op->life, NULL, c, group_remove, eo->group, 0,
		                    &err)); /* tried again at the next start */
}

/* The container's own process with other arguments, without terminal. */
static char *process_json(const char *config, size_t len, char *const *argv, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(config, len, BUNDLE_CONFIG_MAX_BYTES, "config.json", err);
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *out = NULL;
	yyjson_mut_val *root, *args;

	if (!doc)
		return NULL;
	if (!json_obj(yyjson_doc_get_root(doc), "process")) {
		err_set(err, CODE_INTERNAL, "config.json has no process");
		return NULL;
	}
	out = yyjson_mut_doc_new(NULL);
	root = yyjson_val_mut_copy(out, json_obj(yyjson_doc_get_root(doc), "process"));
	yyjson_mut_doc_set_root(out, root);
	yyjson_mut_obj_remove_key(root, "args");
	yyjson_mut_obj_remove_key(root, "terminal");
	yyjson_mut_obj_remove_key(root, "consoleSize");
	args = yyjson_mut_obj_add_arr(out, root, "args");
	for (; *argv; argv++)
		yyjson_mut_arr_add_str(out, args, *argv);
	return json_write(out, false, NULL);
}

static void exec_log_error(struct exec_op *eo, const char *errout, size_t errout_len, char *text,
                           size_t size)
{
	cleanup_free char *log = NULL;
	size_t len = 0;

	text[0] = '\0';
	if (fsx_read(AT_FDCWD, eo->log, RUNTIME_LOG_MAX, &log, &len) == 0)
		runtime_error((struct str){ log, len }, text, size);
	if (!text[0])
		runtime_error((struct str){ errout, errout_len }, text, size);
}

static void exec_ended(void *arg, const struct child_result *r)
{
	struct op *op = arg;
	struct exec_op *eo = exec_of(op);
	struct err err = { 0 };
	char text[200];
	pid_t pid;

	eo->child = NULL;
	loop_timer_disarm(op->life->loop, &eo->timeout);
	if (eo->timed_out) {
		err_set(op_err(op), CODE_DEADLINE_EXCEEDED,
		        "timeout %lld ms exceeded: context deadline exceeded",
		        (long long)eo->timeout_ms);
		op_resume(op, STEP_FAIL);
		return;
	}
	if (op->cancelled) {
		err_set(op_err(op), CODE_CANCELLED, "exec: cancelled by the client");
		op_resume(op, STEP_FAIL);
		return;
	}
	if (bundle_read_pid(eo->pid_file, &pid, &err) < 0 || r->stuck) {
		exec_log_error(eo, r->errout, r->errout_len, text, sizeof(text));
		err_set(op_err(op), CODE_UNKNOWN, "exec in container %.12s: %s", op->id,
		        text[0] ? text : "the runtime failed without a word");
		op_resume(op, STEP_FAIL);
		return;
	}
	eo->exit_code =
		WIFSIGNALED(r->wstatus) ? 128 + WTERMSIG(r->wstatus) : WEXITSTATUS(r->wstatus);
	eo->out = xmemdup(r->out_len ? r->out : "", MAX(r->out_len, 1));
	eo->out_len = r->out_len;
	eo->errout = xmemdup(r->errout_len ? r->errout : "", MAX(r->errout_len, 1));
	eo->errout_len = r->errout_len;
	op_resume(op, STEP_DONE);
}

/*
 * The group first: then the runtime, which is the process's parent, reaps it and ends. Killed before, it would leave a zombie to
 * an init of the container that may reap nothing. A runtime that does not end then is killed, too.
 */
static void exec_kill(struct exec_op *eo)
{
	const struct container *c = container_get(eo->op.life->state, eo->op.id);
	struct err err = { 0 };

	if (eo->killing && eo->child) {
		child_kill(eo->child);
		return;
	}
	eo->killing = true;
	if (c)
		ignore(group_submit(eo->op.life, NULL, c, group_remove, eo->group, 0,
		                    &err)); /* undo does it again */
	loop_timer_arm_in(eo->op.life->loop, &eo->timeout, RUNTIME_END_MS);
}

static void exec_timed_out(void *arg)
{
	struct exec_op *eo = arg;

	eo->timed_out |= !eo->killing;
	exec_kill(eo);
}

static enum step spawn_run(struct op *op)
{
	struct exec_op *eo = exec_of(op);
	struct life *life = op->life;
	const struct container *c = running(op);
	const struct runtime_info *info;
	cleanup_free char *config = NULL;
	cleanup_free char *process = NULL;
	struct runtime_exec args;
	struct child_args child = CHILD_ARGS_INIT;
	size_t len;

	if (eo->child) {
		/* run again because the client went away */
		if (op->cancelled && !eo->killing)
			exec_kill(eo);
		return STEP_WAIT;
	}
	if (!c)
		return STEP_FAIL;
	info = runtime_find(life->args.runtime, c->runtime, op_err(op));
	if (!info || runtime_usable(info, op_err(op)) < 0 ||
	    bundle_read_config(&eo->bundle, &config, &len, op_err(op)) < 0)
		return STEP_FAIL;
	process = process_json(config, len, eo->argv, op_err(op));
	if (!process ||
	    bundle_write_exec(&eo->bundle, eo->n, process, strlen(process), op_err(op)) < 0 ||
	    bundle_exec_name(&eo->bundle, eo->n, ".json", eo->process, sizeof(eo->process),
	                     op_err(op)) < 0 ||
	    bundle_exec_name(&eo->bundle, eo->n, ".pid", eo->pid_file, sizeof(eo->pid_file),
	                     op_err(op)) < 0 ||
	    bundle_exec_name(&eo->bundle, eo->n, ".log", eo->log, sizeof(eo->log), op_err(op)) < 0)
		return STEP_FAIL;
	args = (struct runtime_exec){
		.id = op->id,
		.process = eo->process,
		.pid_file = eo->pid_file,
		.cgroup = runtime_has(info, RUNTIME_EXEC_CGROUP) ? eo->group : NULL,
		.log = eo->log,
	};
	child.capture_out = true;
	child.capture_err = true;
	child.max_output = OUTPUT_MAX;
	child.done = exec_ended;
	child.arg = op;
	eo->child = runtime_exec_spawn(life->args.runtime, info, c->cgroups_path, &args, &child,
	                               op_err(op));
	if (!eo->child)
		return STEP_FAIL;
	op->wakes_on_cancel = true;
	if (eo->timeout_ms > 0)
		loop_timer_arm_in(life->loop, &eo->timeout, eo->timeout_ms);
	return op_busy(op);
}

static enum step answer_run(struct op *op)
{
	struct exec_op *eo = exec_of(op);

	if (eo->exec)
		eo->exec->result = (struct life_exec_result){
			.exit_code = eo->exit_code,
			.out = eo->out,
			.out_len = eo->out_len,
			.errout = eo->errout,
			.errout_len = eo->errout_len,
		};
	group_drop(op);
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step exec_steps[] = {
	{ "cgroup", group_run,  group_undo },
	{ "exec",   spawn_run,  NULL       },
	{ "answer", answer_run, NULL       },
};
/* clang-format on */

void life_exec_forget(struct life_exec *exec)
{
	if (exec->wait.op)
		exec_of(exec->wait.op)->exec = NULL;
	life_forget(&exec->wait);
}

void life_exec_sync(struct life *life, const char *id, char *const *argv, int64_t timeout_ms,
                    struct life_exec *exec)
{
	struct err err = { 0 };
	const struct container *c = container_find(life->state, id, &err);
	struct exec_op *eo;

	if (c && c->state != CONTAINER_RUNNING) {
		err_set(&err, CODE_FAILED_PRECONDITION, "container %.12s is not running", c->id);
		c = NULL;
	}
	if (!c) {
		life_answer(&exec->wait, life, NULL, &err);
		return;
	}
	eo = xcalloc(1, sizeof(*eo));
	eo->op.life = life;
	memcpy(eo->op.id, c->id, ID_SIZE);
	memcpy(eo->op.sandbox_id, c->sandbox_id, ID_SIZE);
	eo->exec = exec;
	eo->argv = strv_dup(argv);
	eo->timeout_ms = timeout_ms;
	loop_timer_init(&eo->timeout, exec_timed_out, eo, "exec time-out");
	eo->op.name = "ExecSync";
	eo->op.steps = exec_steps;
	eo->op.nsteps = ARRAY_SIZE(exec_steps);
	eo->op.undoable = true;
	eo->op.free_fn = exec_free;
	if (bundle_names(&eo->bundle, life->state_dir, c->id, &err) < 0) {
		exec_free(&eo->op);
		life_answer(&exec->wait, life, NULL, &err);
		return;
	}
	op_start(life, &eo->op);
	life_wait_op(&exec->wait, life, &eo->op);
}
