#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/toml.h"

#define CASES "tests/corpus/toml-test/tests"

static struct toml *parse(const char *text)
{
	struct err err = { .code = CODE_OK };
	struct toml *toml = toml_parse("t.toml", text, strlen(text), NULL, &err);

	if (!toml)
		fail_msg("%s", err.msg);
	return toml;
}

static void refused(const char *text, const char *message)
{
	struct err err = { .code = CODE_OK };
	struct toml_fault fault = { .is_utf8 = true };

	assert_null(toml_parse("t.toml", text, strlen(text), &fault, &err));
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	if (strcmp(err.msg, message) != 0)
		fail_msg("%s: \"%s\" is not \"%s\"", text, err.msg, message);
	assert_non_null(strstr(message, fault.text));
	assert_false(fault.is_utf8);
}

/* ------------------------------------------------------------------------------------------ the conformance data */

static void same_time(const struct toml_time *time, enum toml_type type, const char *text,
                      const char *where)
{
	int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, taken = 0,
	    nanosecond = 0, offset = 0;
	bool has_offset = false;
	const char *p = text;

	if (type != TOML_TIME_LOCAL) {
		assert_int_equal(sscanf(p, "%d-%d-%d%n", &year, &month, &day, &taken), 3);
		p += taken;
		if (*p == 'T' || *p == ' ')
			p++;
	}
	if (type != TOML_DATE_LOCAL) {
		assert_int_equal(sscanf(p, "%d:%d:%d%n", &hour, &minute, &second, &taken), 3);
		p += taken;
		if (*p == '.') {
			int scale = 100000000;

			for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
				nanosecond += (*p - '0') * scale;
		}
	}
	if (*p == 'Z') {
		has_offset = true;
		p++;
	} else if (*p == '+' || *p == '-') {
		int hours, minutes;

		assert_int_equal(sscanf(p + 1, "%d:%d%n", &hours, &minutes, &taken), 2);
		offset = (*p == '-' ? -1 : 1) * (hours * 60 + minutes);
		has_offset = true;
		p += 1 + taken;
	}
	if (*p || time->year != year || time->month != month || time->day != day ||
	    time->hour != hour || time->minute != minute || time->second != second ||
	    (int)time->nanosecond != nanosecond || time->has_offset != has_offset ||
	    time->offset_minutes != offset)
		fail_msg("%s: not %s", where, text);
}

static void same_value(const struct toml_value *value, yyjson_val *json, const char *where)
{
	static const char *const tags[] = {
		[TOML_STRING] = "string",         [TOML_INTEGER] = "integer",
		[TOML_FLOAT] = "float",           [TOML_BOOL] = "bool",
		[TOML_DATETIME] = "datetime",     [TOML_DATETIME_LOCAL] = "datetime-local",
		[TOML_DATE_LOCAL] = "date-local", [TOML_TIME_LOCAL] = "time-local",
	};
	const char *tag = json_str(json, "type", ""), *text = json_str(json, "value", "");
	yyjson_val *raw = yyjson_obj_get(json, "value");
	char number[32];

	if (value->type == TOML_TABLE) {
		if (!yyjson_is_obj(json) || yyjson_obj_size(json) != toml_count(value))
			fail_msg("%s: a table of other size", where);
		for (size_t i = 0; i < toml_count(value); i++) {
			const struct toml_entry *entry = toml_entry_at(value, i);
			yyjson_val *other = yyjson_obj_getn(json, entry->key.p, entry->key.len);

			if (!other)
				fail_msg("%s: key %s is not expected", where, entry->key.p);
			same_value(entry->value, other, where);
		}
		return;
	}
	if (value->type == TOML_ARRAY) {
		if (!yyjson_is_arr(json) || yyjson_arr_size(json) != toml_count(value))
			fail_msg("%s: an array of other size", where);
		for (size_t i = 0; i < toml_count(value); i++)
			same_value(toml_item_at(value, i), yyjson_arr_get(json, i), where);
		return;
	}
	if (strcmp(tag, tags[value->type]) != 0)
		fail_msg("%s: %s is not %s", where, tags[value->type], tag);
	switch ((enum toml_type)value->type) {
	case TOML_STRING:
		if (yyjson_get_len(raw) != value->string.len ||
		    memcmp(text, value->string.p, value->string.len) != 0)
			fail_msg("%s: \"%s\" is not \"%s\"", where, value->string.p, text);
		break;
	case TOML_INTEGER:
		snprintf(number, sizeof(number), "%lld", (long long)value->integer);
		assert_string_equal(number, text);
		break;
	case TOML_FLOAT:
		if (strcmp(text, "nan") == 0 || strcmp(text, "+nan") == 0 ||
		    strcmp(text, "-nan") == 0)
			assert_true(isnan(value->real));
		else
			assert_true(value->real == strtod(text, NULL));
		break;
	case TOML_BOOL:
		assert_string_equal(value->boolean ? "true" : "false", text);
		break;
	case TOML_DATETIME:
	case TOML_DATETIME_LOCAL:
	case TOML_DATE_LOCAL:
	case TOML_TIME_LOCAL:
		same_time(value->time, (enum toml_type)value->type, text, where);
		break;
	case TOML_ARRAY:
	case TOML_TABLE:
		break;
	}
}

/* Items cover every byte once, in order; lines are what line ends say. */
static void expect_items_cover_the_text(const struct toml *toml, const char *where)
{
	uint32_t at = toml->has_bom ? 3 : 0;

	for (uint32_t i = 0; i < toml->nitems; i++) {
		const struct toml_item *item = &toml->items[i];

		if (item->start != at || item->end <= item->start)
			fail_msg("%s: item %u does not begin where the one before ends", where, i);
		at = item->end;
		if (item->kind >= TOML_ITEM_TABLE &&
		    (!item->value || !toml_item_nparts(item) || item->key_start < item->start ||
		     item->key_start >= item->end))
			fail_msg("%s: item %u has no key", where, i);
	}
	if (at != toml->len)
		fail_msg("%s: the items end at %u of %u", where, at, toml->len);
}

static void expect_valid(const char *path)
{
	cleanup_free char *text = NULL, *json = NULL, *json_path = xstrdup(path);
	cleanup(toml_free) struct toml *toml = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	struct err err = { .code = CODE_OK };
	size_t len, json_len;

	memcpy(json_path + strlen(json_path) - 4, "json", 4);
	if (file_read_all(path, 1 << 20, &text, &len, &err) < 0 ||
	    file_read_all(json_path, 1 << 20, &json, &json_len, &err) < 0)
		fail_msg("%s", err.msg);
	toml = toml_parse(path, text, len, NULL, &err);
	if (!toml)
		fail_msg("%s", err.msg);
	expect_items_cover_the_text(toml, path);
	doc = yyjson_read(json, json_len, 0);
	assert_non_null(doc);
	same_value(toml->root, yyjson_doc_get_root(doc), path);
	assert_true(toml_equal(toml->root, toml->root));
}

static void expect_invalid(const char *path)
{
	cleanup_free char *text = NULL;
	cleanup(toml_free) struct toml *toml = NULL;
	struct toml_fault fault = { .text = "" };
	struct err err = { .code = CODE_OK };
	size_t len, lines = 1;

	if (file_read_all(path, 1 << 20, &text, &len, &err) < 0)
		fail_msg("%s", err.msg);
	toml = toml_parse(path, text, len, &fault, &err);
	if (toml)
		fail_msg("%s: is accepted", path);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	assert_true(fault.text[0] != '\0');
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	assert_in_range(fault.place.line, 1, lines);
	assert_true(fault.place.col >= 1);
}

static void run_list(const char *list, size_t want_valid, size_t want_invalid)
{
	cleanup_free char *names = NULL;
	struct str rest, name;
	struct err err = { .code = CODE_OK };
	size_t len, valid = 0, invalid = 0;
	char path[256];

	if (file_read_all(list, 1 << 20, &names, &len, &err) < 0)
		fail_msg("%s", err.msg);
	for (rest = (struct str){ names, len }; rest.len;) {
		str_cut(rest, '\n', &name, &rest);
		if (!str_ends(name, ".toml"))
			continue;
		assert_int_equal(str_format(path, sizeof(path), CASES "/" STR_FMT, STR_ARG(name)),
		                 0);
		if (str_starts(name, "valid/")) {
			expect_valid(path);
			valid++;
		} else if (want_invalid) {
			expect_invalid(path);
			invalid++;
		}
	}
	assert_int_equal(valid, want_valid);
	assert_int_equal(invalid, want_invalid);
}

static void toml_1_1_is_read_and_everything_else_refused(void **arg)
{
	(void)arg;
	run_list(CASES "/files-toml-1.1.0", 220, 492);
}

static void toml_1_0_is_read(void **arg)
{
	(void)arg;
	run_list(CASES "/files-toml-1.0.0", 210, 0);
}

/* ------------------------------------------------------------------------------------------------- places, lookup */

static void faults_name_the_first_byte_that_does_not_fit(void **arg)
{
	(void)arg;
	refused("a = 1\nb = \n", "t.toml:2:5: the end of the line where a value belongs");
	refused("a = yes", "t.toml:1:5: 'y' where a value belongs (strings stand in quotes)");
	refused("a 1", "t.toml:1:3: '1' where '=' belongs");
	refused("= 1", "t.toml:1:1: '=' where a key belongs");
	refused("[a", "t.toml:1:3: the end of the file where ']' belongs");
	refused("[[a] ]", "t.toml:1:5: ' ' where the second ']' belongs");
	refused("[a] b = 1", "t.toml:1:5: 'b' where the line should end");
	refused("a = \"x\ny\"", "t.toml:1:7: the end of the line inside a string");
	refused("a = \"\\q\"",
	        "t.toml:1:6: a backslash before 'q' is no escape (a backslash itself is written \\\\, or the string in '')");
	refused("a = \"\\ud800\"", "t.toml:1:6: U+D800 is no character");
	refused("a = \"\\u12g4\"",
	        "t.toml:1:10: 'g' where hexadecimal digit 3 of 4 of an escape belongs");
	refused("\na = '''x\n\n", "t.toml:2:5: the string that starts here never ends");
	refused("a = [1,\n 2\nb = 3\n", "t.toml:3:1: 'b' where ',' or ']' belongs");
	refused("a = [1,\n 2\n", "t.toml:1:5: the array that starts here never ends");
	refused("a = {b = 1", "t.toml:1:5: the table that starts here never ends");
	refused("a = {b = 1 c = 2}", "t.toml:1:12: 'c' where ',' or '}' belongs");
	refused("a = 1__2",
	        "t.toml:1:7: '_' after an underscore in a number: digits stand on both sides of one");
	refused("a = 012", "t.toml:1:5: a number with a leading zero");
	refused("a = 9223372036854775808", "t.toml:1:5: the integer does not fit in 64 bits");
	refused("a = -9223372036854775809", "t.toml:1:5: the integer does not fit in 64 bits");
	refused("a = 1.", "t.toml:1:7: the end of the file where a digit belongs");
	refused("a = 1x", "t.toml:1:6: 'x' right behind a value");
	refused("a = 2023-02-29", "t.toml:1:13: day 29 is not within 1 and 28");
	refused("a = 1 # \x01", "t.toml:1:9: byte 0x01 inside a comment");
	refused("a = 1\rb = 2", "t.toml:1:6: a carriage return right behind a value");
	refused("a = \xc3\xa9", "t.toml:1:5: '\xc3\xa9' where a value belongs");
	refused("\xef\xbb\xbf"
	        "a = ",
	        "t.toml:1:5: the end of the file where a value belongs");
}

static void what_was_defined_before_is_named_with_its_line(void **arg)
{
	(void)arg;
	refused("a.b = 1\n\na.b = 2\n",
	        "t.toml:3:3: a.b: stands here a second time (first in line 1)");
	refused("[a]\n[b]\n[a]\n", "t.toml:3:2: a: stands here a second time (first in line 1)");
	refused("a = {}\na.b = 1\n", "t.toml:2:1: a: nothing can be added to what line 1 defined");
	refused("[a]\nb.c = 1\n[a.b]\n",
	        "t.toml:3:4: a.b: stands here a second time (first in line 2)");
	refused("[a.b]\n[a]\nb.c = 1\n",
	        "t.toml:3:1: b: nothing can be added to what line 1 defined");
	refused("a = [{}]\n[[a]]\n", "t.toml:2:3: a: stands here a second time (first in line 1)");
}

static void bytes_that_are_no_utf8_are_told_apart(void **arg)
{
	static const char text[] = "a = 1\nb = 'x\xff'\n";
	struct toml_fault fault = { .is_utf8 = false };
	struct err err = { .code = CODE_OK };

	(void)arg;
	assert_null(toml_parse("t.toml", text, strlen(text), &fault, &err));
	assert_true(fault.is_utf8);
	assert_int_equal(fault.place.line, 2);
	assert_int_equal(fault.place.col, 7);
	assert_string_equal(err.msg, "t.toml:2:7: byte 0xff is not UTF-8");
}

static void values_and_keys_know_their_place(void **arg)
{
	static const char text[] =
		"\xef\xbb\xbf# top\r\n[ a . \"b\\u0063\" ] # c\r\n  k.l = {\r\n    x = 1, y.z = [ 2 ],\r\n  } # end\r\n";
	cleanup(toml_free) struct toml *toml = parse(text);
	const struct toml_value *table =
		toml_get(toml_get(toml_get(toml_get(toml->root, "a"), "bc"), "k"), "l");
	const struct toml_item *item = &toml->items[2];
	struct toml_place place;

	(void)arg;
	assert_int_equal(toml->nitems, 3);
	assert_int_equal(item->kind, TOML_ITEM_KEY);
	assert_int_equal(toml_item_nparts(item), 4);
	assert_true(str_eq_c(toml_item_part(item, 1), "bc"));
	assert_true(str_eq_c(toml_item_part(item, 3), "l"));
	assert_int_equal(item->end, toml->len);
	assert_ptr_equal(item->value, table);
	assert_int_equal(table->origin, TOML_CLOSED);
	assert_int_equal(table->table->ninlines, 2);
	assert_int_equal(table->table->inlines[1].nparts, 2);
	assert_memory_equal(text + table->table->inlines[1].key_start, "y.z", 3);
	assert_memory_equal(text + table->table->inlines[1].value_start, "[ 2 ],", 6);
	assert_int_equal(table->table->inlines[1].value_end - table->table->inlines[1].value_start,
	                 5);
	place = toml_place(toml, table->table->inlines[0].key_start);
	assert_int_equal(place.line, 4);
	assert_int_equal(place.col, 5);
	place = toml_place(toml, 3); /* '#', behind the byte-order mark */
	assert_int_equal(place.line, 1);
	assert_int_equal(place.col, 1);
	assert_memory_equal(text + table->start, "{", 1);
	assert_memory_equal(text + table->end - 1, "}", 1);
}

static void tables_keep_source_order_and_lookups_nest(void **arg)
{
	cleanup(buf_release) struct buf text = { 0 };
	cleanup(toml_free) struct toml *toml = NULL;
	char name[16];

	(void)arg;
	buf_init(&text, 1 << 20);
	for (int i = 999; i >= 0; i--)
		assert_int_equal(buf_printf(&text, "k%d = %d\n", i, i), 0);
	toml = parse(text.data);
	assert_int_equal(toml_count(toml->root), 1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "k%d", i);
		assert_int_equal(toml_get(toml->root, name)->integer, i);
		assert_string_equal(toml_entry_at(toml->root, (size_t)(999 - i))->key.p, name);
	}
	assert_null(toml_get(toml->root, "k1000"));
	assert_null(toml_get(toml_get(toml_get(toml->root, "nothing"), "below"), "it"));
	assert_null(toml_get(toml_get(toml->root, "k1"), "no table"));
	assert_int_equal(toml_count(NULL), 0);
	assert_false(toml_is(NULL, TOML_TABLE));
}

static void tables_are_equal_as_sets_and_values_by_type(void **arg)
{
	static const struct {
		const char *a, *b;
		bool is_equal;
	} cases[] = {
		{ "a = 1\nb = 'x'", "b = \"x\"\na = 0x1", true },
		{ "a.b = 1", "[a]\nb = 1", true },
		{ "a = [{b = 1}]", "[[a]]\nb = 1", true },
		{ "a = nan", "a = -nan", true },
		{ "a = 1", "a = 1.0", false },
		{ "a = 1", "a = 1\nb = 2", false },
		{ "a = [1, 2]", "a = [2, 1]", false },
		{ "a = 07:32", "a = 07:32:00", true },
		{ "a = 1979-05-27T07:32:00Z", "a = 1979-05-27T07:32:00", false },
		{ "a = 1979-05-27", "a = 1979-05-28", false },
		{ "a = {}", "a = []", false },
		{ "a = 'x\ty'", "a = 'x'", false },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(toml_free) struct toml *a = parse(cases[i].a);
		cleanup(toml_free) struct toml *b = parse(cases[i].b);

		if (toml_equal(a->root, b->root) != cases[i].is_equal)
			fail_msg("%s | %s", cases[i].a, cases[i].b);
	}
}

/* --------------------------------------------------------------------------------------------------------- limits */

static char *repeat(const char *before, const char *piece, size_t count, const char *after)
{
	struct buf text;

	buf_init(&text, TOML_MAX_BYTES + 64);
	assert_int_equal(buf_add_str(&text, before), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(buf_add_str(&text, piece), 0);
	assert_int_equal(buf_add_str(&text, after), 0);
	return buf_take_str(&text);
}

static void nesting_ends_at_64_levels(void **arg)
{
	cleanup_free char *fits = repeat("a = ", "[", 64, "");
	cleanup_free char *arrays = repeat("a = ", "[", 65, "");
	cleanup_free char *tables = repeat("a = ", "{a = ", 64, "");
	cleanup_free char *parts = repeat("", "a.", 64, "a = 1");
	cleanup_free char *header = repeat("[", "a.", 60, "a]\nb.c.d.e = 1");

	(void)arg;
	refused(fits, "t.toml:1:68: the array that starts here never ends");
	refused(arrays, "t.toml:1:69: nested deeper than 64 levels");
	refused(tables, "t.toml:1:321: nested deeper than 64 levels");
	refused(parts, "t.toml:1:129: nested deeper than 64 levels");
	refused(header, "t.toml:2:7: nested deeper than 64 levels");
}

static void larger_than_16_mib_is_refused(void **arg)
{
	cleanup_free char *text = repeat("", "#", TOML_MAX_BYTES, "");
	cleanup(toml_free) struct toml *toml = NULL;
	struct err err = { .code = CODE_OK };

	(void)arg;
	assert_null(toml_parse("big", text, TOML_MAX_BYTES + 1, NULL, &err));
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_string_equal(err.msg, "big: larger than 16777216 bytes");
	toml = toml_parse("big", text, TOML_MAX_BYTES, NULL, &err);
	assert_non_null(toml);
	assert_int_equal(toml->nitems, 1);
}

static void a_hundred_thousand_keys_take_less_than_a_second(void **arg)
{
	cleanup(buf_release) struct buf text = { 0 };
	cleanup(toml_free) struct toml *toml = NULL;
	clock_t start = clock();

	(void)arg;
	buf_init(&text, TOML_MAX_BYTES);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_printf(&text, "key-%d = %d\n", i, i), 0);
	toml = parse(text.data);
	assert_int_equal(toml_count(toml->root), 100000);
	assert_int_equal(toml_get(toml->root, "key-99999")->integer, 99999);
	assert_true(clock() - start < CLOCKS_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(toml_1_1_is_read_and_everything_else_refused),
		cmocka_unit_test(toml_1_0_is_read),
		cmocka_unit_test(faults_name_the_first_byte_that_does_not_fit),
		cmocka_unit_test(what_was_defined_before_is_named_with_its_line),
		cmocka_unit_test(bytes_that_are_no_utf8_are_told_apart),
		cmocka_unit_test(values_and_keys_know_their_place),
		cmocka_unit_test(tables_keep_source_order_and_lookups_nest),
		cmocka_unit_test(tables_are_equal_as_sets_and_values_by_type),
		cmocka_unit_test(nesting_ends_at_64_levels),
		cmocka_unit_test(larger_than_16_mib_is_refused),
		cmocka_unit_test(a_hundred_thousand_keys_take_less_than_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
