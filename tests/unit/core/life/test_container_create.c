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

static int setup(void **arg)
{
	struct fixture *f;

	if (fixture_setup(arg) < 0)
		return -1;
	f = *arg;
	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	return 0;
}

static void a_container_has_a_mounted_root_and_a_bundle(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c;
	cleanup_free char *rootfs = NULL;
	cleanup_free char *config = NULL;

	fixture_container(f, "c1", CONTAINER_CREATED);
	c = fixture_get(f, "c1");
	rootfs = xasprintf("%s/bundles/%s/rootfs", f->state_dir, c->id);
	config = xasprintf("%s/bundles/%s/config.json", f->state_dir, c->id);
	assert_true(world_is_mounted(f->world, rootfs));
	assert_true(fsx_exists(config));
	assert_true(c->created_ns > fixture_get_pod(f, "p1")->created_ns); /* kubelet sorts by it */
	fixture_check(f);
}

static void every_step_that_fails_is_undone(void **arg)
{
	static const enum world_kind kinds[] = { WORLD_OVERLAY, WORLD_SPEC };
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (int mode = WORLD_FAILS; mode <= WORLD_FAILS_DONE; mode++) {
			world_next(f->world, kinds[i], (enum world_mode)mode);
			assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
			assert_true(list_empty(&f->state->containers));
			fixture_check(f);
		}
	assert_true(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
}

static void an_undo_that_fails_leaves_it_removable(void **arg)
{
	struct fixture *f = *arg;

	world_next(f->world, WORLD_OVERLAY, WORLD_FAILS_DONE);
	world_next(f->world, WORLD_MOUNT, WORLD_FAILS);
	assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_REMOVING);
	assert_true(container_is_visible(fixture_get(f, "c1")));
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_INVALID);
	fixture_check(f);
}

static void retries_join_or_are_answered_and_another_request_is_refused(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one = fixture_ask_create(f, "p1", "c1"), *two;

	fixture_turn(f);
	two = fixture_ask_create(f, "p1", "c1");
	assert_true(fixture_well(f, one) && fixture_well(f, two));
	assert_string_equal(one->id, two->id);
	assert_true(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	f->variant = " other";
	assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	assert_int_equal(f->err.code, CODE_ALREADY_EXISTS);
	f->variant = NULL;
	assert_true(fixture_well(f, fixture_ask_start(f, "c1")));
	assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1"))); /* not CREATED any more */
	assert_int_equal(f->err.code, CODE_ALREADY_EXISTS);
}

static void containers_of_a_pod_are_made_side_by_side(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *slow, *fast;

	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	slow = fixture_ask_create(f, "p1", "slow");
	fixture_settle(f);
	fast = fixture_ask_create(f, "p1", "fast");
	assert_true(fixture_well(f, fast));
	assert_false(slow->done);
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, slow));
}

static void an_image_or_a_pod_that_is_not_there_is_refused(void **arg)
{
	struct fixture *f = *arg;

	assert_false(fixture_well(f, fixture_ask_create(f, "nobody", "c1")));
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
	assert_true(fixture_well(f, fixture_ask_remove_image(f, FIXTURE_IMAGE)));
	assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
}

static void an_image_removed_while_a_container_is_made_of_it_stays(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	call = fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	assert_true(fixture_well(f, fixture_ask_remove_image(f, FIXTURE_IMAGE)));
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, call));
	assert_true(fixture_well(f, fixture_ask_start(f, "c1")));
	fixture_check(f);
}

static void a_target_must_run_in_the_pod(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "t", CONTAINER_CREATED);
	f->target = "t";
	assert_false(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	assert_true(fixture_well(f, fixture_ask_start(f, "t")));
	assert_true(fixture_well(f, fixture_ask_create(f, "p1", "c1")));
	assert_true(fixture_get(f, "c1")->shared_pid);
}

static void a_client_that_goes_away_has_its_container_undone(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	call = fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	fixture_forget(call);
	fixture_advance(f, 1000);
	assert_true(list_empty(&f->state->containers));
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_container_has_a_mounted_root_and_a_bundle, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(every_step_that_fails_is_undone, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(an_undo_that_fails_leaves_it_removable, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			retries_join_or_are_answered_and_another_request_is_refused, setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(containers_of_a_pod_are_made_side_by_side, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(an_image_or_a_pod_that_is_not_there_is_refused,
		                                setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_image_removed_while_a_container_is_made_of_it_stays, setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_target_must_run_in_the_pod, setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_that_goes_away_has_its_container_undone,
		                                setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
