/* core/image/layer.h
 *
 * One layer on its way from bytes to files, in one pass and with bounded memory:
 *
 *	bytes -> sha256 (blob) -> inflate -> sha256 (diffID) -> tar -> unpack process
 *
 * The digests are known only at the end: until layer_finish() has returned 0 nothing of it may be used.
 *
 * Thread: a layer belongs to one thread; any number of layers may run in parallel.
 */
#ifndef CORACLE_CORE_IMAGE_LAYER_H
#define CORACLE_CORE_IMAGE_LAYER_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/blob.h"
#include "core/image/inflate.h"
#include "core/image/untar.h"

struct layer_args {
	int control;             /* of the unpack process */
	uint32_t slot;           /* <staging>/<slot> is its place */
	const char *what;        /* for errors: "layer sha256:..." */
	const char *blob_digest; /* NULL: not known, not checked */
	int64_t blob_size;       /* < 0: not known */
	const char *diff_id;     /* expected */
	uint64_t free_bytes;     /* reserves, as in untar.h */
	uint64_t free_inodes;
};

struct layer_result {
	struct untar_result untar;
	int64_t blob_size; /* bytes fed */
};

struct layer;

NODISCARD struct layer *layer_new(const struct layer_args *args, struct err *err);
/* Blocks while the disk is behind. Errors: DATA_LOSS (longer than announced) and those of inflate, tar and untar. */
NODISCARD int layer_feed(struct layer *layer, const void *data, size_t len, struct err *err);
/* Errors: DATA_LOSS naming expected and found digest; those of the unpack process. */
NODISCARD int layer_finish(struct layer *layer, struct layer_result *ret, struct err *err);
enum inflate_kind
layer_compression(const struct layer *layer); /* INFLATE_UNKNOWN until some bytes were fed */
void layer_free(
	struct layer *layer); /* unfinished: the session ends, what was written stays in staging */

DEFINE_CLEANUP_PTR(struct layer, layer_free);

#endif
