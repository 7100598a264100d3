#include "core/state/types.h"

#include <stdlib.h>
#include <string.h>

const char *sandbox_state_name(enum sandbox_state state)
{
	static const char *const names[SANDBOX_STATES] = {
		[SANDBOX_INVALID] = "invalid",   [SANDBOX_CREATING] = "creating",
		[SANDBOX_READY] = "ready",       [SANDBOX_NOTREADY] = "notready",
		[SANDBOX_REMOVING] = "removing", [SANDBOX_GONE] = "gone",
	};

	return state < SANDBOX_STATES ? names[state] : "invalid";
}

const char *container_state_name(enum container_state state)
{
	static const char *const names[CONTAINER_STATES] = {
		[CONTAINER_INVALID] = "invalid",   [CONTAINER_CREATING] = "creating",
		[CONTAINER_CREATED] = "created",   [CONTAINER_STARTING] = "starting",
		[CONTAINER_RUNNING] = "running",   [CONTAINER_EXITED] = "exited",
		[CONTAINER_REMOVING] = "removing", [CONTAINER_GONE] = "gone",
	};

	return state < CONTAINER_STATES ? names[state] : "invalid";
}

void pairs_release(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		free(pairs->items[i].key);
		free(pairs->items[i].value);
	}
	free(pairs->items);
	*pairs = (struct pairs){ 0 };
}

const char *pairs_find(const struct pairs *pairs, const char *key)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (!strcmp(pairs->items[i].key, key))
			return pairs->items[i].value;
	return NULL;
}

void bytes_release(struct bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct bytes){ 0 };
}
