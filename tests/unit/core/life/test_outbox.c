/* link-with: tests/lib/fixture.c */
/*
 * The promises of tests/model/owed_model.py, each with its own little story. The fake plugins judge order, gaps and repetitions by
 * themselves; here is what is told, and when.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/bundle.h"
#include "tests/lib/fixture.h"

#define HOLD_MS (24 * 3600 * INT64_C(1000))

static void ends(struct fixture *f, const char *container, int code)
{
	world_container_ends(fixture_world(f, container), code << 8);
	fixture_settle(f);
}

/* --- 1: every known name hears each exit */

static void a_whole_life_is_told_in_order(void **arg)
{
	struct fixture *f = *arg;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_plugin(f, "10-a");
	fixture_pod(f, "p1");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	assert_true(fixture_well(f, fixture_ask_update(f, "c1")));
	ends(f, "c1", 3);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	assert_string_equal(f->gate.log, "10-a sandbox_run p1\n"
	                                 "10-a container_create c1\n10-a post_create c1\n"
	                                 "10-a container_start c1\n10-a post_start c1\n"
	                                 "10-a container_update c1\n10-a post_update c1\n"
	                                 "10-a exited c1 3\n10-a container_remove c1\n"
	                                 "10-a sandbox_stop p1\n10-a sandbox_remove p1\n");
	assert_true(
		list_empty(&f->state->dead_sandboxes)); /* nobody is owed anything: no tombstone */
	fixture_check(f);
}

static void a_chain_goes_in_the_order_of_names_and_a_refusal_ends_it(void **arg)
{
	struct fixture *f = *arg;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_plugin(f, "30-c");
	fixture_plugin(f, "10-a");
	fixture_plugin(f, "20-b");
	fake_gate_clear(&f->gate);
	fake_gate_plugin(&f->gate, "20-b")->refuses = 1 << GATE_SANDBOX_RUN;
	assert_false(fixture_well(f, fixture_ask_run(f, "p1")));
	assert_non_null(strstr(f->err.msg, "20-b says no"));
	/* only those that saw the run are told of its end */
	assert_string_equal(
		f->gate.log,
		"10-a sandbox_run p1\n20-b sandbox_run p1\n"
		"10-a sandbox_stop p1\n20-b sandbox_stop p1\n10-a sandbox_remove p1\n20-b sandbox_remove p1\n");
	fixture_check(f);
}

static void a_plugin_may_change_the_spec_and_the_next_one_sees_it(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *text = NULL;
	size_t len;
	struct bundle bundle;
	struct err err = { 0 };

	fixture_plugin(f, "10-a");
	fake_gate_plugin(&f->gate, "10-a")->spec = "{\"changed\":1}";
	fixture_container(f, "c1", CONTAINER_CREATED);
	assert_int_equal(bundle_names(&bundle, f->state_dir, fixture_get(f, "c1")->id, &err), 0);
	assert_int_equal(bundle_read_config(&bundle, &text, &len, &err), 0);
	assert_string_equal(text, "{\"changed\":1}");
}

static void what_a_plugin_did_not_subscribe_to_counts_as_heard(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin(f, "10-a");
	fake_gate_plugin(&f->gate, "10-a")->deaf = ~UINT64_C(0);
	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	assert_string_equal(f->gate.log, "");
	assert_true(list_empty(&f->state->dead_containers) &&
	            list_empty(&f->state->dead_sandboxes));
}

/* --- 2: repeated only after a kill or a lost connection */

static void a_call_that_was_not_answered_is_repeated_to_the_next_connection(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n");
	fake_gate_disconnect(&f->gate, "10-a");
	fake_gate_plugin(&f->gate, "10-a")->mode = PLUGIN_ANSWERS;
	fake_gate_clear(&f->gate);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a synchronize p1 c1:exited=1\n10-a exited c1 1\n");
	fixture_check(f);
}

static void the_next_call_leaves_when_the_ack_of_the_one_before_is_released(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_container(f, "c2", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1);
	ends(f, "c2", 2);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n");
	assert_true(fake_gate_answer(&f->gate, "10-a"));
	fixture_turn(f);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n"); /* the ack is not released yet */
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n10-a exited c2 2\n");
}

/* --- 3: no gap, no duplicate around a registration */

static void synchronize_shows_what_is_there_and_only_then_come_events(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_CREATED);
	fixture_container(f, "c2", CONTAINER_RUNNING);
	fixture_container(f, "c3", CONTAINER_EXITED);
	fake_gate_plugin(&f->gate, "10-a")->mode = PLUGIN_SILENT;
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(
		f->gate.log,
		"10-a synchronize p1 c1:created c2:running\n"); /* a new name is owed no old exit */
	ends(f, "c2", 2);
	assert_string_equal(f->gate.log,
	                    "10-a synchronize p1 c1:created c2:running\n"); /* queued behind it */
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	fixture_settle(f);
	assert_string_equal(f->gate.log,
	                    "10-a synchronize p1 c1:created c2:running\n10-a exited c2 2\n");
	fixture_check(f);
}

static void a_create_in_flight_is_shown_when_its_chain_has_its_members(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a container_create c1\n");
	fake_gate_connect(&f->gate, "20-b");
	fixture_settle(f);
	assert_non_null(strstr(f->gate.log, "20-b synchronize p1 c1:created\n"));
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	assert_true(fixture_well(f, call));
	assert_null(strstr(f->gate.log, "20-b container_create")); /* no member of that chain */
	assert_non_null(strstr(f->gate.log, "20-b post_create c1\n"));
	fixture_check(f);
}

static void a_create_whose_chain_has_not_begun_is_not_shown_but_asked(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	world_next(f->world, WORLD_OVERLAY, WORLD_SLEEPS);
	call = fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a synchronize p1\n");
	fixture_advance(f, 1000);
	assert_true(fixture_well(f, call));
	assert_string_equal(f->gate.log,
	                    "10-a synchronize p1\n10-a container_create c1\n10-a post_create c1\n");
}

static void a_failed_create_that_was_shown_is_ended_for_whom_it_was_shown(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	fixture_plugin(f, "10-a");
	fixture_plugin(f, "30-c"); /* its turn in the chain never comes */
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	fake_gate_plugin(&f->gate, "10-a")->refuses = 1 << GATE_CONTAINER_CREATE;
	call = fixture_ask_create(f, "p1", "c1");
	fixture_settle(f);
	fake_gate_connect(&f->gate, "20-b");
	fixture_settle(f);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	assert_false(fixture_well(f, call));
	assert_non_null(strstr(f->gate.log, "20-b exited c1\n"));
	assert_non_null(strstr(f->gate.log, "20-b container_remove c1\n"));
	assert_non_null(strstr(f->gate.log, "10-a container_remove c1\n"));
	assert_null(strstr(f->gate.log, "30-c"));
	fixture_check(f);
}

/* --- 4: order */

static void a_request_waits_for_its_own_pod_s_notifications_and_passes_those_of_others(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *mine, *other;

	fixture_pod(f, "p1");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_pod(f, "p2");
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1); /* in flight */
	mine = fixture_ask_create(f, "p1", "m");
	fixture_settle(f);
	other = fixture_ask_create(f, "p2", "o");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	assert_true(fixture_well(f, mine) && fixture_well(f, other));
	fixture_check(f);
}

static void an_update_that_comes_after_the_end_is_not_told(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fixture_plugin(f, "20-b");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_update(f, "c1");
	fixture_settle(f);
	ends(f, "c1", 1); /* between one plugin of the chain and the next */
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	assert_false(fixture_well(f, call));
	assert_false(fixture_well(f, fixture_ask_update(f, "c1")));
	assert_string_equal(f->gate.log,
	                    "10-a container_update c1\n20-b exited c1 1\n10-a exited c1 1\n");
	fixture_check(f);
}

/* --- 5: deadlines; the fake itself refuses calls outside of Synchronize .. close */

static void a_late_answer_acknowledges_and_nothing_overtook_it(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_container(f, "c2", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1);
	ends(f, "c2", 2);
	fixture_advance(f, 3000); /* past its deadline */
	assert_string_equal(f->gate.log, "10-a exited c1 1\n");
	fake_gate_answer(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n10-a exited c2 2\n");
	fake_gate_answer(&f->gate, "10-a");
	fixture_settle(f);
	fixture_advance(f, 10000);
	assert_true(fake_gate_is_connected(&f->gate, "10-a")); /* the row of deadlines was broken */
}

static void three_deadlines_in_a_row_close_the_connection(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1);
	fixture_advance(f, 5900);
	assert_true(fake_gate_is_connected(&f->gate, "10-a"));
	fixture_advance(f, 200);
	assert_false(fake_gate_is_connected(&f->gate, "10-a"));
	assert_non_null(strstr(f->gate.log, "10-a closed: three deadlines"));
}

static void a_synchronize_that_is_not_answered_closes(void **arg)
{
	struct fixture *f = *arg;

	fake_gate_plugin(&f->gate, "10-a")->mode = PLUGIN_SILENT;
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	fixture_advance(f, 9900);
	assert_true(fake_gate_is_connected(&f->gate, "10-a"));
	fixture_advance(f, 200);
	assert_false(fake_gate_is_connected(&f->gate, "10-a"));
}

static void a_request_goes_on_without_a_slow_plugin(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_plugin(f, "10-a");
	fixture_plugin(f, "20-b");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_run(f, "p1");
	fixture_advance(f, 1900);
	assert_false(call->done);
	fixture_advance(f, 200);
	assert_true(fixture_well(f, call));
	assert_non_null(strstr(f->gate.log, "20-b sandbox_run p1\n"));
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS); /* late: it only acknowledges */
	fixture_settle(f);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	fixture_check(f);
}

static void a_create_that_did_not_get_its_turn_is_told_later_all_the_same(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1); /* blocks the connection */
	call = fixture_ask_create(f, "p1", "c2");
	fixture_advance(f, 2100);
	assert_true(fixture_well(f, call));
	assert_string_equal(f->gate.log, "10-a exited c1 1\n");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	fixture_settle(f);
	assert_string_equal(f->gate.log,
	                    "10-a exited c1 1\n10-a container_create c2\n10-a post_create c2\n");
	fixture_check(f);
}

static void a_required_plugin_that_is_silent_or_goes_away_refuses(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fake_gate_plugin(&f->gate, "10-a")->required = true;
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_run(f, "p1");
	fixture_advance(f, 2100);
	assert_false(fixture_well(f, call));
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->err.msg, "required plugin 10-a"));

	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	fixture_settle(f);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_run(f, "p2");
	fixture_settle(f);
	fake_gate_disconnect(&f->gate, "10-a");
	assert_false(fixture_well(f, call));
	assert_int_equal(f->err.code, CODE_UNAVAILABLE);
}

static void a_plugin_that_goes_away_in_a_chain_is_passed_over(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_plugin(f, "10-a");
	fixture_plugin(f, "20-b");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_run(f, "p1");
	fixture_settle(f);
	fake_gate_disconnect(&f->gate, "10-a");
	assert_true(fixture_well(f, call));
	fixture_check(f);
}

/* --- 6: tombstones */

static void a_removed_container_is_kept_until_the_absent_heard_of_it(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_GONE);
	fixture_pod(f, "p1"); /* its name is free */
	fixture_crash_and_reload(f);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(
		f->gate.log,
		"10-a synchronize p1 p1 c1:exited=0\n10-a exited c1 0\n10-a sandbox_stop p1\n"
		"10-a container_remove c1\n10-a sandbox_remove p1\n");
	assert_true(list_empty(&f->state->dead_containers) &&
	            list_empty(&f->state->dead_sandboxes));
	fixture_check(f);
}

static void one_acknowledges_and_the_other_is_still_owed(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "20-b");
	fixture_plugin(f, "10-a");
	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_GONE);
	fake_gate_clear(&f->gate);
	fake_gate_connect(&f->gate, "20-b");
	fixture_settle(f);
	assert_string_equal(
		f->gate.log,
		"20-b synchronize p1 c1:exited=0\n20-b exited c1 0\n20-b container_remove c1\n");
	assert_int_equal(fixture_state(f, "c1"), CONTAINER_INVALID);
}

/* --- 7: no call waits for an absent plugin */

static void nothing_waits_for_an_absent_plugin(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1"))); /* without time passing */
}

static void stop_pod_waits_for_a_connected_plugin_and_at_most_its_deadline(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_pod(f, "p1");
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	call = fixture_ask_stop_pod(f, "p1");
	fixture_advance(f, 1900);
	assert_false(call->done);
	assert_true(world_is_pinned(f->world, fixture_get_pod(f, "p1")->id,
	                            "net")); /* it may need it */
	fixture_advance(f, 200);
	assert_true(fixture_well(f, call));
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	fixture_settle(f);
	fixture_check(f);
}

/* --- 8, and who is known */

static void an_external_name_is_forgotten_after_its_hold_and_a_preinstalled_one_is_not(void **arg)
{
	struct fixture *f = *arg;

	fake_gate_plugin(&f->gate, "20-pre")->preinstalled = true;
	fixture_plugin_known(f, "10-ext");
	fixture_plugin_known(f, "20-pre");
	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_advance(f, HOLD_MS + 1000);
	ends(f, "c1", 1); /* an occasion to look: nothing wakes up for it */
	assert_int_equal(plugin_slot(f->state, "10-ext"), -1);
	assert_true(plugin_slot(f->state, "20-pre") >= 0);
	fake_gate_connect(&f->gate, "10-ext");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-ext synchronize p1\n"); /* as one never seen */
}

static void time_while_the_daemon_is_down_does_not_count_for_the_hold(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_EXITED);
	fixture_kill(f);
	clock_virtual_advance(2 * HOLD_MS * NS_PER_MS);
	assert_true(fixture_start(f));
	fixture_settle(f);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a synchronize p1 c1:exited=0\n10-a exited c1 0\n");
}

static void the_65th_name_takes_the_place_of_the_one_longest_away(void **arg)
{
	struct fixture *f = *arg;
	char name[16];

	for (int i = 0; i < PLUGIN_MAX; i++) {
		assert_int_equal(str_format(name, sizeof(name), "10-n%02d", i), 0);
		fixture_plugin_known(f, name);
		fixture_advance(f, 10);
	}
	fixture_plugin(f, "10-new");
	assert_int_equal(plugin_slot(f->state, "10-n00"), -1);
	assert_true(plugin_slot(f->state, "10-new") >= 0);
	assert_int_equal(plugin_count(f->state), PLUGIN_MAX);
}

static void with_64_connected_the_65th_is_served_but_owed_nothing(void **arg)
{
	struct fixture *f = *arg;
	char name[16];

	for (int i = 0; i < PLUGIN_MAX; i++) {
		assert_int_equal(str_format(name, sizeof(name), "10-n%02d", i), 0);
		fixture_plugin(f, name);
	}
	fixture_plugin(f, "90-late");
	assert_int_equal(plugin_slot(f->state, "90-late"), -1);
	fixture_container(f, "c1", CONTAINER_RUNNING);
	fake_gate_clear(&f->gate);
	ends(f, "c1", 1);
	assert_non_null(strstr(f->gate.log, "90-late exited c1 1\n"));
	fake_gate_disconnect(&f->gate, "90-late");
	fixture_settle(f);
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	fixture_check(f);
}

static void the_oldest_of_more_than_1024_owed_are_dropped(void **arg)
{
	struct fixture *f = *arg;
	struct owed *owed;

	fixture_plugin_known(f, "10-a");
	fixture_image(f, FIXTURE_IMAGE);
	fixture_pod(f, "p1");
	for (int i = 0; i < PLUGIN_OWED_MAX / 2 + 4; i++) { /* two each */
		fixture_container(f, "c", CONTAINER_CREATED);
		assert_true(fixture_well(f, fixture_ask_remove(f, "c")));
	}
	assert_int_equal(state_owed(f->state, plugin_slot(f->state, "10-a"), &owed),
	                 PLUGIN_OWED_MAX);
	free(owed);
}

static void two_connections_of_one_name_are_both_called_and_either_answer_counts(void **arg)
{
	struct fixture *f = *arg;
	uint32_t one, two;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	one = fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	two = fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	fake_gate_plugin(&f->gate, "10-a")->may_repeat = 9; /* the name hears twice */
	fake_gate_clear(&f->gate);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1);
	assert_string_equal(f->gate.log, "10-a exited c1 1\n10-a exited c1 1\n");
	assert_true(fake_gate_answer_conn(&f->gate, two));
	fixture_settle(f);
	fake_gate_disconnect_one(&f->gate, one);
	fixture_settle(f);
	fake_gate_clear(&f->gate);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(f->gate.log, "10-a synchronize p1\n"); /* heard */
}

static void an_owed_pod_is_shown_with_its_owed_container(void **arg)
{
	struct fixture *f = *arg;

	fixture_plugin_known(f, "10-a");
	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_stop_pod(f, "p1")));
	fake_gate_connect(&f->gate, "10-a");
	fixture_settle(f);
	assert_string_equal(
		f->gate.log,
		"10-a synchronize p1 c1:exited=0\n10-a exited c1 0\n10-a sandbox_stop p1\n");
	fixture_check(f);
}

static void an_ack_that_the_journal_refuses_is_tried_again(void **arg)
{
	struct fixture *f = *arg;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	fixture_plugin(f, "10-a");
	fake_gate_mode(&f->gate, "10-a", PLUGIN_SILENT);
	ends(f, "c1", 1);
	simdisk_fail(f->disk, SIMDISK_PWRITE, 1, EIO, true);
	fake_gate_mode(&f->gate, "10-a", PLUGIN_ANSWERS);
	fixture_settle(f);
	simdisk_fail(f->disk, SIMDISK_PWRITE, 0, 0, false);
	fixture_advance(f, 60000);
	fixture_plugin(f, "10-a");
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_whole_life_is_told_in_order, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_chain_goes_in_the_order_of_names_and_a_refusal_ends_it, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_plugin_may_change_the_spec_and_the_next_one_sees_it, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(what_a_plugin_did_not_subscribe_to_counts_as_heard,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_call_that_was_not_answered_is_repeated_to_the_next_connection,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_next_call_leaves_when_the_ack_of_the_one_before_is_released,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			synchronize_shows_what_is_there_and_only_then_come_events, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_create_in_flight_is_shown_when_its_chain_has_its_members, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_create_whose_chain_has_not_begun_is_not_shown_but_asked, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_failed_create_that_was_shown_is_ended_for_whom_it_was_shown,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_request_waits_for_its_own_pod_s_notifications_and_passes_those_of_others,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_update_that_comes_after_the_end_is_not_told,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_late_answer_acknowledges_and_nothing_overtook_it,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(three_deadlines_in_a_row_close_the_connection,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_synchronize_that_is_not_answered_closes,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_request_goes_on_without_a_slow_plugin,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_create_that_did_not_get_its_turn_is_told_later_all_the_same,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_required_plugin_that_is_silent_or_goes_away_refuses, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_plugin_that_goes_away_in_a_chain_is_passed_over,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_removed_container_is_kept_until_the_absent_heard_of_it, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(one_acknowledges_and_the_other_is_still_owed,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(nothing_waits_for_an_absent_plugin, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			stop_pod_waits_for_a_connected_plugin_and_at_most_its_deadline,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_external_name_is_forgotten_after_its_hold_and_a_preinstalled_one_is_not,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			time_while_the_daemon_is_down_does_not_count_for_the_hold, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_65th_name_takes_the_place_of_the_one_longest_away, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			with_64_connected_the_65th_is_served_but_owed_nothing, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(the_oldest_of_more_than_1024_owed_are_dropped,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			two_connections_of_one_name_are_both_called_and_either_answer_counts,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_owed_pod_is_shown_with_its_owed_container,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_ack_that_the_journal_refuses_is_tried_again,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
