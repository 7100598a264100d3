/* core/loop/loop.c
 *
 * epoll tells which descriptors are ready, level triggered. Everything else is built so that an idle process sleeps in one
 * epoll_wait without a time-out:
 *
 *   timers    a binary heap of embedded timers; one timerfd on CLOCK_BOOTTIME (time spent in suspend counts) stands for the
 *             earliest. It is re-armed right before sleeping and only when the earliest changed, so a deadline that is armed
 *             and disarmed within a turn costs no system call.
 *   wake      an eventfd, the only thing other threads may touch.
 *   signals   one signalfd.
 *
 * A released loop_io may still stand in the batch of events that epoll handed out. So release only marks it; the memory goes
 * when the batch is done.
 *
 * Under a virtual clock nothing waits: the clock jumps to the next timer instead, which makes tests both fast and exact.
 */
#include "core/loop/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/loop/loop_internal.h"

#define EVENTS_PER_TURN 64
#define SLOW_NS         (10 * NS_PER_MS)
#define SIGNALS         65

struct loop_io {
	struct loop *loop;
	int fd;
	uint32_t events;
	bool dead;
	loop_io_fn fn;
	void *arg;
	const char *name;
	struct list link; /* loop->ios, or loop->dead_ios once released */
};

struct loop_signal_slot {
	void (*fn)(void *arg, const struct signalfd_siginfo *info);
	void *arg;
};

struct loop {
	int epoll_fd, timer_fd, wake_fd, signal_fd;
	struct list ios, dead_ios;

	struct loop_timer **heap; /* heap[i]->heap_at == i + 1 */
	size_t heap_len, heap_cap;
	int64_t armed_ns; /* what timer_fd is set to; 0: disarmed */

	struct list defers, hooks;
	sigset_t signals;
	struct loop_signal_slot slots[SIGNALS];
	struct loop_children children;

	bool stop;
	int broken; /* errno of an epoll_wait that failed */
	bool in_turn;
	uint64_t slow, turns, waits;
	struct log_limit slow_limit;
};

/* --- time spent in callbacks */

/* The name is copied: a callback may free its owner, which the name often belongs to. */
struct watched {
	int64_t began_ns;
	char name[48];
};

static void slow_begin(struct watched *at, const char *name)
{
	size_t len = strnlen(name, sizeof(at->name) - 1);

	at->began_ns = clock_is_virtual() ? 0 : clock_mono_ns();
	memcpy(at->name, name, len);
	at->name[len] = '\0';
}

static void slow_end(struct loop *loop, const struct watched *at)
{
	int64_t took_ns;

	if (at->began_ns == 0)
		return;
	took_ns = clock_mono_ns() - at->began_ns;
	if (took_ns <= SLOW_NS)
		return;
	loop->slow++;
	if (log_limit_pass(&loop->slow_limit))
		log_warn(NULL, "event loop: handler %s took %lld ms", at->name,
		         (long long)(took_ns / NS_PER_MS));
}

/* --- descriptors */

struct loop_io *loop_io_new(struct loop *loop, int fd, uint32_t events, loop_io_fn fn, void *arg,
                            const char *name, struct err *err)
{
	struct epoll_event event = { .events = events };
	struct loop_io *io;

	ensure(loop && fd >= 0 && fn && name);

	io = xcalloc(1, sizeof(*io));
	*io = (struct loop_io){
		.loop = loop, .fd = fd, .events = events, .fn = fn, .arg = arg, .name = name
	};
	event.data.ptr = io;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int sys = errno;

		free(io);
		err_sys(err, sys, "event loop: watch %s", name);
		return NULL;
	}
	list_push_back(&loop->ios, &io->link);
	return io;
}

void loop_io_set(struct loop_io *io, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = io };

	ensure(!io->dead);
	if (events == io->events)
		return;
	io->events = events;
	ensure(epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &event) == 0);
}

void loop_io_free(struct loop_io *io)
{
	if (!io)
		return;
	ensure(!io->dead);
	/* Fails only for a descriptor that was closed first, which the kernel then forgot by itself. */
	epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	list_remove(&io->link);
	if (!io->loop->in_turn) {
		free(io);
		return;
	}
	io->dead = true;
	list_push_back(&io->loop->dead_ios, &io->link);
}

static void bury_dead_ios(struct loop *loop)
{
	struct list *l;

	while ((l = list_pop_front(&loop->dead_ios)))
		free(list_entry(l, struct loop_io, link));
}

/* --- timers */

static void heap_place(struct loop *loop, size_t at, struct loop_timer *timer)
{
	loop->heap[at] = timer;
	timer->heap_at = (uint32_t)at + 1;
}

static void heap_up(struct loop *loop, size_t at)
{
	struct loop_timer *timer = loop->heap[at];

	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (loop->heap[parent]->due_ns <= timer->due_ns)
			break;
		heap_place(loop, at, loop->heap[parent]);
		at = parent;
	}
	heap_place(loop, at, timer);
}

static void heap_down(struct loop *loop, size_t at)
{
	struct loop_timer *timer = loop->heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len &&
		    loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns)
			child++;
		if (timer->due_ns <= loop->heap[child]->due_ns)
			break;
		heap_place(loop, at, loop->heap[child]);
		at = child;
	}
	heap_place(loop, at, timer);
}

void loop_timer_init(struct loop_timer *timer, void (*fn)(void *arg), void *arg, const char *name)
{
	ensure(fn && name);
	*timer = (struct loop_timer){ .fn = fn, .arg = arg, .name = name };
}

bool loop_timer_armed(const struct loop_timer *timer)
{
	return timer->heap_at != 0;
}

void loop_timer_arm(struct loop *loop, struct loop_timer *timer, int64_t due_ns)
{
	ensure(timer->fn);
	timer->due_ns = due_ns;
	if (timer->heap_at != 0) {
		size_t at = timer->heap_at - 1;

		ensure(at < loop->heap_len && loop->heap[at] == timer);
		heap_up(loop, at);
		heap_down(loop, timer->heap_at - 1);
		return;
	}
	if (loop->heap_len == loop->heap_cap) {
		loop->heap_cap = loop->heap_cap ? 2 * loop->heap_cap : 64;
		loop->heap = xrealloc(loop->heap, loop->heap_cap, sizeof(*loop->heap));
	}
	heap_place(loop, loop->heap_len++, timer);
	heap_up(loop, loop->heap_len - 1);
}

void loop_timer_arm_in(struct loop *loop, struct loop_timer *timer, int64_t delay_ms)
{
	int64_t now_ns = clock_boot_ns();

	if (delay_ms > (INT64_MAX - now_ns) / NS_PER_MS)
		delay_ms = (INT64_MAX - now_ns) / NS_PER_MS;
	loop_timer_arm(loop, timer, now_ns + delay_ms * NS_PER_MS);
}

void loop_timer_disarm(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *last;
	size_t at;

	if (timer->heap_at == 0)
		return;
	at = timer->heap_at - 1;
	ensure(at < loop->heap_len && loop->heap[at] == timer);
	timer->heap_at = 0;
	last = loop->heap[--loop->heap_len];
	if (last == timer)
		return;
	heap_place(loop, at, last);
	heap_up(loop, at);
	heap_down(loop, last->heap_at - 1);
}

static bool run_timers(struct loop *loop)
{
	int64_t now_ns = clock_boot_ns();
	/* A timer that re-arms itself for "now" waits for the next turn: descriptors must get theirs. */
	size_t left = loop->heap_len;
	bool ran = false;

	while (left-- > 0 && loop->heap_len > 0 && loop->heap[0]->due_ns <= now_ns) {
		struct loop_timer *timer = loop->heap[0];
		struct watched at;

		slow_begin(&at, timer->name);
		loop_timer_disarm(loop, timer);
		timer->fn(timer->arg); /* may free the timer */
		slow_end(loop, &at);
		ran = true;
	}
	return ran;
}

static void arm_timer_fd(struct loop *loop)
{
	int64_t due_ns = loop->heap_len > 0 ? MAX(loop->heap[0]->due_ns, 1) : 0;
	struct itimerspec spec = { .it_value = { .tv_sec = due_ns / NS_PER_S,
		                                 .tv_nsec = due_ns % NS_PER_S } };

	if (due_ns == loop->armed_ns)
		return;
	ensure(timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
	loop->armed_ns = due_ns;
}

static void on_timer_fd(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	uint64_t expirations;

	(void)events;
	ignore(read(loop->timer_fd, &expirations, sizeof(expirations)) < 0);
	loop->armed_ns = 0; /* it fired: whatever is earliest has to be set anew */
}

/* --- deferred calls and hooks */

void loop_defer_init(struct loop_defer *defer, void (*fn)(void *arg), void *arg)
{
	ensure(fn);
	list_init(&defer->link);
	defer->fn = fn;
	defer->arg = arg;
}

void loop_defer_queue(struct loop *loop, struct loop_defer *defer)
{
	if (!list_linked(&defer->link))
		list_push_back(&loop->defers, &defer->link);
}

void loop_defer_cancel(struct loop_defer *defer)
{
	if (list_linked(&defer->link))
		list_remove(&defer->link);
}

static bool run_defers(struct loop *loop)
{
	struct list todo = LIST_INIT(todo);
	struct list *l;
	bool ran = false;

	/* What a deferred call queues runs in the next turn, behind the hooks of this one. */
	list_splice_back(&todo, &loop->defers);
	while ((l = list_pop_front(&todo))) {
		struct loop_defer *defer = list_entry(l, struct loop_defer, link);
		struct watched at;

		slow_begin(&at, "deferred call");
		defer->fn(defer->arg); /* may free the deferred call */
		slow_end(loop, &at);
		ran = true;
	}
	return ran;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook, void (*fn)(void *arg), void *arg)
{
	ensure(fn);
	hook->fn = fn;
	hook->arg = arg;
	list_push_back(&loop->hooks, &hook->link);
}

void loop_hook_remove(struct loop_hook *hook)
{
	if (list_linked(&hook->link))
		list_remove(&hook->link);
}

static void run_hooks(struct loop *loop)
{
	/* A marker keeps our place: a hook may remove itself or any other, or add one. */
	struct list marker;
	struct list *l = loop->hooks.next;

	while (l != &loop->hooks) {
		struct loop_hook *hook = list_entry(l, struct loop_hook, link);
		struct watched at;

		slow_begin(&at, "before-sleep hook");
		list_insert_after(l, &marker);
		hook->fn(hook->arg);
		slow_end(loop, &at);
		l = marker.next;
		list_remove(&marker);
	}
}

/* --- wake and signals */

void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* EAGAIN means the counter is full, so a wake-up is pending already. */
	ignore(write(loop->wake_fd, &one, sizeof(one)) < 0);
}

static void on_wake(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	uint64_t count;

	(void)events;
	ignore(read(loop->wake_fd, &count, sizeof(count)) < 0);
}

static void on_signal(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;

	(void)events;
	while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		struct loop_signal_slot *slot;

		if (info.ssi_signo >= SIGNALS)
			continue;
		slot = &loop->slots[info.ssi_signo];
		if (slot->fn)
			slot->fn(slot->arg, &info);
	}
}

int loop_signal(struct loop *loop, int sig,
                void (*fn)(void *arg, const struct signalfd_siginfo *info), void *arg,
                struct err *err)
{
	sigset_t set;
	int fd, sys;

	ensure(sig > 0 && sig < SIGNALS && fn && !loop->slots[sig].fn);

	sigemptyset(&set);
	sigaddset(&set, sig);
	/* Threads started later inherit the mask; the loop is made before any of them. */
	sys = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (sys != 0)
		return err_sys(err, sys, "event loop: block signal %d", sig);
	sigaddset(&loop->signals, sig);
	fd = signalfd(loop->signal_fd, &loop->signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "event loop: signalfd");
	loop->slots[sig] = (struct loop_signal_slot){ .fn = fn, .arg = arg };
	if (loop->signal_fd < 0) {
		loop->signal_fd = fd;
		if (!loop_io_new(loop, fd, EPOLLIN, on_signal, loop, "signals", err))
			return -1;
	}
	return 0;
}

/* --- the turn */

/* How long may this turn wait? -1: until something happens. */
static int wait_ms(struct loop *loop, bool block)
{
	if (!block || !list_empty(&loop->defers))
		return 0;
	if (clock_is_virtual())
		return 0;
	arm_timer_fd(loop);
	return -1;
}

static bool turn(struct loop *loop, bool block)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int timeout_ms = wait_ms(loop, block);
	bool happened = false;
	int n;

	ensure(!loop->in_turn);
	loop->in_turn = true;
	loop->turns++;
	if (timeout_ms < 0)
		loop->waits++;

	n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, timeout_ms);
	if (n < 0 && errno != EINTR)
		loop->broken = errno;
	if (n <= 0 && block && clock_is_virtual() && list_empty(&loop->defers) &&
	    loop->heap_len > 0)
		clock_virtual_advance(MAX(loop->heap[0]->due_ns - clock_boot_ns(), 0));

	for (int i = 0; i < n; i++) {
		struct loop_io *io = events[i].data.ptr;
		struct watched at;

		if (io->dead)
			continue;
		slow_begin(&at, io->name);
		io->fn(io->arg, events[i].events);
		slow_end(loop, &at);
		happened = true;
	}
	happened |= run_timers(loop);
	happened |= run_defers(loop);
	run_hooks(loop);
	loop->in_turn = false;
	bury_dead_ios(loop);
	return happened;
}

bool loop_turn(struct loop *loop, bool block)
{
	return turn(loop, block);
}

int loop_run(struct loop *loop, struct err *err)
{
	loop->stop = false;
	while (!loop->stop && !loop->broken) {
		/* Under a virtual clock a turn never waits, so with neither timer nor event left this would spin. */
		if (!turn(loop, true) && clock_is_virtual() && list_empty(&loop->defers) &&
		    loop->heap_len == 0) {
			struct epoll_event event;

			loop->waits++;
			ignore(epoll_wait(loop->epoll_fd, &event, 1, -1) < 0);
		}
	}
	if (loop->broken)
		return err_sys(err, loop->broken, "event loop: epoll_wait");
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

struct loop *loop_new(struct err *err)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));

	list_init(&loop->ios);
	list_init(&loop->dead_ios);
	list_init(&loop->defers);
	list_init(&loop->hooks);
	list_init(&loop->children.list);
	ignore(getrlimit(RLIMIT_NOFILE,
	                 &loop->children.nofile)); /* cannot fail with these arguments */
	sigemptyset(&loop->signals);
	loop->signal_fd = -1;
	loop->slow_limit = (struct log_limit){ .burst = 10, .interval_ms = 60000 };

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->wake_fd < 0) {
		err_sys(err, errno, "event loop: epoll, timerfd or eventfd");
		loop_free(loop);
		return NULL;
	}
	if (!loop_io_new(loop, loop->timer_fd, EPOLLIN, on_timer_fd, loop, "timers", err) ||
	    !loop_io_new(loop, loop->wake_fd, EPOLLIN, on_wake, loop, "wake-up", err)) {
		loop_free(loop);
		return NULL;
	}
	/* An ignored SIGCHLD, inherited from whoever started us, would let the kernel reap children behind our back. */
	signal(SIGCHLD, SIG_DFL);
	/* A peer that is gone is an error of write(), never the end of the process. (Children start with the default again.) */
	signal(SIGPIPE, SIG_IGN);
	return loop;
}

void loop_free(struct loop *loop)
{
	struct list *l;

	if (!loop)
		return;
	child_release_all(loop);
	while ((l = list_pop_front(&loop->ios))) {
		struct loop_io *io = list_entry(l, struct loop_io, link);

		debug_ensure(io->fn == on_timer_fd || io->fn == on_wake || io->fn == on_signal);
		free(io);
	}
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	free(loop->heap);
	free(loop);
}

void loop_raise_nofile(struct loop *loop)
{
	struct rlimit limit = { .rlim_cur = loop->children.nofile.rlim_max,
		                .rlim_max = loop->children.nofile.rlim_max };

	ignore(setrlimit(
		RLIMIT_NOFILE,
		&limit)); /* then the old limit stands, and EMFILE is handled where it comes */
}

struct loop_children *loop_children(struct loop *loop)
{
	return &loop->children;
}

uint64_t loop_slow_count(const struct loop *loop)
{
	return loop->slow;
}

uint64_t loop_turns(const struct loop *loop)
{
	return loop->turns;
}

uint64_t loop_waits(const struct loop *loop)
{
	return loop->waits;
}
