/* core/journal/writer.h
 *
 * The end of the log that is written to. Private to core/journal: journal.c calls it on the writer's thread, or on its own where
 * there are no threads yet (journal_open) or none wanted (tests).
 *
 *   batch -> frames -> one pwrite -> (synced class) fdatasync -> slot in `synced`
 *
 * A full segment is replaced by the spare from the shelf: the old one is synced, with its slot, before the new one gets a record.
 * After any failure the segment is dead: nobody writes or syncs it again (the kernel may have dropped the pages and call them
 * clean). writer_recover() starts afresh: snapshot, new segment, slot, in this order.
 */
#ifndef CORACLE_CORE_JOURNAL_WRITER_H
#define CORACLE_CORE_JOURNAL_WRITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/journal/segment.h"
#include "core/state/record.h"

/* A record on its way to the disk; rec.payload points at its own payload. */
struct entry {
	struct list link;
	struct record rec;
	enum record_class class;
	bool reserve;
	uint8_t payload[];
};

NODISCARD struct entry *entry_new(const struct record *rec, enum record_class class);
void entries_free(struct list *entries);
/* Bytes that @entries need at most, wherever they begin. */
uint64_t entries_bytes(const struct list *entries);

/* A segment file of zeros, synced, its name synced: ready for a first record. */
struct spare {
	int fd; /* -1: none */
	uint64_t number, bytes;
	uint32_t salt;
};

/* A segment that is closed: the helper cuts it to its end. */
struct closed {
	struct list link;
	char name[SEGMENT_NAME_SIZE];
	uint64_t used;
};

/* What writer and helper share. */
struct shelf {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct spare spare;
	bool making;          /* the helper is at it */
	int spare_errno;      /* why the last attempt failed, 0: it did not */
	uint64_t next_number; /* of the next file; numbers rise in the order of use */
	struct list closed;
};

void shelf_init(struct shelf *shelf, uint64_t next_number);
void shelf_release(struct shelf *shelf);
/* Make the spare if there is none; what the helper's thread is for. */
void shelf_fill(struct shelf *shelf, int dir, uint64_t bytes);
/* Cut closed segments; failures do not matter. */
void shelf_trim(struct shelf *shelf, int dir);
bool shelf_has_spare(struct shelf *shelf);

struct writer {
	int dir;
	struct shelf *shelf;
	uint64_t segment_bytes, reserve_bytes;

	int fd; /* -1: no segment */
	struct segment_header header;
	bool is_begun;   /* its header was written */
	uint64_t bytes;  /* its size */
	uint64_t off;    /* where the next frame goes at the earliest */
	uint32_t crc;    /* of its last record */
	bool fresh;      /* nothing was written since the last sync: begin on a block boundary */
	bool is_dirty;   /* something was */
	uint64_t last;   /* last seq written */
	uint64_t synced; /* last seq known durable */

	int slot_fd;
	unsigned slot;
	bool slot_failed;
	struct buf out;

	uint64_t batches, fdatasyncs, bytes_written, rotations;
};

void writer_init(struct writer *w, int dir, struct shelf *shelf, uint64_t segment_bytes);
void writer_release(struct writer *w);
/* Open, or make, `synced`. */
NODISCARD int writer_open_slots(struct writer *w, unsigned next_slot, struct err *err);

/* Take a spare that has room for @need bytes of records, or make one. RESOURCE_EXHAUSTED when the disk is full. */
NODISCARD int writer_begin(struct writer *w, uint64_t first_seq, uint64_t boot_seq, uint64_t need,
                           struct err *err);
/* The same in the blocks of an old segment that nobody needs. */
NODISCARD int writer_begin_in(struct writer *w, const char *old_name, uint64_t bytes,
                              uint64_t first_seq, uint64_t boot_seq, struct err *err);
/* Write @entries (they stay the caller's) and, with @sync, make them and all before them durable. Any error: dead. */
NODISCARD int writer_batch(struct writer *w, const struct list *entries, bool sync,
                           struct err *err);
/*
 * writer_recover - after a failure: @image, the snapshot of all that was released (up to @released), then a new segment with
 * @entries, then the slot. @inout_snapshot_done keeps a retry from writing the snapshot twice.
 */
NODISCARD int writer_recover(struct writer *w, const struct buf *image, uint64_t released,
                             const struct list *entries, bool *inout_snapshot_done,
                             struct err *err);
/* Clean stop: `synced` itself. */
NODISCARD int writer_sync_slots(struct writer *w, struct err *err);

#endif
