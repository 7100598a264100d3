#include "cmd/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/image/image_job.h"
#include "core/journal/spool.h"
#include "core/run/cgroup.h"
#include "core/run/embedded.h"

#ifndef CORACLE_VERSION
#error CORACLE_VERSION comes from the Makefile
#endif

/* --- row 1: who else is here? */

static enum exit_status lock_dir(const char *dir, int *ret_fd, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/lock", dir);
	cleanup_close int fd = -1;
	struct stat st;
	char pid[32];
	int rc = fsx_mkdir_p(dir, 0711);
	ssize_t n;

	if (rc < 0) {
		err_sys(err, -rc, "mkdir %s", dir);
		return EXIT_FAILED;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		err_sys(err, errno, "open %s", path);
		return EXIT_FAILED;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? n : 0] = '\0';
		err_set(err, CODE_FAILED_PRECONDITION, "%s is locked by another coracle%s%s", dir,
		        pid[0] ? ", pid " : "", pid);
		return EXIT_LOCKED;
	}
	/* Only a courtesy to whoever finds the lock taken. Cutting a file costs more than all the rest here: not for nothing. */
	n = dprintf(fd, "%d", (int)getpid());
	if (n < 0 || fstat(fd, &st) < 0 || (st.st_size > n && ftruncate(fd, n) < 0))
		log_debug(NULL, "%s: %s", path, strerror(errno));
	*ret_fd = take_fd(&fd);
	return EXIT_OK;
}

static enum exit_status state_lock(struct engine *e, struct err *err)
{
	enum exit_status status = lock_dir(e->config->root, &e->root_lock, err);

	return status != EXIT_OK ? status : lock_dir(e->config->state, &e->state_lock, err);
}

/* --- row 3: the journal */

static int journal_args_init(const struct engine *e, const struct engine_args *args,
                             const char *dir, struct journal_args *ret, struct err *err)
{
	*ret = (struct journal_args){
		.dir = dir,
		.mode = e->mode == ENGINE_INSPECT ? JOURNAL_MEMORY : JOURNAL_SERVE,
		.state = e->state,
		.segment_bytes = e->config->journal_segment_bytes,
		.keep_bytes = e->config->journal_keep_bytes,
		.truncate = args->truncate || e->mode == ENGINE_INSPECT,
	};
	return boot_identity(e->config->root, &ret->boot, err);
}

static enum exit_status journal_status(const struct err *err)
{
	return err_is(err, CODE_FAILED_PRECONDITION) ? EXIT_CONFIG : EXIT_FAILED;
}

/* FIX, before it writes so much as a lock file: is this state ours to repair? */
static enum exit_status check_home(struct engine *e, const struct engine_args *args,
                                   struct err *err)
{
	cleanup(offline_release) struct offline offline = { 0 };
	struct boot now;

	if (boot_identity(e->config->root, &now, err) < 0)
		return EXIT_FAILED;
	if (offline_read(e->config->root, e->config, args->truncate, &offline, err) < 0)
		return journal_status(err);
	e->home = offline.home;
	if (e->home != HOME_AWAY)
		return EXIT_OK;
	err_set(err, CODE_FAILED_PRECONDITION,
	        "%s is the state of another machine, or a copy: it can be looked at, not repaired",
	        e->config->root);
	return EXIT_USAGE;
}

static enum exit_status open_journal(struct engine *e, const struct engine_args *args,
                                     struct err *err)
{
	cleanup_free char *dir = xasprintf("%s/journal", e->config->root);
	struct journal_args ja;

	if (journal_args_init(e, args, dir, &ja, err) < 0)
		return EXIT_FAILED;
	e->journal = journal_open(&ja, &e->load, err);
	if (!e->journal)
		return journal_status(err);
	e->home = home_of(&ja.boot,
	                  e->mode == ENGINE_INSPECT ? &e->state->boot : &e->state->prev_boot);
	return EXIT_OK;
}

/* --- row 6: what operations need */

static void monitor_gone(void *arg, const char *id)
{
	life_monitor_gone(((struct engine *)arg)->life, id);
}

static void monitor_record(void *arg, const char *id, const struct exit_record *rec)
{
	life_monitor_record(((struct engine *)arg)->life, id, rec);
}

static int open_monitors(struct engine *e, struct err *err)
{
	cleanup_free char *spool = xasprintf("%s/spool", e->config->root);
	struct monitors_args args = {
		.loop = e->loop,
		.state_dir = e->config->state,
		.spool_dir = spool,
		.elf = coracle_monitor_elf,
		.elf_len = (size_t)(coracle_monitor_elf_end - coracle_monitor_elf),
		.gone = monitor_gone,
		.record = monitor_record,
		.arg = e,
	};
	struct err why = { 0 };

	if (e->mode != ENGINE_INSPECT &&
	    cgroup_monitors_open(e->cgroups, e->config->state, &e->monitors_cgroup, &why) < 0)
		/* they then live in our own cgroup: a service manager that kills the service kills them too */
		log_warn(NULL, "monitors get no cgroup of their own: %s", why.msg);
	args.cgroup_fd = e->monitors_cgroup;
	e->monitors = monitors_new(&args);
	return e->monitors ? 0 : err_set(err, CODE_INTERNAL, "monitors");
}

/* The pull process gets the proxies, where root certificates are, and nothing else of our environment. */
static char **pull_environment(void)
{
	static const char *const names[] = { "HTTP_PROXY",    "HTTPS_PROXY", "NO_PROXY",
		                             "http_proxy",    "https_proxy", "no_proxy",
		                             "SSL_CERT_FILE", "SSL_CERT_DIR" };
	char **env = xcalloc(ARRAY_SIZE(names) + 1, sizeof(*env));
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);

		if (value)
			env[n++] = xasprintf("%s=%s", names[i], value);
	}
	return env;
}

static struct net_args net_args(const struct engine *e)
{
	return (struct net_args){
		.loop = e->loop,
		.conf_dir = e->config->cni_conf_dir,
		.bin_dirs = e->config->cni_bin_dirs,
		.state_dir = e->config->state,
		.builtin = e->config->cni_builtin,
		.timeout_ms = e->config->cni_timeout_ms,
	};
}

static int open_run(struct engine *e, struct err *err)
{
	struct net_args net = net_args(e);
	cleanup_free char *ops = xasprintf("%s/ops", e->config->state);
	cleanup_free char *answers = xasprintf("%s/runtimes.json", e->config->state);
	int rc;

	e->cgroups = cgroup_host_new(err);
	if (!e->cgroups)
		return err_wrap(err, "cgroups");
	e->runtime = runtime_new(&(struct runtime_args){
		.loop = e->loop,
		.config = e->config,
		.state = e->config->state,
		.cache = e->mode == ENGINE_INSPECT ? NULL : answers,
	});
	if (e->mode != ENGINE_INSPECT) {
		rc = fsx_mkdir_p(ops, 0700);
		if (rc < 0)
			return err_sys(err, -rc, "mkdir %s", ops);
		if (image_dirs_create(e->config->root, err) < 0)
			return -1;
		e->namespaces = namespaces_new(e->loop, e->config->state, err);
		if (!e->namespaces)
			return err_wrap(err, "namespaces");
		e->net = net_new(&net);
	}
	return open_monitors(e, err);
}

static int open_life(struct engine *e, const struct engine_args *args, struct err *err)
{
	cleanup_free char *spool = xasprintf("%s/spool", e->config->root);
	struct life_args life;

	e->spool =
		e->mode == ENGINE_INSPECT ? spool_new_readonly(spool, err) : spool_new(spool, err);
	if (!e->spool)
		return err_wrap(err, "spool");
	e->events = events_new(e->loop);
	e->inbox = inbox_new(e->loop);
	if (open_run(e, err) < 0)
		return -1;
	e->pull_env = pull_environment();
	life = (struct life_args){
		.loop = e->loop,
		.worker = e->worker,
		.config = e->config,
		.state = e->state,
		.journal = e->journal,
		.spool = e->spool,
		.monitors = e->monitors,
		.runtime = e->runtime,
		.net = e->net,
		.namespaces = e->namespaces,
		.cgroups = e->cgroups,
		.events = e->events,
		.inbox = e->inbox,
		.gate = gate_open(),
		.builder = args->builder,
		.pause_elf = coracle_pause_elf,
		.pause_elf_len = (size_t)(coracle_pause_elf_end - coracle_pause_elf),
		.pull_env = e->pull_env,
	};
	e->life = life_new(&life);
	return journal_start(e->journal, e->loop, life_released, e->life, err);
}

static enum replay_mode replay_mode(const struct engine *e)
{
	if (e->mode != ENGINE_INSPECT)
		return REPLAY_SERVE;
	return e->home == HOME_AWAY ? REPLAY_INSPECT_AWAY : REPLAY_INSPECT;
}

enum exit_status engine_open(struct engine *e, const struct engine_args *args, struct err *err)
{
	enum exit_status status = EXIT_FAILED;

	*e = (struct engine){
		.mode = args->mode,
		.config = (struct config *)args->config,
		.root_lock = -1,
		.state_lock = -1,
		.monitors_cgroup = -1,
	};
	replay_report_init(&e->report);
	if (e->mode == ENGINE_FIX) {
		status = check_home(e, args, err);
		if (status != EXIT_OK)
			goto fail;
	}
	if (e->mode != ENGINE_INSPECT) {
		status = state_lock(e, err);
		if (status != EXIT_OK)
			goto fail;
	}
	status = EXIT_FAILED;
	e->loop = loop_new(err);
	e->worker = e->loop ? worker_new(e->loop, err) : NULL;
	if (!e->worker)
		goto fail;
	loop_raise_nofile(e->loop);
	if (e->mode == ENGINE_SERVE) {
		e->listener = listener_unix(e->loop, e->config->listen, err);
		if (!e->listener)
			goto fail;
	}
	e->state = state_new();
	status = open_journal(e, args, err);
	if (status != EXIT_OK)
		goto fail;
	status = EXIT_FAILED;
	if (open_life(e, args, err) < 0)
		goto fail;
	if (replay_run(e->life, replay_mode(e), &e->report, args->recovered, args->arg, err) < 0)
		goto fail;
	return EXIT_OK;
fail:
	e->config = NULL; /* the caller's, as before */
	engine_close(e);
	return status;
}

void engine_reconfigure(struct engine *e)
{
	struct net_args net = net_args(e);

	log_set_level(e->config->log_level);
	net_configure(e->net, &net);
}

void engine_close(struct engine *e)
{
	/* the journal first: what was appended is on disk before anything else goes */
	if (e->journal)
		journal_close(e->journal);
	worker_free(e->worker); /* its jobs tell operations how they ended, also the last ones */
	life_free(e->life);
	monitors_free(e->monitors);
	net_free(e->net);
	namespaces_free(e->namespaces);
	runtime_free(e->runtime);
	inbox_free(e->inbox);
	events_free(e->events);
	spool_free(e->spool);
	state_free(e->state);
	listener_free(e->listener);
	cgroup_host_free(e->cgroups);
	loop_free(e->loop);
	replay_report_release(&e->report);
	strv_free(e->pull_env);
	config_free(e->config);
	cgroup_monitors_close(e->monitors_cgroup);
	if (e->state_lock >= 0)
		close(e->state_lock);
	if (e->root_lock >= 0)
		close(e->root_lock);
}
