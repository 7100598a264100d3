/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "tests/lib/fixture.h"

/* A container's cgroup that is there. */
static int setup(void **arg)
{
	struct fixture *f;

	if (fixture_setup(arg) < 0)
		return -1;
	f = *arg;
	fixture_container(f, "c1", CONTAINER_RUNNING);
	return fixture_cgroup(f, "c1") ? 0 : -1;
}

struct answer {
	struct life_exec exec;
	bool done;
	int code;
	char out[64];
	struct err err;
};

static void on_done(void *arg, const char *id, const struct err *err)
{
	struct answer *a = arg;

	(void)id;
	a->done = true;
	if (err) {
		a->err = *err;
		return;
	}
	a->code = a->exec.result.exit_code;
	ignore(str_format(a->out, sizeof(a->out), "%.*s", (int)a->exec.result.out_len,
	                  a->exec.result.out));
}

static void ask(struct fixture *f, const char *container, int64_t timeout_ms, struct answer *a)
{
	static char *argv[] = { (char *)"true", NULL };

	memset(a, 0, sizeof(*a));
	a->exec.wait.done = on_done;
	a->exec.wait.arg = a;
	life_exec_sync(f->life, fixture_get(f, container)->id, argv, timeout_ms, &a->exec);
}

static void it_tells_output_and_exit_status(void **arg)
{
	struct fixture *f = *arg;
	struct answer a;

	f->world->exec_wstatus = 3 << 8;
	ask(f, "c1", 0, &a);
	assert_false(a.done);
	fixture_settle(f);
	assert_true(a.done);
	assert_string_equal(a.err.msg, "");
	assert_int_equal(a.code, 3);
	assert_string_equal(a.out, "out\n");
	fixture_check(f);
}

static void a_signal_is_128_and_more(void **arg)
{
	struct fixture *f = *arg;
	struct answer a;

	f->world->exec_wstatus = 9;
	ask(f, "c1", 0, &a);
	fixture_settle(f);
	assert_int_equal(a.code, 137);
}

static void past_its_time_out_it_is_killed(void **arg)
{
	struct fixture *f = *arg;
	struct answer a;

	world_next(f->world, WORLD_EXEC, WORLD_HANGS);
	ask(f, "c1", 1000, &a);
	fixture_advance(f, 900);
	assert_false(a.done);
	fixture_advance(
		f, 10000); /* its processes first, then the runtime that should end with them */
	assert_true(a.done);
	assert_int_equal(a.err.code, CODE_DEADLINE_EXCEEDED);
	fixture_check(f);
}

static void a_client_that_goes_away_has_it_killed_and_run_once(void **arg)
{
	struct fixture *f = *arg;
	struct answer a;

	world_next(f->world, WORLD_EXEC, WORLD_HANGS);
	ask(f, "c1", 0, &a);
	fixture_settle(f);
	assert_true(fixture_op_runs(f, "ExecSync"));
	life_exec_forget(&a.exec);
	fixture_advance(f, 10000);
	assert_false(fixture_op_runs(f, "ExecSync"));
	assert_false(a.done);
	assert_int_equal(f->world->asked[WORLD_EXEC], 1);
	fixture_check(f);
}

static void a_client_that_goes_away_as_it_ends_does_not_run_it_again(void **arg)
{
	struct fixture *f = *arg;

	for (int turns = 0; turns < 12; turns++) {
		unsigned before = f->world->asked[WORLD_EXEC];
		struct answer a;

		ask(f, "c1", 0, &a);
		for (int i = 0; i < turns; i++)
			fixture_turn(f);
		if (!a.done)
			life_exec_forget(&a.exec);
		fixture_settle(f);
		assert_true(f->world->asked[WORLD_EXEC] - before <= 1);
		assert_false(fixture_op_runs(f, "ExecSync"));
	}
	fixture_check(f);
}

static void only_what_runs_can_be_entered(void **arg)
{
	struct fixture *f = *arg;
	struct answer a;

	fixture_container(f, "c2", CONTAINER_CREATED);
	ask(f, "c2", 0, &a);
	fixture_settle(f);
	assert_int_equal(a.err.code, CODE_FAILED_PRECONDITION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_tells_output_and_exit_status, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_signal_is_128_and_more, setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(past_its_time_out_it_is_killed, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_that_goes_away_has_it_killed_and_run_once,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_client_that_goes_away_as_it_ends_does_not_run_it_again, setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(only_what_runs_can_be_entered, setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
