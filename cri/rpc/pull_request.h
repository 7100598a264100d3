/* cri/rpc/pull_request.h
 *
 * What the pull process is told of a registry pull: the canonical reference, and a JSON text with where hosts are configured and
 * the credentials that came with the request. The text holds secrets: it is never logged or put on record, and wiped.
 *
 *   { "hosts_dir": "/etc/coracle/hosts.d:/etc/containerd/certs.d",
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

struct pull_text {
	char *name;	/* canonical reference */
	char *registry; /* JSON */
};

/* Errors: INVALID_ARGUMENT naming the reference. */
NODISCARD int pull_text_make(struct pull_text *ret, const struct config *config, const char *image,
			     const struct pull_auth *auth, struct err *err);
void pull_text_release(struct pull_text *text);

DEFINE_CLEANUP(struct pull_text, pull_text_release);

#endif
