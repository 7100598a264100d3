/* cmd/check/smoke.h: one container, as the daemon would have it run. */
#ifndef CORACLE_CMD_CHECK_SMOKE_H
#define CORACLE_CMD_CHECK_SMOKE_H

#include "core/base/attr.h"
#include "core/base/err.h"

/*
 * smoke_run - create, start and delete a container whose one process is our own pause program.
 * @runtime: absolute path.
 * @dir: an empty directory as scratch.h makes it, whose name also names the cgroup; what is left in it is the caller's to remove, no mount and no process is.
 * Errors: what the runtime said, or DEADLINE_EXCEEDED.
 */
NODISCARD int smoke_run(const char *runtime, const char *dir, int limit_ms, struct err *err);

#endif
