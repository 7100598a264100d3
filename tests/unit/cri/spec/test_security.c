/* What a container may do: capabilities, privileges, profiles. */
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "tests/lib/spec_input.h"

#define DEFAULTS                                                                                       \
	"CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP " \
	"CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP"

static int setup(void **arg)
{
	struct spec_input_fixture *f = xcalloc(1, sizeof(*f));

	spec_input_init(f);
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

#define assert_words(f, pointer, expected)                                                         \
	do {                                                                                       \
		cleanup_free char *words_ = spec_input_words(f, pointer);                          \
		assert_string_equal(words_, expected);                                             \
	} while (0)

/* --- capabilities */

#define CAPS(set) "/process/capabilities/" set

static void assert_granted(struct spec_input_fixture *f, const char *expected)
{
	assert_builds(f);
	assert_words(f, CAPS("bounding"), expected);
	assert_words(f, CAPS("permitted"), expected);
	assert_words(f, CAPS("effective"), expected);
}

static void the_default_is_fourteen_capabilities_and_nothing_inheritable(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_granted(f, DEFAULTS);
	assert_words(f, CAPS("inheritable"), "");
	assert_words(f, CAPS("ambient"), "");
}

static void set_lists(struct spec_input_fixture *f, char **add, size_t nadd, char **drop,
                      size_t ndrop)
{
	f->security->has_capabilities = true;
	f->security->capabilities = (cri_Capability){ .add_capabilities = add,
		                                      .add_capabilities_count = (pb_size_t)nadd,
		                                      .drop_capabilities = drop,
		                                      .drop_capabilities_count = (pb_size_t)ndrop };
}

static void capabilities_are_added_and_dropped_by_any_spelling(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *add[] = { TEXT("net_admin"), TEXT("CAP_SYS_TIME") };
	static char *drop[] = { TEXT("CHOWN"), TEXT("cap_net_raw"), TEXT("SYS_TIME") };

	set_lists(f, add, 2, drop, 3);
	assert_granted(
		f,
		"CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP "
		"CAP_NET_BIND_SERVICE CAP_NET_ADMIN CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP");
}

static void drop_all_leaves_what_is_added_by_name(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *add[] = { TEXT("NET_BIND_SERVICE") };
	static char *all[] = { TEXT("ALL") };

	set_lists(f, add, 1, all, 1);
	assert_granted(f, "CAP_NET_BIND_SERVICE");
	set_lists(f, NULL, 0, all, 1);
	assert_granted(f, "");
	set_lists(f, all, 1, all, 1);
	assert_granted(f, "");
}

static void add_all_is_all_that_we_have(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *all[] = { TEXT("ALL") };
	static char *drop[] = { TEXT("CHOWN") };

	f->host.capabilities = 1u << CAP_CHOWN | 1u << CAP_NET_ADMIN | 1u << CAP_SYS_ADMIN;
	set_lists(f, all, 1, drop, 1);
	assert_granted(f, "CAP_NET_ADMIN CAP_SYS_ADMIN");
}

static void a_default_that_we_do_not_have_is_left_out(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->host.capabilities = 1u << CAP_CHOWN | 1u << CAP_NET_ADMIN;
	assert_granted(f, "CAP_CHOWN");
}

static void a_capability_that_is_none_or_not_ours_is_named(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *unknown[] = { TEXT("KILL"), TEXT("FLY") };
	static char *resource[] = { TEXT("SYS_RESOURCE") };

	set_lists(f, unknown, 2, NULL, 0);
	assert_refused(
		f, CODE_INVALID_ARGUMENT,
		"config.linux.security_context.capabilities.add_capabilities[1]: there is no capability \"FLY\"");
	set_lists(f, NULL, 0, unknown, 2);
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "drop_capabilities[1]: there is no capability \"FLY\"");
	f->host.capabilities &= ~(UINT64_C(1) << CAP_SYS_RESOURCE);
	set_lists(f, resource, 1, NULL, 0);
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "add_capabilities[0]: coracle itself has no CAP_SYS_RESOURCE");
	set_lists(f, NULL, 0, resource, 1);
	assert_builds(f);
}

static void ambient_capabilities_are_in_all_sets(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *ambient[] = { TEXT("NET_ADMIN") };
	static char *all[] = { TEXT("ALL") };

	set_lists(f, NULL, 0, all, 1);
	f->security->capabilities.add_ambient_capabilities = ambient;
	f->security->capabilities.add_ambient_capabilities_count = 1;
	assert_granted(f, "CAP_NET_ADMIN");
	assert_words(f, CAPS("inheritable"), "CAP_NET_ADMIN");
	assert_words(f, CAPS("ambient"), "CAP_NET_ADMIN");
}

static void every_capability_has_its_kernel_number(void **arg)
{
	(void)arg;
	assert_int_equal(capability_find("CHOWN"), CAP_CHOWN);
	assert_int_equal(capability_find("cap_sys_resource"), CAP_SYS_RESOURCE);
	assert_int_equal(capability_find("AUDIT_READ"), CAP_AUDIT_READ);
	assert_int_equal(capability_find("CHECKPOINT_RESTORE"), CAP_CHECKPOINT_RESTORE);
	assert_int_equal(CAPABILITY_COUNT, CAP_LAST_CAP + 1);
	for (int cap = 0; cap < CAPABILITY_COUNT; cap++)
		assert_int_equal(capability_find(capability_name(cap)), cap);
	assert_int_equal(capability_find(""), -1);
	assert_int_equal(capability_find("CAP_"), -1);
}

/* --- privileges and paths */

static void privileges_come_with_a_privileged_pod_only(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *paths[] = { TEXT("/proc/kcore") };
	static char *drop[] = { TEXT("ALL") };

	f->security->privileged = true;
	f->security->masked_paths = f->security->readonly_paths = paths;
	f->security->masked_paths_count = f->security->readonly_paths_count = 1;
	f->security->has_seccomp = true;
	f->security->no_new_privs = true;
	assert_refused(f, CODE_INVALID_ARGUMENT, "privileged: the pod sandbox is not privileged");
	f->pod.linux.security_context.privileged = true;
	set_lists(f, NULL, 0, drop, 1);
	assert_builds(f);
	assert_int_equal(yyjson_arr_size(spec_input_get(f, CAPS("effective"))), CAPABILITY_COUNT);
	assert_null(spec_input_get(f, "/linux/maskedPaths"));
	assert_null(spec_input_get(f, "/linux/readonlyPaths"));
	assert_null(spec_input_get(f, "/linux/seccomp"));
	assert_true(yyjson_get_bool(spec_input_get(f, "/process/noNewPrivileges")));
}

static void hidden_paths_are_those_of_the_request(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *paths[] = { TEXT("/proc/kcore"), TEXT("/sys/firmware") };
	static char *relative[] = { TEXT("proc") };

	assert_builds(f);
	assert_words(f, "/linux/maskedPaths", "");
	assert_words(f, "/linux/readonlyPaths", "");
	assert_false(yyjson_get_bool(spec_input_get(f, "/process/noNewPrivileges")));
	f->security->masked_paths = paths;
	f->security->masked_paths_count = 2;
	f->security->readonly_paths = paths;
	f->security->readonly_paths_count = 1;
	assert_builds(f);
	assert_words(f, "/linux/maskedPaths", "/proc/kcore /sys/firmware");
	assert_words(f, "/linux/readonlyPaths", "/proc/kcore");
	f->security->readonly_paths = relative;
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "readonly_paths[0]: \"proc\" is not an absolute path");
}

/* --- seccomp */

/* What the profile says to a call without looking at its arguments: "ALLOW", "ERRNO", or "" where it is not named. */
static const char *verdict(struct spec_input_fixture *f, const char *name)
{
	yyjson_val *rule, *word;
	const char *found = "";
	size_t i, n, k, m;

	yyjson_arr_foreach(spec_input_get(f, "/linux/seccomp/syscalls"), i, n, rule)
	{
		if (yyjson_obj_get(rule, "args"))
			continue;
		yyjson_arr_foreach(json_arr(rule, "names"), k, m, word)
		{
			if (streq(yyjson_get_str(word), name))
				found = json_str(rule, "action", "") + strlen("SCMP_ACT_");
		}
	}
	return found;
}

static size_t conditions_on(struct spec_input_fixture *f, const char *name)
{
	yyjson_val *rule;
	size_t i, n, count = 0;

	yyjson_arr_foreach(spec_input_get(f, "/linux/seccomp/syscalls"), i, n, rule)
	{
		yyjson_val *first = yyjson_arr_get_first(json_arr(rule, "names"));

		count += yyjson_obj_get(rule, "args") && streq(yyjson_get_str(first), name);
	}
	return count;
}

static void the_default_profile_follows_the_capabilities(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char *admin[] = { TEXT("SYS_ADMIN") };
	static char *all[] = { TEXT("ALL") };

	f->security->has_seccomp = true; /* RuntimeDefault */
	assert_builds(f);
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/seccomp/defaultAction")),
	                    "SCMP_ACT_ERRNO");
	assert_string_equal(verdict(f, "read"), "ALLOW");
	assert_string_equal(verdict(f, "chroot"), "ALLOW");
	assert_string_equal(verdict(f, "mount"), "");
	assert_string_equal(verdict(f, "reboot"), "");
	assert_string_equal(verdict(f, "clone"), "");
	assert_string_equal(verdict(f, "clone3"), "ERRNO");
	assert_int_equal(conditions_on(f, "clone"), 1);
	assert_int_equal(conditions_on(f, "socket"), 3);
	assert_int_equal(conditions_on(f, "personality"), 5);

	set_lists(f, admin, 1, NULL, 0);
	assert_builds(f);
	assert_string_equal(verdict(f, "mount"), "ALLOW");
	assert_string_equal(verdict(f, "clone"), "ALLOW");
	assert_string_equal(verdict(f, "clone3"), "ALLOW");
	assert_int_equal(conditions_on(f, "clone"), 0);

	set_lists(f, NULL, 0, all, 1);
	assert_builds(f);
	assert_string_equal(verdict(f, "chroot"), "");
}

static void no_profile_is_no_filter(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->host.seccomp = false;
	assert_builds(f);
	assert_null(spec_input_get(f, "/linux/seccomp"));
	f->security->has_seccomp = true;
	f->security->seccomp.profile_type = cri_SecurityProfile_ProfileType_Unconfined;
	assert_builds(f);
	assert_null(spec_input_get(f, "/linux/seccomp"));
	f->security->has_seccomp = false;
	f->security->seccomp_profile_path = TEXT("unconfined");
	assert_builds(f);
	assert_null(spec_input_get(f, "/linux/seccomp"));
}

static void a_profile_that_cannot_be_applied_is_refused(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->has_seccomp = true;
	f->host.seccomp = false;
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "security_context.seccomp: this kernel has no seccomp filters");
	f->host.seccomp = true;
	f->runtime.features &= ~(UINT64_C(1) << RUNTIME_SECCOMP);
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "security_context.seccomp: crun 1.15 cannot apply linux.seccomp");
}

static void profile_messages_are_whole(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->has_seccomp = true;
	f->security->seccomp.localhost_ref = TEXT("/x");
	assert_refused(f, CODE_INVALID_ARGUMENT, "seccomp.localhost_ref: \"/x\" does not go with");
	f->security->seccomp.localhost_ref = NULL;
	f->security->seccomp.profile_type = cri_SecurityProfile_ProfileType_Localhost;
	assert_refused(f, CODE_INVALID_ARGUMENT, "seccomp.localhost_ref: \"\" does not go with");
	f->security->seccomp.profile_type = 7;
	assert_refused(f, CODE_INVALID_ARGUMENT, "seccomp.profile_type: unknown value 7");
}

static void the_older_text_of_a_profile_is_understood(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->seccomp_profile_path = TEXT("runtime/default");
	assert_builds(f);
	assert_string_equal(verdict(f, "read"), "ALLOW");
	f->security->seccomp_profile_path = TEXT("docker/default");
	assert_builds(f);
	assert_string_equal(verdict(f, "read"), "ALLOW");
	f->security->seccomp_profile_path = TEXT("localhost/");
	assert_refused(f, CODE_INVALID_ARGUMENT, "seccomp_profile_path: \"localhost/\" is not");
	f->security->seccomp_profile_path = TEXT("default");
	assert_refused(f, CODE_INVALID_ARGUMENT, "seccomp_profile_path: \"default\" is not");
}

static void local(struct spec_input_fixture *f, const char *path)
{
	f->security->has_seccomp = true;
	f->security->seccomp.profile_type = cri_SecurityProfile_ProfileType_Localhost;
	f->security->seccomp.localhost_ref = TEXT(path);
}

static void a_local_profile_is_taken_as_it_is(void **arg)
{
	static const char text[] =
		"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"]}";
	struct spec_input_fixture *f = *arg;
	cleanup_free char *path = xasprintf("localhost/%s/p.json", f->dir);

	assert_int_equal(fsx_write(AT_FDCWD, path + strlen("localhost/"), text, strlen(text), 0644),
	                 0);
	local(f, path);
	assert_builds(f);
	assert_words(f, "/linux/seccomp/flags", "SECCOMP_FILTER_FLAG_LOG");
	f->security->has_seccomp = false;
	f->security->seccomp_profile_path = path;
	assert_builds(f);
	assert_words(f, "/linux/seccomp/flags", "SECCOMP_FILTER_FLAG_LOG");
}

static void a_local_profile_that_is_none_is_refused(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/p.json", f->dir);
	cleanup_free char *fifo = xasprintf("%s/fifo", f->dir);
	static const char *const notify =
		"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/s\"}";

	local(f, path);
	assert_refused(f, CODE_NOT_FOUND, "security_context.seccomp: open ");
	assert_int_equal(fsx_write(AT_FDCWD, path, "{}", 2, 0644), 0);
	assert_refused(f, CODE_INVALID_ARGUMENT, "defaultAction is missing");
	assert_int_equal(fsx_write(AT_FDCWD, path, "{", 1, 0644), 0);
	assert_refused(f, CODE_INVALID_ARGUMENT, "p.json: byte");
	assert_int_equal(fsx_write(AT_FDCWD, path, notify, strlen(notify), 0644), 0);
	f->runtime.features &= ~(UINT64_C(1) << RUNTIME_SECCOMP_NOTIFY);
	assert_refused(
		f, CODE_FAILED_PRECONDITION,
		"security_context.seccomp: crun 1.15 cannot apply linux.seccomp.listenerPath");
	assert_int_equal(mkfifo(fifo, 0644), 0);
	local(f, fifo);
	assert_refused(f, CODE_INVALID_ARGUMENT, "not a regular file");
	local(f, "p.json");
	assert_refused(f, CODE_INVALID_ARGUMENT, "\"p.json\" is not an absolute path");
}

/* --- AppArmor and SELinux */

static void without_apparmor_only_a_named_profile_is_refused(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_builds(f);
	f->security->has_apparmor = true;
	f->security->apparmor.profile_type = cri_SecurityProfile_ProfileType_Unconfined;
	assert_builds(f);
	f->security->apparmor.profile_type = cri_SecurityProfile_ProfileType_RuntimeDefault;
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "security_context.apparmor: this host has no AppArmor");
	f->security->has_apparmor = false;
	f->security->apparmor_profile = TEXT("localhost/mine");
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "security_context.apparmor_profile: this host has no AppArmor");
}

static void a_named_profile_must_be_loaded(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->host.apparmor = true; /* which has no such profile, here or anywhere */
	f->security->has_apparmor = true;
	f->security->apparmor.profile_type = cri_SecurityProfile_ProfileType_Localhost;
	f->security->apparmor.localhost_ref = TEXT("localhost/no-such-profile-is-loaded");
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "AppArmor profile \"no-such-profile-is-loaded\" is not loaded");
	f->security->privileged = f->pod.linux.security_context.privileged = true;
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "AppArmor profile \"no-such-profile-is-loaded\" is not loaded");
}

static void a_selinux_level_has_a_form(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static const char *const good[] = {
		"",           "s0",          "s0-s0",          "s0:c1",
		"s0:c1,c2",   "s0-s1:c1.c5", "s9:c1.c5,c7.c9", "s0:c1023,c1",
		"s1:c0.c1023"
	};
	static const char *const bad[] = { "0",   "s",      "s0:",     "s0:c",   "s0:c12345",
		                           "s10", "s0:c1,", "s0:c1c2", "s0:c1.", "s0:c1.c2.c3",
		                           "S0",  "s0 ",    "s0,c1",   "s0-" };

	f->security->has_selinux_options = true;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		f->security->selinux_options.level = TEXT(good[i]);
		assert_builds(f);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f->security->selinux_options.level = TEXT(bad[i]);
		assert_refused(f, CODE_INVALID_ARGUMENT, "selinux_options.level: ");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_default_is_fourteen_capabilities_and_nothing_inheritable),
		TEST(capabilities_are_added_and_dropped_by_any_spelling),
		TEST(drop_all_leaves_what_is_added_by_name),
		TEST(add_all_is_all_that_we_have),
		TEST(a_default_that_we_do_not_have_is_left_out),
		TEST(a_capability_that_is_none_or_not_ours_is_named),
		TEST(ambient_capabilities_are_in_all_sets),
		TEST(every_capability_has_its_kernel_number),
		TEST(privileges_come_with_a_privileged_pod_only),
		TEST(hidden_paths_are_those_of_the_request),
		TEST(the_default_profile_follows_the_capabilities),
		TEST(no_profile_is_no_filter),
		TEST(a_profile_that_cannot_be_applied_is_refused),
		TEST(profile_messages_are_whole),
		TEST(the_older_text_of_a_profile_is_understood),
		TEST(a_local_profile_is_taken_as_it_is),
		TEST(a_local_profile_that_is_none_is_refused),
		TEST(without_apparmor_only_a_named_profile_is_refused),
		TEST(a_named_profile_must_be_loaded),
		TEST(a_selinux_level_has_a_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
