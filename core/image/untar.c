/* core/image/untar.c
 *
 * An entry in three steps: clean its name, get the parent directory (making what is missing), act on the last component with
 * the *at() family. The parent of the previous entry is kept open: archives are sorted by path.
 *
 * Attributes go on in the order the kernel needs: owner, xattrs (chown drops security.capability), mode (chown drops the
 * setuid bits), times. For files all that waits until their data is written (writing drops capabilities too), for directory
 * times until the end.
 *
 * Two maps remember what order the archive came in: directories that no entry has described (`implicit`), and paths that were
 * whited out (the char device itself is the memory; a directory that meets one becomes opaque).
 */
#include "core/image/untar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/image/tree.h"
#include "core/image/untar_internal.h"
#include "core/image/usage.h"

#define WHITEOUT_PREFIX ".wh."
#define OPAQUE_NAME     ".wh..wh..opq"

#define IMPLICIT_MAX      (1024 * 1024)
#define CHECK_SPACE_BYTES (16 * 1024 * 1024)
#define CHECK_SPACE_FILES 256
#define WRITEBACK_BYTES   (8 * 1024 * 1024)

/* What a directory in the implicit map is there for. Values of the map, so not NULL. */
#define FOR_CONTENT  ((void *)1)
#define FOR_WHITEOUT ((void *)2) /* only whiteouts in it: it goes when it is whited out itself */

struct file { /* the one being written */
	int fd;
	bool sparse_end; /* size is beyond the last byte written */
	uint64_t size, written_to, flushed_to;
	struct tar_entry attrs;
	struct buf xattr_bytes;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	char *path;
};

struct untar {
	struct untar_args args;
	struct untar_result result;
	int parent; /* directory of the last entry, or -1 */
	char *parent_path;
	bool parent_stale; /* what was removed since may have been on the way to it */
	struct file file;
	struct map implicit;
	struct buf dir_times; /* struct dir_time, path, NUL; in archive order */
	struct buf links;     /* deferred hard links: "H" path NUL target NUL */
	uint64_t bytes_since, files_since;
};

struct dir_time {
	int64_t mtime_s, atime_s;
	uint32_t mtime_ns, atime_ns;
};

struct untar *untar_new(const struct untar_args *args)
{
	struct untar *untar;

	ensure(args->root_fd >= 0);
	untar = xcalloc(1, sizeof(*untar));
	untar->args = *args;
	untar->parent = -1;
	untar->file.fd = -1;
	map_init(&untar->implicit);
	buf_init(&untar->dir_times, UNTAR_DEFERRED_MAX);
	buf_init(&untar->links, UNTAR_DEFERRED_MAX);
	buf_init(&untar->file.xattr_bytes, TAR_XATTR_BYTES_MAX + TAR_XATTRS_MAX);
	return untar;
}

void untar_free(struct untar *untar)
{
	if (!untar)
		return;
	if (untar->parent >= 0)
		close(untar->parent);
	if (untar->file.fd >= 0)
		close(untar->file.fd);
	free(untar->parent_path);
	free(untar->file.path);
	buf_release(&untar->file.xattr_bytes);
	buf_release(&untar->dir_times);
	buf_release(&untar->links);
	map_release(&untar->implicit);
	free(untar);
}

/* The client sees what the archive did wrong as INVALID_ARGUMENT; what this machine cannot do keeps its own code. */
int untar_fail(struct err *err, int sys, const char *path, const char *what)
{
	switch (sys) {
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case EISDIR:
	case EEXIST:
	case EINVAL:
	case EFBIG:
	case EMLINK:
	case EXDEV:
		ignore(err_sys(err, sys, "%.120s: %s", path, what)); /* code is replaced below */
		err->code = CODE_INVALID_ARGUMENT;
		return -1;
	default:
		return err_sys(err, sys, "%.120s: %s", path, what);
	}
}

int untar_bad(struct err *err, const char *path, const char *why)
{
	return err_set(err, CODE_INVALID_ARGUMENT, "%.120s: %s", path, why);
}

/* --- names */

/* Split in place: "a/b/c" -> "a/b", "c"; "c" -> "", "c". */
const char *untar_split(char *path, const char **ret_parent)
{
	char *slash = strrchr(path, '/');

	if (!slash) {
		*ret_parent = "";
		return path;
	}
	*slash = '\0';
	*ret_parent = path;
	return slash + 1;
}

int untar_open(int root_fd, const char *path, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	int fd;

	do
		fd = sys_openat2(root_fd, *path ? path : ".", &how);
	while (fd == -EAGAIN); /* a rename elsewhere raced with ".." */
	return fd;
}

bool untar_is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

/* --- space */

static int check_space(struct untar *untar, struct err *err)
{
	struct statfs fs;

	untar->bytes_since = untar->files_since = 0;
	if (fstatfs(untar->args.root_fd, &fs) < 0)
		return err_sys(err, errno, "free space");
	if ((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < untar->args.free_bytes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "image store: less than %llu MiB free",
		               (unsigned long long)(untar->args.free_bytes >> 20));
	if (fs.f_files > 0 && (uint64_t)fs.f_ffree < untar->args.free_inodes)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "image store: fewer than %llu inodes free",
		               (unsigned long long)untar->args.free_inodes);
	return 0;
}

/* --- attributes */

bool untar_xattr_wanted(const char *name)
{
	if (starts_with(name, "user."))
		return !starts_with(
			name,
			"user.overlay."); /* would be markers with the userxattr mount option */
	return streq(name, "security.capability") || streq(name, "security.ima") ||
	       starts_with(name, "system.posix_acl_");
}

/* Set one on the working directory's @base; files may pass their descriptor instead (@base NULL). */
int untar_set_xattr(int fd, const char *base, const struct tar_xattr *xattr, bool plain,
                    const char *path, struct err *err)
{
	int rc;

	if (!untar_xattr_wanted(xattr->name))
		return 0;
	rc = base ? lsetxattr(base, xattr->name, xattr->value, xattr->len, 0)
	          : fsetxattr(fd, xattr->name, xattr->value, xattr->len, 0);
	if (rc == 0 || errno == ENOTSUP)
		return 0;
	/* user.* exists on files and directories only; an archive may say otherwise */
	if (errno == EPERM && !plain && starts_with(xattr->name, "user."))
		return 0;
	return err_sys(err, errno, "%.120s: set %s", path, xattr->name);
}

static void entry_times(const struct tar_entry *entry, struct timespec times[2])
{
	times[0] = (struct timespec){ .tv_sec = entry->atime_s, .tv_nsec = entry->atime_ns };
	times[1] = (struct timespec){ .tv_sec = entry->mtime_s, .tv_nsec = entry->mtime_ns };
}

static int set_times(int dirfd, const char *base, const struct timespec times[2], const char *path,
                     struct err *err)
{
	const struct timespec epoch[2] = { { 0 }, { 0 } };

	if (utimensat(dirfd, base, times, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (errno == EINVAL && utimensat(dirfd, base, epoch, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return err_sys(err, errno, "%.120s: set times", path);
}

/* Everything but times, on @base of the directory @parent, which was just made or linked and is no directory we follow into. */
static int set_attrs(int parent, const char *base, const struct tar_entry *entry, mode_t kind,
                     const char *path, struct err *err)
{
	/* xattrs of symlinks and devices need a path: the one component below the working directory */
	if (fchdir(parent) < 0)
		return err_sys(err, errno, "%.120s: enter directory", path);
	if (lchown(base, entry->uid, entry->gid) < 0)
		return untar_fail(err, errno, path, "change owner");
	for (size_t i = 0; i < entry->nxattrs; i++)
		if (untar_set_xattr(-1, base, &entry->xattrs[i], S_ISREG(kind) || S_ISDIR(kind),
		                    path, err) < 0)
			return -1;
	if (!S_ISLNK(kind) && chmod(base, entry->mode) < 0)
		return err_sys(err, errno, "%.120s: change mode", path);
	return 0;
}

static int mark_opaque(const struct untar *untar, int fd, const char *path, struct err *err)
{
	const char *name =
		untar->args.user_xattr ? "user.overlay.opaque" : "trusted.overlay.opaque";

	if (fsetxattr(fd, name, "y", 1, 0) < 0)
		return err_sys(err, errno, "%.120s: set %s", path, name);
	return 0;
}

static int mark_opaque_at(const struct untar *untar, int parent, const char *base, const char *path,
                          struct err *err)
{
	cleanup_close int fd =
		openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, errno, "%.120s: open", path);
	return mark_opaque(untar, fd, path, err);
}

/* --- directories that no entry described */

static int implicit_add(struct untar *untar, const char *path, void *purpose, struct err *err)
{
	if (map_count(&untar->implicit) >= IMPLICIT_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "more than %d directories without an entry of their own",
		               IMPLICIT_MAX);
	map_set(&untar->implicit, path, purpose);
	return 0;
}

/* Something real appears in @parent: it and its ancestors are no longer there for whiteouts only. */
static void implicit_keep(struct untar *untar, const char *parent)
{
	cleanup_free char *path = NULL;

	if (map_count(&untar->implicit) == 0 || map_find(&untar->implicit, parent) != FOR_WHITEOUT)
		return;
	path = xstrdup(parent);
	while (*path) {
		char *slash = strrchr(path, '/');

		if (map_find(&untar->implicit, path) == FOR_WHITEOUT)
			map_set(&untar->implicit, path, FOR_CONTENT);
		*(slash ? slash : path) = '\0';
	}
}

/* --- parents */

/*
 * One level of a missing parent: enter @name of @dir, making it if need be. @path is the clean path to it.
 * Returns a descriptor; -1 with err set; -1 with err clear when a whiteout is in the way of another whiteout.
 */
static int parent_step(struct untar *untar, int dir, const char *name, const char *path,
                       bool for_whiteout, struct err *err)
{
	struct stat st;
	bool opaque = false;
	int fd;

	fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == ENOTDIR || errno == ELOOP) {
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(err, errno, "%.120s: look up", path);
		if (S_ISLNK(st.st_mode)) {
			fd = untar_open(untar->args.root_fd, path, O_PATH | O_DIRECTORY);
			return fd >= 0 ? fd : untar_fail(err, -fd, path, "follow symlink");
		}
		if (!untar_is_whiteout(&st))
			return untar_bad(
				err, path,
				"is a parent directory of another entry, but no directory");
		if (for_whiteout)
			return -1; /* whiteout below a whiteout: moot */
		if (unlinkat(dir, name, 0) < 0)
			return err_sys(err, errno, "%.120s: remove whiteout", path);
		opaque = true;
	} else if (errno != ENOENT) {
		return untar_fail(err, errno, path, "open");
	}

	if (mkdirat(dir, name, 0755) < 0)
		return untar_fail(err, errno, path, "make directory");
	untar->files_since++;
	if (opaque) { /* hides all beneath: nothing to take attributes from */
		if (mark_opaque_at(untar, dir, name, path, err) < 0)
			return -1;
	} else if (implicit_add(untar, path, for_whiteout ? FOR_WHITEOUT : FOR_CONTENT, err) < 0) {
		return -1;
	}
	if (fchmodat(dir, name, 0755, 0) < 0)
		return err_sys(err, errno, "%.120s: change mode", path);
	fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 ? fd : err_sys(err, errno, "%.120s: open", path);
}

static int parent_make(struct untar *untar, const char *parent, bool for_whiteout, struct err *err)
{
	cleanup_close int dir = -1;
	cleanup_free char *path = xstrdup(parent);
	char *p = path;

	dir = untar_open(untar->args.root_fd, "", O_PATH | O_DIRECTORY);
	if (dir < 0)
		return err_sys(err, -dir, "open layer root");
	for (;;) {
		char *name = p;
		int next;

		p += strcspn(p, "/");
		if (*p) {
			*p = '\0';
			next = parent_step(untar, dir, name, path, for_whiteout, err);
			*p++ = '/';
		} else {
			next = parent_step(untar, dir, name, path, for_whiteout, err);
			p = NULL;
		}
		if (next < 0)
			return -1;
		close(dir);
		dir = next;
		if (!p)
			return take_fd(&dir);
	}
}

/* The directory @parent; the descriptor is borrowed until the next call. */
static int parent_get(struct untar *untar, const char *parent, bool for_whiteout, struct err *err)
{
	int fd;

	if (untar->parent >= 0 && !untar->parent_stale && streq(untar->parent_path, parent))
		return untar->parent;
	if (untar->parent >= 0)
		close(untar->parent);
	untar->parent = -1;
	free(untar->parent_path);
	untar->parent_path = NULL;
	untar->parent_stale = false;
	fd = untar_open(untar->args.root_fd, parent, O_PATH | O_DIRECTORY);
	if (fd == -ENOENT || fd == -ENOTDIR)
		fd = parent_make(untar, parent, for_whiteout, err);
	else if (fd < 0)
		return untar_fail(err, -fd, parent, "open");
	if (fd < 0)
		return -1;
	untar->parent = fd;
	untar->parent_path = xstrdup(parent);
	return fd;
}

/* --- the last component */

/* What is at @base gives way. *ret_was_whiteout: it was one. @parent stays open. */
static int replace(struct untar *untar, int parent, const char *base, const char *path,
                   bool *ret_was_whiteout, struct err *err)
{
	struct stat st;
	int rc;

	*ret_was_whiteout = false;
	if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "%.120s: look up", path);
	*ret_was_whiteout = untar_is_whiteout(&st);
	rc = tree_remove(parent, base);
	if (rc < 0)
		return err_sys(err, -rc, "%.120s: remove an earlier entry", path);
	if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
		untar->parent_stale = true;
	return 0;
}

static int make_dir(struct untar *untar, int parent, const char *base, const char *path,
                    const struct tar_entry *entry, struct err *err)
{
	struct dir_time time = { entry->mtime_s, entry->atime_s, entry->mtime_ns, entry->atime_ns };
	bool was_whiteout = false;
	struct stat st;

	if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
		if (replace(untar, parent, base, path, &was_whiteout, err) < 0)
			return -1;
		if (mkdirat(parent, base, 0700) < 0)
			return untar_fail(err, errno, path, "make directory");
		if (was_whiteout && mark_opaque_at(untar, parent, base, path, err) < 0)
			return -1;
	}
	map_remove(&untar->implicit, path);
	if (set_attrs(parent, base, entry, S_IFDIR, path, err) < 0)
		return -1;
	if (buf_add(&untar->dir_times, &time, sizeof(time)) < 0 ||
	    buf_add(&untar->dir_times, path, strlen(path) + 1) < 0)
		return buf_err_full(&untar->dir_times, "list of directories", err);
	return 0;
}

static int make_root(struct untar *untar, const struct tar_entry *entry, struct err *err)
{
	if (entry->type != TAR_DIR)
		return 0;
	if (fchown(untar->args.root_fd, entry->uid, entry->gid) < 0)
		return untar_fail(err, errno, "/", "change owner");
	for (size_t i = 0; i < entry->nxattrs; i++)
		if (untar_set_xattr(untar->args.root_fd, NULL, &entry->xattrs[i], true, "/", err) <
		    0)
			return -1;
	if (fchmod(untar->args.root_fd, entry->mode) < 0)
		return err_sys(err, errno, "/: change mode");
	untar->result.has_root = true;
	return 0;
}

static int make_link(struct untar *untar, int parent, const char *base, const char *path,
                     const struct tar_entry *entry, struct err *err)
{
	cleanup_free char *target = tar_clean_path(entry->link);
	cleanup_free char *target_dir = NULL;
	cleanup_close int dir = -1;
	const char *target_parent, *target_base;
	struct stat st, old;
	bool was_whiteout, here = false;
	struct timespec times[2];

	if (!target || !*target)
		return untar_bad(err, path, "hard link to nothing that could be linked");
	target_dir = xstrdup(target);
	target_base = untar_split(target_dir, &target_parent);
	dir = untar_open(untar->args.root_fd, target_parent, O_PATH | O_DIRECTORY);
	if (dir >= 0)
		here = fstatat(dir, target_base, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (here && S_ISDIR(st.st_mode))
		return untar_bad(err, path, "hard link to a directory");
	if (here && untar_is_whiteout(&st))
		return untar_bad(err, path, "hard link to a file that this layer deletes");
	/* A link to itself: some writers repeat a member that way. */
	if (here && fstatat(parent, base, &old, AT_SYMLINK_NOFOLLOW) == 0 &&
	    old.st_ino == st.st_ino && old.st_dev == st.st_dev)
		return 0;
	if (replace(untar, parent, base, path, &was_whiteout, err) < 0)
		return -1;
	if (!here) { /* in a lower layer, or nowhere: untar_fix() knows */
		if (buf_add_str(&untar->links, "H") < 0 ||
		    buf_add(&untar->links, path, strlen(path) + 1) < 0 ||
		    buf_add(&untar->links, target, strlen(target) + 1) < 0)
			return buf_err_full(&untar->links, "list of hard links", err);
		untar->result.deferred++;
		return 0;
	}
	if (linkat(dir, target_base, parent, base, 0) < 0)
		return untar_fail(err, errno, path, "hard link");
	if (set_attrs(parent, base, entry, st.st_mode, path, err) < 0)
		return -1;
	entry_times(entry, times);
	return set_times(parent, base, times, path, err);
}

static int file_begin(struct untar *untar, int parent, const char *base, const char *path,
                      const struct tar_entry *entry, struct err *err)
{
	struct file *file = &untar->file;
	const int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;
	bool was_whiteout;

	file->fd = openat(parent, base, flags, 0600);
	if (file->fd < 0 && errno == EEXIST) {
		if (replace(untar, parent, base, path, &was_whiteout, err) < 0)
			return -1;
		file->fd = openat(parent, base, flags, 0600);
	}
	if (file->fd < 0)
		return untar_fail(err, errno, path, "create");

	file->path = xstrdup(path);
	file->size = entry->size;
	file->written_to = file->flushed_to = 0;
	file->attrs = *entry;
	file->attrs.xattrs = file->xattrs;
	buf_clear(&file->xattr_bytes);
	for (size_t i = 0; i < entry->nxattrs; i++) {
		const struct tar_xattr *x = &entry->xattrs[i];

		if (buf_add(&file->xattr_bytes, x->name, strlen(x->name) + 1) < 0 ||
		    buf_add(&file->xattr_bytes, x->value, x->len) < 0)
			return buf_err_full(&file->xattr_bytes, path, err);
	}
	for (size_t i = 0, at = 0; i < entry->nxattrs; i++) {
		file->xattrs[i].name = file->xattr_bytes.data + at;
		at += strlen(file->xattrs[i].name) + 1;
		file->xattrs[i].value = file->xattr_bytes.data + at;
		file->xattrs[i].len = entry->xattrs[i].len;
		at += entry->xattrs[i].len;
	}
	return 0;
}

static int file_end(struct untar *untar, struct err *err)
{
	struct file *file = &untar->file;
	cleanup_close int fd = take_fd(&file->fd);
	cleanup_free char *path = take_ptr(file->path);
	struct timespec times[2];

	if (fd < 0)
		return 0;
	if (file->written_to < file->size && ftruncate(fd, (off_t)file->size) < 0)
		return untar_fail(err, errno, path, "set size");
	if (fchown(fd, file->attrs.uid, file->attrs.gid) < 0)
		return untar_fail(err, errno, path, "change owner");
	for (size_t i = 0; i < file->attrs.nxattrs; i++)
		if (untar_set_xattr(fd, NULL, &file->xattrs[i], true, path, err) < 0)
			return -1;
	if (fchmod(fd, file->attrs.mode) < 0)
		return err_sys(err, errno, "%.120s: change mode", path);
	entry_times(&file->attrs, times);
	if (futimens(fd, times) < 0) {
		const struct timespec epoch[2] = { { 0 }, { 0 } };

		if (errno != EINVAL || futimens(fd, epoch) < 0)
			return err_sys(err, errno, "%.120s: set times", path);
	}
	return 0;
}

static int make_other(struct untar *untar, int parent, const char *base, const char *path,
                      const struct tar_entry *entry, struct err *err)
{
	mode_t kind = entry->type == TAR_CHAR       ? S_IFCHR
	              : entry->type == TAR_BLOCKDEV ? S_IFBLK
	              : entry->type == TAR_FIFO     ? S_IFIFO
	                                            : S_IFLNK;
	dev_t dev = makedev(entry->major, entry->minor);
	struct timespec times[2];
	bool was_whiteout;
	int rc;

	if (kind == S_IFCHR || kind == S_IFBLK) {
		/* A device 0:0 would delete a lower file without being a whiteout of the image format. */
		if (entry->major == 0 && entry->minor == 0 && kind == S_IFCHR)
			return 0;
		if (entry->major > 0xfff || entry->minor > 0xfffff)
			return untar_bad(err, path, "device number out of range");
	} else {
		dev = 0;
	}
	if (replace(untar, parent, base, path, &was_whiteout, err) < 0)
		return -1;
	rc = kind == S_IFLNK ? symlinkat(entry->link, parent, base)
	                     : mknodat(parent, base, kind | 0600, dev);
	if (rc < 0)
		return untar_fail(err, errno, path, "create");
	entry_times(entry, times);
	if (set_attrs(parent, base, entry, kind, path, err) < 0)
		return -1;
	return set_times(parent, base, times, path, err);
}

/* --- whiteouts */

static int make_opaque(struct untar *untar, const char *parent_path, struct err *err)
{
	cleanup_close int fd = -1;
	int parent;

	if (!*parent_path) {
		untar->result.opaque_root = true;
		return 0;
	}
	parent = parent_get(untar, parent_path, true, err);
	if (parent < 0)
		return err->code == CODE_OK ? 0 : -1;
	fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "%.120s: open", parent_path);
	implicit_keep(untar, parent_path); /* the directory is meant to be there */
	return mark_opaque(untar, fd, parent_path, err);
}

static int make_whiteout(struct untar *untar, const char *parent_path, const char *base,
                         const char *hidden_path, const struct tar_entry *entry, struct err *err)
{
	struct stat st;
	int parent = parent_get(untar, parent_path, true, err);

	if (parent < 0)
		return err->code == CODE_OK ? 0 : -1; /* the parent itself is whited out */
	if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		int rc;

		if (!S_ISDIR(st.st_mode))
			return 0; /* a file of this layer hides the lower one already */
		if (map_find(&untar->implicit, hidden_path) != FOR_WHITEOUT)
			return mark_opaque_at(untar, parent, base, hidden_path, err);
		rc = tree_remove(parent, base);
		if (rc < 0)
			return err_sys(err, -rc, "%.120s: remove", hidden_path);
		map_remove(&untar->implicit, hidden_path);
		untar->parent_stale = true;
		return make_whiteout(untar, parent_path, base, hidden_path, entry, err);
	}
	if (errno != ENOENT)
		return untar_fail(err, errno, hidden_path, "look up");
	if (mknodat(parent, base, S_IFCHR, 0) < 0)
		return untar_fail(err, errno, hidden_path, "make whiteout");
	if (fchownat(parent, base, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return untar_fail(err, errno, hidden_path, "change owner");
	return 0;
}

static int whiteout(struct untar *untar, const char *parent, const char *base,
                    const struct tar_entry *entry, struct err *err)
{
	cleanup_free char *hidden = NULL;

	if (streq(base, OPAQUE_NAME))
		return make_opaque(untar, parent, err);
	if (starts_with(base, ".wh..wh.")) /* aufs left its own files in old images */
		return 0;
	base += strlen(WHITEOUT_PREFIX);
	if (!*base || streq(base, ".") || streq(base, ".."))
		return untar_bad(err, entry->path, "whiteout without a name");
	hidden = xasprintf("%s%s%s", parent, *parent ? "/" : "", base);
	return make_whiteout(untar, parent, base, hidden, entry, err);
}

/* --- entries */

int untar_entry(struct untar *untar, const struct tar_entry *entry, struct err *err)
{
	cleanup_free char *path = NULL;
	cleanup_free char *parts = NULL;
	const char *parent, *base;
	int dir;

	err_clear(err);
	if (file_end(untar, err) < 0)
		return -1;
	if (++untar->files_since >= CHECK_SPACE_FILES && check_space(untar, err) < 0)
		return -1;

	path = tar_clean_path(entry->path);
	if (!path)
		return untar_bad(err, entry->path, "a name is longer than 255 bytes");
	if (!*path)
		return make_root(untar, entry, err);
	parts = xstrdup(path);
	base = untar_split(parts, &parent);
	if (starts_with(base, WHITEOUT_PREFIX))
		return whiteout(untar, parent, base, entry, err);

	dir = parent_get(untar, parent, false, err);
	if (dir < 0)
		return -1;
	implicit_keep(untar, parent);
	switch (entry->type) {
	case TAR_DIR:
		return make_dir(untar, dir, base, path, entry, err);
	case TAR_FILE:
		return file_begin(untar, dir, base, path, entry, err);
	case TAR_HARDLINK:
		return make_link(untar, dir, base, path, entry, err);
	case TAR_SYMLINK:
	case TAR_CHAR:
	case TAR_BLOCKDEV:
	case TAR_FIFO:
		return make_other(untar, dir, base, path, entry, err);
	}
	return untar_bad(err, path, "unknown entry type");
}

int untar_data(struct untar *untar, const void *data, size_t len, uint64_t offset, struct err *err)
{
	struct file *file = &untar->file;
	ssize_t n;

	if (file->fd < 0) /* of a whiteout: it may have any */
		return 0;
	if (offset > file->size || len > file->size - offset)
		return untar_bad(err, file->path, "more data than its size");
	n = pwrite_full(file->fd, data, len, (off_t)offset);
	if (n < 0)
		return untar_fail(err, (int)-n, file->path, "write");
	if (offset + len > file->written_to)
		file->written_to = offset + len;
	/* Start writing back early: a burst of dirty pages at the end would stall everybody's fsync. */
	if (file->written_to - file->flushed_to >= WRITEBACK_BYTES) {
		ignore(sync_file_range(file->fd, (off_t)file->flushed_to,
		                       (off_t)(file->written_to - file->flushed_to),
		                       SYNC_FILE_RANGE_WRITE)); /* a hint */
		file->flushed_to = file->written_to;
	}
	untar->bytes_since += len;
	if (untar->bytes_since >= CHECK_SPACE_BYTES)
		return check_space(untar, err);
	return 0;
}

/* --- the end */

static int finish_times(struct untar *untar, struct err *err)
{
	const char *p = untar->dir_times.data, *end = p + untar->dir_times.len;

	while (p && p < end) {
		cleanup_free char *parts = NULL;
		cleanup_close int dir = -1;
		const char *path = p + sizeof(struct dir_time), *parent, *base;
		struct dir_time time;
		struct timespec times[2];
		struct stat st;

		memcpy(&time, p, sizeof(time));
		p = path + strlen(path) + 1;
		parts = xstrdup(path);
		base = untar_split(parts, &parent);
		dir = untar_open(untar->args.root_fd, parent, O_PATH | O_DIRECTORY);
		/* a later entry may have replaced it */
		if (dir < 0 || fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		times[0] = (struct timespec){ .tv_sec = time.atime_s, .tv_nsec = time.atime_ns };
		times[1] = (struct timespec){ .tv_sec = time.mtime_s, .tv_nsec = time.mtime_ns };
		if (set_times(dir, base, times, path, err) < 0)
			return -1;
	}
	return 0;
}

int untar_measure(int root_fd, struct untar_result *result, struct err *err)
{
	struct usage usage;
	int rc = usage_walk(root_fd, ".", &usage);

	if (rc < 0)
		return err_sys(err, -rc, "measure layer");
	result->size_bytes = usage.bytes;
	result->inodes = usage.inodes;
	return 0;
}

int untar_finish(struct untar *untar, struct untar_result *ret, struct buf *deferred,
                 struct err *err)
{
	err_clear(err);
	if (file_end(untar, err) < 0 || finish_times(untar, err) < 0 || check_space(untar, err) < 0)
		return -1;
	/* Links first: they touch the times of directories. */
	if (untar->links.len && buf_add(deferred, untar->links.data, untar->links.len) < 0)
		return buf_err_full(deferred, "list of hard links", err);
	map_for_each(e, &untar->implicit) {
		if (buf_add_str(deferred, "D") < 0 ||
		    buf_add(deferred, e->key, strlen(e->key) + 1) < 0)
			return buf_err_full(deferred, "list of directories", err);
		untar->result.deferred++;
	}
	if (untar_measure(untar->args.root_fd, &untar->result, err) < 0)
		return -1;
	*ret = untar->result;
	return 0;
}
