#include "core/journal/segment.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* Beyond what a node can ever write: sums of seqs and counts cannot overflow. */
#define MAX_SEQ (UINT64_MAX / 4)
/* Fits into a processor's cache, and holds whole blocks. */
#define LOAD_CHUNK (64u * 1024)

static const uint8_t segment_magic[8] = "coraseg\n";
static const uint8_t synced_magic[4] = "csyn";

void segment_name(char name[SEGMENT_NAME_SIZE], uint64_t number, uint32_t salt)
{
	ensure(str_format(name, SEGMENT_NAME_SIZE, "segment-%010llu-%08x",
	                  (unsigned long long)number, salt) == 0);
}

bool segment_name_parse(const char *name, uint64_t *ret_number, uint32_t *ret_salt)
{
	struct str rest = str_of(name), digits, hex;
	uint8_t salt[4];
	char again[SEGMENT_NAME_SIZE];

	if (!str_starts(rest, "segment-"))
		return false;
	rest.p += 8;
	rest.len -= 8;
	if (!str_cut(rest, '-', &digits, &hex) || hex.len != 8 ||
	    str_u64(digits, UINT64_MAX, ret_number) < 0 || hex_decode(hex, salt, sizeof(salt)) < 0)
		return false;
	*ret_salt = (uint32_t)salt[0] << 24 | (uint32_t)salt[1] << 16 | (uint32_t)salt[2] << 8 |
	            salt[3];
	segment_name(again, *ret_number, *ret_salt);
	return streq(name, again); /* one spelling only */
}

void segment_header_encode(const struct segment_header *header, uint8_t ret[SEGMENT_HEADER_BYTES])
{
	memset(ret, 0, SEGMENT_HEADER_BYTES);
	memcpy(ret, segment_magic, sizeof(segment_magic));
	put_le16(ret + 8, SEGMENT_VERSION);
	put_le32(ret + 12, header->salt);
	put_le64(ret + 16, header->number);
	put_le64(ret + 24, header->first_seq);
	put_le64(ret + 32, header->boot_seq);
	put_le64(ret + 40, (uint64_t)header->time_ns);
	put_le32(ret + 60, crc32c(0, ret, 60));
}

int segment_header_decode(const uint8_t *data, size_t len, struct segment_header *ret,
                          struct err *err)
{
	uint16_t version;

	if (len < SEGMENT_HEADER_BYTES || memcmp(data, segment_magic, sizeof(segment_magic)) != 0 ||
	    get_le32(data + 60) != crc32c(0, data, 60))
		return err_set(err, CODE_DATA_LOSS, "no valid segment header");
	version = get_le16(data + 8);
	if (version > SEGMENT_VERSION)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "segment version %u is newer than this coracle understands (%u)",
		               version, SEGMENT_VERSION);
	*ret = (struct segment_header){
		.salt = get_le32(data + 12),
		.number = get_le64(data + 16),
		.first_seq = get_le64(data + 24),
		.boot_seq = get_le64(data + 32),
		.time_ns = (int64_t)get_le64(data + 40),
	};
	return 0;
}

uint64_t segment_next(uint64_t off)
{
	return DISK_BLOCK - off % DISK_BLOCK < RECORD_HEADER_BYTES ? block_up(off) : off;
}

static size_t used_bytes(const uint8_t *data, size_t len)
{
	while (len >= 8 && get_le64(data + len - 8) == 0)
		len -= 8;
	while (len > 0 && data[len - 1] == 0)
		len--;
	return len;
}

/* Only the next seq may follow; what claims to have been synced must lie before it. */
static bool plausible(const struct record *rec)
{
	return rec->synced_seq < rec->seq;
}

static int check_version(const struct record *rec, struct err *err)
{
	if (rec->version > RECORD_VERSION || !record_info(rec->kind))
		return err_set(
			err, CODE_FAILED_PRECONDITION,
			"record %llu (kind %u, version %u) was written by a newer coracle: upgrade, or start with an empty --root",
			(unsigned long long)rec->seq, rec->kind, rec->version);
	return 0;
}

/* The records that follow each other from the first on. */
static int scan_chain(const uint8_t *data, size_t len, struct segment_scan *scan,
                      segment_record_fn fn, void *arg, struct err *err)
{
	uint32_t salt = scan->header.salt, crc = salt;
	uint64_t off = SEGMENT_FIRST;

	for (; off < len; scan->stop = off) {
		struct record rec;
		size_t size;
		enum record_parse parse =
			record_decode(data + off, len - off, salt, &crc, &rec, &size);

		if (parse == RECORD_SHORT && off % DISK_BLOCK) {
			off = block_up(
				off); /* the batch ended here; the next one may begin there */
			continue;
		}
		if (parse != RECORD_OK || rec.seq != scan->header.first_seq + scan->count ||
		    !plausible(&rec))
			break;
		if (check_version(&rec, err) < 0 || (fn && fn(arg, &rec, off, err) < 0))
			return -1;
		if (rec.seq == scan->header.boot_seq && rec.kind == RECORD_BOOT)
			scan->has_boot = true;
		scan->count++;
		scan->max_synced = MAX(scan->max_synced, rec.synced_seq);
		scan->end = off + size;
		off = segment_next(scan->end);
	}
	return 0;
}

/* Behind the good records: headers on block boundaries still tell what had been synced when they were written. */
static void scan_headers(const uint8_t *data, size_t len, uint32_t salt, struct segment_scan *scan)
{
	/* behind what is used are zeros, which are no header */
	for (uint64_t off = block_up(scan->end); off < scan->used; off += DISK_BLOCK) {
		struct record rec;

		if (record_decode_header(data + off, len - off, salt, &rec) != RECORD_OK ||
		    !plausible(&rec))
			continue;
		scan->torn++;
		scan->max_synced = MAX(scan->max_synced, rec.synced_seq);
	}
}

int segment_image_scan(const struct segment_image *image, uint64_t number, uint32_t salt,
                       struct segment_scan *ret, segment_record_fn fn, void *arg, struct err *err)
{
	struct segment_scan scan = { .end = SEGMENT_FIRST,
		                     .stop = SEGMENT_FIRST,
		                     .used = image->used };
	const uint8_t *data = image->data;
	size_t len = image->len;
	struct err why = { 0 };

	if (segment_header_decode(data, len, &scan.header, &why) == 0)
		scan.header_ok = scan.header.number == number && scan.header.salt == salt &&
		                 scan.header.first_seq - 1 < MAX_SEQ;
	else if (err_is(&why, CODE_FAILED_PRECONDITION)) {
		*err = why;
		return -1;
	}
	if (scan.header_ok) {
		scan.has_boot = scan.header.boot_seq == 0;
		if (scan_chain(data, len, &scan, fn, arg, err) < 0)
			return -1;
	}
	scan_headers(data, len, salt, &scan);
	*ret = scan;
	return 0;
}

int segment_scan(const uint8_t *data, size_t len, uint64_t number, uint32_t salt,
                 struct segment_scan *ret, segment_record_fn fn, void *arg, struct err *err)
{
	const struct segment_image image = { .data = (uint8_t *)(uintptr_t)data,
		                             .len = len,
		                             .used = used_bytes(data, len) };

	return segment_image_scan(&image, number, salt, ret, fn, arg, err);
}

static int open_sized(int dir, const char *name, uint64_t *ret_size, struct err *err)
{
	cleanup_disk int fd = disk_open(dir, name, O_RDONLY);
	int rc;

	if (fd < 0)
		return err_sys(err, -fd, "open %s", name);
	rc = disk_size(fd, ret_size);
	if (rc < 0)
		return err_sys(err, -rc, "read %s", name);
	return take_fd(&fd);
}

int segment_read(int dir, const char *name, struct buf *buf, struct err *err)
{
	uint64_t size = 0;
	cleanup_disk int fd = open_sized(dir, name, &size, err);
	char *p;
	ssize_t n;

	if (fd < 0)
		return -1;
	buf_clear(buf);
	p = size <= buf->max ? buf_reserve(buf, size) : NULL;
	if (!p)
		return buf_err_full(buf, name, err);
	n = disk_pread(fd, p, size, 0);
	if (n < 0)
		return err_sys(err, (int)-n, "read %s", name);
	buf_grew(buf, (size_t)n);
	return 0;
}

static int load_data(int fd, struct segment_image *image)
{
	for (uint64_t off = 0; (off = disk_next_data(fd, off)) < image->len; off = image->used) {
		size_t want = MIN(image->len - off, (size_t)LOAD_CHUNK);
		ssize_t n = disk_pread(fd, image->data + off, want, off);

		if (n < 0)
			return (int)n;
		image->used = off + want; /* it was cut meanwhile: what is gone reads as zeros */
	}
	image->used = used_bytes(image->data, image->used);
	return 0;
}

int segment_load(int dir, const char *name, struct segment_image *ret, struct err *err)
{
	cleanup(segment_image_release) struct segment_image image = { 0 };
	uint64_t size = 0;
	cleanup_disk int fd = open_sized(dir, name, &size, err);
	int rc;

	if (fd < 0)
		return -1;
	image.data = try_calloc(1, size, SEGMENT_MAX_BYTES);
	if (!image.data)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: larger than %u bytes", name,
		               SEGMENT_MAX_BYTES);
	image.len = size;
	rc = load_data(fd, &image);
	if (rc < 0)
		return err_sys(err, -rc, "read %s", name);
	*ret = image;
	image = (struct segment_image){ 0 };
	return 0;
}

void segment_image_release(struct segment_image *image)
{
	free(image->data);
	*image = (struct segment_image){ 0 };
}

/* --- synced */

void synced_encode(const struct synced *synced, uint8_t ret[SYNCED_SLOT_BYTES])
{
	memset(ret, 0, SYNCED_SLOT_BYTES);
	memcpy(ret, synced_magic, sizeof(synced_magic));
	put_le16(ret + 4, 1);
	put_le64(ret + 8, synced->segment);
	put_le64(ret + 16, synced->seq);
	put_le32(ret + 24, synced->crc);
	put_le32(ret + 28, crc32c(0, ret, 28));
}

int synced_decode(const uint8_t *data, size_t len, struct synced *ret, unsigned *ret_slot,
                  struct err *err)
{
	struct synced best = { 0 };
	unsigned next = 0;

	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *p = data + (size_t)i * DISK_BLOCK;

		if (len < (size_t)i * DISK_BLOCK + SYNCED_SLOT_BYTES ||
		    memcmp(p, synced_magic, sizeof(synced_magic)) != 0 ||
		    get_le32(p + 28) != crc32c(0, p, 28))
			continue;
		if (get_le16(p + 4) > 1)
			return err_set(err, CODE_FAILED_PRECONDITION,
			               "%s: version %u is newer than this coracle understands (1)",
			               SYNCED_NAME, get_le16(p + 4));
		if (get_le64(p + 16) <= best.seq)
			continue;
		best = (struct synced){ .segment = get_le64(p + 8),
			                .seq = get_le64(p + 16),
			                .crc = get_le32(p + 24) };
		next = 1 - i;
	}
	*ret = best;
	if (ret_slot)
		*ret_slot = next;
	return 0;
}
