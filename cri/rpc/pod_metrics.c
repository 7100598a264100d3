/* cri/rpc/pod_metrics.c
 *
 * What cAdvisor used to export, from the runtime: a fixed set of metrics under cAdvisor's names, for every container of every
 * ready pod, and the pod's network counters. One table says what there is; a metric is advertised because it is in the table,
 * and every row of the table is filled below.
 *
 * Values are whole numbers, as the message has it: seconds lose their fraction. What a kernel or a cgroup version does not
 * count reads as 0, pressure and quota are left out where there is none.
 */
#include <stddef.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/life/stats.h"
#include "core/state/state.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"

#define BASE_KEYS 5 /* pod, namespace, container, id, image */
#define MORE_KEYS 4
#define KEYS_MAX  (BASE_KEYS + MORE_KEYS)

/* clang-format off */
#define METRICS(X)                                                                                                              \
	X(CPU_USAGE,	   "container_cpu_usage_seconds_total",		 COUNTER, "CPU time consumed",				  NULL, NULL) \
	X(CPU_USER,	   "container_cpu_user_seconds_total",		 COUNTER, "CPU time consumed in user mode",		  NULL, NULL) \
	X(CPU_SYSTEM,	   "container_cpu_system_seconds_total",	 COUNTER, "CPU time consumed in the kernel",		  NULL, NULL) \
	X(CFS_PERIODS,	   "container_cpu_cfs_periods_total",		 COUNTER, "Enforcement periods that have passed",	  NULL, NULL) \
	X(CFS_THROTTLED,   "container_cpu_cfs_throttled_periods_total",	 COUNTER, "Periods in which it was throttled",		  NULL, NULL) \
	X(CFS_SECONDS,	   "container_cpu_cfs_throttled_seconds_total",	 COUNTER, "Time for which it was throttled",		  NULL, NULL) \
	X(MEM_CACHE,	   "container_memory_cache",			 GAUGE,	  "Bytes of page cache",			  NULL, NULL) \
	X(MEM_RSS,	   "container_memory_rss",			 GAUGE,	  "Bytes of anonymous memory",			  NULL, NULL) \
	X(MEM_KERNEL,	   "container_memory_kernel_usage",		 GAUGE,	  "Bytes of kernel memory",			  NULL, NULL) \
	X(MEM_MAPPED,	   "container_memory_mapped_file",		 GAUGE,	  "Bytes of mapped files",			  NULL, NULL) \
	X(MEM_SWAP,	   "container_memory_swap",			 GAUGE,	  "Bytes of swap in use",			  NULL, NULL) \
	X(MEM_FAILCNT,	   "container_memory_failcnt",			 COUNTER, "Times that the memory limit was hit",	  NULL, NULL) \
	X(MEM_USAGE,	   "container_memory_usage_bytes",		 GAUGE,	  "Bytes of memory in use, page cache included",  NULL, NULL) \
	X(MEM_MAX,	   "container_memory_max_usage_bytes",		 GAUGE,	  "Most bytes of memory ever in use",		  NULL, NULL) \
	X(MEM_WORKING_SET, "container_memory_working_set_bytes",	 GAUGE,	  "Bytes of memory that cannot be reclaimed easily", NULL, NULL) \
	X(MEM_ACTIVE,	   "container_memory_total_active_file_bytes",	 GAUGE,	  "Bytes of active page cache",			  NULL, NULL) \
	X(MEM_INACTIVE,	   "container_memory_total_inactive_file_bytes", GAUGE,	  "Bytes of inactive page cache",		  NULL, NULL) \
	X(OOM_EVENTS,	   "container_oom_events_total",		 COUNTER, "Processes killed for lack of memory",	  NULL, NULL) \
	X(PROCESSES,	   "container_processes",			 GAUGE,	  "Processes that run",				  NULL, NULL) \
	X(FILES,	   "container_file_descriptors",		 GAUGE,	  "Open file descriptors",			  NULL, NULL) \
	X(SOCKETS,	   "container_sockets",				 GAUGE,	  "Open sockets",				  NULL, NULL) \
	X(THREADS,	   "container_threads",				 GAUGE,	  "Threads that run",				  NULL, NULL) \
	X(THREADS_MAX,	   "container_threads_max",			 GAUGE,	  "Most threads allowed, 0: no limit",		  NULL, NULL) \
	X(LAST_SEEN,	   "container_last_seen",			 GAUGE,	  "Time of this reading, seconds since 1970",	  NULL, NULL) \
	X(START_TIME,	   "container_start_time_seconds",		 GAUGE,	  "Time of the start, seconds since 1970",	  NULL, NULL) \
	X(CPU_PERIOD,	   "container_spec_cpu_period",			 GAUGE,	  "CPU period, microseconds",			  NULL, NULL) \
	X(CPU_SHARES,	   "container_spec_cpu_shares",			 GAUGE,	  "CPU shares",					  NULL, NULL) \
	X(CPU_QUOTA,	   "container_spec_cpu_quota",			 GAUGE,	  "CPU quota, microseconds in each period",	  NULL, NULL) \
	X(MEM_LIMIT,	   "container_spec_memory_limit_bytes",		 GAUGE,	  "Memory limit, 0: none",			  NULL, NULL) \
	X(SWAP_LIMIT,	   "container_spec_memory_swap_limit_bytes",	 GAUGE,	  "Limit of memory and swap together, 0: none",	  NULL, NULL) \
	X(CPU_STALLED,	   "container_pressure_cpu_stalled_seconds_total",    COUNTER, "Time in which all tasks waited for a CPU",   NULL, NULL) \
	X(CPU_WAITING,	   "container_pressure_cpu_waiting_seconds_total",    COUNTER, "Time in which a task waited for a CPU",	     NULL, NULL) \
	X(MEM_STALLED,	   "container_pressure_memory_stalled_seconds_total", COUNTER, "Time in which all tasks waited for memory",  NULL, NULL) \
	X(MEM_WAITING,	   "container_pressure_memory_waiting_seconds_total", COUNTER, "Time in which a task waited for memory",     NULL, NULL) \
	X(IO_STALLED,	   "container_pressure_io_stalled_seconds_total",     COUNTER, "Time in which all tasks waited for a disk",  NULL, NULL) \
	X(IO_WAITING,	   "container_pressure_io_waiting_seconds_total",     COUNTER, "Time in which a task waited for a disk",     NULL, NULL) \
	X(MEM_FAILURES,	   "container_memory_failures_total",		 COUNTER, "Page faults",			"failure_type", "scope") \
	X(FS_INODES_FREE,  "container_fs_inodes_free",			 GAUGE,	  "Inodes free on the file system",		  "device", NULL) \
	X(FS_INODES,	   "container_fs_inodes_total",			 GAUGE,	  "Inodes of the file system",			  "device", NULL) \
	X(FS_LIMIT,	   "container_fs_limit_bytes",			 GAUGE,	  "Size of the file system",			  "device", NULL) \
	X(FS_USAGE,	   "container_fs_usage_bytes",			 GAUGE,	  "Bytes in the container's writable layer",	  "device", NULL) \
	X(FS_READS,	   "container_fs_reads_total",			 COUNTER, "Reads from the device",			  "device", NULL) \
	X(FS_READ_BYTES,   "container_fs_reads_bytes_total",		 COUNTER, "Bytes read from the device",			  "device", NULL) \
	X(FS_WRITES,	   "container_fs_writes_total",			 COUNTER, "Writes to the device",			  "device", NULL) \
	X(FS_WRITE_BYTES,  "container_fs_writes_bytes_total",		 COUNTER, "Bytes written to the device",		  "device", NULL) \
	X(BLKIO,	   "container_blkio_device_usage_total",	 COUNTER, "Bytes moved from and to the device", "device", "major", "minor", "operation") \
	X(HUGETLB_USAGE,   "container_hugetlb_usage_bytes",		 GAUGE,	  "Bytes of huge pages in use",			  "pagesize", NULL) \
	X(HUGETLB_MAX,	   "container_hugetlb_max_usage_bytes",		 GAUGE,	  "Most bytes of huge pages ever in use",	  "pagesize", NULL) \
	X(RX_BYTES,	   "container_network_receive_bytes_total",	      COUNTER, "Bytes received",		  "interface", NULL) \
	X(RX_PACKETS,	   "container_network_receive_packets_total",	      COUNTER, "Packets received",		  "interface", NULL) \
	X(RX_DROPPED,	   "container_network_receive_packets_dropped_total", COUNTER, "Packets dropped on receipt",	  "interface", NULL) \
	X(RX_ERRORS,	   "container_network_receive_errors_total",	      COUNTER, "Errors on receipt",		  "interface", NULL) \
	X(TX_BYTES,	   "container_network_transmit_bytes_total",	      COUNTER, "Bytes sent",			  "interface", NULL) \
	X(TX_PACKETS,	   "container_network_transmit_packets_total",	      COUNTER, "Packets sent",			  "interface", NULL) \
	X(TX_DROPPED,	   "container_network_transmit_packets_dropped_total", COUNTER, "Packets dropped on sending",	  "interface", NULL) \
	X(TX_ERRORS,	   "container_network_transmit_errors_total",	      COUNTER, "Errors on sending",		  "interface", NULL)

enum metric {
#define ENUM(id, ...) id,
	METRICS(ENUM)
#undef ENUM
	METRIC_COUNT,
};

static const struct {
	const char *name, *help;
	cri_MetricType type;
	const char *keys[MORE_KEYS]; /* beyond the base keys */
} metrics[METRIC_COUNT] = {
#define ROW(id, name, type, help, ...) [id] = { name, help, cri_MetricType_##type, { __VA_ARGS__ } },
	METRICS(ROW)
#undef ROW
};
/* clang-format on */

static const char *const base_keys[BASE_KEYS] = { "pod", "namespace", "container", "id", "image" };

/* --- descriptors */

void rpc_list_metric_descriptors(struct cri *cri UNUSED, struct grpc_call *call,
                                 const void *request UNUSED)
{
	cri_MetricDescriptor descriptors[METRIC_COUNT];
	const char *keys[METRIC_COUNT][KEYS_MAX];
	const cri_ListMetricDescriptorsResponse resp = {
		.descriptors = descriptors,
		.descriptors_count = METRIC_COUNT,
	};

	for (size_t i = 0; i < METRIC_COUNT; i++) {
		cri_MetricDescriptor *d = &descriptors[i];

		*d = (cri_MetricDescriptor){
			.name = (char *)metrics[i].name,
			.help = (char *)metrics[i].help,
			.label_keys = (char **)keys[i],
			.label_keys_count = BASE_KEYS,
		};
		memcpy(keys[i], base_keys, sizeof(base_keys));
		for (size_t k = 0; k < ARRAY_SIZE(metrics[i].keys) && metrics[i].keys[k]; k++)
			keys[i][d->label_keys_count++] = metrics[i].keys[k];
	}
	grpc_reply(call, cri_ListMetricDescriptorsResponse_fields, &resp);
}

/* --- samples: one object's series, in the arena of the answer */

struct series {
	struct pb_arena *arena;
	const char *base[BASE_KEYS];
	int64_t time_ns;
	cri_Metric *items;
	size_t count, max;
	bool full; /* the arena is: the answer as a whole cannot be given */
};

static bool series_init(struct series *s, struct pb_arena *arena, size_t max, int64_t time_ns)
{
	*s = (struct series){ .arena = arena, .max = max, .time_ns = time_ns };
	s->items = pb_arena_alloc(arena, (max + 1) * sizeof(*s->items));
	s->full = !s->items;
	return !s->full;
}

static void add_labels(struct series *s, enum metric metric, const char *const *labels,
                       size_t nlabels, uint64_t value)
{
	const char **values =
		s->full || s->count == s->max
			? NULL
			: pb_arena_alloc(s->arena, (BASE_KEYS + nlabels) * sizeof(*values));

	if (!values) {
		s->full = true;
		return;
	}
	memcpy(values, s->base, sizeof(s->base));
	for (size_t i = 0; i < nlabels; i++)
		values[BASE_KEYS + i] = labels[i];
	s->items[s->count++] = (cri_Metric){
		.name = (char *)metrics[metric].name,
		.timestamp = s->time_ns,
		.metric_type = metrics[metric].type,
		.label_values = (char **)values,
		.label_values_count = (pb_size_t)(BASE_KEYS + nlabels),
		.has_value = true,
		.value = { value },
	};
}

static void add(struct series *s, enum metric metric, const char *label, const char *label2,
                uint64_t value)
{
	const char *const labels[] = { label, label2 };

	add_labels(s, metric, labels, (label ? 1 : 0) + (label2 ? 1 : 0), value);
}

static void add_plain(struct series *s, const struct stats_container *sc, const struct container *c)
{
	const struct cgroup_stats *cg = &sc->usage.cgroup;
	const uint64_t values[] = {
		[CPU_USAGE] = cg->cpu_usage_ns / NS_PER_S,
		[CPU_USER] = cg->cpu_user_ns / NS_PER_S,
		[CPU_SYSTEM] = cg->cpu_system_ns / NS_PER_S,
		[CFS_PERIODS] = cg->cpu_periods,
		[CFS_THROTTLED] = cg->cpu_throttled_periods,
		[CFS_SECONDS] = cg->cpu_throttled_ns / NS_PER_S,
		[MEM_CACHE] = cg->memory_cache,
		[MEM_RSS] = cg->memory_rss,
		[MEM_KERNEL] = cg->memory_kernel,
		[MEM_MAPPED] = cg->memory_mapped_file,
		[MEM_SWAP] = cg->swap_usage,
		[MEM_FAILCNT] = cg->memory_failcnt,
		[MEM_USAGE] = cg->memory_usage,
		[MEM_MAX] = cg->memory_max_usage,
		[MEM_WORKING_SET] = cg->memory_working_set,
		[MEM_ACTIVE] = cg->memory_active_file,
		[MEM_INACTIVE] = cg->memory_inactive_file,
		[OOM_EVENTS] = cg->oom_kills,
		[PROCESSES] = sc->processes.processes,
		[FILES] = sc->processes.files,
		[SOCKETS] = sc->processes.sockets,
		[THREADS] = sc->processes.threads,
		[THREADS_MAX] = cg->pids_limit,
		[LAST_SEEN] = (uint64_t)(cg->time_ns / NS_PER_S),
		[START_TIME] = (uint64_t)(c->started_ns / NS_PER_S),
		[CPU_PERIOD] = cg->cpu_period_us,
		[CPU_SHARES] = cg->cpu_shares,
		[CPU_QUOTA] = cg->cpu_quota_us > 0 ? (uint64_t)cg->cpu_quota_us : 0,
		[MEM_LIMIT] = cg->memory_limit,
		[SWAP_LIMIT] =
			cg->memory_limit && cg->has_swap ? cg->memory_limit + cg->swap_limit : 0,
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (i != CPU_QUOTA || cg->cpu_quota_us > 0)
			add(s, (enum metric)i, NULL, NULL, values[i]);
}

static void add_pressure(struct series *s, const struct cgroup_psi *psi, enum metric stalled,
                         enum metric waiting)
{
	const uint64_t us_per_s = NS_PER_S / NS_PER_US;

	if (!psi->has)
		return;
	add(s, stalled, NULL, NULL, psi->full.total_us / us_per_s);
	add(s, waiting, NULL, NULL, psi->some.total_us / us_per_s);
}

static void add_device(struct series *s, const struct cgroup_io *io)
{
	const char *device = pb_arena_printf(s->arena, "%u:%u", io->major, io->minor);
	const char *major = pb_arena_printf(s->arena, "%u", io->major);
	const char *minor = pb_arena_printf(s->arena, "%u", io->minor);

	if (!device || !major || !minor) {
		s->full = true;
		return;
	}
	add(s, FS_READS, device, NULL, io->reads);
	add(s, FS_READ_BYTES, device, NULL, io->read_bytes);
	add(s, FS_WRITES, device, NULL, io->writes);
	add(s, FS_WRITE_BYTES, device, NULL, io->write_bytes);
	add_labels(s, BLKIO, (const char *const[]){ device, major, minor, "Read" }, MORE_KEYS,
	           io->read_bytes);
	add_labels(s, BLKIO, (const char *const[]){ device, major, minor, "Write" }, MORE_KEYS,
	           io->write_bytes);
}

static void add_container(struct series *s, const struct cri *cri,
                          const struct stats_result *result, const struct stats_container *sc,
                          const struct container *c)
{
	const struct cgroup_stats *cg = &sc->usage.cgroup;
	const char *device =
		cri->config->root; /* as in FilesystemIdentifier: named by where it is mounted */

	add_plain(s, sc, c);
	add_pressure(s, &cg->cpu_psi, CPU_STALLED, CPU_WAITING);
	add_pressure(s, &cg->memory_psi, MEM_STALLED, MEM_WAITING);
	add_pressure(s, &cg->io_psi, IO_STALLED, IO_WAITING);
	add(s, MEM_FAILURES, "pgfault", "container", cg->page_faults);
	add(s, MEM_FAILURES, "pgmajfault", "container", cg->major_page_faults);
	add(s, FS_INODES_FREE, device, NULL, result->disk.free_inodes);
	add(s, FS_INODES, device, NULL, result->disk.total_inodes);
	add(s, FS_LIMIT, device, NULL, result->disk.total_bytes);
	/* 0 until it was measured for the first time */
	add(s, FS_USAGE, device, NULL, sc->layer.bytes);
	for (size_t i = 0; i < cg->nio; i++)
		add_device(s, &cg->io[i]);
	for (size_t i = 0; i < cg->nhugetlb; i++) {
		add(s, HUGETLB_USAGE, cg->hugetlb[i].page_size, NULL, cg->hugetlb[i].usage);
		add(s, HUGETLB_MAX, cg->hugetlb[i].page_size, NULL, cg->hugetlb[i].max_usage);
	}
}

static void add_network(struct series *s, const struct stats_sandbox *ss)
{
	for (size_t i = 0; i < ss->ninterfaces; i++) {
		const struct stats_interface *net = &ss->interfaces[i];

		add(s, RX_BYTES, net->name, NULL, net->rx_bytes);
		add(s, RX_PACKETS, net->name, NULL, net->rx_packets);
		add(s, RX_DROPPED, net->name, NULL, net->rx_dropped);
		add(s, RX_ERRORS, net->name, NULL, net->rx_errors);
		add(s, TX_BYTES, net->name, NULL, net->tx_bytes);
		add(s, TX_PACKETS, net->name, NULL, net->tx_packets);
		add(s, TX_DROPPED, net->name, NULL, net->tx_dropped);
		add(s, TX_ERRORS, net->name, NULL, net->tx_errors);
	}
}

/* --- pods */

struct asked {
	struct cri *cri;
	struct grpc_call *call;
};

enum built { BUILT, GONE, NO_ROOM };

static enum built pod_metrics(const struct cri *cri, const struct stats_result *result,
                              const struct stats_sandbox *ss, struct pb_arena *arena,
                              cri_PodSandboxMetrics *ret)
{
	const struct sandbox *sb = sandbox_get(cri->state, ss->id);
	struct series s;

	if (!sb || !sandbox_is_visible(sb))
		return GONE;
	*ret = (cri_PodSandboxMetrics){ .pod_sandbox_id = (char *)sb->id };
	if (!series_init(&s, arena, ss->ninterfaces * METRIC_COUNT, ss->network_ns))
		return NO_ROOM;
	s.base[0] = sb->name;
	s.base[1] = sb->ns;
	s.base[2] = "";
	s.base[3] = sb->id;
	s.base[4] = "";
	add_network(&s, ss);
	ret->metrics = s.items;
	ret->metrics_count = (pb_size_t)s.count;
	ret->container_metrics =
		pb_arena_alloc(arena, (ss->count + 1) * sizeof(*ret->container_metrics));
	if (s.full || !ret->container_metrics)
		return NO_ROOM;
	for (size_t i = ss->first; i < ss->first + ss->count; i++) {
		const struct stats_container *sc = &result->containers[i];
		const struct container *c = container_get(cri->state, sc->id);

		if (!sc->usage.has || !c || !container_is_visible(c))
			continue; /* nothing to measure */
		if (!series_init(&s, arena,
		                 METRIC_COUNT + 2 * CGROUP_PAGE_SIZES_MAX + 6 * CGROUP_IO_MAX,
		                 sc->usage.cgroup.time_ns))
			return NO_ROOM;
		s.base[0] = sb->name;
		s.base[1] = sb->ns;
		s.base[2] = c->name;
		s.base[3] = c->id;
		s.base[4] = c->image_ref;
		add_container(&s, cri, result, sc, c);
		if (s.full)
			return NO_ROOM;
		ret->container_metrics[ret->container_metrics_count++] = (cri_ContainerMetrics){
			.container_id = (char *)c->id,
			.metrics = s.items,
			.metrics_count = (pb_size_t)s.count,
		};
	}
	return BUILT;
}

static void no_room(struct grpc_call *call, size_t n)
{
	struct err err = { 0 };

	err_set(&err, CODE_RESOURCE_EXHAUSTED,
	        "metrics of %zu pods are too many for one answer; ask for a stream", n);
	grpc_fail(call, &err);
}

static void ask(struct cri *cri, struct grpc_call *call, stats_done_fn done)
{
	struct asked *asked = pb_arena_alloc(grpc_scratch(call), sizeof(*asked));
	struct stats_query *query;

	if (!asked) {
		no_room(call, 0);
		return;
	}
	*asked = (struct asked){ .cri = cri, .call = call };
	query = stats_query_new(cri->stats, STATS_PROCESSES);
	list_for_each(l, &cri->state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (sb->state == SANDBOX_READY && sandbox_is_visible(sb))
			stats_query_sandbox(query, sb);
	}
	stats_query_run(query, done, asked);
}

static void list_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	struct pb_arena *arena = grpc_scratch(asked->call);
	cri_ListPodSandboxMetricsResponse resp = { 0 };

	resp.pod_metrics =
		pb_arena_alloc(arena, (result->nsandboxes + 1) * sizeof(*resp.pod_metrics));
	for (size_t i = 0; resp.pod_metrics && i < result->nsandboxes; i++) {
		enum built built = pod_metrics(asked->cri, result, &result->sandboxes[i], arena,
		                               &resp.pod_metrics[resp.pod_metrics_count]);

		if (built == NO_ROOM)
			resp.pod_metrics = NULL;
		else
			resp.pod_metrics_count += built == BUILT;
	}
	if (resp.pod_metrics)
		grpc_reply(asked->call, cri_ListPodSandboxMetricsResponse_fields, &resp);
	else
		no_room(asked->call, result->nsandboxes);
}

void rpc_list_pod_sandbox_metrics(struct cri *cri, struct grpc_call *call,
                                  const void *request UNUSED)
{
	ask(cri, call, list_done);
}

/* One pod a message, each built in an arena of its own size: a stream has no limit but the client's patience. */
static void stream_done(void *arg, const struct stats_result *result)
{
	const struct asked *asked = arg;
	cri_PodSandboxMetrics row;
	const cri_StreamPodSandboxMetricsResponse resp = { .pod_sandbox_metrics = &row,
		                                           .pod_sandbox_metrics_count = 1 };
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(16 << 20);
	struct err err = { 0 };

	for (size_t i = 0; i < result->nsandboxes; i++) {
		enum built built;

		pb_arena_reset(arena);
		built = pod_metrics(asked->cri, result, &result->sandboxes[i], arena, &row);
		if (built == GONE)
			continue;
		if (built == NO_ROOM) {
			no_room(asked->call, 1);
			return;
		}
		if (grpc_stream_send(asked->call, cri_StreamPodSandboxMetricsResponse_fields, &resp,
		                     &err) < 0) {
			grpc_fail(asked->call, &err);
			return;
		}
	}
	grpc_finish(asked->call);
}

void rpc_stream_pod_sandbox_metrics(struct cri *cri, struct grpc_call *call,
                                    const void *request UNUSED)
{
	ask(cri, call, stream_done);
}
