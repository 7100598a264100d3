/* cri/spec/mounts.c
 *
 * What the container sees mounted, in this order: the defaults, then by depth what the request names, what the pod provides
 * (/etc/hostname, /etc/hosts, /etc/resolv.conf, /dev/shm) and what the image declares as volumes. A destination belongs to the
 * first who names it: request, pod, image, default.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "cri/spec/build.h"
#include "cri/spec/volume.h"

#define OPTIONS_MAX 16

struct options {
	const char *words[OPTIONS_MAX];
	size_t count;
};

static void option(struct options *options, const char *word)
{
	options->words[options->count++] = word;
}

/* --------------------------------------------------------------------------------------------------------- defaults */

static void add(struct build *build, const char *destination, const char *type, const char *source,
                struct options options)
{
	spec_mount_set(&build->spec, &(struct spec_mount){ .destination = destination,
	                                                   .type = type,
	                                                   .source = source,
	                                                   .options = options.words,
	                                                   .noptions = options.count });
}

static void add_sys(struct build *build)
{
	const char *access = build->security->privileged ? "rw" : "ro";

	/* A new sysfs shows the network namespace and may be mounted by its owner only: a pod with a user namespace in the
	 * host's network gets the host's, not writable however deep. */
	if (build->userns && build->host_network) {
		const char *ro = runtime_has(build->in->runtime, RUNTIME_RRO) ? "rro" : "ro";

		add(build, "/sys", "bind", "/sys",
		    (struct options){ { "rbind", "nosuid", "noexec", "nodev", ro }, 5 });
		return;
	}
	add(build, "/sys", "sysfs", "sysfs",
	    (struct options){ { "nosuid", "noexec", "nodev", access }, 4 });
}

static void add_cgroup(struct build *build)
{
	struct options options = { { "nosuid", "noexec", "nodev", "relatime",
		                     build->security->privileged ? "rw" : "ro" },
		                   5 };

	/* Without a cgroup namespace this is the host's own hierarchy, whose options the last mount decides. */
	if (!spec_namespace_has(&build->spec, "cgroup")) {
		if (build->host->cgroup_nsdelegate)
			option(&options, "nsdelegate");
		if (build->host->cgroup_recursiveprot)
			option(&options, "memory_recursiveprot");
	}
	add(build, "/sys/fs/cgroup", "cgroup", "cgroup", options);
}

static void add_defaults(struct build *build)
{
	/* proc and mqueue, too, are mounted by the owner of the namespace they show. */
	const bool host_proc = build->userns && !spec_namespace_has(&build->spec, "pid");
	const bool host_ipc = build->userns && build->host_ipc;

	if (host_proc)
		add(build, "/proc", "bind", "/proc",
		    (struct options){ { "rbind", "nosuid", "noexec", "nodev" }, 4 });
	else
		add(build, "/proc", "proc", "proc",
		    (struct options){ { "nosuid", "noexec", "nodev" }, 3 });
	add(build, "/dev", "tmpfs", "tmpfs",
	    (struct options){ { "nosuid", "strictatime", "mode=755", "size=65536k" }, 4 });
	add(build, "/dev/pts", "devpts", "devpts",
	    (struct options){
		    { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" },
		    6 });
	if (!host_ipc)
		add(build, "/dev/mqueue", "mqueue", "mqueue",
		    (struct options){ { "nosuid", "noexec", "nodev" }, 3 });
	else if (fsx_is_dir("/dev/mqueue"))
		add(build, "/dev/mqueue", "bind", "/dev/mqueue",
		    (struct options){ { "rbind", "nosuid", "noexec", "nodev" }, 4 });
	add_sys(build);
	add_cgroup(build);
}

/* ------------------------------------------------------------------------------------------ mounts of the request */

struct wanted {
	char *destination; /* cleaned */
	char *source;
	struct options options;
	struct id_map *uid_maps, *gid_maps;
	size_t nuid_maps, ngid_maps;
	size_t depth, order;
};

struct wanted_list {
	struct wanted *items;
	size_t count;
};

static void wanted_list_release(struct wanted_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i].destination);
		free(list->items[i].source);
		free(list->items[i].uid_maps);
		free(list->items[i].gid_maps);
	}
	free(list->items);
}
DEFINE_CLEANUP(struct wanted_list, wanted_list_release);

static const struct wanted *find(const struct wanted_list *list, const char *destination)
{
	for (size_t i = 0; i < list->count; i++)
		if (streq(list->items[i].destination, destination))
			return &list->items[i];
	return NULL;
}

/* @destination and @source now belong to the list. */
static struct wanted *append(struct wanted_list *list, char *destination, char *source)
{
	struct wanted *item;

	list->items = xrealloc(list->items, list->count + 1, sizeof(*list->items));
	item = &list->items[list->count];
	*item = (struct wanted){ .destination = destination,
		                 .source = source,
		                 .order = list->count };
	for (const char *p = destination; *p; p++)
		item->depth += *p == '/' && p[1];
	list->count++;
	option(&item->options, "rbind");
	return item;
}

/* Does the mount that @path lies on propagate? By its id: a path says nothing about what lies on top of it. */
struct propagation {
	int id;
	bool shared, slave;
};

static int match_mount(const struct proc_mount *mount, void *arg)
{
	struct propagation *propagation = arg;

	if (mount->id != propagation->id)
		return 0;
	propagation->shared = mount->shared;
	propagation->slave = mount->slave;
	return 1;
}

static int propagation_of(const char *path, struct propagation *ret, struct err *err)
{
	cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);
	cleanup_free char *text = NULL;
	char name[48];
	const char *line;
	int rc;

	if (fd < 0)
		return err_sys(err, errno, "open %s", path);
	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	rc = fsx_read(AT_FDCWD, name, 4096, &text, NULL);
	if (rc < 0)
		return err_sys(err, -rc, "read %s", name);
	line = strstr(text, "mnt_id:");
	*ret = (struct propagation){ .id = line ? (int)strtol(line + strlen("mnt_id:"), NULL, 10)
		                                : -1 };
	rc = proc_mounts(match_mount, ret);
	return rc < 0 ? err_sys(err, -rc, "read mounts") : 0;
}

static void raise_root_propagation(struct build *build, const char *to)
{
	if (!streq(spec_get_str(&build->spec, "linux.rootfsPropagation", ""), "rshared"))
		spec_set_str(&build->spec, "linux.rootfsPropagation", to);
}

static int add_propagation(struct build *build, const cri_Mount *mount, struct wanted *item,
                           struct err *err)
{
	struct propagation propagation = { 0 };

	switch (mount->propagation) {
	case cri_MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		if (propagation_of(item->source, &propagation, err) < 0)
			return -1;
		if (!propagation.shared && !propagation.slave)
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				"propagation: %s is not on a shared or slave mount, nothing would arrive",
				item->source);
		option(&item->options, "rslave");
		raise_root_propagation(build, "rslave");
		return 0;
	case cri_MountPropagation_PROPAGATION_BIDIRECTIONAL:
		if (propagation_of(item->source, &propagation, err) < 0)
			return -1;
		if (!propagation.shared)
			return err_set(
				err, CODE_FAILED_PRECONDITION,
				"propagation: %s is not on a shared mount, nothing would leave",
				item->source);
		option(&item->options, "rshared");
		raise_root_propagation(build, "rshared");
		return 0;
	case cri_MountPropagation_PROPAGATION_PRIVATE:
		break;
	}
	option(&item->options, "rprivate");
	return 0;
}

static int add_access(const struct build *build, const cri_Mount *mount, struct wanted *item,
                      struct err *err)
{
	if (!mount->recursive_read_only) {
		option(&item->options, mount->readonly ? "ro" : "rw");
		return 0;
	}
	if (!mount->readonly)
		return err_set(err, CODE_INVALID_ARGUMENT, "recursive_read_only: needs readonly");
	if (mount->propagation != cri_MountPropagation_PROPAGATION_PRIVATE)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "recursive_read_only: needs propagation PRIVATE");
	if (runtime_require(build->in->runtime, RUNTIME_RRO, err) < 0)
		return err_wrap(
			err,
			"recursive_read_only: RROUnsupported"); /* the word that clients look for */
	option(&item->options, "rro");
	return 0;
}

static int add_options(const cri_Mount *mount, struct wanted *item, struct err *err)
{
	static const char *const known[] = { "noexec", "nodev", "nosuid" };

	for (size_t k = 0; k < ARRAY_SIZE(known); k++)
		for (size_t i = 0; i < mount->mount_options_count; i++)
			if (streq(or_empty(mount->mount_options[i]), known[k])) {
				option(&item->options, known[k]);
				break;
			}
	for (size_t i = 0; i < mount->mount_options_count; i++) {
		bool found = false;

		for (size_t k = 0; k < ARRAY_SIZE(known); k++)
			found |= streq(or_empty(mount->mount_options[i]), known[k]);
		if (!found)
			return err_set(
				err, CODE_INVALID_ARGUMENT,
				"mount_options[%zu]: \"%.60s\" is not noexec, nodev or nosuid", i,
				or_empty(mount->mount_options[i]));
	}
	return 0;
}

static struct id_map *copy_maps(const cri_IDMapping *maps, size_t count)
{
	struct id_map *copy = xcalloc(count, sizeof(*copy));

	for (size_t i = 0; i < count; i++)
		copy[i] = (struct id_map){ .inside = maps[i].container_id,
			                   .outside = maps[i].host_id,
			                   .count = maps[i].length };
	return copy;
}

static int add_id_maps(const struct build *build, const cri_Mount *mount, struct wanted *item,
                       struct err *err)
{
	const bool has_uids = mount->uidMappings_count, has_gids = mount->gidMappings_count;
	const char *field = has_uids ? "uidMappings" : "gidMappings";

	if (!has_uids && !has_gids)
		return 0;
	if (has_uids != has_gids)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: uidMappings and gidMappings go together", field);
	/* a runtime that does not know them leaves them out without a word */
	if (runtime_require(build->in->runtime, RUNTIME_IDMAP, err) < 0)
		return err_wrap(err, "%s", field);
	item->uid_maps = copy_maps(mount->uidMappings, mount->uidMappings_count);
	item->nuid_maps = mount->uidMappings_count;
	item->gid_maps = copy_maps(mount->gidMappings, mount->gidMappings_count);
	item->ngid_maps = mount->gidMappings_count;
	return 0;
}

/* Where it is on the host, symlinks resolved; what is missing becomes a directory, as with the peers. */
static int resolve_source(const char *path, char **ret, struct err *err)
{
	cleanup_free char *real = NULL;
	int rc;

	if (path[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "host_path: \"%.100s\" is not an absolute path", path);
	real = realpath(path, NULL);
	if (!real && errno == ENOENT) {
		rc = fsx_mkdir_p(path, 0755);
		if (rc < 0)
			return err_sys(err, -rc, "host_path: create %s", path);
		real = realpath(path, NULL);
	}
	if (!real)
		return err_sys(err, errno, "host_path: %s", path);
	if (!str_utf8_valid(str_of(real)))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "host_path: %s leads to a name that is not UTF-8", path);
	*ret = take_ptr(real);
	return 0;
}

static int add_request_mount(struct build *build, const cri_Mount *mount, struct wanted_list *list,
                             struct err *err)
{
	cleanup_free char *destination = NULL;
	cleanup_free char *source = NULL;
	struct wanted *item;

	if (or_empty(mount->container_path)[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "container_path: \"%.100s\" is not an absolute path",
		               or_empty(mount->container_path));
	if (mount->has_image)
		return err_set(err, CODE_UNIMPLEMENTED,
		               "image: \"%.100s\": images cannot be mounted as volumes",
		               or_empty(mount->image.image));
	destination = spec_path_clean(mount->container_path);
	if (streq(destination, "/"))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "container_path: the root cannot be mounted over");
	if (resolve_source(or_empty(mount->host_path), &source, err) < 0)
		return -1;
	item = append(list, take_ptr(destination), take_ptr(source));
	if (add_propagation(build, mount, item, err) < 0 ||
	    add_access(build, mount, item, err) < 0 || add_options(mount, item, err) < 0)
		return -1;
	return add_id_maps(build, mount, item, err);
}

/* ----------------------------------------------------------------------------------------------- pod and image mounts */

static void add_bind(struct wanted_list *list, const char *destination, const char *source,
                     bool readonly)
{
	struct wanted *item = append(list, xstrdup(destination), xstrdup(source));

	option(&item->options, "rprivate");
	option(&item->options, readonly ? "ro" : "rw");
}

/* The pod's own files belong to its root, whoever that is on the host: an idmapped mount would need a runtime and a file system
 * that can, a changed owner needs neither. */
static int add_pod_file(struct build *build, const char *name, const char *destination,
                        bool readonly, struct wanted_list *list, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", build->in->sandbox_dir, name);

	if (find(list, destination) || !fsx_exists(path))
		return 0;
	if (build->userns && lchown(path, build_root_uid(build), build_root_gid(build)) < 0)
		return err_sys(err, errno, "chown %s", path);
	add_bind(list, destination, path, readonly);
	return 0;
}

static int add_pod_mounts(struct build *build, struct wanted_list *list, struct err *err)
{
	const bool readonly = build->security->readonly_rootfs;
	const bool host_ipc = build->host_ipc;
	cleanup_free char *shm =
		host_ipc ? xstrdup("/dev/shm") : xasprintf("%s/shm", build->in->sandbox_dir);

	if (add_pod_file(build, "hostname", "/etc/hostname", readonly, list, err) < 0 ||
	    add_pod_file(build, "hosts", "/etc/hosts", readonly, list, err) < 0 ||
	    add_pod_file(build, "resolv.conf", "/etc/resolv.conf", readonly, list, err) < 0)
		return -1;
	if (find(list, "/dev/shm"))
		return 0;
	if (!fsx_is_dir(shm))
		return err_set(err, CODE_FAILED_PRECONDITION, "%s is gone", shm);
	add_bind(list, "/dev/shm", shm, false);
	return 0;
}

static int add_volumes(struct build *build, struct wanted_list *list, struct err *err)
{
	for (char **volume = build->image.volumes; *volume; volume++) {
		cleanup_free char *destination = spec_path_clean(*volume);
		cleanup_free char *source = NULL;

		if (streq(destination, "/"))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "image config: config.Volumes: \"%.60s\" is the root",
			               *volume);
		if (find(list, destination))
			continue;
		if (volume_prepare(&(struct volume_args){ .container_dir = build->in->container_dir,
		                                          .rootfs = build->in->rootfs,
		                                          .path = destination,
		                                          .uid = build_root_uid(build),
		                                          .gid = build_root_gid(build) },
		                   &source, err) < 0)
			return err_wrap(err, "image volume %s", destination);
		add_bind(list, destination, source, false);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------------------ whole */

static int by_depth(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* A /dev of the request's own is whole: no default reappears below it. */
static void drop_defaults_below_dev(struct build *build)
{
	spec_mount_unset(&build->spec, "/dev/pts");
	spec_mount_unset(&build->spec, "/dev/mqueue");
}

int build_mounts(struct build *build, struct err *err)
{
	cleanup(wanted_list_release) struct wanted_list list = { 0 };

	for (size_t i = 0; i < build->config->mounts_count; i++)
		if (add_request_mount(build, &build->config->mounts[i], &list, err) < 0)
			return err_wrap(err, "config.mounts[%zu]", i);
	if (add_pod_mounts(build, &list, err) < 0 || add_volumes(build, &list, err) < 0)
		return -1;

	add_defaults(build);
	if (find(&list, "/dev"))
		drop_defaults_below_dev(build);
	for (size_t i = 0; i < list.count; i++)
		spec_mount_unset(&build->spec, list.items[i].destination);
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), by_depth);
	for (size_t i = 0; i < list.count; i++) {
		const struct wanted *item = &list.items[i];

		spec_mount_add(&build->spec, &(struct spec_mount){ .destination = item->destination,
		                                                   .type = "bind",
		                                                   .source = item->source,
		                                                   .options = item->options.words,
		                                                   .noptions = item->options.count,
		                                                   .uid_maps = item->uid_maps,
		                                                   .nuid_maps = item->nuid_maps,
		                                                   .gid_maps = item->gid_maps,
		                                                   .ngid_maps = item->ngid_maps });
	}
	return 0;
}
