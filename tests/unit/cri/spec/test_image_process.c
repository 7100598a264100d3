/* The process part of an image's config. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "cri/spec/image_process.h"

static int parse(const char *text, struct image_process *process, struct err *err)
{
	return image_process_parse(text, strlen(text), process, err);
}

static void every_member_is_read(void **arg)
{
	static const char text[] =
		"{\"config\":{\"Entrypoint\":[\"/e\",\"\"],\"Cmd\":[\"c\"],\"Env\":[\"A=1\",\"B\"],\"User\":\"web:audio\","
		"\"WorkingDir\":\"/w\",\"Volumes\":{\"/v\":{},\"/u\":null}},\"rootfs\":{}}";
	cleanup(image_process_release) struct image_process process = { 0 };
	struct err err;

	(void)arg;
	assert_int_equal(parse(text, &process, &err), 0);
	assert_int_equal(strv_len(process.entrypoint), 2);
	assert_string_equal(process.entrypoint[0], "/e");
	assert_string_equal(process.entrypoint[1], "");
	assert_string_equal(process.cmd[0], "c");
	assert_string_equal(process.env[1], "B");
	assert_string_equal(process.volumes[0], "/v");
	assert_string_equal(process.volumes[1], "/u");
	assert_string_equal(process.user, "web:audio");
	assert_string_equal(process.working_dir, "/w");
}

static void absent_and_null_are_nothing(void **arg)
{
	static const char *const table[] = {
		"",
		"{}",
		"{\"config\":null}",
		"{\"config\":{}}",
		"{\"config\":{\"Entrypoint\":null,\"Cmd\":null,\"Env\":null,\"User\":null,\"WorkingDir\":null,\"Volumes\":null}}",
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		cleanup(image_process_release) struct image_process process = { 0 };
		struct err err;

		if (parse(table[i], &process, &err) < 0)
			fail_msg("%s: %s", table[i], err.msg);
		assert_int_equal(strv_len(process.entrypoint) + strv_len(process.cmd) +
		                         strv_len(process.env) + strv_len(process.volumes),
		                 0);
		assert_string_equal(process.user, "");
		assert_string_equal(process.working_dir, "");
	}
}

static void a_member_of_another_type_is_named(void **arg)
{
	static const struct {
		const char *text, *says;
	} table[] = {
		{ "{\"config\":[]}", "config is not an object" },
		{ "{\"config\":{\"Entrypoint\":\"/e\"}}", "config.Entrypoint is not a list" },
		{ "{\"config\":{\"Cmd\":{}}}", "config.Cmd is not a list" },
		{ "{\"config\":{\"Cmd\":[7]}}", "config.Cmd is not text" },
		{ "{\"config\":{\"Env\":[null]}}", "config.Env is not text" },
		{ "{\"config\":{\"User\":0}}", "config.User is not text" },
		{ "{\"config\":{\"WorkingDir\":[]}}", "config.WorkingDir is not text" },
		{ "{\"config\":{\"Volumes\":[]}}", "config.Volumes is not an object" },
		{ "{\"config\":{\"User\":\"a\\u0000b\"}}", "a string with a NUL character" },
		{ "{\"config\":", "image config: byte" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct image_process process = { 0 };
		struct err err = { 0 };

		assert_int_equal(parse(table[i].text, &process, &err), -1);
		assert_true(err_is(&err, CODE_INVALID_ARGUMENT));
		if (!strstr(err.msg, table[i].says))
			fail_msg("%s: %s", table[i].text, err.msg);
		assert_null(process.user);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_member_is_read),
		cmocka_unit_test(absent_and_null_are_nothing),
		cmocka_unit_test(a_member_of_another_type_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
