/* core/loop/notify.h
 *
 * sd_notify without libsystemd: READY, STOPPING, RELOADING, STATUS, WATCHDOG. A no-op when NOTIFY_SOCKET is not set.
 * notify_init takes NOTIFY_SOCKET and WATCHDOG_* out of the environment, so that no child inherits them.
 */
#ifndef CORACLE_CORE_LOOP_NOTIFY_H
#define CORACLE_CORE_LOOP_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"

struct notify {
	int fd;
	char path[108];
	int64_t watchdog_ns; /* 0: none */
};

void notify_init(struct notify *notify);
void notify_send(struct notify *notify, const char *fmt, ...)
	PRINTF_LIKE(2, 3); /* "READY=1\nSTATUS=..." */
void notify_release(struct notify *notify);

#endif
