/* Compressed streams: igzip and zlib must agree on what is accepted and on its content, except that igzip is lenient about
 * reserved header bits; and pieces of any size give the same as the whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/image/inflate.h"

#define OUT_MAX ((uint64_t)4 * 1024 * 1024)

struct sum {
	uint64_t len;
	uint32_t crc;
};

static int add(void *arg, const uint8_t *data, size_t len, struct err *err)
{
	struct sum *sum = arg;

	sum->len += len;
	sum->crc = crc32c(sum->crc, data, len);
	return sum->len > OUT_MAX ? err_set(err, CODE_RESOURCE_EXHAUSTED, "enough") : 0;
}

static int run(const uint8_t *data, size_t size, size_t step, bool zlib, struct sum *ret,
               struct err *err)
{
	cleanup(inflate_free) struct inflate *inf = inflate_new(add, ret);

	if (zlib)
		inflate_use_zlib(inf);
	for (size_t at = 0; at < size; at += step)
		if (inflate_feed(inf, data + at, MIN(step, size - at), err) < 0)
			return -1;
	return inflate_finish(inf, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum fast = { 0 }, pieces = { 0 }, zlib = { 0 };
	struct err err = { 0 };
	int rc;

	rc = run(data, size, size ? size : 1, false, &fast, &err);
	ensure(run(data, size, 5, false, &pieces, &err) == rc ||
	       err.code == CODE_RESOURCE_EXHAUSTED);
	if (rc == 0)
		ensure(fast.len == pieces.len && fast.crc == pieces.crc);
	if (run(data, size, size ? size : 1, true, &zlib, &err) == 0 && rc == 0)
		ensure(fast.len == zlib.len && fast.crc == zlib.crc);
	return 0;
}
