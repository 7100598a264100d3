#include "cmd/ctl/args.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/str.h"

#define HELP_COLUMN 27

void arg_list_release(struct arg_list *list)
{
	free(list->items);
	*list = (struct arg_list){ 0 };
}

struct parser {
	const char *who;
	const struct arg_table *tables;
	size_t ntables;
	int argc, at;
	char **argv;
};

static const struct arg_option *find_name(const struct parser *p, const char *name, size_t len)
{
	for (size_t t = 0; t < p->ntables; t++)
		for (size_t i = 0; i < p->tables[t].count; i++) {
			const struct arg_option *opt = &p->tables[t].options[i];

			if (strlen(opt->name) == len && !strncmp(opt->name, name, len))
				return opt;
		}
	return NULL;
}

static const struct arg_option *find_letter(const struct parser *p, char letter)
{
	for (size_t t = 0; t < p->ntables; t++)
		for (size_t i = 0; i < p->tables[t].count; i++)
			if (p->tables[t].options[i].letter == letter)
				return &p->tables[t].options[i];
	return NULL;
}

static int try_help(const struct parser *p)
{
	fprintf(stderr, "Try 'coracle %s --help'.\n", p->who);
	return ARGS_USAGE;
}

static int unknown(const struct parser *p, const char *arg)
{
	const char *names[64], *meant;
	size_t n = 0;

	for (size_t t = 0; t < p->ntables; t++)
		for (size_t i = 0; i < p->tables[t].count && n < ARRAY_SIZE(names); i++)
			names[n++] = p->tables[t].options[i].name;
	meant = arg[1] == '-' ? str_suggest(arg + 2, names, n) : NULL;
	fprintf(stderr, "coracle %s: unknown option '%s'", p->who, arg);
	if (meant)
		fprintf(stderr, "; did you mean '--%s'?", meant);
	fputc('\n', stderr);
	return try_help(p);
}

static int set_value(const struct parser *p, const struct arg_option *opt, const char *value)
{
	struct arg_list *list;
	uint64_t number;

	switch (opt->kind) {
	case ARG_FLAG:
		*(bool *)opt->to = true;
		break;
	case ARG_TEXT:
		*(const char **)opt->to = value;
		break;
	case ARG_NUMBER:
		if (str_u64(str_of(value), INT32_MAX, &number) < 0) {
			fprintf(stderr, "coracle %s: --%s: '%s' is not a number\n", p->who,
			        opt->name, value);
			return ARGS_USAGE;
		}
		*(int64_t *)opt->to = (int64_t)number;
		break;
	case ARG_LIST:
		list = opt->to;
		list->items = xrealloc(list->items, list->count + 1, sizeof(*list->items));
		list->items[list->count++] = value;
		break;
	}
	return 0;
}

/* The value is @attached to the option, or the next argument. */
static int take(struct parser *p, const struct arg_option *opt, const char *attached)
{
	if (opt->kind == ARG_FLAG)
		return set_value(p, opt, NULL);
	if (attached)
		return set_value(p, opt, attached);
	if (p->at + 1 < p->argc)
		return set_value(p, opt, p->argv[++p->at]);
	fprintf(stderr, "coracle %s: option '--%s' needs a value: %s\n", p->who, opt->name,
	        opt->value);
	return try_help(p);
}

static int parse_long(struct parser *p, const char *arg)
{
	const char *name = arg + 2, *equals = strchr(name, '=');
	const struct arg_option *opt =
		find_name(p, name, equals ? (size_t)(equals - name) : strlen(name));

	if (!opt)
		return streq(name, "help") ? ARGS_HELP : unknown(p, arg);
	if (equals && opt->kind == ARG_FLAG) {
		fprintf(stderr, "coracle %s: option '--%s' takes no value\n", p->who, opt->name);
		return try_help(p);
	}
	return take(p, opt, equals ? equals + 1 : NULL);
}

static int parse_letters(struct parser *p, const char *arg)
{
	for (const char *c = arg + 1; *c; c++) {
		const struct arg_option *opt = find_letter(p, *c);
		int rc;

		if (!opt)
			return *c == 'h' ? ARGS_HELP : unknown(p, arg);
		if (opt->kind != ARG_FLAG)
			return take(p, opt, c[1] ? c + 1 : NULL);
		rc = take(p, opt, NULL);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int args_parse(const char *who, int argc, char **argv, const struct arg_table *tables,
               size_t ntables, bool stop_early)
{
	struct parser p = {
		.who = who, .tables = tables, .ntables = ntables, .argc = argc, .argv = argv
	};
	bool only_words = false;
	int words = 0;

	for (p.at = 1; p.at < argc; p.at++) {
		char *arg = argv[p.at];
		int rc;

		if (only_words || arg[0] != '-' || !arg[1]) { /* "-" is a word: standard input */
			argv[1 + words++] = arg;
			only_words |= stop_early;
			continue;
		}
		if (streq(arg, "--")) {
			only_words = true;
			continue;
		}
		rc = arg[1] == '-' ? parse_long(&p, arg) : parse_letters(&p, arg);
		if (rc < 0)
			return rc;
	}
	return words;
}

void args_help(FILE *out, const struct arg_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct arg_option *opt = &table->options[i];
		const char *text = opt->help;
		char left[64];
		int n;

		n = snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", opt->letter ? '-' : ' ',
		             opt->letter ? opt->letter : ' ', opt->letter ? ',' : ' ', opt->name,
		             opt->value ? " " : "", or_empty(opt->value));
		if (n >= HELP_COLUMN - 1) {
			fprintf(out, "%s\n", left);
			n = 0;
		} else {
			fputs(left, out);
		}
		for (;;) {
			size_t len = strcspn(text, "\n");

			fprintf(out, "%*s%.*s\n", HELP_COLUMN - n, "", (int)len, text);
			if (!text[len])
				break;
			text += len + 1;
			n = 0;
		}
	}
}
