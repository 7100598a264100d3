/* core/image/http_wire.c */
#include "core/image/http_wire.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/mem.h"

#define CHUNK_LINE_MAX 1024 /* size line with extensions, or a trailer field */

/* --- URLs */

void http_url_release(struct http_url *url)
{
	if (url->password)
		explicit_bzero(url->password, strlen(url->password));
	free(url->host);
	free(url->target);
	free(url->user);
	free(url->password);
	*url = (struct http_url){ 0 };
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int parse_host(struct str text, bool is_address, char **ret, struct err *err)
{
	char *host;

	if (text.len == 0 || text.len > 253 || (is_address && !memchr(text.p, ':', text.len)))
		return err_set(err, CODE_INVALID_ARGUMENT, "URL: bad host name");
	for (size_t i = 0; i < text.len; i++)
		if (!is_alnum(text.p[i]) &&
		    !memchr(is_address ? ":.%" : "-._", text.p[i], strlen(":.%")))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "URL: bad character in host name");
	host = str_dup(text);
	for (char *p = host; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	*ret = host;
	return 0;
}

static int decode(struct str text, char **ret, struct err *err)
{
	cleanup(buf_release) struct buf out = { 0 };

	buf_init(&out, HTTP_URL_MAX);
	if (percent_decode(&out, text) < 0 || (out.len && memchr(out.data, '\0', out.len)))
		return err_set(err, CODE_INVALID_ARGUMENT, "URL: bad credentials");
	*ret = buf_take_str(&out);
	return 0;
}

static int parse_userinfo(struct str text, struct http_url *url, struct err *err)
{
	struct str user, password;
	bool both = str_cut(text, ':', &user, &password);

	if (decode(user, &url->user, err) < 0)
		return -1;
	return both ? decode(password, &url->password, err) : 0;
}

static int parse_authority(struct str text, struct http_url *url, struct err *err)
{
	struct str info, host = text, port = { NULL, 0 };
	uint64_t number = url->tls ? 443 : 80;
	bool bracket;

	if (str_rcut(text, '@', &info, &host)) {
		if (parse_userinfo(info, url, err) < 0)
			return -1;
	} else {
		host = text;
	}
	bracket = host.len > 0 && host.p[0] == '[';
	if (bracket) {
		const char *end = memchr(host.p, ']', host.len);

		if (!end || (end + 1 < host.p + host.len && end[1] != ':'))
			return err_set(err, CODE_INVALID_ARGUMENT, "URL: bad address in brackets");
		port = (struct str){ end + 1, (size_t)(host.p + host.len - end - 1) };
		host = (struct str){ host.p + 1, (size_t)(end - host.p - 1) };
		if (port.len) {
			port.p++;
			port.len--;
		}
	} else {
		ignore(str_cut(host, ':', &host, &port)); /* no port: the default stays */
	}
	if (port.len && (str_u64(port, UINT16_MAX, &number) < 0 || number == 0))
		return err_set(err, CODE_INVALID_ARGUMENT, "URL: bad port");
	url->port = (uint16_t)number;
	return parse_host(host, bracket, &url->host, err);
}

/* Path and query may hold anything printable: servers sign what they sent, so nothing is re-encoded. */
static int parse_target(struct str text, char **ret, struct err *err)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '#') {
			text.len = i;
			break;
		}
		if (c <= ' ' || c == 0x7f)
			return err_set(err, CODE_INVALID_ARGUMENT, "URL: bad character in path");
	}
	*ret = text.len > 0 && text.p[0] == '/' ? str_dup(text)
	                                        : xasprintf("/" STR_FMT, STR_ARG(text));
	return 0;
}

static struct str skip(struct str text, size_t n)
{
	return (struct str){ text.p + n, text.len - n };
}

static bool starts_nocase(struct str text, const char *prefix)
{
	size_t n = strlen(prefix);

	return text.len >= n && strncasecmp(text.p, prefix, n) == 0;
}

int http_url_parse(struct str text, struct http_url *ret, struct err *err)
{
	cleanup(http_url_release) struct http_url url = { 0 };
	size_t end;

	if (text.len > HTTP_URL_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "URL: longer than %d bytes",
		               HTTP_URL_MAX);
	if (starts_nocase(text, "https://")) {
		url.tls = true;
		text = skip(text, strlen("https://"));
	} else if (starts_nocase(text, "http://")) {
		text = skip(text, strlen("http://"));
	} else {
		return err_set(err, CODE_INVALID_ARGUMENT, "URL: neither http nor https");
	}
	for (end = 0; end < text.len && !memchr("/?#", text.p[end], 3); end++)
		;
	if (parse_authority((struct str){ text.p, end }, &url, err) < 0 ||
	    parse_target(skip(text, end), &url.target, err) < 0)
		return -1;
	*ret = url;
	url = (struct http_url){ 0 };
	return 0;
}

struct http_url http_url_copy(const struct http_url *url)
{
	return (struct http_url){
		.tls = url->tls,
		.host = xstrdup(url->host),
		.port = url->port,
		.target = xstrdup(url->target),
		.user = xstrdup(url->user),
		.password = xstrdup(url->password),
	};
}

static bool has_scheme(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == ':')
			return i > 0;
		if (!is_alnum(text.p[i]) && !memchr("+-.", text.p[i], 3))
			return false;
	}
	return false;
}

int http_url_resolve(const struct http_url *base, struct str location, struct http_url *ret,
                     struct err *err)
{
	cleanup(http_url_release) struct http_url url = { 0 };
	cleanup_free char *text = NULL;
	const char *end;

	if (location.len == 0 || location.len > HTTP_URL_MAX)
		return err_set(err, CODE_INVALID_ARGUMENT, "redirect: location empty or too long");
	if (has_scheme(location))
		return http_url_parse(location, ret, err);
	if (str_starts(location, "//")) {
		text = xasprintf("%s:" STR_FMT, base->tls ? "https" : "http", STR_ARG(location));
		return http_url_parse(str_of(text), ret, err);
	}
	if (location.p[0] == '/') {
		text = str_dup(location);
	} else {
		end = base->target + strcspn(base->target, "?");
		if (location.p[0] != '?')
			while (end[-1] != '/')
				end--;
		text = xasprintf("%.*s" STR_FMT, (int)(end - base->target), base->target,
		                 STR_ARG(location));
	}
	url = http_url_copy(base);
	free(take_ptr(url.target));
	if (parse_target(str_of(text), &url.target, err) < 0)
		return -1;
	*ret = url;
	url = (struct http_url){ 0 };
	return 0;
}

bool http_url_same_origin(const struct http_url *a, const struct http_url *b)
{
	return a->tls == b->tls && a->port == b->port && streq(a->host, b->host);
}

char *http_url_authority(const struct http_url *url)
{
	bool v6 = strchr(url->host, ':');
	const char *open = v6 ? "[" : "", *close = v6 ? "]" : "";

	if (url->port == (url->tls ? 443 : 80))
		return xasprintf("%s%s%s", open, url->host, close);
	return xasprintf("%s%s%s:%u", open, url->host, close, url->port);
}

char *http_url_shown(const struct http_url *url)
{
	cleanup_free char *authority = http_url_authority(url);

	return xasprintf("http%s://%s%.*s", url->tls ? "s" : "", authority,
	                 (int)strcspn(url->target, "?"), url->target);
}

/* --- head */

size_t http_head_end(const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		if (p < end && *p == '\n')
			return (size_t)(p + 1 - text);
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return (size_t)(p + 2 - text);
	}
	return 0;
}

/* The next line without its end; false: none left. */
static bool next_line(struct str *text, struct str *line)
{
	if (text->len == 0)
		return false;
	ignore(str_cut(*text, '\n', line, text)); /* the last line may lack its end */
	if (line->len && line->p[line->len - 1] == '\r')
		line->len--;
	return true;
}

static int bad(struct err *err, const char *why)
{
	return err_set(err, CODE_INVALID_ARGUMENT, "HTTP response: %s", why);
}

static bool is_token(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!is_alnum(text.p[i]) && !memchr("!#$%&'*+-.^_`|~", text.p[i], 15))
			return false;
	return text.len > 0;
}

static bool is_field_text(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (((unsigned char)text.p[i] < ' ' && text.p[i] != '\t') || text.p[i] == 0x7f)
			return false;
	return true;
}

static bool eq_nocase(struct str a, const char *b)
{
	return a.len == strlen(b) && strncasecmp(a.p, b, a.len) == 0;
}

static int parse_status(struct str line, struct http_head *head, struct err *err)
{
	uint64_t status;

	if (!str_starts(line, "HTTP/1.") || line.len < strlen("HTTP/1.1 200") ||
	    (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ')
		return bad(err, "not HTTP/1.x");
	if (str_u64((struct str){ line.p + 9, 3 }, 999, &status) < 0 || status < 100 ||
	    (line.len > 12 && line.p[12] != ' '))
		return bad(err, "bad status line");
	head->status = (int)status;
	head->close = line.p[7] == '0';
	return 0;
}

static int note_length(struct str value, struct http_head *head, struct err *err)
{
	uint64_t length;

	if (str_u64(value, INT64_MAX, &length) < 0)
		return bad(err, "bad Content-Length");
	if (head->length >= 0 && head->length != (int64_t)length)
		return bad(err, "two different Content-Length");
	head->length = (int64_t)length;
	return 0;
}

static void note_connection(struct str value, struct http_head *head)
{
	struct str word;

	do {
		bool more = str_cut(value, ',', &word, &value);

		if (eq_nocase(str_trim(word), "close"))
			head->close = true;
		else if (eq_nocase(str_trim(word), "keep-alive"))
			head->close = false;
		if (!more)
			break;
	} while (true);
}

static int parse_field(struct str line, struct http_head *head, struct err *err)
{
	struct http_field *field = &head->fields[head->nfields];

	if (head->nfields == HTTP_FIELDS_MAX)
		return bad(err, "too many header fields");
	if (!str_cut(line, ':', &field->name, &field->value) || !is_token(field->name))
		return bad(err, "malformed header field");
	field->value = str_trim(field->value);
	if (!is_field_text(field->value))
		return bad(err, "control character in a header field");
	head->nfields++;
	if (eq_nocase(field->name, "content-length"))
		return note_length(field->value, head, err);
	if (eq_nocase(field->name, "connection"))
		note_connection(field->value, head);
	if (eq_nocase(field->name, "transfer-encoding")) {
		if (head->chunked || !eq_nocase(field->value, "chunked"))
			return bad(err, "unsupported Transfer-Encoding");
		head->chunked = true;
	}
	return 0;
}

int http_head_parse(const char *text, size_t len, struct http_head *ret, struct err *err)
{
	struct str rest = { text, len }, line;

	ret->status = 0;
	ret->chunked = ret->close = false;
	ret->length = -1;
	ret->nfields = 0;
	if (!next_line(&rest, &line))
		return bad(err, "empty");
	if (parse_status(line, ret, err) < 0)
		return -1;
	while (next_line(&rest, &line) && line.len > 0)
		if (parse_field(line, ret, err) < 0)
			return -1;
	if (ret->chunked && ret->length >= 0)
		return bad(err, "both Content-Length and Transfer-Encoding");
	return 0;
}

struct str http_head_field(const struct http_head *head, const char *name)
{
	for (size_t i = 0; i < head->nfields; i++)
		if (eq_nocase(head->fields[i].name, name))
			return head->fields[i].value;
	return (struct str){ "", 0 };
}

/* --- body */

enum chunk_state {
	CHUNK_SIZE,      /* hex digits */
	CHUNK_EXTENSION, /* the rest of that line */
	CHUNK_DATA,
	CHUNK_DATA_END, /* the line end behind the data */
	CHUNK_TRAILER,  /* at the start of a line */
	CHUNK_TRAILER_FIELD,
};

void http_body_init(struct http_body *body, const struct http_head *head, bool is_head)
{
	*body = (struct http_body){ .kind = HTTP_BODY_UNTIL_CLOSE };
	if (is_head || head->status < 200 || head->status == 204 || head->status == 304) {
		body->kind = HTTP_BODY_NONE;
	} else if (head->chunked) {
		body->kind = HTTP_BODY_CHUNKED;
		body->at = CHUNK_SIZE;
	} else if (head->length >= 0) {
		body->kind = HTTP_BODY_LENGTH;
		body->left = (uint64_t)head->length;
	}
	body->done =
		body->kind == HTTP_BODY_NONE || (body->kind == HTTP_BODY_LENGTH && body->left == 0);
}

void http_body_took(struct http_body *body, size_t len)
{
	if (body->kind == HTTP_BODY_UNTIL_CLOSE)
		return;
	ensure(body->kind == HTTP_BODY_LENGTH && len <= body->left);
	body->left -= len;
	body->done = body->left == 0;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int chunk_size_byte(struct http_body *body, uint8_t c, struct err *err)
{
	int digit = body->at == CHUNK_SIZE ? hex_value(c) : -1;

	if (++body->line > CHUNK_LINE_MAX)
		return bad(err, "chunk size line too long");
	if (digit >= 0) {
		if (body->left >> 56)
			return bad(err, "chunk too large");
		body->left = body->left << 4 | (uint64_t)digit;
		return 0;
	}
	if (body->at == CHUNK_SIZE && (body->line == 1 || !memchr("\r\n; \t", c, 5)))
		return bad(err, "bad chunk size");
	body->at = CHUNK_EXTENSION;
	if (c != '\n')
		return 0;
	body->line = 0;
	body->at = body->left ? CHUNK_DATA : CHUNK_TRAILER;
	return 0;
}

/* One byte of framing. */
static int chunk_byte(struct http_body *body, uint8_t c, struct err *err)
{
	switch ((enum chunk_state)body->at) {
	case CHUNK_SIZE:
	case CHUNK_EXTENSION:
		return chunk_size_byte(body, c, err);
	case CHUNK_DATA_END:
		if (c == '\n') {
			body->at = CHUNK_SIZE;
			body->line = 0;
		} else if (c != '\r' || body->line++ > 0) {
			return bad(err, "chunk longer than its size");
		}
		return 0;
	case CHUNK_TRAILER:
		if (c == '\n')
			body->done = true;
		else if (c != '\r')
			body->at = CHUNK_TRAILER_FIELD;
		break;
	case CHUNK_TRAILER_FIELD:
		if (c == '\n')
			body->at = CHUNK_TRAILER;
		break;
	case CHUNK_DATA:
		break;
	}
	return ++body->line > CHUNK_LINE_MAX * 8 ? bad(err, "trailer too long") : 0;
}

int http_body_next(struct http_body *body, const uint8_t *data, size_t len, size_t *ret_used,
                   struct str *ret_content, struct err *err)
{
	size_t used = 0, n;

	*ret_content = (struct str){ (const char *)data, 0 };
	if (body->kind != HTTP_BODY_CHUNKED) {
		n = body->done                       ? 0
		    : body->kind == HTTP_BODY_LENGTH ? (size_t)MIN(body->left, (uint64_t)len)
		                                     : len;
		if (n)
			http_body_took(body, n);
		ret_content->len = *ret_used = n;
		return 0;
	}
	while (used < len && !body->done && body->at != CHUNK_DATA)
		if (chunk_byte(body, data[used++], err) < 0)
			return -1;
	if (body->at == CHUNK_DATA && !body->done) {
		n = (size_t)MIN(body->left, (uint64_t)(len - used));
		*ret_content = (struct str){ (const char *)data + used, n };
		used += n;
		body->left -= n;
		if (body->left == 0) {
			body->at = CHUNK_DATA_END;
			body->line = 0;
		}
	}
	*ret_used = used;
	return 0;
}

int http_content_range(struct str value, uint64_t *ret_start, int64_t *ret_total)
{
	struct str range, total, first, last;
	uint64_t start, end, all;

	if (!starts_nocase(value, "bytes "))
		return -1;
	value = str_trim(skip(value, strlen("bytes ")));
	if (!str_cut(value, '/', &range, &total) || !str_cut(range, '-', &first, &last) ||
	    str_u64(first, INT64_MAX, &start) < 0 || str_u64(last, INT64_MAX, &end) < 0 ||
	    end < start)
		return -1;
	if (str_eq_c(total, "*")) {
		*ret_total = -1;
	} else {
		if (str_u64(total, INT64_MAX, &all) < 0 || all <= end)
			return -1;
		*ret_total = (int64_t)all;
	}
	*ret_start = start;
	return 0;
}
