/* core/image/proxy.c */
#include "core/image/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "core/base/mem.h"
#include "core/base/str.h"

/* An IPv4 address in its IPv6 form, so that there is one kind to compare. */
static bool parse_address(const char *text, struct in6_addr *ret)
{
	struct in_addr v4;

	if (inet_pton(AF_INET6, text, ret) == 1)
		return true;
	if (inet_pton(AF_INET, text, &v4) != 1)
		return false;
	*ret = (struct in6_addr){ 0 };
	ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
	memcpy(&ret->s6_addr[12], &v4, sizeof(v4));
	return true;
}

bool host_is_loopback(const char *host)
{
	struct in6_addr address;

	if (parse_address(host, &address))
		return IN6_IS_ADDR_LOOPBACK(&address) ||
		       (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
	return streq(host, "localhost") || ends_with(host, ".localhost");
}

static const char *lookup(proxy_env_fn env, void *arg, const char *lower, const char *upper,
                          const char **ret_name)
{
	const char *value = env(arg, lower);

	*ret_name = lower;
	if (value && *value)
		return value;
	*ret_name = upper;
	value = env(arg, upper);
	return value && *value ? value : NULL;
}

static int read_proxy(proxy_env_fn env, void *arg, const char *lower, const char *upper,
                      struct http_url *ret, struct err *err)
{
	cleanup_free char *full = NULL;
	const char *name, *value = lookup(env, arg, lower, upper, &name);

	if (!value)
		return 0;
	if (!strstr(value, "://"))
		value = full = xasprintf("http://%s", value);
	if (strncasecmp(value, "http://", 7) != 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: only proxies of the form http://[user:password@]host:port "
		               "are supported",
		               name);
	if (http_url_parse(str_of(value), ret, err) < 0)
		return err_wrap(err, "%s", name);
	return 0;
}

int proxies_init(struct proxies *proxies, proxy_env_fn env, void *arg, struct err *err)
{
	cleanup(proxies_release) struct proxies got = { 0 };
	const char *name;

	if (read_proxy(env, arg, "http_proxy", "HTTP_PROXY", &got.http, err) < 0 ||
	    read_proxy(env, arg, "https_proxy", "HTTPS_PROXY", &got.https, err) < 0)
		return -1;
	got.no_proxy = xstrdup(or_empty(lookup(env, arg, "no_proxy", "NO_PROXY", &name)));
	*proxies = got;
	got = (struct proxies){ 0 };
	return 0;
}

void proxies_release(struct proxies *proxies)
{
	http_url_release(&proxies->http);
	http_url_release(&proxies->https);
	free(proxies->no_proxy);
	*proxies = (struct proxies){ 0 };
}

static bool in_network(const struct in6_addr *address, struct str entry)
{
	struct str base, bits;
	struct in6_addr network;
	cleanup_free char *text = NULL;
	uint64_t len;

	if (!str_cut(entry, '/', &base, &bits) || str_u64(bits, 128, &len) < 0)
		return false;
	text = str_dup(base);
	if (!parse_address(text, &network))
		return false;
	if (!strchr(text, ':'))
		len += 96;
	if (len > 128)
		return false;
	for (unsigned i = 0; i < len; i++)
		if ((address->s6_addr[i / 8] ^ network.s6_addr[i / 8]) & 0x80 >> i % 8)
			return false;
	return true;
}

static bool entry_matches(struct str entry, const struct http_url *url)
{
	cleanup_free char *text = NULL;
	struct in6_addr address, other;
	struct str name, port;
	size_t host_len = strlen(url->host);
	bool sub_only;
	uint64_t number;

	if (str_eq_c(entry, "*"))
		return true;
	text = str_dup(entry);
	if (parse_address(url->host, &address)) {
		if (in_network(&address, entry))
			return true;
		if (parse_address(text, &other))
			return memcmp(&address, &other, sizeof(other)) == 0;
	}
	if (str_rcut(entry, ':', &name, &port) && str_u64(port, UINT16_MAX, &number) == 0) {
		if (number != url->port)
			return false;
		entry = name;
	}
	if (entry.len > 1 && entry.p[0] == '*' && entry.p[1] == '.')
		entry = (struct str){ entry.p + 1, entry.len - 1 };
	sub_only = entry.len > 0 && entry.p[0] == '.';
	if (sub_only)
		entry = (struct str){ entry.p + 1, entry.len - 1 };
	if (entry.len == 0 || entry.len > host_len ||
	    strncasecmp(url->host + host_len - entry.len, entry.p, entry.len) != 0)
		return false;
	return entry.len == host_len ? !sub_only : url->host[host_len - entry.len - 1] == '.';
}

const struct http_url *proxy_for(const struct proxies *proxies, const struct http_url *url)
{
	const struct http_url *proxy = url->tls ? &proxies->https : &proxies->http;
	struct str list = str_of(proxies->no_proxy), entry;
	bool more;

	if (!proxy->host || host_is_loopback(url->host))
		return NULL;
	do {
		more = str_cut(list, ',', &entry, &list);
		entry = str_trim(entry);
		if (entry.len && entry_matches(entry, url))
			return NULL;
	} while (more);
	return proxy;
}
