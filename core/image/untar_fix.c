/* core/image/untar_fix.c
 *
 * The second half of unpacking a layer, once the layers beneath it are complete: directories that its archive did not mention
 * look like those they are merged with, and hard links to files of a lower layer become copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/untar.h"
#include "core/image/untar_internal.h"

static int copy_xattrs(int from, int to, const char *path, struct err *err)
{
	char names[16384];
	cleanup_free char *value = NULL;
	ssize_t n;

	n = flistxattr(from, names, sizeof(names));
	if (n < 0)
		return errno == ENOTSUP ? 0
		                        : err_sys(err, errno,
		                                  "%.120s: list xattrs of the lower layer", path);
	value = xcalloc(1, XATTR_SIZE_MAX);
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		struct tar_xattr xattr = { .name = name, .value = value };
		ssize_t len;

		if (!untar_xattr_wanted(name))
			continue;
		len = fgetxattr(from, name, value, XATTR_SIZE_MAX);
		if (len < 0)
			return err_sys(err, errno, "%.120s: read %s of the lower layer", path,
			               name);
		xattr.len = (size_t)len;
		if (untar_set_xattr(to, NULL, &xattr, true, path, err) < 0)
			return -1;
	}
	return 0;
}

static int copy_attrs(int from, int to, const char *path, struct err *err)
{
	struct timespec times[2];
	struct stat st;

	if (fstat(from, &st) < 0)
		return err_sys(err, errno, "%.120s: look up in the lower layer", path);
	if (fchown(to, st.st_uid, st.st_gid) < 0)
		return err_sys(err, errno, "%.120s: change owner", path);
	if (copy_xattrs(from, to, path, err) < 0)
		return -1;
	if (fchmod(to, st.st_mode & 07777) < 0)
		return err_sys(err, errno, "%.120s: change mode", path);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (futimens(to, times) < 0)
		return err_sys(err, errno, "%.120s: set times", path);
	return 0;
}

/* 1: a lower layer decides here (it has something at @path, or something in its way), 0: look further down. */
static int lower_decides(int lower, const char *path, int flags, int *ret_fd)
{
	int fd = untar_open(lower, path, flags | O_NOFOLLOW);

	*ret_fd = fd;
	return fd != -ENOENT;
}

static int fix_dir(int root_fd, const char *path, const int *lower_fds, size_t nlower,
                   struct err *err)
{
	cleanup_close int own = untar_open(root_fd, path, O_RDONLY | O_DIRECTORY);

	if (own < 0)
		return 0; /* replaced by a later entry */
	for (size_t i = 0; i < nlower; i++) {
		cleanup_close int lower = -1;

		if (!lower_decides(lower_fds[i], path, O_RDONLY | O_DIRECTORY, &lower))
			continue;
		return lower >= 0 ? copy_attrs(lower, own, path, err) : 0;
	}
	return 0;
}

static int copy_data(int from, int to, const char *path, struct err *err)
{
	for (;;) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);

		if (n < 0)
			return err_sys(err, errno, "%.120s: copy from the lower layer", path);
		if (n == 0)
			return 0;
	}
}

/* A hard link to a file of a lower layer is a copy of it: what copying up would have made. */
static int copy_up(int root_fd, const char *path, int lower_parent, const char *base,
                   const struct stat *st, struct err *err)
{
	cleanup_free char *parts = xstrdup(path);
	cleanup_close int dir = -1;
	cleanup_close int from = -1;
	cleanup_close int to = -1;
	char target[TAR_PATH_MAX + 1];
	const char *parent, *own = untar_split(parts, &parent);
	ssize_t n;

	dir = untar_open(root_fd, parent, O_PATH | O_DIRECTORY);
	if (dir < 0)
		return untar_fail(err, -dir, path, "open directory");
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(lower_parent, base, target, TAR_PATH_MAX);
		if (n < 0)
			return err_sys(err, errno, "%.120s: read symlink of the lower layer", path);
		target[n] = '\0';
		if (symlinkat(target, dir, own) < 0 ||
		    fchownat(dir, own, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
			return untar_fail(err, errno, path, "copy symlink");
		return 0;
	}
	if (!S_ISREG(st->st_mode))
		return untar_bad(err, path,
		                 "hard link to something in a lower layer that is no file");
	from = openat(lower_parent, base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0)
		return err_sys(err, errno, "%.120s: open in the lower layer", path);
	to = openat(dir, own, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return untar_fail(err, errno, path, "create");
	if (copy_data(from, to, path, err) < 0)
		return -1;
	return copy_attrs(from, to, path, err);
}

static int fix_link(int root_fd, const char *path, const char *target, const int *lower_fds,
                    size_t nlower, struct err *err)
{
	cleanup_free char *parts = xstrdup(target);
	const char *parent, *base = untar_split(parts, &parent);

	for (size_t i = 0; i < nlower; i++) {
		cleanup_close int dir = untar_open(lower_fds[i], parent, O_PATH | O_DIRECTORY);
		struct stat st;

		if (dir == -ENOENT)
			continue;
		if (dir < 0)
			break; /* something is in the way: the target is hidden */
		if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT)
				continue;
			return untar_fail(err, errno, path, "look up in the lower layer");
		}
		if (untar_is_whiteout(&st) || S_ISDIR(st.st_mode))
			break;
		return copy_up(root_fd, path, dir, base, &st, err);
	}
	return err_set(err, CODE_INVALID_ARGUMENT, "%.120s: hard link to %s, which does not exist",
	               path, target);
}

int untar_fix(int root_fd, const void *deferred, size_t len, const int *lower_fds, size_t nlower,
              struct untar_result *inout, struct err *err)
{
	struct str rest = { deferred, len }, first, target;

	while (rest.len > 0) {
		char kind = rest.p[0];

		rest = (struct str){ rest.p + 1, rest.len - 1 };
		if (!str_cut(rest, '\0', &first, &rest))
			return err_set(err, CODE_INTERNAL, "damaged list of deferred entries");
		if (kind == 'D') {
			if (fix_dir(root_fd, first.p, lower_fds, nlower, err) < 0)
				return -1;
		} else if (kind == 'H' && str_cut(rest, '\0', &target, &rest)) {
			if (fix_link(root_fd, first.p, target.p, lower_fds, nlower, err) < 0)
				return -1;
		} else {
			return err_set(err, CODE_INTERNAL, "damaged list of deferred entries");
		}
	}
	return untar_measure(root_fd, inout, err);
}
