/* Handlers, command lines and calls, with shell scripts for runtimes. */
/* link-wrap: clock_boot_ns */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/run/runtime.h"

struct fixture {
	char dir[64];
	struct loop *loop;
	struct config config;
	struct config_runtime handlers[3];
	struct runtime *runtime;
	int done;
	bool failed;
	struct err err;
	struct runtime_result result;
};

static int64_t skipped_ns;
int64_t __real_clock_boot_ns(void);
int64_t __wrap_clock_boot_ns(void);

int64_t __wrap_clock_boot_ns(void)
{
	return __real_clock_boot_ns() + skipped_ns;
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err;

	skipped_ns = 0; /* timers wait in real time */
	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-runtime-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	f->loop = loop_new(&err);
	f->config.runtimes = f->handlers;
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	runtime_free(f->runtime);
	loop_free(f->loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

/* A runtime: @body sees all its arguments; every call is noted in <name>.calls. */
static void script(struct fixture *f, const char *name, const char *body)
{
	cleanup_free char *path = xasprintf("%s/%s", f->dir, name);
	cleanup_free char *text = xasprintf("#!/bin/sh\necho \"$*\" >>%s.calls\n%s\n", path, body);

	assert_int_equal(fsx_write(AT_FDCWD, path, text, strlen(text), 0755), 0);
}

#define VERSION_OF(name, version)                                                                  \
	"case \"$*\" in --version) echo '" name " version " version                                \
	"'; exit 0 ;; features) exit 1 ;; esac\n"

static void start(struct fixture *f, int64_t probe_ms)
{
	f->runtime = runtime_new(&(struct runtime_args){ .loop = f->loop,
	                                                 .config = &f->config,
	                                                 .state = "/run/x",
	                                                 .path = f->dir,
	                                                 .probe_ms = probe_ms });
}

static void crun_comes_before_runc_and_both_are_handlers(void **arg)
{
	struct fixture *f = *arg;
	const struct runtime_info *info;
	struct err err;

	script(f, "runc", VERSION_OF("runc", "1.1.5"));
	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	start(f, 0);
	assert_int_equal(runtime_count(f->runtime), 2);
	info = runtime_find(f->runtime, "", &err);
	assert_string_equal(info->name, "crun");
	assert_string_equal(info->program, "crun");
	assert_string_equal(info->sandbox, "pinned");
	assert_int_equal(runtime_usable(info, &err), 0);
	assert_string_equal(runtime_find(f->runtime, "runc", &err)->version, "1.1.5");
	assert_null(runtime_find(f->runtime, "kata", &err));
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_string_equal(err.msg,
	                    "runtime handler \"kata\" is not configured (configured: crun, runc)");
}

static void runc_serves_where_there_is_no_crun(void **arg)
{
	struct fixture *f = *arg;

	script(f, "runc", VERSION_OF("runc", "1.1.5"));
	start(f, 0);
	assert_int_equal(runtime_count(f->runtime), 1);
	assert_string_equal(runtime_default(f->runtime)->name, "runc");
}

static void without_any_runtime_the_paths_tried_are_named(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	start(f, 0);
	assert_int_equal(runtime_usable(runtime_default(f->runtime), &err), -1);
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_non_null(strstr(err.msg, "neither crun nor runc was found in /tmp/test-runtime-"));
}

/* A daemon that is started again: the answers of the first one are in <dir>/answers. */
static void start_again(struct fixture *f)
{
	cleanup_free char *answers = xasprintf("%s/answers", f->dir);

	runtime_free(f->runtime);
	f->runtime = runtime_new(&(struct runtime_args){ .loop = f->loop,
	                                                 .config = &f->config,
	                                                 .state = "/run/x",
	                                                 .path = f->dir,
	                                                 .cache = answers });
}

static size_t calls_of(const struct fixture *f, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s.calls", f->dir, name), *text = NULL;
	size_t len, lines = 0;

	if (fsx_read(AT_FDCWD, path, 65536, &text, &len) < 0)
		return 0;
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines;
}

static void a_runtime_that_has_not_changed_is_not_asked_again(void **arg)
{
	struct fixture *f = *arg;

	script(f, "runc",
	       "case \"$*\" in --version) echo 'runc version 1.1.5' ;; features) echo "
	       "'{\"ociVersionMin\":\"1.0.0\",\"mountOptions\":[\"rro\"]}' ;; esac\n");
	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	start_again(f);
	assert_int_equal(calls_of(f, "crun"), 2);
	assert_int_equal(calls_of(f, "runc"), 2);
	start_again(f);
	assert_int_equal(calls_of(f, "crun"), 2);
	assert_int_equal(calls_of(f, "runc"), 2);
	assert_string_equal(runtime_at(f->runtime, 0)->version, "1.8.1");
	assert_null(runtime_at(f->runtime, 0)->features_json);
	assert_string_equal(runtime_at(f->runtime, 1)->version, "1.1.5");
	assert_true(runtime_has(runtime_at(f->runtime, 1), RUNTIME_RRO));
	assert_non_null(runtime_at(f->runtime, 1)->features_json);
}

static void a_runtime_that_was_replaced_is_asked_again(void **arg)
{
	struct fixture *f = *arg;

	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	start_again(f);
	script(f, "crun", VERSION_OF("crun", "1.9.2"));
	start_again(f);
	assert_string_equal(runtime_default(f->runtime)->version, "1.9.2");
	assert_int_equal(calls_of(f, "crun"), 4);
	start_again(f);
	assert_string_equal(runtime_default(f->runtime)->version, "1.9.2");
	assert_int_equal(calls_of(f, "crun"), 4);
}

static void damaged_answers_are_asked_for_again(void **arg)
{
	static const char *const damage[] = { "",           "\xff\xfe",   "{", "[]", "{\"v1\":[]}",
		                              "{\"v1\":7}", "{\"v2\":{}}" };
	struct fixture *f = *arg;
	cleanup_free char *answers = xasprintf("%s/answers", f->dir);

	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
		assert_int_equal(fsx_write(AT_FDCWD, answers, damage[i], strlen(damage[i]), 0600),
		                 0);
		start_again(f);
		assert_string_equal(runtime_default(f->runtime)->version, "1.8.1");
		assert_int_equal(calls_of(f, "crun"), 2 * (i + 1));
	}
}

static void a_remembered_answer_that_makes_no_sense_is_asked_for_again(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *answers = xasprintf("%s/answers", f->dir), *text = NULL;
	size_t len;

	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	start_again(f);
	assert_int_equal(fsx_read(AT_FDCWD, answers, 65536, &text, &len), 0);
	memcpy(strstr(text, "crun version"), "\\u0007\\u0007", 12);
	assert_int_equal(fsx_write(AT_FDCWD, answers, text, len, 0600), 0);
	start_again(f);
	assert_string_equal(runtime_default(f->runtime)->version, "1.8.1");
	assert_int_equal(calls_of(f, "crun"), 4);
}

static void an_unusable_runtime_is_not_remembered(void **arg)
{
	struct fixture *f = *arg;

	script(f, "crun", "exit 1");
	start_again(f);
	start_again(f);
	assert_int_equal(calls_of(f, "crun"), 4);
}

static void a_runtime_installed_later_is_noticed_every_ten_seconds(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *calls = xasprintf("%s/crun.calls", f->dir);
	struct err err;

	start(f, 0);
	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	runtime_refresh(f->runtime); /* too soon */
	assert_int_equal(runtime_usable(runtime_default(f->runtime), &err), -1);
	assert_false(fsx_exists(calls));
	skipped_ns += 10 * NS_PER_S;
	runtime_refresh(f->runtime);
	assert_int_equal(runtime_usable(runtime_default(f->runtime), &err),
	                 -1); /* asked, not answered */
	while (runtime_usable(runtime_default(f->runtime), &err) < 0)
		loop_turn(f->loop, true);
	assert_string_equal(runtime_default(f->runtime)->version, "1.8.1");
	assert_true(fsx_exists(calls));
}

static void a_question_still_open_does_not_outlive_the_runtimes(void **arg)
{
	struct fixture *f = *arg;

	start(f, 5000);
	script(f, "crun", "exec sleep 100");
	skipped_ns += 10 * NS_PER_S;
	runtime_refresh(f->runtime);
	runtime_free(take_ptr(f->runtime));
	skipped_ns = 0;
	for (int i = 0; i < 10; i++) /* both children end now, and nobody is called */
		loop_turn(f->loop, false);
}

static void a_runtime_that_does_not_answer_is_a_problem_of_its_handler(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	script(f, "slow", "exec sleep 100");
	script(f, "broken", "echo 'cannot load library' >&2; exit 127");
	script(f, "good", VERSION_OF("crun", "1.20"));
	f->handlers[0] = (struct config_runtime){ .name = (char *)(uintptr_t) "slow" };
	f->handlers[1] = (struct config_runtime){ .name = (char *)(uintptr_t) "odd",
		                                  .path = (char *)(uintptr_t) "broken" };
	f->handlers[2] = (struct config_runtime){ .name = (char *)(uintptr_t) "good",
		                                  .sandbox = (char *)(uintptr_t) "pause" };
	f->config.nruntimes = 3;
	start(f, 300);
	assert_int_equal(runtime_usable(runtime_at(f->runtime, 0), &err), -1);
	assert_non_null(strstr(err.msg, "runtime handler \"slow\": "));
	assert_non_null(strstr(err.msg, "timed out after 0.3 s"));
	assert_int_equal(runtime_usable(runtime_at(f->runtime, 1), &err), -1);
	assert_non_null(strstr(err.msg, "cannot load library"));
	assert_string_equal(runtime_default(f->runtime)->name, "good"); /* the first that works */
	assert_string_equal(runtime_default(f->runtime)->sandbox, "pause");
}

static void the_configured_default_is_the_default_even_when_it_is_broken(void **arg)
{
	struct fixture *f = *arg;

	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	f->handlers[0] = (struct config_runtime){ .name = (char *)(uintptr_t) "crun" };
	f->handlers[1] = (struct config_runtime){ .name = (char *)(uintptr_t) "mine",
		                                  .path = (char *)(uintptr_t) "/nonexistent/mine" };
	f->config.nruntimes = 2;
	f->config.default_runtime = (char *)(uintptr_t) "mine";
	start(f, 0);
	assert_string_equal(runtime_default(f->runtime)->name, "mine");
	assert_string_equal(runtime_default(f->runtime)->problem,
	                    "/nonexistent/mine is not an executable file");
}

static char *joined(char **argv)
{
	struct buf buf;

	buf_init(&buf, 4096);
	for (char **a = argv + 1; *a; a++)
		assert_int_equal(buf_printf(&buf, "%s%s", a > argv + 1 ? " " : "", *a), 0);
	strv_free(argv);
	return buf_take_str(&buf);
}

static void assert_argv(char **argv, const char *expected)
{
	cleanup_free char *text = joined(argv);

	assert_string_equal(text, expected);
}

static void command_lines_follow_the_cgroup_path(void **arg)
{
	struct fixture *f = *arg;
	const struct runtime_info *info;
	struct runtime_create create = {
		.id = "c1", .bundle = "/b", .pid_file = "/b/pid", .log = "/b/log"
	};
	struct runtime_exec exec = {
		.id = "c1", .process = "/p", .pid_file = "/pid", .cgroup = "exec-4", .log = "/l"
	};

	script(f, "crun", VERSION_OF("crun", "1.8.1"));
	start(f, 0);
	info = runtime_default(f->runtime);
	assert_argv(runtime_argv_head(f->runtime, info, "/a/c1"), "--root /run/x/runtime");
	assert_argv(runtime_argv_head(f->runtime, info, "a.slice:coracle:c1"),
	            "--root /run/x/runtime --systemd-cgroup");
	assert_argv(
		runtime_argv_create(f->runtime, info, "/a/c1", &create),
		"--root /run/x/runtime --log /b/log --log-format json create --bundle /b --pid-file /b/pid c1");
	create.console_socket = "/b/tty";
	create.log = NULL;
	assert_argv(
		runtime_argv_create(f->runtime, info, "a.slice:coracle:c1", &create),
		"--root /run/x/runtime --systemd-cgroup --log-format json create --bundle /b --pid-file /b/pid "
		"--console-socket /b/tty c1");
	assert_argv(runtime_argv_start(f->runtime, info, "", "c1", NULL),
	            "--root /run/x/runtime --log-format json start c1");
	assert_argv(runtime_argv_delete(f->runtime, info, NULL, "c1", true, NULL),
	            "--root /run/x/runtime --log-format json delete --force c1");
	assert_argv(
		runtime_argv_exec(f->runtime, info, "/a/c1", &exec),
		"--root /run/x/runtime --log /l --log-format json exec --process /p --pid-file /pid --cgroup exec-4 c1");
	exec.detach = true;
	exec.cgroup = NULL;
	assert_argv(
		runtime_argv_exec(f->runtime, info, "/a/c1", &exec),
		"--root /run/x/runtime --log /l --log-format json exec --process /p --pid-file /pid --detach c1");
}

static void on_done(void *arg, const struct runtime_result *result, const struct err *err)
{
	struct fixture *f = arg;

	f->done++;
	f->failed = err != NULL;
	f->err = err ? *err : (struct err){ 0 };
	f->result = *result;
}

static struct runtime_call call_of(struct fixture *f)
{
	struct runtime_call call = RUNTIME_CALL_INIT;

	call.info = runtime_default(f->runtime);
	call.id = "c1";
	call.cgroups_path = "/a/c1";
	call.done = on_done;
	call.arg = f;
	return call;
}

static void wait_done(struct fixture *f, int rc, const struct err *err)
{
	int before = f->done;

	if (rc < 0)
		fail_msg("%s", err->msg);
	while (f->done == before)
		loop_turn(f->loop, true);
}

static void gone_is_success_for_delete_and_kill_and_an_answer_for_state(void **arg)
{
	struct fixture *f = *arg;
	struct runtime_call call;
	struct err err;

	script(f, "crun",
	       VERSION_OF(
		       "crun",
		       "1.8.1") "echo '{\"level\":\"error\",\"msg\":\"error opening file `/run/x/runtime/c1/status`: No such file or directory\"}' >&2\n"
	                        "exit 1");
	start(f, 0);
	call = call_of(f);
	wait_done(f, runtime_delete(f->runtime, &call, false, &err), &err);
	assert_false(f->failed);
	wait_done(f, runtime_kill(f->runtime, &call, SIGTERM, false, &err), &err);
	assert_false(f->failed);
	wait_done(f, runtime_state(f->runtime, &call, &err), &err);
	assert_false(f->failed);
	assert_int_equal(f->result.status, RUNTIME_GONE);
	wait_done(f, runtime_update(f->runtime, &call, "{}", 2, &err), &err);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
}

static void a_failure_carries_the_runtimes_own_words(void **arg)
{
	struct fixture *f = *arg;
	struct runtime_call call;
	struct err err;

	script(f, "crun",
	       VERSION_OF(
		       "crun",
		       "1.8.1") "echo '{\"level\":\"error\",\"msg\":\"the moon is full\"}' >&2; exit 1");
	start(f, 0);
	call = call_of(f);
	wait_done(f, runtime_delete(f->runtime, &call, true, &err), &err);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_UNKNOWN);
	assert_string_equal(f->err.msg, "crun delete: the moon is full");
	wait_done(f, runtime_state(f->runtime, &call, &err), &err);
	assert_true(f->failed);
}

static void a_call_past_its_deadline_is_killed(void **arg)
{
	struct fixture *f = *arg;
	struct runtime_call call;
	struct err err;

	script(f, "crun", VERSION_OF("crun", "1.8.1") "exec sleep 100");
	start(f, 0);
	call = call_of(f);
	call.timeout_ms = 50;
	wait_done(f, runtime_kill(f->runtime, &call, SIGTERM, false, &err), &err);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
}

static void arguments_and_input_arrive(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *calls = xasprintf("%s/crun.calls", f->dir),
			  *seen = xasprintf("%s/seen", f->dir);
	cleanup_free char *body = xasprintf(
		VERSION_OF(
			"crun",
			"1.8.1") "case $* in *state*) echo '{\"status\":\"running\",\"pid\":9}';; "
				 "*update*) cat /dev/stdin >%s;; esac",
		seen);
	cleanup_free char *text = NULL, *input = NULL;
	struct runtime_call call;
	struct err err;

	script(f, "crun", body);
	start(f, 0);
	call = call_of(f);
	wait_done(f, runtime_kill(f->runtime, &call, SIGKILL, true, &err), &err);
	wait_done(f, runtime_state(f->runtime, &call, &err), &err);
	assert_int_equal(f->result.status, RUNTIME_RUNNING);
	assert_int_equal(f->result.pid, 9);
	wait_done(f, runtime_update(f->runtime, &call, "{\"memory\":{}}", 13, &err), &err);
	assert_false(f->failed);
	assert_true(fsx_read(AT_FDCWD, calls, 65536, &text, NULL) >= 0);
	assert_non_null(strstr(text, "--root /run/x/runtime --log-format json kill --all c1 9\n"));
	assert_non_null(strstr(
		text,
		"--root /run/x/runtime --log-format json update --resources /dev/stdin c1\n"));
	assert_true(fsx_read(AT_FDCWD, seen, 65536, &input, NULL) >= 0);
	assert_string_equal(input, "{\"memory\":{}}");
}

static void a_program_that_is_not_there_cannot_be_called(void **arg)
{
	struct fixture *f = *arg;
	struct child_args child = CHILD_ARGS_INIT;
	struct runtime_exec exec = { .id = "c1", .process = "/p" };
	struct runtime_call call;
	struct err err;

	start(f, 0);
	call = call_of(f);
	assert_int_equal(runtime_delete(f->runtime, &call, true, &err), -1);
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_null(runtime_exec_spawn(f->runtime, call.info, "/a/c1", &exec, &child, &err));
	assert_int_equal(err.code, CODE_UNAVAILABLE);
}

static void limits_bend_only_what_cannot_be_had(void **arg)
{
	struct host_limits limits = { .oom_score_adj = -10 };

	(void)arg;
	for (int i = 0; i < RLIM_NLIMITS; i++)
		limits.rlimit_max[i] = UINT64_MAX;
	limits.rlimit_max[RLIMIT_NOFILE] = 1024;
	assert_int_equal(runtime_clamp_oom(&limits, -998), -10);
	assert_int_equal(runtime_clamp_oom(&limits, 5), 5);
	assert_int_equal(runtime_clamp_oom(&limits, 5000), 1000);
	limits.can_lower_oom = true;
	assert_int_equal(runtime_clamp_oom(&limits, -998), -998);
	assert_int_equal(runtime_clamp_rlimit(&limits, "RLIMIT_NOFILE", 1048576), 1024);
	assert_int_equal(runtime_clamp_rlimit(&limits, "NOFILE", 512), 512);
	assert_true(runtime_clamp_rlimit(&limits, "RLIMIT_CORE", UINT64_MAX) == UINT64_MAX);
	assert_int_equal(runtime_clamp_rlimit(&limits, "RLIMIT_UNHEARD_OF", 7), 7);
}

static void this_process_has_limits(void **arg)
{
	struct host_limits limits;

	(void)arg;
	host_limits_detect(&limits);
	assert_int_equal(limits.can_lower_oom, limits.cap_sys_resource);
	assert_int_equal(limits.note[0] == '\0', limits.cap_sys_resource);
	assert_true(limits.rlimit_max[RLIMIT_NOFILE] > 0 &&
	            limits.rlimit_max[RLIMIT_NOFILE] < UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(crun_comes_before_runc_and_both_are_handlers, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(runc_serves_where_there_is_no_crun, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_runtime_that_has_not_changed_is_not_asked_again,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_runtime_that_was_replaced_is_asked_again, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(damaged_answers_are_asked_for_again, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			a_remembered_answer_that_makes_no_sense_is_asked_for_again, setup,
			teardown),
		cmocka_unit_test_setup_teardown(an_unusable_runtime_is_not_remembered, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(without_any_runtime_the_paths_tried_are_named,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_runtime_installed_later_is_noticed_every_ten_seconds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_question_still_open_does_not_outlive_the_runtimes,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_runtime_that_does_not_answer_is_a_problem_of_its_handler, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			the_configured_default_is_the_default_even_when_it_is_broken, setup,
			teardown),
		cmocka_unit_test_setup_teardown(command_lines_follow_the_cgroup_path, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			gone_is_success_for_delete_and_kill_and_an_answer_for_state, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_failure_carries_the_runtimes_own_words, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_call_past_its_deadline_is_killed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(arguments_and_input_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(a_program_that_is_not_there_cannot_be_called, setup,
		                                teardown),
		cmocka_unit_test(limits_bend_only_what_cannot_be_had),
		cmocka_unit_test(this_process_has_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
