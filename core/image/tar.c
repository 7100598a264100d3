/* core/image/tar.c
 *
 * One state per place in the archive. A member is
 *
 *	[pax header | GNU long name]*  header  [old sparse blocks]*  [pax 1.0 sparse map]  data  padding
 *
 * and TAR_ENTRY is reported only when all that describes it has been read, so a consumer never sees half a name. What is
 * collected for the next entry (struct pending) is dropped after that entry.
 */
#include "core/image/tar.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"

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
	SPARSE_PAIR = 24, /* two 12-byte numbers */
	SPARSE_IN_HEADER = 4,
	SPARSE_IN_BLOCK = 21, /* "more follows" is at 504 */
	AT_SPARSE_MORE = 504,
};

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

static void pending_clear(struct pending *pending)
{
	free(pending->path);
	free(pending->link);
	free(pending->gnu_path);
	free(pending->gnu_link);
	free(pending->sparse_name);
	buf_release(&pending->xattr_bytes);
	*pending = (struct pending){ 0 };
	buf_init(&pending->xattr_bytes, TAR_XATTR_BYTES_MAX);
}

struct tar *tar_new(void)
{
	struct tar *tar = xcalloc(1, sizeof(*tar));

	buf_init(&tar->meta, TAR_META_MAX);
	buf_init(&tar->pending.xattr_bytes, TAR_XATTR_BYTES_MAX);
	return tar;
}

void tar_free(struct tar *tar)
{
	if (!tar)
		return;
	pending_clear(&tar->pending);
	buf_release(&tar->pending.xattr_bytes);
	buf_release(&tar->meta);
	free(tar->sparse.extents);
	free(tar);
}

const struct tar_entry *tar_entry(const struct tar *tar)
{
	return &tar->entry;
}

struct tar_data tar_data(const struct tar *tar)
{
	return tar->data;
}

const char *tar_type_name(enum tar_type type)
{
	switch (type) {
	case TAR_FILE:
		return "file";
	case TAR_HARDLINK:
		return "hard link";
	case TAR_SYMLINK:
		return "symlink";
	case TAR_CHAR:
		return "character device";
	case TAR_BLOCKDEV:
		return "block device";
	case TAR_DIR:
		return "directory";
	case TAR_FIFO:
		return "fifo";
	}
	return "?";
}

static int bad(struct err *err, const char *why)
{
	return err_set(err, CODE_INVALID_ARGUMENT, "tar: %s", why);
}

static uint64_t padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

/* Octal with blanks and NULs around it, or base-256 when the first bit is set. Negative only in base-256. */
static int number(const uint8_t *p, size_t len, int64_t *ret)
{
	uint64_t value = 0;
	size_t i = 0;

	if (p[0] & 0x80) {
		bool negative = p[0] & 0x40;
		/* Two's complement, the topmost bit replaced by the marker. */
		uint8_t fill = negative ? 0xff : 0x00;

		for (i = 0; i < len; i++) {
			uint8_t byte = i == 0 ? (uint8_t)(negative ? p[0] : p[0] & 0x7f) : p[i];

			if (i + 8 < len) {
				if (byte != fill)
					return -1;
				continue;
			}
			value = value << 8 | byte;
		}
		if (len < 8 && negative)
			value |= ~UINT64_C(0) << (8 * len);
		if ((value >> 63 != 0) != negative)
			return -1;
		*ret = (int64_t)value;
		return 0;
	}
	while (i < len && (p[i] == ' ' || p[i] == '\0'))
		i++;
	while (len > i && (p[len - 1] == ' ' || p[len - 1] == '\0'))
		len--;
	for (; i < len; i++) {
		if (p[i] < '0' || p[i] > '7' || value >> 60 != 0)
			return -1;
		value = value << 3 | (uint64_t)(p[i] - '0');
	}
	*ret = (int64_t)value;
	return 0;
}

static int number_positive(const uint8_t *p, size_t len, uint64_t *ret)
{
	int64_t value;

	if (number(p, len, &value) < 0 || value < 0)
		return -1;
	*ret = (uint64_t)value;
	return 0;
}

static bool checksum_ok(const uint8_t block[TAR_BLOCK])
{
	int64_t unsigned_sum = 0, signed_sum = 0, stored;

	for (size_t i = 0; i < TAR_BLOCK; i++) {
		uint8_t c = i >= AT_CHKSUM && i < AT_CHKSUM + 8 ? ' ' : block[i];

		unsigned_sum += c;
		signed_sum += (int8_t)c; /* what old tars on signed-char machines wrote */
	}
	return number(block + AT_CHKSUM, 8, &stored) == 0 &&
	       (stored == unsigned_sum || stored == signed_sum);
}

/* --- sparse maps */

static int sparse_add(struct sparse *sparse, uint64_t offset, uint64_t len, struct err *err)
{
	const struct extent *last = sparse->count ? &sparse->extents[sparse->count - 1] : NULL;

	if (sparse->count >= TAR_SPARSE_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "tar: sparse file with more than %d pieces", TAR_SPARSE_MAX);
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return bad(err, "sparse map exceeds the largest file");
	if (last && offset < last->offset + last->len)
		return bad(err, "sparse map is not ascending");
	if (sparse->count == sparse->cap) {
		sparse->cap = sparse->cap ? sparse->cap * 2 : 16;
		sparse->extents = xrealloc(sparse->extents, sparse->cap, sizeof(*sparse->extents));
	}
	sparse->extents[sparse->count++] = (struct extent){ offset, len };
	return 0;
}

/* Entries of 2 x 12 bytes; an empty one ends the list (ret_more untouched then). */
static int sparse_old(struct tar *tar, const uint8_t *p, size_t pairs, struct err *err)
{
	for (size_t i = 0; i < pairs; i++, p += SPARSE_PAIR) {
		uint64_t offset, len;

		if (p[0] == '\0' && p[12] == '\0')
			break;
		if (number_positive(p, 12, &offset) < 0 || number_positive(p + 12, 12, &len) < 0)
			return bad(err, "malformed number in a sparse map");
		if (sparse_add(&tar->sparse, offset, len, err) < 0)
			return -1;
	}
	return 0;
}

/* Lengths must add up to what is stored, and fit into the file. */
static int sparse_check(const struct tar *tar, struct err *err)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < tar->sparse.count; i++) {
		const struct extent *e = &tar->sparse.extents[i];

		if (e->offset + e->len > tar->entry.size)
			return bad(err, "sparse map reaches beyond the end of the file");
		sum += e->len; /* ascending and inside an int64_t: cannot overflow */
	}
	if (sum != tar->stored_left)
		return bad(err, "sparse map does not match the stored size");
	return 0;
}

/* --- pax records */

/* "123.456", "-1.5": seconds and nanoseconds, floor. */
static int pax_time(struct str value, int64_t *ret_s, uint32_t *ret_ns)
{
	struct str whole, fraction;
	bool negative = value.len > 0 && value.p[0] == '-';
	uint32_t ns = 0, scale = 100000000;
	int64_t s = 0;

	str_cut(value, '.', &whole, &fraction);
	if (whole.len == (negative ? 1U : 0U) ||
	    str_i64(whole, INT64_MIN / 4, INT64_MAX / 4, &s) < 0)
		return -1;
	for (size_t i = 0; i < fraction.len; i++) {
		if (fraction.p[i] < '0' || fraction.p[i] > '9')
			return -1;
		ns += (uint32_t)(fraction.p[i] - '0') * scale;
		scale /= 10;
	}
	if (negative && ns != 0) {
		s--;
		ns = 1000000000 - ns;
	}
	*ret_s = s;
	*ret_ns = ns;
	return 0;
}

static int pax_set_path(char **slot, struct str value, const char *what, struct err *err)
{
	if (memchr(value.p, '\0', value.len))
		return err_set(err, CODE_INVALID_ARGUMENT, "tar: pax %s holds a NUL byte", what);
	if (value.len > TAR_PATH_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "tar: pax %s is longer than %d bytes",
		               what, TAR_PATH_MAX);
	free(*slot);
	*slot = value.len ? str_dup(value) : NULL; /* an empty value takes an earlier one back */
	return 0;
}

static int pax_xattr(struct pending *pending, struct str name, struct str value, struct err *err)
{
	struct xattr_at at;

	if (name.len == 0 || name.len > TAR_XATTR_NAME_MAX || memchr(name.p, '\0', name.len))
		return bad(err, "bad extended attribute name");
	if (pending->nxattrs >= TAR_XATTRS_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "tar: more than %d extended attributes", TAR_XATTRS_MAX);
	at.name = pending->xattr_bytes.len;
	at.value = at.name + name.len + 1;
	at.len = value.len;
	if (buf_add(&pending->xattr_bytes, name.p, name.len) < 0 ||
	    buf_add(&pending->xattr_bytes, "", 1) < 0 ||
	    buf_add(&pending->xattr_bytes, value.p, value.len) < 0)
		return buf_err_full(&pending->xattr_bytes, "tar: extended attributes", err);
	pending->xattrs[pending->nxattrs++] = at;
	return 0;
}

/* pax 0.1: "offset,length,offset,length..." */
static int pax_sparse_map(struct tar *tar, struct str value, struct err *err)
{
	struct str head, tail = value;
	uint64_t offset, len;

	tar->sparse.count = 0;
	while (tail.len > 0) {
		str_cut(tail, ',', &head, &tail);
		if (str_u64(head, INT64_MAX, &offset) < 0)
			return bad(err, "malformed GNU.sparse.map");
		str_cut(tail, ',', &head, &tail);
		if (str_u64(head, INT64_MAX, &len) < 0)
			return bad(err, "malformed GNU.sparse.map");
		if (sparse_add(&tar->sparse, offset, len, err) < 0)
			return -1;
	}
	tar->pending.is_sparse = true;
	return 0;
}

static int pax_sparse(struct tar *tar, struct str key, struct str value, struct err *err)
{
	struct pending *pending = &tar->pending;
	uint64_t n = 0;

	if (str_eq_c(key, "name"))
		return pax_set_path(&pending->sparse_name, value, "GNU.sparse.name", err);
	if (str_eq_c(key, "map"))
		return pax_sparse_map(tar, value, err);
	if (str_u64(value, INT64_MAX, &n) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "tar: malformed GNU.sparse." STR_FMT,
		               STR_ARG(key));
	if (str_eq_c(key, "major")) {
		pending->sparse_major = n;
		pending->is_sparse = true;
	} else if (str_eq_c(key, "size") || str_eq_c(key, "realsize")) {
		pending->has_real_size = true;
		pending->real_size = n;
		pending->is_sparse = true;
	} else if (str_eq_c(key, "offset")) {
		pending->has_offset = true;
		pending->sparse_offset = n;
	} else if (str_eq_c(key, "numbytes")) {
		if (!pending->has_offset)
			return bad(err, "GNU.sparse.numbytes without an offset");
		pending->has_offset = false;
		pending->is_sparse = true;
		return sparse_add(&tar->sparse, pending->sparse_offset, n, err);
	}
	return 0; /* minor, numblocks: implied */
}

static int pax_record(struct tar *tar, struct str key, struct str value, struct err *err)
{
	struct pending *pending = &tar->pending;
	int rc = 0;

	if (str_starts(key, "GNU.sparse."))
		return pax_sparse(tar, (struct str){ key.p + 11, key.len - 11 }, value, err);
	if (str_starts(key, "SCHILY.xattr."))
		return pax_xattr(pending, (struct str){ key.p + 13, key.len - 13 }, value, err);
	if (str_eq_c(key, "path"))
		return pax_set_path(&pending->path, value, "path", err);
	if (str_eq_c(key, "linkpath"))
		return pax_set_path(&pending->link, value, "linkpath", err);

	/* An empty value means "as in the header". */
	if (str_eq_c(key, "size")) {
		pending->has_size = value.len > 0;
		rc = value.len ? str_u64(value, INT64_MAX, &pending->size) : 0;
	} else if (str_eq_c(key, "uid")) {
		pending->has_uid = value.len > 0;
		rc = value.len ? str_i64(value, 0, UINT32_MAX, &pending->uid) : 0;
	} else if (str_eq_c(key, "gid")) {
		pending->has_gid = value.len > 0;
		rc = value.len ? str_i64(value, 0, UINT32_MAX, &pending->gid) : 0;
	} else if (str_eq_c(key, "mtime")) {
		pending->has_mtime = value.len > 0;
		rc = value.len ? pax_time(value, &pending->mtime_s, &pending->mtime_ns) : 0;
	} else if (str_eq_c(key, "atime")) {
		pending->has_atime = value.len > 0;
		rc = value.len ? pax_time(value, &pending->atime_s, &pending->atime_ns) : 0;
	}
	if (rc < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "tar: malformed pax record " STR_FMT,
		               STR_ARG(key));
	return 0;
}

/* "LEN KEY=VALUE\n", LEN counting itself. */
static int pax_parse(struct tar *tar, struct err *err)
{
	struct str rest = { tar->meta.data, tar->meta.len };

	tar->sparse.count = 0;
	while (rest.len > 0) {
		struct str digits, body, record, key, value;
		uint64_t len;

		if (rest.p[0] == '\0') /* some writers pad with NULs inside the size */
			break;
		if (!str_cut(rest, ' ', &digits, &body) || str_u64(digits, TAR_META_MAX, &len) < 0)
			return bad(err, "malformed pax header");
		if (len > rest.len || len < digits.len + 3 || rest.p[len - 1] != '\n')
			return bad(err, "malformed pax header");
		record = (struct str){ body.p, (size_t)len - digits.len - 2 };
		if (!str_cut(record, '=', &key, &value) || key.len == 0)
			return bad(err, "malformed pax header");
		if (pax_record(tar, key, value, err) < 0)
			return -1;
		rest = (struct str){ rest.p + len, rest.len - (size_t)len };
	}
	return 0;
}

static int meta_done(struct tar *tar, struct err *err)
{
	struct str text = { or_empty(tar->meta.data), tar->meta.len };
	char **slot = tar->meta_type == 'L' ? &tar->pending.gnu_path : &tar->pending.gnu_link;

	if (tar->meta_type == 'x')
		return pax_parse(tar, err);
	text.len = strnlen(text.p, text.len);
	return pax_set_path(slot, text, "GNU long name", err);
}

/* --- the header */

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

	if (!has_pax && number(p, 8, &id) < 0)
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

	if (number(h + AT_MODE, 8, &n) < 0)
		return entry_bad(tar, err, "malformed mode");
	entry->mode = (uint32_t)n & 07777;
	if (header_owner(tar, h + AT_UID, pending->has_uid, pending->uid, &entry->uid) < 0)
		return entry_bad(tar, err, "user id out of range");
	if (header_owner(tar, h + AT_GID, pending->has_gid, pending->gid, &entry->gid) < 0)
		return entry_bad(tar, err, "group id out of range");

	if (pending->has_mtime) {
		entry->mtime_s = pending->mtime_s;
		entry->mtime_ns = pending->mtime_ns;
	} else if (number(h + AT_MTIME, 12, &entry->mtime_s) < 0) {
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
		if (number(h + AT_MAJOR, 8, &major) < 0 || number(h + AT_MINOR, 8, &minor) < 0 ||
		    major < 0 || minor < 0 || major > UINT32_MAX || minor > UINT32_MAX)
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
	if (number_positive(h + AT_SIZE, 12, ret) < 0)
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

	if (number_positive(h + AT_SIZE, 12, &size) < 0)
		return bad(err, "malformed size of a pax header or long name");
	if (type == 'g') { /* global headers: ignored by both peers, and git archives carry one */
		if (size > INT64_MAX - TAR_BLOCK)
			return bad(err, "malformed size of a global header");
		tar->skip_left = size + padding(size);
		tar->state = AT_SKIP;
		return 0;
	}
	if (size > TAR_META_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "tar: pax header or long name larger than %d bytes", TAR_META_MAX);
	buf_clear(&tar->meta);
	tar->meta_type = type;
	tar->meta_left = size;
	tar->pad = padding(size);
	tar->state = AT_META;
	return 0;
}

static int old_sparse_header(struct tar *tar, const uint8_t *h, struct err *err)
{
	if (number_positive(h + AT_GNU_REALSIZE, 12, &tar->entry.size) < 0)
		return entry_bad(tar, err, "malformed real size of a sparse file");
	tar->sparse.count = 0;
	if (sparse_old(tar, h + AT_GNU_SPARSE, SPARSE_IN_HEADER, err) < 0)
		return -1;
	if (h[AT_GNU_EXTENDED]) {
		tar->state = AT_OLD_SPARSE;
		return 0;
	}
	tar->state = AT_READY;
	return sparse_check(tar, err);
}

/* A plain file is one extent. */
static int whole_file(struct tar *tar, struct err *err)
{
	tar->sparse.count = 0;
	tar->entry.size = tar->stored_left;
	tar->state = AT_READY;
	return tar->stored_left ? sparse_add(&tar->sparse, 0, tar->stored_left, err) : 0;
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
	return sparse_check(tar, err);
}

static int header(struct tar *tar, struct err *err)
{
	const uint8_t *h = tar->block;
	bool ustar = memcmp(h + AT_MAGIC, "ustar", 6) == 0; /* with its NUL */
	bool gnu = memcmp(h + AT_MAGIC, "ustar  ", 8) == 0;
	bool star = ustar && memcmp(h + AT_STAR_TRAILER, "tar", 4) == 0;
	char flag = (char)h[AT_TYPE];
	size_t len = 0;

	if (!checksum_ok(h))
		return bad(
			err,
			"header checksum does not match: this is not a tar archive, or it is damaged");
	if (flag == 'x' || flag == 'g' || flag == 'L' || flag == 'K')
		return header_meta(tar, flag, h, err);

	tar->entry = (struct tar_entry){ .path = tar->path, .link = tar->link };
	header_path(tar, h, ustar, star);
	if (tar->path[0] == '\0')
		return bad(err, "entry without a name");
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
	tar->pad = padding(tar->stored_left);
	if (flag == 'S')
		return old_sparse_header(tar, h, err);
	if (tar->pending.is_sparse)
		return pax_sparse_header(tar, err);
	return whole_file(tar, err);
}

static int old_sparse_block(struct tar *tar, struct err *err)
{
	if (sparse_old(tar, tar->block, SPARSE_IN_BLOCK, err) < 0)
		return -1;
	if (tar->block[AT_SPARSE_MORE])
		return 0;
	tar->state = AT_READY;
	return sparse_check(tar, err);
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
static int map_block(struct tar *tar, struct err *err)
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
		if (sparse_add(&tar->sparse, offset, len, err) < 0)
			return -1;
	}
	tar->state = AT_READY;
	return sparse_check(tar, err);
}

/* --- the machine */

static void entry_reported(struct tar *tar)
{
	tar->state = AT_DATA;
	tar->extent_at = 0;
	tar->extent_left = tar->sparse.count ? tar->sparse.extents[0].len : 0;
	tar->offset = tar->sparse.count ? tar->sparse.extents[0].offset : 0;
}

static void entry_over(struct tar *tar)
{
	pending_clear(&tar->pending);
	tar->sparse.count = 0;
	tar->skip_left = tar->pad;
	tar->state = AT_SKIP;
}

/* Fill tar->block; false when the input ran out first. */
static bool take_block(struct tar *tar, const uint8_t **p, size_t *len)
{
	size_t n = MIN(*len, TAR_BLOCK - tar->have);

	memcpy(tar->block + tar->have, *p, n);
	tar->have += n;
	*p += n;
	*len -= n;
	if (tar->have < TAR_BLOCK)
		return false;
	tar->have = 0;
	return true;
}

static int header_block(struct tar *tar, struct err *err)
{
	static const uint8_t zero[TAR_BLOCK];

	if (memcmp(tar->block, zero, TAR_BLOCK) == 0) {
		if (++tar->zero_blocks == 2)
			tar->state = AT_END;
		return 0;
	}
	if (tar->zero_blocks)
		return bad(err, "a header follows a single zero block");
	tar->meta_left = 0;
	return header(tar, err);
}

static int meta_bytes(struct tar *tar, const uint8_t **p, size_t *len, struct err *err)
{
	size_t n = (size_t)MIN((uint64_t)*len, tar->meta_left);

	if (buf_add(&tar->meta, *p, n) < 0)
		return buf_err_full(&tar->meta, "tar: header", err);
	*p += n;
	*len -= n;
	tar->meta_left -= n;
	if (tar->meta_left > 0)
		return 0;
	if (meta_done(tar, err) < 0)
		return -1;
	tar->skip_left = tar->pad;
	tar->state = AT_SKIP;
	return 0;
}

/* One piece of the current extent, as long as the input and the extent allow. */
static bool data_bytes(struct tar *tar, const uint8_t **p, size_t *len)
{
	size_t n;

	while (tar->extent_left == 0) {
		if (++tar->extent_at >= tar->sparse.count) {
			entry_over(tar);
			return false;
		}
		tar->offset = tar->sparse.extents[tar->extent_at].offset;
		tar->extent_left = tar->sparse.extents[tar->extent_at].len;
	}
	n = (size_t)MIN((uint64_t)*len, tar->extent_left);
	tar->data = (struct tar_data){ .p = *p, .len = n, .offset = tar->offset };
	tar->offset += n;
	tar->extent_left -= n;
	tar->stored_left -= n;
	*p += n;
	*len -= n;
	return n > 0;
}

int tar_next(struct tar *tar, const uint8_t **inout_p, size_t *inout_len, enum tar_event *ret_event,
             struct err *err)
{
	for (;;) {
		size_t n;

		switch (tar->state) {
		case AT_READY:
			entry_reported(tar);
			*ret_event = TAR_ENTRY;
			return 0;
		case AT_END:
			*inout_p += *inout_len;
			*inout_len = 0;
			*ret_event = TAR_END;
			return 0;
		case AT_SKIP:
			n = (size_t)MIN((uint64_t)*inout_len, tar->skip_left);
			*inout_p += n;
			*inout_len -= n;
			tar->skip_left -= n;
			if (tar->skip_left == 0) {
				tar->state = AT_HEADER;
				continue;
			}
			break;
		case AT_DATA:
			if (data_bytes(tar, inout_p, inout_len)) {
				*ret_event = TAR_DATA;
				return 0;
			}
			if (tar->state != AT_DATA)
				continue;
			break;
		case AT_META:
			if (meta_bytes(tar, inout_p, inout_len, err) < 0)
				return -1;
			if (tar->state != AT_META)
				continue;
			break;
		case AT_HEADER:
			if (!take_block(tar, inout_p, inout_len))
				break;
			if (header_block(tar, err) < 0)
				return -1;
			continue;
		case AT_OLD_SPARSE:
			if (!take_block(tar, inout_p, inout_len))
				break;
			if (old_sparse_block(tar, err) < 0)
				return -1;
			continue;
		case AT_MAP:
			if (!take_block(tar, inout_p, inout_len))
				break;
			if (map_block(tar, err) < 0)
				return -1;
			continue;
		}
		ensure(*inout_len == 0);
		*ret_event = TAR_MORE;
		return 0;
	}
}

int tar_finish(struct tar *tar, struct err *err)
{
	static const char *const where[] = {
		[AT_HEADER] = "a header",  [AT_META] = "a long header",
		[AT_SKIP] = "padding",     [AT_OLD_SPARSE] = "a sparse map",
		[AT_MAP] = "a sparse map", [AT_READY] = "an entry",
		[AT_DATA] = "file data",   [AT_END] = "",
	};
	bool whole = tar->have == 0 && !tar->pending.path && !tar->pending.gnu_path;

	/* Writers that leave out the end marker or the last padding are common; both peers accept them. */
	if (tar->state == AT_END || (tar->state == AT_HEADER && whole) ||
	    (tar->state == AT_SKIP && tar->skip_left < TAR_BLOCK))
		return 0;
	if (tar->state == AT_DATA && tar->extent_left == 0 &&
	    tar->extent_at + 1 >= tar->sparse.count)
		return 0;
	return err_set(err, CODE_INVALID_ARGUMENT, "tar: truncated inside %s", where[tar->state]);
}

char *tar_clean_path(const char *path)
{
	size_t len = strlen(path), out = 0;
	char *clean = xcalloc(1, len + 1);

	for (size_t i = 0; i < len;) {
		size_t n = strcspn(path + i, "/");

		if (n == 0 || (n == 1 && path[i] == '.')) {
			/* nothing */
		} else if (n == 2 && path[i] == '.' && path[i + 1] == '.') {
			while (out > 0 && clean[--out] != '/')
				;
			clean[out] = '\0';
		} else if (n > TAR_NAME_MAX) {
			free(clean);
			return NULL;
		} else {
			if (out > 0)
				clean[out++] = '/';
			memcpy(clean + out, path + i, n);
			out += n;
			clean[out] = '\0';
		}
		i += n + (path[i + n] == '/');
	}
	clean[out] = '\0';
	return clean;
}
