/* tests/lib/fake_gate.h
 *
 * NRI plugins without NRI: they connect, hear, answer at once, late, never, refuse, and go away. Each remembers what it heard, and
 * judges it by the promises of tests/model/owed_model.py (I6, I7): order, nothing outside Synchronize .. close, no gap around a
 * registration, a repetition only of what a lost connection or a killed daemon left unanswered.
 *
 * log: a line per call, "10-a exited c1 137", "10-a synchronize p1 c1:running c2:exited=3"; objects by their names.
 */
#ifndef CORACLE_TESTS_LIB_FAKE_GATE_H
#define CORACLE_TESTS_LIB_FAKE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/life/gate.h"
#include "core/life/inbox.h"

enum fake_plugin_mode {
	PLUGIN_ANSWERS,
	PLUGIN_SILENT, /* until fake_gate_answer() or a change of its mode */
};

struct fake_plugin {
	struct list link;
	char name[64];
	enum fake_plugin_mode mode;
	bool preinstalled, required;
	uint64_t deaf;       /* 1 << enum gate_kind: not subscribed */
	uint64_t refuses;    /* 1 << enum gate_kind */
	const char *spec;    /* what it makes of a spec; NULL: nothing */
	struct map heard;    /* object id -> level, as a number in a pointer */
	unsigned may_repeat; /* calls that a kill or a lost connection allows again */
	bool may_repeat_any; /* power was cut: acks since the last sync are gone */
};

struct fake_conn {
	struct list link;
	uint32_t id;
	struct fake_plugin *plugin;
	bool syncing, synced;
	struct list calls; /* struct fake_call: not answered */
	char closed_why[128];
};

struct fake_gate {
	struct gate gate;
	const char *log;
	struct buf text;
	struct list plugins, conns;
	uint32_t next_conn;
	const struct state *state; /* of the daemon that lives */
	struct inbox *inbox;
	bool ready;
	bool (*is_dead)(void *arg);
	void (*violated)(void *arg, const char *text);
	void *arg;
};

void fake_gate_init(struct fake_gate *gate);
void fake_gate_release(struct fake_gate *gate);
void fake_gate_attach(struct fake_gate *gate, const struct state *state, struct inbox *inbox);
/* The daemon died: connections are gone. */
void fake_gate_detach(struct fake_gate *gate, bool power);

struct fake_plugin *fake_gate_plugin(struct fake_gate *gate,
                                     const char *name); /* made when unknown */
uint32_t fake_gate_connect(struct fake_gate *gate, const char *name);
void fake_gate_disconnect(struct fake_gate *gate, const char *name); /* all of its connections */
void fake_gate_disconnect_one(struct fake_gate *gate, uint32_t conn);
/* From a silent one: the answer to what it was asked first. False: nothing is unanswered. */
bool fake_gate_answer(struct fake_gate *gate, const char *name);
bool fake_gate_answer_conn(struct fake_gate *gate, uint32_t conn);
void fake_gate_mode(struct fake_gate *gate, const char *name, enum fake_plugin_mode mode);
bool fake_gate_is_connected(const struct fake_gate *gate, const char *name);
void fake_gate_clear(struct fake_gate *gate); /* the log */
/* Nothing is in flight any more: has every plugin that is connected heard all it must? */
void fake_gate_check_settled(struct fake_gate *gate);

#endif
