/* core/base/toml.c
 *
 * Recursive descent over a text that was checked to be UTF-8. Each line becomes an item; each key is put into the tree
 * at once, since what a later line may say depends on how a table came to be (enum toml_origin):
 *
 *                    [x]           [x.y]         x.y = (dotted)
 *     absent         HEADER        IMPLICIT      DOTTED
 *     IMPLICIT       HEADER        through       DOTTED
 *     HEADER         twice         through       refused
 *     DOTTED         refused       through       through
 *     CLOSED         refused       refused       refused
 *     [[x]]          refused       last element  refused
 *
 * All memory is one arena; its chunks double, so a text of many small values costs few calls.
 */
#include "core/base/toml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/map.h"
#include "core/base/rand.h"
#include "core/base/toml_internal.h"

#define FIRST_CHUNK (16u << 10)
#define LAST_CHUNK  (4u << 20)
#define INDEX_FROM  16 /* entries; below that walking them is faster */

static const char bom[] = "\xef\xbb\xbf";

/* --------------------------------------------------------------------------------------------------------- arena */

struct chunk {
	struct chunk *next;
	size_t size, used;
	_Alignas(16) char bytes[];
};

struct toml_arena {
	struct chunk *chunks; /* the first is being filled */
	size_t total;
};

static void *arena_take(struct toml_arena *arena, size_t size)
{
	struct chunk *chunk = arena->chunks;
	size_t want;
	void *p;

	size = (size + 15) & ~(size_t)15;
	if (!chunk || chunk->size - chunk->used < size) {
		want = chunk ? MIN(chunk->size * 2, LAST_CHUNK) : FIRST_CHUNK;
		want = MAX(want, size);
		if (want > TOML_MAX_MEMORY - arena->total)
			return NULL;
		chunk = calloc(1, sizeof(*chunk) + want);
		if (!chunk)
			return NULL;
		chunk->size = want;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
		arena->total += want;
	}
	p = chunk->bytes + chunk->used;
	chunk->used += size;
	return p;
}

void *toml_take(struct parser *ps, size_t size)
{
	void *p = arena_take(ps->doc->arena, size);

	if (!p)
		ps->is_out_of_memory = true;
	return p;
}

/* Room for one more in an array of the arena: the old one is left behind when it must grow. */
static void *room_for_one(struct parser *ps, void *array, uint32_t count, uint32_t *inout_cap,
                          size_t size)
{
	uint32_t cap = *inout_cap ? *inout_cap * 2 : 1;
	void *bigger;

	if (count < *inout_cap)
		return array;
	bigger = toml_take(ps, cap * size);
	if (!bigger)
		return NULL;
	if (count)
		memcpy(bigger, array, count * size);
	*inout_cap = cap;
	return bigger;
}

/* -------------------------------------------------------------------------------------------------------- places */

struct toml_place toml_place(const struct toml *toml, uint32_t offset)
{
	uint32_t low = 0, high = toml->nlines; /* lines[low] <= offset < lines[high] */

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (toml->lines[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	offset -= toml->lines[low];
	if (low == 0 && toml->has_bom)
		offset = offset >= 3 ? offset - 3 : 0;
	return (struct toml_place){ low + 1, offset + 1 };
}

int toml_bad(struct parser *ps, uint32_t at, const char *fmt, ...)
{
	va_list ap;

	ps->fault.place = toml_place(ps->doc, at);
	va_start(ap, fmt);
	vsnprintf(ps->fault.text, sizeof(ps->fault.text), fmt, ap);
	va_end(ap);
	return -1;
}

struct toml_glyph toml_glyph(const struct parser *ps, uint32_t at)
{
	struct str rest = { ps->text + at, ps->len - at };
	struct toml_glyph glyph;
	unsigned char c = (unsigned char)ps->text[at];

	if (at >= ps->len)
		snprintf(glyph.text, sizeof(glyph.text), "the end of the file");
	else if (toml_newline(ps, at))
		snprintf(glyph.text, sizeof(glyph.text), "the end of the line");
	else if (c == '\r')
		snprintf(glyph.text, sizeof(glyph.text), "a carriage return");
	else if (c == '\t')
		snprintf(glyph.text, sizeof(glyph.text), "a tab");
	else if (c < 0x20 || c == 0x7f)
		snprintf(glyph.text, sizeof(glyph.text), "byte 0x%02x", c);
	else
		snprintf(glyph.text, sizeof(glyph.text), "'%.*s'", (int)MAX(str_utf8_seq(rest), 1),
		         rest.p);
	return glyph;
}

/* -------------------------------------------------------------------------------------------------------- tables */

static bool str_same(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static struct toml_entry *table_find(const struct toml_table *table, struct str key)
{
	uint32_t mask = table->index_size - 1;

	if (!table->index_size) {
		for (uint32_t i = 0; i < table->count; i++)
			if (str_same(table->entries[i].key, key))
				return &table->entries[i];
		return NULL;
	}
	for (uint32_t slot = (uint32_t)map_hash(table->seed, key.p, key.len) & mask;
	     table->index[slot]; slot = (slot + 1) & mask) {
		struct toml_entry *entry = &table->entries[table->index[slot] - 1];

		if (str_same(entry->key, key))
			return entry;
	}
	return NULL;
}

static void table_index(struct toml_table *table, uint32_t i)
{
	uint32_t mask = table->index_size - 1;
	uint32_t slot = (uint32_t)map_hash(table->seed, table->entries[i].key.p,
	                                   table->entries[i].key.len) &
	                mask;

	while (table->index[slot])
		slot = (slot + 1) & mask;
	table->index[slot] = i + 1;
}

static struct toml_entry *table_add(struct parser *ps, struct toml_table *table, struct str key,
                                    uint32_t key_at)
{
	struct toml_entry *entries =
		room_for_one(ps, table->entries, table->count, &table->cap, sizeof(*entries));
	uint32_t *index;

	if (!entries)
		return NULL;
	table->entries = entries;
	entries[table->count++] = (struct toml_entry){ .key = key, .key_at = key_at };
	if (table->count < INDEX_FROM)
		return &entries[table->count - 1];
	if (table->index_size < table->count * 2) {
		index = toml_take(ps, table->cap * 4 * sizeof(*index)); /* cap is a power of two */
		if (!index)
			return NULL;
		table->index = index;
		table->index_size = table->cap * 4;
		for (uint32_t i = 0; i + 1 < table->count; i++)
			table_index(table, i);
	}
	table_index(table, table->count - 1);
	return &entries[table->count - 1];
}

static struct toml_value *new_table(struct parser *ps, enum toml_origin origin, uint32_t start,
                                    uint32_t end)
{
	struct toml_value *value = toml_take(ps, sizeof(*value));
	struct toml_table *table = toml_take(ps, sizeof(*table));

	if (!value || !table)
		return NULL;
	table->seed = ps->seed;
	*value = (struct toml_value){
		.type = TOML_TABLE,
		.origin = (uint8_t)origin,
		.start = start,
		.end = end,
		.table = table,
	};
	return value;
}

static struct toml_value *new_array(struct parser *ps, enum toml_origin origin, uint32_t start)
{
	struct toml_value *value = toml_take(ps, sizeof(*value));
	struct toml_array *array = toml_take(ps, sizeof(*array));

	if (!value || !array)
		return NULL;
	*value = (struct toml_value){ .type = TOML_ARRAY,
		                      .origin = (uint8_t)origin,
		                      .start = start,
		                      .end = start,
		                      .array = array };
	return value;
}

static int array_push(struct parser *ps, struct toml_array *array, struct toml_value *value)
{
	struct toml_value **items =
		room_for_one(ps, array->items, array->count, &array->cap, sizeof(*items));

	if (!items)
		return -1;
	array->items = items;
	items[array->count++] = value;
	return 0;
}

static int table_put(struct parser *ps, struct toml_table *table, struct str key, uint32_t key_at,
                     struct toml_value *value)
{
	struct toml_entry *entry = table_add(ps, table, key, key_at);

	if (!entry)
		return -1;
	entry->value = value;
	return 0;
}

/* ---------------------------------------------------------------------------------------------------------- keys */

struct key {
	struct str parts[TOML_MAX_DEPTH];
	uint32_t at[TOML_MAX_DEPTH]; /* where each part starts */
	uint32_t nparts, end;        /* end: behind the last part */
};

static bool is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

static void skip_blanks(struct parser *ps)
{
	while (ps->text[ps->at] == ' ' || ps->text[ps->at] == '\t')
		ps->at++;
}

static int read_key_part(struct parser *ps, struct str *ret)
{
	uint32_t start = ps->at;
	char *copy;

	if (ps->text[start] == '"' || ps->text[start] == '\'')
		return toml_read_string(ps, false, ret);
	while (is_bare(ps->text[ps->at]))
		ps->at++;
	if (ps->at == start)
		return toml_bad(ps, start, "%s where a key belongs", toml_glyph(ps, start).text);
	copy = toml_take(ps, ps->at - start + 1);
	if (!copy)
		return -1;
	memcpy(copy, ps->text + start, ps->at - start);
	*ret = (struct str){ copy, ps->at - start };
	return 0;
}

/* Leaves ps->at behind the blanks that follow. @depth: what lies above the key. */
static int read_key(struct parser *ps, uint32_t depth, struct key *key)
{
	key->nparts = 0;
	for (;;) {
		if (depth + key->nparts >= TOML_MAX_DEPTH)
			return toml_bad(ps, ps->at, "nested deeper than %d levels", TOML_MAX_DEPTH);
		key->at[key->nparts] = ps->at;
		if (read_key_part(ps, &key->parts[key->nparts]) < 0)
			return -1;
		key->nparts++;
		key->end = ps->at;
		skip_blanks(ps);
		if (ps->text[ps->at] != '.')
			return 0;
		ps->at++;
		skip_blanks(ps);
	}
}

static const struct str *keep_parts(struct parser *ps, const struct key *key)
{
	struct str *parts = toml_take(ps, key->nparts * sizeof(*parts));

	if (parts)
		memcpy(parts, key->parts, key->nparts * sizeof(*parts));
	return parts;
}

/* The first parts of a key for a message, in one piece and no longer than a line. */
struct key_name {
	char text[96];
};

static struct key_name key_name(const struct key *key, uint32_t nparts)
{
	struct key_name name = { "" };
	size_t len = 0;

	for (uint32_t i = 0; i < nparts && len + 1 < sizeof(name.text); i++) {
		int n = snprintf(name.text + len, sizeof(name.text) - len, "%s%.*s", i ? "." : "",
		                 STR_ARG(key->parts[i]));

		len += n < 0 ? 0 : (size_t)n;
	}
	return name;
}

static int twice(struct parser *ps, const struct key *key, uint32_t i,
                 const struct toml_entry *first)
{
	return toml_bad(ps, key->at[i], "%s: stands here a second time (first in line %u)",
	                key_name(key, i + 1).text, toml_place(ps->doc, first->key_at).line);
}

static int put_dotted(struct parser *ps, struct toml_value *into, const struct key *key,
                      struct toml_value *value)
{
	struct toml_value *table = into;
	struct toml_entry *entry;
	uint32_t i;

	for (i = 0; i + 1 < key->nparts; i++) {
		entry = table_find(table->table, key->parts[i]);
		if (!entry) {
			struct toml_value *next =
				new_table(ps, TOML_DOTTED, key->at[i],
			                  key->at[i] + (uint32_t)key->parts[i].len);

			if (!next ||
			    table_put(ps, table->table, key->parts[i], key->at[i], next) < 0)
				return -1;
			table = next;
			continue;
		}
		if (entry->value->type != TOML_TABLE || entry->value->origin == TOML_CLOSED ||
		    entry->value->origin == TOML_HEADER)
			return toml_bad(
				ps, key->at[i], "%s: nothing can be added to what line %u defined",
				key_name(key, i + 1).text, toml_place(ps->doc, entry->key_at).line);
		entry->value->origin = TOML_DOTTED;
		table = entry->value;
	}
	entry = table_find(table->table, key->parts[i]);
	if (entry)
		return twice(ps, key, i, entry);
	return table_put(ps, table->table, key->parts[i], key->at[i], value);
}

/* -------------------------------------------------------------------------------------------------------- values */

static int read_value(struct parser *ps, uint32_t depth, struct toml_value **ret);

static int skip_comment(struct parser *ps)
{
	if (ps->text[ps->at] != '#')
		return 0;
	while (!toml_is_control(ps->text[ps->at]))
		ps->at++;
	if (ps->at < ps->len && !toml_newline(ps, ps->at))
		return toml_bad(ps, ps->at, "%s inside a comment", toml_glyph(ps, ps->at).text);
	return 0;
}

/* Blanks, line ends and comments between the pieces of an array or an inline table. */
static int skip_gap(struct parser *ps)
{
	uint32_t newline;

	for (;;) {
		skip_blanks(ps);
		if (skip_comment(ps) < 0)
			return -1;
		newline = toml_newline(ps, ps->at);
		if (!newline)
			return 0;
		ps->at += newline;
	}
}

static int read_array(struct parser *ps, uint32_t depth, struct toml_value **ret)
{
	uint32_t start = ps->at++;
	struct toml_value *array = new_array(ps, TOML_CLOSED, start), *value = NULL;

	if (!array)
		return -1;
	for (;;) {
		if (skip_gap(ps) < 0)
			return -1;
		if (ps->at == ps->len)
			return toml_bad(ps, start, "the array that starts here never ends");
		if (ps->text[ps->at] == ']')
			break;
		if (read_value(ps, depth + 1, &value) < 0 ||
		    array_push(ps, array->array, value) < 0 || skip_gap(ps) < 0)
			return -1;
		if (ps->text[ps->at] == ',')
			ps->at++;
		else if (ps->at < ps->len && ps->text[ps->at] != ']')
			return toml_bad(ps, ps->at, "%s where ',' or ']' belongs",
			                toml_glyph(ps, ps->at).text);
	}
	array->end = ++ps->at;
	*ret = array;
	return 0;
}

static int read_inline_entry(struct parser *ps, uint32_t depth, struct toml_value *table,
                             uint32_t *inout_cap)
{
	struct toml_inline *inlines, entry = { .key_start = ps->at };
	struct toml_value *value = NULL;
	struct key key = { .nparts = 0 };

	if (read_key(ps, depth, &key) < 0)
		return -1;
	if (ps->text[ps->at] != '=')
		return toml_bad(ps, ps->at, "%s where '=' belongs", toml_glyph(ps, ps->at).text);
	ps->at++;
	skip_blanks(ps);
	entry.value_start = ps->at;
	if (read_value(ps, depth + key.nparts, &value) < 0 ||
	    put_dotted(ps, table, &key, value) < 0)
		return -1;
	entry.value_end = ps->at;
	entry.path = keep_parts(ps, &key);
	entry.nparts = key.nparts;
	entry.value = value;
	inlines = room_for_one(ps, table->table->inlines, table->table->ninlines, inout_cap,
	                       sizeof(*inlines));
	if (!entry.path || !inlines)
		return -1;
	table->table->inlines = inlines;
	inlines[table->table->ninlines++] = entry;
	return 0;
}

static int read_inline_table(struct parser *ps, uint32_t depth, struct toml_value **ret)
{
	uint32_t start = ps->at++, cap = 0;
	struct toml_value *table = new_table(ps, TOML_CLOSED, start, start);

	if (!table)
		return -1;
	for (;;) {
		if (skip_gap(ps) < 0)
			return -1;
		if (ps->at == ps->len)
			return toml_bad(ps, start, "the table that starts here never ends");
		if (ps->text[ps->at] == '}')
			break;
		if (read_inline_entry(ps, depth, table, &cap) < 0 || skip_gap(ps) < 0)
			return -1;
		if (ps->text[ps->at] == ',')
			ps->at++;
		else if (ps->at < ps->len && ps->text[ps->at] != '}')
			return toml_bad(ps, ps->at, "%s where ',' or '}' belongs",
			                toml_glyph(ps, ps->at).text);
	}
	table->end = ++ps->at;
	*ret = table;
	return 0;
}

/* @depth: of this value, the root being 0. */
static int read_value(struct parser *ps, uint32_t depth, struct toml_value **ret)
{
	char c = ps->text[ps->at];
	struct toml_value *value;

	if (depth > TOML_MAX_DEPTH)
		return toml_bad(ps, ps->at, "nested deeper than %d levels", TOML_MAX_DEPTH);
	if (c == '[')
		return read_array(ps, depth, ret);
	if (c == '{')
		return read_inline_table(ps, depth, ret);
	value = toml_take(ps, sizeof(*value));
	if (!value)
		return -1;
	value->start = ps->at;
	if (c == '"' || c == '\'') {
		value->type = TOML_STRING;
		if (toml_read_string(ps, true, &value->string) < 0)
			return -1;
	} else if (toml_read_scalar(ps, value) < 0) {
		return -1;
	}
	value->end = ps->at;
	*ret = value;
	return 0;
}

/* --------------------------------------------------------------------------------------------------------- lines */

struct section {
	struct toml_value *table; /* what keys are put into */
	const struct str *parts;  /* of its header */
	uint32_t nparts;
};

/* Where [a.b.c] finds its c: through a and b. */
static int walk_header(struct parser *ps, const struct key *key, struct toml_value **ret)
{
	struct toml_value *table = ps->doc->root, *next;
	struct toml_entry *entry;

	for (uint32_t i = 0; i + 1 < key->nparts; i++) {
		entry = table_find(table->table, key->parts[i]);
		if (!entry) {
			next = new_table(ps, TOML_IMPLICIT, key->at[i], key->end);
			if (!next ||
			    table_put(ps, table->table, key->parts[i], key->at[i], next) < 0)
				return -1;
			table = next;
			continue;
		}
		next = entry->value;
		if (next->type == TOML_ARRAY && next->origin == TOML_HEADER)
			next = next->array->items[next->array->count - 1];
		if (next->type != TOML_TABLE || next->origin == TOML_CLOSED)
			return toml_bad(
				ps, key->at[i], "%s: nothing can be added to what line %u defined",
				key_name(key, i + 1).text, toml_place(ps->doc, entry->key_at).line);
		table = next;
	}
	*ret = table;
	return 0;
}

static int open_table(struct parser *ps, struct toml_value *parent, const struct key *key,
                      uint32_t start, struct toml_value **ret)
{
	uint32_t last = key->nparts - 1;
	struct toml_entry *entry = table_find(parent->table, key->parts[last]);

	if (!entry) {
		*ret = new_table(ps, TOML_HEADER, start, ps->at);
		return *ret ? table_put(ps, parent->table, key->parts[last], key->at[last], *ret)
		            : -1;
	}
	if (entry->value->type != TOML_TABLE || entry->value->origin != TOML_IMPLICIT)
		return twice(ps, key, last, entry);
	*ret = entry->value;
	entry->value->origin = TOML_HEADER;
	entry->value->start = start;
	entry->value->end = ps->at;
	return 0;
}

static int open_element(struct parser *ps, struct toml_value *parent, const struct key *key,
                        uint32_t start, struct toml_value **ret)
{
	uint32_t last = key->nparts - 1;
	struct toml_entry *entry = table_find(parent->table, key->parts[last]);
	struct toml_value *array;

	if (entry) {
		array = entry->value;
		if (array->type != TOML_ARRAY || array->origin != TOML_HEADER)
			return twice(ps, key, last, entry);
	} else {
		array = new_array(ps, TOML_HEADER, start);
		if (!array ||
		    table_put(ps, parent->table, key->parts[last], key->at[last], array) < 0)
			return -1;
	}
	array->end = ps->at;
	*ret = new_table(ps, TOML_HEADER, start, ps->at);
	return *ret ? array_push(ps, array->array, *ret) : -1;
}

static int read_header(struct parser *ps, struct section *section, struct toml_item *item)
{
	uint32_t start = ps->at;
	bool is_element = ps->text[start + 1] == '[';
	struct toml_value *parent = NULL, *table = NULL;
	struct key key = { .nparts = 0 };

	ps->at += is_element ? 2 : 1;
	skip_blanks(ps);
	item->kind = is_element ? TOML_ITEM_ELEMENT : TOML_ITEM_TABLE;
	item->key_start = ps->at;
	if (read_key(ps, 0, &key) < 0)
		return -1;
	if (ps->text[ps->at] != ']')
		return toml_bad(ps, ps->at, "%s where ']' belongs", toml_glyph(ps, ps->at).text);
	ps->at++;
	if (is_element && ps->text[ps->at] != ']')
		return toml_bad(ps, ps->at, "%s where the second ']' belongs",
		                toml_glyph(ps, ps->at).text);
	ps->at += is_element;
	if (walk_header(ps, &key, &parent) < 0 ||
	    (is_element ? open_element(ps, parent, &key, start, &table)
	                : open_table(ps, parent, &key, start, &table)) < 0)
		return -1;
	item->key = keep_parts(ps, &key);
	if (!item->key)
		return -1;
	item->nkey = key.nparts;
	item->value = table;
	*section = (struct section){ table, item->key, key.nparts };
	return 0;
}

static int read_key_value(struct parser *ps, const struct section *section, struct toml_item *item)
{
	struct toml_value *value = NULL;
	struct key key = { .nparts = 0 };

	item->kind = TOML_ITEM_KEY;
	item->key_start = ps->at;
	if (read_key(ps, section->nparts, &key) < 0)
		return -1;
	if (ps->text[ps->at] != '=')
		return toml_bad(ps, ps->at, "%s where '=' belongs", toml_glyph(ps, ps->at).text);
	ps->at++;
	skip_blanks(ps);
	if (read_value(ps, section->nparts + key.nparts, &value) < 0 ||
	    put_dotted(ps, section->table, &key, value) < 0)
		return -1;
	item->header = section->parts;
	item->nheader = section->nparts;
	item->key = keep_parts(ps, &key);
	item->nkey = key.nparts;
	item->value = value;
	return item->key ? 0 : -1;
}

/* One item. Every call moves ps->at. */
static int read_line(struct parser *ps, struct section *section, struct toml_item *item)
{
	int rc = 0;

	*item = (struct toml_item){ .start = ps->at };
	skip_blanks(ps);
	if (ps->at == ps->len || toml_newline(ps, ps->at))
		item->kind = TOML_ITEM_BLANK;
	else if (ps->text[ps->at] == '#')
		item->kind = TOML_ITEM_COMMENT;
	else if (ps->text[ps->at] == '[')
		rc = read_header(ps, section, item);
	else
		rc = read_key_value(ps, section, item);
	if (rc < 0)
		return -1;
	skip_blanks(ps);
	if (skip_comment(ps) < 0)
		return -1;
	if (ps->at < ps->len && !toml_newline(ps, ps->at))
		return toml_bad(ps, ps->at, "%s where the line should end",
		                toml_glyph(ps, ps->at).text);
	ps->at += toml_newline(ps, ps->at);
	item->end = ps->at;
	return 0;
}

static int read_lines(struct parser *ps)
{
	struct section section = { ps->doc->root, NULL, 0 };
	struct toml_item *items, item;
	uint32_t cap = 0;

	while (ps->at < ps->len) {
		if (read_line(ps, &section, &item) < 0)
			return -1;
		items = room_for_one(ps, ps->doc->items, ps->doc->nitems, &cap, sizeof(*items));
		if (!items)
			return -1;
		ps->doc->items = items;
		items[ps->doc->nitems++] = item;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ document */

static int index_lines(struct parser *ps)
{
	struct toml *doc = ps->doc;
	uint32_t count = 1;

	for (uint32_t i = 0; i < ps->len; i++)
		count += ps->text[i] == '\n';
	doc->lines = toml_take(ps, count * sizeof(*doc->lines));
	if (!doc->lines)
		return -1;
	doc->nlines = 1;
	for (uint32_t i = 0; i < ps->len; i++)
		if (ps->text[i] == '\n')
			doc->lines[doc->nlines++] = i + 1;
	return 0;
}

static int check_utf8(struct parser *ps)
{
	size_t seq;

	for (uint32_t at = ps->at; at < ps->len; at += (uint32_t)seq) {
		if ((unsigned char)ps->text[at] < 0x80) {
			seq = 1;
			continue;
		}
		seq = str_utf8_seq((struct str){ ps->text + at, ps->len - at });
		if (!seq) {
			ps->fault.is_utf8 = true;
			return toml_bad(ps, at, "byte 0x%02x is not UTF-8",
			                (unsigned char)ps->text[at]);
		}
	}
	return 0;
}

static int read_document(struct parser *ps, const char *text)
{
	struct toml *doc = ps->doc;
	char *copy = toml_take(ps, (size_t)ps->len + 2); /* looking two ahead stays inside */

	ps->seed = toml_take(ps, 2 * sizeof(*ps->seed));
	if (!copy || !ps->seed)
		return -1;
	ps->seed[0] = rand_u64();
	ps->seed[1] = rand_u64();
	if (ps->len)
		memcpy(copy, text, ps->len);
	ps->text = doc->text = copy;
	doc->len = ps->len;
	doc->has_bom = strncmp(copy, bom, 3) == 0;
	ps->at = doc->has_bom ? 3 : 0;
	doc->root = new_table(ps, TOML_IMPLICIT, 0, 0);
	if (!doc->root || index_lines(ps) < 0 || check_utf8(ps) < 0)
		return -1;
	return read_lines(ps);
}

struct toml *toml_parse(const char *what, const char *text, size_t len,
                        struct toml_fault *ret_fault, struct err *err)
{
	cleanup(toml_free) struct toml *doc = calloc(1, sizeof(*doc));
	struct parser ps = { .doc = doc, .len = (uint32_t)len };
	int rc = -1;

	if (len > TOML_MAX_BYTES) {
		err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: larger than %u bytes", what,
		        TOML_MAX_BYTES);
		return NULL;
	}
	if (doc)
		doc->arena = calloc(1, sizeof(*doc->arena));
	buf_init(&ps.scratch, TOML_MAX_BYTES + 8);
	if (doc && doc->arena)
		rc = read_document(&ps, text);
	else
		ps.is_out_of_memory = true;
	buf_release(&ps.scratch);
	if (rc == 0)
		return take_ptr(doc);
	if (ps.is_out_of_memory) {
		err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: not enough memory to read it", what);
		return NULL;
	}
	err_set(err, CODE_INVALID_ARGUMENT, "%s:%u:%u: %s", what, ps.fault.place.line,
	        ps.fault.place.col, ps.fault.text);
	if (ret_fault)
		*ret_fault = ps.fault;
	return NULL;
}

void toml_free(struct toml *toml)
{
	struct chunk *chunk, *next;

	if (!toml)
		return;
	for (chunk = toml->arena ? toml->arena->chunks : NULL; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(toml->arena);
	free(toml);
}

/* -------------------------------------------------------------------------------------------------------- lookup */

const struct toml_entry *toml_entry(const struct toml_value *table, struct str key)
{
	return toml_is(table, TOML_TABLE) ? table_find(table->table, key) : NULL;
}

const struct toml_value *toml_get_str(const struct toml_value *table, struct str key)
{
	const struct toml_entry *entry = toml_entry(table, key);

	return entry ? entry->value : NULL;
}

const struct toml_value *toml_get(const struct toml_value *table, const char *key)
{
	return toml_get_str(table, str_of(key));
}

const char *toml_type_name(enum toml_type type)
{
	switch (type) {
	case TOML_STRING:
		return "a string";
	case TOML_INTEGER:
		return "an integer";
	case TOML_FLOAT:
		return "a float";
	case TOML_BOOL:
		return "a boolean";
	case TOML_DATETIME:
	case TOML_DATETIME_LOCAL:
		return "a date-time";
	case TOML_DATE_LOCAL:
		return "a date";
	case TOML_TIME_LOCAL:
		return "a time";
	case TOML_ARRAY:
		return "an array";
	case TOML_TABLE:
		return "a table";
	}
	return "nothing";
}

static bool time_equal(const struct toml_time *a, const struct toml_time *b)
{
	return a->year == b->year && a->month == b->month && a->day == b->day &&
	       a->hour == b->hour && a->minute == b->minute && a->second == b->second &&
	       a->nanosecond == b->nanosecond && a->has_offset == b->has_offset &&
	       a->offset_minutes == b->offset_minutes;
}

bool toml_equal(const struct toml_value *a, const struct toml_value *b)
{
	size_t count = toml_count(a);

	if (a->type != b->type || toml_count(b) != count)
		return false;
	switch ((enum toml_type)a->type) {
	case TOML_STRING:
		return str_same(a->string, b->string);
	case TOML_INTEGER:
		return a->integer == b->integer;
	case TOML_FLOAT:
		return a->real == b->real || (a->real != a->real && b->real != b->real);
	case TOML_BOOL:
		return a->boolean == b->boolean;
	case TOML_DATETIME:
	case TOML_DATETIME_LOCAL:
	case TOML_DATE_LOCAL:
	case TOML_TIME_LOCAL:
		return time_equal(a->time, b->time);
	case TOML_ARRAY:
		for (size_t i = 0; i < count; i++)
			if (!toml_equal(toml_item_at(a, i), toml_item_at(b, i)))
				return false;
		return true;
	case TOML_TABLE:
		for (size_t i = 0; i < count; i++) {
			const struct toml_entry *entry = toml_entry_at(a, i);
			const struct toml_value *other = toml_get_str(b, entry->key);

			if (!other || !toml_equal(entry->value, other))
				return false;
		}
		return true;
	}
	return false;
}
