/* cri/rpc/validate.c
 *
 * One function per message, each naming fields relative to its message; within() puts the way there
 * in front on the way up.
 */
#include "cri/rpc/validate.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/str.h"
#include "cri/proto/cri.h"
#include "cri/proto/ctl.pb.h"

enum {
	HOSTNAME_BYTES = 64, /* what sethostname(2) takes */
	ID_MAX = INT32_MAX,  /* uids and gids: what the OCI runtimes agree on */
	LAST_SIGNAL = cri_Signal_SIGRTMAX,
};

/* "field" in front of what is wrong inside it. */
static int PRINTF_LIKE(2, 3) within(struct err *err, const char *fmt, ...)
{
	char name[100], inner[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	memcpy(inner, err->msg, sizeof(inner));
	return err_set(err, err->code, "%s.%s", name, inner);
}

static int PRINTF_LIKE(2, 3) invalid(struct err *err, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return err_set(err, CODE_INVALID_ARGUMENT, "%s", msg);
}

static int check_enum(unsigned int value, unsigned int last, const char *field, struct err *err)
{
	return value <= last ? 0 : invalid(err, "%s: unknown value %u", field, value);
}

static int check_set(const char *value, const char *field, struct err *err)
{
	return or_empty(value)[0] ? 0 : invalid(err, "%s: must not be empty", field);
}

static int check_range(int64_t value, int64_t min, int64_t max, const char *field, struct err *err)
{
	if (value >= min && value <= max)
		return 0;
	return invalid(err, "%s: %lld is not %lld..%lld", field, (long long)value, (long long)min,
	               (long long)max);
}

static int check_absolute(const char *path, const char *field, struct err *err)
{
	return or_empty(path)[0] == '/' ? 0
	                                : invalid(err, "%s: \"%.100s\" is not an absolute path",
	                                          field, or_empty(path));
}

/* Relative to a directory of ours or the client's: must not lead out of it. */
static int check_inside(const char *path, const char *field, struct err *err)
{
	struct str rest = str_of(path);

	while (rest.len > 0) {
		struct str part, tail;

		str_cut(rest, '/', &part, &tail);
		if (str_eq_c(part, ".."))
			return invalid(err, "%s: \"%.100s\" leads out of its directory", field,
			               path);
		rest = tail;
	}
	return 0;
}

int check_cidr(const char *text, const char *field, struct err *err)
{
	struct str address, bits;
	char host[INET6_ADDRSTRLEN];
	unsigned char binary[16];
	uint64_t n;
	bool v6;

	if (str_cut(str_of(text), '/', &address, &bits) && address.len < sizeof(host)) {
		memcpy(host, address.p, address.len);
		host[address.len] = '\0';
		v6 = strchr(host, ':');
		if (inet_pton(v6 ? AF_INET6 : AF_INET, host, binary) == 1 &&
		    str_u64(bits, v6 ? 128 : 32, &n) == 0)
			return 0;
	}
	return invalid(err, "%s: \"%.60s\" is not an address range", field, or_empty(text));
}

/* --- parts that several requests share */

static int check_id_mappings(const cri_IDMapping *mappings, size_t n, const char *field,
                             struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const cri_IDMapping *m = &mappings[i];

		if (m->length == 0)
			return invalid(err, "%s[%zu].length: must not be 0", field, i);
		if (m->length > UINT32_MAX - m->host_id || m->length > UINT32_MAX - m->container_id)
			return invalid(
				err,
				"%s[%zu].length: %u ids from %u (host %u) reach beyond the last id",
				field, i, m->length, m->container_id, m->host_id);
	}
	return 0;
}

static int check_userns(const cri_UserNamespace *userns, struct err *err)
{
	if (check_enum(userns->mode, cri_NamespaceMode_TARGET, "mode", err) < 0)
		return -1;
	switch (userns->mode) {
	case cri_NamespaceMode_NODE:
		if (userns->uids_count || userns->gids_count)
			return invalid(err, "mode: NODE takes no id mappings");
		return 0;
	case cri_NamespaceMode_POD:
		if (userns->uids_count != 1)
			return invalid(err, "uids: %u mappings, only exactly one is supported",
			               (unsigned int)userns->uids_count);
		if (userns->gids_count != 1)
			return invalid(err, "gids: %u mappings, only exactly one is supported",
			               (unsigned int)userns->gids_count);
		if (check_id_mappings(userns->uids, 1, "uids", err) < 0 ||
		    check_id_mappings(userns->gids, 1, "gids", err) < 0)
			return -1;
		if (userns->uids[0].container_id != 0)
			return invalid(
				err, "uids[0].container_id: %u, but id 0 of the pod must be mapped",
				userns->uids[0].container_id);
		if (userns->gids[0].container_id != 0)
			return invalid(
				err, "gids[0].container_id: %u, but id 0 of the pod must be mapped",
				userns->gids[0].container_id);
		return 0;
	case cri_NamespaceMode_CONTAINER:
	case cri_NamespaceMode_TARGET:
		break;
	}
	return invalid(err, "mode: unsupported user namespace mode (POD and NODE are)");
}

static int check_namespaces(const cri_NamespaceOption *ns, struct err *err)
{
	if (check_enum(ns->network, cri_NamespaceMode_TARGET, "network", err) < 0 ||
	    check_enum(ns->pid, cri_NamespaceMode_TARGET, "pid", err) < 0 ||
	    check_enum(ns->ipc, cri_NamespaceMode_TARGET, "ipc", err) < 0)
		return -1;
	if (ns->has_userns_options && check_userns(&ns->userns_options, err) < 0)
		return within(err, "userns_options");
	return 0;
}

static int check_profile(const cri_SecurityProfile *profile, struct err *err)
{
	bool localhost = profile->profile_type == cri_SecurityProfile_ProfileType_Localhost;
	bool named = or_empty(profile->localhost_ref)[0];

	if (check_enum(profile->profile_type, cri_SecurityProfile_ProfileType_Localhost,
	               "profile_type", err) < 0)
		return -1;
	if (localhost && !named)
		return invalid(err, "localhost_ref: must not be empty with profile type Localhost");
	if (!localhost && named)
		return invalid(err, "localhost_ref: \"%.100s\" needs profile type Localhost",
		               profile->localhost_ref);
	return 0;
}

static int check_groups(const int64_t *groups, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (groups[i] < 0 || groups[i] > ID_MAX)
			return invalid(err, "supplemental_groups[%zu]: %lld is not 0..%d", i,
			               (long long)groups[i], ID_MAX);
	return 0;
}

/* Of every pair of repeated key and value: the key must be there. */
#define CHECK_KEYS(message, field, err)                                                            \
	do {                                                                                       \
		for (size_t i_ = 0; i_ < (message)->field##_count; i_++)                           \
			if (!or_empty((message)->field[i_].key)[0])                                \
				return invalid(err, #field ": entry %zu has an empty key", i_);    \
	} while (0)

static int check_resources(const cri_LinuxContainerResources *r, struct err *err)
{
	if (check_range(r->cpu_period, 0, INT64_MAX, "cpu_period", err) < 0 ||
	    check_range(r->cpu_quota, -1, INT64_MAX, "cpu_quota", err) < 0 ||
	    check_range(r->cpu_shares, 0, INT64_MAX, "cpu_shares", err) < 0 ||
	    check_range(r->memory_limit_in_bytes, -1, INT64_MAX, "memory_limit_in_bytes", err) <
	            0 ||
	    check_range(r->memory_swap_limit_in_bytes, -1, INT64_MAX, "memory_swap_limit_in_bytes",
	                err) < 0 ||
	    check_range(r->oom_score_adj, -1000, 1000, "oom_score_adj", err) < 0)
		return -1;
	for (size_t i = 0; i < r->hugepage_limits_count; i++)
		if (check_set(r->hugepage_limits[i].page_size, "page_size", err) < 0)
			return within(err, "hugepage_limits[%zu]", i);
	for (size_t i = 0; i < r->unified_count; i++) {
		const char *key = or_empty(r->unified[i].key);

		/* becomes a file name below the container's cgroup */
		if (!key[0] || strchr(key, '/') || key[0] == '.')
			return invalid(err, "unified: \"%.100s\" is not the name of a cgroup file",
			               key);
	}
	return 0;
}

/* --- sandboxes */

static int check_port_mapping(const cri_PortMapping *port, struct err *err)
{
	const char *ip = or_empty(port->host_ip);
	unsigned char binary[16];

	if (check_enum(port->protocol, cri_Protocol_SCTP, "protocol", err) < 0 ||
	    check_range(port->container_port, 0, 65535, "container_port", err) < 0 ||
	    check_range(port->host_port, 0, 65535, "host_port", err) < 0)
		return -1;
	if (ip[0] && inet_pton(strchr(ip, ':') ? AF_INET6 : AF_INET, ip, binary) != 1)
		return invalid(err, "host_ip: \"%.60s\" is not an IP address", ip);
	return 0;
}

static int check_sandbox_security(const cri_LinuxSandboxSecurityContext *ctx, struct err *err)
{
	if (ctx->has_namespace_options && check_namespaces(&ctx->namespace_options, err) < 0)
		return within(err, "namespace_options");
	if (ctx->has_run_as_user &&
	    check_range(ctx->run_as_user.value, 0, ID_MAX, "run_as_user", err) < 0)
		return -1;
	if (ctx->has_run_as_group &&
	    check_range(ctx->run_as_group.value, 0, ID_MAX, "run_as_group", err) < 0)
		return -1;
	if (ctx->has_run_as_group && !ctx->has_run_as_user)
		return invalid(err, "run_as_group: needs run_as_user");
	if (check_groups(ctx->supplemental_groups, ctx->supplemental_groups_count, err) < 0 ||
	    check_enum(ctx->supplemental_groups_policy, cri_SupplementalGroupsPolicy_Strict,
	               "supplemental_groups_policy", err) < 0)
		return -1;
	if (ctx->has_seccomp && check_profile(&ctx->seccomp, err) < 0)
		return within(err, "seccomp");
	if (ctx->has_apparmor && check_profile(&ctx->apparmor, err) < 0)
		return within(err, "apparmor");
	return 0;
}

static int check_sandbox_linux(const cri_LinuxPodSandboxConfig *lnx, struct err *err)
{
	if (lnx->has_security_context && check_sandbox_security(&lnx->security_context, err) < 0)
		return within(err, "security_context");
	if (check_inside(lnx->cgroup_parent, "cgroup_parent", err) < 0)
		return -1;
	CHECK_KEYS(lnx, sysctls, err);
	for (size_t i = 0; i < lnx->sysctls_count; i++)
		if (check_inside(lnx->sysctls[i].key, "sysctls", err) < 0)
			return -1;
	if (lnx->has_overhead && check_resources(&lnx->overhead, err) < 0)
		return within(err, "overhead");
	if (lnx->has_resources && check_resources(&lnx->resources, err) < 0)
		return within(err, "resources");
	return 0;
}

static int check_sandbox_config(const cri_PodSandboxConfig *config, struct err *err)
{
	size_t hostname_bytes = strlen(or_empty(config->hostname));

	if (!config->has_metadata)
		return invalid(err, "metadata: missing");
	if (check_set(config->metadata.name, "metadata.name", err) < 0 ||
	    check_set(config->metadata.namespace, "metadata.namespace", err) < 0 ||
	    check_set(config->metadata.uid, "metadata.uid", err) < 0)
		return -1;
	if (hostname_bytes > HOSTNAME_BYTES)
		return invalid(err, "hostname: %zu bytes, a host name has at most %d",
		               hostname_bytes, HOSTNAME_BYTES);
	if (or_empty(config->log_directory)[0] &&
	    check_absolute(config->log_directory, "log_directory", err) < 0)
		return -1;
	for (size_t i = 0; i < config->port_mappings_count; i++)
		if (check_port_mapping(&config->port_mappings[i], err) < 0)
			return within(err, "port_mappings[%zu]", i);
	CHECK_KEYS(config, labels, err);
	CHECK_KEYS(config, annotations, err);
	if (config->has_linux && check_sandbox_linux(&config->linux, err) < 0)
		return within(err, "linux");
	return 0;
}

int check_run_pod_sandbox(const void *request, struct err *err)
{
	const cri_RunPodSandboxRequest *req = request;

	if (!req->has_config)
		return invalid(err, "config: missing");
	return check_sandbox_config(&req->config, err) < 0 ? within(err, "config") : 0;
}

#define SANDBOX_ID_FIRST(type)                                                                     \
	_Static_assert(offsetof(cri_##type##Request, pod_sandbox_id) == 0, #type)
SANDBOX_ID_FIRST(StopPodSandbox);
SANDBOX_ID_FIRST(RemovePodSandbox);
SANDBOX_ID_FIRST(PodSandboxStatus);
SANDBOX_ID_FIRST(PodSandboxStats);
SANDBOX_ID_FIRST(PortForward);
SANDBOX_ID_FIRST(UpdatePodSandboxResources);
SANDBOX_ID_FIRST(CreateContainer);

int check_sandbox_id_first(const void *request, struct err *err)
{
	return check_set(*(char *const *)request, "pod_sandbox_id", err);
}

#define CONTAINER_ID_FIRST(type)                                                                   \
	_Static_assert(offsetof(cri_##type##Request, container_id) == 0, #type)
CONTAINER_ID_FIRST(StartContainer);
CONTAINER_ID_FIRST(StopContainer);
CONTAINER_ID_FIRST(RemoveContainer);
CONTAINER_ID_FIRST(ContainerStatus);
CONTAINER_ID_FIRST(ContainerStats);
CONTAINER_ID_FIRST(ReopenContainerLog);
CONTAINER_ID_FIRST(ExecSync);
CONTAINER_ID_FIRST(Exec);
CONTAINER_ID_FIRST(Attach);
CONTAINER_ID_FIRST(UpdateContainerResources);

int check_container_id_first(const void *request, struct err *err)
{
	return check_set(*(char *const *)request, "container_id", err);
}

static int check_sandbox_filter(const cri_PodSandboxFilter *filter, struct err *err)
{
	if (!filter->has_state)
		return 0;
	return check_enum(filter->state.state, cri_PodSandboxState_SANDBOX_NOTREADY, "filter.state",
	                  err);
}

int check_list_pod_sandbox(const void *request, struct err *err)
{
	const cri_ListPodSandboxRequest *req = request;

	return req->has_filter ? check_sandbox_filter(&req->filter, err) : 0;
}

int check_stream_pod_sandboxes(const void *request, struct err *err)
{
	const cri_StreamPodSandboxesRequest *req = request;

	return req->has_filter ? check_sandbox_filter(&req->filter, err) : 0;
}

int check_update_pod_sandbox_resources(const void *request, struct err *err)
{
	const cri_UpdatePodSandboxResourcesRequest *req = request;

	if (check_sandbox_id_first(request, err) < 0)
		return -1;
	if (req->has_overhead && check_resources(&req->overhead, err) < 0)
		return within(err, "overhead");
	if (req->has_resources && check_resources(&req->resources, err) < 0)
		return within(err, "resources");
	return 0;
}

/* --- containers */

static int check_image_mount(const cri_Mount *mount, struct err *err)
{
	if (check_set(mount->image.image, "image.image", err) < 0)
		return -1;
	if (or_empty(mount->host_path)[0])
		return invalid(err, "host_path: must be empty beside image");
	if (!mount->readonly)
		return invalid(err, "readonly: must be true for an image mount");
	if (or_empty(mount->image_sub_path)[0] == '/')
		return invalid(err, "image_sub_path: \"%.100s\" is not a relative path",
		               mount->image_sub_path);
	return check_inside(mount->image_sub_path, "image_sub_path", err);
}

static int check_mount(const cri_Mount *mount, struct err *err)
{
	static const char *const options[] = { "noexec", "nodev", "nosuid" };

	if (check_absolute(mount->container_path, "container_path", err) < 0 ||
	    check_enum(mount->propagation, cri_MountPropagation_PROPAGATION_BIDIRECTIONAL,
	               "propagation", err) < 0)
		return -1;
	if (mount->has_image ? check_image_mount(mount, err) < 0
	                     : check_set(mount->host_path, "host_path", err) < 0)
		return -1;
	if (mount->recursive_read_only && !mount->readonly)
		return invalid(err, "recursive_read_only: needs readonly");
	if (mount->recursive_read_only &&
	    mount->propagation != cri_MountPropagation_PROPAGATION_PRIVATE)
		return invalid(err, "recursive_read_only: needs propagation PRIVATE");
	for (size_t i = 0; i < mount->mount_options_count; i++) {
		bool known = false;

		for (size_t j = 0; j < ARRAY_SIZE(options); j++)
			known |= streq(or_empty(mount->mount_options[i]), options[j]);
		if (!known)
			return invalid(
				err, "mount_options[%zu]: \"%.60s\" is not noexec, nodev or nosuid",
				i, or_empty(mount->mount_options[i]));
	}
	if (check_id_mappings(mount->uidMappings, mount->uidMappings_count, "uidMappings", err) < 0)
		return -1;
	return check_id_mappings(mount->gidMappings, mount->gidMappings_count, "gidMappings", err);
}

static int check_device(const cri_Device *device, struct err *err)
{
	const char *permissions = or_empty(device->permissions);

	if (check_absolute(device->host_path, "host_path", err) < 0 ||
	    check_absolute(device->container_path, "container_path", err) < 0)
		return -1;
	if (permissions[strspn(permissions, "rwm")])
		return invalid(err, "permissions: \"%.20s\" has other letters than r, w and m",
		               permissions);
	return 0;
}

static int check_env(const cri_KeyValue *env, struct err *err)
{
	const char *key = or_empty(env->key);

	if (!key[0] || strchr(key, '='))
		return invalid(err, "key: \"%.60s\" is not the name of a variable", key);
	/* any other byte may stand in a value, UTF-8 or not */
	if (env->value && memchr(env->value->bytes, '\0', env->value->size))
		return invalid(err, "value: of \"%.60s\" holds a NUL byte", key);
	return 0;
}

static int check_container_security(const cri_LinuxContainerSecurityContext *ctx, struct err *err)
{
	bool user = ctx->has_run_as_user || or_empty(ctx->run_as_username)[0];

	if (ctx->has_namespace_options) {
		if (check_namespaces(&ctx->namespace_options, err) < 0)
			return within(err, "namespace_options");
		if (ctx->namespace_options.pid == cri_NamespaceMode_TARGET &&
		    check_set(ctx->namespace_options.target_id, "namespace_options.target_id",
		              err) < 0)
			return -1;
	}
	if (ctx->has_run_as_user &&
	    check_range(ctx->run_as_user.value, 0, ID_MAX, "run_as_user", err) < 0)
		return -1;
	if (ctx->has_run_as_group &&
	    check_range(ctx->run_as_group.value, 0, ID_MAX, "run_as_group", err) < 0)
		return -1;
	if (ctx->has_run_as_group && !user)
		return invalid(err, "run_as_group: needs run_as_user or run_as_username");
	if (strchr(or_empty(ctx->run_as_username), ':'))
		return invalid(err, "run_as_username: \"%.60s\" holds a colon",
		               ctx->run_as_username);
	if (check_groups(ctx->supplemental_groups, ctx->supplemental_groups_count, err) < 0 ||
	    check_enum(ctx->supplemental_groups_policy, cri_SupplementalGroupsPolicy_Strict,
	               "supplemental_groups_policy", err) < 0)
		return -1;
	if (ctx->has_seccomp && check_profile(&ctx->seccomp, err) < 0)
		return within(err, "seccomp");
	if (ctx->has_apparmor && check_profile(&ctx->apparmor, err) < 0)
		return within(err, "apparmor");
	return 0;
}

static int check_container_lists(const cri_ContainerConfig *config, struct err *err)
{
	for (size_t i = 0; i < config->envs_count; i++)
		if (check_env(&config->envs[i], err) < 0)
			return within(err, "envs[%zu]", i);
	for (size_t i = 0; i < config->mounts_count; i++)
		if (check_mount(&config->mounts[i], err) < 0)
			return within(err, "mounts[%zu]", i);
	for (size_t i = 0; i < config->devices_count; i++)
		if (check_device(&config->devices[i], err) < 0)
			return within(err, "devices[%zu]", i);
	for (size_t i = 0; i < config->CDI_devices_count; i++)
		if (check_set(config->CDI_devices[i].name, "name", err) < 0)
			return within(err, "CDI_devices[%zu]", i);
	CHECK_KEYS(config, labels, err);
	CHECK_KEYS(config, annotations, err);
	return 0;
}

static int check_container_config(const cri_ContainerConfig *config, struct err *err)
{
	if (!config->has_metadata)
		return invalid(err, "metadata: missing");
	if (check_set(config->metadata.name, "metadata.name", err) < 0)
		return -1;
	if (!config->has_image)
		return invalid(err, "image: missing");
	if (check_set(config->image.image, "image.image", err) < 0)
		return -1;
	if (or_empty(config->working_dir)[0] &&
	    check_absolute(config->working_dir, "working_dir", err) < 0)
		return -1;
	if (check_inside(config->log_path, "log_path", err) < 0 ||
	    check_enum(config->stop_signal, LAST_SIGNAL, "stop_signal", err) < 0 ||
	    check_container_lists(config, err) < 0)
		return -1;
	if (config->has_linux && config->linux.has_resources &&
	    check_resources(&config->linux.resources, err) < 0)
		return within(err, "linux.resources");
	if (config->has_linux && config->linux.has_security_context &&
	    check_container_security(&config->linux.security_context, err) < 0)
		return within(err, "linux.security_context");
	return 0;
}

int check_create_container(const void *request, struct err *err)
{
	const cri_CreateContainerRequest *req = request;

	if (check_sandbox_id_first(request, err) < 0)
		return -1;
	if (!req->has_config)
		return invalid(err, "config: missing");
	/* sandbox_config repeats what RunPodSandbox was given, which is what counts */
	return check_container_config(&req->config, err) < 0 ? within(err, "config") : 0;
}

int check_stop_container(const void *request, struct err *err)
{
	const cri_StopContainerRequest *req = request;

	if (check_container_id_first(request, err) < 0)
		return -1;
	return check_range(req->timeout, 0, INT64_MAX, "timeout", err);
}

static int check_container_filter(const cri_ContainerFilter *filter, struct err *err)
{
	if (!filter->has_state)
		return 0;
	return check_enum(filter->state.state, cri_ContainerState_CONTAINER_UNKNOWN, "filter.state",
	                  err);
}

int check_list_containers(const void *request, struct err *err)
{
	const cri_ListContainersRequest *req = request;

	return req->has_filter ? check_container_filter(&req->filter, err) : 0;
}

int check_stream_containers(const void *request, struct err *err)
{
	const cri_StreamContainersRequest *req = request;

	return req->has_filter ? check_container_filter(&req->filter, err) : 0;
}

int check_update_container_resources(const void *request, struct err *err)
{
	const cri_UpdateContainerResourcesRequest *req = request;

	if (check_container_id_first(request, err) < 0)
		return -1;
	return req->has_linux && check_resources(&req->linux, err) < 0 ? within(err, "linux") : 0;
}

/* --- exec and friends */

int check_exec_sync(const void *request, struct err *err)
{
	const cri_ExecSyncRequest *req = request;

	if (check_container_id_first(request, err) < 0)
		return -1;
	if (req->cmd_count == 0)
		return invalid(err, "cmd: must not be empty");
	return check_range(req->timeout, 0, INT64_MAX, "timeout", err);
}

static int check_streams(bool tty, bool in, bool out, bool error, struct err *err)
{
	if (!in && !out && !error)
		return invalid(err, "one of stdin, stdout or stderr must be set");
	if (tty && error)
		return invalid(err, "tty and stderr cannot both be set: a terminal has one output");
	return 0;
}

int check_exec(const void *request, struct err *err)
{
	const cri_ExecRequest *req = request;

	if (check_container_id_first(request, err) < 0)
		return -1;
	if (req->cmd_count == 0)
		return invalid(err, "cmd: must not be empty");
	return check_streams(req->tty, req->stdin, req->stdout, req->stderr, err);
}

int check_attach(const void *request, struct err *err)
{
	const cri_AttachRequest *req = request;

	if (check_container_id_first(request, err) < 0)
		return -1;
	return check_streams(req->tty, req->stdin, req->stdout, req->stderr, err);
}

int check_port_forward(const void *request, struct err *err)
{
	const cri_PortForwardRequest *req = request;

	if (check_sandbox_id_first(request, err) < 0)
		return -1;
	for (size_t i = 0; i < req->port_count; i++)
		if (req->port[i] < 1 || req->port[i] > 65535)
			return invalid(err, "port[%zu]: %d is not 1..65535", i, req->port[i]);
	return 0;
}

/* --- node and images */

int check_update_runtime_config(const void *request, struct err *err)
{
	const cri_UpdateRuntimeConfigRequest *req = request;
	struct str rest = str_trim(str_of(req->runtime_config.network_config.pod_cidr));

	while (rest.len > 0) {
		struct str one, tail;
		char text[64];

		str_cut(rest, ',', &one, &tail);
		one = str_trim(one);
		rest = tail;
		ignore(str_format(text, sizeof(text), STR_FMT, (int)MIN(one.len, sizeof(text) - 1),
		                  one.p));
		if (check_cidr(text, "runtime_config.network_config.pod_cidr", err) < 0)
			return -1;
	}
	return 0;
}

static int check_image_spec(bool has, const cri_ImageSpec *image, struct err *err)
{
	return has ? check_set(image->image, "image.image", err) : invalid(err, "image: missing");
}

int check_image_status(const void *request, struct err *err)
{
	const cri_ImageStatusRequest *req = request;

	return check_image_spec(req->has_image, &req->image, err);
}

int check_pull_image(const void *request, struct err *err)
{
	const cri_PullImageRequest *req = request;

	return check_image_spec(req->has_image, &req->image, err);
}

int check_remove_image(const void *request, struct err *err)
{
	const cri_RemoveImageRequest *req = request;

	return check_image_spec(req->has_image, &req->image, err);
}

int check_ctl_import(const void *request, struct err *err)
{
	const ctl_ImportRequest *req = request;

	return check_absolute(req->path, "path", err);
}

int check_ctl_pull(const void *request, struct err *err)
{
	const ctl_PullRequest *req = request;

	return check_set(req->image, "image", err);
}
