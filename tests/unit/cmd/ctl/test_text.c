/* What ctl prints for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/ctl/text.h"
#include "core/base/clock.h"

static char *printed(const struct table *table)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	table_print(table, out);
	fclose(out);
	return text;
}

static void columns_are_as_wide_as_their_widest_cell(void **arg)
{
	static const char *const headings[] = { "NAME", "+SIZE", "WHAT", NULL };
	struct table table;
	char *text;

	(void)arg;
	table_init(&table, headings);
	table_add(&table, "a");
	table_add(&table, "%d", 12345);
	table_add(&table, "x");
	table_add(&table, "b\xc3\xa4\xc3\xa4r"); /* two bytes, one column each */
	table_add(&table, "%d", 7);
	table_add(&table, "%s", "");
	text = printed(&table);
	assert_string_equal(text, "NAME    SIZE   WHAT\n"
	                          "a      12345   x\n"
	                          "b\xc3\xa4\xc3\xa4r       7   -\n");
	free(text);
	table_release(&table);
}

static void what_a_terminal_obeys_is_not_printed(void **arg)
{
	char *text;

	(void)arg;
	text = text_clean("a\x1b[31mb\n\x7f\xc2\x9b"
	                  "c\xff\xc3\xa9\xe2\x82");
	assert_string_equal(text, "a?[31mb???c?\xc3\xa9??");
	free(text);
}

static void sizes_have_at_most_four_digits(void **arg)
{
	char text[TEXT_SIZE];

	(void)arg;
	text_bytes(0, text);
	assert_string_equal(text, "0 B");
	text_bytes(1023, text);
	assert_string_equal(text, "1023 B");
	text_bytes(1536, text);
	assert_string_equal(text, "1.5 KiB");
	text_bytes(1048575, text); /* not "1024.0 KiB" */
	assert_string_equal(text, "1.0 MiB");
	text_bytes(UINT64_MAX, text);
	assert_string_equal(text, "16.0 EiB");
}

static void ages_are_short_and_never_negative(void **arg)
{
	char text[TEXT_SIZE];
	int64_t now = 10000000 * NS_PER_S;

	(void)arg;
	text_age(0, now, text);
	assert_string_equal(text, "-");
	text_age(now + 5, now, text);
	assert_string_equal(text, "0s");
	text_age(now - 119 * NS_PER_S, now, text);
	assert_string_equal(text, "119s");
	text_age(now - 3600 * NS_PER_S, now, text);
	assert_string_equal(text, "60m");
	text_age(now - 50 * 3600 * NS_PER_S, now, text);
	assert_string_equal(text, "2d");
}

static void progress_is_silent_where_nobody_looks(void **arg)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct progress progress = { .out = out };

	(void)arg;
	progress_show(&progress, "x", 1, 2);
	progress_end(&progress);
	fclose(out);
	assert_string_equal(text, "");
	free(text);
}

static void progress_overwrites_its_line_and_wipes_it(void **arg)
{
	char *text = NULL, *last;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct progress progress = { .out = out, .live = true };

	(void)arg;
	progress_show(&progress, "layer", 50, 100);
	fflush(out);
	assert_non_null(strstr(text, "\rlayer [============>           ] 50 B of 100 B"));
	progress_show(&progress, "layer", 500, 100); /* more than announced: full, not beyond */
	fflush(out);
	assert_non_null(strstr(text, "[========================] 500 B of 100 B"));
	progress_show(&progress, "x", 0, 0);
	progress_end(&progress);
	fclose(out);
	last = strrchr(text, '\r');
	assert_string_equal(last, "\r"); /* the cursor is back, nothing stands there */
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(what_a_terminal_obeys_is_not_printed),
		cmocka_unit_test(sizes_have_at_most_four_digits),
		cmocka_unit_test(ages_are_short_and_never_negative),
		cmocka_unit_test(progress_is_silent_where_nobody_looks),
		cmocka_unit_test(progress_overwrites_its_line_and_wipes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
