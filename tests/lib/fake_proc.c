/* tests/lib/fake_proc.c
 *
 * Processes of the world: what /proc and pidfds tell of them. A pid that the world does not know is the real one's.
 */
/* link-wrap: proc_boot_id proc_is_alive proc_start_ticks sys_pidfd_open sys_pidfd_send_signal sys_pidfd_exit_status oplock_kill oplock_holders */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/proc.h"
#include "core/base/sys.h"
#include "core/loop/oplock.h"
#include "tests/lib/fake_world.h"

static struct world_container *by_pid(pid_t pid)
{
	list_for_each(l, &world_current()->containers) {
		struct world_container *c = list_entry(l, struct world_container, link);

		if (c->pid == pid && c->stage != WORLD_NO_INIT)
			return c;
	}
	return NULL;
}

static bool lives(const struct world_container *c)
{
	return c && (c->stage == WORLD_CREATED || c->stage == WORLD_RUNNING);
}

int __wrap_proc_boot_id(uint8_t ret_id[16])
{
	memcpy(ret_id, world_current()->boot_id, 16);
	return 0;
}

bool __wrap_proc_is_alive(pid_t pid, uint64_t start_ticks)
{
	const struct world_container *c = by_pid(pid);

	return lives(c) && c->ticks == start_ticks;
}

int __wrap_proc_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
	const struct world_container *c = by_pid(pid);

	if (!lives(c))
		return -ENOENT;
	*ret_ticks = c->ticks;
	return 0;
}

int __wrap_sys_pidfd_open(pid_t pid, unsigned flags UNUSED)
{
	struct world_container *c = by_pid(pid);

	if (!lives(c))
		return -ESRCH;
	for (size_t i = 0; i < ARRAY_SIZE(c->pidfds); i++) {
		int fd;

		if (c->pidfds[i])
			continue;
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ensure(fd >= 0);
		c->pidfds[i] = dup(fd);
		c->pidfd_owners[i] = fd;
		return fd;
	}
	/* a stop opens one each time it signals: the oldest makes room */
	close(c->pidfds[0]);
	c->pidfds[0] = 0;
	return __wrap_sys_pidfd_open(pid, 0);
}

static struct world_container *by_pidfd(int fd)
{
	struct world_container *found = NULL;

	list_for_each(l, &world_current()->containers) {
		struct world_container *c = list_entry(l, struct world_container, link);

		for (size_t i = 0; i < ARRAY_SIZE(c->pidfds); i++)
			if (c->pidfds[i] && c->pidfd_owners[i] == fd)
				found = c;
	}
	return found;
}

int __wrap_sys_pidfd_send_signal(int fd, int sig)
{
	struct world_container *c = by_pidfd(fd);

	if (!lives(c))
		return -ESRCH;
	if (!world_is_stopped(c->world))
		world_container_kill(c, sig);
	return 0;
}

int __wrap_sys_pidfd_exit_status(int fd, int *ret_wstatus)
{
	struct world_container *c = by_pidfd(fd);

	if (!c || c->lost_status)
		return -ENOTTY;
	if (lives(c) || c->late_status-- > 0)
		return -EAGAIN;
	*ret_wstatus = c->wstatus;
	return 0;
}

int __wrap_oplock_holders(const char *dir UNUSED, const char *id, const char *skip_cgroup UNUSED,
                          struct oplock_holder *ret, size_t max)
{
	struct world *world = world_current();
	size_t n = 0;

	list_for_each(l, &world->jobs) {
		const struct world_job *job = list_entry(l, struct world_job, link);

		if (job->life == world->life || strcmp(job->id, id) != 0 || job->lock < 0)
			continue;
		if (n < max)
			ret[n] = (struct oplock_holder){ .pid = 4242, .comm = "job" };
		n++;
	}
	return (int)n;
}

/* The holders are jobs of this process: the real one would find nobody but us. */
int __wrap_oplock_kill(const char *dir UNUSED, const char *id, const char *skip_cgroup UNUSED)
{
	struct world *world = world_current();
	int killed = 0;

	list_for_each_safe(l, &world->jobs) {
		struct world_job *job = list_entry(l, struct world_job, link);

		if (job->life != world->life && !strcmp(job->id, id) && job->lock >= 0) {
			world_job_cancel(job);
			killed++;
		}
	}
	return killed;
}
