/* cri/rpc/handlers.h
 *
 * Every RPC handler, one line each; the table in service.c points at them. Signature and rules:
 * rpc_fn in service.h.
 */
#ifndef CORACLE_CRI_RPC_HANDLERS_H
#define CORACLE_CRI_RPC_HANDLERS_H

#include "cri/rpc/service.h"

#define RPC_HANDLER(name) void name(struct cri *cri, struct grpc_call *call, const void *request)

/* status.c */
RPC_HANDLER(rpc_version);
RPC_HANDLER(rpc_status);
RPC_HANDLER(rpc_runtime_config);
RPC_HANDLER(rpc_update_runtime_config);

/* sandbox.c */
RPC_HANDLER(rpc_run_pod_sandbox);
RPC_HANDLER(rpc_stop_pod_sandbox);
RPC_HANDLER(rpc_remove_pod_sandbox);
RPC_HANDLER(rpc_pod_sandbox_status);
RPC_HANDLER(rpc_list_pod_sandbox);
RPC_HANDLER(rpc_stream_pod_sandboxes);
RPC_HANDLER(rpc_update_pod_sandbox_resources);

/* container.c */
RPC_HANDLER(rpc_create_container);
RPC_HANDLER(rpc_start_container);
RPC_HANDLER(rpc_stop_container);
RPC_HANDLER(rpc_remove_container);
RPC_HANDLER(rpc_list_containers);
RPC_HANDLER(rpc_stream_containers);
RPC_HANDLER(rpc_container_status);
RPC_HANDLER(rpc_update_container_resources);
RPC_HANDLER(rpc_reopen_container_log);

/* exec.c */
RPC_HANDLER(rpc_exec_sync);
RPC_HANDLER(rpc_exec);
RPC_HANDLER(rpc_attach);
RPC_HANDLER(rpc_port_forward);

/* stats.c */
RPC_HANDLER(rpc_container_stats);
RPC_HANDLER(rpc_list_container_stats);
RPC_HANDLER(rpc_stream_container_stats);
RPC_HANDLER(rpc_pod_sandbox_stats);
RPC_HANDLER(rpc_list_pod_sandbox_stats);
RPC_HANDLER(rpc_stream_pod_sandbox_stats);

/* pod_metrics.c */
RPC_HANDLER(rpc_list_metric_descriptors);
RPC_HANDLER(rpc_list_pod_sandbox_metrics);
RPC_HANDLER(rpc_stream_pod_sandbox_metrics);

/* events.c */
RPC_HANDLER(rpc_get_container_events);

/* image.c */
RPC_HANDLER(rpc_list_images);
RPC_HANDLER(rpc_stream_images);
RPC_HANDLER(rpc_image_status);
RPC_HANDLER(rpc_pull_image);
RPC_HANDLER(rpc_remove_image);
RPC_HANDLER(rpc_image_fs_info);

/* ctl.c */
RPC_HANDLER(rpc_ctl_import);
RPC_HANDLER(rpc_ctl_pull);
RPC_HANDLER(rpc_ctl_dump);

#endif
