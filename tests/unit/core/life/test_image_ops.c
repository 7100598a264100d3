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
#include "tests/lib/fake_image.h"
#include "tests/lib/fixture.h"

#define OTHER "docker.io/other/image:2"

static bool on_disk(struct fixture *f, const char *kind, const char *key)
{
	cleanup_free char *path = xasprintf("%s/%s/%s", f->root, kind, key + strlen("sha256:"));

	return fsx_exists(path);
}

static bool has_image(struct fixture *f, const char *name)
{
	struct err err = { 0 };

	return life_image_find(f->state, name, &err) != NULL;
}

static void a_pulled_image_is_found_by_its_names(void **arg)
{
	struct fixture *f = *arg;
	char id[80];

	fixture_image(f, FIXTURE_IMAGE);
	fake_image_id(FIXTURE_IMAGE, id);
	assert_true(has_image(f, FIXTURE_IMAGE) && has_image(f, "test/image:1") &&
	            has_image(f, id));
	fixture_crash_and_reload(f);
	fixture_settle(f);
	assert_true(has_image(f, FIXTURE_IMAGE));
	assert_true(on_disk(f, "images", id));
}

static void two_pulls_of_one_name_share_the_work(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *one = fixture_ask_pull(f, FIXTURE_IMAGE), *two;

	fixture_turn(f);
	two = fixture_ask_pull(f, "test/image:1");
	assert_true(fixture_well(f, one) && fixture_well(f, two));
	assert_int_equal(f->world->asked[WORLD_IMAGE], 1);
}

static void a_pull_that_fails_is_told(void **arg)
{
	struct fixture *f = *arg;

	world_next(f->world, WORLD_IMAGE, WORLD_FAILS);
	assert_false(fixture_well(f, fixture_ask_pull(f, FIXTURE_IMAGE)));
	assert_false(has_image(f, FIXTURE_IMAGE));
}

static void a_bad_name_is_refused(void **arg)
{
	struct fixture *f = *arg;

	assert_false(fixture_well(f, fixture_ask_pull(f, "Not A Name")));
	assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
}

static void a_client_that_goes_away_ends_the_pull_and_at_no_time_begins_another(void **arg)
{
	struct fixture *f = *arg;

	for (int turns = 0; turns < 10; turns++) {
		unsigned before = f->world->asked[WORLD_IMAGE];
		struct fixture_call *call = fixture_ask_pull(f, FIXTURE_IMAGE);

		for (int i = 0; i < turns; i++)
			fixture_turn(f);
		if (!call->done)
			fixture_forget(call);
		fixture_settle(f);
		assert_true(f->world->asked[WORLD_IMAGE] - before <= 1);
		assert_false(fixture_op_runs(f, "PullImage"));
	}
	fixture_check(f);
}

static void removing_deletes_layers_that_nobody_else_has(void **arg)
{
	struct fixture *f = *arg;
	char own[80], base[80], id[80];

	fake_image_layer(FIXTURE_IMAGE, own);
	fake_image_layer("base", base);
	fake_image_id(FIXTURE_IMAGE, id);
	fixture_image(f, FIXTURE_IMAGE);
	fixture_image(f, OTHER);
	assert_true(fixture_well(f, fixture_ask_remove_image(f, FIXTURE_IMAGE)));
	fixture_settle(f);
	assert_false(on_disk(f, "layers", own) || on_disk(f, "images", id));
	assert_true(on_disk(f, "layers", base)); /* the other one's, too */
	assert_true(fixture_well(f, fixture_ask_remove_image(f, OTHER)));
	fixture_settle(f);
	assert_false(on_disk(f, "layers", base));
	assert_true(fixture_well(f, fixture_ask_remove_image(f, OTHER))); /* unknown: fine */
}

static void an_image_in_use_is_hidden_and_goes_with_its_last_container(void **arg)
{
	struct fixture *f = *arg;
	char own[80];

	fake_image_layer(FIXTURE_IMAGE, own);
	fixture_container(f, "c1", CONTAINER_RUNNING);
	assert_true(fixture_well(f, fixture_ask_remove_image(f, FIXTURE_IMAGE)));
	assert_false(has_image(f, FIXTURE_IMAGE));
	assert_true(on_disk(f, "layers", own));
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	fixture_settle(f);
	assert_false(on_disk(f, "layers", own));
	assert_true(list_empty(&f->state->images));
}

static void a_hidden_image_that_is_pulled_again_is_seen_again(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	assert_true(fixture_well(f, fixture_ask_remove_image(f, FIXTURE_IMAGE)));
	fixture_image(f, FIXTURE_IMAGE);
	assert_true(has_image(f, FIXTURE_IMAGE));
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	fixture_settle(f);
	assert_true(has_image(f, FIXTURE_IMAGE));
}

static void what_a_pull_relies_on_is_not_removed_under_it(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *pull;
	char base[80];

	fake_image_layer("base", base);
	fixture_image(f, FIXTURE_IMAGE);
	world_next(f->world, WORLD_IMAGE, WORLD_SLEEPS);
	pull = fixture_ask_pull(f, OTHER);
	fixture_settle(f);
	fake_image_pin(base); /* the pull process asked: is this layer here? */
	assert_true(fixture_well(f, fixture_ask_remove_image(f, FIXTURE_IMAGE)));
	fixture_settle(f);
	assert_true(on_disk(f, "layers", base));
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, pull));
	assert_true(on_disk(f, "layers", base));
}

static void layers_that_no_image_has_are_swept_at_a_start(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *layer = xasprintf(
		"%s/layers/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		f->root);
	cleanup_free char *staging = xasprintf("%s/staging/x/y", f->root);

	fixture_image(f, FIXTURE_IMAGE);
	fixture_kill(f);
	assert_int_equal(fsx_mkdir_p(layer, 0700), 0);
	assert_int_equal(fsx_mkdir_p(staging, 0700), 0);
	assert_true(fixture_start(f));
	fixture_settle(f);
	assert_false(fsx_exists(layer) || fsx_exists(staging));
	assert_true(has_image(f, FIXTURE_IMAGE));
	fixture_container(f, "c1", CONTAINER_RUNNING); /* its layers are all there */
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_pulled_image_is_found_by_its_names, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(two_pulls_of_one_name_share_the_work, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_pull_that_fails_is_told, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_bad_name_is_refused, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_client_that_goes_away_ends_the_pull_and_at_no_time_begins_another,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(removing_deletes_layers_that_nobody_else_has,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_image_in_use_is_hidden_and_goes_with_its_last_container, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_hidden_image_that_is_pulled_again_is_seen_again,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_a_pull_relies_on_is_not_removed_under_it,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(layers_that_no_image_has_are_swept_at_a_start,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
