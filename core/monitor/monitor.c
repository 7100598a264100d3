/* core/monitor/monitor.c
 *
 * One epoll loop over everything a monitor hears: signals, the container's output and terminal, its
 * input taking bytes again, the runtime's words, OOM events, daemons, attach clients. What the
 * states are and what they promise: monitor.h.
 */
#include "core/monitor/monitor.h"

#include <limits.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "core/monitor/cgkill.h"
#include "core/monitor/internal.h"

#define DRAIN_MAX_NS  (5 * NS_PER_S)
#define KILL_EVERY_NS (50 * NS_PER_MS)
#define STACK_TRIM    32 /* pages */

/* ------------------------------------------------------------------ the exit */

static void on_exit_of_init(struct monitor *m, int wstatus)
{
	int64_t now_ns = clock_boot_ns();
	int64_t exited_ns = m->exit_seen_ns ? m->exit_seen_ns : clock_real_ns();

	ignore(oom_check(&m->oom));
	m->record.oom = m->oom.hit;
	m->record.filled = true;
	m->record.wstatus = wstatus;
	m->record.exit_code = exit_code_from_wstatus(wstatus);
	/* The wall clock may have gone back. */
	m->record.exited_ns = MAX(exited_ns, m->record.started_ns);
	m->record_written = mon_record_write(m) == 0;

	m->stage = MONITOR_EXITED;
	m->cgroup_empty = !mon_flag(m, MONITOR_KILL_CGROUP);
	m->kill_next_ns = now_ns;
	m->drain_idle_ns = now_ns + DRAIN_IDLE_NS;
	m->drain_end_ns = now_ns + DRAIN_MAX_NS;
	if (mon_flag(m, MONITOR_TTY))
		m->tty_more = true; /* its end is no edge when it was seen before */
	else
		attach_close_stdin(&m->attach);
}

static void reap(struct monitor *m)
{
	siginfo_t info = { 0 };
	int wstatus;
	pid_t pid;

	if (m->call.kind == CALL_CREATE || m->call.kind == CALL_START) {
		pid = waitpid(m->call.pid, &wstatus, WNOHANG);
		if (pid == 0) {
			if (m->record.pid > 0 && m->exit_seen_ns == 0 &&
			    waitid(P_PID, (id_t)m->record.pid, &info,
			           WEXITED | WNOHANG | WNOWAIT) == 0 &&
			    info.si_pid != 0)
				m->exit_seen_ns = clock_real_ns();
			return;
		}
		mon_call_done(m, pid < 0 ? 255 << 8 : wstatus);
	}
	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
		if (m->call.kind != CALL_NONE && pid == m->call.pid)
			mon_call_done(m, wstatus);
		else if (pid == m->record.pid && m->stage != MONITOR_EXITED)
			on_exit_of_init(m, wstatus);
		/* else an orphan of the container's, or of the runtime's */
	}
}

static void exited_tick(struct monitor *m, int64_t now_ns)
{
	bool eof = m->out_fd < 0 && m->err_fd < 0;
	bool over = now_ns >= m->drain_end_ns;

	if (!m->cgroup_empty && now_ns >= m->kill_next_ns) {
		m->cgroup_empty = cgkill_pass(m->config.cgroups) == 0;
		m->kill_next_ns = now_ns + KILL_EVERY_NS;
	}
	if (!m->drained) {
		if (!over && (!m->cgroup_empty || (!eof && now_ns < m->drain_idle_ns)))
			return;
		mon_finish_output(m);
		m->drained = true;
		m->retry_ns = now_ns;
	}
	if (!m->delivered && !m->released && now_ns >= m->retry_ns)
		mon_record_deliver(m, now_ns);
}

/* ------------------------------------------------------------------ the loop */

static void on_signals(struct monitor *m)
{
	struct signalfd_siginfo info;
	bool child = false;

	while (read(m->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		child = child || info.ssi_signo == SIGCHLD;
		if (info.ssi_signo == SIGTERM &&
		    (m->stage == MONITOR_EXITED || m->stage == MONITOR_FAILED))
			m->terminated = true;
	}
	if (child)
		reap(m);
}

static void on_event(struct monitor *m, uint32_t token)
{
	switch (token) {
	case TOKEN_SIGNAL:
		on_signals(m);
		return;
	case TOKEN_LISTEN:
		mon_on_connect(m);
		return;
	case TOKEN_OUT:
		if (m->out_fd >= 0)
			mon_read_stream(m, &m->out_fd, &m->out, MONITOR_STDOUT);
		return;
	case TOKEN_ERR:
		if (m->err_fd >= 0)
			mon_read_stream(m, &m->err_fd, &m->err, MONITOR_STDERR);
		return;
	case TOKEN_TTY:
		attach_stdin_ready(&m->attach);
		m->tty_more = true;
		return;
	case TOKEN_STDIN:
		attach_stdin_ready(&m->attach);
		return;
	case TOKEN_CALL:
		if (m->call.out_fd >= 0)
			call_read(&m->call);
		return;
	case TOKEN_OOM:
		if (!oom_check(&m->oom))
			oom_close(&m->oom); /* the cgroup is gone; what was seen stays */
		return;
	default:
		if (token >= TOKEN_CLIENT)
			attach_event(&m->attach, token - TOKEN_CLIENT, m->frame);
		else
			mon_on_control(m, (int)(token - TOKEN_CONTROL));
	}
}

static void tick(struct monitor *m)
{
	int64_t now_ns = clock_boot_ns();

	if (m->tty_more)
		mon_read_tty(m);
	if (m->call.kind != CALL_NONE && now_ns >= m->call.deadline_ns)
		mon_call_overdue(m, now_ns);
	if (m->stage == MONITOR_EXITED)
		exited_tick(m, now_ns);
}

/* For epoll_wait: -1 for ever. */
static int next_tick_ms(const struct monitor *m)
{
	int64_t due = NEVER, wait;

	if (m->tty_more)
		return 0;
	if (m->call.kind != CALL_NONE)
		due = m->call.deadline_ns;
	if (m->stage == MONITOR_EXITED) {
		if (!m->drained)
			due = MIN(due, MIN(m->cgroup_empty ? m->drain_idle_ns : m->kill_next_ns,
			                   m->drain_end_ns));
		else if (!m->delivered && !m->released)
			due = MIN(due, m->retry_ns);
	}
	if (due == NEVER)
		return -1;
	wait = due - clock_boot_ns();
	if (wait <= 0)
		return 0;
	return (int)MIN(wait / NS_PER_MS + 1, (int64_t)INT_MAX);
}

static bool is_over(const struct monitor *m)
{
	if (m->call.kind != CALL_NONE)
		return false;
	if (m->stage == MONITOR_FAILED)
		return m->told || m->released || m->terminated;
	/* Terminated while only the rename is missing: the record in tmp/ is whole, the next
	 * daemon looks there too. */
	return m->stage == MONITOR_EXITED && m->drained &&
	       (m->delivered || m->released || m->terminated);
}

/*
 * Starting a container needs several pages of stack, waiting for its end one. There are no signal
 * handlers, so nobody uses what lies below the page under our frame.
 */
static void trim_stack(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(PAGE - 1);
	uintptr_t low = here - (uintptr_t)STACK_TRIM * PAGE;

	ignore(madvise((void *)low, (STACK_TRIM - 1) * PAGE, MADV_DONTNEED) <
	       0); /* only memory is at stake */
}

int monitor_main(void)
{
	struct monitor *m = mon_make();
	struct epoll_event events[8];
	const char *what;
	int rc;

	if (!m || mon_prepare(m) < 0)
		return 1;
	rc = mon_begin(m, &what);
	if (rc < 0)
		mon_fail_sys(m, 0, m->call.tag, rc, what);
	while (!is_over(m)) {
		int n;

		if (m->call_ended) {
			trim_stack();
			m->call_ended = false;
		}
		n = epoll_wait(m->epoll_fd, events, ARRAY_SIZE(events), next_tick_ms(m));
		for (int i = 0; i < n; i++)
			on_event(m, events[i].data.u32);
		tick(m);
	}
	if (m->stage == MONITOR_EXITED && !m->delivered && m->record_fd >= 0)
		ignore(fdatasync(m->record_fd));
	return m->stage == MONITOR_FAILED;
}
