/* Specs that OCI runtimes take: each test builds one for a busybox root file system, runs it with every runtime of this machine
 * in namespaces pinned as for a pod, and looks at what the process sees. Needs root and busybox. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/life/life.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/run/bundle.h"
#include "core/run/cgroup.h"
#include "core/run/mount.h"
#include "core/run/namespaces.h"
#include "core/run/runtime.h"
#include "cri/proto/cri.h"
#include "cri/spec/build.h"
#include "cri/spec/to_spec.h"
#include "tests/lib/spec_input.h"
#include "tests/lib/userns.h"

#define TIMEOUT_MS 20000
#define MAPPED     100000
#define PARENT     "/coracle-test-spec"

struct fixture {
	struct spec_input_fixture in;
	char state[128];
	struct loop *loop;
	struct namespaces *ns;
	struct config config;
	struct runtime *runtime;
	struct namespaces_paths paths;
	bool done;
	int status;
	char *out, *errout;
};

static const struct id_map maps[] = { { 0, MAPPED, 65536 } };

static void wait_done(struct fixture *f)
{
	f->done = false;
	while (!f->done)
		loop_turn(f->loop, true);
}

static void on_namespaces(void *arg, const struct namespaces_paths *paths, const struct err *err)
{
	struct fixture *f = arg;

	if (err)
		fail_msg("%s", err->msg);
	if (paths)
		f->paths = *paths;
	f->done = true;
}

static void on_child(void *arg, const struct child_result *result)
{
	struct fixture *f = arg;

	free(f->out);
	free(f->errout);
	f->status = result->wstatus;
	f->out = xstrndup(result->out, result->out_len);
	f->errout = xstrndup(result->errout, result->errout_len);
	f->done = true;
}

static void make_rootfs(struct fixture *f)
{
	static const char *const dirs[] = { "bin", "proc", "dev", "sys", "tmp", "data" };
	cleanup_free char *busybox = NULL, *to = xasprintf("%s/bin/busybox", f->in.rootfs),
			  *sh = xasprintf("%s/bin/sh", f->in.rootfs);
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		cleanup_free char *dir = xasprintf("%s/%s", f->in.rootfs, dirs[i]);

		assert_int_equal(fsx_mkdir_p(dir, 0755), 0);
	}
	assert_true(fsx_read(AT_FDCWD, "/bin/busybox", 16u << 20, &busybox, &len) >= 0);
	assert_int_equal(fsx_write(AT_FDCWD, to, busybox, len, 0755), 0);
	assert_int_equal(symlink("busybox", sh), 0);
	spec_input_file(&f->in, "etc/passwd",
	                "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n");
	spec_input_file(&f->in, "etc/group", "root:x:0:\nweb:x:1001:\naudio:x:50000:other,web\n");
}

/* crun takes a hybrid only with hugetlb mounted; whoever comes after us does not see it. */
static void mount_hugetlb(void)
{
	if (mkdir("/sys/fs/cgroup/hugetlb", 0755) == 0 || errno == EEXIST)
		ignore(mount("cgroup", "/sys/fs/cgroup/hugetlb", "cgroup", 0, "hugetlb") < 0);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err;

	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), 0);
	mount_hugetlb();
	spec_input_init(&f->in);
	assert_int_equal(chmod(f->in.dir, 0711), 0);
	assert_int_equal(str_format(f->state, sizeof(f->state), "%s/state", f->in.dir), 0);
	make_rootfs(f);
	f->loop = loop_new(&err);
	f->ns = namespaces_new(f->loop, f->state, &err);
	f->runtime = runtime_new(
		&(struct runtime_args){ .loop = f->loop, .config = &f->config, .state = f->state });
	if (host_facts_read(&f->in.host, &err) < 0)
		fail_msg("%s", err.msg);
	f->in.limits = *runtime_host_limits(f->runtime);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	struct fault fault;

	if (mount_apply(&(struct mount_op){ .kind = MOUNT_REMOVE_TREE, .target = f->in.dir },
	                &fault) < 0)
		fail_msg("%s", fault.text);
	assert_int_equal(fsx_mkdir_p(f->in.dir, 0700), 0); /* for the release below */
	spec_input_release(&f->in);
	runtime_free(f->runtime);
	namespaces_free(f->ns);
	loop_free(f->loop);
	free(f->out);
	free(f->errout);
	free(f);
	return 0;
}

/* --- a pod */

struct pod {
	bool host_network, host_ipc, userns;
};

static char *path_or_null(const char *path)
{
	return path[0] ? TEXT(path) : NULL;
}

static void make_pod(struct fixture *f, struct pod pod)
{
	struct namespaces_args args = {
		.id = f->in.sandbox.id,
		.hostname = "pod-a",
		.host_network = pod.host_network,
		.host_ipc = pod.host_ipc,
		.uid_maps = pod.userns ? maps : NULL,
		.nuid_maps = pod.userns,
		.gid_maps = pod.userns ? maps : NULL,
		.ngid_maps = pod.userns,
	};
	static const char *const owned[] = { "", "etc", "proc", "dev", "sys", "tmp" };
	struct sandbox *sb = &f->in.sandbox;
	struct err err;

	f->paths = (struct namespaces_paths){ 0 };
	if (namespaces_create(f->ns, &args, -1, TIMEOUT_MS, on_namespaces, f, &err) < 0)
		fail_msg("%s", err.msg);
	wait_done(f);
	sb->host_network = pod.host_network;
	f->in.pod.linux.security_context.namespace_options.ipc =
		pod.host_ipc ? cri_NamespaceMode_NODE : cri_NamespaceMode_POD;
	sb->netns_path = path_or_null(f->paths.path[NAMESPACE_NET]);
	sb->ipcns_path = path_or_null(f->paths.path[NAMESPACE_IPC]);
	sb->utsns_path = path_or_null(f->paths.path[NAMESPACE_UTS]);
	sb->userns_path = path_or_null(f->paths.path[NAMESPACE_USER]);
	if (pod.userns) {
		sb->uid_maps = sb->gid_maps =
			(struct id_maps){ .items = (struct id_map *)(uintptr_t)maps, .count = 1 };
		for (size_t i = 0; i < ARRAY_SIZE(owned); i++) {
			cleanup_free char *path = xasprintf("%s/%s", f->in.rootfs, owned[i]);

			assert_int_equal(chown(path, MAPPED, MAPPED), 0);
		}
	}
}

static void remove_pod(struct fixture *f)
{
	struct err err;

	assert_int_equal(
		namespaces_remove(f->ns, f->in.sandbox.id, -1, TIMEOUT_MS, on_namespaces, f, &err),
		0);
	wait_done(f);
}

/* --- a container */

static void spawn(struct fixture *f, char *const *argv)
{
	struct child_args args = CHILD_ARGS_INIT;
	struct err err;

	args.name = argv[0];
	args.path = argv[0];
	args.argv = argv;
	args.capture_out = args.capture_err = true;
	args.timeout_ms = TIMEOUT_MS;
	args.done = on_child;
	args.arg = f;
	if (!child_spawn(f->loop, &args, &err))
		fail_msg("%s", err.msg);
	wait_done(f);
}

static void build(struct fixture *f, const struct runtime_info *info, char *script)
{
	static char sh[] = "/bin/sh", c[] = "-c";
	char *argv[] = { sh, c, script };

	f->in.runtime = *info;
	f->in.config.command = argv;
	f->in.config.command_count = ARRAY_SIZE(argv);
	if (spec_input_build(&f->in) < 0)
		fail_msg("%s: %s", info->name, f->in.err.msg);
}

/* `runtime run`; what it wrote is in f->out. */
static void run_spec(struct fixture *f, const struct runtime_info *info, char *script)
{
	cleanup_free char *path = NULL;
	struct bundle bundle;
	struct err err;
	char id[ID_SIZE];
	char **argv;

	rand_id(id);
	path = cgroup_oci_path(PARENT, id, &err);
	assert_non_null(path);
	f->in.container.cgroups_path = path;
	build(f, info, script);
	assert_int_equal(bundle_names(&bundle, f->state, id, &err), 0);
	assert_int_equal(bundle_create(&bundle, &err), 0);
	assert_int_equal(bundle_write_config(&bundle, f->in.json, strlen(f->in.json), &err), 0);
	argv = runtime_argv_head(f->runtime, info, path);
	argv = xrealloc(argv, strv_len(argv) + 5, sizeof(*argv));
	memcpy(argv + strv_len(argv),
	       (char *[]){ xstrdup("run"), xstrdup("--bundle"), xstrdup(bundle.dir), xstrdup(id),
	                   NULL },
	       5 * sizeof(*argv));
	spawn(f, argv);
	strv_free(argv);
}

static void run_well(struct fixture *f, const struct runtime_info *info, char *script)
{
	run_spec(f, info, script);
	if (!WIFEXITED(f->status) || WEXITSTATUS(f->status) != 0)
		fail_msg("%s: %s%s", info->name, f->errout, f->out);
}

#define for_each_runtime(f, info)                                                                  \
	for (size_t i_ = 0; i_ < runtime_count((f)->runtime); i_++)                                \
		for (const struct runtime_info *info = runtime_at((f)->runtime, i_); info;         \
		     info = NULL)

#define assert_has(f, info, text)                                                                  \
	do {                                                                                       \
		if (!strstr((f)->out, text))                                                       \
			fail_msg("%s: no \"%s\" in:\n%s", (info)->name, text, (f)->out);           \
	} while (0)
#define assert_lacks(f, info, text)                                                                \
	do {                                                                                       \
		if (strstr((f)->out, text))                                                        \
			fail_msg("%s: \"%s\" in:\n%s", (info)->name, text, (f)->out);              \
	} while (0)

/* --- tests */

static void the_process_is_who_the_request_says(void **arg)
{
	struct fixture *f = *arg;
	int64_t extra[] = { 4242 };

	f->in.security->run_as_username = TEXT("web");
	f->in.security->supplemental_groups = extra;
	f->in.security->supplemental_groups_count = 1;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		f->in.security->supplemental_groups_policy = cri_SupplementalGroupsPolicy_Merge;
		run_well(
			f, info,
			TEXT("/bin/busybox id -u; /bin/busybox id -g; grep=1; /bin/busybox grep Groups /proc/self/status"));
		assert_has(f, info, "1000\n1001\n");
		assert_has(f, info, "1001 4242 50000");
		f->in.security->supplemental_groups_policy = cri_SupplementalGroupsPolicy_Strict;
		run_well(f, info, TEXT("/bin/busybox grep Groups /proc/self/status"));
		assert_has(f, info, "1001 4242");
		assert_lacks(f, info, "50000");
	}
	remove_pod(f);
}

static void the_environment_and_directory_are_merged(void **arg)
{
	struct fixture *f = *arg;

	f->in.image = "{\"config\":{\"Env\":[\"A=image\",\"B=image\"],\"WorkingDir\":\"/data\"}}";
	f->in.config.envs = (cri_KeyValue[]){ { .key = TEXT("A"), .value = NULL } };
	f->in.config.envs_count = 1;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("echo \"a=[$A] b=[$B] host=[$HOSTNAME] pwd=[$PWD] $(/bin/busybox hostname)\""));
		assert_has(f, info, "a=[] b=[image] host=[pod-a] pwd=[/data] pod-a");
	}
	remove_pod(f);
}

static void the_default_profile_filters_and_capabilities_are_fourteen(void **arg)
{
	struct fixture *f = *arg;

	f->in.security->has_seccomp = true;
	f->in.security->seccomp.profile_type = cri_SecurityProfile_ProfileType_RuntimeDefault;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(f, info,
		         TEXT("/bin/busybox grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status; "
		              "/bin/busybox unshare -m /bin/busybox true && echo unshared; true"));
		assert_has(f, info, "CapBnd:\t00000000a80425fb");
		assert_has(f, info, "CapEff:\t00000000a80425fb");
		assert_has(f, info, "CapInh:\t0000000000000000");
		assert_has(f, info, "CapAmb:\t0000000000000000");
		assert_has(f, info, "Seccomp:\t2");
		assert_has(f, info, "NoNewPrivs:\t0");
		assert_lacks(f, info, "unshared");
	}
	remove_pod(f);
}

static void a_local_profile_blocks_what_it_names(void **arg)
{
	static const char profile[] =
		"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\",\"mkdirat\"],"
		"\"action\":\"SCMP_ACT_ERRNO\"}]}";
	struct fixture *f = *arg;
	cleanup_free char *path = xasprintf("%s/profile.json", f->in.dir);

	assert_int_equal(fsx_write(AT_FDCWD, path, profile, strlen(profile), 0644), 0);
	f->in.security->has_seccomp = true;
	f->in.security->seccomp.profile_type = cri_SecurityProfile_ProfileType_Localhost;
	f->in.security->seccomp.localhost_ref = path;
	f->in.security->no_new_privs = true;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("/bin/busybox mkdir /tmp/x || echo blocked; /bin/busybox grep NoNewPrivs /proc/self/status"));
		assert_has(f, info, "blocked");
		assert_has(f, info, "NoNewPrivs:\t1");
	}
	remove_pod(f);
}

static void paths_are_hidden_and_read_only(void **arg)
{
	static char *masked[] = { (char *)(uintptr_t) "/proc/kcore",
		                  (char *)(uintptr_t) "/bin/busybox2" };
	static char *readonly[] = { (char *)(uintptr_t) "/proc/sys" };
	struct fixture *f = *arg;

	spec_input_file(&f->in, "bin/busybox2", "x");
	f->in.security->masked_paths = masked;
	f->in.security->masked_paths_count = 2;
	f->in.security->readonly_paths = readonly;
	f->in.security->readonly_paths_count = 1;
	f->in.security->readonly_rootfs = true;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("/bin/busybox wc -c </bin/busybox2; echo 1 >/proc/sys/kernel/domainname || echo sysro; "
		             "echo 1 >/etc/hosts || echo hostsro; echo 1 >/x || echo rootro; echo 1 >/dev/shm/x && echo shmrw"));
		assert_has(f, info, "0\nsysro\nhostsro\nrootro\nshmrw");
	}
	remove_pod(f);
}

static void mounts_of_pod_request_and_image_are_there(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *host = xasprintf("%s/volume", f->in.dir);
	cri_Mount mounts[] = {
		{ .container_path = TEXT("/data/ro"), .host_path = host, .readonly = true },
		{ .container_path = TEXT("/data"), .host_path = host },
		{ .container_path = TEXT("/rro"),
		  .host_path = host,
		  .readonly = true,
		  .recursive_read_only = true },
	};

	spec_input_file(&f->in, "seed/file", "from the image");
	f->in.image = "{\"config\":{\"Volumes\":{\"/seed\":{}}}}";
	f->in.config.mounts = mounts;
	f->in.config.mounts_count = ARRAY_SIZE(mounts);
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("echo w >/data/file && echo volume && /bin/busybox mkdir -p /data/ro; "
		             "echo x >/data/ro/file || echo ro; echo x >/rro/file || echo rro; /bin/busybox cat /seed/file "
		             "/etc/hostname /etc/resolv.conf /etc/hosts; echo y >/seed/other && echo volrw; "
		             "/bin/busybox mkdir $(/bin/busybox ls -d /sys/fs/cgroup/memory/ || echo /sys/fs/cgroup)/x || echo cgro; echo h >>/etc/hosts && echo hostsrw"));
		assert_has(
			f, info,
			"volume\nro\nrro\nfrom the imagepod-a\nnameserver 192.0.2.1\n127.0.0.1 localhost");
		assert_has(f, info, "volrw\ncgro\nhostsrw");
	}
	remove_pod(f);
}

static void a_privileged_container_may_everything_here(void **arg)
{
	struct fixture *f = *arg;

	f->in.pod.linux.security_context.privileged = true;
	f->in.security->privileged = true;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		cleanup_free char *caps =
			xasprintf("CapEff:\t%016llx", (unsigned long long)f->in.host.capabilities);

		run_well(
			f, info,
			TEXT("/bin/busybox grep -E 'CapEff|Seccomp:' /proc/self/status; /bin/busybox mount -t tmpfs x /tmp && "
		             "echo mounted; /bin/busybox test -c /dev/kmsg && echo kmsg; /bin/busybox grep ' /sys ' /proc/mounts; "
		             "/bin/busybox test -c /dev/ptmx && echo ptmx; /bin/busybox head -c1 /dev/zero | /bin/busybox wc -c"));
		assert_has(f, info, caps);
		assert_has(f, info, "Seccomp:\t0");
		assert_has(f, info, "mounted\nkmsg");
		assert_has(f, info, "ptmx\n1");
		assert_has(f, info, "/sys sysfs rw");
	}
	remove_pod(f);
}

static void a_device_of_the_host_can_be_used(void **arg)
{
	struct fixture *f = *arg;
	cri_Device devices[] = {
		{ .container_path = TEXT("/dev/mine"),
		  .host_path = TEXT("/dev/loop-control"),
		  .permissions = TEXT("r") },
	};

	f->in.config.devices = devices;
	f->in.config.devices_count = 1;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("/bin/busybox stat -c %t:%T /dev/mine; (exec 3</dev/mine) && echo readable; "
		             "(exec 3>/dev/mine) || echo notwritable; /bin/busybox mknod /tmp/other c 1 2; (exec 3</tmp/other) || echo denied; "
		             "/bin/busybox rm /tmp/other"));
		assert_has(f, info, "a:ed\n");
		assert_has(f, info, "readable\nnotwritable\ndenied");
	}
	remove_pod(f);
}

static void limits_reach_the_cgroup(void **arg)
{
	struct fixture *f = *arg;
	cri_HugepageLimit huge[] = { { .page_size = TEXT("2MB"), .limit = 0 } };

	f->in.config.linux.has_resources = true;
	f->in.resources->memory_limit_in_bytes = 64 << 20;
	f->in.resources->cpu_shares = 512;
	f->in.resources->cpu_quota = 50000;
	f->in.resources->cpu_period = 100000;
	f->in.resources->oom_score_adj = 500;
	f->in.resources->hugepage_limits = huge;
	f->in.resources->hugepage_limits_count = 1;
	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("cd /sys/fs/cgroup; if [ -f memory.max ]; then /bin/busybox cat memory.max cpu.max; else /bin/busybox cat "
		             "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; fi; "
		             "/bin/busybox cat /proc/self/oom_score_adj"));
		assert_has(f, info, "67108864\n50000");
		assert_has(f, info, "100000\n500");
	}
	remove_pod(f);
}

static void in_a_user_namespace(struct fixture *f, struct pod pod)
{
	NEEDS_USERNS();
	pod.userns = true;
	make_pod(f, pod);
	for_each_runtime(f, info)
	{
		run_well(
			f, info,
			TEXT("/bin/busybox id -u; /bin/busybox cat /proc/self/uid_map; /bin/busybox stat -c %u /etc/hosts; "
		             "echo x >>/etc/hosts && echo hosts; echo y >/dev/shm/x && echo shm; "
		             "/bin/busybox test -d /sys/kernel && echo sys; true"));
		assert_has(f, info, "0\n");
		assert_has(f, info, "100000      65536");
		assert_has(f, info, "0\nhosts\n");
		assert_has(f, info, "sys\n");
	}
	remove_pod(f);
}

static void a_pod_with_a_user_namespace_has_its_own_files(void **arg)
{
	in_a_user_namespace(*arg, (struct pod){ 0 });
}

static void a_user_namespace_goes_with_the_hosts_network_and_ipc(void **arg)
{
	in_a_user_namespace(*arg, (struct pod){ .host_network = true, .host_ipc = true });
}

static void a_container_joins_the_pid_namespace_of_its_pod(void **arg)
{
	struct fixture *f = *arg;

	make_pod(f, (struct pod){ 0 });
	for_each_runtime(f, info)
	{
		/* ours stands for the pause process's */
		f->in.pause_pid = getpid();
		f->in.security->namespace_options.pid = cri_NamespaceMode_POD;
		run_well(f, info, TEXT("echo pid=$$"));
		assert_lacks(f, info, "pid=1\n");
		f->in.pause_pid = 0;
		run_well(f, info, TEXT("echo pid=$$"));
		assert_has(f, info, "pid=1\n");
	}
	remove_pod(f);
}

static void resources_update_a_running_limit(void **arg)
{
	struct fixture *f = *arg;
	const cri_LinuxContainerResources res = { .memory_limit_in_bytes = 1 << 20,
		                                  .cpuset_cpus = TEXT("0") };
	struct err err;
	cleanup_free char *json = spec_resources_json(&res, &err);

	(void)f;
	assert_non_null(json);
	assert_non_null(strstr(json, "\"limit\":1048576"));
	assert_non_null(strstr(json, "\"cpus\":\"0\""));
	assert_null(strstr(json, "shares"));
}

static void the_test_leaves_no_cgroup(void **arg)
{
	struct err err;
	cleanup(cgroup_host_free) struct cgroup_host *host = cgroup_host_new(&err);

	(void)arg;
	if (cgroup_remove(host, PARENT, 3000, &err) < 0)
		fail_msg("%s", err.msg);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_process_is_who_the_request_says),
		TEST(the_environment_and_directory_are_merged),
		TEST(the_default_profile_filters_and_capabilities_are_fourteen),
		TEST(a_local_profile_blocks_what_it_names),
		TEST(paths_are_hidden_and_read_only),
		TEST(mounts_of_pod_request_and_image_are_there),
		TEST(a_privileged_container_may_everything_here),
		TEST(a_device_of_the_host_can_be_used),
		TEST(limits_reach_the_cgroup),
		TEST(a_pod_with_a_user_namespace_has_its_own_files),
		TEST(a_user_namespace_goes_with_the_hosts_network_and_ipc),
		TEST(a_container_joins_the_pid_namespace_of_its_pod),
		TEST(resources_update_a_running_limit),
		TEST(the_test_leaves_no_cgroup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
