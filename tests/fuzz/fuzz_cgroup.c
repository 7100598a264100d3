/* What the kernel's cgroup files say, and the cgroup paths that requests bring. First byte: which parser. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/run/cgroup.h"

static void check_text(uint8_t which, struct str text)
{
	struct cgroup_stats stats = { 0 };
	struct str half = { text.p, text.len / 2 },
		   rest = { text.p + text.len / 2, text.len - text.len / 2 };
	uint64_t limit;

	switch (which % 9) {
	case 0:
		cgroup_parse_cpu_stat_v2(text, &stats);
		break;
	case 1:
		cgroup_parse_cpu_stat_v1(text, &stats);
		break;
	case 2:
		cgroup_parse_memory_stat_v2(text, &stats);
		break;
	case 3:
		cgroup_parse_memory_stat_v1(text, &stats);
		ensure(stats.memory_limit < UINT64_C(1) << 62);
		break;
	case 4:
		cgroup_parse_memory_events(text, &stats);
		break;
	case 5:
		cgroup_parse_io_stat_v2(text, &stats);
		break;
	case 6:
		cgroup_parse_blkio_v1(half, rest, &stats);
		break;
	case 7:
		cgroup_parse_psi(text, &stats.cpu_psi);
		break;
	case 8:
		ensure(cgroup_parse_limit(text, &limit) < 0 || limit < UINT64_C(1) << 62);
		break;
	}
	ensure(stats.nio <= CGROUP_IO_MAX);
}

/* Whatever the parent: a path that is accepted has a directory, and that one cannot climb. */
static void check_path(const char *parent)
{
	cleanup_free char *oci = NULL, *dir = NULL, *again = NULL;
	struct err err;

	oci = cgroup_oci_path(parent, "0123", &err);
	if (oci) {
		dir = cgroup_dir(oci, &err);
		ensure(dir && dir[0] == '/' && dir[1] != '\0');
		ensure(cgroup_path_is_systemd(oci) ? ends_with(dir, "/coracle-0123.scope")
		                                   : ends_with(dir, "/0123"));
		free(take_ptr(dir));
	}
	dir = cgroup_dir(parent, &err);
	if (!dir)
		return;
	ensure(dir[0] == '/' && !strstr(dir, "//") && !strstr(dir, "/../") &&
	       !ends_with(dir, "/.."));
	if (ends_with(dir, ".scope") || ends_with(dir, ".slice") || cgroup_path_is_systemd(dir))
		return;
	again = cgroup_dir(dir, &err);
	ensure(again && strcmp(dir, again) == 0);
}

static void check_mounts(const char *self, char *options)
{
	struct proc_mount mounts[] = {
		{ .root = "/x",
		  .target = "/sys/fs/cgroup/a",
		  .fstype = "cgroup",
		  .super_options = options },
		{ .root = "/",
		  .target = "/sys/fs/cgroup/b",
		  .fstype = "cgroup2",
		  .super_options = "rw" },
	};
	cleanup(cgroup_host_free) struct cgroup_host *host =
		cgroup_host_parse(mounts, ARRAY_SIZE(mounts), self);
	char text[256];

	cgroup_describe(host, text, sizeof(text));
	for (size_t i = 0; i < host->nhierarchies; i++) {
		const char *own = host->hierarchies[i].own;

		ensure(!own || own[0] == '\0' || (own[0] == '/' && strncmp(own, "/..", 3) != 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = NULL;

	if (size == 0)
		return 0;
	text = xstrndup((const char *)data + 1, size - 1);
	if (data[0] < 0x80)
		check_text(data[0], (struct str){ (const char *)data + 1, size - 1 });
	else if (data[0] < 0xc0)
		check_path(text);
	else
		check_mounts(text, text);
	return 0;
}
