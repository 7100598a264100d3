/* cri/grpc/client.c
 *
 * One call after the other on one connection. The descriptor is nonblocking and poll() waits for
 * whatever the session wants next, so that a server that answers while it is still being written to
 * cannot deadlock with us.
 */
#include "cri/grpc/client.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <nghttp2/nghttp2.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/grpc/grpc.h"

enum {
	MAX_MESSAGE_BYTES =
		64 * 1024 *
		1024, /* kubelet stops at 16 MiB; an operator's tool shows what there is */
	ARENA_BYTES = 256 * 1024 * 1024,
	STREAM_WINDOW_BYTES = 1024 * 1024,
	CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024,
	READ_BYTES = 64 * 1024,
};

/* What the current call has brought so far. */
struct reply {
	int32_t stream_id;
	struct buf request; /* with its prefix */
	size_t request_sent;

	struct buf input; /* prefix and message being assembled */
	int (*on_message)(void *arg, struct str message);
	void *arg;
	int stopped; /* what on_message returned, when not 0 */

	int http_status, grpc_status; /* 0 and -1: not seen */
	struct buf text;
	bool closed;
	uint32_t reset_code;
	struct err err; /* the server broke the protocol */
};

struct grpc_client {
	int fd;
	int cancel_fd; /* -1: none */
	char *path;
	nghttp2_session *session;
	struct reply *reply; /* NULL between calls */
	const uint8_t *out;  /* taken from nghttp2, not yet written */
	size_t out_len;
	bool broken;
};

/* --- nghttp2's side */

static struct reply *reply_of(struct grpc_client *client, int32_t stream_id)
{
	return client->reply && client->reply->stream_id == stream_id ? client->reply : NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags UNUSED,
                     void *user_data)
{
	struct reply *reply = reply_of(user_data, frame->hd.stream_id);
	struct str key = { (const char *)name, name_len },
		   text = { (const char *)value, value_len };
	uint64_t number;

	ignore(session);
	if (!reply)
		return 0;
	if (str_eq_c(key, ":status")) {
		reply->http_status = str_u64(text, 999, &number) == 0 ? (int)number : 0;
	} else if (str_eq_c(key, "grpc-status")) {
		reply->grpc_status = str_u64(text, 1000, &number) == 0 ? (int)number : CODE_UNKNOWN;
	} else if (str_eq_c(key, "grpc-message")) {
		buf_clear(&reply->text);
		ignore(grpc_message_decode(&reply->text,
		                           text)); /* too long: its beginning has to do */
	}
	return 0;
}

static int stop_call(struct grpc_client *client, struct reply *reply)
{
	ignore(nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, reply->stream_id,
	                                 NGHTTP2_CANCEL));
	reply->closed = true;
	return 0;
}

/* Hands out every message that is complete. */
static int take_messages(struct grpc_client *client, struct reply *reply)
{
	while (reply->input.len >= GRPC_PREFIX_BYTES) {
		const uint8_t *p = (const uint8_t *)reply->input.data;
		uint32_t len =
			(uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];

		if (p[0] != 0 || len > MAX_MESSAGE_BYTES) {
			err_set(&reply->err, CODE_INTERNAL,
			        "response message is compressed or too large (%" PRIu32 " bytes)",
			        len);
			return stop_call(client, reply);
		}
		if (reply->input.len - GRPC_PREFIX_BYTES < len)
			return 0;
		reply->stopped = reply->on_message(
			reply->arg, (struct str){ reply->input.data + GRPC_PREFIX_BYTES, len });
		if (reply->stopped)
			return stop_call(client, reply);
		buf_consume(&reply->input, GRPC_PREFIX_BYTES + len);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags UNUSED, int32_t stream_id,
                   const uint8_t *data, size_t len, void *user_data)
{
	struct reply *reply = reply_of(user_data, stream_id);

	ignore(session);
	if (!reply || reply->closed)
		return 0;
	if (buf_add(&reply->input, data, len) < 0) {
		buf_err_full(&reply->input, "response message", &reply->err);
		return stop_call(user_data, reply);
	}
	return take_messages(user_data, reply);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code,
                           void *user_data)
{
	struct reply *reply = reply_of(user_data, stream_id);

	ignore(session);
	if (reply && !reply->closed) {
		reply->closed = true;
		reply->reset_code = code;
	}
	return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t size,
                       uint32_t *data_flags, nghttp2_data_source *source UNUSED, void *user_data)
{
	struct reply *reply = reply_of(user_data, stream_id);
	size_t n;

	ignore(session);
	if (!reply)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = MIN(size, reply->request.len - reply->request_sent);
	memcpy(buf, reply->request.data + reply->request_sent, n);
	reply->request_sent += n;
	if (reply->request_sent == reply->request.len)
		*data_flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* --- the descriptor's side */

static int broken(struct grpc_client *client, struct err *err, const char *why)
{
	client->broken = true;
	return err_set(err, CODE_UNAVAILABLE, "connection to %s: %s", client->path, why);
}

/* Writes until the kernel or the session has had enough. */
static int flush(struct grpc_client *client, struct err *err)
{
	for (;;) {
		ssize_t n;

		if (client->out_len == 0) {
			n = nghttp2_session_mem_send(client->session, &client->out);
			if (n < 0)
				return broken(client, err, nghttp2_strerror((int)n));
			if (n == 0)
				return 0;
			client->out_len = (size_t)n;
		}
		n = send(client->fd, client->out, client->out_len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return broken(client, err, errno_name(errno));
		client->out += n;
		client->out_len -= (size_t)n;
	}
}

static int fill(struct grpc_client *client, struct err *err)
{
	uint8_t data[READ_BYTES];
	ssize_t n = recv(client->fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return broken(client, err, errno_name(errno));
	if (n == 0)
		return broken(client, err, "closed by the daemon");
	n = nghttp2_session_mem_recv(client->session, data, (size_t)n);
	return n < 0 ? broken(client, err, nghttp2_strerror((int)n)) : 0;
}

static int wait_ready(struct grpc_client *client, int64_t deadline_ns, struct err *err)
{
	struct pollfd pfd[] = {
		{ .fd = client->fd, .events = (short)(POLLIN | (client->out_len ? POLLOUT : 0)) },
		{ .fd = client->cancel_fd, .events = POLLIN }, /* poll skips -1 */
	};
	int timeout_ms = -1;

	if (deadline_ns != INT64_MAX) {
		int64_t left_ns = deadline_ns - clock_boot_ns();

		if (left_ns <= 0)
			return err_set(err, CODE_DEADLINE_EXCEEDED, "no answer from %s in time",
			               client->path);
		timeout_ms = (int)MIN((left_ns + NS_PER_MS - 1) / NS_PER_MS, (int64_t)INT_MAX);
	}
	if (poll(pfd, ARRAY_SIZE(pfd), timeout_ms) < 0) /* then revents is as before */
		return errno == EINTR ? 0 : err_sys(err, errno, "poll");
	if (pfd[1].revents)
		return err_set(err, CODE_CANCELLED, "interrupted");
	return 0;
}

static int run(struct grpc_client *client, struct reply *reply, int64_t deadline_ns,
               struct err *err)
{
	while (!reply->closed) {
		if (flush(client, err) < 0)
			return -1;
		if (reply->closed) /* by a reset of ours that went out just now */
			break;
		if (!nghttp2_session_want_read(client->session) && client->out_len == 0)
			return broken(client, err, "the other end does not keep to HTTP/2");
		if (wait_ready(client, deadline_ns, err) < 0) {
			stop_call(client, reply);
			break;
		}
		if (fill(client, err) < 0)
			return -1;
	}
	if (err->code) /* our reset, if the server still listens */
		ignore(flush(client, &(struct err){ 0 }));
	else if (flush(client, err) < 0)
		return -1;
	return err->code ? -1 : 0;
}

/* --- calls */

/* What a reset says when no status came. */
static enum code code_of_reset(uint32_t reset)
{
	switch (reset) {
	case NGHTTP2_REFUSED_STREAM:
		return CODE_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return CODE_CANCELLED;
	case NGHTTP2_FLOW_CONTROL_ERROR:
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return CODE_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return CODE_PERMISSION_DENIED;
	default:
		return CODE_INTERNAL;
	}
}

static int status_of(const struct reply *reply, struct err *err)
{
	if (reply->err.code) {
		*err = reply->err;
		return -1;
	}
	if (reply->stopped || reply->grpc_status == CODE_OK)
		return 0;
	if (reply->grpc_status > 0)
		return err_set(err,
		               reply->grpc_status <= CODE_UNAUTHENTICATED
		                       ? (enum code)reply->grpc_status
		                       : CODE_UNKNOWN,
		               "%s",
		               reply->text.len ? reply->text.data
		                               : code_name((enum code)reply->grpc_status));
	if (reply->reset_code)
		return err_set(err, code_of_reset(reply->reset_code),
		               "call was reset by the server: %s",
		               nghttp2_http2_strerror(reply->reset_code));
	return err_set(err, CODE_INTERNAL, "no gRPC status in the answer (HTTP status %d)",
	               reply->http_status);
}

static nghttp2_nv header(const char *name, const char *value)
{
	return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
		             .namelen = strlen(name),
		             .value = (uint8_t *)(uintptr_t)value,
		             .valuelen = strlen(value) };
}

static int submit(struct grpc_client *client, const struct grpc_client_call *call,
                  struct reply *reply, struct err *err)
{
	char timeout[16];
	nghttp2_nv nva[] = {
		header(":method", "POST"),
		header(":scheme", "http"),
		header(":path", call->method),
		header(":authority", "localhost"),
		header("content-type", "application/grpc"),
		header("user-agent", "coracle-ctl"),
		header("te", "trailers"),
		header("grpc-timeout", timeout),
	};
	size_t n = ARRAY_SIZE(nva);

	if (call->timeout_ms <= 0)
		n--;
	else if (call->timeout_ms <= 99999999)
		ignore(str_format(timeout, sizeof(timeout), "%" PRId64 "m", call->timeout_ms));
	else
		ignore(str_format(timeout, sizeof(timeout), "%" PRId64 "S",
		                  MIN(call->timeout_ms / 1000, INT64_C(99999999))));
	nva[ARRAY_SIZE(nva) - 1] = header("grpc-timeout", timeout);

	reply->stream_id =
		nghttp2_submit_request(client->session, NULL, nva, n,
	                               &(nghttp2_data_provider){ .read_callback = on_read }, NULL);
	if (reply->stream_id < 0)
		return broken(client, err, nghttp2_strerror(reply->stream_id));
	return 0;
}

static int encode_request(const struct grpc_client_call *call, struct buf *out, struct err *err)
{
	uint8_t *p;
	size_t len;

	buf_init(out, MAX_MESSAGE_BYTES);
	ensure(buf_add(out, "\0\0\0\0\0", GRPC_PREFIX_BYTES) == 0);
	if (pb_encode_msg(out, call->request_desc, call->request, err) < 0)
		return err_wrap(err, "encode request");
	len = out->len - GRPC_PREFIX_BYTES;
	p = (uint8_t *)out->data;
	p[1] = (uint8_t)(len >> 24);
	p[2] = (uint8_t)(len >> 16);
	p[3] = (uint8_t)(len >> 8);
	p[4] = (uint8_t)len;
	return 0;
}

static int do_call(struct grpc_client *client, const struct grpc_client_call *call,
                   int (*on_message)(void *arg, struct str message), void *arg, struct err *err)
{
	struct reply reply = { .on_message = on_message, .arg = arg, .grpc_status = -1 };
	int64_t deadline_ns = INT64_MAX;
	int ret = -1;

	if (client->broken)
		return err_set(err, CODE_UNAVAILABLE, "connection to %s has failed before",
		               client->path);
	if (call->timeout_ms > 0 && call->timeout_ms < INT64_MAX / (4 * NS_PER_MS))
		deadline_ns = clock_boot_ns() + call->timeout_ms * NS_PER_MS;
	buf_init(&reply.input, MAX_MESSAGE_BYTES + GRPC_PREFIX_BYTES + READ_BYTES);
	buf_init(&reply.text, 64 * 1024);

	client->reply = &reply;
	*err = (struct err){ 0 };
	if (encode_request(call, &reply.request, err) == 0 &&
	    submit(client, call, &reply, err) == 0) {
		/* a status that arrived says more than the broken connection behind it */
		ret = run(client, &reply, deadline_ns, err);
		if (ret == 0 || reply.grpc_status >= 0) {
			*err = (struct err){ 0 };
			ret = status_of(&reply, err);
		}
	}
	client->reply = NULL;
	buf_release(&reply.request);
	buf_release(&reply.input);
	buf_release(&reply.text);
	return ret;
}

struct unary {
	const struct grpc_client_call *call;
	struct pb_arena *arena;
	void *response;
	bool got;
	struct err err;
};

static int unary_message(void *arg, struct str message)
{
	struct unary *unary = arg;

	if (unary->got)
		return err_set(&unary->err, CODE_INTERNAL, "%s: more than one response",
		               unary->call->method);
	unary->got = true;
	return pb_decode_msg(unary->arena, unary->call->response_desc, unary->response, message.p,
	                     message.len, unary->call->method, &unary->err);
}

int grpc_client_unary(struct grpc_client *client, const struct grpc_client_call *call,
                      struct pb_arena *arena, void *response, struct err *err)
{
	struct unary unary = { .call = call, .arena = arena, .response = response };

	if (do_call(client, call, unary_message, &unary, err) < 0)
		return -1;
	if (!unary.err.code && !unary.got)
		err_set(&unary.err, CODE_INTERNAL, "%s: no response", call->method);
	if (unary.err.code) {
		*err = unary.err;
		return -1;
	}
	return 0;
}

struct stream_call {
	const struct grpc_client_call *call;
	struct pb_arena *arena;
	void *message;
	int (*on_message)(void *arg, const void *message);
	void *arg;
	struct err err;
};

static int stream_message(void *arg, struct str message)
{
	struct stream_call *stream = arg;

	pb_arena_reset(stream->arena);
	if (pb_decode_msg(stream->arena, stream->call->response_desc, stream->message, message.p,
	                  message.len, stream->call->method, &stream->err) < 0)
		return -1;
	return stream->on_message(stream->arg, stream->message);
}

int grpc_client_stream(struct grpc_client *client, const struct grpc_client_call *call,
                       void *message, int (*on_message)(void *arg, const void *message), void *arg,
                       struct err *err)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ARENA_BYTES);
	struct stream_call stream = { .call = call,
		                      .arena = arena,
		                      .message = message,
		                      .on_message = on_message,
		                      .arg = arg };

	if (do_call(client, call, stream_message, &stream, err) < 0)
		return -1;
	if (stream.err.code) {
		*err = stream.err;
		return -1;
	}
	return 0;
}

/* --- connection */

struct grpc_client *grpc_client_new(const char *path, struct err *err)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
	};
	nghttp2_session_callbacks *callbacks;
	struct grpc_client *client;
	int fd = unix_connect(path, SOCK_STREAM);

	if (fd < 0) {
		err_sys(err, -fd, "connect to %s", path);
		err->code = CODE_UNAVAILABLE;
		return NULL;
	}
	client = xcalloc(1, sizeof(*client));
	client->fd = fd;
	client->cancel_fd = -1;
	client->path = xstrdup(path);
	ensure(fd_set_nonblock(fd, true) == 0);

	ensure(nghttp2_session_callbacks_new(&callbacks) == 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	ensure(nghttp2_session_client_new(&client->session, callbacks, client) == 0);
	nghttp2_session_callbacks_del(callbacks);
	ensure(nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings,
	                               ARRAY_SIZE(settings)) == 0);
	ensure(nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0,
	                                             CONNECTION_WINDOW_BYTES) == 0);
	return client;
}

void grpc_client_cancel_on(struct grpc_client *client, int fd)
{
	client->cancel_fd = fd;
}

void grpc_client_free(struct grpc_client *client)
{
	if (!client)
		return;
	nghttp2_session_del(client->session);
	close(client->fd);
	free(client->path);
	free(client);
}
