/* Editing a config.json: members by path, and lists whose elements have an identity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/spec.h"

static int setup(void **arg)
{
	struct spec *spec = xcalloc(1, sizeof(*spec));

	spec_init(spec);
	*arg = spec;
	return 0;
}

static int teardown(void **arg)
{
	struct spec *spec = *arg;

	spec_release(spec);
	spec_release(spec); /* twice is fine */
	free(spec);
	return 0;
}

static void reads(struct spec *spec, const char *json)
{
	struct err err;

	spec_release(spec);
	if (spec_read(spec, json, strlen(json), &err) < 0)
		fail_msg("%s", err.msg);
}

#define assert_writes(spec, expected)                                                              \
	do {                                                                                       \
		cleanup_free char *json_ = NULL;                                                   \
		struct err err_;                                                                   \
		assert_int_equal(spec_write(spec, &json_, &err_), 0);                              \
		assert_string_equal(json_, expected);                                              \
	} while (0)

static void a_new_spec_has_the_oldest_version_that_expresses_it(void **arg)
{
	assert_writes(*arg, "{\"ociVersion\":\"1.0.2\"}");
}

static void members_are_set_by_path_and_objects_on_the_way_made(void **arg)
{
	struct spec *spec = *arg;
	static const char *const words[] = { "a", "b" };

	reads(spec, "{\"linux\":7}");
	spec_set_str(spec, "linux.cgroupsPath", "/x");
	spec_set_int(spec, "linux.resources.cpu.quota", -1);
	spec_set_uint(spec, "linux.resources.cpu.shares", UINT64_MAX);
	spec_set_bool(spec, "root.readonly", true);
	spec_set_strv(spec, "process.args", words, 2);
	spec_set_strv(spec, "process.args", words, 1);
	assert_writes(
		spec,
		"{\"linux\":{\"cgroupsPath\":\"/x\",\"resources\":{\"cpu\":{\"quota\":-1,\"shares\":"
		"18446744073709551615}}},\"root\":{\"readonly\":true},\"process\":{\"args\":[\"a\"]}}");
	assert_string_equal(spec_get_str(spec, "linux.cgroupsPath", "?"), "/x");
	assert_string_equal(spec_get_str(spec, "linux.resources.cpu", "?"), "?");
	assert_null(spec_find(spec, "linux.cgroupsPath.deeper"));
	assert_null(spec_find(spec, "nothing.there"));
}

static void unsetting_takes_one_member_and_needs_none(void **arg)
{
	struct spec *spec = *arg;

	reads(spec, "{\"a\":{\"b\":1,\"c\":2},\"d\":3}");
	spec_unset(spec, "a.b");
	spec_unset(spec, "a.x.y");
	spec_unset(spec, "x");
	spec_set(spec, "d", NULL);
	assert_writes(spec, "{\"a\":{\"c\":2}}");
}

static void a_key_from_outside_may_hold_dots(void **arg)
{
	struct spec *spec = *arg;

	reads(spec, "{}");
	spec_entry_set(spec, "linux.resources.unified", "memory.high", "1");
	spec_entry_set(spec, "linux.resources.unified", "memory.low", "2");
	spec_entry_set(spec, "linux.resources.unified", "memory.high", "3");
	spec_entry_unset(spec, "linux.resources.unified", "memory.low");
	spec_entry_unset(spec, "no.such.object", "memory.low");
	assert_writes(spec, "{\"linux\":{\"resources\":{\"unified\":{\"memory.high\":\"3\"}}}}");
}

static void environment_is_replaced_in_place(void **arg)
{
	struct spec *spec = *arg;

	reads(spec, "{\"process\":{\"env\":[\"A=1\",\"AB=2\",\"C\"]}}");
	spec_env_set(spec, "B", "new", 3);
	spec_env_set(spec, "A", "12345", 2);
	assert_string_equal(spec_env_find(spec, "AB"), "2");
	assert_null(spec_env_find(spec, "C"));
	spec_env_unset(spec, "AB");
	spec_env_unset(spec, "absent");
	assert_writes(spec, "{\"process\":{\"env\":[\"A=12\",\"C\",\"B=new\"]}}");
}

static void paths_are_cleaned_without_leaving_the_root(void **arg)
{
	static const struct {
		const char *path, *clean;
	} table[] = {
		{ "", "/" },
		{ "/", "/" },
		{ "//a///b/", "/a/b" },
		{ "/a/./b", "/a/b" },
		{ "/a/../b", "/b" },
		{ "/../../etc", "/etc" },
		{ "a/b", "/a/b" },
		{ "/a/b/..", "/a" },
		{ "/a/..", "/" },
		{ ".", "/" },
		{ "..", "/" },
		{ "/a/b/../../c/d/..", "/c" },
		{ "/...", "/..." },
		{ "/..a/.b", "/..a/.b" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup_free char *clean = spec_path_clean(table[i].path);

		assert_string_equal(clean, table[i].clean);
	}
}

static void a_mount_is_known_by_its_cleaned_destination(void **arg)
{
	struct spec *spec = *arg;
	static const char *const options[] = { "rbind", "ro" };
	static const struct id_map map = { .inside = 0, .outside = 100000, .count = 65536 };
	const struct spec_mount mount = {
		.destination = "/a/b",
		.type = "bind",
		.source = "/s",
		.options = options,
		.noptions = 2,
		.uid_maps = &map,
		.nuid_maps = 1,
		.gid_maps = &map,
		.ngid_maps = 1,
	};

	reads(spec, "{\"mounts\":[{\"destination\":\"/a//b/\"},{\"destination\":\"/c\"},{}]}");
	assert_non_null(spec_mount_find(spec, "/a/b"));
	spec_mount_set(spec, &mount);
	assert_true(spec_mount_unset(spec, "/c/."));
	assert_false(spec_mount_unset(spec, "/c"));
	assert_null(spec_mount_find(spec, "/c"));
	assert_writes(
		spec,
		"{\"mounts\":[{\"destination\":\"/a/b\",\"type\":\"bind\",\"source\":\"/s\",\"options\":[\"rbind\",\"ro\"],"
		"\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
		"\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]},{}]}");
}

static void an_added_mount_lies_on_top(void **arg)
{
	struct spec *spec = *arg;
	const struct spec_mount mount = { .destination = "/a", .type = "bind", .source = "/s" };

	reads(spec, "{}");
	spec_mount_add(spec, &mount);
	spec_mount_add(spec, &mount);
	assert_int_equal(yyjson_mut_arr_size(spec_find(spec, "mounts")), 2);
}

static void a_namespace_is_replaced_by_its_type(void **arg)
{
	struct spec *spec = *arg;

	reads(spec, "{}");
	spec_namespace_set(spec, "pid", NULL);
	spec_namespace_set(spec, "network", "/n");
	spec_namespace_set(spec, "pid", "/p");
	assert_true(spec_namespace_has(spec, "network"));
	spec_namespace_unset(spec, "network");
	assert_false(spec_namespace_has(spec, "network"));
	assert_writes(spec, "{\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":\"/p\"}]}}");
}

static void an_rlimit_is_replaced_by_its_type(void **arg)
{
	struct spec *spec = *arg;

	reads(spec, "{}");
	spec_rlimit_set(spec, "RLIMIT_NOFILE", 1, 2);
	spec_rlimit_set(spec, "RLIMIT_CORE", 0, UINT64_MAX);
	spec_rlimit_set(spec, "RLIMIT_NOFILE", 3, 4);
	spec_rlimit_unset(spec, "RLIMIT_CORE");
	assert_writes(
		spec,
		"{\"process\":{\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":3,\"hard\":4}]}}");
}

static void a_device_is_replaced_by_its_path_and_rules_pile_up(void **arg)
{
	struct spec *spec = *arg;
	struct spec_device device = { .path = "/dev/x", .type = 'c', .major = 1, .minor = 3 };

	reads(spec, "{}");
	spec_device_set(spec, &device);
	device = (struct spec_device){ .path = "/dev/x",
		                       .type = 'b',
		                       .major = 7,
		                       .minor = 0,
		                       .has_mode = true,
		                       .mode = 0640,
		                       .has_owner = true,
		                       .uid = 1,
		                       .gid = 2 };
	spec_device_set(spec, &device);
	spec_device_rule_add(spec, false, 0, -1, -1, "rwm");
	spec_device_rule_add(spec, true, 'c', 1, -1, "r");
	assert_writes(
		spec,
		"{\"linux\":{\"devices\":[{\"path\":\"/dev/x\",\"type\":\"b\",\"major\":7,\"minor\":0,\"fileMode\":416,"
		"\"uid\":1,\"gid\":2}],\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
		"{\"allow\":true,\"type\":\"c\",\"major\":1,\"access\":\"r\"}]}}}");
	spec_device_unset(spec, "/dev/x");
	assert_int_equal(yyjson_mut_arr_size(spec_find(spec, "linux.devices")), 0);
}

static void hooks_are_added_in_order(void **arg)
{
	struct spec *spec = *arg;
	static const char *const args[] = { "h", "x" };
	static const char *const env[] = { "A=1" };

	reads(spec, "{}");
	spec_hook_add(spec, "createRuntime", &(struct spec_hook){ .path = "/h" });
	spec_hook_add(spec, "createRuntime",
	              &(struct spec_hook){ .path = "/i",
	                                   .args = args,
	                                   .nargs = 2,
	                                   .env = env,
	                                   .nenv = 1,
	                                   .timeout_s = 3 });
	assert_writes(
		spec,
		"{\"hooks\":{\"createRuntime\":[{\"path\":\"/h\"},{\"path\":\"/i\",\"args\":[\"h\",\"x\"],"
		"\"env\":[\"A=1\"],\"timeout\":3}]}}");
}

static void id_maps_become_an_array(void **arg)
{
	struct spec *spec = *arg;
	static const struct id_map map = { .inside = 1, .outside = 2, .count = 3 };

	reads(spec, "{}");
	spec_id_maps_set(spec, "linux.uidMappings", &map, 1);
	assert_writes(
		spec,
		"{\"linux\":{\"uidMappings\":[{\"containerID\":1,\"hostID\":2,\"size\":3}]}}");
}

static void only_an_object_is_read(void **arg)
{
	static const char *const bad[] = { "", "[]", "7", "{", "{\"a\":1,\"a\":2}" };
	struct spec spec = { 0 };
	struct err err;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(spec_read(&spec, bad[i], strlen(bad[i]), &err), -1);
		assert_true(err_is(&err, CODE_INVALID_ARGUMENT));
		assert_null(spec.doc);
	}
}

static void a_spec_beyond_the_limit_is_not_written(void **arg)
{
	struct spec *spec = *arg;
	cleanup_free char *text = xcalloc(SPEC_MAX_BYTES + 1, 1);
	char *json = NULL;
	struct err err;

	memset(text, 'x', SPEC_MAX_BYTES);
	spec_set_str(spec, "process.cwd", text);
	assert_int_equal(spec_write(spec, &json, &err), -1);
	assert_true(err_is(&err, CODE_RESOURCE_EXHAUSTED));
	assert_null(json);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_spec_has_the_oldest_version_that_expresses_it),
		TEST(members_are_set_by_path_and_objects_on_the_way_made),
		TEST(unsetting_takes_one_member_and_needs_none),
		TEST(a_key_from_outside_may_hold_dots),
		TEST(environment_is_replaced_in_place),
		TEST(paths_are_cleaned_without_leaving_the_root),
		TEST(a_mount_is_known_by_its_cleaned_destination),
		TEST(an_added_mount_lies_on_top),
		TEST(a_namespace_is_replaced_by_its_type),
		TEST(an_rlimit_is_replaced_by_its_type),
		TEST(a_device_is_replaced_by_its_path_and_rules_pile_up),
		TEST(hooks_are_added_in_order),
		TEST(id_maps_become_an_array),
		TEST(only_an_object_is_read),
		TEST(a_spec_beyond_the_limit_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
