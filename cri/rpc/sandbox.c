/* cri/rpc/sandbox.c
 *
 * Pods: Run, Stop, Remove, Status, List.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/pending.h"
#include "cri/rpc/to_cri.h"

/* A list row's share of the message; the stream sends as many at once. */
#define STREAM_ROWS 100

/* --- RunPodSandbox */

static void run_answer(struct grpc_call *call, const char *id)
{
	const cri_RunPodSandboxResponse resp = { .pod_sandbox_id = (char *)id };

	grpc_reply(call, cri_RunPodSandboxResponse_fields, &resp);
}

static struct pairs lend(void *items, size_t count)
{
	return (struct pairs){ .items = items, .count = count };
}

/* A NULL terminated copy of the array, in the call's arena. */
static char **strv_in(struct pb_arena *arena, char **items, size_t count)
{
	char **strv = pb_arena_alloc(arena, (count + 1) * sizeof(*strv));

	if (strv && count)
		memcpy(strv, items, count * sizeof(*strv));
	return strv;
}

static int id_maps(struct pb_arena *arena, const cri_IDMapping *items, size_t count,
                   struct id_maps *ret, struct err *err)
{
	struct id_map *maps = pb_arena_alloc(arena, (count + 1) * sizeof(*maps));

	if (!maps)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "request too large");
	for (size_t i = 0; i < count; i++)
		maps[i] =
			(struct id_map){ items[i].container_id, items[i].host_id, items[i].length };
	*ret = (struct id_maps){ maps, count };
	return 0;
}

static int userns(struct pb_arena *arena, const cri_NamespaceOption *opt, struct life_sandbox *sb,
                  struct err *err)
{
	const cri_UserNamespace *user = &opt->userns_options;

	if (!opt->has_userns_options)
		return 0;
	if (user->mode == cri_NamespaceMode_NODE) {
		if (user->uids_count || user->gids_count)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "userns_options: mode NODE takes no mappings");
		return 0;
	}
	if (user->mode != cri_NamespaceMode_POD)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "userns_options.mode: only POD and NODE are supported for a pod");
	if (user->uids_count != 1 || user->gids_count != 1)
		return err_set(
			err, CODE_INVALID_ARGUMENT,
			"userns_options: exactly one uid and one gid mapping is needed, not %u and %u",
			(unsigned)user->uids_count, (unsigned)user->gids_count);
	return id_maps(arena, user->uids, user->uids_count, &sb->uid_maps, err) < 0 ||
	                       id_maps(arena, user->gids, user->gids_count, &sb->gid_maps, err) < 0
	               ? -1
	               : 0;
}

static int ports(struct pb_arena *arena, const cri_PodSandboxConfig *config,
                 struct life_sandbox *sb, struct err *err)
{
	static const char *const protocols[] = {
		[cri_Protocol_TCP] = "tcp",
		[cri_Protocol_UDP] = "udp",
		[cri_Protocol_SCTP] = "sctp",
	};
	struct net_port *list =
		pb_arena_alloc(arena, (config->port_mappings_count + 1) * sizeof(*list));

	if (!list)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "request too large");
	for (size_t i = 0; i < config->port_mappings_count; i++) {
		const cri_PortMapping *port = &config->port_mappings[i];

		list[i] = (struct net_port){
			.host_port = (uint16_t)port->host_port, /* ranges were checked */
			.container_port = (uint16_t)port->container_port,
			.protocol = protocols[port->protocol],
			.host_ip = or_empty(port->host_ip),
		};
	}
	sb->ports = list;
	sb->nports = config->port_mappings_count;
	return 0;
}

static int request_bytes(struct pb_arena *arena, const pb_msgdesc_t *desc, const void *msg,
                         struct bytes *ret, struct err *err)
{
	cleanup(buf_release) struct buf buf = { 0 };
	void *copy;

	buf_init(&buf, RECORD_MAX_BYTES / 2);
	if (pb_encode_msg(&buf, desc, msg, err) < 0)
		return err_wrap(err, "config");
	copy = pb_arena_alloc(arena, buf.len + 1);
	if (!copy)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "request too large");
	memcpy(copy, or_empty(buf.data), buf.len);
	*ret = (struct bytes){ .data = copy, .len = buf.len };
	return 0;
}

void rpc_run_pod_sandbox(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_RunPodSandboxRequest *req = request;
	const cri_PodSandboxConfig *config = &req->config;
	const cri_LinuxPodSandboxConfig *linux_config = &config->linux;
	const cri_NamespaceOption *opt = &linux_config->security_context.namespace_options;
	struct pb_arena *arena = grpc_scratch(call);
	struct err err = { 0 };
	struct life_sandbox sb = {
		.name = config->metadata.name,
		.uid = or_empty(config->metadata.uid),
		.ns = or_empty(config->metadata.namespace),
		.attempt = config->metadata.attempt,
		.labels = lend(config->labels, config->labels_count),
		.annotations = lend(config->annotations, config->annotations_count),
		.runtime_handler = or_empty(req->runtime_handler),
		.cgroup_parent = or_empty(linux_config->cgroup_parent),
		.hostname = or_empty(config->hostname),
		.log_dir = or_empty(config->log_directory),
		.host_network = opt->network == cri_NamespaceMode_NODE,
		.host_ipc = opt->ipc == cri_NamespaceMode_NODE,
		.host_pid = opt->pid == cri_NamespaceMode_NODE,
		.pod_pid = linux_config->has_security_context &&
		           linux_config->security_context.has_namespace_options &&
		           opt->pid == cri_NamespaceMode_POD,
		.has_dns = config->has_dns_config,
		.dns_servers = strv_in(arena, config->dns_config.servers,
		                       config->dns_config.servers_count),
		.dns_searches = strv_in(arena, config->dns_config.searches,
		                        config->dns_config.searches_count),
		.dns_options = strv_in(arena, config->dns_config.options,
		                       config->dns_config.options_count),
		.sysctls = lend(linux_config->sysctls, linux_config->sysctls_count),
	};

	if (!sb.dns_servers || !sb.dns_searches || !sb.dns_options) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "request too large");
		grpc_fail(call, &err);
		return;
	}
	if (request_bytes(arena, cri_PodSandboxConfig_fields, config, &sb.request, &err) < 0 ||
	    userns(arena, opt, &sb, &err) < 0 || ports(arena, config, &sb, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	life_sandbox_run(cri->life, &sb, grpc_deadline_ns(call),
	                 &pending_new(call, run_answer)->wait);
}

/* --- Stop, Remove */

static void stop_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_StopPodSandboxResponse resp = { 0 };

	grpc_reply(call, cri_StopPodSandboxResponse_fields, &resp);
}

void rpc_stop_pod_sandbox(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StopPodSandboxRequest *req = request;

	life_sandbox_stop(cri->life, req->pod_sandbox_id, &pending_new(call, stop_answer)->wait);
}

static void remove_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_RemovePodSandboxResponse resp = { 0 };

	grpc_reply(call, cri_RemovePodSandboxResponse_fields, &resp);
}

void rpc_remove_pod_sandbox(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_RemovePodSandboxRequest *req = request;

	life_sandbox_remove(cri->life, req->pod_sandbox_id,
	                    &pending_new(call, remove_answer)->wait);
}

/* --- UpdatePodSandboxResources */

static void update_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_UpdatePodSandboxResourcesResponse resp = { 0 };

	grpc_reply(call, cri_UpdatePodSandboxResourcesResponse_fields, &resp);
}

void rpc_update_pod_sandbox_resources(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_UpdatePodSandboxResourcesRequest *req = request;
	struct str bytes = grpc_request_bytes(call);

	life_sandbox_update(
		cri->life, req->pod_sandbox_id,
		(struct bytes){ .data = (uint8_t *)(uintptr_t)bytes.p, .len = bytes.len },
		&pending_new(call, update_answer)->wait);
}

/* --- Status */

/* The pid that stands for the pod: of its pause container, or 0 for a pod without one. */
static pid_t pod_pid(const struct state *state, const struct sandbox *sb)
{
	const struct container *pause =
		sb->pause_container ? container_get(state, sb->pause_container) : NULL;

	return pause && pause->state == CONTAINER_RUNNING ? pause->pid : 0;
}

static char *sandbox_info(const struct cri *cri, const struct sandbox *sb)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *ns, *ips;

	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_int(doc, root, "pid", pod_pid(cri->state, sb));
	yyjson_mut_obj_add_str(doc, root, "processStatus",
	                       sb->state == SANDBOX_READY ? "running" : "stopped");
	yyjson_mut_obj_add_bool(doc, root, "netNamespaceClosed",
	                        !sb->host_network && !sb->netns_path);
	yyjson_mut_obj_add_strcpy(doc, root, "runtimeHandler", sb->runtime_handler);
	yyjson_mut_obj_add_strcpy(doc, root, "runtime", sb->runtime);
	yyjson_mut_obj_add_strcpy(doc, root, "controller", sb->controller);
	ns = yyjson_mut_obj_add_obj(doc, root, "namespaces");
	yyjson_mut_obj_add_strcpy(doc, ns, "network", or_empty(sb->netns_path));
	yyjson_mut_obj_add_strcpy(doc, ns, "ipc", or_empty(sb->ipcns_path));
	yyjson_mut_obj_add_strcpy(doc, ns, "uts", or_empty(sb->utsns_path));
	yyjson_mut_obj_add_strcpy(doc, ns, "user", or_empty(sb->userns_path));
	ips = yyjson_mut_obj_add_arr(doc, root, "ips");
	for (char **ip = sb->ips; ip && *ip; ip++)
		yyjson_mut_arr_add_strcpy(doc, ips, *ip);
	if (sb->cni_result.len) {
		struct err err = { 0 };
		cleanup(yyjson_doc_free) yyjson_doc *result =
			json_parse((const char *)sb->cni_result.data, sb->cni_result.len,
		                   RECORD_MAX_BYTES, "CNI result", &err);

		if (result)
			yyjson_mut_obj_add_val(
				doc, root, "cniResult",
				yyjson_val_mut_copy(doc, yyjson_doc_get_root(result)));
	}
	return json_write(doc, false, NULL);
}

void rpc_pod_sandbox_status(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_PodSandboxStatusRequest *req = request;
	struct pb_arena *arena = grpc_scratch(call);
	cleanup_free char *info = NULL;
	struct err err = { 0 };
	const struct sandbox *sb = sandbox_find(cri->state, req->pod_sandbox_id, &err);
	cri_PodSandboxStatusResponse resp = { .has_status = true };
	cri_PodSandboxStatusResponse_InfoEntry entry = { .key = (char *)"info" };
	size_t n = 0;

	if (!sb) {
		grpc_fail(call, &err);
		return;
	}
	if (to_cri_sandbox_status(sb, arena, &resp.status) < 0)
		goto too_large;
	if (req->verbose) {
		info = sandbox_info(cri, sb);
		entry.value = info;
		resp.info = &entry;
		resp.info_count = 1;
	}
	/* so that evented kubelets need no second call: the pod with all its containers, as of now */
	list_for_each(l, &sb->containers)
		n += container_is_visible(list_entry(l, struct container, pod_link));
	resp.containers_statuses =
		pb_arena_alloc(arena, (n + 1) * sizeof(*resp.containers_statuses));
	if (!resp.containers_statuses)
		goto too_large;
	list_for_each(l, &sb->containers) {
		const struct container *c = list_entry(l, struct container, pod_link);

		if (!container_is_visible(c))
			continue;
		if (to_cri_container_status(
			    cri->state, c, NULL, 0, arena,
			    &resp.containers_statuses[resp.containers_statuses_count++]) < 0)
			goto too_large;
	}
	resp.timestamp = clock_real_ns();
	grpc_reply(call, cri_PodSandboxStatusResponse_fields, &resp);
	return;
too_large:
	err_set(&err, CODE_RESOURCE_EXHAUSTED, "status of pod sandbox %s is too large", sb->id);
	grpc_fail(call, &err);
}

/* --- List */

static bool sandbox_matches(const struct state *state, const struct sandbox *sb,
                            const cri_PodSandboxFilter *filter)
{
	struct err err = { 0 };
	const struct sandbox *wanted;

	if (!sandbox_is_visible(sb))
		return false;
	if (filter->id && filter->id[0]) {
		wanted = sandbox_find(state, filter->id, &err);
		if (wanted != sb)
			return false;
	}
	if (filter->has_state && filter->state.state != to_cri_sandbox_state(sb))
		return false;
	return labels_match(&sb->labels, filter->label_selector, filter->label_selector_count);
}

void rpc_list_pod_sandbox(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ListPodSandboxRequest *req = request;
	struct pb_arena *arena = grpc_scratch(call);
	cri_ListPodSandboxResponse resp = { 0 };
	struct err err = { 0 };
	size_t n = 0;

	list_for_each(l, &cri->state->sandboxes)
		n++;
	resp.items = pb_arena_alloc(arena, (n + 1) * sizeof(*resp.items));
	if (!resp.items) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED,
		        "%zu pod sandboxes are too many for one answer", n);
		grpc_fail(call, &err);
		return;
	}
	list_for_each(l, &cri->state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (sandbox_matches(cri->state, sb, &req->filter) &&
		    to_cri_sandbox(sb, &resp.items[resp.items_count]) == 0)
			resp.items_count++;
	}
	grpc_reply(call, cri_ListPodSandboxResponse_fields, &resp);
}

void rpc_stream_pod_sandboxes(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StreamPodSandboxesRequest *req = request;
	cri_PodSandbox rows[STREAM_ROWS];
	cri_StreamPodSandboxesResponse resp = { .pod_sandboxes = rows };
	struct err err = { 0 };

	list_for_each(l, &cri->state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (!sandbox_matches(cri->state, sb, &req->filter) ||
		    to_cri_sandbox(sb, &rows[resp.pod_sandboxes_count]) < 0)
			continue;
		if (++resp.pod_sandboxes_count < STREAM_ROWS)
			continue;
		if (grpc_stream_send(call, cri_StreamPodSandboxesResponse_fields, &resp, &err) <
		    0) {
			grpc_fail(call, &err);
			return;
		}
		resp.pod_sandboxes_count = 0;
	}
	if (resp.pod_sandboxes_count &&
	    grpc_stream_send(call, cri_StreamPodSandboxesResponse_fields, &resp, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	grpc_finish(call);
}
