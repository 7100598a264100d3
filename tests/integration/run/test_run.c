/* core/run against this machine's kernel and its OCI runtimes (crun and runc, whichever is there). Needs root and busybox;
 * works in a mount namespace of its own, so nothing that it mounts outlives it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/loop/loop.h"
#include "core/run/bundle.h"
#include "core/run/cgroup.h"
#include "core/run/controller.h"
#include "core/run/embedded.h"
#include "core/run/mount.h"
#include "core/run/namespaces.h"
#include "core/run/runtime.h"
#include "tests/lib/userns.h"

#define TIMEOUT_MS 20000
#define MAPPED     100000 /* host id of the pod's root */

struct fixture {
	char dir[64], state[128], rootfs[128];
	struct loop *loop;
	struct namespaces *ns;
	struct cgroup_host *cgroups;
	struct config config;
	struct runtime *runtime;
	char id[ID_SIZE];
	/* what the last callback said */
	int done;
	struct err err;
	bool failed;
	struct namespaces_paths paths;
	struct runtime_result result;
	int status;
	char *out, *errout;
	const char *mounts; /* JSON of more mounts for spec(), each followed by a comma */
};

static void wait_done(struct fixture *f)
{
	int before = f->done;

	while (f->done == before)
		loop_turn(f->loop, true);
}

static void note(struct fixture *f, const struct err *err)
{
	f->done++;
	f->failed = err != NULL;
	f->err = err ? *err : (struct err){ 0 };
}

static void on_mount(void *arg, const struct err *err)
{
	note(arg, err);
}

static void on_namespaces(void *arg, const struct namespaces_paths *paths, const struct err *err)
{
	struct fixture *f = arg;

	note(f, err);
	if (paths)
		f->paths = *paths;
}

static void on_runtime(void *arg, const struct runtime_result *result, const struct err *err)
{
	struct fixture *f = arg;

	note(f, err);
	f->result = *result;
}

static void on_child(void *arg, const struct child_result *result)
{
	struct fixture *f = arg;

	note(f, NULL);
	f->status = result->wstatus;
	free(f->out);
	free(f->errout);
	f->out = xstrndup(result->out, result->out_len);
	f->errout = xstrndup(result->errout, result->errout_len);
}

#define assert_done_well(f)                                                                        \
	do {                                                                                       \
		wait_done(f);                                                                      \
		if ((f)->failed)                                                                   \
			fail_msg("%s", (f)->err.msg);                                              \
	} while (0)

static void run(struct fixture *f, char *const *argv)
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

static void make_dir(const char *dir, const char *name, mode_t mode)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(fsx_mkdir_p(path, mode), 0);
}

static void make_rootfs(struct fixture *f)
{
	static const char *const dirs[] = { "bin", "proc", "dev", "sys", "tmp" };
	cleanup_free char *busybox = NULL, *to = xasprintf("%s/bin/busybox", f->rootfs),
			  *sh = xasprintf("%s/bin/sh", f->rootfs);
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		make_dir(f->rootfs, dirs[i], 0755);
	assert_true(fsx_read(AT_FDCWD, "/bin/busybox", 16u << 20, &busybox, &len) >= 0);
	assert_int_equal(fsx_write(AT_FDCWD, to, busybox, len, 0755), 0);
	assert_int_equal(symlink("busybox", sh), 0);
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
	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-run-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chmod(f->dir, 0711), 0);
	assert_int_equal(str_format(f->state, sizeof(f->state), "%s/state", f->dir), 0);
	assert_int_equal(str_format(f->rootfs, sizeof(f->rootfs), "%s/rootfs", f->dir), 0);
	make_rootfs(f);
	f->cgroups = cgroup_host_new(&err);
	assert_non_null(f->cgroups);
	if (f->cgroups->mode == CGROUP_HYBRID && !cgroup_find(f->cgroups, CGROUP_HUGETLB)) {
		mount_hugetlb();
		cgroup_host_free(f->cgroups);
		f->cgroups = cgroup_host_new(&err);
	}
	f->loop = loop_new(&err);
	f->ns = namespaces_new(f->loop, f->state, &err);
	f->runtime = runtime_new(
		&(struct runtime_args){ .loop = f->loop, .config = &f->config, .state = f->state });
	assert_non_null(f->ns);
	rand_id(f->id);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	struct fault fault;

	if (mount_apply(&(struct mount_op){ .kind = MOUNT_REMOVE_TREE, .target = f->dir }, &fault) <
	    0)
		fail_msg("%s", fault.text);
	runtime_free(f->runtime);
	namespaces_free(f->ns);
	cgroup_host_free(f->cgroups);
	loop_free(f->loop);
	free(f->out);
	free(f->errout);
	free(f);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ namespaces */

static const struct id_map maps[] = { { 0, MAPPED, 65536 } };

static struct namespaces_args pod(struct fixture *f, bool userns)
{
	if (userns)
		NEEDS_USERNS();
	return (struct namespaces_args){
		.id = f->id,
		.hostname = "pod-a",
		.uid_maps = userns ? maps : NULL,
		.nuid_maps = userns ? 1 : 0,
		.gid_maps = userns ? maps : NULL,
		.ngid_maps = userns ? 1 : 0,
	};
}

static void create_namespaces(struct fixture *f, const struct namespaces_args *args)
{
	struct err err;

	f->paths = (struct namespaces_paths){ 0 };
	if (namespaces_create(f->ns, args, -1, TIMEOUT_MS, on_namespaces, f, &err) < 0)
		fail_msg("%s", err.msg);
	assert_done_well(f);
}

static void remove_namespaces(struct fixture *f)
{
	struct err err;

	assert_int_equal(namespaces_remove(f->ns, f->id, -1, TIMEOUT_MS, on_namespaces, f, &err),
	                 0);
	assert_done_well(f);
}

/* A container that joins what is pinned and runs @script. */
static char *spec(struct fixture *f, const char *script, const char *cgroups_path)
{
	static const char *const types[] = { "network", "ipc", "uts", "user" };
	struct buf buf;

	buf_init(&buf, 65536);
	assert_int_equal(
		buf_printf(
			&buf,
			"{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\","
			"\"env\":[\"PATH=/bin\"],\"args\":[\"/bin/sh\",\"-c\",\"%s\"],\"noNewPrivileges\":true,"
			"\"capabilities\":{\"bounding\":[\"CAP_NET_ADMIN\"],\"effective\":[\"CAP_NET_ADMIN\"],"
			"\"permitted\":[\"CAP_NET_ADMIN\"]}},"
			"\"root\":{\"path\":\"%s\",\"readonly\":true},"
			"\"mounts\":[%s{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
			"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"mode=755\"]}],"
			"\"linux\":{\"cgroupsPath\":\"%s\",\"resources\":{\"memory\":{\"limit\":67108864}},"
			"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"}",
			script, f->rootfs, or_empty(f->mounts), cgroups_path),
		0);
	for (int k = 0; k < NAMESPACE_KINDS; k++)
		if (f->paths.path[k][0])
			assert_int_equal(buf_printf(&buf, ",{\"type\":\"%s\",\"path\":\"%s\"}",
			                            types[k], f->paths.path[k]),
			                 0);
	assert_int_equal(buf_add_str(&buf, "]"), 0);
	if (f->paths.path[NAMESPACE_USER][0])
		assert_int_equal(
			buf_printf(
				&buf,
				",\"uidMappings\":[{\"containerID\":0,\"hostID\":%d,\"size\":65536}],"
				"\"gidMappings\":[{\"containerID\":0,\"hostID\":%d,\"size\":65536}]",
				MAPPED, MAPPED),
			0);
	assert_int_equal(buf_add_str(&buf, "}}"), 0);
	return buf_take_str(&buf);
}

static char *cgroups_path_of(const char *id)
{
	struct err err;
	char *path = cgroup_oci_path("/coracle-test-run", id, &err);

	assert_non_null(path);
	return path;
}

static void bundle_with(struct fixture *f, const char *id, const char *json, struct bundle *bundle)
{
	struct err err;

	assert_int_equal(bundle_names(bundle, f->state, id, &err), 0);
	assert_int_equal(bundle_create(bundle, &err), 0);
	assert_int_equal(bundle_write_config(bundle, json, strlen(json), &err), 0);
}

/* `runtime run` of a container with @script in the pinned namespaces; its output is in f->out. */
static void run_container(struct fixture *f, const struct runtime_info *info, const char *script)
{
	cleanup_free char *path = NULL, *json = NULL;
	struct bundle bundle;
	char id[ID_SIZE];
	char **argv;

	rand_id(id);
	path = cgroups_path_of(id);
	json = spec(f, script, path);
	bundle_with(f, id, json, &bundle);
	argv = runtime_argv_head(f->runtime, info, path);
	argv = xrealloc(argv, strv_len(argv) + 5, sizeof(*argv));
	memcpy(argv + strv_len(argv),
	       (char *[]){ xstrdup("run"), xstrdup("--bundle"), xstrdup(bundle.dir), xstrdup(id),
	                   NULL },
	       5 * sizeof(*argv));
	run(f, argv);
	strv_free(argv);
	if (!WIFEXITED(f->status) || WEXITSTATUS(f->status) != 0)
		fail_msg("%s: %s", info->name, f->errout);
}

#define for_each_runtime(f, info)                                                                  \
	for (size_t i_ = 0; i_ < runtime_count((f)->runtime); i_++)                                \
		for (const struct runtime_info *info = runtime_at((f)->runtime, i_); info;         \
		     info = NULL)

static struct pair sysctl_pairs[] = {
	{ (char *)(uintptr_t) "kernel.shmmax", (char *)(uintptr_t) "123456789" },
	{ (char *)(uintptr_t) "net.ipv4.tcp_keepalive_time", (char *)(uintptr_t) "4711" },
	{ (char *)(uintptr_t) "kernel/domainname", (char *)(uintptr_t) "example.test" },
	{ (char *)(uintptr_t) "fs.mqueue.msg_max", (char *)(uintptr_t) "17" },
};

static const char look_around[] =
	"cat /proc/self/uid_map /proc/self/gid_map; hostname; "
	"cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/tcp_keepalive_time "
	"/proc/sys/kernel/domainname /proc/sys/fs/mqueue/msg_max "
	"/proc/sys/net/ipv4/ip_unprivileged_port_start; "
	"busybox ip -o link show lo | grep -o LOOPBACK,UP";

static void both_runtimes_join_a_pod_with_a_user_namespace(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, true);

	args.sysctls = (struct pairs){ sysctl_pairs, ARRAY_SIZE(sysctl_pairs) };
	create_namespaces(f, &args);
	for_each_runtime(f, info)
	{
		run_container(f, info, look_around);
		assert_string_equal(
			f->out,
			"         0     100000      65536\n         0     100000      65536\npod-a\n"
			"123456789\n4711\nexample.test\n17\n0\nLOOPBACK,UP\n");
	}
	remove_namespaces(f);
}

static void both_runtimes_join_a_pod_without_a_user_namespace(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, false);

	args.sysctls = (struct pairs){ sysctl_pairs, ARRAY_SIZE(sysctl_pairs) };
	create_namespaces(f, &args);
	assert_string_equal(f->paths.path[NAMESPACE_USER], "");
	for_each_runtime(f, info)
	{
		run_container(f, info, look_around);
		assert_string_equal(
			f->out,
			"         0          0 4294967295\n         0          0 4294967295\npod-a\n"
			"123456789\n4711\nexample.test\n17\n0\nLOOPBACK,UP\n");
	}
	remove_namespaces(f);
}

static void root_of_the_pod_may_set_its_own_sysctls(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, true);

	create_namespaces(f, &args);
	for_each_runtime(f, info)
	{
		run_container(
			f, info,
			"echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward && "
			"echo 5555 > /proc/sys/kernel/msgmax && cat /proc/sys/kernel/msgmax");
		assert_string_equal(f->out, "1\n5555\n");
	}
	remove_namespaces(f);
}

static void host_network_pins_neither_network_nor_uts(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, true);
	char host[128], pinned[128];
	ssize_t n;

	args.host_network = true;
	create_namespaces(f, &args);
	assert_string_equal(f->paths.path[NAMESPACE_NET], "");
	assert_string_equal(f->paths.path[NAMESPACE_UTS], "");
	assert_true(namespaces_is_pinned(f->ns, f->id, NAMESPACE_IPC));
	assert_true(namespaces_is_pinned(f->ns, f->id, NAMESPACE_USER));
	n = readlink("/proc/self/ns/net", host, sizeof(host) - 1);
	host[n > 0 ? n : 0] = '\0';
	for_each_runtime(f, info)
	{
		run_container(f, info, "readlink /proc/self/ns/net; head -n1 /proc/self/uid_map");
		assert_int_equal(sscanf(f->out, "%127s", pinned), 1);
		assert_string_equal(pinned, host);
		assert_non_null(strstr(f->out, "100000"));
	}
	remove_namespaces(f);
}

static void a_pod_that_shares_everything_needs_no_namespaces(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, false);

	args.host_network = args.host_ipc = true;
	create_namespaces(f, &args);
	for (int k = 0; k < NAMESPACE_KINDS; k++)
		assert_string_equal(f->paths.path[k], "");
}

static void a_refused_sysctl_is_named_and_leaves_nothing(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, true);
	struct pair bad[] = { { (char *)(uintptr_t) "net.ipv4.tcp_keepalive_time",
		                (char *)(uintptr_t) "soon" } };
	struct pair unknown[] = { { (char *)(uintptr_t) "net.ipv4.no_such_thing",
		                    (char *)(uintptr_t) "1" } };
	cleanup(strv_free) char **ids = NULL;
	struct err err;

	args.sysctls = (struct pairs){ bad, 1 };
	assert_int_equal(namespaces_create(f->ns, &args, -1, TIMEOUT_MS, on_namespaces, f, &err),
	                 0);
	wait_done(f);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);
	assert_string_equal(f->err.msg,
	                    "sysctl net.ipv4.tcp_keepalive_time = \"soon\": Invalid argument");

	args.sysctls = (struct pairs){ unknown, 1 };
	assert_int_equal(namespaces_create(f->ns, &args, -1, TIMEOUT_MS, on_namespaces, f, &err),
	                 0);
	wait_done(f);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_UNIMPLEMENTED);
	assert_non_null(strstr(f->err.msg, "net.ipv4.no_such_thing"));

	assert_int_equal(namespaces_list(f->ns, &ids, &err), 0);
	assert_null(ids[0]);
}

static void creating_again_replaces_and_removing_again_is_fine(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, false);
	cleanup(strv_free) char **ids = NULL, **gone = NULL, **mounts = NULL;
	struct err err;

	create_namespaces(f, &args);
	create_namespaces(f, &args);
	assert_int_equal(mount_list(f->state, &mounts, &err), 0);
	assert_int_equal(strv_len(mounts), 3); /* net, ipc, uts: once each */
	assert_int_equal(namespaces_list(f->ns, &ids, &err), 0);
	assert_int_equal(strv_len(ids), 1);
	assert_string_equal(ids[0], f->id);

	remove_namespaces(f);
	remove_namespaces(f);
	assert_false(namespaces_is_pinned(f->ns, f->id, NAMESPACE_NET));
	assert_int_equal(namespaces_list(f->ns, &gone, &err), 0);
	assert_null(gone[0]);
}

static void many_pods_at_once(void **arg)
{
	enum { PODS = 20 };
	struct fixture *f = *arg;
	char ids[PODS][ID_SIZE];
	struct err err;
	int want;

	want = f->done + PODS;
	for (int i = 0; i < PODS; i++) {
		struct namespaces_args args = pod(f, i % 2);

		rand_id(ids[i]);
		args.id = ids[i];
		assert_int_equal(
			namespaces_create(f->ns, &args, -1, TIMEOUT_MS, on_namespaces, f, &err), 0);
	}
	while (f->done < want)
		assert_done_well(f);
	want += PODS;
	for (int i = 0; i < PODS; i++) {
		assert_true(namespaces_is_pinned(f->ns, ids[i], NAMESPACE_NET));
		assert_int_equal(namespaces_is_pinned(f->ns, ids[i], NAMESPACE_USER), i % 2);
		assert_int_equal(
			namespaces_remove(f->ns, ids[i], -1, TIMEOUT_MS, on_namespaces, f, &err),
			0);
	}
	while (f->done < want)
		assert_done_well(f);
}

static bool has_namespace(const char *link)
{
	cleanup(strv_free) char **pids = NULL;

	assert_int_equal(fsx_list(AT_FDCWD, "/proc", &pids), 0);
	for (char **pid = pids; *pid; pid++) {
		cleanup_free char *path = xasprintf("/proc/%s/ns/net", *pid);
		char text[64];
		ssize_t n = readlink(path, text, sizeof(text) - 1);

		if (n > 0 && strncmp(text, link, (size_t)n) == 0)
			return true;
	}
	return false;
}

/* Whatever it was doing when its deadline came: pins go with the next remove, processes are gone at once. */
static void a_helper_killed_anywhere_leaves_what_remove_clears(void **arg)
{
	struct fixture *f = *arg;
	int killed = 0;

	for (int64_t timeout_ms = 1; timeout_ms <= 24; timeout_ms++) {
		struct namespaces_args args = pod(f, timeout_ms % 2);
		cleanup(strv_free) char **mounts = NULL;
		char link[64] = "";
		struct err err;
		struct stat st;

		assert_int_equal(
			namespaces_create(f->ns, &args, -1, timeout_ms, on_namespaces, f, &err), 0);
		wait_done(f);
		killed += f->failed;
		if (f->failed)
			assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
		else if (stat(f->paths.path[NAMESPACE_NET], &st) == 0)
			snprintf(link, sizeof(link), "net:[%llu]", (unsigned long long)st.st_ino);
		if (link[0])
			assert_false(has_namespace(link)); /* pinned, and nobody in it */
		remove_namespaces(f);
		assert_int_equal(mount_list(f->state, &mounts, &err), 0);
		assert_int_equal(strv_len(mounts), 0);
	}
	assert_true(killed > 0);
}

/* ----------------------------------------------------------------------------------------------------------- mount */

static void run_ops(struct fixture *f, const struct mount_op *ops, size_t nops)
{
	struct err err;

	if (mount_run(f->loop, ops, nops, -1, TIMEOUT_MS, on_mount, f, &err) < 0)
		fail_msg("%s", err.msg);
	wait_done(f);
}

static void shm_is_mounted_once_and_its_tree_removed(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *dir = xasprintf("%s/sandboxes/a", f->dir),
			  *shm = xasprintf("%s/shm", dir);
	cleanup(strv_free) char **mounts = NULL;
	struct mount_shm ops;
	struct stat st;
	struct err err;

	mount_shm_ops(&ops, shm, MOUNT_SHM_BYTES);
	for (int i = 0; i < 2; i++) {
		run_ops(f, ops.ops, MOUNT_SHM_OPS);
		assert_false(f->failed);
	}
	assert_int_equal(mount_list(dir, &mounts, &err), 0);
	assert_int_equal(strv_len(mounts), 1);
	assert_int_equal(stat(shm, &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);

	run_ops(f, &(struct mount_op){ .kind = MOUNT_REMOVE_TREE, .target = dir }, 1);
	assert_false(f->failed);
	assert_false(fsx_exists(dir));
	run_ops(f, &(struct mount_op){ .kind = MOUNT_REMOVE_TREE, .target = dir }, 1);
	assert_false(f->failed); /* gone already */
}

static void a_busy_mount_below_a_symlink_is_detached(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *real = xasprintf("%s/real/mnt", f->dir),
			  *link = xasprintf("%s/link", f->dir);
	cleanup_free char *target = xasprintf("%s/link/mnt", f->dir),
			  *inner = xasprintf("%s/real/mnt/inner", f->dir);
	cleanup_free char *parent = xasprintf("%s/real", f->dir);
	struct mount_op ops[] = {
		{ .kind = MOUNT_MKDIR, .target = real, .mode = 0755 },
		{ .kind = MOUNT_FS, .target = real, .fstype = "tmpfs" },
		{ .kind = MOUNT_MKDIR, .target = inner, .mode = 0755 },
		{ .kind = MOUNT_FS, .target = inner, .fstype = "tmpfs" },
	};
	cleanup_close int busy = -1;

	run_ops(f, ops, ARRAY_SIZE(ops));
	assert_false(f->failed);
	assert_int_equal(symlink(parent, link), 0);
	busy = open(inner, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(busy >= 0);
	run_ops(f, &(struct mount_op){ .kind = MOUNT_DETACH, .target = target }, 1);
	assert_false(f->failed);
	assert_int_equal(proc_is_mount_point(real), 0);
}

static void a_bind_is_restricted_as_asked(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *from = xasprintf("%s/from", f->dir), *to = xasprintf("%s/to", f->dir);
	cleanup_free char *file = xasprintf("%s/to/x", f->dir),
			  *deep = xasprintf("%s/to/sub/x", f->dir);
	cleanup_free char *sub = xasprintf("%s/from/sub", f->dir);
	struct mount_op ops[] = {
		{ .kind = MOUNT_MKDIR, .target = sub, .mode = 0755 },
		{ .kind = MOUNT_FS, .target = sub, .fstype = "tmpfs" },
		{ .kind = MOUNT_MKDIR, .target = to, .mode = 0755 },
		{ .kind = MOUNT_BIND,
		  .source = from,
		  .target = to,
		  .flags = MOUNT_RECURSIVE | MOUNT_READONLY,
		  .propagation = MOUNT_PRIVATE },
	};

	run_ops(f, ops, ARRAY_SIZE(ops));
	assert_false(f->failed);
	assert_true(open(file, O_CREAT | O_WRONLY, 0600) < 0 && errno == EROFS);
	assert_true(close(open(deep, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) ==
	            0); /* "ro" is this mount's alone */
	run_ops(f, &(struct mount_op){ .kind = MOUNT_DETACH, .target = to }, 1);
	ops[3].flags = MOUNT_RECURSIVE | MOUNT_RRO;
	run_ops(f, &ops[3], 1);
	assert_false(f->failed);
	assert_true(open(deep, O_WRONLY) < 0 && errno == EROFS);
	run_ops(f, &(struct mount_op){ .kind = MOUNT_BIND, .source = "/nonexistent", .target = to },
	        1);
	assert_true(f->failed);
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
	assert_non_null(strstr(f->err.msg, "bind /nonexistent onto "));
}

/* --------------------------------------------------------------------------------------------------------- cgroups */

static char *test_cgroup(struct fixture *f)
{
	cleanup_free char *path = cgroups_path_of(f->id);
	struct err err;
	char *dir = cgroup_dir(path, &err);

	assert_non_null(dir);
	return dir;
}

/* A process that ignores what can be ignored, and has one child like itself. */
static pid_t stubborn(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGTERM, SIG_IGN);
		for (;;)
			pause();
	}
	return pid;
}

static void fill_kill_and_remove(struct fixture *f, const struct cgroup_host *host)
{
	cleanup_free char *dir = test_cgroup(f), *nested = xasprintf("%s/deep/deeper", dir),
			  *where = NULL;
	char exec_name[CGROUP_EXEC_NAME];
	struct err err;
	pid_t pids[2], seen[4];
	int status;

	if (cgroup_create(host, nested, &err) < 0)
		fail_msg("%s", err.msg);
	pids[0] = stubborn();
	assert_int_equal(cgroup_move(host, nested, pids[0], &err), 0);
	if (cgroup_exec_create(host, dir, 7, exec_name, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(exec_name, "exec-7");
	pids[1] = stubborn();
	where = xasprintf("%s/exec-7", dir);
	if (cgroup_move(host, where, pids[1], &err) < 0)
		fail_msg("%s", err.msg);
	free(where);
	where = cgroup_dir_of(host, pids[0], &err);
	assert_string_equal(where, nested);
	assert_int_equal(cgroup_procs(host, dir, seen, ARRAY_SIZE(seen), &err), 2);

	assert_int_equal(cgroup_remove(host, dir, 50, &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, "process "));

	assert_int_equal(cgroup_exec_sweep(host, dir, 8, 3000, &err),
	                 1); /* kills the second only */
	assert_int_equal(waitpid(pids[1], &status, 0), pids[1]);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(waitpid(pids[0], &status, WNOHANG), 0);

	assert_int_equal(cgroup_kill(host, dir, 3000, &err), 0);
	assert_int_equal(waitpid(pids[0], &status, 0), pids[0]);
	assert_int_equal(cgroup_kill(host, dir, 0, &err), 0);
	assert_int_equal(cgroup_remove(host, dir, 3000, &err), 0);
	assert_int_equal(cgroup_remove(host, dir, 3000, &err), 0); /* gone is fine */
	assert_false(cgroup_exists(host, dir));
	assert_int_equal(cgroup_remove(host, "/coracle-test-run", 3000, &err), 0);
}

static void a_cgroup_is_made_filled_killed_and_removed(void **arg)
{
	struct fixture *f = *arg;

	fill_kill_and_remove(f, f->cgroups);
}

/* A hybrid's v2 tree, taken for all there is; NULL: this machine has none. */
static struct cgroup_host *v2_tree(const struct fixture *f)
{
	for (size_t i = 0; i < f->cgroups->nhierarchies; i++) {
		const struct cgroup_hierarchy *h = &f->cgroups->hierarchies[i];
		struct proc_mount mount = { .root = h->root,
			                    .target = h->mount,
			                    .fstype = "cgroup2" };

		if (h->v2)
			return cgroup_host_parse(&mount, 1, "0::/\n");
	}
	return NULL;
}

static void the_same_on_cgroup_v2(void **arg)
{
	struct fixture *f = *arg;
	cleanup(cgroup_host_free) struct cgroup_host *host = v2_tree(f);
	cleanup(cgroup_files_free) struct cgroup_files *files = NULL;
	cleanup_free char *dir = test_cgroup(f);
	struct cgroup_stats stats;
	struct err err;

	if (!host)
		skip();
	assert_int_equal(host->mode, CGROUP_V2);
	fill_kill_and_remove(f, host);

	assert_int_equal(cgroup_create(host, dir, &err), 0);
	files = cgroup_files_open(host, dir, &err);
	assert_non_null(files); /* time and pressure need no controller */
	assert_int_equal(cgroup_files_read(files, true, &stats, &err), 0);
	assert_true(stats.has_cpu && !stats.has_memory && !stats.has_pids);
	assert_int_equal(cgroup_remove(host, "/coracle-test-run", 3000, &err), 0);
	assert_int_equal(cgroup_files_read(files, true, &stats, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
}

static void the_root_is_never_killed_or_removed(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	assert_int_equal(cgroup_kill(f->cgroups, "/", 100, &err), -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	assert_int_equal(cgroup_remove(f->cgroups, "/a/../..", 100, &err), -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
}

static void statistics_of_a_busy_cgroup_are_read_until_it_is_gone(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *dir = test_cgroup(f);
	cleanup(cgroup_files_free) struct cgroup_files *files = NULL;
	struct cgroup_stats stats, more;
	struct err err;
	pid_t pid;

	assert_int_equal(cgroup_create(f->cgroups, dir, &err), 0);
	pid = fork();
	if (pid == 0) {
		size_t n = 8u << 20;
		volatile char *memory;

		if (cgroup_move(f->cgroups, dir, getpid(), &err) < 0)
			_exit(1);
		memory = malloc(n);
		for (size_t i = 0; memory && i < n; i += 4096)
			memory[i] = 1;
		for (volatile long i = 0; i < 50000000; i++)
			;
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	files = cgroup_files_open(f->cgroups, dir, &err);
	assert_non_null(files);
	assert_int_equal(cgroup_files_read(files, false, &stats, &err), 0);
	assert_true(stats.has_cpu && stats.cpu_usage_ns > 1000000);
	assert_true(stats.has_memory && stats.memory_rss >= 8u << 20 &&
	            stats.memory_usage >= stats.memory_working_set);
	assert_true(stats.page_faults > 2000);
	assert_true(stats.has_pids && stats.pids == 1);
	assert_int_equal(cgroup_files_read(files, true, &more, &err), 0);
	assert_true(more.memory_max_usage >= stats.memory_usage);
	assert_int_equal(more.cpu_shares, 1024);
	assert_int_equal(more.cpu_quota_us, -1);
	assert_true(more.cpu_period_us == 100000);

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(cgroup_remove(f->cgroups, "/coracle-test-run", 3000, &err), 0);
	assert_int_equal(cgroup_files_read(files, false, &stats, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_null(cgroup_files_open(f->cgroups, dir, &err));
	assert_int_equal(err.code, CODE_NOT_FOUND);
}

static void the_monitors_cgroup_takes_a_child(void **arg)
{
	struct fixture *f = *arg;
	struct child_args args = CHILD_ARGS_INIT;
	char *argv[] = { (char *)(uintptr_t) "/bin/cat", (char *)(uintptr_t) "/proc/self/cgroup",
		         NULL };
	cleanup_close int fd = -1;
	struct err err;

	if (cgroup_monitors_open(f->cgroups, f->state, &fd, &err) < 0)
		fail_msg("%s", err.msg);
	args.name = "cat";
	args.path = argv[0];
	args.argv = argv;
	args.capture_out = true;
	args.cgroup_fd = fd;
	args.done = on_child;
	args.arg = f;
	assert_non_null(child_spawn(f->loop, &args, &err));
	wait_done(f);
	assert_non_null(
		strstr(f->out, "monitors-")); /* keyed: this is not the default state directory */
	for (const char *line = strstr(f->out, "/coracle-monitors-"); line; line = NULL) {
		cleanup_free char *dir = xstrndup(line, strcspn(line, "\n"));

		assert_int_equal(cgroup_remove(f->cgroups, dir, 1000, &err), 0);
	}
}

/* -------------------------------------------------------------------------------------------------------- runtimes */

static void every_runtime_here_was_probed(void **arg)
{
	struct fixture *f = *arg;

	assert_true(runtime_count(f->runtime) > 0);
	for_each_runtime(f, info)
	{
		struct err err;

		if (runtime_usable(info, &err) < 0)
			fail_msg("%s", err.msg);
		assert_true(info->number >= 1000000);
		assert_string_equal(info->program, info->name);
		assert_true(runtime_has(info, RUNTIME_EXEC_CGROUP));
		assert_true(runtime_has(info, RUNTIME_CGROUP_V1));
		assert_true(runtime_has(info, RUNTIME_SECCOMP));
	}
}

static struct runtime_call call_of(struct fixture *f, const struct runtime_info *info,
                                   const char *id, const char *path)
{
	struct runtime_call call = RUNTIME_CALL_INIT;

	call.info = info;
	call.id = id;
	call.cgroups_path = path;
	call.timeout_ms = TIMEOUT_MS;
	call.done = on_runtime;
	call.arg = f;
	return call;
}

static enum runtime_status state_of(struct fixture *f, const struct runtime_call *call)
{
	struct err err;

	assert_int_equal(runtime_state(f->runtime, call, &err), 0);
	assert_done_well(f);
	return f->result.status;
}

/* Its stdio is /dev/null: a created container holds what it was given. */
static void create_container(struct fixture *f, const struct runtime_info *info, const char *path,
                             const char *id, const struct bundle *bundle)
{
	struct runtime_create create = {
		.id = id, .bundle = bundle->dir, .pid_file = bundle->pid_file, .log = bundle->log
	};
	cleanup(strv_free) char **argv = runtime_argv_create(f->runtime, info, path, &create);
	struct child_args args = CHILD_ARGS_INIT;
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct child_fd fds[] = { { null, 1 }, { null, 2 } };
	cleanup_free char *log = NULL;
	struct err err;

	args.name = "create";
	args.path = argv[0];
	args.argv = argv;
	args.fds = fds;
	args.nfds = ARRAY_SIZE(fds);
	args.done = on_child;
	args.arg = f;
	assert_non_null(child_spawn(f->loop, &args, &err));
	wait_done(f);
	if (f->status == 0)
		return;
	ignore(fsx_read(AT_FDCWD, bundle->log, 65536, &log, NULL) < 0);
	fail_msg("%s create: %s", info->name, or_empty(log));
}

static void exec_in(struct fixture *f, const struct runtime_info *info, const char *path,
                    const char *id, const struct bundle *bundle, const char *args_json)
{
	cleanup_free char *json = xasprintf(
		"{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"args\":%s}",
		args_json);
	cleanup_free char *dir = NULL;
	char process[BUNDLE_PATH_SIZE], pid_file[BUNDLE_PATH_SIZE], log[BUNDLE_PATH_SIZE],
		cgroup[CGROUP_EXEC_NAME];
	struct child_args child = CHILD_ARGS_INIT;
	struct runtime_exec exec;
	struct err err;

	dir = cgroup_dir(path, &err);
	if (cgroup_exec_create(f->cgroups, dir, 1, cgroup, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(bundle_write_exec(bundle, 1, json, strlen(json), &err), 0);
	assert_int_equal(bundle_exec_name(bundle, 1, ".json", process, sizeof(process), &err), 0);
	assert_int_equal(bundle_exec_name(bundle, 1, ".pid", pid_file, sizeof(pid_file), &err), 0);
	assert_int_equal(bundle_exec_name(bundle, 1, ".log", log, sizeof(log), &err), 0);
	exec = (struct runtime_exec){
		.id = id, .process = process, .pid_file = pid_file, .cgroup = cgroup, .log = log
	};
	child.capture_out = child.capture_err = true;
	child.timeout_ms = TIMEOUT_MS;
	child.done = on_child;
	child.arg = f;
	if (!runtime_exec_spawn(f->runtime, info, path, &exec, &child, &err))
		fail_msg("%s", err.msg);
	wait_done(f);
	if (cgroup_exec_remove(f->cgroups, dir, cgroup, 3000, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Old runtimes take what they do not know without a word: what we believe must be true. */
static void a_runtime_that_claims_recursive_read_only_applies_it(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, false);
	cleanup_free char *from = xasprintf("%s/rro", f->dir),
			  *sub = xasprintf("%s/rro/sub", f->dir);
	cleanup_free char *json =
		xasprintf("{\"destination\":\"/tmp\",\"type\":\"bind\",\"source\":\"%s\","
	                  "\"options\":[\"rbind\",\"rro\"]},",
	                  from);
	struct mount_op ops[] = {
		{ .kind = MOUNT_MKDIR, .target = sub, .mode = 0755 },
		{ .kind = MOUNT_FS, .target = sub, .fstype = "tmpfs" },
	};

	run_ops(f, ops, ARRAY_SIZE(ops));
	assert_false(f->failed);
	create_namespaces(f, &args);
	f->mounts = json;
	for_each_runtime(f, info)
	{
		if (!runtime_has(info, RUNTIME_RRO))
			continue;
		run_container(
			f, info,
			"(echo x >/tmp/sub/file) 2>/dev/null && echo written || echo refused");
		assert_string_equal(f->out, "refused\n");
	}
	f->mounts = NULL;
	remove_namespaces(f);
}

static void a_container_goes_through_its_whole_life(void **arg)
{
	struct fixture *f = *arg;
	struct namespaces_args args = pod(f, true);

	create_namespaces(f, &args);
	for_each_runtime(f, info)
	{
		cleanup_free char *path = NULL, *json = NULL, *dir = NULL, *text = NULL,
				  *log = NULL;
		cleanup(strv_free) char **start = NULL;
		static const char resources[] = "{\"memory\":{\"limit\":33554432}}";
		cleanup(cgroup_files_free) struct cgroup_files *files = NULL;
		char exec_log[BUNDLE_PATH_SIZE], exec_pid[BUNDLE_PATH_SIZE], sentence[200];
		struct cgroup_stats stats;
		struct runtime_call call;
		struct bundle bundle;
		char id[ID_SIZE];
		struct err err;
		pid_t pid;

		rand_id(id);
		path = cgroups_path_of(id);
		dir = cgroup_dir(path, &err);
		json = spec(f, "trap : TERM; while :; do sleep 1; done", path);
		bundle_with(f, id, json, &bundle);
		call = call_of(f, info, id, path);
		assert_int_equal(state_of(f, &call), RUNTIME_GONE);

		create_container(f, info, path, id, &bundle);
		assert_int_equal(bundle_read_pid(bundle.pid_file, &pid, &err), 0);
		assert_int_equal(state_of(f, &call), RUNTIME_CREATED);
		assert_int_equal(f->result.pid, pid);
		start = runtime_argv_start(f->runtime, info, path, id, NULL);
		run(f, start);
		assert_int_equal(f->status, 0);
		assert_int_equal(state_of(f, &call), RUNTIME_RUNNING);

		/* exec: its own cgroup, its exit status, and how a failed one is told from it */
		exec_in(f, info, path, id, &bundle,
		        "[\"sh\",\"-c\",\"cat /proc/self/cgroup; exit 3\"]");
		assert_int_equal(WEXITSTATUS(f->status), 3);
		assert_non_null(strstr(f->out, "exec-1"));
		assert_int_equal(
			bundle_exec_name(&bundle, 1, ".pid", exec_pid, sizeof(exec_pid), &err), 0);
		assert_true(fsx_exists(exec_pid));
		bundle_remove_exec(&bundle, 1);
		exec_in(f, info, path, id, &bundle, "[\"/no/such/program\"]");
		assert_true(WEXITSTATUS(f->status) != 0);
		assert_int_equal(
			bundle_exec_name(&bundle, 1, ".log", exec_log, sizeof(exec_log), &err), 0);
		assert_int_equal(fsx_read(AT_FDCWD, exec_log, 65536, &log, NULL) >= 0, 1);
		runtime_error(str_of(log), sentence, sizeof(sentence));
		assert_non_null(strstr(sentence, "/no/such/program"));
		assert_non_null(strstr(sentence, "o such file or directory"));

		files = cgroup_files_open(f->cgroups, dir, &err);
		assert_non_null(files);
		assert_int_equal(cgroup_files_read(files, true, &stats, &err), 0);
		assert_int_equal(stats.memory_limit, 67108864);
		assert_true(stats.pids >= 1);
		assert_int_equal(
			runtime_update(f->runtime, &call, resources, strlen(resources), &err), 0);
		assert_done_well(f);
		assert_int_equal(cgroup_files_read(files, true, &stats, &err), 0);
		assert_int_equal(stats.memory_limit, 33554432);

		assert_int_equal(runtime_kill(f->runtime, &call, SIGKILL, true, &err), 0);
		assert_done_well(f);
		while (state_of(f, &call) == RUNTIME_RUNNING)
			usleep(10000);
		assert_int_equal(state_of(f, &call), RUNTIME_STOPPED);
		assert_int_equal(runtime_kill(f->runtime, &call, SIGTERM, false, &err), 0);
		assert_done_well(f); /* there is nobody left: fine */
		for (int i = 0; i < 2; i++) {
			assert_int_equal(runtime_delete(f->runtime, &call, true, &err), 0);
			assert_done_well(f);
		}
		assert_int_equal(runtime_delete(f->runtime, &call, false, &err), 0);
		assert_done_well(f);
		assert_int_equal(
			runtime_update(f->runtime, &call, resources, strlen(resources), &err), 0);
		wait_done(f);
		assert_true(f->failed);
		assert_int_equal(f->err.code, CODE_NOT_FOUND);
		assert_int_equal(cgroup_remove(f->cgroups, dir, 3000, &err), 0);
		assert_int_equal(bundle_remove(&bundle, &err), 0);
	}
	remove_namespaces(f);
}

/* ----------------------------------------------------------------------------------------------------------- pause */

static void the_pause_container_runs_in_the_pinned_namespaces(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *dir = xasprintf("%s/pause", f->dir), *rootfs = NULL, *again = NULL;
	size_t elf_len = (size_t)(coracle_pause_elf_end - coracle_pause_elf);
	struct err err;

	if (elf_len == 0)
		skip();
	assert_int_equal(pause_prepare(dir, coracle_pause_elf, elf_len, &rootfs, &err), 0);
	assert_int_equal(pause_prepare(dir, coracle_pause_elf, elf_len, &again, &err), 0);
	assert_string_equal(rootfs, again);
	for (int variant = 0; variant < 4; variant++) {
		bool userns = variant & 1, host_pid = variant & 2;
		struct namespaces_args args = pod(f, userns);

		create_namespaces(f, &args);
		for_each_runtime(f, info)
		{
			cleanup_free char *path = NULL, *json = NULL, *cgroup = NULL;
			cleanup(strv_free) char **start = NULL;
			struct runtime_call call;
			struct bundle bundle;
			char id[ID_SIZE], other[ID_SIZE];
			struct pause_spec pause = { .rootfs = rootfs,
				                    .pinned = &f->paths,
				                    .host_pid = host_pid,
				                    .set_oom_score_adj = true };
			size_t len;
			pid_t pid;

			pause_container_id(f->id, id);
			pause_container_id("another", other);
			assert_string_not_equal(id, other);
			path = cgroups_path_of(id);
			cgroup = cgroup_dir(path, &err);
			pause.cgroups_path = path;
			pause.uid_maps = pause.gid_maps = maps;
			pause.nuid_maps = pause.ngid_maps = 1;
			pause.oom_score_adj = runtime_clamp_oom(runtime_host_limits(f->runtime),
			                                        PAUSE_OOM_SCORE_ADJ);
			json = sandbox_ops_pause.spec(&pause, &len, &err);
			assert_non_null(json);
			bundle_with(f, id, json, &bundle);
			create_container(f, info, path, id, &bundle);
			start = runtime_argv_start(f->runtime, info, path, id, NULL);
			run(f, start);
			if (f->status != 0)
				fail_msg("%s start: %s", info->name, f->errout);
			call = call_of(f, info, id, path);
			assert_int_equal(state_of(f, &call), RUNTIME_RUNNING);
			pid = f->result.pid;
			for (int k = 0; k < NAMESPACE_KINDS; k++) {
				cleanup_free char *mine =
					xasprintf("/proc/%d/ns/%s", (int)pid,
				                  namespace_name((enum namespace_kind)k));
				struct stat a, b;

				if (!f->paths.path[k][0])
					continue;
				assert_int_equal(stat(mine, &a), 0);
				assert_int_equal(stat(f->paths.path[k], &b), 0);
				assert_true(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
			}
			assert_int_equal(runtime_delete(f->runtime, &call, true, &err), 0);
			assert_done_well(f);
			assert_int_equal(bundle_remove(&bundle, &err), 0);
			assert_int_equal(cgroup_remove(f->cgroups, cgroup, 3000, &err), 0);
		}
		remove_namespaces(f);
	}
}

static void the_test_leaves_no_cgroup(void **arg)
{
	struct fixture *f = *arg;
	struct err err;

	if (cgroup_remove(f->cgroups, "/coracle-test-run", 3000, &err) < 0)
		fail_msg("%s", err.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_runtimes_join_a_pod_with_a_user_namespace,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(both_runtimes_join_a_pod_without_a_user_namespace,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(root_of_the_pod_may_set_its_own_sysctls, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(host_network_pins_neither_network_nor_uts, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_pod_that_shares_everything_needs_no_namespaces,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_sysctl_is_named_and_leaves_nothing, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(creating_again_replaces_and_removing_again_is_fine,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(many_pods_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_helper_killed_anywhere_leaves_what_remove_clears,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(shm_is_mounted_once_and_its_tree_removed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_busy_mount_below_a_symlink_is_detached, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_bind_is_restricted_as_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cgroup_is_made_filled_killed_and_removed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(the_same_on_cgroup_v2, setup, teardown),
		cmocka_unit_test_setup_teardown(the_root_is_never_killed_or_removed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			statistics_of_a_busy_cgroup_are_read_until_it_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(the_monitors_cgroup_takes_a_child, setup, teardown),
		cmocka_unit_test_setup_teardown(every_runtime_here_was_probed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_runtime_that_claims_recursive_read_only_applies_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_container_goes_through_its_whole_life, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(the_pause_container_runs_in_the_pinned_namespaces,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(the_test_leaves_no_cgroup, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
