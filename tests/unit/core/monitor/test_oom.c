/* tests/unit/core/monitor/test_oom.c
 *
 * Plain files stand in for cgroup files: what is read and believed is the same.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/monitor/oom.h"

struct fixture {
	char dir[32];
	const char *cgroups[3];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	strcpy(f->dir, "/tmp/oom-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->cgroups[0] = "/nonexistent";
	f->cgroups[1] = f->dir;
	return 0;
}

static void file(const struct fixture *f, const char *name, const char *text)
{
	char path[64];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static int teardown(void **state)
{
	static const char *const names[] = { "memory.events", "memory.oom_control",
		                             "cgroup.event_control" };
	struct fixture *f = *state;
	char path[64];

	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		unlink(path);
	}
	rmdir(f->dir);
	free(f);
	return 0;
}

static void counters_are_found_by_their_whole_name(void **state)
{
	(void)state;
	assert_int_equal(oom_counter("low 0\noom 3\noom_kill 2\noom_group_kill 1\n", "oom_kill"),
	                 2);
	assert_int_equal(oom_counter("low 0\noom 3\noom_kill 2\n", "oom"), 3);
	assert_int_equal(oom_counter("oom_kill_disable 0\nunder_oom 0\n", "oom_kill"), -1);
	assert_int_equal(oom_counter("oom_kill 18446744073709551616\n", "oom_kill"), -1);
	assert_int_equal(oom_counter("oom_kill\n", "oom_kill"), -1);
	assert_int_equal(oom_counter("", "oom_kill"), -1);
}

static void a_counter_that_grows_is_an_oom_kill(void **state)
{
	struct fixture *f = *state;
	struct oom oom;
	uint32_t events;

	file(f, "memory.events", "oom 0\noom_kill 0\n");
	oom_open(&oom, f->cgroups);
	assert_int_equal(oom_poll_fd(&oom, &events), oom.counter_fd);
	assert_int_equal(events, EPOLLPRI);
	assert_true(oom_check(&oom));
	assert_false(oom.hit);
	file(f, "memory.events", "oom 1\noom_kill 0\n"); /* allocation failed, nobody died */
	assert_true(oom_check(&oom));
	assert_false(oom.hit);
	file(f, "memory.events", "oom 1\noom_kill 1\n");
	assert_true(oom_check(&oom));
	assert_true(oom.hit);
	oom_close(&oom);
}

static void what_happened_before_does_not_count(void **state)
{
	struct fixture *f = *state;
	struct oom oom;

	file(f, "memory.events", "oom_kill 7\n");
	oom_open(&oom, f->cgroups);
	assert_true(oom_check(&oom));
	assert_false(oom.hit);
	file(f, "memory.events", "oom_kill 8\n");
	assert_true(oom_check(&oom));
	assert_true(oom.hit);
	oom_close(&oom);
}

static void v1_registers_an_eventfd_and_reads_the_counter(void **state)
{
	struct fixture *f = *state;
	char path[64], text[64];
	struct oom oom;
	uint32_t events;
	int event_fd, control_fd, fd;
	ssize_t n;

	file(f, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
	file(f, "cgroup.event_control", "");
	oom_open(&oom, f->cgroups);
	assert_int_equal(oom_poll_fd(&oom, &events), oom.event_fd);
	assert_int_equal(events, EPOLLIN);
	snprintf(path, sizeof(path), "%s/cgroup.event_control", f->dir);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	assert_int_equal(sscanf(text, "%d %d", &event_fd, &control_fd), 2);
	assert_int_equal(event_fd, oom.event_fd);
	assert_int_equal(control_fd, oom.counter_fd);

	file(f, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
	assert_true(oom_check(&oom));
	assert_true(oom.hit);
	oom_close(&oom);
}

static void v1_without_a_counter_believes_the_event(void **state)
{
	struct fixture *f = *state;
	const uint64_t one = 1;
	struct oom oom;

	file(f, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
	file(f, "cgroup.event_control", "");
	oom_open(&oom, f->cgroups);
	assert_true(oom_check(&oom));
	assert_false(oom.hit);
	assert_int_equal(write(oom.event_fd, &one, sizeof(one)), sizeof(one));
	assert_true(oom_check(&oom));
	assert_true(oom.hit);
	oom_close(&oom);
}

static void without_a_memory_controller_nothing_is_watched(void **state)
{
	struct fixture *f = *state;
	struct oom oom;
	uint32_t events;

	oom_open(&oom, f->cgroups);
	assert_int_equal(oom_poll_fd(&oom, &events), -1);
	assert_false(oom_check(&oom));
	assert_false(oom.hit);
	oom_close(&oom);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_are_found_by_their_whole_name),
		TEST(a_counter_that_grows_is_an_oom_kill),
		TEST(what_happened_before_does_not_count),
		TEST(v1_registers_an_eventfd_and_reads_the_counter),
		TEST(v1_without_a_counter_believes_the_event),
		TEST(without_a_memory_controller_nothing_is_watched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
