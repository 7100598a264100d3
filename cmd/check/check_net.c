/* cmd/check/check_net.c: the pod network's configuration and plugins (group cni), and our own socket (group net). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/net/netconf.h"

static bool is_conf(const char *name)
{
	return ends_with(name, ".conf") || ends_with(name, ".conflist") || ends_with(name, ".json");
}

/* The file that is used: the first in byte order. Heap; NULL: there is none. */
static char *first_conf(const struct check_ctx *ctx)
{
	cleanup_free char *dir = check_path(ctx, ctx->config->cni_conf_dir);
	cleanup(strv_free) char **names = NULL;

	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return NULL;
	for (size_t i = 0; names[i]; i++)
		if (is_conf(names[i]))
			return xasprintf("%s/%s", dir, names[i]);
	return NULL;
}

static void conf_dir(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *file = first_conf(ctx);

	if (file) {
		check_ok(out, NULL, "%s", file);
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

/* NULL after a report. */
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

static void conf(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *file = first_conf(ctx);
	cleanup(netconf_free) struct netconf *network = NULL;
	struct err err = { .code = CODE_OK };

	if (!file) {
		check_skip(out, NULL, "no network is configured");
		return;
	}
	network = read_conf(file, &err);
	if (network) {
		check_ok(out, NULL, "network %s, version %s, %zu plugins", network->name,
		         network->version, netconf_count(network));
		return;
	}
	check_fail(out, NULL, "%s", err.msg);
	check_source(out, file, 0);
}

static bool look_for_plugin(const struct check_ctx *ctx, struct check_out *out, const char *type,
                            const char *file)
{
	char *const *dirs = ctx->config->cni_bin_dirs;

	for (size_t i = 0; dirs[i] && !strchr(type, '/'); i++) {
		cleanup_free char *path = xasprintf("%s%s/%s", ctx->sysroot, dirs[i], type);

		if (access(path, X_OK) == 0)
			return true;
	}
	if (strchr(type, '/'))
		check_fail(out, type, "the type %s of a plugin names a path", type);
	else
		check_fail(out, type, "the plugin %s is not in %s%s", type, or_empty(dirs[0]),
		           dirs[0] && dirs[1] ? ", nor in the other directories of [cni] bin_dirs"
		                              : "");
	check_source(out, file, 0);
	check_hint(out, "install the CNI plugins, or name their directory in [cni] bin_dirs");
	return false;
}

static void plugins(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *file = first_conf(ctx);
	cleanup(netconf_free) struct netconf *network = NULL;
	struct err err = { .code = CODE_OK };
	bool fine = true;

	network = file ? read_conf(file, &err) : NULL;
	if (!network) {
		check_skip(out, NULL,
		           file ? "the network's configuration is broken"
		                : "no network is configured");
		return;
	}
	for (size_t i = 0; i < netconf_count(network); i++) {
		const char *ipam =
			json_str(json_obj(netconf_plugin(network, i), "ipam"), "type", "");

		fine &= look_for_plugin(ctx, out, netconf_type(network, i), file);
		if (*ipam)
			fine &= look_for_plugin(ctx, out, ipam, file);
	}
	if (fine)
		check_ok(out, NULL, "all plugins of %s are there", network->name);
}

/* --- our socket */

static bool is_served(const char *path)
{
	int fd = unix_connect(path, SOCK_STREAM | SOCK_NONBLOCK);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EAGAIN;
}

/* The daemon holds <root>/lock while it runs. */
static bool daemon_runs(const struct check_ctx *ctx)
{
	cleanup_free char *path = xasprintf("%s/lock", ctx->config->root);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

static void listen_check(const struct check_ctx *ctx, struct check_out *out)
{
	const char *path = ctx->config->listen;
	struct stat st;

	if (lstat(path, &st) < 0)
		check_ok(out, NULL, "%s is free", path);
	else if (!S_ISSOCK(st.st_mode))
		check_fail(out, NULL, "%s is there and no socket", path);
	else if (!is_served(path))
		check_ok(out, NULL, "%s is left from before and will be replaced", path);
	else if (daemon_runs(ctx))
		check_ok(out, NULL, "%s is served by the running daemon", path);
	else
		check_fail(out, NULL, "%s is served by another program", path);
}

static const struct check cni_checks[] = {
	{ "cni.conf-dir", CHECK_WARN, 0, conf_dir },
	{ "cni.conf", CHECK_FAIL, 0, conf },
	{ "cni.plugins", CHECK_FAIL, 0, plugins },
};

static const struct check net_checks[] = {
	{ "net.listen", CHECK_FAIL, CHECK_HOST, listen_check },
};

const struct check_group check_group_cni = { "cni", cni_checks, ARRAY_SIZE(cni_checks) };
const struct check_group check_group_net = { "net", net_checks, ARRAY_SIZE(net_checks) };
