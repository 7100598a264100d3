/* core/image/mirrors.h
 *
 * Which hosts are asked for an image, in which order and how: the host directories (hosts.toml, or Docker's layout of certificate
 * files), else the registry the reference names.
 *
 *   <dir>/<host>_<port>_/, <dir>/<host>:<port>/, <dir>/<host>/, <dir>/_default/	 the first that exists, dirs in order
 *
 * Read on every pull, so that an edit counts at once, and whole: the process that pulls cannot open files later.
 */
#ifndef CORACLE_CORE_IMAGE_MIRRORS_H
#define CORACLE_CORE_IMAGE_MIRRORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"

#define MIRRORS_MAX     32
#define MIRROR_FILE_MAX (1024 * 1024)

#define MIRROR_PULL    1U /* fetch by digest */
#define MIRROR_RESOLVE 2U /* what a tag stands for */
#define MIRROR_ALL     (MIRROR_PULL | MIRROR_RESOLVE)

enum mirror_scheme {
	MIRROR_HTTPS,
	MIRROR_HTTP,
	MIRROR_TLS_FIRST, /* TLS, or plain HTTP where that is what the server speaks */
};

enum mirror_credentials {
	MIRROR_CREDENTIALS_NONE,
	MIRROR_CREDENTIALS_UPSTREAM, /* those of the pull request */
	MIRROR_CREDENTIALS_FILE,
};

struct mirror {
	enum mirror_scheme scheme;
	char *host; /* lower case, no brackets */
	uint16_t port;
	char *base; /* path that everything is below: "/v2" */
	unsigned capabilities;
	bool upstream; /* the registry itself */
	bool skip_verify;
	char **ca;                      /* PEM texts */
	char *client_cert, *client_key; /* PEM texts, or NULL */
	char *fields;                   /* "Name: value\r\n...", "" if none */
	int64_t dial_timeout_ms;        /* 0: the default */
	enum mirror_credentials credentials;
	char *user, *password; /* MIRROR_CREDENTIALS_FILE */
};

struct mirrors {
	struct mirror *items; /* in the order they are asked */
	size_t count;
	char *file; /* the hosts.toml that was used, NULL: none */
};

void mirrors_release(struct mirrors *mirrors);

/*
 * mirrors_load - for the registry @domain of a reference ("docker.io", "localhost:5000").
 * @dirs: host directories, ':' between them; NULL or "": none.
 * Errors: INVALID_ARGUMENT "FILE:LINE:COL: ..." for a file that cannot be used; those of reading it.
 */
NODISCARD int mirrors_load(const char *dirs, const char *domain, struct mirrors *ret,
                           struct err *err);

/*
 * mirrors_parse - the text of a hosts.toml; certificate files it names are read below @dirfd.
 * @what: its name in errors.
 */
NODISCARD int mirrors_parse(const char *text, size_t len, const char *what, int dirfd,
                            const char *domain, struct mirrors *ret, struct err *err);

/* "1m30s", "250ms", "1.5h" in milliseconds; -1: not of that form, or negative. */
int64_t mirror_duration_ms(struct str text);

DEFINE_CLEANUP(struct mirrors, mirrors_release);

#endif
