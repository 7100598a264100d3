/* Foreign JSON: what is accepted can be looked up without surprises and is written as something
 * that is accepted again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/json.h"
#include "core/base/str.h"

#define MAX_BYTES ((size_t)1024 * 1024)

/* The accessors on every object: no two keys alike, no string that ends early, a default of ours
 * where types differ. */
static void look_up(yyjson_doc *doc)
{
	size_t count = yyjson_doc_get_val_count(doc);

	for (size_t i = 0; i < count; i++) {
		yyjson_val *obj = yyjson_doc_get_root(doc) + i;
		yyjson_obj_iter iter = yyjson_obj_iter_with(obj);
		yyjson_val *key;

		while (yyjson_is_obj(obj) && (key = yyjson_obj_iter_next(&iter))) {
			const char *name = yyjson_get_str(key);
			yyjson_val *val = yyjson_obj_iter_get_val(key);
			const char *text = json_str(obj, name, NULL);

			ensure(strlen(name) == yyjson_get_len(key));
			ensure(yyjson_obj_get(obj, name) == val);
			ensure(!text == !yyjson_is_str(val));
			ensure(!text || strlen(text) == yyjson_get_len(val));
			ensure(!json_obj(obj, name) == !yyjson_is_obj(val));
			ensure(!json_arr(obj, name) == !yyjson_is_arr(val));
			ensure(json_i64(obj, name, 0) == json_i64(obj, name, 1) ||
			       !(yyjson_is_sint(val) ||
			         (yyjson_is_uint(val) && yyjson_get_uint(val) <= INT64_MAX)));
		}
	}
}

static void write_and_read_again(yyjson_doc *doc)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *copy = yyjson_doc_mut_copy(doc, NULL);
	struct err err;

	for (int pretty = 0; pretty < 2; pretty++) {
		cleanup(yyjson_doc_free) yyjson_doc *again = NULL;
		cleanup_free char *text = NULL;
		size_t len;

		text = json_write(copy, pretty, &len);
		ensure(text);
		again = json_parse(text, len, 16 * MAX_BYTES, "again", &err);
		ensure(again && yyjson_doc_get_val_count(again) == yyjson_doc_get_val_count(doc));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc = NULL;
	cleanup(yyjson_doc_free) yyjson_doc *string = NULL;
	cleanup_free char *text = str_dup((struct str){ (const char *)data, size });
	cleanup_free char *quoted = json_quote(text);
	struct err err = { .code = CODE_OK };

	string = json_parse(quoted, strlen(quoted), 16 * MAX_BYTES, "quoted", &err);
	ensure(string && yyjson_is_str(yyjson_doc_get_root(string)));

	doc = json_parse((const char *)data, size, MAX_BYTES, "fuzz", &err);
	ensure(!doc == (err.code != CODE_OK));
	if (!doc)
		return 0;
	look_up(doc);
	write_and_read_again(doc);
	return 0;
}
