/* core/image/manifest.h
 *
 * The JSON documents of an image: index, manifest, config; OCI and docker schema 2. Parsed strictly: exact keys, duplicates
 * refused, all sizes bounded, and a document that is two things at once is none (CVE-2021-41190).
 */
#ifndef CORACLE_CORE_IMAGE_MANIFEST_H
#define CORACLE_CORE_IMAGE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define MANIFEST_MAX_BYTES  (4 * 1024 * 1024)
#define MANIFEST_LAYERS_MAX 500 /* overlayfs stacks no more */
#define INDEX_ENTRIES_MAX   10000
#define INDEX_DEPTH_MAX     4

#define MEDIA_OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER       "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar"

/* Normalised: lower case, "x86_64" is amd64, variants as in platform_normalize(). Empty os: linux. */
struct platform {
	char os[32];
	char arch[32];
	char variant[16];
};

struct descriptor {
	char *media_type; /* may be "" */
	char *digest;     /* valid */
	int64_t size;     /* > 0 */
	bool has_platform;
	struct platform platform;
	char *name;     /* annotation io.containerd.image.name, or NULL */
	char *ref_name; /* annotation org.opencontainers.image.ref.name, or NULL */
	bool zstd;      /* annotation io.github.containers.compression.zstd = "true" */
};

struct descriptors {
	struct descriptor *items;
	size_t count;
};

enum document_kind {
	DOCUMENT_INVALID,
	DOCUMENT_INDEX,
	DOCUMENT_MANIFEST,
};

/* An index has @entries; a manifest has @config and @layers. */
struct document {
	enum document_kind kind;
	char *media_type; /* of the document itself, "" if it does not say */
	struct descriptor config;
	struct descriptors layers;
	struct descriptors entries;
};

struct image_config {
	struct platform platform;
	char *user;      /* "" if none */
	char **diff_ids; /* base first, all valid digests */
};

void descriptor_release(struct descriptor *descriptor);
void document_release(struct document *document);
void image_config_release(struct image_config *config);

/*
 * document_parse - an index or a manifest; what it is follows from its members.
 * @media_type: what the sender or the referring descriptor claims, NULL or "" if nothing; a contradiction is an error.
 * Errors: INVALID_ARGUMENT, UNIMPLEMENTED for schema 1, RESOURCE_EXHAUSTED over a limit; all name @what.
 */
NODISCARD int document_parse(const char *text, size_t len, const char *media_type, const char *what,
                             struct document *ret, struct err *err);

/* image_config_parse - INVALID_ARGUMENT for an artifact (no rootfs), a bad diffID, a rootfs type other than "layers". */
NODISCARD int image_config_parse(const char *text, size_t len, const char *what,
                                 struct image_config *ret, struct err *err);

bool media_is_index(const char *media_type);
bool media_is_manifest(const char *media_type);
/* A tar layer, compressed or not, non-distributable ones included; encrypted ones are not. */
bool media_is_layer(const char *media_type);

/* "linux/arm/v7"; INVALID_ARGUMENT. platform_text writes the same form. */
NODISCARD int platform_parse(const char *text, struct platform *ret, struct err *err);
void platform_text(const struct platform *platform, char *text, size_t size);
void platform_normalize(struct platform *platform);
void platform_host(struct platform *ret);

/*
 * platform_rank - how well @candidate suits @host: 0 is an exact match, larger is worse, -1 does not run here.
 * amd64 falls back through its levels to 386, arm from its version down to v5, arm64 down to v8 and then to 32-bit arm.
 */
int platform_rank(const struct platform *host, const struct platform *candidate);

/*
 * index_choose - the entry of @index to use on @host: best rank first, among equals one that is announced as zstd, then order.
 * An entry without a platform comes last and is only a guess: its config decides (platform_rank() on it).
 * Errors: NOT_FOUND listing what the index offers.
 */
NODISCARD int index_choose(const struct document *index, const struct platform *host,
                           const struct descriptor **ret, struct err *err);

/*
 * image_check - manifest and config belong together and run on @host.
 * Errors: INVALID_ARGUMENT (number of layers and diffIDs differ, a layer type we cannot unpack),
 *         FAILED_PRECONDITION "image is for linux/arm64, this host is linux/amd64".
 */
NODISCARD int image_check(const struct document *manifest, const struct image_config *config,
                          const struct platform *host, const char *what, struct err *err);

DEFINE_CLEANUP(struct document, document_release);
DEFINE_CLEANUP(struct image_config, image_config_release);
DEFINE_CLEANUP(struct descriptor, descriptor_release);

#endif
