/* core/life/op.h
 *
 * The step engine. A multi-step operation is a table of steps {name, run, undo}; a crash continues the same table.
 *
 *   run steps in order -> done
 *   a step fails -> undoing: the undos of the steps that ran, last first (the failed one included: it may have left a part)
 *   a start finds an unfinished object -> op_start_at(): undoing from the last step, or forward
 *
 * Rules: steps and undos are idempotent; names derive from the object's id; an op holds ids, never pointers into state; it is
 * never interrupted inside a step: cancel and deadline are looked at between steps and turn into undo. Every effect of a step
 * comes after the release of the record that announces it: op_record() waits for that.
 */
#ifndef CORACLE_CORE_LIFE_OP_H
#define CORACLE_CORE_LIFE_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/loop/oplock.h"
#include "core/state/record.h"
#include "core/state/types.h"

struct life;
struct op;

enum step {
	STEP_DONE,
	STEP_WAIT, /* somebody will call op_resume() */
	STEP_FAIL, /* *op_err(op) is set */
};

struct op_step {
	const char *name;
	enum step (*run)(struct op *op);
	enum step (*undo)(struct op *op); /* NULL: nothing to undo */
};

/* Whom an op excludes while it holds its turn: pods and containers by id, shared or alone. */
struct turn {
	struct list link; /* in the key's queue */
	char key[ID_SIZE];
	bool exclusive, granted;
	struct op *op;
};

/* Who else wants to know how it ended (a joined retry, D7). */
struct op_waiter {
	struct list link;
	void (*fn)(void *arg, struct
	           op *op); /* op->failed and op->err tell; the op is freed after all were called */
	void *arg;
};

struct op {
	struct list link; /* life->ops */
	struct life *life;
	const char *name; /* "RunPodSandbox" */
	const struct op_step *steps;
	uint32_t nsteps, at;
	bool undoable; /* has undos: cancel and deadline count. Stop and Remove go forward only */
	bool wakes_on_cancel; /* set by a step that waits and looks at cancelled itself: it is run again then. Ends with the step */
	bool undoing, cancelled, failed, finished;
	bool inside; /* the current step has begun */
	bool busy;   /* ... and something outside works for it: a stopping daemon waits for that */
	enum step result; /* of the step that was waited for */
	bool stay; /* an undo failed: the object stays as it is, the op ends; next stop, remove or start goes on */
	char id[ID_SIZE];         /* the object */
	char sandbox_id[ID_SIZE]; /* its pod (the same for pod operations) */
	int64_t deadline_ns;      /* clock_boot_ns; 0: none */
	struct err err;           /* why it failed: the first failure, not that of an undo */
	struct err undo_err;      /* why the last undo failed: op_err() is this one while undoing */
	/* Runs before the first undo: appends REMOVING. NULL: nothing to announce. */
	enum step (*begin_undo)(struct op *op);
	bool beginning_undo;
	/* An undo failed: put on record where (REMOVING with step). NULL: nothing to say. */
	void (*stuck)(struct op *op);
	struct oplock lock; /* .fd -1 until op_lock() */
	struct turn turns[2];
	uint32_t nturns;
	uint64_t wait_seq; /* resumes when this record is released */
	struct list wait_link;
	struct list waiters;
	struct op_child *child; /* op_child()'s own */
	struct op *parent;      /* resumed when its last child ended */
	uint32_t children;      /* running ones */
	struct err child_err;   /* first failure of a child */
	struct loop_defer defer;
	struct loop_timer timer; /* for steps that wait for time; disarmed when the step resumes */
	const char *answer;      /* what waiters are told instead of id; NULL: id */
	void (*free_fn)(struct op *op); /* frees the specific op around it */
	int64_t started_ns;             /* clock_mono_ns */
};

/*
 * op_start - put a prepared op (embedded, zeroed, name/steps/nsteps/id/free_fn filled) to work; life owns it from here and
 * frees it through free_fn after its waiters were called. Runs its first step from the loop, not before this returns.
 */
void op_start(struct life *life, struct op *op);
/* The same in the middle: undoing from step @at downwards, or forward from @at. */
void op_start_at(struct life *life, struct op *op, uint32_t at, bool undoing);
/* As a child: @parent's current step must return STEP_WAIT (or call op_children_step()). */
void op_start_child(struct op *parent, struct op *child);
/* A child that was just started on its own (an undo that goes on). */
void op_adopt_child(struct op *parent, struct op *child);
/* STEP_WAIT while children run; then STEP_DONE, or STEP_FAIL with the first child's error. For the end of a step that started some. */
NODISCARD enum step op_children_step(struct op *op);

/* From a callback: the waiting step ended. STEP_WAIT: run the same step's function again (it looks at what has changed). */
void op_resume(struct op *op, enum step result);
/* Where the current step says why it failed. */
static inline struct err *op_err(struct op *op)
{
	return op->undoing ? &op->undo_err : &op->err;
}

/* Append a record, the step is DONE on its release: `return op_record(op, kind, &msg);` (STEP_WAIT, or STEP_FAIL).
 * While undoing a refused append (failed journal) is tried again each second. */
NODISCARD enum step op_record(struct op *op, enum record_kind kind, const void *msg);
/* The same for a record that was appended already. */
void op_wait_seq(struct op *op, uint64_t seq);
/* Queue for a turn: DONE at once when free, else WAIT. Kept until the op ends. */
NODISCARD enum step op_take_turn(struct op *op, const char *key, bool exclusive);
/* The key under which operations on one name take turns (a name may be longer than a key). */
void turn_name(const char *name, char ret_key[ID_SIZE]);
/* Take the op's lock file (7.9) before its first fork; DONE or FAIL. op->lock.fd goes into child_args.oplock_fd. */
NODISCARD enum step op_lock(struct op *op);
/* Spawn; when it ends well the step is DONE, else FAIL with child_check()'s words. done may be NULL or look at the result first
 * and answer the step (then child_check is its business). */
NODISCARD enum step op_child(struct op *op, struct child_args *args,
                             enum step (*done)(struct op *op, const struct child_result *r));
/* `return op_fail(op, CODE_X, "...")` */
NODISCARD enum step op_fail(struct op *op, enum code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* `return op_busy(op);` - the step waits for a callback from outside this process. */
static inline enum step op_busy(struct op *op)
{
	op->busy = true;
	return STEP_WAIT;
}
/* The usual callback of such a wait: arg is the op. */
void op_step_done(void *arg, const struct err *err);

/* The client went away or its deadline passed: undo begins at the next step boundary (not for ops that are undoing). */
void op_cancel(struct op *op);
void op_wait(struct op *op, struct op_waiter *waiter);
void op_unwait(struct op_waiter *waiter);
const char *op_step_name(const struct op *op); /* "network", or "undo network" */

/* The daemon goes away: free the op without another step. Its object is as the journal has it. */
void op_abandon(struct op *op);

/* Called by life for each released record: resumes whoever waited for it. */
void op_released(struct life *life, uint64_t seq);
/* Does anyone hold or wait for this key's turn? */
bool turn_is_busy(const struct life *life, const char *key);

#endif
