/* tests/unit/core/state/test_state.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/state/dump.h"
#include "core/state/record.pb.h"
#include "core/state/state.h"
#include "core/state/transition.h"

#define POD     "aa00000000000000000000000000000000000000000000000000000000000001"
#define POD2    "aa00000000000000000000000000000000000000000000000000000000000002"
#define CTR     "cc00000000000000000000000000000000000000000000000000000000000001"
#define CTR2    "cc00000000000000000000000000000000000000000000000000000000000002"
#define IMAGE_A "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define IMAGE_B "sha256:2222222222222222222222222222222222222222222222222222222222222222"

struct fixture {
	struct state *state;
	uint64_t seq;
};

static int setup(void **arg)
{
	static struct fixture f;

	f = (struct fixture){ .state = state_new() };
	*arg = &f;
	return 0;
}

static int teardown(void **arg)
{
	state_free(((struct fixture *)*arg)->state);
	return 0;
}

static void verify(struct fixture *f)
{
	struct err err = { 0 };

	if (state_verify(f->state, &err) < 0)
		fail_msg("after record %llu: %s", (unsigned long long)f->seq, err.msg);
}

static uint64_t apply(struct fixture *f, enum record_kind kind, const void *msg)
{
	cleanup(buf_release) struct buf buf = { 0 };
	struct err err = { 0 };
	struct record rec = {
		.seq = ++f->seq, .time_ns = 1000 + (int64_t)f->seq, .kind = kind, .version = 1
	};

	buf_init(&buf, RECORD_MAX_BYTES);
	assert_int_equal(pb_encode_msg(&buf, record_info(kind)->desc, msg, &err), 0);
	rec.payload = (const uint8_t *)or_empty(buf.data);
	rec.len = (uint32_t)buf.len;
	state_apply(f->state, &rec);
	verify(f);
	return f->seq;
}

static uint64_t ref(struct fixture *f, enum record_kind kind, const char *id)
{
	const rec_Ref msg = { .id = (char *)id };

	return apply(f, kind, &msg);
}

static void pod_creating(struct fixture *f, const char *id, const char *name)
{
	const rec_Sandbox msg = { .id = (char *)id,
		                  .name = (char *)name,
		                  .uid = (char *)"u",
		                  .ns = (char *)"ns",
		                  .created_ns = 5 };

	apply(f, RECORD_SANDBOX_CREATING, &msg);
}

static void pod_ready(struct fixture *f, const char *id, const char *name)
{
	pod_creating(f, id, name);
	ref(f, RECORD_SANDBOX_READY, id);
}

static void ctr_creating(struct fixture *f, const char *id, const char *pod, const char *name)
{
	const rec_Container msg = { .id = (char *)id,
		                    .sandbox_id = (char *)pod,
		                    .name = (char *)name,
		                    .created_ns = 6,
		                    .image_id = (char *)IMAGE_A };

	apply(f, RECORD_CONTAINER_CREATING, &msg);
}

static void ctr_running(struct fixture *f, const char *id, const char *pod, const char *name)
{
	const rec_ContainerStarting starting = { .id = (char *)id };
	const rec_ContainerRunning running = {
		.id = (char *)id, .pid = 42, .start_ticks = 7, .started_ns = 8
	};

	ctr_creating(f, id, pod, name);
	ref(f, RECORD_CONTAINER_CREATED, id);
	apply(f, RECORD_CONTAINER_STARTING, &starting);
	apply(f, RECORD_CONTAINER_RUNNING, &running);
}

static uint64_t exited(struct fixture *f, const char *id, int code)
{
	const rec_ContainerExited msg = {
		.id = (char *)id, .exit_code = code, .finished_ns = 9, .reason = (char *)"Error"
	};

	return apply(f, RECORD_CONTAINER_EXITED, &msg);
}

static uint64_t removed(struct fixture *f, const char *id)
{
	const rec_Removing removing = { .id = (char *)id };

	apply(f, RECORD_CONTAINER_REMOVING, &removing);
	return ref(f, RECORD_CONTAINER_REMOVED, id);
}

static void seen(struct fixture *f, const char *name)
{
	const rec_Plugin msg = { .name = (char *)name };

	apply(f, RECORD_PLUGIN_SEEN, &msg);
}

static void acked(struct fixture *f, const char *name, uint64_t cursor)
{
	const rec_PluginAcked msg = { .name = (char *)name, .cursor = cursor };

	apply(f, RECORD_PLUGIN_ACKED, &msg);
}

static size_t owed_count(struct fixture *f, const char *name)
{
	struct owed *owed;
	size_t n = state_owed(f->state, plugin_slot(f->state, name), &owed);

	free(owed);
	return n;
}

static void a_container_goes_through_its_states(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };

	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	assert_int_equal(container_get(f->state, CTR)->state, CONTAINER_RUNNING);
	assert_int_equal(container_get(f->state, CTR)->pid, 42);
	exited(f, CTR, 137);
	assert_int_equal(container_get(f->state, CTR)->exit_code, 137);
	assert_int_equal(container_get(f->state, CTR)->pid, 0);
	removed(f, CTR);
	assert_null(container_get(f->state, CTR));
	assert_null(container_find(f->state, CTR, &err));
	assert_int_equal(err.code, CODE_NOT_FOUND);
}

static void what_is_being_created_is_hidden_and_its_name_is_taken(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };

	pod_creating(f, POD, "p");
	assert_null(sandbox_find(f->state, POD, &err));
	assert_non_null(sandbox_by_key(f->state, "p_ns_u_0"));
	pod_creating(f, POD2, "p");
	assert_null(sandbox_get(f->state, POD2));
	assert_false(list_empty(&f->state->quarantine));
}

static void a_prefix_finds_one_and_refuses_two(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };

	pod_ready(f, POD, "p");
	assert_ptr_equal(sandbox_find(f->state, "aa", &err), sandbox_get(f->state, POD));
	pod_ready(f, POD2, "q");
	assert_null(sandbox_find(f->state, "aa", &err));
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	assert_ptr_equal(sandbox_find(f->state, POD2, &err), sandbox_get(f->state, POD2));
	assert_null(sandbox_find(f->state, "", &err));
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
}

static void an_exit_is_owed_to_a_known_name_until_it_is_acknowledged(void **arg)
{
	struct fixture *f = *arg;
	uint64_t seq;

	seen(f, "10-a");
	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	assert_int_equal(owed_count(f, "10-a"), 0);
	seq = exited(f, CTR, 1);
	assert_int_equal(owed_count(f, "10-a"), 1);
	acked(f, "10-a", seq);
	assert_int_equal(owed_count(f, "10-a"), 0);
}

static void a_name_that_comes_later_is_owed_nothing_from_before(void **arg)
{
	struct fixture *f = *arg;

	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	exited(f, CTR, 1);
	seen(f, "10-a");
	assert_int_equal(owed_count(f, "10-a"), 0);
	removed(f, CTR);
	assert_int_equal(owed_count(f, "10-a"), 0);
	assert_null(container_get(f->state, CTR));
}

static void a_removed_container_stays_as_a_tombstone_while_it_is_owed(void **arg)
{
	struct fixture *f = *arg;
	uint64_t remove_seq;

	seen(f, "10-a");
	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	exited(f, CTR, 3);
	remove_seq = removed(f, CTR);
	assert_int_equal(owed_count(f, "10-a"), 2);
	assert_true(container_is_tombstone(container_get(f->state, CTR)));
	assert_int_equal(container_get(f->state, CTR)->exit_code, 3);
	ctr_creating(f, CTR2, POD, "c"); /* its name is free */
	assert_non_null(container_get(f->state, CTR2));
	acked(f, "10-a", remove_seq);
	assert_null(container_get(f->state, CTR));
}

static void an_undo_is_owed_only_to_those_who_were_called(void **arg)
{
	struct fixture *f = *arg;
	char *names[] = { (char *)"10-a" };
	const rec_Removing msg = {
		.id = (char *)CTR, .undo = true, .plugins = names, .plugins_count = 1
	};

	seen(f, "10-a");
	seen(f, "20-b");
	pod_ready(f, POD, "p");
	ctr_creating(f, CTR, POD, "c");
	apply(f, RECORD_CONTAINER_REMOVING, &msg);
	ref(f, RECORD_CONTAINER_REMOVED, CTR);
	assert_int_equal(owed_count(f, "10-a"), 2);
	assert_int_equal(owed_count(f, "20-b"), 0);
}

static void a_forgotten_name_frees_its_tombstones_and_its_slot(void **arg)
{
	struct fixture *f = *arg;
	const rec_Plugin a = { .name = (char *)"10-a" };

	seen(f, "10-a");
	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	exited(f, CTR, 3);
	removed(f, CTR);
	apply(f, RECORD_PLUGIN_FORGOTTEN, &a);
	assert_null(container_get(f->state, CTR));
	seen(f, "20-b");
	assert_int_equal(plugin_slot(f->state, "20-b"), 0);
	assert_int_equal(owed_count(f, "20-b"), 0);
}

static void a_capped_name_loses_the_remove_with_its_stop(void **arg)
{
	struct fixture *f = *arg;
	rec_PluginAcked msg = { .name = (char *)"10-a" };

	seen(f, "10-a");
	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	msg.cursor = exited(f, CTR, 3);
	apply(f, RECORD_PLUGIN_CAPPED, &msg);
	removed(f, CTR);
	assert_int_equal(owed_count(f, "10-a"), 0);
	assert_null(container_get(f->state, CTR));
}

static void a_hidden_container_is_owed_to_nobody_and_its_exit_ends_its_pod(void **arg)
{
	struct fixture *f = *arg;
	const rec_Container msg = { .id = (char *)CTR,
		                    .sandbox_id = (char *)POD,
		                    .name = (char *)".pause",
		                    .hidden = true };
	const rec_ContainerStarting starting = { .id = (char *)CTR };
	const rec_ContainerRunning running = { .id = (char *)CTR, .pid = 42 };

	seen(f, "10-a");
	pod_creating(f, POD, "p");
	apply(f, RECORD_CONTAINER_CREATING, &msg);
	ref(f, RECORD_CONTAINER_CREATED, CTR);
	apply(f, RECORD_CONTAINER_STARTING, &starting);
	apply(f, RECORD_CONTAINER_RUNNING, &running);
	ref(f, RECORD_SANDBOX_READY, POD);
	exited(f, CTR, 0);
	assert_int_equal(sandbox_get(f->state, POD)->state, SANDBOX_NOTREADY);
	assert_int_equal(owed_count(f, "10-a"), 0);
	ref(f, RECORD_SANDBOX_STOPPING, POD); /* it can still be stopped, and plugins hear of it */
	assert_int_equal(owed_count(f, "10-a"), 1);
}

static void a_second_exit_of_one_container_does_not_fit(void **arg)
{
	struct fixture *f = *arg;

	pod_ready(f, POD, "p");
	ctr_running(f, CTR, POD, "c");
	exited(f, CTR, 3);
	exited(f, CTR, 4);
	assert_int_equal(container_get(f->state, CTR)->exit_code, 3);
	assert_false(list_empty(&f->state->quarantine));
	removed(f, CTR);
	assert_true(list_empty(&f->state->quarantine));
}

static void a_name_belongs_to_one_image(void **arg)
{
	struct fixture *f = *arg;
	char *names[] = { (char *)"docker.io/library/x:1" };
	const rec_Image a = { .id = (char *)IMAGE_A, .names = names, .names_count = 1 };
	const rec_Image b = { .id = (char *)IMAGE_B, .names = names, .names_count = 1 };

	apply(f, RECORD_IMAGE_ADDED, &a);
	apply(f, RECORD_IMAGE_ADDED, &b);
	assert_ptr_equal(image_by_name(f->state, names[0]), image_get(f->state, IMAGE_B));
	assert_null(image_get(f->state, IMAGE_A)->names[0]);
	ref(f, RECORD_IMAGE_REMOVED, IMAGE_B);
	assert_null(image_by_name(f->state, names[0]));
}

static void damaged_payloads_are_quarantined_and_the_fold_goes_on(void **arg)
{
	struct fixture *f = *arg;
	struct record rec = { .seq = ++f->seq,
		              .kind = RECORD_SANDBOX_READY,
		              .version = 1,
		              .payload = (const uint8_t *)"\xff\xff\xff",
		              .len = 3 };

	state_apply(f->state, &rec);
	rec = (struct record){ .seq = ++f->seq, .kind = 4711, .version = 1 };
	state_apply(f->state, &rec);
	verify(f);
	pod_ready(f, POD, "p");
	assert_non_null(sandbox_get(f->state, POD));
}

static int reapply(void *arg, enum record_kind kind, const pb_msgdesc_t *desc, const void *msg,
                   struct err *err)
{
	struct fixture *copy = arg;
	cleanup(buf_release) struct buf buf = { 0 };
	struct record rec = { .kind = kind, .version = 1 };

	buf_init(&buf, RECORD_MAX_BYTES);
	if (pb_encode_msg(&buf, desc, msg, err) < 0)
		return -1;
	rec.seq = copy->seq;
	rec.payload = (const uint8_t *)or_empty(buf.data);
	rec.len = (uint32_t)buf.len;
	state_apply(copy->state, &rec);
	return 0;
}

static void a_snapshot_folds_to_the_same_state(void **arg)
{
	struct fixture *f = *arg;
	char *names[] = { (char *)"docker.io/library/x:1" };
	const rec_Image a = {
		.id = (char *)IMAGE_A, .names = names, .names_count = 1, .size_bytes = 7
	};
	rec_Pair label = { .key = (char *)"k", .value = (char *)"v" };
	const rec_Sandbox pod = { .id = (char *)POD2,
		                  .name = (char *)"q",
		                  .uid = (char *)"u",
		                  .ns = (char *)"ns",
		                  .created_ns = 77,
		                  .labels = &label,
		                  .labels_count = 1 };
	struct fixture copy = { .state = state_new() };
	struct err err = { 0 };
	char *before, *after;

	seen(f, "10-a");
	apply(f, RECORD_IMAGE_ADDED, &a);
	pod_ready(f, POD, "p");
	apply(f, RECORD_SANDBOX_CREATING, &pod);
	ctr_running(f, CTR, POD, "c");
	ctr_running(f, CTR2, POD, "d");
	exited(f, CTR, 3);
	removed(f, CTR);
	copy.seq = f->seq;
	assert_int_equal(state_emit(f->state, reapply, &copy, &err), 0);
	verify(&copy);
	before = dump_state_text(f->state, true);
	after = dump_state_text(copy.state, true);
	assert_string_equal(before, after);
	free(before);
	free(after);
	state_free(copy.state);
}

static void times_stay_in_order_when_the_clock_jumps_back(void **arg)
{
	struct fixture *f = *arg;
	const rec_ContainerStarting starting = { .id = (char *)CTR };
	const rec_ContainerRunning running = {
		.id = (char *)CTR, .pid = 42, .start_ticks = 7, .started_ns = 3
	};
	const rec_ContainerExited gone = {
		.id = (char *)CTR, .exit_code = 0, .finished_ns = 1, .reason = (char *)"Completed"
	};
	const struct container *c;

	pod_ready(f, POD, "a");
	ctr_creating(f, CTR, POD, "x"); /* at 6 */
	ref(f, RECORD_CONTAINER_CREATED, CTR);
	apply(f, RECORD_CONTAINER_STARTING, &starting);
	apply(f, RECORD_CONTAINER_RUNNING, &running);
	apply(f, RECORD_CONTAINER_EXITED, &gone);
	c = container_get(f->state, CTR);
	assert_true(c->created_ns == 6);
	assert_true(c->started_ns >= c->created_ns);
	assert_true(c->finished_ns >= c->started_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_container_goes_through_its_states),
		TEST(what_is_being_created_is_hidden_and_its_name_is_taken),
		TEST(a_prefix_finds_one_and_refuses_two),
		TEST(an_exit_is_owed_to_a_known_name_until_it_is_acknowledged),
		TEST(a_name_that_comes_later_is_owed_nothing_from_before),
		TEST(a_removed_container_stays_as_a_tombstone_while_it_is_owed),
		TEST(an_undo_is_owed_only_to_those_who_were_called),
		TEST(a_forgotten_name_frees_its_tombstones_and_its_slot),
		TEST(a_capped_name_loses_the_remove_with_its_stop),
		TEST(a_hidden_container_is_owed_to_nobody_and_its_exit_ends_its_pod),
		TEST(a_second_exit_of_one_container_does_not_fit),
		TEST(times_stay_in_order_when_the_clock_jumps_back),
		TEST(a_name_belongs_to_one_image),
		TEST(damaged_payloads_are_quarantined_and_the_fold_goes_on),
		TEST(a_snapshot_folds_to_the_same_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
