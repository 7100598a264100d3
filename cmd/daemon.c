/* cmd/daemon.c
 *
 * coracle daemon: the engine, the CRI service in front of it, signals, and the way out.
 *
 *   engine_open (sockets bound, journal folded, recovery started) -> accept, every RPC UNAVAILABLE
 *   -> last record of the recovery released: reads, Stop and Remove
 *   -> every pre-installed plugin synchronised or dropped: the rest, READY=1
 *   SIGHUP -> the configuration is read again
 *   SIGTERM -> changes refused, running steps end, GOAWAY, journal synced -> exit 0
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/applets.h"
#include "cmd/deprecations.h"
#include "cmd/engine.h"
#include "cmd/options.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/outbox.h"
#include "core/life/stats.h"
#include "core/loop/notify.h"
#include "core/net/cni.h"
#include "core/run/cgroup.h"
#include "core/run/runtime.h"
#include "core/state/dump.h"
#include "core/state/record.pb.h"
#include "cri/grpc/server.h"
#include "cri/rpc/service.h"
#include "cri/spec/to_spec.h"

#define WATCHDOG_STALE_NS (10 * NS_PER_S)

static const char usage[] =
	"usage: coracle daemon [OPTION...]\n"
	"Serve the Kubernetes CRI.\n\n" OPTIONS_COMMON_HELP
	"      --listen PATH     CRI socket (<state>/coracle.sock)\n"
	"      --log-level LEVEL error, warn, notice, info, debug\n"
	"  -h, --help            this text\n\n"
	"SIGHUP reads the configuration again. Two daemons with different --root and --state share nothing.\n"
	"Exit status: 0 stopped, 1 failed, 2 usage, 75 another instance holds the state, 78 configuration or newer state.\n";

struct daemon {
	struct engine engine;
	struct notify notify;
	struct cri cri;
	struct cri_node node;
	struct cri_dump dump;
	struct service *service;
	struct grpc_server *server;
	struct loop_timer watchdog;
	uint64_t watchdog_turns;
	bool reads_open, stopping, life_stopped, clients_gone;
	int64_t started_ns;
	const struct config_flags *flags;
};

/* --- what Status shows */

static char *json_text(yyjson_mut_doc *doc)
{
	return json_write(doc, false, NULL);
}

/* True where nothing is deprecated, or that is ignored. */
static const struct cri_condition *deprecations(const struct engine *e, struct pb_arena *arena)
{
	struct cri_condition *condition = pb_arena_alloc(arena, sizeof(*condition));
	cleanup_free char *json = deprecations_json(e->config, e->cgroups->mode);

	if (!condition)
		return NULL;
	*condition =
		(struct cri_condition){ .type = "CoracleHasNoDeprecationWarnings", .ok = !json };
	if (json) {
		condition->reason = "CoracleHasDeprecationWarnings";
		condition->message = pb_arena_strdup(arena, json);
	}
	return condition;
}

static void node_facts(void *arg, struct pb_arena *arena, bool verbose, struct cri_node_facts *ret)
{
	struct daemon *d = arg;
	struct engine *e = &d->engine;
	const struct runtime_info *dflt = runtime_default(e->runtime);
	size_t n = runtime_count(e->runtime);
	struct cri_runtime_handler *handlers = pb_arena_alloc(arena, (n + 1) * sizeof(*handlers));
	char *reason = pb_arena_alloc(arena, 512);
	struct err err = { 0 };

	*ret = (struct cri_node_facts){ 0 };
	ret->runtime.ok = runtime_usable(dflt, &err) == 0;
	if (ret->runtime.ok && journal_ok(e->journal, &err) < 0)
		ret->runtime.ok = false;
	if (!ret->runtime.ok) {
		runtime_refresh(e->runtime);
		ret->runtime.reason = "RuntimeNotReady";
		ret->runtime.message = pb_arena_strdup(arena, err.msg);
	}
	if (!handlers || !reason)
		return;
	ret->network.ok = net_ready(e->net, reason, 512);
	ret->network.message = reason;
	if (!ret->network.ok)
		ret->network.reason = "NetworkPluginNotReady";
	ret->more = deprecations(e, arena);
	ret->nmore = ret->more ? 1 : 0;
	for (size_t i = 0; i < n; i++) {
		const struct runtime_info *info = runtime_at(e->runtime, i);

		handlers[ret->nhandlers++] = (struct cri_runtime_handler){
			.name = pb_arena_strdup(arena, info->name),
			.recursive_read_only_mounts = runtime_has(info, RUNTIME_RRO),
			.user_namespaces =
				true, /* namespaces are pinned here, every runtime can join them */
		};
	}
	handlers[ret->nhandlers++] = (struct cri_runtime_handler){
		.name = "",
		.recursive_read_only_mounts = runtime_has(dflt, RUNTIME_RRO),
		.user_namespaces = true,
	};
	ret->handlers = handlers;
	ret->systemd_cgroup = e->cgroups->mode == CGROUP_V2 &&
	                      runtime_has(dflt, RUNTIME_SYSTEMD_CGROUP) &&
	                      fsx_is_dir("/run/systemd/system");
	if (verbose) {
		struct cri_info *info = pb_arena_alloc(arena, sizeof(*info));
		cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
		cleanup_free char *text = NULL;

		yyjson_mut_doc_set_root(doc, net_dump(e->net, doc));
		text = json_text(doc);
		if (info)
			*info = (struct cri_info){ .key = "cniconfig",
				                   .json = pb_arena_strdup(arena, text) };
		ret->info = info;
		ret->ninfo = info ? 1 : 0;
	}
}

static int set_pod_cidrs(void *arg, const char *const *cidrs, size_t ncidrs, struct err *err)
{
	struct daemon *d = arg;
	cleanup(buf_release) struct buf text = { 0 };
	rec_RuntimeConfig msg;

	buf_init(&text, 4096);
	for (size_t i = 0; i < ncidrs; i++)
		if (buf_printf(&text, "%s%s", i ? "," : "", cidrs[i]) < 0)
			return buf_err_full(&text, "pod_cidr", err);
	if (streq(text.data, d->engine.state->pod_cidr))
		return 0;
	msg.pod_cidr = text.data;
	return journal_append(d->engine.journal, RECORD_RUNTIME_CONFIG, RECORD_WRITTEN, &msg, err)
	               ? 0
	               : -1;
}

/* --- dump */

static void dump_journal(const struct daemon *d, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_val *obj = yyjson_mut_obj_add_obj(doc, root, "journal");
	struct journal_stats stats;
	struct err err = { 0 };

	journal_stats(d->engine.journal, &stats);
	yyjson_mut_obj_add_uint(doc, obj, "released_seq", journal_released_seq(d->engine.journal));
	yyjson_mut_obj_add_uint(doc, obj, "appended", stats.appended);
	yyjson_mut_obj_add_uint(doc, obj, "batches", stats.batches);
	yyjson_mut_obj_add_uint(doc, obj, "fdatasyncs", stats.fdatasyncs);
	yyjson_mut_obj_add_uint(doc, obj, "bytes", stats.bytes);
	yyjson_mut_obj_add_uint(doc, obj, "rotations", stats.rotations);
	yyjson_mut_obj_add_uint(doc, obj, "snapshots", stats.snapshots);
	yyjson_mut_obj_add_uint(doc, obj, "failures", stats.failures);
	if (journal_ok(d->engine.journal, &err) < 0)
		yyjson_mut_obj_add_strcpy(doc, obj, "problem", err.msg);
}

static void dump_loop(const struct daemon *d, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_val *obj = yyjson_mut_obj_add_obj(doc, root, "loop");
	struct grpc_stats stats = grpc_server_stats(d->server);

	yyjson_mut_obj_add_uint(doc, obj, "turns", loop_turns(d->engine.loop));
	yyjson_mut_obj_add_uint(doc, obj, "waits", loop_waits(d->engine.loop));
	yyjson_mut_obj_add_uint(doc, obj, "slow_handlers", loop_slow_count(d->engine.loop));
	yyjson_mut_obj_add_uint(doc, obj, "stuck_children", child_stuck(d->engine.loop));
	yyjson_mut_obj_add_uint(doc, obj, "stuck_workers", worker_stuck(d->engine.worker));
	obj = yyjson_mut_obj_add_obj(doc, root, "grpc");
	yyjson_mut_obj_add_uint(doc, obj, "connections", grpc_server_connections(d->server));
	yyjson_mut_obj_add_uint(doc, obj, "calls", stats.calls);
	yyjson_mut_obj_add_uint(doc, obj, "failed", stats.failed);
	yyjson_mut_obj_add_uint(doc, obj, "cancelled", stats.cancelled);
	yyjson_mut_obj_add_uint(doc, obj, "refused", stats.refused);
	yyjson_mut_obj_add_uint(doc, obj, "live", stats.live);
}

static int dump_json(void *arg, struct buf *out, struct err *err)
{
	struct daemon *d = arg;
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	cleanup_free char *text = NULL;
	size_t len;

	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "version", CORACLE_VERSION);
	yyjson_mut_obj_add_val(doc, root, "state", dump_state(d->engine.state, doc));
	yyjson_mut_obj_add_val(doc, root, "life", life_dump(d->engine.life, doc));
	yyjson_mut_obj_add_val(doc, root, "network", net_dump(d->engine.net, doc));
	dump_journal(d, doc, root);
	dump_loop(d, doc, root);
	text = json_write(doc, true, &len);
	return buf_add(out, text, len) < 0 ? buf_err_full(out, "dump", err) : 0;
}

/* --- phases */

static void become_ready(struct daemon *d)
{
	int64_t ms = (clock_mono_ns() - d->started_ns) / NS_PER_MS;

	service_enter(d->service, SERVICE_READY);
	notify_send(&d->notify, "READY=1\nSTATUS=%zu pods known",
	            map_count(&d->engine.state->sandbox_names));
	log_notice(NULL, "coracle %s serves %s, ready after %lld ms", CORACLE_VERSION,
	           d->engine.config->listen, (long long)ms);
}

static void recovered(void *arg)
{
	struct daemon *d = arg;
	const struct replay_report *r = &d->engine.report;

	if (d->stopping)
		return;
	service_enter(d->service, SERVICE_READS_OPEN);
	if (!d->reads_open) { /* called once more, when the rest of the recovery is done */
		d->reads_open = true;
		return;
	}
	if (r->exits || r->adopted || r->undone || r->forward || r->orphans || r->quarantined)
		log_notice(
			NULL,
			"recovered: %zu running, %zu exits, %zu adopted, %zu undone, %zu continued, %zu orphans, %zu quarantined",
			r->running, r->exits, r->adopted, r->undone, r->forward, r->orphans,
			r->quarantined);
	/* the gate is open (no NRI): nothing else to wait for */
	if (life_ready(d->engine.life))
		become_ready(d);
}

/* --- stop */

static void stop_check(struct daemon *d)
{
	if (d->life_stopped && d->clients_gone)
		loop_stop(d->engine.loop);
}

static void life_is_stopped(void *arg)
{
	struct daemon *d = arg;

	d->life_stopped = true;
	/* whoever still waits for an operation that is parked now hears UNAVAILABLE when the server goes */
	d->clients_gone = true;
	stop_check(d);
}

static void clients_are_gone(void *arg)
{
	struct daemon *d = arg;

	d->clients_gone = true;
	stop_check(d);
}

static void on_terminate(void *arg, const struct signalfd_siginfo *info)
{
	struct daemon *d = arg;

	if (d->stopping) {
		loop_stop(d->engine.loop); /* asked twice: now */
		return;
	}
	d->stopping = true;
	log_notice(NULL, "stopping on signal %u", info->ssi_signo);
	notify_send(&d->notify, "STOPPING=1");
	service_enter(d->service, SERVICE_STOPPING);
	d->engine.listener = NULL; /* the server's since it listens */
	grpc_server_drain(d->server, clients_are_gone, d);
	life_stop(d->engine.life, life_is_stopped, d);
}

/* --- configuration */

static void log_config_problems(const struct config *config)
{
	for (size_t i = 0; i < config->nproblems; i++)
		log_warn(NULL, "configuration: %s [%s]", config->problems[i].text,
		         config_trouble_id(config->problems[i].trouble));
}

static void config_changed(void *arg, const struct config_value *value, bool taken)
{
	bool *any = arg;

	*any = true;
	if (taken)
		log_notice(NULL, "configuration: [%s] %s = %s (%s)", value->section,
		           value->key->name, value->text, value->origin);
	else
		log_warn(NULL, "configuration: [%s] %s has changed (%s), which needs a restart",
		         value->section, value->key->name, value->origin);
}

static void reload(struct daemon *d)
{
	struct err err = { 0 };
	cleanup(config_free) struct config *fresh = config_load(d->flags, &err);
	bool any = false;

	if (!fresh) {
		log_error(NULL, "configuration: %s; the one in use stays", err.msg);
		return;
	}
	config_reload(d->engine.config, fresh, config_changed, &any);
	engine_reconfigure(&d->engine);
	log_config_problems(d->engine.config);
	log_notice(NULL, "configuration: read again%s", any ? "" : ", nothing has changed");
}

static void on_hangup(void *arg, const struct signalfd_siginfo *info UNUSED)
{
	struct daemon *d = arg;

	if (d->stopping)
		return;
	notify_send(&d->notify, "RELOADING=1\nMONOTONIC_USEC=%lld",
	            (long long)(clock_mono_ns() / NS_PER_US));
	reload(d);
	notify_send(&d->notify, "READY=1");
}

static void watchdog_due(void *arg)
{
	struct daemon *d = arg;
	struct journal_stats stats;

	journal_stats(d->engine.journal, &stats);
	if (!stats.oldest_pending_ns ||
	    clock_boot_ns() - stats.oldest_pending_ns < WATCHDOG_STALE_NS)
		notify_send(&d->notify, "WATCHDOG=1");
	loop_timer_arm_in(d->engine.loop, &d->watchdog, d->notify.watchdog_ns / 2 / NS_PER_MS);
}

/* --- start */

static int open_service(struct daemon *d, struct err *err)
{
	struct engine *e = &d->engine;

	d->node =
		(struct cri_node){ .facts = node_facts, .set_pod_cidrs = set_pod_cidrs, .arg = d };
	d->dump = (struct cri_dump){ .json = dump_json, .arg = d };
	d->cri = (struct cri){
		.loop = e->loop,
		.worker = e->worker,
		.config = e->config,
		.state = e->state,
		.life = e->life,
		.events = e->events,
		.stats = stats_new(e->loop, e->worker, e->cgroups, e->state, e->config),
		.node = &d->node,
		.dump = &d->dump,
		.version = CORACLE_VERSION,
	};
	d->service = service_new(&d->cri);
	d->server = grpc_server_new(&(struct grpc_server_args){
		.loop = e->loop, .handler = service_handler(d->service) });
	return grpc_server_listen(d->server, e->listener, err);
}

static void log_problems(const struct engine *e)
{
	const struct host_limits *limits = runtime_host_limits(e->runtime);
	char text[160];

	log_config_problems(e->config);
	cgroup_describe(e->cgroups, text, sizeof(text));
	if (e->cgroups->mode == CGROUP_V2)
		log_info(NULL, "%s", text);
	else
		log_warn(NULL, "%s [cgroup.version]", text);
	if (limits->note[0])
		log_warn(NULL, "%s", limits->note);
	for (size_t i = 0; i < runtime_count(e->runtime); i++) {
		const struct runtime_info *info = runtime_at(e->runtime, i);

		if (info->problem)
			log_warn(NULL, "runtime %s: %s", info->name, info->problem);
		else
			log_info(NULL, "runtime %s: %s %s at %s", info->name,
			         or_empty(info->program), or_empty(info->version), info->path);
	}
	if (e->load.damage[0])
		log_error(NULL, "journal: %s", e->load.damage);
	if (e->load.torn_records)
		log_warn(NULL, "journal: %llu record(s) behind the last acknowledged one dropped",
		         (unsigned long long)e->load.torn_records);
}

static int run(struct daemon *d, struct err *err)
{
	struct loop *loop = d->engine.loop;

	if (loop_signal(loop, SIGHUP, on_hangup, d, err) < 0 ||
	    loop_signal(loop, SIGTERM, on_terminate, d, err) < 0 ||
	    loop_signal(loop, SIGINT, on_terminate, d, err) < 0)
		return -1;
	if (d->notify.watchdog_ns) {
		loop_timer_init(&d->watchdog, watchdog_due, d, "watchdog");
		watchdog_due(d);
	}
	return loop_run(loop, err);
}

int applet_daemon(int argc, char **argv)
{
	struct config_flags flags = { 0 };
	struct err err = { 0 };
	struct daemon d = { .started_ns = clock_mono_ns(), .flags = &flags };
	struct spec_builder builder = cri_spec_builder();
	struct config *config;
	enum exit_status status;
	int words = options_parse(argc, argv, &flags, NULL, 0);

	if (words == -2) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	if (words != 0) {
		if (words > 0)
			fprintf(stderr, "coracle daemon: unexpected argument '%s'\n", argv[1]);
		return EXIT_USAGE;
	}
	log_init("coracle", LOG_LEVEL_INFO);
	notify_init(&d.notify);
	config = config_load(&flags, &err);
	if (!config) {
		log_error(NULL, "configuration: %s", err.msg);
		return EXIT_CONFIG;
	}
	log_set_level(config->log_level);
	signal(SIGPIPE, SIG_IGN);
	status = engine_open(&d.engine,
	                     &(struct engine_args){ .mode = ENGINE_SERVE,
	                                            .config = config,
	                                            .builder = builder,
	                                            .recovered = recovered,
	                                            .arg = &d },
	                     &err);
	if (status != EXIT_OK) {
		log_error(NULL, "%s", err.msg);
		config_free(config);
		return status;
	}
	log_problems(&d.engine);
	status = open_service(&d, &err) < 0 || run(&d, &err) < 0 ? EXIT_FAILED : EXIT_OK;
	if (status != EXIT_OK)
		log_error(NULL, "%s", err.msg);
	loop_timer_disarm(d.engine.loop, &d.watchdog);
	d.engine.listener = NULL;
	grpc_server_free(d.server);
	service_free(d.service);
	stats_free(d.cri.stats);
	engine_close(&d.engine);
	notify_release(&d.notify);
	return status;
}
