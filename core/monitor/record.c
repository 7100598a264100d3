/* core/monitor/record.c
 *
 * The exit record's way: made and filled in spool/tmp, renamed into spool/new.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* renameat is declared here; nothing else of it is used */

#include "core/base/fd.h"
#include "core/monitor/internal.h"

#define RETRY_NS NS_PER_S

int mon_record_write(struct monitor *m)
{
	uint8_t data[EXIT_RECORD_BYTES];
	ssize_t n;

	exit_record_encode(&m->record, data);
	n = pwrite_full(m->record_fd, data, sizeof(data), 0);
	return n < 0 ? (int)n : 0;
}

static int open_record(struct monitor *m)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;

	m->record_fd = openat(MONITOR_FD_TMP, m->config.id, flags, 0600);
	return m->record_fd < 0 ? -errno : 0;
}

/* A start that failed half way may have left an unfilled file: it is replaced. One that tells an
 * exit never is. */
int mon_record_prepare(struct monitor *m)
{
	uint8_t old[EXIT_RECORD_BYTES];
	int rc = open_record(m);

	if (rc == -EEXIST) {
		cleanup_close int fd =
			openat(MONITOR_FD_TMP, m->config.id, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		ssize_t n = fd < 0 ? -errno : read_full(fd, old, sizeof(old));

		if (n < 0 || exit_record_is_filled(old, (size_t)n))
			return n < 0 ? (int)n : -EEXIST;
		if (unlinkat(MONITOR_FD_TMP, m->config.id, 0) < 0)
			return -errno;
		rc = open_record(m);
	}
	if (rc < 0)
		return rc;
	/* The block is allocated now; overwriting it later needs none. */
	return mon_record_write(m);
}

void mon_record_remove(struct monitor *m)
{
	mon_close(&m->record_fd);
	ignore(unlinkat(MONITOR_FD_TMP, m->config.id, 0) < 0);
}

static int deliver_once(struct monitor *m)
{
	bool alone = !mon_has_control(m); /* nobody whose group commit makes it durable */
	int rc = 0;

	if (!m->record_written) {
		rc = mon_record_write(m);
		m->record_written = rc == 0;
	}
	if (rc == 0 && alone && fdatasync(m->record_fd) < 0)
		rc = -errno;
	if (rc == 0 && renameat(MONITOR_FD_TMP, m->config.id, MONITOR_FD_NEW, m->config.id) < 0)
		rc = -errno;
	if (rc == -ENOENT) { /* somebody cleared tmp/: the exit is still to be told */
		mon_close(&m->record_fd);
		m->record_written = false;
		rc = mon_record_prepare(m);
		m->record_written = rc == 0;
		if (rc == 0 &&
		    renameat(MONITOR_FD_TMP, m->config.id, MONITOR_FD_NEW, m->config.id) < 0)
			rc = -errno;
	}
	if (rc == 0 && alone) {
		ignore(fsync(MONITOR_FD_NEW)); /* it is told; not more can be done */
		ignore(fsync(MONITOR_FD_TMP));
	}
	return rc;
}

void mon_record_deliver(struct monitor *m, int64_t now_ns)
{
	if (deliver_once(m) == 0) {
		m->delivered = true;
		return;
	}
	exit_record_encode(&m->record, m->frame + MONITOR_HEADER_BYTES);
	mon_send_all(m, MONITOR_RECORD, EXIT_RECORD_BYTES);
	m->retry_ns = now_ns + RETRY_NS;
}
