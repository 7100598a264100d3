/* core/monitor/calls.c
 *
 * The runtime's create, start and whatever else is asked for, and what their ends mean.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/base/fd.h"
#include "core/monitor/internal.h"
#include "core/monitor/text.h"

#define UNKILLABLE_NS (5 * NS_PER_S)

/* Field 22 of /proc/PID/stat; the name in field 2 may hold blanks and parentheses. 0: no such
 * process. */
static uint64_t start_ticks(pid_t pid)
{
	char line[64], data[1024];
	struct text path = TEXT(line);
	const char *p;
	int64_t ticks;

	text_str(&path, "/proc/");
	text_int(&path, pid);
	text_str(&path, "/stat");
	if (mon_read_small(AT_FDCWD, line, data, sizeof(data)) < 0)
		return 0;
	p = strrchr(data, ')');
	for (int field = 2; p && field < 22; field++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	ticks = p ? text_number(p) : -1;
	return ticks < 0 ? 0 : (uint64_t)ticks;
}

size_t mon_runtime_argv(const struct monitor *m, const char **argv, const char *verb)
{
	size_t n = 0;

	for (; m->config.runtime[n]; n++)
		argv[n] = m->config.runtime[n];
	argv[n++] = "--log";
	argv[n++] = m->log_path;
	argv[n++] = "--log-format";
	argv[n++] = "json";
	argv[n++] = verb;
	return n;
}

int mon_spawn(struct monitor *m, struct call_args *args, uint32_t timeout_ms)
{
	int rc;

	args->deadline_ns = timeout_ms ? clock_boot_ns() + (int64_t)timeout_ms * NS_PER_MS : NEVER;
	ignore(unlink(m->log_path) < 0);
	rc = call_spawn(&m->call, args);
	if (rc < 0)
		return rc;
	/* Unwatched, its words are read when it is reaped: enough, unless it says more than a
	 * pipe holds. */
	ignore(mon_watch(m, m->call.out_fd, EPOLLIN, TOKEN_CALL));
	return 0;
}

/* The runtime's log tells errors better than its stderr, which with create is the container's. */
static void take_runtime_log(struct monitor *m)
{
	cleanup_close int fd = open(m->log_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		return;
	n = pread_full(fd, m->call.text, MONITOR_TEXT_MAX,
	               st.st_size > MONITOR_TEXT_MAX ? st.st_size - MONITOR_TEXT_MAX : 0);
	if (n > 0)
		m->call.text_len = (size_t)n;
}

static struct monitor_result_frame call_result(const struct call *call, int wstatus)
{
	struct monitor_result_frame result = { .wstatus = wstatus };

	result.why = call->timed_out ? MONITOR_TIMED_OUT
	             : wstatus == 0  ? MONITOR_OK
	                             : MONITOR_RUNTIME_FAILED;
	result.text = call_text(call, &result.text_len);
	return result;
}

/* Keep why create or start failed for whoever asks later. */
static void remember(struct monitor *m, const struct monitor_result_frame *result)
{
	m->why = result->why;
	m->why_sys = result->sys;
	m->why_len = MIN(result->text_len, (size_t)MONITOR_TEXT_MAX);
	if (m->why_len > 0)
		memcpy(m->why_text, result->text, m->why_len);
}

void mon_fail(struct monitor *m, int conn, uint32_t tag, struct monitor_result_frame *result)
{
	m->stage = MONITOR_FAILED;
	remember(m, result);
	mon_close_console(m);
	mon_finish_output(m);
	mon_record_remove(m);
	mon_close(&m->oplock_fd);
	m->told = mon_reply(m, conn, tag, result);
}

void mon_fail_sys(struct monitor *m, int conn, uint32_t tag, int rc, const char *what)
{
	struct monitor_result_frame result = {
		.why = MONITOR_SYS, .sys = -rc, .text = what, .text_len = strlen(what)
	};

	mon_fail(m, conn, tag, &result);
}

/* What went wrong after the runtime said all is well; NULL: nothing. */
static const char *adopt_init(struct monitor *m, int *ret_rc)
{
	char text[32];
	siginfo_t info;
	uint32_t events;
	int64_t pid;
	int fd;

	*ret_rc = 0;
	if (mon_read_small(AT_FDCWD, m->pid_path, text, sizeof(text)) < 0 ||
	    (pid = text_number(text)) <= 0 || pid > INT_MAX) {
		*ret_rc = -ENOENT;
		return "the runtime left no pid file";
	}
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
		*ret_rc = -errno;
		return "the runtime's container process is not our child";
	}
	m->record.pid = (int32_t)pid;
	m->record.start_ticks = start_ticks((pid_t)pid);
	if (mon_flag(m, MONITOR_TTY)) {
		*ret_rc = mon_take_console(m);
		if (*ret_rc < 0)
			return "the runtime handed no terminal over";
	}
	*ret_rc = mon_record_write(m);
	if (*ret_rc < 0)
		return "write exit record";

	oom_open(&m->oom, m->config.cgroups);
	fd = oom_poll_fd(&m->oom, &events);
	if (fd >= 0)
		ignore(mon_watch(m, fd, events, TOKEN_OOM)); /* the look at the exit remains */
	return NULL;
}

static void create_done(struct monitor *m, int wstatus, int conn, uint32_t tag)
{
	struct monitor_result_frame result;
	const char *fault;
	int rc;

	if (wstatus != 0 || m->call.timed_out) {
		/* Its last words may still be in the pipe that would have been the container's. */
		while (m->err_fd >= 0 && mon_read_stream(m, &m->err_fd, &m->err, MONITOR_STDERR))
			;
		m->call.kind = CALL_NONE;
		take_runtime_log(m);
		result = call_result(&m->call, wstatus);
		mon_fail(m, conn, tag, &result);
		return;
	}
	m->call.kind = CALL_NONE;
	fault = adopt_init(m, &rc);
	if (fault) {
		mon_fail_sys(m, conn, tag, rc, fault);
		return;
	}
	mon_close_console(m);
	m->stage = MONITOR_CREATED;
	result = (struct monitor_result_frame){ .why = MONITOR_OK };
	ignore(mon_reply(m, conn, tag, &result)); /* a new daemon finds it in STATUS */
}

static void start_done(struct monitor *m, int wstatus, int conn, uint32_t tag)
{
	struct monitor_result_frame result;

	m->call.kind = CALL_NONE;
	take_runtime_log(m);
	result = call_result(&m->call, wstatus);
	mon_close(&m->oplock_fd);
	if (result.why == MONITOR_OK) {
		m->stage = MONITOR_RUNNING;
		m->record.started_ns = clock_real_ns();
		if (m->exit_seen_ns && m->exit_seen_ns < m->record.started_ns)
			m->record.started_ns = m->exit_seen_ns;
		/* The block is there; what else can fail comes back at the exit. */
		ignore(mon_record_write(m));
	} else {
		remember(m, &result);
	}
	ignore(mon_reply(m, conn, tag, &result));
}

void mon_call_done(struct monitor *m, int wstatus)
{
	enum call_kind kind = m->call.kind;
	uint32_t tag = m->call.tag;
	int conn = m->call.conn;
	struct monitor_result_frame result;

	call_reaped(&m->call);
	m->call.conn = -1;
	m->call_ended = true;
	switch (kind) {
	case CALL_CREATE:
		create_done(m, wstatus, conn, tag);
		break;
	case CALL_START:
		start_done(m, wstatus, conn, tag);
		break;
	case CALL_OTHER:
		m->call.kind = CALL_NONE;
		result = call_result(&m->call, wstatus);
		ignore(mon_reply(m, conn, tag, &result));
		break;
	case CALL_NONE:
		break;
	}
}

void mon_call_overdue(struct monitor *m, int64_t now_ns)
{
	struct monitor_result_frame result = { .why = MONITOR_TIMED_OUT,
		                               .text = "the runtime survives SIGKILL" };
	enum call_kind kind = m->call.kind;
	int conn = m->call.conn;

	if (!m->call.timed_out) {
		m->call.timed_out = true;
		call_kill(&m->call);
		m->call.deadline_ns = now_ns + UNKILLABLE_NS;
		return;
	}
	/* In D state. Whoever asked need not wait for it, nor does an exit; only a next call
	 * does. */
	result.text_len = strlen(result.text);
	m->call.deadline_ns = NEVER;
	m->call.conn = -1;
	m->call.kind = CALL_OTHER;
	if (kind == CALL_CREATE) {
		mon_fail(m, conn, m->call.tag, &result);
		return;
	}
	if (kind == CALL_START)
		remember(m, &result);
	ignore(mon_reply(m, conn, m->call.tag, &result));
}
