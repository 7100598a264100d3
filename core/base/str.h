/* core/base/str.h
 *
 * Strings from outside are views (pointer + length, may hold NUL bytes); C strings are for our own
 * text.
 */
#ifndef CORACLE_CORE_BASE_STR_H
#define CORACLE_CORE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/err.h"

struct str {
	const char *p;
	size_t len;
};

#define STR(lit)   ((struct str){ (lit), sizeof(lit) - 1 })
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)(s).len, (s).p

static inline struct str str_of(const char *s)
{
	return (struct str){ s ? s : "", s ? strlen(s) : 0 };
}

bool str_eq(struct str a, struct str b);
bool str_eq_c(struct str a, const char *b);
bool str_starts(struct str s, const char *prefix);
bool str_ends(struct str s, const char *suffix);
/* Cut @s at the first @sep: true and both halves (without it), or false, head = s, tail empty. */
bool str_cut(struct str s, char sep, struct str *ret_head, struct str *ret_tail);
bool str_rcut(struct str s, char sep, struct str *ret_head, struct str *ret_tail);
struct str str_trim(struct str s); /* ASCII blanks at both ends */
NODISCARD char *str_dup(struct str s);
bool str_utf8_valid(struct str s);
/* Bytes of the well-formed UTF-8 sequence at the start of @s, 0 if there is none (bad, cut or
 * empty). */
size_t str_utf8_seq(struct str s);
/* Whole string is a decimal number in range: 0, else -1. No sign for u64, optional '-' for i64, no
 * blanks, no plus. */
NODISCARD int str_u64(struct str s, uint64_t max, uint64_t *ret_value);
NODISCARD int str_i64(struct str s, int64_t min, int64_t max, int64_t *ret_value);
NODISCARD int str_oct(struct str s, uint64_t max, uint64_t *ret_value);

/* Own C strings */
bool streq(const char *a, const char *b); /* both NULL: equal */
bool starts_with(const char *s, const char *prefix);
bool ends_with(const char *s, const char *suffix);
/* Bounded copy; -1 and an empty dst if it does not fit. */
NODISCARD int str_copy(char *dst, size_t size, const char *src);
NODISCARD int str_format(char *dst, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* NULL reads as "". */
static inline const char *or_empty(const char *s)
{
	return s ? s : "";
}
/* The candidate closest to @word by edit distance (<= 1/3 of its length, at least 1 edit allowed),
 * or NULL: for "did you mean". */
const char *str_suggest(const char *word, const char *const *candidates, size_t count);

#endif
