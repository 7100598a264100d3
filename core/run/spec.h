/* core/run/spec.h
 *
 * Typed editing of an OCI config.json. The builder of containers (cri/spec) writes it, adjustments of plugins (nri) change it,
 * both through these few verbs over one yyjson document.
 *
 * Paths name members by dots, "linux.resources.cpu.shares"; objects on the way are made. Keys that come from outside may hold
 * dots themselves: spec_entry_set() takes them apart from the path. What is a list with identity in OCI (environment, mounts,
 * namespaces, rlimits, devices) has verbs of its own: setting what is there replaces it in place, order is kept.
 *
 * Every string is copied. Memory is what the document costs: its allocator aborts like xcalloc, so that no member, seccomp for
 * one, is ever missing without a word; sizes of foreign text are the caller's to check.
 *
 * Thread: any, one at a time per document.
 */
#ifndef CORACLE_CORE_RUN_SPEC_H
#define CORACLE_CORE_RUN_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/state/types.h"

/* The oldest version that has everything we write by default (D10): old runtimes refuse newer ones. */
#define SPEC_OCI_VERSION "1.0.2"
#define SPEC_MAX_BYTES   (4u << 20) /* as bundle.h's config.json */

struct spec {
	yyjson_mut_doc *doc;
	yyjson_mut_val *root;
};

void spec_init(struct spec *spec); /* an object with nothing but ociVersion */
/* INVALID_ARGUMENT when @json is no object; @spec is untouched then. */
NODISCARD int spec_read(struct spec *spec, const char *json, size_t len, struct err *err);
/* Heap text without blanks. RESOURCE_EXHAUSTED beyond SPEC_MAX_BYTES. */
NODISCARD int spec_write(const struct spec *spec, char **ret_json, struct err *err);
void spec_release(struct spec *spec); /* safe on a zeroed struct, safe twice */

/* --- members by path */

yyjson_mut_val *spec_find(const struct spec *spec, const char *path); /* NULL: not there */
/* Never NULL: made, or put in the place of something else. */
yyjson_mut_val *spec_object(struct spec *spec, const char *path);
yyjson_mut_val *spec_array(struct spec *spec, const char *path);
void spec_set(struct spec *spec, const char *path,
              yyjson_mut_val *value); /* of this document; NULL: unset */
void spec_set_str(struct spec *spec, const char *path, const char *value);
void spec_set_int(struct spec *spec, const char *path, int64_t value);
void spec_set_uint(struct spec *spec, const char *path, uint64_t value);
void spec_set_bool(struct spec *spec, const char *path, bool value);
void spec_set_strv(struct spec *spec, const char *path, const char *const *words, size_t count);
void spec_unset(struct spec *spec, const char *path);
const char *spec_get_str(const struct spec *spec, const char *path, const char *dflt);
/* One member of the object at @path whose key is any text: annotations, sysctls, linux.resources.unified. */
void spec_entry_set(struct spec *spec, const char *path, const char *key, const char *value);
void spec_entry_unset(struct spec *spec, const char *path, const char *key);
/* Append a copy of @word to an array. */
void spec_add_str(struct spec *spec, yyjson_mut_val *array, const char *word);

/* --- lists with identity */

const char *spec_env_find(const struct spec *spec, const char *key); /* the value, or NULL */
void spec_env_set(struct spec *spec, const char *key, const char *value, size_t value_len);
void spec_env_unset(struct spec *spec, const char *key);

struct spec_mount {
	const char *destination, *type, *source;
	const char *const *options;
	size_t noptions;
	const struct id_map *uid_maps, *gid_maps; /* an idmapped mount; none: as it is */
	size_t nuid_maps, ngid_maps;
};
/* Destinations are the same when their cleaned forms are. */
yyjson_mut_val *spec_mount_find(const struct spec *spec, const char *destination);
void spec_mount_set(struct spec *spec, const struct spec_mount *mount);
/* Behind all others, whatever is there: on top of one with the same destination. */
void spec_mount_add(struct spec *spec, const struct spec_mount *mount);
bool spec_mount_unset(struct spec *spec, const char *destination); /* was there */
/* A path without empty and dot components; ".." goes one up and stops at the root. Heap; a relative path stays relative to
 * the root: "a/../b" is "/b". */
NODISCARD char *spec_path_clean(const char *path);

/* @path NULL: a new one. */
void spec_namespace_set(struct spec *spec, const char *type, const char *path);
void spec_namespace_unset(struct spec *spec, const char *type);
bool spec_namespace_has(const struct spec *spec, const char *type);

void spec_rlimit_set(struct spec *spec, const char *type, uint64_t soft, uint64_t hard);
void spec_rlimit_unset(struct spec *spec, const char *type);

struct spec_device {
	const char *path; /* in the container */
	char type;        /* 'c', 'b', 'p', 'u' */
	int64_t major, minor;
	bool has_mode, has_owner;
	uint32_t mode, uid, gid; /* mode: permission bits */
};
void spec_device_set(struct spec *spec, const struct spec_device *device);
void spec_device_unset(struct spec *spec, const char *path);
/* A cgroup rule behind those that are there. @type 0: all devices; @major, @minor -1: any; @access: of "rwm". */
void spec_device_rule_add(struct spec *spec, bool allow, char type, int64_t major, int64_t minor,
                          const char *access);

/* linux.uidMappings or gidMappings */
void spec_id_maps_set(struct spec *spec, const char *path, const struct id_map *maps, size_t count);

struct spec_hook {
	const char *path;
	const char *const *args, *const *env;
	size_t nargs, nenv;
	int64_t timeout_s; /* 0: none */
};
/* @when: "prestart" "createRuntime" "createContainer" "startContainer" "poststart" "poststop" */
void spec_hook_add(struct spec *spec, const char *when, const struct spec_hook *hook);

DEFINE_CLEANUP(struct spec, spec_release);

#endif
