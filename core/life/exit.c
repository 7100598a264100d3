/* core/life/exit.c
 *
 * The one way an exit enters: monitor fills its record, renames it into the spool -> wake -> spool_scan -> life_exit -> journal ->
 * synced -> release: state EXITED, queued for every known plugin, event, spool file unlinked.
 *
 * An exit is looked up in the state and in what is in flight: one seen by inotify and by socket EOF is appended once. An exit
 * that cannot be known is 255 with a reason, never 0.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mutant.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/life/life_internal.h"

#define RESCAN_MS 1000
#define REAP_MS   20  /* an adopted process's status: how often, */
#define REAP_MAX  100 /* and how often at most, is looked whether its new parent has waited for it */

static const char *exit_reason(const struct exit_record *rec)
{
	if (rec->oom)
		return "OOMKilled";
	return rec->exit_code ? "Error" : "Completed";
}

static int append_exited(struct life *life, const char *id, const rec_ContainerExited *msg)
{
	struct err err = { 0 };

	if (journal_append(life->journal, RECORD_CONTAINER_EXITED, RECORD_SYNCED, msg, &err)) {
		map_set(&life->exiting, id, life);
		if (MUTANT(unlink_before_sync))
			spool_consume(life->args.spool, id);
		return 0;
	}
	/* the record stays in the spool (or the process in our watch): nothing is lost, only later */
	log_warn(&(struct log_ctx){ .container = id }, "exit not recorded yet: %s", err.msg);
	if (!loop_timer_armed(&life->rescan))
		loop_timer_arm_in(life->loop, &life->rescan, RESCAN_MS);
	return -1;
}

static enum exit_verdict append_record(struct life *life, const struct container *c,
                                       const struct exit_record *rec)
{
	const rec_ContainerExited msg = {
		.id = (char *)c->id,
		.exit_code = (int32_t)rec->exit_code,
		.oom_killed = rec->oom,
		.finished_ns = rec->exited_ns,
		.reason = (char *)exit_reason(rec),
	};

	return append_exited(life, c->id, &msg) < 0 ? EXIT_IN_FLIGHT : EXIT_APPENDED;
}

enum exit_verdict life_exit_unknown(struct life *life, const char *id, int code, const char *reason,
                                    const char *message)
{
	const rec_ContainerExited msg = {
		.id = (char *)id,
		.exit_code = code,
		.finished_ns = clock_real_ns(),
		.reason = (char *)reason,
		.message = (char *)message,
	};

	if (map_find(&life->exiting, id))
		return EXIT_IN_FLIGHT;
	return append_exited(life, id, &msg) < 0 ? EXIT_IN_FLIGHT : EXIT_APPENDED;
}

/* STARTING without a start op: the daemon died in between. What the monitor saw decides. */
static enum exit_verdict append_started(struct life *life, const struct container *c,
                                        const struct exit_record *rec)
{
	const rec_ContainerRunning running = {
		.id = (char *)c->id,
		.started_ns = rec->started_ns,
		.pid = rec->pid,
		.start_ticks = rec->start_ticks,
	};
	struct err err = { 0 };

	if (!rec->started_ns)
		return life_exit_unknown(
			life, c->id, 128, "StartError",
			"the daemon was restarted while the container was started");
	if (!journal_append(life->journal, RECORD_CONTAINER_RUNNING, RECORD_SYNCED, &running,
	                    &err)) {
		log_warn(&(struct log_ctx){ .container = c->id }, "start not recorded yet: %s",
		         err.msg);
		if (!loop_timer_armed(&life->rescan))
			loop_timer_arm_in(life->loop, &life->rescan, RESCAN_MS);
		return EXIT_IN_FLIGHT;
	}
	return append_record(life, c, rec);
}

static bool is_quarantined(const struct state *state, const char *id)
{
	list_for_each(l, &state->quarantine)
		if (!strcmp(list_entry(l, struct quarantine, link)->id, id))
			return true;
	return false;
}

static bool matches(const struct container *c, const struct exit_record *rec)
{
	return !c->pid || (rec->pid == c->pid && rec->start_ticks == c->start_ticks);
}

enum exit_verdict life_exit(void *arg, const char *id, const struct exit_record *rec)
{
	struct life *life = arg;
	const struct container *c = container_get(life->state, id);

	if (map_find(&life->exiting, id) || map_find(&life->starting, id))
		return EXIT_IN_FLIGHT; /* the end of a start op scans again */
	if (!c && is_quarantined(life->state, id))
		return EXIT_IN_FLIGHT; /* kept beside the record that could not be followed */
	if (!c) {
		if (log_limit_pass(&life->unknown_limit))
			log_warn(&(struct log_ctx){ .container = id },
			         "exit record of an unknown container set aside");
		return EXIT_UNKNOWN;
	}
	switch (c->state) {
	case CONTAINER_EXITED:
	case CONTAINER_REMOVING:
	case CONTAINER_GONE:
	case CONTAINER_CREATING: /* never started: its creation is being undone */
		return EXIT_CONSUME;
	case CONTAINER_CREATED:
		/* its STARTING was of class written and did not survive a power cut; the record did */
		if (rec)
			return append_record(life, c, rec);
		break;
	case CONTAINER_STARTING:
		if (rec)
			return append_started(life, c, rec);
		break;
	case CONTAINER_RUNNING:
		if (rec && matches(c, rec))
			return append_record(life, c, rec);
		break;
	case CONTAINER_INVALID:
	case CONTAINER_STATES:
		break;
	}
	if (life_exit_unknown(life, id, 255, "Unknown", "the exit record is damaged") ==
	    EXIT_IN_FLIGHT)
		return EXIT_IN_FLIGHT;
	return EXIT_BAD;
}

/* --- who waits for it */

void exit_wait_add(struct life *life, struct exit_wait *wait, const char *id, struct op *op)
{
	if (list_linked(&wait->link))
		return;
	ignore(str_copy(wait->id, sizeof(wait->id), id)); /* an id of the state: it fits */
	wait->op = op;
	list_push_back(&life->exit_waits, &wait->link);
}

void exit_wait_remove(struct exit_wait *wait)
{
	if (list_linked(&wait->link))
		list_remove(&wait->link);
}

/* --- a container whose monitor is gone and whose init lives: its pidfd is watched */

struct adopted {
	struct life *life;
	char id[ID_SIZE];
	int pidfd;
	struct loop_io *io;
	struct loop_timer reaped;
	int looks;
};

static void adopted_free(struct adopted *a)
{
	loop_timer_disarm(a->life->loop, &a->reaped);
	loop_io_free(a->io);
	close(a->pidfd);
	free(a);
}

static void adopted_drop(struct life *life, const char *id)
{
	struct adopted *a = map_remove(&life->adopted, id);

	if (a)
		adopted_free(a);
}

static void adopted_look(void *arg)
{
	static const char lost[] =
		"its monitor was killed: the exit code is not known, and output after that is lost";
	struct adopted *a = arg;
	struct life *life = a->life;
	const struct container *c = container_get(life->state, a->id);
	int wstatus, rc;

	if (!c || c->state != CONTAINER_RUNNING || map_find(&life->exiting, a->id)) {
		adopted_drop(life, a->id);
		return;
	}
	/* kernel >= 6.15 keeps the status for whoever holds the pidfd; it appears when the reaper has waited */
	rc = sys_pidfd_exit_status(a->pidfd, &wstatus);
	if (rc == -EAGAIN && ++a->looks < REAP_MAX) {
		loop_timer_arm_in(life->loop, &a->reaped, REAP_MS);
	} else if (rc == 0) {
		const rec_ContainerExited msg = {
			.id = (char *)c->id,
			.exit_code = (int32_t)exit_code_from_wstatus(wstatus),
			.finished_ns = clock_real_ns(),
			.reason = (char *)(wstatus ? "Error" : "Completed"),
			.message = (char *)"its monitor was killed: output after that is lost",
		};

		ignore(append_exited(
			life, c->id,
			&msg)); /* a refused append arms the rescan, which looks again */
	} else {
		life_exit_unknown(life, c->id, 255, "MonitorLost", lost);
	}
}

static void adopted_ended(void *arg, uint32_t events UNUSED)
{
	struct adopted *a = arg;

	/* it would be told again and again */
	loop_io_free(a->io);
	a->io = NULL;
	a->looks = 0;
	adopted_look(a);
}

void life_adopt(struct life *life, const struct container *c)
{
	struct adopted *a;
	struct err err = { 0 };

	if (map_find(&life->adopted, c->id))
		return;
	a = xcalloc(1, sizeof(*a));
	a->life = life;
	loop_timer_init(&a->reaped, adopted_look, a, "adopted container reaped");
	memcpy(a->id, c->id, sizeof(a->id));
	a->pidfd = sys_pidfd_open(c->pid, 0);
	/* the pid may have been taken over between the probe and the open: the start time tells */
	if (a->pidfd >= 0 && proc_is_alive(c->pid, c->start_ticks))
		a->io = loop_io_new(life->loop, a->pidfd, EPOLLIN, adopted_ended, a,
		                    "adopted container", &err);
	if (!a->io) {
		if (a->pidfd >= 0)
			close(a->pidfd);
		free(a);
		life_exit_unknown(life, c->id, 255, "Unknown",
		                  "neither its monitor nor an exit record was left");
		return;
	}
	ignore(!map_insert(&life->adopted, c->id, a)); /* not there: looked above */
	log_warn(&(struct log_ctx){ .container = c->id },
	         "its monitor is gone: adopted, its output from here on is lost");
}

void life_probe(struct life *life, const struct container *c)
{
	if (c->state != CONTAINER_RUNNING || map_find(&life->exiting, c->id) ||
	    map_find(&life->adopted, c->id))
		return;
	if (monitor_lock_held(life->args.monitors, c->id))
		return;
	/* the lock falls after the rename: only a look from now on is a true one */
	if (spool_scan_one(life->args.spool, c->id, true, life_exit, life))
		return;
	if (proc_is_alive(c->pid, c->start_ticks))
		life_adopt(life, c);
	else
		life_exit_unknown(life, c->id, 255, "Unknown",
		                  "neither its monitor nor an exit record was left");
}

/* --- release */

void life_exit_released(struct life *life, const struct container *c)
{
	map_remove(&life->exiting, c->id);
	adopted_drop(life, c->id);
	if (!c->hidden)
		events_push(life->args.events, EVENT_STOPPED, c->id, c->sandbox_id, c->finished_ns);
	spool_consume(life->args.spool, c->id);
	monitor_release(life->args.monitors, c->id);
	list_for_each_safe(l, &life->exit_waits) {
		struct exit_wait *wait = list_entry(l, struct exit_wait, link);

		if (!strcmp(wait->id, c->id)) {
			list_remove(&wait->link);
			op_resume(wait->op, STEP_WAIT);
		}
	}
	log_info(&(struct log_ctx){ .container = c->id, .sandbox = c->sandbox_id }, "exited %d%s%s",
	         c->exit_code, c->reason[0] ? " " : "", c->reason);
}

void life_adopted_retry(struct life *life)
{
	map_for_each(e, &life->adopted) {
		struct adopted *a = e->value;

		if (!a->io) /* it has ended */
			loop_timer_arm_in(life->loop, &a->reaped, 0);
	}
}

void life_exits_free(struct life *life)
{
	map_for_each(e, &life->adopted)
		adopted_free(e->value);
	map_release(&life->adopted);
	map_release(&life->exiting);
}
