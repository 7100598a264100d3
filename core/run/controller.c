/* core/run/controller.c */
#include "core/run/controller.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/sha256.h"
#include "core/base/str.h"

#define PAUSE_FILE   "pause"
#define DIGEST_CHARS 16 /* enough to tell the versions of one program apart */

/* ----------------------------------------------------------------------------------------------------- the OCI spec */

static yyjson_mut_val *add_strings(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                                   const char *const *words, size_t count)
{
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(doc, obj, key);

	for (size_t i = 0; i < count; i++)
		yyjson_mut_arr_add_str(doc, array, words[i]);
	return array;
}

static void add_process(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct pause_spec *args)
{
	static const char *const sets[] = { "bounding", "effective", "inheritable", "permitted",
		                            "ambient" };
	static const char *const argv[] = { "/" PAUSE_FILE };
	yyjson_mut_val *process = yyjson_mut_obj_add_obj(doc, root, "process");
	yyjson_mut_val *user = yyjson_mut_obj_add_obj(doc, process, "user");
	yyjson_mut_val *caps;

	yyjson_mut_obj_add_int(doc, user, "uid", 0);
	yyjson_mut_obj_add_int(doc, user, "gid", 0);
	yyjson_mut_obj_add_bool(doc, process, "terminal", false);
	add_strings(doc, process, "args", argv, ARRAY_SIZE(argv));
	add_strings(doc, process, "env", NULL, 0);
	yyjson_mut_obj_add_str(doc, process, "cwd", "/");
	caps = yyjson_mut_obj_add_obj(doc, process, "capabilities");
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
		add_strings(doc, caps, sets[i], NULL, 0);
	yyjson_mut_obj_add_bool(doc, process, "noNewPrivileges", true);
	if (args->set_oom_score_adj)
		yyjson_mut_obj_add_int(doc, process, "oomScoreAdj", args->oom_score_adj);
}

static void add_mount(yyjson_mut_doc *doc, yyjson_mut_val *mounts, const char *target,
                      const char *type, const char *const *options, size_t noptions)
{
	yyjson_mut_val *mount = yyjson_mut_arr_add_obj(doc, mounts);

	yyjson_mut_obj_add_str(doc, mount, "destination", target);
	yyjson_mut_obj_add_str(doc, mount, "type", type);
	yyjson_mut_obj_add_str(doc, mount, "source", type);
	add_strings(doc, mount, "options", options, noptions);
}

static void add_namespace(yyjson_mut_doc *doc, yyjson_mut_val *array, const char *type,
                          const char *path)
{
	yyjson_mut_val *ns = yyjson_mut_arr_add_obj(doc, array);

	yyjson_mut_obj_add_str(doc, ns, "type", type);
	if (path)
		yyjson_mut_obj_add_str(doc, ns, "path", path);
}

static void add_maps(yyjson_mut_doc *doc, yyjson_mut_val *linux_obj, const char *key,
                     const struct id_map *maps, size_t count)
{
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(doc, linux_obj, key);

	for (size_t i = 0; i < count; i++) {
		yyjson_mut_val *map = yyjson_mut_arr_add_obj(doc, array);

		yyjson_mut_obj_add_uint(doc, map, "containerID", maps[i].inside);
		yyjson_mut_obj_add_uint(doc, map, "hostID", maps[i].outside);
		yyjson_mut_obj_add_uint(doc, map, "size", maps[i].count);
	}
}

static void add_linux(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct pause_spec *args)
{
	static const char *const oci_types[NAMESPACE_KINDS] = {
		[NAMESPACE_NET] = "network",
		[NAMESPACE_IPC] = "ipc",
		[NAMESPACE_UTS] = "uts",
		[NAMESPACE_USER] = "user",
	};
	static const char *const masked[] = { "/proc/kcore", "/proc/keys", "/proc/timer_list",
		                              "/proc/sched_debug" };
	static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
		                                "/proc/sysrq-trigger" };
	yyjson_mut_val *linux_obj = yyjson_mut_obj_add_obj(doc, root, "linux");
	yyjson_mut_val *namespaces = yyjson_mut_obj_add_arr(doc, linux_obj, "namespaces");
	yyjson_mut_val *resources, *devices, *rule, *cpu;

	add_namespace(doc, namespaces, "mount", NULL);
	if (!args->host_pid)
		add_namespace(doc, namespaces, "pid", NULL);
	for (int k = 0; k < NAMESPACE_KINDS; k++)
		if (args->pinned->path[k][0])
			add_namespace(doc, namespaces, oci_types[k], args->pinned->path[k]);
	if (args->pinned->path[NAMESPACE_USER][0]) {
		add_maps(doc, linux_obj, "uidMappings", args->uid_maps, args->nuid_maps);
		add_maps(doc, linux_obj, "gidMappings", args->gid_maps, args->ngid_maps);
	}
	if (args->cgroups_path)
		yyjson_mut_obj_add_str(doc, linux_obj, "cgroupsPath", args->cgroups_path);

	resources = yyjson_mut_obj_add_obj(doc, linux_obj, "resources");
	devices = yyjson_mut_obj_add_arr(doc, resources, "devices");
	rule = yyjson_mut_arr_add_obj(doc, devices);
	yyjson_mut_obj_add_bool(doc, rule, "allow", false);
	yyjson_mut_obj_add_str(doc, rule, "access", "rwm");
	cpu = yyjson_mut_obj_add_obj(doc, resources, "cpu");
	yyjson_mut_obj_add_int(doc, cpu, "shares", PAUSE_CPU_SHARES);
	add_strings(doc, linux_obj, "maskedPaths", masked, ARRAY_SIZE(masked));
	add_strings(doc, linux_obj, "readonlyPaths", readonly, ARRAY_SIZE(readonly));
}

static char *pause_spec_json(const struct pause_spec *args, size_t *ret_len, struct err *err)
{
	static const char *const proc[] = { "nosuid", "noexec", "nodev" };
	static const char *const dev[] = { "nosuid", "noexec", "mode=755", "size=65536" };
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root, *mounts, *rootfs;
	char *text;

	ensure(args->rootfs && args->pinned);
	root = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_str(doc, root, "ociVersion", "1.0.2");
	add_process(doc, root, args);
	rootfs = yyjson_mut_obj_add_obj(doc, root, "root");
	yyjson_mut_obj_add_str(doc, rootfs, "path", args->rootfs);
	yyjson_mut_obj_add_bool(doc, rootfs, "readonly", true);
	mounts = yyjson_mut_obj_add_arr(doc, root, "mounts");
	/* Without a PID namespace of its own (and of the pod's user namespace) a fresh proc may not be mounted; the runtimes
	 * need one, so the host's is bound. */
	if (args->host_pid) {
		static const char *const bind[] = { "rbind", "nosuid", "noexec", "nodev", "ro" };
		yyjson_mut_val *mount = yyjson_mut_arr_add_obj(doc, mounts);

		yyjson_mut_obj_add_str(doc, mount, "destination", "/proc");
		yyjson_mut_obj_add_str(doc, mount, "type", "bind");
		yyjson_mut_obj_add_str(doc, mount, "source", "/proc");
		add_strings(doc, mount, "options", bind, ARRAY_SIZE(bind));
	} else {
		add_mount(doc, mounts, "/proc", "proc", proc, ARRAY_SIZE(proc));
	}
	add_mount(doc, mounts, "/dev", "tmpfs", dev, ARRAY_SIZE(dev));
	add_linux(doc, root, args);

	text = json_write(doc, false, ret_len);
	if (!text)
		err_set(err, CODE_RESOURCE_EXHAUSTED, "no memory for the pause container's spec");
	return text;
}

/* ---------------------------------------------------------------------------------------------------------- table */

const struct sandbox_ops sandbox_ops_pinned = { .name = "pinned" };
const struct sandbox_ops sandbox_ops_pause = { .name = "pause",
	                                       .has_container = true,
	                                       .spec = pause_spec_json };

static const struct sandbox_ops *const controllers[] = { &sandbox_ops_pinned, &sandbox_ops_pause };

const struct sandbox_ops *controller_find(const char *name)
{
	if (!name || !name[0])
		return &sandbox_ops_pinned;
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
		if (streq(name, controllers[i]->name))
			return controllers[i];
	return NULL;
}

const struct sandbox_ops *controller_choose(const char *handler_key, enum pid_mode mode,
                                            struct err *err)
{
	const struct sandbox_ops *ops = controller_find(handler_key);

	if (!ops) {
		err_set(err, CODE_FAILED_PRECONDITION,
		        "sandbox controller \"%.60s\": there are \"pinned\" and \"pause\"",
		        handler_key);
		return NULL;
	}
	return mode == PID_MODE_POD ? &sandbox_ops_pause : ops;
}

/* ------------------------------------------------------------------------------------------------- the root's files */

static void digest_hex(const void *data, size_t len, char ret[ID_SIZE])
{
	uint8_t digest[SHA256_SIZE];
	struct sha256 ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, data, len);
	sha256_final(&ctx, digest);
	hex_encode(digest, sizeof(digest), ret);
}

void pause_container_id(const char *sandbox_id, char ret_id[ID_SIZE])
{
	cleanup_free char *text = xasprintf("pause of %s", sandbox_id);

	digest_hex(text, strlen(text), ret_id);
}

/* Is the program there, byte for byte, and executable? A power cut may have left less. */
static bool is_whole(const char *path, const void *elf, size_t elf_len)
{
	cleanup_free char *text = NULL;
	struct stat st;
	size_t len;

	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0555 &&
	       st.st_uid == 0 && (size_t)st.st_size == elf_len &&
	       fsx_read(AT_FDCWD, path, elf_len, &text, &len) >= 0 && len == elf_len &&
	       memcmp(text, elf, len) == 0;
}

int pause_prepare(const char *dir, const void *elf, size_t elf_len, char **ret_rootfs,
                  struct err *err)
{
	static const char *const mount_points[] = { "proc", "dev" };
	cleanup_free char *rootfs = NULL, *file = NULL;
	char hex[ID_SIZE];
	int rc;

	if (elf_len == 0)
		return err_set(err, CODE_UNIMPLEMENTED, "this build has no pause program");
	digest_hex(elf, elf_len, hex);
	rootfs = xasprintf("%s/%.*s", dir, DIGEST_CHARS, hex);
	file = xasprintf("%s/" PAUSE_FILE, rootfs);
	for (size_t i = 0; i < ARRAY_SIZE(mount_points); i++) {
		cleanup_free char *point = xasprintf("%s/%s", rootfs, mount_points[i]);

		rc = fsx_mkdir_p(point, 0755);
		if (rc < 0)
			return err_sys(err, -rc, "create %s", point);
	}
	if (!is_whole(file, elf, elf_len)) {
		rc = fsx_write(AT_FDCWD, file, elf, elf_len, 0555);
		if (rc < 0)
			return err_sys(err, -rc, "write %s", file);
	}
	*ret_rootfs = take_ptr(rootfs);
	return 0;
}
