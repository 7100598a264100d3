/* tests/lib/fake_world.h
 *
 * The part of a node that outlives the daemon, in memory: pins, mounts, addresses, containers with their monitors, and whatever
 * a daemon's children are still doing. The other fake_*.c stand in for core/run, core/net, core/image and core/loop/child at link
 * time and work on this world; spool records go to the simulated disk as the doings of another process.
 *
 * A job is one child of the daemon. It acts in a turn of the loop after the one that asked, and answers in a turn after that.
 * When the daemon dies its jobs live on: they hold the lock that they inherited (a real one, core/loop/oplock.c), and act at
 * once, later, or never. A job for an object whose earlier daemon's job still works is a violation of I13.
 *
 * Steps: asking for a job is one, having acted another. world_stop_at() makes the daemon die at one of them, as simdisk_stop_at()
 * does at a step of the disk; afterwards the daemon changes nothing any more.
 */
#ifndef CORACLE_TESTS_LIB_FAKE_WORLD_H
#define CORACLE_TESTS_LIB_FAKE_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/loop/loop.h"
#include "core/state/types.h"
#include "tests/crash/simdisk.h"

#define WORLD_SPOOL "/sim/spool"

enum world_kind {
	WORLD_MOUNT,   /* shm, detaching, removing trees */
	WORLD_OVERLAY, /* the root file system */
	WORLD_SPEC,    /* the spec builder */
	WORLD_PIN,
	WORLD_UNPIN,
	WORLD_ADD, /* CNI */
	WORLD_DEL,
	WORLD_CREATE, /* monitor and runtime create */
	WORLD_START,
	WORLD_QUERY,
	WORLD_REOPEN,
	WORLD_DELETE, /* runtime */
	WORLD_UPDATE,
	WORLD_EXEC,
	WORLD_IMAGE, /* a pull or an import */
	WORLD_KINDS,
};
const char *world_kind_name(enum world_kind kind);

/* What becomes of a job. */
enum world_mode {
	WORLD_WORKS,
	WORLD_FAILS,      /* without having done anything */
	WORLD_FAILS_DONE, /* after having done everything */
	WORLD_SLEEPS, /* acts only world->sleep_ms after the start of the next daemon, or after that time in this one */
	WORLD_HANGS, /* until its deadline, or until the next daemon kills it */
};

/* When the daemon dies, what do its jobs do that have not acted? */
enum world_after { WORLD_FINISH, WORLD_SLEEP_ON };

enum world_stage { WORLD_NO_INIT, WORLD_CREATED, WORLD_RUNNING, WORLD_EXITED };

struct world_container {
	struct list link;
	struct world *world;
	char id[ID_SIZE];
	enum world_stage stage;
	bool monitor;   /* lives, holds its lock */
	bool files;     /* in <state>/monitors */
	bool known;     /* to the runtime */
	bool connected; /* to the daemon that lives */
	bool failed;    /* its create failed: the monitor waits to be asked */
	pid_t pid;
	uint64_t ticks;
	int64_t started_ns;
	int wstatus;
	int term_ms; /* it ends so long after SIGTERM; -1: ignores it */
	int quit_ms; /* it ends so long after its start; -1: not by itself */
	int quit_wstatus;
	int pidfds[4]; /* of whoever holds one; 0: free */
	int pidfd_owners[4];
	bool unkillable;  /* in D state: signals wait */
	bool lost_status; /* old kernel: a pidfd does not tell the exit status */
	int late_status;  /* ... or only when it was asked so often: its reaper is slow */
	struct loop_timer quit, term;
};

/* How far a monitor comes when its container ends. */
enum world_monitor {
	MONITOR_FINISHES,
	MONITOR_DIES_FIRST,
	MONITOR_DIES_BEFORE_RENAME,
	MONITOR_RENAME_FAILS
};

struct world {
	struct loop *loop; /* the test's: of all daemon lives */
	struct simdisk *disk;
	char root[128], state[128];
	uint8_t boot_id[16];
	struct map pins;      /* "id/net" */
	struct map mounts;    /* target */
	struct map addresses; /* id -> how many, as a number in a pointer */
	struct list containers;
	struct list jobs;
	pid_t next_pid;
	unsigned life; /* which daemon is alive; counts from 1 */
	bool alive;

	enum world_mode
		mode[WORLD_KINDS]; /* of the next job of that kind only, when set by world_next() */
	unsigned mode_in[WORLD_KINDS]; /* ... or of the n-th from now */
	enum world_mode always[WORLD_KINDS];
	enum world_after after;
	int sleep_ms;
	enum world_monitor monitor;
	/* of containers started from now on */
	int term_ms, quit_ms, quit_wstatus;
	bool lost_status;
	int exec_wstatus;
	bool runtime_missing;

	uint64_t steps, stop_at;
	bool stopped;
	unsigned asked[WORLD_KINDS];
	void (*violated)(void *arg, const char *text);
	void *violated_arg;
	struct monitors *monitors; /* of the daemon that lives */
};

struct world_job {
	struct list link;
	struct world *world;
	enum world_kind kind;
	enum world_mode mode;
	char id[ID_SIZE];
	unsigned life;
	int lock; /* dup of the op lock; -1 */
	bool acted;
	struct err err; /* of acting */
	bool timed_out;
	int64_t timeout_ms;
	struct loop_timer timer;
	/* Do it. -1 and job->err: it failed. */
	void (*act)(struct world_job *job);
	/* Tell the daemon that asked; err NULL: well. */
	void (*tell)(struct world_job *job, const struct err *err);
	void (*release)(struct world_job *job); /* frees what surrounds it */
};

NODISCARD struct world *world_new(struct loop *loop, struct simdisk *disk, const char *root,
                                  const char *state);
void world_free(struct world *world);
/* The one that fakes reach which get no argument of ours. */
void world_use(struct world *world);
struct world *world_current(void);

void world_next(struct world *world, enum world_kind kind, enum world_mode mode);
void world_nth(struct world *world, enum world_kind kind, unsigned n, enum world_mode mode);
void world_stop_at(struct world *world, uint64_t n); /* steps from now; 0: never */
/* The daemon is dead: stopped here, or at its disk. */
bool world_is_stopped(const struct world *world);
void world_violation(struct world *world, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* @job is embedded, zeroed, and has kind, id, act, tell, release, timeout_ms. @oplock_fd is duplicated. */
void world_ask(struct world *world, struct world_job *job, int oplock_fd);
/* The daemon killed it, or does not want to hear from it any more. */
void world_job_cancel(struct world_job *job);

void world_daemon_starts(struct world *world);
void world_daemon_dies(struct world *world);
/* Power comes back: another boot; the state directory, pins, mounts, processes and jobs are gone. */
void world_reboot(struct world *world);
size_t world_jobs_old(const struct world *world); /* of earlier daemons */

struct world_container *world_container(struct world *world, const char *id); /* NULL: unknown */
struct world_container *world_container_add(struct world *world, const char *id);
void world_container_start(struct world_container *c);
void world_container_ends(struct world_container *c, int wstatus);
void world_container_kill(struct world_container *c, int signal);
void world_monitor_dies(struct world_container *c);
void world_container_drop(struct world_container *c);
/* A container that runs, as if a daemon had started it. */
struct world_container *world_container_running(struct world *world, const char *id);

void world_pin(struct world *world, const char *id, const char *name);
void world_unpin(struct world *world, const char *id);
bool world_is_pinned(const struct world *world, const char *id, const char *name);
bool world_is_mounted(const struct world *world, const char *target);
void world_mount(struct world *world, const char *target);
void world_detach(struct world *world, const char *prefix); /* at and below */
size_t world_addresses(const struct world *world, const char *id);

/* fake_run.c: what a connected monitor tells the daemon, in a later turn. */
struct monitors;
struct exit_record;
void fake_monitor_gone(struct monitors *monitors, const char *id);
void fake_monitor_record(struct monitors *monitors, const struct exit_record *rec);

/* A text that names everything that is there, one thing a line, "" when it is nothing: leaks. Heap. */
char *world_leftovers(const struct world *world);

#endif
