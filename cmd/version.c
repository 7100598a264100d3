/* cmd/version.c: `coracle version`. */
#include <stdio.h>

#include "cmd/applet.h"

int applet_version(int argc, char **argv)
{
	if (argc > 1) {
		fprintf(stderr, "coracle: version takes no argument, got '%s'\n", argv[1]);
		return 2;
	}
	puts("coracle " CORACLE_VERSION);
	return 0;
}
