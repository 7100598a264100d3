/* core/image/untar_internal.h
 *
 * What untar.c and untar_fix.c share: looking things up inside a layer, and failing.
 */
#ifndef CORACLE_CORE_IMAGE_UNTAR_INTERNAL_H
#define CORACLE_CORE_IMAGE_UNTAR_INTERNAL_H

#include <stdbool.h>
#include <sys/stat.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/tar.h"
#include "core/image/untar.h"

/* Resolved by the kernel inside @root_fd, symlinks included; "" is the root. A descriptor or a negative errno. */
NODISCARD int untar_open(int root_fd, const char *path, int flags);
/* In place: "a/b/c" -> "a/b", "c"; "c" -> "", "c". */
const char *untar_split(char *path, const char **ret_parent);
bool untar_is_whiteout(const struct stat *st);

/* Attributes a layer may bring: no labels of this host's policy, no markers of overlayfs. */
bool untar_xattr_wanted(const char *name);
/* On @base of the working directory, or on @fd when @base is NULL. @plain: a file or a directory, which can have user.*. */
NODISCARD int untar_set_xattr(int fd, const char *base, const struct tar_xattr *xattr, bool plain,
                              const char *path, struct err *err);

/* Size and inodes of the layer, into @result. */
NODISCARD int untar_measure(int root_fd, struct untar_result *result, struct err *err);

/* -1. What the archive did wrong is INVALID_ARGUMENT; what this machine cannot do keeps its own code. */
int untar_fail(struct err *err, int sys, const char *path, const char *what);
int untar_bad(struct err *err, const char *path, const char *why);

#endif
