#include "core/state/transition.h"

/* clang-format off */
static const uint8_t sandbox_table[SANDBOX_STATES][SANDBOX_EVENTS] = {
	[SANDBOX_CREATING] = { [SANDBOX_ON_READY]    = SANDBOX_READY,
			       [SANDBOX_ON_REMOVING] = SANDBOX_REMOVING },
	[SANDBOX_READY]    = { [SANDBOX_ON_STOPPING] = SANDBOX_NOTREADY },
	/* a pod whose pause container died is NOTREADY before anyone asked it to stop */
	[SANDBOX_NOTREADY] = { [SANDBOX_ON_STOPPING] = SANDBOX_NOTREADY,
			       [SANDBOX_ON_STOPPED]  = SANDBOX_NOTREADY,
			       [SANDBOX_ON_REMOVING] = SANDBOX_REMOVING },
	[SANDBOX_REMOVING] = { [SANDBOX_ON_REMOVING] = SANDBOX_REMOVING, /* the undo got further: a new step */
			       [SANDBOX_ON_REMOVED]  = SANDBOX_GONE },
};

static const uint8_t container_table[CONTAINER_STATES][CONTAINER_EVENTS] = {
	[CONTAINER_CREATING] = { [CONTAINER_ON_CREATED]  = CONTAINER_CREATED,
				 [CONTAINER_ON_REMOVING] = CONTAINER_REMOVING },
	[CONTAINER_CREATED]  = { [CONTAINER_ON_STARTING] = CONTAINER_STARTING,
				 [CONTAINER_ON_EXITED]   = CONTAINER_EXITED },
	[CONTAINER_STARTING] = { [CONTAINER_ON_RUNNING]  = CONTAINER_RUNNING,
				 [CONTAINER_ON_EXITED]   = CONTAINER_EXITED },
	[CONTAINER_RUNNING]  = { [CONTAINER_ON_EXITED]   = CONTAINER_EXITED },
	[CONTAINER_EXITED]   = { [CONTAINER_ON_REMOVING] = CONTAINER_REMOVING },
	[CONTAINER_REMOVING] = { [CONTAINER_ON_REMOVING] = CONTAINER_REMOVING,
				 [CONTAINER_ON_REMOVED]  = CONTAINER_GONE },
};
/* clang-format on */

_Static_assert(SANDBOX_STATES <= UINT8_MAX && CONTAINER_STATES <= UINT8_MAX,
               "the tables hold a state in a byte");

enum sandbox_state sandbox_next(enum sandbox_state state, enum sandbox_event event)
{
	return state < SANDBOX_STATES && event < SANDBOX_EVENTS ? sandbox_table[state][event]
	                                                        : SANDBOX_INVALID;
}

enum container_state container_next(enum container_state state, enum container_event event)
{
	return state < CONTAINER_STATES && event < CONTAINER_EVENTS ? container_table[state][event]
	                                                            : CONTAINER_INVALID;
}
