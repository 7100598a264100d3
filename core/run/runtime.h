/* core/run/runtime.h
 *
 * The OCI runtimes (crun, runc, anything with their command line): which there are, what each can carry, how it is called
 * and what its answers mean.
 *
 * Each handler is probed once, by a child at the first start; later lookups are table reads. A handler that cannot be used is kept
 * with its reason: the daemon runs, RuntimeReady says why.
 *
 * Thread: loop only, but for the pure functions at the end.
 */
#ifndef CORACLE_CORE_RUN_RUNTIME_H
#define CORACLE_CORE_RUN_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"
#include "core/config/config.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/run/runtime_info.h"

struct runtime;

struct runtime_args {
	struct loop *loop;
	const struct config *config;
	const char *state; /* runtimes' --root is <state>/runtime */
	const char *path;  /* search path; NULL: $PATH, then the usual directories */
	const char
		*cache; /* file that keeps the answers (probe_cache.h); NULL: ask at each start */
	int64_t probe_ms; /* 0: 5 s; a runtime that has not answered by then is a problem of that handler */
};

/*
 * runtime_new - look the handlers up and ask each for its version and features, all at the same time, unless the cache has the
 * answers of that very file.
 * Returns: never NULL; what is wrong with a handler is in its problem. Runs a loop of its own meanwhile (milliseconds).
 */
NODISCARD struct runtime *runtime_new(const struct runtime_args *args);
void runtime_free(struct runtime *runtime);
/* By handler name, "" = the default. NOT_FOUND lists the configured ones. May be unusable: see runtime_usable(). */
NODISCARD const struct runtime_info *runtime_find(const struct runtime *runtime,
                                                  const char *handler, struct err *err);
NODISCARD const struct runtime_info *
runtime_default(const struct runtime *runtime); /* never NULL */
size_t runtime_count(const struct runtime *runtime);
const struct runtime_info *runtime_at(const struct runtime *runtime,
                                      size_t i); /* in order of configuration */
/* UNAVAILABLE with the handler's problem. */
NODISCARD int runtime_usable(const struct runtime_info *info, struct err *err);
/* Ask again for what is unusable (somebody installed crun meanwhile): starts children, returns at once, does nothing more
 * often than every 10 s. For Status and RunPodSandbox. */
void runtime_refresh(struct runtime *runtime);

const struct host_limits *runtime_host_limits(const struct runtime *runtime);
/* --- command lines; strv on the heap, argv[0] is the absolute path */

/* "<path> --root <state>/runtime [--systemd-cgroup]": the head of every call, as monitor_start_args.runtime takes it.
 * @cgroups_path decides about systemd. */
NODISCARD char **runtime_argv_head(const struct runtime *runtime, const struct runtime_info *info,
                                   const char *cgroups_path);

struct runtime_create {
	const char *id, *bundle;
	const char *pid_file, *console_socket; /* NULL: none */
	const char *log;                       /* JSON lines; NULL: on stderr */
};
NODISCARD char **runtime_argv_create(const struct runtime *runtime, const struct runtime_info *info,
                                     const char *cgroups_path, const struct runtime_create *create);
NODISCARD char **runtime_argv_start(const struct runtime *runtime, const struct runtime_info *info,
                                    const char *cgroups_path, const char *id, const char *log);
NODISCARD char **runtime_argv_delete(const struct runtime *runtime, const struct runtime_info *info,
                                     const char *cgroups_path, const char *id, bool force,
                                     const char *log);

struct runtime_exec {
	const char *id;
	const char *process;                   /* file with the OCI process */
	const char *pid_file, *console_socket; /* NULL: none */
	const char *cgroup;                    /* CGROUP_EXEC_NAME; NULL: the container's own */
	const char *log;
	bool detach;
};
NODISCARD char **runtime_argv_exec(const struct runtime *runtime, const struct runtime_info *info,
                                   const char *cgroups_path, const struct runtime_exec *exec);

/* --- calls that the daemon makes itself */

enum runtime_status {
	RUNTIME_GONE,
	RUNTIME_CREATING,
	RUNTIME_CREATED,
	RUNTIME_RUNNING,
	RUNTIME_STOPPED,
	RUNTIME_PAUSED
};

struct runtime_result {
	enum runtime_status status; /* runtime_state() */
	pid_t pid;
};
/* err NULL: well. Exactly once per call, from the loop, never from inside the call. */
typedef void (*runtime_done_fn)(void *arg, const struct runtime_result *result,
                                const struct err *err);

struct runtime_call {
	const struct runtime_info *info; /* borrowed during the call only */
	const char *id;
	const char *cgroups_path;
	int oplock_fd;      /* -1, or the op's lock */
	int64_t timeout_ms; /* 0: 60 s */
	runtime_done_fn done;
	void *arg;
};
#define RUNTIME_CALL_INIT                                                                          \
	{                                                                                          \
		.oplock_fd = -1                                                                    \
	}

/* delete [--force]; a container the runtime does not know is success. */
NODISCARD int runtime_delete(struct runtime *runtime, const struct runtime_call *call, bool force,
                             struct err *err);
/* @all: every process of its cgroup. A container that has ended or is unknown is success. */
NODISCARD int runtime_kill(struct runtime *runtime, const struct runtime_call *call, int signal,
                           bool all, struct err *err);
/* An unknown container is RUNTIME_GONE, not an error. */
NODISCARD int runtime_state(struct runtime *runtime, const struct runtime_call *call,
                            struct err *err);
/* update: OCI linux.resources as JSON. NOT_FOUND when the container is unknown. */
NODISCARD int runtime_update(struct runtime *runtime, const struct runtime_call *call,
                             const char *resources, size_t len, struct err *err);
/*
 * runtime_exec_spawn - `exec` as our own child; the caller gave it fds for 0, 1 and 2 in @child (and done, arg, oplock).
 * name, path, argv, envp are filled in here. What the exec'd process did is the child's exit status; whether there was one
 * tells the pid file: without it the status is the runtime's own, and runtime_error() of its log says why.
 */
NODISCARD struct child *runtime_exec_spawn(struct runtime *runtime, const struct runtime_info *info,
                                           const char *cgroups_path,
                                           const struct runtime_exec *exec,
                                           const struct child_args *child, struct err *err);

/* --- what runtimes write; pure */

/*
 * runtime_error - the readable sentence in a runtime's JSON log or stderr: the last error-level message, its text without
 * quotes, escapes, line breaks and Go's wrapping prefixes; plain text gives its last line. "" when there is nothing.
 */
void runtime_error(struct str log, char *text, size_t size);
/* True when that sentence says that the container does not exist (both runtimes' wordings). */
bool runtime_error_is_unknown(const char *text);
/* True when it says that there was no process to signal any more. */
bool runtime_error_is_ended(const char *text);
/* "1.8.1", "1.2.0-rc.1", "1.1.5+ds1" -> 1008001, ...; 0 when it does not begin like a version. */
uint32_t runtime_version_number(struct str text);
/* Where programs are looked up: the directories of @env (PATH, or NULL), then the usual ones that are not among them; heap. */
NODISCARD char *runtime_search_path(const char *env);
/* First line of --version: "crun version 1.8.1". */
NODISCARD int runtime_parse_version(struct str text, struct runtime_info *info, struct err *err);
/* The JSON of `features`. A missing member leaves what the version said. */
NODISCARD int runtime_parse_features(struct str text, struct runtime_info *info, struct err *err);
NODISCARD int runtime_parse_state(struct str text, struct runtime_result *ret, struct err *err);
/* The features that kind and version tell. */
void runtime_features_from_version(struct runtime_info *info);

DEFINE_CLEANUP_PTR(struct runtime, runtime_free);

#endif
