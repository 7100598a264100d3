/* Text of a peer: UTF-8, numbers, base64, percent and hex coding, each against its meaning. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/base/pb.h"
#include "core/base/proc.h"
#include "core/base/str.h"

#define MAX_BYTES ((size_t)16 * 1024 * 1024)

static void check_utf8(struct str text)
{
	cleanup(pb_arena_free) struct pb_arena *arena = pb_arena_new(MAX_BYTES);
	const char *repaired = pb_utf8(arena, text);
	bool valid = true;

	for (struct str rest = text; rest.len;) {
		size_t n = str_utf8_seq(rest);

		ensure(n <= rest.len && n <= 4);
		valid &= n > 0;
		n = MAX(n, (size_t)1);
		rest.p += n;
		rest.len -= n;
	}
	ensure(valid == str_utf8_valid(text));
	ensure(repaired && str_utf8_valid(str_of(repaired)));
	ensure(!valid || memchr(text.p, 0, text.len) || str_eq_c(text, repaired));
}

static void check_numbers(struct str text)
{
	uint64_t u = 0, oct = 0;
	int64_t i = 0;
	char back[32];

	if (str_u64(text, UINT64_MAX, &u) == 0) {
		snprintf(back, sizeof(back), "%llu", (unsigned long long)u);
		ensure(str_ends(text, back)); /* the rest are leading zeros */
		ensure(u == 0 || str_u64(text, u - 1, &u) < 0);
	}
	if (str_i64(text, INT64_MIN, INT64_MAX, &i) == 0 && i < 0) {
		snprintf(back, sizeof(back), "%lld", (long long)i);
		ensure(text.p[0] == '-' && str_ends(text, back + 1));
	}
	if (str_oct(text, UINT64_MAX, &oct) == 0) {
		snprintf(back, sizeof(back), "%llo", (unsigned long long)oct);
		ensure(str_ends(text, back));
	}
}

static void check_base64(struct str text)
{
	cleanup(buf_release) struct buf coded = { 0 }, plain = { 0 };

	buf_init(&coded, MAX_BYTES);
	buf_init(&plain, MAX_BYTES);
	ensure(base64_encode(&coded, text.p, text.len) == 0);
	ensure(base64_decode(&plain, (struct str){ coded.data, coded.len }) == 0);
	ensure(str_eq((struct str){ plain.data, plain.len }, text));

	buf_clear(&plain);
	if (base64_decode(&plain, text) < 0)
		ensure(plain.len == 0);
	else
		ensure(plain.len <= text.len / 4 * 3 + 2);
}

static void check_percent(struct str text)
{
	cleanup(buf_release) struct buf coded = { 0 }, plain = { 0 };

	buf_init(&coded, MAX_BYTES);
	buf_init(&plain, MAX_BYTES);
	ensure(percent_encode(&coded, text) == 0);
	ensure(percent_decode(&plain, (struct str){ coded.data, coded.len }) == 0);
	ensure(str_eq((struct str){ plain.data, plain.len }, text));

	buf_clear(&plain);
	if (percent_decode(&plain, text) < 0)
		ensure(plain.len == 0);
	else
		ensure(plain.len <= text.len);
}

static void check_hex(struct str text)
{
	uint8_t raw[64];
	char back[2 * sizeof(raw) + 1];

	if (text.len > 2 * sizeof(raw) || hex_decode(text, raw, text.len / 2) < 0)
		return;
	hex_encode(raw, text.len / 2, back);
	ensure(strlen(back) == text.len && strncasecmp(back, text.p, text.len) == 0);
}

static int look(const struct proc_mount *mount, void *arg)
{
	size_t *bytes = arg;

	*bytes += strlen(mount->root) + strlen(mount->target) + strlen(mount->options) +
	          strlen(mount->fstype) + strlen(mount->source) + strlen(mount->super_options);
	return 0;
}

static void check_cuts(struct str text)
{
	cleanup_free char *copy = str_dup(text);
	struct str head, tail;
	size_t bytes = 0;

	if (str_cut(text, ':', &head, &tail))
		ensure(head.len + 1 + tail.len == text.len && !memchr(head.p, ':', head.len));
	if (str_rcut(text, ':', &head, &tail))
		ensure(head.len + 1 + tail.len == text.len && !memchr(tail.p, ':', tail.len));
	ensure(str_trim(str_trim(text)).len == str_trim(text).len);
	ensure(proc_mounts_parse(copy, look, &bytes) <= 0 && bytes <= text.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct str text = { (const char *)data, size };

	if (size > 65536)
		return 0;
	check_utf8(text);
	check_numbers(text);
	check_base64(text);
	check_percent(text);
	check_hex(text);
	check_cuts(text);
	return 0;
}
