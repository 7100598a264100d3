/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "tests/lib/fixture.h"

static const char id_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct reader {
	struct events_reader reader;
	int woken;
};

static void wake(void *arg)
{
	((struct reader *)arg)->woken++;
}

static void reader_init(struct reader *r)
{
	*r = (struct reader){ .reader = { .wake = wake, .arg = r } };
}

static void a_reader_sees_what_comes_after_it_and_is_woken_once_a_turn(void **arg)
{
	struct fixture *f = *arg;
	struct reader r;
	struct event ev;
	struct err err = { 0 };

	events_push(f->events, EVENT_CREATED, id_a, id_a, 1);
	reader_init(&r);
	events_subscribe(f->events, &r.reader);
	assert_int_equal(events_next(f->events, &r.reader, &ev, &err), 0);
	events_push(f->events, EVENT_STARTED, id_a, id_a, 2);
	events_push(f->events, EVENT_STOPPED, id_a, id_a, 3);
	assert_int_equal(r.woken, 0);
	fixture_settle(f);
	assert_int_equal(r.woken, 1);
	assert_int_equal(events_next(f->events, &r.reader, &ev, &err), 1);
	assert_int_equal(ev.kind, EVENT_STARTED);
	assert_int_equal(ev.container[0], 0xaa);
	assert_int_equal(events_next(f->events, &r.reader, &ev, &err), 1);
	assert_int_equal(ev.kind, EVENT_STOPPED);
	assert_int_equal(events_next(f->events, &r.reader, &ev, &err), 0);
	events_unsubscribe(&r.reader);
}

static void a_reader_that_is_a_whole_ring_behind_is_told_so(void **arg)
{
	struct fixture *f = *arg;
	struct reader r;
	struct event ev;
	struct err err = { 0 };

	reader_init(&r);
	events_subscribe(f->events, &r.reader);
	for (int i = 0; i < EVENTS_MAX; i++)
		events_push(f->events, EVENT_STARTED, id_a, id_a, i);
	assert_int_equal(events_next(f->events, &r.reader, &ev, &err), 1); /* just not lost */
	assert_int_equal(ev.time_ns, 0);
	events_push(f->events, EVENT_STARTED, id_a, id_a, EVENTS_MAX);
	events_push(f->events, EVENT_STARTED, id_a, id_a, EVENTS_MAX + 1);
	assert_int_equal(events_next(f->events, &r.reader, &ev, &err), -1);
	assert_int_equal(err.code, CODE_OUT_OF_RANGE);
	events_unsubscribe(&r.reader);
}

static void one_that_unsubscribes_is_not_woken(void **arg)
{
	struct fixture *f = *arg;
	struct reader r;

	reader_init(&r);
	events_subscribe(f->events, &r.reader);
	events_push(f->events, EVENT_STARTED, id_a, id_a, 1);
	events_unsubscribe(&r.reader);
	fixture_settle(f);
	assert_int_equal(r.woken, 0);
}

static char *told(struct fixture *f, struct events_reader *reader)
{
	static const char *const kinds[] = { "created", "started", "stopped", "deleted" };
	char *text = xstrdup("");
	struct event ev;
	struct err err = { 0 };

	while (events_next(f->events, reader, &ev, &err) == 1) {
		bool pod = !memcmp(ev.container, ev.sandbox, sizeof(ev.container));
		char *more = xasprintf("%s%s%s %s", text, text[0] ? ", " : "",
		                       pod ? "pod" : "container", kinds[ev.kind]);

		free(text);
		text = more;
	}
	return text;
}

static void a_life_is_told_in_order_and_a_pause_container_never(void **arg)
{
	struct fixture *f = *arg;
	struct reader r;
	cleanup_free char *text = NULL;

	fixture_image(f, FIXTURE_IMAGE);
	reader_init(&r);
	events_subscribe(f->events, &r.reader);
	f->pod_pid = true;
	fixture_pod(f, "p1");
	fixture_container(f, "c1", CONTAINER_EXITED);
	assert_true(fixture_well(f, fixture_ask_remove(f, "c1")));
	assert_true(fixture_well(f, fixture_ask_remove_pod(f, "p1")));
	text = told(f, &r.reader);
	assert_string_equal(
		text,
		"pod created, pod started, container created, container started, container stopped, container deleted, "
		"pod stopped, pod deleted");
	events_unsubscribe(&r.reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_reader_sees_what_comes_after_it_and_is_woken_once_a_turn, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_reader_that_is_a_whole_ring_behind_is_told_so,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(one_that_unsubscribes_is_not_woken, fixture_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(a_life_is_told_in_order_and_a_pause_container_never,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
