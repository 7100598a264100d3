/* link-with: tests/lib/fixture.c */
#include <errno.h>
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

static void the_code_of_an_adopted_container_is_known_when_its_reaper_is_slow(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_monitor_dies(fixture_world(f, "c1"));
	fixture_settle(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_RUNNING);

	fixture_world(f, "c1")->late_status = 5;
	world_container_ends(fixture_world(f, "c1"), 7 << 8);
	fixture_settle(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_RUNNING); /* nobody knows yet */
	fixture_advance(f, 200);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 7);
	assert_non_null(strstr(fixture_get(f, "c1")->message, "monitor was killed"));
	fixture_check(f);
}

static void an_adopted_container_whose_status_nobody_tells_ends_monitor_lost(void **arg)
{
	struct fixture *f = *arg;

	f->world->lost_status = true; /* a kernel before 6.15 */
	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_monitor_dies(fixture_world(f, "c1"));
	fixture_settle(f);
	world_container_ends(fixture_world(f, "c1"), 0);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 255); /* and not 0 */
	assert_string_equal(fixture_get(f, "c1")->reason, "MonitorLost");
	fixture_check(f);
}

static void a_monitor_killed_between_record_and_rename_has_told_the_exit(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	f->world->monitor = MONITOR_DIES_BEFORE_RENAME;
	world_container_ends(fixture_world(f, "c1"), 5 << 8);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 5);
	fixture_check(f);
}

static void a_monitor_killed_before_its_record_leaves_255_unknown(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	f->world->monitor = MONITOR_DIES_FIRST;
	world_container_ends(fixture_world(f, "c1"), 0);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 255);
	assert_string_equal(fixture_get(f, "c1")->reason, "Unknown");
	fixture_check(f);
}

static void a_record_that_comes_over_the_socket_is_an_exit(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	f->world->monitor = MONITOR_RENAME_FAILS;
	world_container_ends(fixture_world(f, "c1"), 6 << 8);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 6);
	assert_false(fixture_world(f, "c1") && fixture_world(f, "c1")->monitor); /* released */
	fixture_check(f);
}

static struct exit_record record_of(struct fixture *f, const char *name)
{
	const struct container *c = fixture_get(f, name);
	struct exit_record rec = { .filled = true,
		                   .pid = c->pid,
		                   .start_ticks = c->start_ticks,
		                   .started_ns = c->started_ns,
		                   .exited_ns = c->started_ns + 1,
		                   .exit_code = 3,
		                   .wstatus = 3 << 8 };

	memcpy(rec.id, c->id, sizeof(rec.id));
	return rec;
}

static void an_exit_told_twice_is_appended_once(void **arg)
{
	struct fixture *f = *arg;
	struct exit_record rec;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	rec = record_of(f, "c1");
	assert_int_equal(life_exit(f->life, rec.id, &rec), EXIT_APPENDED);
	assert_int_equal(life_exit(f->life, rec.id, &rec), EXIT_IN_FLIGHT);
	fixture_settle(f);
	assert_int_equal(life_exit(f->life, rec.id, &rec), EXIT_CONSUME);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 3);
	fixture_check(f);
}

static void a_record_of_another_process_of_that_id_is_damage(void **arg)
{
	struct fixture *f = *arg;
	struct exit_record rec;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	rec = record_of(f, "c1");
	rec.pid++;
	assert_int_equal(life_exit(f->life, rec.id, &rec), EXIT_BAD);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 255);
	assert_string_equal(fixture_get(f, "c1")->reason, "Unknown");
}

static void a_record_of_nobody_is_set_aside(void **arg)
{
	struct fixture *f = *arg;
	struct exit_record rec = {
		.filled = true,
		.id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	};

	assert_int_equal(life_exit(f->life, rec.id, &rec), EXIT_UNKNOWN);
}

static void an_exit_in_a_start_is_told_after_running(void **arg)
{
	struct fixture *f = *arg;

	f->world->quit_ms = 0;
	f->world->quit_wstatus = 4 << 8;
	fixture_container(f, "c1", CONTAINER_CREATED);
	fixture_plugin(f, "10-a");
	assert_true(fixture_well(f, fixture_ask_start(f, "c1")));
	fixture_advance(f, 10);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 4);
	assert_string_equal(f->gate.log,
	                    "10-a container_start c1\n10-a post_start c1\n10-a exited c1 4\n");
	fixture_check(f);
}

static void an_exit_that_the_journal_refuses_is_told_later(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	simdisk_fail(f->disk, SIMDISK_FDATASYNC, 1, EIO, true);
	simdisk_fail(f->disk, SIMDISK_CREATE, 1, ENOSPC, true);
	world_container_ends(fixture_world(f, "c1"), 3 << 8);
	fixture_settle(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_RUNNING); /* not durable: not told */
	simdisk_fail(f->disk, SIMDISK_FDATASYNC, 0, 0, false);
	simdisk_fail(f->disk, SIMDISK_CREATE, 0, 0, false);
	fixture_advance(f, 60000);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 3);
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			exit_is_owed_to_an_absent_plugin_then_delivered_once, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_code_of_an_adopted_container_is_known_when_its_reaper_is_slow,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_adopted_container_whose_status_nobody_tells_ends_monitor_lost,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_monitor_killed_between_record_and_rename_has_told_the_exit, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_monitor_killed_before_its_record_leaves_255_unknown, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_record_that_comes_over_the_socket_is_an_exit,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_exit_told_twice_is_appended_once, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_record_of_another_process_of_that_id_is_damage,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_record_of_nobody_is_set_aside, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(an_exit_in_a_start_is_told_after_running,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_exit_that_the_journal_refuses_is_told_later,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
