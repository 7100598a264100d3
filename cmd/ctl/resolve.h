/* cmd/ctl/resolve.h
 *
 * What a person calls a thing: container by id, by a unique beginning of its id, by name or POD/NAME; pod by id, beginning,
 * name or NAMESPACE/NAME. Of several attempts at one container (a restarted one) the newest is meant.
 */
#ifndef CORACLE_CMD_CTL_RESOLVE_H
#define CORACLE_CMD_CTL_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "cri/proto/cri.h"

struct ctl;

struct objects { /* what the daemon listed */
	const cri_PodSandbox *pods;
	size_t npods;
	const cri_Container *containers;
	size_t ncontainers;
};

/* Errors: NOT_FOUND; INVALID_ARGUMENT when several answer to @text, naming them. */
NODISCARD const cri_Container *resolve_container(const struct objects *objects, const char *text,
                                                 struct err *err);
NODISCARD const cri_PodSandbox *resolve_pod(const struct objects *objects, const char *text,
                                            struct err *err);
/* One of the two; of a pod and its own container of the same name, the pod. */
NODISCARD int resolve_any(const struct objects *objects, const char *text,
                          const cri_PodSandbox **ret_pod, const cri_Container **ret_container,
                          struct err *err);

const cri_PodSandbox *pod_by_id(const struct objects *objects,
                                const char *id); /* exact; NULL: unknown */
/* Made by `run`? */
bool pod_is_run(const cri_PodSandbox *pod);

/* Both lists, from the daemon. */
NODISCARD int objects_fetch(struct ctl *ctl, struct objects *ret, struct err *err);

#endif
