/* cri/spec/image_process.h
 *
 * What an image's config JSON says about the process: its member "config" in OCI's and docker's form. The rest of the document
 * was judged when the image was stored.
 */
#ifndef CORACLE_CRI_SPEC_IMAGE_PROCESS_H
#define CORACLE_CRI_SPEC_IMAGE_PROCESS_H

#include <stddef.h>

#include "core/base/attr.h"
#include "core/base/err.h"

struct image_process {
	char **entrypoint, **cmd; /* strv, maybe empty, never NULL */
	char **env;               /* "KEY=value"; without '=': the key is to be removed */
	char **volumes;           /* as written */
	char *user;               /* "" if none */
	char *working_dir;        /* "" if none */
};

/* Empty text is an image that says nothing. INVALID_ARGUMENT naming the member of a wrong type. */
NODISCARD int image_process_parse(const char *text, size_t len, struct image_process *ret,
                                  struct err *err);
void image_process_release(struct image_process *process); /* safe on a zeroed struct */

DEFINE_CLEANUP(struct image_process, image_process_release);

#endif
