/* cri/rpc/container.c
 *
 * Containers: Create, Start, Stop, Remove, List, Status, UpdateContainerResources, ReopenContainerLog.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/life/life.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/pending.h"
#include "cri/rpc/to_cri.h"
#include "cri/spec/to_spec.h"

#define STREAM_ROWS       100
#define BUNDLE_CONFIG_MAX (4 * 1024 * 1024)

/* --- CreateContainer */

static void create_answer(struct grpc_call *call, const char *id)
{
	const cri_CreateContainerResponse resp = { .container_id = (char *)id };

	grpc_reply(call, cri_CreateContainerResponse_fields, &resp);
}

/* log_directory/log_path, where both are given; "" else: output is discarded. */
static const char *log_path(struct pb_arena *arena, const struct sandbox *sb,
                            const cri_ContainerConfig *config)
{
	if (!sb->log_dir[0] || !config->log_path || !config->log_path[0])
		return "";
	return pb_arena_printf(arena, "%s/%s", sb->log_dir, config->log_path);
}

/* What the pod's own request said: its containers with mode POD are then in the host's PID namespace. */
static bool pod_uses_host_pid(const struct sandbox *sb)
{
	cleanup(pb_arena_free) struct pb_arena *arena =
		pb_arena_new(pb_budget_for(sb->request.len));
	cri_PodSandboxConfig *config = pb_arena_alloc(arena, sizeof(*config));
	struct err err = { 0 };

	return config &&
	       pb_decode_msg(arena, cri_PodSandboxConfig_fields, config, sb->request.data,
	                     sb->request.len, "PodSandboxConfig", &err) == 0 &&
	       config->linux.security_context.namespace_options.pid == cri_NamespaceMode_NODE;
}

void rpc_create_container(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_CreateContainerRequest *req = request;
	const cri_ContainerConfig *config = &req->config;
	const cri_LinuxContainerSecurityContext *security = &config->linux.security_context;
	const cri_NamespaceOption *opt = &security->namespace_options;
	struct pb_arena *arena = grpc_scratch(call);
	struct err err = { 0 };
	cleanup(buf_release) struct buf bytes = { 0 };
	const struct sandbox *sb = sandbox_find(cri->state, req->pod_sandbox_id, &err);
	struct life_container c = {
		.sandbox_id = req->pod_sandbox_id,
		.name = config->metadata.name,
		.attempt = config->metadata.attempt,
		.labels = { .items = (void *)config->labels, .count = config->labels_count },
		.annotations = { .items = (void *)config->annotations,
		                 .count = config->annotations_count },
		.image = or_empty(config->image.image),
		.tty = config->tty,
		.stdin_open = config->stdin,
		.stdin_once = config->stdin_once,
		.host_pid = opt->pid == cri_NamespaceMode_NODE,
		.pod_pid = opt->pid == cri_NamespaceMode_POD,
		.target_id = opt->pid == cri_NamespaceMode_TARGET ? or_empty(opt->target_id) : NULL,
		.stop_signal = from_cri_signal(config->stop_signal),
	};

	buf_init(&bytes, RECORD_MAX_BYTES / 2);
	if (!sb)
		goto fail;
	if (pb_encode_msg(&bytes, cri_ContainerConfig_fields, config, &err) < 0) {
		err_wrap(&err, "config");
		goto fail;
	}
	/* a pod without a PID namespace of its own to share gives each container its own */
	if (!sb->pause_container && c.pod_pid) {
		c.pod_pid = false;
		c.host_pid = pod_uses_host_pid(sb);
	}
	c.log_path = log_path(arena, sb, config);
	if (!c.log_path) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "config.log_path is too long");
		goto fail;
	}
	c.request = (struct bytes){ .data = (uint8_t *)bytes.data, .len = bytes.len };
	life_container_create(cri->life, &c, grpc_deadline_ns(call),
	                      &pending_new(call, create_answer)->wait);
	return;
fail:
	grpc_fail(call, &err);
}

/* --- Start, Stop, Remove, ReopenContainerLog */

static void start_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_StartContainerResponse resp = { 0 };

	grpc_reply(call, cri_StartContainerResponse_fields, &resp);
}

void rpc_start_container(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StartContainerRequest *req = request;

	life_container_start(cri->life, req->container_id, grpc_deadline_ns(call),
	                     &pending_new(call, start_answer)->wait);
}

static void stop_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_StopContainerResponse resp = { 0 };

	grpc_reply(call, cri_StopContainerResponse_fields, &resp);
}

void rpc_stop_container(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StopContainerRequest *req = request;
	int64_t timeout_ms =
		req->timeout > INT32_MAX ? (int64_t)INT32_MAX * 1000 : req->timeout * 1000;

	life_container_stop(cri->life, req->container_id, timeout_ms,
	                    &pending_new(call, stop_answer)->wait);
}

static void remove_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_RemoveContainerResponse resp = { 0 };

	grpc_reply(call, cri_RemoveContainerResponse_fields, &resp);
}

void rpc_remove_container(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_RemoveContainerRequest *req = request;

	life_container_remove(cri->life, req->container_id,
	                      &pending_new(call, remove_answer)->wait);
}

static void reopen_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_ReopenContainerLogResponse resp = { 0 };

	grpc_reply(call, cri_ReopenContainerLogResponse_fields, &resp);
}

void rpc_reopen_container_log(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ReopenContainerLogRequest *req = request;

	life_container_reopen_log(cri->life, req->container_id,
	                          &pending_new(call, reopen_answer)->wait);
}

/* --- UpdateContainerResources */

static void update_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_UpdateContainerResourcesResponse resp = { 0 };

	grpc_reply(call, cri_UpdateContainerResourcesResponse_fields, &resp);
}

void rpc_update_container_resources(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_UpdateContainerResourcesRequest *req = request;
	cri_LinuxContainerResources *merged = pb_arena_alloc(grpc_scratch(call), sizeof(*merged));
	cleanup_free char *oci = NULL;
	cleanup(buf_release) struct buf bytes = { 0 };
	struct err err = { 0 };
	const struct container *c = container_find(cri->state, req->container_id, &err);

	buf_init(&bytes, RECORD_MAX_BYTES / 2);
	if (!c)
		goto fail;
	/* zero means "as it is": what is kept is the request on top of what was in force */
	if (!merged || to_cri_resources(c, grpc_scratch(call), merged) < 0) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "request too large");
		goto fail;
	}
	merge_resources(merged, &req->linux);
	oci = spec_resources_json(&req->linux, &err);
	if (!oci || pb_encode_msg(&bytes, cri_LinuxContainerResources_fields, merged, &err) < 0)
		goto fail;
	life_container_update(cri->life, c->id,
	                      (struct bytes){ .data = (uint8_t *)bytes.data, .len = bytes.len },
	                      oci, &pending_new(call, update_answer)->wait);
	return;
fail:
	grpc_fail(call, &err);
}

/* --- List */

static bool container_matches(const struct state *state, const struct container *c,
                              const cri_ContainerFilter *filter)
{
	struct err err = { 0 };

	if (!container_is_visible(c))
		return false;
	if (filter->id && filter->id[0] && container_find(state, filter->id, &err) != c)
		return false;
	if (filter->pod_sandbox_id && filter->pod_sandbox_id[0]) {
		const struct sandbox *sb = sandbox_find(state, filter->pod_sandbox_id, &err);

		if (!sb || !streq(sb->id, c->sandbox_id))
			return false;
	}
	if (filter->has_state && filter->state.state != to_cri_container_state(c))
		return false;
	return labels_match(&c->labels, filter->label_selector, filter->label_selector_count);
}

void rpc_list_containers(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ListContainersRequest *req = request;
	struct pb_arena *arena = grpc_scratch(call);
	cri_ListContainersResponse resp = { 0 };
	struct err err = { 0 };
	size_t n = 0;

	list_for_each(l, &cri->state->containers)
		n++;
	resp.containers = pb_arena_alloc(arena, (n + 1) * sizeof(*resp.containers));
	if (!resp.containers) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "%zu containers are too many for one answer",
		        n);
		grpc_fail(call, &err);
		return;
	}
	list_for_each(l, &cri->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (container_matches(cri->state, c, &req->filter) &&
		    to_cri_container(c, &resp.containers[resp.containers_count]) == 0)
			resp.containers_count++;
	}
	grpc_reply(call, cri_ListContainersResponse_fields, &resp);
}

void rpc_stream_containers(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StreamContainersRequest *req = request;
	cri_Container rows[STREAM_ROWS];
	cri_StreamContainersResponse resp = { .containers = rows };
	struct err err = { 0 };

	list_for_each(l, &cri->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (!container_matches(cri->state, c, &req->filter) ||
		    to_cri_container(c, &rows[resp.containers_count]) < 0)
			continue;
		if (++resp.containers_count < STREAM_ROWS)
			continue;
		if (grpc_stream_send(call, cri_StreamContainersResponse_fields, &resp, &err) < 0) {
			grpc_fail(call, &err);
			return;
		}
		resp.containers_count = 0;
	}
	if (resp.containers_count &&
	    grpc_stream_send(call, cri_StreamContainersResponse_fields, &resp, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	grpc_finish(call);
}

/* --- Status */

static char *container_info(const struct container *c, const char *config, size_t len)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	struct err err = { 0 };

	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_strcpy(doc, root, "sandboxID", c->sandbox_id);
	yyjson_mut_obj_add_int(doc, root, "pid", c->pid);
	yyjson_mut_obj_add_bool(doc, root, "removing", c->state == CONTAINER_REMOVING);
	yyjson_mut_obj_add_strcpy(doc, root, "snapshotKey", c->id);
	yyjson_mut_obj_add_str(doc, root, "snapshotter", "overlayfs");
	yyjson_mut_obj_add_strcpy(doc, root, "runtime", c->runtime);
	if (config) {
		cleanup(yyjson_doc_free) yyjson_doc *spec =
			json_parse(config, len, BUNDLE_CONFIG_MAX, "config.json", &err);

		if (spec)
			yyjson_mut_obj_add_val(doc, root, "runtimeSpec",
			                       yyjson_val_mut_copy(doc, yyjson_doc_get_root(spec)));
	}
	return json_write(doc, false, NULL);
}

void rpc_container_status(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ContainerStatusRequest *req = request;
	struct err err = { 0 };
	const struct container *c = container_find(cri->state, req->container_id, &err);
	cri_ContainerStatusResponse resp = { .has_status = true };
	cri_ContainerStatusResponse_InfoEntry entry = { .key = (char *)"info" };
	cleanup_free char *path = NULL;
	cleanup_free char *config = NULL;
	cleanup_free char *info = NULL;
	size_t len = 0;

	if (!c) {
		grpc_fail(call, &err);
		return;
	}
	/* on the run directory's tmpfs; gone after a reboot */
	path = xasprintf("%s/bundles/%s/config.json", cri->config->state, c->id);
	if (fsx_read(AT_FDCWD, path, BUNDLE_CONFIG_MAX, &config, &len) < 0)
		config = NULL;
	if (to_cri_container_status(cri->state, c, config, len, grpc_scratch(call), &resp.status) <
	    0) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "status of container %s is too large",
		        c->id);
		grpc_fail(call, &err);
		return;
	}
	if (req->verbose) {
		info = container_info(c, config, len);
		entry.value = info;
		resp.info = &entry;
		resp.info_count = 1;
	}
	grpc_reply(call, cri_ContainerStatusResponse_fields, &resp);
}
