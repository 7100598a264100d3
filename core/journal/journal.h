/* core/journal/journal.h
 *
 * The append-only truth. state = fold(state_apply, snapshot + journal).
 *
 *   append -> (before-sleep) batch -> writer thread: write -> fdatasync if the batch holds a synced-class record ->
 *   journal/synced slot -> loop: for each record in seq order: state_apply, then released()
 *
 * One write and one fdatasync in flight; the next batch accumulates meanwhile. Nothing is released before it and all before it
 * reached their class (D4). A failed write or fdatasync kills the segment, never retried (7.8): snapshot from memory durable
 * first, then a new segment; meanwhile journal_append() refuses with UNAVAILABLE "journal: ..." unless the kind is a reserve kind
 * whose effect may wait in memory.
 *
 * Thread: loop only (the two threads are inside).
 */
#ifndef CORACLE_CORE_JOURNAL_JOURNAL_H
#define CORACLE_CORE_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <pb.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/state/record.h"
#include "core/state/state.h"

struct journal;

enum journal_mode {
	JOURNAL_SERVE, /* the daemon, recover --fix */
	JOURNAL_MEMORY, /* recover: reads the disk without changing a byte or mtime, appends stay in memory */
};

struct journal_args {
	const char *dir; /* <root>/journal */
	enum journal_mode mode;
	struct state *state;    /* borrowed; only the journal changes it from here on */
	uint64_t segment_bytes; /* 64 KiB .. 64 MiB */
	uint64_t keep_bytes;    /* closed segments kept behind the snapshot */
	struct boot boot;       /* identity for this life's BOOT record; borrowed strings */
	bool truncate;          /* recover --truncate: accept the loss behind damage */
	/* Tests: no threads and no snapshot child. Writes happen in the before-sleep hook, their release in the next turn. */
	bool inline_io;
};

struct journal_report { /* what the load found */
	uint64_t snapshot_seq, last_seq, synced_seq;
	uint64_t records;      /* folded from segments */
	uint64_t torn_records; /* dropped behind the end: never acknowledged */
	uint64_t torn_bytes;
	uint64_t copied; /* re-written ahead of BOOT */
	uint64_t segments;
	char damage[240]; /* "" or what is damaged, with file and offset */
};

/*
 * journal_open - load (snapshot, segments) into state, judge the tail, and in SERVE mode open this life's segment: copies +
 * BOOT written and synced with its slot before it returns.
 * Errors: DATA_LOSS (damage at a seq that was synced; names file, offset, and `coracle recover --truncate`);
 *         FAILED_PRECONDITION (state from a newer version; exit 78); else what the disk says.
 */
NODISCARD struct journal *journal_open(const struct journal_args *args,
                                       struct journal_report *ret_report, struct err *err);
/* Released records: called on the loop right after state_apply, in seq order. From here on appends move. Once. */
typedef void (*journal_released_fn)(void *arg, const struct record *rec);
NODISCARD int journal_start(struct journal *journal, struct loop *loop, journal_released_fn fn,
                            void *arg, struct err *err);

/*
 * journal_append - queue a record; it leaves with this turn's batch.
 * @class: the kind's own (record_info) or a stronger one.
 * Returns: its seq, or 0 with err set: UNAVAILABLE "journal: ..." (failed mode), RESOURCE_EXHAUSTED (payload over 1 MiB).
 */
NODISCARD uint64_t journal_append(struct journal *journal, enum record_kind kind,
                                  enum record_class class, const void *msg, struct err *err);
uint64_t journal_released_seq(const struct journal *journal);
uint64_t journal_next_seq(const struct journal *journal);
/* 0 when appends are accepted; -1 with the reason (also for Status and readiness). */
NODISCARD int journal_ok(struct journal *journal, struct err *err);
/* Blocks until all that was appended is synced and released (stop, tests), at most @timeout_ms. */
NODISCARD int journal_drain(struct journal *journal, int64_t timeout_ms, struct err *err);

struct journal_stats {
	uint64_t appended, batches, fdatasyncs, bytes, rotations, snapshots, failures;
	int64_t oldest_pending_ns; /* boot clock of the oldest batch in flight, 0: none (watchdog) */
};
void journal_stats(const struct journal *journal, struct journal_stats *ret);
/* Clean stop: everything synced, journal/synced synced itself. */
void journal_close(struct journal *journal);

/*
 * journal_visit - every record from disk in order, as far back as [journal] keep reaches, for `recover explain/timeline/at`; no
 * lock, no write. Where history does not begin at record 1, the SNAP_ records of the oldest snapshot stand at their place in it
 * (their seq is the snapshot's): who folds begins afresh at SNAP_META. Damage is in the report, what precedes it is visited.
 */
typedef int (*journal_visit_fn)(void *arg, const struct record *rec, struct err *err);
NODISCARD int journal_visit(const char *dir, journal_visit_fn fn, void *arg,
                            struct journal_report *ret_report, struct err *err);

#endif
