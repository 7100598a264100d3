/* cmd/check/check_storage.c: the two directories of the daemon, and whether overlayfs works on them. What is probed is
 * made in a private directory .check-XXXXXX, which goes again on every path. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cmd/check/check.h"
#include "cmd/check/scratch.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/base/sys.h"
#include "core/image/overlay.h"

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

static void fail_to_look(struct check_out *out, const char *path)
{
	check_fail(out, NULL, "%s: %s", path, errno_name(errno));
	check_hint(out, "dmesg tells more where the disk is broken");
}

static bool look_at_dir(const struct check_ctx *ctx, struct check_out *out, const char *path)
{
	cleanup_free char *full = check_path(ctx, path), *there = scratch_place(ctx, path);
	struct stat st;

	if (stat(there, &st) < 0 || !S_ISDIR(st.st_mode)) {
		check_fail(out, path, "%s is no directory", there);
		check_hint(out, "move it away, or set another [daemon] root or state");
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
	cleanup_free char *root = scratch_place(ctx, ctx->config->root);
	struct statfs fs;

	if (statfs(root, &fs) < 0) {
		fail_to_look(out, root);
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
	cleanup_free char *root = scratch_place(ctx, ctx->config->root),
			  *state = scratch_place(ctx, ctx->config->state);
	struct statvfs vfs;
	bool any = false;

	if (statvfs(state, &vfs) == 0 && (vfs.f_flag & ST_RDONLY)) {
		check_fail(out, "state", "%s is read-only", state);
		check_hint(out, "mount -o remount,rw %s", state);
		any = true;
	}
	if (statvfs(root, &vfs) < 0) {
		fail_to_look(out, root);
		return;
	}
	if (vfs.f_flag & (ST_RDONLY | ST_NOEXEC)) {
		check_fail(out, "root", "%s is mounted %s", root,
		           vfs.f_flag & ST_RDONLY ? "read-only" : "noexec");
		check_hint(out, "mount -o remount,rw,exec,suid,dev %s", root);
		any = true;
	} else if (vfs.f_flag & (ST_NOSUID | ST_NODEV)) {
		check_warn(out, "root", "%s is mounted %s: images lose what needs that", root,
		           vfs.f_flag & ST_NOSUID ? "nosuid" : "nodev");
		check_hint(out, "mount -o remount,suid,dev %s", root);
		any = true;
	}
	if (!any)
		check_ok(out, NULL, "nothing is in the way");
}

static void space(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *root = scratch_place(ctx, ctx->config->root);
	unsigned int bytes = 100, inodes = 100;
	struct statvfs vfs;

	if (statvfs(root, &vfs) < 0) {
		fail_to_look(out, root);
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
		check_hint(
			out,
			"remove what is not needed, or add a disk: kubelet evicts pods below %d %%",
			WARN_FREE_PERCENT);
}

static void tmpfs_state(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *state = scratch_place(ctx, ctx->config->state);
	struct statfs fs;

	if (statfs(state, &fs) < 0) {
		fail_to_look(out, state);
	} else if (fs.f_type != TMPFS_MAGIC && (unsigned int)fs.f_type != RAMFS_MAGIC) {
		check_warn(out, NULL, "%s is on no tmpfs: what lies there must vanish at a reboot",
		           state);
		check_hint(out, "mount -t tmpfs -o mode=0711 tmpfs %s at boot", ctx->config->state);
	} else {
		check_ok(out, NULL, "%s is on a tmpfs", state);
	}
}

/* --- probes */

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
		fail_to_look(out, file);
		return;
	}
	dir = opendir(scratch.path);
	while (dir && (entry = readdir(dir)))
		is_known |= streq(entry->d_name, "file") && entry->d_type == DT_REG;
	if (dir)
		closedir(dir);
	if (is_known) {
		check_ok(out, NULL, "directories tell the kinds of their entries");
	} else {
		check_fail(
			out, NULL,
			"directories of %s do not tell the kinds of their entries: overlayfs needs that",
			ctx->config->root);
		check_hint(out, "an xfs has to be made with -n ftype=1");
	}
}

static int write_file(const char *dir, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	return fsx_write(AT_FDCWD, path, name, strlen(name), 0644);
}

/* What an overlay needs below @dir, and a mount namespace to make it in. NULL, or what fails. */
static const char *prepare_overlay(const char *dir)
{
	static const char *const names[] = { "lower1", "lower2", "upper", "work", "merged" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

		if (mkdir(path, 0755) < 0)
			return "the directories cannot be made";
	}
	return scratch_own_mounts() < 0 ? "no mount namespace can be made" : NULL;
}

static int mount_overlay(const char *dir, const char *more)
{
	cleanup_free char *merged = xasprintf("%s/merged", dir);
	cleanup_free char *options =
		xasprintf("lowerdir=%s/lower2:%s/lower1,upperdir=%s/upper,workdir=%s/work%s", dir,
	                  dir, dir, dir, more);

	return mount("overlay", merged, "overlay", 0, options);
}

static int unmount_overlay(const char *dir)
{
	cleanup_free char *merged = xasprintf("%s/merged", dir);

	return umount2(merged, MNT_DETACH);
}

static const char *try_overlay(const char *dir)
{
	cleanup_free char *lower1 = xasprintf("%s/lower1", dir),
			  *lower2 = xasprintf("%s/lower2", dir);
	cleanup_free char *one = xasprintf("%s/merged/one", dir),
			  *two = xasprintf("%s/merged/two", dir),
			  *whiteout = xasprintf("%s/upper/one", dir);
	const char *problem = prepare_overlay(dir);
	struct stat st;

	if (problem)
		return problem;
	if (write_file(lower1, "one") < 0 || write_file(lower2, "two") < 0)
		return "the files cannot be written";
	if (mount_overlay(dir, "") < 0)
		return "it cannot be mounted";
	if (stat(one, &st) < 0 || stat(two, &st) < 0)
		return "the layers are not seen through it";
	if (unlink(one) < 0 || lstat(whiteout, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != 0)
		return "removing a file leaves no whiteout";
	if (unmount_overlay(dir) < 0)
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
	if (problem) {
		check_fail(out, NULL, "overlayfs does not work on %s: %s%s%s", ctx->config->root,
		           problem, errno ? ": " : "", errno ? errno_name(errno) : "");
		check_hint(out, "modprobe overlay, or put [daemon] root on a local ext4 or xfs");
		ignore(unmount_overlay(scratch.path) < 0); /* may not be mounted */
	} else {
		check_ok(out, NULL, "two layers, a whiteout, and away again");
	}
}

#define OVERLAY_PARAMETERS "/sys/module/overlay/parameters/"

/* The default of an option, "Y" or "N"; "?": this kernel does not have it. Heap. */
static char *overlay_default(const struct check_ctx *ctx, const char *option)
{
	cleanup_free char *path = xasprintf(OVERLAY_PARAMETERS "%s", option),
			  *text = check_read(ctx, path);

	return text ? str_dup(str_trim(str_of(text))) : xstrdup("?");
}

/* " volatile" where the kernel takes it: only a mount tells. */
static const char *try_volatile(const struct check_ctx *ctx)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };

	if (*ctx->sysroot || geteuid() != 0 || scratch_try(ctx, &scratch) < 0 ||
	    prepare_overlay(scratch.path) || mount_overlay(scratch.path, ",volatile") < 0)
		return "";
	ignore(unmount_overlay(scratch.path) < 0); /* goes with the namespace */
	return " volatile";
}

static void overlay_opts(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup_free char *redirect = overlay_default(ctx, "redirect_dir"),
			  *metacopy = overlay_default(ctx, "metacopy"),
			  *index = overlay_default(ctx, "index");

	if (!check_exists(ctx, OVERLAY_PARAMETERS)) {
		check_skip(out, NULL, "overlay is not loaded");
	} else if (streq(metacopy, "Y")) {
		check_warn(
			out, NULL,
			"overlay.metacopy is on: what a container changes may lie in its directory without its contents");
		check_hint(out, "echo N >" OVERLAY_PARAMETERS "metacopy");
	} else {
		check_ok(out, NULL, "redirect_dir=%s metacopy=%s index=%s%s", redirect, metacopy,
		         index, try_volatile(ctx));
	}
}

/* --- ids of a user namespace, by what the daemon itself does for a pod that has one */

#define FIRST_ID 1000000
#define LAYER    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static bool write_map(pid_t pid, const char *name)
{
	cleanup_free char *path = xasprintf("/proc/%d/%s", (int)pid, name),
			  *map = xasprintf("0 %d 65536", FIRST_ID);
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, map, strlen(map)) > 0;
}

/* A process that does nothing but be in a user namespace of its own. -1: errno. */
static pid_t hold_userns(void)
{
	pid_t pid = scratch_fork(CLONE_NEWUSER);

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

/* An image with one layer of one file. */
static int make_store(const char *root)
{
	cleanup_free char *fs = xasprintf("%s/layers/" LAYER "/fs", root),
			  *meta = xasprintf("%s/layers/" LAYER "/meta", root),
			  *snapshots = xasprintf("%s/snapshots", root);
	static const char text[] = "size 1\ninodes 1\nroot 0\n";
	int rc = fsx_mkdir_p(fs, 0755);

	if (rc >= 0)
		rc = fsx_mkdir_p(snapshots, 0755);
	if (rc >= 0)
		rc = fsx_write(AT_FDCWD, meta, text, strlen(text), 0644);
	return rc >= 0 ? write_file(fs, "file") : rc;
}

/* The mounting says on stderr what went wrong: into a file with it. */
static int mount_image(struct overlay_plan *plan, const char *root, struct err *err)
{
	cleanup_free char *path = xasprintf("%s/why", root), *why = NULL;
	cleanup_close int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		return err_sys(err, errno, "%s", path);
	if (overlay_mount_child(plan) == 0)
		return 0;
	if (fsx_read(AT_FDCWD, path, CHECK_TEXT_MAX, &why, NULL) < 0)
		why = xstrdup("the image cannot be mounted");
	return err_set(err, CODE_FAILED_PRECONDITION, STR_FMT, STR_ARG(str_trim(str_of(why))));
}

static int try_idmap(const char *root, pid_t holder, struct err *err)
{
	char layer[] = "sha256:" LAYER, *layers[] = { layer, NULL };
	cleanup_free char *userns = xasprintf("/proc/%d/ns/user", (int)holder),
			  *target = xasprintf("%s/merged", root),
			  *file = xasprintf("%s/merged/file", root);
	cleanup(overlay_plan_free) struct overlay_plan *plan =
		overlay_plan_new(&(struct overlay_args){ .root = root,
	                                                 .id = "check",
	                                                 .layers = layers,
	                                                 .target = target,
	                                                 .userns = userns,
	                                                 .owner_uid = FIRST_ID,
	                                                 .owner_gid = FIRST_ID },
	                         err);
	struct stat st = { 0 };
	int rc;

	if (!plan || mount_image(plan, root, err) < 0)
		return -1;
	rc = stat(file, &st);
	ignore(unmount_overlay(root) < 0); /* goes with the namespace */
	if (rc < 0 || st.st_uid != FIRST_ID)
		return err_set(err, CODE_FAILED_PRECONDITION, "the owners of files are not mapped");
	return 0;
}

static void idmap(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };
	struct err err = { .code = CODE_OK };
	pid_t holder;
	int rc;

	if (!scratch_make(ctx, out, &scratch))
		return;
	rc = make_store(scratch.path);
	if (rc < 0 || scratch_own_mounts() < 0) {
		check_skip(out, NULL, "nothing can be mounted: storage.overlay tells more");
		return;
	}
	holder = hold_userns();
	if (holder < 0 || !write_map(holder, "uid_map") || !write_map(holder, "gid_map"))
		rc = err_sys(&err, errno, "no user namespace can be made");
	else
		rc = try_idmap(scratch.path, holder, &err);
	if (holder > 0)
		kill(holder, SIGKILL);
	if (rc == 0) {
		check_ok(out, NULL, "an image is mounted with the ids of a user namespace");
		return;
	}
	check_warn(out, NULL, "pods with hostUsers: false fail on %s: %s", ctx->config->root,
	           err.msg);
	check_hint(
		out,
		"put [daemon] root on ext4, xfs or btrfs; Linux 5.19 is the oldest that can, 6.3 for volumes on tmpfs");
}

/* --- what the journal and the image store build on */

/* Renaming what is not there changes nothing and still tells whether there is a mount in between. */
static bool can_rename_into(const char *root, const char *dir)
{
	cleanup_free char *from = xasprintf("%s/.check-nothing", root),
			  *to = xasprintf("%s/%s/.check-nothing", root, dir);

	return rename(from, to) == 0 || errno != EXDEV;
}

/* Images are made in staging and appear by a rename; what goes leaves by one. */
static bool are_dirs_together(const struct check_ctx *ctx, struct check_out *out)
{
	static const char *const dirs_of_store[] = { "staging", "layers", "images", "snapshots",
		                                     "trash" };
	bool fine = true;

	for (size_t i = 0; i < ARRAY_SIZE(dirs_of_store); i++) {
		if (can_rename_into(ctx->config->root, dirs_of_store[i]))
			continue;
		check_fail(out, dirs_of_store[i],
		           "%s/%s is another mount: nothing can be renamed into it",
		           ctx->config->root, dirs_of_store[i]);
		check_hint(out, "umount %s/%s, and put all of [daemon] root on one file system",
		           ctx->config->root, dirs_of_store[i]);
		fine = false;
	}
	return fine;
}

static void renaming(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };
	cleanup_free char *from = NULL, *dir = NULL, *to = NULL;
	int rc;

	if (!are_dirs_together(ctx, out) || !scratch_make(ctx, out, &scratch))
		return;
	from = xasprintf("%s/from", scratch.path);
	dir = xasprintf("%s/dir", scratch.path);
	to = xasprintf("%s/to", dir);
	rc = mkdir(dir, 0700) < 0 ? -errno : write_file(scratch.path, "from");
	if (rc >= 0)
		rc = sys_renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
	if (rc < 0) {
		check_fail(out, NULL, "%s: a file cannot be renamed into another directory: %s",
		           ctx->config->root, errno_name(-rc));
		check_hint(out, "put [daemon] root on a local ext4 or xfs");
	} else {
		check_ok(out, NULL, "all of %s is one file system", ctx->config->root);
	}
}

static void syncing(const struct check_ctx *ctx, struct check_out *out)
{
	cleanup(scratch_remove) struct scratch scratch = { NULL };
	cleanup_free char *file = NULL;
	int rc;

	if (!scratch_make(ctx, out, &scratch))
		return;
	file = xasprintf("%s/file", scratch.path);
	rc = fsx_replace(AT_FDCWD, file, "x", 1, 0600); /* syncs the file, then its directory */
	if (rc < 0) {
		check_fail(out, NULL, "%s: nothing can be made to last: %s", ctx->config->root,
		           errno_name(-rc));
		check_hint(
			out,
			"dmesg tells more where the disk is broken; else put [daemon] root on a local ext4 or xfs");
	} else {
		check_ok(out, NULL, "a file and its directory are synced");
	}
}

static const struct check checks[] = {
	{ "storage.dirs", CHECK_FAIL, 0, dirs },
	{ "storage.fstype", CHECK_FAIL, CHECK_HOST, fstype },
	{ "storage.flags", CHECK_FAIL, CHECK_HOST, flags },
	{ "storage.space", CHECK_FAIL, CHECK_HOST, space },
	{ "storage.tmpfs-state", CHECK_WARN, CHECK_HOST, tmpfs_state },
	{ "storage.dtype", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, dtype },
	{ "storage.overlay", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, overlay },
	{ "storage.overlay-opts", CHECK_WARN, 0, overlay_opts },
	{ "storage.idmap", CHECK_WARN, CHECK_HOST | CHECK_ROOT, idmap },
	{ "storage.rename", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, renaming },
	{ "storage.fsync", CHECK_FAIL, CHECK_HOST | CHECK_ROOT, syncing },
};

const struct check_group check_group_storage = { "storage", checks, ARRAY_SIZE(checks) };
