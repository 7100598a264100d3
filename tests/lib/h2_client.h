/* tests/lib/h2_client.h
 *
 * An HTTP/2 client in memory, for tests of cri/grpc: it shovels bytes between an nghttp2 client
 * session and whatever serves, and keeps what came back per stream. It checks nothing that it
 * sends, so it can send nonsense.
 */
#ifndef CORACLE_TESTS_LIB_H2_CLIENT_H
#define CORACLE_TESTS_LIB_H2_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"

enum { H2_STREAMS = 512 };

/* The server under test: bytes in, bytes out. */
struct h2_server {
	int (*recv)(void *arg, const void *data, size_t len); /* -1: it has given up */
	size_t (*send)(void *arg, const uint8_t **ret_data);
	void *arg;
};

struct h2_reply {
	int http_status;   /* 0: no head yet */
	int grpc_status;   /* -1: none yet */
	char message[512]; /* grpc-message, still percent-encoded */
	char accept_encoding[32];
	struct buf body; /* DATA as it came, with message prefixes */
	int heads;       /* HEADERS frames */
	bool closed;
	uint32_t code; /* of the close */
};

struct h2_client;

struct h2_options {
	uint32_t window_bytes; /* initial stream window; 0: 65535 */
	bool manual_window;    /* give no credit until h2_credit() */
};

struct h2_client *h2_client_new(const struct h2_server *server, const struct h2_options *options);
void h2_client_free(struct h2_client *client);
/* Until neither side has anything to say. */
void h2_pump(struct h2_client *client);
/* Bytes that bypass the session (attacks). */
void h2_raw(struct h2_client *client, const void *data, size_t len);

/* Headers as "name", "value", ..., NULL. Returns the stream id. @end: no body follows. */
int32_t h2_request(struct h2_client *client, int end, ...) __attribute__((sentinel));
/* What a gRPC client sends: the usual headers and optionally grpc-timeout, then @message with its
 * prefix and the end. */
int32_t h2_call(struct h2_client *client, const char *path, const char *timeout,
                const void *message, size_t len);
/* Body bytes as they are, in frames of at most @frame bytes (0: as large as they get). */
void h2_body(struct h2_client *client, int32_t stream, const void *data, size_t len, size_t frame,
             bool end);
void h2_reset(struct h2_client *client, int32_t stream, uint32_t code);
void h2_ping(struct h2_client *client);
void h2_settings(struct h2_client *client, size_t entries);
void h2_credit(struct h2_client *client, int32_t stream, size_t bytes);

struct h2_reply *h2_reply(struct h2_client *client, int32_t stream);
bool h2_goaway(const struct h2_client *client, uint32_t *ret_code, const char **ret_debug);
bool h2_server_gave_up(const struct h2_client *client);

#endif
