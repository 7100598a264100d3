/* killat - run a daemon and kill it at its n-th system call of some kinds.
 *
 * usage: killat COUNTS N PROGRAM [ARGUMENT...]
 *
 * Counted is what the daemon's threads and its forks ask for until they execute another program: fdatasync, rename, mount, umount,
 * unshare, execve (children that become crun, a plugin or a monitor count with that one call, and are left alone afterwards). At
 * the n-th the daemon gets SIGKILL, while whoever made the call stands still before it; then all others go on. N = 0: never.
 * COUNTS gets "<total>" and one line "<n> <call>" each.
 *
 * Exit status: 0 killed at N; 1 it ended before; 2 trouble.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	long nr;
	const char *name;
} calls[] = {
	{ SYS_fdatasync, "fdatasync" },   { SYS_fsync, "fsync" },      { SYS_rename, "rename" },
	{ SYS_renameat, "rename" },       { SYS_renameat2, "rename" }, { SYS_mount, "mount" },
	{ SYS_move_mount, "move_mount" }, { SYS_umount2, "umount" },   { SYS_unshare, "unshare" },
	{ SYS_execve, "execve" },         { SYS_execveat, "execve" },
};

static const char *counted(long nr)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].nr == nr)
			return calls[i].name;
	return NULL;
}

static pid_t daemon_pid;

static void pass_on(int sig)
{
	kill(daemon_pid, sig);
}

static void start(char **argv)
{
	daemon_pid = fork();
	if (daemon_pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	raise(SIGSTOP);
	execv(argv[0], argv);
	_exit(127);
}

int main(int argc, char **argv)
{
	const int options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
	                    PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD;
	unsigned long total = 0, n = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
	int status, started = 0, killed = 0;
	pid_t pid;
	FILE *out = argc > 3 ? fopen(argv[1], "w") : NULL;

	if (!out)
		return 2;
	start(argv + 3);
	signal(SIGTERM, pass_on);
	if (waitpid(daemon_pid, &status, WUNTRACED) < 0 ||
	    ptrace(PTRACE_SEIZE, daemon_pid, NULL, options) < 0)
		return 2;
	kill(daemon_pid, SIGCONT);
	for (;;) {
		struct __ptrace_syscall_info info;
		pid = waitpid(-1, &status, __WALL);
		int sig = 0, event = status >> 16;

		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			break;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == daemon_pid)
				break;
			continue;
		}
		if (event == PTRACE_EVENT_EXEC && pid != daemon_pid) {
			ptrace(PTRACE_DETACH, pid, NULL, 0);
			continue;
		}
		if (event == PTRACE_EVENT_EXEC)
			started = 1;
		if (event == PTRACE_EVENT_STOP) {
			int what = WSTOPSIG(status);

			/* a new tracee begins with one; a group stop is left as it is */
			ptrace(what == SIGSTOP || what == SIGTSTP || what == SIGTTIN ||
			                       what == SIGTTOU
			               ? PTRACE_LISTEN
			               : PTRACE_SYSCALL,
			       pid, NULL, 0);
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			const char *name;

			if (started && !killed &&
			    ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 &&
			    info.op == PTRACE_SYSCALL_INFO_ENTRY &&
			    (name = counted((long)info.entry.nr))) {
				fprintf(out, "%lu %s\n", ++total, name);
				if (total == n) {
					killed = 1;
					kill(daemon_pid, SIGKILL);
					/* all of its threads are dead before a call of somebody else goes on */
					do
						pid = waitpid(-1, &status, __WALL);
					while (pid > 0 &&
					       !(pid == daemon_pid &&
					         (WIFEXITED(status) || WIFSIGNALED(status))));
					break;
				}
			}
		} else if (!event) {
			sig = WSTOPSIG(status);
		}
		ptrace(PTRACE_SYSCALL, pid, NULL, sig);
	}
	if (!killed && (pid < 0 || !WIFEXITED(status)))
		fprintf(stderr, "killat: pid %d errno %d status %x\n", (int)pid, errno, status);
	fprintf(out, "total %lu\n", total);
	fclose(out);
	return killed ? 0 : 1; /* whoever is traced is let go now */
}
