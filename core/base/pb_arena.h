/* core/base/pb_arena.h
 *
 * What nanopb's own sources see (-include, with -Dpb_realloc=cor_pb_realloc -Dpb_free=cor_pb_free):
 * its allocations land in the arena of the pb_decode_msg() that is running on this thread.
 */
#ifndef CORACLE_CORE_BASE_PB_ARENA_H
#define CORACLE_CORE_BASE_PB_ARENA_H

#include <stddef.h>

void *cor_pb_realloc(void *p, size_t size);
void cor_pb_free(void *p);

#endif
