/* core/base/codec.h
 *
 * Hex, base64, CRC-32C, little-endian integers, percent encoding.
 */
#ifndef CORACLE_CORE_BASE_CODEC_H
#define CORACLE_CORE_BASE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/str.h"

void hex_encode(const void *data, size_t len, char *text); /* 2 * len + 1 bytes */
/* Exactly len bytes, lower or upper case; -1 on anything else. */
NODISCARD int hex_decode(struct str text, void *data, size_t len);
/* Standard alphabet, padded. */
NODISCARD int base64_encode(struct buf *out, const void *data, size_t len);
/* Standard and URL alphabet, padding optional, nothing else accepted; -1 on a bad character. */
NODISCARD int base64_decode(struct buf *out, struct str text);
/* CRC-32C (Castagnoli); seed 0 starts, feed the previous result to continue. */
uint32_t crc32c(uint32_t seed, const void *data, size_t len);
/* For tests: the same without the CPU's instruction. */
uint32_t crc32c_reference(uint32_t seed, const void *data, size_t len);
/* Everything but unreserved characters as %XX. */
NODISCARD int percent_encode(struct buf *out, struct str text);
NODISCARD int percent_decode(struct buf *out, struct str text);

static inline void put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
	put_le16(p, (uint16_t)v);
	put_le16(p + 2, (uint16_t)(v >> 16));
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
	put_le32(p, (uint32_t)v);
	put_le32(p + 4, (uint32_t)(v >> 32));
}
static inline uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get_le32(const uint8_t *p)
{
	return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}
static inline uint64_t get_le64(const uint8_t *p)
{
	return get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

#endif
