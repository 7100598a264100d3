#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/image/blob.h"

#define ABC_256 "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_384                                                                                        \
	"sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358bae" \
	"ca134c825a7"
#define ABC_512                                                                                        \
	"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3" \
	"c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void every_algorithm_gives_the_published_digest(void **arg)
{
	static const char *const digests[] = { ABC_256, ABC_384, ABC_512 };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(digests); i++) {
		struct digester digester;
		char text[DIGEST_TEXT_MAX];

		digester_init(&digester, digest_algorithm(str_of(digests[i])));
		digester_update(&digester, "a", 1);
		digester_update(&digester, "bc", 2);
		digester_final(&digester, text);
		assert_string_equal(text, digests[i]);
	}
}

static void what_is_no_digest_has_no_algorithm(void **arg)
{
	(void)arg;
	assert_int_equal(digest_algorithm(STR("")), DIGEST_INVALID);
	assert_int_equal(digest_algorithm(STR("sha256:")), DIGEST_INVALID);
	assert_int_equal(digest_algorithm(STR("md5:d41d8cd98f00b204e9800998ecf8427e")),
	                 DIGEST_INVALID);
	assert_int_equal(digest_algorithm((struct str){ ABC_256, strlen(ABC_256) - 1 }),
	                 DIGEST_INVALID);
	assert_int_equal(
		digest_algorithm(STR(
			"sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
		DIGEST_INVALID);
}

static void content_is_checked_against_digest_and_size(void **arg)
{
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(blob_verify("abc", 3, ABC_256, 3, "x", &err), 0);
	assert_int_equal(blob_verify("abc", 3, ABC_512, -1, "x", &err), 0);
	assert_int_equal(blob_verify("abc", 3, ABC_256, 4, "x", &err), -1);
	assert_int_equal(err.code, CODE_DATA_LOSS);
	assert_int_equal(blob_verify("abd", 3, ABC_256, 3, "x", &err), -1);
	assert_int_equal(err.code, CODE_DATA_LOSS);
	assert_int_equal(blob_verify("abd", 3, "sha256:1", 3, "x", &err), -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
}

static void chain_ids_follow_the_image_specification(void **arg)
{
	char one[DIGEST_SHA256_TEXT], two[DIGEST_SHA256_TEXT], expected[DIGEST_SHA256_TEXT];
	const char *joined = ABC_256 " " ABC_256;

	(void)arg;
	chain_id(NULL, ABC_256, one);
	assert_string_equal(one, ABC_256);
	chain_id(one, ABC_256, two);
	digest_sha256_text(joined, strlen(joined), expected);
	assert_string_equal(two, expected);
}

static void a_layer_key_tells_what_the_layer_depends_on(void **arg)
{
	char keys[6][DIGEST_SHA256_TEXT];

	(void)arg;
	layer_key(LAYER_PLAIN, ABC_256, "chain", keys[0]);
	assert_string_equal(keys[0], ABC_256);
	layer_key(LAYER_PLAIN, ABC_512, "chain", keys[1]);
	layer_key(LAYER_DEPENDENT, ABC_256, ABC_256, keys[2]);
	layer_key(LAYER_DEPENDENT, ABC_256, keys[1], keys[3]);
	layer_key(LAYER_OPAQUE, ABC_256, ABC_256, keys[4]);
	layer_key(LAYER_OPAQUE, ABC_512, ABC_256, keys[5]);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		assert_true(layer_key_is_valid(keys[i]));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
	}
	layer_key(LAYER_OPAQUE, ABC_256, "another chain", keys[0]);
	assert_string_equal(keys[0], keys[4]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_algorithm_gives_the_published_digest),
		cmocka_unit_test(what_is_no_digest_has_no_algorithm),
		cmocka_unit_test(content_is_checked_against_digest_and_size),
		cmocka_unit_test(chain_ids_follow_the_image_specification),
		cmocka_unit_test(a_layer_key_tells_what_the_layer_depends_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
