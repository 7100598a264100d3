/* Children in trouble that no test can make for real: SIGKILL without effect, a child that gets no CPU in time. */
/* link-wrap: kill poll */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"

int __real_kill(pid_t pid, int sig);

int __wrap_kill(pid_t pid, int sig)
{
	(void)pid;
	(void)sig;
	return 0; /* accepted, and nothing happens: the D state */
}

int __wrap_poll(struct pollfd *fds, nfds_t nfds, int timeout_ms)
{
	(void)fds;
	(void)nfds;
	(void)timeout_ms;
	return 0; /* time is up before the child said anything */
}

struct fixture {
	struct loop *loop;
	int done;
	struct child_result result;
	char *errout;
	const struct child_args *args;
	struct err err;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	clock_virtual_set(1000 * NS_PER_S);
	f->loop = loop_new(&f->err);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	loop_free(f->loop);
	free(f->errout);
	free(f);
	return 0;
}

static void on_done(void *arg, const struct child_result *result)
{
	struct fixture *f = arg;

	f->done++;
	f->result = *result;
	f->errout = xstrndup(result->errout, result->errout_len);
	ignore(child_check(f->args, result, &f->err)); /* for its text */
}

static struct child_args child_of(struct fixture *f, const char *path, char *const *argv)
{
	struct child_args args = CHILD_ARGS_INIT;

	args.name = "test";
	args.path = path;
	args.argv = argv;
	args.done = on_done;
	args.arg = f;
	return args;
}

static void a_child_that_survives_its_kill_is_told_once_and_counted_until_it_ends(void **arg)
{
	struct fixture *f = *arg;
	char *argv[] = { (char *)"sleep", (char *)"1000", NULL };
	struct child_args args = child_of(f, "/bin/sleep", argv);
	pid_t pid;

	f->args = &args;
	args.timeout_ms = 10000;
	pid = child_pid(child_spawn(f->loop, &args, &f->err));
	clock_virtual_advance(10000 * NS_PER_MS);
	assert_true(loop_turn(f->loop, false)); /* the deadline: killed, in vain */
	assert_int_equal(f->done, 0);
	clock_virtual_advance(4999 * NS_PER_MS);
	while (loop_turn(f->loop, false))
		;
	assert_int_equal(f->done, 0);
	clock_virtual_advance(1 * NS_PER_MS);
	assert_true(loop_turn(f->loop, false));
	assert_int_equal(f->done, 1);
	assert_true(f->result.stuck);
	assert_true(f->result.timed_out);
	assert_int_equal(f->result.pid, pid);
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->err.msg, "survives SIGKILL"));
	assert_int_equal(child_stuck(f->loop), 1);

	assert_int_equal(__real_kill(pid, SIGKILL), 0);
	while (child_stuck(f->loop) > 0)
		loop_turn(f->loop, false);
	assert_int_equal(f->done, 1);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* reaped */
}

static void an_exec_that_fails_after_spawn_returned_ends_with_127_and_the_reason(void **arg)
{
	struct fixture *f = *arg;
	char path[] = "/tmp/test-child-XXXXXX";
	char *argv[] = { path, NULL };
	struct child_args args = child_of(f, path, argv);
	int fd = mkstemp(path);

	f->args = &args;
	assert_int_equal(write(fd, "#!/nonexistent/interpreter\n", 27), 27);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
	assert_non_null(child_spawn(f->loop, &args, &f->err));
	while (!f->done)
		loop_turn(f->loop, false);
	assert_int_equal(WEXITSTATUS(f->result.wstatus), 127);
	assert_true(starts_with(f->errout, "exec /tmp/test-child-"));
	assert_true(starts_with(f->err.msg, "test: exit status 127: exec /tmp/test-child-"));
	assert_int_equal(unlink(path), 0);
}

static void a_late_child_that_starts_well_is_an_ordinary_one(void **arg)
{
	struct fixture *f = *arg;
	char *argv[] = { (char *)"true", NULL };
	struct child_args args = child_of(f, "/bin/true", argv);

	f->args = &args;
	assert_non_null(child_spawn(f->loop, &args, &f->err));
	while (!f->done)
		loop_turn(f->loop, false);
	assert_int_equal(f->result.wstatus, 0);
	assert_string_equal(f->errout, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_child_that_survives_its_kill_is_told_once_and_counted_until_it_ends),
		T(an_exec_that_fails_after_spawn_returned_ends_with_127_and_the_reason),
		T(a_late_child_that_starts_well_is_an_ordinary_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
