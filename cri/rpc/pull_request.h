/* cri/rpc/pull_request.h
 *
 * What the pull process is told of the registry: a JSON text with where hosts are configured and the credentials that came with
 * the request. It holds secrets: it is never logged or put on record, and wiped.
 *
 *   { "hosts_dir": "/etc/coracle/hosts.d:/etc/containerd/certs.d", "user_agent": "coracle/1.2.3",
 *     "auth": { "username", "password", "auth", "identity_token", "registry_token", "server_address" } }
 */
#ifndef CORACLE_CRI_RPC_PULL_REQUEST_H
#define CORACLE_CRI_RPC_PULL_REQUEST_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/config/config.h"

struct pull_auth { /* each NULL or "" when not given */
	const char *username, *password, *auth, *identity_token, *registry_token, *server_address;
};

/* Heap; INVALID_ARGUMENT when a credential is not UTF-8. */
NODISCARD char *pull_registry_text(const struct config *config, const char *version,
                                   const struct pull_auth *auth, struct err *err);
void pull_registry_text_free(char *text); /* wiped; NULL is fine */

DEFINE_CLEANUP_PTR(char, pull_registry_text_free);

#endif
