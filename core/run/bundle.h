/* core/run/bundle.h
 *
 * The bundle of a container: what its OCI runtime is told, at names that derive from the id alone.
 *
 *	<state>/bundles/<container id>/config.json	the OCI spec
 *	                              /rootfs		where its root file system is mounted
 *	                              /pid		written by the runtime at create
 *	                              /runtime.log	what the runtime says, JSON lines
 *	                              /exec-<n>.json, exec-<n>.pid, exec-<n>.log
 *
 * Directories are 0711: a pod with a user namespace enters its root file system as an unprivileged user; files are 0600.
 *
 * Thread: any. Everything here is on the run directory's tmpfs and short, but bundle_remove(): child or worker, and only
 *         after the root file system was unmounted (mount_run with MOUNT_REMOVE_TREE does both at once).
 */
#ifndef CORACLE_CORE_RUN_BUNDLE_H
#define CORACLE_CORE_RUN_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define BUNDLE_PATH_SIZE        256
#define BUNDLE_CONFIG_MAX_BYTES (4u << 20)

struct bundle {
	char dir[BUNDLE_PATH_SIZE];
	char config[BUNDLE_PATH_SIZE];
	char rootfs[BUNDLE_PATH_SIZE];
	char pid_file[BUNDLE_PATH_SIZE];
	char log[BUNDLE_PATH_SIZE];
};

/* Names only; INVALID_ARGUMENT when @id is not one path component or the paths grow too long. */
NODISCARD int bundle_names(struct bundle *bundle, const char *state, const char *id,
                           struct err *err);
/* The directory and an empty rootfs; there already: fine. */
NODISCARD int bundle_create(const struct bundle *bundle, struct err *err);
/* Replace config.json; a reader sees the old or the new one. */
NODISCARD int bundle_write_config(const struct bundle *bundle, const char *json, size_t len,
                                  struct err *err);
NODISCARD int bundle_read_config(const struct bundle *bundle, char **ret_json, size_t *ret_len,
                                 struct err *err);
/* "<dir>/exec-<n><suffix>" (".json" ".pid" ".log" ".sock") */
NODISCARD int bundle_exec_name(const struct bundle *bundle, uint64_t n, const char *suffix,
                               char *ret, size_t size, struct err *err);
NODISCARD int bundle_write_exec(const struct bundle *bundle, uint64_t n, const char *json,
                                size_t len, struct err *err);
void bundle_remove_exec(const struct bundle *bundle,
                        uint64_t n); /* all files of that exec; missing: fine */
/* A pid as the runtimes write it. NOT_FOUND while the file is missing or empty. */
NODISCARD int bundle_read_pid(const char *pid_file, pid_t *ret_pid, struct err *err);
/* rm -r; missing: fine. */
NODISCARD int bundle_remove(const struct bundle *bundle, struct err *err);
/* Container ids that have a bundle, sorted (orphan sweep). */
NODISCARD int bundle_list(const char *state, char ***ret_ids, struct err *err);

#endif
