/* cmd/check/state.h
 *
 * What the daemon left on disk, for the checks that hold it against the machine. A daemon may run meanwhile and goes on changing
 * things: look at the machine first, then read the state, then look again at what does not fit.
 */
#ifndef CORACLE_CMD_CHECK_STATE_H
#define CORACLE_CMD_CHECK_STATE_H

#include "cmd/check/check.h"
#include "cmd/offline.h"

/* <root> and <state> and what is in them, below the sysroot; heap. */
char *check_root_path(const struct check_ctx *ctx, const char *name);
char *check_state_path(const struct check_ctx *ctx, const char *name);

/* Of a damaged journal, what precedes the damage. */
NODISCARD int check_state_read(const struct check_ctx *ctx, struct offline *ret, struct err *err);
/* The same for who needs all of it: false after a report that it is skipped. */
NODISCARD bool check_state_whole(const struct check_ctx *ctx, struct check_out *out,
                                 struct offline *ret);
/*
 * check_state_settled - the same for who compares it with the machine. Where something is amiss and a daemon runs, it gets a second to
 * write down what it is about, and the state is read anew.
 */
typedef bool (*check_amiss_fn)(const struct check_ctx *ctx, const struct offline *offline,
                               void *arg);
NODISCARD bool check_state_settled(const struct check_ctx *ctx, struct check_out *out,
                                   check_amiss_fn amiss, void *arg, struct offline *ret);
/* Pod, container, or one whose record could not be followed: is @id on record? */
bool check_is_on_record(const struct state *state, const char *id);

/* What only a look at this machine tells (check_leftovers.c). */
void check_state_pids(const struct check_ctx *ctx, struct check_out *out);
void check_state_mounts(const struct check_ctx *ctx, struct check_out *out);
void check_state_runtime_root(const struct check_ctx *ctx, struct check_out *out);

#endif
