#include "cri/rpc/pending.h"

#include <stdlib.h>

#include "core/base/mem.h"

static void pending_done(void *arg, const char *id, const struct err *err)
{
	struct pending *p = arg;
	struct grpc_call *call = p->call;

	grpc_on_cancel(call, NULL, NULL);
	if (err)
		grpc_fail(call, err);
	else
		p->answer(call, id);
	free(p);
}

static void pending_cancelled(void *arg, struct grpc_call *call)
{
	struct pending *p = arg;
	struct err err = { 0 };

	err_set(&err, grpc_cancelled(call), "%s: the client went away", grpc_method_name(call));
	life_forget(&p->wait);
	grpc_fail(call, &err);
	free(p);
}

struct pending *pending_new(struct grpc_call *call,
                            void (*answer)(struct grpc_call *call, const char *id))
{
	struct pending *p = xcalloc(1, sizeof(*p));

	p->call = call;
	p->answer = answer;
	p->wait.done = pending_done;
	p->wait.arg = p;
	/* a call that is cancelled already would be told at once, before there is anything to withdraw */
	if (grpc_cancelled(call) == CODE_OK)
		grpc_on_cancel(call, pending_cancelled, p);
	return p;
}
