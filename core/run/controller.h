/* core/run/controller.h
 *
 * Who holds a sandbox open. Two ways, one table:
 *
 *	pinned	nobody: its namespaces are bind-mounted, a pod costs no process
 *	pause	a hidden container with one embedded program: init of a PID namespace that the pod's containers share,
 *		and what runtimes with a machine per pod need
 *
 * The hidden container starts through life's normal path; here is what that path needs to know about it.
 */
#ifndef CORACLE_CORE_RUN_CONTROLLER_H
#define CORACLE_CORE_RUN_CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/run/namespaces.h"

/* CRI NamespaceMode of the pod's PID namespace, numbered as on the wire */
enum pid_mode { PID_MODE_POD, PID_MODE_CONTAINER, PID_MODE_NODE, PID_MODE_TARGET };

struct pause_spec {
	const char *rootfs;                    /* pause_rootfs() */
	const char *cgroups_path;              /* OCI form; NULL: none */
	const struct namespaces_paths *pinned; /* what it joins; "" : the host's */
	bool host_pid; /* no PID namespace of its own (a handler that always wants a pause process) */
	const struct id_map *uid_maps,
		*gid_maps; /* of the pinned user namespace; runc wants to see them */
	size_t nuid_maps, ngid_maps;
	bool set_oom_score_adj;
	int oom_score_adj; /* -998 as the peers, or what runtime_clamp_oom() left of it */
};

struct sandbox_ops {
	const char *name; /* as recorded in struct sandbox and written in `sandbox =` */
	bool has_container;
	/* OCI spec of the hidden container, heap JSON; NULL where there is none. */
	char *(*spec)(const struct pause_spec *args, size_t *ret_len, struct err *err);
};

extern const struct sandbox_ops sandbox_ops_pinned, sandbox_ops_pause;

/* By name; NULL: no such controller ("" and NULL: pinned). */
const struct sandbox_ops *controller_find(const char *name);
/* For a new pod: `pause` where the handler's `sandbox =` key says so or the pod's containers share a PID namespace. */
NODISCARD const struct sandbox_ops *controller_choose(const char *handler_key, enum pid_mode mode,
                                                      struct err *err);

#define PAUSE_OOM_SCORE_ADJ (-998)
#define PAUSE_CPU_SHARES    2

/*
 * pause_prepare - the read-only root file system of all pause containers: <dir>/<digest of elf>/ with the program and
 * empty mount points. It must not lie on a noexec mount (the run directory is one on many hosts): give <root>/pause.
 * Idempotent; a damaged copy is replaced. @ret_rootfs: heap.
 */
NODISCARD int pause_prepare(const char *dir, const void *elf, size_t elf_len, char **ret_rootfs,
                            struct err *err);
/* Id of the hidden container of a sandbox: derived, so that undo needs no record of it (64 hex characters). */
void pause_container_id(const char *sandbox_id, char ret_id[ID_SIZE]);

#endif
