/* Queries over a made-up cgroup v2 tree; the worker is inline, the child that walks over layers is run by hand. */
/* link-wrap: child_spawn child_kill child_detach */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/config/config.h"
#include "core/life/stats.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/loop/worker.h"
#include "core/state/state.h"

#define START_NS (NS_PER_S * 1000000000)

struct answer {
	int calls;
	size_t ncontainers, nsandboxes;
	struct stats_container containers[4];
	struct stats_sandbox sandboxes[2];
};

struct fixture {
	char *dir, *cgroups;
	struct loop *loop;
	struct worker *worker;
	struct cgroup_host *host;
	struct state *state;
	struct config config;
	struct stats *stats;
	struct answer answer;
	/* the one child that there can be */
	struct child_args child;
	int spawned;
	bool spawn_fails, killed, detached;
};

/* cmocka hands the fixture to tests only, the wrapped functions get it through the child's loop */
static struct fixture *fixture_of_child;

struct child *__wrap_child_spawn(struct loop *loop, const struct child_args *args, struct err *err);
void __wrap_child_kill(struct child *child);
void __wrap_child_detach(struct child *child);

struct child *__wrap_child_spawn(struct loop *loop, const struct child_args *args, struct err *err)
{
	struct fixture *f = fixture_of_child;

	assert_ptr_equal(loop, f->loop);
	assert_true(args->timeout_ms > 0);
	if (f->spawn_fails) {
		err_set(err, CODE_RESOURCE_EXHAUSTED, "fork: no");
		return NULL;
	}
	f->spawned++;
	f->child = *args;
	return (struct child *)f;
}

void __wrap_child_kill(struct child *child)
{
	((struct fixture *)child)->killed = true;
}

void __wrap_child_detach(struct child *child)
{
	((struct fixture *)child)->detached = true;
}

/* Let the child run to its end, for real, and deliver what it printed; or only as much as @text, and then killed. */
static void child_ends(struct fixture *f, const char *text)
{
	struct child_result result = { .pid = 1 };
	char out[4096] = "";
	int pipes[2];
	ssize_t n;

	if (text) {
		result.timed_out = true;
		result.wstatus = 9;
		result.out = text;
		result.out_len = strlen(text);
	} else {
		pid_t pid;

		assert_int_equal(pipe(pipes), 0);
		pid = fork();
		if (pid == 0) {
			dup2(pipes[1], STDOUT_FILENO);
			_exit(f->child.fn(f->child.fn_arg));
		}
		close(pipes[1]);
		n = read(pipes[0], out, sizeof(out) - 1); /* the pipe holds it all */
		assert_true(n > 0);
		for (ssize_t more = 1; more > 0; n += more > 0 ? more : 0)
			more = read(pipes[0], out + n, sizeof(out) - 1 - (size_t)n);
		close(pipes[0]);
		assert_int_equal(waitpid(pid, &result.wstatus, 0), pid);
		result.out = out;
		result.out_len = (size_t)n;
	}
	f->child.done(f->child.arg, &result);
}

static void put(struct fixture *f, const char *path, const char *text)
{
	cleanup_free char *full = xasprintf("%s/%s", f->dir, path);
	cleanup_free char *parent = xstrdup(full);

	*strrchr(parent, '/') = '\0';
	assert_int_equal(fsx_mkdir_p(parent, 0755), 0);
	assert_int_equal(fsx_write(AT_FDCWD, full, text, strlen(text), 0644), 0);
}

/* Written in place: descriptors that are kept open see it. */
static void overwrite(struct fixture *f, const char *path, const char *text)
{
	cleanup_free char *full = xasprintf("%s/%s", f->dir, path);
	cleanup_close int fd = open(full, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void cpu(struct fixture *f, const char *cgroup, unsigned usage_ms)
{
	cleanup_free char *path = xasprintf("cgroup/%s/cpu.stat", cgroup);
	cleanup_free char *full = xasprintf("%s/%s", f->dir, path);
	cleanup_free char *text = xasprintf("usage_usec %u000\n", usage_ms);

	if (fsx_exists(full))
		overwrite(f, path, text);
	else
		put(f, path, text);
}

static struct sandbox *pod(struct fixture *f, const char *id, const char *cgroup_parent)
{
	struct sandbox *sb = xcalloc(1, sizeof(*sb));

	list_init(&sb->containers);
	assert_int_equal(str_copy(sb->id, sizeof(sb->id), id), 0);
	sb->cgroup_parent = xstrdup(cgroup_parent);
	sb->state = SANDBOX_READY;
	list_push_back(&f->state->sandboxes, &sb->link);
	map_set(&f->state->sandbox_ids, id, sb);
	f->state->seq++;
	return sb;
}

static struct container *container(struct fixture *f, struct sandbox *sb, const char *id)
{
	struct container *c = xcalloc(1, sizeof(*c));

	assert_int_equal(str_copy(c->id, sizeof(c->id), id), 0);
	assert_int_equal(str_copy(c->sandbox_id, sizeof(c->sandbox_id), sb->id), 0);
	c->cgroups_path = xasprintf("/pods/%s", id);
	c->state = CONTAINER_RUNNING;
	c->created_ns = c->started_ns = clock_real_ns();
	list_push_back(&f->state->containers, &c->link);
	list_push_back(&sb->containers, &c->pod_link);
	map_set(&f->state->container_ids, id, c);
	f->state->seq++;
	return c;
}

static void answered(void *arg, const struct stats_result *result)
{
	struct answer *answer = arg;

	assert_true(result->ncontainers <= ARRAY_SIZE(answer->containers));
	answer->calls++;
	answer->ncontainers = result->ncontainers;
	answer->nsandboxes = result->nsandboxes;
	for (size_t i = 0; i < result->ncontainers; i++)
		answer->containers[i] = result->containers[i];
	for (size_t i = 0; i < result->nsandboxes; i++)
		answer->sandboxes[i] = result->sandboxes[i];
}

static const struct stats_container *ask(struct fixture *f, const struct container *c)
{
	struct stats_query *query = stats_query_new(f->stats, STATS_BASIC);
	int before = f->answer.calls;

	stats_query_container(query, c);
	stats_query_run(query, answered, &f->answer);
	assert_int_equal(f->answer.calls, before); /* never from inside the call */
	while (f->answer.calls == before)
		loop_turn(f->loop, false);
	assert_int_equal(f->answer.ncontainers, 1);
	return &f->answer.containers[0];
}

static const struct stats_sandbox *ask_pod(struct fixture *f, const struct sandbox *sb)
{
	struct stats_query *query = stats_query_new(f->stats, STATS_BASIC);
	int before = f->answer.calls;

	stats_query_sandbox(query, sb);
	stats_query_run(query, answered, &f->answer);
	while (f->answer.calls == before)
		loop_turn(f->loop, false);
	return &f->answer.sandboxes[0];
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	char template[] = "/tmp/test_stats.XXXXXX";
	struct proc_mount mount = {
		.root = "/", .fstype = "cgroup2", .options = "rw", .super_options = "rw"
	};
	struct err err;

	clock_virtual_set(START_NS);
	f->dir = xstrdup(mkdtemp(template));
	f->cgroups = xasprintf("%s/cgroup", f->dir);
	mount.target = f->cgroups;
	f->loop = loop_new(&err);
	f->worker = worker_new_inline(f->loop);
	f->host = cgroup_host_parse(&mount, 1, "0::/\n");
	f->host->hierarchies[0].has = ~(1u << CGROUP_SYSTEMD);
	f->state = state_new();
	f->config.root = xasprintf("%s/root", f->dir);
	f->stats = stats_new(f->loop, f->worker, f->host, f->state, &f->config);
	fixture_of_child = f;
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	stats_free(f->stats);
	state_free(f->state);
	cgroup_host_free(f->host);
	worker_free(f->worker);
	loop_free(f->loop);
	ignore(fsx_remove_tree(AT_FDCWD, f->dir)); /* of a temporary directory */
	free(f->config.root);
	free(f->cgroups);
	free(f->dir);
	free(f);
	return 0;
}

/* --- readings */

static void a_running_container_is_read_from_its_cgroup(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");
	const struct stats_container *sc;

	cpu(f, "pods/c1", 1500);
	put(f, "cgroup/pods/c1/memory.current", "10000\n");
	put(f, "cgroup/pods/c1/memory.stat", "anon 4000\ninactive_file 3000\n");
	put(f, "cgroup/pods/c1/memory.max", "50000\n");
	sc = ask(f, c);
	assert_string_equal(sc->id, "c1");
	assert_true(sc->usage.has);
	assert_int_equal(sc->usage.cgroup.cpu_usage_ns, 1500 * NS_PER_MS);
	assert_int_equal(sc->usage.cgroup.memory_working_set, 7000);
	assert_int_equal(sc->usage.cgroup.memory_available, 43000);
	assert_int_equal(sc->usage.cgroup.time_ns, START_NS);
}

static void a_container_that_does_not_run_has_no_readings_and_no_open_files(void **arg)
{
	struct fixture *f = *arg;
	struct container *c = container(f, pod(f, "aa", ""), "c1");

	cpu(f, "pods/c1", 1);
	assert_true(ask(f, c)->usage.has);
	assert_int_equal(stats_kept(f->stats), 1);
	c->state = CONTAINER_EXITED;
	f->state->seq++;
	assert_false(ask(f, c)->usage.has);
	assert_int_equal(stats_kept(f->stats), 0);
}

static void a_cgroup_that_is_gone_is_no_error(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");

	assert_false(ask(f, c)->usage.has);
	assert_int_equal(stats_kept(f->stats), 0);
	/* and is found when it comes */
	cpu(f, "pods/c1", 7);
	assert_true(ask(f, c)->usage.has);
}

static void files_stay_open_between_queries(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");
	cleanup_free char *away = xasprintf("%s/cgroup/pods", f->dir),
			  *hidden = xasprintf("%s/away", f->dir);

	cpu(f, "pods/c1", 1);
	ignore(ask(f, c) == NULL); /* the answer was looked at elsewhere */
	assert_int_equal(rename(away, hidden), 0);
	assert_true(ask(f, c)->usage.has); /* without a path walk */
	assert_int_equal(stats_kept(f->stats), 1);
}

static void what_was_removed_from_the_state_is_forgotten(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "/pods");
	struct container *c = container(f, sb, "c1");

	cpu(f, "pods/c1", 1);
	cpu(f, "pods", 1);
	assert_true(ask_pod(f, sb)->usage.has);
	assert_int_equal(stats_kept(f->stats), 2);
	c->state = CONTAINER_GONE;
	sb->state = SANDBOX_GONE;
	f->state->seq++;
	ask_pod(f, sb);
	assert_int_equal(stats_kept(f->stats), 0);
}

/* --- rates */

static void the_rate_needs_two_readings(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");
	const struct stats_container *sc;

	cpu(f, "pods/c1", 1000);
	assert_false(ask(f, c)->usage.has_nano_cores);
	clock_virtual_advance(2 * NS_PER_S);
	cpu(f, "pods/c1", 1500);
	sc = ask(f, c);
	assert_true(sc->usage.has_nano_cores);
	assert_int_equal(sc->usage.nano_cores, 250000000); /* half a second of two */
}

static void readings_close_together_share_one_rate(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");

	cpu(f, "pods/c1", 0);
	assert_false(ask(f, c)->usage.has_nano_cores);
	clock_virtual_advance(NS_PER_S);
	cpu(f, "pods/c1", 100);
	assert_int_equal(ask(f, c)->usage.nano_cores, 100000000);
	/* a burst right behind does not make a rate of its own */
	clock_virtual_advance(10 * NS_PER_MS);
	cpu(f, "pods/c1", 110);
	assert_int_equal(ask(f, c)->usage.nano_cores, 100000000);
	/* the next rate counts from the last one, not from the burst */
	clock_virtual_advance(990 * NS_PER_MS);
	cpu(f, "pods/c1", 600);
	assert_int_equal(ask(f, c)->usage.nano_cores, 500000000);
}

static void a_counter_that_went_back_starts_again(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");

	cpu(f, "pods/c1", 5000);
	ask(f, c);
	clock_virtual_advance(NS_PER_S);
	cpu(f, "pods/c1", 10);
	assert_false(ask(f, c)->usage.has_nano_cores);
	clock_virtual_advance(NS_PER_S);
	cpu(f, "pods/c1", 20);
	assert_int_equal(ask(f, c)->usage.nano_cores, 10000000);
}

/* --- pods */

static void a_pod_is_read_from_its_own_cgroup(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "/pods");
	const struct stats_sandbox *ss;

	container(f, sb, "c1");
	cpu(f, "pods", 900);
	cpu(f, "pods/c1", 400);
	ss = ask_pod(f, sb);
	assert_int_equal(ss->usage.cgroup.cpu_usage_ns, 900 * NS_PER_MS);
	assert_int_equal(ss->count, 1);
	assert_int_equal(f->answer.containers[ss->first].usage.cgroup.cpu_usage_ns,
	                 400 * NS_PER_MS);
}

static void a_pod_without_a_cgroup_of_its_own_is_the_sum_of_its_containers(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "/"); /* the node's is not its own either */
	const struct stats_sandbox *ss;

	container(f, sb, "c1");
	container(f, sb, "c2");
	container(f, sb, "c3")->state = CONTAINER_EXITED;
	cpu(f, "pods/c1", 400);
	cpu(f, "pods/c2", 50);
	put(f, "cgroup/pods/c1/pids.current", "3\n");
	put(f, "cgroup/pods/c2/pids.current", "4\n");
	ss = ask_pod(f, sb);
	assert_true(ss->usage.has);
	assert_int_equal(ss->usage.cgroup.cpu_usage_ns, 450 * NS_PER_MS);
	assert_int_equal(ss->usage.cgroup.pids, 7);
	assert_int_equal(ss->count, 3);
}

static void hidden_containers_are_not_among_a_pods(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "");

	container(f, sb, "c1")->hidden = true;
	assert_int_equal(ask_pod(f, sb)->count, 0);
}

static void a_network_namespace_that_is_gone_leaves_the_rest(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "/pods");
	const struct stats_sandbox *ss;

	sb->netns_path = xasprintf("%s/no-such-pin", f->dir);
	cpu(f, "pods", 1);
	ss = ask_pod(f, sb);
	assert_false(ss->has_network);
	assert_true(ss->usage.has);
}

/* --- writable layers */

static void the_size_of_a_layer_is_told_by_a_later_query(void **arg)
{
	struct fixture *f = *arg;
	const struct container *c = container(f, pod(f, "aa", ""), "c1");
	const struct stats_container *sc;

	put(f, "root/snapshots/c1/upper/file", "some text");
	assert_false(ask(f, c)->has_layer); /* nobody waited */
	assert_int_equal(f->spawned, 1);
	clock_virtual_advance(NS_PER_S);
	child_ends(f, NULL);
	clock_virtual_advance(9 * NS_PER_S);
	sc = ask(f, c);
	assert_true(sc->has_layer);
	assert_int_equal(sc->layer.inodes, 2);
	assert_int_equal(sc->layer_ns, START_NS + NS_PER_S);
	assert_int_equal(f->spawned, 1); /* fresh enough */
	clock_virtual_advance(2 * NS_PER_S);
	assert_true(ask(f, c)->has_layer); /* old, but the last known */
	assert_int_equal(f->spawned, 2);
}

static void one_child_walks_over_all_that_are_due(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "");

	container(f, sb, "c1");
	container(f, sb, "c2");
	put(f, "root/snapshots/c2/upper/file", "some text");
	ask_pod(f, sb);
	ask_pod(f, sb); /* while it walks: no second one */
	assert_int_equal(f->spawned, 1);
	child_ends(f, NULL);
	ask_pod(f, sb);
	assert_false(f->answer.containers[0].has_layer); /* has none */
	assert_true(f->answer.containers[1].has_layer);
	assert_int_equal(f->spawned, 1);
}

static void a_layer_that_cannot_be_walked_does_not_starve_the_others(void **arg)
{
	struct fixture *f = *arg;
	struct sandbox *sb = pod(f, "aa", "");

	container(f, sb, "c1");
	container(f, sb, "c2");
	container(f, sb, "c3");
	ask_pod(f, sb);
	child_ends(f, "0 4096 1\n"); /* killed on c2 */
	ask_pod(f, sb);
	assert_true(f->answer.containers[0].has_layer);
	assert_int_equal(f->spawned, 2); /* c3 alone */
	child_ends(f, "0 8192 2\n");
	ask_pod(f, sb);
	assert_false(f->answer.containers[1].has_layer);
	assert_int_equal(f->answer.containers[2].layer.bytes, 8192);
	assert_int_equal(f->spawned, 2);
	clock_virtual_advance(601 * NS_PER_S);
	ask_pod(f, sb);
	child_ends(f, "0 1 1\n1 2 2\n2 3 3\n");
	ask_pod(f, sb);
	assert_int_equal(f->answer.containers[1].layer.bytes, 2);
}

static void a_layer_measured_after_its_container_ended_is_not_walked_again(void **arg)
{
	struct fixture *f = *arg;
	struct container *c = container(f, pod(f, "aa", ""), "c1");

	ask(f, c);
	child_ends(f, "0 4096 1\n");
	clock_virtual_advance(20 * NS_PER_S);
	c->state = CONTAINER_EXITED;
	c->finished_ns = clock_real_ns() - NS_PER_S;
	f->state->seq++;
	ask(f, c);
	assert_int_equal(f->spawned, 2);
	child_ends(f, "0 4096 1\n");
	clock_virtual_advance(100 * NS_PER_S);
	assert_true(ask(f, c)->has_layer);
	assert_int_equal(f->spawned, 2);
}

static void a_child_that_prints_nonsense_is_not_believed(void **arg)
{
	struct fixture *f = *arg;
	struct container *c = container(f, pod(f, "aa", ""), "c1");

	ask(f, c);
	child_ends(f, "7 1 1\nx\n");
	assert_false(ask(f, c)->has_layer);
}

static void a_fork_that_fails_costs_only_the_sizes(void **arg)
{
	struct fixture *f = *arg;
	struct container *c = container(f, pod(f, "aa", ""), "c1");

	cpu(f, "pods/c1", 1);
	f->spawn_fails = true;
	assert_true(ask(f, c)->usage.has);
	f->spawn_fails = false;
	ask(f, c);
	assert_int_equal(f->spawned, 1);
}

/* --- the end */

static void a_query_that_outlives_the_stats_is_not_answered(void **arg)
{
	struct fixture *f = *arg;
	struct stats_query *query = stats_query_new(f->stats, STATS_BASIC);

	stats_query_container(query, container(f, pod(f, "aa", ""), "c1"));
	cpu(f, "pods/c1", 1);
	stats_query_run(query, answered, &f->answer);
	stats_free(f->stats);
	f->stats = NULL;
	loop_turn(f->loop, false);
	assert_int_equal(f->answer.calls, 0);
	assert_true(f->killed && f->detached);
}

/* --- /proc/net/dev: as a 6.18 kernel prints it */

static const char net_dev[] =
	"Inter-|   Receive                                                |  Transmit\n"
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
	"    lo: 1111 11 0 0 0 0 0 0 1111 11 0 0 0 0 0 0\n"
	"  eth0:  123456     789    1    2    3    4          5         6  654321     987    7    8    9   10      11         12\n"
	"veth-long-name0:18446744073709551615 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n"
	"  bad0: 1 2 three 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
	" short0: 1 2 3 4 5 6 7 8\n"
	"a-name-that-no-interface-can-have: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";

static void network_counters_are_found_by_column(void **arg)
{
	cleanup_free struct stats_interface *found = NULL;
	size_t n = stats_parse_net_dev(str_of(net_dev), &found);

	(void)arg;
	assert_int_equal(n, 2);
	assert_string_equal(found[0].name, "eth0");
	assert_int_equal(found[0].rx_bytes, 123456);
	assert_int_equal(found[0].rx_packets, 789);
	assert_int_equal(found[0].rx_errors, 1);
	assert_int_equal(found[0].rx_dropped, 2);
	assert_int_equal(found[0].tx_bytes, 654321);
	assert_int_equal(found[0].tx_packets, 987);
	assert_int_equal(found[0].tx_errors, 7);
	assert_int_equal(found[0].tx_dropped, 8);
	assert_string_equal(found[1].name, "veth-long-name0");
	assert_true(found[1].rx_bytes == UINT64_MAX);
	assert_int_equal(found[1].tx_dropped, 11);
}

static void no_interfaces_are_none(void **arg)
{
	cleanup_free struct stats_interface *found = NULL;

	(void)arg;
	assert_int_equal(stats_parse_net_dev(STR(""), &found), 0);
	assert_null(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_running_container_is_read_from_its_cgroup),
		TEST(a_container_that_does_not_run_has_no_readings_and_no_open_files),
		TEST(a_cgroup_that_is_gone_is_no_error),
		TEST(files_stay_open_between_queries),
		TEST(what_was_removed_from_the_state_is_forgotten),
		TEST(the_rate_needs_two_readings),
		TEST(readings_close_together_share_one_rate),
		TEST(a_counter_that_went_back_starts_again),
		TEST(a_pod_is_read_from_its_own_cgroup),
		TEST(a_pod_without_a_cgroup_of_its_own_is_the_sum_of_its_containers),
		TEST(hidden_containers_are_not_among_a_pods),
		TEST(a_network_namespace_that_is_gone_leaves_the_rest),
		TEST(the_size_of_a_layer_is_told_by_a_later_query),
		TEST(one_child_walks_over_all_that_are_due),
		TEST(a_layer_that_cannot_be_walked_does_not_starve_the_others),
		TEST(a_layer_measured_after_its_container_ended_is_not_walked_again),
		TEST(a_child_that_prints_nonsense_is_not_believed),
		TEST(a_fork_that_fails_costs_only_the_sizes),
		TEST(a_query_that_outlives_the_stats_is_not_answered),
#undef TEST
		cmocka_unit_test(network_counters_are_found_by_column),
		cmocka_unit_test(no_interfaces_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
