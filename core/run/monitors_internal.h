/* core/run/monitors_internal.h
 *
 * What monitors.c (connections and questions), monitor_spawn.c and monitor_attach.c share.
 */
#ifndef CORACLE_CORE_RUN_MONITORS_INTERNAL_H
#define CORACLE_CORE_RUN_MONITORS_INTERNAL_H

#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/loop/loop.h"
#include "core/monitor/proto.h"
#include "core/run/monitors.h"

#define MONITORS_GRACE_MS                                                                          \
	10000 /* on top of a runtime call's time-out, which the monitor enforces */

struct monitors {
	struct monitors_args args;
	char *dir, *tmp_dir, *new_dir; /* <state>/monitors, <spool>/tmp, <spool>/new */
	struct map connected;          /* id -> struct monitor */
	struct list refused;           /* requests whose error the deferred call tells */
	struct loop_defer tell_refused;
	int exec_fd; /* the program; -1: not made yet */
	uint32_t last_tag;
};

struct monitor {
	struct monitors *owner;
	char *id;
	char *runtime; /* name of the runtime's program, for errors */
	int fd;
	struct loop_io *io;
	struct list requests;
};

struct request {
	struct list link; /* monitor.requests, or monitors.refused */
	struct monitors *owner;
	uint32_t tag;
	char *what; /* "crun create": heads the error */
	int64_t timeout_ms;
	struct loop_timer deadline;
	monitor_done_fn done; /* one of the two */
	monitor_status_fn status;
	void *arg;
	struct err err; /* of a refused one */
};

/* "<state>/monitors/<id><ending>", heap */
NODISCARD char *monitors_path(const struct monitors *monitors, const char *id, const char *ending);
NODISCARD int monitors_check_id(const char *id, struct err *err);

/* @what is taken: it heads the errors. */
NODISCARD struct request *monitors_request_new(struct monitors *monitors, char *what,
                                               int64_t timeout_ms, void *arg);
void monitors_request_free(struct request *req);
/* Sent and waiting, or refused: either way it ends from the loop. */
void monitors_request_send(struct request *req, struct monitor *mon, const void *frame, size_t len,
                           int oplock_fd, int64_t answer_ms);

/* Takes @fd on success. */
NODISCARD struct monitor *monitors_add(struct monitors *monitors, const char *id,
                                       const char *runtime, int fd, struct err *err);
/* A nonblocking connection to the monitor of @id. NOT_FOUND: nobody listens there; UNAVAILABLE:
 * it does not answer. */
NODISCARD int monitors_connect(const struct monitors *monitors, const char *id, int *ret_fd,
                               struct err *err);
/* What a RESULT that is not MONITOR_OK means, headed by @what; -1. */
int monitors_result_err(const struct monitor_result_frame *result, const char *what,
                        int64_t timeout_ms, struct err *err);

/* As frames have it; 0: none. */
static inline uint32_t monitors_bounded_ms(int64_t timeout_ms)
{
	return timeout_ms <= 0 ? 0 : (uint32_t)MIN(timeout_ms, (int64_t)INT32_MAX);
}

/* How long we wait for an answer to something that may take @timeout_ms. */
static inline int64_t monitors_answer_ms(int64_t timeout_ms)
{
	return timeout_ms <= 0 ? INT32_MAX
	                       : monitors_bounded_ms(timeout_ms) + (int64_t)MONITORS_GRACE_MS;
}

#endif
