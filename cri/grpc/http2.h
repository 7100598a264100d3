/* cri/grpc/http2.h
 *
 * One HTTP/2 server connection without I/O: bytes in, bytes out, requests told through struct
 * http2_ops. Framing, HPACK and windows are nghttp2's; what it leaves open is here: well-formed
 * request heads, limits on what a peer may cause (resets, pings, settings, empty frames, header
 * bytes), and the two-step farewell.
 *
 * Thread:    loop only.
 * Ownership: the session owns its streams. A struct http2_stream is borrowed from on_request until
 *            on_close returns; the owner given to http2_stream_own() is what the later callbacks
 *            carry.
 * Callbacks: run inside http2_recv(), http2_send() or http2_free(). They may call everything below
 *            but those three.
 */
#ifndef CORACLE_CRI_GRPC_HTTP2_H
#define CORACLE_CRI_GRPC_HTTP2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"

struct http2;
struct http2_stream;

struct http2_field {
	struct str name, value;
};

/* A request head. Everything is borrowed and gone when on_request returns. */
struct http2_request {
	struct str method, scheme, authority, path; /* pseudo fields; empty when absent */
	const struct http2_field *fields;           /* the others, in order of arrival */
	size_t nfields;
	bool many_authorities; /* more than one :authority or host */
};

/* The first field of that (lower-case) name, or NULL. */
const struct http2_field *http2_request_field(const struct http2_request *request,
                                              const char *name);

/* Error codes of RFC 9113, as in RST_STREAM and GOAWAY. */
enum http2_code {
	HTTP2_NO_ERROR = 0,
	HTTP2_PROTOCOL_ERROR = 1,
	HTTP2_INTERNAL_ERROR = 2,
	HTTP2_REFUSED_STREAM = 7,
	HTTP2_CANCEL = 8,
	HTTP2_ENHANCE_YOUR_CALM = 11,
};

struct http2_ops {
	/* A well-formed request head is complete; its body may follow. Answer now, or own the
	 * stream and answer later. */
	void (*on_request)(void *arg, struct http2_stream *stream,
	                   const struct http2_request *request);
	/* Of streams that have an owner: */
	void (*on_body)(void *owner, const uint8_t *data, size_t len);
	void (*on_body_end)(void *owner);
	/* Room for @size more response bytes. Returns how many were written to @buf; 0 without
	 * *ret_end means nothing now:
	 * http2_resume() tells when there is more. With *ret_end the trailers follow. */
	size_t (*on_writable)(void *owner, uint8_t *buf, size_t size, bool *ret_end);
	/* The stream is gone; the last word about it. @code is 0 when both sides finished. */
	void (*on_close)(void *owner, uint32_t code);
	/* There may be something to send now; never called inside http2_recv() or http2_send(). */
	void (*on_output)(void *arg);
};

NODISCARD struct http2 *http2_new(const struct http2_ops *ops, void *arg);
void http2_free(struct http2 *h2); /* on_close for every owned stream; NULL is fine */

/* Feed what arrived. -1: the connection is past saving (err names why); send what http2_send()
 * still yields, then close. */
NODISCARD int http2_recv(struct http2 *h2, const void *data, size_t len, struct err *err);
/* The next chunk to send, valid until the next call; 0: nothing now. */
size_t http2_send(struct http2 *h2, const uint8_t **ret_data);
/* Nothing more will be read or written: close the descriptor. */
bool http2_done(const struct http2 *h2);
/* The client's first SETTINGS arrived: it speaks HTTP/2. */
bool http2_greeted(const struct http2 *h2);
/* A head has begun whose end has not arrived; no other stream can progress meanwhile. */
bool http2_mid_head(const struct http2 *h2);

/* Farewell: tell the client to open no more streams (the ones already on their way are served until
 * its ping answer or http2_last_call()), then finish those that run. */
void http2_drain(struct http2 *h2);
void http2_last_call(struct http2 *h2);
/* End the connection with @code; @why goes out as debug data. */
void http2_abort(struct http2 *h2, enum http2_code code, const char *why);

/* --- one stream */
void http2_stream_own(struct http2_stream *stream, void *owner);
/* Head, then on_writable until its end, then trailers. Names and values are copied.
 * http2_trailers() may come any time before the end is reported. */
void http2_respond(struct http2_stream *stream, const struct http2_field *fields, size_t nfields);
void http2_trailers(struct http2_stream *stream, const struct http2_field *fields, size_t nfields);
/* Head and end of stream in one frame; an unread body is not waited for. */
void http2_respond_only(struct http2_stream *stream, const struct http2_field *fields,
                        size_t nfields);
void http2_resume(struct http2_stream *stream);
void http2_reset(struct http2_stream *stream, enum http2_code code);

#endif
