/* core/net/plan.h
 *
 * The text between net_prepare() and ADD, CHECK and DEL: one JSON object that holds the network list and everything a plugin is told
 * about the pod. It is journaled as it is; docs/wire.md has its members.
 */
#ifndef CORACLE_CORE_NET_PLAN_H
#define CORACLE_CORE_NET_PLAN_H

#include <stddef.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/net/cni.h"
#include "core/net/netconf.h"

struct net_plan {
	yyjson_doc *doc; /* owns the strings; NULL for a plan of the network alone */
	struct netconf *conf;
	const char *id, *netns, *ifname,
		*args;              /* CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS */
	yyjson_val *runtime_config; /* object or NULL */
};

/* INVALID_ARGUMENT names the field of @pod; RESOURCE_EXHAUSTED. */
NODISCARD int net_plan_write(const struct netconf *conf, const struct net_pod *pod, char **ret_text,
                             size_t *ret_len, struct err *err);
/* It comes from our own journal, but a damaged one must not do more than fail. */
NODISCARD int net_plan_read(const void *text, size_t len, struct net_plan *ret_plan,
                            struct err *err);
void net_plan_release(struct net_plan *plan);

#endif
