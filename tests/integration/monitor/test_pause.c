/* tests/integration/monitor/test_pause.c
 *
 * The pause program as init of a PID namespace of its own. Needs root.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/sys.h"
#include "core/run/embedded.h"

struct fixture {
	pid_t pid;
	int to_helper[2], from_helper[2];
};

/* An init drops what it does not listen for, so the tests wait until it does. */
static void wait_listening(pid_t pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/wchan", pid);

	for (int i = 0; i < 500; i++) {
		cleanup_free char *text = NULL;

		assert_return_code(fsx_read(AT_FDCWD, path, 256, &text, NULL), 0);
		if (strstr(text, "sigtimedwait"))
			return;
		usleep(1000);
	}
	fail_msg("it does not wait for signals");
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int exe = memfd_create("pause", MFD_CLOEXEC);
	char *argv[] = { (char *)"pause", NULL }, *envp[] = { NULL };
	int ready[2];
	char byte;

	*state = f;
	assert_return_code(write_full(exe, coracle_pause_elf,
	                              (size_t)(coracle_pause_elf_end - coracle_pause_elf)),
	                   0);
	assert_return_code(pipe2(f->to_helper, O_CLOEXEC), 0);
	assert_return_code(pipe2(f->from_helper, O_CLOEXEC), 0);
	assert_return_code(pipe2(ready, O_CLOEXEC), 0);
	/* The next child is init of a new namespace; we stay where we are. */
	assert_return_code(unshare(CLONE_NEWPID), 0);
	f->pid = fork();
	if (f->pid == 0) {
		pid_t helper = fork();

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */

		if (helper == 0) {
			char order;

			close(ready[1]);
			/* On order: a child that leaves an orphan behind, which ends at once. */
			while (read(f->to_helper[0], &order, 1) == 1) {
				pid_t child = fork();

				if (child == 0) {
					if (fork() == 0)
						_exit(0);
					_exit(0);
				}
				waitpid(child, NULL, 0);
				if (write(f->from_helper[1], "x", 1) != 1)
					_exit(1);
			}
			_exit(0);
		}
		_exit(sys_execveat(exe, "", argv, envp, AT_EMPTY_PATH) < 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0); /* exec closed it */
	close(ready[0]);
	close(exe);
	wait_listening(f->pid);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	kill(f->pid, SIGKILL);
	waitpid(f->pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(f->to_helper[i]);
		close(f->from_helper[i]);
	}
	free(f);
	return 0;
}

/* How many children does it have: zombies count. */
static int children_of(pid_t pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/task/%d/children", pid, pid);
	cleanup_free char *text = NULL;
	int n = 0;

	assert_return_code(fsx_read(AT_FDCWD, path, 4096, &text, NULL), 0);
	for (const char *p = text; *p; p++)
		n += *p == ' ';
	return n;
}

static void orphans_are_reaped(void **state)
{
	struct fixture *f = *state;
	char byte;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(f->to_helper[1], "x", 1), 1);
		assert_int_equal(read(f->from_helper[0], &byte, 1), 1);
	}
	for (int i = 0; i < 200 && children_of(f->pid) > 1; i++)
		usleep(10000);
	assert_int_equal(children_of(f->pid), 1); /* the helper */
}

static void it_ends_well(struct fixture *f, int sig)
{
	int wstatus;

	assert_return_code(kill(f->pid, sig), 0);
	assert_int_equal(waitpid(f->pid, &wstatus, 0), f->pid);
	assert_int_equal(wstatus, 0);
}

static void a_termination_signal_ends_it(void **state)
{
	it_ends_well(*state, SIGTERM);
}

static void an_interrupt_ends_it(void **state)
{
	it_ends_well(*state, SIGINT);
}

static void others_do_not(void **state)
{
	struct fixture *f = *state;

	assert_return_code(kill(f->pid, SIGUSR1), 0);
	assert_return_code(kill(f->pid, SIGHUP), 0);
	orphans_are_reaped(state);
	assert_int_equal(waitpid(f->pid, NULL, WNOHANG), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	/* Children of unshare(CLONE_NEWPID) share one namespace, and it dies with its first init: one
	 * process per test. */
	const struct CMUnitTest tests[] = {
		TEST(orphans_are_reaped),
		TEST(a_termination_signal_ends_it),
		TEST(an_interrupt_ends_it),
		TEST(others_do_not),
	};
	int failed = 0;

	if (geteuid() != 0) {
		print_message("needs root: skipped\n");
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		pid_t pid = fork();
		int wstatus = 1;

		if (pid == 0)
			exit(_cmocka_run_group_tests("pause", &tests[i], 1, NULL, NULL));
		waitpid(pid, &wstatus, 0);
		failed += wstatus != 0;
	}
	return failed;
}
