#include "core/life/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mutant.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/state/record.pb.h"

#define CALL_TIMEOUT_MS 2000
#define SYNC_TIMEOUT_MS 10000
#define HOLD_MS         (24 * 3600 * INT64_C(1000))
#define LATE_MAX        3 /* deadlines in a row before a connection is closed */
#define RETRY_MS        1000

/* One call to one connection, queued or in flight. */
struct outbox_item {
	struct list link; /* in conn->fifo while queued */
	struct conn *conn;
	struct gate_call call;
	struct gate_request *req; /* requests: who waits for the answer; NULL: nobody any more */
	bool sent;
	bool answered;    /* owed: its ack waits for its release */
	uint64_t ack_seq; /* record of that ack; 0: the journal refused it, tried again */
};

enum conn_stage {
	CONN_SEEN,    /* PLUGIN_SEEN is appended: the cut is its release */
	CONN_SYNCING, /* the snapshot is out */
	CONN_READY,
};

struct conn {
	struct list link; /* outbox->conns, by name, then by age */
	struct outbox *outbox;
	uint32_t id;
	char name[128];
	bool required;
	int64_t call_ms, sync_ms;
	enum conn_stage stage;
	uint64_t seen_seq;
	struct list fifo;
	struct outbox_item *flight;
	int late; /* deadlines passed in a row */
	struct loop_timer timer;
};

struct outbox {
	struct loop *loop;
	const struct state *state;
	struct journal *journal;
	struct gate gate;
	int64_t call_ms, sync_ms, hold_ms;
	int64_t started_ns;
	struct list conns;
	struct list requests; /* struct gate_request that are not dropped */
	struct list waits;    /* struct outbox_wait */
	uint64_t next_call;
	int64_t absent_ns[PLUGIN_MAX]; /* wall clock of the last close in this life; 0: none */
	bool forgetting[PLUGIN_MAX];   /* FORGOTTEN or CAPPED is appended and not released */
	struct pb_arena *scratch;
};

static void conn_pump(struct conn *conn);
static void request_next(struct gate_request *req);
static void waits_check(struct outbox *outbox);

struct outbox *outbox_new(const struct outbox_args *args)
{
	struct outbox *outbox = xcalloc(1, sizeof(*outbox));

	outbox->loop = args->loop;
	outbox->state = args->state;
	outbox->journal = args->journal;
	outbox->gate = args->gate;
	outbox->call_ms = args->call_timeout_ms ? args->call_timeout_ms : CALL_TIMEOUT_MS;
	outbox->sync_ms = args->sync_timeout_ms ? args->sync_timeout_ms : SYNC_TIMEOUT_MS;
	outbox->hold_ms = args->hold_ms ? args->hold_ms : HOLD_MS;
	outbox->started_ns = clock_real_ns();
	outbox->next_call = 1;
	list_init(&outbox->conns);
	list_init(&outbox->requests);
	list_init(&outbox->waits);
	outbox->scratch = pb_arena_new(4 * RECORD_MAX_BYTES);
	return outbox;
}

/* --- items and connections */

static void item_free(struct outbox_item *item)
{
	if (item->req)
		item->req->item = NULL;
	free(item);
}

static void conn_free(struct conn *conn)
{
	loop_timer_disarm(conn->outbox->loop, &conn->timer);
	list_remove(&conn->link);
	while (!list_empty(&conn->fifo))
		item_free(list_entry(list_pop_front(&conn->fifo), struct outbox_item, link));
	if (conn->flight)
		item_free(conn->flight);
	free(conn);
}

void outbox_free(struct outbox *outbox)
{
	if (!outbox)
		return;
	while (!list_empty(&outbox->conns))
		conn_free(list_entry(outbox->conns.next, struct conn, link));
	pb_arena_free(outbox->scratch);
	free(outbox);
}

static struct conn *conn_find(struct outbox *outbox, uint32_t id)
{
	list_for_each(l, &outbox->conns)
		if (list_entry(l, struct conn, link)->id == id)
			return list_entry(l, struct conn, link);
	return NULL;
}

static bool is_connected(const struct outbox *outbox, const char *name)
{
	list_for_each(l, &outbox->conns)
		if (!strcmp(list_entry(l, struct conn, link)->name, name))
			return true;
	return false;
}

static void conn_close(struct conn *conn, const char *why)
{
	log_warn(&(struct log_ctx){ .plugin = conn->name }, "closed: %s", why);
	conn->outbox->gate.close(conn->outbox->gate.arg, conn->id, why);
}

/* --- what is owed: cursor and journal */

/* An ack that the journal refuses is tried again: the call stays in flight, nothing overtakes it. */
static void item_ack(struct outbox_item *item)
{
	struct conn *conn = item->conn;
	struct outbox *outbox = conn->outbox;
	const rec_PluginAcked msg = { .name = conn->name, .cursor = item->call.seq };
	struct err err = { 0 };

	item->answered = true;
	item->ack_seq =
		journal_append(outbox->journal, RECORD_PLUGIN_ACKED, RECORD_WRITTEN, &msg, &err);
	if (!item->ack_seq)
		loop_timer_arm_in(outbox->loop, &conn->timer, RETRY_MS);
}

static void flight_end(struct conn *conn)
{
	struct outbox_item *item = conn->flight;

	conn->flight = NULL;
	item_free(item);
	waits_check(conn->outbox);
	conn_pump(conn);
}

static void flight_answered(struct conn *conn, const struct inbox_msg *msg)
{
	struct outbox_item *item = conn->flight;
	struct gate_request *req = item->req;

	loop_timer_disarm(conn->outbox->loop, &conn->timer);
	conn->late = 0;
	if (req) {
		item->req = NULL;
		req->item = NULL;
		loop_timer_disarm(conn->outbox->loop, &req->timer);
		if (msg->refused) {
			req->err = msg->err;
			req->at = req->nconns;
		} else {
			req->at++;
		}
		request_next(req);
	}
	if (gate_is_owed(item->call.kind) && item->call.seq)
		item_ack(item);
	else
		flight_end(conn);
}

static void flight_late(struct conn *conn)
{
	struct outbox *outbox = conn->outbox;

	if (conn->flight->answered) { /* it was its ack that the journal refused */
		if (!conn->flight->ack_seq)
			item_ack(conn->flight);
		return;
	}
	log_warn(&(struct log_ctx){ .plugin = conn->name,
	                            .container = conn->flight->call.container_id,
	                            .sandbox = conn->flight->call.sandbox_id },
	         "%s not answered within %lld ms", gate_kind_name(conn->flight->call.kind),
	         (long long)conn->call_ms);
	if (++conn->late >= LATE_MAX) {
		conn_close(conn, "three deadlines in a row passed");
		return;
	}
	loop_timer_arm_in(outbox->loop, &conn->timer, conn->call_ms);
}

static void conn_timer(void *arg)
{
	struct conn *conn = arg;

	if (conn->stage == CONN_SYNCING)
		conn_close(conn, "Synchronize not answered in time");
	else if (conn->flight)
		flight_late(conn);
}

static void conn_pump(struct conn *conn)
{
	struct outbox *outbox = conn->outbox;

	while (conn->stage == CONN_READY && !conn->flight && !list_empty(&conn->fifo)) {
		struct outbox_item *item =
			list_entry(list_pop_front(&conn->fifo), struct outbox_item, link);

		conn->flight = item;
		if (!outbox->gate.subscribed(outbox->gate.arg, conn->id, item->call.kind) &&
		    !gate_is_request(item->call.kind)) {
			/* what it did not subscribe to counts as acknowledged */
			if (gate_is_owed(item->call.kind) && item->call.seq) {
				item_ack(item);
				return;
			}
			conn->flight = NULL;
			item_free(item);
			continue;
		}
		if (MUTANT(ack_before_call) && gate_is_owed(item->call.kind))
			item_ack(item);
		item->sent = true;
		if (item->req) {
			int slot = plugin_slot(outbox->state, conn->name);

			if (slot >= 0)
				item->req->seen_mask |= UINT64_C(1) << slot;
		}
		loop_timer_arm_in(outbox->loop, &conn->timer, conn->call_ms);
		outbox->gate.call(outbox->gate.arg, conn->id, &item->call);
	}
}

static struct outbox_item *item_new(struct conn *conn, enum gate_kind kind, const char *sandbox_id,
                                    const char *container_id)
{
	struct outbox_item *item = xcalloc(1, sizeof(*item));

	list_init(&item->link);
	item->conn = conn;
	item->call.id = conn->outbox->next_call++;
	item->call.kind = kind;
	ensure(str_copy(item->call.sandbox_id, ID_SIZE, sandbox_id) == 0);
	ensure(str_copy(item->call.container_id, ID_SIZE, or_empty(container_id)) == 0);
	return item;
}

static void push(struct conn *conn, enum gate_kind kind, const char *sandbox_id,
                 const char *container_id, uint64_t seq)
{
	struct outbox_item *item = item_new(conn, kind, sandbox_id, container_id);

	item->call.seq = seq;
	list_push_back(&conn->fifo, &item->link);
	conn_pump(conn);
}

/* Is this object's stop in view of that connection's name? A 65th name has no slot: told, but owed nothing. */
static bool is_told(const struct outbox *outbox, const struct conn *conn, const struct notified *n,
                    int *ret_slot)
{
	*ret_slot = plugin_slot(outbox->state, conn->name);
	if (*ret_slot < 0)
		return true;
	return (n->mask >> *ret_slot & 1) && n->stop_seq > outbox->state->plugins[*ret_slot].since;
}

static void push_owed(struct outbox *outbox, enum gate_kind kind, const struct notified *n,
                      const char *sandbox_id, const char *container_id, uint64_t seq)
{
	list_for_each_safe(l, &outbox->conns) {
		struct conn *conn = list_entry(l, struct conn, link);
		int slot;

		if (conn->stage >= CONN_SYNCING && is_told(outbox, conn, n, &slot))
			push(conn, kind, sandbox_id, container_id, slot < 0 ? 0 : seq);
	}
}

/* Its end is on record: no plugin hears of anything else after that. */
static bool is_over(const struct outbox *outbox, const char *sandbox_id, const char *container_id)
{
	const struct container *c = container_get(outbox->state, container_id);
	const struct sandbox *sb = sandbox_get(outbox->state, sandbox_id);

	return container_id[0] ? !c || c->notified.stop_seq : !sb || sb->notified.stop_seq;
}

void outbox_notify(struct outbox *outbox, enum gate_kind kind, const char *sandbox_id,
                   const char *container_id)
{
	if (is_over(outbox, sandbox_id, container_id))
		return;
	list_for_each_safe(l, &outbox->conns) {
		struct conn *conn = list_entry(l, struct conn, link);

		if (conn->stage >= CONN_SYNCING)
			push(conn, kind, sandbox_id, container_id, 0);
	}
}

/* --- registration: the cut */

struct snapshot {
	struct gate_view *items;
	size_t count, cap;
};

static void view_add(struct snapshot *snap, const char *id, bool is_sandbox,
                     enum container_state as)
{
	if (snap->count == snap->cap) {
		snap->cap = snap->cap ? 2 * snap->cap : 64;
		snap->items = xrealloc(snap->items, snap->cap, sizeof(*snap->items));
	}
	snap->items[snap->count] = (struct gate_view){ .is_sandbox = is_sandbox, .as = as };
	memcpy(snap->items[snap->count].id, id, ID_SIZE);
	snap->count++;
}

static bool owes_stop(const struct owed *owed, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if ((owed[i].kind == OWED_CONTAINER_STOP || owed[i].kind == OWED_SANDBOX_STOP) &&
		    !strcmp(owed[i].id, id))
			return true;
	return false;
}

/*
 * An object that is being made: shown as created once its chain has its members, and then owed Stop and Remove if it fails. One
 * found half-made by this start has no request: whoever is known may have been called, so it is shown.
 */
static bool making_is_shown(struct outbox *outbox, const char *id, bool is_sandbox, int slot)
{
	list_for_each(l, &outbox->requests) {
		struct gate_request *req = list_entry(l, struct gate_request, link);

		if (req->kind != (is_sandbox ? GATE_SANDBOX_RUN : GATE_CONTAINER_CREATE) ||
		    !streq(is_sandbox ? req->sandbox_id : req->container_id, id))
			continue;
		if (!req->taken)
			return false;
		if (req->sealed)
			return slot >= 0 && (req->seen_mask >> slot & 1);
		if (slot >= 0)
			req->seen_mask |= UINT64_C(1) << slot;
		return true;
	}
	return true;
}

static void view_sandboxes(struct outbox *outbox, struct snapshot *snap, const struct owed *owed,
                           size_t n, int slot)
{
	list_for_each(l, &outbox->state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);
		bool shown = sb->notified.stop_seq ? owes_stop(owed, n, sb->id)
		             : sb->state == SANDBOX_CREATING
		                     ? making_is_shown(outbox, sb->id, true, slot)
		                     : sb->state == SANDBOX_READY || sb->state == SANDBOX_NOTREADY;

		if (shown)
			view_add(snap, sb->id, true, CONTAINER_INVALID);
	}
	/* a tombstone is shown when it, or a container of it, is owed its stop */
	list_for_each(l, &outbox->state->dead_sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (owes_stop(owed, n, sb->id))
			view_add(snap, sb->id, true, CONTAINER_INVALID);
	}
}

static void view_container(struct outbox *outbox, struct snapshot *snap, const struct container *c,
                           const struct owed *owed, size_t n, int slot)
{
	if (c->hidden)
		return;
	if (c->notified.stop_seq) {
		if (owes_stop(owed, n, c->id))
			view_add(snap, c->id, false, CONTAINER_EXITED);
		return;
	}
	switch (c->state) {
	case CONTAINER_CREATING:
		if (making_is_shown(outbox, c->id, false, slot))
			view_add(snap, c->id, false, CONTAINER_CREATED);
		break;
	case CONTAINER_CREATED:
	case CONTAINER_STARTING:
		view_add(snap, c->id, false, CONTAINER_CREATED);
		break;
	case CONTAINER_RUNNING:
		view_add(snap, c->id, false, CONTAINER_RUNNING);
		break;
	case CONTAINER_EXITED:
	case CONTAINER_REMOVING:
	case CONTAINER_GONE:
	case CONTAINER_INVALID:
	case CONTAINER_STATES:
		break;
	}
}

static enum gate_kind owed_call(enum owed_kind kind)
{
	switch (kind) {
	case OWED_CONTAINER_STOP:
		return GATE_EXITED;
	case OWED_CONTAINER_REMOVE:
		return GATE_CONTAINER_REMOVE;
	case OWED_SANDBOX_STOP:
		return GATE_SANDBOX_STOP;
	case OWED_SANDBOX_REMOVE:
		return GATE_SANDBOX_REMOVE;
	}
	return GATE_INVALID;
}

static void fifo_from_cursor(struct conn *conn, const struct owed *owed, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool pod = owed[i].kind == OWED_SANDBOX_STOP || owed[i].kind == OWED_SANDBOX_REMOVE;
		const struct container *c =
			pod ? NULL : container_get(conn->outbox->state, owed[i].id);

		push(conn, owed_call(owed[i].kind), pod ? owed[i].id : c->sandbox_id,
		     pod ? "" : owed[i].id, owed[i].seq);
	}
}

static void conn_cut(struct conn *conn)
{
	struct outbox *outbox = conn->outbox;
	int slot = plugin_slot(outbox->state, conn->name);
	struct owed *owed = NULL;
	size_t n = slot < 0 ? 0 : state_owed(outbox->state, slot, &owed);
	struct snapshot snap = { 0 };

	view_sandboxes(outbox, &snap, owed, n, slot);
	list_for_each(l, &outbox->state->containers)
		view_container(outbox, &snap, list_entry(l, struct container, link), owed, n, slot);
	list_for_each(l, &outbox->state->dead_containers)
		view_container(outbox, &snap, list_entry(l, struct container, link), owed, n, slot);
	conn->stage = CONN_SYNCING;
	fifo_from_cursor(conn, owed, n);
	loop_timer_arm_in(outbox->loop, &conn->timer, conn->sync_ms);
	outbox->gate.synchronize(outbox->gate.arg, conn->id,
	                         &(struct gate_snapshot){ snap.items, snap.count });
	free(snap.items);
	free(owed);
}

/* --- names that stay away */

static int64_t absent_since(const struct outbox *outbox, int slot)
{
	/* while the daemon was down nobody could connect: that does not count */
	int64_t since = MAX(outbox->state->plugins[slot].last_seen_ns, outbox->started_ns);

	return MAX(since, outbox->absent_ns[slot]);
}

static bool is_absent(const struct outbox *outbox, int slot)
{
	const struct plugin *p = &outbox->state->plugins[slot];

	return p->name && !outbox->forgetting[slot] && !is_connected(outbox, p->name);
}

static void forget(struct outbox *outbox, int slot, const char *why)
{
	const char *name = outbox->state->plugins[slot].name;
	const rec_Plugin msg = { .name = (char *)name };
	struct err err = { 0 };

	if (!journal_append(outbox->journal, RECORD_PLUGIN_FORGOTTEN, RECORD_WRITTEN, &msg, &err))
		return; /* the next occasion tries again */
	outbox->forgetting[slot] = true;
	log_warn(&(struct log_ctx){ .plugin = name }, "forgotten, what it is owed is dropped: %s",
	         why);
}

static void cap(struct outbox *outbox, int slot)
{
	const char *name = outbox->state->plugins[slot].name;
	struct owed *owed;
	size_t n = state_owed(outbox->state, slot, &owed);
	rec_PluginAcked msg = { .name = (char *)name };
	struct err err = { 0 };

	if (n > PLUGIN_OWED_MAX) {
		msg.cursor = owed[n - PLUGIN_OWED_MAX - 1].seq;
		if (journal_append(outbox->journal, RECORD_PLUGIN_CAPPED, RECORD_WRITTEN, &msg,
		                   &err)) {
			outbox->forgetting[slot] = true;
			log_warn(&(struct log_ctx){ .plugin = name },
			         "owed more than %d notifications: the oldest %zu dropped",
			         PLUGIN_OWED_MAX, n - PLUGIN_OWED_MAX);
		}
	}
	free(owed);
}

void outbox_expire(struct outbox *outbox)
{
	int64_t now = clock_real_ns();

	for (int slot = 0; slot < PLUGIN_MAX; slot++) {
		if (!is_absent(outbox, slot))
			continue;
		if (!outbox->state->plugins[slot].preinstalled &&
		    now - absent_since(outbox, slot) > outbox->hold_ms * NS_PER_MS)
			forget(outbox, slot, "absent for longer than [nri] hold");
		else
			cap(outbox, slot);
	}
}

/* Room for one more name: the one that is away the longest goes. */
static void make_room(struct outbox *outbox)
{
	int oldest = -1;

	if (plugin_count(outbox->state) < PLUGIN_MAX)
		return;
	for (int slot = 0; slot < PLUGIN_MAX; slot++)
		if (is_absent(outbox, slot) && !outbox->state->plugins[slot].preinstalled &&
		    (oldest < 0 || absent_since(outbox, slot) < absent_since(outbox, oldest)))
			oldest = slot;
	if (oldest >= 0)
		forget(outbox, oldest, "64 names are known and another one registered");
}

/* --- messages */

static void conn_connected(struct outbox *outbox, const struct inbox_msg *msg)
{
	bool is_new = plugin_slot(outbox->state, msg->name) < 0;
	rec_Plugin seen = { .name = (char *)msg->name, .preinstalled = msg->preinstalled };
	struct conn *conn = xcalloc(1, sizeof(*conn));
	struct list *before;
	struct err err = { 0 };

	conn->outbox = outbox;
	conn->id = msg->conn;
	ensure(str_copy(conn->name, sizeof(conn->name), msg->name) == 0);
	conn->required = msg->required;
	conn->call_ms = msg->call_timeout_ms ? msg->call_timeout_ms : outbox->call_ms;
	conn->sync_ms = msg->sync_timeout_ms ? msg->sync_timeout_ms : outbox->sync_ms;
	list_init(&conn->fifo);
	loop_timer_init(&conn->timer, conn_timer, conn, "plugin deadline");
	/* index order: names begin with their two-digit index */
	for (before = outbox->conns.prev; before != &outbox->conns; before = before->prev)
		if (strcmp(list_entry(before, struct conn, link)->name, conn->name) <= 0)
			break;
	list_insert_after(before, &conn->link);
	if (is_new)
		make_room(outbox);
	conn->seen_seq = journal_append(outbox->journal, RECORD_PLUGIN_SEEN,
	                                is_new ? RECORD_SYNCED : RECORD_WRITTEN, &seen, &err);
	if (!conn->seen_seq)
		conn_close(
			conn,
			err.msg); /* it comes back; without a cursor nothing could be promised to it */
}

static void conn_answered(struct outbox *outbox, const struct inbox_msg *msg)
{
	struct conn *conn = conn_find(outbox, msg->conn);

	if (!conn)
		return;
	if (!msg->call) {
		if (conn->stage != CONN_SYNCING)
			return;
		loop_timer_disarm(outbox->loop, &conn->timer);
		if (msg->refused) {
			conn_close(conn, msg->err.msg);
			return;
		}
		conn->stage = CONN_READY;
		conn_pump(conn);
		return;
	}
	if (conn->flight && conn->flight->call.id == msg->call && !conn->flight->answered)
		flight_answered(conn, msg);
}

static void conn_closed(struct outbox *outbox, const struct inbox_msg *msg)
{
	struct conn *conn = conn_find(outbox, msg->conn);
	uint32_t id = msg->conn;
	bool required;
	char name[sizeof(conn->name)];
	int slot;

	if (!conn)
		return;
	slot = plugin_slot(outbox->state, conn->name);
	if (slot >= 0)
		outbox->absent_ns[slot] = clock_real_ns();
	required = conn->required;
	memcpy(name, conn->name, sizeof(name));
	conn_free(conn);
	list_for_each(l, &outbox->requests) {
		struct gate_request *req = list_entry(l, struct gate_request, link);

		if (req->finished || req->at >= req->nconns || req->conns[req->at] != id)
			continue;
		loop_timer_disarm(outbox->loop, &req->timer);
		if (required)
			err_set(&req->err, CODE_UNAVAILABLE, "required plugin %s went away", name);
		req->at = required ? req->nconns : req->at + 1;
		request_next(req);
	}
	waits_check(outbox);
	outbox_expire(outbox);
}

void outbox_message(struct outbox *outbox, const struct inbox_msg *msg)
{
	if (msg->kind == INBOX_CONNECTED)
		conn_connected(outbox, msg);
	else if (msg->kind == INBOX_ANSWER)
		conn_answered(outbox, msg);
	else if (msg->kind == INBOX_CLOSED)
		conn_closed(outbox, msg);
}

/* --- release */

static const char *record_ref(struct outbox *outbox, const struct record *rec)
{
	rec_Ref ref = { 0 };
	struct err err = { 0 };

	pb_arena_reset(outbox->scratch);
	if (pb_decode_msg(outbox->scratch, rec_Ref_fields, &ref, rec->payload, rec->len, "record",
	                  &err) < 0)
		return NULL;
	return ref.id;
}

static void released_object(struct outbox *outbox, const struct record *rec)
{
	bool pod = rec->kind == RECORD_SANDBOX_STOPPING || rec->kind == RECORD_SANDBOX_REMOVING ||
	           rec->kind == RECORD_SANDBOX_REMOVED;
	bool removed = rec->kind == RECORD_SANDBOX_REMOVED || rec->kind == RECORD_CONTAINER_REMOVED;
	const char *id;
	const struct sandbox *sb;
	const struct container *c;
	const struct notified *n;

	if (list_empty(&outbox->conns) && !plugin_count(outbox->state))
		return;
	id = record_ref(outbox, rec);
	sb = pod ? sandbox_get(outbox->state, id) : NULL;
	c = pod ? NULL : container_get(outbox->state, id);
	if ((pod && !sb) || (!pod && (!c || c->hidden)))
		return; /* nobody is owed it: it is gone already */
	n = pod ? &sb->notified : &c->notified;
	/* a second STOPPING, or a REMOVING that is no undo, owes nothing new */
	if (rec->seq != (removed ? n->remove_seq : n->stop_seq))
		return;
	if (pod)
		push_owed(outbox, removed ? GATE_SANDBOX_REMOVE : GATE_SANDBOX_STOP, n, sb->id, "",
		          rec->seq);
	else
		push_owed(outbox, removed ? GATE_CONTAINER_REMOVE : GATE_EXITED, n, c->sandbox_id,
		          c->id, rec->seq);
	outbox_expire(outbox);
}

static void released_seen(struct outbox *outbox, uint64_t seq)
{
	list_for_each_safe(l, &outbox->conns) {
		struct conn *conn = list_entry(l, struct conn, link);

		if (conn->stage == CONN_SEEN && conn->seen_seq == seq)
			conn_cut(conn);
	}
}

static void released_ack(struct outbox *outbox, uint64_t seq)
{
	list_for_each_safe(l, &outbox->conns) {
		struct conn *conn = list_entry(l, struct conn, link);

		if (conn->flight && conn->flight->answered && conn->flight->ack_seq == seq)
			flight_end(conn);
	}
}

void outbox_released(struct outbox *outbox, const struct record *rec)
{
	switch (rec->kind) {
	case RECORD_PLUGIN_SEEN:
		released_seen(outbox, rec->seq);
		break;
	case RECORD_PLUGIN_ACKED:
		released_ack(outbox, rec->seq);
		break;
	case RECORD_PLUGIN_FORGOTTEN:
	case RECORD_PLUGIN_CAPPED:
		memset(outbox->forgetting, 0, sizeof(outbox->forgetting));
		break;
	case RECORD_CONTAINER_EXITED:
	case RECORD_CONTAINER_REMOVING:
	case RECORD_CONTAINER_REMOVED:
	case RECORD_SANDBOX_STOPPING:
	case RECORD_SANDBOX_REMOVING:
	case RECORD_SANDBOX_REMOVED:
		released_object(outbox, rec);
		break;
	default:
		break;
	}
}

/* --- requests: a chain over the connections that exist when it starts */

static void request_finish(void *arg)
{
	struct gate_request *req = arg;

	if (req->finished)
		return;
	req->finished = true;
	req->done(req, req->err.code == CODE_OK ? NULL : &req->err);
}

/* Its member did not answer in time. A call that is out stays in flight; one that is not goes without us: a create or run is
 * still told in its turn, since what follows would make no sense without it. */
static void request_late(void *arg)
{
	struct gate_request *req = arg;
	struct outbox_item *item = req->item;
	struct conn *conn = conn_find(req->outbox, req->conns[req->at]);

	if (item) {
		req->item = NULL;
		item->req = NULL;
		if (item->sent)
			req->outbox->gate.forget(req->outbox->gate.arg, conn->id, item->call.id);
		item->call.edit = NULL;
		if (!item->sent &&
		    (req->kind == GATE_SANDBOX_RUN || req->kind == GATE_CONTAINER_CREATE)) {
			int slot = plugin_slot(req->outbox->state, conn->name);

			if (slot >= 0)
				req->seen_mask |= UINT64_C(1) << slot;
		} else if (!item->sent) {
			list_remove(&item->link);
			item_free(item);
		}
	}
	if (conn && conn->required) {
		err_set(&req->err, CODE_DEADLINE_EXCEEDED,
		        "required plugin %s did not answer %s within %lld ms", conn->name,
		        gate_kind_name(req->kind), (long long)conn->call_ms);
		req->at = req->nconns;
	} else {
		req->at++;
	}
	request_next(req);
}

/* Behind its own pod's notifications, before those of others. */
static void request_queue(struct conn *conn, struct gate_request *req)
{
	struct outbox_item *item = item_new(conn, req->kind, req->sandbox_id, req->container_id);
	struct list *after = &conn->fifo;

	list_for_each(l, &conn->fifo)
		if (!strcmp(list_entry(l, struct outbox_item, link)->call.sandbox_id,
		            req->sandbox_id) ||
		    list_entry(l, struct outbox_item, link)->req)
			after = l;
	item->call.edit = req->edit;
	item->req = req;
	req->item = item;
	list_insert_after(after, &item->link);
	/* a plugin that still synchronises is waited for: answered or dropped within its own deadline */
	loop_timer_arm_in(conn->outbox->loop, &req->timer,
	                  conn->call_ms + (conn->stage == CONN_READY ? 0 : conn->sync_ms));
	conn_pump(conn);
}

static void request_next(struct gate_request *req)
{
	struct outbox *outbox = req->outbox;
	bool is_update = req->kind == GATE_CONTAINER_UPDATE || req->kind == GATE_SANDBOX_UPDATE;

	if (is_update && is_over(outbox, req->sandbox_id, req->container_id))
		req->at = req->nconns; /* passed: the operation will see for itself */
	for (; req->at < req->nconns; req->at++) {
		struct conn *conn = conn_find(outbox, req->conns[req->at]);

		if (conn && outbox->gate.subscribed(outbox->gate.arg, conn->id, req->kind)) {
			request_queue(conn, req);
			return;
		}
	}
	loop_defer_queue(outbox->loop, &req->defer);
}

void outbox_request_announce(struct outbox *outbox, struct gate_request *req, enum gate_kind kind,
                             const char *sandbox_id, const char *container_id)
{
	req->outbox = outbox;
	req->kind = kind;
	ensure(str_copy(req->sandbox_id, ID_SIZE, sandbox_id) == 0);
	ensure(str_copy(req->container_id, ID_SIZE, or_empty(container_id)) == 0);
	loop_timer_init(&req->timer, request_late, req, "plugin request");
	loop_defer_init(&req->defer, request_finish, req);
	list_push_back(&outbox->requests, &req->link);
}

void outbox_request(struct outbox *outbox, struct gate_request *req)
{
	if (!req->outbox)
		outbox_request_announce(outbox, req, req->kind, req->sandbox_id, req->container_id);
	req->at = req->nconns = 0;
	req->item = NULL;
	req->finished = false;
	err_clear(&req->err);
	list_for_each(l, &outbox->conns) {
		const struct conn *conn = list_entry(l, struct conn, link);

		if (conn->stage >= CONN_SYNCING && req->nconns < ARRAY_SIZE(req->conns))
			req->conns[req->nconns++] = conn->id;
	}
	req->taken = true;
	request_next(req);
}

void outbox_request_drop(struct outbox *outbox, struct gate_request *req)
{
	if (!req->outbox)
		return;
	loop_timer_disarm(outbox->loop, &req->timer);
	loop_defer_cancel(&req->defer);
	list_remove(&req->link);
	if (req->item) {
		if (req->item->sent) {
			struct conn *conn = req->item->conn;

			outbox->gate.forget(outbox->gate.arg, conn->id, req->item->call.id);
		}
		req->item->call.edit = NULL;
		req->item->req = NULL;
	}
	req->outbox = NULL;
}

/* --- who waits for a notification to be heard */

static bool is_pending(const struct outbox *outbox, uint64_t seq)
{
	list_for_each(l, &outbox->conns) {
		const struct conn *conn = list_entry(l, struct conn, link);

		if (conn->flight && !conn->flight->answered && conn->flight->call.seq == seq)
			return true;
		list_for_each(k, &conn->fifo)
			if (list_entry(k, struct outbox_item, link)->call.seq == seq)
				return true;
	}
	return false;
}

static void wait_done(void *arg)
{
	struct outbox_wait *wait = arg;

	loop_timer_disarm(wait->outbox->loop, &wait->timer);
	list_remove(&wait->link);
	wait->outbox = NULL;
	wait->done(wait->arg);
}

static void waits_check(struct outbox *outbox)
{
	list_for_each(l, &outbox->waits) {
		struct outbox_wait *wait = list_entry(l, struct outbox_wait, link);

		if (!is_pending(outbox, wait->seq))
			loop_defer_queue(outbox->loop, &wait->defer);
	}
}

void outbox_wait_heard(struct outbox *outbox, struct outbox_wait *wait, uint64_t seq)
{
	wait->outbox = outbox;
	wait->seq = seq;
	loop_timer_init(&wait->timer, wait_done, wait, "plugins hear of a stop");
	loop_defer_init(&wait->defer, wait_done, wait);
	list_push_back(&outbox->waits, &wait->link);
	loop_timer_arm_in(outbox->loop, &wait->timer, outbox->call_ms);
	waits_check(outbox);
}

void outbox_wait_drop(struct outbox *outbox, struct outbox_wait *wait)
{
	if (!wait->outbox)
		return;
	loop_timer_disarm(outbox->loop, &wait->timer);
	loop_defer_cancel(&wait->defer);
	list_remove(&wait->link);
	wait->outbox = NULL;
}

/* --- dump */

yyjson_mut_val *outbox_dump(const struct outbox *outbox, yyjson_mut_doc *doc)
{
	static const char *const stages[] = { "seen", "synchronising", "ready" };
	yyjson_mut_val *arr = yyjson_mut_arr(doc);

	list_for_each(l, &outbox->conns) {
		const struct conn *conn = list_entry(l, struct conn, link);
		yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);
		size_t queued = 0;

		list_for_each(k, &conn->fifo)
			queued++;
		yyjson_mut_obj_add_strcpy(doc, obj, "plugin", conn->name);
		yyjson_mut_obj_add_str(doc, obj, "stage", stages[conn->stage]);
		yyjson_mut_obj_add_uint(doc, obj, "queued", queued);
		if (conn->flight)
			yyjson_mut_obj_add_str(doc, obj, "in_flight",
			                       gate_kind_name(conn->flight->call.kind));
		yyjson_mut_obj_add_int(doc, obj, "late", conn->late);
	}
	return arr;
}
