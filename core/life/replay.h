/* core/life/replay.h
 *
 * Recovery: the same calls as live (design: state is folded already; watch, then scan; then everything that is unfinished).
 * Starts operations and returns; waits for no child.
 */
#ifndef CORACLE_CORE_LIFE_REPLAY_H
#define CORACLE_CORE_LIFE_REPLAY_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/life/life.h"

enum replay_mode {
	REPLAY_SERVE,   /* the daemon: act */
	REPLAY_INSPECT, /* recover without --fix: say what would be done, touch nothing */
	/* The same on another machine, or for a copied directory: pids, locks and mounts say nothing about these containers (D26). */
	REPLAY_INSPECT_AWAY,
};

/* One line of the report per object. */
enum replay_what {
	REPLAY_EXIT,    /* an exit found in the spool or concluded */
	REPLAY_ADOPTED, /* runs without a monitor */
	REPLAY_RUNNING, /* runs, monitor alive */
	REPLAY_UNDO,    /* a creation that did not finish is undone */
	REPLAY_FORWARD, /* a stop or removal that did not finish goes on */
	REPLAY_ORPHAN,  /* something without an owner */
	REPLAY_QUARANTINE,
};

struct replay_line {
	struct list link;
	enum replay_what what;
	char *text; /* "container 0123abcd: exit 137 from the spool" */
};

struct replay_report {
	struct list lines; /* struct replay_line */
	size_t exits, running, adopted, undone, forward, orphans, quarantined;
	bool probes; /* pids, locks and mounts were looked at */
};

void replay_report_init(struct replay_report *report);
void replay_report_release(struct replay_report *report);

/*
 * replay_run - rows 2 to 7 of recovery. @done (may be NULL) is called when the last record that this appended is released: from
 * then on what clients see is the truth, and reads may be answered. REPLAY_SERVE calls it once more, some loop turns later, when
 * monitors are connected and orphans found (@ret_report lives until then): from then on life_ready() lets changes through.
 */
NODISCARD int replay_run(struct life *life, enum replay_mode mode, struct replay_report *ret_report,
                         void (*done)(void *arg), void *arg, struct err *err);

#endif
