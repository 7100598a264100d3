/* tests/lib/fake_run.c
 *
 * core/run on the world of fake_world.h: monitors, runtimes, namespaces, mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/bundle.h"
#include "core/run/monitors.h"
#include "core/run/mount.h"
#include "core/run/namespaces.h"
#include "core/run/runtime.h"
#include "tests/lib/fake_world.h"

/* --- monitors */

struct monitor_event {
	struct list link;
	char id[ID_SIZE];
	struct exit_record rec; /* id "": gone */
};

struct monitors {
	struct world *world;
	struct monitors_args args;
	struct list events;
	struct loop_defer defer;
};

static void tell_events(void *arg)
{
	struct monitors *monitors = arg;
	struct list batch;

	list_init(&batch);
	list_splice_back(&batch, &monitors->events);
	while (!list_empty(&batch)) {
		struct monitor_event *ev =
			list_entry(list_pop_front(&batch), struct monitor_event, link);

		if (world_is_stopped(monitors->world))
			;
		else if (ev->rec.id[0])
			monitors->args.record(monitors->args.arg, ev->id, &ev->rec);
		else
			monitors->args.gone(monitors->args.arg, ev->id);
		free(ev);
	}
}

static void queue_event(struct monitors *monitors, const char *id, const struct exit_record *rec)
{
	struct monitor_event *ev = xcalloc(1, sizeof(*ev));

	ensure(str_copy(ev->id, sizeof(ev->id), id) == 0);
	if (rec)
		ev->rec = *rec;
	list_push_back(&monitors->events, &ev->link);
	loop_defer_queue(monitors->world->loop, &monitors->defer);
}

void fake_monitor_gone(struct monitors *monitors, const char *id)
{
	queue_event(monitors, id, NULL);
}

void fake_monitor_record(struct monitors *monitors, const struct exit_record *rec)
{
	queue_event(monitors, rec->id, rec);
}

struct monitors *monitors_new(const struct monitors_args *args)
{
	struct monitors *monitors = xcalloc(1, sizeof(*monitors));

	monitors->world = world_current();
	monitors->args = *args;
	list_init(&monitors->events);
	loop_defer_init(&monitors->defer, tell_events, monitors);
	monitors->world->monitors = monitors;
	return monitors;
}

void monitors_free(struct monitors *monitors)
{
	if (!monitors)
		return;
	loop_defer_cancel(&monitors->defer);
	while (!list_empty(&monitors->events))
		free(list_entry(list_pop_front(&monitors->events), struct monitor_event, link));
	monitors->world->monitors = NULL;
	free(monitors);
}

/* One request to a monitor. */
struct monitor_job {
	struct world_job job;
	monitor_done_fn done;
	monitor_status_fn status;
	void *arg;
	char *bundle;
};

static struct monitor_job *monitor_job(struct world_job *job)
{
	return container_of(job, struct monitor_job, job);
}

static void monitor_job_release(struct world_job *job)
{
	free(monitor_job(job)->bundle);
	free(monitor_job(job));
}

static void monitor_tell(struct world_job *job, const struct err *err)
{
	const struct world_container *c = world_container(job->world, job->id);
	struct monitor_result result = { .output = "" };

	if (c && c->stage != WORLD_NO_INIT) {
		result.pid = c->pid;
		result.start_ticks = c->ticks;
		result.started_ns = c->started_ns;
	}
	monitor_job(job)->done(monitor_job(job)->arg, &result, err);
}

static struct world_job *monitor_ask(struct monitors *monitors, enum world_kind kind,
                                     const char *id, int lock, int64_t timeout_ms,
                                     void (*act)(struct world_job *job), monitor_done_fn done,
                                     void *arg)
{
	struct monitor_job *mj = xcalloc(1, sizeof(*mj));

	mj->job.kind = kind;
	ensure(str_copy(mj->job.id, sizeof(mj->job.id), id) == 0);
	mj->job.timeout_ms = timeout_ms;
	mj->job.act = act;
	mj->job.tell = monitor_tell;
	mj->job.release = monitor_job_release;
	mj->done = done;
	mj->arg = arg;
	world_ask(monitors->world, &mj->job, lock);
	return &mj->job;
}

static void runtime_dir(const struct world *world, const char *id, char path[256])
{
	ensure(str_format(path, 256, "%s/runtime/%s", world->state, id) == 0);
}

static void act_create(struct world_job *job)
{
	struct world *world = job->world;
	cleanup_free char *config = xasprintf("%s/bundles/%s/config.json", world->state, job->id);
	char dir[256];

	runtime_dir(world, job->id, dir);
	if (!fsx_exists(config)) {
		err_set(&job->err, CODE_INTERNAL, "no config.json");
		return;
	}
	if (fsx_exists(dir)) {
		err_set(&job->err, CODE_INTERNAL, "container exists already");
		return;
	}
	ensure(fsx_mkdir_p(dir, 0700) == 0);
	world_container_add(world, job->id);
	if (!world->alive || job->life != world->life)
		world_container(world, job->id)->connected = false;
}

int monitor_start(struct monitors *monitors, const struct monitor_start_args *args, struct err *err)
{
	if (world_is_stopped(monitors->world))
		return err_set(err, CODE_UNAVAILABLE, "dead");
	monitor_ask(monitors, WORLD_CREATE, args->id, args->oplock_fd, args->timeout_ms, act_create,
	            args->done, args->arg);
	return 0;
}

static void act_start(struct world_job *job)
{
	struct world_container *c = world_container(job->world, job->id);

	if (!c || !c->monitor || c->stage != WORLD_CREATED)
		err_set(&job->err, CODE_FAILED_PRECONDITION,
		        "monitor is gone or the container is not created");
	else
		world_container_start(c);
}

void monitor_run_start(struct monitors *monitors, const char *id, int oplock_fd, int64_t timeout_ms,
                       monitor_done_fn done, void *arg)
{
	monitor_ask(monitors, WORLD_START, id, oplock_fd, timeout_ms, act_start, done, arg);
}

static void act_nothing(struct world_job *job UNUSED)
{
}

void monitor_reopen_log(struct monitors *monitors, const char *id, monitor_done_fn done, void *arg)
{
	monitor_ask(monitors, WORLD_REOPEN, id, -1, 5000, act_nothing, done, arg);
}

static void status_tell(struct world_job *job, const struct err *err)
{
	const struct world_container *c = world_container(job->world, job->id);
	struct monitor_job *mj = monitor_job(job);
	struct monitor_status status = { .error = "" };
	struct err gone = { 0 };

	if (!c || !c->connected) {
		err_set(&gone, CODE_UNAVAILABLE, "monitor is gone");
		mj->status(mj->arg, NULL, &gone);
		return;
	}
	if (err) {
		mj->status(mj->arg, NULL, err);
		return;
	}
	status.stage = c->failed                   ? MONITOR_IS_FAILED
	               : c->stage == WORLD_CREATED ? MONITOR_IS_CREATED
	               : c->stage == WORLD_RUNNING ? MONITOR_IS_RUNNING
	               : c->stage == WORLD_EXITED  ? MONITOR_IS_EXITED
	                                           : MONITOR_IS_CREATING;
	status.pid = c->pid;
	status.start_ticks = c->ticks;
	status.started_ns = c->started_ns;
	status.wstatus = c->wstatus;
	mj->status(mj->arg, &status, NULL);
}

void monitor_query(struct monitors *monitors, const char *id, monitor_status_fn fn, void *arg)
{
	struct monitor_job *mj = xcalloc(1, sizeof(*mj));

	mj->job.kind = WORLD_QUERY;
	ensure(str_copy(mj->job.id, sizeof(mj->job.id), id) == 0);
	mj->job.timeout_ms = 5000;
	mj->job.act = act_nothing;
	mj->job.tell = status_tell;
	mj->job.release = monitor_job_release;
	mj->status = fn;
	mj->arg = arg;
	world_ask(monitors->world, &mj->job, -1);
}

static struct world_container *reachable(const struct monitors *monitors, const char *id)
{
	return world_is_stopped(monitors->world) ? NULL : world_container(monitors->world, id);
}

void monitor_release(struct monitors *monitors, const char *id)
{
	struct world_container *c = reachable(monitors, id);

	if (c && c->connected && c->stage == WORLD_EXITED)
		world_monitor_dies(c); /* of its own will: nothing is left to do */
}

int monitor_reconnect(struct monitors *monitors, const char *id, struct err *err)
{
	struct world_container *c = reachable(monitors, id);

	if (!c || !c->monitor || !c->files)
		return err_set(err, CODE_UNAVAILABLE, "no monitor");
	c->connected = true;
	return 0;
}

bool monitor_connected(const struct monitors *monitors, const char *id)
{
	const struct world_container *c = world_container(monitors->world, id);

	return c && c->connected;
}

bool monitor_lock_held(const struct monitors *monitors, const char *id)
{
	const struct world_container *c = world_container(monitors->world, id);

	return c && c->monitor && c->files;
}

int monitors_list(const struct monitors *monitors, char ***ret_ids, struct err *err UNUSED)
{
	char **ids = xcalloc(1, sizeof(*ids));
	size_t n = 0;

	list_for_each(l, &monitors->world->containers) {
		const struct world_container *c = list_entry(l, struct world_container, link);

		if (!c->files)
			continue;
		ids = xrealloc(ids, n + 2, sizeof(*ids));
		ids[n++] = xstrdup(c->id);
		ids[n] = NULL;
	}
	*ret_ids = ids;
	return 0;
}

void monitor_forget(struct monitors *monitors, const char *id)
{
	struct world_container *c = reachable(monitors, id);

	if (!c)
		return;
	c->files = false;
	c->connected = false;
	if (c->stage == WORLD_EXITED || c->stage == WORLD_NO_INIT)
		c->monitor = false; /* released */
	if (!c->monitor && !c->known)
		world_container_drop(c);
}

/* --- runtimes */

static const struct runtime_info the_runtime = {
	.name = (char *)"crun",
	.path = (char *)"/usr/bin/crun",
	.sandbox = (char *)"pinned",
	.kind = RUNTIME_CRUN,
	.program = (char *)"crun",
	.version = (char *)"1.8.1",
	.number = 1008001,
	.features = UINT64_MAX,
};

const struct runtime_info *runtime_find(const struct runtime *runtime UNUSED, const char *handler,
                                        struct err *err)
{
	if (!handler[0] || streq(handler, "crun"))
		return &the_runtime;
	err_set(err, CODE_NOT_FOUND, "no runtime handler \"%s\"", handler);
	return NULL;
}

const struct runtime_info *runtime_default(const struct runtime *runtime UNUSED)
{
	return &the_runtime;
}

int runtime_usable(const struct runtime_info *info UNUSED, struct err *err)
{
	return world_current()->runtime_missing
	               ? err_set(err, CODE_UNAVAILABLE, "crun is not installed")
	               : 0;
}

void runtime_refresh(struct runtime *runtime UNUSED)
{
}

const struct host_limits *runtime_host_limits(const struct runtime *runtime UNUSED)
{
	static const struct host_limits limits = { .cap_sys_resource = true,
		                                   .can_lower_oom = true };

	return &limits;
}

int runtime_clamp_oom(const struct host_limits *limits UNUSED, int adj)
{
	return adj;
}

char **runtime_argv_head(const struct runtime *runtime UNUSED,
                         const struct runtime_info *info UNUSED, const char *cgroups_path UNUSED)
{
	char *argv[] = { (char *)"/usr/bin/crun", NULL };

	return strv_dup(argv);
}

struct runtime_job {
	struct world_job job;
	runtime_done_fn done;
	void *arg;
};

static void runtime_job_release(struct world_job *job)
{
	free(container_of(job, struct runtime_job, job));
}

static void runtime_tell(struct world_job *job, const struct err *err)
{
	struct runtime_job *rj = container_of(job, struct runtime_job, job);
	const struct runtime_result result = { .status = RUNTIME_GONE };

	rj->done(rj->arg, &result, err);
}

static int runtime_ask(enum world_kind kind, const struct runtime_call *call,
                       void (*act)(struct world_job *job), struct err *err)
{
	struct runtime_job *rj;

	if (world_is_stopped(world_current()))
		return err_set(err, CODE_UNAVAILABLE, "dead");
	rj = xcalloc(1, sizeof(*rj));
	rj->job.kind = kind;
	ensure(str_copy(rj->job.id, sizeof(rj->job.id), call->id) == 0);
	rj->job.timeout_ms = call->timeout_ms ? call->timeout_ms : 60000;
	rj->job.act = act;
	rj->job.tell = runtime_tell;
	rj->job.release = runtime_job_release;
	rj->done = call->done;
	rj->arg = call->arg;
	world_ask(world_current(), &rj->job, call->oplock_fd);
	return 0;
}

static void act_delete(struct world_job *job)
{
	struct world_container *c = world_container(job->world, job->id);
	char dir[256];

	runtime_dir(job->world, job->id, dir);
	ignore(fsx_remove_tree(AT_FDCWD, dir));
	if (!c)
		return;
	if (c->stage == WORLD_CREATED || c->stage == WORLD_RUNNING)
		world_container_ends(c, SIGKILL);
	c->known = false;
	if (!c->monitor && !c->files)
		world_container_drop(c);
}

int runtime_delete(struct runtime *runtime UNUSED, const struct runtime_call *call,
                   bool force UNUSED, struct err *err)
{
	return runtime_ask(WORLD_DELETE, call, act_delete, err);
}

static void act_update(struct world_job *job)
{
	const struct world_container *c = world_container(job->world, job->id);

	if (!c || c->stage != WORLD_RUNNING)
		err_set(&job->err, CODE_NOT_FOUND, "container does not exist");
}

int runtime_update(struct runtime *runtime UNUSED, const struct runtime_call *call,
                   const char *resources UNUSED, size_t len UNUSED, struct err *err)
{
	return runtime_ask(WORLD_UPDATE, call, act_update, err);
}

/* The exec'd process itself is fake_child.c's. */
struct child *runtime_exec_spawn(struct runtime *runtime UNUSED,
                                 const struct runtime_info *info UNUSED,
                                 const char *cgroups_path UNUSED, const struct runtime_exec *exec,
                                 const struct child_args *child, struct err *err)
{
	struct child_args args = *child;
	cleanup_free char *pid = xasprintf("%d", 4242);

	args.name = "crun exec";
	args.fn = NULL;
	ignore(fsx_write(AT_FDCWD, exec->pid_file, pid, strlen(pid), 0600));
	return child_spawn(world_current()->loop, &args, err);
}

/* --- namespaces */

struct namespaces {
	struct world *world;
};

const char *namespace_name(enum namespace_kind kind)
{
	static const char *const names[NAMESPACE_KINDS] = { "net", "ipc", "uts", "user" };

	return names[kind];
}

struct namespaces *namespaces_new(struct loop *loop UNUSED, const char *state UNUSED,
                                  struct err *err UNUSED)
{
	struct namespaces *ns = xcalloc(1, sizeof(*ns));

	ns->world = world_current();
	return ns;
}

void namespaces_free(struct namespaces *ns)
{
	free(ns);
}

int namespaces_check(const struct namespaces_args *args UNUSED, struct err *err UNUSED)
{
	return 0;
}

struct namespaces_job {
	struct world_job job;
	bool kinds[NAMESPACE_KINDS];
	namespaces_done_fn done;
	void *arg;
};

static void namespaces_release(struct world_job *job)
{
	free(container_of(job, struct namespaces_job, job));
}

static void namespaces_tell(struct world_job *job, const struct err *err)
{
	struct namespaces_job *nj = container_of(job, struct namespaces_job, job);
	struct namespaces_paths paths = { 0 };

	for (size_t i = 0; i < NAMESPACE_KINDS; i++)
		if (nj->kinds[i])
			ensure(str_format(paths.path[i], sizeof(paths.path[i]), "%s/ns/%s/%s",
			                  job->world->state, job->id,
			                  namespace_name((enum namespace_kind)i)) == 0);
	nj->done(nj->arg, err || job->kind == WORLD_UNPIN ? NULL : &paths, err);
}

static void act_pin(struct world_job *job)
{
	struct namespaces_job *nj = container_of(job, struct namespaces_job, job);

	for (size_t i = 0; i < NAMESPACE_KINDS; i++)
		if (nj->kinds[i])
			world_pin(job->world, job->id, namespace_name((enum namespace_kind)i));
}

static void act_unpin(struct world_job *job)
{
	world_unpin(job->world, job->id);
}

static int namespaces_ask(struct namespaces *ns, enum world_kind kind, const char *id,
                          const struct namespaces_args *args, int lock, int64_t timeout_ms,
                          namespaces_done_fn done, void *arg, struct err *err)
{
	struct namespaces_job *nj;

	if (world_is_stopped(ns->world))
		return err_set(err, CODE_UNAVAILABLE, "dead");
	nj = xcalloc(1, sizeof(*nj));
	nj->job.kind = kind;
	ensure(str_copy(nj->job.id, sizeof(nj->job.id), id) == 0);
	nj->job.timeout_ms = timeout_ms;
	nj->job.act = kind == WORLD_PIN ? act_pin : act_unpin;
	nj->job.tell = namespaces_tell;
	nj->job.release = namespaces_release;
	if (args) {
		nj->kinds[NAMESPACE_NET] = nj->kinds[NAMESPACE_UTS] = !args->host_network;
		nj->kinds[NAMESPACE_IPC] = !args->host_ipc;
		nj->kinds[NAMESPACE_USER] = args->nuid_maps > 0;
	}
	nj->done = done;
	nj->arg = arg;
	world_ask(ns->world, &nj->job, lock);
	return 0;
}

int namespaces_create(struct namespaces *ns, const struct namespaces_args *args, int oplock_fd,
                      int64_t timeout_ms, namespaces_done_fn done, void *arg, struct err *err)
{
	return namespaces_ask(ns, WORLD_PIN, args->id, args, oplock_fd, timeout_ms, done, arg, err);
}

int namespaces_remove(struct namespaces *ns, const char *id, int oplock_fd, int64_t timeout_ms,
                      namespaces_done_fn done, void *arg, struct err *err)
{
	return namespaces_ask(ns, WORLD_UNPIN, id, NULL, oplock_fd, timeout_ms, done, arg, err);
}

bool namespaces_is_pinned(const struct namespaces *ns, const char *id, enum namespace_kind kind)
{
	return world_is_pinned(ns->world, id, namespace_name(kind));
}

int namespaces_list(const struct namespaces *ns, char ***ret_ids, struct err *err UNUSED)
{
	char **ids = xcalloc(map_count(&ns->world->pins) + 1, sizeof(*ids));
	size_t n = 0;

	map_for_each(e, &ns->world->pins) {
		char *id = xstrndup(e->key, strcspn(e->key, "/"));
		bool seen = false;

		for (size_t i = 0; i < n && !seen; i++)
			seen = !strcmp(ids[i], id);
		if (seen)
			free(id);
		else
			ids[n++] = id;
	}
	*ret_ids = ids;
	return 0;
}

/* --- mounts */

struct mount_job {
	struct world_job job;
	struct mount_op ops[8];
	char *targets[8];
	size_t nops;
	mount_done_fn done;
	void *arg;
};

static struct mount_job *mount_job(struct world_job *job)
{
	return container_of(job, struct mount_job, job);
}

static void mount_release(struct world_job *job)
{
	struct mount_job *mj = mount_job(job);

	for (size_t i = 0; i < mj->nops; i++)
		free(mj->targets[i]);
	free(mj);
}

static void mount_tell(struct world_job *job, const struct err *err)
{
	mount_job(job)->done(mount_job(job)->arg, err);
}

static void act_mount(struct world_job *job)
{
	struct mount_job *mj = mount_job(job);

	for (size_t i = 0; i < mj->nops; i++) {
		const char *target = mj->targets[i];
		int rc = 0;

		switch (mj->ops[i].kind) {
		case MOUNT_MKDIR:
			rc = fsx_mkdir_p(target, mj->ops[i].mode);
			break;
		case MOUNT_FS:
		case MOUNT_BIND:
		case MOUNT_PIN:
			world_mount(job->world, target);
			break;
		case MOUNT_DETACH:
		case MOUNT_UNPIN:
			world_detach(job->world, target);
			break;
		case MOUNT_REMOVE_TREE:
			world_detach(job->world, target);
			rc = fsx_remove_tree(AT_FDCWD, target);
			break;
		case MOUNT_INVALID:
		case MOUNT_KINDS:
			ensure(!"no such mount operation");
		}
		if (rc < 0) {
			err_sys(&job->err, -rc, "%s", target);
			return;
		}
	}
}

/* The object is found in its path: the last component that could be an id. */
static void id_of_path(const char *path, char id[ID_SIZE])
{
	for (const char *p = path; *p; p++)
		if (strspn(p, "0123456789abcdef") == 64) {
			memcpy(id, p, 64);
			id[64] = '\0';
			return;
		}
	id[0] = '\0';
}

int mount_run(struct loop *loop UNUSED, const struct mount_op *ops, size_t nops, int oplock_fd,
              int64_t timeout_ms, mount_done_fn done, void *arg, struct err *err)
{
	struct mount_job *mj;

	if (world_is_stopped(world_current()))
		return err_set(err, CODE_UNAVAILABLE, "dead");
	mj = xcalloc(1, sizeof(*mj));
	ensure(nops > 0 && nops <= ARRAY_SIZE(mj->ops));
	mj->job.kind = WORLD_MOUNT;
	id_of_path(ops[0].target, mj->job.id);
	mj->job.timeout_ms = timeout_ms;
	mj->job.act = act_mount;
	mj->job.tell = mount_tell;
	mj->job.release = mount_release;
	mj->nops = nops;
	for (size_t i = 0; i < nops; i++) {
		mj->ops[i] = ops[i];
		mj->targets[i] = xstrdup(ops[i].target);
	}
	mj->done = done;
	mj->arg = arg;
	world_ask(world_current(), &mj->job, oplock_fd);
	return 0;
}

void mount_shm_ops(struct mount_shm *shm, const char *target, uint64_t size_bytes UNUSED)
{
	*shm = (struct mount_shm){
		.ops = { { .kind = MOUNT_MKDIR, .target = target, .mode = 0755 },
		         { .kind = MOUNT_FS, .target = target } },
	};
}
