/* cmd/check/check_net.c: our own socket, and other container runtimes beside us (group net). */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/check/state.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define KUBELET_CONFIG "/var/lib/kubelet/config.yaml"
#define KUBELET_FLAGS  "/var/lib/kubelet/kubeadm-flags.env"

static bool is_served(const char *path)
{
	int fd = unix_connect(path, SOCK_STREAM | SOCK_NONBLOCK);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EAGAIN;
}

static void listen_check(const struct check_ctx *ctx, struct check_out *out)
{
	const char *path = ctx->config->listen;
	struct stat st;

	if (lstat(path, &st) < 0) {
		check_ok(out, NULL, "%s is free", path);
	} else if (!S_ISSOCK(st.st_mode)) {
		check_fail(out, NULL, "%s is there and no socket", path);
		check_hint(out, "move it away, or set [daemon] listen");
	} else if (!is_served(path)) {
		check_ok(out, NULL, "%s is left from before and will be replaced", path);
	} else if (offline_daemon(ctx->config->root)) {
		check_ok(out, NULL, "%s is served by the running daemon", path);
	} else {
		check_fail(out, NULL, "%s is served by another program", path);
		check_hint(out, "stop it, or set [daemon] listen");
	}
}

/* --- other runtimes */

/* The socket that kubelet is told to use, by its flags or else by its configuration; heap. NULL: it does not say. */
static char *kubelet_endpoint(const struct check_ctx *ctx)
{
	static const struct {
		const char *file, *key;
	} places[] = { { KUBELET_FLAGS, "--container-runtime-endpoint=" },
		       { KUBELET_CONFIG, "\ncontainerRuntimeEndpoint:" } };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		cleanup_free char *text = check_read(ctx, places[i].file),
				  *lines = xasprintf("\n%s", or_empty(text));
		const char *value = strstr(lines, places[i].key);

		if (!value)
			continue;
		value += strlen(places[i].key);
		value += strspn(value, " \"'");
		value += starts_with(value, "unix://") ? strlen("unix://") : 0;
		return xstrndup(value, strcspn(value, " \"'\n"));
	}
	return NULL;
}

static void other_runtime(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		const char *name, *socket;
	} others[] = { { "containerd", "/run/containerd/containerd.sock" },
		       { "CRI-O", "/run/crio/crio.sock" } };
	cleanup_free char *kubelet = kubelet_endpoint(ctx);
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		cleanup_free char *path = check_path(ctx, others[i].socket);

		if (!is_served(path))
			continue;
		any = true;
		if (!streq(kubelet, others[i].socket)) {
			check_ok(out, others[i].name, "runs as well, at %s", path);
			continue;
		}
		check_warn(out, others[i].name, "kubelet uses it, at %s, and not coracle", path);
		check_hint(out,
		           "set containerRuntimeEndpoint: unix://%s in %s, drain the node, stop %s",
		           ctx->config->listen, KUBELET_CONFIG, others[i].name);
	}
	if (!any)
		check_ok(out, NULL, "neither containerd nor CRI-O answers");
}

static const struct check checks[] = {
	{ "net.listen", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, listen_check },
	{ "net.other-runtime", CHECK_WARN, CHECK_ROOT, other_runtime },
};

const struct check_group check_group_net = { "net", checks, ARRAY_SIZE(checks) };
