/* core/loop/loop_internal.h
 *
 * What loop.c and child.c share and nobody else needs: every child that was not reaped yet hangs on its loop, so that
 * "how many are stuck" has a home and loop_free() can drop the records of children that outlive us.
 */
#ifndef CORACLE_CORE_LOOP_LOOP_INTERNAL_H
#define CORACLE_CORE_LOOP_LOOP_INTERNAL_H

#include <stddef.h>
#include <sys/resource.h>

#include "core/base/list.h"
#include "core/loop/loop.h"

struct loop_children {
	struct list list;     /* struct child */
	size_t stuck;         /* of those, the ones that survived SIGKILL */
	struct rlimit nofile; /* as it was when the loop was made: what children get back */
};

struct loop_children *loop_children(struct loop *loop);
/* child.c: forget every child; the processes go on. */
void child_release_all(struct loop *loop);

#endif
