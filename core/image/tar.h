/* core/image/tar.h
 *
 * A tar reader without I/O: bytes in, events out. Understands v7, ustar, pax (x; g is skipped as the peers do), GNU (L, K,
 * base-256 numbers, old sparse) and the three pax sparse forms. Everything it keeps is bounded; nothing it reports is
 * trusted: paths are whatever the archive says (untar.h makes them safe).
 *
 *	while (len > 0 || ...) {
 *		if (tar_next(tar, &p, &len, &event, &err) < 0) ...
 *		switch (event) { case TAR_MORE: read more input ... }
 *	}
 *	tar_finish(tar, &err)   at the end of input
 *
 * Bytes after the end marker are consumed and ignored (they still count for the digests of the caller).
 */
#ifndef CORACLE_CORE_IMAGE_TAR_H
#define CORACLE_CORE_IMAGE_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define TAR_BLOCK           512
#define TAR_META_MAX        (1024 * 1024) /* one pax header, one long name, one sparse map */
#define TAR_PATH_MAX        4095          /* bytes of a path or link target (PATH_MAX - 1) */
#define TAR_NAME_MAX        255
#define TAR_XATTRS_MAX      64 /* per entry */
#define TAR_XATTR_NAME_MAX  255
#define TAR_XATTR_BYTES_MAX (256 * 1024) /* names and values of one entry */
#define TAR_SPARSE_MAX      65536        /* extents of one file */

enum tar_type {
	TAR_FILE,
	TAR_HARDLINK,
	TAR_SYMLINK,
	TAR_CHAR,
	TAR_BLOCKDEV,
	TAR_DIR,
	TAR_FIFO,
};

struct tar_xattr {
	const char *name; /* without "SCHILY.xattr." */
	const void *value;
	size_t len;
};

/* Strings are borrowed until the next tar_next(). */
struct tar_entry {
	enum tar_type type;
	const char *path;  /* as in the archive, never empty */
	const char *link;  /* hard link and symlink: the target; else "" */
	uint32_t mode;     /* 07777 */
	uint32_t uid, gid; /* 0 .. 2^32-2 */
	uint32_t major, minor;
	int64_t mtime_s, atime_s; /* atime = max(atime, mtime) */
	uint32_t mtime_ns, atime_ns;
	uint64_t size; /* of the file, holes included; 0 for all but TAR_FILE */
	const struct tar_xattr *xattrs;
	size_t nxattrs;
};

enum tar_event {
	TAR_MORE,  /* all input is used up */
	TAR_ENTRY, /* tar_entry() has it */
	TAR_DATA,  /* tar_data() has a piece; offsets ascend, gaps are holes */
	TAR_END,   /* end marker seen; further input is only swallowed */
};

struct tar_data {
	const uint8_t *p; /* into the caller's input */
	size_t len;
	uint64_t offset; /* in the file */
};

struct tar;

NODISCARD struct tar *tar_new(void);
void tar_free(struct tar *tar);

/*
 * tar_next - consume some of *inout_p / *inout_len and report what was found.
 * Errors: INVALID_ARGUMENT naming entry and fault; final, the reader must not be used again.
 */
NODISCARD int tar_next(struct tar *tar, const uint8_t **inout_p, size_t *inout_len,
                       enum tar_event *ret_event, struct err *err);
const struct tar_entry *
tar_entry(const struct tar *tar); /* after TAR_ENTRY, until the next header is read */
struct tar_data tar_data(const struct tar *tar); /* after TAR_DATA, until the next call */

/* End of input: INVALID_ARGUMENT when it came inside a header, a name or a file ("truncated"). */
NODISCARD int tar_finish(struct tar *tar, struct err *err);

const char *tar_type_name(enum tar_type type);

/* "/a//./b/../c/" -> "a/c", "" for the root; NULL when a component is longer than TAR_NAME_MAX. Heap. */
NODISCARD char *tar_clean_path(const char *path);

DEFINE_CLEANUP_PTR(struct tar, tar_free);

#endif
