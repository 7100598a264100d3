/* core/net/builtin.h
 *
 * The network of a node that nobody gave one: a bridge with addresses by host-local, masquerading and host ports, all from
 * the distribution's CNI plugins. IPv4.
 *
 * Bridge name, subnet and address files are keyed by the state directory, so two daemons share nothing. The subnet is the first
 * of a fixed sequence that no route of the host overlaps; it is kept in <state>/net/builtin.json for this boot.
 */
#ifndef CORACLE_CORE_NET_BUILTIN_H
#define CORACLE_CORE_NET_BUILTIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define BUILTIN_BRIDGE_SIZE 16 /* IFNAMSIZ */

/* "coracle0" for the default state directory, else "cora-" and eight digits of its hash. */
void builtin_bridge(const char *state_dir, char name[BUILTIN_BRIDGE_SIZE]);

/*
 * builtin_subnet - 10.x.y.0/24 as a host-order address.
 * @routes: text of /proc/net/route. Routes through @bridge are our own and do not count.
 * Errors:  RESOURCE_EXHAUSTED all candidates are taken.
 */
NODISCARD int builtin_subnet(const char *state_dir, const char *routes, const char *bridge,
                             uint32_t *ret_subnet, struct err *err);

enum builtin_with {                         /* what the host can do; all of it needs iptables */
	            BUILTIN_MASQUERADE = 1, /* else pods reach this host only */
	            BUILTIN_FIREWALL = 2,   /* the firewall plugin is there */
	            BUILTIN_PORTMAP = 4,    /* the portmap plugin is there; else no host ports */
};

/*
 * builtin_conf - the network list as JSON text.
 * @with: of enum builtin_with.
 * @keep: write the chosen subnet down, as the first pod needs it; looking alone must leave no trace.
 */
NODISCARD int builtin_conf(const char *state_dir, unsigned with, bool keep, char **ret_text,
                           struct err *err);

#endif
