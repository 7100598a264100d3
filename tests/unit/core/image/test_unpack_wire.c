#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/unpack_wire.h"

static void entry_frame(struct buf *frame)
{
	const struct tar_xattr xattrs[] = { { "user.a", "v", 1 },
		                            { "security.capability", "\0\1", 2 },
		                            { "user.empty", "", 0 } };
	const struct tar_entry entry = { .type = TAR_SYMLINK,
		                         .path = "a/b",
		                         .link = "../c",
		                         .mode = 0777,
		                         .uid = 1,
		                         .gid = UINT32_MAX - 1,
		                         .mtime_s = -5,
		                         .mtime_ns = 999999999,
		                         .size = 7,
		                         .xattrs = xattrs,
		                         .nxattrs = 3 };
	struct err err = { 0 };

	buf_init(frame, 65536);
	assert_int_equal(unpack_put_entry(frame, &entry, &err), 0);
}

static void an_entry_survives_the_wire(void **arg)
{
	cleanup(buf_release) struct buf frame = { 0 };
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	struct tar_entry entry;
	enum unpack_frame type;
	struct err err = { 0 };
	size_t len;

	(void)arg;
	entry_frame(&frame);
	assert_int_equal(unpack_get_head((const uint8_t *)frame.data, &type, &len), 0);
	assert_int_equal(type, UNPACK_ENTRY);
	assert_int_equal(len, frame.len - UNPACK_FRAME_HEAD);
	assert_int_equal(unpack_get_entry((const uint8_t *)frame.data + UNPACK_FRAME_HEAD, len,
	                                  &entry, xattrs, &err),
	                 0);
	assert_int_equal(entry.type, TAR_SYMLINK);
	assert_string_equal(entry.path, "a/b");
	assert_string_equal(entry.link, "../c");
	assert_int_equal(entry.gid, UINT32_MAX - 1);
	assert_int_equal(entry.mtime_s, -5);
	assert_int_equal(entry.nxattrs, 3);
	assert_string_equal(entry.xattrs[1].name, "security.capability");
	assert_memory_equal(entry.xattrs[1].value, "\0\1", 2);
	assert_int_equal(entry.xattrs[2].len, 0);
}

static void an_entry_cut_anywhere_is_refused(void **arg)
{
	cleanup(buf_release) struct buf frame = { 0 };
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	struct tar_entry entry;
	struct err err = { 0 };

	(void)arg;
	entry_frame(&frame);
	for (size_t len = 0; len < frame.len - UNPACK_FRAME_HEAD; len++) {
		cleanup_free uint8_t *cut = xmemdup(frame.data + UNPACK_FRAME_HEAD, len ? len : 1);

		assert_int_equal(unpack_get_entry(cut, len, &entry, xattrs, &err), -1);
	}
}

static void fields_out_of_range_are_refused(void **arg)
{
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = { { 0, 7 },  { 5, 0x10 }, { 35, 0xff }, { 55, 0x80 },
		      { 56, 4 }, { 58, 5 },   { 60, 65 } };
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	struct tar_entry entry;
	struct err err = { 0 };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(buf_release) struct buf frame = { 0 };

		entry_frame(&frame);
		frame.data[UNPACK_FRAME_HEAD + cases[i].at] = (char)cases[i].value;
		assert_int_equal(unpack_get_entry((const uint8_t *)frame.data + UNPACK_FRAME_HEAD,
		                                  frame.len - UNPACK_FRAME_HEAD, &entry, xattrs,
		                                  &err),
		                 -1);
	}
}

static void a_reply_survives_the_wire(void **arg)
{
	const struct unpack_reply in = {
		.err = { .code = CODE_NOT_FOUND, .sys = 2, .msg = "why" },
		.result = { .size_bytes = 1, .inodes = 2, .deferred = 3, .opaque_root = true }
	};
	cleanup(buf_release) struct buf frame = { 0 };
	struct unpack_reply out;
	struct err err = { 0 };

	(void)arg;
	buf_init(&frame, 4096);
	assert_int_equal(unpack_put_reply(&frame, &in, &err), 0);
	assert_int_equal(unpack_get_reply((const uint8_t *)frame.data + UNPACK_FRAME_HEAD,
	                                  frame.len - UNPACK_FRAME_HEAD, &out, &err),
	                 0);
	assert_int_equal(out.err.code, CODE_NOT_FOUND);
	assert_string_equal(out.err.msg, "why");
	assert_int_equal(out.result.deferred, 3);
	assert_true(out.result.opaque_root);
	assert_false(out.result.has_root);
	assert_int_equal(unpack_get_reply((const uint8_t *)frame.data, 3, &out, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_survives_the_wire),
		cmocka_unit_test(an_entry_cut_anywhere_is_refused),
		cmocka_unit_test(fields_out_of_range_are_refused),
		cmocka_unit_test(a_reply_survives_the_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
