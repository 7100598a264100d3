/* tests/lib/tarball.h
 *
 * Tar archives built in memory, for tests: well-formed ones by default, and every field can be made wrong afterwards.
 */
#ifndef CORACLE_TESTS_LIB_TARBALL_H
#define CORACLE_TESTS_LIB_TARBALL_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

struct tarball_entry {
	char type;        /* '0', '1', '2', '3', '5', ...; 0 is '0' */
	const char *name; /* cut at 100 bytes: use pax for more */
	const char *link;
	unsigned mode; /* 0: 0644, directories 0755 */
	unsigned uid, gid;
	unsigned major, minor;
	int64_t mtime;
	const void *data;
	size_t len;
	int64_t size; /* what the header says instead of len; -1: nothing special (0 is taken as -1 too) */
};

void tarball_init(struct buf *tar); /* release with buf_release() */
/* One member: header, data, padding. Offset of the header. */
size_t tarball_add(struct buf *tar, const struct tarball_entry *entry);
/* A pax header of @type ('x', 'g') from "key=value" strings, NULL at the end. */
void tarball_pax(struct buf *tar, char type, const char *const *records);
void tarball_file(struct buf *tar, const char *name, const char *text);
void tarball_dir(struct buf *tar, const char *name);
/* Raw bytes, padded to a block. */
void tarball_raw(struct buf *tar, const void *data, size_t len);
void tarball_end(struct buf *tar); /* two zero blocks */
/* After a header was edited: put the right checksum in. */
void tarball_checksum(struct buf *tar, size_t at);

#endif
