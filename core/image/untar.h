/* core/image/untar.h
 *
 * Tar entries become the files of one image layer, in the form overlayfs reads: whiteouts are char devices 0:0, opaque
 * directories carry an xattr. Nothing an entry says can touch a file outside the layer: parents are resolved by the kernel
 * inside the layer's root (openat2 RESOLVE_IN_ROOT, absolute links re-rooted), the last component is never followed, and all
 * work is done by descriptor.
 *
 * Layers are unpacked in parallel, before their lower layers are known to be there. What depends on those is put off: parents
 * that the archive does not mention (they take owner and mode from the lower layers) and hard links to files of lower layers.
 * untar_fix() does it once the layers beneath are complete.
 *
 * Single-threaded, and changes the working directory of the process (xattrs of symlinks and devices need it).
 */
#ifndef CORACLE_CORE_IMAGE_UNTAR_H
#define CORACLE_CORE_IMAGE_UNTAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/image/tar.h"

struct untar_args {
	int root_fd;         /* empty directory, borrowed: the layer's fs/ */
	bool user_xattr;     /* user.overlay.opaque instead of trusted.overlay.opaque */
	uint64_t free_bytes; /* keep at least this much of the file system free */
	uint64_t free_inodes;
};

struct untar_result {
	uint64_t size_bytes; /* st_blocks * 512, each inode once */
	uint64_t inodes;
	uint64_t
		deferred; /* things untar_fix() must see to: the layer is tied to what lies beneath */
	bool opaque_root; /* hides all lower layers */
	bool has_root;    /* the archive gave "./" its attributes */
};

struct untar;

NODISCARD struct untar *untar_new(const struct untar_args *args);
void untar_free(struct untar *untar);

/* Errors name the entry. RESOURCE_EXHAUSTED: the reserve of free space was reached. INVALID_ARGUMENT: what the archive asks
 * for cannot be done. */
NODISCARD int untar_entry(struct untar *untar, const struct tar_entry *entry, struct err *err);
NODISCARD int untar_data(struct untar *untar, const void *data, size_t len, uint64_t offset,
                         struct err *err);
/* Directory times, whiteouts that met a directory, totals. The deferred list, for untar_fix(), is appended to @deferred. */
NODISCARD int untar_finish(struct untar *untar, struct untar_result *ret, struct buf *deferred,
                           struct err *err);

/*
 * untar_fix - finish a layer whose lower layers are complete.
 * @deferred: what untar_finish() gave.
 * @lower_fds: roots of the lower layers, top-most first.
 * Errors: INVALID_ARGUMENT when a hard link's target exists in no layer.
 */
NODISCARD int untar_fix(int root_fd, const void *deferred, size_t len, const int *lower_fds,
                        size_t nlower, struct untar_result *inout, struct err *err);

#define UNTAR_DEFERRED_MAX (64 * 1024 * 1024)

DEFINE_CLEANUP_PTR(struct untar, untar_free);

#endif
