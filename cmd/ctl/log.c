#include "cmd/ctl/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/ctl/ctl.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/mem.h"

#define READ_BYTES     (64 * 1024)
#define LINE_MAX_BYTES (1024 * 1024 + 4096) /* the longest line of our own monitor, and its head */
#define STATUS_MS      250                  /* between two looks whether the container still runs */

/* --- entries */

int log_entry_parse(struct str line, struct log_entry *ret)
{
	struct str rest, stream, tags, tag;

	if (!str_cut(line, ' ', &ret->time, &rest) || !str_cut(rest, ' ', &stream, &rest))
		return -1;
	if (!str_cut(rest, ' ', &tags, &ret->text)) /* an empty line may come without the blank */
		ret->text.len = 0;
	str_cut(tags, ':', &tag, &rest); /* the first tag is the partial one; others may follow */
	if (!ret->time.len || (!str_eq_c(tag, "F") && !str_eq_c(tag, "P")))
		return -1;
	ret->partial = tag.p[0] == 'P';
	ret->is_stderr = str_eq_c(stream, "stderr");
	return ret->is_stderr || str_eq_c(stream, "stdout") ? 0 : -1;
}

static void print_entry(struct log_reader *r, struct str line)
{
	struct log_entry entry;
	bool *begins;
	FILE *out;

	if (log_entry_parse(line, &entry) < 0) {
		/* somebody else's line in our file: as it is, rather than hidden */
		entry = (struct log_entry){ .text = line };
	}
	out = entry.is_stderr ? stderr : stdout;
	begins = entry.is_stderr ? &r->begins_err : &r->begins;
	if (r->times && *begins && entry.time.len)
		fprintf(out, STR_FMT " ", STR_ARG(entry.time));
	fwrite(entry.text.p, 1, entry.text.len, out);
	if (!entry.partial)
		fputc('\n', out);
	*begins = !entry.partial;
}

/* --- the file */

static int open_file(struct log_reader *r, struct err *err)
{
	struct stat st;

	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK |
	                              O_NOCTTY); /* never hang on what took its place */
	if (r->fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", r->path);
	if (fstat(r->fd, &st) < 0)
		return err_sys(err, errno, "stat %s", r->path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, CODE_FAILED_PRECONDITION, "%s is not a regular file", r->path);
	return 0;
}

/* Where the last @entries begin: reads backwards, so that the size of the file does not matter. */
static off_t tail_offset(int fd, int64_t entries)
{
	cleanup_free char *block = xcalloc(1, READ_BYTES);
	off_t at = lseek(fd, 0, SEEK_END), end = at;
	int64_t seen = 0;

	if (entries == 0)
		return end;
	while (at > 0) {
		size_t len = (size_t)MIN(at, (off_t)READ_BYTES);
		ssize_t n;

		at -= (off_t)len;
		n = pread_full(fd, block, len, at);
		if (n < (ssize_t)len)
			return 0; /* truncated meanwhile */
		for (size_t i = len; i-- > 0;)
			if (block[i] == '\n' && at + (off_t)i + 1 < end && ++seen == entries)
				return at + (off_t)i + 1;
	}
	return 0;
}

int log_open(struct log_reader *r, const char *path, int64_t tail, bool watch, struct err *err)
{
	cleanup_free char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	*r = (struct log_reader){
		.path = path, .fd = -1, .watch = -1, .begins = true, .begins_err = true
	};
	buf_init(&r->pending, LINE_MAX_BYTES + READ_BYTES);
	if (watch && slash) {
		slash[slash == dir] = '\0';
		r->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		/* without it (limits of the user) the time-out alone makes us look */
		if (r->watch >= 0 &&
		    inotify_add_watch(r->watch, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
			close(r->watch);
			r->watch = -1;
		}
	}
	if (open_file(r, err) < 0)
		return -1;
	if (r->fd < 0 && !watch)
		return err_sys(err, ENOENT, "open %s", path);
	if (r->fd >= 0 && tail >= 0)
		lseek(r->fd, tail_offset(r->fd, tail), SEEK_SET);
	return 0;
}

void log_close(struct log_reader *r)
{
	if (r->path && r->fd >= 0)
		close(r->fd);
	if (r->path && r->watch >= 0)
		close(r->watch);
	buf_release(&r->pending);
	*r = (struct log_reader){ 0 };
}

static void print_lines(struct log_reader *r)
{
	size_t at = 0;

	while (at < r->pending.len) {
		const char *line = r->pending.data + at,
			   *newline = memchr(line, '\n', r->pending.len - at);

		if (!newline)
			break;
		print_entry(r, (struct str){ line, (size_t)(newline - line) });
		at += (size_t)(newline - line) + 1;
	}
	buf_consume(&r->pending, at);
}

static int print_open_file(struct log_reader *r, struct err *err)
{
	for (;;) {
		char *room = buf_reserve(&r->pending, READ_BYTES);
		ssize_t n;

		if (!room)
			return err_set(err, CODE_DATA_LOSS, "%s: a line of more than %d bytes",
			               r->path, LINE_MAX_BYTES);
		n = read(r->fd, room, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "read %s", r->path);
		if (n == 0)
			return 0;
		buf_grew(&r->pending, (size_t)n);
		print_lines(r);
		if (ferror(stdout)) {
			fflush(stdout);
			return err_sys(err, errno, "standard output");
		}
	}
}

/* Is another file at the path than the one we read? */
static bool is_rotated(const struct log_reader *r)
{
	struct stat ours, theirs;

	return fstat(r->fd, &ours) == 0 && stat(r->path, &theirs) == 0 &&
	       (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino);
}

int log_print(struct log_reader *r, struct err *err)
{
	for (;;) {
		bool rotated;

		if (r->fd < 0 && open_file(r, err) < 0)
			return -1;
		if (r->fd < 0)
			return 0;
		rotated = r->watch >= 0 &&
		          is_rotated(
				  r); /* before reading: then what we read is all of the old file */
		if (print_open_file(r, err) < 0)
			return -1;
		if (!rotated)
			break;
		close(r->fd);
		r->fd = -1;
		buf_clear(&r->pending);
	}
	if (fflush(stdout) != 0)
		return err_sys(err, errno, "standard output");
	return 0;
}

bool log_wait(struct log_reader *r, int stop_fd, int timeout_ms)
{
	struct pollfd pfd[] = { { .fd = r->watch, .events = POLLIN },
		                { .fd = stop_fd, .events = POLLIN } };
	char drop[4096];

	if (poll(pfd, ARRAY_SIZE(pfd), timeout_ms) <= 0)
		return false;
	if (pfd[0].revents)
		while (read(r->watch, drop, sizeof(drop)) > 0)
			;
	return pfd[1].revents;
}

/* --- until its end */

int log_follow(struct ctl *ctl, struct log_reader *r, const char *id, int signals, struct err *err)
{
	const cri_ContainerStatusRequest request = { .container_id = (char *)id };
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(16 << 20);
	int64_t asked_ns = 0;

	for (;;) {
		cri_ContainerStatusResponse response;
		bool ended = false;

		if (clock_boot_ns() - asked_ns >= STATUS_MS * NS_PER_MS) {
			int rc = grpc_client_unary(
				ctl->client,
				&(struct grpc_client_call){
					.method = "/runtime.v1.RuntimeService/ContainerStatus",
					.request_desc = cri_ContainerStatusRequest_fields,
					.request = &request,
					.response_desc = cri_ContainerStatusResponse_fields,
					.timeout_ms = READ_TIMEOUT_MS,
				},
				arena, &response, err);

			if (rc < 0 && err_is(err, CODE_CANCELLED))
				return 0;
			if (rc < 0 && !err_is(err, CODE_NOT_FOUND))
				return -1;
			/* who sees the exit finds the log complete */
			ended = rc < 0 ||
			        (response.status.state != cri_ContainerState_CONTAINER_RUNNING &&
			         response.status.state != cri_ContainerState_CONTAINER_CREATED);
			asked_ns = clock_boot_ns();
			pb_arena_reset(arena);
		}
		if (log_print(r, err) < 0)
			return -1;
		if (ended)
			return 1;
		if (log_wait(r, signals, STATUS_MS))
			return 0;
	}
}
