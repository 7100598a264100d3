/* core/net/chain.c
 *
 * Each plugin is a child that gets its configuration on stdin: its own object with name and cniVersion of the list,
 * runtimeConfig with those arguments that it declares capabilities for, and prevResult. What it prints at ADD is the next one's
 * prevResult and at the end the result.
 */
#include "core/net/chain.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/net/cni_result.h"

#define DEFAULT_IFNAME "eth0"

static const char *const verb_names[] = { "ADD", "DEL", "CHECK", "GC", "STATUS" };

const char *net_verb_name(enum verb verb)
{
	return verb_names[verb];
}

char *chain_find_plugin(const struct chain *chain, const char *type)
{
	for (size_t i = 0; chain->bin_dirs[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", chain->bin_dirs[i], type);
		struct stat st;

		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return take_ptr(path);
	}
	return NULL;
}

void net_op_free(struct net_op *op)
{
	list_remove(&op->link);
	loop_defer_cancel(&op->finish);
	if (op->child)
		child_detach(op->child);
	net_plan_release(&op->plan);
	strv_free(op->valid_ids);
	free(op->prev);
	free(op->child_name);
	free(op);
}

void net_op_fail(struct net_op *op)
{
	op->failed = true;
	loop_defer_queue(op->chain->loop, &op->finish);
}

static void on_finish(void *arg)
{
	struct net_op *op = arg;
	struct net_result result = { .json = op->prev, .len = op->prev_len };
	cleanup(strv_free) char **ips = NULL;
	net_done_fn done = op->done;
	void *done_arg = op->arg;

	if (!op->failed && op->verb == VERB_ADD &&
	    cni_result_ips(op->prev, op->prev_len, op->plan.ifname, &ips, &op->err) < 0) {
		err_wrap(&op->err, "network \"%s\"", op->plan.conf->name);
		op->err.code = CODE_UNKNOWN;
		op->failed = true;
	}
	result.ips = ips;
	/* Off the list first: the owner may free the whole of net in its callback. */
	list_remove(&op->link);
	done(done_arg, op->verb == VERB_ADD && !op->failed ? &result : NULL,
	     op->failed ? &op->err : NULL);
	net_op_free(op);
}

/* The plugin whose turn it is. */
static size_t op_index(const struct net_op *op)
{
	return op->verb == VERB_DEL ? netconf_count(op->plan.conf) - 1 - op->done_plugins
	                            : op->done_plugins;
}

/* Those arguments that the plugin declares a capability for. */
static void add_runtime_config(const struct net_op *op, yyjson_mut_doc *doc, yyjson_mut_val *root,
                               yyjson_val *plugin)
{
	yyjson_val *capabilities = json_obj(plugin, "capabilities"), *key, *value;
	yyjson_mut_val *config = NULL;
	yyjson_obj_iter iter;

	if (!capabilities || !op->plan.runtime_config)
		return;
	iter = yyjson_obj_iter_with(op->plan.runtime_config);
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
	yyjson_mut_obj_add_str(doc, root, "cniVersion", op->plan.conf->version);
	yyjson_mut_obj_add_str(doc, root, "name", op->plan.conf->name);
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
	env_add(&env, &n, xasprintf("CNI_PATH=%s", op->chain->cni_path));
	if (op->plan.doc) {
		env_add(&env, &n, xasprintf("CNI_CONTAINERID=%s", op->plan.id));
		env_add(&env, &n, xasprintf("CNI_NETNS=%s", op->plan.netns));
		env_add(&env, &n, xasprintf("CNI_IFNAME=%s", op->plan.ifname));
		env_add(&env, &n, xasprintf("CNI_ARGS=%s", op->plan.args));
	}
	return env;
}

static int wrap_plugin(struct net_op *op)
{
	return err_wrap(&op->err, "network \"%s\": plugin %s (%s)", op->plan.conf->name,
	                netconf_type(op->plan.conf, op_index(op)), verb_names[op->verb]);
}

/* CNI wants DEL to succeed for what is gone; plugins in the field say so with an error instead. */
static bool is_gone(const struct net_op *op, const char *text)
{
	return strstr(text, "not found") ||
	       (!*op->plan.netns && strstr(text, "no such file or directory"));
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
		return err_set(&op->err, CODE_UNKNOWN, "network \"%s\": %s: %s",
		               op->plan.conf->name, op->child_name, text);
	}
	if (ended && op->verb == VERB_DEL && is_gone(op, result->errout))
		return 0;
	return err_wrap(&op->err, "network \"%s\"", op->plan.conf->name);
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
		net_op_fail(op);
		return;
	}
	op->done_plugins++;
	net_op_step(op);
}

static int spawn_plugin(struct net_op *op)
{
	const char *type = netconf_type(op->plan.conf, op_index(op));
	cleanup_free char *path = chain_find_plugin(op->chain, type);
	cleanup_free char *input = NULL;
	cleanup(strv_free) char **env = NULL;
	char *const argv[] = { path, NULL };
	size_t len = 0;

	if (!path) {
		err_set(&op->err, CODE_FAILED_PRECONDITION, "not found in %s", op->chain->cni_path);
		return wrap_plugin(op);
	}
	input = plugin_input(op, netconf_plugin(op->plan.conf, op_index(op)), &len);
	if (!input)
		return err_set(&op->err, CODE_RESOURCE_EXHAUSTED, "network \"%s\": out of memory",
		               op->plan.conf->name);
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
	op->child = child_spawn(op->chain->loop, &op->child_args, &op->err);
	if (!op->child)
		return err_wrap(&op->err, "network \"%s\"", op->plan.conf->name);
	return 0;
}

void net_op_step(struct net_op *op)
{
	if (op->done_plugins == netconf_count(op->plan.conf))
		loop_defer_queue(op->chain->loop, &op->finish);
	else if (spawn_plugin(op) < 0)
		net_op_fail(op);
}

const char *net_op_plugin(const struct net_op *op)
{
	return op->child ? netconf_type(op->plan.conf, op_index(op)) : NULL;
}

struct net_op *net_op_new(struct chain *chain, enum verb verb, net_done_fn done, void *arg)
{
	struct net_op *op = xcalloc(1, sizeof(*op));

	ensure(done);
	*op = (struct net_op){ .chain = chain,
		               .verb = verb,
		               .oplock_fd = -1,
		               .timeout_ms = chain->timeout_ms,
		               .done = done,
		               .arg = arg };
	op->plan.id = op->plan.netns = op->plan.ifname = op->plan.args = "";
	loop_defer_init(&op->finish, on_finish, op);
	list_push_back(&chain->ops, &op->link);
	return op;
}
