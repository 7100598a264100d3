/* core/life/inbox.h
 *
 * What plugins tell life: connections, answers, unsolicited updates and evictions. Built before both nri and life, so that
 * neither needs the other. A plain queue drained by life from a deferred call: nothing posted here is handled inside the poster.
 */
#ifndef CORACLE_CORE_LIFE_INBOX_H
#define CORACLE_CORE_LIFE_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/loop/loop.h"
#include "core/state/types.h"

enum inbox_kind {
	INBOX_CONNECTED, /* registered and configured: wants its Synchronize */
	INBOX_ANSWER,    /* to a call, or to Synchronize (call 0) */
	INBOX_CLOSED,    /* the connection is gone; nothing of it follows */
	INBOX_UPDATE,    /* unsolicited container update */
	INBOX_EVICT,
};

struct inbox_msg {
	struct list link;
	enum inbox_kind kind;
	uint32_t conn;
	char name[128];    /* CONNECTED: "10-logger" */
	bool preinstalled; /* CONNECTED */
	bool required;     /* CONNECTED: a request it does not answer is refused */
	int64_t call_timeout_ms,
		sync_timeout_ms; /* CONNECTED: its own deadlines; 0: the defaults */
	uint64_t call;           /* ANSWER */
	bool refused;            /* ANSWER: err says why */
	struct err err;
	char container_id[ID_SIZE]; /* UPDATE, EVICT */
	struct bytes resources;     /* UPDATE: CRI LinuxContainerResources */
	bool ignore_failure;        /* UPDATE */
	char reason[256];           /* EVICT, CLOSED */
	uint64_t reply_token;       /* UPDATE: nri's own, told back through its completion */
};

struct inbox;

NODISCARD struct inbox *inbox_new(struct loop *loop);
void inbox_free(struct inbox *inbox);
/* The one reader (life); posts from before are delivered too. */
void inbox_read(struct inbox *inbox, void (*fn)(void *arg, struct inbox_msg *msg), void *arg);
/* Copies @msg; resources.data is taken over. */
void inbox_post(struct inbox *inbox, const struct inbox_msg *msg);

void inbox_connected(struct inbox *inbox, uint32_t conn, const char *name, bool preinstalled);
void inbox_answer(struct inbox *inbox, uint32_t conn, uint64_t call,
                  const struct err *refused); /* NULL: passed */
void inbox_closed(struct inbox *inbox, uint32_t conn, const char *why);

#endif
