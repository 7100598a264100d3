/* core/base/rand.h
 *
 * Random bytes (getrandom) and ids. Tests seed a deterministic generator instead.
 */
#ifndef CORACLE_CORE_BASE_RAND_H
#define CORACLE_CORE_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

#define ID_SIZE 65 /* 64 lower-case hex characters + NUL */

void rand_bytes(void *data, size_t len);
uint64_t rand_u64(void);
void rand_id(char id[ID_SIZE]);
void rand_seed_for_tests(uint64_t seed);

#endif
