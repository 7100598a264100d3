/* core/state/container.h
 *
 * A container of a pod. Ownership and thread as in sandbox.h.
 */
#ifndef CORACLE_CORE_STATE_CONTAINER_H
#define CORACLE_CORE_STATE_CONTAINER_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/base/list.h"
#include "core/state/sandbox.h"
#include "core/state/types.h"

struct container {
	struct list link;     /* in state->containers (creation order) or dead_containers */
	struct list pod_link; /* in sandbox->containers while not a tombstone */
	char id[ID_SIZE];
	char sandbox_id[ID_SIZE];
	char *name;
	uint32_t attempt;
	char *key; /* name_podname_ns_uid_attempt */
	struct pairs labels, annotations;
	char *image_ref;        /* as the request named it (CRI ContainerStatus.image) */
	char *image_id;         /* config digest, "sha256:..." */
	char *image_digest;     /* repo@sha256:... for image_ref, or the id */
	struct bytes request;   /* the CRI ContainerConfig as received; only cri reads it */
	struct bytes resources; /* last UpdateContainerResources; empty: as in request */
	char *log_path;         /* absolute, or "" */
	bool tty, stdin_open, stdin_once;
	bool hidden; /* the pause controller's: in no list, event or notification */
	bool shared_pid; /* shares another PID namespace: what is left in its cgroup is killed at its exit */
	bool undone; /* in REMOVING because its creation failed or was interrupted: hidden unless stuck (step) */
	char *runtime;      /* handler name it was made with */
	char *cgroups_path; /* as in the OCI spec */
	char *stop_signal;  /* "SIGTERM" when the image and the request say nothing */
	enum container_state state;
	int64_t created_ns, started_ns,
		finished_ns;  /* created <= started <= finished; 0: not yet */
	pid_t pid;            /* 0: none */
	uint64_t start_ticks; /* of pid */
	uint8_t boot_id
		[16];  /* of STARTING: pid, cgroup and lock mean something in that boot only */
	int exit_code; /* 0..255, once EXITED */
	bool oom_killed;
	char *reason, *message; /* never NULL */
	int stopping_signal;    /* STOPPING was asked with it; 0: not stopping */
	uint32_t step; /* REMOVING: 1 + index of the step whose undo failed; 0: not stuck */
	struct notified notified;
	uint64_t version;
};

static inline bool container_is_tombstone(const struct container *c)
{
	return c->state == CONTAINER_GONE;
}

#endif
