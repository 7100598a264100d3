/* cri/rpc/pending.h
 *
 * A call that waits for an operation of life. When its client goes away the interest is withdrawn (life undoes what nobody waits
 * for), the call is answered for the books, and this is freed.
 */
#ifndef CORACLE_CRI_RPC_PENDING_H
#define CORACLE_CRI_RPC_PENDING_H

#include "core/base/attr.h"
#include "core/life/life.h"
#include "cri/grpc/grpc.h"

struct pending {
	struct life_wait wait;
	struct grpc_call *call;
	/* Build and send the answer; id as life_done_fn has it. Not called on failure. */
	void (*answer)(struct grpc_call *call, const char *id);
};

/* To be handed to a life_* verb: `life_sandbox_stop(life, id, &pending_new(call, answer)->wait)`. */
NODISCARD struct pending *pending_new(struct grpc_call *call,
                                      void (*answer)(struct grpc_call *call, const char *id));

#endif
