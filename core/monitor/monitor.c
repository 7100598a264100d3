/* core/monitor/monitor.c
 *
 * One epoll loop over everything a monitor hears: signals, the container's output and terminal, its
 * input taking bytes again, the runtime's words, OOM events, daemons, attach clients. What the
 * states are and what they promise: monitor.h.
 */
#include "core/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h> /* renameat is declared here; nothing else of it is used */
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/monitor/attach.h"
#include "core/monitor/call.h"
#include "core/monitor/cgkill.h"
#include "core/monitor/logfile.h"
#include "core/monitor/oom.h"
#include "core/monitor/proto.h"
#include "core/monitor/text.h"
#include "core/state/exit_record.h"

#define CONTROLS      4
#define DRAIN_IDLE_NS (500 * NS_PER_MS)
#define DRAIN_MAX_NS  (5 * NS_PER_S)
#define KILL_EVERY_NS (50 * NS_PER_MS)
#define RETRY_NS      NS_PER_S
#define LOST_EVERY_NS (60 * NS_PER_S)
#define UNKILLABLE_NS (5 * NS_PER_S)
#define NEVER         INT64_MAX
#define MEMORY_BYTES  (256 * 1024)
#define PAGE          4096
#define STACK_TRIM    32     /* pages */
#define OOM_SCORE_ADJ "-998" /* as kubelet protects what must not go before the containers */
#define PROGRAM_NAME  "coracle-monitor"

enum token {
	TOKEN_SIGNAL,
	TOKEN_LISTEN,
	TOKEN_OUT,
	TOKEN_ERR,
	TOKEN_TTY,
	TOKEN_STDIN,
	TOKEN_CALL,
	TOKEN_OOM,
	TOKEN_CONTROL,                     /* + index */
	TOKEN_CLIENT = TOKEN_CONTROL + 16, /* + index */
};

/* Bump allocator over one mapping: what is used together shares a page, what is not used has
 * none. */
struct memory {
	uint8_t *p;
	size_t used, size;
};

struct monitor {
	struct memory memory;
	struct monitor_config config;
	enum monitor_stage stage;
	int epoll_fd, signal_fd;
	int controls[CONTROLS]; /* -1: free */
	uint8_t *frame; /* MONITOR_FRAME_MAX bytes: what was received, or is about to be sent */

	const char *log_path, *pid_path, *tty_path; /* of the runtime's calls */
	struct call call;
	bool call_ended;
	int oplock_fd;        /* of the start op; -1: none, or its daemon is gone */
	int oplock_owner;     /* the control that gave it */
	int console_fd;       /* listening for the terminal during create */
	enum monitor_why why; /* of a failed create or start */
	int why_sys;
	char *why_text; /* MONITOR_TEXT_MAX bytes */
	size_t why_len;
	bool told; /* somebody has the result of the failed create */

	struct logfile log;
	struct logstream out, err;
	int out_fd, err_fd; /* out_fd: the terminal's master with a tty */
	bool tty_more;      /* the master was not read dry: it is polled by edges */
	struct attach attach;
	struct oom oom;
	uint64_t lost_said;
	int64_t lost_next_ns;

	int record_fd;
	struct exit_record record;
	bool record_written;  /* the filled record is in tmp/ */
	int64_t exit_seen_ns; /* realtime; init was seen dead while start was running */
	bool cgroup_empty, drained, delivered, released, terminated;
	int64_t drain_idle_ns, drain_end_ns, kill_next_ns, retry_ns; /* boot clock */
};

/* ------------------------------------------------------------------ small things */

static void *memory_take(struct memory *memory, size_t len, size_t align)
{
	size_t at = (memory->used + align - 1) & ~(align - 1);

	memory->used = at + len;
	return memory->p + at;
}

/* NULL: no memory */
static uint8_t *map_memory(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int watch(const struct monitor *m, int fd, uint32_t events, uint32_t token)
{
	struct epoll_event ev = { .events = events, .data.u32 = token };

	return epoll_ctl(m->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(take_fd(fd));
}

static bool flag(const struct monitor *m, enum monitor_config_flags which)
{
	return m->config.flags & (uint32_t)which;
}

/* A small file into @text, NUL terminated; its length or -errno. */
static ssize_t read_small(int dirfd, const char *path, char *text, size_t size)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read_full(fd, text, size - 1);
	if (n >= 0)
		text[n] = '\0';
	return n;
}

static void read_boot_id(uint8_t id[16])
{
	char text[64], hex[33];
	size_t n = 0;

	memset(id, 0, 16);
	if (read_small(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof(text)) < 0)
		return;
	for (const char *c = text; *c && *c != '\n' && n < 32; c++)
		if (*c != '-')
			hex[n++] = *c;
	if (n == 32 && hex_decode((struct str){ hex, 32 }, id, 16) < 0)
		memset(id, 0, 16);
}

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
	if (read_small(AT_FDCWD, line, data, sizeof(data)) < 0)
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

/* ------------------------------------------------------------------ talking to daemons */

static bool has_control(const struct monitor *m)
{
	for (int i = 0; i < CONTROLS; i++)
		if (m->controls[i] >= 0)
			return true;
	return false;
}

static void drop_control(struct monitor *m, int i)
{
	close_fd(&m->controls[i]);
	if (m->call.conn == i)
		m->call.conn = -1;
	if (m->oplock_owner == i) {
		/* The runtime call that runs has its own copy. Ours would only make the next
		 * daemon wait for us. */
		close_fd(&m->oplock_fd);
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

static bool reply(struct monitor *m, int conn, uint32_t tag, struct monitor_result_frame *result)
{
	result->stage = (uint8_t)m->stage;
	result->pid = (uint32_t)m->record.pid;
	result->start_ticks = m->record.start_ticks;
	result->started_ns = m->record.started_ns;
	return send_control(m, conn,
	                    monitor_encode_result(result, tag, m->frame, MONITOR_FRAME_MAX));
}

static bool reply_text(struct monitor *m, int conn, uint32_t tag, enum monitor_why why, int sys,
                       const char *text)
{
	struct monitor_result_frame result = {
		.why = (uint8_t)why, .sys = sys, .text = text, .text_len = strlen(text)
	};

	return reply(m, conn, tag, &result);
}

static bool send_status(struct monitor *m, int conn, uint32_t tag)
{
	const struct monitor_status_frame status = {
		.stage = (uint8_t)m->stage,
		.flags = (uint8_t)((flag(m, MONITOR_TTY) ? MONITOR_STATUS_TTY : 0) |
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

static void send_all(struct monitor *m, enum monitor_frame type, size_t payload_len)
{
	monitor_put_header(m->frame, (uint8_t)type, 0);
	for (int i = 0; i < CONTROLS; i++)
		/* Told or dropped. */
		ignore(send_control(m, i, MONITOR_HEADER_BYTES + payload_len));
}

/* ------------------------------------------------------------------ the exit record */

static int write_record(struct monitor *m)
{
	uint8_t data[EXIT_RECORD_BYTES];
	ssize_t n;

	exit_record_encode(&m->record, data);
	n = pwrite_full(m->record_fd, data, sizeof(data), 0);
	return n < 0 ? (int)n : 0;
}

static int open_record(struct monitor *m)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;

	m->record_fd = openat(MONITOR_FD_TMP, m->config.id, flags, 0600);
	return m->record_fd < 0 ? -errno : 0;
}

/* A start that failed half way may have left an unfilled file: it is replaced. One that tells an
 * exit never is. */
static int prepare_record(struct monitor *m)
{
	uint8_t old[EXIT_RECORD_BYTES];
	int rc = open_record(m);

	if (rc == -EEXIST) {
		cleanup_close int fd =
			openat(MONITOR_FD_TMP, m->config.id, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		ssize_t n = fd < 0 ? -errno : read_full(fd, old, sizeof(old));

		if (n < 0 || exit_record_is_filled(old, (size_t)n))
			return n < 0 ? (int)n : -EEXIST;
		if (unlinkat(MONITOR_FD_TMP, m->config.id, 0) < 0)
			return -errno;
		rc = open_record(m);
	}
	if (rc < 0)
		return rc;
	/* The block is allocated now; overwriting it later needs none. */
	return write_record(m);
}

static void remove_record(struct monitor *m)
{
	close_fd(&m->record_fd);
	ignore(unlinkat(MONITOR_FD_TMP, m->config.id, 0) < 0);
}

static int deliver_once(struct monitor *m)
{
	bool alone = !has_control(m); /* nobody whose group commit makes it durable */
	int rc = 0;

	if (!m->record_written) {
		rc = write_record(m);
		m->record_written = rc == 0;
	}
	if (rc == 0 && alone && fdatasync(m->record_fd) < 0)
		rc = -errno;
	if (rc == 0 && renameat(MONITOR_FD_TMP, m->config.id, MONITOR_FD_NEW, m->config.id) < 0)
		rc = -errno;
	if (rc == -ENOENT) { /* somebody cleared tmp/: the exit is still to be told */
		close_fd(&m->record_fd);
		m->record_written = false;
		rc = prepare_record(m);
		m->record_written = rc == 0;
		if (rc == 0 &&
		    renameat(MONITOR_FD_TMP, m->config.id, MONITOR_FD_NEW, m->config.id) < 0)
			rc = -errno;
	}
	if (rc == 0 && alone) {
		ignore(fsync(MONITOR_FD_NEW)); /* it is told; not more can be done */
		ignore(fsync(MONITOR_FD_TMP));
	}
	return rc;
}

static void deliver(struct monitor *m, int64_t now_ns)
{
	if (deliver_once(m) == 0) {
		m->delivered = true;
		return;
	}
	exit_record_encode(&m->record, m->frame + MONITOR_HEADER_BYTES);
	send_all(m, MONITOR_RECORD, EXIT_RECORD_BYTES);
	m->retry_ns = now_ns + RETRY_NS;
}

/* ------------------------------------------------------------------ output */

static void say_lost(struct monitor *m, int64_t now_ns)
{
	uint8_t *p = m->frame + MONITOR_HEADER_BYTES;

	if (m->log.lost == m->lost_said || now_ns < m->lost_next_ns)
		return;
	put_le32(p, (uint32_t)m->log.error);
	put_le64(p + 4, m->log.lost);
	send_all(m, MONITOR_LOG_LOST, 12);
	m->lost_said = m->log.lost;
	m->lost_next_ns = now_ns + LOST_EVERY_NS;
}

/* One read. True: there may be more right away. */
static bool read_stream(struct monitor *m, int *fd, struct logstream *stream,
                        enum monitor_frame type)
{
	int64_t now_ns = clock_boot_ns();
	size_t room;
	uint8_t *data = logstream_room(stream, &room);
	ssize_t n = read(*fd, data, room);

	if (n > 0) {
		if (m->call.kind == CALL_CREATE && type == MONITOR_STDERR)
			call_add_text(&m->call, data, (size_t)n); /* create has our stderr pipe */
		/* Clients first: the log's call moves the bytes. */
		attach_output(&m->attach, type, data, (size_t)n);
		logstream_grew(stream, &m->log, (size_t)n, clock_real_ns());
		say_lost(m, now_ns);
		m->drain_idle_ns = now_ns + DRAIN_IDLE_NS;
		if ((size_t)n < room)
			logstream_trim(stream);
		return (size_t)n == room || flag(m, MONITOR_TTY);
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	/* EIO from a terminal: nobody has it open. While init lives somebody may open it again,
	 * which is an edge. */
	if (n < 0 && errno == EIO && flag(m, MONITOR_TTY) && m->stage != MONITOR_EXITED)
		return false;
	if (flag(m, MONITOR_TTY))
		attach_close_stdin(&m->attach);
	close_fd(fd);
	return false;
}

static void read_tty(struct monitor *m)
{
	m->tty_more = m->out_fd >= 0 && read_stream(m, &m->out_fd, &m->out, MONITOR_STDOUT);
}

static void finish_output(struct monitor *m)
{
	int64_t now_ns = clock_real_ns();

	attach_close_stdin(&m->attach);
	close_fd(&m->out_fd);
	close_fd(&m->err_fd);
	logstream_finish(&m->out, &m->log, now_ns);
	logstream_finish(&m->err, &m->log, now_ns);
	m->lost_next_ns = 0;
	say_lost(m, clock_boot_ns());
	logfile_close(&m->log);
	attach_close_all(&m->attach, MONITOR_CLOSE_EXITED);
}

static int make_streams(struct monitor *m)
{
	size_t max_line = m->config.max_line;
	size_t size = (LOG_STREAM_BYTES(max_line) + PAGE - 1) & ~(size_t)(PAGE - 1);
	uint8_t *p = map_memory(2 * size);

	if (!p)
		return -ENOMEM;
	logstream_init(&m->out, "stdout", p, max_line);
	logstream_init(&m->err, "stderr", p + size, max_line);
	return 0;
}

/* ------------------------------------------------------------------ the terminal */

/* The runtime connects here and sends the master. The path it is told must fit a sockaddr_un. */
static int listen_console(struct monitor *m)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct text path = TEXT(addr.sun_path);
	const char *name = strrchr(m->tty_path, '/') + 1;

	text_str(&path, "/proc/self/fd/");
	text_int(&path, MONITOR_FD_DIR);
	text_str(&path, "/");
	text_str(&path, name);
	ignore(unlinkat(MONITOR_FD_DIR, name, 0) < 0);
	m->console_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->console_fd < 0 || fchmod(m->console_fd, 0600) < 0 ||
	    bind(m->console_fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(m->console_fd, 1) < 0)
		return -errno;
	return 0;
}

static void close_console(struct monitor *m)
{
	if (m->console_fd < 0)
		return;
	close_fd(&m->console_fd);
	ignore(unlinkat(MONITOR_FD_DIR, strrchr(m->tty_path, '/') + 1, 0) < 0);
}

/* create is done: the master is in the socket's queue, or never comes. */
static int take_console(struct monitor *m)
{
	cleanup_close int conn = accept4(m->console_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct termios mode;
	char name[PATH_MAX / 4]; /* what the runtime says about it; nobody needs it */
	int master = -1;
	size_t nfds = 1;
	ssize_t n;

	if (conn < 0)
		return -errno;
	n = fd_recv(conn, name, sizeof(name), &master, &nfds);
	if (n < 0)
		return (int)n;
	if (nfds == 0)
		return -EBADMSG;
	m->out_fd = master;
	/* "\n" becomes "\r\n" as on any terminal; some runtimes leave it off */
	if (tcgetattr(master, &mode) == 0) {
		mode.c_oflag |= ONLCR;
		ignore(tcsetattr(master, TCSANOW, &mode));
	}
	if (fd_set_nonblock(master, true) < 0)
		return -EIO;
	n = watch(m, master, EPOLLIN | EPOLLOUT | EPOLLET, TOKEN_TTY);
	if (n < 0)
		return (int)n;
	attach_set_stdin(&m->attach, flag(m, MONITOR_WANT_STDIN) ? master : -1, true, false);
	m->tty_more = true;
	return 0;
}

/* ------------------------------------------------------------------ runtime calls */

/* runtime and its global options, our log file, then what is to be done. NULL terminated. */
#define ARGV_ROOM (MONITOR_ARGV_MAX + 16)
static size_t runtime_argv(const struct monitor *m, const char **argv, const char *verb)
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

static int spawn(struct monitor *m, struct call_args *args, uint32_t timeout_ms)
{
	int rc;

	args->deadline_ns = timeout_ms ? clock_boot_ns() + (int64_t)timeout_ms * NS_PER_MS : NEVER;
	ignore(unlink(m->log_path) < 0);
	rc = call_spawn(&m->call, args);
	if (rc < 0)
		return rc;
	/* Unwatched, its words are read when it is reaped: enough, unless it says more than a
	 * pipe holds. */
	ignore(watch(m, m->call.out_fd, EPOLLIN, TOKEN_CALL));
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

static void fail(struct monitor *m, int conn, uint32_t tag, struct monitor_result_frame *result)
{
	m->stage = MONITOR_FAILED;
	remember(m, result);
	close_console(m);
	finish_output(m);
	remove_record(m);
	close_fd(&m->oplock_fd);
	m->told = reply(m, conn, tag, result);
}

static void fail_sys(struct monitor *m, int conn, uint32_t tag, int rc, const char *what)
{
	struct monitor_result_frame result = {
		.why = MONITOR_SYS, .sys = -rc, .text = what, .text_len = strlen(what)
	};

	fail(m, conn, tag, &result);
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
	if (read_small(AT_FDCWD, m->pid_path, text, sizeof(text)) < 0 ||
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
	if (flag(m, MONITOR_TTY)) {
		*ret_rc = take_console(m);
		if (*ret_rc < 0)
			return "the runtime handed no terminal over";
	}
	*ret_rc = write_record(m);
	if (*ret_rc < 0)
		return "write exit record";

	oom_open(&m->oom, m->config.cgroups);
	fd = oom_poll_fd(&m->oom, &events);
	if (fd >= 0)
		ignore(watch(m, fd, events, TOKEN_OOM)); /* the look at the exit remains */
	return NULL;
}

static void create_done(struct monitor *m, int wstatus, int conn, uint32_t tag)
{
	struct monitor_result_frame result;
	const char *fault;
	int rc;

	if (wstatus != 0 || m->call.timed_out) {
		/* Its last words may still be in the pipe that would have been the container's. */
		while (m->err_fd >= 0 && read_stream(m, &m->err_fd, &m->err, MONITOR_STDERR))
			;
		m->call.kind = CALL_NONE;
		take_runtime_log(m);
		result = call_result(&m->call, wstatus);
		fail(m, conn, tag, &result);
		return;
	}
	m->call.kind = CALL_NONE;
	fault = adopt_init(m, &rc);
	if (fault) {
		fail_sys(m, conn, tag, rc, fault);
		return;
	}
	close_console(m);
	m->stage = MONITOR_CREATED;
	result = (struct monitor_result_frame){ .why = MONITOR_OK };
	ignore(reply(m, conn, tag, &result)); /* a new daemon finds it in STATUS */
}

static void start_done(struct monitor *m, int wstatus, int conn, uint32_t tag)
{
	struct monitor_result_frame result;

	m->call.kind = CALL_NONE;
	take_runtime_log(m);
	result = call_result(&m->call, wstatus);
	close_fd(&m->oplock_fd);
	if (result.why == MONITOR_OK) {
		m->stage = MONITOR_RUNNING;
		m->record.started_ns = clock_real_ns();
		if (m->exit_seen_ns && m->exit_seen_ns < m->record.started_ns)
			m->record.started_ns = m->exit_seen_ns;
		/* The block is there; what else can fail comes back at the exit. */
		ignore(write_record(m));
	} else {
		remember(m, &result);
	}
	ignore(reply(m, conn, tag, &result));
}

static void call_done(struct monitor *m, int wstatus)
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
		ignore(reply(m, conn, tag, &result));
		break;
	case CALL_NONE:
		break;
	}
}

static void call_overdue(struct monitor *m, int64_t now_ns)
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
		fail(m, conn, m->call.tag, &result);
		return;
	}
	if (kind == CALL_START)
		remember(m, &result);
	ignore(reply(m, conn, m->call.tag, &result));
}

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
	m->record_written = write_record(m) == 0;

	m->stage = MONITOR_EXITED;
	m->cgroup_empty = !flag(m, MONITOR_KILL_CGROUP);
	m->kill_next_ns = now_ns;
	m->drain_idle_ns = now_ns + DRAIN_IDLE_NS;
	m->drain_end_ns = now_ns + DRAIN_MAX_NS;
	if (flag(m, MONITOR_TTY))
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
		call_done(m, pid < 0 ? 255 << 8 : wstatus);
	}
	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
		if (m->call.kind != CALL_NONE && pid == m->call.pid)
			call_done(m, wstatus);
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
		finish_output(m);
		m->drained = true;
		m->retry_ns = now_ns;
	}
	if (!m->delivered && !m->released && now_ns >= m->retry_ns)
		deliver(m, now_ns);
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
		close_fd(&m->oplock_fd);
		m->oplock_fd = oplock_fd;
		m->oplock_owner = conn;
	}
	if (len < 4) {
		ignore(reply_text(m, conn, tag, MONITOR_BAD_REQUEST, 0, "start: frame too short"));
		return;
	}
	if (m->call.kind != CALL_NONE || m->stage != MONITOR_CREATED) {
		ignore(reply_text(m, conn, tag, MONITOR_WRONG_STATE, 0,
		                  m->call.kind != CALL_NONE     ? "another runtime call is running"
		                  : m->stage == MONITOR_RUNNING ? "the container is started already"
		                  : m->stage == MONITOR_EXITED
		                          ? "the container exited before it was started"
		                          : "the container is not created"));
		if (m->call.kind != CALL_START)
			close_fd(&m->oplock_fd);
		return;
	}
	args.oplock_fd = m->oplock_fd;
	n = runtime_argv(m, argv, "start");
	argv[n++] = m->config.id;
	argv[n] = NULL;
	rc = spawn(m, &args, get_le32(payload));
	if (rc < 0)
		ignore(reply_text(m, conn, tag, MONITOR_SYS, -rc, "spawn runtime"));
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
		ignore(reply_text(m, conn, tag, MONITOR_BAD_REQUEST, 0,
		                  "call: no command line with an absolute path"));
		return;
	}
	if (m->call.kind != CALL_NONE) {
		ignore(reply_text(m, conn, tag, MONITOR_WRONG_STATE, 0,
		                  "another runtime call is running"));
		return;
	}
	rc = spawn(m, &args, timeout_ms);
	if (rc < 0)
		ignore(reply_text(m, conn, tag, MONITOR_SYS, -rc, "spawn runtime"));
}

static void ask_reopen(struct monitor *m, int conn, uint32_t tag)
{
	int rc;

	if (m->drained || m->stage == MONITOR_FAILED) {
		ignore(reply_text(m, conn, tag, MONITOR_WRONG_STATE, 0,
		                  "the container's output has ended"));
		return;
	}
	rc = logfile_reopen(&m->log);
	if (rc < 0)
		ignore(reply_text(m, conn, tag, MONITOR_SYS, -rc, m->log.path));
	else
		ignore(reply_text(m, conn, tag, MONITOR_OK, 0, ""));
}

static void ask_attach(struct monitor *m, int conn, uint32_t tag, const uint8_t *payload,
                       size_t len)
{
	uint8_t flags = len > 0 ? payload[0] : 0; /* the answer overwrites the frame */
	int fd = m->controls[conn];
	int rc;

	if (len < 1 || m->drained || m->stage == MONITOR_FAILED) {
		ignore(reply_text(
			m, conn, tag, len < 1 ? MONITOR_BAD_REQUEST : MONITOR_WRONG_STATE, 0,
			len < 1 ? "attach: frame too short" : "the container's output has ended"));
		return;
	}
	if (attach_count(&m->attach) == ATTACH_MAX) {
		ignore(reply_text(m, conn, tag, MONITOR_SYS, EBUSY,
		                  "too many clients are attached"));
		return;
	}
	/* The answer goes first: output may follow at once. */
	if (!reply_text(m, conn, tag, MONITOR_OK, 0, ""))
		return;
	ignore(epoll_ctl(m->epoll_fd, EPOLL_CTL_DEL, fd, NULL));
	m->controls[conn] = -1;
	if (m->oplock_owner == conn)
		m->oplock_owner = -1;
	rc = attach_add(&m->attach, fd, flags);
	if (rc < 0)
		close(fd);
}

static void on_control(struct monitor *m, int i)
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
		close_fd(&fd);
		drop_control(m, i);
		return;
	}
	len = (size_t)n - MONITOR_HEADER_BYTES;
	if (header.type != MONITOR_START && header.type != MONITOR_CALL)
		close_fd(&fd);

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
		ignore(reply_text(m, i, header.tag, MONITOR_UNSUPPORTED, 0, "unknown frame type"));
	}
}

static void on_connect(struct monitor *m)
{
	int fd = accept4(MONITOR_FD_LISTEN, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int i;

	if (fd < 0)
		return;
	for (i = 0; i < CONTROLS && m->controls[i] >= 0; i++)
		;
	if (i == CONTROLS || watch(m, fd, EPOLLIN, TOKEN_CONTROL + (uint32_t)i) < 0) {
		close(fd);
		return;
	}
	m->controls[i] = fd;
	ignore(send_status(m, i, 0)); /* sent, or the connection is gone again */
}

/* ------------------------------------------------------------------ start */

/* @rc is the failed call's; what and the path tell which. */
static int begin(struct monitor *m, const char **ret_what)
{
	const char *argv[ARGV_ROOM];
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	struct call_args args = { .kind = CALL_CREATE,
		                  .argv = argv,
		                  .oplock_fd = m->oplock_fd,
		                  .tag = m->call.tag,
		                  .conn = 0 };
	bool tty = flag(m, MONITOR_TTY);
	size_t n;
	int rc;

	*ret_what = "prepare the exit record in the spool";
	rc = prepare_record(m);
	if (rc < 0)
		return rc;
	*ret_what = m->config.log_path;
	rc = logfile_open(&m->log, m->config.log_path);
	if (rc < 0)
		return rc;
	*ret_what = "memory for output";
	rc = make_streams(m);
	if (rc < 0)
		return rc;

	n = runtime_argv(m, argv, "create");
	argv[n++] = "--bundle";
	argv[n++] = m->config.bundle;
	argv[n++] = "--pid-file";
	argv[n++] = m->pid_path;
	if (tty) {
		*ret_what = "listen for the terminal";
		rc = listen_console(m);
		if (rc < 0)
			return rc;
		argv[n++] = "--console-socket";
		argv[n++] = m->tty_path;
	} else {
		*ret_what = "make pipes for the container's output";
		if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
		    (flag(m, MONITOR_WANT_STDIN) && pipe2(in, O_CLOEXEC) < 0))
			return -errno;
		m->out_fd = out[0];
		m->err_fd = err[0];
		/* Root of a user namespace opens /dev/stdout anew, which needs the pipe to be
		 * its own. */
		if (fchown(out[1], m->config.io_uid, m->config.io_gid) < 0 ||
		    fchown(err[1], m->config.io_uid, m->config.io_gid) < 0 ||
		    (in[0] >= 0 && fchown(in[0], m->config.io_uid, m->config.io_gid) < 0) ||
		    fcntl(out[0], F_SETFL, O_NONBLOCK) < 0 ||
		    fcntl(err[0], F_SETFL, O_NONBLOCK) < 0 ||
		    (in[1] >= 0 && fcntl(in[1], F_SETFL, O_NONBLOCK) < 0))
			return -errno;
		rc = watch(m, out[0], EPOLLIN, TOKEN_OUT);
		if (rc == 0)
			rc = watch(m, err[0], EPOLLIN, TOKEN_ERR);
		if (rc < 0)
			return rc;
		if (in[1] >= 0)
			attach_set_stdin(&m->attach, in[1], false, flag(m, MONITOR_STDIN_ONCE));
	}
	argv[n++] = m->config.id;
	argv[n] = NULL;
	args.stdin_fd = in[0];
	args.stdout_fd = out[1];
	args.stderr_fd = err[1];
	*ret_what = "spawn runtime";
	rc = spawn(m, &args, m->config.timeout_ms);
	close_fd(&in[0]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	return rc;
}

/* Paths beside our socket. A console socket's must fit sun_path: where it does not, it goes
 * through our descriptor. */
static int make_paths(struct monitor *m)
{
	char *line = memory_take(&m->memory, 3 * PATH_MAX, 1);
	struct text text = { .p = line, .size = 3 * PATH_MAX };
	char dir[PATH_MAX / 2];
	ssize_t n = readlink("/proc/self/fd/6", dir, sizeof(dir) - 1);
	size_t tty_len;

	_Static_assert(MONITOR_FD_DIR == 6, "the path above names it");
	if (n <= 0 || n == (ssize_t)sizeof(dir) - 1)
		return -ENAMETOOLONG;
	dir[n] = '\0';
	const char **const paths[] = { &m->log_path, &m->pid_path, &m->tty_path };
	static const char *const endings[] = { ".log", ".pid", ".tty" };
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		*paths[i] = text.p + text.len;
		tty_len = text.len;
		text_str(&text, dir);
		text_str(&text, "/");
		text_str(&text, m->config.id);
		text_str(&text, endings[i]);
		tty_len = text.len - tty_len;
		text_add(&text, "", 1);
	}
	if (tty_len >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		m->tty_path = text.p + text.len;
		text_str(&text, "/proc/");
		text_int(&text, getpid());
		text_str(&text, "/fd/6/");
		text_str(&text, m->config.id);
		text_str(&text, ".tty");
		text_add(&text, "", 1);
	}
	m->memory.used -= text.size - text.len;
	return 0;
}

static int receive_config(struct monitor *m)
{
	struct monitor_header header;
	uint8_t *frame = memory_take(&m->memory, MONITOR_CONFIG_MAX, 8);
	ssize_t n;

	n = fd_recv(MONITOR_FD_CONTROL, frame, MONITOR_CONFIG_MAX, NULL, NULL);
	if (n <= 0 || monitor_get_header(frame, (size_t)n, &header) < 0 ||
	    header.type != MONITOR_CONFIG ||
	    monitor_decode_config(frame + MONITOR_HEADER_BYTES, (size_t)n - MONITOR_HEADER_BYTES,
	                          &m->config) < 0)
		return -1;
	m->memory.used -= MONITOR_CONFIG_MAX - (size_t)n;
	m->call.tag = header.tag;
	if (!exit_record_id_valid(m->config.id))
		return -1;
	memcpy(m->record.id, m->config.id, strlen(m->config.id) + 1);
	read_boot_id(m->record.boot_id);
	if (m->config.max_line == 0 || m->config.max_line > LOG_LINE_MAX)
		m->config.max_line = LOG_LINE_MAX;
	return 0;
}

/* Our own place is the beginning of our memory. NULL: there is none. */
static struct monitor *monitor_make(void)
{
	struct memory memory = { .p = map_memory(MEMORY_BYTES), .size = MEMORY_BYTES };
	struct monitor *m;

	if (!memory.p)
		return NULL;
	m = memory_take(&memory, sizeof(*m), _Alignof(struct monitor));
	m->memory = memory;
	return m;
}

static int prepare(struct monitor *m)
{
	sigset_t all, heard;
	int fd;

	*m = (struct monitor){
		.memory = m->memory,
		.stage = MONITOR_CREATING,
		.controls = { MONITOR_FD_CONTROL, -1, -1, -1 },
		.call = { .out_fd = -1, .conn = -1 },
		.oplock_fd = -1,
		.oplock_owner = -1,
		.console_fd = -1,
		.log = { .fd = -1 },
		.out_fd = -1,
		.err_fd = -1,
		.record_fd = -1,
		.oom = { .counter_fd = -1, .event_fd = -1 },
	};
	for (fd = MONITOR_FD_CONTROL; fd < MONITOR_FD_END; fd++)
		ignore(fd_set_cloexec(fd, true)); /* the op lock may not be there */
	if (receive_config(m) < 0 || make_paths(m) < 0)
		return -1;
	if (flag(m, MONITOR_HAS_OPLOCK)) {
		m->oplock_fd = MONITOR_FD_OPLOCK;
		m->oplock_owner = 0;
	}

	ignore(prctl(PR_SET_NAME, PROGRAM_NAME));
	ignore(prctl(PR_SET_DUMPABLE, 0));
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -1;
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		/* Refused without CAP_SYS_RESOURCE. */
		ignore(write(fd, OOM_SCORE_ADJ, strlen(OOM_SCORE_ADJ)) < 0);
		close(fd);
	}

	/* Nothing ends us while the container lives but SIGKILL; TERM is heard, and minded when
	 * only a disk keeps us. */
	sigfillset(&all);
	sigemptyset(&heard);
	sigaddset(&heard, SIGCHLD);
	sigaddset(&heard, SIGTERM);
	m->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (m->epoll_fd < 0 || sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		return -1;
	m->signal_fd = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0 || watch(m, m->signal_fd, EPOLLIN, TOKEN_SIGNAL) < 0 ||
	    watch(m, MONITOR_FD_LISTEN, EPOLLIN, TOKEN_LISTEN) < 0 ||
	    watch(m, MONITOR_FD_CONTROL, EPOLLIN, TOKEN_CONTROL) < 0 ||
	    fd_set_nonblock(MONITOR_FD_LISTEN, true) < 0 ||
	    fd_set_nonblock(MONITOR_FD_CONTROL, true) < 0)
		return -1;

	m->frame = memory_take(&m->memory, MONITOR_FRAME_MAX, 8);
	m->call.text = memory_take(&m->memory, CALL_TEXT, 1);
	m->why_text = memory_take(&m->memory, MONITOR_TEXT_MAX, 1);
	attach_init(&m->attach, m->epoll_fd, TOKEN_CLIENT, TOKEN_STDIN,
	            memory_take(&m->memory, MONITOR_DATA_MAX, 1));
	return m->memory.used <= m->memory.size ? 0 : -1;
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
		on_connect(m);
		return;
	case TOKEN_OUT:
		if (m->out_fd >= 0)
			read_stream(m, &m->out_fd, &m->out, MONITOR_STDOUT);
		return;
	case TOKEN_ERR:
		if (m->err_fd >= 0)
			read_stream(m, &m->err_fd, &m->err, MONITOR_STDERR);
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
			on_control(m, (int)(token - TOKEN_CONTROL));
	}
}

static void tick(struct monitor *m)
{
	int64_t now_ns = clock_boot_ns();

	if (m->tty_more)
		read_tty(m);
	if (m->call.kind != CALL_NONE && now_ns >= m->call.deadline_ns)
		call_overdue(m, now_ns);
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
	struct monitor *m = monitor_make();
	struct epoll_event events[8];
	const char *what;
	int rc;

	if (!m || prepare(m) < 0)
		return 1;
	rc = begin(m, &what);
	if (rc < 0)
		fail_sys(m, 0, m->call.tag, rc, what);
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
