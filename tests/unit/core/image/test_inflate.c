#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/inflate.h"

/* printf 'hello, zstd\n' | zstd -19 --no-check (zstd 1.5.4) */
static const uint8_t zstd_hello[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68, 0x61,
	                              0x00, 0x00, 'h',  'e',  'l',  'l',  'o',
	                              ',',  ' ',  'z',  's',  't',  'd',  '\n' };

static int collect(void *arg, const uint8_t *data, size_t len, struct err *err)
{
	return buf_add(arg, data, len) < 0 ? buf_err_full(arg, "output", err) : 0;
}

struct outcome {
	struct buf out;
	struct err err;
	enum inflate_kind kind;
	int rc;
};

static void outcome_release(struct outcome *outcome)
{
	buf_release(&outcome->out);
}
DEFINE_CLEANUP(struct outcome, outcome_release);

static struct outcome decode(const void *data, size_t len, size_t step, bool zlib)
{
	struct outcome outcome = { .rc = 0 };
	cleanup(inflate_free) struct inflate *inf = NULL;

	buf_init(&outcome.out, 64 * 1024 * 1024);
	inf = inflate_new(collect, &outcome.out);
	if (zlib)
		inflate_use_zlib(inf);
	for (size_t at = 0; outcome.rc == 0 && at < len; at += step)
		outcome.rc = inflate_feed(inf, (const uint8_t *)data + at, MIN(step, len - at),
		                          &outcome.err);
	if (outcome.rc == 0)
		outcome.rc = inflate_finish(inf, &outcome.err);
	outcome.kind = inflate_kind(inf);
	return outcome;
}

static void gzip(struct buf *out, const void *data, size_t len)
{
	uint8_t block[65536];
	z_stream z = { .next_in = (z_const Bytef *)data, .avail_in = (uInt)len };
	int rc;

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	do {
		z.next_out = block;
		z.avail_out = sizeof(block);
		rc = deflate(&z, Z_FINISH);
		assert_int_equal(buf_add(out, block, sizeof(block) - z.avail_out), 0);
	} while (rc == Z_OK);
	assert_int_equal(rc, Z_STREAM_END);
	deflateEnd(&z);
}

static void check(const void *data, size_t len, enum inflate_kind kind, const void *expected,
                  size_t expected_len)
{
	static const size_t steps[] = { 1, 3, 8, 1000, SIZE_MAX / 2 };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(steps); i++) {
		cleanup(outcome_release) struct outcome o = decode(data, len, steps[i / 2], i % 2);

		if (o.rc < 0)
			fail_msg("step %zu: %s", steps[i / 2], o.err.msg);
		assert_int_equal(o.kind, kind);
		assert_int_equal(o.out.len, expected_len);
		assert_memory_equal(o.out.data ? o.out.data : "", expected, expected_len);
	}
}

static void refused(const void *data, size_t len, const char *why)
{
	for (int zlib = 0; zlib < 2; zlib++) {
		cleanup(outcome_release) struct outcome o = decode(data, len, 100, zlib);

		assert_int_equal(o.rc, -1);
		assert_int_equal(o.err.code, CODE_INVALID_ARGUMENT);
		if (!strstr(o.err.msg, why))
			fail_msg("\"%s\" does not say \"%s\"", o.err.msg, why);
	}
}

static void what_is_not_compressed_passes_through(void **arg)
{
	(void)arg;
	check("abc", 3, INFLATE_PLAIN, "abc", 3);
	check("abcdefghijkl", 12, INFLATE_PLAIN, "abcdefghijkl", 12);
	check("", 0, INFLATE_PLAIN, "", 0);
}

static void gzip_members_form_one_stream(void **arg)
{
	cleanup(buf_release) struct buf in = { 0 };

	(void)arg;
	buf_init(&in, 1024);
	gzip(&in, "hello ", 6);
	gzip(&in, "", 0);
	gzip(&in, "world", 5);
	check(in.data, in.len, INFLATE_GZIP, "hello world", 11);
}

static void more_output_than_one_buffer_arrives_whole(void **arg)
{
	const size_t len = 3000000;
	cleanup_free char *data = xcalloc(1, len);
	cleanup(buf_release) struct buf in = { 0 };
	cleanup(outcome_release) struct outcome a = { 0 };
	cleanup(outcome_release) struct outcome b = { 0 };

	(void)arg;
	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i % 251 ^ i / 4096);
	buf_init(&in, 64 * 1024 * 1024);
	gzip(&in, data, len);
	a = decode(in.data, in.len, 65536, false);
	b = decode(in.data, in.len, 65536, true);
	assert_int_equal(a.out.len, len);
	assert_memory_equal(a.out.data, data, len);
	assert_int_equal(b.out.len, len);
	assert_memory_equal(b.out.data, data, len);
}

static void zstd_frames_and_skippable_ones_form_one_stream(void **arg)
{
	static const uint8_t skippable[] = { 0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z' };
	cleanup(buf_release) struct buf in = { 0 };

	(void)arg;
	buf_init(&in, 1024);
	assert_int_equal(buf_add(&in, skippable, sizeof(skippable)), 0);
	assert_int_equal(buf_add(&in, zstd_hello, sizeof(zstd_hello)), 0);
	assert_int_equal(buf_add(&in, zstd_hello, sizeof(zstd_hello)), 0);
	check(in.data, in.len, INFLATE_ZSTD, "hello, zstd\nhello, zstd\n", 24);
}

static void a_zstd_window_over_8_mib_is_refused(void **arg)
{
	/* frame header: no single segment, window descriptor 0x70 = 2^24 */
	static const uint8_t frame[] = {
		0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0x09, 0x00, 0x00, 'x'
	};
	cleanup(outcome_release) struct outcome o = decode(frame, sizeof(frame), 100, false);

	(void)arg;
	assert_int_equal(o.rc, -1);
	assert_int_equal(o.err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(o.err.msg, "8 MiB"));
}

static void damage_and_truncation_are_told_apart(void **arg)
{
	cleanup(buf_release) struct buf in = { 0 };

	(void)arg;
	buf_init(&in, 1024);
	gzip(&in, "some text that is long enough to be cut", 39);
	refused(in.data, in.len - 1, "truncated");
	refused(in.data, in.len - 9, "truncated");
	refused(in.data, 12, "truncated");
	in.data[in.len - 6] ^= 1; /* CRC */
	refused(in.data, in.len, "damaged");
	in.data[in.len - 6] ^= 1;
	assert_int_equal(buf_add_str(&in, "garbage that is no gzip member"), 0);
	refused(in.data, in.len, "damaged");
	refused(zstd_hello, sizeof(zstd_hello) - 1, "truncated");
	refused(zstd_hello, 6, "truncated");
}

static int no_more(void *arg, const uint8_t *data, size_t len, struct err *err)
{
	(void)arg;
	(void)data;
	(void)len;
	return err_set(err, CODE_ABORTED, "enough");
}

static void the_sink_can_stop_it(void **arg)
{
	cleanup(inflate_free) struct inflate *inf = inflate_new(no_more, NULL);
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(inflate_feed(inf, (const uint8_t *)"0123456789", 10, &err), -1);
	assert_int_equal(err.code, CODE_ABORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_compressed_passes_through),
		cmocka_unit_test(gzip_members_form_one_stream),
		cmocka_unit_test(more_output_than_one_buffer_arrives_whole),
		cmocka_unit_test(zstd_frames_and_skippable_ones_form_one_stream),
		cmocka_unit_test(a_zstd_window_over_8_mib_is_refused),
		cmocka_unit_test(damage_and_truncation_are_told_apart),
		cmocka_unit_test(the_sink_can_stop_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
