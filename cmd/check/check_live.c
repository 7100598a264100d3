/* cmd/check/check_live.c: does the running daemon answer, and what does it say of itself (group live)? */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cmd/check/state.h"
#include "core/base/json.h"
#include "core/base/str.h"
#include "cri/grpc/client.h"
#include "cri/proto/cri.h"

#define LIVE_MS      2000
#define ANSWER_BYTES (16 << 20)
#define COUNT_TRIES  5
#define COUNT_WAIT                                                                                 \
	{                                                                                          \
		.tv_nsec = 300000000                                                               \
	} /* a daemon at work changes while we look */

static const char *endpoint(const struct check_ctx *ctx)
{
	return ctx->endpoint ? ctx->endpoint : ctx->config->listen;
}

static int call(const struct check_ctx *ctx, const struct grpc_client_call *call,
                struct pb_arena *arena, void *response, struct err *err)
{
	cleanup(grpc_client_free) struct grpc_client *client = grpc_client_new(endpoint(ctx), err);

	return client ? grpc_client_unary(client, call, arena, response, err) : -1;
}

#define CALL(ctx, service, rpc, arena, response, err)                                              \
	call(ctx,                                                                                  \
	     &(struct grpc_client_call){ .method = "/runtime.v1." service "/" #rpc,                \
	                                 .request_desc = cri_##rpc##Request_fields,                \
	                                 .request = &(const cri_##rpc##Request){ 0 },              \
	                                 .response_desc = cri_##rpc##Response_fields,              \
	                                 .timeout_ms = LIVE_MS },                                  \
	     arena, response, err)

static int ask_version(const struct check_ctx *ctx, struct pb_arena *arena,
                       cri_VersionResponse *response, struct err *err)
{
	return CALL(ctx, "RuntimeService", Version, arena, response, err);
}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	cri_VersionResponse response = { 0 };
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ANSWER_BYTES);
	struct err err = { .code = CODE_OK };

	if (ask_version(ctx, arena, &response, &err) == 0) {
		check_ok(out, NULL, "%s: %s %s", endpoint(ctx), or_empty(response.runtime_name),
		         or_empty(response.runtime_version));
	} else if (err.sys == EACCES) {
		check_skip(out, NULL, "needs root: %s", err.msg);
	} else {
		check_fail(out, NULL, "%s", err.msg);
		check_hint(
			out,
			"is the daemon started? systemctl status coracle; its log tells why not");
	}
}

/* A daemon that does not answer at all is one failure, not four. */
static void no_answer(const struct check_ctx *ctx, struct check_out *out, const char *what,
                      const struct err *err)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ANSWER_BYTES);
	cri_VersionResponse response = { 0 };
	struct err why = { .code = CODE_OK };

	if (ask_version(ctx, arena, &response, &why) < 0) {
		check_skip(out, NULL, "no daemon answers: see live.version");
		return;
	}
	check_fail(out, NULL, "%s: %s", what, err->msg);
	check_hint(out, "the daemon's log tells more, and coracle ctl dump what it is about");
}

static void images(const struct check_ctx *ctx, struct check_out *out)
{
	cri_ImageFsInfoResponse response = { 0 };
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ANSWER_BYTES);
	struct err err = { .code = CODE_OK };

	if (CALL(ctx, "ImageService", ImageFsInfo, arena, &response, &err) < 0) {
		no_answer(ctx, out, "ImageFsInfo", &err);
	} else if (response.image_filesystems_count == 0) {
		check_fail(out, NULL, "ImageFsInfo names no file system");
		check_hint(out, "kubelet cannot collect images then; please report this");
	} else {
		check_ok(out, NULL, "images take %llu MiB at %s",
		         (unsigned long long)response.image_filesystems[0].used_bytes.value >> 20,
		         or_empty(response.image_filesystems[0].fs_id.mountpoint));
	}
}

static void report_condition(struct check_out *out, const cri_RuntimeCondition *condition)
{
	const char *type = or_empty(condition->type);
	bool is_runtime = streq(type, "RuntimeReady");

	if (condition->status) {
		check_ok(out, type, "%s",
		         *or_empty(condition->message) ? condition->message : "true");
		return;
	}
	check_report(out, is_runtime ? CHECK_FAIL : CHECK_WARN, type, "false: %s: %s",
	             or_empty(condition->reason), or_empty(condition->message));
	if (is_runtime)
		check_hint(out,
		           "no pod starts; coracle check oci storage state tells what is wrong");
	else if (streq(type, "NetworkReady"))
		check_hint(out,
		           "no pod with a network starts; coracle check cni tells what is wrong");
	else
		check_hint(out, "mend what its message names");
}

static void conditions(const struct check_ctx *ctx, struct check_out *out)
{
	cri_StatusResponse response = { 0 };
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ANSWER_BYTES);
	struct err err = { .code = CODE_OK };

	if (CALL(ctx, "RuntimeService", Status, arena, &response, &err) < 0)
		no_answer(ctx, out, "Status", &err);
	else
		for (size_t i = 0; i < response.status.conditions_count; i++)
			report_condition(out, &response.status.conditions[i]);
}

/* --- what it lists, and what is on record */

struct counts {
	size_t pods, containers;
};

static int count_live(const struct check_ctx *ctx, struct counts *ret, struct err *err)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ANSWER_BYTES);
	cri_ListPodSandboxResponse pods = { 0 };
	cri_ListContainersResponse containers = { 0 };

	if (CALL(ctx, "RuntimeService", ListPodSandbox, arena, &pods, err) < 0 ||
	    CALL(ctx, "RuntimeService", ListContainers, arena, &containers, err) < 0)
		return -1;
	*ret = (struct counts){ pods.items_count, containers.containers_count };
	return 0;
}

static struct counts count_recorded(const struct state *state)
{
	struct counts counts = { 0 };

	list_for_each(l, &state->sandboxes)
		counts.pods += sandbox_is_visible(list_entry(l, struct sandbox, link));
	list_for_each(l, &state->containers)
		counts.containers += container_is_visible(list_entry(l, struct container, link));
	return counts;
}

/* False after a report. */
static bool count_both(const struct check_ctx *ctx, struct check_out *out, struct counts *live,
                       struct counts *recorded)
{
	cleanup(offline_release) struct offline offline = { 0 };
	struct err err = { .code = CODE_OK };

	if (count_live(ctx, live, &err) < 0) {
		no_answer(ctx, out, "ListPodSandbox and ListContainers", &err);
		return false;
	}
	if (!check_state_whole(ctx, out, &offline))
		return false;
	*recorded = count_recorded(offline.state);
	return true;
}

/* Is it the daemon whose state lies below our root? Its own configuration tells. False after a report. */
static bool is_of_root(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(ANSWER_BYTES);
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	const cri_StatusRequest request = { .verbose = true };
	cri_StatusResponse response = { 0 };
	struct err err = { .code = CODE_OK };
	const char *root;

	if (call(ctx,
	         &(struct grpc_client_call){ .method = "/runtime.v1.RuntimeService/Status",
	                                     .request_desc = cri_StatusRequest_fields,
	                                     .request = &request,
	                                     .response_desc = cri_StatusResponse_fields,
	                                     .timeout_ms = LIVE_MS },
	         arena, &response, &err) < 0) {
		no_answer(ctx, out, "Status", &err);
		return false;
	}
	for (size_t i = 0; i < response.info_count && !doc; i++)
		if (streq(response.info[i].key, "config"))
			doc = json_parse(response.info[i].value, strlen(response.info[i].value),
			                 ANSWER_BYTES, "config", &err);
	root = json_str(doc ? yyjson_doc_get_root(doc) : NULL, "rootDir", "");
	if (streq(root, ctx->config->root))
		return true;
	check_skip(out, NULL, "the daemon at %s has its state in %s, not in %s: give --root",
	           endpoint(ctx), root, ctx->config->root);
	return false;
}

static void lists(const struct check_ctx *ctx, struct check_out *out)
{
	struct counts live = { 0 }, recorded = { 0 };
	bool same = false;

	if (!is_of_root(ctx, out))
		return;
	for (int i = 0; i < COUNT_TRIES && !same; i++) {
		if (i)
			nanosleep(&(struct timespec)COUNT_WAIT, NULL);
		if (!count_both(ctx, out, &live, &recorded))
			return;
		same = live.pods == recorded.pods && live.containers == recorded.containers;
	}
	if (same) {
		check_ok(out, NULL, "%zu pods and %zu containers, as on record", live.pods,
		         live.containers);
		return;
	}
	check_fail(
		out, NULL,
		"the daemon at %s lists %zu pods and %zu containers, on record in %s are %zu and %zu",
		endpoint(ctx), live.pods, live.containers, ctx->config->root, recorded.pods,
		recorded.containers);
	check_hint(
		out,
		"its journal was moved away or replaced: put it back before the daemon is stopped");
}

static const struct check checks[] = {
	{ "live.version", CHECK_FAIL, CHECK_HOST, version },
	{ "live.images", CHECK_FAIL, CHECK_HOST, images },
	{ "live.conditions", CHECK_FAIL, CHECK_HOST, conditions },
	{ "live.lists", CHECK_FAIL, CHECK_HOST, lists },
};

const struct check_group check_group_live = { "live", checks, ARRAY_SIZE(checks) };
