#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/manifest.h"

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define CONFIG                                                                                     \
	"\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D1 "\",\"size\":7}"
#define LAYER    "{\"mediaType\":\"" MEDIA_OCI_LAYER "+gzip\",\"digest\":\"" D2 "\",\"size\":9}"
#define MANIFEST "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER "]}"

static int parse(const char *text, const char *media_type, struct document *ret, struct err *err)
{
	return document_parse(text, strlen(text), media_type, "doc", ret, err);
}

static void refused(const char *text, const char *media_type, enum code code, const char *why)
{
	struct document document = { 0 };
	struct err err = { 0 };

	if (parse(text, media_type, &document, &err) == 0)
		fail_msg("accepted: %s", text);
	if (err.code != code || !strstr(err.msg, why))
		fail_msg("%s: %d \"%s\" is not %d \"%s\"", text, err.code, err.msg, code, why);
}

static void a_manifest_gives_config_and_layers(void **arg)
{
	cleanup(document_release) struct document document = { 0 };
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(parse(MANIFEST, MEDIA_OCI_MANIFEST, &document, &err), 0);
	assert_int_equal(document.kind, DOCUMENT_MANIFEST);
	assert_string_equal(document.config.digest, D1);
	assert_int_equal(document.config.size, 7);
	assert_int_equal(document.layers.count, 1);
	assert_string_equal(document.layers.items[0].media_type, MEDIA_OCI_LAYER "+gzip");
}

static void an_index_gives_platforms_and_names(void **arg)
{
	const char *text =
		"{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX
		"\",\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"" D1
		"\",\"size\":5,\"platform\":{\"os\":\"linux\",\"architecture\":\"aarch64\",\"variant\":\"8\"},"
		"\"annotations\":{\"io.containerd.image.name\":\"n\",\"org.opencontainers.image.ref.name\":\"r\"}}]}";
	cleanup(document_release) struct document document = { 0 };
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(parse(text, NULL, &document, &err), 0);
	assert_int_equal(document.kind, DOCUMENT_INDEX);
	assert_true(document.entries.items[0].has_platform);
	assert_string_equal(document.entries.items[0].platform.arch, "arm64");
	assert_string_equal(document.entries.items[0].platform.variant, "");
	assert_string_equal(document.entries.items[0].name, "n");
	assert_string_equal(document.entries.items[0].ref_name, "r");
}

static void a_document_that_is_two_things_is_none(void **arg)
{
	(void)arg;
	refused("{" CONFIG ",\"layers\":[],\"manifests\":[]}", NULL, CODE_INVALID_ARGUMENT,
	        "at once");
	refused("{\"layers\":[],\"manifests\":[]}", NULL, CODE_INVALID_ARGUMENT, "at once");
	refused(MANIFEST, MEDIA_OCI_INDEX, CODE_INVALID_ARGUMENT, "announced as");
	refused("{\"mediaType\":\"" MEDIA_DOCKER_LIST "\"," CONFIG ",\"layers\":[]}", NULL,
	        CODE_INVALID_ARGUMENT, "announced as");
	refused("{\"manifests\":[]}", MEDIA_DOCKER_MANIFEST, CODE_INVALID_ARGUMENT, "announced as");
	refused("{" CONFIG ",\"layers\":[],\"Layers\":[]}", NULL, CODE_INVALID_ARGUMENT,
	        "misspelt");
	refused("{" CONFIG ",\"layers\":[],\"layers\":[]}", NULL, CODE_INVALID_ARGUMENT, "doc");
}

static void old_and_foreign_documents_are_named(void **arg)
{
	(void)arg;
	refused("{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, CODE_UNIMPLEMENTED, "schema 1");
	refused("{\"schemaVersion\":1," CONFIG ",\"layers\":[]}", NULL, CODE_UNIMPLEMENTED,
	        "schemaVersion");
	refused("{}", NULL, CODE_INVALID_ARGUMENT, "neither");
	refused("[]", NULL, CODE_INVALID_ARGUMENT, "not an object");
	refused("<html>", NULL, CODE_INVALID_ARGUMENT, "doc");
}

static void bad_descriptors_are_refused(void **arg)
{
	static const struct {
		const char *layer, *why;
	} cases[] = {
		{ "{\"digest\":\"sha256:12\",\"size\":1}", "not a digest" },
		{ "{\"digest\":\"" D1 "\"}", "size" },
		{ "{\"digest\":\"" D1 "\",\"size\":0}", "size" },
		{ "{\"digest\":\"" D1 "\",\"size\":-1}", "size" },
		{ "{\"digest\":\"" D1 "\",\"size\":1e3}", "size" },
		{ "{\"digest\":\"" D1 "\",\"size\":1125899906842625}", "size" },
		{ "{\"digest\":\"" D1 "\",\"size\":3,\"data\":\"YWJj\"}", "expected" },
		{ "{\"digest\":\"" D1 "\",\"size\":3,\"data\":\"!\"}", "base64" },
		{ "{\"digest\":7,\"size\":3}", "not a string" },
		{ "7", "not an object" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_free char *text = xasprintf("{%s,\"layers\":[%s]}", CONFIG, cases[i].layer);
		struct document document = { 0 };
		struct err err = { 0 };

		assert_int_equal(parse(text, NULL, &document, &err), -1);
		if (!strstr(err.msg, cases[i].why))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].layer, err.msg,
			         cases[i].why);
	}
}

static void a_config_gives_platform_user_and_diff_ids(void **arg)
{
	const char *text =
		"{\"os\":\"linux\",\"architecture\":\"x86_64\",\"config\":{\"User\":\"a:b\"},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\",\"" D2 "\"]}}";
	cleanup(image_config_release) struct image_config config = { 0 };
	struct err err = { 0 };

	(void)arg;
	assert_int_equal(image_config_parse(text, strlen(text), "config", &config, &err), 0);
	assert_string_equal(config.platform.arch, "amd64");
	assert_string_equal(config.user, "a:b");
	assert_string_equal(config.diff_ids[1], D2);
	assert_null(config.diff_ids[2]);
}

static void a_config_without_rootfs_is_an_artifact(void **arg)
{
	static const char *const texts[] = { "{}",
		                             "{\"rootfs\":[]}",
		                             "{\"rootfs\":{\"type\":\"x\",\"diff_ids\":[]}}",
		                             "{\"rootfs\":{\"diff_ids\":[\"x\"]}}",
		                             "{\"rootfs\":{\"diff_ids\":[7]}}",
		                             "{\"rootfs\":{\"diff_ids\":{}}}" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct image_config config = { 0 };
		struct err err = { 0 };

		assert_int_equal(
			image_config_parse(texts[i], strlen(texts[i]), "config", &config, &err),
			-1);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	}
}

static struct platform platform(const char *text)
{
	struct platform p;
	struct err err = { 0 };

	if (platform_parse(text, &p, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return p;
}

static int rank(const char *host, const char *candidate)
{
	struct platform h = platform(host), c = platform(candidate);

	return platform_rank(&h, &c);
}

static void platforms_have_one_spelling(void **arg)
{
	static const struct {
		const char *text, *normal;
	} cases[] = {
		{ "linux/x86_64", "linux/amd64" },     { "Linux/AMD64/v1", "linux/amd64" },
		{ "linux/i386/x", "linux/386" },       { "linux/aarch64", "linux/arm64" },
		{ "linux/arm64/v8.0", "linux/arm64" }, { "linux/arm64/9", "linux/arm64/v9" },
		{ "linux/armhf", "linux/arm/v7" },     { "linux/armel", "linux/arm/v6" },
		{ "linux/arm", "linux/arm/v7" },       { "linux/arm/6", "linux/arm/v6" },
		{ "macos/arm64", "darwin/arm64" },     { "linux/riscv64", "linux/riscv64" },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct platform p = platform(cases[i].text);
		char text[96];

		platform_text(&p, text, sizeof(text));
		assert_string_equal(text, cases[i].normal);
	}
}

static void a_host_runs_its_own_kind_best_and_older_ones_too(void **arg)
{
	(void)arg;
	assert_int_equal(rank("linux/amd64/v3", "linux/amd64/v3"), 0);
	assert_true(rank("linux/amd64/v3", "linux/amd64/v2") <
	            rank("linux/amd64/v3", "linux/amd64"));
	assert_true(rank("linux/amd64/v3", "linux/amd64") < rank("linux/amd64/v3", "linux/386"));
	assert_int_equal(rank("linux/amd64", "linux/amd64/v2"), -1);
	assert_int_equal(rank("linux/amd64", "linux/arm64"), -1);
	assert_int_equal(rank("linux/amd64", "windows/amd64"), -1);
	assert_int_equal(rank("linux/amd64", "unknown/unknown"), -1);
	assert_int_equal(rank("linux/arm/v7", "linux/arm"), 0);
	assert_true(rank("linux/arm/v7", "linux/arm/v6") > 0);
	assert_int_equal(rank("linux/arm/v6", "linux/arm/v7"), -1);
	assert_int_equal(rank("linux/arm64", "linux/arm64/v8"), 0);
	assert_true(rank("linux/arm64", "linux/arm/v7") > rank("linux/arm64", "linux/arm64"));
	assert_true(rank("linux/arm64/v9", "linux/arm64/v8.5") > 0);
	assert_true(rank("linux/arm64/v9", "linux/arm64/v8") >
	            rank("linux/arm64/v9", "linux/arm64/v8.5"));
	assert_int_equal(rank("linux/arm64/v8", "linux/arm64/v9"), -1);
	assert_int_equal(rank("linux/riscv64", "linux/riscv64"), 0);
}

static void the_index_entry_that_suits_best_is_chosen(void **arg)
{
	struct descriptor entries[] = {
		{ .media_type = (char *)(uintptr_t) "", .digest = (char *)(uintptr_t) "0" },
		{ .media_type = (char *)(uintptr_t)MEDIA_OCI_MANIFEST,
		  .digest = (char *)(uintptr_t) "1",
		  .has_platform = true },
		{ .media_type = (char *)(uintptr_t)MEDIA_OCI_MANIFEST,
		  .digest = (char *)(uintptr_t) "2",
		  .has_platform = true },
		{ .media_type = (char *)(uintptr_t)MEDIA_OCI_MANIFEST,
		  .digest = (char *)(uintptr_t) "3",
		  .has_platform = true,
		  .zstd = true },
		{ .media_type = (char *)(uintptr_t) "application/vnd.in-toto+json",
		  .digest = (char *)(uintptr_t) "4" },
	};
	struct document index = { .kind = DOCUMENT_INDEX,
		                  .entries = { entries, ARRAY_SIZE(entries) } };
	struct platform host = platform("linux/amd64");
	const struct descriptor *chosen = NULL;
	struct err err = { 0 };

	(void)arg;
	entries[1].platform = platform("linux/386");
	entries[2].platform = entries[3].platform = host;
	assert_int_equal(index_choose(&index, &host, &chosen, &err), 0);
	assert_string_equal(chosen->digest, "3"); /* zstd breaks the tie */
	host = platform("linux/arm64");
	assert_int_equal(index_choose(&index, &host, &chosen, &err), 0);
	assert_string_equal(chosen->digest, "0"); /* says nothing: its config decides */
	index.entries.items++;
	index.entries.count--;
	assert_int_equal(index_choose(&index, &host, &chosen, &err), -1);
	assert_int_equal(err.code, CODE_NOT_FOUND);
	assert_non_null(strstr(err.msg, "linux/386"));
}

static void manifest_and_config_must_fit_each_other_and_the_host(void **arg)
{
	cleanup(document_release) struct document document = { 0 };
	char *ids[] = { (char *)(uintptr_t)D1, NULL };
	struct image_config config = { .diff_ids = ids };
	struct platform host = platform("linux/amd64");
	struct err err = { 0 };

	(void)arg;
	config.platform = platform("linux/amd64");
	assert_int_equal(parse(MANIFEST, NULL, &document, &err), 0);
	assert_int_equal(image_check(&document, &config, &host, "x", &err), 0);
	config.platform = platform("linux/arm64");
	assert_int_equal(image_check(&document, &config, &host, "x", &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
	config.platform = host;
	ids[0] = NULL;
	assert_int_equal(image_check(&document, &config, &host, "x", &err), -1);
	assert_non_null(strstr(err.msg, "1 layers, but 0 diffIDs"));
}

static void layer_types_are_known_by_name(void **arg)
{
	(void)arg;
	assert_true(media_is_layer(MEDIA_OCI_LAYER));
	assert_true(media_is_layer(MEDIA_OCI_LAYER "+zstd"));
	assert_true(media_is_layer(MEDIA_DOCKER_LAYER ".gzip"));
	assert_true(media_is_layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
	assert_false(media_is_layer(MEDIA_OCI_LAYER "+gzip+encrypted"));
	assert_false(media_is_layer("application/vnd.in-toto+json"));
	assert_false(media_is_layer(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_gives_config_and_layers),
		cmocka_unit_test(an_index_gives_platforms_and_names),
		cmocka_unit_test(a_document_that_is_two_things_is_none),
		cmocka_unit_test(old_and_foreign_documents_are_named),
		cmocka_unit_test(bad_descriptors_are_refused),
		cmocka_unit_test(a_config_gives_platform_user_and_diff_ids),
		cmocka_unit_test(a_config_without_rootfs_is_an_artifact),
		cmocka_unit_test(platforms_have_one_spelling),
		cmocka_unit_test(a_host_runs_its_own_kind_best_and_older_ones_too),
		cmocka_unit_test(the_index_entry_that_suits_best_is_chosen),
		cmocka_unit_test(manifest_and_config_must_fit_each_other_and_the_host),
		cmocka_unit_test(layer_types_are_known_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
