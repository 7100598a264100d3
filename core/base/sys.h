/* core/base/sys.h
 *
 * Thin wrappers of system calls that musl 1.2.5 lacks. Each returns >= 0 or a negative errno.
 */
#ifndef CORACLE_CORE_BASE_SYS_H
#define CORACLE_CORE_BASE_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"

struct open_how;
struct mount_attr;

NODISCARD int sys_pidfd_open(pid_t pid, unsigned flags);
NODISCARD int sys_pidfd_send_signal(int pidfd, int sig);
/* Exit status of the process behind a pidfd (kernel >= 6.15, after it was reaped too): 0 and
 * *ret_wstatus, or -errno (-ENOTTY/-EINVAL old kernel, -ESRCH not known, -EAGAIN still running). */
NODISCARD int sys_pidfd_exit_status(int pidfd, int *ret_wstatus);
NODISCARD int sys_close_range(unsigned first, unsigned last, unsigned flags);
NODISCARD int sys_openat2(int dirfd, const char *path, const struct open_how *how);
NODISCARD int sys_execveat(int dirfd, const char *path, char *const argv[], char *const envp[],
                           int flags);
NODISCARD int sys_open_tree(int dirfd, const char *path, unsigned flags);
NODISCARD int sys_move_mount(int from_dirfd, const char *from, int to_dirfd, const char *to,
                             unsigned flags);
NODISCARD int sys_fsopen(const char *fsname, unsigned flags);
NODISCARD int sys_fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux);
NODISCARD int sys_fsmount(int fd, unsigned flags, unsigned attr_flags);
NODISCARD int sys_mount_setattr(int dirfd, const char *path, unsigned flags,
                                const struct mount_attr *attr, size_t size);
NODISCARD int sys_renameat2(int olddir, const char *old, int newdir, const char *new_path,
                            unsigned flags);

#endif
