/* core/image/inflate.h
 *
 * Streaming decompression: plain, gzip (several members in a row) and zstd (several frames, skippable ones skipped; windows up
 * to 8 MiB). What it is gets decided by the first bytes, not by a media type: registries lie, and both peers detect too.
 *
 * gzip runs through igzip where the CPU has what it needs (SSE4.1, PCLMULQDQ), else through zlib.
 */
#ifndef CORACLE_CORE_IMAGE_INFLATE_H
#define CORACLE_CORE_IMAGE_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define INFLATE_WINDOW_LOG_MAX 23

enum inflate_kind {
	INFLATE_UNKNOWN, /* fewer than 8 bytes seen so far */
	INFLATE_PLAIN,
	INFLATE_GZIP,
	INFLATE_ZSTD,
};

struct inflate;

/* Gets decompressed bytes; -1 (err filled) stops. */
typedef int (*inflate_sink)(void *arg, const uint8_t *data, size_t len, struct err *err);

NODISCARD struct inflate *inflate_new(inflate_sink sink, void *arg);
void inflate_free(struct inflate *self);
/* Errors: INVALID_ARGUMENT (damaged), RESOURCE_EXHAUSTED (zstd window too large); or what the sink said. */
NODISCARD int inflate_feed(struct inflate *self, const uint8_t *data, size_t len, struct err *err);
/* End of input: INVALID_ARGUMENT when the stream is truncated. */
NODISCARD int inflate_finish(struct inflate *self, struct err *err);
enum inflate_kind inflate_kind(const struct inflate *self);
const char *inflate_kind_name(enum inflate_kind kind);

/* Do these first bytes (8 or more) start a gzip or zstd stream? */
bool inflate_is_compressed(const uint8_t *data, size_t len);

/* For tests: zlib even where igzip would run. */
void inflate_use_zlib(struct inflate *self);

DEFINE_CLEANUP_PTR(struct inflate, inflate_free);

#endif
