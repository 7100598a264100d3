/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <signal.h>
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
	fixture_container(*arg, "c1", CONTAINER_RUNNING);
	return 0;
}

static void one_that_heeds_sigterm_ends_143(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call = fixture_ask_stop(f, "c1", 10000);

	fixture_settle(f);
	assert_false(call->done);
	assert_int_equal(fixture_get(f, "c1")->stopping_signal, SIGTERM);
	fixture_advance(f, 20);
	assert_true(fixture_well(f, call));
	assert_int_equal(fixture_get(f, "c1")->exit_code, 143);
	fixture_check(f);
}

static void one_that_does_not_is_killed_after_the_time_out(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_world(f, "c1")->term_ms = -1;
	call = fixture_ask_stop(f, "c1", 10000);
	fixture_advance(f, 9900);
	assert_false(call->done);
	fixture_advance(f, 200);
	assert_true(fixture_well(f, call));
	assert_int_equal(fixture_get(f, "c1")->exit_code, 137);
}

static void without_a_time_out_it_is_killed_at_once(void **arg)
{
	struct fixture *f = *arg;

	assert_true(fixture_well(f, fixture_ask_stop(f, "c1", 0)));
	assert_int_equal(fixture_get(f, "c1")->exit_code, 137);
}

static void the_shortest_of_several_stops_decides_and_all_are_answered(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *slow, *fast;

	fixture_world(f, "c1")->term_ms = -1;
	slow = fixture_ask_stop(f, "c1", 60000);
	fixture_settle(f);
	fast = fixture_ask_stop(f, "c1", 1000);
	fixture_advance(f, 1100);
	assert_true(fixture_well(f, fast) && fixture_well(f, slow));
}

static void one_that_was_never_started_ends_without_a_signal(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c2", CONTAINER_CREATED);
	assert_true(fixture_well(f, fixture_ask_stop(f, "c2", 1000)));
	assert_int_equal(fixture_state(f, "c2"), CONTAINER_EXITED);
	assert_string_equal(fixture_get(f, "c2")->reason, "NeverStarted");
	fixture_check(f);
}

static void one_that_has_ended_or_is_unknown_is_stopped(void **arg)
{
	struct fixture *f = *arg;

	world_container_ends(fixture_world(f, "c1"), 0);
	fixture_settle(f);
	assert_true(fixture_well(f, fixture_ask_stop(f, "c1", 1000)));
	assert_true(fixture_well(f, fixture_ask_stop(f, "nobody", 1000)));
}

static void a_client_that_goes_away_leaves_it_being_stopped(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_world(f, "c1")->term_ms = 500;
	call = fixture_ask_stop(f, "c1", 10000);
	fixture_settle(f);
	fixture_forget(call);
	fixture_settle(f);
	assert_false(fixture_op_runs(f, "StopContainer"));
	fixture_advance(f, 600);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 143);
	fixture_check(f);
}

static void a_client_that_goes_away_before_the_signal_appends_it_once(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call = fixture_ask_stop(f, "c1", 10000);

	fixture_turn(f); /* STOPPING is on its way */
	fixture_forget(call);
	fixture_settle(f);
	fixture_advance(f, 100);
	fixture_check(f);
}

static void stopping_waits_for_a_start_that_runs(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *start, *stop;

	fixture_container(f, "c2", CONTAINER_CREATED);
	world_next(f->world, WORLD_CREATE, WORLD_SLEEPS);
	start = fixture_ask_start(f, "c2");
	fixture_settle(f);
	stop = fixture_ask_stop(f, "c2", 0);
	fixture_settle(f);
	assert_false(stop->done);
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, start) && fixture_well(f, stop));
	assert_int_equal(fixture_get(f, "c2")->exit_code, 137);
	fixture_check(f);
}

static void signals_are_read_as_images_write_them(void **arg)
{
	(void)arg;
	assert_int_equal(signal_parse("SIGTERM"), SIGTERM);
	assert_int_equal(signal_parse("QUIT"), SIGQUIT);
	assert_int_equal(signal_parse("9"), 9);
	assert_int_equal(signal_parse("SIGRTMIN+3"), 37);
	assert_int_equal(signal_parse("RTMAX-1"), 63);
	assert_int_equal(signal_parse("0"), -1);
	assert_int_equal(signal_parse("65"), -1);
	assert_int_equal(signal_parse("SIGNOSUCH"), -1);
	assert_int_equal(signal_parse("RTMIN+31"), -1);
	assert_int_equal(signal_parse(""), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_heeds_sigterm_ends_143, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_does_not_is_killed_after_the_time_out,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(without_a_time_out_it_is_killed_at_once, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_shortest_of_several_stops_decides_and_all_are_answered, setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_was_never_started_ends_without_a_signal,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_has_ended_or_is_unknown_is_stopped, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_that_goes_away_leaves_it_being_stopped,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_client_that_goes_away_before_the_signal_appends_it_once, setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(stopping_waits_for_a_start_that_runs, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(signals_are_read_as_images_write_them, setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
