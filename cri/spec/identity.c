/* cri/spec/identity.c
 *
 * process.user: the request's user, else the image's, looked up in the container's own /etc/passwd and /etc/group.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/build.h"
#include "cri/spec/user.h"

/* "u" or "u:g" as user_resolve() takes it, and which field it is from; heap. */
static char *wanted_user(const struct build *build, const char **ret_field, struct err *err)
{
	const cri_LinuxContainerSecurityContext *security = build->security;
	const char *name = or_empty(security->run_as_username);
	cleanup_free char *user = NULL;

	if (name[0]) {
		*ret_field = SECURITY_FIELD ".run_as_username";
		user = xstrdup(name);
	} else if (security->has_run_as_user) {
		*ret_field = SECURITY_FIELD ".run_as_user";
		user = xasprintf("%lld", (long long)security->run_as_user.value);
	} else if (security->has_run_as_group) {
		build_invalid(
			err,
			"linux.security_context.run_as_group: needs run_as_user or run_as_username");
		return NULL;
	} else {
		*ret_field = "the image's user";
		return xstrdup(build->image.user);
	}
	if (security->has_run_as_group)
		return xasprintf("%s:%lld", user, (long long)security->run_as_group.value);
	return take_ptr(user);
}

static bool is_mapped(const struct id_maps *maps, uint32_t id)
{
	for (size_t i = 0; i < maps->count; i++)
		if (id >= maps->items[i].inside &&
		    id - maps->items[i].inside < maps->items[i].count)
			return true;
	return false;
}

/* What the user namespace does not have, nobody can become. */
static int check_mapped(const struct build *build, const struct user *user, struct err *err)
{
	const struct sandbox *sb = build->in->sandbox;

	if (!build->userns)
		return 0;
	if (!is_mapped(&sb->uid_maps, user->uid))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "user %u is not mapped in the pod's user namespace", user->uid);
	for (size_t i = 0; i < user->ngroups; i++)
		if (!is_mapped(&sb->gid_maps, user->groups[i]))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "group %u is not mapped in the pod's user namespace",
			               user->groups[i]);
	return 0;
}

static void set_user(struct build *build, const struct user *user)
{
	yyjson_mut_val *groups = spec_array(&build->spec, "process.user.additionalGids");

	spec_set_uint(&build->spec, "process.user.uid", user->uid);
	spec_set_uint(&build->spec, "process.user.gid", user->gid);
	for (size_t i = 0; i < user->ngroups; i++)
		yyjson_mut_arr_add_uint(build->spec.doc, groups, user->groups[i]);
}

int build_user(struct build *build, struct err *err)
{
	const cri_LinuxContainerSecurityContext *security = build->security;
	const bool merge =
		security->supplemental_groups_policy == cri_SupplementalGroupsPolicy_Merge;
	const char *field = NULL;
	cleanup_free char *wanted = wanted_user(build, &field, err);
	cleanup_free char *passwd = NULL;
	cleanup_free char *group = NULL;
	cleanup(user_release) struct user user = { 0 };
	size_t passwd_len = 0, group_len = 0;

	if (!wanted)
		return -1;
	if (!merge && security->supplemental_groups_policy != cri_SupplementalGroupsPolicy_Strict)
		return build_invalid(
			err, "linux.security_context.supplemental_groups_policy: unknown value %d",
			(int)security->supplemental_groups_policy);
	if (user_read_file(build->in->rootfs, "etc/passwd", &passwd, &passwd_len, err) < 0 ||
	    user_read_file(build->in->rootfs, "etc/group", &group, &group_len, err) < 0 ||
	    user_resolve((struct str){ passwd, passwd_len }, (struct str){ group, group_len },
	                 wanted, &user, err) < 0)
		return err_wrap(err, "%s", field);
	if (user_add_groups(&user, (struct str){ group, group_len }, merge,
	                    security->supplemental_groups, security->supplemental_groups_count,
	                    err) < 0)
		return err_wrap(err, SECURITY_FIELD ".supplemental_groups");
	if (check_mapped(build, &user, err) < 0)
		return err_wrap(err, "%s", field);
	set_user(build, &user);
	return 0;
}
