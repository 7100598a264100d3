#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/loop/notify.h"

/* An abstract datagram socket with a name that the kernel chose; its NOTIFY_SOCKET form in @name. */
static int receiver(char name[108])
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa_family_t);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	len = sizeof(addr);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	memset(name, 0, 108);
	memcpy(name, addr.sun_path, len - sizeof(sa_family_t));
	name[0] = '@';
	return fd;
}

static void messages_reach_the_socket_and_the_environment_is_cleared(void **arg)
{
	char name[108], text[128], pid[16];
	struct notify notify;
	ssize_t n;
	int fd;

	(void)arg;
	fd = receiver(name);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", name, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	notify_init(&notify);
	assert_true(notify.watchdog_ns == 3 * NS_PER_S);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	notify_send(&notify, "READY=1\nSTATUS=%d pods", 3);
	n = recv(fd, text, sizeof(text), 0);
	assert_int_equal(n, 21);
	assert_memory_equal(text, "READY=1\nSTATUS=3 pods", 21);
	notify_release(&notify);
	notify_send(&notify, "STOPPING=1");
	assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
	close(fd);
}

static void another_process_s_watchdog_is_not_ours(void **arg)
{
	struct notify notify;
	char name[108];
	int fd = receiver(name);

	(void)arg;
	setenv("NOTIFY_SOCKET", name, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	notify_init(&notify);
	assert_true(notify.watchdog_ns == 0);
	notify_release(&notify);
	close(fd);
}

static void without_a_service_manager_nothing_happens(void **arg)
{
	struct notify notify;

	(void)arg;
	unsetenv("NOTIFY_SOCKET");
	notify_init(&notify);
	assert_int_equal(notify.fd, -1);
	notify_send(&notify, "READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_init(&notify);
	assert_int_equal(notify.fd, -1);
	notify_release(&notify);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_reach_the_socket_and_the_environment_is_cleared),
		cmocka_unit_test(another_process_s_watchdog_is_not_ours),
		cmocka_unit_test(without_a_service_manager_nothing_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
