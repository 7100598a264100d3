/* core/base/attr.h
 *
 * Compiler attributes under short names, and the two idioms that make error paths short:
 * cleanup_* (free, close at scope end) and take_* (hand the thing to the caller instead).
 */
#ifndef CORACLE_CORE_BASE_ATTR_H
#define CORACLE_CORE_BASE_ATTR_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define NODISCARD         __attribute__((warn_unused_result))
#define NORETURN          __attribute__((noreturn))
#define UNUSED            __attribute__((unused))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* Lint and sanitizer builds only: under gcc 12 the attribute lets the compiler delete the callee's
 * own NULL check. */
#ifdef CORACLE_CHECKED
#define NONNULL __attribute__((nonnull))
#else
#define NONNULL
#endif

/* A result that is truly not needed; the reason stands beside the call. */
#define ignore(x)                                                                                  \
	do {                                                                                       \
		if (x) {                                                                           \
		}                                                                                  \
	} while (0)

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))

static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_fn(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define cleanup_free  __attribute__((__cleanup__(cleanup_free_fn)))
#define cleanup_close __attribute__((__cleanup__(cleanup_close_fn)))

/* DEFINE_CLEANUP(struct buf, buf_release): then `cleanup(buf_release) struct buf b;` */
#define DEFINE_CLEANUP(type, fn)                                                                   \
	static inline void cleanup_##fn(type *p)                                                   \
	{                                                                                          \
		fn(p);                                                                             \
	}                                                                                          \
	struct cleanup_semicolon_##fn
/* DEFINE_CLEANUP_PTR(struct loop, loop_free): for heap things held by pointer; fn(NULL) must be
 * fine. */
#define DEFINE_CLEANUP_PTR(type, fn)                                                               \
	static inline void cleanup_##fn(type **p)                                                  \
	{                                                                                          \
		fn(*p);                                                                            \
	}                                                                                          \
	struct cleanup_semicolon_##fn
#define cleanup(fn) __attribute__((__cleanup__(cleanup_##fn)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Return the pointer and clear the variable, so that its cleanup has nothing left to do. */
#define take_ptr(p)                                                                                \
	__extension__({                                                                            \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#endif
