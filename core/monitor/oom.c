/* core/monitor/oom.c */
#include "core/monitor/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/codec.h"
#include "core/monitor/text.h"

int64_t oom_counter(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, key, len) == 0 && line[len] == ' ')
			return text_number(line + len + 1);
	}
	return -1;
}

/* The oom_kill counter; -1: the file cannot be read, or (v1 before 4.13) has none. */
static int64_t read_counter(const struct oom *oom, bool *ret_gone)
{
	char text[512];
	ssize_t n = pread(oom->counter_fd, text, sizeof(text) - 1, 0);

	*ret_gone = n < 0;
	if (n < 0)
		return -1;
	text[n] = '\0';
	return oom_counter(text, "oom_kill");
}

/* "<eventfd> <fd of memory.oom_control>" into cgroup.event_control */
static int register_v1(int dirfd, int event_fd, int control_fd)
{
	char line[48];
	struct text text = TEXT(line);
	int fd, rc;

	text_int(&text, event_fd);
	text_str(&text, " ");
	text_int(&text, control_fd);
	fd = openat(dirfd, "cgroup.event_control", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = write(fd, text.p, text.len) < 0 ? -1 : 0;
	close(fd);
	return rc;
}

static bool open_in(struct oom *oom, int dirfd)
{
	oom->counter_fd = openat(dirfd, "memory.events", O_RDONLY | O_CLOEXEC);
	if (oom->counter_fd >= 0)
		return true;
	oom->counter_fd = openat(dirfd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	if (oom->counter_fd < 0)
		return false;
	/* Without the eventfd (a kernel without it) the look at the exit remains. */
	oom->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (oom->event_fd >= 0 && register_v1(dirfd, oom->event_fd, oom->counter_fd) < 0) {
		close(oom->event_fd);
		oom->event_fd = -1;
	}
	return true;
}

void oom_open(struct oom *oom, const char *const *cgroups)
{
	bool gone, found = false;
	int64_t before;

	*oom = (struct oom){ .counter_fd = -1, .event_fd = -1 };
	for (; *cgroups && !found; cgroups++) {
		int dirfd = open(*cgroups, O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (dirfd < 0)
			continue;
		found = open_in(oom, dirfd);
		close(dirfd);
	}
	if (!found)
		return;
	before = read_counter(oom, &gone);
	oom->before = before < 0 ? 0 : (uint64_t)before;
}

int oom_poll_fd(const struct oom *oom, uint32_t *ret_events)
{
	if (oom->event_fd >= 0) {
		*ret_events = EPOLLIN;
		return oom->event_fd;
	}
	*ret_events = EPOLLPRI;
	return oom->counter_fd;
}

bool oom_check(struct oom *oom)
{
	bool gone, fired = false;
	int64_t now;
	uint64_t count;

	if (oom->counter_fd < 0)
		return false;
	if (oom->event_fd >= 0)
		fired = read(oom->event_fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
	now = read_counter(oom, &gone);
	if (gone)
		return false; /* the event was the removal */
	if (now < 0)
		oom->hit = oom->hit || fired; /* an old kernel only says that something happened */
	else if ((uint64_t)now > oom->before)
		oom->hit = true;
	return true;
}

void oom_close(struct oom *oom)
{
	if (oom->counter_fd >= 0)
		close(oom->counter_fd);
	if (oom->event_fd >= 0)
		close(oom->event_fd);
	oom->counter_fd = oom->event_fd = -1;
}
