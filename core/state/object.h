/* core/state/object.h
 *
 * Objects of the state to and from their protobuf form (record.proto): what CREATING records and snapshots carry.
 * Private to core/state.
 */
#ifndef CORACLE_CORE_STATE_OBJECT_H
#define CORACLE_CORE_STATE_OBJECT_H

#include "core/base/attr.h"
#include "core/base/pb.h"
#include "core/state/container.h"
#include "core/state/image.h"
#include "core/state/record.pb.h"
#include "core/state/sandbox.h"

/* A new heap object with everything the message holds; links initialised, indices untouched. NULL: the id is not an id. */
NODISCARD struct sandbox *sandbox_from_pb(const rec_Sandbox *msg);
NODISCARD struct container *container_from_pb(const rec_Container *msg);
NODISCARD struct image *image_from_pb(const rec_Image *msg);
void sandbox_free(struct sandbox *sb);
void container_free(struct container *c);
void image_free(struct image *image);

/* Fill a message; strings are borrowed from the object, arrays come from @arena. -1 when the arena is over budget. */
NODISCARD int sandbox_to_pb(const struct sandbox *sb, struct pb_arena *arena, rec_Sandbox *ret);
NODISCARD int container_to_pb(const struct container *c, struct pb_arena *arena,
                              rec_Container *ret);
void image_to_pb(const struct image *image, rec_Image *ret);

/* Replace *field by a copy of what the message holds. */
void set_str(char **field, const char *value); /* NULL reads as "" */
void set_opt(char **field, const char *value); /* NULL and "" give NULL */
void set_bytes(struct bytes *field, const pb_bytes_array_t *value);
NODISCARD char **strv_from_pb(char *const *items, size_t count);

#endif
