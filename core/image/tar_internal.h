/* core/image/tar_internal.h
 *
 * The reader's inside, shared by its three files: tar.c (the machine), tar_header.c (512-byte headers), tar_meta.c (numbers,
 * sparse maps and pax records).
 */
#ifndef CORACLE_CORE_IMAGE_TAR_INTERNAL_H
#define CORACLE_CORE_IMAGE_TAR_INTERNAL_H

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/image/tar.h"

#define TAR_SPARSE_PAIR 24 /* bytes of one piece in an old map: two 12-byte numbers */

enum tar_state {
	AT_HEADER,
	AT_META,       /* body of x, L or K */
	AT_SKIP,       /* bytes nobody wants: body of g, then padding */
	AT_OLD_SPARSE, /* extension blocks of a GNU sparse file */
	AT_MAP,        /* pax 1.0 sparse map, in front of the data */
	AT_READY,      /* entry complete, report it */
	AT_DATA,
	AT_END,
};

struct extent {
	uint64_t offset, len;
};

struct sparse {
	struct extent *extents;
	size_t count, cap;
};

/* What x, L and K say about the entry that follows. */
struct pending {
	char *path, *link;         /* pax */
	char *gnu_path, *gnu_link; /* win over pax */
	char *sparse_name;         /* GNU.sparse.name: the real name of a sparse file */
	bool has_size, has_uid, has_gid, has_mtime, has_atime, has_real_size, has_offset;
	uint64_t size, real_size;
	int64_t uid, gid, mtime_s, atime_s;
	uint32_t mtime_ns, atime_ns;
	uint64_t sparse_offset; /* pax 0.0: offset, waiting for its numbytes */
	uint64_t sparse_major;  /* 1: the map is in front of the data */
	bool is_sparse;
	struct buf xattr_bytes; /* name NUL value, one after the other */
	struct xattr_at {
		size_t name, value, len; /* offsets into xattr_bytes */
	} xattrs[TAR_XATTRS_MAX];
	size_t nxattrs;
};

struct tar {
	enum tar_state state;
	uint8_t block[TAR_BLOCK];
	size_t have; /* bytes of block */
	unsigned zero_blocks;

	char meta_type;
	struct buf meta;
	uint64_t meta_left;
	uint64_t skip_left; /* AT_SKIP, and padding after anything else */

	struct pending pending;
	struct sparse sparse;
	size_t extent_at;

	char path[TAR_PATH_MAX + 1], link[TAR_PATH_MAX + 1];
	struct tar_entry entry;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	uint64_t stored_left; /* data bytes still to come, without padding */
	uint64_t pad;         /* after them */
	uint64_t offset;      /* of the next byte in the file */
	uint64_t extent_left;
	struct tar_data data;
};

/* tar_meta.c */
int tar_bad(struct err *err, const char *why); /* -1 */
/* Octal with blanks and NULs around it, or base-256 when the first bit is set. Negative only in base-256. */
NODISCARD int tar_number(const uint8_t *p, size_t len, int64_t *ret);
NODISCARD int tar_number_positive(const uint8_t *p, size_t len, uint64_t *ret);
NODISCARD int tar_sparse_add(struct sparse *sparse, uint64_t offset, uint64_t len, struct err *err);
/* @pairs of an old GNU map; an empty one ends it. */
NODISCARD int tar_sparse_old(struct tar *tar, const uint8_t *p, size_t pairs, struct err *err);
/* Lengths must add up to what is stored, and fit into the file. */
NODISCARD int tar_sparse_check(const struct tar *tar, struct err *err);
NODISCARD int tar_meta_done(struct tar *tar,
                            struct err *err); /* the body of x, L or K is complete */

/* tar_header.c: tar->block holds a whole block */
NODISCARD int tar_header(struct tar *tar, struct err *err);
NODISCARD int tar_old_sparse_block(struct tar *tar, struct err *err);
NODISCARD int tar_map_block(struct tar *tar, struct err *err);

static inline uint64_t tar_padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

#endif
