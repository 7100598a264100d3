/* cmd/check/check_containerd.c
 *
 * containerd's own rules for its configuration, as its CRI plugins apply them at start: what it would refuse, what it
 * would ignore, and what it calls deprecated. For nodes that still run it, and before coracle migrate-config.
 *
 * The file and its imports are kept in the order they are read; a setting is the last one that stands anywhere. Where a
 * setting lives depends on the version: one table up to version 2, three since.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/check/check.h"
#include "cmd/migrate/edit.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/toml.h"
#include "core/image/mirrors.h"

#define DEFAULT_FILE   "/etc/containerd/config.toml"
#define MAX_DOCS       64
#define SHORTEST_PARTS 4 /* of a plugin's full name */
#define DEPRECATED     "io.containerd.deprecation/"

struct doc {
	char *path;
	struct toml *toml;
	int64_t version;
};

struct docs {
	struct doc all[MAX_DOCS];
	size_t count;
};

static void docs_release(struct docs *docs)
{
	for (size_t i = 0; i < docs->count; i++) {
		free(docs->all[i].path);
		toml_free(docs->all[i].toml);
	}
}
DEFINE_CLEANUP(struct docs, docs_release);

/* A setting and where it stands. */
struct found {
	const struct doc *doc; /* NULL: nowhere */
	const struct toml_value *value;
};

static void at(struct check_out *out, const struct doc *doc, const struct toml_value *value)
{
	check_source(out, doc->path, value ? toml_place(doc->toml, value->start).line : 0);
}

/* --- reading */

/* False after @out (may be NULL) was told why. */
static bool add_doc(struct docs *docs, const char *path, struct check_out *out)
{
	struct toml_fault fault = { .text = "" };
	struct err err = { .code = CODE_OK };
	cleanup_free char *text = NULL;
	struct toml *toml;
	const struct toml_value *version;
	size_t len;

	for (size_t i = 0; i < docs->count; i++)
		if (streq(docs->all[i].path, path))
			return true;
	if (docs->count == MAX_DOCS || file_read_all(path, TOML_MAX_BYTES, &text, &len, &err) < 0) {
		if (out)
			check_fail(out, path, "%s",
			           docs->count == MAX_DOCS ? "too many imports" : err.msg);
		return false;
	}
	toml = toml_parse(path, text, len, &fault, &err);
	if (!toml) {
		if (out) {
			check_fail(out, path, "%s", fault.place.line ? fault.text : err.msg);
			check_source(out, path, fault.place.line);
		}
		return false;
	}
	version = toml_get(toml->root, "version");
	docs->all[docs->count++] =
		(struct doc){ .path = xstrdup(path),
		              .toml = toml,
		              .version = toml_is(version, TOML_INTEGER) ? version->integer : 0 };
	return true;
}

/* Where an import points, below the sysroot; heap. */
static char *import_path(const struct check_ctx *ctx, const struct doc *doc, struct str import)
{
	const char *slash = strrchr(doc->path, '/');

	if (str_starts(import, "/"))
		return xasprintf("%s" STR_FMT, ctx->sysroot, STR_ARG(import));
	return xasprintf("%.*s/" STR_FMT, (int)(slash ? slash - doc->path : 0), doc->path,
	                 STR_ARG(import));
}

static void add_imports(const struct check_ctx *ctx, struct docs *docs, size_t i,
                        struct check_out *out)
{
	const struct toml_value *imports = toml_get(docs->all[i].toml->root, "imports");

	for (size_t k = 0; toml_is(imports, TOML_ARRAY) && k < toml_count(imports); k++) {
		const struct toml_value *import = toml_item_at(imports, k);
		cleanup_free char *pattern = NULL;
		glob_t found;

		if (!toml_is(import, TOML_STRING))
			continue;
		pattern = import_path(ctx, &docs->all[i], import->string);
		if (glob(pattern, 0, NULL, &found) != 0)
			continue;
		for (size_t n = 0; n < found.gl_pathc; n++)
			ignore(add_doc(docs, found.gl_pathv[n], out));
		globfree(&found);
	}
}

/* Everything that can be read. Returns false where there is no file; @out hears of broken ones. */
static bool read_docs(const struct check_ctx *ctx, struct docs *docs, struct check_out *out)
{
	cleanup_free char *path = check_path(ctx, ctx->containerd ? ctx->containerd : DEFAULT_FILE);

	*docs = (struct docs){ .count = 0 };
	if (!add_doc(docs, path, out))
		return false;
	for (size_t i = 0; i < docs->count; i++)
		add_imports(ctx, docs, i, out);
	return true;
}

/* The tables of a file in which CRI settings may stand. */
static size_t cri_tables(const struct doc *doc, const struct toml_value *ret[3])
{
	const struct toml_value *plugins = toml_get(doc->toml->root, "plugins");
	size_t n = 0;

	ret[n++] = toml_get(plugins, MIGRATE_CRI);
	if (doc->version < 2)
		ret[n++] = toml_get(plugins, MIGRATE_CRI_SHORT);
	if (doc->version >= MIGRATE_FROM) {
		ret[n++] = toml_get(plugins, "io.containerd.cri.v1.runtime");
		ret[n++] = toml_get(plugins, "io.containerd.cri.v1.images");
	}
	return n;
}

/* "cni/bin_dir": the last one that is set. */
static struct found find(const struct docs *docs, const char *path)
{
	for (size_t i = docs->count; i-- > 0;) {
		const struct toml_value *tables[3];
		size_t n = cri_tables(&docs->all[i], tables);

		for (size_t t = 0; t < n; t++) {
			const struct toml_value *value = tables[t];
			struct str rest = str_of(path), part;

			while (rest.len && value) {
				str_cut(rest, '/', &part, &rest);
				value = toml_get_str(value, part);
			}
			if (value)
				return (struct found){ &docs->all[i], value };
		}
	}
	return (struct found){ NULL, NULL };
}

static bool is_text(struct found f)
{
	return toml_is(f.value, TOML_STRING) && f.value->string.len;
}

static bool is_true(struct found f)
{
	return toml_is(f.value, TOML_BOOL) && f.value->boolean;
}

/* --- file level */

static void syntax(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(docs_release) struct docs docs = { 0 };

	if (read_docs(ctx, &docs, out))
		check_ok(out, NULL, "%s and %zu imports", docs.all[0].path, docs.count - 1);
}

#define READ_OR_SKIP(docs)                                                                         \
	cleanup(docs_release) struct docs docs = { 0 };                                            \
	bool fine = true;                                                                          \
	if (!read_docs(ctx, &docs, NULL)) {                                                        \
		check_skip(out, NULL, "the file cannot be read");                                  \
		return;                                                                            \
	}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	READ_OR_SKIP(docs)

	for (size_t i = 0; i < docs.count; i++) {
		const struct toml_value *value = toml_get(docs.all[i].toml->root, "version");

		if (!value || (value->type == TOML_INTEGER && value->integer >= 0 &&
		               value->integer <= MIGRATE_NEWEST))
			continue;
		fine = false;
		check_fail(out, docs.all[i].path,
		           "version is not one of 0 to %d: containerd does not start",
		           MIGRATE_NEWEST);
		at(out, &docs.all[i], value);
	}
	if (fine && docs.all[0].version < MIGRATE_FROM)
		check_ok(out, NULL,
		         "version %lld; coracle migrate-config cleans up what newer ones ignore",
		         (long long)docs.all[0].version);
	else if (fine)
		check_ok(out, NULL, "version %lld", (long long)docs.all[0].version);
}

static size_t dots_in(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += s.p[i] == '.';
	return n;
}

static void lists(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const names[] = { "disabled_plugins", "required_plugins" };
	READ_OR_SKIP(docs)

	for (size_t i = 0; i < docs.count; i++) {
		for (size_t n = 0; n < ARRAY_SIZE(names) && docs.all[i].version >= 2; n++) {
			const struct toml_value *list = toml_get(docs.all[i].toml->root, names[n]);

			for (size_t k = 0; toml_is(list, TOML_ARRAY) && k < toml_count(list); k++) {
				const struct toml_value *item = toml_item_at(list, k);

				if (!toml_is(item, TOML_STRING) || dots_in(item->string))
					continue;
				fine = false;
				check_fail(
					out, item->string.p,
					"%s names \"%s\": full names only since version 2, containerd does not start",
					names[n], item->string.p);
				at(out, &docs.all[i], item);
			}
		}
	}
	if (fine)
		check_ok(out, NULL, "disabled and required plugins have full names");
}

static void plugin_names(const struct check_ctx *ctx, struct check_out *out)
{
	READ_OR_SKIP(docs)

	for (size_t i = 0; i < docs.count; i++) {
		const struct toml_value *plugins = toml_get(docs.all[i].toml->root, "plugins");

		for (size_t k = 0; docs.all[i].version >= 2 && k < toml_count(plugins); k++) {
			const struct toml_entry *entry = toml_entry_at(plugins, k);

			if (dots_in(entry->key) + 1 >= SHORTEST_PARTS)
				continue;
			fine = false;
			check_warn(out, entry->key.p,
			           "plugins.%s is no full name: containerd ignores the table",
			           entry->key.p);
			check_source(out, docs.all[i].path,
			             toml_place(docs.all[i].toml, entry->key_at).line);
		}
	}
	if (fine)
		check_ok(out, NULL, "every plugin has its full name");
}

static void unknown(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const known[] = {
		"version",
		"root",
		"state",
		"temp",
		"plugin_dir",
		"debug",
		"disabled_plugins",
		"required_plugins",
		"plugins",
		"oom_score",
		"cgroup",
		"proxy_plugins",
		"timeouts",
		"imports",
		"stream_processors",
		"grpc",
		"ttrpc",
		"metrics",
	};
	READ_OR_SKIP(docs)

	for (size_t i = 0; i < docs.count; i++) {
		for (size_t k = 0; k < toml_count(docs.all[i].toml->root); k++) {
			const struct toml_entry *entry = toml_entry_at(docs.all[i].toml->root, k);
			const char *meant;
			bool is_known = false;

			for (size_t n = 0; n < ARRAY_SIZE(known); n++)
				is_known |= str_eq_c(entry->key, known[n]);
			if (is_known)
				continue;
			fine = false;
			meant = str_suggest(entry->key.p, known, ARRAY_SIZE(known));
			check_warn(out, entry->key.p, "containerd knows no %s%s%s%s", entry->key.p,
			           meant ? " (did you mean " : "", or_empty(meant),
			           meant ? "?)" : "");
			check_source(out, docs.all[i].path,
			             toml_place(docs.all[i].toml, entry->key_at).line);
		}
	}
	if (fine)
		check_ok(out, NULL, "nothing that containerd would ignore");
}

static void imports(const struct check_ctx *ctx, struct check_out *out)
{
	READ_OR_SKIP(docs)

	for (size_t i = 0; i < docs.count; i++) {
		const struct toml_value *list = toml_get(docs.all[i].toml->root, "imports");

		for (size_t k = 0; toml_is(list, TOML_ARRAY) && k < toml_count(list); k++) {
			const struct toml_value *item = toml_item_at(list, k);
			cleanup_free char *path =
				toml_is(item, TOML_STRING)
					? import_path(ctx, &docs.all[i], item->string)
					: NULL;

			if (!path || strchr(path, '*') || fsx_exists(path))
				continue;
			fine = false;
			check_fail(out, item->string.p,
			           "the import %s does not exist: those behind it are dropped",
			           item->string.p);
			at(out, &docs.all[i], item);
		}
	}
	if (fine)
		check_ok(out, NULL, "every import is there");
}

/* --- CRI settings */

static bool look_at_durations(const struct docs *docs, struct check_out *out,
                              const char *const *paths, size_t n)
{
	bool fine = true;

	for (size_t i = 0; i < n; i++) {
		struct found f = find(docs, paths[i]);

		if (!is_text(f) || mirror_duration_ms(f.value->string) >= 0)
			continue;
		fine = false;
		check_fail(out, paths[i],
		           "%s = \"%s\" is no duration: containerd's CRI does not start", paths[i],
		           f.value->string.p);
		at(out, f.doc, f.value);
	}
	return fine;
}

static void server(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const durations[] = { "stream_idle_timeout" };
	struct found tcp, tls, cert, key;
	READ_OR_SKIP(docs)

	fine = look_at_durations(&docs, out, durations, ARRAY_SIZE(durations));
	tcp = find(&docs, "disable_tcp_service");
	if (tcp.value && tcp.value->type != TOML_BOOL) {
		fine = false;
		check_fail(out, "disable_tcp_service",
		           "disable_tcp_service is no boolean: containerd's CRI does not start");
		at(out, tcp.doc, tcp.value);
	}
	tls = find(&docs, "enable_tls_streaming");
	cert = find(&docs, "x509_key_pair_streaming/tls_cert_file");
	key = find(&docs, "x509_key_pair_streaming/tls_key_file");
	if (is_true(tls) ? is_text(cert) != is_text(key) : is_text(cert) || is_text(key)) {
		fine = false;
		if (is_true(tls))
			check_fail(out, "enable_tls_streaming",
			           "streaming with TLS has a certificate or a key, but not both");
		else
			check_fail(
				out, "enable_tls_streaming",
				"there is a certificate or a key, but streaming with TLS is off");
		at(out, is_text(cert) ? cert.doc : key.doc, is_text(cert) ? cert.value : key.value);
	}
	if (fine)
		check_ok(out, NULL, "the streaming server's settings are accepted");
}

static bool look_at_runtime(const struct docs *docs, struct check_out *out, const struct doc *doc,
                            struct str name)
{
	cleanup_free char *copy = str_dup(name), *base = xasprintf("containerd/runtimes/%s/", copy);
	cleanup_free char *all =
		xasprintf("%sprivileged_without_host_devices_all_devices_allowed", base);
	cleanup_free char *without = xasprintf("%sprivileged_without_host_devices", base),
			  *io = xasprintf("%sio_type", base);
	struct found f = find(docs, all), io_type = find(docs, io);

	(void)doc;
	if (is_true(f) && !is_true(find(docs, without))) {
		check_fail(
			out, copy,
			"runtime %s: all devices are allowed, which needs privileged_without_host_devices",
			copy);
		at(out, f.doc, f.value);
		return false;
	}
	if (is_text(io_type) && !str_eq_c(io_type.value->string, "fifo") &&
	    !str_eq_c(io_type.value->string, "streaming")) {
		check_fail(out, copy, "runtime %s: io_type is neither fifo nor streaming", copy);
		at(out, io_type.doc, io_type.value);
		return false;
	}
	return true;
}

static void runtime(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const durations[] = { "drain_exec_sync_io_timeout" };
	struct found dflt, bin_dir, bin_dirs;
	READ_OR_SKIP(docs)

	fine = look_at_durations(&docs, out, durations, ARRAY_SIZE(durations));
	dflt = find(&docs, "containerd/default_runtime_name");
	if (dflt.value && !is_text(dflt)) {
		fine = false;
		check_fail(out, "default_runtime_name",
		           "default_runtime_name is empty: containerd's CRI does not start");
		at(out, dflt.doc, dflt.value);
	} else if (dflt.value && !str_eq_c(dflt.value->string, "runc")) { /* built in */
		cleanup_free char *path = xasprintf("containerd/runtimes/%s", dflt.value->string.p);

		if (!find(&docs, path).value) {
			fine = false;
			check_fail(out, "default_runtime_name",
			           "default_runtime_name is %s, and there is no such runtime",
			           dflt.value->string.p);
			at(out, dflt.doc, dflt.value);
		}
	}
	bin_dir = find(&docs, "cni/bin_dir");
	bin_dirs = find(&docs, "cni/bin_dirs");
	if (is_text(bin_dir) && toml_count(bin_dirs.value)) {
		fine = false;
		check_fail(out, "cni.bin_dir", "cni.bin_dir and cni.bin_dirs are both set");
		at(out, bin_dir.doc, bin_dir.value);
	}
	for (size_t i = 0; i < docs.count; i++) {
		const struct toml_value *tables[3];
		size_t n = cri_tables(&docs.all[i], tables);

		for (size_t t = 0; t < n; t++) {
			const struct toml_value *runtimes =
				toml_get(toml_get(tables[t], "containerd"), "runtimes");

			for (size_t k = 0;
			     toml_is(runtimes, TOML_TABLE) && k < toml_count(runtimes); k++)
				fine &= look_at_runtime(&docs, out, &docs.all[i],
				                        toml_entry_at(runtimes, k)->key);
		}
	}
	if (fine)
		check_ok(out, NULL, "the runtimes' settings are accepted");
}

static void registry(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const durations[] = { "image_pull_progress_timeout" };
	struct found path, mirrors, auths;
	READ_OR_SKIP(docs)

	fine = look_at_durations(&docs, out, durations, ARRAY_SIZE(durations));
	path = find(&docs, "registry/config_path");
	mirrors = find(&docs, "registry/mirrors");
	if (is_text(path) && toml_count(mirrors.value)) {
		fine = false;
		check_fail(
			out, "registry.mirrors",
			"registry.mirrors together with config_path: containerd's CRI does not start");
		at(out, path.doc, path.value);
	}
	auths = find(&docs, "registry/auths");
	for (size_t i = 0; toml_is(auths.value, TOML_TABLE) && i < toml_count(auths.value); i++) {
		const struct toml_entry *entry = toml_entry_at(auths.value, i);

		if (memmem(entry->key.p, entry->key.len, "://", 3))
			continue;
		fine = false;
		check_fail(out, entry->key.p, "registry.auths.%s is no URL", entry->key.p);
		at(out, auths.doc, entry->value);
	}
	if (fine)
		check_ok(out, NULL, "the registries' settings are accepted");
}

static void deprecated(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *path, *id, *instead;
	} settings[] = {
		{ "registry/mirrors", "cri-registry-mirrors",
		  "hosts.toml files below registry.config_path" },
		{ "registry/configs", "cri-registry-configs",
		  "hosts.toml files below registry.config_path" },
		{ "registry/auths", "cri-registry-auths", "image pull secrets" },
		{ "cni/bin_dir", "cri-cni-bin-dir", "cni.bin_dirs" },
	};
	struct found f;
	READ_OR_SKIP(docs)

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		f = find(&docs, settings[i].path);
		if (!f.value || (f.value->type == TOML_TABLE && !toml_count(f.value)) ||
		    (f.value->type == TOML_STRING && !f.value->string.len))
			continue;
		fine = false;
		check_warn(out, settings[i].id, "%s is deprecated (" DEPRECATED "%s)",
		           settings[i].path, settings[i].id);
		at(out, f.doc, f.value);
		check_hint(out,
		           "use %s; coracle migrate-config --report shows where everything goes",
		           settings[i].instead);
	}
	f = find(&docs, "enable_cdi");
	if (f.value && toml_is(f.value, TOML_BOOL) && !f.value->boolean) {
		fine = false;
		check_warn(out, "enable-cdi",
		           "enable_cdi = false is deprecated (" DEPRECATED "enable-cdi)");
		at(out, f.doc, f.value);
	}
	if (fine)
		check_ok(out, NULL, "nothing deprecated");
}

static const struct check checks[] = {
	{ "containerd.syntax", CHECK_FAIL, CHECK_ASKED, syntax },
	{ "containerd.version", CHECK_FAIL, CHECK_ASKED, version },
	{ "containerd.lists", CHECK_FAIL, CHECK_ASKED, lists },
	{ "containerd.plugin-names", CHECK_WARN, CHECK_ASKED, plugin_names },
	{ "containerd.unknown", CHECK_WARN, CHECK_ASKED, unknown },
	{ "containerd.imports", CHECK_FAIL, CHECK_ASKED, imports },
	{ "containerd.server", CHECK_FAIL, CHECK_ASKED, server },
	{ "containerd.runtime", CHECK_FAIL, CHECK_ASKED, runtime },
	{ "containerd.registry", CHECK_FAIL, CHECK_ASKED, registry },
	{ "containerd.deprecated", CHECK_WARN, CHECK_ASKED, deprecated },
};

const struct check_group check_group_containerd = { "containerd", checks, ARRAY_SIZE(checks) };
