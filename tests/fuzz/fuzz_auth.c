/* Challenges and token answers: whatever a server says, nothing of it can end a line of the request that follows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/json.h"
#include "core/image/auth.h"

static void check_line(const char *text)
{
	for (const char *p = or_empty(text); *p; p++)
		ensure((unsigned char)*p >= ' ');
}

static void check_challenge(struct str value)
{
	cleanup(auth_challenge_release) struct auth_challenge challenge = { 0 };
	cleanup(buf_release) struct buf out = { 0 };
	cleanup_free char *scopes = NULL;

	auth_challenge_parse(value, &challenge);
	check_line(challenge.realm);
	check_line(challenge.service);
	check_line(challenge.scope);
	if (challenge.scheme != AUTH_BEARER)
		return;
	scopes = auth_scopes("a/b", challenge.scope);
	ensure(strstr(scopes, "repository:a/b:pull"));
	buf_init(&out, 1 << 20);
	ensure(auth_token_query(&out, &challenge, scopes) == 0);
	check_line(out.data);
	buf_clear(&out);
	ensure(auth_token_form(&out, &challenge, scopes, "secret") == 0);
	check_line(out.data);
}

static void check_credentials(struct str text)
{
	cleanup(auth_credentials_release) struct auth_credentials credentials = { 0 };
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { 0 };

	doc = json_parse(text.p, text.len, 1 << 20, "auth", &err);
	if (!doc ||
	    auth_credentials_parse(yyjson_doc_get_root(doc), "reg:5000", &credentials, &err) < 0)
		return;
	check_line(credentials.registry_token);
	buf_init(&out, 1 << 22);
	if (credentials.user && auth_basic_field(&out, credentials.user, credentials.password) == 0)
		ensure(out.len > 2 && strpbrk(out.data, "\r\n") == out.data + out.len - 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(auth_token_release) struct auth_token token = { 0 };
	struct str text = { (const char *)data, size };
	struct err err = { 0 };

	check_challenge(text);
	check_credentials(text);
	if (auth_token_parse(text.p, text.len, &token, &err) == 0) {
		ensure(token.text[0] && token.seconds > 0);
		ensure(!strpbrk(token.text, "\r\n "));
	}
	return 0;
}
