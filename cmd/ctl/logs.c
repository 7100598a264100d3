/* cmd/ctl/logs.c: logs. */
#include "cmd/ctl/ctl.h"
#include "cmd/ctl/log.h"
#include "cmd/ctl/resolve.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"

int verb_logs(struct ctl *ctl, int argc, char **argv)
{
	bool follow = false, times = false;
	int64_t tail = -1;
	const struct arg_option options[] = {
		{ "follow", 'f', ARG_FLAG, &follow, NULL, "go on until the container ends" },
		{ "tail", 'n', ARG_NUMBER, &tail, "N", "begin with the last N entries" },
		{ "timestamps", 't', ARG_FLAG, &times, NULL, "print when each line was written" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 1, 1);
	cleanup(log_close) struct log_reader reader = { 0 };
	cri_ContainerStatusResponse response;
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
	if (CALL_RUNTIME(ctl, ContainerStatus,
	                 (&(cri_ContainerStatusRequest){ .container_id = container->id }),
	                 &response, READ_TIMEOUT_MS, &err) < 0)
		return ctl_fail(ctl, &err);
	if (!response.status.log_path || !response.status.log_path[0]) {
		err_set(&err, CODE_FAILED_PRECONDITION,
		        "container '%.64s' has no log: its pod was made without a log directory",
		        argv[1]);
		return ctl_fail(ctl, &err);
	}
	if (log_open(&reader, response.status.log_path, tail, follow, &err) < 0)
		return ctl_fail(ctl, &err);
	reader.times = times;
	if (follow ? log_follow(ctl, &reader, container->id, -1, &err) < 0
	           : log_print(&reader, &err) < 0)
		return ctl_fail(ctl, &err);
	return ctl_flush(ctl);
}
