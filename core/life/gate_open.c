/* core/life/gate_open.c
 *
 * The gate when nobody guards it: NRI off or absent. No connection ever exists, so no call is ever carried.
 */
#include "core/base/bug.h"
#include "core/life/gate.h"

static bool open_ready(void *arg UNUSED)
{
	return true;
}

static void open_synchronize(void *arg UNUSED, uint32_t conn UNUSED,
                             const struct gate_snapshot *snapshot UNUSED)
{
	ensure(!"synchronize without a connection");
}

static void open_call(void *arg UNUSED, uint32_t conn UNUSED, const struct gate_call *call UNUSED)
{
	ensure(!"call without a connection");
}

static void open_forget(void *arg UNUSED, uint32_t conn UNUSED, uint64_t call UNUSED)
{
	ensure(!"forget without a connection");
}

static void open_close(void *arg UNUSED, uint32_t conn UNUSED, const char *why UNUSED)
{
	ensure(!"close without a connection");
}

static bool open_subscribed(void *arg UNUSED, uint32_t conn UNUSED, enum gate_kind kind UNUSED)
{
	return false;
}

struct gate gate_open(void)
{
	return (struct gate){
		.ready = open_ready,
		.synchronize = open_synchronize,
		.call = open_call,
		.forget = open_forget,
		.close = open_close,
		.subscribed = open_subscribed,
	};
}

const char *gate_kind_name(enum gate_kind kind)
{
	static const char *const names[GATE_KINDS] = {
		[GATE_INVALID] = "invalid",
		[GATE_SANDBOX_RUN] = "sandbox_run",
		[GATE_SANDBOX_UPDATE] = "sandbox_update",
		[GATE_CONTAINER_CREATE] = "container_create",
		[GATE_CONTAINER_START] = "container_start",
		[GATE_CONTAINER_UPDATE] = "container_update",
		[GATE_POST_CREATE] = "post_create",
		[GATE_POST_START] = "post_start",
		[GATE_POST_UPDATE] = "post_update",
		[GATE_SANDBOX_POST_UPDATE] = "sandbox_post_update",
		[GATE_EXITED] = "exited",
		[GATE_CONTAINER_REMOVE] = "container_remove",
		[GATE_SANDBOX_STOP] = "sandbox_stop",
		[GATE_SANDBOX_REMOVE] = "sandbox_remove",
	};

	return kind < GATE_KINDS ? names[kind] : "invalid";
}
