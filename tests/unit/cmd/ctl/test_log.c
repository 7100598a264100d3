/* Reading a CRI log: entries, the end of a long file, rotation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/ctl/log.h"

struct fixture {
	char dir[64], path[96], out[96];
	int stdout_fd;
};

static int setup(void **arg)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/ctl-log-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/0.log", f->dir);
	snprintf(f->out, sizeof(f->out), "%s/out", f->dir);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	char old[128];

	snprintf(old, sizeof(old), "%s.1", f->path);
	unlink(old);
	unlink(f->path);
	unlink(f->out);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void append(const struct fixture *f, const char *text)
{
	FILE *file = fopen(f->path, "a");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* What log_print() puts on stdout. */
static char *print(struct fixture *f, struct log_reader *reader)
{
	struct err err = { 0 };
	char *text = calloc(1, 65536);
	FILE *file;
	int rc;

	fflush(stdout);
	f->stdout_fd = dup(STDOUT_FILENO);
	file = fopen(f->out, "w+");
	dup2(fileno(file), STDOUT_FILENO);
	rc = log_print(reader, &err);
	fflush(stdout);
	dup2(f->stdout_fd, STDOUT_FILENO);
	close(f->stdout_fd);
	assert_int_equal(rc, 0);
	rewind(file);
	assert_true(fread(text, 1, 65535, file) < 65535);
	fclose(file);
	return text;
}

static void expect(struct fixture *f, struct log_reader *reader, const char *wanted)
{
	char *text = print(f, reader);

	assert_string_equal(text, wanted);
	free(text);
}

static void an_entry_is_time_stream_tag_and_text(void **arg)
{
	struct log_entry e;

	(void)arg;
	assert_int_equal(
		log_entry_parse(STR("2026-11-25T02:23:13.000000001Z stdout F hello  world "), &e),
		0);
	assert_true(str_eq_c(e.text, "hello  world "));
	assert_false(e.is_stderr || e.partial);
	assert_int_equal(log_entry_parse(STR("T stderr P:x piece"), &e), 0);
	assert_true(e.is_stderr && e.partial);
	assert_int_equal(log_entry_parse(STR("T stdout F "), &e), 0);
	assert_int_equal(e.text.len, 0);
	assert_int_equal(log_entry_parse(STR("T stdout F"), &e), 0);
	assert_int_equal(e.text.len, 0);
	assert_int_equal(log_entry_parse(STR(""), &e), -1);
	assert_int_equal(log_entry_parse(STR("T stdout X text"), &e), -1);
	assert_int_equal(log_entry_parse(STR("T other F text"), &e), -1);
	assert_int_equal(log_entry_parse(STR("T stdout"), &e), -1);
	assert_int_equal(log_entry_parse(STR("T stdout  text"), &e), -1);
}

static void pieces_make_one_line_with_one_time(void **arg)
{
	struct fixture *f = *arg;
	struct log_reader reader;
	struct err err = { 0 };

	append(f, "T1 stdout P one\nT2 stdout P  line\nT3 stdout F !\nT4 stdout F two\n");
	assert_int_equal(log_open(&reader, f->path, -1, false, &err), 0);
	expect(f, &reader, "one line!\ntwo\n");
	log_close(&reader);
	assert_int_equal(log_open(&reader, f->path, -1, false, &err), 0);
	reader.times = true;
	expect(f, &reader, "T1 one line!\nT4 two\n");
	log_close(&reader);
}

static void an_unfinished_entry_waits_for_its_end(void **arg)
{
	struct fixture *f = *arg;
	struct log_reader reader;
	struct err err = { 0 };

	append(f, "T stdout F a\nT stdou");
	assert_int_equal(log_open(&reader, f->path, -1, true, &err), 0);
	expect(f, &reader, "a\n");
	append(f, "t F b\n");
	expect(f, &reader, "b\n");
	log_close(&reader);
}

static void the_tail_is_counted_in_entries(void **arg)
{
	struct fixture *f = *arg;
	struct log_reader reader;
	struct err err = { 0 };
	char line[64];

	for (int i = 0; i < 20000; i++) { /* several blocks of the backward reader */
		snprintf(line, sizeof(line), "T stdout F %d\n", i);
		append(f, line);
	}
	assert_int_equal(log_open(&reader, f->path, 2, false, &err), 0);
	expect(f, &reader, "19998\n19999\n");
	log_close(&reader);
	assert_int_equal(log_open(&reader, f->path, 0, false, &err), 0);
	expect(f, &reader, "");
	log_close(&reader);
}

static void a_tail_longer_than_the_log_is_all_of_it(void **arg)
{
	struct fixture *f = *arg;
	struct log_reader reader;
	struct err err = { 0 };

	append(f, "T stdout F a\nT stdout F b\n");
	assert_int_equal(log_open(&reader, f->path, 7, false, &err), 0);
	expect(f, &reader, "a\nb\n");
	log_close(&reader);
}

static void rotation_loses_nothing(void **arg)
{
	struct fixture *f = *arg;
	struct log_reader reader;
	struct err err = { 0 };
	char old[128];

	append(f, "T stdout F a\n");
	assert_int_equal(log_open(&reader, f->path, -1, true, &err), 0);
	expect(f, &reader, "a\n");
	append(f, "T stdout F b\n");
	snprintf(old, sizeof(old), "%s.1", f->path);
	assert_int_equal(rename(f->path, old), 0);
	append(f, "T stdout F c\n");
	expect(f, &reader, "b\nc\n");
	log_close(&reader);
}

static void a_log_that_is_not_there_yet_may_be_waited_for(void **arg)
{
	struct fixture *f = *arg;
	struct log_reader reader;
	struct err err = { 0 };

	assert_int_equal(log_open(&reader, f->path, -1, false, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	log_close(&reader);
	assert_int_equal(log_open(&reader, f->path, -1, true, &err), 0);
	expect(f, &reader, "");
	append(f, "T stdout F a\n");
	expect(f, &reader, "a\n");
	log_close(&reader);
}

static void what_is_no_regular_file_is_refused(void **arg)
{
	struct log_reader reader;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(log_open(&reader, "/dev/null", -1, true, &err), -1);
	assert_non_null(strstr(err.msg, "/dev/null is not a regular file"));
	log_close(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_is_time_stream_tag_and_text),
		cmocka_unit_test_setup_teardown(pieces_make_one_line_with_one_time, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_unfinished_entry_waits_for_its_end, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(the_tail_is_counted_in_entries, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tail_longer_than_the_log_is_all_of_it, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(rotation_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_log_that_is_not_there_yet_may_be_waited_for,
		                                setup, teardown),
		cmocka_unit_test(what_is_no_regular_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
