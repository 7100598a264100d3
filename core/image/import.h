/* core/image/import.h
 *
 * Images from an archive: what `docker save`, `podman save`, `skopeo copy oci-archive:` and buildkit write, plain or compressed
 * as a whole, members in any order.
 *
 * A seekable plain archive is indexed and read in place; anything else is spooled once. An archive that is both an OCI layout
 * and a docker archive (current docker writes both) is read as OCI layout.
 */
#ifndef CORACLE_CORE_IMAGE_IMPORT_H
#define CORACLE_CORE_IMAGE_IMPORT_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/pull.h"

#define IMPORT_MEMBERS_MAX 65536
#define IMPORT_JSON_MAX    (20 * 1024 * 1024)
#define IMPORT_LINK_MAX    16

/*
 * import_run - read the archive on @input_fd and report each image of it that runs here.
 * Errors: INVALID_ARGUMENT (no image archive, something missing or damaged, naming the member), NOT_FOUND (nothing for this
 * platform), FAILED_PRECONDITION (the only image has no name and none was given).
 */
NODISCARD int import_run(struct pull *pull, int input_fd, struct err *err);

#endif
