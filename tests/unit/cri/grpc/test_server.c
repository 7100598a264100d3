/* Server and client over real sockets. The server's loop runs in a child process, since the client
 * blocks; what only the server side can see (caps, timers) is tested on a socket pair in this
 * process, with the virtual clock. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/loop/listener.h"
#include "core/loop/loop.h"
#include "cri/grpc/client.h"
#include "cri/grpc/server.h"
#include "cri/proto/cri.h"
#include "cri/proto/ctl.pb.h"

static const struct grpc_method version_method = { "/t.S/Version", false };
static const struct grpc_method hold_method = { "/t.S/Hold", false };
static const struct grpc_method fail_method = { "/t.S/Fail", false };
static const struct grpc_method dump_method = { "/t.S/Dump", true };

struct served {
	struct loop *loop;
	struct grpc_server *server;
	struct grpc_call *held;
	size_t chunks_left;
	bool drained;
};

static const struct grpc_method *admit(void *arg UNUSED, struct str path, struct err *err)
{
	static const struct grpc_method *const all[] = { &version_method, &hold_method,
		                                         &fail_method, &dump_method };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (str_eq_c(path, all[i]->path))
			return all[i];
	err_set(err, CODE_UNIMPLEMENTED, "no %.*s", STR_ARG(path));
	return NULL;
}

/* A megabyte in pieces, as fast as the client reads. */
static void send_chunks(void *arg, struct grpc_call *call)
{
	struct served *served = arg;
	struct err err;

	while (served->chunks_left > 0 && !grpc_stream_above_mark(call)) {
		pb_bytes_array_t *bytes =
			pb_arena_alloc(grpc_scratch(call), PB_BYTES_ARRAY_T_ALLOCSIZE(64 * 1024));

		bytes->size = 64 * 1024;
		memset(bytes->bytes, (int)served->chunks_left, bytes->size);
		if (grpc_stream_send(call, &ctl_DumpChunk_msg, &(ctl_DumpChunk){ .json = bytes },
		                     &err) < 0) {
			grpc_fail(call, &err);
			return;
		}
		served->chunks_left--;
	}
	if (served->chunks_left == 0)
		grpc_finish(call);
}

static void dispatch(void *arg, struct grpc_call *call)
{
	struct served *served = arg;
	cri_VersionRequest request;
	struct str bytes = grpc_request_bytes(call);
	struct err err = { 0 };

	if (grpc_method(call) == &version_method) {
		assert_int_equal(pb_decode_msg(grpc_arena(call), &cri_VersionRequest_msg, &request,
		                               bytes.p, bytes.len, "x", &err),
		                 0);
		grpc_reply(call, &cri_VersionResponse_msg,
		           &(cri_VersionResponse){ .version = request.version });
	} else if (grpc_method(call) == &fail_method) {
		err_set(&err, CODE_NOT_FOUND, "100%% gone: \xc3\xa4");
		grpc_fail(call, &err);
	} else if (grpc_method(call) == &dump_method) {
		served->chunks_left = 16;
		grpc_on_drain(call, send_chunks, served);
		send_chunks(served, call);
	} else {
		served->held = call;
	}
}

static struct grpc_server *new_server(struct served *served)
{
	return grpc_server_new(&(struct grpc_server_args){
		.loop = served->loop,
		.handler = { .admit = admit, .dispatch = dispatch, .arg = served },
		.max_connections = 3 });
}

/* --- with the client, server in a child */

struct fixture {
	char dir[64], path[128];
	pid_t server; /* 0: has ended */
	struct grpc_client *client;
	struct pb_arena *arena;
};

static void stop_on_signal(void *arg, const struct signalfd_siginfo *info UNUSED)
{
	loop_stop(arg);
}

static NORETURN void run_server(const char *path, int ready)
{
	struct served served = { 0 };
	struct listener *listener;
	struct err err = { 0 };

	served.loop = loop_new(&err);
	served.server = new_server(&served);
	listener = listener_unix(served.loop, path, &err);
	if (!listener || grpc_server_listen(served.server, listener, &err) < 0 ||
	    loop_signal(served.loop, SIGTERM, stop_on_signal, served.loop, &err) < 0) {
		dprintf(2, "server: %s\n", err.msg);
		_exit(1);
	}
	ignore(write(ready, "r", 1) == 1);
	ignore(loop_run(served.loop, &err));
	grpc_server_free(served.server);
	loop_free(served.loop);
	_exit(0);
}

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };
	int ready[2];
	char byte;

	assert_int_equal(str_copy(f->dir, sizeof(f->dir), "/tmp/test-server-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(str_format(f->path, sizeof(f->path), "%s/sock", f->dir), 0);
	assert_int_equal(pipe(ready), 0);
	f->server = fork();
	if (f->server == 0)
		run_server(f->path, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	f->client = grpc_client_new(f->path, &err);
	assert_string_equal(err.msg, "");
	f->arena = pb_arena_new(1 << 20);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	int status;

	grpc_client_free(f->client);
	pb_arena_free(f->arena);
	if (f->server) {
		kill(f->server, SIGTERM);
		assert_int_equal(waitpid(f->server, &status, 0), f->server);
		assert_int_equal(status, 0);
	}
	assert_int_equal(access(f->path, F_OK), -1); /* the socket went with the server */
	rmdir(f->dir);
	free(f);
	return 0;
}

static int unary(struct fixture *f, const char *method, int64_t timeout_ms,
                 cri_VersionResponse *response, struct err *err)
{
	cri_VersionRequest request = { .version = (char *)(uintptr_t) "v1" };
	struct grpc_client_call call = { method, &cri_VersionRequest_msg, &request,
		                         &cri_VersionResponse_msg, timeout_ms };

	*err = (struct err){ 0 };
	return grpc_client_unary(f->client, &call, f->arena, response, err);
}

static void unary_calls_work_one_after_the_other(void **arg)
{
	struct fixture *f = *arg;
	cri_VersionResponse response;
	struct err err;

	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(unary(f, "/t.S/Version", 5000, &response, &err), 0);
		assert_string_equal(response.version, "v1");
	}
}

static void the_client_tells_the_servers_error(void **arg)
{
	struct fixture *f = *arg;
	cri_VersionResponse response;
	struct err err;

	assert_int_equal(unary(f, "/t.S/Fail", 5000, &response, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_string_equal(err.msg, "100% gone: \xc3\xa4");
	assert_int_equal(unary(f, "/t.S/Nope", 5000, &response, &err), -1);
	assert_int_equal(err.code, CODE_UNIMPLEMENTED);
	assert_int_equal(unary(f, "/t.S/Version", 0, &response, &err),
	                 0); /* the connection is none the worse */
}

static void a_deadline_ends_the_wait(void **arg)
{
	struct fixture *f = *arg;
	cri_VersionResponse response;
	struct err err;

	assert_int_equal(unary(f, "/t.S/Hold", 20, &response, &err), -1);
	assert_int_equal(err.code, CODE_DEADLINE_EXCEEDED);
	assert_int_equal(unary(f, "/t.S/Version", 5000, &response, &err), 0);
}

struct chunks {
	size_t count, bytes, stop_after;
};

static int on_chunk(void *arg, const void *message)
{
	const ctl_DumpChunk *chunk = message;
	struct chunks *chunks = arg;

	assert_int_equal(chunk->json->bytes[0], 16 - chunks->count);
	chunks->count++;
	chunks->bytes += chunk->json->size;
	return chunks->count == chunks->stop_after;
}

static void a_stream_arrives_whole_and_in_order(void **arg)
{
	struct fixture *f = *arg;
	struct grpc_client_call call = { "/t.S/Dump", &ctl_DumpRequest_msg, &(ctl_DumpRequest){ 0 },
		                         &ctl_DumpChunk_msg, 5000 };
	struct chunks chunks = { 0 };
	ctl_DumpChunk chunk;
	struct err err = { 0 };

	assert_int_equal(grpc_client_stream(f->client, &call, &chunk, on_chunk, &chunks, &err), 0);
	assert_int_equal(chunks.count, 16);
	assert_int_equal(chunks.bytes, 1 << 20);
}

static void a_stream_can_be_left_early(void **arg)
{
	struct fixture *f = *arg;
	struct grpc_client_call call = { "/t.S/Dump", &ctl_DumpRequest_msg, &(ctl_DumpRequest){ 0 },
		                         &ctl_DumpChunk_msg, 5000 };
	struct chunks chunks = { .stop_after = 2 };
	ctl_DumpChunk chunk;
	cri_VersionResponse response;
	struct err err = { 0 };

	assert_int_equal(grpc_client_stream(f->client, &call, &chunk, on_chunk, &chunks, &err), 0);
	assert_int_equal(chunks.count, 2);
	assert_int_equal(unary(f, "/t.S/Version", 5000, &response, &err), 0);
}

static void a_server_that_goes_away_is_unavailable(void **arg)
{
	struct fixture *f = *arg;
	cri_VersionResponse response;
	struct err err;
	int status;

	kill(f->server, SIGTERM);
	assert_int_equal(waitpid(f->server, &status, 0), f->server);
	f->server = 0;
	assert_int_equal(unary(f, "/t.S/Version", 5000, &response, &err), -1);
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_int_equal(unary(f, "/t.S/Version", 5000, &response, &err), -1);
	assert_int_equal(err.code, CODE_UNAVAILABLE);
}

static void nobody_at_home_is_unavailable_and_names_the_socket(void **arg UNUSED)
{
	struct err err = { 0 };

	assert_null(grpc_client_new("/tmp/no-such-dir/sock", &err));
	assert_int_equal(err.code, CODE_UNAVAILABLE);
	assert_non_null(strstr(err.msg, "/tmp/no-such-dir/sock"));
}

/* --- a server that breaks the rules: a child that accepts, says its piece and waits for the end */

struct canned {
	char dir[64], path[128];
	pid_t server;
	struct grpc_client *client;
};

static void canned_start(struct canned *c, const void *bytes, size_t len)
{
	struct err err = { 0 };
	int listening;

	assert_int_equal(str_copy(c->dir, sizeof(c->dir), "/tmp/test-server-XXXXXX"), 0);
	assert_non_null(mkdtemp(c->dir));
	assert_int_equal(str_format(c->path, sizeof(c->path), "%s/sock", c->dir), 0);
	listening = unix_listen(c->path, SOCK_STREAM, 0600, 1);
	assert_true(listening >= 0);
	c->server = fork();
	if (c->server == 0) {
		char drop[4096];
		int fd = accept(listening, NULL, NULL);

		/* the preface and SETTINGS; then the request, which the answer must not overtake */
		ignore(read(fd, drop, sizeof(drop)) > 0);
		ignore(write(fd, "\0\0\0\4\0\0\0\0\0", 9) == 9);
		ignore(write(fd, bytes, len) == (ssize_t)len);
		while (read(fd, drop, sizeof(drop)) > 0) {
		}
		_exit(0);
	}
	close(listening);
	c->client = grpc_client_new(c->path, &err);
	assert_non_null(c->client);
}

static void canned_end(struct canned *c)
{
	int status;

	grpc_client_free(c->client);
	assert_int_equal(waitpid(c->server, &status, 0), c->server);
	unlink(c->path);
	rmdir(c->dir);
}

static void an_answer_that_breaks_the_rules_is_an_error(void **arg UNUSED)
{
#define STATUS_200    "\0\0\1\1\4\0\0\0\1\x88"
#define CANNED(bytes) bytes, sizeof(bytes) - 1
	static const struct {
		const char *bytes;
		size_t len;
		enum code code;
		const char *text;
	} cases[] = {
		/* the end of the stream without a grpc-status */
		{ CANNED("\0\0\1\1\5\0\0\0\1\x8d"), CODE_INTERNAL,
		  "no gRPC status in the answer (HTTP status 404)" },
		/* REFUSED_STREAM and ENHANCE_YOUR_CALM */
		{ CANNED("\0\0\4\3\0\0\0\0\1\0\0\0\7"), CODE_UNAVAILABLE,
		  "call was reset by the server: REFUSED_STREAM" },
		{ CANNED("\0\0\4\3\0\0\0\0\1\0\0\0\13"), CODE_RESOURCE_EXHAUSTED,
		  "call was reset by the server: ENHANCE_YOUR_CALM" },
		/* a compressed message; one of 4 GiB; bytes that are no message; OK without a message */
		{ CANNED(STATUS_200 "\0\0\6\0\0\0\0\0\1\1\0\0\0\1x"), CODE_INTERNAL,
		  "response message is compressed or too large (1 bytes)" },
		{ CANNED(STATUS_200 "\0\0\5\0\0\0\0\0\1\0\xff\xff\xff\xff"), CODE_INTERNAL,
		  "response message is compressed or too large (4294967295 bytes)" },
		{ CANNED(STATUS_200 "\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x0a\x7f"), CODE_INVALID_ARGUMENT,
		  NULL },
		{ CANNED(STATUS_200 "\0\0\x0f\1\5\0\0\0\1\0\x0bgrpc-status\1"
		                    "0"),
		  CODE_INTERNAL, "/t.S/Version: no response" },
		/* trailers that are not well-formed */
		{ CANNED(STATUS_200 "\0\0\1\1\5\0\0\0\1\x88"), CODE_INTERNAL, NULL },
		/* no HTTP/2 at all */
		{ CANNED("HTTP/1.1 400 Bad Request\r\n\r\n"), CODE_UNAVAILABLE, NULL },
	};
	struct grpc_client_call call = { "/t.S/Version", &cri_VersionRequest_msg,
		                         &(cri_VersionRequest){ 0 }, &cri_VersionResponse_msg,
		                         5000 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(1 << 20);
		cri_VersionResponse response;
		struct canned c;
		struct err err = { 0 };

		canned_start(&c, cases[i].bytes, cases[i].len);
		assert_int_equal(grpc_client_unary(c.client, &call, arena, &response, &err), -1);
		if (cases[i].text)
			assert_string_equal(err.msg, cases[i].text);
		assert_int_equal(err.code, cases[i].code);
		canned_end(&c);
	}
}

/* --- on a socket pair in this process */

static int setup_pair(void **arg)
{
	struct served *served = xcalloc(1, sizeof(*served));
	struct err err;

	clock_virtual_set(NS_PER_S * 1000000000);
	served->loop = loop_new(&err);
	served->server = new_server(served);
	*arg = served;
	return 0;
}

static int teardown_pair(void **arg)
{
	struct served *served = *arg;

	grpc_server_free(served->server);
	loop_free(served->loop);
	free(served);
	return 0;
}

static int connect_pair(struct served *served)
{
	static const struct listener_peer peer = { .text = "test" };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
	                 0);
	grpc_server_accept(served->server, fds[0], &peer);
	return fds[1];
}

static void turn(struct served *served)
{
	while (loop_turn(served->loop, false)) {
	}
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
/* POST http /t.S/Hold application/grpc and an empty message, on stream 1 */
#define HOLD_CALL                                                                                  \
	"\0\0\x20\1\4\0\0\0\1\x83\x86\x04\x09/t.S/Hold\x0f\x10\x10"                                \
	"application/grpc"                                                                         \
	"\0\0\5\0\1\0\0\0\1\0\0\0\0\0"

static ssize_t read_all(int fd, char *data, size_t size)
{
	ssize_t n, total = 0;

	while ((n = read(fd, data + total, size - (size_t)total)) > 0)
		total += n;
	return n == 0 ? total : -total; /* negative: more may come */
}

/* The flags of the first frame of @type; -1: there is none. */
static int find_frame(const char *data, size_t size, uint8_t type)
{
	for (size_t at = 0; at + 9 <= size;) {
		const uint8_t *p = (const uint8_t *)data + at;

		if (p[3] == type)
			return p[4];
		at += 9 + ((size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]);
	}
	return -1;
}

static void a_silent_connection_is_closed_after_ten_seconds(void **arg)
{
	struct served *served = *arg;
	char data[4096];
	int fd = connect_pair(served);

	turn(served);
	assert_true(read_all(fd, data, sizeof(data)) < 0); /* our SETTINGS, and open */
	clock_virtual_advance(9 * NS_PER_S);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 1);
	clock_virtual_advance(2 * NS_PER_S);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 0);
	assert_int_equal(read(fd, data, 1), 0);
	close(fd);
}

static void a_greeted_connection_may_idle_for_days_without_a_timer(void **arg)
{
	struct served *served = *arg;
	int fd = connect_pair(served);

	assert_int_equal(write(fd, PREFACE, sizeof(PREFACE) - 1), sizeof(PREFACE) - 1);
	turn(served);
	clock_virtual_advance(3 * 86400 * NS_PER_S);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 1);
	close(fd);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 0);
}

static void half_a_head_is_not_waited_for_longer_than_a_greeting(void **arg)
{
	struct served *served = *arg;
	int fd = connect_pair(served);

	assert_int_equal(write(fd, PREFACE "\0\0\1\1\0\0\0\0\1\x83", sizeof(PREFACE) - 1 + 10),
	                 sizeof(PREFACE) - 1 + 10);
	turn(served);
	clock_virtual_advance(11 * NS_PER_S);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 0);
	close(fd);
}

static void connections_beyond_the_cap_are_closed_at_once(void **arg)
{
	struct served *served = *arg;
	char data[64];
	int fds[4];

	for (size_t i = 0; i < 4; i++)
		fds[i] = connect_pair(served);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 3);
	assert_int_equal(read(fds[3], data, sizeof(data)), 0);
	close(fds[0]);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 2);
	for (size_t i = 1; i < 4; i++)
		close(fds[i]);
}

static void garbage_ends_a_connection_and_no_other(void **arg)
{
	struct served *served = *arg;
	char data[4096];
	int good = connect_pair(served), bad = connect_pair(served);

	assert_int_equal(write(good, PREFACE, sizeof(PREFACE) - 1), sizeof(PREFACE) - 1);
	assert_int_equal(write(bad, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	turn(served);
	assert_true(read_all(bad, data, sizeof(data)) >= 0);
	close(bad);
	turn(served);
	assert_int_equal(grpc_server_connections(served->server), 1);
	close(good);
}

static void on_drained(void *arg)
{
	((struct served *)arg)->drained = true;
}

static void draining_waits_for_the_last_answer_and_then_says_so(void **arg)
{
	struct served *served = *arg;
	char data[8192];
	int fd = connect_pair(served);

	assert_int_equal(write(fd, PREFACE HOLD_CALL, sizeof(PREFACE HOLD_CALL) - 1),
	                 sizeof(PREFACE HOLD_CALL) - 1);
	turn(served);
	assert_non_null(served->held);
	grpc_server_drain(served->server, on_drained, served);
	turn(served);
	clock_virtual_advance(2 * NS_PER_S); /* no answer to the farewell ping */
	turn(served);
	assert_false(served->drained);
	grpc_reply(served->held, &cri_VersionResponse_msg, &(cri_VersionResponse){ 0 });
	turn(served);
	assert_true(read_all(fd, data, sizeof(data)) >
	            0); /* to the end: the server has shut its side down */
	close(fd);
	turn(served);
	assert_true(served->drained);
}

static void draining_without_connections_is_done_at_once(void **arg)
{
	struct served *served = *arg;

	grpc_server_drain(served->server, on_drained, served);
	assert_false(served->drained);
	turn(served);
	assert_true(served->drained);
}

static void a_peer_that_never_closes_does_not_hold_up_the_drain(void **arg)
{
	struct served *served = *arg;
	int fd = connect_pair(served);

	assert_int_equal(write(fd, PREFACE, sizeof(PREFACE) - 1), sizeof(PREFACE) - 1);
	turn(served);
	grpc_server_drain(served->server, on_drained, served);
	for (size_t i = 0; i < 3; i++) {
		clock_virtual_advance(2 * NS_PER_S);
		turn(served);
	}
	assert_true(served->drained);
	close(fd);
}

static void freeing_the_server_answers_what_is_left(void **arg)
{
	struct served *served = *arg;
	char data[8192];
	ssize_t n;
	int fd = connect_pair(served);

	assert_int_equal(write(fd, PREFACE HOLD_CALL, sizeof(PREFACE HOLD_CALL) - 1),
	                 sizeof(PREFACE HOLD_CALL) - 1);
	turn(served);
	assert_non_null(served->held);
	grpc_server_free(served->server);
	served->server = NULL;
	n = read_all(fd, data, sizeof(data));
	assert_true(n > 0);
	assert_int_equal(find_frame(data, (size_t)n, 1),
	                 1 | 4); /* HEADERS: the status, and the end of the call */
	assert_int_equal(find_frame(data, (size_t)n, 7), 0); /* GOAWAY */
	close(fd);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define PAIR(fn) cmocka_unit_test_setup_teardown(fn, setup_pair, teardown_pair)
	/* before any test of a pair: those make the clock virtual for good */
	const struct CMUnitTest tests[] = {
		TEST(unary_calls_work_one_after_the_other),
		TEST(the_client_tells_the_servers_error),
		TEST(a_deadline_ends_the_wait),
		TEST(a_stream_arrives_whole_and_in_order),
		TEST(a_stream_can_be_left_early),
		TEST(a_server_that_goes_away_is_unavailable),
		cmocka_unit_test(an_answer_that_breaks_the_rules_is_an_error),
		cmocka_unit_test(nobody_at_home_is_unavailable_and_names_the_socket),
		PAIR(a_silent_connection_is_closed_after_ten_seconds),
		PAIR(a_greeted_connection_may_idle_for_days_without_a_timer),
		PAIR(half_a_head_is_not_waited_for_longer_than_a_greeting),
		PAIR(connections_beyond_the_cap_are_closed_at_once),
		PAIR(garbage_ends_a_connection_and_no_other),
		PAIR(draining_waits_for_the_last_answer_and_then_says_so),
		PAIR(draining_without_connections_is_done_at_once),
		PAIR(a_peer_that_never_closes_does_not_hold_up_the_drain),
		PAIR(freeing_the_server_answers_what_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
