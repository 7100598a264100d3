#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/image/overlay.h"

#define KEY "sha256:1111111111111111111111111111111111111111111111111111111111111111"

static void refused(struct overlay_args args, const char *why)
{
	cleanup(overlay_plan_free) struct overlay_plan *plan = NULL;
	struct err err = { 0 };

	plan = overlay_plan_new(&args, &err);
	assert_null(plan);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void a_plan_is_refused_when_its_words_are_not_plain(void **arg)
{
	char *none[] = { NULL }, *good[] = { (char *)(uintptr_t)KEY, NULL },
	     *bad[] = { (char *)(uintptr_t) "sha256:../..", NULL };
	const struct overlay_args fine = {
		.root = "/r", .id = "a-1_b.c", .layers = good, .target = "/t"
	};
	cleanup(overlay_plan_free) struct overlay_plan *plan = NULL;
	struct overlay_args args = fine;
	struct err err = { 0 };

	(void)arg;
	plan = overlay_plan_new(&fine, &err);
	assert_non_null(plan);
	args.root = "relative";
	refused(args, "store");
	args.root = "/with:colon";
	refused(args, "store");
	args = fine;
	args.id = "../x";
	refused(args, "snapshot id");
	args.id = "";
	refused(args, "snapshot id");
	args = fine;
	args.layers = bad;
	refused(args, "layer");
	args.layers = none;
	args.target = "relative";
	refused(args, "absolute");
}

static void more_layers_than_the_kernel_stacks_are_refused(void **arg)
{
	cleanup_free char **layers = xcalloc(OVERLAY_LAYERS_MAX + 2, sizeof(*layers));

	(void)arg;
	for (size_t i = 0; i <= OVERLAY_LAYERS_MAX; i++)
		layers[i] = (char *)(uintptr_t)KEY;
	refused((struct overlay_args){ .root = "/r", .id = "a", .layers = layers, .target = "/t" },
	        "501 layers");
}

static void layer_meta_is_read_as_it_was_written(void **arg)
{
	static const char *const broken[] = { "",
		                              "size 1\n",
		                              "size 1\ninodes 2\nroot 2\n",
		                              "size x\ninodes 2\nroot 1\n",
		                              "size 1\ninodes 2\nroot 1\nmore\n",
		                              "inodes 2\nsize 1\nroot 1\n" };
	const struct layer_meta in = { .size_bytes = UINT64_MAX, .inodes = 7, .has_root = true };
	struct layer_meta out;
	char text[128];
	int len = layer_meta_format(&in, text, sizeof(text));

	(void)arg;
	assert_true(len > 0);
	assert_int_equal(layer_meta_parse(text, (size_t)len, &out), 0);
	assert_true(out.size_bytes == UINT64_MAX && out.inodes == 7 && out.has_root);
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		assert_int_equal(layer_meta_parse(broken[i], strlen(broken[i]), &out), -1);
	assert_int_equal(layer_meta_format(&in, text, 5), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plan_is_refused_when_its_words_are_not_plain),
		cmocka_unit_test(more_layers_than_the_kernel_stacks_are_refused),
		cmocka_unit_test(layer_meta_is_read_as_it_was_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
