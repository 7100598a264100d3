#include "core/journal/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"

/* A directory that a power cut takes away again takes everything in it along. */
static int make_dir(const char *path)
{
	cleanup_free char *parent = xstrdup(path);
	size_t len = strlen(parent);
	int rc;

	if (mkdir(path, 0700) == 0)
		rc = 0;
	else if (errno == EEXIST)
		return 0;
	else if (errno != ENOENT)
		return -errno;
	else
		rc = -ENOENT;

	while (len > 1 && parent[len - 1] == '/')
		len--;
	while (len > 0 && parent[len - 1] != '/')
		len--;
	while (len > 1 && parent[len - 1] == '/')
		len--;
	parent[len] = '\0';
	if (rc == -ENOENT) {
		if (len == 0)
			return rc;
		rc = make_dir(parent);
		if (rc < 0)
			return rc;
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return fsx_fsync_dir(len ? parent : ".");
}

static int open_quiet(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_NOATIME | O_CLOEXEC);

	if (fd < 0 && errno == EPERM) /* not the owner's file */
		fd = openat(dir, name, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int disk_open_dir(const char *path, bool create)
{
	int rc = create ? make_dir(path) : 0;

	return rc < 0 ? rc : open_quiet(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
}

int disk_open(int dir, const char *name, int flags)
{
	int fd;

	if ((flags & O_ACCMODE) == O_RDONLY)
		return open_quiet(dir, name, flags | O_NOFOLLOW | O_NONBLOCK);
	fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

void disk_close(int fd)
{
	close(fd);
}

int disk_size(int fd, uint64_t *ret_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

int disk_list(int dir, char ***ret_names)
{
	return fsx_list(dir, ".", ret_names);
}

ssize_t disk_pread(int fd, void *data, size_t len, uint64_t off)
{
	return pread_full(fd, data, len, (off_t)off);
}

uint64_t disk_next_data(int fd, uint64_t off)
{
	off_t data = lseek(fd, (off_t)off, SEEK_DATA);

	if (data >= 0)
		return (uint64_t)data;
	return errno == ENXIO ? UINT64_MAX
	                      : off; /* a filesystem that does not know may hold anything */
}

int disk_pwrite(int fd, const void *data, size_t len, uint64_t off)
{
	ssize_t n = pwrite_full(fd, data, len, (off_t)off);

	return n < 0 ? (int)n : 0;
}

int disk_truncate(int fd, uint64_t bytes)
{
	return ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
}

int disk_fdatasync(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

int disk_fsync(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

int disk_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat(from_dir, from, to_dir, to) < 0 ? -errno : 0;
}

int disk_unlink(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

int disk_watch(const char *path)
{
	cleanup_close int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, path, IN_MOVED_TO | IN_ONLYDIR) < 0)
		return -errno;
	return take_fd(&fd);
}
