/* cmd/applet.h
 *
 * The programs inside the one binary. Each is a function with main's shape, given its own name as argv[0]; the table
 * in applet.c is all that makes one known: to `coracle NAME`, to a link called NAME or coracle-NAME, and to help.
 */
#ifndef CORACLE_CMD_APPLET_H
#define CORACLE_CMD_APPLET_H

enum applet_flags {
	APPLET_HIDDEN = 1 << 0, /* for our own use: not in help, not suggested */
};

struct applet {
	const char *name;
	int (*fn)(int argc, char **argv); /* returns the exit status */
	const char *summary;              /* one line for help, lower case, no full stop */
	unsigned int flags;
};

/* The table, ended by an entry without name. */
extern const struct applet applets[];

/*
 * applet_find - the applet called @name.
 * Returns: its entry, or NULL.
 */
const struct applet *applet_find(const char *name);

/*
 * applet_suggest - the visible applet that @name is most likely a slip of.
 * Returns: its entry, or NULL when nothing comes near.
 */
const struct applet *applet_suggest(const char *name);

/* The entries of the table that live in files without a header of their own. */
int applet_help(int argc, char **argv);
int applet_version(int argc, char **argv);

#endif
