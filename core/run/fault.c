/* core/run/fault.c
 *
 * See fault.h. The struct goes over a pipe in one write far below PIPE_BUF, so it arrives whole or not at all.
 */
#include "core/run/fault.h"

#include <limits.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/fd.h"

#define FAULT_STATUS 1

_Static_assert(sizeof(struct fault) <= 512, "a fault fits into the smallest PIPE_BUF there is");

int fault_set(struct fault *fault, enum code code, int sys, const char *const *pieces)
{
	size_t len = 0;

	memset(fault, 0, sizeof(*fault));
	fault->code = code;
	fault->sys = sys;
	for (; *pieces; pieces++) {
		size_t n = strlen(*pieces);

		n = MIN(n, sizeof(fault->text) - 1 - len);
		memcpy(fault->text + len, *pieces, n);
		len += n;
	}
	return -1;
}

int fault_send(const struct fault *fault, int fd)
{
	ignore(write_full(fd, fault, sizeof(*fault)) <
	       0); /* then the exit status alone has to speak */
	return FAULT_STATUS;
}

int fault_check(const struct child_args *args, const struct child_result *result, struct err *err)
{
	struct fault fault;

	if (result->stuck || !WIFEXITED(result->wstatus) ||
	    WEXITSTATUS(result->wstatus) != FAULT_STATUS || result->out_len != sizeof(fault))
		return child_check(args, result, err);

	memcpy(&fault, result->out, sizeof(fault));
	fault.text[sizeof(fault.text) - 1] = '\0';
	if (!fault.sys)
		return err_set(err, fault.code == CODE_OK ? CODE_INTERNAL : fault.code, "%s",
		               fault.text);
	err_sys(err, fault.sys, "%s", fault.text);
	if (fault.code != CODE_OK)
		err->code = fault.code;
	return -1;
}
