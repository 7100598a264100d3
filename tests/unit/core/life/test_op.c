/* link-with: tests/lib/fixture.c */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "tests/lib/fixture.h"

/* An operation that writes down what is done to it: "a b c" ran, "-b" undone. */
struct probe {
	struct op op;
	char *log;         /* the test's */
	enum step next[8]; /* of run, by step */
	enum step undo[8];
	enum step begin;
	bool *freed;
	struct op_waiter waiter;
	bool told, told_failed;
	struct err told_err;
	const char *turn;
	bool shared;
};

static void note(struct op *op, const char *prefix)
{
	struct probe *p = container_of(op, struct probe, op);

	ignore(str_format(p->log + strlen(p->log), 200 - strlen(p->log), "%s%s%s",
	                  p->log[0] ? " " : "", prefix, op->steps[op->at].name));
}

static enum step probe_run(struct op *op)
{
	struct probe *p = container_of(op, struct probe, op);

	note(op, "");
	if (p->next[op->at] == STEP_FAIL)
		return op_fail(op, CODE_UNKNOWN, "step %s failed", op->steps[op->at].name);
	return p->next[op->at];
}

static enum step probe_undo(struct op *op)
{
	struct probe *p = container_of(op, struct probe, op);

	note(op, "-");
	if (p->undo[op->at] == STEP_FAIL)
		return op_fail(op, CODE_INTERNAL, "undo of %s failed", op->steps[op->at].name);
	return p->undo[op->at];
}

static enum step probe_begin(struct op *op)
{
	struct probe *p = container_of(op, struct probe, op);

	ignore(str_format(p->log + strlen(p->log), 200 - strlen(p->log), " begin"));
	return p->begin;
}

static void probe_stuck(struct op *op)
{
	struct probe *p = container_of(op, struct probe, op);

	ignore(str_format(p->log + strlen(p->log), 200 - strlen(p->log), " stuck"));
}

static enum step turn_run(struct op *op)
{
	struct probe *p = container_of(op, struct probe, op);

	if (!p->turn)
		return STEP_DONE;
	return op_take_turn(op, p->turn, !p->shared);
}

static const struct op_step probe_steps[] = {
	{ "turn", turn_run, NULL },
	{ "a", probe_run, probe_undo },
	{ "b", probe_run, probe_undo },
	{ "c", probe_run, NULL },
};

static void probe_free(struct op *op)
{
	struct probe *p = container_of(op, struct probe, op);

	if (p->freed)
		*p->freed = true;
	free(p);
}

static struct probe *probe_new(char *log)
{
	struct probe *p = xcalloc(1, sizeof(*p));

	p->log = log;
	p->op.name = "Probe";
	p->op.steps = probe_steps;
	p->op.nsteps = ARRAY_SIZE(probe_steps);
	p->op.undoable = true;
	p->op.free_fn = probe_free;
	ignore(str_copy(p->op.id, ID_SIZE, "probe"));
	return p;
}

struct told {
	struct op_waiter waiter;
	bool called, failed;
	struct err err;
};

static void on_end(void *arg, struct op *op)
{
	struct told *told = arg;

	told->called = true;
	told->failed = op->failed;
	told->err = op->err;
}

static void start(struct fixture *f, struct probe *p, struct told *told)
{
	op_start(f->life, &p->op);
	*told = (struct told){ .waiter = { .fn = on_end, .arg = told } };
	op_wait(&p->op, &told->waiter);
}

static void steps_run_in_order_and_the_waiter_is_told(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct told told;

	start(f, probe_new(log), &told);
	assert_string_equal(log, ""); /* nothing from inside the call */
	fixture_settle(f);
	assert_string_equal(log, "a b c");
	assert_true(told.called && !told.failed);
	assert_true(list_empty(&f->life->ops));
}

static void a_failing_step_is_undone_too_last_step_first(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);
	struct told told;

	p->next[2] = STEP_FAIL;
	p->op.begin_undo = probe_begin;
	start(f, p, &told);
	fixture_settle(f);
	assert_string_equal(log, "a b begin -b -a");
	assert_true(told.failed);
	assert_string_equal(told.err.msg, "step b failed");
}

static void an_undo_that_fails_stops_there_and_keeps_the_first_error(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);
	struct told told;

	p->next[3] = STEP_FAIL;
	p->undo[2] = STEP_FAIL;
	p->op.stuck = probe_stuck;
	start(f, p, &told);
	fixture_settle(f);
	assert_string_equal(log, "a b c -b stuck");
	assert_string_equal(told.err.msg, "step c failed");
}

static void a_client_that_goes_away_is_looked_at_between_steps(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);
	struct told told;

	p->next[2] = STEP_WAIT;
	start(f, p, &told);
	fixture_settle(f);
	op_cancel(&p->op);
	fixture_settle(f);
	assert_string_equal(log, "a b"); /* not inside a step */
	op_resume(&p->op, STEP_DONE);
	fixture_settle(f);
	assert_string_equal(log, "a b -b -a"); /* c did not run */
	assert_int_equal(told.err.code, CODE_CANCELLED);
}

static void a_deadline_is_looked_at_between_steps(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);
	struct told told;

	p->next[1] = STEP_WAIT;
	p->op.deadline_ns = clock_boot_ns() + 50 * NS_PER_MS;
	start(f, p, &told);
	fixture_settle(f);
	fixture_advance(f, 100);
	assert_false(told.called);
	op_resume(&p->op, STEP_DONE);
	fixture_settle(f);
	assert_string_equal(log, "a -a");
	assert_int_equal(told.err.code, CODE_DEADLINE_EXCEEDED);
}

static void what_only_goes_forward_is_not_cancelled(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);
	struct told told;

	p->op.undoable = false;
	p->next[1] = STEP_WAIT;
	start(f, p, &told);
	fixture_settle(f);
	op_cancel(&p->op);
	op_resume(&p->op, STEP_DONE);
	fixture_settle(f);
	assert_string_equal(log, "a b c");
	assert_false(told.failed);
}

static void a_step_that_asked_for_it_is_run_again_when_its_client_goes(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);
	struct told told;

	p->next[1] = STEP_WAIT;
	start(f, p, &told);
	fixture_settle(f);
	p->op.wakes_on_cancel = true;
	op_cancel(&p->op);
	fixture_settle(f);
	assert_string_equal(log, "a a");
	op_resume(&p->op, STEP_DONE);
	op_cancel(&p->op); /* its result is known: the step is not run again */
	fixture_settle(f);
	assert_string_equal(log, "a a -a");
}

static void undoing_from_the_middle_begins_with_its_announcement(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "";
	struct probe *p = probe_new(log);

	p->op.begin_undo = probe_begin;
	op_start_at(f->life, &p->op, 2, true);
	fixture_settle(f);
	assert_string_equal(log, " begin -b -a");
}

static void turns_of_one_key_are_taken_in_order(void **arg)
{
	struct fixture *f = *arg;
	char one[200] = "", two[200] = "", three[200] = "";
	struct probe *a = probe_new(one), *b = probe_new(two), *c = probe_new(three);
	struct told ta, tb, tc;

	a->turn = b->turn = c->turn = "key";
	a->next[1] = b->next[1] = STEP_WAIT;
	start(f, a, &ta);
	start(f, b, &tb);
	start(f, c, &tc);
	fixture_settle(f);
	assert_string_equal(one, "a");
	assert_string_equal(two, "");
	op_resume(&a->op, STEP_DONE);
	fixture_settle(f);
	assert_true(ta.called);
	assert_string_equal(two, "a");
	assert_string_equal(three, "");
	op_resume(&b->op, STEP_DONE);
	fixture_settle(f);
	assert_true(tb.called && tc.called);
	assert_false(turn_is_busy(f->life, "key"));
}

static void shared_turns_run_side_by_side_and_wait_behind_an_exclusive_one(void **arg)
{
	struct fixture *f = *arg;
	char one[200] = "", two[200] = "", three[200] = "", four[200] = "";
	struct probe *a = probe_new(one), *b = probe_new(two), *c = probe_new(three),
		     *d = probe_new(four);
	struct told t[4];

	a->turn = b->turn = c->turn = d->turn = "key";
	a->shared = b->shared = d->shared = true;
	a->next[1] = b->next[1] = c->next[1] = STEP_WAIT;
	start(f, a, &t[0]);
	start(f, b, &t[1]);
	start(f, c, &t[2]);
	start(f, d, &t[3]);
	fixture_settle(f);
	assert_string_equal(one, "a");
	assert_string_equal(two, "a");
	assert_string_equal(three, "");
	assert_string_equal(four, ""); /* not past the one that waits */
	op_resume(&a->op, STEP_DONE);
	op_resume(&b->op, STEP_DONE);
	fixture_settle(f);
	assert_string_equal(three, "a");
	assert_string_equal(four, "");
	op_resume(&c->op, STEP_DONE);
	fixture_settle(f);
	assert_true(t[3].called);
}

static void a_parent_waits_for_all_children_and_tells_their_first_error(void **arg)
{
	struct fixture *f = *arg;
	char log[200] = "", one[200] = "", two[200] = "";
	struct probe *parent = probe_new(log), *a = probe_new(one), *b = probe_new(two);
	struct told told;

	parent->next[1] = STEP_WAIT;
	start(f, parent, &told);
	fixture_settle(f);
	a->next[1] = STEP_FAIL;
	b->next[1] = STEP_WAIT;
	op_start_child(&parent->op, &a->op);
	op_start_child(&parent->op, &b->op);
	fixture_settle(f);
	assert_int_equal(op_children_step(&parent->op), STEP_WAIT);
	op_resume(&b->op, STEP_DONE);
	parent->next[1] = STEP_DONE;
	/* the last child's end runs the parent's step again */
	fixture_settle(f);
	assert_string_equal(log, "a a b c");
	assert_string_equal(parent == NULL ? "" : two, "a b c");
}

static void a_record_is_waited_for(void **arg)
{
	struct fixture *f = *arg;

	/* the answer comes with the release, not with the append */
	struct fixture_call *call = fixture_ask_run(f, "p1");

	for (int i = 0; i < 3; i++)
		fixture_turn(f);
	assert_false(call->done);
	assert_true(fixture_well(f, call));
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_READY);
}

static void on_stopped(void *arg)
{
	*(bool *)arg = true;
}

static void a_stopping_daemon_waits_for_running_steps_and_parks_the_rest(void **arg)
{
	struct fixture *f = *arg;
	bool stopped = false;
	struct fixture_call *call;

	world_next(f->world, WORLD_ADD, WORLD_SLEEPS);
	call = fixture_ask_run(f, "p1");
	fixture_settle(f);
	assert_true(fixture_op_runs(f, "RunPodSandbox"));
	life_stop(f->life, on_stopped, &stopped);
	fixture_advance(f, 2000);
	assert_true(stopped);
	assert_false(call->done); /* parked: the next start undoes it */
	fixture_crash_and_reload(f);
	fixture_advance(f, 1000);
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_INVALID);
	fixture_check(f);
}

static void an_old_child_is_waited_for_and_killed_when_its_time_is_over(void **arg)
{
	struct fixture *f = *arg;

	world_next(f->world, WORLD_ADD, WORLD_HANGS);
	fixture_ask_run(f, "p1");
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_advance(f, 60 * 1000);
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_CREATING); /* still waiting */
	assert_int_equal(f->world->asked[WORLD_DEL], 0);
	fixture_advance(f, 70 * 1000);
	assert_int_equal(fixture_pod_state(f, "p1"), SANDBOX_INVALID);
	assert_int_equal(f->world->asked[WORLD_DEL], 1);
	fixture_check(f);
}

static void a_client_s_operation_waits_for_an_old_child_as_well(void **arg)
{
	struct fixture *f = *arg;
	struct fixture_call *call;

	fixture_container(f, "c1", CONTAINER_RUNNING);
	world_next(f->world, WORLD_DELETE, WORLD_SLEEPS);
	f->world->sleep_ms = 5000;
	world_container_ends(fixture_world(f, "c1"), 0);
	fixture_settle(f);
	fixture_crash_and_reload(f);
	fixture_settle(f);
	call = fixture_ask_remove_pod(f, "p1");
	fixture_advance(f, 1000);
	assert_false(call->done);
	fixture_advance(f, 6000);
	assert_true(fixture_well(f, call));
	fixture_check(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(steps_run_in_order_and_the_waiter_is_told,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_failing_step_is_undone_too_last_step_first,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_undo_that_fails_stops_there_and_keeps_the_first_error, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_that_goes_away_is_looked_at_between_steps,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_deadline_is_looked_at_between_steps,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(what_only_goes_forward_is_not_cancelled,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_step_that_asked_for_it_is_run_again_when_its_client_goes, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			undoing_from_the_middle_begins_with_its_announcement, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(turns_of_one_key_are_taken_in_order, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			shared_turns_run_side_by_side_and_wait_behind_an_exclusive_one,
			fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_parent_waits_for_all_children_and_tells_their_first_error, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_record_is_waited_for, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_stopping_daemon_waits_for_running_steps_and_parks_the_rest, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			an_old_child_is_waited_for_and_killed_when_its_time_is_over, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_client_s_operation_waits_for_an_old_child_as_well,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
