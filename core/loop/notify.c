/* core/loop/notify.c
 *
 * One datagram per message to the address in NOTIFY_SOCKET: a path, or an abstract name behind '@'. Sending never blocks and
 * never fails loudly: a service manager that is gone or full has lost nothing that we could repair.
 */
#include "core/loop/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/str.h"

#define MAX_MESSAGE 2048

/* WATCHDOG_USEC counts only if WATCHDOG_PID is absent or us. */
static int64_t watchdog_from_environment(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t number, owner;

	if (!usec || str_u64(str_of(usec), INT64_MAX / NS_PER_US, &number) < 0)
		return 0;
	if (pid && (str_u64(str_of(pid), INT32_MAX, &owner) < 0 || (pid_t)owner != getpid()))
		return 0;
	return (int64_t)number * NS_PER_US;
}

void notify_init(struct notify *notify)
{
	const char *path = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){ .fd = -1 };
	if (path && (path[0] == '/' || path[0] == '@') && path[1] &&
	    str_copy(notify->path, sizeof(notify->path), path) == 0)
		notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (notify->fd >= 0)
		notify->watchdog_ns = watchdog_from_environment();
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_send(struct notify *notify, const char *fmt, ...)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = strlen(notify->path);
	char text[MAX_MESSAGE];
	va_list ap;
	int n;

	if (notify->fd < 0)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	memcpy(addr.sun_path, notify->path, len);
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = '\0'; /* abstract: the length tells where the name ends */
	ignore(sendto(notify->fd, text, MIN((size_t)n, sizeof(text) - 1), MSG_NOSIGNAL,
	              (const struct sockaddr *)&addr,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0);
}

void notify_release(struct notify *notify)
{
	if (notify->fd >= 0)
		close(take_fd(&notify->fd));
}
