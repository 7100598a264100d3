#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/attr.h"
#include "core/base/mem.h"
#include "core/image/ref.h"

#define HEX64 "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582"
#define HEX63 "6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582"

static void check_canonical(const char *text, const char *expected)
{
	cleanup_free char *found = NULL;
	struct err err = { 0 };

	if (ref_canonical(str_of(text), &found, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	assert_string_equal(found, expected);
}

static void check_refused(const char *text)
{
	cleanup_free char *found = NULL;
	struct err err = { 0 };

	if (ref_canonical(str_of(text), &found, &err) == 0)
		fail_msg("\"%s\" was accepted as %s", text, found);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	assert_non_null(strstr(err.msg, "image reference"));
}

static void a_name_gets_domain_library_and_latest(void **arg)
{
	static const char *const same[] = { "busybox",
		                            "busybox:latest",
		                            "library/busybox",
		                            "docker.io/busybox",
		                            "docker.io/busybox:latest",
		                            "docker.io/library/busybox",
		                            "index.docker.io/busybox" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		check_canonical(same[i], "docker.io/library/busybox:latest");
	check_canonical("index.docker.io/fooo/bar", "docker.io/fooo/bar:latest");
	check_canonical("docker.io/library/foo/bar", "docker.io/library/foo/bar:latest");
	check_canonical("gcr.io/library/busybox", "gcr.io/library/busybox:latest");
	check_canonical("127.0.0.1:8000/privatebase", "127.0.0.1:8000/privatebase:latest");
	check_canonical("test_com/foo", "docker.io/test_com/foo:latest");
	check_canonical("lowercase:Uppercase", "docker.io/library/lowercase:Uppercase");
	check_canonical("localhost/x", "localhost/x:latest");
	check_canonical("localhost", "docker.io/library/localhost:latest");
}

static void a_digest_beats_the_tag(void **arg)
{
	(void)arg;
	check_canonical("gcr.io/library/busybox:latest@sha256:" HEX64,
	                "gcr.io/library/busybox@sha256:" HEX64);
	check_canonical("busybox@sha256:" HEX64, "docker.io/library/busybox@sha256:" HEX64);
	check_canonical("busybox@sha512:" HEX64 HEX64,
	                "docker.io/library/busybox@sha512:" HEX64 HEX64);
}

static void only_what_looks_like_a_host_is_one(void **arg)
{
	static const struct {
		const char *text, *domain, *path;
	} cases[] = {
		{ "LOCALDOMAIN/fooo", "LOCALDOMAIN", "fooo" },
		{ "Foo/bar", "Foo", "bar" },
		{ "192.168.0.1:80", "docker.io", "library/192.168.0.1" },
		{ "192.168.0.1:8/debian", "192.168.0.1:8", "debian" },
		{ "[fc00::1]:5000/docker", "[fc00::1]:5000", "docker" },
		{ "[fc00::1]/docker", "[fc00::1]", "docker" },
		{ "xn--n3h.com:18080/foo", "xn--n3h.com:18080", "foo" },
		{ "docker.io/" HEX64, "docker.io", "library/" HEX64 },
		{ HEX63, "docker.io", "library/" HEX63 },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(ref_release) struct ref ref = { 0 };
		struct err err = { 0 };

		if (ref_parse(str_of(cases[i].text), &ref, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.msg);
		assert_string_equal(ref.domain, cases[i].domain);
		assert_string_equal(ref.path, cases[i].path);
	}
}

static void valid_names_are_accepted(void **arg)
{
	static const char *const valid[] = {
		"docker/docker",
		"docker---rules/docker",
		"dock__er/docker",
		"d/docker",
		"jess/t",
		"DOCKER/docker",
		"sub-dom1.foo.com/bar/baz/quux:some-long-tag",
		"b.gcr.io/test.example.com/my-app:test.example.com",
		"foo/foo_bar.com:8080",
		"[2001:db8::]:5000/repo",
		"[::1]:5000/repo:tag",
		"example.com/some_separator__underscore/myimage",
		"a-b.c-d/e__f/g--h:x",
	};
	char longest[REF_PATH_MAX + 32] = "example.com/";

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(valid); i++) {
		cleanup_free char *found = NULL;
		struct err err = { 0 };

		if (ref_canonical(str_of(valid[i]), &found, &err) < 0)
			fail_msg("%s: %s", valid[i], err.msg);
	}
	memset(longest + 12, 'a', REF_PATH_MAX);
	memcpy(longest + 12 + REF_PATH_MAX, ":tag", 5);
	check_canonical(longest, longest);
}

static void invalid_names_are_refused(void **arg)
{
	static const char *const invalid[] = {
		"",
		":justtag",
		"@sha256:" HEX64,
		"https://github.com/docker/docker",
		"docker/Docker",
		"-docker",
		"-docker/docker",
		"-docker.io/docker/docker",
		"docker///docker",
		"docker.io/docker/Docker",
		"[fc00::1]",
		"[fc00::1]:5000",
		"fc00::1:5000/debian",
		"[fe80::1%eth0]:5000/debian",
		"[2001:db8:3:4::192.0.2.33]:5000/debian",
		HEX64,
		"docker-/docker",
		"-docker-/docker",
		"____/____",
		"_docker/_docker",
		"dock..er/docker",
		"dock_.er/docker",
		"dock-.er/docker",
		"docker/",
		"repo@sha256:ffffffffffffffffffffffffffffffffff",
		"validname@invaliddigest:" HEX64,
		"Uppercase:tag",
		"test:5000/Uppercase/lowercase:tag",
		"aa/asdf$$^/aa",
		"foo_bar.com:8080/app",
		"a//a/a",
		"foo.com/",
		"foo.com:http/bar",
		"x:-foo",
		"x:.foo",
		"x:",
		"x@",
		"x___y",
		"x y",
		"x\n",
		"busybox@sha256:E" HEX63,
		"a:b:c",
		"a@b@c",
		"foo.com:/bar",
		"/bar",
		"[]/x",
		"x.y-/z",
	};
	char text[300] = "x:";

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++)
		check_refused(invalid[i]);
	memset(text + 2, 'a', 129);
	text[131] = '\0';
	check_refused(text);
	memset(text, 'a', 256);
	text[256] = '\0';
	check_refused(text);
}

static void an_error_never_carries_control_characters(void **arg)
{
	cleanup_free char *found = NULL;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(ref_canonical(str_of("x\033[2J"), &found, &err), -1);
	assert_null(strchr(err.msg, '\033'));
}

static void an_id_is_recognised_with_and_without_its_algorithm(void **arg)
{
	static const char *const ids[] = { HEX64, "sha256:" HEX64 };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		cleanup_free char *found = NULL;
		struct err err = { 0 };
		bool is_digest = false;

		assert_int_equal(ref_parse_any(str_of(ids[i]), &found, &is_digest, &err), 0);
		assert_true(is_digest);
		assert_string_equal(found, "sha256:" HEX64);
	}
}

static void names_sort_by_kind_then_bytes(void **arg)
{
	static const char *const sorted[] = {
		"docker.io/library/a:1@sha256:" HEX64,
		"docker.io/library/a:1",
		"docker.io/library/b:1",
		"docker.io/library/a@sha256:" HEX64,
		"docker.io/library/a",
		"sha256:" HEX64,
		"UPPER:",
	};

	(void)arg;
	for (size_t i = 0; i + 1 < ARRAY_SIZE(sorted); i++) {
		assert_true(ref_compare(sorted[i], sorted[i + 1]) < 0);
		assert_true(ref_compare(sorted[i + 1], sorted[i]) > 0);
	}
	assert_int_equal(ref_compare(sorted[0], sorted[0]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_gets_domain_library_and_latest),
		cmocka_unit_test(a_digest_beats_the_tag),
		cmocka_unit_test(only_what_looks_like_a_host_is_one),
		cmocka_unit_test(valid_names_are_accepted),
		cmocka_unit_test(invalid_names_are_refused),
		cmocka_unit_test(an_error_never_carries_control_characters),
		cmocka_unit_test(an_id_is_recognised_with_and_without_its_algorithm),
		cmocka_unit_test(names_sort_by_kind_then_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
