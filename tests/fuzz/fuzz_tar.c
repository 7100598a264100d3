/* Archives: whatever the bytes, and however they are cut into pieces, the reader reports the same, and only entries that keep
 * the promises of its header. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/image/tar.h"
#include "core/image/unpack_wire.h"

/* An entry goes to the unpack process; what arrives there is what was sent. */
static void through_the_wire(const struct tar_entry *entry)
{
	cleanup(buf_release) struct buf frame = { 0 };
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	struct tar_entry again;
	struct err err = { 0 };

	buf_init(&frame, UNPACK_FRAME_HEAD + UNPACK_FRAME_MAX);
	ensure(unpack_put_entry(&frame, entry, &err) == 0);
	ensure(unpack_get_entry((const uint8_t *)frame.data + UNPACK_FRAME_HEAD,
	                        frame.len - UNPACK_FRAME_HEAD, &again, xattrs, &err) == 0);
	ensure(strcmp(again.path, entry->path) == 0 && strcmp(again.link, entry->link) == 0 &&
	       again.size == entry->size && again.nxattrs == entry->nxattrs &&
	       again.mtime_s == entry->mtime_s);
}

static void check_entry(const struct tar_entry *entry)
{
	cleanup_free char *clean = tar_clean_path(entry->path);

	ensure(entry->path[0] && strlen(entry->path) <= TAR_PATH_MAX &&
	       strlen(entry->link) <= TAR_PATH_MAX);
	ensure(entry->mode <= 07777 && entry->uid != UINT32_MAX && entry->gid != UINT32_MAX);
	ensure(entry->mtime_ns < 1000000000 && entry->atime_ns < 1000000000);
	ensure(entry->type == TAR_FILE ? entry->size <= INT64_MAX : entry->size == 0);
	ensure(entry->nxattrs <= TAR_XATTRS_MAX);
	ensure(!clean || (clean[0] != '/' && strcmp(clean, "..") != 0 &&
	                  strncmp(clean, "../", 3) != 0 && !strstr(clean, "/../")));
	through_the_wire(entry);
}

/* A fingerprint of all events; data pieces count bytewise, since their borders depend on the input's. */
static uint32_t run(const uint8_t *data, size_t size, size_t step, int *ret_rc)
{
	cleanup(tar_free) struct tar *tar = tar_new();
	uint64_t next = 0, limit = 0;
	const uint8_t *p = data;
	size_t have = 0, left = size;
	uint32_t sum = 0;
	struct err err = { 0 };

	for (;;) {
		enum tar_event event;
		struct tar_data piece;

		if (tar_next(tar, &p, &have, &event, &err) < 0) {
			ensure(err.code != CODE_OK);
			*ret_rc = -1;
			return sum;
		}
		if (event == TAR_ENTRY) {
			const struct tar_entry *entry = tar_entry(tar);

			check_entry(entry);
			next = 0;
			limit = entry->size;
			sum = crc32c(sum, entry->path, strlen(entry->path) + 1);
			sum = crc32c(sum, &entry->size, sizeof(entry->size));
		} else if (event == TAR_DATA) {
			piece = tar_data(tar);
			ensure(piece.len > 0 && piece.offset >= next &&
			       piece.len <= limit - piece.offset && piece.offset <= limit);
			next = piece.offset + piece.len;
			sum = crc32c(sum, piece.p, piece.len);
		} else {
			ensure(have == 0);
			if (left == 0)
				break;
			have = MIN(step, left);
			left -= have;
		}
	}
	*ret_rc = tar_finish(tar, &err);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int whole = 0, pieces = 0;
	uint32_t a = run(data, size, size ? size : 1, &whole), b = run(data, size, 61, &pieces);

	ensure(a == b && whole == pieces);
	return 0;
}
