/* cri/rpc/ctl.c
 *
 * coracle.v1: what CRI lacks and `coracle ctl` needs. Import and Pull stream their progress, Dump one JSON document in pieces.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life.h"
#include "cri/proto/ctl.pb.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/pull_request.h"

#define PROGRESS_MS    200 /* between two messages: each is complete in itself */
#define DUMP_MAX_BYTES (256 * 1024 * 1024)
#define DUMP_CHUNK     (1024 * 1024)

/* --- Import and Pull */

struct transfer {
	struct life_wait wait;
	struct cri *cri;
	struct grpc_call *call;
	bool import;
	int64_t last_ns;
};

static void transfer_free(struct transfer *t)
{
	life_image_progress_drop(t->cri->life, t);
	free(t);
}

static ctl_Phase phase_of(const struct pull_progress *p)
{
	if (p->layers && p->layers_done == p->layers)
		return ctl_Phase_PHASE_COMMITTING;
	return p->layers ? ctl_Phase_PHASE_LAYERS : ctl_Phase_PHASE_RESOLVING;
}

static void transfer_progress(void *arg, const struct pull_progress *p)
{
	struct transfer *t = arg;
	int64_t now = clock_mono_ns();
	struct err err = { 0 };
	int rc;

	if (now - t->last_ns < PROGRESS_MS * NS_PER_MS || grpc_stream_above_mark(t->call))
		return;
	t->last_ns = now;
	if (t->import) {
		const ctl_ImportProgress msg = { .phase = phase_of(p),
			                         .done_bytes = p->done_bytes,
			                         .total_bytes = p->total_bytes };

		rc = grpc_stream_send(t->call, ctl_ImportProgress_fields, &msg, &err);
	} else {
		ctl_Layer layer = { .digest = (char *)p->text,
			            .done_bytes = p->done_bytes,
			            .total_bytes = p->total_bytes };
		const ctl_PullProgress msg = { .phase = phase_of(p),
			                       .layers = &layer,
			                       .layers_count = 1 };

		rc = grpc_stream_send(t->call, ctl_PullProgress_fields, &msg, &err);
	}
	ignore(rc < 0); /* a reader may miss any message but the last */
}

static ctl_Image image_msg(const struct image *image)
{
	ctl_Image msg = { .id = image->id, .names = image->names, .size_bytes = image->size_bytes };

	while (image->names[msg.names_count])
		msg.names_count++;
	return msg;
}

static void transfer_done(void *arg, const char *id, const struct err *failure)
{
	struct transfer *t = arg;
	struct grpc_call *call = t->call;
	const struct image *image = id ? image_get(t->cri->state, id) : NULL;
	struct err err = { 0 };
	int rc;

	grpc_on_cancel(call, NULL, NULL);
	if (!failure && !image) {
		err_set(&err, CODE_ABORTED, "the image was removed at once");
		failure = &err;
	}
	if (failure) {
		grpc_fail(call, failure);
		transfer_free(t);
		return;
	}
	if (t->import) {
		ctl_Image img = image_msg(image);
		const ctl_ImportProgress msg = { .phase = ctl_Phase_PHASE_DONE,
			                         .images = &img,
			                         .images_count = 1 };

		rc = grpc_stream_send(call, ctl_ImportProgress_fields, &msg, &err);
	} else {
		const ctl_PullProgress msg = { .phase = ctl_Phase_PHASE_DONE,
			                       .has_image = true,
			                       .image = image_msg(image) };

		rc = grpc_stream_send(call, ctl_PullProgress_fields, &msg, &err);
	}
	if (rc < 0)
		grpc_fail(call, &err);
	else
		grpc_finish(call);
	transfer_free(t);
}

static void transfer_cancelled(void *arg, struct grpc_call *call)
{
	struct transfer *t = arg;
	struct err err = { 0 };

	err_set(&err, grpc_cancelled(call), "%s: the client went away", grpc_method_name(call));
	life_forget(&t->wait);
	grpc_fail(call, &err);
	transfer_free(t);
}

static struct transfer *transfer_new(struct cri *cri, struct grpc_call *call, bool import)
{
	struct transfer *t = xcalloc(1, sizeof(*t));

	t->cri = cri;
	t->call = call;
	t->import = import;
	t->wait.done = transfer_done;
	t->wait.arg = t;
	if (grpc_cancelled(call) == CODE_OK)
		grpc_on_cancel(call, transfer_cancelled, t);
	return t;
}

/* A regular file or a pipe; never a device, which could hang the open for ever. */
static int open_archive(const char *path, struct err *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return err_sys(err, errno, "open %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(err, errno, "stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s is not a regular file", path);
	return take_fd(&fd);
}

void rpc_ctl_import(struct cri *cri, struct grpc_call *call, const void *request)
{
	const ctl_ImportRequest *req = request;
	struct err err = { 0 };
	cleanup_close int fd = open_archive(or_empty(req->path), &err);
	struct transfer *t;

	if (fd < 0) {
		grpc_fail(call, &err);
		return;
	}
	t = transfer_new(cri, call, true);
	life_image_import(
		cri->life,
		&(struct life_import){ .input_fd = fd,
	                               .name = req->name && req->name[0] ? req->name : NULL,
	                               .progress = transfer_progress,
	                               .arg = t },
		&t->wait);
}

void rpc_ctl_pull(struct cri *cri, struct grpc_call *call, const void *request)
{
	const ctl_PullRequest *req = request;
	const struct pull_auth auth = {
		.username = req->auth.username,
		.password = req->auth.password,
		.auth = req->auth.auth,
		.identity_token = req->auth.identity_token,
		.registry_token = req->auth.registry_token,
	};
	cleanup(pull_registry_text_free) char *registry = NULL;
	struct err err = { 0 };
	struct transfer *t;

	registry = pull_registry_text(cri->config, cri->version, &auth, &err);
	if (!registry) {
		grpc_fail(call, &err);
		return;
	}
	t = transfer_new(cri, call, false);
	life_image_pull(cri->life,
	                &(struct life_pull){ .name = or_empty(req->image),
	                                     .registry = registry,
	                                     .progress = transfer_progress,
	                                     .arg = t },
	                &t->wait);
}

/* --- Dump */

void rpc_ctl_dump(struct cri *cri, struct grpc_call *call, const void *request UNUSED)
{
	cleanup(buf_release) struct buf json = { 0 };
	struct err err = { 0 };

	buf_init(&json, DUMP_MAX_BYTES);
	if (cri->dump->json(cri->dump->arg, &json, &err) < 0) {
		grpc_fail(call, &err);
		return;
	}
	for (size_t at = 0; at < json.len;) {
		size_t n = MIN(json.len - at, (size_t)DUMP_CHUNK);
		cleanup_free uint8_t *raw = xcalloc(1, PB_BYTES_ARRAY_T_ALLOCSIZE(n));
		pb_bytes_array_t *bytes = (pb_bytes_array_t *)(void *)raw;
		const ctl_DumpChunk msg = { .json = bytes };

		bytes->size = (pb_size_t)n;
		memcpy(bytes->bytes, json.data + at, n);
		if (grpc_stream_send(call, ctl_DumpChunk_fields, &msg, &err) < 0) {
			grpc_fail(call, &err);
			return;
		}
		at += n;
	}
	grpc_finish(call);
}
