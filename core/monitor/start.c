/* core/monitor/start.c
 *
 * From the descriptors we are born with to a runtime that creates the container.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/monitor/internal.h"
#include "core/monitor/text.h"

#define MEMORY_BYTES  (256 * 1024)
#define OOM_SCORE_ADJ "-998" /* as kubelet protects what must not go before the containers */
#define PROGRAM_NAME  "coracle-monitor"

void *mon_memory_take(struct memory *memory, size_t len, size_t align)
{
	size_t at = (memory->used + align - 1) & ~(align - 1);

	memory->used = at + len;
	return memory->p + at;
}

/* NULL: no memory */
uint8_t *mon_map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int mon_watch(const struct monitor *m, int fd, uint32_t events, uint32_t token)
{
	struct epoll_event ev = { .events = events, .data.u32 = token };

	return epoll_ctl(m->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* A small file into @text, NUL terminated; its length or -errno. */
ssize_t mon_read_small(int dirfd, const char *path, char *text, size_t size)
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
	char text[64] = "", hex[33];
	size_t n = 0;

	memset(id, 0, 16);
	if (mon_read_small(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof(text)) < 0)
		return;
	for (const char *c = text; *c && *c != '\n' && n < 32; c++)
		if (*c != '-')
			hex[n++] = *c;
	if (n == 32 && hex_decode((struct str){ hex, 32 }, id, 16) < 0)
		memset(id, 0, 16);
}

/* @rc is the failed call's; what and the path tell which. */
int mon_begin(struct monitor *m, const char **ret_what)
{
	const char *argv[ARGV_ROOM];
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	struct call_args args = { .kind = CALL_CREATE,
		                  .argv = argv,
		                  .oplock_fd = m->oplock_fd,
		                  .tag = m->call.tag,
		                  .conn = 0 };
	bool tty = mon_flag(m, MONITOR_TTY);
	size_t n;
	int rc;

	*ret_what = "prepare the exit record in the spool";
	rc = mon_record_prepare(m);
	if (rc < 0)
		return rc;
	*ret_what = m->config.log_path;
	rc = logfile_open(&m->log, m->config.log_path);
	if (rc < 0)
		return rc;
	*ret_what = "memory for output";
	rc = mon_make_streams(m);
	if (rc < 0)
		return rc;

	n = mon_runtime_argv(m, argv, "create");
	argv[n++] = "--bundle";
	argv[n++] = m->config.bundle;
	argv[n++] = "--pid-file";
	argv[n++] = m->pid_path;
	if (tty) {
		*ret_what = "listen for the terminal";
		rc = mon_listen_console(m);
		if (rc < 0)
			return rc;
		argv[n++] = "--console-socket";
		argv[n++] = m->tty_path;
	} else {
		*ret_what = "make pipes for the container's output";
		if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
		    (mon_flag(m, MONITOR_WANT_STDIN) && pipe2(in, O_CLOEXEC) < 0))
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
		rc = mon_watch(m, out[0], EPOLLIN, TOKEN_OUT);
		if (rc == 0)
			rc = mon_watch(m, err[0], EPOLLIN, TOKEN_ERR);
		if (rc < 0)
			return rc;
		if (in[1] >= 0)
			attach_set_stdin(&m->attach, in[1], false, mon_flag(m, MONITOR_STDIN_ONCE));
	}
	argv[n++] = m->config.id;
	argv[n] = NULL;
	args.stdin_fd = in[0];
	args.stdout_fd = out[1];
	args.stderr_fd = err[1];
	*ret_what = "spawn runtime";
	rc = mon_spawn(m, &args, m->config.timeout_ms);
	mon_close(&in[0]);
	mon_close(&out[1]);
	mon_close(&err[1]);
	return rc;
}

/* Paths beside our socket. A console socket's must fit sun_path: where it does not, it goes
 * through our descriptor. */
static int make_paths(struct monitor *m)
{
	char *line = mon_memory_take(&m->memory, 3 * PATH_MAX, 1);
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
	uint8_t *frame = mon_memory_take(&m->memory, MONITOR_CONFIG_MAX, 8);
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
struct monitor *mon_make(void)
{
	struct memory memory = { .p = mon_map(MEMORY_BYTES), .size = MEMORY_BYTES };
	struct monitor *m;

	if (!memory.p)
		return NULL;
	m = mon_memory_take(&memory, sizeof(*m), _Alignof(struct monitor));
	m->memory = memory;
	return m;
}

int mon_prepare(struct monitor *m)
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
	if (mon_flag(m, MONITOR_HAS_OPLOCK)) {
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
	if (m->signal_fd < 0 || mon_watch(m, m->signal_fd, EPOLLIN, TOKEN_SIGNAL) < 0 ||
	    mon_watch(m, MONITOR_FD_LISTEN, EPOLLIN, TOKEN_LISTEN) < 0 ||
	    mon_watch(m, MONITOR_FD_CONTROL, EPOLLIN, TOKEN_CONTROL) < 0 ||
	    fd_set_nonblock(MONITOR_FD_LISTEN, true) < 0 ||
	    fd_set_nonblock(MONITOR_FD_CONTROL, true) < 0)
		return -1;

	m->frame = mon_memory_take(&m->memory, MONITOR_FRAME_MAX, 8);
	m->call.text = mon_memory_take(&m->memory, CALL_TEXT, 1);
	m->why_text = mon_memory_take(&m->memory, MONITOR_TEXT_MAX, 1);
	attach_init(&m->attach, m->epoll_fd, TOKEN_CLIENT, TOKEN_STDIN,
	            mon_memory_take(&m->memory, MONITOR_DATA_MAX, 1));
	return m->memory.used <= m->memory.size ? 0 : -1;
}
