#include "core/life/events.h"

#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/base/str.h"

struct events {
	struct loop *loop;
	struct loop_defer defer;
	struct list readers;
	uint64_t next; /* seq of the next event */
	struct event ring[EVENTS_MAX];
};

static void wake_readers(void *arg)
{
	struct events *events = arg;

	list_for_each_safe(l, &events->readers) {
		struct events_reader *reader = list_entry(l, struct events_reader, link);

		if (reader->next < events->next)
			reader->wake(reader->arg);
	}
}

struct events *events_new(struct loop *loop)
{
	struct events *events = xcalloc(1, sizeof(*events));

	events->loop = loop;
	events->next = 1;
	list_init(&events->readers);
	loop_defer_init(&events->defer, wake_readers, events);
	return events;
}

void events_free(struct events *events)
{
	if (!events)
		return;
	loop_defer_cancel(&events->defer);
	free(events);
}

void events_push(struct events *events, enum event_kind kind, const char *container_id,
                 const char *sandbox_id, int64_t time_ns)
{
	struct event *ev = &events->ring[events->next % EVENTS_MAX];

	*ev = (struct event){ .seq = events->next++, .kind = kind, .time_ns = time_ns };
	/* ids are ours: 64 hex characters each */
	ignore(hex_decode(str_of(container_id), ev->container, sizeof(ev->container)));
	ignore(hex_decode(str_of(sandbox_id), ev->sandbox, sizeof(ev->sandbox)));
	if (!list_empty(&events->readers))
		loop_defer_queue(events->loop, &events->defer);
}

void events_subscribe(struct events *events, struct events_reader *reader)
{
	reader->next = events->next;
	list_push_back(&events->readers, &reader->link);
}

void events_unsubscribe(struct events_reader *reader)
{
	if (list_linked(&reader->link))
		list_remove(&reader->link);
}

int events_next(struct events *events, struct events_reader *reader, struct event *ret,
                struct err *err)
{
	if (reader->next >= events->next)
		return 0;
	if (events->next - reader->next > EVENTS_MAX)
		return err_set(err, CODE_OUT_OF_RANGE,
		               "event stream fell behind: %llu events lost, list again",
		               (unsigned long long)(events->next - reader->next - EVENTS_MAX));
	*ret = events->ring[reader->next++ % EVENTS_MAX];
	return 1;
}
