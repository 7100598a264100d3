/* core/monitor/logfile.c
 *
 * Bytes in, records out. Content is never copied: a batch is a list of pieces that point at the
 * stream's buffer, between two headers (one for F, one for P) that all records of the batch share.
 */
#include "core/monitor/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/monitor/text.h"

#define PIECES    96          /* at most 3 per record */
#define BATCH_MAX (64 * 1024) /* readers' line scanners stop at 64 KiB; so does one write */
#define TIME_LEN  30
#define PAGE      4096

static const char newline[1] = { '\n' };

/* --- the file */

/* Directories above the last '/' that are not there. */
static int make_parents(const char *path)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len + 1);
	for (size_t i = 1; i < len; i++) {
		if (dir[i] != '/')
			continue;
		dir[i] = '\0';
		if (mkdir(dir, 0755) < 0 && errno != EEXIST)
			return -errno;
		dir[i] = '/';
	}
	return 0;
}

static int open_regular(const char *path)
{
	/* O_NONBLOCK: a FIFO that somebody put there must not stop us before fstat finds it out */
	const int flags =
		O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	struct stat st;
	int fd, rc;

	fd = open(path, flags, 0640);
	if (fd < 0 && errno == ENOENT) {
		rc = make_parents(path);
		if (rc < 0)
			return rc;
		fd = open(path, flags, 0640);
	}
	if (fd < 0)
		return errno == ENXIO ? -EINVAL
		                      : -errno; /* ENXIO: a FIFO without reader, a socket */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

int logfile_open(struct logfile *log, const char *path)
{
	*log = (struct logfile){ .fd = -1, .path = path };
	if (!*path)
		return 0;
	log->fd = open_regular(path);
	return log->fd < 0 ? log->fd : 0;
}

int logfile_reopen(struct logfile *log)
{
	int fd;

	if (!*log->path)
		return 0;
	fd = open_regular(log->path);
	if (fd < 0)
		return fd;
	logfile_close(log);
	log->fd = fd;
	log->torn = false;
	log->error = 0;
	return 0;
}

void logfile_close(struct logfile *log)
{
	if (log->fd >= 0)
		close(log->fd);
	log->fd = -1;
}

/* --- a batch of records */

struct batch {
	struct logfile *log;
	char full[TIME_LEN + sizeof(" stdout F ")], partial[TIME_LEN + sizeof(" stdout P ")];
	size_t head;    /* length of either */
	size_t content; /* bytes of output in it, what is lost when it is lost */
	size_t bytes;
	int n;
	struct iovec iov[PIECES + 1]; /* [0] is kept free for a LF in front */
};

static size_t put_head(char *head, size_t size, const char *time, const char *name, const char *tag)
{
	struct text text = { .p = head, .size = size };

	text_add(&text, time, TIME_LEN);
	text_str(&text, " ");
	text_str(&text, name);
	text_str(&text, tag);
	return text.len;
}

static void batch_init(struct batch *batch, struct logfile *log, const char *name, int64_t now_ns)
{
	char time[CLOCK_TEXT_SIZE];

	clock_format_utc(now_ns, time);
	batch->head = put_head(batch->full, sizeof(batch->full), time, name, " F ");
	batch->head = put_head(batch->partial, sizeof(batch->partial), time, name, " P ");
	batch->log = log;
	batch->content = batch->bytes = 0;
	batch->n = 1;
}

static void batch_piece(struct batch *batch, const void *p, size_t len)
{
	if (len == 0)
		return;
	batch->iov[batch->n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)p, .iov_len = len };
	batch->bytes += len;
}

/* Of @written bytes, how many belong to a record that is not whole? Walks the pieces: each
 * record ends with a LF piece end. */
static size_t torn_bytes(const struct iovec *iov, int n, size_t written)
{
	size_t at = 0, whole = 0;

	for (int i = 0; i < n; i++) {
		at += iov[i].iov_len;
		if (at > written)
			break;
		/* content holds no LF but at its very end */
		if (((const char *)iov[i].iov_base)[iov[i].iov_len - 1] == '\n')
			whole = at;
	}
	return written - whole;
}

/* The kernel took a part: cut the torn record off, so that readers never see it. Only we append
 * to this inode. */
static void cut_tail(struct logfile *log, size_t torn)
{
	off_t end;

	if (torn == 0)
		return;
	end = lseek(log->fd, 0, SEEK_CUR);
	if (end < (off_t)torn || ftruncate(log->fd, end - (off_t)torn) < 0)
		log->torn = true;
}

static void batch_flush(struct batch *batch)
{
	struct logfile *log = batch->log;
	struct iovec *iov = batch->iov + 1;
	int n = batch->n - 1;
	size_t total = batch->bytes;
	ssize_t rc;

	if (n > 0 && log->fd >= 0) {
		if (log->torn) {
			*--iov = (struct iovec){ .iov_base = (void *)(uintptr_t)newline,
				                 .iov_len = 1 };
			n++;
			total++;
		}
		do {
			rc = writev(log->fd, iov, n);
		} while (rc < 0 && errno == EINTR);
		if (rc == (ssize_t)total) {
			log->torn = false;
			log->error = 0;
		} else {
			log->error = rc < 0 ? errno : ENOSPC;
			/* Whole records that made it are counted as lost too: an upper bound,
			 * said as such */
			log->lost += batch->content;
			if (rc > 0) {
				log->torn = false;
				cut_tail(log, torn_bytes(iov, n, (size_t)rc));
			}
		}
	}
	batch->content = batch->bytes = 0;
	batch->n = 1;
}

/* @content[0..len) becomes a record; with @lf the buffer holds a LF right behind the content. */
static void batch_record(struct batch *batch, bool full, const uint8_t *content, size_t len,
                         bool lf)
{
	if (batch->n + 3 > PIECES + 1 ||
	    (batch->bytes > 0 && batch->bytes + batch->head + len + 1 > BATCH_MAX))
		batch_flush(batch);
	batch_piece(batch, full ? batch->full : batch->partial, batch->head);
	batch_piece(batch, content, len + (lf ? 1 : 0));
	if (!lf)
		batch_piece(batch, newline, 1);
	batch->content += len;
}

/* --- streams */

void logstream_init(struct logstream *stream, const char *name, uint8_t *buf, size_t max_line)
{
	*stream = (struct logstream){
		.name = name, .buf = buf, .size = LOG_STREAM_BYTES(max_line), .max_line = max_line
	};
}

uint8_t *logstream_room(struct logstream *stream, size_t *ret_room)
{
	/* After logstream_grew() at most max_line + 1 bytes are left (a CR may be waiting for
	 * its LF). */
	*ret_room = stream->size - stream->len < LOG_READ ? stream->size - stream->len : LOG_READ;
	return stream->buf + stream->len;
}

/* Pieces of exactly max_line bytes, as long as more than that is there. Returns how far it came. */
static size_t cut_long(struct batch *batch, const struct logstream *stream, size_t from, size_t to)
{
	while (to - from > stream->max_line) {
		batch_record(batch, false, stream->buf + from, stream->max_line, false);
		from += stream->max_line;
	}
	return from;
}

void logstream_grew(struct logstream *stream, struct logfile *log, size_t len, int64_t now_ns)
{
	struct batch batch;
	size_t from = 0; /* everything below is in a record */
	size_t end;

	stream->len += len;
	if (stream->len > stream->touched)
		stream->touched = stream->len;
	if (log->fd < 0) { /* no log at all */
		stream->len = stream->scanned = 0;
		return;
	}

	batch_init(&batch, log, stream->name, now_ns);
	for (;;) {
		const uint8_t *lf =
			memchr(stream->buf + stream->scanned, '\n', stream->len - stream->scanned);
		size_t at, stop;

		if (!lf)
			break;
		at = (size_t)(lf - stream->buf);
		stop = at > from && stream->buf[at - 1] == '\r' ? at - 1 : at;
		from = cut_long(&batch, stream, from, stop);
		batch_record(&batch, true, stream->buf + from, stop - from, stop == at);
		from = stream->scanned = at + 1;
	}

	/* No end in sight: is it too long already? A CR at the very end may be half of a line
	 * end. */
	end = stream->len;
	if (end > from && stream->buf[end - 1] == '\r')
		end--;
	from = cut_long(&batch, stream, from, end);
	batch_flush(&batch);

	memmove(stream->buf, stream->buf + from, stream->len - from);
	stream->len -= from;
	stream->scanned = stream->len;
}

void logstream_finish(struct logstream *stream, struct logfile *log, int64_t now_ns)
{
	struct batch batch;
	size_t from;

	if (stream->len == 0 || log->fd < 0)
		return;
	batch_init(&batch, log, stream->name, now_ns);
	from = cut_long(&batch, stream, 0,
	                stream->len); /* a CR that waited for its LF is one byte too many */
	batch_record(&batch, false, stream->buf + from, stream->len - from, false);
	batch_flush(&batch);
	stream->len = stream->scanned = 0;
}

void logstream_trim(struct logstream *stream)
{
	size_t keep = (stream->len + PAGE - 1) & ~(size_t)(PAGE - 1);

	if (keep < PAGE)
		keep = PAGE;
	if (stream->touched <= keep)
		return;
	/* Best effort: only memory is at stake. */
	ignore(madvise(stream->buf + keep, stream->size - keep, MADV_DONTNEED) < 0);
	stream->touched = keep;
}
