/* cmd/migrate/file.c
 *
 * lock the directory, write a temporary file beside the old one, give it the old one's attributes, fsync, link the
 * backup, rename, fsync the directory. Killed in between, the directory holds at most one `.NAME.coracle-XXXXXX`, which
 * the next run removes: with the lock in hand nobody else can be working on it.
 *
 * Signals are held back meanwhile and looked at between the steps, so that an interrupted run leaves nothing behind.
 */
#include "cmd/migrate/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"

#define LOCK_WAIT_NS  (10 * NS_PER_S)
#define LOCK_RETRY_MS 50
#define MAX_BACKUPS   100
#define MAX_XATTR     (64 * 1024)
#define RANDOM_LEN    6

static PRINTF_LIKE(4, 5) int fail(struct migrate_message *error, enum migrate_code code, int sys,
                                  const char *fmt, ...)
{
	size_t len;
	va_list ap;

	error->code = code;
	error->place = (struct toml_place){ 0, 0 };
	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	len = strlen(error->text);
	if (sys)
		snprintf(error->text + len, sizeof(error->text) - len, ": %s", errno_name(sys));
	return -1;
}

/* ---------------------------------------------------------------------------------------------------------- read */

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int read_all(int fd, const char *what, struct migrate_file *file,
                    struct migrate_message *error)
{
	size_t room = TOML_MAX_BYTES + 1;
	ssize_t n;

	if (S_ISREG(file->st.st_mode) && file->st.st_size < (off_t)room)
		room = (size_t)file->st.st_size + 1;
	file->text = try_calloc(1, room + 1, TOML_MAX_BYTES + 2);
	if (!file->text)
		return fail(error, E_OPEN, ENOMEM, "%s", what);
	n = read_full(fd, file->text, room);
	if (n < 0)
		return fail(error, E_OPEN, (int)-n, "cannot read");
	file->len = (size_t)n;
	return 0;
}

int migrate_file_read(const char *name, struct migrate_file *ret, struct migrate_message *error)
{
	cleanup_close int fd = -1;
	struct stat after;

	*ret = (struct migrate_file){ .name = name };
	if (streq(name, "-")) {
		ret->name = "<stdin>";
		if (read_all(STDIN_FILENO, "standard input", ret, error) < 0)
			return -1;
		return ret->len > TOML_MAX_BYTES ? fail(error, E_OPEN, 0, "larger than 16 MiB") : 0;
	}
	ret->path = realpath(name, NULL);
	if (!ret->path)
		return fail(error, E_OPEN, errno, "cannot open");
	/* A FIFO must not make us wait for a writer. */
	fd = open(ret->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &ret->st) < 0)
		return fail(error, E_OPEN, errno, "cannot open");
	if (!S_ISREG(ret->st.st_mode))
		return fail(error, E_OPEN, 0, "not a regular file");
	if (ret->st.st_size > (off_t)TOML_MAX_BYTES)
		return fail(error, E_OPEN, 0, "larger than 16 MiB");
	if (read_all(fd, name, ret, error) < 0)
		return -1;
	if (fstat(fd, &after) < 0 || !is_same_file(&ret->st, &after) ||
	    ret->len != (size_t)after.st_size)
		return fail(error, E_OPEN, 0, "changed while it was read");
	return 0;
}

void migrate_file_release(struct migrate_file *file)
{
	free(file->path);
	free(file->text);
	*file = (struct migrate_file){ .name = NULL };
}

/* ------------------------------------------------------------------------------------------------------- replace */

struct replacer {
	const struct migrate_file *file;
	struct migrate_message *error;
	int dir;
	const char *base; /* the file's name in its directory */
	int temp;
	char temp_name[NAME_MAX + 1]; /* "" while there is none */
};

/* Has one of the signals arrived that we hold back? Its number, or 0. */
static int pending_signal(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	sigset_t pending;

	sigpending(&pending);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigismember(&pending, signals[i]))
			return signals[i];
	return 0;
}

static int open_dir(const struct migrate_file *file, const char **ret_base)
{
	const char *slash = strrchr(file->path, '/');
	cleanup_free char *dir =
		xstrndup(file->path, slash == file->path ? 1 : (size_t)(slash - file->path));

	*ret_base = slash + 1;
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool is_stray(const char *name, const char *base)
{
	size_t len = strlen(base);

	return name[0] == '.' && strncmp(name + 1, base, len) == 0 &&
	       strncmp(name + 1 + len, ".coracle-", 9) == 0 &&
	       strlen(name + 1 + len + 9) == RANDOM_LEN;
}

static void remove_strays(int dir, const char *base)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!stream) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(stream)))
		if (is_stray(entry->d_name, base))
			unlinkat(dir, entry->d_name, 0);
	closedir(stream);
}

void migrate_file_tidy(const struct migrate_file *file)
{
	const char *base;
	cleanup_close int dir = file->path ? open_dir(file, &base) : -1;

	if (dir >= 0 && flock(dir, LOCK_EX | LOCK_NB) == 0)
		remove_strays(dir, base);
}

static int lock_dir(struct replacer *r)
{
	int64_t deadline = clock_boot_ns() + LOCK_WAIT_NS;
	int sig;

	while (flock(r->dir, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fail(r->error, E_WRITE, errno, "cannot lock the directory");
		sig = pending_signal();
		if (sig)
			return sig;
		if (clock_boot_ns() > deadline)
			return fail(r->error, E_WRITE, 0,
			            "another run has locked the directory for 10 seconds");
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_RETRY_MS * 1000000L }, NULL);
	}
	return 0;
}

/* A new file beside the old one that only we can read so far. */
static int create_temp(struct replacer *r)
{
	char random[ID_SIZE];
	int fd;

	for (int tries = 0; tries < 10; tries++) {
		rand_id(random);
		random[RANDOM_LEN] = '\0';
		if (str_format(r->temp_name, sizeof(r->temp_name), ".%s.coracle-%s", r->base,
		               random) < 0) {
			r->temp_name[0] = '\0';
			return fail(r->error, E_WRITE, ENAMETOOLONG,
			            "cannot create a temporary file");
		}
		fd = openat(r->dir, r->temp_name,
		            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			break;
	}
	r->temp_name[0] = '\0';
	return fail(r->error, E_WRITE, errno, "cannot create a temporary file");
}

static bool is_kept_xattr(const char *name)
{
	return streq(name, "security.selinux") || streq(name, "system.posix_acl_access") ||
	       starts_with(name, "user.");
}

static int copy_xattrs(int from, int to)
{
	cleanup_free char *names = xcalloc(1, MAX_XATTR), *value = xcalloc(1, MAX_XATTR);
	ssize_t len = flistxattr(from, names, MAX_XATTR), size;

	if (len < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		if (!is_kept_xattr(name))
			continue;
		size = fgetxattr(from, name, value, MAX_XATTR);
		if (size < 0 || fsetxattr(to, name, value, (size_t)size, 0) < 0)
			if (errno != ENOTSUP && errno != ENODATA)
				return -errno;
	}
	return 0;
}

/* Owner, extended attributes, mode: in this order, each resets something of those behind it. */
static int copy_attributes(const struct migrate_file *file, int to, struct migrate_message *error)
{
	cleanup_close int from = open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int rc;

	if (from < 0 || fstat(to, &st) < 0)
		return fail(error, E_WRITE, errno, "cannot read its attributes");
	if ((st.st_uid != file->st.st_uid || st.st_gid != file->st.st_gid) &&
	    fchown(to, file->st.st_uid, file->st.st_gid) < 0)
		return fail(error, E_WRITE, errno, "cannot keep owner %u:%u", file->st.st_uid,
		            file->st.st_gid);
	rc = copy_xattrs(from, to);
	if (rc < 0)
		return fail(error, E_WRITE, -rc, "cannot keep its extended attributes");
	if (fchmod(to, file->st.st_mode & 07777) < 0)
		return fail(error, E_WRITE, errno, "cannot keep mode %04o",
		            file->st.st_mode & 07777);
	return 0;
}

static int write_temp(struct replacer *r, const char *text, size_t len)
{
	ssize_t n;

	r->temp = create_temp(r);
	if (r->temp < 0)
		return -1;
	n = write_full(r->temp, text, len);
	if (n < 0)
		return fail(r->error, E_WRITE, (int)-n, "cannot write the new file");
	if (copy_attributes(r->file, r->temp, r->error) < 0)
		return -1;
	if (fsync(r->temp) < 0)
		return fail(r->error, E_WRITE, errno, "cannot write the new file to disk");
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- backup */

/* Do the bytes of the file in the directory equal the old ones? */
static bool holds_old_text(const struct replacer *r, const char *name)
{
	cleanup_close int fd = openat(r->dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	cleanup_free char *text = xcalloc(1, r->file->len + 1);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size == (off_t)r->file->len &&
	       read_full(fd, text, r->file->len + 1) == (ssize_t)r->file->len &&
	       memcmp(text, r->file->text, r->file->len) == 0;
}

/* Where hard links do not work, a copy: through a temporary file, so that the name never stands for half of one. */
static int copy_backup(struct replacer *r, const char *name)
{
	struct replacer copy = {
		.file = r->file, .error = r->error, .dir = r->dir, .base = r->base, .temp = -1
	};
	int rc = write_temp(&copy, r->file->text, r->file->len);

	if (rc == 0 && renameat2(r->dir, copy.temp_name, r->dir, name, RENAME_NOREPLACE) < 0) {
		rc = -errno;
		/* Unknown to the file system; nobody else makes that name while we hold the lock. */
		if (rc == -EINVAL)
			rc = renameat(r->dir, copy.temp_name, r->dir, name) < 0 ? -errno : 0;
	}
	if (copy.temp >= 0)
		close(copy.temp);
	if (rc < 0 && copy.temp_name[0])
		unlinkat(r->dir, copy.temp_name, 0);
	return rc;
}

static int fail_backup(struct replacer *r, const char *name)
{
	struct migrate_message why = *r->error;

	return fail(r->error, E_BACKUP, 0, "backup %s: %s", name, why.text);
}

static int make_backup(struct replacer *r, const char *suffix, char **ret_name)
{
	int rc;

	for (int i = 0; i < MAX_BACKUPS; i++) {
		cleanup_free char *name = i ? xasprintf("%s%s.%d", r->base, suffix, i)
		                            : xasprintf("%s%s", r->base, suffix);

		rc = linkat(r->dir, r->base, r->dir, name, 0) < 0 ? -errno : 0;
		if (rc == -EPERM || rc == -EMLINK || rc == -EOPNOTSUPP || rc == -EXDEV) {
			rc = faccessat(r->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0
			             ? -EEXIST
			             : copy_backup(r, name);
			if (rc == -1 && r->error->code)
				return fail_backup(r, name);
		}
		if (rc == 0 || (rc == -EEXIST && holds_old_text(r, name))) {
			*ret_name = take_ptr(name);
			return 0;
		}
		if (rc != -EEXIST)
			return fail(r->error, E_BACKUP, -rc, "backup %s", name);
	}
	return fail(r->error, E_BACKUP, 0, "there are %d backups with other contents already",
	            MAX_BACKUPS);
}

unsigned int migrate_file_other_names(const struct migrate_file *file, const char *suffix)
{
	cleanup_free char *backup = suffix ? xasprintf("%s%s", file->path, suffix) : NULL;
	unsigned int names = file->st.st_nlink > 1 ? (unsigned int)file->st.st_nlink - 1 : 0;
	struct stat st;

	if (names && backup && lstat(backup, &st) == 0 && st.st_dev == file->st.st_dev &&
	    st.st_ino == file->st.st_ino)
		names--;
	return names;
}

/* ---------------------------------------------------------------------------------------------------------- steps */

static int check_unchanged(struct replacer *r)
{
	struct stat now;

	if (fstatat(r->dir, r->base, &now, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !is_same_file(&now, &r->file->st))
		return fail(r->error, E_OPEN, 0, "changed by somebody else meanwhile");
	return 0;
}

static int put_in_place(struct replacer *r)
{
	if (renameat(r->dir, r->temp_name, r->dir, r->base) < 0) {
		if (errno == EBUSY || errno == EXDEV)
			return fail(
				r->error, E_WRITE, errno,
				"cannot be replaced, it is a mount point; write the result elsewhere with -o");
		return fail(r->error, E_WRITE, errno, "cannot be replaced");
	}
	r->temp_name[0] = '\0';
	if (fsync(r->dir) < 0)
		return fail(r->error, E_WRITE, errno,
		            "replaced, but its directory cannot be written to disk");
	return 0;
}

static int run_steps(struct replacer *r, const char *text, size_t len, const char *suffix,
                     char **ret_backup)
{
	int rc = lock_dir(r);

	if (rc)
		return rc;
	remove_strays(r->dir, r->base);
	if (write_temp(r, text, len) < 0 || check_unchanged(r) < 0)
		return -1;
	rc = pending_signal();
	if (rc)
		return rc;
	if (suffix && make_backup(r, suffix, ret_backup) < 0)
		return -1;
	if (check_unchanged(r) < 0)
		return -1;
	return put_in_place(r);
}

int migrate_file_replace(const struct migrate_file *file, const char *text, size_t len,
                         const char *suffix, char **ret_backup, struct migrate_message *error)
{
	struct replacer r = { .file = file, .error = error, .temp = -1 };
	sigset_t held, before;
	int rc;

	*ret_backup = NULL;
	error->code = 0;
	r.dir = open_dir(file, &r.base);
	if (r.dir < 0)
		return fail(error, E_WRITE, errno, "cannot open its directory");
	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, &before);
	rc = run_steps(&r, text, len, suffix, ret_backup);
	if (r.temp >= 0)
		close(r.temp);
	if (r.temp_name[0])
		unlinkat(r.dir, r.temp_name, 0);
	close(r.dir);
	if (rc == 0)
		sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}
