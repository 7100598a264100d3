/* tests/unit/core/monitor/test_attach.c */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/monitor/attach.h"

#define FIRST_TOKEN 100
#define STDIN_TOKEN 50

struct fixture {
	struct attach attach;
	int epoll_fd, stdin_read;
	uint8_t pending[MONITOR_DATA_MAX], frame[MONITOR_FRAME_MAX];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	f->stdin_read = -1;
	attach_init(&f->attach, f->epoll_fd, FIRST_TOKEN, STDIN_TOKEN, f->pending);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	attach_close_stdin(&f->attach);
	attach_close_all(&f->attach, MONITOR_CLOSE_EXITED);
	close(f->epoll_fd);
	if (f->stdin_read >= 0)
		close(f->stdin_read);
	free(f);
	return 0;
}

static void with_stdin(struct fixture *f, bool once)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	f->stdin_read = ends[0];
	attach_set_stdin(&f->attach, ends[1], false, once);
}

static int client(struct fixture *f, uint8_t flags)
{
	int ends[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(attach_add(&f->attach, ends[1], flags), 0);
	return ends[0];
}

/* What epoll reports is dispatched, until it reports nothing. */
static void settle(struct fixture *f)
{
	struct epoll_event events[8];
	int n;

	while ((n = epoll_wait(f->epoll_fd, events, 8, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			if (events[i].data.u32 == STDIN_TOKEN)
				attach_stdin_ready(&f->attach);
			else
				attach_event(&f->attach, events[i].data.u32 - FIRST_TOKEN,
				             f->frame);
		}
	}
}

static void send_frame(int fd, enum monitor_frame type, const void *data, size_t len)
{
	uint8_t frame[MONITOR_FRAME_MAX];

	monitor_put_header(frame, (uint8_t)type, 0);
	if (len)
		memcpy(frame + 8, data, len);
	assert_int_equal(send(fd, frame, 8 + len, 0), 8 + len);
}

/* -1: nothing there; 0: closed; else the payload's length + 8 */
static ssize_t next_frame(int fd, enum monitor_frame *type, char *payload)
{
	uint8_t frame[MONITOR_FRAME_MAX];
	ssize_t n = recv(fd, frame, sizeof(frame), 0);

	if (n >= 8) {
		*type = (enum monitor_frame)frame[1];
		memcpy(payload, frame + 8, (size_t)n - 8);
		payload[n - 8] = '\0';
	}
	return n;
}

static void assert_frame(int fd, enum monitor_frame type, const char *payload)
{
	enum monitor_frame have;
	char text[MONITOR_FRAME_MAX];

	assert_int_equal(next_frame(fd, &have, text), 8 + strlen(payload));
	assert_int_equal(have, type);
	assert_string_equal(text, payload);
}

static void assert_closed(int fd, enum monitor_close why)
{
	enum monitor_frame type;
	char payload[MONITOR_FRAME_MAX];

	assert_int_equal(next_frame(fd, &type, payload), 9);
	assert_int_equal(type, MONITOR_CLOSE);
	assert_int_equal(payload[0], why);
	assert_int_equal(next_frame(fd, &type, payload), 0);
	close(fd);
}

static void assert_nothing(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static void assert_stdin(struct fixture *f, const char *want)
{
	char have[64];
	ssize_t n = read(f->stdin_read, have, sizeof(have) - 1);

	assert_true(n >= 0);
	have[n] = '\0';
	assert_string_equal(have, want);
}

static void each_client_gets_the_streams_it_asked_for(void **state)
{
	struct fixture *f = *state;
	int both = client(f, MONITOR_ATTACH_STDOUT | MONITOR_ATTACH_STDERR),
	    out = client(f, MONITOR_ATTACH_STDOUT);

	attach_output(&f->attach, MONITOR_STDOUT, (const uint8_t *)"one", 3);
	attach_output(&f->attach, MONITOR_STDERR, (const uint8_t *)"two", 3);
	assert_frame(both, MONITOR_STDOUT, "one");
	assert_frame(both, MONITOR_STDERR, "two");
	assert_frame(out, MONITOR_STDOUT, "one");
	assert_nothing(out);
	attach_close_all(&f->attach, MONITOR_CLOSE_EXITED);
	assert_closed(both, MONITOR_CLOSE_EXITED);
	assert_closed(out, MONITOR_CLOSE_EXITED);
	assert_int_equal(attach_count(&f->attach), 0);
}

static void large_output_comes_in_frames_of_bounded_size(void **state)
{
	struct fixture *f = *state;
	int fd = client(f, MONITOR_ATTACH_STDOUT);
	uint8_t data[MONITOR_DATA_MAX + 5];
	char payload[MONITOR_FRAME_MAX];
	enum monitor_frame type;

	memset(data, 'x', sizeof(data));
	attach_output(&f->attach, MONITOR_STDOUT, data, sizeof(data));
	assert_int_equal(next_frame(fd, &type, payload), 8 + MONITOR_DATA_MAX);
	assert_int_equal(next_frame(fd, &type, payload), 8 + 5);
	close(fd);
}

static void a_client_that_does_not_read_is_told_and_dropped(void **state)
{
	struct fixture *f = *state;
	int slow = client(f, MONITOR_ATTACH_STDOUT), good = client(f, MONITOR_ATTACH_STDOUT);
	uint8_t data[MONITOR_DATA_MAX] = { 0 };
	char payload[MONITOR_FRAME_MAX];
	enum monitor_frame type = MONITOR_STDOUT;
	unsigned sent = 0, got = 0;

	while (attach_count(&f->attach) == 2 && sent < 1000) {
		attach_output(&f->attach, MONITOR_STDOUT, data, sizeof(data));
		assert_int_equal(next_frame(good, &type, payload), 8 + MONITOR_DATA_MAX);
		sent++;
	}
	assert_int_equal(attach_count(&f->attach), 1);
	assert_true(sent >= 8); /* it had a queue worth the name */
	while (next_frame(slow, &type, payload) > 0 && type == MONITOR_STDOUT)
		got++;
	assert_int_equal(type, MONITOR_CLOSE);
	assert_int_equal(payload[0], MONITOR_CLOSE_SLOW);
	assert_int_equal(got, sent - 1);
	close(slow);
	close(good);
}

static void input_of_all_clients_reaches_the_container(void **state)
{
	struct fixture *f = *state;
	int a, b, deaf;

	with_stdin(f, false);
	a = client(f, MONITOR_ATTACH_STDIN);
	b = client(f, MONITOR_ATTACH_STDIN);
	deaf = client(f, MONITOR_ATTACH_STDOUT);
	send_frame(a, MONITOR_STDIN, "one ", 4);
	settle(f);
	send_frame(b, MONITOR_STDIN, "two", 3);
	send_frame(deaf, MONITOR_STDIN, "three", 5); /* it did not say it would */
	settle(f);
	assert_stdin(f, "one two");
	close(a);
	close(b);
	close(deaf);
}

static void a_container_without_stdin_swallows_input(void **state)
{
	struct fixture *f = *state;
	int fd = client(f, MONITOR_ATTACH_STDIN | MONITOR_ATTACH_STDOUT);

	send_frame(fd, MONITOR_STDIN, "one", 3);
	settle(f);
	attach_output(&f->attach, MONITOR_STDOUT, (const uint8_t *)"two", 3);
	assert_frame(fd, MONITOR_STDOUT, "two");
	close(fd);
}

static void a_container_that_does_not_read_holds_its_clients_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	char chunk[4096], have[8192];
	size_t sent = 0, got = 0;
	int fd;

	with_stdin(f, false);
	fd = client(f, MONITOR_ATTACH_STDIN | MONITOR_ATTACH_STDOUT);
	for (int i = 0; i < 22; i++) { /* more than a pipe holds */
		memset(chunk, 'a' + i % 26, sizeof(chunk));
		send_frame(fd, MONITOR_STDIN, chunk, sizeof(chunk));
		sent += sizeof(chunk);
	}
	settle(f);
	assert_true(f->attach.blocked);
	attach_output(&f->attach, MONITOR_STDOUT, (const uint8_t *)"out",
	              3); /* output flows meanwhile */
	assert_frame(fd, MONITOR_STDOUT, "out");
	while (got < sent) {
		ssize_t n = read(f->stdin_read, have, sizeof(have));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(have[i],
			                 'a' + (int)((got + (size_t)i) / sizeof(chunk)) % 26);
		got += (size_t)n;
		settle(f);
	}
	assert_false(f->attach.blocked);
	close(fd);
}

static void with_stdin_once_the_end_of_input_closes_it_and_output_goes_on(void **state)
{
	struct fixture *f = *state;
	int fd;

	with_stdin(f, true);
	fd = client(f, MONITOR_ATTACH_STDIN | MONITOR_ATTACH_STDOUT);
	send_frame(fd, MONITOR_STDIN, "one", 3);
	send_frame(fd, MONITOR_STDIN_EOF, NULL, 0);
	settle(f);
	assert_stdin(f, "one");
	assert_stdin(f, ""); /* end of file */
	attach_output(&f->attach, MONITOR_STDOUT, (const uint8_t *)"two", 3);
	assert_frame(fd, MONITOR_STDOUT, "two");
	close(fd);
}

static void with_stdin_once_a_client_that_leaves_closes_it_after_its_last_byte(void **state)
{
	struct fixture *f = *state;
	char chunk[MONITOR_DATA_MAX] = { 0 }, have[65536];
	size_t got = 0;
	ssize_t n;
	int fd, watcher;

	with_stdin(f, true);
	watcher = client(f, MONITOR_ATTACH_STDOUT);
	close(watcher); /* it had no part in the input */
	settle(f);
	fd = client(f, MONITOR_ATTACH_STDIN);
	for (int i = 0; i < 12; i++)
		send_frame(fd, MONITOR_STDIN, chunk, sizeof(chunk));
	close(fd);
	settle(f);
	while ((n = read(f->stdin_read, have, sizeof(have))) > 0) {
		got += (size_t)n;
		settle(f);
	}
	assert_int_equal(n, 0);
	assert_int_equal(got, 12 * sizeof(chunk));
}

static void otherwise_the_end_of_input_detaches_and_the_next_may_type(void **state)
{
	struct fixture *f = *state;
	int fd;

	with_stdin(f, false);
	fd = client(f, MONITOR_ATTACH_STDIN | MONITOR_ATTACH_STDOUT);
	send_frame(fd, MONITOR_STDIN_EOF, NULL, 0);
	settle(f);
	assert_closed(fd, MONITOR_CLOSE_DETACHED);
	fd = client(f, MONITOR_ATTACH_STDIN);
	send_frame(fd, MONITOR_STDIN, "two", 3);
	settle(f);
	assert_stdin(f, "two");
	close(fd);
}

static void a_container_that_closed_its_input_costs_nobody_the_attach(void **state)
{
	struct fixture *f = *state;
	int fd;

	with_stdin(f, false);
	fd = client(f, MONITOR_ATTACH_STDIN | MONITOR_ATTACH_STDOUT);
	close(f->stdin_read);
	f->stdin_read = -1;
	send_frame(fd, MONITOR_STDIN, "one", 3);
	settle(f);
	assert_int_equal(f->attach.stdin_fd, -1);
	attach_output(&f->attach, MONITOR_STDOUT, (const uint8_t *)"two", 3);
	assert_frame(fd, MONITOR_STDOUT, "two");
	close(fd);
}

static void a_terminal_takes_input_and_size(void **state)
{
	struct fixture *f = *state;
	struct winsize size = { 0 };
	const uint8_t want[4] = { 200, 0, 50, 0 }, zero[4] = { 0 };
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int fd;

	assert_true(master >= 0);
	attach_set_stdin(&f->attach, master, true, false);
	fd = client(f, MONITOR_ATTACH_STDIN);
	send_frame(fd, MONITOR_RESIZE, want, 4);
	send_frame(fd, MONITOR_RESIZE, zero, 4); /* no size at all: ignored */
	settle(f);
	assert_int_equal(ioctl(master, TIOCGWINSZ, &size), 0);
	assert_int_equal(size.ws_col, 200);
	assert_int_equal(size.ws_row, 50);
	attach_close_stdin(&f->attach);
	assert_int_equal(fcntl(master, F_GETFD),
	                 FD_CLOEXEC); /* the master is not attach's to close */
	close(master);
	close(fd);
}

static void nonsense_ends_that_client_only(void **state)
{
	struct fixture *f = *state;
	int bad = client(f, MONITOR_ATTACH_STDIN), good = client(f, MONITOR_ATTACH_STDOUT);
	enum monitor_frame type;
	char payload[MONITOR_FRAME_MAX];

	assert_int_equal(send(bad, "x", 1, 0), 1);
	settle(f);
	assert_int_equal(next_frame(bad, &type, payload), 0);
	attach_output(&f->attach, MONITOR_STDOUT, (const uint8_t *)"two", 3);
	assert_frame(good, MONITOR_STDOUT, "two");
	close(bad);
	close(good);
}

static void places_of_clients_that_left_unnoticed_are_found_again(void **state)
{
	struct fixture *f = *state;
	char chunk[MONITOR_DATA_MAX] = { 0 };
	int fds[ATTACH_MAX], extra[2];

	with_stdin(f, false);
	for (unsigned i = 0; i < ATTACH_MAX; i++)
		fds[i] = client(f, MONITOR_ATTACH_STDIN);
	for (int i = 0; i < 12; i++) /* all are held from now on */
		send_frame(fds[0], MONITOR_STDIN, chunk, sizeof(chunk));
	settle(f);
	assert_true(f->attach.blocked);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, extra), 0);
	assert_int_equal(attach_add(&f->attach, extra[1], MONITOR_ATTACH_STDOUT), -EBUSY);
	close(fds[3]);
	assert_int_equal(attach_add(&f->attach, extra[1], MONITOR_ATTACH_STDOUT), 0);
	for (unsigned i = 0; i < ATTACH_MAX; i++)
		if (i != 3)
			close(fds[i]);
	close(extra[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_client_gets_the_streams_it_asked_for),
		TEST(large_output_comes_in_frames_of_bounded_size),
		TEST(a_client_that_does_not_read_is_told_and_dropped),
		TEST(input_of_all_clients_reaches_the_container),
		TEST(a_container_without_stdin_swallows_input),
		TEST(a_container_that_does_not_read_holds_its_clients_and_loses_nothing),
		TEST(with_stdin_once_the_end_of_input_closes_it_and_output_goes_on),
		TEST(with_stdin_once_a_client_that_leaves_closes_it_after_its_last_byte),
		TEST(otherwise_the_end_of_input_detaches_and_the_next_may_type),
		TEST(a_container_that_closed_its_input_costs_nobody_the_attach),
		TEST(a_terminal_takes_input_and_size),
		TEST(nonsense_ends_that_client_only),
		TEST(places_of_clients_that_left_unnoticed_are_found_again),
	};

	signal(SIGPIPE, SIG_IGN); /* a monitor has it blocked */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
