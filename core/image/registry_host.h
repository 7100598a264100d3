/* core/image/registry_host.h
 *
 * One host of a registry: what it trusts and is trusted with. A request to it takes care of authentication (once per answer 401),
 * of redirects (which get neither credentials nor configured fields when they lead elsewhere), and of plain HTTP where TLS was
 * only a first guess. Retries and other hosts are registry.c's.
 *
 * Thread: a host is shared by all threads of the process.
 */
#ifndef CORACLE_CORE_IMAGE_REGISTRY_HOST_H
#define CORACLE_CORE_IMAGE_REGISTRY_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/auth.h"
#include "core/image/http.h"
#include "core/image/mirrors.h"
#include "core/image/tls.h"

#define REDIRECTS_MAX 10

struct registry_host {
	const struct mirror *mirror;
	const struct auth_credentials *credentials; /* what this host may be shown */
	struct http_client *client;
	const char *user_agent;
	const char *repository;      /* path of the repository, for the scope of tokens */
	const char *namespace;       /* told to mirrors; NULL: this is the registry itself */
	struct auth_credentials own; /* credentials from the mirror's file */
	struct tls_trust *trust;     /* with the client certificate */
	struct tls_trust *elsewhere; /* for redirects: without it; the same if there is none */
	bool fixed;                  /* the configured fields authorize already */

	pthread_mutex_t
		lock; /* what follows; held while a token is fetched, so that others wait for it */
	bool plain;   /* it speaks plain HTTP */
	char *authorization; /* field for the next request, NULL: none */
	int64_t expires_ns;  /* of it; 0: until refused */
	uint64_t generation; /* of it */
};

struct registry_host_args {
	const struct mirror *mirror;
	const struct auth_credentials *request; /* credentials of the pull request */
	struct tls_roots *roots;
	struct http_client *client;
	const char *user_agent, *repository, *namespace;
};

NODISCARD int registry_host_init(struct registry_host *host, const struct registry_host_args *args,
                                 struct err *err);
void registry_host_release(struct registry_host *host);

struct registry_ask {
	const char *path; /* below the host's base: "/library/x/manifests/latest" */
	const char *accept;
	uint64_t offset; /* > 0: a Range from there on */
};

struct registry_refusal {
	int status;       /* HTTP, 0: it did not come to that */
	bool again;       /* the same request may succeed later */
	bool definite;    /* nobody is there: waiting long is no use */
	int64_t after_ms; /* how long the server wants to be left alone, 0: it does not say */
};

/*
 * registry_host_get - an answer with status 200 or 206, its body unread.
 * Errors: UNAVAILABLE (no answer, or a 5xx), NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED (429),
 *         FAILED_PRECONDITION (certificate), UNKNOWN (any other status); @ret_refusal is filled then.
 */
NODISCARD int registry_host_get(struct registry_host *host, const struct registry_ask *ask,
                                struct http_response *ret, struct registry_refusal *ret_refusal,
                                struct err *err);

/* Retry-After: seconds, or a date. 0: none or nonsense. */
int64_t retry_after_ms(struct str value, int64_t now_real_ns);

#endif
