#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/run/cgroup.h"

#define V1(at, flags)                                                                              \
	{                                                                                          \
		.root = "/", .target = "/sys/fs/cgroup/" at, .fstype = "cgroup",                   \
		.super_options = "rw," flags                                                       \
	}

static const struct proc_mount v1_mounts[] = {
	{ .root = "/", .target = "/proc", .fstype = "proc", .super_options = "rw" },
	V1("cpu,cpuacct", "cpu,cpuacct"),
	V1("memory", "memory"),
	V1("pids", "pids"),
	V1("freezer", "freezer"),
	V1("systemd", "xattr,name=systemd"),
	V1("misc", "misc"),
	/* a container's own view of a hierarchy that we know already */
	{ .root = "/docker/x",
	  .target = "/var/lib/x/memory",
	  .fstype = "cgroup",
	  .super_options = "rw,memory" },
};

static const char v1_self[] =
	"5:name=systemd:/system.slice/coracle.service\n4:freezer:/\n3:pids:/system.slice/coracle.service\n"
	"2:memory:/system.slice/coracle.service\n1:cpu,cpuacct:/system.slice\n0::/init.scope\n";

static void v1_controllers_are_found_where_they_are_mounted(void **arg)
{
	cleanup(cgroup_host_free) struct cgroup_host *host =
		cgroup_host_parse(v1_mounts, ARRAY_SIZE(v1_mounts), v1_self);

	(void)arg;
	assert_int_equal(host->mode, CGROUP_V1);
	assert_int_equal(host->nhierarchies, 5);
	assert_string_equal(cgroup_find(host, CGROUP_MEMORY)->mount, "/sys/fs/cgroup/memory");
	assert_ptr_equal(cgroup_find(host, CGROUP_CPU), cgroup_find(host, CGROUP_CPUACCT));
	assert_string_equal(cgroup_find(host, CGROUP_CPU)->name, "cpu,cpuacct");
	assert_string_equal(cgroup_find(host, CGROUP_CPU)->own, "/system.slice");
	assert_string_equal(cgroup_find(host, CGROUP_FREEZER)->own, "");
	assert_string_equal(cgroup_find(host, CGROUP_SYSTEMD)->own,
	                    "/system.slice/coracle.service");
	assert_null(cgroup_find(host, CGROUP_HUGETLB));
}

static void v1_beside_a_v2_tree_is_a_hybrid(void **arg)
{
	struct proc_mount mounts[ARRAY_SIZE(v1_mounts) + 1];
	struct cgroup_host *host;

	(void)arg;
	memcpy(mounts, v1_mounts, sizeof(v1_mounts));
	mounts[ARRAY_SIZE(v1_mounts)] = (struct proc_mount){ .root = "/",
		                                             .target = "/sys/fs/cgroup/unified",
		                                             .fstype = "cgroup2",
		                                             .super_options = "rw" };
	host = cgroup_host_parse(mounts, ARRAY_SIZE(mounts), v1_self);
	assert_int_equal(host->mode, CGROUP_HYBRID);
	assert_false(cgroup_find(host, CGROUP_FREEZER)->v2);
	assert_string_equal(host->hierarchies[5].own, "/init.scope");
	cgroup_host_free(host);
}

static void v2_alone_has_what_needs_no_controller(void **arg)
{
	static const struct proc_mount mounts[] = {
		{ .root = "/",
		  .target = "/sys/fs/cgroup",
		  .fstype = "cgroup2",
		  .super_options = "rw,nsdelegate" },
	};
	cleanup(cgroup_host_free) struct cgroup_host *host =
		cgroup_host_parse(mounts, 1, "0::/system.slice/coracle.service\n");

	(void)arg;
	assert_int_equal(host->mode, CGROUP_V2);
	assert_non_null(cgroup_find(host, CGROUP_FREEZER));
	assert_non_null(cgroup_find(host, CGROUP_DEVICES));
	assert_null(cgroup_find(host, CGROUP_SYSTEMD));
	assert_string_equal(host->hierarchies[0].own, "/system.slice/coracle.service");
}

static void a_machine_without_cgroups_is_said_to_have_none(void **arg)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = cgroup_host_parse(NULL, 0, "");
	char text[100];

	(void)arg;
	assert_int_equal(host->mode, CGROUP_NONE);
	cgroup_describe(host, text, sizeof(text));
	assert_string_equal(text, "no cgroup hierarchy is mounted");
}

static void inside_a_container_our_cgroup_is_below_the_mounted_root(void **arg)
{
	static const struct proc_mount mounts[] = {
		{ .root = "/docker/abc",
		  .target = "/sys/fs/cgroup/memory",
		  .fstype = "cgroup",
		  .super_options = "rw,memory" },
		{ .root = "/docker/abc",
		  .target = "/sys/fs/cgroup/pids",
		  .fstype = "cgroup",
		  .super_options = "rw,pids" },
		{ .root = "/",
		  .target = "/sys/fs/cgroup/freezer",
		  .fstype = "cgroup",
		  .super_options = "rw,freezer" },
	};
	cleanup(cgroup_host_free) struct cgroup_host *host = cgroup_host_parse(
		mounts, 3, "3:memory:/docker/abc/init\n2:pids:/docker/other\n1:freezer:/../out\n");

	(void)arg;
	assert_string_equal(cgroup_find(host, CGROUP_MEMORY)->own, "/init");
	assert_null(cgroup_find(host, CGROUP_PIDS)->own);
	assert_null(cgroup_find(host, CGROUP_FREEZER)->own);
}

static void the_description_names_what_is_missing(void **arg)
{
	cleanup(cgroup_host_free) struct cgroup_host *host =
		cgroup_host_parse(v1_mounts, ARRAY_SIZE(v1_mounts), v1_self);
	char text[200];

	(void)arg;
	cgroup_describe(host, text, sizeof(text));
	assert_string_equal(text,
	                    "cgroup v1; missing: cpuset, blkio, hugetlb, devices; no swap limits");
	host->swap = true;
	cgroup_describe(host, text, sizeof(text));
	assert_string_equal(text, "cgroup v1; missing: cpuset, blkio, hugetlb, devices");
}

static void assert_oci_path(const char *parent, const char *expected)
{
	struct err err = { 0 };
	cleanup_free char *path = cgroup_oci_path(parent, "c1", &err);

	if (!path)
		fail_msg("%s: %s", parent, err.msg);
	assert_string_equal(path, expected);
}

static void a_slice_parent_gives_the_systemd_form(void **arg)
{
	(void)arg;
	assert_oci_path("/kubepods.slice/kubepods-pod1.slice", "kubepods-pod1.slice:coracle:c1");
	assert_oci_path("kubepods-pod1.slice", "kubepods-pod1.slice:coracle:c1");
	assert_oci_path("kubepods-pod1.slice/", "kubepods-pod1.slice:coracle:c1");
	assert_true(cgroup_path_is_systemd("kubepods-pod1.slice:coracle:c1"));
	assert_true(cgroup_path_is_systemd(":coracle:c1"));
	assert_false(cgroup_path_is_systemd("/kubepods/pod1/c1"));
	assert_false(cgroup_path_is_systemd("/a:b:c"));
	assert_false(cgroup_path_is_systemd("a:b"));
}

static void any_other_parent_gives_a_path(void **arg)
{
	(void)arg;
	assert_oci_path("/kubepods/besteffort/pod1", "/kubepods/besteffort/pod1/c1");
	assert_oci_path("kubepods//./pod1/", "/kubepods/pod1/c1");
	assert_oci_path("", "/coracle/c1");
	assert_oci_path("/", "/coracle/c1");
	assert_oci_path("/x.slice/y", "/x.slice/y/c1");
}

static void a_bad_parent_is_named(void **arg)
{
	static const char *const bad[] = { "/a/../b",  "/a:b",       "a.slice:x:b.slice",
		                           "a/.slice", "a--b.slice", "-a.slice",
		                           "a-.slice", "a\nb" };
	cleanup_free char *long_parent = xcalloc(1, 5000);

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = { 0 };

		assert_null(cgroup_oci_path(bad[i], "c1", &err));
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
		assert_non_null(strstr(err.msg, "cgroup p"));
	}
	memset(long_parent, 'a', 4999);
	assert_null(cgroup_oci_path(long_parent, "c1", &(struct err){ 0 }));
}

static void a_slice_that_is_too_long_once_expanded_is_refused(void **arg)
{
	char slice[256] = "";

	(void)arg;
	for (size_t n = 0; n < 246; n += 6)
		memcpy(slice + n, "a-b-c-", 7);
	memcpy(slice + 245, ".slice", 7); /* 251 bytes, 82 levels */
	assert_null(cgroup_oci_path(slice, "c1", &(struct err){ 0 }));
	memcpy(slice + 11, ".slice", 7);
	assert_oci_path(slice, "a-b-c-a-b-c.slice:coracle:c1");
}

static void assert_dir(const char *path, const char *expected)
{
	struct err err = { 0 };
	cleanup_free char *dir = cgroup_dir(path, &err);

	if (!dir)
		fail_msg("%s: %s", path, err.msg);
	assert_string_equal(dir, expected);
}

static void directories_are_those_that_the_runtimes_make(void **arg)
{
	(void)arg;
	assert_dir(
		"kubepods-burstable-pod1.slice:coracle:c1",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/coracle-c1.scope");
	assert_dir(":coracle:c1", "/system.slice/coracle-c1.scope");
	assert_dir("-.slice::c1", "/c1.scope");
	assert_dir("a.slice:p:b.slice", "/a.slice/b.slice");
	assert_dir("/kubepods/pod1/c1", "/kubepods/pod1/c1");
	assert_dir("kubepods/pod1", "/kubepods/pod1");
	assert_dir("/kubepods.slice/kubepods-pod1.slice",
	           "/kubepods.slice/kubepods-pod1.slice"); /* a pod's parent */
	assert_dir("kubepods-pod1.slice", "/kubepods.slice/kubepods-pod1.slice");
	assert_dir("", "/");
	assert_null(cgroup_dir("a.slice:p:x/../y", &(struct err){ 0 }));
	assert_null(cgroup_dir("a:p:x", &(struct err){ 0 })); /* its slice is none */
	assert_null(cgroup_dir("/a/..", &(struct err){ 0 }));
}

static void only_numbered_exec_cgroups_count_as_ours(void **arg)
{
	(void)arg;
	assert_true(cgroup_is_exec_name("exec-0"));
	assert_true(cgroup_is_exec_name("exec-18446744073709551615"));
	assert_false(cgroup_is_exec_name("exec-"));
	assert_false(cgroup_is_exec_name("exec-1a"));
	assert_false(cgroup_is_exec_name("exec-18446744073709551616"));
	assert_false(cgroup_is_exec_name("init.scope"));
}

/* A directory tree stands in for cgroupfs: rmdir and cgroup.procs look the same. */
struct tree {
	char dir[64];
	struct cgroup_host *host;
};

static int tree_setup(void **arg)
{
	struct tree *t = xcalloc(1, sizeof(*t));
	struct proc_mount mounts[2];
	char targets[2][96];

	assert_int_equal(str_copy(t->dir, sizeof(t->dir), "/tmp/test-cgroup-XXXXXX"), 0);
	assert_non_null(mkdtemp(t->dir));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(str_format(targets[i], sizeof(targets[i]), "%s/%s", t->dir,
		                            i ? "cpuset" : "memory"),
		                 0);
		assert_int_equal(mkdir(targets[i], 0755), 0);
		mounts[i] = (struct proc_mount){ .root = "/",
			                         .target = targets[i],
			                         .fstype = "cgroup",
			                         .super_options = i ? "cpuset" : "memory" };
	}
	t->host = cgroup_host_parse(mounts, 2, "2:cpuset:/\n1:memory:/own\n");
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

static void put(const struct tree *t, const char *file, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", t->dir, file);

	assert_int_equal(fsx_write(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

static char *got(const struct tree *t, const char *file)
{
	cleanup_free char *path = xasprintf("%s/%s", t->dir, file);
	char *text;

	assert_true(fsx_read(AT_FDCWD, path, 1000, &text, NULL) >= 0);
	return text;
}

static void make(const struct tree *t, const char *dir)
{
	cleanup_free char *path = xasprintf("%s/%s", t->dir, dir);

	assert_int_equal(fsx_mkdir_p(path, 0755), 0);
}

static void an_exec_cgroup_inherits_the_cpuset_of_its_container(void **arg)
{
	struct tree *t = *arg;
	cleanup_free char *cpus = NULL, *mems = NULL;
	char name[CGROUP_EXEC_NAME];
	struct err err;

	make(t, "cpuset/pod/c1/exec-3");
	make(t, "memory/pod/c1");
	put(t, "cpuset/pod/cpuset.cpus", "0-3\n");
	put(t, "cpuset/pod/cpuset.mems", "0\n");
	put(t, "cpuset/pod/c1/cpuset.cpus", "1,3\n");
	put(t, "cpuset/pod/c1/cpuset.mems", "0\n");
	put(t, "cpuset/pod/c1/exec-3/cpuset.cpus", "\n"); /* as the kernel makes it */
	put(t, "cpuset/pod/c1/exec-3/cpuset.mems", "\n");
	if (cgroup_exec_create(t->host, "/pod/c1", 3, name, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(name, "exec-3");
	cpus = got(t, "cpuset/pod/c1/exec-3/cpuset.cpus");
	mems = got(t, "cpuset/pod/c1/exec-3/cpuset.mems");
	assert_string_equal(cpus, "1,3\n");
	assert_string_equal(mems, "0\n");
	assert_true(cgroup_exists(t->host, "/pod/c1/exec-3"));
}

static void an_exec_in_a_container_without_cgroup_is_not_found(void **arg)
{
	struct tree *t = *arg;
	char name[CGROUP_EXEC_NAME];
	struct err err;

	assert_int_equal(cgroup_exec_create(t->host, "/pod/gone", 1, name, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_non_null(strstr(err.msg, "/pod/gone"));
	assert_int_equal(cgroup_move(t->host, "/pod/gone", 1, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
}

static void removal_goes_bottom_up_in_every_hierarchy(void **arg)
{
	struct tree *t = *arg;
	struct err err;

	make(t, "memory/pod/c1/exec-1");
	make(t, "memory/pod/c1/a/b/c");
	make(t, "cpuset/pod/c1/d");
	assert_int_equal(cgroup_remove(t->host, "/pod/c1", 0, &err), 0);
	assert_false(cgroup_exists(t->host, "/pod/c1"));
	assert_true(cgroup_exists(t->host, "/pod"));
	assert_int_equal(cgroup_remove(t->host, "/pod/c1", 0, &err), 0);
}

static void what_cannot_be_removed_is_an_error_that_names_it(void **arg)
{
	struct tree *t = *arg;
	struct err err;

	make(t, "memory/pod/c1");
	put(t, "memory/pod/c1/file", "x"); /* cgroupfs has no such thing: rmdir answers ENOTEMPTY */
	assert_int_equal(cgroup_remove(t->host, "/pod/c1", 0, &err), -1);
	assert_non_null(strstr(err.msg, "/memory/pod/c1"));
}

static void processes_are_counted_once_over_all_hierarchies(void **arg)
{
	struct tree *t = *arg;
	struct err err;
	pid_t pids[3] = { 0 };

	make(t, "memory/pod/c1/sub");
	make(t, "cpuset/pod/c1");
	put(t, "memory/pod/c1/cgroup.procs", "900\n12\n0\nnot a number\n");
	put(t, "memory/pod/c1/sub/cgroup.procs", "77\n");
	put(t, "cpuset/pod/c1/cgroup.procs", "12\n77\n900\n5000\n");
	assert_int_equal(cgroup_procs(t->host, "/pod/c1", pids, ARRAY_SIZE(pids), &err), 4);
	assert_int_equal(pids[0], 12);
	assert_int_equal(pids[1], 77);
	assert_int_equal(pids[2], 900);
	assert_int_equal(cgroup_procs(t->host, "/gone", pids, 3, &err), 0);
}

static void children_are_listed_once_and_sorted(void **arg)
{
	struct tree *t = *arg;
	cleanup(strv_free) char **names = NULL, **none = NULL;
	struct err err;

	make(t, "memory/pod/b");
	make(t, "memory/pod/exec-2");
	make(t, "cpuset/pod/b");
	make(t, "cpuset/pod/a");
	put(t, "memory/pod/cgroup.procs", "");
	assert_int_equal(cgroup_list(t->host, "/pod", &names, &err), 0);
	assert_int_equal(strv_len(names), 3);
	assert_string_equal(names[0], "a");
	assert_string_equal(names[1], "b");
	assert_string_equal(names[2], "exec-2");
	assert_int_equal(cgroup_list(t->host, "/gone", &none, &err), 0);
	assert_int_equal(strv_len(none), 0);
}

static void a_sweep_takes_exec_cgroups_only(void **arg)
{
	struct tree *t = *arg;
	struct err err;

	make(t, "memory/c1/exec-1");
	make(t, "memory/c1/exec-22");
	make(t, "memory/c1/exec-23"); /* of this daemon */
	make(t, "memory/c1/exec-x");
	make(t, "memory/c1/app");
	assert_int_equal(cgroup_exec_sweep(t->host, "/c1", 23, 0, &err), 2);
	assert_false(cgroup_exists(t->host, "/c1/exec-1"));
	assert_true(cgroup_exists(t->host, "/c1/exec-23"));
	assert_true(cgroup_exists(t->host, "/c1/exec-x"));
	assert_true(cgroup_exists(t->host, "/c1/app"));
}

static void the_root_and_what_climbs_out_are_refused(void **arg)
{
	static const char *const bad[] = { "/", "", "c1", "/c1/../..", "/.." };
	struct tree *t = *arg;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = { 0 };

		assert_int_equal(cgroup_remove(t->host, bad[i], 0, &err), -1);
		assert_int_equal(cgroup_kill(t->host, bad[i], 0, &err), -1);
		assert_int_equal(cgroup_create(t->host, bad[i], &err), -1);
		assert_int_equal(cgroup_move(t->host, bad[i], 1, &err), -1);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	}
}

static void monitors_of_two_state_directories_do_not_meet(void **arg)
{
	struct tree *t = *arg;
	cleanup(strv_free) char **names = NULL;
	struct err err;
	int fd;

	/* no v2 and no named hierarchy: the first one serves */
	make(t, "memory/own");
	make(t, "memory/own/monitors");
	put(t, "memory/own/monitors/cgroup.procs", "");
	assert_int_equal(cgroup_monitors_open(t->host, "/run/coracle", &fd, &err), 0);
	close(fd);
	assert_int_equal(cgroup_monitors_open(t->host, "/run/other", &fd, &err),
	                 -1); /* made, but no cgroup.procs in a plain tree */
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_int_equal(cgroup_list(t->host, "/own", &names, &err), 0);
	assert_int_equal(strv_len(names), 2);
	assert_string_equal(names[0], "monitors");
	assert_true(starts_with(names[1], "monitors-"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v1_controllers_are_found_where_they_are_mounted),
		cmocka_unit_test(v1_beside_a_v2_tree_is_a_hybrid),
		cmocka_unit_test(v2_alone_has_what_needs_no_controller),
		cmocka_unit_test(a_machine_without_cgroups_is_said_to_have_none),
		cmocka_unit_test(inside_a_container_our_cgroup_is_below_the_mounted_root),
		cmocka_unit_test(the_description_names_what_is_missing),
		cmocka_unit_test(a_slice_parent_gives_the_systemd_form),
		cmocka_unit_test(any_other_parent_gives_a_path),
		cmocka_unit_test(a_bad_parent_is_named),
		cmocka_unit_test(a_slice_that_is_too_long_once_expanded_is_refused),
		cmocka_unit_test(directories_are_those_that_the_runtimes_make),
		cmocka_unit_test(only_numbered_exec_cgroups_count_as_ours),
		cmocka_unit_test_setup_teardown(an_exec_cgroup_inherits_the_cpuset_of_its_container,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(an_exec_in_a_container_without_cgroup_is_not_found,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(removal_goes_bottom_up_in_every_hierarchy,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_removed_is_an_error_that_names_it,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(processes_are_counted_once_over_all_hierarchies,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(children_are_listed_once_and_sorted, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(a_sweep_takes_exec_cgroups_only, tree_setup,
		                                tree_teardown),
		cmocka_unit_test_setup_teardown(the_root_and_what_climbs_out_are_refused,
		                                tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(monitors_of_two_state_directories_do_not_meet,
		                                tree_setup, tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
