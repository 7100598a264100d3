#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/mem.h"

static yyjson_doc *parse(const char *text, struct err *err)
{
	return json_parse(text, strlen(text), 1024 * 1024, "config.json", err);
}

static void refused(const char *text, const char *reason)
{
	struct err err = { .code = CODE_OK };

	assert_null(parse(text, &err));
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	if (strncmp(err.msg, reason, strlen(reason)) != 0)
		fail_msg("%s: \"%s\" is not \"%s\"", text, err.msg, reason);
}

static void values_are_read_with_a_default_for_anything_else(void **arg)
{
	struct err err = { .code = CODE_OK };
	cleanup(yyjson_doc_free) yyjson_doc *doc = parse(
		"{\"s\":\"text\",\"i\":-5,\"u\":18446744073709551615,\"b\":true,\"o\":{\"x\":1},\"a\":[1],\"n\":null,"
		"\"r\":1.5,\"big\":123456789012345678901234567890}",
		&err);
	yyjson_val *root = yyjson_doc_get_root(doc);

	(void)arg;
	assert_non_null(doc);
	assert_string_equal(json_str(root, "s", "d"), "text");
	assert_string_equal(json_str(root, "i", "d"), "d");
	assert_string_equal(json_str(root, "absent", "d"), "d");
	assert_int_equal(json_i64(root, "i", 9), -5);
	assert_int_equal(json_i64(root, "u", 9), 9); /* does not fit */
	assert_int_equal(json_i64(root, "r", 9), 9);
	assert_int_equal(json_i64(root, "s", 9), 9);
	assert_true(json_u64(root, "u", 9) == UINT64_MAX);
	assert_int_equal(json_u64(root, "i", 9), 9);
	assert_int_equal(json_u64(root, "big", 9), 9);
	assert_true(json_bool(root, "b", false));
	assert_true(json_bool(root, "n", true));
	assert_int_equal(json_i64(json_obj(root, "o"), "x", 9), 1);
	assert_null(json_obj(root, "a"));
	assert_non_null(json_arr(root, "a"));
	assert_null(json_arr(root, "o"));
	assert_string_equal(yyjson_get_raw(yyjson_obj_get(root, "big")),
	                    "123456789012345678901234567890");

	/* no object at all */
	assert_null(json_str(NULL, "x", NULL));
	assert_int_equal(json_i64(json_obj(root, "absent"), "x", 3), 3);
	assert_null(json_obj(NULL, "x"));
}

static void required_strings_name_what_is_wrong(void **arg)
{
	struct err err = { .code = CODE_OK };
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		parse("{\"type\":\"bridge\",\"mtu\":1500}", &err);
	yyjson_val *root = yyjson_doc_get_root(doc);
	const char *text = NULL;

	(void)arg;
	assert_int_equal(json_str_req(root, "type", "10-net.conf", &text, &err), 0);
	assert_string_equal(text, "bridge");
	assert_int_equal(json_str_req(root, "name", "10-net.conf", &text, &err), -1);
	assert_string_equal(err.msg, "10-net.conf: \"name\" is missing");
	assert_int_equal(json_str_req(root, "mtu", "10-net.conf", &text, &err), -1);
	assert_string_equal(err.msg, "10-net.conf: \"mtu\" is uint, not a string");
	assert_int_equal(json_str_req(NULL, "mtu", "10-net.conf", &text, &err), -1);
	assert_string_equal(err.msg, "10-net.conf: not a JSON object");
	assert_string_equal(text, "bridge");
}

static void anything_but_strict_json_is_refused_with_its_place(void **arg)
{
	(void)arg;
	refused("", "config.json: byte 0: ");
	refused("{\"a\":1,}", "config.json: byte 6: ");
	refused("{\"a\":1} x", "config.json: byte 8: ");
	refused("{\"a\":NaN}", "config.json: byte 5: ");
	refused("// c\n{}", "config.json: byte 0: ");
	refused("\"\xff\"", "config.json: byte 1: ");
	refused("[1", "config.json: byte 2: ");
	refused("{\"a\"", "config.json: byte 4: ");
}

static void duplicate_keys_are_refused_wherever_they_are(void **arg)
{
	cleanup(buf_release) struct buf many = { 0 };
	char reason[100];

	(void)arg;
	refused("{\"a\":1,\"b\":2,\"a\":3}", "config.json: byte 14: duplicate key \"a\"");
	refused("[{\"x\":[{\"path\":1,\"path\":2}]}]",
	        "config.json: byte 18: duplicate key \"path\"");
	refused("{\"a\":1,\"\\u0061\":2}",
	        "config.json: byte 8: duplicate key \"a\""); /* spelt differently */
	refused("{\"\":1,\"\":2}", "config.json: byte 7: duplicate key \"\"");

	buf_init(&many, 100000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_printf(&many, "%s\"k%d\":%d", i ? "," : "{", i, i), 0);
	assert_int_equal(buf_add_str(&many, "}"), 0);
	{
		struct err err = { .code = CODE_OK };
		cleanup(yyjson_doc_free) yyjson_doc *doc = parse(many.data, &err);

		assert_non_null(doc);
	}
	many.data[many.len - 1] = ',';
	assert_int_equal(str_format(reason, sizeof(reason),
	                            "config.json: byte %zu: duplicate key \"k500\"", many.len + 1),
	                 0);
	assert_int_equal(buf_add_str(&many, "\"k500\":0}"), 0);
	refused(many.data, reason);
}

static void strings_cannot_end_early(void **arg)
{
	(void)arg;
	refused("{\"path\":\"/safe\\u0000/../etc\"}",
	        "config.json: byte 9: a string with a NUL character");
	refused("{\"pa\\u0000th\":1}", "config.json: byte 2: a string with a NUL character");
}

static void depth_size_and_count_are_bounded(void **arg)
{
	cleanup_free char *commas = xcalloc(1, 3000000);
	struct err err = { .code = CODE_OK };
	yyjson_doc *doc;
	char deep[400];

	(void)arg;
	memset(deep, '[', 64);
	memset(deep + 64, ']', 64);
	deep[128] = '\0';
	doc = parse(deep, &err);
	assert_non_null(doc);
	yyjson_doc_free(doc);
	memset(deep, '[', 65);
	memset(deep + 65, ']', 65);
	deep[130] = '\0';
	refused(deep, "config.json: byte 64: nested deeper than 64");
	/* brackets in strings are not nesting */
	deep[0] = '"';
	memcpy(deep + 1, "[\\\"", 3);
	memset(deep + 4, '[', 200);
	memcpy(deep + 204, "\"", 2);
	doc = parse(deep, &err);
	assert_non_null(doc);
	yyjson_doc_free(doc);

	assert_null(json_parse("{}   ", 5, 4, "config.json", &err));
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_string_equal(err.msg, "config.json: larger than 4 bytes");

	memset(commas, ',', 2999999);
	commas[0] = '[';
	assert_null(json_parse(commas, 2999999, 4000000, "config.json", &err));
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.msg, "more than 1048576 values"));
}

static void a_lone_value_is_a_document(void **arg)
{
	struct err err = { .code = CODE_OK };
	cleanup(yyjson_doc_free) yyjson_doc *number = parse(" 7 ", &err);
	cleanup(yyjson_doc_free) yyjson_doc *string = parse("\"x\"", &err);

	(void)arg;
	assert_int_equal(yyjson_get_int(yyjson_doc_get_root(number)), 7);
	assert_string_equal(yyjson_get_str(yyjson_doc_get_root(string)), "x");
	refused("\"a\\u0000\"", "config.json: byte 1: a string with a NUL character");
}

static void documents_are_written_compact_or_pretty(void **arg)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	cleanup_free char *compact = NULL;
	cleanup_free char *pretty = NULL;
	size_t len;

	(void)arg;
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "a", "b");
	compact = json_write(doc, false, &len);
	assert_string_equal(compact, "{\"a\":\"b\"}");
	assert_int_equal(len, 9);
	pretty = json_write(doc, true, NULL);
	assert_string_equal(pretty, "{\n  \"a\": \"b\"\n}");
}

static void what_has_no_json_form_is_repaired(void **arg)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	cleanup_free char *text = NULL;

	(void)arg;
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "bad \xff key", "x\xe2\x82y");
	yyjson_mut_obj_add_val(doc, root, "list", list);
	yyjson_mut_arr_add_real(doc, list, NAN);
	yyjson_mut_arr_add_str(doc, list, "\xc0\xaf");
	yyjson_mut_arr_add_int(doc, list, 1);
	text = json_write(doc, false, NULL);
	assert_string_equal(text, "{\"bad \xef\xbf\xbd key\":\"x\xef\xbf\xbd\xef\xbf\xbdy\","
	                          "\"list\":[null,\"\xef\xbf\xbd\xef\xbf\xbd\",1]}");
	/* the original is as it was */
	assert_string_equal(yyjson_mut_get_str(yyjson_mut_obj_get(root, "bad \xff key")),
	                    "x\xe2\x82y");
}

static void quoted_text_is_a_json_string(void **arg)
{
	cleanup_free char *quoted = json_quote("a\"b\\c\n\r\t\x01\x7f\xc3\xa9\xff");
	cleanup_free char *empty = json_quote(NULL);
	struct err err = { .code = CODE_OK };
	cleanup(yyjson_doc_free) yyjson_doc *doc = parse(quoted, &err);

	(void)arg;
	assert_string_equal(quoted, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f\xc3\xa9\xef\xbf\xbd\"");
	assert_string_equal(empty, "\"\"");
	assert_string_equal(yyjson_get_str(yyjson_doc_get_root(doc)),
	                    "a\"b\\c\n\r\t\x01\x7f\xc3\xa9\xef\xbf\xbd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_read_with_a_default_for_anything_else),
		cmocka_unit_test(required_strings_name_what_is_wrong),
		cmocka_unit_test(anything_but_strict_json_is_refused_with_its_place),
		cmocka_unit_test(duplicate_keys_are_refused_wherever_they_are),
		cmocka_unit_test(strings_cannot_end_early),
		cmocka_unit_test(depth_size_and_count_are_bounded),
		cmocka_unit_test(a_lone_value_is_a_document),
		cmocka_unit_test(documents_are_written_compact_or_pretty),
		cmocka_unit_test(what_has_no_json_form_is_repaired),
		cmocka_unit_test(quoted_text_is_a_json_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
