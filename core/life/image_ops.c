/* core/life/image_ops.c
 *
 * Images come (import, pull) and go. A pull process unpacks; image_job makes its layers durable; then IMAGE_ADDED goes on record.
 * Removal is the other way round: IMAGE_REMOVED on record, then the layers that nobody else has are renamed into trash/, here
 * on the loop so that no pull can see half of it, and deleted there by a child.
 *
 * An image that containers use is only un-named: nobody sees it any more, its layers stay until the last container is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/image_job.h"
#include "core/image/overlay.h"
#include "core/image/ref.h"
#include "core/image/store.h"
#include "core/life/life_internal.h"
#include "core/run/mount.h"

/* What no unpacking may take: journal, spool and logs of everybody else live on the same disk. */
#define FREE_RESERVE_BYTES  (64u << 20)
#define FREE_RESERVE_INODES 1024

static const char *hex_of(const char *digest)
{
	const char *colon = strchr(digest, ':');

	return colon ? colon + 1 : digest;
}

static bool is_listed(const struct image *image)
{
	return image->names[0] || image->digests[0];
}

const struct image *life_image_find(const struct state *state, const char *ref, struct err *err)
{
	const struct image *image = store_resolve(&state->images, ref, err);

	if (image && !is_listed(image)) {
		err_set(err, CODE_NOT_FOUND, "image \"%s\" not found", ref);
		return NULL;
	}
	return image;
}

/* --- add: import and pull */

struct image_add {
	struct op op;
	struct list link; /* life->image_jobs */
	struct image_job *job;
	struct pull_request request;
	int input_fd;
	char **pins; /* strv of layer keys that must stay */
	void (*progress)(void *arg, const struct pull_progress *progress);
	void *progress_arg;
	char *image_id; /* of the last image */
};

static struct image_add *add_of(struct op *op)
{
	return container_of(op, struct image_add, op);
}

static void add_free(struct op *op)
{
	struct image_add *ia = add_of(op);

	if (list_linked(&ia->link))
		list_remove(&ia->link);
	if (ia->input_fd >= 0)
		close(ia->input_fd);
	pull_request_release(&ia->request);
	strv_free(ia->pins);
	free(ia->image_id);
	free(ia);
}

static void job_progress(void *arg, const struct pull_progress *progress)
{
	struct image_add *ia = add_of(arg);

	if (ia->progress)
		ia->progress(ia->progress_arg, progress);
}

static bool job_pin(void *arg, const char *key)
{
	struct image_add *ia = add_of(arg);
	cleanup_free char *path = xasprintf("%s/layers/%s/meta", ia->op.life->root, hex_of(key));
	size_t n = strv_len(ia->pins);

	if (!fsx_exists(path))
		return false;
	ia->pins = xrealloc(ia->pins, n + 2, sizeof(*ia->pins));
	ia->pins[n] = xstrdup(key);
	ia->pins[n + 1] = NULL;
	return true;
}

static char **strv_union(char *const *a, char *const *b)
{
	char **all = xcalloc(strv_len(a) + strv_len(b) + 1, sizeof(*all));
	size_t n = 0;

	for (; a && *a; a++)
		all[n++] = xstrdup(*a);
	for (; b && *b; b++) {
		size_t i = 0;

		while (i < n && !streq(all[i], *b))
			i++;
		if (i == n)
			all[n++] = xstrdup(*b);
	}
	return all;
}

/* An image that was there keeps the names it has; the fold takes these names from whoever else had them. */
static uint64_t append_image(struct life *life, const struct pull_result *result, struct err *err)
{
	const struct image *old = image_get(life->state, result->id);
	cleanup(strv_free) char **names = strv_union(old ? old->names : NULL, result->names);
	cleanup(strv_free) char **digests = strv_union(old ? old->digests : NULL, result->digests);
	cleanup_free char **layers = xcalloc(result->nlayers + 1, sizeof(*layers));
	rec_Image msg;

	for (size_t i = 0; i < result->nlayers; i++)
		layers[i] = result->layers[i].key;
	msg = (rec_Image){
		.id = result->id,
		.names = names,
		.names_count = (pb_size_t)strv_len(names),
		.digests = digests,
		.digests_count = (pb_size_t)strv_len(digests),
		.layers = layers,
		.layers_count = (pb_size_t)result->nlayers,
		.user = result->user,
		.size_bytes = result->size_bytes,
		.created_ns = clock_real_ns(),
	};
	return journal_append(life->journal, RECORD_IMAGE_ADDED, RECORD_SYNCED, &msg, err);
}

static void job_done(void *arg, const struct err *err, const struct pull_result *results,
                     size_t nresults)
{
	struct op *op = arg;
	struct image_add *ia = add_of(op);
	uint64_t seq = 0;

	ia->job = NULL;
	if (err) {
		op_step_done(op, err);
		return;
	}
	for (size_t i = 0; i < nresults; i++) {
		seq = append_image(op->life, &results[i], op_err(op));
		if (!seq) {
			op_resume(op, STEP_FAIL);
			return;
		}
		free(ia->image_id);
		ia->image_id = xstrdup(results[i].id);
	}
	if (!seq) {
		op_resume(op, STEP_DONE);
		return;
	}
	op->busy = false;
	op_wait_seq(op, seq);
}

static enum step job_run(struct op *op)
{
	static const struct image_job_ops ops = { .progress = job_progress,
		                                  .pin = job_pin,
		                                  .done = job_done };
	struct image_add *ia = add_of(op);
	struct life *life = op->life;
	struct image_job_args args = {
		.loop = life->loop,
		.root = life->root,
		.request = &ia->request,
		.input_fd = ia->input_fd,
		.oplock_fd = -1,
		.cgroup_fd = -1,
		.envp = life->args.pull_env,
		.ops = &ops,
		.arg = op,
	};

	if (ia->job) {
		/* run again because the client went away */
		if (op->cancelled)
			image_job_cancel(ia->job);
		return STEP_WAIT;
	}
	if (op->cancelled)
		return op_fail(op, CODE_CANCELLED, "%s: cancelled by the client", op->name);
	list_push_back(&life->image_jobs, &ia->link);
	ia->job = image_job_new(&args, op_err(op));
	if (!ia->job)
		return STEP_FAIL;
	op->wakes_on_cancel = true;
	return op_busy(op);
}

static enum step answer_run(struct op *op)
{
	op->answer = add_of(op)->image_id;
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step add_steps[] = {
	{ "unpack", job_run,    NULL },
	{ "answer", answer_run, NULL },
};
/* clang-format on */

static struct image_add *add_new(const char *name)
{
	struct image_add *ia = xcalloc(1, sizeof(*ia));

	ia->op.name = name;
	ia->op.steps = add_steps;
	ia->op.nsteps = ARRAY_SIZE(add_steps);
	ia->op.free_fn = add_free;
	ia->input_fd = -1;
	ia->request.free_bytes = FREE_RESERVE_BYTES;
	ia->request.free_inodes = FREE_RESERVE_INODES;
	list_init(&ia->link);
	return ia;
}

void life_image_import(struct life *life, const struct life_import *import, struct life_wait *wait)
{
	struct image_add *ia = add_new("ImportImage");
	struct err err = { 0 };

	ia->op.life = life;
	ia->input_fd = fcntl(import->input_fd, F_DUPFD_CLOEXEC, 0);
	if (ia->input_fd < 0) {
		err_sys(&err, errno, "archive");
		add_free(&ia->op);
		life_answer(wait, life, NULL, &err);
		return;
	}
	ia->request.import = true;
	ia->request.name = xstrdup(import->name);
	ia->progress = import->progress;
	ia->progress_arg = import->arg;
	op_start(life, &ia->op);
	life_wait_op(wait, life, &ia->op);
}

/* Two clients that ask for the same thing share one pull: same reference, same credentials and hosts (D7 for images). */
static struct image_add *find_pull(struct life *life, const struct life_pull *pull,
                                   const char *name)
{
	list_for_each(l, &life->image_jobs) {
		struct image_add *ia = list_entry(l, struct image_add, link);

		if (!ia->request.import && !ia->op.cancelled && streq(ia->request.name, name) &&
		    streq(ia->request.registry, pull->registry))
			return ia;
	}
	return NULL;
}

void life_image_pull(struct life *life, const struct life_pull *pull, struct life_wait *wait)
{
	cleanup_free char *name = NULL;
	struct err err = { 0 };
	struct image_add *ia;

	if (ref_canonical(str_of(pull->name), &name, &err) < 0) {
		life_answer(wait, life, NULL, &err);
		return;
	}
	ia = find_pull(life, pull, name);
	if (!ia) {
		ia = add_new("PullImage");
		ia->request.name = take_ptr(name);
		ia->request.registry = xstrdup(pull->registry);
		ia->progress = pull->progress;
		ia->progress_arg = pull->arg;
		op_start(life, &ia->op);
	}
	life_wait_op(wait, life, &ia->op);
}

void life_image_progress_drop(struct life *life, void *arg)
{
	list_for_each(l, &life->image_jobs) {
		struct image_add *ia = list_entry(l, struct image_add, link);

		if (ia->progress_arg == arg)
			ia->progress = NULL;
	}
}

/* --- remove */

static bool is_pinned(const struct life *life, const char *key)
{
	list_for_each(l, &life->image_jobs)
		for (char **p = list_entry(l, struct image_add, link)->pins; p && *p; p++)
			if (!strcmp(*p, key))
				return true;
	return false;
}

/* Move <root>/<kind>/<hex> away. Our own directory on our own disk: a rename. */
static bool trash(struct life *life, const char *kind, const char *hex)
{
	cleanup_free char *from = xasprintf("%s/%s/%s", life->root, kind, hex);
	cleanup_free char *to = xasprintf("%s/trash/%s.%llu", life->root, hex,
	                                  (unsigned long long)++life->op_serial);

	if (rename(from, to) == 0)
		return true;
	if (errno != ENOENT)
		log_warn(NULL, "%s: cannot be moved to trash: %s", from, strerror(errno));
	return false;
}

static size_t trash_layers(struct life *life, char *const *layers)
{
	size_t n = 0;

	for (; layers && *layers; layers++)
		if (!store_layer_used(&life->state->images, *layers, NULL) &&
		    !is_pinned(life, *layers))
			n += trash(life, "layers", hex_of(*layers));
	return n;
}

struct trash_op {
	struct op op;
	char **layers; /* strv; NULL: whatever lies in trash/ */
	char *image_id;
};

static void trash_free(struct op *op)
{
	struct trash_op *to = container_of(op, struct trash_op, op);

	strv_free(to->layers);
	free(to->image_id);
	free(to);
}

static enum step trash_rename_run(struct op *op)
{
	struct trash_op *to = container_of(op, struct trash_op, op);
	cleanup_free char *dir = xasprintf("%s/trash", op->life->root);

	ignore(fsx_mkdir_p(dir, 0700)); /* the renames tell */
	trash_layers(op->life, to->layers);
	if (to->image_id && !image_get(op->life->state, to->image_id))
		trash(op->life, "images", hex_of(to->image_id));
	return STEP_DONE;
}

static enum step trash_delete_run(struct op *op)
{
	cleanup_free char *dir = xasprintf("%s/trash", op->life->root);
	cleanup(strv_free) char **names = NULL;
	cleanup_free struct mount_op *ops = NULL;
	size_t n;

	/* what is in it, not the directory itself: on a full disk it could not be made again, and removals are what frees one */
	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		names = NULL;
	n = strv_len(names);
	if (!names || !n)
		return STEP_DONE;
	ops = xcalloc(n, sizeof(*ops));
	for (size_t i = 0; i < n; i++) {
		char *path = xasprintf("%s/%s", dir, names[i]);

		free(names[i]);
		names[i] = path;
		ops[i] = (struct mount_op){ .kind = MOUNT_REMOVE_TREE, .target = path };
	}
	if (mount_run(op->life->loop, ops, n, -1, 10 * CLEANUP_TIMEOUT_MS, op_step_done, op,
	              op_err(op)) < 0)
		return STEP_FAIL;
	return op_busy(op);
}

static enum step trash_turn_run(struct op *op)
{
	return op_take_turn(op, "trash", true);
}

/* clang-format off */
static const struct op_step trash_steps[] = {
	{ "turn",   trash_turn_run,   NULL },
	{ "rename", trash_rename_run, NULL },
	{ "delete", trash_delete_run, NULL },
};
/* clang-format on */

static void trash_start(struct life *life, const struct image *image, char **layers)
{
	struct trash_op *to = xcalloc(1, sizeof(*to));

	to->layers = layers ? layers : image ? strv_dup(image->layers) : NULL;
	to->image_id = image ? xstrdup(image->id) : NULL;
	to->op.name = "DeleteLayers";
	to->op.steps = trash_steps;
	to->op.nsteps = ARRAY_SIZE(trash_steps);
	to->op.free_fn = trash_free;
	op_start(life, &to->op);
}

struct image_remove_op {
	struct op op;
	char *image_id;
	char **layers; /* of the image, while it is still known */
};

static struct image_remove_op *remove_of(struct op *op)
{
	return container_of(op, struct image_remove_op, op);
}

static void image_remove_free_op(struct op *op)
{
	strv_free(remove_of(op)->layers);
	free(remove_of(op)->image_id);
	free(remove_of(op));
}

static enum step image_turn_run(struct op *op)
{
	return op_take_turn(op, "images", true);
}

static enum step image_record_run(struct op *op)
{
	struct image_remove_op *ir = remove_of(op);
	const struct image *image = image_get(op->life->state, ir->image_id);
	const rec_Ref ref = { .id = ir->image_id };
	const rec_ImageNamed unnamed = { .id = ir->image_id };

	if (!image)
		return STEP_DONE;
	if (image_in_use(op->life->state, image->id))
		return is_listed(image) ? op_record(op, RECORD_IMAGE_NAMED, &unnamed) : STEP_DONE;
	ir->layers = strv_dup(image->layers);
	return op_record(op, RECORD_IMAGE_REMOVED, &ref);
}

static enum step image_trash_run(struct op *op)
{
	struct image_remove_op *ir = remove_of(op);
	const struct image gone = { .id = ir->image_id, .layers = ir->layers };

	if (ir->layers)
		trash_start(op->life, &gone, NULL);
	return STEP_DONE;
}

/* clang-format off */
static const struct op_step remove_steps[] = {
	{ "turn",   image_turn_run,   NULL },
	{ "record", image_record_run, NULL },
	{ "trash",  image_trash_run,  NULL },
};
/* clang-format on */

static struct op *image_remove_new_op(const struct image *image)
{
	struct image_remove_op *ir = xcalloc(1, sizeof(*ir));

	ir->image_id = xstrdup(image->id);
	ir->op.name = "RemoveImage";
	ir->op.steps = remove_steps;
	ir->op.nsteps = ARRAY_SIZE(remove_steps);
	ir->op.free_fn = image_remove_free_op;
	ignore(str_copy(ir->op.id, ID_SIZE, hex_of(image->id))); /* 64 hex characters */
	return &ir->op;
}

void life_image_remove(struct life *life, const char *ref, struct life_wait *wait)
{
	struct err err = { 0 };
	const struct image *image = life_image_find(life->state, ref, &err);
	struct op *op;

	if (!image) {
		life_answer(wait, life, "", err_is(&err, CODE_NOT_FOUND) ? NULL : &err);
		return;
	}
	op = image_remove_new_op(image);
	op_start(life, op);
	life_wait_op(wait, life, op);
}

void life_image_unused(struct life *life, const char *image_id)
{
	const struct image *image = image_get(life->state, image_id);

	if (image && !is_listed(image) && !image_in_use(life->state, image_id))
		op_start(life, image_remove_new_op(image));
}

/* --- what a start finds */

static void trash_all(struct life *life, const char *kind,
                      bool (*is_wanted)(const struct life *life, const char *name))
{
	cleanup_free char *dir = xasprintf("%s/%s", life->root, kind);
	cleanup(strv_free) char **names = NULL;

	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return;
	for (char **name = names; *name; name++)
		if (!is_wanted || !is_wanted(life, *name))
			trash(life, kind, *name);
}

static bool is_image(const struct life *life, const char *hex)
{
	cleanup_free char *id = xasprintf("sha256:%s", hex);

	return image_get(life->state, id) != NULL;
}

size_t images_sweep(struct life *life, bool act)
{
	cleanup_free char *layers_dir = xasprintf("%s/layers", life->root);
	cleanup(strv_free) char **names = NULL;
	size_t found = 0;
	char **orphans = xcalloc(1, sizeof(*orphans));

	if (fsx_list(AT_FDCWD, layers_dir, &names) < 0)
		names = NULL;
	for (size_t i = 0; names && names[i]; i++) {
		char *key = xasprintf("sha256:%s", names[i]);

		if (store_layer_used(&life->state->images, key, NULL)) {
			free(key);
			continue;
		}
		orphans = xrealloc(orphans, found + 2, sizeof(*orphans));
		orphans[found++] = key;
		orphans[found] = NULL;
	}
	if (!act) {
		strv_free(orphans);
		return found;
	}
	/* Away before anybody may pull: what is in staging/ now is of an earlier daemon's pulls. */
	trash_all(life, "images", is_image);
	trash_all(life, "staging", NULL);
	trash_start(life, NULL, orphans);
	list_for_each(l, &life->state->images)
		life_image_unused(life, list_entry(l, struct image, link)->id);
	return found;
}
