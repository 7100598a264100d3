/* cmd/check/check_kernel.c: what the kernel must bring, and its switches (groups kernel and sysctl). Functions are
 * probed rather than versions compared, where that is possible. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <zlib.h>

#include "cmd/check/check.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"

#define KCONFIG_MAX (4 * 1024 * 1024)

static char *release(const struct check_ctx *ctx)
{
	char *text = check_read(ctx, "/proc/sys/kernel/osrelease");

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

static void version(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *text = release(ctx);
	unsigned int major, minor;

	if (!text || sscanf(text, "%u.%u", &major, &minor) != 2) {
		check_skip(out, NULL, "the kernel does not tell its version");
		return;
	}
	if (major < 5 || (major == 5 && minor < 4)) {
		check_fail(out, NULL, "kernel %s: 5.4 is the oldest that works", text);
		check_hint(out,
		           "install a newer kernel; Kubernetes asks for a long-term one as well");
	} else if (major == 5 && minor != 4 && minor != 10 && minor != 15) {
		check_warn(out, NULL, "kernel %s is no long-term kernel", text);
		check_hint(out,
		           "5.4, 5.10, 5.15 and those from 6.0 on are what Kubernetes is tried on");
	} else {
		check_ok(out, NULL, "kernel %s", text);
	}
}

static bool is_missing(long rc)
{
	return rc < 0 && errno == ENOSYS;
}

/* Each call is made with arguments that do nothing. */
static void syscalls(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *name;
		long number;
		long args[5];
	} calls[] = {
		{ "pidfd_open", SYS_pidfd_open, { -1 } },
		{ "pidfd_send_signal", SYS_pidfd_send_signal, { -1 } },
		{ "openat2", SYS_openat2, { -1 } },
		{ "close_range", SYS_close_range, { -1, -2 } },
		{ "fsopen", SYS_fsopen, { 0 } },
		{ "fsmount", SYS_fsmount, { -1 } },
		{ "move_mount", SYS_move_mount, { -1 } },
		{ "open_tree", SYS_open_tree, { -1 } },
		{ "mount_setattr", SYS_mount_setattr, { -1 } },
		{ "renameat2", SYS_renameat2, { -1, 0, -1 } },
		{ "statx", SYS_statx, { -1 } },
		{ "getrandom", SYS_getrandom, { 0, 0, 1 } },
	};
	bool any = false;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		const long *a = calls[i].args;

		if (!is_missing(syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4])))
			continue;
		check_fail(out, calls[i].name,
		           "the kernel has no %s (or a seccomp filter hides it)", calls[i].name);
		check_hint(out, "Linux 5.12 has all of them");
		any = true;
	}
	if (!any)
		check_ok(out, NULL, "all %zu system calls are there", ARRAY_SIZE(calls));
}

static void namespaces(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const required[] = { "mnt", "uts", "ipc", "pid", "net" };
	static const char *const wanted[] = { "user", "cgroup", "time" };
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(required) + ARRAY_SIZE(wanted); i++) {
		bool is_required = i < ARRAY_SIZE(required);
		const char *name = is_required ? required[i] : wanted[i - ARRAY_SIZE(required)];
		cleanup_free char *file = xasprintf("/proc/self/ns/%s", name);
		cleanup_free char *limit = xasprintf("/proc/sys/user/max_%s_namespaces", name);
		long long max = 1;
		bool is_there = check_exists(ctx, file);

		if (is_there && (!check_read_number(ctx, limit, &max) || max > 0))
			continue;
		any = true;
		check_report(out, is_required ? CHECK_FAIL : CHECK_WARN, name,
		             is_there ? "no %s namespace can be made: their number is limited to 0"
		                      : "the kernel has no %s namespaces",
		             name);
		if (is_there)
			check_hint(out, "echo 65536 >%s", limit);
		else
			check_hint(out, "use a kernel that is built with them");
	}
	if (!any)
		check_ok(out, NULL, "mnt uts ipc pid net user cgroup time");
}

static bool has_filesystem(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; (p = strstr(p, name)); p += len)
		if (p > list && p[-1] == '\t' && (p[len] == '\n' || p[len] == '\0'))
			return true;
	return false;
}

static void filesystems(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const names[] = {
		"overlay", "proc", "sysfs", "tmpfs", "mqueue", "devpts"
	};
	cleanup_free char *list = check_read(ctx, "/proc/filesystems");
	bool any = false;

	if (!list) {
		check_skip(out, NULL, "/proc/filesystems: %s", errno_name(errno));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (has_filesystem(list, names[i]))
			continue;
		any = true;
		check_fail(out, names[i], "the kernel has no file system %s", names[i]);
		check_hint(out, "modprobe %s", names[i]);
	}
	if (!any)
		check_ok(out, NULL, "overlay proc sysfs tmpfs mqueue devpts");
}

/* --- the kernel's own configuration */

/* /proc/config.gz in one piece; the others are plain. */
static char *inflate_all(char *data, size_t len)
{
	z_stream z = { .next_in = (Bytef *)data, .avail_in = (uInt)len };
	char *text = xcalloc(1, KCONFIG_MAX + 1);
	int rc;

	if (inflateInit2(&z, 15 + 16) == Z_OK) { /* 16: with a gzip header */
		z.next_out = (Bytef *)text;
		z.avail_out = KCONFIG_MAX;
		rc = inflate(&z, Z_FINISH);
		inflateEnd(&z);
		if (rc == Z_STREAM_END)
			return text;
	}
	free(text);
	return NULL;
}

static char *read_text(const char *path)
{
	cleanup_free char *data = NULL;
	size_t len;

	if (fsx_read(AT_FDCWD, path, KCONFIG_MAX, &data, &len) < 0)
		return NULL;
	if (len > 2 && (unsigned char)data[0] == 0x1f && (unsigned char)data[1] == 0x8b)
		return inflate_all(data, len);
	return take_ptr(data);
}

static char *read_kconfig(const struct check_ctx *ctx, char **ret_path)
{
	cleanup_free char *rel = release(ctx);
	static const char *const places[] = { "/proc/config.gz", "/boot/config-%s",
		                              "/usr/lib/modules/%s/config",
		                              "/lib/modules/%s/config",
		                              "/lib/modules/%s/build/.config" };
	char *text;

	if (ctx->kconfig) {
		*ret_path = xstrdup(ctx->kconfig);
		return read_text(ctx->kconfig);
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const char *percent = strstr(places[i], "%s");
		cleanup_free char *path =
			percent ? xasprintf("%s%.*s%s%s", ctx->sysroot, (int)(percent - places[i]),
		                            places[i], or_empty(rel), percent + 2)
				: check_path(ctx, places[i]);

		text = read_text(path);
		if (text) {
			*ret_path = take_ptr(path);
			return text;
		}
	}
	return NULL;
}

static bool has_symbol(const char *kconfig, const char *symbol)
{
	size_t len = strlen(symbol);

	for (const char *p = kconfig; (p = strstr(p, symbol)); p += len)
		if (p - kconfig >= 7 && memcmp(p - 7, "CONFIG_", 7) == 0 &&
		    (p - kconfig == 7 || p[-8] == '\n') && p[len] == '=' &&
		    (p[len + 1] == 'y' || p[len + 1] == 'm'))
			return true;
	return false;
}

/* "A|B": either will do. */
static bool has_either(const char *kconfig, const char *symbols)
{
	struct str rest = str_of(symbols), one;

	while (rest.len) {
		cleanup_free char *name = NULL;

		str_cut(rest, '|', &one, &rest);
		name = str_dup(one);
		if (has_symbol(kconfig, name))
			return true;
	}
	return false;
}

static void kconfig_check(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const required[] = {
		"NAMESPACES",  "NET_NS",           "PID_NS",
		"IPC_NS",      "UTS_NS",           "CGROUPS",
		"CGROUP_PIDS", "CGROUP_SCHED",     "CPUSETS",
		"MEMCG",       "FAIR_GROUP_SCHED", "INET",
		"PROC_FS",     "OVERLAY_FS",       "POSIX_MQUEUE",
		"VETH",        "BRIDGE",           "UNIX",
		"EPOLL",       "SIGNALFD",         "EVENTFD",
	};
	static const char *const wanted[] = {
		"USER_NS",
		"CGROUP_HUGETLB",
		"CFS_BANDWIDTH",
		"SECCOMP",
		"SECCOMP_FILTER",
		"BRIDGE_NETFILTER",
		"NF_NAT",
		"NF_CONNTRACK",
		"NETFILTER_XT_MATCH_COMMENT",
		"NETFILTER_XT_MATCH_ADDRTYPE",
		"NETFILTER_XT_MATCH_CONNTRACK",
		"NETFILTER_XT_TARGET_REDIRECT|IP_NF_TARGET_REDIRECT",
		"NF_TABLES|IP_NF_FILTER",
		"KEYS",
		"SECURITY_APPARMOR|SECURITY_SELINUX",
		"BLK_CGROUP",
		"EXT4_FS|XFS_FS",
	};
	cleanup_free char *path = NULL, *text = read_kconfig(ctx, &path);
	bool any = false;

	if (!text && ctx->kconfig) {
		check_fail(out, NULL, "%s cannot be read", ctx->kconfig);
		check_hint(out,
		           "--kconfig wants a file like /boot/config-RELEASE or /proc/config.gz");
		return;
	}
	if (!text) {
		check_skip(out, NULL, "the kernel's configuration is nowhere to be found");
		check_hint(out, "name it with --kconfig");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(required) + ARRAY_SIZE(wanted); i++) {
		bool is_required = i < ARRAY_SIZE(required);
		const char *name = is_required ? required[i] : wanted[i - ARRAY_SIZE(required)];

		if (has_either(text, name))
			continue;
		any = true;
		check_report(out, is_required ? CHECK_FAIL : CHECK_WARN, name,
		             "the kernel was built without CONFIG_%s", name);
		check_hint(out, "use a kernel that is built with it");
		check_source(out, path, 0);
	}
	if (!any)
		check_ok(out, NULL, "%s", path);
}

static void seccomp(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *name;
		uint32_t action;
	} actions[] = {
		{ "kill_process", SECCOMP_RET_KILL_PROCESS },
		{ "errno", SECCOMP_RET_ERRNO },
		{ "log", SECCOMP_RET_LOG },
		{ "user_notif", SECCOMP_RET_USER_NOTIF },
	};
	bool any = false;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		uint32_t action = actions[i].action;

		if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
			continue;
		any = true;
		check_warn(out, actions[i].name,
		           "no seccomp action %s: profiles that use it do not load",
		           actions[i].name);
		check_hint(out, "use a kernel with CONFIG_SECCOMP_FILTER, 5.0 or newer");
	}
	if (!any)
		check_ok(out, NULL, "kill_process errno log user_notif");
}

/* "net.ipv4.ip_forward" of "/proc/sys/net/ipv4/ip_forward"; heap. */
static char *sysctl_name(const char *path)
{
	char *name = xstrdup(path + strlen("/proc/sys/"));

	for (char *p = name; (p = strchr(p, '/'));)
		*p = '.';
	return name;
}

static void limits(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *path;
		long long min;
	} numbers[] = {
		{ "/proc/sys/kernel/pid_max", 32768 },
		{ "/proc/sys/kernel/threads-max", 16384 },
		{ "/proc/sys/fs/inotify/max_user_instances", 128 },
		{ "/proc/sys/fs/inotify/max_user_watches", 8192 },
	};
	bool any = false;
	long long n;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		cleanup_free char *name = sysctl_name(numbers[i].path);

		if (!check_read_number(ctx, numbers[i].path, &n) || n >= numbers[i].min)
			continue;
		any = true;
		check_warn(out, name, "%lld, a node with many pods needs %lld", n, numbers[i].min);
		check_hint(out, "sysctl -w %s=%lld", name, numbers[i].min);
	}
	if (!any)
		check_ok(out, NULL, "pids, threads and inotify watches suffice");
}

/* --- sysctl */

static void ip_forward(const struct check_ctx *ctx, struct check_out *out)
{
	long long n;

	if (!check_read_number(ctx, "/proc/sys/net/ipv4/ip_forward", &n)) {
		check_skip(out, NULL, "no IPv4");
	} else if (n == 1) {
		check_ok(out, NULL, "net.ipv4.ip_forward = 1");
	} else if (ctx->config->cni_builtin) {
		check_warn(out, NULL,
		           "net.ipv4.ip_forward is 0: pods reach nothing outside of the node");
		check_hint(
			out,
			"the built-in network switches it on with the first pod; for others: sysctl -w net.ipv4.ip_forward=1");
	} else {
		check_fail(out, NULL,
		           "net.ipv4.ip_forward is 0: pods reach nothing outside of the node");
		check_hint(out, "sysctl -w net.ipv4.ip_forward=1");
	}
}

static void bridge_nf(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const names[] = { "bridge-nf-call-iptables",
		                             "bridge-nf-call-ip6tables" };
	bool any = false, is_loaded = false;
	long long n;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *path = xasprintf("/proc/sys/net/bridge/%s", names[i]);

		if (!check_read_number(ctx, path, &n))
			continue;
		is_loaded = true;
		if (n == 1)
			continue;
		any = true;
		check_warn(out, names[i],
		           "net.bridge.%s is 0: services are not seen by pods on one bridge",
		           names[i]);
		check_hint(out, "sysctl -w net.bridge.%s=1", names[i]);
	}
	if (!is_loaded)
		check_skip(out, NULL, "br_netfilter is not loaded");
	else if (!any)
		check_ok(out, NULL, "bridged traffic is filtered");
}

static void userns(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *path;
		long long closed; /* the value that keeps unprivileged users out */
	} switches[] = {
		{ "/proc/sys/kernel/unprivileged_userns_clone", 0 },
		{ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1 },
	};
	bool any = false;
	long long n;

	for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
		cleanup_free char *name = sysctl_name(switches[i].path);

		if (!check_read_number(ctx, switches[i].path, &n) || n != switches[i].closed)
			continue;
		any = true;
		check_ok(
			out, name,
			"%lld: user namespaces inside of containers need privileges, those of pods work",
			n);
	}
	if (!any)
		check_ok(out, NULL, "no switch keeps unprivileged users out of user namespaces");
}

/* What kubelet sets itself, or with protectKernelDefaults wants to find. */
static void kubelet(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *path;
		long long wanted;
	} defaults[] = {
		{ "/proc/sys/vm/overcommit_memory", 1 },
		{ "/proc/sys/vm/panic_on_oom", 0 },
		{ "/proc/sys/kernel/panic", 10 },
		{ "/proc/sys/kernel/panic_on_oops", 1 },
		{ "/proc/sys/kernel/keys/root_maxkeys", 1000000 },
		{ "/proc/sys/kernel/keys/root_maxbytes", 25000000 },
	};
	bool any = false, is_readable = false;
	long long n;

	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
		cleanup_free char *name = sysctl_name(defaults[i].path);

		if (!check_read_number(ctx, defaults[i].path, &n))
			continue;
		is_readable = true;
		if (n == defaults[i].wanted)
			continue;
		any = true;
		check_ok(out, name,
		         "%lld; kubelet sets %lld, with protectKernelDefaults it does not start", n,
		         defaults[i].wanted);
	}
	if (!is_readable)
		check_skip(out, NULL, "/proc/sys cannot be read");
	else if (!any)
		check_ok(out, NULL, "as kubelet's protectKernelDefaults wants them");
}

static const struct check kernel_checks[] = {
	{ "kernel.version", CHECK_FAIL, 0, version },
	{ "kernel.syscalls", CHECK_FAIL, CHECK_HOST, syscalls },
	{ "kernel.ns", CHECK_FAIL, 0, namespaces },
	{ "kernel.fs", CHECK_FAIL, 0, filesystems },
	{ "kernel.config", CHECK_FAIL, 0, kconfig_check },
	{ "kernel.seccomp", CHECK_WARN, CHECK_HOST, seccomp },
	{ "kernel.limits", CHECK_WARN, 0, limits },
};

static const struct check sysctl_checks[] = {
	{ "sysctl.ip-forward", CHECK_FAIL, 0, ip_forward },
	{ "sysctl.bridge-nf", CHECK_WARN, 0, bridge_nf },
	{ "sysctl.userns", CHECK_OK, 0, userns },
	{ "sysctl.kubelet", CHECK_OK, 0, kubelet },
};

const struct check_group check_group_kernel = { "kernel", kernel_checks,
	                                        ARRAY_SIZE(kernel_checks) };
const struct check_group check_group_sysctl = { "sysctl", sysctl_checks,
	                                        ARRAY_SIZE(sysctl_checks) };
