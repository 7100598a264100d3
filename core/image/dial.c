/* core/image/dial.c */
#include "core/image/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/base/str.h"

#define ADDRESSES_MAX 16
#define NEXT_AFTER_NS (300 * NS_PER_MS)

static int wait_for(struct pollfd *fds, nfds_t count, int64_t deadline_ns)
{
	int64_t left_ms = (deadline_ns - clock_mono_ns() + NS_PER_MS - 1) / NS_PER_MS;
	int n;

	if (left_ms <= 0)
		return 0;
	n = poll(fds, count, (int)MIN(left_ms, INT64_C(3600000)));
	return n < 0 ? (errno == EINTR ? 0 : -errno) : n;
}

ssize_t net_recv(int fd, void *data, size_t max, int64_t deadline_ns)
{
	for (;;) {
		struct pollfd poller = { .fd = fd, .events = POLLIN };
		ssize_t n = recv(fd, data, max, 0);
		int rc;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (clock_mono_ns() >= deadline_ns)
			return -ETIMEDOUT;
		rc = wait_for(&poller, 1, deadline_ns);
		if (rc < 0)
			return rc;
	}
}

ssize_t net_send(int fd, const void *data, size_t len, int64_t deadline_ns)
{
	size_t done = 0;

	while (done < len) {
		struct pollfd poller = { .fd = fd, .events = POLLOUT };
		ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
		int rc;

		if (n >= 0) {
			done += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (clock_mono_ns() >= deadline_ns)
			return -ETIMEDOUT;
		rc = wait_for(&poller, 1, deadline_ns);
		if (rc < 0)
			return rc;
	}
	return (ssize_t)len;
}

/* --- connecting */

struct race {
	struct pollfd fds[ADDRESSES_MAX]; /* in order of their start; fd -1: lost */
	size_t started, running;
	int error; /* of the last that lost */
};

static void race_start(struct race *race, const struct addrinfo *address)
{
	const int on = 1;
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	race->fds[race->started] = (struct pollfd){ .fd = fd, .events = POLLOUT };
	if (fd >= 0 &&
	    (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS)) {
		ignore(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))); /* only speed */
		race->running++;
	} else {
		race->error = errno;
		if (fd >= 0)
			close(fd);
		race->fds[race->started].fd = -1;
	}
	race->started++;
}

/* A connected socket, taken out of the race; -1: none yet. */
static int race_winner(struct race *race)
{
	for (size_t i = 0; i < race->started; i++) {
		struct pollfd *at = &race->fds[i];
		int error = 0;
		socklen_t len = sizeof(error);

		if (at->fd < 0 || !at->revents)
			continue;
		if (getsockopt(at->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			error = errno;
		if (error == 0)
			return take_fd(&at->fd);
		race->error = error;
		race->running--;
		close(take_fd(&at->fd));
	}
	return -1;
}

static void race_end(struct race *race)
{
	for (size_t i = 0; i < race->started; i++)
		if (race->fds[i].fd >= 0)
			close(race->fds[i].fd);
}

static int race_run(struct race *race, const struct addrinfo *address, int64_t deadline_ns)
{
	int64_t next_ns = 0;

	for (;;) {
		int64_t now = clock_mono_ns();
		int fd, rc;

		if (address && race->started < ADDRESSES_MAX &&
		    (now >= next_ns || race->running == 0)) {
			race_start(race, address);
			address = address->ai_next;
			next_ns = now + NEXT_AFTER_NS;
			continue; /* one that failed at once must not delay the next */
		}
		if (race->started == ADDRESSES_MAX)
			address = NULL;
		if (race->running == 0)
			return -race->error;
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		rc = wait_for(race->fds, race->started,
		              address ? MIN(next_ns, deadline_ns) : deadline_ns);
		if (rc < 0)
			return rc;
		fd = rc > 0 ? race_winner(race) : -1;
		if (fd >= 0)
			return fd;
	}
}

int dial(const char *host, uint16_t port, int64_t timeout_ms, int *ret_fd, struct err *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct race race = { .error = EADDRNOTAVAIL };
	struct addrinfo *addresses = NULL;
	char service[8];
	int rc;

	ignore(str_format(service, sizeof(service), "%u", port)); /* fits */
	rc = getaddrinfo(host, service, &hints, &addresses);
	if (rc != 0) {
		err_set(err, CODE_UNAVAILABLE, "resolve %s: %s", host, gai_strerror(rc));
		err->sys = rc == EAI_NONAME ? EADDRNOTAVAIL : EAGAIN;
		return -1;
	}
	rc = race_run(&race, addresses, clock_mono_ns() + timeout_ms * NS_PER_MS);
	race_end(&race);
	freeaddrinfo(addresses);
	if (rc < 0) {
		err_set(err, CODE_UNAVAILABLE, "connect to %s port %u: %s", host, port,
		        errno_name(-rc));
		err->sys = -rc;
		return -1;
	}
	*ret_fd = rc;
	return 0;
}
