/* core/life/container_stop.c
 *
 * StopContainer: ask, wait, kill, wait. Completion comes only from the released EXITED.
 *
 * Several stops of one container may run side by side, each with its own time-out: the shortest decides. The signal is delivered
 * once per container; SIGKILL as often as it takes. What the init of a PID namespace has no handler for the kernel discards, so a
 * stop right behind a start would be lost: on the runtime that has not exec'd yet, or on a program that had no time to install its
 * handler. So it is sent again until the program that stays has caught it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/life/life_internal.h"

#define KILL_AGAIN_MS     2000
#define CATCH_POLL_MIN_MS 20
#define CATCH_POLL_MAX_MS 1000
#define SETTLED_MS        2000 /* a runtime has exec'd by then */

struct container_stop {
	struct op op;
	bool own_turn;
	bool asked;       /* the signal of this op went out and was caught */
	bool other_asked; /* another op's did */
	int64_t timeout_ms, kill_at_ns;
	int64_t poll_ms;       /* until init has a handler */
	int64_t settled_at_ns; /* until then init may still exec */
	uint64_t dev, ino;     /* the program that was asked */
	int kills;
	int signal;
	struct exit_wait wait;
};

static struct container_stop *stop_of(struct op *op)
{
	return container_of(op, struct container_stop, op);
}

static void stop_free(struct op *op)
{
	exit_wait_remove(&stop_of(op)->wait);
	free(stop_of(op));
}

/* "SIGTERM", "TERM", "15", "SIGRTMIN+3" as in container images; -1: no such signal. */
int signal_parse(const char *text)
{
	static const struct {
		const char *name;
		int number;
	} names[] = {
		{ "HUP", SIGHUP },       { "INT", SIGINT },   { "QUIT", SIGQUIT },
		{ "ILL", SIGILL },       { "TRAP", SIGTRAP }, { "ABRT", SIGABRT },
		{ "BUS", SIGBUS },       { "FPE", SIGFPE },   { "KILL", SIGKILL },
		{ "USR1", SIGUSR1 },     { "SEGV", SIGSEGV }, { "USR2", SIGUSR2 },
		{ "PIPE", SIGPIPE },     { "ALRM", SIGALRM }, { "TERM", SIGTERM },
		{ "CHLD", SIGCHLD },     { "CONT", SIGCONT }, { "STOP", SIGSTOP },
		{ "TSTP", SIGTSTP },     { "TTIN", SIGTTIN }, { "TTOU", SIGTTOU },
		{ "URG", SIGURG },       { "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ },
		{ "VTALRM", SIGVTALRM }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH },
		{ "IO", SIGIO },         { "PWR", SIGPWR },   { "SYS", SIGSYS },
		{ "IOT", SIGABRT },      { "CLD", SIGCHLD },  { "POLL", SIGIO },
		{ "STKFLT", 16 },
	};
	/* the kernel's numbers: libc keeps some real-time signals for itself, containers do not care */
	enum { KERNEL_RTMIN = 34, KERNEL_RTMAX = 64 };
	uint64_t number;

	if (str_u64(str_of(text), 64, &number) == 0)
		return number ? (int)number : -1;
	if (starts_with(text, "SIG"))
		text += 3;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(names[i].name, text))
			return names[i].number;
	if (streq(text, "RTMIN"))
		return KERNEL_RTMIN;
	if (streq(text, "RTMAX"))
		return KERNEL_RTMAX;
	if (starts_with(text, "RTMIN+") &&
	    str_u64(str_of(text + 6), KERNEL_RTMAX - KERNEL_RTMIN, &number) == 0)
		return KERNEL_RTMIN + (int)number;
	if (starts_with(text, "RTMAX-") &&
	    str_u64(str_of(text + 6), KERNEL_RTMAX - KERNEL_RTMIN, &number) == 0)
		return KERNEL_RTMAX - (int)number;
	return -1;
}

/* To the init that was started, never to whoever has its pid now. */
static void send_signal(const struct container *c, int signal)
{
	cleanup_close int pidfd = c->pid > 0 ? sys_pidfd_open(c->pid, 0) : -ESRCH;
	uint64_t ticks;

	if (pidfd < 0 || proc_start_ticks(c->pid, &ticks) < 0 || ticks != c->start_ticks)
		return;                               /* gone: its exit is on its way */
	ignore(sys_pidfd_send_signal(pidfd, signal)); /* the wait that follows tells */
}

/* Send it, unless the program that runs now was asked already and caught it. */
static void ask(struct container_stop *cs, const struct container *c)
{
	uint64_t dev = 0, ino = 0;
	bool alone =
		!c->shared_pid; /* init of its own PID namespace: what it does not catch is discarded */

	if (proc_program(c->pid, &dev, &ino) < 0)
		alone = false; /* it has ended, or is none of ours: one signal, whatever becomes of it */
	if (cs->asked && (!alone || (dev == cs->dev && ino == cs->ino)))
		return;
	cs->dev = dev;
	cs->ino = ino;
	cs->asked = !alone || cs->signal == SIGKILL || proc_catches(c->pid, cs->signal) != 0;
	send_signal(c, cs->signal);
}

static enum step turn_run(struct op *op)
{
	struct container_stop *cs = stop_of(op);

	/* behind a start that runs; beside other stops */
	return cs->own_turn ? op_take_turn(op, op->id, false) : STEP_DONE;
}

static enum step ask_run(struct op *op)
{
	struct container_stop *cs = stop_of(op);
	const struct container *c = container_get(op->life->state, op->id);
	const rec_ContainerExited never = {
		.id = op->id,
		.exit_code = 128,
		.finished_ns = clock_real_ns(),
		.reason = (char *)"NeverStarted",
		.message = (char *)"stopped before it was started",
	};
	rec_ContainerStopping stopping = { .id = op->id };
	enum step step;

	if (!c || (c->state != CONTAINER_RUNNING && c->state != CONTAINER_CREATED))
		return STEP_DONE;
	if (map_find(&op->life->exiting, op->id))
		return STEP_DONE;
	if (c->state == CONTAINER_CREATED) {
		step = op_record(op, RECORD_CONTAINER_EXITED, &never);
		if (op->wait_seq)
			map_set(&op->life->exiting, op->id, op->life);
		return step;
	}
	if (c->stopping_signal) {
		cs->other_asked = true;
		return STEP_DONE;
	}
	cs->signal = signal_parse(c->stop_signal);
	if (cs->signal < 0) {
		log_warn(&(struct log_ctx){ .op = op->name, .container = op->id },
		         "unknown stop signal \"%s\": SIGTERM is sent", c->stop_signal);
		cs->signal = SIGTERM;
	}
	if (cs->timeout_ms <= 0)
		cs->signal = SIGKILL;
	stopping.signal = cs->signal;
	return op_record(op, RECORD_CONTAINER_STOPPING, &stopping);
}

static enum step wait_run(struct op *op)
{
	struct container_stop *cs = stop_of(op);
	const struct container *c = container_get(op->life->state, op->id);
	int64_t now = clock_boot_ns(), wake_ns;

	if (!c || c->state == CONTAINER_EXITED || c->state == CONTAINER_REMOVING ||
	    container_is_tombstone(c))
		return STEP_DONE;
	if (op->cancelled)
		return op_fail(op, CODE_CANCELLED, "container %.12s has not exited yet", op->id);
	op->wakes_on_cancel = true;
	exit_wait_add(op->life, &cs->wait, op->id, op);
	if (!cs->kill_at_ns)
		cs->kill_at_ns = now + MAX(cs->timeout_ms, 0) * NS_PER_MS;
	if (!cs->settled_at_ns)
		cs->settled_at_ns = now + SETTLED_MS * NS_PER_MS;
	if (cs->timeout_ms > 0 && !cs->other_asked && (!cs->asked || now < cs->settled_at_ns))
		ask(cs, c);
	if (now >= cs->kill_at_ns) {
		cs->other_asked = true; /* no more asking */
		send_signal(c, SIGKILL);
		/* the usual one dies at once; one that does not is in D state, and named */
		if (c->pid && cs->kills++ == 1)
			log_warn(&(struct log_ctx){ .op = op->name, .container = op->id },
			         "init %d does not die of SIGKILL: it hangs in the kernel",
			         (int)c->pid);
		cs->kill_at_ns = now + KILL_AGAIN_MS * NS_PER_MS;
	}
	cs->poll_ms = MIN(MAX(2 * cs->poll_ms, CATCH_POLL_MIN_MS), CATCH_POLL_MAX_MS);
	wake_ns = cs->kill_at_ns;
	if (!cs->other_asked && (!cs->asked || now < cs->settled_at_ns))
		wake_ns = MIN(wake_ns, now + cs->poll_ms * NS_PER_MS);
	loop_timer_arm(op->life->loop, &op->timer, wake_ns);
	return STEP_WAIT;
}

/* clang-format off */
static const struct op_step stop_steps[] = {
	{ "turn", turn_run, NULL },
	{ "ask",  ask_run,  NULL },
	{ "wait", wait_run, NULL },
};
/* clang-format on */

struct op *container_stop_new(struct life *life UNUSED, const struct container *c,
                              int64_t timeout_ms, bool own_turn)
{
	struct container_stop *cs = xcalloc(1, sizeof(*cs));

	cs->own_turn = own_turn;
	cs->timeout_ms = timeout_ms;
	list_init(&cs->wait.link);
	cs->op.name = "StopContainer";
	cs->op.steps = stop_steps;
	cs->op.nsteps = ARRAY_SIZE(stop_steps);
	cs->op.free_fn = stop_free;
	memcpy(cs->op.id, c->id, ID_SIZE);
	memcpy(cs->op.sandbox_id, c->sandbox_id, ID_SIZE);
	return &cs->op;
}

void life_container_stop(struct life *life, const char *id, int64_t timeout_ms,
                         struct life_wait *wait)
{
	struct err err = { 0 };
	const struct container *c = container_find(life->state, id, &err);
	struct op *op;

	if (!c && err_is(&err, CODE_NOT_FOUND)) {
		life_answer(wait, life, id, NULL); /* gone is success */
		return;
	}
	if (!c) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	op = container_stop_new(life, c, timeout_ms, true);
	op_start(life, op);
	life_wait_op(wait, life, op);
}
