/* tests/lib/fixture.h
 *
 * Life with everything around it replaced: journal and spool on a simulated disk, the node of fake_world.h, the plugins of
 * fake_gate.h, a virtual clock, seeded ids. One fixture sees many daemon lives.
 *
 * Objects are called by the names of their requests, "p1" and "c1". Everything settles when the test says so:
 *
 *	fixture_pod(f, "p1");
 *	fixture_container(f, "c1", CONTAINER_RUNNING);	// in the last pod
 *	world_container_ends(fixture_world(f, "c1"), 3 << 8);
 *	fixture_settle(f);
 *	assert_int_equal(fixture_state(f, "c1"), CONTAINER_EXITED);
 */
#ifndef CORACLE_TESTS_LIB_FIXTURE_H
#define CORACLE_TESTS_LIB_FIXTURE_H

#include <stdbool.h>

#include "core/base/err.h"
#include "core/config/config.h"
#include "core/journal/journal.h"
#include "core/life/life.h"
#include "core/life/replay.h"
#include "core/run/cgroup.h"
#include "tests/lib/fake_gate.h"
#include "tests/lib/fake_world.h"

#define FIXTURE_IMAGE "docker.io/test/image:1"

/* A client's call, as far as it came. */
struct fixture_call {
	struct list link;
	struct fixture *fixture;
	struct life_wait wait;
	const char *verb;
	char name[80];
	bool done, dropped; /* answered; its client went away, or its daemon */
	char id[80];
	struct err err;
};

struct fixture {
	char dir[64], root[96], state_dir[96];
	struct config config;
	struct cgroup_host
		cgroups; /* one hierarchy: directories in dir, without a kernel behind them */
	char cgroup_mount[96];
	struct loop *loop;
	struct worker *worker;
	struct simdisk *disk;
	struct world *world;
	struct fake_gate gate;
	uint64_t segment_bytes;
	bool inspect;        /* the next start only looks: as `recover` does */
	bool check_released; /* keep a second state, folded from what was released: I1 */

	/* one daemon life */
	struct state *state, *shadow;
	struct journal *journal;
	struct journal_report load;
	struct spool *spool;
	struct monitors *monitors;
	struct net *net;
	struct namespaces *namespaces;
	struct events *events;
	struct events_reader reader;
	struct inbox *inbox;
	struct life *life;
	struct replay_report report;
	bool recovered;   /* the last record of the recovery is released */
	struct map exits; /* container id: its EXITED was released in some life (I3) */

	char *spec; /* the last one built: the child that builds it need not free it */
	struct list calls;
	struct err err; /* of the last fixture_*() verb that failed */
	char last_pod[32];
	/* requests are made of these */
	bool pod_pid, host_network;
	const char *target;
	const char *variant; /* makes a request differ from one of the same name */

	void (*violated)(void *arg, const char *text); /* NULL: the test fails */
	void *violated_arg;
};

NODISCARD struct fixture *fixture_new(void);
void fixture_free(struct fixture *f);
/* cmocka */
int fixture_setup(void **arg);
int fixture_teardown(void **arg);

/* A daemon starts. False: it refused, or died on the way. */
bool fixture_start(struct fixture *f);
/* It dies: killed, or with its machine (then @outcome is what is left of the disk, owned by the fixture from here on). */
void fixture_kill(struct fixture *f);
void fixture_power_cut(struct fixture *f, struct simdisk *outcome);
void fixture_crash_and_reload(struct fixture *f);
bool fixture_is_dead(const struct fixture *f); /* stopped at a step */

/* Turns the loop until nothing is left to do now; time stands still. */
void fixture_settle(struct fixture *f);
void fixture_turn(struct fixture *f);
/* Time passes, everything due happens. */
void fixture_advance(struct fixture *f, int64_t ms);

/* Calls that run: */
struct fixture_call *fixture_ask_run(struct fixture *f, const char *pod);
struct fixture_call *fixture_ask_create(struct fixture *f, const char *pod, const char *container);
struct fixture_call *fixture_ask_start(struct fixture *f, const char *container);
struct fixture_call *fixture_ask_stop(struct fixture *f, const char *container, int64_t timeout_ms);
struct fixture_call *fixture_ask_remove(struct fixture *f, const char *container);
struct fixture_call *fixture_ask_stop_pod(struct fixture *f, const char *pod);
struct fixture_call *fixture_ask_remove_pod(struct fixture *f, const char *pod);
struct fixture_call *fixture_ask_update(struct fixture *f, const char *container);
struct fixture_call *fixture_ask_update_pod(struct fixture *f, const char *pod);
struct fixture_call *fixture_ask_pull(struct fixture *f, const char *name);
struct fixture_call *fixture_ask_remove_image(struct fixture *f, const char *name);
void fixture_forget(struct fixture_call *call); /* its client goes away */
/* Settle and see: true when it was answered well; f->err else. */
bool fixture_well(struct fixture *f, struct fixture_call *call);

/* Those the test needs to work: they fail it else. */
void fixture_image(struct fixture *f, const char *name);
void fixture_pod(struct fixture *f, const char *pod); /* READY */
void fixture_container(struct fixture *f, const char *container, enum container_state state);
void fixture_plugin_known(
	struct fixture *f,
	const char *name); /* connected once, and away again; the log is empty after */
void fixture_plugin(struct fixture *f,
                    const char *name); /* connected and synchronised; the log is empty after */

/* Look-ups by name, the latest of that name; tombstones too. */
const struct container *fixture_get(const struct fixture *f, const char *container);
const struct sandbox *fixture_get_pod(const struct fixture *f, const char *pod);
enum container_state fixture_state(const struct fixture *f,
                                   const char *container); /* INVALID: not there */
enum sandbox_state fixture_pod_state(const struct fixture *f, const char *pod);
bool fixture_cgroup(const struct fixture *f,
                    const char *container); /* make the container's cgroup */
struct world_container *fixture_world(const struct fixture *f, const char *container);
bool fixture_op_runs(const struct fixture *f, const char *name); /* "RunPodSandbox" */

/* Every invariant that can be judged when nothing moves: I1, I3, I8 to I11, and the plugins' promises. */
void fixture_check(struct fixture *f);
void fixture_violation(struct fixture *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
