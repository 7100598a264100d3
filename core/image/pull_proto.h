/* core/image/pull_proto.h
 *
 * Frames between the daemon and `coracle pull`, over one stream socket (descriptor PULL_SOCKET_FD in the child).
 *
 *   offset size field
 *   0	    4	 length of the payload, little endian, <= PULL_FRAME_MAX
 *   4	    1	 version (PULL_VERSION)
 *   5	    1	 type
 *   6	    2	 zero
 *   8	    -	 payload: JSON; RESULT has two attachments behind it
 *
 *   daemon -> pull
 *     REQUEST	  { mode: "import" | "registry", name, names: [...], platform, limits..., registry: {...} }
 *     LAYERS	  { have: [true, false, ...] }	 answer to WANT, same order
 *   pull -> daemon
 *     PROGRESS	  { done, total, layers, layers_done, text }	 bytes; total 0: not known
 *     WANT	  { keys: ["sha256:...", ...] }	 which of these layers are committed? Those that are get pinned until the job ends
 *     RESULT	  u32 JSON length, JSON, u32 manifest length, manifest, then the config to the end; one per image
 *     ERROR	  { code, sys, message }	 final
 *     DONE	  {}				 final: all images have been sent
 */
#ifndef CORACLE_CORE_IMAGE_PULL_PROTO_H
#define CORACLE_CORE_IMAGE_PULL_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/image/manifest.h"

#define PULL_SOCKET_FD  3
#define PULL_INPUT_FD   0
#define PULL_VERSION    1
#define PULL_FRAME_HEAD 8
#define PULL_FRAME_MAX  (2 * MANIFEST_MAX_BYTES + 1024 * 1024)
#define PULL_NAMES_MAX  256 /* names of one image */
#define PULL_IMAGES_MAX 256 /* images of one archive */
#define PULL_WANT_MAX   (3 * MANIFEST_LAYERS_MAX)

enum pull_frame {
	PULL_INVALID,
	PULL_REQUEST,
	PULL_LAYERS,
	PULL_PROGRESS,
	PULL_WANT,
	PULL_RESULT,
	PULL_ERROR,
	PULL_DONE,
};

struct pull_request {
	bool import; /* archive on PULL_INPUT_FD; else pull @name from a registry */
	char *name; /* import: name for an archive that has none (may be NULL); pull: the canonical reference */
	char *platform; /* "linux/arm64"; NULL: this host */
	char *registry; /* JSON object for registry.h (hosts, credentials, limits), or NULL; never logged */
	uint64_t free_bytes; /* reserve of the file system that no unpacking may touch */
	uint64_t free_inodes;
};

struct pull_progress {
	uint64_t done_bytes, total_bytes;
	uint32_t layers_done, layers;
	char text[128]; /* "unpacking", "sha256:abc..." */
};

/* A layer of a result: where it is now. */
struct pull_layer {
	char *key; /* "sha256:<hex>", its name in the store */
	int slot;  /* staging slot, or -1: committed before this job */
	uint64_t size_bytes;
	uint64_t inodes;
	bool has_root;
};

struct pull_result {
	char *id;       /* config digest */
	char **names;   /* canonical, name:tag */
	char **digests; /* canonical, name@digest of the top-level object */
	char *manifest_digest;
	char *user;
	uint64_t size_bytes;       /* index + manifest + config + layers, as transferred */
	struct pull_layer *layers; /* base first; layers that an opaque root hides are left out */
	size_t nlayers;
	void *manifest, *config; /* documents, NUL terminated */
	size_t manifest_len, config_len;
};

void pull_request_release(struct pull_request *request);
void pull_result_release(struct pull_result *result);

void pull_put_head(uint8_t head[PULL_FRAME_HEAD], enum pull_frame type, size_t payload_len);
/* INVALID_ARGUMENT: another version, an unknown type, too long. */
NODISCARD int pull_get_head(const uint8_t head[PULL_FRAME_HEAD], enum pull_frame *ret_type,
                            size_t *ret_len, struct err *err);

/* Each appends a whole frame. */
NODISCARD int pull_put_request(struct buf *out, const struct pull_request *request,
                               struct err *err);
NODISCARD int pull_put_progress(struct buf *out, const struct pull_progress *progress,
                                struct err *err);
NODISCARD int pull_put_want(struct buf *out, char *const *keys, size_t count, struct err *err);
NODISCARD int pull_put_layers(struct buf *out, const bool *have, size_t count, struct err *err);
NODISCARD int pull_put_result(struct buf *out, const struct pull_result *result, struct err *err);
NODISCARD int pull_put_error(struct buf *out, const struct err *error, struct err *err);
NODISCARD int pull_put_done(struct buf *out, struct err *err);

/* Payload decoders. What comes from the pull process is as untrusted as what it read: everything is checked again here. */
NODISCARD int pull_get_request(const void *data, size_t len, struct pull_request *ret,
                               struct err *err);
NODISCARD int pull_get_progress(const void *data, size_t len, struct pull_progress *ret,
                                struct err *err);
NODISCARD int pull_get_want(const void *data, size_t len, char ***ret_keys, struct err *err);
NODISCARD int pull_get_layers(const void *data, size_t len, bool *have, size_t count,
                              struct err *err);
NODISCARD int pull_get_result(const void *data, size_t len, struct pull_result *ret,
                              struct err *err);
NODISCARD int pull_get_error(const void *data, size_t len, struct err *ret, struct err *err);

DEFINE_CLEANUP(struct pull_request, pull_request_release);
DEFINE_CLEANUP(struct pull_result, pull_result_release);

#endif
