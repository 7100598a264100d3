/* cri/rpc/stats.c
 *
 * Statistics of containers and pods: which objects a request means, one query to core/life/stats.h, and its results as CRI
 * messages. An object that was removed while it was being read is left out of lists, and NOT_FOUND where it was named.
 */
#include "core/life/stats.h"

#include <stddef.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/state/state.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/to_cri.h"

#define STREAM_ROWS       100
#define DEFAULT_INTERFACE "eth0" /* what CNI calls a pod's first interface */

/* Map entries are lent, as in to_cri.c. */
#define SAME_AS_PAIR(type)                                                                         \
	_Static_assert(sizeof(type) == sizeof(struct pair) &&                                      \
	                       offsetof(type, key) == offsetof(struct pair, key) &&                \
	                       offsetof(type, value) == offsetof(struct pair, value),              \
	               #type " has the layout of struct pair")
SAME_AS_PAIR(cri_ContainerAttributes_LabelsEntry);
SAME_AS_PAIR(cri_ContainerAttributes_AnnotationsEntry);
SAME_AS_PAIR(cri_PodSandboxAttributes_LabelsEntry);
SAME_AS_PAIR(cri_PodSandboxAttributes_AnnotationsEntry);

#define SET(msg, field, number)                                                                    \
	do {                                                                                       \
		(msg)->has_##field = true;                                                         \
		(msg)->field.value = (number);                                                     \
	} while (0)

/* A call whose query runs; in the memory of the call. */
struct asked {
	struct cri *cri;
	struct grpc_call *call;
};

/* --- messages */

static void psi_line(const struct cgroup_psi_line *line, cri_PsiData *ret)
{
	*ret = (cri_PsiData){
		.Total = line->total_us * 1000, /* nanoseconds, as CRI wants it */
		.Avg10 = line->avg10_c / 100.0,
		.Avg60 = line->avg60_c / 100.0,
		.Avg300 = line->avg300_c / 100.0,
	};
}

static bool psi(const struct cgroup_psi *from, cri_PsiStats *ret)
{
	*ret = (cri_PsiStats){ .has_Full = from->has, .has_Some = from->has };
	psi_line(&from->full, &ret->Full);
	psi_line(&from->some, &ret->Some);
	return from->has;
}

static bool cpu_usage(const struct stats_usage *usage, cri_CpuUsage *ret)
{
	if (!usage->has || !usage->cgroup.has_cpu)
		return false;
	*ret = (cri_CpuUsage){ .timestamp = usage->cgroup.time_ns };
	SET(ret, usage_core_nano_seconds, usage->cgroup.cpu_usage_ns);
	if (usage->has_nano_cores)
		SET(ret, usage_nano_cores, usage->nano_cores);
	ret->has_psi = psi(&usage->cgroup.cpu_psi, &ret->psi);
	return true;
}

static bool memory_usage(const struct stats_usage *usage, cri_MemoryUsage *ret)
{
	const struct cgroup_stats *cg = &usage->cgroup;

	if (!usage->has || !cg->has_memory)
		return false;
	*ret = (cri_MemoryUsage){ .timestamp = cg->time_ns };
	SET(ret, working_set_bytes, cg->memory_working_set);
	SET(ret, available_bytes, cg->memory_available);
	SET(ret, usage_bytes, cg->memory_usage);
	SET(ret, rss_bytes, cg->memory_rss);
	SET(ret, page_faults, cg->page_faults);
	SET(ret, major_page_faults, cg->major_page_faults);
	ret->has_psi = psi(&cg->memory_psi, &ret->psi);
	return true;
}

static bool swap_usage(const struct stats_usage *usage, cri_SwapUsage *ret)
{
	if (!usage->has || !usage->cgroup.has_swap)
		return false;
	*ret = (cri_SwapUsage){ .timestamp = usage->cgroup.time_ns };
	SET(ret, swap_available_bytes, usage->cgroup.swap_available);
	SET(ret, swap_usage_bytes, usage->cgroup.swap_usage);
	return true;
}

static bool io_usage(const struct stats_usage *usage, cri_IoUsage *ret)
{
	if (!usage->has || !usage->cgroup.io_psi.has)
		return false;
	*ret = (cri_IoUsage){ .timestamp = usage->cgroup.time_ns };
	ret->has_psi = psi(&usage->cgroup.io_psi, &ret->psi);
	return true;
}

/* False: it is gone. */
static bool container_stats(const struct cri *cri, const struct stats_container *sc,
                            cri_ContainerStats *ret)
{
	const struct container *c = container_get(cri->state, sc->id);
	cri_Container listed = { 0 };

	if (!c || !container_is_visible(c) || to_cri_container(c, &listed) < 0)
		return false;
	*ret = (cri_ContainerStats){
		.has_attributes = true,
		.attributes = {
			.id = listed.id,
			.has_metadata = listed.has_metadata,
			.metadata = listed.metadata,
			.labels = (void *)listed.labels,
			.labels_count = listed.labels_count,
			.annotations = (void *)listed.annotations,
			.annotations_count = listed.annotations_count,
		},
	};
	ret->has_cpu = cpu_usage(&sc->usage, &ret->cpu);
	ret->has_memory = memory_usage(&sc->usage, &ret->memory);
	ret->has_swap = swap_usage(&sc->usage, &ret->swap);
	ret->has_io = io_usage(&sc->usage, &ret->io);
	if (sc->has_layer) {
		cri_FilesystemUsage *layer = &ret->writable_layer;

		ret->has_writable_layer = true;
		layer->timestamp = sc->layer_ns;
		layer->has_fs_id = true;
		layer->fs_id.mountpoint =
			cri->config
				->root; /* the same name as in ImageFsInfo: kubelet joins them by it */
		SET(layer, used_bytes, sc->layer.bytes);
		SET(layer, inodes_used, sc->layer.inodes);
	}
	return true;
}

static cri_NetworkInterfaceUsage interface_usage(const struct stats_interface *i)
{
	cri_NetworkInterfaceUsage ret = { .name = (char *)i->name };

	SET(&ret, rx_bytes, i->rx_bytes);
	SET(&ret, rx_errors, i->rx_errors);
	SET(&ret, tx_bytes, i->tx_bytes);
	SET(&ret, tx_errors, i->tx_errors);
	return ret;
}

static int network_usage(const struct stats_sandbox *ss, struct pb_arena *arena,
                         cri_NetworkUsage *ret)
{
	size_t dflt = 0;

	*ret = (cri_NetworkUsage){ .timestamp = ss->network_ns };
	ret->interfaces = pb_arena_alloc(arena, (ss->ninterfaces + 1) * sizeof(*ret->interfaces));
	if (!ret->interfaces)
		return -1;
	for (size_t i = 0; i < ss->ninterfaces; i++) {
		ret->interfaces[ret->interfaces_count++] = interface_usage(&ss->interfaces[i]);
		if (streq(ss->interfaces[i].name, DEFAULT_INTERFACE))
			dflt = i;
	}
	if (ss->ninterfaces > 0) {
		ret->has_default_interface = true;
		ret->default_interface = ret->interfaces[dflt];
	}
	return 0;
}

enum built { BUILT, GONE, NO_ROOM };

static enum built sandbox_stats(const struct cri *cri, const struct stats_result *result,
                                const struct stats_sandbox *ss, struct pb_arena *arena,
                                cri_PodSandboxStats *ret)
{
	const struct sandbox *sb = sandbox_get(cri->state, ss->id);
	cri_LinuxPodSandboxStats *stats = &ret->linux;
	cri_PodSandbox listed = { 0 };
	uint64_t processes = 0;

	if (!sb || !sandbox_is_visible(sb) || to_cri_sandbox(sb, &listed) < 0)
		return GONE;
	*ret = (cri_PodSandboxStats){
		.has_attributes = true,
		.attributes = {
			.id = listed.id,
			.has_metadata = listed.has_metadata,
			.metadata = listed.metadata,
			.labels = (void *)listed.labels,
			.labels_count = listed.labels_count,
			.annotations = (void *)listed.annotations,
			.annotations_count = listed.annotations_count,
		},
		.has_linux = true,
	};
	stats->has_cpu = cpu_usage(&ss->usage, &stats->cpu);
	stats->has_memory = memory_usage(&ss->usage, &stats->memory);
	stats->has_io = io_usage(&ss->usage, &stats->io);
	stats->has_network = ss->has_network;
	if (ss->has_network && network_usage(ss, arena, &stats->network) < 0)
		return NO_ROOM;
	stats->containers = pb_arena_alloc(arena, (ss->count + 1) * sizeof(*stats->containers));
	if (!stats->containers)
		return NO_ROOM;
	for (size_t i = ss->first; i < ss->first + ss->count; i++) {
		if (result->containers[i].usage.has)
			processes += result->containers[i].usage.cgroup.pids;
		if (container_stats(cri, &result->containers[i],
		                    &stats->containers[stats->containers_count]))
			stats->containers_count++;
	}
	stats->has_process = true;
	stats->process.timestamp = clock_real_ns();
	SET(&stats->process, process_count, processes);
	return BUILT;
}

/* --- asking */

static struct asked *ask(struct cri *cri, struct grpc_call *call)
{
	struct asked *asked = pb_arena_alloc(grpc_scratch(call), sizeof(*asked));

	if (asked)
		*asked = (struct asked){ .cri = cri, .call = call };
	else
		grpc_fail(call, &(struct err){ .code = CODE_RESOURCE_EXHAUSTED,
		                               .msg = "no memory for the answer" });
	return asked;
}

static void too_many(struct grpc_call *call, size_t n, const char *what)
{
	struct err err = { 0 };

	err_set(&err, CODE_RESOURCE_EXHAUSTED,
	        "statistics of %zu %s are too many for one answer; ask for a stream", n, what);
	grpc_fail(call, &err);
}

static struct stats_query *query_containers(struct cri *cri, const cri_ContainerStatsFilter *filter)
{
	struct stats_query *query = stats_query_new(cri->stats, STATS_BASIC);
	const bool by_id = filter->id && filter->id[0],
		   by_pod = filter->pod_sandbox_id && filter->pod_sandbox_id[0];
	struct err err = { 0 };
	const struct container *only = by_id ? container_find(cri->state, filter->id, &err) : NULL;
	const struct sandbox *pod =
		by_pod ? sandbox_find(cri->state, filter->pod_sandbox_id, &err) : NULL;

	list_for_each(l, &cri->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (!container_is_visible(c) || (by_id && c != only) ||
		    (by_pod && (!pod || !streq(pod->id, c->sandbox_id))))
			continue;
		if (labels_match(&c->labels, filter->label_selector, filter->label_selector_count))
			stats_query_container(query, c);
	}
	return query;
}

/* Pods that are not ready have nothing to measure: left out of lists. */
static struct stats_query *query_sandboxes(struct cri *cri, const cri_PodSandboxStatsFilter *filter)
{
	struct stats_query *query = stats_query_new(cri->stats, STATS_BASIC);
	const bool by_id = filter->id && filter->id[0];
	struct err err = { 0 };
	const struct sandbox *only = by_id ? sandbox_find(cri->state, filter->id, &err) : NULL;

	list_for_each(l, &cri->state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (sb->state != SANDBOX_READY || !sandbox_is_visible(sb) || (by_id && sb != only))
			continue;
		if (labels_match(&sb->labels, filter->label_selector, filter->label_selector_count))
			stats_query_sandbox(query, sb);
	}
	return query;
}

/* --- containers */

static void container_stats_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	cri_ContainerStatsResponse resp = { .has_stats = true };
	struct err err = { 0 };

	ensure(result->ncontainers == 1);
	if (container_stats(asked->cri, &result->containers[0], &resp.stats)) {
		grpc_reply(asked->call, cri_ContainerStatsResponse_fields, &resp);
		return;
	}
	err_set(&err, CODE_NOT_FOUND, "container \"%.64s\" was removed meanwhile",
	        result->containers[0].id);
	grpc_fail(asked->call, &err);
}

void rpc_container_stats(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ContainerStatsRequest *req = request;
	struct err err = { 0 };
	const struct container *c = container_find(cri->state, req->container_id, &err);
	struct stats_query *query;
	struct asked *asked;

	if (!c) {
		grpc_fail(call, &err);
		return;
	}
	asked = ask(cri, call);
	if (!asked)
		return;
	query = stats_query_new(cri->stats, STATS_BASIC);
	stats_query_container(query, c);
	stats_query_run(query, container_stats_done, asked);
}

static void list_container_stats_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	cri_ListContainerStatsResponse resp = { 0 };

	resp.stats = pb_arena_alloc(grpc_scratch(asked->call),
	                            (result->ncontainers + 1) * sizeof(*resp.stats));
	if (!resp.stats) {
		too_many(asked->call, result->ncontainers, "containers");
		return;
	}
	for (size_t i = 0; i < result->ncontainers; i++)
		resp.stats_count += container_stats(asked->cri, &result->containers[i],
		                                    &resp.stats[resp.stats_count]);
	grpc_reply(asked->call, cri_ListContainerStatsResponse_fields, &resp);
}

void rpc_list_container_stats(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ListContainerStatsRequest *req = request;
	struct asked *asked = ask(cri, call);

	if (asked)
		stats_query_run(query_containers(cri, &req->filter), list_container_stats_done,
		                asked);
}

static void stream_container_stats_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	cri_ContainerStats *rows =
		pb_arena_alloc(grpc_scratch(asked->call), STREAM_ROWS * sizeof(*rows));
	cri_StreamContainerStatsResponse resp = { .container_stats = rows };
	struct err err = { 0 };

	if (!rows) {
		too_many(asked->call, STREAM_ROWS, "containers");
		return;
	}
	for (size_t i = 0; i < result->ncontainers; i++) {
		resp.container_stats_count += container_stats(asked->cri, &result->containers[i],
		                                              &rows[resp.container_stats_count]);
		if (resp.container_stats_count < STREAM_ROWS && i + 1 < result->ncontainers)
			continue;
		if (resp.container_stats_count == 0)
			continue;
		if (grpc_stream_send(asked->call, cri_StreamContainerStatsResponse_fields, &resp,
		                     &err) < 0) {
			grpc_fail(asked->call, &err);
			return;
		}
		resp.container_stats_count = 0;
	}
	grpc_finish(asked->call);
}

void rpc_stream_container_stats(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StreamContainerStatsRequest *req = request;
	struct asked *asked = ask(cri, call);

	if (asked)
		stats_query_run(query_containers(cri, &req->filter), stream_container_stats_done,
		                asked);
}

/* --- pods */

static void pod_sandbox_stats_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	cri_PodSandboxStatsResponse resp = { .has_stats = true };
	struct err err = { 0 };

	ensure(result->nsandboxes == 1);
	switch (sandbox_stats(asked->cri, result, &result->sandboxes[0], grpc_scratch(asked->call),
	                      &resp.stats)) {
	case BUILT:
		grpc_reply(asked->call, cri_PodSandboxStatsResponse_fields, &resp);
		return;
	case GONE:
		err_set(&err, CODE_NOT_FOUND, "pod sandbox \"%.64s\" was removed meanwhile",
		        result->sandboxes[0].id);
		break;
	case NO_ROOM:
		err_set(&err, CODE_RESOURCE_EXHAUSTED,
		        "statistics of pod sandbox %.64s are too large", result->sandboxes[0].id);
		break;
	}
	grpc_fail(asked->call, &err);
}

void rpc_pod_sandbox_stats(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_PodSandboxStatsRequest *req = request;
	struct err err = { 0 };
	const struct sandbox *sb = sandbox_find(cri->state, req->pod_sandbox_id, &err);
	struct stats_query *query;
	struct asked *asked;

	if (sb && sb->state != SANDBOX_READY)
		err_set(&err, CODE_UNAVAILABLE,
		        "pod sandbox %s is not ready: it uses nothing that could be measured",
		        sb->id);
	if (err.code) {
		grpc_fail(call, &err);
		return;
	}
	asked = ask(cri, call);
	if (!asked)
		return;
	query = stats_query_new(cri->stats, STATS_BASIC);
	stats_query_sandbox(query, sb);
	stats_query_run(query, pod_sandbox_stats_done, asked);
}

static void list_pod_sandbox_stats_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	struct pb_arena *arena = grpc_scratch(asked->call);
	cri_ListPodSandboxStatsResponse resp = { 0 };

	resp.stats = pb_arena_alloc(arena, (result->nsandboxes + 1) * sizeof(*resp.stats));
	for (size_t i = 0; resp.stats && i < result->nsandboxes; i++) {
		enum built built = sandbox_stats(asked->cri, result, &result->sandboxes[i], arena,
		                                 &resp.stats[resp.stats_count]);

		if (built == NO_ROOM)
			resp.stats = NULL;
		else
			resp.stats_count += built == BUILT;
	}
	if (resp.stats)
		grpc_reply(asked->call, cri_ListPodSandboxStatsResponse_fields, &resp);
	else
		too_many(asked->call, result->nsandboxes, "pods");
}

void rpc_list_pod_sandbox_stats(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ListPodSandboxStatsRequest *req = request;
	struct asked *asked = ask(cri, call);

	if (asked)
		stats_query_run(query_sandboxes(cri, &req->filter), list_pod_sandbox_stats_done,
		                asked);
}

/* One pod a message: pods differ too much in size to count them. */
static void stream_pod_sandbox_stats_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	struct pb_arena *arena = grpc_scratch(asked->call);
	cri_PodSandboxStats row;
	cri_StreamPodSandboxStatsResponse resp = { .pod_sandbox_stats = &row,
		                                   .pod_sandbox_stats_count = 1 };
	struct err err = { 0 };

	for (size_t i = 0; i < result->nsandboxes; i++) {
		enum built built =
			sandbox_stats(asked->cri, result, &result->sandboxes[i], arena, &row);

		if (built == GONE)
			continue;
		if (built == NO_ROOM) {
			too_many(asked->call, result->nsandboxes, "pods");
			return;
		}
		if (grpc_stream_send(asked->call, cri_StreamPodSandboxStatsResponse_fields, &resp,
		                     &err) < 0) {
			grpc_fail(asked->call, &err);
			return;
		}
	}
	grpc_finish(asked->call);
}

void rpc_stream_pod_sandbox_stats(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StreamPodSandboxStatsRequest *req = request;
	struct asked *asked = ask(cri, call);

	if (asked)
		stats_query_run(query_sandboxes(cri, &req->filter), stream_pod_sandbox_stats_done,
		                asked);
}
