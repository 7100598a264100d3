/* tests/unit/core/monitor/test_logfile.c */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/monitor/logfile.h"
/* link-wrap: writev */

#define NOW_NS  INT64_C(1764037393000000001)
#define OUT_F   "2025-11-25T02:23:13.000000001Z stdout F "
#define OUT_P   "2025-11-25T02:23:13.000000001Z stdout P "
#define ERR_F   "2025-11-25T02:23:13.000000001Z stderr F "
#define LONGEST 16 /* longest line in most tests */

struct fixture {
	char dir[32], path[48];
	struct logfile log;
	struct logstream out, err;
	uint8_t *memory;
};

/* Bytes the next writev calls may take; -1: all. Then @fail_with. */
static struct {
	ssize_t room;
	int fail_with;
} disk = { .room = -1 };

ssize_t __real_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	struct iovec part[128];
	ssize_t left = disk.room, done;
	int k = 0;

	if (disk.room < 0)
		return __real_writev(fd, iov, n);
	for (; k < n && left > 0; k++) {
		part[k] = iov[k];
		part[k].iov_len = MIN(part[k].iov_len, (size_t)left);
		left -= (ssize_t)part[k].iov_len;
	}
	if (k == 0) {
		errno = disk.fail_with;
		return -1;
	}
	done = __real_writev(fd, part, k);
	disk.room -= done;
	return done;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	strcpy(f->dir, "/tmp/logfile-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sub/0.log", f->dir);
	f->memory = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(f->memory, MAP_FAILED);
	assert_int_equal(logfile_open(&f->log, f->path), 0);
	logstream_init(&f->out, "stdout", f->memory, LONGEST);
	logstream_init(&f->err, "stderr", f->memory + (1 << 15), LONGEST);
	disk.room = -1;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	logfile_close(&f->log);
	munmap(f->memory, 1 << 16);
	unlink(f->path);
	snprintf(command, sizeof(command), "%s/sub", f->dir);
	rmdir(command);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void feed(struct fixture *f, struct logstream *stream, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		size_t room;
		uint8_t *to = logstream_room(stream, &room);
		size_t n = MIN(room, len);

		assert_true(room >= LOG_READ / 2);
		memcpy(to, p, n);
		logstream_grew(stream, &f->log, n, NOW_NS);
		p += n;
		len -= n;
	}
}

static void say(struct fixture *f, const char *text)
{
	feed(f, &f->out, text, strlen(text));
}

static void assert_log(const struct fixture *f, const char *want)
{
	static char have[1 << 20];
	int fd = open(f->path, O_RDONLY);
	ssize_t n = read(fd, have, sizeof(have) - 1);

	close(fd);
	assert_true(n >= 0);
	have[n] = '\0';
	assert_string_equal(have, want);
}

static void a_line_is_one_full_record(void **state)
{
	say(*state, "hello\n");
	assert_log(*state, OUT_F "hello\n");
}

static void empty_lines_keep_their_blank(void **state)
{
	say(*state, "\n\r\n");
	assert_log(*state, OUT_F "\n" OUT_F "\n");
}

static void an_unfinished_line_waits_for_its_end(void **state)
{
	say(*state, "hel");
	assert_log(*state, "");
	say(*state, "lo\nwor");
	assert_log(*state, OUT_F "hello\n");
	logstream_finish(&((struct fixture *)*state)->out, &((struct fixture *)*state)->log,
	                 NOW_NS);
	assert_log(*state, OUT_F "hello\n" OUT_P "wor\n");
}

static void carriage_returns_before_a_line_feed_are_dropped_and_others_kept(void **state)
{
	say(*state, "a\r\n\rb\rc\nd\r\r\n");
	assert_log(*state, OUT_F "a\n" OUT_F "\rb\rc\n" OUT_F "d\r\n");
}

static void a_line_end_split_between_two_reads_is_one(void **state)
{
	say(*state, "a\r");
	say(*state, "\nb\r");
	say(*state, "c\n");
	assert_log(*state, OUT_F "a\n" OUT_F "b\rc\n");
}

static void exactly_the_longest_line_is_one_full_record(void **state)
{
	say(*state, "0123456789abcdef\n");
	say(*state, "0123456789abcdef\r\n");
	say(*state, "0123456789abcdef\r");
	say(*state, "\n");
	assert_log(*state, OUT_F "0123456789abcdef\n" OUT_F "0123456789abcdef\n" OUT_F
	                         "0123456789abcdef\n");
}

static void a_longer_line_is_cut_into_pieces_of_exactly_that(void **state)
{
	say(*state, "0123456789abcdefg\n");
	say(*state, "0123456789abcdef0123456789abcdef0\n");
	assert_log(*state, OUT_P "0123456789abcdef\n" OUT_F "g\n" OUT_P "0123456789abcdef\n" OUT_P
	                         "0123456789abcdef\n" OUT_F "0\n");
}

static void a_long_line_is_cut_before_its_end_is_seen(void **state)
{
	say(*state, "0123456789abcdef");
	assert_log(*state, ""); /* it may be over */
	say(*state, "g");
	assert_log(*state, OUT_P "0123456789abcdef\n");
	say(*state, "\n");
	assert_log(*state, OUT_P "0123456789abcdef\n" OUT_F "g\n");
}

static void the_rest_at_the_end_of_a_stream_is_never_longer_than_a_line(void **state)
{
	struct fixture *f = *state;

	say(f, "0123456789abcdef\r");
	logstream_finish(&f->out, &f->log, NOW_NS);
	assert_log(f, OUT_P "0123456789abcdef\n" OUT_P "\r\n");
}

static void any_bytes_are_content(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	feed(f, &f->out, "a\0b\xff\n", 5);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, (off_t)strlen(OUT_F) + 5);
}

static void streams_do_not_mix(void **state)
{
	struct fixture *f = *state;

	say(f, "on");
	feed(f, &f->err, "oops\n", 5);
	say(f, "e\n");
	assert_log(f, ERR_F "oops\n" OUT_F "one\n");
}

static void thousands_of_lines_in_one_read_are_all_there(void **state)
{
	struct fixture *f = *state;
	char *lines = malloc(3 * 5001), *want = malloc(5000 * (strlen(OUT_F) + 3) + 1);
	size_t n = 0, w = 0;

	for (int i = 0; i < 5000; i++) {
		n += (size_t)sprintf(lines + n, "%d\n", i % 10);
		w += (size_t)sprintf(want + w, OUT_F "%d\n", i % 10);
	}
	feed(f, &f->out, lines, n);
	assert_log(f, want);
	free(lines);
	free(want);
}

static void every_split_of_the_input_gives_the_same_log(void **state)
{
	static const char input[] = "a\r\n0123456789abcdef\r\n0123456789abcdefXYZ\n\n\rx\r\r\nlast";
	struct fixture *f = *state;
	char whole[2048];
	int fd;
	ssize_t n;

	say(f, input);
	logstream_finish(&f->out, &f->log, NOW_NS);
	fd = open(f->path, O_RDONLY);
	n = read(fd, whole, sizeof(whole) - 1);
	close(fd);
	whole[n] = '\0';
	for (size_t at = 1; at < sizeof(input) - 1; at++) {
		assert_int_equal(truncate(f->path, 0), 0);
		feed(f, &f->out, input, at);
		feed(f, &f->out, input + at, sizeof(input) - 1 - at);
		logstream_finish(&f->out, &f->log, NOW_NS);
		assert_log(f, whole);
	}
}

static void a_full_disk_loses_lines_but_never_leaves_half_of_one(void **state)
{
	struct fixture *f = *state;

	disk.room = (ssize_t)strlen(OUT_F "one\n" OUT_F "tw");
	disk.fail_with = ENOSPC;
	say(f, "one\ntwo\nthree\n");
	assert_log(f, OUT_F "one\n");
	assert_int_equal(f->log.error, ENOSPC);
	assert_true(f->log.lost >= 8 && f->log.lost <= 11);
	disk.room = 0;
	say(f, "four\n");
	assert_log(f, OUT_F "one\n");
	disk.room = -1;
	say(f, "five\n");
	assert_log(f, OUT_F "one\n" OUT_F "five\n");
	assert_int_equal(f->log.error, 0);
}

static void a_tail_that_cannot_be_cut_off_is_ended_by_the_next_write(void **state)
{
	struct fixture *f = *state;

	say(f, "one\n");
	f->log.torn = true; /* as after a failed ftruncate */
	say(f, "two\n");
	assert_log(f, OUT_F "one\n\n" OUT_F "two\n");
	say(f, "three\n");
	assert_log(f, OUT_F "one\n\n" OUT_F "two\n" OUT_F "three\n");
}

static void without_a_log_output_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct logfile none;

	assert_int_equal(logfile_open(&none, ""), 0);
	memcpy(f->memory, "x\ny", 3);
	logstream_grew(&f->out, &none, 3, NOW_NS);
	assert_int_equal(f->out.len, 0);
	assert_int_equal(none.lost, 0);
	assert_int_equal(logfile_reopen(&none), 0);
}

static void reopening_switches_to_a_new_file_and_keeps_what_waits(void **state)
{
	struct fixture *f = *state;
	char old[64];
	struct stat st;

	say(f, "one\ntw");
	snprintf(old, sizeof(old), "%s.1", f->path);
	assert_int_equal(rename(f->path, old), 0);
	assert_int_equal(logfile_reopen(&f->log), 0);
	assert_int_equal(stat(f->path, &st), 0); /* there at once */
	say(f, "o\n");
	assert_log(f, OUT_F "two\n");
	unlink(old);
}

static void a_failed_reopen_keeps_the_old_file(void **state)
{
	struct fixture *f = *state;
	char old[64];
	struct stat st;

	say(f, "one\n");
	snprintf(old, sizeof(old), "%s.1", f->path);
	assert_int_equal(rename(f->path, old), 0);
	assert_int_equal(mkdir(f->path, 0755), 0);
	assert_int_equal(logfile_reopen(&f->log), -EISDIR);
	say(f, "two\n");
	assert_int_equal(stat(old, &st), 0);
	assert_int_equal(st.st_size, (off_t)strlen(OUT_F "one\n" OUT_F "two\n"));
	rmdir(f->path);
	unlink(old);
}

static void what_is_no_regular_file_is_refused(void **state)
{
	struct fixture *f = *state;
	struct logfile log;

	logfile_close(&f->log);
	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(logfile_open(&log, f->path), -EINVAL);
	unlink(f->path);
	assert_int_equal(symlink("/tmp/elsewhere", f->path), 0);
	assert_int_equal(logfile_open(&log, f->path), -ELOOP);
}

static void trimming_keeps_what_waits(void **state)
{
	struct fixture *f = *state;
	char *big = malloc(12000);

	logstream_init(&f->out, "stdout", f->memory, 8192);
	memset(big, 'x', 12000);
	big[3999] = '\n';
	feed(f, &f->out, big, 12000); /* 8000 wait */
	assert_int_equal(f->out.len, 8000);
	logstream_trim(&f->out);
	for (size_t i = 0; i < 8000; i++)
		assert_int_equal(f->out.buf[i], 'x');
	assert_true(f->out.touched <= 8192);
	free(big);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_line_is_one_full_record),
		TEST(empty_lines_keep_their_blank),
		TEST(an_unfinished_line_waits_for_its_end),
		TEST(carriage_returns_before_a_line_feed_are_dropped_and_others_kept),
		TEST(a_line_end_split_between_two_reads_is_one),
		TEST(exactly_the_longest_line_is_one_full_record),
		TEST(a_longer_line_is_cut_into_pieces_of_exactly_that),
		TEST(a_long_line_is_cut_before_its_end_is_seen),
		TEST(the_rest_at_the_end_of_a_stream_is_never_longer_than_a_line),
		TEST(any_bytes_are_content),
		TEST(streams_do_not_mix),
		TEST(thousands_of_lines_in_one_read_are_all_there),
		TEST(every_split_of_the_input_gives_the_same_log),
		TEST(a_full_disk_loses_lines_but_never_leaves_half_of_one),
		TEST(a_tail_that_cannot_be_cut_off_is_ended_by_the_next_write),
		TEST(without_a_log_output_is_dropped),
		TEST(reopening_switches_to_a_new_file_and_keeps_what_waits),
		TEST(a_failed_reopen_keeps_the_old_file),
		TEST(what_is_no_regular_file_is_refused),
		TEST(trimming_keeps_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
