/* core/monitor/attach.c */
#include "core/monitor/attach.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/base/codec.h"

#define QUEUE_BYTES (1024 * 1024)
#define QUEUE_BYTES_PLAIN                                                                          \
	(64 * 1024) /* without CAP_NET_ADMIN; twice that is below any sane wmem_max */

void attach_init(struct attach *attach, int epoll_fd, uint32_t first_token, uint32_t stdin_token,
                 uint8_t *pending)
{
	*attach = (struct attach){
		.epoll_fd = epoll_fd,
		.first_token = first_token,
		.stdin_token = stdin_token,
		.stdin_fd = -1,
		.pending = pending,
	};
	for (unsigned i = 0; i < ATTACH_MAX; i++)
		attach->clients[i].fd = -1;
}

void attach_set_stdin(struct attach *attach, int fd, bool tty, bool once)
{
	attach->stdin_fd = fd;
	attach->tty = tty;
	attach->once = once;
}

unsigned attach_count(const struct attach *attach)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ATTACH_MAX; i++)
		n += attach->clients[i].fd >= 0;
	return n;
}

static void watch(const struct attach *attach, int op, unsigned i, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u32 = attach->first_token + i };

	/* Refused only for lack of memory: then the client hears nothing more, which its peer's
	 * time-outs notice. */
	ignore(epoll_ctl(attach->epoll_fd, op, attach->clients[i].fd, &ev) < 0);
}

/* A client whose input is held back is not in the epoll set at all: a hang-up would be reported
 * without end. */
static bool held(const struct attach *attach, unsigned i)
{
	return attach->blocked && (attach->clients[i].flags & MONITOR_ATTACH_STDIN);
}

static void set_blocked(struct attach *attach, bool blocked)
{
	if (attach->blocked == blocked)
		return;
	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		const struct attach_client *client = &attach->clients[i];

		if (client->fd < 0 || !(client->flags & MONITOR_ATTACH_STDIN))
			continue;
		watch(attach, blocked ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, i, EPOLLIN);
	}
	attach->blocked = blocked;
}

void attach_close_stdin(struct attach *attach)
{
	if (attach->stdin_fd < 0)
		return;
	set_blocked(attach, false);
	attach->pending_len = attach->pending_at = 0;
	attach->close_after = false;
	if (!attach->tty)
		close(attach->stdin_fd);
	attach->stdin_fd = -1;
}

/* The one who was to type is done. */
static void end_input(struct attach *attach)
{
	if (!attach->once || attach->tty)
		return;
	if (attach->blocked)
		attach->close_after = true;
	else
		attach_close_stdin(attach);
}

static void drop(struct attach *attach, unsigned i)
{
	struct attach_client *client = &attach->clients[i];
	uint8_t flags = client->flags;

	close(client->fd); /* leaves the epoll set by itself */
	*client = (struct attach_client){ .fd = -1 };
	if (flags & MONITOR_ATTACH_STDIN)
		end_input(attach);
}

static int send_frame(int fd, enum monitor_frame type, const void *data, size_t len)
{
	uint8_t header[MONITOR_HEADER_BYTES];
	struct iovec iov[2] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len },
	};
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	monitor_put_header(header, (uint8_t)type, 0);
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Room for what is queued; above the system's limit with CAP_NET_ADMIN only. */
static void set_queue(int fd, int times)
{
	const int bytes = times * QUEUE_BYTES, plain = times * QUEUE_BYTES_PLAIN;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		ignore(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &plain, sizeof(plain)));
}

static void say_close(struct attach *attach, unsigned i, enum monitor_close why)
{
	uint8_t byte = (uint8_t)why;

	/* The queue may be full to the brim, which is just what is to be told. */
	set_queue(attach->clients[i].fd, 2);

	ignore(send_frame(attach->clients[i].fd, MONITOR_CLOSE, &byte, 1)); /* it may be gone */
	drop(attach, i);
}

/* Places of clients that are gone but, being held, were not noticed. */
static void sweep(struct attach *attach)
{
	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		struct pollfd pfd = { .fd = attach->clients[i].fd };

		if (pfd.fd >= 0 && poll(&pfd, 1, 0) > 0 && (pfd.revents & (POLLHUP | POLLERR)))
			drop(attach, i);
	}
}

int attach_add(struct attach *attach, int fd, uint8_t flags)
{
	struct epoll_event ev;
	unsigned i;

	if (attach_count(attach) == ATTACH_MAX)
		sweep(attach);
	for (i = 0; i < ATTACH_MAX && attach->clients[i].fd >= 0; i++)
		;
	if (i == ATTACH_MAX)
		return -EBUSY;

	set_queue(fd, 1);
	attach->clients[i] = (struct attach_client){ .fd = fd, .flags = flags };
	if (held(attach, i))
		return 0;
	ev = (struct epoll_event){ .events = EPOLLIN, .data.u32 = attach->first_token + i };
	if (epoll_ctl(attach->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		attach->clients[i].fd = -1;
		return -errno;
	}
	return 0;
}

void attach_output(struct attach *attach, enum monitor_frame type, const uint8_t *data, size_t len)
{
	uint8_t wants = type == MONITOR_STDERR ? MONITOR_ATTACH_STDERR : MONITOR_ATTACH_STDOUT;

	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		struct attach_client *client = &attach->clients[i];

		for (size_t at = 0; at < len && client->fd >= 0 && (client->flags & wants);) {
			size_t n = MIN(len - at, (size_t)MONITOR_DATA_MAX);
			int rc = send_frame(client->fd, type, data + at, n);

			at += n;
			if (rc == -EAGAIN || rc == -ENOBUFS || rc == -ENOMEM)
				say_close(attach, i, MONITOR_CLOSE_SLOW);
			else if (rc < 0)
				drop(attach, i);
		}
	}
}

/* Writes what it can of pending. */
static void flush_input(struct attach *attach)
{
	while (attach->pending_at < attach->pending_len) {
		ssize_t n = write(attach->stdin_fd, attach->pending + attach->pending_at,
		                  attach->pending_len - attach->pending_at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			set_blocked(attach, true);
			return;
		}
		/* Nobody has the terminal open now: what was typed is gone, the terminal stays. */
		if (n < 0 && attach->tty)
			break;
		if (n < 0) { /* EPIPE: the container closed its end */
			attach_close_stdin(attach);
			return;
		}
		attach->pending_at += (size_t)n;
	}
	attach->pending_at = attach->pending_len = 0;
	set_blocked(attach, false);
	if (attach->close_after)
		attach_close_stdin(attach);
}

/* Level triggered EPOLLOUT would fire all the time: it is asked for only while something is
 * pending. */
static void watch_stdin(struct attach *attach)
{
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLONESHOT,
		                  .data.u32 = attach->stdin_token };

	if (attach->tty || !attach->blocked)
		return; /* a pty's master is polled for both ways anyhow */
	if (epoll_ctl(attach->epoll_fd, EPOLL_CTL_MOD, attach->stdin_fd, &ev) < 0)
		ignore(epoll_ctl(attach->epoll_fd, EPOLL_CTL_ADD, attach->stdin_fd, &ev) < 0);
}

void attach_stdin_ready(struct attach *attach)
{
	if (!attach->blocked)
		return;
	flush_input(attach);
	watch_stdin(attach);
}

static void take_input(struct attach *attach, const uint8_t *data, size_t len)
{
	if (attach->stdin_fd < 0 || attach->close_after || len == 0)
		return;
	memcpy(attach->pending, data, len);
	attach->pending_at = 0;
	attach->pending_len = len;
	flush_input(attach);
	watch_stdin(attach);
}

void attach_resize(const struct attach *attach, uint16_t width, uint16_t height)
{
	const struct winsize size = { .ws_col = width, .ws_row = height };

	if (attach->tty && attach->stdin_fd >= 0 && width > 0 && height > 0)
		ignore(ioctl(attach->stdin_fd, TIOCSWINSZ,
		             &size)); /* a terminal that hangs up has no size */
}

void attach_event(struct attach *attach, unsigned i, uint8_t *frame)
{
	struct attach_client *client = &attach->clients[i];
	struct monitor_header header;
	const uint8_t *payload = frame + MONITOR_HEADER_BYTES;
	size_t len;
	ssize_t n;

	if (client->fd < 0)
		return;
	n = recv(client->fd, frame, MONITOR_FRAME_MAX, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || n > MONITOR_FRAME_MAX || monitor_get_header(frame, (size_t)n, &header) < 0) {
		drop(attach, i);
		return;
	}
	len = (size_t)n - MONITOR_HEADER_BYTES;
	if (header.type == MONITOR_STDIN && (client->flags & MONITOR_ATTACH_STDIN) &&
	    len <= MONITOR_DATA_MAX) {
		take_input(attach, payload, len);
	} else if (header.type == MONITOR_STDIN_EOF && (client->flags & MONITOR_ATTACH_STDIN)) {
		if (attach->once && !attach->tty) {
			client->flags &= (uint8_t)~MONITOR_ATTACH_STDIN;
			end_input(attach);
		} else {
			say_close(attach, i, MONITOR_CLOSE_DETACHED);
		}
	} else if (header.type == MONITOR_RESIZE && len >= 4) {
		attach_resize(attach, get_le16(payload), get_le16(payload + 2));
	}
	/* anything else is from a client of a later version: not for us */
}

void attach_close_all(struct attach *attach, enum monitor_close why)
{
	for (unsigned i = 0; i < ATTACH_MAX; i++)
		if (attach->clients[i].fd >= 0)
			say_close(attach, i, why);
}
