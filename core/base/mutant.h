/* core/base/mutant.h
 *
 * One-line faults for the crash matrix: a test that finds nothing may be blind. `if (MUTANT(reply_before_sync))` is the constant 0
 * in the product; the programs of tests/crash link these files compiled with CORACLE_MUTANTS, where the environment names the one
 * fault that is on (tests/crash/mutant.c). scripts/crash-matrix.sh demands that each is found.
 */
#ifndef CORACLE_CORE_BASE_MUTANT_H
#define CORACLE_CORE_BASE_MUTANT_H

#ifdef CORACLE_MUTANTS
#include <stdbool.h>

bool mutant_is_on(const char *name);
#define MUTANT(name) mutant_is_on(#name)
#else
#define MUTANT(name) 0
#endif

#endif
