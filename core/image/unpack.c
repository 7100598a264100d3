/* core/image/unpack.c
 *
 * The process is a loop that receives session sockets and forks for each. A session reads one command, executes it, answers,
 * and exits. Paths are relative to the new root: <slot>/fs for what is staged, lower/<hex>/fs for what is committed.
 */
#include "core/image/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/confine.h"
#include "core/image/manifest.h"
#include "core/image/overlay.h"
#include "core/image/untar.h"

#define LOWER_DIR     "/lower"
#define SOCKET_BUFFER (1024 * 1024)

/* --- the pull process's side */

int unpack_start(const char *staging, const char *layers, int *ret_control, pid_t *ret_pid,
                 struct err *err)
{
	const char *const argv[] = { "coracle", "unpack", staging, layers, NULL };
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "socket of the unpack process");
	pid = fork();
	if (pid < 0) {
		int sys = errno;

		close(pair[0]);
		close(pair[1]);
		return err_sys(err, sys, "start the unpack process");
	}
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		/* It needs neither the archive nor the socket of the pull process. */
		if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
			_exit(127);
		if (pair[1] == UNPACK_CONTROL_FD ? fd_set_cloexec(pair[1], false) == 0
		                                 : dup2(pair[1], UNPACK_CONTROL_FD) >= 0)
			execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(pair[1]);
	*ret_control = pair[0];
	*ret_pid = pid;
	return 0;
}

int unpack_session(int control, int *ret_socket, struct err *err)
{
	cleanup_close int ours = -1;
	cleanup_close int theirs = -1;
	int pair[2], size = SOCKET_BUFFER;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "socket of an unpack session");
	ours = pair[0];
	theirs = pair[1];
	ignore(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size))); /* only faster */
	n = fd_send(control, "S", 1, &theirs, 1);
	if (n < 0)
		return err_set(err, CODE_INTERNAL, "the unpack process is gone");
	*ret_socket = take_fd(&ours);
	return 0;
}

static int session_lost(int sock, struct err *err)
{
	struct untar_result unused;

	/* It failed and said why before it closed. A unix socket still delivers that after the write failed. */
	if (unpack_wait(sock, &unused, err) < 0)
		return -1;
	return err_set(err, CODE_INTERNAL, "the unpack process ended early");
}

int unpack_send(int sock, enum unpack_frame type, const void *head, size_t head_len,
                const void *data, size_t len, struct err *err)
{
	uint8_t frame[UNPACK_FRAME_HEAD];
	struct iovec iov[3] = {
		{ .iov_base = frame, .iov_len = sizeof(frame) },
		{ .iov_base = (void *)(uintptr_t)head, .iov_len = head_len },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = len },
	};
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

	unpack_put_head(frame, type, head_len + len);
	while (msg.msg_iovlen > 0) {
		ssize_t n = sendmsg(sock, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return session_lost(sock, err);
		while (msg.msg_iovlen > 0 && (size_t)n >= msg.msg_iov->iov_len) {
			n -= (ssize_t)msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (msg.msg_iovlen > 0) {
			msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + n;
			msg.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int unpack_wait(int sock, struct untar_result *ret, struct err *err)
{
	uint8_t head[UNPACK_FRAME_HEAD], data[1024];
	struct unpack_reply reply;
	enum unpack_frame type;
	size_t len;

	if (read_full(sock, head, sizeof(head)) != (ssize_t)sizeof(head))
		return err_set(err, CODE_INTERNAL, "the unpack process ended without an answer");
	if (unpack_get_head(head, &type, &len) < 0 || type != UNPACK_DONE || len > sizeof(data) ||
	    read_full(sock, data, len) != (ssize_t)len)
		return err_set(err, CODE_INTERNAL, "malformed answer from the unpack process");
	if (unpack_get_reply(data, len, &reply, err) < 0)
		return -1;
	if (reply.err.code != CODE_OK) {
		*err = reply.err;
		return -1;
	}
	*ret = reply.result;
	return 0;
}

int unpack_fix(int control, uint32_t slot, char *const *lowers, size_t nlowers,
               struct untar_result *ret, struct err *err)
{
	cleanup(buf_release) struct buf payload = { 0 };
	cleanup_close int sock = -1;
	uint8_t number[4];

	buf_init(&payload, UNPACK_FRAME_MAX);
	put_le32(number, slot);
	if (buf_add(&payload, number, sizeof(number)) < 0)
		return buf_err_full(&payload, "list of layers", err);
	for (size_t i = 0; i < nlowers; i++) {
		uint8_t len = (uint8_t)strlen(lowers[i]);

		if (buf_add(&payload, &len, 1) < 0 || buf_add(&payload, lowers[i], len) < 0)
			return buf_err_full(&payload, "list of layers", err);
	}
	if (unpack_session(control, &sock, err) < 0)
		return -1;
	if (unpack_send(sock, UNPACK_FIX, payload.data, payload.len, NULL, 0, err) < 0)
		return -1;
	return unpack_wait(sock, ret, err);
}

/* --- the process */

struct session {
	int sock;
	uint8_t *data; /* payload of the current frame */
	size_t len;
	enum unpack_frame type;
	uint64_t free_bytes, free_inodes;
};

static int receive(struct session *session, struct err *err)
{
	uint8_t head[UNPACK_FRAME_HEAD];
	ssize_t n = read_full(session->sock, head, sizeof(head));

	if (n != (ssize_t)sizeof(head))
		return err_set(err, CODE_CANCELLED, "the pull process ended");
	if (unpack_get_head(head, &session->type, &session->len) < 0)
		return err_set(err, CODE_INTERNAL, "malformed frame from the pull process");
	if (read_full(session->sock, session->data, session->len) != (ssize_t)session->len)
		return err_set(err, CODE_CANCELLED, "the pull process ended");
	return 0;
}

static int open_dir(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 ? fd : err_sys(err, errno, "open %s", path);
}

static int write_deferred(const char *slot, const struct buf *deferred, struct err *err)
{
	cleanup_close int dir = open_dir(slot, err);
	int rc;

	if (dir < 0)
		return -1;
	rc = fsx_write(dir, "deferred", or_empty(deferred->data), deferred->len, 0600);
	return rc < 0 ? err_sys(err, -rc, "write list of deferred entries") : 0;
}

static int write_meta(const char *slot, const struct untar_result *result, struct err *err)
{
	const struct layer_meta meta = { result->size_bytes, result->inodes, result->has_root };
	cleanup_close int dir = open_dir(slot, err);
	char text[128];
	int rc;

	if (dir < 0)
		return -1;
	rc = layer_meta_format(&meta, text, sizeof(text));
	rc = fsx_write(dir, "meta", text, (size_t)rc, 0600);
	return rc < 0 ? err_sys(err, -rc, "write layer meta") : 0;
}

static int slot_dir(const struct session *session, char path[32], struct err *err)
{
	if (session->len < 4 || get_le32(session->data) > UNPACK_SLOT_MAX)
		return err_set(err, CODE_INTERNAL, "malformed command from the pull process");
	return str_format(path, 32, "/%u", get_le32(session->data)) < 0
	               ? err_set(err, CODE_INTERNAL, "slot %u", get_le32(session->data))
	               : 0;
}

static int do_unpack(struct session *session, struct untar_result *ret, struct err *err)
{
	cleanup(untar_free) struct untar *untar = NULL;
	cleanup(buf_release) struct buf deferred = { 0 };
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	cleanup_close int root = -1;
	struct tar_entry entry;
	char slot[32], fs[40];

	buf_init(&deferred, 2 * UNTAR_DEFERRED_MAX);
	if (session->len != 20 || slot_dir(session, slot, err) < 0)
		return err->code ? -1
		                 : err_set(err, CODE_INTERNAL,
		                           "malformed command from the pull process");
	ignore(str_format(fs, sizeof(fs), "%s/fs", slot)); /* fits */
	/* fs is shown inside containers; its mode is that of "/" in an image that does not say */
	if (mkdir(slot, 0700) < 0 || mkdir(fs, 0755) < 0)
		return err_sys(err, errno, "make %s", fs);
	root = open_dir(fs, err);
	if (root < 0)
		return -1;
	untar = untar_new(&(struct untar_args){ .root_fd = root,
	                                        .free_bytes = get_le64(session->data + 4),
	                                        .free_inodes = get_le64(session->data + 12) });
	for (;;) {
		if (receive(session, err) < 0)
			return -1;
		if (session->type == UNPACK_ENTRY) {
			if (unpack_get_entry(session->data, session->len, &entry, xattrs, err) <
			            0 ||
			    untar_entry(untar, &entry, err) < 0)
				return -1;
		} else if (session->type == UNPACK_DATA && session->len >= 8) {
			if (untar_data(untar, session->data + 8, session->len - 8,
			               get_le64(session->data), err) < 0)
				return -1;
		} else if (session->type == UNPACK_END) {
			break;
		} else {
			return err_set(err, CODE_INTERNAL,
			               "unexpected frame from the pull process");
		}
	}
	if (untar_finish(untar, ret, &deferred, err) < 0 || write_meta(slot, ret, err) < 0)
		return -1;
	return deferred.len ? write_deferred(slot, &deferred, err) : 0;
}

/* "s<slot>" or "l<hex>" */
static int open_lower(struct str name, struct err *err)
{
	char path[128];
	uint64_t slot;

	if (name.len > 1 && name.p[0] == 's' &&
	    str_u64((struct str){ name.p + 1, name.len - 1 }, UNPACK_SLOT_MAX, &slot) == 0) {
		ignore(str_format(path, sizeof(path), "/%llu/fs",
		                  (unsigned long long)slot)); /* fits */
		return open_dir(path, err);
	}
	if (name.len == 65 && name.p[0] == 'l') {
		uint8_t raw[32];

		if (hex_decode((struct str){ name.p + 1, 64 }, raw, sizeof(raw)) == 0) {
			ignore(str_format(path, sizeof(path), LOWER_DIR "/%.64s/fs",
			                  name.p + 1)); /* fits */
			return open_dir(path, err);
		}
	}
	return err_set(err, CODE_INTERNAL, "malformed layer name from the pull process");
}

static int fix_with(const char *slot, const int *lowers, size_t nlowers, struct untar_result *ret,
                    struct err *err)
{
	cleanup_free char *deferred = NULL;
	cleanup_close int dir = -1;
	cleanup_close int root = -1;
	struct layer_meta meta;
	cleanup_free char *text = NULL;
	size_t len, text_len;
	int rc;

	dir = open_dir(slot, err);
	if (dir < 0)
		return -1;
	root = openat(dir, "fs", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (root < 0)
		return err_sys(err, errno, "open %s/fs", slot);
	rc = fsx_read(dir, "deferred", 2 * UNTAR_DEFERRED_MAX, &deferred, &len);
	if (rc < 0)
		return err_sys(err, -rc, "read list of deferred entries");
	rc = fsx_read(dir, "meta", 4096, &text, &text_len);
	if (rc < 0 || layer_meta_parse(text, text_len, &meta) < 0)
		return err_set(err, CODE_INTERNAL, "layer meta of slot %s", slot);
	ret->has_root = meta.has_root;
	if (untar_fix(root, deferred, len, lowers, nlowers, ret, err) < 0)
		return -1;
	if (unlinkat(dir, "deferred", 0) < 0)
		return err_sys(err, errno, "remove list of deferred entries");
	return write_meta(slot, ret, err);
}

static int do_fix(struct session *session, struct untar_result *ret, struct err *err)
{
	int lowers[MANIFEST_LAYERS_MAX];
	size_t nlowers = 0, at = 4;
	char slot[32];
	int rc = slot_dir(session, slot, err);

	while (rc == 0 && at < session->len) {
		size_t len = session->data[at++];

		if (len > session->len - at || nlowers == ARRAY_SIZE(lowers)) {
			rc = err_set(err, CODE_INTERNAL, "malformed command from the pull process");
			break;
		}
		lowers[nlowers] =
			open_lower((struct str){ (const char *)session->data + at, len }, err);
		if (lowers[nlowers] < 0) {
			rc = -1;
			break;
		}
		nlowers++;
		at += len;
	}
	if (rc == 0)
		rc = fix_with(slot, lowers, nlowers, ret, err);
	while (nlowers > 0)
		close(lowers[--nlowers]);
	return rc;
}

static int session_run(int sock)
{
	struct session session = { .sock = sock };
	struct unpack_reply reply = { 0 };
	cleanup(buf_release) struct buf out = { 0 };
	cleanup_free uint8_t *data = xcalloc(1, UNPACK_FRAME_MAX);
	struct err err = { 0 };
	int rc;

	buf_init(&out, 4096);
	session.data = data;
	rc = receive(&session, &reply.err);
	if (rc == 0 && session.type == UNPACK_BEGIN)
		rc = do_unpack(&session, &reply.result, &reply.err);
	else if (rc == 0 && session.type == UNPACK_FIX)
		rc = do_fix(&session, &reply.result, &reply.err);
	else if (rc == 0)
		rc = err_set(&reply.err, CODE_INTERNAL, "unexpected frame from the pull process");
	if (unpack_put_reply(&out, &reply, &err) < 0)
		return 1;
	if (write_full(sock, out.data, out.len) < 0)
		return 1;
	return rc < 0;
}

static int serve(int control)
{
	unsigned running = 0;

	for (;;) {
		char command;
		int fds[1];
		size_t nfds = 1;
		ssize_t n = fd_recv(control, &command, 1, fds, &nfds);
		pid_t pid;

		if (n <= 0) /* the pull process is done */
			return n < 0;
		if (nfds != 1)
			continue;
		while (running > 0 &&
		       waitpid(-1, NULL, running < UNPACK_SESSIONS_MAX ? WNOHANG : 0) > 0)
			running--;
		pid = fork();
		if (pid == 0) {
			close(control);
			_exit(session_run(fds[0]));
		}
		close(fds[0]); /* a fork that failed shows as a lost session */
		running += pid > 0;
	}
}

static int unpack(const char *staging, const char *layers, struct err *err)
{
	const struct confine_bind binds[] = { { .from = layers, .to = LOWER_DIR } };

	if (confine_root(CONFINE_UNPACK, staging, binds, ARRAY_SIZE(binds), err) < 0)
		return err_wrap(err, "confine the unpack process");
	if (confine_self(CONFINE_UNPACK, err) < 0)
		return err_wrap(err, "confine the unpack process");
	return 0;
}

int unpack_main(int argc, char **argv)
{
	struct err err = { 0 };

	if (argc != 3) {
		log_error(NULL, "unpack: started by coracle pull only");
		return 2;
	}
	umask(0);
	if (unpack(argv[1], argv[2], &err) < 0) {
		log_error(NULL, "%s", err.msg);
		return 1;
	}
	/* Signals wake us into EINTR loops only; SIGPIPE must not kill a session that is about to say why it failed. */
	signal(SIGPIPE, SIG_IGN);
	return serve(UNPACK_CONTROL_FD);
}
