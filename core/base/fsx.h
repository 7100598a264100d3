/* core/base/fsx.h
 *
 * Files and directories as a durable program needs them. Results are >= 0 or a negative errno.
 */
#ifndef CORACLE_CORE_BASE_FSX_H
#define CORACLE_CORE_BASE_FSX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"

/* mkdir -p of every missing part; an existing directory is fine. */
NODISCARD int fsx_mkdir_p(const char *path, mode_t mode);
/* Bounded read of a regular or proc file; *ret_text is NUL terminated and on the heap. -EFBIG when
 * larger than max_bytes. */
NODISCARD int fsx_read(int dirfd, const char *path, size_t max_bytes, char **ret_text,
                       size_t *ret_len);
/* Durable replace: O_TMPFILE-less temp file beside it (".name.XXXX.tmp"), write, fsync, rename,
 * fsync of the directory. */
NODISCARD int fsx_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode);
/* The same without any fsync (for what may be lost at a power cut: files under the state
 * directory). */
NODISCARD int fsx_write(int dirfd, const char *path, const void *data, size_t len, mode_t mode);
NODISCARD int fsx_fsync_dir(const char *path);
NODISCARD int fsx_fsync_dirfd(int dirfd);
/* rm -r that never follows a symlink, never leaves the file system of @path, and clears what stands
 * in its way (immutable bits are an error). Missing: 0. Depth costs neither descriptors nor stack.
 * -EBUSY: a mount is in the way, or @path is one. What was removed before an error stays removed.
 * May take long: child or worker only. */
NODISCARD int fsx_remove_tree(int dirfd, const char *path);
/* Names in a directory, without "." and "..", sorted bytewise, as a strv. */
NODISCARD int fsx_list(int dirfd, const char *path, char ***ret_names);
NODISCARD bool fsx_exists(const char *path);
NODISCARD bool fsx_is_dir(const char *path);
/* The same with err filled and the path named, for callers above base. */
NODISCARD int file_read_all(const char *path, size_t max_bytes, char **ret_text, size_t *ret_len,
                            struct err *err);

#endif
