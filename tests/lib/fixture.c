/* link-with: tests/crash/simdisk.c tests/lib/fake_world.c tests/lib/fake_run.c tests/lib/fake_net.c tests/lib/fake_image.c */
/* link-with: tests/lib/fake_child.c tests/lib/fake_proc.c tests/lib/fake_gate.c */
#include "tests/lib/fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/image/ref.h"
#include "core/image/store.h"
#include "core/life/life_internal.h"
#include "core/net/cni.h"
#include "core/state/dump.h"
#include "tests/lib/fake_image.h"

#define JOURNAL_DIR "/sim/journal"
#define START_NS    INT64_C(1700000000000000000)
#define MAX_TURNS   20000

/* --- violations */

void fixture_violation(struct fixture *f, const char *fmt, ...)
{
	char text[4000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (f->violated)
		f->violated(f->violated_arg, text);
	else
		fail_msg("%s", text);
}

static void told_violation(void *arg, const char *text)
{
	fixture_violation(arg, "%s", text);
}

static bool told_dead(void *arg)
{
	return fixture_is_dead(arg);
}

/* --- a fixture */

struct fixture *fixture_new(void)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };

	log_set_level(getenv("CORACLE_TEST_LOG") ? LOG_LEVEL_DEBUG : (enum log_level)0); /* none */
	clock_virtual_set(START_NS);
	rand_seed_for_tests(1);
	ensure(str_copy(f->dir, sizeof(f->dir),
	                fsx_is_dir("/dev/shm") ? "/dev/shm/coracle-test-XXXXXX"
	                                       : "/tmp/coracle-test-XXXXXX") == 0);
	ensure(mkdtemp(f->dir));
	ensure(str_format(f->root, sizeof(f->root), "%s/root", f->dir) == 0);
	ensure(str_format(f->state_dir, sizeof(f->state_dir), "%s/run", f->dir) == 0);
	ensure(str_format(f->cgroup_mount, sizeof(f->cgroup_mount), "%s/cgroup", f->dir) == 0);
	ensure(fsx_mkdir_p(f->cgroup_mount, 0700) == 0);
	f->cgroups.hierarchies[0] = (struct cgroup_hierarchy){ .mount = f->cgroup_mount,
		                                               .root = (char *)"/",
		                                               .name = (char *)"",
		                                               .v2 = true,
		                                               .own = (char *)"" };
	f->cgroups.nhierarchies = 1;
	f->config.root = f->root;
	f->config.state = f->state_dir;
	f->config.runtime_timeout_ms = 120000;
	f->config.cni_timeout_ms = 60000;
	f->segment_bytes = 1 << 20;
	f->loop = loop_new(&err);
	ensure(f->loop);
	f->disk = simdisk_new();
	simdisk_use(f->disk);
	f->world = world_new(f->loop, f->disk, f->root, f->state_dir);
	f->world->violated = told_violation;
	f->world->violated_arg = f;
	world_use(f->world);
	fake_gate_init(&f->gate);
	f->gate.violated = told_violation;
	f->gate.is_dead = told_dead;
	f->gate.arg = f;
	map_init(&f->exits);
	list_init(&f->calls);
	return f;
}

static void calls_drop(struct fixture *f)
{
	list_for_each(l, &f->calls) {
		struct fixture_call *call = list_entry(l, struct fixture_call, link);

		if (!call->done && !call->dropped)
			life_forget(&call->wait);
		loop_defer_cancel(&call->wait.defer);
		call->dropped = true;
	}
}

static void life_over(struct fixture *f)
{
	if (!f->state)
		return;
	if (!fixture_is_dead(f)) /* whatever it does from now on did not happen */
		f->world->stopped = true;
	list_for_each(
		l,
		&f->calls) { /* not life_forget(): that would be one more thing the daemon does */
		struct fixture_call *call = list_entry(l, struct fixture_call, link);

		if (!call->done && !call->dropped && call->wait.life) {
			loop_defer_cancel(&call->wait.defer);
			if (call->wait.op)
				op_unwait(&call->wait.waiter);
		}
		call->dropped = true;
	}
	if (f->reader.link.next)
		events_unsubscribe(&f->reader);
	journal_close(f->journal);
	worker_free(f->worker);
	life_free(f->life);
	monitors_free(f->monitors);
	net_free(f->net);
	namespaces_free(f->namespaces);
	inbox_free(f->inbox);
	events_free(f->events);
	spool_free(f->spool);
	state_free(f->state);
	state_free(f->shadow);
	replay_report_release(&f->report);
	f->journal = NULL;
	f->worker = NULL;
	f->life = NULL;
	f->monitors = NULL;
	f->net = NULL;
	f->namespaces = NULL;
	f->inbox = NULL;
	f->events = NULL;
	f->spool = NULL;
	f->state = f->shadow = NULL;
	memset(&f->reader, 0, sizeof(f->reader));
}

void fixture_free(struct fixture *f)
{
	if (!f)
		return;
	calls_drop(f);
	life_over(f);
	while (!list_empty(&f->calls))
		free(list_entry(list_pop_front(&f->calls), struct fixture_call, link));
	world_free(f->world);
	fake_gate_release(&f->gate);
	map_release(&f->exits);
	free(f->spec);
	loop_free(f->loop);
	simdisk_kill(f->disk);
	simdisk_free(f->disk);
	ensure(fsx_remove_tree(AT_FDCWD, f->dir) == 0);
	free(f);
}

int fixture_setup(void **arg)
{
	struct fixture *f = fixture_new();

	f->check_released = true;
	*arg = f;
	if (!fixture_start(f))
		return -1;
	fixture_settle(f); /* changes are served when the recovery is over */
	return 0;
}

int fixture_teardown(void **arg)
{
	fixture_free(*arg);
	return 0;
}

/* --- lives */

static void on_released(void *arg, const struct record *rec)
{
	struct fixture *f = arg;

	if (f->shadow) {
		state_apply(f->shadow, rec);
		if (rec->kind == RECORD_CONTAINER_EXITED) {
			const struct container *c = life_record_container(f->life, rec);

			if (c && map_find(&f->exits, c->id))
				fixture_violation(f, "I3: a second EXITED of %s", c->name);
			if (c)
				map_set(&f->exits, c->id, f);
		}
	}
	life_released(f->life, rec);
}

static int build_spec(void *arg, const struct spec_input *input, char **ret_json,
                      struct err *err UNUSED)
{
	struct fixture *f = arg;

	free(f->spec);
	f->spec =
		xasprintf("{\"ociVersion\":\"1.0.2\",\"process\":{\"args\":[\"%s\"]},\"linux\":{}}",
	                  input->container->name);
	*ret_json = f->spec;
	return 0;
}

static void on_recovered(void *arg)
{
	((struct fixture *)arg)->recovered = true;
}

static void on_monitor_gone(void *arg, const char *id)
{
	life_monitor_gone(((struct fixture *)arg)->life, id);
}

static void on_monitor_record(void *arg, const char *id, const struct exit_record *rec)
{
	life_monitor_record(((struct fixture *)arg)->life, id, rec);
}

static void on_event(void *arg UNUSED)
{
}

static void make_dirs(const struct fixture *f)
{
	static const char *const names[] = { "layers", "images", "snapshots", "staging" };
	cleanup_free char *ops = xasprintf("%s/ops", f->state_dir);

	ensure(fsx_mkdir_p(ops, 0700) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *dir = xasprintf("%s/%s", f->root, names[i]);

		ensure(fsx_mkdir_p(dir, 0700) == 0);
	}
}

static bool open_all(struct fixture *f)
{
	struct journal_args ja = {
		.dir = JOURNAL_DIR,
		.mode = f->inspect ? JOURNAL_MEMORY : JOURNAL_SERVE,
		.segment_bytes = f->segment_bytes,
		.keep_bytes = 3 * f->segment_bytes,
		.boot = { .version = (char *)"1" },
		.inline_io = true,
	};
	struct err err = { 0 };

	f->state = ja.state = state_new();
	memcpy(ja.boot.boot_id, f->world->boot_id, sizeof(ja.boot.boot_id));
	f->journal = journal_open(&ja, &f->load, &err);
	if (!f->journal) {
		if (!fixture_is_dead(f))
			fixture_violation(f, "the journal does not open: %s", err.msg);
		return false;
	}
	f->spool =
		f->inspect ? spool_new_readonly(WORLD_SPOOL, &err) : spool_new(WORLD_SPOOL, &err);
	if (!f->spool)
		return false;
	f->worker = worker_new_inline(f->loop);
	f->events = events_new(f->loop);
	f->reader = (struct events_reader){ .wake = on_event, .arg = f };
	events_subscribe(f->events, &f->reader);
	f->inbox = inbox_new(f->loop);
	fake_gate_attach(&f->gate, f->state, f->inbox);
	f->monitors = monitors_new(&(struct monitors_args){
		.loop = f->loop, .gone = on_monitor_gone, .record = on_monitor_record, .arg = f });
	if (!f->inspect) {
		f->net = net_new(&(struct net_args){ .loop = f->loop });
		f->namespaces = namespaces_new(f->loop, f->state_dir, &err);
	}
	f->life = life_new(&(struct life_args){
		.loop = f->loop,
		.worker = f->worker,
		.config = &f->config,
		.state = f->state,
		.journal = f->journal,
		.spool = f->spool,
		.monitors = f->monitors,
		.net = f->net,
		.namespaces = f->namespaces,
		.cgroups = &f->cgroups,
		.events = f->events,
		.inbox = f->inbox,
		.gate = f->gate.gate,
		.builder = { .arg = f, .build = build_spec },
		.pause_elf = "pause",
		.pause_elf_len = 5,
	});
	return journal_start(f->journal, f->loop, on_released, f, &err) == 0;
}

/* What was folded so far, for I1. */
static int copy_record(void *arg, enum record_kind kind, const pb_msgdesc_t *desc, const void *msg,
                       struct err *err)
{
	struct state *copy = arg;
	cleanup(buf_release) struct buf buf = { 0 };
	struct record rec = { .seq = copy->seq, .kind = (uint16_t)kind, .version = RECORD_VERSION };

	buf_init(&buf, 4 * RECORD_MAX_BYTES);
	if (pb_encode_msg(&buf, desc, msg, err) < 0)
		return -1;
	rec.payload = (const uint8_t *)buf.data;
	rec.len = (uint32_t)buf.len;
	state_apply(copy, &rec);
	return 0;
}

bool fixture_start(struct fixture *f)
{
	struct err err = { 0 };

	world_daemon_starts(f->world);
	if (!f->inspect)
		make_dirs(f);
	f->recovered = false;
	replay_report_init(&f->report);
	if (!open_all(f) || fixture_is_dead(f))
		return false;
	if (f->check_released) {
		f->shadow = state_new();
		f->shadow->seq = f->state->seq;
		if (state_emit(f->state, copy_record, f->shadow, &err) < 0)
			fixture_violation(f, "state cannot be copied: %s", err.msg);
		f->shadow->seq = f->state->seq;
	}
	if (replay_run(f->life, f->inspect ? REPLAY_INSPECT : REPLAY_SERVE, &f->report,
	               on_recovered, f, &err) < 0) {
		if (!fixture_is_dead(f))
			fixture_violation(f, "recovery: %s", err.msg);
		return false;
	}
	return !fixture_is_dead(f);
}

bool fixture_is_dead(const struct fixture *f)
{
	return world_is_stopped(f->world);
}

static void world_alone(struct fixture *f)
{
	for (int i = 0; i < MAX_TURNS && loop_turn(f->loop, false); i++)
		;
}

void fixture_kill(struct fixture *f)
{
	life_over(f);
	fake_gate_detach(&f->gate, false);
	simdisk_kill(f->disk);
	world_daemon_dies(f->world);
	f->world->stopped = false;
	world_alone(f);
}

void fixture_power_cut(struct fixture *f, struct simdisk *outcome)
{
	life_over(f);
	fake_gate_detach(&f->gate, true);
	simdisk_kill(f->disk);
	world_daemon_dies(f->world);
	f->world->stopped = false;
	simdisk_free(f->disk);
	f->disk = outcome;
	simdisk_use(f->disk);
	f->world->disk = f->disk;
	world_reboot(f->world);
	map_release(&f->exits); /* what was told may come again */
	map_init(&f->exits);
}

void fixture_crash_and_reload(struct fixture *f)
{
	fixture_kill(f);
	assert_true(fixture_start(f));
}

/* --- time */

void fixture_turn(struct fixture *f)
{
	loop_turn(f->loop, false);
}

void fixture_settle(struct fixture *f)
{
	for (int i = 0; i < MAX_TURNS; i++)
		if (fixture_is_dead(f) || !loop_turn(f->loop, false))
			return;
	fixture_violation(f, "it does not come to rest");
}

void fixture_advance(struct fixture *f, int64_t ms)
{
	int64_t end = clock_boot_ns() + ms * NS_PER_MS;
	struct loop_timer mark;

	loop_timer_init(&mark, on_event, f, "end of the wait");
	loop_timer_arm(f->loop, &mark, end);
	while (clock_boot_ns() < end && !fixture_is_dead(f))
		loop_turn(f->loop, true);
	loop_timer_disarm(f->loop, &mark);
	fixture_settle(f);
}

/* --- calls */

static void call_done(void *arg, const char *id, const struct err *err)
{
	struct fixture_call *call = arg;

	if (fixture_is_dead(call->fixture)) {
		call->dropped = true; /* it was never sent */
		return;
	}
	call->done = true;
	if (err)
		call->err = *err;
	ignore(str_copy(call->id, sizeof(call->id), or_empty(id)));
}

static struct fixture_call *call_new(struct fixture *f, const char *verb, const char *name)
{
	struct fixture_call *call = xcalloc(1, sizeof(*call));

	call->fixture = f;
	call->verb = verb;
	ensure(str_copy(call->name, sizeof(call->name), name) == 0);
	call->wait.done = call_done;
	call->wait.arg = call;
	list_init(&call->wait.waiter.link);
	list_push_back(&f->calls, &call->link);
	return call;
}

struct fixture_call *fixture_ask_run(struct fixture *f, const char *pod)
{
	struct fixture_call *call = call_new(f, "RunPodSandbox", pod);
	cleanup_free char *request = xasprintf("%s%s", pod, or_empty(f->variant));
	const struct life_sandbox sb = {
		.name = pod,
		.uid = "uid",
		.ns = "default",
		.runtime_handler = "",
		.request = { (uint8_t *)request, strlen(request) },
		.cgroup_parent = "/pods",
		.hostname = pod,
		.log_dir = "",
		.pod_pid = f->pod_pid,
		.host_network = f->host_network,
	};

	ensure(str_copy(f->last_pod, sizeof(f->last_pod), pod) == 0);
	life_sandbox_run(f->life, &sb, 0, &call->wait);
	return call;
}

/* An id that no fixture has is taken as it is. */
static const char *pod_id(const struct fixture *f, const char *pod)
{
	const struct sandbox *sb = fixture_get_pod(f, pod);

	return sb ? sb->id : strlen(pod) == 64 ? pod : "00";
}

static const char *container_id(const struct fixture *f, const char *container)
{
	const struct container *c = fixture_get(f, container);

	return c ? c->id : strlen(container) == 64 ? container : "00";
}

struct fixture_call *fixture_ask_create(struct fixture *f, const char *pod, const char *container)
{
	struct fixture_call *call = call_new(f, "CreateContainer", container);
	cleanup_free char *request = xasprintf("%s%s", container, or_empty(f->variant));
	cleanup_free char *sandbox_id = xstrdup(pod_id(f, pod));
	const struct life_container c = {
		.sandbox_id = sandbox_id,
		.name = container,
		.image = FIXTURE_IMAGE,
		.request = { (uint8_t *)request, strlen(request) },
		.log_path = "",
		.pod_pid = f->pod_pid,
		.target_id = f->target ? container_id(f, f->target) : NULL,
	};

	life_container_create(f->life, &c, 0, &call->wait);
	return call;
}

struct fixture_call *fixture_ask_start(struct fixture *f, const char *container)
{
	struct fixture_call *call = call_new(f, "StartContainer", container);

	life_container_start(f->life, container_id(f, container), 0, &call->wait);
	return call;
}

struct fixture_call *fixture_ask_stop(struct fixture *f, const char *container, int64_t timeout_ms)
{
	struct fixture_call *call = call_new(f, "StopContainer", container);

	life_container_stop(f->life, container_id(f, container), timeout_ms, &call->wait);
	return call;
}

struct fixture_call *fixture_ask_remove(struct fixture *f, const char *container)
{
	struct fixture_call *call = call_new(f, "RemoveContainer", container);

	life_container_remove(f->life, container_id(f, container), &call->wait);
	return call;
}

struct fixture_call *fixture_ask_stop_pod(struct fixture *f, const char *pod)
{
	struct fixture_call *call = call_new(f, "StopPodSandbox", pod);

	life_sandbox_stop(f->life, pod_id(f, pod), &call->wait);
	return call;
}

struct fixture_call *fixture_ask_remove_pod(struct fixture *f, const char *pod)
{
	struct fixture_call *call = call_new(f, "RemovePodSandbox", pod);

	life_sandbox_remove(f->life, pod_id(f, pod), &call->wait);
	return call;
}

struct fixture_call *fixture_ask_update(struct fixture *f, const char *container)
{
	struct fixture_call *call = call_new(f, "UpdateContainerResources", container);
	const struct bytes resources = { (uint8_t *)(uintptr_t) "r", 1 };

	life_container_update(f->life, container_id(f, container), resources,
	                      "{\"cpu\":{\"shares\":7}}", &call->wait);
	return call;
}

struct fixture_call *fixture_ask_update_pod(struct fixture *f, const char *pod)
{
	struct fixture_call *call = call_new(f, "UpdatePodSandboxResources", pod);
	const struct bytes resources = { (uint8_t *)(uintptr_t) "r", 1 };

	life_sandbox_update(f->life, pod_id(f, pod), resources, &call->wait);
	return call;
}

struct fixture_call *fixture_ask_pull(struct fixture *f, const char *name)
{
	struct fixture_call *call = call_new(f, "PullImage", name);

	life_image_pull(f->life, &(struct life_pull){ .name = name, .registry = "" }, &call->wait);
	return call;
}

struct fixture_call *fixture_ask_remove_image(struct fixture *f, const char *name)
{
	struct fixture_call *call = call_new(f, "RemoveImage", name);

	life_image_remove(f->life, name, &call->wait);
	return call;
}

void fixture_forget(struct fixture_call *call)
{
	call->dropped = true;
	life_forget(&call->wait);
}

bool fixture_well(struct fixture *f, struct fixture_call *call)
{
	fixture_settle(f);
	err_clear(&f->err);
	if (!call->done)
		err_set(&f->err, CODE_DEADLINE_EXCEEDED, "%s %s is not answered", call->verb,
		        call->name);
	else if (call->err.code != CODE_OK)
		f->err = call->err;
	return f->err.code == CODE_OK;
}

static void must(struct fixture *f, struct fixture_call *call)
{
	if (!fixture_well(f, call))
		fail_msg("%s %s: %s", call->verb, call->name, f->err.msg);
}

void fixture_image(struct fixture *f, const char *name)
{
	must(f, fixture_ask_pull(f, name));
}

void fixture_pod(struct fixture *f, const char *pod)
{
	must(f, fixture_ask_run(f, pod));
}

void fixture_container(struct fixture *f, const char *container, enum container_state state)
{
	struct err err = { 0 };

	if (!life_image_find(f->state, FIXTURE_IMAGE, &err))
		fixture_image(f, FIXTURE_IMAGE);
	if (!f->last_pod[0] || fixture_pod_state(f, f->last_pod) != SANDBOX_READY)
		fixture_pod(f, "p1");
	must(f, fixture_ask_create(f, f->last_pod, container));
	if (state == CONTAINER_CREATED)
		return;
	must(f, fixture_ask_start(f, container));
	if (state == CONTAINER_RUNNING)
		return;
	world_container_ends(fixture_world(f, container), 0);
	fixture_settle(f);
	assert_int_equal(fixture_state(f, container), state);
}

void fixture_plugin(struct fixture *f, const char *name)
{
	fake_gate_connect(&f->gate, name);
	fixture_settle(f);
	fake_gate_clear(&f->gate);
}

void fixture_plugin_known(struct fixture *f, const char *name)
{
	fake_gate_connect(&f->gate, name);
	fixture_settle(f);
	fake_gate_disconnect(&f->gate, name);
	fixture_settle(f);
	fake_gate_clear(&f->gate);
}

/* --- look-ups */

static const struct container *named(const struct list *list, const char *name)
{
	const struct container *found = NULL;

	list_for_each(l, list)
		if (!strcmp(list_entry(l, struct container, link)->name, name))
			found = list_entry(l, struct container, link);
	return found;
}

const struct container *fixture_get(const struct fixture *f, const char *container)
{
	const struct container *c = named(&f->state->containers, container);

	return c ? c : named(&f->state->dead_containers, container);
}

const struct sandbox *fixture_get_pod(const struct fixture *f, const char *pod)
{
	const struct sandbox *found = NULL;

	list_for_each(l, &f->state->dead_sandboxes)
		if (!strcmp(list_entry(l, struct sandbox, link)->name, pod))
			found = list_entry(l, struct sandbox, link);
	list_for_each(l, &f->state->sandboxes)
		if (!strcmp(list_entry(l, struct sandbox, link)->name, pod))
			found = list_entry(l, struct sandbox, link);
	return found;
}

enum container_state fixture_state(const struct fixture *f, const char *container)
{
	const struct container *c = fixture_get(f, container);

	return c ? c->state : CONTAINER_INVALID;
}

enum sandbox_state fixture_pod_state(const struct fixture *f, const char *pod)
{
	const struct sandbox *sb = fixture_get_pod(f, pod);

	return sb ? sb->state : SANDBOX_INVALID;
}

bool fixture_cgroup(const struct fixture *f, const char *container)
{
	struct err err = { 0 };
	cleanup_free char *dir = cgroup_dir(fixture_get(f, container)->cgroups_path, &err);

	return dir && cgroup_create(&f->cgroups, dir, &err) == 0;
}

struct world_container *fixture_world(const struct fixture *f, const char *container)
{
	const struct container *c = fixture_get(f, container);

	return c ? world_container(f->world, c->id) : NULL;
}

bool fixture_op_runs(const struct fixture *f, const char *name)
{
	list_for_each(l, &f->life->ops)
		if (!strcmp(list_entry(l, struct op, link)->name, name))
			return true;
	return false;
}

/* --- invariants */

static void check_container(struct fixture *f, const struct container *c)
{
	const struct world_container *w = world_container(f->world, c->id);
	bool lives = w && (w->stage == WORLD_RUNNING || w->stage == WORLD_CREATED);

	if (c->state == CONTAINER_RUNNING && !(w && w->stage == WORLD_RUNNING))
		fixture_violation(f, "I8: %s is RUNNING, its process is not", c->name);
	if (c->state == CONTAINER_RUNNING && !w->monitor && !map_find(&f->life->adopted, c->id))
		fixture_violation(f, "I8: %s runs without a monitor and is not adopted", c->name);
	if (c->state == CONTAINER_RUNNING && w->monitor && !w->connected)
		fixture_violation(f, "%s runs, but its monitor was not taken over", c->name);
	if ((c->state == CONTAINER_EXITED || c->state == CONTAINER_CREATED) && lives)
		fixture_violation(f, "%s is %s, but its process lives", c->name,
		                  container_state_name(c->state));
	if (c->state == CONTAINER_EXITED && w && (w->known || w->monitor || w->files))
		fixture_violation(f, "%s has exited, but its runtime or monitor was not cleaned",
		                  c->name);
	if (c->state == CONTAINER_EXITED && c->exit_code == 255 && !c->reason[0])
		fixture_violation(f, "I11: %s exited 255 without a reason", c->name);
}

static void check_pod(struct fixture *f, const struct sandbox *sb)
{
	cleanup_free char *shm = xasprintf("%s/sandboxes/%s/shm", f->state_dir, sb->id);
	size_t addresses = world_addresses(f->world, sb->id);

	if (sb->state == SANDBOX_READY && !sb->host_network &&
	    !world_is_pinned(f->world, sb->id, "net"))
		fixture_violation(f, "pod %s is READY without a network namespace", sb->name);
	if (sb->state == SANDBOX_READY && addresses != !sb->host_network)
		fixture_violation(f, "pod %s is READY with %zu addresses", sb->name, addresses);
	if (sb->state == SANDBOX_READY && !world_is_mounted(f->world, shm))
		fixture_violation(f, "pod %s is READY without its shm", sb->name);
	if (sb->stopped && (addresses || world_is_pinned(f->world, sb->id, "net") ||
	                    world_is_mounted(f->world, shm)))
		fixture_violation(f, "pod %s is stopped, but not all of it is gone", sb->name);
}

static bool live(const struct fixture *f, const char *id)
{
	const struct sandbox *sb = sandbox_get(f->state, id);
	const struct container *c = container_get(f->state, id);

	return (sb && !sandbox_is_tombstone(sb)) || (c && !container_is_tombstone(c));
}

static void check_owners(struct fixture *f)
{
	char id[ID_SIZE];

	map_for_each(e, &f->world->pins) {
		memcpy(id, e->key, 64);
		id[64] = '\0';
		if (!live(f, id))
			fixture_violation(f, "I10: pin %.16s belongs to nobody", e->key);
	}
	map_for_each(e, &f->world->addresses)
		if (!live(f, e->key))
			fixture_violation(f, "I10: an address of %.12s, which is gone", e->key);
	map_for_each(e, &f->world->mounts) {
		const char *p = e->key;

		while (*p && strspn(p, "0123456789abcdef") != 64)
			p++;
		memcpy(id, p, 64);
		id[64] = '\0';
		if (!live(f, id))
			fixture_violation(f, "I10: mount %s belongs to nobody", e->key);
	}
	list_for_each(l, &f->world->containers) {
		const struct world_container *w = list_entry(l, struct world_container, link);

		if ((w->known || w->files || w->monitor) && !live(f, w->id))
			fixture_violation(f,
			                  "I10: container %.12s (stage %d%s%s%s) belongs to nobody",
			                  w->id, w->stage, w->known ? ", known to the runtime" : "",
			                  w->files ? ", monitor files" : "",
			                  w->monitor ? ", monitor alive" : "");
	}
}

void fixture_check(struct fixture *f)
{
	cleanup_free char *a = NULL;
	cleanup_free char *b = NULL;
	cleanup(strv_free) char **ops = NULL;
	cleanup_free char *ops_dir = xasprintf("%s/ops", f->state_dir);
	struct err err = { 0 };

	if (state_verify(f->state, &err) < 0)
		fixture_violation(f, "state: %s", err.msg);
	list_for_each(l, &f->state->quarantine)
		fixture_violation(f, "quarantined: %s",
		                  list_entry(l, struct quarantine, link)->why);
	if (f->shadow) {
		a = dump_state_text(f->state, false);
		b = dump_state_text(f->shadow, false);
		if (strcmp(a, b))
			fixture_violation(
				f, "I1: state is not the fold of what was released:\n%s\n%s", a, b);
	}
	if (!list_empty(&f->life->ops))
		fixture_violation(f, "an operation does not end: %s \"%s\" of %.12s",
		                  list_entry(f->life->ops.next, struct op, link)->name,
		                  op_step_name(list_entry(f->life->ops.next, struct op, link)),
		                  list_entry(f->life->ops.next, struct op, link)->id);
	list_for_each(l, &f->state->containers)
		check_container(f, list_entry(l, struct container, link));
	list_for_each(l, &f->state->sandboxes)
		check_pod(f, list_entry(l, struct sandbox, link));
	check_owners(f);
	if (fsx_list(AT_FDCWD, ops_dir, &ops) == 0 && ops && ops[0])
		fixture_violation(f, "op file %.20s is left", ops[0]);
	fake_gate_check_settled(&f->gate);
}
