/* core/image/auth.c */
#include "core/image/auth.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/codec.h"
#include "core/base/json.h"
#include "core/base/mem.h"

#define CHALLENGE_MAX   (16 * 1024) /* of one value */
#define SCOPES_MAX      64
#define DEFAULT_SECONDS 60
#define CLIENT_ID       "coracle"

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* --- challenges */

void auth_challenge_release(struct auth_challenge *challenge)
{
	free(challenge->realm);
	free(challenge->service);
	free(challenge->scope);
	free(challenge->error);
	*challenge = (struct auth_challenge){ 0 };
}

struct reader {
	const char *p, *end;
};

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t'))
		r->p++;
}

static struct str take_token(struct reader *r)
{
	const char *start = r->p;

	while (r->p < r->end && is_token_char(*r->p))
		r->p++;
	return (struct str){ start, (size_t)(r->p - start) };
}

/* A token, or a quoted string without its quotes and backslashes; NULL: neither. Heap. */
static char *take_value(struct reader *r)
{
	struct str token;
	char *text;
	size_t n = 0;

	if (r->p == r->end || *r->p != '"') {
		token = take_token(r);
		return token.len ? str_dup(token) : NULL;
	}
	text = xcalloc(1, (size_t)(r->end - r->p) + 1);
	for (r->p++; r->p < r->end && *r->p != '"'; r->p++) {
		if (*r->p == '\\' && r->p + 1 < r->end)
			r->p++;
		if ((unsigned char)*r->p < ' ') /* would end up in a request */
			break;
		text[n++] = *r->p;
	}
	if (r->p == r->end || *r->p != '"') {
		free(text);
		return NULL;
	}
	r->p++;
	return text;
}

static enum auth_scheme scheme_of(struct str name)
{
	if (name.len == 6 && strncasecmp(name.p, "bearer", 6) == 0)
		return AUTH_BEARER;
	if (name.len == 5 && strncasecmp(name.p, "basic", 5) == 0)
		return AUTH_BASIC;
	return name.len ? AUTH_OTHER : AUTH_NONE;
}

static void set_parameter(struct auth_challenge *challenge, struct str name, char *value)
{
	static const struct {
		const char *name;
		size_t offset;
	} known[] = {
		{ "realm", offsetof(struct auth_challenge, realm) },
		{ "service", offsetof(struct auth_challenge, service) },
		{ "scope", offsetof(struct auth_challenge, scope) },
		{ "error", offsetof(struct auth_challenge, error) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		char **at = (char **)(void *)((char *)challenge + known[i].offset);

		if (name.len != strlen(known[i].name) ||
		    strncasecmp(name.p, known[i].name, name.len) != 0)
			continue;
		free(*at); /* the last one of a name wins */
		*at = value;
		return;
	}
	free(value);
}

static void keep_better(struct auth_challenge *best, struct auth_challenge *found)
{
	struct auth_challenge loser = *found;

	if (found->scheme > best->scheme) {
		loser = *best;
		*best = *found;
	}
	*found = (struct auth_challenge){ 0 };
	auth_challenge_release(&loser);
}

void auth_challenge_parse(struct str value, struct auth_challenge *inout)
{
	struct reader r = { value.p, value.p + MIN(value.len, (size_t)CHALLENGE_MAX) };
	struct auth_challenge at = { 0 };
	struct str name;
	char *text;

	skip_blanks(&r);
	at.scheme = scheme_of(take_token(&r));
	while (at.scheme != AUTH_NONE) {
		while (r.p < r.end && (*r.p == ' ' || *r.p == '\t' || *r.p == ','))
			r.p++;
		name = take_token(&r);
		if (!name.len)
			break;
		skip_blanks(&r);
		if (r.p == r.end || *r.p != '=') { /* not a pair: the next challenge starts */
			keep_better(inout, &at);
			at.scheme = scheme_of(name);
			continue;
		}
		r.p++;
		skip_blanks(&r);
		text = take_value(&r);
		if (!text)
			break;
		set_parameter(&at, name, text);
	}
	keep_better(inout, &at);
}

void auth_challenge_find(const struct http_head *head, struct auth_challenge *ret)
{
	struct auth_challenge best = { 0 };

	for (size_t i = 0; i < head->nfields; i++) {
		const struct http_field *field = &head->fields[i];

		if (field->name.len == strlen("www-authenticate") &&
		    strncasecmp(field->name.p, "www-authenticate", field->name.len) == 0)
			auth_challenge_parse(field->value, &best);
	}
	*ret = best;
}

/* --- credentials */

void auth_credentials_release(struct auth_credentials *credentials)
{
	wipe(credentials->user);
	wipe(credentials->password);
	wipe(credentials->identity_token);
	wipe(credentials->registry_token);
	*credentials = (struct auth_credentials){ 0 };
}

bool auth_credentials_empty(const struct auth_credentials *credentials)
{
	return !credentials->user && !credentials->identity_token && !credentials->registry_token;
}

/* "https://index.docker.io/v1/", "host:5000", "docker.io": the host part, with Docker Hub under its one name. */
static struct str server_host(struct str address)
{
	struct str rest, host;
	const char *scheme = NULL;

	for (size_t i = 0; !scheme && i + 3 <= address.len; i++)
		if (memcmp(address.p + i, "://", 3) == 0)
			scheme = address.p + i + 3;
	if (scheme)
		address = (struct str){ scheme, (size_t)(address.p + address.len - scheme) };
	ignore(str_cut(address, '/', &host, &rest)); /* no path: all of it */
	if (str_eq_c(host, "index.docker.io") || str_eq_c(host, "registry-1.docker.io"))
		return STR("docker.io");
	return host;
}

static bool is_addressed_to(const char *address, const char *domain)
{
	struct str a = server_host(str_of(address)), b = server_host(str_of(domain));

	return a.len == b.len && strncasecmp(a.p, b.p, a.len) == 0;
}

/* "user:password" in base64, as in docker's config.json. */
static int decode_pair(const char *text, struct auth_credentials *ret, struct err *err)
{
	cleanup(buf_release) struct buf plain = { 0 };
	struct str user, password;
	int rc = 0;

	buf_init(&plain, AUTH_TOKEN_MAX);
	if (base64_decode(&plain, str_of(text)) < 0)
		return err_set(err, CODE_INVALID_ARGUMENT, "auth: not base64");
	while (plain.len && plain.data[plain.len - 1] == '\0')
		plain.len--;
	if (!plain.len || memchr(plain.data, '\0', plain.len) ||
	    !str_cut((struct str){ plain.data, plain.len }, ':', &user, &password)) {
		rc = err_set(err, CODE_INVALID_ARGUMENT, "auth: not \"user:password\"");
	} else {
		ret->user = str_dup(user);
		ret->password = str_dup(password);
	}
	if (plain.data)
		explicit_bzero(plain.data, plain.len);
	return rc;
}

/* Nothing that could end a header line. */
static int check_text(const char *text, const char *name, struct err *err)
{
	for (const char *p = text; p && *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return err_set(err, CODE_INVALID_ARGUMENT, "%s: control character", name);
	return 0;
}

int auth_credentials_parse(yyjson_val *auth, const char *domain, struct auth_credentials *ret,
                           struct err *err)
{
	cleanup(auth_credentials_release) struct auth_credentials got = { 0 };
	const char *address = json_str(auth, "server_address", "");
	const char *user = json_str(auth, "username", "");
	const char *identity = json_str(auth, "identity_token", "");
	const char *ready = json_str(auth, "registry_token", "");
	const char *pair = json_str(auth, "auth", "");

	*ret = got;
	if (*address && !is_addressed_to(address, domain))
		return 0;
	if (*user) {
		got.user = xstrdup(user);
		got.password = xstrdup(json_str(auth, "password", ""));
	} else if (*identity) {
		got.identity_token = xstrdup(identity);
	} else if (*pair && decode_pair(pair, &got, err) < 0) {
		return -1;
	}
	if (*ready)
		got.registry_token = xstrdup(ready);
	if (check_text(got.user, "username", err) < 0 ||
	    check_text(got.password, "password", err) < 0 ||
	    check_text(got.registry_token, "registry_token", err) < 0)
		return -1;
	*ret = got;
	got = (struct auth_credentials){ 0 };
	return 0;
}

/* --- tokens */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *auth_scopes(const char *path, const char *scope)
{
	cleanup(strv_free) char **all = xcalloc(SCOPES_MAX + 1, sizeof(*all));
	cleanup(buf_release) struct buf out = { 0 };
	struct str rest = str_of(scope), one;
	size_t n = 0;
	bool more;

	all[n++] = xasprintf("repository:%s:pull", path);
	do {
		more = str_cut(rest, ' ', &one, &rest);
		if (one.len && n < SCOPES_MAX)
			all[n++] = str_dup(one);
	} while (more);
	qsort(all, n, sizeof(*all), compare_texts);
	buf_init(&out, SIZE_MAX / 2); /* the challenge was bounded */
	for (size_t i = 0; i < n; i++)
		if (i == 0 || !streq(all[i], all[i - 1]))
			ignore(buf_printf(&out, "%s%s", i ? " " : "", all[i])); /* see above */
	return buf_take_str(&out);
}

static int add_pair(struct buf *out, const char *lead, const char *name, struct str value)
{
	return buf_printf(out, "%s%s=", lead, name) < 0 ? -1 : percent_encode(out, value);
}

int auth_token_query(struct buf *out, const struct auth_challenge *challenge, const char *scopes)
{
	const char *lead = strchr(or_empty(challenge->realm), '?') ? "&" : "?";
	struct str rest = str_of(scopes), one;
	bool more;

	if (buf_add_str(out, or_empty(challenge->realm)) < 0)
		return -1;
	if (*or_empty(challenge->service)) {
		if (add_pair(out, lead, "service", str_of(challenge->service)) < 0)
			return -1;
		lead = "&";
	}
	do {
		more = str_cut(rest, ' ', &one, &rest);
		if (add_pair(out, lead, "scope", one) < 0)
			return -1;
		lead = "&";
	} while (more);
	return 0;
}

int auth_token_form(struct buf *out, const struct auth_challenge *challenge, const char *scopes,
                    const char *identity_token)
{
	if (buf_add_str(out, "grant_type=refresh_token&client_id=" CLIENT_ID) < 0 ||
	    add_pair(out, "&", "refresh_token", str_of(identity_token)) < 0 ||
	    add_pair(out, "&", "scope", str_of(scopes)) < 0)
		return -1;
	return add_pair(out, "&", "service", str_of(challenge->service));
}

int auth_basic_field(struct buf *out, const char *user, const char *password)
{
	cleanup_free char *plain = xasprintf("%s:%s", user, or_empty(password));
	int rc = buf_add_str(out, "Authorization: Basic ");

	if (rc == 0)
		rc = base64_encode(out, plain, strlen(plain));
	explicit_bzero(plain, strlen(plain));
	return rc < 0 ? -1 : buf_add_str(out, "\r\n");
}

void auth_token_release(struct auth_token *token)
{
	wipe(token->text);
	*token = (struct auth_token){ 0 };
}

int auth_token_parse(const char *text, size_t len, struct auth_token *ret, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	yyjson_val *root;
	const char *token;
	size_t n;

	doc = json_parse(text, len, AUTH_ANSWER_MAX, "token server", err);
	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	token = json_str(root, "access_token", "");
	if (!*token)
		token = json_str(root, "token", "");
	n = strlen(token);
	if (n == 0)
		return err_set(err, CODE_UNAUTHENTICATED, "token server: no token in its answer");
	for (size_t i = 0; i < n; i++)
		if (token[i] <= ' ' || token[i] == 0x7f || n > AUTH_TOKEN_MAX)
			return err_set(err, CODE_UNAUTHENTICATED, "token server: malformed token");
	ret->text = xstrdup(token);
	ret->seconds = json_i64(root, "expires_in", 0);
	if (ret->seconds <= 0)
		ret->seconds = DEFAULT_SECONDS;
	return 0;
}
