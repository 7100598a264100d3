/* cri/rpc/status.c
 *
 * What the node is and whether it can run pods: Version, Status, RuntimeConfig,
 * UpdateRuntimeConfig. The facts come from struct cri_node; here they take the shape and the words
 * that kubelet and crictl expect.
 */
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"

/* nanopb's string fields are char *, though nothing is written through them. */
static char *text(const char *s)
{
	return (char *)(uintptr_t)s;
}

void rpc_version(struct cri *cri, struct grpc_call *call, const void *request UNUSED)
{
	/* 0.1.0 is the version of the kubelet's own runtime API, the same in every runtime since its
	 * beginning. Which CRI we speak stands in runtime_api_version; a client that asks for another
	 * one finds no such service. */
	cri_VersionResponse response = {
		.version = text("0.1.0"),
		.runtime_name = text("coracle"),
		.runtime_version = text(cri->version),
		.runtime_api_version = text("v1"),
	};

	grpc_reply(call, &cri_VersionResponse_msg, &response);
}

/* --- Status */

static void add_strings(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key,
                        char *const *strings)
{
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(doc, object, key);

	for (size_t i = 0; strings && strings[i]; i++)
		yyjson_mut_arr_add_str(doc, array, strings[i]);
}

static void add_runtimes(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct config *config)
{
	yyjson_mut_val *runtimes = yyjson_mut_obj_add_obj(doc, object, "runtimes");

	for (size_t i = 0; i < config->nruntimes; i++) {
		const struct config_runtime *runtime = &config->runtimes[i];
		yyjson_mut_val *one =
			yyjson_mut_obj_add_obj(doc, runtimes, or_empty(runtime->name));

		yyjson_mut_obj_add_str(doc, one, "path", or_empty(runtime->path));
		yyjson_mut_obj_add_str(doc, one, "sandbox",
		                       runtime->sandbox ? runtime->sandbox : "pinned");
	}
	if (config->default_runtime)
		yyjson_mut_obj_add_str(doc, object, "defaultRuntime", config->default_runtime);
}

/* The configuration in effect, in the arena. Tools look for stateDir and rootDir; nothing secret is
 * in it. NULL: no memory. */
static char *config_json(const struct config *config, struct pb_arena *arena)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	cleanup_free char *json = NULL;
	yyjson_mut_val *root, *part;

	if (!doc)
		return NULL;
	root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "rootDir", or_empty(config->root));
	yyjson_mut_obj_add_str(doc, root, "stateDir", or_empty(config->state));
	yyjson_mut_obj_add_str(doc, root, "listen", or_empty(config->listen));
	yyjson_mut_obj_add_str(doc, root, "configFile", or_empty(config->file));
	add_runtimes(doc, root, config);
	part = yyjson_mut_obj_add_obj(doc, root, "cni");
	yyjson_mut_obj_add_str(doc, part, "confDir", or_empty(config->cni_conf_dir));
	add_strings(doc, part, "binDirs", config->cni_bin_dirs);
	part = yyjson_mut_obj_add_obj(doc, root, "image");
	yyjson_mut_obj_add_str(doc, part, "hostsDir", or_empty(config->registry_hosts_dir));
	add_strings(doc, part, "pinned", config->pinned_images);
	part = yyjson_mut_obj_add_obj(doc, root, "journal");
	yyjson_mut_obj_add_uint(doc, part, "keepBytes", config->journal_keep_bytes);
	yyjson_mut_obj_add_uint(doc, part, "segmentBytes", config->journal_segment_bytes);
	part = yyjson_mut_obj_add_obj(doc, root, "nri");
	yyjson_mut_obj_add_int(doc, part, "holdMs", config->nri_hold_ms);

	json = json_write(doc, false, NULL);
	return json ? pb_arena_strdup(arena, json) : NULL;
}

static cri_RuntimeCondition condition(const struct cri_condition *from, const char *type)
{
	return (cri_RuntimeCondition){
		.type = text(from->type ? from->type : type),
		.status = from->ok,
		.reason = text(or_empty(from->reason)),
		.message = text(or_empty(from->message)),
	};
}

/* Foreign text (a CNI plugin's stderr) must not make the whole answer unencodable. */
static void repair_conditions(struct pb_arena *arena, cri_RuntimeStatus *status)
{
	for (size_t i = 0; i < status->conditions_count; i++)
		if (!str_utf8_valid(str_of(status->conditions[i].message)))
			status->conditions[i].message =
				pb_utf8(arena, str_of(status->conditions[i].message));
}

static int fill_status(const struct cri_node_facts *facts, struct pb_arena *arena,
                       cri_StatusResponse *ret_status)
{
	cri_RuntimeCondition *conditions =
		pb_arena_alloc(arena, (2 + facts->nmore) * sizeof(*conditions));
	cri_RuntimeHandler *handlers =
		pb_arena_alloc(arena, (facts->nhandlers + 1) * sizeof(*handlers));

	if (!conditions || !handlers)
		return -1;
	conditions[0] = condition(&facts->runtime, "RuntimeReady");
	conditions[1] = condition(&facts->network, "NetworkReady");
	for (size_t i = 0; i < facts->nmore; i++)
		conditions[2 + i] = condition(&facts->more[i], "");
	for (size_t i = 0; i < facts->nhandlers; i++) {
		const struct cri_runtime_handler *from = &facts->handlers[i];

		handlers[i] = (cri_RuntimeHandler){
			.name = text(or_empty(from->name)),
			.has_features = true,
			.features = { .recursive_read_only_mounts =
			                      from->recursive_read_only_mounts,
			              .user_namespaces = from->user_namespaces },
		};
	}
	*ret_status = (cri_StatusResponse){
		.has_status = true,
		.status = { .conditions_count = (pb_size_t)(2 + facts->nmore),
		            .conditions = conditions },
		.runtime_handlers_count = (pb_size_t)facts->nhandlers,
		.runtime_handlers = handlers,
		.has_features = true,
		.features = { .supplemental_groups_policy = true,
		              .user_namespaces_host_network = true,
		              .mount_options = true },
	};
	repair_conditions(arena, &ret_status->status);
	return 0;
}

static int fill_info(const struct cri *cri, const struct cri_node_facts *facts,
                     struct pb_arena *arena, cri_StatusResponse *status)
{
	cri_StatusResponse_InfoEntry *info =
		pb_arena_alloc(arena, (1 + facts->ninfo) * sizeof(*info));
	char *config = config_json(cri->config, arena);

	if (!info || !config)
		return -1;
	info[0] = (cri_StatusResponse_InfoEntry){ .key = text("config"), .value = config };
	for (size_t i = 0; i < facts->ninfo; i++) {
		info[1 + i].key = text(facts->info[i].key);
		info[1 + i].value = pb_utf8(arena, str_of(facts->info[i].json));
		if (!info[1 + i].value)
			return -1;
	}
	status->info_count = (pb_size_t)(1 + facts->ninfo);
	status->info = info;
	return 0;
}

void rpc_status(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StatusRequest *req = request;
	struct pb_arena *arena = grpc_scratch(call);
	struct cri_node_facts facts = { 0 };
	cri_StatusResponse status;

	cri->node->facts(cri->node->arg, arena, req->verbose, &facts);
	if (fill_status(&facts, arena, &status) < 0 ||
	    (req->verbose && fill_info(cri, &facts, arena, &status) < 0)) {
		grpc_fail(call, &(struct err){ .code = CODE_RESOURCE_EXHAUSTED,
		                               .msg = "no memory for the status" });
		return;
	}
	grpc_reply(call, &cri_StatusResponse_msg, &status);
}

/* --- configuration that kubelet asks for and hands down */

void rpc_runtime_config(struct cri *cri, struct grpc_call *call, const void *request UNUSED)
{
	struct cri_node_facts facts = { 0 };
	cri_RuntimeConfigResponse config = { .has_linux = true };

	cri->node->facts(cri->node->arg, grpc_scratch(call), false, &facts);
	config.linux.cgroup_driver =
		facts.systemd_cgroup ? cri_CgroupDriver_SYSTEMD : cri_CgroupDriver_CGROUPFS;
	grpc_reply(call, &cri_RuntimeConfigResponse_msg, &config);
}

void rpc_update_runtime_config(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_UpdateRuntimeConfigRequest *req = request;
	struct pb_arena *arena = grpc_scratch(call);
	struct str rest = str_trim(str_of(req->runtime_config.network_config.pod_cidr));
	const char *cidrs[16];
	size_t ncidrs = 0;
	struct err err = { 0 };

	while (rest.len > 0) {
		struct str one, tail;

		str_cut(rest, ',', &one, &tail);
		one = str_trim(one);
		rest = tail;
		if (ncidrs == ARRAY_SIZE(cidrs)) {
			err_set(&err, CODE_INVALID_ARGUMENT,
			        "runtime_config.network_config.pod_cidr: more than %zu ranges",
			        ARRAY_SIZE(cidrs));
			grpc_fail(call, &err);
			return;
		}
		cidrs[ncidrs] = pb_arena_strndup(arena, one.p, one.len);
		if (cidrs[ncidrs])
			ncidrs++;
	}
	/* a node without a range yet: kubelet asks again when it has one */
	if (ncidrs > 0 && cri->node->set_pod_cidrs(cri->node->arg, cidrs, ncidrs, &err) < 0) {
		err_wrap(&err, "set pod ranges");
		grpc_fail(call, &err);
		return;
	}
	grpc_reply(call, &cri_UpdateRuntimeConfigResponse_msg,
	           &(cri_UpdateRuntimeConfigResponse){ 0 });
}
