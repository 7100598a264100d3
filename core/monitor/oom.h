/* core/monitor/oom.h
 *
 * Did the OOM killer strike in the container's cgroup? Watched while the container lives, because
 * the cgroup may be gone when its init is reaped, and read once more at the exit, because the
 * notification may come after SIGCHLD.
 *
 *   v2  memory.events, readable as EPOLLPRI when a counter moved (an inotify watch would cost one
 *       of 128 instances per user)
 *   v1  an eventfd registered in cgroup.event_control for memory.oom_control; it also fires when
 *       the cgroup is removed
 */
#ifndef CORACLE_CORE_MONITOR_OOM_H
#define CORACLE_CORE_MONITOR_OOM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"

struct oom {
	int counter_fd;  /* memory.events or memory.oom_control; -1: not watched */
	int event_fd;    /* v1 only */
	uint64_t before; /* the counter when we began: an outer cgroup may have a past */
	bool hit;
};

/* Takes the first of @cgroups (NULL terminated) that has a memory controller. Without one
 * nothing is watched: no error, the container just cannot be told OOMKilled. */
void oom_open(struct oom *oom, const char *const *cgroups);
/* What to poll (level triggered) and for which events; -1: nothing. */
int oom_poll_fd(const struct oom *oom, uint32_t *ret_events);
/* Look again. False when the cgroup is gone: poll no longer. */
bool oom_check(struct oom *oom);
void oom_close(struct oom *oom);

/* The number behind "key " at the start of a line in @text; -1: no such line. */
int64_t oom_counter(const char *text, const char *key);

#endif
