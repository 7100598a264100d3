/* cmd/ctl/removal.h: stopping and removing, as `stop`, `rm` and `run --rm` need it. */
#ifndef CORACLE_CMD_CTL_REMOVAL_H
#define CORACLE_CMD_CTL_REMOVAL_H

#include "core/base/attr.h"
#include "core/base/err.h"

struct ctl;

/* Stop and remove the pod with its containers; of one that `run` made its log, too. */
NODISCARD int removal_pod(struct ctl *ctl, const char *pod_id, struct err *err);

#endif
