#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fd.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/loop/stream.h"

struct fixture {
	struct loop *loop;
	struct stream *stream;
	int peer;
	char got[4096];
	size_t ngot;
	size_t take; /* at most this many bytes per call */
	bool free_on_data;
	int ends, drains;
	enum code end_code;
	char end_text[240];
};

static size_t on_data(void *arg, const void *data, size_t len)
{
	struct fixture *f = arg;
	size_t n = MIN(len, f->take);

	assert_true(f->ngot + n <= sizeof(f->got));
	memcpy(f->got + f->ngot, data, n);
	f->ngot += n;
	if (f->free_on_data)
		stream_free(take_ptr(f->stream));
	return n;
}

static void on_end(void *arg, const struct err *err)
{
	struct fixture *f = arg;

	f->ends++;
	f->end_code = err ? err->code : CODE_OK;
	assert_int_equal(str_copy(f->end_text, sizeof(f->end_text), err ? err->msg : ""), 0);
}

static void on_drain(void *arg)
{
	struct fixture *f = arg;

	f->drains++;
}

static const struct stream_ops ops = { on_data, on_end, on_drain };

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	int pair[2];
	struct err err;

	f->loop = loop_new(&err);
	f->take = SIZE_MAX;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fd_set_nonblock(pair[1], true), 0);
	f->peer = pair[1];
	f->stream = stream_new(f->loop, pair[0], 1024, 1024 * 1024, &ops, f, "test stream", &err);
	assert_non_null(f->stream);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	stream_free(f->stream);
	loop_free(f->loop);
	if (f->peer >= 0)
		close(f->peer);
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	while (loop_turn(f->loop, false))
		;
}

static void peer_sends(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void bytes_not_taken_are_offered_again_with_more(void **arg)
{
	struct fixture *f = *arg;

	f->take = 0;
	peer_sends(f, "abc");
	settle(f);
	assert_int_equal(f->ngot, 0);
	f->take = 2; /* takes them in twos until nothing is left */
	peer_sends(f, "def");
	settle(f);
	assert_int_equal(f->ngot, 6);
	assert_memory_equal(f->got, "abcdef", 6);
}

static void the_end_comes_once_after_the_last_bytes_and_does_not_spin(void **arg)
{
	struct fixture *f = *arg;

	peer_sends(f, "last");
	close(take_fd(&f->peer));
	settle(f); /* ends only if the closed descriptor does not wake us for ever */
	assert_int_equal(f->ngot, 4);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->end_code, CODE_OK);
}

static void a_peer_that_sends_more_than_can_be_used_is_cut_off(void **arg)
{
	struct fixture *f = *arg;
	char data[2000] = { 0 };

	f->take = 0;
	assert_int_equal(write(f->peer, data, sizeof(data)), sizeof(data));
	settle(f);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->end_code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(f->end_text, "test stream"));
}

static void a_paused_stream_reads_nothing_until_it_goes_on(void **arg)
{
	struct fixture *f = *arg;

	stream_pause(f->stream, true);
	peer_sends(f, "abc");
	settle(f);
	assert_int_equal(f->ngot, 0);
	stream_pause(f->stream, false);
	settle(f);
	assert_int_equal(f->ngot, 3);
}

static void what_was_left_when_it_paused_is_offered_when_it_goes_on(void **arg)
{
	struct fixture *f = *arg;

	f->take = 0;
	peer_sends(f, "abc");
	settle(f);
	stream_pause(f->stream, true);
	f->take = SIZE_MAX;
	stream_pause(f->stream, false);
	settle(f);
	assert_int_equal(f->ngot, 3);
}

static void output_waits_for_a_slow_peer_and_draining_is_told_once(void **arg)
{
	struct fixture *f = *arg;
	size_t len = 1024 * 1024, got = 0;
	char *data = xcalloc(1, len);
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 7 + i / 251);
	assert_int_equal(stream_write(f->stream, data, len), 0);
	assert_true(stream_above_mark(f->stream));
	assert_int_equal(stream_write(f->stream, data, len),
	                 -1); /* would exceed the limit: nothing of it is queued */
	stream_shutdown_write(f->stream);
	while (f->drains == 0 || stream_pending(f->stream) > 0) {
		char chunk[65536];

		settle(f);
		n = read(f->peer, chunk, sizeof(chunk));
		assert_true(n > 0);
		assert_memory_equal(chunk, data + got, (size_t)n);
		got += (size_t)n;
	}
	while (got < len) {
		char chunk[65536];

		n = read(f->peer, chunk, sizeof(chunk));
		assert_true(n > 0);
		assert_memory_equal(chunk, data + got, (size_t)n);
		got += (size_t)n;
	}
	assert_int_equal(read(f->peer, data, 1), 0); /* EOF after everything */
	assert_int_equal(f->drains, 1);
	assert_int_equal(f->ends, 0); /* reading goes on */
	peer_sends(f, "still");
	settle(f);
	assert_int_equal(f->ngot, 5);
	free(data);
}

static void writing_to_a_peer_that_is_gone_fails_without_a_signal(void **arg)
{
	struct fixture *f = *arg;

	close(take_fd(&f->peer));
	assert_int_equal(stream_write(f->stream, "x", 1), -1);
	settle(f);
	assert_int_equal(f->ends, 1);
	assert_int_equal(stream_write(f->stream, "x", 1), -1);
}

static void the_owner_may_free_it_in_its_callback(void **arg)
{
	struct fixture *f = *arg;

	f->free_on_data = true;
	peer_sends(f, "abc");
	settle(f);
	assert_null(f->stream);
	assert_int_equal(f->ends, 0);
}

static void a_broken_pipe_ends_the_stream_with_its_error(void **arg)
{
	struct fixture *f = *arg;
	struct stream *out;
	int fds[2];
	struct err err;

	assert_int_equal(pipe(fds), 0);
	out = stream_new(f->loop, fds[1], 64, 1024, &ops, f, "pipe", &err);
	assert_non_null(out);
	close(fds[0]);
	assert_int_equal(stream_write(out, "x", 1), -1);
	settle(f);
	assert_int_equal(f->ends, 1);
	stream_free(out);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bytes_not_taken_are_offered_again_with_more),
		T(the_end_comes_once_after_the_last_bytes_and_does_not_spin),
		T(a_peer_that_sends_more_than_can_be_used_is_cut_off),
		T(a_paused_stream_reads_nothing_until_it_goes_on),
		T(what_was_left_when_it_paused_is_offered_when_it_goes_on),
		T(output_waits_for_a_slow_peer_and_draining_is_told_once),
		T(writing_to_a_peer_that_is_gone_fails_without_a_signal),
		T(the_owner_may_free_it_in_its_callback),
		T(a_broken_pipe_ends_the_stream_with_its_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
