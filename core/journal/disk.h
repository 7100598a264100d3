/* core/journal/disk.h
 *
 * Every touch of the disk by journal and spool goes through these few functions. They are a seam: a test that links
 * tests/crash/simdisk.c instead of disk.c runs the same code on a simulated disk that can be stopped at any call.
 *
 * Results are >= 0 or a negative errno. Directories have mode 0700, files 0600.
 *
 * Thread: any.
 */
#ifndef CORACLE_CORE_JOURNAL_DISK_H
#define CORACLE_CORE_JOURNAL_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"

/* What is atomic enough: a power cut may leave each of these old, new or unreadable. */
#define DISK_BLOCK 4096

/* With @create missing directories are made and their parents fsynced. */
NODISCARD int disk_open_dir(const char *path, bool create);
/* O_RDONLY (without moving the access time, where we may), O_RDWR, or O_RDWR | O_CREAT | O_EXCL. */
NODISCARD int disk_open(int dir, const char *name, int flags);
void disk_close(int fd);
NODISCARD int disk_size(int fd, uint64_t *ret_bytes);
/* Names in @dir, sorted bytewise, as a strv; again and again on the same descriptor. */
NODISCARD int disk_list(int dir, char ***ret_names);
NODISCARD ssize_t disk_pread(int fd, void *data, size_t len,
                             uint64_t off); /* short at the end of the file */
/* Where bytes that may not be zero begin, at or behind @off: what is before it was never written. UINT64_MAX: nowhere. */
NODISCARD uint64_t disk_next_data(int fd, uint64_t off);
NODISCARD int disk_pwrite(int fd, const void *data, size_t len, uint64_t off);
NODISCARD int disk_truncate(int fd, uint64_t bytes);
NODISCARD int disk_fdatasync(int fd);
NODISCARD int disk_fsync(int fd); /* file or directory */
NODISCARD int disk_rename(int from_dir, const char *from, int to_dir, const char *to);
NODISCARD int disk_unlink(int dir, const char *name);
/* A descriptor that becomes readable when a file is moved into the directory @path or its queue overflows. */
NODISCARD int disk_watch(const char *path);

static inline void cleanup_disk_fn(int *fd)
{
	if (*fd >= 0)
		disk_close(*fd);
}
#define cleanup_disk __attribute__((__cleanup__(cleanup_disk_fn)))

#endif
