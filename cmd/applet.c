/* cmd/applet.c: the table of applets, and looking up a name in it. */
#include "cmd/applet.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cmd/applets.h"
#include "core/image/pull.h"
#include "core/image/unpack.h"
#include "core/journal/snapshot.h"

const struct applet applets[] = {
	{ "daemon", applet_daemon, "serve the Kubernetes CRI", 0 },
	{ "ctl", applet_ctl, "look at and change what the daemon runs", 0 },
	{ "recover", applet_recover, "show or repair what the journal holds, offline", 0 },
	{ "check", applet_check, "look whether this machine is fit for it", 0 },
	{ "migrate-config", applet_migrate_config,
	  "clean the old CRI table out of containerd's config", 0 },
	{ "pull", pull_main, "fetch or import one image (run by the daemon)", APPLET_HIDDEN },
	{ "unpack", unpack_main, "write layers to disk (run by pull)", APPLET_HIDDEN },
	{ "snapshot", snapshot_main, "fold closed journal segments (run by the daemon)",
	  APPLET_HIDDEN },
	{ "version", applet_version, "print the version", 0 },
	{ "help", applet_help, "explain a command", 0 },
	{ NULL, NULL, NULL, 0 },
};

const struct applet *applet_find(const char *name)
{
	const struct applet *applet;

	for (applet = applets; applet->name; applet++)
		if (strcmp(applet->name, name) == 0)
			return applet;
	return NULL;
}

/*
 * Letters to insert, delete or replace until @a is @b, or two neighbours to swap: "recvoer" is one slip away. Longer words than
 * any applet's name are infinitely far.
 */
static size_t distance(const char *a, const char *b)
{
	enum { LONGEST = 32 };
	size_t rows[3][LONGEST + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2], *spare;
	size_t a_len = strlen(a), b_len = strlen(b), i, j;

	if (a_len > LONGEST || b_len > LONGEST)
		return SIZE_MAX;
	for (j = 0; j <= b_len; j++)
		above[j] = j;
	for (i = 1; i <= a_len; i++) {
		row[0] = i;
		for (j = 1; j <= b_len; j++) {
			size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[b_len];
}

const struct applet *applet_suggest(const char *name)
{
	const struct applet *applet, *nearest = NULL;
	size_t nearest_at = 3; /* beyond two slips it is another word */

	for (applet = applets; applet->name; applet++) {
		size_t at;

		if (applet->flags & APPLET_HIDDEN)
			continue;
		at = distance(name, applet->name);
		/* A word cut short means its continuation, however long that is. */
		if (*name && strncmp(name, applet->name, strlen(name)) == 0)
			at = 1;
		if (at < nearest_at && at < strlen(applet->name)) {
			nearest = applet;
			nearest_at = at;
		}
	}
	return nearest;
}
