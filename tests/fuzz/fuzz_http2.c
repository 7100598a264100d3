/* Raw bytes into a server connection, in pieces whose sizes come from the input, with handlers that
 * answer in every way. What must hold: nothing leaks or is touched after it was freed, and when the
 * connection is gone no call is left. */
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/loop/loop.h"
#include "cri/grpc/grpc.h"

struct session {
	struct grpc_call *held[512];
	size_t nheld;
};

static const struct grpc_method unary_method = { "/t.S/U", false };
static const struct grpc_method stream_method = { "/t.S/S", true };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct grpc_method *admit(void *arg, struct str path, struct err *err)
{
	ignore(arg);
	if (path.len % 3 == 0) {
		err_set(err, CODE_UNAVAILABLE, "not now");
		return NULL;
	}
	return path.len % 3 == 1 ? &unary_method : &stream_method;
}

static void forget(struct session *session, const struct grpc_call *call)
{
	for (size_t i = 0; i < session->nheld; i++)
		if (session->held[i] == call)
			session->held[i] = session->held[--session->nheld];
}

static void on_cancel(void *arg, struct grpc_call *call)
{
	ensure(grpc_cancelled(call) != CODE_OK);
	if (grpc_request_bytes(call).len % 2) {
		forget(arg, call);
		grpc_fail(call, &(struct err){ .code = CODE_ABORTED, .msg = "gone" });
	}
}

static void answer(struct grpc_call *call)
{
	struct str request = grpc_request_bytes(call);
	struct buf message;
	struct err err;

	buf_init(&message, 1 << 20);
	ensure(buf_add(&message, request.p, request.len) == 0);
	if (!grpc_method(call)->streaming) {
		grpc_reply_bytes(call, &message);
	} else {
		ignore(grpc_stream_send_bytes(call, &message, &err));
		grpc_finish(call);
	}
	buf_release(&message);
}

static void dispatch(void *arg, struct grpc_call *call)
{
	struct session *session = arg;

	if (grpc_request_bytes(call).len % 3 == 0 || session->nheld == ARRAY_SIZE(session->held)) {
		answer(call);
		return;
	}
	session->held[session->nheld++] = call;
	grpc_on_cancel(call, on_cancel, session);
}

static void on_output(void *arg)
{
	ignore(arg);
}

static void drain_output(struct grpc_conn *conn)
{
	const uint8_t *out;

	while (grpc_conn_send(conn, &out) > 0) {
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct grpc_conn_ops ops = { on_output };
	static const struct listener_peer peer = { .text = "fuzz" };
	static const struct grpc_limits limits = { .max_message_bytes = 4096,
		                                   .receive_total_bytes = 8192,
		                                   .max_calls = 64 };
	struct session session = { 0 };
	struct grpc_handler handler = { .admit = admit, .dispatch = dispatch, .arg = &session };
	struct err err = { 0 };
	struct loop *loop;
	struct grpc *grpc;
	struct grpc_conn *conn;

	clock_virtual_set(NS_PER_S * 1000000000);
	loop = loop_new(&err);
	ensure(loop);
	grpc = grpc_new(loop, &handler, &limits);
	conn = grpc_conn_new(grpc, &peer, &ops, NULL);
	/* the preface is a fixed text: no need to discover it */
	ensure(grpc_conn_recv(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, &err) == 0);

	while (size > 0 && !grpc_conn_done(conn)) {
		size_t n = 1 + data[0];

		data++;
		size--;
		n = MIN(n, size);
		ignore(grpc_conn_recv(conn, data, n, &err));
		data += n;
		size -= n;
		if (n % 2)
			drain_output(conn);
		if (n % 5 == 0 && session.nheld > 0)
			answer(session.held[--session.nheld]);
		if (n % 7 == 0) {
			clock_virtual_advance(NS_PER_S * (int64_t)n);
			while (loop_turn(loop, false)) {
			}
		}
		if (n == 200)
			grpc_conn_drain(conn);
	}
	drain_output(conn);
	grpc_conn_free(conn);
	while (session.nheld > 0)
		answer(session.held[--session.nheld]);
	ensure(grpc_stats(grpc).live == 0);
	ensure(grpc_stats(grpc).received_bytes == 0);
	ensure(grpc_stats(grpc).unsent_bytes == 0);
	grpc_free(grpc);
	loop_free(loop);
	return 0;
}
