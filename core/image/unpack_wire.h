/* core/image/unpack_wire.h
 *
 * Frames from the pull process (which parses archives, without privileges) to the unpack process (which creates files, with
 * some), and the answer back. One stream socket per session, one command per session.
 *
 *   frame    offset size field
 *	      0      4    length of the payload, little endian, <= UNPACK_FRAME_MAX
 *	      4      1    type
 *	      5      3    zero
 *	      8	     -    payload
 *
 *   -> BEGIN   u32 slot, u64 bytes and u64 inodes to keep free: unpack into <staging>/<slot>/fs (created by the session)
 *   -> ENTRY   fixed part (unpack_wire.c), path, link, xattrs
 *   -> DATA	u64 offset, bytes: belongs to the last ENTRY
 *   -> END	empty
 *   <- DONE	struct unpack_reply
 * or
 *   -> FIX	u32 slot, then the lower layers, top-most first: each u8 length and "s<slot>" or "l<64 hex>"
 *   <- DONE
 */
#ifndef CORACLE_CORE_IMAGE_UNPACK_WIRE_H
#define CORACLE_CORE_IMAGE_UNPACK_WIRE_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/image/tar.h"
#include "core/image/untar.h"

#define UNPACK_FRAME_HEAD 8
#define UNPACK_DATA_MAX   (256 * 1024)
#define UNPACK_FRAME_MAX  (2 * TAR_PATH_MAX + TAR_XATTR_BYTES_MAX + TAR_XATTRS_MAX * 16 + 4096)
#define UNPACK_SLOT_MAX   9999 /* layers of one job */

enum unpack_frame {
	UNPACK_INVALID,
	UNPACK_BEGIN,
	UNPACK_ENTRY,
	UNPACK_DATA,
	UNPACK_END,
	UNPACK_FIX,
	UNPACK_DONE,
};

struct unpack_reply {
	struct err err; /* code CODE_OK: it worked */
	struct untar_result result;
};

/* Appends a whole frame. */
NODISCARD int unpack_put_entry(struct buf *out, const struct tar_entry *entry, struct err *err);
NODISCARD int unpack_put_reply(struct buf *out, const struct unpack_reply *reply, struct err *err);
void unpack_put_head(uint8_t head[UNPACK_FRAME_HEAD], enum unpack_frame type, size_t payload_len);

/* -1: not a frame we know (a peer that went mad). */
NODISCARD int unpack_get_head(const uint8_t head[UNPACK_FRAME_HEAD], enum unpack_frame *ret_type,
                              size_t *ret_len);
/* @data must outlive the entry: strings and values point into it. @xattrs: room for TAR_XATTRS_MAX. */
NODISCARD int unpack_get_entry(const uint8_t *data, size_t len, struct tar_entry *ret,
                               struct tar_xattr *xattrs, struct err *err);
NODISCARD int unpack_get_reply(const uint8_t *data, size_t len, struct unpack_reply *ret,
                               struct err *err);

#endif
