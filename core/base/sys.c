/* core/base/sys.c */
#include "core/base/sys.h"

#include <errno.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int result(long rc)
{
	return rc < 0 ? -errno : (int)rc;
}

int sys_pidfd_open(pid_t pid, unsigned flags)
{
	return result(syscall(SYS_pidfd_open, pid, flags));
}

int sys_pidfd_send_signal(int pidfd, int sig)
{
	return result(syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
}

/*
 * PIDFD_GET_INFO, newer than our kernel headers (and linux/pidfd.h clashes with fcntl.h). The
 * kernel fills what its mask admits to; the exit status is there from 6.15 on, once the process has
 * been reaped.
 */
struct pidfd_info {
	uint64_t mask;
	uint64_t cgroupid;
	uint32_t ids[11]; /* pid, tgid, ppid, and eight uids and gids */
	int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info) == 64, "PIDFD_INFO_SIZE_VER0");

#define PIDFD_INFO_PID      (UINT64_C(1) << 0)
#define PIDFD_INFO_EXIT     (UINT64_C(1) << 3)
#define PIDFD_GET_INFO_VER0 _IOWR(0xff, 11, struct pidfd_info)

int sys_pidfd_exit_status(int pidfd, int *ret_wstatus)
{
	struct pidfd_info info = { .mask = PIDFD_INFO_PID | PIDFD_INFO_EXIT };

	if (ioctl(pidfd, PIDFD_GET_INFO_VER0, &info) < 0)
		return -errno;
	if (!(info.mask & PIDFD_INFO_EXIT))
		return -EAGAIN;
	*ret_wstatus = info.exit_code;
	return 0;
}

int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return result(syscall(SYS_close_range, first, last, flags));
}

int sys_openat2(int dirfd, const char *path, const struct open_how *how)
{
	return result(syscall(SYS_openat2, dirfd, path, how, sizeof(*how)));
}

int sys_execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	return result(syscall(SYS_execveat, dirfd, path, argv, envp, flags));
}

int sys_open_tree(int dirfd, const char *path, unsigned flags)
{
	return result(syscall(SYS_open_tree, dirfd, path, flags));
}

int sys_move_mount(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
	return result(syscall(SYS_move_mount, from_dirfd, from, to_dirfd, to, flags));
}

int sys_fsopen(const char *fsname, unsigned flags)
{
	return result(syscall(SYS_fsopen, fsname, flags));
}

int sys_fsconfig(int fd, unsigned cmd, const char *key, const void *value, int aux)
{
	return result(syscall(SYS_fsconfig, fd, cmd, key, value, aux));
}

int sys_fsmount(int fd, unsigned flags, unsigned attr_flags)
{
	return result(syscall(SYS_fsmount, fd, flags, attr_flags));
}

int sys_mount_setattr(int dirfd, const char *path, unsigned flags, const struct mount_attr *attr,
                      size_t size)
{
	return result(syscall(SYS_mount_setattr, dirfd, path, flags, attr, size));
}

int sys_renameat2(int olddir, const char *old, int newdir, const char *new_path, unsigned flags)
{
	return result(syscall(SYS_renameat2, olddir, old, newdir, new_path, flags));
}
