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

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/tar_internal.h"

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
		return tar_bad(err, "a header follows a single zero block");
	tar->meta_left = 0;
	return tar_header(tar, err);
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
	if (tar_meta_done(tar, err) < 0)
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
			if (tar_old_sparse_block(tar, err) < 0)
				return -1;
			continue;
		case AT_MAP:
			if (!take_block(tar, inout_p, inout_len))
				break;
			if (tar_map_block(tar, err) < 0)
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
