/* Lines of a container's log, which a container's image may have brought along: what ctl makes of them stays within the line. */
#include <stddef.h>
#include <stdint.h>

#include "cmd/ctl/log.h"
#include "core/base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct str line = { (const char *)data, size };
	struct log_entry entry;

	if (log_entry_parse(line, &entry) < 0)
		return 0;
	ensure(entry.time.p == line.p && entry.time.len > 0 && entry.time.len < size);
	/* the text is all that is left, up to the end of the line */
	ensure(entry.text.len == 0 || entry.text.p + entry.text.len == line.p + line.len);
	return 0;
}
