/* cri/spec/user.c */
#include "cri/spec/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/sys.h"

#define OPEN_TRIES 16 /* the kernel answers EAGAIN while somebody renames on the way */

/* ------------------------------------------------------------------------------------------------------------ lines */

enum {
	PASSWD_NAME,
	PASSWD_UID = 2,
	PASSWD_GID = 3,
	GROUP_NAME = 0,
	GROUP_GID = 2,
	GROUP_MEMBERS = 3,
	FIELDS = 4
};

/* The first four fields of the next line that has at least @need of them; false at the end. */
static bool next_entry(struct str *text, size_t need, struct str fields[FIELDS])
{
	struct str line;

	while (text->len) {
		size_t count = 0;

		str_cut(*text, '\n', &line, text);
		line = str_trim(line);
		if (line.len == 0 || line.p[0] == '#')
			continue;
		memset(fields, 0, FIELDS * sizeof(*fields));
		for (bool more = true; more && count < FIELDS;)
			more = str_cut(line, ':', &fields[count++], &line);
		if (count >= need)
			return true;
	}
	return false;
}

static bool id_of(struct str text, uint32_t *ret)
{
	uint64_t value;

	if (str_u64(text, USER_ID_MAX, &value) < 0)
		return false;
	*ret = (uint32_t)value;
	return true;
}

struct passwd_entry {
	struct str name;
	uint32_t uid, gid;
};

static bool next_user(struct str *text, struct passwd_entry *ret)
{
	struct str fields[FIELDS];

	while (next_entry(text, FIELDS, fields)) {
		ret->name = fields[PASSWD_NAME];
		if (ret->name.len && id_of(fields[PASSWD_UID], &ret->uid) &&
		    id_of(fields[PASSWD_GID], &ret->gid))
			return true;
	}
	return false;
}

struct group_entry {
	struct str name, members;
	uint32_t gid;
};

static bool next_group(struct str *text, struct group_entry *ret)
{
	struct str fields[FIELDS];

	while (next_entry(text, GROUP_GID + 1, fields)) {
		ret->name = fields[GROUP_NAME];
		ret->members = fields[GROUP_MEMBERS];
		if (ret->name.len && id_of(fields[GROUP_GID], &ret->gid))
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------------------------------------------------- resolve */

static bool is_number(struct str text)
{
	size_t i = text.len && text.p[0] == '-';

	if (i == text.len)
		return false;
	for (; i < text.len; i++)
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
	return true;
}

static int number(struct str text, const char *what, uint32_t *ret, struct err *err)
{
	return id_of(text, ret) ? 0
	                        : err_set(err, CODE_INVALID_ARGUMENT, "%s %.*s is not 0..%d", what,
	                                  (int)MIN(text.len, (size_t)40), text.p, USER_ID_MAX);
}

static int find_user(struct str passwd, struct str wanted, struct user *ret, struct err *err)
{
	struct passwd_entry entry;
	bool numeric = is_number(wanted);

	if (numeric && number(wanted, "user", &ret->uid, err) < 0)
		return -1;
	while (next_user(&passwd, &entry)) {
		if (numeric ? entry.uid != ret->uid : !str_eq(entry.name, wanted))
			continue;
		ret->uid = entry.uid;
		ret->gid = entry.gid;
		ret->name = str_dup(entry.name);
		return 0;
	}
	if (numeric)
		return 0;
	return err_set(err, CODE_NOT_FOUND, "user \"%.*s\" is not in the image's /etc/passwd",
	               (int)MIN(wanted.len, (size_t)60), wanted.p);
}

static int find_group(struct str group, struct str wanted, uint32_t *ret, struct err *err)
{
	struct group_entry entry;

	if (is_number(wanted))
		return number(wanted, "group", ret, err);
	while (next_group(&group, &entry)) {
		if (!str_eq(entry.name, wanted))
			continue;
		*ret = entry.gid;
		return 0;
	}
	return err_set(err, CODE_NOT_FOUND, "group \"%.*s\" is not in the image's /etc/group",
	               (int)MIN(wanted.len, (size_t)60), wanted.p);
}

int user_resolve(struct str passwd, struct str group, const char *text, struct user *ret,
                 struct err *err)
{
	cleanup(user_release) struct user user = { 0 };
	struct str name, rest;
	bool has_group = str_cut(str_of(text), ':', &name, &rest);

	if (has_group && memchr(rest.p, ':', rest.len))
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%.60s\" has more than one colon",
		               text);
	if (has_group && (name.len == 0 || rest.len == 0))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "\"%.60s\" lacks a user or a group beside its colon", text);
	if (find_user(passwd, name.len ? name : STR("0"), &user, err) < 0)
		return -1;
	if (has_group && find_group(group, rest, &user.gid, err) < 0)
		return -1;
	*ret = user;
	user = (struct user){ 0 };
	return 0;
}

/* ----------------------------------------------------------------------------------------------------------- groups */

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool lists(struct str members, const char *name)
{
	struct str member;

	while (members.len) {
		str_cut(members, ',', &member, &members);
		if (str_eq_c(str_trim(member), name))
			return true;
	}
	return false;
}

int user_add_groups(struct user *user, struct str group, bool merge, const int64_t *extra,
                    size_t nextra, struct err *err)
{
	struct group_entry entry;
	size_t count = 0, kept = 0;

	if (nextra >= USER_GROUPS_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "more than %d groups",
		               USER_GROUPS_MAX);
	free(user->groups);
	/* duplicates in /etc/group may not crowd out what is new: twice the room, squeezed when full */
	user->groups = xcalloc(USER_GROUPS_MAX * 2, sizeof(*user->groups));
	user->groups[count++] = user->gid;
	for (size_t i = 0; i < nextra; i++) {
		if (extra[i] < 0 || extra[i] > USER_ID_MAX)
			return err_set(err, CODE_INVALID_ARGUMENT, "group %lld is not 0..%d",
			               (long long)extra[i], USER_ID_MAX);
		user->groups[count++] = (uint32_t)extra[i];
	}
	while (merge && user->name && next_group(&group, &entry)) {
		if (!lists(entry.members, user->name))
			continue;
		if (count == USER_GROUPS_MAX * 2)
			return err_set(err, CODE_RESOURCE_EXHAUSTED, "more than %d groups",
			               USER_GROUPS_MAX);
		user->groups[count++] = entry.gid;
	}
	qsort(user->groups, count, sizeof(*user->groups), compare_ids);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || user->groups[i] != user->groups[kept - 1])
			user->groups[kept++] = user->groups[i];
	if (kept > USER_GROUPS_MAX)
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "more than %d groups",
		               USER_GROUPS_MAX);
	user->ngroups = kept;
	return 0;
}

void user_release(struct user *user)
{
	free(user->name);
	free(user->groups);
	*user = (struct user){ 0 };
}

/* ------------------------------------------------------------------------------------------------------------- file */

/* O_PATH: what is no regular file (a FIFO, a device) must not even be opened. */
static int open_inside(const char *rootfs, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_close int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = -EAGAIN;

	if (root < 0)
		return -errno;
	for (int i = 0; i < OPEN_TRIES && fd == -EAGAIN; i++)
		fd = sys_openat2(root, path, &how);
	return fd;
}

int user_read_file(const char *rootfs, const char *path, char **ret_text, size_t *ret_len,
                   struct err *err)
{
	cleanup_close int place = open_inside(rootfs, path);
	cleanup_close int fd = -1;
	cleanup_free char *text = NULL;
	char name[40];
	struct stat st;
	ssize_t n;

	if (place == -ENOENT || place == -ENOTDIR || place == -ELOOP) {
		*ret_text = xstrdup("");
		*ret_len = 0;
		return 0;
	}
	if (place < 0)
		return err_sys(err, -place, "open %s of the image", path);
	if (fstat(place, &st) < 0)
		return err_sys(err, errno, "stat %s of the image", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s of the image is not a regular file",
		               path);
	if (st.st_size > USER_FILE_BYTES)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s of the image is larger than %u bytes", path, USER_FILE_BYTES);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", place);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "open %s of the image", path);
	text = xcalloc((size_t)st.st_size + 1, 1);
	n = read_full(fd, text, (size_t)st.st_size);
	if (n < 0)
		return err_sys(err, (int)-n, "read %s of the image", path);
	*ret_text = take_ptr(text);
	*ret_len = (size_t)n;
	return 0;
}
