/* core/run/monitor_attach.c
 *
 * The daemon's end of one attach connection. Input that the socket does not take is the caller's to
 * keep; only "the input ended" is remembered here, so that it follows the last byte.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/run/monitors_internal.h"

#define FRAMES_PER_TURN 32

struct monitor_attach {
	int fd; /* -1: ended */
	struct loop_io *io;
	struct monitor_attach_ops ops;
	void *arg;
	bool paused;
	bool blocked;     /* the socket took no more: EPOLLOUT is asked for */
	bool eof_owed;    /* STDIN_EOF could not be sent yet */
	bool busy, freed; /* a callback runs; it freed us, and the memory goes when it is back */
};

static void watch(struct monitor_attach *attach)
{
	loop_io_set(attach->io, (attach->paused ? 0 : EPOLLIN) | (attach->blocked ? EPOLLOUT : 0));
}

static void finish(struct monitor_attach *attach)
{
	loop_io_free(take_ptr(attach->io));
	if (attach->fd >= 0)
		close(take_fd(&attach->fd));
}

static void end(struct monitor_attach *attach, const struct err *err)
{
	finish(attach);
	attach->ops.end(attach->arg, err); /* may free us */
}

static void end_with(struct monitor_attach *attach, enum code code, const char *why)
{
	struct err err = { 0 };

	err_set(&err, code, "attach: %s", why);
	end(attach, &err);
}

/* False: it could not be sent now. A dead peer counts as sent: reading will tell. */
static bool send_frame(struct monitor_attach *attach, enum monitor_frame type, const void *data,
                       size_t len)
{
	uint8_t header[MONITOR_HEADER_BYTES];
	struct iovec iov[2] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len },
	};
	const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	monitor_put_header(header, (uint8_t)type, 0);
	if (sendmsg(attach->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || errno == EPIPE ||
	    errno == ECONNRESET)
		return true;
	attach->blocked = true;
	watch(attach);
	return false;
}

static void on_close(struct monitor_attach *attach, const uint8_t *payload, size_t len)
{
	switch (len > 0 ? (enum monitor_close)payload[0] : MONITOR_CLOSE_EXITED) {
	case MONITOR_CLOSE_EXITED:
	case MONITOR_CLOSE_DETACHED:
		end(attach, NULL);
		return;
	case MONITOR_CLOSE_SLOW:
		end_with(attach, CODE_RESOURCE_EXHAUSTED,
		         "output was not read fast enough and is lost");
		return;
	}
	end_with(attach, CODE_UNAVAILABLE, "the monitor closed it for a reason of its own");
}

/* True: go on reading. */
static bool on_frame(struct monitor_attach *attach, const uint8_t *frame, size_t size)
{
	const uint8_t *payload = frame + MONITOR_HEADER_BYTES;
	struct monitor_result_frame result;
	struct monitor_header header;
	struct err err = { 0 };
	size_t len;

	if (monitor_get_header(frame, size, &header) < 0) {
		end_with(attach, CODE_INTERNAL, "the monitor does not speak our protocol");
		return false;
	}
	len = size - MONITOR_HEADER_BYTES;
	switch (header.type) {
	case MONITOR_STDOUT:
	case MONITOR_STDERR:
		attach->ops.output(attach->arg, header.type == MONITOR_STDERR, payload, len);
		return true;
	case MONITOR_CLOSE:
		on_close(attach, payload, len);
		return false;
	case MONITOR_RESULT:
		if (monitor_decode_result(payload, len, &result) == 0 && result.why == MONITOR_OK)
			return true;
		monitors_result_err(&result, "attach", 0, &err);
		end(attach, &err);
		return false;
	default:
		return true; /* the greeting, or from a later version */
	}
}

static void on_writable(struct monitor_attach *attach)
{
	attach->blocked = false;
	if (attach->eof_owed)
		attach->eof_owed = !send_frame(attach, MONITOR_STDIN_EOF, NULL, 0);
	watch(attach);
	if (!attach->blocked && !attach->eof_owed && attach->ops.drain)
		attach->ops.drain(attach->arg);
}

static void on_ready(void *arg, uint32_t events)
{
	struct monitor_attach *attach = arg;
	_Alignas(8) uint8_t frame[MONITOR_FRAME_MAX];

	attach->busy = true;
	if (events & EPOLLOUT)
		on_writable(attach);
	for (int i = 0; i < FRAMES_PER_TURN && attach->fd >= 0; i++) {
		ssize_t n;

		/* A hang-up is reported without end, so it beats a pause; what is queued then is
		 * the last of it. */
		if (attach->paused && !(events & (EPOLLHUP | EPOLLERR)))
			break;
		n = fd_recv(attach->fd, frame, sizeof(frame), NULL, NULL);
		if (n == -EAGAIN)
			break;
		if (n == -ECONNRESET)
			continue;
		if (n <= 0) {
			end_with(attach, CODE_UNAVAILABLE, "the monitor is gone");
			break;
		}
		if (!on_frame(attach, frame, (size_t)n))
			break;
	}
	attach->busy = false;
	if (attach->freed)
		free(attach);
}

struct monitor_attach *monitor_attach(struct monitors *monitors, const char *id, bool want_stdin,
                                      bool want_stdout, bool want_stderr,
                                      const struct monitor_attach_ops *ops, void *arg,
                                      struct err *err)
{
	uint8_t flags = (uint8_t)((want_stdin ? MONITOR_ATTACH_STDIN : 0) |
	                          (want_stdout ? MONITOR_ATTACH_STDOUT : 0) |
	                          (want_stderr ? MONITOR_ATTACH_STDERR : 0));
	struct monitor_attach *attach;
	cleanup_close int fd = -1;

	ensure(ops->output && ops->end);
	if (monitors_connect(monitors, id, &fd, err) < 0) {
		err_wrap(err, "attach");
		return NULL;
	}
	attach = xcalloc(1, sizeof(*attach));
	*attach = (struct monitor_attach){ .fd = fd, .ops = *ops, .arg = arg };
	attach->io = loop_io_new(monitors->args.loop, fd, EPOLLIN, on_ready, attach, "attach", err);
	if (!attach->io) {
		free(attach);
		err_wrap(err, "attach");
		return NULL;
	}
	take_fd(&fd);
	/* An empty socket takes it; were the peer dead already, reading tells. */
	ignore(send_frame(attach, MONITOR_ATTACH, &flags, 1));
	return attach;
}

size_t monitor_attach_stdin(struct monitor_attach *attach, const void *data, size_t len)
{
	size_t at = 0;

	if (attach->fd < 0 || attach->eof_owed)
		return len;
	while (at < len && !attach->blocked) {
		size_t n = MIN(len - at, (size_t)MONITOR_DATA_MAX);

		if (send_frame(attach, MONITOR_STDIN, (const char *)data + at, n))
			at += n;
	}
	return at;
}

void monitor_attach_stdin_eof(struct monitor_attach *attach)
{
	if (attach->fd >= 0 && !attach->eof_owed)
		attach->eof_owed =
			attach->blocked || !send_frame(attach, MONITOR_STDIN_EOF, NULL, 0);
}

void monitor_attach_resize(struct monitor_attach *attach, uint16_t width, uint16_t height)
{
	uint8_t size[4];

	put_le16(size, width);
	put_le16(size + 2, height);
	/* A size that cannot be sent behind megabytes of input is stale by then. */
	if (attach->fd >= 0 && !attach->blocked)
		ignore(send_frame(attach, MONITOR_RESIZE, size, sizeof(size)));
}

void monitor_attach_pause(struct monitor_attach *attach, bool paused)
{
	attach->paused = paused;
	if (attach->io)
		watch(attach);
}

void monitor_attach_free(struct monitor_attach *attach)
{
	if (!attach)
		return;
	finish(attach);
	if (attach->busy)
		attach->freed = true;
	else
		free(attach);
}
