/* core/base/err.h
 *
 * How failure is told: 0 / -1 (or pointer / NULL) and a struct err that names the culprit.
 * The code is the gRPC status the peer sees; handle conditions by code, never by text.
 */
#ifndef CORACLE_CORE_BASE_ERR_H
#define CORACLE_CORE_BASE_ERR_H

#include <stdbool.h>

#include "core/base/attr.h"

/* gRPC status codes, numbered as on the wire. */
enum code {
	CODE_OK = 0,
	CODE_CANCELLED = 1,
	CODE_UNKNOWN = 2,
	CODE_INVALID_ARGUMENT = 3,
	CODE_DEADLINE_EXCEEDED = 4,
	CODE_NOT_FOUND = 5,
	CODE_ALREADY_EXISTS = 6,
	CODE_PERMISSION_DENIED = 7,
	CODE_RESOURCE_EXHAUSTED = 8,
	CODE_FAILED_PRECONDITION = 9,
	CODE_ABORTED = 10,
	CODE_OUT_OF_RANGE = 11,
	CODE_UNIMPLEMENTED = 12,
	CODE_INTERNAL = 13,
	CODE_UNAVAILABLE = 14,
	CODE_DATA_LOSS = 15,
	CODE_UNAUTHENTICATED = 16,
};

struct err {
	enum code code; /* CODE_OK until set */
	int sys;        /* errno behind it, 0 if none */
	char msg[240];  /* one line, outermost context first; cut with "..." */
};

/* All three return -1, so that failing is one line. err may not be NULL. */
int err_set(struct err *err, enum code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* err_sys - @sys (errno, positive) decides the code (ENOENT NOT_FOUND, EEXIST ALREADY_EXISTS,
 * EACCES/EPERM PERMISSION_DENIED, ENOSPC/EDQUOT/ENOMEM/EMFILE/ENFILE RESOURCE_EXHAUSTED, ETIMEDOUT
 * DEADLINE_EXCEEDED, else INTERNAL); text is "fmt: strerror". */
int err_sys(struct err *err, int sys, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* err_wrap - put "fmt: " in front of what is there; code and sys stay. */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

bool err_is(const struct err *err, enum code code);
void err_clear(struct err *err);
enum code code_from_errno(int sys);
/* "NOT_FOUND"; "CODE_99" style never: unknown numbers give "UNKNOWN". */
const char *code_name(enum code code);
/* strerror that is thread-safe and never NULL (musl's static strings). */
const char *errno_name(int sys);

#endif
