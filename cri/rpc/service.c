/* cri/rpc/service.c
 *
 * The table of RPCs and the way from a call to its handler. Adding an RPC is one line here, one in
 * handlers.h and the handler.
 */
#include "cri/rpc/service.h"

#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/proto/cri.h"
#include "cri/proto/ctl.pb.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/validate.h"

#define RUNTIME "/runtime.v1.RuntimeService/"
#define IMAGE   "/runtime.v1.ImageService/"
#define CONTROL "/coracle.v1.Control/"

#define ROW(path_, streaming_, kind_, request_, response_, check_, fn_)                            \
	{                                                                                          \
		.method = { .path = path_, .streaming = streaming_ }, .kind = kind_,               \
		.request = &request_##_msg, .request_size = sizeof(request_),                      \
		.response = &response_##_msg, .response_size = sizeof(response_), .check = check_, \
		.fn = fn_,                                                                         \
	}
/* By far most methods take NameRequest and return NameResponse. */
#define UNARY(service, name, kind, check, fn)                                                      \
	ROW(service #name, false, kind, cri_##name##Request, cri_##name##Response, check, fn)
#define STREAM(service, name, kind, check, fn)                                                     \
	ROW(service #name, true, kind, cri_##name##Request, cri_##name##Response, check, fn)

/* clang-format off */
static const struct rpc_row all_rows[] = {
	UNARY(RUNTIME,  Version,                  RPC_READ,   NULL,                                rpc_version),
	UNARY(RUNTIME,  RunPodSandbox,            RPC_CHANGE, check_run_pod_sandbox,               rpc_run_pod_sandbox),
	UNARY(RUNTIME,  StopPodSandbox,           RPC_SETTLE, check_sandbox_id_first,              rpc_stop_pod_sandbox),
	UNARY(RUNTIME,  RemovePodSandbox,         RPC_SETTLE, check_sandbox_id_first,              rpc_remove_pod_sandbox),
	UNARY(RUNTIME,  PodSandboxStatus,         RPC_READ,   check_sandbox_id_first,              rpc_pod_sandbox_status),
	UNARY(RUNTIME,  ListPodSandbox,           RPC_READ,   check_list_pod_sandbox,              rpc_list_pod_sandbox),
	STREAM(RUNTIME, StreamPodSandboxes,       RPC_READ,   check_stream_pod_sandboxes,          rpc_stream_pod_sandboxes),
	UNARY(RUNTIME,  CreateContainer,          RPC_CHANGE, check_create_container,              rpc_create_container),
	UNARY(RUNTIME,  StartContainer,           RPC_CHANGE, check_container_id_first,            rpc_start_container),
	UNARY(RUNTIME,  StopContainer,            RPC_SETTLE, check_stop_container,                rpc_stop_container),
	UNARY(RUNTIME,  RemoveContainer,          RPC_SETTLE, check_container_id_first,            rpc_remove_container),
	UNARY(RUNTIME,  ListContainers,           RPC_READ,   check_list_containers,               rpc_list_containers),
	STREAM(RUNTIME, StreamContainers,         RPC_READ,   check_stream_containers,             rpc_stream_containers),
	UNARY(RUNTIME,  ContainerStatus,          RPC_READ,   check_container_id_first,            rpc_container_status),
	UNARY(RUNTIME,  UpdateContainerResources, RPC_CHANGE, check_update_container_resources,    rpc_update_container_resources),
	UNARY(RUNTIME,  ReopenContainerLog,       RPC_SETTLE, check_container_id_first,            rpc_reopen_container_log),
	UNARY(RUNTIME,  ExecSync,                 RPC_SETTLE, check_exec_sync,                     rpc_exec_sync),
	UNARY(RUNTIME,  Exec,                     RPC_SETTLE, check_exec,                          NULL),
	UNARY(RUNTIME,  Attach,                   RPC_SETTLE, check_attach,                        NULL),
	UNARY(RUNTIME,  PortForward,              RPC_SETTLE, check_port_forward,                  NULL),
	UNARY(RUNTIME,  ContainerStats,           RPC_READ,   check_container_id_first,            rpc_container_stats),
	UNARY(RUNTIME,  ListContainerStats,       RPC_READ,   NULL,                                rpc_list_container_stats),
	STREAM(RUNTIME, StreamContainerStats,     RPC_READ,   NULL,                                rpc_stream_container_stats),
	UNARY(RUNTIME,  PodSandboxStats,          RPC_READ,   check_sandbox_id_first,              rpc_pod_sandbox_stats),
	UNARY(RUNTIME,  ListPodSandboxStats,      RPC_READ,   NULL,                                rpc_list_pod_sandbox_stats),
	STREAM(RUNTIME, StreamPodSandboxStats,    RPC_READ,   NULL,                                rpc_stream_pod_sandbox_stats),
	UNARY(RUNTIME,  UpdateRuntimeConfig,      RPC_SETTLE, check_update_runtime_config,         rpc_update_runtime_config),
	UNARY(RUNTIME,  Status,                   RPC_READ,   NULL,                                rpc_status),
	/* The three checkpoint calls have no handler on purpose: nothing here can restore what they
	 * would write. */
	UNARY(RUNTIME,  CheckpointContainer,      RPC_CHANGE, NULL,                                NULL),
	ROW(RUNTIME "GetContainerEvents", true,   RPC_READ, cri_GetEventsRequest, cri_ContainerEventResponse, NULL, rpc_get_container_events),
	UNARY(RUNTIME,  ListMetricDescriptors,    RPC_READ,   NULL,                                rpc_list_metric_descriptors),
	UNARY(RUNTIME,  ListPodSandboxMetrics,    RPC_READ,   NULL,                                rpc_list_pod_sandbox_metrics),
	STREAM(RUNTIME, StreamPodSandboxMetrics,  RPC_READ,   NULL,                                rpc_stream_pod_sandbox_metrics),
	UNARY(RUNTIME,  RuntimeConfig,            RPC_READ,   NULL,                                rpc_runtime_config),
	UNARY(RUNTIME,  UpdatePodSandboxResources, RPC_CHANGE, check_update_pod_sandbox_resources, rpc_update_pod_sandbox_resources),
	UNARY(RUNTIME,  CheckpointPod,            RPC_CHANGE, NULL,                                NULL),
	UNARY(RUNTIME,  RestorePod,               RPC_CHANGE, NULL,                                NULL),

	UNARY(IMAGE,    ListImages,               RPC_READ,   NULL,                                rpc_list_images),
	STREAM(IMAGE,   StreamImages,             RPC_READ,   NULL,                                rpc_stream_images),
	UNARY(IMAGE,    ImageStatus,              RPC_READ,   check_image_status,                  rpc_image_status),
	UNARY(IMAGE,    PullImage,                RPC_CHANGE, check_pull_image,                    rpc_pull_image),
	UNARY(IMAGE,    RemoveImage,              RPC_SETTLE, check_remove_image,                  rpc_remove_image),
	UNARY(IMAGE,    ImageFsInfo,              RPC_READ,   NULL,                                rpc_image_fs_info),

	ROW(CONTROL "Import", true, RPC_CHANGE, ctl_ImportRequest, ctl_ImportProgress, check_ctl_import, rpc_ctl_import),
	ROW(CONTROL "Pull",   true, RPC_CHANGE, ctl_PullRequest,   ctl_PullProgress,   check_ctl_pull,   rpc_ctl_pull),
	ROW(CONTROL "Dump",   true, RPC_READ,   ctl_DumpRequest,   ctl_DumpChunk,      NULL,             rpc_ctl_dump),
};
/* clang-format on */

struct service {
	struct cri *cri;
	const struct rpc_row *rows;
	size_t nrows;
	struct rpc_counters *counters; /* one for each row */
	enum service_phase phase;
	struct list held; /* struct held, in order of arrival */
	struct log_limit failures;
};

/* A change that came before READY; lives in its call's arena. */
struct held {
	struct list link;
	struct grpc_call *call;
	const void *request;
};

const struct rpc_row *service_row(size_t i)
{
	return i < ARRAY_SIZE(all_rows) ? &all_rows[i] : NULL;
}

static const struct rpc_row *row_of(const struct grpc_call *call)
{
	return container_of(grpc_method(call), const struct rpc_row, method);
}

/* The gate, for what is known when a head arrives. 0: may pass, maybe later. */
static int gate(const struct service *service, enum rpc_kind kind, struct err *err)
{
	switch (service->phase) {
	case SERVICE_RECOVERING:
		return err_set(err, CODE_UNAVAILABLE, "server is not initialized yet");
	case SERVICE_STOPPING:
		if (kind != RPC_READ)
			return err_set(err, CODE_UNAVAILABLE, "daemon is stopping");
		return 0;
	case SERVICE_READS_OPEN:
	case SERVICE_READY:
		return 0;
	}
	return err_set(err, CODE_INTERNAL, "service is in no known phase");
}

/* @path is "/service/method", which grpc.c has made sure of. */
static const struct rpc_row *row_find(const struct service *service, struct str path,
                                      struct err *err)
{
	struct str name, method, head, tail;
	bool known_service = false;

	str_rcut(path, '/', &name, &method);
	for (size_t i = 0; i < service->nrows; i++) {
		const struct rpc_row *row = &service->rows[i];

		if (str_eq_c(path, row->method.path))
			return row;
		str_rcut(str_of(row->method.path), '/', &head, &tail);
		known_service |= str_eq(head, name);
	}
	name = (struct str){ name.p + 1, MIN(name.len - 1, (size_t)80) };
	method.len = MIN(method.len, (size_t)80);
	if (known_service)
		err_set(err, CODE_UNIMPLEMENTED, "unknown method " STR_FMT " for service " STR_FMT,
		        STR_ARG(method), STR_ARG(name));
	else
		err_set(err, CODE_UNIMPLEMENTED, "unknown service " STR_FMT, STR_ARG(name));
	return NULL;
}

static const struct grpc_method *admit(void *arg, struct str path, struct err *err)
{
	struct service *service = arg;
	const struct rpc_row *row;

	/* Before recovery has ended not even the names of methods are answered: one word for
	 * everything. */
	if (service->phase == SERVICE_RECOVERING && gate(service, RPC_READ, err) < 0)
		return NULL;
	row = row_find(service, path, err);
	if (!row || gate(service, row->kind, err) < 0)
		return NULL;
	if (!row->fn) {
		err_set(err, CODE_UNIMPLEMENTED, "method %s is not implemented",
		        strrchr(row->method.path, '/') + 1);
		return NULL;
	}
	return &row->method;
}

static const void *decode(struct grpc_call *call, const struct rpc_row *row, struct err *err)
{
	struct pb_arena *arena = grpc_arena(call);
	struct str bytes = grpc_request_bytes(call);
	void *request = pb_arena_alloc(arena, row->request_size);

	if (!request) {
		err_set(err, CODE_RESOURCE_EXHAUSTED, "no memory for the request");
		return NULL;
	}
	if (pb_decode_msg(arena, row->request, request, bytes.p, bytes.len, grpc_method_name(call),
	                  err) < 0) {
		/* what gRPC servers answer to bytes that are no message; INVALID_ARGUMENT is for
		 * messages that ask for nonsense */
		if (err_is(err, CODE_INVALID_ARGUMENT))
			err->code = CODE_INTERNAL;
		err_wrap(err, "error unmarshalling request");
		return NULL;
	}
	if (row->check && row->check(request, err) < 0)
		return NULL;
	return request;
}

static void held_cancelled(void *arg, struct grpc_call *call)
{
	struct held *held = arg;

	list_remove(&held->link);
	grpc_fail(call, &(struct err){ .code = grpc_cancelled(call),
	                               .msg = "cancelled before the node was ready" });
}

static void hold(struct service *service, struct grpc_call *call, const void *request)
{
	struct held *held = pb_arena_alloc(grpc_arena(call), sizeof(*held));

	if (!held) {
		grpc_fail(call, &(struct err){ .code = CODE_RESOURCE_EXHAUSTED,
		                               .msg = "no memory to hold the request" });
		return;
	}
	held->call = call;
	held->request = request;
	list_push_back(&service->held, &held->link);
	grpc_on_cancel(call, held_cancelled, held);
}

static void dispatch(void *arg, struct grpc_call *call)
{
	struct service *service = arg;
	const struct rpc_row *row = row_of(call);
	const void *request;
	struct err err = { 0 };

	/* the phase may have moved on between head and body */
	if (gate(service, row->kind, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	request = decode(call, row, &err);
	if (!request)
		grpc_fail(call, &err);
	else if (row->kind == RPC_CHANGE && service->phase == SERVICE_READS_OPEN)
		hold(service, call, request);
	else
		row->fn(service->cri, call, request);
}

/* Failures worth an operator's time: of anything that changes the node, and of reads only what is
 * our own fault. */
static bool is_worth_a_line(enum rpc_kind kind, enum code code)
{
	if (code == CODE_OK || code == CODE_CANCELLED || code == CODE_UNAVAILABLE)
		return false;
	return kind != RPC_READ || code == CODE_INTERNAL || code == CODE_UNKNOWN ||
	       code == CODE_DATA_LOSS;
}

/* The one place where every failed call passes: it is logged here, not by its handler. */
static void answered(void *arg, const struct grpc_call *call, enum code code, const char *text)
{
	struct service *service = arg;
	const struct rpc_row *row = row_of(call);
	struct rpc_counters *counters = &service->counters[row - service->rows];
	int64_t took_ns = clock_boot_ns() - grpc_started_ns(call);
	struct log_ctx ctx = { .op = grpc_method_name(call), .code = code_name(code) };

	counters->ok += code == CODE_OK;
	counters->failed += code != CODE_OK;
	counters->total_ns += took_ns;
	counters->max_ns = MAX(counters->max_ns, took_ns);

	if (is_worth_a_line(row->kind, code) && log_limit_pass(&service->failures))
		log_warn(&ctx, "call failed after %lld ms: %s", (long long)(took_ns / NS_PER_MS),
		         text);
	else
		log_debug(&ctx, "%s: answered after %lld us%s%s", grpc_peer(call)->text,
		          (long long)(took_ns / NS_PER_US), text[0] ? ": " : "", text);
}

struct grpc_handler service_handler(struct service *service)
{
	return (struct grpc_handler){
		.admit = admit, .dispatch = dispatch, .arg = service, .answered = answered
	};
}

struct rpc_counters service_counters(const struct service *service, size_t i)
{
	ensure(i < service->nrows);
	return service->counters[i];
}

void service_enter(struct service *service, enum service_phase phase)
{
	struct list *link;
	struct err err = { 0 };

	ensure(phase >= service->phase);
	service->phase = phase;
	if (phase < SERVICE_READY)
		return;
	while ((link = list_pop_front(&service->held))) {
		struct held *held = list_entry(link, struct held, link);
		struct grpc_call *call = held->call;

		grpc_on_cancel(call, NULL, NULL);
		if (gate(service, row_of(call)->kind, &err) < 0)
			grpc_fail(call, &err);
		else
			row_of(call)->fn(service->cri, call, held->request);
	}
}

enum service_phase service_phase(const struct service *service)
{
	return service->phase;
}

struct service *service_new(struct cri *cri)
{
	ensure(cri && cri->version && cri->config && cri->node);
	return service_new_with(cri, all_rows, ARRAY_SIZE(all_rows));
}

struct service *service_new_with(struct cri *cri, const struct rpc_row *rows, size_t nrows)
{
	struct service *service = xcalloc(1, sizeof(*service));

	service->cri = cri;
	service->rows = rows;
	service->nrows = nrows;
	service->counters = xcalloc(nrows, sizeof(*service->counters));
	service->failures = (struct log_limit){ .burst = 100, .interval_ms = 10 * 1000 };
	service->phase = SERVICE_RECOVERING;
	list_init(&service->held);
	return service;
}

void service_free(struct service *service)
{
	if (!service)
		return;
	free(service->counters);
	free(service);
}
