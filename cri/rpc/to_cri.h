/* cri/rpc/to_cri.h
 *
 * State to CRI messages. Strings and label arrays are borrowed from the state, whatever has to be built comes from the arena: so
 * a message is valid until the next release of a record, and is encoded before its handler returns.
 */
#ifndef CORACLE_CRI_RPC_TO_CRI_H
#define CORACLE_CRI_RPC_TO_CRI_H

#include <stdbool.h>

#include "core/base/attr.h"
#include "core/base/pb.h"
#include "core/state/state.h"
#include "cri/proto/cri.h"

/* 0, or -1 when the arena is over budget. */
NODISCARD int to_cri_sandbox(const struct sandbox *sb, cri_PodSandbox *ret);
NODISCARD int to_cri_sandbox_status(const struct sandbox *sb, struct pb_arena *arena,
                                    cri_PodSandboxStatus *ret);
NODISCARD int to_cri_container(const struct container *c, cri_Container *ret);
/* @bundle_config: text of the bundle's config.json for what the first process got as user; NULL: not there any more. */
NODISCARD int to_cri_container_status(const struct state *state, const struct container *c,
                                      const char *bundle_config, size_t len, struct pb_arena *arena,
                                      cri_ContainerStatus *ret);
NODISCARD int to_cri_image(const struct image *image, char *const *pinned, struct pb_arena *arena,
                           cri_Image *ret);

cri_PodSandboxState to_cri_sandbox_state(const struct sandbox *sb);
cri_ContainerState to_cri_container_state(const struct container *c);
/* "SIGTERM" and the like, as stored; RUNTIME_DEFAULT when it has no number in CRI. */
cri_Signal to_cri_signal(const char *name);
/* The name that is stored; NULL for RUNTIME_DEFAULT. */
const char *from_cri_signal(cri_Signal signal);
/* Reason shown for an exited container that has none of its own. */
const char *to_cri_reason(const struct container *c);

/* The resources in force: of the last update, else of the request. */
NODISCARD int to_cri_resources(const struct container *c, struct pb_arena *arena,
                               cri_LinuxContainerResources *ret);
/* What @update names replaces what @into has; zero and empty mean "as it is". Borrows from @update. */
void merge_resources(cri_LinuxContainerResources *into, const cri_LinuxContainerResources *update);

/* Label selectors: every pair must be there. Entries of all selectors have the layout of struct pair. */
bool labels_match(const struct pairs *labels, const void *selector, size_t count);

#endif
