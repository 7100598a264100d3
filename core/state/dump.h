/* core/state/dump.h
 *
 * State as JSON in a stable order: what `ctl dump`, `recover --json` and invariant I1 compare.
 */
#ifndef CORACLE_CORE_STATE_DUMP_H
#define CORACLE_CORE_STATE_DUMP_H

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/state/state.h"

/* The value belongs to @doc. Opaque bytes are shown as {"bytes": N, "sha256": "..."}: requests may hold secrets. */
NODISCARD yyjson_mut_val *dump_state(const struct state *state, yyjson_mut_doc *doc);
/* The whole as a heap string. */
NODISCARD char *dump_state_text(const struct state *state, bool pretty);

#endif
