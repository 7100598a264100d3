/* What crun 1.8.1 and runc 1.1.5 print (captured), and what later ones are documented to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/run/runtime.h"

static void info_release(struct runtime_info *info)
{
	free(info->program);
	free(info->version);
	*info = (struct runtime_info){ 0 };
}

static struct runtime_info parsed(const char *text)
{
	struct runtime_info info = { 0 };
	struct err err = { 0 };

	if (runtime_parse_version(str_of(text), &info, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return info;
}

static const char crun_1_8_1[] =
	"crun version 1.8.1\ncommit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30\nrundir: /run/crun\n"
	"spec: 1.0.0\n+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +YAJL\n";
static const char runc_1_1_5[] =
	"runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\ngo: go1.19.8\n"
	"libseccomp: 2.5.4\n";

static void an_old_crun_can_what_its_version_says(void **arg)
{
	struct runtime_info info = parsed(crun_1_8_1);

	(void)arg;
	assert_int_equal(info.kind, RUNTIME_CRUN);
	assert_string_equal(info.version, "1.8.1");
	assert_int_equal(info.number, 1008001);
	assert_true(runtime_has(&info, RUNTIME_RRO));
	assert_true(runtime_has(&info, RUNTIME_DOMAINNAME));
	assert_true(runtime_has(&info, RUNTIME_SYSTEMD_CGROUP));
	assert_true(runtime_has(&info, RUNTIME_SECCOMP));
	assert_true(runtime_has(&info, RUNTIME_APPARMOR));
	assert_false(runtime_has(&info, RUNTIME_SCHEDULER));
	assert_false(runtime_has(&info, RUNTIME_IO_PRIORITY));
	assert_false(runtime_has(&info, RUNTIME_IDMAP));
	assert_false(runtime_has(&info, RUNTIME_RDT));
	info_release(&info);
}

static void a_crun_built_without_a_library_cannot_use_it(void **arg)
{
	struct runtime_info info = parsed("crun version 1.20\n-SYSTEMD -SELINUX +SECCOMP\n");

	(void)arg;
	assert_int_equal(info.number, 1020000);
	assert_true(runtime_has(&info, RUNTIME_SECCOMP));
	assert_false(runtime_has(&info, RUNTIME_SYSTEMD_CGROUP));
	assert_false(runtime_has(&info, RUNTIME_SELINUX));
	info_release(&info);
}

static void what_is_missing_is_named_with_the_version_that_has_it(void **arg)
{
	struct runtime_info info = parsed(crun_1_8_1);
	struct err err;

	(void)arg;
	assert_int_equal(runtime_require(&info, RUNTIME_RRO, &err), 0);
	assert_int_equal(runtime_require(&info, RUNTIME_SCHEDULER, &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	assert_string_equal(err.msg,
	                    "crun 1.8.1 cannot apply process.scheduler (crun 1.8.5 and later can)");
	assert_int_equal(runtime_require(&info, RUNTIME_RDT_SCHEMATA, &err), -1);
	assert_string_equal(err.msg, "crun 1.8.1 cannot apply linux.intelRdt.schemata");
	info_release(&info);
}

static void features_speak_before_the_version(void **arg)
{
	static const char json[] =
		"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.2.0\",\"mountOptions\":[\"ro\",\"rbind\"],"
		"\"linux\":{\"namespaces\":[\"user\",\"time\"],\"cgroup\":{\"v1\":false,\"v2\":true},"
		"\"seccomp\":{\"enabled\":true,\"actions\":[\"SCMP_ACT_ALLOW\"]},"
		"\"apparmor\":{\"enabled\":false},\"mountExtensions\":{\"idmap\":{\"enabled\":true}},"
		"\"netDevices\":{\"enabled\":true},\"intelRdt\":{\"enabled\":true,\"schemata\":true}}}";
	struct runtime_info info = parsed(runc_1_1_5);
	struct err err;

	(void)arg;
	assert_int_equal(info.kind, RUNTIME_RUNC);
	assert_int_equal(info.number, 1001005);
	assert_true(runtime_has(&info, RUNTIME_RRO));
	assert_true(runtime_has(&info, RUNTIME_SECCOMP_NOTIFY));
	assert_false(runtime_has(&info, RUNTIME_TIME_NAMESPACE));
	assert_int_equal(runtime_parse_features(str_of(json), &info, &err), 0);
	assert_false(runtime_has(&info, RUNTIME_RRO)); /* a list without it */
	assert_true(runtime_has(&info, RUNTIME_TIME_NAMESPACE));
	assert_false(runtime_has(&info, RUNTIME_CGROUP_V1));
	assert_false(runtime_has(&info, RUNTIME_SECCOMP_NOTIFY));
	assert_false(runtime_has(&info, RUNTIME_APPARMOR));
	assert_true(runtime_has(&info, RUNTIME_IDMAP));
	assert_true(runtime_has(&info, RUNTIME_NET_DEVICES));
	assert_true(runtime_has(&info, RUNTIME_RDT_SCHEMATA));
	assert_true(runtime_has(&info, RUNTIME_SELINUX)); /* nothing said: as the version has it */
	assert_true(runtime_has(&info, RUNTIME_SYSTEMD_CGROUP)); /* likewise */
	info_release(&info);
}

static void an_unknown_runtime_can_what_its_specification_version_has(void **arg)
{
	struct runtime_info info = parsed("youki version 0.5.3\n");
	struct err err;

	(void)arg;
	assert_int_equal(info.kind, RUNTIME_OTHER);
	assert_false(runtime_has(&info, RUNTIME_SCHEDULER));
	assert_int_equal(runtime_parse_features(STR("{\"ociVersionMax\":\"1.1.0\"}"), &info, &err),
	                 0);
	assert_true(runtime_has(&info, RUNTIME_SCHEDULER));
	assert_true(runtime_has(&info, RUNTIME_DOMAINNAME));
	assert_false(runtime_has(&info, RUNTIME_NET_DEVICES));
	assert_false(runtime_has(&info, RUNTIME_EXEC_CGROUP));
	info_release(&info);
}

static void odd_version_lines_are_understood_or_refused(void **arg)
{
	static const struct {
		const char *text, *program, *version;
		uint32_t number;
	} good[] = {
		{ "runsc version release-20240212.0\nspec: 1.1.0-rc.1\n", "runsc",
		  "release-20240212.0", 0 },
		{ "kata-runtime  : 3.2.0\n   commit   : x\n", "kata-runtime", "3.2.0", 3002000 },
		{ "youki 0.3.3", "youki", "0.3.3", 3003 },
		{ "runc version 1.2.0-rc.1\n", "runc", "1.2.0-rc.1", 1002000 },
		{ "crun version 1.14.3.0.0.1-c2ab\n", "crun", "1.14.3.0.0.1-c2ab", 1014003 },
	};
	static const char *const bad[] = { "", "\n", "hello", "usage: true\n", "\x01 version 1\n" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct runtime_info info = parsed(good[i].text);

		assert_string_equal(info.program, good[i].program);
		assert_string_equal(info.version, good[i].version);
		assert_int_equal(info.number, good[i].number);
		info_release(&info);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct runtime_info info = { 0 };
		struct err err;

		assert_int_equal(runtime_parse_version(str_of(bad[i]), &info, &err), -1);
		assert_null(info.version);
	}
}

static void assert_sentence(const char *log, const char *expected)
{
	char text[200];

	runtime_error(str_of(log), text, sizeof(text));
	assert_string_equal(text, expected);
}

static void the_last_error_is_the_sentence(void **arg)
{
	(void)arg;
	assert_sentence("", "");
	assert_sentence("\n  \n", "");
	assert_sentence(
		"{\"msg\":\"error opening file `/r/x/status`: No such file or directory\",\"level\":\"error\","
		"\"time\":\"2026-11-25T02:48:30.749069Z\"}\n",
		"error opening file `/r/x/status`: No such file or directory");
	assert_sentence(
		"{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"second\"}\n"
		"{\"level\":\"warning\",\"msg\":\"later but no error\"}\nplain noise\n",
		"second");
	assert_sentence("{\"level\":\"warning\",\"msg\":\"only this\"}\n", "only this");
	assert_sentence(
		"{\"level\":\"error\",\"msg\":\"runc create failed: unable to start container process: exec: "
		"\\\"foo\\\": executable file not found in $PATH\"}",
		"exec: \"foo\": executable file not found in $PATH");
	assert_sentence("{\"level\":\"error\",\"msg\":\"two\\nlines\\tand a tab\"}",
	                "two lines and a tab");
	assert_sentence("{\"level\":\"error\",\"msg\":\"runc create failed: \"}",
	                "runc create failed:");
}

static void plain_text_gives_its_message(void **arg)
{
	(void)arg;
	assert_sentence(
		"time=\"2026-11-25T02:48:30Z\" level=error msg=\"container \\\"a\\\" does not exist\"\n",
		"container \"a\" does not exist");
	assert_sentence("tcgetattr: Inappropriate ioctl for device\n",
	                "tcgetattr: Inappropriate ioctl for device");
	assert_sentence("one\ntwo\n", "two");
	assert_sentence("{torn json", "{torn json");
}

static void a_long_sentence_is_cut_between_characters(void **arg)
{
	char text[8];

	(void)arg;
	runtime_error(STR("abcde\xc3\xa4xyz"), text, sizeof(text));
	assert_string_equal(text, "abcde\xc3\xa4");
	runtime_error(STR("abcdef\xc3\xa4xyz"), text, sizeof(text));
	assert_string_equal(text, "abcdef");
}

static void unknown_and_ended_are_told_from_other_failures(void **arg)
{
	static const char *const unknown[] = {
		"container does not exist",
		"container \"c1\" does not exist",
		"error opening file `/run/coracle/runtime/c1/status`: No such file or directory",
		"cannot open directory '/run/coracle/runtime/c1': No such file or directory",
	};
	static const char *const ended[] = { "container not running",
		                             "os: process already finished",
		                             "kill container: No such process",
		                             "container `c1` is not running" };
	static const char *const neither[] = {
		"error opening file `/proc/sys/x`: No such file or directory",
		"cannot open directory '/run/coracle/runtime/c1': Permission denied",
		"cannot delete running container",
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_true(runtime_error_is_unknown(unknown[i]));
	for (size_t i = 0; i < ARRAY_SIZE(ended); i++) {
		assert_true(runtime_error_is_ended(ended[i]));
		assert_false(runtime_error_is_unknown(ended[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(neither); i++) {
		assert_false(runtime_error_is_unknown(neither[i]));
		assert_false(runtime_error_is_ended(neither[i]));
	}
}

static void state_is_read_or_refused(void **arg)
{
	struct runtime_result result = { 0 };
	struct err err;

	(void)arg;
	assert_int_equal(
		runtime_parse_state(
			STR("{\"ociVersion\":\"1.0.0\",\"id\":\"c\",\"pid\":77,\"status\":\"created\"}"),
			&result, &err),
		0);
	assert_int_equal(result.status, RUNTIME_CREATED);
	assert_int_equal(result.pid, 77);
	assert_int_equal(
		runtime_parse_state(STR("{\"status\":\"stopped\",\"pid\":-4}"), &result, &err), 0);
	assert_int_equal(result.pid, 0);
	assert_int_equal(runtime_parse_state(STR("{\"status\":\"dancing\"}"), &result, &err), -1);
	assert_non_null(strstr(err.msg, "dancing"));
	assert_int_equal(runtime_parse_state(STR("{}"), &result, &err), -1);
	assert_int_equal(runtime_parse_state(STR("[]"), &result, &err), -1);
	assert_int_equal(runtime_parse_state(STR(""), &result, &err), -1);
}

static void each_directory_is_searched_once(void **arg)
{
	cleanup_free char *none = runtime_search_path(NULL);
	cleanup_free char *some = runtime_search_path("/opt/bin:/usr/bin:/sbin");

	(void)arg;
	assert_string_equal(none, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	assert_string_equal(
		some, "/opt/bin:/usr/bin:/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/bin");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_directory_is_searched_once),
		cmocka_unit_test(an_old_crun_can_what_its_version_says),
		cmocka_unit_test(a_crun_built_without_a_library_cannot_use_it),
		cmocka_unit_test(what_is_missing_is_named_with_the_version_that_has_it),
		cmocka_unit_test(features_speak_before_the_version),
		cmocka_unit_test(an_unknown_runtime_can_what_its_specification_version_has),
		cmocka_unit_test(odd_version_lines_are_understood_or_refused),
		cmocka_unit_test(the_last_error_is_the_sentence),
		cmocka_unit_test(plain_text_gives_its_message),
		cmocka_unit_test(a_long_sentence_is_cut_between_characters),
		cmocka_unit_test(unknown_and_ended_are_told_from_other_failures),
		cmocka_unit_test(state_is_read_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
