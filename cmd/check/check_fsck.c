/* cmd/check/check_fsck.c
 *
 * Are the images that are on record whole (group fsck)? Manifest and config are kept, the layers' archives are not: what can be
 * followed is image -> config by its digest -> manifest -> diffIDs -> keys of the unpacked layers -> their files. What a layer
 * holds is not read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/check/state.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/image_job.h"
#include "core/image/manifest.h"
#include "core/image/overlay.h"
#include "core/image/store.h"
#include "core/image/usage.h"

#define META_MAX 256

static const char *hex_of(const char *digest)
{
	return starts_with(digest, "sha256:") ? digest + strlen("sha256:") : digest;
}

/* What people call it. */
static const char *name_of(const struct image *image)
{
	return image->names[0]     ? image->names[0]
	       : image->digests[0] ? image->digests[0]
	                           : image->id;
}

/* --- each image */

enum verdict { WHOLE, BROKEN, UNTOLD };

/* @root: of the store, below the sysroot. BROKEN: @err says what is wrong. UNTOLD: what it would be held against is broken. */
typedef enum verdict (*image_fn)(const char *root, const struct image *image, struct err *err);

static bool any_broken(const struct check_ctx *ctx, const struct offline *offline, void *arg)
{
	cleanup_free char *root = check_root_path(ctx, "");
	struct err err;

	list_for_each(l, &offline->state->images)
		if ((*(image_fn *)arg)(root, list_entry(l, struct image, link), &err) == BROKEN)
			return true;
	return false;
}

static void each_image(const struct check_ctx *ctx, struct check_out *out, image_fn fn,
                       const char *fine)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *root = check_root_path(ctx, "");
	size_t count[UNTOLD + 1] = { 0 };

	if (!check_state_settled(ctx, out, any_broken, &fn, &offline))
		return;
	list_for_each(l, &offline.state->images) {
		const struct image *image = list_entry(l, struct image, link);
		struct err err = { .code = CODE_OK };
		enum verdict verdict = fn(root, image, &err);

		count[verdict]++;
		if (verdict != BROKEN)
			continue;
		check_fail(out, name_of(image), "%s", err.msg);
		check_hint(out, "remove its containers, coracle ctl rm %s, then pull it again",
		           name_of(image));
	}
	if (count[UNTOLD])
		check_skip(out, NULL, "%zu images: see fsck.config", count[UNTOLD]);
	if (!count[BROKEN])
		check_ok(out, NULL, "%zu images %s", count[WHOLE], fine);
}

static PRINTF_LIKE(2, 3) enum verdict broken(struct err *err, const char *fmt, ...)
{
	char text[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(err, CODE_DATA_LOSS, "%s", text);
	return BROKEN;
}

static enum verdict read_config(const char *root, const struct image *image,
                                struct image_config *ret, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len;

	if (image_config_read(root, image->id, &text, &len, err) < 0 ||
	    image_config_parse(text, len, "config", ret, err) < 0)
		return BROKEN;
	return WHOLE;
}

static enum verdict look_at_config(const char *root, const struct image *image, struct err *err)
{
	cleanup(image_config_release) struct image_config config = { 0 };

	return read_config(root, image, &config, err);
}

/* Config and layers are those of the manifest, and together no larger than what is on record. */
static enum verdict fits(const struct image *image, const struct document *manifest,
                         size_t manifest_len, const struct image_config *config, struct err *err)
{
	uint64_t bytes = manifest_len + (uint64_t)manifest->config.size;

	if (manifest->kind != DOCUMENT_MANIFEST)
		return broken(err, "manifest: it is an index");
	if (!streq(manifest->config.digest, image->id))
		return broken(err, "manifest: it is of the config %s", manifest->config.digest);
	if (manifest->layers.count != strv_len(config->diff_ids))
		return broken(err, "manifest: %zu layers, config: %zu", manifest->layers.count,
		              strv_len(config->diff_ids));
	for (size_t i = 0; i < manifest->layers.count; i++)
		bytes += (uint64_t)manifest->layers.items[i].size;
	if (bytes > image->size_bytes)
		return broken(err, "manifest: %" PRIu64 " bytes, on record are %" PRIu64, bytes,
		              image->size_bytes);
	return WHOLE;
}

static enum verdict look_at_manifest(const char *root, const struct image *image, struct err *err)
{
	cleanup(document_release) struct document manifest = { 0 };
	cleanup(image_config_release) struct image_config config = { 0 };
	cleanup_free char *text = NULL;
	struct err why;
	size_t len;

	if (image_manifest_read(root, image->id, &text, &len, err) < 0 ||
	    document_parse(text, len, NULL, "manifest", &manifest, err) < 0)
		return BROKEN;
	if (read_config(root, image, &config, &why) == BROKEN)
		return UNTOLD;
	return fits(image, &manifest, len, &config, err);
}

static bool is_key_of(const char *key, const char *diff_id, const char *chain)
{
	for (enum layer_kind kind = LAYER_PLAIN; kind < LAYER_KINDS; kind++) {
		char text[DIGEST_SHA256_TEXT];

		layer_key(kind, diff_id, chain, text);
		if (streq(key, text))
			return true;
	}
	return false;
}

/* The layers on record are the topmost of the config: what an opaque one hides is left out. */
static enum verdict look_at_chain(const char *root, const struct image *image, struct err *err)
{
	cleanup(image_config_release) struct image_config config = { 0 };
	char below[DIGEST_SHA256_TEXT] = "", chain[DIGEST_SHA256_TEXT];
	size_t n, recorded = strv_len(image->layers);
	struct err why;

	if (read_config(root, image, &config, &why) == BROKEN)
		return UNTOLD;
	n = strv_len(config.diff_ids);
	if (recorded > n)
		return broken(err, "%zu layers are on record, the config names %zu", recorded, n);
	for (size_t i = 0; i < n; i++) {
		const char *key = i + recorded < n ? NULL : image->layers[i + recorded - n];

		chain_id(below, config.diff_ids[i], chain);
		if (key && !is_key_of(key, config.diff_ids[i], chain))
			return broken(
				err,
				"its layer on record %s is not made from %s, which its config names",
				key, config.diff_ids[i]);
		memcpy(below, chain, sizeof(below));
	}
	return WHOLE;
}

static enum verdict look_at_trees(const char *root, const struct image *image, struct err *err)
{
	for (char **key = image->layers; *key; key++) {
		cleanup_free char *fs = overlay_layer_path(root, *key);

		if (!fsx_is_dir(fs))
			return broken(err, "%s is missing: its containers do not start", fs);
	}
	return WHOLE;
}

static int read_meta(const char *root, const char *hex, struct layer_meta *ret, struct err *err)
{
	cleanup_free char *file = xasprintf("%s/layers/%s/meta", root, hex), *text = NULL;
	size_t len;

	if (file_read_all(file, META_MAX, &text, &len, err) < 0)
		return -1;
	if (layer_meta_parse(text, len, ret) < 0)
		return err_set(err, CODE_DATA_LOSS, "%s: not what was written there", file);
	return 0;
}

static enum verdict look_at_metas(const char *root, const struct image *image, struct err *err)
{
	struct layer_meta meta;

	for (char **key = image->layers; *key; key++)
		if (read_meta(root, hex_of(*key), &meta, err) < 0)
			return BROKEN;
	return WHOLE;
}

static void config(const struct check_ctx *ctx, struct check_out *out)
{
	each_image(ctx, out, look_at_config, "have their config");
}

static void manifest(const struct check_ctx *ctx, struct check_out *out)
{
	each_image(ctx, out, look_at_manifest, "have their manifest");
}

static void chain(const struct check_ctx *ctx, struct check_out *out)
{
	each_image(ctx, out, look_at_chain, "consist of the layers that their config names");
}

static void layer(const struct check_ctx *ctx, struct check_out *out)
{
	each_image(ctx, out, look_at_trees, "have the files of their layers");
}

static void meta(const struct check_ctx *ctx, struct check_out *out)
{
	each_image(ctx, out, look_at_metas, "know the size of their layers");
}

/* --- writable layers */

static bool has_snapshot(const char *root, const struct container *c)
{
	cleanup_free char *upper = overlay_upper_path(root, c->id);

	return c->hidden || c->state == CONTAINER_CREATING || c->state == CONTAINER_REMOVING ||
	       fsx_is_dir(upper);
}

static bool any_missing(const struct check_ctx *ctx, const struct offline *offline,
                        void *arg UNUSED)
{
	cleanup_free char *root = check_root_path(ctx, "");

	list_for_each(l, &offline->state->containers)
		if (!has_snapshot(root, list_entry(l, struct container, link)))
			return true;
	return false;
}

static void snapshot(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *root = check_root_path(ctx, "");
	size_t count = 0;
	bool fine = true;

	if (!check_state_settled(ctx, out, any_missing, NULL, &offline))
		return;
	list_for_each(l, &offline.state->containers) {
		const struct container *c = list_entry(l, struct container, link);
		cleanup_free char *upper = overlay_upper_path(root, c->id);

		count++;
		if (has_snapshot(root, c))
			continue;
		check_fail(out, c->id, "container %s: its writable layer %s is missing", c->name,
		           upper);
		check_hint(out, "remove the container; kubelet makes another");
		fine = false;
	}
	if (fine)
		check_ok(out, NULL, "%zu containers have their writable layer", count);
}

/* --- orphans */

static bool image_owns(const struct state *state, const char *name)
{
	cleanup_free char *id = xasprintf("sha256:%s", name);

	return image_get(state, id) != NULL;
}

static bool layer_is_used(const struct state *state, const char *name)
{
	cleanup_free char *key = xasprintf("sha256:%s", name);

	return store_layer_used(&state->images, key, NULL);
}

static bool nobody_owns(const struct state *state, const char *name)
{
	(void)state;
	(void)name;
	return false;
}

static const struct kind {
	const char *dir;
	bool (*has_owner)(const struct state *state, const char *name);
	bool in_passing; /* a running daemon fills and empties it */
} kinds[] = {
	{ "layers", layer_is_used, false },
	{ "images", image_owns, false },
	{ "snapshots", check_is_on_record, false },
	{ "staging", nobody_owns, true },
	{ "trash", nobody_owns, true },
};

static uint64_t size_of(const char *root, const struct kind *kind, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s/%s", root, kind->dir, name);
	struct usage usage = { 0 };
	struct layer_meta meta;
	struct err err;

	if (streq(kind->dir, "layers") && read_meta(root, name, &meta, &err) == 0)
		return meta.size_bytes;
	return usage_walk(AT_FDCWD, path, &usage) < 0 ? 0 : usage.bytes;
}

/* The names in it without those that have an owner; NULL: none. */
static char **orphans_of(const char *root, const struct kind *kind, const struct state *state)
{
	cleanup_free char *dir = xasprintf("%s/%s", root, kind->dir);
	char **names = NULL;
	size_t kept = 0;

	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return NULL;
	for (size_t i = 0; names[i]; i++) {
		if (kind->has_owner(state, names[i]))
			free(names[i]);
		else
			names[kept++] = names[i];
	}
	names[kept] = NULL;
	if (!kept)
		strv_free(take_ptr(names));
	return names;
}

static void report_orphans(struct check_out *out, const char *root, const struct kind *kind,
                           char *const *names)
{
	size_t n = strv_len(names);
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += size_of(root, kind, names[i]);
	check_warn(out, kind->dir,
	           "%zu in %s/%s, %" PRIu64 " KiB, that nothing on record needs: %s%s", n, root,
	           kind->dir, (bytes + 1023) / 1024, names[0], n > 1 ? " and more" : "");
	check_hint(out, "a start of the daemon removes them");
}

static bool any_orphan(const struct check_ctx *ctx, const struct offline *offline, void *arg UNUSED)
{
	cleanup_free char *root = check_root_path(ctx, "");

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		cleanup(strv_free) char **names = orphans_of(root, &kinds[i], offline->state);

		if (names)
			return true;
	}
	return false;
}

static void orphans(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *root = check_root_path(ctx, "");
	bool runs = offline_daemon(root) != 0, any = false;

	if (!check_state_settled(ctx, out, any_orphan, NULL, &offline))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		cleanup(strv_free) char **names = orphans_of(root, &kinds[i], offline.state);

		if (!names || (runs && kinds[i].in_passing))
			continue;
		report_orphans(out, root, &kinds[i], names);
		any = true;
	}
	if (!any)
		check_ok(out, NULL, "no layer, image or writable layer without an owner");
}

static const struct check checks[] = {
	{ "fsck.config", CHECK_FAIL, 0, config },   { "fsck.manifest", CHECK_FAIL, 0, manifest },
	{ "fsck.chain", CHECK_FAIL, 0, chain },     { "fsck.layer", CHECK_FAIL, 0, layer },
	{ "fsck.meta", CHECK_FAIL, 0, meta },       { "fsck.snapshot", CHECK_FAIL, 0, snapshot },
	{ "fsck.orphans", CHECK_WARN, 0, orphans },
};

const struct check_group check_group_fsck = { "fsck", checks, ARRAY_SIZE(checks) };
