/* cmd/check/check_containerd.c
 *
 * containerd's own rules for its configuration, as its CRI plugins apply them at start: what it would refuse, what it
 * would ignore, and what it calls deprecated. For nodes that still run it, and before coracle migrate-config.
 *
 * Rules that only containerd 1.x has are applied to files of version 2 and older: newer ones ignore those settings.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/check/check.h"
#include "cmd/check/containerd_conf.h"
#include "cmd/migrate/edit.h"
#include "core/base/buf.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/value.h"
#include "core/image/tls.h"

#define SHORTEST_PARTS 4 /* of a plugin's full name */
#define DEPRECATED     "io.containerd.deprecation/"
#define PLAIN_V1       "io.containerd.runtime.v1.linux" /* the shim of containerd 1.0 to 1.3 */
#define RUNC           "runc"
#define RUNC_TYPE      "io.containerd.runc.v2" /* of the built-in runtime, since 1.4 */

#define READ_OR_SKIP(conf)                                                                         \
	cleanup(containerd_conf_release) struct containerd_conf conf = { .count = 0 };             \
	bool fine = true;                                                                          \
	if (!containerd_read(ctx, &conf, NULL)) {                                                  \
		check_skip(out, NULL, "the file cannot be read");                                  \
		return;                                                                            \
	}

/* --- file level */

static void syntax(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(containerd_conf_release) struct containerd_conf conf = { .count = 0 };

	if (containerd_read(ctx, &conf, out))
		check_ok(out, NULL, "%s and %zu imports", conf.all[0].path, conf.count - 1);
}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	READ_OR_SKIP(conf)

	for (size_t i = 0; i < conf.count; i++) {
		const struct toml_value *value = toml_get(conf.all[i].toml->root, "version");

		if (!value || (value->type == TOML_INTEGER && value->integer >= 0 &&
		               value->integer <= MIGRATE_NEWEST))
			continue;
		fine = false;
		check_fail(out, conf.all[i].path,
		           "version is not one of 0 to %d: containerd does not start",
		           MIGRATE_NEWEST);
		containerd_source(out, &conf.all[i], value);
	}
	if (fine && conf.all[0].version < MIGRATE_FROM)
		check_ok(out, NULL,
		         "version %lld; coracle migrate-config cleans up what newer ones ignore",
		         (long long)conf.all[0].version);
	else if (fine)
		check_ok(out, NULL, "version %lld", (long long)conf.all[0].version);
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
	READ_OR_SKIP(conf)

	for (size_t i = 0; i < conf.count; i++) {
		for (size_t n = 0; n < ARRAY_SIZE(names) && conf.all[i].version >= 2; n++) {
			const struct toml_value *list = toml_get(conf.all[i].toml->root, names[n]);

			for (size_t k = 0; toml_is(list, TOML_ARRAY) && k < toml_count(list); k++) {
				const struct toml_value *item = toml_item_at(list, k);

				if (!toml_is(item, TOML_STRING) || dots_in(item->string))
					continue;
				fine = false;
				check_fail(
					out, item->string.p,
					"%s names \"%s\": full names only since version 2, containerd does not start",
					names[n], item->string.p);
				containerd_source(out, &conf.all[i], item);
			}
		}
	}
	if (fine)
		check_ok(out, NULL, "disabled and required plugins have full names");
}

static void plugin_names(const struct check_ctx *ctx, struct check_out *out)
{
	READ_OR_SKIP(conf)

	for (size_t i = 0; i < conf.count; i++) {
		const struct toml_value *plugins = toml_get(conf.all[i].toml->root, "plugins");

		for (size_t k = 0; conf.all[i].version >= 2 && k < toml_count(plugins); k++) {
			const struct toml_entry *entry = toml_entry_at(plugins, k);

			if (dots_in(entry->key) + 1 >= SHORTEST_PARTS)
				continue;
			fine = false;
			check_warn(out, entry->key.p,
			           "plugins.%s is no full name: containerd ignores the table",
			           entry->key.p);
			check_source(out, conf.all[i].path,
			             toml_place(conf.all[i].toml, entry->key_at).line);
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
	READ_OR_SKIP(conf)

	for (size_t i = 0; i < conf.count; i++) {
		for (size_t k = 0; k < toml_count(conf.all[i].toml->root); k++) {
			const struct toml_entry *entry = toml_entry_at(conf.all[i].toml->root, k);
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
			check_source(out, conf.all[i].path,
			             toml_place(conf.all[i].toml, entry->key_at).line);
		}
	}
	if (fine)
		check_ok(out, NULL, "nothing that containerd would ignore");
}

static void imports(const struct check_ctx *ctx, struct check_out *out)
{
	READ_OR_SKIP(conf)

	for (size_t i = 0; i < conf.count; i++) {
		const struct toml_value *list = toml_get(conf.all[i].toml->root, "imports");

		for (size_t k = 0; toml_is(list, TOML_ARRAY) && k < toml_count(list); k++) {
			const struct toml_value *item = toml_item_at(list, k);
			cleanup_free char *path =
				toml_is(item, TOML_STRING)
					? containerd_import(ctx, &conf.all[i], item->string)
					: NULL;

			if (!path || strchr(path, '*') || fsx_exists(path))
				continue;
			fine = false;
			check_fail(out, item->string.p,
			           "the import %s does not exist: those behind it are dropped",
			           item->string.p);
			containerd_source(out, &conf.all[i], item);
		}
	}
	if (fine)
		check_ok(out, NULL, "every import is there");
}

/* --- CRI settings */

/* containerd's CRI does not start with this. Returns false. */
static PRINTF_LIKE(4, 5) bool refuse(struct check_out *out, struct setting setting,
                                     const char *object, const char *fmt, ...)
{
	char text[CHECK_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	check_fail(out, object, "%s: containerd's CRI does not start", text);
	if (setting.file)
		containerd_source(out, setting.file, setting.value);
	return false;
}

/* Does the file that says it belong to containerd 1.x? */
static bool is_old(struct setting setting)
{
	return setting.file && setting.file->version < MIGRATE_FROM;
}

/* As the Go language reads it. */
static bool is_duration(struct str text)
{
	int64_t ns;

	if (text.len && (*text.p == '-' || *text.p == '+'))
		text.p++;
	return value_duration(text.p, &ns) == 0;
}

static bool look_at_duration(const struct containerd_conf *conf, struct check_out *out,
                             const char *path)
{
	struct setting s = containerd_find(conf, path);

	if (!setting_is_text(s) || is_duration(s.value->string))
		return true;
	return refuse(out, s, path, "\"%s\" is no duration", s.value->string.p);
}

/* A PEM file of the streaming server; heap. NULL where it cannot be read: *ret_fine is false after a report. */
static char *read_pem(const struct check_ctx *ctx, struct check_out *out, struct setting s,
                      bool *ret_fine)
{
	char *text = check_read(ctx, s.value->string.p);

	/* Without root we may not see what containerd does. */
	if (!text && errno != EACCES)
		*ret_fine = refuse(out, s, "x509_key_pair_streaming", "%s: %s", s.value->string.p,
		                   errno_name(errno));
	return text;
}

static bool look_at_pair(const struct check_ctx *ctx, struct check_out *out, struct setting cert,
                         struct setting key)
{
	bool fine = true;
	cleanup_free char *cert_pem = read_pem(ctx, out, cert, &fine),
			  *key_pem = read_pem(ctx, out, key, &fine);
	cleanup(tls_trust_free) struct tls_trust *trust = NULL;
	struct err err;

	if (!cert_pem || !key_pem)
		return fine;
	trust = tls_trust_new(
		&(struct tls_trust_args){ .client_cert = cert_pem, .client_key = key_pem }, &err);
	return trust ||
	       refuse(out, cert, "x509_key_pair_streaming", "no pair of a certificate and its key");
}

static bool look_at_streaming(const struct check_ctx *ctx, const struct containerd_conf *conf,
                              struct check_out *out)
{
	struct setting tls = containerd_find(conf, "enable_tls_streaming"),
		       cert = containerd_find(conf, "x509_key_pair_streaming/tls_cert_file"),
		       key = containerd_find(conf, "x509_key_pair_streaming/tls_key_file");
	bool has_cert = setting_is_text(cert), has_key = setting_is_text(key);

	if (!setting_is_true(tls)) {
		if (!has_cert && !has_key)
			return true;
		return refuse(out, has_cert ? cert : key, "enable_tls_streaming",
		              "there is a %s, but streaming with TLS is off",
		              has_cert ? "certificate" : "key");
	}
	if (has_cert != has_key)
		return refuse(out, has_cert ? cert : key, "x509_key_pair_streaming",
		              "streaming with TLS has a %s, but no %s",
		              has_cert ? "certificate" : "key", has_cert ? "key" : "certificate");
	return !has_cert || look_at_pair(ctx, out, cert, key); /* none: containerd makes its own */
}

static void server(const struct check_ctx *ctx, struct check_out *out)
{
	struct setting tcp;
	READ_OR_SKIP(conf)

	fine = look_at_duration(&conf, out, "stream_idle_timeout");
	tcp = containerd_find(&conf, "disable_tcp_service");
	if (tcp.value && tcp.value->type != TOML_BOOL)
		fine = refuse(out, tcp, "disable_tcp_service", "no boolean");
	fine &= look_at_streaming(ctx, &conf, out);
	if (fine)
		check_ok(out, NULL, "the streaming server's settings are accepted");
}

/* --- runtimes */

struct look {
	const struct check_ctx *ctx;
	const struct containerd_conf *conf;
	struct check_out *out;
	bool fine;
};

/* A setting of a runtime, or of the table that stands for one: "containerd/runtimes/NAME" and "runtime_type". */
static struct setting of_runtime(const struct containerd_conf *conf, const char *name,
                                 const char *key)
{
	cleanup_free char *path = xasprintf("containerd/runtimes/%s/%s", name, key);

	return containerd_find(conf, path);
}

static bool is_plain_v1(const struct containerd_conf *conf, const char *name)
{
	struct setting type = of_runtime(conf, name, "runtime_type");

	return setting_is_text(type) && str_eq_c(type.value->string, PLAIN_V1);
}

static void look_at_runtime(void *arg, const struct containerd_file *file UNUSED, const char *name)
{
	static const char *const v1_only[] = { "runtime_engine", "runtime_root" };
	struct look *look = arg;
	const struct containerd_conf *conf = look->conf;
	struct setting all =
		of_runtime(conf, name, "privileged_without_host_devices_all_devices_allowed");
	struct setting io = of_runtime(conf, name, "io_type");
	struct setting writable = of_runtime(conf, name, "cgroup_writable");

	if (setting_is_true(all) &&
	    !setting_is_true(of_runtime(conf, name, "privileged_without_host_devices")))
		look->fine = refuse(
			look->out, all, name,
			"all devices are allowed, which needs privileged_without_host_devices");
	if (setting_is_text(io) && !str_eq_c(io.value->string, "fifo") &&
	    !str_eq_c(io.value->string, "streaming"))
		look->fine = refuse(look->out, io, name, "io_type is neither fifo nor streaming");
	if (setting_is_true(writable) &&
	    !check_exists(look->ctx, "/sys/fs/cgroup/cgroup.controllers"))
		look->fine = refuse(look->out, writable, name, "cgroup_writable needs cgroup v2");
	for (size_t i = 0; i < ARRAY_SIZE(v1_only); i++) {
		struct setting s = of_runtime(conf, name, v1_only[i]);

		if (is_old(s) && setting_is_text(s) && !is_plain_v1(conf, name))
			look->fine = refuse(look->out, s, name, "%s is for the type " PLAIN_V1,
			                    v1_only[i]);
	}
}

/* The runtimes that had a table of their own in containerd 1.x; without a type they are not there. */
static bool has_old_runtime(const struct containerd_conf *conf, const char *name,
                            struct setting *ret_type)
{
	cleanup_free char *path = xasprintf("containerd/%s/runtime_type", name);

	*ret_type = containerd_find(conf, path);
	return is_old(*ret_type) && setting_is_text(*ret_type);
}

static bool look_at_default(const struct containerd_conf *conf, struct check_out *out)
{
	struct setting dflt = containerd_find(conf, "containerd/default_runtime_name"), type;
	cleanup_free char *path = NULL;

	if (!dflt.value || has_old_runtime(conf, "default_runtime", &type))
		return true;
	if (!setting_is_text(dflt))
		return refuse(out, dflt, "default_runtime_name", "empty");
	path = xasprintf("containerd/runtimes/%s", dflt.value->string.p);
	if (str_eq_c(dflt.value->string, RUNC) || containerd_find(conf, path).value)
		return true;
	return refuse(out, dflt, "default_runtime_name", "there is no runtime %s",
	              dflt.value->string.p);
}

/* The type of what pods get that name no handler. */
static struct str default_type(const struct containerd_conf *conf)
{
	struct setting name = containerd_find(conf, "containerd/default_runtime_name"), type;

	if (has_old_runtime(conf, "default_runtime", &type))
		return type.value->string;
	type = of_runtime(conf, setting_is_text(name) ? name.value->string.p : RUNC,
	                  "runtime_type");
	return setting_is_text(type) ? type.value->string : STR(RUNC_TYPE);
}

/* What only containerd 1.x judges. */
static bool look_at_old_settings(const struct containerd_conf *conf, struct check_out *out)
{
	static const char *const v1_only[] = { "systemd_cgroup", "containerd/no_pivot" };
	struct setting untrusted, type;
	bool fine = true;

	untrusted = containerd_find(conf, "containerd/runtimes/untrusted");
	if (has_old_runtime(conf, "untrusted_workload_runtime", &type) && untrusted.value)
		fine = refuse(
			out, untrusted, "untrusted",
			"untrusted_workload_runtime and runtimes.untrusted exclude each other");
	for (size_t i = 0; i < ARRAY_SIZE(v1_only); i++) {
		struct setting s = containerd_find(conf, v1_only[i]);

		if (is_old(s) && setting_is_true(s) && !str_eq_c(default_type(conf), PLAIN_V1))
			fine = refuse(out, s, v1_only[i],
			              "only for a default runtime of type " PLAIN_V1);
	}
	if (has_old_runtime(conf, "default_runtime", &type)) {
		fine = false;
		check_warn(out, "default_runtime",
		           "has a type: it is the default, whatever default_runtime_name says");
		containerd_source(out, type.file, type.value);
	}
	return fine;
}

static bool look_at_bin_dirs(const struct containerd_conf *conf, struct check_out *out)
{
	struct setting dir = containerd_find(conf, "cni/bin_dir"),
		       dirs = containerd_find(conf, "cni/bin_dirs");
	const struct toml_value *first =
		toml_count(dirs.value) == 1 ? toml_item_at(dirs.value, 0) : NULL;
	bool is_default =
		first && toml_is(first, TOML_STRING) && str_eq_c(first->string, "/opt/cni/bin");

	if (!setting_is_text(dir) || !toml_count(dirs.value) || is_default)
		return true;
	return refuse(out, dir, "cni.bin_dir", "cni.bin_dirs is set as well");
}

/* Both are on since containerd 2.0 unless switched off. */
static bool look_at_kernel(const struct look *look)
{
	static const char *const names[] = { "enable_unprivileged_ports",
		                             "enable_unprivileged_icmp" };
	cleanup_free char *release = check_read(look->ctx, "/proc/sys/kernel/osrelease");
	unsigned int major, minor;
	bool fine = true;

	if (!release || sscanf(release, "%u.%u", &major, &minor) != 2 || major > 4 ||
	    (major == 4 && minor >= 11))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct setting s = containerd_find(look->conf, names[i]);

		if (s.value ? setting_is_true(s) : look->conf->all[0].version >= MIGRATE_FROM)
			fine = refuse(look->out, s, names[i], "needs Linux 4.11 or newer%s",
			              s.value ? "" : "; it is on by default");
	}
	return fine;
}

static void runtime(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const durations[] = { "drain_exec_sync_io_timeout",
		                                 "stats_collect_period", "stats_retention_period" };
	struct look look = { .ctx = ctx, .out = out, .fine = true };
	READ_OR_SKIP(conf)

	look.conf = &conf;
	for (size_t i = 0; i < ARRAY_SIZE(durations); i++)
		fine &= look_at_duration(&conf, out, durations[i]);
	fine &= look_at_default(&conf, out);
	fine &= look_at_old_settings(&conf, out);
	fine &= look_at_bin_dirs(&conf, out);
	fine &= look_at_kernel(&look);
	containerd_each_runtime(&conf, look_at_runtime, &look);
	if (fine && look.fine)
		check_ok(out, NULL, "the runtimes' settings are accepted");
}

/* --- images */

/* What makes containerd fetch images itself and not through its transfer service; "" for nothing. */
static void local_pull(const struct containerd_conf *conf, struct buf *ret)
{
	static const struct {
		const char *path; /* version 2, or anywhere */
		bool dflt;
	} settings[] = {
		{ "containerd/disable_snapshot_annotations", true },
		{ "disable_snapshot_annotations", true },
		{ "containerd/discard_unpacked_layers", false },
		{ "discard_unpacked_layers", false },
		{ "image_pull_with_sync_fs", false },
	};
	static const char *const tables[] = { "registry/mirrors", "registry/configs",
		                              "registry/auths" };
	struct setting max = containerd_find(conf, "max_concurrent_downloads");

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		struct setting s = containerd_find(conf, settings[i].path);

		if (toml_is(s.value, TOML_BOOL) && s.value->boolean != settings[i].dflt)
			ignore(buf_printf(ret, " %s", settings[i].path) < 0); /* a list to read */
	}
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		if (setting_is_set(containerd_find(conf, tables[i])))
			ignore(buf_printf(ret, " %s", tables[i]) < 0);
	if (toml_is(max.value, TOML_INTEGER) && max.value->integer != 3)
		ignore(buf_printf(ret, " max_concurrent_downloads") < 0);
}

/* Certificates of containerd 1.x, which exclude config_path as mirrors do. */
static bool look_at_tls(const struct containerd_conf *conf, struct check_out *out)
{
	struct setting configs = containerd_find(conf, "registry/configs");
	bool fine = true;

	for (size_t i = 0; toml_is(configs.value, TOML_TABLE) && i < toml_count(configs.value);
	     i++) {
		const struct toml_entry *entry = toml_entry_at(configs.value, i);
		struct setting tls = { configs.file, toml_get(entry->value, "tls") };

		if (is_old(tls) && tls.value)
			fine = refuse(out, tls, entry->key.p,
			              "registry.configs.*.tls together with config_path");
	}
	return fine;
}

static bool look_at_auths(const struct containerd_conf *conf, struct check_out *out)
{
	struct setting auths = containerd_find(conf, "registry/auths");
	bool fine = true;

	for (size_t i = 0; toml_is(auths.value, TOML_TABLE) && i < toml_count(auths.value); i++) {
		const struct toml_entry *entry = toml_entry_at(auths.value, i);

		if (!memmem(entry->key.p, entry->key.len, "://", 3))
			fine = refuse(out, (struct setting){ auths.file, entry->value },
			              entry->key.p, "a key of registry.auths is a URL");
	}
	return fine;
}

static void registry(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(buf_release) struct buf local = { 0 };
	struct setting path;
	READ_OR_SKIP(conf)

	buf_init(&local, CHECK_TEXT_MAX);
	fine = look_at_duration(&conf, out, "image_pull_progress_timeout");
	path = containerd_find(&conf, "registry/config_path");
	if (setting_is_text(path)) {
		if (setting_is_set(containerd_find(&conf, "registry/mirrors")))
			fine = refuse(out, path, "registry.mirrors",
			              "registry.mirrors together with config_path");
		fine &= look_at_tls(&conf, out);
	}
	fine &= look_at_auths(&conf, out);
	local_pull(&conf, &local);
	if (fine)
		check_ok(out, NULL, "the registries' settings are accepted%s%s",
		         local.len ? "; images are not pulled by the transfer service because of"
		                   : "",
		         or_empty(local.data));
}

/* --- deprecated */

struct deprecations {
	struct look look;
	struct setting ignored; /* ignore_deprecation_warnings */
};

static bool is_ignored(const struct deprecations *d, const char *id)
{
	cleanup_free char *full = xasprintf(DEPRECATED "%s", id);

	for (size_t i = 0;
	     toml_is(d->ignored.value, TOML_ARRAY) && i < toml_count(d->ignored.value); i++) {
		const struct toml_value *item = toml_item_at(d->ignored.value, i);

		if (toml_is(item, TOML_STRING) && str_eq_c(item->string, full))
			return true;
	}
	return false;
}

static void deprecate(struct deprecations *d, struct setting s, const char *what, const char *id,
                      const char *instead)
{
	if (is_ignored(d, id))
		return;
	d->look.fine = false;
	check_warn(d->look.out, id, "%s is deprecated (" DEPRECATED "%s)", what, id);
	if (s.file)
		containerd_source(d->look.out, s.file, s.value);
	check_hint(d->look.out, "%s", instead);
}

static void deprecate_cri(struct deprecations *d)
{
	static const char hosts[] =
		"use hosts.toml files below registry.config_path; coracle migrate-config --hosts-out writes them";
	static const struct {
		const char *path, *id, *instead;
	} settings[] = {
		{ "registry/mirrors", "cri-registry-mirrors", hosts },
		{ "registry/configs", "cri-registry-configs", hosts },
		{ "registry/auths", "cri-registry-auths", "use image pull secrets" },
		{ "cni/bin_dir", "cri-cni-bin-dir", "use cni.bin_dirs" },
	};
	struct setting cdi = containerd_find(d->look.conf, "enable_cdi");

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		struct setting s = containerd_find(d->look.conf, settings[i].path);

		if (setting_is_set(s))
			deprecate(d, s, settings[i].path, settings[i].id, settings[i].instead);
	}
	if (toml_is(cdi.value, TOML_BOOL) && !cdi.value->boolean)
		deprecate(d, cdi, "enable_cdi = false", "enable-cdi", "leave CDI on");
}

static void deprecate_plugins(struct deprecations *d)
{
	static const struct {
		const char *name, *old_name, *key, *id;
	} settings[] = {
		{ "io.containerd.internal.v1.tracing", "tracing", "service_name",
		  "tracing-service-config" },
		{ "io.containerd.internal.v1.tracing", "tracing", "sampling_ratio",
		  "tracing-service-config" },
		{ "io.containerd.tracing.processor.v1.otlp", "otlp", "endpoint",
		  "tracing-processor-config" },
		{ "io.containerd.tracing.processor.v1.otlp", "otlp", "protocol",
		  "tracing-processor-config" },
		{ "io.containerd.tracing.processor.v1.otlp", "otlp", "insecure",
		  "tracing-processor-config" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		struct setting s = containerd_plugin(d->look.conf, settings[i].name,
		                                     settings[i].old_name, settings[i].key);

		if (setting_is_set(s))
			deprecate(d, s, settings[i].key, settings[i].id,
			          "use the environment variables OTEL_...");
	}
	/* What its client reads; nri-plugin-interface shows only while a plugin is connected. */
	if (check_exists(d->look.ctx, "/etc/nri/conf.json"))
		deprecate(d, (struct setting){ NULL, NULL }, "/etc/nri/conf.json",
		          "nri-v010-plugin", "run the plugins of NRI 0.1.0 through v010-adapter");
}

static void deprecate_runc_options(void *arg, const struct containerd_file *file UNUSED,
                                   const char *name)
{
	struct deprecations *d = arg;
	struct setting address = of_runtime(d->look.conf, name, "options/TaskApiAddress");
	struct setting version = of_runtime(d->look.conf, name, "options/TaskApiVersion");

	if (setting_is_set(address))
		deprecate(d, address, "TaskApiAddress", "runc-options-task-api-address",
		          "leave it to the shim");
	if (setting_is_set(version))
		deprecate(d, version, "TaskApiVersion", "runc-options-task-api-version",
		          "leave it to the shim");
}

static void deprecated(const struct check_ctx *ctx, struct check_out *out)
{
	struct deprecations d = { .look = { .ctx = ctx, .out = out, .fine = true } };
	READ_OR_SKIP(conf)

	d.look.conf = &conf;
	d.ignored = containerd_find(&conf, "ignore_deprecation_warnings");
	deprecate_cri(&d);
	deprecate_plugins(&d);
	containerd_each_runtime(&conf, deprecate_runc_options, &d);
	if (fine && d.look.fine)
		check_ok(out, NULL, "nothing deprecated");
}

static const struct check checks[] = {
	{ "containerd.syntax", CHECK_FAIL, 0, syntax },
	{ "containerd.version", CHECK_FAIL, 0, version },
	{ "containerd.lists", CHECK_FAIL, 0, lists },
	{ "containerd.plugin-names", CHECK_WARN, 0, plugin_names },
	{ "containerd.unknown", CHECK_WARN, 0, unknown },
	{ "containerd.imports", CHECK_FAIL, 0, imports },
	{ "containerd.server", CHECK_FAIL, 0, server },
	{ "containerd.runtime", CHECK_FAIL, 0, runtime },
	{ "containerd.registry", CHECK_FAIL, 0, registry },
	{ "containerd.deprecated", CHECK_WARN, 0, deprecated },
};

const struct check_group check_group_containerd = { "containerd", checks, ARRAY_SIZE(checks) };
