/* What a peer may do to a connection, frame by frame. The clock is virtual, so that buckets do not
 * refill by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "cri/grpc/http2.h"

enum {
	DATA = 0,
	HEADERS = 1,
	PRIORITY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	CONTINUATION = 9
};
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, WITH_PRIORITY = 0x20 };

/* :method POST, :scheme http, :path /a/b, content-type application/grpc; from RFC 7541's static
 * table and literals */
#define GOOD_HEAD                                                                                  \
	"\x83\x86\x04\x04/a/b\x0f\x10\x10"                                                         \
	"application/grpc"

struct fixture {
	struct http2 *h2;
	struct http2_stream *last;
	size_t requests, closed, body_bytes, ended, outputs;
	uint32_t close_code;
	bool refuse, respond;
	struct err err;
	struct buf out;
};

static void on_request(void *arg, struct http2_stream *stream, const struct http2_request *request)
{
	static const struct http2_field status[] = { { { ":status", 7 }, { "200", 3 } } };
	struct fixture *f = arg;

	assert_true(str_eq_c(request->path, "/a/b"));
	f->requests++;
	f->last = stream;
	if (f->refuse) {
		http2_respond_only(stream, status, 1);
		return;
	}
	http2_stream_own(stream, f);
	if (f->respond) {
		http2_respond(stream, status, 1);
		http2_trailers(stream, status, 1);
	}
}

static void on_body(void *owner, const uint8_t *data UNUSED, size_t len)
{
	((struct fixture *)owner)->body_bytes += len;
}

static void on_body_end(void *owner)
{
	((struct fixture *)owner)->ended++;
}

static size_t on_writable(void *owner, uint8_t *buf, size_t size, bool *ret_end)
{
	ignore(owner);
	assert_true(size >= 2);
	memcpy(buf, "ok", 2);
	*ret_end = true;
	return 2;
}

static void on_close(void *owner, uint32_t code)
{
	struct fixture *f = owner;

	f->closed++;
	f->close_code = code;
}

static void on_output(void *arg)
{
	((struct fixture *)arg)->outputs++;
}

static const struct http2_ops ops = { on_request,  on_body,  on_body_end,
	                              on_writable, on_close, on_output };

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	clock_virtual_set(NS_PER_S * 1000000000);
	f->h2 = http2_new(&ops, f);
	buf_init(&f->out, 1 << 24);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	http2_free(f->h2);
	buf_release(&f->out);
	free(f);
	return 0;
}

static int feed(struct fixture *f, const void *data, size_t len)
{
	return http2_recv(f->h2, data, len, &f->err);
}

static int frame(struct fixture *f, uint8_t type, uint8_t flags, uint32_t stream,
                 const void *payload, size_t len)
{
	cleanup(buf_release) struct buf bytes = { 0 };
	uint8_t head[9] = { (uint8_t)(len >> 16),
		            (uint8_t)(len >> 8),
		            (uint8_t)len,
		            type,
		            flags,
		            (uint8_t)(stream >> 24),
		            (uint8_t)(stream >> 16),
		            (uint8_t)(stream >> 8),
		            (uint8_t)stream };

	buf_init(&bytes, 1 << 20);
	assert_int_equal(buf_add(&bytes, head, sizeof(head)), 0);
	assert_int_equal(buf_add(&bytes, payload, len), 0);
	return feed(f, bytes.data, bytes.len);
}

#define FRAME(f, type, flags, stream, literal)                                                     \
	frame(f, type, flags, stream, literal, sizeof(literal) - 1)

static void collect(struct fixture *f)
{
	const uint8_t *data;
	size_t n;

	while ((n = http2_send(f->h2, &data)) > 0)
		assert_int_equal(buf_add(&f->out, data, n), 0);
}

static void greet(struct fixture *f)
{
	assert_int_equal(feed(f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24), 0);
	assert_int_equal(FRAME(f, SETTINGS, 0, 0, ""), 0);
	collect(f);
}

/* How many frames of @type were sent; the payload of the last one in *ret. */
static size_t sent(struct fixture *f, uint8_t type, struct str *ret)
{
	size_t count = 0;

	collect(f);
	for (size_t at = 0; at + 9 <= f->out.len;) {
		const uint8_t *p = (const uint8_t *)f->out.data + at;
		size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		if (p[3] == type) {
			count++;
			*ret = (struct str){ (const char *)p + 9, len };
		}
		at += 9 + len;
	}
	return count;
}

/* The error code of the last frame of @type, RST_STREAM or GOAWAY; -1: there was none. */
static int64_t sent_code(struct fixture *f, uint8_t type)
{
	struct str payload = { 0 };
	const uint8_t *p;

	if (sent(f, type, &payload) == 0)
		return -1;
	p = (const uint8_t *)payload.p + (type == GOAWAY ? 4 : 0);
	return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
}

/* --- */

static void settings_are_sent_before_the_client_says_anything(void **arg)
{
	struct fixture *f = *arg;
	struct str payload;

	assert_int_equal(sent(f, SETTINGS, &payload), 1);
	assert_int_equal(payload.len, 4 * 6);
	assert_false(http2_greeted(f->h2));
	greet(f);
	assert_true(http2_greeted(f->h2));
}

static void a_request_is_told_with_its_body_and_end(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	assert_int_equal(FRAME(f, DATA, 0, 1, "abc"), 0);
	assert_int_equal(f->ended, 0);
	assert_int_equal(FRAME(f, DATA, END_STREAM, 1, ""), 0);
	assert_int_equal(f->requests, 1);
	assert_int_equal(f->body_bytes, 3);
	assert_int_equal(f->ended, 1);
}

static void padding_priority_and_continuation_change_nothing(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, WITH_PRIORITY | PADDED, 1,
	                       "\3\0\0\0\0\20"
	                       "\x83\x86"
	                       "\0\0\0"),
	                 0);
	assert_true(http2_mid_head(f->h2));
	assert_int_equal(FRAME(f, CONTINUATION, END_HEADERS, 1, "\x04\x04/a/b"), 0);
	assert_false(http2_mid_head(f->h2));
	assert_int_equal(FRAME(f, PRIORITY, 0, 1, "\0\0\0\0\20"), 0);
	assert_int_equal(FRAME(f, DATA, END_STREAM | PADDED, 1,
	                       "\2"
	                       "abc"
	                       "\0\0"),
	                 0);
	assert_int_equal(f->body_bytes, 3);
	assert_int_equal(f->ended, 1);
}

static void request_trailers_end_the_body(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS | END_STREAM, 1, "\0\1x\1y"), 0);
	assert_int_equal(f->ended, 1);
}

static void request_trailers_without_an_end_reset_the_stream(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, "\0\1x\1y"), 0);
	assert_int_equal(sent_code(f, RST_STREAM), HTTP2_PROTOCOL_ERROR);
	assert_int_equal(f->ended, 0);
	assert_int_equal(f->closed, 1);
}

static void an_upper_case_name_resets_the_stream(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD "\0\5Upper\1x"), 0);
	assert_int_equal(sent_code(f, RST_STREAM), HTTP2_PROTOCOL_ERROR);
	assert_int_equal(f->requests, 0);
}

static void a_pseudo_field_behind_a_regular_one_resets_the_stream(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, "\x83\x86\0\1x\1y\x04\x04/a/b"), 0);
	assert_int_equal(sent_code(f, RST_STREAM), HTTP2_PROTOCOL_ERROR);
}

static void a_refused_request_is_answered_and_its_body_declined_without_an_error(void **arg)
{
	struct fixture *f = *arg;
	struct str payload;

	f->refuse = true;
	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	assert_int_equal(sent(f, HEADERS, &payload), 1);
	assert_int_equal(sent_code(f, RST_STREAM), HTTP2_NO_ERROR);
	assert_int_equal(FRAME(f, DATA, 0, 1, "still on its way"), 0);
	assert_int_equal(f->body_bytes, 0);
	assert_int_equal(sent_code(f, GOAWAY), -1);
}

static void a_head_beyond_16_kib_is_reset(void **arg)
{
	struct fixture *f = *arg;
	cleanup(buf_release) struct buf head = { 0 };

	buf_init(&head, 1 << 20);
	greet(f);
	assert_int_equal(buf_add(&head, GOOD_HEAD, sizeof(GOOD_HEAD) - 1), 0);
	/* one entry of 4000 bytes into the table, then references to it: small on the wire, large
	 * for us */
	assert_int_equal(buf_add(&head, "\x40\1x\x7f\xa1\x1e", 6), 0);
	for (size_t i = 0; i < 4000; i++)
		assert_int_equal(buf_add(&head, "y", 1), 0);
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(buf_add(&head, "\xbe", 1), 0);
	assert_int_equal(frame(f, HEADERS, END_HEADERS, 1, head.data, head.len), 0);
	assert_int_equal(sent_code(f, RST_STREAM), HTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(f->requests, 0);
	/* the connection lives on */
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 3, GOOD_HEAD), 0);
	assert_int_equal(f->requests, 1);
}

static void an_http_1_request_is_turned_away(void **arg)
{
	struct fixture *f = *arg;

	assert_int_equal(feed(f, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35), -1);
	collect(f);
	assert_true(http2_done(f->h2));
}

static void bandwidth_pings_behind_our_data_are_never_too_many(void **arg)
{
	struct fixture *f = *arg;
	struct str payload;

	f->respond = true;
	greet(f);
	for (uint32_t i = 0; i < 50; i++) {
		assert_int_equal(FRAME(f, HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, GOOD_HEAD),
		                 0);
		assert_int_equal(FRAME(f, PING, 0, 0, "\2\4\20\20\11\16\7\7"), 0);
		collect(f);
	}
	assert_int_equal(sent(f, PING, &payload), 50);
	assert_memory_equal(payload.p, "\2\4\20\20\11\16\7\7", 8);
	assert_int_equal(sent_code(f, GOAWAY), -1);
}

static void a_ping_flood_ends_the_connection_with_the_words_that_clients_know(void **arg)
{
	struct fixture *f = *arg;
	struct str payload = { 0 };

	greet(f);
	for (size_t i = 0; i < 11; i++)
		assert_int_equal(FRAME(f, PING, 0, 0, "12345678"), 0);
	assert_int_equal(sent(f, GOAWAY, &payload), 1);
	assert_int_equal(sent_code(f, GOAWAY), HTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(payload.len, 8 + 14);
	assert_memory_equal(payload.p + 8, "too_many_pings", 14);
	assert_true(http2_done(f->h2));
}

static void pings_at_a_slow_pace_are_fine(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	for (size_t i = 0; i < 50; i++) {
		assert_int_equal(FRAME(f, PING, 0, 0, "12345678"), 0);
		clock_virtual_advance(NS_PER_S);
		collect(f);
	}
	assert_int_equal(sent_code(f, GOAWAY), -1);
}

static void a_settings_flood_ends_the_connection(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	for (size_t i = 0; i < 40; i++) {
		assert_int_equal(FRAME(f, SETTINGS, 0, 0, "\0\4\0\0\xff\xff"), 0);
		collect(f);
	}
	assert_int_equal(sent_code(f, GOAWAY), HTTP2_ENHANCE_YOUR_CALM);
}

static void a_settings_frame_of_17_entries_ends_the_connection(void **arg)
{
	struct fixture *f = *arg;
	char entries[17 * 6];

	greet(f);
	for (size_t i = 0; i < 17; i++)
		memcpy(entries + i * 6, "\0\4\0\0\xff\xff", 6);
	assert_int_equal(frame(f, SETTINGS, 0, 0, entries, 16 * 6), 0);
	assert_int_equal(sent_code(f, GOAWAY), -1);
	ignore(frame(f, SETTINGS, 0, 0, entries, 17 * 6));
	assert_int_equal(sent_code(f, GOAWAY), HTTP2_ENHANCE_YOUR_CALM);
	assert_true(http2_done(f->h2));
}

static void opening_and_resetting_in_a_loop_ends_the_connection(void **arg)
{
	struct fixture *f = *arg;
	uint32_t i;

	greet(f);
	for (i = 0; i < 1000 && sent_code(f, GOAWAY) < 0; i++) {
		assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 2 * i + 1, GOOD_HEAD), 0);
		ignore(FRAME(f, RST_STREAM, 0, 2 * i + 1, "\0\0\0\10"));
	}
	assert_in_range(i, 200, 210);
	assert_true(http2_done(f->h2));
	assert_int_equal(f->requests, f->closed);
}

static void provoking_our_resets_in_a_loop_ends_the_connection(void **arg)
{
	struct fixture *f = *arg;
	uint32_t i;

	greet(f);
	for (i = 0; i < 1000 && sent_code(f, GOAWAY) < 0; i++)
		assert_int_equal(
			FRAME(f, HEADERS, END_HEADERS, 2 * i + 1, GOOD_HEAD "\0\5Upper\1x"), 0);
	assert_in_range(i, 200, 210);
	assert_int_equal(sent_code(f, GOAWAY), HTTP2_ENHANCE_YOUR_CALM);
}

static void a_head_in_too_many_pieces_ends_the_connection(void **arg)
{
	struct fixture *f = *arg;
	int ret = 0;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, 0, 1, "\x83\x86\x04\x04/a/b"), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(FRAME(f, CONTINUATION, 0, 1, "\0\1x\1y"), 0);
	ret = FRAME(f, CONTINUATION, 0, 1, "\0\1x\1y");
	assert_int_equal(ret, -1);
	collect(f);
	assert_true(http2_done(f->h2));
	assert_int_equal(f->requests, 0);
}

static void empty_frames_without_end_end_the_connection(void **arg)
{
	struct fixture *f = *arg;
	size_t i;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	for (i = 0; i < 1000 && sent_code(f, GOAWAY) < 0; i++)
		assert_int_equal(FRAME(f, DATA, 0, 1, ""), 0);
	assert_int_equal(i, 101);
	assert_int_equal(sent_code(f, GOAWAY), HTTP2_ENHANCE_YOUR_CALM);
}

static void no_more_than_100_streams_are_open_at_once(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	for (uint32_t i = 0; i < 101; i++)
		assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 2 * i + 1, GOOD_HEAD), 0);
	assert_int_equal(f->requests, 100);
	assert_int_equal(sent_code(f, RST_STREAM), HTTP2_REFUSED_STREAM);
}

static void the_last_call_follows_the_answer_to_the_farewell_ping(void **arg)
{
	struct fixture *f = *arg;
	struct str payload = { 0 };
	uint8_t echo[8];

	greet(f);
	http2_drain(f->h2);
	assert_int_equal(sent(f, GOAWAY, &payload), 1);
	assert_memory_equal(payload.p, "\x7f\xff\xff\xff\0\0\0\0", 8);
	assert_int_equal(sent(f, PING, &payload), 1);
	memcpy(echo, payload.p, sizeof(echo));
	/* a request that was on its way is served */
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	assert_int_equal(f->requests, 1);
	assert_false(http2_done(f->h2));
	assert_int_equal(frame(f, PING, ACK, 0, echo, sizeof(echo)), 0);
	assert_int_equal(sent(f, GOAWAY, &payload), 2);
	assert_memory_equal(payload.p, "\0\0\0\1\0\0\0\0", 8);
	assert_false(http2_done(f->h2));
	http2_reset(f->last, HTTP2_CANCEL);
	collect(f);
	assert_true(http2_done(f->h2));
}

static void freeing_a_session_closes_its_streams(void **arg)
{
	struct fixture *f = *arg;

	greet(f);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 1, GOOD_HEAD), 0);
	assert_int_equal(FRAME(f, HEADERS, END_HEADERS, 3, GOOD_HEAD), 0);
	http2_free(f->h2);
	assert_int_equal(f->closed, 2);
	f->h2 = NULL;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(settings_are_sent_before_the_client_says_anything),
		TEST(a_request_is_told_with_its_body_and_end),
		TEST(padding_priority_and_continuation_change_nothing),
		TEST(request_trailers_end_the_body),
		TEST(request_trailers_without_an_end_reset_the_stream),
		TEST(an_upper_case_name_resets_the_stream),
		TEST(a_pseudo_field_behind_a_regular_one_resets_the_stream),
		TEST(a_refused_request_is_answered_and_its_body_declined_without_an_error),
		TEST(a_head_beyond_16_kib_is_reset),
		TEST(an_http_1_request_is_turned_away),
		TEST(bandwidth_pings_behind_our_data_are_never_too_many),
		TEST(a_ping_flood_ends_the_connection_with_the_words_that_clients_know),
		TEST(pings_at_a_slow_pace_are_fine),
		TEST(a_settings_flood_ends_the_connection),
		TEST(a_settings_frame_of_17_entries_ends_the_connection),
		TEST(opening_and_resetting_in_a_loop_ends_the_connection),
		TEST(provoking_our_resets_in_a_loop_ends_the_connection),
		TEST(a_head_in_too_many_pieces_ends_the_connection),
		TEST(empty_frames_without_end_end_the_connection),
		TEST(no_more_than_100_streams_are_open_at_once),
		TEST(the_last_call_follows_the_answer_to_the_farewell_ping),
		TEST(freeing_a_session_closes_its_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
