/* core/monitor/cgkill.h
 *
 * Kill what outlived a container's init: with a shared or the host's PID namespace the kernel does
 * not do it.
 */
#ifndef CORACLE_CORE_MONITOR_CGKILL_H
#define CORACLE_CORE_MONITOR_CGKILL_H

#include "core/base/attr.h"

/*
 * cgkill_pass - one pass over every directory of @cgroups (NULL terminated) and all below: v2
 * through cgroup.kill; v1 (and a v2 older than 5.14) by killing each process while the freezer,
 * where there is one, keeps them from forking.
 * Returns: how many processes were found alive; 0: the cgroups are empty or gone. Never kills
 * ourselves or pid 1.
 */
int cgkill_pass(const char *const *cgroups);

#endif
