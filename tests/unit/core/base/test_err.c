#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/err.h"
#include "core/base/str.h"
#include "tests/unit/core/base/dies.h"

static void failing_is_one_line_and_returns_minus_one(void **arg)
{
	struct err err = { .code = CODE_OK };

	(void)arg;
	assert_int_equal(err_set(&err, CODE_NOT_FOUND, "container %s", "c1"), -1);
	assert_true(err_is(&err, CODE_NOT_FOUND));
	assert_int_equal(err.sys, 0);
	assert_string_equal(err.msg, "container c1");

	assert_int_equal(err_wrap(&err, "sandbox %d", 7), -1);
	assert_string_equal(err.msg, "sandbox 7: container c1");
	assert_true(err_is(&err, CODE_NOT_FOUND));

	err_clear(&err);
	assert_true(err_is(&err, CODE_OK));
	assert_string_equal(err.msg, "");
}

static void errno_decides_the_code_and_is_kept(void **arg)
{
	static const struct {
		int sys;
		enum code code;
	} rows[] = {
		{ ENOENT, CODE_NOT_FOUND },
		{ EEXIST, CODE_ALREADY_EXISTS },
		{ EACCES, CODE_PERMISSION_DENIED },
		{ EPERM, CODE_PERMISSION_DENIED },
		{ ENOSPC, CODE_RESOURCE_EXHAUSTED },
		{ EDQUOT, CODE_RESOURCE_EXHAUSTED },
		{ ENOMEM, CODE_RESOURCE_EXHAUSTED },
		{ EMFILE, CODE_RESOURCE_EXHAUSTED },
		{ ENFILE, CODE_RESOURCE_EXHAUSTED },
		{ ETIMEDOUT, CODE_DEADLINE_EXCEEDED },
		{ EINVAL, CODE_INTERNAL },
		{ EIO, CODE_INTERNAL },
		{ 0, CODE_INTERNAL },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err err = { .code = CODE_OK };

		assert_int_equal(err_sys(&err, rows[i].sys, "open %s", "/x"), -1);
		assert_int_equal(err.code, rows[i].code);
		assert_int_equal(err.sys, rows[i].sys);
		assert_int_equal(strncmp(err.msg, "open /x: ", 9), 0);
		assert_string_equal(err.msg + 9, errno_name(rows[i].sys));
	}
}

static void an_error_may_be_set_from_its_own_text(void **arg)
{
	struct err err = { .code = CODE_OK };

	(void)arg;
	err_set(&err, CODE_UNAVAILABLE, "inner");
	err_set(&err, CODE_ABORTED, "outer (%s)", err.msg);
	assert_string_equal(err.msg, "outer (inner)");
	err_wrap(&err, "again %s", err.msg);
	assert_string_equal(err.msg, "again outer (inner): outer (inner)");
}

static void long_text_is_cut_with_dots_and_keeps_whole_characters(void **arg)
{
	struct err err = { .code = CODE_OK };
	char text[600];

	(void)arg;
	/* every alignment of a three-byte character against the cut */
	for (size_t shift = 0; shift < 3; shift++) {
		size_t len;

		memset(text, 'a', shift);
		for (size_t i = shift; i + 3 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac", 4);
		err_set(&err, CODE_UNKNOWN, "%s", text);
		len = strlen(err.msg);
		assert_true(len < sizeof(err.msg) && len > sizeof(err.msg) - 8);
		assert_string_equal(err.msg + len - 3, "...");
		assert_true(str_utf8_valid(str_of(err.msg)));
	}
	memset(text, 'b', sizeof(err.msg) - 1);
	text[sizeof(err.msg) - 1] = '\0';
	err_set(&err, CODE_UNKNOWN, "%s", text);
	assert_string_equal(err.msg, text); /* just fits */
}

static void a_long_context_does_not_push_the_reason_out(void **arg)
{
	struct err err = { .code = CODE_OK };
	char path[500];

	(void)arg;
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	err_sys(&err, ENOENT, "open %s", path);
	assert_true(ends_with(err.msg, errno_name(ENOENT)));
	err_wrap(&err, "%s", path);
	assert_true(ends_with(err.msg, errno_name(ENOENT)));
	assert_true(starts_with(err.msg, "ppp"));
}

static void control_characters_never_leave(void **arg)
{
	struct err err = { .code = CODE_OK };

	(void)arg;
	err_set(&err, CODE_UNKNOWN, "%s", "crun: a\nb\tc\x1b[31m\x7f");
	assert_string_equal(err.msg, "crun: a b c [31m ");
}

static void codes_have_their_grpc_numbers_and_names(void **arg)
{
	(void)arg;
	assert_int_equal(CODE_UNAUTHENTICATED, 16);
	assert_string_equal(code_name(CODE_OK), "OK");
	assert_string_equal(code_name(CODE_UNAVAILABLE), "UNAVAILABLE");
	assert_string_equal(code_name((enum code)99), "UNKNOWN");
	for (int i = 0; i <= CODE_UNAUTHENTICATED; i++)
		assert_true(i == CODE_UNKNOWN || !streq(code_name((enum code)i), "UNKNOWN"));
}

static void set_ok(void)
{
	struct err err;

	err_set(&err, CODE_OK, "no error");
}

static void wrap_nothing(void)
{
	struct err err = { .code = CODE_OK };

	err_wrap(&err, "context");
}

static void an_error_that_is_none_is_a_bug(void **arg)
{
	(void)arg;
	assert_true(dies(set_ok));
	assert_true(dies(wrap_nothing));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failing_is_one_line_and_returns_minus_one),
		cmocka_unit_test(errno_decides_the_code_and_is_kept),
		cmocka_unit_test(an_error_may_be_set_from_its_own_text),
		cmocka_unit_test(long_text_is_cut_with_dots_and_keeps_whole_characters),
		cmocka_unit_test(a_long_context_does_not_push_the_reason_out),
		cmocka_unit_test(control_characters_never_leave),
		cmocka_unit_test(codes_have_their_grpc_numbers_and_names),
		cmocka_unit_test(an_error_that_is_none_is_a_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
