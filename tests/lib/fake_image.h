/* tests/lib/fake_image.h
 *
 * core/image on the world of fake_world.h: a pull makes the layers and documents that fake_image_next() said.
 */
#ifndef CORACLE_TESTS_LIB_FAKE_IMAGE_H
#define CORACLE_TESTS_LIB_FAKE_IMAGE_H

#include <stdbool.h>

#include "core/loop/child.h"
#include "core/state/types.h"

/* Is it a mount of a root file system? Then a copy of its plan, and the container's id. */
bool fake_overlay_plan_copy(const struct child_args *args, void **ret_copy, char ret_id[ID_SIZE]);
void fake_overlay_plan_release(void *copy);

/* What an image of this name is: "sha256:" and 64 hex digits made from the name, one layer of its own and one shared by all. */
void fake_image_id(const char *name, char ret_id[80]);
void fake_image_layer(const char *name, char ret_key[80]);

/* The pull that runs asks for this layer. False: it is not here. */
bool fake_image_pin(const char *key);

#endif
