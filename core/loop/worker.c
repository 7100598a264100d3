/* core/loop/worker.c
 *
 * Two queues under one mutex: jobs that wait for a thread, and jobs that are done and wait for the loop. An eventfd says that
 * the second one is no longer empty.
 *
 * Threads are made when a job finds none idle. Up to BASE_THREADS in any case; beyond that, up to MAX_THREADS, only while
 * fewer than BASE_THREADS of them make progress: a thread whose job is older than STUCK_NS is not counted as working. The
 * check runs at submit and, while jobs wait, by a timer, so an idle process has no timer of ours. Surplus threads end by
 * themselves when the queue is empty.
 */
#include "core/loop/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"

#define BASE_THREADS   4
#define MAX_THREADS    32
#define STACK_BYTES    (256 * 1024)
#define NOT_WORKING_MS 1000
#define STUCK_NS       (10 * NS_PER_S)

struct job_queue {
	struct worker_job *first, **tail;
	size_t len;
};

struct worker_thread {
	struct worker *worker;
	pthread_t id;
	bool used, ended; /* ended: may be joined without waiting */
	struct worker_job *job;
};

struct worker {
	struct loop *loop;
	bool inline_mode;
	struct loop_defer inline_done;

	int event_fd;
	struct loop_io *io;
	struct loop_timer grow;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;
	struct job_queue waiting, finished;
	struct worker_thread threads[MAX_THREADS];
	size_t idle;
	bool stopping;
};

static void queue_init(struct job_queue *queue)
{
	queue->first = NULL;
	queue->tail = &queue->first;
	queue->len = 0;
}

static void queue_push(struct job_queue *queue, struct worker_job *job)
{
	job->next = NULL;
	*queue->tail = job;
	queue->tail = &job->next;
	queue->len++;
}

static struct worker_job *queue_pop(struct job_queue *queue)
{
	struct worker_job *job = queue->first;

	if (!job)
		return NULL;
	queue->first = job->next;
	if (!queue->first)
		queue->tail = &queue->first;
	job->next = NULL;
	queue->len--;
	return job;
}

static void worker_lock(struct worker *worker)
{
	ensure(pthread_mutex_lock(&worker->lock) == 0);
}

static void worker_unlock(struct worker *worker)
{
	ensure(pthread_mutex_unlock(&worker->lock) == 0);
}

/* Threads whose job still counts as making progress, and all that live. Called locked. */
static size_t count_threads(const struct worker *worker, int64_t now_ns, size_t *ret_alive)
{
	size_t working = 0, alive = 0;

	for (size_t i = 0; i < MAX_THREADS; i++) {
		const struct worker_thread *t = &worker->threads[i];

		if (!t->used || t->ended)
			continue;
		alive++;
		if (!t->job || now_ns - t->job->started_ns < NOT_WORKING_MS * NS_PER_MS)
			working++;
	}
	*ret_alive = alive;
	return working;
}

static void *thread_main(void *arg)
{
	struct worker_thread *self = arg;
	struct worker *worker = self->worker;

	worker_lock(worker);
	for (;;) {
		struct worker_job *job = queue_pop(&worker->waiting);
		size_t alive;
		uint64_t one = 1;
		bool first;

		if (!job) {
			if (worker->stopping ||
			    count_threads(worker, clock_mono_ns(), &alive) > BASE_THREADS)
				break;
			worker->idle++;
			ensure(pthread_cond_wait(&worker->wake, &worker->lock) == 0);
			worker->idle--;
			continue;
		}
		job->started_ns = clock_mono_ns();
		self->job = job;
		worker_unlock(worker);
		job->run(job);
		worker_lock(worker);
		self->job = NULL;
		first = worker->finished.first == NULL;
		queue_push(&worker->finished, job);
		if (first)
			ignore(write(worker->event_fd, &one, sizeof(one)) <
			       0); /* full: a wake-up is pending */
	}
	self->ended = true;
	worker_unlock(worker);
	return NULL;
}

static int start_thread(struct worker *worker, struct worker_thread *t)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	*t = (struct worker_thread){ .worker = worker, .used = true };
	sigfillset(&all);
	ensure(pthread_attr_init(&attr) == 0);
	ensure(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&t->id, &attr, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		t->used = false;
	return rc;
}

/* A place for one more thread; one that ended by itself is collected first. Called locked. */
static struct worker_thread *free_slot(struct worker *worker)
{
	for (size_t i = 0; i < MAX_THREADS; i++) {
		struct worker_thread *t = &worker->threads[i];

		if (t->used && t->ended) {
			/* It set ended with the lock held and does nothing after releasing it. */
			pthread_join(t->id, NULL);
			t->used = false;
		}
		if (!t->used)
			return t;
	}
	return NULL;
}

/* More threads if jobs wait and too few make progress. Called locked, on the loop. */
static void grow(struct worker *worker)
{
	struct worker_thread *slot;
	size_t alive, working;
	int rc;

	if (worker->waiting.len <=
	    worker->idle) /* each idle thread has been signalled for one of them */
		return;
	working = count_threads(worker, clock_mono_ns(), &alive);
	if (working < BASE_THREADS && (slot = free_slot(worker))) {
		rc = start_thread(worker, slot);
		if (rc != 0 && alive == 0)
			log_error(&(struct log_ctx){ .sys = rc },
			          "worker: no thread can be started, jobs wait: %s",
			          errno_name(rc));
		if (rc == 0)
			return;
	}
	loop_timer_arm_in(worker->loop, &worker->grow, NOT_WORKING_MS);
}

static void on_grow(void *arg)
{
	struct worker *worker = arg;

	worker_lock(worker);
	grow(worker);
	if (worker->waiting.first && !loop_timer_armed(&worker->grow))
		loop_timer_arm_in(worker->loop, &worker->grow, NOT_WORKING_MS);
	worker_unlock(worker);
}

static void run_finished(struct worker *worker)
{
	struct job_queue todo;
	struct worker_job *job;

	queue_init(&todo);
	worker_lock(worker);
	while ((job = queue_pop(&worker->finished)))
		queue_push(&todo, job);
	worker_unlock(worker);
	while ((job = queue_pop(&todo)))
		job->done(job);
}

static void on_event(void *arg, uint32_t events)
{
	struct worker *worker = arg;
	uint64_t count;

	(void)events;
	ignore(read(worker->event_fd, &count, sizeof(count)) < 0);
	run_finished(worker);
}

static void on_inline_done(void *arg)
{
	run_finished(arg);
}

void worker_submit(struct worker *worker, struct worker_job *job)
{
	ensure(job->run && job->done && job->name);

	if (worker->inline_mode) {
		job->started_ns = clock_mono_ns();
		job->run(job);
		queue_push(&worker->finished, job);
		loop_defer_queue(worker->loop, &worker->inline_done);
		return;
	}
	worker_lock(worker);
	if (worker->stopping) {
		queue_push(&worker->finished, job); /* dropped: worker_free() calls its done */
	} else {
		queue_push(&worker->waiting, job);
		pthread_cond_signal(&worker->wake);
		grow(worker);
	}
	worker_unlock(worker);
}

static struct worker *worker_make(struct loop *loop)
{
	struct worker *worker;

	ensure(loop);
	worker = xcalloc(1, sizeof(*worker));
	worker->loop = loop;
	worker->event_fd = -1;
	queue_init(&worker->waiting);
	queue_init(&worker->finished);
	loop_timer_init(&worker->grow, on_grow, worker, "worker growth");
	loop_defer_init(&worker->inline_done, on_inline_done, worker);
	ensure(pthread_mutex_init(&worker->lock, NULL) == 0);
	ensure(pthread_cond_init(&worker->wake, NULL) == 0);
	return worker;
}

struct worker *worker_new_inline(struct loop *loop)
{
	struct worker *worker = worker_make(loop);

	worker->inline_mode = true;
	return worker;
}

struct worker *worker_new(struct loop *loop, struct err *err)
{
	struct worker *worker = worker_make(loop);

	worker->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (worker->event_fd < 0) {
		err_sys(err, errno, "worker: eventfd");
		worker_free(worker);
		return NULL;
	}
	worker->io = loop_io_new(loop, worker->event_fd, EPOLLIN, on_event, worker,
	                         "worker results", err);
	if (!worker->io) {
		worker_free(worker);
		return NULL;
	}
	return worker;
}

void worker_free(struct worker *worker)
{
	struct worker_job *job;

	if (!worker)
		return;
	worker_lock(worker);
	worker->stopping = true;
	while ((job = queue_pop(&worker->waiting)))
		queue_push(&worker->finished, job);
	pthread_cond_broadcast(&worker->wake);
	worker_unlock(worker);
	for (size_t i = 0; i < MAX_THREADS; i++) {
		if (worker->threads[i].used)
			pthread_join(worker->threads[i].id, NULL);
	}
	while (worker->finished.first)
		run_finished(worker);

	loop_timer_disarm(worker->loop, &worker->grow);
	loop_defer_cancel(&worker->inline_done);
	loop_io_free(worker->io);
	if (worker->event_fd >= 0)
		close(worker->event_fd);
	pthread_cond_destroy(&worker->wake);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}

size_t worker_stuck(const struct worker *const_worker)
{
	struct worker *worker =
		(struct worker *)const_worker; /* the lock is not part of its value */
	int64_t now_ns = clock_mono_ns();
	size_t stuck = 0;

	worker_lock(worker);
	for (size_t i = 0; i < MAX_THREADS; i++) {
		const struct worker_thread *t = &worker->threads[i];

		if (t->used && t->job && now_ns - t->job->started_ns > STUCK_NS)
			stuck++;
	}
	worker_unlock(worker);
	return stuck;
}
