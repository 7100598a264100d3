/* core/life/image_read.c
 *
 * What is told of images from disk: short reads of our own files, done by workers.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/image/image_job.h"
#include "core/image/usage.h"
#include "core/life/life_internal.h"

struct config_job {
	struct worker_job job;
	char *root, *id;
	char *text;
	size_t len;
	struct err err;
	life_text_fn fn;
	void *arg;
};

static void config_read(struct worker_job *job)
{
	struct config_job *cj = container_of(job, struct config_job, job);

	ignore(image_config_read(cj->root, cj->id, &cj->text, &cj->len, &cj->err)); /* err tells */
}

static void config_done(struct worker_job *job)
{
	struct config_job *cj = container_of(job, struct config_job, job);

	cj->fn(cj->arg, cj->text, cj->len, cj->err.code == CODE_OK ? NULL : &cj->err);
	free(cj->root);
	free(cj->id);
	free(cj->text);
	free(cj);
}

void life_image_config(struct life *life, const char *image_id, life_text_fn fn, void *arg)
{
	struct config_job *cj = xcalloc(1, sizeof(*cj));

	cj->root = xstrdup(life->root);
	cj->id = xstrdup(image_id);
	cj->fn = fn;
	cj->arg = arg;
	cj->job.name = "image config";
	cj->job.run = config_read;
	cj->job.done = config_done;
	worker_submit(life->args.worker, &cj->job);
}

struct usage_job {
	struct worker_job job;
	char *root;
	struct usage usage;
	int rc;
	life_usage_fn fn;
	void *arg;
};

static void usage_read(struct worker_job *job)
{
	struct usage_job *uj = container_of(job, struct usage_job, job);

	uj->rc = usage_layers(uj->root, &uj->usage);
}

static void usage_done(struct worker_job *job)
{
	struct usage_job *uj = container_of(job, struct usage_job, job);
	struct err err = { 0 };

	if (uj->rc < 0)
		err_sys(&err, -uj->rc, "%s/layers", uj->root);
	uj->fn(uj->arg, uj->usage.bytes, uj->usage.inodes, uj->rc < 0 ? &err : NULL);
	free(uj->root);
	free(uj);
}

void life_image_usage(struct life *life, life_usage_fn fn, void *arg)
{
	struct usage_job *uj = xcalloc(1, sizeof(*uj));

	uj->root = xstrdup(life->root);
	uj->fn = fn;
	uj->arg = arg;
	uj->job.name = "image disk usage";
	uj->job.run = usage_read;
	uj->job.done = usage_done;
	worker_submit(life->args.worker, &uj->job);
}
