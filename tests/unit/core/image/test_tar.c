#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/tar.h"
#include "tests/lib/tarball.h"

/* What the reader reported, one line per event. Data lines join: "data OFFSET TEXT". */
static int trace(const struct buf *tar, size_t step, struct buf *out, struct err *err)
{
	cleanup(tar_free) struct tar *reader = tar_new();
	const uint8_t *p = (const uint8_t *)tar->data;
	size_t left = tar->len, have = 0;
	enum tar_event event;

	buf_init(out, 1024 * 1024);
	for (;;) {
		const struct tar_entry *e;
		struct tar_data data;

		if (tar_next(reader, &p, &have, &event, err) < 0)
			return -1;
		switch (event) {
		case TAR_ENTRY:
			e = tar_entry(reader);
			ignore(buf_printf(
				out, "%s %s>%s %o %u:%u %u,%u t%lld.%u s%llu x%zu\n",
				tar_type_name(e->type), e->path, e->link, e->mode, e->uid, e->gid,
				e->major, e->minor, (long long)e->mtime_s, e->mtime_ns,
				(unsigned long long)e->size,
				e->nxattrs)); /* a trace that is too short fails its test */
			for (size_t i = 0; i < e->nxattrs; i++)
				ignore(buf_printf(out, " %s=%.*s\n", e->xattrs[i].name,
				                  (int)e->xattrs[i].len,
				                  (const char *)e->xattrs[i].value)); /* likewise */
			break;
		case TAR_DATA:
			data = tar_data(reader);
			for (size_t i = 0; i < data.len; i++)
				ignore(buf_printf(out, "[%llu%c]",
				                  (unsigned long long)(data.offset + i),
				                  data.p[i])); /* likewise */
			break;
		case TAR_END:
		case TAR_MORE:
			if (left == 0)
				return tar_finish(reader, err);
			have = MIN(step, left);
			left -= have;
			break;
		}
	}
}

/* The same trace whatever the size of the pieces the bytes come in. */
static void check(const struct buf *tar, const char *expected)
{
	static const size_t steps[] = { 1, 7, 511, 512, 513, 1 << 20 };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		cleanup(buf_release) struct buf out = { 0 };
		struct err err = { 0 };

		if (trace(tar, steps[i], &out, &err) < 0)
			fail_msg("step %zu: %s", steps[i], err.msg);
		assert_string_equal(or_empty(out.data), expected);
	}
}

static void refused(const struct buf *tar, const char *why)
{
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { 0 };

	if (trace(tar, 512, &out, &err) == 0)
		fail_msg("accepted: %s", or_empty(out.data));
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void plain_members_come_out_as_they_went_in(void **arg)
{
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	tarball_init(&tar);
	tarball_dir(&tar, "etc/");
	tarball_add(&tar, &(struct tarball_entry){ .name = "etc/a",
	                                           .data = "ab",
	                                           .len = 2,
	                                           .mode = 04755,
	                                           .uid = 7,
	                                           .gid = 8,
	                                           .mtime = 9 });
	tarball_add(&tar, &(struct tarball_entry){ .type = '1', .name = "h", .link = "etc/a" });
	tarball_add(&tar,
	            &(struct tarball_entry){ .type = '2', .name = "s", .link = "../x", .size = 5 });
	tarball_add(&tar,
	            &(struct tarball_entry){ .type = '3', .name = "n", .major = 1, .minor = 3 });
	tarball_add(&tar, &(struct tarball_entry){ .type = '6', .name = "f" });
	tarball_add(&tar,
	            &(struct tarball_entry){ .type = '7', .name = "c", .data = "z", .len = 1 });
	tarball_end(&tar);
	tarball_raw(&tar, "what follows is nobody's business", 33);
	check(&tar, "directory etc/> 755 0:0 0,0 t0.0 s0 x0\n"
	            "file etc/a> 4755 7:8 0,0 t9.0 s2 x0\n[0a][1b]"
	            "hard link h>etc/a 644 0:0 0,0 t0.0 s0 x0\n"
	            "symlink s>../x 644 0:0 0,0 t0.0 s0 x0\n"
	            "character device n> 644 0:0 1,3 t0.0 s0 x0\n"
	            "fifo f> 644 0:0 0,0 t0.0 s0 x0\n"
	            "file c> 644 0:0 0,0 t0.0 s1 x0\n[0z]");
}

static void pax_overrides_the_next_entry_only(void **arg)
{
	static const char *const records[] = { "path=long/name",
		                               "uid=70000000",
		                               "gid=4294967294",
		                               "mtime=-1.25",
		                               "SCHILY.xattr.user.a=v",
		                               "SCHILY.xattr.security.capability=cap",
		                               "uname=x",
		                               NULL };
	static const char *const global[] = { "path=nobody/reads/this", NULL };
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	tarball_init(&tar);
	tarball_pax(&tar, 'g', global);
	tarball_pax(&tar, 'x', records);
	tarball_file(&tar, "short", "1");
	tarball_file(&tar, "next", "2");
	tarball_end(&tar);
	check(&tar,
	      "file long/name> 644 70000000:4294967294 0,0 t-2.750000000 s1 x2\n user.a=v\n security.capability=cap\n[01]"
	      "file next> 644 0:0 0,0 t0.0 s1 x0\n[02]");
}

static void gnu_long_names_win_over_pax(void **arg)
{
	static const char *const records[] = { "path=pax", "linkpath=paxlink", NULL };
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	tarball_init(&tar);
	tarball_add(&tar,
	            &(struct tarball_entry){
			    .type = 'L', .name = "././@LongLink", .data = "gnu/name", .len = 9 });
	tarball_add(&tar,
	            &(struct tarball_entry){
			    .type = 'K', .name = "././@LongLink", .data = "gnu/link", .len = 9 });
	tarball_pax(&tar, 'x', records);
	tarball_add(&tar, &(struct tarball_entry){ .type = '2', .name = "s", .link = "t" });
	tarball_end(&tar);
	check(&tar, "symlink gnu/name>gnu/link 644 0:0 0,0 t0.0 s0 x0\n");
}

static void the_ustar_prefix_is_put_in_front(void **arg)
{
	cleanup(buf_release) struct buf tar = { 0 };
	size_t at;

	(void)arg;
	tarball_init(&tar);
	at = tarball_add(&tar, &(struct tarball_entry){ .name = "b" });
	memcpy(tar.data + at + 345, "dir/a", 5);
	tarball_checksum(&tar, at);
	check(&tar, "file dir/a/b> 644 0:0 0,0 t0.0 s0 x0\n"); /* and no end marker is needed */
}

static void base_256_numbers_are_read(void **arg)
{
	cleanup(buf_release) struct buf tar = { 0 };
	size_t at;

	(void)arg;
	tarball_init(&tar);
	at = tarball_add(&tar, &(struct tarball_entry){ .name = "b" });
	memcpy(tar.data + at + 108, "\x80\0\0\0\x7f\xff\xff\xff", 8);
	memset(tar.data + at + 136, 0xff, 12); /* -1 */
	tarball_checksum(&tar, at);
	check(&tar, "file b> 644 2147483647:0 0,0 t-1.0 s0 x0\n");
}

static void every_sparse_form_gives_the_same_file(void **arg)
{
	static const char *const pax00[] = { "GNU.sparse.size=12",
		                             "GNU.sparse.numblocks=2",
		                             "GNU.sparse.offset=2",
		                             "GNU.sparse.numbytes=2",
		                             "GNU.sparse.offset=8",
		                             "GNU.sparse.numbytes=1",
		                             NULL };
	static const char *const pax01[] = { "GNU.sparse.size=12", "GNU.sparse.numblocks=2",
		                             "GNU.sparse.name=f", "GNU.sparse.map=2,2,8,1", NULL };
	static const char *const pax10[] = { "GNU.sparse.major=1", "GNU.sparse.minor=0",
		                             "GNU.sparse.name=f", "GNU.sparse.realsize=12", NULL };
	const char *expected = "file f> 644 0:0 0,0 t0.0 s12 x0\n[2a][3b][8c]";
	cleanup(buf_release) struct buf tar = { 0 };
	char with_map[515] = "2\n2\n2\n8\n1\n";
	size_t at;

	(void)arg;
	tarball_init(&tar);
	tarball_pax(&tar, 'x', pax00);
	tarball_file(&tar, "f", "abc");
	check(&tar, expected);

	buf_clear(&tar);
	tarball_pax(&tar, 'x', pax01);
	tarball_file(&tar, "other", "abc");
	check(&tar, expected);

	buf_clear(&tar);
	memcpy(with_map + 512, "abc", 3);
	tarball_pax(&tar, 'x', pax10);
	tarball_add(&tar, &(struct tarball_entry){
				  .name = "other", .data = with_map, .len = sizeof(with_map) });
	check(&tar, expected);

	buf_clear(&tar);
	at = tarball_add(
		&tar, &(struct tarball_entry){ .type = 'S', .name = "f", .data = "abc", .len = 3 });
	memcpy(tar.data + at + 257, "ustar  ", 8);
	memset(tar.data + at + 345, 0, 155);
	memcpy(tar.data + at + 386, "00000000002\00000000000002", 24);
	memcpy(tar.data + at + 410, "00000000010\00000000000001", 24);
	memcpy(tar.data + at + 483, "00000000014", 12);
	tarball_checksum(&tar, at);
	check(&tar, expected);
}

static void sparse_maps_that_lie_are_refused(void **arg)
{
	static const char *const maps[] = {
		"GNU.sparse.map=8,1,2,2",  "GNU.sparse.map=2,2,3,1",
		"GNU.sparse.map=2,2,11,2", "GNU.sparse.map=2,2",
		"GNU.sparse.map=2,x",      "GNU.sparse.map=9223372036854775807,1"
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		const char *const records[] = { "GNU.sparse.size=12", maps[i], NULL };
		cleanup(buf_release) struct buf tar = { 0 };

		tarball_init(&tar);
		tarball_pax(&tar, 'x', records);
		tarball_file(&tar, "f", "abc");
		refused(&tar, "parse");
	}
}

static void truncation_is_noticed_wherever_it_matters(void **arg)
{
	static const char *const records[] = { "path=p", NULL };
	cleanup(buf_release) struct buf tar = { 0 };
	static const size_t cuts[] = { 100, 512 + 3, 1024, 1024 + 511, 1536 + 2 };

	(void)arg;
	tarball_init(&tar);
	tarball_pax(&tar, 'x', records);
	tarball_file(&tar, "f", "abc");
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct buf cut = tar;

		cut.len = cuts[i];
		refused(&cut, "truncated");
	}
}

static void broken_headers_are_refused_with_a_reason(void **arg)
{
	static const struct {
		size_t at;
		const char *bytes;
		size_t len;
		const char *why;
	} cases[] = {
		{ 0, "\0", 1, "without a name" },
		{ 100, "9", 1, "malformed mode" },
		{ 108, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "user id" },
		{ 116, "\x80\0\0\0\xff\xff\xff\xff", 8, "group id" },
		{ 124, "x", 1, "malformed size" },
		{ 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "malformed size" },
		{ 124, "\x80\0\0\x01\0\0\0\0\0\0\0\0", 12, "malformed size" },
		{ 136, "!", 1, "malformed time" },
		{ 156, "Q", 1, "unknown entry type" },
		{ 156, "1", 1, "link without a target" },
	};
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	tarball_init(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		buf_clear(&tar);
		tarball_file(&tar, "f", "abc");
		memcpy(tar.data + cases[i].at, cases[i].bytes, cases[i].len);
		tarball_checksum(&tar, 0);
		refused(&tar, cases[i].why);
	}
	tar.data[1] ^= 1;
	refused(&tar, "checksum");
}

static void one_zero_block_inside_the_archive_is_an_error(void **arg)
{
	static const char zero[512];
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	tarball_init(&tar);
	tarball_raw(&tar, zero, sizeof(zero));
	check(&tar, "");
	tarball_file(&tar, "f", "abc");
	refused(&tar, "zero block");
}

static void pax_headers_are_bounded_and_checked(void **arg)
{
	static const struct {
		const char *body, *why;
	} cases[] = {
		{ "3 x", "malformed" },
		{ "99 path=x\n", "malformed" },
		{ "path=x\n", "malformed" },
		{ "8 path=x\n", "malformed" },
		{ "5 x=\n7 =y\n", "malformed" },
		{ "13 mtime=1.x\n", "mtime" },
		{ "10 uid=-1\n", "uid" },
		{ "18 uid=4294967296\n", "uid" },
		{ "10 size=x\n", "size" },
		{ "31 GNU.sparse.numbytes=1000000\n", "without an offset" },
	};
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	tarball_init(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		buf_clear(&tar);
		tarball_add(&tar, &(struct tarball_entry){ .type = 'x',
		                                           .name = "pax",
		                                           .data = cases[i].body,
		                                           .len = strlen(cases[i].body) });
		tarball_file(&tar, "f", "abc");
		refused(&tar, cases[i].why);
	}
	buf_clear(&tar);
	tarball_add(&tar, &(struct tarball_entry){
				  .type = 'x', .name = "pax", .size = TAR_META_MAX + 1 });
	refused(&tar, "larger than");
}

static void paths_and_xattrs_have_limits(void **arg)
{
	cleanup_free char *path = xcalloc(1, TAR_PATH_MAX + 16);
	const char *records[TAR_XATTRS_MAX + 2] = { path };
	cleanup(buf_release) struct buf tar = { 0 };

	(void)arg;
	memcpy(path, "path=", 5);
	memset(path + 5, 'a', TAR_PATH_MAX + 1);
	tarball_init(&tar);
	tarball_pax(&tar, 'x', records);
	tarball_file(&tar, "f", "");
	refused(&tar, "longer than");

	buf_clear(&tar);
	for (size_t i = 0; i <= TAR_XATTRS_MAX; i++)
		records[i] = "SCHILY.xattr.user.a=1";
	tarball_pax(&tar, 'x', records);
	tarball_file(&tar, "f", "");
	refused(&tar, "more than");
}

static void clean_paths_never_climb(void **arg)
{
	static const struct {
		const char *path, *clean;
	} cases[] = {
		{ "a/b", "a/b" },  { "/a//b/", "a/b" },  { "./a/./b/.", "a/b" },
		{ "a/../b", "b" }, { "../../a", "a" },   { "..", "" },
		{ "/", "" },       { "", "" },           { "a/b/../../..", "" },
		{ "...", "..." },  { "a/..b", "a/..b" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_free char *clean = tar_clean_path(cases[i].path);

		assert_string_equal(clean, cases[i].clean);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_members_come_out_as_they_went_in),
		cmocka_unit_test(pax_overrides_the_next_entry_only),
		cmocka_unit_test(gnu_long_names_win_over_pax),
		cmocka_unit_test(the_ustar_prefix_is_put_in_front),
		cmocka_unit_test(base_256_numbers_are_read),
		cmocka_unit_test(every_sparse_form_gives_the_same_file),
		cmocka_unit_test(sparse_maps_that_lie_are_refused),
		cmocka_unit_test(truncation_is_noticed_wherever_it_matters),
		cmocka_unit_test(broken_headers_are_refused_with_a_reason),
		cmocka_unit_test(one_zero_block_inside_the_archive_is_an_error),
		cmocka_unit_test(pax_headers_are_bounded_and_checked),
		cmocka_unit_test(paths_and_xattrs_have_limits),
		cmocka_unit_test(clean_paths_never_climb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
