/* HTTP/1.1 as a server may send it: the same answer, cut differently, means the same; and URLs survive being shown and resolved. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/sha256.h"
#include "core/image/http_wire.h"

struct outcome {
	int rc;
	bool done;
	size_t used, content;
	uint8_t digest[SHA256_SIZE];
};

static struct outcome decode(const struct http_head *head, const uint8_t *data, size_t size,
                             size_t step)
{
	struct outcome outcome = { 0 };
	struct http_body body;
	struct sha256 sum;
	struct err err = { 0 };

	sha256_init(&sum);
	http_body_init(&body, head, false);
	while (outcome.used < size && !body.done) {
		size_t len = MIN(step, size - outcome.used), used;
		struct str content;

		outcome.rc = http_body_next(&body, data + outcome.used, len, &used, &content, &err);
		if (outcome.rc < 0) {
			ensure(err.msg[0]);
			break;
		}
		ensure(used > 0 && used <= len && content.len <= used);
		ensure((const uint8_t *)content.p >= data + outcome.used &&
		       (const uint8_t *)content.p + content.len <= data + outcome.used + used);
		sha256_update(&sum, content.p, content.len);
		outcome.content += content.len;
		outcome.used += used;
	}
	outcome.done = body.done;
	sha256_final(&sum, outcome.digest);
	return outcome;
}

static void check_answer(const uint8_t *data, size_t size)
{
	struct outcome whole, bytes;
	struct http_head head;
	struct err err = { 0 };
	size_t end = http_head_end((const char *)data, size);

	ensure(end <= size);
	if (!end || http_head_parse((const char *)data, end, &head, &err) < 0)
		return;
	ensure(head.status >= 100 && head.status <= 999 && head.nfields <= HTTP_FIELDS_MAX);
	ensure(!head.chunked || head.length < 0);
	for (size_t i = 0; i < head.nfields; i++) {
		const struct http_field *field = &head.fields[i];

		ensure(field->name.len > 0 &&
		       field->value.p + field->value.len <= (const char *)data + end);
	}
	whole = decode(&head, data + end, size - end, SIZE_MAX);
	bytes = decode(&head, data + end, size - end, 1);
	ensure((whole.rc < 0) == (bytes.rc < 0));
	if (whole.rc == 0)
		ensure(whole.done == bytes.done && whole.used == bytes.used &&
		       whole.content == bytes.content &&
		       memcmp(whole.digest, bytes.digest, SHA256_SIZE) == 0);
}

static void check_url(struct str text)
{
	cleanup(http_url_release) struct http_url url = { 0 };
	cleanup(http_url_release) struct http_url next = { 0 };
	cleanup(http_url_release) struct http_url again = { 0 };
	cleanup_free char *shown = NULL;
	struct err err = { 0 };

	if (http_url_parse(text, &url, &err) < 0)
		return;
	ensure(url.port && url.host[0] && url.target[0] == '/');
	ensure(!strpbrk(url.target, "\r\n ") && !strpbrk(url.host, "\r\n "));
	shown = http_url_shown(&url);
	ensure(http_url_parse(str_of(shown), &again, &err) == 0 &&
	       http_url_same_origin(&url, &again));
	if (http_url_resolve(&url, text, &next, &err) == 0)
		ensure(http_url_same_origin(&url, &next) && strcmp(url.target, next.target) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct http_url base = { .host = (char[]){ "h" },
		                 .port = 1,
		                 .target = (char[]){ "/a/b?c" } };
	struct http_url next = { 0 };
	struct err err = { 0 };
	uint64_t start;
	int64_t total;

	check_answer(data, size);
	check_url(text);
	if (http_url_resolve(&base, text, &next, &err) == 0)
		ensure(next.target[0] == '/');
	http_url_release(&next);
	if (http_content_range(text, &start, &total) == 0)
		ensure(total < 0 || start < (uint64_t)total);
	return 0;
}
