/* core/image/inflate.c
 *
 * Three decoders behind one feed(). The first bytes decide; until there are enough of them (zstd needs four, and its
 * skippable frames look like data to a careless check) they wait in head[].
 */
#include "core/image/inflate.h"

#include <stdlib.h>
#include <string.h>

#if HAVE_IGZIP
#include <cpuid.h>

#include <isa-l/igzip_lib.h>
#endif
#include <zstd_errors.h>

#include <zlib.h>
#include <zstd.h>

#include "core/base/bug.h"
#include "core/base/mem.h"

#define OUT_BYTES  (256 * 1024)
#define HEAD_BYTES 8

struct inflate {
	inflate_sink sink;
	void *sink_arg;
	enum inflate_kind kind;
	uint8_t head[HEAD_BYTES];
	size_t have;
	bool no_igzip;
	bool in_member; /* gzip: inside one; zstd: inside a frame */
	uint64_t members;
	uint8_t *out;

	z_stream zlib;
	bool zlib_ready;
	ZSTD_DStream *zstd;
#if HAVE_IGZIP
	struct inflate_state *igzip;
#endif
};

struct inflate *inflate_new(inflate_sink sink, void *arg)
{
	struct inflate *self;

	ensure(sink);
	self = xcalloc(1, sizeof(*self));
	self->sink = sink;
	self->sink_arg = arg;
	return self;
}

void inflate_free(struct inflate *self)
{
	if (!self)
		return;
	if (self->zlib_ready)
		inflateEnd(&self->zlib);
	ZSTD_freeDStream(self->zstd);
#if HAVE_IGZIP
	free(self->igzip);
#endif
	free(self->out);
	free(self);
}

enum inflate_kind inflate_kind(const struct inflate *self)
{
	return self->kind;
}

const char *inflate_kind_name(enum inflate_kind kind)
{
	switch (kind) {
	case INFLATE_UNKNOWN:
		return "unknown";
	case INFLATE_PLAIN:
		return "plain";
	case INFLATE_GZIP:
		return "gzip";
	case INFLATE_ZSTD:
		return "zstd";
	}
	return "?";
}

void inflate_use_zlib(struct inflate *self)
{
	self->no_igzip = true;
}

static enum inflate_kind detect(const uint8_t *p, size_t len)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b, 0x08 };
	static const uint8_t zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };
	static const uint8_t skippable[] = { 0x2a, 0x4d, 0x18 };

	if (len >= sizeof(gzip) && memcmp(p, gzip, sizeof(gzip)) == 0)
		return INFLATE_GZIP;
	if (len >= sizeof(zstd) && memcmp(p, zstd, sizeof(zstd)) == 0)
		return INFLATE_ZSTD;
	if (len >= HEAD_BYTES && (p[0] & 0xf0) == 0x50 &&
	    memcmp(p + 1, skippable, sizeof(skippable)) == 0)
		return INFLATE_ZSTD;
	return INFLATE_PLAIN;
}

bool inflate_is_compressed(const uint8_t *data, size_t len)
{
	return detect(data, len) != INFLATE_PLAIN;
}

static int emit(struct inflate *self, size_t len, struct err *err)
{
	return len ? self->sink(self->sink_arg, self->out, len, err) : 0;
}

/* --- gzip, zlib: windowBits 31 is "gzip only"; the library checks CRC and size */

static int zlib_begin(struct inflate *self, struct err *err)
{
	int rc;

	if (!self->zlib_ready) {
		rc = inflateInit2(&self->zlib, 31);
		self->zlib_ready = rc == Z_OK;
	} else {
		rc = inflateReset(&self->zlib);
	}
	return rc == Z_OK
	               ? 0
	               : err_set(err, CODE_RESOURCE_EXHAUSTED, "gzip: no memory for the decoder");
}

static int zlib_feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err)
{
	z_stream *z = &self->zlib;
	bool full = false; /* the output was full: there may be more without more input */

	while (len > 0 || full) {
		size_t chunk = MIN(len, (size_t)1 << 30);
		int rc;

		if (!self->in_member) {
			if (len == 0)
				break;
			if (zlib_begin(self, err) < 0)
				return -1;
			self->in_member = true;
		}
		z->next_in = (z_const Bytef *)data;
		z->avail_in = (uInt)chunk;
		z->next_out = self->out;
		z->avail_out = OUT_BYTES;
		rc = inflate(z, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return err_set(err, CODE_INVALID_ARGUMENT, "gzip: damaged stream: %s",
			               z->msg ? z->msg : "unexpected data");
		data += chunk - z->avail_in;
		len -= chunk - z->avail_in;
		full = z->avail_out == 0;
		if (emit(self, OUT_BYTES - z->avail_out, err) < 0)
			return -1;
		if (rc == Z_STREAM_END) {
			self->in_member = false;
			self->members++;
			full = false;
		} else if (rc == Z_BUF_ERROR && len > 0 && z->avail_in == chunk && !full) {
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "gzip: damaged stream: no progress");
		}
	}
	return 0;
}

/* --- gzip, igzip: twice as fast; stops after one member and does not tell truncation */

#if HAVE_IGZIP
static bool igzip_usable(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return false;
	return (c & bit_PCLMUL) && (c & bit_SSE4_1);
}

static int igzip_feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err)
{
	struct inflate_state *z = self->igzip;
	bool full = false;

	while (len > 0 || full) {
		size_t chunk = MIN(len, (size_t)1 << 30);
		int rc;

		if (!self->in_member) {
			if (len == 0)
				break;
			isal_inflate_init(z);
			z->crc_flag = ISAL_GZIP;
			self->in_member = true;
		}
		z->next_in = (uint8_t *)(uintptr_t)data; /* read only */
		z->avail_in = (uint32_t)chunk;
		z->next_out = self->out;
		z->avail_out = OUT_BYTES;
		rc = isal_inflate(z);
		if (rc < 0 || rc == ISAL_NEED_DICT)
			return err_set(err, CODE_INVALID_ARGUMENT, "gzip: damaged stream (%d)", rc);
		data += chunk - z->avail_in;
		len -= chunk - z->avail_in;
		full = z->avail_out == 0;
		if (emit(self, OUT_BYTES - z->avail_out, err) < 0)
			return -1;
		if (z->block_state == ISAL_BLOCK_FINISH) {
			self->in_member = false;
			self->members++;
			full = false;
		} else if (chunk > 0 && z->avail_in == chunk && !full) {
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "gzip: damaged stream: no progress");
		}
	}
	return 0;
}
#endif

static int gzip_feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err)
{
	/* A member that does not start like one is what "trailing garbage" looks like. The decoders say so themselves. */
#if HAVE_IGZIP
	if (self->igzip)
		return igzip_feed(self, data, len, err);
#endif
	return zlib_feed(self, data, len, err);
}

/* --- zstd */

static int zstd_feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err)
{
	ZSTD_inBuffer in = { data, len, 0 };
	bool full = false;

	while (in.pos < in.size || full) {
		ZSTD_outBuffer out = { self->out, OUT_BYTES, 0 };
		size_t rc = ZSTD_decompressStream(self->zstd, &out, &in);

		if (ZSTD_isError(rc)) {
			bool window =
				ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge;

			if (window)
				return err_set(err, CODE_RESOURCE_EXHAUSTED,
				               "zstd: window larger than %d MiB",
				               (1 << INFLATE_WINDOW_LOG_MAX) / (1024 * 1024));
			return err_set(err, CODE_INVALID_ARGUMENT, "zstd: damaged stream: %s",
			               ZSTD_getErrorName(rc));
		}
		full = out.pos == out.size;
		self->in_member = rc != 0;
		self->members += rc == 0;
		if (emit(self, out.pos, err) < 0)
			return -1;
	}
	return 0;
}

/* --- choice */

static int begin(struct inflate *self, struct err *err)
{
	self->kind = detect(self->head, self->have);
	if (self->kind == INFLATE_PLAIN)
		return 0;
	self->out = try_calloc(1, OUT_BYTES, OUT_BYTES);
	if (!self->out)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "no memory to decompress");
	if (self->kind == INFLATE_ZSTD) {
		self->zstd = ZSTD_createDStream();
		if (!self->zstd ||
		    ZSTD_isError(ZSTD_DCtx_setParameter(self->zstd, ZSTD_d_windowLogMax,
		                                        INFLATE_WINDOW_LOG_MAX)))
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "zstd: no memory for the decoder");
		return 0;
	}
#if HAVE_IGZIP
	if (!self->no_igzip && igzip_usable()) {
		self->igzip = try_calloc(1, sizeof(*self->igzip), sizeof(*self->igzip));
		if (!self->igzip)
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "gzip: no memory for the decoder");
	}
#endif
	return 0;
}

static int feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err)
{
	if (len == 0)
		return 0;
	switch (self->kind) {
	case INFLATE_PLAIN:
		return self->sink(self->sink_arg, data, len, err);
	case INFLATE_GZIP:
		return gzip_feed(self, data, len, err);
	case INFLATE_ZSTD:
		return zstd_feed(self, data, len, err);
	case INFLATE_UNKNOWN:
		break;
	}
	return err_set(err, CODE_INTERNAL, "decompression did not begin");
}

int inflate_feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err)
{
	if (self->kind == INFLATE_UNKNOWN) {
		size_t n = MIN(len, HEAD_BYTES - self->have);

		memcpy(self->head + self->have, data, n);
		self->have += n;
		data += n;
		len -= n;
		if (self->have < HEAD_BYTES)
			return 0;
		if (begin(self, err) < 0 || feed(self, self->head, self->have, err) < 0)
			return -1;
	}
	return feed(self, data, len, err);
}

int inflate_finish(struct inflate *self, struct err *err)
{
	if (self->kind == INFLATE_UNKNOWN) { /* fewer than HEAD_BYTES in all */
		if (begin(self, err) < 0 || feed(self, self->head, self->have, err) < 0)
			return -1;
	}
	if (self->in_member)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: truncated stream",
		               inflate_kind_name(self->kind));
	return 0;
}
