/* core/net/netconf.h
 *
 * One CNI network: a list of plugins, read from a file of either form (.conflist, or a single plugin in .conf and .json) and
 * kept in one: { cniVersion, name, disableCheck, disableGC, plugins: [...] }. Nothing of a plugin's own keys is interpreted.
 */
#ifndef CORACLE_CORE_NET_NETCONF_H
#define CORACLE_CORE_NET_NETCONF_H

#include <stdbool.h>
#include <stddef.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define NETCONF_MAX_BYTES   (256 * 1024)
#define NETCONF_MAX_PLUGINS 32

struct netconf {
	char *name;
	char *version; /* of the list, chosen from cniVersions where there are several */
	bool disable_check, disable_gc;
	yyjson_doc *doc;     /* the list */
	yyjson_val *plugins; /* array in doc, 1..NETCONF_MAX_PLUGINS objects with a type */
	char *file;          /* where it came from, for messages; may be NULL */
};

/* INVALID_ARGUMENT "FILE: what is wrong". */
NODISCARD int netconf_parse(const char *file, const char *text, size_t len,
                            struct netconf **ret_conf, struct err *err);
void netconf_free(struct netconf *conf);

size_t netconf_count(const struct netconf *conf);
yyjson_val *netconf_plugin(const struct netconf *conf, size_t i);
const char *netconf_type(const struct netconf *conf, size_t i);

/* Is the network's version @major.@minor.0 or later? */
bool netconf_at_least(const struct netconf *conf, unsigned major, unsigned minor);

/* CNI's rule for network names, container ids and (shorter) interface names. */
bool netconf_is_name(const char *name);

DEFINE_CLEANUP_PTR(struct netconf, netconf_free);

#endif
