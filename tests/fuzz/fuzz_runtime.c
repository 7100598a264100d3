/* What an OCI runtime prints. First byte: which of its outputs. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/run/runtime.h"

static void check_sentence(struct str log, size_t size)
{
	char text[512];

	memset(text, 'x', sizeof(text));
	runtime_error(log, text, size);
	ensure(strlen(text) < size);
	for (const char *c = text; *c; c++)
		ensure((unsigned char)*c >= ' ');
	ensure(!runtime_error_is_unknown(text) || !text[0] || strstr(text, "not exist") ||
	       strstr(text, "No such"));
	ignore(runtime_error_is_ended(text));
}

static void check_version(struct str text)
{
	struct runtime_info info = { 0 };
	struct err err;

	if (runtime_parse_version(text, &info, &err) == 0) {
		ensure(info.program[0] && info.version[0]);
		for (int f = 0; f < RUNTIME_FEATURES; f++)
			ensure(runtime_has(&info, (enum runtime_feature)f) ==
			       (runtime_require(&info, (enum runtime_feature)f, &err) == 0));
	}
	free(info.program);
	free(info.version);
}

static void check_features(struct str text, enum runtime_kind kind)
{
	struct runtime_info info = { .kind = kind, .number = 1008001 };
	struct err err;

	ignore(runtime_parse_features(text, &info, &err) < 0);
	ensure(info.features >> RUNTIME_FEATURES == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct runtime_result result = { 0 };
	struct str text;
	struct err err;

	if (size == 0)
		return 0;
	text = (struct str){ (const char *)data + 1, size - 1 };
	switch (data[0] % 5) {
	case 0:
		check_sentence(text, 512);
		break;
	case 1:
		check_sentence(text, 9);
		break;
	case 2:
		check_version(text);
		break;
	case 3:
		check_features(text, (enum runtime_kind)(data[0] / 5 % 3));
		break;
	case 4:
		ensure(runtime_parse_state(text, &result, &err) < 0 || result.pid >= 0);
		break;
	}
	return 0;
}
