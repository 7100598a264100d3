/* core/base/toml_internal.h: what the two halves of the reader share: toml.c (lines, keys, tables) and toml_value.c
 * (strings, numbers, dates). */
#ifndef CORACLE_CORE_BASE_TOML_INTERNAL_H
#define CORACLE_CORE_BASE_TOML_INTERNAL_H

#include "core/base/buf.h"
#include "core/base/toml.h"

struct parser {
	struct toml *doc;
	const char *text; /* NUL behind @len, so one may look at text[at] always */
	uint32_t at, len;
	struct buf scratch; /* the string being decoded */
	struct toml_fault fault;
	bool is_out_of_memory; /* then the fault is not filled */
	uint64_t *seed;        /* of the tables' hashes */
};

/* Zeroed memory of the document. NULL: out of memory, noted. */
NODISCARD void *toml_take(struct parser *ps, size_t size);

/* What stands at @at makes the text no TOML. Returns -1. */
int toml_bad(struct parser *ps, uint32_t at, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* How a message calls the byte at @at: 'x', "the end of the line", "byte 0x01". */
struct toml_glyph {
	char text[32];
};
struct toml_glyph toml_glyph(const struct parser *ps, uint32_t at);

/* Length of the line end at @at: 0, 1 (LF) or 2 (CR LF). */
static inline uint32_t toml_newline(const struct parser *ps, uint32_t at)
{
	if (at < ps->len && ps->text[at] == '\n')
		return 1;
	return ps->text[at] == '\r' && ps->text[at + 1] == '\n' ? 2 : 0;
}

/* No byte of a comment or string: controls but the tab. UTF-8 was checked before. */
static inline bool toml_is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* A string in quotes at ps->at, which moves behind it. Keys are no multi-line strings. */
NODISCARD int toml_read_string(struct parser *ps, bool may_be_multiline, struct str *ret);
/* Any other value that is no array and no table. Fills type and payload. */
NODISCARD int toml_read_scalar(struct parser *ps, struct toml_value *value);

#endif
