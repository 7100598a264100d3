#include "core/state/dump.h"

#include "core/base/codec.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/base/str.h"

static void add_str(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, const char *value)
{
	yyjson_mut_obj_add_strcpy(doc, obj, key, or_empty(value));
}

static void add_opt(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, const char *value)
{
	if (value && value[0])
		yyjson_mut_obj_add_strcpy(doc, obj, key, value);
}

static void add_bytes(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                      const struct bytes *bytes)
{
	yyjson_mut_val *val;
	uint8_t digest[SHA256_SIZE];
	char text[2 * SHA256_SIZE + 1];
	struct sha256 ctx;

	if (!bytes->len)
		return;
	sha256_init(&ctx);
	sha256_update(&ctx, bytes->data, bytes->len);
	sha256_final(&ctx, digest);
	hex_encode(digest, sizeof(digest), text);
	val = yyjson_mut_obj_add_obj(doc, obj, key);
	yyjson_mut_obj_add_uint(doc, val, "bytes", bytes->len);
	add_str(doc, val, "sha256", text);
}

static void add_pairs(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                      const struct pairs *pairs)
{
	yyjson_mut_val *val;

	if (!pairs->count)
		return;
	val = yyjson_mut_obj_add_obj(doc, obj, key);
	for (size_t i = 0; i < pairs->count; i++)
		yyjson_mut_obj_add(val, yyjson_mut_strcpy(doc, pairs->items[i].key),
		                   yyjson_mut_strcpy(doc, pairs->items[i].value));
}

static void add_strv(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, char *const *strv)
{
	yyjson_mut_val *arr = yyjson_mut_obj_add_arr(doc, obj, key);

	for (; strv && *strv; strv++)
		yyjson_mut_arr_add_strcpy(doc, arr, *strv);
}

static void add_maps(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                     const struct id_maps *maps)
{
	yyjson_mut_val *arr;

	if (!maps->count)
		return;
	arr = yyjson_mut_obj_add_arr(doc, obj, key);
	for (size_t i = 0; i < maps->count; i++) {
		yyjson_mut_val *line = yyjson_mut_arr_add_arr(doc, arr);

		yyjson_mut_arr_add_uint(doc, line, maps->items[i].inside);
		yyjson_mut_arr_add_uint(doc, line, maps->items[i].outside);
		yyjson_mut_arr_add_uint(doc, line, maps->items[i].count);
	}
}

static void add_notified(yyjson_mut_doc *doc, yyjson_mut_val *obj, const struct notified *n)
{
	yyjson_mut_val *val;

	if (!n->stop_seq)
		return;
	val = yyjson_mut_obj_add_obj(doc, obj, "notified");
	yyjson_mut_obj_add_uint(doc, val, "stop_seq", n->stop_seq);
	if (n->remove_seq)
		yyjson_mut_obj_add_uint(doc, val, "remove_seq", n->remove_seq);
	if (n->mask != PLUGIN_ALL)
		yyjson_mut_obj_add_uint(doc, val, "mask", n->mask);
}

static yyjson_mut_val *dump_sandbox(const struct sandbox *sb, yyjson_mut_doc *doc)
{
	yyjson_mut_val *obj = yyjson_mut_obj(doc);

	add_str(doc, obj, "id", sb->id);
	add_str(doc, obj, "state", sandbox_state_name(sb->state));
	add_str(doc, obj, "name", sb->name);
	add_str(doc, obj, "namespace", sb->ns);
	add_str(doc, obj, "uid", sb->uid);
	yyjson_mut_obj_add_uint(doc, obj, "attempt", sb->attempt);
	add_opt(doc, obj, "runtime_handler", sb->runtime_handler);
	add_str(doc, obj, "runtime", sb->runtime);
	add_str(doc, obj, "controller", sb->controller);
	yyjson_mut_obj_add_int(doc, obj, "created_ns", sb->created_ns);
	if (sb->stopped)
		yyjson_mut_obj_add_bool(doc, obj, "stopped", true);
	if (sb->undone)
		yyjson_mut_obj_add_bool(doc, obj, "undone", true);
	if (sb->host_network)
		yyjson_mut_obj_add_bool(doc, obj, "host_network", true);
	add_maps(doc, obj, "uid_maps", &sb->uid_maps);
	add_maps(doc, obj, "gid_maps", &sb->gid_maps);
	add_opt(doc, obj, "cgroup_parent", sb->cgroup_parent);
	add_opt(doc, obj, "hostname", sb->hostname);
	add_opt(doc, obj, "log_dir", sb->log_dir);
	add_opt(doc, obj, "netns", sb->netns_path);
	add_opt(doc, obj, "ipcns", sb->ipcns_path);
	add_opt(doc, obj, "utsns", sb->utsns_path);
	add_opt(doc, obj, "user_ns", sb->userns_path);
	add_opt(doc, obj, "pause_container", sb->pause_container);
	if (sb->network_intent)
		yyjson_mut_obj_add_bool(doc, obj, "network_intent", true);
	add_strv(doc, obj, "ips", sb->ips);
	add_pairs(doc, obj, "labels", &sb->labels);
	add_pairs(doc, obj, "annotations", &sb->annotations);
	add_bytes(doc, obj, "request", &sb->request);
	add_bytes(doc, obj, "resources", &sb->resources);
	add_bytes(doc, obj, "cni_conf", &sb->cni_conf);
	add_bytes(doc, obj, "cni_result", &sb->cni_result);
	if (sb->step)
		yyjson_mut_obj_add_uint(doc, obj, "step", sb->step);
	add_notified(doc, obj, &sb->notified);
	yyjson_mut_obj_add_uint(doc, obj, "version", sb->version);
	return obj;
}

static yyjson_mut_val *dump_container(const struct container *c, yyjson_mut_doc *doc)
{
	static const uint8_t no_boot[sizeof(c->boot_id)];
	yyjson_mut_val *obj = yyjson_mut_obj(doc);
	char boot[2 * sizeof(c->boot_id) + 1];

	add_str(doc, obj, "id", c->id);
	add_str(doc, obj, "state", container_state_name(c->state));
	add_str(doc, obj, "sandbox_id", c->sandbox_id);
	add_str(doc, obj, "name", c->name);
	yyjson_mut_obj_add_uint(doc, obj, "attempt", c->attempt);
	add_opt(doc, obj, "image_ref", c->image_ref);
	add_opt(doc, obj, "image_id", c->image_id);
	add_opt(doc, obj, "image_digest", c->image_digest);
	add_opt(doc, obj, "log_path", c->log_path);
	if (c->tty)
		yyjson_mut_obj_add_bool(doc, obj, "tty", true);
	if (c->stdin_open)
		yyjson_mut_obj_add_bool(doc, obj, "stdin", true);
	if (c->stdin_once)
		yyjson_mut_obj_add_bool(doc, obj, "stdin_once", true);
	if (c->hidden)
		yyjson_mut_obj_add_bool(doc, obj, "hidden", true);
	if (c->shared_pid)
		yyjson_mut_obj_add_bool(doc, obj, "shared_pid", true);
	if (c->undone)
		yyjson_mut_obj_add_bool(doc, obj, "undone", true);
	add_str(doc, obj, "runtime", c->runtime);
	add_opt(doc, obj, "cgroups_path", c->cgroups_path);
	add_opt(doc, obj, "stop_signal", c->stop_signal);
	yyjson_mut_obj_add_int(doc, obj, "created_ns", c->created_ns);
	yyjson_mut_obj_add_int(doc, obj, "started_ns", c->started_ns);
	yyjson_mut_obj_add_int(doc, obj, "finished_ns", c->finished_ns);
	if (c->pid) {
		yyjson_mut_obj_add_int(doc, obj, "pid", c->pid);
		yyjson_mut_obj_add_uint(doc, obj, "start_ticks", c->start_ticks);
	}
	if (memcmp(c->boot_id, no_boot, sizeof(no_boot)) != 0) {
		hex_encode(c->boot_id, sizeof(c->boot_id), boot);
		add_str(doc, obj, "boot_id", boot);
	}
	yyjson_mut_obj_add_int(doc, obj, "exit_code", c->exit_code);
	if (c->oom_killed)
		yyjson_mut_obj_add_bool(doc, obj, "oom_killed", true);
	add_opt(doc, obj, "reason", c->reason);
	add_opt(doc, obj, "message", c->message);
	if (c->stopping_signal)
		yyjson_mut_obj_add_int(doc, obj, "stopping_signal", c->stopping_signal);
	add_pairs(doc, obj, "labels", &c->labels);
	add_pairs(doc, obj, "annotations", &c->annotations);
	add_bytes(doc, obj, "request", &c->request);
	add_bytes(doc, obj, "resources", &c->resources);
	if (c->step)
		yyjson_mut_obj_add_uint(doc, obj, "step", c->step);
	add_notified(doc, obj, &c->notified);
	yyjson_mut_obj_add_uint(doc, obj, "version", c->version);
	return obj;
}

static yyjson_mut_val *dump_image(const struct image *image, yyjson_mut_doc *doc)
{
	yyjson_mut_val *obj = yyjson_mut_obj(doc);

	add_str(doc, obj, "id", image->id);
	add_strv(doc, obj, "names", image->names);
	add_strv(doc, obj, "digests", image->digests);
	add_strv(doc, obj, "layers", image->layers);
	add_opt(doc, obj, "user", image->user);
	yyjson_mut_obj_add_uint(doc, obj, "size_bytes", image->size_bytes);
	if (image->pinned)
		yyjson_mut_obj_add_bool(doc, obj, "pinned", true);
	yyjson_mut_obj_add_int(doc, obj, "created_ns", image->created_ns);
	yyjson_mut_obj_add_uint(doc, obj, "version", image->version);
	return obj;
}

static const char *owed_name(enum owed_kind kind)
{
	switch (kind) {
	case OWED_CONTAINER_STOP:
		return "container stop";
	case OWED_CONTAINER_REMOVE:
		return "container remove";
	case OWED_SANDBOX_STOP:
		return "sandbox stop";
	case OWED_SANDBOX_REMOVE:
		return "sandbox remove";
	}
	return "?";
}

static void dump_plugin(const struct state *state, int slot, yyjson_mut_doc *doc,
                        yyjson_mut_val *arr)
{
	const struct plugin *p = &state->plugins[slot];
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr), *list;
	struct owed *owed;
	size_t count = state_owed(state, slot, &owed);

	add_str(doc, obj, "name", p->name);
	if (p->preinstalled)
		yyjson_mut_obj_add_bool(doc, obj, "preinstalled", true);
	yyjson_mut_obj_add_uint(doc, obj, "since", p->since);
	yyjson_mut_obj_add_uint(doc, obj, "cursor", p->cursor);
	yyjson_mut_obj_add_int(doc, obj, "last_seen_ns", p->last_seen_ns);
	list = yyjson_mut_obj_add_arr(doc, obj, "owed");
	for (size_t i = 0; i < count; i++) {
		yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);

		yyjson_mut_obj_add_uint(doc, item, "seq", owed[i].seq);
		add_str(doc, item, "what", owed_name(owed[i].kind));
		add_str(doc, item, "id", owed[i].id);
	}
	free(owed);
}

yyjson_mut_val *dump_state(const struct state *state, yyjson_mut_doc *doc)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *arr;

	yyjson_mut_obj_add_uint(doc, root, "seq", state->seq);
	yyjson_mut_obj_add_int(doc, root, "last_created_ns", state->last_created_ns);
	yyjson_mut_obj_add_uint(doc, root, "boot_seq", state->boot.seq);
	add_opt(doc, root, "pod_cidr", state->pod_cidr);
	arr = yyjson_mut_obj_add_arr(doc, root, "sandboxes");
	list_for_each(l, &state->sandboxes)
		yyjson_mut_arr_append(arr, dump_sandbox(list_entry(l, struct sandbox, link), doc));
	arr = yyjson_mut_obj_add_arr(doc, root, "containers");
	list_for_each(l, &state->containers)
		yyjson_mut_arr_append(arr,
		                      dump_container(list_entry(l, struct container, link), doc));
	arr = yyjson_mut_obj_add_arr(doc, root, "tombstones");
	list_for_each(l, &state->dead_sandboxes)
		yyjson_mut_arr_append(arr, dump_sandbox(list_entry(l, struct sandbox, link), doc));
	list_for_each(l, &state->dead_containers)
		yyjson_mut_arr_append(arr,
		                      dump_container(list_entry(l, struct container, link), doc));
	arr = yyjson_mut_obj_add_arr(doc, root, "images");
	list_for_each(l, &state->images)
		yyjson_mut_arr_append(arr, dump_image(list_entry(l, struct image, link), doc));
	arr = yyjson_mut_obj_add_arr(doc, root, "plugins");
	for (int i = 0; i < PLUGIN_MAX; i++)
		if (state->plugins[i].name)
			dump_plugin(state, i, doc, arr);
	arr = yyjson_mut_obj_add_arr(doc, root, "quarantine");
	list_for_each(l, &state->quarantine) {
		const struct quarantine *q = list_entry(l, struct quarantine, link);
		yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);

		add_str(doc, obj, "id", q->id);
		yyjson_mut_obj_add_uint(doc, obj, "seq", q->seq);
		add_str(doc, obj, "why", q->why);
	}
	return root;
}

char *dump_state_text(const struct state *state, bool pretty)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	yyjson_mut_doc_set_root(doc, dump_state(state, doc));
	return json_write(doc, pretty, NULL);
}
