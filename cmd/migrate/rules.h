/* cmd/migrate/rules.h
 *
 * The movement table: which setting of containerd goes where. Private to cmd/migrate.
 *
 * A pattern is a path below the CRI table, or from the root for what stands outside of it; its parts are separated by
 * '/', '*' stands for any one part and '**' for all that follow. The first match counts.
 */
#ifndef CORACLE_CMD_MIGRATE_RULES_H
#define CORACLE_CMD_MIGRATE_RULES_H

#include "cmd/migrate/keys.h"

#define RUNC "runc"

enum conversion {
	AS_TEXT = 1,
	AS_BOOL,
	AS_NOT,
	AS_INT,
	AS_LIST,
	AS_SECONDS,   /* 10 -> 10s */
	AS_SYSTEMD,   /* true -> systemd */
	AS_LOG_LEVEL, /* containerd's names */
	AS_YES,       /* written only when true */
};

struct rule {
	const char *pattern;
	enum migrate_action action;
	enum conversion conversion;
	const char *section, *key, *dflt; /* "runtime *": the first '*' of the pattern */
	const char *note;
};

/* @ret_wild: what the first '*' stands for. NULL: no rule. */
const struct rule *rule_find(const struct str *path, uint32_t nparts, struct str *ret_wild);
const struct rule *rule_find_outside(const struct str *path, uint32_t nparts, struct str *ret_wild);

/* "did you mean a or b?" among the keys of the same table; heap, or NULL. */
char *rule_suggest(const struct str *path, uint32_t nparts);

#endif
