/* core/loop/stream.c
 *
 * Reading: bytes are appended to a buffer and offered whole; what the owner does not take stays and is offered again with
 * more. When the buffer is full and the owner takes nothing, no progress is possible, so that is the end: RESOURCE_EXHAUSTED.
 *
 * Writing: tried at once while nothing is queued, so the usual small answer costs one write() and no epoll change. Rest in a
 * buffer that goes out on EPOLLOUT; sent bytes are dropped from its front only when they are at least half of it, which keeps
 * the copying linear.
 *
 * The owner may free the stream in any of its callbacks. So entry points count how deep they are in, stream_free() within one
 * only marks the stream dead, and the outermost entry releases the memory.
 */
#include "core/loop/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/mem.h"

#define READ_CHUNK (16 * 1024)
#define READ_BURST (256 * 1024) /* then other descriptors get their turn */

struct stream {
	struct loop *loop;
	int fd;
	bool is_socket;
	struct loop_io *io;
	const struct stream_ops *ops;
	void *arg;
	const char *name;

	struct buf in, out;
	size_t out_sent; /* of out: already written */
	bool paused, read_ended, write_dead, was_above;
	bool shutdown_wanted, shutdown_done;

	/* Ends that cannot be told from within the call that met them. */
	struct loop_defer tell_later, resume;
	struct err later;
	bool told; /* on_end was called */

	int depth; /* entry points on the stack */
	bool dead; /* freed by its owner */
};

/* ------------------------------------------------------------------ telling the owner */

static void set_events(struct stream *s)
{
	uint32_t events = 0;

	if (!s->read_ended && !s->paused)
		events |= EPOLLIN;
	if (!s->write_dead && s->out.len > s->out_sent)
		events |= EPOLLOUT;
	/* HUP and ERR are reported whatever we ask for, again and again: without interest in anything, stop listening. */
	if (events == 0) {
		loop_io_free(take_ptr(s->io));
		return;
	}
	if (s->io)
		loop_io_set(s->io, events);
}

static void on_events(void *arg, uint32_t events);

/* Watch again if need be; false and on_end later when the kernel refuses. */
static void watch(struct stream *s)
{
	bool wanted =
		(!s->read_ended && !s->paused) || (!s->write_dead && s->out.len > s->out_sent);
	struct err err;

	if (wanted && !s->io) {
		s->io = loop_io_new(s->loop, s->fd, EPOLLIN, on_events, s, s->name, &err);
		if (!s->io) {
			s->read_ended = s->write_dead = true;
			s->later = err;
			loop_defer_queue(s->loop, &s->tell_later);
			return;
		}
	}
	set_events(s);
}

/* Call on_end once; false: the stream is gone. */
static bool tell_end(struct stream *s, const struct err *err)
{
	s->read_ended = true;
	if (s->told)
		return true;
	s->told = true;
	s->ops->on_end(s->arg, err);
	return !s->dead;
}

static void enter(struct stream *s)
{
	s->depth++;
}

static void leave(struct stream *s)
{
	if (--s->depth == 0 && s->dead)
		free(s);
}

static void on_tell_later(void *arg)
{
	struct stream *s = arg;

	enter(s);
	if (tell_end(s, &s->later))
		watch(s);
	leave(s);
}

/* ------------------------------------------------------------------ reading */

/* Offer what is there until the owner takes no more; false: the stream is gone. */
static bool offer(struct stream *s)
{
	while (s->in.len > 0 && !s->paused) {
		size_t used = s->ops->on_data(s->arg, s->in.data, s->in.len);

		if (s->dead)
			return false;
		ensure(used <= s->in.len);
		buf_consume(&s->in, used);
		if (used == 0)
			break;
	}
	return true;
}

static ssize_t read_some(struct stream *s, size_t *ret_room)
{
	size_t room = MIN(s->in.max - s->in.len, (size_t)READ_CHUNK);
	char *at = room > 0 ? buf_reserve(&s->in, room) : NULL;
	ssize_t n;

	*ret_room = room;
	if (!at)
		return -ENOBUFS;
	do {
		n = read(s->fd, at, room);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	buf_grew(&s->in, (size_t)n);
	return n;
}

/* False: the stream is gone. */
static bool do_read(struct stream *s)
{
	size_t budget = READ_BURST, room;
	struct err err = { 0 };

	while (!s->read_ended && !s->paused && budget > 0) {
		ssize_t n = read_some(s, &room);

		if (n == -EAGAIN)
			return true;
		if (n == 0) {
			if (!offer(s))
				return false;
			return tell_end(s, NULL);
		}
		if (n < 0) {
			if (n == -ENOBUFS)
				err_set(&err, CODE_RESOURCE_EXHAUSTED,
				        "%s: peer sent more than %zu bytes that nobody can use yet",
				        s->name, s->in.max);
			else
				err_sys(&err, (int)-n, "%s: read", s->name);
			return tell_end(s, &err);
		}
		if (!offer(s))
			return false;
		budget -= MIN(budget, (size_t)n);
		if ((size_t)n < room)
			return true; /* drained: level triggered, more would wake us again */
	}
	return true;
}

/* ------------------------------------------------------------------ writing */

size_t stream_pending(const struct stream *s)
{
	return s->out.len - s->out_sent;
}

bool stream_above_mark(const struct stream *s)
{
	return stream_pending(s) > s->out.max / 2;
}

static void maybe_shutdown(struct stream *s)
{
	if (!s->shutdown_wanted || s->shutdown_done || stream_pending(s) > 0)
		return;
	s->shutdown_done = true;
	s->write_dead = true;
	if (s->is_socket)
		ignore(shutdown(s->fd, SHUT_WR) <
		       0); /* the peer may be gone: then it needs no EOF */
}

static ssize_t write_some(struct stream *s, const void *data, size_t len)
{
	ssize_t n;

	do {
		/* A peer that is gone must be an error here, not a signal to the process. */
		n = s->is_socket ? send(s->fd, data, len, MSG_NOSIGNAL) : write(s->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void write_failed(struct stream *s, int sys)
{
	s->write_dead = true;
	buf_clear(&s->out);
	s->out_sent = 0;
	if (s->told)
		return;
	/* What the peer sent before it closed is still to be read; reading meets the end by itself. */
	if (s->is_socket && !s->read_ended && (sys == EPIPE || sys == ECONNRESET))
		return;
	err_sys(&s->later, sys, "%s: write", s->name);
	loop_defer_queue(s->loop, &s->tell_later);
}

/* False: the stream is gone. */
static bool do_write(struct stream *s)
{
	while (stream_pending(s) > 0) {
		ssize_t n = write_some(s, s->out.data + s->out_sent, stream_pending(s));

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			write_failed(s, (int)-n);
			return true;
		}
		s->out_sent += (size_t)n;
	}
	if (s->out_sent == s->out.len) {
		buf_clear(&s->out);
		s->out_sent = 0;
	} else if (s->out_sent > s->out.len / 2) {
		buf_consume(&s->out, s->out_sent);
		s->out_sent = 0;
	}
	maybe_shutdown(s);
	if (s->was_above && stream_pending(s) <= s->out.max / 4) {
		s->was_above = false;
		if (s->ops->on_drain)
			s->ops->on_drain(s->arg);
	}
	return !s->dead;
}

int stream_write(struct stream *s, const void *data, size_t len)
{
	ssize_t n = 0;

	if (s->write_dead || s->shutdown_wanted)
		return -1;
	if (len == 0)
		return 0;
	/* All or nothing: what was refused was not half sent. */
	if (len > s->out.max - stream_pending(s))
		return -1;
	if (stream_pending(s) == 0) {
		n = write_some(s, data, len);
		if (n < 0 && n != -EAGAIN) {
			write_failed(s, (int)-n);
			watch(s);
			return -1;
		}
		n = MAX(n, 0);
		if ((size_t)n == len)
			return 0;
	}
	if (s->out_sent > 0 && s->out.len + len - (size_t)n > s->out.max) {
		buf_consume(&s->out, s->out_sent);
		s->out_sent = 0;
	}
	ensure(buf_add(&s->out, (const char *)data + n, len - (size_t)n) == 0);
	s->was_above = s->was_above || stream_above_mark(s);
	watch(s);
	return 0;
}

/* ------------------------------------------------------------------ life */

static void on_resume(void *arg)
{
	struct stream *s = arg;

	enter(s);
	if (offer(s))
		watch(s);
	leave(s);
}

static void on_events(void *arg, uint32_t events)
{
	struct stream *s = arg;
	bool lives = true;

	enter(s);
	if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && stream_pending(s) > 0 && !s->write_dead)
		lives = do_write(s);
	if (lives && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		lives = do_read(s);
	if (lives)
		watch(s);
	leave(s);
}

struct stream *stream_new(struct loop *loop, int fd, size_t max_in, size_t max_out,
                          const struct stream_ops *ops, void *arg, const char *name,
                          struct err *err)
{
	struct stream *s;
	int type, rc;
	socklen_t len = sizeof(type);

	ensure(loop && fd >= 0 && ops && ops->on_data && ops->on_end && name && max_in > 0 &&
	       max_out > 0);

	rc = fd_set_nonblock(fd, true);
	if (rc < 0) {
		close(fd);
		err_sys(err, -rc, "%s: set nonblocking", name);
		return NULL;
	}
	s = xcalloc(1, sizeof(*s));
	*s = (struct stream){ .loop = loop, .fd = fd, .ops = ops, .arg = arg, .name = name };
	s->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
	buf_init(&s->in, max_in);
	buf_init(&s->out, max_out);
	loop_defer_init(&s->tell_later, on_tell_later, s);
	loop_defer_init(&s->resume, on_resume, s);
	s->io = loop_io_new(loop, fd, EPOLLIN, on_events, s, name, err);
	if (!s->io) {
		stream_free(s);
		return NULL;
	}
	return s;
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	loop_defer_cancel(&s->tell_later);
	loop_defer_cancel(&s->resume);
	loop_io_free(take_ptr(s->io));
	close(s->fd);
	buf_release(&s->in);
	buf_release(&s->out);
	s->dead = true;
	if (s->depth == 0)
		free(s);
}

void stream_pause(struct stream *s, bool paused)
{
	if (s->paused == paused)
		return;
	s->paused = paused;
	/* Input that was not consumed is offered with the next bytes; if there are none, with the next turn. */
	watch(s);
	if (!paused && s->in.len > 0 && !s->read_ended)
		loop_defer_queue(s->loop, &s->resume);
}

void stream_shutdown_write(struct stream *s)
{
	s->shutdown_wanted = true;
	maybe_shutdown(s);
	watch(s);
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}
