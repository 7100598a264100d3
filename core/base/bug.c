/* core/base/bug.c
 *
 * The last words. No stdio and no heap: both may be what is broken, and monitors have neither.
 */
#include "core/base/bug.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static struct iovec piece(const char *text)
{
	return (struct iovec){ .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
}

static const char *decimal(int value, char digits[12])
{
	unsigned v = value < 0 ? 0 : (unsigned)value;
	char *p = digits + 11;

	*p = '\0';
	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	return p;
}

void bug_report(const char *expr, const char *file, int line, const char *func)
{
	char digits[12];
	const struct iovec text[] = {
		piece(getenv("JOURNAL_STREAM") ? "<0>" : ""),
		piece("coracle: bug: "),
		piece(file),
		piece(":"),
		piece(decimal(line, digits)),
		piece(": "),
		piece(func),
		piece(": "),
		piece(expr),
		piece("\n"),
	};

	ignore(writev(STDERR_FILENO, text, ARRAY_SIZE(text)) < 0); /* nobody left to tell */
	abort();
}
