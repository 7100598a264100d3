/* core/image/mirrors.c */
#include "core/image/mirrors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/image/hosts_toml.h"
#include "core/image/http_wire.h"
#include "core/image/proxy.h"

#define HOSTS_FILE   "hosts.toml"
#define DEFAULT_DIR  "_default"
#define DOCKER_HUB   "docker.io"
#define DOCKER_HOST  "registry-1.docker.io"
#define DEFAULT_BASE "/v2"

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void mirror_release(struct mirror *mirror)
{
	free(mirror->host);
	free(mirror->base);
	strv_free(mirror->ca);
	free(mirror->client_cert);
	wipe(mirror->client_key);
	wipe(mirror->fields);
	free(mirror->user);
	wipe(mirror->password);
	*mirror = (struct mirror){ 0 };
}

void mirrors_release(struct mirrors *mirrors)
{
	for (size_t i = 0; i < mirrors->count; i++)
		mirror_release(&mirrors->items[i]);
	free(mirrors->items);
	free(mirrors->file);
	*mirrors = (struct mirrors){ 0 };
}

/* A registry on this very machine is a developer's: it may well have no certificate, or no TLS. */
int mirror_upstream(const char *domain, struct mirror *ret, struct err *err)
{
	cleanup(http_url_release) struct http_url url = { 0 };
	cleanup_free char *text =
		xasprintf("https://%s", streq(domain, DOCKER_HUB) ? DOCKER_HOST : domain);

	if (http_url_parse(str_of(text), &url, err) < 0)
		return err_wrap(err, "registry %s", domain);
	*ret = (struct mirror){
		.scheme = MIRROR_HTTPS,
		.port = url.port,
		.base = xstrdup(DEFAULT_BASE),
		.capabilities = MIRROR_ALL,
		.upstream = true,
		.fields = xstrdup(""),
		.credentials = MIRROR_CREDENTIALS_UPSTREAM,
	};
	if (host_is_loopback(url.host)) {
		ret->skip_verify = true;
		ret->scheme = url.port == 443  ? MIRROR_HTTPS
		              : url.port == 80 ? MIRROR_HTTP
		                               : MIRROR_TLS_FIRST;
	}
	ret->host = take_ptr(url.host);
	return 0;
}

static int single(const char *domain, struct mirrors *ret, struct err *err)
{
	cleanup(mirrors_release) struct mirrors got = { 0 };

	got.items = xcalloc(1, sizeof(*got.items));
	if (mirror_upstream(domain, &got.items[0], err) < 0)
		return -1;
	got.count = 1;
	*ret = got;
	got = (struct mirrors){ 0 };
	return 0;
}

/* --- files */

int mirror_read_file(int dirfd, const char *path, char **ret_text, struct err *err)
{
	size_t len;
	int rc = fsx_read(dirfd, path, MIRROR_FILE_MAX, ret_text, &len);

	if (rc == -EFBIG)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: larger than %d bytes", path,
		               MIRROR_FILE_MAX);
	return rc < 0 ? err_sys(err, -rc, "read %s", path) : 0;
}

void mirror_add_ca(struct mirror *mirror, char *pem)
{
	size_t n = strv_len(mirror->ca);

	mirror->ca = xrealloc(mirror->ca, n + 2, sizeof(*mirror->ca));
	mirror->ca[n] = pem;
	mirror->ca[n + 1] = NULL;
}

/* Docker's layout: *.crt are CAs, X.cert with X.key beside it is a client certificate (the first counts). */
static int read_certificates(int dirfd, struct mirror *mirror, struct err *err)
{
	cleanup(strv_free) char **names = NULL;
	int rc = fsx_list(dirfd, ".", &names);

	if (rc < 0)
		return err_sys(err, -rc, "list");
	for (char **name = names; *name; name++) {
		char *text;

		if (ends_with(*name, ".crt")) {
			if (mirror_read_file(dirfd, *name, &text, err) < 0)
				return -1;
			mirror_add_ca(mirror, text);
		} else if (ends_with(*name, ".cert") && !mirror->client_cert) {
			cleanup_free char *key =
				xasprintf("%.*s.key", (int)(strlen(*name) - 5), *name);

			if (mirror_read_file(dirfd, *name, &mirror->client_cert, err) < 0)
				return -1;
			if (mirror_read_file(dirfd, key, &mirror->client_key, err) < 0) {
				if (!err_is(err, CODE_NOT_FOUND))
					return -1;
				err_clear(err); /* then it is in the certificate's file */
			}
		}
	}
	if (mirror->ca) /* somebody took the trouble: then it is checked, on this machine too */
		mirror->skip_verify = false;
	return 0;
}

static int load_dir(int dirfd, const char *path, const char *domain, struct mirrors *ret,
                    struct err *err)
{
	cleanup_free char *what = xasprintf("%s/" HOSTS_FILE, path);
	cleanup_free char *text = NULL;
	int rc;

	if (mirror_read_file(dirfd, HOSTS_FILE, &text, err) < 0) {
		if (!err_is(err, CODE_NOT_FOUND))
			return err_wrap(err, "%s", path);
		err_clear(err);
	}
	if (text && *text) {
		if (mirrors_parse(text, strlen(text), what, dirfd, domain, ret, err) < 0)
			return -1;
		ret->file = take_ptr(what);
		return 0;
	}
	if (single(domain, ret, err) < 0)
		return -1;
	rc = read_certificates(dirfd, &ret->items[0], err);
	if (rc < 0) {
		mirrors_release(ret);
		return err_wrap(err, "%s", path);
	}
	return 0;
}

/* The directory of @domain below @root; -1: none. *ret_path is heap then. */
static int open_host_dir(const char *root, const char *domain, char **ret_path)
{
	struct str host, port;
	char *names[3] = { 0 };
	size_t n = 0;
	int fd = -1;

	if (str_rcut(str_of(domain), ':', &host, &port) && !memchr(port.p, ']', port.len))
		names[n++] = xasprintf("%s/" STR_FMT "_" STR_FMT "_", root, STR_ARG(host),
		                       STR_ARG(port));
	names[n++] = xasprintf("%s/%s", root, domain);
	names[n++] = xasprintf("%s/" DEFAULT_DIR, root);
	for (size_t i = 0; i < n; i++) {
		if (fd < 0) {
			fd = open(names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd >= 0)
				*ret_path = xstrdup(names[i]);
		}
		free(names[i]);
	}
	return fd;
}

int mirrors_load(const char *dirs, const char *domain, struct mirrors *ret, struct err *err)
{
	struct str rest = str_of(dirs), one;
	bool more;

	do {
		cleanup_free char *root = NULL;
		cleanup_free char *path = NULL;
		cleanup_close int fd = -1;

		more = str_cut(rest, ':', &one, &rest);
		if (!one.len)
			continue;
		root = str_dup(one);
		fd = open_host_dir(root, domain, &path);
		if (fd >= 0)
			return load_dir(fd, path, domain, ret, err);
	} while (more);
	return single(domain, ret, err);
}

int64_t mirror_duration_ms(struct str text)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = { { "ns", 1e-6 }, { "us", 1e-3 }, { "ms", 1 },
		      { "s", 1e3 },   { "m", 6e4 },   { "h", 3.6e6 } };
	double total = 0;

	if (str_eq_c(text, "0"))
		return 0;
	if (!text.len)
		return -1;
	while (text.len) {
		double value = 0, scale = 1;
		bool point = false;
		size_t n = 0, digits = 0, best = 0, u = ARRAY_SIZE(units);

		for (; n < text.len && (text.p[n] == '.' || (text.p[n] >= '0' && text.p[n] <= '9'));
		     n++) {
			if (text.p[n] == '.') {
				if (point)
					return -1;
				point = true;
				continue;
			}
			digits++;
			if (point)
				scale /= 10;
			value = point ? value + scale * (text.p[n] - '0')
			              : value * 10 + (text.p[n] - '0');
		}
		text = (struct str){ text.p + n, text.len - n };
		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (str_starts(text, units[i].name) && strlen(units[i].name) > best) {
				best = strlen(units[i].name);
				u = i;
			}
		if (!digits || u == ARRAY_SIZE(units))
			return -1;
		text = (struct str){ text.p + best, text.len - best };
		total += value * units[u].ms;
		if (total > 1e12)
			return -1;
	}
	return (int64_t)total;
}
