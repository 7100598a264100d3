/* core/image/confine.c
 *
 * Order matters: the root is changed and capabilities are dropped from the bounding set while we still may; then the identity
 * goes, then new privileges, and the filter comes last, because it forbids all of the above.
 *
 * The filter is a list of what is allowed; everything else fails with EPERM, so that a libc which probes a newer call falls
 * back instead of dying. clone3 gets ENOSYS for the same reason: its flags are behind a pointer and cannot be checked.
 */
#include "core/image/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/str.h"

/* --- root */

static int make_mount_point(const char *root, const struct confine_bind *bind, char *path,
                            size_t size, struct err *err)
{
	cleanup_close int fd = -1;
	struct stat st;
	char *p;

	if (stat(bind->from, &st) < 0)
		return errno == ENOENT ? 1 : err_sys(err, errno, "%s", bind->from);
	if (str_format(path, size, "%s%s", root, bind->to) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: path too long", root);
	for (p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_sys(err, errno, "make %s", path);
		*p = '/';
	}
	if (S_ISDIR(st.st_mode))
		return mkdir(path, 0755) < 0 && errno != EEXIST
		               ? err_sys(err, errno, "make %s", path)
		               : 0;
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? err_sys(err, errno, "make %s", path) : 0;
}

static int bind_mount(const char *from, const char *to, unsigned long flags, struct err *err)
{
	if (mount(from, to, NULL, MS_BIND, NULL) < 0)
		return err_sys(err, errno, "bind %s", from);
	if (mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | flags, NULL) < 0)
		return err_sys(err, errno, "remount %s", to);
	return 0;
}

int confine_root(enum confine_role role, const char *root, const struct confine_bind *binds,
                 size_t nbinds, struct err *err)
{
	char path[4096];

	(void)role; /* all get the same mount flags: none has a reason to execute or to open a device */
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(err, errno, "mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(err, errno, "private mounts");
	if (bind_mount(root, root, MS_NOEXEC, err) < 0)
		return -1;
	for (size_t i = 0; i < nbinds; i++) {
		int rc = make_mount_point(root, &binds[i], path, sizeof(path), err);

		if (rc < 0)
			return -1;
		if (rc == 0 && bind_mount(binds[i].from, path, MS_NOEXEC | MS_RDONLY, err) < 0)
			return -1;
	}
	if (chdir(root) < 0)
		return err_sys(err, errno, "enter %s", root);
	/* The new root is stacked on the old one at the same place; detaching the old one leaves the new. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(err, errno, "pivot into %s", root);
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(err, errno, "detach the old root");
	if (chdir("/") < 0)
		return err_sys(err, errno, "enter the new root");
	return 0;
}

/* --- capabilities */

#define CAP_BIT(cap) (UINT64_C(1) << (cap))
#define UNPACK_CAPS                                                                                \
	(CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_FOWNER) |                    \
	 CAP_BIT(CAP_FSETID) | CAP_BIT(CAP_MKNOD) | CAP_BIT(CAP_SETFCAP) | CAP_BIT(CAP_SYS_ADMIN))

static int drop_bounding(uint64_t keep, struct err *err)
{
	for (unsigned cap = 0; cap < 64; cap++) {
		if (keep & CAP_BIT(cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EINVAL) /* beyond the last one this kernel knows */
				break;
			return err_sys(err, errno, "drop capability %u", cap);
		}
	}
	return 0;
}

static int set_caps(uint64_t keep, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)keep, .permitted = (uint32_t)keep },
		{ .effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32) },
	};

	ignore(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0,
	             0)); /* none before 4.3, nothing to clear then */
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(err, errno, "set capabilities");
	return 0;
}

static int drop_identity(struct err *err)
{
	if (setgroups(0, NULL) < 0)
		return err_sys(err, errno, "drop groups");
	if (setresgid(CONFINE_GID, CONFINE_GID, CONFINE_GID) < 0)
		return err_sys(err, errno, "change group");
	if (setresuid(CONFINE_UID, CONFINE_UID, CONFINE_UID) < 0)
		return err_sys(err, errno, "change user");
	return 0;
}

static int set_limits(struct err *err)
{
	const struct rlimit none = { 0, 0 };
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_sys(err, errno, "limit core files");
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(err, errno, "limit of open files");
	files.rlim_cur = files.rlim_max = MIN(files.rlim_max, (rlim_t)2048); /* 500 layers, twice */
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(err, errno, "limit open files");
#ifndef __SANITIZE_ADDRESS__ /* shadow memory counts as data */
	{
		const struct rlimit data = { (rlim_t)1 << 30, (rlim_t)1 << 30 };

		if (setrlimit(RLIMIT_DATA, &data) < 0)
			return err_sys(err, errno, "limit memory");
	}
#endif
	return 0;
}

/* --- system calls */

#define UNPACK   (1 << CONFINE_UNPACK)
#define PULL     (1 << CONFINE_IMPORT | 1 << CONFINE_REGISTRY)
#define REGISTRY (1 << CONFINE_REGISTRY)
#define ALL      (UNPACK | PULL)

static const struct {
	int nr;
	unsigned roles;
} allowed[] = {
	/* clang-format off */
	/* descriptors */
	{ SYS_read, ALL }, { SYS_readv, ALL }, { SYS_pread64, ALL }, { SYS_write, ALL }, { SYS_writev, ALL },
	{ SYS_pwrite64, ALL }, { SYS_lseek, ALL }, { SYS_close, ALL }, { SYS_fstat, ALL }, { SYS_newfstatat, ALL },
	{ SYS_statx, ALL }, { SYS_fcntl, ALL }, { SYS_dup, ALL }, { SYS_dup3, ALL }, { SYS_ftruncate, ALL },
	{ SYS_fallocate, ALL }, { SYS_fsync, ALL }, { SYS_sync_file_range, ALL }, { SYS_fadvise64, ALL },
	{ SYS_fstatfs, ALL }, { SYS_getdents64, ALL }, { SYS_copy_file_range, ALL }, { SYS_ppoll, ALL },
	{ SYS_sendmsg, ALL }, { SYS_recvmsg, ALL }, { SYS_sendto, ALL }, { SYS_recvfrom, ALL }, { SYS_shutdown, ALL },
	/* names */
	{ SYS_openat, ALL }, { SYS_openat2, ALL }, { SYS_unlinkat, ALL }, { SYS_mkdirat, ALL }, { SYS_renameat2, ALL },
	{ SYS_faccessat, ALL }, { SYS_readlinkat, ALL },
	{ SYS_mknodat, UNPACK }, { SYS_linkat, UNPACK }, { SYS_symlinkat, UNPACK }, { SYS_fchown, UNPACK },
	{ SYS_fchownat, UNPACK }, { SYS_fchmod, ALL }, { SYS_fchmodat, UNPACK }, { SYS_utimensat, UNPACK },
	{ SYS_fsetxattr, UNPACK }, { SYS_lsetxattr, UNPACK }, { SYS_fgetxattr, UNPACK }, { SYS_flistxattr, UNPACK },
	{ SYS_fchdir, UNPACK }, { SYS_umask, ALL },
#ifdef SYS_renameat
	{ SYS_renameat, ALL },
#endif
#ifdef __x86_64__ /* the older spellings, which libc prefers where they exist */
	{ SYS_open, ALL }, { SYS_stat, ALL }, { SYS_lstat, ALL }, { SYS_access, ALL }, { SYS_unlink, ALL },
	{ SYS_mkdir, ALL }, { SYS_rename, ALL }, { SYS_poll, ALL }, { SYS_dup2, ALL }, { SYS_rmdir, ALL },
	{ SYS_lchown, UNPACK }, { SYS_chmod, UNPACK }, { SYS_fork, UNPACK }, { SYS_readlink, ALL },
	{ SYS_epoll_wait, REGISTRY }, { SYS_select, REGISTRY },
#endif
	/* memory, threads, time, signals of our own */
	{ SYS_munmap, ALL }, { SYS_mremap, ALL }, { SYS_madvise, ALL }, { SYS_brk, ALL }, { SYS_futex, ALL },
	{ SYS_exit, ALL }, { SYS_exit_group, ALL }, { SYS_set_tid_address, ALL }, { SYS_set_robust_list, ALL },
	{ SYS_rseq, ALL }, { SYS_sched_yield, ALL }, { SYS_sched_getaffinity, ALL }, { SYS_getpid, ALL },
	{ SYS_gettid, ALL }, { SYS_getuid, ALL }, { SYS_geteuid, ALL }, { SYS_getgid, ALL }, { SYS_getegid, ALL },
	{ SYS_clock_gettime, ALL }, { SYS_clock_nanosleep, ALL }, { SYS_nanosleep, ALL }, { SYS_getrandom, ALL },
	{ SYS_rt_sigaction, ALL }, { SYS_rt_sigprocmask, ALL }, { SYS_rt_sigreturn, ALL }, { SYS_tkill, ALL },
	{ SYS_tgkill, ALL }, { SYS_restart_syscall, ALL }, { SYS_uname, ALL }, { SYS_sysinfo, ALL },
	{ SYS_wait4, ALL }, { SYS_waitid, ALL }, { SYS_membarrier, ALL },
#ifdef __SANITIZE_ADDRESS__ /* for its threads */
	{ SYS_sigaltstack, ALL },
#endif
	/* network */
	{ SYS_connect, REGISTRY }, { SYS_bind, REGISTRY }, { SYS_getsockname, REGISTRY }, { SYS_getpeername, REGISTRY },
	{ SYS_setsockopt, PULL }, { SYS_getsockopt, PULL }, { SYS_epoll_create1, REGISTRY }, { SYS_epoll_ctl, REGISTRY },
	{ SYS_epoll_pwait, REGISTRY }, { SYS_pipe2, PULL }, { SYS_eventfd2, PULL },
	/* clang-format on */
};

#if defined(__x86_64__)
#define ARCH_TOKEN AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH_TOKEN AUDIT_ARCH_AARCH64
#else
#error "confine.c: say what this architecture is called in linux/audit.h"
#endif

/* The low half of argument @n: 64-bit registers, little endian. */
#define ARG_LOW(n)        (offsetof(struct seccomp_data, args) + 8 * (n))
#define NAMESPACE_FLAGS   0x7e020000U /* every CLONE_NEW* that clone takes */
#define LOAD(at)          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(at))
#define RETURN(action)    BPF_STMT(BPF_RET | BPF_K, (action))
#define IF_EQUAL(k, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(k), (t), (f))
#define IF_SET(k, t, f)   BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(k), (t), (f))
#define DENY              RETURN(SECCOMP_RET_ERRNO | EPERM)
#define ALLOW             RETURN(SECCOMP_RET_ALLOW)

struct filter {
	struct sock_filter code[400];
	unsigned short len;
};

static void add(struct filter *filter, const struct sock_filter *code, size_t n)
{
	memcpy(filter->code + filter->len, code, n * sizeof(*code));
	filter->len = (unsigned short)(filter->len + n);
}

#define ADD(filter, ...)                                                                           \
	add(filter, (const struct sock_filter[]){ __VA_ARGS__ },                                   \
	    sizeof((const struct sock_filter[]){ __VA_ARGS__ }) / sizeof(struct sock_filter))

static void filter_build(struct filter *filter, enum confine_role role)
{
	ADD(filter, LOAD(offsetof(struct seccomp_data, arch)), IF_EQUAL(ARCH_TOKEN, 1, 0),
	    RETURN(SECCOMP_RET_KILL_PROCESS));
	ADD(filter, LOAD(offsetof(struct seccomp_data, nr)));
#ifdef __x86_64__ /* x32 numbers would slip past the list */
	ADD(filter, BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000U, 0, 1),
	    RETURN(SECCOMP_RET_KILL_PROCESS));
#endif
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		if (allowed[i].roles & 1U << role)
			ADD(filter, IF_EQUAL(allowed[i].nr, 0, 1), ALLOW);
	/* memory that is writable now cannot become code, and no new code is mapped */
	ADD(filter, IF_EQUAL(SYS_mmap, 0, 4), LOAD(ARG_LOW(2)), IF_SET(PROT_EXEC, 0, 1), DENY,
	    ALLOW);
	ADD(filter, IF_EQUAL(SYS_mprotect, 0, 4), LOAD(ARG_LOW(2)), IF_SET(PROT_EXEC, 0, 1), DENY,
	    ALLOW);
	/* threads and forks, but no namespaces */
	ADD(filter, IF_EQUAL(SYS_clone, 0, 4), LOAD(ARG_LOW(0)), IF_SET(NAMESPACE_FLAGS, 0, 1),
	    DENY, ALLOW);
	ADD(filter, IF_EQUAL(SYS_clone3, 0, 1), RETURN(SECCOMP_RET_ERRNO | ENOSYS));
	if (role != CONFINE_UNPACK)
		ADD(filter, IF_EQUAL(SYS_socketpair, 0, 4), LOAD(ARG_LOW(0)),
		    IF_EQUAL(AF_UNIX, 1, 0), DENY, ALLOW);
	if (role == CONFINE_REGISTRY)
		ADD(filter, IF_EQUAL(SYS_socket, 0, 5), LOAD(ARG_LOW(0)), IF_EQUAL(AF_INET, 2, 0),
		    IF_EQUAL(AF_INET6, 1, 0), DENY, ALLOW);
	ADD(filter, DENY);
}

_Static_assert(2 * ARRAY_SIZE(allowed) + 40 <= ARRAY_SIZE(((struct filter *)0)->code),
               "the filter fits");

static int filter_install(enum confine_role role, struct err *err)
{
	struct filter filter = { .len = 0 };
	struct sock_fprog prog;

	filter_build(&filter, role);
	prog = (struct sock_fprog){ .len = filter.len, .filter = filter.code };
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return err_sys(err, errno, "system call filter");
	return 0;
}

int confine_self(enum confine_role role, struct err *err)
{
	uint64_t keep = role == CONFINE_UNPACK ? UNPACK_CAPS : 0;

	if (set_limits(err) < 0 || drop_bounding(keep, err) < 0)
		return -1;
	if (role != CONFINE_UNPACK && drop_identity(err) < 0)
		return -1;
	if (set_caps(keep, err) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "no new privileges");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "not dumpable");
	return filter_install(role, err);
}
