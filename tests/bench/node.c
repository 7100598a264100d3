/* tests/bench/node.c
 *
 * A node with fifty pods, measured from outside: a daemon of our own in a directory of our own, driven over its socket.
 *
 * Two daemons, one after the other. The first one's pods are started in turn plainly and with crun and the CNI plugins replaced
 * by timed.c, which says what they alone take. The second one has fifty pods: statistics, memory, idleness, the way back from
 * kill -9.
 *
 *	CORACLE  the daemon's binary		TIMED  timed.c's
 *	BENCH_IDLE_S (60)			BENCH_KEEP: leave the directory behind
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/run/cgroup.h"
#include "core/run/embedded.h"
#include "cri/grpc/client.h"
#include "cri/proto/cri.h"
#include "cri/proto/ctl.pb.h"
#include "tests/lib/tarball.h"

#define RUNTIME  "/runtime.v1.RuntimeService/"
#define CONTROL  "/coracle.v1.Control/"
#define IMAGE    "bench.local/pause:1"
#define PODS     50
#define STARTS   20 /* of each kind */
#define CALLS    100
#define RESTARTS 5
#define CALL_MS  (30 * 1000)
#define READY_MS (10 * 1000)

struct pod {
	char id[65], container[65];
};

struct bench {
	char *dir, *socket, *root, *state, *cgroup, *bridge;
	const char *coracle, *timed;
	pid_t daemon;
	struct grpc_client *client;
	struct pb_arena *arena;
	struct pod pods[PODS];
	int serial; /* of pod names */
	int missed;
};

/* --- a benchmark that cannot measure is broken: say why and leave. main() takes everything away */

static void NORETURN PRINTF_LIKE(1, 2) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("bench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

static void verdict(struct bench *b, double goal, double value, const char *unit, const char *what)
{
	bool pass = value <= goal;

	printf("%s  goal %8.2f %-4s  value %8.2f %-4s  %s\n", pass ? "PASS" : "MISS", goal, unit,
	       value, unit, what);
	fflush(stdout);
	b->missed += !pass;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(double *values, size_t n, unsigned p)
{
	qsort(values, n, sizeof(*values), compare);
	return values[MIN(n * p / 100, n - 1)];
}

static double ms_since(int64_t start_ns)
{
	return (double)(clock_mono_ns() - start_ns) / (double)NS_PER_MS;
}

static void PRINTF_LIKE(3, 4) put(const struct bench *b, const char *name, const char *fmt, ...)
{
	cleanup_free char *path = xasprintf("%s/%s", b->dir, name);
	cleanup_free char *parent = xstrdup(path);
	FILE *file;
	va_list ap;

	*strrchr(parent, '/') = '\0';
	if (fsx_mkdir_p(parent, 0755) < 0 || !(file = fopen(path, "we")))
		die("%s: %s", path, strerror(errno));
	va_start(ap, fmt);
	vfprintf(file, fmt, ap);
	va_end(ap);
	if (fclose(file) != 0)
		die("%s: %s", path, strerror(errno));
}

/* --- the daemon */

static void spawn_daemon(struct bench *b, const char *conf)
{
	cleanup_free char *path = xasprintf("%s/%s", b->dir, conf),
			  *log = xasprintf("%s/daemon.log", b->dir);

	b->daemon = fork();
	if (b->daemon == 0) {
		int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execl(b->coracle, "coracle", "daemon", "-c", path, "--root", b->root, "--state",
		      b->state, (char *)NULL);
		_exit(127);
	}
	if (b->daemon < 0)
		die("fork: %s", strerror(errno));
}

static int rpc(struct bench *b, const char *method, const pb_msgdesc_t *request_desc,
               const void *request, const pb_msgdesc_t *response_desc, void *response,
               struct err *err)
{
	const struct grpc_client_call call = {
		.method = method,
		.request_desc = request_desc,
		.request = request,
		.response_desc = response_desc,
		.timeout_ms = CALL_MS,
	};

	pb_arena_reset(b->arena);
	return grpc_client_unary(b->client, &call, b->arena, response, err);
}

#define CALL(b, name, request, response)                                                           \
	do {                                                                                       \
		struct err err_ = { 0 };                                                           \
                                                                                                   \
		if (rpc(b, RUNTIME #name, cri_##name##Request_fields, request,                     \
		        cri_##name##Response_fields, response, &err_) < 0)                         \
			die(#name ": %s", err_.msg);                                               \
	} while (0)

/* Ask without pause until @count containers run. */
static void wait_for_containers(struct bench *b, size_t count)
{
	const cri_ListContainersRequest req = {
		.has_filter = true,
		.filter = { .has_state = true, .state = { cri_ContainerState_CONTAINER_RUNNING } }
	};
	int64_t start_ns = clock_mono_ns();
	cri_ListContainersResponse resp;
	struct err err = { 0 };

	for (;;) {
		if (ms_since(start_ns) > READY_MS)
			die("daemon does not serve %zu containers after %d ms: %s; see %s/daemon.log",
			    count, READY_MS, err.msg, b->dir);
		if (!b->client)
			b->client = grpc_client_new(b->socket, &err);
		if (b->client && rpc(b, RUNTIME "ListContainers", cri_ListContainersRequest_fields,
		                     &req, cri_ListContainersResponse_fields, &resp, &err) == 0) {
			if (resp.containers_count != count)
				die("%u containers run, %zu should",
				    (unsigned)resp.containers_count, count);
			return;
		}
		if (b->client && err_is(&err, CODE_UNAVAILABLE) &&
		    !strstr(err.msg, "not initialized")) {
			grpc_client_free(b->client);
			b->client = NULL;
		}
		usleep(200);
	}
}

static void start_daemon(struct bench *b, const char *conf)
{
	spawn_daemon(b, conf);
	wait_for_containers(b, 0);
}

static void stop_daemon(struct bench *b)
{
	int status;

	grpc_client_free(b->client);
	b->client = NULL;
	kill(b->daemon, SIGTERM);
	waitpid(b->daemon, &status, 0);
	b->daemon = 0;
	if (status != 0)
		die("daemon ended with wait status %d; see %s/daemon.log", status, b->dir);
}

/* --- dump */

static int add_chunk(void *arg, const void *message)
{
	const ctl_DumpChunk *chunk = message;

	return chunk->json && buf_add(arg, chunk->json->bytes, chunk->json->size) < 0;
}

static uint64_t dumped(struct bench *b, const char *section, const char *key)
{
	const struct grpc_client_call call = {
		.method = CONTROL "Dump",
		.request_desc = ctl_DumpRequest_fields,
		.request = &(ctl_DumpRequest){ 0 },
		.response_desc = ctl_DumpChunk_fields,
		.timeout_ms = CALL_MS,
	};
	cleanup(buf_release) struct buf text = { 0 };
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	ctl_DumpChunk chunk;
	struct err err = { 0 };
	uint64_t value;

	buf_init(&text, 64 << 20);
	if (grpc_client_stream(b->client, &call, &chunk, add_chunk, &text, &err) < 0)
		die("Dump: %s", err.msg);
	doc = json_parse(text.data, text.len, 64 << 20, "dump", &err);
	if (!doc)
		die("%s", err.msg);
	value = json_u64(json_obj(yyjson_doc_get_root(doc), section), key, UINT64_MAX);
	if (value == UINT64_MAX)
		die("dump has no %s.%s", section, key);
	return value;
}

/* --- the image: one static program */

static void digest_of(const struct buf *data, char hex[65])
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, data->data, data->len);
	sha256_final(&ctx, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static int import_progress(void *arg UNUSED, const void *message UNUSED)
{
	return 0;
}

static void import_image(struct bench *b)
{
	cleanup_free char *path = xasprintf("%s/image.tar", b->dir), *config = NULL;
	cleanup(buf_release) struct buf layer = { 0 }, archive = { 0 };
	const ctl_ImportRequest req = { .path = path };
	const struct grpc_client_call call = {
		.method = CONTROL "Import",
		.request_desc = ctl_ImportRequest_fields,
		.request = &req,
		.response_desc = ctl_ImportProgress_fields,
		.timeout_ms = CALL_MS,
	};
	ctl_ImportProgress progress;
	struct err err = { 0 };
	char hex[65];

	tarball_init(&layer);
	tarball_add(&layer, &(struct tarball_entry){
				    .name = "pause",
				    .mode = 0755,
				    .data = coracle_pause_elf,
				    .len = (size_t)(coracle_pause_elf_end - coracle_pause_elf) });
	tarball_end(&layer);
	digest_of(&layer, hex);
	config = xasprintf(
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"/pause\"]},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
		hex);
	tarball_init(&archive);
	tarball_file(&archive, "manifest.json",
	             "[{\"Config\":\"config.json\",\"RepoTags\":[\"" IMAGE
	             "\"],\"Layers\":[\"layer.tar\"]}]");
	tarball_file(&archive, "config.json", config);
	tarball_add(&archive, &(struct tarball_entry){
				      .name = "layer.tar", .data = layer.data, .len = layer.len });
	tarball_end(&archive);
	if (fsx_write(AT_FDCWD, path, archive.data, archive.len, 0644) < 0)
		die("write %s", path);
	if (grpc_client_stream(b->client, &call, &progress, import_progress, NULL, &err) < 0)
		die("Import: %s", err.msg);
}

/* --- pods */

static void start_pod(struct bench *b, const char *handler, struct pod *pod)
{
	cleanup_free char *name = xasprintf("pod-%d", ++b->serial),
			  *logs = xasprintf("%s/logs/%s", b->dir, name);
	cleanup_free char *parent = xasprintf("%s/%s", b->cgroup, name);
	cri_RunPodSandboxRequest run = {
		.has_config = true,
		.config = {
			.has_metadata = true,
			.metadata = { .name = name, .uid = name, .namespace = (char *)"bench" },
			.hostname = name,
			.log_directory = logs,
			.has_linux = true,
			.linux = { .cgroup_parent = parent },
		},
		.runtime_handler = (char *)handler,
	};
	cri_CreateContainerRequest create = {
		.has_config = true,
		.config = {
			.has_metadata = true,
			.metadata = { .name = (char *)"main" },
			.has_image = true,
			.image = { .image = (char *)IMAGE },
			.log_path = (char *)"main.log",
		},
		.has_sandbox_config = true,
		.sandbox_config = run.config,
	};
	cri_RunPodSandboxResponse ran;
	cri_CreateContainerResponse created;
	cri_StartContainerRequest start = { 0 };
	cri_StartContainerResponse started;

	CALL(b, RunPodSandbox, &run, &ran);
	if (str_copy(pod->id, sizeof(pod->id), or_empty(ran.pod_sandbox_id)) < 0)
		die("RunPodSandbox: an id that is none");
	create.pod_sandbox_id = pod->id;
	CALL(b, CreateContainer, &create, &created);
	if (str_copy(pod->container, sizeof(pod->container), or_empty(created.container_id)) < 0)
		die("CreateContainer: an id that is none");
	start.container_id = pod->container;
	CALL(b, StartContainer, &start, &started);
}

static void remove_pod(struct bench *b, const struct pod *pod)
{
	const cri_StopContainerRequest stop = { .container_id = (char *)pod->container,
		                                .timeout = 10 };
	const cri_RemoveContainerRequest rm = { .container_id = (char *)pod->container };
	const cri_StopPodSandboxRequest stop_pod = { .pod_sandbox_id = (char *)pod->id };
	const cri_RemovePodSandboxRequest rm_pod = { .pod_sandbox_id = (char *)pod->id };
	cri_StopContainerResponse a;
	cri_RemoveContainerResponse c;
	cri_StopPodSandboxResponse d;
	cri_RemovePodSandboxResponse e;

	CALL(b, StopContainer, &stop, &a);
	CALL(b, RemoveContainer, &rm, &c);
	CALL(b, StopPodSandbox, &stop_pod, &d);
	CALL(b, RemovePodSandbox, &rm_pod, &e);
}

/* --- starting and stopping */

/* The plugins of the network: <dir>/cni is a link to one of two directories. */
static void use_plugins(const struct bench *b, const char *which)
{
	cleanup_free char *link = xasprintf("%s/cni", b->dir),
			  *fresh = xasprintf("%s/cni.new", b->dir);

	if (symlink(which, fresh) < 0 || rename(fresh, link) < 0)
		die("link %s: %s", link, strerror(errno));
}

/* What timed.c wrote down since the last call, in ms; how many programs ran. */
static double timed_ms(const struct bench *b, size_t *ret_runs)
{
	cleanup_free char *path = xasprintf("%s/times", b->dir), *text = NULL;
	struct str rest, line, name, number;
	double sum = 0;
	size_t len;

	*ret_runs = 0;
	if (fsx_read(AT_FDCWD, path, 1 << 20, &text, &len) < 0)
		return 0;
	for (rest = (struct str){ text, len }; rest.len > 0;) {
		uint64_t ns;

		str_cut(rest, '\n', &line, &rest);
		if (!str_cut(line, ' ', &name, &number) || str_u64(number, UINT64_MAX, &ns) < 0)
			die("%s: \"" STR_FMT "\"", path, STR_ARG(line));
		if (getenv("BENCH_VERBOSE"))
			printf("      %8.2f ms  " STR_FMT "\n", (double)ns / NS_PER_MS,
			       STR_ARG(name));
		sum += (double)ns / (double)NS_PER_MS;
		++*ret_runs;
	}
	unlink(path);
	return sum;
}

static void measure_starts(struct bench *b)
{
	double plain[STARTS], programs[STARTS], tools, whole;
	double start_syncs = 0, stop_syncs = 0;
	struct pod pod;
	size_t runs;

	start_pod(b, "crun", &pod); /* the bridge, the caches */
	remove_pod(b, &pod);
	for (size_t i = 0; i < STARTS; i++) {
		uint64_t syncs[3];
		int64_t start_ns;

		syncs[0] = dumped(b, "journal", "fdatasyncs");
		start_ns = clock_mono_ns();
		start_pod(b, "crun", &pod);
		plain[i] = ms_since(start_ns);
		syncs[1] = dumped(b, "journal", "fdatasyncs");
		remove_pod(b, &pod);
		syncs[2] = dumped(b, "journal", "fdatasyncs");
		start_syncs = MAX(start_syncs, (double)(syncs[1] - syncs[0]));
		stop_syncs = MAX(stop_syncs, (double)(syncs[2] - syncs[1]));

		use_plugins(b, "cni.timed");
		ignore(timed_ms(b, &runs) > 0); /* of the removal before, and of probing */
		start_pod(b, "timed", &pod);
		programs[i] = timed_ms(b, &runs);
		if (runs < 3) /* crun create, crun start, one plugin */
			die("only %zu programs ran for a pod", runs);
		remove_pod(b, &pod);
		use_plugins(b, "cni.plain");
	}
	whole = percentile(plain, STARTS, 50);
	tools = percentile(programs, STARTS, 50);
	printf("      pod start p50 %.1f ms p99 %.1f ms, of which crun and CNI %.1f ms\n", whole,
	       percentile(plain, STARTS, 99), tools);
	verdict(b, 1.5, whole / tools, "x", "pod start, p50, against its crun and CNI executions");
	verdict(b, 4, start_syncs, "", "fdatasyncs of a pod start, the most of 20");
	verdict(b, 2, stop_syncs, "",
	        "fdatasyncs of Stop and Remove of container and pod, the most of 20");
}

/* --- statistics */

static void measure_stats(struct bench *b)
{
	const cri_ListContainerStatsRequest req = { 0 };
	const cri_ListPodSandboxStatsRequest pods = { 0 };
	const cri_ListPodSandboxMetricsRequest metrics = { 0 };
	cri_ListContainerStatsResponse resp;
	cri_ListPodSandboxStatsResponse pods_resp;
	cri_ListPodSandboxMetricsResponse metrics_resp;
	double took[CALLS];

	CALL(b, ListContainerStats, &req, &resp); /* opens the files */
	for (size_t i = 0; i < CALLS; i++) {
		int64_t start_ns = clock_mono_ns();

		CALL(b, ListContainerStats, &req, &resp);
		took[i] = ms_since(start_ns);
		if (resp.stats_count != PODS)
			die("ListContainerStats has %u containers", (unsigned)resp.stats_count);
		for (size_t k = 0; k < PODS; k++)
			if (!resp.stats[k].has_cpu || !resp.stats[k].has_memory)
				die("ListContainerStats lacks readings of %s",
				    resp.stats[k].attributes.id);
	}
	verdict(b, 3, percentile(took, CALLS, 50), "ms", "ListContainerStats of 50, p50");
	printf("      its p95 %.2f ms\n", percentile(took, CALLS, 95));
	for (size_t i = 0; i < CALLS; i++) {
		int64_t start_ns = clock_mono_ns();

		CALL(b, ListPodSandboxStats, &pods, &pods_resp);
		took[i] = ms_since(start_ns);
		if (pods_resp.stats_count != PODS)
			die("ListPodSandboxStats has %u pods", (unsigned)pods_resp.stats_count);
		for (size_t k = 0; k < PODS; k++)
			if (!pods_resp.stats[k].linux.has_network ||
			    !pods_resp.stats[k].linux.network.has_default_interface ||
			    pods_resp.stats[k].linux.process.process_count.value != 1)
				die("ListPodSandboxStats lacks readings of %s",
				    pods_resp.stats[k].attributes.id);
	}
	printf("      ListPodSandboxStats of 50, network included: p50 %.2f ms, p95 %.2f ms\n",
	       percentile(took, CALLS, 50), percentile(took, CALLS, 95));
	CALL(b, ListPodSandboxMetrics, &metrics, &metrics_resp);
	if (metrics_resp.pod_metrics_count != PODS ||
	    metrics_resp.pod_metrics[0].container_metrics_count != 1)
		die("ListPodSandboxMetrics lacks pods or containers");
}

/* --- memory and idleness */

static uint64_t proc_number(pid_t pid, const char *file, const char *key)
{
	cleanup_free char *path = xasprintf("/proc/%d/%s", pid, file), *text = NULL;
	struct str rest, line;
	uint64_t value;
	size_t len;

	if (fsx_read(AT_FDCWD, path, 1 << 16, &text, &len) < 0)
		die("%s: cannot be read", path);
	for (rest = (struct str){ text, len }; rest.len > 0;) {
		struct str number, unit;

		str_cut(rest, '\n', &line, &rest);
		if (!str_starts(line, key))
			continue;
		line.p += strlen(key);
		line.len -= strlen(key);
		str_cut(str_trim(line), ' ', &number, &unit);
		if (str_u64(number, UINT64_MAX, &value) == 0)
			return value;
	}
	die("%s: no %s", path, key);
}

/* The daemon's children are the monitors, once nothing is going on. */
static size_t monitors_of(const struct bench *b, pid_t *ret, size_t max)
{
	cleanup_free char *path = xasprintf("/proc/%d/task/%d/children", b->daemon, b->daemon),
			  *text = NULL;
	struct str rest, word;
	size_t n = 0, len;
	uint64_t pid;

	if (fsx_read(AT_FDCWD, path, 1 << 16, &text, &len) < 0)
		die("%s: cannot be read", path);
	for (rest = str_trim((struct str){ text, len }); rest.len > 0 && n < max; n++) {
		str_cut(rest, ' ', &word, &rest);
		if (str_u64(word, INT32_MAX, &pid) < 0)
			die("%s: \"%s\"", path, text);
		ret[n] = (pid_t)pid;
	}
	return n;
}

static uint64_t switches(pid_t pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/task", pid);
	cleanup(strv_free) char **tasks = NULL;
	uint64_t sum = 0;

	if (fsx_list(AT_FDCWD, path, &tasks) < 0)
		die("%s: cannot be read", path);
	for (char **task = tasks; *task; task++) {
		cleanup_free char *file = xasprintf("task/%s/status", *task);

		sum += proc_number(pid, file, "voluntary_ctxt_switches:");
	}
	return sum;
}

static void measure_rest(struct bench *b)
{
	const char *idle = getenv("BENCH_IDLE_S");
	int idle_s = idle ? (int)strtol(idle, NULL, 10) : 60;
	pid_t monitors[PODS + 1];
	uint64_t most = 0, before = 0, monitors_before = 0, monitors_after = 0;
	char what[80];
	size_t n;

	sleep(2); /* what the last pod left to do */
	n = monitors_of(b, monitors, ARRAY_SIZE(monitors));
	if (n != PODS)
		die("the daemon has %zu children, not one for each of %d containers", n, PODS);
	for (size_t i = 0; i < n; i++)
		most = MAX(most, proc_number(monitors[i], "smaps_rollup", "Pss:"));
	verdict(b, 40, (double)most, "KiB", "monitor, PSS with 50, the largest");
	verdict(b, 3, (double)proc_number(b->daemon, "smaps_rollup", "Pss:") / 1024, "MiB",
	        "daemon, PSS with 50 pods");

	before = switches(b->daemon);
	for (size_t i = 0; i < n; i++)
		monitors_before += switches(monitors[i]);
	sleep((unsigned)idle_s);
	for (size_t i = 0; i < n; i++)
		monitors_after += switches(monitors[i]);
	snprintf(what, sizeof(what), "wake-ups of the idle daemon with 50 pods in %d s", idle_s);
	verdict(b, 0, (double)(switches(b->daemon) - before), "", what);
	verdict(b, 0, (double)(monitors_after - monitors_before), "",
	        "wake-ups of its 50 monitors meanwhile");
}

/* --- kill -9 */

static void measure_restart(struct bench *b, const char *conf)
{
	double took[RESTARTS];
	int status;

	for (size_t i = 0; i < RESTARTS; i++) {
		int64_t start_ns;

		grpc_client_free(b->client);
		b->client = NULL;
		start_ns = clock_mono_ns();
		kill(b->daemon, SIGKILL);
		waitpid(b->daemon, &status, 0);
		spawn_daemon(b, conf);
		wait_for_containers(b, PODS);
		took[i] = ms_since(start_ns);
		sleep(1); /* let it become ready, as systemd would not kill it again at once */
	}
	verdict(b, 20, percentile(took, RESTARTS, 50), "ms",
	        "kill -9 to the first correct ListContainers with 50 pods, p50");
	printf("      the slowest of %d: %.1f ms\n", RESTARTS, percentile(took, RESTARTS, 99));
}

/* --- the directory */

static const char *find_program(const char *name, const char *const *dirs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dirs[i], name);

		if (access(path, X_OK) == 0)
			return dirs[i];
	}
	die("%s is not installed", name);
}

static void stand_in(const struct bench *b, const char *name, const char *from_dir,
                     const char *timed_dir)
{
	cleanup_free char *program = xasprintf("%s/%s", from_dir, name),
			  *real = xasprintf("%s/real/%s", b->dir, name);
	cleanup_free char *timed = xasprintf("%s/%s/%s", b->dir, timed_dir, name), *text = NULL;
	size_t len;

	if (fsx_read(AT_FDCWD, b->timed, 64 << 20, &text, &len) < 0 ||
	    fsx_write(AT_FDCWD, timed, text, len, 0755) < 0)
		die("copy %s to %s", b->timed, timed);
	if (symlink(program, real) < 0)
		die("link %s: %s", real, strerror(errno));
}

static void make_directory(struct bench *b)
{
	static const char *const plugin_dirs[] = { "/opt/cni/bin", "/usr/lib/cni" };
	static const char *const bin_dirs[] = { "/usr/local/bin", "/usr/local/sbin", "/usr/bin",
		                                "/usr/sbin" };
	static const char *const plugins[] = { "bridge", "host-local" };
	static const char *const dirs[] = { "real", "timed", "cni.plain", "cni.timed" };
	const char *crun = find_program("crun", bin_dirs, ARRAY_SIZE(bin_dirs));

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		cleanup_free char *path = xasprintf("%s/%s", b->dir, dirs[i]);

		if (fsx_mkdir_p(path, 0755) < 0)
			die("mkdir %s", path);
	}
	stand_in(b, "crun", crun, "timed");
	for (size_t i = 0; i < ARRAY_SIZE(plugins); i++) {
		const char *dir = find_program(plugins[i], plugin_dirs, ARRAY_SIZE(plugin_dirs));
		cleanup_free char *program = xasprintf("%s/%s", dir, plugins[i]);
		cleanup_free char *link = xasprintf("%s/cni.plain/%s", b->dir, plugins[i]);

		if (symlink(program, link) < 0)
			die("link %s: %s", link, strerror(errno));
		stand_in(b, plugins[i], dir, "cni.timed");
	}
	use_plugins(b, "cni.plain");
	put(b, "net.d/10-bench.conflist",
	    "{ \"cniVersion\": \"1.0.0\", \"name\": \"bench\", \"plugins\": [ { \"type\": \"bridge\", \"bridge\": \"%s\","
	    " \"isGateway\": true, \"ipam\": { \"type\": \"host-local\", \"dataDir\": \"%s/ipam\","
	    " \"ranges\": [ [ { \"subnet\": \"10.213.0.0/16\" } ] ] } } ] }\n",
	    b->bridge, b->dir);
	put(b, "timed.conf",
	    "[log]\nlevel = notice\n[runtime]\ndefault = crun\n[runtime crun]\npath = %s/crun\n[runtime timed]\npath = %s/timed/crun\n"
	    "[cni]\nconf_dir = %s/net.d\nbin_dirs = %s/cni\n",
	    crun, b->dir, b->dir, b->dir);
	put(b, "plain.conf",
	    "[log]\nlevel = notice\n[runtime]\ndefault = crun\n[runtime crun]\npath = %s/crun\n"
	    "[cni]\nconf_dir = %s/net.d\nbin_dirs = %s/cni\n",
	    crun, b->dir, b->dir);
}

static void remove_bridge(const struct bench *b)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ignore(str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), b->bridge)); /* fits */
	ignore(ioctl(fd, SIOCSIFFLAGS, &ifr)); /* down; not there is fine */
	ignore(ioctl(fd, SIOCBRDELBR, ifr.ifr_name));
	close(fd);
}

static int unmount_below(const struct proc_mount *mount, void *arg)
{
	if (starts_with(mount->target, arg))
		ignore(umount2(mount->target, MNT_DETACH)); /* the next one shows it */
	return 0;
}

/* Everything that ran under us is our child by now: end it. */
static void end_children(void)
{
	cleanup_free char *path = xasprintf("/proc/self/task/%d/children", getpid());

	for (int i = 0; i < 100; i++) {
		cleanup_free char *text = NULL;
		struct str rest, word;
		uint64_t pid;
		size_t len;

		if (fsx_read(AT_FDCWD, path, 1 << 16, &text, &len) < 0 || len == 0)
			return;
		for (rest = str_trim((struct str){ text, len }); rest.len > 0;) {
			str_cut(rest, ' ', &word, &rest);
			if (str_u64(word, INT32_MAX, &pid) == 0)
				kill((pid_t)pid, SIGKILL);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(20 * 1000);
	}
}

static void take_away(struct bench *b)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = NULL;
	struct err err = { 0 };

	host = cgroup_host_new(&err);
	end_children();
	if (host && (cgroup_kill(host, b->cgroup, 5000, &err) < 0 ||
	             cgroup_remove(host, b->cgroup, 5000, &err) < 0))
		fprintf(stderr, "bench: %s\n", err.msg);
	end_children(); /* what lived in the containers */
	remove_bridge(b);
	ignore(proc_mounts(unmount_below, b->dir) < 0);
	if (getenv("BENCH_KEEP"))
		fprintf(stderr, "bench: %s is left behind\n", b->dir);
	else if (fsx_remove_tree(AT_FDCWD, b->dir) < 0)
		fprintf(stderr, "bench: %s could not be removed\n", b->dir);
}

/* --- */

static int run(struct bench *b)
{
	struct stat st;

	make_directory(b);
	if (stat(b->coracle, &st) < 0)
		die("%s: %s", b->coracle, strerror(errno));
	verdict(b, 3, (double)st.st_size / 1024 / 1024, "MiB", "size of the binary");

	start_daemon(b, "timed.conf");
	import_image(b);
	measure_starts(b);
	stop_daemon(b);

	start_daemon(b, "plain.conf");
	for (size_t i = 0; i < PODS; i++)
		start_pod(b, "", &b->pods[i]);
	wait_for_containers(b, PODS);
	measure_rest(b);
	measure_stats(b);
	measure_restart(b, "plain.conf");
	for (size_t i = 0; i < PODS; i++)
		remove_pod(b, &b->pods[i]);
	wait_for_containers(b, 0);
	stop_daemon(b);
	return b->missed > 0;
}

/* The work is done in a child, so that whatever ends it, this process takes everything away. */
int main(void)
{
	char dir[] = "/tmp/coracle-bench.XXXXXX";
	struct bench b = { .coracle = getenv("CORACLE"), .timed = getenv("TIMED") };
	int status = 0;
	pid_t pid;

	if (!b.coracle || !b.timed)
		die("CORACLE and TIMED must name the daemon and the program of timed.c; `make bench` does");
	if (!mkdtemp(dir))
		die("mkdtemp: %s", strerror(errno));
	b.dir = dir;
	b.socket = xasprintf("%s/state/coracle.sock", dir);
	b.root = xasprintf("%s/root", dir);
	b.state = xasprintf("%s/state", dir);
	b.cgroup = xasprintf("/coracle-bench-%d", getpid());
	b.arena = pb_arena_new(64 << 20);
	b.bridge = xasprintf("corabench%d", getpid() % 100000);
	fflush(stdout);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork();
	if (pid == 0)
		exit(run(&b));
	waitpid(pid, &status, 0);
	take_away(&b);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
