#include "cmd/check/containerd_conf.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/migrate/edit.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define DEFAULT_FILE "/etc/containerd/config.toml"

void containerd_conf_release(struct containerd_conf *conf)
{
	for (size_t i = 0; i < conf->count; i++) {
		free(conf->all[i].path);
		toml_free(conf->all[i].toml);
	}
	conf->count = 0;
}

/* --- reading */

static bool is_known(const struct containerd_conf *conf, const struct stat *st)
{
	for (size_t i = 0; i < conf->count; i++)
		if (conf->all[i].dev == st->st_dev && conf->all[i].ino == st->st_ino)
			return true;
	return false;
}

static struct toml *parse(const char *path, const char *text, size_t len, struct check_out *out)
{
	struct toml_fault fault = { .text = "" };
	struct err err = { .code = CODE_OK };
	struct toml *toml = toml_parse(path, text, len, &fault, &err);

	if (!toml && out) {
		check_fail(out, path, "%s", fault.place.line ? fault.text : err.msg);
		check_source(out, path, fault.place.line);
	}
	return toml;
}

/* False after @out (may be NULL) was told why. */
static bool add_file(struct containerd_conf *conf, const char *path, struct check_out *out)
{
	struct err err = { .code = CODE_OK };
	cleanup_free char *text = NULL;
	const struct toml_value *version;
	struct stat st = { .st_dev = 0 };
	struct toml *toml;
	size_t len = 0;

	if (stat(path, &st) == 0 && is_known(conf, &st))
		return true;
	if (conf->count == CONTAINERD_MAX_FILES)
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "too many imports");
	else
		ignore(file_read_all(path, TOML_MAX_BYTES, &text, &len, &err) < 0); /* @err says */
	if (!text && out)
		check_fail(out, path, "%s", err.msg);
	toml = text ? parse(path, text, len, out) : NULL;
	if (!toml)
		return false;
	version = toml_get(toml->root, "version");
	conf->all[conf->count++] = (struct containerd_file){
		.path = xstrdup(path),
		.dev = st.st_dev,
		.ino = st.st_ino,
		.toml = toml,
		.version = toml_is(version, TOML_INTEGER) ? version->integer : 0,
	};
	return true;
}

char *containerd_import(const struct check_ctx *ctx, const struct containerd_file *file,
                        struct str import)
{
	const char *slash = strrchr(file->path, '/');

	if (str_starts(import, "/"))
		return xasprintf("%s" STR_FMT, ctx->sysroot, STR_ARG(import));
	return xasprintf("%.*s/" STR_FMT, (int)(slash ? slash - file->path : 0), file->path,
	                 STR_ARG(import));
}

static void add_imports(const struct check_ctx *ctx, struct containerd_conf *conf, size_t i,
                        struct check_out *out)
{
	const struct toml_value *imports = toml_get(conf->all[i].toml->root, "imports");

	for (size_t k = 0; toml_is(imports, TOML_ARRAY) && k < toml_count(imports); k++) {
		const struct toml_value *import = toml_item_at(imports, k);
		cleanup_free char *pattern = NULL;
		glob_t found;

		if (!toml_is(import, TOML_STRING))
			continue;
		pattern = containerd_import(ctx, &conf->all[i], import->string);
		if (glob(pattern, 0, NULL, &found) != 0)
			continue;
		for (size_t n = 0; n < found.gl_pathc; n++)
			ignore(add_file(conf, found.gl_pathv[n], out)); /* @out was told */
		globfree(&found);
	}
}

bool containerd_read(const struct check_ctx *ctx, struct containerd_conf *ret,
                     struct check_out *out)
{
	cleanup_free char *path = check_path(ctx, ctx->containerd ? ctx->containerd : DEFAULT_FILE);

	ret->count = 0;
	if (!add_file(ret, path, out))
		return false;
	for (size_t i = 0; i < ret->count; i++)
		add_imports(ctx, ret, i, out);
	return true;
}

/* --- looking up */

/* The tables of a file in which a CRI setting may stand. Since version 3 the old one has what concerns the server. */
static size_t cri_tables(const struct containerd_file *file, const char *path,
                         const struct toml_value *ret[3])
{
	const struct toml_value *plugins = toml_get(file->toml->root, "plugins");
	struct str first = { path, strcspn(path, "/") };
	size_t n = 0;

	if (file->version < MIGRATE_FROM || migrate_keeps(first, true))
		ret[n++] = toml_get(plugins, MIGRATE_CRI);
	if (file->version < 2)
		ret[n++] = toml_get(plugins, MIGRATE_CRI_SHORT);
	if (file->version >= MIGRATE_FROM) {
		ret[n++] = toml_get(plugins, MIGRATE_CRI_RUNTIME);
		ret[n++] = toml_get(plugins, MIGRATE_CRI_IMAGES);
	}
	return n;
}

static const struct toml_value *find_in(const struct containerd_file *file, const char *path)
{
	const struct toml_value *tables[3];
	size_t n = cri_tables(file, path, tables);

	for (size_t t = 0; t < n; t++) {
		const struct toml_value *value = tables[t];
		struct str rest = str_of(path), part;

		while (rest.len && value) {
			str_cut(rest, '/', &part, &rest);
			value = toml_get_str(value, part);
		}
		if (value)
			return value;
	}
	return NULL;
}

struct setting containerd_find(const struct containerd_conf *conf, const char *path)
{
	for (size_t i = conf->count; i-- > 0;) {
		const struct toml_value *value = find_in(&conf->all[i], path);

		if (value)
			return (struct setting){ &conf->all[i], value };
	}
	return (struct setting){ NULL, NULL };
}

struct setting containerd_plugin(const struct containerd_conf *conf, const char *name,
                                 const char *old_name, const char *key)
{
	for (size_t i = conf->count; i-- > 0;) {
		const struct containerd_file *file = &conf->all[i];
		const struct toml_value *plugins = toml_get(file->toml->root, "plugins"), *value;

		value = toml_get(toml_get(plugins, name), key);
		if (!value && file->version < 2)
			value = toml_get(toml_get(plugins, old_name), key);
		if (value)
			return (struct setting){ file, value };
	}
	return (struct setting){ NULL, NULL };
}

bool setting_is_text(struct setting s)
{
	return toml_is(s.value, TOML_STRING) && s.value->string.len;
}

bool setting_is_true(struct setting s)
{
	return toml_is(s.value, TOML_BOOL) && s.value->boolean;
}

bool setting_is_set(struct setting s)
{
	if (!s.value)
		return false;
	switch ((enum toml_type)s.value->type) {
	case TOML_STRING:
		return s.value->string.len > 0;
	case TOML_INTEGER:
		return s.value->integer != 0;
	case TOML_FLOAT:
		return s.value->real < 0 || s.value->real > 0;
	case TOML_BOOL:
		return s.value->boolean;
	case TOML_ARRAY:
	case TOML_TABLE:
		return toml_count(s.value) > 0;
	case TOML_DATETIME:
	case TOML_DATETIME_LOCAL:
	case TOML_DATE_LOCAL:
	case TOML_TIME_LOCAL:
		break;
	}
	return true;
}

void containerd_each_runtime(const struct containerd_conf *conf, containerd_runtime_fn fn,
                             void *arg)
{
	for (size_t i = 0; i < conf->count; i++) {
		const struct containerd_file *file = &conf->all[i];
		const struct toml_value *runtimes = find_in(file, "containerd/runtimes");

		for (size_t k = 0; toml_is(runtimes, TOML_TABLE) && k < toml_count(runtimes); k++) {
			const char *name = toml_entry_at(runtimes, k)->key.p;
			cleanup_free char *path = xasprintf("containerd/runtimes/%s", name);

			if (containerd_find(conf, path).file == file)
				fn(arg, file, name);
		}
	}
}

void containerd_source(struct check_out *out, const struct containerd_file *file,
                       const struct toml_value *value)
{
	check_source(out, file->path, value ? toml_place(file->toml, value->start).line : 0);
}
