/* tests/lib/fake_registry.c */
#include "tests/lib/fake_registry.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define HEAD_MAX 65536

void fake_registry_add(struct fake_registry *fake, const char *type, const void *data, size_t len,
                       const char *digest, const char *path_format, ...)
{
	struct fake_item *item = &fake->items[fake->nitems++];
	va_list ap;

	ensure(fake->nitems <= FAKE_ITEMS_MAX);
	*item = (struct fake_item){ .type = type, .data = data, .len = len, .digest = digest };
	va_start(ap, path_format);
	ensure(vsnprintf(item->path, sizeof(item->path), path_format, ap) <
	       (int)sizeof(item->path));
	va_end(ap);
}

/* --- the process */

struct client {
	const struct fake_registry *fake;
	int fd;
	char head[HEAD_MAX];
	size_t len;
};

static void put(const struct client *client, const void *data, size_t len)
{
	if (write_full(client->fd, data, len) < 0)
		_exit(0);
}

static void put_text(const struct client *client, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put_text(const struct client *client, const char *fmt, ...)
{
	cleanup(buf_release) struct buf text = { 0 };
	va_list ap;

	buf_init(&text, HEAD_MAX);
	va_start(ap, fmt);
	ensure(buf_vprintf(&text, fmt, ap) == 0);
	va_end(ap);
	put(client, text.data, text.len);
}

/* The next request, NUL terminated, body included; false: the peer is gone. */
static bool get_request(struct client *client)
{
	const char *end, *length;
	ssize_t n;

	client->len = 0;
	for (;;) {
		n = read(client->fd, client->head + client->len, HEAD_MAX - 1 - client->len);
		if (n <= 0)
			return false;
		client->len += (size_t)n;
		client->head[client->len] = '\0';
		if (client->head[0] == 0x16) { /* a TLS handshake */
			put_text(client, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
			return false;
		}
		end = strstr(client->head, "\r\n\r\n");
		length = strstr(client->head, "Content-Length: ");
		if (end && (!length || client->len >= (size_t)(end + 4 - client->head) +
		                                              strtoul(length + 16, NULL, 10)))
			return true;
	}
}

static bool says(const struct client *client, const char *text)
{
	return strstr(client->head, text);
}

static void put_on_record(const struct client *client)
{
	int fd = open(client->fake->log, O_WRONLY | O_APPEND | O_CLOEXEC);

	ensure(fd >= 0 && write_full(fd, client->head, client->len) >= 0 &&
	       write_full(fd, "\x1e", 1) >= 0);
	close(fd);
}

static void refuse(const struct client *client, int status, const char *fields, const char *code)
{
	cleanup_free char *body =
		xasprintf("{\"errors\":[{\"code\":\"%s\",\"message\":\"said so\"}]}", code);

	put_text(client, "HTTP/1.1 %d no\r\n%sContent-Length: %zu\r\n\r\n%s", status, fields,
	         strlen(body), body);
}

static void serve_token(const struct client *client)
{
	const struct fake_registry *fake = client->fake;
	static const char token[] = "{\"token\":\"good\",\"expires_in\":300}";

	__atomic_add_fetch(&fake->counters->tokens, 1, __ATOMIC_SEQ_CST);
	if ((fake->private_tokens && !says(client, "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n")) ||
	    (fake->refresh_token && !says(client, fake->refresh_token)))
		refuse(client, 401, "", "UNAUTHORIZED");
	else
		put_text(client, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(token),
		         token);
}

static bool is_welcome(const struct client *client)
{
	const struct fake_registry *fake = client->fake;
	cleanup_free char *challenge = NULL;

	if (fake->auth == FAKE_AUTH_NONE)
		return true;
	if (fake->auth == FAKE_AUTH_BASIC &&
	    says(client, "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"))
		return true;
	if (fake->auth == FAKE_AUTH_BEARER && says(client, "Authorization: Bearer good\r\n"))
		return true;
	challenge =
		fake->auth == FAKE_AUTH_BASIC
			? xstrdup("WWW-Authenticate: Basic realm=\"fake\"\r\n")
			: xasprintf(
				  "WWW-Authenticate: Bearer realm=\"http://%s/token\",service=\"fake\","
				  "scope=\"repository:a/b:pull\"\r\n",
				  fake->address);
	refuse(client, 401, challenge, "UNAUTHORIZED");
	return false;
}

static bool count_down(unsigned *counter, unsigned limit)
{
	return limit && __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST) < limit;
}

static void put_body(const struct client *client, const uint8_t *data, size_t len, bool cut)
{
	const struct fake_registry *fake = client->fake;
	size_t send = cut && fake->cut_at < len ? fake->cut_at : len;

	if (fake->chunked)
		for (size_t at = 0; at < send;) {
			size_t n = MIN(send - at, (size_t)10000);

			put_text(client, "%zx\r\n", n);
			put(client, data + at, n);
			put_text(client, "\r\n");
			at += n;
		}
	else
		put(client, data, send);
	if (send < len)
		_exit(0);
	if (fake->chunked)
		put_text(client, "0\r\n\r\n");
}

static void serve_item(const struct client *client, const struct fake_item *item)
{
	const struct fake_registry *fake = client->fake;
	bool blob = strstr(item->path, "/blobs/");
	bool cut = blob && count_down(&fake->counters->cut, fake->cuts);
	const char *range = fake->no_ranges ? NULL : strstr(client->head, "Range: bytes=");
	size_t from = range ? strtoul(range + 13, NULL, 10) : 0, len;
	char length[64], digest[256] = "";

	if (from >= item->len && from > 0) {
		refuse(client, 416, "", "RANGE");
		return;
	}
	len = item->len - from;
	if (item->digest)
		snprintf(digest, sizeof(digest), "Docker-Content-Digest: %s\r\n", item->digest);
	snprintf(length, sizeof(length),
	         fake->chunked ? "Transfer-Encoding: chunked\r\n" : "Content-Length: %zu\r\n", len);
	put_text(client, "HTTP/1.1 %d OK\r\nContent-Type: %s\r\n%s%s", range ? 206 : 200,
	         item->type, digest, length);
	if (range)
		put_text(client, "Content-Range: bytes %zu-%zu/%zu\r\n", from + fake->wrong_ranges,
		         item->len - 1, item->len);
	put_text(client, "\r\n");
	if (blob && fake->stall && item->len > 65536) /* layers, not the config */
		pause();
	put_body(client, (const uint8_t *)item->data + from, len, cut);
}

static void answer(const struct client *client)
{
	const struct fake_registry *fake = client->fake;
	char path[1024], method[16], fields[128] = "";
	char *target = path, *query;

	put_on_record(client);
	if (sscanf(client->head, "%15s %1023s", method, path) != 2)
		_exit(0);
	if (strncmp(target, "http://", 7) == 0) /* we are somebody's proxy */
		target = strchr(target + 7, '/');
	query = strchr(target, '?');
	if (query)
		*query = '\0';
	if (strcmp(target, "/token") == 0) {
		serve_token(client);
		return;
	}
	if (count_down(&fake->counters->failed, fake->fail_first)) {
		if (fake->retry_after)
			snprintf(fields, sizeof(fields), "Retry-After: %s\r\n", fake->retry_after);
		refuse(client, fake->fail_status, fields, "TOOMANYREQUESTS");
		return;
	}
	if (!is_welcome(client))
		return;
	if (fake->redirect_blobs && strstr(target, "/blobs/")) {
		put_text(
			client,
			"HTTP/1.1 307 x\r\nLocation: %s%s?signature=s3cret\r\nContent-Length: 0\r\n\r\n",
			fake->redirect_blobs, target);
		return;
	}
	for (size_t i = 0; i < fake->nitems; i++)
		if (strcmp(fake->items[i].path, target) == 0) {
			serve_item(client, &fake->items[i]);
			return;
		}
	refuse(client, 404, "", strstr(target, "/blobs/") ? "BLOB_UNKNOWN" : "MANIFEST_UNKNOWN");
}

NORETURN static void serve_client(const struct fake_registry *fake, int fd)
{
	struct client *client = xcalloc(1, sizeof(*client));

	client->fake = fake;
	client->fd = fd;
	while (get_request(client))
		answer(client);
	_exit(0);
}

NORETURN static void serve(const struct fake_registry *fake)
{
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve_client(fake, fd);
		}
		close(fd);
	}
}

/* --- the test's side */

void fake_registry_bind(struct fake_registry *fake)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	const int on = 1;
	int fd;

	ensure(inet_pton(AF_INET, fake->ip ? fake->ip : "127.0.0.1", &address.sin_addr) == 1);
	fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ensure(fake->listener >= 0);
	setsockopt(fake->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	ensure(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	       listen(fake->listener, 64) == 0);
	ensure(getsockname(fake->listener, (struct sockaddr *)&address, &len) == 0);
	snprintf(fake->address, sizeof(fake->address), "%s:%u", fake->ip ? fake->ip : "127.0.0.1",
	         ntohs(address.sin_port));
	memcpy(fake->log, "/tmp/coracle-fake-registry-XXXXXX", 34);
	fd = mkstemp(fake->log);
	ensure(fd >= 0);
	close(fd);
	fake->counters = mmap(NULL, sizeof(*fake->counters), PROT_READ | PROT_WRITE,
	                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ensure(fake->counters != MAP_FAILED);
}

void fake_registry_start(struct fake_registry *fake)
{
	if (!fake->counters)
		fake_registry_bind(fake);
	fake->pid = fork();
	ensure(fake->pid >= 0);
	if (fake->pid == 0)
		serve(fake);
}

void fake_registry_stop(struct fake_registry *fake)
{
	if (!fake->counters)
		return;
	if (fake->pid > 0) {
		kill(fake->pid, SIGKILL);
		waitpid(fake->pid, NULL, 0);
	}
	close(fake->listener);
	munmap(fake->counters, sizeof(*fake->counters));
	unlink(fake->log);
	*fake = (struct fake_registry){ 0 };
}

char *fake_registry_log(const struct fake_registry *fake)
{
	char *text;
	size_t len;

	ensure(fsx_read(AT_FDCWD, fake->log, 64 << 20, &text, &len) == 0);
	return text;
}

unsigned fake_registry_count(const struct fake_registry *fake, const char *text)
{
	cleanup_free char *log = fake_registry_log(fake);
	struct str rest = str_of(log), one;
	unsigned count = 0;

	while (str_cut(rest, '\x1e', &one, &rest)) {
		cleanup_free char *request = str_dup(one);

		count += strstr(request, text) != NULL;
	}
	return count;
}
