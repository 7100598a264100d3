/* core/monitor/pause.c
 *
 * Init of a shared PID namespace: reaps what is orphaned there and ends when it is asked to. It
 * runs as the only file of a read-only root and shares the namespace with containers nobody trusts,
 * so it is not dumpable: nobody without CAP_SYS_PTRACE reads its memory or walks its root through
 * /proc.
 */
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

int main(void)
{
	sigset_t set;
	int sig;

	prctl(PR_SET_DUMPABLE, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* Blocked signals reach an init even where the kernel would drop them for want of a
	 * handler. */
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return 1;
	for (;;) {
		if (sigwait(&set, &sig) != 0)
			continue;
		if (sig != SIGCHLD)
			return 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
