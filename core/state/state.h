/* core/state/state.h
 *
 * All that coracle knows, as a fold over records. state_apply() is pure: no I/O, no clock, no failure path; live, start-up and
 * `coracle recover` call the same one. A record with a good crc that does not decode or does not fit becomes a quarantine entry.
 *
 * Thread:    loop only. Everything outside this folder holds a const pointer; only a release of a record changes it.
 * Ownership: state owns all objects; find/get results are borrowed until the next state_apply().
 */
#ifndef CORACLE_CORE_STATE_STATE_H
#define CORACLE_CORE_STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/state/container.h"
#include "core/state/image.h"
#include "core/state/plugin.h"
#include "core/state/record.h"
#include "core/state/sandbox.h"

/* A record with a good crc that could not be followed. Files of that id are kept; Remove is allowed and ends it. */
struct quarantine {
	struct list link;
	char id[ID_SIZE]; /* "" when the record did not even tell whom it is about */
	uint64_t seq;
	char *why;
};

struct boot {
	uint8_t machine_id[16], boot_id[16];
	uint64_t dev, ino; /* of the root directory */
	char *version;
	uint64_t seq; /* of the BOOT record; 0: none yet */
};

struct state {
	uint64_t seq; /* last record applied */
	struct list sandboxes, containers, images,
		quarantine;                          /* creation order, without tombstones */
	struct list dead_sandboxes, dead_containers; /* tombstones, in order of their REMOVED */
	struct map sandbox_ids, container_ids, image_ids;
	struct map sandbox_names, container_names; /* key -> object; a tombstone's name is free */
	struct map image_names;                    /* canonical name or digest -> image */
	struct plugin plugins[PLUGIN_MAX];
	struct boot boot;      /* the last BOOT */
	struct boot prev_boot; /* the one before: what `recover` compares */
	int64_t last_created_ns; /* largest created_ns on record: a new object's must be larger (D28) */
	char *pod_cidr;          /* "" when never set */
	struct pb_arena *arena; /* private: one record's decoding */
};

NODISCARD struct state *state_new(void);
void state_free(struct state *state);

void state_apply(struct state *state, const struct record *rec);

/* --- look-ups. find: exact id or unique non-empty hex prefix among what CRI may see (tombstones never). */
/* Errors: NOT_FOUND; INVALID_ARGUMENT when empty or ambiguous. */
NODISCARD const struct sandbox *sandbox_find(const struct state *state, const char *id,
                                             struct err *err);
NODISCARD const struct container *container_find(const struct state *state, const char *id,
                                                 struct err *err);
/* get: the exact id, tombstones too; NULL when unknown. */
const struct sandbox *sandbox_get(const struct state *state, const char *id);
const struct container *container_get(const struct state *state, const char *id);
const struct image *image_get(const struct state *state, const char *id);
/* by name index */
const struct sandbox *sandbox_by_key(const struct state *state, const char *key);
const struct container *container_by_key(const struct state *state, const char *key);
const struct image *image_by_name(const struct state *state, const char *name_or_digest);
/* name index keys, on the heap */
NODISCARD char *sandbox_key(const char *name, const char *ns, const char *uid, uint32_t attempt);
NODISCARD char *container_key(const char *name, const struct sandbox *sb, uint32_t attempt);

/* What CRI lists: visible to clients (not CREATING, hidden, undone or a tombstone). */
bool sandbox_is_visible(const struct sandbox *sb);
bool container_is_visible(const struct container *c);
/* Is any container, running or not, of this image (by image_id)? */
bool image_in_use(const struct state *state, const char *image_id);

/* --- plugins */
int plugin_slot(const struct state *state, const char *name); /* -1: unknown */
size_t plugin_count(const struct state *state);
/* What @slot is owed, in seq order; heap array. Returns the count. */
size_t state_owed(const struct state *state, int slot, struct owed **ret);
/* Does any known name still need this object's notifications? */
bool state_is_owed(const struct state *state, const struct notified *notified);

/* --- whole state */
/* Every invariant of docs/architecture.md that can be judged from state alone; err names the first that fails. */
NODISCARD int state_verify(const struct state *state, struct err *err);
/* The state as snapshot records, SNAP_META first; emit returns 0 or -1 with err set. */
typedef int (*state_emit_fn)(void *arg, enum record_kind kind, const pb_msgdesc_t *desc,
                             const void *msg, struct err *err);
NODISCARD int state_emit(const struct state *state, state_emit_fn emit, void *arg, struct err *err);

DEFINE_CLEANUP_PTR(struct state, state_free);

#endif
