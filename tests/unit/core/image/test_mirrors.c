#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/image/mirrors.h"
#include "core/image/registry_host.h"

struct fixture {
	char dir[64];
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	memcpy(f->dir, "/tmp/coracle-mirrors-XXXXXX", 28);
	assert_non_null(mkdtemp(f->dir));
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->dir), 0);
	free(f);
	return 0;
}

static void put(const struct fixture *f, const char *path, const char *text)
{
	cleanup_free char *full = xasprintf("%s/%s", f->dir, path);
	char *slash = strrchr(full, '/');

	*slash = '\0';
	assert_int_equal(fsx_mkdir_p(full, 0755), 0);
	*slash = '/';
	if (text)
		assert_int_equal(fsx_write(AT_FDCWD, full, text, strlen(text), 0644), 0);
}

static void load(const struct fixture *f, const char *domain, struct mirrors *ret)
{
	struct err err = { 0 };

	if (mirrors_load(f->dir, domain, ret, &err) < 0)
		fail_msg("%s", err.msg);
}

static void check_refused(const struct fixture *f, const char *text, const char *why)
{
	cleanup(mirrors_release) struct mirrors found = { 0 };
	struct err err = { 0 };

	put(f, "bad/hosts.toml", text);
	if (mirrors_load(f->dir, "bad", &found, &err) == 0)
		fail_msg("accepted: %s", text);
	if (!strstr(err.msg, why) || !strstr(err.msg, "hosts.toml"))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void check_default(const char *domain, enum mirror_scheme scheme, const char *host,
                          unsigned port, bool skip)
{
	cleanup(mirrors_release) struct mirrors found = { 0 };
	struct err err = { 0 };

	assert_int_equal(mirrors_load("", domain, &found, &err), 0);
	assert_int_equal(found.count, 1);
	assert_int_equal(found.items[0].scheme, scheme);
	assert_string_equal(found.items[0].host, host);
	assert_int_equal(found.items[0].port, port);
	assert_int_equal(found.items[0].skip_verify, skip);
	assert_string_equal(found.items[0].base, "/v2");
	assert_true(found.items[0].upstream);
	assert_int_equal(found.items[0].credentials, MIRROR_CREDENTIALS_UPSTREAM);
}

static void an_unconfigured_registry_is_asked_itself(void **arg)
{
	(void)arg;
	check_default("docker.io", MIRROR_HTTPS, "registry-1.docker.io", 443, false);
	check_default("quay.io", MIRROR_HTTPS, "quay.io", 443, false);
	check_default("reg.example:5000", MIRROR_HTTPS, "reg.example", 5000, false);
	check_default("localhost", MIRROR_HTTPS, "localhost", 443, true);
	check_default("localhost:5000", MIRROR_TLS_FIRST, "localhost", 5000, true);
	check_default("127.0.0.1:80", MIRROR_HTTP, "127.0.0.1", 80, true);
	check_default("[::1]:5000", MIRROR_TLS_FIRST, "::1", 5000, true);
	check_default("10.0.0.1:5000", MIRROR_HTTPS, "10.0.0.1", 5000, false);
}

static void the_first_directory_that_exists_counts(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *dirs = xasprintf("%s/none:%s/a:%s/b", f->dir, f->dir, f->dir);
	static const struct {
		const char *domain, *host;
	} cases[] = { { "reg:5000", "underscore" },
		      { "reg:6000", "colon" },
		      { "reg", "plain" },
		      { "other", "fallback" } };

	put(f, "a/reg_5000_/hosts.toml", "[host.\"https://underscore\"]\n");
	put(f, "a/reg:5000/hosts.toml", "[host.\"https://never\"]\n");
	put(f, "a/reg:6000/hosts.toml", "[host.\"https://colon\"]\n");
	put(f, "a/reg/hosts.toml", "[host.\"https://plain\"]\n");
	put(f, "a/_default/hosts.toml", "[host.\"https://fallback\"]\n");
	put(f, "b/other/hosts.toml", "[host.\"https://never\"]\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(mirrors_release) struct mirrors found = { 0 };
		struct err err = { 0 };

		assert_int_equal(mirrors_load(dirs, cases[i].domain, &found, &err), 0);
		assert_int_equal(found.count, 2);
		assert_string_equal(found.items[0].host, cases[i].host);
		assert_false(found.items[0].upstream);
		assert_int_equal(found.items[0].credentials, MIRROR_CREDENTIALS_NONE);
		assert_true(found.items[1].upstream);
	}
}

static void hosts_keep_the_order_of_the_file_and_the_server_is_last(void **arg)
{
	struct fixture *f = *arg;
	cleanup(mirrors_release) struct mirrors found = { 0 };

	put(f, "reg/hosts.toml",
	    "server = \"https://up.example/a/../b\"\n"
	    "skip_verify = true\n"
	    "[host.\"https://z\"]\n  capabilities = [\"pull\", \"Resolve\", \"push\"]\n  dial_timeout = \"1m30s\"\n"
	    "[host.\"https://z\".header]\n  X-One = \"1\"\n  X-Two = [\"2\", \"3\"]\n"
	    "[host.\"http://a:5000/v2/\"]\n  capabilities = [\"pull\"]\n  credentials = \"upstream\"\n"
	    "[host.\"m/x\"]\n  override_path = true\n"
	    "[host.\"https://reg\"]\n");
	load(f, "reg", &found);
	assert_int_equal(found.count, 5);
	assert_string_equal(found.items[0].host, "z");
	assert_int_equal(found.items[0].capabilities, MIRROR_ALL);
	assert_int_equal(found.items[0].dial_timeout_ms, 90000);
	assert_string_equal(found.items[0].fields, "X-One: 1\r\nX-Two: 2\r\nX-Two: 3\r\n");
	assert_string_equal(found.items[1].host, "a");
	assert_int_equal(found.items[1].scheme, MIRROR_HTTP);
	assert_int_equal(found.items[1].capabilities, MIRROR_PULL);
	assert_int_equal(found.items[1].credentials, MIRROR_CREDENTIALS_UPSTREAM);
	assert_string_equal(found.items[1].base, "/v2");
	assert_string_equal(found.items[2].host, "m");
	assert_string_equal(found.items[2].base, "/x");
	assert_true(found.items[3].upstream); /* named explicitly, it is still itself */
	assert_string_equal(found.items[4].host, "up.example");
	assert_string_equal(found.items[4].base, "/b/v2");
	assert_true(found.items[4].skip_verify);
	assert_false(found.items[4].upstream);
}

static void docker_hub_is_known_by_all_its_names(void **arg)
{
	struct fixture *f = *arg;
	cleanup(mirrors_release) struct mirrors found = { 0 };

	put(f, "docker.io/hosts.toml", "server = \"https://docker.io\"\n");
	load(f, "docker.io", &found);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.items[0].host, "registry-1.docker.io");
	assert_true(found.items[0].upstream);
}

static void certificates_and_keys_are_read_with_the_file(void **arg)
{
	struct fixture *f = *arg;
	cleanup(mirrors_release) struct mirrors found = { 0 };

	put(f, "pem/one", "ONE");
	put(f, "reg/two", "TWO");
	put(f, "reg/cert", "CERT");
	put(f, "reg/key", "KEY");
	put(f, "reg/login", "user:pass:word\n");
	put(f, "reg/hosts.toml",
	    "ca = [\"../pem/one\", \"two\"]\nclient = [[\"cert\", \"key\"]]\n"
	    "[host.\"http://m:5000\"]\n  ca = \"two\"\n  client = \"cert\"\n  credentials = \"file:login\"\n");
	load(f, "reg", &found);
	assert_int_equal(found.count, 2);
	assert_int_equal(found.items[0].scheme, MIRROR_TLS_FIRST);
	assert_string_equal(found.items[0].ca[0], "TWO");
	assert_string_equal(found.items[0].client_cert, "CERT");
	assert_null(found.items[0].client_key);
	assert_string_equal(found.items[0].user, "user");
	assert_string_equal(found.items[0].password, "pass:word");
	assert_string_equal(found.items[1].ca[0], "ONE");
	assert_string_equal(found.items[1].ca[1], "TWO");
	assert_null(found.items[1].ca[2]);
	assert_string_equal(found.items[1].client_key, "KEY");
}

static void a_directory_of_certificates_is_enough(void **arg)
{
	struct fixture *f = *arg;
	cleanup(mirrors_release) struct mirrors found = { 0 };
	cleanup(mirrors_release) struct mirrors local = { 0 };

	put(f, "reg/a.crt", "CA");
	put(f, "reg/b.cert", "CERT");
	put(f, "reg/b.key", "KEY");
	put(f, "reg/hosts.toml", "");
	load(f, "reg", &found);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.items[0].ca[0], "CA");
	assert_string_equal(found.items[0].client_cert, "CERT");
	assert_string_equal(found.items[0].client_key, "KEY");
	put(f, "localhost:5000/a.crt", "CA");
	load(f, "localhost:5000", &local);
	assert_false(local.items[0].skip_verify); /* a certificate authority is there to be used */
}

static void what_is_wrong_in_a_hosts_file_fails_with_its_place(void **arg)
{
	struct fixture *f = *arg;

	check_refused(f, "server = 5\n", ":1:10: server is not a string");
	check_refused(f, "host = \"x\"\n", "host is not a table");
	check_refused(f, "[host.\"https://m\"]\ncapabilities = [\"fly\"]\n",
	              ":2:17: capability \"fly\" is unknown");
	check_refused(f, "[host.\"https://m\"]\ncapabilities = \"pull\"\n",
	              "capabilities is not an array");
	check_refused(f, "[host.\"https://m\"]\nskip_verify = \"yes\"\n",
	              "skip_verify is not a boolean");
	check_refused(f, "[host.\"https://m\"]\nca = \"missing.pem\"\n", ":2: read missing.pem");
	check_refused(f, "[host.\"https://m\"]\nclient = [[\"a\"]]\n", "pair");
	check_refused(f, "[host.\"https://m\"]\ndial_timeout = \"soon\"\n", "duration");
	check_refused(f, "[host.\"https://m\"]\ncredentials = \"all\"\n", "credentials");
	check_refused(f, "header = \"a: b\"\n", "header is not a table");
	check_refused(f, "[host.\"https://m\".header]\nX = \"a\\nb\"\n", "control character");
	check_refused(f, "[host.\"https://m\".header]\n\"X Y\" = \"a\"\n",
	              "not the name of a header");
	check_refused(f, "[host.\"https://m\".header]\nHost = \"a\"\n", "cannot be configured");
	check_refused(f, "[host.\"https://u:p@m\"]\n", "no credentials in URLs");
	check_refused(f, "[host.\"https://m:0\"]\n", "not the URL of a host");
	check_refused(f, "[host.\"https://m\"]\n[host.\"https://m\"]\n", ":2:");
	check_refused(f, "this is no TOML", ":1:");
}

static void an_unknown_key_does_not_stop_a_pull(void **arg)
{
	struct fixture *f = *arg;
	cleanup(mirrors_release) struct mirrors found = { 0 };

	put(f, "reg/hosts.toml", "[host.\"https://m\"]\nfuture = true\n");
	load(f, "reg", &found);
	assert_int_equal(found.count, 2);
}

static void durations_are_read_as_they_are_written_elsewhere(void **arg)
{
	static const char *const wrong[] = { "",       "5",   "s",  "-1s",
		                             "1.2.3s", "1 s", "1d", "9999999999h" };

	(void)arg;
	assert_int_equal(mirror_duration_ms(STR("0")), 0);
	assert_int_equal(mirror_duration_ms(STR("250ms")), 250);
	assert_int_equal(mirror_duration_ms(STR("1m30s")), 90000);
	assert_int_equal(mirror_duration_ms(STR("1.5h")), 5400000);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (mirror_duration_ms(str_of(wrong[i])) != -1)
			fail_msg("accepted: %s", wrong[i]);
}

static void a_server_says_when_to_come_back(void **arg)
{
	const int64_t now_ns = INT64_C(784111777) * 1000000000; /* Sun, 06 Nov 1994 08:49:37 GMT */

	(void)arg;
	assert_int_equal(retry_after_ms(STR("3"), now_ns), 3000);
	assert_int_equal(retry_after_ms(STR("86400"), now_ns), 60000); /* nobody waits that long */
	assert_int_equal(retry_after_ms(STR("Sun, 06 Nov 1994 08:49:47 GMT"), now_ns), 10000);
	assert_int_equal(retry_after_ms(STR("Sun, 06 Nov 1994 08:00:00 GMT"), now_ns), 0);
	assert_int_equal(retry_after_ms(STR("tomorrow"), now_ns), 0);
	assert_int_equal(retry_after_ms(STR(""), now_ns), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_unconfigured_registry_is_asked_itself),
		T(the_first_directory_that_exists_counts),
		T(hosts_keep_the_order_of_the_file_and_the_server_is_last),
		T(docker_hub_is_known_by_all_its_names),
		T(certificates_and_keys_are_read_with_the_file),
		T(a_directory_of_certificates_is_enough),
		T(what_is_wrong_in_a_hosts_file_fails_with_its_place),
		T(an_unknown_key_does_not_stop_a_pull),
		T(durations_are_read_as_they_are_written_elsewhere),
		T(a_server_says_when_to_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
