/* cmd/ctl/exec.c: exec. */
#include "cmd/ctl/ctl.h"
#include "cmd/ctl/resolve.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"

static void put(FILE *out, const pb_bytes_array_t *bytes)
{
	if (bytes)
		fwrite(bytes->bytes, 1, bytes->size, out);
}

int verb_exec(struct ctl *ctl, int argc, char **argv)
{
	int64_t timeout_s = 0;
	const struct arg_option options[] = {
		{ "timeout", 't', ARG_NUMBER, &timeout_s, "SECONDS",
		  "kill the command after that long (0: never)" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 2, -1);
	cri_ExecSyncRequest request = { 0 };
	cri_ExecSyncResponse response;
	const cri_Container *container;
	struct objects objects;
	struct err err = { 0 };

	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (objects_fetch(ctl, &objects, &err) < 0)
		return ctl_fail(ctl, &err);
	container = resolve_container(&objects, argv[1], &err);
	if (!container)
		return ctl_fail(ctl, &err);
	request.timeout = timeout_s;
	request.container_id = container->id;
	request.cmd = argv + 2;
	request.cmd_count = (pb_size_t)(words - 1);
	if (CALL_RUNTIME(ctl, ExecSync, &request, &response, 0, &err) < 0)
		return ctl_fail(ctl, &err);
	put(stdout, response.stdout);
	put(stderr, response.stderr);
	return ctl_flush(ctl) == EXIT_OK ? response.exit_code : EXIT_FAILED;
}
