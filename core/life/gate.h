/* core/life/gate.h
 *
 * What a lifecycle step must pass, and who is owed what: the one interface between operations and NRI.
 *
 * The gate (nri, or gate_open()/gate_print()) carries single calls to single plugin connections; life's outbox owns chain
 * order, FIFOs, cursors and deadlines. Answers come back through the inbox (inbox.h), always from the loop, never from inside
 * the call.
 *
 *   requests       a chain in index order, may refuse or change: sandbox_run, sandbox_update, container_create (may edit the
 *                  spec), container_start, container_update
 *   notifications  one FIFO per plugin name: post_create, post_start, post_update, sandbox_post_update, and the owed ones:
 *                  exited, container_remove, sandbox_stop, sandbox_remove
 */
#ifndef CORACLE_CORE_LIFE_GATE_H
#define CORACLE_CORE_LIFE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/state/state.h"

enum gate_kind {
	GATE_INVALID,
	/* requests */
	GATE_SANDBOX_RUN,
	GATE_SANDBOX_UPDATE,
	GATE_CONTAINER_CREATE,
	GATE_CONTAINER_START,
	GATE_CONTAINER_UPDATE,
	/* notifications, not owed across an absence */
	GATE_POST_CREATE,
	GATE_POST_START,
	GATE_POST_UPDATE,
	GATE_SANDBOX_POST_UPDATE,
	/* notifications that are owed */
	GATE_EXITED,
	GATE_CONTAINER_REMOVE,
	GATE_SANDBOX_STOP,
	GATE_SANDBOX_REMOVE,
	GATE_KINDS,
};

static inline bool gate_is_request(enum gate_kind kind)
{
	return kind >= GATE_SANDBOX_RUN && kind <= GATE_CONTAINER_UPDATE;
}

static inline bool gate_is_owed(enum gate_kind kind)
{
	return kind >= GATE_EXITED && kind < GATE_KINDS;
}

const char *gate_kind_name(enum gate_kind kind); /* "exited" */

/* What a request may change on its way down the chain: the OCI spec (container_create) or resources (the update requests).
 * Owned by the operation; each plugin's answer is applied by the gate before the next plugin is called. */
struct gate_edit {
	char *spec_json;        /* heap; the gate replaces it */
	struct bytes resources; /* CRI LinuxContainerResources */
	pid_t pid;              /* container_start: the created init */
};

struct gate_call {
	uint64_t id; /* answers name it */
	enum gate_kind kind;
	char sandbox_id[ID_SIZE];   /* look it up in state: tombstones are found too */
	char container_id[ID_SIZE]; /* "" for pod calls */
	uint64_t seq;               /* owed notifications: what the ack moves the cursor to */
	struct gate_edit *edit;     /* requests that may change something, else NULL */
};

/* One object of a Synchronize: as which the plugin shall see it. */
struct gate_view {
	char id[ID_SIZE];
	bool is_sandbox;
	enum container_state
		as; /* containers: CREATED, RUNNING, or EXITED = CONTAINER_STOPPED with its exit code */
};

struct gate_snapshot {
	const struct gate_view *items; /* pods first; borrowed during the call */
	size_t count;
};

struct gate {
	void *arg;
	/* Requests may be passed: every pre-installed plugin has synchronised or been dropped. */
	bool (*ready)(void *arg);
	/* Carry Synchronize to a connection; inbox_answer() with the call id 0 when it answered. */
	void (*synchronize)(void *arg, uint32_t conn, const struct gate_snapshot *snapshot);
	/* Carry one call. May not answer synchronously. */
	void (*call)(void *arg, uint32_t conn, const struct gate_call *call);
	/* Nobody waits for this call any more: its edit is gone and must not be touched; the answer is still reported. */
	void (*forget)(void *arg, uint32_t conn, uint64_t call);
	/* Life is done with this connection (deadlines, protocol): close it. inbox_closed() follows. */
	void (*close)(void *arg, uint32_t conn, const char *why);
	/* A request that no plugin needs to see costs nothing: does this connection subscribe to the kind? */
	bool (*subscribed)(void *arg, uint32_t conn, enum gate_kind kind);
};

/* Lets everything pass: no plugin will ever connect. */
NODISCARD struct gate gate_open(void);

#endif
