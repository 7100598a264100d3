/* Calls over a connection in memory: what the wire says, what the handler sees. The clock is
 * virtual. */
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
#include "core/loop/loop.h"
#include "cri/grpc/grpc.h"
#include "tests/lib/h2_client.h"

#define MIB ((size_t)1 << 20)

static const struct grpc_method echo_method = { "/t.S/Echo", false };
static const struct grpc_method hold_method = { "/t.S/Hold", false };
static const struct grpc_method stream_method = { "/t.S/Stream", true };

struct fixture {
	struct loop *loop;
	struct grpc *grpc;
	struct grpc_conn *conn;
	struct h2_client *client;
	struct grpc_limits limits;
	/* what handlers saw */
	struct grpc_call *held[1100];
	size_t nheld, ncancelled, ndrained, outputs;
	enum code cancel_code;
	struct buf last_request;
	bool answer_on_cancel;
};

static const struct grpc_method *admit(void *arg UNUSED, struct str path, struct err *err)
{
	static const struct grpc_method *const all[] = { &echo_method, &hold_method,
		                                         &stream_method };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (str_eq_c(path, all[i]->path))
			return all[i];
	err_set(err, CODE_UNIMPLEMENTED, "no %.*s", STR_ARG(path));
	return NULL;
}

static void on_cancel(void *arg, struct grpc_call *call)
{
	struct fixture *f = arg;

	f->ncancelled++;
	f->cancel_code = grpc_cancelled(call);
	if (f->answer_on_cancel) {
		grpc_fail(call, &(struct err){ .code = CODE_CANCELLED, .msg = "given up" });
		f->nheld--;
	}
}

static void reply(struct grpc_call *call, const void *data, size_t len)
{
	struct buf message;

	buf_init(&message, 64 * MIB);
	assert_int_equal(buf_add(&message, data, len), 0);
	grpc_reply_bytes(call, &message);
	buf_release(&message);
}

static int stream_send(struct grpc_call *call, size_t len, struct err *err)
{
	cleanup_free char *data = xcalloc(1, len);
	struct buf message;
	int ret;

	buf_init(&message, 64 * MIB);
	assert_int_equal(buf_add(&message, data, len), 0);
	ret = grpc_stream_send_bytes(call, &message, err);
	buf_release(&message);
	return ret;
}

static void dispatch(void *arg, struct grpc_call *call)
{
	struct fixture *f = arg;
	struct str request = grpc_request_bytes(call);

	buf_clear(&f->last_request);
	assert_int_equal(buf_add(&f->last_request, request.p, request.len), 0);
	if (grpc_method(call) == &echo_method) {
		reply(call, request.p, request.len);
		return;
	}
	f->held[f->nheld++] = call;
	grpc_on_cancel(call, on_cancel, f);
}

static void on_output(void *arg)
{
	((struct fixture *)arg)->outputs++;
}

static int server_recv(void *arg, const void *data, size_t len)
{
	struct fixture *f = arg;
	struct err err;

	return f->conn ? grpc_conn_recv(f->conn, data, len, &err) : -1;
}

static size_t server_send(void *arg, const uint8_t **ret_data)
{
	struct fixture *f = arg;

	return f->conn ? grpc_conn_send(f->conn, ret_data) : 0;
}

static void connect_client(struct fixture *f, const struct h2_options *options)
{
	static const struct grpc_conn_ops ops = { on_output };
	struct listener_peer peer = { .pid = 4711, .text = "unix pid 4711 uid 0" };

	h2_client_free(f->client);
	grpc_conn_free(f->conn);
	f->conn = grpc_conn_new(f->grpc, &peer, &ops, f);
	f->client = h2_client_new(&(struct h2_server){ server_recv, server_send, f }, options);
	h2_pump(f->client);
}

static void restart(struct fixture *f, const struct h2_options *options)
{
	h2_client_free(f->client);
	f->client = NULL;
	grpc_conn_free(f->conn);
	f->conn = NULL;
	grpc_free(f->grpc);
	f->grpc = grpc_new(f->loop,
	                   &(struct grpc_handler){ .admit = admit, .dispatch = dispatch, .arg = f },
	                   &f->limits);
	connect_client(f, options);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err;

	clock_virtual_set(NS_PER_S * 1000000000);
	f->loop = loop_new(&err);
	assert_non_null(f->loop);
	buf_init(&f->last_request, 64 * MIB);
	restart(f, NULL);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	h2_client_free(f->client);
	grpc_conn_free(f->conn);
	grpc_free(f->grpc);
	buf_release(&f->last_request);
	loop_free(f->loop);
	free(f);
	return 0;
}

/* Virtual time passes, timers fire, bytes move. */
static void pass(struct fixture *f, int64_t ms)
{
	clock_virtual_advance(ms * NS_PER_MS);
	while (loop_turn(f->loop, false)) {
	}
	h2_pump(f->client);
}

static struct h2_reply *call(struct fixture *f, const char *path, const void *data, size_t len)
{
	int32_t stream = h2_call(f->client, path, NULL, data, len);

	h2_pump(f->client);
	return h2_reply(f->client, stream);
}

#define assert_status(reply, http, grpc)                                                           \
	do {                                                                                       \
		assert_int_equal((reply)->http_status, http);                                      \
		assert_int_equal((reply)->grpc_status, grpc);                                      \
		assert_true((reply)->closed);                                                      \
	} while (0)

/* --- */

static void a_unary_call_is_answered_with_head_message_and_trailers(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r = call(f, "/t.S/Echo", "hello", 5);

	assert_status(r, 200, 0);
	assert_int_equal(r->heads, 2);
	assert_int_equal(r->body.len, 10);
	assert_memory_equal(r->body.data, "\0\0\0\0\5hello", 10);
	assert_int_equal(r->code, 0);
}

static void an_empty_message_is_a_message(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r = call(f, "/t.S/Echo", "", 0);

	assert_status(r, 200, 0);
	assert_memory_equal(r->body.data, "\0\0\0\0\0", 5);
}

static void a_message_may_come_in_frames_of_one_byte(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_request(f->client, false, ":method", "POST", ":scheme", "http", ":path",
	                            "/t.S/Echo", "content-type", "application/grpc+proto", "te",
	                            "trailers", NULL);
	struct h2_reply *r = h2_reply(f->client, stream);

	h2_body(f->client, stream, "\0\0\0\0\3abc", 8, 1, true);
	h2_pump(f->client);
	assert_status(r, 200, 0);
	assert_memory_equal(r->body.data, "\0\0\0\0\3abc", 8);
}

static void every_authority_that_clients_send_is_accepted(void **arg)
{
	static const char *const forms[] = { "localhost", "%2Frun%2Fcoracle%2Fcoracle.sock",
		                             "/run/coracle/coracle.sock", "" };
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		int32_t stream = h2_request(f->client, false, ":method", "POST", ":scheme", "http",
		                            ":path", "/t.S/Echo", ":authority", forms[i],
		                            "content-type", "application/grpc", NULL);

		h2_body(f->client, stream, "\0\0\0\0\0", 5, 0, true);
		h2_pump(f->client);
		assert_status(h2_reply(f->client, stream), 200, 0);
	}
}

static void what_is_no_grpc_request_gets_the_status_that_grpc_servers_give(void **arg)
{
	static const struct {
		const char *method, *path, *type, *extra, *value;
		int http, grpc;
	} cases[] = {
		{ "GET", "/t.S/Echo", "application/grpc", "x", "y", 405, CODE_INTERNAL },
		{ "POST", "/t.S/Echo", "application/json", "x", "y", 415, CODE_INVALID_ARGUMENT },
		{ "POST", "/t.S/Echo", "application/grpcx", "x", "y", 415, CODE_INVALID_ARGUMENT },
		{ "POST", "/t.S/Echo", "application/grpc", "grpc-timeout", "1x", 400,
		  CODE_INTERNAL },
		{ "POST", "/t.S/Echo", "application/grpc", "grpc-timeout", "", 400, CODE_INTERNAL },
		{ "POST", "/t.S/Echo", "application/grpc", "grpc-timeout", "100000000S", 400,
		  CODE_INTERNAL },
		{ "POST", "/t.S/Echo", "application/grpc", "a-bin", "!!", 400, CODE_INTERNAL },
		{ "POST", "/t.S/Echo", "application/grpc", "host", "b", 200,
		  -1 }, /* the control: waits for its body */
		{ "POST", "t.S/Echo", "application/grpc", "x", "y", 200, CODE_UNIMPLEMENTED },
		{ "POST", "/t.S", "application/grpc", "x", "y", 200, CODE_UNIMPLEMENTED },
		{ "POST", "/t.S/Nope", "application/grpc", "x", "y", 200, CODE_UNIMPLEMENTED },
		{ "POST", "/t.S/Echo", "application/grpc", "grpc-encoding", "gzip", 200,
		  CODE_UNIMPLEMENTED },
	};
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int32_t stream = h2_request(f->client, false, ":method", cases[i].method, ":scheme",
		                            "http", ":path", cases[i].path, "content-type",
		                            cases[i].type, cases[i].extra, cases[i].value, NULL);
		struct h2_reply *r = h2_reply(f->client, stream);

		h2_pump(f->client);
		assert_int_equal(r->grpc_status, cases[i].grpc);
		if (cases[i].grpc >= 0) {
			assert_status(r, cases[i].http, cases[i].grpc);
			assert_int_equal(r->heads, 1);
			assert_int_equal(
				r->code,
				0); /* the rest of the request is declined without an error */
		}
	}
}

static void a_refused_encoding_tells_what_is_accepted(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_request(f->client, false, ":method", "POST", ":scheme", "http", ":path",
	                            "/t.S/Echo", "content-type", "application/grpc",
	                            "grpc-encoding", "gzip", NULL);

	h2_pump(f->client);
	assert_string_equal(h2_reply(f->client, stream)->accept_encoding, "identity");
	assert_string_equal(h2_reply(f->client, stream)->message,
	                    "grpc-encoding \"gzip\" is not supported");
}

static void a_malformed_head_resets_its_stream(void **arg)
{
	static const char *const extra[][2] = {
		{ "connection", "close" },    { "te", "gzip" },    { ":path", "/t.S/Echo" },
		{ "transfer-encoding", "x" }, { ":unknown", "x" }, { "a b", "x" },
		{ "content-length", "x" },    { "value", "a\nb" }, { "", "x" },
	};
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(extra); i++) {
		int32_t stream = h2_request(f->client, true, ":method", "POST", ":scheme", "http",
		                            ":path", "/t.S/Echo", "content-type",
		                            "application/grpc", extra[i][0], extra[i][1], NULL);
		struct h2_reply *r = h2_reply(f->client, stream);

		h2_pump(f->client);
		assert_true(r->closed);
		assert_int_equal(r->code, 1);
		assert_int_equal(r->heads, 0);
	}
	/* the connection is none the worse */
	assert_status(call(f, "/t.S/Echo", "", 0), 200, 0);
}

static void a_head_without_method_or_path_resets_its_stream(void **arg)
{
	struct fixture *f = *arg;
	int32_t a = h2_request(f->client, true, ":scheme", "http", ":path", "/t.S/Echo", NULL);
	int32_t b = h2_request(f->client, true, ":method", "POST", ":scheme", "http", NULL);

	h2_pump(f->client);
	assert_int_equal(h2_reply(f->client, a)->code, 1);
	assert_int_equal(h2_reply(f->client, b)->code, 1);
}

static void two_authorities_are_refused(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_request(f->client, true, ":method", "POST", ":scheme", "http", ":path",
	                            "/t.S/Echo", ":authority", "a", ":authority", "b",
	                            "content-type", "application/grpc", NULL);

	h2_pump(f->client);
	assert_status(h2_reply(f->client, stream), 400, CODE_INTERNAL);
}

static void a_broken_message_is_an_internal_error(void **arg)
{
	static const struct {
		const char *body;
		size_t len;
	} cases[] = {
		{ "\1\0\0\0\1x", 6 },             /* compressed */
		{ "\2\0\0\0\1x", 6 },             /* unknown flag */
		{ "\0\0\0\0\5abc", 8 },           /* ends inside */
		{ "\0\0\0", 3 },                  /* ends inside the prefix */
		{ "\0\0\0\0\1x\0\0\0\0\1y", 12 }, /* two */
		{ "", 0 },                        /* none */
	};
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int32_t stream =
			h2_request(f->client, false, ":method", "POST", ":scheme", "http", ":path",
		                   "/t.S/Echo", "content-type", "application/grpc", NULL);

		h2_body(f->client, stream, cases[i].body, cases[i].len, 0, true);
		h2_pump(f->client);
		assert_status(h2_reply(f->client, stream), 200, CODE_INTERNAL);
	}
	assert_int_equal(grpc_stats(f->grpc).received_bytes, 0);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
}

static void a_body_that_differs_from_its_content_length_is_reset(void **arg)
{
	static const char *const lengths[] = { "4", "6" };
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		int32_t stream = h2_request(f->client, false, ":method", "POST", ":scheme", "http",
		                            ":path", "/t.S/Hold", "content-type",
		                            "application/grpc", "content-length", lengths[i], NULL);

		h2_body(f->client, stream, "\0\0\0\0\0", 5, 0, true);
		h2_pump(f->client);
		assert_int_equal(h2_reply(f->client, stream)->code, 1);
	}
	assert_int_equal(f->nheld, 0);
}

static void a_message_announced_too_large_is_refused_before_its_body(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_request(f->client, false, ":method", "POST", ":scheme", "http", ":path",
	                            "/t.S/Echo", "content-type", "application/grpc", NULL);
	struct h2_reply *r = h2_reply(f->client, stream);

	h2_body(f->client, stream, "\0\xff\xff\xff\xff", 5, 0, false);
	h2_pump(f->client);
	assert_status(r, 200, CODE_RESOURCE_EXHAUSTED);
	assert_string_equal(r->message,
	                    "received message larger than max (4294967295 vs. 16777216)");
}

static void messages_up_to_16_mib_pass_both_ways(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *data = xcalloc(1, 16 * MIB + 1);
	struct h2_reply *r;

	memset(data, 'x', 16 * MIB + 1);
	r = call(f, "/t.S/Echo", data, 16 * MIB);
	assert_status(r, 200, 0);
	assert_int_equal(r->body.len, 16 * MIB + 5);
	assert_memory_equal(r->body.data + 5, data, 16 * MIB);

	r = call(f, "/t.S/Echo", data, 16 * MIB + 1);
	assert_status(r, 200, CODE_RESOURCE_EXHAUSTED);

	h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	h2_pump(f->client);
	r = h2_reply(f->client, 5);
	reply(f->held[0], data, 16 * MIB + 1);
	h2_pump(f->client);
	assert_status(r, 200, CODE_RESOURCE_EXHAUSTED);
	assert_string_equal(r->message, "Hold: response of 16777217 bytes is larger than 16777216");
	assert_int_equal(grpc_stats(f->grpc).unsent_bytes, 0);
}

static void a_client_with_a_window_of_one_byte_gets_everything(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r;

	restart(f, &(struct h2_options){ .window_bytes = 1 });
	r = call(f, "/t.S/Echo", "0123456789", 10);
	assert_status(r, 200, 0);
	assert_memory_equal(r->body.data,
	                    "\0\0\0\0\12"
	                    "0123456789",
	                    15);
}

static void requests_being_received_share_one_budget(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *data = xcalloc(1, 600);
	int32_t a, b;

	f->limits = (struct grpc_limits){ .receive_total_bytes = 1000 };
	restart(f, NULL);
	a = h2_call(f->client, "/t.S/Hold", NULL, data, 600);
	b = h2_call(f->client, "/t.S/Hold", NULL, data, 600);
	h2_pump(f->client);
	assert_int_equal(h2_reply(f->client, a)->grpc_status, -1);
	assert_status(h2_reply(f->client, b), 200, CODE_RESOURCE_EXHAUSTED);
	/* what an answered call held is free again */
	reply(f->held[0], "", 0);
	h2_pump(f->client);
	assert_status(h2_reply(f->client, a), 200, 0);
	assert_status(call(f, "/t.S/Echo", data, 600), 200, 0);
}

static void a_passed_deadline_is_answered_at_once_and_the_late_answer_dropped(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_call(f->client, "/t.S/Hold", "50m", "", 0);
	struct h2_reply *r = h2_reply(f->client, stream);

	h2_pump(f->client);
	pass(f, 49);
	assert_int_equal(r->grpc_status, -1);
	pass(f, 2);
	assert_status(r, 200, CODE_DEADLINE_EXCEEDED);
	assert_int_equal(f->ncancelled, 1);
	assert_int_equal(f->cancel_code, CODE_DEADLINE_EXCEEDED);
	assert_int_equal(grpc_stats(f->grpc).live, 1); /* the handler still works */
	reply(f->held[0], "late", 4);
	h2_pump(f->client);
	assert_int_equal(r->body.len, 0);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
}

static void a_request_that_does_not_arrive_in_time_is_refused(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_request(f->client, false, ":method", "POST", ":scheme", "http", ":path",
	                            "/t.S/Echo", "content-type", "application/grpc", NULL);

	h2_body(f->client, stream, "\0\0\0\0\5ab", 7, 0, false);
	h2_pump(f->client);
	pass(f, 31 * 1000);
	assert_status(h2_reply(f->client, stream), 200, CODE_DEADLINE_EXCEEDED);
	assert_int_equal(grpc_stats(f->grpc).received_bytes, 0);
}

static void a_reset_cancels_the_call_once_and_its_answer_goes_nowhere(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_call(f->client, "/t.S/Hold", "1S", "", 0);

	h2_pump(f->client);
	h2_reset(f->client, stream, 8);
	h2_pump(f->client);
	assert_int_equal(f->ncancelled, 1);
	assert_int_equal(f->cancel_code, CODE_CANCELLED);
	pass(f, 2000); /* its deadline says nothing more */
	assert_int_equal(f->ncancelled, 1);
	reply(f->held[0], "late", 4);
	h2_pump(f->client);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
	assert_status(call(f, "/t.S/Echo", "", 0), 200, 0);
}

static void a_handler_may_answer_while_it_is_told_of_the_cancellation(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_call(f->client, "/t.S/Hold", NULL, "", 0);

	f->answer_on_cancel = true;
	h2_pump(f->client);
	h2_reset(f->client, stream, 8);
	h2_pump(f->client);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
}

static void calls_outlive_their_connection(void **arg)
{
	struct fixture *f = *arg;

	h2_call(f->client, "/t.S/Hold", NULL, "a", 1);
	h2_call(f->client, "/t.S/Stream", NULL, "b", 1);
	h2_pump(f->client);
	grpc_conn_free(f->conn);
	f->conn = NULL;
	assert_int_equal(f->ncancelled, 2);
	assert_int_equal(grpc_peer(f->held[0])->pid, 4711);
	assert_string_equal(grpc_method_name(f->held[1]), "Stream");
	assert_memory_equal(grpc_request_bytes(f->held[0]).p, "a", 1);
	reply(f->held[0], "", 0);
	grpc_finish(f->held[1]);
	assert_int_equal(grpc_stats(f->grpc).live, 0);
}

static void a_call_whose_handler_never_answered_is_freed_in_the_end(void **arg)
{
	struct fixture *f = *arg;

	h2_call(f->client, "/t.S/Hold", NULL, "a", 1);
	h2_pump(f->client);
	restart(f, NULL); /* leak checkers see to the rest */
	assert_int_equal(grpc_stats(f->grpc).live, 0);
}

static void a_stream_delivers_its_messages_in_order_and_ends_with_ok(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream = h2_call(f->client, "/t.S/Stream", NULL, "", 0);
	struct h2_reply *r = h2_reply(f->client, stream);
	struct err err;

	h2_pump(f->client);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(stream_send(f->held[0], i, &err), 0);
		assert_true(f->outputs > 0);
		h2_pump(f->client);
	}
	assert_int_equal(r->body.len, 5 + 6 + 7);
	assert_false(r->closed);
	grpc_finish(f->held[0]);
	h2_pump(f->client);
	assert_status(r, 200, 0);
}

static void an_empty_stream_ends_with_ok(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r = call(f, "/t.S/Stream", "", 0);

	grpc_finish(f->held[0]);
	h2_pump(f->client);
	assert_status(r, 200, 0);
	assert_int_equal(r->body.len, 0);
}

static void a_stream_may_fail_after_it_has_begun(void **arg)
{
	struct fixture *f = *arg;
	struct h2_reply *r = call(f, "/t.S/Stream", "", 0);
	struct err err;

	assert_int_equal(stream_send(f->held[0], 1, &err), 0);
	err = (struct err){ .code = CODE_OUT_OF_RANGE, .msg = "100% of it\nis gone" };
	grpc_fail(f->held[0], &err);
	h2_pump(f->client);
	assert_status(r, 200, CODE_OUT_OF_RANGE);
	assert_string_equal(r->message, "100%25 of it%0Ais gone");
	assert_int_equal(r->body.len, 6);
	assert_int_equal(r->heads, 2);
}

static void on_drain(void *arg, struct grpc_call *call)
{
	assert_false(grpc_stream_above_mark(call));
	((struct fixture *)arg)->ndrained++;
}

static void a_slow_reader_is_noticed_and_the_sender_told_when_it_caught_up(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream;
	struct err err;

	restart(f, &(struct h2_options){ .manual_window = true });
	stream = h2_call(f->client, "/t.S/Stream", NULL, "", 0);
	h2_pump(f->client);
	grpc_on_drain(f->held[0], on_drain, f);
	assert_int_equal(stream_send(f->held[0], 400 * 1024, &err), 0);
	assert_true(grpc_stream_above_mark(f->held[0]));
	h2_pump(f->client);
	pass(f, 0);
	assert_int_equal(f->ndrained, 0);
	h2_credit(f->client, stream, MIB);
	h2_pump(f->client);
	pass(f, 0);
	assert_int_equal(f->ndrained, 1);
	assert_int_equal(grpc_stats(f->grpc).unsent_bytes, 0);
}

static void a_reader_that_stopped_reading_gets_no_unbounded_queue(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };
	size_t sent = 0;

	f->limits = (struct grpc_limits){ .stream_queue_bytes = MIB };
	restart(f, &(struct h2_options){ .manual_window = true });
	h2_call(f->client, "/t.S/Stream", NULL, "", 0);
	h2_pump(f->client);
	while (sent < 20 && stream_send(f->held[0], 100 * 1024, &err) == 0)
		sent++;
	assert_int_equal(sent, 10);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	grpc_fail(f->held[0], &err);
}

static void an_answered_call_whose_client_takes_nothing_is_reset(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *data = xcalloc(1, MIB);
	int32_t stream;

	restart(f, &(struct h2_options){ .manual_window = true });
	stream = h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	h2_pump(f->client);
	reply(f->held[0], data, MIB);
	h2_pump(f->client);
	pass(f, 59 * 1000);
	assert_false(h2_reply(f->client, stream)->closed);
	clock_virtual_advance(2 * NS_PER_S);
	while (loop_turn(f->loop, false)) {
	}
	assert_int_equal(grpc_stats(f->grpc).unsent_bytes, 0); /* before the reset could go out */
	h2_pump(f->client);
	assert_true(h2_reply(f->client, stream)->closed);
	assert_int_equal(h2_reply(f->client, stream)->code, 8);
}

static void unread_answers_of_all_calls_share_one_budget(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *data = xcalloc(1, MIB);
	int32_t second;

	f->limits = (struct grpc_limits){ .send_total_bytes = MIB + MIB / 2 };
	restart(f, &(struct h2_options){ .manual_window = true });
	h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	second = h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	h2_pump(f->client);
	reply(f->held[0], data, MIB);
	reply(f->held[1], data, MIB);
	h2_pump(f->client);
	assert_status(h2_reply(f->client, second), 200, CODE_RESOURCE_EXHAUSTED);
}

static void calls_are_capped_and_count_until_their_handler_has_answered(void **arg)
{
	struct fixture *f = *arg;
	int32_t stream;

	f->limits = (struct grpc_limits){ .max_calls = 2 };
	restart(f, NULL);
	stream = h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	h2_pump(f->client);
	h2_reset(f->client, stream, 8); /* gone for the client, not for the handler */
	h2_pump(f->client);
	assert_status(call(f, "/t.S/Echo", "", 0), 200, CODE_RESOURCE_EXHAUSTED);
	reply(f->held[0], "", 0);
	assert_status(call(f, "/t.S/Echo", "", 0), 200, 0);
}

static void draining_ends_streams_lets_unary_calls_finish_and_then_is_done(void **arg)
{
	struct fixture *f = *arg;
	int32_t unary = h2_call(f->client, "/t.S/Hold", NULL, "", 0);
	int32_t stream = h2_call(f->client, "/t.S/Stream", NULL, "", 0);
	uint32_t code;
	const char *debug;

	h2_pump(f->client);
	grpc_conn_drain(f->conn);
	h2_pump(f->client);
	assert_status(h2_reply(f->client, stream), 200, CODE_UNAVAILABLE);
	assert_int_equal(f->ncancelled, 1);
	assert_true(h2_goaway(f->client, &code, &debug));
	assert_int_equal(code, 0);
	assert_false(grpc_conn_done(f->conn));
	grpc_finish(f->held[1]);
	reply(f->held[0], "done", 4);
	h2_pump(f->client);
	assert_status(h2_reply(f->client, unary), 200, 0);
	assert_true(grpc_conn_done(f->conn));
}

static void a_dismissed_connection_answers_every_call_and_is_done(void **arg)
{
	struct fixture *f = *arg;
	int32_t unary = h2_call(f->client, "/t.S/Hold", NULL, "", 0);

	h2_pump(f->client);
	grpc_conn_dismiss(f->conn, "daemon is stopping");
	h2_pump(f->client);
	assert_status(h2_reply(f->client, unary), 200, CODE_UNAVAILABLE);
	assert_string_equal(h2_reply(f->client, unary)->message, "daemon is stopping");
	assert_true(grpc_conn_done(f->conn));
}

static void the_timeout_header_is_read_as_grpc_defines_it(void **arg UNUSED)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: malformed */
	} cases[] = {
		{ "1n", 1 },
		{ "7u", 7000 },
		{ "1993580u", INT64_C(1993580000) },
		{ "5m", 5 * NS_PER_MS },
		{ "0S", 0 },
		{ "2M", 120 * NS_PER_S },
		{ "3H", 3 * 3600 * NS_PER_S },
		{ "99999999H", INT64_MAX },
		{ "100000000S", -1 },
		{ "1x", -1 },
		{ "S", -1 },
		{ "", -1 },
		{ "-1S", -1 },
		{ " 1S", -1 },
		{ "1", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int64_t ns = -1;
		int ret = grpc_timeout_parse(str_of(cases[i].text), &ns);

		assert_int_equal(ret, cases[i].ns < 0 ? -1 : 0);
		assert_int_equal(ns, cases[i].ns);
	}
}

static void status_text_survives_the_wire(void **arg UNUSED)
{
	static const struct {
		struct str text;
		const char *wire;
	} cases[] = {
		{ { "plain text", 10 }, "plain text" },
		{ { "a\nb", 3 }, "a%0Ab" },
		{ { "50%", 3 }, "50%25" },
		{ { "\xc3\xa4", 2 }, "%C3%A4" },
		{ { "x\0y", 3 }, "x%00y" },
		{ { "\xff!", 2 }, "%EF%BF%BD!" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(buf_release) struct buf wire = { 0 }, back = { 0 };

		buf_init(&wire, 1000);
		buf_init(&back, 1000);
		assert_int_equal(grpc_message_encode(&wire, cases[i].text), 0);
		assert_string_equal(wire.data, cases[i].wire);
		assert_int_equal(grpc_message_decode(&back, (struct str){ wire.data, wire.len }),
		                 0);
		if (cases[i].text.p[0] != '\xff')
			assert_memory_equal(back.data, cases[i].text.p, cases[i].text.len);
	}
}

static void long_status_text_is_cut_on_a_character(void **arg UNUSED)
{
	cleanup(buf_release) struct buf text = { 0 }, wire = { 0 };

	buf_init(&text, 20000);
	buf_init(&wire, 20000);
	assert_int_equal(buf_add_str(&text, "x"), 0);
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal(buf_add_str(&text, "\xc3\xa4"), 0);
	assert_int_equal(grpc_message_encode(&wire, (struct str){ text.data, text.len }), 0);
	assert_int_equal(wire.len, 1 + 2047 * 6);
	assert_string_equal(wire.data + wire.len - 6, "%C3%A4");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_unary_call_is_answered_with_head_message_and_trailers),
		TEST(an_empty_message_is_a_message),
		TEST(a_message_may_come_in_frames_of_one_byte),
		TEST(every_authority_that_clients_send_is_accepted),
		TEST(what_is_no_grpc_request_gets_the_status_that_grpc_servers_give),
		TEST(a_refused_encoding_tells_what_is_accepted),
		TEST(a_malformed_head_resets_its_stream),
		TEST(a_head_without_method_or_path_resets_its_stream),
		TEST(two_authorities_are_refused),
		TEST(a_broken_message_is_an_internal_error),
		TEST(a_body_that_differs_from_its_content_length_is_reset),
		TEST(a_message_announced_too_large_is_refused_before_its_body),
		TEST(messages_up_to_16_mib_pass_both_ways),
		TEST(a_client_with_a_window_of_one_byte_gets_everything),
		TEST(requests_being_received_share_one_budget),
		TEST(a_passed_deadline_is_answered_at_once_and_the_late_answer_dropped),
		TEST(a_request_that_does_not_arrive_in_time_is_refused),
		TEST(a_reset_cancels_the_call_once_and_its_answer_goes_nowhere),
		TEST(a_handler_may_answer_while_it_is_told_of_the_cancellation),
		TEST(calls_outlive_their_connection),
		TEST(a_call_whose_handler_never_answered_is_freed_in_the_end),
		TEST(a_stream_delivers_its_messages_in_order_and_ends_with_ok),
		TEST(an_empty_stream_ends_with_ok),
		TEST(a_stream_may_fail_after_it_has_begun),
		TEST(a_slow_reader_is_noticed_and_the_sender_told_when_it_caught_up),
		TEST(a_reader_that_stopped_reading_gets_no_unbounded_queue),
		TEST(an_answered_call_whose_client_takes_nothing_is_reset),
		TEST(unread_answers_of_all_calls_share_one_budget),
		TEST(calls_are_capped_and_count_until_their_handler_has_answered),
		TEST(draining_ends_streams_lets_unary_calls_finish_and_then_is_done),
		TEST(a_dismissed_connection_answers_every_call_and_is_done),
		TEST(the_timeout_header_is_read_as_grpc_defines_it),
		TEST(status_text_survives_the_wire),
		TEST(long_status_text_is_cut_on_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
