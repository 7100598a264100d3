/* The real clock: what does an idle loop do? */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/loop/listener.h"
#include "core/loop/loop.h"
#include "core/loop/worker.h"

static void on_accept(void *arg, int fd, const struct listener_peer *peer)
{
	(void)arg;
	(void)peer;
	close(fd);
}

static void job_run(struct worker_job *job)
{
	(void)job;
}

static void job_done(struct worker_job *job)
{
	job->run = NULL;
}

static void never(void *arg)
{
	(void)arg;
	fail();
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void an_idle_loop_sleeps_until_its_next_timer_and_not_a_wake_up_more(void **arg)
{
	cleanup(loop_free) struct loop *loop = NULL;
	struct worker_job job = { .run = job_run, .done = job_done, .name = "once" };
	struct loop_timer end, early;
	struct listener *listener;
	struct worker *worker;
	uint64_t waits;
	int64_t began;
	struct err err;

	(void)arg;
	loop = loop_new(&err);
	worker = worker_new(loop, &err);
	listener = listener_tcp(loop, "127.0.0.1:0", &err);
	assert_int_equal(listener_start(listener, on_accept, NULL, &err), 0);
	worker_submit(worker, &job);
	while (job.run)
		loop_turn(loop, true);

	loop_timer_init(&early, never, NULL, "early");
	loop_timer_init(&end, stop, loop, "end");
	loop_timer_arm_in(loop, &end, 100);
	loop_timer_arm_in(loop, &early, 20);
	loop_turn(loop, false);
	loop_timer_disarm(loop, &early); /* the timerfd must not fire for it */
	waits = loop_waits(loop);
	began = clock_boot_ns();
	assert_int_equal(loop_run(loop, &err), 0);
	assert_int_equal(loop_waits(loop) - waits, 1);
	assert_true(clock_boot_ns() - began >= 90 * NS_PER_MS);
	listener_free(listener);
	worker_free(worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_loop_sleeps_until_its_next_timer_and_not_a_wake_up_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
