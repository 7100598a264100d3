#include "tests/lib/fake_image.h"

#include <fcntl.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/image/image_job.h"
#include "core/image/overlay.h"
#include "tests/lib/fake_world.h"

/* --- root file systems */

struct overlay_plan {
	struct world *world;
	char id[ID_SIZE];
	char target[256];
	char *snapshot;
	char **layers;
};

struct overlay_plan *overlay_plan_new(const struct overlay_args *args, struct err *err UNUSED)
{
	struct overlay_plan *plan = xcalloc(1, sizeof(*plan));

	plan->world = world_current();
	ensure(str_copy(plan->id, sizeof(plan->id), args->id) == 0);
	ensure(str_copy(plan->target, sizeof(plan->target), args->target) == 0);
	plan->snapshot = xasprintf("%s/snapshots/%s/upper", args->root, args->id);
	plan->layers = strv_dup(args->layers);
	return plan;
}

void overlay_plan_free(struct overlay_plan *plan)
{
	if (!plan)
		return;
	free(plan->snapshot);
	strv_free(plan->layers);
	free(plan);
}

int overlay_mount_child(void *arg)
{
	struct overlay_plan *plan = arg;

	for (char **key = plan->layers; key && *key; key++) {
		cleanup_free char *layer =
			xasprintf("%s/layers/%s/meta", plan->world->root, *key + strlen("sha256:"));

		if (!fsx_exists(layer))
			return 1;
	}
	ensure(fsx_mkdir_p(plan->snapshot, 0700) == 0);
	world_mount(plan->world, plan->target);
	return 0;
}

bool fake_overlay_plan_copy(const struct child_args *args, void **ret_copy, char ret_id[ID_SIZE])
{
	const struct overlay_plan *plan = args->fn_arg;
	struct overlay_plan *copy;

	if (args->fn != overlay_mount_child)
		return false;
	copy = xmemdup(plan, sizeof(*plan));
	copy->snapshot = xstrdup(plan->snapshot);
	copy->layers = strv_dup(plan->layers);
	memcpy(ret_id, plan->id, ID_SIZE);
	*ret_copy = copy;
	return true;
}

void fake_overlay_plan_release(void *copy)
{
	overlay_plan_free(copy);
}

/* usage.c wants it; nothing here has a size. */
int layer_meta_parse(const char *text UNUSED, size_t len UNUSED, struct layer_meta *ret)
{
	*ret = (struct layer_meta){ 0 };
	return 0;
}

/* --- images */

static void digest_of(const char *prefix, const char *name, char ret[80])
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, prefix, strlen(prefix));
	sha256_update(&ctx, name, strlen(name));
	sha256_final(&ctx, digest);
	memcpy(ret, "sha256:", 7);
	hex_encode(digest, sizeof(digest), ret + 7);
}

void fake_image_id(const char *name, char ret_id[80])
{
	digest_of("image ", name, ret_id);
}

void fake_image_layer(const char *name, char ret_key[80])
{
	digest_of("layer ", name, ret_key);
}

struct image_job {
	struct world_job job;
	struct image_job_args args;
	const struct image_job_ops *ops;
	void *arg;
	char *name, *root;
	bool cancelled;
};

static struct image_job *image_job_of(struct world_job *job)
{
	return container_of(job, struct image_job, job);
}

static void image_release(struct world_job *job)
{
	free(image_job_of(job)->name);
	free(image_job_of(job)->root);
	free(image_job_of(job));
}

static void store(const char *root, const char *kind, const char *key, const char *file)
{
	cleanup_free char *dir = xasprintf("%s/%s/%s", root, kind, key + strlen("sha256:"));
	cleanup_free char *path = xasprintf("%s/%s", dir, file);

	ensure(fsx_mkdir_p(dir, 0700) == 0);
	ensure(fsx_write(AT_FDCWD, path, "{}", 2, 0600) == 0);
}

static void act_image(struct world_job *job)
{
	const struct image_job *ij = image_job_of(job);
	char id[80], own[80], base[80];

	fake_image_id(ij->name, id);
	fake_image_layer(ij->name, own);
	fake_image_layer("base", base);
	store(ij->root, "layers", base, "meta");
	store(ij->root, "layers", own, "meta");
	store(ij->root, "images", id, "config.json");
}

static void image_tell(struct world_job *job, const struct err *err)
{
	struct image_job *ij = image_job_of(job);
	char id[80], own[80], base[80];
	char *names[] = { ij->name, NULL };
	struct pull_layer layers[2];
	struct pull_result result;

	if (err) {
		ij->ops->done(ij->arg, err, NULL, 0);
		return;
	}
	fake_image_id(ij->name, id);
	fake_image_layer(ij->name, own);
	fake_image_layer("base", base);
	memset(layers, 0, sizeof(layers));
	layers[0].key = base;
	layers[1].key = own;
	result = (struct pull_result){ .id = id,
		                       .names = names,
		                       .user = (char *)"",
		                       .layers = layers,
		                       .nlayers = 2,
		                       .size_bytes = 7 };
	ij->ops->done(ij->arg, NULL, &result, 1);
}

struct image_job *image_job_new(const struct image_job_args *args, struct err *err)
{
	struct image_job *ij;
	char id[80];

	if (world_is_stopped(world_current())) {
		err_set(err, CODE_UNAVAILABLE, "dead");
		return NULL;
	}
	ij = xcalloc(1, sizeof(*ij));
	ij->job.kind = WORLD_IMAGE;
	fake_image_id(args->request->name, id);
	memcpy(ij->job.id, id + 7, ID_SIZE);
	ij->job.act = act_image;
	ij->job.tell = image_tell;
	ij->job.release = image_release;
	ij->ops = args->ops;
	ij->arg = args->arg;
	ij->name = xstrdup(args->request->name);
	ij->root = xstrdup(args->root);
	world_ask(world_current(), &ij->job, args->oplock_fd);
	return ij;
}

bool fake_image_pin(const char *key)
{
	list_for_each(l, &world_current()->jobs) {
		struct world_job *job = list_entry(l, struct world_job, link);

		if (job->kind == WORLD_IMAGE)
			return image_job_of(job)->ops->pin(image_job_of(job)->arg, key);
	}
	return false;
}

void image_job_cancel(struct image_job *job)
{
	if (job->job.acted)
		return; /* its commit has begun */
	job->job.acted = true;
	job->job.mode = WORLD_WORKS;
	err_set(&job->job.err, CODE_CANCELLED, "cancelled");
	loop_timer_arm_in(job->job.world->loop, &job->job.timer, 0);
}

int image_config_read(const char *root, const char *id, char **ret_text, size_t *ret_len,
                      struct err *err)
{
	cleanup_free char *path =
		xasprintf("%s/images/%s/config.json", root, id + strlen("sha256:"));
	int rc = fsx_read(AT_FDCWD, path, 1 << 20, ret_text, ret_len);

	return rc < 0 ? err_sys(err, -rc, "%s", path) : 0;
}
