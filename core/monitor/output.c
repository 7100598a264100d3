/* core/monitor/output.c
 *
 * From the container's streams or terminal to its log and its attach clients.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/monitor/internal.h"
#include "core/monitor/text.h"

#define LOST_EVERY_NS (60 * NS_PER_S)

static void say_lost(struct monitor *m, int64_t now_ns)
{
	uint8_t *p = m->frame + MONITOR_HEADER_BYTES;

	if (m->log.lost == m->lost_said || now_ns < m->lost_next_ns)
		return;
	put_le32(p, (uint32_t)m->log.error);
	put_le64(p + 4, m->log.lost);
	mon_send_all(m, MONITOR_LOG_LOST, 12);
	m->lost_said = m->log.lost;
	m->lost_next_ns = now_ns + LOST_EVERY_NS;
}

/* One read. True: there may be more right away. */
bool mon_read_stream(struct monitor *m, int *fd, struct logstream *stream, enum monitor_frame type)
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
		return (size_t)n == room || mon_flag(m, MONITOR_TTY);
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EINTR;
	/* EIO from a terminal: nobody has it open. While init lives somebody may open it again,
	 * which is an edge. */
	if (n < 0 && errno == EIO && mon_flag(m, MONITOR_TTY) && m->stage != MONITOR_EXITED)
		return false;
	if (mon_flag(m, MONITOR_TTY))
		attach_close_stdin(&m->attach);
	mon_close(fd);
	return false;
}

void mon_read_tty(struct monitor *m)
{
	m->tty_more = m->out_fd >= 0 && mon_read_stream(m, &m->out_fd, &m->out, MONITOR_STDOUT);
}

void mon_finish_output(struct monitor *m)
{
	int64_t now_ns = clock_real_ns();

	attach_close_stdin(&m->attach);
	mon_close(&m->out_fd);
	mon_close(&m->err_fd);
	logstream_finish(&m->out, &m->log, now_ns);
	logstream_finish(&m->err, &m->log, now_ns);
	m->lost_next_ns = 0;
	say_lost(m, clock_boot_ns());
	logfile_close(&m->log);
	attach_close_all(&m->attach, MONITOR_CLOSE_EXITED);
}

int mon_make_streams(struct monitor *m)
{
	size_t max_line = m->config.max_line;
	size_t size = (LOG_STREAM_BYTES(max_line) + PAGE - 1) & ~(size_t)(PAGE - 1);
	uint8_t *p = mon_map(2 * size);

	if (!p)
		return -ENOMEM;
	logstream_init(&m->out, "stdout", p, max_line);
	logstream_init(&m->err, "stderr", p + size, max_line);
	return 0;
}

/* ------------------------------------------------------------------ the terminal */

/* The runtime connects here and sends the master. The path it is told must fit a sockaddr_un. */
int mon_listen_console(struct monitor *m)
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

void mon_close_console(struct monitor *m)
{
	if (m->console_fd < 0)
		return;
	mon_close(&m->console_fd);
	ignore(unlinkat(MONITOR_FD_DIR, strrchr(m->tty_path, '/') + 1, 0) < 0);
}

/* create is done: the master is in the socket's queue, or never comes. */
int mon_take_console(struct monitor *m)
{
	/* cppcheck-suppress nullPointer; the runtime's address is none */
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
	n = mon_watch(m, master, EPOLLIN | EPOLLOUT | EPOLLET, TOKEN_TTY);
	if (n < 0)
		return (int)n;
	attach_set_stdin(&m->attach, mon_flag(m, MONITOR_WANT_STDIN) ? master : -1, true, false);
	m->tty_more = true;
	return 0;
}
