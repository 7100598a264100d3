/* core/base/toml_value.c: the strings, numbers, booleans and dates of TOML. Each reader starts at ps->at and leaves it
 * behind what it read; a fault names the first byte that does not fit. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/toml_internal.h"

/* ------------------------------------------------------------------------------------------------------- strings */

static int put(struct parser *ps, const char *bytes, size_t len)
{
	if (buf_add(&ps->scratch, bytes, len) == 0)
		return 0;
	ps->is_out_of_memory = true;
	return -1;
}

static int put_code_point(struct parser *ps, uint32_t c)
{
	char utf8[4];

	if (c < 0x80) {
		utf8[0] = (char)c;
		return put(ps, utf8, 1);
	}
	if (c < 0x800) {
		utf8[0] = (char)(0xc0 | c >> 6);
		utf8[1] = (char)(0x80 | (c & 0x3f));
		return put(ps, utf8, 2);
	}
	if (c < 0x10000) {
		utf8[0] = (char)(0xe0 | c >> 12);
		utf8[1] = (char)(0x80 | (c >> 6 & 0x3f));
		utf8[2] = (char)(0x80 | (c & 0x3f));
		return put(ps, utf8, 3);
	}
	utf8[0] = (char)(0xf0 | c >> 18);
	utf8[1] = (char)(0x80 | (c >> 12 & 0x3f));
	utf8[2] = (char)(0x80 | (c >> 6 & 0x3f));
	utf8[3] = (char)(0x80 | (c & 0x3f));
	return put(ps, utf8, 4);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int read_code_point(struct parser *ps, unsigned int digits)
{
	uint32_t start = ps->at - 2, c = 0;

	for (unsigned int i = 0; i < digits; i++, ps->at++) {
		int digit = hex_digit(ps->text[ps->at]);

		if (digit < 0)
			return toml_bad(ps, ps->at,
			                "%s where hexadecimal digit %u of %u of an escape belongs",
			                toml_glyph(ps, ps->at).text, i + 1, digits);
		c = c << 4 | (uint32_t)digit;
	}
	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return toml_bad(ps, start, "U+%04X is no character", c);
	return put_code_point(ps, c);
}

/* The backslash at the end of a line of a multi-line string: it eats white space up to the next text. */
static bool skip_folded(struct parser *ps)
{
	uint32_t at = ps->at + 1, newline;

	while (ps->text[at] == ' ' || ps->text[at] == '\t')
		at++;
	if (!toml_newline(ps, at))
		return false;
	for (;;) {
		newline = toml_newline(ps, at);
		if (!newline && ps->text[at] != ' ' && ps->text[at] != '\t')
			break;
		at += newline ? newline : 1;
	}
	ps->at = at;
	return true;
}

static int read_escape(struct parser *ps, bool is_multiline)
{
	/* clang-format off */
	static const char letters[] = "btnfre\"\\", meaning[] = "\b\t\n\f\r\x1b\"\\";
	/* clang-format on */
	const char *letter;
	char c;

	if (is_multiline && skip_folded(ps))
		return 0;
	c = ps->text[ps->at + 1];
	letter = c ? strchr(letters, c) : NULL;
	if (!letter && c != 'x' && c != 'u' && c != 'U')
		return toml_bad(
			ps, ps->at,
			"a backslash before %s is no escape (a backslash itself is written \\\\, or the string in '')",
			toml_glyph(ps, ps->at + 1).text);
	ps->at += 2;
	if (letter)
		return put(ps, &meaning[letter - letters], 1);
	return read_code_point(ps, c == 'x' ? 2 : c == 'u' ? 4 : 8);
}

static int keep_string(struct parser *ps, struct str *ret)
{
	char *copy = toml_take(ps, ps->scratch.len + 1);

	if (!copy)
		return -1;
	if (ps->scratch.len)
		memcpy(copy, ps->scratch.data, ps->scratch.len);
	*ret = (struct str){ copy, ps->scratch.len };
	return 0;
}

static int read_line_string(struct parser *ps, char quote)
{
	uint32_t run;

	for (;;) {
		for (run = ps->at; ps->text[run] != quote && !toml_is_control(ps->text[run]) &&
		                   !(quote == '"' && ps->text[run] == '\\');)
			run++;
		if (put(ps, ps->text + ps->at, run - ps->at) < 0)
			return -1;
		ps->at = run;
		if (ps->text[run] == quote) {
			ps->at++;
			return 0;
		}
		if (ps->text[run] != '\\')
			return toml_bad(ps, run, "%s inside a string", toml_glyph(ps, run).text);
		if (read_escape(ps, false) < 0)
			return -1;
	}
}

static int read_multiline_string(struct parser *ps, char quote)
{
	uint32_t start = ps->at - 3, run, quotes, newline;

	ps->at += toml_newline(ps, ps->at);
	for (;;) {
		for (run = ps->at; ps->text[run] != quote && !toml_is_control(ps->text[run]) &&
		                   !(quote == '"' && ps->text[run] == '\\');)
			run++;
		if (put(ps, ps->text + ps->at, run - ps->at) < 0)
			return -1;
		ps->at = run;
		newline = toml_newline(ps, run);
		if (newline) {
			if (put(ps, ps->text + run, newline) < 0)
				return -1;
			ps->at += newline;
		} else if (ps->text[run] == quote) {
			for (quotes = 1; quotes < 5 && ps->text[run + quotes] == quote;)
				quotes++;
			ps->at += quotes;
			/* Up to two may touch the closing three. */
			if (put(ps, ps->text + run, quotes < 3 ? quotes : quotes - 3) < 0)
				return -1;
			if (quotes >= 3)
				return 0;
		} else if (ps->text[run] == '\\') {
			if (read_escape(ps, true) < 0)
				return -1;
		} else if (run == ps->len) {
			return toml_bad(ps, start, "the string that starts here never ends");
		} else {
			return toml_bad(ps, run, "%s inside a string", toml_glyph(ps, run).text);
		}
	}
}

int toml_read_string(struct parser *ps, bool may_be_multiline, struct str *ret)
{
	char quote = ps->text[ps->at];
	bool is_multiline =
		may_be_multiline && ps->text[ps->at + 1] == quote && ps->text[ps->at + 2] == quote;

	buf_clear(&ps->scratch);
	ps->at += is_multiline ? 3 : 1;
	if ((is_multiline ? read_multiline_string(ps, quote) : read_line_string(ps, quote)) < 0)
		return -1;
	return keep_string(ps, ret);
}

/* ------------------------------------------------------------------------------------------------------- numbers */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_digit_of(char c, int base)
{
	int digit = hex_digit(c);

	return digit >= 0 && digit < base;
}

/* Digits with single underscores between them, at least one. */
static int skip_digits(struct parser *ps, int base)
{
	if (!is_digit_of(ps->text[ps->at], base))
		return toml_bad(ps, ps->at, "%s where a digit belongs",
		                toml_glyph(ps, ps->at).text);
	for (;;) {
		while (is_digit_of(ps->text[ps->at], base))
			ps->at++;
		if (ps->text[ps->at] != '_')
			return 0;
		ps->at++;
		if (!is_digit_of(ps->text[ps->at], base))
			return toml_bad(
				ps, ps->at,
				"%s after an underscore in a number: digits stand on both sides of one",
				toml_glyph(ps, ps->at).text);
	}
}

static int convert_integer(struct parser *ps, uint32_t start, uint32_t digits, int base,
                           bool is_negative, struct toml_value *value)
{
	int64_t n = 0;

	/* Gathered downwards: the range reaches one further there. */
	for (uint32_t at = digits; at < ps->at; at++) {
		if (ps->text[at] == '_')
			continue;
		if (__builtin_mul_overflow(n, base, &n) ||
		    __builtin_sub_overflow(n, hex_digit(ps->text[at]), &n))
			return toml_bad(ps, start, "the integer does not fit in 64 bits");
	}
	if (!is_negative && __builtin_sub_overflow(0, n, &n))
		return toml_bad(ps, start, "the integer does not fit in 64 bits");
	value->type = TOML_INTEGER;
	value->integer = n;
	return 0;
}

static int convert_float(struct parser *ps, uint32_t start, struct toml_value *value)
{
	buf_clear(&ps->scratch);
	for (uint32_t at = start; at < ps->at; at++)
		if (ps->text[at] != '_' && put(ps, ps->text + at, 1) < 0)
			return -1;
	value->type = TOML_FLOAT;
	value->real = strtod(ps->scratch.data, NULL); /* the locale is always "C" here */
	return 0;
}

static int read_number(struct parser *ps, struct toml_value *value)
{
	uint32_t start = ps->at, digits;
	bool is_signed = ps->text[start] == '-' || ps->text[start] == '+', is_float = false;
	bool is_negative = ps->text[start] == '-';
	char c;

	ps->at += is_signed;
	digits = ps->at;
	c = ps->text[digits];
	if (strncmp(ps->text + digits, "inf", 3) == 0 ||
	    strncmp(ps->text + digits, "nan", 3) == 0) {
		ps->at += 3;
		value->type = TOML_FLOAT;
		value->real = c == 'i' ? (double)INFINITY : (double)NAN;
		if (is_negative)
			value->real = -value->real;
		return 0;
	}
	if (c == '0' && (ps->text[digits + 1] == 'x' || ps->text[digits + 1] == 'o' ||
	                 ps->text[digits + 1] == 'b')) {
		int base = ps->text[digits + 1] == 'x' ? 16 : ps->text[digits + 1] == 'o' ? 8 : 2;

		if (is_signed)
			return toml_bad(ps, start, "a sign before a number in base %d", base);
		ps->at += 2;
		if (skip_digits(ps, base) < 0)
			return -1;
		return convert_integer(ps, start, digits + 2, base, false, value);
	}
	if (c == '0' && (is_digit(ps->text[digits + 1]) || ps->text[digits + 1] == '_'))
		return toml_bad(ps, digits, "a number with a leading zero");
	if (skip_digits(ps, 10) < 0)
		return -1;
	if (ps->text[ps->at] == '.') {
		is_float = true;
		ps->at++;
		if (skip_digits(ps, 10) < 0)
			return -1;
	}
	if (ps->text[ps->at] == 'e' || ps->text[ps->at] == 'E') {
		is_float = true;
		ps->at++;
		if (ps->text[ps->at] == '+' || ps->text[ps->at] == '-')
			ps->at++;
		if (skip_digits(ps, 10) < 0)
			return -1;
	}
	return is_float ? convert_float(ps, start, value)
	                : convert_integer(ps, start, digits, 10, is_negative, value);
}

/* --------------------------------------------------------------------------------------------------------- dates */

/* @count digits that make a number within the bounds. */
static int read_field(struct parser *ps, unsigned int count, unsigned int min, unsigned int max,
                      const char *what, unsigned int *ret)
{
	uint32_t start = ps->at;
	unsigned int n = 0;

	for (unsigned int i = 0; i < count; i++, ps->at++) {
		if (!is_digit(ps->text[ps->at]))
			return toml_bad(ps, ps->at, "%s where digit %u of %u of the %s belongs",
			                toml_glyph(ps, ps->at).text, i + 1, count, what);
		n = n * 10 + (unsigned int)(ps->text[ps->at] - '0');
	}
	if (n < min || n > max)
		return toml_bad(ps, start, "%s %u is not within %u and %u", what, n, min, max);
	*ret = n;
	return 0;
}

static int expect(struct parser *ps, char c)
{
	if (ps->text[ps->at] != c)
		return toml_bad(ps, ps->at, "%s where '%c' belongs", toml_glyph(ps, ps->at).text,
		                c);
	ps->at++;
	return 0;
}

static unsigned int days_in(unsigned int year, unsigned int month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && is_leap);
}

static int read_date(struct parser *ps, struct toml_time *time)
{
	unsigned int year = 0, month = 1, day = 0;

	if (read_field(ps, 4, 0, 9999, "year", &year) < 0 || expect(ps, '-') < 0 ||
	    read_field(ps, 2, 1, 12, "month", &month) < 0 || expect(ps, '-') < 0 ||
	    read_field(ps, 2, 1, days_in(year, month), "day", &day) < 0)
		return -1;
	time->year = (uint16_t)year;
	time->month = (uint8_t)month;
	time->day = (uint8_t)day;
	return 0;
}

static int read_time(struct parser *ps, struct toml_time *time)
{
	unsigned int hour = 0, minute = 0, second = 0, scale = 100000000;

	if (read_field(ps, 2, 0, 23, "hour", &hour) < 0 || expect(ps, ':') < 0 ||
	    read_field(ps, 2, 0, 59, "minute", &minute) < 0)
		return -1;
	if (ps->text[ps->at] == ':') {
		ps->at++;
		if (read_field(ps, 2, 0, 60, "second", &second) < 0)
			return -1;
		if (ps->text[ps->at] == '.') {
			ps->at++;
			if (!is_digit(ps->text[ps->at]))
				return toml_bad(ps, ps->at, "%s where a digit belongs",
				                toml_glyph(ps, ps->at).text);
			for (; is_digit(ps->text[ps->at]); ps->at++, scale /= 10)
				time->nanosecond += scale * (unsigned int)(ps->text[ps->at] - '0');
		}
	}
	time->hour = (uint8_t)hour;
	time->minute = (uint8_t)minute;
	time->second = (uint8_t)second;
	return 0;
}

static int read_offset(struct parser *ps, struct toml_time *time)
{
	unsigned int hours = 0, minutes = 0;
	char c = ps->text[ps->at];

	if (c == 'Z' || c == 'z') {
		ps->at++;
		time->has_offset = true;
	} else if (c == '+' || c == '-') {
		ps->at++;
		if (read_field(ps, 2, 0, 23, "hours of the offset", &hours) < 0 ||
		    expect(ps, ':') < 0 ||
		    read_field(ps, 2, 0, 59, "minutes of the offset", &minutes) < 0)
			return -1;
		time->has_offset = true;
		time->offset_minutes = (int16_t)((c == '-' ? -1 : 1) * (int)(hours * 60 + minutes));
	}
	return 0;
}

static int read_date_time(struct parser *ps, struct toml_value *value)
{
	struct toml_time *time = toml_take(ps, sizeof(*time));
	char c;

	if (!time)
		return -1;
	value->time = time;
	if (ps->text[ps->at + 2] == ':') {
		value->type = TOML_TIME_LOCAL;
		return read_time(ps, time);
	}
	if (read_date(ps, time) < 0)
		return -1;
	c = ps->text[ps->at];
	value->type = TOML_DATE_LOCAL;
	if (c != 'T' && c != 't' && !(c == ' ' && is_digit(ps->text[ps->at + 1])))
		return 0;
	ps->at++;
	if (read_time(ps, time) < 0 || read_offset(ps, time) < 0)
		return -1;
	value->type = time->has_offset ? TOML_DATETIME : TOML_DATETIME_LOCAL;
	return 0;
}

static bool starts_date_time(const char *p)
{
	return is_digit(p[0]) && is_digit(p[1]) &&
	       (p[2] == ':' || (is_digit(p[2]) && is_digit(p[3]) && p[4] == '-'));
}

static bool ends_value(const struct parser *ps, uint32_t at)
{
	char c = ps->text[at];

	return at == ps->len || c == ' ' || c == '\t' || c == ',' || c == ']' || c == '}' ||
	       c == '#' || toml_newline(ps, at);
}

int toml_read_scalar(struct parser *ps, struct toml_value *value)
{
	const char *p = ps->text + ps->at;

	if (strncmp(p, "true", 4) == 0 || strncmp(p, "false", 5) == 0) {
		value->type = TOML_BOOL;
		value->boolean = *p == 't';
		ps->at += value->boolean ? 4 : 5;
	} else if (starts_date_time(p)) {
		if (read_date_time(ps, value) < 0)
			return -1;
	} else if (is_digit(*p) || *p == '+' || *p == '-' || strncmp(p, "inf", 3) == 0 ||
	           strncmp(p, "nan", 3) == 0) {
		if (read_number(ps, value) < 0)
			return -1;
	} else {
		bool is_word = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');

		return toml_bad(ps, ps->at, "%s where a value belongs%s",
		                toml_glyph(ps, ps->at).text,
		                is_word ? " (strings stand in quotes)" : "");
	}
	if (!ends_value(ps, ps->at))
		return toml_bad(ps, ps->at, "%s right behind a value", toml_glyph(ps, ps->at).text);
	return 0;
}
