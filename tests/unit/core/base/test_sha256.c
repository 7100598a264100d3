#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <mbedtls/sha256.h>

#include "core/base/codec.h"
#include "core/base/rand.h"
#include "core/base/sha256.h"

typedef void update_fn(struct sha256 *ctx, const void *data, size_t len);

static update_fn *const back_ends[] = { sha256_update, sha256_update_portable };

static void digest_of(update_fn *update, const void *data, size_t len, size_t piece, char text[65])
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 ctx;

	sha256_init(&ctx);
	for (size_t at = 0; at < len; at += piece)
		update(&ctx, (const uint8_t *)data + at, MIN(piece, len - at));
	update(&ctx, data, 0);
	sha256_final(&ctx, digest);
	hex_encode(digest, sizeof(digest), text);
}

/* FIPS 180-2, appendix B, and the empty message */
static void published_vectors_come_out_of_every_back_end(void **arg)
{
	static const struct {
		const char *message, *digest;
	} rows[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};
	static char million[1000000];
	char text[65];

	(void)arg;
	memset(million, 'a', sizeof(million));
	for (size_t k = 0; k < ARRAY_SIZE(back_ends); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			digest_of(back_ends[k], rows[i].message, strlen(rows[i].message), 1000,
			          text);
			assert_string_equal(text, rows[i].digest);
		}
		digest_of(back_ends[k], million, sizeof(million), sizeof(million), text);
		assert_string_equal(
			text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	}
}

static void every_length_and_split_agrees_with_mbedtls(void **arg)
{
	static const size_t pieces[] = { 1, 7, 63, 64, 65, 200, 1000 };
	uint8_t data[700], want[SHA256_SIZE];
	char text[65], want_text[65];

	(void)arg;
	rand_bytes(data, sizeof(data));
	for (size_t len = 0; len <= 640; len++) {
		assert_int_equal(mbedtls_sha256(data + len % 5, len, want, 0), 0);
		hex_encode(want, sizeof(want), want_text);
		for (size_t k = 0; k < ARRAY_SIZE(back_ends); k++) {
			digest_of(back_ends[k], data + len % 5, len,
			          pieces[len % ARRAY_SIZE(pieces)], text);
			assert_string_equal(text, want_text);
		}
	}
}

static void a_digest_may_change_back_ends_half_way(void **arg)
{
	uint8_t data[500], a[SHA256_SIZE], b[SHA256_SIZE];
	struct sha256 mixed, plain;

	(void)arg;
	rand_bytes(data, sizeof(data));
	sha256_init(&mixed);
	sha256_update(&mixed, data, 130);
	sha256_update_portable(&mixed, data + 130, 370);
	sha256_final(&mixed, a);
	sha256_init(&plain);
	sha256_update(&plain, data, 500);
	sha256_final(&plain, b);
	assert_memory_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors_come_out_of_every_back_end),
		cmocka_unit_test(every_length_and_split_agrees_with_mbedtls),
		cmocka_unit_test(a_digest_may_change_back_ends_half_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
