/* What needs no privilege; the rest is in tests/integration/run. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/mount.h"

static int setup(void **arg)
{
	char *dir = xstrdup("/tmp/test-mount-XXXXXX");

	assert_non_null(mkdtemp(dir));
	*arg = dir;
	return 0;
}

static int teardown(void **arg)
{
	assert_int_equal(fsx_remove_tree(AT_FDCWD, *arg), 0);
	free(*arg);
	return 0;
}

static void detaching_and_removing_nothing_is_success(void **arg)
{
	cleanup_free char *gone = xasprintf("%s/gone", (char *)*arg),
			  *deeper = xasprintf("%s/gone/too", (char *)*arg);
	const char *const targets[] = { gone, deeper };
	struct fault fault;

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		assert_int_equal(mount_apply(&(struct mount_op){ .kind = MOUNT_DETACH,
		                                                 .target = targets[i] },
		                             &fault),
		                 0);
		assert_int_equal(mount_apply(&(struct mount_op){ .kind = MOUNT_REMOVE_TREE,
		                                                 .target = targets[i] },
		                             &fault),
		                 0);
	}
}

static void a_tree_without_mounts_is_just_removed(void **arg)
{
	cleanup_free char *dir = xasprintf("%s/a", (char *)*arg),
			  *deep = xasprintf("%s/a/b/c", (char *)*arg);
	struct fault fault;

	assert_int_equal(
		mount_apply(&(struct mount_op){ .kind = MOUNT_MKDIR, .target = deep, .mode = 0700 },
	                    &fault),
		0);
	assert_int_equal(
		mount_apply(&(struct mount_op){ .kind = MOUNT_REMOVE_TREE, .target = dir }, &fault),
		0);
	assert_false(fsx_exists(dir));
	assert_true(fsx_exists(*arg));
}

static void a_failure_names_the_operation_and_its_path(void **arg)
{
	cleanup_free char *file = xasprintf("%s/file", (char *)*arg),
			  *below = xasprintf("%s/file/x", (char *)*arg);
	struct fault fault;

	assert_int_equal(fsx_write(AT_FDCWD, file, "", 0, 0600), 0);
	assert_int_equal(
		mount_apply(
			&(struct mount_op){ .kind = MOUNT_MKDIR, .target = below, .mode = 0700 },
			&fault),
		-1);
	assert_int_equal(fault.sys, ENOTDIR);
	assert_non_null(strstr(fault.text, "create directory "));
	assert_non_null(strstr(fault.text, below));
}

static void only_whole_components_are_below(void **arg)
{
	cleanup(strv_free) char **all = NULL, **proc = NULL, **pro = NULL;
	struct err err;

	(void)arg;
	assert_int_equal(mount_list("/proc", &proc, &err), 0);
	assert_true(strv_len(proc) >= 1);
	assert_string_equal(proc[strv_len(proc) - 1], "/proc"); /* the outermost last */
	for (char **target = proc; *target; target++)
		assert_true(streq(*target, "/proc") || starts_with(*target, "/proc/"));
	assert_int_equal(mount_list("/pro", &pro, &err), 0);
	assert_int_equal(strv_len(pro), 0);
	assert_int_equal(mount_list("/proc/", &all, &err), 0);
	assert_int_equal(strv_len(all), strv_len(proc)); /* a trailing slash changes nothing */
}

static void a_relative_or_dotted_prefix_is_refused(void **arg)
{
	static const char *const bad[] = { "", "proc", "/", "/proc/.", "/proc/.." };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cleanup(strv_free) char **targets = NULL;
		struct err err;

		assert_int_equal(mount_list(bad[i], &targets, &err), -1);
	}
}

static void shm_has_the_options_that_pods_expect(void **arg)
{
	struct mount_shm shm;

	(void)arg;
	mount_shm_ops(&shm, "/x/shm", MOUNT_SHM_BYTES);
	assert_int_equal(shm.ops[0].kind, MOUNT_MKDIR);
	assert_string_equal(shm.ops[1].options, "mode=1777,size=67108864");
	assert_int_equal(shm.ops[1].flags,
	                 MOUNT_NOEXEC | MOUNT_NOSUID | MOUNT_NODEV | MOUNT_IF_ABSENT);
	assert_string_equal(shm.ops[1].fstype, "tmpfs");
}

static void on_done(void *arg, const struct err *err)
{
	int *answers = arg;

	assert_int_equal(err != NULL, answers[1]);
	answers[0]++;
}

static void a_job_stops_at_the_first_failure(void **arg)
{
	cleanup_free char *first = xasprintf("%s/1", (char *)*arg),
			  *file = xasprintf("%s/file", (char *)*arg);
	cleanup_free char *bad = xasprintf("%s/file/x", (char *)*arg),
			  *last = xasprintf("%s/2", (char *)*arg);
	struct mount_op ops[] = {
		{ .kind = MOUNT_MKDIR, .target = first, .mode = 0700 },
		{ .kind = MOUNT_MKDIR, .target = bad, .mode = 0700 },
		{ .kind = MOUNT_MKDIR, .target = last, .mode = 0700 },
	};
	int answers[2] = { 0, 1 }; /* done, error expected */
	struct loop *loop;
	struct err err;

	loop = loop_new(&err);
	assert_int_equal(fsx_write(AT_FDCWD, file, "", 0, 0600), 0);
	assert_int_equal(mount_run(loop, ops, ARRAY_SIZE(ops), -1, 5000, on_done, answers, &err),
	                 0);
	assert_int_equal(answers[0], 0);
	while (!answers[0])
		loop_turn(loop, true);
	assert_true(fsx_is_dir(first));
	assert_false(fsx_exists(last));
	answers[1] = 0;
	assert_int_equal(mount_run(loop, &ops[2], 1, -1, 5000, on_done, answers, &err), 0);
	while (answers[0] < 2)
		loop_turn(loop, true);
	assert_true(fsx_is_dir(last));
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(detaching_and_removing_nothing_is_success, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_tree_without_mounts_is_just_removed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_failure_names_the_operation_and_its_path, setup,
		                                teardown),
		cmocka_unit_test(only_whole_components_are_below),
		cmocka_unit_test(a_relative_or_dotted_prefix_is_refused),
		cmocka_unit_test(shm_has_the_options_that_pods_expect),
		cmocka_unit_test_setup_teardown(a_job_stops_at_the_first_failure, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
