#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"

static void a_process_is_named_by_pid_and_start_time(void **arg)
{
	uint64_t ticks = 0, again = 0;
	char state;

	(void)arg;
	assert_int_equal(proc_start_ticks(getpid(), &ticks), 0);
	assert_true(ticks > 0);
	assert_int_equal(proc_start_ticks(getpid(), &again), 0);
	assert_true(ticks == again);
	assert_int_equal(proc_state(getpid(), &state), 0);
	assert_int_equal(state, 'R');
	assert_true(proc_is_alive(getpid(), ticks));
	assert_false(proc_is_alive(getpid(), ticks + 1)); /* a pid used again */
	assert_int_equal(proc_start_ticks(0, &ticks), -ENOENT);
	assert_int_equal(proc_start_ticks(-5, &ticks), -ENOENT);
	assert_false(proc_is_alive(1 << 30, ticks));
}

static void a_zombie_is_not_alive(void **arg)
{
	uint64_t ticks;
	siginfo_t info;
	char state;
	pid_t pid = fork();

	(void)arg;
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(proc_state(pid, &state), 0);
	assert_int_equal(state, 'Z');
	assert_int_equal(proc_start_ticks(pid, &ticks), 0);
	assert_false(proc_is_alive(pid, ticks));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(proc_start_ticks(pid, &ticks), -ENOENT);
}

static void a_hostile_name_does_not_shift_the_fields(void **arg)
{
	uint64_t before, after;
	char name[16] = "x) Z 1 (";

	(void)arg;
	assert_int_equal(proc_start_ticks(getpid(), &before), 0);
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
	assert_int_equal(proc_start_ticks(getpid(), &after), 0);
	assert_true(before == after);
	assert_true(proc_is_alive(getpid(), after));
}

static void the_boot_has_an_id_and_the_machine_may_have_one(void **arg)
{
	static const uint8_t zeros[16];
	uint8_t id[16] = { 0 }, again[16];

	(void)arg;
	assert_int_equal(proc_boot_id(id), 0);
	assert_memory_not_equal(id, zeros, 16);
	assert_int_equal(proc_boot_id(again), 0);
	assert_memory_equal(id, again, 16);
	assert_int_equal(proc_machine_id(id), 0);
}

static void our_cgroup_is_found_in_the_hierarchies_that_there_are(void **arg)
{
	cleanup_free char *text = NULL;
	cleanup_free char *path = NULL;
	cleanup_free char *by_pid = NULL;
	char *none = NULL;

	(void)arg;
	assert_int_equal(fsx_read(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL), 0);
	if (starts_with(text, "0::") || strstr(text, "\n0::")) {
		assert_int_equal(proc_cgroup_path(0, "", &path), 0);
		assert_int_equal(path[0], '/');
		assert_int_equal(proc_cgroup_path(getpid(), "", &by_pid), 0);
		assert_string_equal(path, by_pid);
	}
	if (strstr(text, ":memory:")) {
		cleanup_free char *memory = NULL;

		assert_int_equal(proc_cgroup_path(0, "memory", &memory), 0);
		assert_int_equal(memory[0], '/');
	}
	assert_int_equal(proc_cgroup_path(0, "no-such-controller", &none), -ENOENT);
	assert_int_equal(proc_cgroup_path(1 << 30, "", &none), -ENOENT);
	assert_null(none);
}

static int copy_mount(const struct proc_mount *mount, void *arg)
{
	char **line = arg;
	char *more;

	more = xasprintf("%s%d,%d,%u:%u,%s,%s,%s,%s,%s,%s;", *line ? *line : "", mount->id,
	                 mount->parent, mount->major, mount->minor, mount->root, mount->target,
	                 mount->options, mount->fstype, mount->source, mount->super_options);
	free(*line);
	*line = more;
	return 0;
}

static void mount_lines_are_taken_apart_and_unescaped(void **arg)
{
	cleanup_free char *text = xstrdup(
		"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
		"37 36 0:40 / / rw - overlay overlay rw,lowerdir=/a\\072b:/c\\011d\n"
		"38 36 0:41 / /empty\\012source rw,relatime shared:1 - tmpfs  rw,size=4k\n"
		"39 36 0:42 net:[4026532000] /run/x\\9\\000\\04 rw - nsfs nsfs rw\n");
	cleanup_free char *seen = NULL;

	(void)arg;
	assert_int_equal(proc_mounts_parse(text, copy_mount, &seen), 0);
	assert_string_equal(
		seen, "36,35,98:0,/mnt1,/mnt 2\\x,rw,noatime,ext3,/dev/root,rw,errors=continue;"
		      "37,36,0:40,/,/,rw,overlay,overlay,rw,lowerdir=/a:b:/c\td;"
		      "38,36,0:41,/,/empty\nsource,rw,relatime,tmpfs,,rw,size=4k;"
		      "39,36,0:42,net:[4026532000],/run/x\\9\\000\\04,rw,nsfs,nsfs,rw;");
}

static int never(const struct proc_mount *mount, void *arg)
{
	(void)mount;
	(void)arg;
	fail();
	return 0;
}

static void what_is_no_mountinfo_is_said_to_be_none(void **arg)
{
	static const char *const bad[] = {
		"x",
		"36 35 98:0 /a /b rw",
		"36 35 98:0 /a /b rw - ext3 /dev/root",
		"36 35 98 /a /b rw - ext3 /dev/root rw",
		"a 35 98:0 /a /b rw - ext3 /dev/root rw",
		"36 35 98:0 /a /b rw shared:1 ext3 /dev/root rw",
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cleanup_free char *text = xstrdup(bad[i]);

		assert_int_equal(proc_mounts_parse(text, never, NULL), -EBADMSG);
	}
	assert_int_equal(proc_mounts_parse((char[]){ "" }, never, NULL), 0);
}

static int stop_at_root(const struct proc_mount *mount, void *arg)
{
	(void)arg;
	return streq(mount->target, "/") ? 17 : 0;
}

static void walking_stops_where_the_visitor_says(void **arg)
{
	(void)arg;
	assert_int_equal(proc_mounts(stop_at_root, NULL), 17);
}

static void mount_points_are_told_from_directories(void **arg)
{
	(void)arg;
	assert_int_equal(proc_is_mount_point("/"), 1);
	assert_int_equal(proc_is_mount_point("/proc"), 1);
	assert_int_equal(proc_is_mount_point("/proc/sys"), 0);
	assert_int_equal(proc_is_mount_point("/etc/passwd"), 0);
	assert_int_equal(proc_is_mount_point("/no/such/path"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_is_named_by_pid_and_start_time),
		cmocka_unit_test(a_zombie_is_not_alive),
		cmocka_unit_test(a_hostile_name_does_not_shift_the_fields),
		cmocka_unit_test(the_boot_has_an_id_and_the_machine_may_have_one),
		cmocka_unit_test(our_cgroup_is_found_in_the_hierarchies_that_there_are),
		cmocka_unit_test(mount_lines_are_taken_apart_and_unescaped),
		cmocka_unit_test(what_is_no_mountinfo_is_said_to_be_none),
		cmocka_unit_test(walking_stops_where_the_visitor_says),
		cmocka_unit_test(mount_points_are_told_from_directories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
