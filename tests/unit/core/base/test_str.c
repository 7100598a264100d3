#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/str.h"

#define assert_str(s, text) assert_true(str_eq_c(s, text))

static void views_compare_by_bytes(void **arg)
{
	(void)arg;
	assert_true(str_eq(STR("a\0b"), STR("a\0b")));
	assert_false(str_eq(STR("a\0b"), STR("a\0c")));
	assert_true(str_eq((struct str){ NULL, 0 }, STR("")));
	assert_true(str_eq_c(STR("abc"), "abc"));
	assert_false(str_eq_c(STR("abc"), "ab"));
	assert_true(str_starts(STR("sha256:ab"), "sha256:"));
	assert_false(str_starts(STR("sha"), "sha256:"));
	assert_true(str_starts((struct str){ NULL, 0 }, ""));
	assert_true(str_ends(STR("layer.tar"), ".tar"));
	assert_false(str_ends(STR("tar"), ".tar"));
	assert_str(str_of(NULL), "");
}

static void cutting_takes_the_first_or_last_separator(void **arg)
{
	struct str head, tail;

	(void)arg;
	assert_true(str_cut(STR("a:b:c"), ':', &head, &tail));
	assert_str(head, "a");
	assert_str(tail, "b:c");
	assert_true(str_rcut(STR("a:b:c"), ':', &head, &tail));
	assert_str(head, "a:b");
	assert_str(tail, "c");
	assert_true(str_cut(STR(":"), ':', &head, &tail));
	assert_str(head, "");
	assert_str(tail, "");
	assert_false(str_cut(STR("abc"), ':', &head, &tail));
	assert_str(head, "abc");
	assert_str(tail, "");
	assert_false(str_rcut((struct str){ NULL, 0 }, ':', &head, &tail));
	assert_str(head, "");
}

static void blanks_are_trimmed_at_both_ends_only(void **arg)
{
	(void)arg;
	assert_str(str_trim(STR(" \t\r\n a b \v\f")), "a b");
	assert_str(str_trim(STR("  ")), "");
	assert_str(str_trim(STR("")), "");
}

static void utf8_is_what_unicode_says(void **arg)
{
	static const struct {
		struct str text;
		bool valid;
	} rows[] = {
		{ { "", 0 }, true },
		{ { "plain ascii that is longer than eight bytes", 43 }, true },
		{ { "a\0b", 3 }, true },
		{ { "\x7f", 1 }, true },
		{ { "\xc2\x80", 2 }, true },
		{ { "\xdf\xbf", 2 }, true },
		{ { "\xe0\xa0\x80", 3 }, true },
		{ { "\xed\x9f\xbf", 3 }, true },
		{ { "\xee\x80\x80", 3 }, true },
		{ { "\xef\xbf\xbf", 3 }, true },
		{ { "\xf0\x90\x80\x80", 4 }, true },
		{ { "\xf4\x8f\xbf\xbf", 4 }, true },
		{ { "\x80", 1 }, false }, /* continuation alone */
		{ { "\xc2", 1 }, false }, /* cut */
		{ { "\xe2\x82", 2 }, false },
		{ { "\xf0\x9f\x98", 3 }, false },
		{ { "\xc0\x80", 2 }, false }, /* overlong */
		{ { "\xc1\xbf", 2 }, false },
		{ { "\xe0\x9f\xbf", 3 }, false },
		{ { "\xf0\x8f\xbf\xbf", 4 }, false },
		{ { "\xed\xa0\x80", 3 }, false },     /* surrogate */
		{ { "\xf4\x90\x80\x80", 4 }, false }, /* beyond U+10FFFF */
		{ { "\xf5\x80\x80\x80", 4 }, false },
		{ { "\xff", 1 }, false },
		{ { "\xe2\x28\xa1", 3 }, false },
		{ { "12345678\xff", 9 }, false }, /* behind the fast path */
		{ { "1234567\xc2\xa9"
		    "12345678",
		    17 },
		  true }, /* across it */
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (str_utf8_valid(rows[i].text) != rows[i].valid)
			fail_msg("row %zu", i);
	assert_int_equal(str_utf8_seq(STR("\xf0\x9f\x98\x80x")), 4);
	assert_int_equal(str_utf8_seq(STR("x")), 1);
	assert_int_equal(str_utf8_seq(STR("")), 0);
	assert_int_equal(str_utf8_seq(STR("\xc3x")), 0);
}

static void numbers_are_whole_strings_in_range(void **arg)
{
	uint64_t u = 7;
	int64_t i = 7;

	(void)arg;
	assert_int_equal(str_u64(STR("18446744073709551615"), UINT64_MAX, &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(str_u64(STR("18446744073709551616"), UINT64_MAX, &u), -1);
	assert_int_equal(str_u64(STR("99999999999999999999999"), UINT64_MAX, &u), -1);
	assert_int_equal(str_u64(STR("0007"), 7, &u), 0);
	assert_int_equal(u, 7);
	assert_int_equal(str_u64(STR("8"), 7, &u), -1);
	assert_int_equal(u, 7); /* untouched on failure */

	static const char *const bad[] = {
		"", " 1", "1 ", "+1", "-1", "1a", "0x1", "1.0", "/", ":"
	};

	for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
		assert_int_equal(str_u64(str_of(bad[k]), UINT64_MAX, &u), -1);
	assert_int_equal(str_u64(STR("1\0"), UINT64_MAX, &u), -1);

	assert_int_equal(str_i64(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(str_i64(STR("9223372036854775807"), INT64_MIN, INT64_MAX, &i), 0);
	assert_true(i == INT64_MAX);
	assert_int_equal(str_i64(STR("9223372036854775808"), INT64_MIN, INT64_MAX, &i), -1);
	assert_int_equal(str_i64(STR("-9223372036854775809"), INT64_MIN, INT64_MAX, &i), -1);
	assert_int_equal(str_i64(STR("-1000"), -1000, 1000, &i), 0);
	assert_int_equal(i, -1000);
	assert_int_equal(str_i64(STR("-1001"), -1000, 1000, &i), -1);
	assert_int_equal(str_i64(STR("-"), INT64_MIN, INT64_MAX, &i), -1);
	assert_int_equal(str_i64(STR("--1"), INT64_MIN, INT64_MAX, &i), -1);
	assert_int_equal(str_i64(STR("-0"), 0, 0, &i), 0);
	assert_int_equal(i, 0);

	assert_int_equal(str_oct(STR("0755"), 07777, &u), 0);
	assert_int_equal(u, 0755);
	assert_int_equal(str_oct(STR("8"), 07777, &u), -1);
}

static void own_strings_are_compared_null_included(void **arg)
{
	(void)arg;
	assert_true(streq(NULL, NULL));
	assert_false(streq(NULL, ""));
	assert_true(streq("a", "a"));
	assert_true(starts_with("network", "net"));
	assert_false(starts_with("ne", "net"));
	assert_true(ends_with("pod.slice", ".slice"));
	assert_false(ends_with("slice", ".slice"));
	assert_string_equal(or_empty(NULL), "");
}

static void bounded_copies_are_all_or_nothing(void **arg)
{
	char dst[4] = "xyz";

	(void)arg;
	assert_int_equal(str_copy(dst, sizeof(dst), "abc"), 0);
	assert_string_equal(dst, "abc");
	assert_int_equal(str_copy(dst, sizeof(dst), "abcd"), -1);
	assert_string_equal(dst, "");
	assert_int_equal(str_format(dst, sizeof(dst), "%d", 999), 0);
	assert_string_equal(dst, "999");
	assert_int_equal(str_format(dst, sizeof(dst), "%d", 1000), -1);
	assert_string_equal(dst, "");
}

static void suggestions_are_near_misses_only(void **arg)
{
	static const char *const keys[] = { "listen", "root", "state", "log_level",
		                            "sandbox_image" };

	(void)arg;
	assert_string_equal(str_suggest("lsiten", keys, ARRAY_SIZE(keys)), "listen"); /* swapped */
	assert_string_equal(str_suggest("rot", keys, ARRAY_SIZE(keys)), "root");
	assert_string_equal(str_suggest("loglevel", keys, ARRAY_SIZE(keys)), "log_level");
	assert_string_equal(str_suggest("sandboximages", keys, ARRAY_SIZE(keys)), "sandbox_image");
	assert_null(str_suggest("plugin", keys, ARRAY_SIZE(keys)));
	assert_null(str_suggest("rx", keys, ARRAY_SIZE(keys)));
	assert_null(str_suggest("root", keys, 0));
	assert_null(str_suggest(
		"a word that is far longer than anything anybody would mistype in a file", keys,
		5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(views_compare_by_bytes),
		cmocka_unit_test(cutting_takes_the_first_or_last_separator),
		cmocka_unit_test(blanks_are_trimmed_at_both_ends_only),
		cmocka_unit_test(utf8_is_what_unicode_says),
		cmocka_unit_test(numbers_are_whole_strings_in_range),
		cmocka_unit_test(own_strings_are_compared_null_included),
		cmocka_unit_test(bounded_copies_are_all_or_nothing),
		cmocka_unit_test(suggestions_are_near_misses_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
