/* cri/spec/seccomp_default.c
 *
 * The seccomp profile RuntimeDefault, as data: what is always allowed, what an argument decides, what a capability brings.
 * Everything else answers EPERM. Names a runtime's libseccomp does not know are skipped by it, so one list serves all.
 */
#include <linux/capability.h>

#include "cri/spec/build.h"

#define ALLOW      "SCMP_ACT_ALLOW"
#define ERRNO      "SCMP_ACT_ERRNO"
#define NO_SYSCALL 38 /* ENOSYS, on x86 and everywhere else that we run on */

/* CLONE_NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET */
#define CLONE_NAMESPACES 0x7E020000u

/* clang-format off */
static const char *const always[] = {
	"accept", "accept4", "access", "adjtimex", "alarm", "bind", "brk", "cachestat", "capget",
	"capset", "chdir", "chmod", "chown", "chown32", "clock_adjtime", "clock_adjtime64",
	"clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64",
	"clock_nanosleep", "clock_nanosleep_time64", "close", "close_range", "connect",
	"copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
	"epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
	"epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group",
	"faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark",
	"fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl",
	"fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr",
	"fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate",
	"ftruncate64", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
	"futex_wake", "futimesat", "getcpu", "getcwd", "getdents", "getdents64", "getegid",
	"getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32",
	"getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
	"getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit",
	"get_robust_list", "getrusage", "getsid", "getsockname", "getsockopt", "get_thread_area",
	"gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat",
	"inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
	"ioctl", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64",
	"ioprio_get", "ioprio_set", "io_setup", "io_submit", "ipc", "kill", "landlock_add_rule",
	"landlock_create_ruleset", "landlock_restrict_self", "lchown", "lchown32", "lgetxattr",
	"link", "linkat", "listen", "listmount", "listxattr", "listxattrat", "llistxattr",
	"_llseek", "lremovexattr", "lseek", "lsetxattr", "lsm_get_self_attr", "lsm_list_modules",
	"lsm_set_self_attr", "lstat", "lstat64", "madvise", "membarrier", "memfd_create",
	"memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2",
	"mlockall", "map_shadow_stack", "mmap", "mmap2", "mprotect", "mq_getsetattr", "mq_notify",
	"mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
	"mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv",
	"msgsnd", "msync", "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep",
	"newfstatat", "_newselect", "open", "openat", "openat2", "pause", "pidfd_open",
	"pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
	"ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
	"process_mrelease", "pselect6", "pselect6_time64", "pwrite64", "pwritev", "pwritev2",
	"read", "readahead", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg",
	"recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename",
	"renameat", "renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction",
	"rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
	"rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_getaffinity",
	"sched_getattr", "sched_getparam", "sched_get_priority_max", "sched_get_priority_min",
	"sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
	"sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
	"sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop",
	"semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto",
	"setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
	"setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32",
	"setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
	"setrlimit", "set_robust_list", "setsid", "setsockopt", "set_thread_area",
	"set_tid_address", "setuid", "setuid32", "setxattr", "setxattrat", "shmat", "shmctl",
	"shmdt", "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "sigprocmask",
	"sigreturn", "socketcall", "socketpair", "splice", "stat", "stat64", "statfs", "statfs64",
	"statmount", "statx", "symlink", "symlinkat", "sync", "sync_file_range", "syncfs",
	"sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
	"timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
	"timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
	"tkill", "truncate", "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat",
	"uretprobe", "utime", "utimensat", "utimensat_time64", "utimes", "vfork", "vmsplice",
	"wait4", "waitid", "waitpid", "write", "writev",
	/* Safe since kernels check ptrace after the filter (4.8); ours are newer. */
	"process_vm_readv", "process_vm_writev", "ptrace",
#if defined(__x86_64__)
	"arch_prctl", "modify_ldt",
#elif defined(__i386__)
	"modify_ldt",
#elif defined(__aarch64__) || defined(__arm__)
	"arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls",
#elif defined(__powerpc64__)
	"sync_file_range2", "swapcontext",
#elif defined(__s390x__)
	"s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr",
#elif defined(__riscv)
	"riscv_flush_icache", "riscv_hwprobe",
#endif
};

static const char *const architectures[] = {
#if defined(__x86_64__)
	"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32",
#elif defined(__aarch64__)
	"SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
#elif defined(__s390x__)
	"SCMP_ARCH_S390", "SCMP_ARCH_S390X",
#elif defined(__riscv)
	"SCMP_ARCH_RISCV64",
#elif defined(__loongarch64)
	"SCMP_ARCH_LOONGARCH64",
#elif defined(__powerpc64__)
	"SCMP_ARCH_PPC64LE",
#else
#error "which architectures may system calls be made in?"
#endif
};

#define GROUP_MAX 24
static const struct {
	int cap;
	const char *names[GROUP_MAX];
} by_capability[] = {
	{ CAP_DAC_READ_SEARCH, { "open_by_handle_at" } },
	{ CAP_SYS_ADMIN,
	  { "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
	    "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname",
	    "sethostname", "setns", "syslog", "umount", "umount2", "unshare" } },
	{ CAP_SYS_BOOT, { "reboot" } },
	{ CAP_SYS_CHROOT, { "chroot" } },
	{ CAP_SYS_MODULE, { "delete_module", "init_module", "finit_module" } },
	{ CAP_SYS_PACCT, { "acct" } },
	{ CAP_SYS_PTRACE, { "kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace" } },
	{ CAP_SYS_RAWIO, { "iopl", "ioperm" } },
	{ CAP_SYS_TIME, { "settimeofday", "stime", "clock_settime", "clock_settime64" } },
	{ CAP_SYS_TTY_CONFIG, { "vhangup" } },
	{ CAP_SYS_NICE, { "get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node" } },
	{ CAP_SYSLOG, { "syslog" } },
	{ CAP_BPF, { "bpf" } },
	{ CAP_PERFMON, { "perf_event_open" } },
};
/* clang-format on */

/* Each a rule of its own: the conditions of one rule must all hold. */
struct condition {
	const char *name;
	unsigned index;
	uint64_t value, value_two;
	const char *op;
};
static const struct condition conditions[] = {
	/* Every address family but AF_ALG (38) and AF_VSOCK (40), which reaches out of a machine. */
	{ "socket", 0, 38, 0, "SCMP_CMP_LT" },
	{ "socket", 0, 39, 0, "SCMP_CMP_EQ" },
	{ "socket", 0, 40, 0, "SCMP_CMP_GT" },
	/* PER_LINUX, PER_LINUX32, UNAME26 with either, and asking */
	{ "personality", 0, 0x0, 0, "SCMP_CMP_EQ" },
	{ "personality", 0, 0x8, 0, "SCMP_CMP_EQ" },
	{ "personality", 0, 0x20000, 0, "SCMP_CMP_EQ" },
	{ "personality", 0, 0x20008, 0, "SCMP_CMP_EQ" },
	{ "personality", 0, 0xffffffff, 0, "SCMP_CMP_EQ" },
};
#ifdef __s390x__
#define CLONE_FLAGS_ARG 1
#else
#define CLONE_FLAGS_ARG 0
#endif
static const struct condition clone_without_namespaces = {
	"clone", CLONE_FLAGS_ARG, CLONE_NAMESPACES, 0, "SCMP_CMP_MASKED_EQ",
};

static yyjson_mut_val *add_rule(struct spec *spec, yyjson_mut_val *rules, const char *const *names,
                                size_t count, const char *action)
{
	yyjson_mut_val *rule = yyjson_mut_arr_add_obj(spec->doc, rules);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(spec->doc, rule, "names");

	for (size_t i = 0; i < count && names[i]; i++)
		yyjson_mut_arr_add_str(spec->doc, list, names[i]);
	yyjson_mut_obj_add_str(spec->doc, rule, "action", action);
	return rule;
}

static void add_condition(struct spec *spec, yyjson_mut_val *rules,
                          const struct condition *condition)
{
	yyjson_mut_val *rule = add_rule(spec, rules, &condition->name, 1, ALLOW);
	yyjson_mut_val *args = yyjson_mut_obj_add_arr(spec->doc, rule, "args");
	yyjson_mut_val *arg = yyjson_mut_arr_add_obj(spec->doc, args);

	yyjson_mut_obj_add_uint(spec->doc, arg, "index", condition->index);
	yyjson_mut_obj_add_uint(spec->doc, arg, "value", condition->value);
	yyjson_mut_obj_add_uint(spec->doc, arg, "valueTwo", condition->value_two);
	yyjson_mut_obj_add_str(spec->doc, arg, "op", condition->op);
}

void seccomp_default(struct spec *spec, uint64_t bounding)
{
	static const char *const clone3[] = { "clone3" };
	yyjson_mut_val *rules;

	spec_unset(spec, "linux.seccomp");
	spec_set_str(spec, "linux.seccomp.defaultAction", ERRNO);
	spec_set_strv(spec, "linux.seccomp.architectures", architectures,
	              ARRAY_SIZE(architectures));
	rules = spec_array(spec, "linux.seccomp.syscalls");
	add_rule(spec, rules, always, ARRAY_SIZE(always), ALLOW);
	for (size_t i = 0; i < ARRAY_SIZE(conditions); i++)
		add_condition(spec, rules, &conditions[i]);
	for (size_t i = 0; i < ARRAY_SIZE(by_capability); i++)
		if (bounding >> by_capability[i].cap & 1)
			add_rule(spec, rules, by_capability[i].names, GROUP_MAX, ALLOW);
	if (bounding >> CAP_SYS_ADMIN & 1)
		return;
	/* clone3's flags lie in memory, where a filter cannot look: libcs fall back to clone when it is not there. */
	add_condition(spec, rules, &clone_without_namespaces);
	yyjson_mut_obj_add_uint(spec->doc, add_rule(spec, rules, clone3, 1, ERRNO), "errnoRet",
	                        NO_SYSCALL);
}
