/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"
#include "tests/lib/fixture.h"

static void one_that_runs_is_updated_by_its_runtime_and_on_record(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	assert_true(fixture_well(f, fixture_ask_update(f, "c1")));
	assert_int_equal(f->world->asked[WORLD_UPDATE], 1);
	assert_int_equal(fixture_get(f, "c1")->resources.len, 1);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->resources.len, 1);
	fixture_check(f);
}

static void one_that_is_not_started_has_it_in_its_spec(void **arg)
{
	struct fixture *f = *arg;
	struct bundle bundle;
	cleanup_free char *text = NULL;
	size_t len;
	struct err err = { 0 };

	fixture_container(f, "c1", CONTAINER_CREATED);
	assert_true(fixture_well(f, fixture_ask_update(f, "c1")));
	assert_int_equal(f->world->asked[WORLD_UPDATE], 0);
	assert_int_equal(bundle_names(&bundle, f->state_dir, fixture_get(f, "c1")->id, &err), 0);
	assert_int_equal(bundle_read_config(&bundle, &text, &len, &err), 0);
	assert_non_null(strstr(text, "\"resources\":{\"cpu\":{\"shares\":7}}"));
	assert_non_null(strstr(text, "ociVersion")); /* the rest stays */
}

static void one_that_has_ended_or_is_unknown_is_refused(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_false(fixture_well(f, fixture_ask_update(f, "c1")));
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	assert_false(fixture_well(f, fixture_ask_update(f, "nobody")));
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
}

static void what_the_runtime_refuses_is_not_on_record(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_next(f->world, WORLD_UPDATE, WORLD_FAILS);
	assert_false(fixture_well(f, fixture_ask_update(f, "c1")));
	assert_int_equal(fixture_get(f, "c1")->resources.len, 0);
}

static void what_a_plugin_refuses_does_not_reach_the_runtime(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_plugin(&f->gate, "10-a")->refuses = 1 << GATE_CONTAINER_UPDATE;
	assert_false(fixture_well(f, fixture_ask_update(f, "c1")));
	assert_int_equal(f->world->asked[WORLD_UPDATE], 0);
}

static void one_that_ends_while_it_is_updated_is_not_an_error_of_the_client(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_next(f->world, WORLD_UPDATE, WORLD_SLEEPS);
	call = fixture_ask_update(f, "c1");
	fixture_settle(f);
	world_container_ends(fixture_world(f, "c1"), 0);
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, call));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			one_that_runs_is_updated_by_its_runtime_and_on_record, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_is_not_started_has_it_in_its_spec,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_has_ended_or_is_unknown_is_refused,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_the_runtime_refuses_is_not_on_record,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_a_plugin_refuses_does_not_reach_the_runtime,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			one_that_ends_while_it_is_updated_is_not_an_error_of_the_client,
			fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
