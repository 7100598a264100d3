/* core/base/map.h
 *
 * String-keyed hash (SipHash-1-3 with a per-map random seed, open addressing). Keys are copied;
 * values are borrowed pointers. Iteration order is insertion order as long as nothing was removed,
 * else unspecified; removing the current entry while iterating is allowed, inserting is not.
 */
#ifndef CORACLE_CORE_BASE_MAP_H
#define CORACLE_CORE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"

struct map_entry {
	char *key; /* NULL: free slot (removed) */
	void *value;
	uint64_t hash;
};

struct map {
	struct map_entry *entries; /* in insertion order, may have holes */
	uint32_t *index;           /* open addressing into entries */
	size_t used, count, cap;   /* entries written, live, allocated */
	size_t index_size;
	uint64_t seed[2];
};

void map_init(struct map *map);
void map_release(struct map *map); /* keys only; values are the caller's */
size_t map_count(const struct map *map);
void *map_find(const struct map *map, const char *key); /* NULL: not there */
/* false and nothing changed if the key is there already. value may not be NULL. */
NODISCARD bool map_insert(struct map *map, const char *key, void *value);
void map_set(struct map *map, const char *key, void *value); /* insert or replace */
void *map_remove(struct map *map, const char *key);          /* the value that was there, or NULL */

/* map_for_each(e, map) { e->key, e->value }. map_next of NULL is the first; NULL at the end. */
struct map_entry *map_next(const struct map *map, struct map_entry *entry);
#define map_for_each(e, map)                                                                       \
	for (struct map_entry *e = map_next(map, NULL); e; e = map_next(map, e))

/* The map's hash, for tables of one's own: SipHash-1-3 under a secret @seed (rand_u64). */
uint64_t map_hash(const uint64_t seed[2], const void *key, size_t len);

DEFINE_CLEANUP(struct map, map_release);

#endif
