/* The journal on a real directory. What a crash may do to it is tests/crash/test_journal_matrix.c.
 *
 * link-wrap: disk_fdatasync disk_open disk_pwrite
 */
/* link-wrap: disk_fdatasync disk_open disk_pwrite */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/journal/journal.h"
#include "core/journal/segment.h"
#include "core/journal/snapshot.h"
#include "core/loop/loop.h"
#include "core/state/dump.h"
#include "core/state/record.pb.h"

#define SEGMENT_BYTES (64 * 1024)

/* Faults that the wrapped calls below inject; the tests run one after the other. */
static _Atomic int fail_fdatasync, fail_create, fail_pwrite;

int __real_disk_fdatasync(int fd);
int __real_disk_open(int dir, const char *name, int flags);
int __real_disk_pwrite(int fd, const void *data, size_t len, uint64_t off);

int __wrap_disk_fdatasync(int fd)
{
	return fail_fdatasync ? -fail_fdatasync : __real_disk_fdatasync(fd);
}

int __wrap_disk_open(int dir, const char *name, int flags)
{
	return fail_create && (flags & O_CREAT) ? -fail_create : __real_disk_open(dir, name, flags);
}

int __wrap_disk_pwrite(int fd, const void *data, size_t len, uint64_t off)
{
	return fail_pwrite ? -fail_pwrite : __real_disk_pwrite(fd, data, len, off);
}

struct fixture {
	char root[64], *dir;
	struct loop *loop;
	struct state *state;
	struct journal *journal;
	struct journal_report report;
	bool threads, truncate;
	uint64_t segment_bytes, keep_bytes;
	uint64_t released[4096];
	size_t nreleased;
	unsigned images;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };

	log_set_level((enum log_level)0);
	fail_fdatasync = fail_create = fail_pwrite = 0;
	assert_int_equal(str_copy(f->root, sizeof(f->root), "/tmp/coracle-journal-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->root));
	f->dir = xasprintf("%s/journal", f->root);
	f->segment_bytes = SEGMENT_BYTES;
	f->keep_bytes = 4 * SEGMENT_BYTES;
	f->loop = loop_new(&err);
	assert_non_null(f->loop);
	*arg = f;
	return 0;
}

static void shut(struct fixture *f)
{
	journal_close(take_ptr(f->journal));
	state_free(take_ptr(f->state));
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	fail_fdatasync = fail_create = fail_pwrite = 0;
	shut(f);
	loop_free(f->loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->root), 0);
	free(f->dir);
	free(f);
	return 0;
}

static void on_released(void *arg, const struct record *rec)
{
	struct fixture *f = arg;

	assert_true(f->nreleased < ARRAY_SIZE(f->released));
	assert_int_equal(f->state->seq, rec->seq); /* applied before anybody is told */
	f->released[f->nreleased++] = rec->seq;
}

static int try_open(struct fixture *f, enum journal_mode mode, struct err *err)
{
	struct journal_args args = {
		.dir = f->dir,
		.mode = mode,
		.segment_bytes = f->segment_bytes,
		.keep_bytes = f->keep_bytes,
		.boot = { .machine_id = { 1 },
		          .boot_id = { 2 },
		          .dev = 3,
		          .ino = 4,
		          .version = (char *)"1.2.3" },
		.truncate = f->truncate,
		.inline_io = !f->threads,
	};

	shut(f);
	f->state = args.state = state_new();
	f->nreleased = 0;
	f->journal = journal_open(&args, &f->report, err);
	if (!f->journal)
		return -1;
	return journal_start(f->journal, f->loop, on_released, f, err);
}

static void open_journal(struct fixture *f)
{
	struct err err = { 0 };

	if (try_open(f, JOURNAL_SERVE, &err) < 0)
		fail_msg("%s", err.msg);
}

/* As a kill would leave it: nothing more is written. */
static void kill_journal(struct fixture *f)
{
	fail_fdatasync = fail_create = fail_pwrite = EIO;
	shut(f);
	fail_fdatasync = fail_create = fail_pwrite = 0;
}

static void turns(struct fixture *f, int n)
{
	while (n-- > 0)
		ignore(loop_turn(f->loop, false)); /* the next one goes on */
}

static uint64_t add_image(struct fixture *f, size_t bytes, struct err *err)
{
	cleanup_free char *id = xasprintf("%064x", ++f->images);
	cleanup_free char *user = xcalloc(1, bytes + 1);
	rec_Image msg = { .id = id, .user = user };

	memset(user, 'u', bytes);
	return journal_append(f->journal, RECORD_IMAGE_ADDED, RECORD_SYNCED, &msg, err);
}

static uint64_t add_pod(struct fixture *f)
{
	cleanup_free char *id = xasprintf("%064x", ++f->images);
	rec_Sandbox msg = { .id = id, .name = id, .uid = (char *)"u", .ns = (char *)"n" };
	struct err err = { 0 };
	uint64_t seq =
		journal_append(f->journal, RECORD_SANDBOX_CREATING, RECORD_WRITTEN, &msg, &err);

	assert_int_not_equal(seq, 0);
	return seq;
}

static uint64_t must_add_image(struct fixture *f, size_t bytes)
{
	struct err err = { 0 };
	uint64_t seq = add_image(f, bytes, &err);

	if (!seq)
		fail_msg("%s", err.msg);
	return seq;
}

static size_t count_images(const struct fixture *f)
{
	size_t count = 0;

	list_for_each(l, &f->state->images)
		count++;
	return count;
}

static char **list(const struct fixture *f, const char *prefix)
{
	char **names, **kept;

	assert_int_equal(fsx_list(AT_FDCWD, f->dir, &names), 0);
	kept = names;
	for (char **name = names; *name; name++) {
		if (starts_with(*name, prefix))
			*kept++ = *name;
		else
			free(*name);
	}
	*kept = NULL;
	return names;
}

static char *only(const struct fixture *f, const char *prefix, size_t which)
{
	cleanup(strv_free) char **names = list(f, prefix);

	assert_true(strv_len(names) > which);
	return xasprintf("%s/%s", f->dir, names[which]);
}

/* Change bytes of a file behind the journal's back. */
static void poke(const char *path, off_t at, const void *data, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), len);
	close(fd);
}

static void peek(const char *path, off_t at, void *data, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, data, len, at), len);
	close(fd);
}

/* --- tests */

static void an_empty_directory_becomes_a_journal_for_us_alone(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **names = NULL;
	struct stat st;

	open_journal(f);
	assert_int_equal(f->report.last_seq, 0);
	assert_int_equal(journal_released_seq(f->journal), 1); /* BOOT */
	assert_int_equal(f->state->boot.seq, 1);
	assert_string_equal(f->state->boot.version, "1.2.3");
	assert_int_equal(stat(f->dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	names = list(f, "");
	assert_int_equal(strv_len(names), 4); /* segment, spare, synced, reserve */
	for (char **name = names; *name; name++) {
		cleanup_free char *path = xasprintf("%s/%s", f->dir, *name);

		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

static void records_are_released_in_order_and_only_after_their_write(void **arg)
{
	struct fixture *f = *arg;
	uint64_t a, b, c;

	open_journal(f);
	a = add_pod(f);
	b = must_add_image(f, 1);
	c = add_pod(f);
	assert_int_equal(a + 1, b);
	assert_int_equal(b + 1, c);
	assert_int_equal(journal_next_seq(f->journal), c + 1);
	assert_int_equal(f->nreleased, 0);
	turns(f, 1); /* the hook writes */
	assert_int_equal(f->nreleased, 0);
	turns(f, 1);
	assert_int_equal(f->nreleased, 3);
	assert_int_equal(f->released[0], a);
	assert_int_equal(f->released[2], c);
	assert_int_equal(journal_released_seq(f->journal), c);
}

static void only_a_batch_with_a_synced_record_is_synced(void **arg)
{
	struct fixture *f = *arg;
	struct journal_stats before, after;

	open_journal(f);
	turns(f, 2);
	journal_stats(f->journal, &before);
	add_pod(f);
	add_pod(f);
	turns(f, 2);
	journal_stats(f->journal, &after);
	assert_int_equal(f->nreleased, 2);
	assert_int_equal(after.fdatasyncs, before.fdatasyncs);
	add_pod(f);
	must_add_image(f, 1);
	must_add_image(f, 1);
	turns(f, 2);
	journal_stats(f->journal, &after);
	assert_int_equal(f->nreleased, 5);
	assert_int_equal(after.fdatasyncs, before.fdatasyncs + 1); /* one for all three */
	assert_int_equal(after.oldest_pending_ns, 0);
}

static void drain_syncs_what_was_only_written(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };

	open_journal(f);
	add_pod(f);
	turns(f, 2);
	assert_int_equal(journal_drain(f->journal, 1000, &err), 0);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(f->report.synced_seq, 2);
	assert_int_equal(f->report.copied, 0);
}

static void what_was_appended_before_the_start_moves_with_it(void **arg)
{
	struct fixture *f = *arg;
	struct journal_args args = { .dir = f->dir,
		                     .state = f->state = state_new(),
		                     .segment_bytes = SEGMENT_BYTES,
		                     .boot = { .version = (char *)"1" },
		                     .inline_io = true };
	struct err err = { 0 };

	f->journal = journal_open(&args, &f->report, &err);
	assert_non_null(f->journal);
	must_add_image(f, 1);
	assert_int_equal(journal_start(f->journal, f->loop, on_released, f, &err), 0);
	turns(f, 2);
	assert_int_equal(f->nreleased, 1);
}

static void the_next_life_sees_the_same_state(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *before = NULL, *after = NULL;
	struct err err = { 0 };

	open_journal(f);
	for (int i = 0; i < 10; i++) {
		must_add_image(f, 100);
		add_pod(f);
		turns(f, 2);
	}
	before = dump_state_text(f->state, false);
	kill_journal(f);
	assert_int_equal(try_open(f, JOURNAL_MEMORY, &err), 0);
	after = dump_state_text(f->state, false);
	assert_string_equal(before, after);
	assert_int_equal(f->report.records, 21);
	assert_int_equal(f->report.last_seq, 21);
	assert_string_equal(f->report.damage, "");
}

static void what_was_not_known_synced_is_copied_ahead_of_boot(void **arg)
{
	struct fixture *f = *arg;

	open_journal(f);
	must_add_image(f, 1);
	turns(f, 2);
	add_pod(f);
	add_pod(f);
	turns(f, 2);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(f->report.last_seq, 4);
	assert_int_equal(f->report.synced_seq, 2);
	assert_int_equal(f->report.copied, 2);
	assert_int_equal(f->state->boot.seq, 5);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(f->report.copied, 0);
	assert_int_equal(f->report.last_seq, 5);
}

static void a_torn_tail_is_dropped_and_counted(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *segment = NULL;
	uint8_t noise[64];

	memset(noise, 0xa5, sizeof(noise));
	open_journal(f);
	must_add_image(f, 1);
	turns(f, 2);
	segment = only(f, "segment-", 0);
	add_pod(f);
	turns(f, 2);
	kill_journal(f);
	poke(segment, 3 * DISK_BLOCK + 40, noise,
	     sizeof(noise)); /* the pod's payload: header, BOOT, image, pod */
	open_journal(f);
	assert_int_equal(f->report.last_seq, 2);
	assert_int_equal(f->report.torn_records, 1);
	assert_true(f->report.torn_bytes > 0);
	assert_string_equal(f->report.damage, "");
}

static void damage_to_a_synced_record_is_refused_by_file_and_offset_until_it_is_given_up(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *segment = NULL;
	struct err err = { 0 };

	open_journal(f);
	segment = only(f, "segment-", 0);
	must_add_image(f, 1);
	turns(f, 2);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	poke(segment, 2 * DISK_BLOCK + 50, "damage", 6);

	assert_int_equal(try_open(f, JOURNAL_SERVE, &err), -1);
	assert_int_equal(err.code, CODE_DATA_LOSS);
	assert_non_null(strstr(err.msg, "offset 8192"));
	assert_non_null(strstr(err.msg, strrchr(segment, '/') + 1));
	assert_non_null(strstr(err.msg, "recover --truncate"));
	assert_string_not_equal(f->report.damage, "");
	err_clear(&err);
	assert_int_equal(try_open(f, JOURNAL_MEMORY, &err), -1);
	assert_int_equal(err.code, CODE_DATA_LOSS);

	f->truncate = true;
	open_journal(f);
	assert_int_equal(f->report.last_seq, 1);
	assert_int_equal(count_images(f), 0);
	must_add_image(f, 1);
	turns(f, 2);
	f->truncate = false;
	kill_journal(f);
	open_journal(f); /* once is enough */
	assert_int_equal(count_images(f), 1);
	free(take_ptr(segment));
	segment = only(f, "damaged-segment-", 0); /* kept for whoever wants to look */
}

static void losing_the_slot_file_alone_loses_nothing(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *synced = xasprintf("%s/synced", f->dir);

	open_journal(f);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	assert_int_equal(unlink(synced), 0);
	open_journal(f);
	assert_int_equal(count_images(f), 1);
}

static void reading_in_memory_mode_changes_no_byte_and_no_time(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **names = NULL;
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };
	struct err err = { 0 };
	struct stat st;

	open_journal(f);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	names = list(f, "");
	for (char **name = names; *name; name++) {
		cleanup_free char *path = xasprintf("%s/%s", f->dir, *name);

		assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	}
	assert_int_equal(utimensat(AT_FDCWD, f->dir, old, 0), 0);

	assert_int_equal(try_open(f, JOURNAL_MEMORY, &err), 0);
	assert_int_equal(count_images(f), 1);
	must_add_image(f, 1); /* stays in memory */
	turns(f, 2);
	assert_int_equal(f->nreleased, 1);
	assert_int_equal(count_images(f), 2);
	shut(f);

	for (char **name = names; *name; name++) {
		cleanup_free char *path = xasprintf("%s/%s", f->dir, *name);

		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mtim.tv_sec, 2000);
		assert_int_equal(st.st_atim.tv_sec, 1000);
	}
	assert_int_equal(stat(f->dir, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	strv_free(names);
	names = list(f, "");
	assert_int_equal(strv_len(names), 4);
}

static void memory_mode_without_a_journal_is_an_empty_state(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };

	assert_int_equal(try_open(f, JOURNAL_MEMORY, &err), 0);
	assert_int_equal(journal_next_seq(f->journal), 1);
	assert_false(fsx_exists(f->dir));
}

static void expect_from_the_future(struct fixture *f, const char *what)
{
	struct err err = { 0 };

	assert_int_equal(try_open(f, JOURNAL_SERVE, &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, what));
}

static void files_of_a_newer_version_are_refused(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *segment = NULL, *synced = xasprintf("%s/synced", f->dir);
	uint8_t good[SEGMENT_HEADER_BYTES], bad[SEGMENT_HEADER_BYTES];

	open_journal(f);
	segment = only(f, "segment-", 0);
	kill_journal(f);

	peek(segment, 0, good, sizeof(good));
	memcpy(bad, good, sizeof(bad));
	put_le16(bad + 8, SEGMENT_VERSION + 1);
	put_le32(bad + 60, crc32c(0, bad, 60));
	poke(segment, 0, bad, sizeof(bad));
	expect_from_the_future(f, "segment-");
	poke(segment, 0, good, sizeof(good));

	peek(synced, 0, good, SYNCED_SLOT_BYTES);
	memcpy(bad, good, SYNCED_SLOT_BYTES);
	put_le16(bad + 4, 2);
	put_le32(bad + 28, crc32c(0, bad, 28));
	poke(synced, 0, bad, SYNCED_SLOT_BYTES);
	expect_from_the_future(f, "synced");
	poke(synced, 0, good, SYNCED_SLOT_BYTES);
	open_journal(f);
}

static void fill(struct fixture *f, int segments)
{
	struct journal_stats stats;

	do {
		must_add_image(f, 4000);
		turns(f, 2);
		journal_stats(f->journal, &stats);
	} while (stats.rotations < (uint64_t)segments);
}

static void a_full_segment_is_followed_by_the_spare_and_folded(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **segments = NULL, **snapshots = NULL;
	cleanup_free char *first = NULL;
	struct journal_stats stats;
	struct stat st;
	size_t images;

	f->keep_bytes = 64 * SEGMENT_BYTES;
	open_journal(f);
	fill(f, 3);
	journal_stats(f->journal, &stats);
	assert_int_equal(stats.rotations, 3);
	assert_int_equal(stats.snapshots, 3);
	segments = list(f, "segment-");
	assert_int_equal(strv_len(segments), 5); /* three closed, one in use, a spare */
	snapshots = list(f, "snapshot-");
	assert_true(strv_len(snapshots) >= 2);
	first = only(f, "segment-", 0);
	assert_int_equal(stat(first, &st), 0);
	assert_true(st.st_size < SEGMENT_BYTES); /* cut to its end */
	images = count_images(f);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(count_images(f), images);
	assert_true(f->report.snapshot_seq > 0);
	assert_true(f->report.records < 20); /* the rest came from the snapshot */
}

static void the_segment_of_a_killed_daemon_is_cut_to_its_end(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *first = NULL;
	struct stat st;
	size_t images;

	open_journal(f);
	must_add_image(f, 4000);
	turns(f, 2);
	images = count_images(f);
	first = only(f, "segment-", 0);
	kill_journal(f);
	assert_int_equal(stat(first, &st), 0);
	assert_int_equal(st.st_size, SEGMENT_BYTES);
	open_journal(f);
	turns(f, 2);
	assert_int_equal(stat(first, &st), 0);
	assert_true(st.st_size > 4000 && st.st_size < SEGMENT_BYTES);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(count_images(f), images);
}

static void old_files_leave_when_there_is_more_than_keep(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **names = NULL;
	size_t images;

	f->keep_bytes = 0; /* nothing but what two snapshots need */
	open_journal(f);
	fill(f, 8);
	images = count_images(f);
	names = list(f, "segment-");
	assert_int_equal(strv_len(names), 3); /* between the two snapshots, in use, spare */
	kill_journal(f);
	open_journal(f);
	assert_int_equal(count_images(f), images);
}

static void a_damaged_snapshot_is_replaced_by_the_one_before(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **snapshots = NULL;
	cleanup_free char *newest = NULL;
	size_t images;

	f->keep_bytes = 0;
	open_journal(f);
	fill(f, 5);
	images = count_images(f);
	kill_journal(f);
	snapshots = list(f, "snapshot-");
	assert_int_equal(strv_len(snapshots), 2);
	newest = only(f, "snapshot-", 1);
	poke(newest, 100, "damage", 6);
	open_journal(f);
	assert_int_equal(count_images(f), images);
	assert_non_null(strstr(f->report.damage, snapshots[1]));
}

static void a_start_with_many_closed_segments_folds_them(void **arg)
{
	struct fixture *f = *arg;
	struct journal_stats stats;

	for (int life = 0; life < 10; life++) {
		open_journal(f);
		must_add_image(f, 1);
		turns(f, 2);
		journal_stats(f->journal, &stats);
		assert_int_equal(stats.snapshots,
		                 life == 9); /* its nine predecessors are more than eight */
		kill_journal(f);
	}
	open_journal(f);
	assert_int_equal(count_images(f), 10);
	assert_true(f->report.snapshot_seq > 0);
}

static int count_visit(void *arg, const struct record *rec, struct err *err UNUSED)
{
	uint64_t *last = arg;

	if (rec->kind < RECORD_SNAP_META) {
		assert_int_equal(rec->seq, *last + 1);
		*last = rec->seq;
	} else {
		assert_int_equal(rec->seq, *last);
	}
	return 0;
}

static void history_is_visited_from_the_first_record_on(void **arg)
{
	struct fixture *f = *arg;
	struct journal_report report;
	struct err err = { 0 };
	uint64_t last = 0;

	f->keep_bytes = 64 * SEGMENT_BYTES;
	open_journal(f);
	fill(f, 4);
	assert_int_equal(journal_visit(f->dir, count_visit, &last, &report, &err),
	                 0); /* beside a living daemon */
	assert_int_equal(last, journal_released_seq(f->journal));
	assert_int_equal(report.records, last);
}

struct refold {
	struct state *state;
	bool began;
};

static int refold_one(void *arg, const struct record *rec, struct err *err UNUSED)
{
	struct refold *refold = arg;

	if (rec->kind == RECORD_SNAP_META) {
		state_free(refold->state);
		refold->state = state_new();
		refold->began = true;
	}
	state_apply(refold->state, rec);
	return 0;
}

static void history_that_lost_its_beginning_folds_from_its_oldest_snapshot(void **arg)
{
	struct fixture *f = *arg;
	struct refold refold = { .state = state_new() };
	cleanup_free char *live = NULL, *folded = NULL;
	struct journal_report report;
	struct err err = { 0 };

	f->keep_bytes = 0;
	open_journal(f);
	fill(f, 6);
	live = dump_state_text(f->state, false);
	assert_int_equal(journal_visit(f->dir, refold_one, &refold, &report, &err), 0);
	folded = dump_state_text(refold.state, false);
	assert_true(refold.began);
	assert_string_equal(live, folded);
	state_free(refold.state);
}

static void after_a_failed_sync_nothing_is_answered_until_a_new_segment_holds_it(void **arg)
{
	struct fixture *f = *arg;
	const rec_PluginAcked ack = { .name = (char *)"10-a", .cursor = 1 };
	struct err err = { 0 };
	struct journal_stats stats;
	uint64_t seq;

	clock_virtual_set(NS_PER_S);
	open_journal(f);
	add_pod(f);
	turns(f, 2);
	assert_int_equal(f->nreleased, 1);
	fail_fdatasync = EIO;
	seq = must_add_image(f, 1);
	turns(f, 6);
	assert_int_equal(f->nreleased, 1);
	assert_int_equal(journal_ok(f->journal, &err), -1);
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_true(starts_with(err.msg, "journal: "));
	assert_int_equal(count_images(f), 0);

	err_clear(&err);
	assert_int_equal(add_image(f, 1, &err), 0); /* refused */
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_int_not_equal(
		journal_append(f->journal, RECORD_PLUGIN_ACKED, RECORD_WRITTEN, &ack, &err),
		0); /* waits */
	err_clear(&err);
	assert_int_equal(journal_drain(f->journal, 100, &err), -1);

	fail_fdatasync = 0;
	for (int i = 0; i < 20 && f->nreleased < 3; i++)
		ignore(loop_turn(f->loop, true)); /* virtual time: the retry is due */
	assert_int_equal(f->nreleased, 3);
	assert_int_equal(f->released[1], seq);
	err_clear(&err);
	assert_int_equal(journal_ok(f->journal, &err), 0);
	journal_stats(f->journal, &stats);
	assert_true(stats.failures >= 2);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(count_images(f), 2);
	assert_int_equal(f->report.last_seq, seq + 2);
}

static void a_full_disk_still_takes_what_empties_it(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };
	char id[ID_SIZE];
	rec_Ref ref = { .id = id };
	unsigned added;

	open_journal(f);
	fail_create = ENOSPC;
	for (;;) {
		uint64_t seq = add_image(f, 4000, &err);

		turns(f, 2);
		if (!seq)
			break;
	}
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_non_null(strstr(err.msg, "No space left"));
	added = f->images - 1;
	for (unsigned i = 1; i <= added; i++) {
		assert_int_equal(str_format(id, sizeof(id), "%064x", i), 0);
		assert_int_not_equal(
			journal_append(f->journal, RECORD_IMAGE_REMOVED, RECORD_SYNCED, &ref, &err),
			0);
	}
	turns(f, 3);
	assert_int_equal(count_images(f), 0);
	err_clear(&err);
	assert_int_equal(journal_ok(f->journal, &err), -1); /* the node says so, too */
	assert_non_null(strstr(err.msg, "No space left"));

	fail_create = 0; /* they made room */
	for (int i = 0; i < 200 && journal_ok(f->journal, &err) < 0; i++)
		usleep(10000); /* being asked is enough: the helper looks again within a second */
	must_add_image(f, 1);
	turns(f, 4);
	assert_int_equal(count_images(f), 1);
}

static void a_start_on_a_full_disk_reuses_a_segment_that_a_snapshot_covers(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *first = NULL, *spare = NULL;
	cleanup(strv_free) char **segments = NULL;
	struct err err = { 0 };
	size_t images;

	open_journal(f);
	fill(f, 4);
	images = count_images(f);
	kill_journal(f);
	segments = list(f, "segment-");
	spare = only(f, "segment-", strv_len(segments) - 1);
	first = only(f, "segment-", 0);
	assert_int_equal(unlink(spare), 0);
	fail_create = ENOSPC;
	open_journal(f);
	assert_int_equal(journal_ok(f->journal, &err), 0);
	assert_false(fsx_exists(first)); /* it has another name now */
	assert_int_equal(count_images(f), images);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	fail_create = 0;
	open_journal(f);
	assert_int_equal(count_images(f), images + 1);
}

static void a_start_on_a_full_disk_with_nothing_to_reuse_runs_and_waits(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *spare = NULL;
	struct err err = { 0 };

	clock_virtual_set(NS_PER_S);
	open_journal(f);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	spare = only(f, "segment-", 1);
	assert_int_equal(unlink(spare), 0);
	fail_create = ENOSPC;
	open_journal(f);
	assert_int_equal(count_images(f), 1); /* reads go on */
	assert_int_equal(journal_ok(f->journal, &err), -1);
	assert_non_null(strstr(err.msg, "No space left"));
	turns(f, 5);
	fail_create = 0;
	for (int i = 0; i < 20 && f->nreleased < 1; i++)
		ignore(loop_turn(f->loop, true)); /* virtual time: the retry is due */
	assert_int_equal(f->nreleased, 1);        /* BOOT, at last */
	assert_int_equal(f->state->boot.seq, 3);
	must_add_image(f, 1);
	turns(f, 2);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(count_images(f), 2);
}

static void a_record_larger_than_a_segment_gets_one_of_its_size(void **arg)
{
	struct fixture *f = *arg;

	open_journal(f);
	must_add_image(f, 5 * SEGMENT_BYTES);
	turns(f, 2);
	must_add_image(f, 10);
	turns(f, 2);
	assert_int_equal(f->nreleased, 2);
	kill_journal(f);
	open_journal(f);
	assert_int_equal(count_images(f), 2);
}

static void a_payload_over_a_mebibyte_is_refused_by_kind(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };

	open_journal(f);
	assert_int_equal(add_image(f, RECORD_MAX_BYTES, &err), 0);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.msg, "IMAGE_ADDED"));
	assert_int_equal(journal_next_seq(f->journal), 2); /* no seq was used */
}

static void a_snapshot_that_did_not_get_its_name_is_swept(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *temp = xasprintf("%s/.tmp-0123456789abcdef", f->dir);

	open_journal(f);
	kill_journal(f);
	assert_int_equal(fsx_write(AT_FDCWD, temp, "x", 1, 0600), 0);
	open_journal(f);
	assert_false(fsx_exists(temp));
}

static void threads_write_and_a_child_folds(void **arg)
{
	struct fixture *f = *arg;
	struct err err = { 0 };
	struct journal_stats stats = { 0 };
	size_t images;

	f->threads = true;
	open_journal(f);
	for (int i = 0; i < 300; i++) {
		must_add_image(f, 500);
		add_pod(f);
		if (i % 3 == 0)
			ignore(loop_turn(f->loop,
			                 false)); /* some batches are small, some are not */
	}
	assert_int_equal(journal_drain(f->journal, 10000, &err), 0);
	assert_int_equal(f->nreleased, 600);
	images = count_images(f);
	assert_int_equal(images, 300);
	for (int i = 0; i < 1000 && !stats.snapshots; i++) {
		ignore(loop_turn(f->loop, true)); /* until the child has ended */
		journal_stats(f->journal, &stats);
	}
	assert_true(stats.rotations > 0);
	assert_true(stats.snapshots > 0);
	shut(f);
	open_journal(f);
	assert_int_equal(count_images(f), images);
	assert_int_equal(f->report.copied, 0); /* closed cleanly */
	assert_true(f->report.snapshot_seq > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(an_empty_directory_becomes_a_journal_for_us_alone),
		TEST(records_are_released_in_order_and_only_after_their_write),
		TEST(only_a_batch_with_a_synced_record_is_synced),
		TEST(drain_syncs_what_was_only_written),
		TEST(what_was_appended_before_the_start_moves_with_it),
		TEST(the_next_life_sees_the_same_state),
		TEST(what_was_not_known_synced_is_copied_ahead_of_boot),
		TEST(a_torn_tail_is_dropped_and_counted),
		TEST(damage_to_a_synced_record_is_refused_by_file_and_offset_until_it_is_given_up),
		TEST(losing_the_slot_file_alone_loses_nothing),
		TEST(reading_in_memory_mode_changes_no_byte_and_no_time),
		TEST(memory_mode_without_a_journal_is_an_empty_state),
		TEST(files_of_a_newer_version_are_refused),
		TEST(a_full_segment_is_followed_by_the_spare_and_folded),
		TEST(the_segment_of_a_killed_daemon_is_cut_to_its_end),
		TEST(old_files_leave_when_there_is_more_than_keep),
		TEST(a_damaged_snapshot_is_replaced_by_the_one_before),
		TEST(a_start_with_many_closed_segments_folds_them),
		TEST(history_is_visited_from_the_first_record_on),
		TEST(history_that_lost_its_beginning_folds_from_its_oldest_snapshot),
		TEST(a_full_disk_still_takes_what_empties_it),
		TEST(a_start_on_a_full_disk_reuses_a_segment_that_a_snapshot_covers),
		TEST(a_record_larger_than_a_segment_gets_one_of_its_size),
		TEST(a_payload_over_a_mebibyte_is_refused_by_kind),
		TEST(a_snapshot_that_did_not_get_its_name_is_swept),
		TEST(threads_write_and_a_child_folds),
		/* from here on time is virtual */
		TEST(after_a_failed_sync_nothing_is_answered_until_a_new_segment_holds_it),
		TEST(a_start_on_a_full_disk_with_nothing_to_reuse_runs_and_waits),
#undef TEST
	};

	/* The journal's child is this program again. */
	if (argc > 1 && streq(argv[1], "snapshot"))
		return snapshot_main(argc - 1, argv + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
