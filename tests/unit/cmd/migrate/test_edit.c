#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/migrate/edit.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define CONFIGS "tests/corpus/configs"

static char *read_file(const char *path, size_t *ret_len)
{
	struct err err = { .code = CODE_OK };
	char *text = NULL;

	if (file_read_all(path, 1 << 20, &text, ret_len, &err) < 0)
		fail_msg("%s", err.msg);
	return text;
}

static struct toml *parse(const char *what, const char *text, size_t len)
{
	struct err err = { .code = CODE_OK };
	struct toml *toml = toml_parse(what, text, len, NULL, &err);

	if (!toml)
		fail_msg("%s", err.msg);
	return toml;
}

/* The file becomes expected/FILE, and what it became stays so. */
static bool becomes_what_is_expected(const char *dir, const char *file)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, file),
			  *want_path = xasprintf("%s/expected/%s", dir, file);
	size_t len, want_len;
	cleanup_free char *text = read_file(path, &len), *want = read_file(want_path, &want_len);
	cleanup(toml_free) struct toml *toml = parse(path, text, len);
	cleanup(toml_free) struct toml *again = parse(want_path, want, want_len);
	cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
	cleanup(migrate_edit_release) struct migrate_edit second = { .ncuts = 0 };
	struct migrate_message error = { .text = "" };

	if (migrate_edit(toml, false, &edit, &error) < 0 ||
	    migrate_edit(again, false, &second, &error) < 0)
		fail_msg("%s: %s", path, error.text);
	if (edit.len != want_len || memcmp(edit.text, want, want_len) != 0)
		fail_msg("%s becomes:\n%s", path, edit.text);
	if (second.ncuts)
		fail_msg("%s: a second run changes it again", want_path);
	return edit.ncuts > 0;
}

typedef void (*row_fn)(char **columns);

static void each_row(const char *path, size_t want_rows, row_fn fn)
{
	cleanup_free char *text = read_file(path, NULL);
	char *line = strchr(text, '\n') + 1, *next; /* behind the headings */
	size_t rows = 0;

	for (; *line; line = next, rows++) {
		char *columns[16] = { NULL };

		next = strchr(line, '\n');
		*next++ = '\0';
		for (size_t i = 0; i < ARRAY_SIZE(columns) && line; i++)
			columns[i] = strsep(&line, "\t");
		fn(columns);
	}
	assert_int_equal(rows, want_rows);
}

static void field_row(char **columns)
{
	bool changed = becomes_what_is_expected(CONFIGS, columns[0]);

	if (changed != streq(columns[8], "yes"))
		fail_msg("%s: changed is %d", columns[0], changed);
}

static void configurations_from_the_field_become_what_is_expected(void **arg)
{
	(void)arg;
	each_row(CONFIGS "/index.tsv", 56, field_row);
}

static enum migrate_code code_of(const char *path)
{
	size_t len;
	cleanup_free char *text = read_file(path, &len);
	cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
	struct migrate_message error = { .text = "" };
	struct toml_fault fault = { .text = "" };
	struct err err = { .code = CODE_OK };
	cleanup(toml_free) struct toml *toml = toml_parse(path, text, len, &fault, &err);

	if (!toml)
		return fault.is_utf8 ? E_UTF8 : E_SYNTAX;
	if (migrate_edit(toml, false, &edit, &error) == 0)
		fail_msg("%s: is accepted", path);
	assert_true(error.place.line > 0);
	return error.code;
}

static void edge_row(char **columns)
{
	cleanup_free char *path = xasprintf(CONFIGS "/edge/%s", columns[0]);

	if (streq(columns[1], "error"))
		assert_string_equal(migrate_code_name(code_of(path)), columns[2]);
	else
		assert_int_equal(becomes_what_is_expected(CONFIGS "/edge", columns[0]),
		                 streq(columns[1], "changed"));
}

static void edge_cases_become_what_is_expected_or_fail_with_their_code(void **arg)
{
	(void)arg;
	each_row(CONFIGS "/edge/index.tsv", 80, edge_row);
}

static void invalid_row(char **columns)
{
	cleanup_free char *path = xasprintf(CONFIGS "/invalid/%s", columns[0]);
	size_t len;
	cleanup_free char *text = read_file(path, &len);
	struct toml_fault fault = { .text = "" };
	struct err err = { .code = CODE_OK };
	unsigned int line = 0, col = 0;

	assert_null(toml_parse(path, text, len, &fault, &err));
	assert_int_equal(sscanf(columns[6], "%u:%u", &line, &col), 2);
	if (fault.place.line != line)
		fail_msg("%s (the line is %u)", err.msg, line);
}

static void templates_and_captured_logs_fail_in_the_right_line(void **arg)
{
	(void)arg;
	each_row(CONFIGS "/invalid/index.tsv", 9, invalid_row);
}

/* ----------------------------------------------------------------------------------------------- text for text */

struct sample {
	const char *in, *out;
};

static void expect_all(const struct sample *samples, size_t n, bool keep_streaming)
{
	for (size_t i = 0; i < n; i++) {
		cleanup(toml_free) struct toml *toml =
			parse("in", samples[i].in, strlen(samples[i].in));
		cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
		struct migrate_message error = { .text = "" };

		if (migrate_edit(toml, keep_streaming, &edit, &error) < 0)
			fail_msg("%s: %s", samples[i].in, error.text);
		assert_string_equal(edit.text, samples[i].out);
	}
}

#define CRI "[plugins.cri]\n"

static void comments_and_blank_lines_go_with_what_they_belong_to(void **arg)
{
	static const struct sample samples[] = {
		/* the first block is the file's own */
		{ "# mine\n" CRI "a = 1\n", "# mine\n" },
		{ "\n# not mine\n" CRI "a = 1\n", "" },
		/* directly above: the item's fate */
		{ "x = 1\n# of y\ny = 2\n# of cri\n" CRI "a = 1\n# of a\nb = 2\n",
		  "x = 1\n# of y\ny = 2\n" },
		/* free-standing: goes only between two that go */
		{ "x = 1\n\n# free\n\n" CRI "a = 1\n", "x = 1\n\n# free\n" },
		{ "x = 1\n" CRI "a = 1\n\n# free\n\nb = 1\n[z]\n", "x = 1\n[z]\n" },
		{ "x = 1\n" CRI "a = 1\n# end\n", "x = 1\n# end\n" },
		/* blank lines: one side of the gap is enough */
		{ "x = 1\n\n" CRI "a = 1\n\n\n[z]\n", "x = 1\n\n[z]\n" },
		{ "x = 1\n" CRI "a = 1\n\n[z]\n", "x = 1\n\n[z]\n" },
		{ "x = 1\n\n\n" CRI "a = 1\n\n", "x = 1\n" },
		{ CRI "a = 1\n\n[z]\n", "[z]\n" },
		{ CRI "a = 1\n  \t\n", "" },
	};

	(void)arg;
	expect_all(samples, ARRAY_SIZE(samples), false);
}

static void inline_tables_are_cut_with_the_right_comma(void **arg)
{
	static const struct sample samples[] = {
		{ "plugins = { cri = { a = 1, disable_tcp_service = true } }",
		  "plugins = { cri = { disable_tcp_service = true } }" },
		{ "plugins = { cri = { disable_tcp_service = true, a = 1 } }",
		  "plugins = { cri = { disable_tcp_service = true } }" },
		{ "plugins = { cri = { a = 1, disable_tcp_service = true, b = 1, c = 2, } }",
		  "plugins = { cri = { disable_tcp_service = true, } }" },
		{ "plugins = { cri = { a = 1 } }", "plugins = { }" },
		{ "plugins = {cri={}}", "plugins = {}" },
		{ "plugins = { x = 1, cri = { a = 1 }, y = 2 }", "plugins = { x = 1, y = 2 }" },
		{ "plugins = { cri.a = 1, cri.disable_tcp_service = true, x.y = 1 }",
		  "plugins = { cri.disable_tcp_service = true, x.y = 1 }" },
		{ "plugins.cri = { a = 1 } # c\nx = 1", "x = 1" },
		{ "plugins.cri.cni = { a = 1 }\nx = 1", "x = 1" },
		{ "plugins.cri.disable_tcp_service = { a = 1 }\n",
		  "plugins.cri.disable_tcp_service = { a = 1 }\n" },
	};

	(void)arg;
	expect_all(samples, ARRAY_SIZE(samples), false);
}

static void five_more_settings_stay_when_asked_for(void **arg)
{
	static const struct sample samples[] = {
		{ CRI
		  "stream_server_port = '1'\nsandbox_image = 'x'\n[plugins.cri.x509_key_pair_streaming]\ntls_cert_file = 'c'\n",
		  CRI
		  "stream_server_port = '1'\n[plugins.cri.x509_key_pair_streaming]\ntls_cert_file = 'c'\n" },
		{ CRI "sandbox_image = 'x'\n", "" },
	};

	(void)arg;
	expect_all(samples, ARRAY_SIZE(samples), true);
}

/* ----------------------------------------------------------------------------------------------------- messages */

static void expect_warning(const char *text, enum migrate_code code, uint32_t line, uint32_t col)
{
	cleanup(toml_free) struct toml *toml = parse("in", text, strlen(text));
	cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
	struct migrate_message error = { .text = "" };

	assert_int_equal(migrate_edit(toml, false, &edit, &error), 0);
	for (size_t i = 0; i < edit.nwarnings; i++) {
		if (edit.warnings[i].code != code)
			continue;
		assert_int_equal(edit.warnings[i].place.line, line);
		assert_int_equal(edit.warnings[i].place.col, col);
		return;
	}
	fail_msg("%s: no %s", text, migrate_code_name(code));
}

static void doubtful_files_are_warned_about_at_the_right_place(void **arg)
{
	(void)arg;
	expect_warning("version = 2\n" CRI "a = 1\n", W_SHORT, 2, 10);
	expect_warning(CRI "a = 1\n[plugins.\"io.containerd.grpc.v1.cri\"]\n", W_BOTH, 1, 10);
	expect_warning("[plugins.io.containerd.grpc.v1.cri]\n", W_UNQUOTED, 1, 32);
	expect_warning("x = 1\nversion = 5\n", W_VERSION, 2, 11);
	expect_warning("[plugins]\n  version = 2\n[x]\n", W_VERSION_PLACE, 2, 3);
	expect_warning("[debug]\n[x]\nversion = 2\n", W_VERSION_PLACE, 3, 1);
	expect_warning(CRI "disable_tcp_service = 'true'\n", W_TYPE, 2, 23);
	expect_warning("\xef\xbb\xbf"
	               "x = 1\n",
	               W_BOM, 1, 1);
}

static void what_was_removed_is_counted_by_leaves(void **arg)
{
	static const char text[] = CRI
		"disable_tcp_service = true\na = [1, 2]\n[plugins.cri.x]\nb.c = 1\nb.d = 2\ne = {}\nf = { g = 1, h = 2 }\n";
	cleanup(toml_free) struct toml *toml = parse("in", text, strlen(text));
	cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
	struct migrate_message error = { .text = "" };

	(void)arg;
	assert_int_equal(migrate_edit(toml, false, &edit, &error), 0);
	assert_int_equal(edit.removed, 5); /* a, c, d, g, h: an empty table sets nothing */
	assert_string_equal(edit.kept, "disable_tcp_service");
}

static void wrong_types_are_errors_at_the_value(void **arg)
{
	static const struct {
		const char *text;
		enum migrate_code code;
		uint32_t line, col;
	} cases[] = {
		{ "version = '2'\n", E_VERSION, 1, 11 },
		{ "version = -1\n", E_VERSION, 1, 11 },
		{ "x = 1\nplugins = 'p'\n", E_TYPE, 2, 11 },
		{ "[[plugins]]\n", E_TYPE, 1, 1 },
		{ "[plugins]\ncri = [1]\n", E_TYPE, 2, 7 },
		{ "x = 1\n[[plugins.cri]]\n", E_TYPE, 2, 1 },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(toml_free) struct toml *toml =
			parse("in", cases[i].text, strlen(cases[i].text));
		cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
		struct migrate_message error = { .text = "" };

		assert_int_equal(migrate_edit(toml, false, &edit, &error), -1);
		assert_int_equal(error.code, cases[i].code);
		assert_int_equal(error.place.line, cases[i].line);
		assert_int_equal(error.place.col, cases[i].col);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configurations_from_the_field_become_what_is_expected),
		cmocka_unit_test(edge_cases_become_what_is_expected_or_fail_with_their_code),
		cmocka_unit_test(templates_and_captured_logs_fail_in_the_right_line),
		cmocka_unit_test(comments_and_blank_lines_go_with_what_they_belong_to),
		cmocka_unit_test(inline_tables_are_cut_with_the_right_comma),
		cmocka_unit_test(five_more_settings_stay_when_asked_for),
		cmocka_unit_test(doubtful_files_are_warned_about_at_the_right_place),
		cmocka_unit_test(what_was_removed_is_counted_by_leaves),
		cmocka_unit_test(wrong_types_are_errors_at_the_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
