#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/store.h"

#define A "sha256:aaaaaaa111111111111111111111111111111111111111111111111111111111"
#define B "sha256:aaaaaaa222222222222222222222222222222222222222222222222222222222"
#define M "sha256:3333333333333333333333333333333333333333333333333333333333333333"

#define TEXT(s) ((char *)(uintptr_t)(s))

struct fixture {
	struct list images;
	char *a_names[3], *a_digests[2], *b_names[1], *a_layers[3], *b_layers[2];
	struct image a, b;
};

static void fixture(struct fixture *f)
{
	*f = (struct fixture){
		.a_names = { TEXT("docker.io/library/busybox:1"), TEXT("gcr.io/x/y:latest") },
		.a_digests = { TEXT("docker.io/library/busybox@" M) },
		.a_layers = { TEXT("sha256:l1"), TEXT("sha256:l2") },
		.b_layers = { TEXT("sha256:l1") },
	};
	f->a = (struct image){ .id = TEXT(A),
		               .names = f->a_names,
		               .digests = f->a_digests,
		               .layers = f->a_layers,
		               .user = TEXT("") };
	f->b = (struct image){ .id = TEXT(B),
		               .names = f->b_names,
		               .digests = f->b_names,
		               .layers = f->b_layers,
		               .user = TEXT("") };
	list_init(&f->images);
	list_push_back(&f->images, &f->a.link);
	list_push_back(&f->images, &f->b.link);
}

static const struct image *resolve(struct fixture *f, const char *text, enum code expected)
{
	struct err err = { 0 };
	const struct image *image = store_resolve(&f->images, text, &err);

	if (err.code != expected)
		fail_msg("%s: code %d \"%s\"", text, err.code, err.msg);
	return image;
}

static void an_image_is_found_under_all_it_is_called(void **arg)
{
	static const char *const words[] = {
		"busybox:1",
		"docker.io/busybox:1",
		"gcr.io/x/y",
		"gcr.io/x/y:latest",
		"busybox@" M,
		"busybox:9@" M,
		A,
		"aaaaaaa111111111111111111111111111111111111111111111111111111111",
		"aaaaaaa1",
		"sha256:aaaaaaa1"
	};
	struct fixture f;

	(void)arg;
	fixture(&f);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		assert_ptr_equal(resolve(&f, words[i], CODE_OK), &f.a);
}

static void what_nobody_is_called_is_not_found(void **arg)
{
	static const char *const words[] = { "busybox",       "busybox:2", "x/y",       "b",
		                             "aaaaaaa3",      "BAD NAME",  "sha256:zz", M,
		                             "gcr.io/x/y@" M, "sha256:" };
	struct fixture f;

	(void)arg;
	fixture(&f);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		assert_null(resolve(&f, words[i], CODE_NOT_FOUND));
}

static void an_ambiguous_prefix_and_an_empty_word_are_errors_of_the_client(void **arg)
{
	struct fixture f;

	(void)arg;
	fixture(&f);
	assert_null(resolve(&f, "aaaaaaa", CODE_INVALID_ARGUMENT));
	assert_null(resolve(&f, "a", CODE_INVALID_ARGUMENT));
	assert_null(resolve(&f, "", CODE_INVALID_ARGUMENT));
	assert_null(resolve(&f, NULL, CODE_INVALID_ARGUMENT));
}

static void a_name_made_of_hex_wins_over_a_prefix(void **arg)
{
	struct fixture f;

	(void)arg;
	fixture(&f);
	f.b_names[0] = NULL;
	{
		char *names[] = { TEXT("docker.io/library/aaaaaaa1:latest"), NULL };

		f.b.names = names;
		assert_ptr_equal(resolve(&f, "aaaaaaa1", CODE_OK), &f.b);
	}
}

static void the_user_is_a_number_or_a_name(void **arg)
{
	static const struct {
		const char *user;
		bool is_uid;
		int64_t uid;
		const char *name;
	} cases[] = { { "", false, 0, "" },
		      { "1000", true, 1000, "" },
		      { "1003:1", true, 1003, "" },
		      { "www-data", false, 0, "www-data" },
		      { "www:data", false, 0, "www" },
		      { ":5", false, 0, "" },
		      { "0", true, 0, "" },
		      { "1a", false, 0, "1a" } };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image image = { .user = TEXT(cases[i].user) };
		int64_t uid = 0;
		char name[64];

		assert_int_equal(store_user(&image, &uid, name, sizeof(name)), cases[i].is_uid);
		assert_int_equal(uid, cases[i].uid);
		assert_string_equal(name, cases[i].name);
	}
}

static void pins_match_whole_names_or_prefixes(void **arg)
{
	char *exact[] = { TEXT("gcr.io/x/y:latest"), NULL }, *glob[] = { TEXT("gcr.io/*"), NULL },
	     *other[] = { TEXT("gcr.io/x/y"), TEXT("quay.io/*"), NULL };
	struct fixture f;

	(void)arg;
	fixture(&f);
	assert_true(store_pinned(&f.a, exact));
	assert_true(store_pinned(&f.a, glob));
	assert_false(store_pinned(&f.a, other));
	assert_false(store_pinned(&f.b, glob));
	assert_false(store_pinned(&f.a, NULL));
}

static void a_shared_layer_is_in_use_until_the_last_image_goes(void **arg)
{
	struct fixture f;

	(void)arg;
	fixture(&f);
	assert_true(store_layer_used(&f.images, "sha256:l1", &f.a));
	assert_false(store_layer_used(&f.images, "sha256:l2", &f.a));
	assert_true(store_layer_used(&f.images, "sha256:l2", NULL));
}

static void names_are_sorted_and_unique(void **arg)
{
	cleanup(strv_free) char **names = xcalloc(5, sizeof(*names));

	(void)arg;
	names[0] = xstrdup("z.io/b:1");
	names[1] = xstrdup("a.io/b@" M);
	names[2] = xstrdup("a.io/b:1");
	names[3] = xstrdup("z.io/b:1");
	store_sort_names(names);
	assert_string_equal(names[0], "a.io/b:1");
	assert_string_equal(names[1], "z.io/b:1");
	assert_string_equal(names[2], "a.io/b@" M);
	assert_null(names[3]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_is_found_under_all_it_is_called),
		cmocka_unit_test(what_nobody_is_called_is_not_found),
		cmocka_unit_test(an_ambiguous_prefix_and_an_empty_word_are_errors_of_the_client),
		cmocka_unit_test(a_name_made_of_hex_wins_over_a_prefix),
		cmocka_unit_test(the_user_is_a_number_or_a_name),
		cmocka_unit_test(pins_match_whole_names_or_prefixes),
		cmocka_unit_test(a_shared_layer_is_in_use_until_the_last_image_goes),
		cmocka_unit_test(names_are_sorted_and_unique),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
