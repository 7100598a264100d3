/* References: a canonical name is its own canonical name, and survives being taken apart and put together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/image/ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(ref_release) struct ref ref = { 0 };
	cleanup_free char *canonical = NULL;
	cleanup_free char *again = NULL;
	cleanup_free char *text = NULL;
	cleanup_free char *any = NULL;
	struct str in = { (const char *)data, size };
	struct err err = { 0 };
	bool is_digest = false;

	if (ref_canonical(in, &canonical, &err) < 0) {
		ensure(err.code == CODE_INVALID_ARGUMENT && err.msg[0]);
		for (const char *p = err.msg; *p; p++)
			ensure((unsigned char)*p >= 0x20);
		return 0;
	}
	ensure(ref_canonical(str_of(canonical), &again, &err) == 0 &&
	       strcmp(canonical, again) == 0);
	ensure(ref_parse(str_of(canonical), &ref, &err) == 0);
	ensure(!ref.tag != !ref.digest); /* exactly one of them */
	ensure(strlen(ref.path) <= REF_PATH_MAX);
	text = ref_text(&ref);
	ensure(strcmp(text, canonical) == 0);
	ensure(ref_compare(canonical, again) == 0);
	ensure(ref_parse_any(str_of(canonical), &any, &is_digest, &err) == 0 && !is_digest);
	return 0;
}
