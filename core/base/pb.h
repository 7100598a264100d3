/* core/base/pb.h
 *
 * nanopb into an arena with a budget. A decoded message lives in its arena: one reset frees
 * everything, pb_release is never called. Two wire bytes can make a 1,500-byte array element, so
 * the budget (not the wire size) is what bounds memory: beyond it decoding fails with
 * RESOURCE_EXHAUSTED. Encoding runs backwards (one pass, no sizing).
 *
 * Strings that are absent are NULL: read them through or_empty(). Strings with an embedded NUL are
 * refused after decode.
 */
#ifndef CORACLE_CORE_BASE_PB_H
#define CORACLE_CORE_BASE_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pb.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/str.h"

struct pb_arena; /* chunks; grows to its budget */

NODISCARD struct pb_arena *pb_arena_new(size_t budget_bytes);
void pb_arena_free(struct pb_arena *arena);
void pb_arena_reset(struct pb_arena *arena);
size_t pb_arena_used(const struct pb_arena *arena);
/* Zeroed memory from the arena; NULL when over budget. For messages that are built, too. */
NODISCARD void *pb_arena_alloc(struct pb_arena *arena, size_t bytes);
NODISCARD char *pb_arena_strdup(struct pb_arena *arena, const char *s); /* NULL gives NULL */
NODISCARD char *pb_arena_strndup(struct pb_arena *arena, const char *s, size_t len);
NODISCARD char *pb_arena_printf(struct pb_arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);
NODISCARD pb_bytes_array_t *pb_arena_bytes(struct pb_arena *arena, const void *data, size_t len);

/* The budget that fits a request of @wire_bytes: min(64 MiB, 1 MiB + 16 x wire). */
size_t pb_budget_for(size_t wire_bytes);

/*
 * pb_decode_msg - decode @data into @msg (zeroed first), memory from @arena.
 * Errors: INVALID_ARGUMENT (malformed, bad UTF-8, embedded NUL; names the message type @what);
 *         RESOURCE_EXHAUSTED (over budget).
 */
NODISCARD int pb_decode_msg(struct pb_arena *arena, const pb_msgdesc_t *desc, void *msg,
                            const void *data, size_t len, const char *what, struct err *err);

/*
 * pb_encode_msg - append the encoding of @msg to @out (backward encoder). Errors:
 * RESOURCE_EXHAUSTED when out->max is exceeded; INTERNAL on invalid UTF-8 (sanitise foreign text
 * with pb_utf8).
 */
NODISCARD int pb_encode_msg(struct buf *out, const pb_msgdesc_t *desc, const void *msg,
                            struct err *err);

/* @text with invalid UTF-8 replaced by U+FFFD, in the arena. */
NODISCARD char *pb_utf8(struct pb_arena *arena, struct str text);

DEFINE_CLEANUP_PTR(struct pb_arena, pb_arena_free);

#endif
