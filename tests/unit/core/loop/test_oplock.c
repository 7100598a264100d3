#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/loop/oplock.h"

struct fixture {
	char dir[64];
	struct loop *loop;
	int done;
	struct child_result result;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err;

	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-oplock-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	f->loop = loop_new(&err);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	loop_free(f->loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void on_done(void *arg, const struct child_result *result)
{
	struct fixture *f = arg;

	f->done++;
	f->result = *result;
}

static struct child *spawn(struct fixture *f, const struct oplock *lock, const char *script)
{
	struct child_args args = CHILD_ARGS_INIT;
	const char *argv[] = { "sh", "-c", script, NULL };
	struct child *child;
	struct err err;

	args.name = "op";
	args.path = "/bin/sh";
	args.argv = (char *const *)argv;
	args.oplock_fd = lock->fd;
	args.done = on_done;
	args.arg = f;
	child = child_spawn(f->loop, &args, &err);
	assert_non_null(child);
	return child;
}

static void a_dropped_lock_leaves_nothing_behind(void **arg)
{
	struct fixture *f = *arg;
	struct oplock lock;
	struct err err;

	assert_int_equal(oplock_probe(f->dir, "abc", true), OPLOCK_NONE);
	assert_int_equal(oplock_take(&lock, f->dir, "abc", 7, &err), 0);
	assert_int_equal(oplock_probe(f->dir, "abc", true), OPLOCK_HELD);
	assert_int_equal(oplock_probe(f->dir, "ab", true),
	                 OPLOCK_NONE); /* another id, not a prefix */
	assert_true(oplock_drop(&lock));
	assert_int_equal(lock.fd, -1);
	assert_false(fsx_exists(lock.path));
	assert_int_equal(oplock_probe(f->dir, "abc", false), OPLOCK_NONE);
}

static void an_op_file_is_never_reused(void **arg)
{
	struct fixture *f = *arg;
	struct oplock lock, second;
	struct err err;

	assert_int_equal(oplock_take(&lock, f->dir, "abc", 7, &err), 0);
	assert_int_equal(oplock_take(&second, f->dir, "abc", 7, &err), -1);
	assert_int_equal(err.code, CODE_ALREADY_EXISTS);
	assert_non_null(strstr(err.msg, lock.path));
	oplock_drop(&lock);
}

static void a_child_keeps_the_lock_and_is_found_and_killed(void **arg)
{
	struct fixture *f = *arg;
	struct oplock_holder holders[4];
	struct oplock lock;
	struct child *child;
	struct err err;

	assert_int_equal(oplock_take(&lock, f->dir, "abc", 7, &err), 0);
	child = spawn(f, &lock, "sleep 1000; true");
	oplock_drop(&lock);
	assert_true(fsx_exists(lock.path));
	assert_int_equal(oplock_probe(f->dir, "abc", true), OPLOCK_HELD);

	while (oplock_holders(f->dir, "abc", NULL, holders, 4) < 2) /* the shell and its sleep */
		sched_yield();
	for (int i = 0; i < 2; i++)
		assert_false(holders[i].daemonized);
	assert_true(holders[0].pid == child_pid(child) || holders[1].pid == child_pid(child));
	assert_int_equal(oplock_kill(f->dir, "abc", NULL), 2);
	while (!f->done)
		loop_turn(f->loop, true);
	assert_int_equal(WTERMSIG(f->result.wstatus), 9);
	while (oplock_probe(f->dir, "abc", false) == OPLOCK_HELD)
		sched_yield(); /* the sleep dies a moment after its parent */
	assert_int_equal(oplock_probe(f->dir, "abc", true), OPLOCK_FREE);
	assert_false(fsx_exists(lock.path));
}

static void a_holder_in_a_session_of_its_own_counts_as_daemonized_and_is_spared(void **arg)
{
	struct fixture *f = *arg;
	struct oplock_holder holders[4];
	struct oplock lock;
	struct err err;
	int n = 0;

	assert_int_equal(oplock_take(&lock, f->dir, "abc", 8, &err), 0);
	spawn(f, &lock, "setsid sleep 1000 & exit 0");
	oplock_drop(&lock);
	while (!f->done)
		loop_turn(f->loop, true);
	for (;;) { /* until setsid became the sleep */
		n = oplock_holders(f->dir, "abc", NULL, holders, 4);
		assert_int_equal(n, 1);
		if (holders[0].daemonized && streq(holders[0].comm, "sleep"))
			break;
		sched_yield();
	}
	assert_int_equal(oplock_kill(f->dir, "abc", NULL), 0);
	assert_int_equal(kill(holders[0].pid, 0), 0);
	kill(holders[0].pid, SIGKILL);
}

static void a_process_of_the_containers_cgroup_is_no_holder(void **arg)
{
	struct fixture *f = *arg;
	struct oplock_holder holders[4];
	struct oplock lock;
	struct child *child;
	struct err err;

	assert_int_equal(oplock_take(&lock, f->dir, "abc", 9, &err), 0);
	child = spawn(f, &lock, "exec sleep 1000");
	assert_int_equal(oplock_holders(f->dir, "abc", NULL, holders, 4), 1);
	assert_int_equal(oplock_holders(f->dir, "abc", "/no/such/cgroup", holders, 4), 1);
	assert_int_equal(oplock_holders(f->dir, "abc", "/", holders, 4),
	                 0); /* every process is in or below some root */
	oplock_drop(&lock);
	child_kill(child);
	while (!f->done)
		loop_turn(f->loop, true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_dropped_lock_leaves_nothing_behind),
		T(an_op_file_is_never_reused),
		T(a_child_keeps_the_lock_and_is_found_and_killed),
		T(a_holder_in_a_session_of_its_own_counts_as_daemonized_and_is_spared),
		T(a_process_of_the_containers_cgroup_is_no_holder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
