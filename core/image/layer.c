/* core/image/layer.c */
#include "core/image/layer.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/image/tar.h"
#include "core/image/unpack.h"

struct layer {
	struct layer_args args;
	char *what, *blob_digest, *diff_id;
	int sock;
	struct inflate *inflate;
	struct tar *tar;
	struct digester blob, diff;
	struct buf frame;
	int64_t fed;
};

static int send_entry(struct layer *layer, struct err *err)
{
	buf_clear(&layer->frame);
	if (unpack_put_entry(&layer->frame, tar_entry(layer->tar), err) < 0)
		return -1;
	return unpack_send(layer->sock, UNPACK_ENTRY, layer->frame.data + UNPACK_FRAME_HEAD,
	                   layer->frame.len - UNPACK_FRAME_HEAD, NULL, 0, err);
}

static int send_data(const struct layer *layer, struct tar_data data, struct err *err)
{
	while (data.len > 0) {
		size_t n = MIN(data.len, (size_t)UNPACK_DATA_MAX);
		uint8_t offset[8];

		put_le64(offset, data.offset);
		if (unpack_send(layer->sock, UNPACK_DATA, offset, sizeof(offset), data.p, n, err) <
		    0)
			return -1;
		data.p += n;
		data.len -= n;
		data.offset += n;
	}
	return 0;
}

/* What comes out of the decompressor. */
static int on_plain(void *arg, const uint8_t *data, size_t len, struct err *err)
{
	struct layer *layer = arg;
	enum tar_event event;

	digester_update(&layer->diff, data, len);
	do {
		if (tar_next(layer->tar, &data, &len, &event, err) < 0)
			return -1;
		if (event == TAR_ENTRY && send_entry(layer, err) < 0)
			return -1;
		if (event == TAR_DATA && send_data(layer, tar_data(layer->tar), err) < 0)
			return -1;
	} while (event == TAR_ENTRY || event == TAR_DATA);
	return 0;
}

struct layer *layer_new(const struct layer_args *args, struct err *err)
{
	cleanup(layer_free) struct layer *layer = xcalloc(1, sizeof(*layer));
	enum digest_algorithm blob = DIGEST_SHA256, diff = digest_algorithm(str_of(args->diff_id));

	layer->sock = -1;
	if (args->blob_digest)
		blob = digest_algorithm(str_of(args->blob_digest));
	ensure(blob != DIGEST_INVALID &&
	       diff != DIGEST_INVALID); /* manifest.h let only valid ones through */
	layer->args = *args;
	layer->what = xstrdup(args->what);
	layer->blob_digest = xstrdup(args->blob_digest);
	layer->diff_id = xstrdup(args->diff_id);
	digester_init(&layer->blob, blob);
	digester_init(&layer->diff, diff);
	buf_init(&layer->frame, UNPACK_FRAME_HEAD + UNPACK_FRAME_MAX);
	layer->inflate = inflate_new(on_plain, layer);
	layer->tar = tar_new();
	if (unpack_session(args->control, &layer->sock, err) < 0)
		return NULL;
	{
		uint8_t begin[20];

		put_le32(begin, args->slot);
		put_le64(begin + 4, args->free_bytes);
		put_le64(begin + 12, args->free_inodes);
		if (unpack_send(layer->sock, UNPACK_BEGIN, begin, sizeof(begin), NULL, 0, err) < 0)
			return NULL;
	}
	return take_ptr(layer);
}

void layer_free(struct layer *layer)
{
	if (!layer)
		return;
	if (layer->sock >= 0)
		close(layer->sock);
	inflate_free(layer->inflate);
	tar_free(layer->tar);
	buf_release(&layer->frame);
	free(layer->what);
	free(layer->blob_digest);
	free(layer->diff_id);
	free(layer);
}

int layer_feed(struct layer *layer, const void *data, size_t len, struct err *err)
{
	layer->fed += (int64_t)len;
	if (layer->args.blob_size >= 0 && layer->fed > layer->args.blob_size)
		return err_set(err, CODE_DATA_LOSS, "%s: longer than the %lld bytes announced",
		               layer->what, (long long)layer->args.blob_size);
	if (layer->blob_digest)
		digester_update(&layer->blob, data, len);
	if (inflate_feed(layer->inflate, data, len, err) < 0)
		return err_wrap(err, "%s", layer->what);
	return 0;
}

enum inflate_kind layer_compression(const struct layer *layer)
{
	return inflate_kind(layer->inflate);
}

static int check(struct layer *layer, struct err *err)
{
	char found[DIGEST_TEXT_MAX];

	if (layer->args.blob_size >= 0 && layer->fed != layer->args.blob_size)
		return err_set(err, CODE_DATA_LOSS, "%s: %lld bytes, %lld announced", layer->what,
		               (long long)layer->fed, (long long)layer->args.blob_size);
	if (layer->blob_digest) {
		digester_final(&layer->blob, found);
		if (strcmp(found, layer->blob_digest) != 0)
			return err_set(err, CODE_DATA_LOSS, "%s: content is %s", layer->what,
			               found);
	}
	digester_final(&layer->diff, found);
	if (strcmp(found, layer->diff_id) != 0)
		return err_set(err, CODE_DATA_LOSS,
		               "%s: uncompressed content is %s, the config says %s", layer->what,
		               found, layer->diff_id);
	return 0;
}

int layer_finish(struct layer *layer, struct layer_result *ret, struct err *err)
{
	if (inflate_finish(layer->inflate, err) < 0 || tar_finish(layer->tar, err) < 0)
		return err_wrap(err, "%s", layer->what);
	if (check(layer, err) < 0)
		return -1;
	if (unpack_send(layer->sock, UNPACK_END, NULL, 0, NULL, 0, err) < 0 ||
	    unpack_wait(layer->sock, &ret->untar, err) < 0)
		return err_wrap(err, "%s", layer->what);
	ret->blob_size = layer->fed;
	return 0;
}
