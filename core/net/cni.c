/* core/net/cni.c
 *
 * Which network is it? Before each use a stat of every file tells whether the directory is still what was read: kubelet asks for
 * the status every few seconds, so nobody else has to watch it. plan.c writes down what an operation needs, chain.c runs it.
 */
#include "core/net/cni.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/net/builtin.h"
#include "core/net/chain.h"
#include "core/net/cni_result.h"
#include "core/net/netconf.h"
#include "core/net/plan.h"

#define DEFAULT_TIMEOUT_MS 60000
#define MAX_CONF_FILES     256
#define STATUS_FRESH_NS    (10 * NS_PER_S)
#define MAGIC_NSFS         0x6e736673
#define MAGIC_PROC         0x9fa0

/* A file that changed this short ago may change again without another size or time, and may be half written. */
#define SETTLE_NS NS_PER_S

struct net {
	struct chain chain;
	char *conf_dir, *state_dir;
	bool builtin_allowed;

	uint32_t seen; /* the directory when it was read, see look() */
	bool settled;  /* no file of it was young then */

	struct netconf *conf; /* NULL: none, see why */
	uint32_t conf_crc;    /* of its text */
	bool builtin;         /* conf is ours */
	unsigned builtin_with;
	bool builtin_used; /* a pod was planned in it: its subnet is written down */
	bool had_conf;     /* there were files in this life: no built-in network any more */
	char *why;         /* there is no conf because */
	char **problems;   /* of skipped files */
	char *said;        /* last log line, so that each change is said once */

	struct net_op *status_op;
	int64_t status_ns; /* when the last STATUS answered; 0: never */
	struct err status; /* its answer; CODE_OK: fine */
};

/* ------------------------------------------------------------------ plugins on disk */

static bool has_plugin(const struct net *net, const char *type)
{
	cleanup_free char *path = chain_find_plugin(&net->chain, type);

	return path != NULL;
}

/* The first plugin of the network, or of its address management, that is not installed; NULL: all are. */
static const char *missing_plugin(const struct net *net, const struct netconf *conf)
{
	for (size_t i = 0; i < netconf_count(conf); i++) {
		const char *ipam =
			json_str(json_obj(netconf_plugin(conf, i), "ipam"), "type", NULL);

		if (!has_plugin(net, netconf_type(conf, i)))
			return netconf_type(conf, i);
		if (ipam && *ipam && !strchr(ipam, '/') && !has_plugin(net, ipam))
			return ipam;
	}
	return NULL;
}

/* Is a program on our PATH? */
static bool on_path(const char *program)
{
	struct str rest = str_of(getenv("PATH")), dir;

	while (rest.len > 0) {
		char path[512];

		str_cut(rest, ':', &dir, &rest);
		if (str_format(path, sizeof(path), STR_FMT "/%s", STR_ARG(dir), program) == 0 &&
		    access(path, X_OK) == 0)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ which network */

static bool is_conf_file(const char *name)
{
	return name[0] != '.' && (ends_with(name, ".conf") || ends_with(name, ".conflist") ||
	                          ends_with(name, ".json"));
}

static void add_problem(char ***problems, const char *text)
{
	size_t n = strv_len(*problems);

	*problems = xrealloc(*problems, n + 2, sizeof(**problems));
	(*problems)[n] = xstrdup(text);
	(*problems)[n + 1] = NULL;
}

static bool is_young(const struct stat *st)
{
	int64_t age_ns = clock_real_ns() - st->st_mtim.tv_sec * NS_PER_S - st->st_mtim.tv_nsec;

	return age_ns >= 0 && age_ns < SETTLE_NS;
}

/* What may be configuration, in a number: names, inodes, sizes, times. A link counts as what it leads to. */
static uint32_t look(const struct net *net, bool *ret_settled)
{
	cleanup(strv_free) char **names = NULL;
	uint32_t crc = (uint32_t)fsx_list(AT_FDCWD, net->conf_dir, &names);

	*ret_settled = true;
	for (size_t i = 0; names && names[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", net->conf_dir, names[i]);
		struct stat st = { 0 };

		if (!is_conf_file(names[i]))
			continue;
		ignore(stat(path, &st) < 0); /* nowhere, in all zeros */
		*ret_settled &= !is_young(&st);
		crc = crc32c(crc, names[i], strlen(names[i]) + 1);
		crc = crc32c(crc, &st.st_dev, sizeof(st.st_dev));
		crc = crc32c(crc, &st.st_ino, sizeof(st.st_ino));
		crc = crc32c(crc, &st.st_size, sizeof(st.st_size));
		crc = crc32c(crc, &st.st_mtim, sizeof(st.st_mtim));
		crc = crc32c(crc, &st.st_ctim, sizeof(st.st_ctim));
	}
	return crc;
}

/* One file. -1: @err; @ret_young: it was written a moment ago. */
static int load_file(const char *path, struct netconf **ret, uint32_t *ret_crc, bool *ret_young,
                     struct err *err)
{
	cleanup_free char *text = NULL;
	struct stat st;
	size_t len;

	*ret_young = stat(path, &st) == 0 && is_young(&st);
	if (file_read_all(path, NETCONF_MAX_BYTES, &text, &len, err) < 0)
		return -1;
	*ret_crc = crc32c(0, text, len);
	return netconf_parse(path, text, len, ret, err);
}

/* What the host offers to the built-in network: it takes part in choosing its plugins. */
static unsigned builtin_options(const struct net *net)
{
	unsigned with = 0;

	if (!on_path("iptables"))
		return 0;
	with |= BUILTIN_MASQUERADE;
	if (has_plugin(net, "firewall"))
		with |= BUILTIN_FIREWALL;
	if (has_plugin(net, "portmap"))
		with |= BUILTIN_PORTMAP;
	return with;
}

static void load_builtin(struct net *net)
{
	cleanup_free char *text = NULL;
	struct err err;

	net->builtin_with = builtin_options(net);
	if (builtin_conf(net->state_dir, net->builtin_with, net->builtin_used, &text, &err) < 0 ||
	    netconf_parse("built-in network", text, strlen(text), &net->conf, &err) < 0) {
		net->why = xstrdup(err.msg);
		return;
	}
	net->builtin = true;
}

/* Everything that load() sets is taken back; a STATUS under way would answer for the wrong network. */
static void unload(struct net *net)
{
	if (net->status_op)
		net_op_free(take_ptr(net->status_op));
	netconf_free(take_ptr(net->conf));
	free(take_ptr(net->why));
	strv_free(take_ptr(net->problems));
	net->builtin = false;
	net->status_ns = 0;
	err_clear(&net->status);
}

static void say_once(struct net *net)
{
	char *line = net->conf
	                     ? xasprintf("network \"%s\" from %s", net->conf->name, net->conf->file)
	                     : xstrdup(net->why);

	for (size_t i = 0; net->problems && net->problems[i]; i++) {
		cleanup_free char *before = line;

		line = xasprintf("%s; skipped: %s", before, net->problems[i]);
	}
	if (!streq(line, net->said)) {
		if (net->conf && !net->problems)
			log_notice(NULL, "pod network: %s", line);
		else
			log_warn(NULL, "pod network: %s", line);
	}
	free(net->said);
	net->said = line;
}

/* The first file that is a network, and what is wrong with those before it. True: one of these is being written. */
static bool read_dir(const struct net *net, char **names, size_t *ret_candidates,
                     struct netconf **ret, uint32_t *ret_crc, char ***ret_problems)
{
	bool writing = false;

	*ret_candidates = 0;
	for (size_t i = 0; names[i] && !*ret && *ret_candidates < MAX_CONF_FILES; i++) {
		cleanup_free char *path = xasprintf("%s/%s", net->conf_dir, names[i]);
		struct err err;
		bool young;

		if (!is_conf_file(names[i]))
			continue;
		++*ret_candidates;
		if (load_file(path, ret, ret_crc, &young, &err) < 0) {
			add_problem(ret_problems, err.msg);
			writing |= young;
		}
	}
	return writing;
}

static char *why_none(struct net *net, int rc, size_t candidates)
{
	if (rc < 0 && rc != -ENOENT)
		return xasprintf("cannot read %s: %s", net->conf_dir, errno_name(-rc));
	if (candidates > 0)
		return xasprintf("no usable network configuration in %s: %s", net->conf_dir,
		                 net->problems[0]);
	if (net->had_conf)
		return xasprintf("the network configuration in %s was removed", net->conf_dir);
	return net->builtin_allowed ? NULL
	                            : xasprintf("no network configuration in %s", net->conf_dir);
}

static void load(struct net *net)
{
	cleanup(strv_free) char **names = NULL;
	cleanup(strv_free) char **problems = NULL;
	struct netconf *conf = NULL;
	size_t candidates = 0;
	uint32_t crc = 0;
	int rc = fsx_list(AT_FDCWD, net->conf_dir, &names);

	if (rc >= 0 && read_dir(net, names, &candidates, &conf, &crc, &problems) && net->conf) {
		netconf_free(conf);
		return; /* what we have is good until that file is whole */
	}
	if (conf && net->conf && crc == net->conf_crc && streq(conf->file, net->conf->file)) {
		netconf_free(conf); /* what is known of its status stays */
	} else {
		unload(net);
		net->conf = conf;
		net->conf_crc = crc;
	}
	strv_free(net->problems);
	net->problems = take_ptr(problems);
	net->had_conf |= candidates > 0;
	if (!net->conf) {
		net->why = why_none(net, rc, candidates);
		if (!net->why)
			load_builtin(net);
	}
	say_once(net);
}

/* ------------------------------------------------------------------ before each use */

static void refresh(struct net *net)
{
	bool settled;
	uint32_t seen = look(net, &settled);

	/* Plugins and iptables may have been installed since; they change what the built-in network consists of. */
	if (seen == net->seen && net->settled &&
	    (!net->builtin || builtin_options(net) == net->builtin_with))
		return;
	net->seen = seen;
	net->settled = settled;
	load(net);
}

int net_prepare(struct net *net, const struct net_pod *pod, char **ret_plan, size_t *ret_len,
                struct err *err)
{
	refresh(net);
	if (net->builtin && !net->builtin_used) {
		net->builtin_used = true;
		load(net);
	}
	if (!net->conf)
		return err_set(err, CODE_UNAVAILABLE, "pod network: %s", net->why);
	return net_plan_write(net->conf, pod, ret_plan, ret_len, err);
}

/* ------------------------------------------------------------------ the calls */

/* Is there a namespace behind the path? A pin whose mount is gone is an empty file. */
static bool is_namespace(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (fs.f_type == MAGIC_NSFS || fs.f_type == MAGIC_PROC);
}

static struct net_op *op_from_call(struct net *net, enum verb verb, const struct net_call *call)
{
	struct net_op *op = net_op_new(&net->chain, verb, call->done, call->arg);

	op->oplock_fd = call->oplock_fd;
	if (call->timeout_ms > 0)
		op->timeout_ms = call->timeout_ms;
	if (net_plan_read(call->plan, call->plan_len, &op->plan, &op->err) < 0) {
		net_op_fail(op);
		return NULL;
	}
	return op;
}

/* prevResult of CHECK and DEL exists since 0.4.0. A result that is none is as good as a lost one. */
static bool take_stored_result(struct net_op *op, const struct net_call *call)
{
	yyjson_doc *doc;
	struct err err;

	if (!netconf_at_least(op->plan.conf, 0, 4) || call->result_len == 0)
		return false;
	doc = json_parse(call->result, call->result_len, CNI_RESULT_MAX_BYTES, "result", &err);
	if (!doc)
		return false;
	yyjson_doc_free(doc);
	op->prev = xstrndup(call->result, call->result_len);
	op->prev_len = call->result_len;
	return true;
}

void net_add(struct net *net, const struct net_call *call)
{
	struct net_op *op = op_from_call(net, VERB_ADD, call);

	if (op)
		net_op_step(op);
}

void net_del(struct net *net, const struct net_call *call)
{
	struct net_op *op = op_from_call(net, VERB_DEL, call);

	if (!op)
		return;
	ignore(take_stored_result(op, call)); /* DEL works without */
	if (!is_namespace(op->plan.netns))
		op->plan.netns = "";
	net_op_step(op);
}

void net_check(struct net *net, const struct net_call *call)
{
	struct net_op *op = op_from_call(net, VERB_CHECK, call);

	if (!op)
		return;
	if (op->plan.conf->disable_check || !take_stored_result(op, call))
		op->done_plugins = netconf_count(op->plan.conf); /* nothing that could be checked */
	net_op_step(op);
}

/* A chain over the network in use: GC and STATUS. */
static struct net_op *op_over_current(struct net *net, enum verb verb, net_done_fn done, void *arg)
{
	struct net_op *op = net_op_new(&net->chain, verb, done, arg);
	cleanup_free char *text = yyjson_val_write(yyjson_doc_get_root(net->conf->doc), 0, NULL);

	if (!text ||
	    netconf_parse(net->conf->file, text, strlen(text), &op->plan.conf, &op->err) < 0) {
		net_op_fail(op);
		return NULL;
	}
	return op;
}

static void call_done_with_nothing(struct net *net, net_done_fn done, void *arg)
{
	struct net_op *op = net_op_new(&net->chain, VERB_GC, done, arg);

	loop_defer_queue(net->chain.loop, &op->finish);
}

void net_gc(struct net *net, char *const *ids, net_done_fn done, void *arg)
{
	struct net_op *op;

	refresh(net);
	if (!net->conf || net->conf->disable_gc || !netconf_at_least(net->conf, 1, 1)) {
		call_done_with_nothing(net, done, arg);
		return;
	}
	op = op_over_current(net, VERB_GC, done, arg);
	if (!op)
		return;
	op->valid_ids = strv_dup(ids);
	net_op_step(op);
}

static void on_status(void *arg, const struct net_result *result, const struct err *err)
{
	struct net *net = arg;

	(void)result;
	net->status_op = NULL;
	net->status_ns = clock_mono_ns();
	err_clear(&net->status);
	if (err)
		net->status = *err;
}

/* Nobody waits: the answer counts from the next question on. */
static void ask_status(struct net *net)
{
	if (net->status_op ||
	    (net->status_ns != 0 && clock_mono_ns() - net->status_ns < STATUS_FRESH_NS))
		return;
	net->status_op = op_over_current(net, VERB_STATUS, on_status, net);
	if (net->status_op)
		net_op_step(net->status_op);
}

bool net_ready(struct net *net, char *reason, size_t size)
{
	const char *missing;

	refresh(net);
	if (!net->conf) {
		snprintf(reason, size, "%s", net->why);
		return false;
	}
	missing = missing_plugin(net, net->conf);
	if (missing) {
		snprintf(reason, size, "%snetwork \"%s\": CNI plugin %s not found in %s",
		         net->builtin ? "built-in " : "", net->conf->name, missing,
		         net->chain.cni_path);
		return false;
	}
	if (netconf_at_least(net->conf, 1, 1)) {
		ask_status(net);
		if (net->status_ns == 0 || net->status.code != CODE_OK) {
			snprintf(reason, size, "%s",
			         net->status_ns == 0 ? "the network's status is being asked for"
			                             : net->status.msg);
			return false;
		}
	}
	if (net->builtin)
		snprintf(reason, size, "built-in network \"%s\", as %s holds no configuration%s",
		         net->conf->name, net->conf_dir,
		         net->builtin_with & BUILTIN_MASQUERADE
		                 ? ""
		                 : "; without iptables pods reach this host only");
	else
		snprintf(reason, size, "network \"%s\" from %s", net->conf->name, net->conf->file);
	return true;
}

yyjson_mut_val *net_dump(const struct net *net, yyjson_mut_doc *doc)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *plugins = yyjson_mut_arr(doc),
		       *problems = yyjson_mut_arr(doc), *ops = yyjson_mut_arr(doc);

	yyjson_mut_obj_add_strcpy(doc, root, "confDir", net->conf_dir);
	yyjson_mut_obj_add_strcpy(doc, root, "pluginDirs", net->chain.cni_path);
	if (net->conf) {
		yyjson_mut_obj_add_strcpy(doc, root, "network", net->conf->name);
		yyjson_mut_obj_add_strcpy(doc, root, "cniVersion", net->conf->version);
		yyjson_mut_obj_add_strcpy(doc, root, "file", net->conf->file);
		for (size_t i = 0; i < netconf_count(net->conf); i++)
			yyjson_mut_arr_add_strcpy(doc, plugins, netconf_type(net->conf, i));
	} else {
		yyjson_mut_obj_add_strcpy(doc, root, "why", net->why);
	}
	yyjson_mut_obj_add_bool(doc, root, "builtin", net->builtin);
	yyjson_mut_obj_add_val(doc, root, "plugins", plugins);
	for (size_t i = 0; net->problems && net->problems[i]; i++)
		yyjson_mut_arr_add_strcpy(doc, problems, net->problems[i]);
	yyjson_mut_obj_add_val(doc, root, "problems", problems);
	list_for_each(l, &net->chain.ops) {
		const struct net_op *op = list_entry(l, struct net_op, link);
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, ops);

		yyjson_mut_obj_add_strcpy(doc, item, "verb", net_verb_name(op->verb));
		yyjson_mut_obj_add_strcpy(doc, item, "pod", op->plan.id);
		if (op->child) {
			yyjson_mut_obj_add_strcpy(doc, item, "plugin", net_op_plugin(op));
			yyjson_mut_obj_add_int(doc, item, "pid", child_pid(op->child));
		}
	}
	yyjson_mut_obj_add_val(doc, root, "operations", ops);
	return root;
}

/* ------------------------------------------------------------------ life */

static char *join(char *const *items)
{
	char *joined = xstrdup("");

	for (size_t i = 0; items[i]; i++) {
		cleanup_free char *before = joined;

		joined = xasprintf("%s%s%s", before, i ? ":" : "", items[i]);
	}
	return joined;
}

static void forget_args(struct net *net)
{
	strv_free(net->chain.bin_dirs);
	free(net->chain.cni_path);
	free(net->conf_dir);
}

struct net *net_new(const struct net_args *args)
{
	struct net *net = xcalloc(1, sizeof(*net));

	ensure(args->loop && args->state_dir);
	net->chain.loop = args->loop;
	net->state_dir = xstrdup(args->state_dir);
	list_init(&net->chain.ops);
	net_configure(net, args);
	return net;
}

void net_configure(struct net *net, const struct net_args *args)
{
	ensure(args->conf_dir && args->conf_dir[0] == '/' && args->bin_dirs);
	forget_args(net);
	net->chain.bin_dirs = strv_dup(args->bin_dirs);
	net->chain.cni_path = join(args->bin_dirs);
	net->chain.timeout_ms = args->timeout_ms > 0 ? args->timeout_ms : DEFAULT_TIMEOUT_MS;
	net->conf_dir = xstrdup(args->conf_dir);
	net->builtin_allowed = args->builtin;
	net->settled = false;
	refresh(net);
}

void net_free(struct net *net)
{
	if (!net)
		return;
	unload(net);
	while (!list_empty(&net->chain.ops))
		net_op_free(list_entry(net->chain.ops.next, struct net_op, link));
	forget_args(net);
	free(net->state_dir);
	free(net->said);
	free(net);
}
