#include "core/journal/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/base/bug.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/disk.h"

enum place { PLACE_TMP, PLACE_NEW, PLACE_UNKNOWN, PLACE_BAD, PLACES };

static const char *const place_names[PLACES] = {
	[PLACE_TMP] = "tmp",
	[PLACE_NEW] = "new",
	[PLACE_UNKNOWN] = "unknown",
	[PLACE_BAD] = "bad",
};

struct spool {
	char *path;
	int dirs[PLACES]; /* -1: not there (read-only spools) */
	bool readonly;
	int watch_fd;
	struct loop_io *watch_io;
	void (*wake)(void *arg);
	void *wake_arg;
};

static struct spool *open_spool(const char *path, bool readonly, struct err *err)
{
	struct spool *spool = xcalloc(1, sizeof(*spool));

	*spool = (struct spool){ .path = xstrdup(path), .readonly = readonly, .watch_fd = -1 };
	for (size_t i = 0; i < PLACES; i++)
		spool->dirs[i] = -1;
	for (size_t i = 0; i < PLACES; i++) {
		cleanup_free char *sub = xasprintf("%s/%s", path, place_names[i]);
		int fd = disk_open_dir(sub, !readonly);

		if (fd < 0 && !(readonly && fd == -ENOENT)) {
			err_sys(err, -fd, "exit spool: open %s", sub);
			spool_free(spool);
			return NULL;
		}
		spool->dirs[i] = MAX(fd, -1);
	}
	return spool;
}

struct spool *spool_new(const char *path, struct err *err)
{
	return open_spool(path, false, err);
}

struct spool *spool_new_readonly(const char *path, struct err *err)
{
	return open_spool(path, true, err);
}

void spool_free(struct spool *spool)
{
	if (!spool)
		return;
	loop_io_free(spool->watch_io);
	if (spool->watch_fd >= 0)
		disk_close(spool->watch_fd);
	for (size_t i = 0; i < PLACES; i++)
		if (spool->dirs[i] >= 0)
			disk_close(spool->dirs[i]);
	free(spool->path);
	free(spool);
}

void spool_set_readonly(struct spool *spool)
{
	spool->readonly = true;
}

/* What happened does not matter: the directory is the truth, and an overflow says less than a scan. */
static void on_watch(void *arg, uint32_t events UNUSED)
{
	struct spool *spool = arg;
	char data[4096];

	while (read(spool->watch_fd, data, sizeof(data)) > 0)
		;
	spool->wake(spool->wake_arg);
}

int spool_watch(struct spool *spool, struct loop *loop, void (*wake)(void *arg), void *arg,
                struct err *err)
{
	cleanup_free char *path = xasprintf("%s/%s", spool->path, place_names[PLACE_NEW]);

	ensure(spool->watch_fd < 0 && wake);

	spool->watch_fd = disk_watch(path);
	if (spool->watch_fd < 0)
		return err_sys(err, -spool->watch_fd, "exit spool: watch %s", path);
	spool->wake = wake;
	spool->wake_arg = arg;
	spool->watch_io =
		loop_io_new(loop, spool->watch_fd, EPOLLIN, on_watch, spool, "exit spool", err);
	return spool->watch_io ? 0 : -1;
}

/* --- one file */

enum content { CONTENT_MISSING, CONTENT_UNFILLED, CONTENT_FILLED, CONTENT_DAMAGED };

static enum content read_record(const struct spool *spool, enum place place, const char *id,
                                struct exit_record *ret)
{
	cleanup_disk int fd =
		spool->dirs[place] < 0 ? -ENOENT : disk_open(spool->dirs[place], id, O_RDONLY);
	uint8_t data[EXIT_RECORD_BYTES + 1]; /* one more: a longer file is no record */
	struct err why = { 0 };
	ssize_t n;
	int kind;

	if (fd == -ENOENT)
		return CONTENT_MISSING;
	n = fd < 0 ? fd : disk_pread(fd, data, sizeof(data), 0);
	if (n < 0) { /* says nothing about the record: it stays, and the next scan looks again */
		log_warn(&(struct log_ctx){ .container = id, .sys = (int)-n },
		         "exit spool: cannot read a record in %s/: %s", place_names[place],
		         strerror((int)-n));
		return CONTENT_MISSING;
	}
	kind = exit_record_decode(data, (size_t)n, ret, &why);
	if (kind < 0 &&
	    err_is(&why, CODE_FAILED_PRECONDITION)) { /* whoever understands it will come */
		log_warn(&(struct log_ctx){ .container = id }, "exit spool: left alone: %s",
		         why.msg);
		return CONTENT_MISSING;
	}
	if (kind < 0 || !streq(ret->id, id))
		return CONTENT_DAMAGED;
	return kind == EXIT_RECORD_FILLED ? CONTENT_FILLED : CONTENT_UNFILLED;
}

static void move_to(const struct spool *spool, enum place from, enum place to, const char *id)
{
	int rc = disk_rename(spool->dirs[from], id, spool->dirs[to], id);

	if (rc < 0 && rc != -ENOENT)
		log_warn(&(struct log_ctx){ .container = id, .sys = -rc },
		         "exit spool: cannot move a record to %s/: %s", place_names[to],
		         strerror(-rc));
}

static void drop(const struct spool *spool, enum place place, const char *id)
{
	int rc = disk_unlink(spool->dirs[place], id);

	if (rc < 0 && rc != -ENOENT)
		log_warn(&(struct log_ctx){ .container = id, .sys = -rc },
		         "exit spool: cannot delete a record from %s/: %s", place_names[place],
		         strerror(-rc));
}

static void obey(const struct spool *spool, enum place place, const char *id,
                 enum exit_verdict verdict)
{
	if (spool->readonly)
		return;
	switch (verdict) {
	case EXIT_APPENDED:
	case EXIT_IN_FLIGHT:
		return;
	case EXIT_CONSUME:
		drop(spool, place, id);
		return;
	case EXIT_UNKNOWN:
		move_to(spool, place, PLACE_UNKNOWN, id);
		return;
	case EXIT_BAD:
		move_to(spool, place, PLACE_BAD, id);
		return;
	}
}

/* True if fn was called. In new/ a record that tells no exit is a damaged one; in tmp/ it is not finished. */
static bool judge(struct spool *spool, enum place place, const char *id, spool_fn fn, void *arg)
{
	struct exit_record rec;

	switch (read_record(spool, place, id, &rec)) {
	case CONTENT_MISSING:
		return false;
	case CONTENT_FILLED:
		obey(spool, place, id, fn(arg, id, &rec));
		return true;
	case CONTENT_UNFILLED:
	case CONTENT_DAMAGED:
		if (place == PLACE_TMP)
			return false;
		obey(spool, place, id, fn(arg, id, NULL));
		return true;
	}
	return false;
}

/* --- all of them */

int spool_scan(struct spool *spool, spool_fn fn, void *arg, struct err *err)
{
	cleanup(strv_free) char **names = NULL;
	int rc, seen = 0;

	if (spool->dirs[PLACE_NEW] < 0)
		return 0;
	rc = disk_list(spool->dirs[PLACE_NEW], &names);
	if (rc < 0)
		return err_sys(err, -rc, "exit spool: read %s/%s", spool->path,
		               place_names[PLACE_NEW]);
	for (char **name = names; *name; name++) {
		if (exit_record_id_valid(*name))
			seen += judge(spool, PLACE_NEW, *name, fn, arg);
		else if (!spool->readonly)
			move_to(spool, PLACE_NEW, PLACE_BAD, *name); /* no monitor made this */
	}
	return seen;
}

bool spool_scan_one(struct spool *spool, const char *id, bool with_tmp, spool_fn fn, void *arg)
{
	return judge(spool, PLACE_NEW, id, fn, arg) ||
	       (with_tmp && judge(spool, PLACE_TMP, id, fn, arg));
}

int spool_list_tmp(struct spool *spool, char ***ret_ids, struct err *err)
{
	int rc;

	if (spool->dirs[PLACE_TMP] < 0) {
		*ret_ids = xcalloc(1, sizeof(**ret_ids));
		return 0;
	}
	rc = disk_list(spool->dirs[PLACE_TMP], ret_ids);
	return rc < 0 ? err_sys(err, -rc, "exit spool: read %s/%s", spool->path,
	                        place_names[PLACE_TMP])
	              : 0;
}

void spool_consume(struct spool *spool, const char *id)
{
	if (spool->readonly)
		return;
	drop(spool, PLACE_NEW, id);
	drop(spool, PLACE_TMP, id);
}
