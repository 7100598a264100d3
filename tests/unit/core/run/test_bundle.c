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
#include "core/run/bundle.h"

static int setup(void **arg)
{
	char *dir = xstrdup("/tmp/test-bundle-XXXXXX");

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

static struct bundle named(const char *state, const char *id)
{
	struct bundle bundle;
	struct err err;

	assert_int_equal(bundle_names(&bundle, state, id, &err), 0);
	return bundle;
}

static void names_derive_from_the_id(void **arg)
{
	struct bundle b = named("/run/coracle", "c1");
	char path[BUNDLE_PATH_SIZE];
	struct err err;

	(void)arg;
	assert_string_equal(b.dir, "/run/coracle/bundles/c1");
	assert_string_equal(b.config, "/run/coracle/bundles/c1/config.json");
	assert_string_equal(b.rootfs, "/run/coracle/bundles/c1/rootfs");
	assert_int_equal(bundle_exec_name(&b, 3, ".pid", path, sizeof(path), &err), 0);
	assert_string_equal(path, "/run/coracle/bundles/c1/exec-3.pid");
}

static void an_id_that_leaves_the_directory_is_refused(void **arg)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "../a", ".hidden" };
	cleanup_free char *state = xcalloc(1, 300);
	struct bundle bundle;
	struct err err;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(bundle_names(&bundle, "/run/coracle", bad[i], &err), -1);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	}
	memset(state, 'a', 299);
	assert_int_equal(bundle_names(&bundle, state, "c1", &err), -1);
}

static void a_bundle_is_entered_by_a_mapped_root_and_read_by_ours(void **arg)
{
	struct bundle b = named(*arg, "c1");
	cleanup_free char *text = NULL;
	struct stat st;
	struct err err;
	size_t len;

	assert_int_equal(bundle_create(&b, &err), 0);
	assert_int_equal(bundle_create(&b, &err), 0);
	assert_int_equal(bundle_write_config(&b, "{\"a\":1}", 7, &err), 0);
	assert_int_equal(bundle_write_config(&b, "{\"a\":2}", 7, &err), 0);
	assert_int_equal(stat(b.rootfs, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(stat(b.config, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(bundle_read_config(&b, &text, &len, &err), 0);
	assert_string_equal(text, "{\"a\":2}");
	assert_int_equal(len, 7);
}

static void a_spec_beyond_the_limit_is_refused(void **arg)
{
	struct bundle b = named(*arg, "c1");
	cleanup_free char *huge = xcalloc(1, BUNDLE_CONFIG_MAX_BYTES + 1);
	struct err err;

	assert_int_equal(bundle_create(&b, &err), 0);
	assert_int_equal(bundle_write_config(&b, huge, BUNDLE_CONFIG_MAX_BYTES + 1, &err), -1);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_false(fsx_exists(b.config));
}

static void removing_twice_and_listing_nothing_is_fine(void **arg)
{
	struct bundle a = named(*arg, "a"), b = named(*arg, "b");
	cleanup(strv_free) char **none = NULL, **two = NULL, **one = NULL;
	struct err err;

	assert_int_equal(bundle_list(*arg, &none, &err), 0);
	assert_int_equal(strv_len(none), 0);
	assert_int_equal(bundle_create(&b, &err), 0);
	assert_int_equal(bundle_create(&a, &err), 0);
	assert_int_equal(bundle_list(*arg, &two, &err), 0);
	assert_int_equal(strv_len(two), 2);
	assert_string_equal(two[0], "a");
	assert_int_equal(bundle_remove(&a, &err), 0);
	assert_int_equal(bundle_remove(&a, &err), 0);
	assert_int_equal(bundle_list(*arg, &one, &err), 0);
	assert_int_equal(strv_len(one), 1);
}

static void the_files_of_an_exec_go_together(void **arg)
{
	struct bundle b = named(*arg, "c1");
	char json[BUNDLE_PATH_SIZE], log[BUNDLE_PATH_SIZE], other[BUNDLE_PATH_SIZE];
	struct err err;

	assert_int_equal(bundle_create(&b, &err), 0);
	assert_int_equal(bundle_write_exec(&b, 1, "{}", 2, &err), 0);
	assert_int_equal(bundle_write_exec(&b, 2, "{}", 2, &err), 0);
	assert_int_equal(bundle_exec_name(&b, 1, ".json", json, sizeof(json), &err), 0);
	assert_int_equal(bundle_exec_name(&b, 1, ".log", log, sizeof(log), &err), 0);
	assert_int_equal(bundle_exec_name(&b, 2, ".json", other, sizeof(other), &err), 0);
	assert_int_equal(fsx_write(AT_FDCWD, log, "x", 1, 0600), 0);
	bundle_remove_exec(&b, 1);
	assert_false(fsx_exists(json));
	assert_false(fsx_exists(log));
	assert_true(fsx_exists(other));
	bundle_remove_exec(&b, 1);
}

static void a_pid_file_is_missing_empty_wrong_or_right(void **arg)
{
	cleanup_free char *file = xasprintf("%s/pid", (char *)*arg);
	struct err err;
	pid_t pid = 0;

	assert_int_equal(bundle_read_pid(file, &pid, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_int_equal(fsx_write(AT_FDCWD, file, "", 0, 0600), 0);
	assert_int_equal(bundle_read_pid(file, &pid, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_int_equal(fsx_write(AT_FDCWD, file, "-3\n", 3, 0600), 0);
	assert_int_equal(bundle_read_pid(file, &pid, &err), -1);
	assert_int_equal(err.code, CODE_INTERNAL);
	assert_int_equal(pid, 0);
	assert_int_equal(fsx_write(AT_FDCWD, file, "4711\n", 5, 0600), 0);
	assert_int_equal(bundle_read_pid(file, &pid, &err), 0);
	assert_int_equal(pid, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_derive_from_the_id),
		cmocka_unit_test(an_id_that_leaves_the_directory_is_refused),
		cmocka_unit_test_setup_teardown(
			a_bundle_is_entered_by_a_mapped_root_and_read_by_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spec_beyond_the_limit_is_refused, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(removing_twice_and_listing_nothing_is_fine, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(the_files_of_an_exec_go_together, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pid_file_is_missing_empty_wrong_or_right, setup,
		                                teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
