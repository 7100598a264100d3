/* core/base/codec.c */
#include "core/base/codec.h"

#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(const void *data, size_t len, char *text)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		*text++ = hex_digits[p[i] >> 4];
		*text++ = hex_digits[p[i] & 15];
	}
	*text = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Two digits at @p as a byte, or -1. */
static int hex_byte(const char *p)
{
	int high = hex_value(p[0]);
	int low = hex_value(p[1]);

	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int hex_decode(struct str text, void *data, size_t len)
{
	uint8_t *p = data;

	if (len > SIZE_MAX / 2 || text.len != 2 * len)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int byte = hex_byte(text.p + 2 * i);

		if (byte < 0)
			return -1;
		p[i] = (uint8_t)byte;
	}
	return 0;
}

int base64_encode(struct buf *out, const void *data, size_t len)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = data;
	size_t groups = len / 3 + (len % 3 != 0);
	char *q;

	if (!len)
		return 0;
	if (groups > SIZE_MAX / 4)
		return -1;
	q = buf_reserve(out, groups * 4);
	if (!q)
		return -1;
	for (; len > 0; p += 3, q += 4) {
		size_t n = len < 3 ? len : 3;
		uint32_t v = (uint32_t)p[0] << 16;

		if (n > 1)
			v |= (uint32_t)p[1] << 8;
		if (n > 2)
			v |= p[2];
		q[0] = alphabet[v >> 18];
		q[1] = alphabet[v >> 12 & 63];
		q[2] = n > 1 ? alphabet[v >> 6 & 63] : '=';
		q[3] = n > 2 ? alphabet[v & 63] : '=';
		len -= n;
	}
	buf_grew(out, groups * 4);
	return 0;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

int base64_decode(struct buf *out, struct str text)
{
	size_t whole = text.len, bytes = 0;
	uint32_t v = 0;
	char *q;

	/* padding is optional, but where it is it must complete the last group */
	if (str_ends(text, "=")) {
		if (text.len % 4)
			return -1;
		text.len -= str_ends(text, "==") ? 2 : 1;
	}
	if (text.len % 4 == 1)
		return -1;
	if (!text.len)
		return whole ? -1 : 0;

	q = buf_reserve(out, text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0));
	if (!q)
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		int value = base64_value(text.p[i]);

		if (value < 0) {
			buf_grew(out, 0); /* puts the terminator back */
			return -1;
		}
		v = v << 6 | (uint32_t)value;
		if (i % 4 == 3 || i + 1 == text.len) {
			unsigned have = (unsigned)(i % 4) + 1; /* 2, 3 or 4 digits of 6 bits */

			v <<= 6 * (4 - have);
			for (unsigned k = 0; k + 1 < have; k++)
				q[bytes++] = (char)(v >> (16 - 8 * k));
			v = 0;
		}
	}
	buf_grew(out, bytes);
	return 0;
}

/*
 * CRC-32C, reflected polynomial 0x82f63b78. Portable: four bits at a time from a table small enough
 * to read here; the journal's speed comes from the instruction, which every x86-64 server of the
 * last fifteen years has.
 */
static uint32_t crc32c_portable(uint32_t crc, const uint8_t *p, size_t len)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (; len > 0; len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p,
                                                               size_t len)
{
	uint64_t wide = crc;

	for (; len >= 8; p += 8, len -= 8)
		wide = __builtin_ia32_crc32di(wide, get_le64(p));
	crc = (uint32_t)wide;
	for (; len > 0; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

static uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, p, len)
	                                        : crc32c_portable(crc, p, len);
}
#else
static uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t len)
{
	return crc32c_portable(crc, p, len);
}
#endif

uint32_t crc32c(uint32_t seed, const void *data, size_t len)
{
	return ~crc32c_update(~seed, data, len);
}

uint32_t crc32c_reference(uint32_t seed, const void *data, size_t len)
{
	return ~crc32c_portable(~seed, data, len);
}

static int is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

int percent_encode(struct buf *out, struct str text)
{
	size_t bytes = 0;
	char *q;

	for (size_t i = 0; i < text.len; i++)
		bytes += is_unreserved(text.p[i]) ? 1 : 3;
	q = buf_reserve(out, bytes);
	if (!q)
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (is_unreserved((char)c)) {
			*q++ = (char)c;
		} else {
			*q++ = '%';
			*q++ = "0123456789ABCDEF"[c >> 4];
			*q++ = "0123456789ABCDEF"[c & 15];
		}
	}
	buf_grew(out, bytes);
	return 0;
}

int percent_decode(struct buf *out, struct str text)
{
	size_t bytes = 0;
	char *q = buf_reserve(out, text.len);

	if (!q)
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		int byte = (unsigned char)text.p[i];

		if (byte == '%') {
			byte = text.len - i > 2 ? hex_byte(text.p + i + 1) : -1;
			if (byte < 0) {
				buf_grew(out, 0);
				return -1;
			}
			i += 2;
		}
		q[bytes++] = (char)byte;
	}
	buf_grew(out, bytes);
	return 0;
}
