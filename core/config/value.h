/* core/config/value.h
 *
 * The text forms of values: what a key's type accepts, and what it means. For core/config, and for checks of values that others read
 * the same way.
 */
#ifndef CORACLE_CORE_CONFIG_VALUE_H
#define CORACLE_CORE_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/config/config.h"

NODISCARD int value_bool(const char *text, bool *ret);
NODISCARD int value_bytes(const char *text, int64_t *ret);
NODISCARD int value_duration(const char *text, int64_t *ret_ns); /* Go's syntax, without a sign */
/* A runtime handler's name; INVALID_ARGUMENT says what one is. */
NODISCARD int value_handler(const char *name, struct err *err);
bool value_is_list(const struct config_key *key);
/* A list as a strv; items separated by commas (directories also by colons), blanks trimmed, empty ones dropped. */
NODISCARD char **value_split(const struct config_key *key, const char *text);

#endif
