/* The table, the gate and the way to a handler, over a connection in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/config/config.h"
#include "core/loop/loop.h"
#include "cri/grpc/grpc.h"
#include "cri/proto/cri.h"
#include "cri/rpc/service.h"
#include "tests/lib/h2_client.h"

struct fixture {
	struct loop *loop;
	struct service *service;
	struct grpc *grpc;
	struct grpc_conn *conn;
	struct h2_client *client;
	struct cri cri;
	struct cri_node node;
	struct config config;
	struct pb_arena *arena;
	/* what the node says and hears */
	struct cri_node_facts facts;
	size_t cidr_calls, ncidrs;
	char cidrs[8][64];
	struct err cidr_err;
	char noted[256]; /* by the handlers of note_rows */
};

static void node_facts(void *arg, struct pb_arena *arena UNUSED, bool verbose,
                       struct cri_node_facts *ret_facts)
{
	struct fixture *f = arg;

	*ret_facts = f->facts;
	if (!verbose)
		ret_facts->ninfo = 0;
}

static int node_set_pod_cidrs(void *arg, const char *const *cidrs, size_t ncidrs, struct err *err)
{
	struct fixture *f = arg;

	f->cidr_calls++;
	f->ncidrs = ncidrs;
	for (size_t i = 0; i < ncidrs; i++)
		assert_int_equal(str_copy(f->cidrs[i], sizeof(f->cidrs[i]), cidrs[i]), 0);
	*err = f->cidr_err;
	return f->cidr_err.code ? -1 : 0;
}

static void on_output(void *arg UNUSED)
{
}

static int server_recv(void *arg, const void *data, size_t len)
{
	struct err err;

	return grpc_conn_recv(((struct fixture *)arg)->conn, data, len, &err);
}

static size_t server_send(void *arg, const uint8_t **ret_data)
{
	return grpc_conn_send(((struct fixture *)arg)->conn, ret_data);
}

static void serve(struct fixture *f)
{
	static const struct grpc_conn_ops ops = { on_output };
	struct grpc_handler handler = service_handler(f->service);

	f->grpc = grpc_new(f->loop, &handler, NULL);
	f->conn = grpc_conn_new(f->grpc, &(struct listener_peer){ .text = "test" }, &ops, f);
	f->client = h2_client_new(&(struct h2_server){ server_recv, server_send, f }, NULL);
}

static void stop_serving(struct fixture *f)
{
	h2_client_free(f->client);
	grpc_conn_free(f->conn);
	grpc_free(f->grpc);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err;

	clock_virtual_set(NS_PER_S * 1000000000);
	f->loop = loop_new(&err);
	f->node = (struct cri_node){ node_facts, node_set_pod_cidrs, f };
	f->config = (struct config){ .root = xstrdup("/var/lib/coracle"),
		                     .state = xstrdup("/run/coracle") };
	f->cri = (struct cri){
		.version = "1.2.3", .loop = f->loop, .node = &f->node, .config = &f->config
	};
	f->facts = (struct cri_node_facts){ .runtime = { .ok = true }, .network = { .ok = true } };
	f->service = service_new(&f->cri);
	serve(f);
	f->arena = pb_arena_new(1 << 20);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	stop_serving(f);
	service_free(f->service);
	pb_arena_free(f->arena);
	loop_free(f->loop);
	free(f->config.root);
	free(f->config.state);
	free(f);
	return 0;
}

static struct h2_reply *call(struct fixture *f, const char *path, const void *data, size_t len)
{
	int32_t stream = h2_call(f->client, path, NULL, data, len);

	h2_pump(f->client);
	return h2_reply(f->client, stream);
}

static struct h2_reply *call_msg(struct fixture *f, const char *path, const pb_msgdesc_t *desc,
                                 const void *message)
{
	cleanup(buf_release) struct buf bytes = { 0 };
	struct err err;

	buf_init(&bytes, 1 << 20);
	assert_int_equal(pb_encode_msg(&bytes, desc, message, &err), 0);
	return call(f, path, bytes.data ? bytes.data : "", bytes.len);
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

#define RUNTIME "/runtime.v1.RuntimeService/"

/* --- the table */

static void the_table_has_all_43_cri_methods_and_three_of_our_own(void **arg UNUSED)
{
	size_t runtime = 0, image = 0, own = 0, n = 0, streaming = 0;

	for (const struct rpc_row *row; (row = service_row(n)); n++) {
		runtime += starts_with(row->method.path, RUNTIME);
		image += starts_with(row->method.path, "/runtime.v1.ImageService/");
		own += starts_with(row->method.path, "/coracle.v1.Control/");
		streaming += row->method.streaming;
		assert_true(row->request_size > 0 && row->response_size > 0);
		for (size_t i = 0; i < n; i++)
			assert_string_not_equal(service_row(i)->method.path, row->method.path);
	}
	assert_int_equal(runtime, 37);
	assert_int_equal(image, 6);
	assert_int_equal(own, 3);
	assert_int_equal(streaming, 7 + 3);
	assert_int_equal(n, 46);
}

/* --- the gate */

static void every_method_is_unavailable_on_its_head_until_recovery_has_ended(void **arg)
{
	struct fixture *f = *arg;
	const struct rpc_row *row;

	for (size_t i = 0; (row = service_row(i)); i++) {
		/* no body at all: the answer does not wait for one */
		int32_t stream =
			h2_request(f->client, false, ":method", "POST", ":scheme", "http", ":path",
		                   row->method.path, "content-type", "application/grpc", NULL);
		struct h2_reply *r = h2_reply(f->client, stream);

		h2_pump(f->client);
		assert_int_equal(r->grpc_status, CODE_UNAVAILABLE);
		assert_string_equal(r->message, "server is not initialized yet");
		assert_true(r->closed);
	}
	assert_int_equal(call(f, "/no.Such/Thing", "", 0)->grpc_status, CODE_UNAVAILABLE);
	assert_int_equal(f->cidr_calls, 0);
}

static void reads_and_settling_calls_pass_once_recovery_has_ended(void **arg)
{
	struct fixture *f = *arg;

	service_enter(f->service, SERVICE_READS_OPEN);
	assert_int_equal(call(f, RUNTIME "Version", "", 0)->grpc_status, 0);
	assert_int_equal(call(f, RUNTIME "UpdateRuntimeConfig", "", 0)->grpc_status, 0);
}

/* A table of three methods whose handlers only note that they were called. */
static void note(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StartContainerRequest *req = request;
	struct fixture *f = container_of(cri, struct fixture, cri);

	ignore(str_format(f->noted + strlen(f->noted), sizeof(f->noted) - strlen(f->noted),
	                  "%s(%s) ", grpc_method_name(call), or_empty(req->container_id)));
	grpc_reply(call, &cri_StartContainerResponse_msg, &(cri_StartContainerResponse){ 0 });
}

static int check_short(const void *request, struct err *err)
{
	const cri_StartContainerRequest *req = request;

	return strlen(or_empty(req->container_id)) < 5
	               ? 0
	               : err_set(err, CODE_INVALID_ARGUMENT, "container_id: too long");
}

#define NOTE_ROW(name_, kind_)                                                                     \
	{                                                                                          \
		.method = { .path = "/t.S/" name_ }, .kind = kind_,                                \
		.request = &cri_StartContainerRequest_msg,                                         \
		.request_size = sizeof(cri_StartContainerRequest), .check = check_short,           \
		.fn = note,                                                                        \
	}
static const struct rpc_row note_rows[] = {
	NOTE_ROW("Read", RPC_READ),
	NOTE_ROW("Settle", RPC_SETTLE),
	NOTE_ROW("Change", RPC_CHANGE),
};

static void use_note_rows(struct fixture *f)
{
	stop_serving(f);
	service_free(f->service);
	f->service = service_new_with(&f->cri, note_rows, ARRAY_SIZE(note_rows));
	serve(f);
}

static int32_t start(struct fixture *f, const char *path, const char *id)
{
	cri_StartContainerRequest request = { .container_id = (char *)(uintptr_t)id };
	cleanup(buf_release) struct buf bytes = { 0 };
	struct err err;
	int32_t stream;

	buf_init(&bytes, 1 << 20);
	assert_int_equal(pb_encode_msg(&bytes, &cri_StartContainerRequest_msg, &request, &err), 0);
	stream = h2_call(f->client, path, "5S", bytes.data, bytes.len);
	h2_pump(f->client);
	return stream;
}

static void calls_are_counted_by_how_they_ended(void **arg)
{
	struct fixture *f = *arg;
	struct rpc_counters read;

	use_note_rows(f);
	service_enter(f->service, SERVICE_READY);
	start(f, "/t.S/Read", "a");
	start(f, "/t.S/Read", "b");
	start(f, "/t.S/Read", "too long");
	read = service_counters(f->service, 0);
	assert_int_equal(read.ok, 2);
	assert_int_equal(read.failed, 1);
	assert_int_equal(service_counters(f->service, 1).ok, 0);
}

static void a_held_call_is_counted_with_the_time_it_waited(void **arg)
{
	struct fixture *f = *arg;

	use_note_rows(f);
	service_enter(f->service, SERVICE_READS_OPEN);
	start(f, "/t.S/Change", "a");
	clock_virtual_advance(3 * NS_PER_S);
	service_enter(f->service, SERVICE_READY);
	assert_int_equal(service_counters(f->service, 2).max_ns, 3 * NS_PER_S);
}

static void changes_wait_for_ready_and_then_run_in_order(void **arg)
{
	struct fixture *f = *arg;
	int32_t a, b;

	use_note_rows(f);
	service_enter(f->service, SERVICE_READS_OPEN);
	a = start(f, "/t.S/Change", "a");
	b = start(f, "/t.S/Change", "b");
	start(f, "/t.S/Read", "c");
	start(f, "/t.S/Settle", "d");
	assert_string_equal(f->noted, "Read(c) Settle(d) ");
	assert_int_equal(h2_reply(f->client, a)->grpc_status, -1);
	service_enter(f->service, SERVICE_READY);
	h2_pump(f->client);
	assert_string_equal(f->noted, "Read(c) Settle(d) Change(a) Change(b) ");
	assert_int_equal(h2_reply(f->client, a)->grpc_status, 0);
	assert_int_equal(h2_reply(f->client, b)->grpc_status, 0);
	start(f, "/t.S/Change", "e");
	assert_string_equal(f->noted, "Read(c) Settle(d) Change(a) Change(b) Change(e) ");
}

static void a_change_that_waits_gives_up_at_its_deadline_or_when_its_client_goes(void **arg)
{
	struct fixture *f = *arg;
	int32_t late, reset;

	use_note_rows(f);
	service_enter(f->service, SERVICE_READS_OPEN);
	late = start(f, "/t.S/Change", "a");
	reset = start(f, "/t.S/Change", "b");
	h2_reset(f->client, reset, 8);
	h2_pump(f->client);
	assert_int_equal(grpc_stats(f->grpc).live, 1);
	clock_virtual_advance(6 * NS_PER_S);
	while (loop_turn(f->loop, false)) {
	}
	h2_pump(f->client);
	assert_int_equal(h2_reply(f->client, late)->grpc_status, CODE_DEADLINE_EXCEEDED);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
	service_enter(f->service, SERVICE_READY);
	assert_string_equal(f->noted, "");
}

static void a_change_that_waits_is_unavailable_when_we_stop_first(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	use_note_rows(f);
	service_enter(f->service, SERVICE_READS_OPEN);
	r = h2_reply(f->client, start(f, "/t.S/Change", "a"));
	service_enter(f->service, SERVICE_STOPPING);
	h2_pump(f->client);
	assert_int_equal(r->grpc_status, CODE_UNAVAILABLE);
	assert_string_equal(r->message, "daemon is stopping");
	assert_string_equal(f->noted, "");
}

static void a_request_that_fails_its_check_reaches_no_handler_and_is_not_held(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	use_note_rows(f);
	service_enter(f->service, SERVICE_READS_OPEN);
	r = h2_reply(f->client, start(f, "/t.S/Change", "too long"));
	assert_int_equal(r->grpc_status, CODE_INVALID_ARGUMENT);
	assert_string_equal(r->message, "container_id: too long");
	assert_string_equal(f->noted, "");
}

static void stopping_refuses_all_but_reads(void **arg)
{
	struct fixture *f = *arg;

	service_enter(f->service, SERVICE_STOPPING);
	assert_int_equal(call(f, RUNTIME "Version", "", 0)->grpc_status, 0);
	assert_int_equal(call(f, RUNTIME "RunPodSandbox", "", 0)->grpc_status, CODE_UNAVAILABLE);
	assert_int_equal(call(f, RUNTIME "StopContainer", "", 0)->grpc_status, CODE_UNAVAILABLE);
	assert_int_equal(call(f, "/coracle.v1.Control/Import", "", 0)->grpc_status,
	                 CODE_UNAVAILABLE);
}

/* --- finding a handler */

static void unknown_names_are_unimplemented(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	service_enter(f->service, SERVICE_READY);
	r = call(f, RUNTIME "Fly", "", 0);
	assert_int_equal(r->grpc_status, CODE_UNIMPLEMENTED);
	assert_string_equal(r->message, "unknown method Fly for service runtime.v1.RuntimeService");
	r = call(f, "/runtime.v1alpha2.RuntimeService/Version", "", 0);
	assert_int_equal(r->grpc_status, CODE_UNIMPLEMENTED);
	assert_string_equal(r->message, "unknown service runtime.v1alpha2.RuntimeService");
	r = call(f, RUNTIME "CheckpointPod", "", 0);
	assert_int_equal(r->grpc_status, CODE_UNIMPLEMENTED);
	assert_string_equal(r->message, "method CheckpointPod is not implemented");
}

static void bytes_that_are_no_message_are_an_unmarshalling_error(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	service_enter(f->service, SERVICE_READY);
	r = call(f, RUNTIME "Version", "\x0a\x7f", 2);
	assert_int_equal(r->grpc_status, CODE_INTERNAL);
	assert_non_null(strstr(r->message, "error unmarshalling request"));
}

static void unknown_fields_are_skipped(void **arg)
{
	struct fixture *f = *arg;

	service_enter(f->service, SERVICE_READY);
	assert_int_equal(call(f, RUNTIME "Version", "\xf8\x3f\x01", 3)->grpc_status, 0);
}

/* --- status.c */

static void version_says_who_we_are(void **arg)
{
	struct fixture *f = *arg;
	cri_VersionResponse version;

	service_enter(f->service, SERVICE_READY);
	decode(f, call(f, RUNTIME "Version", "", 0), &cri_VersionResponse_msg, &version);
	assert_string_equal(version.version, "0.1.0");
	assert_string_equal(version.runtime_name, "coracle");
	assert_string_equal(version.runtime_version, "1.2.3");
	assert_string_equal(version.runtime_api_version, "v1");
}

static void status_tells_conditions_handlers_and_why_something_is_not_ready(void **arg)
{
	static const struct cri_runtime_handler handlers[] = { { "", true, false },
		                                               { "crun", true, false } };
	static const struct cri_condition more[] = { { "NRIReady", false, "NRIDisabled",
		                                       "socket is taken" } };
	struct fixture *f = *arg;
	cri_StatusResponse status;

	service_enter(f->service, SERVICE_READY);
	f->facts = (struct cri_node_facts){
		.runtime = { .ok = true },
		.network = { .ok = false,
		             .reason = "NetworkPluginNotReady",
		             .message = "plugin said \xff" },
		.more = more,
		.nmore = 1,
		.handlers = handlers,
		.nhandlers = 2,
	};
	decode(f, call(f, RUNTIME "Status", "", 0), &cri_StatusResponse_msg, &status);
	assert_int_equal(status.status.conditions_count, 3);
	assert_string_equal(status.status.conditions[0].type, "RuntimeReady");
	assert_true(status.status.conditions[0].status);
	assert_string_equal(status.status.conditions[1].type, "NetworkReady");
	assert_false(status.status.conditions[1].status);
	assert_string_equal(status.status.conditions[1].reason, "NetworkPluginNotReady");
	assert_string_equal(status.status.conditions[1].message, "plugin said \xef\xbf\xbd");
	assert_string_equal(status.status.conditions[2].message, "socket is taken");
	assert_int_equal(status.runtime_handlers_count, 2);
	assert_true(status.runtime_handlers[1].features.recursive_read_only_mounts);
	assert_true(status.features.supplemental_groups_policy);
	assert_int_equal(status.info_count, 0);
}

static void verbose_status_shows_the_configuration_in_effect(void **arg)
{
	static const struct cri_info info[] = { { "lastCNILoadStatus", "\"OK\"" } };
	struct fixture *f = *arg;
	cri_StatusResponse status;

	service_enter(f->service, SERVICE_READY);
	f->facts.info = info;
	f->facts.ninfo = 1;
	decode(f,
	       call_msg(f, RUNTIME "Status", &cri_StatusRequest_msg,
	                &(cri_StatusRequest){ .verbose = true }),
	       &cri_StatusResponse_msg, &status);
	assert_int_equal(status.info_count, 2);
	assert_string_equal(status.info[0].key, "config");
	assert_non_null(strstr(status.info[0].value, "\"stateDir\":\"/run/coracle\""));
	assert_string_equal(status.info[1].key, "lastCNILoadStatus");
}

static void runtime_config_tells_the_cgroup_driver(void **arg)
{
	struct fixture *f = *arg;
	cri_RuntimeConfigResponse config;

	service_enter(f->service, SERVICE_READY);
	decode(f, call(f, RUNTIME "RuntimeConfig", "", 0), &cri_RuntimeConfigResponse_msg, &config);
	assert_int_equal(config.linux.cgroup_driver, cri_CgroupDriver_CGROUPFS);
	f->facts.systemd_cgroup = true;
	decode(f, call(f, RUNTIME "RuntimeConfig", "", 0), &cri_RuntimeConfigResponse_msg, &config);
	assert_int_equal(config.linux.cgroup_driver, cri_CgroupDriver_SYSTEMD);
}

static struct h2_reply *update(struct fixture *f, const char *cidr)
{
	cri_UpdateRuntimeConfigRequest request = {
		.has_runtime_config = true,
		.runtime_config = { .has_network_config = true,
		                    .network_config = { .pod_cidr = (char *)(uintptr_t)cidr } },
	};

	return call_msg(f, RUNTIME "UpdateRuntimeConfig", &cri_UpdateRuntimeConfigRequest_msg,
	                &request);
}

static void pod_ranges_reach_the_network(void **arg)
{
	struct fixture *f = *arg;

	service_enter(f->service, SERVICE_READY);
	assert_int_equal(update(f, " 10.1.0.0/16 , fd00::/64")->grpc_status, 0);
	assert_int_equal(f->ncidrs, 2);
	assert_string_equal(f->cidrs[0], "10.1.0.0/16");
	assert_string_equal(f->cidrs[1], "fd00::/64");
}

static void no_pod_range_is_no_change(void **arg)
{
	struct fixture *f = *arg;

	service_enter(f->service, SERVICE_READY);
	assert_int_equal(update(f, "")->grpc_status, 0);
	assert_int_equal(f->cidr_calls, 0);
}

static void a_bad_pod_range_is_named_and_changes_nothing(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	service_enter(f->service, SERVICE_READY);
	r = update(f, "10.1.0.0/16,10.2.0.0/33");
	assert_int_equal(r->grpc_status, CODE_INVALID_ARGUMENT);
	assert_string_equal(
		r->message,
		"runtime_config.network_config.pod_cidr: \"10.2.0.0/33\" is not an address range");
	assert_int_equal(f->cidr_calls, 0);
}

static void a_refused_pod_range_says_why(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	service_enter(f->service, SERVICE_READY);
	f->cidr_err = (struct err){ .code = CODE_FAILED_PRECONDITION, .msg = "pods are running" };
	r = update(f, "10.1.0.0/16");
	assert_int_equal(r->grpc_status, CODE_FAILED_PRECONDITION);
	assert_string_equal(r->message, "set pod ranges: pods are running");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_table_has_all_43_cri_methods_and_three_of_our_own),
		TEST(every_method_is_unavailable_on_its_head_until_recovery_has_ended),
		TEST(reads_and_settling_calls_pass_once_recovery_has_ended),
		TEST(calls_are_counted_by_how_they_ended),
		TEST(a_held_call_is_counted_with_the_time_it_waited),
		TEST(changes_wait_for_ready_and_then_run_in_order),
		TEST(a_change_that_waits_gives_up_at_its_deadline_or_when_its_client_goes),
		TEST(a_change_that_waits_is_unavailable_when_we_stop_first),
		TEST(a_request_that_fails_its_check_reaches_no_handler_and_is_not_held),
		TEST(stopping_refuses_all_but_reads),
		TEST(unknown_names_are_unimplemented),
		TEST(bytes_that_are_no_message_are_an_unmarshalling_error),
		TEST(unknown_fields_are_skipped),
		TEST(version_says_who_we_are),
		TEST(status_tells_conditions_handlers_and_why_something_is_not_ready),
		TEST(verbose_status_shows_the_configuration_in_effect),
		TEST(runtime_config_tells_the_cgroup_driver),
		TEST(pod_ranges_reach_the_network),
		TEST(no_pod_range_is_no_change),
		TEST(a_bad_pod_range_is_named_and_changes_nothing),
		TEST(a_refused_pod_range_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
