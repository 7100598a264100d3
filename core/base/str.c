/* core/base/str.c */
#include "core/base/str.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/base/bug.h"
#include "core/base/mem.h"

bool str_eq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool str_eq_c(struct str a, const char *b)
{
	return str_eq(a, str_of(b));
}

bool str_starts(struct str s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.len >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

bool str_ends(struct str s, const char *suffix)
{
	size_t n = strlen(suffix);

	return s.len >= n && (n == 0 || memcmp(s.p + s.len - n, suffix, n) == 0);
}

static bool cut_at(struct str s, const char *at, struct str *ret_head, struct str *ret_tail)
{
	if (!at) {
		*ret_head = s;
		*ret_tail = STR("");
		return false;
	}
	*ret_head = (struct str){ s.p, (size_t)(at - s.p) };
	*ret_tail = (struct str){ at + 1, s.len - (size_t)(at - s.p) - 1 };
	return true;
}

bool str_cut(struct str s, char sep, struct str *ret_head, struct str *ret_tail)
{
	return cut_at(s, s.len ? memchr(s.p, sep, s.len) : NULL, ret_head, ret_tail);
}

bool str_rcut(struct str s, char sep, struct str *ret_head, struct str *ret_tail)
{
	return cut_at(s, s.len ? memrchr(s.p, sep, s.len) : NULL, ret_head, ret_tail);
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
	while (s.len && is_blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

char *str_dup(struct str s)
{
	return xstrndup(s.p, s.len);
}

/* Unicode 15, table 3-7: the second byte decides about overlong forms, surrogates and what lies
 * beyond U+10FFFF. */
size_t str_utf8_seq(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (!s.len)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;

	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (s.len < n)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;

	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool str_utf8_valid(struct str s)
{
	while (s.len) {
		uint64_t eight;
		size_t n;

		if (s.len >= sizeof(eight)) { /* nearly all text is ASCII */
			memcpy(&eight, s.p, sizeof(eight));
			if (!(eight & UINT64_C(0x8080808080808080))) {
				s.p += sizeof(eight);
				s.len -= sizeof(eight);
				continue;
			}
		}
		n = str_utf8_seq(s);
		if (!n)
			return false;
		s.p += n;
		s.len -= n;
	}
	return true;
}

static int digits(struct str s, unsigned base, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!s.len)
		return -1;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';

		if (digit >= base)
			return -1;
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return -1;
	}
	if (value > max)
		return -1;
	*ret_value = value;
	return 0;
}

int str_u64(struct str s, uint64_t max, uint64_t *ret_value)
{
	return digits(s, 10, max, ret_value);
}

int str_oct(struct str s, uint64_t max, uint64_t *ret_value)
{
	return digits(s, 8, max, ret_value);
}

int str_i64(struct str s, int64_t min, int64_t max, int64_t *ret_value)
{
	bool negative = str_starts(s, "-");
	uint64_t magnitude;
	int64_t value;

	if (negative) {
		s.p++;
		s.len--;
	}
	if (digits(s, 10, (uint64_t)INT64_MAX + negative, &magnitude) < 0)
		return -1;
	/* two's complement: the wrap is what makes INT64_MIN come out right */
	value = (int64_t)(negative ? 0 - magnitude : magnitude);
	if (value < min || value > max)
		return -1;
	*ret_value = value;
	return 0;
}

bool streq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool ends_with(const char *s, const char *suffix)
{
	return str_ends(str_of(s), suffix);
}

int str_copy(char *dst, size_t size, const char *src)
{
	size_t len = strlen(src);

	ensure(size > 0);
	if (len >= size) {
		dst[0] = '\0';
		return -1;
	}
	memcpy(dst, src, len + 1);
	return 0;
}

int str_format(char *dst, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	ensure(size > 0);
	va_start(ap, fmt);
	n = vsnprintf(dst, size, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= size) {
		dst[0] = '\0';
		return -1;
	}
	return 0;
}

#define SUGGEST_MAX 64 /* longer words are no typing mistakes */

/* Optimal string alignment: insert, delete, replace and swap of neighbours cost 1 each. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][SUGGEST_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b_len; j++)
		last[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *spare = before;

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, last[j] + 1);
			best = MIN(best, row[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, before[j - 2] + 1);
			row[j] = best;
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[b_len];
}

const char *str_suggest(const char *word, const char *const *candidates, size_t count)
{
	size_t len = strlen(word);
	size_t best = MAX(len / 3, (size_t)1) + 1;
	const char *found = NULL;

	if (len > SUGGEST_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(candidates[i]);
		size_t distance;

		if (n > SUGGEST_MAX)
			continue;
		distance = edit_distance(word, len, candidates[i], n);
		if (distance < best) {
			best = distance;
			found = candidates[i];
		}
	}
	return found;
}
