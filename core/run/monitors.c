/* core/run/monitors.c
 *
 * One struct monitor per connection, found by container id; one struct request per question that
 * was sent and not answered. A request ends exactly once: by its answer, at its deadline, with the
 * connection, or in monitor_forget(). One that ends within a call of ours (it could not be sent, it
 * was forgotten) is told by a deferred call: nobody is called back from inside his own call.
 *
 * A monitor process is spawned and let go at once (child_detach: the loop still reaps it). What
 * binds us to it is the socket.
 */
#include "core/run/monitors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/run/monitors_internal.h"
#include "core/run/runtime.h"

#define ANSWER_MS       10000 /* for a monitor's own work: to answer a query, to open a log */
#define GRACE_MS        10000 /* on top of a runtime call's time-out, which the monitor enforces */
#define FRAMES_PER_TURN 16
#define LISTEN_BACKLOG  16

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

struct monitors {
	struct monitors_args args;
	char *dir, *tmp_dir, *new_dir; /* <state>/monitors, <spool>/tmp, <spool>/new */
	struct map connected;          /* id -> struct monitor */
	struct list refused;           /* requests whose error the deferred call tells */
	struct loop_defer tell_refused;
	int exec_fd; /* the program; -1: not made yet */
	uint32_t last_tag;
};

struct monitor {
	struct monitors *owner;
	char *id;
	char *runtime; /* name of the runtime's program, for errors */
	int fd;
	struct loop_io *io;
	struct list requests;
};

struct request {
	struct list link; /* monitor.requests, or monitors.refused */
	struct monitors *owner;
	uint32_t tag;
	char *what; /* "crun create": heads the error */
	int64_t timeout_ms;
	struct loop_timer deadline;
	monitor_done_fn done; /* one of the two */
	monitor_status_fn status;
	void *arg;
	struct err err; /* of a refused one */
};

struct loop *monitors_loop(const struct monitors *monitors)
{
	return monitors->args.loop;
}

static char *file_path(const struct monitors *monitors, const char *id, const char *ending)
{
	return xasprintf("%s/%s%s", monitors->dir, id, ending);
}

static int check_id(const char *id, struct err *err)
{
	if (!exit_record_id_valid(id))
		return err_set(err, CODE_INVALID_ARGUMENT, "monitor: bad container id \"%.80s\"",
		               id);
	return 0;
}

/* ------------------------------------------------------------------ requests */

static void request_free(struct request *req)
{
	loop_timer_disarm(req->owner->args.loop, &req->deadline);
	list_remove(&req->link);
	free(req->what);
	free(req);
}

/* Off its list and told. */
static void request_end(struct request *req, const struct monitor_result *result,
                        const struct monitor_status *status, const struct err *err)
{
	static const struct monitor_result none = { .output = "" };
	const struct request told = *req;

	request_free(req);
	if (told.status)
		told.status(told.arg, err ? NULL : status, err);
	else if (told.done)
		told.done(told.arg, result ? result : &none, err);
}

static void on_deadline(void *arg)
{
	struct request *req = arg;
	struct err err = { 0 };

	err_set(&err, CODE_DEADLINE_EXCEEDED, "%s: the monitor does not answer", req->what);
	request_end(req, NULL, NULL, &err);
}

static void tell_refused(void *arg)
{
	struct monitors *monitors = arg;
	struct list now;

	/* What these callbacks refuse anew waits for the next round. */
	list_init(&now);
	list_splice_back(&now, &monitors->refused);
	while (!list_empty(&now)) {
		struct request *req = list_entry(now.next, struct request, link);
		const struct err err = req->err;

		request_end(req, NULL, NULL, &err);
	}
}

static struct request *request_new(struct monitors *monitors, char *what, int64_t timeout_ms,
                                   void *arg)
{
	struct request *req = xcalloc(1, sizeof(*req));

	monitors->last_tag +=
		monitors->last_tag == UINT32_MAX ? 2 : 1; /* 0 is for what nobody asked */
	*req = (struct request){ .owner = monitors,
		                 .tag = monitors->last_tag,
		                 .what = what,
		                 .timeout_ms = timeout_ms,
		                 .arg = arg };
	list_init(&req->link);
	loop_timer_init(&req->deadline, on_deadline, req, "monitor answer");
	return req;
}

/* req->err says why; told from the loop. */
static void request_refuse(struct request *req)
{
	loop_timer_disarm(req->owner->args.loop, &req->deadline);
	list_remove(&req->link);
	list_push_back(&req->owner->refused, &req->link);
	loop_defer_queue(req->owner->args.loop, &req->owner->tell_refused);
}

static void request_send(struct request *req, struct monitor *mon, const void *frame, size_t len,
                         int oplock_fd, int64_t answer_ms)
{
	ssize_t n = fd_send(mon->fd, frame, len, &oplock_fd, oplock_fd >= 0 ? 1 : 0);

	if (n < 0) {
		err_set(&req->err, CODE_UNAVAILABLE, "%s: monitor of container %.12s: %s",
		        req->what, mon->id, n == -EAGAIN ? "does not read" : errno_name((int)-n));
		request_refuse(req);
		return;
	}
	list_push_back(&mon->requests, &req->link);
	loop_timer_arm_in(req->owner->args.loop, &req->deadline, answer_ms);
}

static struct request *request_find(struct monitor *mon, uint32_t tag)
{
	list_for_each(l, &mon->requests) {
		struct request *req = list_entry(l, struct request, link);

		if (req->tag == tag)
			return req;
	}
	return NULL;
}

/* The connection, or NULL with the request refused. */
static struct monitor *connection_for(struct monitors *monitors, const char *id,
                                      struct request *req)
{
	struct monitor *mon = map_find(&monitors->connected, id);

	if (mon)
		return mon;
	err_set(&req->err, CODE_UNAVAILABLE, "%s: no monitor of container %.12s is connected",
	        req->what, id);
	request_refuse(req);
	return NULL;
}

/* ------------------------------------------------------------------ answers */

int monitors_result_err(const struct monitor_result_frame *result, const char *what,
                        int64_t timeout_ms, struct err *err)
{
	char text[sizeof(err->msg)];
	int len = (int)MIN(result->text_len, (size_t)200);

	switch ((enum monitor_why)result->why) {
	case MONITOR_OK:
		return err_set(err, CODE_INTERNAL, "%s: the monitor's answer makes no sense", what);
	case MONITOR_RUNTIME_FAILED:
		runtime_error((struct str){ result->text, result->text_len }, text, sizeof(text));
		if (*text)
			return err_set(err, CODE_INTERNAL, "%s: %s", what, text);
		if (WIFSIGNALED(result->wstatus))
			return err_set(err, CODE_INTERNAL, "%s: killed by signal %d", what,
			               WTERMSIG(result->wstatus));
		return err_set(err, CODE_INTERNAL, "%s: exit status %d", what,
		               WEXITSTATUS(result->wstatus));
	case MONITOR_TIMED_OUT:
		return err_set(err, CODE_DEADLINE_EXCEEDED, "%s: killed after %lld ms%s%.*s", what,
		               (long long)timeout_ms, len ? ": " : "", len, result->text);
	case MONITOR_SYS:
		return err_sys(err, result->sys, "%s: monitor: %.*s", what, len, result->text);
	case MONITOR_WRONG_STATE:
		return err_set(err, CODE_FAILED_PRECONDITION, "%s: %.*s", what, len, result->text);
	case MONITOR_UNSUPPORTED:
		return err_set(err, CODE_UNIMPLEMENTED, "%s: this monitor is too old for it", what);
	case MONITOR_BAD_REQUEST:
		return err_set(err, CODE_INTERNAL, "%s: the monitor refused the request: %.*s",
		               what, len, result->text);
	}
	return err_set(err, CODE_INTERNAL,
	               "%s: the monitor failed for a reason of its own (%u): %.*s", what,
	               result->why, len, result->text);
}

static int on_result(struct request *req, const uint8_t *payload, size_t len)
{
	cleanup_free char *output = NULL;
	struct monitor_result_frame frame;
	struct monitor_result result;
	struct err err = { 0 };

	if (monitor_decode_result(payload, len, &frame) < 0)
		return -1;
	output = xstrndup(frame.text, frame.text_len);
	result = (struct monitor_result){
		.pid = (pid_t)frame.pid,
		.start_ticks = frame.start_ticks,
		.started_ns = frame.started_ns,
		.wstatus = frame.wstatus,
		.output = output,
	};
	if (frame.why == MONITOR_OK && req->done) {
		request_end(req, &result, NULL, NULL);
		return 0;
	}
	monitors_result_err(&frame, req->what, req->timeout_ms, &err);
	request_end(req, &result, NULL, &err);
	return 0;
}

static int on_status(struct request *req, const uint8_t *payload, size_t len)
{
	cleanup_free char *error = NULL;
	struct monitor_status_frame frame;
	struct monitor_result_frame failed;
	struct monitor_status status;
	struct err err = { 0 };

	if (monitor_decode_status(payload, len, &frame) < 0 || !req->status ||
	    frame.stage < MONITOR_CREATING || frame.stage > MONITOR_EXITED)
		return -1;
	if (frame.why != MONITOR_OK) {
		failed = (struct monitor_result_frame){ .why = frame.why,
			                                .sys = frame.sys,
			                                .text = frame.text,
			                                .text_len = frame.text_len };
		monitors_result_err(
			&failed, frame.stage == MONITOR_FAILED ? "runtime create" : "runtime start",
			0, &err);
	}
	error = xstrdup(err.msg);
	status = (struct monitor_status){
		.stage = frame.stage,
		.calling = frame.flags & MONITOR_STATUS_CALLING,
		.oom = frame.flags & MONITOR_STATUS_OOM,
		.pid = (pid_t)frame.pid,
		.start_ticks = frame.start_ticks,
		.started_ns = frame.started_ns,
		.exited_ns = frame.exited_ns,
		.wstatus = frame.wstatus,
		.log_lost = frame.log_lost,
		.error = error,
	};
	request_end(req, NULL, &status, NULL);
	return 0;
}

static int on_record(struct monitor *mon, const uint8_t *payload, size_t len)
{
	struct monitors *monitors = mon->owner;
	struct exit_record rec;
	struct err err = { 0 };

	if (exit_record_decode(payload, len, &rec, &err) != EXIT_RECORD_FILLED ||
	    !streq(rec.id, mon->id))
		return -1;
	monitors->args.record(monitors->args.arg, rec.id, &rec);
	return 0;
}

static int on_log_lost(const struct monitor *mon, const uint8_t *payload, size_t len)
{
	int sys;

	if (len < 12)
		return -1;
	sys = (int32_t)get_le32(payload);
	/* Logged here because this is where it ends: there is nothing to handle, and the monitor
	 * limits the rate. */
	log_warn(&(struct log_ctx){ .container = mon->id, .sys = sys },
	         "output is being lost, %llu bytes so far: write container log: %s",
	         (unsigned long long)get_le64(payload + 4), errno_name(sys));
	return 0;
}

/* -1: the peer talks nonsense. May end in anything, the connection's end included: the caller
 * looks @mon up again. */
static int on_frame(struct monitor *mon, const uint8_t *frame, size_t size)
{
	const uint8_t *payload = frame + MONITOR_HEADER_BYTES;
	struct monitor_header header;
	struct request *req;
	size_t len;

	if (monitor_get_header(frame, size, &header) < 0)
		return -1;
	len = size - MONITOR_HEADER_BYTES;
	req = header.tag ? request_find(mon, header.tag)
	                 : NULL; /* NULL: an answer past its deadline, or a greeting */
	switch ((enum monitor_frame)header.type) {
	case MONITOR_RESULT:
		return req ? on_result(req, payload, len) : 0;
	case MONITOR_STATUS:
		return req ? on_status(req, payload, len) : 0;
	case MONITOR_RECORD:
		return on_record(mon, payload, len);
	case MONITOR_LOG_LOST:
		return on_log_lost(mon, payload, len);
	case MONITOR_CONFIG:
	case MONITOR_START:
	case MONITOR_CALL:
	case MONITOR_REOPEN:
	case MONITOR_RESIZE:
	case MONITOR_QUERY:
	case MONITOR_RELEASE:
	case MONITOR_ATTACH:
	case MONITOR_STDIN:
	case MONITOR_STDIN_EOF:
	case MONITOR_STDOUT:
	case MONITOR_STDERR:
	case MONITOR_CLOSE:
		return -1;
	}
	return 0; /* from a later version: not for us */
}

/* ------------------------------------------------------------------ connections */

/* Off the map and closed; what was asked is refused with @code and told from the loop. */
static void monitor_drop(struct monitor *mon, enum code code, const char *why)
{
	struct monitors *monitors = mon->owner;

	map_remove(&monitors->connected, mon->id);
	loop_io_free(mon->io);
	close(mon->fd);
	while (!list_empty(&mon->requests)) {
		struct request *req = list_entry(mon->requests.next, struct request, link);

		err_set(&req->err, code, "%s: monitor of container %.12s: %s", req->what, mon->id,
		        why);
		request_refuse(req);
	}
	free(mon->runtime);
	free(mon->id);
	free(mon);
}

static void on_readable(void *arg, uint32_t events)
{
	struct monitor *mon = arg;
	struct monitors *monitors = mon->owner;
	cleanup_free char *id = xstrdup(mon->id);
	_Alignas(8) uint8_t frame[MONITOR_FRAME_MAX];
	const char *why = "it is gone";

	(void)events;
	for (int i = 0; i < FRAMES_PER_TURN; i++) {
		ssize_t n = fd_recv(mon->fd, frame, sizeof(frame), NULL, NULL);

		if (n == -EAGAIN)
			return;
		/* It ended with a request of ours unread; its last answers come next. */
		if (n == -ECONNRESET)
			continue;
		if (n <= 0)
			goto ended;
		if (on_frame(mon, frame, (size_t)n) < 0) {
			why = "it does not speak our protocol";
			goto ended;
		}
		if (map_find(&monitors->connected, id) != mon)
			return; /* a callback forgot it */
	}
	return; /* others get their turn */
ended:
	monitor_drop(mon, CODE_UNAVAILABLE, why);
	/* Their errors first: who asked for a create hears of its end before anybody looks into
	 * the spool. */
	tell_refused(monitors);
	monitors->args.gone(monitors->args.arg, id);
}

/* Takes @fd on success. */
static struct monitor *monitor_add(struct monitors *monitors, const char *id, const char *runtime,
                                   int fd, struct err *err)
{
	struct monitor *mon = xcalloc(1, sizeof(*mon));

	mon->owner = monitors;
	mon->io = loop_io_new(monitors->args.loop, fd, EPOLLIN, on_readable, mon, "monitor", err);
	if (!mon->io) {
		free(mon);
		return NULL;
	}
	mon->fd = fd;
	mon->id = xstrdup(id);
	mon->runtime = xstrdup(runtime);
	list_init(&mon->requests);
	ensure(map_insert(&monitors->connected, id, mon));
	return mon;
}

struct monitors *monitors_new(const struct monitors_args *args)
{
	struct monitors *monitors;

	ensure(args->loop && args->state_dir && args->spool_dir && args->gone && args->record);

	monitors = xcalloc(1, sizeof(*monitors));
	monitors->args = *args;
	monitors->dir = xasprintf("%s/monitors", args->state_dir);
	monitors->tmp_dir = xasprintf("%s/tmp", args->spool_dir);
	monitors->new_dir = xasprintf("%s/new", args->spool_dir);
	monitors->args.state_dir = monitors->args.spool_dir = NULL; /* not ours to keep */
	monitors->exec_fd = -1;
	map_init(&monitors->connected);
	list_init(&monitors->refused);
	loop_defer_init(&monitors->tell_refused, tell_refused, monitors);
	return monitors;
}

void monitors_free(struct monitors *monitors)
{
	if (!monitors)
		return;
	map_for_each(e, &monitors->connected)
		monitor_drop(e->value, CODE_CANCELLED, "");
	while (!list_empty(&monitors->refused))
		request_free(list_entry(monitors->refused.next, struct request, link));
	loop_defer_cancel(&monitors->tell_refused);
	if (monitors->exec_fd >= 0)
		close(monitors->exec_fd);
	map_release(&monitors->connected);
	free(monitors->dir);
	free(monitors->tmp_dir);
	free(monitors->new_dir);
	free(monitors);
}

int monitors_connect(const struct monitors *monitors, const char *id, int *ret_fd, struct err *err)
{
	cleanup_free char *path = NULL;
	int fd;

	if (check_id(id, err) < 0)
		return -1;
	path = file_path(monitors, id, ".sock");
	fd = unix_connect(path, SOCK_SEQPACKET | SOCK_NONBLOCK);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return err_set(err, CODE_NOT_FOUND, "no monitor of container %.12s is running", id);
	if (fd == -EAGAIN)
		return err_set(err, CODE_UNAVAILABLE,
		               "the monitor of container %.12s does not answer", id);
	if (fd < 0)
		return err_sys(err, -fd, "connect to %s", path);
	*ret_fd = fd;
	return 0;
}

int monitor_reconnect(struct monitors *monitors, const char *id, struct err *err)
{
	cleanup_close int fd = -1;

	if (map_find(&monitors->connected, id))
		return 0;
	if (monitors_connect(monitors, id, &fd, err) < 0)
		return -1;
	if (!monitor_add(monitors, id, "runtime", fd, err))
		return err_wrap(err, "monitor of container %.12s", id);
	take_fd(&fd);
	return 0;
}

bool monitor_connected(const struct monitors *monitors, const char *id)
{
	return map_find(&monitors->connected, id) != NULL;
}

bool monitor_lock_held(const struct monitors *monitors, const char *id)
{
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;

	if (!exit_record_id_valid(id))
		return false;
	path = file_path(monitors, id, ".lock");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	/* Shared, so that two who probe do not take each other for the monitor. */
	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int monitors_list(const struct monitors *monitors, char ***ret_ids, struct err *err)
{
	cleanup(strv_free) char **names = NULL;
	size_t kept = 0;
	int rc = fsx_list(AT_FDCWD, monitors->dir, &names);

	if (rc == -ENOENT) {
		*ret_ids = xcalloc(1, sizeof(char *));
		return 0;
	}
	if (rc < 0)
		return err_sys(err, -rc, "list %s", monitors->dir);
	/* "<id>.<ending>", sorted: the files of one id are neighbours */
	for (size_t i = 0; names[i]; i++) {
		char *name = names[i];
		char *dot = strrchr(name, '.');

		names[i] = NULL;
		if (dot)
			*dot = '\0';
		if (!dot || !exit_record_id_valid(name) ||
		    (kept > 0 && streq(names[kept - 1], name)))
			free(name);
		else
			names[kept++] = name;
	}
	*ret_ids = take_ptr(names);
	return 0;
}

void monitor_forget(struct monitors *monitors, const char *id)
{
	static const char *const endings[] = { ".sock", ".lock", ".pid", ".log", ".tty" };
	struct monitor *mon = map_find(&monitors->connected, id);

	if (!exit_record_id_valid(id))
		return;
	if (mon) {
		monitor_release(monitors, id);
		monitor_drop(mon, CODE_CANCELLED, "the container is being removed");
	}
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		cleanup_free char *path = file_path(monitors, id, endings[i]);

		ignore(unlink(path)); /* not there is what we want */
	}
}

/* ------------------------------------------------------------------ start */

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
	if (check_id(args->id, err) < 0)
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

static uint32_t bounded_ms(int64_t timeout_ms)
{
	return timeout_ms <= 0 ? 0 : (uint32_t)MIN(timeout_ms, (int64_t)INT32_MAX);
}

static int64_t answer_ms(int64_t timeout_ms)
{
	return timeout_ms <= 0 ? INT32_MAX : bounded_ms(timeout_ms) + (int64_t)GRACE_MS;
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
		.timeout_ms = bounded_ms(args->timeout_ms),
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
	cleanup_free char *lock = file_path(monitors, id, ".lock");
	cleanup_free char *sock = file_path(monitors, id, ".sock");
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
	req = request_new(monitors, xasprintf("%s create", runtime), args->timeout_ms, args->arg);
	req->done = args->done;
	frame = xcalloc(1, MONITOR_CONFIG_MAX);
	len = encode_config(args, req->tag, frame);
	if (len == 0) { /* the monitor ends with its control socket */
		request_free(req);
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "start monitor of container %.12s: its configuration is too large",
		               args->id);
	}
	mon = monitor_add(monitors, args->id, runtime, birth.control[0], err);
	if (!mon) {
		request_free(req);
		return err_wrap(err, "start monitor of container %.12s", args->id);
	}
	take_fd(&birth.control[0]);
	request_send(req, mon, frame, len, -1, answer_ms(args->timeout_ms));
	return 0;
}

/* ------------------------------------------------------------------ questions */

void monitor_run_start(struct monitors *monitors, const char *id, int oplock_fd, int64_t timeout_ms,
                       monitor_done_fn done, void *arg)
{
	struct monitor *known = map_find(&monitors->connected, id);
	struct request *req =
		request_new(monitors, xasprintf("%s start", known ? known->runtime : "runtime"),
	                    timeout_ms, arg);
	uint8_t frame[MONITOR_HEADER_BYTES + 4];
	struct monitor *mon;

	req->done = done;
	mon = connection_for(monitors, id, req);
	if (!mon)
		return;
	monitor_put_header(frame, MONITOR_START, req->tag);
	put_le32(frame + MONITOR_HEADER_BYTES, bounded_ms(timeout_ms));
	request_send(req, mon, frame, sizeof(frame), oplock_fd, answer_ms(timeout_ms));
}

/* "crun delete" of { "/usr/bin/crun", "--root", X, "delete", ... }: the first word that is no
 * option or its value is not known here, so the program alone must do. */
static char *call_name(char *const *argv)
{
	const char *slash = strrchr(argv[0], '/');

	return xstrdup(slash ? slash + 1 : argv[0]);
}

void monitor_call(struct monitors *monitors, const char *id, char *const *argv, int oplock_fd,
                  int64_t timeout_ms, monitor_done_fn done, void *arg)
{
	struct request *req = request_new(monitors, call_name(argv), timeout_ms, arg);
	_Alignas(8) uint8_t frame[MONITOR_FRAME_MAX];
	struct monitor *mon;
	size_t len;

	req->done = done;
	mon = connection_for(monitors, id, req);
	if (!mon)
		return;
	len = monitor_encode_call(bounded_ms(timeout_ms), (const char *const *)argv, req->tag,
	                          frame, sizeof(frame));
	if (len == 0) {
		err_set(&req->err, CODE_RESOURCE_EXHAUSTED, "%s: command line too long", req->what);
		request_refuse(req);
		return;
	}
	request_send(req, mon, frame, len, oplock_fd, answer_ms(timeout_ms));
}

static void ask(struct monitors *monitors, const char *id, struct request *req,
                enum monitor_frame type)
{
	uint8_t frame[MONITOR_HEADER_BYTES];
	struct monitor *mon = connection_for(monitors, id, req);

	if (!mon)
		return;
	monitor_put_header(frame, (uint8_t)type, req->tag);
	request_send(req, mon, frame, sizeof(frame), -1, ANSWER_MS);
}

void monitor_reopen_log(struct monitors *monitors, const char *id, monitor_done_fn done, void *arg)
{
	struct request *req = request_new(monitors, xstrdup("reopen log"), ANSWER_MS, arg);

	req->done = done;
	ask(monitors, id, req, MONITOR_REOPEN);
}

void monitor_query(struct monitors *monitors, const char *id, monitor_status_fn fn, void *arg)
{
	struct request *req = request_new(monitors, xstrdup("query"), ANSWER_MS, arg);

	req->status = fn;
	ask(monitors, id, req, MONITOR_QUERY);
}

/* Nobody waits for the outcome: a monitor that does not take it is one that ends or hangs, which
 * shows elsewhere. */
static void tell(struct monitors *monitors, const char *id, const void *frame, size_t len)
{
	const struct monitor *mon = map_find(&monitors->connected, id);

	if (mon)
		ignore(fd_send(mon->fd, frame, len, NULL, 0) < 0);
}

void monitor_resize(struct monitors *monitors, const char *id, uint16_t width, uint16_t height)
{
	uint8_t frame[MONITOR_HEADER_BYTES + 4];

	monitor_put_header(frame, MONITOR_RESIZE, 0);
	put_le16(frame + MONITOR_HEADER_BYTES, width);
	put_le16(frame + MONITOR_HEADER_BYTES + 2, height);
	tell(monitors, id, frame, sizeof(frame));
}

void monitor_release(struct monitors *monitors, const char *id)
{
	uint8_t frame[MONITOR_HEADER_BYTES];

	monitor_put_header(frame, MONITOR_RELEASE, 0);
	tell(monitors, id, frame, sizeof(frame));
}
