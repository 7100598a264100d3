/* core/image/usage.h
 *
 * How much disk a directory tree takes: allocated bytes and inodes, each inode once, one file system, symlinks not followed.
 * A child walks (writable layers can be large and slow) and prints one line; the owner keeps the result with its time.
 *
 * Hard links are counted as 1/nlink of their inode each: exact when all links are in the tree, and needs no memory.
 */
#ifndef CORACLE_CORE_IMAGE_USAGE_H
#define CORACLE_CORE_IMAGE_USAGE_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

struct usage {
	uint64_t bytes;
	uint64_t inodes;
};

/* 0 or a negative errno; a missing directory is -ENOENT, what vanishes during the walk is skipped. Allocates nothing. */
NODISCARD int usage_walk(int dirfd, const char *path, struct usage *ret);

/* For child_spawn: @arg is the path (const char *). Prints "BYTES INODES\n" on stdout. */
int usage_child(void *path);
/* usage_layers - what all committed layers below <root>/layers take, from what was noted when each was committed; no walk.
 * Blocking (worker). 0 or a negative errno. */
NODISCARD int usage_layers(const char *root, struct usage *ret);
/* Parse what usage_child printed. */
NODISCARD int usage_parse(const char *text, size_t len, struct usage *ret, struct err *err);

#endif
