/* core/base/rand.c
 *
 * The kernel's generator, or (tests) splitmix64 from a seed: one atomic addition per number, so
 * threads need no lock.
 */
#include "core/base/rand.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/attr.h"
#include "core/base/bug.h"
#include "core/base/codec.h"

/* Mutable on purpose: a test that seeds wants every module of the process to follow. */
static _Atomic bool seeded;
static _Atomic uint64_t seeded_state;

static uint64_t seeded_next(void)
{
	const uint64_t step = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = atomic_fetch_add(&seeded_state, step) + step;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void seeded_bytes(uint8_t *p, size_t len)
{
	while (len) {
		uint8_t word[8];
		size_t n = MIN(len, sizeof(word));

		put_le64(word, seeded_next());
		memcpy(p, word, n);
		p += n;
		len -= n;
	}
}

void rand_bytes(void *data, size_t len)
{
	uint8_t *p = data;

	if (atomic_load(&seeded)) {
		seeded_bytes(p, len);
		return;
	}
	while (len) {
		ssize_t n = getrandom(p, len, 0);

		ensure(n > 0 || errno == EINTR);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

uint64_t rand_u64(void)
{
	uint64_t value;

	rand_bytes(&value, sizeof(value));
	return value;
}

void rand_id(char id[ID_SIZE])
{
	uint8_t raw[(ID_SIZE - 1) / 2];

	rand_bytes(raw, sizeof(raw));
	hex_encode(raw, sizeof(raw), id);
}

void rand_seed_for_tests(uint64_t seed)
{
	atomic_store(&seeded_state, seed);
	atomic_store(&seeded, true);
}
