/* core/net/cni_result.h
 *
 * What CNI plugins print. Two shapes of results: 0.1.0 and 0.2.0 have ip4 and ip6, 0.3.0 and later have ips and interfaces.
 */
#ifndef CORACLE_CORE_NET_CNI_RESULT_H
#define CORACLE_CORE_NET_CNI_RESULT_H

#include <stddef.h>

#include "core/base/attr.h"
#include "core/base/err.h"

#define CNI_RESULT_MAX_BYTES (256 * 1024) /* it becomes part of a journal record */
#define CNI_RESULT_MAX_IPS   32

/*
 * cni_result_ips - the pod's addresses, without prefix length: the first IPv4 address first, or the first of all if there is none,
 * the others in the plugins' order.
 * @ifname: addresses of this interface inside the namespace count; if it has none, those of any interface inside.
 * Errors:  INVALID_ARGUMENT not a result; FAILED_PRECONDITION no address. Messages do not name the plugin.
 */
NODISCARD int cni_result_ips(const char *json, size_t len, const char *ifname, char ***ret_ips,
                             struct err *err);

/*
 * cni_result_error - the words of a plugin that failed, from its stdout: "msg: details", or "" when it printed no error object.
 */
void cni_result_error(const char *json, size_t len, char *text, size_t size);

#endif
