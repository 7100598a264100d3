#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/state/record.h"

#define SALT 0x1234abcdu

static struct record sample(const char *payload)
{
	return (struct record){ .seq = 7,
		                .time_ns = INT64_C(1700000000000000001),
		                .kind = RECORD_CONTAINER_EXITED,
		                .version = RECORD_VERSION,
		                .synced_seq = 5,
		                .payload = (const uint8_t *)payload,
		                .len = (uint32_t)strlen(payload) };
}

static void encode(struct buf *out, const struct record *rec, uint32_t *inout_crc)
{
	struct err err = { 0 };

	assert_int_equal(record_encode(out, rec, SALT, inout_crc, &err), 0);
}

static void what_was_encoded_comes_back(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	uint32_t written = SALT, read = SALT;
	struct record rec = sample("payload"), again;
	size_t size = 0;

	buf_init(&buf, 1024);
	encode(&buf, &rec, &written);
	assert_int_equal(buf.len, RECORD_FRAME_BYTES + 7);
	assert_int_equal(record_decode((uint8_t *)buf.data, buf.len, SALT, &read, &again, &size),
	                 RECORD_OK);
	assert_int_equal(size, buf.len);
	assert_int_equal(read, written);
	assert_int_equal(again.seq, 7);
	assert_int_equal(again.time_ns, rec.time_ns);
	assert_int_equal(again.kind, RECORD_CONTAINER_EXITED);
	assert_int_equal(again.version, RECORD_VERSION);
	assert_int_equal(again.synced_seq, 5);
	assert_int_equal(again.len, 7);
	assert_memory_equal(again.payload, "payload", 7);
}

static void the_header_stands_where_the_table_says(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	uint32_t crc = SALT;
	struct record rec = sample("xyz");
	const uint8_t *p;

	buf_init(&buf, 1024);
	encode(&buf, &rec, &crc);
	p = (const uint8_t *)buf.data;
	assert_int_equal(get_le32(p), 3);
	assert_int_equal(get_le64(p + 4), 7);
	assert_int_equal(get_le64(p + 12), rec.time_ns);
	assert_int_equal(get_le16(p + 20), 35);
	assert_int_equal(get_le16(p + 22), 1);
	assert_int_equal(get_le64(p + 24), 5);
	assert_int_equal(get_le32(p + 32), crc32c(SALT, p, 32));
	assert_memory_equal(p + 36, "xyz", 3);
	assert_int_equal(get_le32(p + 39), crc);
}

static void every_flipped_bit_is_noticed(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	uint32_t crc = SALT;
	struct record rec = sample("abc"), again;
	size_t size;

	buf_init(&buf, 1024);
	encode(&buf, &rec, &crc);
	for (size_t bit = 0; bit < buf.len * 8; bit++) {
		uint32_t read = SALT;

		buf.data[bit / 8] ^= (char)(1 << bit % 8);
		assert_int_not_equal(
			record_decode((uint8_t *)buf.data, buf.len, SALT, &read, &again, &size),
			RECORD_OK);
		assert_int_equal(read, SALT);
		buf.data[bit / 8] ^= (char)(1 << bit % 8);
	}
}

static void a_cut_frame_and_zeros_are_an_end_not_damage(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	static const uint8_t zeros[100];
	uint32_t crc = SALT;
	struct record rec = sample("abc"), again;
	size_t size;

	buf_init(&buf, 1024);
	encode(&buf, &rec, &crc);
	for (size_t len = 0; len < buf.len; len++) {
		uint32_t read = SALT;

		assert_int_equal(
			record_decode((uint8_t *)buf.data, len, SALT, &read, &again, &size),
			RECORD_SHORT);
	}
	crc = SALT;
	assert_int_equal(record_decode(zeros, sizeof(zeros), SALT, &crc, &again, &size),
	                 RECORD_SHORT);
}

static void a_frame_is_good_only_behind_the_one_it_was_written_behind(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	uint32_t crc = SALT, read = SALT;
	struct record first = sample("first"), second = sample("second"), again;
	size_t size, at;

	buf_init(&buf, 1024);
	encode(&buf, &first, &crc);
	at = buf.len;
	encode(&buf, &second, &crc);
	assert_int_equal(
		record_decode((uint8_t *)buf.data + at, buf.len - at, SALT, &read, &again, &size),
		RECORD_DAMAGED);
	assert_int_equal(record_decode((uint8_t *)buf.data, buf.len, SALT, &read, &again, &size),
	                 RECORD_OK);
	assert_int_equal(
		record_decode((uint8_t *)buf.data + at, buf.len - at, SALT, &read, &again, &size),
		RECORD_OK);
}

static void a_frame_of_another_segment_is_damage(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	uint32_t crc = SALT, other = SALT + 1;
	struct record rec = sample("abc"), again;
	size_t size;

	buf_init(&buf, 1024);
	encode(&buf, &rec, &crc);
	assert_int_equal(
		record_decode((uint8_t *)buf.data, buf.len, SALT + 1, &other, &again, &size),
		RECORD_DAMAGED);
	assert_int_equal(record_decode_header((uint8_t *)buf.data, buf.len, SALT + 1, &again),
	                 RECORD_DAMAGED);
	assert_int_equal(record_decode_header((uint8_t *)buf.data, buf.len, SALT, &again),
	                 RECORD_OK);
	assert_int_equal(again.synced_seq, 5);
}

static void a_payload_over_the_limit_is_refused(void **arg UNUSED)
{
	cleanup(buf_release) struct buf buf = { 0 };
	cleanup_free uint8_t *payload = calloc(1, RECORD_MAX_BYTES + 1);
	struct record rec = {
		.seq = 1, .kind = RECORD_SANDBOX_CREATING, .version = 1, .payload = payload
	};
	struct err err = { 0 };
	uint32_t crc = SALT;

	buf_init(&buf, 4 * RECORD_MAX_BYTES);
	rec.len = RECORD_MAX_BYTES;
	assert_int_equal(record_encode(&buf, &rec, SALT, &crc, &err), 0);
	rec.len = RECORD_MAX_BYTES + 1;
	assert_int_equal(record_encode(&buf, &rec, SALT, &crc, &err), -1);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.msg, "SANDBOX_CREATING"));
	rec.kind = RECORD_SNAP_SANDBOX; /* a whole object may be larger */
	assert_int_equal(record_encode(&buf, &rec, SALT, &crc, &err), 0);
}

static void each_kind_has_a_name_a_message_and_its_own_number(void **arg UNUSED)
{
	size_t known = 0;

	for (uint32_t kind = 0; kind <= UINT16_MAX; kind++) {
		const struct record_info *info = record_info((uint16_t)kind);

		if (!info) {
			assert_string_equal(record_name((uint16_t)kind), "UNKNOWN");
			continue;
		}
		known++;
		assert_int_equal(info->kind, kind);
		assert_non_null(info->desc);
		assert_true(info->struct_size > 0);
		assert_string_equal(record_name((uint16_t)kind), info->name);
	}
	assert_int_equal(known, 34);
	assert_null(record_info(RECORD_INVALID));
}

static void
what_empties_a_full_disk_may_use_the_reserve_and_nothing_that_fills_it(void **arg UNUSED)
{
	const enum record_kind may[] = { RECORD_CONTAINER_EXITED,   RECORD_CONTAINER_STOPPING,
		                         RECORD_CONTAINER_REMOVING, RECORD_CONTAINER_REMOVED,
		                         RECORD_SANDBOX_STOPPING,   RECORD_SANDBOX_STOPPED,
		                         RECORD_SANDBOX_REMOVING,   RECORD_SANDBOX_REMOVED,
		                         RECORD_IMAGE_REMOVED,      RECORD_PLUGIN_ACKED };
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(may); i++)
		assert_true(record_info((uint16_t)may[i])->reserve);
	for (uint16_t kind = 0; kind < 256; kind++)
		count += record_info(kind) && record_info(kind)->reserve;
	assert_int_equal(count, ARRAY_SIZE(may));
}

static void what_replies_stand_for_is_synced(void **arg UNUSED)
{
	const enum record_kind synced[] = { RECORD_BOOT,
		                            RECORD_SANDBOX_NETWORK_INTENT,
		                            RECORD_SANDBOX_READY,
		                            RECORD_SANDBOX_STOPPED,
		                            RECORD_CONTAINER_CREATED,
		                            RECORD_CONTAINER_RUNNING,
		                            RECORD_CONTAINER_EXITED,
		                            RECORD_IMAGE_ADDED,
		                            RECORD_IMAGE_REMOVED,
		                            RECORD_SANDBOX_RESOURCES,
		                            RECORD_CONTAINER_RESOURCES,
		                            RECORD_PLUGIN_SEEN };
	const enum record_kind written[] = { RECORD_SANDBOX_CREATING, RECORD_SANDBOX_REMOVED,
		                             RECORD_CONTAINER_REMOVED, RECORD_CONTAINER_STARTING,
		                             RECORD_PLUGIN_ACKED };

	for (size_t i = 0; i < ARRAY_SIZE(synced); i++)
		assert_int_equal(record_info((uint16_t)synced[i])->class, RECORD_SYNCED);
	for (size_t i = 0; i < ARRAY_SIZE(written); i++)
		assert_int_equal(record_info((uint16_t)written[i])->class, RECORD_WRITTEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_encoded_comes_back),
		cmocka_unit_test(the_header_stands_where_the_table_says),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(a_cut_frame_and_zeros_are_an_end_not_damage),
		cmocka_unit_test(a_frame_is_good_only_behind_the_one_it_was_written_behind),
		cmocka_unit_test(a_frame_of_another_segment_is_damage),
		cmocka_unit_test(a_payload_over_the_limit_is_refused),
		cmocka_unit_test(each_kind_has_a_name_a_message_and_its_own_number),
		cmocka_unit_test(
			what_empties_a_full_disk_may_use_the_reserve_and_nothing_that_fills_it),
		cmocka_unit_test(what_replies_stand_for_is_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
