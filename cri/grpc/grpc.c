/* cri/grpc/grpc.c
 *
 * The life of a call:
 *
 *   RECEIVING  head admitted, message arriving   deadline, request_ms, client gone: ANSWERED
 *   HELD       a handler has it                  cancellation is told, it answers all the same
 *   ANSWERED   answer queued or dropped          freed when the stream is gone, too
 *
 * Two things keep a call alive: its stream and its handler. A refused head never becomes a call.
 */
#include "cri/grpc/grpc.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/list.h"
#include "core/base/mem.h"
#include "cri/grpc/http2.h"

enum {
	STREAM_HIGH_BYTES = 256 * 1024,
	STREAM_LOW_BYTES = 64 * 1024,
	SCRATCH_BYTES = 64 * 1024 * 1024,
	/* grpc-go plans a default limit of 8 KiB for a whole head */
	STATUS_TEXT_BYTES = 4096,
	/* Calls of one connection whose handlers have not answered: twice the streams it may have
	 * open, so that only a client that resets what it asked for and asks again can get
	 * there. */
	CONN_CALLS = 200,
};

#define CONTENT_TYPE STR("application/grpc")

struct grpc {
	struct loop *loop;
	struct grpc_handler handler;
	struct grpc_limits limits;
	struct list orphans; /* held calls whose connection is gone */
	struct grpc_stats stats;
};

struct grpc_conn {
	struct grpc *grpc;
	struct http2 *h2;
	struct listener_peer peer;
	const struct grpc_conn_ops *ops;
	void *arg;
	struct list calls;
	size_t ncalls; /* not answered yet */
	bool draining;
};

enum call_state { CALL_RECEIVING, CALL_HELD, CALL_ANSWERED };

struct chunk {
	struct list link;
	uint8_t prefix[GRPC_PREFIX_BYTES];
	struct buf message;
	size_t sent; /* of prefix and message together */
};

struct grpc_call {
	struct list link; /* grpc_conn.calls or grpc.orphans */
	struct grpc *grpc;
	struct grpc_conn *conn;      /* NULL: gone */
	struct http2_stream *stream; /* NULL: gone */
	const struct grpc_method *method;
	struct listener_peer peer;
	enum call_state state;
	int64_t started_ns, deadline_ns;
	struct loop_timer
		timer; /* RECEIVING: deadline or request_ms; HELD: deadline; ANSWERED: stall_ms */

	/* request */
	uint8_t prefix[GRPC_PREFIX_BYTES];
	size_t prefix_len;
	uint32_t message_bytes; /* as announced, once the prefix is complete */
	struct buf request;
	struct pb_arena *arena, *scratch;

	/* answer */
	struct list chunks;
	size_t queued_bytes;
	bool head_sent, status_sent;
	int64_t progress_ns; /* when the client last took a byte */

	enum code cancelled;
	void (*on_cancel)(void *arg, struct grpc_call *call);
	void *cancel_arg;
	void (*on_drain)(void *arg, struct grpc_call *call);
	void *drain_arg;
	bool above_mark;
	struct loop_defer drained;
};

/* --- wire text */

int grpc_timeout_parse(struct str text, int64_t *ret_ns)
{
	static const struct {
		char unit;
		int64_t ns;
	} units[] = {
		{ 'H', 3600 * NS_PER_S }, { 'M', 60 * NS_PER_S }, { 'S', NS_PER_S },
		{ 'm', NS_PER_MS },       { 'u', NS_PER_US },     { 'n', 1 },
	};
	uint64_t value;

	if (text.len < 2 || text.len > 9 ||
	    str_u64((struct str){ text.p, text.len - 1 }, 99999999, &value) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (text.p[text.len - 1] != units[i].unit)
			continue;
		if (__builtin_mul_overflow((int64_t)value, units[i].ns, ret_ns))
			*ret_ns = INT64_MAX;
		return 0;
	}
	return -1;
}

/* The length of the character that begins at @p, 0 if that is not UTF-8. */
static size_t utf8_len(const char *p, size_t left)
{
	unsigned char first = (unsigned char)*p;
	size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	return len <= left && str_utf8_valid((struct str){ p, len }) ? len : 0;
}

int grpc_message_encode(struct buf *out, struct str text)
{
	static const char replacement[] = "%EF%BF%BD"; /* U+FFFD */

	for (size_t at = 0; at < text.len;) {
		size_t len = utf8_len(text.p + at, text.len - at);

		if (at + len > STATUS_TEXT_BYTES)
			break;
		if (len == 0 && buf_add_str(out, replacement) < 0)
			return -1;
		for (size_t i = 0; i < len; i++) {
			unsigned char c = (unsigned char)text.p[at + i];
			bool plain = c >= 0x20 && c <= 0x7e && c != '%';

			if ((plain ? buf_add(out, &c, 1) : buf_printf(out, "%%%02X", c)) < 0)
				return -1;
		}
		at += len ? len : 1;
	}
	return 0;
}

int grpc_message_decode(struct buf *out, struct str text)
{
	for (size_t at = 0; at < text.len; at++) {
		char c = text.p[at];

		if (c == '%' && text.len - at >= 3 &&
		    hex_decode((struct str){ text.p + at + 1, 2 }, &c, 1) == 0)
			at += 2;
		if (buf_add(out, &c, 1) < 0)
			return -1;
	}
	return 0;
}

/* --- facts */

const struct grpc_method *grpc_method(const struct grpc_call *call)
{
	return call->method;
}

const char *grpc_method_name(const struct grpc_call *call)
{
	return strrchr(call->method->path, '/') + 1;
}

const struct listener_peer *grpc_peer(const struct grpc_call *call)
{
	return &call->peer;
}

struct str grpc_request_bytes(const struct grpc_call *call)
{
	return (struct str){ or_empty(call->request.data), call->request.len };
}

int64_t grpc_started_ns(const struct grpc_call *call)
{
	return call->started_ns;
}

int64_t grpc_deadline_ns(const struct grpc_call *call)
{
	return call->deadline_ns;
}

struct pb_arena *grpc_arena(struct grpc_call *call)
{
	if (!call->arena)
		call->arena = pb_arena_new(pb_budget_for(call->request.len));
	return call->arena;
}

struct pb_arena *grpc_scratch(struct grpc_call *call)
{
	if (!call->scratch)
		call->scratch = pb_arena_new(SCRATCH_BYTES);
	return call->scratch;
}

enum code grpc_cancelled(const struct grpc_call *call)
{
	return call->cancelled;
}

void grpc_on_cancel(struct grpc_call *call, void (*fn)(void *arg, struct grpc_call *call),
                    void *arg)
{
	ensure(call->state == CALL_HELD);
	if (fn && call->cancelled) {
		fn(arg, call);
		return;
	}
	call->on_cancel = fn;
	call->cancel_arg = arg;
}

bool grpc_stream_above_mark(const struct grpc_call *call)
{
	return call->above_mark;
}

void grpc_on_drain(struct grpc_call *call, void (*fn)(void *arg, struct grpc_call *call), void *arg)
{
	ensure(call->state == CALL_HELD);
	call->on_drain = fn;
	call->drain_arg = arg;
}

/* --- life and death */

static void call_drop_chunks(struct grpc_call *call)
{
	struct list *link;

	while ((link = list_pop_front(&call->chunks))) {
		struct chunk *chunk = list_entry(link, struct chunk, link);

		buf_release(&chunk->message);
		free(chunk);
	}
	call->grpc->stats.unsent_bytes -= call->queued_bytes;
	call->queued_bytes = 0;
}

static void call_drop_request(struct grpc_call *call)
{
	call->grpc->stats.received_bytes -= call->request.len;
	buf_release(&call->request);
}

static void call_free(struct grpc_call *call)
{
	loop_timer_disarm(call->grpc->loop, &call->timer);
	loop_defer_cancel(&call->drained);
	call_drop_chunks(call);
	call_drop_request(call);
	pb_arena_free(call->arena);
	pb_arena_free(call->scratch);
	list_remove(&call->link);
	free(call);
}

/* Nobody works on it any more. What it weighed on the request side is given back; the answer may
 * still have to go out. */
static void call_answered(struct grpc_call *call, enum code code, const char *text)
{
	struct grpc *grpc = call->grpc;

	ensure(call->state != CALL_ANSWERED);
	call->state = CALL_ANSWERED;
	if (grpc->handler.answered)
		grpc->handler.answered(grpc->handler.arg, call, code, text);
	call->on_cancel = NULL;
	call->on_drain = NULL;
	grpc->stats.live--;
	if (call->conn)
		call->conn->ncalls--;
	if (!call->stream) {
		call_free(call);
		return;
	}
	call_drop_request(call);
	pb_arena_free(take_ptr(call->arena));
	pb_arena_free(take_ptr(call->scratch));
	call->progress_ns = clock_boot_ns();
	loop_timer_arm(grpc->loop, &call->timer,
	               call->progress_ns + grpc->limits.stall_ms * NS_PER_MS);
}

/* Tell the handler, once. It may answer, after which the call may be gone. */
static void call_cancel(struct grpc_call *call, enum code why)
{
	void (*fn)(void *arg, struct grpc_call *call) = call->on_cancel;

	if (call->cancelled)
		return;
	call->cancelled = why;
	call->grpc->stats.cancelled++;
	call->on_cancel = NULL;
	if (fn)
		fn(call->cancel_arg, call);
}

/* --- status on the wire */

static struct str status_text(char number[8], enum code code)
{
	ignore(str_format(number, 8, "%d", (int)code)); /* two digits at most */
	return str_of(number);
}

/* Trailers-Only: head and status in one. @http: "200" but where HTTP itself is at fault. */
static void respond_status(struct http2_stream *stream, const char *http, enum code code,
                           const char *text, bool encodings)
{
	char number[8];
	cleanup(buf_release) struct buf message = { 0 };
	struct http2_field fields[5] = {
		{ STR(":status"), str_of(http) },
		{ STR("content-type"), CONTENT_TYPE },
		{ STR("grpc-status"), status_text(number, code) },
	};
	size_t n = 3;

	buf_init(&message, 4 * STATUS_TEXT_BYTES);
	if (text[0] && grpc_message_encode(&message, str_of(text)) == 0)
		fields[n++] =
			(struct http2_field){ STR("grpc-message"), { message.data, message.len } };
	if (encodings)
		fields[n++] = (struct http2_field){ STR("grpc-accept-encoding"), STR("identity") };
	http2_respond_only(stream, fields, n);
}

static void send_head(struct grpc_call *call)
{
	static const struct http2_field fields[] = {
		{ { ":status", 7 }, { "200", 3 } },
		{ { "content-type", 12 }, { "application/grpc", 16 } },
	};

	if (call->head_sent)
		return;
	call->head_sent = true;
	http2_respond(call->stream, fields, ARRAY_SIZE(fields));
}

/* The last word of a call, behind what is queued. */
static void send_status(struct grpc_call *call, enum code code, const char *text)
{
	char number[8];
	cleanup(buf_release) struct buf message = { 0 };
	struct http2_field fields[2] = { { STR("grpc-status"), status_text(number, code) } };
	size_t n = 1;

	if (!call->stream || call->status_sent)
		return;
	call->status_sent = true;
	if (code != CODE_OK)
		call->grpc->stats.failed++;
	if (!call->head_sent && code != CODE_OK) {
		respond_status(call->stream, "200", code, text, false);
		return;
	}
	send_head(call); /* an empty stream that ended well */
	buf_init(&message, 4 * STATUS_TEXT_BYTES);
	if (text[0] && grpc_message_encode(&message, str_of(text)) == 0)
		fields[n++] =
			(struct http2_field){ STR("grpc-message"), { message.data, message.len } };
	http2_trailers(call->stream, fields, n);
	http2_resume(call->stream);
}

/* Before a handler has it. */
static void call_refuse(struct grpc_call *call, enum code code, const char *text)
{
	ensure(call->state == CALL_RECEIVING);
	send_status(call, code, text);
	call_answered(call, code, text);
}

static void on_timer(void *arg)
{
	struct grpc_call *call = arg;
	struct grpc *grpc = call->grpc;
	int64_t now_ns = clock_boot_ns();

	switch (call->state) {
	case CALL_RECEIVING:
		call_refuse(call, CODE_DEADLINE_EXCEEDED,
		            now_ns >= call->deadline_ns ? "context deadline exceeded"
		                                        : "request message did not arrive in time");
		break;
	case CALL_HELD:
		/* After a head only a reset tells a client that does not read on. */
		if (call->head_sent)
			http2_reset(call->stream, HTTP2_CANCEL);
		else
			send_status(call, CODE_DEADLINE_EXCEEDED, "context deadline exceeded");
		call_cancel(call, CODE_DEADLINE_EXCEEDED);
		break;
	case CALL_ANSWERED:
		if (now_ns - call->progress_ns < grpc->limits.stall_ms * NS_PER_MS) {
			loop_timer_arm(grpc->loop, &call->timer,
			               call->progress_ns + grpc->limits.stall_ms * NS_PER_MS);
			break;
		}
		/* The reset may not get through for long; the memory is wanted back now. */
		call_drop_chunks(call);
		http2_reset(call->stream, HTTP2_CANCEL);
		break;
	}
}

static void on_drained(void *arg)
{
	struct grpc_call *call = arg;

	if (call->on_drain)
		call->on_drain(call->drain_arg, call);
}

/* --- answers */

/* Queues @message (taken) behind a prefix. */
static int queue_message(struct grpc_call *call, struct buf *message, struct err *err)
{
	struct grpc *grpc = call->grpc;
	size_t bytes = message->len + GRPC_PREFIX_BYTES;
	struct chunk *chunk;

	if (call->cancelled)
		return err_set(err, call->cancelled, "%s: nobody waits for the answer",
		               grpc_method_name(call));
	if (message->len > grpc->limits.max_message_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: response of %zu bytes is larger than %zu",
		               grpc_method_name(call), message->len,
		               grpc->limits.max_message_bytes);
	if (grpc->stats.unsent_bytes + bytes > grpc->limits.send_total_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: clients leave more than %zu bytes of responses unread",
		               grpc_method_name(call), grpc->limits.send_total_bytes);
	if (call->queued_bytes + bytes > grpc->limits.stream_queue_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: the client leaves more than %zu bytes of the stream unread",
		               grpc_method_name(call), grpc->limits.stream_queue_bytes);

	chunk = xcalloc(1, sizeof(*chunk));
	chunk->prefix[1] = (uint8_t)(message->len >> 24);
	chunk->prefix[2] = (uint8_t)(message->len >> 16);
	chunk->prefix[3] = (uint8_t)(message->len >> 8);
	chunk->prefix[4] = (uint8_t)message->len;
	chunk->message = *message;
	buf_init(message, chunk->message.max);
	list_push_back(&call->chunks, &chunk->link);
	call->queued_bytes += bytes;
	grpc->stats.unsent_bytes += bytes;
	if (call->queued_bytes > STREAM_HIGH_BYTES)
		call->above_mark = true;
	send_head(call);
	http2_resume(call->stream);
	return 0;
}

static int encode(struct grpc_call *call, const pb_msgdesc_t *desc, const void *message,
                  struct buf *out, struct err *err)
{
	buf_init(out, call->grpc->limits.max_message_bytes);
	if (pb_encode_msg(out, desc, message, err) == 0)
		return 0;
	if (err_is(err, CODE_RESOURCE_EXHAUSTED))
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: response is larger than %zu bytes", grpc_method_name(call),
		               call->grpc->limits.max_message_bytes);
	return err_wrap(err, "%s: encode response", grpc_method_name(call));
}

void grpc_reply_bytes(struct grpc_call *call, struct buf *message)
{
	struct err err = { 0 };

	ensure(call->state == CALL_HELD && !call->method->streaming);
	if (queue_message(call, message, &err) < 0)
		buf_release(message);
	send_status(call, err.code, err.msg);
	call_answered(call, err.code, err.msg);
}

void grpc_reply(struct grpc_call *call, const pb_msgdesc_t *desc, const void *message)
{
	struct err err = { 0 };
	cleanup(buf_release) struct buf bytes = { 0 };

	if (!call->cancelled && encode(call, desc, message, &bytes, &err) < 0)
		grpc_fail(call, &err);
	else
		grpc_reply_bytes(call, &bytes);
}

void grpc_fail(struct grpc_call *call, const struct err *err)
{
	enum code code = err->code ? err->code : CODE_UNKNOWN;

	ensure(call->state == CALL_HELD);
	debug_ensure(err->code != CODE_OK);
	send_status(call, code, err->msg);
	call_answered(call, code, err->msg);
}

int grpc_stream_send_bytes(struct grpc_call *call, struct buf *message, struct err *err)
{
	ensure(call->state == CALL_HELD && call->method->streaming);
	return queue_message(call, message, err);
}

int grpc_stream_send(struct grpc_call *call, const pb_msgdesc_t *desc, const void *message,
                     struct err *err)
{
	cleanup(buf_release) struct buf bytes = { 0 };

	if (encode(call, desc, message, &bytes, err) < 0)
		return -1;
	return grpc_stream_send_bytes(call, &bytes, err);
}

void grpc_finish(struct grpc_call *call)
{
	ensure(call->state == CALL_HELD && call->method->streaming);
	send_status(call, CODE_OK, "");
	call_answered(call, CODE_OK, "");
}

/* --- from HTTP/2 */

/* "application/grpc", or that with "+proto" or ";charset" behind it */
static bool is_grpc_content_type(const struct http2_field *field)
{
	static const struct str base = { "application/grpc", 16 };

	return field && str_starts(field->value, base.p) &&
	       (field->value.len == base.len || field->value.p[base.len] == '+' ||
	        field->value.p[base.len] == ';');
}

/* Metadata under a name that ends in -bin is base64, several values joined by commas. */
static bool binary_fields_valid(const struct http2_request *request)
{
	for (size_t i = 0; i < request->nfields; i++) {
		struct str rest = request->fields[i].value;
		bool more = true;

		if (!str_ends(request->fields[i].name, "-bin"))
			continue;
		while (more) {
			cleanup(buf_release) struct buf bytes = { 0 };
			struct str one, tail;

			more = str_cut(rest, ',', &one, &tail);
			rest = tail;
			buf_init(&bytes, one.len + 4);
			if (base64_decode(&bytes, str_trim(one)) < 0)
				return false;
		}
	}
	return true;
}

/* What HTTP demands of a gRPC request. True if it was refused. */
static bool refuse_http(struct http2_stream *stream, const struct http2_request *request,
                        int64_t *ret_timeout_ns)
{
	const struct http2_field *timeout = http2_request_field(request, "grpc-timeout");
	const struct http2_field *encoding = http2_request_field(request, "grpc-encoding");
	char text[160];
	struct str service, method;

	*ret_timeout_ns = INT64_MAX;
	if (!str_eq_c(request->method, "POST")) {
		respond_status(stream, "405", CODE_INTERNAL, "gRPC requests use the method POST",
		               false);
	} else if (request->many_authorities) {
		respond_status(stream, "400", CODE_INTERNAL, "more than one authority or host",
		               false);
	} else if (!is_grpc_content_type(http2_request_field(request, "content-type"))) {
		respond_status(stream, "415", CODE_INVALID_ARGUMENT,
		               "content-type is not application/grpc", false);
	} else if (timeout && grpc_timeout_parse(timeout->value, ret_timeout_ns) < 0) {
		respond_status(stream, "400", CODE_INTERNAL, "malformed grpc-timeout", false);
	} else if (!binary_fields_valid(request)) {
		respond_status(stream, "400", CODE_INTERNAL, "malformed binary metadata", false);
	} else if (!str_starts(request->path, "/") ||
	           !str_rcut((struct str){ request->path.p + 1, request->path.len - 1 }, '/',
	                     &service, &method)) {
		ignore(str_format(text, sizeof(text), "malformed method name: \"" STR_FMT "\"",
		                  (int)MIN(request->path.len, (size_t)100), request->path.p));
		respond_status(stream, "200", CODE_UNIMPLEMENTED, text, false);
	} else if (encoding && !str_eq_c(encoding->value, "identity")) {
		ignore(str_format(text, sizeof(text),
		                  "grpc-encoding \"" STR_FMT "\" is not supported",
		                  (int)MIN(encoding->value.len, (size_t)100), encoding->value.p));
		respond_status(stream, "200", CODE_UNIMPLEMENTED, text, true);
	} else {
		return false;
	}
	return true;
}

static const struct grpc_method *admit(struct grpc_conn *conn, const struct http2_request *request,
                                       struct err *err)
{
	struct grpc *grpc = conn->grpc;

	if (conn->ncalls >= CONN_CALLS || grpc->stats.live >= grpc->limits.max_calls) {
		err_set(err, CODE_RESOURCE_EXHAUSTED,
		        "too many calls are still running (%zu, of this connection %zu)",
		        grpc->stats.live, conn->ncalls);
		return NULL;
	}
	return grpc->handler.admit(grpc->handler.arg, request->path, err);
}

static void on_request(void *arg, struct http2_stream *stream, const struct http2_request *request)
{
	struct grpc_conn *conn = arg;
	struct grpc *grpc = conn->grpc;
	const struct grpc_method *method;
	struct grpc_call *call;
	struct err err = { 0 };
	int64_t now_ns = clock_boot_ns(), timeout_ns;

	if (refuse_http(stream, request, &timeout_ns)) {
		grpc->stats.refused++;
		return;
	}
	method = admit(conn, request, &err);
	if (!method) {
		grpc->stats.refused++;
		respond_status(stream, "200", err.code, err.msg, false);
		return;
	}

	call = xcalloc(1, sizeof(*call));
	call->grpc = grpc;
	call->conn = conn;
	call->stream = stream;
	call->method = method;
	call->peer = conn->peer;
	call->started_ns = now_ns;
	call->deadline_ns = timeout_ns < INT64_MAX - now_ns ? now_ns + timeout_ns : INT64_MAX;
	buf_init(&call->request, grpc->limits.max_message_bytes);
	list_init(&call->chunks);
	loop_defer_init(&call->drained, on_drained, call);
	loop_timer_init(&call->timer, on_timer, call, "grpc-call");
	loop_timer_arm(grpc->loop, &call->timer,
	               MIN(call->deadline_ns, now_ns + grpc->limits.request_ms * NS_PER_MS));
	list_push_back(&conn->calls, &call->link);
	conn->ncalls++;
	grpc->stats.calls++;
	grpc->stats.live++;
	http2_stream_own(stream, call);
}

/* The five bytes in front of the message are complete. */
static int accept_prefix(struct grpc_call *call, struct err *err)
{
	const uint8_t *p = call->prefix;
	size_t max = call->grpc->limits.max_message_bytes;

	call->message_bytes =
		(uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
	if (p[0] == 1)
		return err_set(err, CODE_INTERNAL,
		               "message is flagged as compressed without a grpc-encoding");
	if (p[0] > 1)
		return err_set(err, CODE_INTERNAL, "message has an unknown compression flag %u",
		               p[0]);
	/* from the announcement alone: the body is not waited for */
	if (call->message_bytes > max)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "received message larger than max (%" PRIu32 " vs. %zu)",
		               call->message_bytes, max);
	return 0;
}

static int accept_body(struct grpc_call *call, const uint8_t *data, size_t len, struct err *err)
{
	struct grpc *grpc = call->grpc;
	size_t n = MIN(len, GRPC_PREFIX_BYTES - call->prefix_len);

	if (n > 0) {
		memcpy(call->prefix + call->prefix_len, data, n);
		call->prefix_len += n;
		if (call->prefix_len < GRPC_PREFIX_BYTES)
			return 0;
		if (accept_prefix(call, err) < 0)
			return -1;
		data += n;
		len -= n;
	}
	if (len > call->message_bytes - call->request.len)
		return err_set(err, CODE_INTERNAL, "%s: more than one request message",
		               grpc_method_name(call));
	/* Memory grows with what came, never with what was announced. */
	if (grpc->stats.received_bytes + len > grpc->limits.receive_total_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "requests being received exceed %zu bytes in total",
		               grpc->limits.receive_total_bytes);
	if (buf_add(&call->request, data, len) < 0)
		return buf_err_full(&call->request, "request message", err);
	grpc->stats.received_bytes += len;
	return 0;
}

static void on_body(void *owner, const uint8_t *data, size_t len)
{
	struct grpc_call *call = owner;
	struct err err = { 0 };

	if (call->state == CALL_RECEIVING && accept_body(call, data, len, &err) < 0)
		call_refuse(call, err.code, err.msg);
}

static void on_body_end(void *owner)
{
	struct grpc_call *call = owner;
	struct grpc *grpc = call->grpc;

	if (call->state != CALL_RECEIVING)
		return;
	if (call->prefix_len == 0) {
		call_refuse(call, CODE_INTERNAL, "request without a message");
		return;
	}
	if (call->prefix_len < GRPC_PREFIX_BYTES || call->request.len < call->message_bytes) {
		call_refuse(call, CODE_INTERNAL, "request ended inside its message");
		return;
	}
	call->state = CALL_HELD;
	if (call->deadline_ns == INT64_MAX)
		loop_timer_disarm(grpc->loop, &call->timer);
	else
		loop_timer_arm(grpc->loop, &call->timer, call->deadline_ns);
	grpc->handler.dispatch(grpc->handler.arg, call);
}

static size_t on_writable(void *owner, uint8_t *buf, size_t size, bool *ret_end)
{
	struct grpc_call *call = owner;
	size_t written = 0;

	while (written < size && !list_empty(&call->chunks)) {
		struct chunk *chunk = list_entry(call->chunks.next, struct chunk, link);
		bool in_prefix = chunk->sent < GRPC_PREFIX_BYTES;
		const void *from = in_prefix ? (const void *)(chunk->prefix + chunk->sent)
		                             : (const void *)(chunk->message.data + chunk->sent -
		                                              GRPC_PREFIX_BYTES);
		size_t left = in_prefix ? GRPC_PREFIX_BYTES - chunk->sent
		                        : chunk->message.len + GRPC_PREFIX_BYTES - chunk->sent;
		size_t n = MIN(left, size - written);

		if (n > 0)
			memcpy(buf + written, from, n);
		written += n;
		chunk->sent += n;
		if (chunk->sent == chunk->message.len + GRPC_PREFIX_BYTES) {
			list_remove(&chunk->link);
			buf_release(&chunk->message);
			free(chunk);
		}
	}
	call->queued_bytes -= written;
	call->grpc->stats.unsent_bytes -= written;
	call->progress_ns = clock_boot_ns();
	if (call->above_mark && call->queued_bytes < STREAM_LOW_BYTES) {
		call->above_mark = false;
		/* not from here: nghttp2 is in the middle of a frame */
		if (call->on_drain)
			loop_defer_queue(call->grpc->loop, &call->drained);
	}
	*ret_end = call->status_sent && list_empty(&call->chunks);
	return written;
}

static void on_close(void *owner, uint32_t code UNUSED)
{
	struct grpc_call *call = owner;

	call->stream = NULL;
	loop_timer_disarm(call->grpc->loop, &call->timer);
	call_drop_chunks(call);
	switch (call->state) {
	case CALL_RECEIVING:
		call->grpc->stats.cancelled++;
		call_answered(call, CODE_CANCELLED, "client left before its request was complete");
		break;
	case CALL_HELD:
		call_cancel(call, CODE_CANCELLED);
		break;
	case CALL_ANSWERED:
		call_free(call);
		break;
	}
}

static void on_output(void *arg)
{
	struct grpc_conn *conn = arg;

	conn->ops->on_output(conn->arg);
}

/* --- connections */

struct grpc_conn *grpc_conn_new(struct grpc *grpc, const struct listener_peer *peer,
                                const struct grpc_conn_ops *ops, void *arg)
{
	static const struct http2_ops h2_ops = {
		.on_request = on_request,
		.on_body = on_body,
		.on_body_end = on_body_end,
		.on_writable = on_writable,
		.on_close = on_close,
		.on_output = on_output,
	};
	struct grpc_conn *conn = xcalloc(1, sizeof(*conn));

	ensure(ops->on_output);
	conn->grpc = grpc;
	conn->peer = *peer;
	conn->ops = ops;
	conn->arg = arg;
	list_init(&conn->calls);
	conn->h2 = http2_new(&h2_ops, conn);
	return conn;
}

void grpc_conn_free(struct grpc_conn *conn)
{
	if (!conn)
		return;
	http2_free(conn->h2);
	list_for_each(link, &conn->calls)
		list_entry(link, struct grpc_call, link)->conn = NULL;
	list_splice_back(&conn->grpc->orphans, &conn->calls);
	free(conn);
}

int grpc_conn_recv(struct grpc_conn *conn, const void *data, size_t len, struct err *err)
{
	return http2_recv(conn->h2, data, len, err);
}

size_t grpc_conn_send(struct grpc_conn *conn, const uint8_t **ret_data)
{
	return http2_send(conn->h2, ret_data);
}

bool grpc_conn_done(const struct grpc_conn *conn)
{
	return http2_done(conn->h2);
}

bool grpc_conn_greeted(const struct grpc_conn *conn)
{
	return http2_greeted(conn->h2);
}

bool grpc_conn_mid_head(const struct grpc_conn *conn)
{
	return http2_mid_head(conn->h2);
}

size_t grpc_conn_calls(const struct grpc_conn *conn)
{
	return conn->ncalls;
}

/* A call that still waits for its answer and has not been told that there will be none. */
static struct grpc_call *next_to_end(struct grpc_conn *conn, bool streaming_only)
{
	list_for_each(link, &conn->calls) {
		struct grpc_call *call = list_entry(link, struct grpc_call, link);

		if (call->state != CALL_ANSWERED && !call->cancelled &&
		    (call->method->streaming || !streaming_only))
			return call;
	}
	return NULL;
}

static void end_calls(struct grpc_conn *conn, bool streaming_only, const char *why)
{
	struct grpc_call *call;

	/* from the start each time: a handler that is told may answer others, too */
	while ((call = next_to_end(conn, streaming_only))) {
		if (call->state == CALL_RECEIVING) {
			call_refuse(call, CODE_UNAVAILABLE, why);
		} else {
			send_status(call, CODE_UNAVAILABLE, why);
			call_cancel(call, CODE_UNAVAILABLE);
		}
	}
}

void grpc_conn_drain(struct grpc_conn *conn)
{
	if (conn->draining)
		return;
	conn->draining = true;
	end_calls(conn, true, "daemon is stopping");
	http2_drain(conn->h2);
}

void grpc_conn_last_call(struct grpc_conn *conn)
{
	http2_last_call(conn->h2);
}

void grpc_conn_dismiss(struct grpc_conn *conn, const char *why)
{
	end_calls(conn, false, why);
	http2_last_call(conn->h2);
}

/* --- all of them */

struct grpc *grpc_new(struct loop *loop, const struct grpc_handler *handler,
                      const struct grpc_limits *limits)
{
	struct grpc *grpc = xcalloc(1, sizeof(*grpc));
	struct grpc_limits *own = &grpc->limits;

	ensure(loop && handler->admit && handler->dispatch);
	grpc->loop = loop;
	grpc->handler = *handler;
	if (limits)
		*own = *limits;
	own->max_message_bytes = own->max_message_bytes ? own->max_message_bytes : 16 << 20;
	own->receive_total_bytes = own->receive_total_bytes ? own->receive_total_bytes : 32 << 20;
	own->send_total_bytes = own->send_total_bytes ? own->send_total_bytes : 128 << 20;
	own->stream_queue_bytes = own->stream_queue_bytes ? own->stream_queue_bytes : 32 << 20;
	own->max_calls = own->max_calls ? own->max_calls : 1024;
	own->request_ms = own->request_ms ? own->request_ms : 30 * 1000;
	own->stall_ms = own->stall_ms ? own->stall_ms : 60 * 1000;
	list_init(&grpc->orphans);
	return grpc;
}

void grpc_free(struct grpc *grpc)
{
	if (!grpc)
		return;
	while (!list_empty(&grpc->orphans))
		call_free(list_entry(grpc->orphans.next, struct grpc_call, link));
	free(grpc);
}

struct grpc_stats grpc_stats(const struct grpc *grpc)
{
	return grpc->stats;
}
