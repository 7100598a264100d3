/* The frame of a container's spec: process, namespaces, annotations, and what is refused by name. */
/* link-wrap: lchown */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "tests/lib/spec_input.h"

int __wrap_lchown(const char *path, uid_t uid, gid_t gid);

int __wrap_lchown(const char *path, uid_t uid, gid_t gid)
{
	(void)path;
	assert_int_equal(uid, 100000);
	assert_int_equal(gid, 200000);
	return 0;
}

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

static const char *text_at(const struct spec_input_fixture *f, const char *pointer)
{
	const char *text = yyjson_get_str(spec_input_get(f, pointer));

	return text ? text : "(none)";
}

/* --- process */

static void command_and_args_replace_what_the_image_says(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static const struct {
		const char *image;
		bool command, args;
		const char *argv;
	} table[] = {
		{ "{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", false, false, "e c" },
		{ "{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", true, false, "command" },
		{ "{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", true, true,
		  "command args" },
		{ "{\"config\":{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}}", false, true, "e args" },
		{ "{\"config\":{\"Cmd\":[\"c\"]}}", false, false, "c" },
		{ "{\"config\":{\"Cmd\":[\"c\"]}}", false, true, "args" },
		{ "{\"config\":{\"Entrypoint\":[\"\"],\"Cmd\":[\"c\"]}}", false, false, "c" },
		{ "{\"config\":{\"Entrypoint\":[\"\",\"e\"]}}", false, false, " e" },
	};
	static char *command[] = { TEXT("command") }, *args[] = { TEXT("args") };

	f->config.command = command;
	f->config.args = args;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		f->image = table[i].image;
		f->config.command_count = table[i].command;
		f->config.args_count = table[i].args;
		assert_builds(f);
		assert_words(f, "/process/args", table[i].argv);
	}
}

static void a_container_without_a_command_is_refused(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->image = "{}";
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.command: no command specified");
	f->image = "{\"config\":{\"Entrypoint\":[\"\"]}}";
	assert_refused(f, CODE_INVALID_ARGUMENT, "no command specified");
}

static void an_image_config_that_is_none_is_refused(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->image = "{\"config\":{\"Cmd\":7}}";
	assert_refused(f, CODE_INVALID_ARGUMENT, "image config: config.Cmd is not a list");
}

static cri_KeyValue env(const char *key, const char *value, pb_bytes_array_t **ret_bytes)
{
	*ret_bytes = xcalloc(1, PB_BYTES_ARRAY_T_ALLOCSIZE(strlen(value)));
	(*ret_bytes)->size = (pb_size_t)strlen(value);
	memcpy((*ret_bytes)->bytes, value, strlen(value));
	return (cri_KeyValue){ .key = TEXT(key), .value = *ret_bytes };
}

static void the_environment_is_default_image_and_request(void **arg)
{
	struct spec_input_fixture *f = *arg;
	pb_bytes_array_t *bytes[2];
	cri_KeyValue envs[] = {
		env("B", "request", &bytes[0]),
		{ .key = TEXT("EMPTY") },
		env("NEW", "a=b", &bytes[1]),
	};

	f->image =
		"{\"config\":{\"Cmd\":[\"c\"],\"Env\":[\"B=image\",\"PATH=/bin\",\"TERM\",\"C=c\"]}}";
	f->config.tty = true;
	f->config.envs = envs;
	f->config.envs_count = ARRAY_SIZE(envs);
	assert_builds(f);
	assert_words(f, "/process/env", "PATH=/bin HOSTNAME=pod-a B=request C=c EMPTY= NEW=a=b");
	assert_true(yyjson_get_bool(spec_input_get(f, "/process/terminal")));
	free(bytes[0]);
	free(bytes[1]);
}

static void a_pod_without_hostname_has_the_nodes(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->sandbox.hostname = TEXT("");
	assert_builds(f);
	assert_words(
		f, "/process/env",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOSTNAME=node-1");
}

static void a_variable_that_cannot_be_one_is_named(void **arg)
{
	struct spec_input_fixture *f = *arg;
	pb_bytes_array_t *bytes;
	cri_KeyValue envs[] = { env("A", "ab", &bytes), { .key = TEXT("X=Y") } };

	f->config.envs = envs;
	f->config.envs_count = 2;
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.envs[1].key: \"X=Y\"");
	bytes->bytes[1] = '\0';
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.envs[0].value: of \"A\" holds a NUL byte");
	free(bytes);
}

static void the_directory_is_the_requests_or_the_images_or_the_root(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_builds(f);
	assert_string_equal(text_at(f, "/process/cwd"), "/");
	f->image = "{\"config\":{\"Cmd\":[\"c\"],\"WorkingDir\":\"app/src\"}}";
	assert_builds(f);
	assert_string_equal(text_at(f, "/process/cwd"), "/app/src");
	f->config.working_dir = TEXT("/w");
	assert_builds(f);
	assert_string_equal(text_at(f, "/process/cwd"), "/w");
}

static void the_user_is_the_requests_or_the_images(void **arg)
{
	struct spec_input_fixture *f = *arg;
	int64_t extra[] = { 9 };

	spec_input_file(f, "etc/passwd", "root:x:0:0::/:\nweb:x:1000:1001::/:\n");
	spec_input_file(f, "etc/group", "audio:x:50000:web\nwheel:x:10:root\n");
	assert_builds(f);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/uid")), 0);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/additionalGids/1")), 10);
	f->image = "{\"config\":{\"Cmd\":[\"c\"],\"User\":\"web\"}}";
	assert_builds(f);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/uid")), 1000);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/gid")), 1001);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/additionalGids/0")),
	                 1001);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/additionalGids/1")),
	                 50000);
	f->security->has_run_as_user = true;
	f->security->run_as_user.value = 7;
	f->security->has_run_as_group = true;
	f->security->run_as_group.value = 8;
	f->security->supplemental_groups = extra;
	f->security->supplemental_groups_count = 1;
	f->security->supplemental_groups_policy = cri_SupplementalGroupsPolicy_Strict;
	assert_builds(f);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/uid")), 7);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/gid")), 8);
	assert_int_equal(yyjson_arr_size(spec_input_get(f, "/process/user/additionalGids")), 2);
	f->security->run_as_username = TEXT("web");
	assert_builds(f);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/uid")), 1000);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/process/user/gid")), 8);
}

static void a_user_that_does_not_exist_is_named_with_its_field(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->run_as_username = TEXT("ghost");
	assert_refused(f, CODE_NOT_FOUND,
	               "config.linux.security_context.run_as_username: user \"ghost\"");
	f->security->run_as_username = NULL;
	f->image = "{\"config\":{\"Cmd\":[\"c\"],\"User\":\"ghost\"}}";
	assert_refused(f, CODE_NOT_FOUND, "the image's user: user \"ghost\"");
	f->security->has_run_as_group = true;
	assert_refused(f, CODE_INVALID_ARGUMENT, "run_as_group: needs run_as_user");
}

/* --- namespaces */

static void a_container_joins_the_pinned_namespaces(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_builds(f);
	assert_string_equal(spec_input_namespace(f, "network"), "/run/pins/net");
	assert_string_equal(spec_input_namespace(f, "ipc"), "/run/pins/ipc");
	assert_string_equal(spec_input_namespace(f, "uts"), "/run/pins/uts");
	assert_string_equal(spec_input_namespace(f, "mount"), "");
	assert_string_equal(spec_input_namespace(f, "pid"), "");
	assert_string_equal(spec_input_namespace(f, "user"), "(none)");
	assert_string_equal(spec_input_namespace(f, "cgroup"), "(none)");
	f->sandbox.netns_path = f->sandbox.utsns_path = f->sandbox.ipcns_path = NULL;
	f->sandbox.host_network = true;
	f->pod.linux.security_context.namespace_options.ipc = cri_NamespaceMode_NODE;
	assert_builds(f);
	assert_string_equal(spec_input_namespace(f, "network"), "(none)");
	assert_string_equal(spec_input_namespace(f, "uts"), "(none)");
	assert_string_equal(spec_input_namespace(f, "ipc"), "(none)");
}

static void a_pin_that_is_gone_is_not_replaced_by_the_hosts(void **arg)
{
	struct spec_input_fixture *f = *arg;
	char **const paths[] = { &f->sandbox.netns_path, &f->sandbox.ipcns_path,
		                 &f->sandbox.utsns_path };
	static const char *const types[] = { "network", "ipc", "uts" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		cleanup_free char *says = xasprintf("the pod's %s namespace is gone", types[i]);
		char *path = *paths[i];

		*paths[i] = NULL;
		assert_refused(f, CODE_FAILED_PRECONDITION, says);
		*paths[i] = path;
	}
}

static void only_version_two_has_cgroup_namespaces_and_not_for_the_privileged(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->host.cgroup2 = true;
	assert_builds(f);
	assert_string_equal(spec_input_namespace(f, "cgroup"), "");
	f->security->privileged = f->pod.linux.security_context.privileged = true;
	assert_builds(f);
	assert_string_equal(spec_input_namespace(f, "cgroup"), "(none)");
}

static void the_pid_namespace_follows_container_and_pod(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static const struct {
		cri_NamespaceMode mode, pod;
		pid_t pause, target;
		const char *path;
	} table[] = {
		{ cri_NamespaceMode_CONTAINER, cri_NamespaceMode_POD, 11, 0, "" },
		{ cri_NamespaceMode_CONTAINER, cri_NamespaceMode_NODE, 0, 0, "" },
		{ cri_NamespaceMode_POD, cri_NamespaceMode_POD, 11, 0, "/proc/11/ns/pid" },
		{ cri_NamespaceMode_POD, cri_NamespaceMode_CONTAINER, 0, 0, "" },
		{ cri_NamespaceMode_POD, cri_NamespaceMode_NODE, 0, 0, "(none)" },
		{ cri_NamespaceMode_NODE, cri_NamespaceMode_NODE, 0, 0, "(none)" },
		{ cri_NamespaceMode_NODE, cri_NamespaceMode_POD, 11, 0, "/proc/11/ns/pid" },
		{ cri_NamespaceMode_TARGET, cri_NamespaceMode_POD, 11, 22, "/proc/22/ns/pid" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		f->security->namespace_options.pid = table[i].mode;
		f->pod.linux.security_context.namespace_options.pid = table[i].pod;
		f->pause_pid = table[i].pause;
		f->target_pid = table[i].target;
		assert_builds(f);
		assert_string_equal(spec_input_namespace(f, "pid"), table[i].path);
	}
}

static void the_hosts_processes_are_not_given_to_a_container_of_another_pod(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->pod.linux.security_context.namespace_options.pid = cri_NamespaceMode_CONTAINER;
	f->security->namespace_options.pid = cri_NamespaceMode_NODE;
	assert_refused(f, CODE_INVALID_ARGUMENT, "namespace_options.pid: NODE, but the pod");
	f->security->namespace_options.pid = cri_NamespaceMode_TARGET;
	assert_refused(f, CODE_FAILED_PRECONDITION, "namespace_options.target_id");
	f->security->namespace_options.pid = 9;
	assert_refused(f, CODE_INVALID_ARGUMENT, "namespace_options.pid: unknown value 9");
}

static struct id_map uids = { 0, 100000, 1000 }, gids = { 0, 200000, 1000 };

static void with_user_namespace(struct spec_input_fixture *f)
{
	f->sandbox.userns_path = TEXT("/run/pins/user");
	f->sandbox.uid_maps = (struct id_maps){ &uids, 1 };
	f->sandbox.gid_maps = (struct id_maps){ &gids, 1 };
}

static void a_user_namespace_is_joined_and_its_maps_are_told(void **arg)
{
	struct spec_input_fixture *f = *arg;

	with_user_namespace(f);
	f->sandbox.userns_path = NULL;
	assert_refused(f, CODE_FAILED_PRECONDITION, "the pod's user namespace is gone");
	f->sandbox.userns_path = TEXT("/run/pins/user");
	assert_builds(f);
	assert_string_equal(spec_input_namespace(f, "user"), "/run/pins/user");
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/linux/uidMappings/0/hostID")), 100000);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/linux/gidMappings/0/hostID")), 200000);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/linux/gidMappings/0/size")), 1000);
}

static void an_id_outside_of_the_user_namespace_is_named(void **arg)
{
	struct spec_input_fixture *f = *arg;
	int64_t extra[] = { 1000 };

	with_user_namespace(f);
	f->security->has_run_as_user = true;
	f->security->run_as_user.value = 1000;
	assert_refused(f, CODE_INVALID_ARGUMENT, "run_as_user: user 1000 is not mapped");
	f->security->run_as_user.value = 999;
	assert_builds(f);
	f->security->supplemental_groups = extra;
	f->security->supplemental_groups_count = 1;
	assert_refused(f, CODE_INVALID_ARGUMENT, "group 1000 is not mapped");
}

static void a_container_has_its_pods_user_namespace_or_none_is_asked_for(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_NamespaceOption *mine = &f->security->namespace_options,
			    *pods = &f->pod.linux.security_context.namespace_options;
	cri_IDMapping map = { .host_id = 100000, .container_id = 0, .length = 1000 }, other = map;

	mine->has_userns_options = true;
	mine->userns_options.mode = cri_NamespaceMode_NODE;
	assert_builds(f);
	mine->userns_options = (cri_UserNamespace){ .mode = cri_NamespaceMode_POD,
		                                    .uids_count = 1,
		                                    .uids = &map,
		                                    .gids_count = 1,
		                                    .gids = &map };
	assert_refused(f, CODE_INVALID_ARGUMENT, "namespace_options.userns_options: differ");
	pods->has_userns_options = true;
	pods->userns_options = mine->userns_options;
	assert_builds(f);
	other.host_id++;
	pods->userns_options.gids = &other;
	assert_refused(f, CODE_INVALID_ARGUMENT, "namespace_options.userns_options: differ");
}

/* --- the rest */

static void root_cgroup_and_version_are_set(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->readonly_rootfs = true;
	assert_builds(f);
	assert_string_equal(text_at(f, "/ociVersion"), "1.0.2");
	assert_string_equal(text_at(f, "/root/path"), f->rootfs);
	assert_true(yyjson_get_bool(spec_input_get(f, "/root/readonly")));
	assert_string_equal(text_at(f, "/linux/cgroupsPath"), "/pods/c0c0");
	assert_string_equal(text_at(f, "/hostname"), "(none)");
}

static void annotations_tell_whose_container_it_is(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_builds(f);
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.container-type"),
	                    "container");
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.sandbox-id"), "5a5a");
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.sandbox-name"), "pod");
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.sandbox-namespace"),
	                    "default");
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.sandbox-uid"), "uid-1");
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.container-name"), "app");
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.image-name"),
	                    "registry.example/app:1");
	f->config.has_image = true;
	f->config.image.user_specified_image = TEXT("app");
	assert_builds(f);
	assert_string_equal(text_at(f, "/annotations/io.kubernetes.cri.image-name"), "app");
}

static void what_this_release_lacks_is_refused_by_name(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_CDIDevice cdi[] = { { .name = TEXT("vendor.com/gpu=0") } };
	cri_ContainerConfig_AnnotationsEntry annotation = { .value = TEXT("x") };

	f->config.CDI_devices = cdi;
	f->config.CDI_devices_count = 1;
	assert_refused(f, CODE_UNIMPLEMENTED, "config.CDI_devices[0]: \"vendor.com/gpu=0\"");
	f->config.CDI_devices_count = 0;
	f->config.annotations = &annotation;
	f->config.annotations_count = 1;
	annotation.key = TEXT("cdi.k8s.io/gpu");
	assert_refused(f, CODE_UNIMPLEMENTED, "config.annotations: \"cdi.k8s.io/gpu\"");
	annotation.key = TEXT("blockio.resources.beta.kubernetes.io/pod");
	assert_refused(f, CODE_UNIMPLEMENTED, "config.annotations: \"blockio");
	annotation.key = TEXT("example.com/anything");
	assert_builds(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(command_and_args_replace_what_the_image_says),
		TEST(a_container_without_a_command_is_refused),
		TEST(an_image_config_that_is_none_is_refused),
		TEST(the_environment_is_default_image_and_request),
		TEST(a_pod_without_hostname_has_the_nodes),
		TEST(a_variable_that_cannot_be_one_is_named),
		TEST(the_directory_is_the_requests_or_the_images_or_the_root),
		TEST(the_user_is_the_requests_or_the_images),
		TEST(a_user_that_does_not_exist_is_named_with_its_field),
		TEST(a_container_joins_the_pinned_namespaces),
		TEST(a_pin_that_is_gone_is_not_replaced_by_the_hosts),
		TEST(only_version_two_has_cgroup_namespaces_and_not_for_the_privileged),
		TEST(the_pid_namespace_follows_container_and_pod),
		TEST(the_hosts_processes_are_not_given_to_a_container_of_another_pod),
		TEST(a_user_namespace_is_joined_and_its_maps_are_told),
		TEST(an_id_outside_of_the_user_namespace_is_named),
		TEST(a_container_has_its_pods_user_namespace_or_none_is_asked_for),
		TEST(root_cgroup_and_version_are_set),
		TEST(annotations_tell_whose_container_it_is),
		TEST(what_this_release_lacks_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
