/* core/image/auth.h
 *
 * How a registry is convinced: the challenge of a 401, the credentials of the pull request, what is asked of a token server and
 * what it answers. Texts only; registry.c carries them.
 */
#ifndef CORACLE_CORE_IMAGE_AUTH_H
#define CORACLE_CORE_IMAGE_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/str.h"
#include "core/image/http_wire.h"

#define AUTH_ANSWER_MAX (1024 * 1024)
#define AUTH_TOKEN_MAX  (48 * 1024) /* it must fit into a request's header */

enum auth_scheme {
	AUTH_NONE, /* no challenge that could be read */
	AUTH_OTHER,
	AUTH_BASIC,
	AUTH_BEARER, /* preferred to the ones above */
};

struct auth_challenge {
	enum auth_scheme scheme;
	char *realm, *service, *scope, *error; /* "" when not given */
};

void auth_challenge_release(struct auth_challenge *challenge);
/* auth_challenge_parse - the best of the challenges in one WWW-Authenticate value; *inout keeps what it has if that is better.
 * A malformed pair ends the reading of that value; what came before it counts. */
void auth_challenge_parse(struct str value, struct auth_challenge *inout);
/* The best of all such fields. */
void auth_challenge_find(const struct http_head *head, struct auth_challenge *ret);

/* What we can show; all NULL: nothing. */
struct auth_credentials {
	char *user, *password;
	char *identity_token; /* OAuth2 refresh token */
	char *registry_token; /* a bearer token, ready for use */
};

void auth_credentials_release(struct auth_credentials *credentials);
bool auth_credentials_empty(const struct auth_credentials *credentials);
/*
 * auth_credentials_parse - the object "auth" of a pull request (NULL: none), for the registry of @domain ("docker.io"). What is
 * addressed to another server gives nothing.
 * Errors: INVALID_ARGUMENT naming the member, never its value.
 */
NODISCARD int auth_credentials_parse(yyjson_val *auth, const char *domain,
                                     struct auth_credentials *ret, struct err *err);

/* "repository:<path>:pull" and the blank-separated @scope, each once, sorted, separated by blanks. Heap. */
char *auth_scopes(const char *path, const char *scope);

/* "<realm>?service=..&scope=..&scope=..", or the body of a POST for an identity token. -1: too long. */
NODISCARD int auth_token_query(struct buf *out, const struct auth_challenge *challenge,
                               const char *scopes);
NODISCARD int auth_token_form(struct buf *out, const struct auth_challenge *challenge,
                              const char *scopes, const char *identity_token);
/* "Authorization: Basic ...\r\n" */
NODISCARD int auth_basic_field(struct buf *out, const char *user, const char *password);

struct auth_token {
	char *text;
	int64_t seconds; /* how long it is good; 60 when the server does not say */
};
void auth_token_release(struct auth_token *token);
/* Errors: UNAUTHENTICATED when there is none in it or it cannot be sent; INVALID_ARGUMENT when it is no JSON. */
NODISCARD int auth_token_parse(const char *text, size_t len, struct auth_token *ret,
                               struct err *err);

DEFINE_CLEANUP(struct auth_challenge, auth_challenge_release);
DEFINE_CLEANUP(struct auth_credentials, auth_credentials_release);
DEFINE_CLEANUP(struct auth_token, auth_token_release);

#endif
