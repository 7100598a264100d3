#include "core/life/inbox.h"

#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"

struct inbox {
	struct loop *loop;
	struct loop_defer defer;
	struct list messages; /* struct inbox_msg */
	void (*fn)(void *arg, struct inbox_msg *msg);
	void *arg;
};

static void inbox_drain(void *arg)
{
	struct inbox *inbox = arg;
	struct list batch;

	/* what a handler posts comes in a later turn */
	list_init(&batch);
	list_splice_back(&batch, &inbox->messages);
	while (!list_empty(&batch)) {
		struct inbox_msg *msg = list_entry(list_pop_front(&batch), struct inbox_msg, link);

		inbox->fn(inbox->arg, msg);
		bytes_release(&msg->resources);
		free(msg);
	}
}

struct inbox *inbox_new(struct loop *loop)
{
	struct inbox *inbox = xcalloc(1, sizeof(*inbox));

	inbox->loop = loop;
	list_init(&inbox->messages);
	loop_defer_init(&inbox->defer, inbox_drain, inbox);
	return inbox;
}

void inbox_free(struct inbox *inbox)
{
	if (!inbox)
		return;
	loop_defer_cancel(&inbox->defer);
	while (!list_empty(&inbox->messages)) {
		struct inbox_msg *msg =
			list_entry(list_pop_front(&inbox->messages), struct inbox_msg, link);

		bytes_release(&msg->resources);
		free(msg);
	}
	free(inbox);
}

void inbox_read(struct inbox *inbox, void (*fn)(void *arg, struct inbox_msg *msg), void *arg)
{
	ensure(!inbox->fn && fn);
	inbox->fn = fn;
	inbox->arg = arg;
	if (!list_empty(&inbox->messages))
		loop_defer_queue(inbox->loop, &inbox->defer);
}

void inbox_post(struct inbox *inbox, const struct inbox_msg *msg)
{
	struct inbox_msg *copy = xmemdup(msg, sizeof(*msg));

	list_push_back(&inbox->messages, &copy->link);
	if (inbox->fn)
		loop_defer_queue(inbox->loop, &inbox->defer);
}

void inbox_connected(struct inbox *inbox, uint32_t conn, const char *name, bool preinstalled)
{
	struct inbox_msg msg = { .kind = INBOX_CONNECTED,
		                 .conn = conn,
		                 .preinstalled = preinstalled };

	ensure(str_copy(msg.name, sizeof(msg.name), name) ==
	       0); /* names are checked at registration */
	inbox_post(inbox, &msg);
}

void inbox_answer(struct inbox *inbox, uint32_t conn, uint64_t call, const struct err *refused)
{
	struct inbox_msg msg = {
		.kind = INBOX_ANSWER, .conn = conn, .call = call, .refused = refused != NULL
	};

	if (refused)
		msg.err = *refused;
	inbox_post(inbox, &msg);
}

void inbox_closed(struct inbox *inbox, uint32_t conn, const char *why)
{
	struct inbox_msg msg = { .kind = INBOX_CLOSED, .conn = conn };

	ignore(str_format(msg.reason, sizeof(msg.reason), "%.200s", why)); /* it fits */
	inbox_post(inbox, &msg);
}
