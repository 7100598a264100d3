#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/journal/segment.h"

#define SALT   0xfeedbeefu
#define NUMBER 12
#define BYTES  (8 * DISK_BLOCK)

/* A segment in memory, built as the writer builds one. */
struct image {
	uint8_t data[BYTES];
	uint64_t off, seq;
	uint32_t crc;
};

static struct image *image_new(uint64_t first_seq, uint64_t boot_seq)
{
	struct image *image = xcalloc(1, sizeof(*image));
	const struct segment_header header = {
		.salt = SALT, .number = NUMBER, .first_seq = first_seq, .boot_seq = boot_seq
	};

	segment_header_encode(&header, image->data);
	image->off = SEGMENT_FIRST;
	image->seq = first_seq;
	image->crc = SALT;
	return image;
}

static uint64_t put(struct image *image, uint16_t kind, uint32_t len, uint64_t synced_seq)
{
	cleanup(buf_release) struct buf buf = { 0 };
	cleanup_free uint8_t *payload = xcalloc(1, len + 1);
	struct record rec = { .seq = image->seq++,
		              .kind = kind,
		              .version = 1,
		              .synced_seq = synced_seq,
		              .payload = payload,
		              .len = len };
	uint64_t at = segment_next(image->off);
	struct err err = { 0 };

	memset(payload, 'p', len);
	buf_init(&buf, BYTES);
	assert_int_equal(record_encode(&buf, &rec, SALT, &image->crc, &err), 0);
	assert_true(at + buf.len <= BYTES);
	memcpy(image->data + at, buf.data, buf.len);
	image->off = at + buf.len;
	return at;
}

static struct segment_scan scan(const struct image *image)
{
	struct segment_scan ret;
	struct err err = { 0 };

	assert_int_equal(segment_scan(image->data, BYTES, NUMBER, SALT, &ret, NULL, NULL, &err), 0);
	return ret;
}

static void a_name_has_one_spelling(void **arg UNUSED)
{
	const char *const bad[] = { "segment-12-feedbeef",
		                    "segment-0000000012-FEEDBEEF",
		                    "segment-0000000012-feedbee",
		                    "segment-0000000012",
		                    "segment--feedbeef",
		                    "snapshot-0000000012-feedbeef",
		                    "segment-0000000012-feedbeef.",
		                    "segment-99999999999999999999-feedbeef" };
	char name[SEGMENT_NAME_SIZE];
	uint64_t number;
	uint32_t salt;

	segment_name(name, NUMBER, SALT);
	assert_string_equal(name, "segment-0000000012-feedbeef");
	assert_true(segment_name_parse(name, &number, &salt));
	assert_int_equal(number, NUMBER);
	assert_int_equal(salt, SALT);
	segment_name(name, UINT64_C(12345678901234), 7); /* more digits than the padding foresees */
	assert_true(segment_name_parse(name, &number, &salt));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(segment_name_parse(bad[i], &number, &salt));
}

static void a_header_comes_back_and_one_of_a_newer_version_is_told_apart(void **arg UNUSED)
{
	const struct segment_header header = {
		.salt = 1, .number = 2, .first_seq = 3, .boot_seq = 4, .time_ns = 5
	};
	uint8_t data[SEGMENT_HEADER_BYTES];
	struct segment_header again;
	struct err err = { 0 };

	segment_header_encode(&header, data);
	assert_int_equal(segment_header_decode(data, sizeof(data), &again, &err), 0);
	assert_int_equal(again.salt, 1);
	assert_int_equal(again.number, 2);
	assert_int_equal(again.first_seq, 3);
	assert_int_equal(again.boot_seq, 4);
	assert_int_equal(again.time_ns, 5);
	data[20] ^= 1;
	assert_int_equal(segment_header_decode(data, sizeof(data), &again, &err), -1);
	assert_int_equal(err.code, CODE_DATA_LOSS);
	data[20] ^= 1;
	put_le16(data + 8, 2);
	put_le32(data + 60, crc32c(0, data, 60));
	err_clear(&err);
	assert_int_equal(segment_header_decode(data, sizeof(data), &again, &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
}

static void a_frame_header_never_crosses_a_block(void **arg UNUSED)
{
	assert_int_equal(segment_next(0), 0);
	assert_int_equal(segment_next(DISK_BLOCK - 36), DISK_BLOCK - 36);
	assert_int_equal(segment_next(DISK_BLOCK - 35), DISK_BLOCK);
	assert_int_equal(segment_next(DISK_BLOCK - 1), DISK_BLOCK);
	assert_int_equal(segment_next(DISK_BLOCK), DISK_BLOCK);
}

static void records_are_followed_over_gaps_to_the_next_block(void **arg UNUSED)
{
	cleanup_free struct image *image = image_new(100, 0);
	struct segment_scan s;

	put(image, RECORD_IMAGE_ADDED, 10, 99);
	put(image, RECORD_IMAGE_ADDED, 10, 99);
	image->off = block_up(image->off); /* synced here */
	put(image, RECORD_IMAGE_ADDED, DISK_BLOCK, 101);
	image->off = block_up(image->off);
	put(image, RECORD_IMAGE_ADDED, 0, 102);
	s = scan(image);
	assert_true(s.header_ok && s.has_boot);
	assert_int_equal(s.count, 4);
	assert_int_equal(s.max_synced, 102);
	assert_int_equal(s.torn, 0);
	assert_int_equal(s.end, image->off);
}

static void an_empty_payload_at_the_end_of_a_block_is_not_taken_for_zeros(void **arg UNUSED)
{
	for (uint32_t len = DISK_BLOCK - 3 * RECORD_FRAME_BYTES; len < DISK_BLOCK; len++) {
		cleanup_free struct image *image = image_new(1, 0);

		put(image, RECORD_IMAGE_ADDED, len, 0);
		put(image, RECORD_IMAGE_ADDED, 0, 0);
		put(image, RECORD_IMAGE_ADDED, 3, 0);
		assert_int_equal(scan(image).count, 3);
	}
}

static void a_life_without_its_boot_does_not_count(void **arg UNUSED)
{
	cleanup_free struct image *image = image_new(5, 6);

	put(image, RECORD_IMAGE_ADDED, 10, 4); /* the copy of an unsynced record */
	assert_false(scan(image).has_boot);
	put(image, RECORD_BOOT, 10, 4);
	assert_true(scan(image).has_boot);
}

static void behind_damage_headers_still_tell_what_was_synced(void **arg UNUSED)
{
	cleanup_free struct image *image = image_new(1, 0);
	struct segment_scan s;
	uint64_t second;

	put(image, RECORD_IMAGE_ADDED, 10, 0);
	image->off = block_up(image->off);
	second = put(image, RECORD_IMAGE_ADDED, 10, 1);
	image->off = block_up(image->off);
	put(image, RECORD_IMAGE_ADDED, 10, 2);
	image->data[second + 40] ^= 1;
	s = scan(image);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.stop, second);
	assert_int_equal(s.torn, 2);
	assert_int_equal(s.max_synced, 2);

	memset(image->data, 0xff, SEGMENT_HEADER_BYTES); /* the salt is in the name, too */
	s = scan(image);
	assert_false(s.header_ok);
	assert_int_equal(s.count, 0);
	assert_int_equal(s.max_synced, 2);
}

static void a_gap_in_the_seqs_ends_the_log(void **arg UNUSED)
{
	cleanup_free struct image *image = image_new(1, 0);

	put(image, RECORD_IMAGE_ADDED, 10, 0);
	image->seq++;
	put(image, RECORD_IMAGE_ADDED, 10, 0);
	assert_int_equal(scan(image).count, 1);
}

static void a_header_under_another_name_is_none(void **arg UNUSED)
{
	cleanup_free struct image *image = image_new(1, 0);
	struct segment_scan s;
	struct err err = { 0 };

	put(image, RECORD_IMAGE_ADDED, 10, 0);
	assert_int_equal(segment_scan(image->data, BYTES, NUMBER + 1, SALT, &s, NULL, NULL, &err),
	                 0);
	assert_false(s.header_ok);
	assert_int_equal(segment_scan(image->data, BYTES, NUMBER, SALT + 1, &s, NULL, NULL, &err),
	                 0);
	assert_false(s.header_ok);
	assert_int_equal(s.max_synced, 0);
}

static void a_kind_nobody_knows_is_from_the_future(void **arg UNUSED)
{
	cleanup_free struct image *image = image_new(1, 0);
	struct segment_scan s;
	struct err err = { 0 };

	put(image, 77, 10, 0);
	assert_int_equal(segment_scan(image->data, BYTES, NUMBER, SALT, &s, NULL, NULL, &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, "kind 77"));
}

static void the_larger_good_slot_counts_and_the_other_is_written_next(void **arg UNUSED)
{
	uint8_t data[SYNCED_BYTES] = { 0 };
	struct synced synced;
	struct err err = { 0 };
	unsigned slot = 7;

	assert_int_equal(synced_decode(data, sizeof(data), &synced, &slot, &err), 0);
	assert_int_equal(synced.seq, 0);
	assert_int_equal(slot, 0);
	synced_encode(&(struct synced){ .segment = 1, .seq = 10, .crc = 3 }, data);
	synced_encode(&(struct synced){ .segment = 1, .seq = 11, .crc = 4 }, data + DISK_BLOCK);
	assert_int_equal(synced_decode(data, sizeof(data), &synced, &slot, &err), 0);
	assert_int_equal(synced.seq, 11);
	assert_int_equal(synced.crc, 4);
	assert_int_equal(slot, 0);
	data[DISK_BLOCK + 17] ^= 1; /* torn */
	assert_int_equal(synced_decode(data, sizeof(data), &synced, &slot, &err), 0);
	assert_int_equal(synced.seq, 10);
	assert_int_equal(slot, 1);
	assert_int_equal(synced_decode(data, 20, &synced, &slot, &err), 0);
	assert_int_equal(synced.seq, 0);
}

/* Zeros inside a record's payload are the record's; islands behind megabytes of zeros are seen. */
static void a_loaded_segment_has_every_byte_of_its_file(void **arg)
{
	static const struct {
		size_t len, at, used;
	} files[] = {
		{ 0, 0, 0 },
		{ 1000, 999, 1000 },
		{ 3 << 20, 0, 1 },
		{ 3 << 20, 65536, 65537 },
		{ 3 << 20, (2 << 20) + 77, (2 << 20) + 78 },
		{ (3 << 20) + 5, (3 << 20) + 4, (3 << 20) + 5 },
		{ 3 << 20, 3 << 20, 0 }, /* a spare */
	};
	char root[] = "/tmp/test-segment-XXXXXX";
	int dir;

	(void)arg;
	assert_non_null(mkdtemp(root));
	dir = disk_open_dir(root, false);
	assert_true(dir >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_free uint8_t *bytes = xcalloc(1, files[i].len + 1);
		cleanup(segment_image_release) struct segment_image image = { 0 };
		struct err err = { 0 };

		if (files[i].at < files[i].len)
			bytes[files[i].at] = 0x80;
		assert_int_equal(fsx_write(dir, "s", bytes, files[i].len, 0600), 0);
		assert_int_equal(segment_load(dir, "s", &image, &err), 0);
		assert_int_equal(image.len, files[i].len);
		assert_int_equal(image.used, files[i].used);
		assert_int_equal(memcmp(image.data, bytes, files[i].len), 0);
	}
	disk_close(dir);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, root), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_has_one_spelling),
		cmocka_unit_test(a_header_comes_back_and_one_of_a_newer_version_is_told_apart),
		cmocka_unit_test(a_frame_header_never_crosses_a_block),
		cmocka_unit_test(records_are_followed_over_gaps_to_the_next_block),
		cmocka_unit_test(an_empty_payload_at_the_end_of_a_block_is_not_taken_for_zeros),
		cmocka_unit_test(a_life_without_its_boot_does_not_count),
		cmocka_unit_test(behind_damage_headers_still_tell_what_was_synced),
		cmocka_unit_test(a_gap_in_the_seqs_ends_the_log),
		cmocka_unit_test(a_header_under_another_name_is_none),
		cmocka_unit_test(a_kind_nobody_knows_is_from_the_future),
		cmocka_unit_test(the_larger_good_slot_counts_and_the_other_is_written_next),
		cmocka_unit_test(a_loaded_segment_has_every_byte_of_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
