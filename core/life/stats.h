/* core/life/stats.h
 *
 * What containers and pods use: processor, memory, pressure, network, disk. Sampled when somebody asks and never else: no
 * collector, no timer. One query is one worker job over kept-open cgroup files; its results come back as copies.
 *
 *	query = stats_query_new(stats, 0);
 *	stats_query_container(query, c);	 once for each
 *	stats_query_run(query, done, arg);	 done gets the results, in order of asking
 *
 * Two values need a memory. A rate needs an earlier reading: it is made from the readings of this and an earlier query, at least
 * half a second apart. The size of a writable layer needs a walk: a query tells the last known one with its time; one that finds
 * it older than ten seconds starts a walk in a child, whose result a later query tells (design D29).
 *
 * Thread:    loop only; the job sees copies.
 * Ownership: results are borrowed for the time of the callback. Ids in them may be gone from the state by then.
 */
#ifndef CORACLE_CORE_LIFE_STATS_H
#define CORACLE_CORE_LIFE_STATS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"
#include "core/image/usage.h"
#include "core/run/cgroup.h"
#include "core/state/types.h"

struct config;
struct container;
struct loop;
struct sandbox;
struct state;
struct worker;

struct stats;

/* All borrowed, and outliving the stats; the worker and @cgroups also outlive what still runs when they are freed. */
NODISCARD struct stats *stats_new(struct loop *loop, struct worker *worker,
                                  const struct cgroup_host *cgroups, const struct state *state,
                                  const struct config *config);
/* Callbacks of queries that still run are not called any more. NULL is fine. */
void stats_free(struct stats *stats);

/* --- one reading of a cgroup */
struct stats_usage {
	bool has; /* there was a cgroup; false: not running, or gone in the meantime */
	struct cgroup_stats cgroup;
	bool has_nano_cores; /* an earlier reading is known */
	uint64_t nano_cores; /* billionths of a core, between that reading and this one */
};

/* Counters of one network interface since it was made. */
struct stats_interface {
	char name[IF_NAMESIZE];
	uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped;
	uint64_t tx_bytes, tx_packets, tx_errors, tx_dropped;
};

/* What the processes of a container hold; STATS_PROCESSES only. */
struct stats_processes {
	bool has;
	uint64_t processes, threads, files, sockets;
};

/* statvfs of the file system that holds the writable layers; STATS_PROCESSES only. */
struct stats_disk {
	bool has;
	uint64_t total_bytes, free_bytes, total_inodes, free_inodes;
};

struct stats_container {
	char id[ID_SIZE];
	struct stats_usage usage;
	bool has_layer;
	struct usage layer; /* bytes and inodes written by the container */
	int64_t layer_ns;   /* wall clock: when that was so */
	struct stats_processes processes;
	struct stats_source *source; /* private */
};

struct stats_sandbox {
	char id[ID_SIZE];
	struct stats_usage
		usage; /* of the pod's cgroup; where it has none of its own, of its containers together */
	bool has_network;                   /* false: host network, or gone in the meantime */
	int64_t network_ns;                 /* wall clock of that reading */
	struct stats_interface *interfaces; /* in kernel order, loopback left out */
	size_t ninterfaces;
	size_t first, count;         /* its containers in stats_result.containers */
	struct stats_source *source; /* private */
	char *netns_path;            /* private */
};

struct stats_result {
	const struct stats_container *containers;
	size_t ncontainers;
	const struct stats_sandbox *sandboxes;
	size_t nsandboxes;
	struct stats_disk disk;
};

struct stats_query;
typedef void (*stats_done_fn)(void *arg, const struct stats_result *result);

enum stats_depth {
	STATS_BASIC, /* cpu, memory, swap, pids, pressure, network, layer */
	STATS_PROCESSES, /* also limits, throttling, io, descriptors, threads, disk: what metrics want; opens files */
};

NODISCARD struct stats_query *stats_query_new(struct stats *stats, enum stats_depth depth);
void stats_query_container(struct stats_query *query, const struct container *c);
/* The pod and each of its containers that clients may see. */
void stats_query_sandbox(struct stats_query *query, const struct sandbox *sb);
/* Ends the caller's hold on the query. @done is called from the loop, never from inside this call. */
void stats_query_run(struct stats_query *query, stats_done_fn done, void *arg);

/* For dump and tests: containers and pods whose files are kept open. */
size_t stats_kept(const struct stats *stats);

/*
 * stats_parse_net_dev - /proc/PID/net/dev, loopback left out; heap array.
 * Returns: how many. Lines that are no interface are passed over.
 */
size_t stats_parse_net_dev(struct str text, struct stats_interface **ret);

DEFINE_CLEANUP_PTR(struct stats, stats_free);

#endif
