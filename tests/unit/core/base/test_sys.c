#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/sys.h"

static void a_pidfd_follows_a_process_to_its_exit_status(void **arg)
{
	struct pollfd done = { .events = POLLIN };
	int status = -1, rc;
	pid_t pid = fork();

	(void)arg;
	if (pid == 0) {
		pause();
		_exit(0);
	}
	done.fd = sys_pidfd_open(pid, 0);
	assert_true(done.fd >= 0);
	assert_true(fcntl(done.fd, F_GETFD) & FD_CLOEXEC);
	rc = sys_pidfd_exit_status(done.fd, &status);
	assert_true(rc == -EAGAIN || rc == -ENOTTY || rc == -EINVAL);
	assert_int_equal(sys_pidfd_send_signal(done.fd, SIGTERM), 0);
	assert_int_equal(poll(&done, 1, 5000), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(sys_pidfd_send_signal(done.fd, SIGTERM), -ESRCH);
	if (rc == -EAGAIN && sys_pidfd_exit_status(done.fd, &status) == 0) { /* kernel 6.15 */
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGTERM);
	}
	close(done.fd);
	assert_int_equal(sys_pidfd_open(-1, 0), -EINVAL);
}

static void close_range_closes_the_range_and_nothing_else(void **arg)
{
	int low = fcntl(0, F_DUPFD_CLOEXEC, 200);
	int high = fcntl(0, F_DUPFD_CLOEXEC, 210);
	int beyond = fcntl(0, F_DUPFD_CLOEXEC, 220);

	(void)arg;
	assert_int_equal(sys_close_range((unsigned)low, (unsigned)high, 0), 0);
	assert_int_equal(fcntl(low, F_GETFD), -1);
	assert_int_equal(fcntl(high, F_GETFD), -1);
	assert_true(fcntl(beyond, F_GETFD) >= 0);
	close(beyond);
	assert_int_equal(sys_close_range(5, 4, 0), -EINVAL);
}

static void openat2_stays_beneath(void **arg)
{
	const struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH };
	int dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	(void)arg;
	fd = sys_openat2(dir, "status", &how);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(sys_openat2(dir, "../1/status", &how), -EXDEV);
	assert_int_equal(sys_openat2(dir, "absent", &how), -ENOENT);
	close(dir);
}

static void a_program_runs_from_a_descriptor(void **arg)
{
	int fd = open("/bin/true", O_PATH | O_CLOEXEC);
	char *const argv[] = { (char[]){ "true" }, NULL };
	char *const envp[] = { NULL };
	int status;
	pid_t pid = fork();

	(void)arg;
	if (pid == 0) {
		ignore(sys_execveat(fd, "", argv, envp, AT_EMPTY_PATH) < 0);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(fd);
	assert_int_equal(sys_execveat(AT_FDCWD, "/no/such/program", argv, envp, 0), -ENOENT);
}

static void renameat2_can_refuse_to_overwrite(void **arg)
{
	char dir[] = "/tmp/test-sys-XXXXXX";
	int fd;

	(void)arg;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsx_write(fd, "a", "a", 1, 0600), 0);
	assert_int_equal(fsx_write(fd, "b", "b", 1, 0600), 0);
	assert_int_equal(sys_renameat2(fd, "a", fd, "b", 1 /* RENAME_NOREPLACE */), -EEXIST);
	assert_int_equal(sys_renameat2(fd, "a", fd, "c", 1), 0);
	close(fd);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, dir), 0);
}

static void failures_are_negative_errnos(void **arg)
{
	(void)arg;
	assert_int_equal(sys_fsconfig(-1, 0, NULL, NULL, 0), -EINVAL);
	assert_true(sys_open_tree(-1, "x", 0) < 0);
	assert_true(sys_move_mount(-1, "x", -1, "y", 0) < 0);
	assert_true(sys_fsopen("no-such-file-system", 0) < 0);
	assert_true(sys_fsmount(-1, 0, 0) < 0);
	assert_true(sys_mount_setattr(-1, "x", 0, NULL, 0) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pidfd_follows_a_process_to_its_exit_status),
		cmocka_unit_test(close_range_closes_the_range_and_nothing_else),
		cmocka_unit_test(openat2_stays_beneath),
		cmocka_unit_test(a_program_runs_from_a_descriptor),
		cmocka_unit_test(renameat2_can_refuse_to_overwrite),
		cmocka_unit_test(failures_are_negative_errnos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
