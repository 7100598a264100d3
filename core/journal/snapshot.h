/* core/journal/snapshot.h
 *
 * The state at one seq, as records of the SNAP_ kinds in a file of its own. Made by a child (`coracle snapshot DIR SEQ`) out of the
 * previous snapshot and closed segments, or after a dead segment from memory. Two are kept, with the segments behind the older
 * one, so that damage to the newer costs nothing.
 *
 * Name:   snapshot-<seq, 20 digits>, put in place by a durable rename: a file of this name was once whole and synced.
 *
 * Layout, little endian:
 *
 *   off size field
 *     0   8  magic    "corasnap"
 *     8   2  version  1
 *    10   2  zero
 *    12   4  salt     random
 *    16   8  seq      last record folded
 *    24   8  records  number of them
 *    32   8  bytes    of all frames
 *    40   8  time_ns  wall clock when made
 *    48  12  zero
 *    60   4  crc      crc32c of bytes 0..59
 *    64  ..  records  frames as in a segment, chained from the salt, each with this seq; SNAP_META first
 */
#ifndef CORACLE_CORE_JOURNAL_SNAPSHOT_H
#define CORACLE_CORE_JOURNAL_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/state/state.h"

#define SNAPSHOT_VERSION      1
#define SNAPSHOT_HEADER_BYTES 64
#define SNAPSHOT_NAME_SIZE    40
#define SNAPSHOT_MAX_BYTES    (256u * 1024 * 1024)
/* Space kept for the next snapshot, so that a full disk cannot stop it: a file of zeros, claimed by renaming it. */
#define SNAPSHOT_RESERVE_NAME "reserve"

void snapshot_name(char name[SNAPSHOT_NAME_SIZE], uint64_t seq);
NODISCARD bool snapshot_name_parse(const char *name, uint64_t *ret_seq);

/* The file that @state makes; @ret is initialised here. Errors: RESOURCE_EXHAUSTED. */
NODISCARD int snapshot_encode(const struct state *state, struct buf *ret, struct err *err);

/*
 * snapshot_check - is this a whole and good snapshot of @seq?
 * Errors: DATA_LOSS (says where); FAILED_PRECONDITION (a newer version).
 */
NODISCARD int snapshot_check(const uint8_t *data, size_t len, uint64_t seq, struct err *err);
typedef int (*snapshot_record_fn)(void *arg, const struct record *rec, struct err *err);
/* Each record of a file that snapshot_check() accepted. */
NODISCARD int snapshot_visit(const uint8_t *data, size_t len, snapshot_record_fn fn, void *arg,
                             struct err *err);

/* Durable: data, then name. Falls back on the reserved space when the disk is full. */
NODISCARD int snapshot_write(int dir, uint64_t seq, const void *data, size_t len, struct err *err);
/* Keep room for a snapshot that is larger than the newest one by what a segment of this size may add. */
NODISCARD int snapshot_reserve(int dir, uint64_t segment_bytes, struct err *err);

/* Fold what is on disk up to @seq and write the snapshot; nothing to do when there is one of that seq or later. */
NODISCARD int snapshot_fold(const char *path, uint64_t seq, struct err *err);
/*
 * snapshot_retain - delete what neither the two newest snapshots nor @keep_bytes of history need, oldest first; and what cannot be
 * read anyway. The daemon only: it alone knows that nobody adds files.
 */
NODISCARD int snapshot_retain(int dir, uint64_t keep_bytes, struct err *err);
/* The applet: `snapshot DIR SEQ`. Exit status 0, 1 (one line on stderr) or 2 (usage). */
int snapshot_main(int argc, char **argv);

#endif
