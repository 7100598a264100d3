/* tests/lib/tarball.c */
#include "tests/lib/tarball.h"

#include <stdio.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/str.h"

#define BLOCK 512

void tarball_init(struct buf *tar)
{
	buf_init(tar, (size_t)256 * 1024 * 1024);
}

void tarball_raw(struct buf *tar, const void *data, size_t len)
{
	static const char zero[BLOCK];

	ensure(len == 0 || buf_add(tar, data, len) == 0);
	ensure(buf_add(tar, zero, (BLOCK - len % BLOCK) % BLOCK) == 0);
}

void tarball_checksum(struct buf *tar, size_t at)
{
	unsigned char *h = (unsigned char *)tar->data + at;
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += h[i];
	ensure(str_format((char *)h + 148, 8, "%06o", sum) == 0);
	h[155] = ' ';
}

static void octal(char *field, size_t size, uint64_t value)
{
	ensure(str_format(field, size, "%0*llo", (int)size - 1, (unsigned long long)value) == 0);
}

size_t tarball_add(struct buf *tar, const struct tarball_entry *entry)
{
	size_t at = tar->len, name_len = strnlen(entry->name, 100);
	char h[BLOCK] = { 0 };
	char type = entry->type ? entry->type : '0';

	memcpy(h, entry->name, name_len);
	octal(h + 100, 8, entry->mode ? entry->mode : type == '5' ? 0755 : 0644);
	octal(h + 108, 8, entry->uid);
	octal(h + 116, 8, entry->gid);
	octal(h + 124, 12, entry->size > 0 ? (uint64_t)entry->size : entry->len);
	octal(h + 136, 12, (uint64_t)entry->mtime);
	h[156] = type;
	if (entry->link)
		memcpy(h + 157, entry->link, strnlen(entry->link, 100));
	memcpy(h + 257,
	       "ustar\0"
	       "00",
	       8);
	octal(h + 329, 8, entry->major);
	octal(h + 337, 8, entry->minor);
	ensure(buf_add(tar, h, sizeof(h)) == 0);
	tarball_checksum(tar, at);
	tarball_raw(tar, entry->data, entry->len);
	return at;
}

void tarball_pax(struct buf *tar, char type, const char *const *records)
{
	struct buf body;

	buf_init(&body, (size_t)4 * 1024 * 1024);
	for (; *records; records++) {
		size_t rest = strlen(*records) + 2, len = rest + 1;
		char digits[24];

		/* the length counts its own digits */
		for (int i = 0; i < 3; i++) {
			ensure(str_format(digits, sizeof(digits), "%zu", len) == 0);
			len = rest + strlen(digits);
		}
		ensure(str_format(digits, sizeof(digits), "%zu", len) == 0);
		ensure(buf_add_str(&body, digits) == 0 && buf_add_str(&body, " ") == 0);
		ensure(buf_add_str(&body, *records) == 0 && buf_add_str(&body, "\n") == 0);
	}
	tarball_add(tar, &(struct tarball_entry){
				 .type = type, .name = "pax", .data = body.data, .len = body.len });
	buf_release(&body);
}

void tarball_file(struct buf *tar, const char *name, const char *text)
{
	tarball_add(tar,
	            &(struct tarball_entry){ .name = name, .data = text, .len = strlen(text) });
}

void tarball_dir(struct buf *tar, const char *name)
{
	tarball_add(tar, &(struct tarball_entry){ .type = '5', .name = name });
}

void tarball_end(struct buf *tar)
{
	static const char zero[2 * BLOCK];

	ensure(buf_add(tar, zero, sizeof(zero)) == 0);
}
