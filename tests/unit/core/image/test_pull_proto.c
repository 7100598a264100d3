#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/image/blob.h"
#include "core/image/pull_proto.h"
#include "core/image/unpack_wire.h"

#define KEY "sha256:1111111111111111111111111111111111111111111111111111111111111111"

static const uint8_t *payload(const struct buf *frame, enum pull_frame expected, size_t *ret_len)
{
	enum pull_frame type;
	struct err err = { 0 };

	assert_true(frame->len >= PULL_FRAME_HEAD);
	assert_int_equal(pull_get_head((const uint8_t *)frame->data, &type, ret_len, &err), 0);
	assert_int_equal(type, expected);
	assert_int_equal(*ret_len, frame->len - PULL_FRAME_HEAD);
	return (const uint8_t *)frame->data + PULL_FRAME_HEAD;
}

static void a_request_survives_the_wire(void **arg)
{
	struct pull_request in = { .import = true,
		                   .name = (char *)(uintptr_t) "a:1",
		                   .platform = (char *)(uintptr_t) "linux/arm64",
		                   .free_bytes = 5,
		                   .free_inodes = 6 };
	cleanup(pull_request_release) struct pull_request out = { 0 };
	cleanup(buf_release) struct buf frame = { 0 };
	struct err err = { 0 };
	const uint8_t *p;
	size_t len;

	(void)arg;
	buf_init(&frame, 4096);
	assert_int_equal(pull_put_request(&frame, &in, &err), 0);
	p = payload(&frame, PULL_REQUEST, &len);
	assert_int_equal(pull_get_request(p, len, &out, &err), 0);
	assert_true(out.import);
	assert_string_equal(out.name, "a:1");
	assert_string_equal(out.platform, "linux/arm64");
	assert_null(out.registry);
	assert_int_equal(out.free_bytes, 5);
	assert_int_equal(out.free_inodes, 6);
}

struct sample {
	struct pull_result result;
	char id[DIGEST_SHA256_TEXT], manifest_digest[DIGEST_SHA256_TEXT];
	char *names[2], *digests[2];
	struct pull_layer layers[2];
};

static void sample_init(struct sample *s)
{
	*s = (struct sample){ .names = { (char *)(uintptr_t) "docker.io/library/a:1" },
		              .digests = { (char *)(uintptr_t) "docker.io/library/a@" KEY },
		              .layers = { { .key = (char *)(uintptr_t)KEY,
		                            .slot = 3,
		                            .size_bytes = 4,
		                            .inodes = 5,
		                            .has_root = true },
		                          { .key = (char *)(uintptr_t)KEY, .slot = -1 } } };
	digest_sha256_text("config", 6, s->id);
	digest_sha256_text("manifest", 8, s->manifest_digest);
	s->result = (struct pull_result){ .id = s->id,
		                          .names = s->names,
		                          .digests = s->digests,
		                          .manifest_digest = s->manifest_digest,
		                          .user = (char *)(uintptr_t) "1:2",
		                          .size_bytes = 99,
		                          .layers = s->layers,
		                          .nlayers = 2,
		                          .manifest = (char *)(uintptr_t) "manifest",
		                          .manifest_len = 8,
		                          .config = (char *)(uintptr_t) "config",
		                          .config_len = 6 };
}

static int through_the_wire(const struct pull_result *in, struct pull_result *out, struct err *err)
{
	cleanup(buf_release) struct buf frame = { 0 };
	const uint8_t *p;
	size_t len;

	buf_init(&frame, 65536);
	assert_int_equal(pull_put_result(&frame, in, err), 0);
	p = payload(&frame, PULL_RESULT, &len);
	return pull_get_result(p, len, out, err);
}

static void a_result_survives_the_wire(void **arg)
{
	cleanup(pull_result_release) struct pull_result out = { 0 };
	struct err err = { 0 };
	struct sample s;

	(void)arg;
	sample_init(&s);
	if (through_the_wire(&s.result, &out, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(out.id, s.id);
	assert_string_equal(out.names[0], s.names[0]);
	assert_string_equal(out.digests[0], s.digests[0]);
	assert_string_equal(out.user, "1:2");
	assert_int_equal(out.size_bytes, 99);
	assert_int_equal(out.nlayers, 2);
	assert_int_equal(out.layers[0].slot, 3);
	assert_true(out.layers[0].has_root);
	assert_int_equal(out.layers[1].slot, -1);
	assert_int_equal(out.manifest_len, 8);
	assert_string_equal(out.config, "config");
}

/* The pull process reads hostile input; what it then says is believed as little. */
static void a_result_that_lies_is_refused(void **arg)
{
	struct pull_result out = { 0 };
	struct err err = { 0 };
	struct sample s;

	(void)arg;
	sample_init(&s);
	s.result.config = (char *)(uintptr_t) "konfig";
	assert_int_equal(through_the_wire(&s.result, &out, &err), -1);
	sample_init(&s);
	s.result.manifest = (char *)(uintptr_t) "Manifest";
	assert_int_equal(through_the_wire(&s.result, &out, &err), -1);
	sample_init(&s);
	s.layers[0].key = (char *)(uintptr_t) "sha256:../../etc";
	assert_int_equal(through_the_wire(&s.result, &out, &err), -1);
	sample_init(&s);
	s.layers[0].slot = UNPACK_SLOT_MAX + 1;
	assert_int_equal(through_the_wire(&s.result, &out, &err), -1);
	sample_init(&s);
	s.names[0] = (char *)(uintptr_t) "a:1"; /* not canonical */
	assert_int_equal(through_the_wire(&s.result, &out, &err), -1);
	sample_init(&s);
	s.digests[0] = (char *)(uintptr_t) "../x";
	assert_int_equal(through_the_wire(&s.result, &out, &err), -1);
}

static void an_error_arrives_without_control_characters(void **arg)
{
	struct err in = { .code = CODE_DATA_LOSS, .sys = 5, .msg = "bad \033[2J name \xff" },
		   out = { 0 }, err = { 0 };
	cleanup(buf_release) struct buf frame = { 0 };
	const uint8_t *p;
	size_t len;

	(void)arg;
	buf_init(&frame, 4096);
	assert_int_equal(pull_put_error(&frame, &in, &err), 0);
	p = payload(&frame, PULL_ERROR, &len);
	assert_int_equal(pull_get_error(p, len, &out, &err), 0);
	assert_int_equal(out.code, CODE_DATA_LOSS);
	assert_int_equal(out.sys, 5);
	assert_string_equal(out.msg, "bad ?[2J name ?");
}

static void an_error_frame_cannot_claim_success(void **arg)
{
	const char *text = "{\"code\":0,\"message\":\"fine\"}";
	struct err out = { 0 }, err = { 0 };

	(void)arg;
	assert_int_equal(pull_get_error(text, strlen(text), &out, &err), 0);
	assert_int_equal(out.code, CODE_UNKNOWN);
}

static void wanted_keys_are_keys_and_answers_match(void **arg)
{
	char *keys[] = { (char *)(uintptr_t)KEY, (char *)(uintptr_t)KEY, NULL };
	cleanup(strv_free) char **out = NULL;
	cleanup(buf_release) struct buf frame = { 0 };
	struct err err = { 0 };
	bool have[2] = { true, false }, got[3];
	const uint8_t *p;
	size_t len;

	(void)arg;
	buf_init(&frame, 4096);
	assert_int_equal(pull_put_want(&frame, keys, 2, &err), 0);
	p = payload(&frame, PULL_WANT, &len);
	assert_int_equal(pull_get_want(p, len, &out, &err), 0);
	assert_int_equal(strv_len(out), 2);
	assert_int_equal(pull_get_want("{\"keys\":[\"x\"]}", 14, &out, &err), -1);
	assert_int_equal(pull_get_want("{}", 2, &out, &err), -1);

	buf_clear(&frame);
	assert_int_equal(pull_put_layers(&frame, have, 2, &err), 0);
	p = payload(&frame, PULL_LAYERS, &len);
	assert_int_equal(pull_get_layers(p, len, got, 2, &err), 0);
	assert_true(got[0]);
	assert_false(got[1]);
	assert_int_equal(pull_get_layers(p, len, got, 3, &err), -1);
}

static void a_frame_of_another_version_or_type_is_refused(void **arg)
{
	uint8_t head[PULL_FRAME_HEAD];
	enum pull_frame type;
	struct err err = { 0 };
	size_t len;

	(void)arg;
	pull_put_head(head, PULL_DONE, 5);
	assert_int_equal(pull_get_head(head, &type, &len, &err), 0);
	head[4]++;
	assert_int_equal(pull_get_head(head, &type, &len, &err), -1);
	pull_put_head(head, (enum pull_frame)99, 5);
	assert_int_equal(pull_get_head(head, &type, &len, &err), -1);
	pull_put_head(head, PULL_DONE, (size_t)PULL_FRAME_MAX + 1);
	assert_int_equal(pull_get_head(head, &type, &len, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_survives_the_wire),
		cmocka_unit_test(a_result_survives_the_wire),
		cmocka_unit_test(a_result_that_lies_is_refused),
		cmocka_unit_test(an_error_arrives_without_control_characters),
		cmocka_unit_test(an_error_frame_cannot_claim_success),
		cmocka_unit_test(wanted_keys_are_keys_and_answers_match),
		cmocka_unit_test(a_frame_of_another_version_or_type_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
