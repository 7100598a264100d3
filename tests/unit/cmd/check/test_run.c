/* A check runs in a process of its own: whatever it does, there is a report and nobody else is touched. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "cmd/check/run.h"
#include "core/base/mem.h"

static const struct check_group group = { "test", NULL, 0 };

static void run_fn(struct check_reports *reports, unsigned int needs, const char *sysroot,
                   void (*fn)(const struct check_ctx *ctx, struct check_out *out))
{
	static struct check check; /* reports point to it */
	const struct check_ctx ctx = { .sysroot = sysroot };

	check = (struct check){ "test.it", CHECK_FAIL, needs, fn };
	check_run(&group, &check, &ctx, reports);
}

static void reports_much(const struct check_ctx *ctx, struct check_out *out)
{
	(void)ctx;
	check_fail(out, "one", "%s\nand more", "first");
	check_source(out, "/etc/x", 12);
	check_hint(out, "do %d things", 2);
	check_ok(out, NULL, "fine");
}

static void what_is_reported_arrives_in_order_and_on_one_line(void **arg)
{
	cleanup(check_reports_release) struct check_reports reports = { .count = 0 };

	(void)arg;
	run_fn(&reports, 0, "", reports_much);
	assert_int_equal(reports.count, 2);
	assert_int_equal(reports.all[0].status, CHECK_FAIL);
	assert_string_equal(reports.all[0].object, "one");
	assert_string_equal(reports.all[0].message, "first and more");
	assert_string_equal(reports.all[0].hint, "do 2 things");
	assert_string_equal(reports.all[0].file, "/etc/x");
	assert_int_equal(reports.all[0].line, 12);
	assert_int_equal(reports.all[1].status, CHECK_OK);
	assert_null(reports.all[1].object);
	assert_null(reports.all[1].hint);
}

static void crashes(const struct check_ctx *ctx, struct check_out *out)
{
	(void)ctx;
	check_ok(out, NULL, "so far");
	signal(SIGSEGV, SIG_DFL); /* a sanitizer would turn it into an exit */
	raise(SIGSEGV);
}

static void leaves(const struct check_ctx *ctx, struct check_out *out)
{
	(void)ctx;
	(void)out;
	_exit(3);
}

static void a_crash_is_that_checks_failure(void **arg)
{
	cleanup(check_reports_release) struct check_reports reports = { .count = 0 };

	(void)arg;
	run_fn(&reports, 0, "", crashes);
	assert_int_equal(reports.count, 2);
	assert_int_equal(reports.all[1].status, CHECK_FAIL);
	assert_string_equal(reports.all[1].message, "the check was killed by signal 11");
	run_fn(&reports, 0, "", leaves);
	assert_int_equal(reports.all[2].status, CHECK_FAIL);
	assert_string_equal(reports.all[2].message, "the check ended with status 3");
}

static void says_nothing(const struct check_ctx *ctx, struct check_out *out)
{
	(void)ctx;
	(void)out;
}

static void silence_is_told_as_skipped(void **arg)
{
	cleanup(check_reports_release) struct check_reports reports = { .count = 0 };

	(void)arg;
	run_fn(&reports, 0, "", says_nothing);
	assert_int_equal(reports.count, 1);
	assert_int_equal(reports.all[0].status, CHECK_SKIP);
}

static void what_only_this_kernel_knows_is_skipped_below_a_sysroot(void **arg)
{
	cleanup(check_reports_release) struct check_reports reports = { .count = 0 };

	(void)arg;
	run_fn(&reports, CHECK_HOST, "/some/image", crashes);
	assert_int_equal(reports.count, 1);
	assert_int_equal(reports.all[0].status, CHECK_SKIP);
}

static void fails_for_one(const struct check_ctx *ctx, struct check_out *out)
{
	(void)ctx;
	check_fail(out, "one", "broken");
	check_warn(out, "two", "odd");
}

static void asks_who_failed(const struct check_ctx *ctx, struct check_out *out)
{
	check_ok(out, NULL, "%d%d%d", check_has_failed(ctx, "test.it", "one"),
	         check_has_failed(ctx, "test.it", "two"),
	         check_has_failed(ctx, "test.other", "one"));
}

static void a_check_knows_what_failed_before(void **arg)
{
	cleanup(check_reports_release) struct check_reports reports = { .count = 0 };

	(void)arg;
	run_fn(&reports, 0, "", fails_for_one);
	run_fn(&reports, 0, "", asks_who_failed);
	assert_int_equal(reports.count, 3);
	assert_string_equal(reports.all[2].message, "100");
}

static void asks_programs(const struct check_ctx *ctx, struct check_out *out)
{
	char sh[] = "/bin/sh", c[] = "-c", script[] = "read x; echo \"got $x\"; exit 3";
	char none[] = "/nowhere/to/be/found";
	char *argv[] = { sh, c, script, NULL }, *missing[] = { none, NULL }, *text = NULL;
	struct err err = { .code = CODE_OK };
	int status = 0;

	(void)ctx;
	if (check_command(argv, "word\n", &text, &status, &err) == 0)
		check_ok(out, NULL, "%d %s", WEXITSTATUS(status), text);
	free(text);
	if (check_command(missing, NULL, &text, &status, &err) == 0)
		check_ok(out, NULL, "%d %s", WEXITSTATUS(status), text);
}

static void programs_get_their_input_and_their_status_is_told(void **arg)
{
	cleanup(check_reports_release) struct check_reports reports = { .count = 0 };

	(void)arg;
	run_fn(&reports, 0, "", asks_programs);
	assert_int_equal(reports.count, 2);
	assert_string_equal(reports.all[0].message, "3 got word ");
	assert_string_equal(reports.all[1].message, "127 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_reported_arrives_in_order_and_on_one_line),
		cmocka_unit_test(a_crash_is_that_checks_failure),
		cmocka_unit_test(silence_is_told_as_skipped),
		cmocka_unit_test(what_only_this_kernel_knows_is_skipped_below_a_sysroot),
		cmocka_unit_test(a_check_knows_what_failed_before),
		cmocka_unit_test(programs_get_their_input_and_their_status_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
