/* cmd/deprecations.h
 *
 * What this node uses that is about to go. The ids are those of coracle check; [cri] ignore_deprecations names those
 * that Status need not show. They are logged at start in any case.
 */
#ifndef CORACLE_CMD_DEPRECATIONS_H
#define CORACLE_CMD_DEPRECATIONS_H

#include "core/base/attr.h"
#include "core/config/config.h"
#include "core/run/cgroup.h"

/* {"ID":"text", ...} for the CRI condition, on the heap; NULL: nothing that is not ignored. */
NODISCARD char *deprecations_json(const struct config *config, enum cgroup_mode mode);

#endif
