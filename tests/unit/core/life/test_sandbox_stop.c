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

static void stopping_kills_the_containers_and_gives_everything_back(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_container(f, "c2", CONTAINER_CREATED);
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_int_equal(fixture_get(f, "c1")->exit_code, 137);
	assert_int_equal(fixture_get(f, "c2")->exit_code, 128);
	assert_string_equal(fixture_get(f, "c2")->reason, "NeverStarted");
	assert_true(fixture_get_pod(f, "p1")->stopped);
	assert_int_equal(fixture_get_pod(f, "p1")->ips[0] == NULL, 1);
	fixture_check(f);
}

static void plugins_hear_the_exits_before_the_pod_s_stop(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_string_equal(f->gate.log, "10-a exited c1 137\n10-a sandbox_stop p1\n");
}

static void stopping_again_does_nothing_and_an_unknown_pod_is_fine(void **arg)
{
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_int_equal(f->world->asked[WORLD_DEL], 1);
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "nobody")));
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "nobody")));
}

static void two_stops_at_a_time_are_one_after_the_other(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one, *two;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	one = fixture_ask_stop_pod(f, "p1");
	two = fixture_ask_remove_pod(f, "p1");
	assert_true(fixture_well(f, one) && fixture_well(f, two));
	assert_int_equal(f->world->asked[WORLD_DEL], 1);
	fixture_check(f);
}

static void a_failing_step_is_told_and_the_next_call_goes_on_there(void **arg)
{
	static const enum world_kind kinds[] = { WORLD_DEL, WORLD_MOUNT, WORLD_UNPIN };
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		world_next(f->world, kinds[i], WORLD_FAILS);
		assert_false(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
		assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_NOTREADY);
		assert_false(fixture_get_pod(f, "p1")->stopped);
	}
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	assert_int_equal(map_count(&f->world->addresses), 0);
	fixture_check(f);
}

static void removing_stops_first_and_takes_the_containers_along(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *left = NULL;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_container(f, "c2", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	left = world_leftovers(f->world);
	assert_string_equal(left, "");
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_INVALID);
	fixture_check(f);
}

static void a_pod_that_is_stopped_takes_no_new_container(void **arg)
{
	struct fixture *f = *arg;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	fixture_check(f);
}

static void a_stop_waits_for_a_create_that_runs(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *create, *stop;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	create = fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	stop = fixture_ask_stop_pod(f, "p1");
	fixture_settle(f);
	assert_false(stop->done);
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, create) && fixture_well(f, stop));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	fixture_check(f);
}

static void a_container_in_d_state_holds_its_pod_s_stop_and_nobody_else_s(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_world(f, "c1")->unkillable = true;
	call = fixture_ask_stop_pod(f, "p1");
	fixture_advance(f, 10000);
	assert_false(call->done);
	fixture_pod(f, "p2");
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p2")));
	fixture_world(f, "c1")->unkillable = false;
	fixture_advance(f, 3000); /* SIGKILL is sent again */
	assert_true(fixture_well(f, call));
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			stopping_kills_the_containers_and_gives_everything_back, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(plugins_hear_the_exits_before_the_pod_s_stop,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			stopping_again_does_nothing_and_an_unknown_pod_is_fine, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(two_stops_at_a_time_are_one_after_the_other,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_failing_step_is_told_and_the_next_call_goes_on_there, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(removing_stops_first_and_takes_the_containers_along,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_pod_that_is_stopped_takes_no_new_container,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_stop_waits_for_a_create_that_runs, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_container_in_d_state_holds_its_pod_s_stop_and_nobody_else_s,
			fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
