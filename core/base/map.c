/* core/base/map.c
 *
 * Two arrays: entries in insertion order (what iteration walks) and an index of 1-based entry
 * numbers (what lookup probes, linearly). A removed entry keeps its place with key NULL; the index
 * goes on pointing at it, which makes it the tombstone that lookups step over. Both are rebuilt
 * when the entries are full.
 *
 * Invariants: index_size is 0 or a power of two >= 2 * cap, so a probe always meets an empty slot;
 * count <= used <= cap.
 */
#include "core/base/map.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/base/rand.h"

#define FIRST_CAP 8
#define MAX_CAP   (UINT32_MAX / 4)

static uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein): one round per word, three at the end. Keys come from peers; an
 * unkeyed hash would let them choose collisions. */
uint64_t map_hash(const uint64_t seed[2], const void *key, size_t len)
{
	const uint8_t *p = key;
	uint64_t v[4] = {
		seed[0] ^ UINT64_C(0x736f6d6570736575),
		seed[1] ^ UINT64_C(0x646f72616e646f6d),
		seed[0] ^ UINT64_C(0x6c7967656e657261),
		seed[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t last = (uint64_t)len << 56;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word = get_le64(p);

		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << (8 * i);

	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;

	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *map)
{
	*map = (struct map){ .seed = { rand_u64(), rand_u64() } };
}

void map_release(struct map *map)
{
	for (size_t i = 0; i < map->used; i++)
		free(map->entries[i].key);
	free(map->entries);
	free(map->index);
	*map = (struct map){ .seed = { map->seed[0], map->seed[1] } };
}

size_t map_count(const struct map *map)
{
	return map->count;
}

static struct map_entry *lookup(const struct map *map, const char *key, uint64_t hash)
{
	size_t mask = map->index_size - 1;

	if (!map->index_size)
		return NULL;
	for (size_t slot = hash & mask; map->index[slot]; slot = (slot + 1) & mask) {
		struct map_entry *entry = &map->entries[map->index[slot] - 1];

		if (entry->key && entry->hash == hash && strcmp(entry->key, key) == 0)
			return entry;
	}
	return NULL;
}

static void index_entry(struct map *map, size_t at)
{
	size_t mask = map->index_size - 1;
	size_t slot = map->entries[at].hash & mask;

	while (map->index[slot])
		slot = (slot + 1) & mask;
	map->index[slot] = (uint32_t)at + 1;
}

/* Squeeze the holes out; double when that would free less than half. */
static void rebuild(struct map *map)
{
	size_t used = 0;

	for (size_t i = 0; i < map->used; i++)
		if (map->entries[i].key)
			map->entries[used++] = map->entries[i];
	map->used = used;

	if (map->count >= map->cap / 2) {
		map->cap = map->cap ? map->cap * 2 : FIRST_CAP;
		ensure(map->cap <= MAX_CAP);
		map->entries = xrealloc(map->entries, map->cap, sizeof(*map->entries));
		free(map->index);
		map->index_size = map->cap * 2;
		map->index = xcalloc(map->index_size, sizeof(*map->index));
	} else {
		memset(map->index, 0, map->index_size * sizeof(*map->index));
	}
	for (size_t i = 0; i < map->used; i++)
		index_entry(map, i);
}

static void add(struct map *map, const char *key, void *value, uint64_t hash)
{
	if (map->used == map->cap)
		rebuild(map);
	map->entries[map->used] =
		(struct map_entry){ .key = xstrdup(key), .value = value, .hash = hash };
	index_entry(map, map->used);
	map->used++;
	map->count++;
}

void *map_find(const struct map *map, const char *key)
{
	const struct map_entry *entry = lookup(map, key, map_hash(map->seed, key, strlen(key)));

	return entry ? entry->value : NULL;
}

bool map_insert(struct map *map, const char *key, void *value)
{
	uint64_t hash = map_hash(map->seed, key, strlen(key));

	ensure(value);
	if (lookup(map, key, hash))
		return false;
	add(map, key, value, hash);
	return true;
}

void map_set(struct map *map, const char *key, void *value)
{
	uint64_t hash = map_hash(map->seed, key, strlen(key));
	struct map_entry *entry = lookup(map, key, hash);

	ensure(value);
	if (entry)
		entry->value = value;
	else
		add(map, key, value, hash);
}

void *map_remove(struct map *map, const char *key)
{
	struct map_entry *entry = lookup(map, key, map_hash(map->seed, key, strlen(key)));
	void *value;

	if (!entry)
		return NULL;
	/* @key may be the entry's own key: it is not looked at again */
	value = entry->value;
	free(entry->key);
	*entry = (struct map_entry){ .key = NULL };
	map->count--;
	return value;
}

struct map_entry *map_next(const struct map *map, struct map_entry *entry)
{
	for (size_t i = entry ? (size_t)(entry - map->entries) + 1 : 0; i < map->used; i++)
		if (map->entries[i].key)
			return &map->entries[i];
	return NULL;
}
