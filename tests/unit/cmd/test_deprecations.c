/* What Status says about what is about to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/deprecations.h"
#include "core/base/mem.h"

static char *json_of(const char *text, enum cgroup_mode mode)
{
	static const struct config_flags no_flags;
	struct err err = { .code = CODE_OK };
	cleanup(config_free) struct config *config =
		config_from_text("f", text, strlen(text), &no_flags, &err);

	if (!config)
		fail_msg("%s", err.msg);
	return deprecations_json(config, mode);
}

static void a_node_of_today_has_none(void **arg)
{
	(void)arg;
	assert_null(json_of("", CGROUP_V2));
	assert_null(json_of("[log]\nlvel = info\n", CGROUP_V2)); /* wrong, but not old */
}

static void each_has_the_id_that_check_gives_it(void **arg)
{
	cleanup_free char *json = json_of("[cni]\nbin_dir = /x\nbin_dir = /y\n", CGROUP_HYBRID);

	(void)arg;
	assert_string_equal(
		json,
		"{\"config.deprecated\":\"f:2: [cni] bin_dir is deprecated, write bin_dirs; "
		"f:3: [cni] bin_dir is deprecated, write bin_dirs\","
		"\"cgroup.version\":\"cgroup v1: Kubernetes and the runtimes are about to drop it\"}");
}

static void those_that_are_ignored_are_not_shown(void **arg)
{
	cleanup_free char *json = json_of(
		"[cri]\nignore_deprecations = config.deprecated\n[cni]\nbin_dir = /x\n", CGROUP_V1);

	(void)arg;
	assert_string_equal(
		json,
		"{\"cgroup.version\":\"cgroup v1: Kubernetes and the runtimes are about to drop it\"}");
	assert_null(json_of(
		"[cri]\nignore_deprecations = config.deprecated, cgroup.version\n[cni]\nbin_dir = /x\n",
		CGROUP_V1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_of_today_has_none),
		cmocka_unit_test(each_has_the_id_that_check_gives_it),
		cmocka_unit_test(those_that_are_ignored_are_not_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
