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
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/run/controller.h"

static void a_shared_pid_namespace_needs_a_process(void **arg)
{
	struct err err;

	(void)arg;
	assert_ptr_equal(controller_choose("pinned", PID_MODE_POD, &err), &sandbox_ops_pause);
	assert_ptr_equal(controller_choose("pinned", PID_MODE_CONTAINER, &err),
	                 &sandbox_ops_pinned);
	assert_ptr_equal(controller_choose("", PID_MODE_NODE, &err), &sandbox_ops_pinned);
	assert_ptr_equal(controller_choose(NULL, PID_MODE_TARGET, &err), &sandbox_ops_pinned);
	assert_ptr_equal(controller_choose("pause", PID_MODE_CONTAINER, &err), &sandbox_ops_pause);
	assert_null(controller_choose("shim", PID_MODE_CONTAINER, &err));
	assert_non_null(strstr(err.msg, "\"shim\""));
}

static void a_recorded_name_is_found_again(void **arg)
{
	(void)arg;
	assert_ptr_equal(controller_find(sandbox_ops_pinned.name), &sandbox_ops_pinned);
	assert_ptr_equal(controller_find(sandbox_ops_pause.name), &sandbox_ops_pause);
	assert_null(controller_find("kata"));
	assert_false(sandbox_ops_pinned.has_container);
	assert_null(sandbox_ops_pinned.spec);
	assert_true(sandbox_ops_pause.has_container);
}

static yyjson_doc *pause_doc(const struct pause_spec *args)
{
	cleanup_free char *text = NULL;
	struct err err;
	yyjson_doc *doc;
	size_t len;

	text = sandbox_ops_pause.spec(args, &len, &err);
	assert_non_null(text);
	doc = json_parse(text, len, 1 << 20, "spec", &err);
	if (!doc)
		fail_msg("%s", err.msg);
	return doc;
}

static const char *namespace_path(yyjson_val *root, const char *type)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(json_arr(json_obj(root, "linux"), "namespaces"));
	yyjson_val *ns;

	while ((ns = yyjson_arr_iter_next(&it)))
		if (streq(json_str(ns, "type", NULL), type))
			return json_str(ns, "path", "");
	return NULL;
}

static void pause_has_no_privilege_and_joins_what_is_pinned(void **arg)
{
	static const char *const sets[] = { "bounding", "effective", "inheritable", "permitted",
		                            "ambient" };
	static const struct id_map map = { 0, 100000, 65536 };
	struct namespaces_paths pinned = { .path = { "/ns/net", "/ns/ipc", "/ns/uts",
		                                     "/ns/user" } };
	struct pause_spec args = {
		.rootfs = "/r",
		.cgroups_path = "/p/x",
		.pinned = &pinned,
		.uid_maps = &map,
		.nuid_maps = 1,
		.gid_maps = &map,
		.ngid_maps = 1,
		.set_oom_score_adj = true,
		.oom_score_adj = -998,
	};
	cleanup(yyjson_doc_free) yyjson_doc *doc = pause_doc(&args);
	yyjson_val *root = yyjson_doc_get_root(doc), *process = json_obj(root, "process"), *range;

	(void)arg;
	assert_string_equal(json_str(root, "ociVersion", ""), "1.0.2");
	assert_true(json_bool(process, "noNewPrivileges", false));
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		assert_int_equal(
			yyjson_arr_size(json_arr(json_obj(process, "capabilities"), sets[i])), 0);
	assert_non_null(json_arr(json_obj(process, "capabilities"), "bounding"));
	assert_int_equal(json_i64(process, "oomScoreAdj", 0), -998);
	assert_true(json_bool(json_obj(root, "root"), "readonly", false));
	assert_string_equal(json_str(json_obj(root, "root"), "path", ""), "/r");
	assert_string_equal(namespace_path(root, "network"), "/ns/net");
	assert_string_equal(namespace_path(root, "ipc"), "/ns/ipc");
	assert_string_equal(namespace_path(root, "uts"), "/ns/uts");
	assert_string_equal(namespace_path(root, "user"), "/ns/user");
	assert_string_equal(namespace_path(root, "pid"), "");
	assert_string_equal(namespace_path(root, "mount"), "");
	range = yyjson_arr_get_first(json_arr(json_obj(root, "linux"), "uidMappings"));
	assert_int_equal(json_u64(range, "hostID", 0), 100000);
	assert_int_equal(json_u64(range, "size", 0), 65536);
	assert_null(json_str(root, "hostname", NULL)); /* the pinned namespace has it */
}

static void what_the_pod_shares_with_the_host_is_not_joined(void **arg)
{
	struct namespaces_paths pinned = { .path = { "", "/ns/ipc", "", "" } };
	struct pause_spec args = { .rootfs = "/r", .pinned = &pinned, .host_pid = true };
	cleanup(yyjson_doc_free) yyjson_doc *doc = pause_doc(&args);
	yyjson_val *root = yyjson_doc_get_root(doc);

	(void)arg;
	assert_null(namespace_path(root, "network"));
	assert_null(namespace_path(root, "uts"));
	assert_null(namespace_path(root, "user"));
	assert_null(namespace_path(root, "pid"));
	assert_string_equal(namespace_path(root, "ipc"), "/ns/ipc");
	assert_null(json_arr(json_obj(root, "linux"), "uidMappings"));
	assert_null(yyjson_obj_get(json_obj(root, "process"), "oomScoreAdj"));
	assert_null(yyjson_obj_get(json_obj(root, "linux"), "cgroupsPath"));
}

static void the_hidden_containers_id_derives_from_the_pods(void **arg)
{
	char a[ID_SIZE], again[ID_SIZE], b[ID_SIZE];

	(void)arg;
	pause_container_id("pod-a", a);
	pause_container_id("pod-a", again);
	pause_container_id("pod-b", b);
	assert_int_equal(strlen(a), 64);
	assert_int_equal(strspn(a, "0123456789abcdef"), 64);
	assert_string_equal(a, again);
	assert_string_not_equal(a, b);
}

static void a_damaged_pause_program_is_replaced(void **arg)
{
	static const char elf[] = "\x7f"
				  "ELF, nearly";
	char dir[] = "/tmp/test-controller-XXXXXX";
	cleanup_free char *rootfs = NULL, *again = NULL, *newer = NULL, *file = NULL, *text = NULL;
	struct stat st;
	struct err err;
	size_t len;

	(void)arg;
	if (geteuid() != 0)
		skip(); /* the program must be root's */
	assert_non_null(mkdtemp(dir));
	assert_int_equal(pause_prepare(dir, elf, sizeof(elf), &rootfs, &err), 0);
	file = xasprintf("%s/pause", rootfs);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_int_equal(fsx_write(AT_FDCWD, file, "half", 4, 0555), 0);
	assert_int_equal(pause_prepare(dir, elf, sizeof(elf), &again, &err), 0);
	assert_string_equal(rootfs, again);
	assert_true(fsx_read(AT_FDCWD, file, 1000, &text, &len) >= 0);
	assert_int_equal(len, sizeof(elf));
	assert_memory_equal(text, elf, len);
	assert_int_equal(pause_prepare(dir, "other", 5, &newer, &err),
	                 0); /* pods of an older daemon keep theirs */
	assert_string_not_equal(newer, rootfs);
	assert_int_equal(pause_prepare(dir, elf, 0, &newer, &err), -1);
	assert_int_equal(err.code, CODE_UNIMPLEMENTED);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shared_pid_namespace_needs_a_process),
		cmocka_unit_test(a_recorded_name_is_found_again),
		cmocka_unit_test(pause_has_no_privilege_and_joins_what_is_pinned),
		cmocka_unit_test(what_the_pod_shares_with_the_host_is_not_joined),
		cmocka_unit_test(the_hidden_containers_id_derives_from_the_pods),
		cmocka_unit_test(a_damaged_pause_program_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
