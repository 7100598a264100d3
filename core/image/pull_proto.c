/* core/image/pull_proto.c */
#include "core/image/pull_proto.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/codec.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/ref.h"
#include "core/image/unpack_wire.h"

void pull_request_release(struct pull_request *request)
{
	free(request->name);
	free(request->platform);
	if (request->registry)
		explicit_bzero(request->registry, strlen(request->registry)); /* credentials */
	free(request->registry);
	*request = (struct pull_request){ 0 };
}

void pull_result_release(struct pull_result *result)
{
	free(result->id);
	strv_free(result->names);
	strv_free(result->digests);
	free(result->manifest_digest);
	free(result->user);
	for (size_t i = 0; i < result->nlayers; i++)
		free(result->layers[i].key);
	free(result->layers);
	free(result->manifest);
	free(result->config);
	*result = (struct pull_result){ 0 };
}

/* --- frames */

void pull_put_head(uint8_t head[PULL_FRAME_HEAD], enum pull_frame type, size_t payload_len)
{
	memset(head, 0, PULL_FRAME_HEAD);
	put_le32(head, (uint32_t)payload_len);
	head[4] = PULL_VERSION;
	head[5] = (uint8_t)type;
}

int pull_get_head(const uint8_t head[PULL_FRAME_HEAD], enum pull_frame *ret_type, size_t *ret_len,
                  struct err *err)
{
	uint32_t len = get_le32(head);

	if (head[4] != PULL_VERSION)
		return err_set(err, CODE_INVALID_ARGUMENT, "pull frame: version %u, expected %u",
		               head[4], PULL_VERSION);
	if (head[5] == PULL_INVALID || head[5] > PULL_DONE || head[6] || head[7])
		return err_set(err, CODE_INVALID_ARGUMENT, "pull frame: unknown type %u", head[5]);
	if (len > PULL_FRAME_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "pull frame: %u bytes are too many",
		               len);
	*ret_type = (enum pull_frame)head[5];
	*ret_len = len;
	return 0;
}

struct part {
	const void *data;
	size_t len;
};

static int put_frame(struct buf *out, enum pull_frame type, const struct part *parts, size_t nparts,
                     struct err *err)
{
	uint8_t head[PULL_FRAME_HEAD];
	size_t total = 0;
	int rc;

	for (size_t i = 0; i < nparts; i++)
		total += parts[i].len;
	if (total > PULL_FRAME_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "pull frame: larger than %d bytes",
		               PULL_FRAME_MAX);
	pull_put_head(head, type, total);
	rc = buf_add(out, head, sizeof(head));
	for (size_t i = 0; rc == 0 && i < nparts; i++)
		rc = parts[i].len ? buf_add(out, parts[i].data, parts[i].len) : 0;
	return rc < 0 ? buf_err_full(out, "pull frame", err) : 0;
}

static int put_json(struct buf *out, enum pull_frame type, yyjson_mut_doc *doc, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len;

	text = json_write(doc, false, &len);
	if (!text)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "pull frame: out of memory");
	return put_frame(out, type, &(struct part){ text, len }, 1, err);
}

static yyjson_mut_doc *doc_new(yyjson_mut_val **ret_root)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	*ret_root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, *ret_root);
	return doc;
}

static void put_strv(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, char *const *strv)
{
	yyjson_mut_val *array = yyjson_mut_arr(doc);

	for (size_t i = 0; i < strv_len(strv); i++)
		yyjson_mut_arr_add_str(doc, array, strv[i]);
	yyjson_mut_obj_add_val(doc, obj, key, array);
}

/* A list of strings that @valid accepts each. */
static int get_strv(yyjson_val *root, const char *key, size_t max, bool (*valid)(const char *),
                    char ***ret, struct err *err)
{
	yyjson_val *array = json_arr(root, key), *item;
	cleanup(strv_free) char **strv = NULL;
	yyjson_arr_iter iter;
	size_t n = 0;

	if (!array || yyjson_arr_size(array) > max)
		return err_set(err, CODE_INVALID_ARGUMENT, "pull frame: \"%s\" missing or too long",
		               key);
	strv = xcalloc(yyjson_arr_size(array) + 1, sizeof(*strv));
	yyjson_arr_iter_init(array, &iter);
	while ((item = yyjson_arr_iter_next(&iter))) {
		const char *text = or_empty(yyjson_get_str(item));

		if (!valid(text))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "pull frame: bad entry in \"%s\"", key);
		strv[n++] = xstrdup(text);
	}
	*ret = take_ptr(strv);
	return 0;
}

static bool is_canonical(const char *text)
{
	cleanup_free char *canonical = NULL;
	struct err err = { 0 };

	return ref_canonical(str_of(text), &canonical, &err) == 0 && streq(canonical, text);
}

/* --- payloads */

int pull_put_request(struct buf *out, const struct pull_request *request, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *root;

	doc = doc_new(&root);
	yyjson_mut_obj_add_str(doc, root, "mode", request->import ? "import" : "registry");
	if (request->name)
		yyjson_mut_obj_add_str(doc, root, "name", request->name);
	if (request->platform)
		yyjson_mut_obj_add_str(doc, root, "platform", request->platform);
	if (request->registry)
		yyjson_mut_obj_add_str(doc, root, "registry", request->registry);
	yyjson_mut_obj_add_uint(doc, root, "free_bytes", request->free_bytes);
	yyjson_mut_obj_add_uint(doc, root, "free_inodes", request->free_inodes);
	return put_json(out, PULL_REQUEST, doc, err);
}

int pull_get_request(const void *data, size_t len, struct pull_request *ret, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(data, len, PULL_FRAME_MAX, "pull request", err);
	const char *mode;
	yyjson_val *root;

	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	mode = json_str(root, "mode", "");
	if (!streq(mode, "import") && !streq(mode, "registry"))
		return err_set(err, CODE_INVALID_ARGUMENT, "pull request: unknown mode \"%.40s\"",
		               mode);
	*ret = (struct pull_request){
		.import = streq(mode, "import"),
		.name = xstrdup(json_str(root, "name", NULL)),
		.platform = xstrdup(json_str(root, "platform", NULL)),
		.registry = xstrdup(json_str(root, "registry", NULL)),
		.free_bytes = json_u64(root, "free_bytes", 0),
		.free_inodes = json_u64(root, "free_inodes", 0),
	};
	return 0;
}

int pull_put_progress(struct buf *out, const struct pull_progress *progress, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *root;

	doc = doc_new(&root);
	yyjson_mut_obj_add_uint(doc, root, "done", progress->done_bytes);
	yyjson_mut_obj_add_uint(doc, root, "total", progress->total_bytes);
	yyjson_mut_obj_add_uint(doc, root, "layers_done", progress->layers_done);
	yyjson_mut_obj_add_uint(doc, root, "layers", progress->layers);
	yyjson_mut_obj_add_str(doc, root, "text", progress->text);
	return put_json(out, PULL_PROGRESS, doc, err);
}

int pull_get_progress(const void *data, size_t len, struct pull_progress *ret, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(data, len, 4096, "pull progress", err);
	yyjson_val *root;

	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	*ret = (struct pull_progress){
		.done_bytes = json_u64(root, "done", 0),
		.total_bytes = json_u64(root, "total", 0),
		.layers_done = (uint32_t)json_u64(root, "layers_done", 0),
		.layers = (uint32_t)json_u64(root, "layers", 0),
	};
	ignore(str_copy(ret->text, sizeof(ret->text),
	                json_str(root, "text", ""))); /* too long: none */
	return 0;
}

int pull_put_want(struct buf *out, char *const *keys, size_t count, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *root, *array;

	doc = doc_new(&root);
	array = yyjson_mut_arr(doc);
	for (size_t i = 0; i < count; i++)
		yyjson_mut_arr_add_str(doc, array, keys[i]);
	yyjson_mut_obj_add_val(doc, root, "keys", array);
	return put_json(out, PULL_WANT, doc, err);
}

int pull_get_want(const void *data, size_t len, char ***ret_keys, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(data, len, 1024 * 1024, "pull want", err);

	if (!doc)
		return -1;
	return get_strv(yyjson_doc_get_root(doc), "keys", PULL_WANT_MAX, layer_key_is_valid,
	                ret_keys, err);
}

int pull_put_layers(struct buf *out, const bool *have, size_t count, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *root;

	doc = doc_new(&root);
	yyjson_mut_obj_add_val(doc, root, "have", yyjson_mut_arr_with_bool(doc, have, count));
	return put_json(out, PULL_LAYERS, doc, err);
}

int pull_get_layers(const void *data, size_t len, bool *have, size_t count, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(data, len, 1024 * 1024, "pull layers", err);
	yyjson_val *array, *item;
	yyjson_arr_iter iter;

	if (!doc)
		return -1;
	array = json_arr(yyjson_doc_get_root(doc), "have");
	if (!array || yyjson_arr_size(array) != count)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "pull layers: not the answer to what was asked");
	yyjson_arr_iter_init(array, &iter);
	while ((item = yyjson_arr_iter_next(&iter)))
		*have++ = yyjson_get_bool(item);
	return 0;
}

int pull_put_error(struct buf *out, const struct err *error, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	char msg[sizeof(error->msg)];
	yyjson_mut_val *root;
	bool utf8 = str_utf8_valid(str_of(error->msg));
	size_t i;

	/* Names out of a hostile archive end up in here, and this in logs and on terminals. */
	for (i = 0; error->msg[i]; i++) {
		unsigned char c = (unsigned char)error->msg[i];

		msg[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : (char)c;
	}
	msg[i] = '\0';
	doc = doc_new(&root);
	yyjson_mut_obj_add_int(doc, root, "code", error->code);
	yyjson_mut_obj_add_int(doc, root, "sys", error->sys);
	yyjson_mut_obj_add_str(doc, root, "message", msg);
	return put_json(out, PULL_ERROR, doc, err);
}

int pull_get_error(const void *data, size_t len, struct err *ret, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = json_parse(data, len, 4096, "pull error", err);
	yyjson_val *root;
	int64_t code;

	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	code = json_i64(root, "code", CODE_UNKNOWN);
	if (code <= CODE_OK || code > CODE_UNAUTHENTICATED)
		code = CODE_UNKNOWN;
	err_set(ret, (enum code)code, "%s", json_str(root, "message", "no reason given"));
	ret->sys = (int)json_i64(root, "sys", 0);
	return 0;
}

int pull_put_done(struct buf *out, struct err *err)
{
	return put_frame(out, PULL_DONE, &(struct part){ "{}", 2 }, 1, err);
}

int pull_put_result(struct buf *out, const struct pull_result *result, struct err *err)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = NULL;
	cleanup_free char *text = NULL;
	uint8_t text_len[4], manifest_len[4];
	yyjson_mut_val *root, *layers;
	size_t len;

	doc = doc_new(&root);
	yyjson_mut_obj_add_str(doc, root, "id", result->id);
	put_strv(doc, root, "names", result->names);
	put_strv(doc, root, "digests", result->digests);
	yyjson_mut_obj_add_str(doc, root, "manifest_digest", result->manifest_digest);
	yyjson_mut_obj_add_str(doc, root, "user", result->user);
	yyjson_mut_obj_add_uint(doc, root, "size", result->size_bytes);
	layers = yyjson_mut_arr(doc);
	for (size_t i = 0; i < result->nlayers; i++) {
		const struct pull_layer *layer = &result->layers[i];
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, layers);

		yyjson_mut_obj_add_str(doc, item, "key", layer->key);
		yyjson_mut_obj_add_int(doc, item, "slot", layer->slot);
		yyjson_mut_obj_add_uint(doc, item, "size", layer->size_bytes);
		yyjson_mut_obj_add_uint(doc, item, "inodes", layer->inodes);
		yyjson_mut_obj_add_bool(doc, item, "has_root", layer->has_root);
	}
	yyjson_mut_obj_add_val(doc, root, "layers", layers);
	text = json_write(doc, false, &len);
	if (!text)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "pull result: out of memory");
	put_le32(text_len, (uint32_t)len);
	put_le32(manifest_len, (uint32_t)result->manifest_len);
	{
		const struct part parts[] = {
			{ text_len, 4 },
			{ text, len },
			{ manifest_len, 4 },
			{ result->manifest, result->manifest_len },
			{ result->config, result->config_len },
		};

		return put_frame(out, PULL_RESULT, parts, ARRAY_SIZE(parts), err);
	}
}

static int get_result_layers(yyjson_val *root, struct pull_result *result, struct err *err)
{
	yyjson_val *array = json_arr(root, "layers"), *item;
	yyjson_arr_iter iter;

	if (!array || yyjson_arr_size(array) > MANIFEST_LAYERS_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "pull result: \"layers\" missing or too long");
	result->layers = xcalloc(yyjson_arr_size(array) + 1, sizeof(*result->layers));
	yyjson_arr_iter_init(array, &iter);
	while ((item = yyjson_arr_iter_next(&iter))) {
		const char *key = json_str(item, "key", "");
		int64_t slot = json_i64(item, "slot", -2);

		if (!layer_key_is_valid(key) || slot < -1 || slot > UNPACK_SLOT_MAX)
			return err_set(err, CODE_INVALID_ARGUMENT, "pull result: bad layer");
		result->layers[result->nlayers++] = (struct pull_layer){
			.key = xstrdup(key),
			.slot = (int)slot,
			.size_bytes = json_u64(item, "size", 0),
			.inodes = json_u64(item, "inodes", 0),
			.has_root = json_bool(item, "has_root", false),
		};
	}
	return 0;
}

static int get_result_json(struct str text, struct pull_result *result, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(text.p, text.len, 1024 * 1024, "pull result", err);
	const char *id, *manifest_digest;
	yyjson_val *root;

	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	id = json_str(root, "id", "");
	manifest_digest = json_str(root, "manifest_digest", "");
	if (digest_algorithm(str_of(id)) != DIGEST_SHA256 ||
	    !digest_is_valid(str_of(manifest_digest)))
		return err_set(err, CODE_INVALID_ARGUMENT, "pull result: bad digest");
	result->id = xstrdup(id);
	result->manifest_digest = xstrdup(manifest_digest);
	result->user = xstrdup(json_str(root, "user", ""));
	result->size_bytes = json_u64(root, "size", 0);
	if (get_strv(root, "names", PULL_NAMES_MAX, is_canonical, &result->names, err) < 0 ||
	    get_strv(root, "digests", PULL_NAMES_MAX, is_canonical, &result->digests, err) < 0)
		return -1;
	return get_result_layers(root, result, err);
}

/* u32 length and that many bytes */
static int take_part(struct str *rest, struct str *ret)
{
	uint32_t len;

	if (rest->len < 4)
		return -1;
	len = get_le32((const uint8_t *)rest->p);
	if (len > rest->len - 4)
		return -1;
	*ret = (struct str){ rest->p + 4, len };
	*rest = (struct str){ rest->p + 4 + len, rest->len - 4 - len };
	return 0;
}

/* With a NUL behind it, whatever is inside. */
static void *copy(struct str s)
{
	char *bytes = xcalloc(1, s.len + 1);

	if (s.len)
		memcpy(bytes, s.p, s.len);
	return bytes;
}

int pull_get_result(const void *data, size_t len, struct pull_result *ret, struct err *err)
{
	cleanup(pull_result_release) struct pull_result result = { 0 };
	struct str rest = { data, len }, text, manifest;

	if (take_part(&rest, &text) < 0 || take_part(&rest, &manifest) < 0 ||
	    manifest.len > MANIFEST_MAX_BYTES || rest.len > MANIFEST_MAX_BYTES)
		return err_set(err, CODE_INVALID_ARGUMENT, "pull result: malformed");
	if (get_result_json(text, &result, err) < 0)
		return -1;
	result.manifest = copy(manifest);
	result.manifest_len = manifest.len;
	result.config = copy(rest);
	result.config_len = rest.len;
	if (blob_verify(manifest.p, manifest.len, result.manifest_digest, -1, "manifest", err) <
	            0 ||
	    blob_verify(rest.p, rest.len, result.id, -1, "config", err) < 0)
		return -1;
	*ret = result;
	result = (struct pull_result){ 0 };
	return 0;
}
