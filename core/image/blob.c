/* core/image/blob.c */
#include "core/image/blob.h"

#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/image/ref.h"

enum digest_algorithm digest_algorithm(struct str text)
{
	if (!digest_is_valid(text))
		return DIGEST_INVALID;
	if (str_starts(text, "sha256:"))
		return DIGEST_SHA256;
	return str_starts(text, "sha384:") ? DIGEST_SHA384 : DIGEST_SHA512;
}

void digester_init(struct digester *digester, enum digest_algorithm algorithm)
{
	*digester = (struct digester){ .algorithm = algorithm };
	switch (algorithm) {
	case DIGEST_SHA256:
		sha256_init(&digester->sha256);
		return;
	case DIGEST_SHA384:
	case DIGEST_SHA512:
		mbedtls_sha512_init(&digester->sha512);
		ensure(mbedtls_sha512_starts(&digester->sha512, algorithm == DIGEST_SHA384) == 0);
		return;
	case DIGEST_INVALID:
		break;
	}
	ensure(algorithm != DIGEST_INVALID);
}

void digester_update(struct digester *digester, const void *data, size_t len)
{
	if (digester->algorithm == DIGEST_SHA256)
		sha256_update(&digester->sha256, data, len);
	else
		ensure(mbedtls_sha512_update(&digester->sha512, data, len) ==
		       0); /* software: cannot fail */
}

void digester_final(struct digester *digester, char text[DIGEST_TEXT_MAX])
{
	uint8_t raw[64];

	if (digester->algorithm == DIGEST_SHA256) {
		sha256_final(&digester->sha256, raw);
		ignore(str_copy(text, DIGEST_TEXT_MAX, "sha256:")); /* fits */
		hex_encode(raw, SHA256_SIZE, text + 7);
		return;
	}
	ensure(mbedtls_sha512_finish(&digester->sha512, raw) == 0);
	mbedtls_sha512_free(&digester->sha512);
	ignore(str_copy(text, DIGEST_TEXT_MAX,
	                digester->algorithm == DIGEST_SHA384 ? "sha384:" : "sha512:")); /* fits */
	hex_encode(raw, digester->algorithm == DIGEST_SHA384 ? 48 : 64, text + 7);
}

void digest_sha256_text(const void *data, size_t len, char text[DIGEST_SHA256_TEXT])
{
	struct digester digester;
	char long_text[DIGEST_TEXT_MAX];

	digester_init(&digester, DIGEST_SHA256);
	digester_update(&digester, data, len);
	digester_final(&digester, long_text);
	memcpy(text, long_text, DIGEST_SHA256_TEXT);
}

int blob_verify(const void *data, size_t len, const char *digest, int64_t size, const char *what,
                struct err *err)
{
	enum digest_algorithm algorithm = digest_algorithm(str_of(digest));
	struct digester digester;
	char found[DIGEST_TEXT_MAX];

	if (algorithm == DIGEST_INVALID)
		return err_set(err, CODE_INVALID_ARGUMENT, "%s: \"%.80s\" is not a digest", what,
		               digest);
	if (size >= 0 && (uint64_t)size != len)
		return err_set(err, CODE_DATA_LOSS, "%s: %zu bytes, %lld announced", what, len,
		               (long long)size);
	digester_init(&digester, algorithm);
	digester_update(&digester, data, len);
	digester_final(&digester, found);
	if (strcmp(found, digest) != 0)
		return err_set(err, CODE_DATA_LOSS, "%s: content is %s, expected %s", what, found,
		               digest);
	return 0;
}

void chain_id(const char *parent, const char *diff_id, char text[DIGEST_SHA256_TEXT])
{
	char joined[2 * DIGEST_TEXT_MAX];

	if (!parent || !parent[0]) {
		layer_key(LAYER_PLAIN, diff_id, NULL, text);
		return;
	}
	ensure(str_format(joined, sizeof(joined), "%s %s", parent, diff_id) == 0);
	digest_sha256_text(joined, strlen(joined), text);
}

void layer_key(enum layer_kind kind, const char *diff_id, const char *chain,
               char text[DIGEST_SHA256_TEXT])
{
	char joined[DIGEST_TEXT_MAX + 16];

	if (kind == LAYER_PLAIN && digest_algorithm(str_of(diff_id)) == DIGEST_SHA256) {
		memcpy(text, diff_id, DIGEST_SHA256_TEXT);
		return;
	}
	/* Not the bare chain id: at the base of an image that equals the diffID, and a layer that found nothing beneath it
	 * there must not be taken for the same layer in another place. */
	ensure(str_format(joined, sizeof(joined), "%s %s",
	                  kind == LAYER_DEPENDENT ? "dependent"
	                  : kind == LAYER_OPAQUE  ? "opaque"
	                                          : "plain",
	                  kind == LAYER_DEPENDENT ? chain : diff_id) == 0);
	digest_sha256_text(joined, strlen(joined), text);
}

bool layer_key_is_valid(const char *key)
{
	return digest_algorithm(str_of(key)) == DIGEST_SHA256;
}
