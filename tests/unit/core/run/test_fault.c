#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/fd.h"
#include "core/run/fault.h"

struct outcome {
	bool done, failed;
	struct err err;
	const struct child_args *args;
};

static void on_done(void *arg, const struct child_result *result)
{
	struct outcome *outcome = arg;

	outcome->done = true;
	outcome->failed = fault_check(outcome->args, result, &outcome->err) < 0;
}

static struct outcome run(int (*fn)(void *arg))
{
	struct child_args args = CHILD_ARGS_INIT;
	struct outcome outcome = { .args = &args };
	struct loop *loop;
	struct err err;

	loop = loop_new(&err);
	assert_non_null(loop);
	args.name = "job";
	args.fn = fn;
	args.capture_out = args.capture_err = true;
	args.done = on_done;
	args.arg = &outcome;
	assert_non_null(child_spawn(loop, &args, &err));
	while (!outcome.done)
		loop_turn(loop, true);
	loop_free(loop);
	return outcome;
}

static int succeed(void *arg)
{
	(void)arg;
	return 0;
}

static int fail_with_errno(void *arg)
{
	struct fault fault;

	(void)arg;
	fault_sys(&fault, ENOENT, "open ", "/a", " in child");
	return fault_send(&fault, STDOUT_FILENO);
}

static int fail_with_code(void *arg)
{
	struct fault fault;

	(void)arg;
	fault_code(&fault, CODE_UNIMPLEMENTED, "not here");
	return fault_send(&fault, STDOUT_FILENO);
}

static int fail_with_both(void *arg)
{
	struct fault fault;

	(void)arg;
	fault_both(&fault, CODE_INVALID_ARGUMENT, EINVAL, "sysctl x");
	return fault_send(&fault, STDOUT_FILENO);
}

static int fail_silently(void *arg)
{
	(void)arg;
	return 1;
}

static int fail_with_noise(void *arg)
{
	(void)arg;
	ignore(write_full(STDOUT_FILENO, "noise", 5) < 0);
	ignore(write_full(STDERR_FILENO, "reason\n", 7) < 0);
	return 1;
}

static int die(void *arg)
{
	(void)arg;
	fail_with_errno(NULL);
	abort();
}

static void a_child_that_succeeds_has_no_fault(void **arg)
{
	(void)arg;
	assert_false(run(succeed).failed);
}

static void errno_code_and_text_reach_the_parent(void **arg)
{
	struct outcome o = run(fail_with_errno);

	(void)arg;
	assert_true(o.failed);
	assert_int_equal(o.err.code, CODE_NOT_FOUND);
	assert_int_equal(o.err.sys, ENOENT);
	assert_string_equal(o.err.msg, "open /a in child: No such file or directory");
	o = run(fail_with_code);
	assert_int_equal(o.err.code, CODE_UNIMPLEMENTED);
	assert_string_equal(o.err.msg, "not here");
	o = run(fail_with_both);
	assert_int_equal(o.err.code, CODE_INVALID_ARGUMENT);
	assert_int_equal(o.err.sys, EINVAL);
	assert_string_equal(o.err.msg, "sysctl x: Invalid argument");
}

static void a_child_that_says_nothing_is_judged_by_its_end(void **arg)
{
	struct outcome o = run(fail_silently);

	(void)arg;
	assert_true(o.failed);
	assert_string_equal(o.err.msg, "job: exit status 1");
	o = run(fail_with_noise);
	assert_string_equal(o.err.msg, "job: exit status 1: reason");
	o = run(die); /* what it said before does not hide how it ended */
	assert_non_null(strstr(o.err.msg, "job: killed by signal 6"));
}

static void a_text_too_long_is_cut(void **arg)
{
	struct fault fault;
	char longer[400];

	(void)arg;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(fault_sys(&fault, EIO, "a", longer, longer), -1);
	assert_int_equal(strlen(fault.text), sizeof(fault.text) - 1);
	assert_int_equal(fault.sys, EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_that_succeeds_has_no_fault),
		cmocka_unit_test(errno_code_and_text_reach_the_parent),
		cmocka_unit_test(a_child_that_says_nothing_is_judged_by_its_end),
		cmocka_unit_test(a_text_too_long_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
