/* core/base/toml.h
 *
 * A TOML reader (1.0, and what 1.1 accepts on top) for files that are read, and edited by hand of
 * the caller: every value, key and line keeps its place in the text, tables keep source order.
 *
 * A document is two views of one text: the tree of values, and the list of items (lines, roughly)
 * which together cover every byte. A text that is not TOML yields no document at all.
 *
 * Everything belongs to the document; pointers live until toml_free. The text is copied.
 * Memory is bounded: TOML_MAX_MEMORY for the worst text, some 20 bytes per byte for usual ones.
 */
#ifndef CORACLE_CORE_BASE_TOML_H
#define CORACLE_CORE_BASE_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"

#define TOML_MAX_BYTES  (16u << 20)
#define TOML_MAX_MEMORY (1u << 30)
#define TOML_MAX_DEPTH  64 /* of a value in the tree: key parts, arrays and inline tables above it */

enum toml_type {
	TOML_STRING = 1,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOL,
	TOML_DATETIME,       /* with an offset from UTC */
	TOML_DATETIME_LOCAL, /* without */
	TOML_DATE_LOCAL,
	TOML_TIME_LOCAL,
	TOML_ARRAY,
	TOML_TABLE,
};

/* How a table (or an array of tables) came to be; decides what may still be added to it. */
enum toml_origin {
	TOML_IMPLICIT = 1, /* [a.b] makes a; the root is one too */
	TOML_HEADER,       /* [a]; [[a]] makes the array and each of its tables this way */
	TOML_DOTTED,       /* a.b = 1 makes a */
	TOML_CLOSED,       /* written as a value: { } or [ ] */
};

struct toml_value;

struct toml_entry {
	struct str key;  /* decoded, NUL terminated (may hold NUL bytes as well) */
	uint32_t key_at; /* offset of the key where the entry was first named */
	struct toml_value *value;
};

/* One `key = value` inside { }, in source order. A dotted key has several parts. */
struct toml_inline {
	const struct str *path; /* parts, relative to the inline table */
	uint32_t nparts;
	uint32_t key_start, value_start, value_end; /* offsets; blanks and commas lie outside */
	const struct toml_value *value;
};

struct toml_table {
	struct toml_entry *entries; /* source order */
	uint32_t count, cap;
	uint32_t *index; /* private: open addressing, for tables with many entries */
	uint32_t index_size;
	struct toml_inline *inlines; /* only of a table written as { } */
	uint32_t ninlines;
	const uint64_t *seed; /* private */
};

struct toml_array {
	struct toml_value **items;
	uint32_t count, cap;
};

struct toml_time {
	uint16_t year;
	uint8_t month, day, hour, minute, second; /* second: up to 60 */
	bool has_offset;
	int16_t offset_minutes;
	uint32_t nanosecond; /* digits beyond the ninth are cut */
};

struct toml_value {
	uint8_t type;   /* enum toml_type */
	uint8_t origin; /* enum toml_origin; tables and arrays only */
	uint32_t start,
		end; /* offsets of its text; of a header: of the [line], of a dotted key: of the key */
	union {
		struct str string; /* decoded, NUL terminated behind len */
		int64_t integer;
		double real;
		bool boolean;
		struct toml_time *time;
		struct toml_array *array;
		struct toml_table *table;
	};
};

enum toml_item_kind {
	TOML_ITEM_BLANK = 1, /* nothing but blanks */
	TOML_ITEM_COMMENT,   /* a line of its own */
	TOML_ITEM_TABLE,     /* [a.b] */
	TOML_ITEM_ELEMENT,   /* [[a.b]] */
	TOML_ITEM_KEY,       /* a.b = value, up to the last line of the value */
};

/* From the start of its first line to the end of its last one: indentation, trailing comment and
 * line end included. */
struct toml_item {
	uint8_t kind; /* enum toml_item_kind */
	uint32_t start, end;
	uint32_t key_start; /* offset of the first key part */
	const struct str *header,
		*key;           /* decoded parts: of the header above, of this item's own key */
	uint32_t nheader, nkey; /* see toml_item_part() */
	const struct toml_value *value; /* of a key; of a header its table */
};

struct toml {
	const char *text; /* NUL terminated copy, BOM included */
	uint32_t len;
	bool has_bom; /* items start behind it */
	struct toml_value *root;
	struct toml_item *items;
	uint32_t nitems;
	uint32_t *lines; /* offset of the start of every line */
	uint32_t nlines;
	struct toml_arena *arena; /* private */
};

struct toml_place {
	uint32_t line, col; /* from 1; col in bytes, a BOM not counted */
};

/* What is wrong with a text that is no TOML. */
struct toml_fault {
	struct toml_place place; /* of the first offending byte */
	bool is_utf8;            /* the bytes are not UTF-8 */
	char text[200];          /* without file and place */
};

/*
 * toml_parse - read @text.
 * @what:      file name that errors begin with: "what:LINE:COL: reason".
 * @ret_fault: the same in pieces, filled when INVALID_ARGUMENT is returned; may be NULL.
 * Returns:    a document for toml_free, or NULL.
 * Errors:     INVALID_ARGUMENT; RESOURCE_EXHAUSTED (larger than TOML_MAX_BYTES, or memory is out).
 */
NODISCARD struct toml *toml_parse(const char *what, const char *text, size_t len,
                                  struct toml_fault *ret_fault, struct err *err);
void toml_free(struct toml *toml);
DEFINE_CLEANUP_PTR(struct toml, toml_free);

/* The path of an item from the root: toml_item_nparts() decoded parts; of a header just its own. */
static inline uint32_t toml_item_nparts(const struct toml_item *item)
{
	return item->nheader + item->nkey;
}

static inline struct str toml_item_part(const struct toml_item *item, uint32_t i)
{
	return i < item->nheader ? item->header[i] : item->key[i - item->nheader];
}

/* Line and column of a byte. */
struct toml_place toml_place(const struct toml *toml, uint32_t offset);

/* The value called @key. NULL: there is none, or @table is NULL or no table, so lookups nest. */
const struct toml_value *toml_get(const struct toml_value *table, const char *key);
const struct toml_value *toml_get_str(const struct toml_value *table, struct str key);
/* The entry itself, for its place; NULL as above. */
const struct toml_entry *toml_entry(const struct toml_value *table, struct str key);

/* NULL and other types: false, 0 entries, 0 items. */
static inline bool toml_is(const struct toml_value *value, enum toml_type type)
{
	return value && value->type == type;
}

static inline size_t toml_count(const struct toml_value *value)
{
	if (!value)
		return 0;
	if (value->type == TOML_TABLE)
		return value->table->count;
	return value->type == TOML_ARRAY ? value->array->count : 0;
}

/* for (i = 0; i < toml_count(v); i++): the i-th element of an array, the i-th entry of a table. */
static inline const struct toml_value *toml_item_at(const struct toml_value *array, size_t i)
{
	return array->array->items[i];
}

static inline const struct toml_entry *toml_entry_at(const struct toml_value *table, size_t i)
{
	return &table->table->entries[i];
}

/* "a string", "an integer", ...: for messages. */
const char *toml_type_name(enum toml_type type);

/* Same type and value; tables as sets of keys, NaN equals NaN. */
bool toml_equal(const struct toml_value *a, const struct toml_value *b);

#endif
