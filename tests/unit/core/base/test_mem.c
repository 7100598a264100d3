#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "tests/unit/core/base/dies.h"

static void blocks_are_zeroed_and_never_null(void **arg)
{
	cleanup_free char *zeroed = xcalloc(3, 7);
	/* cppcheck-suppress invalidFunctionArg ; not the xcalloc it knows */
	cleanup_free void *none = xcalloc(0, 8);
	cleanup_free void *shrunk = xrealloc(xcalloc(1, 100), 0, 4);

	(void)arg;
	for (int i = 0; i < 21; i++)
		assert_int_equal(zeroed[i], 0);
	assert_non_null(none);
	assert_non_null(shrunk);
}

static void overflow_calloc(void)
{
	/* cppcheck-suppress leakReturnValNotUsed ; does not return */
	ignore(xcalloc(SIZE_MAX / 2, 3) != NULL);
}

static void overflow_realloc(void)
{
	ignore(xrealloc(NULL, SIZE_MAX / 2, 3) != NULL);
}

static void sizes_that_overflow_abort(void **arg)
{
	(void)arg;
	assert_true(dies(overflow_calloc));
	assert_true(dies(overflow_realloc));
}

static void copies_are_copies(void **arg)
{
	char source[] = "coracle";
	cleanup_free char *whole = xstrdup(source);
	cleanup_free char *part = xstrndup(source, 3);
	cleanup_free char *empty = xstrndup(NULL, 0);
	cleanup_free char *made = xasprintf("%s-%d", source, 7);
	cleanup_free char *bytes = xmemdup("a\0b", 3);

	(void)arg;
	source[0] = 'X';
	assert_string_equal(whole, "coracle");
	assert_string_equal(part, "cor");
	assert_string_equal(empty, "");
	assert_string_equal(made, "coracle-7");
	assert_memory_equal(bytes, "a\0b", 3);
	/* cppcheck-suppress nullPointer ; not the xstrdup it knows */
	assert_null(xstrdup(NULL));
}

static void try_calloc_says_no_instead_of_aborting(void **arg)
{
	cleanup_free char *fits = try_calloc(10, 10, 100);

	(void)arg;
	assert_non_null(fits);
	assert_int_equal(fits[99], 0);
	assert_null(try_calloc(101, 1, 100));
	assert_null(try_calloc(SIZE_MAX / 2, 4, SIZE_MAX));
}

static void string_vectors_are_counted_copied_and_freed(void **arg)
{
	char *const words[] = { (char[]){ "run" }, (char[]){ "" }, (char[]){ "--bundle" }, NULL };
	cleanup(strv_free) char **copy = strv_dup(words);

	(void)arg;
	assert_int_equal(strv_len(words), 3);
	assert_int_equal(strv_len(copy), 3);
	assert_ptr_not_equal(copy[2], words[2]);
	assert_string_equal(copy[2], "--bundle");
	assert_null(copy[3]);
	assert_int_equal(strv_len(NULL), 0);
	assert_null(strv_dup(NULL));
	strv_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_zeroed_and_never_null),
		cmocka_unit_test(sizes_that_overflow_abort),
		cmocka_unit_test(copies_are_copies),
		cmocka_unit_test(try_calloc_says_no_instead_of_aborting),
		cmocka_unit_test(string_vectors_are_counted_copied_and_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
