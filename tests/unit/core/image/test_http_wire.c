#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/mem.h"
#include "core/image/http_wire.h"

/* --- URLs */

static void check_url(const char *text, bool tls, const char *host, unsigned port,
                      const char *target)
{
	cleanup(http_url_release) struct http_url url = { 0 };
	struct err err = { 0 };

	if (http_url_parse(str_of(text), &url, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	assert_int_equal(url.tls, tls);
	assert_string_equal(url.host, host);
	assert_int_equal(url.port, port);
	assert_string_equal(url.target, target);
}

static void a_url_is_taken_apart(void **arg)
{
	(void)arg;
	check_url("https://Reg.Example", true, "reg.example", 443, "/");
	check_url("http://h:5000/v2/a?b=c#frag", false, "h", 5000, "/v2/a?b=c");
	check_url("HTTPS://[fd00::1]:8443/x", true, "fd00::1", 8443, "/x");
	check_url("https://h?sig=a%2Fb/c@d:e", true, "h", 443, "/?sig=a%2Fb/c@d:e");
	check_url("http://user:p%40ss@proxy:3128", false, "proxy", 3128, "/");
}

static void what_is_no_url_is_refused(void **arg)
{
	static const char *const texts[] = { "",
		                             "ftp://h/",
		                             "h/x",
		                             "https://",
		                             "https://:80/",
		                             "https://h:0/",
		                             "https://h:70000/",
		                             "https://h:x/",
		                             "https://[::1/",
		                             "https://[::1]x/",
		                             "https://[h]/",
		                             "https://h/a b",
		                             "https://h/\r\nX: y",
		                             "https://a\nb/",
		                             "https://u%0:p@h/" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup(http_url_release) struct http_url url = { 0 };
		struct err err = { 0 };

		if (http_url_parse(str_of(texts[i]), &url, &err) == 0)
			fail_msg("\"%s\" was accepted", texts[i]);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	}
}

static void check_redirect(const char *location, const char *shown, const char *target)
{
	cleanup(http_url_release) struct http_url base = { 0 };
	cleanup(http_url_release) struct http_url url = { 0 };
	cleanup_free char *text = NULL;
	struct err err = { 0 };

	assert_int_equal(http_url_parse(STR("https://reg:5000/v2/a/blobs/x?ns=y"), &base, &err), 0);
	if (http_url_resolve(&base, str_of(location), &url, &err) < 0)
		fail_msg("%s: %s", location, err.msg);
	text = http_url_shown(&url);
	assert_string_equal(text, shown);
	assert_string_equal(url.target, target);
}

static void a_host_name_holds_no_nul(void **arg)
{
	struct http_url url;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(http_url_parse(STR("https://\0h/"), &url, &err), -1);
	assert_int_equal(http_url_parse(STR("https://h\0.evil/"), &url, &err), -1);
}

static void a_location_is_seen_from_where_it_was_given(void **arg)
{
	cleanup(http_url_release) struct http_url base = { 0 };
	struct http_url url;
	struct err err = { 0 };

	(void)arg;
	check_redirect("https://cdn/x?s=1", "https://cdn/x", "/x?s=1");
	check_redirect("//cdn:8443/x", "https://cdn:8443/x", "/x");
	check_redirect("/y?t", "https://reg:5000/y", "/y?t");
	check_redirect("z", "https://reg:5000/v2/a/blobs/z", "/v2/a/blobs/z");
	check_redirect("?q", "https://reg:5000/v2/a/blobs/x", "/v2/a/blobs/x?q");
	assert_int_equal(http_url_parse(STR("https://reg/"), &base, &err), 0);
	assert_int_equal(http_url_resolve(&base, STR("ftp://x/"), &url, &err), -1);
	assert_int_equal(http_url_resolve(&base, STR(""), &url, &err), -1);
}

static void another_scheme_host_or_port_is_another_origin(void **arg)
{
	static const char *const others[] = { "http://reg:443/", "https://reg:444/",
		                              "https://sub.reg/" };
	cleanup(http_url_release) struct http_url base = { 0 };
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(http_url_parse(STR("https://reg/a"), &base, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		cleanup(http_url_release) struct http_url url = { 0 };

		assert_int_equal(http_url_parse(str_of(others[i]), &url, &err), 0);
		assert_false(http_url_same_origin(&base, &url));
	}
	{
		cleanup(http_url_release) struct http_url same = { 0 };

		assert_int_equal(http_url_parse(STR("https://REG:443/b"), &same, &err), 0);
		assert_true(http_url_same_origin(&base, &same));
	}
}

/* --- heads */

static void a_head_is_complete_at_its_empty_line(void **arg)
{
	(void)arg;
	assert_int_equal(http_head_end("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", 29), 25);
	assert_int_equal(http_head_end("HTTP/1.1 200 OK\nA: b\n\nbody", 26), 22);
	assert_int_equal(http_head_end("HTTP/1.1 200 OK\r\nA: b\r\n\r", 24), 0);
	assert_int_equal(http_head_end("", 0), 0);
}

static void parse(const char *text, struct http_head *head)
{
	struct err err = { 0 };

	if (http_head_parse(text, strlen(text), head, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
}

static void a_head_tells_status_length_and_whether_to_close(void **arg)
{
	struct http_head head;

	(void)arg;
	parse("HTTP/1.1 206 Partial Content\r\ncontent-length: 12\r\nX:  a b \r\n\r\n", &head);
	assert_int_equal(head.status, 206);
	assert_int_equal(head.length, 12);
	assert_false(head.close);
	assert_true(str_eq_c(http_head_field(&head, "x"), "a b"));
	assert_int_equal(http_head_field(&head, "y").len, 0);
	parse("HTTP/1.0 200\r\n\r\n", &head);
	assert_true(head.close);
	assert_int_equal(head.length, -1);
	parse("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nTransfer-Encoding: Chunked\r\n\r\n",
	      &head);
	assert_true(head.close);
	assert_true(head.chunked);
	parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", &head);
	assert_int_equal(head.length, 5);
}

static void a_head_that_could_mean_two_things_is_refused(void **arg)
{
	static const char *const texts[] = {
		"HTTP/2 200\r\n\r\n",
		"HTTP/1.1 20\r\n\r\n",
		"HTTP/1.1 2000 x\r\n\r\n",
		"HTTP/1.1 099 x\r\n\r\n",
		"SSH-2.0-x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\n folded: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\x01\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct http_head head;
		struct err err = { 0 };

		if (http_head_parse(texts[i], strlen(texts[i]), &head, &err) == 0)
			fail_msg("accepted: %s", texts[i]);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	}
}

static void more_fields_than_there_is_room_for_are_refused(void **arg)
{
	cleanup(buf_release) struct buf text = { 0 };
	struct http_head head;
	struct err err = { 0 };

	(void)arg;
	buf_init(&text, 65536);
	assert_int_equal(buf_add_str(&text, "HTTP/1.1 200 OK\r\n"), 0);
	for (int i = 0; i < HTTP_FIELDS_MAX; i++)
		assert_int_equal(buf_add_str(&text, "A: b\r\n"), 0);
	assert_int_equal(http_head_parse(text.data, text.len, &head, &err), 0);
	assert_int_equal(buf_add_str(&text, "A: b\r\n"), 0);
	assert_int_equal(http_head_parse(text.data, text.len, &head, &err), -1);
}

/* --- bodies */

/* Decodes @text fed in pieces of @step bytes; -1 on an error. */
static int decode(const char *head_text, const char *text, size_t step, struct buf *out, bool *done,
                  size_t *used_all)
{
	struct http_body body;
	struct http_head head;
	struct err err = { 0 };
	size_t at = 0, len = strlen(text);

	parse(head_text, &head);
	http_body_init(&body, &head, false);
	while (at < len && !body.done) {
		struct str content;
		size_t used;

		if (http_body_next(&body, (const uint8_t *)text + at, MIN(step, len - at), &used,
		                   &content, &err) < 0)
			return -1;
		assert_true(used > 0);
		assert_int_equal(buf_add(out, content.p, content.len), 0);
		at += used;
	}
	*done = body.done;
	*used_all = at;
	return 0;
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void chunks_come_together_however_they_are_cut(void **arg)
{
	static const char text[] =
		"5\r\nhello\r\n1;ext=\"1\"\r\n \r\n00A\nabcdefghij\r\n0\r\nTrailer: x\r\n\r\nNEXT";

	(void)arg;
	for (size_t step = 1; step <= sizeof(text); step++) {
		cleanup(buf_release) struct buf out = { 0 };
		size_t used;
		bool done;

		buf_init(&out, 4096);
		assert_int_equal(decode(CHUNKED, text, step, &out, &done, &used), 0);
		assert_true(done);
		assert_int_equal(used, strlen(text) - strlen("NEXT"));
		assert_string_equal(out.data, "hello abcdefghij");
	}
}

static void a_body_without_its_end_is_not_done(void **arg)
{
	static const char *const texts[] = { "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n",
		                             "5\r\nhello\r\n0\r\nA: b\r\n" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup(buf_release) struct buf out = { 0 };
		size_t used;
		bool done;

		buf_init(&out, 4096);
		assert_int_equal(decode(CHUNKED, texts[i], 100, &out, &done, &used), 0);
		assert_false(done);
	}
}

static void malformed_chunks_are_refused(void **arg)
{
	static const char *const texts[] = { "\r\n",
		                             "x\r\n",
		                             "-5\r\nhello\r\n",
		                             "5\r\nhelloworld\r\n",
		                             "5x\r\n",
		                             "123456789012345678\r\n" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup(buf_release) struct buf out = { 0 };
		size_t used;
		bool done;

		buf_init(&out, 4096);
		if (decode(CHUNKED, texts[i], 1, &out, &done, &used) == 0)
			fail_msg("accepted: %s", texts[i]);
	}
}

static void a_counted_body_ends_at_its_count(void **arg)
{
	cleanup(buf_release) struct buf out = { 0 };
	size_t used;
	bool done;

	(void)arg;
	buf_init(&out, 4096);
	assert_int_equal(decode("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "abcdef", 100, &out,
	                        &done, &used),
	                 0);
	assert_true(done);
	assert_int_equal(used, 3);
	assert_string_equal(out.data, "abc");
}

static void some_answers_have_no_body_whatever_they_announce(void **arg)
{
	struct http_body body;
	struct http_head head;

	(void)arg;
	parse("HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", &head);
	http_body_init(&body, &head, false);
	assert_true(body.done);
	parse("HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n", &head);
	http_body_init(&body, &head, true);
	assert_true(body.done);
	parse("HTTP/1.1 200 x\r\n\r\n", &head);
	http_body_init(&body, &head, false);
	assert_false(body.done);
	assert_int_equal(body.kind, HTTP_BODY_UNTIL_CLOSE);
}

static void a_content_range_tells_start_and_total(void **arg)
{
	static const char *const wrong[] = {
		"",           "bytes", "bytes */10", "bytes 5-4/10", "bytes 0-10/10", "bytes 1-/10",
		"items 0-1/2"
	};
	uint64_t start;
	int64_t total;

	(void)arg;
	assert_int_equal(http_content_range(STR("bytes 5-9/10"), &start, &total), 0);
	assert_int_equal(start, 5);
	assert_int_equal(total, 10);
	assert_int_equal(http_content_range(STR("Bytes 0-0/*"), &start, &total), 0);
	assert_int_equal(total, -1);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (http_content_range(str_of(wrong[i]), &start, &total) == 0)
			fail_msg("accepted: %s", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_url_is_taken_apart),
		cmocka_unit_test(what_is_no_url_is_refused),
		cmocka_unit_test(a_host_name_holds_no_nul),
		cmocka_unit_test(a_location_is_seen_from_where_it_was_given),
		cmocka_unit_test(another_scheme_host_or_port_is_another_origin),
		cmocka_unit_test(a_head_is_complete_at_its_empty_line),
		cmocka_unit_test(a_head_tells_status_length_and_whether_to_close),
		cmocka_unit_test(a_head_that_could_mean_two_things_is_refused),
		cmocka_unit_test(more_fields_than_there_is_room_for_are_refused),
		cmocka_unit_test(chunks_come_together_however_they_are_cut),
		cmocka_unit_test(a_body_without_its_end_is_not_done),
		cmocka_unit_test(malformed_chunks_are_refused),
		cmocka_unit_test(a_counted_body_ends_at_its_count),
		cmocka_unit_test(some_answers_have_no_body_whatever_they_announce),
		cmocka_unit_test(a_content_range_tells_start_and_total),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
