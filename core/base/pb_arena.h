/* core/base/pb_arena.h
 *
 * The two functions nanopb allocates with instead of realloc and free: included by force into its runtime and into
 * generated code, so it must stay free of everything else. core/base/pb.c implements them.
 */
#ifndef CORACLE_CORE_BASE_PB_ARENA_H
#define CORACLE_CORE_BASE_PB_ARENA_H

#include <stddef.h>

void *cor_pb_realloc(void *ptr, size_t size);
void cor_pb_free(void *ptr);

#endif
