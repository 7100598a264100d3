/* core/life/stats.c
 *
 * The loop makes a query: what to read, under which names, with a reference to the files that an earlier query left open.
 * A worker reads. Back on the loop the readings meet what is remembered of their container (struct sampled): the base of its
 * rate, the files for the next time, the size of its layer.
 *
 * The network counters of a pod are read inside its network namespace, which the worker's thread enters for the length of one
 * read. That needs no process in the pod, keeps nothing of the pod alive, and takes no lock that a pod could hold.
 */
#include "core/life/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/config/config.h"
#include "core/image/overlay.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/loop/worker.h"
#include "core/state/state.h"

#define RATE_MIN_NS                                                                                \
	(500 * NS_PER_MS) /* a shorter interval says more about the tick than about the container */
#define LAYER_FRESH_NS   (10 * NS_PER_S)
#define LAYER_WALK_MS    (60 * 1000)      /* for all layers of one child */
#define LAYER_BACKOFF_NS (600 * NS_PER_S) /* for a layer whose walk did not end */
#define LAYER_LINE_MAX   96
#define FILES_EACH       10 /* descriptors of one struct cgroup_files, at most */
#define NET_DEV_MAX      (256 * 1024)
#define PROC_TEXT_MAX    16384
#define PIDS_MAX         4096

/* Open files of one cgroup, shared by what is remembered and the queries that read them. Counted on the loop. */
struct kept {
	struct cgroup_files *files;
	unsigned refs;
};

/* What is remembered of a container or pod between queries. */
struct sampled {
	char id[ID_SIZE];
	struct kept *kept; /* NULL: not opened yet, or too many are */
	bool has_base, has_rate;
	int64_t base_ns; /* clock_mono_ns */
	uint64_t base_cpu_ns, rate;
	/* containers only: the writable layer */
	bool has_layer;
	struct usage layer;
	int64_t layer_real_ns; /* shown */
	int64_t layer_boot_ns; /* when it was walked last, with or without success; 0: never */
	int64_t retry_ns;      /* not before */
};

/* What the child that walks over writable layers is told. It runs in a fork, so nothing of it is shared. */
struct walk {
	struct child_args args;
	char **ids, **paths; /* strv of the same length */
};

struct stats {
	struct loop *loop;
	struct worker *worker;
	const struct cgroup_host *cgroups;
	const struct state *state;
	char *root;
	struct map sampled; /* id -> struct sampled */
	size_t nkept, max_kept;
	uint64_t swept_seq; /* state.seq of the last sweep */
	size_t running;     /* queries in the worker, each of which needs this struct */
	bool closed;
	struct log_limit complaints;
	struct child *child; /* NULL: no walk is going on */
	struct walk *walk;
};

/* Where one reading comes from; the worker's own but for kept. */
struct stats_source {
	char *cgroup; /* NULL: not running, nothing to read */
	struct kept *kept;
	struct cgroup_files *opened; /* by this job, because nothing was kept or it was stale */
	int64_t mono_ns;
};

struct stats_query {
	struct worker_job job;
	struct stats *stats;
	const struct cgroup_host *cgroups;
	enum stats_depth depth;
	char *root;
	struct stats_container *containers;
	struct stats_sandbox *sandboxes;
	size_t ncontainers, container_cap, nsandboxes, sandbox_cap;
	struct stats_disk disk;
	struct err complaint; /* the first failure that does not just mean "gone" */
	stats_done_fn done;
	void *arg;
};

/* ---------------------------------------------------------------------------------------------- what is remembered */

static void kept_put(struct stats *stats, struct kept *kept)
{
	if (!kept || --kept->refs > 0)
		return;
	cgroup_files_free(kept->files);
	free(kept);
	stats->nkept--;
}

static void forget_files(struct stats *stats, struct sampled *s)
{
	kept_put(stats, s->kept);
	s->kept = NULL;
	s->has_base = s->has_rate = false;
}

static struct sampled *sampled_get(struct stats *stats, const char *id)
{
	struct sampled *s = map_find(&stats->sampled, id);

	if (s)
		return s;
	s = xcalloc(1, sizeof(*s));
	ignore(str_copy(s->id, sizeof(s->id), id)); /* ids have this size */
	map_set(&stats->sampled, id, s);
	return s;
}

/* Let go of what ended since the last query. */
static void sweep(struct stats *stats)
{
	if (stats->swept_seq == stats->state->seq)
		return;
	stats->swept_seq = stats->state->seq;
	map_for_each(e, &stats->sampled) {
		struct sampled *s = e->value;
		const struct container *c = container_get(stats->state, s->id);
		const struct sandbox *sb = c ? NULL : sandbox_get(stats->state, s->id);
		bool known = c ? !container_is_tombstone(c) : sb && !sandbox_is_tombstone(sb);
		bool live = c ? c->state == CONTAINER_RUNNING : sb && sb->state == SANDBOX_READY;

		if (!live)
			forget_files(stats, s);
		if (!known) {
			map_remove(&stats->sampled, s->id);
			free(s);
		}
	}
}

static void update_rate(struct sampled *s, struct stats_usage *usage, int64_t mono_ns)
{
	uint64_t cpu_ns = usage->cgroup.cpu_usage_ns;
	int64_t interval_ns = mono_ns - s->base_ns;

	if (!usage->has || !usage->cgroup.has_cpu)
		return;
	if (!s->has_base || (interval_ns > 0 && cpu_ns < s->base_cpu_ns)) {
		/* the first reading, or another cgroup under the same name */
		s->has_base = true;
		s->has_rate = false;
		s->base_ns = mono_ns;
		s->base_cpu_ns = cpu_ns;
	} else if (interval_ns >= RATE_MIN_NS) {
		s->has_rate = true;
		s->rate = (uint64_t)((double)(cpu_ns - s->base_cpu_ns) * (double)NS_PER_S /
		                     (double)interval_ns);
		s->base_ns = mono_ns;
		s->base_cpu_ns = cpu_ns;
	}
	usage->has_nano_cores = s->has_rate;
	usage->nano_cores = s->rate;
}

/* ------------------------------------------------------------------------------------------------- writable layers */

/* In the fork: "<index> <bytes> <inodes>" for each that could be walked, each line at once, so that a walk that never ends
 * costs only what comes behind it. */
static int walk_run(void *arg)
{
	const struct walk *walk = arg;
	char line[LAYER_LINE_MAX];
	struct usage usage;

	for (size_t i = 0; walk->paths[i]; i++) {
		if (usage_walk(AT_FDCWD, walk->paths[i], &usage) < 0)
			ignore(str_format(line, sizeof(line), "%zu -\n", i)); /* fits */
		else
			ignore(str_format(line, sizeof(line), "%zu %llu %llu\n", i,
			                  (unsigned long long)usage.bytes, /* fits */
			                  (unsigned long long)usage.inodes));
		if (write_full(STDOUT_FILENO, line, strlen(line)) < 0)
			return 1;
	}
	return 0;
}

static void walk_free(struct walk *walk)
{
	if (!walk)
		return;
	strv_free(walk->ids);
	strv_free(walk->paths);
	free(walk);
}

static void walked(struct sampled *s, struct str numbers)
{
	struct usage usage;
	struct str bytes, inodes;

	s->layer_boot_ns = clock_boot_ns();
	/* '-': there is none (not yet, or removed meanwhile), which is known to be so from now on */
	s->has_layer = str_cut(numbers, ' ', &bytes, &inodes) &&
	               str_u64(bytes, UINT64_MAX, &usage.bytes) == 0 &&
	               str_u64(inodes, UINT64_MAX, &usage.inodes) == 0;
	if (!s->has_layer)
		return;
	s->layer = usage;
	s->layer_real_ns = clock_real_ns();
}

static void walk_done(void *arg, const struct child_result *result)
{
	struct stats *stats = arg;
	struct walk *walk = take_ptr(stats->walk);
	struct str text = { result->out, result->out_len }, line, number, rest;
	size_t n = strv_len(walk->ids), done = 0;
	struct sampled *s;
	struct err err = { 0 };
	uint64_t at;

	stats->child = NULL;
	while (done < n && str_cut(text, '\n', &line, &text)) {
		if (!str_cut(line, ' ', &number, &rest) || str_u64(number, n - 1, &at) < 0 ||
		    at != done)
			break;
		s = map_find(&stats->sampled, walk->ids[done++]);
		if (s)
			walked(s, rest);
	}
	if (done < n) {
		/* the one that it did not come back from must not keep the others from being walked */
		s = map_find(&stats->sampled, walk->ids[done]);
		if (s)
			s->retry_ns = clock_boot_ns() + LAYER_BACKOFF_NS;
		if (child_check(&walk->args, result, &err) == 0)
			err_set(&err, CODE_INTERNAL, "the walk ended early");
		if (log_limit_pass(&stats->complaints))
			log_warn(&(struct log_ctx){ .container = walk->ids[done], .sys = err.sys },
			         "size of a writable layer: %s", err.msg);
	}
	walk_free(walk);
}

/* A layer changes only while its container runs: one that was measured after its end stays as it is. */
static bool layer_is_due(const struct stats *stats, const struct sampled *s)
{
	const struct container *c = container_get(stats->state, s->id);
	int64_t now_ns = clock_boot_ns();

	if (!c || !container_is_visible(c) || now_ns < s->retry_ns)
		return false;
	if (s->layer_boot_ns && now_ns - s->layer_boot_ns < LAYER_FRESH_NS)
		return false;
	return c->state == CONTAINER_RUNNING || !s->has_layer ||
	       s->layer_real_ns <= MAX(c->created_ns, c->finished_ns);
}

/* Walk over those of the query that are due, unless a walk is going on: what it leaves is due at the next query too. */
static void start_walk(struct stats *stats, const struct stats_query *query)
{
	struct walk *walk;
	size_t n = 0;
	struct err err = { 0 };

	if (stats->child)
		return;
	walk = xcalloc(1, sizeof(*walk));
	walk->ids = xcalloc(query->ncontainers + 1, sizeof(*walk->ids));
	walk->paths = xcalloc(query->ncontainers + 1, sizeof(*walk->paths));
	for (size_t i = 0; i < query->ncontainers; i++) {
		const char *id = query->containers[i].id;

		if (!layer_is_due(stats, sampled_get(stats, id)))
			continue;
		walk->ids[n] = xstrdup(id);
		walk->paths[n++] = overlay_upper_path(stats->root, id);
	}
	if (n == 0) {
		walk_free(walk);
		return;
	}
	walk->args = (struct child_args)CHILD_ARGS_INIT;
	walk->args.name = "layer usage";
	walk->args.fn = walk_run;
	walk->args.fn_arg = walk;
	walk->args.capture_out = true;
	walk->args.max_output = n * LAYER_LINE_MAX;
	walk->args.timeout_ms = LAYER_WALK_MS;
	walk->args.done = walk_done;
	walk->args.arg = stats;
	stats->child = child_spawn(stats->loop, &walk->args, &err);
	if (stats->child) {
		stats->walk = walk;
		return;
	}
	if (log_limit_pass(&stats->complaints))
		log_warn(NULL, "sizes of writable layers: %s", err.msg);
	walk_free(walk);
}

/* ---------------------------------------------------------------------------------------------------- in the worker */

static void complain(struct stats_query *query, const struct err *err)
{
	if (!query->complaint.code && !err_is(err, CODE_NOT_FOUND))
		query->complaint = *err;
}

static void read_usage(struct stats_query *query, struct stats_source *src,
                       struct stats_usage *usage)
{
	bool all = query->depth == STATS_PROCESSES;
	struct err err = { 0 };

	if (!src->cgroup)
		return;
	src->mono_ns = clock_mono_ns();
	if (src->kept) {
		usage->has = cgroup_files_read(src->kept->files, all, &usage->cgroup, &err) == 0;
		/* NOT_FOUND: gone, or removed and made again under the same name (an empty slice) */
		if (usage->has || !err_is(&err, CODE_NOT_FOUND)) {
			complain(query, &err);
			return;
		}
	}
	err = (struct err){ 0 };
	src->opened = cgroup_files_open(query->cgroups, src->cgroup, &err);
	usage->has = src->opened && cgroup_files_read(src->opened, all, &usage->cgroup, &err) == 0;
	if (usage->has)
		return;
	complain(query, &err);
	cgroup_files_free(src->opened);
	src->opened = NULL;
}

static bool number_after(struct str text, const char *key, uint64_t *ret)
{
	struct str line;

	while (text.len > 0) {
		str_cut(text, '\n', &line, &text);
		if (!str_starts(line, key))
			continue;
		line.p += strlen(key);
		line.len -= strlen(key);
		return str_u64(str_trim(line), UINT64_MAX, ret) == 0;
	}
	return false;
}

static void count_files(const char *dir, struct stats_processes *sum)
{
	cleanup(strv_free) char **names = NULL;

	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return; /* it ended */
	for (char **name = names; *name; name++) {
		char path[64], target[16];
		ssize_t n;

		sum->files++;
		if (str_format(path, sizeof(path), "%s/%s", dir, *name) < 0)
			continue;
		n = readlink(path, target, sizeof(target));
		sum->sockets += n > 0 && str_starts((struct str){ target, (size_t)n }, "socket:[");
	}
}

static void read_processes(struct stats_query *query, const struct stats_source *src,
                           struct stats_processes *ret)
{
	cleanup_free pid_t *pids = xcalloc(PIDS_MAX, sizeof(*pids));
	struct stats_processes sum = { .has = true };
	struct err err = { 0 };
	ssize_t n = cgroup_procs(query->cgroups, src->cgroup, pids, PIDS_MAX, &err);

	if (n < 0) {
		complain(query, &err);
		return;
	}
	sum.processes = (uint64_t)n;
	for (ssize_t i = 0; i < MIN(n, PIDS_MAX); i++) {
		cleanup_free char *text = NULL;
		char path[32];
		size_t len;
		uint64_t threads;

		ignore(str_format(path, sizeof(path), "/proc/%d/status", pids[i])); /* fits */
		if (fsx_read(AT_FDCWD, path, PROC_TEXT_MAX, &text, &len) < 0)
			continue; /* it ended */
		if (number_after((struct str){ text, len }, "Threads:", &threads))
			sum.threads += threads;
		ignore(str_format(path, sizeof(path), "/proc/%d/fd", pids[i])); /* fits */
		count_files(path, &sum);
	}
	*ret = sum;
}

size_t stats_parse_net_dev(struct str text, struct stats_interface **ret)
{
	struct stats_interface *found = NULL;
	size_t n = 0, cap = 0;
	struct str line, name, numbers, word;

	while (text.len > 0) {
		struct stats_interface i = { 0 };
		/* receive: bytes packets errs drop fifo frame compressed multicast; transmit: bytes packets errs drop ... */
		uint64_t *const fields[] = { &i.rx_bytes,   &i.rx_packets, &i.rx_errors,
			                     &i.rx_dropped, NULL,          NULL,
			                     NULL,          NULL,          &i.tx_bytes,
			                     &i.tx_packets, &i.tx_errors,  &i.tx_dropped };
		size_t at = 0;
		uint64_t value;

		str_cut(text, '\n', &line, &text);
		/* from the right: an alias such as "eth0:1" has a colon too */
		if (!str_rcut(line, ':', &name, &numbers))
			continue;
		name = str_trim(name);
		if (name.len == 0 || name.len >= sizeof(i.name) || str_eq_c(name, "lo"))
			continue;
		memcpy(i.name, name.p, name.len);
		for (numbers = str_trim(numbers); numbers.len > 0 && at < ARRAY_SIZE(fields);
		     numbers = str_trim(numbers)) {
			str_cut(numbers, ' ', &word, &numbers);
			if (str_u64(word, UINT64_MAX, &value) < 0)
				break;
			if (fields[at])
				*fields[at] = value;
			at++;
		}
		if (at < ARRAY_SIZE(fields))
			continue;
		if (n == cap) {
			cap = cap ? cap * 2 : 2;
			found = xrealloc(found, cap, sizeof(*found));
		}
		found[n++] = i;
	}
	*ret = found;
	return n;
}

static void read_network(struct stats_query *query, struct stats_sandbox *sb, int home)
{
	cleanup_close int fd = open(sb->netns_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free char *text = NULL;
	struct err err = { 0 };
	size_t len;
	int rc;

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
		/* a pin that was taken away is a plain file for a moment: EINVAL */
		if (errno != ENOENT && errno != EINVAL) {
			err_sys(&err, errno, "network counters: enter %s", sb->netns_path);
			complain(query, &err);
		}
		return;
	}
	rc = fsx_read(AT_FDCWD, "/proc/thread-self/net/dev", NET_DEV_MAX, &text, &len);
	/* A thread that stayed would do the next job in the wrong place. */
	ensure(setns(home, CLONE_NEWNET) == 0);
	if (rc < 0) {
		err_sys(&err, -rc, "network counters: read /proc/thread-self/net/dev");
		complain(query, &err);
		return;
	}
	sb->ninterfaces = stats_parse_net_dev((struct str){ text, len }, &sb->interfaces);
	sb->network_ns = clock_real_ns();
	sb->has_network = true;
}

static void read_disk(const char *root, struct stats_disk *ret)
{
	struct statvfs fs;

	if (statvfs(root, &fs) < 0)
		return;
	*ret = (struct stats_disk){
		.has = true,
		.total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize,
		.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize,
		.total_inodes = fs.f_files,
		.free_inodes = fs.f_favail,
	};
}

static void query_read(struct worker_job *job)
{
	struct stats_query *query = container_of(job, struct stats_query, job);
	cleanup_close int home = -1;

	for (size_t i = 0; i < query->ncontainers; i++) {
		struct stats_container *c = &query->containers[i];

		read_usage(query, c->source, &c->usage);
		if (c->usage.has && query->depth == STATS_PROCESSES)
			read_processes(query, c->source, &c->processes);
	}
	for (size_t i = 0; i < query->nsandboxes; i++) {
		struct stats_sandbox *sb = &query->sandboxes[i];

		read_usage(query, sb->source, &sb->usage);
		if (!sb->netns_path)
			continue;
		if (home < 0)
			home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
		if (home >= 0)
			read_network(query, sb, home);
	}
	if (query->depth == STATS_PROCESSES)
		read_disk(query->root, &query->disk);
}

/* --------------------------------------------------------------------------------------------------------- queries */

static void stats_put(struct stats *stats)
{
	if (!stats->closed || stats->running > 0)
		return;
	map_for_each(e, &stats->sampled) {
		struct sampled *s = e->value;

		kept_put(stats, s->kept);
		free(s);
	}
	map_release(&stats->sampled);
	free(stats->root);
	free(stats);
}

static void source_free(struct stats *stats, struct stats_source *src)
{
	kept_put(stats, src->kept);
	cgroup_files_free(src->opened);
	free(src->cgroup);
	free(src);
}

static void query_free(struct stats_query *query)
{
	for (size_t i = 0; i < query->ncontainers; i++)
		source_free(query->stats, query->containers[i].source);
	for (size_t i = 0; i < query->nsandboxes; i++) {
		source_free(query->stats, query->sandboxes[i].source);
		free(query->sandboxes[i].netns_path);
		free(query->sandboxes[i].interfaces);
	}
	free(query->containers);
	free(query->sandboxes);
	free(query->root);
	free(query);
}

/* Keep what the job opened for the next query, as long as there is room and somebody may ask again. */
static void keep_files(struct stats *stats, struct sampled *s, struct stats_source *src)
{
	if (!src->opened || (s->kept && s->kept != src->kept))
		return; /* another query was faster */
	kept_put(stats, s->kept);
	s->kept = NULL;
	if (stats->nkept >= stats->max_kept)
		return;
	s->kept = xcalloc(1, sizeof(*s->kept));
	s->kept->files = take_ptr(src->opened);
	s->kept->refs = 1;
	stats->nkept++;
}

static void settle(struct stats *stats, const char *id, struct stats_source *src,
                   struct stats_usage *usage)
{
	struct sampled *s = map_find(&stats->sampled, id);

	if (!s)
		return; /* removed meanwhile */
	if (src->cgroup && !usage->has && s->kept == src->kept)
		forget_files(stats, s);
	keep_files(stats, s, src);
	update_rate(s, usage, src->mono_ns);
}

static void add_usage(struct stats_usage *sum, const struct stats_usage *one)
{
	struct cgroup_stats *a = &sum->cgroup;
	const struct cgroup_stats *b = &one->cgroup;

	if (!one->has)
		return;
	sum->has_nano_cores = one->has_nano_cores && (!sum->has || sum->has_nano_cores);
	sum->has = true;
	sum->nano_cores += one->nano_cores;
	a->time_ns = MAX(a->time_ns, b->time_ns);
	a->has_cpu |= b->has_cpu;
	a->cpu_usage_ns += b->cpu_usage_ns;
	a->cpu_user_ns += b->cpu_user_ns;
	a->cpu_system_ns += b->cpu_system_ns;
	a->has_memory |= b->has_memory;
	a->memory_usage += b->memory_usage;
	a->memory_working_set += b->memory_working_set;
	a->memory_rss += b->memory_rss;
	a->page_faults += b->page_faults;
	a->major_page_faults += b->major_page_faults;
	a->has_pids |= b->has_pids;
	a->pids += b->pids;
}

static void query_done(struct worker_job *job)
{
	struct stats_query *query = container_of(job, struct stats_query, job);
	struct stats *stats = query->stats;

	stats->running--;
	if (stats->closed) {
		query_free(query);
		stats_put(stats);
		return;
	}
	if (query->complaint.code && log_limit_pass(&stats->complaints))
		log_warn(&(struct log_ctx){ .sys = query->complaint.sys }, "statistics: %s",
		         query->complaint.msg);
	for (size_t i = 0; i < query->ncontainers; i++) {
		struct stats_container *c = &query->containers[i];
		const struct sampled *s;

		settle(stats, c->id, c->source, &c->usage);
		s = map_find(&stats->sampled, c->id);
		if (!s || !s->has_layer)
			continue;
		c->has_layer = true;
		c->layer = s->layer;
		c->layer_ns = s->layer_real_ns;
	}
	for (size_t i = 0; i < query->nsandboxes; i++) {
		struct stats_sandbox *sb = &query->sandboxes[i];

		settle(stats, sb->id, sb->source, &sb->usage);
		for (size_t k = 0; !sb->source->cgroup && k < sb->count; k++)
			add_usage(&sb->usage, &query->containers[sb->first + k].usage);
	}
	query->done(query->arg, &(struct stats_result){
					.containers = query->containers,
					.ncontainers = query->ncontainers,
					.sandboxes = query->sandboxes,
					.nsandboxes = query->nsandboxes,
					.disk = query->disk,
				});
	query_free(query);
}

static struct stats_source *source_new(struct stats *stats, const char *id, const char *oci_path)
{
	struct stats_source *src = xcalloc(1, sizeof(*src));
	struct sampled *s = sampled_get(stats, id);
	struct err err = { 0 };

	/* The whole node is no pod's cgroup. A path that is none was refused when the object was made. */
	if (!oci_path || !oci_path[0] || streq(oci_path, "/"))
		return src;
	src->cgroup = cgroup_dir(oci_path, &err);
	src->kept = s->kept;
	if (src->kept)
		src->kept->refs++;
	return src;
}

struct stats_query *stats_query_new(struct stats *stats, enum stats_depth depth)
{
	struct stats_query *query = xcalloc(1, sizeof(*query));

	sweep(stats);
	*query = (struct stats_query){
		.job = { .run = query_read, .done = query_done, .name = "statistics" },
		.stats = stats,
		.cgroups = stats->cgroups,
		.depth = depth,
		.root = xstrdup(stats->root),
	};
	return query;
}

void stats_query_container(struct stats_query *query, const struct container *c)
{
	struct stats_container *item;

	if (query->ncontainers == query->container_cap) {
		query->container_cap = query->container_cap ? query->container_cap * 2 : 16;
		query->containers = xrealloc(query->containers, query->container_cap,
		                             sizeof(*query->containers));
	}
	item = &query->containers[query->ncontainers++];
	*item = (struct stats_container){
		.source = source_new(query->stats, c->id,
		                     c->state == CONTAINER_RUNNING ? c->cgroups_path : NULL),
	};
	ignore(str_copy(item->id, sizeof(item->id), c->id)); /* ids have this size */
}

void stats_query_sandbox(struct stats_query *query, const struct sandbox *sb)
{
	struct stats_sandbox *item;
	size_t first = query->ncontainers;

	list_for_each(l, &sb->containers) {
		const struct container *c = list_entry(l, struct container, pod_link);

		if (container_is_visible(c))
			stats_query_container(query, c);
	}
	if (query->nsandboxes == query->sandbox_cap) {
		query->sandbox_cap = query->sandbox_cap ? query->sandbox_cap * 2 : 16;
		query->sandboxes =
			xrealloc(query->sandboxes, query->sandbox_cap, sizeof(*query->sandboxes));
	}
	item = &query->sandboxes[query->nsandboxes++];
	*item = (struct stats_sandbox){
		.first = first,
		.count = query->ncontainers - first,
		.source = source_new(query->stats, sb->id,
		                     sb->state == SANDBOX_READY ? sb->cgroup_parent : NULL),
		.netns_path = sb->state == SANDBOX_READY ? xstrdup(sb->netns_path) : NULL,
	};
	ignore(str_copy(item->id, sizeof(item->id), sb->id)); /* ids have this size */
}

void stats_query_run(struct stats_query *query, stats_done_fn done, void *arg)
{
	struct stats *stats = query->stats;

	ensure(done);
	query->done = done;
	query->arg = arg;
	start_walk(stats, query);
	stats->running++;
	worker_submit(stats->worker, &query->job);
}

size_t stats_kept(const struct stats *stats)
{
	return stats->nkept;
}

/* ------------------------------------------------------------------------------------------------------------ life */

struct stats *stats_new(struct loop *loop, struct worker *worker, const struct cgroup_host *cgroups,
                        const struct state *state, const struct config *config)
{
	struct stats *stats = xcalloc(1, sizeof(*stats));
	struct rlimit files;

	ensure(loop && worker && cgroups && state && config);
	*stats = (struct stats){
		.loop = loop,
		.worker = worker,
		.cgroups = cgroups,
		.state = state,
		.root = xstrdup(config->root),
		.complaints = { .burst = 5, .interval_ms = 60 * 1000 },
	};
	map_init(&stats->sampled);
	/* Kept files are a matter of speed: half of the descriptors stay free for what cannot do without. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		stats->max_kept = (size_t)MIN(files.rlim_cur, (rlim_t)1 << 20) / 2 / FILES_EACH;
	return stats;
}

void stats_free(struct stats *stats)
{
	if (!stats)
		return;
	if (stats->child) {
		child_kill(stats->child);
		child_detach(stats->child);
		walk_free(stats->walk);
	}
	stats->closed = true;
	stats_put(stats);
}
