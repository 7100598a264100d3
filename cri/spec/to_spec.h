/* cri/spec/to_spec.h
 *
 * From a CRI request to the config.json that an OCI runtime takes.
 *
 * Core never parses a CRI request: it keeps the bytes and, once the root file system is mounted, hands them back to the builder
 * given to life_new(). The builder reads the container's root file system (users, groups), the host (devices, mounts) and nothing
 * of coracle's state.
 *
 * Thread: any; loop in practice. Opens no path that a client named for writing, and none of the container's outside of it.
 */
#ifndef CORACLE_CRI_SPEC_TO_SPEC_H
#define CORACLE_CRI_SPEC_TO_SPEC_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/life/life.h"
#include "cri/proto/cri.h"

/* The builder for life_args.builder. Its errors name the field of the request. */
NODISCARD struct spec_builder cri_spec_builder(void);

/*
 * spec_resources_json - the resources of UpdateContainerResources as the runtime's `update` takes them.
 * @res:    a field of zero (empty) is left out: it keeps its value.
 * Returns: a heap string, the JSON of OCI's linux.resources; NULL with @err set.
 * Errors:  INVALID_ARGUMENT naming the field.
 */
NODISCARD NONNULL char *spec_resources_json(const cri_LinuxContainerResources *res,
                                            struct err *err);

#endif
