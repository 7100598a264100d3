#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/map.h"
#include "core/base/str.h"

static void what_is_inserted_is_found_until_removed(void **arg)
{
	cleanup(map_release) struct map map = { 0 };
	int one = 1, two = 2;
	char key[] = "c1";

	(void)arg;
	map_init(&map);
	assert_null(map_find(&map, "c1"));
	assert_null(map_remove(&map, "c1"));
	assert_true(map_insert(&map, key, &one));
	key[0] = 'x'; /* the map has its own copy */
	assert_ptr_equal(map_find(&map, "c1"), &one);
	assert_false(map_insert(&map, "c1", &two));
	assert_ptr_equal(map_find(&map, "c1"), &one);
	map_set(&map, "c1", &two);
	assert_ptr_equal(map_find(&map, "c1"), &two);
	assert_int_equal(map_count(&map), 1);
	assert_ptr_equal(map_remove(&map, "c1"), &two);
	assert_null(map_find(&map, "c1"));
	assert_int_equal(map_count(&map), 0);
	assert_true(map_insert(&map, "", &one)); /* the empty key is one like any other */
	assert_ptr_equal(map_find(&map, ""), &one);
}

static void a_zeroed_map_is_an_empty_one(void **arg)
{
	struct map map = { .used = 0 };

	(void)arg;
	assert_null(map_find(&map, "x"));
	assert_null(map_next(&map, NULL));
	map_release(&map);
}

static void many_keys_survive_growth_and_removal(void **arg)
{
	enum { COUNT = 5000 };
	static int values[COUNT];
	cleanup(map_release) struct map map = { 0 };
	char key[32];

	(void)arg;
	map_init(&map);
	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_true(map_insert(&map, key, &values[i]));
	}
	for (int i = 0; i < COUNT; i += 2) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_ptr_equal(map_remove(&map, key), &values[i]);
	}
	assert_int_equal(map_count(&map), COUNT / 2);
	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_ptr_equal(map_find(&map, key), i % 2 ? &values[i] : NULL);
	}
}

static void coming_and_going_does_not_grow_the_map(void **arg)
{
	cleanup(map_release) struct map map = { 0 };
	char key[32];
	int value;

	(void)arg;
	map_init(&map);
	for (int i = 0; i < 20000; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		assert_true(map_insert(&map, key, &value));
		if (i >= 10) {
			snprintf(key, sizeof(key), "key-%d", i - 10);
			assert_ptr_equal(map_remove(&map, key), &value);
		}
	}
	assert_int_equal(map_count(&map), 10);
	assert_true(map.cap <= 64);
}

static void iteration_follows_insertion_and_allows_removal_of_the_current(void **arg)
{
	cleanup(map_release) struct map map = { 0 };
	char seen[256] = "";
	char key[32];
	int value;

	(void)arg;
	map_init(&map);
	for (int i = 0; i < 30; i++) {
		snprintf(key, sizeof(key), "%d,", i);
		assert_true(map_insert(&map, key, &value));
	}
	map_for_each(e, &map) {
		assert_ptr_equal(e->value, &value);
		strncat(seen, e->key, sizeof(seen) - strlen(seen) - 1);
		if (atoi(e->key) % 3)
			assert_non_null(map_remove(&map, e->key));
	}
	assert_string_equal(
		seen,
		"0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,");
	assert_int_equal(map_count(&map), 10);
	seen[0] = '\0';
	map_for_each(e, &map)
		strncat(seen, e->key, sizeof(seen) - strlen(seen) - 1);
	assert_string_equal(seen, "0,3,6,9,12,15,18,21,24,27,");
}

/* Made with the hash of CPython 3.11, which is SipHash-1-3, its key zeroed by PYTHONHASHSEED=0. */
static void the_hash_is_siphash13(void **arg)
{
	static const struct {
		const char *key;
		uint64_t hash;
	} rows[] = {
		{ "a", UINT64_C(0x407448d2b89b1813) },
		{ "abcdefg", UINT64_C(0x6db12aae9070f506) },
		{ "abcdefgh", UINT64_C(0x3f7b849c0b8e35ea) },
		{ "abcdefghi", UINT64_C(0xf89b34a3d11eb6e5) },
		{ "default/nginx-7d9c", UINT64_C(0x721091e8b8e1e9f3) },
	};
	cleanup(map_release) struct map map = { .seed = { 0, 0 } };
	int value;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(map_insert(&map, rows[i].key, &value));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(map.entries[i].hash == rows[i].hash);
}

static void two_maps_do_not_share_their_seed(void **arg)
{
	cleanup(map_release) struct map a = { 0 };
	cleanup(map_release) struct map b = { 0 };

	(void)arg;
	map_init(&a);
	map_init(&b);
	assert_memory_not_equal(a.seed, b.seed, sizeof(a.seed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_inserted_is_found_until_removed),
		cmocka_unit_test(a_zeroed_map_is_an_empty_one),
		cmocka_unit_test(many_keys_survive_growth_and_removal),
		cmocka_unit_test(coming_and_going_does_not_grow_the_map),
		cmocka_unit_test(iteration_follows_insertion_and_allows_removal_of_the_current),
		cmocka_unit_test(the_hash_is_siphash13),
		cmocka_unit_test(two_maps_do_not_share_their_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
