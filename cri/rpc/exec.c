/* cri/rpc/exec.c
 *
 * ExecSync. (Exec, Attach and PortForward come with the streaming server.)
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/life/life.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"

struct exec_call {
	struct life_exec exec;
	struct grpc_call *call;
};

static pb_bytes_array_t *output(const char *data, size_t len)
{
	pb_bytes_array_t *bytes = xcalloc(1, PB_BYTES_ARRAY_T_ALLOCSIZE(len));

	bytes->size = (pb_size_t)len;
	memcpy(bytes->bytes, data, len);
	return bytes;
}

static void exec_done(void *arg, const char *id UNUSED, const struct err *err)
{
	struct exec_call *ec = arg;
	const struct life_exec_result *result = &ec->exec.result;

	grpc_on_cancel(ec->call, NULL, NULL);
	if (err) {
		grpc_fail(ec->call, err);
	} else {
		cri_ExecSyncResponse resp = {
			.stdout = output(result->out, result->out_len),
			.stderr = output(result->errout, result->errout_len),
			.exit_code = result->exit_code,
		};

		grpc_reply(ec->call, cri_ExecSyncResponse_fields, &resp);
		free(resp.stdout);
		free(resp.stderr);
	}
	free(ec);
}

static void exec_cancelled(void *arg, struct grpc_call *call)
{
	struct exec_call *ec = arg;
	struct err err = { 0 };

	err_set(&err, grpc_cancelled(call), "exec: the client went away");
	life_exec_forget(&ec->exec);
	grpc_fail(call, &err);
	free(ec);
}

void rpc_exec_sync(struct cri *cri, struct grpc_call *call, const void *request)
{
	const cri_ExecSyncRequest *req = request;
	struct exec_call *ec = xcalloc(1, sizeof(*ec));
	char **argv = pb_arena_alloc(grpc_scratch(call), (req->cmd_count + 1) * sizeof(*argv));
	int64_t timeout_ms =
		req->timeout > INT32_MAX ? (int64_t)INT32_MAX * 1000 : req->timeout * 1000;
	struct err err = { 0 };

	if (!argv) {
		err_set(&err, CODE_RESOURCE_EXHAUSTED, "cmd is too long");
		grpc_fail(call, &err);
		free(ec);
		return;
	}
	memcpy(argv, req->cmd, req->cmd_count * sizeof(*argv));
	ec->call = call;
	ec->exec.wait.done = exec_done;
	ec->exec.wait.arg = ec;
	life_exec_sync(cri->life, req->container_id, argv, timeout_ms, &ec->exec);
	grpc_on_cancel(call, exec_cancelled, ec);
}
