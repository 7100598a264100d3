/* core/loop/worker.h
 *
 * Threads for short blocking work on our own directories and cgroupfs: a job goes in, its completion runs on the loop.
 * 4 threads, growing to 32 while some are stuck (a job older than 1 s does not count as a working thread).
 * Jobs get copies and return copies: they never see struct state.
 */
#ifndef CORACLE_CORE_LOOP_WORKER_H
#define CORACLE_CORE_LOOP_WORKER_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"

struct worker;

struct worker_job {
	void (*run)(struct worker_job *job);  /* on a worker thread */
	void (*done)(struct worker_job *job); /* on the loop; may free the job */
	const char *name;
	/* private */
	struct worker_job *next;
	int64_t started_ns;
};

NODISCARD struct worker *worker_new(struct loop *loop, struct err *err);
void worker_free(
	struct worker *
		worker); /* waits for jobs that run, drops queued ones (their done is called too) */
void worker_submit(struct worker *worker,
                   struct worker_job *job); /* loop thread only; FIFO start order */
/* Inline mode for unit tests: submit runs the job at once, done follows as a deferred call. */
NODISCARD struct worker *worker_new_inline(struct loop *loop);
size_t worker_stuck(const struct worker *worker); /* jobs older than 10 s */

DEFINE_CLEANUP_PTR(struct worker, worker_free);

#endif
