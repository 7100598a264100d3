/* core/image/tree.h
 *
 * Removing a directory tree without allocating, for children of the threaded daemon and for trees made by somebody hostile:
 * any depth, symlinks and mount points never entered, bounded stack and two descriptors.
 */
#ifndef CORACLE_CORE_IMAGE_TREE_H
#define CORACLE_CORE_IMAGE_TREE_H

#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"

/* Remove @name (one component) of @dirfd, whatever it is. Missing: 0. Else 0 or a negative errno. */
NODISCARD int tree_remove(int dirfd, const char *name);
/* Remove all that is in the directory, not the directory. */
NODISCARD int tree_empty(int dirfd);

/* One getdents64 record; the buffer is walked with tree_entry_next(). */
struct tree_entry {
	uint64_t ino;
	int64_t next; /* position behind this entry */
	uint16_t len;
	uint8_t type; /* DT_* */
	char name[];
};
#define TREE_BLOCK 4096
/* Bytes read into @block, 0 at the end, or a negative errno. */
NODISCARD ssize_t tree_read(int dirfd, void *block, size_t size);
/* Open a subdirectory without leaving the file system or following a symlink. */
NODISCARD int tree_enter(int dirfd, const char *name);

static inline int tree_is_dot(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

#endif
