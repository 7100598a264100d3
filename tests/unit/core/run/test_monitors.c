/* tests/unit/core/run/test_monitors.c
 *
 * The daemon's side against a monitor that the test plays: a listening socket at the right place,
 * frames by hand. Time is virtual.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/fd.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/monitor/proto.h"
#include "core/run/monitors.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct fixture {
	char dir[40];
	struct loop *loop;
	struct monitors *monitors;
	int listener, peer; /* the monitor's ends */
	int gone, records;
	struct exit_record record;
	/* the last answer */
	int calls;
	struct err err;
	struct monitor_result result;
	struct monitor_status status;
	char text[256];
	int calls_when_gone; /* was the error told before "gone"? */
};

static void on_gone(void *arg, const char *id)
{
	struct fixture *f = arg;

	assert_string_equal(id, ID);
	f->gone++;
	f->calls_when_gone = f->calls;
}

static void on_record(void *arg, const char *id, const struct exit_record *rec)
{
	struct fixture *f = arg;

	assert_string_equal(id, ID);
	f->records++;
	f->record = *rec;
}

static void on_done(void *arg, const struct monitor_result *result, const struct err *err)
{
	struct fixture *f = arg;

	f->calls++;
	f->err = err ? *err : (struct err){ 0 };
	f->result = *result;
	snprintf(f->text, sizeof(f->text), "%s", result->output);
}

static void on_status(void *arg, const struct monitor_status *status, const struct err *err)
{
	struct fixture *f = arg;

	f->calls++;
	f->err = err ? *err : (struct err){ 0 };
	if (status) {
		f->status = *status;
		snprintf(f->text, sizeof(f->text), "%s", status->error);
	}
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	cleanup_free char *path = NULL, *sock = NULL;
	struct monitors_args args = { .elf = "no program",
		                      .elf_len = 10,
		                      .cgroup_fd = -1,
		                      .gone = on_gone,
		                      .record = on_record };

	*state = f;
	clock_virtual_set(INT64_C(1700000000) * NS_PER_S);
	strcpy(f->dir, "/tmp/monitors-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	path = xasprintf("%s/monitors", f->dir);
	sock = xasprintf("%s/" ID ".sock", path);
	assert_int_equal(mkdir(path, 0700), 0);
	f->listener = unix_listen(sock, SOCK_SEQPACKET | SOCK_NONBLOCK, 0600, 4);
	assert_true(f->listener >= 0);
	f->loop = loop_new(&f->err);
	args.loop = f->loop;
	args.state_dir = args.spool_dir = f->dir;
	args.arg = f;
	f->monitors = monitors_new(&args);
	f->peer = -1;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	monitors_free(f->monitors);
	loop_free(f->loop);
	close(f->listener);
	if (f->peer >= 0)
		close(f->peer);
	ignore(fsx_remove_tree(AT_FDCWD, f->dir));
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	while (loop_turn(f->loop, false))
		;
}

static void connect_it(struct fixture *f)
{
	assert_int_equal(monitor_reconnect(f->monitors, ID, &f->err), 0);
	f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(f->peer >= 0);
	assert_true(monitor_connected(f->monitors, ID));
}

/* What the daemon sent: its frame, the header checked. */
static size_t expect(struct fixture *f, enum monitor_frame type, uint8_t *frame, uint32_t *ret_tag)
{
	ssize_t n = recv(f->peer, frame, MONITOR_FRAME_MAX, 0);
	struct monitor_header header;

	assert_true(n >= 8);
	assert_int_equal(monitor_get_header(frame, (size_t)n, &header), 0);
	assert_int_equal(header.version, MONITOR_PROTO_VERSION);
	assert_int_equal(header.type, type);
	*ret_tag = header.tag;
	return (size_t)n - 8;
}

static void answer(struct fixture *f, uint32_t tag, const struct monitor_result_frame *result)
{
	uint8_t frame[MONITOR_FRAME_MAX];
	size_t len = monitor_encode_result(result, tag, frame, sizeof(frame));

	assert_int_equal(send(f->peer, frame, len, 0), len);
}

static void a_start_is_answered(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[MONITOR_FRAME_MAX];
	uint32_t tag;

	connect_it(f);
	monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
	assert_int_equal(expect(f, MONITOR_START, frame, &tag), 4);
	assert_int_equal(get_le32(frame + 8), 30000);
	answer(f, tag,
	       &(struct monitor_result_frame){
		       .pid = 5, .start_ticks = 6, .started_ns = 7, .text = "hm", .text_len = 2 });
	settle(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->err.code, CODE_OK);
	assert_int_equal(f->result.pid, 5);
	assert_int_equal(f->result.start_ticks, 6);
	assert_int_equal(f->result.started_ns, 7);
	assert_string_equal(f->text, "hm");
}

static void an_op_lock_travels_with_the_request(void **state)
{
	struct fixture *f = *state;
	char *argv[] = { (char *)"/bin/crun", (char *)"delete", (char *)"x", NULL };
	const char *back[MONITOR_ARGV_MAX + 1];
	uint8_t frame[MONITOR_FRAME_MAX];
	int lock = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = -1;
	uint32_t timeout_ms;
	size_t nfds = 1;
	ssize_t n;

	connect_it(f);
	monitor_call(f->monitors, ID, argv, lock, 500, on_done, f);
	n = fd_recv(f->peer, frame, sizeof(frame), &fd, &nfds);
	assert_int_equal(nfds, 1);
	close(fd);
	close(lock);
	assert_int_equal(monitor_decode_call(frame + 8, (size_t)n - 8, &timeout_ms, back), 0);
	assert_int_equal(timeout_ms, 500);
	assert_string_equal(back[0], "/bin/crun");
	assert_string_equal(back[2], "x");
	assert_null(back[3]);
}

static void failures_name_the_culprit(void **state)
{
	static const struct {
		struct monitor_result_frame frame;
		enum code code;
		const char *msg;
	} cases[] = {
		{ { .why = MONITOR_RUNTIME_FAILED,
		    .wstatus = 256,
		    .text = "{\"level\":\"error\",\"msg\":\"no such exec\"}\n",
		    .text_len = 39 },
		  CODE_INTERNAL,
		  "runtime start: no such exec" },
		{ { .why = MONITOR_RUNTIME_FAILED, .wstatus = 256 },
		  CODE_INTERNAL,
		  "runtime start: exit status 1" },
		{ { .why = MONITOR_RUNTIME_FAILED, .wstatus = SIGSEGV },
		  CODE_INTERNAL,
		  "runtime start: killed by signal 11" },
		{ { .why = MONITOR_TIMED_OUT, .wstatus = SIGKILL },
		  CODE_DEADLINE_EXCEEDED,
		  "runtime start: killed after 30000 ms" },
		{ { .why = MONITOR_SYS,
		    .sys = ENOSPC,
		    .text = "prepare the exit record",
		    .text_len = 23 },
		  CODE_RESOURCE_EXHAUSTED,
		  "runtime start: monitor: prepare the exit record: No space left on device" },
		{ { .why = MONITOR_WRONG_STATE, .text = "started already", .text_len = 15 },
		  CODE_FAILED_PRECONDITION,
		  "runtime start: started already" },
		{ { .why = MONITOR_UNSUPPORTED },
		  CODE_UNIMPLEMENTED,
		  "runtime start: this monitor is too old for it" },
		{ { .why = 99, .text = "?", .text_len = 1 },
		  CODE_INTERNAL,
		  "runtime start: the monitor failed for a reason of its own (99): ?" },
	};
	struct fixture *f = *state;
	uint8_t frame[MONITOR_FRAME_MAX];
	uint32_t tag;

	connect_it(f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
		expect(f, MONITOR_START, frame, &tag);
		answer(f, tag, &cases[i].frame);
		settle(f);
		assert_int_equal(f->calls, i + 1);
		assert_int_equal(f->err.code, cases[i].code);
		assert_string_equal(f->err.msg, cases[i].msg);
	}
}

static void a_monitor_that_is_stopped_costs_one_error_and_its_late_answer_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[MONITOR_FRAME_MAX];
	uint32_t tag, second;

	connect_it(f);
	monitor_reopen_log(f->monitors, ID, on_done, f);
	expect(f, MONITOR_REOPEN, frame, &tag);
	for (int i = 0; i < 100 && f->calls == 0; i++)
		ignore(loop_turn(f->loop, true));
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->err.code, CODE_DEADLINE_EXCEEDED);
	assert_true(clock_boot_ns() >= 10 * NS_PER_S);

	monitor_reopen_log(f->monitors, ID, on_done, f);
	expect(f, MONITOR_REOPEN, frame, &second);
	assert_int_not_equal(tag, second);
	answer(f, tag, &(struct monitor_result_frame){ .why = MONITOR_SYS, .sys = EIO });
	settle(f);
	assert_int_equal(f->calls, 1);
	answer(f, second, &(struct monitor_result_frame){ .why = MONITOR_OK });
	settle(f);
	assert_int_equal(f->calls, 2);
	assert_int_equal(f->err.code, CODE_OK);
	assert_true(monitor_connected(f->monitors, ID));
}

static void the_end_of_the_connection_fails_what_is_pending_then_tells(void **state)
{
	struct fixture *f = *state;

	connect_it(f);
	monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
	monitor_query(f->monitors, ID, on_status, f);
	close(f->peer);
	f->peer = -1;
	settle(f);
	assert_int_equal(f->calls, 2);
	assert_int_equal(f->err.code, CODE_UNAVAILABLE);
	assert_int_equal(f->gone, 1);
	assert_int_equal(f->calls_when_gone, 2);
	assert_false(monitor_connected(f->monitors, ID));
}

static void an_answer_sent_before_the_end_is_still_taken(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[MONITOR_FRAME_MAX];
	uint32_t tag;

	connect_it(f);
	monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
	expect(f, MONITOR_START, frame, &tag);
	monitor_resize(f->monitors, ID, 80,
	               25); /* unread when the monitor ends: ECONNRESET comes before the answer */
	answer(f, tag, &(struct monitor_result_frame){ .why = MONITOR_OK, .pid = 9 });
	close(f->peer);
	f->peer = -1;
	settle(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->err.code, CODE_OK);
	assert_int_equal(f->result.pid, 9);
	assert_int_equal(f->gone, 1);
}

static void a_question_connects_when_nobody_has_yet(void **state)
{
	struct fixture *f = *state;

	monitor_query(f->monitors, ID, on_status, f);
	assert_true(monitor_connected(f->monitors, ID));
	settle(f);
	assert_int_equal(f->calls, 0); /* asked, not answered */
}

static void without_a_monitor_the_error_comes_from_the_loop(void **state)
{
	struct fixture *f = *state;

	close(f->listener);
	f->listener = -1;
	monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
	monitor_query(f->monitors, ID, on_status, f);
	assert_int_equal(f->calls, 0);
	settle(f);
	assert_int_equal(f->calls, 2);
	assert_int_equal(f->err.code, CODE_UNAVAILABLE);
}

static void a_query_says_what_happened_to_create_and_start(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[MONITOR_FRAME_MAX];
	const struct monitor_status_frame status = {
		.stage = MONITOR_FAILED,
		.flags = MONITOR_STATUS_OOM,
		.why = MONITOR_RUNTIME_FAILED,
		.pid = 3,
		.log_lost = 4,
		.text = "plain words",
		.text_len = 11,
	};
	uint32_t tag;
	size_t len;

	connect_it(f);
	len = monitor_encode_status(&status, 0, frame,
	                            sizeof(frame)); /* the greeting: asked by nobody */
	assert_int_equal(send(f->peer, frame, len, 0), len);
	settle(f);
	assert_int_equal(f->calls, 0);

	monitor_query(f->monitors, ID, on_status, f);
	expect(f, MONITOR_QUERY, frame, &tag);
	len = monitor_encode_status(&status, tag, frame, sizeof(frame));
	assert_int_equal(send(f->peer, frame, len, 0), len);
	settle(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->status.stage, MONITOR_IS_FAILED);
	assert_true(f->status.oom);
	assert_false(f->status.calling);
	assert_int_equal(f->status.pid, 3);
	assert_int_equal(f->status.log_lost, 4);
	assert_string_equal(f->text, "runtime create: plain words");
}

static void a_record_that_cannot_be_renamed_is_handed_over(void **state)
{
	struct fixture *f = *state;
	const struct exit_record rec = { .id = ID,
		                         .filled = true,
		                         .pid = 7,
		                         .start_ticks = 8,
		                         .exited_ns = 9,
		                         .wstatus = 9,
		                         .exit_code = 137 };
	uint8_t frame[MONITOR_FRAME_MAX];
	uint32_t tag;

	connect_it(f);
	monitor_put_header(frame, MONITOR_RECORD, 0);
	exit_record_encode(&rec, frame + 8);
	assert_int_equal(send(f->peer, frame, 8 + EXIT_RECORD_BYTES, 0), 8 + EXIT_RECORD_BYTES);
	settle(f);
	assert_int_equal(f->records, 1);
	assert_int_equal(f->record.exit_code, 137);
	monitor_release(f->monitors, ID);
	expect(f, MONITOR_RELEASE, frame, &tag);
	assert_int_equal(tag, 0);
}

static void nonsense_ends_the_connection(void **state)
{
	static const uint8_t nonsense[][12] = {
		{ 0 },                                        /* version 0 */
		{ 1, MONITOR_QUERY },                         /* not for us to answer */
		{ 1, MONITOR_RECORD, 0, 0, 0, 0, 0, 0, 'x' }, /* no record */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++) {
		connect_it(f);
		monitor_query(f->monitors, ID, on_status, f);
		assert_int_equal(send(f->peer, nonsense[i], sizeof(nonsense[i]), 0),
		                 sizeof(nonsense[i]));
		settle(f);
		assert_int_equal(f->calls, i + 1);
		assert_int_equal(f->gone, i + 1);
		assert_non_null(strstr(f->err.msg, "protocol"));
		close(f->peer);
		f->peer = -1;
	}
}

static void frames_of_a_later_version_are_passed_over(void **state)
{
	struct fixture *f = *state;
	const uint8_t later[9] = { 2, 99 };

	connect_it(f);
	assert_int_equal(send(f->peer, later, sizeof(later), 0), sizeof(later));
	settle(f);
	assert_true(monitor_connected(f->monitors, ID));
}

static void the_lock_is_probed_without_being_taken(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *path = xasprintf("%s/monitors/" ID ".lock", f->dir);
	int holder, other;

	assert_false(monitor_lock_held(f->monitors, ID));
	assert_false(monitor_lock_held(f->monitors, "../../etc/passwd"));
	holder = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_false(monitor_lock_held(f->monitors, ID));
	assert_int_equal(flock(holder, LOCK_EX | LOCK_NB), 0);
	assert_true(monitor_lock_held(f->monitors, ID));
	assert_true(monitor_lock_held(f->monitors, ID));
	close(holder);
	other = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), 0); /* somebody else who probes */
	assert_false(monitor_lock_held(f->monitors, ID));
	close(other);
}

static void a_second_monitor_of_a_container_is_refused(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *path = xasprintf("%s/monitors/" ID ".lock", f->dir);
	char *runtime[] = { (char *)"/bin/true", NULL };
	struct monitor_start_args args = MONITOR_START_ARGS_INIT;
	int holder = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(flock(holder, LOCK_EX | LOCK_NB), 0);
	for (int i = 0; i < 2; i++) {
		cleanup_free char *sub = xasprintf("%s/%s", f->dir, i ? "tmp" : "new");

		assert_int_equal(mkdir(sub, 0700), 0);
	}
	args.id = ID;
	args.bundle = "/b";
	args.runtime = runtime;
	args.done = on_done;
	args.arg = f;
	assert_int_equal(monitor_start(f->monitors, &args, &f->err), -1);
	assert_int_equal(f->err.code, CODE_FAILED_PRECONDITION);
	assert_non_null(strstr(f->err.msg, "still running"));
	close(holder);
}

static void a_start_that_makes_no_sense_is_refused(void **state)
{
	struct fixture *f = *state;
	char *good[] = { (char *)"/bin/true", NULL }, *bad[] = { (char *)"true", NULL };
	const char *const mine[] = { "/sys/fs/cgroup/x/" ID, NULL }, *const others[] = {
		"/sys/fs/cgroup", NULL
	};
	struct monitor_start_args args = MONITOR_START_ARGS_INIT, ok;

	args.id = ID;
	args.bundle = "/b";
	args.runtime = good;
	args.cgroups = mine;
	args.done = on_done;
	ok = args;
#define REFUSED(word)                                                                              \
	do {                                                                                       \
		assert_int_equal(monitor_start(f->monitors, &args, &f->err), -1);                  \
		assert_int_equal(f->err.code, CODE_INVALID_ARGUMENT);                              \
		assert_non_null(strstr(f->err.msg, word));                                         \
		args = ok;                                                                         \
	} while (0)
	args.id = "a/b";
	REFUSED("a/b");
	args.bundle = "b";
	REFUSED("bundle");
	args.runtime = bad;
	REFUSED("runtime");
	args.log_path = "0.log";
	REFUSED("0.log");
	args.cgroups = others;
	REFUSED("/sys/fs/cgroup");
}

static void ids_with_files_are_listed_once(void **state)
{
	static const char *const names[] = { "bb.lock", "bb.sock",  "bb.pid",
		                             "aa.lock", ".monitor", "junk" };
	struct fixture *f = *state;
	cleanup(strv_free) char **ids = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free char *path = xasprintf("%s/monitors/%s", f->dir, names[i]);

		assert_int_equal(fsx_write(AT_FDCWD, path, "", 0, 0600), 0);
	}
	assert_int_equal(monitors_list(f->monitors, &ids, &f->err), 0);
	assert_int_equal(strv_len(ids), 3);
	assert_string_equal(ids[0], ID);
	assert_string_equal(ids[1], "aa");
	assert_string_equal(ids[2], "bb");
}

static void forgetting_releases_closes_and_removes(void **state)
{
	static const char *const endings[] = { "sock", "lock", "pid", "log", "tty" };
	struct fixture *f = *state;
	uint8_t frame[MONITOR_FRAME_MAX];
	uint32_t tag;

	connect_it(f);
	monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
	expect(f, MONITOR_START, frame, &tag);
	monitor_forget(f->monitors, ID);
	monitor_forget(f->monitors, ID);
	assert_int_equal(f->calls, 0); /* not from within */
	expect(f, MONITOR_RELEASE, frame, &tag);
	assert_int_equal(recv(f->peer, frame, sizeof(frame), 0), 0);
	settle(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->err.code, CODE_CANCELLED);
	assert_int_equal(f->gone, 0);
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		cleanup_free char *path = xasprintf("%s/monitors/" ID ".%s", f->dir, endings[i]);

		assert_int_equal(access(path, F_OK), -1);
	}
}

static void nobody_there_is_told_apart_from_nobody_answering(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *sock = xasprintf("%s/monitors/" ID ".sock", f->dir);
	int waiting[16], n = 0;

	/* a stopped monitor: its backlog fills up */
	while (n < 16 && (waiting[n] = unix_connect(sock, SOCK_SEQPACKET | SOCK_NONBLOCK)) >= 0)
		n++;
	assert_true(n < 16);
	assert_int_equal(monitor_reconnect(f->monitors, ID, &f->err), -1);
	assert_int_equal(f->err.code, CODE_UNAVAILABLE);
	while (n > 0)
		close(waiting[--n]);
	close(f->listener);
	assert_int_equal(monitor_reconnect(f->monitors, ID, &f->err), -1);
	assert_int_equal(f->err.code, CODE_NOT_FOUND);
	f->listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void freeing_with_questions_open_calls_nobody(void **state)
{
	struct fixture *f = *state;

	connect_it(f);
	monitor_run_start(f->monitors, ID, -1, 30000, on_done, f);
	monitor_query(f->monitors, "other", on_status, f);
	monitors_free(f->monitors);
	f->monitors = NULL;
	settle(f);
	assert_int_equal(f->calls, 0);
	assert_int_equal(f->gone, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_start_is_answered),
		TEST(an_op_lock_travels_with_the_request),
		TEST(failures_name_the_culprit),
		TEST(a_monitor_that_is_stopped_costs_one_error_and_its_late_answer_nothing),
		TEST(the_end_of_the_connection_fails_what_is_pending_then_tells),
		TEST(an_answer_sent_before_the_end_is_still_taken),
		TEST(a_question_connects_when_nobody_has_yet),
		TEST(without_a_monitor_the_error_comes_from_the_loop),
		TEST(a_query_says_what_happened_to_create_and_start),
		TEST(a_record_that_cannot_be_renamed_is_handed_over),
		TEST(nonsense_ends_the_connection),
		TEST(frames_of_a_later_version_are_passed_over),
		TEST(the_lock_is_probed_without_being_taken),
		TEST(a_second_monitor_of_a_container_is_refused),
		TEST(a_start_that_makes_no_sense_is_refused),
		TEST(ids_with_files_are_listed_once),
		TEST(forgetting_releases_closes_and_removes),
		TEST(nobody_there_is_told_apart_from_nobody_answering),
		TEST(freeing_with_questions_open_calls_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
