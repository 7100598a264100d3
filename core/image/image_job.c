/* core/image/image_job.c
 *
 *	PULLING --DONE, exit 0--> COMMITTING --child done--> done() --> CLEANING --child done--> freed
 *	   |  any error, cancel, silence ----------------->    ^
 *
 * Two things end PULLING, in either order: the socket's end (all frames were read) and the child's exit.
 */
#include "core/image/image_job.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/image/blob.h"
#include "core/image/tree.h"
#include "core/loop/child.h"
#include "core/loop/stream.h"

#define JOB_ID_LEN         16
#define NO_PROGRESS_MS     (300 * 1000)
#define COMMIT_TIMEOUT_MS  (1800 * 1000) /* one syncfs of a slow disk */
#define CLEANUP_TIMEOUT_MS (600 * 1000)
#define STREAM_IN_MAX      (PULL_FRAME_HEAD + PULL_FRAME_MAX)
#define STREAM_OUT_MAX     (2 * 1024 * 1024)

enum phase {
	PULLING,
	COMMITTING,
	CLEANING,
};

/* What the commit child does; all of it is prepared before the fork. */
struct commit_layer {
	char slot[16];
	const char *hex; /* of the key */
};

struct commit {
	char *staging; /* <root>/staging/<job> */
	char *layers_dir, *images_dir;
	struct commit_layer *layers;
	size_t nlayers;
	const struct pull_result *results;
	size_t nresults;
};

struct image_job {
	struct image_job_args args;
	char *root, *staging;
	char id[JOB_ID_LEN + 1];
	enum phase phase;
	bool told; /* done() has been called */
	bool cancelled;
	bool saw_done, saw_end, exited;
	struct err err; /* the first reason to fail */
	struct err
		exit_err; /* what the exit status says; counts only when nothing better is known */
	struct child *child;
	struct child_args child_args; /* of the running one, for child_check() */
	char *argv[5];
	struct stream *stream;
	struct loop_timer silence;
	struct pull_result *results;
	size_t nresults;
	struct commit commit;
};

static void job_free(struct image_job *job)
{
	loop_timer_disarm(job->args.loop, &job->silence);
	if (job->stream)
		stream_free(job->stream);
	for (size_t i = 0; i < job->nresults; i++)
		pull_result_release(&job->results[i]);
	free(job->results);
	free(job->commit.layers);
	free(job->commit.layers_dir);
	free(job->commit.images_dir);
	for (size_t i = 0; i < ARRAY_SIZE(job->argv); i++)
		free(job->argv[i]);
	free(job->root);
	free(job->staging);
	free(job);
}

static void job_fail(struct image_job *job, const struct err *err)
{
	if (job->err.code == CODE_OK)
		job->err = *err;
}

const char *image_job_id(const struct image_job *job)
{
	return job->id;
}

/* --- clean-up: the staging directory goes, whatever happened */

static int cleanup_child(void *arg)
{
	const struct image_job *job = arg;
	const char *slash = strrchr(job->staging, '/');
	cleanup_close int dir = -1;
	char parent[4096];
	int rc;

	if (str_format(parent, sizeof(parent), "%.*s", (int)(slash - job->staging), job->staging) <
	    0)
		return 1;
	dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return 1;
	rc = tree_remove(dir, slash + 1);
	return rc < 0;
}

static void on_cleaned(void *arg, const struct child_result *result)
{
	struct image_job *job = arg;

	if (result->stuck || result->wstatus != 0)
		log_warn(NULL, "image job %s: staging directory is left for the next start",
		         job->id);
	job_free(job);
}

static void finish(struct image_job *job)
{
	struct err err = { 0 };

	loop_timer_disarm(job->args.loop, &job->silence);
	job->phase = CLEANING;
	if (!job->told) {
		job->told = true;
		if (job->err.code != CODE_OK)
			job->args.ops->done(job->args.arg, &job->err, NULL, 0);
		else
			job->args.ops->done(job->args.arg, NULL, job->results, job->nresults);
	}
	job->child_args = (struct child_args)CHILD_ARGS_INIT;
	job->child_args.name = "remove image staging";
	job->child_args.fn = cleanup_child;
	job->child_args.fn_arg = job;
	job->child_args.timeout_ms = CLEANUP_TIMEOUT_MS;
	job->child_args.done = on_cleaned;
	job->child_args.arg = job;
	job->child = child_spawn(job->args.loop, &job->child_args, &err);
	if (job->child)
		return;
	log_warn(NULL, "image job %s: staging directory is left for the next start: %s", job->id,
	         err.msg);
	job_free(job);
}

/* --- commit: one syncfs, then renames. In the child: no allocation, no stdio */

static int say(int sys, const char *what, const char *name)
{
	const char *const parts[] = { what, " ", name, ": ", errno_name(sys) };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		ignore(write_full(STDERR_FILENO, parts[i],
		                  strlen(parts[i]))); /* nowhere else to say it */
	return 1;
}

static int write_document(int dir, const char *name, const void *data, size_t len)
{
	cleanup_close int fd =
		openat(dir, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t n;

	if (fd < 0)
		return say(errno, "write", name);
	n = write_full(fd, data, len);
	return n < 0 ? say((int)-n, "write", name) : 0;
}

static int write_documents(const struct commit *commit, int staging)
{
	for (size_t i = 0; i < commit->nresults; i++) {
		const struct pull_result *result = &commit->results[i];
		cleanup_close int dir = -1;
		char name[32];

		ignore(str_format(name, sizeof(name), "image-%zu", i)); /* fits */
		if (mkdirat(staging, name, 0700) < 0 && errno != EEXIST)
			return say(errno, "make", name);
		dir = openat(staging, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return say(errno, "open", name);
		if (write_document(dir, "manifest.json", result->manifest, result->manifest_len) ||
		    write_document(dir, "config.json", result->config, result->config_len))
			return 1;
	}
	return 0;
}

static int move_layer(const struct commit *commit, int staging, int layers,
                      const struct commit_layer *layer)
{
	int rc = sys_renameat2(staging, layer->slot, layers, layer->hex, RENAME_NOREPLACE);

	(void)commit;
	/* Another job was first, or the image has the same layer twice: what is there is the same. */
	if (rc == -EEXIST || rc == -ENOTEMPTY ||
	    (rc == -ENOENT && faccessat(layers, layer->hex, F_OK, 0) == 0))
		return 0;
	return rc < 0 ? say(-rc, "commit layer", layer->hex) : 0;
}

static int move_documents(const struct commit *commit, int staging, int images)
{
	for (size_t i = 0; i < commit->nresults; i++) {
		const char *hex = commit->results[i].id + strlen("sha256:");
		char name[32], from[64], to[DIGEST_SHA256_TEXT + 16];
		int rc;

		ignore(str_format(name, sizeof(name), "image-%zu", i)); /* fits */
		rc = sys_renameat2(staging, name, images, hex, RENAME_NOREPLACE);
		if (rc == 0)
			continue;
		if (rc != -EEXIST && rc != -ENOTEMPTY)
			return say(-rc, "commit image", hex);
		/* Known already. The config is the same by its digest; another manifest may lead to it. */
		ignore(str_format(from, sizeof(from), "%s/manifest.json", name)); /* fits */
		ignore(str_format(to, sizeof(to), "%s/manifest.json", hex));      /* fits */
		rc = sys_renameat2(staging, from, images, to, 0);
		if (rc < 0)
			return say(-rc, "commit image", hex);
	}
	return 0;
}

static int commit_child(void *arg)
{
	const struct commit *commit = arg;
	cleanup_close int staging = open(commit->staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int layers = open(commit->layers_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int images = open(commit->images_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (staging < 0 || layers < 0 || images < 0)
		return say(errno, "open", commit->staging);
	if (write_documents(commit, staging))
		return 1;
	/* Contents before names: after a power cut a layer that can be found is whole. */
	if (syncfs(staging) < 0)
		return say(errno, "sync", commit->staging);
	for (size_t i = 0; i < commit->nlayers; i++)
		if (move_layer(commit, staging, layers, &commit->layers[i]))
			return 1;
	if (move_documents(commit, staging, images))
		return 1;
	if (fsync(layers) < 0 || fsync(images) < 0)
		return say(errno, "sync", commit->layers_dir);
	return 0;
}

static void on_committed(void *arg, const struct child_result *result)
{
	struct image_job *job = arg;
	struct err err = { 0 };

	job->child = NULL;
	if (child_check(&job->child_args, result, &err) < 0)
		job_fail(job, &err);
	finish(job);
}

static void commit_plan(struct image_job *job)
{
	struct commit *commit = &job->commit;
	size_t total = 0;

	for (size_t i = 0; i < job->nresults; i++)
		total += job->results[i].nlayers;
	commit->staging = job->staging;
	commit->layers_dir = xasprintf("%s/layers", job->root);
	commit->images_dir = xasprintf("%s/images", job->root);
	commit->layers = xcalloc(total + 1, sizeof(*commit->layers));
	commit->results = job->results;
	commit->nresults = job->nresults;
	for (size_t i = 0; i < job->nresults; i++)
		for (size_t k = 0; k < job->results[i].nlayers; k++) {
			const struct pull_layer *layer = &job->results[i].layers[k];
			struct commit_layer *item;

			if (layer->slot < 0)
				continue;
			item = &commit->layers[commit->nlayers++];
			ignore(str_format(item->slot, sizeof(item->slot), "%d",
			                  layer->slot)); /* fits */
			item->hex = layer->key + strlen("sha256:");
		}
}

static void commit_start(struct image_job *job)
{
	struct err err = { 0 };

	job->phase = COMMITTING;
	loop_timer_disarm(job->args.loop, &job->silence);
	commit_plan(job);
	job->child_args = (struct child_args)CHILD_ARGS_INIT;
	job->child_args.name = "commit image";
	job->child_args.fn = commit_child;
	job->child_args.fn_arg = &job->commit;
	job->child_args.capture_err = true;
	job->child_args.timeout_ms = COMMIT_TIMEOUT_MS;
	job->child_args.oplock_fd = job->args.oplock_fd;
	job->child_args.done = on_committed;
	job->child_args.arg = job;
	job->child = child_spawn(job->args.loop, &job->child_args, &err);
	if (job->child)
		return;
	job_fail(job, &err);
	finish(job);
}

/* --- frames */

static int answer_want(struct image_job *job, const void *data, size_t len, struct err *err)
{
	cleanup(strv_free) char **keys = NULL;
	cleanup_free bool *have = NULL;
	cleanup(buf_release) struct buf frame = { 0 };
	size_t n;

	buf_init(&frame, STREAM_OUT_MAX);
	if (pull_get_want(data, len, &keys, err) < 0)
		return -1;
	n = strv_len(keys);
	have = xcalloc(n + 1, sizeof(*have));
	for (size_t i = 0; i < n; i++)
		have[i] = job->args.ops->pin(job->args.arg, keys[i]);
	if (pull_put_layers(&frame, have, n, err) < 0)
		return -1;
	if (stream_write(job->stream, frame.data, frame.len) < 0)
		return err_set(err, CODE_INTERNAL, "the pull process does not read");
	return 0;
}

static struct pull_result *find_result(struct image_job *job, const char *id)
{
	for (size_t i = 0; i < job->nresults; i++)
		if (streq(job->results[i].id, id))
			return &job->results[i];
	return NULL;
}

static void merge_names(char ***inout, char *const *more)
{
	size_t n = strv_len(*inout);

	*inout = xrealloc(*inout, n + strv_len(more) + 1, sizeof(**inout));
	for (; *more; more++) {
		size_t i = 0;

		while (i < n && !streq((*inout)[i], *more))
			i++;
		if (i == n)
			(*inout)[n++] = xstrdup(*more);
	}
	(*inout)[n] = NULL;
}

/* An archive may hold one image under several manifests (another compression): one image with the names of all. */
static int add_result(struct image_job *job, const void *data, size_t len, struct err *err)
{
	cleanup(pull_result_release) struct pull_result result = { 0 };
	struct pull_result *same;

	if (pull_get_result(data, len, &result, err) < 0)
		return -1;
	same = find_result(job, result.id);
	if (same) {
		merge_names(&same->names, result.names);
		merge_names(&same->digests, result.digests);
		return 0;
	}
	if (job->nresults >= PULL_IMAGES_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "more than %d images",
		               PULL_IMAGES_MAX);
	job->results = xrealloc(job->results, job->nresults + 1, sizeof(*job->results));
	job->results[job->nresults++] = result;
	result = (struct pull_result){ 0 };
	return 0;
}

static int on_frame(struct image_job *job, enum pull_frame type, const void *data, size_t len,
                    struct err *err)
{
	struct pull_progress progress;
	struct err theirs = { 0 };

	switch (type) {
	case PULL_PROGRESS:
		if (pull_get_progress(data, len, &progress, err) < 0)
			return -1;
		if (job->args.ops->progress)
			job->args.ops->progress(job->args.arg, &progress);
		return 0;
	case PULL_WANT:
		return answer_want(job, data, len, err);
	case PULL_RESULT:
		return add_result(job, data, len, err);
	case PULL_ERROR:
		if (pull_get_error(data, len, &theirs, err) < 0)
			return -1;
		job_fail(job, &theirs);
		return 0;
	case PULL_DONE:
		job->saw_done = true;
		return 0;
	case PULL_INVALID:
	case PULL_REQUEST:
	case PULL_LAYERS:
		break;
	}
	return err_set(err, CODE_INTERNAL, "unexpected frame from the pull process");
}

static void arm_silence(struct image_job *job)
{
	loop_timer_arm_in(job->args.loop, &job->silence,
	                  job->args.no_progress_ms ? job->args.no_progress_ms : NO_PROGRESS_MS);
}

static size_t on_data(void *arg, const void *data, size_t len)
{
	struct image_job *job = arg;
	size_t used = 0;

	while (len - used >= PULL_FRAME_HEAD) {
		const uint8_t *p = (const uint8_t *)data + used;
		struct err err = { 0 };
		enum pull_frame type;
		size_t payload;
		int rc;

		rc = pull_get_head(p, &type, &payload, &err);
		if (rc == 0 && len - used - PULL_FRAME_HEAD < payload)
			break;
		if (rc == 0)
			rc = on_frame(job, type, p + PULL_FRAME_HEAD, payload, &err);
		if (rc < 0) { /* it does not speak our language any more */
			job_fail(job, &err);
			if (job->child)
				child_kill(job->child);
			return len;
		}
		used += PULL_FRAME_HEAD + payload;
		arm_silence(job);
	}
	return used;
}

static void pulling_over(struct image_job *job)
{
	struct err err = { 0 };

	if (!job->saw_end || !job->exited)
		return;
	if (job->cancelled)
		err_set(&err, CODE_CANCELLED, "cancelled");
	else if (job->exit_err.code != CODE_OK)
		err = job->exit_err;
	else if (!job->saw_done || job->nresults == 0)
		err_set(&err, CODE_INTERNAL, "the pull process ended without a result");
	if (err.code != CODE_OK)
		job_fail(job, &err);
	if (job->err.code == CODE_OK)
		commit_start(job);
	else
		finish(job);
}

static void on_end(void *arg, const struct err *err)
{
	struct image_job *job = arg;

	(void)err; /* the exit says more */
	job->saw_end = true;
	pulling_over(job);
}

/* What the pull process thought worth saying: keys of a hosts.toml that it does not know, certificates that it was told not to
 * verify. Its lines begin with a time, which ours have as well. */
static void log_remarks(const struct image_job *job, const struct child_result *result)
{
	struct str rest = { result->errout, result->errout_len }, line, time, text;

	while (rest.len > 0) {
		ignore(str_cut(rest, '\n', &line, &rest)); /* the last one may lack its end */
		if (line.len > 0 && str_cut(line, ' ', &time, &text))
			log_notice(NULL, "image job %s: " STR_FMT, job->id, STR_ARG(text));
	}
}

static void on_exit_child(void *arg, const struct child_result *result)
{
	struct image_job *job = arg;

	job->child = NULL;
	job->exited = true;
	if (child_check(&job->child_args, result, &job->exit_err) ==
	    0) /* else it is looked at when all frames are read */
		log_remarks(job, result);
	if (result->stuck) /* it may hold the socket for ever */
		job->saw_end = true;
	pulling_over(job);
}

static void on_silence(void *arg)
{
	struct image_job *job = arg;
	struct err err = { 0 };

	err_set(&err, CODE_DEADLINE_EXCEEDED, "no progress for %lld s",
	        (long long)(job->args.no_progress_ms ? job->args.no_progress_ms : NO_PROGRESS_MS) /
	                1000);
	job_fail(job, &err);
	if (job->child)
		child_kill(job->child);
}

void image_job_cancel(struct image_job *job)
{
	if (job->phase != PULLING || job->cancelled)
		return;
	job->cancelled = true;
	if (job->child)
		child_kill(job->child);
}

/* --- start */

static int start_stream(struct image_job *job, int fd, struct err *err)
{
	static const struct stream_ops ops = { .on_data = on_data, .on_end = on_end };
	cleanup(buf_release) struct buf frame = { 0 };
	int rc;

	buf_init(&frame, STREAM_OUT_MAX);
	job->stream = stream_new(job->args.loop, fd, STREAM_IN_MAX, STREAM_OUT_MAX, &ops, job,
	                         "pull process", err);
	if (!job->stream) {
		close(fd);
		return -1;
	}
	if (pull_put_request(&frame, job->args.request, err) < 0)
		return -1;
	rc = stream_write(job->stream, frame.data, frame.len);
	if (frame.data)
		explicit_bzero(frame.data, frame.len); /* credentials */
	return rc < 0 ? err_set(err, CODE_RESOURCE_EXHAUSTED, "pull request is too large") : 0;
}

static int start_child(struct image_job *job, int sock, struct err *err)
{
	struct child_fd fds[2] = { { .fd = sock, .as_fd = PULL_SOCKET_FD },
		                   { .fd = job->args.input_fd, .as_fd = PULL_INPUT_FD } };
	char *layers = xasprintf("%s/layers", job->root);

	job->argv[0] = xstrdup("coracle");
	job->argv[1] = xstrdup("pull");
	job->argv[2] = xstrdup(job->staging);
	job->argv[3] = layers;
	job->child_args = (struct child_args)CHILD_ARGS_INIT;
	job->child_args.name = "coracle pull";
	job->child_args.path = "/proc/self/exe";
	job->child_args.argv = job->argv;
	job->child_args.envp = job->args.envp;
	job->child_args.capture_err = true;
	job->child_args.max_output = 64 * 1024;
	job->child_args.fds = fds;
	job->child_args.nfds = job->args.input_fd >= 0 ? 2 : 1;
	job->child_args.oplock_fd = job->args.oplock_fd;
	job->child_args.cgroup_fd = job->args.cgroup_fd;
	job->child_args.done = on_exit_child;
	job->child_args.arg = job;
	job->child = child_spawn(job->args.loop, &job->child_args, err);
	job->child_args.fds = NULL;
	return job->child ? 0 : -1;
}

static int start(struct image_job *job, struct err *err)
{
	int pair[2], rc;

	if (mkdir(job->staging, 0700) < 0)
		return err_sys(err, errno, "make %s", job->staging);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "socket of the pull process");
	rc = start_stream(job, pair[0], err);
	if (rc == 0)
		rc = start_child(job, pair[1], err);
	close(pair[1]);
	if (rc < 0 && rmdir(job->staging) < 0)
		log_warn(NULL, "image job %s: staging directory is left for the next start",
		         job->id);
	return rc;
}

struct image_job *image_job_new(const struct image_job_args *args, struct err *err)
{
	struct image_job *job;
	char id[ID_SIZE];

	ensure(args->loop && args->root && args->request && args->ops && args->ops->pin &&
	       args->ops->done);
	job = xcalloc(1, sizeof(*job));
	job->args = *args;
	rand_id(id);
	memcpy(job->id, id, JOB_ID_LEN);
	job->root = xstrdup(args->root);
	job->staging = xasprintf("%s/staging/%s", args->root, job->id);
	loop_timer_init(&job->silence, on_silence, job, "image job silence");
	if (start(job, err) < 0) {
		job_free(job);
		return NULL;
	}
	job->args.request = NULL; /* borrowed, and it holds credentials */
	job->args.input_fd = -1;
	arm_silence(job);
	return job;
}

/* --- directories */

static const char *const store_dirs[] = { "staging", "layers", "images", "snapshots", "trash" };

int image_dirs_create(const char *root, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(store_dirs); i++) {
		cleanup_free char *path = xasprintf("%s/%s", root, store_dirs[i]);
		int rc = fsx_mkdir_p(path, 0700);

		if (rc < 0)
			return err_sys(err, -rc, "make %s", path);
	}
	return 0;
}

/* --- removal */

struct image_remove {
	char *trash; /* <root>/trash/<random> */
	char *layers_dir, *images_dir;
	char **images, **layers; /* hex */
};

static char **hex_names(const char *const *digests, size_t count, struct err *err)
{
	char **names = xcalloc(count + 1, sizeof(*names));

	for (size_t i = 0; i < count; i++) {
		if (!layer_key_is_valid(digests[i])) {
			err_set(err, CODE_INVALID_ARGUMENT, "\"%.80s\" is not a digest",
			        digests[i]);
			strv_free(names);
			return NULL;
		}
		names[i] = xstrdup(digests[i] + strlen("sha256:"));
	}
	return names;
}

struct image_remove *image_remove_new(const char *root, const char *const *ids, size_t nids,
                                      const char *const *keys, size_t nkeys, struct err *err)
{
	struct image_remove *remove = xcalloc(1, sizeof(*remove));
	char id[ID_SIZE];

	rand_id(id);
	remove->trash = xasprintf("%s/trash/%.*s", root, JOB_ID_LEN, id);
	remove->layers_dir = xasprintf("%s/layers", root);
	remove->images_dir = xasprintf("%s/images", root);
	remove->images = hex_names(ids, nids, err);
	remove->layers = remove->images ? hex_names(keys, nkeys, err) : NULL;
	if (remove->layers)
		return remove;
	image_remove_free(remove);
	return NULL;
}

void image_remove_free(struct image_remove *remove)
{
	if (!remove)
		return;
	free(remove->trash);
	free(remove->layers_dir);
	free(remove->images_dir);
	strv_free(remove->images);
	strv_free(remove->layers);
	free(remove);
}

/* Out of sight at once; what cannot be moved is said, the rest goes on. */
static int move_to_trash(const char *dir, char *const *names, int trash)
{
	cleanup_close int from = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed = 0;

	if (from < 0)
		return errno == ENOENT ? 0 : say(errno, "open", dir);
	for (; *names; names++) {
		int rc = sys_renameat2(from, *names, trash, *names, 0);

		if (rc < 0 && rc != -ENOENT)
			failed = say(-rc, "remove", *names);
	}
	return failed;
}

int image_remove_child(void *arg)
{
	const struct image_remove *remove = arg;
	cleanup_close int trash = -1;
	int failed, rc;

	if (mkdir(remove->trash, 0700) < 0)
		return say(errno, "make", remove->trash);
	trash = open(remove->trash, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (trash < 0)
		return say(errno, "open", remove->trash);
	/* Images first: one without its layers would be damaged, layers without an image are only waste. */
	failed = move_to_trash(remove->images_dir, remove->images, trash);
	rc = tree_empty(trash);
	failed |= rc < 0 ? say(-rc, "empty", remove->trash) : 0;
	failed |= move_to_trash(remove->layers_dir, remove->layers, trash);
	rc = tree_empty(trash);
	failed |= rc < 0 ? say(-rc, "empty", remove->trash) : 0;
	if (!failed && rmdir(remove->trash) < 0)
		return say(errno, "remove", remove->trash);
	return failed;
}

/* --- documents of a committed image */

static int document_read(const char *root, const char *id, const char *name, char **ret_text,
                         size_t *ret_len, struct err *err)
{
	cleanup_free char *path = NULL;

	if (!layer_key_is_valid(id))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.80s\" is not an image id", id);
	path = xasprintf("%s/images/%s/%s", root, id + strlen("sha256:"), name);
	return file_read_all(path, MANIFEST_MAX_BYTES, ret_text, ret_len, err);
}

int image_config_read(const char *root, const char *id, char **ret_text, size_t *ret_len,
                      struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;

	if (document_read(root, id, "config.json", &text, &len, err) < 0)
		return -1;
	if (blob_verify(text, len, id, -1, "image config", err) < 0)
		return -1;
	*ret_text = take_ptr(text);
	*ret_len = len;
	return 0;
}

int image_manifest_read(const char *root, const char *id, char **ret_text, size_t *ret_len,
                        struct err *err)
{
	return document_read(root, id, "manifest.json", ret_text, ret_len, err);
}
