/* core/config/config.h
 *
 * coracle.conf: INI through inih, drop-ins from <file>.d/ (*.conf, sorted), then command-line flags. One table in config.c is
 * the only list of keys: reader, defaults, `check --print-config`, the man page and the sample file come from it.
 *
 * An empty or missing default file works. Unknown keys and bad values are named with file, line and a suggestion; they are
 * problems that are logged, and only what is unsafe (struct config_problem.fatal) makes config_load fail (exit 78).
 */
#ifndef CORACLE_CORE_CONFIG_CONFIG_H
#define CORACLE_CORE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/log.h"

struct config_runtime { /* [runtime NAME] */
	char *name;     /* handler; "" is the default handler's alias */
	char *path;     /* absolute or a name looked up on PATH */
	char *sandbox;  /* controller: "pinned" (default) or "pause" */
};

enum config_trouble {
	CONFIG_UNREADABLE = 1, /* a file */
	CONFIG_SYNTAX,
	CONFIG_UNKNOWN,    /* section or key */
	CONFIG_DUPLICATE,  /* set twice in one file */
	CONFIG_DEPRECATED, /* a name that a key had, or has in containerd */
	CONFIG_VALUE,      /* what a key refuses */
	CONFIG_RUNTIME,    /* handlers that do not fit together */
	CONFIG_PATHS,      /* directories and sockets that do not */
};

/* "config.unknown": the same word in the log, in Status and as an id of coracle check. */
const char *config_trouble_id(enum config_trouble trouble);

struct config_problem {
	bool fatal;
	enum config_trouble trouble;
	char text
		[360]; /* "/etc/coracle/coracle.conf:12: unknown key "loglevel" in [daemon] (did you mean "log_level"?)" */
};

struct config {
	/* paths: flags win over the file */
	char *file, *root, *state, *listen; /* listen: socket path; default <state>/coracle.sock */
	enum log_level log_level;
	/* [tcp] (service is on unless disable_tcp_service; used by a later release) is not here until something reads it */
	struct config_runtime
		*runtimes; /* from [runtime NAME]; empty: crun, else runc, found on PATH */
	size_t nruntimes;
	char *default_runtime;      /* NULL: the first that is found */
	int64_t runtime_timeout_ms; /* 2 min: one call of an OCI runtime */
	char *cni_conf_dir;         /* /etc/cni/net.d */
	char **cni_bin_dirs;        /* /opt/cni/bin /usr/lib/cni */
	bool cni_builtin;           /* a bridge of our own while cni_conf_dir is empty: true */
	int64_t cni_timeout_ms;     /* 1 min: one call of a CNI plugin */
	char *registry_hosts_dir; /* ':' separated, first hit wins: /etc/coracle/hosts.d:/etc/containerd/certs.d */
	char **pinned_images;
	uint64_t journal_keep_bytes;    /* 64 MiB */
	uint64_t journal_segment_bytes; /* 4 MiB; 64 KiB allowed for tests */
	int64_t nri_hold_ms;            /* 24 h */
	char **ignore_deprecations;     /* ids that Status does not show */

	struct config_problem *problems;
	size_t nproblems;

	struct config_value *values; /* every key with its text and origin: config_each() */
	size_t nvalues;
};

struct config_flags {
	const char *file, *root, *state, *listen, *log_level; /* NULL: not given */
};

/* FAILED_PRECONDITION on what is fatal (unreadable named file, unsafe value); problems lists the rest. Free with config_free. */
NODISCARD struct config *config_load(const struct config_flags *flags, struct err *err);
/* The same for those who want to see every problem: never NULL, fatal ones are among problems too. Files are looked up
 * below @sysroot ("" is the machine itself). */
NODISCARD struct config *config_inspect(const struct config_flags *flags, const char *sysroot);
void config_free(struct config *config);

/* The same over one text instead of files, for tests and the fuzzer; @file is what problems name. */
NODISCARD struct config *config_from_text(const char *file, const char *text, size_t len,
                                          const struct config_flags *flags, struct err *err);

DEFINE_CLEANUP_PTR(struct config, config_free);

/*
 * config_reload - take over from @fresh (a later reading; the caller frees it) the values of keys that are reloadable, and the
 * problems. @fn sees every value that differs: taken over, or left for the next start (then the one from @fresh, or the old one
 * where that has none).
 */
struct config_value;
typedef void (*config_change_fn)(void *arg, const struct config_value *value, bool taken);
void config_reload(struct config *config, struct config *fresh, config_change_fn fn, void *arg);

/* --- the table of keys: sample file, man page, `--print-config` and migrate-config's --conf-out are made from it */

enum config_type {
	CONFIG_PATH, /* absolute */
	CONFIG_PATH_LIST,
	CONFIG_PROGRAM,  /* absolute path, or a name looked up on PATH */
	CONFIG_HANDLER,  /* name of a runtime handler */
	CONFIG_LIST,     /* comma separated, or one value per indented line */
	CONFIG_BOOL,     /* true false yes no on off 1 0 */
	CONFIG_BYTES,    /* 4096, 64K, 64MiB: powers of 1024 */
	CONFIG_DURATION, /* 1h30m, 500ms: Go's syntax */
	CONFIG_CHOICE,   /* one of choices */
};

struct config_key {
	const char *section; /* "daemon"; "runtime NAME" stands for every [runtime X] */
	const char *name;
	enum config_type type;
	const char *dflt;    /* in the syntax of the file; "" where doc says what happens then */
	const char *choices; /* "|" separated, CONFIG_CHOICE only */
	int64_t min, max;    /* bytes or nanoseconds; both 0: no numbers */
	const char *flag;    /* command line option that wins over the file, NULL: none */
	bool reloadable; /* takes effect on SIGHUP; whoever uses it reads it anew, or engine_reconfigure() tells */
	bool fatal;      /* a bad value makes the start fail instead of being ignored */
	const char *doc; /* one or two sentences for manual and sample */
	size_t offset;   /* private */
};

size_t config_key_count(void);
const struct config_key *config_key_at(size_t i);
/* @section as in a file: "daemon", "runtime crun". NULL: this version has no such key. */
const struct config_key *config_key_find(const char *section, const char *name);
/* Would @value be accepted? INVALID_ARGUMENT says why not. */
NODISCARD int config_key_check(const struct config_key *key, const char *value, struct err *err);

struct config_value {
	const struct config_key *key;
	char *section; /* as in the file: "runtime crun" */
	char *text;    /* the value in force; lists ", " separated */
	char *origin;  /* "/etc/coracle/coracle.conf:12", "--root", "default" */
};
typedef void (*config_value_fn)(void *arg, const struct config_value *value);
/* Every value in force, section by section. */
void config_each(const struct config *config, config_value_fn fn, void *arg);
/* All of it as a file that reads back to the same, each value with its origin as a comment. */
NODISCARD int config_print(const struct config *config, struct buf *out);
/* The sample file: every key commented out with its default and its meaning. */
NODISCARD int config_sample(struct buf *out);
/* The manual page coracle.conf(5), roff. */
NODISCARD int config_manual(struct buf *out);

#endif
