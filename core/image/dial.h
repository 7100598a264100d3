/* core/image/dial.h
 *
 * TCP with deadlines: name to connected socket, and bytes in and out of it. Sockets are non-blocking; the calls block, in poll,
 * until there is progress or the deadline (clock_mono_ns) has come.
 */
#ifndef CORACLE_CORE_IMAGE_DIAL_H
#define CORACLE_CORE_IMAGE_DIAL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"

/*
 * dial - try every address of @host, the next one 300 ms after the last without waiting for it to fail; the first that answers
 * wins. @timeout_ms is for all of them together.
 * Errors: UNAVAILABLE; sys is ECONNREFUSED, ETIMEDOUT, EADDRNOTAVAIL (the name has no address), EAGAIN (its name server does not
 * answer) or what connect said.
 */
NODISCARD int dial(const char *host, uint16_t port, int64_t timeout_ms, int *ret_fd,
                   struct err *err);

/* Bytes moved (net_recv: 0 at the end of the stream), or a negative errno; -ETIMEDOUT at the deadline. */
NODISCARD ssize_t net_recv(int fd, void *data, size_t max, int64_t deadline_ns);
NODISCARD ssize_t net_send(int fd, const void *data, size_t len,
                           int64_t deadline_ns); /* all of it */

#endif
