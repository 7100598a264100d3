#include "core/state/state.h"

#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/state/object.h"
#include "core/state/state_internal.h"

/* A record is at most 1 MiB on the wire; decoded it is a few structs and that many bytes of strings. */
#define ARENA_BUDGET (16 * RECORD_MAX_BYTES)

struct state *state_new(void)
{
	struct state *state = xcalloc(1, sizeof(*state));

	list_init(&state->sandboxes);
	list_init(&state->containers);
	list_init(&state->images);
	list_init(&state->quarantine);
	list_init(&state->dead_sandboxes);
	list_init(&state->dead_containers);
	map_init(&state->sandbox_ids);
	map_init(&state->container_ids);
	map_init(&state->image_ids);
	map_init(&state->sandbox_names);
	map_init(&state->container_names);
	map_init(&state->image_names);
	state->pod_cidr = xstrdup("");
	state->boot.version = xstrdup("");
	state->prev_boot.version = xstrdup("");
	state->arena = pb_arena_new(ARENA_BUDGET);
	return state;
}

static void free_sandboxes(struct list *head)
{
	list_for_each_safe(l, head)
		sandbox_free(list_entry(l, struct sandbox, link));
}

static void free_containers(struct list *head)
{
	list_for_each_safe(l, head)
		container_free(list_entry(l, struct container, link));
}

void state_free(struct state *state)
{
	if (!state)
		return;
	free_containers(&state->containers);
	free_containers(&state->dead_containers);
	free_sandboxes(&state->sandboxes);
	free_sandboxes(&state->dead_sandboxes);
	list_for_each_safe(l, &state->images)
		image_free(list_entry(l, struct image, link));
	list_for_each_safe(l, &state->quarantine) {
		struct quarantine *q = list_entry(l, struct quarantine, link);

		free(q->why);
		free(q);
	}
	map_release(&state->sandbox_ids);
	map_release(&state->container_ids);
	map_release(&state->image_ids);
	map_release(&state->sandbox_names);
	map_release(&state->container_names);
	map_release(&state->image_names);
	for (size_t i = 0; i < PLUGIN_MAX; i++)
		free(state->plugins[i].name);
	free(state->pod_cidr);
	boot_release(&state->boot);
	boot_release(&state->prev_boot);
	pb_arena_free(state->arena);
	free(state);
}

/* --- boot */

static void copy_id(uint8_t dst[16], const pb_bytes_array_t *src)
{
	if (src && src->size == 16)
		memcpy(dst, src->bytes, 16);
}

struct boot boot_from_pb(const rec_Boot *msg)
{
	struct boot boot = { .dev = msg->dev,
		             .ino = msg->ino,
		             .version = xstrdup(or_empty(msg->version)) };

	copy_id(boot.machine_id, msg->machine_id);
	copy_id(boot.boot_id, msg->boot_id);
	return boot;
}

void boot_release(struct boot *boot)
{
	free(boot->version);
	boot->version = NULL;
}

/* --- names */

char *sandbox_key(const char *name, const char *ns, const char *uid, uint32_t attempt)
{
	return xasprintf("%s_%s_%s_%u", name, ns, uid, attempt);
}

char *container_key(const char *name, const struct sandbox *sb, uint32_t attempt)
{
	return xasprintf("%s_%s_%s_%s_%u", name, sb->name, sb->ns, sb->uid, attempt);
}

/* --- objects in and out */

bool state_add_sandbox(struct state *state, struct sandbox *sb)
{
	bool dead = sandbox_is_tombstone(sb);

	sb->key = sandbox_key(sb->name, sb->ns, sb->uid, sb->attempt);
	if (map_find(&state->sandbox_ids, sb->id) ||
	    (!dead && map_find(&state->sandbox_names, sb->key)))
		return false;
	ensure(map_insert(&state->sandbox_ids, sb->id, sb));
	if (!dead)
		ensure(map_insert(&state->sandbox_names, sb->key, sb));
	list_push_back(dead ? &state->dead_sandboxes : &state->sandboxes, &sb->link);
	return true;
}

bool state_add_container(struct state *state, struct container *c)
{
	struct sandbox *sb = map_find(&state->sandbox_ids, c->sandbox_id);
	bool dead = container_is_tombstone(c);

	if (!sb || map_find(&state->container_ids, c->id))
		return false;
	c->key = container_key(c->name, sb, c->attempt);
	if (!dead && (sandbox_is_tombstone(sb) || map_find(&state->container_names, c->key)))
		return false;
	ensure(map_insert(&state->container_ids, c->id, c));
	if (!dead) {
		ensure(map_insert(&state->container_names, c->key, c));
		list_push_back(&sb->containers, &c->pod_link);
	}
	list_push_back(dead ? &state->dead_containers : &state->containers, &c->link);
	return true;
}

static void destroy_sandbox(struct state *state, struct sandbox *sb)
{
	list_remove(&sb->link);
	map_remove(&state->sandbox_ids, sb->id);
	sandbox_free(sb);
}

static void destroy_container(struct state *state, struct container *c)
{
	list_remove(&c->link);
	map_remove(&state->container_ids, c->id);
	container_free(c);
}

void state_bury_sandbox(struct state *state, struct sandbox *sb)
{
	map_remove(&state->sandbox_names, sb->key);
	list_remove(&sb->link);
	list_push_back(&state->dead_sandboxes, &sb->link);
	/* what no notification tells is not kept for one */
	bytes_release(&sb->resources);
	bytes_release(&sb->cni_conf);
	bytes_release(&sb->cni_result);
	if (!state_is_owed(state, &sb->notified))
		destroy_sandbox(state, sb);
}

void state_bury_container(struct state *state, struct container *c)
{
	map_remove(&state->container_names, c->key);
	list_remove(&c->pod_link);
	list_remove(&c->link);
	list_push_back(&state->dead_containers, &c->link);
	bytes_release(&c->resources);
	if (c->hidden || !state_is_owed(state, &c->notified))
		destroy_container(state, c);
}

void state_drop_unowed(struct state *state)
{
	list_for_each_safe(l, &state->dead_containers) {
		struct container *c = list_entry(l, struct container, link);

		if (!state_is_owed(state, &c->notified))
			destroy_container(state, c);
	}
	list_for_each_safe(l, &state->dead_sandboxes) {
		struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (!state_is_owed(state, &sb->notified))
			destroy_sandbox(state, sb);
	}
}

/* --- plugins and what they are owed */

int plugin_slot(const struct state *state, const char *name)
{
	for (int i = 0; i < PLUGIN_MAX; i++)
		if (state->plugins[i].name && !strcmp(state->plugins[i].name, name))
			return i;
	return -1;
}

size_t plugin_count(const struct state *state)
{
	size_t count = 0;

	for (size_t i = 0; i < PLUGIN_MAX; i++)
		count += state->plugins[i].name != NULL;
	return count;
}

static bool owes_stop(const struct plugin *p, const struct notified *n)
{
	return n->stop_seq > p->cursor && n->stop_seq != n->remove_seq;
}

static bool in_view(const struct plugin *p, int slot, const struct notified *n)
{
	return p->name && n->stop_seq > p->since && (n->mask >> slot & 1);
}

bool state_is_owed(const struct state *state, const struct notified *n)
{
	for (int i = 0; i < PLUGIN_MAX; i++) {
		const struct plugin *p = &state->plugins[i];

		if (in_view(p, i, n) && (owes_stop(p, n) || n->remove_seq > p->cursor))
			return true;
	}
	return false;
}

void state_clear_slot(struct state *state, int slot)
{
	const uint64_t keep = ~(UINT64_C(1) << slot);
	struct list *const sandboxes[] = { &state->sandboxes, &state->dead_sandboxes };
	struct list *const containers[] = { &state->containers, &state->dead_containers };

	/* PLUGIN_ALL means "whoever is known", also later: only masks that name slots lose one */
	for (size_t i = 0; i < ARRAY_SIZE(sandboxes); i++)
		list_for_each(l, sandboxes[i]) {
			struct notified *n = &list_entry(l, struct sandbox, link)->notified;

			if (n->mask != PLUGIN_ALL)
				n->mask &= keep;
		}
	for (size_t i = 0; i < ARRAY_SIZE(containers); i++)
		list_for_each(l, containers[i]) {
			struct notified *n = &list_entry(l, struct container, link)->notified;

			if (n->mask != PLUGIN_ALL)
				n->mask &= keep;
		}
}

struct owed_list {
	struct owed *items;
	size_t count, cap;
};

static void owed_add(struct owed_list *list, uint64_t seq, enum owed_kind kind, const char *id)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 16;
		list->items = xrealloc(list->items, list->cap, sizeof(*list->items));
	}
	list->items[list->count] = (struct owed){ .seq = seq, .kind = kind };
	memcpy(list->items[list->count].id, id, ID_SIZE);
	list->count++;
}

static void owed_of(struct owed_list *list, const struct plugin *p, int slot,
                    const struct notified *n, const char *id, enum owed_kind stop,
                    enum owed_kind remove)
{
	if (!in_view(p, slot, n))
		return;
	if (owes_stop(p, n))
		owed_add(list, n->stop_seq, stop, id);
	if (n->remove_seq > p->cursor)
		owed_add(list, n->remove_seq, remove, id);
}

static int owed_compare(const void *a, const void *b)
{
	const struct owed *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

size_t state_owed(const struct state *state, int slot, struct owed **ret)
{
	const struct plugin *p = &state->plugins[slot];
	const struct list *const sandboxes[] = { &state->sandboxes, &state->dead_sandboxes };
	const struct list *const containers[] = { &state->containers, &state->dead_containers };
	struct owed_list list = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(containers); i++)
		list_for_each(l, containers[i]) {
			const struct container *c = list_entry(l, struct container, link);

			owed_of(&list, p, slot, &c->notified, c->id, OWED_CONTAINER_STOP,
			        OWED_CONTAINER_REMOVE);
		}
	for (size_t i = 0; i < ARRAY_SIZE(sandboxes); i++)
		list_for_each(l, sandboxes[i]) {
			const struct sandbox *sb = list_entry(l, struct sandbox, link);

			owed_of(&list, p, slot, &sb->notified, sb->id, OWED_SANDBOX_STOP,
			        OWED_SANDBOX_REMOVE);
		}
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), owed_compare);
	*ret = list.items;
	return list.count;
}

/* --- images */

static void name_one(struct state *state, struct image *image, const char *name)
{
	struct image *owner = map_find(&state->image_names, name);

	if (owner && owner != image) {
		char ***lists[] = { &owner->names, &owner->digests };

		for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
			char **v = *lists[k];
			size_t kept = 0;

			for (size_t i = 0; v[i]; i++) {
				if (!streq(v[i], name))
					v[kept++] = v[i];
				else
					free(v[i]);
			}
			v[kept] = NULL;
		}
		owner->version = image->version;
	}
	map_set(&state->image_names, name, image);
}

void state_name_image(struct state *state, struct image *image)
{
	for (size_t i = 0; image->names[i]; i++)
		name_one(state, image, image->names[i]);
	for (size_t i = 0; image->digests[i]; i++)
		name_one(state, image, image->digests[i]);
}

void state_unname_image(struct state *state, struct image *image)
{
	for (size_t i = 0; image->names[i]; i++)
		map_remove(&state->image_names, image->names[i]);
	for (size_t i = 0; image->digests[i]; i++)
		map_remove(&state->image_names, image->digests[i]);
}

void state_add_image(struct state *state, struct image *image)
{
	ensure(map_insert(&state->image_ids, image->id, image));
	list_push_back(&state->images, &image->link);
	state_name_image(state, image);
}

void state_drop_image(struct state *state, struct image *image)
{
	state_unname_image(state, image);
	map_remove(&state->image_ids, image->id);
	list_remove(&image->link);
	image_free(image);
}

bool image_in_use(const struct state *state, const char *image_id)
{
	list_for_each(l, &state->containers)
		if (!strcmp(list_entry(l, struct container, link)->image_id, image_id))
			return true;
	return false;
}

/* --- quarantine */

static struct quarantine *quarantine_find(struct state *state, const char *id)
{
	list_for_each(l, &state->quarantine) {
		struct quarantine *q = list_entry(l, struct quarantine, link);

		if (!strcmp(q->id, id))
			return q;
	}
	return NULL;
}

void state_quarantine(struct state *state, const char *id, uint64_t seq, const char *why)
{
	struct quarantine *q;

	if (id[0] && quarantine_find(state, id))
		return;
	q = xcalloc(1, sizeof(*q));
	if (str_copy(q->id, sizeof(q->id), id) < 0)
		q->id[0] = '\0';
	q->seq = seq;
	q->why = xstrdup(why);
	list_push_back(&state->quarantine, &q->link);
}

bool state_drop_quarantine(struct state *state, const char *id)
{
	struct quarantine *q = id[0] ? quarantine_find(state, id) : NULL;

	if (!q)
		return false;
	list_remove(&q->link);
	free(q->why);
	free(q);
	return true;
}

/* --- look-ups */

const struct sandbox *sandbox_get(const struct state *state, const char *id)
{
	return id ? map_find(&state->sandbox_ids, id) : NULL;
}

const struct container *container_get(const struct state *state, const char *id)
{
	return id ? map_find(&state->container_ids, id) : NULL;
}

const struct image *image_get(const struct state *state, const char *id)
{
	return id ? map_find(&state->image_ids, id) : NULL;
}

const struct sandbox *sandbox_by_key(const struct state *state, const char *key)
{
	return map_find(&state->sandbox_names, key);
}

const struct container *container_by_key(const struct state *state, const char *key)
{
	return map_find(&state->container_names, key);
}

const struct image *image_by_name(const struct state *state, const char *name_or_digest)
{
	return map_find(&state->image_names, name_or_digest);
}

bool sandbox_is_visible(const struct sandbox *sb)
{
	/* a failed creation shows only when its clean-up is stuck: kubelet's Stop and Remove continue it */
	return sb->state == SANDBOX_READY || sb->state == SANDBOX_NOTREADY ||
	       (sb->state == SANDBOX_REMOVING && (!sb->undone || sb->step));
}

bool container_is_visible(const struct container *c)
{
	if (c->hidden || (c->undone && !c->step))
		return false;
	return c->state != CONTAINER_CREATING && c->state != CONTAINER_GONE &&
	       c->state != CONTAINER_INVALID;
}

const struct sandbox *sandbox_find(const struct state *state, const char *id, struct err *err)
{
	const struct sandbox *found = NULL;
	size_t len = strlen(or_empty(id));

	if (!len) {
		err_set(err, CODE_INVALID_ARGUMENT, "pod sandbox id is empty");
		return NULL;
	}
	found = sandbox_get(state, id);
	if (found && sandbox_is_visible(found))
		return found;
	found = NULL;
	list_for_each(l, &state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (!sandbox_is_visible(sb) || strncmp(sb->id, id, len) != 0)
			continue;
		if (found) {
			err_set(err, CODE_INVALID_ARGUMENT,
			        "pod sandbox id prefix \"%.64s\" is ambiguous", id);
			return NULL;
		}
		found = sb;
	}
	if (!found)
		err_set(err, CODE_NOT_FOUND, "pod sandbox \"%.64s\" not found", id);
	return found;
}

const struct container *container_find(const struct state *state, const char *id, struct err *err)
{
	const struct container *found = NULL;
	size_t len = strlen(or_empty(id));

	if (!len) {
		err_set(err, CODE_INVALID_ARGUMENT, "container id is empty");
		return NULL;
	}
	found = container_get(state, id);
	if (found && container_is_visible(found))
		return found;
	found = NULL;
	list_for_each(l, &state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (!container_is_visible(c) || strncmp(c->id, id, len) != 0)
			continue;
		if (found) {
			err_set(err, CODE_INVALID_ARGUMENT,
			        "container id prefix \"%.64s\" is ambiguous", id);
			return NULL;
		}
		found = c;
	}
	if (!found)
		err_set(err, CODE_NOT_FOUND, "container \"%.64s\" not found", id);
	return found;
}

/* --- the whole */

#define VERIFY(cond, ...)                                                                          \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return err_set(err, CODE_INTERNAL, __VA_ARGS__);                           \
	} while (0)

static int verify_notified(const struct state *state, const struct notified *n, const char *id,
                           struct err *err)
{
	VERIFY(n->stop_seq <= state->seq && n->remove_seq <= state->seq,
	       "%s: owed seq from the future", id);
	VERIFY(!n->remove_seq || (n->stop_seq && n->stop_seq <= n->remove_seq),
	       "%s: removed before its stop", id);
	return 0;
}

static int verify_sandboxes(const struct state *state, struct err *err)
{
	size_t live = 0, dead = 0;

	list_for_each(l, &state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		live++;
		VERIFY(sb->state > SANDBOX_INVALID && sb->state < SANDBOX_GONE,
		       "pod %s: state %d on the live list", sb->id, (int)sb->state);
		VERIFY(sandbox_get(state, sb->id) == sb, "pod %s: not in the id index", sb->id);
		VERIFY(sandbox_by_key(state, sb->key) == sb, "pod %s: name %s is not its own",
		       sb->id, sb->key);
		VERIFY(!sb->stopped || !sb->netns_path, "pod %s: stopped, yet pinned", sb->id);
		VERIFY(sb->created_ns <= state->last_created_ns,
		       "pod %s: created after the latest creation", sb->id);
		if (verify_notified(state, &sb->notified, sb->id, err) < 0)
			return -1;
	}
	list_for_each(l, &state->dead_sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		dead++;
		VERIFY(sb->state == SANDBOX_GONE, "pod %s: state %d among tombstones", sb->id,
		       (int)sb->state);
		VERIFY(list_empty(&sb->containers), "pod %s: gone, yet has containers", sb->id);
		VERIFY(state_is_owed(state, &sb->notified), "pod %s: tombstone owed to nobody",
		       sb->id);
		if (verify_notified(state, &sb->notified, sb->id, err) < 0)
			return -1;
	}
	VERIFY(map_count(&state->sandbox_ids) == live + dead, "pod id index holds %zu of %zu",
	       map_count(&state->sandbox_ids), live + dead);
	VERIFY(map_count(&state->sandbox_names) == live, "pod name index holds %zu of %zu",
	       map_count(&state->sandbox_names), live);
	return 0;
}

static int verify_containers(const struct state *state, struct err *err)
{
	size_t live = 0, dead = 0, linked = 0;

	list_for_each(l, &state->sandboxes)
		list_for_each(k, &list_entry(l, struct sandbox, link)->containers) {
			const struct container *c = list_entry(k, struct container, pod_link);

			linked++;
			VERIFY(!strcmp(c->sandbox_id, list_entry(l, struct sandbox, link)->id),
			       "container %s: in another pod's list", c->id);
		}
	list_for_each(l, &state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		live++;
		VERIFY(c->state > CONTAINER_INVALID && c->state < CONTAINER_GONE,
		       "container %s: state %d on the live list", c->id, (int)c->state);
		VERIFY(container_get(state, c->id) == c, "container %s: not in the id index",
		       c->id);
		VERIFY(container_by_key(state, c->key) == c, "container %s: name %s is not its own",
		       c->id, c->key);
		VERIFY(c->exit_code >= 0 && c->exit_code <= 255, "container %s: exit code %d",
		       c->id, c->exit_code);
		VERIFY(c->state != CONTAINER_EXITED ||
		               (c->finished_ns >= c->started_ns && c->finished_ns >= c->created_ns),
		       "container %s: finished before it started", c->id);
		VERIFY(c->state != CONTAINER_EXITED || c->hidden || c->notified.stop_seq,
		       "container %s: exited, owed to nobody", c->id);
		VERIFY(!c->hidden || !c->notified.stop_seq, "container %s: hidden, yet owed",
		       c->id);
		if (verify_notified(state, &c->notified, c->id, err) < 0)
			return -1;
	}
	list_for_each(l, &state->dead_containers) {
		const struct container *c = list_entry(l, struct container, link);

		dead++;
		VERIFY(c->state == CONTAINER_GONE, "container %s: state %d among tombstones", c->id,
		       (int)c->state);
		VERIFY(sandbox_get(state, c->sandbox_id), "container %s: tombstone without its pod",
		       c->id);
		VERIFY(state_is_owed(state, &c->notified), "container %s: tombstone owed to nobody",
		       c->id);
		if (verify_notified(state, &c->notified, c->id, err) < 0)
			return -1;
	}
	VERIFY(linked == live, "pods list %zu of %zu containers", linked, live);
	VERIFY(map_count(&state->container_ids) == live + dead,
	       "container id index holds %zu of %zu", map_count(&state->container_ids),
	       live + dead);
	VERIFY(map_count(&state->container_names) == live, "container name index holds %zu of %zu",
	       map_count(&state->container_names), live);
	return 0;
}

static int verify_images(const struct state *state, struct err *err)
{
	size_t count = 0, names = 0;

	list_for_each(l, &state->images) {
		const struct image *image = list_entry(l, struct image, link);

		count++;
		VERIFY(image_get(state, image->id) == image, "image %s: not in the id index",
		       image->id);
		for (size_t i = 0; image->names[i]; i++, names++)
			VERIFY(image_by_name(state, image->names[i]) == image,
			       "image %s: name %s is not its own", image->id, image->names[i]);
		for (size_t i = 0; image->digests[i]; i++, names++)
			VERIFY(image_by_name(state, image->digests[i]) == image,
			       "image %s: digest %s is not its own", image->id, image->digests[i]);
	}
	VERIFY(map_count(&state->image_ids) == count, "image id index holds %zu of %zu",
	       map_count(&state->image_ids), count);
	VERIFY(map_count(&state->image_names) == names, "image name index holds %zu of %zu",
	       map_count(&state->image_names), names);
	return 0;
}

int state_verify(const struct state *state, struct err *err)
{
	for (size_t i = 0; i < PLUGIN_MAX; i++) {
		const struct plugin *p = &state->plugins[i];

		VERIFY(!p->name || (p->since <= p->cursor && p->cursor <= state->seq),
		       "plugin %s: cursor out of range", or_empty(p->name));
	}
	if (verify_sandboxes(state, err) < 0 || verify_containers(state, err) < 0 ||
	    verify_images(state, err) < 0)
		return -1;
	return 0;
}

static int out_of_memory(const char *what, struct err *err)
{
	return err_set(err, CODE_RESOURCE_EXHAUSTED, "snapshot: %s is too large", what);
}

static int emit_sandboxes(const struct state *state, const struct list *head, state_emit_fn emit,
                          void *arg, struct err *err)
{
	list_for_each(l, head) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);
		rec_Sandbox msg;

		pb_arena_reset(state->arena);
		if (sandbox_to_pb(sb, state->arena, &msg) < 0)
			return out_of_memory(sb->id, err);
		if (emit(arg, RECORD_SNAP_SANDBOX, rec_Sandbox_fields, &msg, err) < 0)
			return -1;
	}
	return 0;
}

static int emit_containers(const struct state *state, const struct list *head, state_emit_fn emit,
                           void *arg, struct err *err)
{
	list_for_each(l, head) {
		const struct container *c = list_entry(l, struct container, link);
		rec_Container msg;

		pb_arena_reset(state->arena);
		if (container_to_pb(c, state->arena, &msg) < 0)
			return out_of_memory(c->id, err);
		if (emit(arg, RECORD_SNAP_CONTAINER, rec_Container_fields, &msg, err) < 0)
			return -1;
	}
	return 0;
}

static int emit_meta(const struct state *state, state_emit_fn emit, void *arg, struct err *err)
{
	rec_SnapMeta meta = {
		.seq = state->seq,
		.last_created_ns = state->last_created_ns,
		.pod_cidr = state->pod_cidr,
		.boot_seq = state->boot.seq,
		.has_boot = true,
		.boot = { .dev = state->boot.dev,
		          .ino = state->boot.ino,
		          .version = state->boot.version },
	};

	pb_arena_reset(state->arena);
	meta.boot.machine_id = pb_arena_bytes(state->arena, state->boot.machine_id,
	                                      sizeof(state->boot.machine_id));
	meta.boot.boot_id =
		pb_arena_bytes(state->arena, state->boot.boot_id, sizeof(state->boot.boot_id));
	return emit(arg, RECORD_SNAP_META, rec_SnapMeta_fields, &meta, err);
}

int state_emit(const struct state *state, state_emit_fn emit, void *arg, struct err *err)
{
	if (emit_meta(state, emit, arg, err) < 0)
		return -1;
	for (uint32_t i = 0; i < PLUGIN_MAX; i++) {
		const struct plugin *p = &state->plugins[i];
		const rec_Plugin msg = { .name = p->name,
			                 .preinstalled = p->preinstalled,
			                 .since = p->since,
			                 .cursor = p->cursor,
			                 .last_seen_ns = p->last_seen_ns,
			                 .slot = i };

		if (p->name && emit(arg, RECORD_SNAP_PLUGIN, rec_Plugin_fields, &msg, err) < 0)
			return -1;
	}
	list_for_each(l, &state->images) {
		rec_Image msg;

		image_to_pb(list_entry(l, struct image, link), &msg);
		if (emit(arg, RECORD_SNAP_IMAGE, rec_Image_fields, &msg, err) < 0)
			return -1;
	}
	/* pods before the containers that name them */
	if (emit_sandboxes(state, &state->sandboxes, emit, arg, err) < 0 ||
	    emit_sandboxes(state, &state->dead_sandboxes, emit, arg, err) < 0 ||
	    emit_containers(state, &state->containers, emit, arg, err) < 0 ||
	    emit_containers(state, &state->dead_containers, emit, arg, err) < 0)
		return -1;
	list_for_each(l, &state->quarantine) {
		const struct quarantine *q = list_entry(l, struct quarantine, link);
		const rec_Quarantine msg = { .id = (char *)q->id, .seq = q->seq, .why = q->why };

		if (emit(arg, RECORD_SNAP_QUARANTINE, rec_Quarantine_fields, &msg, err) < 0)
			return -1;
	}
	return 0;
}
