/* core/monitor/proto.c
 *
 * Frames between daemon and monitor, both directions for both sides (tests and fuzzing want the
 * round trip).
 */
#include "core/monitor/proto.h"

#include <string.h>

#include "core/base/codec.h"

void monitor_put_header(uint8_t *frame, uint8_t type, uint32_t tag)
{
	frame[0] = MONITOR_PROTO_VERSION;
	frame[1] = type;
	put_le16(frame + 2, 0);
	put_le32(frame + 4, tag);
}

int monitor_get_header(const void *frame, size_t len, struct monitor_header *ret)
{
	const uint8_t *p = frame;

	if (len < MONITOR_HEADER_BYTES || p[0] == 0 || get_le16(p + 2) != 0)
		return -1;
	*ret = (struct monitor_header){ .version = p[0], .type = p[1], .tag = get_le32(p + 4) };
	return 0;
}

/* --- NUL terminated strings, one after the other */

struct out {
	uint8_t *p;
	size_t len, size;
	bool full;
};

static void put_string(struct out *out, const char *s)
{
	size_t n = strlen(s) + 1;

	if (out->full || n > out->size - out->len) {
		out->full = true;
		return;
	}
	memcpy(out->p + out->len, s, n);
	out->len += n;
}

/* The next string, or NULL when the payload ends before its NUL. */
static const char *get_string(const uint8_t **p, size_t *len)
{
	const char *s = (const char *)*p;
	const uint8_t *end = memchr(*p, 0, *len);

	if (!end)
		return NULL;
	*len -= (size_t)(end + 1 - *p);
	*p = end + 1;
	return s;
}

static size_t count_strings(const char *const *strings, size_t max)
{
	size_t n = 0;

	while (n <= max && strings[n])
		n++;
	return n; /* max + 1: too many */
}

/* @count strings into @strings, NULL terminated. */
static int get_strings(const uint8_t **p, size_t *len, size_t count, const char **strings)
{
	for (size_t i = 0; i < count; i++) {
		strings[i] = get_string(p, len);
		if (!strings[i])
			return -1;
	}
	strings[count] = NULL;
	return 0;
}

/* --- CONFIG */

size_t monitor_encode_config(const struct monitor_config *config, uint32_t tag, uint8_t *frame,
                             size_t size)
{
	struct out out = { .p = frame,
		           .len = MONITOR_HEADER_BYTES + MONITOR_CONFIG_BYTES,
		           .size = size };
	uint8_t *fixed = frame + MONITOR_HEADER_BYTES;
	size_t nargs = count_strings(config->runtime, MONITOR_ARGV_MAX);
	size_t ncgroups = count_strings(config->cgroups, MONITOR_CGROUPS_MAX);

	if (size < out.len || nargs == 0 || nargs > MONITOR_ARGV_MAX ||
	    ncgroups > MONITOR_CGROUPS_MAX)
		return 0;
	monitor_put_header(frame, MONITOR_CONFIG, tag);
	put_le32(fixed, config->flags);
	put_le32(fixed + 4, config->max_line);
	put_le32(fixed + 8, config->timeout_ms);
	put_le32(fixed + 12, config->io_uid);
	put_le32(fixed + 16, config->io_gid);
	put_le16(fixed + 20, (uint16_t)nargs);
	put_le16(fixed + 22, (uint16_t)ncgroups);
	put_string(&out, config->id);
	put_string(&out, config->bundle);
	put_string(&out, config->log_path);
	for (size_t i = 0; i < nargs; i++)
		put_string(&out, config->runtime[i]);
	for (size_t i = 0; i < ncgroups; i++)
		put_string(&out, config->cgroups[i]);
	return out.full ? 0 : out.len;
}

int monitor_decode_config(const uint8_t *payload, size_t len, struct monitor_config *ret)
{
	const uint8_t *p;
	size_t left, nargs, ncgroups;

	if (len < MONITOR_CONFIG_BYTES)
		return -1;
	p = payload + MONITOR_CONFIG_BYTES;
	left = len - MONITOR_CONFIG_BYTES;
	*ret = (struct monitor_config){
		.flags = get_le32(payload),
		.max_line = get_le32(payload + 4),
		.timeout_ms = get_le32(payload + 8),
		.io_uid = get_le32(payload + 12),
		.io_gid = get_le32(payload + 16),
	};
	nargs = get_le16(payload + 20);
	ncgroups = get_le16(payload + 22);
	if (nargs == 0 || nargs > MONITOR_ARGV_MAX || ncgroups > MONITOR_CGROUPS_MAX)
		return -1;
	ret->id = get_string(&p, &left);
	ret->bundle = ret->id ? get_string(&p, &left) : NULL;
	ret->log_path = ret->bundle ? get_string(&p, &left) : NULL;
	if (!ret->log_path || get_strings(&p, &left, nargs, ret->runtime) < 0 ||
	    get_strings(&p, &left, ncgroups, ret->cgroups) < 0)
		return -1;
	return left == 0 ? 0 : -1;
}

/* --- CALL */

size_t monitor_encode_call(uint32_t timeout_ms, const char *const *argv, uint32_t tag,
                           uint8_t *frame, size_t size)
{
	struct out out = { .p = frame, .len = MONITOR_HEADER_BYTES + 4, .size = size };
	size_t nargs = count_strings(argv, MONITOR_ARGV_MAX);

	if (size < out.len || nargs == 0 || nargs > MONITOR_ARGV_MAX)
		return 0;
	monitor_put_header(frame, MONITOR_CALL, tag);
	put_le32(frame + MONITOR_HEADER_BYTES, timeout_ms);
	for (size_t i = 0; i < nargs; i++)
		put_string(&out, argv[i]);
	return out.full ? 0 : out.len;
}

int monitor_decode_call(const uint8_t *payload, size_t len, uint32_t *ret_timeout_ms,
                        const char **argv)
{
	const uint8_t *p;
	size_t left, nargs = 0;

	if (len < 4)
		return -1;
	p = payload + 4;
	left = len - 4;
	*ret_timeout_ms = get_le32(payload);
	while (left > 0) {
		if (nargs == MONITOR_ARGV_MAX)
			return -1;
		argv[nargs] = get_string(&p, &left);
		if (!argv[nargs])
			return -1;
		nargs++;
	}
	argv[nargs] = NULL;
	return nargs > 0 ? 0 : -1;
}

/* --- RESULT and STATUS: a fixed part that may grow, then text */

static size_t put_text(uint8_t *frame, size_t at, size_t size, const char *text, size_t len)
{
	if (len > MONITOR_TEXT_MAX) { /* what went wrong is said last */
		text += len - MONITOR_TEXT_MAX;
		len = MONITOR_TEXT_MAX;
	}
	if (len > size - at)
		return 0;
	if (len > 0)
		memcpy(frame + at, text, len);
	return at + len;
}

/* The fixed part's length as its sender knew it; what we know lies within. 0: nonsense. */
static size_t fixed_length(const uint8_t *payload, size_t len, size_t least)
{
	size_t fixed;

	if (len < least)
		return 0;
	fixed = get_le16(payload);
	return fixed >= least && fixed <= len ? fixed : 0;
}

size_t monitor_encode_result(const struct monitor_result_frame *result, uint32_t tag,
                             uint8_t *frame, size_t size)
{
	uint8_t *p = frame + MONITOR_HEADER_BYTES;

	if (size < MONITOR_HEADER_BYTES + MONITOR_RESULT_BYTES)
		return 0;
	monitor_put_header(frame, MONITOR_RESULT, tag);
	put_le16(p, MONITOR_RESULT_BYTES);
	p[2] = result->why;
	p[3] = result->stage;
	put_le32(p + 4, (uint32_t)result->wstatus);
	put_le32(p + 8, (uint32_t)result->sys);
	put_le32(p + 12, result->pid);
	put_le64(p + 16, result->start_ticks);
	put_le64(p + 24, (uint64_t)result->started_ns);
	put_le32(p + 32, 0);
	return put_text(frame, MONITOR_HEADER_BYTES + MONITOR_RESULT_BYTES, size, result->text,
	                result->text_len);
}

int monitor_decode_result(const uint8_t *payload, size_t len, struct monitor_result_frame *ret)
{
	size_t fixed = fixed_length(payload, len, MONITOR_RESULT_BYTES);

	if (fixed == 0)
		return -1;
	*ret = (struct monitor_result_frame){
		.why = payload[2],
		.stage = payload[3],
		.wstatus = (int32_t)get_le32(payload + 4),
		.sys = (int32_t)get_le32(payload + 8),
		.pid = get_le32(payload + 12),
		.start_ticks = get_le64(payload + 16),
		.started_ns = (int64_t)get_le64(payload + 24),
		.text = (const char *)payload + fixed,
		.text_len = len - fixed,
	};
	return 0;
}

size_t monitor_encode_status(const struct monitor_status_frame *status, uint32_t tag,
                             uint8_t *frame, size_t size)
{
	uint8_t *p = frame + MONITOR_HEADER_BYTES;

	if (size < MONITOR_HEADER_BYTES + MONITOR_STATUS_BYTES)
		return 0;
	monitor_put_header(frame, MONITOR_STATUS, tag);
	memset(p, 0, MONITOR_STATUS_BYTES);
	put_le16(p, MONITOR_STATUS_BYTES);
	p[2] = status->stage;
	p[3] = status->flags;
	p[4] = status->why;
	put_le32(p + 8, (uint32_t)status->wstatus);
	put_le32(p + 12, status->pid);
	put_le64(p + 16, status->start_ticks);
	put_le64(p + 24, (uint64_t)status->started_ns);
	put_le64(p + 32, (uint64_t)status->exited_ns);
	put_le64(p + 40, status->log_lost);
	put_le32(p + 48, status->attached);
	put_le32(p + 52, (uint32_t)status->sys);
	return put_text(frame, MONITOR_HEADER_BYTES + MONITOR_STATUS_BYTES, size, status->text,
	                status->text_len);
}

int monitor_decode_status(const uint8_t *payload, size_t len, struct monitor_status_frame *ret)
{
	size_t fixed = fixed_length(payload, len, MONITOR_STATUS_BYTES);

	if (fixed == 0)
		return -1;
	*ret = (struct monitor_status_frame){
		.stage = payload[2],
		.flags = payload[3],
		.why = payload[4],
		.wstatus = (int32_t)get_le32(payload + 8),
		.pid = get_le32(payload + 12),
		.start_ticks = get_le64(payload + 16),
		.started_ns = (int64_t)get_le64(payload + 24),
		.exited_ns = (int64_t)get_le64(payload + 32),
		.log_lost = get_le64(payload + 40),
		.attached = get_le32(payload + 48),
		.sys = (int32_t)get_le32(payload + 52),
		.text = (const char *)payload + fixed,
		.text_len = len - fixed,
	};
	return 0;
}
