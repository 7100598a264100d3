/* core/monitor/text.h
 *
 * Text without stdio: a bounded builder that keeps what fits, and the few readers a monitor needs.
 */
#ifndef CORACLE_CORE_MONITOR_TEXT_H
#define CORACLE_CORE_MONITOR_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/attr.h"

struct text {
	char *p; /* always NUL terminated */
	size_t len, size;
};
#define TEXT(array)                                                                                \
	{                                                                                          \
		.p = (array), .size = sizeof(array)                                                \
	}

static inline void text_add(struct text *text, const char *s, size_t len)
{
	if (len > text->size - 1 - text->len)
		len = text->size - 1 - text->len;
	memcpy(text->p + text->len, s, len);
	text->len += len;
	text->p[text->len] = '\0';
}

static inline void text_str(struct text *text, const char *s)
{
	text_add(text, s, strlen(s));
}

static inline void text_int(struct text *text, int64_t value)
{
	char digits[24];
	char *p = digits + sizeof(digits);
	uint64_t v = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	if (value < 0)
		*--p = '-';
	text_add(text, p, (size_t)(digits + sizeof(digits) - p));
}

/* Decimal digits at the start of @s; -1: none, or more than an int64_t holds. */
static inline int64_t text_number(const char *s)
{
	int64_t value = 0;

	if (*s < '0' || *s > '9')
		return -1;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *s - '0', &value))
			return -1;
	return value;
}

#endif
