/* core/state/record.h
 *
 * Journal records: what may happen to the state, each with its durability class, and their framing.
 *
 * Frame (little endian), at most RECORD_MAX_BYTES of payload:
 *
 *   off size field
 *    0   4   len         payload bytes
 *    4   8   seq         +1 per record, never reused
 *   12   8   time_ns     wall clock when appended
 *   20   2   kind        enum record_kind
 *   22   2   version     of the payload's meaning; 1
 *   24   8   synced_seq  largest seq known synced when this record was written
 *   32   4   hcrc        crc32c of bytes 0..31, seeded with the segment's salt
 *   36  len  payload     protobuf, message of the kind (record.proto)
 *   36+len 4 crc         crc32c of bytes 0..35+len, seeded with salt and the previous record's crc in this segment
 */
#ifndef CORACLE_CORE_STATE_RECORD_H
#define CORACLE_CORE_STATE_RECORD_H

#include <stdint.h>

#include <pb.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/state/types.h"

#define RECORD_HEADER_BYTES 36
#define RECORD_FRAME_BYTES  (RECORD_HEADER_BYTES + 4)
#define RECORD_VERSION      1

/* Numbers are on disk: never reused. */
enum record_kind {
	RECORD_INVALID = 0,
	RECORD_BOOT = 1,
	RECORD_SANDBOX_CREATING = 10,
	RECORD_SANDBOX_NAMESPACES = 11,
	RECORD_SANDBOX_NETWORK_INTENT = 12,
	RECORD_SANDBOX_NETWORK = 13,
	RECORD_SANDBOX_READY = 14,
	RECORD_SANDBOX_STOPPING = 15,
	RECORD_SANDBOX_STOPPED = 16,
	RECORD_SANDBOX_REMOVING = 17,
	RECORD_SANDBOX_REMOVED = 18,
	RECORD_SANDBOX_RESOURCES = 19,
	RECORD_CONTAINER_CREATING = 30,
	RECORD_CONTAINER_CREATED = 31,
	RECORD_CONTAINER_STARTING = 32,
	RECORD_CONTAINER_RUNNING = 33,
	RECORD_CONTAINER_STOPPING = 34,
	RECORD_CONTAINER_EXITED = 35,
	RECORD_CONTAINER_REMOVING = 36,
	RECORD_CONTAINER_REMOVED = 37,
	RECORD_CONTAINER_RESOURCES = 38,
	RECORD_PLUGIN_SEEN = 50,
	RECORD_PLUGIN_ACKED = 51,
	RECORD_PLUGIN_FORGOTTEN = 52,
	RECORD_PLUGIN_CAPPED = 53, /* an absent name is owed too much: cursor and since move on */
	RECORD_IMAGE_ADDED = 60,
	RECORD_IMAGE_NAMED = 61,
	RECORD_IMAGE_REMOVED = 62,
	RECORD_RUNTIME_CONFIG = 70,
	/* a snapshot is made of these: whole objects */
	RECORD_SNAP_META = 90,
	RECORD_SNAP_SANDBOX = 91,
	RECORD_SNAP_CONTAINER = 92,
	RECORD_SNAP_PLUGIN = 93,
	RECORD_SNAP_IMAGE = 94,
	RECORD_SNAP_QUARANTINE = 95,
};

enum record_class { RECORD_WRITTEN, RECORD_SYNCED };

struct record {
	uint64_t seq;
	int64_t time_ns;
	uint16_t kind, version;
	uint64_t synced_seq;
	const uint8_t *payload; /* borrowed */
	uint32_t len;
};

struct record_info {
	enum record_kind kind;
	const char *name;        /* "CONTAINER_EXITED" */
	enum record_class class; /* default class (design D4) */
	bool reserve; /* may use the segment's last 256 KiB: what a full disk must still be able to do */
	const pb_msgdesc_t *desc;
	size_t struct_size;
};

/* NULL: unknown kind */
const struct record_info *record_info(uint16_t kind);
const char *
record_name(uint16_t kind); /* "kind 77" style is the caller's; unknown gives "UNKNOWN" */

/* Append the frame; *inout_crc is the previous record's crc in this segment (salt for the first) and becomes this one's. */
NODISCARD int record_encode(struct buf *out, const struct record *rec, uint32_t salt,
                            uint32_t *inout_crc, struct err *err);

enum record_parse {
	RECORD_OK,
	RECORD_SHORT,   /* ends before the frame does, or zeros: end of what was written */
	RECORD_DAMAGED, /* header or payload crc wrong */
};
/* On OK *ret points into @data and *ret_size is the whole frame. */
NODISCARD enum record_parse record_decode(const uint8_t *data, size_t len, uint32_t salt,
                                          uint32_t *inout_crc, struct record *ret,
                                          size_t *ret_size);
/* Header alone (its own crc): used to search for synced_seq after damage. */
NODISCARD enum record_parse record_decode_header(const uint8_t *data, size_t len, uint32_t salt,
                                                 struct record *ret);

#endif
