#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* link-wrap: chmod */

int __real_chmod(const char *path, mode_t mode);
int __wrap_chmod(const char *path, mode_t mode);

/* What unix_listen made, before it corrects what the umask took away. */
static mode_t mode_at_birth;

int __wrap_chmod(const char *path, mode_t mode)
{
	struct stat st;

	mode_at_birth = stat(path, &st) < 0 ? 07777 : st.st_mode & 07777;
	return __real_chmod(path, mode);
}

struct fixture {
	char dir[64];
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-fd-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void flags_are_set_and_cleared(void **arg)
{
	int fds[2];

	(void)arg;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(fd_set_nonblock(fds[0], true), 0);
	assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_nonblock(fds[0], false), 0);
	assert_false(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_cloexec(fds[0], false), 0);
	assert_false(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fd_set_cloexec(fds[0], true), 0);
	assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(fd_set_nonblock(-1, true), -EBADF);
}

static void whole_buffers_go_through_and_eof_gives_what_there_was(void **arg)
{
	char back[16] = "";
	int fds[2];

	(void)arg;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write_full(fds[1], "hello", 5), 5);
	close(fds[1]);
	assert_int_equal(read_full(fds[0], back, sizeof(back)), 5);
	assert_memory_equal(back, "hello", 5);
	assert_int_equal(read_full(fds[0], back, sizeof(back)), 0);
	close(fds[0]);
	assert_int_equal(read_full(-1, back, 1), -EBADF);
	assert_int_equal(write_full(-1, back, 1), -EBADF);
	assert_int_equal(read_full(-1, back, 0), 0);
}

static void files_are_written_and_read_at_their_offset(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/file", f->dir);
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char back[8] = "";

	assert_true(fd >= 0);
	assert_int_equal(pwrite_full(fd, "abc", 3, 10), 3);
	assert_int_equal(pread_full(fd, back, sizeof(back), 9), 4);
	assert_memory_equal(back, "\0abc", 4);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
}

static void descriptors_travel_and_arrive_cloexec(void **arg)
{
	int pair[2], fds[2], got[8];
	size_t n = ARRAY_SIZE(got);
	char data[8];

	(void)arg;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fd_send(pair[0], "x", 1, fds, 2), 1);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, &n), 1);
	assert_int_equal(n, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write_full(got[1], "y", 1), 1);
	assert_int_equal(read_full(got[0], data, 1), 1);
	assert_int_equal(data[0], 'y');
	close(got[0]);
	close(got[1]);

	/* none sent, none asked for */
	assert_int_equal(fd_send(pair[0], "zz", 2, NULL, 0), 2);
	n = 0;
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), NULL, &n), 2);
	assert_int_equal(n, 0);
	close(pair[0]);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), NULL, NULL), 0);
	close(pair[1]);
}

static int open_descriptors(void)
{
	cleanup(strv_free) char **names = NULL;

	assert_int_equal(fsx_list(AT_FDCWD, "/proc/self/fd", &names), 0);
	return (int)strv_len(names);
}

static void more_than_was_asked_for_is_refused_and_leaks_nothing(void **arg)
{
	int pair[2], got[8], before;
	const int three[] = { 0, 1, 2 };
	char data[2];
	size_t n;

	(void)arg;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	before = open_descriptors();
	assert_int_equal(fd_send(pair[0], "x", 1, three, 3), 1);
	n = 2;
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, &n), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(fd_send(pair[0], "x", 1, three, 3), 1);
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), NULL, NULL), -EMSGSIZE);
	/* data that does not fit, with a descriptor that would */
	assert_int_equal(fd_send(pair[0], "xyz", 3, three, 1), 3);
	n = 2;
	assert_int_equal(fd_recv(pair[1], data, sizeof(data), got, &n), -EMSGSIZE);
	assert_int_equal(open_descriptors(), before);
	close(pair[0]);
	close(pair[1]);
}

static void a_dead_peer_is_an_error_and_no_signal(void **arg)
{
	int pair[2];

	(void)arg;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[1]);
	assert_int_equal(fd_send(pair[0], "x", 1, NULL, 0), -EPIPE);
	close(pair[0]);
}

static void talk_over(const char *path, int type)
{
	cleanup_close int listener = unix_listen(path, type, 0660, 4);
	cleanup_close int client = -1;
	cleanup_close int server = -1;
	struct stat st;
	char data[4];

	assert_true(listener >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	client = unix_connect(path, type);
	assert_true(client >= 0);
	assert_true(fcntl(client, F_GETFD) & FD_CLOEXEC);
	/* cppcheck-suppress nullPointer ; nobody asks for the address */
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	assert_int_equal(write_full(client, "ping", 4), 4);
	assert_int_equal(read_full(server, data, 4), 4);
}

static void sockets_have_the_mode_asked_for_whatever_the_umask(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/s.sock", f->dir);
	mode_t before = umask(077);

	talk_over(path, SOCK_STREAM);
	assert_int_equal(unlink(path), 0);
	umask(0);
	talk_over(path, SOCK_STREAM);
	umask(before);
	assert_int_equal(mode_at_birth, 0660); /* at no moment wider */
}

static void paths_longer_than_an_address_work(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *dir =
		xasprintf("%s/%s/%s", f->dir,
	                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	                  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
	cleanup_free char *path = xasprintf("%s/s.sock", dir);
	cleanup_free char *hopeless =
		xasprintf("%s/%s", f->dir,
	                  "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	                  "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc");

	assert_int_equal(fsx_mkdir_p(dir, 0700), 0);
	talk_over(path, SOCK_SEQPACKET);
	assert_int_equal(unix_listen(hopeless, SOCK_STREAM, 0600, 1), -ENAMETOOLONG);
	assert_int_equal(unix_listen("", SOCK_STREAM, 0600, 1), -EINVAL);
}

static void a_dead_socket_is_replaced_a_live_one_and_a_file_are_not(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/s.sock", f->dir);
	cleanup_free char *file = xasprintf("%s/file", f->dir);
	int listener;

	listener = unix_listen(path, SOCK_STREAM, 0600, 1);
	assert_true(listener >= 0);
	assert_int_equal(unix_listen(path, SOCK_STREAM, 0600, 1), -EADDRINUSE);
	close(listener); /* the file stays, as after a kill */
	assert_true(fsx_exists(path));
	assert_int_equal(unix_connect(path, SOCK_STREAM), -ECONNREFUSED);
	listener = unix_listen(path, SOCK_STREAM, 0600, 1);
	assert_true(listener >= 0);
	close(listener);

	assert_int_equal(fsx_write(AT_FDCWD, file, "precious", 8, 0600), 0);
	assert_int_equal(unix_listen(file, SOCK_STREAM, 0600, 1), -EEXIST);
	assert_true(fsx_exists(file));
	assert_int_equal(unix_connect("/nonexistent/socket", SOCK_STREAM), -ENOENT);
}

static void datagram_sockets_need_no_backlog(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/d.sock", f->dir);
	cleanup_close int listener = unix_listen(path, SOCK_DGRAM | SOCK_NONBLOCK, 0600, 0);
	cleanup_close int client = unix_connect(path, SOCK_DGRAM);
	char data[4];

	assert_true(listener >= 0 && client >= 0);
	assert_int_equal(write_full(client, "dgram", 5), 5);
	assert_int_equal(read(listener, data, sizeof(data)), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_are_set_and_cleared),
		cmocka_unit_test(whole_buffers_go_through_and_eof_gives_what_there_was),
		cmocka_unit_test_setup_teardown(files_are_written_and_read_at_their_offset, setup,
		                                teardown),
		cmocka_unit_test(descriptors_travel_and_arrive_cloexec),
		cmocka_unit_test(more_than_was_asked_for_is_refused_and_leaks_nothing),
		cmocka_unit_test(a_dead_peer_is_an_error_and_no_signal),
		cmocka_unit_test_setup_teardown(sockets_have_the_mode_asked_for_whatever_the_umask,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(paths_longer_than_an_address_work, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_dead_socket_is_replaced_a_live_one_and_a_file_are_not, setup, teardown),
		cmocka_unit_test_setup_teardown(datagram_sockets_need_no_backlog, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
