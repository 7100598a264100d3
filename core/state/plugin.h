/* core/state/plugin.h
 *
 * A known NRI plugin name and how far it has heard. Owed to it: stop and remove notifications with a seq beyond its cursor, of
 * objects whose stop came after it was first seen (since), where its slot is in the object's mask.
 */
#ifndef CORACLE_CORE_STATE_PLUGIN_H
#define CORACLE_CORE_STATE_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/state/types.h"

struct plugin {
	char *name; /* "10-logger" (idx-name); NULL: free slot */
	bool preinstalled;
	uint64_t since, cursor; /* seqs */
	int64_t last_seen_ns;   /* wall clock of its last PLUGIN_SEEN */
};

enum owed_kind {
	OWED_CONTAINER_STOP,
	OWED_CONTAINER_REMOVE,
	OWED_SANDBOX_STOP,
	OWED_SANDBOX_REMOVE
};

struct owed {
	uint64_t seq;
	enum owed_kind kind;
	char id[ID_SIZE]; /* container or sandbox */
};

#endif
