/* cmd/check/check_state.c: what a start would find on disk (group state). Read-only: not a byte and not a time stamp
 * changes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "cmd/check/state.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/spool.h"

#define STRAY_SECONDS 3600
#define SETTLE_NS     (5 * NS_PER_S) /* a running daemon takes an exit long before */

static void lock(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *root = check_root_path(ctx, ""), *path = check_root_path(ctx, "lock");
	pid_t pid = offline_daemon(root);
	struct stat st;

	if (pid) {
		check_ok(out, NULL, "the daemon runs, pid %d", (int)pid);
	} else if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		check_fail(out, NULL, "%s is no file: a daemon cannot lock it", path);
		check_hint(out, "move it away");
	} else {
		check_ok(out, NULL,
		         fsx_exists(path) ? "no daemon runs" : "nothing was started here yet");
	}
}

static void schema(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	struct err err = { .code = CODE_OK };

	if (check_state_read(ctx, &offline, &err) == 0) {
		check_ok(out, NULL,
		         offline.load.last_seq ? "written by a coracle that this one understands"
		                               : "nothing was written yet");
	} else if (err_is(&err, CODE_FAILED_PRECONDITION)) {
		check_fail(out, NULL, "%s", err.msg);
		check_hint(out, "install the coracle that wrote it, or a newer one");
	} else {
		check_skip(out, NULL, "it cannot be read: see state.journal");
	}
}

static void journal_unreadable(struct check_out *out, const struct err *err)
{
	if (err_is(err, CODE_FAILED_PRECONDITION)) {
		check_skip(out, NULL, "written by a newer coracle: see state.schema");
	} else if (err->sys == EACCES) {
		check_skip(out, NULL, "needs root");
	} else {
		check_fail(out, NULL, "%s", err->msg);
		check_hint(out, "the daemon does not start before it can be read");
	}
}

static void journal(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *root = check_root_path(ctx, "");
	const struct journal_report *load = &offline.load;
	struct err err = { .code = CODE_OK };

	if (check_state_read(ctx, &offline, &err) < 0) {
		journal_unreadable(out, &err);
	} else if (load->damage[0]) {
		check_fail(out, NULL, "%s/journal: %s", root, load->damage);
		check_hint(
			out,
			"coracle recover shows what is left, coracle recover --truncate gives up the rest");
	} else if ((load->torn_records || load->torn_bytes) && !offline_daemon(root)) {
		check_warn(out, NULL, "%s/journal: what lies behind record %" PRIu64 " is torn",
		           root, load->last_seq);
		check_hint(
			out,
			"a power cut leaves this; nobody was told of it, and the next start drops it");
	} else if (!load->last_seq) {
		check_ok(out, NULL, "nothing was written yet");
	} else {
		check_ok(out, NULL, "whole up to record %" PRIu64, load->last_seq);
	}
}

/* --- state.refs */

static bool has_handler(const struct config *config, const char *name)
{
	if (config->nruntimes == 0)
		return streq(name, "crun") || streq(name, "runc");
	for (size_t i = 0; i < config->nruntimes; i++)
		if (streq(config->runtimes[i].name, name))
			return true;
	return false;
}

static bool is_pinned(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == NSFS_MAGIC;
}

static bool look_at_quarantine(struct check_out *out, const struct state *state)
{
	bool fine = true;

	list_for_each(l, &state->quarantine) {
		const struct quarantine *q = list_entry(l, struct quarantine, link);

		check_fail(out, q->id, "cannot be followed: %s", q->why);
		check_hint(out, "coracle recover explain %s tells its story; removing it ends this",
		           *q->id ? q->id : "ID");
		fine = false;
	}
	return fine;
}

static bool is_here(const struct check_ctx *ctx, const struct offline *offline)
{
	return !*ctx->sysroot && offline->home == HOME_HERE;
}

static bool has_lost_network(const struct sandbox *sb)
{
	return sb->state == SANDBOX_READY && sb->netns_path && !is_pinned(sb->netns_path);
}

static bool any_lost_network(const struct check_ctx *ctx, const struct offline *offline,
                             void *arg UNUSED)
{
	list_for_each(l, &offline->state->sandboxes)
		if (is_here(ctx, offline) && has_lost_network(list_entry(l, struct sandbox, link)))
			return true;
	return false;
}

static bool look_at_pod(const struct check_ctx *ctx, struct check_out *out,
                        const struct offline *offline, const struct sandbox *sb)
{
	if (!has_handler(ctx->config, sb->runtime)) {
		check_fail(out, sb->id,
		           "pod %s/%s needs the runtime handler %s, which is not configured",
		           sb->ns, sb->name, sb->runtime);
		check_hint(out, "configure [runtime %s] until the pod is removed", sb->runtime);
		return false;
	}
	if (is_here(ctx, offline) && has_lost_network(sb)) {
		check_fail(out, sb->id, "pod %s/%s: its network namespace %s is gone", sb->ns,
		           sb->name, sb->netns_path);
		check_hint(out,
		           "restart the daemon: it stops the pod, and kubelet makes a new one");
		return false;
	}
	return true;
}

static bool look_at_container(struct check_out *out, const struct state *state,
                              const struct container *c)
{
	if (c->hidden || image_get(state, c->image_id))
		return true;
	check_fail(out, c->id, "container %s: its image %s is not on record", c->name, c->image_id);
	check_hint(out, "remove the container");
	return false;
}

static void refs(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	struct err err = { .code = CODE_OK };
	size_t pods = 0, containers = 0;
	bool fine;

	if (!check_state_settled(ctx, out, any_lost_network, NULL, &offline))
		return;
	fine = look_at_quarantine(out, offline.state);
	if (state_verify(offline.state, &err) < 0) {
		check_fail(out, NULL, "%s", err.msg);
		check_hint(out, "coracle recover shows the whole state; please report this");
		fine = false;
	}
	list_for_each(l, &offline.state->sandboxes) {
		fine &= look_at_pod(ctx, out, &offline, list_entry(l, struct sandbox, link));
		pods++;
	}
	list_for_each(l, &offline.state->containers) {
		fine &= look_at_container(out, offline.state,
		                          list_entry(l, struct container, link));
		containers++;
	}
	if (fine)
		check_ok(out, NULL, "%zu pods and %zu containers have all they refer to", pods,
		         containers);
}

/* --- state.exits */

struct exits {
	struct check_out *out;
	const struct state *state;
	int64_t before_ns; /* what ended later is the running daemon's business still */
	bool any;
};

static enum exit_verdict look_at_exit(void *arg, const char *id, const struct exit_record *rec)
{
	struct exits *exits = arg;
	const struct container *c = container_get(exits->state, id);

	if (rec && c && (c->state >= CONTAINER_EXITED || rec->exited_ns > exits->before_ns))
		return EXIT_IN_FLIGHT;
	if (!rec)
		check_warn(exits->out, id,
		           "its exit record is damaged: the next start takes it for 255");
	else if (!c)
		check_warn(exits->out, id, "exited %u, and no such container is on record",
		           rec->exit_code);
	else
		check_warn(exits->out, id, "container %s exited %u, which is not on record yet",
		           c->name, rec->exit_code);
	check_hint(exits->out, "coracle recover shows what the next start will do about it");
	exits->any = true;
	return EXIT_IN_FLIGHT;
}

static bool look_at_spool(const struct check_ctx *ctx, struct exits *exits)
{
	cleanup_free char *dir = check_root_path(ctx, "spool");
	struct err err = { .code = CODE_OK };
	struct spool *spool = spool_new_readonly(dir, &err);
	bool fine = spool && spool_scan(spool, look_at_exit, exits, &err) >= 0;

	spool_free(spool);
	if (!fine)
		check_fail(exits->out, NULL, "%s", err.msg);
	return fine;
}

static void look_at_owed(struct exits *exits)
{
	for (int slot = 0; slot < PLUGIN_MAX; slot++) {
		cleanup_free struct owed *owed = NULL;
		size_t n = exits->state->plugins[slot].name ? state_owed(exits->state, slot, &owed)
		                                            : 0;

		if (!n)
			continue;
		check_warn(exits->out, exits->state->plugins[slot].name,
		           "%zu stops and removals wait until this plugin is there to hear them",
		           n);
		check_hint(exits->out, "coracle recover lists them");
		exits->any = true;
	}
}

static void exits(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *root = check_root_path(ctx, "");
	struct exits exits = { .out = out, .before_ns = INT64_MAX };

	if (!check_state_whole(ctx, out, &offline))
		return;
	exits.state = offline.state;
	if (offline_daemon(root))
		exits.before_ns = clock_real_ns() - SETTLE_NS;
	if (!look_at_spool(ctx, &exits))
		return;
	look_at_owed(&exits);
	if (!exits.any)
		check_ok(out, NULL, "every exit is on record, and whoever is to know was told");
}

/* --- state.tmp */

static void stray(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *dir = check_root_path(ctx, "");
	cleanup(strv_free) char **names = NULL;
	bool any = false;
	int rc;

	rc = fsx_list(AT_FDCWD, dir, &names);
	if (rc < 0) {
		check_skip(out, NULL, "%s: %s", dir, errno_name(-rc));
		return;
	}
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = check_root_path(ctx, names[i]);
		struct stat st;

		if (!starts_with(names[i], ".check-") && !ends_with(names[i], ".tmp"))
			continue;
		if (lstat(path, &st) < 0 || time(NULL) - st.st_mtim.tv_sec < STRAY_SECONDS)
			continue;
		any = true;
		check_warn(out, names[i], "%s was left behind by an interrupted run", path);
		check_hint(out, "rm -r %s", path);
	}
	if (!any)
		check_ok(out, NULL, "nothing was left behind");
}

static const struct check checks[] = {
	{ "state.lock", CHECK_FAIL, CHECK_ROOT, lock },
	{ "state.schema", CHECK_FAIL, 0, schema },
	{ "state.journal", CHECK_FAIL, 0, journal },
	{ "state.refs", CHECK_FAIL, 0, refs },
	{ "state.exits", CHECK_WARN, 0, exits },
	{ "state.pids", CHECK_WARN, CHECK_HOST, check_state_pids },
	{ "state.mounts", CHECK_WARN, CHECK_HOST, check_state_mounts },
	{ "state.runtime-root", CHECK_WARN, CHECK_HOST, check_state_runtime_root },
	{ "state.tmp", CHECK_WARN, 0, stray },
};

const struct check_group check_group_state = { "state", checks, ARRAY_SIZE(checks) };
