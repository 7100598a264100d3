/* cmd/check/check.h
 *
 * coracle check: will the daemon start with this configuration on this host, will pods run, is what lies on disk whole.
 *
 * A check is one row of a table and one function. The function looks at one thing and reports what it found, once or
 * once per object (a runtime, a file). It runs in a process of its own: one that hangs is cut off after CHECK_LIMIT_MS,
 * one that crashes is that check's failure, and neither is anybody else's.
 *
 * Nothing is changed. Paths of the machine are looked up below ctx->sysroot ("" is the machine itself); what can only
 * be asked of the running kernel is CHECK_HOST and skipped elsewhere.
 */
#ifndef CORACLE_CMD_CHECK_CHECK_H
#define CORACLE_CMD_CHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/config/config.h"

#define CHECK_LIMIT_MS  5000
#define CHECK_NAMED_MS  30000 /* of a check that is CHECK_NAMED: somebody waits for it */
#define CHECK_TEXT_MAX  1024
#define CHECK_FILE_MAX  (1024 * 1024)
#define CHECK_OUT_BYTES (64 * 1024) /* of an external command */
/* The whole environment of an external command. */
#define CHECK_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum check_status { CHECK_OK = 1, CHECK_WARN, CHECK_FAIL, CHECK_SKIP };

enum check_needs {
	CHECK_HOST = 1 << 0,  /* the running kernel: skipped under --sysroot */
	CHECK_ROOT = 1 << 1,  /* rights: skipped without */
	CHECK_NAMED = 1 << 2, /* runs only when its id is given, or with -v */
};

struct check_reports;

struct check_ctx {
	const char *sysroot;
	struct config *config; /* every problem in it */
	struct config_flags flags;
	const char *kconfig;                /* --kconfig, or NULL */
	const char *containerd;             /* file */
	const char *endpoint;               /* --live */
	const struct check_reports *before; /* what earlier checks reported */
};

struct check_out; /* where a check reports to */

struct check {
	const char *id;
	enum check_status severity; /* what it reports when the thing is broken: for --list */
	unsigned int needs;
	void (*fn)(const struct check_ctx *ctx, struct check_out *out);
};

struct check_group {
	const char *name;
	const struct check *checks;
	size_t count;
};

/* --- reporting. @object: which of several, NULL when there is but one. */
void check_report(struct check_out *out, enum check_status status, const char *object,
                  const char *fmt, ...) PRINTF_LIKE(4, 5);
#define check_ok(out, object, ...)   check_report(out, CHECK_OK, object, __VA_ARGS__)
#define check_warn(out, object, ...) check_report(out, CHECK_WARN, object, __VA_ARGS__)
#define check_fail(out, object, ...) check_report(out, CHECK_FAIL, object, __VA_ARGS__)
#define check_skip(out, object, ...) check_report(out, CHECK_SKIP, object, __VA_ARGS__)
/* What to do about the report before. */
void check_hint(struct check_out *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Where the report before comes from; line 0: the whole file. */
void check_source(struct check_out *out, const char *file, unsigned int line);

/* --- helpers */
/* @path below the sysroot; heap. */
char *check_path(const struct check_ctx *ctx, const char *path);
/* The file below the sysroot, NUL terminated; NULL (errno) when it cannot be read or is larger than CHECK_FILE_MAX. */
char *check_read(const struct check_ctx *ctx, const char *path);
/* A number in a file below the sysroot. False: no such file, or no number. */
bool check_read_number(const struct check_ctx *ctx, const char *path, long long *ret);
bool check_exists(const struct check_ctx *ctx, const char *path);
/* Has another check failed for @object already? What it asked in vain need not be asked again. */
bool check_has_failed(const struct check_ctx *ctx, const char *id, const char *object);
/* Do pods get their cgroups from systemd, not from cgroupfs? */
bool check_uses_systemd(const struct check_ctx *ctx);
/* Output and exit status of a program, with nothing but PATH in its environment. -1: @err says why (does not run, hangs,
 * too much output). @ret_status: as from wait. */
NODISCARD int check_command(char *const argv[], const char *input, char **ret_out, int *ret_status,
                            struct err *err);
/* The same with one variable more: "NAME=VALUE", or NULL. */
NODISCARD int check_command_with(char *const argv[], const char *variable, const char *input,
                                 char **ret_out, int *ret_status, struct err *err);

extern const struct check_group check_group_config, check_group_kernel, check_group_sysctl,
	check_group_cgroup, check_group_storage, check_group_oci, check_group_cni, check_group_net,
	check_group_state, check_group_containerd, check_group_fsck, check_group_live;

#endif
