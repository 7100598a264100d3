/* core/config/reload.c
 *
 * From one reading of the configuration to the next while the daemon runs: fields are exchanged, so whoever reads them through the
 * configuration at each use has the new ones, and the old ones are freed with the fresh configuration.
 */
#include <string.h>

#include "core/base/str.h"
#include "core/config/config.h"

#define SWAP(a, b)                                                                                 \
	do {                                                                                       \
		__typeof__(a) swapped = (a);                                                       \
		(a) = (b);                                                                         \
		(b) = swapped;                                                                     \
	} while (0)

static void swap_field(struct config *a, struct config *b, const struct config_key *key)
{
	void *x = (char *)a + key->offset, *y = (char *)b + key->offset;

	switch (key->type) {
	case CONFIG_BOOL:
		SWAP(*(bool *)x, *(bool *)y);
		break;
	case CONFIG_BYTES:
	case CONFIG_DURATION:
		SWAP(*(int64_t *)x, *(int64_t *)y);
		break;
	case CONFIG_CHOICE: /* the only one that can be reloaded */
		SWAP(*(enum log_level *)x, *(enum log_level *)y);
		break;
	case CONFIG_PATH:
	case CONFIG_PATH_LIST:
	case CONFIG_PROGRAM:
	case CONFIG_HANDLER:
	case CONFIG_LIST:
		SWAP(*(void **)x, *(void **)y);
		break;
	}
}

static struct config_value *find(const struct config *config, const struct config_value *like)
{
	for (size_t i = 0; i < config->nvalues; i++) {
		struct config_value *value = &config->values[i];

		if (value->key == like->key && streq(value->section, like->section))
			return value;
	}
	return NULL;
}

void config_reload(struct config *config, struct config *fresh, config_change_fn fn, void *arg)
{
	for (size_t i = 0; i < config->nvalues; i++) {
		struct config_value *value = &config->values[i], *next = find(fresh, value);

		if (next && streq(next->text, value->text)) {
			SWAP(value->origin, next->origin);
		} else if (next && value->key->reloadable) {
			swap_field(config, fresh, value->key);
			SWAP(value->origin, next->origin);
			SWAP(value->text, next->text);
			fn(arg, value, true);
		} else {
			fn(arg, next ? next : value, false);
		}
	}
	for (size_t i = 0; i < fresh->nvalues; i++)
		if (!find(config, &fresh->values[i]))
			fn(arg, &fresh->values[i], false);
	SWAP(config->problems, fresh->problems);
	SWAP(config->nproblems, fresh->nproblems);
}
