/* cri/grpc/client.h
 *
 * The other end, for `coracle ctl` and live checks: one connection to a unix socket, one call at a
 * time, blocking with a deadline. For one-shot programs only: the daemon never uses it.
 */
#ifndef CORACLE_CRI_GRPC_CLIENT_H
#define CORACLE_CRI_GRPC_CLIENT_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/pb.h"

struct grpc_client;

/* Connects at once. @path: of the socket. Errors: UNAVAILABLE naming the path and why (nobody
 * listens, no such file ...). */
NODISCARD struct grpc_client *grpc_client_new(const char *path, struct err *err);
void grpc_client_free(struct grpc_client *client);
/* From now on a call ends with CANCELLED once @fd is readable (a signalfd, say); -1: no longer. The
 * descriptor is borrowed. */
void grpc_client_cancel_on(struct grpc_client *client, int fd);

struct grpc_client_call {
	const char *method; /* "/runtime.v1.RuntimeService/Version" */
	const pb_msgdesc_t *request_desc;
	const void *request;
	const pb_msgdesc_t *response_desc;
	int64_t timeout_ms; /* <= 0: none */
};

/*
 * grpc_client_unary - one request, one response.
 * @response: struct of response_desc; its memory is in @arena.
 * Errors:    the server's status (code and message); UNAVAILABLE when the connection breaks;
 *            DEADLINE_EXCEEDED; INTERNAL when the server breaks the protocol.
 */
NODISCARD int grpc_client_unary(struct grpc_client *client, const struct grpc_client_call *call,
                                struct pb_arena *arena, void *response, struct err *err);

/*
 * grpc_client_stream - one request, any number of responses.
 * @on_message: called for each, decoded in an arena that is reset afterwards. Non-zero ends the
 *              call early (the server is told), which is then no error.
 * @message:    scratch struct of response_desc, handed to @on_message.
 * Returns:     0 when the server ended with OK or @on_message ended it.
 */
NODISCARD int grpc_client_stream(struct grpc_client *client, const struct grpc_client_call *call,
                                 void *message, int (*on_message)(void *arg, const void *message),
                                 void *arg, struct err *err);

DEFINE_CLEANUP_PTR(struct grpc_client, grpc_client_free);

#endif
