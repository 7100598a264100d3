/* core/life/pause.c
 *
 * The hidden container of a pod whose controller is `pause`: it takes the table of any container; here is its spec.
 */
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"
#include "core/run/controller.h"

enum step pause_spec(struct op *op, const struct sandbox *sb, char **ret_json)
{
	struct life *life = op->life;
	const struct container *c = container_get(life->state, op->id);
	const struct sandbox_ops *ops = controller_find(sb->controller);
	const struct host_limits *limits = runtime_host_limits(life->args.runtime);
	/* not on the run directory: that is a noexec mount on many hosts */
	cleanup_free char *dir = xasprintf("%s/pause", life->root);
	cleanup_free char *rootfs = NULL;
	struct namespaces_paths pinned = { 0 };
	struct pause_spec args = { 0 };
	size_t len;

	if (pause_prepare(dir, life->args.pause_elf, life->args.pause_elf_len, &rootfs,
	                  op_err(op)) < 0)
		return STEP_FAIL;
	if (str_copy(pinned.path[NAMESPACE_NET], sizeof(pinned.path[0]), or_empty(sb->netns_path)) <
	            0 ||
	    str_copy(pinned.path[NAMESPACE_IPC], sizeof(pinned.path[0]), or_empty(sb->ipcns_path)) <
	            0 ||
	    str_copy(pinned.path[NAMESPACE_UTS], sizeof(pinned.path[0]), or_empty(sb->utsns_path)) <
	            0 ||
	    str_copy(pinned.path[NAMESPACE_USER], sizeof(pinned.path[0]),
	             or_empty(sb->userns_path)) < 0)
		return op_fail(op, CODE_INTERNAL, "namespace path is too long");
	args.rootfs = rootfs;
	args.cgroups_path = c->cgroups_path;
	args.pinned = &pinned;
	args.uid_maps = sb->uid_maps.items;
	args.nuid_maps = sb->uid_maps.count;
	args.gid_maps = sb->gid_maps.items;
	args.ngid_maps = sb->gid_maps.count;
	args.set_oom_score_adj = true;
	args.oom_score_adj = runtime_clamp_oom(limits, PAUSE_OOM_SCORE_ADJ);
	*ret_json = ops->spec(&args, &len, op_err(op));
	return *ret_json ? STEP_DONE : STEP_FAIL;
}
