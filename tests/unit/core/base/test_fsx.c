#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* link-wrap: fsync renameat */

int __real_fsync(int fd);
int __real_renameat(int olddir, const char *old, int newdir, const char *new_path);

struct fixture {
	char dir[64];
	int dirfd;
};

/* What happened in order: "f" fsync of a file, "d" of a directory, "r" rename. The wrapped call
 * number fail_at fails. */
static struct {
	char order[32];
	int calls, fail_at;
} durable;

static int note(char what)
{
	size_t len = strlen(durable.order);

	if (len + 1 < sizeof(durable.order)) {
		durable.order[len] = what;
		durable.order[len + 1] = '\0';
	}
	if (++durable.calls == durable.fail_at) {
		errno = EIO;
		return -1;
	}
	return 0;
}

int __wrap_fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return note(S_ISDIR(st.st_mode) ? 'd' : 'f') < 0 ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int olddir, const char *old, int newdir, const char *new_path)
{
	return note('r') < 0 ? -1 : __real_renameat(olddir, old, newdir, new_path);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	memset(&durable, 0, sizeof(durable));
	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-fsx-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dirfd >= 0);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	close(f->dirfd);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	assert_false(fsx_exists(f->dir));
	free(f);
	return 0;
}

static void put(struct fixture *f, const char *name, const char *text)
{
	assert_int_equal(fsx_write(f->dirfd, name, text, strlen(text), 0600), 0);
}

static void missing_directories_are_made_and_present_ones_are_fine(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *deep = xasprintf("%s//a/b///c/", f->dir);
	cleanup_free char *file = xasprintf("%s/file", f->dir);
	cleanup_free char *below = xasprintf("%s/file/x", f->dir);
	cleanup_free char *link = xasprintf("%s/link", f->dir);
	cleanup_free char *through = xasprintf("%s/link/d", f->dir);

	assert_int_equal(fsx_mkdir_p(deep, 0755), 0);
	assert_true(fsx_is_dir(deep));
	assert_int_equal(fsx_mkdir_p(deep, 0755), 0);
	assert_int_equal(fsx_mkdir_p("/", 0755), 0);
	put(f, "file", "");
	assert_int_equal(fsx_mkdir_p(file, 0755), -ENOTDIR);
	assert_int_equal(fsx_mkdir_p(below, 0755), -ENOTDIR);
	assert_int_equal(fsx_mkdir_p("", 0755), -ENOENT);
	assert_int_equal(symlink("a/b", link), 0); /* /var/run is one */
	assert_int_equal(fsx_mkdir_p(through, 0755), 0);
	assert_false(fsx_is_dir(file));
	assert_true(fsx_exists(file));
}

static void reading_is_bounded_and_terminated(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *text = NULL;
	cleanup_free char *status = NULL;
	cleanup_free char *nothing = NULL;
	size_t len;

	put(f, "ten", "0123456789");
	assert_int_equal(fsx_read(f->dirfd, "ten", 10, &text, &len), 0);
	assert_int_equal(len, 10);
	assert_string_equal(text, "0123456789");
	assert_int_equal(fsx_read(f->dirfd, "ten", 9, &text, &len), -EFBIG);
	assert_int_equal(fsx_read(f->dirfd, "ten", 0, &text, &len), -EFBIG);
	assert_int_equal(fsx_read(f->dirfd, "absent", 10, &text, &len), -ENOENT);
	assert_string_equal(text, "0123456789"); /* untouched by failures */

	/* proc files claim to be empty */
	assert_int_equal(fsx_read(AT_FDCWD, "/proc/self/status", 65536, &status, &len), 0);
	assert_true(len > 100 && starts_with(status, "Name:"));
	assert_int_equal(fsx_read(AT_FDCWD, "/proc/self/status", 20, &status, &len), -EFBIG);
	assert_int_equal(fsx_read(AT_FDCWD, "/dev/null", 100, &nothing, NULL), 0);
	assert_string_equal(nothing, "");
}

static void large_files_are_read_whole(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *out = xcalloc(1, 1000001);
	cleanup_free char *in = NULL;
	size_t len;

	for (size_t i = 0; i < 1000000; i++)
		out[i] = (char)('a' + i % 23);
	put(f, "big", out);
	assert_int_equal(fsx_read(f->dirfd, "big", 1000000, &in, &len), 0);
	assert_int_equal(len, 1000000);
	assert_string_equal(in, out);
}

static void what_is_no_file_is_refused_without_waiting(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *fifo = xasprintf("%s/fifo", f->dir);
	struct err err = { .code = CODE_OK };
	char *text = NULL;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(fsx_read(f->dirfd, "fifo", 100, &text, NULL), -EINVAL);
	assert_int_equal(fsx_read(AT_FDCWD, f->dir, 100, &text, NULL), -EISDIR);
	assert_int_equal(file_read_all(fifo, 100, &text, NULL, &err), -1);
	assert_non_null(strstr(err.msg, fifo));
	assert_null(text);
}

static void errors_above_base_name_the_path(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/file", f->dir);
	cleanup_free char *text = NULL;
	struct err err = { .code = CODE_OK };

	assert_int_equal(file_read_all(path, 10, &text, NULL, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_non_null(strstr(err.msg, path));
	put(f, "file", "0123456789a");
	assert_int_equal(file_read_all(path, 10, &text, NULL, &err), -1);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.msg, "larger than 10 bytes"));
	assert_int_equal(file_read_all(path, 11, &text, NULL, &err), 0);
	assert_string_equal(text, "0123456789a");
}

static void a_replaced_file_is_durable_before_it_is_visible(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *text = NULL;
	cleanup(strv_free) char **names = NULL;
	struct stat st;
	mode_t before = umask(077);

	put(f, "conf", "old");
	durable.order[0] = '\0';
	assert_int_equal(fsx_replace(f->dirfd, "conf", "new", 3, 0644), 0);
	umask(before);
	assert_string_equal(durable.order, "frd");
	assert_int_equal(fsx_read(f->dirfd, "conf", 10, &text, NULL), 0);
	assert_string_equal(text, "new");
	assert_int_equal(fstatat(f->dirfd, "conf", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fsx_list(f->dirfd, ".", &names), 0);
	assert_int_equal(strv_len(names), 1);
}

static void a_failed_replacement_leaves_the_old_file_and_no_litter(void **arg)
{
	struct fixture *f = *arg;

	for (int fail_at = 1; fail_at <= 2; fail_at++) { /* fsync of the file, rename */
		cleanup_free char *text = NULL;
		cleanup(strv_free) char **names = NULL;

		put(f, "conf", "old");
		durable.calls = 0;
		durable.fail_at = fail_at;
		assert_int_equal(fsx_replace(f->dirfd, "conf", "new", 3, 0644), -EIO);
		durable.fail_at = 0;
		assert_int_equal(fsx_read(f->dirfd, "conf", 10, &text, NULL), 0);
		assert_string_equal(text, "old");
		assert_int_equal(fsx_list(f->dirfd, ".", &names), 0);
		assert_int_equal(strv_len(names), 1);
	}
	assert_int_equal(fsx_replace(f->dirfd, "nowhere/conf", "x", 1, 0644), -ENOENT);
	assert_int_equal(fsx_replace(f->dirfd, "..", "x", 1, 0644), -EINVAL);
	assert_int_equal(fsx_replace(f->dirfd, "", "x", 1, 0644), -EINVAL);
}

static void plain_writing_syncs_nothing_and_takes_names_of_any_length(void **arg)
{
	struct fixture *f = *arg;
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	put(f, name, "x");
	assert_string_equal(durable.order, "r");
	assert_int_equal(fsx_fsync_dir(f->dir), 0);
	assert_int_equal(fsx_fsync_dirfd(f->dirfd), 0);
	assert_string_equal(durable.order, "rdd");
	assert_int_equal(fsx_fsync_dir("/nonexistent"), -ENOENT);
}

static void names_come_sorted_by_bytes(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **names = NULL;
	cleanup(strv_free) char **none = NULL;

	put(f, "b", "");
	put(f, "B", "");
	put(f, "10", "");
	put(f, "9", "");
	put(f, ".hidden", "");
	assert_int_equal(fsx_list(AT_FDCWD, f->dir, &names), 0);
	assert_int_equal(strv_len(names), 5);
	assert_string_equal(names[0], ".hidden");
	assert_string_equal(names[1], "10");
	assert_string_equal(names[2], "9");
	assert_string_equal(names[3], "B");
	assert_string_equal(names[4], "b");
	assert_int_equal(fsx_list(f->dirfd, "absent", &none), -ENOENT);
	assert_null(none);
}

static void a_tree_goes_with_everything_in_it_but_what_its_links_point_to(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *outside = xasprintf("%s/outside", f->dir);
	cleanup_free char *deep = xasprintf("%s/tree/a/b/c", f->dir);
	cleanup_free char *empty = xasprintf("%s/tree/empty", f->dir);
	cleanup_free char *fifo = xasprintf("%s/tree/a/fifo", f->dir);

	assert_int_equal(fsx_mkdir_p(deep, 0755), 0);
	assert_int_equal(fsx_mkdir_p(empty, 0755), 0);
	assert_int_equal(fsx_mkdir_p(outside, 0755), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	put(f, "outside/precious", "x");
	put(f, "tree/a/b/file", "x");
	assert_int_equal(symlinkat("../../outside", f->dirfd, "tree/a/link"), 0);
	assert_int_equal(symlinkat("nowhere", f->dirfd, "tree/dangling"), 0);
	assert_int_equal(fchmodat(f->dirfd, "tree/a/b", 0, 0), 0);

	assert_int_equal(fsx_remove_tree(f->dirfd, "tree/"), 0);
	assert_int_equal(faccessat(f->dirfd, "tree", F_OK, 0), -1);
	assert_int_equal(faccessat(f->dirfd, "outside/precious", F_OK, 0), 0);
	assert_int_equal(fsx_remove_tree(f->dirfd, "tree"), 0); /* missing is fine */
	assert_int_equal(fsx_remove_tree(f->dirfd, "no/such/dir"), 0);

	/* a link itself, and a file */
	assert_int_equal(symlinkat("outside", f->dirfd, "link"), 0);
	assert_int_equal(fsx_remove_tree(f->dirfd, "link"), 0);
	assert_int_equal(faccessat(f->dirfd, "link", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(fsx_remove_tree(f->dirfd, "outside/precious"), 0);
	assert_int_equal(faccessat(f->dirfd, "outside", F_OK, 0), 0);
	assert_int_equal(fsx_remove_tree(f->dirfd, "."), -EINVAL);
	assert_int_equal(fsx_remove_tree(f->dirfd, "outside/.."), -EINVAL);
	assert_int_equal(fsx_remove_tree(f->dirfd, "/"), -EINVAL);
}

/* In a child without root's powers, which ignore modes: 0 fine, 77 not allowed here, else what was
 * wrong. */
static int locked_directories_go(void)
{
	char dir[] = "/tmp/test-fsx-XXXXXX";
	cleanup_free char *inner = NULL;
	cleanup_free char *file = NULL;

	if (geteuid() == 0 && (setegid(65534) < 0 || seteuid(65534) < 0))
		return 77;
	if (!mkdtemp(dir))
		return 1;
	inner = xasprintf("%s/a/b", dir);
	file = xasprintf("%s/file", inner);
	if (fsx_mkdir_p(inner, 0700) < 0 || fsx_write(AT_FDCWD, file, "x", 1, 0600) < 0)
		return 2;
	if (chmod(inner, 0500) < 0 || chmod(dirname(inner), 0) < 0)
		return 3;
	return fsx_remove_tree(AT_FDCWD, dir) == 0 && !fsx_exists(dir) ? 0 : 4;
}

static void an_owner_gets_through_directories_it_locked(void **arg)
{
	int status;
	pid_t pid = fork();

	(void)arg;
	if (pid == 0)
		_exit(locked_directories_go());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Far beyond PATH_MAX and the number of descriptors, made as a hostile container could make it. */
static void depth_costs_neither_descriptors_nor_path_length(void **arg)
{
	enum { DEPTH = 3000 };
	struct rlimit before, few;
	struct fixture *f = *arg;
	int at = dup(f->dirfd);

	for (int i = 0; i < DEPTH; i++) {
		int next;

		assert_int_equal(mkdirat(at, "dir", 0755), 0);
		next = openat(at, "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ .rlim_cur = 16, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(fsx_remove_tree(f->dirfd, "dir"), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(faccessat(f->dirfd, "dir", F_OK, 0), -1);
}

static void many_names_in_one_directory_all_go(void **arg)
{
	struct fixture *f = *arg;
	char name[64];

	assert_int_equal(mkdirat(f->dirfd, "wide", 0755), 0);
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "wide/%04d-with-a-name-of-some-length", i);
		if (i % 3) {
			assert_int_equal(mknodat(f->dirfd, name, S_IFREG | 0600, 0), 0);
			continue;
		}
		assert_int_equal(mkdirat(f->dirfd, name, 0755), 0);
		snprintf(name, sizeof(name), "wide/%04d-with-a-name-of-some-length/x", i);
		assert_int_equal(mknodat(f->dirfd, name, S_IFREG | 0600, 0), 0);
	}
	assert_int_equal(fsx_remove_tree(f->dirfd, "wide"), 0);
	assert_int_equal(faccessat(f->dirfd, "wide", F_OK, 0), -1);
}

/* In a child of its own mount namespace: 0 fine, 77 not allowed here, else the wrong line. */
static int mounts_are_left_alone(const struct fixture *f, bool at_the_top)
{
	cleanup_free char *tree = xasprintf("%s/tree", f->dir);
	cleanup_free char *source = xasprintf("%s/source", f->dir);
	cleanup_free char *target = xasprintf("%s/tree/%s", f->dir, at_the_top ? "" : "sub/target");

	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return 77;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	/* same file system: st_dev would not tell */
	if (mount(source, target, NULL, MS_BIND, NULL) < 0)
		return 77;
	/* by path: f->dirfd belongs to the mounts we left */
	if (fsx_remove_tree(AT_FDCWD, tree) != -EBUSY)
		return __LINE__ & 0x7f;
	if (faccessat(f->dirfd, "source/precious", F_OK, 0) < 0)
		return (__LINE__ & 0x7f) | 0x80;
	return 0;
}

static void run_mounts(struct fixture *f, bool at_the_top)
{
	cleanup_free char *dir = xasprintf("%s/tree/sub/target", f->dir);
	int status;
	pid_t pid;

	assert_int_equal(fsx_mkdir_p(dir, 0755), 0);
	assert_int_equal(mkdirat(f->dirfd, "source", 0755), 0);
	put(f, "source/precious", "x");
	pid = fork();
	if (pid == 0)
		_exit(mounts_are_left_alone(f, at_the_top));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_mount_inside_the_tree_stops_the_removal(void **arg)
{
	run_mounts(*arg, false);
}

static void a_tree_that_is_a_mount_itself_is_not_emptied(void **arg)
{
	run_mounts(*arg, true);
}

int main(void)
{
#define FS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		FS_TEST(missing_directories_are_made_and_present_ones_are_fine),
		FS_TEST(reading_is_bounded_and_terminated),
		FS_TEST(large_files_are_read_whole),
		FS_TEST(what_is_no_file_is_refused_without_waiting),
		FS_TEST(errors_above_base_name_the_path),
		FS_TEST(a_replaced_file_is_durable_before_it_is_visible),
		FS_TEST(a_failed_replacement_leaves_the_old_file_and_no_litter),
		FS_TEST(plain_writing_syncs_nothing_and_takes_names_of_any_length),
		FS_TEST(names_come_sorted_by_bytes),
		FS_TEST(a_tree_goes_with_everything_in_it_but_what_its_links_point_to),
		FS_TEST(an_owner_gets_through_directories_it_locked),
		FS_TEST(depth_costs_neither_descriptors_nor_path_length),
		FS_TEST(many_names_in_one_directory_all_go),
		FS_TEST(a_mount_inside_the_tree_stops_the_removal),
		FS_TEST(a_tree_that_is_a_mount_itself_is_not_emptied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
