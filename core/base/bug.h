/* core/base/bug.h
 *
 * ensure() states what a programmer may rely on; it never judges input. Always on. On failure: one
 * line to stderr (journald level 0), then abort(); systemd restarts us, replay restores us.
 */
#ifndef CORACLE_CORE_BASE_BUG_H
#define CORACLE_CORE_BASE_BUG_H

#include "core/base/attr.h"

NORETURN void bug_report(const char *expr, const char *file, int line, const char *func);

#define ensure(x)                                                                                  \
	do {                                                                                       \
		if (__builtin_expect(!(x), 0))                                                     \
			bug_report(#x, __FILE__, __LINE__, __func__);                              \
	} while (0)

#ifdef CORACLE_CHECKED
#define debug_ensure(x) ensure(x)
#else
#define debug_ensure(x)                                                                            \
	do {                                                                                       \
		if (0 && (x)) {                                                                    \
		}                                                                                  \
	} while (0)
#endif

#endif
