/* core/image/hosts_toml.c
 *
 * hosts.toml as containerd's users write it, and one key more: `credentials`, which says what a mirror may be shown.
 *
 *   server = "https://registry.example"	the registry itself, asked last
 *   [host."https://mirror.example"]		asked before, in the order of the file
 *
 * A key that is not known is worth a warning, a value that is wrong fails the pull: silently going around a mirror is what
 * people configure mirrors to prevent.
 */
#include "core/image/hosts_toml.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/buf.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/toml.h"
#include "core/image/http_wire.h"

#define FIELDS_MAX (16 * 1024)
#define PATH_TEXT  4096

struct reader {
	const struct toml *toml;
	const char *what;
	const char *domain;
	int dirfd;
};

static int fail_at(const struct reader *r, uint32_t offset, struct err *err, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

static int fail_at(const struct reader *r, uint32_t offset, struct err *err, const char *fmt, ...)
{
	struct toml_place place = toml_place(r->toml, offset);
	cleanup(buf_release) struct buf text = { 0 };
	va_list ap;

	buf_init(&text, 8192);
	va_start(ap, fmt);
	ignore(buf_vprintf(&text, fmt, ap)); /* what does not fit is cut by err_set as well */
	va_end(ap);
	return err_set(err, CODE_INVALID_ARGUMENT, "%s:%u:%u: %s", r->what, place.line, place.col,
	               or_empty(text.data));
}

static int want(const struct reader *r, const struct toml_entry *entry, enum toml_type type,
                struct err *err)
{
	if (toml_is(entry->value, type))
		return 0;
	return fail_at(r, entry->value->start, err, "%s is not %s", entry->key.p,
	               toml_type_name(type));
}

/* --- the keys of a host */

static int read_capabilities(const struct reader *r, const struct toml_entry *entry,
                             struct mirror *mirror, struct err *err)
{
	if (want(r, entry, TOML_ARRAY, err) < 0)
		return -1;
	mirror->capabilities = 0;
	for (size_t i = 0; i < toml_count(entry->value); i++) {
		const struct toml_value *word = toml_item_at(entry->value, i);

		if (!toml_is(word, TOML_STRING))
			return fail_at(r, word->start, err, "capabilities are strings");
		if (!strcasecmp(word->string.p, "pull"))
			mirror->capabilities |= MIRROR_PULL;
		else if (!strcasecmp(word->string.p, "resolve"))
			mirror->capabilities |= MIRROR_RESOLVE;
		else if (strcasecmp(word->string.p, "push") != 0 &&
		         strcasecmp(word->string.p, "referrers") != 0) /* of no use to us */
			return fail_at(r, word->start, err, "capability \"%.40s\" is unknown",
			               word->string.p);
	}
	return 0;
}

static int read_file(const struct reader *r, const struct toml_value *path, char **ret,
                     struct err *err)
{
	if (!toml_is(path, TOML_STRING) || !path->string.len || path->string.len >= PATH_TEXT)
		return fail_at(r, path->start, err, "not a file name");
	if (mirror_read_file(r->dirfd, path->string.p, ret, err) < 0)
		return err_wrap(err, "%s:%u", r->what, toml_place(r->toml, path->start).line);
	return 0;
}

static int read_ca(const struct reader *r, const struct toml_entry *entry, struct mirror *mirror,
                   struct err *err)
{
	bool list = toml_is(entry->value, TOML_ARRAY);
	size_t count = list ? toml_count(entry->value) : 1;

	for (size_t i = 0; i < count; i++) {
		char *text = NULL;

		if (read_file(r, list ? toml_item_at(entry->value, i) : entry->value, &text, err) <
		    0)
			return -1;
		mirror_add_ca(mirror, text);
	}
	return 0;
}

/* "cert.pem", ["both.pem"], [["cert.pem", "key.pem"]]; the first counts: a connection shows one certificate. */
static int read_client(const struct reader *r, const struct toml_entry *entry,
                       struct mirror *mirror, struct err *err)
{
	const struct toml_value *cert = entry->value, *key = NULL;

	if (toml_is(cert, TOML_ARRAY)) {
		if (toml_count(cert) == 0)
			return 0;
		cert = toml_item_at(cert, 0);
	}
	if (toml_is(cert, TOML_ARRAY)) {
		if (toml_count(cert) != 2)
			return fail_at(r, cert->start, err,
			               "client: a pair of certificate and key is expected");
		key = toml_item_at(cert, 1);
		cert = toml_item_at(cert, 0);
		if (toml_is(key, TOML_STRING) && !key->string.len)
			key = NULL; /* it is in the same file */
	}
	if (read_file(r, cert, &mirror->client_cert, err) < 0)
		return -1;
	return key ? read_file(r, key, &mirror->client_key, err) : 0;
}

static bool is_field_name(struct str name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] <= ' ' || name.p[i] >= 0x7f ||
		    strchr("()<>@,;:\\\"/[]?={}", name.p[i]))
			return false;
	return name.len > 0;
}

static int add_field(const struct reader *r, struct str name, const struct toml_value *value,
                     struct buf *out, struct err *err)
{
	if (!toml_is(value, TOML_STRING))
		return fail_at(r, value->start, err, "header values are strings");
	for (size_t i = 0; i < value->string.len; i++)
		if ((unsigned char)value->string.p[i] < ' ' || value->string.p[i] == 0x7f)
			return fail_at(r, value->start, err, "control character in a header");
	return buf_printf(out, "%s: %s\r\n", name.p, value->string.p) < 0
	               ? fail_at(r, value->start, err, "headers are larger than %d bytes",
	                         FIELDS_MAX)
	               : 0;
}

static int read_header(const struct reader *r, const struct toml_entry *entry,
                       struct mirror *mirror, struct err *err)
{
	static const char *const ours[] = { "host", "content-length", "transfer-encoding",
		                            "connection", "range" };
	cleanup(buf_release) struct buf out = { 0 };

	if (want(r, entry, TOML_TABLE, err) < 0)
		return -1;
	buf_init(&out, FIELDS_MAX);
	for (size_t i = 0; i < toml_count(entry->value); i++) {
		const struct toml_entry *field = toml_entry_at(entry->value, i);
		bool list = toml_is(field->value, TOML_ARRAY);
		size_t count = list ? toml_count(field->value) : 1;

		if (!is_field_name(field->key))
			return fail_at(r, field->key_at, err, "not the name of a header");
		for (size_t k = 0; k < ARRAY_SIZE(ours); k++)
			if (!strcasecmp(field->key.p, ours[k]))
				return fail_at(r, field->key_at, err,
				               "header %s cannot be configured", field->key.p);
		for (size_t k = 0; k < count; k++)
			if (add_field(r, field->key,
			              list ? toml_item_at(field->value, k) : field->value, &out,
			              err) < 0)
				return -1;
	}
	free(mirror->fields);
	mirror->fields = buf_take_str(&out);
	return 0;
}

static int read_credentials(const struct reader *r, const struct toml_entry *entry,
                            struct mirror *mirror, struct err *err)
{
	cleanup_free char *text = NULL;
	struct str user, password, word;
	char *end;

	if (want(r, entry, TOML_STRING, err) < 0)
		return -1;
	word = entry->value->string;
	if (str_eq_c(word, "none")) {
		mirror->credentials = MIRROR_CREDENTIALS_NONE;
	} else if (str_eq_c(word, "upstream")) {
		mirror->credentials = MIRROR_CREDENTIALS_UPSTREAM;
	} else if (str_starts(word, "file:") && word.len < PATH_TEXT) {
		if (mirror_read_file(r->dirfd, word.p + strlen("file:"), &text, err) < 0)
			return err_wrap(err, "%s:%u", r->what,
			                toml_place(r->toml, entry->value->start).line);
		for (end = text + strlen(text); end > text && strchr("\r\n", end[-1]);)
			*--end = '\0';
		if (strpbrk(text, "\r\n") || !str_cut(str_of(text), ':', &user, &password))
			return fail_at(r, entry->value->start, err,
			               "the credentials file is not one line user:password");
		mirror->credentials = MIRROR_CREDENTIALS_FILE;
		mirror->user = str_dup(user);
		mirror->password = str_dup(password);
		explicit_bzero(text, strlen(text));
	} else {
		return fail_at(r, entry->value->start, err,
		               "credentials are \"none\", \"upstream\" or \"file:PATH\"");
	}
	return 0;
}

static int read_timeout(const struct reader *r, const struct toml_entry *entry,
                        struct mirror *mirror, struct err *err)
{
	if (want(r, entry, TOML_STRING, err) < 0)
		return -1;
	mirror->dial_timeout_ms = mirror_duration_ms(entry->value->string);
	if (mirror->dial_timeout_ms < 0 || mirror->dial_timeout_ms > 3600 * 1000)
		return fail_at(r, entry->value->start, err,
		               "dial_timeout: not a duration of at most an hour, like \"5s\"");
	return 0;
}

static int read_skip_verify(const struct reader *r, const struct toml_entry *entry,
                            struct mirror *mirror, struct err *err)
{
	if (want(r, entry, TOML_BOOL, err) < 0)
		return -1;
	mirror->skip_verify = entry->value->boolean;
	return 0;
}

/* Is looked at with the URL. */
static int read_override_path(const struct reader *r, const struct toml_entry *entry,
                              struct mirror *mirror, struct err *err)
{
	(void)mirror;
	return want(r, entry, TOML_BOOL, err);
}

static const struct {
	const char *name;
	int (*read)(const struct reader *r, const struct toml_entry *entry, struct mirror *mirror,
	            struct err *err);
} keys[] = {
	{ "capabilities", read_capabilities },
	{ "ca", read_ca },
	{ "client", read_client },
	{ "header", read_header },
	{ "skip_verify", read_skip_verify },
	{ "override_path", read_override_path },
	{ "dial_timeout", read_timeout },
	{ "credentials", read_credentials },
};

static int read_keys(const struct reader *r, const struct toml_value *table, bool top,
                     struct mirror *mirror, struct err *err)
{
	for (size_t i = 0; i < toml_count(table); i++) {
		const struct toml_entry *entry = toml_entry_at(table, i);
		size_t k;

		if (top && (str_eq_c(entry->key, "server") || str_eq_c(entry->key, "host")))
			continue;
		for (k = 0; k < ARRAY_SIZE(keys) && !str_eq_c(entry->key, keys[k].name); k++)
			;
		if (k == ARRAY_SIZE(keys)) {
			log_warn(NULL, "%s:%u: key \"%.60s\" is unknown", r->what,
			         toml_place(r->toml, entry->key_at).line, entry->key.p);
			continue;
		}
		if (keys[k].read(r, entry, mirror, err) < 0)
			return -1;
	}
	return 0;
}

/* --- where a host is */

/* "/a/../b//c/" is "/b/c", "/" is "". */
static char *clean_path(const char *path)
{
	size_t cap = strlen(path) + 2, len = 0;
	char *out = xcalloc(1, cap);

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && memcmp(path, "..", 2) == 0) {
			while (len && out[--len] != '/')
				;
			out[len] = '\0';
		} else if (n && !(n == 1 && *path == '.')) {
			out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
			out[len] = '\0';
		}
		path += n + (path[n] == '/');
	}
	return out;
}

static char *base_path(const char *target, bool override)
{
	cleanup_free char *path = xstrndup(target, strcspn(target, "?"));
	char *clean = clean_path(path), *full;

	if (override || ends_with(clean, "/v2"))
		return clean;
	full = xasprintf("%s/v2", clean);
	free(clean);
	return full;
}

/* People write the name of the namespace where the host of the registry is meant. */
static bool is_docker_hub(const char *host)
{
	return streq(host, "docker.io") || streq(host, "index.docker.io");
}

/* The registry itself, be it over plain HTTP. */
static bool is_upstream(const struct mirror *upstream, const struct http_url *url, const char *host)
{
	return streq(host, upstream->host) &&
	       (url->port == upstream->port ||
	        (upstream->port == 443 && !url->tls && url->port == 80));
}

static int set_url(const struct reader *r, struct str text, uint32_t at, bool override,
                   struct mirror *mirror, struct err *err)
{
	cleanup(mirror_release) struct mirror upstream = { 0 };
	cleanup(http_url_release) struct http_url url = { 0 };
	cleanup_free char *full = NULL;
	struct err why = { 0 };

	full = strstr(text.p, "://") ? str_dup(text) : xasprintf("https://%s", text.p);
	if (memchr(text.p, '\0', text.len) || http_url_parse(str_of(full), &url, &why) < 0)
		return fail_at(r, at, err, "\"%.80s\" is not the URL of a host: %s", text.p,
		               why.msg);
	if (url.user)
		return fail_at(r, at, err, "no credentials in URLs: see the key credentials");
	if (mirror_upstream(r->domain, &upstream, err) < 0)
		return -1;
	free(mirror->host);
	mirror->host =
		is_docker_hub(url.host) ? xstrdup("registry-1.docker.io") : xstrdup(url.host);
	mirror->port = url.port;
	mirror->scheme = url.tls ? MIRROR_HTTPS : MIRROR_HTTP;
	free(mirror->base);
	mirror->base = base_path(url.target, override);
	mirror->upstream = is_upstream(&upstream, &url, mirror->host);
	mirror->skip_verify = false;
	mirror->credentials =
		mirror->upstream ? MIRROR_CREDENTIALS_UPSTREAM : MIRROR_CREDENTIALS_NONE;
	return 0;
}

/* With TLS configured, "http://" means: TLS, if it has it. */
static void settle_scheme(struct mirror *mirror)
{
	if (mirror->scheme == MIRROR_HTTP && mirror->port != 80 &&
	    (mirror->ca || mirror->client_cert || mirror->skip_verify))
		mirror->scheme = MIRROR_TLS_FIRST;
}

static bool override_path(const struct toml_value *table)
{
	const struct toml_value *value = toml_get(table, "override_path");

	return toml_is(value, TOML_BOOL) && value->boolean;
}

static int read_host(const struct reader *r, const struct toml_entry *entry, struct mirror *ret,
                     struct err *err)
{
	if (want(r, entry, TOML_TABLE, err) < 0)
		return -1;
	*ret = (struct mirror){ .capabilities = MIRROR_ALL, .fields = xstrdup("") };
	if (set_url(r, entry->key, entry->key_at, override_path(entry->value), ret, err) < 0 ||
	    read_keys(r, entry->value, false, ret, err) < 0)
		return -1;
	settle_scheme(ret);
	return 0;
}

/* The keys at the top are those of the registry itself. */
static int read_server(const struct reader *r, struct mirror *ret, struct err *err)
{
	const struct toml_value *root = r->toml->root, *server = toml_get(root, "server");

	if (mirror_upstream(r->domain, ret, err) < 0)
		return -1;
	if (server && !toml_is(server, TOML_STRING))
		return fail_at(r, server->start, err, "server is not a string");
	if (server && server->string.len) {
		if (set_url(r, server->string, server->start, override_path(root), ret, err) < 0)
			return -1;
	}
	if (read_keys(r, root, true, ret, err) < 0)
		return -1;
	if (ret->ca && !toml_get(root, "skip_verify"))
		ret->skip_verify = false; /* a loopback default that somebody outdid */
	settle_scheme(ret);
	return 0;
}

static int read_all(const struct reader *r, struct mirrors *ret, struct err *err)
{
	const struct toml_value *hosts = toml_get(r->toml->root, "host");
	size_t count = hosts ? toml_count(hosts) : 0;

	if (hosts && !toml_is(hosts, TOML_TABLE))
		return fail_at(r, hosts->start, err, "host is not a table");
	if (hosts && count >= MIRRORS_MAX)
		return fail_at(r, hosts->start, err, "more than %d hosts", MIRRORS_MAX - 1);
	ret->items = xcalloc(count + 1, sizeof(*ret->items));
	for (size_t i = 0; i < count; i++)
		if (read_host(r, toml_entry_at(hosts, i), &ret->items[ret->count++], err) < 0)
			return -1;
	return read_server(r, &ret->items[ret->count++], err);
}

int mirrors_parse(const char *text, size_t len, const char *what, int dirfd, const char *domain,
                  struct mirrors *ret, struct err *err)
{
	cleanup(mirrors_release) struct mirrors got = { 0 };
	cleanup(toml_free) struct toml *toml = toml_parse(what, text, len, NULL, err);
	struct reader reader = { .toml = toml, .what = what, .domain = domain, .dirfd = dirfd };

	if (!toml || read_all(&reader, &got, err) < 0)
		return -1;
	*ret = got;
	got = (struct mirrors){ 0 };
	return 0;
}
