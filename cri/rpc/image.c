/* cri/rpc/image.c
 *
 * The image service: List, Status, Pull, Remove, FsInfo.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/life/life.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/pending.h"
#include "cri/rpc/pull_request.h"
#include "cri/rpc/to_cri.h"

#define STREAM_ROWS      100
#define IMAGE_CONFIG_MAX (16 << 20)

/* An image that was removed while containers use it has no names left and is nobody's business any more. */
static bool is_listed(const struct image *image)
{
	return image->names[0] || image->digests[0];
}

static bool image_matches(const struct cri *cri, const struct image *image,
                          const cri_ImageFilter *filter)
{
	struct err err = { 0 };

	if (!is_listed(image))
		return false;
	if (!filter->has_image || !filter->image.image || !filter->image.image[0])
		return true;
	return life_image_find(cri->state, filter->image.image, &err) == image;
}

void rpc_list_images(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ListImagesRequest *req = request;
	struct pb_arena *arena = grpc_scratch(call);
	cri_ListImagesResponse resp = { 0 };
	struct err err = { 0 };
	size_t n = 0;

	list_for_each(l, &cri->state->images)
		n++;
	resp.images = pb_arena_alloc(arena, (n + 1) * sizeof(*resp.images));
	list_for_each(l, &cri->state->images) {
		const struct image *image = list_entry(l, struct image, link);

		if (!resp.images)
			break;
		if (!image_matches(cri, image, &req->filter))
			continue;
		if (to_cri_image(image, cri->config->pinned_images, arena,
		                 &resp.images[resp.images_count]) < 0)
			resp.images = NULL;
		else
			resp.images_count++;
	}
	if (!resp.images) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "%zu images are too many for one answer", n);
		grpc_fail(call, &err);
		return;
	}
	grpc_reply(call, cri_ListImagesResponse_fields, &resp);
}

void rpc_stream_images(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_StreamImagesRequest *req = request;
	cri_Image rows[STREAM_ROWS];
	cri_StreamImagesResponse resp = { .images = rows };
	struct err err = { 0 };
	int rc = 0;

	list_for_each(l, &cri->state->images) {
		const struct image *image = list_entry(l, struct image, link);

		if (!image_matches(cri, image, &req->filter) ||
		    to_cri_image(image, cri->config->pinned_images, grpc_scratch(call),
		                 &rows[resp.images_count]) < 0)
			continue;
		if (++resp.images_count < STREAM_ROWS)
			continue;
		rc = grpc_stream_send(call, cri_StreamImagesResponse_fields, &resp, &err);
		resp.images_count = 0;
		if (rc < 0)
			break;
	}
	if (rc == 0 && resp.images_count)
		rc = grpc_stream_send(call, cri_StreamImagesResponse_fields, &resp, &err);
	if (rc < 0)
		grpc_fail(call, &err);
	else
		grpc_finish(call);
}

/* --- ImageStatus: an unknown image is no error, it is absent */

static void reply_status(struct cri *cri, struct grpc_call *call, const struct image *image,
                         char *info)
{
	cri_ImageStatusResponse resp = { .has_image = image != NULL };
	cri_ImageStatusResponse_InfoEntry entry = { .key = (char *)"info", .value = info };
	struct err err = { 0 };

	if (image &&
	    to_cri_image(image, cri->config->pinned_images, grpc_scratch(call), &resp.image) < 0) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "status of image %s is too large",
		        image->id);
		grpc_fail(call, &err);
		return;
	}
	if (info) {
		resp.info = &entry;
		resp.info_count = 1;
	}
	grpc_reply(call, cri_ImageStatusResponse_fields, &resp);
}

struct status_call {
	struct cri *cri;
	struct grpc_call *call;
	char id[80];
};

static void status_read(void *arg, const char *text, size_t len, const struct err *failure)
{
	struct status_call *sc = arg;
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	cleanup(yyjson_doc_free) yyjson_doc *config = NULL;
	cleanup_free char *info = NULL;
	const struct image *image = image_get(sc->cri->state, sc->id);
	struct err err = { 0 };

	yyjson_mut_doc_set_root(doc, root);
	/* a document that cannot be read leaves the status true, only shorter */
	config = failure ? NULL : json_parse(text, len, IMAGE_CONFIG_MAX, "image config", &err);
	if (config)
		yyjson_mut_obj_add_val(doc, root, "imageSpec",
		                       yyjson_val_mut_copy(doc, yyjson_doc_get_root(config)));
	info = json_write(doc, false, NULL);
	image = image && is_listed(image) ? image : NULL;
	reply_status(sc->cri, sc->call, image, image ? info : NULL);
	free(sc);
}

void rpc_image_status(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ImageStatusRequest *req = request;
	struct err err = { 0 };
	const struct image *image = life_image_find(cri->state, or_empty(req->image.image), &err);
	struct status_call *sc;

	if (!image && !err_is(&err, CODE_NOT_FOUND)) {
		grpc_fail(call, &err);
		return;
	}
	if (!image || !req->verbose) {
		reply_status(cri, call, image, NULL);
		return;
	}
	sc = xcalloc(1, sizeof(*sc));
	sc->cri = cri;
	sc->call = call;
	ignore(str_copy(sc->id, sizeof(sc->id), image->id)); /* "sha256:" and 64 characters */
	life_image_config(cri->life, image->id, status_read, sc);
}

/* --- PullImage */

static void pull_answer(struct grpc_call *call, const char *id)
{
	const cri_PullImageResponse resp = { .image_ref = (char *)id };

	grpc_reply(call, cri_PullImageResponse_fields, &resp);
}

void rpc_pull_image(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_PullImageRequest *req = request;
	const struct pull_auth auth = {
		.username = req->auth.username,
		.password = req->auth.password,
		.auth = req->auth.auth,
		.identity_token = req->auth.identity_token,
		.registry_token = req->auth.registry_token,
		.server_address = req->auth.server_address,
	};
	cleanup(pull_registry_text_free) char *registry = NULL;
	struct err err = { 0 };

	registry = pull_registry_text(cri->config, cri->version, &auth, &err);
	if (!registry) {
		grpc_fail(call, &err);
		return;
	}
	life_image_pull(
		cri->life,
		&(struct life_pull){ .name = or_empty(req->image.image), .registry = registry },
		&pending_new(call, pull_answer)->wait);
}

/* --- RemoveImage */

static void remove_answer(struct grpc_call *call, const char *id UNUSED)
{
	const cri_RemoveImageResponse resp = { 0 };

	grpc_reply(call, cri_RemoveImageResponse_fields, &resp);
}

void rpc_remove_image(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_RemoveImageRequest *req = request;

	life_image_remove(cri->life, or_empty(req->image.image),
	                  &pending_new(call, remove_answer)->wait);
}

/* --- ImageFsInfo: what committed layers take is known from when they were committed */

struct fs_call {
	struct cri *cri;
	struct grpc_call *call;
};

static void fs_read(void *arg, uint64_t bytes, uint64_t inodes, const struct err *err)
{
	struct fs_call *fc = arg;
	cri_FilesystemUsage fs = {
		.timestamp = clock_real_ns(),
		.has_fs_id = true,
		.fs_id = { .mountpoint = fc->cri->config->root },
		.has_used_bytes = true,
		.used_bytes = { .value = bytes },
		.has_inodes_used = true,
		.inodes_used = { .value = inodes },
	};
	const cri_ImageFsInfoResponse resp = {
		.image_filesystems = &fs,
		.image_filesystems_count = 1,
		.container_filesystems = &fs,
		.container_filesystems_count = 1,
	};

	if (err)
		grpc_fail(fc->call, err);
	else
		grpc_reply(fc->call, cri_ImageFsInfoResponse_fields, &resp);
	free(fc);
}

void rpc_image_fs_info(struct cri *cri, struct grpc_call *call, const void *request UNUSED)
{
	struct fs_call *fc = xcalloc(1, sizeof(*fc));

	fc->cri = cri;
	fc->call = call;
	life_image_usage(cri->life, fs_read, fc);
}
