/* tests/lib/userns.h
 *
 * User namespaces are what a kernel or an environment may refuse as a whole: a chroot does, whoever asks.
 */
#ifndef CORACLE_TESTS_LIB_USERNS_H
#define CORACLE_TESTS_LIB_USERNS_H

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static inline int userns_refused(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) < 0);
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

/* Skips the calling test where there are none. */
#define NEEDS_USERNS()                                                                             \
	do {                                                                                       \
		if (userns_refused()) {                                                            \
			print_message("no user namespaces here (is this a chroot?): skipped\n");   \
			skip();                                                                    \
		}                                                                                  \
	} while (0)

#endif
