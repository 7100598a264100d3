#include "tests/crash/simdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/disk.h"

#define FD_BASE     (1 << 24) /* far from real descriptors: mixing them up is an EBADF */
#define MAX_FDS     256
#define MAX_FILES   128
#define MAX_DIRS    16
#define MAX_WATCHES 4
#define NAME_BYTES  72

/* Contents are immutable and shared between versions and clones. NULL is a block of zeros. */
struct content {
	size_t refs;
	uint64_t hash;
	uint8_t data[DISK_BLOCK];
};

struct block {
	struct content **versions; /* [0] platter .. [count - 1] cache */
	size_t count;
	bool stuck; /* its write-back failed once */
	bool allocated;
};

struct place {
	int dir; /* -1: nowhere */
	char name[NAME_BYTES];
	uint64_t when;
};

struct file {
	bool exists; /* slot in use */
	struct block *blocks;
	size_t nblocks;
	uint64_t *sizes; /* versions, as in a block */
	size_t nsizes;
	struct place *places;
	size_t nplaces;
};

struct handle {
	bool open;
	int file, dir; /* one of them >= 0 */
};

struct watch {
	int fd, dir;
};

struct failure {
	uint64_t countdown;
	int sys;
	bool all;
};

struct simdisk {
	struct file files[MAX_FILES];
	char *dirs[MAX_DIRS];
	struct handle handles[MAX_FDS];
	struct watch watches[MAX_WATCHES];
	size_t nwatches;
	uint64_t now; /* order of directory changes */
	uint64_t steps, stop_at;
	bool stopped, outside;
	struct failure failures[SIMDISK_CREATE + 1];
	size_t space;
};

static struct simdisk *current;

/* --- contents */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	for (; len > 0; p++, len--)
		hash = (hash ^ *p) * UINT64_C(0x100000001b3);
	return hash;
}

static struct content *content_new(const uint8_t data[DISK_BLOCK])
{
	struct content *content;
	uint64_t any = 0, word;

	for (size_t i = 0; i < DISK_BLOCK && !any; i += sizeof(word)) {
		memcpy(&word, data + i, sizeof(word));
		any |= word;
	}
	if (!any)
		return NULL;
	content = xrealloc(NULL, 1, sizeof(*content));
	content->refs = 1;
	content->hash = hash_bytes(1, data, DISK_BLOCK);
	memcpy(content->data, data, DISK_BLOCK);
	return content;
}

static struct content *content_ref(struct content *content)
{
	if (content)
		content->refs++;
	return content;
}

static void content_unref(struct content *content)
{
	if (content && --content->refs == 0)
		free(content);
}

static struct content *garbage(void)
{
	uint8_t data[DISK_BLOCK];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 167 + 13);
	return content_new(data);
}

static bool same_content(const struct content *a, const struct content *b)
{
	return a == b ||
	       (a && b && a->hash == b->hash && memcmp(a->data, b->data, DISK_BLOCK) == 0);
}

/* --- blocks and files */

static void block_push(struct block *block, struct content *content)
{
	if (block->count && same_content(block->versions[block->count - 1], content)) {
		content_unref(content);
		return;
	}
	block->versions = xrealloc(block->versions, block->count + 1, sizeof(struct content *));
	block->versions[block->count++] = content;
}

/* From now on @which is the only version there is. */
static void block_choose(struct block *block, size_t which)
{
	struct content *chosen = content_ref(block->versions[which]);

	for (size_t i = 0; i < block->count; i++)
		content_unref(block->versions[i]);
	block->versions[0] = chosen;
	block->count = 1;
	block->stuck = false;
}

static struct content *block_cached(const struct block *block)
{
	return block->versions[block->count - 1];
}

static void file_grow(struct file *file, size_t nblocks)
{
	if (nblocks <= file->nblocks)
		return;
	file->blocks = xrealloc(file->blocks, nblocks, sizeof(*file->blocks));
	for (size_t i = file->nblocks; i < nblocks; i++) {
		file->blocks[i] = (struct block){ 0 };
		file->blocks[i].versions = xcalloc(1, sizeof(struct content *));
		file->blocks[i].count = 1; /* zeros */
	}
	file->nblocks = nblocks;
}

static void file_release(struct file *file)
{
	for (size_t i = 0; i < file->nblocks; i++) {
		for (size_t k = 0; k < file->blocks[i].count; k++)
			content_unref(file->blocks[i].versions[k]);
		free(file->blocks[i].versions);
	}
	free(file->blocks);
	free(file->sizes);
	free(file->places);
	*file = (struct file){ 0 };
}

static uint64_t file_size(const struct file *file)
{
	return file->sizes[file->nsizes - 1];
}

static void push_size(struct file *file, uint64_t size)
{
	if (file->nsizes && file_size(file) == size)
		return;
	file->sizes = xrealloc(file->sizes, file->nsizes + 1, sizeof(*file->sizes));
	file->sizes[file->nsizes++] = size;
}

static const struct place *file_place(const struct file *file)
{
	return &file->places[file->nplaces - 1];
}

static void push_place(struct simdisk *disk, struct file *file, int dir, const char *name)
{
	struct place *place;

	file->places = xrealloc(file->places, file->nplaces + 1, sizeof(*file->places));
	place = &file->places[file->nplaces];
	*place = (struct place){ .dir = dir, .when = ++disk->now };
	ensure(str_copy(place->name, sizeof(place->name), name) == 0);
	file->nplaces++;
}

static int find_file(const struct simdisk *disk, int dir, const char *name)
{
	for (int i = 0; i < MAX_FILES; i++) {
		const struct file *file = &disk->files[i];

		if (file->exists && file_place(file)->dir == dir &&
		    streq(file_place(file)->name, name))
			return i;
	}
	return -1;
}

/* A file that no version of any directory names, and nobody has open, can never be seen again. */
static void sweep(struct simdisk *disk)
{
	for (int i = 0; i < MAX_FILES; i++) {
		struct file *file = &disk->files[i];
		bool open = false;

		if (!file->exists || file->nplaces != 1 || file->places[0].dir >= 0)
			continue;
		for (size_t k = 0; k < MAX_FDS; k++)
			open |= disk->handles[k].open && disk->handles[k].file == i;
		if (!open)
			file_release(file);
	}
}

struct simdisk *simdisk_new(void)
{
	return xcalloc(1, sizeof(struct simdisk));
}

struct simdisk *simdisk_clone(const struct simdisk *disk)
{
	struct simdisk *copy = xmemdup(disk, sizeof(*disk));

	memset(copy->handles, 0, sizeof(copy->handles));
	copy->nwatches = 0;
	for (size_t i = 0; i < MAX_DIRS; i++)
		copy->dirs[i] = xstrdup(disk->dirs[i]);
	for (size_t i = 0; i < MAX_FILES; i++) {
		struct file *file = &copy->files[i];

		if (!file->exists)
			continue;
		file->sizes = xmemdup(file->sizes, file->nsizes * sizeof(*file->sizes));
		file->places = xmemdup(file->places, file->nplaces * sizeof(*file->places));
		if (!file->nblocks)
			continue;
		file->blocks = xmemdup(file->blocks, file->nblocks * sizeof(*file->blocks));
		for (size_t k = 0; k < file->nblocks; k++) {
			struct block *block = &file->blocks[k];

			block->versions =
				xmemdup(block->versions, block->count * sizeof(struct content *));
			for (size_t v = 0; v < block->count; v++)
				content_ref(block->versions[v]);
		}
	}
	return copy;
}

void simdisk_free(struct simdisk *disk)
{
	if (!disk)
		return;
	for (size_t i = 0; i < disk->nwatches; i++)
		close(disk->watches[i].fd);
	for (size_t i = 0; i < MAX_FILES; i++)
		file_release(&disk->files[i]);
	for (size_t i = 0; i < MAX_DIRS; i++)
		free(disk->dirs[i]);
	if (current == disk)
		current = NULL;
	free(disk);
}

void simdisk_use(struct simdisk *disk)
{
	current = disk;
}

/* --- stopping and failing */

void simdisk_stop_at(struct simdisk *disk, uint64_t n)
{
	disk->stopped = false;
	disk->stop_at = n ? disk->steps + n : 0;
}

bool simdisk_stopped(const struct simdisk *disk)
{
	return disk->stopped;
}

uint64_t simdisk_steps(const struct simdisk *disk)
{
	return disk->steps;
}

void simdisk_outside(struct simdisk *disk, bool outside)
{
	disk->outside = outside;
}

void simdisk_fail(struct simdisk *disk, enum simdisk_op op, uint64_t n, int sys, bool all)
{
	disk->failures[op] = (struct failure){ .countdown = n, .sys = sys, .all = all };
}

void simdisk_set_space(struct simdisk *disk, size_t blocks)
{
	disk->space = blocks;
}

size_t simdisk_used(const struct simdisk *disk)
{
	size_t used = 0;

	for (size_t i = 0; i < MAX_FILES; i++)
		for (size_t k = 0; k < disk->files[i].nblocks; k++)
			used += disk->files[i].blocks[k].allocated;
	return used;
}

/* May the program do one more thing? */
static bool step(struct simdisk *disk)
{
	if (disk->outside)
		return true;
	if (disk->stopped)
		return false;
	disk->steps++;
	if (disk->stop_at && disk->steps >= disk->stop_at)
		disk->stopped = true;
	return !disk->stopped;
}

static int injected(struct simdisk *disk, enum simdisk_op op)
{
	struct failure *failure = &disk->failures[op];

	if (disk->outside || !failure->countdown)
		return 0;
	if (failure->countdown > 1) {
		failure->countdown--;
		return 0;
	}
	failure->countdown = failure->all;
	return -failure->sys;
}

/* --- disk.h */

static struct handle *handle_of(int fd)
{
	struct handle *handle;

	ensure(current && fd >= FD_BASE && fd < FD_BASE + MAX_FDS);
	handle = &current->handles[fd - FD_BASE];
	ensure(handle->open);
	return handle;
}

static struct file *file_of(int fd)
{
	ensure(handle_of(fd)->file >= 0);
	return &current->files[handle_of(fd)->file];
}

static int new_handle(int file, int dir)
{
	for (int i = 0; i < MAX_FDS; i++) {
		if (current->handles[i].open)
			continue;
		current->handles[i] = (struct handle){ .open = true, .file = file, .dir = dir };
		return FD_BASE + i;
	}
	return -EMFILE;
}

static int find_dir(const char *path)
{
	for (int i = 0; i < MAX_DIRS; i++)
		if (current->dirs[i] && streq(current->dirs[i], path))
			return i;
	return -1;
}

int disk_open_dir(const char *path, bool create)
{
	int dir = find_dir(path);

	if (dir < 0 && !create)
		return -ENOENT;
	for (int i = 0; dir < 0 && i < MAX_DIRS; i++) {
		if (current->dirs[i])
			continue;
		current->dirs[i] =
			xstrdup(path); /* durable at once: what is tested is what is in it */
		dir = i;
	}
	ensure(dir >= 0);
	return new_handle(-1, dir);
}

int disk_open(int dir_fd, const char *name, int flags)
{
	int dir = handle_of(dir_fd)->dir, file = find_file(current, dir, name), rc;

	if (file >= 0)
		return flags & O_EXCL ? -EEXIST : new_handle(file, -1);
	if (!(flags & O_CREAT))
		return -ENOENT;
	rc = injected(current, SIMDISK_CREATE);
	if (rc < 0)
		return rc;
	if (!step(current))
		return -EIO;
	for (file = 0; file < MAX_FILES && current->files[file].exists; file++)
		;
	ensure(file < MAX_FILES);
	current->files[file].exists = true;
	push_size(&current->files[file], 0);
	push_place(current, &current->files[file], -1, "");
	push_place(current, &current->files[file], dir, name);
	return new_handle(file, -1);
}

void disk_close(int fd)
{
	if (fd < FD_BASE) { /* a watch */
		close(fd);
		for (size_t i = 0; current && i < current->nwatches; i++)
			if (current->watches[i].fd == fd)
				current->watches[i] = current->watches[--current->nwatches];
		return;
	}
	if (!current)
		return;
	handle_of(fd)->open = false;
}

int disk_size(int fd, uint64_t *ret_bytes)
{
	*ret_bytes = file_size(file_of(fd));
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int disk_list(int dir_fd, char ***ret_names)
{
	int dir = handle_of(dir_fd)->dir;
	char **names = xcalloc(MAX_FILES + 1, sizeof(*names));
	size_t count = 0;

	for (size_t i = 0; i < MAX_FILES; i++) {
		const struct file *file = &current->files[i];

		if (file->exists && file_place(file)->dir == dir)
			names[count++] = xstrdup(file_place(file)->name);
	}
	if (count)
		qsort(names, count, sizeof(*names), by_bytes);
	*ret_names = names;
	return 0;
}

ssize_t disk_pread(int fd, void *data, size_t len, uint64_t off)
{
	const struct file *file = file_of(fd);
	uint64_t size = file_size(file);
	uint8_t *p = data;

	if (off >= size)
		return 0;
	len = MIN(len, size - off);
	for (size_t done = 0; done < len;) {
		uint64_t at = off + done;
		size_t in = at % DISK_BLOCK, n = MIN(len - done, DISK_BLOCK - in);
		const struct content *content =
			at / DISK_BLOCK < file->nblocks
				? block_cached(&file->blocks[at / DISK_BLOCK])
				: NULL;

		if (content)
			memcpy(p + done, content->data + in, n);
		else
			memset(p + done, 0, n);
		done += n;
	}
	return (ssize_t)len;
}

uint64_t disk_next_data(int fd, uint64_t off)
{
	const struct file *file = file_of(fd);

	for (uint64_t i = off / DISK_BLOCK; i < file->nblocks; i++)
		if (block_cached(&file->blocks[i]))
			return MAX(off, i * DISK_BLOCK);
	return UINT64_MAX;
}

static int write_block(struct file *file, const uint8_t *p, size_t n, uint64_t at)
{
	uint8_t data[DISK_BLOCK] = { 0 };
	struct block *block;
	struct content *old, *content;

	file_grow(file, at / DISK_BLOCK + 1);
	block = &file->blocks[at / DISK_BLOCK];
	if (!block->allocated && current->space && simdisk_used(current) >= current->space)
		return -ENOSPC;
	old = block_cached(block);
	if (old)
		memcpy(data, old->data, DISK_BLOCK);
	memcpy(data + at % DISK_BLOCK, p, n);
	content = content_new(data);
	/* Filling a new file with zeros is one thing to do, not a hundred. */
	if (!(same_content(old, content) && at % (64 * 1024)) && !step(current)) {
		content_unref(content);
		return -EIO;
	}
	block->allocated = true;
	block_push(block, content);
	if (at + n > file_size(file)) {
		/* sizes between the platter's and the last one are not worth telling apart while a file is being filled */
		if (file->nsizes > 1)
			file->sizes[file->nsizes - 1] = at + n;
		else
			push_size(file, at + n);
	}
	return 0;
}

int disk_pwrite(int fd, const void *data, size_t len, uint64_t off)
{
	struct file *file = file_of(fd);
	int rc = injected(current, SIMDISK_PWRITE);

	for (size_t done = 0; done < len && rc == 0;) {
		uint64_t at = off + done;
		size_t n = MIN(len - done, DISK_BLOCK - at % DISK_BLOCK);

		rc = write_block(file, (const uint8_t *)data + done, n, at);
		done += n;
	}
	return rc;
}

int disk_truncate(int fd, uint64_t bytes)
{
	struct file *file = file_of(fd);

	if (!step(current))
		return -EIO;
	if (bytes % DISK_BLOCK && bytes / DISK_BLOCK < file->nblocks &&
	    block_cached(&file->blocks[bytes / DISK_BLOCK])) {
		/* what lies behind the end in the last block reads as zeros when the file grows again */
		uint8_t data[DISK_BLOCK] = { 0 };

		memcpy(data, block_cached(&file->blocks[bytes / DISK_BLOCK])->data,
		       bytes % DISK_BLOCK);
		block_push(&file->blocks[bytes / DISK_BLOCK], content_new(data));
	}
	for (size_t i = (bytes + DISK_BLOCK - 1) / DISK_BLOCK; i < file->nblocks; i++) {
		block_push(&file->blocks[i], NULL);
		file->blocks[i].allocated = false;
	}
	push_size(file, bytes);
	return 0;
}

static void flush_file(struct file *file)
{
	for (size_t i = 0; i < file->nblocks; i++)
		if (!file->blocks[i].stuck)
			block_choose(&file->blocks[i], file->blocks[i].count - 1);
	file->sizes[0] = file_size(file);
	file->nsizes = 1;
}

static void flush_dir(struct simdisk *disk, int dir)
{
	for (size_t i = 0; i < MAX_FILES; i++) {
		struct file *file = &disk->files[i];
		bool here = false;

		for (size_t k = 0; file->exists && k < file->nplaces; k++)
			here |= file->places[k].dir == dir;
		if (!here)
			continue;
		file->places[0] = *file_place(file);
		file->nplaces = 1;
	}
	sweep(disk);
}

static int sync_fd(int fd, enum simdisk_op op)
{
	struct handle *handle = handle_of(fd);
	int rc = injected(current, op);

	if (rc < 0 && handle->file >= 0) {
		struct file *file = &current->files[handle->file];

		for (size_t i = 0; i < file->nblocks; i++)
			file->blocks[i].stuck |= file->blocks[i].count > 1;
	}
	if (rc < 0)
		return rc;
	if (!step(current))
		return -EIO;
	if (handle->file >= 0)
		flush_file(&current->files[handle->file]);
	else
		flush_dir(current, handle->dir);
	return 0;
}

int disk_fdatasync(int fd)
{
	return sync_fd(fd, SIMDISK_FDATASYNC);
}

int disk_fsync(int fd)
{
	return sync_fd(fd, SIMDISK_FSYNC);
}

static void ring(int dir)
{
	const uint64_t one = 1;

	for (size_t i = 0; i < current->nwatches; i++)
		if (current->watches[i].dir == dir)
			ignore(write(current->watches[i].fd, &one, sizeof(one)) < 0);
}

int disk_rename(int from_fd, const char *from, int to_fd, const char *to)
{
	int from_dir = handle_of(from_fd)->dir, to_dir = handle_of(to_fd)->dir;
	int file = find_file(current, from_dir, from), old = find_file(current, to_dir, to), rc;

	if (file < 0)
		return -ENOENT;
	rc = injected(current, SIMDISK_RENAME);
	if (rc < 0)
		return rc;
	if (!step(current))
		return -EIO;
	if (old >= 0 && old != file)
		push_place(current, &current->files[old], -1, "");
	push_place(current, &current->files[file], to_dir, to);
	ring(to_dir);
	return 0;
}

int disk_unlink(int dir_fd, const char *name)
{
	int file = find_file(current, handle_of(dir_fd)->dir, name), rc;

	if (file < 0)
		return -ENOENT;
	rc = injected(current, SIMDISK_UNLINK);
	if (rc < 0)
		return rc;
	if (!step(current))
		return -EIO;
	push_place(current, &current->files[file], -1, "");
	return 0;
}

int disk_watch(const char *path)
{
	int dir = find_dir(path), fd;

	if (dir < 0)
		return -ENOENT;
	ensure(current->nwatches < MAX_WATCHES);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	current->watches[current->nwatches++] = (struct watch){ .fd = fd, .dir = dir };
	return fd;
}

/* --- the end of a process, and of power */

void simdisk_kill(struct simdisk *disk)
{
	memset(disk->handles, 0, sizeof(disk->handles));
	for (size_t i = 0; i < disk->nwatches; i++)
		close(disk->watches[i].fd);
	disk->nwatches = 0;
	disk->stopped = false;
	disk->stop_at = 0;
	memset(disk->failures, 0, sizeof(disk->failures));
	sweep(disk);
}

/* One thing that a power cut decides. */
struct choice {
	enum { CHOOSE_BLOCK, CHOOSE_SIZE, CHOOSE_PLACE } what;
	size_t file, block, options; /* a block has one option more than versions: garbage */
};

static size_t list_choices(const struct simdisk *disk, struct choice **ret)
{
	struct choice *choices = NULL;
	size_t count = 0, cap = 0;

	for (size_t i = 0; i < MAX_FILES; i++) {
		const struct file *file = &disk->files[i];

		if (!file->exists)
			continue;
		for (size_t k = 0; k < file->nblocks + 2; k++) {
			struct choice choice = { .what = CHOOSE_BLOCK, .file = i, .block = k };

			if (k < file->nblocks) {
				choice.options = file->blocks[k].count;
				if (choice.options > 1)
					choice.options++;
			} else if (k == file->nblocks) {
				choice.what = CHOOSE_SIZE;
				choice.options = file->nsizes;
			} else {
				choice.what = CHOOSE_PLACE;
				choice.options = file->nplaces;
			}
			if (choice.options < 2)
				continue;
			if (count == cap) {
				cap = cap ? 2 * cap : 16;
				choices = xrealloc(choices, cap, sizeof(*choices));
			}
			choices[count++] = choice;
		}
	}
	*ret = choices;
	return count;
}

static void decide(struct simdisk *disk, const struct choice *choice, size_t option)
{
	struct file *file = &disk->files[choice->file];
	struct block *block = &file->blocks[choice->block];

	switch (choice->what) {
	case CHOOSE_BLOCK:
		if (option == block->count)
			block_push(block, garbage());
		block_choose(block, option);
		break;
	case CHOOSE_SIZE:
		file->sizes[0] = file->sizes[option];
		file->nsizes = 1;
		break;
	case CHOOSE_PLACE:
		file->places[0] = file->places[option];
		file->nplaces = 1;
		break;
	}
}

/* Two files may now claim one name, and blocks may lie behind the end of their file. */
static void settle(struct simdisk *disk)
{
	for (size_t i = 0; i < MAX_FILES; i++) {
		struct file *a = &disk->files[i];

		if (!a->exists)
			continue;
		for (size_t k = (a->sizes[0] + DISK_BLOCK - 1) / DISK_BLOCK; k < a->nblocks; k++) {
			block_push(&a->blocks[k], NULL);
			block_choose(&a->blocks[k], a->blocks[k].count - 1);
			a->blocks[k].allocated = false;
		}
		for (size_t k = 0; k < i; k++) {
			struct file *b = &disk->files[k];

			if (!b->exists || a->places[0].dir < 0 ||
			    b->places[0].dir != a->places[0].dir ||
			    !streq(a->places[0].name, b->places[0].name))
				continue;
			if (a->places[0].when > b->places[0].when)
				b->places[0].dir = -1;
			else
				a->places[0].dir = -1;
		}
	}
	sweep(disk);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

/* The option of each choice in outcome number @n of the sampled ones. */
static size_t sampled(const struct choice *choices, size_t count, size_t n, size_t i,
                      uint64_t *random)
{
	size_t options = choices[i].options,
	       newest = choices[i].what == CHOOSE_BLOCK ? options - 2 : options - 1;

	if (n == 0)
		return 0; /* nothing of it arrived */
	if (n == 1)
		return newest; /* all of it did */
	if (n < 2 + count)
		return i == n - 2 ? 0 : newest; /* all but one */
	if (n < 2 + 2 * count)
		return i == n - 2 - count ? newest : 0; /* only one */
	if (n < 2 + 3 * count && choices[n - 2 - 2 * count].what == CHOOSE_BLOCK)
		return i == n - 2 - 2 * count ? options - 1 : newest; /* one is torn */
	return next_random(random) % options;
}

size_t simdisk_power_cuts(const struct simdisk *disk, size_t limit, uint64_t seed,
                          void (*fn)(void *arg, struct simdisk *outcome), void *arg)
{
	cleanup_free struct choice *choices = NULL;
	size_t count = list_choices(disk, &choices), product = 1, total;
	uint64_t random = seed;

	for (size_t i = 0; i < count && product <= limit; i++)
		product *= choices[i].options;
	total = product <= limit ? product : limit;
	for (size_t n = 0; n < total; n++) {
		struct simdisk *outcome = simdisk_clone(disk);
		size_t rest = n;

		for (size_t i = 0; i < count; i++) {
			size_t option = product <= limit ? rest % choices[i].options
			                                 : sampled(choices, count, n, i, &random);

			rest /= choices[i].options;
			decide(outcome, &choices[i], option);
		}
		settle(outcome);
		simdisk_kill(outcome);
		fn(arg, outcome);
	}
	return total;
}

/* --- rot */

static bool find_rottable(const struct simdisk *disk, size_t which, size_t *ret_file,
                          size_t *ret_block, size_t *ret_total)
{
	size_t n = 0;

	for (size_t i = 0; i < MAX_FILES; i++) {
		const struct file *file = &disk->files[i];

		if (!file->exists || file_place(file)->dir < 0)
			continue;
		for (size_t k = 0; k < file->nblocks; k++) {
			if (file->blocks[k].count != 1 || !file->blocks[k].versions[0])
				continue;
			if (n == which) {
				*ret_file = i;
				*ret_block = k;
				return true;
			}
			n++;
		}
	}
	*ret_total = n;
	return false;
}

size_t simdisk_rottable(const struct simdisk *disk)
{
	size_t file, block, total = 0;

	ignore(find_rottable(disk, SIZE_MAX, &file, &block, &total)); /* only counts */
	return total;
}

void simdisk_rot(struct simdisk *disk, size_t which)
{
	size_t file, block, total;

	ensure(find_rottable(disk, which, &file, &block, &total));
	block_push(&disk->files[file].blocks[block], garbage());
	block_choose(&disk->files[file].blocks[block], disk->files[file].blocks[block].count - 1);
}

void simdisk_rot_name(const struct simdisk *disk, size_t which, char *text, size_t size)
{
	size_t file, block, total;

	ensure(find_rottable(disk, which, &file, &block, &total));
	ignore(snprintf(text, size, "%s block %zu", file_place(&disk->files[file])->name,
	                block)); /* cut is fine */
}

/* --- comparing and showing */

static uint64_t hash_file(const struct file *file)
{
	uint64_t hash = 7;

	for (size_t i = 0; i < file->nplaces; i++) {
		hash = hash_bytes(hash, &file->places[i].dir, sizeof(file->places[i].dir));
		hash = hash_bytes(hash, file->places[i].name, strlen(file->places[i].name));
	}
	hash = hash_bytes(hash, file->sizes, file->nsizes * sizeof(file->sizes[0]));
	for (size_t i = 0; i < file->nblocks; i++) {
		const struct block *block = &file->blocks[i];
		size_t count = block->count;

		if (count == 1 && !block->versions[0])
			continue;
		hash = hash_bytes(hash, &i, sizeof(i));
		for (size_t k = 0; k < count; k++) {
			uint64_t h = block->versions[k] ? block->versions[k]->hash : 0;

			hash = hash_bytes(hash, &h, sizeof(h));
		}
		hash = hash_bytes(hash, &block->stuck, sizeof(block->stuck));
	}
	return hash;
}

uint64_t simdisk_hash(const struct simdisk *disk)
{
	uint64_t hash = 0;

	/* a sum: the order of slots means nothing */
	for (size_t i = 0; i < MAX_FILES; i++)
		if (disk->files[i].exists)
			hash += hash_file(&disk->files[i]);
	return hash;
}

void simdisk_print(const struct simdisk *disk)
{
	for (size_t i = 0; i < MAX_FILES; i++) {
		const struct file *file = &disk->files[i];

		if (!file->exists)
			continue;
		printf("    %s%s%s (%llu bytes):",
		       file_place(file)->dir < 0 ? "(unlinked)" : file_place(file)->name,
		       file->nplaces > 1 ? "?" : "", file->nsizes > 1 ? " size?" : "",
		       (unsigned long long)file_size(file));
		for (size_t k = 0; k < file->nblocks; k++) {
			const struct block *block = &file->blocks[k];

			if (block->count > 1 || block->versions[0])
				printf(" %zu%s", k, block->count > 1 ? "?" : "");
		}
		printf("\n");
	}
}
