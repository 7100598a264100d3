/* core/base/buf.h
 *
 * Growable bytes with a hard maximum. Appending beyond the maximum fails and leaves the contents
 * untouched. data is NULL or has one terminating NUL behind len (not counted), so text needs no
 * copy.
 */
#ifndef CORACLE_CORE_BASE_BUF_H
#define CORACLE_CORE_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

struct buf {
	char *data;
	size_t len, cap, max;
};

void buf_init(struct buf *buf, size_t max_bytes);
void buf_release(struct buf *buf); /* safe on a zeroed struct, safe twice */
void buf_clear(struct buf *buf);   /* len = 0, memory and max kept */

/* 0, or -1 when the result would exceed max (or memory is out). */
NODISCARD int buf_add(struct buf *buf, const void *data, size_t len);
NODISCARD int buf_add_str(struct buf *buf, const char *s);
NODISCARD int buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
NODISCARD int buf_vprintf(struct buf *buf, const char *fmt, va_list ap);
/* Room for @len more bytes at the end; caller writes them, then buf_grew(). NULL: over max. */
NODISCARD char *buf_reserve(struct buf *buf, size_t len);
void buf_grew(struct buf *buf, size_t len);
void buf_consume(struct buf *buf, size_t len); /* drop from the front (memmove) */
/* The bytes as a heap string of their own; buf is empty afterwards. Never NULL. */
NODISCARD char *buf_take_str(struct buf *buf);
/* The usual way to report: RESOURCE_EXHAUSTED "what: larger than N bytes". Returns -1. */
int buf_err_full(const struct buf *buf, const char *what, struct err *err);

DEFINE_CLEANUP(struct buf, buf_release);

#endif
