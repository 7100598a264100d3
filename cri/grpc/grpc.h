/* cri/grpc/grpc.h
 *
 * gRPC calls: what a handler of cri/rpc sees. A call is born from an HTTP/2 stream, carries one
 * request message and takes one answer: grpc_reply(), grpc_fail(), or for server streaming any
 * number of grpc_stream_send() and one grpc_finish().
 *
 * Thread:    loop only. A worker or child gets copies; its completion answers on the loop.
 * Ownership: from dispatch until it has answered, the handler holds the call: the pointer stays
 *            valid even when the client cancels, its deadline passes or its connection breaks, and
 *            answering is then a no-op on the wire. Every call must be answered exactly once; after
 *            that the pointer is dead for the handler. So a handler needs no reference count, and
 *            work that nobody waits for any more still counts against the limits until it has
 *            ended.
 * Memory:    request bytes and decoded request live as long as the call (grpc_arena). Answers are
 *            encoded before grpc_reply() and grpc_stream_send() return, so the message may be on
 *            the stack or in grpc_scratch().
 */
#ifndef CORACLE_CRI_GRPC_GRPC_H
#define CORACLE_CRI_GRPC_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/loop/listener.h"
#include "core/loop/loop.h"

struct grpc_call;

/* One method. Rows of a service table begin with this, so that grpc_method() leads back to the
 * row. */
struct grpc_method {
	const char *path; /* "/runtime.v1.RuntimeService/Version" */
	bool streaming;   /* server streaming */
};

/* --- facts */
const struct grpc_method *grpc_method(const struct grpc_call *call);
const char *grpc_method_name(const struct grpc_call *call); /* "Version" */
const struct listener_peer *grpc_peer(const struct grpc_call *call);
/* The request message as it came, e.g. to keep it opaque in a record. */
struct str grpc_request_bytes(const struct grpc_call *call);
/* When its head arrived, and when the client stops waiting (INT64_MAX: never); clock_boot_ns
 * scale. */
int64_t grpc_started_ns(const struct grpc_call *call);
int64_t grpc_deadline_ns(const struct grpc_call *call);
/* Memory of the decoded request, within the budget of its wire size. */
struct pb_arena *grpc_arena(struct grpc_call *call);
/* Memory for building answers, 64 MiB at most; made on first use. */
struct pb_arena *grpc_scratch(struct grpc_call *call);

/* --- the client lost interest */
/* CODE_OK while somebody waits; else CANCELLED (reset, connection gone), DEADLINE_EXCEEDED,
 * UNAVAILABLE (we are stopping). */
enum code grpc_cancelled(const struct grpc_call *call);
/*
 * grpc_on_cancel - ask to be told once when the call is cancelled; at once if it is already.
 * @fn: may answer the call. NULL withdraws. Not called after the answer.
 */
void grpc_on_cancel(struct grpc_call *call, void (*fn)(void *arg, struct grpc_call *call),
                    void *arg);

/* --- unary answers; each ends the handler's hold on the call */
/* A message larger than 16 MiB turns into RESOURCE_EXHAUSTED, text that is not UTF-8 into INTERNAL:
 * the peer gets a clear error. */
void grpc_reply(struct grpc_call *call, const pb_msgdesc_t *desc, const void *message);
/* Encoded already (cached encodings); takes the contents of @message, which is empty afterwards. */
void grpc_reply_bytes(struct grpc_call *call, struct buf *message);
/* The status the peer sees is @err's; CODE_OK is a mistake and goes out as UNKNOWN. */
void grpc_fail(struct grpc_call *call, const struct err *err);

/* --- server streaming */
/*
 * grpc_stream_send - queue one message.
 * Returns: 0; -1 with @err set when it was not queued: CANCELLED and the like, RESOURCE_EXHAUSTED
 *          (too large, or the client reads too slowly and its queue is full). The stream stays
 *          open: decide, then grpc_finish() or grpc_fail().
 */
NODISCARD int grpc_stream_send(struct grpc_call *call, const pb_msgdesc_t *desc,
                               const void *message, struct err *err);
NODISCARD int grpc_stream_send_bytes(struct grpc_call *call, struct buf *message, struct err *err);
/* More than 256 KiB wait to be read by the client: better send when told. */
bool grpc_stream_above_mark(const struct grpc_call *call);
/* @fn is called each time the queue falls below 64 KiB after it was above the mark. NULL
 * withdraws. */
void grpc_on_drain(struct grpc_call *call, void (*fn)(void *arg, struct grpc_call *call),
                   void *arg);
/* All was said: status OK behind what is queued. Ends the handler's hold. */
void grpc_finish(struct grpc_call *call);

/*
 * --- the other side: what server.c builds on. Handlers need nothing below.
 */

struct grpc;      /* shared by all connections: budgets, counters, the handler of calls */
struct grpc_conn; /* one HTTP/2 connection, without I/O */

/* Zero members mean the default. */
struct grpc_limits {
	size_t max_message_bytes;   /* 16 MiB, both directions */
	size_t receive_total_bytes; /* 32 MiB: request bytes of all calls together */
	size_t send_total_bytes;    /* 128 MiB: unsent answer bytes of all calls together */
	size_t stream_queue_bytes;  /* 32 MiB: unsent bytes of one streaming call */
	size_t max_calls;   /* 1024: calls of all connections, until their handlers have answered */
	int64_t request_ms; /* 30 s: from head to end of the request message */
	int64_t stall_ms;   /* 60 s: an answered call whose client takes no byte is reset */
};

struct grpc_handler {
	/* A head arrived; its body is unread. NULL with @err set refuses the call at once. */
	const struct grpc_method *(*admit)(void *arg, struct str path, struct err *err);
	/* The request message is complete. The callee now holds the call. */
	void (*dispatch)(void *arg, struct grpc_call *call);
	void *arg;
	/* An admitted call has its answer, or its end without one: for logs and counters. NULL: not
	 * wanted. */
	void (*answered)(void *arg, const struct grpc_call *call, enum code code, const char *text);
};

/* Counters since start, for dump and metrics. */
struct grpc_stats {
	uint64_t calls, failed, cancelled, refused;
	size_t live, received_bytes, unsent_bytes; /* now */
};

NODISCARD struct grpc *grpc_new(struct loop *loop, const struct grpc_handler *handler,
                                const struct grpc_limits *limits);
/* Every connection must have been freed. Calls whose handler has not answered are freed: end what
 * could still answer first. */
void grpc_free(struct grpc *grpc);
struct grpc_stats grpc_stats(const struct grpc *grpc);

struct grpc_conn_ops {
	/* grpc_conn_send() may have something; never called inside of recv and send */
	void (*on_output)(void *arg);
};
NODISCARD struct grpc_conn *grpc_conn_new(struct grpc *grpc, const struct listener_peer *peer,
                                          const struct grpc_conn_ops *ops, void *arg);
void grpc_conn_free(struct grpc_conn *conn); /* cancels its calls */
/* As http2_recv, http2_send, http2_done and so on. */
NODISCARD int grpc_conn_recv(struct grpc_conn *conn, const void *data, size_t len, struct err *err);
size_t grpc_conn_send(struct grpc_conn *conn, const uint8_t **ret_data);
bool grpc_conn_done(const struct grpc_conn *conn);
bool grpc_conn_greeted(const struct grpc_conn *conn);
bool grpc_conn_mid_head(const struct grpc_conn *conn);
/* No new calls; streaming calls end with UNAVAILABLE, unary ones are finished. */
void grpc_conn_drain(struct grpc_conn *conn);
void grpc_conn_last_call(struct grpc_conn *conn);
/* Every call that is left is answered UNAVAILABLE @why, then the connection ends. */
void grpc_conn_dismiss(struct grpc_conn *conn, const char *why);
size_t grpc_conn_calls(const struct grpc_conn *conn);

/* Shared with the client: the wire forms. */
#define GRPC_PREFIX_BYTES 5 /* u8 compressed, u32 length (big-endian) */
/* "20S", "1993580u" -> nanoseconds from now; INT64_MAX when it does not fit. -1: malformed. */
NODISCARD int grpc_timeout_parse(struct str text, int64_t *ret_ns);
/* Text for the grpc-message field: UTF-8 repaired, cut at 4 KiB on a character, percent encoded. */
NODISCARD int grpc_message_encode(struct buf *out, struct str text);
/* The reverse; what is not a valid escape stays as it is. */
NODISCARD int grpc_message_decode(struct buf *out, struct str text);

#endif
