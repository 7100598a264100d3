#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rand.h"

static void ids_are_64_lower_case_hex_digits_and_differ(void **arg)
{
	char a[ID_SIZE], b[ID_SIZE];

	(void)arg;
	rand_id(a);
	rand_id(b);
	assert_int_equal(strlen(a), 64);
	assert_int_equal(strspn(a, "0123456789abcdef"), 64);
	assert_string_not_equal(a, b);
}

static void every_byte_is_filled(void **arg)
{
	uint8_t seen[1000] = { 0 };

	(void)arg;
	/* a byte stays 0 in all 16 rounds once in 256^16 tries */
	for (int round = 0; round < 16; round++) {
		uint8_t data[1000] = { 0 };

		rand_bytes(data, sizeof(data));
		for (size_t i = 0; i < sizeof(data); i++)
			seen[i] |= data[i];
	}
	for (size_t i = 0; i < sizeof(seen); i++)
		assert_int_not_equal(seen[i], 0);
	rand_bytes(seen, 0);
}

/* First outputs of splitmix64 for seed 1234567, as published with the generator. */
static void a_seed_gives_the_same_numbers_everywhere(void **arg)
{
	char a[ID_SIZE], b[ID_SIZE];

	(void)arg;
	rand_seed_for_tests(1234567);
	assert_true(rand_u64() == UINT64_C(6457827717110365317));
	assert_true(rand_u64() == UINT64_C(3203168211198807973));
	assert_true(rand_u64() == UINT64_C(9817491932198370423));
	rand_seed_for_tests(1);
	rand_id(a);
	rand_seed_for_tests(1);
	rand_id(b);
	assert_string_equal(a, b);
	rand_seed_for_tests(2);
	rand_id(b);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_64_lower_case_hex_digits_and_differ),
		cmocka_unit_test(every_byte_is_filled),
		cmocka_unit_test(
			a_seed_gives_the_same_numbers_everywhere), /* last: it seeds the process */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
