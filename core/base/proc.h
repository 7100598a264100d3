/* core/base/proc.h
 *
 * What /proc tells. Results are >= 0 or a negative errno.
 */
#ifndef CORACLE_CORE_BASE_PROC_H
#define CORACLE_CORE_BASE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"

/* Field 22 of /proc/PID/stat (clock ticks since boot); with the pid it names a process for the life
 * of this boot. -ENOENT: gone. */
NODISCARD int proc_start_ticks(pid_t pid, uint64_t *ret_ticks);
/* State letter of /proc/PID/stat ('R', 'S', 'D', 'Z', ...). */
NODISCARD int proc_state(pid_t pid, char *ret_state);
/* Has the process a handler for @sig (SigCgt of /proc/PID/status)? 1, 0 or -errno. What the init of a PID namespace does not
 * catch, the kernel discards. */
NODISCARD int proc_catches(pid_t pid, int sig);
/* Which program it runs: device and inode of /proc/PID/exe. Another answer later: it has exec'd. */
NODISCARD int proc_program(pid_t pid, uint64_t *ret_dev, uint64_t *ret_ino);
/* True iff a process with that pid and start time exists and is not a zombie. */
NODISCARD bool proc_is_alive(pid_t pid, uint64_t start_ticks);
/* /proc/sys/kernel/random/boot_id as 16 bytes */
NODISCARD int proc_boot_id(uint8_t ret_id[16]);
NODISCARD int proc_machine_id(uint8_t ret_id[16]); /* /etc/machine-id; zeros and 0 when absent */
/* Path of the process in the cgroup hierarchy that has @controller ("" = v2), heap. pid 0 = self.
 * -ENOENT: no such process, or no such hierarchy. */
NODISCARD int proc_cgroup_path(pid_t pid, const char *controller, char **ret_path);

/* One line of /proc/self/mountinfo; strings are unescaped and borrowed during the callback. */
struct proc_mount {
	int id, parent;
	unsigned major, minor;
	const char *root, *target, *fstype, *source, *options, *super_options;
	bool shared, slave; /* propagates to its peers; receives from a master */
};
/* Stops and returns fn's value when it is not 0. */
typedef int (*proc_mount_fn)(const struct proc_mount *mount, void *arg);
NODISCARD int proc_mounts(proc_mount_fn fn, void *arg);
/* The same over the text of a mountinfo file, which is cut up on the way. -EBADMSG: not such a
 * text. */
NODISCARD int proc_mounts_parse(char *text, proc_mount_fn fn, void *arg);
/* Is exactly this path a mount point? 1, 0 (also when it does not exist) or -errno */
NODISCARD int proc_is_mount_point(const char *path);

#endif
