/* The command lines of ctl. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/ctl/args.h"

struct values {
	bool all, quiet;
	const char *name;
	int64_t count;
	struct arg_list envs;
};

/* The arguments of one call, ended by NULL; argv[0] is ours. */
static int parse(struct values *v, bool stop_early, char **argv)
{
	const struct arg_option options[] = {
		{ "all", 'a', ARG_FLAG, &v->all, NULL, "" },
		{ "quiet", 'q', ARG_FLAG, &v->quiet, NULL, "" },
		{ "name", 'n', ARG_TEXT, &v->name, "NAME", "" },
	};
	const struct arg_option more[] = {
		{ "count", 'c', ARG_NUMBER, &v->count, "N", "" },
		{ "env", 'e', ARG_LIST, &v->envs, "X", "" },
	};
	const struct arg_table tables[] = { { options, 3 }, { more, 2 } };
	int argc = 0;

	while (argv[argc])
		argc++;
	return args_parse("ctl test", argc, argv, tables, 2, stop_early);
}
#define PARSE(v, stop, ...) parse(v, stop, argv = (char *[]){ (char *)"test", __VA_ARGS__, NULL })
#define W(text)             ((char *)(text))

static void values_come_attached_or_behind(void **arg)
{
	struct values v = { 0 };
	char **argv;

	(void)arg;
	assert_int_equal(PARSE(&v, false, W("--name=a"), W("-c"), W("3")), 0);
	assert_string_equal(v.name, "a");
	assert_int_equal(v.count, 3);
	assert_int_equal(PARSE(&v, false, W("--name"), W("b"), W("-c4")), 0);
	assert_string_equal(v.name, "b");
	assert_int_equal(v.count, 4);
}

static void switches_join_and_may_end_in_an_option_with_a_value(void **arg)
{
	struct values v = { 0 };
	char **argv;

	(void)arg;
	assert_int_equal(PARSE(&v, false, W("-aqnfoo")), 0);
	assert_true(v.all && v.quiet);
	assert_string_equal(v.name, "foo");
}

static void words_stand_between_options(void **arg)
{
	struct values v = { 0 };
	char **argv;

	(void)arg;
	assert_int_equal(PARSE(&v, false, W("one"), W("-a"), W("-"), W("--"), W("-q")), 3);
	assert_string_equal(argv[1], "one");
	assert_string_equal(argv[2], "-");
	assert_string_equal(argv[3], "-q");
	assert_true(v.all && !v.quiet);
}

static void a_command_keeps_its_own_options(void **arg)
{
	struct values v = { 0 };
	char **argv;

	(void)arg;
	assert_int_equal(PARSE(&v, true, W("-a"), W("image"), W("ls"), W("-q"), W("--"), W("x")),
	                 5);
	assert_true(v.all && !v.quiet);
	assert_string_equal(argv[3], "-q");
	assert_string_equal(argv[4], "--");
}

static void a_list_keeps_all_of_its_values_in_order(void **arg)
{
	struct values v = { 0 };
	char **argv;

	(void)arg;
	assert_int_equal(PARSE(&v, false, W("-eA=1"), W("--env"), W("B=2"), W("--env=")), 0);
	assert_int_equal(v.envs.count, 3);
	assert_string_equal(v.envs.items[0], "A=1");
	assert_string_equal(v.envs.items[1], "B=2");
	assert_string_equal(v.envs.items[2], "");
	arg_list_release(&v.envs);
	assert_null(v.envs.items);
}

static void what_is_wrong_is_a_usage_error(void **arg)
{
	struct values v = { 0 };
	char **argv;

	(void)arg;
	assert_int_equal(PARSE(&v, false, W("--nmae=x")), ARGS_USAGE);
	assert_int_equal(PARSE(&v, false, W("-x")), ARGS_USAGE);
	assert_int_equal(PARSE(&v, false, W("--name")), ARGS_USAGE);
	assert_int_equal(PARSE(&v, false, W("--all=yes")), ARGS_USAGE);
	assert_int_equal(PARSE(&v, false, W("-c"), W("-1")), ARGS_USAGE);
	assert_int_equal(PARSE(&v, false, W("-c"), W("99999999999")), ARGS_USAGE);
	assert_int_equal(PARSE(&v, false, W("-a"), W("--help")), ARGS_HELP);
	assert_int_equal(PARSE(&v, false, W("-ah")), ARGS_HELP);
}

static void help_aligns_and_breaks_lines(void **arg)
{
	const struct arg_option options[] = {
		{ "all", 'a', ARG_FLAG, NULL, NULL, "first\nsecond" },
		{ "a-very-long-name-of-one", 0, ARG_TEXT, NULL, "VALUE", "text" },
	};
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)arg;
	args_help(out, &(struct arg_table){ options, 2 });
	fclose(out);
	assert_string_equal(text, "  -a, --all                first\n"
	                          "                           second\n"
	                          "      --a-very-long-name-of-one VALUE\n"
	                          "                           text\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_attached_or_behind),
		cmocka_unit_test(switches_join_and_may_end_in_an_option_with_a_value),
		cmocka_unit_test(words_stand_between_options),
		cmocka_unit_test(a_command_keeps_its_own_options),
		cmocka_unit_test(a_list_keeps_all_of_its_values_in_order),
		cmocka_unit_test(what_is_wrong_is_a_usage_error),
		cmocka_unit_test(help_aligns_and_breaks_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
