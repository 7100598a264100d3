/* core/image/overlay.c
 *
 * Two ways to mount, tried in this order:
 *
 *   fsopen, one "lowerdir+" per layer   kernel >= 6.7: no limit but overlayfs's own (500 layers)
 *   mount(2) with short symlinks	 one page of options: the layers are called "0", "1", ... in the working directory
 *
 * fsconfig() takes at most 255 bytes per string, so paths are relative to <root>/layers when the store's path is long.
 *
 * A user namespace: the lower layers appear through a detached, idmapped copy of the mount that holds them, reached as
 * /proc/self/fd/N. The upper directory holds host ids as they are; its root belongs to the namespace's root.
 */
#include "core/image/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/image/blob.h"
#include "core/image/tree.h"

/* sys/mount.h and linux/mount.h do not get along; these few come from the former. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data);
int umount2(const char *target, int flags);
#define DETACH        2 /* MNT_DETACH */
#define NOFOLLOW      8 /* UMOUNT_NOFOLLOW */
#define FSCONFIG_TEXT 255

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif

struct overlay_plan {
	char *root, *id, *target;
	char *layers_dir;    /* <root>/layers */
	char *snapshots_dir; /* <root>/snapshots */
	char *snapshot;      /* <root>/snapshots/<id> */
	char *upper, *work;  /* absolute */
	char **lowers;       /* "<hex>/fs", base first */
	char **metas;        /* "<hex>/meta" */
	char **mapped;       /* with a user namespace: room for "/proc/self/fd/N/<hex>/fs" */
	char **absolute;     /* "<root>/layers/<hex>/fs" */
	char *options;       /* room for the options of mount(2) */
	size_t nlayers;
	bool read_only, force_mount2;
	char *userns;  /* NULL: none */
	int userns_fd; /* in the child */
	uint32_t owner_uid, owner_gid;
};

#define PROC_FD_MAX 32
#define OPTIONS_MAX 4096

char *overlay_upper_path(const char *root, const char *id)
{
	return xasprintf("%s/snapshots/%s/upper", root, id);
}

char *overlay_layer_path(const char *root, const char *key)
{
	return xasprintf("%s/layers/%s/fs", root,
	                 starts_with(key, "sha256:") ? key + strlen("sha256:") : key);
}

int layer_meta_format(const struct layer_meta *meta, char *text, size_t size)
{
	int n = snprintf(text, size, "size %llu\ninodes %llu\nroot %d\n",
	                 (unsigned long long)meta->size_bytes, (unsigned long long)meta->inodes,
	                 meta->has_root);

	return n >= 0 && (size_t)n < size ? n : -1;
}

static int meta_line(struct str *rest, const char *key, uint64_t max, uint64_t *ret)
{
	struct str line, word, value;

	if (!str_cut(*rest, '\n', &line, rest) || !str_cut(line, ' ', &word, &value) ||
	    !str_eq_c(word, key))
		return -1;
	return str_u64(value, max, ret);
}

int layer_meta_parse(const char *text, size_t len, struct layer_meta *ret)
{
	struct str rest = { text, len };
	struct layer_meta meta;
	uint64_t root;

	if (meta_line(&rest, "size", UINT64_MAX, &meta.size_bytes) < 0 ||
	    meta_line(&rest, "inodes", UINT64_MAX, &meta.inodes) < 0 ||
	    meta_line(&rest, "root", 1, &root) < 0 || rest.len)
		return -1;
	meta.has_root = root != 0;
	*ret = meta;
	return 0;
}

/* --- the plan */

static bool id_is_valid(const char *id)
{
	size_t len = strlen(id);

	return len > 0 && len <= 128 && id[0] != '.' &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
	               len;
}

/* These would need escaping in an option string, and a store there is nobody's wish. */
static bool path_is_plain(const char *path)
{
	return path[0] == '/' && !strpbrk(path, ":,\\\n");
}

struct overlay_plan *overlay_plan_new(const struct overlay_args *args, struct err *err)
{
	cleanup(overlay_plan_free) struct overlay_plan *plan = NULL;
	size_t n = strv_len(args->layers);

	if (!path_is_plain(args->root) || args->target[0] != '/') {
		err_set(err, CODE_INVALID_ARGUMENT,
		        "store %s: not an absolute path without : , and \\", args->root);
		return NULL;
	}
	if (!id_is_valid(args->id)) {
		err_set(err, CODE_INVALID_ARGUMENT, "snapshot id \"%.80s\"", args->id);
		return NULL;
	}
	if (n > OVERLAY_LAYERS_MAX) {
		err_set(err, CODE_INVALID_ARGUMENT, "%zu layers, overlayfs stacks at most %d", n,
		        OVERLAY_LAYERS_MAX);
		return NULL;
	}
	plan = xcalloc(1, sizeof(*plan));
	plan->userns_fd = -1;
	plan->root = xstrdup(args->root);
	plan->id = xstrdup(args->id);
	plan->target = xstrdup(args->target);
	plan->layers_dir = xasprintf("%s/layers", args->root);
	plan->snapshots_dir = xasprintf("%s/snapshots", args->root);
	plan->snapshot = xasprintf("%s/snapshots/%s", args->root, args->id);
	plan->upper = overlay_upper_path(args->root, args->id);
	plan->work = xasprintf("%s/work", plan->snapshot);
	plan->lowers = xcalloc(n + 1, sizeof(*plan->lowers));
	plan->metas = xcalloc(n + 1, sizeof(*plan->metas));
	plan->mapped = xcalloc(n + 1, sizeof(*plan->mapped));
	plan->absolute = xcalloc(n + 1, sizeof(*plan->absolute));
	plan->options = xcalloc(1, OPTIONS_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *hex = args->layers[i] + strlen("sha256:");

		if (!layer_key_is_valid(args->layers[i])) {
			err_set(err, CODE_INVALID_ARGUMENT, "layer \"%.80s\"", args->layers[i]);
			return NULL;
		}
		plan->lowers[i] = xasprintf("%s/fs", hex);
		plan->metas[i] = xasprintf("%s/meta", hex);
		plan->mapped[i] = xcalloc(1, PROC_FD_MAX + strlen(plan->lowers[i]) + 1);
		plan->absolute[i] = overlay_layer_path(args->root, args->layers[i]);
	}
	plan->nlayers = n;
	plan->read_only = args->read_only;
	plan->force_mount2 = args->force_mount2;
	plan->owner_uid = args->owner_uid;
	plan->owner_gid = args->owner_gid;
	plan->userns = xstrdup(args->userns);
	return take_ptr(plan);
}

void overlay_plan_free(struct overlay_plan *plan)
{
	if (!plan)
		return;
	free(plan->userns);
	strv_free(plan->lowers);
	strv_free(plan->metas);
	strv_free(plan->mapped);
	strv_free(plan->absolute);
	free(plan->options);
	free(plan->root);
	free(plan->id);
	free(plan->target);
	free(plan->layers_dir);
	free(plan->snapshots_dir);
	free(plan->snapshot);
	free(plan->upper);
	free(plan->work);
	free(plan);
}

/* --- in the child: no allocation, no stdio; the reason goes to stderr */

static int fail(int sys, const char *what, const char *path)
{
	const char *const parts[] = { what, " ", path, ": ", errno_name(sys), "\n" };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		ignore(write_full(STDERR_FILENO, parts[i],
		                  strlen(parts[i]))); /* nowhere else to say it */
	return -1;
}

static bool is_mounted(const char *path)
{
	struct statx stx;

	/* AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW; the attribute is older than any kernel with openat2 and overlay in namespaces */
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stx) < 0)
		return false;
	return stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int make_dir(const char *path, mode_t mode)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return fail(errno, "make directory", path);
	return 0;
}

/* Attributes of "/" in the image: those of the top-most layer that says something about it. */
static int image_root(const struct overlay_plan *plan, int layers, struct stat *ret)
{
	for (size_t i = plan->nlayers; i > 0; i--) {
		struct layer_meta meta;
		char text[256];
		cleanup_close int fd = openat(layers, plan->metas[i - 1], O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -errno : read_full(fd, text, sizeof(text));

		if (n < 0)
			return fail((int)-n, "read", plan->absolute[i - 1]);
		if (layer_meta_parse(text, (size_t)n, &meta) < 0)
			return fail(EINVAL, "damaged meta of", plan->absolute[i - 1]);
		if (!meta.has_root)
			continue;
		if (fstatat(layers, plan->lowers[i - 1], ret, AT_SYMLINK_NOFOLLOW) < 0)
			return fail(errno, "look up", plan->absolute[i - 1]);
		return 0;
	}
	*ret = (struct stat){ .st_mode = S_IFDIR | 0755 };
	return 0;
}

static int make_upper(const struct overlay_plan *plan, int layers)
{
	struct stat st = { 0 };

	if (make_dir(plan->snapshot, 0700) < 0)
		return -1;
	if (mkdir(plan->upper, 0700) < 0) {
		if (errno != EEXIST)
			return fail(errno, "make directory", plan->upper);
		if (access(plan->work, F_OK) == 0)
			return 0; /* complete: work is made last */
	}
	if (image_root(plan, layers, &st) < 0)
		return -1;
	if (lchown(plan->upper, plan->owner_uid + st.st_uid, plan->owner_gid + st.st_gid) < 0)
		return fail(errno, "change owner of", plan->upper);
	if (chmod(plan->upper, st.st_mode & 07777) < 0)
		return fail(errno, "change mode of", plan->upper);
	return make_dir(plan->work, 0700);
}

/* A detached copy of the mount at <root>/layers (or one layer of it) with the ids of the user namespace. */
static int clone_tree(const struct overlay_plan *plan, const char *path, bool read_only)
{
	struct mount_attr attr = { .attr_set = read_only ? MOUNT_ATTR_RDONLY : 0 };
	int fd = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), rc;

	if (fd < 0)
		return fail(-fd, "clone mount of", path);
	if (plan->userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)plan->userns_fd;
	}
	rc = attr.attr_set ? sys_mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) : 0;
	if (rc < 0) {
		close(fd);
		return fail(-rc, "the file system of the image store cannot map ids:", path);
	}
	return fd;
}

static int attach(int tree, const char *target)
{
	int rc = sys_move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);

	return rc < 0 ? fail(-rc, "mount on", target) : 0;
}

/* Nothing to stack: the one directory itself. */
static int mount_single(const struct overlay_plan *plan, const char *path, bool map)
{
	struct overlay_plan plain = *plan;
	cleanup_close int tree = -1;

	if (!map)
		plain.userns_fd = -1;
	tree = clone_tree(&plain, path, plan->read_only);
	return tree < 0 ? -1 : attach(tree, plan->target);
}

/* Where overlayfs finds layer @i, in at most FSCONFIG_TEXT bytes; the working directory is <root>/layers. */
static const char *lower_name(const struct overlay_plan *plan, size_t i)
{
	if (plan->userns_fd >= 0)
		return plan->mapped[i];
	return strlen(plan->absolute[i]) <= FSCONFIG_TEXT ? plan->absolute[i] : plan->lowers[i];
}

static int set_text(int fs, const char *key, const char *value)
{
	return sys_fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int set_upper(const struct overlay_plan *plan, int fs)
{
	char path[256];
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++) {
		const char *full = i ? plan->work : plan->upper;

		if (strlen(full) <= FSCONFIG_TEXT)
			ignore(str_copy(path, sizeof(path), full)); /* fits */
		else if (str_format(path, sizeof(path), "../snapshots/%s/%s", plan->id,
		                    i ? "work" : "upper") < 0)
			return -ENAMETOOLONG;
		rc = set_text(fs, i ? "workdir" : "upperdir", path);
	}
	return rc;
}

/* 0, -1 after fail(), or 1: this kernel has no "lowerdir+". */
static int mount_new_api(const struct overlay_plan *plan)
{
	cleanup_close int fs = sys_fsopen("overlay", FSOPEN_CLOEXEC);
	cleanup_close int tree = -1;
	int rc;

	if (fs == -ENOSYS || fs == -ENODEV)
		return 1;
	if (fs < 0)
		return fail(-fs, "open file system", "overlay");
	rc = set_text(fs, "source", "coracle");
	for (size_t i = plan->nlayers; rc == 0 && i > 0; i--) {
		rc = set_text(fs, "lowerdir+", lower_name(plan, i - 1));
		if (rc == -EINVAL && i == plan->nlayers)
			return 1;
		if (rc < 0)
			return fail(-rc, "add layer", plan->absolute[i - 1]);
	}
	if (rc == 0 && !plan->read_only)
		rc = set_upper(plan, fs);
	if (rc < 0)
		return fail(-rc, "set up overlay for", plan->target);
	/* Where it exists, a lower layer may be shared by any number of mounts only without the index. */
	ignore(set_text(fs, "index", "off"));
	rc = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (rc < 0)
		return fail(-rc, "create overlay for", plan->target);
	tree = sys_fsmount(fs, FSMOUNT_CLOEXEC, plan->read_only ? MOUNT_ATTR_RDONLY : 0);
	if (tree < 0)
		return fail(-tree, "create mount for", plan->target);
	return attach(tree, plan->target);
}

/* The working directory becomes a fresh directory of symlinks "0".."n": top-most layer first. */
static int make_links(const struct overlay_plan *plan, char *path, size_t size)
{
	char name[16];

	if (make_dir(plan->snapshot, 0700) < 0)
		return -1;
	if (str_format(path, size, "%s/l", plan->snapshot) < 0)
		return fail(ENAMETOOLONG, "directory of links below", plan->snapshot);
	if (make_dir(path, 0700) < 0)
		return -1;
	if (chdir(path) < 0)
		return fail(errno, "enter", path);
	for (size_t i = 0; i < plan->nlayers; i++) {
		size_t from = plan->nlayers - 1 - i;
		const char *to = plan->userns_fd >= 0 ? plan->mapped[from] : plan->absolute[from];

		ignore(str_format(name, sizeof(name), "%zu", i)); /* fits */
		if ((unlink(name) < 0 && errno != ENOENT) || symlink(to, name) < 0)
			return fail(errno, "make link to", to);
	}
	return 0;
}

static void remove_links(const struct overlay_plan *plan)
{
	int fd = open(plan->snapshot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (chdir("/") < 0 || fd < 0)
		return;
	ignore(tree_remove(fd, "l")); /* it goes with the snapshot else */
	close(fd);
}

static int build_options(const struct overlay_plan *plan, bool index_off)
{
	size_t used = 0;
	int n;

	for (size_t i = 0; i < plan->nlayers; i++) {
		n = snprintf(plan->options + used, OPTIONS_MAX - used, "%s%zu",
		             i ? ":" : "lowerdir=", i);
		if (n < 0 || (size_t)n >= OPTIONS_MAX - used)
			return -1;
		used += (size_t)n;
	}
	n = snprintf(plan->options + used, OPTIONS_MAX - used, "%s%s",
	             plan->read_only ? "" : ",upperdir=../upper,workdir=../work",
	             index_off ? ",index=off" : "");
	return n < 0 || (size_t)n >= OPTIONS_MAX - used ? -1 : 0;
}

static int mount_old_api(const struct overlay_plan *plan)
{
	bool index_off = access("/sys/module/overlay/parameters/index", F_OK) == 0;
	char links[4096];
	int rc;

	if (make_links(plan, links, sizeof(links)) < 0)
		return -1;
	if (build_options(plan, index_off) < 0)
		return fail(ENAMETOOLONG, "overlay options for", plan->target);
	rc = mount("coracle", plan->target, "overlay", plan->read_only ? MS_RDONLY : 0,
	           plan->options);
	if (rc < 0)
		rc = fail(errno, "mount overlay on", plan->target);
	remove_links(plan);
	return rc;
}

static int mount_stack(const struct overlay_plan *plan)
{
	cleanup_close int tree = -1;
	int rc = 1;

	if (plan->userns_fd >= 0) {
		tree = clone_tree(plan, plan->layers_dir, true);
		if (tree < 0)
			return -1;
		for (size_t i = 0; i < plan->nlayers; i++)
			ignore(str_format(plan->mapped[i], PROC_FD_MAX + strlen(plan->lowers[i]),
			                  "/proc/self/fd/%d/%s", tree, plan->lowers[i])); /* fits */
	}
	if (!plan->force_mount2)
		rc = mount_new_api(plan);
	return rc == 1 ? mount_old_api(plan) : rc;
}

int overlay_mount_child(void *arg)
{
	struct overlay_plan *plan = arg;
	cleanup_close int layers = -1;

	umask(0);
	if (plan->userns) {
		plan->userns_fd = open(plan->userns, O_RDONLY | O_CLOEXEC);
		if (plan->userns_fd < 0)
			return -fail(errno, "open", plan->userns);
	}
	if (make_dir(plan->target, 0755) < 0)
		return 1;
	if (is_mounted(plan->target))
		return 0;
	layers = open(plan->layers_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layers < 0)
		return -fail(errno, "open", plan->layers_dir);
	if (fchdir(layers) < 0)
		return -fail(errno, "enter", plan->layers_dir);
	/* An image without layers has no lower directory to stack on: its writable directory is all there is. */
	if ((!plan->read_only || plan->nlayers == 0) && make_upper(plan, layers) < 0)
		return 1;
	if (plan->nlayers == 0)
		return -mount_single(plan, plan->upper, false);
	if (plan->read_only && plan->nlayers == 1)
		return -mount_single(plan, plan->absolute[0], true);
	return -mount_stack(plan);
}

static int unmount(const struct overlay_plan *plan)
{
	/* Mounts may have piled up on it; each round takes one off. */
	for (int i = 0; i < 64; i++) {
		if (umount2(plan->target, DETACH | NOFOLLOW) == 0)
			continue;
		if (errno == EINVAL || errno == ENOENT)
			return 0;
		return fail(errno, "unmount", plan->target);
	}
	return fail(EBUSY, "unmount", plan->target);
}

int overlay_unmount_child(void *arg)
{
	return -unmount(arg);
}

int overlay_remove_child(void *arg)
{
	const struct overlay_plan *plan = arg;
	cleanup_close int dir = -1;
	int rc;

	if (unmount(plan) < 0)
		return 1;
	if (rmdir(plan->target) < 0 && errno != ENOENT)
		return -fail(errno, "remove", plan->target);
	dir = open(plan->snapshots_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : -fail(errno, "open", plan->snapshots_dir);
	rc = tree_remove(dir, plan->id);
	return rc < 0 ? -fail(-rc, "remove", plan->snapshot) : 0;
}
