/* core/base/pb.c
 *
 * Arena: chunks, filled from the front, freed together. Each block carries its exact size (a
 * decoded string is size - 1 bytes long: that is how an embedded NUL shows) and its capacity
 * (nanopb grows arrays one element per call; doubling makes that linear). What a grown array leaves
 * behind is charged to the budget like everything else.
 *
 * Decoding: nanopb allocates through cor_pb_realloc(), which has no argument to carry an arena.
 * pb_decode_msg() therefore leaves it in a thread-local variable for the duration of the call.
 *
 * Encoding: from the last byte to the first. A length is known when it is to be written, because
 * its content stands there already; nothing is sized beforehand. Fields come out in descending
 * order of their numbers, which every parser accepts.
 */
#include "core/base/pb.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pb_common.h>
#include <pb_decode.h>

#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/pb_arena.h"

#define FIRST_CHUNK     ((size_t)4096)
#define LARGEST_CHUNK   ((size_t)128 * 1024)
#define BUDGET_BASE     ((size_t)1024 * 1024)
#define BUDGET_PER_BYTE 16
#define BUDGET_MAX      ((size_t)64 * 1024 * 1024)
#define REPLACED        "\xef\xbf\xbd" /* U+FFFD */

struct chunk {
	struct chunk *next;
	size_t size, used; /* of data */
	alignas(16) char data[];
};

struct block {
	uint32_t size; /* as asked for */
	uint32_t cap;
};

struct pb_arena {
	struct chunk *chunks; /* the first one is being filled */
	size_t next_chunk;
	size_t budget, used; /* used: blocks and their headers */
	bool refused;        /* an allocation failed since the last reset */
};

/* Which arena the decoder of this thread fills. */
static _Thread_local struct pb_arena *current;

struct pb_arena *pb_arena_new(size_t budget_bytes)
{
	struct pb_arena *arena = xcalloc(1, sizeof(*arena));

	ensure(budget_bytes <= UINT32_MAX);
	*arena = (struct pb_arena){ .budget = budget_bytes, .next_chunk = FIRST_CHUNK };
	return arena;
}

static void free_chunks(struct chunk *chunk)
{
	while (chunk) {
		struct chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
}

void pb_arena_free(struct pb_arena *arena)
{
	if (!arena)
		return;
	ensure(current != arena);
	free_chunks(arena->chunks);
	free(arena);
}

void pb_arena_reset(struct pb_arena *arena)
{
	if (arena->chunks) {
		free_chunks(arena->chunks->next);
		arena->chunks->next = NULL;
		arena->chunks->used = 0;
	}
	arena->used = 0;
	arena->refused = false;
}

size_t pb_arena_used(const struct pb_arena *arena)
{
	return arena->used;
}

static struct chunk *chunk_new(size_t size)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + size);

	if (chunk)
		*chunk = (struct chunk){ .size = size };
	return chunk;
}

/* A chunk with @bytes free. Large blocks get one of their own behind the first, whose rest stays in
 * use. */
static struct chunk *chunk_for(struct pb_arena *arena, size_t bytes)
{
	struct chunk *first = arena->chunks;
	struct chunk *chunk;

	if (first && first->size - first->used >= bytes)
		return first;
	if (first && bytes > arena->next_chunk / 4) {
		chunk = chunk_new(bytes);
		if (chunk) {
			chunk->next = first->next;
			first->next = chunk;
		}
		return chunk;
	}
	chunk = chunk_new(MAX(arena->next_chunk, bytes));
	if (chunk) {
		chunk->next = first;
		arena->chunks = chunk;
		arena->next_chunk = MIN(arena->next_chunk * 2, LARGEST_CHUNK);
	}
	return chunk;
}

/* NULL when over budget or out of memory; the caller notes that, if it has no smaller wish. */
static void *block_new(struct pb_arena *arena, size_t size, size_t cap)
{
	size_t bytes = sizeof(struct block) + ((cap + 7) & ~(size_t)7);
	struct chunk *chunk;
	struct block *block;

	if (cap > arena->budget || bytes > arena->budget - arena->used)
		return NULL;
	chunk = chunk_for(arena, bytes);
	if (!chunk)
		return NULL;
	block = (struct block *)(void *)(chunk->data + chunk->used);
	chunk->used += bytes;
	arena->used += bytes;
	*block = (struct block){ .size = (uint32_t)size, .cap = (uint32_t)cap };
	return block + 1;
}

static struct block *block_of(const void *p)
{
	return (struct block *)(uintptr_t)p - 1;
}

void *cor_pb_realloc(void *p, size_t size)
{
	struct block *old = p ? block_of(p) : NULL;
	void *grown = NULL;

	ensure(current);
	if (old && size <= old->cap) {
		old->size = (uint32_t)size;
		return p;
	}
	if (old)
		grown = block_new(current, size, MAX(size, (size_t)old->cap * 2));
	if (!grown)
		grown = block_new(current, size, size);
	if (!grown) {
		current->refused = true;
		return NULL;
	}
	if (old)
		memcpy(grown, p, old->size);
	return grown;
}

void cor_pb_free(void *p)
{
	UNUSED const void *goes_with_its_arena = p;
}

static void *arena_raw(struct pb_arena *arena, size_t bytes)
{
	void *p = block_new(arena, bytes, bytes);

	if (!p)
		arena->refused = true;
	return p;
}

void *pb_arena_alloc(struct pb_arena *arena, size_t bytes)
{
	void *p = arena_raw(arena, bytes);

	if (p)
		memset(p, 0, bytes);
	return p;
}

char *pb_arena_strndup(struct pb_arena *arena, const char *s, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_raw(arena, len + 1) : NULL;

	if (!copy)
		return NULL;
	if (len)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *pb_arena_strdup(struct pb_arena *arena, const char *s)
{
	return s ? pb_arena_strndup(arena, s, strlen(s)) : NULL;
}

char *pb_arena_printf(struct pb_arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	ensure(n >= 0);
	text = arena_raw(arena, (size_t)n + 1);
	if (!text)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return text;
}

pb_bytes_array_t *pb_arena_bytes(struct pb_arena *arena, const void *data, size_t len)
{
	pb_bytes_array_t *bytes;

	if (len > arena->budget)
		return NULL;
	bytes = arena_raw(arena, MAX(PB_BYTES_ARRAY_T_ALLOCSIZE(len), sizeof(*bytes)));
	if (!bytes)
		return NULL;
	bytes->size = (pb_size_t)len;
	if (len)
		memcpy(bytes->bytes, data, len);
	return bytes;
}

size_t pb_budget_for(size_t wire_bytes)
{
	if (wire_bytes >= (BUDGET_MAX - BUDGET_BASE) / BUDGET_PER_BYTE)
		return BUDGET_MAX;
	return BUDGET_BASE + BUDGET_PER_BYTE * wire_bytes;
}

/* Length of the sequence that may stay, 0 if one byte is to be replaced: bad UTF-8, or a NUL that
 * would end the string. */
static size_t keep(struct str text)
{
	return text.p[0] ? str_utf8_seq(text) : 0;
}

char *pb_utf8(struct pb_arena *arena, struct str text)
{
	size_t bytes = 0;
	char *out, *p;

	for (struct str rest = text; rest.len;) {
		size_t n = keep(rest);

		bytes += n ? n : strlen(REPLACED);
		n = MAX(n, (size_t)1);
		rest.p += n;
		rest.len -= n;
	}
	p = out = arena_raw(arena, bytes + 1);
	if (!out)
		return NULL;
	while (text.len) {
		size_t n = keep(text);

		memcpy(p, n ? text.p : REPLACED, n ? n : strlen(REPLACED));
		p += n ? n : strlen(REPLACED);
		n = MAX(n, (size_t)1);
		text.p += n;
		text.len -= n;
	}
	*p = '\0';
	return out;
}

/*
 * Where a bad value is, as field numbers from the outside in: "2.7.1". Filled from the innermost
 * out, while the recursion that found it returns.
 */
struct where {
	char path[64];
	size_t at;
};

static void where_init(struct where *where)
{
	where->at = sizeof(where->path) - 1;
	where->path[where->at] = '\0';
}

static void where_enter(struct where *where, unsigned tag)
{
	char number[16];
	size_t len;

	ensure(str_format(number, sizeof(number), "%u%s", tag, where->path[where->at] ? "." : "") ==
	       0);
	len = strlen(number);
	if (len > where->at)
		return; /* deeper than any schema of ours */
	where->at -= len;
	memcpy(where->path + where->at, number, len);
}

/* Present at all? The rules of nanopb's own encoder, see there. */
static bool is_present(const pb_field_iter_t *field)
{
	pb_type_t type = field->type;

	if (PB_HTYPE(type) == PB_HTYPE_ONEOF && *(const pb_size_t *)field->pSize != field->tag)
		return false;
	if (PB_HTYPE(type) == PB_HTYPE_OPTIONAL && field->pSize && !*(const bool *)field->pSize)
		return false;
	return field->pData;
}

static size_t element_count(const pb_field_iter_t *field)
{
	size_t count =
		PB_HTYPE(field->type) == PB_HTYPE_REPEATED ? *(const pb_size_t *)field->pSize : 1;

	ensure(PB_ATYPE(field->type) == PB_ATYPE_POINTER || count <= field->array_size);
	return count;
}

/* Elements of arrays on the heap are pointers if they are strings or bytes, else the things
 * themselves. */
static const void *element(const pb_field_iter_t *field, size_t i)
{
	const char *p = (const char *)field->pData + i * field->data_size;
	unsigned kind = PB_LTYPE(field->type);

	if (PB_HTYPE(field->type) == PB_HTYPE_REPEATED &&
	    PB_ATYPE(field->type) == PB_ATYPE_POINTER &&
	    (kind == PB_LTYPE_STRING || kind == PB_LTYPE_BYTES))
		return *(const void *const *)(const void *)p;
	return p;
}

/*
 * Does @text end where its wire form did? On the heap the block knows. In a fixed array what
 * follows the first NUL must still be as zero as the message was before decoding.
 */
static bool is_whole(const pb_field_iter_t *field, const char *text)
{
	size_t len;

	if (PB_ATYPE(field->type) == PB_ATYPE_POINTER)
		return strlen(text) + 1 == block_of(text)->size;
	len = strnlen(text, field->data_size);
	for (size_t i = len; i < field->data_size; i++)
		if (text[i])
			return false;
	return true;
}

/* True iff no string below @msg holds a NUL. */
static bool check_strings(const pb_msgdesc_t *desc, const void *msg, struct where *where)
{
	pb_field_iter_t field;

	if (!pb_field_iter_begin_const(&field, desc, msg))
		return true; /* a message without fields */
	do {
		unsigned kind = PB_LTYPE(field.type);
		size_t count;

		if ((kind != PB_LTYPE_STRING && !PB_LTYPE_IS_SUBMSG(kind)) || !is_present(&field))
			continue;
		count = element_count(&field);
		for (size_t i = 0; i < count; i++) {
			const void *p = element(&field, i);

			if (!p ||
			    (kind == PB_LTYPE_STRING ? is_whole(&field, p)
			                             : check_strings(field.submsg_desc, p, where)))
				continue;
			where_enter(where, field.tag);
			return false;
		}
	} while (pb_field_iter_next(&field));
	return true;
}

int pb_decode_msg(struct pb_arena *arena, const pb_msgdesc_t *desc, void *msg, const void *data,
                  size_t len, const char *what, struct err *err)
{
	pb_istream_t in = pb_istream_from_buffer(data, len);
	struct pb_arena *outer = current;
	struct where where;
	bool ok;

	arena->refused = false;
	current = arena;
	ok = pb_decode(&in, desc, msg);
	current = outer;

	if (!ok && arena->refused)
		return err_set(err, CODE_RESOURCE_EXHAUSTED,
		               "%s: takes more than %zu bytes of memory", what, arena->budget);
	if (!ok)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: malformed: %s", what,
		               PB_GET_ERROR(&in));

	where_init(&where);
	if (!check_strings(desc, msg, &where))
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "%s: field %s: a string with a NUL character", what,
		               where.path + where.at);
	return 0;
}

/*
 * The backward encoder. It works in the free room behind out->len: start[pos..size) is written, and
 * when pos reaches 0 the room is enlarged and the written part moved to its new end.
 */
struct rev {
	struct buf *out;
	char *start;
	size_t pos, size;
	bool full;
	struct where where; /* of a string that is not UTF-8 */
};

static size_t rev_written(const struct rev *rev)
{
	return rev->size - rev->pos;
}

static bool rev_room(struct rev *rev, size_t len)
{
	size_t written = rev_written(rev);
	size_t limit = rev->out->max - rev->out->len;
	size_t size;

	if (len <= rev->pos)
		return true;
	if (len > limit - written) {
		rev->full = true;
		return false;
	}
	size = MIN(MAX(MAX(rev->size * 2, written + len), (size_t)256), limit);
	rev->start = buf_reserve(rev->out, size);
	if (!rev->start) {
		rev->full = true;
		return false;
	}
	memmove(rev->start + size - written, rev->start + rev->pos, written);
	rev->pos = size - written;
	rev->size = size;
	return true;
}

static bool rev_bytes(struct rev *rev, const void *data, size_t len)
{
	if (!rev_room(rev, len))
		return false;
	rev->pos -= len;
	if (len)
		memcpy(rev->start + rev->pos, data, len);
	return true;
}

static bool rev_varint(struct rev *rev, uint64_t value)
{
	uint8_t bytes[10];
	size_t len = 0;

	do {
		bytes[len++] = (uint8_t)(value | 0x80);
		value >>= 7;
	} while (value);
	bytes[len - 1] &= 0x7f;
	return rev_bytes(rev, bytes, len);
}

static bool rev_tag(struct rev *rev, const pb_field_iter_t *field, pb_wire_type_t wire)
{
	return rev_varint(rev, (uint64_t)field->tag << 3 | wire);
}

/* The length and tag of what was written since @mark */
static bool rev_delimit(struct rev *rev, const pb_field_iter_t *field, size_t mark)
{
	return rev_varint(rev, rev_written(rev) - mark) && rev_tag(rev, field, PB_WT_STRING);
}

static bool rev_delimited(struct rev *rev, const pb_field_iter_t *field, const void *data,
                          size_t len)
{
	size_t mark = rev_written(rev);

	return rev_bytes(rev, data, len) && rev_delimit(rev, field, mark);
}

static uint64_t read_unsigned(const void *p, size_t size)
{
	switch (size) {
	case 1:
		return *(const uint8_t *)p;
	case 2:
		return *(const uint16_t *)p;
	case 4:
		return *(const uint32_t *)p;
	default:
		ensure(size == 8);
		return *(const uint64_t *)p;
	}
}

static int64_t read_signed(const void *p, size_t size)
{
	switch (size) {
	case 1:
		return *(const int8_t *)p;
	case 2:
		return *(const int16_t *)p;
	case 4:
		return *(const int32_t *)p;
	default:
		ensure(size == 8);
		return *(const int64_t *)p;
	}
}

/* A number without its tag. Fixed ones are little-endian on the wire, as is every machine we run
 * on. */
static bool rev_number(struct rev *rev, const pb_field_iter_t *field, const void *p)
{
	int64_t value;

	switch (PB_LTYPE(field->type)) {
	case PB_LTYPE_BOOL:
		return rev_varint(rev, *(const uint8_t *)p != 0);
	case PB_LTYPE_VARINT:
		return rev_varint(rev, (uint64_t)read_signed(p, field->data_size));
	case PB_LTYPE_UVARINT:
		return rev_varint(rev, read_unsigned(p, field->data_size));
	case PB_LTYPE_SVARINT:
		value = read_signed(p, field->data_size);
		return rev_varint(rev,
		                  (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0)); /* zigzag */
	default:
		return rev_bytes(rev, p, field->data_size);
	}
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "rev_number writes fixed numbers as they lie in memory");

static pb_wire_type_t number_wire(const pb_field_iter_t *field)
{
	switch (PB_LTYPE(field->type)) {
	case PB_LTYPE_FIXED32:
		return PB_WT_32BIT;
	case PB_LTYPE_FIXED64:
		return PB_WT_64BIT;
	default:
		return PB_WT_VARINT;
	}
}

static bool rev_message(struct rev *rev, const pb_msgdesc_t *desc, const void *msg);

static bool rev_string(struct rev *rev, const pb_field_iter_t *field, const char *text)
{
	size_t len = PB_ATYPE(field->type) == PB_ATYPE_POINTER ? strlen(text)
	                                                       : strnlen(text, field->data_size);

	if (!str_utf8_valid((struct str){ text, len })) {
		where_enter(&rev->where, field->tag);
		return false;
	}
	return rev_delimited(rev, field, text, len);
}

static bool rev_submessage(struct rev *rev, const pb_field_iter_t *field, const void *p)
{
	size_t mark = rev_written(rev);

	if (!rev_message(rev, field->submsg_desc, p)) {
		if (!rev->full)
			where_enter(&rev->where, field->tag);
		return false;
	}
	return rev_delimit(rev, field, mark);
}

/* One value with its tag. NULL stands for an empty string or bytes in an array. */
static bool rev_value(struct rev *rev, const pb_field_iter_t *field, const void *p)
{
	const pb_bytes_array_t *bytes = p;

	switch (PB_LTYPE(field->type)) {
	case PB_LTYPE_STRING:
		return rev_string(rev, field, p ? p : "");
	case PB_LTYPE_BYTES:
		return rev_delimited(rev, field, p ? bytes->bytes : NULL, p ? bytes->size : 0);
	case PB_LTYPE_FIXED_LENGTH_BYTES:
		return rev_delimited(rev, field, p, field->data_size);
	case PB_LTYPE_SUBMESSAGE:
		return rev_submessage(rev, field, p);
	default:
		ensure(PB_LTYPE(field->type) <=
		       PB_LTYPE_LAST_PACKABLE); /* no callbacks, no extensions in our schemas */
		return rev_number(rev, field, p) && rev_tag(rev, field, number_wire(field));
	}
}

static bool rev_repeated(struct rev *rev, const pb_field_iter_t *field)
{
	size_t count = element_count(field);
	size_t mark = rev_written(rev);
	bool packed = PB_LTYPE(field->type) <= PB_LTYPE_LAST_PACKABLE;

	for (size_t i = count; i-- > 0;) {
		const void *p = element(field, i);

		if (packed ? !rev_number(rev, field, p) : !rev_value(rev, field, p))
			return false;
	}
	return packed && count ? rev_delimit(rev, field, mark) : true;
}

static bool is_zero(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* proto3 without presence: the default value is not sent. */
static bool is_default(const pb_field_iter_t *field)
{
	if (PB_ATYPE(field->type) != PB_ATYPE_STATIC ||
	    PB_HTYPE(field->type) != PB_HTYPE_OPTIONAL || field->pSize)
		return false;
	switch (PB_LTYPE(field->type)) {
	case PB_LTYPE_STRING:
		return !*(const char *)field->pData;
	case PB_LTYPE_BYTES:
		return ((const pb_bytes_array_t *)field->pData)->size == 0;
	case PB_LTYPE_SUBMESSAGE:         /* judged by what it encodes to */
	case PB_LTYPE_FIXED_LENGTH_BYTES: /* has no shorter form */
		return false;
	default:
		return is_zero(field->pData, field->data_size);
	}
}

static bool rev_field(struct rev *rev, const pb_field_iter_t *field)
{
	size_t before = rev_written(rev);
	size_t empty;

	if (!is_present(field) || is_default(field))
		return true;
	ensure(PB_ATYPE(field->type) != PB_ATYPE_CALLBACK);
	if (PB_HTYPE(field->type) == PB_HTYPE_REPEATED)
		return rev_repeated(rev, field);
	if (!rev_value(rev, field, field->pData))
		return false;

	/* An inline sub-message without a has_ flag is absent when nothing is in it: a length of 0
	 * and the tag go again. */
	if (PB_LTYPE_IS_SUBMSG(field->type) && PB_ATYPE(field->type) == PB_ATYPE_STATIC &&
	    PB_HTYPE(field->type) == PB_HTYPE_OPTIONAL && !field->pSize) {
		empty = 1;
		for (uint64_t tag = (uint64_t)field->tag << 3; tag; tag >>= 7)
			empty++;
		if (rev_written(rev) - before == empty)
			rev->pos += empty;
	}
	return true;
}

static bool rev_message(struct rev *rev, const pb_msgdesc_t *desc, const void *msg)
{
	pb_field_iter_t field;

	if (!pb_field_iter_begin_const(&field, desc, msg))
		return true;
	do
		if (!rev_field(rev, &field))
			return false;
	while (pb_field_iter_next(&field));
	return true;
}

int pb_encode_msg(struct buf *out, const pb_msgdesc_t *desc, const void *msg, struct err *err)
{
	struct rev rev = { .out = out };
	bool ok;

	where_init(&rev.where);
	if (out->data) {
		rev.start = out->data + out->len;
		rev.pos = rev.size = out->cap - out->len - 1;
	}
	ok = rev_message(&rev, desc, msg);
	if (ok && rev_written(&rev)) {
		memmove(rev.start, rev.start + rev.pos, rev_written(&rev));
		buf_grew(out, rev_written(&rev));
		return 0;
	}
	if (out->data)
		out->data[out->len] = '\0';
	if (ok)
		return 0;
	if (rev.full)
		return buf_err_full(out, "encoded message", err);
	return err_set(err, CODE_INTERNAL, "encoded message: field %s: not valid UTF-8",
	               rev.where.path + rev.where.at);
}
