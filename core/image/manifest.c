/* core/image/manifest.c */
#include "core/image/manifest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/ref.h"

#define STRING_MAX  (64 * 1024)
#define MEDIA_MAX   255
#define SIZE_MAX_52 (INT64_C(1) << 50)

void descriptor_release(struct descriptor *descriptor)
{
	free(descriptor->media_type);
	free(descriptor->digest);
	free(descriptor->name);
	free(descriptor->ref_name);
	*descriptor = (struct descriptor){ 0 };
}

static void descriptors_release(struct descriptors *list)
{
	for (size_t i = 0; i < list->count; i++)
		descriptor_release(&list->items[i]);
	free(list->items);
	*list = (struct descriptors){ 0 };
}

void document_release(struct document *document)
{
	free(document->media_type);
	descriptor_release(&document->config);
	descriptors_release(&document->layers);
	descriptors_release(&document->entries);
	*document = (struct document){ 0 };
}

void image_config_release(struct image_config *config)
{
	free(config->user);
	strv_free(config->diff_ids);
	*config = (struct image_config){ 0 };
}

/* --- media types */

static bool is_one_of(const char *s, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (streq(s, list[i]))
			return true;
	return false;
}

bool media_is_index(const char *media_type)
{
	static const char *const types[] = { MEDIA_OCI_INDEX, MEDIA_DOCKER_LIST };

	return is_one_of(media_type, types, ARRAY_SIZE(types));
}

bool media_is_manifest(const char *media_type)
{
	static const char *const types[] = { MEDIA_OCI_MANIFEST, MEDIA_DOCKER_MANIFEST };

	return is_one_of(media_type, types, ARRAY_SIZE(types));
}

bool media_is_layer(const char *media_type)
{
	static const char *const bases[] = {
		MEDIA_OCI_LAYER,
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		MEDIA_DOCKER_LAYER,
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
	};
	static const char *const suffixes[] = { "", "+gzip", "+zstd", ".gzip", ".zstd" };

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		size_t len = strlen(bases[i]);

		if (strncmp(media_type, bases[i], len) == 0 &&
		    is_one_of(media_type + len, suffixes, ARRAY_SIZE(suffixes)))
			return true;
	}
	return false;
}

static bool media_is_image_config(const char *media_type)
{
	/* octet-stream: an old registry bug that images in use still carry */
	static const char *const types[] = { MEDIA_OCI_CONFIG, MEDIA_DOCKER_CONFIG,
		                             "application/octet-stream", "" };

	return is_one_of(media_type, types, ARRAY_SIZE(types));
}

/* --- platforms */

static void lower(char *s)
{
	for (; *s; s++)
		*s = (char)tolower((unsigned char)*s);
}

void platform_normalize(struct platform *platform)
{
	static const struct {
		const char *arch, *variant, *to_arch,
			*to_variant; /* variant NULL: any, to_variant NULL: as it is */
	} table[] = {
		{ "i386", NULL, "386", "" },        { "386", NULL, "386", "" },
		{ "x86_64", NULL, "amd64", NULL },  { "x86-64", NULL, "amd64", NULL },
		{ "aarch64", NULL, "arm64", NULL }, { "armhf", NULL, "arm", "v7" },
		{ "armel", NULL, "arm", "v6" },
	};
	static const struct {
		const char *arch, *variant, *to;
	} variants[] = {
		{ "amd64", "v1", "" },     { "arm64", "8", "" },   { "arm64", "v8", "" },
		{ "arm64", "v8.0", "" },   { "arm64", "9", "v9" }, { "arm64", "9.0", "v9" },
		{ "arm64", "v9.0", "v9" }, { "arm", "", "v7" },    { "arm", "7", "v7" },
		{ "arm", "5", "v5" },      { "arm", "6", "v6" },   { "arm", "8", "v8" },
	};

	lower(platform->os);
	lower(platform->arch);
	lower(platform->variant);
	if (!platform->os[0])
		memcpy(platform->os, "linux", sizeof("linux"));
	else if (streq(platform->os, "macos"))
		memcpy(platform->os, "darwin", sizeof("darwin"));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!streq(platform->arch, table[i].arch))
			continue;
		ignore(str_copy(platform->arch, sizeof(platform->arch),
		                table[i].to_arch)); /* fits */
		if (table[i].to_variant)
			ignore(str_copy(platform->variant, sizeof(platform->variant),
			                table[i].to_variant)); /* fits */
		break;
	}
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++)
		if (streq(platform->arch, variants[i].arch) &&
		    streq(platform->variant, variants[i].variant)) {
			ignore(str_copy(platform->variant, sizeof(platform->variant),
			                variants[i].to)); /* fits */
			break;
		}
}

int platform_parse(const char *text, struct platform *ret, struct err *err)
{
	struct str os, arch, variant, rest;
	struct platform platform = { 0 };

	if (!str_cut(str_of(text), '/', &os, &rest) || os.len == 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "platform \"%.40s\": expected os/architecture[/variant]", text);
	str_cut(rest, '/', &arch, &variant);
	if (arch.len == 0 || os.len >= sizeof(platform.os) || arch.len >= sizeof(platform.arch) ||
	    variant.len >= sizeof(platform.variant))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "platform \"%.40s\": expected os/architecture[/variant]", text);
	memcpy(platform.os, os.p, os.len);
	memcpy(platform.arch, arch.p, arch.len);
	if (variant.len)
		memcpy(platform.variant, variant.p, variant.len);
	platform_normalize(&platform);
	*ret = platform;
	return 0;
}

void platform_text(const struct platform *platform, char *text, size_t size)
{
	ignore(str_format(text, size, "%s/%s%s%s", platform->os, platform->arch,
	                  platform->variant[0] ? "/" : "",
	                  platform->variant)); /* an empty text is the worst that can happen */
}

#if defined(__arm__) || defined(__aarch64__)
/* "CPU architecture: 7" of /proc/cpuinfo; only 32-bit ARM needs it. */
static void arm_variant(struct platform *platform)
{
	cleanup_free char *text = NULL;
	const char *line;
	size_t len;

	memcpy(platform->variant, "v7", sizeof("v7"));
	if (fsx_read(-1, "/proc/cpuinfo", 1024 * 1024, &text, &len) < 0)
		return;
	line = strstr(text, "CPU architecture");
	line = line ? strchr(line, ':') : NULL;
	line = line ? line + 1 + strspn(line + 1, " \t") : NULL;
	if (line && *line >= '5' && *line <= '8')
		platform->variant[1] = *line;
	if (strstr(text, "ARMv6-compatible")) /* such kernels claim 7 */
		platform->variant[1] = '6';
}
#endif

void platform_host(struct platform *ret)
{
	struct platform platform = { .os = "linux" };
	struct utsname uts;

	if (uname(&uts) == 0)
		ignore(str_copy(platform.arch, sizeof(platform.arch),
		                uts.machine)); /* too long: matches nothing */
#if defined(__arm__) || defined(__aarch64__)
	if (strncmp(platform.arch, "arm", 3) == 0)
		memcpy(platform.arch, "arm", sizeof("arm"));
	if (streq(platform.arch, "arm"))
		arm_variant(&platform);
#endif
	platform_normalize(&platform);
	*ret = platform;
}

/* "v8.3" -> 8, 3; "" -> dflt, 0 */
static bool version(const char *variant, int dflt, int *ret_major, int *ret_minor)
{
	uint64_t major, minor = 0;
	struct str head, tail;

	if (!variant[0]) {
		*ret_major = dflt;
		*ret_minor = 0;
		return true;
	}
	if (variant[0] != 'v')
		return false;
	str_cut(str_of(variant + 1), '.', &head, &tail);
	if (str_u64(head, 99, &major) < 0 || (tail.len && str_u64(tail, 99, &minor) < 0))
		return false;
	*ret_major = (int)major;
	*ret_minor = (int)minor;
	return true;
}

static int rank_amd64(const struct platform *host, const struct platform *candidate)
{
	int have, want, minor;

	if (streq(candidate->arch, "386"))
		return 90;
	if (!streq(candidate->arch, "amd64") || !version(host->variant, 1, &have, &minor) ||
	    !version(candidate->variant, 1, &want, &minor) || want > have)
		return -1;
	return have - want;
}

static int rank_arm(int have, const struct platform *candidate, int base)
{
	int want, minor;

	if (!streq(candidate->arch, "arm") || !version(candidate->variant, 7, &want, &minor) ||
	    want > have || want < 5)
		return -1;
	return base + have - want;
}

static int rank_arm64(const struct platform *host, const struct platform *candidate)
{
	int have, have_minor, want, want_minor, limit;

	if (!version(host->variant, 8, &have, &have_minor))
		return -1;
	if (!streq(candidate->arch, "arm64"))
		return rank_arm(8, candidate, 200);
	if (!version(candidate->variant, 8, &want, &want_minor))
		return -1;
	if (want == have)
		return want_minor <= have_minor ? have_minor - want_minor : -1;
	/* v9.x implements v8.(x+5), as far as the architecture defines it */
	limit = MIN(have_minor + 5, 9);
	return have == 9 && want == 8 && want_minor <= limit ? 100 + limit - want_minor : -1;
}

int platform_rank(const struct platform *host, const struct platform *candidate)
{
	int have, minor;

	if (!streq(host->os, candidate->os))
		return -1;
	if (streq(host->arch, "amd64"))
		return rank_amd64(host, candidate);
	if (streq(host->arch, "arm64"))
		return rank_arm64(host, candidate);
	if (streq(host->arch, "arm"))
		return version(host->variant, 7, &have, &minor) ? rank_arm(have, candidate, 0) : -1;
	return streq(host->arch, candidate->arch) && streq(host->variant, candidate->variant) ? 0
	                                                                                      : -1;
}

int index_choose(const struct document *index, const struct platform *host,
                 const struct descriptor **ret, struct err *err)
{
	const struct descriptor *best = NULL;
	char offers[160] = "", text[96];
	int best_rank = 0;

	for (size_t i = 0; i < index->entries.count; i++) {
		const struct descriptor *entry = &index->entries.items[i];
		int rank = entry->has_platform ? platform_rank(host, &entry->platform) : 1000;

		if (!media_is_index(entry->media_type) && !media_is_manifest(entry->media_type) &&
		    entry->media_type[0])
			continue; /* attestations and whatever else may be attached */
		if (rank >= 0 && (!best || rank < best_rank ||
		                  (rank == best_rank && entry->zstd && !best->zstd))) {
			best = entry;
			best_rank = rank;
		}
		if (entry->has_platform && !streq(entry->platform.os, "unknown")) {
			size_t used = strlen(offers);

			platform_text(&entry->platform, text, sizeof(text));
			ignore(str_format(offers + used, sizeof(offers) - used, "%s%s",
			                  used ? ", " : "", text)); /* cut: enough said */
		}
	}
	if (!best) {
		platform_text(host, text, sizeof(text));
		return err_set(err, CODE_NOT_FOUND, "no image for %s, only for: %s", text,
		               offers[0] ? offers : "nothing");
	}
	*ret = best;
	return 0;
}

/* --- documents */

/* Go reads keys in any case, others do not: a document in which that makes a difference is refused. */
static int check_keys(yyjson_val *obj, const char *const *keys, size_t count, const char *what,
                      struct err *err)
{
	yyjson_obj_iter iter;
	yyjson_val *key;

	if (!yyjson_is_obj(obj))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: not an object", what);
	yyjson_obj_iter_init(obj, &iter);
	while ((key = yyjson_obj_iter_next(&iter))) {
		const char *name = yyjson_get_str(key);

		for (size_t i = 0; i < count; i++)
			if (strcasecmp(name, keys[i]) == 0 && strcmp(name, keys[i]) != 0)
				return err_set(err, CODE_INVALID_ARGUMENT,
				               "%s: \"%.40s\" is a misspelt \"%s\"", what, name,
				               keys[i]);
	}
	return 0;
}

/* Missing or null: NULL. */
static int get_text(yyjson_val *obj, const char *key, size_t max, const char *what,
                    const char **ret, struct err *err)
{
	yyjson_val *val = yyjson_obj_get(obj, key);

	*ret = NULL;
	if (!val || yyjson_is_null(val))
		return 0;
	if (!yyjson_is_str(val))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%s\" is not a string", what, key);
	if (yyjson_get_len(val) > max || strlen(yyjson_get_str(val)) != yyjson_get_len(val))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%s\" is too long or holds a NUL",
		               what, key);
	*ret = yyjson_get_str(val);
	return 0;
}

static int parse_platform(yyjson_val *obj, struct platform *ret, const char *what, struct err *err)
{
	static const char *const keys[] = { "os", "architecture", "variant" };
	struct platform platform = { 0 };
	const char *os, *arch, *variant;

	if (check_keys(obj, keys, ARRAY_SIZE(keys), what, err) < 0 ||
	    get_text(obj, "os", STRING_MAX, what, &os, err) < 0 ||
	    get_text(obj, "architecture", STRING_MAX, what, &arch, err) < 0 ||
	    get_text(obj, "variant", STRING_MAX, what, &variant, err) < 0)
		return -1;
	if (str_copy(platform.os, sizeof(platform.os), or_empty(os)) < 0 ||
	    str_copy(platform.arch, sizeof(platform.arch), or_empty(arch)) < 0 ||
	    str_copy(platform.variant, sizeof(platform.variant), or_empty(variant)) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: platform name too long", what);
	platform_normalize(&platform);
	*ret = platform;
	return 0;
}

static int parse_annotations(yyjson_val *obj, struct descriptor *descriptor, const char *what,
                             struct err *err)
{
	yyjson_val *annotations = json_obj(obj, "annotations");
	const char *name, *ref_name, *zstd;

	if (!annotations)
		return 0;
	if (get_text(annotations, "io.containerd.image.name", REF_MAX_BYTES, what, &name, err) <
	            0 ||
	    get_text(annotations, "org.opencontainers.image.ref.name", REF_MAX_BYTES, what,
	             &ref_name, err) < 0 ||
	    get_text(annotations, "io.github.containers.compression.zstd", STRING_MAX, what, &zstd,
	             err) < 0)
		return -1;
	descriptor->name = xstrdup(name);
	descriptor->ref_name = xstrdup(ref_name);
	descriptor->zstd = streq(zstd, "true");
	return 0;
}

/* "data": an inline copy. We fetch anyway, but a wrong one shows that somebody plays games. */
static int check_inline(yyjson_val *obj, const struct descriptor *descriptor, const char *what,
                        struct err *err)
{
	cleanup(buf_release) struct buf raw = { 0 };
	const char *data;

	buf_init(&raw, MANIFEST_MAX_BYTES);
	if (get_text(obj, "data", MANIFEST_MAX_BYTES, what, &data, err) < 0)
		return -1;
	if (!data || !*data)
		return 0;
	if (base64_decode(&raw, str_of(data)) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: inline data is not base64", what);
	return blob_verify(raw.data, raw.len, descriptor->digest, descriptor->size, what, err);
}

static int parse_descriptor(yyjson_val *obj, const char *what, struct descriptor *ret,
                            struct err *err)
{
	static const char *const keys[] = { "mediaType", "digest",      "size",
		                            "platform",  "annotations", "data" };
	cleanup(descriptor_release) struct descriptor descriptor = { 0 };
	yyjson_val *size, *platform;
	const char *media_type, *digest;

	if (check_keys(obj, keys, ARRAY_SIZE(keys), what, err) < 0 ||
	    get_text(obj, "mediaType", MEDIA_MAX, what, &media_type, err) < 0 ||
	    get_text(obj, "digest", STRING_MAX, what, &digest, err) < 0)
		return -1;
	if (!digest || !digest_is_valid(str_of(digest)))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%.80s\" is not a digest", what,
		               or_empty(digest));
	size = yyjson_obj_get(obj, "size");
	if (!yyjson_is_uint(size) || yyjson_get_uint(size) == 0 ||
	    yyjson_get_uint(size) > SIZE_MAX_52)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: %s: size missing or out of range",
		               what, digest);
	descriptor.media_type = xstrdup(or_empty(media_type));
	descriptor.digest = xstrdup(digest);
	descriptor.size = (int64_t)yyjson_get_uint(size);
	platform = json_obj(obj, "platform");
	if (platform) {
		descriptor.has_platform = true;
		if (parse_platform(platform, &descriptor.platform, what, err) < 0)
			return -1;
	}
	if (parse_annotations(obj, &descriptor, what, err) < 0 ||
	    check_inline(obj, &descriptor, what, err) < 0)
		return -1;
	*ret = descriptor;
	descriptor = (struct descriptor){ 0 };
	return 0;
}

static int parse_descriptors(yyjson_val *array, size_t max, const char *what,
                             struct descriptors *ret, struct err *err)
{
	size_t count = yyjson_arr_size(array);
	yyjson_arr_iter iter;
	yyjson_val *item;

	if (count > max)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: %zu entries, at most %zu are supported", what, count, max);
	ret->items = xcalloc(count ? count : 1, sizeof(*ret->items));
	yyjson_arr_iter_init(array, &iter);
	while ((item = yyjson_arr_iter_next(&iter))) {
		if (parse_descriptor(item, what, &ret->items[ret->count], err) < 0)
			return -1; /* the caller releases */
		ret->count++;
	}
	return 0;
}

static int parse_index(yyjson_val *root, const char *what, struct document *document,
                       struct err *err)
{
	yyjson_val *manifests = yyjson_obj_get(root, "manifests");

	if (yyjson_obj_get(root, "config") || yyjson_obj_get(root, "layers"))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: is an index and a manifest at once",
		               what);
	if (!yyjson_is_arr(manifests))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"manifests\" is not a list", what);
	document->kind = DOCUMENT_INDEX;
	return parse_descriptors(manifests, INDEX_ENTRIES_MAX, what, &document->entries, err);
}

static int parse_manifest(yyjson_val *root, const char *what, struct document *document,
                          struct err *err)
{
	yyjson_val *layers = yyjson_obj_get(root, "layers");

	if (!yyjson_is_arr(layers) || !yyjson_is_obj(yyjson_obj_get(root, "config")))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: neither an image manifest nor an index", what);
	document->kind = DOCUMENT_MANIFEST;
	if (parse_descriptor(yyjson_obj_get(root, "config"), what, &document->config, err) < 0)
		return -1;
	return parse_descriptors(layers, MANIFEST_LAYERS_MAX, what, &document->layers, err);
}

static int check_claim(const struct document *document, const char *media_type, const char *what,
                       struct err *err)
{
	bool index = document->kind == DOCUMENT_INDEX;

	if (!media_type || !*media_type)
		return 0;
	if ((index && media_is_manifest(media_type)) || (!index && media_is_index(media_type)))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: announced as %s, but is %s", what,
		               media_type, index ? "an index" : "a manifest");
	return 0;
}

int document_parse(const char *text, size_t len, const char *media_type, const char *what,
                   struct document *ret, struct err *err)
{
	static const char *const keys[] = { "schemaVersion", "mediaType", "config",
		                            "layers",        "manifests", "fsLayers" };
	cleanup(document_release) struct document document = { 0 };
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	const char *own_type;
	yyjson_val *root;

	doc = json_parse(text, len, MANIFEST_MAX_BYTES, what, err);
	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	if (check_keys(root, keys, ARRAY_SIZE(keys), what, err) < 0 ||
	    get_text(root, "mediaType", MEDIA_MAX, what, &own_type, err) < 0)
		return -1;
	if (yyjson_obj_get(root, "fsLayers"))
		return err_set(err, CODE_UNIMPLEMENTED,
		               "%s: manifest schema 1 is not supported, push the image again",
		               what);
	if (json_i64(root, "schemaVersion", 2) != 2)
		return err_set(err, CODE_UNIMPLEMENTED, "%s: schemaVersion is not 2", what);
	if (yyjson_obj_get(root, "manifests") ? parse_index(root, what, &document, err) < 0
	                                      : parse_manifest(root, what, &document, err) < 0)
		return -1;
	if (check_claim(&document, own_type, what, err) < 0 ||
	    check_claim(&document, media_type, what, err) < 0)
		return -1;
	document.media_type = xstrdup(or_empty(own_type));
	*ret = document;
	document = (struct document){ 0 };
	return 0;
}

static struct image_config take_config(struct image_config *config)
{
	struct image_config taken = *config;

	*config = (struct image_config){ 0 };
	return taken;
}

static int parse_diff_ids(yyjson_val *rootfs, const char *what, char ***ret, struct err *err)
{
	static const char *const keys[] = { "type", "diff_ids" };
	cleanup(strv_free) char **ids = NULL;
	yyjson_val *array, *item;
	yyjson_arr_iter iter;
	const char *type;
	size_t n = 0;

	if (check_keys(rootfs, keys, ARRAY_SIZE(keys), what, err) < 0 ||
	    get_text(rootfs, "type", STRING_MAX, what, &type, err) < 0)
		return -1;
	if (type && *type && !streq(type, "layers"))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: rootfs type \"%.40s\" is not \"layers\"", what, type);
	array = yyjson_obj_get(rootfs, "diff_ids");
	if (array && !yyjson_is_null(array) && !yyjson_is_arr(array))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"diff_ids\" is not a list", what);
	if (yyjson_arr_size(array) > MANIFEST_LAYERS_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: %zu layers, at most %d are supported", what,
		               yyjson_arr_size(array), MANIFEST_LAYERS_MAX);
	ids = xcalloc(yyjson_arr_size(array) + 1, sizeof(*ids));
	if (yyjson_arr_iter_init(array, &iter))
		while ((item = yyjson_arr_iter_next(&iter))) {
			const char *id = or_empty(yyjson_get_str(item));

			if (!digest_is_valid(str_of(id)))
				return err_set(err, CODE_INVALID_ARGUMENT,
				               "%s: diffID \"%.80s\" is not a digest", what, id);
			ids[n++] = xstrdup(id);
		}
	*ret = take_ptr(ids);
	return 0;
}

int image_config_parse(const char *text, size_t len, const char *what, struct image_config *ret,
                       struct err *err)
{
	static const char *const keys[] = { "os", "architecture", "variant", "config", "rootfs" };
	cleanup(image_config_release) struct image_config config = { 0 };
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	yyjson_val *root, *rootfs;
	const char *user;

	doc = json_parse(text, len, MANIFEST_MAX_BYTES, what, err);
	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	if (check_keys(root, keys, ARRAY_SIZE(keys), what, err) < 0)
		return -1;
	rootfs = json_obj(root, "rootfs");
	if (!rootfs)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: no rootfs: this is an artifact, not a container image", what);
	if (parse_platform(root, &config.platform, what, err) < 0 ||
	    parse_diff_ids(rootfs, what, &config.diff_ids, err) < 0 ||
	    get_text(json_obj(root, "config"), "User", 4096, what, &user, err) < 0)
		return -1;
	config.user = xstrdup(or_empty(user));
	*ret = take_config(&config);
	return 0;
}

int image_check(const struct document *manifest, const struct image_config *config,
                const struct platform *host, const char *what, struct err *err)
{
	char theirs[96], ours[96];

	if (manifest->kind != DOCUMENT_MANIFEST)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: not a manifest", what);
	if (!media_is_image_config(manifest->config.media_type))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: config of type %s: an artifact, not a container image", what,
		               manifest->config.media_type);
	if (manifest->layers.count != strv_len(config->diff_ids))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: %zu layers, but %zu diffIDs", what,
		               manifest->layers.count, strv_len(config->diff_ids));
	for (size_t i = 0; i < manifest->layers.count; i++)
		if (!media_is_layer(manifest->layers.items[i].media_type))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: layer %zu of type \"%.100s\" cannot be unpacked", what,
			               i, manifest->layers.items[i].media_type);
	if (config->platform.arch[0] && platform_rank(host, &config->platform) < 0) {
		platform_text(&config->platform, theirs, sizeof(theirs));
		platform_text(host, ours, sizeof(ours));
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "%s: image is for %s, this host is %s", what, theirs, ours);
	}
	return 0;
}
