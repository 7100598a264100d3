#include "core/life/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/journal/journal.h"
#include "core/life/life_internal.h"

#define RETRY_MS 1000 /* a clean-up that the journal refused to announce */

/*
 * A step never runs from inside whoever resumed it: op_resume() only notes the result and queues a deferred call. So a callback
 * may resume an op and go on using what the step would have freed.
 */
static void op_turn_loop(void *arg);

static void op_queue(struct op *op)
{
	loop_defer_queue(op->life->loop, &op->defer);
}

static void timer_fired(void *arg)
{
	op_resume(arg, STEP_WAIT);
}

static void op_prepare(struct life *life, struct op *op, uint32_t at, bool undoing)
{
	ensure(op->name && op->steps && op->nsteps && op->free_fn);

	op->life = life;
	op->at = at;
	op->undoing = undoing;
	op->beginning_undo = undoing && op->begin_undo;
	op->lock.fd = -1;
	op->started_ns = clock_mono_ns();
	list_init(&op->waiters);
	list_init(&op->wait_link);
	for (size_t i = 0; i < ARRAY_SIZE(op->turns); i++)
		list_init(&op->turns[i].link);
	loop_defer_init(&op->defer, op_turn_loop, op);
	loop_timer_init(&op->timer, timer_fired, op, op->name);
	list_push_back(&life->ops, &op->link);
	op->result = STEP_WAIT;
	op_queue(op);
}

void op_start(struct life *life, struct op *op)
{
	op_prepare(life, op, 0, false);
}

void op_start_at(struct life *life, struct op *op, uint32_t at, bool undoing)
{
	ensure(at < op->nsteps);
	op_prepare(life, op, at, undoing);
}

void op_adopt_child(struct op *parent, struct op *child)
{
	child->parent = parent;
	parent->children++;
}

void op_start_child(struct op *parent, struct op *child)
{
	op_adopt_child(parent, child);
	op_prepare(parent->life, child, 0, false);
}

enum step op_children_step(struct op *op)
{
	if (op->children)
		return STEP_WAIT;
	if (op->child_err.code == CODE_OK)
		return STEP_DONE;
	*op_err(op) = op->child_err;
	err_clear(&op->child_err);
	return STEP_FAIL;
}

void op_resume(struct op *op, enum step result)
{
	if (op->finished)
		return;
	op->busy = false;
	op->result = result;
	op_queue(op);
	life_stop_check(op->life);
}

void op_step_done(void *arg, const struct err *err)
{
	struct op *op = arg;

	if (err)
		*op_err(op) = *err;
	op_resume(op, err ? STEP_FAIL : STEP_DONE);
}

enum step op_fail(struct op *op, enum code code, const char *fmt, ...)
{
	char text[sizeof(op->err.msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(op_err(op), code, "%s", text);
	return STEP_FAIL;
}

/* --- records */

enum step op_record(struct op *op, enum record_kind kind, const void *msg)
{
	op->wait_seq =
		journal_append(op->life->journal, kind, record_info(kind)->class, msg, op_err(op));
	if (!op->wait_seq && op->undoing && err_is(&op->undo_err, CODE_UNAVAILABLE)) {
		loop_timer_arm_in(op->life->loop, &op->timer, RETRY_MS);
		return STEP_WAIT;
	}
	if (!op->wait_seq)
		return STEP_FAIL;
	op_wait_seq(op, op->wait_seq);
	return STEP_WAIT;
}

void op_wait_seq(struct op *op, uint64_t seq)
{
	op->wait_seq = seq;
	loop_defer_cancel(
		&op->defer); /* a cancelled one may have been about to run again: the release decides now */
	/* appends come in seq order, so this list is sorted */
	list_push_back(&op->life->wait_records, &op->wait_link);
}

void op_released(struct life *life, uint64_t seq)
{
	list_for_each_safe(l, &life->wait_records) {
		struct op *op = list_entry(l, struct op, wait_link);

		if (op->wait_seq > seq)
			break;
		list_remove(&op->wait_link);
		op->wait_seq = 0;
		op_resume(op, STEP_DONE);
	}
}

/* --- turns */

struct turn_queue {
	struct list turns; /* struct turn, oldest first: the granted ones are a prefix */
	char key[ID_SIZE];
};

static void turn_grant(struct turn_queue *queue)
{
	bool first = true;

	list_for_each(l, &queue->turns) {
		struct turn *turn = list_entry(l, struct turn, link);

		if (!turn->granted) {
			if (turn->exclusive && !first)
				return;
			turn->granted = true;
			op_resume(turn->op, STEP_WAIT);
		}
		if (turn->exclusive)
			return;
		first = false;
	}
}

enum step op_take_turn(struct op *op, const char *key, bool exclusive)
{
	struct turn_queue *queue;
	struct turn *turn;

	for (uint32_t i = 0; i < op->nturns; i++)
		if (!strcmp(op->turns[i].key, key))
			return op->turns[i].granted ? STEP_DONE : STEP_WAIT;
	ensure(op->nturns < ARRAY_SIZE(op->turns));
	queue = map_find(&op->life->turns, key);
	if (!queue) {
		queue = xcalloc(1, sizeof(*queue));
		list_init(&queue->turns);
		ensure(str_copy(queue->key, sizeof(queue->key), key) == 0);
		ensure(map_insert(&op->life->turns, key, queue));
	}
	turn = &op->turns[op->nturns++];
	ensure(str_copy(turn->key, sizeof(turn->key), key) == 0);
	turn->exclusive = exclusive;
	turn->op = op;
	turn->granted = list_empty(&queue->turns);
	if (!turn->granted && !exclusive) {
		struct turn *last = list_entry(queue->turns.prev, struct turn, link);

		turn->granted = last->granted && !last->exclusive;
	}
	list_push_back(&queue->turns, &turn->link);
	return turn->granted ? STEP_DONE : STEP_WAIT;
}

void turn_name(const char *name, char ret_key[ID_SIZE])
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, name, strlen(name));
	sha256_final(&ctx, digest);
	hex_encode(digest, sizeof(digest), ret_key);
}

static void op_leave_turns(struct op *op)
{
	while (op->nturns) {
		struct turn *turn = &op->turns[--op->nturns];
		struct turn_queue *queue = map_find(&op->life->turns, turn->key);

		list_remove(&turn->link);
		if (list_empty(&queue->turns)) {
			map_remove(&op->life->turns, queue->key);
			free(queue);
		} else {
			turn_grant(queue);
		}
	}
}

bool turn_is_busy(const struct life *life, const char *key)
{
	return map_find(&life->turns, key) != NULL;
}

/* --- children */

enum step op_lock(struct op *op)
{
	if (op->lock.fd >= 0)
		return STEP_DONE;
	return oplock_take(&op->lock, op->life->ops_dir, op->id, ++op->life->op_serial,
	                   op_err(op)) < 0
	               ? STEP_FAIL
	               : STEP_DONE;
}

/*
 * A file that somebody holds on is looked at again when other operations end: a created init has its start's until it ends, and a
 * child of another operation, forked a moment ago, has a copy of every descriptor until it gets to run.
 */
struct left_lock {
	struct list link;
	char *path;
};

static void op_unlock(struct op *op)
{
	enum { LOOK_AT = 8 };
	struct list *left = &op->life->left_locks;
	struct left_lock *lock;

	for (int i = 0; i < LOOK_AT && !list_empty(left); i++) {
		lock = list_entry(list_pop_front(left), struct left_lock, link);
		if (oplock_gone(lock->path)) {
			free(lock->path);
			free(lock);
		} else {
			list_push_back(left, &lock->link);
		}
	}
	if (op->lock.fd < 0 || oplock_drop(&op->lock))
		return;
	lock = xcalloc(1, sizeof(*lock));
	lock->path = xstrdup(op->lock.path);
	list_push_back(left, &lock->link);
}

void left_locks_free(struct life *life)
{
	while (!list_empty(&life->left_locks)) {
		struct left_lock *lock =
			list_entry(list_pop_front(&life->left_locks), struct left_lock, link);

		free(lock->path);
		free(lock);
	}
}

struct op_child {
	struct op *op;
	struct child_args args;
	enum step (*done)(struct op *op, const struct child_result *r);
};

static void child_ended(void *arg, const struct child_result *result)
{
	struct op_child *oc = arg;
	struct op *op = oc->op;
	enum step step;

	if (oc->done)
		step = oc->done(op, result);
	else
		step = child_check(&oc->args, result, op_err(op)) < 0 ? STEP_FAIL : STEP_DONE;
	op->child = NULL;
	free(oc);
	op_resume(op, step);
}

enum step op_child(struct op *op, struct child_args *args,
                   enum step (*done)(struct op *op, const struct child_result *r))
{
	struct op_child *oc;

	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	oc = xcalloc(1, sizeof(*oc));
	args->oplock_fd = op->lock.fd;
	args->done = child_ended;
	args->arg = oc;
	oc->op = op;
	oc->args = *args;
	oc->done = done;
	if (!child_spawn(op->life->loop, args, op_err(op))) {
		free(oc);
		return STEP_FAIL;
	}
	op->child = oc;
	return op_busy(op);
}

/* --- waiting for an op */

void op_wait(struct op *op, struct op_waiter *waiter)
{
	list_push_back(&op->waiters, &waiter->link);
}

void op_unwait(struct op_waiter *waiter)
{
	list_remove(&waiter->link);
}

void op_cancel(struct op *op)
{
	op->cancelled = true;
	/* not when the step has its result already: that counts */
	if (op->wakes_on_cancel && !op->wait_seq && !list_linked(&op->defer.link))
		loop_defer_queue(op->life->loop, &op->defer);
}

const char *op_step_name(const struct op *op)
{
	return op->at < op->nsteps ? op->steps[op->at].name : "end";
}

/* --- the engine */

static void op_end(struct op *op)
{
	struct op *parent = op->parent;

	op->finished = true;
	loop_timer_disarm(op->life->loop, &op->timer);
	loop_defer_cancel(&op->defer);
	list_remove(&op->wait_link);
	list_remove(&op->link);
	op_unlock(op);
	op_leave_turns(op);
	if (op->failed && op->err.code != CODE_OK)
		log_debug(&(struct log_ctx){ .op = op->name }, "%.12s: %s", op->id, op->err.msg);
	while (!list_empty(&op->waiters)) {
		struct op_waiter *waiter =
			list_entry(list_pop_front(&op->waiters), struct op_waiter, link);

		waiter->fn(waiter->arg, op);
	}
	if (parent) {
		if (op->failed && parent->child_err.code == CODE_OK)
			parent->child_err = op->err;
		if (--parent->children == 0)
			op_resume(parent, STEP_WAIT);
	}
	op->free_fn(op);
}

void op_abandon(struct op *op)
{
	loop_timer_disarm(op->life->loop, &op->timer);
	loop_defer_cancel(&op->defer);
	list_remove(&op->wait_link);
	list_remove(&op->link);
	op_leave_turns(op);
	if (op->lock.fd >= 0)
		close(take_fd(&op->lock.fd)); /* a child may hold it on: that is what it is for */
	free(op->child);                      /* goes on; nobody hears how it ends */
	op->free_fn(op);
}

static void op_begin_undo(struct op *op)
{
	op->failed = true;
	op->undoing = true;
	op->beginning_undo = op->begin_undo != NULL;
}

/* Cancel and deadline are looked at between steps; an op that only moves forward has no undo and is not stopped by them. */
static bool op_stopped_by_client(struct op *op)
{
	if (op->undoing || !op->undoable)
		return false;
	if (op->cancelled) {
		err_set(&op->err, CODE_CANCELLED, "%s: cancelled by the client", op->name);
		return true;
	}
	if (op->deadline_ns && clock_boot_ns() >= op->deadline_ns) {
		err_set(&op->err, CODE_DEADLINE_EXCEEDED, "%s: deadline exceeded in step \"%s\"",
		        op->name, op_step_name(op));
		return true;
	}
	return false;
}

static enum step op_run_step(struct op *op)
{
	const struct op_step *step = &op->steps[op->at];

	if (op->beginning_undo)
		return op->begin_undo(op);
	if (!op->undoing)
		return step->run(op);
	return step->undo ? step->undo(op) : STEP_DONE;
}

static void op_undo_failed(struct op *op)
{
	log_warn(
		&(struct log_ctx){ .op = op->name, .sandbox = op->sandbox_id, .container = op->id },
		"clean-up will be retried: step \"%s\": %s", op_step_name(op), op->undo_err.msg);
	op->stay = true;
	op->failed = true;
	if (op->err.code == CODE_OK)
		op->err = op->undo_err;
	if (op->stuck)
		op->stuck(op);
}

/* True while there is a next step. */
static bool op_advance(struct op *op, enum step result)
{
	op->inside = false;
	op->wakes_on_cancel = false;
	if (result == STEP_FAIL && op->undoing) {
		op_undo_failed(op);
		return false;
	}
	if (result == STEP_FAIL) {
		ensure(op->err.code != CODE_OK);
		/* the failed step may have left a part: its own undo runs too */
		op_begin_undo(op);
		return op->undoable;
	}
	if (op->beginning_undo) {
		op->beginning_undo = false;
		return true;
	}
	if (!op->undoing)
		return ++op->at < op->nsteps;
	if (op->at == 0)
		return false;
	op->at--;
	return true;
}

static void op_turn_loop(void *arg)
{
	struct op *op = arg;
	enum step result = op->result;

	loop_timer_disarm(op->life->loop, &op->timer);
	if (op->life->stopping)
		return; /* parked where it is: the next start goes on */
	if (old_lock_is_held(op->life, op->id))
		return; /* woken when it is not */
	for (;;) {
		op->result = STEP_WAIT;
		if (result == STEP_WAIT) {
			if (!op->inside && op_stopped_by_client(op)) {
				op_begin_undo(op);
				if (op->at)
					op->at--;
			}
			op->inside = true;
			result = op_run_step(op);
			if (result == STEP_WAIT)
				return;
		}
		if (!op_advance(op, result)) {
			op_end(op);
			return;
		}
		result = STEP_WAIT;
	}
}
