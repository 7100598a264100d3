/* Protobuf messages of a peer: the budget holds, no string ends early, and the backward encoder
 * says what nanopb's own encoder says. */
#include <stdint.h>
#include <string.h>

#include <pb_encode.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/pb.h"
#include "tests/unit/core/base/pb_sample.h"

#define MAX_BYTES ((size_t)64 * 1024 * 1024)

static void reference(const struct sample *msg, struct buf *out)
{
	pb_ostream_t stream;
	size_t size = 0;
	char *room;

	ensure(pb_get_encoded_size(&size, &sample_msg, msg));
	room = buf_reserve(out, size);
	ensure(room);
	stream = pb_ostream_from_buffer((pb_byte_t *)room, size);
	ensure(pb_encode(&stream, &sample_msg, msg));
	buf_grew(out, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(pb_budget_for(size));
	cleanup(pb_arena_free) struct pb_arena *second = pb_arena_new(MAX_BYTES);
	cleanup(buf_release) struct buf ours = { 0 }, theirs = { 0 }, again = { 0 };
	struct sample msg, back;
	struct err err = { .code = CODE_OK };
	int rc;

	buf_init(&ours, MAX_BYTES);
	buf_init(&theirs, MAX_BYTES);
	buf_init(&again, MAX_BYTES);

	rc = pb_decode_msg(arena, &sample_msg, &msg, data, size, "fuzz", &err);
	ensure(pb_arena_used(arena) <= pb_budget_for(size));
	ensure(rc == 0 || err.code == CODE_INVALID_ARGUMENT || err.code == CODE_RESOURCE_EXHAUSTED);
	if (rc < 0)
		return 0;

	ensure(pb_encode_msg(&ours, &sample_msg, &msg, &err) == 0);
	reference(&msg, &theirs);
	ensure(ours.len == theirs.len);
	ensure(pb_decode_msg(second, &sample_msg, &back, ours.data, ours.len, "again", &err) == 0);
	reference(&back, &again);
	ensure(again.len == theirs.len &&
	       (again.len == 0 || memcmp(again.data, theirs.data, again.len) == 0));
	return 0;
}
