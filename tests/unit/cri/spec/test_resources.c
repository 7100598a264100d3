/* Limits, the process's OOM score, and device nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/to_spec.h"
#include "tests/lib/spec_input.h"

static int setup(void **arg)
{
	struct spec_input_fixture *f = xcalloc(1, sizeof(*f));

	spec_input_init(f);
	f->config.linux.has_resources = true;
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	spec_input_release(*arg);
	free(*arg);
	return 0;
}

#define assert_builds(f)                                                                           \
	do {                                                                                       \
		if (spec_input_build(f) < 0)                                                       \
			fail_msg("%s", (f)->err.msg);                                              \
	} while (0)

#define assert_refused(f, wanted_code, says)                                                       \
	do {                                                                                       \
		assert_int_equal(spec_input_build(f), -1);                                         \
		if (!strstr((f)->err.msg, says))                                                   \
			fail_msg("%s", (f)->err.msg);                                              \
		assert_int_equal((f)->err.code, wanted_code);                                      \
	} while (0)

/* linux.resources as text */
static char *resources(const struct spec_input_fixture *f)
{
	return yyjson_val_write(spec_input_get(f, "/linux/resources"), 0, NULL);
}

#define assert_resources(f, expected)                                                              \
	do {                                                                                       \
		cleanup_free char *text_ = resources(f);                                           \
		assert_string_equal(text_, expected);                                              \
	} while (0)

#define DENY_ALL "\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]"

static void nothing_is_limited_that_is_not_set(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_builds(f);
	assert_resources(f, "{" DENY_ALL "}");
}

static void every_limit_has_its_place(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static cri_HugepageLimit huge[] = { { TEXT("2MB"), 4 }, { TEXT("1GB"), 0 } };
	static cri_LinuxContainerResources_UnifiedEntry unified = { TEXT("memory.high"),
		                                                    TEXT("100") };

	f->host.cgroup2 = true;
	*f->resources = (cri_LinuxContainerResources){
		.cpu_period = 100000,
		.cpu_quota = -1,
		.cpu_shares = 2,
		.memory_limit_in_bytes = 100,
		.memory_swap_limit_in_bytes = 300,
		.cpuset_cpus = TEXT("0-1"),
		.cpuset_mems = TEXT("0"),
		.hugepage_limits = huge,
		.hugepage_limits_count = 2,
		.unified = &unified,
		.unified_count = 1,
	};
	assert_builds(f);
	assert_resources(
		f,
		"{\"cpu\":{\"shares\":2,\"quota\":-1,\"period\":100000,\"cpus\":\"0-1\",\"mems\":\"0\"},"
		"\"memory\":{\"limit\":100,\"swap\":300},\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":4},"
		"{\"pageSize\":\"1GB\",\"limit\":0}],\"unified\":{\"memory.high\":\"100\"}," DENY_ALL
		"}");
}

static void memory_alone_means_no_swap(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->resources->memory_limit_in_bytes = 100;
	assert_builds(f);
	assert_resources(f, "{\"memory\":{\"limit\":100,\"swap\":100}," DENY_ALL "}");
	f->host.swap = false;
	f->resources->memory_swap_limit_in_bytes = 200;
	assert_builds(f);
	assert_resources(f, "{\"memory\":{\"limit\":100}," DENY_ALL "}");
}

static void huge_pages_are_passed_over_without_their_controller(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static cri_HugepageLimit huge[] = { { TEXT("2MB"), 4 }, { NULL, 0 } };

	f->resources->hugepage_limits = huge;
	f->resources->hugepage_limits_count = 2;
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "config.linux.resources: hugepage_limits[1].page_size: missing");
	f->host.hugetlb = false;
	assert_builds(f);
	assert_resources(f, "{" DENY_ALL "}");
}

static void unified_keys_need_version_two(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static cri_LinuxContainerResources_UnifiedEntry unified = { TEXT("memory.high"),
		                                                    TEXT("100") };

	f->resources->unified = &unified;
	f->resources->unified_count = 1;
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "config.linux.resources: unified: \"memory.high\" needs cgroup v2");
}

static int64_t oom_score(struct spec_input_fixture *f, int64_t wanted)
{
	f->resources->oom_score_adj = wanted;
	assert_builds(f);
	return yyjson_get_sint(spec_input_get(f, "/process/oomScoreAdj"));
}

static void the_oom_score_is_set_always_and_no_lower_than_we_can(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->limits.oom_score_adj = -500;
	assert_int_equal(oom_score(f, -998), -998);
	f->limits.can_lower_oom = false;
	assert_int_equal(oom_score(f, -998), -500);
	assert_int_equal(oom_score(f, 1000), 1000);
	f->config.linux.has_resources = false;
	assert_int_equal(oom_score(f, 7), 0); /* not ours: what nobody asked for is 0 */
	f->config.linux.has_resources = true;
	f->resources->oom_score_adj = 1001;
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.linux.resources.oom_score_adj: 1001");
}

static void an_update_holds_what_it_names(void **arg)
{
	const cri_LinuxContainerResources none = { 0 };
	const cri_LinuxContainerResources some = { .cpu_quota = 5,
		                                   .cpuset_mems = TEXT("1"),
		                                   .oom_score_adj = 9 };
	struct err err;
	cleanup_free char *empty = spec_resources_json(&none, &err);
	cleanup_free char *text = spec_resources_json(&some, &err);

	(void)arg;
	assert_string_equal(empty, "{}");
	assert_string_equal(text, "{\"cpu\":{\"quota\":5,\"mems\":\"1\"}}");
}

/* --- devices */

static cri_Device *one_device(struct spec_input_fixture *f, const char *host, const char *container,
                              const char *permissions)
{
	static cri_Device device;

	device = (cri_Device){ .host_path = TEXT(host),
		               .container_path = TEXT(container),
		               .permissions = TEXT(permissions) };
	f->config.devices = &device;
	f->config.devices_count = 1;
	return &device;
}

static void a_device_is_made_and_allowed(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cleanup_free char *link = xasprintf("%s/link", f->dir);

	assert_int_equal(symlink("/dev/null", link), 0);
	one_device(f, link, "/dev//mine", "rw");
	assert_builds(f);
	assert_resources(
		f,
		"{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},{\"allow\":true,\"type\":\"c\",\"major\":1,"
		"\"minor\":3,\"access\":\"rw\"}]}");
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/devices/0/path")),
	                    "/dev/mine");
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/devices/0/type")), "c");
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/linux/devices/0/fileMode")), 0666);
	one_device(f, "/dev/null", "/dev/null", "");
	assert_builds(f);
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/resources/devices/1/access")),
	                    "rwm");
}

static void a_directory_stands_for_the_devices_below_it(void **arg)
{
	struct spec_input_fixture *f = *arg;
	bool found = false;
	yyjson_val *device;
	size_t i, n;

	one_device(f, "/dev", "/dev/host", "r");
	assert_builds(f);
	yyjson_arr_foreach(spec_input_get(f, "/linux/devices"), i, n, device)
	{
		const char *path = yyjson_get_str(yyjson_obj_get(device, "path"));

		assert_true(starts_with(path, "/dev/host/"));
		assert_false(starts_with(path, "/dev/host/pts/"));
		assert_false(starts_with(path, "/dev/host/shm/"));
		assert_false(streq(path, "/dev/host/console"));
		found |= streq(path, "/dev/host/zero");
	}
	assert_true(found);
	one_device(f, f->dir, "/dev/none", "r");
	assert_builds(f);
	assert_null(spec_input_get(f, "/linux/devices"));
}

static void a_privileged_container_has_the_hosts_devices(void **arg)
{
	struct spec_input_fixture *f = *arg;
	bool found = false;
	yyjson_val *device;
	size_t i, n;

	f->security->privileged = f->pod.linux.security_context.privileged = true;
	assert_builds(f);
	assert_resources(
		f,
		"{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},{\"allow\":true,\"access\":\"rwm\"}]}");
	yyjson_arr_foreach(spec_input_get(f, "/linux/devices"), i, n, device) found |=
		streq(yyjson_get_str(yyjson_obj_get(device, "path")), "/dev/zero");
	assert_true(found);
}

static void a_device_that_is_none_is_named(void **arg)
{
	struct spec_input_fixture *f = *arg;

	one_device(f, "/etc/passwd", "/dev/x", "r");
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "config.devices[0]: host_path: /etc/passwd is not a device");
	one_device(f, "/dev/no-such-device", "/dev/x", "r");
	assert_refused(f, CODE_NOT_FOUND, "config.devices[0]: host_path: /dev/no-such-device");
	one_device(f, "/dev/null", "/dev/x", "rx");
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.devices[0]: permissions: \"rx\"");
	one_device(f, "null", "/dev/x", "r");
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.devices[0]: host_path: \"null\"");
	one_device(f, "/dev/null", "x", "r");
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.devices[0]: container_path: \"x\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_limited_that_is_not_set),
		TEST(every_limit_has_its_place),
		TEST(memory_alone_means_no_swap),
		TEST(huge_pages_are_passed_over_without_their_controller),
		TEST(unified_keys_need_version_two),
		TEST(the_oom_score_is_set_always_and_no_lower_than_we_can),
		TEST(an_update_holds_what_it_names),
		TEST(a_device_is_made_and_allowed),
		TEST(a_directory_stands_for_the_devices_below_it),
		TEST(a_privileged_container_has_the_hosts_devices),
		TEST(a_device_that_is_none_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
