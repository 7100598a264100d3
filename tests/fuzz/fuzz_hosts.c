/* hosts.toml: what is accepted can be asked, in order, and its header fields are whole lines. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/log.h"
#include "core/image/mirrors.h"

static void check_mirror(const struct mirror *mirror)
{
	const char *p = mirror->fields;

	ensure(mirror->host && mirror->host[0] && mirror->port && mirror->base);
	ensure(!mirror->base[0] || mirror->base[0] == '/');
	ensure(!(mirror->capabilities & ~MIRROR_ALL) && mirror->dial_timeout_ms >= 0);
	while (*p) {
		const char *end = strstr(p, "\r\n");

		ensure(end && memchr(p, ':', (size_t)(end - p)));
		for (; p < end; p++)
			ensure((unsigned char)*p >= ' ');
		p = end + 2;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(mirrors_release) struct mirrors mirrors = { 0 };
	struct str text = { (const char *)data, size };
	struct err err = { 0 };

	log_set_level(LOG_LEVEL_ERROR);
	ensure(mirror_duration_ms(text) >= -1);
	/* No directory to read certificates from: files that are named are errors. */
	if (mirrors_parse(text.p, text.len, "hosts.toml", -1, "reg:5000", &mirrors, &err) < 0) {
		ensure(err.code != CODE_OK && err.msg[0]);
		return 0;
	}
	ensure(mirrors.count >= 1 && mirrors.count <= MIRRORS_MAX);
	for (size_t i = 0; i < mirrors.count; i++)
		check_mirror(&mirrors.items[i]);
	return 0;
}
