/* core/state/apply.c
 *
 * state_apply(): what each record kind does to the state. Pure: no I/O, no clock, no failure path. A function below answers
 * NULL, or why the record does not fit; then the object is quarantined and the fold goes on.
 *
 * Owed notifications: an exit (EXITED), a pod's stop (STOPPING) and an undo (REMOVING with undo) set stop_seq; REMOVED sets
 * remove_seq. Whoever's cursor is behind them is owed them (state_owed). A removed object lives on as a tombstone until nobody is.
 */
#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/state/object.h"
#include "core/state/state.h"
#include "core/state/state_internal.h"
#include "core/state/transition.h"

typedef const char *(*apply_fn)(struct state *state, const struct record *rec, const void *msg);

static const char *const unknown_id = "names an id that does not exist";
static const char *const bad_transition = "does not fit the object's state";

/* The live object of this id, or NULL: tombstones take no more records. */
static struct sandbox *live_sandbox(struct state *state, const char *id)
{
	struct sandbox *sb = id ? map_find(&state->sandbox_ids, id) : NULL;

	return sb && !sandbox_is_tombstone(sb) ? sb : NULL;
}

static struct container *live_container(struct state *state, const char *id)
{
	struct container *c = id ? map_find(&state->container_ids, id) : NULL;

	return c && !container_is_tombstone(c) ? c : NULL;
}

static const char *sandbox_move(struct state *state, const struct record *rec, const char *id,
                                enum sandbox_event event, struct sandbox **ret)
{
	struct sandbox *sb = live_sandbox(state, id);
	enum sandbox_state next;

	if (!sb)
		return unknown_id;
	next = sandbox_next(sb->state, event);
	if (next == SANDBOX_INVALID)
		return bad_transition;
	sb->state = next;
	sb->version = rec->seq;
	*ret = sb;
	return NULL;
}

static const char *container_move(struct state *state, const struct record *rec, const char *id,
                                  enum container_event event, struct container **ret)
{
	struct container *c = live_container(state, id);
	enum container_state next;

	if (!c)
		return unknown_id;
	next = container_next(c->state, event);
	if (next == CONTAINER_INVALID)
		return bad_transition;
	c->state = next;
	c->version = rec->seq;
	*ret = c;
	return NULL;
}

static uint64_t removing_mask(const struct state *state, const rec_Removing *msg)
{
	uint64_t mask = 0;

	if (msg->all_plugins)
		return PLUGIN_ALL;
	for (size_t i = 0; i < msg->plugins_count; i++) {
		int slot = plugin_slot(state, or_empty(msg->plugins[i]));

		if (slot >= 0)
			mask |= UINT64_C(1) << slot;
	}
	return mask;
}

/* REMOVED without a stop before it (nothing was ever owed): only Remove is. */
static void notified_removed(struct notified *n, uint64_t seq)
{
	n->remove_seq = seq;
	if (!n->stop_seq) {
		n->stop_seq = seq;
		n->mask = PLUGIN_ALL;
	}
}

static void note_created(struct state *state, int64_t created_ns)
{
	if (created_ns > state->last_created_ns)
		state->last_created_ns = created_ns;
}

static const char *apply_boot(struct state *state, const struct record *rec, const void *arg)
{
	const rec_Boot *msg = arg;

	boot_release(&state->prev_boot);
	state->prev_boot = state->boot;
	state->boot = boot_from_pb(msg);
	state->boot.seq = rec->seq;
	return NULL;
}

/* --- sandboxes */

static const char *apply_sandbox_creating(struct state *state, const struct record *rec,
                                          const void *arg)
{
	const rec_Sandbox *msg = arg;
	struct sandbox *sb = sandbox_from_pb(msg);

	if (!sb)
		return "has no valid id";
	sb->state = SANDBOX_CREATING;
	sb->version = rec->seq;
	if (!state_add_sandbox(state, sb)) {
		sandbox_free(sb);
		return "id or name is taken";
	}
	note_created(state, sb->created_ns);
	return NULL;
}

static const char *apply_sandbox_namespaces(struct state *state, const struct record *rec,
                                            const void *arg)
{
	const rec_SandboxNamespaces *msg = arg;
	struct sandbox *sb = live_sandbox(state, msg->id);

	if (!sb)
		return unknown_id;
	set_opt(&sb->netns_path, msg->netns_path);
	set_opt(&sb->ipcns_path, msg->ipcns_path);
	set_opt(&sb->utsns_path, msg->utsns_path);
	set_opt(&sb->userns_path, msg->userns_path);
	set_opt(&sb->pause_container, msg->pause_container);
	sb->version = rec->seq;
	return NULL;
}

static const char *apply_sandbox_intent(struct state *state, const struct record *rec,
                                        const void *arg)
{
	const rec_SandboxNetworkIntent *msg = arg;
	struct sandbox *sb = live_sandbox(state, msg->id);

	if (!sb)
		return unknown_id;
	sb->network_intent = true;
	set_bytes(&sb->cni_conf, msg->conf);
	sb->version = rec->seq;
	return NULL;
}

static const char *apply_sandbox_network(struct state *state, const struct record *rec,
                                         const void *arg)
{
	const rec_SandboxNetwork *msg = arg;
	struct sandbox *sb = live_sandbox(state, msg->id);

	if (!sb)
		return unknown_id;
	set_bytes(&sb->cni_result, msg->result);
	if (msg->conf)
		set_bytes(&sb->cni_conf, msg->conf);
	strv_free(sb->ips);
	sb->ips = strv_from_pb(msg->ips, msg->ips_count);
	sb->version = rec->seq;
	return NULL;
}

static const char *apply_sandbox_ready(struct state *state, const struct record *rec,
                                       const void *arg)
{
	struct sandbox *sb;

	return sandbox_move(state, rec, ((const rec_Ref *)arg)->id, SANDBOX_ON_READY, &sb);
}

static const char *apply_sandbox_stopping(struct state *state, const struct record *rec,
                                          const void *arg)
{
	struct sandbox *sb;
	const char *why =
		sandbox_move(state, rec, ((const rec_Ref *)arg)->id, SANDBOX_ON_STOPPING, &sb);

	if (!why && !sb->notified.stop_seq) {
		sb->notified.stop_seq = rec->seq;
		sb->notified.mask = PLUGIN_ALL;
	}
	return why;
}

static const char *apply_sandbox_stopped(struct state *state, const struct record *rec,
                                         const void *arg)
{
	struct sandbox *sb;
	const char *why =
		sandbox_move(state, rec, ((const rec_Ref *)arg)->id, SANDBOX_ON_STOPPED, &sb);

	if (why)
		return why;
	sb->stopped = true;
	sb->network_intent = false;
	set_opt(&sb->netns_path, NULL);
	set_opt(&sb->ipcns_path, NULL);
	set_opt(&sb->utsns_path, NULL);
	set_opt(&sb->userns_path, NULL);
	bytes_release(&sb->cni_conf);
	bytes_release(&sb->cni_result);
	strv_free(sb->ips);
	sb->ips = strv_from_pb(NULL, 0);
	return NULL;
}

static const char *apply_sandbox_removing(struct state *state, const struct record *rec,
                                          const void *arg)
{
	const rec_Removing *msg = arg;
	struct sandbox *sb;
	const char *why = sandbox_move(state, rec, msg->id, SANDBOX_ON_REMOVING, &sb);

	if (why)
		return why;
	sb->step = msg->step;
	if (msg->undo && !sb->notified.stop_seq) {
		sb->undone = true;
		sb->notified.stop_seq = rec->seq;
		sb->notified.mask = removing_mask(state, msg);
	}
	return NULL;
}

static const char *apply_sandbox_removed(struct state *state, const struct record *rec,
                                         const void *arg)
{
	const rec_Ref *msg = arg;
	struct sandbox *sb = live_sandbox(state, msg->id);
	const char *why;

	if (!sb && state_drop_quarantine(state, or_empty(msg->id)))
		return NULL;
	if (sb && !list_empty(&sb->containers))
		return "still has containers";
	why = sandbox_move(state, rec, msg->id, SANDBOX_ON_REMOVED, &sb);
	if (why)
		return why;
	notified_removed(&sb->notified, rec->seq);
	state_drop_quarantine(state, sb->id);
	state_bury_sandbox(state, sb);
	return NULL;
}

static const char *apply_sandbox_resources(struct state *state, const struct record *rec,
                                           const void *arg)
{
	const rec_Resources *msg = arg;
	struct sandbox *sb = live_sandbox(state, msg->id);

	if (!sb)
		return unknown_id;
	set_bytes(&sb->resources, msg->resources);
	sb->version = rec->seq;
	return NULL;
}

/* --- containers */

static const char *apply_container_creating(struct state *state, const struct record *rec,
                                            const void *arg)
{
	const rec_Container *msg = arg;
	struct container *c = container_from_pb(msg);

	if (!c)
		return "has no valid id";
	c->state = CONTAINER_CREATING;
	c->version = rec->seq;
	if (!live_sandbox(state, c->sandbox_id)) {
		container_free(c);
		return "names a pod that does not exist";
	}
	if (!state_add_container(state, c)) {
		container_free(c);
		return "id or name is taken";
	}
	note_created(state, c->created_ns);
	return NULL;
}

static const char *apply_container_created(struct state *state, const struct record *rec,
                                           const void *arg)
{
	struct container *c;

	return container_move(state, rec, ((const rec_Ref *)arg)->id, CONTAINER_ON_CREATED, &c);
}

static const char *apply_container_starting(struct state *state, const struct record *rec,
                                            const void *arg)
{
	const rec_ContainerStarting *msg = arg;
	struct container *c;
	const char *why = container_move(state, rec, msg->id, CONTAINER_ON_STARTING, &c);

	if (!why && msg->boot_id && msg->boot_id->size == sizeof(c->boot_id))
		memcpy(c->boot_id, msg->boot_id->bytes, sizeof(c->boot_id));
	return why;
}

static const char *apply_container_running(struct state *state, const struct record *rec,
                                           const void *arg)
{
	const rec_ContainerRunning *msg = arg;
	struct container *c;
	const char *why = container_move(state, rec, msg->id, CONTAINER_ON_RUNNING, &c);

	if (why)
		return why;
	c->started_ns = MAX(msg->started_ns, c->created_ns);
	c->pid = msg->pid;
	c->start_ticks = msg->start_ticks;
	return NULL;
}

static const char *apply_container_stopping(struct state *state, const struct record *rec,
                                            const void *arg)
{
	const rec_ContainerStopping *msg = arg;
	struct container *c = live_container(state, msg->id);

	if (!c)
		return unknown_id;
	c->stopping_signal = msg->signal;
	c->version = rec->seq;
	return NULL;
}

static const char *apply_container_exited(struct state *state, const struct record *rec,
                                          const void *arg)
{
	const rec_ContainerExited *msg = arg;
	struct container *c;
	const char *why = container_move(state, rec, msg->id, CONTAINER_ON_EXITED, &c);
	struct sandbox *sb;

	if (why)
		return why;
	c->exit_code = msg->exit_code & 0xff;
	c->oom_killed = msg->oom_killed;
	c->finished_ns = MAX(msg->finished_ns, MAX(c->started_ns, c->created_ns));
	set_str(&c->reason, msg->reason);
	set_str(&c->message, msg->message);
	c->pid = 0;
	c->stopping_signal = 0;
	if (!c->hidden) {
		c->notified.stop_seq = rec->seq;
		c->notified.mask = PLUGIN_ALL;
		return NULL;
	}
	/* the pause container was the pod's life; nobody asked it to stop, so nothing is owed yet */
	sb = live_sandbox(state, c->sandbox_id);
	if (sb && sb->state == SANDBOX_READY) {
		sb->state = SANDBOX_NOTREADY;
		sb->version = rec->seq;
	}
	return NULL;
}

static const char *apply_container_removing(struct state *state, const struct record *rec,
                                            const void *arg)
{
	const rec_Removing *msg = arg;
	struct container *c;
	const char *why = container_move(state, rec, msg->id, CONTAINER_ON_REMOVING, &c);

	if (why)
		return why;
	c->step = msg->step;
	if (msg->undo && !c->notified.stop_seq) {
		c->undone = true;
		if (!c->hidden) {
			c->notified.stop_seq = rec->seq;
			c->notified.mask = removing_mask(state, msg);
		}
	}
	return NULL;
}

static const char *apply_container_removed(struct state *state, const struct record *rec,
                                           const void *arg)
{
	const rec_Ref *msg = arg;
	struct container *c;
	const char *why;

	if (!live_container(state, msg->id) && state_drop_quarantine(state, or_empty(msg->id)))
		return NULL;
	why = container_move(state, rec, msg->id, CONTAINER_ON_REMOVED, &c);
	if (why)
		return why;
	if (!c->hidden)
		notified_removed(&c->notified, rec->seq);
	state_drop_quarantine(state, c->id);
	state_bury_container(state, c);
	return NULL;
}

static const char *apply_container_resources(struct state *state, const struct record *rec,
                                             const void *arg)
{
	const rec_Resources *msg = arg;
	struct container *c = live_container(state, msg->id);

	if (!c)
		return unknown_id;
	set_bytes(&c->resources, msg->resources);
	c->version = rec->seq;
	return NULL;
}

/* --- plugins */

static const char *apply_plugin_seen(struct state *state, const struct record *rec, const void *arg)
{
	const rec_Plugin *msg = arg;
	int slot = plugin_slot(state, or_empty(msg->name));

	if (!msg->name || !msg->name[0])
		return "has no plugin name";
	if (slot < 0) {
		for (slot = 0; slot < PLUGIN_MAX && state->plugins[slot].name; slot++)
			;
		if (slot == PLUGIN_MAX)
			return NULL; /* the 65th name is served but owed nothing (D3) */
		state->plugins[slot] = (struct plugin){ .name = xstrdup(msg->name),
			                                .since = rec->seq,
			                                .cursor = rec->seq };
	}
	state->plugins[slot].preinstalled = msg->preinstalled;
	state->plugins[slot].last_seen_ns = rec->time_ns;
	return NULL;
}

static const char *apply_plugin_acked(struct state *state, const struct record *rec UNUSED,
                                      const void *arg)
{
	const rec_PluginAcked *msg = arg;
	int slot = plugin_slot(state, or_empty(msg->name));

	if (slot < 0)
		return NULL; /* forgotten between call and answer */
	if (msg->cursor > state->plugins[slot].cursor)
		state->plugins[slot].cursor = msg->cursor;
	state_drop_unowed(state);
	return NULL;
}

static const char *apply_plugin_capped(struct state *state, const struct record *rec UNUSED,
                                       const void *arg)
{
	const rec_PluginAcked *msg = arg;
	int slot = plugin_slot(state, or_empty(msg->name));

	if (slot < 0)
		return NULL;
	/* since moves too, so that the Remove of what was forgotten goes with its Stop */
	state->plugins[slot].cursor = MAX(state->plugins[slot].cursor, msg->cursor);
	state->plugins[slot].since = MAX(state->plugins[slot].since, msg->cursor);
	state_drop_unowed(state);
	return NULL;
}

static const char *apply_plugin_forgotten(struct state *state, const struct record *rec UNUSED,
                                          const void *arg)
{
	const rec_Plugin *msg = arg;
	int slot = plugin_slot(state, or_empty(msg->name));

	if (slot < 0)
		return NULL;
	free(state->plugins[slot].name);
	state->plugins[slot] = (struct plugin){ 0 };
	state_clear_slot(state, slot);
	state_drop_unowed(state);
	return NULL;
}

/* --- images */

static const char *apply_image_added(struct state *state, const struct record *rec, const void *arg)
{
	const rec_Image *msg = arg;
	struct image *image = image_from_pb(msg);
	struct image *old;

	if (!image)
		return "has no image id";
	image->version = rec->seq;
	old = map_find(&state->image_ids, image->id);
	if (old) {
		/* the same content again: when it was first stored stays true */
		image->created_ns = old->created_ns;
		state_drop_image(state, old);
	}
	state_add_image(state, image);
	return NULL;
}

static const char *apply_image_named(struct state *state, const struct record *rec, const void *arg)
{
	const rec_ImageNamed *msg = arg;
	struct image *image = msg->id ? map_find(&state->image_ids, msg->id) : NULL;

	if (!image)
		return unknown_id;
	state_unname_image(state, image);
	strv_free(image->names);
	strv_free(image->digests);
	image->names = strv_from_pb(msg->names, msg->names_count);
	image->digests = strv_from_pb(msg->digests, msg->digests_count);
	image->pinned = msg->pinned;
	image->version = rec->seq;
	state_name_image(state, image);
	return NULL;
}

static const char *apply_image_removed(struct state *state, const struct record *rec UNUSED,
                                       const void *arg)
{
	const rec_Ref *msg = arg;
	struct image *image = msg->id ? map_find(&state->image_ids, msg->id) : NULL;

	if (!image)
		return unknown_id;
	state_drop_image(state, image);
	return NULL;
}

static const char *apply_runtime_config(struct state *state, const struct record *rec UNUSED,
                                        const void *arg)
{
	set_str(&state->pod_cidr, ((const rec_RuntimeConfig *)arg)->pod_cidr);
	return NULL;
}

/* --- snapshots: whole objects */

static const char *apply_snap_meta(struct state *state, const struct record *rec UNUSED,
                                   const void *arg)
{
	const rec_SnapMeta *msg = arg;

	boot_release(&state->boot);
	state->boot = boot_from_pb(&msg->boot);
	state->boot.seq = msg->boot_seq;
	state->last_created_ns = msg->last_created_ns;
	set_str(&state->pod_cidr, msg->pod_cidr);
	return NULL;
}

static const char *apply_snap_sandbox(struct state *state, const struct record *rec UNUSED,
                                      const void *arg)
{
	struct sandbox *sb = sandbox_from_pb(arg);

	if (!sb || sb->state == SANDBOX_INVALID || !state_add_sandbox(state, sb)) {
		sandbox_free(sb);
		return "holds a pod that does not fit";
	}
	return NULL;
}

static const char *apply_snap_container(struct state *state, const struct record *rec UNUSED,
                                        const void *arg)
{
	struct container *c = container_from_pb(arg);

	if (!c || c->state == CONTAINER_INVALID || !state_add_container(state, c)) {
		container_free(c);
		return "holds a container that does not fit";
	}
	return NULL;
}

static const char *apply_snap_plugin(struct state *state, const struct record *rec UNUSED,
                                     const void *arg)
{
	const rec_Plugin *msg = arg;

	if (msg->slot >= PLUGIN_MAX || state->plugins[msg->slot].name || !msg->name ||
	    !msg->name[0])
		return "holds a plugin that does not fit";
	state->plugins[msg->slot] = (struct plugin){
		.name = xstrdup(msg->name),
		.preinstalled = msg->preinstalled,
		.since = msg->since,
		.cursor = msg->cursor,
		.last_seen_ns = msg->last_seen_ns,
	};
	return NULL;
}

static const char *apply_snap_image(struct state *state, const struct record *rec UNUSED,
                                    const void *arg)
{
	struct image *image = image_from_pb(arg);

	if (!image || map_find(&state->image_ids, image->id)) {
		image_free(image);
		return "holds an image that does not fit";
	}
	state_add_image(state, image);
	return NULL;
}

static const char *apply_snap_quarantine(struct state *state, const struct record *rec UNUSED,
                                         const void *arg)
{
	const rec_Quarantine *msg = arg;

	state_quarantine(state, or_empty(msg->id), msg->seq, or_empty(msg->why));
	return NULL;
}

/* clang-format off */
static const apply_fn apply_table[] = {
	[RECORD_BOOT]                   = apply_boot,
	[RECORD_SANDBOX_CREATING]       = apply_sandbox_creating,
	[RECORD_SANDBOX_NAMESPACES]     = apply_sandbox_namespaces,
	[RECORD_SANDBOX_NETWORK_INTENT] = apply_sandbox_intent,
	[RECORD_SANDBOX_NETWORK]        = apply_sandbox_network,
	[RECORD_SANDBOX_READY]          = apply_sandbox_ready,
	[RECORD_SANDBOX_STOPPING]       = apply_sandbox_stopping,
	[RECORD_SANDBOX_STOPPED]        = apply_sandbox_stopped,
	[RECORD_SANDBOX_REMOVING]       = apply_sandbox_removing,
	[RECORD_SANDBOX_REMOVED]        = apply_sandbox_removed,
	[RECORD_SANDBOX_RESOURCES]      = apply_sandbox_resources,
	[RECORD_CONTAINER_CREATING]     = apply_container_creating,
	[RECORD_CONTAINER_CREATED]      = apply_container_created,
	[RECORD_CONTAINER_STARTING]     = apply_container_starting,
	[RECORD_CONTAINER_RUNNING]      = apply_container_running,
	[RECORD_CONTAINER_STOPPING]     = apply_container_stopping,
	[RECORD_CONTAINER_EXITED]       = apply_container_exited,
	[RECORD_CONTAINER_REMOVING]     = apply_container_removing,
	[RECORD_CONTAINER_REMOVED]      = apply_container_removed,
	[RECORD_CONTAINER_RESOURCES]    = apply_container_resources,
	[RECORD_PLUGIN_SEEN]            = apply_plugin_seen,
	[RECORD_PLUGIN_ACKED]           = apply_plugin_acked,
	[RECORD_PLUGIN_FORGOTTEN]       = apply_plugin_forgotten,
	[RECORD_PLUGIN_CAPPED]          = apply_plugin_capped,
	[RECORD_IMAGE_ADDED]            = apply_image_added,
	[RECORD_IMAGE_NAMED]            = apply_image_named,
	[RECORD_IMAGE_REMOVED]          = apply_image_removed,
	[RECORD_RUNTIME_CONFIG]         = apply_runtime_config,
	[RECORD_SNAP_META]              = apply_snap_meta,
	[RECORD_SNAP_SANDBOX]           = apply_snap_sandbox,
	[RECORD_SNAP_CONTAINER]         = apply_snap_container,
	[RECORD_SNAP_PLUGIN]            = apply_snap_plugin,
	[RECORD_SNAP_IMAGE]             = apply_snap_image,
	[RECORD_SNAP_QUARANTINE]        = apply_snap_quarantine,
};
/* clang-format on */

/* Every payload but BOOT, SNAP_META, PLUGIN_* and RUNTIME_CONFIG begins with the object's id as its first member. */
static const char *message_id(uint16_t kind, const void *msg)
{
	switch (kind) {
	case RECORD_BOOT:
	case RECORD_SNAP_META:
	case RECORD_PLUGIN_SEEN:
	case RECORD_PLUGIN_ACKED:
	case RECORD_PLUGIN_FORGOTTEN:
	case RECORD_PLUGIN_CAPPED:
	case RECORD_RUNTIME_CONFIG:
	case RECORD_SNAP_PLUGIN:
		return "";
	default:
		return or_empty(((const rec_Ref *)msg)->id);
	}
}

_Static_assert(offsetof(rec_Ref, id) == 0 && offsetof(rec_Sandbox, id) == 0 &&
                       offsetof(rec_Container, id) == 0 && offsetof(rec_Image, id) == 0 &&
                       offsetof(rec_Removing, id) == 0 && offsetof(rec_ContainerExited, id) == 0,
               "message_id() reads the first member");

static void quarantine_record(struct state *state, const struct record *rec, const char *id,
                              const char *why)
{
	char text[200];

	if (str_format(text, sizeof(text), "record %llu (%s) %s", (unsigned long long)rec->seq,
	               record_name(rec->kind), why) < 0)
		text[sizeof(text) - 1] = '\0';
	state_quarantine(state, id, rec->seq, text);
}

void state_apply(struct state *state, const struct record *rec)
{
	const struct record_info *info = record_info(rec->kind);
	struct err err = { 0 };
	const char *why;
	void *msg;

	state->seq = rec->seq;
	if (!info || rec->kind >= ARRAY_SIZE(apply_table) || !apply_table[rec->kind]) {
		quarantine_record(state, rec, "", "is of an unknown kind");
		return;
	}
	pb_arena_reset(state->arena);
	msg = pb_arena_alloc(state->arena, info->struct_size);
	if (!msg || pb_decode_msg(state->arena, info->desc, msg, rec->payload, rec->len, info->name,
	                          &err) < 0) {
		quarantine_record(state, rec, "", err.msg);
		return;
	}
	why = apply_table[rec->kind](state, rec, msg);
	if (why)
		quarantine_record(state, rec, message_id(rec->kind, msg), why);
}
