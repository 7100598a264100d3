/* core/image/usage.c */
#include "core/image/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/overlay.h"
#include "core/image/tree.h"

#define LEVELS 4096
#define SCALE  20 /* fixed point of the shares that hard links get */

struct level {
	ino_t ino;
	int64_t next; /* where to go on when we come back */
};

struct walk {
	int top, dir;
	dev_t dev;
	size_t depth;
	uint64_t bytes, inodes; /* of things with one link */
	uint64_t share_bytes, share_inodes;
	struct level levels[LEVELS + 1];
};

static void count(struct walk *walk, const struct stat *st)
{
	uint64_t bytes = (uint64_t)st->st_blocks * 512;

	if (S_ISDIR(st->st_mode) || st->st_nlink <= 1) {
		walk->bytes += bytes;
		walk->inodes++;
		return;
	}
	walk->share_bytes += bytes / st->st_nlink;
	walk->share_inodes += (UINT64_C(1) << SCALE) / st->st_nlink;
}

/* Entries of the current directory from where we were; 1 when it went down into one. */
static int scan(struct walk *walk)
{
	char block[TREE_BLOCK] __attribute__((aligned(8)));
	struct level *level = &walk->levels[walk->depth];
	ssize_t n;

	if (lseek(walk->dir, level->next, SEEK_SET) < 0)
		return -errno;
	while ((n = tree_read(walk->dir, block, sizeof(block))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct tree_entry *entry = (const void *)(block + at);
			struct stat st;
			int fd;

			at += entry->len;
			level->next = entry->next;
			if (tree_is_dot(entry->name))
				continue;
			if (fstatat(walk->dir, entry->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			    st.st_dev != walk->dev)
				continue; /* gone meanwhile, or a mount */
			count(walk, &st);
			if (!S_ISDIR(st.st_mode) || walk->depth == LEVELS)
				continue;
			fd = tree_enter(walk->dir, entry->name);
			if (fd < 0)
				continue;
			if (walk->dir != walk->top)
				close(walk->dir);
			walk->dir = fd;
			walk->levels[++walk->depth] = (struct level){ .ino = st.st_ino };
			return 1;
		}
	}
	return n < 0 ? (int)n : 0;
}

static int go_up(struct walk *walk)
{
	struct stat st;
	int fd;

	fd = walk->depth == 1 ? walk->top
	                      : openat(walk->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(walk->dir);
	walk->dir = fd;
	walk->depth--;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* A live container may have moved the directory from under us. The count is then a guess, and stops. */
	return st.st_ino == walk->levels[walk->depth].ino ? 0 : -ESTALE;
}

int usage_walk(int dirfd, const char *path, struct usage *ret)
{
	struct walk walk = { 0 };
	struct stat st;
	int rc = 0;

	walk.top = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (walk.top < 0)
		return -errno;
	walk.dir = walk.top;
	if (fstat(walk.top, &st) < 0) {
		rc = -errno;
		goto out;
	}
	walk.dev = st.st_dev;
	walk.levels[0].ino = st.st_ino;
	count(&walk, &st);
	for (;;) {
		rc = scan(&walk);
		if (rc < 0)
			break;
		if (rc == 1)
			continue;
		if (walk.depth == 0)
			break;
		rc = go_up(&walk);
		if (rc < 0)
			break;
	}
	if (rc == -ESTALE)
		rc = 0;
	if (rc == 0)
		*ret = (struct usage){
			.bytes = walk.bytes + walk.share_bytes,
			.inodes = walk.inodes +
			          ((walk.share_inodes + (UINT64_C(1) << (SCALE - 1))) >> SCALE),
		};
out:
	if (walk.dir != walk.top)
		close(walk.dir);
	close(walk.top);
	return rc;
}

int usage_child(void *path)
{
	struct usage usage = { 0 };
	char line[64];
	int rc;

	rc = usage_walk(AT_FDCWD, path, &usage);
	if (rc < 0) {
		const char *why = errno_name(-rc);

		ignore(write_full(STDERR_FILENO, why,
		                  strlen(why))); /* the exit status says it too */
		return 1;
	}
	ignore(str_format(line, sizeof(line), "%llu %llu\n",
	                  (unsigned long long)usage.bytes, /* fits */
	                  (unsigned long long)usage.inodes));
	return write_full(STDOUT_FILENO, line, strlen(line)) < 0;
}

int usage_parse(const char *text, size_t len, struct usage *ret, struct err *err)
{
	struct str line, rest, bytes, inodes;
	struct usage usage;

	if (!str_cut((struct str){ text, len }, '\n', &line, &rest) ||
	    !str_cut(line, ' ', &bytes, &inodes) || str_u64(bytes, UINT64_MAX, &usage.bytes) < 0 ||
	    str_u64(inodes, UINT64_MAX, &usage.inodes) < 0)
		return err_set(err, CODE_INTERNAL,
		               "usage: the walk printed something else than two numbers");
	*ret = usage;
	return 0;
}

int usage_layers(const char *root, struct usage *ret)
{
	cleanup_free char *dir = xasprintf("%s/layers", root);
	cleanup(strv_free) char **names = NULL;
	struct usage sum = { 0 };
	int rc = fsx_list(AT_FDCWD, dir, &names);

	if (rc < 0)
		return rc;
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s/meta", dir, names[i]);
		cleanup_free char *text = NULL;
		struct layer_meta meta;
		size_t len;

		/* one that is being removed has no meta any more: not counted */
		if (fsx_read(AT_FDCWD, path, 4096, &text, &len) < 0 ||
		    layer_meta_parse(text, len, &meta) < 0)
			continue;
		sum.bytes += meta.size_bytes;
		sum.inodes += meta.inodes;
	}
	*ret = sum;
	return 0;
}
