/* cmd/engine.h
 *
 * Builds everything in the one legal order; each constructor needs the result of the one before, so no other order compiles.
 * The daemon and `coracle recover` share it: same code, other mode.
 */
#ifndef CORACLE_CMD_ENGINE_H
#define CORACLE_CMD_ENGINE_H

#include "cmd/offline.h"
#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/config/config.h"
#include "core/journal/journal.h"
#include "core/life/life.h"
#include "core/life/replay.h"
#include "core/loop/listener.h"

enum engine_mode {
	ENGINE_SERVE,   /* the daemon */
	ENGINE_INSPECT, /* recover: nothing is written, not even a time stamp */
	ENGINE_FIX,     /* recover --fix: the daemon's start without its sockets */
};

struct engine {
	enum engine_mode mode;
	enum home home;
	struct config *config;
	int root_lock, state_lock;
	struct loop *loop;
	struct worker *worker;
	struct listener *listener; /* bound, not accepting; SERVE only */
	struct cgroup_host *cgroups;
	struct state *state;
	struct journal *journal;
	struct journal_report load;
	struct spool *spool;
	struct events *events;
	struct inbox *inbox;
	struct runtime *runtime;
	struct net *net;
	struct namespaces *namespaces;
	struct monitors *monitors;
	int monitors_cgroup;
	char **pull_env;
	struct life *life;
	struct replay_report report;
};

struct engine_args {
	enum engine_mode mode;
	const struct config *
		config; /* ownership stays with the caller until engine_open() succeeded; then the engine's */
	struct spec_builder builder;
	bool truncate; /* recover --truncate; INSPECT always shows what that would leave, and the damage in load.damage */
	void (*recovered)(
		void *arg); /* the last record of the recovery is released: reads may be answered */
	void *arg;
};

/* Exit codes of the program (design D24). */
enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_LOCKED = 75,
	EXIT_CONFIG = 78
};

/*
 * engine_open - rows 1 to 8 of the start-up.
 * Returns: EXIT_OK, or the exit status with @err saying why; what was built is torn down again. FIX away from home is refused
 *          with EXIT_USAGE before a byte is written.
 */
NODISCARD enum exit_status engine_open(struct engine *engine, const struct engine_args *args,
                                       struct err *err);
/* The values in engine->config have changed (config_reload): tell those who keep copies. SERVE only. */
void engine_reconfigure(struct engine *engine);
void engine_close(struct engine *engine);

#endif
