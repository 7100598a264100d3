/* core/run/probe_cache.c
 *
 * One JSON object: { "v1": { "<program>": { dev, ino, size, mtime_ns, ctime_ns, version, features? } } }. Answers are kept as
 * they were printed, and are parsed again at each start: what this version makes of them is not what an older one did.
 */
#include "core/run/probe_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define CACHE_MAX_BYTES (4 * 1024 * 1024)
#define FORMAT          "v1"

struct probe_cache {
	char *path;
	yyjson_mut_doc *doc; /* root: { FORMAT: { program: answers } } */
	bool changed;
};

static int64_t ns_of(const struct timespec *ts)
{
	return ts->tv_sec * NS_PER_S + ts->tv_nsec;
}

static yyjson_mut_val *programs(const struct probe_cache *cache)
{
	return yyjson_mut_obj_get(yyjson_mut_doc_get_root(cache->doc), FORMAT);
}

static yyjson_mut_doc *read_file(const char *path)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	struct err err = { 0 };
	size_t len;

	if (fsx_read(AT_FDCWD, path, CACHE_MAX_BYTES, &text, &len) < 0)
		return NULL;
	doc = json_parse(text, len, CACHE_MAX_BYTES, path, &err);
	if (!doc || !json_obj(yyjson_doc_get_root(doc), FORMAT))
		return NULL;
	return yyjson_doc_mut_copy(doc, NULL);
}

struct probe_cache *probe_cache_open(const char *path)
{
	struct probe_cache *cache = xcalloc(1, sizeof(*cache));

	cache->path = xstrdup(path);
	cache->doc = read_file(path);
	if (!cache->doc) {
		cache->doc = yyjson_mut_doc_new(NULL);
		yyjson_mut_doc_set_root(cache->doc, yyjson_mut_obj(cache->doc));
		yyjson_mut_obj_add_obj(cache->doc, yyjson_mut_doc_get_root(cache->doc), FORMAT);
	}
	return cache;
}

void probe_cache_free(struct probe_cache *cache)
{
	if (!cache)
		return;
	yyjson_mut_doc_free(cache->doc);
	free(cache->path);
	free(cache);
}

static bool is(yyjson_mut_val *entry, const char *key, int64_t value)
{
	yyjson_mut_val *val = yyjson_mut_obj_get(entry, key);

	return yyjson_mut_is_int(val) && yyjson_mut_get_sint(val) == value;
}

bool probe_cache_find(const struct probe_cache *cache, const char *program, const struct stat *st,
                      char **ret_version, char **ret_features)
{
	yyjson_mut_val *entry = yyjson_mut_obj_get(programs(cache), program);
	const char *version = yyjson_mut_get_str(yyjson_mut_obj_get(entry, "version"));
	const char *features = yyjson_mut_get_str(yyjson_mut_obj_get(entry, "features"));

	if (!version || !is(entry, "dev", (int64_t)st->st_dev) ||
	    !is(entry, "ino", (int64_t)st->st_ino) || !is(entry, "size", st->st_size) ||
	    !is(entry, "mtime_ns", ns_of(&st->st_mtim)) ||
	    !is(entry, "ctime_ns", ns_of(&st->st_ctim)))
		return false;
	*ret_version = xstrdup(version);
	*ret_features = features ? xstrdup(features) : NULL;
	return true;
}

void probe_cache_put(struct probe_cache *cache, const char *program, const struct stat *st,
                     const char *version, const char *features)
{
	yyjson_mut_doc *doc = cache->doc;
	yyjson_mut_val *entry = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_sint(doc, entry, "dev", (int64_t)st->st_dev);
	yyjson_mut_obj_add_sint(doc, entry, "ino", (int64_t)st->st_ino);
	yyjson_mut_obj_add_sint(doc, entry, "size", st->st_size);
	yyjson_mut_obj_add_sint(doc, entry, "mtime_ns", ns_of(&st->st_mtim));
	yyjson_mut_obj_add_sint(doc, entry, "ctime_ns", ns_of(&st->st_ctim));
	yyjson_mut_obj_add_strcpy(doc, entry, "version", version);
	if (features)
		yyjson_mut_obj_add_strcpy(doc, entry, "features", features);
	yyjson_mut_obj_put(programs(cache), yyjson_mut_strcpy(doc, program), entry);
	cache->changed = true;
}

void probe_cache_save(struct probe_cache *cache)
{
	cleanup_free char *text = NULL;
	size_t len;
	int rc;

	if (!cache->changed)
		return;
	text = json_write(cache->doc, false, &len); /* NULL: an answer is no UTF-8 */
	rc = text ? fsx_write(AT_FDCWD, cache->path, text, len, 0600) : -EINVAL;
	if (rc < 0)
		log_debug(NULL, "%s: not written: %s", cache->path, errno_name(-rc));
	cache->changed = false;
}
