/* cmd/check/check_leftovers.c: processes, mounts and runtime directories held against what is on record (group state). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/check/state.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/journal/spool.h"
#include "core/run/mount.h"

/* Can processes and mounts of this boot be told from it? False after a report. */
static bool is_here(struct check_out *out, const struct offline *offline)
{
	if (offline->home == HOME_HERE || offline->home == HOME_NEW)
		return true;
	check_skip(out, NULL,
	           offline->home == HOME_REBOOTED
	                   ? "the machine was rebooted since: nothing of it runs"
	                   : "it is the state of another machine, or a copy");
	return false;
}

/* --- state.pids */

static enum exit_verdict remember_exit(void *arg, const char *id, const struct exit_record *rec)
{
	(void)id;
	(void)rec;
	*(bool *)arg = true;
	return EXIT_IN_FLIGHT;
}

/* Its end may be told already, by a record that waits in the spool: state.exits reports that. */
static bool has_exit_record(const struct check_ctx *ctx, const char *id)
{
	cleanup_free char *dir = check_root_path(ctx, "spool");
	struct err err = { .code = CODE_OK };
	struct spool *spool = spool_new_readonly(dir, &err);
	bool found = false;

	if (spool)
		spool_scan_one(spool, id, true, remember_exit, &found);
	spool_free(spool);
	return found;
}

static bool is_lost(const struct check_ctx *ctx, const struct container *c)
{
	return c->state == CONTAINER_RUNNING && !proc_is_alive(c->pid, c->start_ticks) &&
	       !has_exit_record(ctx, c->id);
}

static bool any_lost(const struct check_ctx *ctx, const struct offline *offline, void *arg UNUSED)
{
	list_for_each(l, &offline->state->containers)
		if (is_lost(ctx, list_entry(l, struct container, link)))
			return true;
	return false;
}

void check_state_pids(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	size_t running = 0;
	bool any = false;

	if (!check_state_settled(ctx, out, any_lost, NULL, &offline) || !is_here(out, &offline))
		return;
	list_for_each(l, &offline.state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		running += c->state == CONTAINER_RUNNING;
		if (!is_lost(ctx, c))
			continue;
		check_warn(out, c->id,
		           "container %s is running on record, but its process %d is gone", c->name,
		           (int)c->pid);
		check_hint(out,
		           "a start of the daemon records the exit as 255, since nobody saw it");
		any = true;
	}
	if (!any)
		check_ok(out, NULL, "%zu running containers have their process", running);
}

/* --- state.mounts */

/* Is one of the directories below @dir that lead to @target named like a pod or container? */
static bool belongs(const struct state *state, const char *dir, const char *target)
{
	struct str rest = str_of(target + strlen(dir)), name;

	while (rest.len) {
		cleanup_free char *id = NULL;

		str_cut(rest, '/', &name, &rest);
		id = str_dup(name);
		if (check_is_on_record(state, id))
			return true;
	}
	return false;
}

static bool report_mounts(struct check_out *out, const struct state *state, const char *dir,
                          char *const *targets)
{
	bool fine = true;

	for (size_t i = 0; targets[i]; i++) {
		if (streq(targets[i], dir) || belongs(state, dir, targets[i]) ||
		    proc_is_mount_point(targets[i]) == 0)
			continue;
		check_warn(out, NULL, "%s is mounted and belongs to no pod or container",
		           targets[i]);
		check_hint(out, "umount %s", targets[i]);
		fine = false;
	}
	return fine;
}

void check_state_mounts(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup(strv_free) char **in_root = NULL, **in_state = NULL;
	struct err err = { .code = CODE_OK };

	if (mount_list(ctx->config->root, &in_root, &err) < 0 ||
	    mount_list(ctx->config->state, &in_state, &err) < 0) {
		check_skip(out, NULL, "%s", err.msg);
		return;
	}
	if (!check_state_whole(ctx, out, &offline))
		return;
	if (report_mounts(out, offline.state, ctx->config->root, in_root) &
	    report_mounts(out, offline.state, ctx->config->state, in_state))
		check_ok(out, NULL, "all %zu mounts have an owner",
		         strv_len(in_root) + strv_len(in_state));
}

/* --- state.runtime-root */

static bool look_for_owners(struct check_out *out, const struct state *state, const char *dir,
                            char *const *ids)
{
	bool fine = true;

	for (size_t i = 0; ids[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, ids[i]);

		if (strlen(ids[i]) != ID_SIZE - 1 || check_is_on_record(state, ids[i]) ||
		    !fsx_exists(path))
			continue; /* crun and runc have files of their own beside */
		check_warn(out, ids[i],
		           "%s: the OCI runtime knows a container that is not on record", path);
		check_hint(out, "crun (or runc) --root %s delete --force %s", dir, ids[i]);
		fine = false;
	}
	return fine;
}

static bool look_for_runtime(struct check_out *out, const struct container *c, const char *dir)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, c->id);

	if (c->state != CONTAINER_RUNNING || fsx_exists(path) ||
	    !proc_is_alive(c->pid, c->start_ticks))
		return true;
	check_warn(out, c->id,
	           "container %s runs, and its OCI runtime has forgotten it: %s is gone", c->name,
	           path);
	check_hint(out,
	           "exec and updates fail: stop the container, so that kubelet starts it anew");
	return false;
}

void check_state_runtime_root(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *dir = check_state_path(ctx, "runtime");
	cleanup(strv_free) char **ids = NULL;
	int rc = fsx_list(AT_FDCWD, dir, &ids);
	bool fine;

	if (rc < 0 && rc != -ENOENT) {
		check_skip(out, NULL, "%s: %s", dir, errno_name(-rc));
		return;
	}
	if (!check_state_whole(ctx, out, &offline) || !is_here(out, &offline))
		return;
	fine = !ids || look_for_owners(out, offline.state, dir, ids);
	list_for_each(l, &offline.state->containers)
		fine &= look_for_runtime(out, list_entry(l, struct container, link), dir);
	if (fine)
		check_ok(out, NULL, "the OCI runtimes know what is on record");
}
