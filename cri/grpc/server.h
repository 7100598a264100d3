/* cri/grpc/server.h
 *
 * gRPC over sockets: accepts from listeners, moves bytes between descriptors and struct grpc_conn,
 * keeps the connection table and its caps, says goodbye. It knows no pod; what calls mean is the
 * handler's business (cri/rpc/service.h).
 *
 * Thread: loop only.
 */
#ifndef CORACLE_CRI_GRPC_SERVER_H
#define CORACLE_CRI_GRPC_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/listener.h"
#include "core/loop/loop.h"
#include "cri/grpc/grpc.h"

struct grpc_server;

struct grpc_server_args {
	struct loop *loop;
	struct grpc_handler handler;
	struct grpc_limits limits;
	size_t max_connections; /* 0: 512 */
	/* 0: 10 s, from accept to the client's first SETTINGS, and for a head to arrive whole */
	int64_t greeting_ms;
};

NODISCARD struct grpc_server *grpc_server_new(const struct grpc_server_args *args);
/*
 * grpc_server_free - answers what is left with UNAVAILABLE, as far as the sockets take it now, and
 * closes everything. Calls whose handlers have not answered are freed: whatever could still answer
 * must have ended.
 */
void grpc_server_free(struct grpc_server *server); /* NULL is fine */

/* Takes a bound listener (unix or TCP); it begins to accept. May be called several times. */
NODISCARD int grpc_server_listen(struct grpc_server *server, struct listener *listener,
                                 struct err *err);
/* A connection from elsewhere (tests); takes @fd. */
void grpc_server_accept(struct grpc_server *server, int fd, const struct listener_peer *peer);

/*
 * grpc_server_drain - stop accepting (listeners are freed), tell every client goodbye, let unary
 * calls finish.
 * @done: called once, when the last connection is gone. Whoever cannot wait calls
 *        grpc_server_free().
 */
void grpc_server_drain(struct grpc_server *server, void (*done)(void *arg), void *arg);

size_t grpc_server_connections(const struct grpc_server *server);
struct grpc_stats grpc_server_stats(const struct grpc_server *server);

DEFINE_CLEANUP_PTR(struct grpc_server, grpc_server_free);

#endif
