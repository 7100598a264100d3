/* core/life/events.h
 *
 * A bounded ring of CRI lifecycle events (GetContainerEvents). Readers hold a cursor, not a callback; one that falls behind by
 * a whole ring gets OUT_OF_RANGE and its stream ends with an error, so that kubelet relists.
 */
#ifndef CORACLE_CORE_LIFE_EVENTS_H
#define CORACLE_CORE_LIFE_EVENTS_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/loop/loop.h"
#include "core/state/types.h"

enum event_kind {
	EVENT_CREATED = 0,
	EVENT_STARTED = 1,
	EVENT_STOPPED = 2,
	EVENT_DELETED = 3
}; /* CRI numbers */

#define EVENTS_MAX 1024

struct event {
	uint64_t seq; /* counts from 1 in this daemon life */
	enum event_kind kind;
	uint8_t container[32],
		sandbox[32]; /* binary ids; a pod's own event names the pod in both */
	int64_t time_ns;
};

struct events;
struct events_reader {
	struct list link;
	uint64_t next;           /* seq of the next event to read */
	void (*wake)(void *arg); /* from the loop, when there is something to read */
	void *arg;
};

NODISCARD struct events *events_new(struct loop *loop);
void events_free(struct events *events);
void events_push(struct events *events, enum event_kind kind, const char *container_id,
                 const char *sandbox_id, int64_t time_ns);
void events_subscribe(struct events *events, struct events_reader *reader); /* from now on */
void events_unsubscribe(struct events_reader *reader);
/* 1 and *ret, 0 when there is nothing new, -1 with OUT_OF_RANGE when the reader was overtaken. */
NODISCARD int events_next(struct events *events, struct events_reader *reader, struct event *ret,
                          struct err *err);

#endif
