/* A request message for each RPC: the first byte picks the row, the rest is what a client sent.
 * What decodes and passes its check can be encoded again and then decodes to the same encoding. */
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "cri/grpc/grpc.h"
#include "cri/rpc/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_fields(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct buf wire = { 0 }, back = { 0 }, again = { 0 };
	int64_t ns;

	ignore(grpc_timeout_parse(text, &ns));
	buf_init(&wire, 1 << 20);
	buf_init(&back, 1 << 20);
	buf_init(&again, 1 << 20);
	ensure(grpc_message_encode(&wire, text) == 0);
	ensure(grpc_message_decode(&back, (struct str){ or_empty(wire.data), wire.len }) == 0);
	ensure(str_utf8_valid((struct str){ or_empty(back.data), back.len }));
	/* repairing is done once: what came back is stable, unless it was cut */
	if (back.len < 4000) {
		ensure(grpc_message_encode(&again, (struct str){ or_empty(back.data), back.len }) ==
		       0);
		ensure(again.len == wire.len &&
		       memcmp(or_empty(again.data), or_empty(wire.data), wire.len) == 0);
	}
	buf_release(&wire);
	buf_release(&back);
	buf_release(&again);
}

static void *decode(struct pb_arena *arena, const struct rpc_row *row, const void *data,
                    size_t size, struct err *err)
{
	void *request = pb_arena_alloc(arena, row->request_size);

	if (!request || pb_decode_msg(arena, row->request, request, data, size, "request", err) < 0)
		return NULL;
	return request;
}

static void request_of(const struct rpc_row *row, const uint8_t *data, size_t size)
{
	struct pb_arena *arena = pb_arena_new(pb_budget_for(size)),
			*second = pb_arena_new(pb_budget_for(size));
	struct buf once = { 0 }, twice = { 0 };
	struct err err = { 0 };
	void *request = decode(arena, row, data, size, &err);

	buf_init(&once, 16 << 20);
	buf_init(&twice, 16 << 20);
	if (!request) {
		ensure(err.code == CODE_INVALID_ARGUMENT || err.code == CODE_RESOURCE_EXHAUSTED);
	} else {
		if (row->check && row->check(request, &err) < 0)
			ensure(err.code == CODE_INVALID_ARGUMENT && err.msg[0]);
		ensure(pb_encode_msg(&once, row->request, request, &err) == 0);
		request = decode(second, row, once.data ? once.data : "", once.len, &err);
		/* an encoding may need more memory than the original's size allows for: that is no
		 * contradiction */
		if (request) {
			ensure(pb_encode_msg(&twice, row->request, request, &err) == 0);
			ensure(once.len == twice.len &&
			       memcmp(or_empty(once.data), or_empty(twice.data), once.len) == 0);
		} else {
			ensure(err.code == CODE_RESOURCE_EXHAUSTED);
		}
	}
	buf_release(&once);
	buf_release(&twice);
	pb_arena_free(arena);
	pb_arena_free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct rpc_row *row;

	if (size == 0)
		return 0;
	row = service_row(data[0]);
	if (row)
		request_of(row, data + 1, size - 1);
	else
		text_fields(data + 1, size - 1);
	return 0;
}
