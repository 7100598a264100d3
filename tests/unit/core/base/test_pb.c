#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pb_encode.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/rand.h"
#include "tests/unit/core/base/dies.h"
#include "tests/unit/core/base/pb_sample.h"

#define MIB ((size_t)1024 * 1024)

static int setup(void **arg)
{
	*arg = pb_arena_new(8 * MIB);
	return 0;
}

static int teardown(void **arg)
{
	pb_arena_free(*arg);
	return 0;
}

/* What nanopb's own encoder makes of it. */
static void reference(const pb_msgdesc_t *desc, const void *msg, struct buf *out)
{
	pb_ostream_t stream;
	size_t size;
	char *room;

	assert_true(pb_get_encoded_size(&size, desc, msg));
	buf_init(out, 16 * MIB);
	room = buf_reserve(out, size);
	stream = pb_ostream_from_buffer((pb_byte_t *)room, size);
	assert_true(pb_encode(&stream, desc, msg));
	buf_grew(out, size);
}

/* Ours has the same size, and means the same to nanopb. */
static void assert_encodes(struct pb_arena *arena, const struct sample *msg)
{
	cleanup(buf_release) struct buf ours = { 0 };
	cleanup(buf_release) struct buf theirs = { 0 };
	cleanup(buf_release) struct buf again = { 0 };
	struct sample back;
	struct err err = { .code = CODE_OK };

	buf_init(&ours, 16 * MIB);
	assert_int_equal(pb_encode_msg(&ours, &sample_msg, msg, &err), 0);
	reference(&sample_msg, msg, &theirs);
	assert_int_equal(ours.len, theirs.len);
	if (pb_decode_msg(arena, &sample_msg, &back, ours.data, ours.len, "sample", &err) < 0)
		fail_msg("%s", err.msg);
	reference(&sample_msg, &back, &again);
	assert_int_equal(again.len, theirs.len);
	assert_memory_equal(again.data, theirs.data, theirs.len);
}

static uint64_t number(void)
{
	uint64_t value = rand_u64();

	return value >> (value % 64); /* every length of varint */
}

static char *word(struct pb_arena *arena)
{
	static const char *const words[] = {
		NULL, "", "a", "k8s.io/name", "\xe2\x82\xac", "0123456789012345678901234567890"
	};

	return pb_arena_strdup(arena, words[rand_u64() % ARRAY_SIZE(words)]);
}

static pb_bytes_array_t *blob(struct pb_arena *arena)
{
	char data[300];
	size_t len = rand_u64() % sizeof(data);

	rand_bytes(data, sizeof(data));
	return len % 5 == 0 ? NULL : pb_arena_bytes(arena, data, len);
}

static struct leaf random_leaf(struct pb_arena *arena)
{
	return (struct leaf){ .x = (uint32_t)number(), .raw = blob(arena) };
}

static pb_size_t some(void)
{
	return (pb_size_t)(rand_u64() % 5);
}

static struct inner random_inner(struct pb_arena *arena)
{
	struct inner made = { .name = word(arena),
		              .n = (int64_t)number(),
		              .has_deep = rand_u64() % 2 };

	if (rand_u64() % 4 == 0)
		return (struct inner){ .name = NULL };
	made.deep = random_leaf(arena);
	made.words_count = some();
	made.words = pb_arena_alloc(arena, made.words_count * sizeof(char *));
	for (pb_size_t i = 0; i < made.words_count; i++)
		made.words[i] = word(arena);
	return made;
}

#define FILL(field, value)                                                                         \
	do {                                                                                       \
		msg->field##_count = some();                                                       \
		msg->field = pb_arena_alloc(arena, msg->field##_count * sizeof(*msg->field));      \
		for (pb_size_t i = 0; i < msg->field##_count; i++)                                 \
			msg->field[i] = (value);                                                   \
	} while (0)

static void fill_lists(struct pb_arena *arena, struct sample *msg)
{
	FILL(packed, (int32_t)number());
	FILL(doubles, (double)number());
	FILL(flags, rand_u64() % 2);
	FILL(words, word(arena));
	FILL(blobs, blob(arena));
	FILL(inners, random_inner(arena));
	FILL(labels, ((struct label){ word(arena), word(arena) }));
	FILL(by, ((struct by){ (int32_t)number(), rand_u64() % 2, random_leaf(arena) }));
	FILL(zigzag, (int64_t)number() * (rand_u64() % 2 ? 1 : -1));
	FILL(fixed, (uint32_t)number());
	msg->few_count = some();
	for (pb_size_t i = 0; i < msg->few_count; i++)
		msg->few[i] = (int32_t)number();
	msg->leaves_count = some() % 4;
	for (pb_size_t i = 0; i < msg->leaves_count; i++)
		msg->leaves[i] = random_leaf(arena);
}

static void fill_pick(struct pb_arena *arena, struct sample *msg)
{
	switch (rand_u64() % 4) {
	case 0:
		msg->which_pick = 25;
		msg->pick.a = pb_arena_strdup(arena, "picked");
		break;
	case 1:
		msg->which_pick = 26;
		msg->pick.b = (uint32_t)(number() % 3); /* a picked zero is sent */
		break;
	case 2:
		msg->which_pick = 27;
		msg->pick.c = random_inner(arena);
		break;
	default:
		break;
	}
}

static void fill(struct pb_arena *arena, struct sample *msg)
{
	memset(msg, 0, sizeof(*msg));
	msg->yes = rand_u64() % 2;
	msg->i32 = (int32_t)number();
	msg->i64 = (int64_t)number();
	msg->u32 = (uint32_t)number();
	msg->u64 = number();
	msg->s32 = (int32_t)number();
	msg->s64 = -(int64_t)(number() >> 1);
	msg->f32 = (uint32_t)number();
	msg->f64 = number();
	msg->fl = (float)number();
	msg->db = (double)number();
	msg->kind = (enum kind)(rand_u64() % 3);
	msg->text = word(arena);
	msg->raw = blob(arena);
	msg->has_inner = rand_u64() % 2;
	msg->inner = random_inner(arena);
	msg->has_maybe = rand_u64() % 2;
	msg->maybe = (int32_t)(number() % 2);
	fill_lists(arena, msg);
	fill_pick(arena, msg);
	memcpy(msg->fixed_text, "0123456789abcde", rand_u64() % 16);
	msg->fixed_raw.size = (pb_size_t)(rand_u64() % 17);
	memset(msg->fixed_raw.bytes, 0x5a, msg->fixed_raw.size);
	rand_bytes(msg->exact, rand_u64() % 2 ? sizeof(msg->exact) : 0);
	if (rand_u64() % 2) {
		msg->on_heap = pb_arena_alloc(arena, sizeof(*msg->on_heap));
		*msg->on_heap = random_inner(arena);
	}
	if (rand_u64() % 2)
		msg->bare = random_leaf(arena);
	msg->small = (uint8_t)number();
	msg->small_signed = (int16_t)number();
}

static void every_kind_of_field_encodes_as_the_reference_does(void **arg)
{
	struct pb_arena *arena = *arg;
	struct sample msg;

	memset(&msg, 0, sizeof(msg));
	assert_encodes(arena, &msg);
	rand_seed_for_tests(20251125);
	for (int i = 0; i < 400; i++) {
		pb_arena_reset(arena);
		fill(arena, &msg);
		assert_encodes(arena, &msg);
	}
}

static void extremes_encode_as_the_reference_does(void **arg)
{
	struct sample msg;

	memset(&msg, 0, sizeof(msg));
	msg.i32 = INT32_MIN;
	msg.i64 = INT64_MIN;
	msg.u32 = UINT32_MAX;
	msg.u64 = UINT64_MAX;
	msg.s32 = INT32_MIN;
	msg.s64 = INT64_MIN;
	msg.fl = -0.0F; /* not the default: its bits are not zero */
	msg.small = UINT8_MAX;
	msg.small_signed = INT16_MIN;
	assert_encodes(*arg, &msg);
	msg.s32 = INT32_MAX;
	msg.s64 = INT64_MAX;
	assert_encodes(*arg, &msg);
}

static void fields_are_appended_last_first(void **arg)
{
	static const char want[] =
		"head\xc0\x3e\x07\xf2\x01\x04\x00\x00\x00\x00\x7a\x06\x1a\x01w\x0a\x01n\x08\x01";
	struct sample msg = { .yes = true, .small = 7, .has_inner = true };
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { .code = CODE_OK };
	char *words[] = { (char[]){ "w" } };

	(void)arg;
	msg.inner = (struct inner){ .name = (char[]){ "n" }, .words_count = 1, .words = words };
	buf_init(&out, 100);
	assert_int_equal(buf_add_str(&out, "head"), 0);
	assert_int_equal(pb_encode_msg(&out, &sample_msg, &msg, &err), 0);
	assert_int_equal(out.len, sizeof(want) - 1);
	assert_memory_equal(out.data, want, sizeof(want)); /* the terminator, too */
}

static void an_empty_message_is_no_bytes(void **arg)
{
	const struct label nothing = { NULL, NULL };
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { .code = CODE_OK };

	(void)arg;
	buf_init(&out, 0);
	assert_int_equal(pb_encode_msg(&out, &label_msg, &nothing, &err), 0);
	assert_int_equal(out.len, 0);
}

static void large_messages_outgrow_the_room_again_and_again(void **arg)
{
	struct pb_arena *arena = *arg;
	struct sample msg;

	memset(&msg, 0, sizeof(msg));
	msg.labels_count = 20000;
	msg.labels = pb_arena_alloc(arena, msg.labels_count * sizeof(*msg.labels));
	for (pb_size_t i = 0; i < msg.labels_count; i++)
		msg.labels[i] = (struct label){ pb_arena_printf(arena, "key-%u", i),
			                        pb_arena_printf(arena, "%u", i * 7) };
	assert_encodes(arena, &msg);
}

static void a_full_buffer_keeps_what_it_had(void **arg)
{
	struct label pair = { (char[]){ "0123456789" }, (char[]){ "0123456789" } };
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { .code = CODE_OK };

	(void)arg;
	/* 24 bytes: none less will do */
	for (size_t max = 4; max < 28; max++) {
		buf_init(&out, max);
		assert_int_equal(buf_add_str(&out, "head"), 0);
		assert_int_equal(pb_encode_msg(&out, &label_msg, &pair, &err), -1);
		assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
		assert_int_equal(out.len, 4);
		assert_string_equal(out.data, "head");
		buf_release(&out);
	}
	buf_init(&out, 28);
	assert_int_equal(buf_add_str(&out, "head"), 0);
	assert_int_equal(pb_encode_msg(&out, &label_msg, &pair, &err), 0);
	assert_int_equal(out.len, 28);
}

static void foreign_text_is_not_sent_and_its_place_is_named(void **arg)
{
	char *words[] = { (char[]){ "fine" }, (char[]){ "\xff" } };
	struct inner inners[] = { { .name = NULL }, { .words_count = 2, .words = words } };
	struct sample msg = { .inners_count = 2, .inners = inners };
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { .code = CODE_OK };

	(void)arg;
	buf_init(&out, 1000);
	assert_int_equal(buf_add_str(&out, "head"), 0);
	assert_int_equal(pb_encode_msg(&out, &sample_msg, &msg, &err), -1);
	assert_int_equal(err.code, CODE_INTERNAL);
	assert_non_null(strstr(err.msg, "field 22.3: not valid UTF-8"));
	assert_string_equal(out.data, "head");
}

static int decode(struct pb_arena *arena, struct sample *msg, const void *data, size_t len,
                  struct err *err)
{
	return pb_decode_msg(arena, &sample_msg, msg, data, len, "RunRequest", err);
}

static void malformed_requests_are_the_clients_fault(void **arg)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\x08", 1 }, /* no value */
		{ "\x6a\x05"
		  "abc",
		  5 },                 /* a string that ends early */
		{ "\x7a\x7f\x0a", 3 }, /* a message that ends early */
		{ "\x00\x01", 2 },     /* field 0 */
		{ "\x6b\x6c", 2 },     /* a group */
		{ "\x69"
		  "12345678",
		  9 },                 /* a string sent as fixed64 */
		{ "\x6a\x01\xff", 3 }, /* not UTF-8 */
		{ "\x7a\x03\x0a\x01\xc0", 5 },
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = { .code = CODE_OK };
		struct sample msg;

		if (decode(*arg, &msg, bad[i].bytes, bad[i].len, &err) != -1)
			fail_msg("row %zu was accepted", i);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
		assert_int_equal(strncmp(err.msg, "RunRequest: malformed: ", 23), 0);
	}
}

static void what_is_absent_is_zero_whatever_was_there(void **arg)
{
	struct err err = { .code = CODE_OK };
	struct sample msg;

	memset(&msg, 0xff, sizeof(msg));
	assert_int_equal(decode(*arg, &msg, "", 0, &err), 0);
	assert_null(msg.text);
	assert_null(msg.words);
	assert_int_equal(msg.words_count, 0);
	assert_false(msg.has_inner);
	assert_false(msg.yes);
	assert_int_equal(msg.which_pick, 0);
	/* a field of tomorrow */
	assert_int_equal(decode(*arg, &msg, "\xd2\x0f\x02xy\x08\x01", 7, &err), 0);
	assert_true(msg.yes);
}

static void a_string_with_a_nul_is_refused_wherever_it_hides(void **arg)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *where;
	} bad[] = {
		{ "\x6a\x03"
		  "a\0b",
		  5, "field 13" },
		{ "\x6a\x01\0", 3, "field 13" },                   /* alone */
		{ "\xa2\x01\x01x\xa2\x01\x02y\0", 9, "field 20" }, /* second of a list */
		{ "\x7a\x04\x1a\x02y\0", 6, "field 15.3" },        /* in a message */
		{ "\xb2\x01\x00\xb2\x01\x04\x0a\x02y\0", 10,
		  "field 22.1" }, /* in a list of messages */
		{ "\xba\x01\x07\x0a\x01k\x12\x02v\0", 10, "field 23.2" }, /* a map's value */
		{ "\xca\x01\x02z\0", 5, "field 25" },                     /* picked */
		{ "\xda\x01\x04\x0a\x02z\0", 7, "field 27.1" },
		{ "\xe2\x01\x03"
		  "a\0b",
		  6, "field 28" },                              /* in a fixed array */
		{ "\x82\x02\x04\x0a\x02z\0", 7, "field 32.1" }, /* behind a pointer */
	};
	struct sample msg;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = { .code = CODE_OK };

		if (decode(*arg, &msg, bad[i].bytes, bad[i].len, &err) != -1)
			fail_msg("row %zu was accepted", i);
		assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
		if (!strstr(err.msg, bad[i].where))
			fail_msg("row %zu: %s", i, err.msg);
	}
}

static void the_last_of_several_strings_wins(void **arg)
{
	struct err err = { .code = CODE_OK };
	struct sample msg;

	assert_int_equal(decode(*arg, &msg,
	                        "\x6a\x06"
	                        "longer\x6a\x01x\x6a\x02yz",
	                        15, &err),
	                 0);
	assert_string_equal(msg.text, "yz");
}

static void small_requests_cannot_make_large_messages(void **arg)
{
	static const uint8_t empty_message[] = { 0xb2, 0x01, 0x00 };
	cleanup_free char *wire = xcalloc(200000, 3);
	struct pb_arena *arena = pb_arena_new(MIB);
	struct err err = { .code = CODE_OK };
	struct sample msg;

	(void)arg;
	for (size_t i = 0; i < 200000; i++)
		memcpy(wire + 3 * i, empty_message, sizeof(empty_message)); /* 56 bytes each */
	assert_int_equal(decode(arena, &msg, wire, 600000, &err), -1);
	assert_int_equal(err.code, CODE_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.msg, "RunRequest: takes more than 1048576 bytes of memory"));
	assert_true(pb_arena_used(arena) <= MIB);

	/* a malformed one is not mistaken for a large one */
	assert_int_equal(decode(arena, &msg, "\x08", 1, &err), -1);
	assert_int_equal(err.code, CODE_INVALID_ARGUMENT);
	/* the same arena serves the next request */
	pb_arena_reset(arena);
	assert_int_equal(decode(arena, &msg, wire, 3000, &err), 0);
	assert_int_equal(msg.inners_count, 1000);
	pb_arena_free(arena);
}

static void the_budget_grows_with_the_request_up_to_a_limit(void **arg)
{
	(void)arg;
	assert_int_equal(pb_budget_for(0), MIB);
	assert_int_equal(pb_budget_for(1000), MIB + 16000);
	assert_int_equal(pb_budget_for(16 * MIB), 64 * MIB);
	assert_int_equal(pb_budget_for(SIZE_MAX), 64 * MIB);
}

static void long_lists_cost_memory_in_proportion(void **arg)
{
	enum { COUNT = 50000 };
	static const uint8_t one_word[] = { 0xa2, 0x01, 0x01, 'w' };
	cleanup_free char *wire = xcalloc(COUNT, 4);
	struct err err = { .code = CODE_OK };
	struct sample msg;

	for (size_t i = 0; i < COUNT; i++)
		memcpy(wire + 4 * i, one_word, sizeof(one_word));
	assert_int_equal(decode(*arg, &msg, wire, (size_t)COUNT * 4, &err), 0);
	assert_int_equal(msg.words_count, COUNT);
	assert_string_equal(msg.words[COUNT - 1], "w");
	/* 16 bytes a string, at most 4 pointers a place, with what doubling left behind */
	assert_true(pb_arena_used(*arg) < (size_t)COUNT * (16 + 4 * sizeof(char *)) + 65536);
}

static void arena_memory_is_zeroed_aligned_and_bounded(void **arg)
{
	struct pb_arena *arena = *arg;

	for (size_t size = 0; size < 300; size++) {
		unsigned char *p = pb_arena_alloc(arena, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 8, 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
	assert_non_null(pb_arena_alloc(arena, 4 * MIB));
	assert_null(pb_arena_alloc(arena, 4 * MIB));
	assert_null(pb_arena_alloc(arena, SIZE_MAX));
	assert_non_null(pb_arena_alloc(arena, MIB)); /* what still fits, fits */
	pb_arena_reset(arena);
	assert_int_equal(pb_arena_used(arena), 0);
	{
		unsigned char *p = pb_arena_alloc(arena, 300);

		for (size_t i = 0; i < 300; i++)
			assert_int_equal(p[i], 0); /* again, after a reset */
	}
}

static void text_and_bytes_are_copied_into_the_arena(void **arg)
{
	struct pb_arena *arena = *arg;
	const pb_bytes_array_t *bytes;

	assert_null(pb_arena_strdup(arena, NULL));
	assert_string_equal(pb_arena_strdup(arena, "text"), "text");
	assert_string_equal(pb_arena_strndup(arena, "text", 2), "te");
	assert_string_equal(pb_arena_strndup(arena, NULL, 0), "");
	assert_string_equal(pb_arena_printf(arena, "%s-%d", "pod", 7), "pod-7");
	bytes = pb_arena_bytes(arena, "a\0b", 3);
	assert_int_equal(bytes->size, 3);
	assert_memory_equal(bytes->bytes, "a\0b", 3);
	assert_int_equal(pb_arena_bytes(arena, NULL, 0)->size, 0);
	assert_null(pb_arena_strndup(arena, "x", SIZE_MAX));
	assert_null(pb_arena_bytes(arena, "x", 9 * MIB));
}

static void foreign_text_is_made_sendable(void **arg)
{
	struct pb_arena *arena = *arg;

	assert_string_equal(pb_utf8(arena, STR("plain")), "plain");
	assert_string_equal(pb_utf8(arena, STR("")), "");
	assert_string_equal(pb_utf8(arena, STR("a\xff\xe2\x82z\0e\xe2\x82\xac")),
	                    "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd"
	                    "e\xe2\x82\xac");
}

static void *decode_many(void *arg)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(MIB);
	const char *wire = arg;
	struct err err = { .code = CODE_OK };

	for (int i = 0; i < 2000; i++) {
		struct sample msg;

		pb_arena_reset(arena);
		if (decode(arena, &msg, wire, strlen(wire), &err) < 0 ||
		    strcmp(msg.text, wire + 2) != 0)
			return arg;
	}
	return NULL;
}

static void threads_decode_into_arenas_of_their_own(void **arg)
{
	static char first[] = "\x6a\x05"
			      "first";
	static char other[] = "\x6a\x0c"
			      "another text";
	pthread_t a, b;
	void *bad = NULL;

	(void)arg;
	assert_int_equal(pthread_create(&a, NULL, decode_many, first), 0);
	assert_int_equal(pthread_create(&b, NULL, decode_many, other), 0);
	assert_int_equal(pthread_join(a, &bad), 0);
	assert_null(bad);
	assert_int_equal(pthread_join(b, &bad), 0);
	assert_null(bad);
}

static void claim_too_many(void)
{
	struct sample msg = { .few_count = 5 };
	struct err err = { .code = CODE_OK };
	struct buf out;

	buf_init(&out, 1000);
	ignore(pb_encode_msg(&out, &sample_msg, &msg, &err) < 0);
}

static void a_count_beyond_its_array_is_a_bug(void **arg)
{
	(void)arg;
	assert_true(dies(claim_too_many));
}

int main(void)
{
#define PB_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		PB_TEST(every_kind_of_field_encodes_as_the_reference_does),
		PB_TEST(extremes_encode_as_the_reference_does),
		PB_TEST(fields_are_appended_last_first),
		PB_TEST(an_empty_message_is_no_bytes),
		PB_TEST(large_messages_outgrow_the_room_again_and_again),
		PB_TEST(a_full_buffer_keeps_what_it_had),
		PB_TEST(foreign_text_is_not_sent_and_its_place_is_named),
		PB_TEST(malformed_requests_are_the_clients_fault),
		PB_TEST(what_is_absent_is_zero_whatever_was_there),
		PB_TEST(a_string_with_a_nul_is_refused_wherever_it_hides),
		PB_TEST(the_last_of_several_strings_wins),
		PB_TEST(small_requests_cannot_make_large_messages),
		PB_TEST(the_budget_grows_with_the_request_up_to_a_limit),
		PB_TEST(long_lists_cost_memory_in_proportion),
		PB_TEST(arena_memory_is_zeroed_aligned_and_bounded),
		PB_TEST(text_and_bytes_are_copied_into_the_arena),
		PB_TEST(foreign_text_is_made_sendable),
		PB_TEST(threads_decode_into_arenas_of_their_own),
		PB_TEST(a_count_beyond_its_array_is_a_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
