/* core/base/fd.c */
#include "core/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/str.h"

#define MAX_FDS        8
#define SOCK_TYPE_MASK 0xf /* the kernel's: what is left are SOCK_NONBLOCK and SOCK_CLOEXEC */

static int set_flag(int fd, int get, int set, int flag, bool on)
{
	int flags = fcntl(fd, get);
	int want;

	if (flags < 0)
		return -errno;
	want = on ? flags | flag : flags & ~flag;
	if (want != flags && fcntl(fd, set, want) < 0)
		return -errno;
	return 0;
}

int fd_set_nonblock(int fd, bool on)
{
	return set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
	return set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

ssize_t read_full(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)data + done, len - done);

		if (n == 0)
			break;
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

ssize_t pread_full(int fd, void *data, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, off + (off_t)done);

		if (n == 0)
			break;
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

ssize_t write_full(int fd, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n == 0)
			return -EIO; /* never promised, and would loop for ever */
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

ssize_t pwrite_full(int fd, const void *data, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)data + done, len - done, off + (off_t)done);

		if (n == 0)
			return -EIO;
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

/* Control data for MAX_FDS descriptors, aligned as the kernel reads it. */
union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
};

ssize_t fd_send(int sock, const void *data, size_t len, const int *fds, size_t nfds)
{
	union control control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	ensure(nfds <= MAX_FDS);
	if (nfds) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
	}

	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Copies out what fits; anything beyond @room is closed, and told by the result being false. */
static bool take_fds(struct msghdr *msg, int *fds, size_t room, size_t *ret_got)
{
	size_t got = 0;
	bool fits = true;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		const unsigned char *p = CMSG_DATA(cmsg);
		size_t n;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, p + i * sizeof(int), sizeof(int));
			if (got < room) {
				fds[got++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	*ret_got = got;
	return fits;
}

ssize_t fd_recv(int sock, void *data, size_t len, int *fds, size_t *inout_nfds)
{
	union control control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = &control,
		              .msg_controllen = sizeof(control) };
	size_t room = inout_nfds ? *inout_nfds : 0;
	size_t got = 0;
	bool whole;
	ssize_t n;

	ensure(room <= MAX_FDS);
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	whole = take_fds(&msg, fds, room, &got) && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
	if (!whole) {
		/* half a message means something else than the message */
		while (got > 0)
			close(fds[--got]);
		n = -EMSGSIZE;
	}
	if (inout_nfds)
		*inout_nfds = got;
	return n;
}

/*
 * Fill @addr for @path. A path longer than sun_path goes through a descriptor of its directory,
 * which the caller keeps open (*ret_dirfd, -1 if not needed) until bind or connect is done.
 */
static int unix_address(const char *path, struct sockaddr_un *addr, int *ret_dirfd)
{
	const char *base = strrchr(path, '/');
	char dir[4096];
	int fd;

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_dirfd = -1;
	if (!*path)
		return -EINVAL;
	if (str_copy(addr->sun_path, sizeof(addr->sun_path), path) == 0)
		return 0;

	if (!base) {
		if (str_copy(dir, sizeof(dir), ".") < 0)
			return -ENAMETOOLONG;
		base = path;
	} else {
		if (str_format(dir, sizeof(dir), "%.*s/", (int)MIN(base - path, 4096), path) < 0)
			return -ENAMETOOLONG;
		base++;
	}
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (str_format(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", fd, base) <
	    0) {
		close(fd);
		return -ENAMETOOLONG;
	}
	*ret_dirfd = fd;
	return 0;
}

static int connect_to(const struct sockaddr_un *addr, int type)
{
	cleanup_close int fd = -1;
	int rc;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do
		rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : take_fd(&fd);
}

int unix_connect(const char *path, int type)
{
	cleanup_close int dirfd = -1;
	struct sockaddr_un addr;
	int rc;

	rc = unix_address(path, &addr, &dirfd);
	return rc < 0 ? rc : connect_to(&addr, type);
}

/* A socket file that nobody listens on any more is in the way of the next life; anything else is
 * somebody's. */
static int remove_stale(const char *path, const struct sockaddr_un *addr, int type)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;

	/* not blocking: a live listener with a full backlog says EAGAIN, and is live */
	fd = connect_to(addr, (type & ~SOCK_CLOEXEC) | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	if (fd != -ECONNREFUSED)
		return fd == -ENOENT ? 0 : -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int unix_listen(const char *path, int type, mode_t mode, int backlog)
{
	cleanup_close int dirfd = -1;
	cleanup_close int fd = -1;
	struct sockaddr_un addr;
	int rc;

	rc = unix_address(path, &addr, &dirfd);
	if (rc < 0)
		return rc;
	rc = remove_stale(path, &addr, type);
	if (rc < 0)
		return rc;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* The socket's own mode is what bind gives the file (less the umask), so it is at no moment
	 * wider than asked. */
	if (fchmod(fd, mode) < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	if (chmod(path, mode) < 0 ||
	    ((type & SOCK_TYPE_MASK) != SOCK_DGRAM && listen(fd, backlog) < 0)) {
		rc = -errno;
		unlink(path);
		return rc;
	}
	return take_fd(&fd);
}
