/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "tests/lib/fixture.h"

static void exit_is_owed_to_an_absent_plugin_then_delivered_once(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_container_ends(fixture_world(f, "c1"), SIGKILL);
	fixture_settle(f);

	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 137);
	assert_string_equal(f->gate.log, ""); /* nobody there: nothing lost, nothing called */

	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a synchronize p1 c1:exited=137\n10-a exited c1 137\n");

	fake_gate_clear(&f->gate);
	fixture_crash_and_reload(f);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a synchronize p1\n"); /* still once */
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(exit_is_owed_to_an_absent_plugin_then_delivered_once, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
