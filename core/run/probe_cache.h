/* core/run/probe_cache.h
 *
 * What runtimes answered when they were asked last, so that a daemon that is started again reads a file instead of running
 * programs. An answer counts only for the very file that gave it: same path, device, inode, size, times of change.
 *
 * The file is ours and lives below the state directory, so it does not outlive a boot. Whatever is wrong with it, it is as if
 * it were not there: the runtimes are asked again.
 *
 * Thread: any one.
 */
#ifndef CORACLE_CORE_RUN_PROBE_CACHE_H
#define CORACLE_CORE_RUN_PROBE_CACHE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "core/base/attr.h"
#include "core/base/err.h"

struct probe_cache;

/* @path: absolute, of the cache file; it need not exist. */
NODISCARD struct probe_cache *probe_cache_open(const char *path);
void probe_cache_free(struct probe_cache *cache); /* writes nothing */

/*
 * probe_cache_find - the answers of the program at @program, which is the file @st.
 * @ret_features: NULL where the program has no such command. Both are on the heap.
 */
NODISCARD bool probe_cache_find(const struct probe_cache *cache, const char *program,
                                const struct stat *st, char **ret_version, char **ret_features);
/* @st: as it was before the program was asked. @features may be NULL. */
void probe_cache_put(struct probe_cache *cache, const char *program, const struct stat *st,
                     const char *version, const char *features);
/* Write the file if anything was put. A failure costs the next start some milliseconds: not an error. */
void probe_cache_save(struct probe_cache *cache);

DEFINE_CLEANUP_PTR(struct probe_cache, probe_cache_free);

#endif
