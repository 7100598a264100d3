#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/json.h"
#include "core/image/auth.h"

static void check_challenge(const char *value, enum auth_scheme scheme, const char *realm,
                            const char *service, const char *scope)
{
	cleanup(auth_challenge_release) struct auth_challenge found = { 0 };

	auth_challenge_parse(str_of(value), &found);
	if (found.scheme != scheme)
		fail_msg("%s: scheme %d", value, (int)found.scheme);
	assert_string_equal(or_empty(found.realm), realm);
	assert_string_equal(or_empty(found.service), service);
	assert_string_equal(or_empty(found.scope), scope);
}

static void a_challenge_is_read_with_its_quotes(void **arg)
{
	(void)arg;
	check_challenge(
		"Bearer realm=\"https://auth/token\",service=\"reg\",scope=\"repository:a:pull,push\"",
		AUTH_BEARER, "https://auth/token", "reg", "repository:a:pull,push");
	check_challenge("bearer Realm=x , SERVICE = \"a \\\"b\\\"\"", AUTH_BEARER, "x", "a \"b\"",
	                "");
	check_challenge("Basic realm=\"a, b\"", AUTH_BASIC, "a, b", "", "");
	check_challenge("Digest nonce=1", AUTH_OTHER, "", "", "");
	check_challenge("", AUTH_NONE, "", "", "");
}

static void several_challenges_in_one_line_give_the_best(void **arg)
{
	(void)arg;
	check_challenge("Basic realm=\"b\", Bearer realm=\"t\",service=\"s\", Digest nonce=\"x\"",
	                AUTH_BEARER, "t", "s", "");
	check_challenge("Negotiate, Basic realm=\"b\"", AUTH_BASIC, "b", "", "");
}

static void a_malformed_pair_ends_the_reading(void **arg)
{
	(void)arg;
	check_challenge("Bearer realm=\"x\",service=\"unfinished", AUTH_BEARER, "x", "", "");
	check_challenge("Bearer realm=\"x\",=,service=\"s\"", AUTH_BEARER, "x", "", "");
	check_challenge("Bearer realm=\"a\r\nX: y\"", AUTH_BEARER, "", "", "");
}

static void bearer_is_preferred_over_several_lines(void **arg)
{
	static const char text[] =
		"HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"b\"\r\n"
		"www-authenticate: Bearer realm=\"t\"\r\nWWW-Authenticate: Basic realm=\"c\"\r\n\r\n";
	cleanup(auth_challenge_release) struct auth_challenge found = { 0 };
	struct http_head head;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(http_head_parse(text, strlen(text), &head, &err), 0);
	auth_challenge_find(&head, &found);
	assert_int_equal(found.scheme, AUTH_BEARER);
	assert_string_equal(found.realm, "t");
}

static int credentials(const char *json, const char *domain, struct auth_credentials *ret,
                       struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(json, strlen(json), 65536, "auth", err);

	assert_non_null(doc);
	return auth_credentials_parse(yyjson_doc_get_root(doc), domain, ret, err);
}

static void check_user(const char *json, const char *domain, const char *user, const char *password)
{
	cleanup(auth_credentials_release) struct auth_credentials found = { 0 };
	struct err err = { 0 };

	if (credentials(json, domain, &found, &err) < 0)
		fail_msg("%s: %s", json, err.msg);
	assert_string_equal(or_empty(found.user), user);
	assert_string_equal(or_empty(found.password), password);
}

static void credentials_come_in_several_forms(void **arg)
{
	cleanup(auth_credentials_release) struct auth_credentials found = { 0 };
	struct err err = { 0 };

	(void)arg;
	check_user("{\"username\":\"u\",\"password\":\"p:q\"}", "r", "u", "p:q");
	check_user("{\"auth\":\"dTpwOnE=\"}", "r", "u", "p:q");
	check_user("{\"auth\":\"dTpwAAA=\"}", "r", "u", "p"); /* NULs behind the password */
	check_user("{\"username\":\"u\",\"password\":\"p\",\"auth\":\"!\"}", "r", "u", "p");
	check_user("{}", "r", "", "");
	assert_int_equal(
		credentials("{\"identity_token\":\"i\",\"registry_token\":\"t\",\"auth\":\"!\"}",
	                    "r", &found, &err),
		0);
	assert_string_equal(found.identity_token, "i");
	assert_string_equal(found.registry_token, "t");
	assert_null(found.user);
}

static void credentials_for_another_server_are_not_used(void **arg)
{
	(void)arg;
	check_user("{\"username\":\"u\",\"server_address\":\"other\"}", "reg", "", "");
	check_user("{\"username\":\"u\",\"server_address\":\"reg\"}", "reg:5000", "", "");
	check_user("{\"username\":\"u\",\"server_address\":\"https://Reg:5000/v2/\"}", "reg:5000",
	           "u", "");
	check_user("{\"username\":\"u\",\"server_address\":\"https://index.docker.io/v1/\"}",
	           "docker.io", "u", "");
	check_user("{\"username\":\"u\",\"server_address\":\"registry-1.docker.io\"}", "docker.io",
	           "u", "");
}

static void credentials_that_cannot_be_sent_are_refused_by_name(void **arg)
{
	static const char *const texts[] = { "{\"auth\":\"***\"}", "{\"auth\":\"dQ==\"}",
		                             "{\"username\":\"u\\nX: y\"}",
		                             "{\"username\":\"u\",\"password\":\"p\\r\"}",
		                             "{\"registry_token\":\"a\\nb\"}" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup(auth_credentials_release) struct auth_credentials found = { 0 };
		struct err err = { 0 };

		if (credentials(texts[i], "r", &found, &err) == 0)
			fail_msg("accepted: %s", texts[i]);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
		assert_true(auth_credentials_empty(&found));
	}
}

static void scopes_are_sorted_and_each_is_there_once(void **arg)
{
	cleanup_free char *scopes =
		auth_scopes("a/b", "repository:z:pull  repository:a/b:pull aaa");

	(void)arg;
	assert_string_equal(scopes, "aaa repository:a/b:pull repository:z:pull");
}

static void a_token_is_asked_for_by_query_or_form(void **arg)
{
	struct auth_challenge challenge = { .scheme = AUTH_BEARER,
		                            .realm = (char[]){ "https://auth/t" },
		                            .service = (char[]){ "my reg" } };
	cleanup(buf_release) struct buf out = { 0 };

	(void)arg;
	buf_init(&out, 4096);
	assert_int_equal(auth_token_query(&out, &challenge, "repository:a:pull x"), 0);
	assert_string_equal(out.data,
	                    "https://auth/t?service=my%20reg&scope=repository%3Aa%3Apull&scope=x");
	buf_clear(&out);
	challenge.realm = (char[]){ "https://auth/t?a=b" };
	challenge.service = NULL;
	assert_int_equal(auth_token_query(&out, &challenge, "x"), 0);
	assert_string_equal(out.data, "https://auth/t?a=b&scope=x");
	buf_clear(&out);
	assert_int_equal(auth_token_form(&out, &challenge, "x y", "s&t"), 0);
	assert_string_equal(
		out.data,
		"grant_type=refresh_token&client_id=coracle&refresh_token=s%26t&scope=x%20y&service=");
	buf_clear(&out);
	assert_int_equal(auth_basic_field(&out, "user", "p"), 0);
	assert_string_equal(out.data, "Authorization: Basic dXNlcjpw\r\n");
}

static void check_token(const char *json, const char *text, int64_t seconds)
{
	cleanup(auth_token_release) struct auth_token token = { 0 };
	struct err err = { 0 };

	if (auth_token_parse(json, strlen(json), &token, &err) < 0)
		fail_msg("%s: %s", json, err.msg);
	assert_string_equal(token.text, text);
	assert_int_equal(token.seconds, seconds);
}

static void a_token_answer_has_either_name_and_maybe_a_life(void **arg)
{
	static const char *const wrong[] = { "{}",
		                             "{\"token\":\"\"}",
		                             "{\"token\":5}",
		                             "{\"token\":\"a b\"}",
		                             "{\"token\":\"a\\r\\nb\"}",
		                             "[]",
		                             "x" };

	(void)arg;
	check_token("{\"token\":\"a\"}", "a", 60);
	check_token("{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":300}", "b", 300);
	check_token("{\"access_token\":\"b\",\"expires_in\":-1}", "b", 60);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		cleanup(auth_token_release) struct auth_token token = { 0 };
		struct err err = { 0 };

		if (auth_token_parse(wrong[i], strlen(wrong[i]), &token, &err) == 0)
			fail_msg("accepted: %s", wrong[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_challenge_is_read_with_its_quotes),
		cmocka_unit_test(several_challenges_in_one_line_give_the_best),
		cmocka_unit_test(a_malformed_pair_ends_the_reading),
		cmocka_unit_test(bearer_is_preferred_over_several_lines),
		cmocka_unit_test(credentials_come_in_several_forms),
		cmocka_unit_test(credentials_for_another_server_are_not_used),
		cmocka_unit_test(credentials_that_cannot_be_sent_are_refused_by_name),
		cmocka_unit_test(scopes_are_sorted_and_each_is_there_once),
		cmocka_unit_test(a_token_is_asked_for_by_query_or_form),
		cmocka_unit_test(a_token_answer_has_either_name_and_maybe_a_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
