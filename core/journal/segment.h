/* core/journal/segment.h
 *
 * One file of the log, and the file `synced` that says how far the log was known durable. Pure but for segment_read() and segment_load().
 *
 * Names:  segment-<number, 10 digits>-<salt, 8 hex digits>. The salt stands in the name as well, so that record headers can be
 *         told from noise even when the segment's own header is gone. A segment whose bytes are all zero is a spare.
 *
 * Layout, little endian:
 *
 *   off  size field
 *     0    8  magic       "coraseg\n"
 *     8    2  version     1
 *    10    2  zero
 *    12    4  salt        random; seeds every checksum of this segment
 *    16    8  number      as in the name
 *    24    8  first_seq   of the first record
 *    32    8  boot_seq    of this life's BOOT record when the life began here, else 0
 *    40    8  time_ns     wall clock when opened
 *    48   12  zero
 *    60    4  crc         crc32c of bytes 0..59
 *    64  ...  zero
 *  4096  ...  records (core/state/record.h), back to back, zeros behind
 *
 * Where records stand: a batch written after a sync begins on a block boundary, so no block that was synced is ever written
 * again; a header never crosses a block boundary. Both leave zeros, and a reader that meets zeros goes to the next boundary.
 *
 * `synced`, two slots of one block each, written in turn (a torn one leaves the other):
 *
 *   off  size field
 *     0    4  magic       "csyn"
 *     4    2  version     1
 *     6    2  zero
 *     8    8  segment     number
 *    16    8  seq         every record up to this one was synced
 *    24    4  record crc  of that record
 *    28    4  crc         crc32c of bytes 0..27
 */
#ifndef CORACLE_CORE_JOURNAL_SEGMENT_H
#define CORACLE_CORE_JOURNAL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/journal/disk.h"
#include "core/state/record.h"

#define SEGMENT_VERSION      1
#define SEGMENT_HEADER_BYTES 64
#define SEGMENT_FIRST        DISK_BLOCK /* offset of the first record */
#define SEGMENT_NAME_SIZE    40
#define SEGMENT_MAX_BYTES    (256u * 1024 * 1024) /* of a file we are willing to read */

struct segment_header {
	uint32_t salt;
	uint64_t number, first_seq, boot_seq;
	int64_t time_ns;
};

void segment_name(char name[SEGMENT_NAME_SIZE], uint64_t number, uint32_t salt);
NODISCARD bool segment_name_parse(const char *name, uint64_t *ret_number, uint32_t *ret_salt);

void segment_header_encode(const struct segment_header *header, uint8_t ret[SEGMENT_HEADER_BYTES]);
/* Errors: DATA_LOSS (not a header); FAILED_PRECONDITION (a good one, from a newer version). */
NODISCARD int segment_header_decode(const uint8_t *data, size_t len, struct segment_header *ret,
                                    struct err *err);

/* Where the next frame goes when the last one ended at @off. */
uint64_t segment_next(uint64_t off);
static inline uint64_t block_up(uint64_t off)
{
	return (off + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

/* Does the name say this may be read as a segment, and what do its bytes say? */
struct segment_scan {
	bool header_ok;
	struct segment_header header;
	uint64_t count;      /* records first_seq, first_seq + 1, ... that follow each other */
	bool has_boot;       /* header.boot_seq is 0, or that record is there and is a BOOT */
	uint64_t max_synced; /* largest synced_seq of any valid header, behind damage too */
	uint64_t torn;       /* valid headers behind the last good record */
	uint64_t end;        /* offset behind the last good record */
	uint64_t stop;       /* offset where the next one was looked for */
	uint64_t used;       /* offset behind the last byte that is not zero */
};

/* @rec is borrowed from @data, @off where its frame begins. -1 stops the scan. */
typedef int (*segment_record_fn)(void *arg, const struct record *rec, uint64_t off,
                                 struct err *err);

/*
 * segment_scan - judge the bytes of a segment of this name; @fn (or NULL) sees each good record in order.
 * Errors: FAILED_PRECONDITION (segment or record from a newer version); what @fn says. Damage is no error here.
 */
NODISCARD int segment_scan(const uint8_t *data, size_t len, uint64_t number, uint32_t salt,
                           struct segment_scan *ret, segment_record_fn fn, void *arg,
                           struct err *err);

/*
 * segment_read - the whole file instead of what @buf held (buf_init() with SEGMENT_MAX_BYTES; its memory serves many files).
 * Errors: RESOURCE_EXHAUSTED (too large), else what the disk says.
 */
NODISCARD int segment_read(int dir, const char *name, struct buf *buf, struct err *err);

/*
 * A segment in memory, as long as its file. A segment is mostly a hole: that is not read, and memory that nobody touches costs
 * nothing, so a log of a few records is read without paying for the space that waits for the others.
 */
struct segment_image {
	uint8_t *data; /* NULL: not loaded */
	size_t len;
	size_t used; /* everything behind is zero */
};

/* Errors: RESOURCE_EXHAUSTED (too large), else what the disk says. */
NODISCARD int segment_load(int dir, const char *name, struct segment_image *ret, struct err *err);
void segment_image_release(struct segment_image *image);
/* segment_scan() of it. */
NODISCARD int segment_image_scan(const struct segment_image *image, uint64_t number, uint32_t salt,
                                 struct segment_scan *ret, segment_record_fn fn, void *arg,
                                 struct err *err);

DEFINE_CLEANUP(struct segment_image, segment_image_release);

/* --- synced */

#define SYNCED_NAME       "synced"
#define SYNCED_SLOT_BYTES 32
#define SYNCED_BYTES      (2 * DISK_BLOCK)

struct synced {
	uint64_t segment, seq;
	uint32_t crc;
};

void synced_encode(const struct synced *synced, uint8_t ret[SYNCED_SLOT_BYTES]);
/*
 * synced_decode - the larger of the valid slots of a file's bytes; seq 0 when there is none. *ret_slot (or NULL) is the slot to
 * write next. Errors: FAILED_PRECONDITION (a newer version).
 */
NODISCARD int synced_decode(const uint8_t *data, size_t len, struct synced *ret, unsigned *ret_slot,
                            struct err *err);

#endif
