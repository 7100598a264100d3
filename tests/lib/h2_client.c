#include "tests/lib/h2_client.h"

#include <stdarg.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"

struct pending_body {
	struct buf data;
	size_t sent, frame;
	bool end, deferred;
};

struct h2_client {
	struct h2_server server;
	nghttp2_session *session;
	struct h2_reply replies[H2_STREAMS];
	struct pending_body bodies[H2_STREAMS];
	bool gave_up, goaway;
	uint32_t goaway_code;
	char goaway_debug[128];
};

static size_t slot(int32_t stream)
{
	ensure(stream > 0 && stream / 2 < H2_STREAMS);
	return (size_t)stream / 2;
}

static int on_header(nghttp2_session *session UNUSED, const nghttp2_frame *frame,
                     const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
                     uint8_t flags UNUSED, void *user_data)
{
	struct h2_reply *reply = h2_reply(user_data, frame->hd.stream_id);
	struct str key = { (const char *)name, name_len },
		   text = { (const char *)value, value_len };
	uint64_t number;

	if (str_eq_c(key, ":status")) {
		ensure(str_u64(text, 999, &number) == 0);
		reply->http_status = (int)number;
	} else if (str_eq_c(key, "grpc-status")) {
		ensure(str_u64(text, 99, &number) == 0);
		reply->grpc_status = (int)number;
	} else if (str_eq_c(key, "grpc-message")) {
		ignore(str_format(reply->message, sizeof(reply->message), "%.*s",
		                  (int)MIN(value_len, (size_t)500), text.p));
	} else if (str_eq_c(key, "grpc-accept-encoding")) {
		ignore(str_format(reply->accept_encoding, sizeof(reply->accept_encoding), "%.*s",
		                  (int)value_len, text.p));
	}
	return 0;
}

static int on_frame(nghttp2_session *session UNUSED, const nghttp2_frame *frame, void *user_data)
{
	struct h2_client *client = user_data;

	if (frame->hd.type == NGHTTP2_HEADERS)
		h2_reply(client, frame->hd.stream_id)->heads++;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		client->goaway = true;
		client->goaway_code = frame->goaway.error_code;
		ignore(str_format(
			client->goaway_debug, sizeof(client->goaway_debug), "%.*s",
			(int)MIN(frame->goaway.opaque_data_len, sizeof(client->goaway_debug) - 1),
			(const char *)frame->goaway.opaque_data));
	}
	return 0;
}

static int on_data(nghttp2_session *session UNUSED, uint8_t flags UNUSED, int32_t stream,
                   const uint8_t *data, size_t len, void *user_data)
{
	ensure(buf_add(&h2_reply(user_data, stream)->body, data, len) == 0);
	return 0;
}

static int on_close(nghttp2_session *session UNUSED, int32_t stream, uint32_t code, void *user_data)
{
	struct h2_reply *reply = h2_reply(user_data, stream);

	reply->closed = true;
	reply->code = code;
	return 0;
}

static ssize_t on_read(nghttp2_session *session UNUSED, int32_t stream, uint8_t *buf, size_t size,
                       uint32_t *flags, nghttp2_data_source *source UNUSED, void *user_data)
{
	struct h2_client *client = user_data;
	struct pending_body *body = &client->bodies[slot(stream)];
	size_t n = MIN(size, body->data.len - body->sent);

	if (body->frame)
		n = MIN(n, body->frame);
	if (n == 0 && !body->end) {
		body->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n)
		memcpy(buf, body->data.data + body->sent, n);
	body->sent += n;
	if (body->end && body->sent == body->data.len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

struct h2_client *h2_client_new(const struct h2_server *server, const struct h2_options *options)
{
	struct h2_client *client = xcalloc(1, sizeof(*client));
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	nghttp2_settings_entry entry = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535 };

	client->server = *server;
	for (size_t i = 0; i < H2_STREAMS; i++) {
		client->replies[i].grpc_status = -1;
		buf_init(&client->replies[i].body, 64 << 20);
		buf_init(&client->bodies[i].data, 64 << 20);
	}
	nghttp2_option_new(&option);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_peer_max_concurrent_streams(option, H2_STREAMS);
	if (options && options->manual_window)
		nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_client_new2(&client->session, callbacks, client, option);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	if (options && options->window_bytes)
		entry.value = options->window_bytes;
	nghttp2_submit_settings(client->session, 0, &entry, 1);
	return client;
}

void h2_client_free(struct h2_client *client)
{
	if (!client)
		return;
	nghttp2_session_del(client->session);
	for (size_t i = 0; i < H2_STREAMS; i++) {
		buf_release(&client->replies[i].body);
		buf_release(&client->bodies[i].data);
	}
	free(client);
}

void h2_raw(struct h2_client *client, const void *data, size_t len)
{
	if (!client->gave_up && client->server.recv(client->server.arg, data, len) < 0)
		client->gave_up = true;
}

void h2_pump(struct h2_client *client)
{
	const uint8_t *data;
	bool moved = true;

	while (moved) {
		ssize_t n;
		size_t len;

		moved = false;
		while ((n = nghttp2_session_mem_send(client->session, &data)) > 0) {
			h2_raw(client, data, (size_t)n);
			moved = true;
		}
		while ((len = client->server.send(client->server.arg, &data)) > 0) {
			ignore(nghttp2_session_mem_recv(client->session, data, len));
			moved = true;
		}
	}
}

static int32_t submit(struct h2_client *client, const nghttp2_nv *nva, size_t n, bool end)
{
	int32_t stream = nghttp2_submit_request(
		client->session, NULL, nva, n,
		end ? NULL : &(nghttp2_data_provider){ .read_callback = on_read }, NULL);

	ensure(stream > 0);
	return stream;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
		             strlen(value), 0 };
}

int32_t h2_request(struct h2_client *client, int end, ...)
{
	nghttp2_nv nva[32];
	size_t n = 0;
	const char *name;
	va_list ap;

	va_start(ap, end);
	while ((name = va_arg(ap, const char *))) {
		ensure(n < ARRAY_SIZE(nva));
		nva[n++] = nv(name, va_arg(ap, const char *));
	}
	va_end(ap);
	return submit(client, nva, n, end);
}

void h2_body(struct h2_client *client, int32_t stream, const void *data, size_t len, size_t frame,
             bool end)
{
	struct pending_body *body = &client->bodies[slot(stream)];

	ensure(buf_add(&body->data, data, len) == 0);
	body->frame = frame;
	body->end = end;
	if (body->deferred)
		ignore(nghttp2_session_resume_data(client->session, stream));
	body->deferred = false;
}

int32_t h2_call(struct h2_client *client, const char *path, const char *timeout,
                const void *message, size_t len)
{
	uint8_t prefix[5] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
		              (uint8_t)len };
	nghttp2_nv nva[] = {
		nv(":method", "POST"),
		nv(":scheme", "http"),
		nv(":path", path),
		nv(":authority", "localhost"),
		nv("content-type", "application/grpc"),
		nv("user-agent", "grpc-go/1.83.0"),
		nv("te", "trailers"),
		nv("grpc-timeout", timeout ? timeout : ""),
	};
	int32_t stream = submit(client, nva, ARRAY_SIZE(nva) - !timeout, false);

	h2_body(client, stream, prefix, sizeof(prefix), 0, false);
	h2_body(client, stream, message, len, 0, true);
	return stream;
}

void h2_reset(struct h2_client *client, int32_t stream, uint32_t code)
{
	nghttp2_submit_rst_stream(client->session, 0, stream, code);
}

void h2_ping(struct h2_client *client)
{
	nghttp2_submit_ping(client->session, 0, NULL);
}

void h2_settings(struct h2_client *client, size_t entries)
{
	nghttp2_settings_entry entry[64];

	ensure(entries <= ARRAY_SIZE(entry));
	for (size_t i = 0; i < entries; i++)
		entry[i] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 65535 };
	nghttp2_submit_settings(client->session, 0, entry, entries);
}

void h2_credit(struct h2_client *client, int32_t stream, size_t bytes)
{
	ignore(nghttp2_submit_window_update(client->session, 0, stream, (int32_t)bytes));
	ignore(nghttp2_submit_window_update(client->session, 0, 0, (int32_t)bytes));
}

struct h2_reply *h2_reply(struct h2_client *client, int32_t stream)
{
	return &client->replies[slot(stream)];
}

bool h2_goaway(const struct h2_client *client, uint32_t *ret_code, const char **ret_debug)
{
	*ret_code = client->goaway_code;
	*ret_debug = client->goaway_debug;
	return client->goaway;
}

bool h2_server_gave_up(const struct h2_client *client)
{
	return client->gave_up;
}
