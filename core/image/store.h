/* core/image/store.h
 *
 * Which image does this string mean? Pure look-ups over the images of struct state: by id, by name in any spelling, by digest,
 * by unique prefix of an id. And what follows from an image for CRI: uid or user name, pinned or not.
 *
 * Thread: the one that owns the list. Pointers are borrowed.
 */
#ifndef CORACLE_CORE_IMAGE_STORE_H
#define CORACLE_CORE_IMAGE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/state/image.h"

/*
 * store_resolve - find the image that @text means among @images (list of struct image).
 * Order: a full digest is an id; else a stored name or repo digest after normalisation; else an id or unique prefix of it,
 * with or without "sha256:".
 * Errors: INVALID_ARGUMENT (empty, or an ambiguous prefix), NOT_FOUND (well-formed or not: nobody has it).
 */
NODISCARD const struct image *store_resolve(const struct list *images, const char *text,
                                            struct err *err);

/* The image that owns this canonical name or digest, or NULL. */
const struct image *store_find_name(const struct list *images, const char *canonical);
const struct image *store_find_id(const struct list *images, const char *id);

/*
 * store_user - split config.User as CRI wants it: the part before ':' is a number (true, *ret_uid) or a name (false,
 * ret_name; "" if none is set).
 */
bool store_user(const struct image *image, int64_t *ret_uid, char *ret_name, size_t name_size);

/* store_pinned - is one of its names matched by @patterns (canonical reference, or a prefix with a trailing '*')? */
bool store_pinned(const struct image *image, char *const *patterns);

/* store_layer_used - does any image but @except (NULL: none) have layer @key? */
bool store_layer_used(const struct list *images, const char *key, const struct image *except);

/* Sort a strv of references the way CRI clients expect (ref_compare) and drop duplicates. */
void store_sort_names(char **names);

#endif
