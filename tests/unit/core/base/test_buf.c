#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "tests/unit/core/base/dies.h"

static void appended_text_is_terminated_without_being_counted(void **arg)
{
	cleanup(buf_release) struct buf buf = { 0 };

	(void)arg;
	buf_init(&buf, 1000);
	assert_null(buf.data);
	assert_int_equal(buf_add(&buf, NULL, 0), 0);
	assert_int_equal(buf_add_str(&buf, "abc"), 0);
	assert_int_equal(buf_printf(&buf, "-%d-%s", 42, "x"), 0);
	assert_int_equal(buf_add(&buf, "\0y", 2), 0);
	assert_int_equal(buf.len, 10);
	assert_memory_equal(buf.data, "abc-42-x\0y", 11);
}

static void beyond_the_maximum_nothing_changes(void **arg)
{
	cleanup(buf_release) struct buf buf = { 0 };
	struct err err = { .code = CODE_OK };

	(void)arg;
	buf_init(&buf, 8);
	assert_int_equal(buf_add_str(&buf, "12345"), 0);
	assert_int_equal(buf_add_str(&buf, "6789"), -1);
	assert_int_equal(buf_printf(&buf, "%d", 6789), -1);
	assert_null(buf_reserve(&buf, 4));
	assert_null(buf_reserve(&buf, SIZE_MAX));
	assert_string_equal(buf.data, "12345");
	assert_int_equal(buf.len, 5);

	assert_int_equal(buf_printf(&buf, "%d", 678), 0); /* exactly full */
	assert_string_equal(buf.data, "12345678");
	assert_int_equal(buf_add_str(&buf, "9"), -1);
	assert_int_equal(buf_add(&buf, "", 0), 0);
	assert_true(buf.cap <= 9);

	assert_int_equal(buf_err_full(&buf, "answer", &err), -1);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_string_equal(err.msg, "answer: larger than 8 bytes");
}

static void a_zeroed_buffer_takes_nothing_and_is_released_twice(void **arg)
{
	struct buf buf = { .data = NULL };

	(void)arg;
	assert_int_equal(buf_add_str(&buf, "x"), -1);
	buf_release(&buf);
	buf_release(&buf);
	assert_null(buf.data);
}

static void growth_is_geometric_and_stays_correct(void **arg)
{
	cleanup(buf_release) struct buf buf = { 0 };
	size_t reallocations = 0, cap = 0;

	(void)arg;
	buf_init(&buf, 100000);
	for (size_t i = 0; i < 100000; i++) {
		char c = (char)('a' + i % 26);

		assert_int_equal(buf_add(&buf, &c, 1), 0);
		reallocations += buf.cap != cap;
		cap = buf.cap;
	}
	assert_true(reallocations < 20);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(buf.data[i], 'a' + i % 26);
	assert_int_equal(buf.data[100000], '\0');
	assert_int_equal(buf_add_str(&buf, "x"), -1);
}

static void reserved_room_is_written_then_counted(void **arg)
{
	cleanup(buf_release) struct buf buf = { 0 };
	char *room;

	(void)arg;
	buf_init(&buf, 100);
	room = buf_reserve(&buf, 100);
	assert_non_null(room);
	memset(room, 'z', 100);
	buf_grew(&buf, 100);
	assert_int_equal(buf.len, 100);
	assert_int_equal(buf.data[100], '\0');
}

static void consumed_bytes_leave_from_the_front(void **arg)
{
	cleanup(buf_release) struct buf buf = { 0 };

	(void)arg;
	buf_init(&buf, 100);
	buf_consume(&buf, 0);
	assert_int_equal(buf_add_str(&buf, "headtail"), 0);
	buf_consume(&buf, 4);
	assert_string_equal(buf.data, "tail");
	buf_consume(&buf, 4);
	assert_int_equal(buf.len, 0);
	assert_string_equal(buf.data, "");
}

static void a_taken_string_leaves_an_empty_buffer_with_its_maximum(void **arg)
{
	cleanup_free char *text = NULL;
	cleanup_free char *nothing = NULL;
	struct buf buf;

	(void)arg;
	buf_init(&buf, 5);
	assert_int_equal(buf_add_str(&buf, "hello"), 0);
	text = buf_take_str(&buf);
	assert_string_equal(text, "hello");
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf.max, 5);
	nothing = buf_take_str(&buf);
	assert_string_equal(nothing, "");
}

static void clearing_keeps_memory_and_maximum(void **arg)
{
	cleanup(buf_release) struct buf buf = { 0 };
	const char *data;

	(void)arg;
	buf_init(&buf, 100);
	buf_clear(&buf);
	assert_int_equal(buf_add_str(&buf, "abc"), 0);
	data = buf.data;
	buf_clear(&buf);
	assert_int_equal(buf.len, 0);
	assert_string_equal(buf.data, "");
	assert_int_equal(buf_add_str(&buf, "de"), 0);
	assert_ptr_equal(buf.data, data);
}

static void grow_too_far(void)
{
	struct buf buf;

	buf_init(&buf, 100);
	ignore(buf_reserve(&buf, 10) == NULL);
	buf_grew(&buf, 1000);
}

static void consume_too_much(void)
{
	struct buf buf;

	buf_init(&buf, 100);
	ignore(buf_add_str(&buf, "abc") < 0);
	buf_consume(&buf, 4);
}

static void claiming_bytes_that_are_not_there_is_a_bug(void **arg)
{
	(void)arg;
	assert_true(dies(grow_too_far));
	assert_true(dies(consume_too_much));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appended_text_is_terminated_without_being_counted),
		cmocka_unit_test(beyond_the_maximum_nothing_changes),
		cmocka_unit_test(a_zeroed_buffer_takes_nothing_and_is_released_twice),
		cmocka_unit_test(growth_is_geometric_and_stays_correct),
		cmocka_unit_test(reserved_room_is_written_then_counted),
		cmocka_unit_test(consumed_bytes_leave_from_the_front),
		cmocka_unit_test(a_taken_string_leaves_an_empty_buffer_with_its_maximum),
		cmocka_unit_test(clearing_keeps_memory_and_maximum),
		cmocka_unit_test(claiming_bytes_that_are_not_there_is_a_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
