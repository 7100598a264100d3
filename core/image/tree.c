/* core/image/tree.c
 *
 * The walk keeps one open directory and goes up through "..". A tree that somebody else still moves around could lead it
 * astray there, so each level's inode is remembered and compared. Below LEVELS a directory is first moved up to the top.
 */
#include "core/image/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/str.h"
#include "core/base/sys.h"

#define LEVELS 1024

ssize_t tree_read(int dirfd, void *block, size_t size)
{
	long n = syscall(SYS_getdents64, dirfd, block, size);

	return n < 0 ? -errno : n;
}

int tree_enter(int dirfd, const char *name)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};

	return sys_openat2(dirfd, name, &how);
}

struct walk {
	int top, dir;
	size_t depth; /* of dir below top */
	unsigned moved;
	ino_t ino[LEVELS + 1];
};

static int level_ino(int fd, ino_t *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = st.st_ino;
	return 0;
}

static int go_down(struct walk *walk, const char *name)
{
	char parked[32];
	int fd, rc;

	if (walk->depth == LEVELS) { /* too deep: park it at the top, its turn comes */
		do {
			ignore(str_format(parked, sizeof(parked), ".deep-%u",
			                  walk->moved++)); /* fits */
			rc = sys_renameat2(walk->dir, name, walk->top, parked, RENAME_NOREPLACE);
		} while (rc == -EEXIST);
		return rc;
	}
	fd = tree_enter(walk->dir, name);
	if (fd < 0)
		return fd;
	rc = level_ino(fd, &walk->ino[walk->depth + 1]);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	if (walk->dir != walk->top)
		close(walk->dir);
	walk->dir = fd;
	walk->depth++;
	return 0;
}

static int go_up(struct walk *walk)
{
	ino_t ino = 0;
	int fd, rc;

	/* Not RESOLVE_BENEATH: ".." is the point. The inode tells whether it is where we came from. */
	fd = walk->depth == 1 ? walk->top
	                      : openat(walk->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = level_ino(fd, &ino);
	if (rc == 0 && ino != walk->ino[walk->depth - 1])
		rc = -ESTALE;
	if (rc < 0) {
		if (fd != walk->top)
			close(fd);
		return rc;
	}
	close(walk->dir);
	walk->dir = fd;
	walk->depth--;
	return 0;
}

/* 1: a directory with something in it */
static int remove_one(int dirfd, const char *name)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM) /* EPERM is POSIX's word for "is a directory" */
		return -errno;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno == ENOTDIR) /* then EPERM meant what it says: an immutable file */
		return -EPERM;
	return errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
}

/* Remove what can be removed here; 1 when it went down into a directory instead of finishing, 2 when it parked one. */
static int sweep(struct walk *walk)
{
	char block[TREE_BLOCK] __attribute__((aligned(8)));
	ssize_t n;

	if (lseek(walk->dir, 0, SEEK_SET) < 0)
		return -errno;
	while ((n = tree_read(walk->dir, block, sizeof(block))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct tree_entry *entry = (const void *)(block + at);
			int rc;

			at += entry->len;
			if (tree_is_dot(entry->name))
				continue;
			rc = remove_one(walk->dir, entry->name);
			if (rc == 0)
				continue;
			if (rc > 0)
				rc = go_down(walk, entry->name);
			return rc < 0 ? rc : 1;
		}
	}
	return n < 0 ? (int)n : 0;
}

int tree_empty(int dirfd)
{
	struct walk walk = { .top = dirfd, .dir = dirfd };
	int rc;

	rc = level_ino(dirfd, &walk.ino[0]);
	while (rc == 0) {
		rc = sweep(&walk);
		if (rc < 0)
			break;
		if (rc == 1) { /* one level down (or something was parked): sweep there */
			rc = 0;
			continue;
		}
		if (walk.depth == 0)
			break;
		rc = go_up(&walk); /* the next sweep removes the directory that is empty now */
	}
	if (walk.dir != dirfd)
		close(walk.dir);
	return rc < 0 ? rc : 0;
}

int tree_remove(int dirfd, const char *name)
{
	int rc = remove_one(dirfd, name), fd;

	if (rc <= 0)
		return rc;
	fd = tree_enter(dirfd, name);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	rc = tree_empty(fd);
	close(fd);
	if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}
