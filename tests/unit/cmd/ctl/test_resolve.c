/* Which pod or container a word means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/ctl/resolve.h"

#define POD(id_, ns_, name_)                                                                       \
	{                                                                                          \
		.id = (char *)(id_), .metadata = {                                                 \
			.name = (char *)(name_),                                                   \
			.namespace = (char *)(ns_)                                                 \
		}                                                                                  \
	}
#define CONTAINER(id_, pod_, name_, attempt_)                                                      \
	{                                                                                          \
		.id = (char *)(id_), .pod_sandbox_id = (char *)(pod_), .metadata = {               \
			.name = (char *)(name_),                                                   \
			.attempt = (attempt_)                                                      \
		}                                                                                  \
	}

static const cri_PodSandbox pods[] = {
	POD("aa01", "default", "web"),
	POD("aa02", "other", "web"),
	POD("bb03", "default", "db"),
	POD("cafe", "default", "solo"),
};
static const cri_Container containers[] = {
	CONTAINER("1111", "aa01", "app", 0),  CONTAINER("1122", "aa01", "app", 1),
	CONTAINER("1133", "aa02", "app", 0),  CONTAINER("2211", "bb03", "side", 3),
	CONTAINER("2222", "bb03", "side", 1), CONTAINER("3311", "cafe", "solo", 0),
	CONTAINER("4411", "bb03", "33", 0),
};
static const struct objects objects = { pods, 4, containers, 7 };

static void expect_container(const char *word, const char *id)
{
	struct err err = { 0 };
	const cri_Container *c = resolve_container(&objects, word, &err);

	if (!c)
		fail_msg("%s: %s", word, err.msg);
	assert_string_equal(c->id, id);
}

static void expect_none(const char *word, enum code code, const char *text)
{
	struct err err = { 0 };

	assert_null(resolve_container(&objects, word, &err));
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, text))
		fail_msg("'%s' does not say '%s'", err.msg, text);
}

static void a_unique_beginning_of_an_id_is_enough(void **arg)
{
	(void)arg;
	expect_container("1122", "1122");
	expect_container("112", "1122");
	expect_container("331", "3311");
	expect_none("11", CODE_INVALID_ARGUMENT, "1111 (app), 1122 (app), 1133 (app)");
	expect_none("99", CODE_NOT_FOUND, "no container '99'");
	expect_none("", CODE_NOT_FOUND, "no container ''");
}

static void of_several_attempts_the_newest_is_meant(void **arg)
{
	(void)arg;
	expect_container("side", "2211");
	expect_container("db/side", "2211");
}

static void a_name_in_two_pods_needs_the_pod(void **arg)
{
	(void)arg;
	expect_none("app", CODE_INVALID_ARGUMENT, "may be any of");
	expect_none("web/app", CODE_INVALID_ARGUMENT,
	            "may be any of"); /* two pods are called web */
}

static void a_name_goes_before_the_beginning_of_an_id(void **arg)
{
	(void)arg;
	expect_container("33", "4411");
}

static void pods_are_told_apart_by_their_namespace(void **arg)
{
	struct err err = { 0 };

	(void)arg;
	assert_string_equal(resolve_pod(&objects, "other/web", &err)->id, "aa02");
	assert_string_equal(resolve_pod(&objects, "db", &err)->id, "bb03");
	assert_string_equal(resolve_pod(&objects, "b", &err)->id, "bb03");
	assert_null(resolve_pod(&objects, "web", &err));
	assert_non_null(strstr(err.msg, "aa01 (default/web), aa02 (other/web)"));
	assert_null(resolve_pod(&objects, "nothing", &err));
	assert_int_equal(err.code, CODE_NOT_FOUND);
}

static void a_pod_goes_before_its_own_container_of_the_same_name(void **arg)
{
	const cri_PodSandbox *pod;
	const cri_Container *container;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(resolve_any(&objects, "solo", &pod, &container, &err), 0);
	assert_string_equal(pod->id, "cafe");
	assert_null(container);
	assert_int_equal(resolve_any(&objects, "side", &pod, &container, &err), 0);
	assert_null(pod);
	assert_string_equal(container->id, "2211");
}

static void neither_says_so_and_ambiguity_is_told(void **arg)
{
	const cri_PodSandbox *pod;
	const cri_Container *container;
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(resolve_any(&objects, "nothing", &pod, &container, &err), -1);
	assert_string_equal(err.msg, "no pod or container 'nothing'");
	assert_int_equal(resolve_any(&objects, "web", &pod, &container, &err), -1);
	assert_non_null(strstr(err.msg, "may be any of"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_unique_beginning_of_an_id_is_enough),
		cmocka_unit_test(of_several_attempts_the_newest_is_meant),
		cmocka_unit_test(a_name_in_two_pods_needs_the_pod),
		cmocka_unit_test(a_name_goes_before_the_beginning_of_an_id),
		cmocka_unit_test(pods_are_told_apart_by_their_namespace),
		cmocka_unit_test(a_pod_goes_before_its_own_container_of_the_same_name),
		cmocka_unit_test(neither_says_so_and_ambiguity_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
