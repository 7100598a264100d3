/* core/state/types.h
 *
 * The words of the state: object states, ids, small shared structs. State 0 is INVALID everywhere, so that what a table
 * does not list is refused.
 */
#ifndef CORACLE_CORE_STATE_TYPES_H
#define CORACLE_CORE_STATE_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/rand.h"

enum sandbox_state {
	SANDBOX_INVALID,
	SANDBOX_CREATING, /* hidden from CRI */
	SANDBOX_READY,
	SANDBOX_NOTREADY, /* STOPPING released, or the pause container exited; see sandbox.stopped */
	SANDBOX_REMOVING, /* CRI shows NOTREADY */
	SANDBOX_GONE,     /* a tombstone: only plugins that are owed something still know it */
	SANDBOX_STATES,
};

enum container_state {
	CONTAINER_INVALID,
	CONTAINER_CREATING, /* hidden from CRI */
	CONTAINER_CREATED,
	CONTAINER_STARTING, /* CRI shows CREATED */
	CONTAINER_RUNNING,
	CONTAINER_EXITED,
	CONTAINER_REMOVING, /* CRI shows EXITED; one whose creation is being undone stays hidden (container.undone) */
	CONTAINER_GONE, /* a tombstone */
	CONTAINER_STATES,
};

#define PLUGIN_MAX       64 /* known NRI plugin names; a set of them is a uint64_t of slots */
#define PLUGIN_ALL       UINT64_MAX /* "every known name" */
#define PLUGIN_OWED_MAX  1024       /* notifications owed to one name */
#define RECORD_MAX_BYTES (1024 * 1024)

struct pair { /* label or annotation; both on the heap */
	char *key, *value;
};

struct pairs {
	struct pair *items;
	size_t count;
};

struct id_map { /* one line of a user namespace's uid_map or gid_map */
	uint32_t inside, outside, count;
};

struct id_maps {
	struct id_map *items;
	size_t count;
};

struct bytes { /* opaque to core */
	uint8_t *data;
	size_t len;
};

const char *sandbox_state_name(enum sandbox_state state);
const char *container_state_name(enum container_state state);

void pairs_release(struct pairs *pairs);
const char *pairs_find(const struct pairs *pairs, const char *key); /* NULL: not there */
void bytes_release(struct bytes *bytes);

#endif
