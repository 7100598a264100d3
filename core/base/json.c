/* core/base/json.c
 *
 * yyjson reads fast and accepts what RFC 8259 allows. Foreign documents need more: bounds that hold
 * before memory is spent (a cheap scan counts depth and values ahead of the parser), no duplicate
 * keys (the peers let the last one win, yyjson the first: two readers of one document must not see
 * two things) and no NUL in strings (C would see half of them).
 */
#include "core/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/mem.h"

#define MAX_VALUES ((size_t)1024 * 1024) /* 16 bytes each */
#define FEW_KEYS   16                    /* compared pair by pair, without memory */
#define REPLACED   "\xef\xbf\xbd"        /* U+FFFD */

/* Depth and an upper bound of the number of values, from brackets and commas outside strings. Says
 * nothing about syntax. */
static int check_bounds(const char *text, size_t len, const char *what, struct err *err)
{
	size_t depth = 0, values = 1;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		switch (c) {
		case '"':
			in_string = true;
			break;
		case '[':
		case '{':
			if (++depth > JSON_MAX_DEPTH)
				return err_set(err, CODE_INVALID_ARGUMENT,
				               "%s: byte %zu: nested deeper than %d", what, i,
				               JSON_MAX_DEPTH);
			values++;
			break;
		case ']':
		case '}':
			depth -= depth > 0;
			break;
		case ',':
		case ':':
			values++;
			break;
		default:
			break;
		}
		if (values > MAX_VALUES)
			return err_set(err, CODE_RESOURCE_EXHAUSTED,
			               "%s: byte %zu: more than %zu values", what, i, MAX_VALUES);
	}
	return 0;
}

static int by_text(const void *a, const void *b)
{
	const yyjson_val *x = *(yyjson_val *const *)a;
	const yyjson_val *y = *(yyjson_val *const *)b;
	size_t x_len = unsafe_yyjson_get_len((void *)(uintptr_t)x);
	size_t y_len = unsafe_yyjson_get_len((void *)(uintptr_t)y);

	if (x_len != y_len)
		return x_len < y_len ? -1 : 1;
	return memcmp(x->uni.str, y->uni.str, x_len);
}

static yyjson_val *find_duplicate_sorted(yyjson_val *obj, size_t count)
{
	cleanup_free yyjson_val **keys = xcalloc(count, sizeof(yyjson_val *));
	yyjson_obj_iter iter = yyjson_obj_iter_with(obj);

	for (size_t i = 0; i < count; i++)
		keys[i] = yyjson_obj_iter_next(&iter);
	qsort(keys, count, sizeof(*keys), by_text);
	for (size_t i = 1; i < count; i++)
		if (by_text(&keys[i - 1], &keys[i]) == 0)
			return MAX(keys[i - 1],
			           keys[i]); /* values lie in document order: the later one */
	return NULL;
}

static yyjson_val *find_duplicate(yyjson_val *obj)
{
	size_t count = yyjson_obj_size(obj);
	yyjson_val *keys[FEW_KEYS];
	yyjson_obj_iter iter;

	if (count > FEW_KEYS)
		return find_duplicate_sorted(obj, count);
	iter = yyjson_obj_iter_with(obj);
	for (size_t i = 0; i < count; i++) {
		keys[i] = yyjson_obj_iter_next(&iter);
		for (size_t k = 0; k < i; k++)
			if (by_text(&keys[k], &keys[i]) == 0)
				return keys[i];
	}
	return NULL;
}

/* The values of a parsed document lie in one array, in document order. Strings point into a copy of
 * the text, at their place in it. */
static int check_values(yyjson_doc *doc, const char *what, struct err *err)
{
	size_t count = yyjson_doc_get_val_count(doc);

	for (size_t i = 0; i < count; i++) {
		yyjson_val *val = doc->root + i;
		yyjson_val *twice;

		if (yyjson_is_str(val) && memchr(val->uni.str, '\0', unsafe_yyjson_get_len(val)))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: byte %zu: a string with a NUL character", what,
			               (size_t)(val->uni.str - doc->str_pool));
		if (!yyjson_is_obj(val))
			continue;
		twice = find_duplicate(val);
		if (twice)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "%s: byte %zu: duplicate key \"%.64s\"", what,
			               (size_t)(twice->uni.str - doc->str_pool), twice->uni.str);
	}
	return 0;
}

yyjson_doc *json_parse(const char *text, size_t len, size_t max_bytes, const char *what,
                       struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	yyjson_read_err why;

	if (len > max_bytes) {
		err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: larger than %zu bytes", what, max_bytes);
		return NULL;
	}
	if (check_bounds(text, len, what, err) < 0)
		return NULL;
	/* without the in-situ flag the text is only read */
	doc = yyjson_read_opts((char *)(uintptr_t)text, len, YYJSON_READ_BIGNUM_AS_RAW, NULL, &why);
	if (!doc && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
		err_set(err, CODE_RESOURCE_EXHAUSTED, "%s: out of memory", what);
		return NULL;
	}
	if (!doc) {
		err_set(err, CODE_INVALID_ARGUMENT, "%s: byte %zu: %s", what, why.pos, why.msg);
		return NULL;
	}
	if (check_values(doc, what, err) < 0)
		return NULL;
	return take_ptr(doc);
}

const char *json_str(yyjson_val *obj, const char *key, const char *dflt)
{
	const char *text = yyjson_get_str(yyjson_obj_get(obj, key));

	return text ? text : dflt;
}

int64_t json_i64(yyjson_val *obj, const char *key, int64_t dflt)
{
	yyjson_val *val = yyjson_obj_get(obj, key);

	if (yyjson_is_sint(val))
		return yyjson_get_sint(val);
	if (yyjson_is_uint(val) && yyjson_get_uint(val) <= INT64_MAX)
		return (int64_t)yyjson_get_uint(val);
	return dflt;
}

uint64_t json_u64(yyjson_val *obj, const char *key, uint64_t dflt)
{
	yyjson_val *val = yyjson_obj_get(obj, key);

	return yyjson_is_uint(val) ? yyjson_get_uint(val) : dflt;
}

bool json_bool(yyjson_val *obj, const char *key, bool dflt)
{
	yyjson_val *val = yyjson_obj_get(obj, key);

	return yyjson_is_bool(val) ? yyjson_get_bool(val) : dflt;
}

yyjson_val *json_obj(yyjson_val *obj, const char *key)
{
	yyjson_val *val = yyjson_obj_get(obj, key);

	return yyjson_is_obj(val) ? val : NULL;
}

yyjson_val *json_arr(yyjson_val *obj, const char *key)
{
	yyjson_val *val = yyjson_obj_get(obj, key);

	return yyjson_is_arr(val) ? val : NULL;
}

int json_str_req(yyjson_val *obj, const char *key, const char *what, const char **ret,
                 struct err *err)
{
	yyjson_val *val;

	if (!yyjson_is_obj(obj))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: not a JSON object", what);
	val = yyjson_obj_get(obj, key);
	if (!val)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%s\" is missing", what, key);
	if (!yyjson_is_str(val))
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%s\" is %s, not a string", what,
		               key, yyjson_get_type_desc(val));
	*ret = yyjson_get_str(val);
	return 0;
}

/* Invalid UTF-8 becomes U+FFFD, one per bad byte. */
static char *repaired(struct str text, size_t *ret_len)
{
	cleanup(buf_release) struct buf out = { 0 };

	buf_init(&out, SIZE_MAX / 4);
	while (text.len) {
		size_t n = str_utf8_seq(text);

		if (buf_add(&out, n ? text.p : REPLACED, n ? n : strlen(REPLACED)) < 0)
			return NULL;
		n = MAX(n, (size_t)1);
		text.p += n;
		text.len -= n;
	}
	*ret_len = out.len;
	return buf_take_str(&out);
}

/* The writer refuses what has no JSON form: bad UTF-8 in a string, a number that is not finite. */
static bool repair_value(yyjson_mut_doc *doc, yyjson_mut_val *val)
{
	if (yyjson_mut_is_str(val)) {
		cleanup_free char *text = NULL;
		const char *copy;
		size_t len;

		text = repaired((struct str){ yyjson_mut_get_str(val), yyjson_mut_get_len(val) },
		                &len);
		copy = text ? unsafe_yyjson_mut_strncpy(doc, text, len) : NULL;
		return copy && yyjson_mut_set_strn(val, copy, len);
	}
	if (yyjson_mut_is_real(val) && !isfinite(yyjson_mut_get_real(val)))
		return yyjson_mut_set_null(val);
	return true;
}

static bool repair_tree(yyjson_mut_doc *doc, yyjson_mut_val *val)
{
	if (yyjson_mut_is_arr(val)) {
		yyjson_mut_arr_iter iter = yyjson_mut_arr_iter_with(val);
		yyjson_mut_val *item;

		while ((item = yyjson_mut_arr_iter_next(&iter)))
			if (!repair_tree(doc, item))
				return false;
		return true;
	}
	if (yyjson_mut_is_obj(val)) {
		yyjson_mut_obj_iter iter = yyjson_mut_obj_iter_with(val);
		yyjson_mut_val *key;

		while ((key = yyjson_mut_obj_iter_next(&iter)))
			if (!repair_value(doc, key) ||
			    !repair_tree(doc, yyjson_mut_obj_iter_get_val(key)))
				return false;
		return true;
	}
	return repair_value(doc, val);
}

char *json_write(const yyjson_mut_doc *doc, bool pretty, size_t *ret_len)
{
	const yyjson_write_flag flags =
		pretty ? YYJSON_WRITE_PRETTY_TWO_SPACES : YYJSON_WRITE_NOFLAG;
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *copy = NULL;
	yyjson_write_err why;
	char *text;

	text = yyjson_mut_write_opts(doc, flags, NULL, ret_len, &why);
	if (text || why.code == YYJSON_WRITE_ERROR_MEMORY_ALLOCATION)
		return text;

	/* Rare: text that somebody else wrote. Documents we build are shallow, so the walk may
	 * recurse. */
	copy = yyjson_mut_doc_mut_copy((yyjson_mut_doc *)(uintptr_t)doc, NULL);
	if (!copy || !repair_tree(copy, yyjson_mut_doc_get_root(copy)))
		return NULL;
	return yyjson_mut_write_opts(copy, flags, NULL, ret_len, NULL);
}

char *json_quote(const char *s)
{
	cleanup(buf_release) struct buf out = { 0 };
	struct str text = str_of(s);
	int rc;

	buf_init(&out, SIZE_MAX / 4);
	rc = buf_add_str(&out, "\"");
	while (text.len && rc == 0) {
		size_t n = str_utf8_seq(text);
		unsigned char c = (unsigned char)text.p[0];

		if (!n)
			rc = buf_add_str(&out, REPLACED);
		else if (c == '"' || c == '\\')
			rc = buf_printf(&out, "\\%c", c);
		else if (c == '\n' || c == '\r' || c == '\t')
			rc = buf_printf(&out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
		else if (c < ' ' || c == 0x7f)
			rc = buf_printf(&out, "\\u%04x", c);
		else
			rc = buf_add(&out, text.p, n);
		n = MAX(n, (size_t)1);
		text.p += n;
		text.len -= n;
	}
	if (rc < 0 || buf_add_str(&out, "\"") < 0)
		return NULL;
	return buf_take_str(&out);
}
