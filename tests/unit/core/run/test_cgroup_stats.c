/* Texts of /sys/fs/cgroup: v1 from a 6.18 kernel, v2 as the kernel documentation of cgroup v2 lays them out. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/run/cgroup.h"

static const char cpu_stat_v2[] =
	"usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\nnice_usec 0\nnr_periods 40\n"
	"nr_throttled 7\nthrottled_usec 99\nnr_bursts 0\nburst_usec 0\n";
static const char memory_stat_v2[] =
	"anon 4096000\nfile 8192000\nkernel 1234\nkernel_stack 10\npagetables 20\npercpu 5\n"
	"file_mapped 512000\ninactive_anon 0\nactive_anon 0\ninactive_file 3000000\n"
	"active_file 1000000\nslab 7\npgfault 4242\npgmajfault 42\n";
static const char memory_stat_v1[] =
	"cache 9338880\nrss 15568896\nmapped_file 7606272\npgfault 56165\npgmajfault 0\ninactive_file 12288\n"
	"hierarchical_memory_limit 104857600\nhierarchical_memsw_limit 157286400\ntotal_cache 437637120\n"
	"total_rss 110252032\ntotal_mapped_file 35520512\ntotal_swap 4096\ntotal_pgfault 9103175\n"
	"total_pgmajfault 2756\ntotal_inactive_file 168382464\ntotal_active_file 260255744\n";

static void v2_cpu_times_are_nanoseconds(void **arg)
{
	struct cgroup_stats s = { 0 };

	(void)arg;
	cgroup_parse_cpu_stat_v2(str_of(cpu_stat_v2), &s);
	assert_true(s.has_cpu);
	assert_int_equal(s.cpu_usage_ns, 123456000);
	assert_int_equal(s.cpu_user_ns, 100000000);
	assert_int_equal(s.cpu_system_ns, 23456000);
	assert_int_equal(s.cpu_periods, 40);
	assert_int_equal(s.cpu_throttled_periods, 7);
	assert_int_equal(s.cpu_throttled_ns, 99000);
}

static void a_number_that_does_not_fit_in_nanoseconds_stops_at_the_end(void **arg)
{
	struct cgroup_stats s = { 0 };

	(void)arg;
	cgroup_parse_cpu_stat_v2(STR("usage_usec 18446744073709551615\n"), &s);
	assert_true(s.cpu_usage_ns == UINT64_MAX);
}

static void v1_throttling_is_nanoseconds_already(void **arg)
{
	struct cgroup_stats s = { 0 };

	(void)arg;
	cgroup_parse_cpu_stat_v1(STR("nr_periods 3\nnr_throttled 2\nthrottled_time 5000\n"), &s);
	assert_int_equal(s.cpu_periods, 3);
	assert_int_equal(s.cpu_throttled_periods, 2);
	assert_int_equal(s.cpu_throttled_ns, 5000);
}

static void v2_memory_is_taken_from_its_own_names(void **arg)
{
	struct cgroup_stats s = { 0 }, old = { 0 };

	(void)arg;
	cgroup_parse_memory_stat_v2(str_of(memory_stat_v2), &s);
	assert_int_equal(s.memory_rss, 4096000);
	assert_int_equal(s.memory_cache, 8192000);
	assert_int_equal(s.memory_mapped_file, 512000);
	assert_int_equal(s.memory_inactive_file, 3000000);
	assert_int_equal(s.memory_active_file, 1000000);
	assert_int_equal(s.page_faults, 4242);
	assert_int_equal(s.major_page_faults, 42);
	assert_int_equal(s.memory_kernel, 1234);
	/* before 5.18 there is no sum */
	cgroup_parse_memory_stat_v2(STR("kernel_stack 10\npagetables 20\npercpu 5\nslab 7\n"),
	                            &old);
	assert_int_equal(old.memory_kernel, 42);
}

static void v1_memory_is_that_of_the_subtree(void **arg)
{
	struct cgroup_stats s = { 0 }, free_ = { 0 };

	(void)arg;
	cgroup_parse_memory_stat_v1(str_of(memory_stat_v1), &s);
	assert_int_equal(s.memory_rss, 110252032);
	assert_int_equal(s.memory_cache, 437637120);
	assert_int_equal(s.memory_inactive_file, 168382464);
	assert_int_equal(s.page_faults, 9103175);
	assert_int_equal(s.major_page_faults, 2756);
	assert_int_equal(s.memory_limit, 104857600);
	assert_true(s.has_swap);
	assert_int_equal(s.swap_usage, 4096);
	assert_int_equal(s.swap_limit, 157286400 - 104857600);

	cgroup_parse_memory_stat_v1(
		STR("hierarchical_memory_limit 9223372036854771712\ntotal_rss 1\n"), &free_);
	assert_int_equal(free_.memory_limit, 0);
	assert_false(free_.has_swap);
}

static void v2_oom_kills_are_events(void **arg)
{
	struct cgroup_stats s = { 0 };

	(void)arg;
	cgroup_parse_memory_events(
		STR("low 0\nhigh 0\nmax 13\noom 2\noom_kill 1\noom_group_kill 0\n"), &s);
	assert_int_equal(s.oom_kills, 1);
	assert_int_equal(s.memory_failcnt, 13);
}

static void v2_io_is_per_device(void **arg)
{
	struct cgroup_stats s = { 0 };

	(void)arg;
	cgroup_parse_io_stat_v2(
		STR("8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=512 dios=3\n254:16 \n"
	            "253:0 rbytes=7 junk wbytes=x wios=9\nbad line\n8:x rbytes=1\n"),
		&s);
	assert_int_equal(s.nio, 3);
	assert_int_equal(s.io[0].major, 8);
	assert_int_equal(s.io[0].read_bytes, 4096);
	assert_int_equal(s.io[0].write_bytes, 8192);
	assert_int_equal(s.io[0].reads, 1);
	assert_int_equal(s.io[0].writes, 2);
	assert_int_equal(s.io[0].discard_bytes, 512);
	assert_int_equal(s.io[0].discards, 3);
	assert_int_equal(s.io[1].minor, 16);
	assert_int_equal(s.io[2].read_bytes, 7);
	assert_int_equal(s.io[2].write_bytes, 0);
	assert_int_equal(s.io[2].writes, 9);
}

static void v1_io_joins_bytes_and_operations(void **arg)
{
	struct cgroup_stats s = { 0 };

	(void)arg;
	cgroup_parse_blkio_v1(
		STR("8:0 Read 4096\n8:0 Write 10\n8:0 Sync 0\n8:0 Discard 5\n8:0 Total 4111\nTotal 4111\n"),
		STR("8:0 Read 2\n8:0 Write 1\n8:16 Write 4\nTotal 7\n"), &s);
	assert_int_equal(s.nio, 2);
	assert_int_equal(s.io[0].read_bytes, 4096);
	assert_int_equal(s.io[0].reads, 2);
	assert_int_equal(s.io[0].discard_bytes, 5);
	assert_int_equal(s.io[1].minor, 16);
	assert_int_equal(s.io[1].writes, 4);
}

static void more_devices_than_there_is_room_for_are_left_out(void **arg)
{
	cleanup_free char *text = xcalloc(1, 4096);
	struct cgroup_stats s = { 0 };
	size_t n = 0;

	(void)arg;
	for (int i = 0; i < CGROUP_IO_MAX + 5; i++)
		n += (size_t)snprintf(text + n, 4096 - n, "9:%d rbytes=1\n", i);
	cgroup_parse_io_stat_v2((struct str){ text, n }, &s);
	assert_int_equal(s.nio, CGROUP_IO_MAX);
}

static void pressure_is_read_in_hundredths(void **arg)
{
	struct cgroup_psi psi = { 0 }, off = { 0 };

	(void)arg;
	cgroup_parse_psi(STR("some avg10=1.50 avg60=0.07 avg300=100.00 total=123456\n"
	                     "full avg10=0.00 avg60=12.34 avg300=0.00 total=99\n"),
	                 &psi);
	assert_true(psi.has);
	assert_int_equal(psi.some.avg10_c, 150);
	assert_int_equal(psi.some.avg60_c, 7);
	assert_int_equal(psi.some.avg300_c, 10000);
	assert_int_equal(psi.some.total_us, 123456);
	assert_int_equal(psi.full.avg60_c, 1234);
	assert_int_equal(psi.full.total_us, 99);
	cgroup_parse_psi(STR("none avg10=1.00\nsome avg10=1.5 avg60=x\n"), &off);
	assert_false(off.has);
	assert_int_equal(off.some.avg10_c, 0);
}

static void no_limit_has_three_spellings(void **arg)
{
	uint64_t v = 1;

	(void)arg;
	assert_int_equal(cgroup_parse_limit(STR("max\n"), &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(cgroup_parse_limit(STR("9223372036854771712\n"), &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(cgroup_parse_limit(STR("-1\n"), &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(cgroup_parse_limit(STR("4096\n"), &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(cgroup_parse_limit(STR("lots"), &v), -1);
	assert_int_equal(cgroup_parse_limit(STR(""), &v), -1);
}

static void shares_and_weight_meet_at_both_ends(void **arg)
{
	(void)arg;
	assert_int_equal(cgroup_weight_from_shares(0), 0);
	assert_int_equal(cgroup_weight_from_shares(1), 1);
	assert_int_equal(cgroup_weight_from_shares(2), 1);
	assert_int_equal(cgroup_weight_from_shares(1024), 39);
	assert_int_equal(cgroup_weight_from_shares(262144), 10000);
	assert_int_equal(cgroup_weight_from_shares(UINT64_MAX), 10000);
	assert_int_equal(cgroup_shares_from_weight(0), 0);
	assert_int_equal(cgroup_shares_from_weight(1), 2);
	assert_int_equal(cgroup_shares_from_weight(10000), 262144);
	for (uint64_t w = 1; w <= 10000; w++)
		assert_in_range(cgroup_weight_from_shares(cgroup_shares_from_weight(w)), w - 1, w);
}

/* ---- whole readings, from a directory tree instead of cgroupfs */

struct tree {
	char dir[64];
	struct cgroup_host *host;
};

static void put(const struct tree *t, const char *file, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", t->dir, file);

	assert_int_equal(fsx_write(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

static int tree_setup(void **arg)
{
	struct tree *t = xcalloc(1, sizeof(*t));

	assert_int_equal(str_copy(t->dir, sizeof(t->dir), "/tmp/test-stats-XXXXXX"), 0);
	assert_non_null(mkdtemp(t->dir));
	*arg = t;
	return 0;
}

static int tree_teardown(void **arg)
{
	struct tree *t = *arg;

	cgroup_host_free(t->host);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}

static void mkdirs(const struct tree *t, const char *dir)
{
	cleanup_free char *path = xasprintf("%s/%s", t->dir, dir);

	assert_int_equal(fsx_mkdir_p(path, 0755), 0);
}

static void a_whole_v2_reading(void **arg)
{
	struct tree *t = *arg;
	struct proc_mount mount = {
		.root = "/", .target = t->dir, .fstype = "cgroup2", .super_options = "rw"
	};
	cleanup(cgroup_files_free) struct cgroup_files *files = NULL;
	struct cgroup_stats s;
	struct err err;

	t->host = cgroup_host_parse(&mount, 1, "0::/\n");
	for (int c = 0; c < CGROUP_CONTROLLERS; c++)
		if (c != CGROUP_SYSTEMD)
			t->host->hierarchies[0].has |=
				1u << c; /* what cgroup.controllers would have said */
	mkdirs(t, "c1");
	put(t, "c1/cpu.stat", cpu_stat_v2);
	put(t, "c1/cpu.max", "20000 100000\n");
	put(t, "c1/cpu.weight", "39\n");
	put(t, "c1/memory.current", "10000000\n");
	put(t, "c1/memory.stat", memory_stat_v2);
	put(t, "c1/memory.max", "67108864\n");
	put(t, "c1/memory.peak", "20000000\n");
	put(t, "c1/memory.swap.current", "100\n");
	put(t, "c1/memory.swap.max", "1000\n");
	put(t, "c1/memory.events", "max 2\noom_kill 5\n");
	put(t, "c1/pids.current", "3\n");
	put(t, "c1/pids.max", "max\n");
	put(t, "c1/hugetlb.2MB.current", "2097152\n");
	put(t, "c1/hugetlb.2MB.rsvd.current", "1\n");
	put(t, "c1/hugetlb.2MB.events", "max 4\n");
	put(t, "c1/io.stat", "8:0 rbytes=1\n");
	put(t, "c1/memory.pressure", "some avg10=0.10 avg60=0.00 avg300=0.00 total=5\n");

	files = cgroup_files_open(t->host, "/c1", &err);
	if (!files)
		fail_msg("%s", err.msg);
	assert_int_equal(cgroup_files_read(files, true, &s, &err), 0);
	assert_true(s.has_cpu && s.has_memory && s.has_swap && s.has_pids);
	assert_int_equal(s.cpu_usage_ns, 123456000);
	assert_int_equal(s.cpu_quota_us, 20000);
	assert_int_equal(s.cpu_period_us, 100000);
	assert_int_equal(s.cpu_shares, cgroup_shares_from_weight(39));
	assert_int_equal(s.memory_usage, 10000000);
	assert_int_equal(s.memory_working_set, 7000000);
	assert_int_equal(s.memory_limit, 67108864);
	assert_int_equal(s.memory_available, 67108864 - 7000000);
	assert_int_equal(s.memory_max_usage, 20000000);
	assert_int_equal(s.memory_failcnt, 2);
	assert_int_equal(s.oom_kills, 5);
	assert_int_equal(s.swap_usage, 100);
	assert_int_equal(s.swap_limit, 1000);
	assert_int_equal(s.swap_available, 900);
	assert_int_equal(s.pids, 3);
	assert_int_equal(s.pids_limit, 0);
	assert_int_equal(s.nhugetlb, 1);
	assert_string_equal(s.hugetlb[0].page_size, "2MB");
	assert_int_equal(s.hugetlb[0].usage, 2097152);
	assert_int_equal(s.hugetlb[0].failcnt, 4);
	assert_int_equal(s.nio, 1);
	assert_true(s.memory_psi.has && !s.cpu_psi.has);
	assert_true(s.time_ns > 0);

	/* A later reading sees what changed, from the kept descriptor. */
	{
		cleanup_free char *path = xasprintf("%s/c1/memory.current", t->dir);
		int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

		assert_int_equal(write(fd, "2000000\n", 8), 8);
		close(fd);
	}
	assert_int_equal(cgroup_files_read(files, false, &s, &err), 0);
	assert_int_equal(s.memory_usage, 2000000);
	assert_int_equal(s.memory_working_set,
	                 0); /* less than its inactive pages for a moment: not below zero */
	assert_int_equal(s.nio, 0);
}

static void a_whole_v1_reading(void **arg)
{
	struct tree *t = *arg;
	static const char *const names[] = { "cpu,cpuacct", "memory", "pids", "blkio", "hugetlb" };
	struct proc_mount mounts[ARRAY_SIZE(names)];
	char targets[ARRAY_SIZE(names)][96];
	cleanup(cgroup_files_free) struct cgroup_files *files = NULL;
	struct cgroup_stats s;
	struct err err;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(
			str_format(targets[i], sizeof(targets[i]), "%s/%s", t->dir, names[i]), 0);
		mounts[i] = (struct proc_mount){ .root = "/",
			                         .target = targets[i],
			                         .fstype = "cgroup",
			                         .super_options = names[i] };
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *dir = xasprintf("%s/c1", names[i]);

		mkdirs(t, dir);
	}
	t->host = cgroup_host_parse(mounts, ARRAY_SIZE(mounts), "");
	put(t, "cpu,cpuacct/c1/cpuacct.usage", "777000\n");
	put(t, "cpu,cpuacct/c1/cpuacct.usage_user", "700000\n");
	put(t, "cpu,cpuacct/c1/cpuacct.usage_sys", "77000\n");
	put(t, "cpu,cpuacct/c1/cpu.shares", "1024\n");
	put(t, "cpu,cpuacct/c1/cpu.cfs_quota_us", "-1\n");
	put(t, "cpu,cpuacct/c1/cpu.cfs_period_us", "100000\n");
	put(t, "cpu,cpuacct/c1/cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 9\n");
	put(t, "memory/c1/memory.usage_in_bytes", "200000000\n");
	put(t, "memory/c1/memory.stat", memory_stat_v1);
	put(t, "memory/c1/memory.limit_in_bytes", "9223372036854771712\n");
	put(t, "memory/c1/memory.max_usage_in_bytes", "300000000\n");
	put(t, "memory/c1/memory.failcnt", "6\n");
	put(t, "memory/c1/memory.kmem.usage_in_bytes", "4444\n");
	put(t, "memory/c1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
	put(t, "pids/c1/pids.current", "2\n");
	put(t, "pids/c1/pids.max", "100\n");
	put(t, "blkio/c1/blkio.throttle.io_service_bytes_recursive", "8:0 Read 1\n");
	put(t, "hugetlb/c1/hugetlb.1GB.usage_in_bytes", "0\n");
	put(t, "hugetlb/c1/hugetlb.1GB.rsvd.usage_in_bytes", "0\n");
	put(t, "hugetlb/c1/hugetlb.1GB.max_usage_in_bytes", "11\n");
	put(t, "hugetlb/c1/hugetlb.1GB.failcnt", "1\n");

	files = cgroup_files_open(t->host, "/c1", &err);
	if (!files)
		fail_msg("%s", err.msg);
	assert_int_equal(cgroup_files_read(files, false, &s, &err), 0);
	assert_int_equal(s.cpu_usage_ns, 777000);
	assert_int_equal(s.memory_usage, 200000000);
	assert_int_equal(s.memory_working_set, 200000000 - 168382464);
	assert_int_equal(s.memory_limit, 104857600); /* the smallest on the way up */
	assert_int_equal(s.cpu_quota_us, -1);
	assert_int_equal(cgroup_files_read(files, true, &s, &err), 0);
	assert_int_equal(s.memory_limit, 0); /* its own */
	assert_int_equal(s.memory_available, 0);
	assert_int_equal(s.cpu_user_ns, 700000);
	assert_int_equal(s.cpu_system_ns, 77000);
	assert_int_equal(s.cpu_shares, 1024);
	assert_int_equal(s.cpu_throttled_ns, 9);
	assert_int_equal(s.memory_max_usage, 300000000);
	assert_int_equal(s.memory_failcnt, 6);
	assert_int_equal(s.memory_kernel, 4444);
	assert_int_equal(s.oom_kills, 3);
	assert_int_equal(s.pids_limit, 100);
	assert_int_equal(s.nhugetlb, 1);
	assert_string_equal(s.hugetlb[0].page_size, "1GB");
	assert_int_equal(s.hugetlb[0].max_usage, 11);
	assert_int_equal(s.nio, 1);
}

static void a_cgroup_that_is_not_there_is_not_found(void **arg)
{
	struct tree *t = *arg;
	struct proc_mount mount = {
		.root = "/", .target = t->dir, .fstype = "cgroup2", .super_options = "rw"
	};
	struct err err = { 0 };

	t->host = cgroup_host_parse(&mount, 1, "0::/\n");
	assert_null(cgroup_files_open(t->host, "/gone", &err));
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_non_null(strstr(err.msg, "/gone"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v2_cpu_times_are_nanoseconds),
		cmocka_unit_test(a_number_that_does_not_fit_in_nanoseconds_stops_at_the_end),
		cmocka_unit_test(v1_throttling_is_nanoseconds_already),
		cmocka_unit_test(v2_memory_is_taken_from_its_own_names),
		cmocka_unit_test(v1_memory_is_that_of_the_subtree),
		cmocka_unit_test(v2_oom_kills_are_events),
		cmocka_unit_test(v2_io_is_per_device),
		cmocka_unit_test(v1_io_joins_bytes_and_operations),
		cmocka_unit_test(more_devices_than_there_is_room_for_are_left_out),
		cmocka_unit_test(pressure_is_read_in_hundredths),
		cmocka_unit_test(no_limit_has_three_spellings),
		cmocka_unit_test(shares_and_weight_meet_at_both_ends),
		cmocka_unit_test_setup_teardown(a_whole_v2_reading, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(a_whole_v1_reading, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(a_cgroup_that_is_not_there_is_not_found, tree_setup,
		                                tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
