#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/str.h"
#include "core/image/tree.h"
#include "core/image/usage.h"

static int make_home(char dir[64])
{
	memcpy(dir, "/tmp/coracle-tree-XXXXXX", 25);
	assert_non_null(mkdtemp(dir));
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void make_file(int dir, const char *name, size_t len)
{
	static const char block[4096];
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, block, len), len);
	close(fd);
}

/* @levels directories inside each other, and a file at the bottom. */
static void make_deep(int home, size_t levels)
{
	int dir = fcntl(home, F_DUPFD_CLOEXEC, 0);

	for (size_t i = 0; i < levels; i++) {
		int next;

		assert_int_equal(mkdirat(dir, "deep", 0700), 0);
		next = openat(dir, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(dir);
		dir = next;
	}
	make_file(dir, "bottom", 1);
	close(dir);
}

static void a_tree_goes_whatever_its_depth_and_width(void **arg)
{
	char dir[64], name[32];
	int home = make_home(dir), tree;

	(void)arg;
	assert_int_equal(mkdirat(home, "tree", 0700), 0);
	tree = openat(home, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_deep(tree, 2500); /* deeper than the walk's own levels, and than PATH_MAX */
	for (int i = 0; i < 300; i++) {
		ignore(str_format(name, sizeof(name), "file-%d", i)); /* fits */
		make_file(tree, name, 0);
	}
	close(tree);
	assert_int_equal(tree_remove(home, "tree"), 0);
	assert_int_equal(faccessat(home, "tree", F_OK, 0), -1);
	assert_int_equal(tree_remove(home, "tree"), 0); /* gone already */
	close(home);
	assert_int_equal(rmdir(dir), 0);
}

static void symlinks_are_removed_not_followed(void **arg)
{
	char dir[64];
	int home = make_home(dir), tree;

	(void)arg;
	assert_int_equal(mkdirat(home, "kept", 0700), 0);
	assert_int_equal(mkdirat(home, "tree", 0700), 0);
	tree = openat(home, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(symlinkat("../kept", tree, "link"), 0);
	assert_int_equal(tree_empty(tree), 0);
	close(tree);
	assert_int_equal(tree_remove(home, "tree"), 0);
	assert_int_equal(faccessat(home, "kept", F_OK, 0), 0);
	assert_int_equal(tree_remove(home, "kept"), 0);
	close(home);
	assert_int_equal(rmdir(dir), 0);
}

static void usage_counts_each_inode_once(void **arg)
{
	struct usage before, after;
	char dir[64];
	int home = make_home(dir);

	(void)arg;
	make_file(home, "a", 4096);
	assert_int_equal(usage_walk(home, ".", &before), 0);
	assert_int_equal(before.inodes, 2);
	assert_int_equal(linkat(home, "a", home, "b", 0), 0);
	assert_int_equal(linkat(home, "a", home, "c", 0), 0);
	assert_int_equal(usage_walk(home, ".", &after), 0);
	assert_int_equal(after.inodes, 2);
	assert_in_range(after.bytes, before.bytes - 3, before.bytes);
	make_deep(home, 100);
	assert_int_equal(usage_walk(home, ".", &after), 0);
	assert_int_equal(after.inodes, 103);
	assert_int_equal(usage_walk(home, "missing", &after), -ENOENT);
	assert_int_equal(tree_empty(home), 0);
	close(home);
	assert_int_equal(rmdir(dir), 0);
}

static void what_the_walker_prints_is_read_back(void **arg)
{
	struct usage usage;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(usage_parse("12 3\n", 5, &usage, &err), 0);
	assert_int_equal(usage.bytes, 12);
	assert_int_equal(usage.inodes, 3);
	assert_int_equal(usage_parse("12 3", 4, &usage, &err), -1);
	assert_int_equal(usage_parse("12\n", 3, &usage, &err), -1);
	assert_int_equal(usage_parse("-1 3\n", 5, &usage, &err), -1);
	assert_int_equal(usage_parse("", 0, &usage, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tree_goes_whatever_its_depth_and_width),
		cmocka_unit_test(symlinks_are_removed_not_followed),
		cmocka_unit_test(usage_counts_each_inode_once),
		cmocka_unit_test(what_the_walker_prints_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
