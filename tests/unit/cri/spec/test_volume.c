/* The start of a volume that an image declares. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/volume.h"

struct fixture {
	char dir[64], rootfs[128], container[128];
	char *volume;
	struct err err;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	umask(022);
	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-volume-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(str_format(f->rootfs, sizeof(f->rootfs), "%s/rootfs", f->dir), 0);
	assert_int_equal(str_format(f->container, sizeof(f->container), "%s/container", f->dir), 0);
	assert_int_equal(fsx_mkdir_p(f->rootfs, 0755), 0);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f->volume);
	free(f);
	return 0;
}

static char *in_image(const struct fixture *f, const char *path)
{
	return xasprintf("%s/%s", f->rootfs, path);
}

static void put(struct fixture *f, const char *path, const char *text, mode_t mode)
{
	cleanup_free char *full = in_image(f, path);
	cleanup_free char *parent = xstrdup(full);

	*strrchr(parent, '/') = '\0';
	assert_int_equal(fsx_mkdir_p(parent, 0755), 0);
	assert_int_equal(fsx_write(AT_FDCWD, full, text, strlen(text), mode), 0);
	assert_int_equal(chmod(full, mode), 0);
}

static void put_link(struct fixture *f, const char *target, const char *path)
{
	cleanup_free char *full = in_image(f, path);

	assert_int_equal(symlink(target, full), 0);
}

static int prepare(struct fixture *f, const char *path)
{
	free(f->volume);
	f->volume = NULL;
	return volume_prepare(&(struct volume_args){ .container_dir = f->container,
	                                             .rootfs = f->rootfs,
	                                             .path = path,
	                                             .uid = getuid(),
	                                             .gid = getgid() },
	                      &f->volume, &f->err);
}

#define assert_prepares(f, path)                                                                   \
	do {                                                                                       \
		if (prepare(f, path) < 0)                                                          \
			fail_msg("%s", (f)->err.msg);                                              \
	} while (0)

static struct stat facts(const struct fixture *f, const char *path)
{
	cleanup_free char *full = xasprintf("%s/%s", f->volume, path);
	struct stat st;

	if (lstat(full, &st) < 0)
		fail_msg("%s is missing", full);
	return st;
}

static void assert_text(const struct fixture *f, const char *path, const char *expected)
{
	cleanup_free char *full = xasprintf("%s/%s", f->volume, path);
	cleanup_free char *text = NULL;

	assert_true(fsx_read(AT_FDCWD, full, 4096, &text, NULL) >= 0);
	assert_string_equal(text, expected);
}

static size_t entries(const struct fixture *f)
{
	cleanup(strv_free) char **names = NULL;

	assert_int_equal(fsx_list(AT_FDCWD, f->volume, &names), 0);
	return strv_len(names);
}

static void a_place_the_image_does_not_have_is_an_empty_directory(void **arg)
{
	struct fixture *f = *arg;

	assert_prepares(f, "/data");
	assert_true(starts_with(f->volume, f->container));
	assert_int_equal(entries(f), 0);
	assert_int_equal(facts(f, ".").st_mode & 07777, 0755);
}

static void a_file_in_its_place_is_no_content(void **arg)
{
	struct fixture *f = *arg;

	put(f, "data", "a file", 0644);
	assert_prepares(f, "/data");
	assert_int_equal(entries(f), 0);
}

static void the_content_is_copied_with_modes_times_and_kinds(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *data = in_image(f, "data");
	cleanup_free char *fifo = in_image(f, "data/fifo");
	cleanup_free char *file = in_image(f, "data/sub/file");
	const struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };

	put(f, "data/sub/file", "text", 04751);
	put_link(f, "/etc/passwd", "data/link");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
	assert_int_equal(chmod(data, 01777), 0);
	assert_int_equal(utimensat(AT_FDCWD, data, times, 0), 0);
	assert_prepares(f, "/data");
	assert_text(f, "sub/file", "text");
	assert_int_equal(facts(f, "sub/file").st_mode & 07777, 04751);
	assert_int_equal(facts(f, "sub/file").st_mtim.tv_sec, 2000);
	assert_int_equal(facts(f, "sub/file").st_mtim.tv_nsec, 7);
	assert_int_equal(facts(f, "fifo").st_mode, S_IFIFO | 0600);
	assert_true(S_ISLNK(facts(f, "link").st_mode));
	assert_int_equal(facts(f, ".").st_mode & 07777, 01777);
	assert_int_equal(facts(f, ".").st_mtim.tv_sec, 2000);
	assert_int_equal(entries(f), 3);
}

static void names_of_one_file_stay_one_file(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *first = in_image(f, "data/a"), *second = in_image(f, "data/sub/b");

	put(f, "data/a", "one", 0644);
	put(f, "data/sub/c", "other", 0644);
	assert_int_equal(link(first, second), 0);
	assert_prepares(f, "/data");
	assert_int_equal(facts(f, "a").st_ino, facts(f, "sub/b").st_ino);
	assert_int_equal(facts(f, "a").st_nlink, 2);
	assert_text(f, "sub/c", "other");
}

static void a_symlink_in_the_image_cannot_lead_out_of_it(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *secret = xasprintf("%s/secret/file", f->dir);
	cleanup_free char *dir = xasprintf("%s/secret", f->dir);

	assert_int_equal(fsx_mkdir_p(dir, 0755), 0);
	assert_int_equal(fsx_write(AT_FDCWD, secret, "secret", 6, 0644), 0);
	put_link(f, "../../secret", "relative");
	put_link(f, dir, "absolute");
	assert_prepares(f, "/relative");
	assert_int_equal(entries(f), 0);
	assert_prepares(f, "/absolute");
	assert_int_equal(entries(f), 0);
}

static void a_symlink_inside_of_the_image_is_followed(void **arg)
{
	struct fixture *f = *arg;

	put(f, "real/data/file", "text", 0644);
	put_link(f, "/real", "var");
	assert_prepares(f, "/var/data");
	assert_text(f, "file", "text");
}

static void a_second_attempt_starts_anew(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *first = NULL, *left = NULL;

	assert_prepares(f, "/data");
	first = xstrdup(f->volume);
	left = xasprintf("%s/left", first);
	assert_int_equal(fsx_write(AT_FDCWD, left, "x", 1, 0644), 0);
	assert_prepares(f, "/data");
	assert_string_equal(f->volume, first);
	assert_int_equal(entries(f), 0);
	assert_prepares(f, "/other");
	assert_string_not_equal(f->volume, first);
}

/* A file below @depth directories, counting data. */
static void put_deep(struct fixture *f, const char *name, int depth)
{
	cleanup_free char *path = xstrdup("data");

	for (int i = 1; i < depth; i++) {
		char *deeper = xasprintf("%s/%s", path, name);

		free(path);
		path = deeper;
	}
	{
		cleanup_free char *file = xasprintf("%s/file", path);

		put(f, file, "", 0644);
	}
}

static void a_bottomless_tree_is_refused(void **arg)
{
	struct fixture *f = *arg;

	put_deep(f, "d", VOLUME_DEPTH_MAX + 1);
	assert_prepares(f, "/data");
	put_deep(f, "e", VOLUME_DEPTH_MAX + 2);
	assert_int_equal(prepare(f, "/data"), -1);
	assert_int_equal(f->err.code, CODE_RESOURCE_EXHAUSTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_place_the_image_does_not_have_is_an_empty_directory),
		TEST(a_file_in_its_place_is_no_content),
		TEST(the_content_is_copied_with_modes_times_and_kinds),
		TEST(names_of_one_file_stay_one_file),
		TEST(a_symlink_in_the_image_cannot_lead_out_of_it),
		TEST(a_symlink_inside_of_the_image_is_followed),
		TEST(a_second_attempt_starts_anew),
		TEST(a_bottomless_tree_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
