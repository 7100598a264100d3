/* cmd/check/check_storage.c: the two directories of the daemon, and whether overlayfs works on them. What is probed is
 * made in a private directory .check-XXXXXX, which goes again on every path. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#define NFS_MAGIC         0x6969
#define CIFS_MAGIC        0xff534d42
#define SMB2_MAGIC        0xfe534d42
#define NINE_P_MAGIC      0x01021997
#define FUSE_MAGIC        0x65735546
#define WARN_FREE_PERCENT 15 /* where kubelet begins to evict */
#define FAIL_FREE_PERCENT 5

/* The directory or the nearest one above it that exists: where it would be made. */
static char *existing(const struct check_ctx *ctx, const char *path)
{
	char *full = check_path(ctx, path), *slash;

	while (!fsx_exists(full) && (slash = strrchr(full, '/')) && slash > full)
		*slash = '\0';
	if (!fsx_exists(full))
		return free(full), xstrdup("/");
	return full;
}

static bool look_at_dir(const struct check_ctx *ctx, struct check_out *out, const char *path)
{
	cleanup_free char *full = check_path(ctx, path), *there = existing(ctx, path);
	struct stat st;

	if (stat(there, &st) < 0 || !S_ISDIR(st.st_mode)) {
		check_fail(out, path, "%s is no directory", there);
		return false;
	}
	if (!streq(full, there))
		return true; /* will be made */
	if (st.st_uid != 0 || (st.st_mode & 022)) {
		check_fail(
			out, path,
			"%s belongs to user %u and has mode %04o: others than root can change it",
			path, st.st_uid, st.st_mode & 07777);
		check_hint(out, "chown root: %s; chmod 0711 %s", path, path);
		return false;
	}
	return true;
}

static void dirs(const struct check_ctx *ctx, struct check_out *out)
{
	bool fine = look_at_dir(ctx, out, ctx->config->root);

	fine &= look_at_dir(ctx, out, ctx->config->state);
	if (fine)
		check_ok(out, NULL, "%s and %s", ctx->config->root, ctx->config->state);
}

static void fstype(const struct check_ctx *ctx, struct check_out *out)
{
	static const struct {
		unsigned int magic;
		enum check_status status;
		const char *name;
	} types[] = {
		{ EXT4_SUPER_MAGIC, CHECK_OK, "ext4" },
		{ XFS_SUPER_MAGIC, CHECK_OK, "xfs" },
		{ BTRFS_SUPER_MAGIC, CHECK_OK, "btrfs" },
		{ TMPFS_MAGIC, CHECK_WARN, "tmpfs, which is empty after a reboot" },
		{ OVERLAYFS_SUPER_MAGIC, CHECK_FAIL,
		  "overlayfs, which cannot hold the upper directories of containers" },
		{ NFS_MAGIC, CHECK_FAIL, "nfs" },
		{ CIFS_MAGIC, CHECK_FAIL, "cifs" },
		{ SMB2_MAGIC, CHECK_FAIL, "smb" },
		{ ECRYPTFS_SUPER_MAGIC, CHECK_FAIL, "ecryptfs" },
		{ NINE_P_MAGIC, CHECK_FAIL, "9p" },
		{ FUSE_MAGIC, CHECK_WARN, "fuse" },
	};
	cleanup_free char *root = existing(ctx, ctx->config->root);
	struct statfs fs;

	if (statfs(root, &fs) < 0) {
		check_fail(out, NULL, "%s: %s", root, errno_name(errno));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if ((unsigned int)fs.f_type != types[i].magic)
			continue;
		check_report(out, types[i].status, NULL, "%s is on %s", root, types[i].name);
		if (types[i].status != CHECK_OK)
			check_hint(out, "put [daemon] root on a local ext4 or xfs");
		return;
	}
	check_ok(out, NULL, "%s is on file system 0x%x", root, (unsigned int)fs.f_type);
}

static void flags(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *root = existing(ctx, ctx->config->root),
			  *state = existing(ctx, ctx->config->state);
	struct statvfs vfs;
	bool any = false;

	if (statvfs(state, &vfs) == 0 && (vfs.f_flag & ST_RDONLY)) {
		check_fail(out, "state", "%s is read-only", state);
		any = true;
	}
	if (statvfs(root, &vfs) == 0) {
		if (vfs.f_flag & (ST_RDONLY | ST_NOEXEC)) {
			check_fail(out, "root", "%s is mounted %s", root,
			           vfs.f_flag & ST_RDONLY ? "read-only" : "noexec");
			any = true;
		} else if (vfs.f_flag & (ST_NOSUID | ST_NODEV)) {
			check_warn(out, "root", "%s is mounted %s: images lose what needs that",
			           root, vfs.f_flag & ST_NOSUID ? "nosuid" : "nodev");
			any = true;
		}
		if (any)
			check_hint(out, "mount -o remount,rw,exec,suid,dev ...");
	}
	if (!any)
		check_ok(out, NULL, "nothing is in the way");
}

static void space(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *root = existing(ctx, ctx->config->root);
	unsigned int bytes = 100, inodes = 100;
	struct statvfs vfs;

	if (statvfs(root, &vfs) < 0) {
		check_fail(out, NULL, "%s: %s", root, errno_name(errno));
		return;
	}
	if (vfs.f_blocks)
		bytes = (unsigned int)(vfs.f_bavail * 100 / vfs.f_blocks);
	if (vfs.f_files)
		inodes = (unsigned int)(vfs.f_favail * 100 / vfs.f_files);
	check_report(out,
	             MIN(bytes, inodes) < FAIL_FREE_PERCENT   ? CHECK_FAIL
	             : MIN(bytes, inodes) < WARN_FREE_PERCENT ? CHECK_WARN
	                                                      : CHECK_OK,
	             NULL, "%s: %u %% of the space and %u %% of the inodes are free", root, bytes,
	             inodes);
	if (MIN(bytes, inodes) < WARN_FREE_PERCENT)
		check_hint(out, "kubelet evicts pods below %d %%", WARN_FREE_PERCENT);
}

static void tmpfs_state(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *state = existing(ctx, ctx->config->state);
	struct statfs fs;

	if (statfs(state, &fs) < 0)
		check_fail(out, NULL, "%s: %s", state, errno_name(errno));
	else if (fs.f_type != TMPFS_MAGIC && (unsigned int)fs.f_type != RAMFS_MAGIC)
		check_warn(out, NULL, "%s is on no tmpfs: what lies there must vanish at a reboot",
		           state);
	else
		check_ok(out, NULL, "%s is on a tmpfs", state);
}

/* --- probes */

struct scratch {
	char *path; /* NULL: could not be made */
};

static void scratch_remove(struct scratch *scratch)
{
	if (scratch->path)
		ignore(fsx_remove_tree(AT_FDCWD, scratch->path) < 0); /* the next fsck shows it */
	free(scratch->path);
}
DEFINE_CLEANUP(struct scratch, scratch_remove);

static bool scratch_make(const struct check_ctx *ctx, struct check_out *out, struct scratch *ret)
{
	cleanup_free char *root = existing(ctx, ctx->config->root);

	ret->path = xasprintf("%s/.check-XXXXXX", root);
	if (mkdtemp(ret->path))
		return true;
	check_fail(out, NULL, "nothing can be made in %s: %s", root, errno_name(errno));
	free(take_ptr(ret->path));
	return false;
}

static void dtype(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };
	cleanup_free char *file = NULL;
	struct dirent *entry;
	bool is_known = false;
	DIR *dir;

	if (!scratch_make(ctx, out, &scratch))
		return;
	file = xasprintf("%s/file", scratch.path);
	if (mknod(file, S_IFREG | 0600, 0) < 0) {
		check_fail(out, NULL, "%s: %s", file, errno_name(errno));
		return;
	}
	dir = opendir(scratch.path);
	while (dir && (entry = readdir(dir)))
		is_known |= streq(entry->d_name, "file") && entry->d_type == DT_REG;
	if (dir)
		closedir(dir);
	if (is_known)
		check_ok(out, NULL, "directories tell the kinds of their entries");
	else
		check_fail(
			out, NULL,
			"directories do not tell the kinds of their entries (xfs: made with ftype=0): overlayfs needs that");
}

static int write_file(const char *dir, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	return fsx_write(AT_FDCWD, path, name, strlen(name), 0644);
}

/* In a mount namespace of our own, which goes with this process. */
static const char *try_overlay(const char *dir)
{
	static const char *const names[] = { "lower1", "lower2", "upper", "work", "merged" };
	cleanup_free char *options =
		xasprintf("lowerdir=%s/lower2:%s/lower1,upperdir=%s/upper,workdir=%s/work", dir,
	                  dir, dir, dir);
	cleanup_free char *lower1 = xasprintf("%s/lower1", dir),
			  *lower2 = xasprintf("%s/lower2", dir);
	cleanup_free char *merged = xasprintf("%s/merged", dir),
			  *one = xasprintf("%s/merged/one", dir);
	cleanup_free char *two = xasprintf("%s/merged/two", dir),
			  *whiteout = xasprintf("%s/upper/one", dir);
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

		if (mkdir(path, 0755) < 0)
			return "the directories cannot be made";
	}
	if (write_file(lower1, "one") < 0 || write_file(lower2, "two") < 0)
		return "the files cannot be written";
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "no mount namespace can be made";
	if (mount("overlay", merged, "overlay", 0, options) < 0)
		return "it cannot be mounted";
	if (stat(one, &st) < 0 || stat(two, &st) < 0)
		return "the layers are not seen through it";
	if (unlink(one) < 0 || lstat(whiteout, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != 0)
		return "removing a file leaves no whiteout";
	if (umount2(merged, MNT_DETACH) < 0)
		return "it cannot be unmounted";
	return NULL;
}

static void overlay(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };
	const char *problem;

	if (!scratch_make(ctx, out, &scratch))
		return;
	errno = 0;
	problem = try_overlay(scratch.path);
	if (problem)
		check_fail(out, NULL, "overlayfs does not work on %s: %s%s%s", ctx->config->root,
		           problem, errno ? ": " : "", errno ? errno_name(errno) : "");
	else
		check_ok(out, NULL, "two layers, a whiteout, and away again");
}

static const struct check checks[] = {
	{ "storage.dirs", CHECK_FAIL, 0, dirs },
	{ "storage.fstype", CHECK_FAIL, CHECK_HOST, fstype },
	{ "storage.flags", CHECK_FAIL, CHECK_HOST, flags },
	{ "storage.space", CHECK_FAIL, CHECK_HOST, space },
	{ "storage.tmpfs-state", CHECK_WARN, CHECK_HOST, tmpfs_state },
	{ "storage.dtype", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, dtype },
	{ "storage.overlay", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, overlay },
};

const struct check_group check_group_storage = { "storage", checks, ARRAY_SIZE(checks) };
