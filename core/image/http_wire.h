/* core/image/http_wire.h
 *
 * HTTP/1.1 as bytes: URLs, the head of a response, and the framing of its body. No I/O in here; http.h moves the bytes.
 *
 * Strict where laxness has been an attack (two lengths, odd transfer codings, control characters in fields), lenient where the
 * standard asks for it (a bare LF ends a line).
 */
#ifndef CORACLE_CORE_IMAGE_HTTP_WIRE_H
#define CORACLE_CORE_IMAGE_HTTP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/str.h"

#define HTTP_URL_MAX    (16 * 1024) /* signed URLs of object stores reach 2 KiB */
#define HTTP_HEAD_MAX   (64 * 1024)
#define HTTP_FIELDS_MAX 128

struct http_url {
	bool tls;
	char *host; /* lower case, an IPv6 address without brackets */
	uint16_t port;
	char *target;          /* path and query, "/" in front */
	char *user, *password; /* decoded; NULL: none */
};

void http_url_release(struct http_url *url);
/* http_url_parse - an absolute http or https URL; a fragment is dropped. Errors: INVALID_ARGUMENT, never with the query. */
NODISCARD int http_url_parse(struct str text, struct http_url *ret, struct err *err);
/* http_url_resolve - @location of a redirect, seen from @base: absolute, "//host/x", "/x", "x". */
NODISCARD int http_url_resolve(const struct http_url *base, struct str location,
                               struct http_url *ret, struct err *err);
struct http_url http_url_copy(const struct http_url *url);
bool http_url_same_origin(const struct http_url *a, const struct http_url *b);
/* "host", "host:5000", "[::1]:5000": the default port is left out. Heap. */
char *http_url_authority(const struct http_url *url);
/* For people: without query (it may hold a signature) and credentials. Heap. */
char *http_url_shown(const struct http_url *url);

struct http_field {
	struct str name, value; /* in the text that was parsed; value trimmed */
};

struct http_head {
	int status;     /* 100..999 */
	bool chunked;   /* the body is */
	bool close;     /* the connection cannot be used again */
	int64_t length; /* of the body, -1: not said */
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t nfields;
};

/* http_head_end - length of the head that @text starts with, with its empty line; 0: not all there yet. */
size_t http_head_end(const char *text, size_t len);
/* http_head_parse - the fields point into @text. INVALID_ARGUMENT names what is wrong. */
NODISCARD int http_head_parse(const char *text, size_t len, struct http_head *ret, struct err *err);
/* First field of that name (any case); "" when there is none. */
struct str http_head_field(const struct http_head *head, const char *name);

enum http_body_kind {
	HTTP_BODY_NONE,
	HTTP_BODY_LENGTH,
	HTTP_BODY_CHUNKED,
	HTTP_BODY_UNTIL_CLOSE,
};

struct http_body {
	enum http_body_kind kind;
	bool done;
	uint64_t left; /* of the body or of the chunk */
	int at;        /* chunked: http_wire.c, enum chunk_state */
	unsigned line; /* bytes of the current line of framing */
};

/* http_body_init - what follows @head; @is_head: the request was one without a body in its answer. */
void http_body_init(struct http_body *body, const struct http_head *head, bool is_head);
/*
 * http_body_next - take framing and at most one run of content from @data.
 * *ret_used: bytes taken, content included; *ret_content: what of them is content (may be empty).
 * Nothing is taken once body->done.
 */
NODISCARD int http_body_next(struct http_body *body, const uint8_t *data, size_t len,
                             size_t *ret_used, struct str *ret_content, struct err *err);
/* http_body_took - @len bytes of content were read around http_body_next (kinds LENGTH and UNTIL_CLOSE only). */
void http_body_took(struct http_body *body, size_t len);

/* "bytes 5-9/10": start and total (-1 for "*"); -1 when it is not of that form. */
NODISCARD int http_content_range(struct str value, uint64_t *ret_start, int64_t *ret_total);

DEFINE_CLEANUP(struct http_url, http_url_release);

#endif
