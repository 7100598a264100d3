#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "tests/unit/core/base/dies.h"

static void real_clocks_follow_the_kernel(void **arg)
{
	struct timespec ts;
	int64_t mono = clock_mono_ns();

	(void)arg;
	assert_false(clock_is_virtual());
	clock_gettime(CLOCK_REALTIME, &ts);
	assert_true(clock_real_ns() - (ts.tv_sec * NS_PER_S + ts.tv_nsec) < NS_PER_S);
	assert_true(clock_mono_ns() >= mono);
	assert_true(clock_boot_ns() >= mono);
}

static void move_real_time(void)
{
	clock_virtual_advance(1);
}

static void real_time_cannot_be_moved(void **arg)
{
	(void)arg;
	assert_true(dies(move_real_time));
}

static void virtual_time_moves_only_when_told(void **arg)
{
	(void)arg;
	clock_virtual_set(1000 * NS_PER_S);
	assert_true(clock_is_virtual());
	assert_int_equal(clock_real_ns(), 1000 * NS_PER_S);
	assert_int_equal(clock_boot_ns(), NS_PER_S);
	assert_int_equal(clock_mono_ns(), NS_PER_S);
	clock_virtual_advance(5 * NS_PER_MS);
	assert_int_equal(clock_real_ns(), 1000 * NS_PER_S + 5 * NS_PER_MS);
	assert_int_equal(clock_boot_ns(), NS_PER_S + 5 * NS_PER_MS);
	assert_int_equal(clock_mono_ns(), NS_PER_S + 5 * NS_PER_MS);
	clock_virtual_set(7); /* the next test starts over */
	assert_int_equal(clock_real_ns(), 7);
	assert_int_equal(clock_mono_ns(), NS_PER_S);
}

static void times_are_written_as_rfc3339_with_nanoseconds(void **arg)
{
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00.000000000Z" },
		{ -1, "1969-12-31T23:59:59.999999999Z" },
		{ 951782399 * NS_PER_S, "2000-02-28T23:59:59.000000000Z" },
		{ 951782400 * NS_PER_S, "2000-02-29T00:00:00.000000000Z" },
		{ 951868800 * NS_PER_S + 1, "2000-03-01T00:00:00.000000001Z" },
		{ 1764037393123456789, "2025-11-25T02:23:13.123456789Z" },
		{ 4107542400 * NS_PER_S, "2100-03-01T00:00:00.000000000Z" }, /* no leap year */
		{ INT64_MAX, "2262-04-11T23:47:16.854775807Z" },
		{ INT64_MIN, "1677-09-21T00:12:43.145224192Z" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[CLOCK_TEXT_SIZE];

		clock_format_utc(rows[i].ns, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void the_calendar_agrees_with_libc_on_every_day(void **arg)
{
	(void)arg;
	for (int64_t day = -60000; day <= 100000; day++) {
		time_t seconds = day * 86400 + 3661;
		char text[CLOCK_TEXT_SIZE], want[CLOCK_TEXT_SIZE];
		struct tm tm;

		gmtime_r(&seconds, &tm);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000000000Z", &tm);
		clock_format_utc(seconds * NS_PER_S, text);
		assert_string_equal(text, want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* in this order: virtual time is for the rest of the process */
		cmocka_unit_test(real_clocks_follow_the_kernel),
		cmocka_unit_test(real_time_cannot_be_moved),
		cmocka_unit_test(virtual_time_moves_only_when_told),
		cmocka_unit_test(times_are_written_as_rfc3339_with_nanoseconds),
		cmocka_unit_test(the_calendar_agrees_with_libc_on_every_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
