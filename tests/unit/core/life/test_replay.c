/* link-with: tests/lib/fixture.c */
/* What a start finds, row by row of the recovery (docs/architecture.md); tests/crash asks the same in breadth. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/life/life_internal.h"
#include "tests/lib/fixture.h"

static void power(struct fixture *f)
{
	fixture_power_cut(f, simdisk_clone(f->disk));
}

static void start(struct fixture *f)
{
	assert_true(fixture_start(f));
	fixture_settle(f);
}

static bool reported(const struct fixture *f, const char *words)
{
	list_for_each(l, &f->report.lines)
		if (strstr(list_entry(l, struct replay_line, link)->text, words))
			return true;
	return false;
}

/* --- row 2: the spool */

static void an_exit_while_the_daemon_was_down_is_told(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	world_container_ends(w, 9 << 8);
	start(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 9);
	assert_int_equal(f->report.exits, 1);
	assert_true(reported(f, "exited 9"));
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_non_null(strstr(f->gate.log, "10-a exited c1 9\n"));
	fixture_check(f);
}

static void a_record_that_survived_the_power_cut_counts_more_than_the_reboot(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	world_container_ends(w, 9 << 8); /* its monitor syncs: nobody else does */
	power(f);
	start(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 9);
	fixture_check(f);
}

static void a_filled_record_of_a_dead_monitor_counts_though_it_was_not_renamed(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	f->world->monitor = MONITOR_DIES_BEFORE_RENAME;
	world_container_ends(w, 9 << 8);
	start(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 9);
	fixture_check(f);
}

static void a_damaged_record_ends_255_and_is_set_aside(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;
	int dir, fd;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	world_container_ends(w, 9 << 8);
	simdisk_outside(f->disk, true);
	dir = disk_open_dir(WORLD_SPOOL "/new", false);
	fd = disk_open(dir, w->id, O_RDWR);
	assert_true(fd >= 0 && disk_pwrite(fd, "xx", 2, 20) == 0);
	disk_close(fd);
	disk_close(dir);
	simdisk_outside(f->disk, false);
	start(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 255);
	assert_string_equal(fixture_get(f, "c1")->reason, "Unknown");
	dir = disk_open_dir(WORLD_SPOOL "/bad", false);
	fd = disk_open(dir, fixture_get(f, "c1")->id, O_RDONLY);
	assert_true(fd >= 0);
	disk_close(fd);
	disk_close(dir);
	fixture_check(f);
}

/* --- row 3: another boot */

static void what_ran_in_another_boot_has_ended_255(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_container(f, "c2", CONTAINER_CREATED);
	power(f);
	start(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 255);
	assert_string_equal(fixture_get(f, "c1")->reason, "Unknown");
	assert_string_equal(fixture_get(f, "c1")->message, "node rebooted");
	assert_true(reported(f, "node rebooted"));
	/* and the pod without its namespaces is stopped, its address given back */
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_NOTREADY);
	assert_int_equal(world_addresses(f->world, fixture_get_pod(f, "p1")->id), 0);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_non_null(strstr(f->gate.log, "10-a exited c1 255\n"));
	fixture_check(f);
}

/* --- row 4: who still runs? */

static void what_runs_is_taken_over(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_true(monitor_connected(f->monitors, fixture_get(f, "c1")->id));
	assert_int_equal(f->report.running, 1);
	world_container_ends(fixture_world(f, "c1"), 3 << 8);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 3);
	fixture_check(f);
}

static void what_runs_without_its_monitor_is_adopted(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	world_monitor_dies(w);
	start(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_RUNNING);
	assert_int_equal(f->report.adopted, 1);
	fixture_check(f);
	world_container_ends(fixture_world(f, "c1"), 3 << 8);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 3);
	fixture_check(f);
}

static void what_ended_unseen_is_255_unknown(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	world_monitor_dies(w);
	world_container_ends(w, 0);
	start(f);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 255);
	assert_string_equal(fixture_get(f, "c1")->reason, "Unknown");
	fixture_check(f);
}

/* --- row 5: what did not finish */

static void a_creation_is_undone(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_CREATING);
	fixture_crash_and_reload(f);
	assert_int_equal(f->report.undone, 1);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_READY);
	/* whoever is known may have been asked: it is owed the end */
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(
		f->gate.log,
		"10-a synchronize p1 c1:exited=0\n10-a exited c1\n10-a container_remove c1\n");
	assert_true(fixture_well(f, fixture_ask_create(f, "p1", "c1"))); /* its name is free */
	fixture_check(f);
}

static void a_pod_s_creation_is_undone_behind_the_plugin_that_still_works(void **arg)
{
	struct fixture *f = *arg;

	world_next(f->world, WORLD_ADD, WORLD_SLEEPS);
	fixture_ask_run(f, "p1");
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_int_equal(f->world->asked[WORLD_DEL], 0);
	fixture_advance(f, 1000);
	assert_int_equal(f->world->asked[WORLD_DEL], 1);
	assert_int_equal(map_count(&f->world->addresses), 0);
	fixture_check(f);
}

static void a_retried_pod_waits_for_the_undo_of_the_first(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_ADD, WORLD_SLEEPS);
	fixture_ask_run(f, "p1");
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	call = fixture_ask_run(f, "p1");
	fixture_settle(f);
	assert_false(call->done);
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, call));
	fixture_check(f);
}

static void a_removal_goes_on(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_EXITED);
	world_next(f->world, WORLD_MOUNT, WORLD_SLEEPS);
	fixture_ask_remove(f, "c1");
	fixture_settle(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_REMOVING);
	fixture_crash_and_reload(f);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_INVALID);
	assert_int_equal(f->report.forward, 1);
	fixture_check(f);
}

static void a_stop_goes_on(void **arg)
{
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	world_next(f->world, WORLD_DEL, WORLD_SLEEPS);
	fixture_ask_stop_pod(f, "p1");
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_advance(f, 1000);
	assert_true(fixture_get_pod(f, "p1")->stopped);
	fixture_check(f);
}

static void a_start_that_ran_is_told_to_run(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_CREATED);
	world_next(f->world, WORLD_START, WORLD_SLEEPS);
	fixture_ask_start(f, "c1");
	fixture_settle(f);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_STARTING);
	world_container_start(fixture_world(f, "c1"));
	fixture_crash_and_reload(f);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_RUNNING);
	fixture_check(f);
}

static void a_start_that_did_not_is_told_128_and_deleted(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin(f, "10-a");
	fixture_container(f, "c1", CONTAINER_CREATED);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	fixture_ask_start(f, "c1"); /* created by the runtime, waits for the plugin */
	fixture_settle(f);
	assert_int_equal(fixture_world(f, "c1")->stage, WORLD_CREATED);
	fixture_crash_and_reload(f);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 128);
	assert_string_equal(fixture_get(f, "c1")->reason, "StartError");
	fixture_check(f);
}

static void a_start_whose_container_ended_meanwhile_ran_and_exited(void **arg)
{
	struct fixture *f = *arg;
	struct world_container *w;

	fixture_container(f, "c1", CONTAINER_CREATED);
	world_next(f->world, WORLD_START, WORLD_SLEEPS);
	fixture_ask_start(f, "c1");
	fixture_settle(f);
	w = fixture_world(f, "c1");
	fixture_kill(f);
	world_container_start(w);
	world_container_ends(w, 5 << 8);
	start(f);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	assert_int_equal(fixture_get(f, "c1")->exit_code, 5);
	assert_true(fixture_get(f, "c1")->started_ns > 0);
	fixture_check(f);
}

static void a_stop_signal_sent_by_the_dead_daemon_is_remembered(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	f->world->term_ms = -1;
	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_ask_stop(f, "c1", 60000);
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_int_equal(fixture_get(f, "c1")->stopping_signal, SIGTERM);
	call = fixture_ask_stop(f, "c1", 1000);
	fixture_advance(f, 1100);
	assert_true(fixture_well(f, call));
	assert_int_equal(fixture_get(f, "c1")->exit_code, 137);
	fixture_check(f);
}

static void a_cleaning_that_was_not_reached_is_done(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_next(f->world, WORLD_DELETE, WORLD_FAILS);
	world_container_ends(fixture_world(f, "c1"), 0);
	fixture_settle(f);
	assert_true(fixture_world(f, "c1")->known);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	fixture_check(f);
}

/* --- row 7: what belongs to nobody */

static void what_belongs_to_nobody_is_removed_and_reported(void **arg)
{
	static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct fixture *f = *arg;
	static const char *const dirs[] = { "run/bundles", "run/sandboxes", "root/containers",
		                            "root/snapshots", "run/runtime" };
	cleanup_free char *left = NULL;

	fixture_kill(f);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		cleanup_free char *dir = xasprintf("%s/%s/%s/x", f->dir, dirs[i], id);

		assert_int_equal(fsx_mkdir_p(dir, 0700), 0);
	}
	world_pin(f->world, id, "net");
	world_container_running(f->world, id)->connected = false;
	start(f);
	fixture_advance(f, 1000);
	assert_true(f->report.orphans >= 5);
	left = world_leftovers(f->world);
	assert_string_equal(left, "");
	fixture_check(f);
}

static void inspect_touches_nothing(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *before = NULL;
	cleanup_free char *after = NULL;
	uint64_t hash;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_container(f, "c2", CONTAINER_CREATED);
	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	fixture_ask_create(f, "p1", "c3");
	fixture_settle(f);
	fixture_kill(f);
	before = world_leftovers(f->world);
	hash = simdisk_hash(f->disk);
	f->inspect = true;
	start(f);
	assert_int_equal(f->report.undone, 1);
	assert_int_equal(f->report.running, 1);
	after = world_leftovers(f->world);
	assert_string_equal(before, after);
	assert_true(simdisk_hash(f->disk) == hash);
	assert_true(list_empty(&f->life->ops));
}

static void a_second_start_finds_nothing_to_do(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_int_equal(f->report.exits + f->report.undone + f->report.forward +
	                         f->report.orphans + f->report.quarantined,
	                 0);
	assert_int_equal(f->report.running, 1);
	fixture_check(f);
}

static void a_pod_without_its_namespaces_is_stopped(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_kill(f);
	map_for_each(e, &f->world->pins) {
		cleanup_free char *id = xstrndup(e->key, 64);

		world_unpin(f->world, id);
		break;
	}
	start(f);
	fixture_advance(f, 3000);
	assert_true(fixture_get_pod(f, "p1")->stopped);
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_exit_while_the_daemon_was_down_is_told,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_record_that_survived_the_power_cut_counts_more_than_the_reboot,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_filled_record_of_a_dead_monitor_counts_though_it_was_not_renamed,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_record_ends_255_and_is_set_aside,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_ran_in_another_boot_has_ended_255,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_runs_is_taken_over, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(what_runs_without_its_monitor_is_adopted,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_ended_unseen_is_255_unknown, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_creation_is_undone, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_pod_s_creation_is_undone_behind_the_plugin_that_still_works,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_retried_pod_waits_for_the_undo_of_the_first,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_removal_goes_on, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_stop_goes_on, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_start_that_ran_is_told_to_run, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_start_that_did_not_is_told_128_and_deleted,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_start_whose_container_ended_meanwhile_ran_and_exited, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_stop_signal_sent_by_the_dead_daemon_is_remembered,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_cleaning_that_was_not_reached_is_done,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_belongs_to_nobody_is_removed_and_reported,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(inspect_touches_nothing, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_second_start_finds_nothing_to_do, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_pod_without_its_namespaces_is_stopped,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
