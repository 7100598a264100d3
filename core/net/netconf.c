#include "core/net/netconf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define NEWEST_MAJOR                                                                               \
	1 /* 1.1.0 is what we speak; a list that names a later version as well is used with an earlier one */
#define NEWEST_MINOR 1

struct version {
	unsigned major, minor, patch;
};

static int parse_version(const char *text, struct version *ret)
{
	struct str rest = str_of(text), part;
	unsigned *parts[] = { &ret->major, &ret->minor, &ret->patch };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t number;
		bool more = str_cut(rest, '.', &part, &rest);

		if (more != (i + 1 < ARRAY_SIZE(parts)) || str_u64(part, 1000, &number) < 0)
			return -1;
		*parts[i] = (unsigned)number;
	}
	return 0;
}

static int compare_versions(struct version a, struct version b)
{
	if (a.major != b.major)
		return a.major < b.major ? -1 : 1;
	if (a.minor != b.minor)
		return a.minor < b.minor ? -1 : 1;
	return a.patch < b.patch ? -1 : a.patch > b.patch;
}

bool netconf_at_least(const struct netconf *conf, unsigned major, unsigned minor)
{
	struct version have, want = { major, minor, 0 };

	return parse_version(conf->version, &have) == 0 && compare_versions(have, want) >= 0;
}

bool netconf_is_name(const char *name)
{
	static const char alnum[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	return name[0] && strchr(alnum, name[0]) &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
	               strlen(name);
}

/* The list's version: the newest that both sides know of cniVersion and cniVersions; lists without any are 0.1.0. */
static int choose_version(yyjson_val *root, const char **ret, const char *file, struct err *err)
{
	const char *single = json_str(root, "cniVersion", NULL), *best = NULL;
	yyjson_val *several = json_arr(root, "cniVersions");
	struct version best_version = { 0, 0, 0 };
	size_t count = several ? yyjson_arr_size(several) : 0;

	if (yyjson_obj_get(root, "cniVersion") && !single)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: cniVersion is not a string", file);
	if (single && !*single)
		single = NULL;
	if (!single && count == 0) {
		*ret = "0.1.0";
		return 0;
	}
	for (size_t i = 0; i < count + (single ? 1 : 0); i++) {
		const char *text = i < count ? yyjson_get_str(yyjson_arr_get(several, i)) : single;
		struct version version;

		if (!text || parse_version(text, &version) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: \"%s\" is not a CNI version", file, or_empty(text));
		if (version.major > NEWEST_MAJOR ||
		    (version.major == NEWEST_MAJOR && version.minor > NEWEST_MINOR))
			continue;
		if (!best || compare_versions(version, best_version) > 0) {
			best = text;
			best_version = version;
		}
	}
	if (!best)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: cniVersion %s is newer than %d.%d.0", file, or_empty(single),
		               NEWEST_MAJOR, NEWEST_MINOR);
	*ret = best;
	return 0;
}

static int check_plugins(yyjson_val *plugins, const char *file, struct err *err)
{
	size_t count = yyjson_arr_size(plugins);

	if (count == 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: the list has no plugins", file);
	if (count > NETCONF_MAX_PLUGINS)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: more than %d plugins", file,
		               NETCONF_MAX_PLUGINS);
	for (size_t i = 0; i < count; i++) {
		const char *type = json_str(yyjson_arr_get(plugins, i), "type", NULL);

		if (!type || !*type)
			return err_set(err, CODE_INVALID_ARGUMENT, "%s: plugin %zu has no type",
			               file, i + 1);
		/* It becomes a file name in the plugin directories. */
		if (strchr(type, '/') || streq(type, ".") || streq(type, "..") ||
		    strlen(type) > 128)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: plugin %zu: type \"%.140s\" is not a plain name", file,
			               i + 1, type);
	}
	return 0;
}

/* Booleans came as strings in lists that older tools wrote. */
static bool get_flag(yyjson_val *root, const char *key)
{
	return json_bool(root, key, false) || streq(json_str(root, key, ""), "true");
}

/* Our own copy in list form. */
static yyjson_doc *make_list(yyjson_val *root, bool is_list, const char *version, const char *name)
{
	yyjson_mut_doc *mut = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *list = yyjson_mut_obj(mut), *plugins;
	yyjson_doc *doc = NULL;

	yyjson_mut_doc_set_root(mut, list);
	yyjson_mut_obj_add_strcpy(mut, list, "cniVersion", version);
	yyjson_mut_obj_add_strcpy(mut, list, "name", name);
	if (get_flag(root, "disableCheck"))
		yyjson_mut_obj_add_bool(mut, list, "disableCheck", true);
	if (get_flag(root, "disableGC"))
		yyjson_mut_obj_add_bool(mut, list, "disableGC", true);
	if (is_list) {
		plugins = yyjson_val_mut_copy(mut, yyjson_obj_get(root, "plugins"));
	} else {
		plugins = yyjson_mut_arr(mut);
		yyjson_mut_arr_append(plugins, yyjson_val_mut_copy(mut, root));
	}
	yyjson_mut_obj_add_val(mut, list, "plugins", plugins);
	doc = yyjson_mut_doc_imut_copy(mut, NULL);
	yyjson_mut_doc_free(mut);
	return doc;
}

int netconf_parse(const char *file, const char *text, size_t len, struct netconf **ret_conf,
                  struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(text, len, NETCONF_MAX_BYTES, file, err);
	const char *name, *version = NULL;
	struct netconf *conf;
	yyjson_val *root;
	bool is_list;

	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	if (!yyjson_is_obj(root))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: not a JSON object", file);
	/* The contents decide, not the suffix: lists in .conf files exist and mean what they say. */
	is_list = yyjson_obj_get(root, "plugins") != NULL;
	if (is_list && !json_arr(root, "plugins"))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: plugins is not an array", file);
	if (!is_list && !yyjson_obj_get(root, "type"))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: has neither \"plugins\" nor \"type\"", file);
	name = json_str(root, "name", NULL);
	if (!name || !netconf_is_name(name) || strlen(name) > 200)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%.200s\" is not a network name",
		               file, or_empty(name));
	if (choose_version(root, &version, file, err) < 0)
		return -1;

	conf = xcalloc(1, sizeof(*conf));
	conf->doc = make_list(root, is_list, version, name);
	if (!conf->doc) {
		netconf_free(conf);
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: out of memory", file);
	}
	root = yyjson_doc_get_root(conf->doc);
	conf->plugins = json_arr(root, "plugins");
	if (check_plugins(conf->plugins, file, err) < 0) {
		netconf_free(conf);
		return -1;
	}
	conf->name = xstrdup(name);
	conf->version = xstrdup(version);
	conf->disable_check = json_bool(root, "disableCheck", false);
	conf->disable_gc = json_bool(root, "disableGC", false);
	conf->file = xstrdup(file);
	*ret_conf = conf;
	return 0;
}

void netconf_free(struct netconf *conf)
{
	if (!conf)
		return;
	yyjson_doc_free(conf->doc);
	free(conf->name);
	free(conf->version);
	free(conf->file);
	free(conf);
}

size_t netconf_count(const struct netconf *conf)
{
	return yyjson_arr_size(conf->plugins);
}

yyjson_val *netconf_plugin(const struct netconf *conf, size_t i)
{
	return yyjson_arr_get(conf->plugins, i);
}

const char *netconf_type(const struct netconf *conf, size_t i)
{
	return json_str(netconf_plugin(conf, i), "type", "");
}
