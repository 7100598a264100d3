/* core/loop/loop.h
 *
 * The one event loop: epoll, a timer heap, deferred calls, before-sleep hooks, signals.
 * A turn: wait -> fd callbacks -> due timers -> deferred calls -> before-sleep hooks -> wait. Nothing here blocks but the wait.
 *
 * Thread:  one thread owns the loop; only loop_wake() may be called from others.
 * Lifetime: a handle may be released in any callback, its own included; no callback of a released handle runs afterwards,
 *           even when its event was already collected in this turn.
 */
#ifndef CORACLE_CORE_LOOP_LOOP_H
#define CORACLE_CORE_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"

struct loop;
struct loop_io;

NODISCARD struct loop *loop_new(struct err *err);
void loop_free(struct loop *loop); /* every handle must have been released */

/* Runs until loop_stop(); 0, or -1 when epoll itself fails. */
NODISCARD int loop_run(struct loop *loop, struct err *err);
void loop_stop(struct loop *loop);
/* One turn that waits at most until the next timer, or not at all with block = false. True while something happened.
 * Tests: with a virtual clock, block = true advances it to the next timer instead of waiting when no fd is ready. */
bool loop_turn(struct loop *loop, bool block);
/* From any thread: the loop takes a turn soon. */
void loop_wake(struct loop *loop);

/* --- descriptors: level triggered; events are EPOLLIN | EPOLLOUT | EPOLLPRI, EPOLLHUP and EPOLLERR always reported */
typedef void (*loop_io_fn)(void *arg, uint32_t events);
/* The fd is borrowed: release the handle before closing it. NULL when the kernel refuses (err set). */
NODISCARD struct loop_io *loop_io_new(struct loop *loop, int fd, uint32_t events, loop_io_fn fn,
                                      void *arg, const char *name, struct err *err);
void loop_io_set(struct loop_io *io, uint32_t events); /* 0 pauses all but HUP/ERR */
void loop_io_free(struct loop_io *io);                 /* NULL is fine */

/* --- timers: CLOCK_BOOTTIME, embedded in their owner, no allocation */
struct loop_timer {
	int64_t due_ns;   /* clock_boot_ns scale */
	uint32_t heap_at; /* index + 1; 0: not armed */
	void (*fn)(void *arg);
	void *arg;
	const char *name;
};
void loop_timer_init(struct loop_timer *timer, void (*fn)(void *arg), void *arg, const char *name);
void loop_timer_arm(struct loop *loop, struct loop_timer *timer,
                    int64_t due_ns); /* re-arming moves it */
void loop_timer_arm_in(struct loop *loop, struct loop_timer *timer, int64_t delay_ms);
void loop_timer_disarm(struct loop *loop, struct loop_timer *timer); /* safe when not armed */
bool loop_timer_armed(const struct loop_timer *timer);

/* --- deferred calls: run once, after fds and timers of this turn; embedded; queueing twice queues once */
struct loop_defer {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};
void loop_defer_init(struct loop_defer *defer, void (*fn)(void *arg), void *arg);
void loop_defer_queue(struct loop *loop, struct loop_defer *defer);
void loop_defer_cancel(struct loop_defer *defer);

/* --- before-sleep hooks: run each turn after deferred calls, in order of adding (the journal hands its batch over here) */
struct loop_hook {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};
void loop_hook_add(struct loop *loop, struct loop_hook *hook, void (*fn)(void *arg), void *arg);
void loop_hook_remove(struct loop_hook *hook);

/* --- signals through one signalfd (blocked in the whole process from here on) */
NODISCARD int loop_signal(struct loop *loop, int sig,
                          void (*fn)(void *arg, const struct signalfd_siginfo *info), void *arg,
                          struct err *err);

/* Many containers are many descriptors: raise the soft limit of open files to the hard one, for this process alone; children
 * get back what was in force at loop_new(), since programs that use select() break on large numbers. */
void loop_raise_nofile(struct loop *loop);

/* Handlers over 10 ms are logged with their name; the count since start, for stats and tests. */
uint64_t loop_slow_count(const struct loop *loop);
uint64_t loop_turns(const struct loop *loop);
/* epoll waits that blocked: the idle test counts wake-ups with it */
uint64_t loop_waits(const struct loop *loop);

DEFINE_CLEANUP_PTR(struct loop, loop_free);

#endif
