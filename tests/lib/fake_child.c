/* tests/lib/fake_child.c
 *
 * core/loop/child on the world of fake_world.h. A child that runs a function of ours runs it in this process; the arguments of a
 * child that may outlive its daemon are copied, as fork() does.
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/loop/loop_internal.h"
#include "tests/lib/fake_image.h"
#include "tests/lib/fake_world.h"

struct child {
	struct world_job job;
	struct child_args args;
	void *copy;
	int wstatus;
	bool cancelled;
	char out[4096];
	size_t out_len;
};

static struct child *child_of(struct world_job *job)
{
	return container_of(job, struct child, job);
}

static void child_release(struct world_job *job)
{
	fake_overlay_plan_release(child_of(job)->copy);
	free(child_of(job));
}

static void child_act(struct world_job *job)
{
	struct child *child = child_of(job);

	if (streq(child->args.name, "build the spec"))
		return; /* it would print on our own stdout */
	if (child->copy)
		child->wstatus = child->args.fn(child->copy) << 8;
	else if (child->args.fn)
		child->wstatus = child->args.fn(child->args.fn_arg) << 8;
	else
		child->wstatus = job->world->exec_wstatus;
}

static void child_nothing(struct world_job *job UNUSED)
{
}

static void child_tell(struct world_job *job, const struct err *err)
{
	struct child *child = child_of(job);
	struct child_result result = {
		.wstatus = child->wstatus,
		.timed_out = job->timed_out,
		.cancelled = child->cancelled,
		.pid = 4242,
		.out = child->out,
		.out_len = child->out_len,
		.errout = "",
	};

	if (err && !child->cancelled)
		result.wstatus = job->timed_out ? SIGKILL : 1 << 8;
	child->args.done(child->args.arg, &result);
}

/* A function of ours, with the memory that it would have got from fork(): so now, with its output in a file. */
static void run_now(struct child *child)
{
	int file = memfd_create("output", MFD_CLOEXEC), out = dup(1);
	ssize_t n;

	ensure(file >= 0 && out >= 0 && dup2(file, 1) == 1);
	child->wstatus = child->args.fn(child->args.fn_arg) << 8;
	ensure(dup2(out, 1) == 1);
	n = pread(file, child->out, sizeof(child->out) - 1, 0);
	ensure(n >= 0 && close(file) == 0 && close(out) == 0);
	child->out_len = (size_t)n;
	child->args.fn = NULL;
	child->job.act = child_nothing;
}

struct child *child_spawn(struct loop *loop UNUSED, const struct child_args *args, struct err *err)
{
	struct world *world = world_current();
	struct child *child;

	if (world_is_stopped(world)) {
		err_set(err, CODE_UNAVAILABLE, "dead");
		return NULL;
	}
	child = xcalloc(1, sizeof(*child));
	child->args = *args;
	child->job.kind = args->capture_out && args->fn ? WORLD_SPEC
	                  : args->fn                    ? WORLD_MOUNT
	                                                : WORLD_EXEC;
	if (!args->fn) {
		memcpy(child->out, "out\n", 4);
		child->out_len = 4;
	}
	if (args->fn && fake_overlay_plan_copy(args, &child->copy, child->job.id))
		child->job.kind = WORLD_OVERLAY;
	child->job.timeout_ms = args->timeout_ms;
	child->job.act = child_act;
	child->job.tell = child_tell;
	child->job.release = child_release;
	if (args->fn && !child->copy)
		run_now(child);
	world_ask(world, &child->job, args->oplock_fd);
	return child;
}

void child_kill(struct child *child)
{
	child->cancelled = true;
	child->wstatus = SIGKILL;
	child->job.acted = true;
	child->job.mode = WORLD_WORKS;
	loop_timer_arm_in(child->job.world->loop, &child->job.timer, 0);
}

void child_detach(struct child *child)
{
	world_job_cancel(&child->job);
}

int child_check(const struct child_args *args, const struct child_result *result, struct err *err)
{
	if (result->wstatus == 0 && !result->timed_out && !result->cancelled)
		return 0;
	return err_set(err, result->timed_out ? CODE_DEADLINE_EXCEEDED : CODE_UNKNOWN, "%s: %s",
	               args->name, result->timed_out ? "timed out" : "exit status 1");
}

/* loop_free() calls this. The world knows its jobs. */
void child_release_all(struct loop *loop UNUSED)
{
}

size_t child_stuck(const struct loop *loop UNUSED)
{
	return 0;
}
