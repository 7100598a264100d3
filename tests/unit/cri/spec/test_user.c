/* Who a process runs as: every form of a user over the texts of passwd and group, and the files they come from. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "cri/spec/user.h"

static const char passwd_text[] = "root:x:0:0:root:/root:/bin/sh\n"
				  "# comment:x:1:1::/:\n"
				  "\n"
				  "nobody\n"
				  "bad:x:minus:3::/:\n"
				  "huge:x:4294967296:1::/:\n"
				  "  web:x:1000:1001:Web,Server:/srv:/bin/sh\r\n"
				  "web:x:2000:2001:a second one:/:\n"
				  "last:x:7:8:no line end:/:";
static const char group_text[] = "root:x:0:\n"
				 "web:x:1001:\n"
				 "audio:x:50000:other,web\n"
				 "video:x:44:web\n"
				 "short:x:55\n"
				 "broken:x:nan:web\n"
				 "webs:x:66:webs,xweb\n"
				 "self:x:1001:web\n";

static struct str text_of(const char *text)
{
	return (struct str){ text, strlen(text) };
}

static int resolve(const char *wanted, struct user *user, struct err *err)
{
	return user_resolve(text_of(passwd_text), text_of(group_text), wanted, user, err);
}

static void every_form_of_a_user_is_resolved(void **arg)
{
	static const struct {
		const char *wanted;
		uint32_t uid, gid;
		const char *name; /* "": none */
	} table[] = {
		{ "", 0, 0, "root" },
		{ "0", 0, 0, "root" },
		{ "root", 0, 0, "root" },
		{ "web", 1000, 1001, "web" },
		{ "1000", 1000, 1001, "web" },
		{ "last", 7, 8, "last" },
		{ "31337", 31337, 0, "" },
		{ "2147483647", 2147483647, 0, "" },
		{ "31337:4711", 31337, 4711, "" },
		{ "1000:0", 1000, 0, "web" },
		{ "web:audio", 1000, 50000, "web" },
		{ "1000:short", 1000, 55, "web" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup(user_release) struct user user = { 0 };
		struct err err;

		if (resolve(table[i].wanted, &user, &err) < 0)
			fail_msg("%s: %s", table[i].wanted, err.msg);
		assert_int_equal(user.uid, table[i].uid);
		assert_int_equal(user.gid, table[i].gid);
		assert_string_equal(or_empty(user.name), table[i].name);
	}
}

static void what_is_no_user_is_refused_by_name(void **arg)
{
	static const struct {
		const char *wanted;
		enum code code;
		const char *says;
	} table[] = {
		{ "nobody", CODE_NOT_FOUND, "user \"nobody\" is not in" },
		{ "bad", CODE_NOT_FOUND, "user \"bad\"" },
		{ "# comment", CODE_NOT_FOUND, "user \"# comment\"" },
		{ "web:staff", CODE_NOT_FOUND, "group \"staff\" is not in" },
		{ "web:broken", CODE_NOT_FOUND, "group \"broken\"" },
		{ "a:b:c", CODE_INVALID_ARGUMENT, "more than one colon" },
		{ ":1", CODE_INVALID_ARGUMENT, "lacks a user" },
		{ "1:", CODE_INVALID_ARGUMENT, "lacks a user or a group" },
		{ "-1", CODE_INVALID_ARGUMENT, "user -1 is not 0..2147483647" },
		{ "2147483648", CODE_INVALID_ARGUMENT, "user 2147483648" },
		{ "99999999999999999999", CODE_INVALID_ARGUMENT, "user 99999999999999999999" },
		{ "0:2147483648", CODE_INVALID_ARGUMENT, "group 2147483648" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct user user = { 0 };
		struct err err = { 0 };

		assert_int_equal(resolve(table[i].wanted, &user, &err), -1);
		assert_int_equal(err.code, table[i].code);
		if (!strstr(err.msg, table[i].says))
			fail_msg("%s: %s", table[i].wanted, err.msg);
		assert_null(user.name);
	}
}

static void assert_groups(const struct user *user, const uint32_t *groups, size_t count)
{
	assert_int_equal(user->ngroups, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(user->groups[i], groups[i]);
}

static void merged_groups_are_those_of_the_name_and_of_the_request_sorted_once(void **arg)
{
	cleanup(user_release) struct user user = { 0 };
	static const int64_t extra[] = { 4242, 44, 4242 };
	struct err err;

	(void)arg;
	assert_int_equal(resolve("1000", &user, &err), 0);
	assert_int_equal(user_add_groups(&user, text_of(group_text), true, extra, 3, &err), 0);
	assert_groups(&user, (const uint32_t[]){ 44, 1001, 4242, 50000 }, 4);
}

static void strict_groups_ignore_the_image(void **arg)
{
	cleanup(user_release) struct user user = { 0 };
	static const int64_t extra[] = { 9 };
	struct err err;

	(void)arg;
	assert_int_equal(resolve("web", &user, &err), 0);
	assert_int_equal(user_add_groups(&user, text_of(group_text), false, extra, 1, &err), 0);
	assert_groups(&user, (const uint32_t[]){ 9, 1001 }, 2);
}

static void a_number_that_nobody_has_gets_no_groups_of_the_image(void **arg)
{
	cleanup(user_release) struct user user = { 0 };
	struct err err;

	(void)arg;
	assert_int_equal(resolve("31337", &user, &err), 0);
	assert_int_equal(user_add_groups(&user, text_of("all:x:5:,,31337\n"), true, NULL, 0, &err),
	                 0);
	assert_groups(&user, (const uint32_t[]){ 0 }, 1);
}

static void groups_are_in_range_and_not_too_many(void **arg)
{
	cleanup(user_release) struct user user = { 0 };
	static const int64_t bad[] = { 1, -1 };
	cleanup_free char *many = xcalloc(USER_GROUPS_MAX, 24);
	struct err err;
	size_t len = 0;

	(void)arg;
	assert_int_equal(resolve("web", &user, &err), 0);
	assert_int_equal(user_add_groups(&user, text_of(""), true, bad, 2, &err), -1);
	assert_non_null(strstr(err.msg, "group -1"));
	for (int i = 0; i < USER_GROUPS_MAX + 1; i++)
		len += (size_t)sprintf(many + len, "g:x:%d:web\n", i + 100000);
	assert_int_equal(user_add_groups(&user, (struct str){ many, len }, true, NULL, 0, &err),
	                 -1);
	assert_true(err_is(&err, CODE_RESOURCE_EXHAUSTED));
}

/* --- files */

struct tree {
	char dir[64];
};

static int setup(void **arg)
{
	struct tree *t = xcalloc(1, sizeof(*t));
	cleanup_free char *etc = NULL;

	assert_int_equal(str_copy(t->dir, sizeof(t->dir), "/tmp/test-user-XXXXXX"), 0);
	assert_non_null(mkdtemp(t->dir));
	etc = xasprintf("%s/root/etc", t->dir);
	assert_int_equal(fsx_mkdir_p(etc, 0755), 0);
	*arg = t;
	return 0;
}

static int teardown(void **arg)
{
	struct tree *t = *arg;

	assert_int_equal(fsx_remove_tree(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}

static void put(struct tree *t, const char *path, const char *text)
{
	cleanup_free char *full = xasprintf("%s/%s", t->dir, path);

	assert_int_equal(fsx_write(AT_FDCWD, full, text, strlen(text), 0644), 0);
}

static void put_link(struct tree *t, const char *target, const char *path)
{
	cleanup_free char *full = xasprintf("%s/%s", t->dir, path);

	assert_int_equal(symlink(target, full), 0);
}

static int read_passwd(struct tree *t, char **ret, size_t *ret_len, struct err *err)
{
	cleanup_free char *root = xasprintf("%s/root", t->dir);

	return user_read_file(root, "etc/passwd", ret, ret_len, err);
}

static void assert_reads(struct tree *t, const char *expected)
{
	cleanup_free char *text = NULL;
	struct err err;
	size_t len;

	if (read_passwd(t, &text, &len, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(len, strlen(expected));
	assert_string_equal(text, expected);
}

static void a_file_is_read_and_a_missing_one_is_empty(void **arg)
{
	struct tree *t = *arg;

	assert_reads(t, "");
	put(t, "root/etc/passwd", "root:x:0:0");
	assert_reads(t, "root:x:0:0");
}

static void a_symlink_ends_inside_of_the_root(void **arg)
{
	struct tree *t = *arg;

	put(t, "outside", "secret");
	put(t, "root/inside", "inside");
	put_link(t, "../../../../../../inside", "root/etc/passwd");
	assert_reads(t, "inside");
}

static void a_symlink_cannot_name_a_file_of_the_host(void **arg)
{
	struct tree *t = *arg;
	cleanup_free char *outside = xasprintf("%s/outside", t->dir);

	put(t, "outside", "secret");
	put_link(t, outside, "root/etc/passwd");
	assert_reads(t, "");
}

static void a_loop_of_symlinks_is_a_missing_file(void **arg)
{
	put_link(*arg, "passwd", "root/etc/passwd");
	assert_reads(*arg, "");
}

static void a_fifo_is_refused_without_waiting(void **arg)
{
	struct tree *t = *arg;
	cleanup_free char *path = xasprintf("%s/root/etc/passwd", t->dir);
	char *text = NULL;
	struct err err;
	size_t len;

	assert_int_equal(mkfifo(path, 0644), 0);
	assert_int_equal(read_passwd(t, &text, &len, &err), -1);
	assert_true(err_is(&err, CODE_INVALID_ARGUMENT));
	assert_non_null(strstr(err.msg, "etc/passwd of the image is not a regular file"));
}

static void a_huge_file_is_refused_unread(void **arg)
{
	struct tree *t = *arg;
	cleanup_free char *path = xasprintf("%s/root/etc/passwd", t->dir);
	char *text = NULL;
	struct err err;
	size_t len;

	put(t, "root/etc/passwd", "");
	assert_int_equal(truncate(path, USER_FILE_BYTES + 1), 0);
	assert_int_equal(read_passwd(t, &text, &len, &err), -1);
	assert_true(err_is(&err, CODE_RESOURCE_EXHAUSTED));
}

#define TREE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_of_a_user_is_resolved),
		cmocka_unit_test(what_is_no_user_is_refused_by_name),
		cmocka_unit_test(
			merged_groups_are_those_of_the_name_and_of_the_request_sorted_once),
		cmocka_unit_test(strict_groups_ignore_the_image),
		cmocka_unit_test(a_number_that_nobody_has_gets_no_groups_of_the_image),
		cmocka_unit_test(groups_are_in_range_and_not_too_many),
		TREE_TEST(a_file_is_read_and_a_missing_one_is_empty),
		TREE_TEST(a_symlink_ends_inside_of_the_root),
		TREE_TEST(a_symlink_cannot_name_a_file_of_the_host),
		TREE_TEST(a_loop_of_symlinks_is_a_missing_file),
		TREE_TEST(a_fifo_is_refused_without_waiting),
		TREE_TEST(a_huge_file_is_refused_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
