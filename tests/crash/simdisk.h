/* tests/crash/simdisk.h
 *
 * A disk in memory that can stop at any call and lose what a real one may lose. It implements core/journal/disk.h: link it in
 * place of disk.c and journal and spool run on it unchanged.
 *
 * The model. A file is a row of 4 KiB blocks, a block a row of versions: the first is on the platter, the last in the page cache,
 * those between were cached since the last sync. A file's size has versions in the same way, and so has its place in the
 * directories (nowhere, or a directory and a name): create, rename and unlink each add one.
 *
 *   kill        every last version stays
 *   power cut   for each block, size and place with more than one version any of them may be what is left; a block may also
 *               be garbage (torn). Where two files then claim one name, the later claim stands.
 *   fsync       of a file: its blocks and size have one version. Of a directory: the places in it have.
 *   failing     a failing fdatasync leaves the dirty blocks as uncertain as they were, for ever: the kernel calls them clean
 *   rot         one block that has one version becomes garbage
 *
 * A stop: from the n-th step on nothing changes the disk any more and every call that wants to fails with EIO; a write that
 * spans blocks is a step per block, so it can stop half way. The program runs on for a moment, as one that was killed does not:
 * whoever drives it asks simdisk_stopped() and believes nothing it says afterwards.
 */
#ifndef CORACLE_TESTS_CRASH_SIMDISK_H
#define CORACLE_TESTS_CRASH_SIMDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"

struct simdisk;

NODISCARD struct simdisk *simdisk_new(void);
NODISCARD struct simdisk *simdisk_clone(const struct simdisk *disk); /* without open descriptors */
void simdisk_free(struct simdisk *disk);
/* The disk that disk_*() calls reach, until the next use. */
void simdisk_use(struct simdisk *disk);

/* Stop at the @n-th step from now on (1: the next); 0: never. */
void simdisk_stop_at(struct simdisk *disk, uint64_t n);
bool simdisk_stopped(const struct simdisk *disk);
uint64_t simdisk_steps(const struct simdisk *disk); /* so far, of calls that count */
/* Calls between outside(true) and outside(false) are another process's: no step, not stopped. */
void simdisk_outside(struct simdisk *disk, bool outside);

enum simdisk_op {
	SIMDISK_PWRITE,
	SIMDISK_FDATASYNC,
	SIMDISK_FSYNC,
	SIMDISK_RENAME,
	SIMDISK_UNLINK,
	SIMDISK_CREATE
};
/* The @n-th call of this kind from now on fails with @sys (and those after it, when @all). n = 0: none does any more. */
void simdisk_fail(struct simdisk *disk, enum simdisk_op op, uint64_t n, int sys, bool all);
/* At most this many blocks, then ENOSPC; 0: no limit. */
void simdisk_set_space(struct simdisk *disk, size_t blocks);
size_t simdisk_used(const struct simdisk *disk);

/* The process is gone, the page cache is not. */
void simdisk_kill(struct simdisk *disk);

/*
 * simdisk_power_cuts - hand every outcome of a power cut to @fn, which owns it. When there are more than @limit, the plain ones
 * (all old, all new, each single one different) and a seeded choice of the others.
 * Returns how many.
 */
size_t simdisk_power_cuts(const struct simdisk *disk, size_t limit, uint64_t seed,
                          void (*fn)(void *arg, struct simdisk *outcome), void *arg);

/* Number of blocks that can rot (one version, not zero, in a file with a name), and the rot of one of them. */
size_t simdisk_rottable(const struct simdisk *disk);
void simdisk_rot(struct simdisk *disk, size_t which);
/* "segment-0000000003-... block 4": the block that simdisk_rot(which) hits. */
void simdisk_rot_name(const struct simdisk *disk, size_t which, char *text, size_t size);

/* Equal disks (every version counts) have equal hashes. */
uint64_t simdisk_hash(const struct simdisk *disk);
/* One line per file, for a failure's report. */
void simdisk_print(const struct simdisk *disk);

#endif
