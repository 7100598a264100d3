/* core/state/sandbox.h
 *
 * A sandbox: one pod instance on this node (CRI PodSandbox).
 *
 * Thread:    loop only.
 * Ownership: struct state owns every sandbox; everything outside state sees it const. Pointers are borrowed and die at the
 *            next release of a record; across an async gap keep the id and look it up again.
 */
#ifndef CORACLE_CORE_STATE_SANDBOX_H
#define CORACLE_CORE_STATE_SANDBOX_H

#include <stdbool.h>

#include "core/base/list.h"
#include "core/state/types.h"

struct notified {
	uint64_t
		stop_seq; /* container: EXITED; sandbox: STOPPING; undo: REMOVING. 0: nothing owed yet */
	uint64_t
		remove_seq; /* REMOVED. Equal to stop_seq: removed without ever having had a stop, only Remove is owed */
	uint64_t mask; /* plugin slots that are owed these */
};

struct sandbox {
	struct list link; /* in state->sandboxes (creation order) or dead_sandboxes */
	char id[ID_SIZE];
	char *name, *uid, *ns; /* CRI PodSandboxMetadata; ns: Kubernetes namespace */
	uint32_t attempt;
	char *key; /* name_ns_uid_attempt: what the name index holds */
	struct pairs labels, annotations;
	char *runtime_handler;  /* "" : default */
	char *runtime;          /* the handler's name it resolved to */
	char *controller;       /* "pinned" or "pause" */
	struct bytes request;   /* the CRI PodSandboxConfig as received; only cri reads it */
	struct bytes resources; /* CRI bytes of UpdatePodSandboxResources; empty: as in request */
	enum sandbox_state state;
	bool stopped; /* STOPPED is on record: network down, namespaces unpinned */
	bool undone; /* in REMOVING because its creation failed or was interrupted: hidden unless stuck (step) */
	int64_t created_ns;
	char *cgroup_parent;
	char *hostname;
	char *log_dir; /* "" when the pod logs nowhere */
	bool host_network;
	struct id_maps uid_maps, gid_maps; /* empty: the host's user namespace */
	char *netns_path, *ipcns_path, *utsns_path, *userns_path; /* NULL: none pinned */
	char *pause_container; /* id of the hidden container (pause controller), or NULL */
	bool network_intent;   /* a CNI ADD may have happened and no DEL was confirmed */
	struct bytes
		cni_conf; /* the network list that ADD used, with its arguments: what DEL needs */
	struct bytes cni_result;
	char **ips;    /* strv; first is the primary */
	uint32_t step; /* REMOVING: 1 + index of the step whose undo failed; 0: not stuck */
	struct notified notified;
	uint64_t version; /* seq of the last record that changed it: key of cached encodings */
	struct list
		containers; /* struct container.pod_link, creation order; tombstones are not on it */
};

/* REMOVED was released and only plugins still need it: not in lists, name free. */
static inline bool sandbox_is_tombstone(const struct sandbox *sb)
{
	return sb->state == SANDBOX_GONE;
}

#endif
