/* cri/grpc/server.c
 *
 * One struct conn per descriptor: a core/loop/stream moves the bytes, a struct grpc_conn gives them
 * meaning. Output is fetched from it only while the kernel takes it (a peer that does not read
 * stops its own answers, and after a mark its own requests).
 *
 * Freeing happens in deferred calls and timers only, never inside a callback of the stream or of
 * grpc.
 */
#include "cri/grpc/server.h"

#include <string.h>
#include <sys/socket.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/loop/stream.h"

enum {
	MAX_CONNECTIONS = 512, /* test suites open one per case and close none */
	GREETING_MS = 10 * 1000,
	LAST_CALL_MS = 1000, /* for the answer to our farewell ping */
	LINGER_MS = 1000,    /* from our end of the connection to the peer's */
	IN_BYTES = 64 * 1024,
	OUT_BYTES = 256 * 1024, /* reading pauses at half of it */
	BATCH_BYTES = 64 * 1024,
};

struct grpc_server {
	struct loop *loop;
	struct grpc *grpc;
	size_t max_connections;
	int64_t greeting_ms;
	struct list conns;
	size_t nconns;
	struct listener **listeners;
	size_t nlisteners;
	struct buf batch; /* frames collected for one write */
	struct log_limit full_log;
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
	struct loop_defer drained_defer;
};

struct conn {
	struct list link;
	struct grpc_server *server;
	struct stream *io;
	struct grpc_conn *grpc;
	struct listener_peer peer;
	struct loop_defer flush;
	struct loop_timer timer;
	bool ending; /* all was said: waits for the peer to close */
	bool dead;   /* freed by the next deferred call */
};

static void conn_free(struct conn *conn)
{
	struct grpc_server *server = conn->server;

	loop_timer_disarm(server->loop, &conn->timer);
	loop_defer_cancel(&conn->flush);
	grpc_conn_free(conn->grpc);
	/* its calls' handlers may have asked for output in their last breath */
	loop_defer_cancel(&conn->flush);
	stream_free(conn->io);
	list_remove(&conn->link);
	server->nconns--;
	free(conn);
	if (server->draining && server->nconns == 0 && server->drained)
		loop_defer_queue(server->loop, &server->drained_defer);
}

static void conn_die(struct conn *conn)
{
	conn->dead = true;
	loop_defer_queue(conn->server->loop, &conn->flush);
}

/* Frames are small and many (head, data, trailers of one answer): one write for what is ready. */
static int conn_write_ready(struct conn *conn)
{
	struct buf *batch = &conn->server->batch;
	const uint8_t *frame;
	size_t len;
	int ret = 0;

	while (!stream_above_mark(conn->io)) {
		buf_clear(batch);
		while (batch->len < BATCH_BYTES && (len = grpc_conn_send(conn->grpc, &frame)) > 0)
			ensure(buf_add(batch, frame, len) == 0);
		if (batch->len == 0)
			break;
		ret = stream_write(conn->io, batch->data, batch->len);
		if (ret < 0)
			break;
	}
	return ret;
}

static void conn_pump(struct conn *conn)
{
	if (conn->dead)
		return;
	if (!conn->ending && conn_write_ready(conn) < 0) {
		conn_die(conn);
		return;
	}
	stream_pause(conn->io, stream_above_mark(conn->io));
	if (!conn->ending && grpc_conn_done(conn->grpc)) {
		conn->ending = true;
		stream_pause(conn->io, false);
		stream_shutdown_write(conn->io);
		loop_timer_arm_in(conn->server->loop, &conn->timer, LINGER_MS);
	}
}

static void on_flush(void *arg)
{
	struct conn *conn = arg;

	if (conn->dead)
		conn_free(conn);
	else
		conn_pump(conn);
}

/* The timer serves what the connection waits for at the moment: greeting or rest of a head, last
 * call, the peer's end. */
static void on_timer(void *arg)
{
	struct conn *conn = arg;

	if (conn->ending) {
		conn_free(conn);
	} else if (!grpc_conn_greeted(conn->grpc) || grpc_conn_mid_head(conn->grpc)) {
		log_debug(NULL, "grpc: %s: closed, %s did not arrive in time", conn->peer.text,
		          grpc_conn_greeted(conn->grpc) ? "the rest of a request head"
		                                        : "HTTP/2 greeting");
		conn_free(conn);
	} else if (conn->server->draining) {
		grpc_conn_last_call(conn->grpc);
	}
}

static void conn_watch_head(struct conn *conn)
{
	bool waiting = !grpc_conn_greeted(conn->grpc) || grpc_conn_mid_head(conn->grpc);

	if (conn->ending || conn->server->draining)
		return;
	if (!waiting)
		loop_timer_disarm(conn->server->loop, &conn->timer);
	else if (!loop_timer_armed(&conn->timer))
		loop_timer_arm_in(conn->server->loop, &conn->timer, conn->server->greeting_ms);
}

static size_t on_data(void *arg, const void *data, size_t len)
{
	struct conn *conn = arg;
	struct err err = { 0 };

	if (conn->dead || conn->ending)
		return len;
	if (grpc_conn_recv(conn->grpc, data, len, &err) < 0)
		log_debug(NULL, "grpc: %s: %s", conn->peer.text, err.msg);
	conn_watch_head(conn);
	conn_pump(conn);
	return len;
}

static void on_end(void *arg, const struct err *err)
{
	struct conn *conn = arg;

	if (err)
		log_debug(NULL, "grpc: %s: %s", conn->peer.text, err->msg);
	conn_die(conn);
}

static void on_drain(void *arg)
{
	conn_pump(arg);
}

static void on_output(void *arg)
{
	struct conn *conn = arg;

	loop_defer_queue(conn->server->loop, &conn->flush);
}

void grpc_server_accept(struct grpc_server *server, int fd, const struct listener_peer *peer)
{
	static const struct stream_ops io_ops = { .on_data = on_data,
		                                  .on_end = on_end,
		                                  .on_drain = on_drain };
	static const struct grpc_conn_ops grpc_ops = { .on_output = on_output };
	struct conn *conn;
	struct err err = { 0 };

	if (server->draining || server->nconns >= server->max_connections) {
		if (!server->draining && log_limit_pass(&server->full_log))
			log_warn(NULL, "grpc: %s refused: %zu connections are open", peer->text,
			         server->nconns);
		close(fd);
		return;
	}
	/* a peer behind a network may vanish without a word; means nothing to a unix socket */
	ignore(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int)));

	conn = xcalloc(1, sizeof(*conn));
	conn->server = server;
	conn->peer = *peer;
	conn->io =
		stream_new(server->loop, fd, IN_BYTES, OUT_BYTES, &io_ops, conn, "grpc-conn", &err);
	if (!conn->io) {
		log_warn(NULL, "grpc: %s refused: %s", peer->text, err.msg);
		free(conn);
		return;
	}
	loop_defer_init(&conn->flush, on_flush, conn);
	loop_timer_init(&conn->timer, on_timer, conn, "grpc-conn");
	loop_timer_arm_in(server->loop, &conn->timer, server->greeting_ms);
	conn->grpc = grpc_conn_new(server->grpc, peer, &grpc_ops, conn);
	list_push_back(&server->conns, &conn->link);
	server->nconns++;
	conn_pump(conn); /* grpc-go clients send nothing before they have our SETTINGS */
}

static void on_accept(void *arg, int fd, const struct listener_peer *peer)
{
	grpc_server_accept(arg, fd, peer);
}

int grpc_server_listen(struct grpc_server *server, struct listener *listener, struct err *err)
{
	ensure(!server->draining);
	server->listeners =
		xrealloc(server->listeners, server->nlisteners + 1, sizeof(*server->listeners));
	server->listeners[server->nlisteners++] = listener;
	return listener_start(listener, on_accept, server, err);
}

static void free_listeners(struct grpc_server *server)
{
	for (size_t i = 0; i < server->nlisteners; i++)
		listener_free(server->listeners[i]);
	free(take_ptr(server->listeners));
	server->nlisteners = 0;
}

static void on_drained(void *arg)
{
	struct grpc_server *server = arg;

	server->drained(server->drained_arg);
}

void grpc_server_drain(struct grpc_server *server, void (*done)(void *arg), void *arg)
{
	ensure(!server->draining);
	server->draining = true;
	server->drained = done;
	server->drained_arg = arg;
	free_listeners(server);
	list_for_each(link, &server->conns) {
		struct conn *conn = list_entry(link, struct conn, link);

		if (conn->ending || conn->dead)
			continue;
		grpc_conn_drain(conn->grpc);
		loop_timer_arm_in(server->loop, &conn->timer, LAST_CALL_MS);
	}
	if (server->nconns == 0 && done)
		loop_defer_queue(server->loop, &server->drained_defer);
}

struct grpc_server *grpc_server_new(const struct grpc_server_args *args)
{
	struct grpc_server *server = xcalloc(1, sizeof(*server));

	ensure(args->loop);
	server->loop = args->loop;
	server->grpc = grpc_new(args->loop, &args->handler, &args->limits);
	server->max_connections = args->max_connections ? args->max_connections : MAX_CONNECTIONS;
	server->greeting_ms = args->greeting_ms ? args->greeting_ms : GREETING_MS;
	server->full_log = (struct log_limit){ .burst = 1, .interval_ms = 60 * 1000 };
	list_init(&server->conns);
	loop_defer_init(&server->drained_defer, on_drained, server);
	/* a batch ends with the frame that fills it: 16 KiB and its header */
	buf_init(&server->batch, BATCH_BYTES + 32 * 1024);
	return server;
}

void grpc_server_free(struct grpc_server *server)
{
	if (!server)
		return;
	server->draining = true;
	server->drained = NULL;
	free_listeners(server);
	while (!list_empty(&server->conns)) {
		struct conn *conn = list_entry(server->conns.next, struct conn, link);

		if (!conn->dead && !conn->ending) {
			grpc_conn_dismiss(conn->grpc, "daemon is stopping");
			conn_pump(conn);
		}
		conn_free(conn);
	}
	loop_defer_cancel(&server->drained_defer);
	grpc_free(server->grpc);
	buf_release(&server->batch);
	free(server);
}

size_t grpc_server_connections(const struct grpc_server *server)
{
	return server->nconns;
}

struct grpc_stats grpc_server_stats(const struct grpc_server *server)
{
	return grpc_stats(server->grpc);
}
