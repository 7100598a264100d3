/* core/image/blob.h
 *
 * Content by digest: "alg:hex" texts, a running hash for any of the supported algorithms, and the derived identities of an
 * image (chain ids, layer keys).
 *
 * SHA-256 is our own (run-time dispatch); SHA-384 and SHA-512, which hardly anybody uses, come from mbedtls.
 */
#ifndef CORACLE_CORE_IMAGE_BLOB_H
#define CORACLE_CORE_IMAGE_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mbedtls/sha512.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/sha256.h"
#include "core/base/str.h"

#define DIGEST_TEXT_MAX    136 /* "sha512:" + 128 + NUL */
#define DIGEST_SHA256_TEXT 72  /* "sha256:" + 64 + NUL */

enum digest_algorithm {
	DIGEST_INVALID,
	DIGEST_SHA256,
	DIGEST_SHA384,
	DIGEST_SHA512,
};

struct digester {
	enum digest_algorithm algorithm;
	union {
		struct sha256 sha256;
		mbedtls_sha512_context sha512;
	};
};

/* Algorithm of "alg:hex"; DIGEST_INVALID unless digest_is_valid(). */
enum digest_algorithm digest_algorithm(struct str text);

void digester_init(struct digester *digester, enum digest_algorithm algorithm);
void digester_update(struct digester *digester, const void *data, size_t len);
void digester_final(struct digester *digester, char text[DIGEST_TEXT_MAX]);

void digest_sha256_text(const void *data, size_t len, char text[DIGEST_SHA256_TEXT]);

/*
 * blob_verify - @data is what @digest and @size say.
 * @size: < 0 when unknown.
 * Errors: DATA_LOSS naming both digests or sizes; INVALID_ARGUMENT for a digest that cannot be one.
 */
NODISCARD int blob_verify(const void *data, size_t len, const char *digest, int64_t size,
                          const char *what, struct err *err);

/* chain_id - of a layer @diff_id on the chain @parent (NULL or "" at the base). */
void chain_id(const char *parent, const char *diff_id, char text[DIGEST_SHA256_TEXT]);

/*
 * layer_key - the name of a layer in the store, "sha256:<hex>". What else but its content a layer depends on is part of the key,
 * so that the key alone says how to use it:
 *
 *   LAYER_PLAIN      stands alone: the diffID (a sha384 or sha512 one is hashed down)
 *   LAYER_DEPENDENT  took something over from the layers beneath (untar.h): derived from its chain id
 *   LAYER_OPAQUE     hides everything beneath: derived from the diffID
 */
enum layer_kind {
	LAYER_PLAIN,
	LAYER_DEPENDENT,
	LAYER_OPAQUE,
	LAYER_KINDS,
};
void layer_key(enum layer_kind kind, const char *diff_id, const char *chain,
               char text[DIGEST_SHA256_TEXT]);
bool layer_key_is_valid(const char *key);

#endif
