#include "tests/lib/fake_gate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"

struct fake_call {
	struct list link;
	uint64_t id; /* 0: Synchronize */
	enum gate_kind kind;
	struct gate_edit *edit;
};

/* How much of an object's life a plugin has heard. */
enum {
	HEARD_NOTHING,
	HEARD_CREATE,
	HEARD_POST_CREATE,
	HEARD_START,
	HEARD_POST_START,
	HEARD_STOP,
	HEARD_REMOVE
};

static void violated(const struct fake_gate *gate, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void violated(const struct fake_gate *gate, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (gate->violated)
		gate->violated(gate->arg, text);
	else
		bug_report(text, __FILE__, __LINE__, __func__);
}

static struct fake_conn *conn_find(struct fake_gate *gate, uint32_t id)
{
	list_for_each(l, &gate->conns)
		if (list_entry(l, struct fake_conn, link)->id == id)
			return list_entry(l, struct fake_conn, link);
	return NULL;
}

static bool is_dead(const struct fake_gate *gate)
{
	return gate->is_dead && gate->is_dead(gate->arg);
}

static void add_log(struct fake_gate *gate, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add_log(struct fake_gate *gate, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ensure(buf_vprintf(&gate->text, fmt, ap) == 0);
	va_end(ap);
	gate->log = gate->text.data;
}

void fake_gate_clear(struct fake_gate *gate)
{
	buf_clear(&gate->text);
	gate->log = "";
}

static const char *object_name(const struct fake_gate *gate, const char *id)
{
	const struct container *c = container_get(gate->state, id);
	const struct sandbox *sb = sandbox_get(gate->state, id);

	return c ? c->name : sb ? sb->name : "(unknown)";
}

/* --- what a plugin has heard */

static unsigned heard(const struct fake_plugin *p, const char *id)
{
	return (unsigned)(uintptr_t)map_find(&p->heard, id);
}

static void hears(struct fake_gate *gate, struct fake_plugin *p, const char *id, unsigned level)
{
	unsigned before = heard(p, id);

	/* updates come at any time in between; a pod has no start of its own */
	if (level > before) {
		map_set(&p->heard, id, (void *)(uintptr_t)level);
		return;
	}
	if (level == before && level >= HEARD_STOP && (p->may_repeat || p->may_repeat_any)) {
		p->may_repeat -= !p->may_repeat_any;
		return;
	}
	if (p->may_repeat_any && level >= HEARD_STOP)
		return;
	violated(gate, "I6: %s hears level %u of %s after level %u\n%s", p->name, level,
	         object_name(gate, id), before, gate->log);
}

static unsigned level_of(enum gate_kind kind)
{
	switch (kind) {
	case GATE_SANDBOX_RUN:
	case GATE_CONTAINER_CREATE:
		return HEARD_CREATE;
	case GATE_POST_CREATE:
		return HEARD_POST_CREATE;
	case GATE_CONTAINER_START:
		return HEARD_START;
	case GATE_POST_START:
		return HEARD_POST_START;
	case GATE_EXITED:
	case GATE_SANDBOX_STOP:
		return HEARD_STOP;
	case GATE_CONTAINER_REMOVE:
	case GATE_SANDBOX_REMOVE:
		return HEARD_REMOVE;
	case GATE_SANDBOX_UPDATE:
	case GATE_CONTAINER_UPDATE:
	case GATE_POST_UPDATE:
	case GATE_SANDBOX_POST_UPDATE:
	case GATE_INVALID:
	case GATE_KINDS:
		break;
	}
	return HEARD_NOTHING;
}

/* --- struct gate */

static bool gate_ready(void *arg)
{
	return ((struct fake_gate *)arg)->ready;
}

static void queue_call(struct fake_conn *conn, uint64_t id, enum gate_kind kind,
                       struct gate_edit *edit)
{
	struct fake_call *call = xcalloc(1, sizeof(*call));

	call->id = id;
	call->kind = kind;
	call->edit = edit;
	list_push_back(&conn->calls, &call->link);
}

static bool answer_first(struct fake_gate *gate, struct fake_conn *conn)
{
	struct fake_plugin *p = conn->plugin;
	struct fake_call *call;
	struct err err = { 0 };
	bool refused;

	if (list_empty(&conn->calls))
		return false;
	call = list_entry(list_pop_front(&conn->calls), struct fake_call, link);
	if (!call->id) {
		conn->syncing = false;
		conn->synced = true;
	}
	refused = call->id && (p->refuses >> call->kind & 1);
	if (refused)
		err_set(&err, CODE_FAILED_PRECONDITION, "%s says no", p->name);
	else if (call->edit && call->kind == GATE_CONTAINER_CREATE && p->spec) {
		free(call->edit->spec_json);
		call->edit->spec_json = xstrdup(p->spec);
	}
	if (!is_dead(gate))
		inbox_answer(gate->inbox, conn->id, call->id, refused ? &err : NULL);
	free(call);
	return true;
}

static void answer_if_willing(struct fake_gate *gate, struct fake_conn *conn)
{
	while (conn->plugin->mode == PLUGIN_ANSWERS && answer_first(gate, conn))
		;
}

static void log_view(struct fake_gate *gate, const struct gate_view *view)
{
	const struct container *c = container_get(gate->state, view->id);

	add_log(gate, " %s", object_name(gate, view->id));
	if (view->is_sandbox)
		return;
	if (view->as == CONTAINER_EXITED)
		add_log(gate, ":exited=%d", c->exit_code);
	else
		add_log(gate, ":%s", view->as == CONTAINER_CREATED ? "created" : "running");
}

static bool lists(const struct gate_snapshot *snapshot, const char *id)
{
	for (size_t i = 0; i < snapshot->count; i++)
		if (!strcmp(snapshot->items[i].id, id))
			return true;
	return false;
}

static void gate_synchronize(void *arg, uint32_t id, const struct gate_snapshot *snapshot)
{
	struct fake_gate *gate = arg;
	struct fake_conn *conn = conn_find(gate, id);
	struct fake_plugin *p;

	if (is_dead(gate))
		return;
	if (!conn || conn->syncing || conn->synced) {
		violated(gate, "I7: Synchronize to connection %u, which did not wait for it", id);
		return;
	}
	p = conn->plugin;
	add_log(gate, "%s synchronize", p->name);
	for (size_t i = 0; i < snapshot->count; i++)
		log_view(gate, &snapshot->items[i]);
	add_log(gate, "\n");
	/* whom it knows as alive must be in the list, or have been ended */
	map_for_each(e, &p->heard) {
		unsigned level = (unsigned)(uintptr_t)e->value;

		if (level >= HEARD_CREATE && level < HEARD_STOP && !lists(snapshot, e->key) &&
		    !p->may_repeat_any)
			violated(gate, "3: %s knows %s as alive, Synchronize lacks it\n%s", p->name,
			         object_name(gate, e->key), gate->log);
	}
	for (size_t i = 0; i < snapshot->count; i++) {
		const struct gate_view *view = &snapshot->items[i];
		const struct container *c = container_get(gate->state, view->id);
		bool stops = view->is_sandbox
		                     ? sandbox_get(gate->state, view->id)->notified.stop_seq != 0
		                     : view->as == CONTAINER_EXITED;
		/* one that is being made: its post_create is still to come */
		unsigned level = stops || (c && c->state == CONTAINER_CREATING) ? HEARD_CREATE
		                 : view->is_sandbox || view->as == CONTAINER_RUNNING
		                         ? HEARD_POST_START
		                         : HEARD_POST_CREATE;

		if (c && !lists(snapshot, c->sandbox_id))
			violated(gate, "3: %s is shown %s without its pod", p->name, c->name);
		if (!stops && heard(p, view->id) >= HEARD_STOP && !p->may_repeat_any)
			violated(gate, "4: %s is shown %s as alive after its stop", p->name,
			         object_name(gate, view->id));
		/* a repetition of its stop announces itself here */
		if (heard(p, view->id) < level)
			map_set(&p->heard, view->id, (void *)(uintptr_t)level);
	}
	conn->syncing = true;
	queue_call(conn, 0, GATE_INVALID, NULL);
	answer_if_willing(gate, conn);
}

static void gate_call(void *arg, uint32_t id, const struct gate_call *call)
{
	struct fake_gate *gate = arg;
	struct fake_conn *conn = conn_find(gate, id);
	const char *object = call->container_id[0] ? call->container_id : call->sandbox_id;
	const struct container *c = container_get(gate->state, call->container_id);
	unsigned level = level_of(call->kind);

	if (is_dead(gate))
		return;
	if (!conn || !conn->synced) {
		violated(gate, "I7: %s to a connection that is not synchronised",
		         gate_kind_name(call->kind));
		return;
	}
	if (!list_empty(&conn->calls))
		violated(gate, "I7: %s leaves while another call is unanswered",
		         gate_kind_name(call->kind));
	if (call->container_id[0] ? !c : !sandbox_get(gate->state, call->sandbox_id))
		violated(gate, "%s of an object that state does not know",
		         gate_kind_name(call->kind));
	add_log(gate, "%s %s %s", conn->plugin->name, gate_kind_name(call->kind),
	        object_name(gate, object));
	if (call->kind == GATE_EXITED && c && c->state != CONTAINER_REMOVING && !c->undone)
		add_log(gate, " %d", c->exit_code);
	add_log(gate, "\n");
	if (level)
		hears(gate, conn->plugin, object, level);
	else if (heard(conn->plugin, object) >= HEARD_STOP)
		violated(gate, "I6: %s hears of an update of %s after its stop", conn->plugin->name,
		         object_name(gate, object));
	queue_call(conn, call->id, call->kind, call->edit);
	answer_if_willing(gate, conn);
}

static void gate_forget(void *arg, uint32_t id, uint64_t call)
{
	struct fake_conn *conn = conn_find(arg, id);

	if (!conn)
		return;
	list_for_each(l, &conn->calls)
		if (list_entry(l, struct fake_call, link)->id == call)
			list_entry(l, struct fake_call, link)->edit = NULL;
}

static void conn_drop(struct fake_conn *conn)
{
	conn->plugin->may_repeat++;
	while (!list_empty(&conn->calls))
		free(list_entry(list_pop_front(&conn->calls), struct fake_call, link));
	list_remove(&conn->link);
	free(conn);
}

static void conn_close(struct fake_gate *gate, struct fake_conn *conn, const char *why)
{
	uint32_t id = conn->id;

	conn_drop(conn);
	if (!is_dead(gate))
		inbox_closed(gate->inbox, id, why);
}

static void gate_close(void *arg, uint32_t id, const char *why)
{
	struct fake_gate *gate = arg;
	struct fake_conn *conn = conn_find(gate, id);

	if (!conn || is_dead(gate))
		return;
	add_log(gate, "%s closed: %s\n", conn->plugin->name, why);
	conn_close(gate, conn, why);
}

static bool gate_subscribed(void *arg, uint32_t id, enum gate_kind kind)
{
	struct fake_conn *conn = conn_find(arg, id);

	return conn && !(conn->plugin->deaf >> kind & 1);
}

/* --- driving it */

void fake_gate_init(struct fake_gate *gate)
{
	*gate = (struct fake_gate){
		.gate = {
			.arg = gate,
			.ready = gate_ready,
			.synchronize = gate_synchronize,
			.call = gate_call,
			.forget = gate_forget,
			.close = gate_close,
			.subscribed = gate_subscribed,
		},
		.log = "",
		.ready = true,
	};
	buf_init(&gate->text, 16 << 20);
	list_init(&gate->plugins);
	list_init(&gate->conns);
}

void fake_gate_release(struct fake_gate *gate)
{
	while (!list_empty(&gate->conns))
		conn_drop(list_entry(gate->conns.next, struct fake_conn, link));
	while (!list_empty(&gate->plugins)) {
		struct fake_plugin *p =
			list_entry(list_pop_front(&gate->plugins), struct fake_plugin, link);

		map_release(&p->heard);
		free(p);
	}
	buf_release(&gate->text);
}

void fake_gate_attach(struct fake_gate *gate, const struct state *state, struct inbox *inbox)
{
	gate->state = state;
	gate->inbox = inbox;
	list_for_each(l, &gate->plugins) {
		struct fake_plugin *p = list_entry(l, struct fake_plugin, link);
		bool again = p->may_repeat_any;

		/* what power took before it was durable was never answered, either: nothing was promised about it */
		while (again) {
			again = false;
			map_for_each(e, &p->heard)
				if (!container_get(state, e->key) && !sandbox_get(state, e->key)) {
					cleanup_free char *id = xstrdup(e->key);

					map_remove(&p->heard, id);
					again = true;
					break;
				}
		}
	}
}

void fake_gate_detach(struct fake_gate *gate, bool power)
{
	gate->state = NULL;
	gate->inbox = NULL;
	while (!list_empty(&gate->conns))
		conn_drop(list_entry(gate->conns.next, struct fake_conn, link));
	list_for_each(l, &gate->plugins) {
		struct fake_plugin *p = list_entry(l, struct fake_plugin, link);

		p->may_repeat_any |= power;
	}
}

struct fake_plugin *fake_gate_plugin(struct fake_gate *gate, const char *name)
{
	struct fake_plugin *p;

	list_for_each(l, &gate->plugins)
		if (!strcmp(list_entry(l, struct fake_plugin, link)->name, name))
			return list_entry(l, struct fake_plugin, link);
	p = xcalloc(1, sizeof(*p));
	ensure(str_copy(p->name, sizeof(p->name), name) == 0);
	map_init(&p->heard);
	list_push_back(&gate->plugins, &p->link);
	return p;
}

uint32_t fake_gate_connect(struct fake_gate *gate, const char *name)
{
	struct fake_conn *conn = xcalloc(1, sizeof(*conn));
	struct inbox_msg msg = { .kind = INBOX_CONNECTED };

	conn->id = ++gate->next_conn;
	conn->plugin = fake_gate_plugin(gate, name);
	list_init(&conn->calls);
	list_push_back(&gate->conns, &conn->link);
	msg.conn = conn->id;
	msg.preinstalled = conn->plugin->preinstalled;
	msg.required = conn->plugin->required;
	ensure(str_copy(msg.name, sizeof(msg.name), name) == 0);
	if (!is_dead(gate))
		inbox_post(gate->inbox, &msg);
	return conn->id;
}

void fake_gate_disconnect_one(struct fake_gate *gate, uint32_t id)
{
	struct fake_conn *conn = conn_find(gate, id);

	ensure(conn);
	conn_close(gate, conn, "went away");
}

void fake_gate_disconnect(struct fake_gate *gate, const char *name)
{
	list_for_each_safe(l, &gate->conns) {
		struct fake_conn *conn = list_entry(l, struct fake_conn, link);

		if (!strcmp(conn->plugin->name, name))
			conn_close(gate, conn, "went away");
	}
}

bool fake_gate_answer_conn(struct fake_gate *gate, uint32_t id)
{
	struct fake_conn *conn = conn_find(gate, id);

	return conn && answer_first(gate, conn);
}

bool fake_gate_answer(struct fake_gate *gate, const char *name)
{
	list_for_each(l, &gate->conns) {
		struct fake_conn *conn = list_entry(l, struct fake_conn, link);

		if (!strcmp(conn->plugin->name, name) && answer_first(gate, conn))
			return true;
	}
	return false;
}

void fake_gate_mode(struct fake_gate *gate, const char *name, enum fake_plugin_mode mode)
{
	fake_gate_plugin(gate, name)->mode = mode;
	list_for_each(l, &gate->conns) {
		struct fake_conn *conn = list_entry(l, struct fake_conn, link);

		if (!strcmp(conn->plugin->name, name))
			answer_if_willing(gate, conn);
	}
}

bool fake_gate_is_connected(const struct fake_gate *gate, const char *name)
{
	list_for_each(l, &gate->conns)
		if (!strcmp(list_entry(l, struct fake_conn, link)->plugin->name, name))
			return true;
	return false;
}

void fake_gate_check_settled(struct fake_gate *gate)
{
	list_for_each(l, &gate->conns) {
		struct fake_conn *conn = list_entry(l, struct fake_conn, link);
		struct fake_plugin *p = conn->plugin;

		if (!conn->synced || p->mode != PLUGIN_ANSWERS || p->deaf)
			continue;
		map_for_each(e, &p->heard) {
			const struct container *c = container_get(gate->state, e->key);
			const struct sandbox *sb = sandbox_get(gate->state, e->key);
			unsigned level = (unsigned)(uintptr_t)e->value;

			if (!c && !sb && level != HEARD_REMOVE)
				violated(
					gate,
					"6: %s never heard the end of an object that is gone (%.12s, level %u)\n%s",
					p->name, e->key, level, gate->log);
			if (c && c->notified.stop_seq && level < HEARD_STOP)
				violated(gate, "1: %s did not hear the exit of %s\n%s", p->name,
				         c->name, gate->log);
			if (sb && sb->notified.stop_seq && level < HEARD_STOP)
				violated(gate, "8: %s did not hear the stop of %s\n%s", p->name,
				         sb->name, gate->log);
		}
	}
}
