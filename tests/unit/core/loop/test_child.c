#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/loop/child.h"

struct fixture {
	struct loop *loop;
	int done;
	struct child_result result;
	char *out, *errout;
	int check;
	const struct child_args *args;
	struct err err;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->loop = loop_new(&f->err);
	assert_non_null(f->loop);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	loop_free(f->loop);
	free(f->out);
	free(f->errout);
	free(f);
	return 0;
}

static void on_done(void *arg, const struct child_result *result)
{
	struct fixture *f = arg;

	f->done++;
	f->result = *result;
	f->out = xstrndup(result->out, result->out_len);
	f->errout = xstrndup(result->errout, result->errout_len);
	f->check = child_check(f->args, result, &f->err);
}

static struct child_args shell(struct fixture *f, const char *script)
{
	struct child_args args = CHILD_ARGS_INIT;
	char **argv = xcalloc(4, sizeof(*argv));

	argv[0] = xstrdup("sh");
	argv[1] = xstrdup("-c");
	argv[2] = xstrdup(script);
	args.name = "test sh";
	args.path = "/bin/sh";
	args.argv = argv;
	args.capture_out = args.capture_err = true;
	args.done = on_done;
	args.arg = f;
	return args;
}

static void run(struct fixture *f, struct child_args *args)
{
	f->args = args;
	if (!child_spawn(f->loop, args, &f->err))
		fail_msg("%s", f->err.msg);
	while (!f->done)
		loop_turn(f->loop, true);
	if (args->argv)
		strv_free((char **)args->argv);
}

static void output_error_and_status_come_back(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "echo out; echo first >&2; echo last words >&2; exit 3");

	run(f, &args);
	assert_string_equal(f->out, "out\n");
	assert_string_equal(f->errout, "first\nlast words\n");
	assert_int_equal(WEXITSTATUS(f->result.wstatus), 3);
	assert_int_equal(f->check, -1);
	assert_string_equal(f->err.msg, "test sh: exit status 3: last words");
}

static void input_is_fed_and_ends(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "wc -c");
	size_t len = 300 * 1024;

	args.input = xcalloc(1, len);
	args.input_len = len;
	run(f, &args);
	assert_int_equal(f->check, 0);
	assert_int_equal(strtol(f->out, NULL, 10), (long)len);
	free((void *)args.input);
}

static void stdin_is_empty_without_input(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "cat; echo end");

	run(f, &args);
	assert_string_equal(f->out, "end\n");
}

static void a_missing_program_is_told_at_once_by_its_path(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "");

	args.path = "/nonexistent/program";
	assert_null(child_spawn(f->loop, &args, &f->err));
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
	assert_non_null(strstr(f->err.msg, "test sh: exec /nonexistent/program"));
	assert_int_equal(f->done, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
	assert_int_equal(errno, ECHILD);
	strv_free((char **)args.argv);
}

static void stdout_keeps_its_beginning_and_stderr_its_end(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(
		f,
		"i=0; while [ $i -lt 3000 ]; do echo line $i; echo line $i >&2; i=$((i+1)); done");

	args.max_output = 1000;
	run(f, &args);
	assert_true(f->result.truncated);
	assert_int_equal(f->result.out_len, 1000);
	assert_true(starts_with(f->out, "line 0\nline 1\n"));
	assert_int_equal(f->result.errout_len, 1000);
	assert_true(ends_with(f->errout, "line 2999\n"));
}

static void at_the_deadline_the_whole_group_dies(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "sleep 1000 & echo $!; sleep 1000");
	pid_t grandchild;
	int pidfd;

	args.timeout_ms = 100;
	run(f, &args);
	assert_true(f->result.timed_out);
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	assert_string_equal(f->err.msg, "test sh: timed out after 0.1 s");
	grandchild = (pid_t)strtol(f->out, NULL, 10);
	assert_true(grandchild > 1);
	/* Killed, but not ours to reap: its pidfd tells, also of a zombie. */
	pidfd = sys_pidfd_open(grandchild, 0);
	if (pidfd >= 0) {
		struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };

		assert_int_equal(poll(&poll_fd, 1, 10000), 1);
		close(pidfd);
	}
}

static void a_killed_child_says_cancelled(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "sleep 1000");
	struct child *child;

	f->args = &args;
	child = child_spawn(f->loop, &args, &f->err);
	assert_non_null(child);
	assert_true(child_pid(child) > 1);
	child_kill(child);
	while (!f->done)
		loop_turn(f->loop, true);
	assert_true(f->result.cancelled);
	assert_int_equal(f->err.code, CODE_CANCELLED);
	strv_free((char **)args.argv);
}

static void a_grandchild_that_keeps_the_pipe_does_not_delay_the_end(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "sleep 5 & echo $!");
	int64_t began = clock_mono_ns();

	run(f, &args);
	assert_int_equal(f->check, 0);
	assert_true(clock_mono_ns() - began < 3 * NS_PER_S);
	kill((pid_t)strtol(f->out, NULL, 10), SIGKILL);
}

static void only_mapped_descriptors_reach_the_child(void **arg)
{
	struct fixture *f = *arg;
	int leak = dup(2), inherited = -1, a[2];
	char more;
	struct child_fd map[] = { { .fd = -1, .as_fd = 4 },
		                  { .fd = -1, .as_fd = 3 },
		                  { .fd = -1, .as_fd = -1 } };
	struct child_args args =
		shell(f, "for n in 3 4; do read x <&$n; echo $n=$x; done; ls /proc/$$/fd; :");

	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(write(a[1], "one\n", 4), 4);
	/* Sources have the numbers of each other's targets: placing one must not overwrite the other. */
	map[0].fd = fcntl(a[0], F_DUPFD_CLOEXEC, 3);
	map[1].fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	map[2].fd = open("/", O_RDONLY | O_CLOEXEC);
	args.fds = map;
	args.nfds = 3;
	run(f, &args);
	assert_true(starts_with(f->out, "3=root:"));
	assert_non_null(strstr(f->out, "\n4=one\n"));
	/* stdio, the two, and the inherited one above them */
	assert_int_equal(
		sscanf(strstr(f->out, "\n4=one\n") + 7, "0 1 2 %d 3 4 %c", &inherited, &more), 1);
	assert_in_range(inherited, 10, 1023);
	close(leak);
	close(a[0]);
	close(a[1]);
	for (int i = 0; i < 3; i++)
		close(map[i].fd);
}

static void a_child_leads_its_own_session_at_the_root_with_a_plain_umask(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args =
		shell(f, "set -- $(cat /proc/$$/stat); echo $1 $6; pwd; umask; echo $PATH $HOME");
	pid_t pid, sid;
	int at;

	run(f, &args);
	assert_int_equal(sscanf(f->out, "%d %d%n", &pid, &sid, &at), 2);
	assert_int_equal(pid, sid);
	assert_int_equal(pid, f->result.pid);
	assert_string_equal(
		f->out + at,
		"\n/\n0022\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
}

static int return_seven(void *arg)
{
	int *number = arg;

	ignore(write(1, "from fn", 7) < 0);
	return *number;
}

static void a_child_gets_back_the_limit_of_open_files_that_was_raised_for_us(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "ulimit -Sn");
	struct rlimit before, after;
	char want[32];

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	loop_raise_nofile(f->loop);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
	assert_int_equal(after.rlim_cur, before.rlim_max);
	run(f, &args);
	snprintf(want, sizeof(want), "%llu\n", (unsigned long long)before.rlim_cur);
	assert_string_equal(f->out, want);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void a_function_runs_in_the_fork_and_returns_its_status(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = CHILD_ARGS_INIT;
	int seven = 7;

	args.name = "fn";
	args.fn = return_seven;
	args.fn_arg = &seven;
	args.capture_out = true;
	args.done = on_done;
	args.arg = f;
	run(f, &args);
	assert_string_equal(f->out, "from fn");
	assert_int_equal(WEXITSTATUS(f->result.wstatus), 7);
	assert_string_equal(f->err.msg, "fn: exit status 7");
}

static void a_function_that_was_not_reached_says_why_when_it_ends(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = CHILD_ARGS_INIT;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), seven = 7;

	args.name = "fn";
	args.fn = return_seven;
	args.fn_arg = &seven;
	args.cgroup_fd = full; /* as a cgroup that refuses */
	args.capture_out = args.capture_err = true;
	args.done = on_done;
	args.arg = f;
	run(f, &args);
	close(full);
	assert_string_equal(f->out, "");
	assert_int_equal(WEXITSTATUS(f->result.wstatus), 127);
	assert_non_null(strstr(f->err.msg, "enter cgroup: "));
}

static void a_program_may_be_given_as_a_descriptor(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "echo by descriptor");

	args.path = NULL;
	args.exec_fd = open("/bin/sh", O_PATH | O_CLOEXEC);
	run(f, &args);
	assert_string_equal(f->out, "by descriptor\n");
	close(args.exec_fd);
}

static void a_detached_child_is_not_reported(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "exit 0");
	struct child *child = child_spawn(f->loop, &args, &f->err);

	assert_non_null(child);
	child_detach(child);
	while (waitpid(-1, NULL, WNOHANG | WNOWAIT) == 0 || loop_turn(f->loop, false))
		;
	assert_int_equal(f->done, 0);
	strv_free((char **)args.argv);
}

static void a_signal_is_named(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "kill -SEGV $$");

	run(f, &args);
	assert_string_equal(f->err.msg, "test sh: killed by signal 11");
}

static void ignored_and_blocked_signals_are_not_inherited(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = shell(f, "exec grep -E 'Sig(Blk|Ign)' /proc/self/status");
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	signal(SIGPIPE, SIG_IGN);
	run(f, &args);
	sigprocmask(SIG_SETMASK, &old, NULL);
	signal(SIGPIPE, SIG_DFL);
	assert_string_equal(f->out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void a_child_that_sigkill_cannot_end_is_reported_as_stuck(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = CHILD_ARGS_INIT;
	struct child_result result = { .stuck = true, .pid = 4711 };

	args.name = "umount /x";
	assert_int_equal(child_check(&args, &result, &f->err), -1);
	assert_string_equal(f->err.msg, "umount /x: stuck (pid 4711 survives SIGKILL)");
	assert_int_equal(child_stuck(f->loop), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(output_error_and_status_come_back),
		T(input_is_fed_and_ends),
		T(stdin_is_empty_without_input),
		T(a_missing_program_is_told_at_once_by_its_path),
		T(stdout_keeps_its_beginning_and_stderr_its_end),
		T(at_the_deadline_the_whole_group_dies),
		T(a_killed_child_says_cancelled),
		T(a_grandchild_that_keeps_the_pipe_does_not_delay_the_end),
		T(only_mapped_descriptors_reach_the_child),
		T(a_child_leads_its_own_session_at_the_root_with_a_plain_umask),
		T(a_child_gets_back_the_limit_of_open_files_that_was_raised_for_us),
		T(a_function_runs_in_the_fork_and_returns_its_status),
		T(a_function_that_was_not_reached_says_why_when_it_ends),
		T(a_program_may_be_given_as_a_descriptor),
		T(a_detached_child_is_not_reported),
		T(a_signal_is_named),
		T(ignored_and_blocked_signals_are_not_inherited),
		T(a_child_that_sigkill_cannot_end_is_reported_as_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
