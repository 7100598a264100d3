/* The calls of stats.c and pod_metrics.c over a connection in memory; the sampler is played by the test. */
/* link-wrap: stats_query_new stats_query_container stats_query_sandbox stats_query_run */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/config/config.h"
#include "core/life/stats.h"
#include "core/loop/loop.h"
#include "core/state/state.h"
#include "cri/grpc/grpc.h"
#include "cri/proto/cri.h"
#include "cri/rpc/service.h"
#include "tests/lib/h2_client.h"

#define RUNTIME   "/runtime.v1.RuntimeService/"
#define ITEMS_MAX 256

/* What was asked for, and what is answered: by default readings of everything. */
struct stats_query {
	struct stats_container containers[ITEMS_MAX];
	struct stats_sandbox sandboxes[4];
	size_t ncontainers, nsandboxes;
	enum stats_depth depth;
	struct stats_disk disk;
	stats_done_fn done;
	void *arg;
};

struct fixture {
	struct loop *loop;
	struct state *state;
	struct service *service;
	struct grpc *grpc;
	struct grpc_conn *conn;
	struct h2_client *client;
	struct cri cri;
	struct cri_node node;
	struct config config;
	struct pb_arena *arena;
	struct stats_query query;
	struct stats_interface interfaces[2];
	int32_t stream;
};

struct stats_query *__wrap_stats_query_new(struct stats *stats, enum stats_depth depth);
void __wrap_stats_query_container(struct stats_query *query, const struct container *c);
void __wrap_stats_query_sandbox(struct stats_query *query, const struct sandbox *sb);
void __wrap_stats_query_run(struct stats_query *query, stats_done_fn done, void *arg);

struct stats_query *__wrap_stats_query_new(struct stats *stats, enum stats_depth depth)
{
	struct stats_query *query = (struct stats_query *)stats;

	*query = (struct stats_query){ .depth = depth };
	return query;
}

static struct stats_usage some_usage(void)
{
	return (struct stats_usage){
		.has = true,
		.has_nano_cores = true,
		.nano_cores = 77,
		.cgroup = {
			.time_ns = 1234,
			.has_cpu = true,
			.cpu_usage_ns = 1000,
			.has_memory = true,
			.memory_usage = 100,
			.memory_working_set = 80,
			.memory_available = 20,
			.memory_rss = 60,
			.page_faults = 5,
			.major_page_faults = 1,
			.has_swap = true,
			.swap_usage = 7,
			.swap_available = 9,
			.has_pids = true,
			.pids = 3,
			.cpu_psi = { .has = true, .some = { .avg10_c = 150, .total_us = 2 } },
		},
	};
}

void __wrap_stats_query_container(struct stats_query *query, const struct container *c)
{
	struct stats_container *sc = &query->containers[query->ncontainers++];

	assert_true(query->ncontainers <= ITEMS_MAX);
	*sc = (struct stats_container){ .has_layer = true, .layer = { 4096, 2 }, .layer_ns = 999 };
	if (c->state == CONTAINER_RUNNING)
		sc->usage = some_usage();
	assert_int_equal(str_copy(sc->id, sizeof(sc->id), c->id), 0);
}

void __wrap_stats_query_sandbox(struct stats_query *query, const struct sandbox *sb)
{
	struct stats_sandbox *ss = &query->sandboxes[query->nsandboxes++];

	*ss = (struct stats_sandbox){ .first = query->ncontainers, .usage = some_usage() };
	assert_int_equal(str_copy(ss->id, sizeof(ss->id), sb->id), 0);
	list_for_each(l, &sb->containers) {
		__wrap_stats_query_container(query, list_entry(l, struct container, pod_link));
		ss->count++;
	}
}

void __wrap_stats_query_run(struct stats_query *query, stats_done_fn done, void *arg)
{
	query->done = done;
	query->arg = arg;
}

/* --- fixture */

static int server_recv(void *arg, const void *data, size_t len)
{
	struct err err;

	return grpc_conn_recv(((struct fixture *)arg)->conn, data, len, &err);
}

static size_t server_send(void *arg, const uint8_t **ret_data)
{
	return grpc_conn_send(((struct fixture *)arg)->conn, ret_data);
}

static void on_output(void *arg UNUSED)
{
}

static struct sandbox *pod(struct fixture *f, const char *id, const char *app)
{
	struct sandbox *sb = xcalloc(1, sizeof(*sb));

	list_init(&sb->containers);
	assert_int_equal(str_copy(sb->id, sizeof(sb->id), id), 0);
	sb->name = xasprintf("pod-%s", id);
	sb->uid = xstrdup("uid");
	sb->ns = xstrdup("default");
	sb->state = SANDBOX_READY;
	sb->labels.items = xcalloc(1, sizeof(struct pair));
	sb->labels.items[0] = (struct pair){ xstrdup("app"), xstrdup(app) };
	sb->labels.count = 1;
	list_push_back(&f->state->sandboxes, &sb->link);
	map_set(&f->state->sandbox_ids, id, sb);
	return sb;
}

static struct container *container(struct fixture *f, struct sandbox *sb, const char *id,
                                   const char *app)
{
	struct container *c = xcalloc(1, sizeof(*c));

	assert_int_equal(str_copy(c->id, sizeof(c->id), id), 0);
	assert_int_equal(str_copy(c->sandbox_id, sizeof(c->sandbox_id), sb->id), 0);
	c->name = xasprintf("container-%s", id);
	c->state = CONTAINER_RUNNING;
	c->labels.items = xcalloc(1, sizeof(struct pair));
	c->labels.items[0] = (struct pair){ xstrdup("app"), xstrdup(app) };
	c->labels.count = 1;
	list_push_back(&f->state->containers, &c->link);
	list_push_back(&sb->containers, &c->pod_link);
	map_set(&f->state->container_ids, id, c);
	return c;
}

static int setup(void **arg)
{
	static const struct grpc_conn_ops ops = { on_output };
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct grpc_handler handler;
	struct err err;

	clock_virtual_set(NS_PER_S * 1000000000);
	f->loop = loop_new(&err);
	f->state = state_new();
	f->config = (struct config){ .root = xstrdup("/data"), .state = xstrdup("/run/coracle") };
	f->cri = (struct cri){
		.version = "1",
		.loop = f->loop,
		.node = &f->node,
		.config = &f->config,
		.state = f->state,
		.stats = (struct stats *)&f->query,
	};
	f->service = service_new(&f->cri);
	service_enter(f->service, SERVICE_READS_OPEN);
	handler = service_handler(f->service);
	f->grpc = grpc_new(f->loop, &handler, NULL);
	f->conn = grpc_conn_new(f->grpc, &(struct listener_peer){ .text = "test" }, &ops, f);
	f->client = h2_client_new(&(struct h2_server){ server_recv, server_send, f }, NULL);
	f->arena = pb_arena_new(1 << 22);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	h2_client_free(f->client);
	grpc_conn_free(f->conn);
	grpc_free(f->grpc);
	service_free(f->service);
	state_free(f->state);
	pb_arena_free(f->arena);
	loop_free(f->loop);
	free(f->config.root);
	free(f->config.state);
	free(f);
	return 0;
}

/* Send a request; what it asks of the sampler is then in f->query. */
static void send_request(struct fixture *f, const char *path, const pb_msgdesc_t *desc,
                         const void *message)
{
	cleanup(buf_release) struct buf bytes = { 0 };
	struct err err;

	buf_init(&bytes, 1 << 20);
	assert_int_equal(pb_encode_msg(&bytes, desc, message, &err), 0);
	f->stream = h2_call(f->client, path, NULL, bytes.data ? bytes.data : "", bytes.len);
	h2_pump(f->client);
}

/* The sampler is done. */
static struct h2_reply *sampled(struct fixture *f)
{
	f->query.done(f->query.arg, &(struct stats_result){
					    .containers = f->query.containers,
					    .ncontainers = f->query.ncontainers,
					    .sandboxes = f->query.sandboxes,
					    .nsandboxes = f->query.nsandboxes,
					    .disk = f->query.disk,
				    });
	h2_pump(f->client);
	return h2_reply(f->client, f->stream);
}

static void decode(struct fixture *f, struct h2_reply *reply, const pb_msgdesc_t *desc,
                   void *message)
{
	struct err err;

	assert_int_equal(reply->grpc_status, 0);
	assert_true(reply->body.len >= 5);
	assert_int_equal(pb_decode_msg(f->arena, desc, message, reply->body.data + 5,
	                               reply->body.len - 5, "reply", &err),
	                 0);
}

/* Messages of a streaming answer, and how many items they hold together. */
static size_t streamed(struct fixture *f, struct h2_reply *reply, const pb_msgdesc_t *desc,
                       size_t size, size_t *ret_messages)
{
	size_t items = 0, at = 0;

	assert_int_equal(reply->grpc_status, 0);
	for (*ret_messages = 0; at < reply->body.len; ++*ret_messages) {
		const uint8_t *p = (const uint8_t *)reply->body.data + at;
		size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
		/* both messages hold nothing but one repeated field: the count comes first */
		pb_size_t *message = xcalloc(1, size);
		struct err err;

		assert_int_equal(pb_decode_msg(f->arena, desc, message, p + 5, len, "reply", &err),
		                 0);
		items += *message;
		free(message);
		at += 5 + len;
	}
	return items;
}

/* --- containers */

static void container_stats_carry_every_reading(void **arg)
{
	struct fixture *f = *arg;
	cri_ContainerStatsResponse resp;
	const cri_ContainerStats *s = &resp.stats;

	container(f, pod(f, "aa", "web"), "c1", "web");
	send_request(f, RUNTIME "ContainerStats", &cri_ContainerStatsRequest_msg,
	             &(cri_ContainerStatsRequest){ .container_id = (char *)"c" });
	decode(f, sampled(f), &cri_ContainerStatsResponse_msg, &resp);
	assert_string_equal(s->attributes.id, "c1");
	assert_string_equal(s->attributes.metadata.name, "container-c1");
	assert_string_equal(s->attributes.labels[0].value, "web");
	assert_int_equal(s->cpu.timestamp, 1234);
	assert_int_equal(s->cpu.usage_core_nano_seconds.value, 1000);
	assert_int_equal(s->cpu.usage_nano_cores.value, 77);
	assert_true(s->cpu.has_psi);
	assert_int_equal(s->cpu.psi.Some.Total, 2000); /* ns */
	assert_float_equal(s->cpu.psi.Some.Avg10, 1.5, 0.0001);
	assert_int_equal(s->memory.usage_bytes.value, 100);
	assert_int_equal(s->memory.working_set_bytes.value, 80);
	assert_int_equal(s->memory.available_bytes.value, 20);
	assert_int_equal(s->memory.rss_bytes.value, 60);
	assert_int_equal(s->memory.page_faults.value, 5);
	assert_int_equal(s->memory.major_page_faults.value, 1);
	assert_false(s->memory.has_psi); /* the kernel told none */
	assert_false(s->has_io);
	assert_int_equal(s->swap.swap_usage_bytes.value, 7);
	assert_int_equal(s->swap.swap_available_bytes.value, 9);
	assert_string_equal(s->writable_layer.fs_id.mountpoint, "/data");
	assert_int_equal(s->writable_layer.timestamp, 999);
	assert_int_equal(s->writable_layer.used_bytes.value, 4096);
	assert_int_equal(s->writable_layer.inodes_used.value, 2);
}

static void a_rate_that_is_not_known_is_left_out(void **arg)
{
	struct fixture *f = *arg;
	cri_ContainerStatsResponse resp;

	container(f, pod(f, "aa", "web"), "c1", "web");
	send_request(f, RUNTIME "ContainerStats", &cri_ContainerStatsRequest_msg,
	             &(cri_ContainerStatsRequest){ .container_id = (char *)"c1" });
	f->query.containers[0].usage.has_nano_cores = false;
	decode(f, sampled(f), &cri_ContainerStatsResponse_msg, &resp);
	assert_true(resp.stats.has_cpu);
	assert_false(resp.stats.cpu.has_usage_nano_cores);
}

static void an_exited_container_has_attributes_and_layer_alone(void **arg)
{
	struct fixture *f = *arg;
	cri_ListContainerStatsResponse resp;

	container(f, pod(f, "aa", "web"), "c1", "web")->state = CONTAINER_EXITED;
	send_request(f, RUNTIME "ListContainerStats", &cri_ListContainerStatsRequest_msg,
	             &(cri_ListContainerStatsRequest){ 0 });
	decode(f, sampled(f), &cri_ListContainerStatsResponse_msg, &resp);
	assert_int_equal(resp.stats_count, 1);
	assert_true(resp.stats[0].has_attributes && resp.stats[0].has_writable_layer);
	assert_false(resp.stats[0].has_cpu || resp.stats[0].has_memory || resp.stats[0].has_swap ||
	             resp.stats[0].has_io);
}

static void an_unknown_container_is_not_found(void **arg)
{
	struct fixture *f = *arg;

	send_request(f, RUNTIME "ContainerStats", &cri_ContainerStatsRequest_msg,
	             &(cri_ContainerStatsRequest){ .container_id = (char *)"dead" });
	assert_int_equal(h2_reply(f->client, f->stream)->grpc_status, CODE_NOT_FOUND);
}

static void a_container_removed_while_it_was_read(void **arg)
{
	struct fixture *f = *arg;
	struct container *c = container(f, pod(f, "aa", "web"), "c1", "web");
	cri_ListContainerStatsResponse resp;

	send_request(f, RUNTIME "ContainerStats", &cri_ContainerStatsRequest_msg,
	             &(cri_ContainerStatsRequest){ .container_id = (char *)"c1" });
	c->state = CONTAINER_GONE;
	assert_int_equal(sampled(f)->grpc_status, CODE_NOT_FOUND);

	c->state = CONTAINER_RUNNING;
	send_request(f, RUNTIME "ListContainerStats", &cri_ListContainerStatsRequest_msg,
	             &(cri_ListContainerStatsRequest){ 0 });
	c->state = CONTAINER_GONE;
	decode(f, sampled(f), &cri_ListContainerStatsResponse_msg, &resp);
	assert_int_equal(resp.stats_count, 0);
}

static size_t listed(struct fixture *f, cri_ContainerStatsFilter filter)
{
	send_request(f, RUNTIME "ListContainerStats", &cri_ListContainerStatsRequest_msg,
	             &(cri_ListContainerStatsRequest){ .has_filter = true, .filter = filter });
	return f->query.ncontainers;
}

static void lists_are_filtered_by_id_pod_and_labels(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *a = pod(f, "aa", "web"), *b = pod(f, "bb", "db");
	cri_ContainerStatsFilter_LabelSelectorEntry db = { (char *)"app", (char *)"db" };

	container(f, a, "c1", "web");
	container(f, a, "c2", "db");
	container(f, b, "d1", "db");
	container(f, b, "d2", "db")->hidden = true;
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ 0 }), 3);
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .id = (char *)"c1" }), 1);
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .id = (char *)"d" }),
	                 1); /* a prefix */
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .id = (char *)"c" }),
	                 0); /* ambiguous */
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .id = (char *)"ee" }), 0);
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .pod_sandbox_id = (char *)"a" }), 2);
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .pod_sandbox_id = (char *)"ff" }),
	                 0);
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .label_selector = &db,
	                                                       .label_selector_count = 1 }),
	                 2);
	assert_int_equal(listed(f, (cri_ContainerStatsFilter){ .pod_sandbox_id = (char *)"aa",
	                                                       .label_selector = &db,
	                                                       .label_selector_count = 1 }),
	                 1);
}

static void a_stream_tells_each_container_once(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "web");
	size_t messages;

	send_request(f, RUNTIME "StreamContainerStats", &cri_StreamContainerStatsRequest_msg,
	             &(cri_StreamContainerStatsRequest){ 0 });
	assert_int_equal(sampled(f)->grpc_status, 0);
	assert_int_equal(h2_reply(f->client, f->stream)->body.len, 0);

	for (int i = 0; i < 205; i++) {
		cleanup_free char *id = xasprintf("c%d", i);

		container(f, sb, id, "web");
	}
	send_request(f, RUNTIME "StreamContainerStats", &cri_StreamContainerStatsRequest_msg,
	             &(cri_StreamContainerStatsRequest){ 0 });
	((struct container *)container_get(f->state, "c204"))->state =
		CONTAINER_GONE; /* the last one vanishes */
	assert_int_equal(streamed(f, sampled(f), &cri_StreamContainerStatsResponse_msg,
	                          sizeof(cri_StreamContainerStatsResponse), &messages),
	                 204);
	assert_int_equal(messages, 3);
}

static void a_client_that_left_is_no_harm(void **arg)
{
	struct fixture *f = *arg;

	container(f, pod(f, "aa", "web"), "c1", "web");
	send_request(f, RUNTIME "ListContainerStats", &cri_ListContainerStatsRequest_msg,
	             &(cri_ListContainerStatsRequest){ 0 });
	h2_reset(f->client, f->stream, 8);
	h2_pump(f->client);
	sampled(f);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
}

/* --- pods */

static void pod_stats_hold_network_processes_and_containers(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "web");
	cri_PodSandboxStatsResponse resp;
	const cri_LinuxPodSandboxStats *s = &resp.stats.linux;

	container(f, sb, "c1", "web");
	container(f, sb, "c2", "web");
	container(f, sb, "c3", "web")->state = CONTAINER_EXITED;
	send_request(f, RUNTIME "PodSandboxStats", &cri_PodSandboxStatsRequest_msg,
	             &(cri_PodSandboxStatsRequest){ .pod_sandbox_id = (char *)"aa" });
	f->interfaces[0] = (struct stats_interface){ .name = "net1", .rx_bytes = 5 };
	f->interfaces[1] = (struct stats_interface){
		.name = "eth0", .rx_bytes = 1, .rx_errors = 2, .tx_bytes = 3, .tx_errors = 4
	};
	f->query.sandboxes[0].has_network = true;
	f->query.sandboxes[0].network_ns = 555;
	f->query.sandboxes[0].interfaces = f->interfaces;
	f->query.sandboxes[0].ninterfaces = 2;
	decode(f, sampled(f), &cri_PodSandboxStatsResponse_msg, &resp);
	assert_string_equal(resp.stats.attributes.metadata.name, "pod-aa");
	assert_int_equal(s->cpu.usage_core_nano_seconds.value, 1000);
	assert_int_equal(s->memory.usage_bytes.value, 100);
	assert_int_equal(s->process.process_count.value, 6);
	assert_int_equal(s->containers_count, 3);
	assert_int_equal(s->network.timestamp, 555);
	assert_int_equal(s->network.interfaces_count, 2);
	assert_string_equal(s->network.default_interface.name, "eth0");
	assert_int_equal(s->network.default_interface.rx_errors.value, 2);
	assert_int_equal(s->network.default_interface.tx_bytes.value, 3);
}

static void without_eth0_the_first_interface_is_the_default(void **arg)
{
	struct fixture *f = *arg;
	cri_PodSandboxStatsResponse resp;

	pod(f, "aa", "web");
	send_request(f, RUNTIME "PodSandboxStats", &cri_PodSandboxStatsRequest_msg,
	             &(cri_PodSandboxStatsRequest){ .pod_sandbox_id = (char *)"aa" });
	f->interfaces[0] = (struct stats_interface){ .name = "net1" };
	f->interfaces[1] = (struct stats_interface){ .name = "net2" };
	f->query.sandboxes[0].has_network = true;
	f->query.sandboxes[0].interfaces = f->interfaces;
	f->query.sandboxes[0].ninterfaces = 2;
	decode(f, sampled(f), &cri_PodSandboxStatsResponse_msg, &resp);
	assert_string_equal(resp.stats.linux.network.default_interface.name, "net1");
}

static void a_pod_on_the_hosts_network_has_no_network_usage(void **arg)
{
	struct fixture *f = *arg;
	cri_PodSandboxStatsResponse resp;

	pod(f, "aa", "web");
	send_request(f, RUNTIME "PodSandboxStats", &cri_PodSandboxStatsRequest_msg,
	             &(cri_PodSandboxStatsRequest){ .pod_sandbox_id = (char *)"aa" });
	decode(f, sampled(f), &cri_PodSandboxStatsResponse_msg, &resp);
	assert_false(resp.stats.linux.has_network);
}

static void a_pod_that_is_not_ready_is_unavailable_and_in_no_list(void **arg)
{
	struct fixture *f = *arg;

	pod(f, "aa", "web")->state = SANDBOX_NOTREADY;
	pod(f, "bb", "web");
	send_request(f, RUNTIME "PodSandboxStats", &cri_PodSandboxStatsRequest_msg,
	             &(cri_PodSandboxStatsRequest){ .pod_sandbox_id = (char *)"aa" });
	assert_int_equal(h2_reply(f->client, f->stream)->grpc_status, CODE_UNAVAILABLE);
	send_request(f, RUNTIME "ListPodSandboxStats", &cri_ListPodSandboxStatsRequest_msg,
	             &(cri_ListPodSandboxStatsRequest){ 0 });
	assert_int_equal(f->query.nsandboxes, 1);
	assert_string_equal(f->query.sandboxes[0].id, "bb");
	assert_int_equal(sampled(f)->grpc_status, 0);
}

static void pods_are_filtered_by_id_and_labels(void **arg)
{
	struct fixture *f = *arg;
	cri_PodSandboxStatsFilter_LabelSelectorEntry web = { (char *)"app", (char *)"web" };
	cri_ListPodSandboxStatsRequest req = { .has_filter = true };
	cri_ListPodSandboxStatsResponse resp;

	container(f, pod(f, "aa", "web"), "c1", "web");
	container(f, pod(f, "bb", "db"), "c2", "db");
	req.filter.id = (char *)"bb";
	send_request(f, RUNTIME "ListPodSandboxStats", &cri_ListPodSandboxStatsRequest_msg, &req);
	decode(f, sampled(f), &cri_ListPodSandboxStatsResponse_msg, &resp);
	assert_int_equal(resp.stats_count, 1);
	assert_string_equal(resp.stats[0].linux.containers[0].attributes.id, "c2");
	req.filter =
		(cri_PodSandboxStatsFilter){ .label_selector = &web, .label_selector_count = 1 };
	send_request(f, RUNTIME "ListPodSandboxStats", &cri_ListPodSandboxStatsRequest_msg, &req);
	decode(f, sampled(f), &cri_ListPodSandboxStatsResponse_msg, &resp);
	assert_int_equal(resp.stats_count, 1);
	assert_string_equal(resp.stats[0].attributes.id, "aa");
}

static void a_stream_of_pods_has_one_pod_a_message(void **arg)
{
	struct fixture *f = *arg;
	size_t messages;

	container(f, pod(f, "aa", "web"), "c1", "web");
	pod(f, "bb", "web");
	send_request(f, RUNTIME "StreamPodSandboxStats", &cri_StreamPodSandboxStatsRequest_msg,
	             &(cri_StreamPodSandboxStatsRequest){ 0 });
	assert_int_equal(streamed(f, sampled(f), &cri_StreamPodSandboxStatsResponse_msg,
	                          sizeof(cri_StreamPodSandboxStatsResponse), &messages),
	                 2);
	assert_int_equal(messages, 2);
}

/* --- metrics */

static const cri_Metric *metric_named(const cri_PodSandboxMetrics *pod_metrics, const char *name)
{
	for (size_t i = 0; i < pod_metrics->metrics_count; i++)
		if (streq(pod_metrics->metrics[i].name, name))
			return &pod_metrics->metrics[i];
	for (size_t i = 0; i < pod_metrics->container_metrics[0].metrics_count; i++)
		if (streq(pod_metrics->container_metrics[0].metrics[i].name, name))
			return &pod_metrics->container_metrics[0].metrics[i];
	return NULL;
}

static uint64_t value_of(const cri_PodSandboxMetrics *pod_metrics, const char *name)
{
	const cri_Metric *m = metric_named(pod_metrics, name);

	assert_non_null(m);
	return m->value.value;
}

static void every_advertised_metric_has_help_and_is_there(void **arg)
{
	struct fixture *f = *arg;
	struct container *c = container(f, pod(f, "aa", "web"), "c1", "web");
	cri_ListMetricDescriptorsResponse known;
	cri_ListPodSandboxMetricsResponse resp;
	struct cgroup_stats *cg;

	send_request(f, RUNTIME "ListMetricDescriptors", &cri_ListMetricDescriptorsRequest_msg,
	             &(cri_ListMetricDescriptorsRequest){ 0 });
	decode(f, h2_reply(f->client, f->stream), &cri_ListMetricDescriptorsResponse_msg, &known);
	c->image_ref = xstrdup("img");
	c->started_ns = 12 * NS_PER_S;
	send_request(f, RUNTIME "ListPodSandboxMetrics", &cri_ListPodSandboxMetricsRequest_msg,
	             &(cri_ListPodSandboxMetricsRequest){ 0 });
	assert_int_equal(f->query.depth, STATS_PROCESSES);
	cg = &f->query.containers[0].usage.cgroup;
	cg->cpu_usage_ns = 7 * NS_PER_S + 1;
	cg->cpu_quota_us = 20000;
	cg->memory_psi.has = cg->io_psi.has = true;
	cg->io_psi.full.total_us = 3000000;
	cg->nio = 1;
	cg->io[0] = (struct cgroup_io){ .major = 254, .minor = 1, .reads = 2, .read_bytes = 8192 };
	cg->nhugetlb = 1;
	assert_int_equal(str_copy(cg->hugetlb[0].page_size, 16, "2MB"), 0);
	f->query.disk = (struct stats_disk){ true, 1000, 500, 100, 50 };
	f->interfaces[0] = (struct stats_interface){ .name = "eth0", .tx_dropped = 9 };
	f->query.sandboxes[0].has_network = true;
	f->query.sandboxes[0].interfaces = f->interfaces;
	f->query.sandboxes[0].ninterfaces = 1;
	decode(f, sampled(f), &cri_ListPodSandboxMetricsResponse_msg, &resp);
	assert_int_equal(resp.pod_metrics_count, 1);
	assert_string_equal(resp.pod_metrics[0].pod_sandbox_id, "aa");
	assert_int_equal(resp.pod_metrics[0].container_metrics_count, 1);
	for (size_t i = 0; i < known.descriptors_count; i++) {
		const cri_MetricDescriptor *d = &known.descriptors[i];
		const cri_Metric *m = metric_named(&resp.pod_metrics[0], d->name);

		assert_true(d->help[0] && d->label_keys_count >= 5);
		if (!m)
			fail_msg("%s is advertised and not there", d->name);
		assert_int_equal(m->label_values_count, d->label_keys_count);
		assert_int_equal(m->metric_type == cri_MetricType_COUNTER,
		                 ends_with(d->name, "_total")
		                         ? !starts_with(d->name, "container_fs_inodes")
		                         : ends_with(d->name, "_failcnt"));
	}
	assert_int_equal(value_of(&resp.pod_metrics[0], "container_cpu_usage_seconds_total"), 7);
	assert_int_equal(value_of(&resp.pod_metrics[0], "container_spec_cpu_quota"), 20000);
	assert_int_equal(value_of(&resp.pod_metrics[0], "container_start_time_seconds"), 12);
	assert_int_equal(
		value_of(&resp.pod_metrics[0], "container_pressure_io_stalled_seconds_total"), 3);
	assert_int_equal(value_of(&resp.pod_metrics[0], "container_fs_usage_bytes"), 4096);
	assert_int_equal(value_of(&resp.pod_metrics[0], "container_fs_limit_bytes"), 1000);
	assert_int_equal(
		value_of(&resp.pod_metrics[0], "container_network_transmit_packets_dropped_total"),
		9);
	assert_string_equal(
		metric_named(&resp.pod_metrics[0], "container_memory_rss")->label_values[2],
		"container-c1");
	assert_string_equal(
		metric_named(&resp.pod_metrics[0], "container_memory_rss")->label_values[4], "img");
	assert_string_equal(
		metric_named(&resp.pod_metrics[0], "container_network_receive_bytes_total")
			->label_values[3],
		"aa");
}

static void metrics_are_of_ready_pods_and_running_containers(void **arg)
{
	struct fixture *f = *arg;
	cri_ListPodSandboxMetricsResponse resp;
	size_t messages;

	container(f, pod(f, "aa", "web"), "c1", "web")->state = CONTAINER_EXITED;
	pod(f, "bb", "web")->state = SANDBOX_NOTREADY;
	pod(f, "cc", "web");
	send_request(f, RUNTIME "ListPodSandboxMetrics", &cri_ListPodSandboxMetricsRequest_msg,
	             &(cri_ListPodSandboxMetricsRequest){ 0 });
	decode(f, sampled(f), &cri_ListPodSandboxMetricsResponse_msg, &resp);
	assert_int_equal(resp.pod_metrics_count, 2);
	assert_int_equal(resp.pod_metrics[0].container_metrics_count, 0);
	send_request(f, RUNTIME "StreamPodSandboxMetrics", &cri_StreamPodSandboxMetricsRequest_msg,
	             &(cri_StreamPodSandboxMetricsRequest){ 0 });
	assert_int_equal(streamed(f, sampled(f), &cri_StreamPodSandboxMetricsResponse_msg,
	                          sizeof(cri_StreamPodSandboxMetricsResponse), &messages),
	                 2);
	assert_int_equal(messages, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(container_stats_carry_every_reading),
		TEST(a_rate_that_is_not_known_is_left_out),
		TEST(an_exited_container_has_attributes_and_layer_alone),
		TEST(an_unknown_container_is_not_found),
		TEST(a_container_removed_while_it_was_read),
		TEST(lists_are_filtered_by_id_pod_and_labels),
		TEST(a_stream_tells_each_container_once),
		TEST(a_client_that_left_is_no_harm),
		TEST(pod_stats_hold_network_processes_and_containers),
		TEST(without_eth0_the_first_interface_is_the_default),
		TEST(a_pod_on_the_hosts_network_has_no_network_usage),
		TEST(a_pod_that_is_not_ready_is_unavailable_and_in_no_list),
		TEST(pods_are_filtered_by_id_and_labels),
		TEST(a_stream_of_pods_has_one_pod_a_message),
		TEST(every_advertised_metric_has_help_and_is_there),
		TEST(metrics_are_of_ready_pods_and_running_containers),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
