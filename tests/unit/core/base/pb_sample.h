/* tests/unit/core/base/pb_sample.h
 *
 * A message with every kind of field that nanopb can hold, described by hand the way its generator
 * does it. For one program's one source file: the descriptors are defined here.
 */
#ifndef CORACLE_TESTS_UNIT_CORE_BASE_PB_SAMPLE_H
#define CORACLE_TESTS_UNIT_CORE_BASE_PB_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

#include <pb.h>

enum kind { KIND_NONE, KIND_ONE, KIND_TWO };

struct leaf {
	uint32_t x;
	pb_bytes_array_t *raw;
};

struct inner {
	char *name;
	int64_t n;
	pb_size_t words_count;
	char **words;
	bool has_deep;
	struct leaf deep;
};

struct label { /* map<string, string> */
	char *key, *value;
};

struct by { /* map<int32, leaf> */
	int32_t key;
	bool has_value;
	struct leaf value;
};

struct sample {
	bool yes;
	int32_t i32;
	int64_t i64;
	uint32_t u32;
	uint64_t u64;
	int32_t s32;
	int64_t s64;
	uint32_t f32;
	uint64_t f64;
	float fl;
	double db;
	enum kind kind;
	char *text;
	pb_bytes_array_t *raw;
	bool has_inner;
	struct inner inner;
	bool has_maybe;
	int32_t maybe;
	pb_size_t packed_count;
	int32_t *packed;
	pb_size_t doubles_count;
	double *doubles;
	pb_size_t flags_count;
	bool *flags;
	pb_size_t words_count;
	char **words;
	pb_size_t blobs_count;
	pb_bytes_array_t **blobs;
	pb_size_t inners_count;
	struct inner *inners;
	pb_size_t labels_count;
	struct label *labels;
	pb_size_t by_count;
	struct by *by;
	pb_size_t which_pick; /* the tag of a, b or c; 0 none */
	union {
		char *a;
		uint32_t b;
		struct inner c;
	} pick;
	char fixed_text[16];
	PB_BYTES_ARRAY_T(16) fixed_raw;
	pb_byte_t exact[4];
	pb_size_t few_count;
	int32_t few[4];
	struct inner *on_heap;
	pb_size_t zigzag_count;
	int64_t *zigzag;
	pb_size_t leaves_count;
	struct leaf leaves[3];
	struct leaf bare; /* no has_ flag: absent when empty */
	pb_size_t fixed_count;
	uint32_t *fixed;
	uint8_t small;
	int16_t small_signed;
};

/* clang-format off */
#define leaf_FIELDLIST(X, s) \
	X(s, STATIC, SINGULAR, UINT32, x, 1) \
	X(s, POINTER, SINGULAR, BYTES, raw, 2)

#define inner_FIELDLIST(X, s) \
	X(s, POINTER, SINGULAR, STRING, name, 1) \
	X(s, STATIC, SINGULAR, INT64, n, 2) \
	X(s, POINTER, REPEATED, STRING, words, 3) \
	X(s, STATIC, OPTIONAL, MESSAGE, deep, 4)

#define label_FIELDLIST(X, s) \
	X(s, POINTER, SINGULAR, STRING, key, 1) \
	X(s, POINTER, SINGULAR, STRING, value, 2)

#define by_FIELDLIST(X, s) \
	X(s, STATIC, SINGULAR, INT32, key, 1) \
	X(s, STATIC, OPTIONAL, MESSAGE, value, 2)

#define sample_FIELDLIST(X, s) \
	X(s, STATIC, SINGULAR, BOOL, yes, 1) \
	X(s, STATIC, SINGULAR, INT32, i32, 2) \
	X(s, STATIC, SINGULAR, INT64, i64, 3) \
	X(s, STATIC, SINGULAR, UINT32, u32, 4) \
	X(s, STATIC, SINGULAR, UINT64, u64, 5) \
	X(s, STATIC, SINGULAR, SINT32, s32, 6) \
	X(s, STATIC, SINGULAR, SINT64, s64, 7) \
	X(s, STATIC, SINGULAR, FIXED32, f32, 8) \
	X(s, STATIC, SINGULAR, FIXED64, f64, 9) \
	X(s, STATIC, SINGULAR, FLOAT, fl, 10) \
	X(s, STATIC, SINGULAR, DOUBLE, db, 11) \
	X(s, STATIC, SINGULAR, UENUM, kind, 12) \
	X(s, POINTER, SINGULAR, STRING, text, 13) \
	X(s, POINTER, SINGULAR, BYTES, raw, 14) \
	X(s, STATIC, OPTIONAL, MESSAGE, inner, 15) \
	X(s, STATIC, OPTIONAL, INT32, maybe, 16) \
	X(s, POINTER, REPEATED, INT32, packed, 17) \
	X(s, POINTER, REPEATED, DOUBLE, doubles, 18) \
	X(s, POINTER, REPEATED, BOOL, flags, 19) \
	X(s, POINTER, REPEATED, STRING, words, 20) \
	X(s, POINTER, REPEATED, BYTES, blobs, 21) \
	X(s, POINTER, REPEATED, MESSAGE, inners, 22) \
	X(s, POINTER, REPEATED, MESSAGE, labels, 23) \
	X(s, POINTER, REPEATED, MESSAGE, by, 24) \
	X(s, POINTER, ONEOF, STRING, (pick, a, pick.a), 25) \
	X(s, STATIC, ONEOF, UINT32, (pick, b, pick.b), 26) \
	X(s, STATIC, ONEOF, MESSAGE, (pick, c, pick.c), 27) \
	X(s, STATIC, SINGULAR, STRING, fixed_text, 28) \
	X(s, STATIC, SINGULAR, BYTES, fixed_raw, 29) \
	X(s, STATIC, SINGULAR, FIXED_LENGTH_BYTES, exact, 30) \
	X(s, STATIC, REPEATED, INT32, few, 31) \
	X(s, POINTER, OPTIONAL, MESSAGE, on_heap, 32) \
	X(s, POINTER, REPEATED, SINT64, zigzag, 33) \
	X(s, STATIC, REPEATED, MESSAGE, leaves, 34) \
	X(s, STATIC, SINGULAR, MESSAGE, bare, 35) \
	X(s, POINTER, REPEATED, FIXED32, fixed, 36) \
	X(s, STATIC, SINGULAR, UINT32, small, 1000) \
	X(s, STATIC, SINGULAR, INT32, small_signed, 1001)
/* clang-format on */

#define leaf_CALLBACK   NULL
#define leaf_DEFAULT    NULL
#define inner_CALLBACK  NULL
#define inner_DEFAULT   NULL
#define label_CALLBACK  NULL
#define label_DEFAULT   NULL
#define by_CALLBACK     NULL
#define by_DEFAULT      NULL
#define sample_CALLBACK NULL
#define sample_DEFAULT  NULL

/* The macros paste type names, which must be one word each. */
typedef struct leaf leaf;
typedef struct inner inner;
typedef struct label label;
typedef struct by by;
typedef struct sample sample;

#define inner_deep_MSGTYPE     leaf
#define by_value_MSGTYPE       leaf
#define sample_inner_MSGTYPE   inner
#define sample_inners_MSGTYPE  inner
#define sample_labels_MSGTYPE  label
#define sample_by_MSGTYPE      by
#define sample_pick_c_MSGTYPE  inner
#define sample_on_heap_MSGTYPE inner
#define sample_leaves_MSGTYPE  leaf
#define sample_bare_MSGTYPE    leaf

PB_BIND(leaf, leaf, 2)
PB_BIND(inner, inner, 2)
PB_BIND(label, label, 2)
PB_BIND(by, by, 2)
PB_BIND(sample, sample, 2)

#endif
