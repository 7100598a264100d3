/* core/base/buf.c
 *
 * Invariants: len <= max; data is NULL and cap 0, or cap > len and data[len] is NUL. cap counts the
 * terminator, so it may be max + 1.
 */
#include "core/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"

#define FIRST_CAP 64

void buf_init(struct buf *buf, size_t max_bytes)
{
	ensure(max_bytes < SIZE_MAX);
	*buf = (struct buf){ .max = max_bytes };
}

void buf_release(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){ .max = buf->max };
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

/* Room for @len more bytes and the terminator. */
static int make_room(struct buf *buf, size_t len)
{
	size_t need, cap;
	char *data;

	if (len > buf->max - buf->len)
		return -1;
	need = buf->len + len + 1;
	if (need <= buf->cap)
		return 0;

	cap = MAX(buf->cap, (size_t)FIRST_CAP);
	while (cap < need)
		cap = cap > buf->max / 2 ? buf->max + 1 : cap * 2;
	cap = MIN(cap, buf->max + 1);

	data = realloc(buf->data, cap);
	if (!data)
		return -1;
	if (!buf->data)
		data[0] = '\0';
	buf->data = data;
	buf->cap = cap;
	return 0;
}

char *buf_reserve(struct buf *buf, size_t len)
{
	return make_room(buf, len) < 0 ? NULL : buf->data + buf->len;
}

void buf_grew(struct buf *buf, size_t len)
{
	ensure(buf->data && len < buf->cap - buf->len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

int buf_add(struct buf *buf, const void *data, size_t len)
{
	char *end;

	if (!len)
		return 0;
	end = buf_reserve(buf, len);
	if (!end)
		return -1;
	memcpy(end, data, len);
	buf_grew(buf, len);
	return 0;
}

int buf_add_str(struct buf *buf, const char *s)
{
	return buf_add(buf, s, strlen(s));
}

int buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = buf_vprintf(buf, fmt, ap);
	va_end(ap);
	return rc;
}

int buf_vprintf(struct buf *buf, const char *fmt, va_list ap)
{
	size_t room = buf->cap - buf->len;
	va_list again;
	int n;

	/* Mostly it fits into what is there; else the first try tells how much it takes. */
	va_copy(again, ap);
	n = vsnprintf(buf->data ? buf->data + buf->len : NULL, room, fmt, ap);
	ensure(n >= 0);
	if ((size_t)n >= room) {
		if (buf->data)
			buf->data[buf->len] = '\0';
		if (make_room(buf, (size_t)n) < 0) {
			va_end(again);
			return -1;
		}
		n = vsnprintf(buf->data + buf->len, buf->cap - buf->len, fmt, again);
	}
	va_end(again);
	buf_grew(buf, (size_t)n);
	return 0;
}

void buf_consume(struct buf *buf, size_t len)
{
	ensure(len <= buf->len);
	if (!len)
		return;
	buf->len -= len;
	memmove(buf->data, buf->data + len, buf->len + 1);
}

char *buf_take_str(struct buf *buf)
{
	char *text = buf->data ? buf->data : xstrdup("");

	*buf = (struct buf){ .max = buf->max };
	return text;
}

int buf_err_full(const struct buf *buf, const char *what, struct err *err)
{
	return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: larger than %zu bytes", what, buf->max);
}
