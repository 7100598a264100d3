/* core/run/namespaces.c
 *
 * Two processes, both straight-line code under one deadline:
 *
 *	helper (child of the loop, root of the host)	owner (its child; the namespaces become its own)
 *	drops old pins, forks ------------------------>	unshare user
 *	writes uid_map and gid_map <------------------- "unshared"
 *	"go on" --------------------------------------> becomes root of that namespace; unshare net, ipc, uts;
 *							hostname, loopback, sysctls
 *	binds /proc/OWNER/ns/X to the pins <----------- "ready"
 *	closes the pipe, reaps ------------------------> ends
 *
 * Why a process of its own: a thread cannot unshare a user namespace, the host's root may not write the sysctls of a
 * namespace that another user namespace owns, and runc refuses to join a network namespace whose owner is not the user
 * namespace it joins. Why the helper: maps and bind mounts need the host's root, may wait for locks in the kernel, and so
 * do not belong on the loop; and a helper that outlives the daemon just finishes, under the operation's lock.
 *
 * Both forks have the C library's blessing to allocate afterwards (see core/loop/child.c).
 */
#include "core/run/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/child.h"
#include "core/run/fault.h"
#include "core/run/mount.h"

#define PATH_SIZE        sizeof(((struct namespaces_paths *)0)->path[0])
#define SYSCTL_PATH_SIZE 256
#define SYSCTL_VALUE_MAX 1024
#define SYSCTLS_MAX      256
#define HOSTNAME_MAX     64 /* __NEW_UTS_LEN */
#define LOOPBACK_INDEX   1  /* of every network namespace's own lo */

/* clang-format off */
static const struct {
	const char *name;
	int flag;
} kinds[NAMESPACE_KINDS] = {
	[NAMESPACE_NET]  = { "net",  CLONE_NEWNET },
	[NAMESPACE_IPC]  = { "ipc",  CLONE_NEWIPC },
	[NAMESPACE_UTS]  = { "uts",  CLONE_NEWUTS },
	[NAMESPACE_USER] = { "user", CLONE_NEWUSER },
};
/* clang-format on */

struct namespaces {
	struct loop *loop;
	char *dir; /* <state>/ns */
};

const char *namespace_name(enum namespace_kind kind)
{
	return kinds[kind].name;
}

/* ---------------------------------------------------------------------------------------------------------- checks */

int sysctl_path(const char *name, char *ret, size_t size, struct err *err)
{
	const char *first = strpbrk(name, "./");
	bool slashes = first && *first == '/';
	size_t len = strlen(name);

	if (len == 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "sysctl name is empty");
	if (len >= size || len >= SYSCTL_PATH_SIZE)
		return err_set(err, CODE_INVALID_ARGUMENT, "sysctl %.40s...: name is too long",
		               name);
	for (size_t i = 0; i <= len; i++) {
		char c = name[i];

		if (c != '\0' && (c <= ' ' || c >= 0x7f))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "sysctl name has a blank or control character at byte %zu",
			               i);
		if (!slashes && (c == '.' || c == '/'))
			c = c == '.' ? '/' : '.';
		ret[i] = c;
	}
	for (const char *part = ret; part;
	     part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
		size_t n = strcspn(part, "/");

		if (n == 0 || (part[0] == '.' && (n == 1 || (n == 2 && part[1] == '.'))))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "sysctl %s: an empty or dot component", name);
	}
	return 0;
}

int sysctl_namespace(const char *path)
{
	/* clang-format off */
	static const struct {
		const char *path;
		bool prefix;
		enum namespace_kind kind;
	} known[] = {
		{ "net/",	       true,  NAMESPACE_NET },
		{ "kernel/shm",	       true,  NAMESPACE_IPC },
		{ "kernel/msg",	       true,  NAMESPACE_IPC },
		{ "kernel/sem",	       false, NAMESPACE_IPC },
		{ "kernel/sem_next_id", false, NAMESPACE_IPC },
		{ "kernel/auto_msgmni", false, NAMESPACE_IPC },
		{ "fs/mqueue/",	       true,  NAMESPACE_IPC },
		{ "kernel/domainname", false, NAMESPACE_UTS },
	};
	/* clang-format on */

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].prefix ? starts_with(path, known[i].path) : streq(path, known[i].path))
			return known[i].kind;
	return -1;
}

static bool is_host(const struct namespaces_args *args, enum namespace_kind kind)
{
	switch (kind) {
	case NAMESPACE_NET:
	case NAMESPACE_UTS:
		return args->host_network;
	case NAMESPACE_IPC:
		return args->host_ipc;
	case NAMESPACE_USER:
		return args->nuid_maps == 0;
	case NAMESPACE_KINDS:
		break;
	}
	ensure(!"a namespace kind");
	return true;
}

static int check_sysctl(const struct namespaces_args *args, const struct pair *pair,
                        struct err *err)
{
	char path[SYSCTL_PATH_SIZE];
	size_t len = strlen(pair->value);
	int kind;

	if (sysctl_path(pair->key, path, sizeof(path), err) < 0)
		return -1;
	if (streq(path, "kernel/hostname"))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "sysctl %s: set the pod's hostname instead", pair->key);
	kind = sysctl_namespace(path);
	if (kind < 0)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "sysctl %s: not namespaced, a pod may not set it", pair->key);
	if (is_host(args, (enum namespace_kind)kind))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "sysctl %s: the pod uses the host's %s namespace", pair->key,
		               namespace_name((enum namespace_kind)kind));
	if (len > SYSCTL_VALUE_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "sysctl %s: value is longer than %d bytes", pair->key,
		               SYSCTL_VALUE_MAX);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)pair->value[i] < ' ' && pair->value[i] != '\t')
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "sysctl %s: value has a control character", pair->key);
	return 0;
}

static bool overlaps(uint32_t a, uint32_t a_count, uint32_t b, uint32_t b_count)
{
	return a < (uint64_t)b + b_count && b < (uint64_t)a + a_count;
}

static int check_maps(const char *what, const struct id_map *maps, size_t count, struct err *err)
{
	bool has_root = false;

	if (count > ID_MAPS_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: more than %d ranges", what,
		               ID_MAPS_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct id_map *map = &maps[i];

		if (map->count == 0)
			return err_set(err, CODE_INVALID_ARGUMENT, "%s: range %zu has length 0",
			               what, i);
		/* The id 2^32-1 is (uid_t)-1, which no kernel maps. */
		if ((uint64_t)map->inside + map->count > UINT32_MAX ||
		    (uint64_t)map->outside + map->count > UINT32_MAX)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: range %u:%u:%u goes beyond the last id", what,
			               map->inside, map->outside, map->count);
		has_root = has_root || map->inside == 0;
		for (size_t k = 0; k < i; k++)
			if (overlaps(map->inside, map->count, maps[k].inside, maps[k].count) ||
			    overlaps(map->outside, map->count, maps[k].outside, maps[k].count))
				return err_set(err, CODE_INVALID_ARGUMENT,
				               "%s: ranges %u:%u:%u and %u:%u:%u overlap", what,
				               maps[k].inside, maps[k].outside, maps[k].count,
				               map->inside, map->outside, map->count);
	}
	if (!has_root)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: id 0 of the pod is not mapped",
		               what);
	return 0;
}

int namespaces_check(const struct namespaces_args *args, struct err *err)
{
	if (args->nuid_maps > 0 || args->ngid_maps > 0) {
		if (check_maps("uid mapping", args->uid_maps, args->nuid_maps, err) < 0)
			return -1;
		if (check_maps("gid mapping", args->gid_maps, args->ngid_maps, err) < 0)
			return -1;
	}
	if (args->hostname) {
		if (strlen(args->hostname) > HOSTNAME_MAX)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "hostname %.70s: longer than %d bytes", args->hostname,
			               HOSTNAME_MAX);
		for (const char *c = args->hostname; *c; c++)
			if (*c <= ' ' || *c >= 0x7f || *c == '/')
				return err_set(
					err, CODE_INVALID_ARGUMENT,
					"hostname has a character that hostnames cannot have");
	}
	if (args->sysctls.count > SYSCTLS_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "more than %d sysctls", SYSCTLS_MAX);
	for (size_t i = 0; i < args->sysctls.count; i++)
		if (check_sysctl(args, &args->sysctls.items[i], err) < 0)
			return -1;
	return 0;
}

/* --------------------------------------------------------------------------------------------------- what a job is */

struct sysctl {
	char *name; /* as requested, for errors */
	char *file; /* "/proc/sys/..." */
	char *value;
	bool optional; /* a default of ours: a kernel without it is fine */
};

struct ns_job {
	char id[ID_SIZE];
	bool wanted[NAMESPACE_KINDS];
	bool unpinning;
	char *uid_map, *gid_map; /* as written, NULL without a user namespace */
	char *hostname;          /* NULL: leave it */
	struct sysctl *sysctls;
	size_t nsysctls;
	char *dir; /* <state>/ns/<id> */
	struct namespaces_paths paths;
	struct child_args child;
	struct loop_defer defer; /* a pod that shares everything with the host needs no child */
	namespaces_done_fn done;
	void *arg;
};

static void job_free(struct ns_job *job)
{
	if (!job)
		return;
	for (size_t i = 0; i < job->nsysctls; i++) {
		free(job->sysctls[i].name);
		free(job->sysctls[i].file);
		free(job->sysctls[i].value);
	}
	free(job->sysctls);
	free(job->uid_map);
	free(job->gid_map);
	free(job->hostname);
	free(job->dir);
	free((void *)(uintptr_t)job->child.name);
	free(job);
}

DEFINE_CLEANUP_PTR(struct ns_job, job_free);

static char *map_text(const struct id_map *maps, size_t count)
{
	struct buf buf;

	buf_init(
		&buf,
		4096); /* ID_MAPS_MAX lines of three numbers; the kernel takes less than a page in one write */
	for (size_t i = 0; i < count; i++)
		ensure(buf_printf(&buf, "%u %u %u\n", maps[i].inside, maps[i].outside,
		                  maps[i].count) == 0);
	return buf_take_str(&buf);
}

static void add_sysctl(struct ns_job *job, const char *name, const char *path, const char *value,
                       bool optional)
{
	job->sysctls[job->nsysctls++] = (struct sysctl){
		.name = xstrdup(name),
		.file = xasprintf("/proc/sys/%s", path),
		.value = xstrdup(value),
		.optional = optional,
	};
}

static bool has_sysctl(const struct ns_job *job, const char *path)
{
	for (size_t i = 0; i < job->nsysctls; i++)
		if (streq(job->sysctls[i].file + strlen("/proc/sys/"), path))
			return true;
	return false;
}

/* Pods expect to bind low ports and to ping without privileges; gids beyond a user namespace's map cannot be named. */
static void add_default_sysctls(struct ns_job *job)
{
	static const char ports[] = "net/ipv4/ip_unprivileged_port_start",
			  ping[] = "net/ipv4/ping_group_range";

	if (!job->wanted[NAMESPACE_NET])
		return;
	if (!has_sysctl(job, ports))
		add_sysctl(job, "net.ipv4.ip_unprivileged_port_start", ports, "0", true);
	if (!job->wanted[NAMESPACE_USER] && !has_sysctl(job, ping))
		add_sysctl(job, "net.ipv4.ping_group_range", ping, "0 2147483647", true);
}

/* ------------------------------------------------------------------------------------- the owner of the namespaces */

enum note_kind { NOTE_UNSHARED = 1, NOTE_READY, NOTE_FAILED };

struct note {
	enum note_kind kind;
	struct fault fault;
};

struct owner {
	const struct ns_job *job;
	int up, down; /* notes to the helper; its go-ahead, then EOF */
};

static int raise_loopback(struct fault *fault)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {
		.head = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_NEWLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
			.nlmsg_seq = 1,
		},
		.link = {
			.ifi_family = AF_UNSPEC,
			.ifi_index = LOOPBACK_INDEX,
			.ifi_flags = IFF_UP,
			.ifi_change = IFF_UP,
		},
	};
	union {
		struct nlmsghdr head;
		char bytes[1024];
	} answer = { .bytes = { 0 } };
	const struct nlmsgerr *ack;
	cleanup_close int fd = -1;
	ssize_t n;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return fault_sys(fault, errno,
		                 "open a netlink socket in the pod's network namespace");
	n = send(fd, &request, sizeof(request), 0);
	if (n == (ssize_t)sizeof(request))
		n = recv(fd, &answer, sizeof(answer), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(*ack)))
		return fault_sys(fault, n < 0 ? errno : EPROTO, "bring loopback up");
	ack = NLMSG_DATA(&answer.head);
	if (answer.head.nlmsg_type != NLMSG_ERROR || ack->error != 0)
		return fault_sys(fault,
		                 answer.head.nlmsg_type == NLMSG_ERROR ? -ack->error : EPROTO,
		                 "bring loopback up");
	return 0;
}

static int sysctl_fault(const struct sysctl *sysctl, int sys, struct fault *fault)
{
	switch (sys) {
	case ENOENT:
		return fault_code(fault, CODE_UNIMPLEMENTED, "sysctl ", sysctl->name,
		                  ": this kernel does not have it per namespace");
	case EACCES:
	case EPERM:
		return fault_both(fault, CODE_FAILED_PRECONDITION, sys, "sysctl ", sysctl->name,
		                  ": this kernel does not let the pod's namespace set it");
	case EINVAL:
	case ERANGE:
	case E2BIG:
		return fault_both(fault, CODE_INVALID_ARGUMENT, sys, "sysctl ", sysctl->name,
		                  " = \"", sysctl->value, "\"");
	default:
		return fault_sys(fault, sys, "sysctl ", sysctl->name, " = \"", sysctl->value, "\"");
	}
}

static int write_sysctl(const struct sysctl *sysctl, struct fault *fault)
{
	size_t len = strlen(sysctl->value);
	cleanup_close int fd = -1;
	ssize_t n;

	/* Its file belongs to the host's root even in a namespace of the pod's; the call asks the namespace's owner. */
	if (streq(sysctl->file, "/proc/sys/kernel/domainname"))
		return setdomainname(sysctl->value, len) < 0 ? sysctl_fault(sysctl, errno, fault)
		                                             : 0;

	fd = open(sysctl->file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return sysctl_fault(sysctl, errno, fault);
	n = write(fd, sysctl->value,
	          len); /* in one piece: the kernel parses each write on its own */
	if (n < 0)
		return sysctl_fault(sysctl, errno, fault);
	/* A handler that stops at what it does not understand reports it as a short count. */
	return (size_t)n == len ? 0 : sysctl_fault(sysctl, EINVAL, fault);
}

static int unshare_fault(int flags, int sys, struct fault *fault)
{
	const char *what =
		flags & CLONE_NEWUSER ? "user namespace" : "network, IPC and UTS namespaces";

	if (sys == ENOSPC || sys == EUSERS)
		return fault_code(fault, CODE_RESOURCE_EXHAUSTED, "create ", what,
		                  ": the limit in /proc/sys/user is reached");
	if (sys == EINVAL)
		return fault_code(fault, CODE_UNIMPLEMENTED, "create ", what,
		                  ": not in this kernel");
	if (sys == EPERM && flags & CLONE_NEWUSER)
		return fault_code(fault, CODE_FAILED_PRECONDITION, "create ", what,
		                  ": the kernel refuses them here, as it does in a chroot");
	return fault_sys(fault, sys, "create ", what);
}

static int tell(const struct owner *owner, const struct note *note)
{
	return write_full(owner->up, note, sizeof(*note)) == (ssize_t)sizeof(*note) ? 0 : -1;
}

static int become_root(const struct owner *owner, struct fault *fault)
{
	char go;

	if (unshare(CLONE_NEWUSER) < 0)
		return unshare_fault(CLONE_NEWUSER, errno, fault);
	if (tell(owner, &(struct note){ .kind = NOTE_UNSHARED }) < 0 ||
	    read_full(owner->down, &go, 1) != 1)
		_exit(1); /* the helper failed and says so itself */
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return fault_sys(fault, errno, "become root of the pod's user namespace");
	/* Group membership of the host's root means nothing in there. */
	if (setgroups(0, NULL) < 0)
		return fault_sys(fault, errno, "drop groups in the pod's user namespace");
	return 0;
}

static int set_up(const struct owner *owner, struct fault *fault)
{
	const struct ns_job *job = owner->job;
	int flags = 0;

	if (job->wanted[NAMESPACE_USER] && become_root(owner, fault) < 0)
		return -1;
	/* Lost at the change of ids. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return fault_sys(fault, errno, "ask for a death signal");

	for (int k = 0; k < NAMESPACE_KINDS; k++)
		if (job->wanted[k] && k != NAMESPACE_USER)
			flags |= kinds[k].flag;
	if (flags && unshare(flags) < 0)
		return unshare_fault(flags, errno, fault);
	if (job->hostname && sethostname(job->hostname, strlen(job->hostname)) < 0)
		return fault_sys(fault, errno, "set hostname ", job->hostname);
	if (job->wanted[NAMESPACE_NET] && raise_loopback(fault) < 0)
		return -1;
	for (size_t i = 0; i < job->nsysctls; i++)
		if (write_sysctl(&job->sysctls[i], fault) < 0 && !job->sysctls[i].optional)
			return -1;
	return 0;
}

NORETURN static void owner_main(const struct owner *owner)
{
	struct note note = { .kind = NOTE_READY };
	char end;

	if (set_up(owner, &note.fault) < 0)
		note.kind = NOTE_FAILED;
	if (tell(owner, &note) == 0 && note.kind == NOTE_READY)
		ignore(read_full(owner->down, &end, 1) < 0); /* until the helper has pinned us */
	_exit(0);
}

/* ------------------------------------------------------------------------------------------------------ the helper */

static int write_map(pid_t pid, const char *file, const char *text, struct fault *fault)
{
	cleanup_free char *line = NULL;
	cleanup_close int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return fault_sys(fault, errno, "open ", file, " of the pod's user namespace");
	if (write(fd, text, strlen(text)) >= 0)
		return 0;

	fault->sys = errno;
	line = xstrdup(text);
	for (char *c = line; *c; c++)
		if (*c == '\n')
			*c = c[1] ? ',' : '\0';
	return fault_both(fault, fault->sys == EINVAL ? CODE_INVALID_ARGUMENT : CODE_OK, fault->sys,
	                  "write ", file, " \"", line, "\"");
}

/* 0 and the note is of that kind; else @fault says what the owner said, or that it died. */
static int expect(int fd, enum note_kind kind, struct fault *fault)
{
	struct note note;

	if (read_full(fd, &note, sizeof(note)) != (ssize_t)sizeof(note))
		return fault_code(fault, CODE_INTERNAL,
		                  "the process that makes the pod's namespaces was killed");
	if (note.kind == kind)
		return 0;
	if (note.kind != NOTE_FAILED)
		return fault_code(fault, CODE_INTERNAL,
		                  "unexpected answer while the pod's namespaces were made");
	*fault = note.fault;
	return -1;
}

static int pin_all(const struct ns_job *job, pid_t pid, struct fault *fault)
{
	for (int k = 0; k < NAMESPACE_KINDS; k++) {
		char source[64];

		if (!job->wanted[k])
			continue;
		snprintf(source, sizeof(source), "/proc/%d/ns/%s", (int)pid, kinds[k].name);
		if (mount_apply(&(struct mount_op){ .kind = MOUNT_PIN,
		                                    .source = source,
		                                    .target = job->paths.path[k] },
		                fault) < 0)
			return -1;
	}
	return 0;
}

static int unpin_all(const struct ns_job *job, struct fault *fault)
{
	for (int k = 0; k < NAMESPACE_KINDS; k++) {
		cleanup_free char *path = xasprintf("%s/%s", job->dir, kinds[k].name);

		if (mount_apply(&(struct mount_op){ .kind = MOUNT_UNPIN, .target = path }, fault) <
		    0)
			return -1;
	}
	if (rmdir(job->dir) < 0 && errno != ENOENT)
		return fault_sys(fault, errno, "remove ", job->dir);
	return 0;
}

static int guide_owner(const struct ns_job *job, pid_t pid, int up, int down, struct fault *fault)
{
	if (job->wanted[NAMESPACE_USER]) {
		if (expect(up, NOTE_UNSHARED, fault) < 0 ||
		    write_map(pid, "gid_map", job->gid_map, fault) < 0 ||
		    write_map(pid, "uid_map", job->uid_map, fault) < 0)
			return -1;
		if (write_full(down, "g", 1) != 1)
			return fault_code(fault, CODE_INTERNAL,
			                  "the process that makes the pod's namespaces was killed");
	}
	if (expect(up, NOTE_READY, fault) < 0)
		return -1;
	return pin_all(job, pid, fault);
}

static int make(const struct ns_job *job, struct fault *fault)
{
	cleanup_close int up_read = -1, up_write = -1, down_read = -1, down_write = -1;
	struct fault ignored;
	int fds[2];
	pid_t pid;
	int rc;

	if (unpin_all(job, fault) < 0)
		return -1;
	rc = fsx_mkdir_p(job->dir, 0711);
	if (rc < 0)
		return fault_sys(fault, -rc, "create ", job->dir);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fault_sys(fault, errno, "create a pipe");
	up_read = fds[0];
	up_write = fds[1];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fault_sys(fault, errno, "create a pipe");
	down_read = fds[0];
	down_write = fds[1];

	signal(SIGPIPE, SIG_IGN); /* an owner that died is reported, not shared */
	pid = fork();
	if (pid < 0)
		return fault_sys(fault, errno, "fork the namespace process");
	if (pid == 0) {
		close(take_fd(&up_read));
		close(take_fd(&down_write));
		owner_main(&(struct owner){ .job = job, .up = up_write, .down = down_read });
	}
	close(take_fd(&up_write));
	close(take_fd(&down_read));
	rc = guide_owner(job, pid, up_read, down_write, fault);

	/* It only waits for this; in a kernel call that does not end, our deadline takes both. */
	if (rc < 0)
		kill(pid, SIGKILL);
	close(take_fd(&down_write));
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (rc < 0)
		ignore(unpin_all(job, &ignored) <
		       0); /* the first error counts; namespaces_remove() tries again */
	return rc;
}

static int job_child(void *arg)
{
	const struct ns_job *job = arg;
	struct fault fault;

	if ((job->unpinning ? unpin_all(job, &fault) : make(job, &fault)) < 0)
		return fault_send(&fault, STDOUT_FILENO);
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- the loop */

static void job_finish(struct ns_job *job, const struct err *err)
{
	job->done(job->arg, err || job->unpinning ? NULL : &job->paths, err);
	job_free(job);
}

static void job_done(void *arg, const struct child_result *result)
{
	struct ns_job *job = arg;
	struct err err = { 0 };

	job_finish(job, fault_check(&job->child, result, &err) < 0 ? &err : NULL);
}

static void job_skipped(void *arg)
{
	job_finish(arg, NULL);
}

static int job_start(struct namespaces *ns, struct ns_job *job, const char *verb, int oplock_fd,
                     int64_t timeout_ms, struct err *err)
{
	job->child = (struct child_args)CHILD_ARGS_INIT;
	job->child.name = xasprintf("%s namespaces of sandbox %.12s", verb, job->id);
	job->child.fn = job_child;
	job->child.fn_arg = job;
	job->child.capture_out = true;
	job->child.capture_err = true;
	job->child.oplock_fd = oplock_fd;
	job->child.timeout_ms = timeout_ms;
	job->child.done = job_done;
	job->child.arg = job;
	return child_spawn(ns->loop, &job->child, err) ? 0 : -1;
}

struct namespaces *namespaces_new(struct loop *loop, const char *state, struct err *err)
{
	struct namespaces *ns = xcalloc(1, sizeof(*ns));
	int rc;

	ensure(loop && state && state[0] == '/');
	*ns = (struct namespaces){ .loop = loop, .dir = xasprintf("%s/ns", state) };
	rc = fsx_mkdir_p(ns->dir, 0711);
	if (rc < 0) {
		err_sys(err, -rc, "create %s", ns->dir);
		namespaces_free(ns);
		return NULL;
	}
	return ns;
}

void namespaces_free(struct namespaces *ns)
{
	if (!ns)
		return;
	free(ns->dir);
	free(ns);
}

int namespaces_path(const struct namespaces *ns, const char *id, enum namespace_kind kind,
                    char *ret, size_t size)
{
	return str_format(ret, size, "%s/%s/%s", ns->dir, id, kinds[kind].name);
}

static bool is_component(const char *id)
{
	return id[0] != '\0' && id[0] != '.' && !strchr(id, '/') && strlen(id) < ID_SIZE;
}

static struct ns_job *job_new(const struct namespaces *ns, const char *id, namespaces_done_fn done,
                              void *arg, struct err *err)
{
	struct ns_job *job;

	ensure(done);
	if (!is_component(id)) {
		err_set(err, CODE_INVALID_ARGUMENT, "sandbox id %.70s cannot name a directory", id);
		return NULL;
	}
	job = xcalloc(1, sizeof(*job));
	ensure(str_copy(job->id, sizeof(job->id), id) == 0);
	job->dir = xasprintf("%s/%s", ns->dir, id);
	job->done = done;
	job->arg = arg;
	return job;
}

int namespaces_create(struct namespaces *ns, const struct namespaces_args *args, int oplock_fd,
                      int64_t timeout_ms, namespaces_done_fn done, void *arg, struct err *err)
{
	cleanup(job_free) struct ns_job *job = NULL;
	bool any = false;

	if (namespaces_check(args, err) < 0)
		return -1;
	job = job_new(ns, args->id, done, arg, err);
	if (!job)
		return -1;

	for (int k = 0; k < NAMESPACE_KINDS; k++) {
		job->wanted[k] = !is_host(args, (enum namespace_kind)k);
		any = any || job->wanted[k];
		if (job->wanted[k] && namespaces_path(ns, args->id, (enum namespace_kind)k,
		                                      job->paths.path[k], PATH_SIZE) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: state directory has too long a name", ns->dir);
	}
	if (!any) {
		loop_defer_init(&job->defer, job_skipped, job);
		loop_defer_queue(ns->loop, &job->defer);
		take_ptr(job);
		return 0;
	}

	if (job->wanted[NAMESPACE_USER]) {
		job->uid_map = map_text(args->uid_maps, args->nuid_maps);
		job->gid_map = map_text(args->gid_maps, args->ngid_maps);
	}
	if (job->wanted[NAMESPACE_UTS] && args->hostname && args->hostname[0])
		job->hostname = xstrdup(args->hostname);
	job->sysctls = xcalloc(args->sysctls.count + 2, sizeof(*job->sysctls));
	for (size_t i = 0; i < args->sysctls.count; i++) {
		const struct pair *pair = &args->sysctls.items[i];
		char path[SYSCTL_PATH_SIZE];

		if (sysctl_path(pair->key, path, sizeof(path), err) < 0)
			return -1;
		add_sysctl(job, pair->key, path, pair->value, false);
	}
	add_default_sysctls(job);

	if (job_start(ns, job, "create", oplock_fd, timeout_ms, err) < 0)
		return -1;
	take_ptr(job);
	return 0;
}

int namespaces_remove(struct namespaces *ns, const char *id, int oplock_fd, int64_t timeout_ms,
                      namespaces_done_fn done, void *arg, struct err *err)
{
	cleanup(job_free) struct ns_job *job = job_new(ns, id, done, arg, err);

	if (!job)
		return -1;
	job->unpinning = true;
	if (job_start(ns, job, "unpin", oplock_fd, timeout_ms, err) < 0)
		return -1;
	take_ptr(job);
	return 0;
}

bool namespaces_is_pinned(const struct namespaces *ns, const char *id, enum namespace_kind kind)
{
	char path[PATH_SIZE];
	struct statfs st;

	if (!is_component(id) || namespaces_path(ns, id, kind, path, sizeof(path)) < 0)
		return false;
	return statfs(path, &st) == 0 && (unsigned long)st.f_type == NSFS_MAGIC;
}

int namespaces_list(const struct namespaces *ns, char ***ret_ids, struct err *err)
{
	int rc = fsx_list(AT_FDCWD, ns->dir, ret_ids);

	return rc < 0 ? err_sys(err, -rc, "list %s", ns->dir) : 0;
}
