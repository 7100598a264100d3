/* core/net/cni.h
 *
 * The pod network through CNI plugins (specification 0.1.0 to 1.1.0).
 *
 * The configuration directory is watched; the first usable file in byte order is the network, a bad one is skipped and named.
 * While there is none at all, a bridge of our own stands in (builtin.h), unless that is switched off or a configuration was
 * there before in this life.
 *
 * Three calls, because an address must not leak whatever dies when:
 *
 *   net_prepare   chooses the network and writes everything that ADD and DEL need into one text, the plan. Journal it
 *                 (NETWORK_INTENT) before the next call.
 *   net_add       runs the plugins of the plan; its result goes into the journal (NETWORK).
 *   net_del       takes the same plan, and the result if there is one. A changed or removed configuration file, a lost
 *                 result, a failed ADD or a namespace that is gone do not matter to it; it may be repeated.
 *
 * Every plugin runs as a child with the caller's op lock, one after the other as the specification wants it, each with its own
 * deadline. done is called exactly once, always later from the loop, never from within the call.
 *
 * Thread: loop only.
 */
#ifndef CORACLE_CORE_NET_CNI_H
#define CORACLE_CORE_NET_CNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/state/types.h"

struct net;

struct net_args {
	struct loop *loop;
	const char *conf_dir;  /* config->cni_conf_dir; may appear later, vanish and come back */
	char *const *bin_dirs; /* config->cni_bin_dirs */
	const char *state_dir; /* config->state: keys the built-in network and holds its files */
	bool builtin;          /* config->cni_builtin */
	int64_t timeout_ms;    /* config->cni_timeout_ms: one plugin's call; 0: 60 s */
};

/* Reads the directory; each use looks whether it has changed. Everything is copied. */
NODISCARD struct net *net_new(const struct net_args *args);
/* The same with other directories, network and time-out, which operations in flight use from their next plugin on. */
void net_configure(struct net *net, const struct net_args *args);
/* Operations in flight are forgotten: their plugins go on (holding the op lock), done is not called. */
void net_free(struct net *net);

/*
 * net_ready - CRI's NetworkReady. @reason gets one line in any case: why not, or what is used
 * ("network "cbr0" from /etc/cni/net.d/10-cbr0.conflist", "built-in network ...").
 * Answers from memory and a few stat calls; where the network's version has STATUS, the last answer counts and an old one
 * starts a new check.
 */
bool net_ready(struct net *net, char *reason, size_t size);
/* For Status and dump: network, file, plugins, problems, operations. */
NODISCARD yyjson_mut_val *net_dump(const struct net *net, yyjson_mut_doc *doc);

struct net_port {
	uint16_t host_port, container_port; /* host_port 0: ignored */
	const char *protocol;               /* "tcp", "udp", "sctp" */
	const char *host_ip;                /* NULL or "": every address */
};

struct net_pod {
	const char *id; /* CNI_CONTAINERID */
	const char *netns_path;
	const char *ifname;          /* NULL: "eth0" */
	const char *name, *ns, *uid; /* CNI_ARGS K8S_POD_* */
	const struct pairs
		*annotations; /* kubernetes.io/{ingress,egress}-bandwidth are read; may be NULL */
	const struct net_port *ports;
	size_t nports;
	bool has_dns;
	char *const *dns_servers, *const *dns_searches, *const *dns_options; /* strv; NULL: none */
	const char *cgroup_parent; /* NULL or "": not told */
	char *const *ip_ranges;    /* strv of CIDRs; NULL: not told */
};

/*
 * net_prepare - the plan, a heap text, at most 512 KiB.
 * Errors: UNAVAILABLE no network is configured (text as net_ready); INVALID_ARGUMENT a field of @pod cannot be used;
 *         RESOURCE_EXHAUSTED too large.
 */
NODISCARD int net_prepare(struct net *net, const struct net_pod *pod, char **ret_plan,
                          size_t *ret_len, struct err *err);

struct net_result {
	const char *json; /* what the last plugin printed: keep it for net_del and net_check */
	size_t len;
	char *const *
		ips; /* strv without prefix length, primary (first IPv4, else first) first; never empty for ADD */
};
/* err NULL: success. @result is borrowed; NULL but for a successful ADD. */
typedef void (*net_done_fn)(void *arg, const struct net_result *result, const struct err *err);

struct net_call {
	const void *plan; /* copied */
	size_t plan_len;
	const void *result; /* DEL and CHECK: what ADD returned; NULL or empty if it never did */
	size_t result_len;
	int oplock_fd;      /* -1, or the op's lock; borrowed until done */
	int64_t timeout_ms; /* per plugin; 0: net_args.timeout_ms */
	net_done_fn done;
	void *arg;
};
#define NET_CALL_INIT                                                                              \
	{                                                                                          \
		.oplock_fd = -1                                                                    \
	}

/*
 * Errors name network, plugin and verb: DEADLINE_EXCEEDED killed at its deadline, or stuck; FAILED_PRECONDITION plugin not
 * found (directories named); UNKNOWN the plugin refused (its own words) or printed garbage. After a failed ADD call net_del.
 */
void net_add(struct net *net, const struct net_call *call);
void net_del(struct net *net, const struct net_call *call);
void net_check(
	struct net *net,
	const struct net_call *call); /* networks before 0.4.0 or with disableCheck: success */
/* The network drops what belongs to none of @ids (from 1.1.0 on; before: success without doing anything). */
void net_gc(struct net *net, char *const *ids, net_done_fn done, void *arg);

DEFINE_CLEANUP_PTR(struct net, net_free);

#endif
