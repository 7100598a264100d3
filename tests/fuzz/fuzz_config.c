/* coracle.conf: whatever is accepted prints as a file that is accepted without a problem and prints the same again. */
#include <stdint.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/str.h"
#include "core/config/config.h"

static void compare(void *arg, const struct config_value *value)
{
	const struct config *again = arg;

	for (size_t i = 0; i < again->nvalues; i++) {
		if (again->values[i].key == value->key &&
		    streq(again->values[i].section, value->section))
			ensure(streq(again->values[i].text, value->text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct config_flags no_flags;
	cleanup(config_free) struct config *config = NULL;
	cleanup(config_free) struct config *again = NULL;
	cleanup(buf_release) struct buf text = { 0 };
	struct err err;

	buf_init(&text, 8 * 1024 * 1024);
	config = config_from_text("fuzz", (const char *)data, size, &no_flags, &err);
	if (!config || config_print(config, &text) < 0 ||
	    text.len > 60000) /* a line of 64 KiB is the limit */
		return 0;
	again = config_from_text("again", text.data, text.len, &no_flags, &err);
	ensure(again && again->nproblems == 0 && again->nvalues == config->nvalues);
	config_each(config, compare, again);
	return 0;
}
