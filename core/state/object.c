#include "core/state/object.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"

void set_str(char **field, const char *value)
{
	char *copy = xstrdup(or_empty(value));

	free(*field);
	*field = copy;
}

void set_opt(char **field, const char *value)
{
	char *copy = value && value[0] ? xstrdup(value) : NULL;

	free(*field);
	*field = copy;
}

void set_bytes(struct bytes *field, const pb_bytes_array_t *value)
{
	bytes_release(field);
	if (!value || !value->size)
		return;
	field->data = xmemdup(value->bytes, value->size);
	field->len = value->size;
}

char **strv_from_pb(char *const *items, size_t count)
{
	char **strv = xcalloc(count + 1, sizeof(*strv));

	for (size_t i = 0; i < count; i++)
		strv[i] = xstrdup(or_empty(items[i]));
	return strv;
}

static void pairs_from_pb(struct pairs *pairs, const rec_Pair *items, size_t count)
{
	if (!count)
		return;
	pairs->items = xcalloc(count, sizeof(*pairs->items));
	pairs->count = count;
	for (size_t i = 0; i < count; i++) {
		pairs->items[i].key = xstrdup(or_empty(items[i].key));
		pairs->items[i].value = xstrdup(or_empty(items[i].value));
	}
}

static int pairs_to_pb(const struct pairs *pairs, struct pb_arena *arena, rec_Pair **ret_items,
                       pb_size_t *ret_count)
{
	rec_Pair *items;

	*ret_items = NULL;
	*ret_count = (pb_size_t)pairs->count;
	if (!pairs->count)
		return 0;
	items = pb_arena_alloc(arena, pairs->count * sizeof(*items));
	if (!items)
		return -1;
	for (size_t i = 0; i < pairs->count; i++)
		items[i] = (rec_Pair){ .key = pairs->items[i].key, .value = pairs->items[i].value };
	*ret_items = items;
	return 0;
}

static void maps_from_pb(struct id_maps *maps, const rec_IdMap *items, size_t count)
{
	if (!count)
		return;
	maps->items = xcalloc(count, sizeof(*maps->items));
	maps->count = count;
	for (size_t i = 0; i < count; i++)
		maps->items[i] =
			(struct id_map){ items[i].inside, items[i].outside, items[i].count };
}

static int maps_to_pb(const struct id_maps *maps, struct pb_arena *arena, rec_IdMap **ret_items,
                      pb_size_t *ret_count)
{
	rec_IdMap *items;

	*ret_items = NULL;
	*ret_count = (pb_size_t)maps->count;
	if (!maps->count)
		return 0;
	items = pb_arena_alloc(arena, maps->count * sizeof(*items));
	if (!items)
		return -1;
	for (size_t i = 0; i < maps->count; i++)
		items[i] = (rec_IdMap){ maps->items[i].inside, maps->items[i].outside,
			                maps->items[i].count };
	*ret_items = items;
	return 0;
}

static int bytes_to_pb(const struct bytes *bytes, struct pb_arena *arena, pb_bytes_array_t **ret)
{
	*ret = NULL;
	if (!bytes->len)
		return 0;
	*ret = pb_arena_bytes(arena, bytes->data, bytes->len);
	return *ret ? 0 : -1;
}

static struct notified notified_from_pb(const rec_Notified *msg)
{
	return (struct notified){ .stop_seq = msg->stop_seq,
		                  .remove_seq = msg->remove_seq,
		                  .mask = msg->mask };
}

static rec_Notified notified_to_pb(const struct notified *n)
{
	return (rec_Notified){ .stop_seq = n->stop_seq,
		               .remove_seq = n->remove_seq,
		               .mask = n->mask };
}

struct sandbox *sandbox_from_pb(const rec_Sandbox *msg)
{
	struct sandbox *sb = xcalloc(1, sizeof(*sb));

	if (!msg->id || !msg->id[0] || str_copy(sb->id, sizeof(sb->id), msg->id) < 0) {
		free(sb);
		return NULL;
	}
	list_init(&sb->link);
	list_init(&sb->containers);
	set_str(&sb->name, msg->name);
	set_str(&sb->uid, msg->uid);
	set_str(&sb->ns, msg->ns);
	sb->attempt = msg->attempt;
	pairs_from_pb(&sb->labels, msg->labels, msg->labels_count);
	pairs_from_pb(&sb->annotations, msg->annotations, msg->annotations_count);
	set_str(&sb->runtime_handler, msg->runtime_handler);
	set_str(&sb->runtime, msg->runtime);
	set_str(&sb->controller, msg->controller);
	set_bytes(&sb->request, msg->request);
	set_bytes(&sb->resources, msg->resources);
	sb->created_ns = msg->created_ns;
	set_str(&sb->cgroup_parent, msg->cgroup_parent);
	set_str(&sb->hostname, msg->hostname);
	set_str(&sb->log_dir, msg->log_dir);
	sb->host_network = msg->host_network;
	maps_from_pb(&sb->uid_maps, msg->uid_maps, msg->uid_maps_count);
	maps_from_pb(&sb->gid_maps, msg->gid_maps, msg->gid_maps_count);
	sb->state = msg->state < SANDBOX_STATES ? (enum sandbox_state)msg->state : SANDBOX_INVALID;
	sb->stopped = msg->stopped;
	sb->undone = msg->undone;
	set_opt(&sb->netns_path, msg->netns_path);
	set_opt(&sb->ipcns_path, msg->ipcns_path);
	set_opt(&sb->utsns_path, msg->utsns_path);
	set_opt(&sb->userns_path, msg->userns_path);
	set_opt(&sb->pause_container, msg->pause_container);
	sb->network_intent = msg->network_intent;
	set_bytes(&sb->cni_conf, msg->cni_conf);
	set_bytes(&sb->cni_result, msg->cni_result);
	sb->ips = strv_from_pb(msg->ips, msg->ips_count);
	sb->step = msg->step;
	sb->notified = notified_from_pb(&msg->notified);
	sb->version = msg->version;
	return sb;
}

int sandbox_to_pb(const struct sandbox *sb, struct pb_arena *arena, rec_Sandbox *ret)
{
	*ret = (rec_Sandbox){
		.id = (char *)sb->id,
		.name = sb->name,
		.uid = sb->uid,
		.ns = sb->ns,
		.attempt = sb->attempt,
		.runtime_handler = sb->runtime_handler,
		.runtime = sb->runtime,
		.controller = sb->controller,
		.created_ns = sb->created_ns,
		.cgroup_parent = sb->cgroup_parent,
		.hostname = sb->hostname,
		.log_dir = sb->log_dir,
		.host_network = sb->host_network,
		.state = sb->state,
		.stopped = sb->stopped,
		.undone = sb->undone,
		.netns_path = sb->netns_path,
		.ipcns_path = sb->ipcns_path,
		.utsns_path = sb->utsns_path,
		.userns_path = sb->userns_path,
		.pause_container = sb->pause_container,
		.network_intent = sb->network_intent,
		.ips = sb->ips,
		.ips_count = (pb_size_t)strv_len(sb->ips),
		.step = sb->step,
		.has_notified = true,
		.notified = notified_to_pb(&sb->notified),
		.version = sb->version,
	};
	if (maps_to_pb(&sb->uid_maps, arena, &ret->uid_maps, &ret->uid_maps_count) < 0 ||
	    maps_to_pb(&sb->gid_maps, arena, &ret->gid_maps, &ret->gid_maps_count) < 0)
		return -1;
	if (pairs_to_pb(&sb->labels, arena, &ret->labels, &ret->labels_count) < 0 ||
	    pairs_to_pb(&sb->annotations, arena, &ret->annotations, &ret->annotations_count) < 0 ||
	    bytes_to_pb(&sb->request, arena, &ret->request) < 0 ||
	    bytes_to_pb(&sb->resources, arena, &ret->resources) < 0 ||
	    bytes_to_pb(&sb->cni_conf, arena, &ret->cni_conf) < 0 ||
	    bytes_to_pb(&sb->cni_result, arena, &ret->cni_result) < 0)
		return -1;
	return 0;
}

void sandbox_free(struct sandbox *sb)
{
	if (!sb)
		return;
	pairs_release(&sb->labels);
	pairs_release(&sb->annotations);
	bytes_release(&sb->request);
	bytes_release(&sb->resources);
	bytes_release(&sb->cni_conf);
	bytes_release(&sb->cni_result);
	free(sb->uid_maps.items);
	free(sb->gid_maps.items);
	strv_free(sb->ips);
	free(sb->name);
	free(sb->uid);
	free(sb->ns);
	free(sb->key);
	free(sb->runtime_handler);
	free(sb->runtime);
	free(sb->controller);
	free(sb->cgroup_parent);
	free(sb->hostname);
	free(sb->log_dir);
	free(sb->netns_path);
	free(sb->ipcns_path);
	free(sb->utsns_path);
	free(sb->userns_path);
	free(sb->pause_container);
	free(sb);
}

struct container *container_from_pb(const rec_Container *msg)
{
	struct container *c = xcalloc(1, sizeof(*c));

	if (!msg->id || !msg->id[0] || str_copy(c->id, sizeof(c->id), msg->id) < 0 ||
	    str_copy(c->sandbox_id, sizeof(c->sandbox_id), or_empty(msg->sandbox_id)) < 0) {
		free(c);
		return NULL;
	}
	list_init(&c->link);
	list_init(&c->pod_link);
	set_str(&c->name, msg->name);
	c->attempt = msg->attempt;
	pairs_from_pb(&c->labels, msg->labels, msg->labels_count);
	pairs_from_pb(&c->annotations, msg->annotations, msg->annotations_count);
	set_str(&c->image_ref, msg->image_ref);
	set_str(&c->image_id, msg->image_id);
	set_str(&c->image_digest, msg->image_digest);
	set_bytes(&c->request, msg->request);
	set_bytes(&c->resources, msg->resources);
	set_str(&c->log_path, msg->log_path);
	c->tty = msg->tty;
	c->stdin_open = msg->stdin_open;
	c->stdin_once = msg->stdin_once;
	c->hidden = msg->hidden;
	c->shared_pid = msg->shared_pid;
	c->undone = msg->undone;
	set_str(&c->runtime, msg->runtime);
	set_str(&c->cgroups_path, msg->cgroups_path);
	set_str(&c->stop_signal, msg->stop_signal);
	c->state = msg->state < CONTAINER_STATES ? (enum container_state)msg->state
	                                         : CONTAINER_INVALID;
	c->created_ns = msg->created_ns;
	c->started_ns = msg->started_ns;
	c->finished_ns = msg->finished_ns;
	c->pid = msg->pid;
	c->start_ticks = msg->start_ticks;
	if (msg->boot_id && msg->boot_id->size == sizeof(c->boot_id))
		memcpy(c->boot_id, msg->boot_id->bytes, sizeof(c->boot_id));
	c->exit_code = msg->exit_code;
	c->oom_killed = msg->oom_killed;
	set_str(&c->reason, msg->reason);
	set_str(&c->message, msg->message);
	c->stopping_signal = msg->stopping_signal;
	c->step = msg->step;
	c->notified = notified_from_pb(&msg->notified);
	c->version = msg->version;
	return c;
}

int container_to_pb(const struct container *c, struct pb_arena *arena, rec_Container *ret)
{
	const struct bytes boot_id = { .data = (uint8_t *)c->boot_id, .len = sizeof(c->boot_id) };

	*ret = (rec_Container){
		.id = (char *)c->id,
		.sandbox_id = (char *)c->sandbox_id,
		.name = c->name,
		.attempt = c->attempt,
		.image_ref = c->image_ref,
		.image_id = c->image_id,
		.image_digest = c->image_digest,
		.log_path = c->log_path,
		.tty = c->tty,
		.stdin_open = c->stdin_open,
		.stdin_once = c->stdin_once,
		.hidden = c->hidden,
		.shared_pid = c->shared_pid,
		.runtime = c->runtime,
		.cgroups_path = c->cgroups_path,
		.stop_signal = c->stop_signal,
		.created_ns = c->created_ns,
		.state = c->state,
		.undone = c->undone,
		.started_ns = c->started_ns,
		.finished_ns = c->finished_ns,
		.pid = c->pid,
		.start_ticks = c->start_ticks,
		.exit_code = c->exit_code,
		.oom_killed = c->oom_killed,
		.reason = c->reason,
		.message = c->message,
		.stopping_signal = c->stopping_signal,
		.step = c->step,
		.has_notified = true,
		.notified = notified_to_pb(&c->notified),
		.version = c->version,
	};
	if (pairs_to_pb(&c->labels, arena, &ret->labels, &ret->labels_count) < 0 ||
	    pairs_to_pb(&c->annotations, arena, &ret->annotations, &ret->annotations_count) < 0 ||
	    bytes_to_pb(&c->request, arena, &ret->request) < 0 ||
	    bytes_to_pb(&c->resources, arena, &ret->resources) < 0 ||
	    bytes_to_pb(&boot_id, arena, &ret->boot_id) < 0)
		return -1;
	return 0;
}

void container_free(struct container *c)
{
	if (!c)
		return;
	pairs_release(&c->labels);
	pairs_release(&c->annotations);
	bytes_release(&c->request);
	bytes_release(&c->resources);
	free(c->name);
	free(c->key);
	free(c->image_ref);
	free(c->image_id);
	free(c->image_digest);
	free(c->log_path);
	free(c->runtime);
	free(c->cgroups_path);
	free(c->stop_signal);
	free(c->reason);
	free(c->message);
	free(c);
}

struct image *image_from_pb(const rec_Image *msg)
{
	struct image *image;

	if (!msg->id || !msg->id[0])
		return NULL;
	image = xcalloc(1, sizeof(*image));
	list_init(&image->link);
	set_str(&image->id, msg->id);
	image->names = strv_from_pb(msg->names, msg->names_count);
	image->digests = strv_from_pb(msg->digests, msg->digests_count);
	image->layers = strv_from_pb(msg->layers, msg->layers_count);
	set_str(&image->user, msg->user);
	image->size_bytes = msg->size_bytes;
	image->pinned = msg->pinned;
	image->created_ns = msg->created_ns;
	image->version = msg->version;
	return image;
}

void image_to_pb(const struct image *image, rec_Image *ret)
{
	*ret = (rec_Image){
		.id = image->id,
		.names = image->names,
		.names_count = (pb_size_t)strv_len(image->names),
		.digests = image->digests,
		.digests_count = (pb_size_t)strv_len(image->digests),
		.layers = image->layers,
		.layers_count = (pb_size_t)strv_len(image->layers),
		.user = image->user,
		.size_bytes = image->size_bytes,
		.pinned = image->pinned,
		.created_ns = image->created_ns,
		.version = image->version,
	};
}

void image_free(struct image *image)
{
	if (!image)
		return;
	strv_free(image->names);
	strv_free(image->digests);
	strv_free(image->layers);
	free(image->user);
	free(image->id);
	free(image);
}
