/* core/image/unpack_wire.c
 *
 * ENTRY payload, little endian:
 *
 *   offset size field
 *   0	    1	 type (enum tar_type)
 *   1	    3	 zero
 *   4	    4	 mode
 *   8	    4	 uid
 *   12	    4	 gid
 *   16	    4	 device major
 *   20	    4	 device minor
 *   24	    8	 mtime, seconds (two's complement)
 *   32	    4	 mtime, nanoseconds
 *   36	    8	 atime, seconds
 *   44	    4	 atime, nanoseconds
 *   48	    8	 size of the file
 *   56	    2	 length of the path, 1 .. TAR_PATH_MAX
 *   58	    2	 length of the link target
 *   60	    2	 number of xattrs
 *   62	    -	 path NUL, link NUL, then for each xattr: u32 value length, u8 name length, name NUL, value
 *
 * DONE payload: u32 code, u32 errno, u64 size, u64 inodes, u64 deferred, u8 opaque_root, u8 has_root, message.
 */
#include "core/image/unpack_wire.h"

#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/str.h"

#define ENTRY_FIXED 62
#define REPLY_FIXED 34

void unpack_put_head(uint8_t head[UNPACK_FRAME_HEAD], enum unpack_frame type, size_t payload_len)
{
	ensure(payload_len <= UNPACK_FRAME_MAX);
	memset(head, 0, UNPACK_FRAME_HEAD);
	put_le32(head, (uint32_t)payload_len);
	head[4] = (uint8_t)type;
}

int unpack_get_head(const uint8_t head[UNPACK_FRAME_HEAD], enum unpack_frame *ret_type,
                    size_t *ret_len)
{
	uint32_t len = get_le32(head);

	if (len > UNPACK_FRAME_MAX || head[4] == UNPACK_INVALID || head[4] > UNPACK_DONE ||
	    head[5] || head[6] || head[7])
		return -1;
	*ret_type = (enum unpack_frame)head[4];
	*ret_len = len;
	return 0;
}

static int put_frame(struct buf *out, enum unpack_frame type, const struct buf *payload)
{
	uint8_t head[UNPACK_FRAME_HEAD];

	if (payload->len > UNPACK_FRAME_MAX)
		return -1;
	unpack_put_head(head, type, payload->len);
	return buf_add(out, head, sizeof(head)) < 0 || buf_add(out, payload->data, payload->len) < 0
	               ? -1
	               : 0;
}

int unpack_put_entry(struct buf *out, const struct tar_entry *entry, struct err *err)
{
	cleanup(buf_release) struct buf payload = { 0 };
	size_t path_len = strlen(entry->path), link_len = strlen(entry->link);
	uint8_t fixed[ENTRY_FIXED] = { 0 };

	ensure(path_len <= TAR_PATH_MAX && link_len <= TAR_PATH_MAX &&
	       entry->nxattrs <= TAR_XATTRS_MAX);
	buf_init(&payload, UNPACK_FRAME_MAX);
	fixed[0] = (uint8_t)entry->type;
	put_le32(fixed + 4, entry->mode);
	put_le32(fixed + 8, entry->uid);
	put_le32(fixed + 12, entry->gid);
	put_le32(fixed + 16, entry->major);
	put_le32(fixed + 20, entry->minor);
	put_le64(fixed + 24, (uint64_t)entry->mtime_s);
	put_le32(fixed + 32, entry->mtime_ns);
	put_le64(fixed + 36, (uint64_t)entry->atime_s);
	put_le32(fixed + 44, entry->atime_ns);
	put_le64(fixed + 48, entry->size);
	put_le16(fixed + 56, (uint16_t)path_len);
	put_le16(fixed + 58, (uint16_t)link_len);
	put_le16(fixed + 60, (uint16_t)entry->nxattrs);
	if (buf_add(&payload, fixed, sizeof(fixed)) < 0 ||
	    buf_add(&payload, entry->path, path_len + 1) < 0 ||
	    buf_add(&payload, entry->link, link_len + 1) < 0)
		return buf_err_full(&payload, "entry", err);
	for (size_t i = 0; i < entry->nxattrs; i++) {
		const struct tar_xattr *x = &entry->xattrs[i];
		size_t name_len = strlen(x->name);
		uint8_t head[5];

		ensure(name_len <= TAR_XATTR_NAME_MAX);
		put_le32(head, (uint32_t)x->len);
		head[4] = (uint8_t)name_len;
		if (buf_add(&payload, head, sizeof(head)) < 0 ||
		    buf_add(&payload, x->name, name_len + 1) < 0 ||
		    buf_add(&payload, x->value, x->len) < 0)
			return buf_err_full(&payload, "entry", err);
	}
	return put_frame(out, UNPACK_ENTRY, &payload) < 0 ? buf_err_full(out, "entry", err) : 0;
}

/* A C string of exactly @len bytes, its NUL included in what is consumed. */
static const char *take_text(const uint8_t **p, size_t *left, size_t len)
{
	const char *text = (const char *)*p;

	if (*left < len + 1 || strnlen(text, len + 1) != len)
		return NULL;
	*p += len + 1;
	*left -= len + 1;
	return text;
}

static int bad(struct err *err)
{
	return err_set(err, CODE_INTERNAL, "malformed entry from the pull process");
}

int unpack_get_entry(const uint8_t *data, size_t len, struct tar_entry *ret,
                     struct tar_xattr *xattrs, struct err *err)
{
	struct tar_entry entry = { 0 };
	const uint8_t *p = data + ENTRY_FIXED;
	size_t left = len - ENTRY_FIXED;

	if (len < ENTRY_FIXED || data[0] > TAR_FIFO)
		return bad(err);
	entry.type = (enum tar_type)data[0];
	entry.mode = get_le32(data + 4);
	entry.uid = get_le32(data + 8);
	entry.gid = get_le32(data + 12);
	entry.major = get_le32(data + 16);
	entry.minor = get_le32(data + 20);
	entry.mtime_s = (int64_t)get_le64(data + 24);
	entry.mtime_ns = get_le32(data + 32);
	entry.atime_s = (int64_t)get_le64(data + 36);
	entry.atime_ns = get_le32(data + 44);
	entry.size = get_le64(data + 48);
	entry.nxattrs = get_le16(data + 60);
	if (entry.mode > 07777 || entry.uid == UINT32_MAX || entry.gid == UINT32_MAX ||
	    entry.mtime_ns >= 1000000000 || entry.atime_ns >= 1000000000 ||
	    entry.size > INT64_MAX || entry.nxattrs > TAR_XATTRS_MAX)
		return bad(err);
	if (get_le16(data + 56) == 0 || get_le16(data + 56) > TAR_PATH_MAX ||
	    get_le16(data + 58) > TAR_PATH_MAX)
		return bad(err);
	entry.path = take_text(&p, &left, get_le16(data + 56));
	entry.link = entry.path ? take_text(&p, &left, get_le16(data + 58)) : NULL;
	if (!entry.link)
		return bad(err);
	for (size_t i = 0; i < entry.nxattrs; i++) {
		uint32_t value_len;
		uint8_t name_len;

		if (left < 5)
			return bad(err);
		value_len = get_le32(p);
		name_len = p[4];
		p += 5;
		left -= 5;
		xattrs[i].name = name_len ? take_text(&p, &left, name_len) : NULL;
		if (!xattrs[i].name || left < value_len)
			return bad(err);
		xattrs[i].value = p;
		xattrs[i].len = value_len;
		p += value_len;
		left -= value_len;
	}
	if (left)
		return bad(err);
	entry.xattrs = xattrs;
	*ret = entry;
	return 0;
}

int unpack_put_reply(struct buf *out, const struct unpack_reply *reply, struct err *err)
{
	cleanup(buf_release) struct buf payload = { 0 };
	uint8_t fixed[REPLY_FIXED] = { 0 };

	buf_init(&payload, REPLY_FIXED + sizeof(reply->err.msg));
	put_le32(fixed, (uint32_t)reply->err.code);
	put_le32(fixed + 4, (uint32_t)reply->err.sys);
	put_le64(fixed + 8, reply->result.size_bytes);
	put_le64(fixed + 16, reply->result.inodes);
	put_le64(fixed + 24, reply->result.deferred);
	fixed[32] = reply->result.opaque_root;
	fixed[33] = reply->result.has_root;
	if (buf_add(&payload, fixed, sizeof(fixed)) < 0 ||
	    buf_add_str(&payload, reply->err.msg) < 0 || put_frame(out, UNPACK_DONE, &payload) < 0)
		return buf_err_full(out, "reply", err);
	return 0;
}

int unpack_get_reply(const uint8_t *data, size_t len, struct unpack_reply *ret, struct err *err)
{
	struct unpack_reply reply = { 0 };

	if (len < REPLY_FIXED || len - REPLY_FIXED >= sizeof(reply.err.msg) ||
	    get_le32(data) > CODE_UNAUTHENTICATED)
		return err_set(err, CODE_INTERNAL, "malformed answer from the unpack process");
	reply.err.code = (enum code)get_le32(data);
	reply.err.sys = (int)get_le32(data + 4);
	reply.result.size_bytes = get_le64(data + 8);
	reply.result.inodes = get_le64(data + 16);
	reply.result.deferred = get_le64(data + 24);
	reply.result.opaque_root = data[32] != 0;
	reply.result.has_root = data[33] != 0;
	memcpy(reply.err.msg, data + REPLY_FIXED, len - REPLY_FIXED);
	*ret = reply;
	return 0;
}
