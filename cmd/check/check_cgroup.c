/* cmd/check/check_cgroup.c: control groups, as the daemon itself reads them. */
#include <stdlib.h>
#include <string.h>

#include "cmd/check/check.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/run/cgroup.h"

struct mounts {
	struct proc_mount *all;
	size_t count;
};

static int collect(const struct proc_mount *mount, void *arg)
{
	struct mounts *mounts = arg;

	mounts->all = xrealloc(mounts->all, mounts->count + 1, sizeof(*mounts->all));
	mounts->all[mounts->count++] = *mount; /* its strings lie in the text, which stays */
	return 0;
}

/* @ret_text keeps the strings. NULL: nothing to read. */
static struct cgroup_host *read_host(const struct check_ctx *ctx, char **ret_text)
{
	cleanup_free char *self = check_read(ctx, "/proc/self/cgroup");
	struct mounts mounts = { .count = 0 };
	struct cgroup_host *host = NULL;

	*ret_text = check_read(ctx, "/proc/self/mountinfo");
	if (*ret_text && proc_mounts_parse(*ret_text, collect, &mounts) >= 0)
		host = cgroup_host_parse(mounts.all, mounts.count, or_empty(self));
	free(mounts.all);
	return host;
}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *text = NULL;
	struct cgroup_host *host = read_host(ctx, &text);

	if (!host) {
		check_skip(out, NULL, "/proc/self/mountinfo cannot be read");
		return;
	}
	switch (host->mode) {
	case CGROUP_NONE:
		check_fail(out, NULL, "no cgroups are mounted: containers cannot run");
		check_hint(out, "mount -t cgroup2 none /sys/fs/cgroup");
		break;
	case CGROUP_V1:
	case CGROUP_HYBRID:
		check_warn(out, NULL,
		           "cgroup %s: Kubernetes and the runtimes are about to drop version 1",
		           host->mode == CGROUP_V1 ? "v1" : "v1 with a bare v2 tree");
		check_hint(out, "boot with systemd.unified_cgroup_hierarchy=1");
		break;
	case CGROUP_V2:
		check_ok(out, NULL, "cgroup v2");
		break;
	}
	cgroup_host_free(host);
}

static void controllers(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		enum cgroup_controller controller;
		enum check_status status;
	} wanted[] = {
		{ CGROUP_CPU, CHECK_FAIL },     { CGROUP_CPUSET, CHECK_FAIL },
		{ CGROUP_MEMORY, CHECK_FAIL },  { CGROUP_PIDS, CHECK_FAIL },
		{ CGROUP_DEVICES, CHECK_FAIL }, { CGROUP_FREEZER, CHECK_FAIL },
		{ CGROUP_IO, CHECK_WARN },      { CGROUP_HUGETLB, CHECK_WARN },
	};
	cleanup_free char *text = NULL;
	struct cgroup_host *host = read_host(ctx, &text);
	bool any = false;

	if (!host || host->mode == CGROUP_NONE) {
		check_skip(out, NULL, "no cgroups");
		cgroup_host_free(host);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		const char *name = cgroup_controller_name(wanted[i].controller);
		cleanup_free char *available =
			host->mode == CGROUP_V2
				? check_read(ctx, "/sys/fs/cgroup/cgroup.controllers")
				: NULL;
		bool is_there = cgroup_find(host, wanted[i].controller) != NULL;

		/* Of version 2 the mount tells nothing: the file does. */
		if (available && wanted[i].controller != CGROUP_DEVICES &&
		    wanted[i].controller != CGROUP_FREEZER)
			is_there = strstr(available,
			                  wanted[i].controller == CGROUP_IO ? "io" : name) != NULL;
		if (is_there)
			continue;
		any = true;
		check_report(out, wanted[i].status, name, "no cgroup controller %s", name);
		if (host->mode != CGROUP_V2)
			check_hint(
				out,
				"mkdir /sys/fs/cgroup/%s && mount -t cgroup -o %s cgroup /sys/fs/cgroup/%s",
				name, name, name);
	}
	if (!any)
		check_ok(out, NULL, "cpu cpuset memory pids devices freezer io hugetlb");
	cgroup_host_free(host);
}

static const struct check checks[] = {
	{ "cgroup.version", CHECK_FAIL, 0, version },
	{ "cgroup.controllers", CHECK_FAIL, 0, controllers },
};

const struct check_group check_group_cgroup = { "cgroup", checks, ARRAY_SIZE(checks) };
