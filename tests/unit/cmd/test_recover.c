/* Records as people read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/recover.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/state/record.pb.h"

static struct record_text describe(enum record_kind kind, const void *msg)
{
	cleanup(buf_release) struct buf bytes = { 0 };
	struct record_text t;
	struct err err = { 0 };

	buf_init(&bytes, RECORD_MAX_BYTES);
	assert_int_equal(pb_encode_msg(&bytes, record_info(kind)->desc, msg, &err), 0);
	record_describe(&(struct record){ .kind = (uint16_t)kind,
	                                  .payload = (const uint8_t *)bytes.data,
	                                  .len = (uint32_t)bytes.len },
	                &t);
	return t;
}

static void every_kind_about_an_object_tells_which(void **arg)
{
	/* the first field of these messages is the id; kinds without an object are left out */
	static const enum record_kind without[] = { RECORD_BOOT, RECORD_RUNTIME_CONFIG,
		                                    RECORD_SNAP_META };

	(void)arg;
	for (uint16_t kind = 0; kind < 100; kind++) {
		static const uint8_t payload[] = { 0x0a, 3, 'x', 'y', 'z' };
		const struct record_info *info = record_info(kind);
		struct record_text t;
		bool is_object = info;

		for (size_t i = 0; i < ARRAY_SIZE(without); i++)
			is_object &= kind != without[i];
		record_describe(&(struct record){ .kind = kind,
		                                  .payload = payload,
		                                  .len = sizeof(payload) },
		                &t);
		if (is_object)
			assert_string_equal(t.subject, "xyz");
		if (is_object && !t.text[0])
			fail_msg("%s says nothing", info->name);
	}
}

static void an_exit_tells_code_reason_and_message(void **arg)
{
	struct record_text t =
		describe(RECORD_CONTAINER_EXITED,
	                 &(rec_ContainerExited){ .id = (char *)"c1",
	                                         .exit_code = 255,
	                                         .reason = (char *)"Unknown",
	                                         .message = (char *)"node rebooted" });

	(void)arg;
	assert_string_equal(t.subject, "c1");
	assert_string_equal(t.text, "exit code 255 (Unknown): node rebooted");
}

static void a_container_tells_its_name_and_its_pod(void **arg)
{
	struct record_text t =
		describe(RECORD_CONTAINER_CREATING, &(rec_Container){ .id = (char *)"c1",
	                                                              .name = (char *)"web",
	                                                              .sandbox_id = (char *)"p1",
	                                                              .image_ref = (char *)"img" });

	(void)arg;
	assert_string_equal(t.owner, "p1");
	assert_string_equal(t.name, "container web of pod p1");
	assert_string_equal(t.text, "container web of pod p1, attempt 0, image img");
}

static void an_undo_is_no_removal_and_a_stuck_one_names_its_step(void **arg)
{
	struct record_text t;

	(void)arg;
	t = describe(RECORD_SANDBOX_REMOVING, &(rec_Removing){ .id = (char *)"p1" });
	assert_string_equal(t.text, "is being removed");
	t = describe(RECORD_SANDBOX_REMOVING, &(rec_Removing){ .id = (char *)"p1", .undo = true });
	assert_string_equal(t.text, "its creation is undone");
	t = describe(RECORD_SANDBOX_REMOVING,
	             &(rec_Removing){ .id = (char *)"p1", .undo = true, .step = 3 });
	assert_string_equal(t.text, "undo of its creation is stuck at step 2");
}

static void many_names_are_cut_not_overrun(void **arg)
{
	char name[100], *names[20];
	struct record_text t;

	(void)arg;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		names[i] = name;
	t = describe(RECORD_IMAGE_ADDED, &(rec_Image){ .id = (char *)"sha256:ab",
	                                               .names = names,
	                                               .names_count = ARRAY_SIZE(names) });
	assert_int_equal(strlen(t.text), sizeof(t.text) - 1);
	assert_int_equal(strlen(t.name), sizeof(t.name) - 1);
	assert_true(starts_with(t.name, "image nnn"));
}

static void what_cannot_be_decoded_says_so(void **arg)
{
	static const uint8_t junk[] = { 0x0a, 200, 'x' };
	struct record_text t;

	(void)arg;
	record_describe(&(struct record){ .kind = RECORD_CONTAINER_EXITED,
	                                  .payload = junk,
	                                  .len = sizeof(junk) },
	                &t);
	assert_string_equal(t.subject, "");
	assert_true(starts_with(t.text, "cannot be followed: "));
	record_describe(&(struct record){ .kind = 9999 }, &t);
	assert_string_equal(t.text, "kind 9999 is not known to this version");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_about_an_object_tells_which),
		cmocka_unit_test(an_exit_tells_code_reason_and_message),
		cmocka_unit_test(a_container_tells_its_name_and_its_pod),
		cmocka_unit_test(an_undo_is_no_removal_and_a_stuck_one_names_its_step),
		cmocka_unit_test(many_names_are_cut_not_overrun),
		cmocka_unit_test(what_cannot_be_decoded_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
