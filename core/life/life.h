/* core/life/life.h
 *
 * Operations: the only code that changes things. cri calls the verbs below; answers come from the loop, after the release of the
 * records that they stand for (D4).
 *
 * Thread: loop only.
 */
#ifndef CORACLE_CORE_LIFE_LIFE_H
#define CORACLE_CORE_LIFE_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/config/config.h"
#include "core/image/pull_proto.h"
#include "core/journal/journal.h"
#include "core/journal/spool.h"
#include "core/life/events.h"
#include "core/life/gate.h"
#include "core/life/inbox.h"
#include "core/life/op.h"
#include "core/loop/loop.h"
#include "core/loop/worker.h"
#include "core/net/cni.h"
#include "core/run/cgroup.h"
#include "core/run/monitors.h"
#include "core/run/namespaces.h"
#include "core/run/runtime.h"
#include "core/state/state.h"

struct life;

/* What the spec builder (cri/spec) is told after the rootfs is mounted. Everything borrowed. */
struct spec_input {
	const struct sandbox *sandbox;     /* request, namespaces, cgroup parent */
	const struct container *container; /* request */
	const char *image_config;          /* the image's config JSON */
	size_t image_config_len;
	const char *rootfs;        /* mounted, absolute */
	const char *sandbox_dir;   /* resolv.conf, hostname, hosts?, shm: see sandbox_run.c */
	const char *container_dir; /* durable, for image-declared volumes: <root>/containers/<id> */
	pid_t pause_pid;           /* pause controller: whose PID namespace is joined; else 0 */
	pid_t target_pid;          /* PID mode TARGET: init of the target container; else 0 */
	const struct runtime_info *runtime; /* what this OCI runtime can carry (D10) */
	const struct host_limits *limits;   /* what this host lets us set (D22) */
};

struct spec_builder {
	void *arg;
	/* A heap string: config.json. Errors name the field of the request. */
	int (*build)(void *arg, const struct spec_input *input, char **ret_json, struct err *err);
};

struct life_args {
	struct loop *loop;
	struct worker *worker;
	const struct config *config;
	const struct state *state;
	struct journal *journal;
	struct spool *spool;
	struct monitors *monitors;
	struct runtime *runtime;
	struct net *net;
	struct namespaces *namespaces;
	const struct cgroup_host *cgroups;
	struct events *events;
	struct inbox *inbox;
	struct gate gate;
	struct spec_builder builder;
	const void *pause_elf; /* the pause program */
	size_t pause_elf_len;
	char *const *pull_env; /* environment of the pull process: proxies; NULL: none */
};

/* Checks every gate member. Starts nothing. */
NODISCARD struct life *life_new(const struct life_args *args);
void life_free(struct life *life);
/* journal_released_fn: everything that follows a record's release, in the order of D4. */
void life_released(void *arg, const struct record *rec);
/* SIGTERM: running steps end (<= 10 s), then fn; ops stay where they are. */
void life_stop(struct life *life, void (*fn)(void *arg), void *arg);
/* monitors_args.gone and .record */
void life_monitor_gone(void *arg, const char *id);
void life_monitor_record(void *arg, const char *id, const struct exit_record *rec);

/* --- pods */

struct life_sandbox {
	const char *name, *uid, *ns;
	uint32_t attempt;
	struct pairs labels, annotations;
	const char *runtime_handler; /* as requested, "" for the default */
	struct bytes request;        /* PodSandboxConfig as received */
	const char *cgroup_parent;
	const char *hostname;
	const char *log_dir;
	bool host_network, host_ipc, host_pid;
	bool pod_pid;                      /* one PID namespace for the pod: the pause controller */
	struct id_maps uid_maps, gid_maps; /* empty: no user namespace */
	char *const *dns_servers, *const *dns_searches, *const *dns_options; /* strv */
	bool has_dns; /* a dns_config was given, even an empty one: else the host's resolv.conf is copied */
	struct pairs sysctls;
	const struct net_port *ports;
	size_t nports;
};

/* id is the full id; on error NULL and err. Exactly once per call, from the loop. */
typedef void (*life_done_fn)(void *arg, const char *id, const struct err *err);

/* A client's interest in an operation: what it can withdraw from. Embedded in the caller's own struct; zero it first. */
struct life_wait {
	struct op_waiter waiter;
	struct life *life;
	struct op *op;
	life_done_fn done;
	void *arg;
	struct loop_defer defer; /* answers that need no operation come from the loop, too */
	char id[80];             /* of a pod or container, or "sha256:..." */
	struct err err;
};
/* The client went away: done will not be called. An operation nobody waits for any more is undone if it can be. */
void life_forget(struct life_wait *wait);

/* Retries of the same name join (D7). */
void life_sandbox_run(struct life *life, const struct life_sandbox *sb, int64_t deadline_ns,
                      struct life_wait *wait);
/* Unknown ids are fine: idempotent. id may be a prefix. */
void life_sandbox_stop(struct life *life, const char *id, struct life_wait *wait);
void life_sandbox_remove(struct life *life, const char *id, struct life_wait *wait);
/* @resources: the request's bytes, opaque. */
void life_sandbox_update(struct life *life, const char *id, struct bytes resources,
                         struct life_wait *wait);

/* --- containers */

struct life_container {
	const char *sandbox_id; /* full id or prefix */
	const char *name;
	uint32_t attempt;
	struct pairs labels, annotations;
	const char *image;    /* reference or id, resolved locally */
	struct bytes request; /* ContainerConfig as received */
	const char *log_path; /* absolute, or "" */
	bool tty, stdin_open, stdin_once;
	bool host_pid,
		pod_pid; /* PID namespace mode NODE / POD; neither: its own (or the target's) */
	const char *target_id;   /* PID mode TARGET, or NULL */
	const char *stop_signal; /* NULL: the image's, else SIGTERM */
};

void life_container_create(struct life *life, const struct life_container *c, int64_t deadline_ns,
                           struct life_wait *wait);
void life_container_start(struct life *life, const char *id, int64_t deadline_ns,
                          struct life_wait *wait);
/* timeout_ms <= 0: SIGKILL at once. Unknown or not running: fine. */
void life_container_stop(struct life *life, const char *id, int64_t timeout_ms,
                         struct life_wait *wait);
void life_container_remove(struct life *life, const char *id, struct life_wait *wait);
void life_container_reopen_log(struct life *life, const char *id, struct life_wait *wait);
/* @resources: LinuxContainerResources as received, kept opaque; @oci_json: the same as the OCI runtime takes it. */
void life_container_update(struct life *life, const char *id, struct bytes resources,
                           const char *oci_json, struct life_wait *wait);

struct life_exec_result {
	int exit_code;
	const char *out, *errout; /* borrowed */
	size_t out_len, errout_len;
};
struct life_exec {
	struct life_wait wait;
	struct life_exec_result result; /* valid inside wait.done when err is NULL */
};
/* The container's own process with @argv (strv, copied) and without terminal. timeout_ms 0: none; past it DEADLINE_EXCEEDED, and
 * everything the exec started is killed. Output beyond 16 MiB per stream is cut. */
void life_exec_forget(struct life_exec *exec); /* as life_forget() */
void life_exec_sync(struct life *life, const char *id, char *const *argv, int64_t timeout_ms,
                    struct life_exec *exec);

/* --- images */
struct life_import {
	int input_fd;     /* a tar stream; duplicated */
	const char *name; /* NULL: names from the archive */
	void (*progress)(void *arg, const struct pull_progress *progress); /* NULL: not wanted */
	void *arg;
};
struct life_pull {
	const char *name;     /* reference as the client wrote it */
	const char *registry; /* JSON for the pull process: hosts, credentials; never logged */
	void (*progress)(void *arg, const struct pull_progress *progress);
	void *arg;
};
/* done's id is the image's (the last one of an archive). */
void life_image_import(struct life *life, const struct life_import *import, struct life_wait *wait);
/* Same reference and registry text: joins. */
void life_image_pull(struct life *life, const struct life_pull *pull, struct life_wait *wait);
/* No progress to @arg any more (its client is gone; others may still wait). */
void life_image_progress_drop(struct life *life, void *arg);
/* All names and digests of the image go; unknown: fine. */
void life_image_remove(struct life *life, const char *ref, struct life_wait *wait);
/* By name, digest, id or prefix, among what clients may see. */
NODISCARD const struct image *life_image_find(const struct state *state, const char *ref,
                                              struct err *err);

/* The image's config document, read by a worker; err NULL: text is borrowed for the call. From the loop, once. */
typedef void (*life_text_fn)(void *arg, const char *text, size_t len, const struct err *err);
void life_image_config(struct life *life, const char *image_id, life_text_fn fn, void *arg);
/* What all layers take on disk, from what was noted when they were stored. */
typedef void (*life_usage_fn)(void *arg, uint64_t bytes, uint64_t inodes, const struct err *err);
void life_image_usage(struct life *life, life_usage_fn fn, void *arg);

/* --- exits */
/*
 * The only way an exit enters coracle: given to spool_scan() live and at start-up, and called by replay_run() for containers
 * found dead. rec NULL: the record is damaged.
 */
enum exit_verdict life_exit(void *arg, const char *id, const struct exit_record *rec);
/* An exit nobody could record: 255 (or @code) with a reason, through the same door. */
enum exit_verdict life_exit_unknown(struct life *life, const char *id, int code, const char *reason,
                                    const char *message);

/* For Status, dump: operations by step name, outbox. */
NODISCARD yyjson_mut_val *life_dump(const struct life *life, yyjson_mut_doc *doc);
/* No operation under way and no exit on its way to the journal: `recover --fix` is done. */
bool life_idle(const struct life *life);
/* Requests may be passed (recovery through, gate ready), for the service gate. */
bool life_ready(const struct life *life);

DEFINE_CLEANUP_PTR(struct life, life_free);

#endif
