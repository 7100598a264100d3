/* cri/rpc/service.h
 *
 * From a gRPC call to its handler: the table of all RPCs (runtime.v1.RuntimeService and
 * ImageService, coracle.v1.Control), the readiness gate in front of each of them, decoding within a
 * budget, request checks, dispatch.
 *
 * Messages: include "cri/proto/cri.h" (not cri.pb.h) and "cri/proto/ctl.pb.h".
 *
 * A row without a handler answers UNIMPLEMENTED. The gate follows the daemon's life and only moves
 * forward. Kinds: settle is Stop, Remove, exec ...; change is Run, Create, Start, Update, Pull ...
 *
 *   phase        read   settle        change
 *   RECOVERING   UNAVAILABLE "server is not initialized yet", on the head, body unread
 *   READS_OPEN   yes    yes           held until READY, at most until its own deadline
 *   READY        yes    yes           yes
 *   STOPPING     yes    UNAVAILABLE   UNAVAILABLE
 *
 * Thread: loop only.
 */
#ifndef CORACLE_CRI_RPC_SERVICE_H
#define CORACLE_CRI_RPC_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/pb.h"
#include "cri/grpc/grpc.h"

struct config;
struct events;
struct images;
struct life;
struct loop;
struct state;
struct stats;
struct stream_server;
struct worker;

/* --- what handlers are given: everything the CRI needs of the rest of the daemon, borrowed. The
 * engine fills it before service_new(); a handler that needs one more thing adds a member. */
struct cri {
	const char *version; /* of this program, what Version tells */
	struct loop *loop;
	struct worker *worker;
	const struct config *config;
	const struct state *state;
	struct life *life;
	struct events *events;
	struct images *images;
	struct stats *stats;
	struct stream_server *stream; /* exec, attach, port-forward URLs */
	const struct cri_node *node;  /* status.c */
	const struct cri_dump *dump;  /* ctl.c */
};

/* --- what Status, RuntimeConfig and UpdateRuntimeConfig ask the rest of the daemon. Strings live
 * until the call has been answered: static, or in the arena given. */
struct cri_condition {
	const char *type; /* "RuntimeReady" */
	bool ok;
	const char *reason, *message; /* empty when ok */
};

struct cri_runtime_handler {
	const char *name; /* "" is the default handler's second name */
	bool recursive_read_only_mounts, user_namespaces;
};

struct cri_info {
	const char *key, *json;
};

struct cri_node_facts {
	struct cri_condition runtime, network; /* type may be NULL: RuntimeReady and NetworkReady */
	const struct cri_condition *more;      /* e.g. NRI disabled: WHY */
	size_t nmore;
	const struct cri_runtime_handler *handlers;
	size_t nhandlers;
	const struct cri_info
		*info; /* verbose only: "cniconfig", "lastCNILoadStatus", "nri", ... as JSON */
	size_t ninfo;
	bool systemd_cgroup; /* cgroup driver */
};

struct cri_node {
	/* Answers from memory, at once. @verbose: info is wanted. */
	void (*facts)(void *arg, struct pb_arena *arena, bool verbose,
	              struct cri_node_facts *ret_facts);
	/* The node's pod ranges, valid CIDRs, at least one; same as before is no change. */
	int (*set_pod_cidrs)(void *arg, const char *const *cidrs, size_t ncidrs, struct err *err);
	void *arg;
};

struct cri_dump {
	/* The whole daemon as JSON (`coracle ctl dump`), appended to @out. */
	int (*json)(void *arg, struct buf *out, struct err *err);
	void *arg;
};

/* --- rows */
enum rpc_kind { RPC_READ, RPC_SETTLE, RPC_CHANGE };

/* @request: struct of the row's request type, decoded and checked; lives as long as the call. */
typedef void (*rpc_fn)(struct cri *cri, struct grpc_call *call, const void *request);
/* Before anything is touched: 0, or -1 with an error that names the field. */
typedef int (*rpc_check_fn)(const void *request, struct err *err);

struct rpc_row {
	struct grpc_method method; /* must be first: see grpc_method() */
	enum rpc_kind kind;
	const pb_msgdesc_t *request;
	size_t request_size;
	const pb_msgdesc_t *response;
	size_t response_size;
	rpc_check_fn check; /* NULL: nothing to check */
	rpc_fn fn;          /* NULL: UNIMPLEMENTED */
};

/* All rows, for tests, fuzzers and metrics; NULL after the last. */
const struct rpc_row *service_row(size_t i);

/* What became of the calls of one row; those refused on their head are not counted. */
struct rpc_counters {
	uint64_t ok, failed;      /* cancelled ones are failed */
	int64_t total_ns, max_ns; /* from head to answer */
};

/* --- the service itself */
enum service_phase { SERVICE_RECOVERING, SERVICE_READS_OPEN, SERVICE_READY, SERVICE_STOPPING };

struct service;

NODISCARD struct service *service_new(struct cri *cri);
/* With a table of one's own, for tests. */
NODISCARD struct service *service_new_with(struct cri *cri, const struct rpc_row *rows,
                                           size_t nrows);
void service_free(struct service *service); /* after the grpc_server; NULL is fine */
/* What grpc_server_new() wants. */
struct grpc_handler service_handler(struct service *service);
/* Forward only. READY lets the held calls go, STOPPING refuses them. */
void service_enter(struct service *service, enum service_phase phase);
enum service_phase service_phase(const struct service *service);
/* By index of service_row(). */
struct rpc_counters service_counters(const struct service *service, size_t i);

DEFINE_CLEANUP_PTR(struct service, service_free);

#endif
