/* core/base/fsx.c */
#include "core/base/fsx.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/base/sys.h"

int fsx_mkdir_p(const char *path, mode_t mode)
{
	cleanup_free char *part = xstrdup(path);
	char *p = part;
	struct stat st;

	if (!*path)
		return -ENOENT;
	for (;;) {
		char kept;

		p += strspn(p, "/");
		p += strcspn(p, "/");
		kept = *p;
		*p = '\0';
		if (mkdir(part, mode) < 0 && errno != EEXIST) {
			int saved = errno;

			/* mkdir on a read-only or foreign file system complains before it looks:
			 * what is there is there */
			if (stat(part, &st) < 0 || !S_ISDIR(st.st_mode))
				return -saved;
		}
		*p = kept;
		if (!p[strspn(p, "/")])
			break;
	}
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* Reads to the end into a growing block; st_size is only a hint (proc files say 0, others may
 * grow). */
static int read_all(int fd, size_t hint, size_t max_bytes, char **ret_text, size_t *ret_len)
{
	/* one byte more to see that there is more, one for NUL */
	size_t cap = MIN(MAX(hint, (size_t)4095), max_bytes) + 2;
	cleanup_free char *text = malloc(cap);
	size_t len = 0;

	if (!text)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read_full(fd, text + len, cap - 1 - len);
		char *more;

		if (n < 0)
			return (int)n;
		len += (size_t)n;
		if (len > max_bytes)
			return -EFBIG;
		if (len < cap - 1)
			break;
		cap = MIN(cap * 2, max_bytes + 2);
		more = realloc(text, cap);
		if (!more)
			return -ENOMEM;
		text = more;
	}
	text[len] = '\0';
	*ret_text = take_ptr(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int fsx_read(int dirfd, const char *path, size_t max_bytes, char **ret_text, size_t *ret_len)
{
	cleanup_close int fd = -1;
	struct stat st;

	ensure(max_bytes < SSIZE_MAX - 2);
	/* O_NONBLOCK: a fifo somebody left there must not stop us */
	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) /* /dev/null is a fine empty file */
		return -EINVAL;
	if (S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size > max_bytes)
		return -EFBIG;
	return read_all(fd, S_ISREG(st.st_mode) ? (size_t)st.st_size : 0, max_bytes, ret_text,
	                ret_len);
}

/* The directory that holds @path (an O_PATH-less descriptor, so that it can be fsynced) and the
 * name inside it. */
static int open_parent(int dirfd, const char *path, char **ret_name)
{
	cleanup_free char *dir = xstrdup(path);
	size_t len = strlen(dir);
	char *slash;
	int fd;

	while (len > 1 && dir[len - 1] == '/')
		dir[--len] = '\0';
	slash = strrchr(dir, '/');
	*ret_name = xstrdup(slash ? slash + 1 : dir);
	if (!**ret_name || streq(*ret_name, ".") || streq(*ret_name, "..")) {
		free(take_ptr(*ret_name));
		return -EINVAL;
	}
	if (!slash)
		fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	else {
		slash[1] = '\0'; /* keeps "/" for a name in the root */
		fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0) {
		int saved = errno;

		free(take_ptr(*ret_name));
		return -saved;
	}
	return fd;
}

/* ".name.0123456789abcdef.tmp": found by eye beside the file, and cut if the name is near NAME_MAX
 * already */
static int create_temp(int dir, const char *name, char temp[NAME_MAX + 1], mode_t mode)
{
	for (;;) {
		int fd;

		ensure(str_format(temp, NAME_MAX + 1, ".%.200s.%016llx.tmp", name,
		                  (unsigned long long)rand_u64()) == 0);
		fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		            mode & 07777);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			return -errno;
	}
}

static int fill_and_rename(int dir, int fd, const char *temp, const char *name, const void *data,
                           size_t len, mode_t mode, bool durable)
{
	ssize_t n;

	if (fchmod(fd, mode & 07777) < 0) /* whatever the umask */
		return -errno;
	n = write_full(fd, data, len);
	if (n < 0)
		return (int)n;
	if (durable && fsync(fd) < 0)
		return -errno;
	return renameat(dir, temp, dir, name) < 0 ? -errno : 0;
}

static int put_file(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
                    bool durable)
{
	cleanup_free char *name = NULL;
	cleanup_close int dir = -1;
	cleanup_close int fd = -1;
	char temp[NAME_MAX + 1];
	int rc;

	dir = open_parent(dirfd, path, &name);
	if (dir < 0)
		return dir;
	fd = create_temp(dir, name, temp, mode);
	if (fd < 0)
		return fd;

	rc = fill_and_rename(dir, fd, temp, name, data, len, mode, durable);
	if (rc < 0) {
		unlinkat(dir, temp, 0);
		return rc;
	}
	return durable ? fsx_fsync_dirfd(dir) : 0;
}

int fsx_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	return put_file(dirfd, path, data, len, mode, true);
}

int fsx_write(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	return put_file(dirfd, path, data, len, mode, false);
}

int fsx_fsync_dirfd(int dirfd)
{
	return fsync(dirfd) < 0 ? -errno : 0;
}

int fsx_fsync_dir(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fsx_fsync_dirfd(fd);
}

/*
 * Removing a tree
 *
 * One directory is open at a time. Going down pushes the child's name and the identity of the
 * directory we leave; coming back opens ".." and insists on that identity, so that a tree somebody
 * rearranges under us cannot lead us out of it. Neither descriptors nor stack grow with the depth,
 * and no path is ever put together (a tree may be deeper than PATH_MAX). After coming back the
 * directory is read from its start: what was seen before is gone by then.
 */
struct level {
	dev_t dev;
	ino_t ino;
	char *name; /* of the child we went into */
};

#define MAX_REFILLED 1000
#define MAX_PASSES   1000

struct walk {
	int dir; /* the directory being emptied */
	struct level *levels;
	size_t depth, cap;
	unsigned refilled; /* how often a directory we had emptied was not empty */
};

static void walk_release(struct walk *walk)
{
	for (size_t i = 0; i < walk->depth; i++)
		free(walk->levels[i].name);
	free(walk->levels);
	if (walk->dir >= 0)
		close(walk->dir);
}
DEFINE_CLEANUP(struct walk, walk_release);

/* A directory of ours that its owner locked. By descriptor: chmod by name would follow a symlink
 * put there meanwhile. */
static int unlock(int dir, const char *name)
{
	cleanup_close int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char self[32];

	if (fd < 0)
		return -errno;
	ensure(str_format(self, sizeof(self), "/proc/self/fd/%d", fd) == 0);
	return chmod(self, 0700) < 0 ? -errno : 0;
}

/* RESOLVE_NO_XDEV also stops at bind mounts of the same file system, which st_dev does not show. */
static int open_beneath(int dir, const char *name)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int fd = sys_openat2(dir, name, &how);

	if (fd == -EACCES && unlock(dir, name) == 0)
		fd = sys_openat2(dir, name, &how);
	return fd == -EXDEV ? -EBUSY : fd;
}

static int walk_down(struct walk *walk, const char *name)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (fstat(walk->dir, &st) < 0)
		return -errno;
	fd = open_beneath(walk->dir, name);
	if (fd < 0)
		return fd;

	if (walk->depth == walk->cap) {
		walk->cap = walk->cap ? walk->cap * 2 : 16;
		walk->levels = xrealloc(walk->levels, walk->cap, sizeof(*walk->levels));
	}
	walk->levels[walk->depth++] = (struct level){ st.st_dev, st.st_ino, xstrdup(name) };
	close(walk->dir);
	walk->dir = take_fd(&fd);
	return 0;
}

static int walk_up(struct walk *walk)
{
	struct level *level = &walk->levels[--walk->depth];
	cleanup_free char *name = take_ptr(level->name);
	cleanup_close int parent = -1;
	struct stat st;

	parent = openat(walk->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0 || fstat(parent, &st) < 0)
		return -errno;
	if (st.st_dev != level->dev || st.st_ino != level->ino)
		return -ESTALE; /* moved away while we were inside */
	close(walk->dir);
	walk->dir = take_fd(&parent);

	if (unlinkat(walk->dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	/* Somebody still writes there: once more from above, but not for ever. */
	if (errno != ENOTEMPTY || ++walk->refilled > MAX_REFILLED)
		return -errno;
	return walk_down(walk, name);
}

/* One name: 0 gone, 1 a directory that is not empty, else -errno. Trying costs less than asking
 * what it is. */
static int remove_name(int dir, const char *name, bool is_dir)
{
	if (!is_dir) {
		if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
			return 0;
		if (errno == EACCES && fchmod(dir, 0700) == 0 && unlinkat(dir, name, 0) == 0)
			return 0;
		if (errno != EISDIR)
			return -errno;
	}
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno == EACCES && fchmod(dir, 0700) == 0 && unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno == ENOTDIR) /* replaced meanwhile */
		return unlinkat(dir, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
	return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

/* What the kernel writes; libc's struct dirent64 under its own name, with one byte of name to find
 * the offset. */
struct kernel_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[1];
};

/* The names in one block: 1 went down into one of them, 0 they are gone, else -errno. */
static int remove_block(struct walk *walk, const char *block, long len, bool *ret_any)
{
	for (long at = 0; at < len;) {
		const struct kernel_dirent *entry = (const void *)(block + at);
		int rc;

		at += entry->reclen;
		if (streq(entry->name, ".") || streq(entry->name, ".."))
			continue;
		*ret_any = true;
		rc = remove_name(walk->dir, entry->name, entry->type == DT_DIR);
		if (rc > 0) {
			rc = walk_down(walk, entry->name);
			if (rc == 0)
				return 1;
		}
		if (rc < 0 && rc != -ENOENT) /* gone meanwhile is gone */
			return rc;
	}
	return 0;
}

/* Empty walk->dir up to the first sub-directory that needs a visit: 1 went down, 0 empty, else
 * -errno. Some file systems skip names while others vanish: empty is what shows none from its
 * start. */
static int empty_here(struct walk *walk, char *block, size_t size)
{
	for (int pass = 0; pass < MAX_PASSES; pass++) {
		bool any = false;
		long n;

		if (lseek(walk->dir, 0, SEEK_SET) < 0)
			return -errno;
		while ((n = syscall(SYS_getdents64, walk->dir, block, size)) > 0) {
			int rc = remove_block(walk, block, n, &any);

			if (rc != 0)
				return rc;
		}
		if (n < 0 && errno != ENOENT) /* removed under us: as empty as it gets */
			return -errno;
		if (!any)
			return 0;
	}
	return -ENOTEMPTY; /* names that never go: a broken or hostile file system */
}

int fsx_remove_tree(int dirfd, const char *path)
{
	cleanup(walk_release) struct walk walk = { .dir = -1 };
	cleanup_free char *block = NULL;
	cleanup_free char *name = NULL;
	const size_t block_size = 32768;
	int rc;

	walk.dir = open_parent(dirfd, path, &name);
	if (walk.dir < 0)
		return walk.dir == -ENOENT ? 0 : walk.dir;
	rc = remove_name(walk.dir, name, false);
	if (rc <= 0)
		return rc;

	block = xrealloc(NULL, block_size, 1);
	rc = walk_down(&walk, name);
	while (rc >= 0 && walk.depth > 0) {
		rc = empty_here(&walk, block, block_size);
		if (rc == 0)
			rc = walk_up(&walk);
	}
	return rc < 0 ? rc : 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

int fsx_list(int dirfd, const char *path, char ***ret_names)
{
	cleanup(strv_free) char **names = xcalloc(1, sizeof(*names));
	__attribute__((__cleanup__(close_dir))) DIR *dir = NULL;
	size_t count = 0, cap = 0;
	int fd;

	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		int saved = errno;

		close(fd);
		return -saved;
	}
	for (;;) {
		const struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			return -errno;
		if (!entry)
			break;
		if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		if (count == cap) {
			cap = cap ? cap * 2 : 16;
			names = xrealloc(names, cap + 1, sizeof(*names));
		}
		names[count++] = xstrdup(entry->d_name);
		names[count] = NULL;
	}
	if (count)
		qsort(names, count, sizeof(*names), by_bytes);
	*ret_names = take_ptr(names);
	return 0;
}

bool fsx_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool fsx_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int file_read_all(const char *path, size_t max_bytes, char **ret_text, size_t *ret_len,
                  struct err *err)
{
	int rc = fsx_read(AT_FDCWD, path, max_bytes, ret_text, ret_len);

	if (rc == -EFBIG)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: larger than %zu bytes", path,
		               max_bytes);
	if (rc == -EINVAL)
		return err_set(err, CODE_FAILED_PRECONDITION, "%s: not a regular file", path);
	return rc < 0 ? err_sys(err, -rc, "read %s", path) : 0;
}
