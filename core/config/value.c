#include "core/config/value.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define MAX_LIST_ITEMS 256
#define MAX_PATH_BYTES 1024
#define HOUR_NS        (3600 * NS_PER_S)

int value_bool(const char *text, bool *ret)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*ret = i % 2;
			return 0;
		}
	}
	return -1;
}

/* Digits with an optional fraction at the start of *text, times @unit once it is known: returns how many bytes they take. */
static size_t scan_number(struct str text, struct str *ret_whole, struct str *ret_fraction)
{
	size_t at = 0;

	while (at < text.len && text.p[at] >= '0' && text.p[at] <= '9')
		at++;
	*ret_whole = (struct str){ text.p, at };
	*ret_fraction = (struct str){ text.p + at, 0 };
	if (at < text.len && text.p[at] == '.') {
		size_t from = ++at;

		while (at < text.len && text.p[at] >= '0' && text.p[at] <= '9')
			at++;
		*ret_fraction = (struct str){ text.p + from, at - from };
	}
	return at;
}

int value_bytes(const char *text, int64_t *ret)
{
	static const char *const units[] = { "", "K", "M", "G", "T" };
	struct str whole, fraction, unit;
	uint64_t n;
	size_t at;

	at = scan_number(str_of(text), &whole, &fraction);
	if (fraction.len > 0 || str_u64(whole, INT64_MAX, &n) < 0)
		return -1;
	unit = str_trim(str_of(text + at));
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t len = strlen(units[i]);
		struct str tail = { unit.p + len, unit.len - MIN(len, unit.len) };

		if (unit.len < len || strncasecmp(unit.p, units[i], len) != 0)
			continue;
		/* "K", "Ki", "KiB"; "KB" could mean 1000 or 1024 and is refused. A bare number may have "B". */
		if (!(tail.len == 0 || (i > 0 && (str_eq_c(tail, "i") || str_eq_c(tail, "iB"))) ||
		      (i == 0 && str_eq_c(tail, "B"))))
			continue;
		if (n > (uint64_t)INT64_MAX >> (10 * i))
			return -1;
		*ret = (int64_t)(n << (10 * i));
		return 0;
	}
	return -1;
}

int value_duration(const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {
		{ "ns", 1 },         { "us", NS_PER_US }, { "µs", NS_PER_US }, /* the micro sign */
		{ "μs", NS_PER_US }, /* the Greek letter */
		{ "ms", NS_PER_MS }, { "s", NS_PER_S },   { "m", 60 * NS_PER_S }, { "h", HOUR_NS }
	};
	struct str rest = str_of(text);
	int64_t sum = 0;

	if (streq(text, "0")) {
		*ret_ns = 0;
		return 0;
	}
	if (rest.len == 0)
		return -1;
	while (rest.len > 0) {
		struct str whole, fraction, unit;
		size_t at = scan_number(rest, &whole, &fraction), end = at;
		int64_t unit_ns = 0, part;
		uint64_t n = 0;

		while (end < rest.len && !(rest.p[end] >= '0' && rest.p[end] <= '9') &&
		       rest.p[end] != '.')
			end++;
		unit = (struct str){ rest.p + at, end - at };
		for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
			if (str_eq_c(unit, units[i].name))
				unit_ns = units[i].ns;
		}
		if (unit_ns == 0 || whole.len + fraction.len == 0)
			return -1;
		if (whole.len > 0 && str_u64(whole, (uint64_t)(INT64_MAX / unit_ns), &n) < 0)
			return -1;
		part = (int64_t)n * unit_ns;
		/* Digit by digit; what lies below a nanosecond is dropped. */
		for (size_t i = 0; i < fraction.len; i++) {
			unit_ns /= 10;
			if (__builtin_add_overflow(part, (fraction.p[i] - '0') * unit_ns, &part))
				return -1;
		}
		if (__builtin_add_overflow(sum, part, &sum))
			return -1;
		rest = (struct str){ rest.p + end, rest.len - end };
	}
	*ret_ns = sum;
	return 0;
}

/* "a|b|c" */
static bool is_choice(const char *choices, const char *text)
{
	struct str rest = str_of(choices), word;

	while (rest.len > 0) {
		str_cut(rest, '|', &word, &rest);
		if (str_eq_c(word, text))
			return true;
	}
	return false;
}

static int check_path(const char *path, struct err *err)
{
	struct str rest = str_of(path), part;

	if (path[0] != '/')
		return err_set(err, CODE_INVALID_ARGUMENT, "\"%s\" is not an absolute path", path);
	if (rest.len > MAX_PATH_BYTES)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "a path has at most %d bytes, this one %zu", MAX_PATH_BYTES,
		               rest.len);
	while (rest.len > 0) {
		str_cut(rest, '/', &part, &rest);
		if (str_eq_c(part, "..") || str_eq_c(part, "."))
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "\"%s\" may not contain \"" STR_FMT "\"", path,
			               STR_ARG(part));
	}
	return 0;
}

int value_handler(const char *name, struct err *err)
{
	size_t len = strlen(name);

	if (len == 0 || len > 63 ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
	            len)
		return err_set(
			err, CODE_INVALID_ARGUMENT,
			"\"%s\" is not a handler name (1 to 63 letters, digits, \".\", \"_\" and \"-\")",
			name);
	return 0;
}

static int check_range(const struct config_key *key, const char *text, int64_t value,
                       struct err *err)
{
	if (value >= key->min && value <= key->max)
		return 0;
	if (key->type == CONFIG_BYTES)
		return err_set(err, CODE_INVALID_ARGUMENT,
		               "\"%s\" is out of range (%lld to %lld bytes)", text,
		               (long long)key->min, (long long)key->max);
	return err_set(err, CODE_INVALID_ARGUMENT, "\"%s\" is out of range (%lldms to %lldms)",
	               text, (long long)(key->min / NS_PER_MS), (long long)(key->max / NS_PER_MS));
}

/* One value, or one item of a list. */
static int check_item(const struct config_key *key, const char *text, struct err *err)
{
	int64_t number;
	bool flag;

	switch (key->type) {
	case CONFIG_PATH:
	case CONFIG_PATH_LIST:
		return check_path(text, err);
	case CONFIG_PROGRAM:
		return strchr(text, '/') ? check_path(text, err) : 0;
	case CONFIG_HANDLER:
		return value_handler(text, err);
	case CONFIG_LIST:
		return 0;
	case CONFIG_BOOL:
		if (value_bool(text, &flag) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "\"%s\" is neither true nor false", text);
		return 0;
	case CONFIG_BYTES:
		if (value_bytes(text, &number) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "\"%s\" is not a size (4096, 64K, 64MiB)", text);
		return check_range(key, text, number, err);
	case CONFIG_DURATION:
		if (value_duration(text, &number) < 0)
			return err_set(err, CODE_INVALID_ARGUMENT,
			               "\"%s\" is not a duration (500ms, 90s, 1h30m)", text);
		return check_range(key, text, number, err);
	case CONFIG_CHOICE:
		if (!is_choice(key->choices, text))
			return err_set(err, CODE_INVALID_ARGUMENT, "\"%s\" is none of %s", text,
			               key->choices);
		return 0;
	}
	return 0;
}

bool value_is_list(const struct config_key *key)
{
	return key->type == CONFIG_LIST || key->type == CONFIG_PATH_LIST;
}

char **value_split(const struct config_key *key, const char *text)
{
	const char *separators = key->type == CONFIG_PATH_LIST ? ",:" : ",";
	char **items = xcalloc(MAX_LIST_ITEMS + 1, sizeof(*items));
	size_t n = 0;

	while (*text && n < MAX_LIST_ITEMS) {
		size_t len = strcspn(text, separators);
		struct str item = str_trim((struct str){ text, len });

		if (item.len > 0)
			items[n++] = str_dup(item);
		text += len + (text[len] != '\0');
	}
	return items;
}

int config_key_check(const struct config_key *key, const char *value, struct err *err)
{
	cleanup(strv_free) char **items = NULL;

	if (!*value)
		return 0; /* back to the default */
	if (!value_is_list(key))
		return check_item(key, value, err);
	items = value_split(key, value);
	for (size_t i = 0; items[i]; i++) {
		if (check_item(key, items[i], err) < 0)
			return -1;
	}
	return 0;
}
