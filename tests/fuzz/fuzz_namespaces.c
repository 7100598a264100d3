/* What a pod asks for: sysctl names and values, hostname, id maps. Text up to the first NUL is a sysctl name, then a value,
 * then a hostname, then triples of numbers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/mem.h"
#include "core/run/namespaces.h"

static char *next_text(const uint8_t **data, size_t *size)
{
	const uint8_t *end = memchr(*data, 0, *size);
	size_t len = end ? (size_t)(end - *data) : *size;
	char *text = xstrndup((const char *)*data, len);

	*data += len + (end != NULL);
	*size -= len + (end != NULL);
	return text;
}

static void check_name(const char *name)
{
	char path[256];
	struct err err;

	if (sysctl_path(name, path, sizeof(path), &err) < 0)
		return;
	ensure(path[0] != '/' && path[0] != '\0' && strlen(path) == strlen(name));
	ensure(!strstr(path, "//") && !strstr(path, "/../") && strncmp(path, "../", 3) != 0 &&
	       strcmp(path, "..") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *name = next_text(&data, &size), *value = next_text(&data, &size),
			  *hostname = next_text(&data, &size);
	struct pair pair = { name, value };
	struct id_map maps[ID_MAPS_MAX + 1];
	struct namespaces_args args = { .id = "x",
		                        .hostname = hostname,
		                        .sysctls = { &pair, 1 },
		                        .uid_maps = maps,
		                        .gid_maps = maps };
	struct err err;

	check_name(name);
	for (; size >= 12 && args.nuid_maps <= ID_MAPS_MAX; data += 12, size -= 12)
		maps[args.nuid_maps++] =
			(struct id_map){ get_le32(data), get_le32(data + 4), get_le32(data + 8) };
	args.ngid_maps = args.nuid_maps;
	if (namespaces_check(&args, &err) < 0) {
		ensure(err.code == CODE_INVALID_ARGUMENT);
		return 0;
	}
	for (size_t i = 0; i < args.nuid_maps; i++)
		ensure(maps[i].count > 0 &&
		       (uint64_t)maps[i].outside + maps[i].count <= UINT32_MAX);
	return 0;
}
