/* core/run/monitors_internal.h
 *
 * What monitors.c and monitor_attach.c share.
 */
#ifndef CORACLE_CORE_RUN_MONITORS_INTERNAL_H
#define CORACLE_CORE_RUN_MONITORS_INTERNAL_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/monitor/proto.h"
#include "core/run/monitors.h"

struct loop *monitors_loop(const struct monitors *monitors);
/* A nonblocking connection to the monitor of @id. NOT_FOUND: nobody listens there; UNAVAILABLE:
 * it does not answer. */
NODISCARD int monitors_connect(const struct monitors *monitors, const char *id, int *ret_fd,
                               struct err *err);
/* What a RESULT that is not MONITOR_OK means, headed by @what; -1. */
int monitors_result_err(const struct monitor_result_frame *result, const char *what,
                        int64_t timeout_ms, struct err *err);

#endif
