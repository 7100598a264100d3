/* A journal directory that something else scribbled on: opening it never crashes, and never shows what was not written. Two
 * daemon lives with a rotation and snapshots leave a directory on a simulated disk; the input edits it. What is accepted then
 * must be a prefix of what was written.
 *
 * Edits are bursts of at most 32 bits, whole blocks lost, torn or misplaced, files cut, lost or renamed: what disks do. (A CRC
 * is no signature: who may compute checksums can of course write records.)
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/journal/journal.h"
#include "core/journal/segment.h"
#include "core/loop/loop.h"
#include "core/state/record.pb.h"

/* Its definitions of disk_*() stand in for core/journal/disk.c. */
#include "tests/crash/simdisk.c"

#define DIR_PATH      "/sim/journal"
#define SEGMENT_BYTES (64 * 1024)
#define IMAGES        40

static struct {
	struct simdisk *disk;
	uint64_t seqs[IMAGES];
} written;

static struct journal_args args_for(struct state *state, enum journal_mode mode, bool truncate)
{
	return (struct journal_args){ .dir = DIR_PATH,
		                      .mode = mode,
		                      .state = state,
		                      .segment_bytes = SEGMENT_BYTES,
		                      .keep_bytes = 16 * SEGMENT_BYTES,
		                      .boot = { .version = (char *)"1" },
		                      .truncate = truncate,
		                      .inline_io = true };
}

static void image_id(char id[ID_SIZE], size_t n)
{
	ensure(str_format(id, ID_SIZE, "%064zx", n + 1) == 0);
}

static void write_life(struct loop *loop, size_t from, size_t upto)
{
	struct state *state = state_new();
	struct journal_args args = args_for(state, JOURNAL_SERVE, false);
	struct journal_report report;
	struct err err = { 0 };
	struct journal *journal = journal_open(&args, &report, &err);
	char user[4001];

	ensure(journal && journal_start(journal, loop, NULL, NULL, &err) == 0);
	memset(user, 'u', sizeof(user) - 1);
	user[sizeof(user) - 1] = '\0';
	for (size_t i = from; i < upto; i++) {
		char id[ID_SIZE];
		rec_Image msg = { .id = id, .user = i % 3 ? (char *)"u" : user };

		image_id(id, i);
		written.seqs[i] =
			journal_append(journal, RECORD_IMAGE_ADDED, RECORD_SYNCED, &msg, &err);
		ensure(written.seqs[i]);
		ignore(i % 2 && loop_turn(loop, false)); /* batches of two */
	}
	ensure(journal_drain(journal, 1000, &err) == 0);
	simdisk_stop_at(written.disk, 1); /* killed */
	journal_close(journal);
	state_free(state);
	simdisk_kill(written.disk);
}

static void write_once(void)
{
	struct err err = { 0 };
	struct loop *loop;

	if (written.disk)
		return;
	log_set_level((enum log_level)0);
	clock_virtual_set(NS_PER_S);
	rand_seed_for_tests(7);
	written.disk = simdisk_new();
	simdisk_use(written.disk);
	loop = loop_new(&err);
	ensure(loop);
	write_life(loop, 0, IMAGES - 8);
	write_life(loop, IMAGES - 8, IMAGES);
	loop_free(loop);
}

static void edit_block(int dir, const char *name, uint8_t op, const uint8_t *p, const char *other)
{
	cleanup_disk int fd = disk_open(dir, name, O_RDWR);
	uint8_t block[DISK_BLOCK] = { 0 };
	uint64_t size, at;

	if (fd < 0 || disk_size(fd, &size) < 0 || !size)
		return;
	at = (get_le16(p) % ((size + DISK_BLOCK - 1) / DISK_BLOCK)) * DISK_BLOCK;
	ensure(disk_pread(fd, block, sizeof(block), at) >= 0);
	switch (op) {
	case 0: { /* a burst */
		size_t in = get_le16(p + 2) % (DISK_BLOCK - 4);

		for (size_t i = 0; i < 4; i++)
			block[in + i] ^= p[4 + i];
		break;
	}
	case 1: /* lost */
		memset(block, 0, sizeof(block));
		break;
	case 2: /* torn */
		memset(block, p[2], sizeof(block));
		break;
	default: { /* misplaced */
		cleanup_disk int from = disk_open(dir, other, O_RDONLY);

		if (from < 0 || disk_pread(from, block, sizeof(block),
		                           (uint64_t)get_le16(p + 2) % 17 * DISK_BLOCK) < 0)
			return;
	}
	}
	ensure(disk_pwrite(fd, block, MIN(sizeof(block), size - at), at) == 0);
}

static void edit(int dir, const uint8_t *p)
{
	cleanup(strv_free) char **names = NULL;
	const char *name, *other;
	size_t count;
	int fd;

	ensure(disk_list(dir, &names) == 0);
	count = strv_len(names);
	if (!count)
		return;
	name = names[p[1] % count];
	other = names[p[2] % count];
	switch (p[0] % 7) {
	case 4:
		fd = disk_open(dir, name, O_RDWR);
		if (fd < 0)
			return;
		ensure(disk_truncate(fd, (uint64_t)p[3] % 17 * DISK_BLOCK) == 0);
		disk_close(fd);
		return;
	case 5:
		ensure(disk_unlink(dir, name) == 0);
		return;
	case 6:
		if (!streq(name, other))
			ensure(disk_rename(dir, name, dir, other) == 0);
		return;
	default:
		edit_block(dir, name, p[0] % 7, p + 3, other);
	}
}

static void check(const struct state *state, uint64_t last)
{
	size_t there = 0, known = 0;
	struct err err = { 0 };

	for (size_t i = 0; i < IMAGES; i++) {
		char id[ID_SIZE];
		bool has;

		image_id(id, i);
		has = image_get(state, id) != NULL;
		known += has;
		ensure(has == (written.seqs[i] <= last)); /* a prefix */
	}
	list_for_each(l, &state->images)
		there++;
	ensure(there == known); /* and nothing else */
	ensure(list_empty(&state->sandboxes) && list_empty(&state->quarantine) &&
	       plugin_count(state) == 0);
	ensure(state_verify(state, &err) == 0);
}

static void try_mode(enum journal_mode mode, bool truncate)
{
	struct state *state = state_new();
	struct journal_args args = args_for(state, mode, truncate);
	struct journal_report report;
	struct err err = { 0 };
	struct journal *journal = journal_open(&args, &report, &err);

	if (journal)
		check(state, report.last_seq);
	else
		ensure(err.code != CODE_OK && err.msg[0]);
	journal_close(journal);
	state_free(state);
}

static int count_one(void *arg, const struct record *rec UNUSED, struct err *err UNUSED)
{
	++*(uint64_t *)arg;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_report report;
	struct segment_scan scan;
	struct simdisk *disk;
	struct err err = { 0 };
	bool truncate = size && data[0] & 0x80;
	uint64_t visited = 0;
	int dir;

	if (size >= 4 && segment_scan(data, size, 1, get_le32(data), &scan, NULL, NULL, &err) == 0)
		ensure(scan.used <= size && (scan.end <= size || scan.end == SEGMENT_FIRST));
	if (size > 12 * 16)
		return 0;

	write_once();
	disk = simdisk_clone(written.disk);
	simdisk_use(disk);
	dir = disk_open_dir(DIR_PATH, false);
	for (; size >= 12; data += 12, size -= 12)
		edit(dir, data);
	disk_close(dir);

	try_mode(JOURNAL_MEMORY, false);
	err_clear(&err);
	ignore(journal_visit(DIR_PATH, count_one, &visited, &report, &err) <
	       0); /* must not crash */
	try_mode(JOURNAL_SERVE, truncate);
	simdisk_free(disk);
	return 0;
}
