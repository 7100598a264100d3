/* core/loop/oplock.h
 *
 * Who still works for this object? A child outlives a killed daemon; each operation has a file <state>/ops/<id>.<seq>,
 * flocked before its first fork and inherited by that operation's children alone (design 7.9). The next daemon continues the
 * object's step table only when the lock is free, and says who held it when it had to kill.
 */
#ifndef CORACLE_CORE_LOOP_OPLOCK_H
#define CORACLE_CORE_LOOP_OPLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"

struct oplock {
	int fd; /* -1: not held */
	char path[256];
};

/* O_EXCL create + flock of <dir>/<id>.<seq>. */
NODISCARD int oplock_take(struct oplock *lock, const char *dir, const char *id, uint64_t seq,
                          struct err *err);
/* End of the op: close ours; unlink the file if no child holds it any more. False: one does, oplock_gone() looks again. */
bool oplock_drop(struct oplock *lock);
/* True when nobody holds the file any more: it is unlinked. */
bool oplock_gone(const char *path);

enum oplock_probe { OPLOCK_NONE, OPLOCK_FREE, OPLOCK_HELD };
/* Any op file of @id in @dir still locked? Probes with fresh opens; unlinks free ones when @sweep. */
enum oplock_probe oplock_probe(const char *dir, const char *id, bool sweep);

struct oplock_holder {
	pid_t pid;
	bool daemonized; /* outside the op's session: logged, not waited for */
	char comm[32];
};
/* Processes that hold an op file of @id open (by inode, from /proc/PID/fd). Returns how many were found, at most @max filled.
 * @skip_cgroup: processes in this cgroup (the container's own init) are not holders; NULL: none skipped. */
NODISCARD int oplock_holders(const char *dir, const char *id, const char *skip_cgroup,
                             struct oplock_holder *ret, size_t max);
/* SIGKILL every holder that is not daemonized; how many. */
int oplock_kill(const char *dir, const char *id, const char *skip_cgroup);

#endif
