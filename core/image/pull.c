/* core/image/pull.c
 *
 * From a verified manifest and config to a RESULT frame. Layers go through in three rounds: all that are missing are unpacked
 * in parallel; then, base first, those that lean on the layers beneath are finished; then keys are given out, which depend on
 * what was found inside (blob.h, layer_key).
 */
#include "core/image/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/confine.h"
#include "core/image/import.h"
#include "core/image/layer.h"
#include "core/image/registry.h"
#include "core/image/unpack.h"

#define READ_BYTES     (256 * 1024)
#define PROGRESS_EVERY (200 * NS_PER_MS)
#define THREADS_MAX    UNPACK_SESSIONS_MAX
#define THREAD_STACK   ((size_t)1024 * 1024) /* a TLS handshake happens on it */
#define SPOOL_DIR      "spool"

/* A layer that this job has unpacked; later images of the same archive may share it. */
struct staged {
	uint32_t slot;
	struct untar_result result;
};

struct pull {
	int sock, control, spool;
	struct pull_request request;
	struct registry *registry; /* NULL: an import */
	struct platform platform;
	uint32_t next_slot;
	struct map staged; /* key -> struct staged */

	pthread_mutex_t lock; /* the socket, and what follows */
	struct pull_progress progress;
	int64_t progress_ns;
	pthread_mutex_t zstd; /* its windows are large: one layer at a time */
};

const struct pull_request *pull_request(const struct pull *pull)
{
	return &pull->request;
}

const struct platform *pull_platform(const struct pull *pull)
{
	return &pull->platform;
}

int pull_spool_fd(const struct pull *pull)
{
	return pull->spool;
}

/* --- frames */

static int send_frame(const struct pull *pull, const struct buf *frame, struct err *err)
{
	ssize_t n = write_full(pull->sock, frame->data, frame->len);

	return n < 0 ? err_sys(err, (int)-n, "write to the daemon") : 0;
}

static int receive(const struct pull *pull, enum pull_frame expected, char **ret_data,
                   size_t *ret_len, struct err *err)
{
	cleanup_free char *data = NULL;
	uint8_t head[PULL_FRAME_HEAD];
	enum pull_frame type;

	if (read_full(pull->sock, head, sizeof(head)) != (ssize_t)sizeof(head))
		return err_set(err, CODE_CANCELLED, "the daemon closed the connection");
	if (pull_get_head(head, &type, ret_len, err) < 0)
		return -1;
	if (type != expected)
		return err_set(err, CODE_INTERNAL, "unexpected frame %d from the daemon",
		               (int)type);
	data = xcalloc(1, *ret_len + 1);
	if (read_full(pull->sock, data, *ret_len) != (ssize_t)*ret_len)
		return err_set(err, CODE_CANCELLED, "the daemon closed the connection");
	*ret_data = take_ptr(data);
	return 0;
}

/* With the lock held. A daemon that is gone shows at the next frame that matters. */
static void send_progress(struct pull *pull, bool now)
{
	cleanup(buf_release) struct buf frame = { 0 };
	struct err err = { 0 };
	int64_t ns = clock_mono_ns();

	if (!now && ns - pull->progress_ns < PROGRESS_EVERY)
		return;
	pull->progress_ns = ns;
	buf_init(&frame, 4096);
	if (pull_put_progress(&frame, &pull->progress, &err) == 0)
		ignore(send_frame(pull, &frame, &err)); /* see above */
}

void pull_advance(struct pull *pull, uint64_t bytes)
{
	pthread_mutex_lock(&pull->lock);
	pull->progress.done_bytes += bytes;
	send_progress(pull, false);
	pthread_mutex_unlock(&pull->lock);
}

void pull_expect(struct pull *pull, uint64_t bytes)
{
	pthread_mutex_lock(&pull->lock);
	pull->progress.total_bytes += bytes;
	pthread_mutex_unlock(&pull->lock);
}

static void layer_done(struct pull *pull, const char *text)
{
	pthread_mutex_lock(&pull->lock);
	pull->progress.layers_done++;
	ignore(str_format(pull->progress.text, sizeof(pull->progress.text), "%s",
	                  text)); /* cut: fine */
	send_progress(pull, true);
	pthread_mutex_unlock(&pull->lock);
}

static int ask_layers(struct pull *pull, char *const *keys, bool *have, size_t count,
                      struct err *err)
{
	cleanup(buf_release) struct buf frame = { 0 };
	cleanup_free char *data = NULL;
	size_t len = 0;
	int rc;

	buf_init(&frame, 1024 * 1024);
	if (pull_put_want(&frame, keys, count, err) < 0)
		return -1;
	pthread_mutex_lock(&pull->lock);
	rc = send_frame(pull, &frame, err);
	pthread_mutex_unlock(&pull->lock);
	if (rc < 0 || receive(pull, PULL_LAYERS, &data, &len, err) < 0)
		return -1;
	return pull_get_layers(data, len, have, count, err);
}

/* --- one image */

struct work { /* one layer of it */
	const struct descriptor *descriptor;
	const char *diff_id;
	char chain[DIGEST_SHA256_TEXT];
	char keys[LAYER_KINDS][DIGEST_SHA256_TEXT];
	bool committed; /* in the store already, as keys[kind] */
	bool staged;
	enum layer_kind kind;
	uint32_t slot;
	struct untar_result result;
	size_t same_as; /* an earlier layer with the same content, or its own index */
};

struct job {
	struct pull *pull;
	const struct pull_image *image;
	const struct pull_source *source;
	struct work *works;
	size_t count;
	size_t *todo;
	size_t ntodo;

	pthread_mutex_t lock;
	size_t next; /* in todo */
	bool failed;
	struct err err; /* of the first that failed */
};

static bool job_failed(struct job *job)
{
	bool failed;

	pthread_mutex_lock(&job->lock);
	failed = job->failed;
	pthread_mutex_unlock(&job->lock);
	return failed;
}

static void job_fail(struct job *job, const struct err *err)
{
	pthread_mutex_lock(&job->lock);
	if (!job->failed)
		job->err = *err;
	job->failed = true;
	pthread_mutex_unlock(&job->lock);
}

static int copy_blob(struct job *job, struct layer *layer, const struct pull_blob *blob,
                     struct err *err)
{
	cleanup_free uint8_t *block = xcalloc(1, READ_BYTES);
	bool zstd = false;
	size_t n;
	int rc = 0;

	for (;;) {
		rc = blob->read(blob->arg, block, READ_BYTES, &n, err);
		if (rc < 0 || n == 0)
			break;
		if (job_failed(job)) {
			rc = err_set(err, CODE_ABORTED, "another layer failed");
			break;
		}
		rc = layer_feed(layer, block, n, err);
		if (rc < 0)
			break;
		pull_advance(job->pull, n);
		if (!zstd && layer_compression(layer) == INFLATE_ZSTD) {
			zstd = true;
			pthread_mutex_lock(&job->pull->zstd);
		}
	}
	if (zstd)
		pthread_mutex_unlock(&job->pull->zstd);
	return rc;
}

static int unpack_layer(struct job *job, size_t index, struct err *err)
{
	struct work *work = &job->works[index];
	cleanup(layer_free) struct layer *layer = NULL;
	char what[DIGEST_TEXT_MAX + 16];
	struct layer_result result;
	struct pull_blob blob;
	int rc;

	ignore(str_format(what, sizeof(what), "layer %s", work->descriptor->digest)); /* fits */
	layer = layer_new(&(struct layer_args){ .control = job->pull->control,
	                                        .slot = work->slot,
	                                        .what = what,
	                                        .blob_digest = work->descriptor->digest,
	                                        .blob_size = work->descriptor->size,
	                                        .diff_id = work->diff_id,
	                                        .free_bytes = job->pull->request.free_bytes,
	                                        .free_inodes = job->pull->request.free_inodes },
	                  err);
	if (!layer)
		return -1;
	if (job->source->open_layer(job->source->arg, index, work->descriptor, &blob, err) < 0)
		return err_wrap(err, "%s", what);
	rc = copy_blob(job, layer, &blob, err);
	job->source->close(job->source->arg, &blob);
	if (rc < 0 || layer_finish(layer, &result, err) < 0)
		return -1;
	work->result = result.untar;
	work->staged = true;
	layer_done(job->pull, what);
	return 0;
}

static void *unpack_thread(void *arg)
{
	struct job *job = arg;

	for (;;) {
		struct err err = { 0 };
		size_t index;

		pthread_mutex_lock(&job->lock);
		if (job->failed || job->next == job->ntodo) {
			pthread_mutex_unlock(&job->lock);
			return NULL;
		}
		index = job->todo[job->next++];
		pthread_mutex_unlock(&job->lock);
		if (unpack_layer(job, index, &err) < 0)
			job_fail(job, &err);
	}
}

/* Runs todo[]; this thread is one of the workers. */
static int unpack_all(struct job *job, struct err *err)
{
	pthread_t threads[THREADS_MAX];
	size_t want = MIN(MIN((size_t)job->source->parallel, (size_t)THREADS_MAX), job->ntodo),
	       started = 0;
	pthread_attr_t attr;

	job->next = 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	while (started + 1 < want &&
	       pthread_create(&threads[started], &attr, unpack_thread, job) == 0)
		started++; /* fewer threads are slower, no more */
	pthread_attr_destroy(&attr);
	unpack_thread(job);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	if (!job->failed)
		return 0;
	*err = job->err;
	return -1;
}

/* Where each layer is: in the store, staged by an earlier image of this job, the same as a lower one, or still to do. */
static int plan_layers(struct job *job, struct err *err)
{
	cleanup_free char **keys = xcalloc(LAYER_KINDS * job->count + 1, sizeof(*keys));
	cleanup_free bool *have = xcalloc(LAYER_KINDS * job->count + 1, sizeof(*have));

	for (size_t i = 0; i < job->count; i++)
		for (size_t k = 0; k < LAYER_KINDS; k++)
			keys[LAYER_KINDS * i + k] = job->works[i].keys[k];
	if (job->count && ask_layers(job->pull, keys, have, LAYER_KINDS * job->count, err) < 0)
		return -1;
	for (size_t i = 0; i < job->count; i++) {
		struct work *work = &job->works[i];
		bool first = true;

		for (size_t k = 0; k < LAYER_KINDS && !work->committed && !work->staged; k++) {
			const struct staged *staged = map_find(&job->pull->staged, work->keys[k]);

			if (!have[LAYER_KINDS * i + k] && !staged)
				continue;
			work->kind = (enum layer_kind)k;
			work->committed = have[LAYER_KINDS * i + k];
			if (!work->committed) {
				work->staged = true;
				work->slot = staged->slot;
				work->result = staged->result;
				work->result.deferred = 0; /* seen to */
			}
		}
		work->same_as = i;
		for (size_t j = 0; j < i && first; j++)
			if (streq(job->works[j].diff_id, work->diff_id)) {
				work->same_as = j;
				first = false;
			}
		if (work->committed || work->staged || !first)
			continue;
		work->slot = job->pull->next_slot++;
		job->todo[job->ntodo++] = i;
	}
	return 0;
}

/* A layer whose content occurred further down already: the same directory serves, unless it leans on its place. */
static int plan_repeats(struct job *job)
{
	job->ntodo = 0;
	for (size_t i = 0; i < job->count; i++) {
		struct work *work = &job->works[i];
		const struct work *twin = &job->works[work->same_as];

		if (work->committed || work->staged)
			continue;
		if (twin->staged && twin->kind != LAYER_DEPENDENT && twin->result.deferred == 0) {
			work->staged = true;
			work->slot = twin->slot;
			work->result = twin->result;
			continue;
		}
		work->slot = job->pull->next_slot++;
		job->todo[job->ntodo++] = i;
	}
	return job->ntodo > 0;
}

/* Index of the lowest layer that can be seen: above it nothing hides everything. */
static size_t visible_from(const struct job *job)
{
	size_t from = 0;

	for (size_t i = 0; i < job->count; i++)
		if (job->works[i].kind == LAYER_OPAQUE)
			from = i;
	return from;
}

static int fix_layer(struct job *job, size_t index, size_t from, struct err *err)
{
	cleanup(strv_free) char **lowers = xcalloc(job->count + 1, sizeof(*lowers));
	struct work *work = &job->works[index];
	size_t n = 0;

	if (work->kind != LAYER_OPAQUE)
		for (size_t i = index; i > from; i--) {
			const struct work *lower = &job->works[i - 1];

			lowers[n++] = lower->committed ? xasprintf("l%s", lower->keys[lower->kind] +
			                                                          strlen("sha256:"))
			                               : xasprintf("s%u", lower->slot);
		}
	if (unpack_fix(job->pull->control, work->slot, lowers, n, &work->result, err) < 0)
		return err_wrap(err, "layer %s", work->descriptor->digest);
	return 0;
}

static int settle_layers(struct job *job, struct err *err)
{
	size_t from;

	for (size_t i = 0; i < job->count; i++) {
		struct work *work = &job->works[i];

		if (work->staged && !map_find(&job->pull->staged, work->keys[work->kind]))
			work->kind = work->result.opaque_root ? LAYER_OPAQUE
			             : work->result.deferred  ? LAYER_DEPENDENT
			                                      : LAYER_PLAIN;
	}
	from = visible_from(job);
	for (size_t i = from; i < job->count; i++) {
		struct work *work = &job->works[i];
		struct staged *staged;

		if (!work->staged)
			continue;
		if (work->result.deferred && fix_layer(job, i, from, err) < 0)
			return -1;
		if (map_find(&job->pull->staged, work->keys[work->kind]))
			continue;
		staged = xcalloc(1, sizeof(*staged));
		*staged = (struct staged){ .slot = work->slot, .result = work->result };
		map_set(&job->pull->staged, work->keys[work->kind], staged);
	}
	return 0;
}

static int send_result(struct job *job, const struct image_config *config, struct err *err)
{
	const struct pull_image *image = job->image;
	cleanup(buf_release) struct buf frame = { 0 };
	cleanup_free struct pull_layer *layers = xcalloc(job->count + 1, sizeof(*layers));
	char id[DIGEST_SHA256_TEXT];
	size_t n = 0;
	int rc;
	struct pull_result result = {
		.id = id,
		.names = (char **)(uintptr_t)image->names,
		.digests = (char **)(uintptr_t)image->digests,
		.manifest_digest = (char *)(uintptr_t)image->manifest_digest,
		.user = config->user,
		.layers = layers,
		.manifest = (void *)(uintptr_t)image->manifest,
		.manifest_len = image->manifest_len,
		.config = (void *)(uintptr_t)image->config,
		.config_len = image->config_len,
		.size_bytes = image->index_bytes + image->manifest_len + image->config_len,
	};

	digest_sha256_text(image->config, image->config_len, id);
	for (size_t i = 0; i < job->count; i++)
		result.size_bytes += (uint64_t)job->works[i].descriptor->size;
	for (size_t i = visible_from(job); i < job->count; i++) {
		struct work *work = &job->works[i];

		layers[n++] = (struct pull_layer){
			.key = work->keys[work->kind],
			.slot = work->committed ? -1 : (int)work->slot,
			.size_bytes = work->result.size_bytes,
			.inodes = work->result.inodes,
			.has_root = work->result.has_root,
		};
	}
	result.nlayers = n;
	buf_init(&frame, PULL_FRAME_HEAD + PULL_FRAME_MAX);
	if (pull_put_result(&frame, &result, err) < 0)
		return -1;
	pthread_mutex_lock(&job->pull->lock);
	rc = send_frame(job->pull, &frame, err);
	pthread_mutex_unlock(&job->pull->lock);
	return rc;
}

static void describe_layers(struct job *job, const struct image_config *config)
{
	const char *parent = NULL;

	for (size_t i = 0; i < job->count; i++) {
		struct work *work = &job->works[i];

		work->descriptor = &job->image->document->layers.items[i];
		work->diff_id = config->diff_ids[i];
		chain_id(parent, work->diff_id, work->chain);
		parent = work->chain;
		for (size_t k = 0; k < LAYER_KINDS; k++)
			layer_key((enum layer_kind)k, work->diff_id, work->chain, work->keys[k]);
	}
}

int pull_image(struct pull *pull, const struct pull_image *image, const struct pull_source *source,
               struct err *err)
{
	cleanup(image_config_release) struct image_config config = { 0 };
	cleanup_free struct work *works = NULL;
	cleanup_free size_t *todo = NULL;
	struct job job = {
		.pull = pull, .image = image, .source = source, .lock = PTHREAD_MUTEX_INITIALIZER
	};

	if (image_config_parse(image->config, image->config_len, image->what, &config, err) < 0 ||
	    image_check(image->document, &config, &pull->platform, image->what, err) < 0)
		return -1;
	job.count = image->document->layers.count;
	if (pull->next_slot + job.count > UNPACK_SLOT_MAX + 1)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: more than %d layers in one job",
		               image->what, UNPACK_SLOT_MAX + 1);
	works = xcalloc(job.count + 1, sizeof(*works));
	todo = xcalloc(job.count + 1, sizeof(*todo));
	job.works = works;
	job.todo = todo;
	describe_layers(&job, &config);
	if (plan_layers(&job, err) < 0)
		return -1;
	pthread_mutex_lock(&pull->lock);
	pull->progress.layers += (uint32_t)job.ntodo;
	pthread_mutex_unlock(&pull->lock);
	for (size_t i = 0; i < job.ntodo; i++)
		pull_expect(pull, (uint64_t)works[todo[i]].descriptor->size);
	if (unpack_all(&job, err) < 0)
		return -1;
	if (plan_repeats(&job) && unpack_all(&job, err) < 0)
		return -1;
	if (settle_layers(&job, err) < 0)
		return -1;
	return send_result(&job, &config, err);
}

/* --- the process */

static int receive_request(struct pull *pull, struct err *err)
{
	cleanup_free char *data = NULL;
	size_t len = 0;
	int rc;

	if (receive(pull, PULL_REQUEST, &data, &len, err) < 0)
		return -1;
	rc = pull_get_request(data, len, &pull->request, err);
	if (data)
		explicit_bzero(data, len); /* credentials */
	if (rc < 0)
		return -1;
	if (pull->request.platform)
		return platform_parse(pull->request.platform, &pull->platform, err);
	platform_host(&pull->platform);
	return 0;
}

static int make_spool(const char *staging, char *path, size_t size, struct err *err)
{
	if (str_format(path, size, "%s/" SPOOL_DIR, staging) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "staging directory: path too long");
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_sys(err, errno, "make %s", path);
	if (chown(path, CONFINE_UID, CONFINE_GID) < 0)
		return err_sys(err, errno, "change owner of %s", path);
	return 0;
}

/* What resolving names needs in the new root; everything else that a registry pull reads is read before. */
static const struct confine_bind name_files[] = {
	{ .from = "/etc/resolv.conf", .to = "/etc/resolv.conf" },
	{ .from = "/etc/hosts", .to = "/etc/hosts" },
};

static int open_registry(struct pull *pull, struct err *err)
{
	char *text = pull->request.registry;

	pull->registry = registry_new(pull->request.name, text, err);
	if (text)
		explicit_bzero(text,
		               strlen(text)); /* credentials: they live on where they are used */
	return pull->registry ? 0 : -1;
}

/* Everything that needs privileges happens in here, before the first byte from outside is looked at. */
static int prepare(struct pull *pull, const char *staging, const char *layers, pid_t *ret_unpacker,
                   struct err *err)
{
	enum confine_role role;
	char spool[4096];

	if (receive_request(pull, err) < 0)
		return -1;
	role = pull->request.import ? CONFINE_IMPORT : CONFINE_REGISTRY;
	if (!pull->request.import && open_registry(pull, err) < 0)
		return -1;
	if (make_spool(staging, spool, sizeof(spool), err) < 0)
		return -1;
	if (unpack_start(staging, layers, &pull->control, ret_unpacker, err) < 0)
		return -1;
	if (confine_root(role, spool, name_files, pull->registry ? ARRAY_SIZE(name_files) : 0,
	                 err) < 0 ||
	    confine_self(role, err) < 0)
		return err_wrap(err, "confine the pull process");
	pull->spool = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return pull->spool < 0 ? err_sys(err, errno, "open spool directory") : 0;
}

static int report(struct pull *pull, int rc, const struct err *failure)
{
	cleanup(buf_release) struct buf frame = { 0 };
	struct err err = { 0 };

	buf_init(&frame, 8192);
	if (rc < 0 ? pull_put_error(&frame, failure, &err) < 0 : pull_put_done(&frame, &err) < 0)
		return 1;
	pthread_mutex_lock(&pull->lock);
	if (send_frame(pull, &frame, &err) < 0)
		rc = -1;
	pthread_mutex_unlock(&pull->lock);
	return rc < 0;
}

int pull_main(int argc, char **argv)
{
	struct pull pull = {
		.sock = PULL_SOCKET_FD,
		.control = -1,
		.spool = -1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.zstd = PTHREAD_MUTEX_INITIALIZER,
	};
	struct err err = { 0 };
	pid_t unpacker = -1;
	int rc;

	if (argc != 3) {
		log_error(NULL, "pull: started by the daemon only");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	map_init(&pull.staged);
	rc = fd_set_cloexec(PULL_SOCKET_FD, true);
	rc = rc < 0 ? err_sys(&err, -rc, "daemon socket")
	            : prepare(&pull, argv[1], argv[2], &unpacker, &err);
	if (rc == 0)
		rc = pull.registry ? registry_run(pull.registry, &pull, &err)
		                   : import_run(&pull, PULL_INPUT_FD, &err);

	/* The unpack process must be done before we say so: its last files are part of what is committed. */
	if (pull.control >= 0)
		close(pull.control);
	if (unpacker > 0)
		while (waitpid(unpacker, NULL, 0) < 0 && errno == EINTR)
			;
	rc = report(&pull, rc, &err);
	map_for_each(e, &pull.staged)
		free(e->value);
	map_release(&pull.staged);
	registry_free(pull.registry);
	pull_request_release(&pull.request);
	return rc;
}
