/* cri/spec/volume.c
 *
 * A copy by descriptors: each name is opened relative to its directory and never through a symlink, and only the first step, into
 * the root file system, walks a path of the image's, kept inside by the kernel.
 */
#include "cri/spec/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define NAME_CHARS  16 /* of the path's digest: one container's volumes do not collide */
#define CHUNK       (8u << 20)
#define XATTR_NAMES 65536 /* what the kernel lists at most */
#define XATTR_VALUE 65536
#define OPEN_TRIES  16 /* EAGAIN while somebody renames on the way */

struct copy {
	int root; /* the volume: where links point from */
	struct map
		links; /* "dev:ino" of what has several names -> the first copy's path below root */
	char *names, *value; /* room for extended attributes */
	struct err *err;
};

static int fail(struct copy *copy, const char *what, const char *path)
{
	return err_sys(copy->err, errno, "%s %s", what, path[0] ? path : ".");
}

/* -------------------------------------------------------------------------------------------------------- one thing */

/* "user." and capabilities and access lists move along; "trusted." is overlayfs's own business. What the target's file system
 * does not know is left. */
static int copy_xattrs(struct copy *copy, int from, int to, const char *path)
{
	ssize_t len = flistxattr(from, copy->names, XATTR_NAMES);

	if (len < 0)
		return errno == ENOTSUP ? 0 : fail(copy, "list attributes of", path);
	for (const char *name = copy->names; name < copy->names + len; name += strlen(name) + 1) {
		ssize_t size;

		if (starts_with(name, "trusted.") || streq(name, "security.selinux"))
			continue;
		size = fgetxattr(from, name, copy->value, XATTR_VALUE);
		if (size >= 0 && fsetxattr(to, name, copy->value, (size_t)size, 0) < 0 &&
		    errno != ENOTSUP)
			return fail(copy, "set attributes of", path);
	}
	return 0;
}

/* Owner first: changing it takes set-id bits away. */
static int copy_facts(struct copy *copy, int from, int to, const struct stat *st, const char *path)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return fail(copy, "set owner of", path);
	if (copy_xattrs(copy, from, to, path) < 0)
		return -1;
	return futimens(to, times) < 0 ? fail(copy, "set times of", path) : 0;
}

static int copy_file(struct copy *copy, int from_dir, int to_dir, const char *name,
                     const char *path)
{
	cleanup_close int from =
		openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	cleanup_close int to = -1;
	struct stat st;
	ssize_t n;

	if (from < 0 || fstat(from, &st) < 0)
		return fail(copy, "open", path);
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return fail(copy, "create", path);
	do
		n = sendfile(to, from, NULL, CHUNK);
	while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0)
		return fail(copy, "copy", path);
	return copy_facts(copy, from, to, &st, path);
}

static int copy_symlink(struct copy *copy, int from_dir, int to_dir, const char *name,
                        const struct stat *st, const char *path)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	char target[PATH_MAX];
	ssize_t len = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (len < 0)
		return fail(copy, "read link", path);
	target[len] = '\0';
	if (symlinkat(target, to_dir, name) < 0 ||
	    fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(copy, "create link", path);
	ignore(utimensat(to_dir, name, times,
	                 AT_SYMLINK_NOFOLLOW)); /* some file systems keep no times of links */
	return 0;
}

static int copy_node(struct copy *copy, int to_dir, const char *name, const struct stat *st,
                     const char *path)
{
	if (mknodat(to_dir, name, st->st_mode & (S_IFMT | 07777), st->st_rdev) < 0 ||
	    fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(copy, "create", path);
	return fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0 ? fail(copy, "set mode of", path)
	                                                          : 0;
}

/* Another name of what was copied before: 1, and linked; the first of several names is remembered: 0. */
static int link_again(struct copy *copy, int to_dir, const char *name, const struct stat *st,
                      const char *path)
{
	char key[48];
	const char *first;

	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return 0;
	snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
	         (unsigned long long)st->st_ino);
	first = map_find(&copy->links, key);
	if (!first) {
		map_set(&copy->links, key, xstrdup(path));
		return 0;
	}
	return linkat(copy->root, first, to_dir, name, 0) < 0 ? fail(copy, "link", path) : 1;
}

/* ---------------------------------------------------------------------------------------------------------- the tree */

static int copy_tree(struct copy *copy, int from, int to, const char *path, int depth);

static int copy_directory(struct copy *copy, int from_dir, int to_dir, const char *name,
                          const char *path, int depth)
{
	cleanup_close int from =
		openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int to = -1;

	if (from < 0)
		return fail(copy, "open", path);
	if (mkdirat(to_dir, name, 0700) < 0)
		return fail(copy, "create", path);
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return fail(copy, "open", path);
	return copy_tree(copy, from, to, path, depth + 1);
}

static int copy_entry(struct copy *copy, int from, int to, const char *name, const char *path,
                      int depth)
{
	struct stat st;
	int linked;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(copy, "stat", path);
	linked = link_again(copy, to, name, &st, path);
	if (linked)
		return linked < 0 ? -1 : 0;
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return copy_directory(copy, from, to, name, path, depth);
	case S_IFREG:
		return copy_file(copy, from, to, name, path);
	case S_IFLNK:
		return copy_symlink(copy, from, to, name, &st, path);
	default:
		return copy_node(copy, to, name, &st, path);
	}
}

/* What is in @from into @to, then the directory's own owner, mode and times, which the copying changed. */
static int copy_tree(struct copy *copy, int from, int to, const char *path, int depth)
{
	cleanup(strv_free) char **names = NULL;
	struct stat st;
	int rc;

	if (depth > VOLUME_DEPTH_MAX)
		return err_set(copy->err, CODE_RESOURCE_EXHAUSTED,
		               "%.80s...: deeper than %d directories", path, VOLUME_DEPTH_MAX);
	if (fstat(from, &st) < 0)
		return fail(copy, "stat", path);
	rc = fsx_list(from, ".", &names);
	if (rc < 0)
		return err_sys(copy->err, -rc, "list %s", path);
	for (char **name = names; *name; name++) {
		cleanup_free char *below =
			path[0] ? xasprintf("%s/%s", path, *name) : xstrdup(*name);

		if (copy_entry(copy, from, to, *name, below, depth) < 0)
			return -1;
	}
	return copy_facts(copy, from, to, &st, path);
}

/* The image's directory, or -ENOENT where there is none to start from. */
static int open_content(const char *rootfs, const char *path)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_close int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = -EAGAIN;

	if (root < 0)
		return -errno;
	for (int i = 0; i < OPEN_TRIES && fd == -EAGAIN; i++)
		fd = sys_openat2(root, path, &how);
	return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
}

static int fill(int content, int volume, struct err *err)
{
	struct copy copy = {
		.root = volume,
		.names = xcalloc(XATTR_NAMES, 1),
		.value = xcalloc(XATTR_VALUE, 1),
		.err = err,
	};
	int rc;

	map_init(&copy.links);
	rc = copy_tree(&copy, content, volume, "", 0);
	map_for_each(entry, &copy.links)
		free(entry->value);
	map_release(&copy.links);
	free(copy.names);
	free(copy.value);
	return rc;
}

static char *directory_of(const struct volume_args *args)
{
	char hex[SHA256_SIZE * 2 + 1];
	uint8_t digest[SHA256_SIZE];
	struct sha256 ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, args->path, strlen(args->path));
	sha256_final(&ctx, digest);
	hex_encode(digest, sizeof(digest), hex);
	return xasprintf("%s/volumes/%.*s", args->container_dir, NAME_CHARS, hex);
}

int volume_prepare(const struct volume_args *args, char **ret_dir, struct err *err)
{
	cleanup_free char *dir = directory_of(args);
	cleanup_close int content = open_content(args->rootfs, args->path);
	cleanup_close int volume = -1;
	int rc;

	if (content < 0 && content != -ENOENT)
		return err_sys(err, -content, "open %s of the image", args->path);
	rc = fsx_remove_tree(AT_FDCWD, dir); /* of an attempt that was interrupted */
	if (rc == 0)
		rc = fsx_mkdir_p(dir, 0755);
	if (rc < 0)
		return err_sys(err, -rc, "create %s", dir);
	volume = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (volume < 0)
		return err_sys(err, errno, "open %s", dir);
	if (content >= 0 ? fill(content, volume, err) < 0 : false)
		return -1;
	if (content < 0 && (fchown(volume, args->uid, args->gid) < 0 || fchmod(volume, 0755) < 0))
		return err_sys(err, errno, "chown %s", dir);
	*ret_dir = take_ptr(dir);
	return 0;
}
