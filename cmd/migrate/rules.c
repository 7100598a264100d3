/* cmd/migrate/rules.c: the tables, and finding what matches. */
#include "cmd/migrate/rules.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"

#define NRI      "plugins/io.containerd.nri.v1.nri/"
#define GRPC_TCP "plugins/io.containerd.server.v1.grpc-tcp/"

/* clang-format off */
#define CONF(p, conv, s, k, d)	  { p, MIGRATE_CONF, conv, s, k, d, NULL }
#define CONF_NOTE(p, conv, s, k, d, n) { p, MIGRATE_CONF, conv, s, k, d, n }
#define OTHER(p, action, n)	  { p, action, 0, NULL, NULL, NULL, n }

static const struct rule rules[] = {
	CONF("disable_tcp_service", AS_BOOL, "cri", "disable_tcp_service", "true"),
	CONF("stream_server_address", AS_TEXT, "streaming", "address", "127.0.0.1"),
	CONF("stream_server_port", AS_TEXT, "streaming", "port", "0"),
	CONF("stream_idle_timeout", AS_TEXT, "streaming", "idle_timeout", "4h0m0s"),
	CONF("enable_tls_streaming", AS_BOOL, "streaming", "tls", "false"),
	CONF("x509_key_pair_streaming/tls_cert_file", AS_TEXT, "streaming", "tls_cert", ""),
	CONF("x509_key_pair_streaming/tls_key_file", AS_TEXT, "streaming", "tls_key", ""),
	CONF("sandbox_image", AS_TEXT, "image", "pause_image", ""),
	CONF("stats_collect_period", AS_SECONDS, "stats", "snapshot_period", "10s"),
	CONF("max_container_log_line_size", AS_INT, "log", "container_line_size", "16384"),
	CONF("enable_selinux", AS_BOOL, "security", "selinux", "false"),
	CONF("selinux_category_range", AS_INT, "security", "selinux_category_range", "1024"),
	CONF("disable_apparmor", AS_NOT, "security", "apparmor", "true"),
	CONF("unset_seccomp_profile", AS_TEXT, "security", "unset_seccomp_profile", ""),
	CONF("restrict_oom_score_adj", AS_BOOL, "runtime", "restrict_oom_score_adj", "false"),
	CONF("tolerate_missing_hugetlb_controller", AS_BOOL, "cgroup", "tolerate_missing_hugetlb", "true"),
	CONF("disable_hugetlb_controller", AS_NOT, "cgroup", "hugetlb", "false"),
	CONF("device_ownership_from_security_context", AS_BOOL, "runtime", "device_ownership_from_security_context", "false"),
	CONF("ignore_image_defined_volumes", AS_BOOL, "image", "ignore_volumes", "false"),
	CONF("netns_mounts_under_state_dir", AS_BOOL, "cni", "netns_under_state", "false"),
	CONF_NOTE("enable_unprivileged_ports", AS_BOOL, "runtime", "unprivileged_ports", "true", "true by default, as in containerd 2.x; 1.x had false"),
	CONF_NOTE("enable_unprivileged_icmp", AS_BOOL, "runtime", "unprivileged_icmp", "true", "true by default, as in containerd 2.x; 1.x had false"),
	CONF("enable_cdi", AS_BOOL, "cdi", "enable", "true"),
	CONF("cdi_spec_dirs", AS_LIST, "cdi", "spec_dirs", "/etc/cdi, /var/run/cdi"),
	CONF("drain_exec_sync_io_timeout", AS_TEXT, "runtime", "drain_exec_io_timeout", "0s"),
	CONF("image_pull_progress_timeout", AS_TEXT, "image", "pull_progress_timeout", "5m0s"),
	CONF("image_pull_with_sync_fs", AS_BOOL, "image", "sync_fs", "false"),
	CONF("max_concurrent_downloads", AS_INT, "image", "max_concurrent_downloads", "3"),
	CONF_NOTE("ignore_deprecation_warnings", AS_LIST, "cri", "ignore_deprecations", "", "these ids are containerd's; ours are those of coracle check"),
	OTHER("disable_proc_mount", MIGRATE_OBSOLETE, "for Kubernetes 1.11 and older"),
	OTHER("disable_cgroup", MIGRATE_OBSOLETE, "pods always have cgroups"),
	CONF("systemd_cgroup", AS_SYSTEMD, "cgroup", "manager", ""),
	OTHER("image_decryption/key_model", MIGRATE_NONE, "encrypted images are not supported"),

	OTHER("containerd/snapshotter", MIGRATE_NONE, "layers are always on overlayfs"),
	CONF("containerd/default_runtime_name", AS_TEXT, "runtime", "default", ""),
	OTHER("containerd/disable_snapshot_annotations", MIGRATE_NONE, "for remote snapshotters"),
	CONF("containerd/discard_unpacked_layers", AS_BOOL, "image", "discard_unpacked_layers", "false"),
	CONF("containerd/no_pivot", AS_YES, "runtime " RUNC, "no_pivot", "false"),
	CONF("containerd/ignore_rdt_not_enabled_errors", AS_BOOL, "runtime", "ignore_rdt_errors", "false"),
	CONF("containerd/ignore_blockio_not_enabled_errors", AS_BOOL, "runtime", "ignore_blockio_errors", "false"),

	OTHER("containerd/runtimes/*/runtime_type", MIGRATE_OBSOLETE, "OCI runtimes are called directly, without a shim"),
	OTHER("containerd/runtimes/*/runtime_path", MIGRATE_NONE, "the path of a shim: OCI runtimes are called directly"),
	CONF("containerd/runtimes/*/runtime_engine", AS_TEXT, "runtime *", "path", ""),
	CONF("containerd/runtimes/*/runtime_root", AS_TEXT, "runtime *", "root", ""),
	CONF("containerd/runtimes/*/pod_annotations", AS_LIST, "runtime *", "pod_annotations", ""),
	CONF("containerd/runtimes/*/container_annotations", AS_LIST, "runtime *", "container_annotations", ""),
	CONF("containerd/runtimes/*/privileged_without_host_devices", AS_BOOL, "runtime *", "privileged_without_host_devices", "false"),
	CONF("containerd/runtimes/*/privileged_without_host_devices_all_devices_allowed", AS_BOOL, "runtime *",
	     "privileged_without_host_devices_all_devices_allowed", "false"),
	CONF("containerd/runtimes/*/base_runtime_spec", AS_TEXT, "runtime *", "base_spec", ""),
	CONF("containerd/runtimes/*/cni_conf_dir", AS_TEXT, "runtime *", "cni_conf_dir", ""),
	CONF("containerd/runtimes/*/cni_max_conf_num", AS_INT, "runtime *", "cni_max_conf_num", "0"),
	OTHER("containerd/runtimes/*/snapshotter", MIGRATE_NONE, "layers are always on overlayfs"),
	OTHER("containerd/runtimes/*/sandbox_mode", MIGRATE_NONE, "no sandbox controllers from elsewhere"),
	OTHER("containerd/runtimes/*/sandboxer", MIGRATE_NONE, "no sandbox controllers from elsewhere"),
	OTHER("containerd/runtimes/*/io_type", MIGRATE_NONE, "output always goes through the monitor"),
	OTHER("containerd/runtimes/*/disable_pause_image_pull", MIGRATE_NONE, "there is no pause image to pull"),
	CONF("containerd/runtimes/*/cgroup_writable", AS_BOOL, "runtime *", "cgroup_writable", "false"),
	CONF("containerd/runtimes/*/options/BinaryName", AS_TEXT, "runtime *", "path", ""),
	CONF("containerd/runtimes/*/options/Root", AS_TEXT, "runtime *", "root", ""),
	CONF("containerd/runtimes/*/options/SystemdCgroup", AS_SYSTEMD, "cgroup", "manager", ""),
	CONF("containerd/runtimes/*/options/NoNewKeyring", AS_BOOL, "runtime *", "no_new_keyring", "false"),
	CONF("containerd/runtimes/*/options/NoPivotRoot", AS_BOOL, "runtime *", "no_pivot", "false"),
	OTHER("containerd/runtimes/*/options/ShimCgroup", MIGRATE_NONE, "there are no shims"),
	OTHER("containerd/runtimes/*/options/IoUid", MIGRATE_NONE, NULL),
	OTHER("containerd/runtimes/*/options/IoGid", MIGRATE_NONE, NULL),
	OTHER("containerd/runtimes/*/options/CriuPath", MIGRATE_NONE, NULL),
	OTHER("containerd/runtimes/*/options/CriuImagePath", MIGRATE_NONE, NULL),
	OTHER("containerd/runtimes/*/options/CriuWorkPath", MIGRATE_NONE, NULL),
	OTHER("containerd/runtimes/*/options/TaskApiAddress", MIGRATE_NONE, "there are no shims"),
	OTHER("containerd/runtimes/*/options/TaskApiVersion", MIGRATE_NONE, "there are no shims"),
	OTHER("containerd/runtimes/*/options/**", MIGRATE_NONE, "an option of a shim"),

	CONF("cni/bin_dir", AS_TEXT, "cni", "bin_dirs", "/opt/cni/bin"),
	CONF("cni/bin_dirs", AS_LIST, "cni", "bin_dirs", "/opt/cni/bin"),
	CONF("cni/conf_dir", AS_TEXT, "cni", "conf_dir", "/etc/cni/net.d"),
	CONF("cni/max_conf_num", AS_INT, "cni", "max_conf_num", "1"),
	CONF("cni/setup_serially", AS_BOOL, "cni", "setup_serially", "false"),
	OTHER("cni/conf_template", MIGRATE_NONE, "a template of the Go language"),
	CONF("cni/ip_pref", AS_TEXT, "cni", "ip_pref", ""),
	OTHER("cni/use_internal_loopback", MIGRATE_OBSOLETE, "lo is always brought up without a plugin"),

	CONF_NOTE("registry/config_path", AS_TEXT, "registry", "config_path", "", "the files there are used as they are"),
	OTHER("registry/mirrors/*/endpoint", MIGRATE_HOSTS, NULL),
	OTHER("registry/configs/*/tls/ca_file", MIGRATE_HOSTS, NULL),
	OTHER("registry/configs/*/tls/cert_file", MIGRATE_HOSTS, NULL),
	OTHER("registry/configs/*/tls/key_file", MIGRATE_HOSTS, NULL),
	OTHER("registry/configs/*/tls/insecure_skip_verify", MIGRATE_HOSTS, NULL),
	OTHER("registry/configs/*/auth/**", MIGRATE_SECRET, "use image pull secrets"),
	OTHER("registry/auths/**", MIGRATE_SECRET, "use image pull secrets"),
	OTHER("registry/headers/*", MIGRATE_HOSTS, NULL),
};

static const struct rule outside[] = {
	CONF("grpc/tcp_address", AS_TEXT, "cri", "tcp_listen", ""),
	CONF("grpc/tcp_tls_cert", AS_TEXT, "cri", "tcp_tls_cert", ""),
	CONF("grpc/tcp_tls_key", AS_TEXT, "cri", "tcp_tls_key", ""),
	CONF("grpc/tcp_tls_ca", AS_TEXT, "cri", "tcp_tls_ca", ""),
	CONF(GRPC_TCP "address", AS_TEXT, "cri", "tcp_listen", ""),
	CONF(GRPC_TCP "tls_cert", AS_TEXT, "cri", "tcp_tls_cert", ""),
	CONF(GRPC_TCP "tls_key", AS_TEXT, "cri", "tcp_tls_key", ""),
	CONF(GRPC_TCP "tls_ca", AS_TEXT, "cri", "tcp_tls_ca", ""),
	CONF("grpc/max_recv_message_size", AS_INT, "cri", "max_recv", "16777216"),
	CONF("grpc/max_send_message_size", AS_INT, "cri", "max_send", "16777216"),
	CONF("debug/level", AS_LOG_LEVEL, "log", "level", "info"),
	CONF("debug/format", AS_TEXT, "log", "format", "text"),
	CONF("metrics/address", AS_TEXT, "metrics", "listen", ""),
	CONF("plugins/io.containerd.server.v1.metrics/address", AS_TEXT, "metrics", "listen", ""),
	CONF("oom_score", AS_INT, "daemon", "oom_score_adj", "0"),
	OTHER("root", MIGRATE_NOTE, "not taken over: both runtimes would write there"),
	OTHER("state", MIGRATE_NOTE, "not taken over: both runtimes would write there"),
	OTHER("grpc/address", MIGRATE_NOTE, "not taken over: it is containerd's own socket"),
	OTHER("grpc/uid", MIGRATE_NOTE, "not taken over: it is containerd's own socket"),
	OTHER("grpc/gid", MIGRATE_NOTE, "not taken over: it is containerd's own socket"),
	CONF(NRI "disable", AS_NOT, "nri", "enable", "true"),
	CONF(NRI "disable_connections", AS_NOT, "nri", "external_connections", "true"),
	CONF(NRI "socket_path", AS_TEXT, "nri", "socket", "/var/run/nri/nri.sock"),
	CONF(NRI "plugin_path", AS_TEXT, "nri", "plugin_path", "/opt/nri/plugins"),
	CONF(NRI "plugin_config_path", AS_TEXT, "nri", "config_path", "/etc/nri/conf.d"),
	CONF(NRI "plugin_registration_timeout", AS_TEXT, "nri", "registration_timeout", "5s"),
	CONF(NRI "plugin_request_timeout", AS_TEXT, "nri", "request_timeout", "2s"),
	OTHER("disabled_plugins", MIGRATE_NOTE, NULL),
	OTHER("imports", MIGRATE_NOTE, NULL),
};
/* clang-format on */

/* ------------------------------------------------------------------------------------------------------ patterns */

/* The next part of a pattern: the part, and where the one behind it begins (NULL: it was the last). */
static struct str pattern_part(const char *pattern, const char **ret_next)
{
	size_t len = strcspn(pattern, "/");

	*ret_next = pattern[len] ? pattern + len + 1 : NULL;
	return (struct str){ pattern, len };
}

static bool matches(const char *pattern, const struct str *path, uint32_t nparts,
                    struct str *ret_wild)
{
	bool has_wild = false;

	for (uint32_t i = 0; i < nparts; i++) {
		struct str part;

		if (!pattern)
			return false;
		part = pattern_part(pattern, &pattern);
		if (str_eq_c(part, "**"))
			return true;
		if (str_eq_c(part, "*")) {
			if (!has_wild)
				*ret_wild = path[i];
			has_wild = true;
		} else if (!str_eq(part, path[i])) {
			return false;
		}
	}
	return !pattern;
}

static const struct rule *find_rule(const struct rule *table, size_t n, const struct str *path,
                                    uint32_t nparts, struct str *ret_wild)
{
	for (size_t i = 0; i < n; i++)
		if (matches(table[i].pattern, path, nparts, ret_wild))
			return &table[i];
	return NULL;
}

/* Letters to insert, delete or replace, counted up to @limit. */
static size_t distance(struct str a, struct str b, size_t limit)
{
	enum { LONGEST = 96 };
	size_t above[LONGEST + 1], row[LONGEST + 1];

	if (a.len > LONGEST || b.len > LONGEST)
		return limit + 1;
	for (size_t j = 0; j <= b.len; j++)
		above[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			row[j] = above[j - 1] + (a.p[i - 1] != b.p[j - 1]);
			row[j] = MIN(row[j], MIN(above[j], row[j - 1]) + 1);
		}
		memcpy(above, row, sizeof(above));
	}
	return above[b.len];
}

char *rule_suggest(const struct str *path, uint32_t nparts)
{
	struct str word = path[nparts - 1], best[2] = { { NULL, 0 }, { NULL, 0 } };
	size_t limit = MAX((size_t)2, word.len / 7), best_at[2] = { limit + 1, limit + 1 }, at;

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		const char *last = strrchr(rules[i].pattern, '/');
		cleanup_free char *table =
			xstrndup(rules[i].pattern, last ? (size_t)(last - rules[i].pattern) : 0);
		struct str candidate = str_of(last ? last + 1 : rules[i].pattern), wild;

		if (*candidate.p == '*' || !matches(last ? table : NULL, path, nparts - 1, &wild))
			continue;
		at = distance(word, candidate, limit);
		if (at < best_at[0]) {
			best[1] = best[0];
			best_at[1] = best_at[0];
			best[0] = candidate;
			best_at[0] = at;
		} else if (at < best_at[1]) {
			best[1] = candidate;
			best_at[1] = at;
		}
	}
	if (!best[0].p)
		return NULL;
	if (!best[1].p)
		return xasprintf("did you mean " STR_FMT "?", STR_ARG(best[0]));
	return xasprintf("did you mean " STR_FMT " or " STR_FMT "?", STR_ARG(best[0]),
	                 STR_ARG(best[1]));
}

const struct rule *rule_find(const struct str *path, uint32_t nparts, struct str *ret_wild)
{
	return find_rule(rules, ARRAY_SIZE(rules), path, nparts, ret_wild);
}

const struct rule *rule_find_outside(const struct str *path, uint32_t nparts, struct str *ret_wild)
{
	return find_rule(outside, ARRAY_SIZE(outside), path, nparts, ret_wild);
}
