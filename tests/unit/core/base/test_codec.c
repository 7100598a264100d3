#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/base/rand.h"

static void hex_goes_both_ways(void **arg)
{
	const uint8_t raw[] = { 0x00, 0x9f, 0xff };
	uint8_t back[3] = { 1, 1, 1 };
	char text[7];

	(void)arg;
	hex_encode(raw, sizeof(raw), text);
	assert_string_equal(text, "009fff");
	assert_int_equal(hex_decode(STR("009FfF"), back, 3), 0);
	assert_memory_equal(back, raw, 3);
	assert_int_equal(hex_decode(STR("009ff"), back, 3), -1);
	assert_int_equal(hex_decode(STR("009fff0"), back, 3), -1);
	assert_int_equal(hex_decode(STR("009ffg"), back, 3), -1);
	assert_int_equal(hex_decode(STR("0x9fff"), back, 3), -1);
	assert_int_equal(hex_decode(STR(""), back, 0), 0);
}

/* RFC 4648, section 10 */
static void base64_gives_the_published_vectors(void **arg)
{
	static const struct {
		const char *plain, *coded;
	} rows[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup(buf_release) struct buf coded = { 0 }, plain = { 0 };

		buf_init(&coded, 100);
		buf_init(&plain, 100);
		assert_int_equal(base64_encode(&coded, rows[i].plain, strlen(rows[i].plain)), 0);
		assert_string_equal(coded.data ? coded.data : "", rows[i].coded);
		assert_int_equal(base64_decode(&plain, str_of(rows[i].coded)), 0);
		assert_string_equal(plain.data ? plain.data : "", rows[i].plain);
		/* without padding */
		buf_clear(&plain);
		assert_int_equal(base64_decode(&plain, (struct str){ rows[i].coded,
		                                                     strcspn(rows[i].coded, "=") }),
		                 0);
		assert_string_equal(plain.data ? plain.data : "", rows[i].plain);
	}
}

static void base64_takes_both_alphabets_and_nothing_else(void **arg)
{
	static const char *const bad[] = { "A",    "AAAAA", "AA=",      "Zm9vAA*A", "A===",
		                           "=",    "====",  "AA==AA==", "A=AA",     "AAA\n",
		                           "AA A", "AA*A",  "AAA==",    "AA===",    "AAAA=" };
	cleanup(buf_release) struct buf out = { 0 };

	(void)arg;
	buf_init(&out, 100);
	assert_int_equal(buf_add_str(&out, "kept"), 0);
	assert_int_equal(base64_decode(&out, STR("-_+/")), 0);
	assert_memory_equal(out.data, "kept\xfb\xff\xbf", 8);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (base64_decode(&out, str_of(bad[i])) != -1)
			fail_msg("accepted \"%s\"", bad[i]);
		assert_int_equal(out.len, 7);
		assert_int_equal(out.data[7], '\0');
	}
	buf_release(&out);
	buf_init(&out, 2);
	assert_int_equal(base64_decode(&out, STR("Zm9v")), -1);
	assert_int_equal(base64_encode(&out, "f", 1), -1);
}

/* RFC 3720, B.4, and the check value of the CRC catalogue */
static void crc32c_gives_the_published_vectors(void **arg)
{
	uint8_t data[48];
	uint32_t crc;

	(void)arg;
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(data, 0, 32);
	assert_int_equal(crc32c(0, data, 32), 0x8a9136aa);
	memset(data, 0xff, 32);
	assert_int_equal(crc32c(0, data, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, data, 32), 0x46dd794e);
	assert_int_equal(crc32c_reference(0, data, 32), 0x46dd794e);

	/* in any two pieces */
	for (size_t at = 0; at <= 32; at++) {
		crc = crc32c(0, data, at);
		assert_int_equal(crc32c(crc, data + at, 32 - at), 0x46dd794e);
	}
}

static void crc32c_is_the_same_with_and_without_the_instruction(void **arg)
{
	uint8_t data[300];

	(void)arg;
	rand_bytes(data, sizeof(data));
	for (size_t len = 0; len < 280; len++)
		for (size_t at = 0; at < 9; at++)
			assert_int_equal(crc32c((uint32_t)len, data + at, len),
			                 crc32c_reference((uint32_t)len, data + at, len));
}

static void percent_coding_leaves_only_unreserved_characters(void **arg)
{
	cleanup(buf_release) struct buf out = { 0 }, back = { 0 };
	char all[256];

	(void)arg;
	buf_init(&out, 1000);
	buf_init(&back, 1000);
	assert_int_equal(percent_encode(&out, STR("aZ09-._~ /%\xc3\xa9\0")), 0);
	assert_string_equal(out.data, "aZ09-._~%20%2F%25%C3%A9%00");
	buf_clear(&out);
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	assert_int_equal(percent_encode(&out, (struct str){ all, 256 }), 0);
	assert_int_equal(percent_decode(&back, (struct str){ out.data, out.len }), 0);
	assert_int_equal(back.len, 256);
	assert_memory_equal(back.data, all, 256);

	assert_int_equal(percent_decode(&back, STR("%2f+")), 0);
	assert_memory_equal(back.data + 256, "/+", 3);
	assert_int_equal(percent_decode(&back, STR("ab%2")), -1);
	assert_int_equal(percent_decode(&back, STR("ab%")), -1);
	assert_int_equal(percent_decode(&back, STR("%zz")), -1);
	assert_int_equal(back.len, 258);
	assert_int_equal(back.data[258], '\0');
}

static void integers_are_little_endian(void **arg)
{
	uint8_t p[8];

	(void)arg;
	put_le64(p, UINT64_C(0x0807060504030201));
	for (int i = 0; i < 8; i++)
		assert_int_equal(p[i], i + 1);
	assert_int_equal(get_le16(p), 0x0201);
	assert_int_equal(get_le32(p), 0x04030201);
	assert_true(get_le64(p) == UINT64_C(0x0807060504030201));
	memset(p, 0xff, sizeof(p));
	assert_true(get_le64(p) == UINT64_MAX);
	assert_true(get_le32(p) == UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex_goes_both_ways),
		cmocka_unit_test(base64_gives_the_published_vectors),
		cmocka_unit_test(base64_takes_both_alphabets_and_nothing_else),
		cmocka_unit_test(crc32c_gives_the_published_vectors),
		cmocka_unit_test(crc32c_is_the_same_with_and_without_the_instruction),
		cmocka_unit_test(percent_coding_leaves_only_unreserved_characters),
		cmocka_unit_test(integers_are_little_endian),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
