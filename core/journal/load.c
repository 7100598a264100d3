#include "core/journal/load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"

void load_release(struct load *load)
{
	for (size_t i = 0; i < load->nsegments; i++)
		segment_image_release(&load->segments[i].image);
	free(load->segments);
	free(load->snapshots);
	buf_release(&load->snapshot);
	*load = (struct load){ 0 };
}

static void say_damage(struct load *load, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say_damage(struct load *load, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ignore(vsnprintf(load->damage, sizeof(load->damage), fmt, ap)); /* cut is fine */
	va_end(ap);
}

/* --- what is there */

static int read_slot(int dir, struct load *load, struct buf *buf, struct err *err)
{
	if (segment_read(dir, SYNCED_NAME, buf, err) < 0) {
		if (!err_is(err, CODE_NOT_FOUND))
			return -1;
		err_clear(err);
		return 0;
	}
	return synced_decode((const uint8_t *)buf->data, buf->len, &load->slot, &load->next_slot,
	                     err);
}

static int by_number(const void *a, const void *b)
{
	const struct load_segment *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->salt < y->salt ? -1 : x->salt > y->salt;
}

static int by_seq(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int list_files(int dir, struct load *load, struct err *err)
{
	cleanup(strv_free) char **names = NULL;
	int rc = disk_list(dir, &names);
	size_t count;

	if (rc < 0)
		return err_sys(err, -rc, "read journal directory");
	count = strv_len(names);
	load->segments = xcalloc(count + 1, sizeof(*load->segments));
	load->snapshots = xcalloc(count + 1, sizeof(*load->snapshots));
	for (size_t i = 0; i < count; i++) {
		struct load_segment *seg = &load->segments[load->nsegments];
		uint64_t seq;

		if (segment_name_parse(names[i], &seg->number, &seg->salt)) {
			segment_name(seg->name, seg->number, seg->salt);
			load->nsegments++;
		} else if (snapshot_name_parse(names[i], &seq)) {
			load->snapshots[load->nsnapshots++] = seq;
		}
	}
	if (load->nsegments)
		qsort(load->segments, load->nsegments, sizeof(*load->segments), by_number);
	if (load->nsnapshots)
		qsort(load->snapshots, load->nsnapshots, sizeof(*load->snapshots), by_seq);
	return 0;
}

/* 1: good, its bytes are kept; 0: bad; -1: from the future. */
static int try_snapshot(int dir, uint64_t seq, struct load *load, struct err *err)
{
	cleanup(buf_release) struct buf buf = { 0 };
	char name[SNAPSHOT_NAME_SIZE];
	struct err why = { 0 };

	snapshot_name(name, seq);
	buf_init(&buf, SNAPSHOT_MAX_BYTES);
	if (segment_read(dir, name, &buf, &why) == 0 &&
	    snapshot_check((const uint8_t *)buf.data, buf.len, seq, &why) == 0) {
		buf_release(&load->snapshot);
		load->snapshot = buf;
		buf = (struct buf){ 0 };
		load->base = seq;
		return 1;
	}
	if (err_is(&why, CODE_FAILED_PRECONDITION)) {
		*err = why;
		return err_wrap(err, "%s", name);
	}
	say_damage(load, "%s: %s", name, why.msg);
	return 0;
}

static int find_snapshot(int dir, enum load_mode mode, struct load *load, struct err *err)
{
	unsigned skip = mode == LOAD_SPARE_ONE;

	for (size_t i = load->nsnapshots; i-- > 0;) {
		int rc = try_snapshot(dir, load->snapshots[i], load, err);

		if (rc < 0)
			return -1;
		if (rc && !skip--)
			return 0;
	}
	load->base = 0; /* everything from record 1 on is needed */
	buf_release(&load->snapshot);
	return 0;
}

static int read_segment(int dir, enum load_mode mode, struct load_segment *seg, struct err *err)
{
	cleanup(segment_image_release) struct segment_image image = { 0 };

	if (segment_load(dir, seg->name, &image, err) < 0)
		return -1;
	if (segment_image_scan(&image, seg->number, seg->salt, &seg->scan, NULL, NULL, err) < 0)
		return err_wrap(err, "%s", seg->name);
	seg->is_read = true;
	seg->bytes = image.len;
	seg->counts = seg->scan.header_ok && seg->scan.has_boot;
	if (mode != LOAD_HISTORY && seg->counts) {
		seg->image = image;
		image = (struct segment_image){ 0 };
	}
	return 0;
}

/* Newest first; what lies behind a segment that reaches back to the snapshot is not needed. */
static int read_segments(int dir, enum load_mode mode, struct load *load, struct err *err)
{
	for (size_t i = load->nsegments; i-- > 0;) {
		struct load_segment *seg = &load->segments[i];

		if (read_segment(dir, mode, seg, err) < 0)
			return -1;
		if (mode != LOAD_HISTORY && seg->counts &&
		    seg->scan.header.first_seq <= load->base + 1)
			break;
	}
	return 0;
}

/* --- what it means */

/* The smallest first seq of the segments behind @i that count; UINT64_MAX when there is none. */
static uint64_t segment_end(const struct load *load, size_t i)
{
	uint64_t end = UINT64_MAX;

	while (++i < load->nsegments)
		if (load->segments[i].counts)
			end = MIN(end, load->segments[i].scan.header.first_seq);
	return end;
}

struct walk {
	uint64_t last; /* records base + 1 .. last are there */
	ssize_t stopped; /* index of the segment that ended too early or began too late; -1: none did */
	bool hole;       /* it began too late */
	ssize_t last_used; /* the segment that holds last; -1: none */
};

/* Follow the records behind @base; with @mark note in each segment what is taken from it. */
static struct walk walk(struct load *load, uint64_t base, bool mark)
{
	struct walk w = { .stopped = -1, .last_used = -1 };
	uint64_t next = base + 1;

	for (size_t i = 0; i < load->nsegments; i++) {
		struct load_segment *seg = &load->segments[i];
		uint64_t end = segment_end(load, i), first = seg->scan.header.first_seq, upto;

		if (!seg->counts || end <= next)
			continue;
		if (first > next) {
			w.stopped = (ssize_t)i;
			w.hole = true;
			break;
		}
		upto = MIN(end, first + seg->scan.count);
		if (upto > next) {
			if (mark) {
				seg->from = next;
				seg->upto = upto;
			}
			next = upto;
			w.last_used = (ssize_t)i;
		}
		if (next < end && end != UINT64_MAX) {
			w.stopped = (ssize_t)i;
			break;
		}
	}
	w.last = next - 1;
	return w;
}

static uint64_t synced_seq(const struct load *load)
{
	uint64_t synced = MAX(load->slot.seq, load->base);

	for (size_t i = 0; i < load->nsegments; i++)
		if (load->segments[i].is_read)
			synced = MAX(synced, load->segments[i].scan.max_synced);
	/* A snapshot got its name after its bytes were synced, and folds only what was. */
	if (load->nsnapshots)
		synced = MAX(synced, load->snapshots[load->nsnapshots - 1]);
	return synced;
}

/* What stands behind the end, in the segment the end is in and those after it. */
static void count_torn(struct load *load, const struct walk *w)
{
	for (size_t i = w->last_used < 0 ? 0 : (size_t)w->last_used; i < load->nsegments; i++) {
		const struct load_segment *seg = &load->segments[i];
		uint64_t behind = seg->scan.header.first_seq + seg->scan.count;

		if (!seg->is_read || seg->scan.used <= SEGMENT_FIRST)
			continue;
		if (seg->scan.count && behind > load->last + 1)
			load->torn_records +=
				behind - MAX(load->last + 1, seg->scan.header.first_seq);
		load->torn_records += seg->scan.torn;
		if (seg->scan.used > seg->scan.end)
			load->torn_bytes += seg->scan.used - seg->scan.end;
	}
}

static void explain_damage(struct load *load, const struct walk *w)
{
	const unsigned long long last = load->last, synced = load->synced;
	const struct load_segment *seg;

	if (w->hole) {
		say_damage(
			load,
			"%s: begins at record %llu, but record %llu is missing before it (record %llu had been synced)",
			load->segments[w->stopped].name,
			(unsigned long long)load->segments[w->stopped].scan.header.first_seq,
			last + 1, synced);
		return;
	}
	if (w->stopped < 0 && w->last_used < 0) {
		say_damage(load, "no segment holds record %llu (record %llu had been synced)",
		           last + 1, synced);
		return;
	}
	seg = &load->segments[w->stopped >= 0 ? w->stopped : w->last_used];
	say_damage(load,
	           "%s: damaged at offset %llu, behind record %llu (record %llu had been synced)",
	           seg->name, (unsigned long long)seg->scan.stop, last, synced);
}

/* How far back can one read without a gap? And which snapshot, if any, begins a fold there. */
static int find_history(int dir, struct load *load, struct err *err)
{
	uint64_t newest = load->base, end = walk(load, newest, false).last;

	load->first = newest + 1;
	for (size_t i = 0; i < load->nsegments; i++) {
		uint64_t first = load->segments[i].scan.header.first_seq;

		if (load->segments[i].counts && first <= newest &&
		    walk(load, first - 1, false).last == end) {
			load->first = MIN(load->first, first);
			break;
		}
	}
	if (load->first == 1) {
		load->base = 0;
		buf_release(&load->snapshot);
		return 0;
	}
	for (size_t i = 0; i < load->nsnapshots && load->snapshots[i] < newest; i++) {
		int rc = load->snapshots[i] + 1 >= load->first
		                 ? try_snapshot(dir, load->snapshots[i], load, err)
		                 : 0;

		if (rc)
			return rc < 0 ? -1 : 0;
	}
	return 0;
}

int load_scan(int dir, enum load_mode mode, uint64_t upto, struct load *ret, struct err *err)
{
	cleanup(load_release) struct load load = { 0 };
	cleanup(buf_release) struct buf buf = { 0 };
	struct walk w;

	buf_init(&buf, SEGMENT_MAX_BYTES); /* for `synced` */
	/* `synced` before the segments: a daemon that goes on meanwhile may only make it look older than they are. */
	if (read_slot(dir, &load, &buf, err) < 0 || list_files(dir, &load, err) < 0 ||
	    find_snapshot(dir, mode, &load, err) < 0 || read_segments(dir, mode, &load, err) < 0)
		return -1;
	load.first = load.base + 1;
	load.synced = synced_seq(&load);
	if (mode == LOAD_HISTORY && find_history(dir, &load, err) < 0)
		return -1;
	w = walk(&load, load.first - 1, true);
	load.last = w.last;
	if (upto) {
		load.is_damaged = load.last < upto;
		load.last = MIN(load.last, upto);
	} else {
		load.is_damaged = load.last < load.synced;
		count_torn(&load, &w);
	}
	if (load.is_damaged)
		explain_damage(&load, &w);
	*ret = load;
	load = (struct load){ 0 };
	return 0;
}

/* --- delivery */

struct delivery {
	const struct load_segment *seg;
	uint64_t last;
	snapshot_record_fn fn;
	void *arg;
	uint64_t next; /* seq expected; the file may have changed since it was scanned */
	const struct load *load;
};

static int visit_snapshot(const struct load *load, snapshot_record_fn fn, void *arg,
                          struct err *err)
{
	if (!load->base)
		return 0;
	return snapshot_visit((const uint8_t *)load->snapshot.data, load->snapshot.len, fn, arg,
	                      err);
}

static int deliver(void *arg, const struct record *rec, uint64_t off UNUSED, struct err *err)
{
	struct delivery *d = arg;

	if (rec->seq < d->seg->from || rec->seq >= d->seg->upto || rec->seq > d->last)
		return 0;
	d->next = rec->seq + 1;
	if (d->fn(d->arg, rec, err) < 0)
		return -1;
	/* History may begin before the oldest snapshot: that stands at its place among the records. */
	return rec->seq == d->load->base ? visit_snapshot(d->load, d->fn, d->arg, err) : 0;
}

static int visit_segment(int dir, struct delivery *d, struct err *err)
{
	cleanup(segment_image_release) struct segment_image again = { 0 };
	const struct segment_image *image = &d->seg->image;
	struct segment_scan scan;

	if (!image->data) {
		if (segment_load(dir, d->seg->name, &again, err) < 0)
			return -1;
		image = &again;
	}
	if (segment_image_scan(image, d->seg->number, d->seg->salt, &scan, deliver, d, err) < 0)
		return err_wrap(err, "%s", d->seg->name);
	if (d->next != MIN(d->seg->upto, d->last + 1))
		return err_set(err, CODE_ABORTED, "%s: changed while it was read", d->seg->name);
	return 0;
}

int load_visit(int dir, const struct load *load, snapshot_record_fn fn, void *arg, struct err *err)
{
	if (load->first == load->base + 1 && visit_snapshot(load, fn, arg, err) < 0)
		return -1;
	for (size_t i = 0; i < load->nsegments; i++) {
		const struct load_segment *seg = &load->segments[i];
		struct delivery d = { .seg = seg,
			              .last = load->last,
			              .fn = fn,
			              .arg = arg,
			              .next = seg->from,
			              .load = load };

		if (seg->from >= seg->upto || seg->from > load->last)
			continue;
		if (visit_segment(dir, &d, err) < 0)
			return -1;
	}
	return 0;
}

size_t load_closed(const struct load *load)
{
	size_t count = 0;

	for (size_t i = 0; i < load->nsegments; i++)
		count += load->segments[i].from < load->segments[i].upto;
	return count;
}
