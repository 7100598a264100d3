/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/life/life_internal.h"
#include "core/state/record.pb.h"
#include "tests/lib/fixture.h"

static void one_that_runs_is_killed_first(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin(f, "10-a");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	fake_gate_clear(&f->gate);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_string_equal(f->gate.log, "10-a exited c1 137\n10-a container_remove c1\n");
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_INVALID);
	fixture_check(f);
}

static void one_that_was_never_started_goes_through_exited(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin(f, "10-a");
	fixture_container(f, "c1", CONTAINER_CREATED);
	fake_gate_clear(&f->gate);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_string_equal(f->gate.log, "10-a exited c1 128\n10-a container_remove c1\n");
	fixture_check(f);
}

static void an_unknown_one_is_removed(void **arg)
{
	struct fixture *f = *arg;

	assert_true(fixture_well(f, fixture_ask_remove(f, "nobody")));
}

static void every_step_that_fails_is_told_and_the_next_call_goes_on(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	f->world->always[WORLD_DELETE] = WORLD_FAILS; /* the cleaning after the exit, too */
	assert_false(fixture_well(f, fixture_ask_remove(f, "c1")));
	f->world->always[WORLD_DELETE] = WORLD_WORKS;
	world_next(f->world, WORLD_MOUNT, WORLD_FAILS);
	assert_false(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_REMOVING);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	fixture_check(f);
}

static void two_removals_at_a_time_are_both_answered(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one, *two;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	one = fixture_ask_remove(f, "c1");
	two = fixture_ask_remove(f, "c1");
	assert_true(fixture_well(f, one) && fixture_well(f, two));
	fixture_check(f);
}

static void after_an_exit_runtime_and_monitor_are_cleaned_once(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_int_equal(f->world->asked[WORLD_DELETE], 1);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_int_equal(f->world->asked[WORLD_DELETE], 1);
}

static void one_whose_runtime_was_uninstalled_can_be_removed(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_EXITED);
	f->world->runtime_missing = true;
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	fixture_check(f);
}

static void a_quarantined_one_can_be_removed(void **arg)
{
	static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct fixture *f = *arg;
	const rec_Ref ref = { .id = (char *)(uintptr_t)id };
	struct fixture_call *call;
	struct err err = { 0 };

	/* CREATED of a container that nobody knows: does not fit */
	assert_true(journal_append(f->journal, RECORD_CONTAINER_CREATED, RECORD_SYNCED, &ref,
	                           &err) != 0);
	fixture_settle(f);
	assert_false(list_empty(&f->state->quarantine));
	call = fixture_ask_remove(f, "nobody"); /* another id: not this one */
	assert_true(fixture_well(f, call));
	assert_false(list_empty(&f->state->quarantine));
	assert_true(fixture_well(f, fixture_ask_remove(f, id)));
	assert_true(list_empty(&f->state->quarantine));
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_runs_is_killed_first, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_was_never_started_goes_through_exited,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_unknown_one_is_removed, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			every_step_that_fails_is_told_and_the_next_call_goes_on, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(two_removals_at_a_time_are_both_answered,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(after_an_exit_runtime_and_monitor_are_cleaned_once,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(one_whose_runtime_was_uninstalled_can_be_removed,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_quarantined_one_can_be_removed, fixture_setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
