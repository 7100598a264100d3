/* core/life/old_lock.c
 *
 * Children of an earlier daemon. One may still work for an object when this daemon starts: a CNI ADD that goes on while we undo
 * it would leak its address. Its op lock tells (core/loop/oplock.h). A start looks at every lock file that it finds: free ones are
 * removed, and no operation on the object of a held one takes a step before the holders have ended, or are killed because their
 * own time-out has passed.
 *
 * Not waited for: the container's init, which a runtime may have let inherit the lock, and what has made itself a daemon.
 */
#include <fcntl.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/mutant.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"

#define POLL_MS     20
#define SCAN_MS     500 /* who holds it is told by /proc as a whole: less often */
#define HOLDERS_MAX 16

struct old_lock {
	int64_t kill_ns, scan_ns; /* clock_boot_ns */
	bool told;
};

static bool has_workers(struct life *life, const char *id, const char *init)
{
	struct oplock_holder holders[HOLDERS_MAX];
	int n = oplock_holders(life->ops_dir, id, init, holders, ARRAY_SIZE(holders));

	for (int i = 0; i < n; i++) {
		if (i == ARRAY_SIZE(holders) || !holders[i].daemonized)
			return true;
		log_info(&(struct log_ctx){ .container = id },
		         "%s (pid %d) has inherited an operation's lock and is not waited for",
		         holders[i].comm, (int)holders[i].pid);
	}
	return false;
}

static bool is_over(struct life *life, const char *id, struct old_lock *lock)
{
	const struct container *c = container_get(life->state, id);
	struct err err = { 0 };
	cleanup_free char *init = NULL;
	int64_t now = clock_boot_ns();

	if (oplock_probe(life->ops_dir, id, true) != OPLOCK_HELD)
		return true;
	if (now < lock->scan_ns)
		return false;
	lock->scan_ns = now + SCAN_MS * NS_PER_MS;
	init = c ? cgroup_dir(c->cgroups_path, &err) : NULL;
	if (!has_workers(life, id, init))
		return true;
	if (now >= lock->kill_ns && oplock_kill(life->ops_dir, id, init) > 0 && !lock->told) {
		lock->told = true;
		log_warn(&(struct log_ctx){ .container = id },
		         "an earlier daemon's operation did not end in time and was killed");
	}
	return false;
}

/* Whoever waited goes on where it was. */
static void wake_ops(struct life *life, const char *id)
{
	list_for_each(l, &life->ops) {
		struct op *op = list_entry(l, struct op, link);

		if (!strcmp(op->id, id))
			loop_defer_queue(life->loop, &op->defer);
	}
}

static void look_again(void *arg)
{
	struct life *life = arg;
	struct map_entry *e, *next;

	for (e = map_next(&life->old_locks, NULL); e; e = next) {
		cleanup_free char *id = NULL;

		next = map_next(&life->old_locks, e);
		if (!is_over(life, e->key, e->value))
			continue;
		id = xstrdup(e->key);
		free(map_remove(&life->old_locks, id));
		wake_ops(life, id);
	}
	if (map_count(&life->old_locks))
		loop_timer_arm_in(life->loop, &life->old_lock_timer, POLL_MS);
}

void old_locks_init(struct life *life)
{
	map_init(&life->old_locks);
	loop_timer_init(&life->old_lock_timer, look_again, life, "locks of an earlier daemon");
}

void old_locks_free(struct life *life)
{
	loop_timer_disarm(life->loop, &life->old_lock_timer);
	map_for_each(e, &life->old_locks)
		free(e->value);
	map_release(&life->old_locks);
}

char **old_lock_ids(const struct life *life)
{
	char **names = NULL;

	if (fsx_list(AT_FDCWD, life->ops_dir, &names) < 0)
		return NULL;
	for (char **name = names; name && *name; name++)
		(*name)[strcspn(*name, ".")] = '\0';
	return names;
}

void old_locks_find(struct life *life, int64_t timeout_ms)
{
	cleanup(strv_free) char **ids = old_lock_ids(life);

	for (char **id = ids; id && *id; id++) {
		struct old_lock *lock;

		if (map_find(&life->old_locks, *id) ||
		    oplock_probe(life->ops_dir, *id, true) != OPLOCK_HELD)
			continue;
		lock = xcalloc(1, sizeof(*lock));
		lock->kill_ns = clock_boot_ns() + timeout_ms * NS_PER_MS;
		map_set(&life->old_locks, *id, lock);
	}
	if (map_count(&life->old_locks))
		loop_timer_arm_in(life->loop, &life->old_lock_timer, 0);
}

bool old_lock_is_held(const struct life *life, const char *id)
{
	return !MUTANT(undo_without_oplock) && map_find(&life->old_locks, id) != NULL;
}
