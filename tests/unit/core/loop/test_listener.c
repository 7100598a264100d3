#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/listener.h"

struct fixture {
	char dir[64], path[128];
	struct loop *loop;
	struct listener *listener;
	int accepted;
	struct listener_peer peer;
	struct err err;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	clock_virtual_set(1000 * NS_PER_S);
	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-listener-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(str_format(f->path, sizeof(f->path), "%s/sock", f->dir), 0);
	f->loop = loop_new(&f->err);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	listener_free(f->listener);
	loop_free(f->loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void on_accept(void *arg, int fd, const struct listener_peer *peer)
{
	struct fixture *f = arg;

	f->accepted++;
	f->peer = *peer;
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void settle(struct fixture *f)
{
	while (loop_turn(f->loop, false))
		;
}

static void clients_wait_in_the_backlog_until_it_starts(void **arg)
{
	struct fixture *f = *arg;
	char expected[64];
	struct stat st;
	int client;

	f->listener = listener_unix(f->loop, f->path, &f->err);
	assert_non_null(f->listener);
	assert_string_equal(listener_address(f->listener), f->path);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	client = unix_connect(f->path, SOCK_STREAM);
	assert_true(client >= 0);
	settle(f);
	assert_int_equal(f->accepted, 0);
	assert_int_equal(listener_start(f->listener, on_accept, f, &f->err), 0);
	settle(f);
	assert_int_equal(f->accepted, 1);
	assert_int_equal(f->peer.pid, getpid());
	assert_int_equal(str_format(expected, sizeof(expected), "unix pid %d uid %u", (int)getpid(),
	                            getuid()),
	                 0);
	assert_string_equal(f->peer.text, expected);
	close(client);
}

static void a_live_socket_is_refused_and_a_stale_one_replaced(void **arg)
{
	struct fixture *f = *arg;
	struct listener *second;

	f->listener = listener_unix(f->loop, f->path, &f->err);
	second = listener_unix(f->loop, f->path, &f->err);
	assert_null(second);
	assert_int_equal(f->err.code, CODE_ALREADY_EXISTS);
	assert_non_null(strstr(f->err.msg, f->path));

	/* The second one is put aside before it is freed, so its file stays and is stale. */
	listener_free(f->listener);
	assert_false(fsx_exists(f->path));
	ignore(close(unix_listen(f->path, SOCK_STREAM, 0600, 1)));
	assert_true(fsx_exists(f->path));
	f->listener = listener_unix(f->loop, f->path, &f->err);
	assert_non_null(f->listener);
}

static void a_plain_file_in_the_way_is_kept_and_named(void **arg)
{
	struct fixture *f = *arg;

	assert_int_equal(fsx_write(AT_FDCWD, f->path, "x", 1, 0600), 0);
	assert_null(listener_unix(f->loop, f->path, &f->err));
	assert_non_null(strstr(f->err.msg, "not a socket"));
	assert_true(fsx_exists(f->path));
}

static void free_leaves_a_socket_that_is_no_longer_ours(void **arg)
{
	struct fixture *f = *arg;
	int other;

	f->listener = listener_unix(f->loop, f->path, &f->err);
	assert_int_equal(unlink(f->path), 0);
	other = unix_listen(f->path, SOCK_STREAM, 0600, 1);
	assert_true(other >= 0);
	listener_free(take_ptr(f->listener));
	assert_true(fsx_exists(f->path));
	close(other);
}

static int tcp_connect(const char *address)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void tcp_tells_its_real_port(void **arg)
{
	struct fixture *f = *arg;
	int client;

	f->listener = listener_tcp(f->loop, "127.0.0.1:0", &f->err);
	assert_non_null(f->listener);
	assert_true(starts_with(listener_address(f->listener), "127.0.0.1:"));
	assert_false(ends_with(listener_address(f->listener), ":0"));
	assert_int_equal(listener_start(f->listener, on_accept, f, &f->err), 0);
	client = tcp_connect(listener_address(f->listener));
	settle(f);
	assert_int_equal(f->accepted, 1);
	assert_int_equal(f->peer.pid, 0);
	assert_true(starts_with(f->peer.text, "127.0.0.1:"));
	assert_null(listener_tcp(f->loop, listener_address(f->listener), &f->err));
	assert_int_equal(f->err.code, CODE_ALREADY_EXISTS);
	close(client);
}

static void bad_addresses_are_named(void **arg)
{
	struct fixture *f = *arg;
	static const char *const bad[] = { "",         "10250",          "127.0.0.1:70000",
		                           "::1:80",   "example.org:80", "[::1:80",
		                           "1.2.3.4:x" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_null(listener_tcp(f->loop, bad[i], &f->err));
		assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
		assert_non_null(strstr(f->err.msg, bad[i]));
	}
}

static void without_descriptors_it_pauses_instead_of_spinning(void **arg)
{
	struct fixture *f = *arg;
	struct rlimit old, low;
	int client, lowest;

	f->listener = listener_unix(f->loop, f->path, &f->err);
	assert_int_equal(listener_start(f->listener, on_accept, f, &f->err), 0);
	client = unix_connect(f->path, SOCK_STREAM);
	lowest = dup(0); /* what the next accept would get */
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)lowest;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	settle(f); /* returns: the pending connection does not wake us again and again */
	assert_int_equal(f->accepted, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	clock_virtual_advance(100 * NS_PER_MS);
	settle(f);
	assert_int_equal(f->accepted, 1);
	close(client);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(clients_wait_in_the_backlog_until_it_starts),
		T(a_live_socket_is_refused_and_a_stale_one_replaced),
		T(a_plain_file_in_the_way_is_kept_and_named),
		T(free_leaves_a_socket_that_is_no_longer_ours),
		T(tcp_tells_its_real_port),
		T(bad_addresses_are_named),
		T(without_descriptors_it_pauses_instead_of_spinning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
