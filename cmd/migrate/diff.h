/* cmd/migrate/diff.h: what migrate-config would change, as a unified diff with three lines of context. */
#ifndef CORACLE_CMD_MIGRATE_DIFF_H
#define CORACLE_CMD_MIGRATE_DIFF_H

#include "cmd/migrate/edit.h"
#include "core/base/attr.h"
#include "core/base/buf.h"

/* Nothing where nothing changes. -1: @out is full. */
NODISCARD int migrate_diff(const struct migrate_edit *edit, const char *name, struct buf *out);

#endif
