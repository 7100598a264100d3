/* The checks; what needs root is in tests/integration/run. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/namespaces.h"

static void assert_path(const char *name, const char *expected)
{
	struct err err = { 0 };
	char path[256];

	if (sysctl_path(name, path, sizeof(path), &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(path, expected);
}

static void the_first_separator_of_a_sysctl_separates(void **arg)
{
	(void)arg;
	assert_path("net.ipv4.ip_forward", "net/ipv4/ip_forward");
	assert_path("net/ipv4/ip_forward", "net/ipv4/ip_forward");
	assert_path("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding");
	assert_path("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding");
	assert_path("kernel.sem", "kernel/sem");
}

static void a_sysctl_name_cannot_leave_its_directory(void **arg)
{
	static const char *const bad[] = { "",        ".",      "net..ipv4", "net/../../etc/passwd",
		                           "../x",    "/net/x", "net/",      "net.",
		                           "net/./x", "net. x", "net.\n",    "..",
		                           "net/.." };
	cleanup_free char *huge = xcalloc(1, 600);
	char path[256];
	struct err err;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(sysctl_path(bad[i], path, sizeof(path), &err), -1);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	}
	memset(huge, 'a', 599);
	assert_int_equal(sysctl_path(huge, path, sizeof(path), &err), -1);
}

static void only_namespaced_sysctls_have_a_namespace(void **arg)
{
	(void)arg;
	assert_int_equal(sysctl_namespace("net/core/somaxconn"), NAMESPACE_NET);
	assert_int_equal(sysctl_namespace("kernel/shm_rmid_forced"), NAMESPACE_IPC);
	assert_int_equal(sysctl_namespace("kernel/shmmax"), NAMESPACE_IPC);
	assert_int_equal(sysctl_namespace("kernel/msgmnb"), NAMESPACE_IPC);
	assert_int_equal(sysctl_namespace("kernel/sem"), NAMESPACE_IPC);
	assert_int_equal(sysctl_namespace("fs/mqueue/msg_max"), NAMESPACE_IPC);
	assert_int_equal(sysctl_namespace("kernel/domainname"), NAMESPACE_UTS);
	assert_int_equal(sysctl_namespace("kernel/semaphore"), -1);
	assert_int_equal(sysctl_namespace("kernel/panic"), -1);
	assert_int_equal(sysctl_namespace("vm/swappiness"), -1);
	assert_int_equal(sysctl_namespace("net"), -1);
	assert_int_equal(sysctl_namespace("fs/file-max"), -1);
}

static void assert_refused(const struct namespaces_args *args, const char *words)
{
	struct err err = { 0 };

	assert_int_equal(namespaces_check(args, &err), -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
}

static struct namespaces_args with_sysctl(struct pair *pair, const char *name, const char *value)
{
	*pair = (struct pair){ (char *)(uintptr_t)name, (char *)(uintptr_t)value };
	return (struct namespaces_args){ .id = "a", .sysctls = { pair, 1 } };
}

static void a_sysctl_must_belong_to_a_namespace_of_the_pod(void **arg)
{
	struct namespaces_args args;
	struct pair pair;
	struct err err;

	(void)arg;
	args = with_sysctl(&pair, "vm.swappiness", "1");
	assert_refused(&args, "sysctl vm.swappiness: not namespaced");
	args = with_sysctl(&pair, "kernel.hostname", "x");
	assert_refused(&args, "sysctl kernel.hostname: set the pod's hostname");
	args = with_sysctl(&pair, "net.core.somaxconn", "1");
	assert_int_equal(namespaces_check(&args, &err), 0);
	args.host_network = true;
	assert_refused(&args, "sysctl net.core.somaxconn: the pod uses the host's net namespace");
	args = with_sysctl(&pair, "kernel.domainname", "x");
	args.host_network = true;
	assert_refused(&args, "host's uts namespace");
	args = with_sysctl(&pair, "kernel/shmmax", "1");
	assert_int_equal(namespaces_check(&args, &err), 0);
	args.host_ipc = true;
	assert_refused(&args, "host's ipc namespace");
}

static void a_sysctl_value_is_one_line_of_bounded_length(void **arg)
{
	cleanup_free char *huge = xcalloc(1, 2000);
	struct namespaces_args args;
	struct pair pair;
	struct err err;

	(void)arg;
	args = with_sysctl(&pair, "kernel.sem", "250\t32000 100 128");
	assert_int_equal(namespaces_check(&args, &err), 0);
	args = with_sysctl(&pair, "kernel.sem", "1\n2");
	assert_refused(&args, "control character");
	memset(huge, '1', 1999);
	args = with_sysctl(&pair, "kernel.sem", huge);
	assert_refused(&args, "longer than");
}

static void hostnames_have_a_length_and_an_alphabet(void **arg)
{
	struct namespaces_args args = { .id = "a" };
	struct err err;

	(void)arg;
	args.hostname = "0123456789012345678901234567890123456789012345678901234567890123";
	assert_int_equal(namespaces_check(&args, &err), 0);
	args.hostname = "01234567890123456789012345678901234567890123456789012345678901234";
	assert_refused(&args, "longer than 64");
	args.hostname = "a b";
	assert_refused(&args, "hostname");
	args.hostname = "";
	assert_int_equal(namespaces_check(&args, &err), 0);
}

static void assert_map_refused(struct id_map a, struct id_map b, size_t count, const char *words)
{
	static const struct id_map good = { 0, 1000, 65536 };
	struct id_map maps[2] = { a, b };

	assert_refused(&(struct namespaces_args){ .id = "a",
	                                          .uid_maps = maps,
	                                          .nuid_maps = count,
	                                          .gid_maps = &good,
	                                          .ngid_maps = 1 },
	               words);
	assert_refused(&(struct namespaces_args){ .id = "a",
	                                          .uid_maps = &good,
	                                          .nuid_maps = 1,
	                                          .gid_maps = maps,
	                                          .ngid_maps = count },
	               words);
}

static void id_maps_are_checked_before_the_kernel_sees_them(void **arg)
{
	static const struct id_map good[] = { { 0, 1000, 10 }, { 10, 5000, 1 } };
	struct namespaces_args args = {
		.id = "a", .uid_maps = good, .nuid_maps = 2, .gid_maps = good, .ngid_maps = 2
	};
	struct id_map none = { 0 };
	struct id_map many[ID_MAPS_MAX + 1];
	struct err err;

	(void)arg;
	assert_int_equal(namespaces_check(&args, &err), 0);
	assert_map_refused((struct id_map){ 1, 1000, 10 }, none, 1,
	                   "id 0 of the pod is not mapped");
	assert_map_refused((struct id_map){ 0, 1000, 0 }, none, 1, "length 0");
	assert_map_refused((struct id_map){ 0, UINT32_MAX - 5, 10 }, none, 1, "beyond the last id");
	assert_map_refused((struct id_map){ 0, 0, UINT32_MAX }, (struct id_map){ 5, 1, 1 }, 2,
	                   "overlap");
	assert_map_refused((struct id_map){ 0, 1000, 10 }, (struct id_map){ 9, 3000, 10 }, 2,
	                   "ranges 0:1000:10 and 9:3000:10 overlap");
	assert_map_refused((struct id_map){ 0, 1000, 10 }, (struct id_map){ 10, 1009, 10 }, 2,
	                   "overlap");
	assert_map_refused((struct id_map){ 0, 1000, 10 }, none, 0,
	                   "id 0 of the pod is not mapped"); /* uid without gid */
	for (uint32_t i = 0; i <= ID_MAPS_MAX; i++)
		many[i] = (struct id_map){ i, 1000 + i, 1 };
	args.uid_maps = many;
	args.nuid_maps = ID_MAPS_MAX + 1;
	assert_refused(&args, "more than 64 ranges");
}

static void on_done(void *arg, const struct namespaces_paths *paths, const struct err *err)
{
	int *done = arg;

	assert_null(err);
	assert_non_null(paths);
	for (int k = 0; k < NAMESPACE_KINDS; k++)
		assert_string_equal(paths->path[k], "");
	++*done;
}

static void a_pod_without_namespaces_is_answered_from_the_loop(void **arg)
{
	char dir[] = "/tmp/test-namespaces-XXXXXX";
	cleanup(strv_free) char **ids = NULL;
	struct namespaces *ns;
	struct loop *loop;
	struct err err;
	char path[256];
	int done = 0;

	(void)arg;
	assert_non_null(mkdtemp(dir));
	loop = loop_new(&err);
	ns = namespaces_new(loop, dir, &err);
	assert_non_null(ns);
	assert_int_equal(namespaces_create(ns,
	                                   &(struct namespaces_args){ .id = "p1",
	                                                              .host_network = true,
	                                                              .host_ipc = true },
	                                   -1, 1000, on_done, &done, &err),
	                 0);
	assert_int_equal(done, 0);
	while (loop_turn(loop, false))
		;
	assert_int_equal(done, 1);
	assert_int_equal(namespaces_path(ns, "p1", NAMESPACE_UTS, path, sizeof(path)), 0);
	assert_true(ends_with(path, "/ns/p1/uts"));
	assert_int_equal(namespaces_path(ns, "p1", NAMESPACE_UTS, path, 10), -1);
	assert_false(namespaces_is_pinned(ns, "p1", NAMESPACE_UTS));
	assert_false(namespaces_is_pinned(ns, "../..", NAMESPACE_UTS));
	assert_int_equal(namespaces_list(ns, &ids, &err), 0);
	assert_int_equal(strv_len(ids), 0);
	assert_int_equal(namespaces_create(ns, &(struct namespaces_args){ .id = "../x" }, -1, 1000,
	                                   on_done, &done, &err),
	                 -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	assert_int_equal(namespaces_remove(ns, "a/b", -1, 1000, on_done, &done, &err), -1);
	namespaces_free(ns);
	loop_free(loop);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_separator_of_a_sysctl_separates),
		cmocka_unit_test(a_sysctl_name_cannot_leave_its_directory),
		cmocka_unit_test(only_namespaced_sysctls_have_a_namespace),
		cmocka_unit_test(a_sysctl_must_belong_to_a_namespace_of_the_pod),
		cmocka_unit_test(a_sysctl_value_is_one_line_of_bounded_length),
		cmocka_unit_test(hostnames_have_a_length_and_an_alphabet),
		cmocka_unit_test(id_maps_are_checked_before_the_kernel_sees_them),
		cmocka_unit_test(a_pod_without_namespaces_is_answered_from_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
