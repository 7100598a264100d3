/* cmd/help.c: `coracle help`, `coracle --help` and, by way of the applets themselves, `coracle help NAME`. */
#include <stdio.h>

#include "cmd/applet.h"

static void print_all(void)
{
	const struct applet *applet;

	puts("usage: coracle COMMAND [OPTION...]\n"
	     "\n"
	     "A container runtime for Kubernetes (CRI).\n"
	     "\n"
	     "Commands:");
	for (applet = applets; applet->name; applet++)
		if (!(applet->flags & APPLET_HIDDEN))
			printf("  %-16s %s\n", applet->name, applet->summary);
	puts("\n"
	     "`coracle COMMAND --help` explains one of them. A link named COMMAND or coracle-COMMAND\n"
	     "to this program runs it as well.");
}

int applet_help(int argc, char **argv)
{
	const struct applet *applet;
	char option[] = "--help";

	if (argc > 2) {
		fprintf(stderr, "coracle: help explains one command, got '%s' too\n", argv[2]);
		return 2;
	}
	if (argc < 2) {
		print_all();
		return 0;
	}
	applet = applet_find(argv[1]);
	if (!applet) {
		fprintf(stderr, "coracle: no command '%s'\n", argv[1]);
		return 2;
	}
	if (applet->fn == applet_help || applet->fn == applet_version) {
		printf("%s: %s\n", applet->name, applet->summary);
		return 0;
	}
	return applet->fn(2, (char *[]){ argv[1], option, NULL });
}
