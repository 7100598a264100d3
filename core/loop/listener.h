/* core/loop/listener.h
 *
 * Listening sockets: bound early, accepting from listener_start() on, so that clients wait in the backlog meanwhile.
 */
#ifndef CORACLE_CORE_LOOP_LISTENER_H
#define CORACLE_CORE_LOOP_LISTENER_H

#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"

struct listener;

struct listener_peer {
	pid_t pid; /* unix: SO_PEERCRED; 0 for TCP */
	uid_t uid;
	gid_t gid;
	char text[64]; /* "unix pid 123 uid 0" or "[::1]:4711" */
};
/* The callee takes @fd (nonblocking, cloexec). */
typedef void (*listener_fn)(void *arg, int fd, const struct listener_peer *peer);

/*
 * listener_unix - bind @path (mode 0660). A stale socket file is replaced; a live one (somebody answers) is an error:
 * ALREADY_EXISTS naming the path. listener_tcp - "host:port", "[v6]:port"; port 0 allowed.
 */
NODISCARD struct listener *listener_unix(struct loop *loop, const char *path, struct err *err);
NODISCARD struct listener *listener_tcp(struct loop *loop, const char *address, struct err *err);
NODISCARD int listener_start(struct listener *listener, listener_fn fn, void *arg, struct err *err);
const char *listener_address(const struct listener *listener); /* as bound, with the real port */
/* Out of descriptors (EMFILE): accepting pauses for 100 ms instead of spinning. */
void listener_free(struct listener *listener); /* unlinks a unix socket that is still ours */

#endif
