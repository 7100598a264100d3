/* core/run/cgroup_host.c
 *
 * Which control group hierarchies this machine has, and where in them a process is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/run/cgroup.h"

#define PATH_LEN_MAX 2048

/* v1 names; what v2 calls them when it calls them at all */
static const struct {
	const char *v1, *v2;
} controllers[CGROUP_CONTROLLERS] = {
	[CGROUP_CPU] = { "cpu", "cpu" },
	[CGROUP_CPUACCT] = { "cpuacct", NULL },
	[CGROUP_CPUSET] = { "cpuset", "cpuset" },
	[CGROUP_MEMORY] = { "memory", "memory" },
	[CGROUP_PIDS] = { "pids", "pids" },
	[CGROUP_IO] = { "blkio", "io" },
	[CGROUP_HUGETLB] = { "hugetlb", "hugetlb" },
	[CGROUP_FREEZER] = { "freezer", NULL },
	[CGROUP_DEVICES] = { "devices", NULL },
	[CGROUP_SYSTEMD] = { "name=systemd", NULL },
};

#define V2_ALWAYS                                                                                  \
	(CGROUP_HAS(CGROUP_FREEZER) | CGROUP_HAS(CGROUP_DEVICES) | CGROUP_HAS(CGROUP_CPUACCT))
#define V1_RESOURCE_MASK (CGROUP_HAS(CGROUP_CONTROLLERS) - 1 - CGROUP_HAS(CGROUP_SYSTEMD))

const char *cgroup_controller_name(enum cgroup_controller c)
{
	return controllers[c].v1;
}

const char *cgroup_mode_name(enum cgroup_mode mode)
{
	switch (mode) {
	case CGROUP_NONE:
		return "none";
	case CGROUP_V1:
		return "v1";
	case CGROUP_HYBRID:
		return "hybrid";
	case CGROUP_V2:
		return "v2";
	}
	return "none";
}

static uint32_t controllers_in(struct str list, char sep, bool v2)
{
	struct str item, rest = list;
	uint32_t has = 0;

	while (rest.len > 0) {
		str_cut(rest, sep, &item, &rest);
		for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
			const char *name = v2 ? controllers[c].v2 : controllers[c].v1;

			if (name && str_eq_c(item, name))
				has |= CGROUP_HAS(c);
		}
	}
	return has;
}

/* The controller list among a v1 mount's options: "rw,cpu,cpuacct" -> "cpu,cpuacct"; heap, NULL when there is none of ours. */
static char *v1_name(const char *super_options)
{
	struct str item, rest = str_of(super_options);
	struct buf name;

	buf_init(&name, 256);
	while (rest.len > 0) {
		str_cut(rest, ',', &item, &rest);
		if (controllers_in(item, ',', false) == 0)
			continue;
		if (buf_printf(&name, "%s" STR_FMT, name.len ? "," : "", STR_ARG(item)) < 0)
			break;
	}
	if (name.len == 0) {
		buf_release(&name);
		return NULL;
	}
	return buf_take_str(&name);
}

static bool known_already(const struct cgroup_host *host, bool v2, uint32_t has)
{
	for (size_t i = 0; i < host->nhierarchies; i++)
		if (v2 ? host->hierarchies[i].v2
		       : (host->hierarchies[i].has & has) != 0 && !host->hierarchies[i].v2)
			return true;
	return false;
}

static int add_mount(struct cgroup_host *host, const struct proc_mount *mount)
{
	bool v2 = streq(mount->fstype, "cgroup2");
	cleanup_free char *name = NULL;
	uint32_t has;

	if (!v2 && !streq(mount->fstype, "cgroup"))
		return 0;
	name = v2 ? xstrdup("") : v1_name(mount->super_options);
	if (!name || host->nhierarchies == CGROUP_HIERARCHIES_MAX)
		return 0;
	has = v2 ? 0 : controllers_in(str_of(name), ',', false);
	/* The first mount of a hierarchy is the system's; later ones belong to somebody's container. */
	if (known_already(host, v2, has))
		return 0;
	host->hierarchies[host->nhierarchies++] = (struct cgroup_hierarchy){
		.mount = xstrdup(mount->target),
		.root = xstrdup(mount->root),
		.name = take_ptr(name),
		.v2 = v2,
		.has = has,
	};
	return 0;
}

static int add_mount_cb(const struct proc_mount *mount, void *host)
{
	return add_mount(host, mount);
}

/* The part of a /proc/PID/cgroup path below what is mounted; NULL: outside of it. */
static char *below_root(const struct cgroup_hierarchy *h, struct str path)
{
	size_t root_len = streq(h->root, "/") ? 0 : strlen(h->root);

	if (path.len < root_len || memcmp(path.p, h->root, root_len) != 0)
		return NULL;
	path.p += root_len;
	path.len -= root_len;
	if (str_eq_c(path, "/"))
		path.len = 0;
	if ((path.len > 0 && path.p[0] != '/') || str_starts(path, "/.."))
		return NULL;
	return str_dup(path);
}

/* The line of /proc/PID/cgroup that speaks of this hierarchy; a NULL p: none. */
static struct str path_in(const struct cgroup_hierarchy *h, struct str text)
{
	struct str line, number, names, path;

	while (text.len > 0) {
		str_cut(text, '\n', &line, &text);
		if (!str_cut(line, ':', &number, &line) || !str_cut(line, ':', &names, &path))
			continue;
		if (h->v2 ? str_eq_c(number, "0") && names.len == 0
		          : (controllers_in(names, ',', false) & h->has) != 0)
			return path;
	}
	return (struct str){ NULL, 0 };
}

static void settle(struct cgroup_host *host, const char *self_cgroup)
{
	bool v1 = false, v2 = false;

	for (size_t i = 0; i < host->nhierarchies; i++) {
		struct cgroup_hierarchy *h = &host->hierarchies[i];
		struct str path = path_in(h, str_of(self_cgroup));

		free(h->own);
		h->own = path.p ? below_root(h, path) : NULL;
		v1 = v1 || (!h->v2 && (h->has & V1_RESOURCE_MASK) != 0);
		v2 = v2 || h->v2;
	}
	host->mode = v1 ? (v2 ? CGROUP_HYBRID : CGROUP_V1) : v2 ? CGROUP_V2 : CGROUP_NONE;
	for (size_t i = 0; i < host->nhierarchies; i++)
		if (host->hierarchies[i].v2 && host->mode == CGROUP_V2)
			host->hierarchies[i].has |= V2_ALWAYS;
}

struct cgroup_host *cgroup_host_parse(const struct proc_mount *mounts, size_t nmounts,
                                      const char *self_cgroup)
{
	struct cgroup_host *host = xcalloc(1, sizeof(*host));

	for (size_t i = 0; i < nmounts; i++)
		add_mount(host, &mounts[i]);
	settle(host, self_cgroup);
	return host;
}

bool cgroup_shows(const struct cgroup_hierarchy *h, const char *file)
{
	cleanup(strv_free) char **names = NULL;
	char path[PATH_LEN_MAX];

	if (h->own && h->own[0] &&
	    str_format(path, sizeof(path), "%s%s/%s", h->mount, h->own, file) == 0 &&
	    access(path, F_OK) == 0)
		return true;
	if (fsx_list(AT_FDCWD, h->mount, &names) < 0)
		return false;
	for (char **name = names; *name; name++)
		if (str_format(path, sizeof(path), "%s/%s/%s", h->mount, *name, file) == 0 &&
		    access(path, F_OK) == 0)
			return true;
	return false;
}

void cgroup_host_look_closer(struct cgroup_host *host)
{
	for (size_t i = 0; i < host->nhierarchies; i++) {
		struct cgroup_hierarchy *h = &host->hierarchies[i];
		cleanup_free char *text = NULL;
		char path[PATH_LEN_MAX];

		if (h->v2 &&
		    str_format(path, sizeof(path), "%s/cgroup.controllers", h->mount) == 0 &&
		    fsx_read(AT_FDCWD, path, 4096, &text, NULL) >= 0)
			h->has |= controllers_in(str_trim(str_of(text)), ' ', true);
		if (!(h->has & CGROUP_HAS(CGROUP_MEMORY)))
			continue;
		if (h->v2)
			host->swap = cgroup_shows(h, "memory.swap.max");
		else if (str_format(path, sizeof(path), "%s/memory.memsw.limit_in_bytes",
		                    h->mount) == 0)
			host->swap = access(path, F_OK) == 0;
	}
}

struct cgroup_host *cgroup_host_new(struct err *err)
{
	cleanup(cgroup_host_free) struct cgroup_host *host = xcalloc(1, sizeof(*host));
	cleanup_free char *self = NULL;
	int rc;

	rc = proc_mounts(add_mount_cb, host);
	if (rc < 0) {
		err_sys(err, -rc, "read /proc/self/mountinfo");
		return NULL;
	}
	rc = fsx_read(AT_FDCWD, "/proc/self/cgroup", 65536, &self, NULL);
	if (rc < 0 && rc != -ENOENT) { /* ENOENT: a kernel without cgroups */
		err_sys(err, -rc, "read /proc/self/cgroup");
		return NULL;
	}
	settle(host, self ? self : "");
	cgroup_host_look_closer(host);
	return take_ptr(host);
}

void cgroup_host_free(struct cgroup_host *host)
{
	if (!host)
		return;
	for (size_t i = 0; i < host->nhierarchies; i++) {
		free(host->hierarchies[i].mount);
		free(host->hierarchies[i].root);
		free(host->hierarchies[i].name);
		free(host->hierarchies[i].own);
	}
	free(host);
}

const struct cgroup_hierarchy *cgroup_find(const struct cgroup_host *host,
                                           enum cgroup_controller controller)
{
	const struct cgroup_hierarchy *found = NULL;

	/* A controller is in one hierarchy; if a hybrid's v2 tree shows it, no v1 mount has it. */
	for (size_t i = 0; i < host->nhierarchies && !found; i++)
		if (host->hierarchies[i].has & CGROUP_HAS(controller))
			found = &host->hierarchies[i];
	return found;
}

void cgroup_describe(const struct cgroup_host *host, char *text, size_t size)
{
	static const enum cgroup_controller wanted[] = { CGROUP_CPU,     CGROUP_CPUACCT,
		                                         CGROUP_CPUSET,  CGROUP_MEMORY,
		                                         CGROUP_PIDS,    CGROUP_IO,
		                                         CGROUP_HUGETLB, CGROUP_DEVICES };
	struct buf buf;
	bool first = true;
	int rc;

	buf_init(&buf, 256); /* holds every name there is */
	if (host->mode == CGROUP_NONE)
		rc = buf_add_str(&buf, "no cgroup hierarchy is mounted");
	else
		rc = buf_printf(&buf, "cgroup %s", cgroup_mode_name(host->mode));
	for (size_t i = 0; i < ARRAY_SIZE(wanted) && host->mode != CGROUP_NONE && rc == 0; i++) {
		if (cgroup_find(host, wanted[i]))
			continue;
		rc = buf_printf(&buf, "%s%s", first ? "; missing: " : ", ",
		                controllers[wanted[i]].v1);
		first = false;
	}
	if (rc == 0 && host->mode != CGROUP_NONE && !host->swap)
		rc = buf_add_str(&buf, "; no swap limits");
	ensure(rc == 0);
	ignore(str_format(text, size, "%s", buf.data) < 0); /* a short buffer of the caller's */
	buf_release(&buf);
}

char *cgroup_dir_of(const struct cgroup_host *host, pid_t pid, struct err *err)
{
	cleanup_free char *text = NULL;
	char file[64];
	int rc;

	snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	rc = fsx_read(AT_FDCWD, file, 65536, &text, NULL);
	if (rc < 0) {
		err_sys(err, -rc, "read %s", file);
		return NULL;
	}
	for (size_t i = 0; i < host->nhierarchies; i++) {
		const struct cgroup_hierarchy *h = &host->hierarchies[i];
		struct str path = { NULL, 0 };
		char *dir;

		/* In a hybrid the runtimes do not care much for the v2 tree. */
		if (host->mode == CGROUP_V2 ? h->v2
		                            : !h->v2 && !(h->has & CGROUP_HAS(CGROUP_SYSTEMD)))
			path = path_in(h, str_of(text));
		dir = path.p ? below_root(h, path) : NULL;
		if (!dir)
			continue;
		if (dir[0])
			return dir;
		free(dir);
		return xstrdup("/");
	}
	err_set(err, CODE_NOT_FOUND, "process %d is in no cgroup that is mounted here", (int)pid);
	return NULL;
}
