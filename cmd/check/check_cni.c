/* cmd/check/check_cni.c: the pod network's configuration, plugins and addresses (group cni). */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/check/state.h"
#include "cmd/check/subnet.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/net/builtin.h"
#include "core/net/netconf.h"

#define MAX_TYPES    (2 * NETCONF_MAX_PLUGINS)
#define MAX_SUBNETS  64
#define VERSION_ASK  "{\"cniVersion\":\"1.0.0\"}"
#define CNI_NETWORKS "/var/lib/cni/networks"
#define CNI_RESULTS  "/var/lib/cni/results"

static bool is_conf(const char *name)
{
	return name[0] != '.' && (ends_with(name, ".conf") || ends_with(name, ".conflist") ||
	                          ends_with(name, ".json"));
}

static struct netconf *read_conf(const char *file, struct err *err)
{
	struct netconf *conf = NULL;
	cleanup_free char *text = NULL;
	size_t len;

	if (file_read_all(file, NETCONF_MAX_BYTES, &text, &len, err) < 0 ||
	    netconf_parse(file, text, len, &conf, err) < 0)
		return NULL;
	return conf;
}

/*
 * The network of the first file in byte order that is one, as for the daemon; NULL: none of *@ret_files. What is wrong with those
 * before it is reported to @out (unless NULL) as @broken.
 */
static struct netconf *configured(const struct check_ctx *ctx, size_t *ret_files,
                                  struct check_out *out, enum check_status broken)
{
	cleanup_free char *dir = check_path(ctx, ctx->config->cni_conf_dir);
	cleanup(strv_free) char **names = NULL;

	*ret_files = 0;
	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return NULL;
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *file = xasprintf("%s/%s", dir, names[i]);
		struct netconf *network;
		struct err err;

		if (!is_conf(names[i]))
			continue;
		++*ret_files;
		network = read_conf(file, &err);
		if (network)
			return network;
		if (!out)
			continue;
		check_report(out, broken, names[i], "%s", err.msg);
		check_source(out, file, 0);
		check_hint(out, broken == CHECK_WARN
		                        ? "mend it, or move it away: the daemon uses the next file"
		                        : "mend it, or move it away");
	}
	return NULL;
}

static void conf_dir(const struct check_ctx *ctx, struct check_out *out)
{
	size_t files;
	cleanup(netconf_free) struct netconf *network = configured(ctx, &files, NULL, CHECK_SKIP);

	if (files > 0) {
		check_ok(out, NULL, "%s", network ? network->file : ctx->config->cni_conf_dir);
	} else if (ctx->config->cni_builtin) {
		check_ok(out, NULL, "%s holds no network: the built-in one is used",
		         ctx->config->cni_conf_dir);
	} else {
		check_warn(
			out, NULL,
			"%s holds no network, and the built-in one is off: the node is not ready",
			ctx->config->cni_conf_dir);
		check_hint(out, "install a network add-on, or set [cni] builtin = true");
	}
}

static struct netconf *builtin_network(const struct check_ctx *ctx, struct err *err)
{
	struct netconf *conf = NULL;
	cleanup_free char *text = NULL;

	if (builtin_conf(ctx->config->state, 0, false, &text, err) < 0 ||
	    netconf_parse("built-in network", text, strlen(text), &conf, err) < 0)
		return NULL;
	return conf;
}

/* The network that pods get; NULL after a report. What the running kernel has to say in the built-in one is unknown elsewhere. */
static struct netconf *find_network(const struct check_ctx *ctx, struct check_out *out)
{
	size_t files;
	struct netconf *network = configured(ctx, &files, NULL, CHECK_SKIP);
	struct err err = { .code = CODE_OK };

	if (network)
		return network;
	if (files > 0) {
		check_skip(out, NULL, "the network's configuration is broken");
		return NULL;
	}
	if (!ctx->config->cni_builtin || *ctx->sysroot) {
		check_skip(out, NULL, "no network is configured");
		return NULL;
	}
	network = builtin_network(ctx, &err);
	if (!network)
		check_skip(out, NULL, "%s", err.msg);
	return network;
}

static void conf(const struct check_ctx *ctx, struct check_out *out)
{
	size_t files;
	cleanup(netconf_free) struct netconf *network = configured(ctx, &files, NULL, CHECK_SKIP);

	netconf_free(configured(ctx, &files, out, network ? CHECK_WARN : CHECK_FAIL));
	if (network)
		check_ok(out, NULL, "network %s, version %s, %zu plugins", network->name,
		         network->version, netconf_count(network));
	else if (files == 0)
		check_skip(out, NULL, "no network is configured");
}

/* --- plugins */

/* Every program that the network needs, each once, ended by NULL. Borrowed from @network. */
static void plugin_types(const struct netconf *network, const char *types[MAX_TYPES + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < 2 * netconf_count(network); i++) {
		const char *type =
			i % 2 ? json_str(json_obj(netconf_plugin(network, i / 2), "ipam"), "type",
		                         "")
			      : netconf_type(network, i / 2);
		size_t k = 0;

		while (k < n && !streq(types[k], type))
			k++;
		if (k == n && *type)
			types[n++] = type;
	}
	types[n] = NULL;
}

/* Where it is, below the sysroot; heap. NULL: nowhere. */
static char *find_plugin(const struct check_ctx *ctx, const char *type)
{
	char *const *dirs = ctx->config->cni_bin_dirs;

	for (size_t i = 0; dirs[i] && !strchr(type, '/'); i++) {
		cleanup_free char *path = xasprintf("%s%s/%s", ctx->sysroot, dirs[i], type);
		struct stat st;

		if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return take_ptr(path);
	}
	return NULL;
}

static void report_missing(const struct check_ctx *ctx, struct check_out *out, const char *type,
                           const char *file)
{
	char *const *dirs = ctx->config->cni_bin_dirs;

	if (strchr(type, '/'))
		check_fail(out, type, "the type %s of a plugin names a path", type);
	else
		check_fail(out, type, "the plugin %s is not in %s%s", type, or_empty(dirs[0]),
		           dirs[0] && dirs[1] ? ", nor in the other directories of [cni] bin_dirs"
		                              : "");
	if (*file == '/')
		check_source(out, file, 0);
	check_hint(out, "install the CNI plugins, or name their directory in [cni] bin_dirs");
}

static void plugins(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(netconf_free) struct netconf *network = find_network(ctx, out);
	const char *types[MAX_TYPES + 1];
	bool fine = true;

	if (!network)
		return;
	plugin_types(network, types);
	for (size_t i = 0; types[i]; i++) {
		cleanup_free char *path = find_plugin(ctx, types[i]);

		if (path)
			continue;
		report_missing(ctx, out, types[i], network->file);
		fine = false;
	}
	if (fine)
		check_ok(out, NULL, "all plugins of %s are there", network->name);
}

/* --- their versions */

/* Does its answer to VERSION hold @version? False: @err says what it holds instead. */
static bool speaks(const char *path, const char *text, const char *version, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(text, strlen(text), CHECK_OUT_BYTES, path, err);
	yyjson_val *versions = doc ? json_arr(yyjson_doc_get_root(doc), "supportedVersions") : NULL,
		   *item;
	const char *newest = "none";
	size_t i, n;

	if (!doc)
		return false;
	yyjson_arr_foreach(versions, i, n, item)
	{
		if (streq(yyjson_get_str(item), version))
			return true;
		newest = or_empty(yyjson_get_str(item));
	}
	err_set(err, CODE_UNIMPLEMENTED,
	        "%s does not speak version %s of the network (its last is %s)", path, version,
	        newest);
	return false;
}

static bool ask_version(char *path, const char *version, struct err *err)
{
	char *argv[] = { path, NULL };
	cleanup_free char *text = NULL;
	int status = 0;

	if (check_command_with(argv, "CNI_COMMAND=VERSION", VERSION_ASK, &text, &status, err) < 0)
		return false;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(err, CODE_UNKNOWN, "%s fails when asked for its versions", path) ==
		       0;
	return speaks(path, text, version, err);
}

static void versions(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(netconf_free) struct netconf *network = find_network(ctx, out);
	const char *types[MAX_TYPES + 1];
	struct err err = { .code = CODE_OK };
	size_t asked = 0;
	bool fine = true;

	if (!network)
		return;
	plugin_types(network, types);
	for (size_t i = 0; types[i] && !err_is(&err, CODE_DEADLINE_EXCEEDED); i++) {
		cleanup_free char *path = find_plugin(ctx, types[i]);

		if (!path)
			continue; /* cni.plugins tells */
		asked++;
		if (ask_version(path, network->version, &err))
			continue;
		check_warn(out, types[i], "%s", err.msg);
		check_hint(out, "update the CNI plugins, or lower cniVersion in %s", network->file);
		fine = false;
	}
	if (asked == 0)
		check_skip(out, NULL, "no plugin is there to be asked");
	else if (fine)
		check_ok(out, NULL, "all plugins speak version %s", network->version);
}

/* --- address ranges */

struct range {
	struct subnet subnet;
	yyjson_val *plugin;
};

struct ranges {
	struct range items[MAX_SUBNETS];
	size_t count;
};

static void add_range(struct ranges *ranges, yyjson_val *plugin, const char *text)
{
	struct range *range = &ranges->items[ranges->count];

	if (ranges->count < MAX_SUBNETS && subnet_parse(text, &range->subnet) == 0) {
		range->plugin = plugin;
		ranges->count++;
	}
}

/* What host-local gives out: "subnet", and the sets of "ranges". */
static void collect_ranges(const struct netconf *network, struct ranges *ranges)
{
	for (size_t p = 0; p < netconf_count(network); p++) {
		yyjson_val *plugin = netconf_plugin(network, p), *ipam = json_obj(plugin, "ipam"),
			   *set, *range;
		size_t i, k, n, m;

		if (!streq(json_str(ipam, "type", ""), "host-local"))
			continue;
		add_range(ranges, plugin, json_str(ipam, "subnet", ""));
		yyjson_arr_foreach(json_arr(ipam, "ranges"), i, n, set)
			yyjson_arr_foreach(set, k, m, range)
				add_range(ranges, plugin, json_str(range, "subnet", ""));
	}
}

static bool look_at_others(struct check_out *out, const struct ranges *ranges, size_t i)
{
	char text[SUBNET_TEXT], other[SUBNET_TEXT];

	for (size_t k = 0; k < i; k++) {
		if (!subnet_overlaps(&ranges->items[i].subnet, &ranges->items[k].subnet))
			continue;
		subnet_text(&ranges->items[i].subnet, text);
		subnet_text(&ranges->items[k].subnet, other);
		check_warn(out, text, "the ranges %s and %s of the network overlap", other, text);
		return false;
	}
	return true;
}

/* Is a route to @range expected: through the network's own bridge, or to a pod at the end of its pair? */
static bool is_own(const struct range *range, const struct route *route)
{
	const char *type = json_str(range->plugin, "type", "");

	if (streq(type, "bridge"))
		return streq(route->device, json_str(range->plugin, "bridge", "cni0"));
	if (streq(type, "ptp"))
		return route->to.bits == (route->to.family == AF_INET ? 32u : 128u);
	return true; /* macvlan and the like give out addresses of the host's own network */
}

static bool look_at_routes(struct check_out *out, const struct range *range, const char *routes)
{
	struct str rest = str_of(routes);
	char text[SUBNET_TEXT], to[SUBNET_TEXT];
	struct route route;

	while (route_next(range->subnet.family, &rest, &route)) {
		if (!subnet_overlaps(&range->subnet, &route.to) || is_own(range, &route))
			continue;
		subnet_text(&range->subnet, text);
		subnet_text(&route.to, to);
		check_warn(out, text,
		           "pods get addresses from %s, and the host has a route to %s via %s",
		           text, to, route.device);
		return false;
	}
	return true;
}

static void subnets(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(netconf_free) struct netconf *network = find_network(ctx, out);
	cleanup_free char *ipv4 = check_read(ctx, "/proc/net/route"),
			  *ipv6 = check_read(ctx, "/proc/net/ipv6_route");
	struct ranges ranges = { .count = 0 };
	bool fine = true;

	if (!network)
		return;
	collect_ranges(network, &ranges);
	for (size_t i = 0; i < ranges.count; i++) {
		const struct range *range = &ranges.items[i];

		if (look_at_others(out, &ranges, i) &&
		    look_at_routes(out, range, range->subnet.family == AF_INET ? ipv4 : ipv6))
			continue;
		check_source(out, network->file, 0);
		check_hint(out, "give the pods' network a range that nobody else uses");
		fine = false;
	}
	if (fine && !ranges.count)
		check_ok(out, NULL, "host-local gives out no addresses here");
	else if (fine)
		check_ok(out, NULL, "%zu ranges that nobody else uses", ranges.count);
}

/* --- where namespaces are pinned */

struct holder {
	const char *path;
	size_t len; /* of the mount point that holds it */
	bool shared;
};

static int find_holder(const struct proc_mount *mount, void *arg)
{
	struct holder *holder = arg;
	size_t len = streq(mount->target, "/") ? 0 : strlen(mount->target);

	/* of two on one place the later one is on top */
	if (len >= holder->len && strncmp(holder->path, mount->target, len) == 0 &&
	    (holder->path[len] == '/' || !holder->path[len])) {
		holder->len = len;
		holder->shared = mount->shared;
	}
	return 0;
}

/* In a mount namespace of our own, on a tmpfs over what every machine has: nobody sees it, and it ends with this process. */
static int try_pin(void)
{
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/sys", "tmpfs", 0, NULL) < 0)
		return -errno;
	fd = open("/sys/pin", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	if (mount("/proc/self/ns/net", "/sys/pin", NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, "/sys", NULL, MS_SHARED, NULL) < 0)
		return -errno;
	return 0;
}

static void netns(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *dir = check_state_path(ctx, "ns");
	struct holder holder = { .path = dir };
	int rc = proc_mounts(find_holder, &holder);

	if (rc < 0) {
		check_skip(out, NULL, "/proc/self/mountinfo: %s", errno_name(-rc));
		return;
	}
	rc = try_pin();
	if (rc < 0) {
		check_fail(out, NULL, "a network namespace cannot be pinned: %s", errno_name(-rc));
		check_hint(out,
		           "no pod starts without CAP_SYS_ADMIN, or where mounts are forbidden");
	} else if (!holder.shared) {
		check_warn(
			out, NULL,
			"%s is on a mount that is not shared: network add-ons that run in pods do not see pods' namespaces",
			dir);
		check_hint(out, "mount --make-rshared %.*s", holder.len ? (int)holder.len : 1,
		           holder.len ? dir : "/");
	} else {
		check_ok(out, NULL, "namespaces can be pinned in %s and are seen by all", dir);
	}
}

/* --- what was left behind */

/* Of a pod that is on record? @path: a file that names its container on the first line (host-local), or as JSON (libcni). */
static bool is_ours(const struct state *state, const char *path)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL, *id = NULL;
	struct str line, rest;
	struct err err;
	size_t len;

	if (fsx_read(AT_FDCWD, path, NETCONF_MAX_BYTES, &text, &len) < 0)
		return true; /* gone meanwhile */
	if (text[0] == '{') {
		doc = json_parse(text, len, NETCONF_MAX_BYTES, path, &err);
		return doc && check_is_on_record(
				      state, json_str(yyjson_doc_get_root(doc), "containerId", ""));
	}
	str_cut(str_of(text), '\n', &line, &rest);
	id = str_dup(str_trim(line));
	return check_is_on_record(state, id);
}

/* Files in @dir whose names begin with @prefix and that are of no pod of ours. */
static bool look_for_files(struct check_out *out, const struct state *state, const char *dir,
                           const char *prefix, const char *what)
{
	cleanup(strv_free) char **names = NULL;
	cleanup_free char *first = NULL;
	size_t n = 0;

	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return true;
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

		if (!starts_with(names[i], prefix) || starts_with(names[i], "last_reserved_ip") ||
		    streq(names[i], "lock") || is_ours(state, path))
			continue;
		if (!n++)
			first = take_ptr(path);
	}
	if (!n)
		return true;
	check_warn(out, dir, "%zu %s of pods that are not ours: %s%s", n, what, first,
	           n > 1 ? " and more" : "");
	check_hint(out, "remove them, unless another container runtime uses this network");
	return false;
}

static bool look_for_addresses(const struct check_ctx *ctx, struct check_out *out,
                               const struct state *state, const struct netconf *network)
{
	bool fine = true;

	for (size_t i = 0; i < netconf_count(network); i++) {
		yyjson_val *ipam = json_obj(netconf_plugin(network, i), "ipam");
		cleanup_free char *dir =
			xasprintf("%s%s/%s", ctx->sysroot, json_str(ipam, "dataDir", CNI_NETWORKS),
		                  network->name);

		if (streq(json_str(ipam, "type", ""), "host-local"))
			fine &= look_for_files(out, state, dir, "", "reserved addresses");
	}
	return fine;
}

static bool look_for_pins(const struct check_ctx *ctx, struct check_out *out,
                          const struct state *state, char *const *names)
{
	bool fine = true;

	for (size_t i = 0; names && names[i]; i++) {
		cleanup_free char *name = xasprintf("ns/%s", names[i]);
		cleanup_free char *path = check_state_path(ctx, name);

		if (check_is_on_record(state, names[i]) || !fsx_exists(path))
			continue;
		check_warn(out, names[i], "%s holds namespaces of no pod", path);
		check_hint(out, "a start of the daemon removes it");
		fine = false;
	}
	return fine;
}

static void leftover(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup(netconf_free) struct netconf *network = NULL;
	cleanup_free char *pins = check_state_path(ctx, "ns"),
			  *results = check_path(ctx, CNI_RESULTS), *prefix = NULL;
	cleanup(strv_free) char **names = NULL;
	bool fine;

	if (fsx_list(AT_FDCWD, pins, &names) < 0)
		names = NULL;
	if (!check_state_whole(ctx, out, &offline))
		return;
	fine = look_for_pins(ctx, out, offline.state, names);
	network = find_network(ctx, out);
	if (!network)
		return;
	prefix = xasprintf("%s-", network->name);
	fine &= look_for_addresses(ctx, out, offline.state, network);
	fine &= look_for_files(out, offline.state, results, prefix, "kept results");
	if (fine)
		check_ok(out, NULL, "no pod left an address or a namespace behind");
}

static const struct check checks[] = {
	{ "cni.conf-dir", CHECK_WARN, 0, conf_dir },
	{ "cni.conf", CHECK_FAIL, 0, conf },
	{ "cni.plugins", CHECK_FAIL, 0, plugins },
	{ "cni.version", CHECK_WARN, CHECK_HOST, versions },
	{ "cni.subnet", CHECK_WARN, 0, subnets },
	{ "cni.netns", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, netns },
	{ "cni.leftover", CHECK_WARN, 0, leftover },
};

const struct check_group check_group_cni = { "cni", checks, ARRAY_SIZE(checks) };
