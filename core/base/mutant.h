/* core/base/mutant.h
 *
 * One-line faults for the crash matrix: a test that finds nothing may be blind, so `make
 * check-crash MUTANT=reply-before-sync` compiles the tree with -DMUTANT_reply_before_sync and must
 * fail. In every other build MUTANT(x) is the constant 0.
 */
#ifndef CORACLE_CORE_BASE_MUTANT_H
#define CORACLE_CORE_BASE_MUTANT_H

/* MUTANT_x is 1 or undefined: only the 1 pastes to a macro that brings a comma, which moves the 1
 * into second place. */
#define MUTANT_IS_1                        0,
#define MUTANT_SECOND(ignored, value, ...) value
#define MUTANT_PICK(marker)                MUTANT_SECOND(marker 1, 0, 0)
#define MUTANT_PASTE(value)                MUTANT_PICK(MUTANT_IS_##value)
#define MUTANT_EXPAND(macro)               MUTANT_PASTE(macro)
#define MUTANT(name)                       MUTANT_EXPAND(MUTANT_##name)

#endif
