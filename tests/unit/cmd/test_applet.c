/* Looking up commands, and what is suggested for a mistyped one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/applet.h"

static void every_applet_is_found_by_its_name(void **arg)
{
	const struct applet *applet;

	(void)arg;
	for (applet = applets; applet->name; applet++)
		assert_ptr_equal(applet_find(applet->name), applet);
}

static void every_applet_has_a_function_and_a_summary_in_one_line(void **arg)
{
	const struct applet *applet;

	(void)arg;
	for (applet = applets; applet->name; applet++) {
		assert_non_null(applet->fn);
		assert_true(applet->flags & APPLET_HIDDEN || strlen(applet->summary) <= 60);
		assert_null(strchr(applet->summary, '\n'));
	}
}

static void a_name_is_not_found_by_its_beginning(void **arg)
{
	(void)arg;
	assert_null(applet_find("versio"));
	assert_null(applet_find(""));
}

static void a_slip_of_the_finger_is_recognised(void **arg)
{
	static const char *const slips[] = { "verison", "vrsion",   "versionn",
		                             "wersion", "version-", "ver" };
	size_t i;

	(void)arg;
	for (i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
		const struct applet *meant = applet_suggest(slips[i]);

		assert_non_null(meant);
		assert_string_equal(meant->name, "version");
	}
}

static void nothing_is_suggested_for_another_word(void **arg)
{
	(void)arg;
	assert_null(applet_suggest("frobnicate"));
	assert_null(applet_suggest(""));
	assert_null(applet_suggest("a-word-that-is-longer-than-any-name-of-a-command-could-be"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_applet_is_found_by_its_name),
		cmocka_unit_test(every_applet_has_a_function_and_a_summary_in_one_line),
		cmocka_unit_test(a_name_is_not_found_by_its_beginning),
		cmocka_unit_test(a_slip_of_the_finger_is_recognised),
		cmocka_unit_test(nothing_is_suggested_for_another_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
