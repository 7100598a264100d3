/* cmd/check/smoke.c
 *
 * A runtime that fails or hangs leaves processes behind that are nobody's children. So it runs below the init of a PID
 * namespace of its own: when that ends, all ends, and so do the mounts, which are in its mount namespace. What remains is
 * a
 * directory, which the caller removes, and a cgroup, which we do.
 *
 *	smoke_run	waits, kills, removes the cgroup
 *	  init		one container, the reason of a failure into a pipe
 *	    runtime	create, start, state, delete
 *
 * Its cgroup is made by the runtime, not by systemd, which would take the PIDs of the namespace for its own.
 */
#include "cmd/check/smoke.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "cmd/check/scratch.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/bundle.h"
#include "core/run/cgroup.h"
#include "core/run/controller.h"
#include "core/run/embedded.h"
#include "core/run/runtime.h"

#define ID        "smoke"
#define CGROUP_MS 500

/* ------------------------------------------------------------------------------------------- in the namespace */

struct smoke {
	const char *runtime, *dir, *cgroup;
	const char *root; /* where the runtime keeps its state */
	struct bundle bundle;
};

static int prepare(struct smoke *smoke, struct err *err)
{
	const struct namespaces_paths none = { 0 };
	cleanup_free char *pause_dir = xasprintf("%s/pause", smoke->dir), *rootfs = NULL,
			  *json = NULL;
	size_t len;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_sys(err, errno, "mount /proc");
	if (pause_prepare(pause_dir, coracle_pause_elf,
	                  (size_t)(coracle_pause_elf_end - coracle_pause_elf), &rootfs, err) < 0)
		return -1;
	json = sandbox_ops_pause.spec(&(struct pause_spec){ .rootfs = rootfs,
	                                                    .cgroups_path = smoke->cgroup,
	                                                    .pinned = &none },
	                              &len, err);
	if (!json || bundle_names(&smoke->bundle, smoke->dir, ID, err) < 0 ||
	    bundle_create(&smoke->bundle, err) < 0)
		return -1;
	return bundle_write_config(&smoke->bundle, json, len, err);
}

/* What the runtime logged, else how it ended. */
static int failure(const struct smoke *smoke, const char *verb, int status, struct err *err)
{
	cleanup_free char *log = NULL;
	char text[200] = "";

	if (fsx_read(AT_FDCWD, smoke->bundle.log, CHECK_FILE_MAX, &log, NULL) >= 0)
		runtime_error(str_of(log), text, sizeof(text));
	if (!*text && WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by signal %d", WTERMSIG(status));
	else if (!*text)
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	return err_set(err, CODE_UNKNOWN, "%s %s: %s", smoke->runtime, verb, text);
}

/* The container inherits what the runtime has open: never a pipe that somebody reads to its end. */
static int call(const struct smoke *smoke, const char *const *words, struct err *err)
{
	const char *argv[12] = { smoke->runtime,    "--root",       smoke->root, "--log",
		                 smoke->bundle.log, "--log-format", "json" };
	char path[] = CHECK_PATH, *const envp[] = { path, NULL };
	int status;
	pid_t pid;

	for (size_t i = 0; words[i]; i++)
		argv[7 + i] = words[i];
	pid = fork();
	if (pid == 0) {
		execve(smoke->runtime, (char *const *)(uintptr_t)argv, envp);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_sys(err, errno, "run %s", smoke->runtime);
	return status == 0 ? 0 : failure(smoke, words[0], status, err);
}

/* It runs by what the runtime says, and not just by its saying nothing. */
static int look_at_state(const struct smoke *smoke, struct err *err)
{
	const char *const argv[] = { smoke->runtime, "--root", smoke->root, "state", ID, NULL };
	struct runtime_result result = { .status = RUNTIME_GONE };
	cleanup_free char *text = NULL;
	int status = 0;

	if (check_command((char *const *)(uintptr_t)argv, NULL, &text, &status, err) < 0)
		return -1;
	if (status != 0)
		return failure(smoke, "state", status, err);
	if (runtime_parse_state(str_of(text), &result, err) < 0)
		return err_wrap(err, "%s", smoke->runtime);
	if (result.status != RUNTIME_RUNNING)
		return err_set(err, CODE_UNKNOWN, "%s: the container was started and does not run",
		               smoke->runtime);
	return 0;
}

static int run_container(struct smoke *smoke, struct err *err)
{
	const char *const create[] = { "create", "--bundle", smoke->bundle.dir, ID, NULL };
	const char *const start[] = { "start", ID, NULL };
	const char *const delete[] = { "delete", "--force", ID, NULL };

	if (prepare(smoke, err) < 0 || call(smoke, create, err) < 0 ||
	    call(smoke, start, err) < 0 || look_at_state(smoke, err) < 0)
		return -1;
	return call(smoke, delete, err);
}

static NORETURN void run_init(struct smoke *smoke, int fd)
{
	struct err err = { .code = CODE_OK };

	if (run_container(smoke, &err) == 0)
		_exit(0);
	ignore(write_full(fd, err.msg, strlen(err.msg)) < 0); /* the exit status tells, too */
	_exit(1);
}

/* ------------------------------------------------------------------------------------------------------- outside */

static int wait_for(pid_t init, int fd, int limit_ms, struct err *err)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	bool in_time = poll(&pfd, 1, limit_ms) > 0;
	char text[sizeof(err->msg)] = "";
	int status = 0;

	if (!in_time)
		kill(init, SIGKILL);
	if (waitpid(init, &status, 0) == init && status == 0)
		return 0;
	if (!in_time)
		return err_set(err, CODE_DEADLINE_EXCEEDED, "it does not end within %d.%d seconds",
		               limit_ms / 1000, limit_ms % 1000 / 100);
	if (read(fd, text, sizeof(text) - 1) > 0)
		return err_set(err, CODE_UNKNOWN, "%s", text);
	return err_set(err, CODE_UNKNOWN, "killed by signal %d", WTERMSIG(status));
}

/* The runtime does so when it deletes; not one that fails or hangs. */
static void remove_cgroup(const char *cgroup)
{
	struct err unused;
	cleanup(cgroup_host_free) struct cgroup_host *host = cgroup_host_new(&unused);

	if (host && cgroup_exists(host, cgroup) &&
	    cgroup_kill(host, cgroup, CGROUP_MS, &unused) == 0)
		ignore(cgroup_remove(host, cgroup, CGROUP_MS, &unused) < 0); /* cgroups tell */
}

int smoke_run(const char *runtime, const char *dir, int limit_ms, struct err *err)
{
	cleanup_free char *cgroup = xasprintf("/coracle-%s", strrchr(dir, '/') + 2);
	cleanup_free char *root = xasprintf("%s/runtime", dir);
	struct smoke smoke = { .runtime = runtime, .dir = dir, .root = root, .cgroup = cgroup };
	int fds[2], rc;
	pid_t init;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	init = scratch_fork(CLONE_NEWPID | CLONE_NEWNS);
	if (init == 0)
		run_init(&smoke, fds[1]);
	close(fds[1]);
	rc = init < 0 ? err_sys(err, errno, "no PID namespace can be made")
	              : wait_for(init, fds[0], limit_ms, err);
	close(fds[0]);
	remove_cgroup(cgroup);
	return rc;
}
