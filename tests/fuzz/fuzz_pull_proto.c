/* What a pull process may send to the daemon (first byte: which decoder), and what is accepted can be sent again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/image/pull_proto.h"
#include "core/image/unpack_wire.h"

static void result(const uint8_t *data, size_t size)
{
	cleanup(pull_result_release) struct pull_result result = { 0 };
	cleanup(pull_result_release) struct pull_result again = { 0 };
	cleanup(buf_release) struct buf frame = { 0 };
	struct err err = { 0 };

	if (pull_get_result(data, size, &result, &err) < 0)
		return;
	buf_init(&frame, PULL_FRAME_HEAD + PULL_FRAME_MAX);
	ensure(pull_put_result(&frame, &result, &err) == 0);
	ensure(pull_get_result(frame.data + PULL_FRAME_HEAD, frame.len - PULL_FRAME_HEAD, &again,
	                       &err) == 0);
	ensure(strcmp(result.id, again.id) == 0 && result.nlayers == again.nlayers &&
	       result.config_len == again.config_len);
}

static void unpack_entry(const uint8_t *data, size_t size)
{
	cleanup(buf_release) struct buf frame = { 0 };
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	struct tar_entry entry;
	struct err err = { 0 };

	if (unpack_get_entry(data, size, &entry, xattrs, &err) < 0)
		return;
	ensure(entry.path[0] && strlen(entry.path) <= TAR_PATH_MAX);
	buf_init(&frame, UNPACK_FRAME_HEAD + UNPACK_FRAME_MAX);
	if (unpack_put_entry(&frame, &entry, &err) == 0)
		ensure(frame.len == size + UNPACK_FRAME_HEAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(strv_free) char **keys = NULL;
	struct pull_progress progress;
	struct unpack_reply reply;
	struct err theirs = { 0 }, err = { 0 };
	bool have[4];

	if (size == 0)
		return 0;
	switch (data[0] % 7) {
	case 0:
		result(data + 1, size - 1);
		break;
	case 1:
		ignore(pull_get_progress(data + 1, size - 1, &progress,
		                         &err)); /* no crash is the point of these */
		break;
	case 2:
		ignore(pull_get_want(data + 1, size - 1, &keys, &err));
		break;
	case 3:
		if (pull_get_error(data + 1, size - 1, &theirs, &err) == 0)
			ensure(theirs.code != CODE_OK);
		break;
	case 4:
		unpack_entry(data + 1, size - 1);
		break;
	case 5:
		ignore(unpack_get_reply(data + 1, size - 1, &reply, &err));
		break;
	default:
		ignore(pull_get_layers(data + 1, size - 1, have, ARRAY_SIZE(have), &err));
		break;
	}
	return 0;
}
