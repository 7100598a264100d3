/* core/run/spec.c */
#include "core/run/spec.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* -------------------------------------------------------------------------------------------------------- document */

static void *spec_malloc(void *ctx UNUSED, size_t size)
{
	return xrealloc(NULL, 1, size);
}

static void *spec_realloc(void *ctx UNUSED, void *p, size_t old_size UNUSED, size_t size)
{
	return xrealloc(p, 1, size);
}

static void spec_dealloc(void *ctx UNUSED, void *p)
{
	free(p);
}

static const yyjson_alc spec_allocator = {
	.malloc = spec_malloc,
	.realloc = spec_realloc,
	.free = spec_dealloc,
};

void spec_init(struct spec *spec)
{
	spec->doc = yyjson_mut_doc_new(&spec_allocator);
	spec->root = yyjson_mut_obj(spec->doc);
	yyjson_mut_doc_set_root(spec->doc, spec->root);
	spec_set_str(spec, "ociVersion", SPEC_OCI_VERSION);
}

int spec_read(struct spec *spec, const char *json, size_t len, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(json, len, SPEC_MAX_BYTES, "config.json", err);

	if (!doc)
		return -1;
	if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
		return err_set(err, CODE_INVALID_ARGUMENT, "config.json: not an object");
	spec->doc = yyjson_doc_mut_copy(doc, &spec_allocator);
	spec->root = yyjson_mut_doc_get_root(spec->doc);
	return 0;
}

int spec_write(const struct spec *spec, char **ret_json, struct err *err)
{
	size_t len = 0;
	cleanup_free char *text = json_write(spec->doc, false, &len);

	if (!text)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "config.json: no memory");
	if (len > SPEC_MAX_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "config.json: larger than %u bytes",
		               SPEC_MAX_BYTES);
	*ret_json = take_ptr(text);
	return 0;
}

void spec_release(struct spec *spec)
{
	yyjson_mut_doc_free(spec->doc);
	*spec = (struct spec){ 0 };
}

/* ------------------------------------------------------------------------------------------------- members by path */

static yyjson_mut_val *member(yyjson_mut_val *obj, struct str key)
{
	return yyjson_mut_obj_getn(obj, key.p, key.len);
}

static void put(struct spec *spec, yyjson_mut_val *obj, struct str key, yyjson_mut_val *value)
{
	yyjson_mut_obj_put(obj, yyjson_mut_strncpy(spec->doc, key.p, key.len), value);
}

yyjson_mut_val *spec_find(const struct spec *spec, const char *path)
{
	struct str rest = str_of(path), key;
	yyjson_mut_val *at = spec->root;

	while (at && rest.len) {
		str_cut(rest, '.', &key, &rest);
		at = member(at, key);
	}
	return at;
}

/* The object that holds the last component of @path. */
static yyjson_mut_val *holder(struct spec *spec, const char *path, struct str *ret_key)
{
	struct str rest = str_of(path), key;
	yyjson_mut_val *at = spec->root;

	while (str_cut(rest, '.', &key, &rest)) {
		yyjson_mut_val *next = member(at, key);

		if (!yyjson_mut_is_obj(next)) {
			next = yyjson_mut_obj(spec->doc);
			put(spec, at, key, next);
		}
		at = next;
	}
	*ret_key = key;
	return at;
}

yyjson_mut_val *spec_object(struct spec *spec, const char *path)
{
	struct str key;
	yyjson_mut_val *at = holder(spec, path, &key), *value = member(at, key);

	if (!yyjson_mut_is_obj(value)) {
		value = yyjson_mut_obj(spec->doc);
		put(spec, at, key, value);
	}
	return value;
}

yyjson_mut_val *spec_array(struct spec *spec, const char *path)
{
	struct str key;
	yyjson_mut_val *at = holder(spec, path, &key), *value = member(at, key);

	if (!yyjson_mut_is_arr(value)) {
		value = yyjson_mut_arr(spec->doc);
		put(spec, at, key, value);
	}
	return value;
}

void spec_set(struct spec *spec, const char *path, yyjson_mut_val *value)
{
	struct str key;
	yyjson_mut_val *at;

	if (!value) {
		spec_unset(spec, path);
		return;
	}
	at = holder(spec, path, &key);
	put(spec, at, key, value);
}

void spec_set_str(struct spec *spec, const char *path, const char *value)
{
	spec_set(spec, path, yyjson_mut_strcpy(spec->doc, value));
}

void spec_set_int(struct spec *spec, const char *path, int64_t value)
{
	spec_set(spec, path, yyjson_mut_sint(spec->doc, value));
}

void spec_set_uint(struct spec *spec, const char *path, uint64_t value)
{
	spec_set(spec, path, yyjson_mut_uint(spec->doc, value));
}

void spec_set_bool(struct spec *spec, const char *path, bool value)
{
	spec_set(spec, path, yyjson_mut_bool(spec->doc, value));
}

void spec_set_strv(struct spec *spec, const char *path, const char *const *words, size_t count)
{
	yyjson_mut_val *array = yyjson_mut_arr(spec->doc);

	for (size_t i = 0; i < count; i++)
		spec_add_str(spec, array, words[i]);
	spec_set(spec, path, array);
}

void spec_unset(struct spec *spec, const char *path)
{
	struct str head, key;
	yyjson_mut_val *at = spec->root;

	if (str_rcut(str_of(path), '.', &head, &key)) {
		cleanup_free char *parent = str_dup(head);

		at = spec_find(spec, parent);
	} else {
		key = str_of(path);
	}
	if (at)
		yyjson_mut_obj_remove_keyn(at, key.p, key.len);
}

const char *spec_get_str(const struct spec *spec, const char *path, const char *dflt)
{
	const char *text = yyjson_mut_get_str(spec_find(spec, path));

	return text ? text : dflt;
}

void spec_entry_set(struct spec *spec, const char *path, const char *key, const char *value)
{
	put(spec, spec_object(spec, path), str_of(key), yyjson_mut_strcpy(spec->doc, value));
}

void spec_entry_unset(struct spec *spec, const char *path, const char *key)
{
	yyjson_mut_val *obj = spec_find(spec, path);

	if (obj)
		yyjson_mut_obj_remove_key(obj, key);
}

void spec_add_str(struct spec *spec, yyjson_mut_val *array, const char *word)
{
	yyjson_mut_arr_append(array, yyjson_mut_strcpy(spec->doc, word));
}

/* ---------------------------------------------------------------------------------------- lists: the common part */

/* Replace the element at @index, or append it where there is none. */
static void list_put(struct spec *spec, const char *path, size_t index, yyjson_mut_val *value)
{
	yyjson_mut_val *array = spec_array(spec, path);

	if (index < yyjson_mut_arr_size(array))
		yyjson_mut_arr_replace(array, index, value);
	else
		yyjson_mut_arr_append(array, value);
}

static bool list_drop(struct spec *spec, const char *path, size_t index)
{
	return index != SIZE_MAX && yyjson_mut_arr_remove(spec_find(spec, path), index);
}

/* Index of the element whose member @key is @text; SIZE_MAX: none. */
static size_t list_index(const struct spec *spec, const char *path, const char *key,
                         const char *text)
{
	yyjson_mut_val *array = spec_find(spec, path), *value;
	size_t i, n;

	yyjson_mut_arr_foreach(array, i, n, value)
	{
		const char *has = yyjson_mut_get_str(yyjson_mut_obj_get(value, key));

		if (has && streq(has, text))
			return i;
	}
	return SIZE_MAX;
}

static void add_str(struct spec *spec, yyjson_mut_val *obj, const char *key, const char *value)
{
	yyjson_mut_obj_add_strcpy(spec->doc, obj, key, value);
}

static void add_words(struct spec *spec, yyjson_mut_val *obj, const char *key,
                      const char *const *words, size_t count)
{
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(spec->doc, obj, key);

	for (size_t i = 0; i < count; i++)
		spec_add_str(spec, array, words[i]);
}

/* ------------------------------------------------------------------------------------------------------ environment */

static size_t env_index(const struct spec *spec, const char *key)
{
	yyjson_mut_val *array = spec_find(spec, "process.env"), *value;
	size_t i, n, len = strlen(key);

	yyjson_mut_arr_foreach(array, i, n, value)
	{
		const char *text = or_empty(yyjson_mut_get_str(value));

		if (!strncmp(text, key, len) && text[len] == '=')
			return i;
	}
	return SIZE_MAX;
}

const char *spec_env_find(const struct spec *spec, const char *key)
{
	size_t i = env_index(spec, key);

	if (i == SIZE_MAX)
		return NULL;
	return yyjson_mut_get_str(yyjson_mut_arr_get(spec_find(spec, "process.env"), i)) +
	       strlen(key) + 1;
}

void spec_env_set(struct spec *spec, const char *key, const char *value, size_t value_len)
{
	cleanup_free char *text = xasprintf("%s=%.*s", key, (int)value_len, or_empty(value));

	list_put(spec, "process.env", env_index(spec, key), yyjson_mut_strcpy(spec->doc, text));
}

void spec_env_unset(struct spec *spec, const char *key)
{
	list_drop(spec, "process.env", env_index(spec, key));
}

/* ----------------------------------------------------------------------------------------------------------- mounts */

char *spec_path_clean(const char *path)
{
	struct str rest = str_of(path), part;
	char *out = xcalloc(strlen(path) + 2, 1);
	size_t len = 0;

	while (rest.len) {
		str_cut(rest, '/', &part, &rest);
		if (part.len == 0 || str_eq_c(part, "."))
			continue;
		if (str_eq_c(part, "..")) {
			while (len > 0 && out[--len] != '/')
				;
			continue;
		}
		out[len++] = '/';
		memcpy(out + len, part.p, part.len);
		len += part.len;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	return out;
}

static size_t mount_index(const struct spec *spec, const char *destination)
{
	yyjson_mut_val *array = spec_find(spec, "mounts"), *value;
	cleanup_free char *wanted = spec_path_clean(destination);
	size_t i, n;

	yyjson_mut_arr_foreach(array, i, n, value)
	{
		const char *text = yyjson_mut_get_str(yyjson_mut_obj_get(value, "destination"));
		cleanup_free char *clean = spec_path_clean(or_empty(text));

		if (text && streq(clean, wanted))
			return i;
	}
	return SIZE_MAX;
}

yyjson_mut_val *spec_mount_find(const struct spec *spec, const char *destination)
{
	return yyjson_mut_arr_get(spec_find(spec, "mounts"), mount_index(spec, destination));
}

static void add_maps(struct spec *spec, yyjson_mut_val *array, const struct id_map *maps,
                     size_t count)
{
	for (size_t i = 0; i < count; i++) {
		yyjson_mut_val *map = yyjson_mut_arr_add_obj(spec->doc, array);

		yyjson_mut_obj_add_uint(spec->doc, map, "containerID", maps[i].inside);
		yyjson_mut_obj_add_uint(spec->doc, map, "hostID", maps[i].outside);
		yyjson_mut_obj_add_uint(spec->doc, map, "size", maps[i].count);
	}
}

static yyjson_mut_val *mount_value(struct spec *spec, const struct spec_mount *mount)
{
	yyjson_mut_val *obj = yyjson_mut_obj(spec->doc);

	add_str(spec, obj, "destination", mount->destination);
	add_str(spec, obj, "type", mount->type);
	add_str(spec, obj, "source", mount->source);
	add_words(spec, obj, "options", mount->options, mount->noptions);
	if (mount->nuid_maps)
		add_maps(spec, yyjson_mut_obj_add_arr(spec->doc, obj, "uidMappings"),
		         mount->uid_maps, mount->nuid_maps);
	if (mount->ngid_maps)
		add_maps(spec, yyjson_mut_obj_add_arr(spec->doc, obj, "gidMappings"),
		         mount->gid_maps, mount->ngid_maps);
	return obj;
}

void spec_mount_set(struct spec *spec, const struct spec_mount *mount)
{
	list_put(spec, "mounts", mount_index(spec, mount->destination), mount_value(spec, mount));
}

void spec_mount_add(struct spec *spec, const struct spec_mount *mount)
{
	list_put(spec, "mounts", SIZE_MAX, mount_value(spec, mount));
}

bool spec_mount_unset(struct spec *spec, const char *destination)
{
	return list_drop(spec, "mounts", mount_index(spec, destination));
}

/* ------------------------------------------------------------------------------------------------------- namespaces */

#define NAMESPACES "linux.namespaces"

void spec_namespace_set(struct spec *spec, const char *type, const char *path)
{
	yyjson_mut_val *obj = yyjson_mut_obj(spec->doc);

	add_str(spec, obj, "type", type);
	if (path)
		add_str(spec, obj, "path", path);
	list_put(spec, NAMESPACES, list_index(spec, NAMESPACES, "type", type), obj);
}

void spec_namespace_unset(struct spec *spec, const char *type)
{
	list_drop(spec, NAMESPACES, list_index(spec, NAMESPACES, "type", type));
}

bool spec_namespace_has(const struct spec *spec, const char *type)
{
	return list_index(spec, NAMESPACES, "type", type) != SIZE_MAX;
}

void spec_id_maps_set(struct spec *spec, const char *path, const struct id_map *maps, size_t count)
{
	yyjson_mut_val *array = yyjson_mut_arr(spec->doc);

	add_maps(spec, array, maps, count);
	spec_set(spec, path, array);
}

/* ---------------------------------------------------------------------------------------------------------- rlimits */

#define RLIMITS "process.rlimits"

void spec_rlimit_set(struct spec *spec, const char *type, uint64_t soft, uint64_t hard)
{
	yyjson_mut_val *obj = yyjson_mut_obj(spec->doc);

	add_str(spec, obj, "type", type);
	yyjson_mut_obj_add_uint(spec->doc, obj, "soft", soft);
	yyjson_mut_obj_add_uint(spec->doc, obj, "hard", hard);
	list_put(spec, RLIMITS, list_index(spec, RLIMITS, "type", type), obj);
}

void spec_rlimit_unset(struct spec *spec, const char *type)
{
	list_drop(spec, RLIMITS, list_index(spec, RLIMITS, "type", type));
}

/* ---------------------------------------------------------------------------------------------------------- devices */

#define DEVICES "linux.devices"

static void add_type(struct spec *spec, yyjson_mut_val *obj, char type)
{
	add_str(spec, obj, "type", (const char[]){ type, '\0' });
}

void spec_device_set(struct spec *spec, const struct spec_device *device)
{
	yyjson_mut_val *obj = yyjson_mut_obj(spec->doc);

	add_str(spec, obj, "path", device->path);
	add_type(spec, obj, device->type);
	yyjson_mut_obj_add_sint(spec->doc, obj, "major", device->major);
	yyjson_mut_obj_add_sint(spec->doc, obj, "minor", device->minor);
	if (device->has_mode)
		yyjson_mut_obj_add_uint(spec->doc, obj, "fileMode", device->mode);
	if (device->has_owner) {
		yyjson_mut_obj_add_uint(spec->doc, obj, "uid", device->uid);
		yyjson_mut_obj_add_uint(spec->doc, obj, "gid", device->gid);
	}
	list_put(spec, DEVICES, list_index(spec, DEVICES, "path", device->path), obj);
}

void spec_device_unset(struct spec *spec, const char *path)
{
	list_drop(spec, DEVICES, list_index(spec, DEVICES, "path", path));
}

void spec_device_rule_add(struct spec *spec, bool allow, char type, int64_t major, int64_t minor,
                          const char *access)
{
	yyjson_mut_val *rule =
		yyjson_mut_arr_add_obj(spec->doc, spec_array(spec, "linux.resources.devices"));

	yyjson_mut_obj_add_bool(spec->doc, rule, "allow", allow);
	if (type)
		add_type(spec, rule, type);
	if (major >= 0)
		yyjson_mut_obj_add_sint(spec->doc, rule, "major", major);
	if (minor >= 0)
		yyjson_mut_obj_add_sint(spec->doc, rule, "minor", minor);
	add_str(spec, rule, "access", access);
}

/* ------------------------------------------------------------------------------------------------------------ hooks */

void spec_hook_add(struct spec *spec, const char *when, const struct spec_hook *hook)
{
	cleanup_free char *path = xasprintf("hooks.%s", when);
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(spec->doc, spec_array(spec, path));

	add_str(spec, obj, "path", hook->path);
	if (hook->nargs)
		add_words(spec, obj, "args", hook->args, hook->nargs);
	if (hook->nenv)
		add_words(spec, obj, "env", hook->env, hook->nenv);
	if (hook->timeout_s > 0)
		yyjson_mut_obj_add_sint(spec->doc, obj, "timeout", hook->timeout_s);
}
