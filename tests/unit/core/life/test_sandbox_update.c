/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/life/life_internal.h"
#include "tests/lib/fixture.h"

static void an_update_is_told_and_outlives_the_daemon(void **arg)
{
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	fixture_plugin(f, "10-a");
	assert_true(fixture_well(f, fixture_ask_update_pod(f, "p1")));
	assert_string_equal(f->gate.log, "10-a sandbox_update p1\n10-a sandbox_post_update p1\n");
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_int_equal(fixture_get_pod(f, "p1")->resources.len, 1);
	fixture_check(f);
}

static void a_plugin_may_refuse_it(void **arg)
{
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	fixture_plugin(f, "10-a");
	fake_gate_plugin(&f->gate, "10-a")->refuses = 1 << GATE_SANDBOX_UPDATE;
	assert_false(fixture_well(f, fixture_ask_update_pod(f, "p1")));
	assert_int_equal(fixture_get_pod(f, "p1")->resources.len, 0);
}

static void only_a_pod_that_is_ready_can_be_updated(void **arg)
{
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	assert_false(fixture_well(f, fixture_ask_update_pod(f, "p1")));
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	assert_false(fixture_well(f, fixture_ask_update_pod(f, "nobody")));
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
}

static void a_stop_waits_for_an_update_that_runs(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *update, *stop;

	fixture_pod(f, "p1");
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	update = fixture_ask_update_pod(f, "p1");
	fixture_settle(f);
	stop = fixture_ask_stop_pod(f, "p1");
	fixture_settle(f);
	assert_false(stop->done);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	assert_true(fixture_well(f, update) && fixture_well(f, stop));
	assert_string_equal(
		f->gate.log,
		"10-a sandbox_update p1\n10-a sandbox_post_update p1\n10-a sandbox_stop p1\n");
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_update_is_told_and_outlives_the_daemon,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_plugin_may_refuse_it, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(only_a_pod_that_is_ready_can_be_updated,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_stop_waits_for_an_update_that_runs, fixture_setup,
		                                fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
