/* core/image/registry.h
 *
 * An image out of a registry: resolve, fetch, verify documents; hand layers to pull.h as they arrive.
 *
 * The hosts that may have it (mirrors.h) are asked in order, each once per round; who failed in a way that may pass is asked again
 * in the next round, after a pause. A transfer that breaks is taken up again where it broke.
 */
#ifndef CORACLE_CORE_IMAGE_REGISTRY_H
#define CORACLE_CORE_IMAGE_REGISTRY_H

#include "core/base/attr.h"
#include "core/base/err.h"

struct pull;
struct registry;

/*
 * registry_new - all that needs files, environment or privileges, before the process confines itself.
 * @name: canonical reference.
 * @text: the member "registry" of the pull request (cri/rpc/pull_request.h), NULL: no hosts configured, no credentials.
 * Errors: INVALID_ARGUMENT for configuration, certificates or credentials that cannot be used.
 */
NODISCARD struct registry *registry_new(const char *name, const char *text, struct err *err);
void registry_free(struct registry *registry);

/*
 * registry_run - pull it. Once per registry.
 * Errors: UNKNOWN "RegistryUnavailable: ..." (the form kubelet knows) when no host answers; NOT_FOUND; UNAUTHENTICATED and
 *         PERMISSION_DENIED; DATA_LOSS when a host does not send what was asked for; those of pull_image().
 */
NODISCARD int registry_run(struct registry *registry, struct pull *pull, struct err *err);

DEFINE_CLEANUP_PTR(struct registry, registry_free);

#endif
