/* core/loop/listener.c
 *
 * The socket is bound and listens from the constructor on; the kernel keeps clients in the backlog until listener_start().
 * Whether a socket file is stale is decided by unix_listen().
 */
#include "core/loop/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define BACKLOG       512
#define ACCEPT_BURST  64
#define OUT_OF_FDS_MS 100
#define SOCKET_MODE   0660

struct listener {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	struct loop_timer retry;
	listener_fn fn;
	void *arg;
	char *address;
	char *path; /* unix */
	dev_t dev;
	ino_t ino;
	bool accepting,
		dead; /* fn may free the listener: the memory goes when the accept loop ends */
};

static void peer_of_unix(int fd, struct listener_peer *peer)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	peer->pid = cred.pid;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	snprintf(peer->text, sizeof(peer->text), "unix pid %d uid %u", (int)cred.pid,
	         (unsigned)cred.uid);
}

/* "1.2.3.4:80", "[::1]:80" */
static void format_tcp(const struct sockaddr_storage *addr, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (addr->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
	}
}

static void on_retry(void *arg)
{
	struct listener *listener = arg;

	loop_io_set(listener->io, EPOLLIN);
}

static void on_ready(void *arg, uint32_t events)
{
	struct listener *listener = arg;

	(void)events;
	listener->accepting = true;
	for (int i = 0; i < ACCEPT_BURST && !listener->dead; i++) {
		struct listener_peer peer = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		int one = 1, fd;

		fd = accept4(listener->fd, (struct sockaddr *)&addr, &len,
		             SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM) {
				/* The connection stays in the backlog and would wake us at once. */
				loop_io_set(listener->io, 0);
				loop_timer_arm_in(listener->loop, &listener->retry, OUT_OF_FDS_MS);
				break;
			}
			if (errno == EAGAIN)
				break;
			continue; /* that one connection failed: ECONNABORTED and its kin, EINTR */
		}
		if (listener->path) {
			peer_of_unix(fd, &peer);
		} else {
			format_tcp(&addr, peer.text, sizeof(peer.text));
			/* Answers are written whole; waiting for more would only delay them. */
			ignore(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0);
		}
		listener->fn(listener->arg, fd, &peer);
	}
	listener->accepting = false;
	if (listener->dead)
		free(listener);
}

static struct listener *listener_make(struct loop *loop, int fd, const char *path, char *address)
{
	struct listener *listener = xcalloc(1, sizeof(*listener));

	*listener = (struct listener){
		.loop = loop, .fd = fd, .path = path ? xstrdup(path) : NULL, .address = address
	};
	loop_timer_init(&listener->retry, on_retry, listener, "listener retry");
	return listener;
}

struct listener *listener_unix(struct loop *loop, const char *path, struct err *err)
{
	struct listener *listener;
	struct stat st;
	int fd;

	ensure(loop && path);
	fd = unix_listen(path, SOCK_STREAM | SOCK_NONBLOCK, SOCKET_MODE, BACKLOG);
	if (fd == -EADDRINUSE) {
		err_set(err, CODE_ALREADY_EXISTS, "listen on %s: another process answers there",
		        path);
		return NULL;
	}
	if (fd == -EEXIST) {
		err_set(err, CODE_ALREADY_EXISTS, "listen on %s: exists and is not a socket", path);
		return NULL;
	}
	if (fd < 0) {
		err_sys(err, -fd, "listen on %s", path);
		return NULL;
	}
	listener = listener_make(loop, fd, path, xstrdup(path));
	if (lstat(path, &st) == 0) {
		listener->dev = st.st_dev;
		listener->ino = st.st_ino;
	}
	return listener;
}

/* host:port with a numeric host, "localhost", "*" or nothing (every address). */
static int parse_tcp(const char *address, struct addrinfo **ret, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		                  .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
	cleanup_free char *host_text = NULL;
	struct str host, port;
	uint64_t number;
	char service[8];

	if (!str_rcut(str_of(address), ':', &host, &port) || str_u64(port, 65535, &number) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "listen address \"%s\": want host:port or [v6]:port", address);
	if (host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
		host = (struct str){ host.p + 1, host.len - 2 };
	else if (memchr(host.p, ':', host.len))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "listen address \"%s\": an IPv6 host stands in brackets", address);
	if (str_eq_c(host, "localhost"))
		host = STR("127.0.0.1");
	host_text = host.len == 0 || str_eq_c(host, "*") ? NULL : str_dup(host);
	ignore(str_format(service, sizeof(service), "%u",
	                  (unsigned)number)); /* five digits at most */
	if (getaddrinfo(host_text, service, &hints, ret) != 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "listen address \"%s\": the host is not an IP address", address);
	return 0;
}

struct listener *listener_tcp(struct loop *loop, const char *address, struct err *err)
{
	cleanup_close int fd = -1;
	struct addrinfo *info = NULL;
	struct sockaddr_storage bound;
	socklen_t len = sizeof(bound);
	char text[64];
	int one = 1, sys;

	ensure(loop && address);
	if (parse_tcp(address, &info, err) < 0 || !info)
		return NULL;
	fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&bound, &len) < 0) {
		sys = errno;
		freeaddrinfo(info);
		if (sys == EADDRINUSE)
			err_set(err, CODE_ALREADY_EXISTS, "listen on %s: the port is taken",
			        address);
		else
			err_sys(err, sys, "listen on %s", address);
		return NULL;
	}
	freeaddrinfo(info);
	format_tcp(&bound, text, sizeof(text));
	return listener_make(loop, take_fd(&fd), NULL, xstrdup(text));
}

int listener_start(struct listener *listener, listener_fn fn, void *arg, struct err *err)
{
	ensure(fn && !listener->io);
	listener->fn = fn;
	listener->arg = arg;
	listener->io = loop_io_new(listener->loop, listener->fd, EPOLLIN, on_ready, listener,
	                           "listener", err);
	return listener->io ? 0 : err_wrap(err, "listen on %s", listener->address);
}

const char *listener_address(const struct listener *listener)
{
	return listener->address;
}

void listener_free(struct listener *listener)
{
	struct stat st;

	if (!listener)
		return;
	loop_timer_disarm(listener->loop, &listener->retry);
	loop_io_free(listener->io);
	if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
	    st.st_ino == listener->ino)
		ignore(unlink(listener->path) <
		       0); /* a left-over socket file is replaced by the next start */
	close(listener->fd);
	free(listener->path);
	free(listener->address);
	listener->dead = true;
	if (!listener->accepting)
		free(listener);
}
