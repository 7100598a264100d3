/* core/journal/journal.c
 *
 * Between the loop and the disk.
 *
 *   queue --(before-sleep hook)--> batch --(writer)--> done --(loop)--> for each: state_apply, released()
 *
 * At most one batch is with the writer; what is appended meanwhile waits in the queue and leaves as one batch. The writer and its
 * struct belong to whoever runs the job: the thread between submit() and finish(), the loop otherwise; the mutex around
 * job_state orders the two. The helper makes spare segments, cuts closed ones and deletes old files, so that neither loop nor
 * writer waits for that.
 *
 * Failed (7.8): the batch and all that was appended since stay in memory. The loop encodes the state, which is the fold of all that
 * was released, and the writer puts it on disk as a snapshot before it goes on in a new segment; retried with back-off.
 */
#include "core/journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mutant.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/journal/load.h"
#include "core/journal/snapshot.h"
#include "core/journal/writer.h"
#include "core/loop/child.h"
#include "core/state/record.pb.h"

#define STACK_BYTES         (256 * 1024)
#define RETRY_MIN_MS        100
#define RETRY_MAX_MS        30000
#define SPARE_RETRY_NS      NS_PER_S
#define CLOSED_MAX          8                   /* more of them at start: fold them */
#define QUEUE_MAX_BYTES     (16u * 1024 * 1024) /* held in memory while the disk fails */
#define SNAPSHOT_TIMEOUT_MS 600000
#define CLOSE_TIMEOUT_MS    10000
#define LIVE_READ_TRIES     5                /* reading what a daemon writes */
#define PADDING_BYTES       (2 * DISK_BLOCK) /* what a batch may lose to alignment */
#define ORDINARY_BYTES      DISK_BLOCK       /* most records are smaller */

enum job_state { JOB_NONE, JOB_QUEUED, JOB_RUNNING, JOB_DONE };
enum help { HELP_SPARE = 1 << 0, HELP_TRIM = 1 << 1, HELP_RETAIN = 1 << 2 };

/* What the writer is asked and what it answers. */
struct job {
	bool recover; /* else: write the batch */
	bool sync;
	int rc;
	struct err err;
	int64_t submitted_ns;
};

struct journal {
	char *path;
	enum journal_mode mode;
	struct state *state;
	uint64_t segment_bytes, keep_bytes;
	bool inline_io, has_threads;
	int dir;

	struct list queue, batch; /* entries */
	uint64_t queue_bytes, batch_bytes;
	uint64_t next_seq, released_seq;

	bool is_failed;
	struct err failure;
	struct buf image; /* the snapshot for the way out of a failure */
	bool snapshot_done;
	int64_t retry_ms;
	struct loop_timer retry;

	struct writer writer;
	struct shelf shelf;
	uint64_t
		room; /* bytes that non-reserve records may still take in this segment, as of the last finished batch */
	uint64_t rotations;
	int64_t spare_retry_ns;

	pthread_t threads[2];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct job job;
	enum job_state job_state; /* under lock */
	unsigned help;            /* under lock */
	bool stop;                /* under lock */
	int done_fd;

	struct loop *loop;
	journal_released_fn released;
	void *released_arg;
	struct loop_hook hook;
	struct loop_io *done_io;
	struct loop_defer kick, done_defer;
	struct child *snapshot_child;
	bool want_snapshot;

	struct journal_stats stats;
};

static bool is_full(const struct err *err)
{
	return err->sys == ENOSPC || err->sys == EDQUOT;
}

/* --- opening */

static struct journal *journal_new(const struct journal_args *args)
{
	struct journal *j = xcalloc(1, sizeof(*j));

	*j = (struct journal){
		.path = xstrdup(args->dir),
		.mode = args->mode,
		.state = args->state,
		.segment_bytes = args->segment_bytes / DISK_BLOCK * DISK_BLOCK,
		.keep_bytes = args->keep_bytes,
		.inline_io = args->inline_io,
		.dir = -1,
		.done_fd = -1,
		.retry_ms = RETRY_MIN_MS,
	};
	list_init(&j->queue);
	list_init(&j->batch);
	list_init(&j->hook.link);
	ensure(pthread_mutex_init(&j->lock, NULL) == 0);
	ensure(pthread_cond_init(&j->cond, NULL) == 0);
	shelf_init(&j->shelf, 1);
	writer_init(&j->writer, -1, &j->shelf, j->segment_bytes);
	return j;
}

static void journal_free(struct journal *j)
{
	entries_free(&j->queue);
	entries_free(&j->batch);
	writer_release(&j->writer);
	shelf_release(&j->shelf);
	buf_release(&j->image);
	if (j->done_fd >= 0)
		close(j->done_fd);
	if (j->dir >= 0)
		disk_close(j->dir);
	pthread_cond_destroy(&j->cond);
	pthread_mutex_destroy(&j->lock);
	free(j->path);
	free(j);
}

/* What the fold saw, and what of it must be written again. */
struct fold {
	struct state *state; /* NULL: collect only */
	uint64_t synced;
	uint64_t base; /* records up to here come from a snapshot */
	struct list *copies;
	uint64_t records, copied;
};

static int fold_one(void *arg, const struct record *rec, struct err *err UNUSED)
{
	struct fold *fold = arg;

	if (fold->state)
		state_apply(fold->state, rec);
	if (rec->kind < RECORD_SNAP_META)
		fold->records++;
	if (fold->copies && rec->seq > fold->synced && rec->kind < RECORD_SNAP_META &&
	    !MUTANT(no_copy_at_start)) {
		list_push_back(fold->copies, &entry_new(rec, RECORD_SYNCED)->link);
		fold->copied++;
	}
	return 0;
}

static void fill_report(struct journal_report *report, const struct load *load)
{
	*report = (struct journal_report){
		.snapshot_seq = load->base,
		.last_seq = load->last,
		.synced_seq = MIN(load->synced, load->last),
		.torn_records = load->torn_records,
		.torn_bytes = load->torn_bytes,
		.segments = load->nsegments,
	};
	memcpy(report->damage, load->damage, sizeof(report->damage));
}

static int refuse_damage(const char *path, const struct load *load, struct err *err)
{
	return err_set(err, CODE_DATA_LOSS,
	               "%s/%s; `coracle recover --truncate` gives up what is behind it", path,
	               load->damage);
}

/* Left by a snapshot that did not get its name. */
static void sweep_temps(int dir)
{
	cleanup(strv_free) char **names = NULL;

	if (disk_list(dir, &names) < 0)
		return;
	for (char **name = names; *name; name++)
		if (starts_with(*name, ".tmp-"))
			ignore(disk_unlink(dir, *name) < 0); /* again at the next start */
}

/* A file of zeros that an earlier life prepared and never used. */
static int take_old_spare(struct journal *j, const struct load *load, struct err *err)
{
	const struct load_segment *seg =
		load->nsegments ? &load->segments[load->nsegments - 1] : NULL;
	cleanup_disk int fd = -1;
	int rc;

	if (!seg || !seg->is_read || seg->scan.used)
		return 0;
	if (seg->bytes != j->segment_bytes) { /* cut short, or the configuration changed */
		ignore(disk_unlink(j->dir, seg->name) < 0);
		return 0;
	}
	rc = fd = disk_open(j->dir, seg->name, O_RDWR);
	if (rc >= 0)
		rc = disk_fsync(fd);
	if (rc < 0)
		return err_sys(err, -rc, "sync %s", seg->name);
	j->shelf.spare = (struct spare){
		.fd = take_fd(&fd), .number = seg->number, .bytes = seg->bytes, .salt = seg->salt
	};
	return 0;
}

/* recover --truncate: keep what was folded as a snapshot, put the rest aside, and start afresh behind it. */
static int set_aside(struct journal *j, const struct load *load, struct err *err)
{
	int rc = 0;

	if (load->last) {
		cleanup(buf_release) struct buf image = { 0 };

		if (snapshot_encode(j->state, &image, err) < 0 ||
		    snapshot_write(j->dir, load->last, image.data, image.len, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < load->nsegments && rc == 0; i++) {
		char name[SEGMENT_NAME_SIZE + 16];

		if (!load->segments[i].is_read)
			continue;
		ensure(str_format(name, sizeof(name), "damaged-%s", load->segments[i].name) == 0);
		rc = disk_rename(j->dir, load->segments[i].name, j->dir, name);
	}
	for (size_t i = 0; i < load->nsnapshots && rc == 0; i++) {
		char name[SNAPSHOT_NAME_SIZE], aside[SNAPSHOT_NAME_SIZE + 16];

		if (load->snapshots[i] <= load->last)
			continue;
		snapshot_name(name, load->snapshots[i]);
		ensure(str_format(aside, sizeof(aside), "damaged-%s", name) == 0);
		rc = disk_rename(j->dir, name, j->dir, aside);
	}
	if (rc == 0)
		rc = disk_unlink(j->dir, SYNCED_NAME);
	if (rc == 0 || rc == -ENOENT)
		rc = disk_fsync(j->dir);
	return rc < 0 ? err_sys(err, -rc, "put damaged files aside") : 0;
}

static int boot_entry(struct journal *j, const struct boot *boot, struct err *err)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(64 * 1024);
	cleanup(buf_release) struct buf payload = { 0 };
	rec_Boot msg = { .dev = boot->dev, .ino = boot->ino, .version = boot->version };
	struct record rec = { .seq = j->next_seq,
		              .time_ns = clock_real_ns(),
		              .kind = RECORD_BOOT,
		              .version = RECORD_VERSION };

	msg.machine_id = pb_arena_bytes(arena, boot->machine_id, sizeof(boot->machine_id));
	msg.boot_id = pb_arena_bytes(arena, boot->boot_id, sizeof(boot->boot_id));
	buf_init(&payload, RECORD_MAX_BYTES);
	if (pb_encode_msg(&payload, rec_Boot_fields, &msg, err) < 0)
		return err_wrap(err, "BOOT record");
	rec.payload = (const uint8_t *)payload.data;
	rec.len = (uint32_t)payload.len;
	list_push_back(&j->batch, &entry_new(&rec, RECORD_SYNCED)->link);
	j->next_seq++;
	return 0;
}

/* No spare and no space: the oldest file that the snapshot made needless, if it is large enough. */
static int begin_in_old(struct journal *j, const struct load *load, uint64_t need,
                        uint64_t first_seq, uint64_t boot_seq, struct err *err)
{
	for (size_t i = 0; i < load->nsegments && !load->segments[i].is_read; i++) {
		const struct load_segment *seg = &load->segments[i];
		cleanup_disk int fd = disk_open(j->dir, seg->name, O_RDONLY);
		uint64_t bytes;

		if (fd >= 0 && disk_size(fd, &bytes) == 0 &&
		    bytes >= SEGMENT_FIRST + need + j->writer.reserve_bytes + DISK_BLOCK)
			return writer_begin_in(&j->writer, seg->name,
			                       bytes / DISK_BLOCK * DISK_BLOCK, first_seq, boot_seq,
			                       err);
	}
	return -1; /* err stays: the disk is full */
}

/* j->batch holds the copies and BOOT: write them into this life's first segment. 1: the disk is full. */
static int open_segment(struct journal *j, const struct load *load, struct err *err)
{
	uint64_t first = list_entry(j->batch.next, struct entry, link)->rec.seq;
	uint64_t boot_seq = list_entry(j->batch.prev, struct entry, link)->rec.seq;
	uint64_t need = entries_bytes(&j->batch);
	int rc;

	rc = writer_open_slots(&j->writer, load->next_slot, err);
	if (rc < 0) {
		j->writer.slot_failed = true;
		return is_full(err) ? 1 : -1;
	}
	rc = writer_begin(&j->writer, first, boot_seq, need, err);
	if (rc < 0 && is_full(err))
		rc = begin_in_old(j, load, need, first, boot_seq, err);
	if (rc == 0)
		rc = writer_batch(&j->writer, &j->batch, true, err);
	return rc < 0 && is_full(err) ? 1 : rc;
}

/* Segments of lives that ended without cutting them: the next start need not read their zeros. */
static void cut_later(struct journal *j, const struct load *load)
{
	for (size_t i = 0; i < load->nsegments; i++) {
		const struct load_segment *seg = &load->segments[i];
		struct closed *closed;

		if (!seg->is_read || !seg->scan.used || block_up(seg->scan.used) >= seg->bytes)
			continue;
		closed = xcalloc(1, sizeof(*closed));
		memcpy(closed->name, seg->name, sizeof(closed->name));
		closed->used = seg->scan.used; /* what is torn stays as it was found */
		list_push_back(&j->shelf.closed, &closed->link);
	}
}

/* What the loop knows of the writer while that is busy. */
static void note_writer(struct journal *j)
{
	const struct writer *w = &j->writer;
	uint64_t limit = w->bytes - w->reserve_bytes;

	j->stats.batches = w->batches;
	j->stats.fdatasyncs = w->fdatasyncs;
	j->stats.bytes = w->bytes_written;
	j->stats.rotations = w->rotations;
	j->room = w->fd >= 0 && w->off < limit ? limit - w->off : 0;
}

static int open_for_service(struct journal *j, const struct journal_args *args,
                            struct journal_report *report, struct err *err)
{
	cleanup(load_release) struct load load = { 0 };
	struct fold fold = { .state = j->state, .copies = &j->batch };
	struct record boot;
	int rc;

	/* What an earlier life renamed or created must not vanish under what this one builds on it. */
	rc = disk_fsync(j->dir);
	if (rc < 0)
		return err_sys(err, -rc, "sync %s", j->path);
	if (load_scan(j->dir, LOAD_STATE, 0, &load, err) < 0)
		return err_wrap(err, "%s", j->path);
	fill_report(report, &load);
	if (load.is_damaged && !args->truncate)
		return refuse_damage(j->path, &load, err);
	fold.synced = load.synced;
	if (load_visit(j->dir, &load, fold_one, &fold, err) < 0)
		return err_wrap(err, "%s", j->path);
	report->records = fold.records;
	report->copied = fold.copied;
	sweep_temps(j->dir);
	if (load.is_damaged) {
		if (set_aside(j, &load, err) < 0)
			return -1;
		load.synced = load.last;
		load.next_slot = 0;
	}

	j->writer.dir = j->dir;
	j->writer.synced = load.synced;
	j->released_seq = load.last;
	j->next_seq = load.last + 1;
	j->shelf.next_number = load.nsegments ? load.segments[load.nsegments - 1].number + 1 : 1;
	if (!load.is_damaged && take_old_spare(j, &load, err) < 0)
		return -1;
	if (boot_entry(j, &args->boot, err) < 0)
		return -1;
	rc = open_segment(j, &load, err);
	if (rc < 0)
		return err_wrap(err, "%s", j->path);
	boot = list_entry(j->batch.prev, struct entry, link)->rec;
	if (rc == 0) {
		state_apply(j->state, &boot);
		j->released_seq = boot.seq;
		if (!load.is_damaged)
			cut_later(j, &load);
	} else {
		/* The copies are in the state, and so in the snapshot that opens the way out: BOOT alone waits. */
		j->is_failed = true;
		j->failure = *err;
		err_clear(err);
		while (list_entry(j->batch.next, struct entry, link)->rec.seq < boot.seq)
			free(list_entry(list_pop_front(&j->batch), struct entry, link));
		list_splice_back(&j->queue, &j->batch);
	}
	entries_free(&j->batch);
	note_writer(j);
	j->want_snapshot = load_closed(&load) > CLOSED_MAX;
	return 0;
}

static int apply_entries(struct state *state, struct list *entries)
{
	list_for_each(l, entries)
		state_apply(state, &list_entry(l, struct entry, link)->rec);
	entries_free(entries);
	return 0;
}

static int collect_one(void *arg, const struct record *rec, struct err *err UNUSED)
{
	list_push_back(arg, &entry_new(rec, RECORD_WRITTEN)->link);
	return 0;
}

/*
 * Read what a living daemon may be writing to: it can look damaged, or change between the two passes, while nothing is wrong. So
 * the answer counts when it is good, or when it stays bad.
 */
static int open_in_memory(struct journal *j, const struct journal_args *args,
                          struct journal_report *report, struct err *err)
{
	struct list entries = LIST_INIT(entries);

	for (int tries = 1;; tries++) {
		cleanup(load_release) struct load load = { 0 };
		bool last_try = tries == LIVE_READ_TRIES;

		err_clear(err);
		if (load_scan(j->dir, LOAD_STATE, 0, &load, err) < 0) {
			if (last_try || !err_is(err, CODE_NOT_FOUND))
				return err_wrap(err, "%s", j->path);
			continue;
		}
		if (load.is_damaged && !last_try)
			continue;
		fill_report(report, &load);
		if (load.is_damaged && !args->truncate)
			return refuse_damage(j->path, &load, err);
		if (load_visit(j->dir, &load, collect_one, &entries, err) < 0) {
			entries_free(&entries);
			if (last_try || !(err_is(err, CODE_NOT_FOUND) || err_is(err, CODE_ABORTED)))
				return err_wrap(err, "%s", j->path);
			continue;
		}
		list_for_each(l, &entries)
			report->records +=
				list_entry(l, struct entry, link)->rec.kind < RECORD_SNAP_META;
		j->released_seq = load.last;
		j->next_seq = load.last + 1;
		return apply_entries(j->state, &entries);
	}
}

struct journal *journal_open(const struct journal_args *args, struct journal_report *ret_report,
                             struct err *err)
{
	bool serve = args->mode == JOURNAL_SERVE;
	struct journal *j;
	int rc;

	ensure(args->dir && args->state && args->segment_bytes >= 16 * DISK_BLOCK &&
	       args->segment_bytes <= SEGMENT_MAX_BYTES / 4);

	*ret_report = (struct journal_report){ 0 };
	j = journal_new(args);
	j->dir = disk_open_dir(args->dir, serve);
	if (j->dir == -ENOENT && !serve) { /* nothing was ever written: an empty state */
		j->next_seq = 1;
		return j;
	}
	if (j->dir < 0)
		rc = err_sys(err, -j->dir, "open %s", args->dir);
	else
		rc = serve ? open_for_service(j, args, ret_report, err)
		           : open_in_memory(j, args, ret_report, err);
	if (rc < 0) {
		journal_free(j);
		return NULL;
	}
	return j;
}

/* --- jobs and threads */

static void run_job(struct journal *j)
{
	struct job *job = &j->job;

	err_clear(&job->err);
	if (job->recover)
		job->rc = writer_recover(&j->writer, &j->image, j->released_seq, &j->batch,
		                         &j->snapshot_done, &job->err);
	else
		job->rc = writer_batch(&j->writer, &j->batch, job->sync, &job->err);
}

static void run_help(struct journal *j, unsigned help)
{
	struct err err = { 0 };

	if (help & HELP_SPARE) {
		shelf_fill(&j->shelf, j->dir, j->segment_bytes);
		if (snapshot_reserve(j->dir, j->segment_bytes, &err) < 0)
			log_debug(NULL, "journal: %s", err.msg);
	}
	if (help & HELP_TRIM)
		shelf_trim(&j->shelf, j->dir);
	err_clear(&err);
	if ((help & HELP_RETAIN) && snapshot_retain(j->dir, j->keep_bytes, &err) < 0)
		log_warn(NULL, "journal: old files stay: %s", err.msg);
}

static void *writer_thread(void *arg)
{
	struct journal *j = arg;
	const uint64_t one = 1;

	pthread_mutex_lock(&j->lock);
	for (;;) {
		while (j->job_state != JOB_QUEUED && !j->stop)
			pthread_cond_wait(&j->cond, &j->lock);
		if (j->job_state != JOB_QUEUED)
			break;
		j->job_state = JOB_RUNNING;
		pthread_mutex_unlock(&j->lock);
		run_job(j);
		pthread_mutex_lock(&j->lock);
		j->job_state = JOB_DONE;
		ignore(write(j->done_fd, &one, sizeof(one)) <
		       0); /* an eventfd far from its limit */
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

static void *helper_thread(void *arg)
{
	struct journal *j = arg;

	pthread_mutex_lock(&j->lock);
	for (;;) {
		unsigned help;

		while (!j->help && !j->stop)
			pthread_cond_wait(&j->cond, &j->lock);
		if (j->stop)
			break;
		help = j->help;
		j->help = 0;
		pthread_mutex_unlock(&j->lock);
		run_help(j, help);
		pthread_mutex_lock(&j->lock);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

static void ask_help(struct journal *j, unsigned help)
{
	if (!j->has_threads) {
		run_help(j, help);
		return;
	}
	pthread_mutex_lock(&j->lock);
	j->help |= help;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
}

static void set_job_state(struct journal *j, enum job_state state)
{
	pthread_mutex_lock(&j->lock);
	j->job_state = state;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
}

static enum job_state get_job_state(struct journal *j)
{
	enum job_state state;

	pthread_mutex_lock(&j->lock);
	state = j->job_state;
	pthread_mutex_unlock(&j->lock);
	return state;
}

/* j->batch goes to the writer. */
static void submit(struct journal *j, bool recover, bool sync)
{
	j->job = (struct job){ .recover = recover, .sync = sync, .submitted_ns = clock_boot_ns() };
	if (j->has_threads) {
		set_job_state(j, JOB_QUEUED);
		return;
	}
	run_job(j);
	set_job_state(j, JOB_DONE);
	if (j->loop)
		loop_defer_queue(j->loop, &j->done_defer);
}

static void release_batch(struct journal *j)
{
	struct list *l;

	while ((l = list_pop_front(&j->batch))) {
		struct entry *entry = list_entry(l, struct entry, link);

		ensure(entry->rec.seq == j->released_seq + 1);
		state_apply(j->state, &entry->rec);
		j->released_seq = entry->rec.seq;
		if (j->released)
			j->released(j->released_arg, &entry->rec);
		free(entry);
	}
	j->batch_bytes = 0;
}

static void take_queue(struct journal *j)
{
	list_splice_back(&j->batch, &j->queue);
	j->batch_bytes += j->queue_bytes;
	j->queue_bytes = 0;
}

/* --- snapshots */

static void on_snapshot(void *arg, const struct child_result *result)
{
	const struct child_args args = { .name = "snapshot", .timeout_ms = SNAPSHOT_TIMEOUT_MS };
	struct journal *j = arg;
	struct err err = { 0 };

	j->snapshot_child = NULL;
	if (child_check(&args, result, &err) < 0) {
		log_warn(NULL, "journal: %s", err.msg); /* the next rotation tries again */
		return;
	}
	j->stats.snapshots++;
	ask_help(j, HELP_RETAIN);
}

static void fold_inline(struct journal *j, uint64_t seq)
{
	struct err err = { 0 };

	if (snapshot_fold(j->path, seq, &err) < 0) {
		log_warn(NULL, "journal: snapshot: %s", err.msg);
		return;
	}
	j->stats.snapshots++;
	ask_help(j, HELP_RETAIN);
}

/* A child folds what is closed: it reads the files, never the live state, which would keep the loop busy for too long. */
static void start_snapshot(struct journal *j)
{
	char seq[24];
	char *argv[] = { (char *)"coracle", (char *)"snapshot", j->path, seq, NULL };
	struct child_args args = CHILD_ARGS_INIT;
	uint64_t upto = j->writer.header.first_seq - 1;
	struct err err = { 0 };

	if (!j->want_snapshot || j->snapshot_child || j->is_failed || !upto)
		return;
	j->want_snapshot = false;
	if (!j->has_threads) {
		fold_inline(j, upto);
		return;
	}
	ensure(str_format(seq, sizeof(seq), "%llu", (unsigned long long)upto) == 0);
	args.name = "snapshot";
	args.path = "/proc/self/exe";
	args.argv = argv;
	args.capture_err = true;
	args.timeout_ms = SNAPSHOT_TIMEOUT_MS;
	args.done = on_snapshot;
	args.arg = j;
	j->snapshot_child = child_spawn(j->loop, &args, &err);
	if (!j->snapshot_child)
		log_warn(NULL, "journal: %s", err.msg);
}

/* --- failure */

static void try_recover(void *arg)
{
	struct journal *j = arg;
	struct err err = { 0 };

	if (!j->image.data && snapshot_encode(j->state, &j->image, &err) < 0) {
		log_error(NULL, "journal: no snapshot of the state in memory: %s", err.msg);
		loop_timer_arm_in(j->loop, &j->retry, RETRY_MAX_MS);
		return;
	}
	take_queue(j);
	submit(j, true, true);
}

static void recovered(struct journal *j)
{
	log_notice(NULL, "journal: writing again, in segment %llu",
	           (unsigned long long)j->writer.header.number);
	j->is_failed = false;
	j->snapshot_done = false;
	j->retry_ms = RETRY_MIN_MS;
	buf_release(&j->image);
	j->stats.snapshots++;
	ask_help(j, HELP_SPARE | HELP_RETAIN);
}

static void failed(struct journal *j, const struct err *err)
{
	j->stats.failures++;
	if (!j->is_failed) {
		log_error(
			&(struct log_ctx){ .sys = err->sys, .code = code_name(err->code) },
			"journal: the segment is dead, changes wait until a new one can be written: %s",
			err->msg);
		j->is_failed = true;
		j->failure = *err;
		if (j->loop)
			try_recover(j);
		return;
	}
	j->failure = *err;
	if (!j->loop)
		return;
	loop_timer_arm_in(j->loop, &j->retry, j->retry_ms);
	j->retry_ms = MIN(2 * j->retry_ms, RETRY_MAX_MS);
}

/* --- the loop's side */

/* The writer has answered. */
static void finish(struct journal *j)
{
	const struct job job = j->job;

	if (get_job_state(j) != JOB_DONE)
		return;
	set_job_state(j, JOB_NONE);
	note_writer(j);
	if (job.rc < 0) {
		failed(j, &job.err);
		return;
	}
	if (job.recover)
		recovered(j);
	if (j->writer.rotations != j->rotations) {
		j->rotations = j->writer.rotations;
		j->want_snapshot = true;
		ask_help(j, HELP_SPARE | HELP_TRIM);
	}
	release_batch(j);
	if (j->loop)
		start_snapshot(j);
}

static void on_done_io(void *arg, uint32_t events UNUSED)
{
	struct journal *j = arg;
	uint64_t count;

	ignore(read(j->done_fd, &count, sizeof(count)) < 0);
	finish(j);
}

static void on_done_defer(void *arg)
{
	finish(arg);
}

static void on_kick(void *arg UNUSED)
{
	/* its turn ends with the hook: that is all it is for */
}

/* A full disk may have stopped the helper; try again, but not for every record. */
static void refill(struct journal *j)
{
	int64_t now_ns = clock_boot_ns();

	if (shelf_has_spare(&j->shelf) || now_ns < j->spare_retry_ns)
		return;
	j->spare_retry_ns = now_ns + SPARE_RETRY_NS;
	ask_help(j, HELP_SPARE);
}

static bool needs_sync(const struct list *entries)
{
	list_for_each(l, entries)
		if (list_entry(l, struct entry, link)->class == RECORD_SYNCED)
			return true;
	return false;
}

static void on_hook(void *arg)
{
	struct journal *j = arg;

	if (list_empty(&j->queue))
		return;
	if (j->mode == JOURNAL_MEMORY) {
		take_queue(j);
		release_batch(j);
		if (!list_empty(&j->queue)) /* releases append */
			loop_defer_queue(j->loop, &j->kick);
		return;
	}
	if (j->is_failed || get_job_state(j) != JOB_NONE)
		return;
	refill(j);
	take_queue(j);
	submit(j, false, needs_sync(&j->batch));
}

static int start_threads(struct journal *j, struct err *err)
{
	void *(*const fns[])(void *) = { writer_thread, helper_thread };
	pthread_attr_t attr;
	sigset_t all, old;
	int rc = 0;

	/* Signals are the loop's: one that a thread without its mask took would end the process. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(fns) && rc == 0; i++) {
		rc = pthread_create(&j->threads[i], &attr, fns[i], j);
		if (rc != 0 && i > 0) {
			pthread_mutex_lock(&j->lock);
			j->stop = true;
			pthread_cond_broadcast(&j->cond);
			pthread_mutex_unlock(&j->lock);
			pthread_join(j->threads[0], NULL);
		}
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	j->has_threads = rc == 0;
	return rc ? err_sys(err, rc, "journal: start threads") : 0;
}

int journal_start(struct journal *j, struct loop *loop, journal_released_fn fn, void *arg,
                  struct err *err)
{
	ensure(loop && !j->loop);

	if (j->mode == JOURNAL_SERVE && !j->inline_io) {
		j->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (j->done_fd < 0)
			return err_sys(err, errno, "journal: eventfd");
		j->done_io = loop_io_new(loop, j->done_fd, EPOLLIN, on_done_io, j, "journal", err);
		if (!j->done_io)
			return -1;
		if (start_threads(j, err) < 0) {
			loop_io_free(take_ptr(j->done_io));
			return -1;
		}
	}
	j->loop = loop;
	j->released = fn;
	j->released_arg = arg;
	loop_defer_init(&j->kick, on_kick, j);
	loop_defer_init(&j->done_defer, on_done_defer, j);
	loop_timer_init(&j->retry, try_recover, j, "journal retry");
	loop_hook_add(loop, &j->hook, on_hook, j);
	if (!list_empty(&j->queue))
		loop_defer_queue(loop, &j->kick);
	if (j->mode == JOURNAL_SERVE) {
		ask_help(j, HELP_SPARE | HELP_TRIM);
		if (j->is_failed)
			loop_timer_arm_in(loop, &j->retry, j->retry_ms);
		start_snapshot(j);
	}
	return 0;
}

/* --- appending */

static int check_failed(const struct journal *j, struct err *err)
{
	return j->is_failed ? err_set(err, CODE_UNAVAILABLE, "journal: %s", j->failure.msg) : 0;
}

/* Is there room for one more record that is not of the reserve kinds? Only asked when there is no next segment to go to. */
static int check_room(struct journal *j, uint64_t bytes, struct err *err)
{
	uint64_t wanted = j->queue_bytes + j->batch_bytes + bytes + PADDING_BYTES;
	int sys;

	pthread_mutex_lock(&j->shelf.lock);
	sys = j->shelf.spare.fd >= 0 ? 0 : j->shelf.spare_errno;
	pthread_mutex_unlock(&j->shelf.lock);
	if (!sys || wanted <= j->room)
		return 0;
	refill(j);
	return err_set(err, CODE_UNAVAILABLE, "journal: no room for the next segment: %s",
	               strerror(sys));
}

int journal_ok(struct journal *j, struct err *err)
{
	if (j->mode == JOURNAL_MEMORY)
		return 0;
	if (check_failed(j, err) < 0)
		return -1;
	return check_room(j, ORDINARY_BYTES, err);
}

static int check_append(struct journal *j, const struct record_info *info, uint64_t bytes,
                        struct err *err)
{
	if (j->mode == JOURNAL_MEMORY)
		return 0;
	if (!info->reserve)
		return j->is_failed ? check_failed(j, err) : check_room(j, bytes, err);
	/* What a full disk must still be able to do waits in memory; but not without end. */
	if (j->is_failed && j->queue_bytes + j->batch_bytes + bytes > QUEUE_MAX_BYTES)
		return check_failed(j, err);
	return 0;
}

uint64_t journal_append(struct journal *j, enum record_kind kind, enum record_class class,
                        const void *msg, struct err *err)
{
	const struct record_info *info = record_info((uint16_t)kind);
	cleanup(buf_release) struct buf payload = { 0 };
	struct record rec = { .kind = (uint16_t)kind,
		              .version = RECORD_VERSION,
		              .time_ns = clock_real_ns() };
	uint64_t bytes;

	ensure(info && kind < RECORD_SNAP_META);

	buf_init(&payload, RECORD_MAX_BYTES);
	if (pb_encode_msg(&payload, info->desc, msg, err) < 0) {
		err_wrap(err, "record %s", info->name);
		return 0;
	}
	bytes = RECORD_FRAME_BYTES + RECORD_HEADER_BYTES + payload.len;
	if (check_append(j, info, bytes, err) < 0)
		return 0;
	rec.seq = j->next_seq++;
	rec.payload = (const uint8_t *)payload.data;
	rec.len = (uint32_t)payload.len;
	if (j->loop && list_empty(&j->queue))
		loop_defer_queue(j->loop, &j->kick);
	list_push_back(&j->queue, &entry_new(&rec, MAX(class, info->class))->link);
	j->queue_bytes += bytes;
	j->stats.appended++;
	return rec.seq;
}

uint64_t journal_released_seq(const struct journal *j)
{
	return j->released_seq;
}

uint64_t journal_next_seq(const struct journal *j)
{
	return j->next_seq;
}

void journal_stats(const struct journal *j, struct journal_stats *ret)
{
	*ret = j->stats;
	ret->oldest_pending_ns =
		get_job_state((struct journal *)(uintptr_t)j) == JOB_NONE ? 0 : j->job.submitted_ns;
}

/* --- stopping */

static int wait_done(struct journal *j, int64_t deadline_ns, struct err *err)
{
	struct pollfd poll_fd = { .fd = j->done_fd, .events = POLLIN };
	uint64_t count;

	while (get_job_state(j) != JOB_DONE) {
		int64_t left_ns = deadline_ns - clock_mono_ns();

		if (left_ns <= 0)
			return err_set(err, CODE_DEADLINE_EXCEEDED,
			               "journal: the disk does not answer");
		ignore(poll(&poll_fd, 1, (int)MIN(left_ns / NS_PER_MS + 1, INT32_MAX)) <
		       0); /* looks again */
		ignore(read(j->done_fd, &count, sizeof(count)) < 0);
	}
	return 0;
}

int journal_drain(struct journal *j, int64_t timeout_ms, struct err *err)
{
	int64_t deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;

	while (j->mode == JOURNAL_MEMORY) {
		if (list_empty(&j->queue))
			return 0;
		take_queue(j);
		release_batch(j);
	}
	for (;;) {
		if (get_job_state(j) != JOB_NONE) {
			if (wait_done(j, deadline_ns, err) < 0)
				return -1;
			finish(j);
			continue;
		}
		if (check_failed(j, err) < 0)
			return -1;
		if (list_empty(&j->queue) && j->writer.synced >= j->released_seq)
			return 0;
		take_queue(j);
		submit(j, false, true);
	}
}

/* False when the writer hangs in the kernel: nobody can wait for that. */
static bool stop_threads(struct journal *j)
{
	bool hangs;

	pthread_mutex_lock(&j->lock);
	j->stop = true;
	hangs = j->job_state == JOB_QUEUED || j->job_state == JOB_RUNNING;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	for (size_t i = 0; i < ARRAY_SIZE(j->threads) && !hangs; i++)
		pthread_join(j->threads[i], NULL);
	return !hangs;
}

void journal_close(struct journal *j)
{
	struct err err = { 0 };
	bool stopped = true;

	if (!j)
		return;
	if (j->mode == JOURNAL_SERVE) {
		if (journal_drain(j, CLOSE_TIMEOUT_MS, &err) < 0)
			log_warn(NULL, "journal: closed with unwritten records: %s", err.msg);
		else if (writer_sync_slots(&j->writer, &err) < 0)
			log_warn(NULL, "journal: %s", err.msg);
	}
	if (j->has_threads)
		stopped = stop_threads(j);
	if (j->snapshot_child) {
		child_kill(j->snapshot_child);
		child_detach(j->snapshot_child);
	}
	if (j->loop) {
		loop_hook_remove(&j->hook);
		loop_io_free(j->done_io);
		loop_defer_cancel(&j->kick);
		loop_defer_cancel(&j->done_defer);
		loop_timer_disarm(j->loop, &j->retry);
	}
	/* A thread that hangs in the kernel still holds what it works on: the end of the process frees that. */
	if (stopped)
		journal_free(j);
}

/* --- reading */

int journal_visit(const char *path, journal_visit_fn fn, void *arg,
                  struct journal_report *ret_report, struct err *err)
{
	cleanup(load_release) struct load load = { 0 };
	cleanup_disk int dir = disk_open_dir(path, false);

	*ret_report = (struct journal_report){ 0 };
	if (dir < 0)
		return err_sys(err, -dir, "open %s", path);
	for (int tries = 1;; tries++) {
		err_clear(err);
		load_release(&load);
		if (load_scan(dir, LOAD_HISTORY, 0, &load, err) == 0 &&
		    (!load.is_damaged || tries == LIVE_READ_TRIES))
			break;
		if (tries == LIVE_READ_TRIES ||
		    (err->code != CODE_OK && !err_is(err, CODE_NOT_FOUND)))
			return err_wrap(err, "%s", path);
	}
	fill_report(ret_report, &load);
	ret_report->records = load.last + 1 - load.first;
	return load_visit(dir, &load, fn, arg, err) < 0 ? err_wrap(err, "%s", path) : 0;
}
