#include "core/journal/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/journal/load.h"

static const uint8_t snapshot_magic[8] = "corasnap";

void snapshot_name(char name[SNAPSHOT_NAME_SIZE], uint64_t seq)
{
	ensure(str_format(name, SNAPSHOT_NAME_SIZE, "snapshot-%020llu", (unsigned long long)seq) ==
	       0);
}

bool snapshot_name_parse(const char *name, uint64_t *ret_seq)
{
	char again[SNAPSHOT_NAME_SIZE];
	struct str s = str_of(name);

	if (!str_starts(s, "snapshot-") ||
	    str_u64((struct str){ s.p + 9, s.len - 9 }, UINT64_MAX, ret_seq) < 0)
		return false;
	snapshot_name(again, *ret_seq);
	return streq(name, again);
}

/* --- bytes */

struct encoder {
	struct buf *out;
	struct buf payload;
	uint64_t seq, records;
	int64_t time_ns;
	uint32_t salt, crc;
};

static int encode_one(void *arg, enum record_kind kind, const pb_msgdesc_t *desc, const void *msg,
                      struct err *err)
{
	struct encoder *enc = arg;
	struct record rec = { .seq = enc->seq,
		              .time_ns = enc->time_ns,
		              .kind = (uint16_t)kind,
		              .version = RECORD_VERSION,
		              .synced_seq = enc->seq };

	buf_clear(&enc->payload);
	if (pb_encode_msg(&enc->payload, desc, msg, err) < 0)
		return err_wrap(err, "snapshot: %s", record_name(rec.kind));
	rec.payload = (const uint8_t *)enc->payload.data;
	rec.len = (uint32_t)enc->payload.len;
	enc->records++;
	return record_encode(enc->out, &rec, enc->salt, &enc->crc, err);
}

int snapshot_encode(const struct state *state, struct buf *ret, struct err *err)
{
	struct encoder enc = { .out = ret,
		               .seq = state->seq,
		               .time_ns = clock_real_ns(),
		               .salt = (uint32_t)rand_u64() };
	uint8_t header[SNAPSHOT_HEADER_BYTES] = { 0 };
	int rc;

	enc.crc = enc.salt;
	buf_init(ret, SNAPSHOT_MAX_BYTES);
	buf_init(&enc.payload, SNAPSHOT_MAX_BYTES);
	rc = buf_add(ret, header, sizeof(header)) < 0 ? buf_err_full(ret, "snapshot", err)
	                                              : state_emit(state, encode_one, &enc, err);
	buf_release(&enc.payload);
	if (rc < 0) {
		buf_release(ret);
		return -1;
	}
	memcpy(header, snapshot_magic, sizeof(snapshot_magic));
	put_le16(header + 8, SNAPSHOT_VERSION);
	put_le32(header + 12, enc.salt);
	put_le64(header + 16, enc.seq);
	put_le64(header + 24, enc.records);
	put_le64(header + 32, ret->len - SNAPSHOT_HEADER_BYTES);
	put_le64(header + 40, (uint64_t)enc.time_ns);
	put_le32(header + 60, crc32c(0, header, 60));
	memcpy(ret->data, header, sizeof(header));
	return 0;
}

/* Each record in turn; counts them. */
static int walk_frames(const uint8_t *data, size_t len, snapshot_record_fn fn, void *arg,
                       uint64_t *ret_records, struct err *err)
{
	uint32_t salt = get_le32(data + 12), crc = salt;
	uint64_t seq = get_le64(data + 16);
	size_t off = SNAPSHOT_HEADER_BYTES;

	*ret_records = 0;
	while (off < len) {
		struct record rec;
		size_t size;

		if (record_decode(data + off, len - off, salt, &crc, &rec, &size) != RECORD_OK ||
		    rec.seq != seq || (rec.kind == RECORD_SNAP_META) != (*ret_records == 0) ||
		    rec.kind < RECORD_SNAP_META)
			return err_set(err, CODE_DATA_LOSS, "damaged at offset %zu", off);
		if (rec.version > RECORD_VERSION || !record_info(rec.kind))
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				"record at offset %zu (kind %u, version %u) is newer than this coracle",
				off, rec.kind, rec.version);
		if (fn && fn(arg, &rec, err) < 0)
			return -1;
		++*ret_records;
		off += size;
	}
	return 0;
}

int snapshot_check(const uint8_t *data, size_t len, uint64_t seq, struct err *err)
{
	uint64_t records;

	if (len < SNAPSHOT_HEADER_BYTES ||
	    memcmp(data, snapshot_magic, sizeof(snapshot_magic)) != 0 ||
	    get_le32(data + 60) != crc32c(0, data, 60))
		return err_set(err, CODE_DATA_LOSS, "no valid header");
	if (get_le16(data + 8) > SNAPSHOT_VERSION)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "version %u is newer than this coracle understands (%u)",
		               get_le16(data + 8), SNAPSHOT_VERSION);
	if (get_le64(data + 16) != seq)
		return err_set(err, CODE_DATA_LOSS, "holds the state at record %llu",
		               (unsigned long long)get_le64(data + 16));
	if (get_le64(data + 32) != len - SNAPSHOT_HEADER_BYTES)
		return err_set(err, CODE_DATA_LOSS, "is %zu bytes long, should be %llu", len,
		               (unsigned long long)get_le64(data + 32) + SNAPSHOT_HEADER_BYTES);
	if (walk_frames(data, len, NULL, NULL, &records, err) < 0)
		return -1;
	if (records != get_le64(data + 24) || !records)
		return err_set(err, CODE_DATA_LOSS, "holds %llu records, should hold %llu",
		               (unsigned long long)records,
		               (unsigned long long)get_le64(data + 24));
	return 0;
}

int snapshot_visit(const uint8_t *data, size_t len, snapshot_record_fn fn, void *arg,
                   struct err *err)
{
	uint64_t records;

	return walk_frames(data, len, fn, arg, &records, err);
}

/* --- files */

static void temp_name(char name[SNAPSHOT_NAME_SIZE])
{
	ensure(str_format(name, SNAPSHOT_NAME_SIZE, ".tmp-%016llx",
	                  (unsigned long long)rand_u64()) == 0);
}

/* A new file of this content, synced; its name is nobody's yet. -errno. */
static int write_temp(int dir, const char *name, const void *data, size_t len)
{
	cleanup_disk int fd = disk_open(dir, name, O_RDWR | O_CREAT | O_EXCL);
	int rc;

	if (fd < 0)
		return fd;
	rc = disk_pwrite(fd, data, len, 0);
	if (rc == 0)
		rc = disk_fsync(fd);
	if (rc < 0)
		ignore(disk_unlink(dir, name)); /* the first error is the one to tell */
	return rc;
}

/* The same in the blocks that were kept for it. */
static int write_reserved(int dir, const char *name, const void *data, size_t len)
{
	cleanup_disk int fd = -1;
	int rc = disk_rename(dir, SNAPSHOT_RESERVE_NAME, dir, name);

	if (rc < 0)
		return rc;
	fd = disk_open(dir, name, O_RDWR);
	if (fd < 0)
		return fd;
	rc = disk_pwrite(fd, data, len, 0);
	if (rc == 0)
		rc = disk_truncate(fd, len);
	if (rc == 0)
		rc = disk_fsync(fd);
	if (rc < 0)
		ignore(disk_unlink(dir, name)); /* the first error is the one to tell */
	return rc;
}

static bool is_full(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT;
}

int snapshot_write(int dir, uint64_t seq, const void *data, size_t len, struct err *err)
{
	char temp[SNAPSHOT_NAME_SIZE], name[SNAPSHOT_NAME_SIZE];
	int rc;

	snapshot_name(name, seq);
	temp_name(temp);
	rc = write_temp(dir, temp, data, len);
	if (is_full(rc)) {
		int full = rc;

		rc = write_reserved(dir, temp, data, len);
		if (rc == -ENOENT)
			rc = full;
	}
	if (rc < 0)
		return err_sys(err, -rc, "write %s", name);
	rc = disk_rename(dir, temp, dir, name);
	if (rc == 0)
		rc = disk_fsync(dir);
	return rc < 0 ? err_sys(err, -rc, "rename %s", name) : 0;
}

static uint64_t file_bytes(int dir, const char *name)
{
	cleanup_disk int fd = disk_open(dir, name, O_RDONLY);
	uint64_t bytes;

	return fd >= 0 && disk_size(fd, &bytes) == 0 ? bytes : 0;
}

static uint64_t newest_snapshot_bytes(int dir)
{
	cleanup(strv_free) char **names = NULL;
	uint64_t seq, bytes = 0;

	if (disk_list(dir, &names) < 0)
		return 0;
	for (char **name = names; *name; name++) /* sorted: the last one is the newest */
		if (snapshot_name_parse(*name, &seq))
			bytes = file_bytes(dir, *name);
	return bytes;
}

int snapshot_reserve(int dir, uint64_t segment_bytes, struct err *err)
{
	uint64_t bytes = newest_snapshot_bytes(dir),
		 want = block_up(bytes + bytes / 4 + segment_bytes / 4);
	cleanup_free void *zeros = NULL;
	char temp[SNAPSHOT_NAME_SIZE];
	int rc;

	if (file_bytes(dir, SNAPSHOT_RESERVE_NAME) >= bytes + segment_bytes / 8)
		return 0;
	zeros = try_calloc(1, want, 2 * (size_t)SNAPSHOT_MAX_BYTES);
	if (!zeros)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "reserve space for a snapshot: no memory");
	temp_name(temp);
	rc = write_temp(dir, temp, zeros, want);
	if (rc == 0)
		rc = disk_rename(dir, temp, dir, SNAPSHOT_RESERVE_NAME);
	return rc < 0 ? err_sys(err, -rc, "reserve space for a snapshot") : 0;
}

/* --- the fold */

static int apply_one(void *arg, const struct record *rec, struct err *err UNUSED)
{
	state_apply(arg, rec);
	return 0;
}

int snapshot_fold(const char *path, uint64_t seq, struct err *err)
{
	cleanup_disk int dir = disk_open_dir(path, false);
	cleanup(load_release) struct load load = { 0 };
	cleanup(state_free) struct state *state = NULL;
	cleanup(buf_release) struct buf image = { 0 };

	if (dir < 0)
		return err_sys(err, -dir, "open %s", path);
	if (load_scan(dir, LOAD_STATE, seq, &load, err) < 0)
		return -1;
	if (load.base >= seq)
		return 0;
	if (load.is_damaged)
		return err_set(err, CODE_DATA_LOSS, "%s", load.damage);
	state = state_new();
	if (load_visit(dir, &load, apply_one, state, err) < 0 ||
	    snapshot_encode(state, &image, err) < 0)
		return -1;
	return snapshot_write(dir, seq, image.data, image.len, err);
}

/* --- retention */

/* The first seq of a closed segment; 0: its header is gone. */
static uint64_t first_seq_of(int dir, const char *name)
{
	cleanup_disk int fd = disk_open(dir, name, O_RDONLY);
	uint8_t data[SEGMENT_HEADER_BYTES];
	struct segment_header header;
	struct err why = { 0 };

	if (fd < 0 || disk_pread(fd, data, sizeof(data), 0) != (ssize_t)sizeof(data) ||
	    segment_header_decode(data, sizeof(data), &header, &why) < 0)
		return 0;
	return header.first_seq;
}

/* Everything below this index precedes the segment that reaches back to the older snapshot. */
static size_t first_needed(const struct load *load)
{
	size_t i = 0;

	while (i < load->nsegments && !load->segments[i].is_read)
		i++;
	return i < load->nsegments && load->segments[i].counts &&
	                       load->segments[i].scan.header.first_seq <= load->base + 1
	               ? i
	               : 0;
}

int snapshot_retain(int dir, uint64_t keep_bytes, struct err *err)
{
	cleanup(load_release) struct load load = { 0 };
	char name[SNAPSHOT_NAME_SIZE];
	uint64_t total = 0, oldest = 0;
	size_t needed, i;
	int rc;

	if (load_scan(dir, LOAD_SPARE_ONE, 0, &load, err) < 0)
		return -1;
	for (i = 0; i < load.nsegments; i++)
		total += file_bytes(dir, load.segments[i].name);
	for (i = 0; i < load.nsnapshots; i++) {
		snapshot_name(name, load.snapshots[i]);
		total += file_bytes(dir, name);
	}

	needed = first_needed(&load);
	for (i = 0; i < needed && total > keep_bytes; i++) {
		total -= file_bytes(dir, load.segments[i].name);
		rc = disk_unlink(dir, load.segments[i].name);
		if (rc < 0 && rc != -ENOENT)
			return err_sys(err, -rc, "delete %s", load.segments[i].name);
	}
	for (; i < load.nsegments && !oldest; i++)
		oldest = first_seq_of(dir, load.segments[i].name);
	/* An older snapshot is the beginning of a history as long as the records behind it are there. */
	for (i = 0; i < load.nsnapshots && load.snapshots[i] < load.base; i++) {
		if (load.snapshots[i] + 1 >= oldest)
			continue;
		snapshot_name(name, load.snapshots[i]);
		rc = disk_unlink(dir, name);
		if (rc < 0 && rc != -ENOENT)
			return err_sys(err, -rc, "delete %s", name);
	}
	return 0;
}

int snapshot_main(int argc, char **argv)
{
	struct err err = { 0 };
	uint64_t seq;

	if (argc != 3 || str_u64(str_of(argv[2]), UINT64_MAX, &seq) < 0 || !seq) {
		fprintf(stderr, "usage: coracle snapshot DIR SEQ\n");
		return 2;
	}
	if (snapshot_fold(argv[1], seq, &err) < 0) {
		fprintf(stderr, "snapshot of record %s: %s\n", argv[2], err.msg);
		return 1;
	}
	return 0;
}
