/* core/net/cni.c
 *
 * Two halves. The upper one keeps "which network is it" up to date: the directory is read at start and whenever inotify says
 * so, and before each use two cheap looks (pending events, the directory's inode) make sure that nothing was missed.
 *
 * The lower one runs chains. A net_op holds a plan and goes through its plugins one by one: ADD, CHECK, STATUS and GC forwards,
 * DEL backwards. Each plugin is a child that gets its configuration on stdin: its own object with name and cniVersion of the
 * list, runtimeConfig with those arguments that it declares capabilities for, and prevResult. What it prints at ADD is the
 * next one's prevResult and at the end the result.
 */
#include "core/net/cni.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/net/builtin.h"
#include "core/net/cni_result.h"
#include "core/net/netconf.h"

#define DEFAULT_IFNAME     "eth0"
#define DEFAULT_TIMEOUT_MS 60000
#define MAX_PLAN_BYTES     (512 * 1024)
#define MAX_CONF_FILES     256
#define STATUS_FRESH_NS    (10 * NS_PER_S)
#define MAGIC_NSFS         0x6e736673
#define MAGIC_PROC         0x9fa0

#define WATCH_DIR                                                                                  \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_DELETE_SELF |   \
	 IN_MOVE_SELF | IN_ONLYDIR)
#define WATCH_ANCESTOR (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

enum verb { VERB_ADD, VERB_DEL, VERB_CHECK, VERB_GC, VERB_STATUS };
static const char *const verb_names[] = { "ADD", "DEL", "CHECK", "GC", "STATUS" };

struct net_op {
	struct list link;
	struct net *net;
	enum verb verb;
	yyjson_doc *plan; /* NULL for GC and STATUS */
	struct netconf *conf;
	const char *id, *netns, *ifname, *args; /* in plan; "" where the verb has none */
	yyjson_val *runtime_config;
	char **valid_ids; /* GC */

	size_t done_plugins; /* how many of the chain have run */
	char *prev;          /* prevResult as text, NULL: none */
	size_t prev_len;

	int oplock_fd;
	int64_t timeout_ms;
	net_done_fn done;
	void *arg;

	struct child *child;
	struct child_args
		child_args; /* of the plugin that runs, for child_check(); its pointers but name are stale */
	char *child_name;
	struct loop_defer finish; /* done is called from here, never from within the caller */
	struct err err;
	bool failed;
};

struct net {
	struct loop *loop;
	char *conf_dir, *state_dir;
	char **bin_dirs;
	char *cni_path; /* bin_dirs joined by ':' */
	bool builtin_allowed;

	int inotify_fd, watch;
	struct loop_io *io;
	bool watching_dir; /* else an ancestor, because the directory is not there */
	dev_t dir_dev;
	ino_t dir_ino;

	struct netconf *conf; /* NULL: none, see why */
	bool builtin;         /* conf is ours */
	unsigned builtin_with;
	bool builtin_used; /* a pod was planned in it: its subnet is written down */
	bool had_conf;     /* there were files in this life: no built-in network any more */
	char *why;         /* there is no conf because */
	char **problems;   /* of skipped files */
	char *said;        /* last log line, so that each change is said once */

	struct list ops;
	struct net_op *status_op;
	int64_t status_ns; /* when the last STATUS answered; 0: never */
	struct err status; /* its answer; CODE_OK: fine */
};

/* ------------------------------------------------------------------ plugins on disk */

/* The executable for @type in the first directory that has it, or NULL. */
static char *find_plugin(const struct net *net, const char *type)
{
	for (size_t i = 0; net->bin_dirs[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", net->bin_dirs[i], type);
		struct stat st;

		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return take_ptr(path);
	}
	return NULL;
}

static bool has_plugin(const struct net *net, const char *type)
{
	cleanup_free char *path = find_plugin(net, type);

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

static void add_problem(struct net *net, const char *text)
{
	size_t n = strv_len(net->problems);

	net->problems = xrealloc(net->problems, n + 2, sizeof(*net->problems));
	net->problems[n] = xstrdup(text);
	net->problems[n + 1] = NULL;
}

static int load_file(struct net *net, const char *name, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", net->conf_dir, name);
	cleanup_free char *text = NULL;
	size_t len;

	if (file_read_all(path, NETCONF_MAX_BYTES, &text, &len, err) < 0)
		return -1;
	return netconf_parse(path, text, len, &net->conf, err);
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

static void op_free(struct net_op *op);

/* Everything that load() sets is taken back; a STATUS under way would answer for the wrong network. */
static void unload(struct net *net)
{
	if (net->status_op)
		op_free(take_ptr(net->status_op));
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

static void load(struct net *net)
{
	cleanup(strv_free) char **names = NULL;
	size_t candidates = 0;
	int rc;

	unload(net);
	rc = fsx_list(AT_FDCWD, net->conf_dir, &names);
	for (size_t i = 0; rc >= 0 && names[i] && !net->conf && candidates < MAX_CONF_FILES; i++) {
		struct err err;

		if (!is_conf_file(names[i]))
			continue;
		candidates++;
		net->had_conf = true;
		if (load_file(net, names[i], &err) < 0)
			add_problem(net, err.msg);
	}
	if (!net->conf) {
		if (rc < 0 && rc != -ENOENT)
			net->why = xasprintf("cannot read %s: %s", net->conf_dir, errno_name(-rc));
		else if (candidates > 0)
			net->why = xasprintf("no usable network configuration in %s: %s",
			                     net->conf_dir, net->problems[0]);
		else if (net->had_conf)
			net->why = xasprintf("the network configuration in %s was removed",
			                     net->conf_dir);
		else if (!net->builtin_allowed)
			net->why = xasprintf("no network configuration in %s", net->conf_dir);
		else
			load_builtin(net);
	}
	say_once(net);
}

/* ------------------------------------------------------------------ watching */

static void remember_dir(struct net *net)
{
	struct stat st;

	net->dir_dev = 0;
	net->dir_ino = 0;
	if (stat(net->conf_dir, &st) == 0) {
		net->dir_dev = st.st_dev;
		net->dir_ino = st.st_ino;
	}
}

/* Watch the directory, or the nearest ancestor that exists. */
static void arm(struct net *net)
{
	if (net->watch >= 0)
		ignore(inotify_rm_watch(net->inotify_fd, net->watch) <
		       0); /* gone by itself with its directory */
	net->watch = -1;
	net->watching_dir = false;
	/* A part that appears between the failed watch and the next one is caught by trying once more from the top. */
	for (int tries = 0; tries < 16 && !net->watching_dir; tries++) {
		cleanup_free char *path = xstrdup(net->conf_dir);
		cleanup_free char *missing = NULL;
		int watch = inotify_add_watch(net->inotify_fd, path, WATCH_DIR);

		net->watching_dir = watch >= 0;
		while (watch < 0 && strlen(path) > 1) {
			char *slash = strrchr(path, '/');

			free(missing);
			missing = xstrdup(path);
			slash[slash == path] = '\0';
			watch = inotify_add_watch(net->inotify_fd, path, WATCH_ANCESTOR);
		}
		if (net->watch >= 0 && net->watch != watch)
			ignore(inotify_rm_watch(net->inotify_fd, net->watch) <
			       0); /* of the try before */
		net->watch = watch;
		if (missing && !fsx_exists(missing))
			break;
	}
	remember_dir(net);
}

/* A file that was just created is not complete yet; IN_CLOSE_WRITE will follow. A link has no such event. */
static bool is_half_written(const struct net *net, const struct inotify_event *event)
{
	cleanup_free char *path = NULL;
	struct stat st;

	if (!net->watching_dir || (event->mask & IN_CREATE) == 0 || event->len == 0)
		return false;
	path = xasprintf("%s/%s", net->conf_dir, event->name);
	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

/* Take all pending events; true: something changed. */
static bool drain_events(struct net *net)
{
	char data[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool changed = false;
	ssize_t n;

	while ((n = read(net->inotify_fd, data, sizeof(data))) > 0) {
		for (char *at = data; at < data + n;) {
			const struct inotify_event *event =
				(const struct inotify_event *)(void *)at;

			at += sizeof(*event) + event->len;
			if ((event->mask & IN_IGNORED) == 0 && !is_half_written(net, event))
				changed = true;
		}
	}
	return changed;
}

static void refresh(struct net *net)
{
	bool changed = drain_events(net);
	struct stat st = { 0 };

	if (stat(net->conf_dir, &st) < 0)
		st = (struct stat){ 0 };
	/* Another directory than the one we watch: it was replaced, moved with its parent, or appeared. */
	if (st.st_dev != net->dir_dev || st.st_ino != net->dir_ino ||
	    (changed && !net->watching_dir)) {
		arm(net);
		changed = true;
	}
	/* Plugins and iptables may have been installed since; they change what the built-in network consists of. */
	if (net->builtin && builtin_options(net) != net->builtin_with)
		changed = true;
	/* Out of watches: nobody tells us, so look each time. */
	if (changed || net->watch < 0)
		load(net);
}

static void on_inotify(void *arg, uint32_t events)
{
	(void)events;
	refresh(arg);
}

/* ------------------------------------------------------------------ one chain of plugins */

static void op_free(struct net_op *op)
{
	list_remove(&op->link);
	loop_defer_cancel(&op->finish);
	if (op->child)
		child_detach(op->child);
	netconf_free(op->conf);
	yyjson_doc_free(op->plan);
	strv_free(op->valid_ids);
	free(op->prev);
	free(op->child_name);
	free(op);
}

static void op_fail(struct net_op *op)
{
	op->failed = true;
	loop_defer_queue(op->net->loop, &op->finish);
}

static void on_finish(void *arg)
{
	struct net_op *op = arg;
	struct net_result result = { .json = op->prev, .len = op->prev_len };
	cleanup(strv_free) char **ips = NULL;
	net_done_fn done = op->done;
	void *done_arg = op->arg;

	if (!op->failed && op->verb == VERB_ADD &&
	    cni_result_ips(op->prev, op->prev_len, op->ifname, &ips, &op->err) < 0) {
		err_wrap(&op->err, "network \"%s\"", op->conf->name);
		op->err.code = CODE_UNKNOWN;
		op->failed = true;
	}
	result.ips = ips;
	/* Off the list first: the owner may free the whole of net in its callback. */
	list_remove(&op->link);
	done(done_arg, op->verb == VERB_ADD && !op->failed ? &result : NULL,
	     op->failed ? &op->err : NULL);
	op_free(op);
}

/* The plugin whose turn it is. */
static size_t op_index(const struct net_op *op)
{
	return op->verb == VERB_DEL ? netconf_count(op->conf) - 1 - op->done_plugins
	                            : op->done_plugins;
}

/* Those arguments that the plugin declares a capability for. */
static void add_runtime_config(const struct net_op *op, yyjson_mut_doc *doc, yyjson_mut_val *root,
                               yyjson_val *plugin)
{
	yyjson_val *capabilities = json_obj(plugin, "capabilities"), *key, *value;
	yyjson_mut_val *config = NULL;
	yyjson_obj_iter iter;

	if (!capabilities || !op->runtime_config)
		return;
	iter = yyjson_obj_iter_with(op->runtime_config);
	while ((key = yyjson_obj_iter_next(&iter))) {
		value = yyjson_obj_iter_get_val(key);
		if (!json_bool(capabilities, yyjson_get_str(key), false))
			continue;
		if (!config)
			config = yyjson_mut_obj(doc);
		yyjson_mut_obj_add(config, yyjson_val_mut_copy(doc, key),
		                   yyjson_val_mut_copy(doc, value));
	}
	if (config)
		yyjson_mut_obj_add_val(doc, root, "runtimeConfig", config);
}

static void add_valid_attachments(const struct net_op *op, yyjson_mut_doc *doc,
                                  yyjson_mut_val *root)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	for (size_t i = 0; op->valid_ids[i]; i++) {
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);

		yyjson_mut_obj_add_str(doc, item, "containerID", op->valid_ids[i]);
		yyjson_mut_obj_add_str(doc, item, "ifname", DEFAULT_IFNAME);
	}
	yyjson_mut_obj_add_val(doc, root, "cni.dev/valid-attachments", list);
}

/* What the plugin reads on stdin. */
static char *plugin_input(const struct net_op *op, yyjson_val *plugin, size_t *ret_len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_val_mut_copy(doc, plugin);
	yyjson_doc *prev = NULL;
	struct err err;
	char *text;

	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_remove_key(root, "cniVersion");
	yyjson_mut_obj_remove_key(root, "name");
	yyjson_mut_obj_remove_key(root, "runtimeConfig");
	yyjson_mut_obj_remove_key(root, "prevResult");
	yyjson_mut_obj_add_str(doc, root, "cniVersion", op->conf->version);
	yyjson_mut_obj_add_str(doc, root, "name", op->conf->name);
	add_runtime_config(op, doc, root, plugin);
	if (op->prev)
		prev = json_parse(op->prev, op->prev_len, CNI_RESULT_MAX_BYTES, "prevResult", &err);
	if (prev)
		yyjson_mut_obj_add_val(doc, root, "prevResult",
		                       yyjson_val_mut_copy(doc, yyjson_doc_get_root(prev)));
	if (op->verb == VERB_GC)
		add_valid_attachments(op, doc, root);
	text = json_write(doc, false, ret_len);
	yyjson_doc_free(prev);
	yyjson_mut_doc_free(doc);
	return text;
}

static void env_add(char ***env, size_t *n, char *entry)
{
	*env = xrealloc(*env, *n + 2, sizeof(**env));
	(*env)[(*n)++] = entry;
	(*env)[*n] = NULL;
}

/* Our own environment, as plugins are used to (proxies, kubeconfig paths), with CNI's variables in place of any inherited ones. */
static char **plugin_env(const struct net_op *op)
{
	char **env = NULL;
	bool has_path = false;
	size_t n = 0;

	for (size_t i = 0; environ && environ[i]; i++) {
		if (starts_with(environ[i], "CNI_") || starts_with(environ[i], "LISTEN_") ||
		    starts_with(environ[i], "NOTIFY_"))
			continue;
		has_path = has_path || starts_with(environ[i], "PATH=");
		env_add(&env, &n, xstrdup(environ[i]));
	}
	if (!has_path)
		env_add(&env, &n,
		        xstrdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
	env_add(&env, &n, xasprintf("CNI_COMMAND=%s", verb_names[op->verb]));
	env_add(&env, &n, xasprintf("CNI_PATH=%s", op->net->cni_path));
	if (op->plan) {
		env_add(&env, &n, xasprintf("CNI_CONTAINERID=%s", op->id));
		env_add(&env, &n, xasprintf("CNI_NETNS=%s", op->netns));
		env_add(&env, &n, xasprintf("CNI_IFNAME=%s", op->ifname));
		env_add(&env, &n, xasprintf("CNI_ARGS=%s", op->args));
	}
	return env;
}

static int wrap_plugin(struct net_op *op)
{
	return err_wrap(&op->err, "network \"%s\": plugin %s (%s)", op->conf->name,
	                netconf_type(op->conf, op_index(op)), verb_names[op->verb]);
}

/* CNI wants DEL to succeed for what is gone; plugins in the field say so with an error instead. */
static bool is_gone(const struct net_op *op, const char *text)
{
	return strstr(text, "not found") ||
	       (!*op->netns && strstr(text, "no such file or directory"));
}

/* @result is not "exit 0": in the plugin's own words where it left any. */
static int plugin_failed(struct net_op *op, const struct child_result *result)
{
	bool ended = !result->stuck && !result->timed_out && !result->cancelled;
	char text[200];

	cni_result_error(result->out, result->out_len, text, sizeof(text));
	ignore(child_check(&op->child_args, result,
	                   &op->err)); /* fills err: that is what it is called for */
	if (ended && text[0]) {
		if (op->verb == VERB_DEL && is_gone(op, text))
			return 0;
		return err_set(&op->err, CODE_UNKNOWN, "network \"%s\": %s: %s", op->conf->name,
		               op->child_name, text);
	}
	if (ended && op->verb == VERB_DEL && is_gone(op, result->errout))
		return 0;
	return err_wrap(&op->err, "network \"%s\"", op->conf->name);
}

static int take_result(struct net_op *op, const struct child_result *result)
{
	yyjson_doc *doc;
	bool is_object;

	if (result->out_len > CNI_RESULT_MAX_BYTES || result->truncated) {
		err_set(&op->err, CODE_UNKNOWN, "its result is larger than %d bytes",
		        CNI_RESULT_MAX_BYTES);
		return wrap_plugin(op);
	}
	doc = json_parse(result->out, result->out_len, CNI_RESULT_MAX_BYTES, "result", &op->err);
	is_object = doc && yyjson_is_obj(yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	if (!is_object) {
		if (doc)
			err_set(&op->err, CODE_UNKNOWN, "its result is not a JSON object");
		op->err.code = CODE_UNKNOWN; /* not the client's fault */
		return wrap_plugin(op);
	}
	free(op->prev);
	op->prev = xmemdup(result->out, result->out_len + 1);
	op->prev_len = result->out_len;
	return 0;
}

static void op_step(struct net_op *op);

static void on_plugin(void *arg, const struct child_result *result)
{
	struct net_op *op = arg;
	int rc;

	op->child = NULL;
	if (result->stuck || result->timed_out || result->cancelled ||
	    !WIFEXITED(result->wstatus) || WEXITSTATUS(result->wstatus) != 0)
		rc = plugin_failed(op, result);
	else
		rc = op->verb == VERB_ADD ? take_result(op, result) : 0;
	if (rc < 0) {
		op_fail(op);
		return;
	}
	op->done_plugins++;
	op_step(op);
}

static int spawn_plugin(struct net_op *op)
{
	const char *type = netconf_type(op->conf, op_index(op));
	cleanup_free char *path = find_plugin(op->net, type);
	cleanup_free char *input = NULL;
	cleanup(strv_free) char **env = NULL;
	char *const argv[] = { path, NULL };
	size_t len = 0;

	if (!path) {
		err_set(&op->err, CODE_FAILED_PRECONDITION, "not found in %s", op->net->cni_path);
		return wrap_plugin(op);
	}
	input = plugin_input(op, netconf_plugin(op->conf, op_index(op)), &len);
	if (!input)
		return err_set(&op->err, CODE_RESOURCE_EXHAUSTED, "network \"%s\": out of memory",
		               op->conf->name);
	env = plugin_env(op);
	free(op->child_name);
	op->child_name = xasprintf("plugin %s (%s)", type, verb_names[op->verb]);
	op->child_args = (struct child_args){
		.name = op->child_name,
		.path = path,
		.exec_fd = -1,
		.argv = argv,
		.envp = env,
		.input = input,
		.input_len = len,
		.capture_out = true,
		.capture_err = true,
		.oplock_fd = op->oplock_fd,
		.cgroup_fd = -1,
		.timeout_ms = op->timeout_ms,
		.done = on_plugin,
		.arg = op,
	};
	op->child = child_spawn(op->net->loop, &op->child_args, &op->err);
	if (!op->child)
		return err_wrap(&op->err, "network \"%s\"", op->conf->name);
	return 0;
}

static void op_step(struct net_op *op)
{
	if (op->done_plugins == netconf_count(op->conf))
		loop_defer_queue(op->net->loop, &op->finish);
	else if (spawn_plugin(op) < 0)
		op_fail(op);
}

static struct net_op *op_new(struct net *net, enum verb verb, net_done_fn done, void *arg)
{
	struct net_op *op = xcalloc(1, sizeof(*op));

	ensure(done);
	*op = (struct net_op){ .net = net,
		               .verb = verb,
		               .oplock_fd = -1,
		               .timeout_ms = DEFAULT_TIMEOUT_MS,
		               .done = done,
		               .arg = arg };
	op->id = op->netns = op->ifname = op->args = "";
	loop_defer_init(&op->finish, on_finish, op);
	list_push_back(&net->ops, &op->link);
	return op;
}

/* ------------------------------------------------------------------ the plan */

static int check_pod(const struct net_pod *pod, struct err *err)
{
	const struct {
		const char *what, *value;
	} args[] = { { "name", pod->name }, { "namespace", pod->ns }, { "uid", pod->uid } };
	const char *ifname = pod->ifname ? pod->ifname : DEFAULT_IFNAME;

	ensure(pod->id && pod->netns_path);
	if (!netconf_is_name(pod->id) || strlen(pod->id) > 128)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "pod id \"%.130s\" is not a CNI container id", pod->id);
	if (strlen(ifname) > 15 || !*ifname || strpbrk(ifname, "/: \t\n") || streq(ifname, ".") ||
	    streq(ifname, ".."))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.60s\" is not an interface name",
		               ifname);
	for (size_t i = 0; i < ARRAY_SIZE(args); i++) {
		/* CNI_ARGS has no escapes. */
		if (strpbrk(or_empty(args[i].value), ";=") ||
		    strlen(or_empty(args[i].value)) > 4096)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "pod %s \"%.100s\" cannot be told to CNI plugins",
			               args[i].what, args[i].value);
	}
	return 0;
}

/* A Kubernetes quantity between 1k and 1P; what is below one bit is rounded up. */
static int parse_rate(const char *text, int64_t *ret)
{
	static const struct {
		const char *suffix;
		double factor;
	} units[] = { { "", 1 },        { "k", 1e3 },     { "M", 1e6 },     { "G", 1e9 },
		      { "T", 1e12 },    { "P", 1e15 },    { "E", 1e18 },    { "Ki", 0x1p10 },
		      { "Mi", 0x1p20 }, { "Gi", 0x1p30 }, { "Ti", 0x1p40 }, { "Pi", 0x1p50 },
		      { "m", 1e-3 },    { "u", 1e-6 },    { "n", 1e-9 } };
	size_t digits = strspn(text, "0123456789."), len = strlen(text);
	double value, factor = -1;
	const char *rest = text + digits;
	uint64_t exponent;

	if (digits == 0 || digits > 40 || len > 60 || strchr(text, '.') != strrchr(text, '.') ||
	    (digits == 1 && text[0] == '.'))
		return -1;
	value = strtod(text, NULL); /* takes an exponent along; cut below */
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (streq(rest, units[i].suffix))
			factor = units[i].factor;
	}
	if (factor < 0) {
		if ((rest[0] != 'e' && rest[0] != 'E') ||
		    str_u64(str_of(rest[1] == '+' ? rest + 2 : rest + 1), 30, &exponent) < 0)
			return -1;
		factor = 1;
	}
	value = ceil(value * factor);
	if (!(value >= 1e3 && value <= 1e15))
		return -1;
	*ret = (int64_t)value;
	return 0;
}

static int add_bandwidth(const struct net_pod *pod, yyjson_mut_doc *doc, yyjson_mut_val *config,
                         struct err *err)
{
	static const struct {
		const char *annotation, *rate, *burst;
	} directions[] = { { "kubernetes.io/ingress-bandwidth", "ingressRate", "ingressBurst" },
		           { "kubernetes.io/egress-bandwidth", "egressRate", "egressBurst" } };
	yyjson_mut_val *bandwidth = NULL;

	for (size_t i = 0; pod->annotations && i < ARRAY_SIZE(directions); i++) {
		const char *text = pairs_find(pod->annotations, directions[i].annotation);
		int64_t rate;

		if (!text)
			continue;
		if (parse_rate(text, &rate) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "annotation %s: \"%.60s\" is not a rate between 1k and 1P",
			               directions[i].annotation, text);
		if (!bandwidth)
			bandwidth = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_int(doc, bandwidth, directions[i].rate, rate);
		yyjson_mut_obj_add_int(doc, bandwidth, directions[i].burst,
		                       UINT32_MAX); /* the most the kernel's filter takes */
	}
	if (bandwidth)
		yyjson_mut_obj_add_val(doc, config, "bandwidth", bandwidth);
	return 0;
}

static int add_ports(const struct net_pod *pod, yyjson_mut_doc *doc, yyjson_mut_val *config,
                     struct err *err)
{
	yyjson_mut_val *ports = yyjson_mut_arr(doc);

	for (size_t i = 0; i < pod->nports; i++) {
		const struct net_port *port = &pod->ports[i];
		yyjson_mut_val *item;

		if (port->host_port == 0)
			continue;
		if (!streq(port->protocol, "tcp") && !streq(port->protocol, "udp") &&
		    !streq(port->protocol, "sctp"))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "host port %u: protocol \"%.30s\" is none of tcp, udp, sctp",
			               port->host_port, or_empty(port->protocol));
		item = yyjson_mut_arr_add_obj(doc, ports);
		yyjson_mut_obj_add_int(doc, item, "hostPort", port->host_port);
		yyjson_mut_obj_add_int(doc, item, "containerPort", port->container_port);
		yyjson_mut_obj_add_strcpy(doc, item, "protocol", port->protocol);
		yyjson_mut_obj_add_strcpy(doc, item, "hostIP", or_empty(port->host_ip));
	}
	if (yyjson_mut_arr_size(ports) > 0)
		yyjson_mut_obj_add_val(doc, config, "portMappings", ports);
	return 0;
}

static yyjson_mut_val *string_array(yyjson_mut_doc *doc, char *const *items)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	for (size_t i = 0; items && items[i]; i++)
		yyjson_mut_arr_add_strcpy(doc, list, items[i]);
	return list;
}

static int add_arguments(const struct net_pod *pod, yyjson_mut_doc *doc, yyjson_mut_val *config,
                         struct err *err)
{
	yyjson_mut_val *value;

	if (add_ports(pod, doc, config, err) < 0 || add_bandwidth(pod, doc, config, err) < 0)
		return -1;
	if (pod->has_dns) {
		value = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_val(doc, value, "servers", string_array(doc, pod->dns_servers));
		yyjson_mut_obj_add_val(doc, value, "searches",
		                       string_array(doc, pod->dns_searches));
		yyjson_mut_obj_add_val(doc, value, "options", string_array(doc, pod->dns_options));
		yyjson_mut_obj_add_val(doc, config, "dns", value);
	}
	if (pod->ip_ranges && pod->ip_ranges[0]) {
		value = yyjson_mut_arr(doc);
		for (size_t i = 0; pod->ip_ranges[i]; i++) {
			yyjson_mut_val *range = yyjson_mut_arr_add_arr(doc, value);

			yyjson_mut_obj_add_strcpy(doc, yyjson_mut_arr_add_obj(doc, range), "subnet",
			                          pod->ip_ranges[i]);
		}
		yyjson_mut_obj_add_val(doc, config, "ipRanges", value);
	}
	if (*or_empty(pod->cgroup_parent))
		yyjson_mut_obj_add_strcpy(doc, config, "cgroupPath", pod->cgroup_parent);
	if (pod->annotations && pod->annotations->count > 0) {
		value = yyjson_mut_obj(doc);
		for (size_t i = 0; i < pod->annotations->count; i++) {
			const struct pair *pair = &pod->annotations->items[i];

			yyjson_mut_obj_add(value, yyjson_mut_strcpy(doc, pair->key),
			                   yyjson_mut_strcpy(doc, pair->value));
		}
		yyjson_mut_obj_add_val(doc, config, "io.kubernetes.cri.pod-annotations", value);
	}
	return 0;
}

/* Arguments that no plugin declares a capability for would only make the journal longer. */
static void drop_unwanted(yyjson_mut_val *config, const struct netconf *conf)
{
	yyjson_mut_obj_iter iter = yyjson_mut_obj_iter_with(config);
	yyjson_mut_val *key;

	while ((key = yyjson_mut_obj_iter_next(&iter))) {
		bool wanted = false;

		for (size_t i = 0; i < netconf_count(conf); i++)
			wanted |= json_bool(json_obj(netconf_plugin(conf, i), "capabilities"),
			                    yyjson_mut_get_str(key), false);
		if (!wanted)
			yyjson_mut_obj_iter_remove(&iter);
	}
}

static int write_plan(const struct net *net, const struct net_pod *pod, yyjson_mut_doc *doc,
                      char **ret, size_t *ret_len, struct err *err)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *config = yyjson_mut_obj(doc);
	cleanup_free char *args = xasprintf(
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;"
		"K8S_POD_UID=%s",
		or_empty(pod->ns), or_empty(pod->name), pod->id, or_empty(pod->uid));
	cleanup_free char *text = NULL;
	size_t len;

	yyjson_mut_doc_set_root(doc, root);
	if (add_arguments(pod, doc, config, err) < 0)
		return -1;
	drop_unwanted(config, net->conf);
	yyjson_mut_obj_add_int(doc, root, "version", 1);
	yyjson_mut_obj_add_strcpy(doc, root, "id", pod->id);
	yyjson_mut_obj_add_strcpy(doc, root, "netns", pod->netns_path);
	yyjson_mut_obj_add_strcpy(doc, root, "ifname", pod->ifname ? pod->ifname : DEFAULT_IFNAME);
	yyjson_mut_obj_add_strcpy(doc, root, "args", args);
	yyjson_mut_obj_add_val(doc, root, "runtimeConfig", config);
	yyjson_mut_obj_add_val(doc, root, "network",
	                       yyjson_val_mut_copy(doc, yyjson_doc_get_root(net->conf->doc)));
	text = json_write(doc, false, &len);
	if (!text || len > MAX_PLAN_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "network \"%s\": plan larger than %d bytes", net->conf->name,
		               MAX_PLAN_BYTES);
	*ret = take_ptr(text);
	*ret_len = len;
	return 0;
}

int net_prepare(struct net *net, const struct net_pod *pod, char **ret_plan, size_t *ret_len,
                struct err *err)
{
	yyjson_mut_doc *doc;
	int rc;

	refresh(net);
	if (net->builtin && !net->builtin_used) {
		net->builtin_used = true;
		load(net);
	}
	if (!net->conf)
		return err_set(err, CODE_UNAVAILABLE, "pod network: %s", net->why);
	if (check_pod(pod, err) < 0)
		return -1;
	doc = yyjson_mut_doc_new(NULL);
	rc = write_plan(net, pod, doc, ret_plan, ret_len, err);
	yyjson_mut_doc_free(doc);
	return rc;
}

/* The plan comes from our own journal, but a damaged one must not do more than fail. */
static int read_plan(struct net_op *op, const void *plan, size_t len)
{
	cleanup_free char *network = NULL;
	yyjson_val *root;
	size_t network_len;

	op->plan = json_parse(plan, len, MAX_PLAN_BYTES, "network plan", &op->err);
	if (!op->plan)
		return -1;
	root = yyjson_doc_get_root(op->plan);
	if (json_i64(root, "version", 0) != 1)
		return err_set(&op->err, CODE_FAILED_PRECONDITION, "network plan: unknown version");
	if (json_str_req(root, "id", "network plan", &op->id, &op->err) < 0 ||
	    json_str_req(root, "netns", "network plan", &op->netns, &op->err) < 0 ||
	    json_str_req(root, "ifname", "network plan", &op->ifname, &op->err) < 0 ||
	    json_str_req(root, "args", "network plan", &op->args, &op->err) < 0)
		return -1;
	op->runtime_config = json_obj(root, "runtimeConfig");
	network = yyjson_val_write(json_obj(root, "network"), 0, &network_len);
	if (!network)
		return err_set(&op->err, CODE_INVALID_ARGUMENT, "network plan: no network");
	return netconf_parse("network plan", network, network_len, &op->conf, &op->err);
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
	struct net_op *op = op_new(net, verb, call->done, call->arg);

	op->oplock_fd = call->oplock_fd;
	if (call->timeout_ms > 0)
		op->timeout_ms = call->timeout_ms;
	if (read_plan(op, call->plan, call->plan_len) < 0) {
		op_fail(op);
		return NULL;
	}
	return op;
}

/* prevResult of CHECK and DEL exists since 0.4.0. A result that is none is as good as a lost one. */
static bool take_stored_result(struct net_op *op, const struct net_call *call)
{
	yyjson_doc *doc;
	struct err err;

	if (!netconf_at_least(op->conf, 0, 4) || call->result_len == 0)
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
		op_step(op);
}

void net_del(struct net *net, const struct net_call *call)
{
	struct net_op *op = op_from_call(net, VERB_DEL, call);

	if (!op)
		return;
	ignore(take_stored_result(op, call)); /* DEL works without */
	if (!is_namespace(op->netns))
		op->netns = "";
	op_step(op);
}

void net_check(struct net *net, const struct net_call *call)
{
	struct net_op *op = op_from_call(net, VERB_CHECK, call);

	if (!op)
		return;
	if (op->conf->disable_check || !take_stored_result(op, call))
		op->done_plugins = netconf_count(op->conf); /* nothing that could be checked */
	op_step(op);
}

/* A chain over the network in use: GC and STATUS. */
static struct net_op *op_over_current(struct net *net, enum verb verb, net_done_fn done, void *arg)
{
	struct net_op *op = op_new(net, verb, done, arg);
	cleanup_free char *text = yyjson_val_write(yyjson_doc_get_root(net->conf->doc), 0, NULL);

	if (!text || netconf_parse(net->conf->file, text, strlen(text), &op->conf, &op->err) < 0) {
		op_fail(op);
		return NULL;
	}
	return op;
}

static void call_done_with_nothing(struct net *net, net_done_fn done, void *arg)
{
	struct net_op *op = op_new(net, VERB_GC, done, arg);

	loop_defer_queue(net->loop, &op->finish);
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
	op_step(op);
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
		op_step(net->status_op);
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
		         net->builtin ? "built-in " : "", net->conf->name, missing, net->cni_path);
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
		       *ops = yyjson_mut_arr(doc);

	yyjson_mut_obj_add_strcpy(doc, root, "confDir", net->conf_dir);
	yyjson_mut_obj_add_strcpy(doc, root, "pluginDirs", net->cni_path);
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
	yyjson_mut_obj_add_val(doc, root, "problems", string_array(doc, net->problems));
	list_for_each(l, &net->ops) {
		const struct net_op *op = list_entry(l, struct net_op, link);
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, ops);

		yyjson_mut_obj_add_strcpy(doc, item, "verb", verb_names[op->verb]);
		yyjson_mut_obj_add_strcpy(doc, item, "pod", op->id);
		if (op->child) {
			yyjson_mut_obj_add_strcpy(doc, item, "plugin",
			                          netconf_type(op->conf, op_index(op)));
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

struct net *net_new(const struct net_args *args, struct err *err)
{
	struct net *net;

	ensure(args->loop && args->conf_dir && args->conf_dir[0] == '/' && args->bin_dirs &&
	       args->state_dir);
	net = xcalloc(1, sizeof(*net));
	*net = (struct net){
		.loop = args->loop,
		.conf_dir = xstrdup(args->conf_dir),
		.state_dir = xstrdup(args->state_dir),
		.bin_dirs = strv_dup(args->bin_dirs),
		.cni_path = join(args->bin_dirs),
		.builtin_allowed = args->builtin,
		.inotify_fd = -1,
		.watch = -1,
	};
	list_init(&net->ops);
	net->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (net->inotify_fd < 0) {
		err_sys(err, errno, "watch %s: inotify", net->conf_dir);
		net_free(net);
		return NULL;
	}
	net->io = loop_io_new(net->loop, net->inotify_fd, EPOLLIN, on_inotify, net,
	                      "CNI configuration", err);
	if (!net->io) {
		net_free(net);
		return NULL;
	}
	/* Watch first, then read: what changes in between is an event. */
	arm(net);
	load(net);
	return net;
}

void net_free(struct net *net)
{
	if (!net)
		return;
	unload(net);
	while (!list_empty(&net->ops))
		op_free(list_entry(net->ops.next, struct net_op, link));
	loop_io_free(net->io);
	if (net->inotify_fd >= 0)
		close(net->inotify_fd);
	strv_free(net->bin_dirs);
	free(net->conf_dir);
	free(net->state_dir);
	free(net->cni_path);
	free(net->said);
	free(net);
}
