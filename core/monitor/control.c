/* core/monitor/control.c
 *
 * Connections, answers, and what daemons ask for.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/monitor/internal.h"

bool mon_has_control(const struct monitor *m)
{
	for (int i = 0; i < CONTROLS; i++)
		if (m->controls[i] >= 0)
			return true;
	return false;
}

static void drop_control(struct monitor *m, int i)
{
	mon_close(&m->controls[i]);
	if (m->call.conn == i)
		m->call.conn = -1;
	if (m->oplock_owner == i) {
		/* The runtime call that runs has its own copy. Ours would only make the next
		 * daemon wait for us. */
		mon_close(&m->oplock_fd);
		m->oplock_owner = -1;
	}
}

/* Never waits: a daemon that lets its socket fill up has lost this connection. False: so it did. */
static bool send_control(struct monitor *m, int i, size_t len)
{
	if (len == 0 || i < 0 || m->controls[i] < 0)
		return false;
	if (send(m->controls[i], m->frame, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len)
		return true;
	drop_control(m, i);
	return false;
}

bool mon_reply(struct monitor *m, int conn, uint32_t tag, struct monitor_result_frame *result)
{
	result->stage = (uint8_t)m->stage;
	result->pid = (uint32_t)m->record.pid;
	result->start_ticks = m->record.start_ticks;
	result->started_ns = m->record.started_ns;
	return send_control(m, conn,
	                    monitor_encode_result(result, tag, m->frame, MONITOR_FRAME_MAX));
}

bool mon_reply_text(struct monitor *m, int conn, uint32_t tag, enum monitor_why why, int sys,
                    const char *text)
{
	struct monitor_result_frame result = {
		.why = (uint8_t)why, .sys = sys, .text = text, .text_len = strlen(text)
	};

	return mon_reply(m, conn, tag, &result);
}

static bool send_status(struct monitor *m, int conn, uint32_t tag)
{
	const struct monitor_status_frame status = {
		.stage = (uint8_t)m->stage,
		.flags = (uint8_t)((mon_flag(m, MONITOR_TTY) ? MONITOR_STATUS_TTY : 0) |
		                   (m->oom.hit || m->record.oom ? MONITOR_STATUS_OOM : 0) |
		                   (m->call.kind != CALL_NONE ? MONITOR_STATUS_CALLING : 0) |
		                   (m->attach.stdin_fd >= 0 ? MONITOR_STATUS_STDIN : 0)),
		.why = (uint8_t)m->why,
		.sys = m->why_sys,
		.wstatus = m->record.wstatus,
		.pid = (uint32_t)m->record.pid,
		.start_ticks = m->record.start_ticks,
		.started_ns = m->record.started_ns,
		.exited_ns = m->record.exited_ns,
		.log_lost = m->log.lost,
		.attached = attach_count(&m->attach),
		.text = m->why_text,
		.text_len = m->why_len,
	};

	return send_control(m, conn,
	                    monitor_encode_status(&status, tag, m->frame, MONITOR_FRAME_MAX));
}

void mon_send_all(struct monitor *m, enum monitor_frame type, size_t payload_len)
{
	monitor_put_header(m->frame, (uint8_t)type, 0);
	for (int i = 0; i < CONTROLS; i++)
		/* Told or dropped. */
		ignore(send_control(m, i, MONITOR_HEADER_BYTES + payload_len));
}

/* ------------------------------------------------------------------ requests */

static void ask_start(struct monitor *m, int conn, uint32_t tag, const uint8_t *payload, size_t len,
                      int oplock_fd)
{
	const char *argv[ARGV_ROOM];
	struct call_args args = { .kind = CALL_START,
		                  .argv = argv,
		                  .stdin_fd = -1,
		                  .stdout_fd = -1,
		                  .stderr_fd = -1,
		                  .tag = tag,
		                  .conn = conn };
	size_t n;
	int rc;

	if (oplock_fd >= 0) {
		mon_close(&m->oplock_fd);
		m->oplock_fd = oplock_fd;
		m->oplock_owner = conn;
	}
	if (len < 4) {
		ignore(mon_reply_text(m, conn, tag, MONITOR_BAD_REQUEST, 0,
		                      "start: frame too short"));
		return;
	}
	if (m->call.kind != CALL_NONE || m->stage != MONITOR_CREATED) {
		ignore(mon_reply_text(
			m, conn, tag, MONITOR_WRONG_STATE, 0,
			m->call.kind != CALL_NONE     ? "another runtime call is running"
			: m->stage == MONITOR_RUNNING ? "the container is started already"
			: m->stage == MONITOR_EXITED  ? "the container exited before it was started"
						      : "the container is not created"));
		if (m->call.kind != CALL_START)
			mon_close(&m->oplock_fd);
		return;
	}
	args.oplock_fd = m->oplock_fd;
	n = mon_runtime_argv(m, argv, "start");
	argv[n++] = m->config.id;
	argv[n] = NULL;
	rc = mon_spawn(m, &args, get_le32(payload));
	if (rc < 0)
		ignore(mon_reply_text(m, conn, tag, MONITOR_SYS, -rc, "spawn runtime"));
}

/* Takes @oplock_fd. */
static void ask_call(struct monitor *m, int conn, uint32_t tag, const uint8_t *payload, size_t len,
                     int oplock_fd)
{
	cleanup_close int lock = oplock_fd;
	const char *argv[MONITOR_ARGV_MAX + 1];
	struct call_args args = { .kind = CALL_OTHER,
		                  .argv = argv,
		                  .stdin_fd = -1,
		                  .stdout_fd = -1,
		                  .stderr_fd = -1,
		                  .oplock_fd = lock,
		                  .tag = tag,
		                  .conn = conn };
	uint32_t timeout_ms;
	int rc;

	if (monitor_decode_call(payload, len, &timeout_ms, argv) < 0 || argv[0][0] != '/') {
		ignore(mon_reply_text(m, conn, tag, MONITOR_BAD_REQUEST, 0,
		                      "call: no command line with an absolute path"));
		return;
	}
	if (m->call.kind != CALL_NONE) {
		ignore(mon_reply_text(m, conn, tag, MONITOR_WRONG_STATE, 0,
		                      "another runtime call is running"));
		return;
	}
	rc = mon_spawn(m, &args, timeout_ms);
	if (rc < 0)
		ignore(mon_reply_text(m, conn, tag, MONITOR_SYS, -rc, "spawn runtime"));
}

static void ask_reopen(struct monitor *m, int conn, uint32_t tag)
{
	int rc;

	if (m->drained || m->stage == MONITOR_FAILED) {
		ignore(mon_reply_text(m, conn, tag, MONITOR_WRONG_STATE, 0,
		                      "the container's output has ended"));
		return;
	}
	rc = logfile_reopen(&m->log);
	if (rc < 0)
		ignore(mon_reply_text(m, conn, tag, MONITOR_SYS, -rc, m->log.path));
	else
		ignore(mon_reply_text(m, conn, tag, MONITOR_OK, 0, ""));
}

static void ask_attach(struct monitor *m, int conn, uint32_t tag, const uint8_t *payload,
                       size_t len)
{
	uint8_t flags = len > 0 ? payload[0] : 0; /* the answer overwrites the frame */
	int fd = m->controls[conn];
	int rc;

	if (len < 1 || m->drained || m->stage == MONITOR_FAILED) {
		ignore(mon_reply_text(
			m, conn, tag, len < 1 ? MONITOR_BAD_REQUEST : MONITOR_WRONG_STATE, 0,
			len < 1 ? "attach: frame too short" : "the container's output has ended"));
		return;
	}
	if (attach_count(&m->attach) == ATTACH_MAX) {
		ignore(mon_reply_text(m, conn, tag, MONITOR_SYS, EBUSY,
		                      "too many clients are attached"));
		return;
	}
	/* The answer goes first: output may follow at once. */
	if (!mon_reply_text(m, conn, tag, MONITOR_OK, 0, ""))
		return;
	ignore(epoll_ctl(m->epoll_fd, EPOLL_CTL_DEL, fd, NULL));
	m->controls[conn] = -1;
	if (m->oplock_owner == conn)
		m->oplock_owner = -1;
	rc = attach_add(&m->attach, fd, flags);
	if (rc < 0)
		close(fd);
}

void mon_on_control(struct monitor *m, int i)
{
	const uint8_t *payload = m->frame + MONITOR_HEADER_BYTES;
	struct monitor_header header;
	int fd = -1;
	size_t nfds = 1, len;
	ssize_t n;

	if (m->controls[i] < 0)
		return;
	n = fd_recv(m->controls[i], m->frame, MONITOR_FRAME_MAX, &fd, &nfds);
	if (n == -EAGAIN)
		return;
	if (n <= 0 || monitor_get_header(m->frame, (size_t)n, &header) < 0) {
		mon_close(&fd);
		drop_control(m, i);
		return;
	}
	len = (size_t)n - MONITOR_HEADER_BYTES;
	if (header.type != MONITOR_START && header.type != MONITOR_CALL)
		mon_close(&fd);

	switch (header.type) {
	case MONITOR_START:
		ask_start(m, i, header.tag, payload, len, fd);
		break;
	case MONITOR_CALL:
		ask_call(m, i, header.tag, payload, len, fd);
		break;
	case MONITOR_REOPEN:
		ask_reopen(m, i, header.tag);
		break;
	case MONITOR_RESIZE:
		if (len >= 4)
			attach_resize(&m->attach, get_le16(payload), get_le16(payload + 2));
		break;
	case MONITOR_QUERY:
		ignore(send_status(m, i, header.tag));
		break;
	case MONITOR_RELEASE:
		m->released = m->stage == MONITOR_EXITED || m->stage == MONITOR_FAILED;
		break;
	case MONITOR_ATTACH:
		ask_attach(m, i, header.tag, payload, len);
		break;
	default:
		ignore(mon_reply_text(m, i, header.tag, MONITOR_UNSUPPORTED, 0,
		                      "unknown frame type"));
	}
}

void mon_on_connect(struct monitor *m)
{
	/* cppcheck-suppress nullPointer; who connects does not matter */
	int fd = accept4(MONITOR_FD_LISTEN, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int i;

	if (fd < 0)
		return;
	for (i = 0; i < CONTROLS && m->controls[i] >= 0; i++)
		;
	if (i == CONTROLS || mon_watch(m, fd, EPOLLIN, TOKEN_CONTROL + (uint32_t)i) < 0) {
		close(fd);
		return;
	}
	m->controls[i] = fd;
	ignore(send_status(m, i, 0)); /* sent, or the connection is gone again */
}
