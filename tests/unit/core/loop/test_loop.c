#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/loop.h"

struct fixture {
	struct loop *loop;
	char log[256];
	struct loop_timer timers[200];
	struct loop_io *a, *b;
	int pipe_a[2], pipe_b[2];
	struct loop_defer defer, defer2;
	struct loop_hook hook, hook2;
	int64_t last_due;
	int fired, again;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err;

	clock_virtual_set(1000 * NS_PER_S);
	f->loop = loop_new(&err);
	assert_non_null(f->loop);
	assert_int_equal(pipe(f->pipe_a), 0);
	assert_int_equal(pipe(f->pipe_b), 0);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	loop_free(f->loop);
	close(f->pipe_a[0]);
	close(f->pipe_a[1]);
	close(f->pipe_b[0]);
	close(f->pipe_b[1]);
	free(f);
	return 0;
}

static void note(struct fixture *f, const char *what)
{
	size_t len = strlen(f->log);

	assert_int_equal(str_format(f->log + len, sizeof(f->log) - len, "%s ", what), 0);
}

static void log_timer(void *arg)
{
	note(arg, "timer");
}

static void log_defer(void *arg)
{
	note(arg, "defer");
}

static void log_hook(void *arg)
{
	note(arg, "hook");
}

static void log_read(void *arg, uint32_t events)
{
	struct fixture *f = arg;
	char c;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(f->pipe_a[0], &c, 1), 1);
	note(f, "fd");
}

static void a_turn_runs_fds_then_timers_then_deferred_calls_then_hooks(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	loop_hook_add(f->loop, &f->hook, log_hook, f);
	loop_defer_init(&f->defer, log_defer, f);
	loop_defer_queue(f->loop, &f->defer);
	loop_defer_queue(f->loop, &f->defer); /* once all the same */
	loop_timer_init(&f->timers[0], log_timer, f, "t");
	loop_timer_arm_in(f->loop, &f->timers[0], 0);
	f->a = loop_io_new(f->loop, f->pipe_a[0], EPOLLIN, log_read, f, "pipe", &err);
	assert_non_null(f->a);
	assert_int_equal(write(f->pipe_a[1], "x", 1), 1);

	assert_true(loop_turn(f->loop, false));
	assert_string_equal(f->log, "fd timer defer hook ");
	assert_false(loop_turn(f->loop, false));
	assert_string_equal(f->log, "fd timer defer hook hook ");
	loop_hook_remove(&f->hook);
	loop_io_free(f->a);
}

static void check_order(void *arg)
{
	struct fixture *f = arg;
	int64_t now = clock_boot_ns();

	assert_true(now >= f->last_due);
	f->last_due = now;
	f->fired++;
}

static void timers_fire_in_order_of_their_time_whatever_was_armed_moved_or_disarmed(void **arg)
{
	struct fixture *f = *arg;
	uint32_t seed = 1;
	int armed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(f->timers); i++)
		loop_timer_init(&f->timers[i], check_order, f, "t");
	for (int round = 0; round < 2000; round++) {
		struct loop_timer *t;

		seed = seed * 1103515245u + 12345u;
		t = &f->timers[(seed >> 16) % ARRAY_SIZE(f->timers)];
		if (seed & 0x800)
			loop_timer_arm_in(f->loop, t, 1 + (seed >> 8) % 5000);
		else
			loop_timer_disarm(f->loop, t);
	}
	for (size_t i = 0; i < ARRAY_SIZE(f->timers); i++)
		armed += loop_timer_armed(&f->timers[i]);
	assert_in_range(armed, 50, 200);
	while (loop_turn(f->loop, true))
		;
	assert_int_equal(f->fired, armed);
}

static void rearm_now(void *arg)
{
	struct fixture *f = arg;

	f->fired++;
	loop_timer_arm_in(f->loop, &f->timers[0], 0);
}

static void a_timer_that_rearms_itself_for_now_fires_once_a_turn(void **arg)
{
	struct fixture *f = *arg;

	loop_timer_init(&f->timers[0], rearm_now, f, "t");
	loop_timer_arm_in(f->loop, &f->timers[0], 0);
	loop_turn(f->loop, false);
	assert_int_equal(f->fired, 1);
	loop_turn(f->loop, false);
	assert_int_equal(f->fired, 2);
	loop_timer_disarm(f->loop, &f->timers[0]);
}

static void the_virtual_clock_jumps_to_the_next_timer(void **arg)
{
	struct fixture *f = *arg;
	int64_t before = clock_boot_ns();

	loop_timer_init(&f->timers[0], log_timer, f, "t");
	loop_timer_arm_in(f->loop, &f->timers[0], 3600 * 1000);
	assert_true(loop_turn(f->loop, true));
	assert_string_equal(f->log, "timer ");
	assert_true(clock_boot_ns() - before == 3600 * NS_PER_S);
	assert_false(loop_turn(f->loop, true)); /* nothing left: returns instead of hanging */
}

static void free_both(void *arg, uint32_t events)
{
	struct fixture *f = arg;

	(void)events;
	f->fired++;
	loop_io_free(f->a);
	loop_io_free(f->b);
}

static void a_handle_released_in_a_callback_is_not_called_for_an_event_already_collected(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	f->a = loop_io_new(f->loop, f->pipe_a[0], EPOLLIN, free_both, f, "a", &err);
	f->b = loop_io_new(f->loop, f->pipe_b[0], EPOLLIN, free_both, f, "b", &err);
	assert_int_equal(write(f->pipe_a[1], "x", 1), 1);
	assert_int_equal(write(f->pipe_b[1], "x", 1), 1);
	loop_turn(f->loop, false);
	loop_turn(f->loop, false);
	assert_int_equal(f->fired, 1);
}

static void a_paused_handle_is_silent_until_it_is_set_again(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	f->a = loop_io_new(f->loop, f->pipe_a[0], EPOLLIN, log_read, f, "a", &err);
	loop_io_set(f->a, 0);
	assert_int_equal(write(f->pipe_a[1], "x", 1), 1);
	assert_false(loop_turn(f->loop, false));
	loop_io_set(f->a, EPOLLIN);
	assert_true(loop_turn(f->loop, false));
	assert_string_equal(f->log, "fd ");
	loop_io_free(f->a);
}

static void queue_again(void *arg)
{
	struct fixture *f = arg;

	note(f, "defer");
	if (f->again-- > 0)
		loop_defer_queue(f->loop, &f->defer);
	loop_defer_cancel(&f->defer2);
}

static void a_deferred_call_may_queue_itself_and_cancel_another(void **arg)
{
	struct fixture *f = *arg;

	f->again = 1;
	loop_hook_add(f->loop, &f->hook, log_hook, f);
	loop_defer_init(&f->defer, queue_again, f);
	loop_defer_init(&f->defer2, log_timer, f);
	loop_defer_queue(f->loop, &f->defer);
	loop_defer_queue(f->loop, &f->defer2);
	assert_true(loop_turn(f->loop, true));
	assert_true(loop_turn(f->loop, true));
	assert_false(loop_turn(f->loop, true));
	assert_string_equal(f->log, "defer hook defer hook hook ");
	loop_hook_remove(&f->hook);
}

static void remove_both_hooks(void *arg)
{
	struct fixture *f = arg;

	note(f, "first");
	loop_hook_remove(&f->hook);
	loop_hook_remove(&f->hook2);
}

static void a_hook_may_remove_itself_and_the_next_one(void **arg)
{
	struct fixture *f = *arg;

	loop_hook_add(f->loop, &f->hook, remove_both_hooks, f);
	loop_hook_add(f->loop, &f->hook2, log_hook, f);
	loop_turn(f->loop, false);
	loop_turn(f->loop, false);
	assert_string_equal(f->log, "first ");
}

static void on_usr1(void *arg, const struct signalfd_siginfo *info)
{
	struct fixture *f = arg;

	assert_int_equal(info->ssi_signo, SIGUSR1);
	note(f, "usr1");
}

static void on_usr2(void *arg, const struct signalfd_siginfo *info)
{
	(void)info;
	note(arg, "usr2");
}

static void signals_arrive_as_calls(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	assert_int_equal(loop_signal(f->loop, SIGUSR1, on_usr1, f, &err), 0);
	assert_int_equal(loop_signal(f->loop, SIGUSR2, on_usr2, f, &err), 0);
	raise(SIGUSR1);
	assert_true(loop_turn(f->loop, false));
	raise(SIGUSR2);
	assert_true(loop_turn(f->loop, false));
	assert_string_equal(f->log, "usr1 usr2 ");
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void run_ends_at_stop_and_a_wake_makes_a_turn(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	loop_wake(f->loop);
	assert_true(loop_turn(f->loop, false));
	assert_false(loop_turn(f->loop, false));
	loop_timer_init(&f->timers[0], stop_loop, f->loop, "stop");
	loop_timer_arm_in(f->loop, &f->timers[0], 50);
	assert_int_equal(loop_run(f->loop, &err), 0);
}

static void what_epoll_cannot_watch_is_an_error_that_names_the_handle(void **arg)
{
	struct fixture *f = *arg;
	FILE *file = tmpfile();
	struct err err;

	assert_non_null(file);
	assert_null(loop_io_new(f->loop, fileno(file), EPOLLIN, log_read, f, "plain file", &err));
	assert_non_null(strstr(err.msg, "plain file"));
	fclose(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_turn_runs_fds_then_timers_then_deferred_calls_then_hooks, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			timers_fire_in_order_of_their_time_whatever_was_armed_moved_or_disarmed,
			setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_timer_that_rearms_itself_for_now_fires_once_a_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(the_virtual_clock_jumps_to_the_next_timer, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			a_handle_released_in_a_callback_is_not_called_for_an_event_already_collected,
			setup, teardown),
		cmocka_unit_test_setup_teardown(a_paused_handle_is_silent_until_it_is_set_again,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_deferred_call_may_queue_itself_and_cancel_another,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_hook_may_remove_itself_and_the_next_one, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(signals_arrive_as_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(run_ends_at_stop_and_a_wake_makes_a_turn, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			what_epoll_cannot_watch_is_an_error_that_names_the_handle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
