/* core/base/clock.h
 *
 * The three clocks, nanoseconds. Tests replace them with a virtual clock (clock_virtual_*), which
 * all threads of the process then see; nothing else in the tree may call clock_gettime or time.
 */
#ifndef CORACLE_CORE_BASE_CLOCK_H
#define CORACLE_CORE_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_US INT64_C(1000)

int64_t clock_real_ns(void); /* wall: what is shown */
int64_t clock_boot_ns(void); /* CLOCK_BOOTTIME: deadlines and stop time-outs */
int64_t clock_mono_ns(void); /* CLOCK_MONOTONIC: durations, watchdog */

/* Test builds: from the first call on, all three start at @real_ns resp. 1 s and move only by
 * clock_virtual_advance(). */
void clock_virtual_set(int64_t real_ns);
void clock_virtual_advance(int64_t ns);
bool clock_is_virtual(void);

/* RFC 3339 with nanoseconds in UTC, 30 characters + NUL: "2026-11-25T02:23:13.000000001Z" (CRI log
 * and JSON form). */
#define CLOCK_TEXT_SIZE 36
void clock_format_utc(int64_t real_ns, char text[CLOCK_TEXT_SIZE]);

#endif
