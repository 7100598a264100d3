/* core/image/tar_header.c
 *
 * One header block becomes an entry, or says what kind of block comes next. All dialects share the first half of the layout;
 * the magic tells them apart.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/tar_internal.h"

/* Where the fields of a header are; the first half is common to all dialects. */
enum {
	AT_NAME = 0,
	NAME_LEN = 100,
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_CHKSUM = 148,
	AT_TYPE = 156,
	AT_LINK = 157,
	AT_MAGIC = 257,
	AT_MAJOR = 329,
	AT_MINOR = 337,
	AT_PREFIX = 345, /* ustar: 155 bytes; star: 131 */
	AT_GNU_SPARSE = 386,
	AT_GNU_EXTENDED = 482,
	AT_GNU_REALSIZE = 483,
	AT_STAR_TRAILER = 508,
	SPARSE_IN_HEADER = 4,
	SPARSE_IN_BLOCK = 21, /* "more follows" is at 504 */
	AT_SPARSE_MORE = 504,
};

static bool checksum_ok(const uint8_t block[TAR_BLOCK])
{
	int64_t unsigned_sum = 0, signed_sum = 0, stored;

	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = i >= AT_CHKSUM && i < AT_CHKSUM + 8 ? ' ' : block[i];

		unsigned_sum += c;
		signed_sum += (int8_t)c; /* what old tars on signed-char machines wrote */
	}
	return tar_number(block + AT_CHKSUM, 8, &stored) == 0 &&
	       (stored == unsigned_sum || stored == signed_sum);
}

static void field(char *dst, size_t *len, const uint8_t *p, size_t max)
{
	size_t n = strnlen((const char *)p, max);

	memcpy(dst + *len, p, n);
	*len += n;
	dst[*len] = '\0';
}

static void header_path(struct tar *tar, const uint8_t *h, bool ustar, bool star)
{
	size_t len = 0;

	if (tar->pending.sparse_name && tar->pending.is_sparse) {
		ignore(str_copy(tar->path, sizeof(tar->path),
		                tar->pending.sparse_name)); /* was checked: fits */
		return;
	}
	if (tar->pending.gnu_path || tar->pending.path) {
		ignore(str_copy(tar->path, sizeof(tar->path), /* likewise */
		                tar->pending.gnu_path ? tar->pending.gnu_path : tar->pending.path));
		return;
	}
	if (ustar && h[AT_PREFIX] != '\0') {
		field(tar->path, &len, h + AT_PREFIX, star ? 131 : 155);
		tar->path[len++] = '/';
	}
	field(tar->path, &len, h + AT_NAME, NAME_LEN);
}

static int header_type(char flag, const char *path, enum tar_type *ret)
{
	size_t len = strlen(path);

	switch (flag) {
	case '\0': /* v7 had no type for directories */
		*ret = len > 0 && path[len - 1] == '/' ? TAR_DIR : TAR_FILE;
		return 0;
	case '0':
	case '7': /* contiguous: a file */
	case 'S': /* old GNU sparse */
		*ret = TAR_FILE;
		return 0;
	case '1':
		*ret = TAR_HARDLINK;
		return 0;
	case '2':
		*ret = TAR_SYMLINK;
		return 0;
	case '3':
		*ret = TAR_CHAR;
		return 0;
	case '4':
		*ret = TAR_BLOCKDEV;
		return 0;
	case '5':
		*ret = TAR_DIR;
		return 0;
	case '6':
		*ret = TAR_FIFO;
		return 0;
	default:
		return -1;
	}
}

static int entry_bad(const struct tar *tar, struct err *err, const char *why)
{
	return err_set(err, CODE_INVALID_ARGUMENT, "tar: %.120s: %s", tar->path, why);
}

static int header_owner(const struct tar *tar, const uint8_t *p, bool has_pax, int64_t pax,
                        uint32_t *ret)
{
	int64_t id = pax;

	if (!has_pax && tar_number(p, 8, &id) < 0)
		return -1;
	if (id < 0 || id >= UINT32_MAX) /* 2^32-1 is "leave it" to chown */
		return -1;
	(void)tar;
	*ret = (uint32_t)id;
	return 0;
}

static int header_numbers(struct tar *tar, const uint8_t *h, bool has_devices, struct err *err)
{
	const struct pending *pending = &tar->pending;
	struct tar_entry *entry = &tar->entry;
	int64_t n = 0, major = 0, minor = 0;

	if (tar_number(h + AT_MODE, 8, &n) < 0)
		return entry_bad(tar, err, "malformed mode");
	entry->mode = (uint32_t)n & 07777;
	if (header_owner(tar, h + AT_UID, pending->has_uid, pending->uid, &entry->uid) < 0)
		return entry_bad(tar, err, "user id out of range");
	if (header_owner(tar, h + AT_GID, pending->has_gid, pending->gid, &entry->gid) < 0)
		return entry_bad(tar, err, "group id out of range");

	if (pending->has_mtime) {
		entry->mtime_s = pending->mtime_s;
		entry->mtime_ns = pending->mtime_ns;
	} else if (tar_number(h + AT_MTIME, 12, &entry->mtime_s) < 0) {
		return entry_bad(tar, err, "malformed time");
	}
	entry->atime_s = entry->mtime_s;
	entry->atime_ns = entry->mtime_ns;
	if (pending->has_atime &&
	    (pending->atime_s > entry->mtime_s ||
	     (pending->atime_s == entry->mtime_s && pending->atime_ns > entry->mtime_ns))) {
		entry->atime_s = pending->atime_s;
		entry->atime_ns = pending->atime_ns;
	}

	if (has_devices && (entry->type == TAR_CHAR || entry->type == TAR_BLOCKDEV)) {
		if (tar_number(h + AT_MAJOR, 8, &major) < 0 ||
		    tar_number(h + AT_MINOR, 8, &minor) < 0 || major < 0 || minor < 0 ||
		    major > UINT32_MAX || minor > UINT32_MAX)
			return entry_bad(tar, err, "device number out of range");
		entry->major = (uint32_t)major;
		entry->minor = (uint32_t)minor;
	}
	return 0;
}

static int header_size(struct tar *tar, const uint8_t *h, uint64_t *ret, struct err *err)
{
	if (tar->pending.has_size) {
		*ret = tar->pending.size;
		return 0;
	}
	if (tar_number_positive(h + AT_SIZE, 12, ret) < 0)
		return entry_bad(tar, err, "malformed size");
	return 0;
}

static void header_xattrs(struct tar *tar)
{
	const struct pending *pending = &tar->pending;

	for (size_t i = 0; i < pending->nxattrs; i++)
		tar->xattrs[i] = (struct tar_xattr){
			.name = pending->xattr_bytes.data + pending->xattrs[i].name,
			.value = pending->xattr_bytes.data + pending->xattrs[i].value,
			.len = pending->xattrs[i].len,
		};
	tar->entry.xattrs = tar->xattrs;
	tar->entry.nxattrs = pending->nxattrs;
}

/* x, g, L, K: a body that describes other entries. */
static int header_meta(struct tar *tar, char type, const uint8_t *h, struct err *err)
{
	uint64_t size;

	if (tar_number_positive(h + AT_SIZE, 12, &size) < 0)
		return tar_bad(err, "malformed size of a pax header or long name");
	if (type == 'g') { /* global headers: ignored by both peers, and git archives carry one */
		if (size > INT64_MAX - TAR_BLOCK)
			return tar_bad(err, "malformed size of a global header");
		tar->skip_left = size + tar_padding(size);
		tar->state = AT_SKIP;
		return 0;
	}
	if (size > TAR_META_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "tar: pax header or long name larger than %d bytes", TAR_META_MAX);
	buf_clear(&tar->meta);
	tar->meta_type = type;
	tar->meta_left = size;
	tar->pad = tar_padding(size);
	tar->state = AT_META;
	return 0;
}

static int old_sparse_header(struct tar *tar, const uint8_t *h, struct err *err)
{
	if (tar_number_positive(h + AT_GNU_REALSIZE, 12, &tar->entry.size) < 0)
		return entry_bad(tar, err, "malformed real size of a sparse file");
	tar->sparse.count = 0;
	if (tar_sparse_old(tar, h + AT_GNU_SPARSE, SPARSE_IN_HEADER, err) < 0)
		return -1;
	if (h[AT_GNU_EXTENDED]) {
		tar->state = AT_OLD_SPARSE;
		return 0;
	}
	tar->state = AT_READY;
	return tar_sparse_check(tar, err);
}

/* A plain file is one extent. */
static int whole_file(struct tar *tar, struct err *err)
{
	tar->sparse.count = 0;
	tar->entry.size = tar->stored_left;
	tar->state = AT_READY;
	return tar->stored_left ? tar_sparse_add(&tar->sparse, 0, tar->stored_left, err) : 0;
}

static int pax_sparse_header(struct tar *tar, struct err *err)
{
	const struct pending *pending = &tar->pending;

	if (!pending->has_real_size)
		return entry_bad(tar, err, "sparse file without its real size");
	tar->entry.size = pending->real_size;
	if (pending->sparse_major == 1) {
		tar->sparse.count = 0;
		buf_clear(&tar->meta);
		tar->state = AT_MAP;
		return 0;
	}
	tar->state = AT_READY;
	return tar_sparse_check(tar, err);
}

int tar_header(struct tar *tar, struct err *err)
{
	const uint8_t *h = tar->block;
	bool ustar = memcmp(h + AT_MAGIC, "ustar", 6) == 0; /* with its NUL */
	bool gnu = memcmp(h + AT_MAGIC, "ustar  ", 8) == 0;
	bool star = ustar && memcmp(h + AT_STAR_TRAILER, "tar", 4) == 0;
	char flag = (char)h[AT_TYPE];
	size_t len = 0;

	if (!checksum_ok(h))
		return tar_bad(
			err,
			"header checksum does not match: this is not a tar archive, or it is damaged");
	if (flag == 'x' || flag == 'g' || flag == 'L' || flag == 'K')
		return header_meta(tar, flag, h, err);

	tar->entry = (struct tar_entry){ .path = tar->path, .link = tar->link };
	header_path(tar, h, ustar, star);
	if (tar->path[0] == '\0')
		return tar_bad(err, "entry without a name");
	if (header_type(flag, tar->path, &tar->entry.type) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "tar: %.120s: unknown entry type 0x%02x",
		               tar->path, (uint8_t)flag);
	tar->link[0] = '\0';
	if (tar->entry.type == TAR_HARDLINK || tar->entry.type == TAR_SYMLINK) {
		if (tar->pending.gnu_link || tar->pending.link)
			ignore(str_copy(tar->link, sizeof(tar->link), /* was checked: fits */
			                tar->pending.gnu_link ? tar->pending.gnu_link
			                                      : tar->pending.link));
		else
			field(tar->link, &len, h + AT_LINK, NAME_LEN);
		if (tar->link[0] == '\0')
			return entry_bad(tar, err, "link without a target");
	}
	if (header_numbers(tar, h, ustar || gnu, err) < 0)
		return -1;
	header_xattrs(tar);

	tar->stored_left = 0;
	tar->pad = 0;
	if (tar->entry.type != TAR_FILE) { /* no data, whatever the size says */
		tar->sparse.count = 0;
		tar->state = AT_READY;
		return 0;
	}
	if (header_size(tar, h, &tar->stored_left, err) < 0)
		return -1;
	tar->pad = tar_padding(tar->stored_left);
	if (flag == 'S')
		return old_sparse_header(tar, h, err);
	if (tar->pending.is_sparse)
		return pax_sparse_header(tar, err);
	return whole_file(tar, err);
}

int tar_old_sparse_block(struct tar *tar, struct err *err)
{
	if (tar_sparse_old(tar, tar->block, SPARSE_IN_BLOCK, err) < 0)
		return -1;
	if (tar->block[AT_SPARSE_MORE])
		return 0;
	tar->state = AT_READY;
	return tar_sparse_check(tar, err);
}

/* The next newline-terminated number of the map, or false when more input is needed. */
static bool map_number(struct str *rest, uint64_t *ret, bool *ret_bad)
{
	struct str line, tail;

	if (!str_cut(*rest, '\n', &line, &tail)) {
		*ret_bad = rest->len > 20;
		return false;
	}
	if (str_u64(line, INT64_MAX, ret) < 0) {
		*ret_bad = true;
		return false;
	}
	*rest = tail;
	return true;
}

/*
 * pax 1.0: "count\noffset\nlength\n...", padded to a block, counted as stored data. Parsed again from the start with each
 * block: the blocks number at most TAR_META_MAX / 512, but a parse per block would be quadratic, so the count decides first.
 */
int tar_map_block(struct tar *tar, struct err *err)
{
	struct str rest;
	uint64_t count, offset, len;
	bool malformed = false;
	size_t lines = 0;

	if (tar->stored_left < TAR_BLOCK)
		return entry_bad(tar, err, "sparse map is longer than the stored data");
	tar->stored_left -= TAR_BLOCK;
	if (buf_add(&tar->meta, tar->block, TAR_BLOCK) < 0)
		return buf_err_full(&tar->meta, "tar: sparse map", err);

	/* meta_left counts the newlines seen so far; a full map has 1 + 2 * count of them. */
	for (size_t i = 0; i < TAR_BLOCK; i++)
		lines += tar->block[i] == '\n';
	tar->meta_left += lines;

	rest = (struct str){ tar->meta.data, tar->meta.len };
	if (!map_number(&rest, &count, &malformed))
		return malformed ? entry_bad(tar, err, "malformed sparse map") : 0;
	if (count > TAR_SPARSE_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "tar: %.120s: sparse file with more than %d pieces", tar->path,
		               TAR_SPARSE_MAX);
	if (tar->meta_left < 1 + 2 * count)
		return 0;
	for (uint64_t i = 0; i < count; i++) {
		if (!map_number(&rest, &offset, &malformed) || !map_number(&rest, &len, &malformed))
			return entry_bad(tar, err, "malformed sparse map");
		if (tar_sparse_add(&tar->sparse, offset, len, err) < 0)
			return -1;
	}
	tar->state = AT_READY;
	return tar_sparse_check(tar, err);
}
