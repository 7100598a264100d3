/* Index, manifest and config: the first byte chooses how the rest is announced. What is accepted keeps the promises of the header. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/image/blob.h"
#include "core/image/manifest.h"
#include "core/image/ref.h"

static void check_descriptor(const struct descriptor *descriptor)
{
	ensure(digest_is_valid(str_of(descriptor->digest)) && descriptor->size > 0 &&
	       descriptor->media_type);
}

static void check_document(const struct document *document)
{
	const struct descriptor *chosen = NULL;
	struct platform host;
	struct err err = { 0 };

	if (document->kind == DOCUMENT_MANIFEST) {
		ensure(document->entries.count == 0 &&
		       document->layers.count <= MANIFEST_LAYERS_MAX);
		check_descriptor(&document->config);
	} else {
		ensure(document->kind == DOCUMENT_INDEX && document->layers.count == 0 &&
		       !document->config.digest);
		ensure(document->entries.count <= INDEX_ENTRIES_MAX);
		platform_host(&host);
		if (index_choose(document, &host, &chosen, &err) == 0)
			ensure(!chosen->has_platform ||
			       platform_rank(&host, &chosen->platform) >= 0);
	}
	for (size_t i = 0; i < document->layers.count; i++)
		check_descriptor(&document->layers.items[i]);
	for (size_t i = 0; i < document->entries.count; i++)
		check_descriptor(&document->entries.items[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = { NULL, MEDIA_OCI_INDEX, MEDIA_OCI_MANIFEST,
		                             MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST };
	cleanup(image_config_release) struct image_config config = { 0 };
	cleanup(document_release) struct document document = { 0 };
	const char *text = (const char *)data + 1;
	struct err err = { 0 };

	if (size == 0)
		return 0;
	if (document_parse(text, size - 1, types[data[0] % ARRAY_SIZE(types)], "fuzz", &document,
	                   &err) == 0)
		check_document(&document);
	else
		ensure(err.code != CODE_OK);
	if (image_config_parse(text, size - 1, "fuzz", &config, &err) == 0) {
		ensure(config.user && config.diff_ids);
		for (char **id = config.diff_ids; *id; id++)
			ensure(digest_algorithm(str_of(*id)) != DIGEST_INVALID);
	}
	return 0;
}
