#include "cmd/options.h"

#include <stdio.h>
#include <string.h>

#include "core/base/str.h"

struct option {
	const char *name;
	char letter;
	const char **value;
	bool *flag;
};

static const struct option *find(const struct option *options, size_t n, const char *name,
                                 size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(options[i].name) == len && !strncmp(options[i].name, name, len))
			return &options[i];
	return NULL;
}

static int unknown(const char *applet, const struct option *options, size_t n, const char *arg)
{
	const char *names[32];
	const char *meant;

	for (size_t i = 0; i < n; i++)
		names[i] = options[i].name;
	meant = str_suggest(arg + strspn(arg, "-"), names, n);
	fprintf(stderr, "coracle %s: unknown option '%s'", applet, arg);
	if (meant)
		fprintf(stderr, "; did you mean '--%s'?", meant);
	fprintf(stderr, "\nTry 'coracle %s --help'.\n", applet);
	return -1;
}

int options_parse(int argc, char **argv, struct config_flags *flags,
                  const struct option_extra *extras, size_t nextras)
{
	struct option options[32] = {
		{ "config", 'c', &flags->file, NULL },       { "root", 0, &flags->root, NULL },
		{ "state", 0, &flags->state, NULL },         { "listen", 0, &flags->listen, NULL },
		{ "log-level", 0, &flags->log_level, NULL },
	};
	size_t n = 5;
	int words = 0;
	bool only_words = false;

	for (size_t i = 0; i < nextras && n < ARRAY_SIZE(options); i++)
		options[n++] =
			(struct option){ extras[i].name, 0, extras[i].value, extras[i].flag };
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i], *equals;
		const struct option *opt = NULL;

		if (only_words || arg[0] != '-' || !arg[1]) {
			argv[1 + words++] = argv[i];
			continue;
		}
		if (streq(arg, "--")) {
			only_words = true;
			continue;
		}
		if (streq(arg, "--help") || streq(arg, "-h"))
			return -2;
		equals = strchr(arg, '=');
		if (arg[1] == '-')
			opt = find(options, n, arg + 2,
			           equals ? (size_t)(equals - arg - 2) : strlen(arg + 2));
		else if (!arg[2])
			for (size_t k = 0; k < n; k++)
				if (options[k].letter && options[k].letter == arg[1])
					opt = &options[k];
		if (!opt)
			return unknown(argv[0], options, n, arg);
		if (opt->flag) {
			if (equals) {
				fprintf(stderr, "coracle %s: option '--%s' takes no value\n",
				        argv[0], opt->name);
				return -1;
			}
			*opt->flag = true;
		} else if (equals && arg[1] == '-') {
			*opt->value = equals + 1;
		} else if (i + 1 < argc) {
			*opt->value = argv[++i];
		} else {
			fprintf(stderr, "coracle %s: option '--%s' needs a value\n", argv[0],
			        opt->name);
			return -1;
		}
	}
	return words;
}
