/* cri/grpc/http2.c
 *
 * The glue round one nghttp2 server session. nghttp2's own HTTP checks are off: they refuse
 * authorities that real gRPC clients send over unix sockets (raw paths, none at all). So what makes
 * a head well-formed is judged here, and the rest of the rules (method, content type, timeouts) by
 * grpc.c.
 *
 * Heads cannot interleave on a connection, hence one scratch space per session collects the head
 * that is arriving.
 */
#include "cri/grpc/http2.h"

#include <string.h>

#include <nghttp2/nghttp2.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/mem.h"

enum {
	/* What is announced. A kubelet with 250 pods and parallel pulls stays below 100 streams. */
	MAX_STREAMS = 100,
	STREAM_WINDOW_BYTES = 256 * 1024,
	CONNECTION_WINDOW_BYTES = 1024 * 1024,
	/* name + value + 32 for each field, as RFC 9113 counts; also what the scratch space must
	 * hold. */
	HEAD_BYTES = 16 * 1024,
	HEAD_FIELDS = HEAD_BYTES / 32,

	MAX_SETTINGS_ENTRIES = 16,
	MAX_CONTINUATIONS = 4,
	MAX_QUEUED_ACKS = 128,
	/* Streams the client resets: open-and-reset loops cost it nothing and us a handler each. */
	CLIENT_RESETS_BURST = 200,
	CLIENT_RESETS_PER_S = 20,
};

/* A token bucket in one number: the time at which it would be full again. Zero is a full bucket. */
struct bucket {
	int64_t full_ns;
};

struct bucket_size {
	int64_t burst, per_s;
};

/* Frames that make us work or answer without being a request. */
static const struct bucket_size glitch_size = {
	200, 20
}; /* invalid frames, and resets that we had to send */
static const struct bucket_size ping_size = { 10,
	                                      1 }; /* refilled whenever we send a head or data: */
/* grpc-go measures bandwidth with a ping for them */
static const struct bucket_size settings_size = {
	32, 2
}; /* grpc-go sends one as its window estimate grows */
static const struct bucket_size empty_data_size = {
	100, 10
}; /* DATA without a byte and without an end */

struct head {
	int32_t stream_id;
	bool trailers, malformed, too_big;
	size_t counted_bytes; /* as HEAD_BYTES counts */
	bool has_method, has_scheme, has_path, regular_seen;
	unsigned int authorities, hosts;
	struct http2_request request;
	size_t text_len;
	/* from here on guarded by the counters above, never cleared */
	struct http2_field fields[HEAD_FIELDS];
	char text[HEAD_BYTES];
};

struct http2_stream {
	struct list link; /* http2.streams */
	struct http2 *h2;
	int32_t id;
	void *owner;
	bool body_ended;        /* the client half-closed */
	int64_t content_length; /* -1: not announced */
	int64_t body_bytes;
	char *trailer_text; /* backs trailer_fields */
	nghttp2_nv *trailer_fields;
	size_t ntrailers;
};

struct http2 {
	nghttp2_session *session;
	const struct http2_ops *ops;
	void *arg;
	struct list streams;
	struct head *head;
	struct bucket glitches, pings, settings, empty_data;
	int inside;    /* in recv or send: what is queued goes out anyway */
	bool greeted;  /* the client's SETTINGS arrived */
	bool mid_head; /* HEADERS without its end yet */
	bool draining, last_call;
	bool aborting; /* our GOAWAY with an error is queued: input no longer matters */
	bool aborted;  /* and it was sent */
	bool broken;   /* nghttp2 gave up */
	char why[160];
};

static const uint8_t farewell_ping[8] = { 'f', 'a', 'r', 'e', 'w', 'e', 'l', 'l' };

static bool bucket_take(struct bucket *bucket, const struct bucket_size *size)
{
	int64_t token_ns = NS_PER_S / size->per_s;
	int64_t now_ns = clock_boot_ns();

	if (bucket->full_ns < now_ns)
		bucket->full_ns = now_ns;
	if (bucket->full_ns - now_ns > (size->burst - 1) * token_ns)
		return false;
	bucket->full_ns += token_ns;
	return true;
}

static void notify(struct http2 *h2)
{
	if (!h2->inside)
		h2->ops->on_output(h2->arg);
}

const struct http2_field *http2_request_field(const struct http2_request *request, const char *name)
{
	for (size_t i = 0; i < request->nfields; i++)
		if (str_eq_c(request->fields[i].name, name))
			return &request->fields[i];
	return NULL;
}

/* --- heads */

static void head_begin(struct head *head, int32_t stream_id, bool trailers)
{
	memset(head, 0, offsetof(struct head, fields));
	head->stream_id = stream_id;
	head->trailers = trailers;
	head->request.fields = head->fields;
}

static struct str head_keep(struct head *head, const uint8_t *bytes, size_t len)
{
	struct str kept = { head->text + head->text_len, len };

	memcpy(head->text + head->text_len, bytes, len);
	head->text_len += len;
	return kept;
}

/* false: the head is malformed */
static bool head_add_pseudo(struct head *head, struct str name, const uint8_t *value, size_t len)
{
	struct http2_request *request = &head->request;
	struct str *slot;
	bool *seen = NULL;

	if (head->regular_seen)
		return false;
	if (str_eq_c(name, ":method")) {
		slot = &request->method;
		seen = &head->has_method;
	} else if (str_eq_c(name, ":scheme")) {
		slot = &request->scheme;
		seen = &head->has_scheme;
	} else if (str_eq_c(name, ":path")) {
		slot = &request->path;
		seen = &head->has_path;
	} else if (str_eq_c(name, ":authority")) {
		slot = &request->authority;
		head->authorities++;
	} else {
		return false;
	}
	if (seen && *seen)
		return false;
	if (seen)
		*seen = true;
	*slot = head_keep(head, value, len);
	return true;
}

static bool head_add_regular(struct head *head, struct str name, const uint8_t *value, size_t len)
{
	/* fields that speak of one HTTP/1 connection have no meaning here and hide smuggled
	 * requests */
	static const char *const forbidden[] = { "connection", "keep-alive", "proxy-connection",
		                                 "transfer-encoding", "upgrade" };
	struct http2_request *request = &head->request;
	struct http2_field *field = &head->fields[request->nfields];

	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
		if (str_eq_c(name, forbidden[i]))
			return false;
	if (str_eq_c(name, "te") && !str_eq_c((struct str){ (const char *)value, len }, "trailers"))
		return false;

	head->regular_seen = true;
	head->hosts += str_eq_c(name, "host");
	field->name = head_keep(head, (const uint8_t *)name.p, name.len);
	field->value = head_keep(head, value, len);
	request->nfields++;
	return true;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags UNUSED,
                     void *user_data)
{
	struct http2 *h2 = user_data;
	struct head *head = h2->head;
	struct str key = { (const char *)name, name_len };

	ignore(session);
	if (frame->hd.type != NGHTTP2_HEADERS || frame->hd.stream_id != head->stream_id ||
	    head->malformed || head->too_big)
		return 0;

	head->counted_bytes += name_len + value_len + 32;
	if (head->counted_bytes > HEAD_BYTES) {
		head->too_big = true;
		return 0;
	}
	if (head->trailers) /* counted, not kept: gRPC clients have nothing to say there */
		return 0;
	if (!nghttp2_check_header_name(name, name_len) ||
	    !nghttp2_check_header_value(value, value_len))
		head->malformed = true;
	else if (key.p[0] == ':')
		head->malformed = !head_add_pseudo(head, key, value, value_len);
	else
		head->malformed = !head_add_regular(head, key, value, value_len);
	return 0;
}

static bool head_valid(struct head *head, int64_t *ret_content_length)
{
	const struct http2_field *length = http2_request_field(&head->request, "content-length");
	uint64_t bytes;

	*ret_content_length = -1;
	if (head->malformed || !head->has_method || !head->has_scheme || !head->has_path)
		return false;
	if (length) {
		if (str_u64(length->value, INT64_MAX, &bytes) < 0)
			return false;
		*ret_content_length = (int64_t)bytes;
	}
	head->request.many_authorities = head->authorities > 1 || head->hosts > 1;
	return true;
}

/* --- streams */

static struct http2_stream *stream_open(struct http2 *h2, int32_t id)
{
	struct http2_stream *stream = xcalloc(1, sizeof(*stream));

	stream->h2 = h2;
	stream->id = id;
	stream->content_length = -1;
	list_push_back(&h2->streams, &stream->link);
	return stream;
}

static void stream_drop(struct http2_stream *stream, uint32_t code)
{
	void *owner = stream->owner;
	const struct http2_ops *ops = stream->h2->ops;

	list_remove(&stream->link);
	stream->owner = NULL;
	if (owner)
		ops->on_close(owner, code);
	free(stream->trailer_text);
	free(stream->trailer_fields);
	free(stream);
}

static struct http2_stream *stream_find(struct http2 *h2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h2->session, id);
}

void http2_stream_own(struct http2_stream *stream, void *owner)
{
	ensure(!stream->owner);
	stream->owner = owner;
}

void http2_reset(struct http2_stream *stream, enum http2_code code)
{
	ensure(nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id,
	                                 code) == 0);
	notify(stream->h2);
}

static void body_end(struct http2_stream *stream)
{
	stream->body_ended = true;
	if (stream->content_length >= 0 && stream->body_bytes != stream->content_length) {
		http2_reset(stream, HTTP2_PROTOCOL_ERROR);
		return;
	}
	if (stream->owner)
		stream->h2->ops->on_body_end(stream->owner);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	struct http2 *h2 = user_data;
	bool request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	head_begin(h2->head, frame->hd.stream_id, !request);
	h2->mid_head = true;
	if (request)
		nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
		                                     stream_open(h2, frame->hd.stream_id));
	return 0;
}

static void head_received(struct http2 *h2, struct http2_stream *stream, bool end)
{
	struct head *head = h2->head;

	if (head->too_big) {
		http2_reset(stream, HTTP2_ENHANCE_YOUR_CALM);
	} else if (head->trailers) {
		if (end)
			body_end(stream);
		else
			http2_reset(stream, HTTP2_PROTOCOL_ERROR);
	} else if (!head_valid(head, &stream->content_length)) {
		http2_reset(stream, HTTP2_PROTOCOL_ERROR);
	} else {
		/* an answer given in on_request needs to know that nothing more will come */
		stream->body_ended = end;
		h2->ops->on_request(h2->arg, stream, &head->request);
		if (end)
			body_end(stream);
	}
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
	struct http2 *h2 = user_data;

	ignore(session);
	/* nghttp2 lets nothing but CONTINUATION follow an unfinished head */
	if (hd->type != NGHTTP2_CONTINUATION)
		h2->mid_head = false;
	return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	struct http2 *h2 = user_data;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct http2_stream *stream;

	ignore(session);
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		h2->mid_head = false;
		stream = stream_find(h2, frame->hd.stream_id);
		if (stream && h2->head->stream_id == frame->hd.stream_id)
			head_received(h2, stream, end);
		break;
	case NGHTTP2_DATA:
		stream = stream_find(h2, frame->hd.stream_id);
		if (stream && end)
			body_end(stream);
		if (!end && frame->hd.length <= frame->data.padlen &&
		    !bucket_take(&h2->empty_data, &empty_data_size))
			http2_abort(h2, HTTP2_ENHANCE_YOUR_CALM, "too many empty frames");
		break;
	case NGHTTP2_SETTINGS:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			break;
		h2->greeted = true;
		if (!bucket_take(&h2->settings, &settings_size))
			http2_abort(h2, HTTP2_ENHANCE_YOUR_CALM, "too many settings");
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
			if (h2->draining && memcmp(frame->ping.opaque_data, farewell_ping,
			                           sizeof(farewell_ping)) == 0)
				http2_last_call(h2);
		} else if (!bucket_take(&h2->pings, &ping_size)) {
			/* grpc-go looks for exactly this text and then doubles its keepalive
			 * interval */
			http2_abort(h2, HTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
		}
		break;
	default:
		break;
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags UNUSED, int32_t stream_id,
                   const uint8_t *data, size_t len, void *user_data)
{
	struct http2 *h2 = user_data;
	struct http2_stream *stream = stream_find(h2, stream_id);

	ignore(session);
	if (!stream)
		return 0;
	stream->body_bytes += (int64_t)len;
	if (stream->content_length >= 0 && stream->body_bytes > stream->content_length)
		http2_reset(stream, HTTP2_PROTOCOL_ERROR);
	else if (stream->owner)
		h2->ops->on_body(stream->owner, data, len);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code,
                           void *user_data)
{
	struct http2_stream *stream = stream_find(user_data, stream_id);

	if (!stream)
		return 0;
	nghttp2_session_set_stream_user_data(session, stream_id, NULL);
	stream_drop(stream, code);
	return 0;
}

static void glitch(struct http2 *h2)
{
	if (!bucket_take(&h2->glitches, &glitch_size))
		http2_abort(h2, HTTP2_ENHANCE_YOUR_CALM, "too many protocol violations");
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame UNUSED,
                            int code UNUSED, void *user_data)
{
	ignore(session);
	glitch(user_data);
	return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	struct http2 *h2 = user_data;
	struct http2_stream *stream;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		h2->pings = (struct bucket){ 0 };
		stream = stream_find(h2, frame->hd.stream_id);
		/* Answered before the client had said everything: tell it not to bother. It has to
		 * wait until the answer is out, since nghttp2 drops queued frames of a stream that
		 * is being reset. */
		if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !stream->body_ended)
			nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id,
			                          NGHTTP2_NO_ERROR);
		break;
	case NGHTTP2_DATA:
		h2->pings = (struct bucket){ 0 };
		break;
	case NGHTTP2_RST_STREAM:
		/* frames made to provoke our resets are as good a flood as the client's own
		 * resets */
		if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
		    frame->rst_stream.error_code != NGHTTP2_CANCEL)
			glitch(h2);
		break;
	case NGHTTP2_GOAWAY:
		if (h2->aborting)
			h2->aborted = true;
		break;
	default:
		break;
	}
	return 0;
}

static int on_library_error(nghttp2_session *session, int code UNUSED, const char *text, size_t len,
                            void *user_data)
{
	struct http2 *h2 = user_data;

	ignore(session);
	if (!h2->why[0])
		ignore(str_format(h2->why, sizeof(h2->why), "%.*s",
		                  (int)MIN(len, sizeof(h2->why) - 1), text));
	return 0;
}

/* --- the session */

struct http2 *http2_new(const struct http2_ops *ops, void *arg)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MAX_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_BYTES },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};
	struct http2 *h2 = xcalloc(1, sizeof(*h2));
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	ensure(ops->on_request && ops->on_body && ops->on_body_end && ops->on_writable &&
	       ops->on_close && ops->on_output);
	h2->ops = ops;
	h2->arg = arg;
	h2->head = xcalloc(1, sizeof(*h2->head));
	list_init(&h2->streams);

	ensure(nghttp2_option_new(&option) == 0);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_max_settings(option, MAX_SETTINGS_ENTRIES);
	nghttp2_option_set_max_outbound_ack(option, MAX_QUEUED_ACKS);
	nghttp2_option_set_max_continuations(option, MAX_CONTINUATIONS);
	nghttp2_option_set_stream_reset_rate_limit(option, CLIENT_RESETS_BURST,
	                                           CLIENT_RESETS_PER_S);

	ensure(nghttp2_session_callbacks_new(&callbacks) == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
	nghttp2_session_callbacks_set_error_callback2(callbacks, on_library_error);
	ensure(nghttp2_session_server_new2(&h2->session, callbacks, h2, option) == 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);

	ensure(nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
	                               ARRAY_SIZE(settings)) == 0);
	ensure(nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
	                                             CONNECTION_WINDOW_BYTES) == 0);
	return h2;
}

void http2_free(struct http2 *h2)
{
	if (!h2)
		return;
	h2->inside++; /* nobody will fetch output any more */
	while (!list_empty(&h2->streams))
		stream_drop(list_entry(h2->streams.next, struct http2_stream, link), HTTP2_CANCEL);
	nghttp2_session_del(h2->session);
	free(h2->head);
	free(h2);
}

int http2_recv(struct http2 *h2, const void *data, size_t len, struct err *err)
{
	ssize_t n;

	ensure(!h2->inside);
	if (h2->broken)
		return err_set(err, CODE_INTERNAL, "connection has failed before");
	if (h2->aborting)
		return 0;
	h2->inside++;
	n = nghttp2_session_mem_recv(h2->session, data, len);
	h2->inside--;
	if (n < 0) {
		h2->broken = true;
		return err_set(err, CODE_INTERNAL, "HTTP/2: %s",
		               h2->why[0] ? h2->why : nghttp2_strerror((int)n));
	}
	return 0;
}

size_t http2_send(struct http2 *h2, const uint8_t **ret_data)
{
	ssize_t n;

	ensure(!h2->inside);
	if (h2->aborted)
		return 0;
	h2->inside++;
	n = nghttp2_session_mem_send(h2->session, ret_data);
	h2->inside--;
	if (n < 0) {
		h2->broken = true;
		return 0;
	}
	return (size_t)n;
}

bool http2_done(const struct http2 *h2)
{
	if (h2->broken || h2->aborted)
		return true;
	if (h2->draining && !h2->last_call) /* a request may be on its way */
		return false;
	return !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session);
}

bool http2_greeted(const struct http2 *h2)
{
	return h2->greeted;
}

bool http2_mid_head(const struct http2 *h2)
{
	return h2->mid_head;
}

void http2_drain(struct http2 *h2)
{
	if (h2->draining || h2->aborting)
		return;
	h2->draining = true;
	ensure(nghttp2_submit_shutdown_notice(h2->session) == 0);
	ignore(nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE,
	                           farewell_ping)); /* last_call comes by timer, too */
	notify(h2);
}

void http2_last_call(struct http2 *h2)
{
	if (h2->last_call || h2->aborting)
		return;
	h2->draining = true;
	h2->last_call = true;
	ensure(nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
	                             nghttp2_session_get_last_proc_stream_id(h2->session),
	                             NGHTTP2_NO_ERROR, NULL, 0) == 0);
	notify(h2);
}

void http2_abort(struct http2 *h2, enum http2_code code, const char *why)
{
	if (h2->aborting)
		return;
	h2->aborting = true;
	ensure(nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
	                             nghttp2_session_get_last_proc_stream_id(h2->session), code,
	                             (const uint8_t *)why, strlen(why)) == 0);
	notify(h2);
}

/* --- responses */

static nghttp2_nv nv_of(struct str name, struct str value)
{
	/* nghttp2 does not write to them; its type lacks the const */
	return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p,
		             .namelen = name.len,
		             .value = (uint8_t *)(uintptr_t)value.p,
		             .valuelen = value.len };
}

static ssize_t on_read(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t size,
                       uint32_t *data_flags, nghttp2_data_source *source UNUSED, void *user_data)
{
	struct http2 *h2 = user_data;
	struct http2_stream *stream = stream_find(h2, stream_id);
	bool end = false;
	size_t n;

	if (!stream || !stream->owner)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = h2->ops->on_writable(stream->owner, buf, size, &end);
	if (end) {
		*data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		ensure(stream->trailer_fields);
		if (nghttp2_submit_trailer(session, stream_id, stream->trailer_fields,
		                           stream->ntrailers) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	} else if (n == 0) {
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

static void respond(struct http2_stream *stream, const struct http2_field *fields, size_t nfields,
                    const nghttp2_data_provider *body)
{
	nghttp2_nv nva[8];

	ensure(nfields <= ARRAY_SIZE(nva));
	for (size_t i = 0; i < nfields; i++)
		nva[i] = nv_of(fields[i].name, fields[i].value);
	ensure(nghttp2_submit_response(stream->h2->session, stream->id, nva, nfields, body) == 0);
	notify(stream->h2);
}

void http2_respond(struct http2_stream *stream, const struct http2_field *fields, size_t nfields)
{
	respond(stream, fields, nfields, &(nghttp2_data_provider){ .read_callback = on_read });
}

void http2_respond_only(struct http2_stream *stream, const struct http2_field *fields,
                        size_t nfields)
{
	respond(stream, fields, nfields, NULL);
}

void http2_trailers(struct http2_stream *stream, const struct http2_field *fields, size_t nfields)
{
	size_t bytes = 0;
	char *text;

	ensure(!stream->trailer_fields);
	for (size_t i = 0; i < nfields; i++)
		bytes += fields[i].name.len + fields[i].value.len;
	text = stream->trailer_text = xcalloc(1, bytes + 1);
	stream->trailer_fields = xcalloc(nfields, sizeof(*stream->trailer_fields));
	stream->ntrailers = nfields;
	for (size_t i = 0; i < nfields; i++) {
		struct http2_field kept = { { text, fields[i].name.len },
			                    { text + fields[i].name.len, fields[i].value.len } };

		memcpy(text, fields[i].name.p, fields[i].name.len);
		memcpy(text + fields[i].name.len, fields[i].value.p, fields[i].value.len);
		text += fields[i].name.len + fields[i].value.len;
		stream->trailer_fields[i] = nv_of(kept.name, kept.value);
	}
}

void http2_resume(struct http2_stream *stream)
{
	/* fails when nothing was deferred, which is as good */
	ignore(nghttp2_session_resume_data(stream->h2->session, stream->id));
	notify(stream->h2);
}
