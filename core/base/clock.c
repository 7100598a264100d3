/* core/base/clock.c
 *
 * Real clocks, or one virtual clock for the whole process. The virtual state is mutable at file
 * scope on purpose: a test moves time for every module and thread at once, which no argument passed
 * around could do.
 */
#include "core/base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "core/base/bug.h"

#define VIRTUAL_START_NS NS_PER_S

static _Atomic bool is_virtual;
static _Atomic int64_t virtual_start_real_ns;
static _Atomic int64_t virtual_elapsed_ns;

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	ensure(clock_gettime(id, &ts) == 0);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_real_ns(void)
{
	if (atomic_load(&is_virtual))
		return atomic_load(&virtual_start_real_ns) + atomic_load(&virtual_elapsed_ns);
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_boot_ns(void)
{
	if (atomic_load(&is_virtual))
		return VIRTUAL_START_NS + atomic_load(&virtual_elapsed_ns);
	return read_clock(CLOCK_BOOTTIME);
}

int64_t clock_mono_ns(void)
{
	if (atomic_load(&is_virtual))
		return VIRTUAL_START_NS + atomic_load(&virtual_elapsed_ns);
	return read_clock(CLOCK_MONOTONIC);
}

void clock_virtual_set(int64_t real_ns)
{
	atomic_store(&virtual_start_real_ns, real_ns);
	atomic_store(&virtual_elapsed_ns, 0);
	atomic_store(&is_virtual, true);
}

void clock_virtual_advance(int64_t ns)
{
	ensure(ns >= 0 && clock_is_virtual());
	atomic_fetch_add(&virtual_elapsed_ns, ns);
}

bool clock_is_virtual(void)
{
	return atomic_load(&is_virtual);
}

static char *put_digits(char *p, int64_t value, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		p[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return p + width;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t floor_mod(int64_t a, int64_t b)
{
	return a % b + (a % b < 0 ? b : 0);
}

/* By hand: every line of a container's log goes through here, and monitors have no stdio. */
void clock_format_utc(int64_t real_ns, char text[CLOCK_TEXT_SIZE])
{
	int64_t seconds = floor_div(real_ns, NS_PER_S);
	int64_t days = floor_div(seconds, 86400);
	int64_t of_day = floor_mod(seconds, 86400);
	/* Gregorian calendar from days, counted in 400-year eras that begin on 1 March (leap day
	 * last) */
	int64_t shifted = days + 719468;
	int64_t era = floor_div(shifted, 146097);
	int64_t of_era = floor_mod(shifted, 146097);
	int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t march_month = (5 * of_year + 2) / 153;
	int64_t day = of_year - (153 * march_month + 2) / 5 + 1;
	int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
	int64_t year = era * 400 + year_of_era + (month <= 2);
	char *p = text;

	/* 64 bits of nanoseconds reach from 1677 to 2262: four digits always do */
	p = put_digits(p, year, 4);
	*p++ = '-';
	p = put_digits(p, month, 2);
	*p++ = '-';
	p = put_digits(p, day, 2);
	*p++ = 'T';
	p = put_digits(p, of_day / 3600, 2);
	*p++ = ':';
	p = put_digits(p, of_day / 60 % 60, 2);
	*p++ = ':';
	p = put_digits(p, of_day % 60, 2);
	*p++ = '.';
	p = put_digits(p, floor_mod(real_ns, NS_PER_S), 9);
	*p++ = 'Z';
	*p = '\0';
}
