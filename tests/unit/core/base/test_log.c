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
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"

/* link-wrap: unix_connect write_full */

/* journald is a socket pair whose far end the test reads; stderr is whatever write_full is asked to
 * write there. */
static struct {
	int far, near;
	struct buf err;
	int writes;
} fake;

int __wrap_unix_connect(const char *path, int type);
int __wrap_unix_connect(const char *path, int type)
{
	assert_string_equal(path, "/run/systemd/journal/socket");
	assert_true(type & SOCK_NONBLOCK);
	return fake.near < 0 ? -ENOENT : fcntl(fake.near, F_DUPFD_CLOEXEC, 0);
}

ssize_t __real_write_full(int fd, const void *data, size_t len);
ssize_t __wrap_write_full(int fd, const void *data, size_t len);
ssize_t __wrap_write_full(int fd, const void *data, size_t len)
{
	if (fd != STDERR_FILENO)
		return __real_write_full(fd, data, len);
	fake.writes++;
	errno = EIO;
	assert_int_equal(buf_add(&fake.err, data, len), 0);
	return (ssize_t)len;
}

static int setup(void **arg)
{
	(void)arg;
	fake.far = fake.near = -1;
	fake.writes = 0;
	buf_init(&fake.err, 8 * 1024 * 1024);
	clock_virtual_set(1764037393123999999); /* 2025-11-25T02:23:13.123999999Z */
	unsetenv("JOURNAL_STREAM");
	log_init("coracle", LOG_LEVEL_INFO);
	return 0;
}

static int teardown(void **arg)
{
	(void)arg;
	close(fake.far);
	close(fake.near);
	buf_release(&fake.err);
	return 0;
}

static void use_journal(void)
{
	char stream[64];
	struct stat st;
	int pair[2];

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	assert_int_equal(str_format(stream, sizeof(stream), "%llu:%llu",
	                            (unsigned long long)st.st_dev, (unsigned long long)st.st_ino),
	                 0);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("coracle", LOG_LEVEL_DEBUG);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
	                 0);
	fake.far = pair[0];
	fake.near = pair[1];
}

/* The next entry journald would see, from the datagram or from its memfd. */
static char *entry(void)
{
	static char text[3 * 1024 * 1024];
	int fd = -1;
	size_t nfds = 1;
	ssize_t n;

	n = fd_recv(fake.far, text, sizeof(text) - 1, &fd, &nfds);
	assert_true(n >= 0);
	if (nfds) {
		assert_int_equal(n, 0);
		assert_int_equal(fcntl(fd, F_GET_SEALS),
		                 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
		n = pread_full(fd, text, sizeof(text) - 1, 0);
		assert_true(n > 0);
		close(fd);
	}
	text[n] = '\0';
	return text;
}

static void text_lines_have_time_level_operation_and_short_ids(void **arg)
{
	const struct log_ctx ctx = {
		.op = "RunPodSandbox",
		.sandbox = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		.container = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210",
		.image = "docker.io/library/busybox:1.36",
		.plugin = "10-logger",
		.seq = 42,
		.code = "NOT_FOUND",
	};

	(void)arg;
	log_warn(&ctx, "network teardown will be retried: %s", "exit 1");
	log_info(NULL, "ready");
	assert_string_equal(
		fake.err.data,
		"2025-11-25T02:23:13.123Z warn  RunPodSandbox: network teardown will be retried: exit 1 "
		"sandbox=0123456789ab container=fedcba987654 image=docker.io/library/busybox:1.36 "
		"plugin=10-logger seq=42 code=NOT_FOUND\n"
		"2025-11-25T02:23:13.123Z info  ready\n");
	assert_int_equal(fake.writes, 2); /* one write each */
}

static void other_programs_say_their_name(void **arg)
{
	(void)arg;
	log_init("coracle-pull", LOG_LEVEL_INFO);
	log_error(NULL, "no route");
	assert_string_equal(fake.err.data,
	                    "2025-11-25T02:23:13.123Z error coracle-pull: no route\n");
}

static void a_line_cannot_be_forged(void **arg)
{
	(void)arg;
	log_notice(&(struct log_ctx){ .image = "a\nb" },
	           "x\ny\t\x1b[2J\x7f\xff\xc2\x9b|\xe2\x82\xac|\xe2\x82");
	assert_string_equal(fake.err.data,
	                    "2025-11-25T02:23:13.123Z notice x\\ny\\t\\x1b[2J\\x7f\\xff\\xc2\\x9b|"
	                    "\xe2\x82\xac|\\xe2\\x82 image=a\\nb\n");
}

static void levels_filter(void **arg)
{
	int evaluated = 0;

	(void)arg;
	log_debug(NULL, "%d", ++evaluated);
	assert_int_equal(evaluated, 0); /* arguments of a silent debug line cost nothing */
	assert_int_equal(fake.err.len, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug(NULL, "%d", ++evaluated);
	assert_int_equal(evaluated, 1);
	assert_true(fake.err.len > 0);
	log_set_level(LOG_LEVEL_ERROR);
	assert_false(log_enabled(LOG_LEVEL_WARN));
	assert_true(log_enabled(LOG_LEVEL_ERROR));

	assert_int_equal(log_level_parse("debug"), LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("error"), LOG_LEVEL_ERROR);
	assert_int_equal(log_level_parse("warning"), -1);
	assert_int_equal(log_level_parse(""), -1);
}

static void errno_survives_a_line(void **arg)
{
	(void)arg;
	errno = ENOSPC;
	log_info(NULL, "x");
	assert_int_equal(errno, ENOSPC);
}

static void a_foreign_journal_stream_gets_priorities(void **arg)
{
	(void)arg;
	if (isatty(STDERR_FILENO))
		skip();
	setenv("JOURNAL_STREAM", "1:1", 1); /* not what stderr is */
	log_init("coracle", LOG_LEVEL_INFO);
	log_warn(&(struct log_ctx){ .op = "StopContainer" }, "slow");
	assert_string_equal(fake.err.data, "<4>StopContainer: slow\n");
}

static void journald_gets_every_field_whole(void **arg)
{
	const char *id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	const char *text;

	(void)arg;
	use_journal();
	log_error(&(struct log_ctx){ .op = "StartContainer",
	                             .sandbox = id,
	                             .container = id,
	                             .image = "i\n",
	                             .plugin = "p",
	                             .seq = 7,
	                             .sys = ENOENT,
	                             .code = "NOT_FOUND" },
	          "no such file\nPRIORITY=0");
	text = entry();
	assert_string_equal(
		text,
		"PRIORITY=3\nSYSLOG_IDENTIFIER=coracle\nCORACLE_OP=StartContainer\n"
		"CORACLE_SANDBOX=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
		"CORACLE_CONTAINER=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
		"CORACLE_IMAGE=i\\n\nCORACLE_PLUGIN=p\nCORACLE_CODE=NOT_FOUND\nCORACLE_SEQ=7\nERRNO=2\n"
		"MESSAGE=StartContainer: no such file\\nPRIORITY=0 sandbox=0123456789ab "
		"container=0123456789ab image=i\\n plugin=p seq=7 code=NOT_FOUND\n");
	log_info(NULL, "bare");
	assert_string_equal(entry(), "PRIORITY=6\nSYSLOG_IDENTIFIER=coracle\nMESSAGE=bare\n");
	assert_int_equal(fake.err.len, 0);
}

static void what_no_datagram_carries_goes_through_a_sealed_memfd(void **arg)
{
	cleanup_free char *large = xcalloc(1, 900001);
	const char *text;
	int small = 4096;

	(void)arg;
	use_journal();
	assert_int_equal(setsockopt(fake.near, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	memset(large, 'x', 900000);
	log_info(NULL, "%s", large);
	text = entry();
	assert_true(starts_with(text, "PRIORITY=6\nSYSLOG_IDENTIFIER=coracle\nMESSAGE=xxx"));
	assert_int_equal(strlen(text),
	                 strlen("PRIORITY=6\nSYSLOG_IDENTIFIER=coracle\nMESSAGE=\n") + 900000);
}

static void without_journald_stderr_gets_priorities(void **arg)
{
	(void)arg;
	use_journal();
	close(fake.near);
	fake.near = -1;
	log_warn(NULL, "still here");
	assert_string_equal(fake.err.data, "<4>still here\n");
}

static void a_journald_that_does_not_read_costs_lines_not_time(void **arg)
{
	char *text;
	int sent = 0;

	(void)arg;
	use_journal();
	while (sent < 5000 && __real_write_full(fake.near, "fill", 4) == 4)
		sent++;
	assert_true(sent < 5000);
	for (int i = 0; i < 10; i++)
		log_info(NULL, "lost %d", i);
	assert_int_equal(fake.err.len, 0);
	while (sent-- > 0)
		assert_string_equal(entry(), "fill");
	log_info(NULL, "back");
	text = entry();
	assert_non_null(strstr(text, "MESSAGE=[10 lines dropped before this one] back\n"));
	log_info(NULL, "and on");
	assert_non_null(strstr(entry(), "MESSAGE=and on\n"));
}

static void a_line_too_long_is_replaced_by_a_remark(void **arg)
{
	cleanup_free char *huge = xcalloc(1, 2 * 1024 * 1024);

	(void)arg;
	memset(huge, 'x', 2 * 1024 * 1024 - 1);
	log_info(NULL, "%s", huge);
	assert_string_equal(fake.err.data,
	                    "2025-11-25T02:23:13.123Z info  (a message too long to print)\n");
}

static void repeated_lines_are_limited_and_counted(void **arg)
{
	struct log_limit limit = { .burst = 2, .interval_ms = 1000 };

	(void)arg;
	assert_true(log_limit_pass(&limit));
	assert_true(log_limit_pass(&limit));
	for (int i = 0; i < 5; i++)
		assert_false(log_limit_pass(&limit));
	clock_virtual_advance(999 * NS_PER_MS);
	assert_false(log_limit_pass(&limit));
	assert_int_equal(fake.err.len, 0);
	clock_virtual_advance(NS_PER_MS);
	assert_true(log_limit_pass(&limit));
	assert_non_null(strstr(fake.err.data, "6 more lines like the next one were dropped\n"));
	buf_clear(&fake.err);
	clock_virtual_advance(2000 * NS_PER_MS);
	assert_true(log_limit_pass(&limit));
	assert_int_equal(fake.err.len, 0); /* nothing was dropped, nothing to say */
}

int main(void)
{
#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		LOG_TEST(text_lines_have_time_level_operation_and_short_ids),
		LOG_TEST(other_programs_say_their_name),
		LOG_TEST(a_line_cannot_be_forged),
		LOG_TEST(levels_filter),
		LOG_TEST(errno_survives_a_line),
		LOG_TEST(a_foreign_journal_stream_gets_priorities),
		LOG_TEST(journald_gets_every_field_whole),
		LOG_TEST(what_no_datagram_carries_goes_through_a_sealed_memfd),
		LOG_TEST(without_journald_stderr_gets_priorities),
		LOG_TEST(a_journald_that_does_not_read_costs_lines_not_time),
		LOG_TEST(a_line_too_long_is_replaced_by_a_remark),
		LOG_TEST(repeated_lines_are_limited_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
