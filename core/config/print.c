/* core/config/print.c
 *
 * The other direction: values in force and the sample file, as texts that config.c reads.
 */
#include <string.h>

#include "core/base/str.h"
#include "core/config/config.h"

void config_each(const struct config *config, config_value_fn fn, void *arg)
{
	for (size_t i = 0; i < config->nvalues; i++)
		fn(arg, &config->values[i]);
}

int config_print(const struct config *config, struct buf *out)
{
	for (size_t i = 0; i < config->nvalues; i++) {
		const struct config_value *value = &config->values[i];

		if (i == 0 || !streq(config->values[i - 1].section, value->section)) {
			if (buf_printf(out, "%s[%s]\n", i ? "\n" : "", value->section) < 0)
				return -1;
		}
		if (buf_printf(out, "%s = %s%s# %s\n", value->key->name, value->text,
		               *value->text ? " " : "", value->origin) < 0)
			return -1;
	}
	return 0;
}

/* @doc as comment lines of at most 78 columns. */
static int print_doc(const char *doc, struct buf *out)
{
	size_t column = 0;

	while (*doc) {
		size_t len = strcspn(doc, " ");

		if (column > 0 && column + 1 + len > 78) {
			if (buf_add_str(out, "\n") < 0)
				return -1;
			column = 0;
		}
		if (buf_printf(out, "%s%.*s", column ? " " : "# ", (int)len, doc) < 0)
			return -1;
		column += len + (column ? 1 : 2);
		doc += len + (doc[len] == ' ');
	}
	return buf_add_str(out, "\n");
}

int config_sample(struct buf *out)
{
	if (print_doc(
		    "The configuration of coracle. Every key is shown with its default; drop-ins in coracle.conf.d are read after "
		    "this file. Lists are comma separated, or have one value per indented line.",
		    out) < 0)
		return -1;
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);

		if (i == 0 || !streq(config_key_at(i - 1)->section, key->section)) {
			bool pattern = streq(key->section, "runtime NAME");

			if (buf_printf(out, "\n%s[%s]\n", pattern ? "# " : "",
			               pattern ? "runtime crun" : key->section) < 0)
				return -1;
		}
		if (print_doc(key->doc, out) < 0 ||
		    buf_printf(out, "#%s =%s%s\n", key->name, *key->dflt ? " " : "", key->dflt) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------------ coracle.conf(5) */

/* Text for roff: a dash stays a dash, a dot or quote at the start of a line commands nothing. */
static int print_roff(const char *text, struct buf *out)
{
	if ((*text == '.' || *text == '\'') && buf_add_str(out, "\\&") < 0)
		return -1;
	for (; *text; text++) {
		if (*text == '\\'  ? buf_add_str(out, "\\e") < 0
		    : *text == '-' ? buf_add_str(out, "\\-") < 0
		                   : buf_add(out, text, 1) < 0)
			return -1;
	}
	return 0;
}

static const char *type_text(const struct config_key *key)
{
	switch (key->type) {
	case CONFIG_PATH:
		return "absolute path";
	case CONFIG_PATH_LIST:
		return "list of absolute paths";
	case CONFIG_PROGRAM:
		return "program";
	case CONFIG_HANDLER:
		return "name of a handler";
	case CONFIG_LIST:
		return "list";
	case CONFIG_BOOL:
		return "boolean";
	case CONFIG_BYTES:
		return "size";
	case CONFIG_DURATION:
		return "duration";
	case CONFIG_CHOICE:
		return key->choices;
	}
	return "";
}

static int print_key(const struct config_key *key, struct buf *out)
{
	if (buf_printf(out, ".TP\n.BR %s \" (", key->name) < 0 ||
	    print_roff(type_text(key), out) < 0 || buf_add_str(out, ")\"\n") < 0 ||
	    print_roff(key->doc, out) < 0 || buf_add_str(out, "\n") < 0)
		return -1;
	if (*key->dflt && (buf_add_str(out, "Default: ") < 0 || print_roff(key->dflt, out) < 0 ||
	                   buf_add_str(out, ".\n") < 0))
		return -1;
	if (key->flag &&
	    (buf_add_str(out, "The option\n.B ") < 0 || print_roff(key->flag, out) < 0 ||
	     buf_add_str(out, "\nwins over it.\n") < 0))
		return -1;
	if (key->reloadable && buf_add_str(out, "SIGHUP takes it over.\n") < 0)
		return -1;
	if (key->fatal && buf_add_str(out, "The daemon does not start with a bad value.\n") < 0)
		return -1;
	return 0;
}

int config_manual(struct buf *out)
{
	static const char head[] =
		".TH CORACLE.CONF 5 \"\" coracle \"File formats\"\n"
		".SH NAME\ncoracle.conf \\- configuration of the container runtime coracle\n"
		".SH SYNOPSIS\n.I /etc/coracle/coracle.conf\n.br\n.I /etc/coracle/coracle.conf.d/*.conf\n"
		".SH DESCRIPTION\n"
		"The file is read first, then the drop\\-ins in byte order of their names; the later value wins.\n"
		"All of them may be missing: every key has a default.\n"
		".PP\n"
		"Sections stand in brackets, settings are\n.IR key \" = \" value .\n"
		"A comment begins with # or ; at the start of a line or behind a blank.\n"
		"A list is separated by commas or has one value per indented line; a later file replaces the whole list.\n"
		"A key without a value is back at its default.\n"
		".PP\n"
		"Booleans are true, false, yes, no, on, off, 1 or 0. Sizes are numbers of bytes, or have a unit: 64K, 4MiB\n"
		"(powers of 1024). Durations have units: 500ms, 90s, 1h30m.\n"
		".PP\n"
		"A name that a key had before, or has in containerd's configuration, may still work; it is logged as deprecated.\n"
		".PP\n"
		"A key that is not known or a value that is not accepted is logged with file and line and leaves the default\n"
		"in force, except where the daemon could do harm.\n.BR coracle\\-check (8)\nshows all of them.\n"
		".PP\n"
		"On SIGHUP the daemon reads all of it again, takes over what is marked below, and logs what else has changed and\n"
		"needs a restart. A configuration with which it would not start changes nothing.\n";
	static const char tail[] =
		".SH SEE ALSO\n.BR coracle (8),\n.BR coracle\\-check (8),\n.BR coracle\\-migrate\\-config (8)\n";

	if (buf_add_str(out, head) < 0)
		return -1;
	for (size_t i = 0; i < config_key_count(); i++) {
		const struct config_key *key = config_key_at(i);

		if ((i == 0 || !streq(config_key_at(i - 1)->section, key->section)) &&
		    buf_printf(out, ".SH [%s]\n", key->section) < 0)
			return -1;
		if (print_key(key, out) < 0)
			return -1;
	}
	return buf_add_str(out, tail);
}
