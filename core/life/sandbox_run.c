/* core/life/sandbox_run.c
 *
 * RunPodSandbox: reserve -> files -> namespaces (and pause container) -> network -> gate -> READY.
 *
 * Names derive from the id, so each undo works without having seen its step's result; only CNI ADD needs its intention on record
 * before it runs, with the network list it uses: that is what DEL takes, even when the configuration has changed since.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/controller.h"
#include "core/run/mount.h"

#define HOST_FILE_MAX (1024 * 1024)

struct sandbox_run {
	struct op op;
	struct pb_arena *arena; /* the request's copy */
	rec_Sandbox creating;
	char *key;
	char name_turn[ID_SIZE];
	bool recovered;
	bool host_ipc, pause, has_dns;
	struct namespaces_args ns;
	struct namespaces_paths paths;
	char **dns_servers, **dns_searches, **dns_options;
	struct net_pod net; /* arguments of ADD */
	struct pairs annotations;
	char *plan; /* what INTENT puts on record */
	size_t plan_len;
	struct bytes result; /* what ADD printed */
	char **ips;
	uint32_t child_at; /* step whose child was started; 0: none */
	struct gate_request request;
};

static struct sandbox_run *run_of(struct op *op)
{
	return container_of(op, struct sandbox_run, op);
}

static void run_free(struct op *op)
{
	struct sandbox_run *sr = run_of(op);

	if (sr->key && map_find(&op->life->creating, sr->key) == op)
		map_remove(&op->life->creating, sr->key);
	outbox_request_drop(op->life->outbox, &sr->request);
	strv_free(sr->dns_servers);
	strv_free(sr->dns_searches);
	strv_free(sr->dns_options);
	free(sr->plan);
	bytes_release(&sr->result);
	strv_free(sr->ips);
	free(sr->key);
	pb_arena_free(sr->arena);
	free(sr);
}

static const struct sandbox *current(struct op *op)
{
	const struct sandbox *sb = sandbox_get(op->life->state, op->id);

	return sb && !sandbox_is_tombstone(sb) ? sb : NULL;
}

/* --- name and record */

static enum step name_run(struct op *op)
{
	return op_take_turn(op, run_of(op)->name_turn, true);
}

static enum step reserve_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	const struct sandbox *other = sandbox_by_key(op->life->state, sr->key);

	if (other)
		return op_fail(op, CODE_ALREADY_EXISTS,
		               "pod sandbox name \"%s\" is used by %s, which is %s", sr->key,
		               other->id, sandbox_state_name(other->state));
	outbox_request_announce(op->life->outbox, &sr->request, GATE_SANDBOX_RUN, op->id, "");
	return op_record(op, RECORD_SANDBOX_CREATING, &sr->creating);
}

static enum step reserve_undo(struct op *op)
{
	const struct sandbox *sb = current(op);
	const rec_Ref ref = { .id = op->id };

	if (!sb || sb->state != SANDBOX_REMOVING)
		return STEP_DONE;
	return op_record(op, RECORD_SANDBOX_REMOVED, &ref);
}

/* --- files: resolv.conf, hostname, hosts, shm in <state>/sandboxes/<id> */

static int write_file(const char *dir, const char *name, const char *text, size_t len,
                      struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	int rc = fsx_write(AT_FDCWD, path, text, len, 0644);

	return rc < 0 ? err_sys(err, -rc, "write %s", path) : 0;
}

static int copy_host_file(const char *dir, const char *name, const char *host, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int rc = fsx_read(AT_FDCWD, host, HOST_FILE_MAX, &text, &len);

	if (rc == -ENOENT)
		return write_file(dir, name, "", 0, err);
	if (rc < 0)
		return err_sys(err, -rc, "read %s", host);
	return write_file(dir, name, text, len, err);
}

static int add_words(struct buf *buf, const char *key, char *const *words)
{
	if (!strv_len(words))
		return 0;
	if (buf_add_str(buf, key) < 0)
		return -1;
	for (; *words; words++)
		if (buf_printf(buf, " %s", *words) < 0)
			return -1;
	return buf_add_str(buf, "\n");
}

static int write_resolv_conf(struct sandbox_run *sr, const char *dir, struct err *err)
{
	cleanup(buf_release) struct buf buf = { 0 };

	if (!sr->has_dns)
		return copy_host_file(dir, "resolv.conf", "/etc/resolv.conf", err);
	buf_init(&buf, HOST_FILE_MAX);
	if (add_words(&buf, "search", sr->dns_searches) < 0)
		return buf_err_full(&buf, "resolv.conf", err);
	for (size_t i = 0; i < strv_len(sr->dns_servers); i++)
		if (buf_printf(&buf, "nameserver %s\n", sr->dns_servers[i]) < 0)
			return buf_err_full(&buf, "resolv.conf", err);
	if (add_words(&buf, "options", sr->dns_options) < 0)
		return buf_err_full(&buf, "resolv.conf", err);
	return write_file(dir, "resolv.conf", or_empty(buf.data), buf.len, err);
}

static int write_hostname(struct sandbox_run *sr, const char *dir, struct err *err)
{
	char host[65] = "";
	cleanup_free char *line = NULL;

	if (gethostname(host, sizeof(host) - 1) < 0)
		return err_sys(err, errno, "gethostname");
	line = xasprintf("%s\n", sr->creating.hostname[0] ? sr->creating.hostname : host);
	return write_file(dir, "hostname", line, strlen(line), err);
}

static enum step files_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	cleanup_free char *dir = life_sandbox_dir(op->life, op->id);
	cleanup_free char *shm_dir = xasprintf("%s/shm", dir);
	struct mount_shm shm;
	int rc = fsx_mkdir_p(dir, 0711);

	if (rc < 0) {
		err_sys(op_err(op), -rc, "mkdir %s", dir);
		return STEP_FAIL;
	}
	if (write_resolv_conf(sr, dir, op_err(op)) < 0 || write_hostname(sr, dir, op_err(op)) < 0 ||
	    copy_host_file(dir, "hosts", "/etc/hosts", op_err(op)) < 0)
		return STEP_FAIL;
	if (sr->host_ipc)
		return STEP_DONE;
	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	mount_shm_ops(&shm, shm_dir, MOUNT_SHM_BYTES);
	if (mount_run(op->life->loop, shm.ops, MOUNT_SHM_OPS, op->lock.fd, MOUNT_TIMEOUT_MS,
	              op_step_done, op, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

enum step sandbox_files_remove(struct op *op)
{
	cleanup_free char *dir = life_sandbox_dir(op->life, op->sandbox_id);
	const struct mount_op ops[] = { { .kind = MOUNT_REMOVE_TREE, .target = dir } };

	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	if (mount_run(op->life->loop, ops, ARRAY_SIZE(ops), op->lock.fd, CLEANUP_TIMEOUT_MS,
	              op_step_done, op, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

/* --- namespaces */

static void namespaces_made(void *arg, const struct namespaces_paths *paths, const struct err *err)
{
	struct op *op = arg;

	if (!err)
		run_of(op)->paths = *paths;
	op_step_done(op, err);
}

static enum step namespaces_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);

	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	if (namespaces_create(op->life->args.namespaces, &sr->ns, op->lock.fd, CHILD_TIMEOUT_MS,
	                      namespaces_made, op, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

static void namespaces_gone(void *arg, const struct namespaces_paths *paths UNUSED,
                            const struct err *err)
{
	op_step_done(arg, err);
}

enum step sandbox_unpin(struct op *op)
{
	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	if (namespaces_remove(op->life->args.namespaces, op->sandbox_id, op->lock.fd,
	                      CLEANUP_TIMEOUT_MS, namespaces_gone, op, op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

static enum step pinned_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	char pause_id[ID_SIZE] = "";
	rec_SandboxNamespaces msg = {
		.id = op->id,
		.netns_path = sr->paths.path[NAMESPACE_NET],
		.ipcns_path = sr->paths.path[NAMESPACE_IPC],
		.utsns_path = sr->paths.path[NAMESPACE_UTS],
		.userns_path = sr->paths.path[NAMESPACE_USER],
		.pause_container = pause_id,
	};

	if (sr->pause)
		pause_container_id(op->id, pause_id);
	return op_record(op, RECORD_SANDBOX_NAMESPACES, &msg);
}

/* --- the pause controller's hidden container */

/* Run @child once in the current step, then wait for its end. */
static enum step child_once(struct op *op, struct op *(*make)(struct op *op))
{
	struct sandbox_run *sr = run_of(op);

	if (!sr->pause)
		return STEP_DONE;
	if (sr->child_at != op->at) {
		sr->child_at = op->at;
		op_start_child(op, make(op));
	}
	return op_children_step(op);
}

static struct op *make_pause_create(struct op *op)
{
	return pause_create_new(op->life, current(op));
}

static struct op *make_pause_start(struct op *op)
{
	char id[ID_SIZE];

	pause_container_id(op->id, id);
	return container_start_new(op->life, id, op->id, false);
}

static enum step pause_create_run(struct op *op)
{
	return child_once(op, make_pause_create);
}

static enum step pause_start_run(struct op *op)
{
	return child_once(op, make_pause_start);
}

enum step sandbox_pause_remove(struct op *op)
{
	const struct sandbox *sb = sandbox_get(op->life->state, op->sandbox_id);
	const struct container *c = NULL;

	if (op->children || op->child_err.code != CODE_OK)
		return op_children_step(op);
	list_for_each(l, &sb->containers)
		if (list_entry(l, struct container, pod_link)->hidden)
			c = list_entry(l, struct container, pod_link);
	if (!c)
		return STEP_DONE;
	if (c->state == CONTAINER_CREATING || c->undone) {
		op_adopt_child(op, container_undo_start(op->life, c));
	} else {
		op_start_child(op, container_remove_new(op->life, c, false));
	}
	return STEP_WAIT;
}

static enum step pause_undo(struct op *op)
{
	return current(op) ? sandbox_pause_remove(op) : STEP_DONE;
}

/* --- network */

static enum step intent_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	rec_SandboxNetworkIntent msg = { .id = op->id };

	if (sr->creating.host_network)
		return STEP_DONE;
	sr->net.netns_path = sr->paths.path[NAMESPACE_NET];
	if (net_prepare(op->life->args.net, &sr->net, &sr->plan, &sr->plan_len, op_err(op)) < 0)
		return STEP_FAIL;
	msg.conf = pb_arena_bytes(sr->arena, sr->plan, sr->plan_len);
	if (!msg.conf)
		return op_fail(op, CODE_RESOURCE_EXHAUSTED, "network configuration is too large");
	return op_record(op, RECORD_SANDBOX_NETWORK_INTENT, &msg);
}

static void network_deleted(void *arg, const struct net_result *result UNUSED,
                            const struct err *err)
{
	op_step_done(arg, err);
}

enum step sandbox_network_delete(struct op *op)
{
	const struct sandbox *sb = sandbox_get(op->life->state, op->sandbox_id);
	struct net_call call = NET_CALL_INIT;

	if (!sb || !sb->network_intent)
		return STEP_DONE;
	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	call.plan = sb->cni_conf.data;
	call.plan_len = sb->cni_conf.len;
	call.result = sb->cni_result.data;
	call.result_len = sb->cni_result.len;
	call.oplock_fd = op->lock.fd;
	call.done = network_deleted;
	call.arg = op;
	net_del(op->life->args.net, &call);
	return op_busy(op);
}

static void network_added(void *arg, const struct net_result *result, const struct err *err)
{
	struct op *op = arg;
	struct sandbox_run *sr = run_of(op);

	if (!err) {
		sr->result.data = xmemdup(result->json, result->len);
		sr->result.len = result->len;
		sr->ips = strv_dup(result->ips);
	}
	op_step_done(op, err);
}

static enum step network_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	struct net_call call = NET_CALL_INIT;

	if (sr->creating.host_network)
		return STEP_DONE;
	if (op_lock(op) == STEP_FAIL)
		return STEP_FAIL;
	call.plan = sr->plan;
	call.plan_len = sr->plan_len;
	call.oplock_fd = op->lock.fd;
	call.done = network_added;
	call.arg = op;
	net_add(op->life->args.net, &call);
	return op_busy(op);
}

static enum step result_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	rec_SandboxNetwork msg = { .id = op->id,
		                   .ips = sr->ips,
		                   .ips_count = (pb_size_t)strv_len(sr->ips) };

	if (sr->creating.host_network)
		return STEP_DONE;
	msg.result = pb_arena_bytes(sr->arena, sr->result.data, sr->result.len);
	if (!msg.result)
		return op_fail(op, CODE_RESOURCE_EXHAUSTED,
		               "the network plugins' result is too large");
	return op_record(op, RECORD_SANDBOX_NETWORK, &msg);
}

/* --- gate and commit */

static void gate_done(struct gate_request *req, const struct err *err)
{
	op_step_done(req->arg, err);
}

static enum step gate_run(struct op *op)
{
	struct sandbox_run *sr = run_of(op);

	sr->request.done = gate_done;
	sr->request.arg = op;
	outbox_request(op->life->outbox, &sr->request);
	return STEP_WAIT;
}

static enum step commit_run(struct op *op)
{
	const rec_Ref ref = { .id = op->id };

	return op_record(op, RECORD_SANDBOX_READY, &ref);
}

/* clang-format off */
static const struct op_step run_steps[] = {
	{ "name",         name_run,         NULL                   },
	{ "reserve",      reserve_run,      reserve_undo           },
	{ "files",        files_run,        sandbox_files_remove   },
	{ "namespaces",   namespaces_run,   sandbox_unpin          },
	{ "pinned",       pinned_run,       NULL                   },
	{ "pause create", pause_create_run, pause_undo             },
	{ "pause start",  pause_start_run,  NULL                   },
	{ "intent",       intent_run,       sandbox_network_delete },
	{ "network",      network_run,      NULL                   },
	{ "result",       result_run,       NULL                   },
	{ "gate",         gate_run,         NULL                   },
	{ "commit",       commit_run,       NULL                   },
};
/* clang-format on */

static enum step run_begin_undo(struct op *op)
{
	struct sandbox_run *sr = run_of(op);
	const struct sandbox *sb = current(op);
	char *names[PLUGIN_MAX];
	rec_Removing msg = { .id = op->id, .undo = true, .all_plugins = sr->recovered };

	if (op_take_turn(op, sr->name_turn, true) == STEP_WAIT)
		return STEP_WAIT;
	if (!sb || sb->state != SANDBOX_CREATING)
		return STEP_DONE;
	sr->request.sealed = true;
	removing_plugins(op->life, sr->request.seen_mask, &msg, names);
	return op_record(op, RECORD_SANDBOX_REMOVING, &msg);
}

static void run_stuck(struct op *op)
{
	life_record_stuck(op, RECORD_SANDBOX_REMOVING);
}

static struct sandbox_run *run_new(void)
{
	struct sandbox_run *sr = xcalloc(1, sizeof(*sr));

	sr->op.name = "RunPodSandbox";
	sr->op.steps = run_steps;
	sr->op.nsteps = ARRAY_SIZE(run_steps);
	sr->op.undoable = true;
	sr->op.begin_undo = run_begin_undo;
	sr->op.stuck = run_stuck;
	sr->op.free_fn = run_free;
	return sr;
}

struct op *sandbox_undo_start(struct life *life, const struct sandbox *sb)
{
	struct sandbox_run *sr = run_new();

	sr->recovered = true;
	turn_name(sb->key, sr->name_turn);
	memcpy(sr->op.id, sb->id, ID_SIZE);
	memcpy(sr->op.sandbox_id, sb->id, ID_SIZE);
	op_start_at(life, &sr->op, ARRAY_SIZE(run_steps) - 1, true);
	/* at once: it may have to wait for an earlier daemon's children, and a retry of the name for it (D7) */
	ignore(op_take_turn(&sr->op, sr->name_turn, true)); /* begin_undo asks again */
	return &sr->op;
}

/* --- the request */

static int copy_maps(struct pb_arena *arena, const struct id_maps *maps, rec_IdMap **ret_items,
                     pb_size_t *ret_count)
{
	rec_IdMap *items;

	if (!maps->count)
		return 0;
	items = pb_arena_alloc(arena, maps->count * sizeof(*items));
	if (!items)
		return -1;
	for (size_t i = 0; i < maps->count; i++)
		items[i] = (rec_IdMap){ maps->items[i].inside, maps->items[i].outside,
			                maps->items[i].count };
	*ret_items = items;
	*ret_count = (pb_size_t)maps->count;
	return 0;
}

static int fill_creating(struct life *life, struct sandbox_run *sr, const struct life_sandbox *sb,
                         const struct runtime_info *info, const struct sandbox_ops *controller,
                         struct err *err)
{
	rec_Sandbox *msg = &sr->creating;
	struct pb_arena *arena = sr->arena;

	*msg = (rec_Sandbox){
		.id = sr->op.id,
		.name = pb_arena_strdup(arena, sb->name),
		.uid = pb_arena_strdup(arena, sb->uid),
		.ns = pb_arena_strdup(arena, sb->ns),
		.attempt = sb->attempt,
		.runtime_handler = pb_arena_strdup(arena, or_empty(sb->runtime_handler)),
		.runtime = pb_arena_strdup(arena, info->name),
		.controller = pb_arena_strdup(arena, controller->name),
		.request = pb_arena_bytes(arena, sb->request.data, sb->request.len),
		.created_ns = life_created_ns(life),
		.cgroup_parent = pb_arena_strdup(arena, or_empty(sb->cgroup_parent)),
		.hostname = pb_arena_strdup(arena, or_empty(sb->hostname)),
		.log_dir = pb_arena_strdup(arena, or_empty(sb->log_dir)),
		.host_network = sb->host_network,
	};
	if (!msg->name || !msg->uid || !msg->ns || !msg->request || !msg->cgroup_parent ||
	    !msg->hostname || !msg->log_dir ||
	    life_copy_pairs(arena, &sb->labels, &msg->labels, &msg->labels_count) < 0 ||
	    life_copy_pairs(arena, &sb->annotations, &msg->annotations, &msg->annotations_count) <
	            0 ||
	    copy_maps(arena, &sb->uid_maps, &msg->uid_maps, &msg->uid_maps_count) < 0 ||
	    copy_maps(arena, &sb->gid_maps, &msg->gid_maps, &msg->gid_maps_count) < 0)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "pod sandbox %s: request too large",
		               sb->name);
	return 0;
}

static struct id_map *arena_maps(struct pb_arena *arena, const struct id_maps *maps)
{
	struct id_map *items = pb_arena_alloc(arena, (maps->count + 1) * sizeof(*items));

	if (items && maps->count)
		memcpy(items, maps->items, maps->count * sizeof(*items));
	return items;
}

static int fill_namespaces(struct sandbox_run *sr, const struct life_sandbox *sb, struct err *err)
{
	struct namespaces_args *ns = &sr->ns;
	struct pair *sysctls =
		pb_arena_alloc(sr->arena, (sb->sysctls.count + 1) * sizeof(*sysctls));

	ns->id = sr->op.id;
	ns->host_network = sb->host_network;
	ns->host_ipc = sb->host_ipc;
	ns->uid_maps = arena_maps(sr->arena, &sb->uid_maps);
	ns->nuid_maps = sb->uid_maps.count;
	ns->gid_maps = arena_maps(sr->arena, &sb->gid_maps);
	ns->ngid_maps = sb->gid_maps.count;
	ns->hostname = sr->creating.hostname;
	if (!sysctls || !ns->uid_maps || !ns->gid_maps)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "pod sandbox %s: request too large",
		               sb->name);
	for (size_t i = 0; i < sb->sysctls.count; i++) {
		sysctls[i].key = pb_arena_strdup(sr->arena, sb->sysctls.items[i].key);
		sysctls[i].value = pb_arena_strdup(sr->arena, sb->sysctls.items[i].value);
		if (!sysctls[i].key || !sysctls[i].value)
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "pod sandbox %s: request too large", sb->name);
	}
	ns->sysctls = (struct pairs){ .items = sysctls, .count = sb->sysctls.count };
	return namespaces_check(ns, err);
}

/* Bandwidth comes with the annotations; the copy is the record's own. */
static int fill_network(struct sandbox_run *sr, const struct life_sandbox *sb, struct err *err)
{
	struct net_pod *net = &sr->net;
	struct net_port *ports = pb_arena_alloc(sr->arena, (sb->nports + 1) * sizeof(*ports));
	struct pair *items =
		pb_arena_alloc(sr->arena, (sr->creating.annotations_count + 1) * sizeof(*items));

	if (!ports || !items)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "pod sandbox %s: request too large",
		               sb->name);
	for (size_t i = 0; i < sb->nports; i++) {
		ports[i] = sb->ports[i];
		ports[i].host_ip = pb_arena_strdup(sr->arena, or_empty(sb->ports[i].host_ip));
	}
	for (size_t i = 0; i < sr->creating.annotations_count; i++)
		items[i] = (struct pair){ sr->creating.annotations[i].key,
			                  sr->creating.annotations[i].value };
	sr->annotations = (struct pairs){ .items = items, .count = sr->creating.annotations_count };
	*net = (struct net_pod){
		.id = sr->op.id,
		.name = sr->creating.name,
		.ns = sr->creating.ns,
		.uid = sr->creating.uid,
		.annotations = &sr->annotations,
		.ports = ports,
		.nports = sb->nports,
		.has_dns = sb->has_dns,
		.dns_servers = sr->dns_servers,
		.dns_searches = sr->dns_searches,
		.dns_options = sr->dns_options,
		.cgroup_parent = sr->creating.cgroup_parent,
	};
	return 0;
}

static bool same_request(const struct sandbox *sb, const struct life_sandbox *request)
{
	return streq(sb->runtime_handler, or_empty(request->runtime_handler)) &&
	       sb->request.len == request->request.len &&
	       !memcmp(sb->request.data, request->request.data, sb->request.len);
}

/* The same pod is on its way, or there already and just as asked for: answered here (D7). */
static bool answer_existing(struct life *life, const struct life_sandbox *sb, const char *key,
                            struct life_wait *wait)
{
	const struct sandbox *old = sandbox_by_key(life->state, key);
	struct op *op = map_find(&life->creating, key);

	if (op && !op->undoing && !op->cancelled) {
		life_wait_op(wait, life, op);
		return true;
	}
	if (old && old->state == SANDBOX_READY && same_request(old, sb)) {
		life_answer(wait, life, old->id, NULL);
		return true;
	}
	return false; /* anything else is judged when it is this name's turn */
}

static enum pid_mode pid_mode(const struct life_sandbox *sb)
{
	if (sb->host_pid)
		return PID_MODE_NODE;
	return sb->pod_pid ? PID_MODE_POD : PID_MODE_CONTAINER;
}

static int prepare(struct life *life, struct sandbox_run *sr, const struct life_sandbox *sb,
                   struct err *err)
{
	const struct runtime_info *info =
		runtime_find(life->args.runtime, or_empty(sb->runtime_handler), err);
	const struct sandbox_ops *controller;

	if (!info)
		return -1;
	if (runtime_usable(info, err) < 0) {
		runtime_refresh(
			life->args
				.runtime); /* somebody may have installed it meanwhile: the retry will see */
		return -1;
	}
	controller = controller_choose(info->sandbox, pid_mode(sb), err);
	if (!controller)
		return -1;
	sr->pause = controller->has_container;
	sr->host_ipc = sb->host_ipc;
	sr->has_dns = sb->has_dns;
	sr->dns_servers = strv_dup(sb->dns_servers);
	sr->dns_searches = strv_dup(sb->dns_searches);
	sr->dns_options = strv_dup(sb->dns_options);
	if (fill_creating(life, sr, sb, info, controller, err) < 0 ||
	    fill_namespaces(sr, sb, err) < 0)
		return -1;
	return fill_network(sr, sb, err);
}

void life_sandbox_run(struct life *life, const struct life_sandbox *sb, int64_t deadline_ns,
                      struct life_wait *wait)
{
	cleanup_free char *key = sandbox_key(sb->name, sb->ns, sb->uid, sb->attempt);
	struct sandbox_run *sr;
	struct err err = { 0 };

	if (answer_existing(life, sb, key, wait))
		return;
	sr = run_new();
	sr->op.life = life;
	sr->arena = pb_arena_new(pb_budget_for(4 * RECORD_MAX_BYTES));
	rand_id(sr->op.id);
	memcpy(sr->op.sandbox_id, sr->op.id, ID_SIZE);
	sr->op.deadline_ns = deadline_ns;
	if (prepare(life, sr, sb, &err) < 0) {
		run_free(&sr->op);
		life_answer(wait, life, NULL, &err);
		return;
	}
	sr->key = xstrdup(key);
	turn_name(key, sr->name_turn);
	map_set(&life->creating, key, &sr->op);
	op_start(life, &sr->op);
	life_wait_op(wait, life, &sr->op);
}
