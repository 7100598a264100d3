/* core/state/state_internal.h
 *
 * What apply.c needs of state.c: objects in and out of lists and indices. Private to core/state.
 */
#ifndef CORACLE_CORE_STATE_STATE_INTERNAL_H
#define CORACLE_CORE_STATE_STATE_INTERNAL_H

#include <stdbool.h>

#include "core/state/record.pb.h"
#include "core/state/state.h"

/* Take the object (live or tombstone by its state); false and nothing changed when its id or name is taken. */
NODISCARD bool state_add_sandbox(struct state *state, struct sandbox *sb);
NODISCARD bool state_add_container(struct state *state, struct container *c);
/* The object was REMOVED: a tombstone from now on, or gone when nobody is owed it. */
void state_bury_sandbox(struct state *state, struct sandbox *sb);
void state_bury_container(struct state *state, struct container *c);
/* Free the tombstones that nobody is owed any more. */
void state_drop_unowed(struct state *state);
/* A plugin slot is free: whoever gets it next is not in any mask. */
void state_clear_slot(struct state *state, int slot);

/* A name belongs to one image: names and digests move here from whoever had them. */
void state_add_image(struct state *state, struct image *image);
void state_name_image(struct state *state, struct image *image);
void state_unname_image(struct state *state, struct image *image);
void state_drop_image(struct state *state, struct image *image);

/* Remember that @id could not be followed; a live object of that id stays as it is. Once per id. */
void state_quarantine(struct state *state, const char *id, uint64_t seq, const char *why);
bool state_drop_quarantine(struct state *state, const char *id);

NODISCARD struct boot boot_from_pb(const rec_Boot *msg);
void boot_release(struct boot *boot);

#endif
