/* core/base/mem.c */
#include "core/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"

/* Not a bug of ours, but it ends the same way: one line, abort, restart, replay. */
static void *alive(void *p)
{
	if (!p)
		bug_report("out of memory", __FILE__, __LINE__, "xalloc");
	return p;
}

/* Never 0: what libc answers then may be NULL, which must stay the sign of failure. */
static size_t product(size_t count, size_t size)
{
	size_t bytes;

	ensure(!__builtin_mul_overflow(count, size, &bytes));
	return bytes ? bytes : 1;
}

void *xcalloc(size_t count, size_t size)
{
	return alive(calloc(1, product(count, size)));
}

void *xrealloc(void *p, size_t count, size_t size)
{
	return alive(realloc(p, product(count, size)));
}

char *xstrdup(const char *s)
{
	return s ? xstrndup(s, strlen(s)) : NULL;
}

char *xstrndup(const char *s, size_t len)
{
	char *copy;

	ensure(len < SIZE_MAX);
	copy = xrealloc(NULL, len + 1, 1);
	if (len)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return alive(n < 0 ? NULL : text);
}

void *xmemdup(const void *p, size_t len)
{
	void *copy = xrealloc(NULL, len, 1);

	if (len)
		memcpy(copy, p, len);
	return copy;
}

void *try_calloc(size_t count, size_t size, size_t max_bytes)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > max_bytes)
		return NULL;
	return calloc(1, bytes ? bytes : 1);
}

void strv_free(char **strv)
{
	if (!strv)
		return;
	for (char **s = strv; *s; s++)
		free(*s);
	free(strv);
}

char **strv_dup(char *const *strv)
{
	size_t n = strv_len(strv);
	char **copy;

	if (!strv)
		return NULL;
	copy = xcalloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(strv[i]);
	return copy;
}

size_t strv_len(char *const *strv)
{
	size_t n = 0;

	while (strv && strv[n])
		n++;
	return n;
}
