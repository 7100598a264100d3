/* Frames between daemon and monitor: the first byte chooses a decoder; what it accepts encodes
 * to a frame that decodes to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/monitor/proto.h"

static void check_config(const uint8_t *data, size_t size, uint8_t *frame)
{
	struct monitor_config config, again;
	size_t len;

	if (monitor_decode_config(data, size, &config) < 0)
		return;
	len = monitor_encode_config(&config, 1, frame, MONITOR_CONFIG_MAX);
	ensure(len == MONITOR_HEADER_BYTES + size &&
	       memcmp(frame + MONITOR_HEADER_BYTES, data, size) == 0);
	ensure(monitor_decode_config(frame + MONITOR_HEADER_BYTES, size, &again) == 0);
}

static void check_call(const uint8_t *data, size_t size, uint8_t *frame)
{
	const char *argv[MONITOR_ARGV_MAX + 1];
	uint32_t timeout_ms;
	size_t len;

	if (monitor_decode_call(data, size, &timeout_ms, argv) < 0)
		return;
	len = monitor_encode_call(timeout_ms, argv, 1, frame, MONITOR_CONFIG_MAX);
	ensure(len == MONITOR_HEADER_BYTES + size &&
	       memcmp(frame + MONITOR_HEADER_BYTES, data, size) == 0);
}

static void check_result(const uint8_t *data, size_t size, uint8_t *frame)
{
	struct monitor_result_frame result, again;
	size_t len;

	if (monitor_decode_result(data, size, &result) < 0)
		return;
	ensure(result.text_len == 0 ||
	       (result.text >= (const char *)data &&
	        result.text + result.text_len == (const char *)data + size));
	len = monitor_encode_result(&result, 1, frame, MONITOR_CONFIG_MAX);
	ensure(monitor_decode_result(frame + MONITOR_HEADER_BYTES, len - MONITOR_HEADER_BYTES,
	                             &again) == 0);
	ensure(again.why == result.why && again.wstatus == result.wstatus &&
	       again.pid == result.pid && again.started_ns == result.started_ns);
}

static void check_status(const uint8_t *data, size_t size, uint8_t *frame)
{
	struct monitor_status_frame status, again;
	size_t len;

	if (monitor_decode_status(data, size, &status) < 0)
		return;
	len = monitor_encode_status(&status, 1, frame, MONITOR_CONFIG_MAX);
	ensure(monitor_decode_status(frame + MONITOR_HEADER_BYTES, len - MONITOR_HEADER_BYTES,
	                             &again) == 0);
	ensure(again.stage == status.stage && again.log_lost == status.log_lost &&
	       again.exited_ns == status.exited_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct monitor_header header;
	uint8_t *frame, *copy;

	if (size < 1 || size > 30000)
		return 0;
	frame = malloc(MONITOR_CONFIG_MAX);
	copy = malloc(size - 1 ? size - 1
	                       : 1); /* exactly as long as it is: a byte beyond is a finding */
	memcpy(copy, data + 1, size - 1);
	ignore(monitor_get_header(copy, size - 1, &header));
	switch (data[0] & 3) {
	case 0:
		check_config(copy, size - 1, frame);
		break;
	case 1:
		check_call(copy, size - 1, frame);
		break;
	case 2:
		check_result(copy, size - 1, frame);
		break;
	case 3:
		check_status(copy, size - 1, frame);
		break;
	}
	free(copy);
	free(frame);
	return 0;
}
