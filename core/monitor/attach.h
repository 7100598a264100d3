/* core/monitor/attach.h
 *
 * Attach clients: any number up to ATTACH_MAX watch the container's output live and feed its input.
 *
 * Output goes to each client with a send that never blocks, and to the log. The kernel's socket
 * buffer (1 MiB) is the client's queue; a client that lets it fill up finds MONITOR_CLOSE_SLOW at
 * its end and is dropped. Neither the container nor its log ever waits for a client.
 *
 * Input of all clients interleaves, frame by frame. One frame is held while the container does not
 * read; meanwhile no client is read from, so the stop reaches each of them through its own socket.
 *
 *   a client's input ends    stdin_once and no tty: the container's input is closed, output goes
 *                            on; else the client is detached
 *   a client leaves          stdin_once, no tty, and it was there to type: the same closing
 *   container without stdin  input is read and dropped
 */
#ifndef CORACLE_CORE_MONITOR_ATTACH_H
#define CORACLE_CORE_MONITOR_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/monitor/proto.h"

#define ATTACH_MAX 16

struct attach_client {
	int fd; /* -1: free */
	uint8_t flags;
};

struct attach {
	int epoll_fd;
	uint32_t first_token; /* epoll data of clients[i] is first_token + i */
	uint32_t stdin_token; /* that of the container's input */
	struct attach_client clients[ATTACH_MAX];
	int stdin_fd; /* write end of a pipe, or the pty's master (others own it); -1: none */
	bool tty, once;
	bool blocked;     /* pending holds what the container has not taken yet */
	bool close_after; /* then close its input */
	uint8_t *pending; /* MONITOR_DATA_MAX bytes */
	size_t pending_at, pending_len;
};

void attach_init(struct attach *attach, int epoll_fd, uint32_t first_token, uint32_t stdin_token,
                 uint8_t *pending);
/* The container's input, nonblocking. */
void attach_set_stdin(struct attach *attach, int fd, bool tty, bool once);
/* Takes @fd. 0, or -EBUSY when all places are taken by clients that are still there. */
NODISCARD int attach_add(struct attach *attach, int fd, uint8_t flags);
void attach_output(struct attach *attach, enum monitor_frame type, const uint8_t *data, size_t len);
/* epoll says something about client @i; @frame is a buffer of MONITOR_FRAME_MAX bytes. */
void attach_event(struct attach *attach, unsigned i, uint8_t *frame);
/* epoll says that the container's input takes bytes again (or never will). */
void attach_stdin_ready(struct attach *attach);
void attach_resize(const struct attach *attach, uint16_t width, uint16_t height);
void attach_close_stdin(struct attach *attach);
void attach_close_all(struct attach *attach, enum monitor_close why);
unsigned attach_count(const struct attach *attach);

#endif
