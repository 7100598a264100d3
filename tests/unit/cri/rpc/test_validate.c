/* Each check names the field. A case starts from a good request and breaks one thing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/str.h"
#include "cri/proto/cri.h"
#include "cri/proto/ctl.pb.h"
#include "cri/rpc/validate.h"

#define S(literal) ((char *)(uintptr_t)(literal))

#define assert_refused(call, text)                                                                 \
	do {                                                                                       \
		struct err err_ = { 0 };                                                           \
		assert_int_equal((call)(&req, &err_), -1);                                         \
		assert_int_equal(err_.code, CODE_INVALID_ARGUMENT);                                \
		assert_string_equal(err_.msg, text);                                               \
	} while (0)

#define assert_accepted(call)                                                                      \
	do {                                                                                       \
		struct err err_ = { 0 };                                                           \
		int ret_ = (call)(&req, &err_);                                                    \
		assert_string_equal(err_.msg, "");                                                 \
		assert_int_equal(ret_, 0);                                                         \
	} while (0)

static cri_RunPodSandboxRequest good_sandbox(void)
{
	return (cri_RunPodSandboxRequest){
		.has_config = true,
		.config = { .has_metadata = true,
		            .metadata = { .name = S("web"),
		                          .uid = S("u1"),
		                          .namespace = S("default") } },
	};
}

static cri_CreateContainerRequest good_container(void)
{
	return (cri_CreateContainerRequest){
		.pod_sandbox_id = S("abc"),
		.has_config = true,
		.config = { .has_metadata = true,
		            .metadata = { .name = S("app") },
		            .has_image = true,
		            .image = { .image = S("busybox") } },
	};
}

static void good_requests_pass(void **arg UNUSED)
{
	{
		cri_RunPodSandboxRequest req = good_sandbox();

		assert_accepted(check_run_pod_sandbox);
	}
	{
		cri_CreateContainerRequest req = good_container();

		assert_accepted(check_create_container);
	}
}

static void a_sandbox_needs_its_names(void **arg UNUSED)
{
	cri_RunPodSandboxRequest req = good_sandbox();

	req.has_config = false;
	assert_refused(check_run_pod_sandbox, "config: missing");
	req = good_sandbox();
	req.config.has_metadata = false;
	assert_refused(check_run_pod_sandbox, "config.metadata: missing");
	req = good_sandbox();
	req.config.metadata.name = NULL;
	assert_refused(check_run_pod_sandbox, "config.metadata.name: must not be empty");
	req = good_sandbox();
	req.config.metadata.namespace = S("");
	assert_refused(check_run_pod_sandbox, "config.metadata.namespace: must not be empty");
	req = good_sandbox();
	req.config.metadata.uid = S("");
	assert_refused(check_run_pod_sandbox, "config.metadata.uid: must not be empty");
}

static void a_host_name_fits_the_kernel(void **arg UNUSED)
{
	cri_RunPodSandboxRequest req = good_sandbox();
	char name[66];

	memset(name, 'a', sizeof(name) - 1);
	name[64] = '\0';
	req.config.hostname = name;
	assert_accepted(check_run_pod_sandbox);
	name[64] = 'a';
	name[65] = '\0';
	assert_refused(check_run_pod_sandbox,
	               "config.hostname: 65 bytes, a host name has at most 64");
}

static void log_paths_stay_where_they_belong(void **arg UNUSED)
{
	{
		cri_RunPodSandboxRequest req = good_sandbox();

		req.config.log_directory = S("var/log");
		assert_refused(check_run_pod_sandbox,
		               "config.log_directory: \"var/log\" is not an absolute path");
	}
	{
		cri_CreateContainerRequest req = good_container();

		req.config.log_path = S("app/../../etc/passwd");
		assert_refused(
			check_create_container,
			"config.log_path: \"app/../../etc/passwd\" leads out of its directory");
		req.config.log_path = S("app/0..log");
		assert_accepted(check_create_container);
	}
}

static void port_mappings_are_named_by_index(void **arg UNUSED)
{
	cri_RunPodSandboxRequest req = good_sandbox();
	cri_PortMapping ports[2] = {
		{ .container_port = 80, .host_port = 8080, .host_ip = S("fd00::1") }
	};

	req.config.port_mappings = ports;
	req.config.port_mappings_count = 2;
	assert_accepted(check_run_pod_sandbox);
	ports[1].host_port = 70000;
	assert_refused(check_run_pod_sandbox,
	               "config.port_mappings[1].host_port: 70000 is not 0..65535");
	ports[1].host_port = 1;
	ports[1].protocol = 3;
	assert_refused(check_run_pod_sandbox, "config.port_mappings[1].protocol: unknown value 3");
	ports[1].protocol = cri_Protocol_UDP;
	ports[1].host_ip = S("1.2.3");
	assert_refused(check_run_pod_sandbox,
	               "config.port_mappings[1].host_ip: \"1.2.3\" is not an IP address");
}

#define NS "config.linux.security_context.namespace_options."

static void user_namespaces_are_one_mapping_or_none(void **arg UNUSED)
{
	cri_RunPodSandboxRequest req = good_sandbox();
	cri_IDMapping uid[2] = { { 100000, 0, 65536 }, { 200000, 65536, 10 } },
		      gid = { 100000, 0, 65536 };
	cri_UserNamespace *userns =
		&req.config.linux.security_context.namespace_options.userns_options;

	req.config.has_linux = req.config.linux.has_security_context = true;
	req.config.linux.security_context.has_namespace_options = true;
	req.config.linux.security_context.namespace_options.has_userns_options = true;
	*userns = (cri_UserNamespace){ .mode = cri_NamespaceMode_NODE };
	assert_accepted(check_run_pod_sandbox);
	userns->uids = uid;
	userns->uids_count = 1;
	assert_refused(check_run_pod_sandbox, NS "userns_options.mode: NODE takes no id mappings");
	userns->mode = cri_NamespaceMode_POD;
	assert_refused(check_run_pod_sandbox,
	               NS "userns_options.gids: 0 mappings, only exactly one is supported");
	userns->gids = &gid;
	userns->gids_count = 1;
	assert_accepted(check_run_pod_sandbox);
	userns->uids_count = 2;
	assert_refused(check_run_pod_sandbox,
	               NS "userns_options.uids: 2 mappings, only exactly one is supported");
	userns->uids_count = 1;
	uid[0].container_id = 1;
	assert_refused(
		check_run_pod_sandbox,
		NS "userns_options.uids[0].container_id: 1, but id 0 of the pod must be mapped");
	uid[0] = (cri_IDMapping){ 100000, 0, 0 };
	assert_refused(check_run_pod_sandbox, NS "userns_options.uids[0].length: must not be 0");
	uid[0] = (cri_IDMapping){ 4294967290, 0, 10 };
	assert_refused(
		check_run_pod_sandbox, NS
		"userns_options.uids[0].length: 10 ids from 0 (host 4294967290) reach beyond the last id");
	userns->mode = cri_NamespaceMode_TARGET;
	assert_refused(check_run_pod_sandbox, NS
	               "userns_options.mode: unsupported user namespace mode (POD and NODE are)");
	userns->mode = 4;
	assert_refused(check_run_pod_sandbox, NS "userns_options.mode: unknown value 4");
}

static void namespace_modes_are_known(void **arg UNUSED)
{
	cri_RunPodSandboxRequest req = good_sandbox();
	cri_NamespaceOption *ns = &req.config.linux.security_context.namespace_options;

	req.config.has_linux = req.config.linux.has_security_context = true;
	req.config.linux.security_context.has_namespace_options = true;
	ns->network = 9;
	assert_refused(check_run_pod_sandbox, NS "network: unknown value 9");
	ns->network = 0;
	ns->ipc = 4;
	assert_refused(check_run_pod_sandbox, NS "ipc: unknown value 4");
}

static void a_group_needs_a_user(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();
	cri_LinuxContainerSecurityContext *ctx = &req.config.linux.security_context;

	req.config.has_linux = req.config.linux.has_security_context = true;
	ctx->has_run_as_group = true;
	ctx->run_as_group.value = 5;
	assert_refused(
		check_create_container,
		"config.linux.security_context.run_as_group: needs run_as_user or run_as_username");
	ctx->run_as_username = S("nobody");
	assert_accepted(check_create_container);
	ctx->run_as_username = S("nobody:root");
	assert_refused(
		check_create_container,
		"config.linux.security_context.run_as_username: \"nobody:root\" holds a colon");
	ctx->run_as_username = NULL;
	ctx->has_run_as_user = true;
	ctx->run_as_user.value = INT64_C(2147483648);
	assert_refused(
		check_create_container,
		"config.linux.security_context.run_as_user: 2147483648 is not 0..2147483647");
}

static void a_local_profile_has_a_name_and_others_have_none(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();
	cri_LinuxContainerSecurityContext *ctx = &req.config.linux.security_context;

	req.config.has_linux = req.config.linux.has_security_context = true;
	ctx->has_seccomp = true;
	ctx->seccomp.profile_type = cri_SecurityProfile_ProfileType_Localhost;
	assert_refused(check_create_container,
	               "config.linux.security_context.seccomp.localhost_ref: must not be empty "
	               "with profile type Localhost");
	ctx->seccomp.localhost_ref = S("p.json");
	assert_accepted(check_create_container);
	ctx->seccomp.profile_type = cri_SecurityProfile_ProfileType_RuntimeDefault;
	assert_refused(check_create_container,
	               "config.linux.security_context.seccomp.localhost_ref: \"p.json\" needs "
	               "profile type Localhost");
}

static void a_container_needs_name_image_and_sandbox(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();

	req.pod_sandbox_id = NULL;
	assert_refused(check_create_container, "pod_sandbox_id: must not be empty");
	req = good_container();
	req.config.metadata.name = NULL;
	assert_refused(check_create_container, "config.metadata.name: must not be empty");
	req = good_container();
	req.config.has_image = false;
	assert_refused(check_create_container, "config.image: missing");
	req = good_container();
	req.config.stop_signal = 66;
	assert_refused(check_create_container, "config.stop_signal: unknown value 66");
	req.config.stop_signal = 65;
	assert_accepted(check_create_container);
}

static void mounts_are_checked_as_a_whole(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();
	char *options[] = { S("noexec"), S("suid") };
	cri_Mount mount = { .container_path = S("/data"), .host_path = S("/srv") }, good = mount;

	req.config.mounts = &mount;
	req.config.mounts_count = 1;
	assert_accepted(check_create_container);
	mount.container_path = S("data");
	assert_refused(check_create_container,
	               "config.mounts[0].container_path: \"data\" is not an absolute path");
	mount = good;
	mount.host_path = NULL;
	assert_refused(check_create_container, "config.mounts[0].host_path: must not be empty");
	mount = good;
	mount.propagation = 3;
	assert_refused(check_create_container, "config.mounts[0].propagation: unknown value 3");
	mount = good;
	mount.recursive_read_only = true;
	assert_refused(check_create_container,
	               "config.mounts[0].recursive_read_only: needs readonly");
	mount.readonly = true;
	mount.propagation = cri_MountPropagation_PROPAGATION_HOST_TO_CONTAINER;
	assert_refused(check_create_container,
	               "config.mounts[0].recursive_read_only: needs propagation PRIVATE");
	mount = good;
	mount.mount_options = options;
	mount.mount_options_count = 1;
	assert_accepted(check_create_container);
	mount.mount_options_count = 2;
	assert_refused(
		check_create_container,
		"config.mounts[0].mount_options[1]: \"suid\" is not noexec, nodev or nosuid");
}

static void an_image_mount_is_read_only_and_inside_its_image(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();
	cri_Mount mount = { .container_path = S("/data"),
		            .has_image = true,
		            .image = { .image = S("busybox") } };

	req.config.mounts = &mount;
	req.config.mounts_count = 1;
	assert_refused(check_create_container,
	               "config.mounts[0].readonly: must be true for an image mount");
	mount.readonly = true;
	assert_accepted(check_create_container);
	mount.image_sub_path = S("a/../../b");
	assert_refused(check_create_container,
	               "config.mounts[0].image_sub_path: \"a/../../b\" leads out of its directory");
	mount.image_sub_path = NULL;
	mount.host_path = S("/srv");
	assert_refused(check_create_container,
	               "config.mounts[0].host_path: must be empty beside image");
}

static void environment_values_may_hold_any_byte_but_nul(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();
	struct {
		pb_size_t size;
		pb_byte_t bytes[3];
	} binary = { 3, { 0xff, 0xfe, 0 } };
	cri_KeyValue env = { .key = S("A"), .value = (pb_bytes_array_t *)(void *)&binary };

	req.config.envs = &env;
	req.config.envs_count = 1;
	assert_refused(check_create_container, "config.envs[0].value: of \"A\" holds a NUL byte");
	binary.size = 2;
	assert_accepted(check_create_container);
	env.key = S("A=B");
	assert_refused(check_create_container,
	               "config.envs[0].key: \"A=B\" is not the name of a variable");
}

static void device_permissions_are_r_w_and_m(void **arg UNUSED)
{
	cri_CreateContainerRequest req = good_container();
	cri_Device device = { .container_path = S("/dev/x"),
		              .host_path = S("/dev/null"),
		              .permissions = S("rwm") };

	req.config.devices = &device;
	req.config.devices_count = 1;
	assert_accepted(check_create_container);
	device.permissions = S("rx");
	assert_refused(check_create_container,
	               "config.devices[0].permissions: \"rx\" has other letters than r, w and m");
}

static void resources_are_in_range(void **arg UNUSED)
{
	cri_UpdateContainerResourcesRequest req = { .container_id = S("a"), .has_linux = true };
	cri_LinuxContainerResources_UnifiedEntry unified = { .key = S("../memory.max"),
		                                             .value = S("1") };

	req.linux.cpu_quota = -1;
	assert_accepted(check_update_container_resources);
	req.linux.cpu_quota = -2;
	assert_refused(check_update_container_resources,
	               "linux.cpu_quota: -2 is not -1..9223372036854775807");
	req.linux.cpu_quota = 0;
	req.linux.oom_score_adj = 1001;
	assert_refused(check_update_container_resources,
	               "linux.oom_score_adj: 1001 is not -1000..1000");
	req.linux.oom_score_adj = 0;
	req.linux.unified = &unified;
	req.linux.unified_count = 1;
	assert_refused(check_update_container_resources,
	               "linux.unified: \"../memory.max\" is not the name of a cgroup file");
	unified.key = S("memory.max");
	assert_accepted(check_update_container_resources);
}

static void exec_needs_a_command_and_a_stream(void **arg UNUSED)
{
	char *cmd[] = { S("ls") };
	cri_ExecRequest req = {
		.container_id = S("a"), .cmd = cmd, .cmd_count = 1, .stdout = true
	};

	assert_accepted(check_exec);
	req.tty = true;
	req.stderr = true;
	assert_refused(check_exec, "tty and stderr cannot both be set: a terminal has one output");
	req = (cri_ExecRequest){ .container_id = S("a"), .cmd = cmd, .cmd_count = 1 };
	assert_refused(check_exec, "one of stdin, stdout or stderr must be set");
	req.cmd_count = 0;
	assert_refused(check_exec, "cmd: must not be empty");
	req.container_id = S("");
	assert_refused(check_exec, "container_id: must not be empty");
}

static void attach_follows_the_rules_of_exec(void **arg UNUSED)
{
	cri_AttachRequest req = { .container_id = S("a"), .stdin = true };

	assert_accepted(check_attach);
	req.stdin = false;
	assert_refused(check_attach, "one of stdin, stdout or stderr must be set");
}

static void exec_sync_needs_a_command(void **arg UNUSED)
{
	char *cmd[] = { S("ls") };
	cri_ExecSyncRequest req = { .container_id = S("a") };

	assert_refused(check_exec_sync, "cmd: must not be empty");
	req.cmd = cmd;
	req.cmd_count = 1;
	assert_accepted(check_exec_sync);
	req.timeout = -1;
	assert_refused(check_exec_sync, "timeout: -1 is not 0..9223372036854775807");
}

static void forwarded_ports_are_real(void **arg UNUSED)
{
	int32_t ports[] = { 80, 0 };
	cri_PortForwardRequest req = { .pod_sandbox_id = S("a"), .port = ports, .port_count = 1 };

	assert_accepted(check_port_forward);
	req.port_count = 2;
	assert_refused(check_port_forward, "port[1]: 0 is not 1..65535");
}

static void filters_know_their_states(void **arg UNUSED)
{
	{
		cri_ListContainersRequest req = { .has_filter = true,
			                          .filter = { .has_state = true } };

		req.filter.state.state = 4;
		assert_refused(check_list_containers, "filter.state: unknown value 4");
		req.filter.state.state = cri_ContainerState_CONTAINER_UNKNOWN;
		assert_accepted(check_list_containers);
	}
	{
		cri_ListPodSandboxRequest req = { .has_filter = true,
			                          .filter = { .has_state = true } };

		req.filter.state.state = 2;
		assert_refused(check_list_pod_sandbox, "filter.state: unknown value 2");
	}
}

static void image_requests_name_an_image(void **arg UNUSED)
{
	{
		cri_PullImageRequest req = { 0 };

		assert_refused(check_pull_image, "image: missing");
		req.has_image = true;
		assert_refused(check_pull_image, "image.image: must not be empty");
		req.image.image = S("busybox");
		assert_accepted(check_pull_image);
	}
	{
		ctl_ImportRequest req = { .path = S("image.tar") };

		assert_refused(check_ctl_import, "path: \"image.tar\" is not an absolute path");
	}
	{
		ctl_PullRequest req = { 0 };

		assert_refused(check_ctl_pull, "image: must not be empty");
	}
}

static void address_ranges_are_read_strictly(void **arg UNUSED)
{
	static const char *const good[] = { "10.0.0.0/8", "0.0.0.0/0", "fd00::/64", "::/128",
		                            "1.2.3.4/32" };
	static const char *const bad[] = { "10.0.0.0",    "10.0.0.0/33",  "10.0.0/8",
		                           "fd00::/129",  "/8",           "a/8",
		                           "10.0.0.0/-1", "10.0.0.0/8/8", "" };
	struct err err;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(check_cidr(good[i], "x", &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(check_cidr(bad[i], "x", &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_requests_pass),
		cmocka_unit_test(a_sandbox_needs_its_names),
		cmocka_unit_test(a_host_name_fits_the_kernel),
		cmocka_unit_test(log_paths_stay_where_they_belong),
		cmocka_unit_test(port_mappings_are_named_by_index),
		cmocka_unit_test(user_namespaces_are_one_mapping_or_none),
		cmocka_unit_test(namespace_modes_are_known),
		cmocka_unit_test(a_group_needs_a_user),
		cmocka_unit_test(a_local_profile_has_a_name_and_others_have_none),
		cmocka_unit_test(a_container_needs_name_image_and_sandbox),
		cmocka_unit_test(mounts_are_checked_as_a_whole),
		cmocka_unit_test(an_image_mount_is_read_only_and_inside_its_image),
		cmocka_unit_test(environment_values_may_hold_any_byte_but_nul),
		cmocka_unit_test(device_permissions_are_r_w_and_m),
		cmocka_unit_test(resources_are_in_range),
		cmocka_unit_test(exec_needs_a_command_and_a_stream),
		cmocka_unit_test(attach_follows_the_rules_of_exec),
		cmocka_unit_test(exec_sync_needs_a_command),
		cmocka_unit_test(forwarded_ports_are_real),
		cmocka_unit_test(filters_know_their_states),
		cmocka_unit_test(image_requests_name_an_image),
		cmocka_unit_test(address_ranges_are_read_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
