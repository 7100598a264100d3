/* core/image/image_job.h
 *
 * The daemon's side of one pull or import: spawns `coracle pull`, answers its questions, passes progress on, and when it has
 * delivered its images makes them durable (a child: one syncfs, staged layers renamed into place, documents written) before
 * the owner hears of them. So the journal record that the owner writes then follows durable layers.
 *
 *   <root>/staging/<job id>/	 one job: <slot>/{fs,meta}, spool/
 *   <root>/layers/<64 hex>/	 a committed layer: fs/, meta
 *   <root>/images/<64 hex>/	 manifest and config of an image, by config digest
 *
 * Thread: loop only. A job owns its staging directory and removes it (in a child) when it ends, however it ends; what a dead
 * daemon left is removed by image_staging_sweep().
 */
#ifndef CORACLE_CORE_IMAGE_IMAGE_JOB_H
#define CORACLE_CORE_IMAGE_IMAGE_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/pull_proto.h"
#include "core/loop/loop.h"

struct image_job;

struct image_job_ops {
	/* May be called often. */
	void (*progress)(void *arg, const struct pull_progress *progress);
	/* Is the layer @key committed? If so it must stay until the job has ended. */
	bool (*pin)(void *arg, const char *key);
	/* Once, last: the job is freed afterwards. @err NULL: @results are durable under <root> and may be journaled.
	 * Layers of a failed job that were committed nevertheless are orphans of <root>/layers, found by the owner's sweep. */
	void (*done)(void *arg, const struct err *err, const struct pull_result *results,
	             size_t nresults);
};

struct image_job_args {
	struct loop *loop;
	const char
		*root; /* absolute; staging, layers and images below it exist (image_dirs_create) */
	const struct pull_request *request;
	int input_fd;  /* import: the archive, borrowed for the time of image_job_new(); -1 else */
	int oplock_fd; /* -1, or inherited by the children of this job */
	int cgroup_fd; /* -1, or as in struct child_args */
	char *const *envp;      /* proxies for a registry pull; NULL: none */
	int64_t no_progress_ms; /* the job fails when it says nothing for so long; 0: 300 s */
	const struct image_job_ops *ops;
	void *arg;
};

/* NULL and err set when nothing was started (done will not be called). */
NODISCARD struct image_job *image_job_new(const struct image_job_args *args, struct err *err);
/* Ends it: done is called later with CANCELLED, unless the commit has begun already (then it completes). */
void image_job_cancel(struct image_job *job);
const char *image_job_id(const struct image_job *job);

/* mkdir of staging, layers, images, snapshots (0700). Blocking, start-up only. */
NODISCARD int image_dirs_create(const char *root, struct err *err);

/*
 * image_remove - prepared by the parent, run by a child: rename the given layers and image documents into <root>/trash, then
 * delete them there. Missing ones are fine. Call only after IMAGE_REMOVED is durable and nothing uses the layers.
 */
struct image_remove;
NODISCARD struct image_remove *image_remove_new(const char *root, const char *const *ids,
                                                size_t nids, const char *const *keys, size_t nkeys,
                                                struct err *err);
int image_remove_child(void *arg); /* the struct image_remove */
void image_remove_free(struct image_remove *remove);

/* image_config_read - <root>/images/<id>/config.json, verified against the id; blocking (worker). Heap. */
NODISCARD int image_config_read(const char *root, const char *id, char **ret_text, size_t *ret_len,
                                struct err *err);
NODISCARD int image_manifest_read(const char *root, const char *id, char **ret_text,
                                  size_t *ret_len, struct err *err);

#endif
