#include "tests/lib/fake_world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/state/exit_record.h"

static struct world *current_world;

const char *world_kind_name(enum world_kind kind)
{
	static const char *const names[WORLD_KINDS] = { "mount",  "overlay", "spec",   "pin",
		                                        "unpin",  "add",     "del",    "create",
		                                        "start",  "query",   "reopen", "delete",
		                                        "update", "exec",    "image" };

	return names[kind];
}

struct world *world_new(struct loop *loop, struct simdisk *disk, const char *root,
                        const char *state)
{
	struct world *world = xcalloc(1, sizeof(*world));

	world->loop = loop;
	world->disk = disk;
	ensure(str_copy(world->root, sizeof(world->root), root) == 0 &&
	       str_copy(world->state, sizeof(world->state), state) == 0);
	world->boot_id[0] = 1;
	map_init(&world->pins);
	map_init(&world->mounts);
	map_init(&world->addresses);
	list_init(&world->containers);
	list_init(&world->jobs);
	world->next_pid = 100000;
	world->sleep_ms = 500;
	world->term_ms = 10;
	world->quit_ms = -1;
	return world;
}

void world_use(struct world *world)
{
	current_world = world;
}

struct world *world_current(void)
{
	ensure(current_world);
	return current_world;
}

void world_violation(struct world *world, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (world->violated)
		world->violated(world->violated_arg, text);
	else
		bug_report(text, __FILE__, __LINE__, __func__);
}

/* --- jobs */

void world_next(struct world *world, enum world_kind kind, enum world_mode mode)
{
	world_nth(world, kind, 1, mode);
}

void world_nth(struct world *world, enum world_kind kind, unsigned n, enum world_mode mode)
{
	world->mode_in[kind] = n;
	world->mode[kind] = mode;
}

void world_stop_at(struct world *world, uint64_t n)
{
	world->stop_at = n ? world->steps + n : 0;
}

bool world_is_stopped(const struct world *world)
{
	return world->stopped || simdisk_stopped(world->disk);
}

/* False: the daemon is dead, the step does not happen. */
static bool step(struct world *world)
{
	if (world_is_stopped(world))
		return false;
	if (++world->steps != world->stop_at)
		return true;
	world->stopped = true;
	return false;
}

static void job_end(struct world_job *job)
{
	loop_timer_disarm(job->world->loop, &job->timer);
	list_remove(&job->link);
	if (job->lock >= 0)
		close(job->lock);
	job->release(job);
}

static void job_act(struct world_job *job)
{
	if (job->acted)
		return;
	job->acted = true;
	if (job->mode == WORLD_FAILS)
		err_set(&job->err, CODE_UNKNOWN, "%s failed as told", world_kind_name(job->kind));
	else
		job->act(job);
	if (job->mode == WORLD_FAILS_DONE)
		err_set(&job->err, CODE_UNKNOWN, "%s failed as told, afterwards",
		        world_kind_name(job->kind));
}

static void job_timer(void *arg)
{
	struct world_job *job = arg;
	struct world *world = job->world;

	if (job->life != world->life || !world->alive) { /* nobody hears it any more */
		if (job->mode != WORLD_HANGS)
			job_act(job);
		job_end(job);
		return;
	}
	if (world_is_stopped(world))
		return; /* its daemon is about to be dead: world_daemon_dies() judges */
	if (!job->acted && job->mode != WORLD_HANGS) {
		job_act(job);
		if (step(world))
			loop_timer_arm_in(world->loop, &job->timer, 0);
		return;
	}
	if (job->mode == WORLD_HANGS) {
		job->timed_out = true;
		err_set(&job->err, CODE_DEADLINE_EXCEEDED, "%s timed out",
		        world_kind_name(job->kind));
	}
	job->tell(job, job->err.code == CODE_OK ? NULL : &job->err);
	job_end(job);
}

static bool same_object_works(const struct world *world, const struct world_job *job)
{
	list_for_each(l, &world->jobs) {
		const struct world_job *other = list_entry(l, struct world_job, link);

		if (other != job && other->life != world->life && other->lock >= 0 &&
		    !strcmp(other->id, job->id))
			return true;
	}
	return false;
}

/* Whose lock is it? Its file is called <id>.<n>. */
static void id_of_lock(int fd, char id[ID_SIZE])
{
	char link[64], path[256];
	ssize_t n;

	ensure(str_format(link, sizeof(link), "/proc/self/fd/%d", fd) == 0);
	n = readlink(link, path, sizeof(path) - 1);
	ensure(n > 0);
	path[n] = '\0';
	ensure(strrchr(path, '/'));
	ignore(str_format(id, ID_SIZE, "%.64s", strrchr(path, '/') + 1)); /* ids are that long */
}

void world_ask(struct world *world, struct world_job *job, int oplock_fd)
{
	enum world_kind kind = job->kind;

	job->world = world;
	job->life = world->life;
	job->lock = oplock_fd >= 0 ? fcntl(oplock_fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (job->lock >= 0 && !job->id[0])
		id_of_lock(job->lock, job->id);
	job->mode = world->always[kind];
	if (world->mode_in[kind] && !--world->mode_in[kind])
		job->mode = world->mode[kind];
	loop_timer_init(&job->timer, job_timer, job, "world");
	list_push_back(&world->jobs, &job->link);
	if (!step(world)) {
		/* the daemon died instead of forking */
		job->mode = WORLD_HANGS;
		if (job->lock >= 0)
			close(job->lock);
		job->lock = -1;
		return;
	}
	world->asked[kind]++;
	if (oplock_fd >= 0 && same_object_works(world, job))
		world_violation(world,
		                "I13: %s of %.12s while an earlier daemon's child works for it",
		                world_kind_name(kind), job->id);
	if (job->mode == WORLD_HANGS && !job->timeout_ms)
		return;
	loop_timer_arm_in(world->loop, &job->timer,
	                  job->mode == WORLD_HANGS    ? job->timeout_ms
	                  : job->mode == WORLD_SLEEPS ? world->sleep_ms
	                                              : 0);
}

void world_job_cancel(struct world_job *job)
{
	job_end(job);
}

void world_daemon_starts(struct world *world)
{
	clock_virtual_advance(NS_PER_S); /* no start without an end of the one before */
	world->life++;
	world->alive = true;
	world->stopped = false;
	world->stop_at = 0;
	list_for_each(l, &world->jobs) {
		struct world_job *job = list_entry(l, struct world_job, link);

		if (job->mode == WORLD_SLEEPS)
			loop_timer_arm_in(world->loop, &job->timer, world->sleep_ms);
	}
}

void world_daemon_dies(struct world *world)
{
	world->alive = false;
	list_for_each(l, &world->containers)
		list_entry(l, struct world_container, link)->connected = false;
	list_for_each_safe(l, &world->jobs) {
		struct world_job *job = list_entry(l, struct world_job, link);

		loop_timer_disarm(world->loop, &job->timer);
		if (job->acted || job->kind == WORLD_IMAGE ||
		    (job->mode == WORLD_HANGS && job->lock < 0)) {
			job_end(job); /* a pull ends with the daemon that wanted it */
		} else if (job->mode == WORLD_WORKS && world->after == WORLD_SLEEP_ON &&
		           job->lock >= 0) {
			job->mode = WORLD_SLEEPS;
		} else if (job->mode == WORLD_WORKS || job->mode == WORLD_FAILS ||
		           job->mode == WORLD_FAILS_DONE) {
			job_act(job);
			job_end(job);
		}
	}
}

size_t world_jobs_old(const struct world *world)
{
	size_t n = 0;

	list_for_each(l, &world->jobs)
		n += list_entry(l, struct world_job, link)->life != world->life;
	return n;
}

/* --- containers */

struct world_container *world_container(struct world *world, const char *id)
{
	list_for_each(l, &world->containers)
		if (!strcmp(list_entry(l, struct world_container, link)->id, id))
			return list_entry(l, struct world_container, link);
	return NULL;
}

/* The monitor's writes: another process's, which no stop of the daemon stops. */
static void record_write(struct world_container *c, bool filled)
{
	struct exit_record rec = {
		.filled = filled,
		.pid = c->pid,
		.start_ticks = c->ticks,
		.started_ns = c->started_ns,
	};
	uint8_t data[EXIT_RECORD_BYTES];
	int dir, fd;

	ensure(str_copy(rec.id, sizeof(rec.id), c->id) == 0);
	memcpy(rec.boot_id, c->world->boot_id, sizeof(rec.boot_id));
	if (filled) {
		rec.exited_ns = MAX(clock_real_ns(), c->started_ns);
		rec.wstatus = c->wstatus;
		rec.exit_code = exit_code_from_wstatus(c->wstatus);
	}
	exit_record_encode(&rec, data);
	simdisk_outside(c->world->disk, true);
	dir = disk_open_dir(WORLD_SPOOL "/tmp", true);
	ensure(dir >= 0);
	fd = disk_open(dir, c->id, O_RDWR);
	if (fd < 0)
		fd = disk_open(dir, c->id, O_RDWR | O_CREAT | O_EXCL);
	ensure(fd >= 0 && disk_pwrite(fd, data, sizeof(data), 0) >= 0);
	if (filled && !c->connected) /* nobody there to make it durable */
		ensure(disk_fdatasync(fd) >= 0);
	disk_close(fd);
	disk_close(dir);
	simdisk_outside(c->world->disk, false);
}

static void record_rename(struct world_container *c)
{
	int tmp, new;

	simdisk_outside(c->world->disk, true);
	tmp = disk_open_dir(WORLD_SPOOL "/tmp", true);
	new = disk_open_dir(WORLD_SPOOL "/new", true);
	ensure(tmp >= 0 && new >= 0);
	ensure(disk_rename(tmp, c->id, new, c->id) >= 0);
	if (!c->connected)
		ensure(disk_fsync(new) >= 0);
	disk_close(tmp);
	disk_close(new);
	simdisk_outside(c->world->disk, false);
}

static void quits(void *arg)
{
	struct world_container *c = arg;

	world_container_ends(c, c->quit_wstatus);
}

static void dies_of_term(void *arg)
{
	world_container_ends(arg, SIGTERM);
}

struct world_container *world_container_add(struct world *world, const char *id)
{
	struct world_container *c = world_container(world, id);

	if (c) /* a monitor of that id again: the first is history */
		world_container_drop(c);
	c = xcalloc(1, sizeof(*c));
	c->world = world;
	ensure(str_copy(c->id, sizeof(c->id), id) == 0);
	c->monitor = c->files = c->connected = true;
	c->term_ms = world->term_ms;
	c->quit_ms = world->quit_ms;
	c->quit_wstatus = world->quit_wstatus;
	c->lost_status = world->lost_status;
	loop_timer_init(&c->quit, quits, c, "container ends");
	loop_timer_init(&c->term, dies_of_term, c, "container heeds SIGTERM");
	list_push_back(&world->containers, &c->link);
	record_write(c, false);
	c->pid = world->next_pid++;
	c->ticks = 7 * (uint64_t)c->pid;
	c->stage = WORLD_CREATED;
	c->known = true;
	record_write(c, false);
	return c;
}

void world_container_start(struct world_container *c)
{
	c->stage = WORLD_RUNNING;
	c->started_ns = clock_real_ns();
	record_write(c, false);
	if (c->quit_ms >= 0)
		loop_timer_arm_in(c->world->loop, &c->quit, c->quit_ms);
}

struct world_container *world_container_running(struct world *world, const char *id)
{
	struct world_container *c = world_container_add(world, id);

	world_container_start(c);
	return c;
}

static void monitor_ends(struct world_container *c)
{
	bool was = c->connected;

	c->monitor = false;
	c->connected = false;
	if (was && c->world->monitors)
		fake_monitor_gone(c->world->monitors, c->id);
}

void world_container_ends(struct world_container *c, int wstatus)
{
	if (c->stage != WORLD_RUNNING && c->stage != WORLD_CREATED)
		return;
	loop_timer_disarm(c->world->loop, &c->quit);
	loop_timer_disarm(c->world->loop, &c->term);
	c->stage = WORLD_EXITED;
	c->wstatus = wstatus;
	for (size_t i = 0; i < ARRAY_SIZE(c->pidfds); i++)
		if (c->pidfds[i])
			ignore(eventfd_write(c->pidfds[i], 1));
	if (!c->monitor)
		return;
	switch (c->world->monitor) {
	case MONITOR_FINISHES:
		record_write(c, true);
		record_rename(c);
		break;
	case MONITOR_DIES_BEFORE_RENAME:
		record_write(c, true);
		break;
	case MONITOR_RENAME_FAILS: {
		struct exit_record rec = { .filled = true,
			                   .pid = c->pid,
			                   .start_ticks = c->ticks,
			                   .started_ns = c->started_ns,
			                   .exited_ns = clock_real_ns(),
			                   .wstatus = wstatus,
			                   .exit_code = exit_code_from_wstatus(wstatus) };

		record_write(c, true);
		ensure(str_copy(rec.id, sizeof(rec.id), c->id) == 0);
		if (c->connected && c->world->monitors)
			fake_monitor_record(c->world->monitors, &rec);
		return; /* it lives until it is released */
	}
	case MONITOR_DIES_FIRST:
		break;
	}
	monitor_ends(c);
}

void world_container_kill(struct world_container *c, int signal)
{
	if ((c->stage != WORLD_RUNNING && c->stage != WORLD_CREATED) || c->unkillable)
		return;
	if (signal == SIGKILL)
		world_container_ends(c, SIGKILL);
	else if (c->term_ms >= 0 && !loop_timer_armed(&c->term))
		loop_timer_arm_in(c->world->loop, &c->term, c->term_ms);
}

void world_monitor_dies(struct world_container *c)
{
	if (c->monitor)
		monitor_ends(c);
}

static void forget_pidfds(struct world_container *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(c->pidfds); i++)
		if (c->pidfds[i])
			close(c->pidfds[i]);
}

void world_container_drop(struct world_container *c)
{
	loop_timer_disarm(c->world->loop, &c->quit);
	loop_timer_disarm(c->world->loop, &c->term);
	forget_pidfds(c);
	list_remove(&c->link);
	free(c);
}

/* --- mounts, pins, addresses */

static void key_of(char *text, size_t size, const char *id, const char *name)
{
	ensure(str_format(text, size, "%s/%s", id, name) == 0);
}

void world_pin(struct world *world, const char *id, const char *name)
{
	char key[160];

	key_of(key, sizeof(key), id, name);
	map_set(&world->pins, key, world);
}

bool world_is_pinned(const struct world *world, const char *id, const char *name)
{
	char key[160];

	key_of(key, sizeof(key), id, name);
	return map_find(&world->pins, key) != NULL;
}

static void remove_below(struct map *map, const char *prefix)
{
	cleanup_free char *copy = xstrdup(prefix);
	bool again = true;

	while (again) {
		again = false;
		map_for_each(e, map) {
			if (starts_with(e->key, copy) &&
			    (e->key[strlen(copy)] == '/' || !e->key[strlen(copy)])) {
				cleanup_free char *key = xstrdup(e->key);

				map_remove(map, key);
				again = true;
				break;
			}
		}
	}
}

void world_unpin(struct world *world, const char *id)
{
	remove_below(&world->pins, id);
}

bool world_is_mounted(const struct world *world, const char *target)
{
	return map_find(&world->mounts, target) != NULL;
}

void world_mount(struct world *world, const char *target)
{
	map_set(&world->mounts, target, world);
}

void world_detach(struct world *world, const char *prefix)
{
	remove_below(&world->mounts, prefix);
}

size_t world_addresses(const struct world *world, const char *id)
{
	return (size_t)(uintptr_t)map_find(&world->addresses, id);
}

/* --- the end of things */

void world_reboot(struct world *world)
{
	world->boot_id[0]++;
	while (!list_empty(&world->jobs))
		job_end(list_entry(world->jobs.next, struct world_job, link));
	while (!list_empty(&world->containers))
		world_container_drop(
			list_entry(world->containers.next, struct world_container, link));
	map_release(&world->pins);
	map_init(&world->pins);
	map_release(&world->mounts);
	map_init(&world->mounts);
	ensure(fsx_remove_tree(AT_FDCWD, world->state) == 0);
}

void world_free(struct world *world)
{
	if (!world)
		return;
	while (!list_empty(&world->jobs))
		job_end(list_entry(world->jobs.next, struct world_job, link));
	while (!list_empty(&world->containers))
		world_container_drop(
			list_entry(world->containers.next, struct world_container, link));
	map_release(&world->pins);
	map_release(&world->mounts);
	map_release(&world->addresses);
	if (current_world == world)
		current_world = NULL;
	free(world);
}

static void add_files(struct buf *text, const char *dir, const char *sub)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, sub);
	cleanup(strv_free) char **names = NULL;

	if (fsx_list(AT_FDCWD, path, &names) < 0)
		return;
	for (size_t i = 0; names && names[i]; i++)
		ignore(buf_printf(text, "file %s/%.16s\n", sub, names[i]));
}

char *world_leftovers(const struct world *world)
{
	static const char *const state_dirs[] = { "ops", "bundles", "sandboxes", "runtime" };
	static const char *const root_dirs[] = { "containers", "snapshots", "staging", "trash" };
	struct buf text;

	buf_init(&text, 1 << 20);
	ignore(buf_add_str(&text, ""));
	map_for_each(e, &world->pins)
		ignore(buf_printf(&text, "pin %.12s\n", e->key));
	map_for_each(e, &world->mounts)
		ignore(buf_printf(&text, "mount %s\n", e->key));
	map_for_each(e, &world->addresses)
		ignore(buf_printf(&text, "address %.12s\n", e->key));
	list_for_each(l, &world->containers) {
		const struct world_container *c = list_entry(l, struct world_container, link);

		if (c->known || c->monitor || c->files)
			ignore(buf_printf(&text, "container %.12s stage %d%s%s%s\n", c->id,
			                  c->stage, c->known ? " known" : "",
			                  c->monitor ? " monitor" : "", c->files ? " files" : ""));
	}
	list_for_each(l, &world->jobs)
		ignore(buf_printf(&text, "job %s\n",
		                  world_kind_name(list_entry(l, struct world_job, link)->kind)));
	for (size_t i = 0; i < ARRAY_SIZE(state_dirs); i++)
		add_files(&text, world->state, state_dirs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(root_dirs); i++)
		add_files(&text, world->root, root_dirs[i]);
	return text.data ? text.data : xstrdup("");
}
