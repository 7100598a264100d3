/* tests/unit/core/state/test_exit_record.c */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/state/exit_record.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct exit_record example = {
	.id = ID,
	.filled = true,
	.oom = true,
	.pid = 4711,
	.start_ticks = 123456789,
	.started_ns = 1700000000123456789,
	.exited_ns = 1700000001123456789,
	.wstatus = SIGKILL,
	.exit_code = 137,
	.boot_id = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
};

static void reseal(uint8_t *data)
{
	put_le32(data + 132, crc32c(0, data, 132));
}

static void assert_same(const struct exit_record *a, const struct exit_record *b)
{
	assert_string_equal(a->id, b->id);
	assert_int_equal(a->filled, b->filled);
	assert_int_equal(a->oom, b->oom);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->start_ticks, b->start_ticks);
	assert_int_equal(a->started_ns, b->started_ns);
	assert_int_equal(a->exited_ns, b->exited_ns);
	assert_int_equal(a->wstatus, b->wstatus);
	assert_int_equal(a->exit_code, b->exit_code);
	assert_memory_equal(a->boot_id, b->boot_id, 16);
}

static void what_was_encoded_decodes_to_the_same(void **state)
{
	struct exit_record rec = { 0 }, unfilled = example;
	uint8_t data[EXIT_RECORD_BYTES];
	struct err err;

	(void)state;
	exit_record_encode(&example, data);
	assert_int_equal(exit_record_decode(data, sizeof(data), &rec, &err), EXIT_RECORD_FILLED);
	assert_same(&rec, &example);
	assert_true(exit_record_is_filled(data, sizeof(data)));

	unfilled.filled = unfilled.oom = false;
	unfilled.exited_ns = unfilled.wstatus = 0;
	unfilled.exit_code = 0;
	exit_record_encode(&unfilled, data);
	assert_int_equal(exit_record_decode(data, sizeof(data), &rec, &err), EXIT_RECORD_UNFILLED);
	assert_same(&rec, &unfilled);
	assert_false(exit_record_is_filled(data, sizeof(data)));
}

static void the_layout_is_the_documented_one(void **state)
{
	uint8_t data[EXIT_RECORD_BYTES];

	(void)state;
	exit_record_encode(&example, data);
	assert_memory_equal(data, "coraexit", 8);
	assert_int_equal(get_le16(data + 8), 1);
	assert_int_equal(get_le16(data + 10), 3);
	assert_int_equal(get_le32(data + 12), 137);
	assert_memory_equal(data + 16, ID, 64);
	assert_memory_equal(data + 80, example.boot_id, 16);
	assert_int_equal(get_le64(data + 96), 123456789);
	assert_int_equal(get_le64(data + 104), 1700000000123456789);
	assert_int_equal(get_le64(data + 112), 1700000001123456789);
	assert_int_equal(get_le32(data + 120), 4711);
	assert_int_equal(get_le32(data + 124), SIGKILL);
	assert_int_equal(get_le32(data + 128), 0);
	assert_int_equal(get_le32(data + 132), crc32c(0, data, 132));
}

static void every_flipped_bit_is_found(void **state)
{
	struct exit_record rec = { .pid = 1 };
	uint8_t data[EXIT_RECORD_BYTES];
	struct err err;

	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
		exit_record_encode(&example, data);
		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(exit_record_decode(data, sizeof(data), &rec, &err),
		                 EXIT_RECORD_DAMAGED);
		assert_int_equal(err.code, CODE_DATA_LOSS);
	}
	assert_int_equal(rec.pid, 1); /* untouched */
}

static void every_wrong_length_is_damage(void **state)
{
	uint8_t data[EXIT_RECORD_BYTES + 1] = { 0 };
	struct exit_record rec;
	struct err err;

	(void)state;
	exit_record_encode(&example, data);
	for (size_t len = 0; len <= sizeof(data); len++)
		if (len != EXIT_RECORD_BYTES)
			assert_int_equal(exit_record_decode(data, len, &rec, &err),
			                 EXIT_RECORD_DAMAGED);
}

static void a_newer_version_is_refused_as_such(void **state)
{
	uint8_t data[EXIT_RECORD_BYTES];
	struct exit_record rec;
	struct err err;

	(void)state;
	exit_record_encode(&example, data);
	put_le16(data + 8, 2);
	reseal(data);
	assert_int_equal(exit_record_decode(data, sizeof(data), &rec, &err), EXIT_RECORD_DAMAGED);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	assert_string_equal(err.msg, "exit record: version 2 is newer than 1");
}

static void fields_that_contradict_each_other_are_damage(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
	} lies[] = {
		{ 10, 1 | 4 | 1u << 16 }, /* unknown flag */
		{ 12, 136 },              /* exit code of another status */
		{ 16, 0 },                /* id that begins with NUL */
		{ 120, 0 },               /* an exit of nobody */
		{ 120, 0x80000000 },      /* negative pid */
		{ 124, 0x137f },          /* stopped, not exited */
		{ 116, 0 },               /* exited before it started */
		{ 108, 0xffffffff },      /* started before 1970 */
		{ 128, 1 },               /* reserved */
	};
	uint8_t data[EXIT_RECORD_BYTES];
	struct exit_record rec;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		exit_record_encode(&example, data);
		put_le32(data + lies[i].at, lies[i].value);
		reseal(data);
		assert_int_equal(exit_record_decode(data, sizeof(data), &rec, &err),
		                 EXIT_RECORD_DAMAGED);
	}
}

static void an_unfilled_record_tells_no_exit(void **state)
{
	struct exit_record rec = example;
	uint8_t data[EXIT_RECORD_BYTES];
	struct err err;

	(void)state;
	rec.filled = false; /* but exit code and times are there */
	exit_record_encode(&rec, data);
	assert_int_equal(exit_record_decode(data, sizeof(data), &rec, &err), EXIT_RECORD_DAMAGED);
}

static void exit_codes_are_those_of_a_shell(void **state)
{
	(void)state;
	assert_int_equal(exit_code_from_wstatus(0), 0);
	assert_int_equal(exit_code_from_wstatus(3 << 8), 3);
	assert_int_equal(exit_code_from_wstatus(255 << 8), 255);
	assert_int_equal(exit_code_from_wstatus(SIGKILL), 137);
	assert_int_equal(exit_code_from_wstatus(SIGTERM), 143);
	assert_int_equal(exit_code_from_wstatus(SIGSEGV | 0x80), 139); /* with core */
	assert_int_equal(exit_code_from_wstatus(64), 192);             /* SIGRTMAX */
}

static void ids_are_file_names_that_cannot_lead_away(void **state)
{
	(void)state;
	assert_true(exit_record_id_valid(ID));
	assert_true(exit_record_id_valid("a.b-c_D9"));
	assert_false(exit_record_id_valid(""));
	assert_false(exit_record_id_valid("."));
	assert_false(exit_record_id_valid(".hidden"));
	assert_false(exit_record_id_valid("a/b"));
	assert_false(exit_record_id_valid("a b"));
	assert_false(exit_record_id_valid(ID "0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_encoded_decodes_to_the_same),
		cmocka_unit_test(the_layout_is_the_documented_one),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(every_wrong_length_is_damage),
		cmocka_unit_test(a_newer_version_is_refused_as_such),
		cmocka_unit_test(fields_that_contradict_each_other_are_damage),
		cmocka_unit_test(an_unfilled_record_tells_no_exit),
		cmocka_unit_test(exit_codes_are_those_of_a_shell),
		cmocka_unit_test(ids_are_file_names_that_cannot_lead_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
