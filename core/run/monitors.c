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
#include <sys/socket.h>
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
#include "core/run/monitors_internal.h"
#include "core/run/runtime.h"

#define ANSWER_MS       10000 /* for a monitor's own work: to answer a query, to open a log */
#define FRAMES_PER_TURN 16

char *monitors_path(const struct monitors *monitors, const char *id, const char *ending)
{
	return xasprintf("%s/%s%s", monitors->dir, id, ending);
}

int monitors_check_id(const char *id, struct err *err)
{
	if (!exit_record_id_valid(id))
		return err_set(err, CODE_INVALID_ARGUMENT, "monitor: bad container id \"%.80s\"",
		               id);
	return 0;
}

/* ------------------------------------------------------------------ requests */

void monitors_request_free(struct request *req)
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

	monitors_request_free(req);
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

struct request *monitors_request_new(struct monitors *monitors, char *what, int64_t timeout_ms,
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

void monitors_request_send(struct request *req, struct monitor *mon, const void *frame, size_t len,
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

/* The connection, made now if it was not yet, or NULL with the request refused. */
static struct monitor *connection_for(struct monitors *monitors, const char *id,
                                      struct request *req)
{
	struct err why = { 0 };

	if (monitor_reconnect(monitors, id, &why) == 0)
		return map_find(&monitors->connected, id);
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
		if (timeout_ms > 0)
			return err_set(err, CODE_DEADLINE_EXCEEDED,
			               "%s: killed after %lld ms%s%.*s", what,
			               (long long)timeout_ms, len ? ": " : "", len, result->text);
		return err_set(err, CODE_DEADLINE_EXCEEDED, "%s: killed at its deadline%s%.*s",
		               what, len ? ": " : "", len, result->text);
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
struct monitor *monitors_add(struct monitors *monitors, const char *id, const char *runtime, int fd,
                             struct err *err)
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
		monitors_request_free(list_entry(monitors->refused.next, struct request, link));
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

	if (monitors_check_id(id, err) < 0)
		return -1;
	path = monitors_path(monitors, id, ".sock");
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
	if (!monitors_add(monitors, id, "runtime", fd, err))
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
	path = monitors_path(monitors, id, ".lock");
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
		cleanup_free char *path = monitors_path(monitors, id, endings[i]);

		ignore(unlink(path)); /* not there is what we want */
	}
}

/* ------------------------------------------------------------------ questions */

void monitor_run_start(struct monitors *monitors, const char *id, int oplock_fd, int64_t timeout_ms,
                       monitor_done_fn done, void *arg)
{
	struct monitor *known = map_find(&monitors->connected, id);
	struct request *req = monitors_request_new(
		monitors, xasprintf("%s start", known ? known->runtime : "runtime"), timeout_ms,
		arg);
	uint8_t frame[MONITOR_HEADER_BYTES + 4];
	struct monitor *mon;

	req->done = done;
	mon = connection_for(monitors, id, req);
	if (!mon)
		return;
	monitor_put_header(frame, MONITOR_START, req->tag);
	put_le32(frame + MONITOR_HEADER_BYTES, monitors_bounded_ms(timeout_ms));
	monitors_request_send(req, mon, frame, sizeof(frame), oplock_fd,
	                      monitors_answer_ms(timeout_ms));
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
	struct request *req = monitors_request_new(monitors, call_name(argv), timeout_ms, arg);
	_Alignas(8) uint8_t frame[MONITOR_FRAME_MAX];
	struct monitor *mon;
	size_t len;

	req->done = done;
	mon = connection_for(monitors, id, req);
	if (!mon)
		return;
	len = monitor_encode_call(monitors_bounded_ms(timeout_ms), (const char *const *)argv,
	                          req->tag, frame, sizeof(frame));
	if (len == 0) {
		err_set(&req->err, CODE_RESOURCE_EXHAUSTED, "%s: command line too long", req->what);
		request_refuse(req);
		return;
	}
	monitors_request_send(req, mon, frame, len, oplock_fd, monitors_answer_ms(timeout_ms));
}

static void ask(struct monitors *monitors, const char *id, struct request *req,
                enum monitor_frame type)
{
	uint8_t frame[MONITOR_HEADER_BYTES];
	struct monitor *mon = connection_for(monitors, id, req);

	if (!mon)
		return;
	monitor_put_header(frame, (uint8_t)type, req->tag);
	monitors_request_send(req, mon, frame, sizeof(frame), -1, ANSWER_MS);
}

void monitor_reopen_log(struct monitors *monitors, const char *id, monitor_done_fn done, void *arg)
{
	struct request *req = monitors_request_new(monitors, xstrdup("reopen log"), ANSWER_MS, arg);

	req->done = done;
	ask(monitors, id, req, MONITOR_REOPEN);
}

void monitor_query(struct monitors *monitors, const char *id, monitor_status_fn fn, void *arg)
{
	struct request *req = monitors_request_new(monitors, xstrdup("query"), ANSWER_MS, arg);

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
