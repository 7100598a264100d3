/* cmd/ctl/args.h
 *
 * Command lines of `coracle ctl`: one table of options per verb reads them and prints their help, so that the two cannot differ.
 *
 * "--name VALUE", "--name=VALUE", "-n VALUE", "-nVALUE"; switches join ("-aq"); "--" ends the options. Words may stand between
 * options unless the verb passes a command on: then the first word ends them.
 */
#ifndef CORACLE_CMD_CTL_ARGS_H
#define CORACLE_CMD_CTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/attr.h"

struct arg_list { /* an option that may be given several times; items are borrowed from argv */
	const char **items;
	size_t count;
};
void arg_list_release(struct arg_list *list);
DEFINE_CLEANUP(struct arg_list, arg_list_release);

enum arg_kind {
	ARG_FLAG,   /* to: bool */
	ARG_TEXT,   /* to: const char *; given twice, the last one counts */
	ARG_NUMBER, /* to: int64_t, not negative */
	ARG_LIST,   /* to: struct arg_list */
};

struct arg_option {
	const char *name; /* long name */
	char letter;      /* 0: none */
	enum arg_kind kind;
	void *to;
	const char *value; /* what help calls the value; NULL for a switch */
	const char *help;  /* "\n" begins a new line of the right column */
};

struct arg_table {
	const struct arg_option *options;
	size_t count;
};

enum { ARGS_USAGE = -1, ARGS_HELP = -2 };

/*
 * args_parse - read argv[1..] into what the tables point at.
 * @who:        "ctl ps", for messages.
 * @stop_early: the first word ends the options; all behind it stays as it is.
 * Returns:     how many words there are, moved to argv[1..]; ARGS_USAGE after a message on stderr; ARGS_HELP when -h or --help came.
 */
NODISCARD int args_parse(const char *who, int argc, char **argv, const struct arg_table *tables,
                         size_t ntables, bool stop_early);

/* The table as lines of help. */
void args_help(FILE *out, const struct arg_table *table);

#endif
