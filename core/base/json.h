/* core/base/json.h
 *
 * A thin bounded wrapper over yyjson. Foreign documents go through json_parse: size, depth (64) and
 * node count are limited, duplicate keys are refused, big integers keep their text. Accessors have
 * a default and never crash on a wrong type; the *_req ones fail naming the key. Writers use
 * yyjson's mutable API directly (yyjson.h may be included beside this).
 */
#ifndef CORACLE_CORE_BASE_JSON_H
#define CORACLE_CORE_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/str.h"

#define JSON_MAX_DEPTH 64

/* json_parse - INVALID_ARGUMENT "what: byte N: reason" on anything wrong. Free with
 * yyjson_doc_free. */
NODISCARD yyjson_doc *json_parse(const char *text, size_t len, size_t max_bytes, const char *what,
                                 struct err *err);

/* Missing or of another type: the default. @obj may be NULL. */
const char *json_str(yyjson_val *obj, const char *key, const char *dflt);
int64_t json_i64(yyjson_val *obj, const char *key, int64_t dflt);
uint64_t json_u64(yyjson_val *obj, const char *key, uint64_t dflt);
bool json_bool(yyjson_val *obj, const char *key, bool dflt);
yyjson_val *json_obj(yyjson_val *obj, const char *key); /* NULL unless an object */
yyjson_val *json_arr(yyjson_val *obj, const char *key); /* NULL unless an array */
NODISCARD int json_str_req(yyjson_val *obj, const char *key, const char *what, const char **ret,
                           struct err *err);

/* Heap text (compact or pretty with 2 blanks), NUL terminated. NULL only when memory is out. */
NODISCARD char *json_write(const yyjson_mut_doc *doc, bool pretty, size_t *ret_len);
/* JSON string literal of @s with quotes, invalid UTF-8 replaced by U+FFFD; heap. For log lines and
 * hand-written output. */
NODISCARD char *json_quote(const char *s);

DEFINE_CLEANUP_PTR(yyjson_doc, yyjson_doc_free);
DEFINE_CLEANUP_PTR(yyjson_mut_doc, yyjson_mut_doc_free);

#endif
