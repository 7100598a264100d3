/* core/image/http.c */
#include "core/image/http.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/list.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/dial.h"

#define IDLE_MAX    8 /* kept connections, all hosts together */
#define IDLE_NS     (30 * NS_PER_S)
#define READ_BYTES  ((size_t)16 * 1024)
#define INTERIM_MAX 8 /* 1xx answers before the real one */
#define REQUEST_MAX (HTTP_URL_MAX + 64 * 1024)
#define CONNECT_MAX 4096 /* body of a refused CONNECT that is read for its message */

struct http_conn {
	struct list link; /* idle ones */
	struct http_url origin;
	struct tls_trust *trust;
	struct tls *tls; /* NULL: plain */
	int fd;
	bool through_proxy;
	bool used;       /* has answered before */
	int64_t idle_ns; /* since */
	struct buf in;   /* received, not yet taken */
};

struct http_client {
	const struct proxies *proxies;
	pthread_mutex_t lock;
	struct list idle; /* most recent first */
	size_t nidle;
};

/* --- connections */

static void conn_free(struct http_conn *conn)
{
	if (!conn)
		return;
	tls_free(conn->tls);
	if (conn->fd >= 0)
		close(conn->fd);
	http_url_release(&conn->origin);
	buf_release(&conn->in);
	free(conn);
}
DEFINE_CLEANUP_PTR(struct http_conn, conn_free);

static ssize_t conn_recv(struct http_conn *conn, void *data, size_t max, int64_t deadline_ns)
{
	return conn->tls ? tls_recv(conn->tls, data, max, deadline_ns)
	                 : net_recv(conn->fd, data, max, deadline_ns);
}

static ssize_t conn_send(struct http_conn *conn, const void *data, size_t len, int64_t deadline_ns)
{
	return conn->tls ? tls_send(conn->tls, data, len, deadline_ns)
	                 : net_send(conn->fd, data, len, deadline_ns);
}

/* More bytes into conn->in; 0 at the end of the stream, or a negative errno. */
static ssize_t conn_fill(struct http_conn *conn, int64_t deadline_ns)
{
	char *room = buf_reserve(&conn->in, READ_BYTES);
	ssize_t n;

	if (!room)
		return -EMSGSIZE;
	n = conn_recv(conn, room, READ_BYTES, deadline_ns);
	if (n > 0)
		buf_grew(&conn->in, (size_t)n);
	return n;
}

static int err_io(struct err *err, const struct http_url *url, int sys, const char *what)
{
	cleanup_free char *authority = http_url_authority(url);

	err_set(err, CODE_UNAVAILABLE, "%s %s: %s", what, authority, errno_name(sys));
	err->sys = sys;
	return -1;
}

/* The head of an answer, out of the connection's buffer. */
static int read_head(struct http_conn *conn, const struct http_url *url, struct http_head *ret,
                     char **ret_text, struct err *err)
{
	int64_t deadline_ns = clock_mono_ns() + HTTP_HEAD_MS * NS_PER_MS;
	cleanup_free char *text = NULL;
	size_t len;
	ssize_t n;

	while (conn->in.len == 0 || !(len = http_head_end(conn->in.data, conn->in.len))) {
		if (conn->in.len >= HTTP_HEAD_MAX)
			n = -EMSGSIZE;
		else
			n = conn_fill(conn, deadline_ns);
		if (n <= 0)
			return err_io(err, url, n < 0 ? (int)-n : ECONNRESET, "answer of");
	}
	text = xstrndup(conn->in.data, len);
	buf_consume(&conn->in, len);
	if (http_head_parse(text, len, ret, err) < 0) {
		err->code =
			CODE_UNAVAILABLE; /* a sick server or proxy: nothing that the caller did */
		err->sys = EPROTO;
		return -1;
	}
	*ret_text = take_ptr(text);
	return 0;
}

static int add_proxy_credentials(struct buf *out, const struct http_url *proxy)
{
	cleanup(buf_release) struct buf plain = { 0 };
	cleanup(buf_release) struct buf coded = { 0 };
	int rc;

	if (!proxy->user)
		return 0;
	buf_init(&plain, HTTP_URL_MAX);
	buf_init(&coded, 2 * HTTP_URL_MAX);
	if (buf_printf(&plain, "%s:%s", proxy->user, or_empty(proxy->password)) < 0 ||
	    base64_encode(&coded, plain.data, plain.len) < 0)
		return -1;
	rc = buf_printf(out, "Proxy-Authorization: Basic %s\r\n", coded.data);
	explicit_bzero(plain.data, plain.len);
	explicit_bzero(coded.data, coded.len);
	return rc;
}

/* Ask the proxy for a tunnel; TLS goes through it. */
static int open_tunnel(struct http_conn *conn, const struct http_url *proxy, struct err *err)
{
	const char *host = conn->origin.host, *v6 = strchr(host, ':');
	int64_t deadline_ns = clock_mono_ns() + HTTP_HEAD_MS * NS_PER_MS;
	cleanup_free struct http_head *head = xcalloc(1, sizeof(*head));
	cleanup(buf_release) struct buf out = { 0 };
	cleanup_free char *text = NULL;
	cleanup_free char *authority =
		xasprintf("%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", conn->origin.port);
	ssize_t n;

	buf_init(&out, REQUEST_MAX);
	if (buf_printf(&out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", authority, authority) < 0 ||
	    add_proxy_credentials(&out, proxy) < 0 || buf_add_str(&out, "\r\n") < 0)
		return buf_err_full(&out, "request", err);
	n = net_send(conn->fd, out.data, out.len, deadline_ns);
	explicit_bzero(out.data, out.len);
	if (n < 0)
		return err_io(err, proxy, (int)-n, "proxy");
	if (read_head(conn, proxy, head, &text, err) < 0)
		return err_wrap(err, "proxy");
	if (head->status / 100 != 2) {
		err_set(err, CODE_UNAVAILABLE, "proxy %s refuses to connect to %s: HTTP status %d",
		        proxy->host, authority, head->status);
		err->sys = ECONNREFUSED;
		return -1;
	}
	return 0;
}

static struct http_conn *conn_open(struct http_client *client, const struct http_request *request,
                                   struct err *err)
{
	const struct http_url *url = request->url, *proxy = proxy_for(client->proxies, url);
	const struct http_url *peer = proxy ? proxy : url;
	cleanup(conn_free) struct http_conn *conn = xcalloc(1, sizeof(*conn));

	conn->fd = -1;
	conn->origin = http_url_copy(url);
	conn->trust = request->trust;
	conn->through_proxy = proxy;
	buf_init(&conn->in, HTTP_HEAD_MAX + READ_BYTES);
	if (dial(peer->host, peer->port,
	         request->dial_timeout_ms ? request->dial_timeout_ms : HTTP_DIAL_MS, &conn->fd,
	         err) < 0)
		return proxy ? (err_wrap(err, "proxy"), NULL) : NULL;
	if (proxy && url->tls && open_tunnel(conn, proxy, err) < 0)
		return NULL;
	if (url->tls) {
		ensure(request->trust);
		conn->tls = tls_open(request->trust, conn->fd, url->host,
		                     clock_mono_ns() + HTTP_HANDSHAKE_MS * NS_PER_MS, err);
		if (!conn->tls) {
			if (request->tls_is_a_guess && err->code == CODE_UNAVAILABLE)
				err->sys = EPROTONOSUPPORT;
			return NULL;
		}
	}
	return take_ptr(conn);
}

/* A server that has closed, or sent something unasked, shows as readable. TLS 1.3 tickets do too: those we lose. */
static bool conn_is_quiet(const struct http_conn *conn)
{
	struct pollfd poller = { .fd = conn->fd, .events = POLLIN };

	return poll(&poller, 1, 0) == 0;
}

static struct http_conn *idle_take(struct http_client *client, const struct http_request *request)
{
	struct http_conn *found = NULL;
	int64_t now = clock_mono_ns();

	pthread_mutex_lock(&client->lock);
	list_for_each_safe(l, &client->idle) {
		struct http_conn *conn = list_entry(l, struct http_conn, link);
		bool stale = now - conn->idle_ns > IDLE_NS || !conn_is_quiet(conn);

		if (!stale && (found || conn->trust != request->trust ||
		               !http_url_same_origin(&conn->origin, request->url)))
			continue;
		list_remove(&conn->link);
		client->nidle--;
		if (stale)
			conn_free(conn);
		else
			found = conn;
	}
	pthread_mutex_unlock(&client->lock);
	return found;
}

static void idle_put(struct http_client *client, struct http_conn *conn)
{
	struct http_conn *last = NULL;

	conn->used = true;
	conn->idle_ns = clock_mono_ns();
	buf_release(&conn->in);
	buf_init(&conn->in, HTTP_HEAD_MAX + READ_BYTES);
	pthread_mutex_lock(&client->lock);
	list_push_front(&client->idle, &conn->link);
	if (++client->nidle > IDLE_MAX) {
		last = list_entry(client->idle.prev, struct http_conn, link);
		list_remove(&last->link);
		client->nidle--;
	}
	pthread_mutex_unlock(&client->lock);
	conn_free(last);
}

struct http_client *http_client_new(const struct proxies *proxies)
{
	struct http_client *client = xcalloc(1, sizeof(*client));

	client->proxies = proxies;
	pthread_mutex_init(&client->lock, NULL);
	list_init(&client->idle);
	return client;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	list_for_each_safe(l, &client->idle)
		conn_free(list_entry(l, struct http_conn, link));
	pthread_mutex_destroy(&client->lock);
	free(client);
}

/* --- exchange */

static int put_request(struct buf *out, const struct http_client *client,
                       const struct http_conn *conn, const struct http_request *request)
{
	const struct http_url *url = request->url;
	bool absolute = conn->through_proxy && !url->tls;
	cleanup_free char *authority = http_url_authority(url);

	if (buf_printf(out, "%s %s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n", request->method,
	               absolute ? "http://" : "", absolute ? authority : "", url->target, authority,
	               request->user_agent) < 0)
		return -1;
	if (absolute && add_proxy_credentials(out, &client->proxies->http) < 0)
		return -1;
	if (request->fields && buf_add_str(out, request->fields) < 0)
		return -1;
	if (request->body && buf_printf(out, "Content-Length: %zu\r\n", request->body_len) < 0)
		return -1;
	if (buf_add_str(out, "\r\n") < 0)
		return -1;
	return request->body ? buf_add(out, request->body, request->body_len) : 0;
}

static int send_request(struct http_client *client, struct http_conn *conn,
                        const struct http_request *request, struct err *err)
{
	cleanup(buf_release) struct buf out = { 0 };
	ssize_t n;

	buf_init(&out, REQUEST_MAX);
	if (put_request(&out, client, conn, request) < 0)
		return buf_err_full(&out, "request", err);
	n = conn_send(conn, out.data, out.len, clock_mono_ns() + HTTP_HEAD_MS * NS_PER_MS);
	explicit_bzero(out.data, out.len); /* credentials */
	return n < 0 ? err_io(err, request->url, (int)-n, "send to") : 0;
}

static int converse(struct http_client *client, struct http_conn *conn,
                    const struct http_request *request, struct http_response *ret, struct err *err)
{
	if (send_request(client, conn, request, err) < 0)
		return -1;
	for (int i = 0; i <= INTERIM_MAX; i++) {
		free(take_ptr(ret->text));
		if (read_head(conn, request->url, &ret->head, &ret->text, err) < 0)
			return -1;
		if (ret->head.status >= 200)
			return 0;
	}
	err_set(err, CODE_UNAVAILABLE, "HTTP response: no end of interim answers");
	err->sys = EPROTO;
	return -1;
}

int http_exchange(struct http_client *client, const struct http_request *request,
                  struct http_response *ret, struct err *err)
{
	cleanup(http_response_release) struct http_response response = { .client = client };
	struct http_conn *conn = idle_take(client, request);

	if (conn && converse(client, conn, request, &response, err) < 0) {
		conn_free(conn); /* kept too long: a new one tells the truth */
		if (err->sys == ETIMEDOUT)
			return -1;
		conn = NULL;
		err_clear(err);
		free(take_ptr(response.text));
	}
	if (!conn) {
		conn = conn_open(client, request, err);
		if (!conn)
			return -1;
		if (converse(client, conn, request, &response, err) < 0) {
			conn_free(conn);
			return -1;
		}
	}
	response.conn = conn;
	http_body_init(&response.body, &response.head, streq(request->method, "HEAD"));
	*ret = response;
	response = (struct http_response){ 0 };
	return 0;
}

/* --- body */

/* Content that is in the buffer already. */
static int read_buffered(struct http_response *response, void *data, size_t max, size_t *ret_len,
                         struct err *err)
{
	struct http_conn *conn = response->conn;
	struct str content;
	size_t used;

	if (http_body_next(&response->body, (const uint8_t *)conn->in.data, MIN(conn->in.len, max),
	                   &used, &content, err) < 0) {
		err->code = CODE_UNAVAILABLE;
		err->sys = EPROTO;
		return -1;
	}
	memcpy(data, content.p, content.len);
	buf_consume(&conn->in, used);
	*ret_len = content.len;
	return 0;
}

int http_read(struct http_response *response, void *data, size_t max, size_t *ret_len,
              struct err *err)
{
	struct http_conn *conn = response->conn;
	struct http_body *body = &response->body;
	int64_t deadline_ns = clock_mono_ns() + HTTP_STALL_MS * NS_PER_MS;
	ssize_t n;

	ensure(max > 0);
	*ret_len = 0;
	while (!body->done) {
		if (conn->in.len) {
			if (read_buffered(response, data, max, ret_len, err) < 0)
				return -1;
			if (*ret_len)
				return 0;
			continue;
		}
		if (body->kind == HTTP_BODY_CHUNKED) {
			n = conn_fill(conn, deadline_ns);
		} else { /* no framing to look for: straight to its place */
			if (body->kind == HTTP_BODY_LENGTH)
				max = (size_t)MIN((uint64_t)max, body->left);
			n = conn_recv(conn, data, max, deadline_ns);
			if (n > 0) {
				http_body_took(body, (size_t)n);
				*ret_len = (size_t)n;
				return 0;
			}
		}
		if (n == 0 && body->kind == HTTP_BODY_UNTIL_CLOSE) {
			body->done = true;
			break;
		}
		if (n <= 0)
			return err_io(err, &conn->origin, n < 0 ? (int)-n : ECONNRESET,
			              "transfer from");
	}
	return 0;
}

int http_read_all(struct http_response *response, size_t max_bytes, char **ret_text,
                  size_t *ret_len, struct err *err)
{
	cleanup(buf_release) struct buf text = { 0 };
	size_t n;

	buf_init(&text, max_bytes + READ_BYTES);
	do {
		char *room = buf_reserve(&text, READ_BYTES);

		if (!room || text.len > max_bytes)
			return err_set(err, CODE_RESOURCE_EXHAUSTED, "answer larger than %zu bytes",
			               max_bytes);
		if (http_read(response, room, READ_BYTES, &n, err) < 0)
			return -1;
		buf_grew(&text, n);
	} while (n > 0);
	if (text.len > max_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "answer larger than %zu bytes",
		               max_bytes);
	*ret_len = text.len;
	*ret_text = buf_take_str(&text);
	return 0;
}

void http_response_release(struct http_response *response)
{
	struct http_conn *conn = take_ptr(response->conn);

	if (conn && response->body.done && response->body.kind != HTTP_BODY_UNTIL_CLOSE &&
	    !response->head.close && conn->in.len == 0)
		idle_put(response->client, conn);
	else
		conn_free(conn);
	free(take_ptr(response->text));
}
