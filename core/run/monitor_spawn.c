/* core/run/monitor_spawn.c
 *
 * The birth of a monitor: what it is executed from, the descriptors it gets, its configuration.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/run/monitors_internal.h"

#define LISTEN_BACKLOG 16

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

static int seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0
	               ? -errno
	               : 0;
}

/* One copy per daemon life: all its monitors share the pages. */
static int make_memfd(struct monitors *monitors)
{
	cleanup_close int fd =
		memfd_create("coracle-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	ssize_t n;
	int rc;

	if (fd < 0 &&
	    errno == EINVAL) /* a kernel that does not know MFD_EXEC makes them executable */
		fd = memfd_create("coracle-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	n = write_full(fd, monitors->args.elf, monitors->args.elf_len);
	if (n < 0)
		return (int)n;
	rc = seal(fd);
	if (rc < 0)
		return rc;
	monitors->exec_fd = take_fd(&fd);
	return 0;
}

/* Where memory files may not be executed (vm.memfd_noexec=2, a security module): a file that
 * nobody can write. */
static int make_exec_file(struct monitors *monitors)
{
	cleanup_free char *path = xasprintf("%s/.monitor", monitors->dir);
	int fd, rc;

	rc = fsx_write(AT_FDCWD, path, monitors->args.elf, monitors->args.elf_len, 0500);
	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (monitors->exec_fd >= 0)
		close(monitors->exec_fd);
	monitors->exec_fd = fd;
	return 0;
}

static int check_start(const struct monitor_start_args *args, struct err *err)
{
	if (monitors_check_id(args->id, err) < 0)
		return -1;
	if (!args->bundle || args->bundle[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT, "bundle \"%s\" is no absolute path",
		               or_empty(args->bundle));
	if (!args->runtime || !args->runtime[0] || args->runtime[0][0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT, "runtime is no absolute path");
	if (args->log_path && args->log_path[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT, "log path \"%s\" is not absolute",
		               args->log_path);
	/* What is in there gets killed: it must be this container's and nobody else's. */
	for (const char *const *dir = args->cgroups; dir && *dir; dir++)
		if ((*dir)[0] != '/' || !strstr(*dir, args->id))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "cgroup \"%s\" is not named after the container", *dir);
	return 0;
}

static size_t encode_config(const struct monitor_start_args *args, uint32_t tag, uint8_t *frame)
{
	struct monitor_config config = {
		.flags = (uint32_t)((args->tty ? MONITOR_TTY : 0) |
		                    (args->want_stdin ? MONITOR_WANT_STDIN : 0) |
		                    (args->stdin_once ? MONITOR_STDIN_ONCE : 0) |
		                    (args->kill_cgroup ? MONITOR_KILL_CGROUP : 0) |
		                    (args->oplock_fd >= 0 ? MONITOR_HAS_OPLOCK : 0)),
		.max_line =
			args->max_line <= 0 ? 0 : (uint32_t)MIN(args->max_line, (int64_t)INT32_MAX),
		.timeout_ms = monitors_bounded_ms(args->timeout_ms),
		.io_uid = args->io_uid,
		.io_gid = args->io_gid,
		.id = args->id,
		.bundle = args->bundle,
		.log_path = or_empty(args->log_path),
	};

	for (size_t i = 0; args->runtime[i]; i++) {
		if (i == MONITOR_ARGV_MAX)
			return 0;
		config.runtime[i] = args->runtime[i];
	}
	for (size_t i = 0; args->cgroups && args->cgroups[i]; i++) {
		if (i == MONITOR_CGROUPS_MAX)
			return 0;
		config.cgroups[i] = args->cgroups[i];
	}
	return monitor_encode_config(&config, tag, frame, MONITOR_CONFIG_MAX);
}

/* Everything a monitor is born with; closed again when it has it. */
struct birth {
	int control[2], lock, listen, dir, tmp, new;
};

static void birth_release(struct birth *birth)
{
	const int fds[] = { birth->control[0], birth->control[1], birth->lock, birth->listen,
		            birth->dir,        birth->tmp,        birth->new };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

DEFINE_CLEANUP(struct birth, birth_release);

static int open_dir(const char *path, int *ret_fd, struct err *err)
{
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, errno, "open %s", path) : 0;
}

static int birth_prepare(struct monitors *monitors, const char *id, struct birth *birth,
                         struct err *err)
{
	cleanup_free char *lock = monitors_path(monitors, id, ".lock");
	cleanup_free char *sock = monitors_path(monitors, id, ".sock");
	int rc;

	rc = fsx_mkdir_p(monitors->dir, 0700);
	if (rc < 0)
		return err_sys(err, -rc, "mkdir %s", monitors->dir);
	if (open_dir(monitors->dir, &birth->dir, err) < 0 ||
	    open_dir(monitors->tmp_dir, &birth->tmp, err) < 0 ||
	    open_dir(monitors->new_dir, &birth->new, err) < 0)
		return -1;

	birth->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (birth->lock < 0)
		return err_sys(err, errno, "open %s", lock);
	if (flock(birth->lock, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
		               ? err_set(err, CODE_FAILED_PRECONDITION,
		                         "a monitor of container %.12s is still running", id)
		               : err_sys(err, errno, "lock %s", lock);
	/* Ours by the lock: what is there is a leftover. */
	if (unlink(sock) < 0 && errno != ENOENT)
		return err_sys(err, errno, "unlink %s", sock);
	birth->listen = unix_listen(sock, SOCK_SEQPACKET, 0600, LISTEN_BACKLOG);
	if (birth->listen < 0)
		return err_sys(err, -birth->listen, "listen on %s", sock);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, birth->control) < 0)
		return err_sys(err, errno, "socketpair");
	rc = fd_set_nonblock(birth->control[0], true);
	return rc < 0 ? err_sys(err, -rc, "socketpair") : 0;
}

/* A monitor that ends has told us all it had to tell by other means. */
static void reaped(void *arg, const struct child_result *result)
{
	(void)arg;
	(void)result;
}

static int spawn(struct monitors *monitors, const struct birth *birth,
                 const struct monitor_start_args *args, struct err *err)
{
	char *argv[] = { (char *)"coracle-monitor", (char *)(uintptr_t)args->id, NULL };
	const struct child_fd fds[] = {
		{ birth->control[1], MONITOR_FD_CONTROL },
		{ birth->lock, MONITOR_FD_LOCK },
		{ birth->listen, MONITOR_FD_LISTEN },
		{ birth->dir, MONITOR_FD_DIR },
		{ birth->tmp, MONITOR_FD_TMP },
		{ birth->new, MONITOR_FD_NEW },
		/* Not child_args.oplock_fd: the monitor is no worker of this op
		 * (core/monitor/call.c notes the session of those that are), so it must not be
		 * killed with them. */
		{ args->oplock_fd, MONITOR_FD_OPLOCK },
	};
	struct child_args child = CHILD_ARGS_INIT;
	struct child *spawned;

	child.name = "monitor";
	child.exec_fd = monitors->exec_fd;
	child.argv = argv;
	child.fds = fds;
	child.nfds = ARRAY_SIZE(fds) - (args->oplock_fd < 0 ? 1 : 0);
	child.cgroup_fd = monitors->args.cgroup_fd;
	child.done = reaped;
	spawned = child_spawn(monitors->args.loop, &child, err);
	if (!spawned)
		return -1;
	child_detach(spawned);
	return 0;
}

static int spawn_somehow(struct monitors *monitors, const struct birth *birth,
                         const struct monitor_start_args *args, struct err *err)
{
	int rc = 0;

	if (monitors->exec_fd < 0) {
		rc = make_memfd(monitors);
		if (rc < 0 && rc != -EACCES && rc != -EPERM && rc != -ENOSYS)
			return err_sys(err, -rc, "memory file for monitors");
	}
	if (rc == 0) {
		if (spawn(monitors, birth, args, err) == 0)
			return 0;
		if (err->sys != EACCES && err->sys != EPERM)
			return -1;
	}
	rc = make_exec_file(monitors);
	if (rc < 0)
		return err_sys(err, -rc, "write %s/.monitor", monitors->dir);
	return spawn(monitors, birth, args, err);
}

int monitor_start(struct monitors *monitors, const struct monitor_start_args *args, struct err *err)
{
	cleanup(birth_release) struct birth birth = { { -1, -1 }, -1, -1, -1, -1, -1 };
	cleanup_free uint8_t *frame = NULL;
	const char *runtime;
	struct request *req;
	struct monitor *mon;
	size_t len;

	ensure(args->done && monitors->args.elf);
	if (check_start(args, err) < 0)
		return err_wrap(err, "start monitor");
	if (map_find(&monitors->connected, args->id))
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "a monitor of container %.12s is still running", args->id);
	if (birth_prepare(monitors, args->id, &birth, err) < 0 ||
	    spawn_somehow(monitors, &birth, args, err) < 0)
		return err_wrap(err, "start monitor of container %.12s", args->id);

	runtime = strrchr(args->runtime[0], '/') + 1;
	req = monitors_request_new(monitors, xasprintf("%s create", runtime), args->timeout_ms,
	                           args->arg);
	req->done = args->done;
	frame = xcalloc(1, MONITOR_CONFIG_MAX);
	len = encode_config(args, req->tag, frame);
	if (len == 0) { /* the monitor ends with its control socket */
		monitors_request_free(req);
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "start monitor of container %.12s: its configuration is too large",
		               args->id);
	}
	mon = monitors_add(monitors, args->id, runtime, birth.control[0], err);
	if (!mon) {
		monitors_request_free(req);
		return err_wrap(err, "start monitor of container %.12s", args->id);
	}
	take_fd(&birth.control[0]);
	monitors_request_send(req, mon, frame, len, -1, monitors_answer_ms(args->timeout_ms));
	return 0;
}
