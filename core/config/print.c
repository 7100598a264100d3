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
