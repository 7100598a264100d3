/* core/run/namespaces.h
 *
 * A pod's network, IPC, UTS and user namespaces, kept alive by bind mounts instead of a process:
 *
 *	<state>/ns/<sandbox id>/{net,ipc,uts,user}
 *
 * One helper child makes them for pods with and without a user namespace: it forks the process whose namespaces they
 * become (user unshared first, the others then owned by it), writes its id maps, lets it set hostname, sysctls and
 * loopback as root of that namespace, and bind-mounts /proc/PID/ns/X. The loop sees one child with one result.
 * Pins vanish with a reboot or with their unmount, never with the daemon.
 *
 * Thread: loop only, but for the pure checks.
 */
#ifndef CORACLE_CORE_RUN_NAMESPACES_H
#define CORACLE_CORE_RUN_NAMESPACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/state/types.h"

enum namespace_kind {
	NAMESPACE_NET,
	NAMESPACE_IPC,
	NAMESPACE_UTS,
	NAMESPACE_USER,
	NAMESPACE_KINDS
};
/* "net" "ipc" "uts" "user": as under /proc/PID/ns and in the pins' names */
const char *namespace_name(enum namespace_kind kind);

#define ID_MAPS_MAX 64

struct namespaces_args {
	const char *id;                /* the sandbox's */
	bool host_network;             /* no network namespace, and no UTS namespace either (CRI) */
	bool host_ipc;                 /* no IPC namespace */
	const struct id_map *uid_maps; /* none: no user namespace */
	size_t nuid_maps;
	const struct id_map *gid_maps;
	size_t ngid_maps;
	const char *hostname; /* NULL or "": the new UTS namespace keeps the host's name */
	struct pairs sysctls; /* as requested; names with dots or slashes */
};

/* The pinned paths; "" where the pod uses the host's. */
struct namespaces_paths {
	char path[NAMESPACE_KINDS][256];
};

struct namespaces;

/* @state: the daemon's run directory; made if missing. */
NODISCARD struct namespaces *namespaces_new(struct loop *loop, const char *state, struct err *err);
void namespaces_free(struct namespaces *ns); /* pins stay */

/*
 * namespaces_check - what can be said without trying: id maps (inside 0 mapped, no overlap, counts > 0), hostname length,
 * sysctls (safe form, and the namespace they belong to is the pod's own).
 * Errors: INVALID_ARGUMENT naming the map, the hostname or the sysctl.
 */
NODISCARD int namespaces_check(const struct namespaces_args *args, struct err *err);

/* err NULL: done and @paths filled, else nothing of this attempt is left but what namespaces_remove() clears. */
typedef void (*namespaces_done_fn)(void *arg, const struct namespaces_paths *paths,
                                   const struct err *err);
/*
 * namespaces_create - make and pin them. Namespaces with network of their own also get net.ipv4.ip_unprivileged_port_start=0
 * and, without a user namespace, net.ipv4.ping_group_range="0 2147483647" where the request does not set them (as the peers).
 * Idempotent: pins of an earlier attempt are dropped first. @done always comes from the loop, not from inside this call.
 * Errors: those of namespaces_check; INVALID_ARGUMENT for a sysctl value the kernel refuses; UNIMPLEMENTED for a sysctl
 * this kernel does not have per namespace; RESOURCE_EXHAUSTED when a namespace limit is reached; DEADLINE_EXCEEDED.
 */
NODISCARD int namespaces_create(struct namespaces *ns, const struct namespaces_args *args,
                                int oplock_fd, int64_t timeout_ms, namespaces_done_fn done,
                                void *arg, struct err *err);
/* Unpin all of @id; nothing there is success. @done's paths are NULL. */
NODISCARD int namespaces_remove(struct namespaces *ns, const char *id, int oplock_fd,
                                int64_t timeout_ms, namespaces_done_fn done, void *arg,
                                struct err *err);
/* Is it pinned (a mounted namespace file, not just a name)? */
NODISCARD bool namespaces_is_pinned(const struct namespaces *ns, const char *id,
                                    enum namespace_kind kind);
/* Where a pin of @id is or would be. */
NODISCARD int namespaces_path(const struct namespaces *ns, const char *id, enum namespace_kind kind,
                              char *ret, size_t size);
/* Sandbox ids that have a pin directory, sorted; the orphan sweep compares them with the state. */
NODISCARD int namespaces_list(const struct namespaces *ns, char ***ret_ids, struct err *err);

/*
 * sysctl_path - "net.ipv4.conf.eth0/1.forwarding" -> "net/ipv4/conf/eth0.1/forwarding": the separator that comes first
 * separates, the other one stands for itself (sysctl(8)).
 * Errors: INVALID_ARGUMENT: empty, too long, an empty or dot component, a character that no sysctl has.
 */
NODISCARD int sysctl_path(const char *name, char *ret, size_t size, struct err *err);
/* The namespace that holds this sysctl path, or -1: not one that a pod may set. */
int sysctl_namespace(const char *path);

#endif
