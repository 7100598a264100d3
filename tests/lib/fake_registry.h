/* tests/lib/fake_registry.h
 *
 * A registry that does what a test wants: serves a few things over plain HTTP on a loopback address, and misbehaves as told. It
 * runs in a process of its own from fake_registry_start() on; what is set later is not seen. Every request it gets is on record.
 */
#ifndef CORACLE_TESTS_LIB_FAKE_REGISTRY_H
#define CORACLE_TESTS_LIB_FAKE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"

#define FAKE_ITEMS_MAX 32

enum fake_auth {
	FAKE_AUTH_NONE,
	FAKE_AUTH_BASIC, /* "user:secret" */
	FAKE_AUTH_BEARER, /* "Bearer good", from /token for everybody, or for "user:secret" if @private_tokens */
};

struct fake_item {
	char path[256]; /* "/v2/a/b/manifests/1" */
	const char *type;
	const void *data;
	size_t len;
	const char *digest; /* Docker-Content-Digest; NULL: none */
};

struct fake_counters {
	unsigned failed, cut, tokens;
};

struct fake_registry {
	struct fake_item items[FAKE_ITEMS_MAX];
	size_t nitems;
	const char *ip; /* NULL: 127.0.0.1 */

	enum fake_auth auth;
	bool private_tokens;
	const char *refresh_token; /* a POST to /token must bring it */
	unsigned fail_first;       /* so many requests get fail_status */
	int fail_status;
	const char *retry_after;
	size_t cut_at; /* blob answers end after so many bytes, the first @cuts of them */
	unsigned cuts;
	bool no_ranges, wrong_ranges;
	bool chunked;
	bool stall;                 /* layers: the head, and then nothing */
	const char *redirect_blobs; /* "http://host:port"; itself: "" */

	/* private */
	char address[32]; /* "127.0.0.1:12345" */
	pid_t pid;
	int listener;
	char log[64];
	struct fake_counters *counters; /* shared with the process */
};

void fake_registry_add(struct fake_registry *fake, const char *type, const void *data, size_t len,
                       const char *digest, const char *path_format, ...)
	__attribute__((format(printf, 6, 7)));
/* Takes its address without serving yet: connections wait. */
void fake_registry_bind(struct fake_registry *fake);
void fake_registry_start(struct fake_registry *fake); /* binds if need be */
void fake_registry_stop(struct fake_registry *fake);
/* All requests so far, heads as they came; heap. */
char *fake_registry_log(const struct fake_registry *fake);
/* How many requests hold @text. */
unsigned fake_registry_count(const struct fake_registry *fake, const char *text);

#endif
