/* core/image/pull.h
 *
 * `coracle pull`: one image job in a process of its own. It confines itself (confine.h), reads an archive or talks to a
 * registry, verifies, feeds the unpack process, and reports over its socket (pull_proto.h). Blocking, straight-line code; a
 * malicious image can kill this process and nothing else.
 *
 * The calls below are what import.c and registry.c, the two sources of images, have to work with. They may be called from
 * any thread of the process.
 */
#ifndef CORACLE_CORE_IMAGE_PULL_H
#define CORACLE_CORE_IMAGE_PULL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/manifest.h"
#include "core/image/pull_proto.h"

/* Applet: argv = { "pull", <staging directory of the job>, <layers directory> }; socket on PULL_SOCKET_FD, archive on stdin. */
int pull_main(int argc, char **argv);

struct pull; /* the job */

/* Where the bytes of a blob come from: a range of a file, or a connection. */
struct pull_blob {
	/* Up to @max bytes; *ret_len 0 at the end. Errors are final. */
	int (*read)(void *arg, void *data, size_t max, size_t *ret_len, struct err *err);
	void *arg;
};

/* Opens the blob of layer @index (of the manifest). Called from a worker thread, at most once per layer and only for those
 * that are not in the store yet. @ret->arg is closed by close(). */
struct pull_source {
	int (*open_layer)(void *arg, size_t index, const struct descriptor *layer,
	                  struct pull_blob *ret, struct err *err);
	void (*close)(void *arg, struct pull_blob *blob);
	void *arg;
	unsigned parallel; /* layers at once, >= 1 */
};

struct pull_image {
	const char *what;     /* for errors */
	const char *manifest; /* the platform's manifest, verified by the caller */
	size_t manifest_len;
	const char *manifest_digest;
	const struct document *document; /* the same, parsed */
	const char *config;              /* verified by the caller */
	size_t config_len;
	uint64_t index_bytes; /* size of the index documents on the way, for the image's size */
	char *const *names;
	char *const *digests;
};

/*
 * pull_image - everything from "manifest and config are here" to the RESULT frame: checks, asks which layers exist, unpacks the
 * others in parallel, verifies, ties dependent layers to their lowers, reports.
 */
NODISCARD int pull_image(struct pull *pull, const struct pull_image *image,
                         const struct pull_source *source, struct err *err);

const struct pull_request *pull_request(const struct pull *pull);
const struct platform *pull_platform(const struct pull *pull);
int pull_spool_fd(const struct pull *pull); /* directory for temporary files, ours alone */
/* Adds to the byte counters; a frame goes out at most every 200 ms. */
void pull_advance(struct pull *pull, uint64_t bytes);
void pull_expect(struct pull *pull, uint64_t bytes);

#endif
