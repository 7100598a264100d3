/* cri/spec/user.h
 *
 * Who a process runs as, by the text of /etc/passwd and /etc/group of its root file system. Pure: the texts may be anything, a
 * line that is none is skipped.
 *
 *	"u"	  number: its primary group from passwd, 0 when nobody there has it; name: must be in passwd
 *	"u:g"	  each a number or a name; numbers are taken as they are
 *	""	  0:0
 */
#ifndef CORACLE_CRI_SPEC_USER_H
#define CORACLE_CRI_SPEC_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"

#define USER_ID_MAX     INT32_MAX /* what the OCI runtimes agree on */
#define USER_GROUPS_MAX 65536     /* NGROUPS_MAX: the kernel takes no more */
#define USER_FILE_BYTES (10u << 20)

struct user {
	uint32_t uid, gid;
	char *name;       /* in passwd, or NULL */
	uint32_t *groups; /* sorted, no duplicates, gid among them */
	size_t ngroups;
};

/*
 * user_resolve - uid, gid and name; groups stay empty.
 * Errors: INVALID_ARGUMENT (form, range, a second colon), NOT_FOUND (no such user or group in the image).
 */
NODISCARD int user_resolve(struct str passwd, struct str group, const char *text, struct user *ret,
                           struct err *err);
/*
 * user_add_groups - the supplementary groups: gid, @extra, and with @merge those of /etc/group that list the user's name.
 * Errors: RESOURCE_EXHAUSTED beyond USER_GROUPS_MAX.
 */
NODISCARD int user_add_groups(struct user *user, struct str group, bool merge, const int64_t *extra,
                              size_t nextra, struct err *err);
void user_release(struct user *user); /* safe on a zeroed struct */

/*
 * user_read_file - a file of a root file system that may be hostile: symlinks end inside of @rootfs, only a regular file is
 * opened, at most USER_FILE_BYTES. Missing: empty text.
 * Errors: INVALID_ARGUMENT (no regular file), RESOURCE_EXHAUSTED (too large), others name @path.
 */
NODISCARD int user_read_file(const char *rootfs, const char *path, char **ret_text, size_t *ret_len,
                             struct err *err);

DEFINE_CLEANUP(struct user, user_release);

#endif
