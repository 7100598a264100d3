/* cmd/check/check_cgroup.c: control groups, as the daemon itself reads them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "core/base/fd.h"
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

/* Its mount points are below the sysroot. NULL: nothing to read. */
static struct cgroup_host *read_host(const struct check_ctx *ctx)
{
	cleanup_free char *self = check_read(ctx, "/proc/self/cgroup");
	cleanup_free char *text = check_read(ctx, "/proc/self/mountinfo");
	struct mounts mounts = { .count = 0 };
	struct cgroup_host *host = NULL;

	if (text && proc_mounts_parse(text, collect, &mounts) >= 0)
		host = cgroup_host_parse(mounts.all, mounts.count, or_empty(self));
	free(mounts.all);
	if (!host)
		return NULL;
	for (size_t i = 0; i < host->nhierarchies; i++) {
		cleanup_free char *mount = host->hierarchies[i].mount;

		host->hierarchies[i].mount = check_path(ctx, mount);
	}
	cgroup_host_look_closer(host);
	return host;
}

/* The same for those who cannot do without; NULL after a report. */
static struct cgroup_host *need_host(const struct check_ctx *ctx, struct check_out *out)
{
	struct cgroup_host *host = read_host(ctx);

	if (host && host->mode != CGROUP_NONE)
		return host;
	check_skip(out, NULL, "no cgroups");
	cgroup_host_free(host);
	return NULL;
}

/* Version 2, where containers are in it; NULL elsewhere. */
static const struct cgroup_hierarchy *unified(const struct cgroup_host *host)
{
	return host->mode == CGROUP_V2 ? cgroup_find(host, CGROUP_FREEZER) : NULL;
}

static bool is_systemd_running(const struct check_ctx *ctx)
{
	return check_exists(ctx, "/run/systemd/system");
}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = read_host(ctx);

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
		if (is_systemd_running(ctx))
			check_hint(out, "boot with systemd.unified_cgroup_hierarchy=1");
		else
			check_hint(
				out,
				"boot with cgroup_no_v1=all, and mount cgroup2 on /sys/fs/cgroup");
		break;
	case CGROUP_V2:
		check_ok(out, NULL, "cgroup v2");
		break;
	}
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
	cleanup(cgroup_host_free) struct cgroup_host *host = need_host(ctx, out);
	bool any = false;

	if (!host)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		const char *name = cgroup_controller_name(wanted[i].controller);

		if (cgroup_find(host, wanted[i].controller))
			continue;
		any = true;
		check_report(out, wanted[i].status, name, "no cgroup controller %s", name);
		if (host->mode == CGROUP_V2)
			check_hint(
				out,
				"have the kernel built with it, and cgroup_disable=%s taken off its command line",
				name);
		else
			check_hint(
				out,
				"mkdir /sys/fs/cgroup/%s && mount -t cgroup -o %s cgroup /sys/fs/cgroup/%s",
				name, name, name);
	}
	if (!any)
		check_ok(out, NULL, "cpu cpuset memory pids devices freezer io hugetlb");
}

/* --- who makes the cgroups of pods */

#define KUBELET_CONFIG "/var/lib/kubelet/config.yaml"

/* What kubelet was told, which is what it names the parents of pods by; heap. NULL: nothing. */
static char *kubelet_driver(const struct check_ctx *ctx)
{
	cleanup_free char *text = check_read(ctx, KUBELET_CONFIG);
	struct str line, key, rest = str_of(text);

	while (rest.len > 0) {
		str_cut(rest, '\n', &line, &rest);
		if (!str_cut(line, ':', &key, &line) || !str_eq_c(key, "cgroupDriver"))
			continue;
		line = str_trim(line);
		if (line.len > 2 && (*line.p == '"' || *line.p == '\''))
			line = (struct str){ line.p + 1, line.len - 2 };
		return str_dup(line);
	}
	return NULL;
}

bool check_uses_systemd(const struct check_ctx *ctx)
{
	cleanup_free char *asked = kubelet_driver(ctx);
	cleanup(cgroup_host_free) struct cgroup_host *host = asked ? NULL : read_host(ctx);

	if (asked)
		return streq(asked, "systemd");
	return is_systemd_running(ctx) && host && unified(host); /* what the daemon tells kubelet */
}

static bool is_answering(const struct check_ctx *ctx, const char *socket_path)
{
	cleanup_free char *path = check_path(ctx, socket_path);
	cleanup_close int fd = unix_connect(path, SOCK_STREAM);

	return fd >= 0;
}

static void driver(const struct check_ctx *ctx, struct check_out *out)
{
	static const char private[] = "/run/systemd/private", bus[] = "/run/dbus/system_bus_socket";
	cleanup(cgroup_host_free) struct cgroup_host *host = need_host(ctx, out);
	bool wanted = check_uses_systemd(ctx);

	if (!host)
		return;
	if (wanted && !is_systemd_running(ctx)) {
		check_fail(out, NULL,
		           "kubelet wants cgroups from systemd, which does not run here");
		check_hint(out, "cgroupDriver: cgroupfs in " KUBELET_CONFIG);
		check_source(out, KUBELET_CONFIG, 0);
	} else if (wanted && !is_answering(ctx, private) && !is_answering(ctx, bus)) {
		check_fail(out, NULL,
		           "systemd makes the cgroups of pods, but answers neither on %s nor on %s",
		           private, bus);
		check_hint(
			out,
			"systemctl start dbus.socket, or cgroupDriver: cgroupfs in " KUBELET_CONFIG);
	} else if (!wanted && is_systemd_running(ctx)) {
		check_warn(out, NULL,
		           "cgroupfs, beside systemd: two who write to the same cgroups");
		check_hint(out, "cgroupDriver: systemd in " KUBELET_CONFIG "%s",
		           unified(host) ? ""
		                         : ", and boot with systemd.unified_cgroup_hierarchy=1");
	} else {
		check_ok(out, NULL, "%s", wanted ? "systemd" : "cgroupfs");
	}
}

/* The daemon's unit, as systemd places it. */
#define SERVICE "/system.slice/coracle.service"

static bool is_writable(const struct cgroup_hierarchy *h, struct check_out *out)
{
	cleanup_free char *dir = xasprintf("%s%s", h->mount, or_empty(h->own));

	if (access(dir, W_OK) == 0)
		return true;
	check_warn(out, dir, "no cgroup can be made in it: %s", errno_name(errno));
	check_hint(out, "mount -o remount,rw %s", h->mount);
	return false;
}

/* systemd marks what it hands over, in the hierarchy that it keeps services apart in. False: it runs the service and does
 * not hand it over. */
static bool is_delegated(const struct cgroup_host *host)
{
	bool is_there = false;

	for (size_t i = 0; i < host->nhierarchies; i++) {
		cleanup_free char *dir = xasprintf("%s" SERVICE, host->hierarchies[i].mount);
		char mark = 0;

		if (getxattr(dir, "trusted.delegate", &mark, 1) == 1 && mark == '1')
			return true;
		is_there |= access(dir, F_OK) == 0;
	}
	return !is_there;
}

static void delegate(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = need_host(ctx, out);
	bool fine = true;

	if (!host)
		return;
	for (size_t i = 0; i < host->nhierarchies; i++)
		fine &= is_writable(&host->hierarchies[i], out);
	if (!is_delegated(host)) {
		check_warn(
			out, NULL,
			"coracle.service is not delegated: systemd may clear away the cgroups that the daemon makes in it");
		check_hint(out, "Delegate=yes in [Service] of the unit");
		fine = false;
	}
	if (fine)
		check_ok(out, NULL, "cgroups can be made");
}

/* --- facts */

static void kill_file(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = need_host(ctx, out);

	if (!host)
		return;
	if (unified(host) && cgroup_shows(unified(host), "cgroup.kill"))
		check_ok(out, NULL, "the kernel kills all of a container at once");
	else
		check_ok(out, NULL,
		         "no cgroup.kill (%s): containers are frozen and killed process by process",
		         unified(host) ? "Linux 5.14 brings it" : "only cgroup v2 has it");
}

static void swap(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = need_host(ctx, out);

	if (!host)
		return;
	if (host->swap) {
		check_ok(out, NULL, "containers can have a limit on swap");
	} else {
		check_ok(out, NULL,
		         "the kernel counts no swap per cgroup: limits on it are left out");
		check_hint(out, "boot with swapaccount=1");
	}
}

static void pressure(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = need_host(ctx, out);

	if (!host)
		return;
	if (unified(host) && cgroup_shows(unified(host), "cpu.pressure")) {
		check_ok(out, NULL, "statistics tell the pressure on containers");
	} else if (unified(host)) {
		check_ok(out, NULL, "no cpu.pressure: statistics tell no pressure");
		check_hint(out, "boot with psi=1");
	} else {
		check_ok(out, NULL, "statistics tell no pressure: only cgroup v2 has it");
	}
}

static const struct check checks[] = {
	{ "cgroup.version", CHECK_FAIL, 0, version },
	{ "cgroup.controllers", CHECK_FAIL, 0, controllers },
	{ "cgroup.driver", CHECK_FAIL, 0, driver },
	{ "cgroup.delegate", CHECK_WARN, CHECK_ROOT, delegate },
	{ "cgroup.kill", CHECK_OK, 0, kill_file },
	{ "cgroup.swap", CHECK_OK, 0, swap },
	{ "cgroup.psi", CHECK_OK, 0, pressure },
};

const struct check_group check_group_cgroup = { "cgroup", checks, ARRAY_SIZE(checks) };
