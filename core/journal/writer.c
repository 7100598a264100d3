#include "core/journal/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/mutant.h"
#include "core/base/rand.h"
#include "core/journal/disk.h"
#include "core/journal/snapshot.h"

#define RESERVE_BYTES   (256u * 1024)
#define ZERO_CHUNK      (16u * 1024)
#define BATCH_MAX_BYTES (SEGMENT_MAX_BYTES / 2)
#define OUT_KEEP_BYTES  (1024u * 1024) /* of buffer between batches */

struct entry *entry_new(const struct record *rec, enum record_class class)
{
	struct entry *entry = xcalloc(1, sizeof(*entry) + rec->len);
	const struct record_info *info = record_info(rec->kind);

	entry->rec = *rec;
	entry->class = class;
	entry->reserve = info && info->reserve;
	if (rec->len)
		memcpy(entry->payload, rec->payload, rec->len);
	entry->rec.payload = entry->payload;
	return entry;
}

void entries_free(struct list *entries)
{
	struct list *l;

	while ((l = list_pop_front(entries)))
		free(list_entry(l, struct entry, link));
}

static uint64_t frame_bytes(const struct entry *entry)
{
	return RECORD_FRAME_BYTES + (uint64_t)entry->rec.len;
}

uint64_t entries_bytes(const struct list *entries)
{
	uint64_t bytes = 0;

	/* each may be pushed to the next block by less than a header */
	list_for_each(l, entries)
		bytes += frame_bytes(list_entry(l, struct entry, link)) + RECORD_HEADER_BYTES;
	return bytes;
}

/* --- spare segments */

void shelf_init(struct shelf *shelf, uint64_t next_number)
{
	*shelf = (struct shelf){ .spare = { .fd = -1 }, .next_number = next_number };
	ensure(pthread_mutex_init(&shelf->lock, NULL) == 0);
	ensure(pthread_cond_init(&shelf->cond, NULL) == 0);
	list_init(&shelf->closed);
}

void shelf_release(struct shelf *shelf)
{
	struct list *l;

	while ((l = list_pop_front(&shelf->closed)))
		free(list_entry(l, struct closed, link));
	if (shelf->spare.fd >= 0)
		disk_close(take_fd(&shelf->spare.fd));
	pthread_cond_destroy(&shelf->cond);
	pthread_mutex_destroy(&shelf->lock);
}

/* Real zeros, not fallocate: a record must never wait for, or fail at, the allocation of its block. */
static int fill_zeros(int fd, uint64_t bytes)
{
	static const uint8_t zeros[ZERO_CHUNK];
	int rc = 0;

	for (uint64_t off = 0; off < bytes && rc == 0; off += ZERO_CHUNK)
		rc = disk_pwrite(fd, zeros, MIN(bytes - off, ZERO_CHUNK), off);
	return rc < 0 ? rc : disk_fsync(fd);
}

static int make_spare(int dir, uint64_t number, uint64_t bytes, struct spare *ret)
{
	uint32_t salt = (uint32_t)rand_u64();
	char name[SEGMENT_NAME_SIZE];
	cleanup_disk int fd = -1;
	int rc;

	segment_name(name, number, salt);
	fd = disk_open(dir, name, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0)
		return fd;
	rc = fill_zeros(fd, bytes);
	if (rc == 0)
		rc = disk_fsync(dir);
	if (rc < 0) {
		ignore(disk_unlink(
			dir, name)); /* give the space back; the first error is the one to tell */
		return rc;
	}
	*ret = (struct spare){ .fd = take_fd(&fd), .number = number, .bytes = bytes, .salt = salt };
	return 0;
}

void shelf_fill(struct shelf *shelf, int dir, uint64_t bytes)
{
	struct spare spare = { .fd = -1 };
	uint64_t number;
	int rc;

	pthread_mutex_lock(&shelf->lock);
	if (shelf->spare.fd >= 0 || shelf->making) {
		pthread_mutex_unlock(&shelf->lock);
		return;
	}
	shelf->making = true;
	number = shelf->next_number++;
	pthread_mutex_unlock(&shelf->lock);

	rc = make_spare(dir, number, bytes, &spare);

	pthread_mutex_lock(&shelf->lock);
	shelf->making = false;
	shelf->spare = spare;
	shelf->spare_errno = -rc;
	pthread_cond_broadcast(&shelf->cond);
	pthread_mutex_unlock(&shelf->lock);
}

bool shelf_has_spare(struct shelf *shelf)
{
	bool has;

	pthread_mutex_lock(&shelf->lock);
	has = shelf->spare.fd >= 0 || shelf->making;
	pthread_mutex_unlock(&shelf->lock);
	return has;
}

void shelf_trim(struct shelf *shelf, int dir)
{
	for (;;) {
		struct list *l;
		struct closed *closed;
		int fd;

		pthread_mutex_lock(&shelf->lock);
		l = list_pop_front(&shelf->closed);
		pthread_mutex_unlock(&shelf->lock);
		if (!l)
			return;
		closed = list_entry(l, struct closed, link);
		fd = disk_open(dir, closed->name, O_RDWR);
		if (fd >= 0) {
			uint64_t bytes;

			if (disk_size(fd, &bytes) == 0 && bytes > block_up(closed->used))
				ignore(disk_truncate(fd, block_up(closed->used)) <
				       0); /* a few zeros more */
			disk_close(fd);
		}
		free(closed);
	}
}

/* The spare if it is large enough, else a new one made here: the writer waits only when a segment filled up faster than that. */
static int take_spare(struct shelf *shelf, int dir, uint64_t bytes, uint64_t at_least,
                      struct spare *ret)
{
	struct spare spare;
	uint64_t number;

	pthread_mutex_lock(&shelf->lock);
	while (shelf->making)
		pthread_cond_wait(&shelf->cond, &shelf->lock);
	spare = shelf->spare;
	shelf->spare.fd = -1;
	if (spare.fd >= 0 && spare.bytes >= at_least) {
		pthread_mutex_unlock(&shelf->lock);
		*ret = spare;
		return 0;
	}
	number = shelf->next_number++;
	pthread_mutex_unlock(&shelf->lock);

	if (spare.fd >= 0) { /* too small, and using it later would break the order of numbers */
		char name[SEGMENT_NAME_SIZE];

		segment_name(name, spare.number, spare.salt);
		disk_close(spare.fd);
		ignore(disk_unlink(dir, name) < 0); /* retention sweeps it */
	}
	return make_spare(dir, number, MAX(bytes, at_least), ret);
}

/* --- the file synced */

void writer_init(struct writer *w, int dir, struct shelf *shelf, uint64_t segment_bytes)
{
	*w = (struct writer){
		.dir = dir,
		.shelf = shelf,
		.segment_bytes = segment_bytes,
		.reserve_bytes = MIN(RESERVE_BYTES, segment_bytes / 4),
		.fd = -1,
		.slot_fd = -1,
	};
	buf_init(&w->out, BATCH_MAX_BYTES);
}

void writer_release(struct writer *w)
{
	if (w->fd >= 0)
		disk_close(take_fd(&w->fd));
	if (w->slot_fd >= 0)
		disk_close(take_fd(&w->slot_fd));
	buf_release(&w->out);
}

static int make_slots(struct writer *w)
{
	uint8_t zeros[SYNCED_BYTES] = { 0 };
	int rc = disk_open(w->dir, SYNCED_NAME, O_RDWR | O_CREAT | O_EXCL);

	if (rc < 0)
		return rc;
	w->slot_fd = rc;
	w->slot = 0;
	rc = disk_pwrite(w->slot_fd, zeros, sizeof(zeros), 0);
	if (rc == 0)
		rc = disk_fsync(w->slot_fd);
	return rc < 0 ? rc : disk_fsync(w->dir);
}

int writer_open_slots(struct writer *w, unsigned next_slot, struct err *err)
{
	int rc = disk_open(w->dir, SYNCED_NAME, O_RDWR);

	if (rc >= 0) {
		w->slot_fd = rc;
		w->slot = next_slot;
		return 0;
	}
	if (rc == -ENOENT)
		rc = make_slots(w);
	return rc < 0 ? err_sys(err, -rc, "open journal file %s", SYNCED_NAME) : 0;
}

static int write_slot(struct writer *w, struct err *err)
{
	const struct synced synced = { .segment = w->header.number,
		                       .seq = w->synced,
		                       .crc = w->crc };
	uint8_t slot[SYNCED_SLOT_BYTES];
	int rc;

	if (MUTANT(no_synced_file))
		return 0;
	synced_encode(&synced, slot);
	rc = disk_pwrite(w->slot_fd, slot, sizeof(slot), (uint64_t)w->slot * DISK_BLOCK);
	if (rc < 0) {
		w->slot_failed = true;
		return err_sys(err, -rc, "write %s", SYNCED_NAME);
	}
	w->slot = 1 - w->slot;
	return 0;
}

int writer_sync_slots(struct writer *w, struct err *err)
{
	int rc = disk_fdatasync(w->slot_fd);

	return rc < 0 ? err_sys(err, -rc, "sync %s", SYNCED_NAME) : 0;
}

/* --- segments */

static void adopt(struct writer *w, struct spare *spare, uint64_t first_seq, uint64_t boot_seq)
{
	if (w->fd >= 0)
		disk_close(w->fd);
	w->fd = take_fd(&spare->fd);
	w->header = (struct segment_header){ .salt = spare->salt,
		                             .number = spare->number,
		                             .first_seq = first_seq,
		                             .boot_seq = boot_seq,
		                             .time_ns = clock_real_ns() };
	w->is_begun = false;
	w->bytes = spare->bytes;
	w->off = SEGMENT_FIRST;
	w->crc = spare->salt;
	w->fresh = true;
	w->is_dirty = false;
	w->last = first_seq - 1;
}

static uint64_t bytes_for(const struct writer *w, uint64_t need)
{
	return block_up(SEGMENT_FIRST + need) + w->reserve_bytes;
}

int writer_begin(struct writer *w, uint64_t first_seq, uint64_t boot_seq, uint64_t need,
                 struct err *err)
{
	struct spare spare = { .fd = -1 };
	int rc = take_spare(w->shelf, w->dir, w->segment_bytes, bytes_for(w, need), &spare);

	if (rc < 0)
		return err_sys(err, -rc, "make a segment");
	adopt(w, &spare, first_seq, boot_seq);
	return 0;
}

int writer_begin_in(struct writer *w, const char *old_name, uint64_t bytes, uint64_t first_seq,
                    uint64_t boot_seq, struct err *err)
{
	struct spare spare = { .fd = -1, .bytes = bytes, .salt = (uint32_t)rand_u64() };
	char name[SEGMENT_NAME_SIZE];
	cleanup_disk int fd = -1;
	int rc;

	pthread_mutex_lock(&w->shelf->lock);
	spare.number = w->shelf->next_number++;
	pthread_mutex_unlock(&w->shelf->lock);
	/* Its new name first: under the old one a segment is whole or not there. */
	segment_name(name, spare.number, spare.salt);
	rc = disk_rename(w->dir, old_name, w->dir, name);
	if (rc == 0)
		rc = disk_fsync(w->dir);
	if (rc == 0)
		rc = fd = disk_open(w->dir, name, O_RDWR);
	if (rc >= 0)
		rc = fill_zeros(fd, bytes);
	if (rc < 0)
		return err_sys(err, -rc, "reuse %s", old_name);
	spare.fd = take_fd(&fd);
	adopt(w, &spare, first_seq, boot_seq);
	return 0;
}

static int sync_segment(struct writer *w, struct err *err)
{
	int rc;

	if (w->is_dirty) {
		rc = disk_fdatasync(w->fd);
		if (rc < 0)
			return err_sys(err, -rc, "sync segment %llu",
			               (unsigned long long)w->header.number);
		w->fdatasyncs++;
	}
	w->is_dirty = false;
	w->fresh = true;
	if (w->synced == w->last)
		return 0;
	w->synced = w->last; /* true even if the slot fails: writer_recover() goes on behind it */
	return write_slot(w, err);
}

/* The spare becomes the segment; it is ours even on failure. */
static int rotate(struct writer *w, struct spare *spare, const struct entry *next, struct err *err)
{
	struct closed *closed;

	/* What is in the old one must not be missing under what comes: else a power cut leaves a hole, and a hole is damage. */
	if (!MUTANT(no_sync_at_rotation) && sync_segment(w, err) < 0) {
		disk_close(take_fd(&spare->fd));
		return -1;
	}
	closed = xcalloc(1, sizeof(*closed));
	segment_name(closed->name, w->header.number, w->header.salt);
	closed->used = w->off;
	pthread_mutex_lock(&w->shelf->lock);
	list_push_back(&w->shelf->closed, &closed->link);
	pthread_mutex_unlock(&w->shelf->lock);
	adopt(w, spare, next->rec.seq, 0);
	w->rotations++;
	return 0;
}

/* Where a frame goes that follows @off; UINT64_MAX when this segment must not take it. */
static uint64_t place(const struct writer *w, const struct entry *entry, uint64_t off,
                      bool into_reserve)
{
	uint64_t limit = into_reserve ? w->bytes : w->bytes - w->reserve_bytes;
	uint64_t at = segment_next(off);

	return at + frame_bytes(entry) <= limit ? at : UINT64_MAX;
}

static int pad_to(struct buf *out, uint64_t bytes, struct err *err)
{
	size_t gap = bytes - out->len;
	char *p = buf_reserve(out, gap);

	if (!p)
		return buf_err_full(out, "journal batch", err);
	memset(p, 0, gap);
	buf_grew(out, gap);
	return 0;
}

/* As many entries as the segment takes, from *inout on, as one write. */
static int write_chunk(struct writer *w, const struct list *entries, struct list **inout,
                       bool into_reserve, struct err *err)
{
	bool aligned = w->fresh && !MUTANT(no_block_boundary);
	uint64_t base = w->is_begun ? (aligned ? block_up(w->off) : segment_next(w->off)) : 0;
	uint64_t off = w->is_begun ? base : SEGMENT_FIRST, last = w->last;
	uint8_t header[SEGMENT_HEADER_BYTES];
	uint32_t crc = w->crc;
	struct list *l = *inout;
	int rc;

	buf_clear(&w->out);
	if (!w->is_begun) {
		segment_header_encode(&w->header, header);
		if (buf_add(&w->out, header, sizeof(header)) < 0)
			return buf_err_full(&w->out, "journal batch", err);
	}
	for (; l != entries; l = l->next) {
		struct entry *entry = list_entry(l, struct entry, link);
		uint64_t at = place(w, entry, off, into_reserve);

		if (at == UINT64_MAX || w->out.len + frame_bytes(entry) > BATCH_MAX_BYTES / 2)
			break;
		entry->rec.synced_seq = w->synced;
		if (pad_to(&w->out, at - base, err) < 0 ||
		    record_encode(&w->out, &entry->rec, w->header.salt, &crc, err) < 0)
			return -1;
		off = base + w->out.len;
		last = entry->rec.seq;
	}
	if (l == *inout)
		return 0;
	rc = disk_pwrite(w->fd, w->out.data, w->out.len, base);
	if (rc < 0)
		return err_sys(err, -rc, "write segment %llu",
		               (unsigned long long)w->header.number);
	w->bytes_written += w->out.len;
	w->is_begun = true;
	w->is_dirty = true;
	w->fresh = false;
	w->off = off;
	w->crc = crc;
	w->last = last;
	*inout = l;
	return 0;
}

/* No segment to go on with. What was accepted while there still seemed to be room may use the last stretch. */
static int write_last_stretch(struct writer *w, const struct list *entries, struct list **inout,
                              int why, struct err *err)
{
	struct list *before = *inout;

	if ((why == -ENOSPC || why == -EDQUOT) && write_chunk(w, entries, inout, true, err) < 0)
		return -1;
	return *inout == before ? err_sys(err, -why, "make the next segment") : 0;
}

static int write_entries(struct writer *w, const struct list *entries, struct list *l,
                         struct err *err)
{
	while (l != entries) {
		struct entry *entry = list_entry(l, struct entry, link);
		struct spare spare = { .fd = -1 };
		struct list *before = l;
		int rc;

		/* The last stretch is for what a full disk must still be able to do: see journal_append(). */
		if (write_chunk(w, entries, &l, entry->reserve && !shelf_has_spare(w->shelf), err) <
		    0)
			return -1;
		if (l != before)
			continue;
		rc = take_spare(w->shelf, w->dir, w->segment_bytes,
		                bytes_for(w, frame_bytes(entry)), &spare);
		rc = rc < 0 ? write_last_stretch(w, entries, &l, rc, err)
		            : rotate(w, &spare, entry, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int write_from(struct writer *w, const struct list *entries, struct list *first, bool sync,
                      struct err *err)
{
	ensure(w->fd >= 0);
	if (first != entries) {
		w->batches++;
		if (write_entries(w, entries, first, err) < 0)
			return -1;
	}
	if (!sync || (first != entries && MUTANT(reply_before_sync)))
		return 0;
	return sync_segment(w, err);
}

int writer_batch(struct writer *w, const struct list *entries, bool sync, struct err *err)
{
	int rc = write_from(w, entries, entries->next, sync, err);

	if (w->out.cap > OUT_KEEP_BYTES) {
		buf_release(&w->out);
		buf_init(&w->out, BATCH_MAX_BYTES);
	}
	return rc;
}

/* The slot file cannot be written: another one, which says what the old one said. */
static int replace_slots(struct writer *w, struct err *err)
{
	int rc;

	if (w->slot_fd >= 0)
		disk_close(take_fd(&w->slot_fd));
	rc = disk_unlink(w->dir, SYNCED_NAME);
	if (rc == 0 || rc == -ENOENT)
		rc = make_slots(w);
	if (rc < 0)
		return err_sys(err, -rc, "make %s", SYNCED_NAME);
	if (write_slot(w, err) < 0)
		return -1;
	w->slot_failed = false;
	return 0;
}

int writer_recover(struct writer *w, const struct buf *image, uint64_t released,
                   const struct list *entries, bool *inout_snapshot_done, struct err *err)
{
	/* A batch that spans segments may have been synced in part: that part stays where it is. */
	uint64_t kept = MAX(released, w->synced), boot_seq = 0, need = 0;
	struct list *first = entries->next;
	int rc;

	if (!*inout_snapshot_done && released &&
	    snapshot_write(w->dir, released, image->data, image->len, err) < 0)
		return -1;
	*inout_snapshot_done = true;
	if (w->slot_failed && replace_slots(w, err) < 0)
		return -1;

	while (first != entries && list_entry(first, struct entry, link)->rec.seq <= kept)
		first = first->next;
	for (struct list *l = first; l != entries; l = l->next) {
		const struct entry *entry = list_entry(l, struct entry, link);

		need += frame_bytes(entry) + RECORD_HEADER_BYTES;
		if (entry->rec.kind == RECORD_BOOT)
			boot_seq = entry->rec.seq;
	}
	if (writer_begin(w, kept + 1, boot_seq, need, err) < 0)
		return -1;
	rc = write_from(w, entries, first, true, err);
	if (rc < 0 && w->synced <= kept) {
		char name[SEGMENT_NAME_SIZE];

		/* Nothing in it was ever acknowledged, and retries must not fill the disk with dead segments. */
		segment_name(name, w->header.number, w->header.salt);
		disk_close(take_fd(&w->fd));
		ignore(disk_unlink(w->dir, name) < 0);
	}
	if (rc == 0)
		w->synced = MAX(w->synced, kept);
	return rc;
}
