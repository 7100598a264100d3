/* core/state/image.h
 *
 * An image: identity is the digest of its config. Names ("registry/repo:tag") and digests ("registry/repo@sha256:...") point
 * to it; layers are diffIDs, base first. Ownership and thread as in sandbox.h.
 */
#ifndef CORACLE_CORE_STATE_IMAGE_H
#define CORACLE_CORE_STATE_IMAGE_H

#include <stdbool.h>

#include "core/base/list.h"
#include "core/state/types.h"

struct image {
	struct list link;
	char *id;       /* "sha256:<64 hex>" */
	char **names;   /* strv, canonical */
	char **digests; /* strv, canonical */
	char **layers;  /* strv of "sha256:<64 hex>" (diffIDs), base first */
	char *user;     /* config.User: "1000", "name", "name:group", "" */
	uint64_t size_bytes;
	bool pinned;
	int64_t created_ns; /* when it was stored here */
	uint64_t version;
};

#endif
