#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bug.h"
#include "tests/unit/core/base/dies.h"

static void break_a_promise(void)
{
	int apples = 2;

	ensure(apples == 3);
}

static void break_it_under_journald(void)
{
	setenv("JOURNAL_STREAM", "8:12345", 1);
	break_a_promise();
}

static void keep_a_promise(void)
{
	int calls = 0;

	ensure(++calls == 1);
	if (calls != 1) /* evaluated twice, or not at all */
		abort();
}

static void a_broken_promise_names_itself_and_aborts(void **arg)
{
	char said[512];

	(void)arg;
	unsetenv("JOURNAL_STREAM");
	assert_true(dies_saying(break_a_promise, said, sizeof(said)));
	assert_int_equal(strncmp(said, "coracle: bug: ", 14), 0);
	assert_non_null(strstr(said, "test_bug.c:"));
	assert_non_null(strstr(said, ": break_a_promise: apples == 3\n"));
	assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
}

static void journald_is_told_the_priority(void **arg)
{
	char said[512];

	(void)arg;
	assert_true(dies_saying(break_it_under_journald, said, sizeof(said)));
	assert_int_equal(strncmp(said, "<0>coracle: bug: ", 17), 0);
}

static void a_kept_promise_is_evaluated_once(void **arg)
{
	(void)arg;
	assert_false(dies(keep_a_promise));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broken_promise_names_itself_and_aborts),
		cmocka_unit_test(journald_is_told_the_priority),
		cmocka_unit_test(a_kept_promise_is_evaluated_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
