/* core/base/sha256.h
 *
 * SHA-256 with run-time dispatch: SHA-NI where the CPU has it, portable C else.
 */
#ifndef CORACLE_CORE_BASE_SHA256_H
#define CORACLE_CORE_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

struct sha256 {
	uint32_t h[8];
	uint64_t len;
	uint8_t block[64];
	bool fast; /* this CPU has the instructions */
};

void sha256_init(struct sha256 *ctx);
void sha256_update(struct sha256 *ctx, const void *data, size_t len);
void sha256_final(struct sha256 *ctx, uint8_t digest[SHA256_SIZE]);
/* For tests: the portable back end regardless of the CPU, for the rest of this digest. */
void sha256_update_portable(struct sha256 *ctx, const void *data, size_t len);

#endif
