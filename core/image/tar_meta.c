/* core/image/tar_meta.c
 *
 * What stands between headers: numbers as the dialects write them, sparse maps, pax records and long names.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/tar_internal.h"

int tar_bad(struct err *err, const char *why)
{
	return err_set(err, CODE_INVALID_ARGUMENT, "tar: %s", why);
}

int tar_number(const uint8_t *p, size_t len, int64_t *ret)
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

int tar_number_positive(const uint8_t *p, size_t len, uint64_t *ret)
{
	int64_t value;

	if (tar_number(p, len, &value) < 0 || value < 0)
		return -1;
	*ret = (uint64_t)value;
	return 0;
}

/* --- sparse maps */

int tar_sparse_add(struct sparse *sparse, uint64_t offset, uint64_t len, struct err *err)
{
	const struct extent *last = sparse->count ? &sparse->extents[sparse->count - 1] : NULL;

	if (sparse->count >= TAR_SPARSE_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "tar: sparse file with more than %d pieces", TAR_SPARSE_MAX);
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return tar_bad(err, "sparse map exceeds the largest file");
	if (last && offset < last->offset + last->len)
		return tar_bad(err, "sparse map is not ascending");
	if (sparse->count == sparse->cap) {
		sparse->cap = sparse->cap ? sparse->cap * 2 : 16;
		sparse->extents = xrealloc(sparse->extents, sparse->cap, sizeof(*sparse->extents));
	}
	ensure(sparse->extents);
	sparse->extents[sparse->count++] = (struct extent){ offset, len };
	return 0;
}

int tar_sparse_old(struct tar *tar, const uint8_t *p, size_t pairs, struct err *err)
{
	for (size_t i = 0; i < pairs; i++, p += TAR_SPARSE_PAIR) {
		uint64_t offset, len;

		if (p[0] == '\0' && p[12] == '\0')
			break;
		if (tar_number_positive(p, 12, &offset) < 0 ||
		    tar_number_positive(p + 12, 12, &len) < 0)
			return tar_bad(err, "malformed number in a sparse map");
		if (tar_sparse_add(&tar->sparse, offset, len, err) < 0)
			return -1;
	}
	return 0;
}

int tar_sparse_check(const struct tar *tar, struct err *err)
{
	uint64_t sum = 0;

	ensure(tar->sparse.count == 0 || tar->sparse.extents);
	for (size_t i = 0; i < tar->sparse.count; i++) {
		const struct extent *e = &tar->sparse.extents[i];

		if (e->offset + e->len > tar->entry.size)
			return tar_bad(err, "sparse map reaches beyond the end of the file");
		sum += e->len; /* ascending and inside an int64_t: cannot overflow */
	}
	if (sum != tar->stored_left)
		return tar_bad(err, "sparse map does not match the stored size");
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
		return tar_bad(err, "bad extended attribute name");
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
			return tar_bad(err, "malformed GNU.sparse.map");
		str_cut(tail, ',', &head, &tail);
		if (str_u64(head, INT64_MAX, &len) < 0)
			return tar_bad(err, "malformed GNU.sparse.map");
		if (tar_sparse_add(&tar->sparse, offset, len, err) < 0)
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
			return tar_bad(err, "GNU.sparse.numbytes without an offset");
		pending->has_offset = false;
		pending->is_sparse = true;
		return tar_sparse_add(&tar->sparse, pending->sparse_offset, n, err);
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
	struct str rest = { or_empty(tar->meta.data), tar->meta.len };

	tar->sparse.count = 0;
	while (rest.len > 0) {
		struct str digits, body, record, key, value;
		uint64_t len;

		if (rest.p[0] == '\0') /* some writers pad with NULs inside the size */
			break;
		if (!str_cut(rest, ' ', &digits, &body) || str_u64(digits, TAR_META_MAX, &len) < 0)
			return tar_bad(err, "malformed pax header");
		if (len > rest.len || len < digits.len + 3 || rest.p[len - 1] != '\n')
			return tar_bad(err, "malformed pax header");
		record = (struct str){ body.p, (size_t)len - digits.len - 2 };
		if (!str_cut(record, '=', &key, &value) || key.len == 0)
			return tar_bad(err, "malformed pax header");
		if (pax_record(tar, key, value, err) < 0)
			return -1;
		rest = (struct str){ rest.p + len, rest.len - (size_t)len };
	}
	return 0;
}

int tar_meta_done(struct tar *tar, struct err *err)
{
	struct str text = { or_empty(tar->meta.data), tar->meta.len };
	char **slot = tar->meta_type == 'L' ? &tar->pending.gnu_path : &tar->pending.gnu_link;

	if (tar->meta_type == 'x')
		return pax_parse(tar, err);
	text.len = strnlen(text.p, text.len);
	return pax_set_path(slot, text, "GNU long name", err);
}
