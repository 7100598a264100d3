/* core/life/outbox.h
 *
 * Who has heard what. Per plugin connection: a FIFO with one call in flight; per plugin name: a durable cursor over the journal.
 * The rules are those of tests/model/owed_model.py; in short:
 *
 *  - a registration appends PLUGIN_SEEN; on its release the Synchronize snapshot is taken and the FIFO begins at the cursor
 *  - an owed notification is queued on the release of its record; the next call leaves when the ack of the one before is released
 *  - a call past its deadline stays the one in flight; waiters go on; three in a row close the connection
 *  - requests run a chain over the connections that exist when it starts; each waits for its own pod's notifications in that
 *    plugin's FIFO, at most its deadline in all
 *  - two connections under one name: both are called, an answer from either moves the cursor
 *  - names absent for longer than the hold, or beyond the caps, are forgotten with one log line
 */
#ifndef CORACLE_CORE_LIFE_OUTBOX_H
#define CORACLE_CORE_LIFE_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/journal/journal.h"
#include "core/life/gate.h"
#include "core/life/inbox.h"
#include "core/loop/loop.h"
#include "core/state/state.h"

struct outbox;

struct outbox_args {
	struct loop *loop;
	const struct state *state;
	struct journal *journal;
	struct gate gate;
	int64_t call_timeout_ms; /* default 2000 */
	int64_t sync_timeout_ms; /* default 10000 */
	int64_t hold_ms;         /* external names; default 24 h */
};

NODISCARD struct outbox *outbox_new(const struct outbox_args *args);
void outbox_free(struct outbox *outbox);

/* Life hands over what the inbox brings (CONNECTED, ANSWER, CLOSED). */
void outbox_message(struct outbox *outbox, const struct inbox_msg *msg);
/* Life calls this for each released record, right after state_apply and before events and replies: queues what it owes,
 * resumes FIFOs behind acks, takes Synchronize snapshots. */
void outbox_released(struct outbox *outbox, const struct record *rec);
/* Not owed, told to whoever is connected: post_create, post_start, post_update. */
void outbox_notify(struct outbox *outbox, enum gate_kind kind, const char *sandbox_id,
                   const char *container_id);

/* --- requests: a chain. One per operation and step; embedded in the operation. */
struct gate_request {
	struct list link;
	enum gate_kind kind;
	char sandbox_id[ID_SIZE], container_id[ID_SIZE];
	struct gate_edit *edit;
	/* Passed (err NULL) or refused. Called from the loop, never from inside outbox_request(). */
	void (*done)(struct gate_request *req, const struct err *err);
	void *arg;
	/* which names have seen it, for the undo's mask; also names that synchronised while it was in flight */
	uint64_t seen_mask;
	/* set by the operation once it appended REMOVING: who registers from now on is not told of the object any more */
	bool sealed;
	/* private */
	struct outbox *outbox;
	uint32_t conns[PLUGIN_MAX]; /* the chain, in index order */
	uint32_t nconns, at;
	struct outbox_item *item; /* at the current member */
	struct loop_timer timer;
	struct loop_defer defer;
	struct err err;
	bool taken; /* the chain has its members */
	bool finished;
};
/* At the start of an operation that makes an object: its kind and ids. Until its chain runs, a new plugin is not shown the
 * object: it will be a member of the chain. (An object that is being made and was never announced was found by this start.) */
void outbox_request_announce(struct outbox *outbox, struct gate_request *req, enum gate_kind kind,
                             const char *sandbox_id, const char *container_id);
/* kind, ids, edit, done and arg are set. */
void outbox_request(struct outbox *outbox, struct gate_request *req);
/* The operation ends: the object is on record, or gone. Until then a new plugin's Synchronize lists it. Safe on a zeroed one. */
void outbox_request_drop(struct outbox *outbox, struct gate_request *req);
/*
 * sandbox_stop is the one notification that an operation waits for: connected plugins only, at most their deadline.
 * @done is called once, from the loop.
 */
struct outbox_wait {
	struct list link;
	struct outbox *outbox;
	uint64_t seq;
	void (*done)(void *arg);
	void *arg;
	struct loop_timer timer;
	struct loop_defer defer;
};
void outbox_wait_heard(struct outbox *outbox, struct outbox_wait *wait, uint64_t seq);
void outbox_wait_drop(struct outbox *outbox, struct outbox_wait *wait);

/* After replay: names that are past their hold or over the caps are forgotten. */
void outbox_expire(struct outbox *outbox);
/* For ctl dump and recover: names, cursors, what is owed, connections, calls in flight. */
NODISCARD yyjson_mut_val *outbox_dump(const struct outbox *outbox, yyjson_mut_doc *doc);

#endif
