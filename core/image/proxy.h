/* core/image/proxy.h
 *
 * Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as every tool reads them (lower case as well; the
 * lower-case form wins). This host itself is never reached through one.
 *
 *   NO_PROXY: comma list; "*" all; an address; CIDR; "host[:port]" it and its sub-domains; ".domain" sub-domains only
 */
#ifndef CORACLE_CORE_IMAGE_PROXY_H
#define CORACLE_CORE_IMAGE_PROXY_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/http_wire.h"

struct proxies {
	struct http_url http, https; /* host NULL: none */
	char *no_proxy;              /* "" if none */
};

/* getenv, passed in so that tests need no environment. */
typedef const char *(*proxy_env_fn)(void *arg, const char *name);

/* Errors: INVALID_ARGUMENT naming the variable, never its value (it may hold a password). */
NODISCARD int proxies_init(struct proxies *proxies, proxy_env_fn env, void *arg, struct err *err);
void proxies_release(struct proxies *proxies);

/* NULL: directly. */
const struct http_url *proxy_for(const struct proxies *proxies, const struct http_url *url);
/* "localhost", its sub-domains, and loopback addresses. */
bool host_is_loopback(const char *host);

DEFINE_CLEANUP(struct proxies, proxies_release);

#endif
