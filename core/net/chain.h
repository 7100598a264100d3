/* core/net/chain.h
 *
 * One operation of a network: its plugins one after the other, ADD, CHECK, STATUS and GC forwards, DEL backwards. Private to
 * core/net; cni.h is the interface.
 */
#ifndef CORACLE_CORE_NET_CHAIN_H
#define CORACLE_CORE_NET_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/list.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/net/cni.h"
#include "core/net/plan.h"

enum verb { VERB_ADD, VERB_DEL, VERB_CHECK, VERB_GC, VERB_STATUS };

/* What operations share; part of struct net. */
struct chain {
	struct loop *loop;
	char **bin_dirs;
	char *cni_path;     /* bin_dirs joined by ':' */
	int64_t timeout_ms; /* of one plugin's call */
	struct list ops;
};

struct net_op {
	struct list link;
	struct chain *chain;
	enum verb verb;
	struct net_plan plan; /* GC and STATUS: of the network alone */
	char **valid_ids;     /* GC */

	size_t done_plugins; /* how many of the chain have run */
	char *prev;          /* prevResult as text, NULL: none */
	size_t prev_len;

	int oplock_fd;
	int64_t timeout_ms;
	net_done_fn done;
	void *arg;

	struct child *child;
	/* Of the plugin that runs, for child_check(); its pointers but name are stale. */
	struct child_args child_args;
	char *child_name;
	struct loop_defer finish; /* done is called from here, never from within the caller */
	struct err err;
	bool failed;
};

const char *net_verb_name(enum verb verb);
/* The executable for @type in the first directory that has it, or NULL. */
NODISCARD char *chain_find_plugin(const struct chain *chain, const char *type);

/* Empty; fill in plan and what else the verb needs, then net_op_step(). done is called once, from the loop. */
NODISCARD struct net_op *net_op_new(struct chain *chain, enum verb verb, net_done_fn done,
                                    void *arg);
/* The next plugin, or the end. */
void net_op_step(struct net_op *op);
/* The end, with op->err. */
void net_op_fail(struct net_op *op);
/* Name of the plugin that runs, NULL if none does. */
const char *net_op_plugin(const struct net_op *op);
/* Forget it: a plugin that runs goes on, done is not called. */
void net_op_free(struct net_op *op);

#endif
