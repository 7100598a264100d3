/* cri/spec/devices.c
 *
 * Device nodes and the cgroup rules that go with them. The usual ones (null, zero, tty, ...) come from the OCI runtime.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/spec/build.h"

#define DEPTH_MAX   8
#define DEVICES_MAX 4096

struct walk {
	struct build *build;
	const char *access; /* NULL: no rule for each, all are allowed already */
	size_t count;
};

/* Nodes that the container gets on its own, or that are not devices at all. */
static bool is_skipped_directory(const char *name)
{
	static const char *const names[] = { "pts",  "shm",         "fd",   "mqueue",
		                             ".lxc", ".lxd-mounts", ".udev" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(name, names[i]))
			return true;
	return false;
}

static int add_device(struct walk *walk, const char *path, const struct stat *st, struct err *err)
{
	const bool block = S_ISBLK(st->st_mode);
	const struct spec_device device = {
		.path = path,
		.type = block ? 'b' : 'c',
		.major = major(st->st_rdev),
		.minor = minor(st->st_rdev),
		.has_mode = true,
		.mode = st->st_mode & 07777,
		.has_owner = true,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};

	if (++walk->count > DEVICES_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "more than %d devices", DEVICES_MAX);
	spec_device_set(&walk->build->spec, &device);
	if (walk->access)
		spec_device_rule_add(&walk->build->spec, true, device.type, device.major,
		                     device.minor, walk->access);
	return 0;
}

/* Every device below @host, under the same name below @inside. What cannot be read or is none of them is passed over. */
static int add_directory(struct walk *walk, const char *host, const char *inside, int depth,
                         struct err *err)
{
	cleanup(strv_free) char **names = NULL;

	if (fsx_list(AT_FDCWD, host, &names) < 0 || depth == DEPTH_MAX)
		return 0;
	for (char **name = names; *name; name++) {
		cleanup_free char *from = xasprintf("%s/%s", host, *name);
		cleanup_free char *to = xasprintf("%s/%s", inside, *name);
		struct stat st;

		if (lstat(from, &st) < 0 || !str_utf8_valid(str_of(to)))
			continue;
		if (S_ISDIR(st.st_mode)) {
			if (!is_skipped_directory(*name) &&
			    add_directory(walk, from, to, depth + 1, err) < 0)
				return -1;
		} else if ((S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) &&
		           !streq(*name, "console")) {
			if (add_device(walk, to, &st, err) < 0)
				return -1;
		}
	}
	return 0;
}

static int add_request_device(struct build *build, const cri_Device *device, struct err *err)
{
	const char *access = or_empty(device->permissions);
	struct walk walk = { .build = build, .access = access[0] ? access : "rwm" };
	cleanup_free char *host = NULL;
	cleanup_free char *inside = NULL;
	struct stat st;

	if (access[strspn(access, "rwm")])
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "permissions: \"%.20s\" has other letters than r, w and m", access);
	if (or_empty(device->host_path)[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "host_path: \"%.100s\" is not an absolute path",
		               or_empty(device->host_path));
	if (or_empty(device->container_path)[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "container_path: \"%.100s\" is not an absolute path",
		               or_empty(device->container_path));
	inside = spec_path_clean(device->container_path);
	host = realpath(device->host_path, NULL);
	if (!host || lstat(host, &st) < 0)
		return err_sys(err, errno, "host_path: %s", device->host_path);
	if (S_ISDIR(st.st_mode))
		return add_directory(&walk, host, streq(inside, "/") ? "" : inside, 0, err);
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, CODE_INVALID_ARGUMENT, "host_path: %s is not a device",
		               device->host_path);
	return add_device(&walk, inside, &st, err);
}

int build_devices(struct build *build, struct err *err)
{
	spec_device_rule_add(&build->spec, false, 0, -1, -1, "rwm");
	if (build->security->privileged) {
		struct walk walk = { .build = build };

		if (add_directory(&walk, "/dev", "/dev", 0, err) < 0)
			return err_wrap(err, SECURITY_FIELD ".privileged");
		spec_device_rule_add(&build->spec, true, 0, -1, -1, "rwm");
	}
	for (size_t i = 0; i < build->config->devices_count; i++)
		if (add_request_device(build, &build->config->devices[i], err) < 0)
			return err_wrap(err, "config.devices[%zu]", i);
	return 0;
}
