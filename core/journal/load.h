/* core/journal/load.h
 *
 * What a journal directory says: which files count, where the log ends, and whether that is an end or damage. Reads only.
 *
 *   base    the seq of the newest good snapshot
 *   counts  a segment with a good header; one that begins a life only if its BOOT is there too (else that life never opened)
 *   end     of a segment: the smallest first seq of all later ones that count. What lies beyond was dropped by a later life.
 *   last    records base + 1 .. last follow each other through the segments that count
 *   synced  the largest seq that is known to have been durable: from `synced`, from any record header, from snapshot names
 *
 * last >= synced: what is missing behind last was never acknowledged as durable: a torn tail, dropped.
 * last < synced: something that was durable is gone: damage.
 */
#ifndef CORACLE_CORE_JOURNAL_LOAD_H
#define CORACLE_CORE_JOURNAL_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/journal/segment.h"
#include "core/journal/snapshot.h"

struct load_segment {
	char name[SEGMENT_NAME_SIZE];
	uint64_t number;
	uint32_t salt;
	bool is_read; /* else it is older than what the snapshot needs */
	bool counts;
	uint64_t bytes; /* file size, if read */
	struct segment_image
		image; /* kept for load_visit(), but for LOAD_HISTORY: that can be long */
	struct segment_scan scan;
	uint64_t from, upto; /* records taken from it: from <= seq < upto */
};

struct load {
	struct load_segment *segments; /* by number */
	size_t nsegments;
	uint64_t *snapshots; /* seqs, ascending, good or not */
	size_t nsnapshots;
	uint64_t base, last, synced;
	uint64_t first; /* of history: 1, or the oldest record that can be visited (LOAD_HISTORY) */
	struct buf snapshot; /* bytes of the snapshot `base`; empty when base is 0 */
	struct synced slot;
	unsigned next_slot;
	uint64_t torn_records, torn_bytes;
	bool is_damaged;
	char damage[240]; /* also when the newest snapshot is bad and an older one stands in */
};

enum load_mode {
	LOAD_STATE, /* from the newest good snapshot on */
	LOAD_SPARE_ONE, /* as if the newest good snapshot were damaged: what must be kept for that day */
	LOAD_HISTORY, /* from the oldest record on that leads up to the end */
};

/*
 * load_scan - look at everything and decide; is_damaged is an answer, not an error.
 * @upto: 0, or the last record wanted (a fold of closed segments, while newer ones change).
 * Errors: FAILED_PRECONDITION (from a newer version); what the disk says.
 */
NODISCARD int load_scan(int dir, enum load_mode mode, uint64_t upto, struct load *ret,
                        struct err *err);
/* Snapshot records (their seq is base), then records in order, as load_scan() found them. -1 from @fn stops. */
NODISCARD int load_visit(int dir, const struct load *load, snapshot_record_fn fn, void *arg,
                         struct err *err);
void load_release(struct load *load);

/* Closed segments wait behind the snapshot: how many does a start have to read besides the current one? */
size_t load_closed(const struct load *load);

DEFINE_CLEANUP(struct load, load_release);

#endif
