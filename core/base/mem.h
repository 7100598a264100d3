/* core/base/mem.h
 *
 * Small fixed sizes use the x variants, which abort when memory is out. A size that came from
 * outside has a checked maximum and a try_ call that can answer NULL.
 */
#ifndef CORACLE_CORE_BASE_MEM_H
#define CORACLE_CORE_BASE_MEM_H

#include <stddef.h>

#include "core/base/attr.h"

NODISCARD void *xcalloc(size_t count, size_t size);
/* Overflow checked; new bytes are not zeroed. */
NODISCARD void *xrealloc(void *p, size_t count, size_t size);
NODISCARD char *xstrdup(const char *s);              /* NULL gives NULL */
NODISCARD char *xstrndup(const char *s, size_t len); /* always terminated */
NODISCARD char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);
NODISCARD void *xmemdup(const void *p, size_t len);
NODISCARD void *try_calloc(size_t count, size_t size, size_t max_bytes);

/* A NULL terminated array of strings, each on the heap. */
void strv_free(char **strv); /* NULL is fine */
NODISCARD char **strv_dup(char *const *strv);
size_t strv_len(char *const *strv); /* NULL: 0 */

DEFINE_CLEANUP_PTR(char *, strv_free);

#endif
