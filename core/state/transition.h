/* core/state/transition.h
 *
 * The two tables: state x event. What is not listed is refused (INVALID).
 */
#ifndef CORACLE_CORE_STATE_TRANSITION_H
#define CORACLE_CORE_STATE_TRANSITION_H

#include "core/state/types.h"

enum sandbox_event {
	SANDBOX_ON_READY,
	SANDBOX_ON_STOPPING,
	SANDBOX_ON_STOPPED,
	SANDBOX_ON_REMOVING,
	SANDBOX_ON_REMOVED,
	SANDBOX_EVENTS
};

enum container_event {
	CONTAINER_ON_CREATED,
	CONTAINER_ON_STARTING,
	CONTAINER_ON_RUNNING,
	CONTAINER_ON_EXITED,
	CONTAINER_ON_REMOVING,
	CONTAINER_ON_REMOVED,
	CONTAINER_EVENTS,
};

/* SANDBOX_INVALID / CONTAINER_INVALID: the event is not allowed in that state. */
enum sandbox_state sandbox_next(enum sandbox_state state, enum sandbox_event event);
enum container_state container_next(enum container_state state, enum container_event event);

#endif
