/* core/base/proc.c
 *
 * What is asked about single processes needs no heap: monitors ask too.
 */
#include "core/base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif

#define MAX_MOUNTINFO                                                                              \
	((size_t)64 * 1024 * 1024) /* an overlay line may be a page, a busy node has thousands */
#define MAX_CGROUP ((size_t)256 * 1024)

/* The whole of a small file into a fixed buffer, NUL terminated. */
static int read_small(const char *path, char *text, size_t size)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read_full(fd, text, size - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	return 0;
}

static int read_stat(pid_t pid, char *ret_state, uint64_t *ret_ticks)
{
	char path[32], text[1024];
	struct str field, rest;
	uint64_t ticks;
	char state;
	int rc;

	if (str_format(path, sizeof(path), "/proc/%d/stat", (int)pid) < 0)
		return -EINVAL;
	rc = read_small(path, text, sizeof(text));
	if (rc < 0)
		return rc == -ESRCH ? -ENOENT : rc; /* it went between open and read */

	/* "pid (name) state ...": the name may hold anything, so what follows its last parenthesis
	 * counts */
	if (!str_rcut(str_of(text), ')', &field, &rest) || rest.len < 2)
		return -EBADMSG;
	rest.p++;
	rest.len--;
	state = rest.p[0];
	for (int number = 3; number <= 22; number++)
		if (!str_cut(rest, ' ', &field, &rest))
			return -EBADMSG;
	if (str_u64(field, UINT64_MAX, &ticks) < 0)
		return -EBADMSG;
	*ret_state = state;
	*ret_ticks = ticks;
	return 0;
}

int proc_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
	char state;

	return read_stat(pid, &state, ret_ticks);
}

int proc_state(pid_t pid, char *ret_state)
{
	uint64_t ticks;

	return read_stat(pid, ret_state, &ticks);
}

int proc_catches(pid_t pid, int sig)
{
	char path[32], text[4096];
	static const char digits[] = "0123456789abcdef";
	const char *line;
	uint64_t mask = 0;
	int rc;

	if (str_format(path, sizeof(path), "/proc/%d/status", (int)pid) < 0)
		return -EINVAL;
	rc = read_small(path, text, sizeof(text));
	if (rc < 0)
		return rc;
	line = strstr(text, "\nSigCgt:\t");
	if (!line)
		return -EPROTO;
	for (line += strlen("\nSigCgt:\t"); *line && *line != '\n'; line++) {
		const char *digit = strchr(digits, *line);

		if (!digit)
			return -EPROTO;
		mask = mask << 4 | (uint64_t)(digit - digits);
	}
	return (int)(mask >> (sig - 1) & 1);
}

int proc_program(pid_t pid, uint64_t *ret_dev, uint64_t *ret_ino)
{
	char path[32];
	struct stat st;

	if (str_format(path, sizeof(path), "/proc/%d/exe", (int)pid) < 0)
		return -EINVAL;
	if (stat(path, &st) < 0)
		return -errno;
	*ret_dev = st.st_dev;
	*ret_ino = st.st_ino;
	return 0;
}

bool proc_is_alive(pid_t pid, uint64_t start_ticks)
{
	uint64_t ticks;
	char state;

	return read_stat(pid, &state, &ticks) == 0 && ticks == start_ticks && state != 'Z' &&
	       state != 'X';
}

int proc_boot_id(uint8_t ret_id[16])
{
	char text[64] = "", digits[33];
	size_t n = 0;
	int rc;

	rc = read_small("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	if (rc < 0)
		return rc;
	for (const char *p = text; *p && *p != '\n'; p++) {
		if (*p == '-')
			continue;
		if (n == sizeof(digits) - 1)
			return -EBADMSG;
		digits[n++] = *p;
	}
	return hex_decode((struct str){ digits, n }, ret_id, 16) < 0 ? -EBADMSG : 0;
}

int proc_machine_id(uint8_t ret_id[16])
{
	char text[64];
	struct str id;
	int rc;

	rc = read_small("/etc/machine-id", text, sizeof(text));
	if (rc < 0 && rc != -ENOENT)
		return rc;
	id = str_trim(str_of(rc < 0 ? "" : text));
	if (!id.len ||
	    str_eq_c(id, "uninitialized")) { /* what an image says before its first boot */
		memset(ret_id, 0, 16);
		return 0;
	}
	return hex_decode(id, ret_id, 16) < 0 ? -EBADMSG : 0;
}

/* Is @name one of "cpu,cpuacct"? Of "" only "" is: the unified hierarchy. */
static bool has_controller(struct str list, const char *name)
{
	struct str one;
	bool more;

	do {
		more = str_cut(list, ',', &one, &list);
		if (str_eq_c(one, name))
			return true;
	} while (more);
	return false;
}

int proc_cgroup_path(pid_t pid, const char *controller, char **ret_path)
{
	cleanup_free char *text = NULL;
	struct str rest, line, id, controllers, path;
	char file[32];
	size_t len;
	int rc;

	if (pid == 0)
		rc = str_copy(file, sizeof(file), "/proc/self/cgroup");
	else
		rc = str_format(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	if (rc < 0)
		return -EINVAL;
	rc = fsx_read(AT_FDCWD, file, MAX_CGROUP, &text, &len);
	if (rc < 0)
		return rc == -ESRCH ? -ENOENT : rc;

	/* "4:cpu,cpuacct:/path", "1:name=systemd:/path", "0::/path" */
	rest = (struct str){ text, len };
	while (rest.len) {
		str_cut(rest, '\n', &line, &rest);
		if (!str_cut(line, ':', &id, &line) || !str_cut(line, ':', &controllers, &path))
			continue;
		if (has_controller(controllers, controller) && (*controller || str_eq_c(id, "0"))) {
			*ret_path = str_dup(path);
			return 0;
		}
	}
	return -ENOENT;
}

/* mountinfo writes blank, tab, newline, backslash and # as \ooo. In place: the text only gets
 * shorter. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p;) {
		uint64_t value;

		if (*p == '\\' && strlen(p) >= 4 &&
		    str_oct((struct str){ p + 1, 3 }, 0377, &value) == 0 && value) {
			*out++ = (char)value;
			p += 4;
		} else {
			*out++ = *p++;
		}
	}
	*out = '\0';
}

/* Cut the next field off; fields are separated by exactly one blank, and one (the source) may be
 * empty. */
static char *next_field(char **rest)
{
	char *field = *rest;
	char *blank;

	if (!field)
		return NULL;
	blank = strchr(field, ' ');
	if (blank)
		*blank = '\0';
	*rest = blank ? blank + 1 : NULL;
	return field;
}

static int number_field(char **rest, uint64_t *ret)
{
	const char *field = next_field(rest);

	return field ? str_u64(str_of(field), INT32_MAX, ret) : -1;
}

/* 36 35 98:0 /root /target rw,noatime shared:1 - ext3 /dev/root rw,errors=continue */
static int parse_mount(char *line, struct proc_mount *ret)
{
	uint64_t id, parent, major, minor;
	char *device, *root, *target, *options, *mark, *fstype, *source, *super_options;
	struct str head, tail;
	bool shared = false, slave = false;

	if (number_field(&line, &id) < 0 || number_field(&line, &parent) < 0)
		return -EBADMSG;
	device = next_field(&line);
	if (!device || !str_cut(str_of(device), ':', &head, &tail) ||
	    str_u64(head, UINT32_MAX, &major) < 0 || str_u64(tail, UINT32_MAX, &minor) < 0)
		return -EBADMSG;
	root = next_field(&line);
	target = next_field(&line);
	options = next_field(&line);
	while ((mark = next_field(&line)) && !streq(mark, "-")) {
		shared |= starts_with(mark, "shared:");
		slave |= starts_with(mark, "master:");
	}
	fstype = next_field(&line);
	source = next_field(&line);
	super_options = line;
	if (!root || !target || !options || !fstype || !source || !super_options)
		return -EBADMSG;

	unescape(root);
	unescape(target);
	unescape(fstype);
	unescape(source);
	unescape(super_options);
	*ret = (struct proc_mount){
		.id = (int)id,
		.parent = (int)parent,
		.major = (unsigned)major,
		.minor = (unsigned)minor,
		.root = root,
		.target = target,
		.fstype = fstype,
		.source = source,
		.options = options,
		.super_options = super_options,
		.shared = shared,
		.slave = slave,
	};
	return 0;
}

int proc_mounts_parse(char *text, proc_mount_fn fn, void *arg)
{
	while (text && *text) {
		struct proc_mount mount;
		char *line = text;
		int rc;

		text = strchr(line, '\n');
		if (text)
			*text++ = '\0';
		rc = parse_mount(line, &mount);
		if (rc == 0)
			rc = fn(&mount, arg);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int proc_mounts(proc_mount_fn fn, void *arg)
{
	cleanup_free char *text = NULL;
	int rc;

	rc = fsx_read(AT_FDCWD, "/proc/self/mountinfo", MAX_MOUNTINFO, &text, NULL);
	return rc < 0 ? rc : proc_mounts_parse(text, fn, arg);
}

static int is_target(const struct proc_mount *mount, void *path)
{
	return streq(mount->target, path);
}

int proc_is_mount_point(const char *path)
{
	struct statx st;

	/* What is cached is enough: a dead server must not be asked. */
	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0,
	          &st) == 0) {
		if (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
			return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
	} else if (errno == ENOENT || errno == ENOTDIR) {
		return 0;
	}
	/* An old kernel, or a file system that does not answer any more: the table knows all the
	 * same. */
	return proc_mounts(is_target, (void *)(uintptr_t)path);
}
