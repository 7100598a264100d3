/* cri/rpc/events.c
 *
 * GetContainerEvents: each client reads the ring with its own cursor. One that cannot keep up gets an error at the end of its
 * stream and relists; nobody waits for it.
 */
#include "core/life/events.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/codec.h"
#include "core/base/mem.h"
#include "cri/proto/cri.h"
#include "cri/rpc/handlers.h"
#include "cri/rpc/to_cri.h"

struct event_stream {
	struct cri *cri;
	struct grpc_call *call;
	struct events_reader reader;
};

static void stream_end(struct event_stream *es)
{
	events_unsubscribe(&es->reader);
	grpc_on_cancel(es->call, NULL, NULL);
	grpc_on_drain(es->call, NULL, NULL);
	free(es);
}

static int send_event(struct event_stream *es, const struct event *ev, struct err *err)
{
	const struct state *state = es->cri->state;
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(16 << 20);
	char container[ID_SIZE], sandbox[ID_SIZE];
	const struct sandbox *sb;
	cri_ContainerEventResponse resp = {
		.container_id = container,
		.container_event_type = (cri_ContainerEventType)ev->kind,
		.created_at = ev->time_ns,
	};
	size_t n = 0;

	hex_encode(ev->container, sizeof(ev->container), container);
	hex_encode(ev->sandbox, sizeof(ev->sandbox), sandbox);
	sb = sandbox_get(state, sandbox);
	if (sb && sandbox_is_visible(sb)) {
		list_for_each(l, &sb->containers)
			n += container_is_visible(list_entry(l, struct container, pod_link));
		resp.containers_statuses =
			pb_arena_alloc(arena, (n + 1) * sizeof(*resp.containers_statuses));
		resp.has_pod_sandbox_status = true;
		if (!resp.containers_statuses ||
		    to_cri_sandbox_status(sb, arena, &resp.pod_sandbox_status) < 0)
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "pod sandbox %s is too large for an event", sandbox);
		list_for_each(l, &sb->containers) {
			const struct container *c = list_entry(l, struct container, pod_link);

			if (container_is_visible(c) &&
			    to_cri_container_status(
				    state, c, NULL, 0, arena,
				    &resp.containers_statuses[resp.containers_statuses_count]) == 0)
				resp.containers_statuses_count++;
		}
	}
	return grpc_stream_send(es->call, cri_ContainerEventResponse_fields, &resp, err);
}

static void stream_pump(struct event_stream *es)
{
	struct err err = { 0 };
	struct event ev;
	int rc = 0;

	while (!grpc_stream_above_mark(es->call)) {
		rc = events_next(es->cri->events, &es->reader, &ev, &err);
		if (rc == 1)
			rc = send_event(es, &ev, &err) < 0 ? -1 : 1;
		if (rc <= 0)
			break;
	}
	if (rc < 0) {
		struct grpc_call *call = es->call;

		stream_end(es);
		grpc_fail(call, &err);
	}
}

static void stream_woken(void *arg)
{
	stream_pump(arg);
}

static void stream_drained(void *arg, struct grpc_call *call UNUSED)
{
	stream_pump(arg);
}

static void stream_cancelled(void *arg, struct grpc_call *call)
{
	struct event_stream *es = arg;
	struct err err = { 0 };

	err_set(&err, grpc_cancelled(call), "event stream: the client went away");
	stream_end(es);
	grpc_fail(call, &err);
}

void rpc_get_container_events(struct cri *cri, struct grpc_call *call, const void *request UNUSED)
{
	struct event_stream *es = xcalloc(1, sizeof(*es));

	es->cri = cri;
	es->call = call;
	es->reader.wake = stream_woken;
	es->reader.arg = es;
	events_subscribe(cri->events, &es->reader);
	grpc_on_drain(call, stream_drained, es);
	grpc_on_cancel(call, stream_cancelled, es);
}
