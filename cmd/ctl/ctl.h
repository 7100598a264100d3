/* cmd/ctl/ctl.h
 *
 * coracle ctl: a small client of the CRI and of coracle.v1. One verb per file; this is what they share: the command line, the
 * connection, and how things are told (tables for people, --json for programs, failures as "coracle ctl VERB: what: why").
 */
#ifndef CORACLE_CMD_CTL_CTL_H
#define CORACLE_CMD_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/ctl/args.h"
#include "cmd/ctl/text.h"
#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/json.h"
#include "core/config/config.h"
#include "cri/grpc/client.h"
#include "cri/proto/cri.h"

/* A pod and its only container that `run` made have this label: one thing to the user, stopped and removed together. */
#define RUN_LABEL "io.coracle.run"

#define READ_TIMEOUT_MS   30000
#define CHANGE_TIMEOUT_MS 300000 /* kubelet gives up earlier; a person at a terminal has ^C */

struct ctl;

struct verb {
	const char *name;
	const char *words;   /* "[OPTION...] CONTAINER COMMAND [ARGUMENT...]" */
	const char *summary; /* lower case, no full stop */
	const char *more;    /* for its help: sentences; NULL: none */
	int (*fn)(struct ctl *ctl, int argc, char **argv);
	bool stop_early; /* the first word ends the options */
};

struct ctl {
	const struct verb *verb;
	char who[32]; /* "ctl ps" */
	struct config_flags flags;
	const char *address;
	int64_t wait_s; /* for a daemon that is not ready; -1: not at all */
	bool json;

	struct config *config; /* ctl_config() */
	char *path;            /* of the socket */
	struct grpc_client *client;
	struct pb_arena *arena; /* everything that was answered and built, until the end */
};

/*
 * ctl_args - read the verb's command line; print its help if that is asked for.
 * @min, @max: how many words it takes; @max -1: any number.
 * Returns:    the number of words (moved to argv[1..]), or -1 - exit status: the verb is over.
 */
NODISCARD int ctl_args(struct ctl *ctl, int argc, char **argv, const struct arg_option *options,
                       size_t count, int min, int max);
#define CTL_OVER(words) (-1 - (words)) /* the exit status */

/* Configuration as the daemon's: -c, --root, --state. NULL after a message. */
NODISCARD const struct config *ctl_config(struct ctl *ctl);
/* -1 after a message. */
NODISCARD int ctl_connect(struct ctl *ctl);

/* "coracle ctl VERB: ..." on stderr; returns EXIT_FAILED (1). */
int ctl_fail(const struct ctl *ctl, const struct err *err);
/* The same for a mistake in the command line; returns EXIT_USAGE (2). */
int ctl_usage(const struct ctl *ctl, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* One call; the answer is in ctl->arena. */
NODISCARD int ctl_call(struct ctl *ctl, const struct grpc_client_call *call, void *response,
                       struct err *err);
#define CTL_CALL(ctl, service, rpc, req, resp, limit_ms, err)                                      \
	ctl_call(ctl,                                                                              \
	         &(struct grpc_client_call){ .method = "/runtime.v1." service "/" #rpc,            \
	                                     .request_desc = cri_##rpc##Request_fields,            \
	                                     .request = (req),                                     \
	                                     .response_desc = cri_##rpc##Response_fields,          \
	                                     .timeout_ms = (limit_ms) },                           \
	         resp, err)
#define CALL_RUNTIME(ctl, rpc, req, resp, limit_ms, err)                                           \
	CTL_CALL(ctl, "RuntimeService", rpc, req, resp, limit_ms, err)
#define CALL_IMAGE(ctl, rpc, req, resp, limit_ms, err)                                             \
	CTL_CALL(ctl, "ImageService", rpc, req, resp, limit_ms, err)

/* Copies and texts in ctl->arena; out of its budget ends the program with a message, as a one-shot program may. */
NODISCARD void *ctl_alloc(struct ctl *ctl, size_t bytes);
NODISCARD char *ctl_text(struct ctl *ctl, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* @root as JSON on stdout, then a newline; frees @doc. EXIT_OK, or EXIT_FAILED when stdout does not take it. */
int ctl_print_json(const struct ctl *ctl, yyjson_mut_doc *doc, yyjson_mut_val *root, bool pretty);
/* stdout took everything? EXIT_OK or EXIT_FAILED after a message. */
int ctl_flush(const struct ctl *ctl);
void ctl_json_time(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, int64_t ns);
/* Labels and annotations, whichever message they are of: entries are two pointers. */
void ctl_json_pairs(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, const void *entries,
                    size_t count);

/*
 * Signals that end a program (INT, TERM, HUP), as a descriptor: from here on a verb cleans up before it goes. The call in flight
 * then ends with CANCELLED. The descriptor stays open until the program's end.
 */
NODISCARD int ctl_signals(struct ctl *ctl, struct err *err);
/* Forget that a signal came, so that cleaning up can make calls; the next one is seen again. */
void ctl_signals_ignore(struct ctl *ctl, int fd);

/* The image @ref with its progress; its id in ctl->arena. @creds: "USER:PASSWORD" or NULL. */
NODISCARD int ctl_pull(struct ctl *ctl, const char *ref, const char *creds, const char **ret_id,
                       struct err *err);

#endif
