/* cmd/check/run.h: running checks, each in a process of its own, and what they reported. */
#ifndef CORACLE_CMD_CHECK_RUN_H
#define CORACLE_CMD_CHECK_RUN_H

#include <stdint.h>

#include "cmd/check/check.h"

struct check_report {
	const struct check_group *group;
	const struct check *check;
	enum check_status status;
	char *message, *hint, *object, *file; /* the last three may be NULL */
	unsigned int line;
	int64_t took_ms;
	bool is_ignored; /* a failure that --ignore made a warning */
};

struct check_reports {
	struct check_report *all;
	size_t count;
};

/* Run one check and add what it reported: at least one report, whatever happens to it. */
void check_run(const struct check_group *group, const struct check *check,
               const struct check_ctx *ctx, struct check_reports *reports);
void check_reports_release(struct check_reports *reports);
DEFINE_CLEANUP(struct check_reports, check_reports_release);

const char *check_status_name(enum check_status status); /* "ok" "warn" "fail" "skip" */

#endif
