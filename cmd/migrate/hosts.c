/* cmd/migrate/hosts.c
 *
 * registry.mirrors, registry.configs.*.tls and registry.headers as hosts.toml files, one directory per registry. The
 * upstream itself stays the implied last resort, as it was: no `server` line.
 */
#include <stdlib.h>
#include <string.h>

#include "cmd/migrate/output.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/mirrors.h"

#define MAX_HOSTS_TOML (256 * 1024)

/* A TOML basic string. */
static int print_string(struct buf *out, struct str s)
{
	if (buf_add_str(out, "\"") < 0)
		return -1;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];
		int rc;

		if (c < 0x20 || c == 0x7f)
			rc = buf_printf(out, "\\u%04X", c);
		else if (c == '"' || c == '\\')
			rc = buf_printf(out, "\\%c", c);
		else
			rc = buf_add(out, &s.p[i], 1);
		if (rc < 0)
			return -1;
	}
	return buf_add_str(out, "\"");
}

static int print_setting(struct buf *out, const char *key, const struct toml_value *value)
{
	if (buf_printf(out, "  %s = ", key) < 0 || print_string(out, value->string) < 0)
		return -1;
	return buf_add_str(out, "\n");
}

struct endpoint {
	bool is_http, has_path;
	struct str host; /* host, host:port */
	struct str rest; /* host and path */
};

static bool is_local(struct str host)
{
	struct str name = host, port;

	if (!str_starts(host, "["))
		str_cut(host, ':', &name, &port);
	return str_eq_c(name, "localhost") || str_starts(name, "127.") || str_starts(host, "[::1]");
}

static int parse_endpoint(struct str url, struct endpoint *ret, struct err *err)
{
	const char *user;
	struct str path;

	ret->is_http = str_starts(url, "http://");
	if (ret->is_http)
		ret->rest = (struct str){ url.p + 7, url.len - 7 };
	else if (str_starts(url, "https://"))
		ret->rest = (struct str){ url.p + 8, url.len - 8 };
	else
		ret->rest = url;
	str_cut(ret->rest, '/', &ret->host, &path);
	user = memrchr(ret->host.p, '@', ret->host.len);
	if (user) { /* no credentials in a file that everybody can read */
		size_t len = (size_t)(user + 1 - ret->host.p);

		ret->host = (struct str){ ret->host.p + len, ret->host.len - len };
		ret->rest = (struct str){ ret->rest.p + len, ret->rest.len - len };
	}
	if (!memmem(url.p, url.len, "://", 3))
		ret->is_http = is_local(ret->host);
	while (str_ends(path, "/"))
		path.len--;
	ret->has_path = path.len && !str_eq_c(path, "v2");
	if (!ret->host.len || memmem(url.p + (ret->rest.p - url.p), ret->rest.len, "://", 3))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "endpoint \"" STR_FMT "\": no address of a registry", STR_ARG(url));
	return 0;
}

/* Credentials and certificates are filed under "host", "host:port" or a URL. */
static const struct toml_value *tls_of(const struct toml_value *registry, struct str host)
{
	const struct toml_value *configs = toml_get(registry, "configs");
	const struct toml_value *tls = toml_get(toml_get_str(configs, host), "tls");
	struct str name, port;

	if (tls || str_starts(host, "["))
		return tls;
	str_cut(host, ':', &name, &port);
	return toml_get(toml_get_str(configs, name), "tls");
}

static const struct toml_value *text_of(const struct toml_value *table, const char *key)
{
	const struct toml_value *value = toml_get(table, key);

	return toml_is(value, TOML_STRING) && value->string.len ? value : NULL;
}

static int print_tls(struct buf *out, const struct toml_value *tls)
{
	const struct toml_value *ca = text_of(tls, "ca_file"), *cert = text_of(tls, "cert_file");
	const struct toml_value *key = text_of(tls, "key_file"),
				*skip = toml_get(tls, "insecure_skip_verify");

	if (ca && print_setting(out, "ca", ca) < 0)
		return -1;
	if (cert && key) {
		if (buf_add_str(out, "  client = [[") < 0 || print_string(out, cert->string) < 0 ||
		    buf_add_str(out, ", ") < 0 || print_string(out, key->string) < 0 ||
		    buf_add_str(out, "]]\n") < 0)
			return -1;
	} else if (cert && print_setting(out, "client", cert) < 0) {
		return -1;
	}
	if (toml_is(skip, TOML_BOOL) && skip->boolean)
		return buf_add_str(out, "  skip_verify = true\n");
	return 0;
}

/* A value per line of the header, or one alone. */
static int print_header_values(struct buf *out, const struct toml_value *values)
{
	if (toml_is(values, TOML_STRING))
		return print_string(out, values->string);
	if (buf_add_str(out, "[") < 0)
		return -1;
	for (size_t i = 0; i < toml_count(values); i++) {
		const struct toml_value *value = toml_item_at(values, i);

		if (toml_is(value, TOML_STRING) &&
		    (buf_add_str(out, i ? ", " : "") < 0 || print_string(out, value->string) < 0))
			return -1;
	}
	return buf_add_str(out, "]");
}

/* The headers of all registries: the last thing of a block, since they are a table of their own. */
static int print_headers(struct buf *out, const struct toml_value *registry, struct str url)
{
	const struct toml_value *headers = toml_get(registry, "headers");

	if (toml_count(headers) == 0 || !toml_is(headers, TOML_TABLE))
		return 0;
	if (buf_add_str(out, "  [host.") < 0 || print_string(out, url) < 0 ||
	    buf_add_str(out, ".header]\n") < 0)
		return -1;
	for (size_t i = 0; i < toml_count(headers); i++) {
		const struct toml_entry *entry = toml_entry_at(headers, i);

		if (buf_add_str(out, "    ") < 0 || print_string(out, entry->key) < 0 ||
		    buf_add_str(out, " = ") < 0 || print_header_values(out, entry->value) < 0 ||
		    buf_add_str(out, "\n") < 0)
			return -1;
	}
	return 0;
}

static int print_block(struct buf *out, const struct toml_value *registry,
                       const struct endpoint *endpoint)
{
	cleanup_free char *url = xasprintf("%s://" STR_FMT, endpoint->is_http ? "http" : "https",
	                                   STR_ARG(endpoint->rest));

	if (buf_add_str(out, "\n[host.") < 0 || print_string(out, str_of(url)) < 0 ||
	    buf_add_str(out, "]\n  capabilities = [\"pull\", \"resolve\"]\n") < 0)
		return -1;
	if (endpoint->has_path && buf_add_str(out, "  override_path = true\n") < 0)
		return -1;
	if (print_tls(out, tls_of(registry, endpoint->host)) < 0)
		return -1;
	return print_headers(out, registry, str_of(url));
}

/* The directory of a registry; NULL: no such name makes one. */
static char *dir_of(struct str host)
{
	if (str_eq_c(host, "*"))
		return xstrdup("_default");
	if (!host.len || host.len > 255 || *host.p == '.' || memchr(host.p, '/', host.len))
		return NULL;
	for (size_t i = 0; i < host.len; i++)
		if ((unsigned char)host.p[i] <= ' ' || host.p[i] == 0x7f)
			return NULL;
	return str_dup(host);
}

/* The same block again, maybe spelled another way: a table stands once in a file. */
static bool stands_before(const struct toml_value *list, size_t i, const struct endpoint *endpoint)
{
	struct endpoint other;
	struct err err;

	for (size_t k = 0; k < i; k++)
		if (parse_endpoint(toml_item_at(list, k)->string, &other, &err) == 0 &&
		    other.is_http == endpoint->is_http && str_eq(other.rest, endpoint->rest))
			return true;
	return false;
}

static int print_endpoints(struct buf *out, const struct toml_value *registry, struct str host,
                           const struct toml_value *list, struct err *err)
{
	bool has_itself = false;
	struct endpoint endpoint;

	for (size_t i = 0; toml_is(list, TOML_ARRAY) && i < toml_count(list); i++) {
		const struct toml_value *value = toml_item_at(list, i);

		if (!toml_is(value, TOML_STRING))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "an endpoint of \"" STR_FMT "\" is %s", STR_ARG(host),
			               toml_type_name((enum toml_type)value->type));
		if (parse_endpoint(value->string, &endpoint, err) < 0)
			return err_wrap(err, "registry \"" STR_FMT "\"", STR_ARG(host));
		has_itself |= str_eq(endpoint.host, host);
		if (stands_before(list, i, &endpoint))
			continue;
		if (print_block(out, registry, &endpoint) < 0)
			return buf_err_full(out, "hosts.toml", err);
	}
	if (has_itself || !toml_get(toml_get_str(toml_get(registry, "configs"), host), "tls"))
		return 0;
	if (parse_endpoint(host, &endpoint, err) < 0)
		return -1;
	endpoint.is_http = false; /* there is TLS to configure */
	return print_block(out, registry, &endpoint) < 0 ? buf_err_full(out, "hosts.toml", err) : 0;
}

static int add_host(struct migrate_hosts *hosts, const struct toml_value *registry, struct str host,
                    struct err *err)
{
	const struct toml_value *list =
		toml_get(toml_get_str(toml_get(registry, "mirrors"), host), "endpoint");
	cleanup_free char *dir = dir_of(host);
	cleanup(buf_release) struct buf text = { 0 };
	cleanup(toml_free) struct toml *again = NULL;
	size_t start;

	buf_init(&text, MAX_HOSTS_TOML);
	if (!dir)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "registry \"" STR_FMT "\": no name for a directory", STR_ARG(host));
	for (size_t i = 0; i < hosts->count; i++)
		if (streq(hosts->all[i].dir, dir))
			return 0;
	if (buf_add_str(
		    &text,
		    "# Mirrors of containerd's CRI plugin, as found by coracle migrate-config.\n") <
	    0)
		return buf_err_full(&text, "hosts.toml", err);
	start = text.len;
	if (print_endpoints(&text, registry, host, list, err) < 0)
		return -1;
	if (text.len == start)
		return 0;
	again = toml_parse("the new hosts.toml", text.data, text.len, NULL, err);
	if (!again)
		return err_wrap(err, "registry \"" STR_FMT "\"", STR_ARG(host));
	hosts->all = xrealloc(hosts->all, hosts->count + 1, sizeof(*hosts->all));
	hosts->all[hosts->count++] =
		(struct migrate_host){ .dir = take_ptr(dir), .text = buf_take_str(&text) };
	return 0;
}

static int add_hosts(struct migrate_hosts *hosts, const struct toml_value *cri, struct err *err)
{
	static const char *const tables[] = { "mirrors", "configs" };
	const struct toml_value *registry = toml_get(cri, "registry");

	for (size_t k = 0; k < ARRAY_SIZE(tables); k++) {
		const struct toml_value *table = toml_get(registry, tables[k]);

		for (size_t i = 0; toml_is(table, TOML_TABLE) && i < toml_count(table); i++)
			if (add_host(hosts, registry, toml_entry_at(table, i)->key, err) < 0)
				return -1;
	}
	return 0;
}

int migrate_hosts(const struct migrate_edit *edit, struct migrate_hosts *ret, struct err *err)
{
	const struct toml_value *plugins = toml_get(edit->toml->root, "plugins");

	*ret = (struct migrate_hosts){ .count = 0 };
	if (edit->version >= MIGRATE_FROM)
		return add_hosts(ret, toml_get(plugins, MIGRATE_CRI_IMAGES), err);
	for (size_t t = 0; t < edit->ntables; t++)
		if (add_hosts(ret, toml_get(plugins, edit->tables[t]), err) < 0)
			return -1;
	return 0;
}

int migrate_host_check(const struct migrate_host *host, struct err *err)
{
	cleanup(mirrors_release) struct mirrors mirrors = { 0 };
	cleanup(toml_free) struct toml *toml =
		toml_parse("hosts.toml", host->text, strlen(host->text), NULL, err);
	const char *domain = streq(host->dir, "_default") ? "registry.example" : host->dir;

	/* Certificates have absolute paths; there is no directory yet for others. */
	if (!toml || mirrors_parse(host->text, strlen(host->text), "hosts.toml", -1, domain,
	                           &mirrors, err) < 0)
		return -1;
	if (mirrors.count != toml_count(toml_get(toml->root, "host")) + 1)
		return err_set(err, CODE_INTERNAL, "not every mirror is found again");
	return 0;
}

void migrate_hosts_release(struct migrate_hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++) {
		free(hosts->all[i].dir);
		free(hosts->all[i].text);
	}
	free(hosts->all);
	*hosts = (struct migrate_hosts){ .count = 0 };
}
