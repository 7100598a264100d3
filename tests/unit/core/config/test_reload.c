#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/str.h"
#include "core/config/config.h"

static const struct config_flags no_flags;

static struct config *parse(const char *file, const char *text)
{
	struct err err;
	struct config *config = config_from_text(file, text, strlen(text), &no_flags, &err);

	if (!config)
		fail_msg("%s", err.msg);
	return config;
}

static void note(void *arg, const struct config_value *value, bool taken)
{
	assert_int_equal(buf_printf(arg, "%s %s.%s = %s (%s)\n", taken ? "taken" : "left",
	                            value->section, value->key->name, value->text, value->origin),
	                 0);
}

static void reloads_to(struct config *config, const char *text, const char *expected)
{
	cleanup(config_free) struct config *fresh = parse("b", text);
	cleanup(buf_release) struct buf said = { 0 };

	buf_init(&said, 4096);
	config_reload(config, fresh, note, &said);
	assert_string_equal(said.len ? said.data : "", expected);
}

static void what_can_change_changes_and_the_rest_is_told(void **arg)
{
	cleanup(config_free) struct config *config =
		parse("a", "[log]\nlevel = warn\n[cni]\nbin_dirs = /a\n[runtime x]\npath = crun\n"
	                   "[journal]\nkeep = 8MiB\n");

	(void)arg;
	reloads_to(
		config,
		"[log]\nlevel = debug\n[runtime]\ntimeout = 3s\n[cni]\nbin_dirs = /b, /c\nbuiltin = no\n"
		"[image]\npinned_images = one, two\n[journal]\nkeep = 9MiB\n[runtime y]\npath = runc\n",
		"taken log.level = debug (b:2)\n"
		"taken runtime.timeout = 3s (b:4)\n"
		"taken cni.bin_dirs = /b, /c (b:6)\n"
		"taken cni.builtin = no (b:7)\n"
		"taken image.pinned_images = one, two (b:9)\n"
		"left journal.keep = 9MiB (b:11)\n"
		"left runtime x.handler =  (default)\n"
		"left runtime x.path = crun (a:6)\n"
		"left runtime x.sandbox = pinned (default)\n"
		"left runtime y.handler =  (default)\n"
		"left runtime y.path = runc (b:13)\n"
		"left runtime y.sandbox = pinned (default)\n");
	assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(config->runtime_timeout_ms, 3000);
	assert_string_equal(config->cni_bin_dirs[1], "/c");
	assert_false(config->cni_builtin);
	assert_string_equal(config->pinned_images[1], "two");
	assert_int_equal(config->journal_keep_bytes, 8 << 20);
	assert_int_equal(config->nruntimes, 1);
	assert_string_equal(config->runtimes[0].name, "x");
}

static void what_moved_in_the_file_is_no_change(void **arg)
{
	cleanup(config_free) struct config *config = parse("a", "[log]\nlevel = warn\n");

	(void)arg;
	reloads_to(config, "# more\n[log]\nlevel = warn\n", "");
	assert_string_equal(config->values[3].origin, "b:3");
}

static void problems_are_those_of_the_last_reading(void **arg)
{
	cleanup(config_free) struct config *config = parse("a", "[log]\nlevle = warn\n");

	(void)arg;
	assert_int_equal(config->nproblems, 1);
	reloads_to(config, "", "");
	assert_int_equal(config->nproblems, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_can_change_changes_and_the_rest_is_told),
		cmocka_unit_test(what_moved_in_the_file_is_no_change),
		cmocka_unit_test(problems_are_those_of_the_last_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
