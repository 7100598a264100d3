#include <dirent.h>
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
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/tar.h"
#include "core/image/untar.h"
#include "tests/lib/tarball.h"

/* <dir>/layer is where archives go; what is beside it must never change. Runs with any uid: everything belongs to us, whiteouts
 * need no privilege, and opaque directories are marked in user.*. */
struct fixture {
	char dir[64];
	int home, root;
	struct buf tar;
	struct buf deferred;
	struct untar_result result;
	struct err err;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	int fd;

	memcpy(f->dir, "/tmp/coracle-untar-XXXXXX", 26);
	if (!mkdtemp(f->dir))
		return -1;
	f->home = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(f->home, "layer", 0755), 0);
	assert_int_equal(mkdirat(f->home, "outside", 0755), 0);
	fd = openat(f->home, "secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "secret", 6), 6);
	close(fd);
	f->root = openat(f->home, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tarball_init(&f->tar);
	buf_init(&f->deferred, UNTAR_DEFERRED_MAX);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	char text[16] = "";
	int fd = openat(f->home, "secret", O_RDONLY | O_CLOEXEC);
	struct stat st;
	DIR *outside;
	int entries = 0, rc;

	/* Every test proves this: nothing outside the layer was written, renamed, linked or given another mode. */
	rc = fd >= 0 && read(fd, text, sizeof(text)) == 6 && streq(text, "secret") &&
	                     fstat(fd, &st) == 0 && st.st_nlink == 1 && (st.st_mode & 07777) == 0600
	             ? 0
	             : -1;
	outside = fdopendir(openat(f->home, "outside", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while (readdir(outside))
		entries++;
	closedir(outside);
	if (entries != 2)
		rc = -1;
	close(fd);
	close(f->root);
	close(f->home);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	buf_release(&f->tar);
	buf_release(&f->deferred);
	free(f);
	return rc;
}

static void add(struct fixture *f, struct tarball_entry entry)
{
	entry.uid = getuid();
	entry.gid = getgid();
	tarball_add(&f->tar, &entry);
}

static void add_file(struct fixture *f, const char *name, const char *text)
{
	add(f, (struct tarball_entry){ .name = name, .data = text, .len = strlen(text) });
}

static void add_dir(struct fixture *f, const char *name)
{
	add(f, (struct tarball_entry){ .type = '5', .name = name });
}

static void add_link(struct fixture *f, char type, const char *name, const char *target)
{
	add(f, (struct tarball_entry){ .type = type, .name = name, .link = target });
}

static int run_into(struct fixture *f, int root)
{
	cleanup(untar_free) struct untar *untar =
		untar_new(&(struct untar_args){ .root_fd = root, .user_xattr = true });
	cleanup(tar_free) struct tar *tar = tar_new();
	const uint8_t *p = (const uint8_t *)f->tar.data;
	size_t left = f->tar.len;
	enum tar_event event;

	buf_clear(&f->deferred);
	do {
		if (tar_next(tar, &p, &left, &event, &f->err) < 0)
			return -1;
		if (event == TAR_ENTRY && untar_entry(untar, tar_entry(tar), &f->err) < 0)
			return -1;
		if (event == TAR_DATA) {
			struct tar_data data = tar_data(tar);

			if (untar_data(untar, data.p, data.len, data.offset, &f->err) < 0)
				return -1;
		}
	} while (event == TAR_ENTRY || event == TAR_DATA);
	if (tar_finish(tar, &f->err) < 0)
		return -1;
	return untar_finish(untar, &f->result, &f->deferred, &f->err);
}

static void run(struct fixture *f)
{
	if (run_into(f, f->root) < 0)
		fail_msg("%s", f->err.msg);
}

static void refused(struct fixture *f, const char *why)
{
	assert_int_equal(run_into(f, f->root), -1);
	assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
	if (!strstr(f->err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", f->err.msg, why);
}

static void has_text(struct fixture *f, const char *path, const char *expected)
{
	cleanup_free char *text = NULL;
	size_t len;
	int rc = fsx_read(f->root, path, 1024 * 1024, &text, &len);

	if (rc < 0)
		fail_msg("%s: %s", path, errno_name(-rc));
	assert_string_equal(text, expected);
}

static mode_t mode_of(struct fixture *f, const char *path)
{
	struct stat st;

	return fstatat(f->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_mode;
}

static bool is_whiteout(struct fixture *f, const char *path)
{
	struct stat st;

	return fstatat(f->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == 0;
}

static bool is_opaque(struct fixture *f, const char *path)
{
	cleanup_close int fd = openat(f->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char value[4] = "";

	return fd >= 0 && fgetxattr(fd, "user.overlay.opaque", value, sizeof(value)) == 1 &&
	       value[0] == 'y';
}

static void files_get_content_mode_and_time(void **arg)
{
	struct fixture *f = *arg;
	struct stat st;

	add(f, (struct tarball_entry){ .type = '5', .name = "./", .mode = 0711 });
	add(f, (struct tarball_entry){ .type = '5', .name = "d/", .mode = 01777, .mtime = 1000 });
	add(f, (struct tarball_entry){
		       .name = "d/f", .data = "text", .len = 4, .mode = 04751, .mtime = 2000 });
	add(f, (struct tarball_entry){ .type = '6', .name = "d/p", .mode = 0640, .mtime = 3000 });
	add(f, (struct tarball_entry){
		       .type = '2', .name = "d/s", .link = "/nowhere/../x", .mtime = 4000 });
	run(f);
	has_text(f, "d/f", "text");
	assert_int_equal(mode_of(f, "."), S_IFDIR | 0711);
	assert_int_equal(mode_of(f, "d"), S_IFDIR | 01777);
	assert_int_equal(mode_of(f, "d/f"), S_IFREG | 04751);
	assert_int_equal(mode_of(f, "d/p"), S_IFIFO | 0640);
	assert_int_equal(fstatat(f->root, "d/s", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mtime, 4000);
	assert_int_equal(fstatat(f->root, "d", &st, 0), 0);
	assert_int_equal(st.st_mtime, 1000); /* although files were made in it afterwards */
	assert_true(f->result.has_root);
	assert_int_equal(f->result.inodes, 5);
	assert_int_equal(f->result.deferred, 0);
}

static void the_umask_does_not_matter(void **arg)
{
	struct fixture *f = *arg;
	mode_t old = umask(077);

	add(f, (struct tarball_entry){ .type = '5', .name = "d/", .mode = 0777 });
	add(f, (struct tarball_entry){ .name = "d/f", .mode = 0666 });
	add_file(f, "i/f", "");
	run(f);
	umask(old);
	assert_int_equal(mode_of(f, "d"), S_IFDIR | 0777);
	assert_int_equal(mode_of(f, "d/f"), S_IFREG | 0666);
	assert_int_equal(mode_of(f, "i"), S_IFDIR | 0755);
}

static void paths_cannot_leave_the_layer(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, "../secret", "1");
	add_file(f, "/../../outside/x", "2");
	add_file(f, "a/../../../outside/y", "3");
	add_file(f, "/abs", "4");
	run(f);
	has_text(f, "secret", "1");
	has_text(f, "outside/x", "2");
	has_text(f, "outside/y", "3");
	has_text(f, "abs", "4");
}

static void symlinked_parents_lead_nowhere_outside(void **arg)
{
	struct fixture *f = *arg;
	char absolute[100];

	ignore(str_format(absolute, sizeof(absolute), "%s/outside", f->dir)); /* fits */
	add_dir(f, "outside");
	add_link(f, '2', "up", "../outside");
	add_link(f, '2', "deep", "../../../../../../outside");
	add_link(f, '2', "abs", "/outside");
	add_link(f, '2', "host", absolute);
	add_file(f, "up/1", "1");
	add_file(f, "deep/2", "2");
	add_file(f, "abs/3", "3");
	run(f);
	has_text(f, "outside/1", "1"); /* inside the layer, all of them */
	has_text(f, "outside/2", "2");
	has_text(f, "outside/3", "3");

	buf_clear(&f->tar);
	add_file(f, "host/4", "4"); /* means <layer>/tmp/..., which is not there */
	refused(f, "host");
}

static void the_last_component_is_never_followed(void **arg)
{
	struct fixture *f = *arg;

	add_link(f, '2', "f", "../secret");
	add(f, (struct tarball_entry){ .name = "f", .data = "new", .len = 3, .mode = 0777 });
	add_link(f, '2', "d", "../outside");
	add_dir(f, "d");
	add_file(f, "d/x", "x");
	add_link(f, '2', "l", "../secret");
	add_link(f, '1', "l2", "l"); /* links the symlink; its mode must not reach the target */
	run(f);
	has_text(f, "f", "new");
	assert_true(S_ISDIR(mode_of(f, "d")));
	assert_true(S_ISLNK(mode_of(f, "l2")));
}

static void symlink_loops_are_an_error(void **arg)
{
	struct fixture *f = *arg;

	add_link(f, '2', "a", "b");
	add_link(f, '2', "b", "a");
	add_file(f, "a/x", "x");
	refused(f, "a");
}

static void hard_links_stay_inside(void **arg)
{
	struct fixture *f = *arg;
	struct stat a, b;

	add_file(f, "f", "text");
	add_link(f, '1', "d/l", "f");
	add_link(f, '1', "f", "f"); /* to itself: nothing to do */
	add_link(f, '1', "d/abs", "/../f");
	run(f);
	assert_int_equal(fstatat(f->root, "f", &a, 0), 0);
	assert_int_equal(fstatat(f->root, "d/l", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_nlink, 3);
}

static void a_hard_link_to_outside_finds_nothing(void **arg)
{
	struct fixture *f = *arg;

	add_link(f, '2', "up", "..");
	add_link(f, '1', "s1", "../secret");
	add_link(f, '1', "s2", "up/secret");
	run(f);
	assert_int_equal(f->result.deferred, 2); /* perhaps in a lower layer */
	assert_int_equal(
		untar_fix(f->root, f->deferred.data, f->deferred.len, NULL, 0, &f->result, &f->err),
		-1);
	assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
	assert_int_equal(mode_of(f, "s1"), 0);
	assert_int_equal(mode_of(f, "s2"), 0);
}

static void a_hard_link_to_a_directory_is_refused(void **arg)
{
	struct fixture *f = *arg;

	add_dir(f, "d");
	add_link(f, '1', "l", "d");
	refused(f, "directory");
}

static void the_last_of_two_entries_wins(void **arg)
{
	struct fixture *f = *arg;

	add_dir(f, "a");
	add_file(f, "a/x", "x");
	add_file(f, "a", "file now");
	add_file(f, "b", "file");
	add_dir(f, "b");
	add_file(f, "b/y", "y");
	add_file(f, "c", "1");
	add_file(f, "c", "2");
	run(f);
	has_text(f, "a", "file now");
	has_text(f, "b/y", "y");
	has_text(f, "c", "2");
}

static void a_file_as_parent_is_refused(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, "a", "file");
	add_file(f, "a/b", "x");
	refused(f, "no directory");
}

static void a_whiteout_hides_only_what_is_beneath(void **arg)
{
	struct fixture *f = *arg;

	add_dir(f, "d");
	add_file(f, "d/.wh.gone", "ignored");
	add_file(f, "before", "1");
	add_file(f, ".wh.before", "");
	add_file(f, ".wh.after", "");
	add_file(f, "after", "2");
	run(f);
	assert_true(is_whiteout(f, "d/gone"));
	has_text(f, "before", "1");
	has_text(f, "after", "2");
	assert_int_equal(mode_of(f, "d/.wh.gone"), 0);
}

static void a_directory_that_meets_its_whiteout_is_opaque(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, ".wh.first", "");
	add_dir(f, "first");
	add_file(f, "first/x", "x");
	add_dir(f, "second");
	add_file(f, "second/x", "x");
	add_file(f, ".wh.second", "");
	add_file(f, ".wh.third", "");
	add_file(f, "third/x", "x"); /* the directory itself has no entry */
	add_dir(f, "plain");
	run(f);
	assert_true(is_opaque(f, "first"));
	assert_true(is_opaque(f, "second"));
	assert_true(is_opaque(f, "third"));
	assert_false(is_opaque(f, "plain"));
	assert_int_equal(f->result.deferred, 0); /* third hides what it could take its owner from */
}

static void whiteouts_below_a_whiteout_are_moot(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, ".wh.a", "");
	add_file(f, "a/.wh.b", "");
	add_file(f, "a/.wh..wh..opq", "");
	add_file(f, "c/.wh.d", "");
	add_file(f, ".wh.c", "");
	run(f);
	assert_true(is_whiteout(f, "a"));
	assert_true(is_whiteout(f, "c"));
	assert_int_equal(f->result.deferred, 0);
}

static void the_opaque_marker_is_an_xattr(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, "d/x", "x");
	add_file(f, "d/.wh..wh..opq", "");
	add_file(f, "e/.wh..wh..opq", "");
	run(f);
	assert_true(is_opaque(f, "d"));
	assert_true(is_opaque(f, "e"));
	has_text(f, "d/x", "x");
	assert_false(f->result.opaque_root);
}

static void an_opaque_root_is_reported(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, ".wh..wh..opq", "");
	add_file(f, "x", "x");
	run(f);
	assert_true(f->result.opaque_root);
	assert_false(is_opaque(f, "."));
}

static void leftovers_of_aufs_are_dropped(void **arg)
{
	struct fixture *f = *arg;

	add_dir(f, ".wh..wh.plnk");
	add_file(f, ".wh..wh.aufs", "x");
	run(f);
	assert_int_equal(mode_of(f, ".wh..wh.plnk"), 0);
	assert_false(is_whiteout(f, ".wh.plnk"));
}

static void whiteouts_without_a_name_are_refused(void **arg)
{
	static const char *const names[] = { ".wh.", "a/.wh..", ".wh..." };
	struct fixture *f = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		buf_clear(&f->tar);
		add_file(f, names[i], "");
		refused(f, "without a name");
	}
}

static void a_device_that_would_be_a_whiteout_is_dropped(void **arg)
{
	struct fixture *f = *arg;

	add(f, (struct tarball_entry){ .type = '3', .name = "x" });
	run(f);
	assert_int_equal(mode_of(f, "x"), 0);
	buf_clear(&f->tar);
	add(f, (struct tarball_entry){ .type = '3', .name = "x", .major = 4096, .minor = 1 });
	refused(f, "device number");
}

static void an_image_cannot_bring_overlay_markers_of_its_own(void **arg)
{
	static const char *const records[] = { "SCHILY.xattr.user.overlay.opaque=y",
		                               "SCHILY.xattr.trusted.overlay.opaque=y",
		                               "SCHILY.xattr.user.kept=1",
		                               "SCHILY.xattr.security.selinux=x", NULL };
	struct fixture *f = *arg;
	cleanup_close int fd = -1;
	char names[256];
	ssize_t n;

	tarball_pax(&f->tar, 'x', records);
	add_dir(f, "d");
	run(f);
	assert_false(is_opaque(f, "d"));
	fd = openat(f->root, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = flistxattr(fd, names, sizeof(names));
	assert_true(n >= 10);
	for (const char *name = names; name < names + n; name += strlen(name) + 1)
		assert_true(streq(name, "user.kept") || starts_with(name, "security."));
}

static void holes_stay_holes(void **arg)
{
	static const char *const records[] = { "GNU.sparse.size=1048576", "GNU.sparse.name=f",
		                               "GNU.sparse.map=524288,3", NULL };
	struct fixture *f = *arg;
	struct stat st;

	tarball_pax(&f->tar, 'x', records);
	add_file(f, "x", "abc");
	run(f);
	assert_int_equal(fstatat(f->root, "f", &st, 0), 0);
	assert_int_equal(st.st_size, 1048576);
	assert_true(st.st_blocks * 512 < 65536);
}

static void implicit_directories_take_after_the_top_most_lower_one(void **arg)
{
	struct fixture *f = *arg;
	int lowers[2];
	struct stat st;

	for (int i = 0; i < 2; i++) {
		char name[16];

		ignore(str_format(name, sizeof(name), "lower%d", i)); /* fits */
		assert_int_equal(mkdirat(f->home, name, 0755), 0);
		lowers[i] = openat(f->home, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	assert_int_equal(mkdirat(lowers[1], "both", 0700), 0);
	assert_int_equal(mkdirat(lowers[1], "both/sub", 0711), 0);
	assert_int_equal(mkdirat(lowers[0], "both", 0750), 0);
	assert_int_equal(mkdirat(lowers[1], "hidden", 0700), 0);
	assert_int_equal(mknodat(lowers[0], "hidden", S_IFCHR, 0), 0);
	add_file(f, "both/sub/x", "x");
	add_file(f, "hidden/x", "x");
	add_file(f, "new/x", "x");
	add_dir(f, "told");
	run(f);
	assert_int_equal(f->result.deferred, 4);
	assert_int_equal(untar_fix(f->root, f->deferred.data, f->deferred.len, lowers, 2,
	                           &f->result, &f->err),
	                 0);
	assert_int_equal(mode_of(f, "both"), S_IFDIR | 0750);
	assert_int_equal(mode_of(f, "both/sub"), S_IFDIR | 0711);
	assert_int_equal(mode_of(f, "hidden"), S_IFDIR | 0755);
	assert_int_equal(mode_of(f, "new"), S_IFDIR | 0755);
	assert_int_equal(fstatat(f->root, "told", &st, 0), 0);
	close(lowers[0]);
	close(lowers[1]);
}

static void a_hard_link_to_a_lower_file_becomes_a_copy(void **arg)
{
	struct fixture *f = *arg;
	cleanup_close int lower = -1;
	int fd;

	assert_int_equal(mkdirat(f->home, "lower", 0755), 0);
	lower = openat(f->home, "lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(lower, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "low", 3), 3);
	fchmod(fd, 0604);
	close(fd);
	assert_int_equal(symlinkat("../../secret", lower, "s"), 0);
	add_dir(f, "d");
	add_link(f, '1', "d/copy", "f");
	add_link(f, '1', "d/link", "s");
	run(f);
	assert_int_equal(f->result.deferred, 2);
	assert_int_equal(untar_fix(f->root, f->deferred.data, f->deferred.len, &lower, 1,
	                           &f->result, &f->err),
	                 0);
	has_text(f, "d/copy", "low");
	assert_int_equal(mode_of(f, "d/copy"), S_IFREG | 0604);
	assert_true(S_ISLNK(mode_of(f, "d/link")));
}

static void names_the_file_system_cannot_hold_are_refused(void **arg)
{
	char record[300] = "path=";
	const char *const records[] = { record, NULL };
	struct fixture *f = *arg;

	memset(record + 5, 'a', 256);
	tarball_pax(&f->tar, 'x', records);
	add_file(f, "x", "");
	refused(f, "longer than 255");
}

static void strange_bytes_in_names_are_kept(void **arg)
{
	struct fixture *f = *arg;

	add_file(f, "new\nline", "1");
	add_file(f, "\xff\xfe", "2");
	add_file(f, " ", "3");
	run(f);
	has_text(f, "new\nline", "1");
	has_text(f, "\xff\xfe", "2");
	has_text(f, " ", "3");
}

static void space_that_must_stay_free_stays_free(void **arg)
{
	struct fixture *f = *arg;
	cleanup(untar_free) struct untar *untar = NULL;

	untar = untar_new(&(struct untar_args){ .root_fd = f->root, .free_bytes = UINT64_MAX / 2 });
	assert_int_equal(untar_finish(untar, &f->result, &f->deferred, &f->err), -1);
	assert_int_equal(f->err.code, CODE_RESOURCE_EXHAUSTED);
}

static void a_very_deep_path_costs_no_stack(void **arg)
{
	char record[TAR_PATH_MAX + 16] = "path=";
	const char *const records[] = { record, NULL };
	struct fixture *f = *arg;
	size_t len = 5;

	while (len + 2 < TAR_PATH_MAX) {
		record[len++] = 'd';
		record[len++] = '/';
	}
	record[len++] = 'f';
	tarball_pax(&f->tar, 'x', records);
	add_file(f, "x", "");
	run(f);
	assert_true(f->result.inodes > 2000);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(files_get_content_mode_and_time),
		T(the_umask_does_not_matter),
		T(paths_cannot_leave_the_layer),
		T(symlinked_parents_lead_nowhere_outside),
		T(the_last_component_is_never_followed),
		T(symlink_loops_are_an_error),
		T(hard_links_stay_inside),
		T(a_hard_link_to_outside_finds_nothing),
		T(a_hard_link_to_a_directory_is_refused),
		T(the_last_of_two_entries_wins),
		T(a_file_as_parent_is_refused),
		T(a_whiteout_hides_only_what_is_beneath),
		T(a_directory_that_meets_its_whiteout_is_opaque),
		T(whiteouts_below_a_whiteout_are_moot),
		T(the_opaque_marker_is_an_xattr),
		T(an_opaque_root_is_reported),
		T(leftovers_of_aufs_are_dropped),
		T(whiteouts_without_a_name_are_refused),
		T(a_device_that_would_be_a_whiteout_is_dropped),
		T(an_image_cannot_bring_overlay_markers_of_its_own),
		T(holes_stay_holes),
		T(implicit_directories_take_after_the_top_most_lower_one),
		T(a_hard_link_to_a_lower_file_becomes_a_copy),
		T(names_the_file_system_cannot_hold_are_refused),
		T(strange_bytes_in_names_are_kept),
		T(space_that_must_stay_free_stays_free),
		T(a_very_deep_path_costs_no_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
