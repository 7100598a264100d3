/* core/image/registry_host.c */
#include "core/image/registry_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/proxy.h"

#define FIELDS_MAX     (128 * 1024)
#define ERROR_BODY_MAX (64 * 1024)
#define ERROR_TEXT_MAX 160
#define EARLY_NS       (10 * NS_PER_S) /* a token is renewed so long before its end */
#define RETRY_AFTER_MS 60000

/* --- making one */

static bool has_authorization(const char *fields)
{
	for (const char *p = fields; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (strncasecmp(p, "authorization:", strlen("authorization:")) == 0)
			return true;
	return false;
}

static int make_trust(struct registry_host *host, const struct registry_host_args *args,
                      struct err *err)
{
	const struct mirror *mirror = args->mirror;
	struct tls_trust_args trust = { .roots = args->roots,
		                        .ca = mirror->ca,
		                        .client_cert = mirror->client_cert,
		                        .client_key = mirror->client_key,
		                        .skip_verify = mirror->skip_verify };

	host->trust = tls_trust_new(&trust, err);
	if (!host->trust)
		return err_wrap(err, "registry host %s", mirror->host);
	host->elsewhere = host->trust;
	if (!mirror->client_cert)
		return 0;
	trust.client_cert = trust.client_key = NULL;
	host->elsewhere = tls_trust_new(&trust, err);
	return host->elsewhere ? 0 : -1;
}

int registry_host_init(struct registry_host *host, const struct registry_host_args *args,
                       struct err *err)
{
	const struct mirror *mirror = args->mirror;

	*host = (struct registry_host){
		.mirror = mirror,
		.client = args->client,
		.user_agent = args->user_agent,
		.repository = args->repository,
		.namespace = args->namespace,
		.fixed = has_authorization(mirror->fields),
		.plain = mirror->scheme == MIRROR_HTTP,
	};
	pthread_mutex_init(&host->lock, NULL);
	host->credentials = &host->own;
	if (mirror->credentials == MIRROR_CREDENTIALS_UPSTREAM)
		host->credentials = args->request;
	if (mirror->credentials == MIRROR_CREDENTIALS_FILE)
		host->own = (struct auth_credentials){ .user = xstrdup(mirror->user),
			                               .password = xstrdup(mirror->password) };
	if (mirror->skip_verify && !host_is_loopback(mirror->host))
		log_warn(NULL, "registry host %s: its certificate is not verified (skip_verify)",
		         mirror->host);
	if (make_trust(host, args, err) == 0)
		return 0;
	registry_host_release(host);
	return -1;
}

static void set_authorization(struct registry_host *host, char *field, int64_t seconds)
{
	if (host->authorization)
		explicit_bzero(host->authorization, strlen(host->authorization));
	free(host->authorization);
	host->authorization = field;
	host->expires_ns = seconds ? clock_mono_ns() + seconds * NS_PER_S : 0;
	host->generation++;
}

void registry_host_release(struct registry_host *host)
{
	if (!host->mirror)
		return;
	set_authorization(host, NULL, 0);
	auth_credentials_release(&host->own);
	if (host->elsewhere != host->trust)
		tls_trust_free(host->elsewhere);
	tls_trust_free(host->trust);
	pthread_mutex_destroy(&host->lock);
	*host = (struct registry_host){ 0 };
}

/* --- answers that are errors */

int64_t retry_after_ms(struct str value, int64_t now_real_ns)
{
	struct tm tm = { 0 };
	char text[64];
	uint64_t seconds;
	int64_t ms;

	if (str_u64(value, INT64_MAX / 1000, &seconds) == 0)
		return MIN((int64_t)seconds * 1000, (int64_t)RETRY_AFTER_MS);
	if (value.len == 0 || str_format(text, sizeof(text), STR_FMT, STR_ARG(value)) < 0 ||
	    !strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		return 0;
	ms = (int64_t)timegm(&tm) * 1000 - now_real_ns / NS_PER_MS;
	return MAX(INT64_C(0), MIN(ms, (int64_t)RETRY_AFTER_MS));
}

/* "CODE: message" of a registry's (or token server's) JSON, printable and short; "" when it has none. */
static void error_text(const char *body, size_t len, char text[ERROR_TEXT_MAX])
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	struct err err = { 0 };
	const char *code, *message;
	yyjson_val *root, *first;

	text[0] = '\0';
	doc = json_parse(body, len, ERROR_BODY_MAX, "error", &err);
	if (!doc)
		return;
	root = yyjson_doc_get_root(doc);
	first = yyjson_arr_get_first(json_arr(root, "errors"));
	if (!first)
		first = root;
	code = json_str(first, "code", json_str(first, "error", ""));
	message = json_str(first, "message",
	                   json_str(first, "error_description", json_str(first, "details", "")));
	if (!*code && !*message)
		return;
	ignore(str_format(text, ERROR_TEXT_MAX, ": %.40s%s%.100s", code,
	                  *code && *message ? ": " : "", message)); /* fits */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
}

static enum code code_of_status(int status)
{
	switch (status) {
	case 401:
		return CODE_UNAUTHENTICATED;
	case 403:
		return CODE_PERMISSION_DENIED;
	case 404:
		return CODE_NOT_FOUND;
	case 408:
		return CODE_UNAVAILABLE;
	case 429:
		return CODE_RESOURCE_EXHAUSTED;
	default:
		return status >= 500 ? CODE_UNAVAILABLE : CODE_UNKNOWN;
	}
}

static int err_status(struct http_response *response, const struct http_url *url,
                      struct registry_refusal *refusal, struct err *err)
{
	cleanup_free char *shown = http_url_shown(url);
	cleanup_free char *body = NULL;
	char text[ERROR_TEXT_MAX] = "";
	int status = response->head.status;
	size_t len;

	if (http_read_all(response, ERROR_BODY_MAX, &body, &len, err) == 0)
		error_text(body, len, text);
	refusal->status = status;
	refusal->again = status == 408 || status == 429 || status == 500 || status == 502 ||
	                 status == 503 || status == 504;
	refusal->after_ms =
		retry_after_ms(http_head_field(&response->head, "Retry-After"), clock_real_ns());
	return err_set(err, code_of_status(status), "%s: HTTP status %d%s", shown, status, text);
}

static int err_transport(const struct http_url *url, struct registry_refusal *refusal,
                         struct err *err)
{
	cleanup_free char *shown = http_url_shown(url);

	*refusal = (struct registry_refusal){
		.again = err->code == CODE_UNAVAILABLE,
		.definite = err->sys == ECONNREFUSED || err->sys == EADDRNOTAVAIL ||
		            err->sys == ENETUNREACH || err->sys == EHOSTUNREACH,
	};
	return err_wrap(err, "%s", shown);
}

/* --- one request, redirects followed */

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Small bodies are read to their end, so that the connection can serve again. */
static void discard(struct http_response *response)
{
	char waste[4096];
	struct err err = { 0 };
	size_t n, total = 0;

	while (total < sizeof(waste) && http_read(response, waste, sizeof(waste), &n, &err) == 0 &&
	       n > 0)
		total += n;
	http_response_release(response);
}

struct journey {
	struct registry_host *host;
	struct http_url url;    /* where we are */
	const char *fields;     /* for everybody */
	const char *own_fields; /* for where we set out only */
	bool left;              /* we are elsewhere */
};

static int follow(struct journey *at, const struct http_response *response, struct err *err)
{
	struct str location = http_head_field(&response->head, "Location");
	struct http_url next;

	if (http_url_resolve(&at->url, location, &next, err) < 0)
		return -1;
	if (at->url.tls && !next.tls) {
		err_set(err, CODE_UNKNOWN, "redirect from https to http (%s) refused", next.host);
		http_url_release(&next);
		return -1;
	}
	if (!http_url_same_origin(&at->url, &next))
		at->left =
			true; /* for good: who sent us away does not get us back with credentials */
	http_url_release(&at->url);
	at->url = next;
	return 0;
}

static int travel(struct journey *at, struct http_response *ret, struct registry_refusal *refusal,
                  struct err *err)
{
	struct registry_host *host = at->host;

	for (int hop = 0; hop <= REDIRECTS_MAX; hop++) {
		cleanup(http_response_release) struct http_response response = { 0 };
		cleanup_free char *fields =
			xasprintf("%s%s", at->fields, at->left ? "" : at->own_fields);
		int rc = http_exchange(
			host->client,
			&(struct http_request){ .method = "GET",
		                                .url = &at->url,
		                                .fields = fields,
		                                .user_agent = host->user_agent,
		                                .trust = at->left ? host->elsewhere : host->trust,
		                                .dial_timeout_ms = host->mirror->dial_timeout_ms,
		                                .tls_is_a_guess =
		                                        host->mirror->scheme == MIRROR_TLS_FIRST &&
		                                        !at->left },
			&response, err);

		explicit_bzero(fields, strlen(fields));
		if (rc < 0)
			return err_transport(&at->url, refusal, err);
		if (!is_redirect(response.head.status)) {
			*ret = response;
			response = (struct http_response){ 0 };
			return 0;
		}
		if (follow(at, &response, err) < 0) {
			cleanup_free char *shown = http_url_shown(&at->url);

			*refusal = (struct registry_refusal){ .status = response.head.status };
			return err_wrap(err, "%s", shown);
		}
		discard(&response);
	}
	*refusal = (struct registry_refusal){ .status = 310 };
	return err_set(err, CODE_UNKNOWN, "more than %d redirects", REDIRECTS_MAX);
}

/* --- tokens */

static int token_request(struct registry_host *host, const struct auth_challenge *challenge,
                         const char *scopes, struct http_response *ret, struct http_url *ret_url,
                         struct registry_refusal *refusal, struct err *err)
{
	const struct auth_credentials *mine = host->credentials;
	bool post = !mine->user && mine->identity_token;
	cleanup(buf_release) struct buf text = { 0 };
	cleanup(buf_release) struct buf fields = { 0 };
	int rc;

	buf_init(&text, HTTP_URL_MAX + AUTH_TOKEN_MAX);
	buf_init(&fields, FIELDS_MAX);
	if (auth_token_query(&text, challenge, scopes) < 0)
		return err_set(err, CODE_UNAUTHENTICATED, "challenge is too long");
	if (http_url_parse(post ? str_of(challenge->realm) : (struct str){ text.data, text.len },
	                   ret_url, err) < 0) {
		err->code = CODE_UNAUTHENTICATED;
		return err_wrap(err, "realm of the challenge");
	}
	if (!auth_credentials_empty(mine) && !ret_url->tls && !host->plain)
		return err_set(err, CODE_UNAUTHENTICATED,
		               "the token server %s has no TLS: credentials are not sent there",
		               ret_url->host);
	buf_clear(&text);
	rc = buf_add_str(&fields, host->mirror->fields);
	if (rc == 0 && post)
		rc = buf_add_str(&fields, "Content-Type: application/x-www-form-urlencoded; "
		                          "charset=utf-8\r\n") < 0
		             ? -1
		             : auth_token_form(&text, challenge, scopes, mine->identity_token);
	if (rc == 0 && mine->user && !host->fixed)
		rc = auth_basic_field(&fields, mine->user, mine->password);
	if (rc < 0)
		return err_set(err, CODE_UNAUTHENTICATED, "credentials are too long");
	rc = http_exchange(
		host->client,
		&(struct http_request){ .method = post ? "POST" : "GET",
	                                .url = ret_url,
	                                .fields = fields.data,
	                                .user_agent = host->user_agent,
	                                .body = post ? text.data : NULL,
	                                .body_len = text.len,
	                                .trust = host->trust,
	                                .dial_timeout_ms = host->mirror->dial_timeout_ms },
		ret, err);
	if (fields.data)
		explicit_bzero(fields.data, fields.len);
	if (text.data)
		explicit_bzero(text.data, text.len);
	return rc < 0 ? err_transport(ret_url, refusal, err) : 0;
}

/* With the lock held. */
static int fetch_token(struct registry_host *host, const struct auth_challenge *challenge,
                       struct registry_refusal *refusal, struct err *err)
{
	cleanup(http_response_release) struct http_response response = { 0 };
	cleanup(auth_token_release) struct auth_token token = { 0 };
	cleanup(http_url_release) struct http_url url = { 0 };
	cleanup_free char *scopes = auth_scopes(host->repository, challenge->scope);
	cleanup_free char *body = NULL;
	size_t len;

	if (token_request(host, challenge, scopes, &response, &url, refusal, err) < 0)
		return -1;
	if (response.head.status / 100 != 2)
		return err_status(&response, &url, refusal, err);
	if (http_read_all(&response, AUTH_ANSWER_MAX, &body, &len, err) < 0)
		return err_transport(&url, refusal, err);
	if (auth_token_parse(body, len, &token, err) < 0)
		return err_wrap(err, "%s", url.host);
	set_authorization(host, xasprintf("Authorization: Bearer %s\r\n", token.text),
	                  token.seconds);
	explicit_bzero(body, len);
	return 0;
}

/* With the lock held. */
static int answer_challenge(struct registry_host *host, const struct auth_challenge *challenge,
                            struct registry_refusal *refusal, struct err *err)
{
	const struct auth_credentials *mine = host->credentials;
	cleanup(buf_release) struct buf field = { 0 };

	if (host->fixed)
		return err_set(err, CODE_UNAUTHENTICATED,
		               "the configured Authorization field is refused");
	switch (challenge->scheme) {
	case AUTH_BEARER:
		if (!mine->registry_token)
			return fetch_token(host, challenge, refusal, err);
		if (host->authorization)
			return err_set(err, CODE_UNAUTHENTICATED, "the registry token is refused");
		set_authorization(
			host, xasprintf("Authorization: Bearer %s\r\n", mine->registry_token), 0);
		return 0;
	case AUTH_BASIC:
		if (!mine->user)
			return err_set(err, CODE_UNAUTHENTICATED,
			               "user name and password are asked for, none are given");
		buf_init(&field, FIELDS_MAX);
		if (auth_basic_field(&field, mine->user, mine->password) < 0)
			return err_set(err, CODE_UNAUTHENTICATED, "credentials are too long");
		set_authorization(host, buf_take_str(&field), 0);
		return 0;
	case AUTH_OTHER:
		return err_set(err, CODE_UNAUTHENTICATED, "no known kind of challenge");
	case AUTH_NONE:
		break;
	}
	return err_set(err, CODE_UNAUTHENTICATED, "refused without a challenge");
}

/* After a 401: make the next try a better one. @generation: of what was refused. */
static int authenticate(struct registry_host *host, const struct http_response *response,
                        uint64_t generation, struct registry_refusal *refusal, struct err *err)
{
	cleanup(auth_challenge_release) struct auth_challenge challenge = { 0 };
	int rc = 0;

	auth_challenge_find(&response->head, &challenge);
	pthread_mutex_lock(&host->lock);
	if (host->generation == generation) /* else another thread has been here meanwhile */
		rc = answer_challenge(host, &challenge, refusal, err);
	pthread_mutex_unlock(&host->lock);
	return rc;
}

/* --- the whole of it */

static char *own_fields(struct registry_host *host, uint64_t *ret_generation)
{
	char *text;

	pthread_mutex_lock(&host->lock);
	if (host->authorization && host->expires_ns &&
	    clock_mono_ns() > host->expires_ns - EARLY_NS)
		set_authorization(host, NULL, 0);
	text = xasprintf("%s%s%s%s%s", host->mirror->fields, or_empty(host->authorization),
	                 host->namespace ? "OCI-Namespace: " : "", or_empty(host->namespace),
	                 host->namespace ? "\r\n" : "");
	*ret_generation = host->generation;
	pthread_mutex_unlock(&host->lock);
	return text;
}

static char *common_fields(const struct registry_ask *ask)
{
	cleanup_free char *range =
		ask->offset ? xasprintf("Range: bytes=%llu-\r\n", (unsigned long long)ask->offset)
			    : xstrdup("");

	/* Layers are compressed already; what arrives must be what the digest is of. */
	return xasprintf("Accept: %s\r\nAccept-Encoding: identity\r\n%s", ask->accept, range);
}

static struct http_url start_url(struct registry_host *host, const struct registry_ask *ask)
{
	const struct mirror *mirror = host->mirror;
	struct http_url url = { .host = xstrdup(mirror->host), .port = mirror->port };

	pthread_mutex_lock(&host->lock);
	url.tls = !host->plain;
	pthread_mutex_unlock(&host->lock);
	url.target = xasprintf("%s%s%s%s", mirror->base, ask->path, host->namespace ? "?ns=" : "",
	                       or_empty(host->namespace));
	return url;
}

static int attempt(struct registry_host *host, const struct registry_ask *ask,
                   struct http_response *ret, uint64_t *ret_generation, bool *ret_left,
                   struct registry_refusal *refusal, struct err *err)
{
	cleanup_free char *fields = common_fields(ask);
	cleanup_free char *own = own_fields(host, ret_generation);
	struct journey at = { .host = host, .fields = fields, .own_fields = own };
	int rc;

	at.url = start_url(host, ask);
	rc = travel(&at, ret, refusal, err);
	if (rc < 0 && err->sys == EPROTONOSUPPORT && !at.left && at.url.tls &&
	    host->mirror->scheme == MIRROR_TLS_FIRST) {
		pthread_mutex_lock(&host->lock);
		host->plain = true;
		pthread_mutex_unlock(&host->lock);
		at.url.tls = false;
		err_clear(err);
		rc = travel(&at, ret, refusal, err);
	}
	explicit_bzero(own, strlen(own));
	*ret_left = at.left;
	if (rc == 0 && ret->head.status != 200 && ret->head.status != 206) {
		int status = ret->head.status;

		if (status != 401 || at.left) {
			rc = err_status(ret, &at.url, refusal, err);
			http_response_release(ret);
			*ret = (struct http_response){ 0 };
		}
	}
	http_url_release(&at.url);
	return rc;
}

/* One authentication and one fresh link, in whatever order they are needed: what is refused after that is refused. */
int registry_host_get(struct registry_host *host, const struct registry_ask *ask,
                      struct http_response *ret, struct registry_refusal *ret_refusal,
                      struct err *err)
{
	bool refreshed = false, authenticated = false;

	for (;;) {
		cleanup(http_response_release) struct http_response response = { 0 };
		cleanup(http_url_release) struct http_url url = { 0 };
		uint64_t generation;
		bool left;

		*ret_refusal = (struct registry_refusal){ 0 };
		if (attempt(host, ask, &response, &generation, &left, ret_refusal, err) < 0) {
			/* The link that we were sent to may have expired meanwhile. */
			if (!left || refreshed ||
			    (ret_refusal->status != 401 && ret_refusal->status != 403))
				return -1;
			refreshed = true;
			err_clear(err);
			continue;
		}
		if (response.head.status != 401) {
			*ret = response;
			response = (struct http_response){ 0 };
			return 0;
		}
		if (authenticated) {
			url = start_url(host, ask);
			return err_status(&response, &url, ret_refusal, err);
		}
		if (authenticate(host, &response, generation, ret_refusal, err) < 0) {
			if (err->code == CODE_UNAUTHENTICATED)
				ret_refusal->status = 401;
			return -1;
		}
		authenticated = true;
		discard(&response);
	}
}
