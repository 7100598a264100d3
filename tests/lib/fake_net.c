/* tests/lib/fake_net.c
 *
 * core/net on the world of fake_world.h: a network plugin that gives each pod one address and keeps it across reboots, until DEL.
 */
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/net/cni.h"
#include "tests/lib/fake_world.h"

struct net {
	struct world *world;
};

struct net *net_new(const struct net_args *args UNUSED)
{
	struct net *net = xcalloc(1, sizeof(*net));

	net->world = world_current();
	return net;
}

void net_free(struct net *net)
{
	free(net);
}

int net_prepare(struct net *net UNUSED, const struct net_pod *pod, char **ret_plan, size_t *ret_len,
                struct err *err UNUSED)
{
	*ret_plan = xasprintf("plan %s", pod->id);
	*ret_len = strlen(*ret_plan);
	return 0;
}

struct net_job {
	struct world_job job;
	net_done_fn done;
	void *arg;
};

static void net_release(struct world_job *job)
{
	free(container_of(job, struct net_job, job));
}

static void net_tell(struct world_job *job, const struct err *err)
{
	struct net_job *nj = container_of(job, struct net_job, job);
	char *ips[] = { (char *)"10.0.0.7", NULL };
	const struct net_result result = { .json = "{}", .len = 2, .ips = ips };

	nj->done(nj->arg, err || job->kind == WORLD_DEL ? NULL : &result, err);
}

static void act_add(struct world_job *job)
{
	size_t n = world_addresses(job->world, job->id);

	if (!world_is_pinned(job->world, job->id, "net")) {
		err_set(&job->err, CODE_UNKNOWN, "the network namespace is gone");
		return;
	}
	if (n)
		world_violation(job->world, "a second address for %.12s", job->id);
	map_set(&job->world->addresses, job->id, (void *)(uintptr_t)(n + 1));
}

static void act_del(struct world_job *job)
{
	map_remove(&job->world->addresses, job->id);
}

static void net_ask(struct net *net, enum world_kind kind, const struct net_call *call)
{
	struct net_job *nj = xcalloc(1, sizeof(*nj));
	const char *plan = call->plan;

	ensure(call->plan_len == 5 + 64 && !memcmp(plan, "plan ", 5));
	nj->job.kind = kind;
	memcpy(nj->job.id, plan + 5, 64);
	nj->job.timeout_ms = call->timeout_ms ? call->timeout_ms : 60000;
	nj->job.act = kind == WORLD_ADD ? act_add : act_del;
	nj->job.tell = net_tell;
	nj->job.release = net_release;
	nj->done = call->done;
	nj->arg = call->arg;
	world_ask(net->world, &nj->job, call->oplock_fd);
}

void net_add(struct net *net, const struct net_call *call)
{
	net_ask(net, WORLD_ADD, call);
}

void net_del(struct net *net, const struct net_call *call)
{
	net_ask(net, WORLD_DEL, call);
}
