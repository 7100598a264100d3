/* core/base/sha256.c
 *
 * SHA-256 (FIPS 180-4) with two back ends of one shape: (state, blocks, count). Which one is used
 * is found out once per digest, so there is nothing to initialise and nothing mutable at file
 * scope.
 */
#include "core/base/sha256.h"

#include <string.h>

#include "core/base/attr.h"

#define BLOCK 64

typedef void sha256_blocks_fn(uint32_t h[8], const uint8_t *p, size_t count);

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes */
static const uint32_t k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t rotr(uint32_t x, unsigned by)
{
	return x >> by | x << (32 - by);
}

static uint32_t load_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void blocks_portable(uint32_t h[8], const uint8_t *p, size_t count)
{
	for (; count > 0; count--, p += BLOCK) {
		uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6],
			 last = h[7];
		uint32_t w[64];

		for (int t = 0; t < 16; t++)
			w[t] = load_be32(p + 4 * t);
		for (int t = 16; t < 64; t++) {
			uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
			uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;

			w[t] = w[t - 16] + s0 + w[t - 7] + s1;
		}
		for (int t = 0; t < 64; t++) {
			uint32_t s1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
			uint32_t s0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
			uint32_t t1 = last + s1 + ((e & f) ^ (~e & g)) + k[t] + w[t];
			uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));

			last = g;
			g = f;
			f = e;
			e = d + t1;
			d = c;
			c = b;
			b = a;
			a = t1 + t2;
		}
		h[0] += a;
		h[1] += b;
		h[2] += c;
		h[3] += d;
		h[4] += e;
		h[5] += f;
		h[6] += g;
		h[7] += last;
	}
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

/* Leaf 7 EBX bit 29: SHA. Leaf 1 ECX bits 9 and 19: SSSE3 and SSE4.1, for the shuffles. */
static bool has_sha_ni(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1U << 9) || !(c & 1U << 19))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1U << 29);
}

/*
 * The instructions do two rounds at a time on the state split as {a,b,e,f} and {c,d,g,h}. Sixteen
 * groups of four rounds: the message words of group i + 4 come from those of i .. i + 3, kept in a
 * ring of four registers.
 */
__attribute__((target("sha,ssse3,sse4.1"))) static void
blocks_sha_ni(uint32_t h[8], const uint8_t *p, size_t count)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)h);
	__m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
	__m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
	__m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

	for (; count > 0; count--, p += BLOCK) {
		const __m128i abef_before = abef, cdgh_before = cdgh;
		__m128i w[4];

		for (int i = 0; i < 4; i++)
			w[i] = _mm_shuffle_epi8(
				_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)),
				big_endian);
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			const __m128i now = w[i & 3];
			__m128i wk = _mm_add_epi32(
				now, _mm_loadu_si128((const __m128i *)(const void *)(k + 4 * i)));

			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0e));
			if (i < 12) {
				const __m128i next = w[(i + 1) & 3], third = w[(i + 2) & 3],
					      fourth = w[(i + 3) & 3];
				__m128i sum = _mm_sha256msg1_epu32(now, next);

				sum = _mm_add_epi32(sum, _mm_alignr_epi8(fourth, third, 4));
				w[i & 3] = _mm_sha256msg2_epu32(sum, fourth);
			}
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}

	__m128i feba = _mm_shuffle_epi32(abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static void blocks_fast(uint32_t h[8], const uint8_t *p, size_t count)
{
	blocks_sha_ni(h, p, count);
}

#else

static bool has_sha_ni(void)
{
	return false;
}

static void blocks_fast(uint32_t h[8], const uint8_t *p, size_t count)
{
	blocks_portable(h, p, count);
}

#endif

void sha256_init(struct sha256 *ctx)
{
	*ctx = (struct sha256){
		.h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
		       0x1f83d9ab, 0x5be0cd19 },
		.fast = has_sha_ni(),
	};
}

static void update(struct sha256 *ctx, const uint8_t *p, size_t len, sha256_blocks_fn *blocks)
{
	size_t have = ctx->len % BLOCK;

	if (!len)
		return;
	ctx->len += len;
	if (have) {
		size_t n = MIN(len, BLOCK - have);

		memcpy(ctx->block + have, p, n);
		p += n;
		len -= n;
		if (have + n < BLOCK)
			return;
		blocks(ctx->h, ctx->block, 1);
	}
	blocks(ctx->h, p, len / BLOCK);
	memcpy(ctx->block, p + len / BLOCK * BLOCK, len % BLOCK);
}

void sha256_update(struct sha256 *ctx, const void *data, size_t len)
{
	update(ctx, data, len, ctx->fast ? blocks_fast : blocks_portable);
}

void sha256_update_portable(struct sha256 *ctx, const void *data, size_t len)
{
	ctx->fast = false;
	update(ctx, data, len, blocks_portable);
}

void sha256_final(struct sha256 *ctx, uint8_t digest[SHA256_SIZE])
{
	static const uint8_t padding[BLOCK] = { 0x80 };
	uint64_t bits = ctx->len * 8;
	uint8_t tail[8];

	for (int i = 0; i < 8; i++)
		tail[i] = (uint8_t)(bits >> (56 - 8 * i));
	/* one 0x80, then zeros up to eight bytes before the end of a block */
	sha256_update(ctx, padding, 1 + (BLOCK + 55 - ctx->len % BLOCK) % BLOCK);
	sha256_update(ctx, tail, sizeof(tail));
	for (int i = 0; i < SHA256_SIZE; i++)
		digest[i] = (uint8_t)(ctx->h[i / 4] >> (24 - 8 * (i % 4)));
}
