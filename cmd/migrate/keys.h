/* cmd/migrate/keys.h
 *
 * Where each setting of containerd's CRI plugin belongs in coracle: a key of coracle.conf, a hosts.toml, nowhere.
 * One record per setting of the file, in source order; then the settings outside the CRI tables that matter as well.
 */
#ifndef CORACLE_CMD_MIGRATE_KEYS_H
#define CORACLE_CMD_MIGRATE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/migrate/edit.h"
#include "core/base/attr.h"
#include "core/base/str.h"
#include "core/base/toml.h"

#define MIGRATE_MAX_PARTS (2 * TOML_MAX_DEPTH)

enum migrate_action {
	MIGRATE_KEPT = 1, /* stays in the file */
	MIGRATE_CONF,     /* section, key and text of coracle.conf */
	MIGRATE_HOSTS,    /* a hosts.toml: section is the registry's host */
	MIGRATE_DEFAULT,  /* as CONF, but coracle does that anyway */
	MIGRATE_OBSOLETE, /* no meaning any more */
	MIGRATE_NONE, /* coracle has no such feature, or the value cannot be taken over: see note */
	MIGRATE_SECRET,  /* credentials: never shown, never converted */
	MIGRATE_UNKNOWN, /* containerd never had such a key */
	MIGRATE_NOTE,    /* worth knowing */
	MIGRATE_ACTIONS,
};

const char *migrate_action_name(enum migrate_action action);

struct migrate_record {
	enum migrate_action action;
	struct str *path; /* from the root of the file */
	uint32_t nparts;
	uint32_t nplace; /* how many of them name the table: the report shows the others */
	struct toml_place place;
	const struct toml_value *value; /* borrowed */
	char *section, *key,
		*text; /* CONF, DEFAULT: "streaming", "port", "10010"; HOSTS: the host in section */
	bool is_masked; /* the value is not shown: it holds credentials */
	bool is_later;  /* CONF: this version of coracle does not read the key yet */
	char *note;     /* or NULL */
};

struct migrate_records {
	struct migrate_record *all;
	size_t count;
};

/* @edit: of migrate_edit(), whose document the records borrow from. @path: of the file, for its imports; may be NULL. */
void migrate_records(const struct migrate_edit *edit, const char *path,
                     struct migrate_records *ret);
void migrate_records_release(struct migrate_records *records);
DEFINE_CLEANUP(struct migrate_records, migrate_records_release);

/* A setting of the file as the rules see it: each leaf, inline tables looked into. */
struct migrate_leaf {
	struct str path[MIGRATE_MAX_PARTS];
	uint32_t nparts;
	uint32_t at;
	const struct toml_value *value;
};
typedef void (*migrate_leaf_fn)(void *arg, const struct migrate_leaf *leaf);
void migrate_each_leaf(const struct toml *toml, migrate_leaf_fn fn, void *arg);

#endif
