/* The files that come from the key table are what it says now. CORACLE_UPDATE=1 in the environment writes them anew. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/fsx.h"
#include "core/base/str.h"
#include "core/config/config.h"

static void same_as_the_file(const char *path, int (*print)(struct buf *out))
{
	cleanup(buf_release) struct buf text = { 0 };
	cleanup_free char *there = NULL;
	struct err err = { .code = CODE_OK };

	buf_init(&text, 1 << 20);
	assert_int_equal(print(&text), 0);
	if (getenv("CORACLE_UPDATE"))
		assert_true(fsx_write(AT_FDCWD, path, text.data, text.len, 0644) >= 0);
	if (file_read_all(path, 1 << 20, &there, NULL, &err) < 0)
		fail_msg("%s", err.msg);
	if (!streq(there, text.data))
		fail_msg("%s is not what the key table says (CORACLE_UPDATE=1 writes it)", path);
}

static void the_sample_file_is_what_the_table_says(void **arg)
{
	(void)arg;
	same_as_the_file("dist/coracle.conf", config_sample);
}

static void the_manual_page_is_what_the_table_says(void **arg)
{
	(void)arg;
	same_as_the_file("docs/man/coracle.conf.5", config_manual);
}

static void the_manual_names_every_key_with_its_default(void **arg)
{
	cleanup(buf_release) struct buf text = { 0 };

	(void)arg;
	buf_init(&text, 1 << 20);
	assert_int_equal(config_manual(&text), 0);
	for (size_t i = 0; i < config_key_count(); i++) {
		char line[128];

		assert_int_equal(
			str_format(line, sizeof(line), "\n.BR %s \" (", config_key_at(i)->name), 0);
		assert_non_null(strstr(text.data, line));
		assert_true(strlen(config_key_at(i)->doc) > 20);
	}
}

static void inspection_shows_every_problem_and_never_fails(void **arg)
{
	static const struct config_flags flags = { .file = "/nowhere/coracle.conf",
		                                   .root = "relative",
		                                   .log_level = "loud" };
	cleanup(config_free) struct config *config = config_inspect(&flags, "");

	(void)arg;
	assert_non_null(config);
	assert_int_equal(config->nproblems, 3);
	assert_int_equal(config->problems[0].trouble, CONFIG_UNREADABLE);
	assert_int_equal(config->problems[1].trouble, CONFIG_VALUE);
	assert_int_equal(config->problems[2].trouble, CONFIG_VALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_file_is_what_the_table_says),
		cmocka_unit_test(the_manual_page_is_what_the_table_says),
		cmocka_unit_test(the_manual_names_every_key_with_its_default),
		cmocka_unit_test(inspection_shows_every_problem_and_never_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
