/* cri/spec/volume.h
 *
 * A volume that the image declares: a directory of the container's own, outside of its layers, that starts with what the image
 * has at that place.
 *
 *	<container_dir>/volumes/<16 hex of sha256(path)>
 *
 * It goes with the container's directory. The image may be hostile: nothing outside of its root file system is read, whatever
 * its symlinks say.
 */
#ifndef CORACLE_CRI_SPEC_VOLUME_H
#define CORACLE_CRI_SPEC_VOLUME_H

#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define VOLUME_DEPTH_MAX 64

struct volume_args {
	const char *container_dir, *rootfs;
	const char *path; /* in the container, cleaned */
	uid_t uid;        /* owner where the image has nothing there */
	gid_t gid;
};

/*
 * volume_prepare - make it anew and fill it: owners, modes, times, extended attributes and links as they are.
 * Returns: its path on the heap in @ret_dir.
 * Errors:  RESOURCE_EXHAUSTED (disk full, a tree deeper than VOLUME_DEPTH_MAX), others name the file.
 */
NODISCARD int volume_prepare(const struct volume_args *args, char **ret_dir, struct err *err);

#endif
