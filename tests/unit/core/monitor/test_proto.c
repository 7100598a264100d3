/* tests/unit/core/monitor/test_proto.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/monitor/proto.h"

static void a_configuration_arrives_as_it_was_sent(void **state)
{
	const struct monitor_config config = {
		.flags = MONITOR_TTY | MONITOR_KILL_CGROUP,
		.max_line = 16384,
		.timeout_ms = 120000,
		.io_uid = 100000,
		.io_gid = 100001,
		.id = "c1",
		.bundle = "/run/b",
		.log_path = "",
		.runtime = { "/usr/bin/crun", "--root", "/run/r" },
		.cgroups = { "/sys/fs/cgroup/x/c1" },
	};
	uint8_t frame[512];
	size_t len = monitor_encode_config(&config, 7, frame, sizeof(frame));
	struct monitor_header header;
	struct monitor_config back;

	(void)state;
	assert_true(len > 0);
	assert_int_equal(monitor_get_header(frame, len, &header), 0);
	assert_int_equal(header.version, MONITOR_PROTO_VERSION);
	assert_int_equal(header.type, MONITOR_CONFIG);
	assert_int_equal(header.tag, 7);
	assert_int_equal(monitor_decode_config(frame + 8, len - 8, &back), 0);
	assert_int_equal(back.flags, config.flags);
	assert_int_equal(back.max_line, 16384);
	assert_int_equal(back.timeout_ms, 120000);
	assert_int_equal(back.io_uid, 100000);
	assert_int_equal(back.io_gid, 100001);
	assert_string_equal(back.id, "c1");
	assert_string_equal(back.bundle, "/run/b");
	assert_string_equal(back.log_path, "");
	assert_string_equal(back.runtime[2], "/run/r");
	assert_null(back.runtime[3]);
	assert_string_equal(back.cgroups[0], "/sys/fs/cgroup/x/c1");
	assert_null(back.cgroups[1]);

	for (size_t cut = 0; cut < len - 8; cut++)
		assert_int_equal(monitor_decode_config(frame + 8, cut, &back), -1);
	assert_int_equal(monitor_decode_config(frame + 8, len - 7, &back),
	                 -1); /* a byte too many */
	for (size_t size = 0; size < len; size++) {
		uint8_t small[512];

		assert_int_equal(monitor_encode_config(&config, 7, small, size), 0);
	}
}

static void a_command_line_arrives_as_it_was_sent(void **state)
{
	const char *const argv[] = { "/bin/r", "", "delete", NULL };
	const char *back[MONITOR_ARGV_MAX + 1];
	const char *many[MONITOR_ARGV_MAX + 2];
	uint8_t frame[256];
	size_t len = monitor_encode_call(30000, argv, 9, frame, sizeof(frame));
	uint32_t timeout_ms;

	(void)state;
	assert_int_equal(monitor_decode_call(frame + 8, len - 8, &timeout_ms, back), 0);
	assert_int_equal(timeout_ms, 30000);
	assert_string_equal(back[0], "/bin/r");
	assert_string_equal(back[1], "");
	assert_string_equal(back[2], "delete");
	assert_null(back[3]);
	assert_int_equal(monitor_decode_call(frame + 8, len - 9, &timeout_ms, back),
	                 -1); /* no NUL at the end */
	assert_int_equal(monitor_decode_call(frame + 8, 4, &timeout_ms, back), -1); /* no words */
	assert_int_equal(monitor_decode_call(frame + 8, 3, &timeout_ms, back), -1);

	for (size_t i = 0; i <= MONITOR_ARGV_MAX; i++)
		many[i] = "x";
	many[MONITOR_ARGV_MAX + 1] = NULL;
	assert_int_equal(monitor_encode_call(0, many, 9, frame, sizeof(frame)), 0);
	many[MONITOR_ARGV_MAX] = NULL;
	len = monitor_encode_call(0, many, 9, frame, sizeof(frame));
	assert_int_equal(monitor_decode_call(frame + 8, len - 8, &timeout_ms, back), 0);
	frame[len] = 'x';
	frame[len + 1] = '\0';
	assert_int_equal(monitor_decode_call(frame + 8, len - 8 + 2, &timeout_ms, back), -1);
}

static void results_and_status_arrive_as_they_were_sent(void **state)
{
	const struct monitor_result_frame result = {
		.why = MONITOR_RUNTIME_FAILED,
		.stage = MONITOR_CREATED,
		.wstatus = 256,
		.sys = 5,
		.pid = 77,
		.start_ticks = 1234567890123,
		.started_ns = -5,
		.text = "oops",
		.text_len = 4,
	};
	const struct monitor_status_frame status = {
		.stage = MONITOR_EXITED,
		.flags = MONITOR_STATUS_OOM,
		.why = MONITOR_SYS,
		.wstatus = 9,
		.sys = 28,
		.pid = 78,
		.attached = 3,
		.start_ticks = 5,
		.log_lost = 1ull << 40,
		.started_ns = 6,
		.exited_ns = 7,
		.text = "x",
		.text_len = 1,
	};
	struct monitor_result_frame r;
	struct monitor_status_frame s;
	uint8_t frame[256];
	size_t len;

	(void)state;
	len = monitor_encode_result(&result, 1, frame, sizeof(frame));
	assert_int_equal(monitor_decode_result(frame + 8, len - 8, &r), 0);
	assert_int_equal(r.why, result.why);
	assert_int_equal(r.stage, result.stage);
	assert_int_equal(r.wstatus, 256);
	assert_int_equal(r.sys, 5);
	assert_int_equal(r.pid, 77);
	assert_int_equal(r.start_ticks, 1234567890123);
	assert_int_equal(r.started_ns, -5);
	assert_int_equal(r.text_len, 4);
	assert_memory_equal(r.text, "oops", 4);

	len = monitor_encode_status(&status, 1, frame, sizeof(frame));
	assert_int_equal(monitor_decode_status(frame + 8, len - 8, &s), 0);
	assert_int_equal(s.stage, status.stage);
	assert_int_equal(s.flags, status.flags);
	assert_int_equal(s.why, status.why);
	assert_int_equal(s.wstatus, 9);
	assert_int_equal(s.sys, 28);
	assert_int_equal(s.pid, 78);
	assert_int_equal(s.attached, 3);
	assert_int_equal(s.start_ticks, 5);
	assert_int_equal(s.log_lost, 1ull << 40);
	assert_int_equal(s.started_ns, 6);
	assert_int_equal(s.exited_ns, 7);
	assert_int_equal(s.text_len, 1);
}

static void a_later_version_may_append_fields(void **state)
{
	const struct monitor_result_frame result = { .pid = 77, .text = "tail", .text_len = 4 };
	struct monitor_result_frame r;
	uint8_t frame[256], longer[256] = { 0 };
	size_t len = monitor_encode_result(&result, 1, frame, sizeof(frame)) - 8;

	(void)state;
	memcpy(longer, frame + 8, MONITOR_RESULT_BYTES);
	put_le16(longer, MONITOR_RESULT_BYTES + 10);
	memcpy(longer + MONITOR_RESULT_BYTES + 10, "tail", 4);
	assert_int_equal(monitor_decode_result(longer, len + 10, &r), 0);
	assert_int_equal(r.pid, 77);
	assert_int_equal(r.text_len, 4);
	assert_memory_equal(r.text, "tail", 4);
	put_le16(longer, (uint16_t)(len + 11)); /* longer than the packet */
	assert_int_equal(monitor_decode_result(longer, len + 10, &r), -1);
	put_le16(longer, MONITOR_RESULT_BYTES - 1); /* shorter than version 1 */
	assert_int_equal(monitor_decode_result(longer, len + 10, &r), -1);
}

static void long_text_keeps_its_end(void **state)
{
	static char text[MONITOR_TEXT_MAX + 100];
	static uint8_t frame[MONITOR_FRAME_MAX];
	struct monitor_result_frame result = { .text = text, .text_len = sizeof(text) }, r;
	size_t len;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = 'z';
	len = monitor_encode_result(&result, 1, frame, sizeof(frame));
	assert_int_equal(monitor_decode_result(frame + 8, len - 8, &r), 0);
	assert_int_equal(r.text_len, MONITOR_TEXT_MAX);
	assert_int_equal(r.text[MONITOR_TEXT_MAX - 1], 'z');
}

static void a_header_that_is_none_is_refused(void **state)
{
	struct monitor_header header;
	uint8_t frame[8];

	(void)state;
	monitor_put_header(frame, MONITOR_QUERY, 1);
	assert_int_equal(monitor_get_header(frame, 8, &header), 0);
	assert_int_equal(monitor_get_header(frame, 7, &header), -1);
	frame[2] = 1;
	assert_int_equal(monitor_get_header(frame, 8, &header), -1);
	monitor_put_header(frame, MONITOR_QUERY, 1);
	frame[0] = 0;
	assert_int_equal(monitor_get_header(frame, 8, &header), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_configuration_arrives_as_it_was_sent),
		cmocka_unit_test(a_command_line_arrives_as_it_was_sent),
		cmocka_unit_test(results_and_status_arrive_as_they_were_sent),
		cmocka_unit_test(a_later_version_may_append_fields),
		cmocka_unit_test(long_text_keeps_its_end),
		cmocka_unit_test(a_header_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
