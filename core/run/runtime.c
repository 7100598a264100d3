/* core/run/runtime.c
 *
 * Handlers and their probe, command lines, calls. What runtimes can do and what they print: runtime_text.c.
 *
 * The probe runs before anything is served, so it has a loop of its own that turns until every child has answered or the
 * time is up: start-up stays a straight line, and nobody else's callback can run in the middle of it.
 */
#include "core/run/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/run/cgroup.h"
#include "core/run/probe_cache.h"

#define PROBE_MS             5000
#define REFRESH_NS           (10 * NS_PER_S)
#define CALL_MS              60000
#define OUTPUT_MAX           (256 * 1024)
#define CAP_SYS_RESOURCE_BIT 24
#define OOM_ADJ_MIN          (-1000)
#define OOM_ADJ_MAX          1000

struct probe;

struct runtime {
	struct loop *loop;
	char *root; /* <state>/runtime */
	char *path;
	char *cache_path; /* NULL: none */
	int64_t probe_ms;
	struct runtime_info *infos;
	char **wanted; /* as configured, by index: a path or a name */
	struct probe *probes;
	size_t count, dflt;
	int64_t refreshed_ns;
	struct host_limits limits;
};

/* ----------------------------------------------------------------------------------------------------- host limits */

static bool has_cap_sys_resource(void)
{
	cleanup_free char *text = NULL;
	struct str line, rest;

	if (fsx_read(AT_FDCWD, "/proc/self/status", 65536, &text, NULL) < 0)
		return false;
	rest = str_of(text);
	while (rest.len > 0) {
		str_cut(rest, '\n', &line, &rest);
		if (str_starts(line,
		               "CapEff:")) /* its text ends with the line: strtoull stops there */
			return (strtoull(line.p + strlen("CapEff:"), NULL, 16) >>
			                CAP_SYS_RESOURCE_BIT &
			        1) != 0;
	}
	return false;
}

static bool read_number(const char *path, int64_t *ret)
{
	cleanup_free char *text = NULL;

	return fsx_read(AT_FDCWD, path, 64, &text, NULL) >= 0 &&
	       str_i64(str_trim(str_of(text)), INT64_MIN, INT64_MAX, ret) == 0;
}

void host_limits_detect(struct host_limits *ret)
{
	int64_t number;

	*ret = (struct host_limits){ .cap_sys_resource = has_cap_sys_resource() };
	ret->can_lower_oom = ret->cap_sys_resource;
	if (read_number("/proc/self/oom_score_adj", &number) && number >= OOM_ADJ_MIN &&
	    number <= OOM_ADJ_MAX)
		ret->oom_score_adj = (int)number;
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit;

		ret->rlimit_max[i] = UINT64_MAX;
		if (!ret->cap_sys_resource && getrlimit(i, &limit) == 0 &&
		    limit.rlim_max != RLIM_INFINITY)
			ret->rlimit_max[i] = limit.rlim_max;
	}
	/* A wall for root, too. */
	if (read_number("/proc/sys/fs/nr_open", &number) && number > 0)
		ret->rlimit_max[RLIMIT_NOFILE] =
			MIN(ret->rlimit_max[RLIMIT_NOFILE], (uint64_t)number);
	if (!ret->cap_sys_resource)
		ignore(str_format(
			       ret->note, sizeof(ret->note),
			       "no CAP_SYS_RESOURCE: containers get no oom_score_adj below %d and no resource limit above ours "
			       "(open files: %llu)",
			       ret->oom_score_adj,
			       (unsigned long long)ret->rlimit_max[RLIMIT_NOFILE]) < 0);
}

int runtime_clamp_oom(const struct host_limits *limits, int adj)
{
	adj = MIN(MAX(adj, OOM_ADJ_MIN), OOM_ADJ_MAX);
	return limits->can_lower_oom ? adj : MAX(adj, limits->oom_score_adj);
}

uint64_t runtime_clamp_rlimit(const struct host_limits *limits, const char *name, uint64_t value)
{
	static const struct {
		const char *name;
		int which;
	} names[] = {
		{ "CPU", RLIMIT_CPU },           { "FSIZE", RLIMIT_FSIZE },
		{ "DATA", RLIMIT_DATA },         { "STACK", RLIMIT_STACK },
		{ "CORE", RLIMIT_CORE },         { "RSS", RLIMIT_RSS },
		{ "NPROC", RLIMIT_NPROC },       { "NOFILE", RLIMIT_NOFILE },
		{ "MEMLOCK", RLIMIT_MEMLOCK },   { "AS", RLIMIT_AS },
		{ "LOCKS", RLIMIT_LOCKS },       { "SIGPENDING", RLIMIT_SIGPENDING },
		{ "MSGQUEUE", RLIMIT_MSGQUEUE }, { "NICE", RLIMIT_NICE },
		{ "RTPRIO", RLIMIT_RTPRIO },     { "RTTIME", RLIMIT_RTTIME },
	};

	if (starts_with(name, "RLIMIT_"))
		name += strlen("RLIMIT_");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(name, names[i].name))
			return MIN(value, limits->rlimit_max[names[i].which]);
	return value;
}

/* ------------------------------------------------------------------------------------------------------- programs */

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Absolute path of @wanted, or NULL with @problem a heap sentence. */
static char *find_program(const char *wanted, const char *search, char **problem)
{
	struct str dir, rest = str_of(search);

	if (wanted[0] == '/') {
		if (is_program(wanted))
			return xstrdup(wanted);
		*problem = xasprintf("%s is not an executable file", wanted);
		return NULL;
	}
	if (strchr(wanted, '/')) {
		*problem = xasprintf("%s is neither an absolute path nor a program's name", wanted);
		return NULL;
	}
	while (rest.len > 0) {
		cleanup_free char *path = NULL;

		str_cut(rest, ':', &dir, &rest);
		if (dir.len == 0 || dir.p[0] != '/')
			continue;
		path = xasprintf(STR_FMT "/%s", STR_ARG(dir), wanted);
		if (is_program(path))
			return take_ptr(path);
	}
	*problem = xasprintf("%s was not found in %s", wanted, search);
	return NULL;
}

static void info_clear(struct runtime_info *info)
{
	free(info->path);
	free(info->program);
	free(info->version);
	free(info->problem);
	free(info->features_json);
	*info = (struct runtime_info){ .name = info->name, .sandbox = info->sandbox };
}

static void locate(struct runtime *runtime, size_t i)
{
	struct runtime_info *info = &runtime->infos[i];
	char *problem = NULL;

	info_clear(info);
	info->path = find_program(runtime->wanted[i], runtime->path, &problem);
	info->problem = problem;
}

/* ----------------------------------------------------------------------------------------------------------- probe */

/* Both questions to one handler; features may fail, a version must come. */
struct probe {
	struct runtime *runtime;
	size_t index;
	int pending;      /* answers to come */
	struct stat file; /* of the program, before it was asked */
	struct {
		struct child_args args;
		struct child *child; /* while it runs */
		char *argv[3];
		char *text;   /* stdout; NULL: failed */
		bool refused; /* it ran, and said no */
		struct err err;
	} ask[2];
};

enum { ASK_VERSION, ASK_FEATURES };

/* For the next start. Only what is final: a program that was killed or hung may answer another time. */
static void remember(const struct probe *probe, const struct runtime_info *info)
{
	const struct runtime *runtime = probe->runtime;
	cleanup(probe_cache_free) struct probe_cache *cache = NULL;
	struct stat now;

	if (!runtime->cache_path || !probe->file.st_ino || !probe->ask[ASK_VERSION].text ||
	    (!probe->ask[ASK_FEATURES].text && !probe->ask[ASK_FEATURES].refused) ||
	    stat(info->path, &now) < 0 || now.st_ino != probe->file.st_ino ||
	    now.st_dev != probe->file.st_dev) /* which of the two did answer? */
		return;
	cache = probe_cache_open(runtime->cache_path);
	probe_cache_put(cache, info->path, &probe->file, probe->ask[ASK_VERSION].text,
	                probe->ask[ASK_FEATURES].text);
	probe_cache_save(cache);
}

static void probe_conclude(struct probe *probe)
{
	struct runtime_info *info = &probe->runtime->infos[probe->index];
	struct err err = { 0 };

	if (!probe->ask[ASK_VERSION].text)
		info->problem = xstrdup(probe->ask[ASK_VERSION].err.msg);
	else if (runtime_parse_version(str_of(probe->ask[ASK_VERSION].text), info, &err) < 0)
		info->problem = xasprintf("%s --version: %s", info->path, err.msg);
	else
		remember(probe, info);
	if (!info->problem && probe->ask[ASK_FEATURES].text &&
	    runtime_parse_features(str_of(probe->ask[ASK_FEATURES].text), info, &err) == 0)
		info->features_json = take_ptr(probe->ask[ASK_FEATURES].text);
	free(probe->ask[ASK_VERSION].text);
	free(probe->ask[ASK_FEATURES].text);
	probe->ask[ASK_VERSION].text = probe->ask[ASK_FEATURES].text = NULL;
}

static void probe_answer(struct probe *probe, int which, const struct child_result *result)
{
	probe->ask[which].child = NULL;
	if (child_check(&probe->ask[which].args, result, &probe->ask[which].err) == 0)
		probe->ask[which].text = xstrndup(result->out, result->out_len);
	else
		probe->ask[which].refused = WIFEXITED(result->wstatus) && !result->stuck &&
		                            !result->timed_out && !result->cancelled;
	if (--probe->pending == 0)
		probe_conclude(probe);
}

static void on_version(void *arg, const struct child_result *result)
{
	probe_answer(arg, ASK_VERSION, result);
}

static void on_features(void *arg, const struct child_result *result)
{
	probe_answer(arg, ASK_FEATURES, result);
}

static void probe_start(struct runtime *runtime, struct loop *loop, size_t i)
{
	static const char *const words[] = {
		[ASK_VERSION] = "--version", [ASK_FEATURES] = "features"
	};
	struct runtime_info *info = &runtime->infos[i];
	struct probe *probe = &runtime->probes[i];

	*probe = (struct probe){ .runtime = runtime, .index = i, .pending = 2 };
	if (stat(info->path, &probe->file) < 0)
		probe->file.st_ino = 0;
	for (int a = 0; a < 2; a++) {
		struct child_args *args = &probe->ask[a].args;

		*args = (struct child_args)CHILD_ARGS_INIT;
		probe->ask[a].argv[0] = info->path;
		probe->ask[a].argv[1] = (char *)(uintptr_t)words[a];
		args->name = info->path;
		args->path = info->path;
		args->argv = probe->ask[a].argv;
		args->capture_out = args->capture_err = true;
		args->max_output = OUTPUT_MAX;
		args->timeout_ms = runtime->probe_ms;
		args->done = a == ASK_VERSION ? on_version : on_features;
		args->arg = probe;
		probe->ask[a].child = child_spawn(loop, args, &probe->ask[a].err);
		if (!probe->ask[a].child && --probe->pending == 0)
			probe_conclude(probe);
	}
}

static bool probes_pending(const struct runtime *runtime)
{
	for (size_t i = 0; i < runtime->count; i++)
		if (runtime->probes[i].pending > 0)
			return true;
	return false;
}

static void on_time_up(void *arg)
{
	bool *time_up = arg;

	*time_up = true;
}

/* Handlers whose program has answered an earlier start; the others are left to be asked. */
static size_t recall_all(struct runtime *runtime)
{
	cleanup(probe_cache_free) struct probe_cache *cache =
		runtime->cache_path ? probe_cache_open(runtime->cache_path) : NULL;
	size_t unknown = 0;

	for (size_t i = 0; i < runtime->count; i++) {
		struct probe *probe = &runtime->probes[i];
		const char *path = runtime->infos[i].path;

		if (!path)
			continue;
		*probe = (struct probe){ .runtime = runtime, .index = i };
		if (cache && stat(path, &probe->file) == 0 &&
		    probe_cache_find(cache, path, &probe->file, &probe->ask[ASK_VERSION].text,
		                     &probe->ask[ASK_FEATURES].text)) {
			probe->file.st_ino = 0; /* nothing new to remember */
			probe_conclude(probe);
		}
		unknown += !runtime->infos[i].version;
	}
	return unknown;
}

/* Ask all, wait for all; who has not answered by then has a problem, and its child is left to its fate. */
static void probe_all(struct runtime *runtime)
{
	bool time_up = false;
	struct loop_timer timer;
	struct err err = { 0 };
	struct loop *loop;

	if (recall_all(runtime) == 0)
		return;
	loop = loop_new(&err);
	for (size_t i = 0; i < runtime->count; i++) {
		if (!runtime->infos[i].path || runtime->infos[i].version)
			continue;
		if (runtime->infos[i].problem) { /* a remembered answer that is none */
			free(runtime->infos[i].problem);
			runtime->infos[i].problem = NULL;
		}
		if (!loop)
			runtime->infos[i].problem =
				xasprintf("%s could not be asked for its version: %s",
			                  runtime->infos[i].path, err.msg);
		else
			probe_start(runtime, loop, i);
	}
	if (!loop)
		return;
	/* A little later than the children's own deadlines, which give the better message. */
	loop_timer_init(&timer, on_time_up, &time_up, "runtime probe");
	loop_timer_arm_in(loop, &timer, runtime->probe_ms + 500);
	while (probes_pending(runtime) && !time_up)
		loop_turn(loop, true);
	loop_timer_disarm(loop, &timer);
	for (size_t i = 0; i < runtime->count; i++) {
		struct probe *probe = &runtime->probes[i];

		if (probe->pending == 0)
			continue;
		if (!probe->ask[ASK_VERSION].text && probe->ask[ASK_VERSION].err.code == CODE_OK)
			err_set(&probe->ask[ASK_VERSION].err, CODE_DEADLINE_EXCEEDED,
			        "%s: no answer after %g s, and it cannot be killed",
			        runtime->infos[i].path, (double)runtime->probe_ms / 1000);
		probe->pending = 0;
		probe->ask[ASK_VERSION].child = probe->ask[ASK_FEATURES].child = NULL;
		probe_conclude(probe);
	}
	loop_free(loop);
}

void runtime_refresh(struct runtime *runtime)
{
	int64_t now_ns = clock_boot_ns();

	if (now_ns - runtime->refreshed_ns < REFRESH_NS)
		return;
	runtime->refreshed_ns = now_ns;
	for (size_t i = 0; i < runtime->count; i++) {
		if (!runtime->infos[i].problem || runtime->probes[i].pending > 0)
			continue;
		locate(runtime, i);
		if (!runtime->infos[i].path)
			continue;
		/* Unusable until it has answered. */
		runtime->infos[i].problem = NULL;
		probe_start(runtime, runtime->loop, i);
	}
}

/* ------------------------------------------------------------------------------------------------------- handlers */

static void add_handler(struct runtime *runtime, const char *name, const char *wanted,
                        const char *sandbox)
{
	size_t n = runtime->count + 1;

	runtime->infos = xrealloc(runtime->infos, n, sizeof(*runtime->infos));
	runtime->wanted = xrealloc(runtime->wanted, n, sizeof(*runtime->wanted));
	runtime->infos[runtime->count] = (struct runtime_info){
		.name = xstrdup(name),
		.sandbox = xstrdup(sandbox && sandbox[0] ? sandbox : "pinned"),
	};
	runtime->wanted[runtime->count] = xstrdup(wanted && wanted[0] ? wanted : name);
	runtime->count = n;
	locate(runtime, runtime->count - 1);
}

static void drop_last(struct runtime *runtime)
{
	size_t i = --runtime->count;

	info_clear(&runtime->infos[i]);
	free(runtime->infos[i].name);
	free(runtime->infos[i].sandbox);
	free(runtime->wanted[i]);
}

/* Nothing configured: both well-known programs are handlers if they are there, and crun comes first. */
static void add_usual(struct runtime *runtime)
{
	static const char *const usual[] = { "crun", "runc" };

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
		add_handler(runtime, usual[i], usual[i], NULL);
		if (!runtime->infos[runtime->count - 1].path)
			drop_last(runtime);
	}
	if (runtime->count > 0)
		return;
	add_handler(runtime, usual[0], usual[0], NULL);
	free(runtime->infos[0].problem);
	runtime->infos[0].problem =
		xasprintf("no OCI runtime: neither crun nor runc was found in %s", runtime->path);
}

static void choose_default(struct runtime *runtime, const char *name)
{
	for (size_t i = 0; i < runtime->count; i++) {
		if (name && streq(runtime->infos[i].name, name)) {
			runtime->dflt = i;
			return;
		}
	}
	/* None named, or (config.c said so) a name that there is not: the first that works. */
	for (size_t i = 0; i < runtime->count; i++) {
		if (!runtime->infos[i].problem) {
			runtime->dflt = i;
			return;
		}
	}
}

struct runtime *runtime_new(const struct runtime_args *args)
{
	struct runtime *runtime = xcalloc(1, sizeof(*runtime));

	ensure(args->loop && args->config && args->state && args->state[0] == '/');
	*runtime = (struct runtime){
		.loop = args->loop,
		.root = xasprintf("%s/runtime", args->state),
		.path = args->path ? xstrdup(args->path) : runtime_search_path(getenv("PATH")),
		.cache_path = xstrdup(args->cache),
		.probe_ms = args->probe_ms > 0 ? args->probe_ms : PROBE_MS,
	};
	host_limits_detect(&runtime->limits);
	for (size_t i = 0; i < args->config->nruntimes; i++) {
		const struct config_runtime *configured = &args->config->runtimes[i];

		add_handler(runtime, configured->name, configured->path, configured->sandbox);
	}
	if (runtime->count == 0)
		add_usual(runtime);
	runtime->probes = xcalloc(runtime->count, sizeof(*runtime->probes));
	probe_all(runtime);
	runtime->refreshed_ns = clock_boot_ns();
	choose_default(runtime, args->config->default_runtime);
	return runtime;
}

/* Only a refresh can still be asking. */
static void probe_abandon(struct probe *probe)
{
	for (size_t a = 0; a < ARRAY_SIZE(probe->ask); a++) {
		if (probe->ask[a].child) {
			child_kill(probe->ask[a].child);
			child_detach(probe->ask[a].child);
		}
		free(probe->ask[a].text);
	}
}

void runtime_free(struct runtime *runtime)
{
	if (!runtime)
		return;
	for (size_t i = 0; i < runtime->count; i++)
		probe_abandon(&runtime->probes[i]);
	while (runtime->count > 0)
		drop_last(runtime);
	free(runtime->infos);
	free(runtime->wanted);
	free(runtime->probes);
	free(runtime->root);
	free(runtime->path);
	free(runtime->cache_path);
	free(runtime);
}

const struct runtime_info *runtime_default(const struct runtime *runtime)
{
	return &runtime->infos[runtime->dflt];
}

size_t runtime_count(const struct runtime *runtime)
{
	return runtime->count;
}

const struct runtime_info *runtime_at(const struct runtime *runtime, size_t i)
{
	ensure(i < runtime->count);
	return &runtime->infos[i];
}

const struct runtime_info *runtime_find(const struct runtime *runtime, const char *handler,
                                        struct err *err)
{
	cleanup(buf_release) struct buf names = { 0 };

	if (!handler || !handler[0])
		return runtime_default(runtime);
	for (size_t i = 0; i < runtime->count; i++)
		if (streq(runtime->infos[i].name, handler))
			return &runtime->infos[i];
	buf_init(&names, 120);
	for (size_t i = 0; i < runtime->count; i++)
		if (buf_printf(&names, "%s%s", i ? ", " : "", runtime->infos[i].name) < 0)
			break;
	err_set(err, CODE_NOT_FOUND, "runtime handler \"%.60s\" is not configured (configured: %s)",
	        handler, names.data ? names.data : "none");
	return NULL;
}

int runtime_usable(const struct runtime_info *info, struct err *err)
{
	if (info->problem)
		return err_set(err, CODE_UNAVAILABLE, "runtime handler \"%s\": %s", info->name,
		               info->problem);
	if (!info->version)
		return err_set(err, CODE_UNAVAILABLE,
		               "runtime handler \"%s\": %s has not told its version yet",
		               info->name, or_empty(info->path));
	return 0;
}

const struct host_limits *runtime_host_limits(const struct runtime *runtime)
{
	return &runtime->limits;
}

/* -------------------------------------------------------------------------------------------------- command lines */

struct argv {
	char **items;
	size_t count;
};

static void argv_add(struct argv *argv, const char *word)
{
	argv->items = xrealloc(argv->items, argv->count + 2, sizeof(*argv->items));
	argv->items[argv->count++] = xstrdup(word);
	argv->items[argv->count] = NULL;
}

static void argv_option(struct argv *argv, const char *option, const char *value)
{
	if (!value)
		return;
	argv_add(argv, option);
	argv_add(argv, value);
}

static struct argv argv_head(const struct runtime *runtime, const struct runtime_info *info,
                             const char *cgroups_path)
{
	struct argv argv = { 0 };

	argv_add(&argv, info->path ? info->path : info->name);
	argv_option(&argv, "--root", runtime->root);
	if (cgroups_path && cgroup_path_is_systemd(cgroups_path))
		argv_add(&argv, "--systemd-cgroup");
	return argv;
}

static struct argv argv_verb(const struct runtime *runtime, const struct runtime_info *info,
                             const char *cgroups_path, const char *log, const char *verb)
{
	struct argv argv = argv_head(runtime, info, cgroups_path);

	argv_option(&argv, "--log", log);
	argv_option(&argv, "--log-format", "json");
	argv_add(&argv, verb);
	return argv;
}

char **runtime_argv_head(const struct runtime *runtime, const struct runtime_info *info,
                         const char *cgroups_path)
{
	return argv_head(runtime, info, cgroups_path).items;
}

char **runtime_argv_create(const struct runtime *runtime, const struct runtime_info *info,
                           const char *cgroups_path, const struct runtime_create *create)
{
	struct argv argv = argv_verb(runtime, info, cgroups_path, create->log, "create");

	argv_option(&argv, "--bundle", create->bundle);
	argv_option(&argv, "--pid-file", create->pid_file);
	argv_option(&argv, "--console-socket", create->console_socket);
	argv_add(&argv, create->id);
	return argv.items;
}

char **runtime_argv_start(const struct runtime *runtime, const struct runtime_info *info,
                          const char *cgroups_path, const char *id, const char *log)
{
	struct argv argv = argv_verb(runtime, info, cgroups_path, log, "start");

	argv_add(&argv, id);
	return argv.items;
}

char **runtime_argv_delete(const struct runtime *runtime, const struct runtime_info *info,
                           const char *cgroups_path, const char *id, bool force, const char *log)
{
	struct argv argv = argv_verb(runtime, info, cgroups_path, log, "delete");

	if (force)
		argv_add(&argv, "--force");
	argv_add(&argv, id);
	return argv.items;
}

char **runtime_argv_exec(const struct runtime *runtime, const struct runtime_info *info,
                         const char *cgroups_path, const struct runtime_exec *exec)
{
	struct argv argv = argv_verb(runtime, info, cgroups_path, exec->log, "exec");

	argv_option(&argv, "--process", exec->process);
	argv_option(&argv, "--pid-file", exec->pid_file);
	argv_option(&argv, "--console-socket", exec->console_socket);
	argv_option(&argv, "--cgroup", exec->cgroup);
	if (exec->detach)
		argv_add(&argv, "--detach");
	argv_add(&argv, exec->id);
	return argv.items;
}

/* ---------------------------------------------------------------------------------------------------------- calls */

enum verb { VERB_DELETE, VERB_KILL, VERB_STATE, VERB_UPDATE };

static const char *const verbs[] = {
	[VERB_DELETE] = "delete",
	[VERB_KILL] = "kill",
	[VERB_STATE] = "state",
	[VERB_UPDATE] = "update",
};

struct job {
	enum verb verb;
	struct child_args child;
	char **argv;
	char *name;
	char *input;
	runtime_done_fn done;
	void *arg;
};

static void job_free(struct job *job)
{
	if (!job)
		return;
	strv_free(job->argv);
	free(job->name);
	free(job->input);
	free(job);
}

DEFINE_CLEANUP_PTR(struct job, job_free);

/* A failed call that leaves things as they were asked for is a success. */
static bool is_fine_anyway(enum verb verb, const char *text, struct runtime_result *result)
{
	switch (verb) {
	case VERB_DELETE:
		return runtime_error_is_unknown(text);
	case VERB_KILL:
		return runtime_error_is_unknown(text) || runtime_error_is_ended(text);
	case VERB_STATE:
		result->status = RUNTIME_GONE;
		return runtime_error_is_unknown(text);
	case VERB_UPDATE:
		break;
	}
	return false;
}

static int judge(const struct job *job, const struct child_result *child,
                 struct runtime_result *result, struct err *err)
{
	char text[512]; /* with a path in it that must not be cut */

	if (child_check(&job->child, child, err) == 0) {
		if (job->verb != VERB_STATE)
			return 0;
		if (runtime_parse_state((struct str){ child->out, child->out_len }, result, err) <
		    0)
			return err_wrap(err, "%s", job->name);
		return 0;
	}
	if (child->stuck || child->timed_out || child->cancelled)
		return -1;
	runtime_error((struct str){ child->errout, child->errout_len }, text, sizeof(text));
	if (text[0] == '\0')
		return -1;
	if (is_fine_anyway(job->verb, text, result))
		return 0;
	return err_set(err, runtime_error_is_unknown(text) ? CODE_NOT_FOUND : CODE_UNKNOWN,
	               "%s: %s", job->name, text);
}

static void job_done(void *arg, const struct child_result *child)
{
	cleanup(job_free) struct job *job = arg;
	struct runtime_result result = { 0 };
	struct err err = { 0 };
	bool failed = judge(job, child, &result, &err) < 0;

	job->done(job->arg, &result, failed ? &err : NULL);
}

/* Takes @argv and @input. */
static int job_start(struct runtime *runtime, const struct runtime_call *call, enum verb verb,
                     struct argv argv, char *input, size_t input_len, struct err *err)
{
	cleanup(job_free) struct job *job = xcalloc(1, sizeof(*job));

	ensure(call->info && call->id && call->done);
	*job = (struct job){
		.verb = verb,
		.child = CHILD_ARGS_INIT,
		.argv = argv.items,
		.name = xasprintf("%s %s",
		                  call->info->program ? call->info->program : call->info->name,
		                  verbs[verb]),
		.input = input,
		.done = call->done,
		.arg = call->arg,
	};
	/* An unusable handler may still have to delete what it made: only a program that is not there cannot be called. */
	if (!call->info->path)
		return err_set(err, CODE_UNAVAILABLE, "runtime handler \"%s\": %s",
		               call->info->name, or_empty(call->info->problem));
	job->child.name = job->name;
	job->child.path = job->argv[0];
	job->child.argv = job->argv;
	job->child.input = job->input;
	job->child.input_len = input_len;
	job->child.capture_out = job->child.capture_err = true;
	job->child.max_output = OUTPUT_MAX;
	job->child.oplock_fd = call->oplock_fd;
	job->child.timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : CALL_MS;
	job->child.done = job_done;
	job->child.arg = job;
	if (!child_spawn(runtime->loop, &job->child, err))
		return -1;
	take_ptr(job);
	return 0;
}

int runtime_delete(struct runtime *runtime, const struct runtime_call *call, bool force,
                   struct err *err)
{
	struct argv argv =
		argv_verb(runtime, call->info, call->cgroups_path, NULL, verbs[VERB_DELETE]);

	if (force)
		argv_add(&argv, "--force");
	argv_add(&argv, call->id);
	return job_start(runtime, call, VERB_DELETE, argv, NULL, 0, err);
}

int runtime_kill(struct runtime *runtime, const struct runtime_call *call, int signal, bool all,
                 struct err *err)
{
	struct argv argv =
		argv_verb(runtime, call->info, call->cgroups_path, NULL, verbs[VERB_KILL]);
	char number[16];

	if (all)
		argv_add(&argv, "--all");
	argv_add(&argv, call->id);
	snprintf(number, sizeof(number), "%d", signal);
	argv_add(&argv, number);
	return job_start(runtime, call, VERB_KILL, argv, NULL, 0, err);
}

int runtime_state(struct runtime *runtime, const struct runtime_call *call, struct err *err)
{
	struct argv argv =
		argv_verb(runtime, call->info, call->cgroups_path, NULL, verbs[VERB_STATE]);

	argv_add(&argv, call->id);
	return job_start(runtime, call, VERB_STATE, argv, NULL, 0, err);
}

int runtime_update(struct runtime *runtime, const struct runtime_call *call, const char *resources,
                   size_t len, struct err *err)
{
	struct argv argv =
		argv_verb(runtime, call->info, call->cgroups_path, NULL, verbs[VERB_UPDATE]);

	argv_option(&argv, "--resources", "/dev/stdin"); /* "-" is not every runtime's */
	argv_add(&argv, call->id);
	return job_start(runtime, call, VERB_UPDATE, argv, xmemdup(resources, len), len, err);
}

struct child *runtime_exec_spawn(struct runtime *runtime, const struct runtime_info *info,
                                 const char *cgroups_path, const struct runtime_exec *exec,
                                 const struct child_args *child, struct err *err)
{
	cleanup(strv_free) char **argv = runtime_argv_exec(runtime, info, cgroups_path, exec);
	struct child_args args = *child;

	if (runtime_usable(info, err) < 0)
		return NULL;
	args.name = "exec";
	args.path = argv[0];
	args.argv = argv;
	args.envp = NULL;
	return child_spawn(runtime->loop, &args, err);
}
