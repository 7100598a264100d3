/* cri/rpc/validate.h
 *
 * Request checks before anything is touched. An error is INVALID_ARGUMENT and names the field by
 * its path in the request ("config.port_mappings[2].host_port: 70000 is not 0..65535"). Only what
 * can be judged from the request alone is judged here: whether an id exists, a handler has a
 * feature or a path is there is the handler's business. Unknown enum numbers are refused, since
 * acting on half-understood requests is worse than an error.
 *
 * All have the shape of rpc_check_fn; the table in service.c names which request each belongs to.
 */
#ifndef CORACLE_CRI_RPC_VALIDATE_H
#define CORACLE_CRI_RPC_VALIDATE_H

#include "core/base/attr.h"
#include "core/base/err.h"

NODISCARD int check_run_pod_sandbox(const void *request, struct err *err);
NODISCARD int
check_sandbox_id_first(const void *request,
                       struct err *err); /* messages whose field 1 is pod_sandbox_id */
NODISCARD int
check_container_id_first(const void *request,
                         struct err *err); /* messages whose field 1 is container_id */
NODISCARD int check_list_pod_sandbox(const void *request, struct err *err);
NODISCARD int check_stream_pod_sandboxes(const void *request, struct err *err);
NODISCARD int check_create_container(const void *request, struct err *err);
NODISCARD int check_stop_container(const void *request, struct err *err);
NODISCARD int check_list_containers(const void *request, struct err *err);
NODISCARD int check_stream_containers(const void *request, struct err *err);
NODISCARD int check_update_container_resources(const void *request, struct err *err);
NODISCARD int check_update_pod_sandbox_resources(const void *request, struct err *err);
NODISCARD int check_exec_sync(const void *request, struct err *err);
NODISCARD int check_exec(const void *request, struct err *err);
NODISCARD int check_attach(const void *request, struct err *err);
NODISCARD int check_port_forward(const void *request, struct err *err);
NODISCARD int check_update_runtime_config(const void *request, struct err *err);
NODISCARD int check_image_status(const void *request, struct err *err);
NODISCARD int check_pull_image(const void *request, struct err *err);
NODISCARD int check_remove_image(const void *request, struct err *err);
NODISCARD int check_ctl_import(const void *request, struct err *err);
NODISCARD int check_ctl_pull(const void *request, struct err *err);

/* A CIDR in text, "10.88.0.0/16" or "fd00::/64". Shared with UpdateRuntimeConfig. */
NODISCARD int check_cidr(const char *text, const char *field, struct err *err);

#endif
