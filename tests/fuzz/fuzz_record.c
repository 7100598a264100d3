/* Frames: whatever is accepted encodes to the same bytes again, and one changed byte is never accepted. */
#include <stdint.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/state/record.h"

/* Bytes as they come. */
static void decode_all(const uint8_t *data, size_t size, uint32_t salt)
{
	cleanup(buf_release) struct buf again = { 0 };
	uint32_t crc = salt;

	buf_init(&again, 64 * 1024 * 1024);
	while (size > 0) {
		uint32_t before = crc;
		struct record rec;
		struct err err;
		size_t used;

		ignore(record_decode_header(data, size, salt, &rec)); /* must not crash */
		if (record_decode(data, size, salt, &crc, &rec, &used) != RECORD_OK)
			return;
		ensure(used <= size && rec.payload >= data &&
		       rec.payload + rec.len + 4 == data + used);
		buf_clear(&again);
		ensure(record_encode(&again, &rec, salt, &before, &err) == 0);
		ensure(before == crc && again.len == used && memcmp(again.data, data, used) == 0);
		data += used;
		size -= used;
	}
}

/* A frame that we wrote, then one byte of it changed. */
static void change_one(const uint8_t *data, size_t size)
{
	cleanup(buf_release) struct buf buf = { 0 };
	struct record rec = { 0 }, got;
	uint32_t salt, crc, read;
	struct err err;
	size_t used;

	if (size < 40)
		return;
	salt = get_le32(data);
	rec.seq = get_le64(data + 4) | 1;
	rec.time_ns = (int64_t)get_le64(data + 12);
	rec.kind = get_le16(data + 20);
	rec.version = get_le16(data + 22);
	rec.synced_seq = get_le64(data + 24);
	crc = read = get_le32(data + 32);
	rec.payload = data + 40;
	rec.len = (uint32_t)(size - 40);
	buf_init(&buf, 64 * 1024 * 1024);
	if (record_encode(&buf, &rec, salt, &crc, &err) < 0)
		return;
	ensure(record_decode((uint8_t *)buf.data, buf.len, salt, &read, &got, &used) == RECORD_OK &&
	       read == crc);
	ensure(got.seq == rec.seq && got.kind == rec.kind && got.len == rec.len &&
	       got.synced_seq == rec.synced_seq);
	read = get_le32(data + 32);
	buf.data[get_le32(data + 36) % buf.len] ^= (char)(data[36] | 1);
	ensure(record_decode((uint8_t *)buf.data, buf.len, salt, &read, &got, &used) != RECORD_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4)
		return 0;
	decode_all(data + 4, size - 4, get_le32(data));
	change_one(data, size);
	return 0;
}
