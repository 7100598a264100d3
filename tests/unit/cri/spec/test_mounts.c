/* What the container sees mounted, and who wins a destination. */
/* link-wrap: lchown fchown proc_mounts */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "tests/lib/spec_input.h"

/* Files change owners without us being root, and every mount is as the test says. */
static uid_t owner;
static bool shared, slave;

int __wrap_lchown(const char *path, uid_t uid, gid_t gid);
int __wrap_fchown(int fd, uid_t uid, gid_t gid);
int __wrap_proc_mounts(proc_mount_fn fn, void *arg);

int __wrap_lchown(const char *path, uid_t uid, gid_t gid)
{
	(void)path;
	(void)gid;
	owner = uid;
	return 0;
}

int __wrap_fchown(int fd, uid_t uid, gid_t gid)
{
	(void)fd;
	(void)gid;
	owner = uid;
	return 0;
}

int __wrap_proc_mounts(proc_mount_fn fn, void *arg)
{
	for (int id = 0; id < 100000; id++) {
		int rc =
			fn(&(struct proc_mount){ .id = id, .shared = shared, .slave = slave }, arg);

		if (rc)
			return rc;
	}
	return 0;
}

static int setup(void **arg)
{
	struct spec_input_fixture *f = xcalloc(1, sizeof(*f));

	spec_input_init(f);
	shared = slave = false;
	owner = 0;
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	spec_input_release(*arg);
	free(*arg);
	return 0;
}

#define assert_builds(f)                                                                           \
	do {                                                                                       \
		if (spec_input_build(f) < 0)                                                       \
			fail_msg("%s", (f)->err.msg);                                              \
	} while (0)

#define assert_refused(f, wanted_code, says)                                                       \
	do {                                                                                       \
		assert_int_equal(spec_input_build(f), -1);                                         \
		if (!strstr((f)->err.msg, says))                                                   \
			fail_msg("%s", (f)->err.msg);                                              \
		assert_int_equal((f)->err.code, wanted_code);                                      \
	} while (0)

#define assert_mount(f, destination, ...)                                                          \
	do {                                                                                       \
		cleanup_free char *mount_ = spec_input_mount(f, destination);                      \
		cleanup_free char *expected_ = xasprintf(__VA_ARGS__);                             \
		assert_string_equal(mount_, expected_);                                            \
	} while (0)

/* One mount of the request, on <dir>/volume. */
static cri_Mount *one_mount(struct spec_input_fixture *f)
{
	static char source[128];
	static cri_Mount mount;

	assert_int_equal(str_format(source, sizeof(source), "%s/volume", f->dir), 0);
	mount = (cri_Mount){ .container_path = TEXT("/data"), .host_path = source };
	f->config.mounts = &mount;
	f->config.mounts_count = 1;
	return &mount;
}

static char *destinations(const struct spec_input_fixture *f)
{
	char *text = xstrdup("");
	yyjson_val *mount;
	size_t i, n;

	yyjson_arr_foreach(spec_input_get(f, "/mounts"), i, n, mount)
	{
		char *longer = xasprintf("%s%s%s", text, i ? " " : "",
		                         yyjson_get_str(yyjson_obj_get(mount, "destination")));

		free(text);
		text = longer;
	}
	return text;
}

#define assert_destinations(f, expected)                                                           \
	do {                                                                                       \
		cleanup_free char *text_ = destinations(f);                                        \
		assert_string_equal(text_, expected);                                              \
	} while (0)

/* --- defaults */

static void the_default_mounts_are_there(void **arg)
{
	struct spec_input_fixture *f = *arg;

	assert_builds(f);
	assert_destinations(
		f, "/proc /dev /dev/pts /dev/mqueue /sys /sys/fs/cgroup /etc/hostname /etc/hosts "
		   "/etc/resolv.conf /dev/shm");
	assert_mount(f, "/proc", "proc proc nosuid,noexec,nodev");
	assert_mount(f, "/dev", "tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k");
	assert_mount(f, "/dev/pts",
	             "devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
	assert_mount(f, "/dev/mqueue", "mqueue mqueue nosuid,noexec,nodev");
	assert_mount(f, "/sys", "sysfs sysfs nosuid,noexec,nodev,ro");
	assert_mount(f, "/sys/fs/cgroup", "cgroup cgroup nosuid,noexec,nodev,relatime,ro");
	assert_mount(f, "/etc/hosts", "bind %s/hosts rbind,rprivate,rw", f->sandbox_dir);
	assert_mount(f, "/dev/shm", "bind %s/shm rbind,rprivate,rw", f->sandbox_dir);
	assert_null(spec_input_get(f, "/linux/rootfsPropagation"));
}

static void a_read_only_root_has_read_only_files_but_shared_memory(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->readonly_rootfs = true;
	assert_builds(f);
	assert_mount(f, "/etc/hostname", "bind %s/hostname rbind,rprivate,ro", f->sandbox_dir);
	assert_mount(f, "/dev/shm", "bind %s/shm rbind,rprivate,rw", f->sandbox_dir);
}

static void a_privileged_container_may_write_sys_and_keeps_the_hierarchys_options(void **arg)
{
	struct spec_input_fixture *f = *arg;

	f->security->privileged = f->pod.linux.security_context.privileged = true;
	f->host.cgroup2 = f->host.cgroup_nsdelegate = f->host.cgroup_recursiveprot = true;
	assert_builds(f);
	assert_mount(f, "/sys", "sysfs sysfs nosuid,noexec,nodev,rw");
	assert_mount(
		f, "/sys/fs/cgroup",
		"cgroup cgroup nosuid,noexec,nodev,relatime,rw,nsdelegate,memory_recursiveprot");
	f->security->privileged = false;
	assert_builds(f);
	assert_mount(f, "/sys/fs/cgroup", "cgroup cgroup nosuid,noexec,nodev,relatime,ro");
}

static void a_missing_pod_file_is_left_out_and_missing_memory_is_an_error(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cleanup_free char *hosts = xasprintf("%s/hosts", f->sandbox_dir);
	cleanup_free char *shm = xasprintf("%s/shm", f->sandbox_dir);

	assert_int_equal(unlink(hosts), 0);
	assert_builds(f);
	assert_mount(f, "/etc/hosts", "(none)");
	assert_int_equal(rmdir(shm), 0);
	assert_refused(f, CODE_FAILED_PRECONDITION, "shm is gone");
	f->pod.linux.security_context.namespace_options.ipc = cri_NamespaceMode_NODE;
	assert_builds(f);
	assert_mount(f, "/dev/shm", "bind /dev/shm rbind,rprivate,rw");
}

static struct id_map map = { 0, 100000, 65536 };

static void with_user_namespace(struct spec_input_fixture *f)
{
	f->sandbox.userns_path = TEXT("/run/pins/user");
	f->sandbox.uid_maps = f->sandbox.gid_maps = (struct id_maps){ &map, 1 };
}

static void the_pods_files_belong_to_its_root(void **arg)
{
	struct spec_input_fixture *f = *arg;

	with_user_namespace(f);
	assert_builds(f);
	assert_int_equal(owner, 100000);
	assert_null(spec_input_get(f, "/mounts/6/uidMappings"));
}

static void what_a_user_namespace_may_not_mount_is_bound(void **arg)
{
	struct spec_input_fixture *f = *arg;

	with_user_namespace(f);
	assert_builds(f);
	assert_mount(f, "/sys", "sysfs sysfs nosuid,noexec,nodev,ro");
	assert_mount(f, "/proc", "proc proc nosuid,noexec,nodev");
	f->sandbox.host_network = true;
	f->pod.linux.security_context.namespace_options.pid = cri_NamespaceMode_NODE;
	f->security->namespace_options.pid = cri_NamespaceMode_NODE;
	assert_builds(f);
	assert_mount(f, "/sys", "bind /sys rbind,nosuid,noexec,nodev,rro");
	assert_mount(f, "/proc", "bind /proc rbind,nosuid,noexec,nodev");
	f->runtime.features &= ~(UINT64_C(1) << RUNTIME_RRO);
	assert_builds(f);
	assert_mount(f, "/sys", "bind /sys rbind,nosuid,noexec,nodev,ro");
}

/* --- who wins */

static void a_mount_of_the_request_replaces_pod_and_default(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);

	mount->container_path = TEXT("//etc/./hosts/");
	assert_builds(f);
	assert_mount(f, "/etc/hosts", "bind %s/volume rbind,rprivate,rw", f->dir);
	mount->container_path = TEXT("/dev/shm");
	assert_builds(f);
	assert_mount(f, "/dev/shm", "bind %s/volume rbind,rprivate,rw", f->dir);
	mount->container_path = TEXT("/sys");
	assert_builds(f);
	assert_mount(f, "/sys", "bind %s/volume rbind,rprivate,rw", f->dir);
	mount->container_path = TEXT("/dev");
	assert_builds(f);
	assert_destinations(
		f,
		"/proc /sys /sys/fs/cgroup /dev /etc/hostname /etc/hosts /etc/resolv.conf /dev/shm");
}

static void mounts_are_sorted_by_depth_and_stay_in_order(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char host[] = "/tmp";
	static cri_Mount mounts[] = {
		{ .container_path = TEXT("/z/y/x"), .host_path = host },
		{ .container_path = TEXT("/b"), .host_path = host },
		{ .container_path = TEXT("/z/y"), .host_path = host },
		{ .container_path = TEXT("/a"), .host_path = host },
		{ .container_path = TEXT("/b"), .host_path = host },
	};

	f->config.mounts = mounts;
	f->config.mounts_count = ARRAY_SIZE(mounts);
	assert_builds(f);
	assert_destinations(
		f,
		"/proc /dev /dev/pts /dev/mqueue /sys /sys/fs/cgroup /b /a /b /z/y /etc/hostname "
		"/etc/hosts /etc/resolv.conf /dev/shm /z/y/x");
}

static void a_volume_of_the_image_is_a_directory_unless_the_request_mounts_there(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cleanup_free char *mounted = NULL;
	cleanup_free char *copy = NULL;
	cleanup_free char *text = NULL;

	spec_input_file(f, "seed/file", "seed");
	f->image = "{\"config\":{\"Cmd\":[\"c\"],\"Volumes\":{\"/seed/\":{},\"data\":{}}}}";
	assert_builds(f);
	mounted = spec_input_mount(f, "/seed");
	assert_true(starts_with(mounted, "bind "));
	assert_true(starts_with(mounted + 5, f->container_dir));
	copy = xasprintf("%.*s/file", (int)(strcspn(mounted + 5, " ")), mounted + 5);
	assert_true(fsx_read(AT_FDCWD, copy, 100, &text, NULL) >= 0);
	assert_string_equal(text, "seed");
	one_mount(f);
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/volume rbind,rprivate,rw", f->dir);
	f->image = "{\"config\":{\"Cmd\":[\"c\"],\"Volumes\":{\"/..\":{}}}}";
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.Volumes: \"/..\" is the root");
}

/* --- options */

static void a_missing_host_path_becomes_a_directory(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);
	cleanup_free char *deep = xasprintf("%s/a/b/c", f->dir);

	mount->host_path = deep;
	assert_builds(f);
	assert_true(fsx_is_dir(deep));
}

static void a_host_path_is_followed_to_its_end(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);
	cleanup_free char *target = xasprintf("%s/target", f->dir);
	cleanup_free char *link = xasprintf("%s/link", f->dir);
	cleanup_free char *dangling = xasprintf("%s/dangling", f->dir);

	assert_int_equal(mkdir(target, 0755), 0);
	assert_int_equal(symlink("target", link), 0);
	mount->host_path = link;
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/target rbind,rprivate,rw", f->dir);
	assert_int_equal(symlink("nowhere", dangling), 0);
	mount->host_path = dangling;
	assert_refused(f, CODE_NOT_FOUND, "config.mounts[0]: host_path: create ");
}

static void a_mount_is_read_only_as_deep_as_asked(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);

	mount->readonly = true;
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/volume rbind,rprivate,ro", f->dir);
	mount->recursive_read_only = true;
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/volume rbind,rprivate,rro", f->dir);
	f->runtime.features &= ~(UINT64_C(1) << RUNTIME_RRO);
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "config.mounts[0]: recursive_read_only: RROUnsupported: crun 1.15");
	mount->propagation = cri_MountPropagation_PROPAGATION_BIDIRECTIONAL;
	shared = true;
	assert_refused(f, CODE_INVALID_ARGUMENT, "recursive_read_only: needs propagation PRIVATE");
	mount->readonly = false;
	assert_refused(f, CODE_INVALID_ARGUMENT, "recursive_read_only: needs readonly");
}

static void propagation_needs_a_mount_that_propagates(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);

	mount->propagation = cri_MountPropagation_PROPAGATION_HOST_TO_CONTAINER;
	assert_refused(f, CODE_FAILED_PRECONDITION, "is not on a shared or slave mount");
	slave = true;
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/volume rbind,rslave,rw", f->dir);
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/rootfsPropagation")),
	                    "rslave");
	mount->propagation = cri_MountPropagation_PROPAGATION_BIDIRECTIONAL;
	assert_refused(f, CODE_FAILED_PRECONDITION, "is not on a shared mount");
	shared = true;
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/volume rbind,rshared,rw", f->dir);
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/rootfsPropagation")),
	                    "rshared");
}

static void the_widest_propagation_is_the_roots(void **arg)
{
	struct spec_input_fixture *f = *arg;
	static char host[] = "/tmp";
	static cri_Mount mounts[] = {
		{ .container_path = TEXT("/a"),
		  .host_path = host,
		  .propagation = cri_MountPropagation_PROPAGATION_BIDIRECTIONAL },
		{ .container_path = TEXT("/b"),
		  .host_path = host,
		  .propagation = cri_MountPropagation_PROPAGATION_HOST_TO_CONTAINER },
	};

	shared = true;
	f->config.mounts = mounts;
	f->config.mounts_count = ARRAY_SIZE(mounts);
	assert_builds(f);
	assert_string_equal(yyjson_get_str(spec_input_get(f, "/linux/rootfsPropagation")),
	                    "rshared");
}

static void id_maps_need_a_runtime_that_can(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);
	static cri_IDMapping uids = { .host_id = 100000, .container_id = 0, .length = 7 };
	static cri_IDMapping gids = { .host_id = 200000, .container_id = 0, .length = 8 };

	mount->container_path = TEXT("/a");
	mount->uidMappings = &uids;
	mount->uidMappings_count = 1;
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "config.mounts[0]: uidMappings: uidMappings and gidMappings go together");
	mount->gidMappings = &gids;
	mount->gidMappings_count = 1;
	assert_builds(f);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/mounts/6/uidMappings/0/hostID")),
	                 100000);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/mounts/6/gidMappings/0/hostID")),
	                 200000);
	assert_int_equal(yyjson_get_uint(spec_input_get(f, "/mounts/6/gidMappings/0/size")), 8);
	f->runtime.features &= ~(UINT64_C(1) << RUNTIME_IDMAP);
	assert_refused(f, CODE_FAILED_PRECONDITION,
	               "config.mounts[0]: uidMappings: crun 1.15 cannot apply");
}

static void mount_options_are_three(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);
	static char *options[] = { TEXT("nosuid"), TEXT("noexec"), TEXT("nosuid"), TEXT("suid") };

	mount->mount_options = options;
	mount->mount_options_count = 3;
	assert_builds(f);
	assert_mount(f, "/data", "bind %s/volume rbind,rprivate,rw,noexec,nosuid", f->dir);
	mount->mount_options_count = 4;
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.mounts[0]: mount_options[3]: \"suid\"");
}

static void a_mount_that_cannot_be_is_named(void **arg)
{
	struct spec_input_fixture *f = *arg;
	cri_Mount *mount = one_mount(f);

	mount->container_path = TEXT("data");
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "config.mounts[0]: container_path: \"data\" is not an absolute path");
	mount->container_path = TEXT("/x/..");
	assert_refused(f, CODE_INVALID_ARGUMENT, "config.mounts[0]: container_path: the root");
	mount->container_path = TEXT("/data");
	mount->host_path = TEXT("data");
	assert_refused(f, CODE_INVALID_ARGUMENT,
	               "config.mounts[0]: host_path: \"data\" is not an absolute path");
	mount->host_path = TEXT("/dev/null/x");
	assert_refused(f, CODE_INTERNAL, "config.mounts[0]: host_path: /dev/null/x");
	mount->has_image = true;
	mount->image.image = TEXT("sha256:abc");
	assert_refused(f, CODE_UNIMPLEMENTED, "config.mounts[0]: image: \"sha256:abc\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_default_mounts_are_there),
		TEST(a_read_only_root_has_read_only_files_but_shared_memory),
		TEST(a_privileged_container_may_write_sys_and_keeps_the_hierarchys_options),
		TEST(a_missing_pod_file_is_left_out_and_missing_memory_is_an_error),
		TEST(the_pods_files_belong_to_its_root),
		TEST(what_a_user_namespace_may_not_mount_is_bound),
		TEST(a_mount_of_the_request_replaces_pod_and_default),
		TEST(mounts_are_sorted_by_depth_and_stay_in_order),
		TEST(a_volume_of_the_image_is_a_directory_unless_the_request_mounts_there),
		TEST(a_missing_host_path_becomes_a_directory),
		TEST(a_host_path_is_followed_to_its_end),
		TEST(a_mount_is_read_only_as_deep_as_asked),
		TEST(propagation_needs_a_mount_that_propagates),
		TEST(the_widest_propagation_is_the_roots),
		TEST(id_maps_need_a_runtime_that_can),
		TEST(mount_options_are_three),
		TEST(a_mount_that_cannot_be_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
