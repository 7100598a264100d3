/* tests/integration/monitor/test_monitor.c
 *
 * Monitors with real runtimes: crun and runc, as far as they are installed. Needs root. Everything
 * lives below a private directory and in cgroups named after it, and is gone at the end.
 *
 * A container's root file system is empty but for links; /usr and /etc of the host are bound in, so
 * that `sh` is whatever the host has.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/run/embedded.h"
#include "core/run/monitors.h"

#define IDLE_COPIES 50
#define CRUN_PATH   "/usr/bin/crun"

struct fixture {
	const char *runtime; /* path */
	char dir[64];
	char *state, *spool, *rootfs;
	struct loop *loop;
	struct loop_timer tick; /* turns the loop while the test looks at files */
	struct monitors *monitors;
	char *head[4]; /* argv prefix */
	char *ids[IDLE_COPIES + 8];
	size_t nids;
	/* what callbacks said */
	int gone, records;
	struct exit_record record;
};

/* ------------------------------------------------------------------ the loop */

static void on_tick(void *arg)
{
	struct fixture *f = arg;

	loop_timer_arm_in(f->loop, &f->tick, 10);
}

static void on_gone(void *arg, const char *id)
{
	struct fixture *f = arg;

	(void)id;
	f->gone++;
}

static void on_record(void *arg, const char *id, const struct exit_record *rec)
{
	struct fixture *f = arg;

	(void)id;
	f->records++;
	f->record = *rec;
}

static void daemon_open(struct fixture *f)
{
	struct err err = { 0 };
	const struct monitors_args args = {
		.state_dir = f->state,
		.spool_dir = f->spool,
		.elf = coracle_monitor_elf,
		.elf_len = (size_t)(coracle_monitor_elf_end - coracle_monitor_elf),
		.cgroup_fd = -1,
		.gone = on_gone,
		.record = on_record,
		.arg = f,
	};
	struct monitors_args with_loop = args;

	f->loop = loop_new(&err);
	assert_non_null(f->loop);
	loop_timer_init(&f->tick, on_tick, f, "tick");
	loop_timer_arm_in(f->loop, &f->tick, 10);
	with_loop.loop = f->loop;
	f->monitors = monitors_new(&with_loop);
}

static void daemon_close(struct fixture *f)
{
	monitors_free(f->monitors);
	f->monitors = NULL;
	if (f->loop) {
		loop_timer_disarm(f->loop, &f->tick);
		loop_free(f->loop);
	}
	f->loop = NULL;
}

/* Turns the loop until @cond, at most @seconds. */
#define wait_for(f, seconds, cond)                                                                 \
	do {                                                                                       \
		int64_t end_ = clock_boot_ns() + (seconds)*NS_PER_S;                               \
		while (!(cond) && clock_boot_ns() < end_)                                          \
			ignore(loop_turn((f)->loop, true));                                        \
		if (!(cond))                                                                       \
			fail_msg("not within %d s: %s", (int)(seconds), #cond);                    \
	} while (0)

/* ------------------------------------------------------------------ files */

static char *slurp(const char *path)
{
	char *text = NULL;

	if (fsx_read(AT_FDCWD, path, 64 << 20, &text, NULL) < 0)
		return NULL;
	return text;
}

static bool exists(const char *dir, const char *sub, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s/%s", dir, sub, name);

	return access(path, F_OK) == 0;
}

static bool read_record(const struct fixture *f, const char *dir, const char *id,
                        struct exit_record *ret)
{
	cleanup_free char *path = xasprintf("%s/%s/%s", f->spool, dir, id);
	cleanup_free char *data = NULL;
	struct err err;
	size_t len;

	return fsx_read(AT_FDCWD, path, 4096, &data, &len) >= 0 &&
	       exit_record_decode(data, len, ret, &err) == EXIT_RECORD_FILLED;
}

static char *log_path(const struct fixture *f, const char *id)
{
	return xasprintf("%s/log/%s/0.log", f->dir, id);
}

/* What a reader of the log sees of one stream: P pieces joined, a LF behind F. Every line must
 * be well formed. */
static char *log_content(const struct fixture *f, const char *id, const char *stream)
{
	cleanup_free char *path = log_path(f, id);
	cleanup_free char *text = slurp(path);
	struct buf out;
	char *line, *next;

	buf_init(&out, 64 << 20);
	assert_non_null(text);
	for (line = text; *line; line = next) {
		char *end = strchr(line, '\n');
		size_t name = strlen(stream);

		assert_non_null(end);
		*end = '\0';
		next = end + 1;
		assert_true(strlen(line) >= 39 && line[10] == 'T' && line[29] == 'Z' &&
		            line[30] == ' ');
		if (strncmp(line + 31, stream, name) != 0)
			continue;
		assert_true(line[31 + name] == ' ' &&
		            (line[32 + name] == 'F' || line[32 + name] == 'P') &&
		            line[33 + name] == ' ');
		assert_return_code(buf_add_str(&out, line + 34 + name), 0);
		if (line[32 + name] == 'F')
			assert_return_code(buf_add_str(&out, "\n"), 0);
	}
	return buf_take_str(&out);
}

/* ------------------------------------------------------------------ containers */

struct spec {
	const char *script; /* for sh -c */
	const char *arg0;   /* instead of /bin/sh */
	bool tty, host_pid;
	long memory; /* limit in bytes */
};

static char *new_id(struct fixture *f)
{
	char *id = xasprintf("%s-%zu", strrchr(f->dir, '/') + 1, f->nids);

	f->ids[f->nids++] = id;
	return id;
}

static void json_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		if (*s == '\n')
			fputs("\\n", out);
		else
			fputc(*s, out);
	}
	fputc('"', out);
}

static char *make_bundle(const struct fixture *f, const char *id, const struct spec *spec)
{
	char *bundle = xasprintf("%s/bundle/%s", f->dir, id);
	cleanup_free char *path = xasprintf("%s/config.json", bundle);
	FILE *out;

	assert_return_code(fsx_mkdir_p(bundle, 0755), 0);
	out = fopen(path, "w");
	assert_non_null(out);
	fprintf(out,
	        "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"%s\",\"readonly\":true},\"hostname\":\"t\",",
	        f->rootfs);
	fprintf(out,
	        "\"process\":{\"terminal\":%s,\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"noNewPrivileges\":true,"
	        "\"env\":[\"PATH=/usr/bin:/usr/sbin:/bin\",\"TERM=xterm\"],"
	        "\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"]},"
	        "\"args\":[",
	        spec->tty ? "true" : "false");
	json_string(out, spec->arg0 ? spec->arg0 : "/bin/sh");
	fputs(",\"-c\",", out);
	json_string(out, spec->script);
	fputs("]},\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},",
	      out);
	for (size_t i = 0; i < 2; i++)
		fprintf(out,
		        "{\"destination\":\"/%s\",\"type\":\"bind\",\"source\":\"/%s\",\"options\":[\"rbind\",\"ro\"]},",
		        i ? "etc" : "usr", i ? "etc" : "usr");
	fputs("{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"mode=755\"]},"
	      "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],"
	      "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"}",
	      out);
	if (!spec->host_pid)
		fputs(",{\"type\":\"pid\"}", out);
	fprintf(out, "],\"cgroupsPath\":\"/%s\"", id);
	if (spec->memory)
		fprintf(out, ",\"resources\":{\"memory\":{\"limit\":%ld,\"swap\":%ld}}",
		        spec->memory, spec->memory);
	fputs("}}", out);
	assert_int_equal(fclose(out), 0);
	return bundle;
}

/* Every place where the runtimes may have put it. */
static char **cgroup_dirs(const char *id)
{
	static const char *const roots[] = { "cpu",      "cpuacct",   "cpuset",  "memory",
		                             "devices",  "freezer",   "blkio",   "pids",
		                             "systemd",  "hugetlb",   "unified", "net_cls",
		                             "net_prio", "perf_event" };
	char **dirs = xcalloc(ARRAY_SIZE(roots) + 2, sizeof(char *));
	size_t n = 0;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0) {
		dirs[n++] = xasprintf("/sys/fs/cgroup/%s", id);
		return dirs;
	}
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
		if (exists("/sys/fs/cgroup", roots[i], ""))
			dirs[n++] = xasprintf("/sys/fs/cgroup/%s/%s", roots[i], id);
	return dirs;
}

struct outcome {
	int calls;
	bool failed;
	struct err err;
	struct monitor_result result;
};

static void on_done(void *arg, const struct monitor_result *result, const struct err *err)
{
	struct outcome *o = arg;

	o->calls++;
	o->failed = err != NULL;
	o->result = *result;
	o->result.output = NULL;
	if (err)
		o->err = *err;
}

/* Asks for a container and waits for the answer. */
static struct outcome create(struct fixture *f, const char *id, const char *bundle,
                             const struct monitor_start_args *with)
{
	cleanup(strv_free) char **cgroups = cgroup_dirs(id);
	cleanup_free char *log = log_path(f, id);
	struct monitor_start_args args = *with;
	struct outcome o = { 0 };
	struct err err = { 0 };

	args.id = id;
	args.bundle = bundle;
	args.runtime = f->head;
	args.log_path = log;
	args.cgroups = (const char *const *)cgroups;
	args.done = on_done;
	args.arg = &o;
	if (monitor_start(f->monitors, &args, &err) < 0)
		fail_msg("%s", err.msg);
	wait_for(f, 60, o.calls == 1);
	return o;
}

static struct outcome start(struct fixture *f, const char *id)
{
	struct outcome o = { 0 };

	monitor_run_start(f->monitors, id, -1, 30000, on_done, &o);
	wait_for(f, 60, o.calls == 1);
	return o;
}

static const struct monitor_start_args defaults = MONITOR_START_ARGS_INIT;

static char *run(struct fixture *f, const struct spec *spec, const struct monitor_start_args *with)
{
	char *id = new_id(f);
	cleanup_free char *bundle = make_bundle(f, id, spec);
	struct monitor_start_args args = *with;
	struct outcome o;

	args.tty = spec->tty;
	o = create(f, id, bundle, &args);
	if (o.failed)
		fail_msg("create: %s", o.err.msg);
	assert_true(o.result.pid > 0 && o.result.start_ticks > 0);
	assert_true(proc_is_alive(o.result.pid, o.result.start_ticks));
	o = start(f, id);
	if (o.failed)
		fail_msg("start: %s", o.err.msg);
	assert_true(o.result.started_ns > 0);
	return id;
}

static struct exit_record wait_exit(struct fixture *f, const char *id)
{
	struct exit_record rec;

	wait_for(f, 30, read_record(f, "new", id, &rec));
	assert_string_equal(rec.id, id);
	assert_true(rec.exited_ns >= rec.started_ns);
	return rec;
}

static void runtime_delete(struct fixture *f, const char *id)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execl(f->runtime, f->runtime, f->head[1], f->head[2], "delete", "--force", id,
		      NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

/* ------------------------------------------------------------------ set-up */

static int setup_with(void **state, const char *runtime)
{
	static const char *const links[] = { "bin", "sbin", "lib", "lib64" };
	struct fixture *f = xcalloc(1, sizeof(*f));

	*state = f;
	f->runtime = runtime;
	strcpy(f->dir, "/tmp/montest-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->state = xasprintf("%s/run", f->dir);
	f->spool = xasprintf("%s/spool", f->dir);
	f->rootfs = xasprintf("%s/rootfs", f->dir);
	f->head[0] = xstrdup(runtime);
	f->head[1] = xstrdup("--root");
	f->head[2] = xasprintf("%s/runtime", f->dir);
	for (size_t i = 0; i < 2; i++) {
		cleanup_free char *sub = xasprintf("%s/%s", f->spool, i ? "tmp" : "new");

		assert_return_code(fsx_mkdir_p(sub, 0700), 0);
	}
	static const char *const dirs[] = { "usr", "etc", "proc", "dev", "tmp" };
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		cleanup_free char *sub = xasprintf("%s/%s", f->rootfs, dirs[i]);

		assert_return_code(fsx_mkdir_p(sub, 0755), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		cleanup_free char *sub = xasprintf("%s/%s", f->rootfs, links[i]);
		cleanup_free char *to = xasprintf("usr/%s", links[i]);

		assert_return_code(symlink(to, sub), 0);
	}
	daemon_open(f);
	return 0;
}

static int setup_crun(void **state)
{
	return setup_with(state, CRUN_PATH);
}

static const char *runc_path(void)
{
	return access("/usr/bin/runc", X_OK) == 0    ? "/usr/bin/runc"
	       : access("/usr/sbin/runc", X_OK) == 0 ? "/usr/sbin/runc"
	                                             : NULL;
}

static int setup_runc(void **state)
{
	return setup_with(state, runc_path());
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (!f->loop)
		daemon_open(f);
	for (size_t i = 0; i < f->nids; i++) {
		runtime_delete(f, f->ids[i]);
		monitor_forget(f->monitors, f->ids[i]);
	}
	for (int i = 0; i < 30; i++) /* reap */
		ignore(loop_turn(f->loop, true));
	daemon_close(f);
	for (size_t i = 0; i < f->nids; i++) {
		cleanup(strv_free) char **dirs = cgroup_dirs(f->ids[i]);

		for (size_t k = 0; dirs[k]; k++)
			rmdir(dirs[k]);
		free(f->ids[i]);
	}
	ignore(fsx_remove_tree(AT_FDCWD, f->dir));
	free(f->state);
	free(f->spool);
	free(f->rootfs);
	for (size_t i = 0; i < 3; i++)
		free(f->head[i]);
	free(f);
	return 0;
}

/* ------------------------------------------------------------------ exits and output */

static void exit_codes_and_signals_are_recorded(void **state)
{
	static const struct {
		const char *script;
		uint32_t code;
	} cases[] = {
		{ "exit 0", 0 },
		{ "exit 3", 3 },
		{ "exit 255", 255 },
		{ "trap 'exit 9' TERM; kill -TERM $$; sleep 5", 9 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct exit_record rec = wait_exit(
			f, run(f, &(struct spec){ .script = cases[i].script }, &defaults));

		assert_int_equal(rec.exit_code, cases[i].code);
		assert_false(rec.oom);
		assert_true(rec.started_ns > 0);
	}
}

static void a_killed_container_exits_137(void **state)
{
	struct fixture *f = *state;
	char *id = run(f, &(struct spec){ .script = "sleep 100" }, &defaults);
	cleanup_free char *pid_path = xasprintf("%s/monitors/%s.pid", f->state, id);
	cleanup_free char *pid = slurp(pid_path);
	struct exit_record rec;

	assert_return_code(kill(atoi(pid), SIGKILL), 0);
	rec = wait_exit(f, id);
	assert_int_equal(rec.exit_code, 137);
	assert_int_equal(rec.wstatus, SIGKILL);
	wait_for(f, 5, f->gone == 1);
	wait_for(f, 5, !monitor_lock_held(f->monitors, id));
	assert_false(exists(f->spool, "tmp", id));
}

static void the_log_is_whole_when_the_record_appears(void **state)
{
	struct fixture *f = *state;
	char *id = run(
		f,
		&(struct spec){
			.script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; "
				  "echo oops >&2; printf tail" },
		&defaults);
	cleanup_free char *out = NULL, *err = NULL;
	char *at;

	wait_exit(f, id);
	out = log_content(f, id, "stdout");
	err = log_content(f, id, "stderr");
	assert_string_equal(err, "oops\n");
	at = out;
	for (int i = 0; i < 20000; i++) {
		char want[32];
		size_t len = (size_t)snprintf(want, sizeof(want), "line %d\n", i);

		assert_memory_equal(at, want, len);
		at += len;
	}
	assert_string_equal(at, "tail");
}

static void the_container_inherits_nothing_of_ours(void **state)
{
	struct fixture *f = *state;
	char *id = run(
		f,
		&(struct spec){
			.script =
				"for n in /proc/self/fd/*; do echo ${n##*/}; done; cat /proc/self/oom_score_adj; "
				"env; umask" },
		&defaults);
	cleanup_free char *out = NULL;

	wait_exit(f, id);
	out = log_content(f, id, "stdout");
	/* the glob's own descriptor is the 3 */
	assert_true(starts_with(out, "0\n1\n2\n3\n0\n") || starts_with(out, "0\n1\n2\n0\n"));
	assert_null(strstr(out, "NOTIFY_SOCKET"));
	assert_non_null(strstr(out, "0022\n"));
}

static void a_runtime_error_is_told_in_its_own_words(void **state)
{
	struct fixture *f = *state;
	char *id = new_id(f);
	cleanup_free char *bundle =
		make_bundle(f, id, &(struct spec){ .script = "x", .arg0 = "/no/such/program" });
	struct outcome o = create(f, id, bundle, &defaults);

	if (!o.failed) /* runc looks at it here or there, by version */
		o = start(f, id);
	assert_true(o.failed);
	assert_int_equal(o.err.code, CODE_INTERNAL);
	assert_non_null(strstr(o.err.msg, "/no/such/program"));
	assert_non_null(strstr(o.err.msg, strrchr(f->runtime, '/') + 1));
}

static void a_failed_create_leaves_no_record_and_no_monitor(void **state)
{
	struct fixture *f = *state;
	char *id = new_id(f);
	struct outcome o = create(f, id, "/no/such/bundle", &defaults);

	assert_true(o.failed);
	wait_for(f, 5, f->gone == 1);
	wait_for(f, 5, !monitor_lock_held(f->monitors, id));
	assert_false(exists(f->spool, "tmp", id));
	assert_false(exists(f->spool, "new", id));
}

static void a_runtime_that_hangs_is_killed_at_its_deadline(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *script = xasprintf("%s/hang", f->dir);
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	char *id = new_id(f);
	struct outcome o;

	assert_return_code(fsx_write(AT_FDCWD, script, "#!/bin/sh\nsleep 1000\n", 21, 0755), 0);
	free(f->head[0]);
	f->head[0] = xstrdup(script);
	args.timeout_ms = 300;
	o = create(f, id, "/", &args);
	assert_true(o.failed);
	assert_int_equal(o.err.code, CODE_DEADLINE_EXCEEDED);
	assert_non_null(strstr(o.err.msg, "hang create"));
	wait_for(f, 5, !monitor_lock_held(f->monitors, id));
}

static void an_oom_kill_is_flagged(void **state)
{
	struct fixture *f = *state;
	struct exit_record rec = wait_exit(
		f, run(f,
	               &(struct spec){ .script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done",
	                               .memory = 24 << 20 },
	               &defaults));

	assert_int_equal(rec.exit_code, 137);
	assert_true(rec.oom);
}

/* ------------------------------------------------------------------ daemons that die */

/* A daemon of its own process: runs the script up to @started, then waits to be killed. */
static pid_t fork_daemon(struct fixture *f, const char *id, const char *script, bool started,
                         int oplock_fd)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_return_code(pipe(ready), 0);
	daemon_close(f);
	pid = fork();
	if (pid == 0) {
		cleanup_free char *bundle = NULL;
		struct monitor_start_args args = MONITOR_START_ARGS_INIT;
		struct outcome o;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		daemon_open(f);
		bundle = make_bundle(f, id, &(struct spec){ .script = script });
		args.oplock_fd = oplock_fd;
		o = create(f, id, bundle, &args);
		if (!o.failed && started)
			o = start(f, id);
		if (!o.failed)
			ignore(write(ready[1], "x", 1) < 0);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_daemon(pid_t pid)
{
	assert_return_code(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

struct answer {
	int calls;
	bool failed;
	struct monitor_status status;
	char error[256];
};

static void on_status(void *arg, const struct monitor_status *status, const struct err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->failed = err != NULL;
	if (status) {
		a->status = *status;
		snprintf(a->error, sizeof(a->error), "%s", status->error);
	}
}

static struct answer query(struct fixture *f, const char *id)
{
	struct answer a = { 0 };

	monitor_query(f->monitors, id, on_status, &a);
	wait_for(f, 15, a.calls == 1);
	return a;
}

static void a_killed_daemon_costs_no_line_and_no_exit_code(void **state)
{
	struct fixture *f = *state;
	char *id = new_id(f);
	pid_t pid = fork_daemon(
		f, id,
		"i=0; while [ $i -lt 60 ]; do echo line $i; sleep 0.02; i=$((i+1)); done; exit 42",
		true, -1);
	cleanup_free char *out = NULL;
	struct err err = { 0 };
	struct exit_record rec;
	struct answer a;

	kill_daemon(pid);
	daemon_open(f);
	assert_true(monitor_lock_held(f->monitors, id));
	assert_false(monitor_connected(f->monitors, id));
	assert_return_code(monitor_reconnect(f->monitors, id, &err), 0);
	a = query(f, id);
	assert_false(a.failed);
	assert_int_equal(a.status.stage, MONITOR_IS_RUNNING);
	assert_true(proc_is_alive(a.status.pid, a.status.start_ticks));

	rec = wait_exit(f, id);
	assert_int_equal(rec.exit_code, 42);
	assert_int_equal(rec.started_ns, a.status.started_ns);
	wait_for(f, 5, f->gone == 1);
	out = log_content(f, id, "stdout");
	assert_non_null(strstr(out, "line 0\n"));
	assert_non_null(strstr(out, "line 59\n"));
}

static void an_exit_without_any_daemon_is_recorded(void **state)
{
	struct fixture *f = *state;
	char *id = new_id(f);
	pid_t pid = fork_daemon(f, id, "sleep 0.3; exit 7", true, -1);
	struct exit_record rec;

	kill_daemon(pid);
	daemon_open(f);
	rec = wait_exit(f, id);
	assert_int_equal(rec.exit_code, 7);
	wait_for(f, 5, !monitor_lock_held(f->monitors, id));
}

static pid_t parent_of(pid_t pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/stat", pid);
	cleanup_free char *stat = slurp(path);
	int ppid = 0;

	assert_non_null(stat);
	assert_int_equal(sscanf(strrchr(stat, ')') + 2, "%*c %d", &ppid), 1);
	return ppid;
}

static bool has_open(pid_t pid, const char *file)
{
	for (int fd = 0; fd < 64; fd++) {
		cleanup_free char *path = xasprintf("/proc/%d/fd/%d", pid, fd);
		char target[256];
		ssize_t n = readlink(path, target, sizeof(target) - 1);

		if (n > 0) {
			target[n] = '\0';
			if (strcmp(target, file) == 0)
				return true;
		}
	}
	return false;
}

static void a_new_daemon_goes_on_between_create_and_start(void **state)
{
	struct fixture *f = *state;
	char *id = new_id(f);
	cleanup_free char *lock_path = xasprintf("%s/oplock", f->dir);
	int oplock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct err err = { 0 };
	struct answer a;
	struct outcome o;
	pid_t pid;

	assert_return_code(flock(oplock, LOCK_EX), 0);
	pid = fork_daemon(f, id, "exit 5", false, oplock);
	close(oplock);
	kill_daemon(pid);
	daemon_open(f);
	assert_return_code(monitor_reconnect(f->monitors, id, &err), 0);
	a = query(f, id);
	/* With its daemon gone and no call running, the monitor lets the op's lock go by itself.
	 * (A created init may hold it.) */
	wait_for(f, 5, !has_open(parent_of(a.status.pid), lock_path));
	assert_int_equal(a.status.stage, MONITOR_IS_CREATED);
	assert_int_equal(a.status.started_ns, 0);
	o = start(f, id);
	assert_false(o.failed);
	assert_int_equal(wait_exit(f, id).exit_code, 5);
}

static void a_failed_create_is_kept_for_the_next_daemon(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *script = xasprintf("%s/slow", f->dir);
	cleanup_free char *gate = xasprintf("%s/go", f->dir);
	cleanup_free char *text = xasprintf(
		"#!/bin/sh\nwhile [ ! -e %s ]; do sleep 0.02; done\necho no such thing >&2\nexit 1\n",
		gate);
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	struct outcome o = { 0 };
	struct err err = { 0 };
	char *id = new_id(f);
	struct answer a;

	assert_return_code(fsx_write(AT_FDCWD, script, text, strlen(text), 0755), 0);
	free(f->head[0]);
	f->head[0] = xstrdup(script);
	args.id = id;
	args.bundle = "/";
	args.runtime = f->head;
	args.done = on_done;
	args.arg = &o;
	assert_return_code(monitor_start(f->monitors, &args, &err), 0);
	daemon_close(f); /* asks nobody, waits for nothing */
	assert_int_equal(o.calls, 0);
	assert_return_code(fsx_write(AT_FDCWD, gate, "", 0, 0644), 0);

	daemon_open(f);
	assert_return_code(monitor_reconnect(f->monitors, id, &err), 0);
	do
		a = query(f, id);
	while (a.status.stage == MONITOR_IS_CREATING);
	assert_int_equal(a.status.stage, MONITOR_IS_FAILED);
	assert_non_null(strstr(a.error, "no such thing"));
	monitor_release(f->monitors, id);
	wait_for(f, 5, !monitor_lock_held(f->monitors, id));
}

static void a_killed_monitor_fails_what_was_asked_and_frees_its_lock(void **state)
{
	struct fixture *f = *state;
	char *id = run(f, &(struct spec){ .script = "sleep 100" }, &defaults);
	struct answer a = query(f, id);
	cleanup_free char *comm = NULL;
	struct answer late = { 0 };
	pid_t ppid = parent_of(a.status.pid);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", ppid);
	comm = slurp(path);
	assert_string_equal(comm, "coracle-monitor\n");

	assert_return_code(kill(ppid, SIGTERM), 0); /* ignored while the container lives */
	assert_return_code(kill(ppid, SIGSTOP), 0);
	monitor_query(f->monitors, id, on_status, &late);
	assert_return_code(kill(ppid, SIGKILL), 0);
	wait_for(f, 5, late.calls == 1 && f->gone == 1);
	assert_true(late.failed);
	wait_for(f, 5, !monitor_lock_held(f->monitors, id));
	assert_true(proc_is_alive(a.status.pid,
	                          a.status.start_ticks)); /* the container does not mind */
	assert_false(exists(f->spool, "new", id));
	assert_return_code(kill(a.status.pid, SIGKILL), 0);
}

/* ------------------------------------------------------------------ disks */

static void a_full_spool_refuses_the_start_but_not_the_exit(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *filler = xasprintf("%s/tmp/filler", f->spool);
	cleanup_free char *data = xcalloc(1, 1 << 20);
	struct outcome o;
	char *id, *id2;
	int fd;

	assert_return_code(mount("tmpfs", f->spool, "tmpfs", 0, "size=64k"), 0);
	for (size_t i = 0; i < 2; i++) {
		cleanup_free char *sub = xasprintf("%s/%s", f->spool, i ? "tmp" : "new");

		assert_return_code(fsx_mkdir_p(sub, 0700), 0);
	}
	id = run(f, &(struct spec){ .script = "sleep 0.5; exit 11" }, &defaults);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, data, 4096) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);

	id2 = new_id(f);
	o = create(f, id2, "/", &defaults);
	assert_true(o.failed);
	assert_int_equal(o.err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(o.err.msg, "exit record"));

	assert_int_equal(wait_exit(f, id).exit_code, 11);
	assert_return_code(umount2(f->spool, MNT_DETACH), 0);
}

static void a_record_that_cannot_be_renamed_comes_over_the_socket(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *new_dir = xasprintf("%s/new", f->spool);
	struct exit_record rec;
	char *id;

	/* another file system: rename says EXDEV */
	assert_return_code(mount("tmpfs", new_dir, "tmpfs", 0, "size=64k"), 0);
	id = run(f, &(struct spec){ .script = "exit 12" }, &defaults);
	wait_for(f, 10, f->records >= 2); /* and again each second */
	assert_int_equal(f->record.exit_code, 12);
	assert_true(monitor_lock_held(f->monitors, id));
	assert_true(read_record(f, "tmp", id, &rec)); /* filled in place all the same */
	assert_int_equal(rec.exit_code, 12);
	monitor_release(f->monitors, id);
	wait_for(f, 5, f->gone == 1 && !monitor_lock_held(f->monitors, id));
	assert_return_code(umount2(new_dir, MNT_DETACH), 0);
}

static void a_full_log_disk_does_not_stop_the_container(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *dir = xasprintf("%s/log", f->dir);
	cleanup_free char *out = NULL;
	char *id;

	assert_return_code(fsx_mkdir_p(dir, 0755), 0);
	assert_return_code(mount("tmpfs", dir, "tmpfs", 0, "size=64k"), 0);
	id = run(
		f,
		&(struct spec){
			.script =
				"i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 13" },
		&defaults);
	assert_int_equal(wait_exit(f, id).exit_code, 13);
	out = log_content(f, id, "stdout"); /* checks that what is there is well formed */
	assert_true(starts_with(out, "line 0\nline 1\n"));
	assert_null(strstr(out, "line 19999"));
	assert_return_code(umount2(dir, MNT_DETACH), 0);
}

static void reopening_the_log_moves_output_to_the_new_file_at_once(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *old_path = NULL, *path = NULL, *old = NULL, *out = NULL;
	char *id = run(
		f,
		&(struct spec){
			.script =
				"i=0; while [ $i -lt 300 ]; do echo line $i; sleep 0.005; i=$((i+1)); done" },
		&defaults);
	struct outcome o = { 0 };
	struct stat before, after;
	unsigned lines = 0;

	path = log_path(f, id);
	old_path = xasprintf("%s.1", path);
	wait_for(f, 10, stat(path, &before) == 0 && before.st_size > 1000);
	assert_return_code(rename(path, old_path), 0);
	monitor_reopen_log(f->monitors, id, on_done, &o);
	wait_for(f, 10, o.calls == 1);
	assert_false(o.failed);
	assert_return_code(access(path, F_OK), 0);
	assert_return_code(stat(old_path, &before), 0);
	wait_exit(f, id);
	assert_return_code(stat(old_path, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	old = slurp(old_path);
	out = slurp(path);
	for (const char *p = old; *p; p++)
		lines += *p == '\n';
	for (const char *p = out; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 300);
}

/* ------------------------------------------------------------------ terminals, input, attach */

struct client {
	struct monitor_attach *attach;
	struct buf out, err;
	int ended;
	bool failed;
	struct err end_err;
};

static void client_output(void *arg, bool is_stderr, const void *data, size_t len)
{
	struct client *c = arg;

	assert_return_code(buf_add(is_stderr ? &c->err : &c->out, data, len), 0);
}

static void client_end(void *arg, const struct err *err)
{
	struct client *c = arg;

	c->ended++;
	c->failed = err != NULL;
	if (err)
		c->end_err = *err;
}

static const struct monitor_attach_ops client_ops = { .output = client_output, .end = client_end };

static void client_open(struct fixture *f, const char *id, struct client *c, bool want_stdin)
{
	struct err err = { 0 };

	*c = (struct client){ 0 };
	buf_init(&c->out, 64 << 20);
	buf_init(&c->err, 64 << 20);
	c->attach = monitor_attach(f->monitors, id, want_stdin, true, true, &client_ops, c, &err);
	assert_non_null(c->attach);
}

static void client_close(struct client *c)
{
	monitor_attach_free(c->attach);
	buf_release(&c->out);
	buf_release(&c->err);
}

static void a_terminal_works_and_its_log_has_plain_lines(void **state)
{
	struct fixture *f = *state;
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	cleanup_free char *out = NULL;
	struct client c;
	char *id;

	args.want_stdin = true;
	id = run(f,
	         &(struct spec){ .script = "stty -echo; echo ready; read x; stty size; tty; exit 4",
	                         .tty = true },
	         &args);
	client_open(f, id, &c, true);
	wait_for(f, 10, (free(out), out = log_content(f, id, "stdout")) && strstr(out, "ready\n"));
	monitor_attach_resize(c.attach, 123, 45);
	assert_int_equal(monitor_attach_stdin(c.attach, "go\n", 3), 3);
	assert_int_equal(wait_exit(f, id).exit_code, 4);
	wait_for(f, 5, c.ended == 1);
	assert_false(c.failed);
	free(out);
	out = log_content(f, id, "stdout");
	assert_non_null(strstr(out, "45 123\n"));
	assert_non_null(strstr(out, "/dev/pts/0\n"));
	assert_null(strchr(out, '\r'));
	assert_non_null(
		strstr(c.out.data, "45 123\r\n")); /* a client gets what the terminal sent */
	client_close(&c);
}

/* Socket addresses end at 107 bytes; a state directory may be longer. */
static void a_terminal_works_below_a_long_path(void **state)
{
	struct fixture *f = *state;
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	cleanup_free char *out = NULL;
	char *id;

	daemon_close(f);
	free(f->state);
	f->state =
		xasprintf("%s/a-rather-long-name-for-a-directory-that-holds-sockets/and-another-of-"
	                  "the-same-kind-so-that-it-is-enough/run",
	                  f->dir);
	daemon_open(f);
	args.want_stdin = true;
	id = run(f, &(struct spec){ .script = "tty; exit 4", .tty = true }, &args);
	assert_int_equal(wait_exit(f, id).exit_code, 4);
	out = log_content(f, id, "stdout");
	assert_string_equal(out, "/dev/pts/0\n");
}

static void output_without_a_log_is_read_and_dropped(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *bundle = NULL;
	char *id = new_id(f);
	struct outcome o = { 0 };
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	struct err err = { 0 };

	bundle = make_bundle(f, id,
	                     &(struct spec){ .script = "head -c 1000000 /dev/zero; exit 17" });
	args.id = id;
	args.bundle = bundle;
	args.runtime = f->head;
	args.done = on_done;
	args.arg = &o;
	assert_return_code(monitor_start(f->monitors, &args, &err), 0);
	wait_for(f, 60, o.calls == 1);
	assert_false(o.failed);
	o = start(f, id);
	assert_false(o.failed);
	assert_int_equal(wait_exit(f, id).exit_code, 17);
	assert_false(exists(f->dir, "log", id));
}

static void stdin_once_ends_with_the_first_client(void **state)
{
	struct fixture *f = *state;
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	cleanup_free char *big = xcalloc(1, 300001);
	size_t sent = 0;
	struct client c, watcher;
	char *id;

	memset(big, 'x', 300000);
	args.want_stdin = args.stdin_once = true;
	id = run(f, &(struct spec){ .script = "cat; echo done >&2; exit 6" }, &args);
	client_open(f, id, &c, true);
	client_open(f, id, &watcher, false);
	/* more than pipe, monitor and sockets hold at a time */
	while (sent < 300000) {
		sent += monitor_attach_stdin(c.attach, big + sent, 300000 - sent);
		ignore(loop_turn(f->loop, true));
	}
	monitor_attach_stdin_eof(c.attach);
	assert_int_equal(wait_exit(f, id).exit_code, 6);
	wait_for(f, 5, c.ended == 1 && watcher.ended == 1);
	assert_false(c.failed);
	assert_int_equal(c.out.len, 300000);
	assert_string_equal(c.err.data, "done\n");
	assert_memory_equal(c.out.data, big, 300000);
	assert_int_equal(watcher.out.len, 300000);
	client_close(&c);
	client_close(&watcher);
}

static void stdin_stays_open_when_a_client_leaves(void **state)
{
	struct fixture *f = *state;
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	struct client c;
	char *id;

	args.want_stdin = true;
	id = run(f, &(struct spec){ .script = "read a; echo got $a; read b; echo got $b; exit 8" },
	         &args);
	client_open(f, id, &c, true);
	assert_int_equal(monitor_attach_stdin(c.attach, "one\n", 4), 4);
	monitor_attach_stdin_eof(c.attach);
	wait_for(f, 5, c.ended == 1); /* detached */
	assert_false(c.failed);
	client_close(&c);
	client_open(f, id, &c, true);
	assert_int_equal(monitor_attach_stdin(c.attach, "two\n", 4), 4);
	assert_int_equal(wait_exit(f, id).exit_code, 8);
	client_close(&c);
}

static void a_client_that_does_not_read_is_dropped_and_the_log_is_whole(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *out = NULL;
	struct client c;
	char *id = run(
		f,
		&(struct spec){
			.script =
				"sleep 0.3; head -c 6000000 /dev/zero | tr '\\0' 'y' | fold -w 99; exit 2" },
		&defaults);

	client_open(f, id, &c, false);
	ignore(loop_turn(f->loop, true));
	monitor_attach_pause(c.attach, true);
	assert_int_equal(wait_exit(f, id).exit_code, 2);
	monitor_attach_pause(c.attach, false);
	wait_for(f, 5, c.ended == 1);
	assert_true(c.failed);
	assert_int_equal(c.end_err.code, CODE_RESOURCE_EXHAUSTED);
	out = log_content(f, id, "stdout");
	assert_int_equal(strlen(out), 6000000 + 6000000 / 99); /* fold ends no last line */
	client_close(&c);
}

/* ------------------------------------------------------------------ shared PID namespaces */

static bool anybody_sleeps(const char *seconds)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while ((entry = readdir(proc))) {
		char path[300];
		cleanup_free char *line = NULL;
		size_t len = 0;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		if (atoi(entry->d_name) > 0 && fsx_read(AT_FDCWD, path, 4096, &line, &len) >= 0 &&
		    len > 7 && strcmp(line, "sleep") == 0 && strcmp(line + 6, seconds) == 0)
			found = true;
	}
	closedir(proc);
	return found;
}

static void what_outlives_init_in_a_shared_pid_namespace_is_killed(void **state)
{
	struct fixture *f = *state;
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	int64_t before;
	char *id;

	args.kill_cgroup = true;
	before = clock_boot_ns();
	id = run(f, &(struct spec){ .script = "sleep 4711 & sleep 1; exit 21", .host_pid = true },
	         &args);
	wait_for(f, 5, anybody_sleeps("4711"));
	assert_int_equal(wait_exit(f, id).exit_code, 21);
	assert_false(anybody_sleeps("4711"));
	assert_true(clock_boot_ns() - before < 4 * NS_PER_S);
}

static void a_grandchild_that_holds_the_output_does_not_hold_the_exit(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *out = NULL;
	int64_t before;
	char *id = run(
		f, &(struct spec){ .script = "sleep 4712 & echo bye; exit 22", .host_pid = true },
		&defaults);

	before = clock_boot_ns();
	assert_int_equal(wait_exit(f, id).exit_code, 22);
	assert_true(clock_boot_ns() - before < 2 * NS_PER_S);
	out = log_content(f, id, "stdout");
	assert_string_equal(out, "bye\n");
	assert_true(anybody_sleeps("4712")); /* teardown's delete --force ends it */
}

/* ------------------------------------------------------------------ calls, size */

static void a_created_container_is_deleted_through_its_monitor(void **state)
{
	struct fixture *f = *state;
	char *id = new_id(f);
	cleanup_free char *bundle = make_bundle(f, id, &(struct spec){ .script = "sleep 100" });
	struct outcome o = create(f, id, bundle, &defaults);
	char *argv[] = { f->head[0],        f->head[1], f->head[2], (char *)"delete",
		         (char *)"--force", id,         NULL };
	struct outcome deleted = { 0 };
	struct exit_record rec;

	assert_false(o.failed);
	monitor_call(f->monitors, id, argv, -1, 30000, on_done, &deleted);
	wait_for(f, 30, deleted.calls == 1);
	if (deleted.failed)
		fail_msg("%s", deleted.err.msg);
	rec = wait_exit(f, id);
	assert_int_equal(rec.exit_code, 137);
	assert_int_equal(rec.started_ns, 0);
}

static long pss_kib(pid_t pid)
{
	char path[64];
	cleanup_free char *text = NULL;
	char *line;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	text = slurp(path);
	line = text ? strstr(text, "Pss:") : NULL;
	return line ? atol(line + 4) : -1;
}

static void fifty_idle_monitors_take_less_than_40_kib_each(void **state)
{
	struct fixture *f = *state;
	pid_t pids[IDLE_COPIES];
	long sum = 0, most = 0;

	for (int i = 0; i < IDLE_COPIES; i++) {
		struct answer a =
			query(f, run(f, &(struct spec){ .script = "echo hello; exec sleep 1000" },
		                     &defaults));

		pids[i] = parent_of(a.status.pid);
	}
	for (int i = 0; i < IDLE_COPIES; i++) {
		long kib = pss_kib(pids[i]);

		assert_true(kib > 0);
		sum += kib;
		most = MAX(most, kib);
	}
	print_message("PSS of %d monitors: %ld KiB each, %ld KiB the largest\n", IDLE_COPIES,
	              sum / IDLE_COPIES, most);
	assert_true(most <= 40);
}

#define BOTH(name)                                                                                 \
	{                                                                                          \
#name, name, true                                                                  \
	}
#define CRUN(name)                                                                                 \
	{                                                                                          \
#name, name, false                                                                 \
	} /* the runtime plays no part: one is enough */

static const struct {
	const char *name;
	CMUnitTestFunction fn;
	bool both;
} cases[] = {
	BOTH(exit_codes_and_signals_are_recorded),
	BOTH(a_killed_container_exits_137),
	BOTH(the_log_is_whole_when_the_record_appears),
	BOTH(the_container_inherits_nothing_of_ours),
	BOTH(a_runtime_error_is_told_in_its_own_words),
	BOTH(a_failed_create_leaves_no_record_and_no_monitor),
	CRUN(a_runtime_that_hangs_is_killed_at_its_deadline),
	BOTH(an_oom_kill_is_flagged),
	BOTH(a_killed_daemon_costs_no_line_and_no_exit_code),
	CRUN(an_exit_without_any_daemon_is_recorded),
	BOTH(a_new_daemon_goes_on_between_create_and_start),
	CRUN(a_failed_create_is_kept_for_the_next_daemon),
	CRUN(a_killed_monitor_fails_what_was_asked_and_frees_its_lock),
	CRUN(a_full_spool_refuses_the_start_but_not_the_exit),
	CRUN(a_record_that_cannot_be_renamed_comes_over_the_socket),
	CRUN(a_full_log_disk_does_not_stop_the_container),
	CRUN(reopening_the_log_moves_output_to_the_new_file_at_once),
	BOTH(a_terminal_works_and_its_log_has_plain_lines),
	BOTH(a_terminal_works_below_a_long_path),
	CRUN(output_without_a_log_is_read_and_dropped),
	CRUN(stdin_once_ends_with_the_first_client),
	CRUN(stdin_stays_open_when_a_client_leaves),
	CRUN(a_client_that_does_not_read_is_dropped_and_the_log_is_whole),
	BOTH(what_outlives_init_in_a_shared_pid_namespace_is_killed),
	BOTH(a_grandchild_that_holds_the_output_does_not_hold_the_exit),
	BOTH(a_created_container_is_deleted_through_its_monitor),
	CRUN(fifty_idle_monitors_take_less_than_40_kib_each),
};

/* test_monitor [PATTERN]: names begin with "crun: " or "runc: ". */
int main(int argc, char **argv)
{
	struct CMUnitTest tests[2 * ARRAY_SIZE(cases)];
	bool have_crun = access(CRUN_PATH, X_OK) == 0, have_runc = runc_path() != NULL;
	size_t n = 0;

	if (geteuid() != 0 || (!have_crun && !have_runc)) {
		print_message("needs root and crun or runc: skipped\n");
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (have_crun)
			tests[n++] = (struct CMUnitTest){ xasprintf("crun: %s", cases[i].name),
				                          cases[i].fn, setup_crun, teardown, NULL };
		if (have_runc && (cases[i].both || !have_crun))
			tests[n++] = (struct CMUnitTest){ xasprintf("runc: %s", cases[i].name),
				                          cases[i].fn, setup_runc, teardown, NULL };
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests("monitor", tests, n, NULL, NULL);
}
