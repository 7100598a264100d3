/* cmd/options.h
 *
 * The options that daemon, recover, check and ctl share: -c, --root, --state, --listen, --log-level, --help.
 */
#ifndef CORACLE_CMD_OPTIONS_H
#define CORACLE_CMD_OPTIONS_H

#include <stdbool.h>

#include "core/base/attr.h"
#include "core/config/config.h"

/* One more option of an applet; long options only, "--name" or "--name=VALUE". */
struct option_extra {
	const char *name;
	const char **value; /* takes a value; or NULL */
	bool *flag;         /* is a switch */
};

/*
 * options_parse - fill @flags and the extras; positional arguments are moved to the front of argv[1..] and counted.
 * Returns: their number, or -1 after a message on stderr (exit EXIT_USAGE), or -2 when --help was asked for.
 */
NODISCARD int options_parse(int argc, char **argv, struct config_flags *flags,
                            const struct option_extra *extras, size_t nextras);

#define OPTIONS_COMMON_HELP                                                                                   \
	"  -c, --config FILE     configuration file (/etc/coracle/coracle.conf; a missing default is fine)\n" \
	"      --root DIR        persistent data (/var/lib/coracle)\n"                                        \
	"      --state DIR       run-time data, gone after a reboot (/run/coracle)\n"

#endif
