/* link-with: tests/lib/fixture.c */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "tests/lib/fixture.h"

static char *pod_file(struct fixture *f, const char *pod, const char *name)
{
	cleanup_free char *path =
		xasprintf("%s/sandboxes/%s/%s", f->state_dir, fixture_get_pod(f, pod)->id, name);
	char *text = NULL;
	size_t len;

	assert_int_equal(fsx_read(AT_FDCWD, path, 65536, &text, &len), 0);
	return text;
}

static void nothing_left(struct fixture *f)
{
	cleanup_free char *left = world_leftovers(f->world);

	assert_string_equal(left, "");
	assert_true(list_empty(&f->state->sandboxes) && list_empty(&f->state->containers));
	fixture_check(f);
}

static void a_pod_has_files_namespaces_and_an_address(void **arg)
{
	struct fixture *f = *arg;
	const struct sandbox *sb;
	cleanup_free char *hostname = NULL;

	fixture_pod(f, "p1");
	sb = fixture_get_pod(f, "p1");
	assert_int_equal(sb->state, SANDBOX_READY);
	assert_string_equal(sb->ips[0], "10.0.0.7");
	assert_true(sb->network_intent);
	assert_non_null(strstr(sb->netns_path, sb->id));
	hostname = pod_file(f, "p1", "hostname");
	assert_string_equal(hostname, "p1\n");
	fixture_check(f);
}

static void a_pod_on_the_host_s_network_has_none_of_its_own(void **arg)
{
	struct fixture *f = *arg;

	f->host_network = true;
	fixture_pod(f, "p1");
	assert_int_equal(f->world->asked[WORLD_ADD], 0);
	assert_null(fixture_get_pod(f, "p1")->netns_path);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	nothing_left(f);
}

static void every_step_that_fails_is_undone_without_a_trace(void **arg)
{
	static const enum world_kind kinds[] = { WORLD_MOUNT, WORLD_PIN, WORLD_ADD };
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (int mode = WORLD_FAILS; mode <= WORLD_FAILS_DONE; mode++) {
			world_next(f->world, kinds[i], (enum world_mode)mode);
			assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
			assert_non_null(strstr(f->err.msg, "failed as told"));
			nothing_left(f);
		}
	fixture_pod(f, "p1");
}

static void a_hanging_network_plugin_fails_at_its_deadline_and_is_undone(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_ADD, WORLD_HANGS);
	call = fixture_ask_run(f, "p1");
	fixture_advance(f, 61000);
	assert_false(fixture_well(f, call));
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	nothing_left(f);
}

static void an_undo_that_fails_keeps_the_pod_until_it_is_removed(void **arg)
{
	struct fixture *f = *arg;
	const struct sandbox *sb;

	world_next(f->world, WORLD_ADD, WORLD_FAILS_DONE);
	world_next(f->world, WORLD_DEL, WORLD_FAILS);
	assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
	sb = fixture_get_pod(f, "p1");
	assert_int_equal(sb->state, SANDBOX_REMOVING);
	assert_true(sb->step > 0);
	assert_true(sandbox_is_visible(sb)); /* kubelet sees it, and removes it */
	assert_int_equal(world_addresses(f->world, sb->id), 1);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	nothing_left(f);
}

static void an_undo_that_failed_goes_on_at_the_next_start(void **arg)
{
	struct fixture *f = *arg;

	world_next(f->world, WORLD_ADD, WORLD_FAILS_DONE);
	world_next(f->world, WORLD_DEL, WORLD_FAILS);
	assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
	fixture_crash_and_reload(f);
	fixture_settle(f);
	nothing_left(f);
}

static void a_retry_joins_what_runs_and_is_answered_by_what_is_there(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one = fixture_ask_run(f, "p1"), *two;

	fixture_turn(f);
	two = fixture_ask_run(f, "p1");
	assert_true(fixture_well(f, one) && fixture_well(f, two));
	assert_string_equal(one->id, two->id);
	two = fixture_ask_run(f, "p1");
	assert_true(fixture_well(f, two));
	assert_string_equal(one->id, two->id);
	assert_int_equal(f->world->asked[WORLD_ADD], 1);
}

static void another_request_of_that_name_is_refused(void **arg)
{
	struct fixture *f = *arg;

	fixture_pod(f, "p1");
	f->variant = " other";
	assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
	assert_int_equal(f->err.code, CODE_ALREADY_EXISTS);
	fixture_check(f);
}

static void a_client_that_goes_away_has_its_pod_undone(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_ADD, WORLD_SLEEPS);
	call = fixture_ask_run(f, "p1");
	fixture_settle(f);
	fixture_forget(call);
	fixture_advance(f, 1000);
	nothing_left(f);
}

static void a_client_that_goes_away_leaves_it_to_the_one_that_joined(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one, *two;

	world_next(f->world, WORLD_ADD, WORLD_SLEEPS);
	one = fixture_ask_run(f, "p1");
	fixture_settle(f);
	two = fixture_ask_run(f, "p1");
	fixture_forget(one);
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, two));
	fixture_check(f);
}

static void a_retry_behind_an_undo_runs_afresh(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one, *two;

	world_next(f->world, WORLD_ADD, WORLD_FAILS);
	world_next(f->world, WORLD_DEL, WORLD_SLEEPS);
	one = fixture_ask_run(f, "p1");
	fixture_settle(f);
	assert_false(one->done); /* undoing */
	two = fixture_ask_run(f, "p1");
	fixture_advance(f, 1000);
	assert_false(fixture_well(f, one));
	assert_true(fixture_well(f, two));
	fixture_check(f);
}

static void a_shared_pid_namespace_has_a_hidden_container(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c;

	f->pod_pid = true;
	fixture_pod(f, "p1");
	c = container_get(f->state, fixture_get_pod(f, "p1")->pause_container);
	assert_int_equal(c->state, CONTAINER_RUNNING);
	assert_true(c->hidden && !container_is_visible(c));
	world_container_ends(world_container(f->world, c->id), 0);
	fixture_settle(f);
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_NOTREADY); /* it was the pod's life */
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	nothing_left(f);
}

static void a_pause_container_that_does_not_start_undoes_the_pod(void **arg)
{
	static const enum world_kind kinds[] = { WORLD_CREATE, WORLD_START };
	struct fixture *f = *arg;

	f->pod_pid = true;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		world_next(f->world, kinds[i], WORLD_FAILS);
		assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
		nothing_left(f);
	}
}

static void without_a_runtime_no_pod_begins(void **arg)
{
	struct fixture *f = *arg;

	f->world->runtime_missing = true;
	assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
	assert_int_equal(f->err.code, CODE_UNAVAILABLE);
	nothing_left(f);
}

static void a_journal_that_fails_refuses_the_pod_and_recovers(void **arg)
{
	struct fixture *f = *arg;

	simdisk_fail(f->disk, SIMDISK_FDATASYNC, 1, 5, true);
	simdisk_fail(f->disk, SIMDISK_CREATE, 1, 28, true);
	ignore(fixture_well(f, fixture_ask_run(f, "p1")));
	simdisk_fail(f->disk, SIMDISK_FDATASYNC, 0, 0, false);
	simdisk_fail(f->disk, SIMDISK_CREATE, 0, 0, false);
	fixture_advance(f, 120000);
	assert_true(fixture_well(f, fixture_ask_run(f, "p2")));
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_pod_has_files_namespaces_and_an_address,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_pod_on_the_host_s_network_has_none_of_its_own,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(every_step_that_fails_is_undone_without_a_trace,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_hanging_network_plugin_fails_at_its_deadline_and_is_undone, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_undo_that_fails_keeps_the_pod_until_it_is_removed, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(an_undo_that_failed_goes_on_at_the_next_start,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_retry_joins_what_runs_and_is_answered_by_what_is_there, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(another_request_of_that_name_is_refused,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_that_goes_away_has_its_pod_undone,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_client_that_goes_away_leaves_it_to_the_one_that_joined, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_retry_behind_an_undo_runs_afresh, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_shared_pid_namespace_has_a_hidden_container,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_pause_container_that_does_not_start_undoes_the_pod, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(without_a_runtime_no_pod_begins, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_journal_that_fails_refuses_the_pod_and_recovers,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
