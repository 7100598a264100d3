/* cmd/main.c
 *
 * One binary, several programs. The name comes from how we were called (a link named recover or coracle-recover), else
 * from the first argument.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/applet.h"

/* Our own name in argv[0] says nothing; neither does that of a renamed copy. */
static const struct applet *named_by_link(const char *path)
{
	const char *slash, *name = path;

	slash = strrchr(path, '/');
	if (slash)
		name = slash + 1;
	if (strncmp(name, "coracle-", strlen("coracle-")) == 0)
		name += strlen("coracle-");
	return applet_find(name);
}

static int unknown(const char *name)
{
	const struct applet *meant = applet_suggest(name);

	fprintf(stderr, "coracle: no command '%s'", name);
	if (meant)
		fprintf(stderr, "; did you mean '%s'?", meant->name);
	fputs("\nTry 'coracle --help'.\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const struct applet *applet;

	applet = argc > 0 ? named_by_link(argv[0]) : NULL;
	if (applet)
		return applet->fn(argc, argv);
	if (argc < 2) {
		fputs("usage: coracle COMMAND [OPTION...]\nTry 'coracle --help'.\n", stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return applet_help(argc - 1, argv + 1);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return applet_version(argc - 1, argv + 1);
	applet = applet_find(argv[1]);
	if (!applet)
		return unknown(argv[1]);
	return applet->fn(argc - 1, argv + 1);
}
