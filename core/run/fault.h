/* core/run/fault.h
 *
 * How a forked child tells why it failed: one fixed struct on its stdout, so that errno, code and text reach the parent's
 * struct err unharmed. The child side allocates nothing and uses no stdio.
 */
#ifndef CORACLE_CORE_RUN_FAULT_H
#define CORACLE_CORE_RUN_FAULT_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/child.h"

struct fault {
	int sys;        /* errno, 0 if none */
	enum code code; /* CODE_OK: what the errno stands for */
	char text[208]; /* what failed: pieces joined, cut when too long */
};

/* Fill @fault: text is the pieces up to a NULL, joined. Returns -1. */
int fault_set(struct fault *fault, enum code code, int sys, const char *const *pieces);
/* fault_sys(&fault, errno, "mount ", path) and fault_code(&fault, CODE_..., "text") */
#define fault_sys(fault, err_no, ...)                                                              \
	fault_set(fault, CODE_OK, err_no, (const char *const[]){ __VA_ARGS__, NULL })
#define fault_code(fault, code_, ...)                                                              \
	fault_set(fault, code_, 0, (const char *const[]){ __VA_ARGS__, NULL })
#define fault_both(fault, code_, err_no, ...)                                                      \
	fault_set(fault, code_, err_no, (const char *const[]){ __VA_ARGS__, NULL })

/* Child: hand it to the parent; returns the exit status to leave with. */
int fault_send(const struct fault *fault, int fd);
/* Parent: 0 after exit 0, else -1 with what the child said, or what child_check() makes of an unspeaking one. */
NODISCARD int fault_check(const struct child_args *args, const struct child_result *result,
                          struct err *err);

#endif
