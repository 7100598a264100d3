#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/loop/worker.h"

struct job {
	struct worker_job job;
	pthread_t ran_on;
	int gate_fd; /* the job blocks until it can read a byte */
	int *done;
};

static void job_run(struct worker_job *base)
{
	struct job *job = container_of(base, struct job, job);
	char c;

	job->ran_on = pthread_self();
	if (job->gate_fd >= 0)
		ignore(read(job->gate_fd, &c, 1) < 0);
}

static void job_done(struct worker_job *base)
{
	struct job *job = container_of(base, struct job, job);

	(*job->done)++;
	free(job);
}

static struct job *job_new(int gate_fd, int *done)
{
	struct job *job = xcalloc(1, sizeof(*job));

	*job = (struct job){ .job = { .run = job_run, .done = job_done, .name = "test" },
		             .gate_fd = gate_fd,
		             .done = done };
	return job;
}

static void jobs_run_elsewhere_and_are_done_on_the_loop(void **arg)
{
	cleanup(loop_free) struct loop *loop = NULL;
	struct worker *worker;
	struct err err;
	int done = 0;

	(void)arg;
	loop = loop_new(&err);
	worker = worker_new(loop, &err);
	assert_non_null(worker);
	for (int i = 0; i < 100; i++)
		worker_submit(worker, &job_new(-1, &done)->job);
	while (done < 100)
		loop_turn(loop, true);
	worker_free(worker);
}

static void stuck_jobs_do_not_stop_the_others(void **arg)
{
	cleanup(loop_free) struct loop *loop = NULL;
	struct worker *worker;
	int done = 0, quick = 0, gate[2];
	struct err err;

	(void)arg;
	loop = loop_new(&err);
	worker = worker_new(loop, &err);
	assert_int_equal(pipe(gate), 0);
	for (int i = 0; i < 4; i++) /* every base thread hangs */
		worker_submit(worker, &job_new(gate[0], &done)->job);
	worker_submit(worker, &job_new(-1, &quick)->job);
	while (quick == 0)
		loop_turn(loop, true); /* the growth timer brings a fifth thread */
	assert_int_equal(done, 0);
	assert_int_equal(worker_stuck(worker), 0);
	assert_int_equal(write(gate[1], "xxxx", 4), 4);
	while (done < 4)
		loop_turn(loop, true);
	worker_free(worker);
	close(gate[0]);
	close(gate[1]);
}

static void free_calls_done_for_jobs_that_never_ran(void **arg)
{
	cleanup(loop_free) struct loop *loop = NULL;
	struct worker *worker;
	struct err err;
	int done = 0;

	(void)arg;
	loop = loop_new(&err);
	worker = worker_new(loop, &err);
	for (int i = 0; i < 50; i++)
		worker_submit(worker, &job_new(-1, &done)->job);
	worker_free(worker);
	assert_int_equal(done, 50);
}

static void inline_jobs_run_at_once_and_are_done_in_the_next_turn(void **arg)
{
	cleanup(loop_free) struct loop *loop = NULL;
	struct worker *worker;
	struct job *job;
	struct err err;
	int done = 0;

	(void)arg;
	loop = loop_new(&err);
	worker = worker_new_inline(loop);
	job = job_new(-1, &done);
	worker_submit(worker, &job->job);
	assert_true(pthread_equal(job->ran_on, pthread_self()));
	assert_int_equal(done, 0);
	assert_true(loop_turn(loop, false));
	assert_int_equal(done, 1);
	worker_free(worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_run_elsewhere_and_are_done_on_the_loop),
		cmocka_unit_test(free_calls_done_for_jobs_that_never_ran),
		cmocka_unit_test(inline_jobs_run_at_once_and_are_done_in_the_next_turn),
		cmocka_unit_test(stuck_jobs_do_not_stop_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
