/* core/image/http.h
 *
 * An HTTP/1.1 client for registries: one request, one answer, blocking, with deadlines. Connections are kept for the next
 * request to the same place. Redirects, credentials and retries are the caller's business (registry.h).
 *
 * Thread: a client is shared by all threads of the process; a response belongs to one.
 */
#ifndef CORACLE_CORE_IMAGE_HTTP_H
#define CORACLE_CORE_IMAGE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/image/http_wire.h"
#include "core/image/proxy.h"
#include "core/image/tls.h"

struct http_client;

NODISCARD struct http_client *http_client_new(const struct proxies *proxies); /* borrowed */
void http_client_free(struct http_client *client);

struct http_request {
	const char *method; /* "GET", "POST" */
	const struct http_url *url;
	const char *
		fields; /* "Name: value\r\n..." beside Host, User-Agent, Content-Length; NULL: none */
	const char *user_agent;
	const char *body; /* NULL: none */
	size_t body_len;
	struct tls_trust *trust; /* for https */
	int64_t dial_timeout_ms; /* 0: 10 s */
	bool tls_is_a_guess; /* a failed handshake (not: a certificate) then has sys EPROTONOSUPPORT */
};

struct http_response {
	struct http_head head;
	/* private */
	struct http_client *client;
	struct http_conn *conn;
	struct http_body body;
	char *text; /* the head */
};

/*
 * http_exchange - send, and wait for the head of the answer. Interim answers (1xx) are skipped.
 * A kept connection that the server has closed meanwhile is replaced without a word.
 * Errors: those of dial.h and tls.h; UNAVAILABLE with sys ECONNRESET, ETIMEDOUT, EPROTO when the answer is cut, late or no HTTP.
 */
NODISCARD int http_exchange(struct http_client *client, const struct http_request *request,
                            struct http_response *ret, struct err *err);
/*
 * http_read - up to @max bytes of the body, *ret_len 0 at its end. Waits HTTP_STALL_MS for each piece.
 * Errors: UNAVAILABLE as above; a body that is shorter than announced is ECONNRESET.
 */
NODISCARD int http_read(struct http_response *response, void *data, size_t max, size_t *ret_len,
                        struct err *err);
/* Reads on to the end, @max_bytes of it at most; heap, NUL terminated. RESOURCE_EXHAUSTED beyond. */
NODISCARD int http_read_all(struct http_response *response, size_t max_bytes, char **ret_text,
                            size_t *ret_len, struct err *err);
/* Always, after http_exchange succeeded. Safe on a zeroed one. */
void http_response_release(struct http_response *response);

#define HTTP_DIAL_MS      10000
#define HTTP_HANDSHAKE_MS 10000
#define HTTP_HEAD_MS      30000
#define HTTP_STALL_MS     60000

DEFINE_CLEANUP(struct http_response, http_response_release);
DEFINE_CLEANUP_PTR(struct http_client, http_client_free);

#endif
