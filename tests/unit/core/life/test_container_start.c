/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/life/life_internal.h"
#include "tests/lib/fixture.h"

static int setup(void **arg)
{
	if (fixture_setup(arg) < 0)
		return -1;
	fixture_container(*arg, "c1", CONTAINER_CREATED);
	return 0;
}

static void a_started_container_runs_with_pid_and_time(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c;

	assert_true(fixture_well(f, fixture_ask_start(f, "c1")));
	c = fixture_get(f, "c1");
	assert_int_equal(c->state, CONTAINER_RUNNING);
	assert_int_equal(c->pid, fixture_world(f, "c1")->pid);
	assert_true(c->started_ns >= c->created_ns);
	fixture_check(f);
}

static void a_start_that_fails_is_an_exit_with_its_words(void **arg)
{
	static const enum world_kind kinds[] = { WORLD_CREATE, WORLD_START };
	struct fixture *f = *arg;
	const struct container *c;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (int mode = WORLD_FAILS; mode <= WORLD_FAILS_DONE; mode++) {
			fixture_container(f, "x", CONTAINER_CREATED);
			world_next(f->world, kinds[i], (enum world_mode)mode);
			assert_false(fixture_well(f, fixture_ask_start(f, "x")));
			c = fixture_get(f, "x");
			assert_int_equal(c->state, CONTAINER_EXITED);
			assert_int_equal(c->exit_code, 128);
			assert_string_equal(c->reason, "StartError");
			assert_non_null(strstr(c->message, "failed as told"));
			fixture_check(f);
			assert_true(fixture_well(f, fixture_ask_remove(f, "x")));
		}
}

static void a_refusal_by_a_plugin_is_an_exit_and_is_told_to_it(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin(f, "10-a");
	fake_gate_plugin(&f->gate, "10-a")->refuses = 1 << GATE_CONTAINER_START;
	assert_false(fixture_well(f, fixture_ask_start(f, "c1")));
	assert_non_null(strstr(f->err.msg, "10-a says no"));
	assert_int_equal(fixture_get(f, "c1")->exit_code, 128);
	assert_string_equal(f->gate.log, "10-a container_start c1\n10-a exited c1 128\n");
	fixture_check(f);
}

static void a_second_start_is_refused_in_its_turn(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one = fixture_ask_start(f, "c1"), *two = fixture_ask_start(f, "c1");

	assert_true(fixture_well(f, one));
	assert_false(fixture_well(f, two));
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_RUNNING);
	fixture_check(f);
}

static void a_monitor_killed_in_the_start_ends_it(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_START, WORLD_SLEEPS);
	call = fixture_ask_start(f, "c1");
	fixture_settle(f);
	world_monitor_dies(fixture_world(f, "c1"));
	fixture_advance(f, 1000);
	assert_false(fixture_well(f, call));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	fixture_check(f);
}

static void a_hanging_runtime_fails_at_its_deadline(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_CREATE, WORLD_HANGS);
	call = fixture_ask_start(f, "c1");
	fixture_advance(f, 121000);
	assert_false(fixture_well(f, call));
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 128);
	fixture_check(f);
}

static void a_client_that_goes_away_while_it_starts_ends_it(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_CREATE, WORLD_SLEEPS);
	call = fixture_ask_start(f, "c1");
	fixture_settle(f);
	fixture_forget(call);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 128);
	fixture_check(f);
}

static void what_is_gone_cannot_be_started(void **arg)
{
	struct fixture *f = *arg;

	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_false(fixture_well(f, fixture_ask_start(f, "c1")));
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	assert_false(fixture_well(f, fixture_ask_start(f, "c1")));
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_started_container_runs_with_pid_and_time, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_start_that_fails_is_an_exit_with_its_words, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_refusal_by_a_plugin_is_an_exit_and_is_told_to_it,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_second_start_is_refused_in_its_turn, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_monitor_killed_in_the_start_ends_it, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_hanging_runtime_fails_at_its_deadline, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_that_goes_away_while_it_starts_ends_it,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_is_gone_cannot_be_started, setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
