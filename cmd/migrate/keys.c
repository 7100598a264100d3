/* cmd/migrate/keys.c
 *
 * One record per setting: find its rule, convert the value, see whether coracle.conf takes it. A few settings mean
 * something only together with others; they are settled at the end.
 *
 * Files of version 3 and newer have the settings spread over three tables; they are looked at as well, under the names
 * they had before, since a node may come from containerd 2.x.
 */
#include "cmd/migrate/keys.h"

#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/migrate/rules.h"
#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/config/config.h"

#define NAME_MAX_LEN  40 /* of NAME in [runtime NAME]: what the reader's sections hold */
#define MAX_CONF_TEXT 4096
#define MAX_IMPORTS   64 /* files looked into per pattern */

static const char *const action_names[MIGRATE_ACTIONS] = {
	[MIGRATE_KEPT] = "kept",       [MIGRATE_CONF] = "conf",         [MIGRATE_HOSTS] = "hosts",
	[MIGRATE_DEFAULT] = "default", [MIGRATE_OBSOLETE] = "obsolete", [MIGRATE_NONE] = "none",
	[MIGRATE_SECRET] = "secret",   [MIGRATE_UNKNOWN] = "unknown",   [MIGRATE_NOTE] = "note",
};

const char *migrate_action_name(enum migrate_action action)
{
	return action_names[action];
}

/* -------------------------------------------------------------------------------------------------------- leaves */

static void leaf_push(struct migrate_leaf *leaf, const struct str *parts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		ensure(leaf->nparts < MIGRATE_MAX_PARTS);
		leaf->path[leaf->nparts++] = parts[i];
	}
}

static void visit(struct migrate_leaf *leaf, migrate_leaf_fn fn, void *arg)
{
	const struct toml_value *value = leaf->value;
	uint32_t nparts = leaf->nparts;

	if (value->type != TOML_TABLE) {
		fn(arg, leaf);
		return;
	}
	for (uint32_t i = 0; i < value->table->ninlines; i++) {
		const struct toml_inline *entry = &value->table->inlines[i];

		leaf_push(leaf, entry->path, entry->nparts);
		leaf->at = entry->key_start;
		leaf->value = entry->value;
		visit(leaf, fn, arg);
		leaf->nparts = nparts;
	}
}

void migrate_each_leaf(const struct toml *toml, migrate_leaf_fn fn, void *arg)
{
	struct migrate_leaf leaf = { .nparts = 0 };

	for (uint32_t i = 0; i < toml->nitems; i++) {
		const struct toml_item *item = &toml->items[i];

		if (item->kind != TOML_ITEM_KEY)
			continue;
		leaf.nparts = 0;
		leaf_push(&leaf, item->header, item->nheader);
		leaf_push(&leaf, item->key, item->nkey);
		leaf.at = item->key_start;
		leaf.value = item->value;
		visit(&leaf, fn, arg);
	}
}

/* --------------------------------------------------------------------------------------------------- conversions */

/* Can a line of coracle.conf hold this? Blanks at the ends are trimmed there, and a comment begins behind a blank. */
static bool ini_holds(struct str text)
{
	if (text.len > MAX_CONF_TEXT || str_trim(text).len != text.len)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c < 0x20 || c == 0x7f ||
		    ((c == ';' || c == '#') && (i == 0 || text.p[i - 1] == ' ')))
			return false;
	}
	return true;
}

static char *list_text(const struct toml_value *value)
{
	struct buf text;

	buf_init(&text, MAX_CONF_TEXT);
	for (size_t i = 0; i < toml_count(value); i++) {
		const struct toml_value *item = toml_item_at(value, i);

		if (item->type != TOML_STRING || memchr(item->string.p, ',', item->string.len) ||
		    !item->string.len || !ini_holds(item->string) ||
		    buf_printf(&text, "%s" STR_FMT, i ? ", " : "", STR_ARG(item->string)) < 0) {
			buf_release(&text);
			return NULL;
		}
	}
	return buf_take_str(&text);
}

static char *log_level(struct str level)
{
	static const char *const names[][2] = {
		{ "trace", "debug" }, { "debug", "debug" }, { "info", "info" },
		{ "warn", "warn" },   { "error", "error" }, { "fatal", "error" },
		{ "panic", "error" }, { "", "info" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eq_c(level, names[i][0]))
			return xstrdup(names[i][1]);
	return NULL;
}

/* The value as coracle.conf writes it; heap. NULL: it cannot be written there, or has another type than it should. */
static char *convert(enum conversion conversion, const struct toml_value *value)
{
	bool is_bool = value->type == TOML_BOOL, is_int = value->type == TOML_INTEGER,
	     is_string = value->type == TOML_STRING;

	switch (conversion) {
	case AS_BOOL:
	case AS_YES:
		return is_bool ? xstrdup(value->boolean ? "true" : "false") : NULL;
	case AS_NOT:
		return is_bool ? xstrdup(value->boolean ? "false" : "true") : NULL;
	case AS_SYSTEMD:
		return is_bool ? xstrdup(value->boolean ? "systemd" : "") : NULL;
	case AS_INT:
		return is_int ? xasprintf("%lld", (long long)value->integer) : NULL;
	case AS_SECONDS:
		if (is_int)
			return xasprintf("%llds", (long long)value->integer);
		return is_string && ini_holds(value->string) ? str_dup(value->string) : NULL;
	case AS_LIST:
		return value->type == TOML_ARRAY ? list_text(value) : NULL;
	case AS_LOG_LEVEL:
		return is_string ? log_level(value->string) : NULL;
	case AS_TEXT:
		break;
	}
	return is_string && ini_holds(value->string) ? str_dup(value->string) : NULL;
}

/* ------------------------------------------------------------------------------------------------------- records */

struct recorder {
	const struct migrate_edit *edit;
	struct migrate_records *out;
	const char *path; /* of the file; NULL: standard input */
	bool is_outside;  /* second pass: what stands outside the CRI tables */
};

static PRINTF_LIKE(2, 3) void set_note(struct migrate_record *record, const char *fmt, ...)
{
	cleanup_free char *before = record->note;
	va_list ap;
	char text[512];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	record->note = before ? xasprintf("%s; %s", before, text) : xstrdup(text);
}

static struct migrate_record *add_record(struct recorder *recorder, const struct migrate_leaf *leaf,
                                         uint32_t nplace)
{
	struct migrate_records *out = recorder->out;
	struct migrate_record *record;

	out->all = xrealloc(out->all, out->count + 1, sizeof(*out->all));
	record = &out->all[out->count++];
	*record = (struct migrate_record){
		.path = xmemdup(leaf->path, leaf->nparts * sizeof(*leaf->path)),
		.nparts = leaf->nparts,
		.nplace = nplace,
		.place = toml_place(recorder->edit->toml, leaf->at),
		.value = leaf->value,
	};
	return record;
}

/* "runtime *" with the name in place; NULL: no section can be called so. */
static char *section_name(const struct rule *rule, struct str wild, struct migrate_record *record)
{
	const struct config_key *handler = config_key_find("runtime NAME", "handler");
	cleanup_free char *name = NULL;
	struct err err;

	if (!ends_with(rule->section, "*"))
		return xstrdup(rule->section);
	name = str_dup(wild);
	if (wild.len > NAME_MAX_LEN) {
		set_note(record,
		         "a section's name holds %d bytes: write [runtime SHORT] with handler = %s",
		         NAME_MAX_LEN, name);
		return NULL;
	}
	if (strlen(name) != wild.len || (handler && config_key_check(handler, name, &err) < 0)) {
		set_note(record, "no name for a runtime handler");
		return NULL;
	}
	return xasprintf("runtime %s", name);
}

static void to_conf(const struct rule *rule, struct str wild, struct migrate_record *record)
{
	const struct config_key *key;
	const char *dflt = rule->dflt;
	struct err err = { .code = CODE_OK };

	record->section = section_name(rule, wild, record);
	if (!record->section) {
		record->action = MIGRATE_NONE;
		return;
	}
	record->key = xstrdup(rule->key);
	record->text = convert(rule->conversion, record->value);
	if (!record->text) {
		record->action = MIGRATE_NONE;
		set_note(record, "%s that [%s] %s cannot take over",
		         toml_type_name((enum toml_type)record->value->type), record->section,
		         record->key);
		return;
	}
	key = config_key_find(record->section, record->key);
	record->is_later = !key;
	if (key && *record->text && config_key_check(key, record->text, &err) < 0) {
		record->action = MIGRATE_NONE;
		set_note(record, "[%s] %s refuses it: %s", record->section, record->key, err.msg);
		return;
	}
	if (key)
		dflt = key->dflt;
	if (streq(record->text, dflt) || !*record->text)
		record->action = MIGRATE_DEFAULT;
}

static bool is_string(const struct toml_value *value, const char *text)
{
	return value->type == TOML_STRING && str_eq_c(value->string, text);
}

/* Shims that do nothing but call an OCI runtime. */
static bool is_plain_shim(const struct toml_value *value)
{
	static const char *const names[] = { "", "io.containerd.runc.v1", "io.containerd.runc.v2",
		                             "io.containerd.runtime.v1.linux",
		                             "io.containerd.runsc.v1" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (is_string(value, names[i]))
			return true;
	return value->type == TOML_STRING && memmem(value->string.p, value->string.len, "crun", 4);
}

/* "", 0, false, []: as good as not set. */
static bool is_nothing(const struct toml_value *value)
{
	return is_string(value, "") || (value->type == TOML_INTEGER && value->integer == 0) ||
	       (value->type == TOML_BOOL && !value->boolean) ||
	       (value->type == TOML_ARRAY && toml_count(value) == 0);
}

/* Settings whose meaning depends on the value. */
static void look_closer(const struct rule *rule, struct migrate_record *record)
{
	const char *pattern = rule->pattern;
	bool is_usual =
		is_string(record->value, "") ||
		(ends_with(pattern, "snapshotter") && is_string(record->value, "overlayfs")) ||
		(ends_with(pattern, "/sandbox_mode") && is_string(record->value, "podsandbox")) ||
		(ends_with(pattern, "/sandboxer") && is_string(record->value, "podsandbox"));

	if (is_usual && (ends_with(pattern, "snapshotter") || ends_with(pattern, "/sandbox_mode") ||
	                 ends_with(pattern, "/sandboxer")))
		record->action = MIGRATE_OBSOLETE;
	else if (ends_with(pattern, "/runtime_type") && !is_plain_shim(record->value))
		record->action = MIGRATE_NONE;
	else if (record->action == MIGRATE_NONE && is_nothing(record->value))
		record->action = MIGRATE_DEFAULT;
}

static bool has_credentials(const struct toml_value *endpoints)
{
	for (size_t i = 0; toml_is(endpoints, TOML_ARRAY) && i < toml_count(endpoints); i++) {
		const struct toml_value *url = toml_item_at(endpoints, i);

		if (toml_is(url, TOML_STRING) && memchr(url->string.p, '@', url->string.len))
			return true;
	}
	return false;
}

/* Reports are mailed around: no passwords, no tokens in headers. */
static void mask(const struct rule *rule, struct migrate_record *record)
{
	bool in_url = ends_with(rule->pattern, "/endpoint") && has_credentials(record->value);

	record->is_masked =
		record->action == MIGRATE_SECRET || in_url || ends_with(rule->pattern, "headers/*");
	if (in_url)
		set_note(record, "without the credentials in the URL: use image pull secrets");
}

/* default_runtime and untrusted_workload_runtime are runtimes under other names; without a type containerd ignores
 * them. @path is rewritten. Returns true where the leaf is settled. */
static bool old_runtime(struct str *path, uint32_t *inout_nparts, const struct toml_value *table,
                        struct migrate_record *record)
{
	const struct toml_value *type;
	bool is_default;

	if (*inout_nparts < 3 || !str_eq_c(path[0], "containerd"))
		return false;
	is_default = str_eq_c(path[1], "default_runtime");
	if (!is_default && !str_eq_c(path[1], "untrusted_workload_runtime"))
		return false;
	type = toml_get(toml_get_str(toml_get(table, "containerd"), path[1]), "runtime_type");
	if (!toml_is(type, TOML_STRING) || !type->string.len) {
		record->action = MIGRATE_OBSOLETE;
		set_note(record, "without a runtime_type containerd ignores it");
		return true;
	}
	if (is_default && *inout_nparts == 3 && str_eq_c(path[2], "runtime_type")) {
		record->action = MIGRATE_CONF;
		record->section = xstrdup("runtime");
		record->key = xstrdup("default");
		record->text = xstrdup("default");
		record->is_later = !config_key_find("runtime", "default");
		return true;
	}
	memmove(&path[3], &path[2], (*inout_nparts - 2) * sizeof(*path));
	path[1] = STR("runtimes");
	path[2] = is_default ? STR("default") : STR("untrusted");
	++*inout_nparts;
	return false;
}

/* How the settings of version 3 were called before. */
static void old_names(struct str plugin, struct str *path, uint32_t *inout_nparts)
{
	if (!str_eq_c(plugin, MIGRATE_CRI_IMAGES))
		return;
	if (*inout_nparts == 2 && str_eq_c(path[0], "pinned_images") &&
	    str_eq_c(path[1], "sandbox")) {
		path[0] = STR("sandbox_image");
		*inout_nparts = 1;
	} else if (*inout_nparts == 1 && (str_eq_c(path[0], "snapshotter") ||
	                                  str_eq_c(path[0], "disable_snapshot_annotations") ||
	                                  str_eq_c(path[0], "discard_unpacked_layers"))) {
		path[1] = path[0];
		path[0] = STR("containerd");
		*inout_nparts = 2;
	}
}

static bool is_cri_leaf(const struct migrate_edit *edit, const struct migrate_leaf *leaf)
{
	if (leaf->nparts < 3 || !str_eq_c(leaf->path[0], "plugins"))
		return false;
	for (size_t i = 0; i < edit->ntables; i++)
		if (str_eq_c(leaf->path[1], edit->tables[i]))
			return true;
	return edit->version >= MIGRATE_FROM && (str_eq_c(leaf->path[1], MIGRATE_CRI_RUNTIME) ||
	                                         str_eq_c(leaf->path[1], MIGRATE_CRI_IMAGES));
}

/* The default runtime that has no program of its own is runc. */
static void record_old_default(struct recorder *recorder, const struct migrate_leaf *leaf,
                               const struct toml_value *table)
{
	const struct toml_value *old = toml_get(toml_get(table, "containerd"), "default_runtime");
	const struct toml_value *engine = toml_get(old, "runtime_engine");
	const struct toml_value *binary = toml_get(toml_get(old, "options"), "BinaryName");
	struct migrate_record *record;

	if ((engine && !is_string(engine, "")) || (binary && !is_string(binary, "")) ||
	    !is_plain_shim(leaf->value))
		return;
	record = add_record(recorder, leaf, 2);
	record->action = MIGRATE_CONF;
	record->section = xstrdup("runtime default");
	record->key = xstrdup("path");
	record->text = xstrdup(RUNC);
}

static void record_cri(struct recorder *recorder, const struct migrate_leaf *leaf)
{
	const struct migrate_edit *edit = recorder->edit;
	const struct toml_value *table =
		toml_get_str(toml_get(edit->toml->root, "plugins"), leaf->path[1]);
	struct migrate_record *record = add_record(recorder, leaf, 2);
	struct str path[MIGRATE_MAX_PARTS + 2] = { { NULL, 0 } }, wild = { NULL, 0 };
	uint32_t nparts = leaf->nparts - 2;
	const struct rule *rule;

	memcpy(path, leaf->path + 2, nparts * sizeof(*path));
	old_names(leaf->path[1], path, &nparts);
	if (old_runtime(path, &nparts, table, record)) {
		if (record->action == MIGRATE_CONF)
			record_old_default(recorder, leaf, table);
		return;
	}
	rule = rule_find(path, nparts, &wild);
	if (!rule) {
		record->action = MIGRATE_UNKNOWN;
		record->note = rule_suggest(path, nparts);
		return;
	}
	record->action = rule->action;
	if (rule->note)
		set_note(record, "%s", rule->note);
	look_closer(rule, record);
	mask(rule, record);
	if (record->action == MIGRATE_HOSTS && wild.p && !ends_with(rule->pattern, "headers/*"))
		record->section = str_dup(wild);
	if (record->action == MIGRATE_CONF)
		to_conf(rule, wild, record);
	if (edit->version < MIGRATE_FROM && migrate_keeps(leaf->path[2], edit->keep_streaming))
		record->action = MIGRATE_KEPT;
}

/* Does this file have settings for us? Files that are no TOML are somebody else's trouble. */
static bool has_cri_table(const char *path)
{
	cleanup_free char *text = NULL;
	cleanup(toml_free) struct toml *toml = NULL;
	cleanup(migrate_edit_release) struct migrate_edit edit = { .ntables = 0 };
	struct migrate_message error;
	struct err err;
	size_t len;

	if (fsx_read(AT_FDCWD, path, TOML_MAX_BYTES, &text, &len) < 0)
		return false;
	toml = toml_parse(path, text, len, NULL, &err);
	return toml && migrate_edit(toml, false, &edit, &error) == 0 && edit.ntables > 0;
}

/* Patterns are relative to the file that imports. */
static void note_imports(const struct recorder *recorder, struct migrate_record *record)
{
	const char *slash = recorder->path ? strrchr(recorder->path, '/') : NULL;

	set_note(record, "not followed: name the files to migrate them too");
	for (size_t i = 0; recorder->path && i < toml_count(record->value); i++) {
		const struct toml_value *value = toml_item_at(record->value, i);
		cleanup_free char *pattern = NULL;
		glob_t found;

		if (!toml_is(value, TOML_STRING))
			continue;
		if (str_starts(value->string, "/") || !slash)
			pattern = str_dup(value->string);
		else
			pattern = xasprintf("%.*s/" STR_FMT, (int)(slash - recorder->path),
			                    recorder->path, STR_ARG(value->string));
		if (glob(pattern, 0, NULL, &found) != 0)
			continue;
		for (size_t k = 0; k < found.gl_pathc && k < MAX_IMPORTS; k++)
			if (has_cri_table(found.gl_pathv[k]))
				set_note(record, "%s has a CRI table", found.gl_pathv[k]);
		globfree(&found);
	}
}

static void record_outside(struct recorder *recorder, const struct migrate_leaf *leaf)
{
	struct str wild = { NULL, 0 };
	const struct rule *rule = rule_find_outside(leaf->path, leaf->nparts, &wild);
	struct migrate_record *record;
	bool has_cri = false;

	if (!rule || (rule->action == MIGRATE_NOTE && is_nothing(leaf->value)))
		return;
	if (str_eq_c(leaf->path[0], "disabled_plugins")) {
		for (size_t i = 0; i < toml_count(leaf->value); i++)
			has_cri |= is_string(toml_item_at(leaf->value, i), MIGRATE_CRI_SHORT) ||
			           is_string(toml_item_at(leaf->value, i), MIGRATE_CRI);
		if (!has_cri)
			return;
	}
	record = add_record(recorder, leaf, 0);
	record->action = rule->action;
	if (rule->note)
		set_note(record, "%s", rule->note);
	if (has_cri)
		set_note(record, "the CRI plugin was switched off in containerd");
	else if (str_eq_c(leaf->path[0], "imports"))
		note_imports(recorder, record);
	if (record->action == MIGRATE_CONF)
		to_conf(rule, wild, record);
}

static void record_leaf(void *arg, const struct migrate_leaf *leaf)
{
	struct recorder *recorder = arg;
	bool is_cri = is_cri_leaf(recorder->edit, leaf);

	if (is_cri && !recorder->is_outside)
		record_cri(recorder, leaf);
	else if (!is_cri && recorder->is_outside)
		record_outside(recorder, leaf);
}

/* ------------------------------------------------------------------------------------- what needs all the records */

static bool names_runtime_path(const struct migrate_record *record)
{
	return record->action == MIGRATE_CONF && starts_with(record->section, "runtime ") &&
	       streq(record->key, "path");
}

static bool has_path_for(const struct migrate_records *records, const char *section)
{
	for (size_t i = 0; i < records->count; i++)
		if (names_runtime_path(&records->all[i]) && streq(records->all[i].section, section))
			return true;
	return false;
}

/* The handler whose type a record tells. */
static bool tells_type_of(const struct migrate_record *record, struct str *ret_handler)
{
	const struct str *path = record->path;

	if (record->nparts < 5 || !str_eq_c(path[2], "containerd") ||
	    !str_eq_c(path[record->nparts - 1], "runtime_type"))
		return false;
	if (record->nparts == 5 && str_eq_c(path[3], "untrusted_workload_runtime"))
		*ret_handler = STR("untrusted");
	else if (record->nparts == 6 && str_eq_c(path[3], "runtimes"))
		*ret_handler = path[4];
	else
		return false;
	return true;
}

/*
 * coracle finds crun and runc by itself as long as no handler is configured. As soon as one is, those that containerd
 * ran with plain runc have to be named as well.
 */
static void name_plain_handlers(struct migrate_records *records)
{
	const struct config_key *handler_key = config_key_find("runtime NAME", "handler");
	bool any = false;

	for (size_t i = 0; i < records->count; i++) {
		const struct migrate_record *record = &records->all[i];
		struct str name;

		any |= names_runtime_path(record) ||
		       (tells_type_of(record, &name) && !str_eq_c(name, RUNC));
	}
	for (size_t i = 0; any && i < records->count; i++) {
		struct migrate_record *record = &records->all[i];
		cleanup_free char *section = NULL, *name = NULL;
		struct str handler;
		struct err err;

		if (record->action != MIGRATE_OBSOLETE || !tells_type_of(record, &handler) ||
		    handler.len > NAME_MAX_LEN)
			continue;
		name = str_dup(handler);
		section = xasprintf("runtime %s", name);
		if (has_path_for(records, section) || !handler_key ||
		    config_key_check(handler_key, name, &err) < 0)
			continue;
		record->action = MIGRATE_CONF;
		record->section = take_ptr(section);
		record->key = xstrdup("path");
		record->text = xstrdup(RUNC);
	}
}

/* The default of record @i is found by itself, but not beside runtimes that another file of coracle configures. */
static void name_program(struct migrate_records *records, size_t i, const char *section)
{
	struct migrate_record *record;

	records->all = xrealloc(records->all, records->count + 1, sizeof(*records->all));
	record = &records->all[records->count++];
	*record = records->all[i];
	record->path = xmemdup(record->path, record->nparts * sizeof(*record->path));
	record->section = xstrdup(section);
	record->key = xstrdup("path");
	record->text = xstrdup(records->all[i].text);
	record->note = NULL;
}

/* A default that no handler answers to would keep the daemon from starting. */
static void settle_default(struct migrate_records *records)
{
	bool any = false;

	for (size_t i = 0; i < records->count; i++)
		any |= names_runtime_path(&records->all[i]);
	for (size_t i = 0; i < records->count; i++) {
		struct migrate_record *record = &records->all[i];
		cleanup_free char *section = NULL;

		if (record->action != MIGRATE_CONF || !streq(record->section, "runtime") ||
		    !streq(record->key, "default"))
			continue;
		section = xasprintf("runtime %s", record->text);
		if (has_path_for(records, section))
			continue;
		if (!any && (streq(record->text, RUNC) || streq(record->text, "crun"))) {
			name_program(records, i, section);
			continue;
		}
		record->action = MIGRATE_NONE;
		set_note(record, "no OCI runtime is known for %s", record->text);
	}
}

/* One manager for all pods: containerd had one per runtime. */
static void settle_cgroup_manager(struct migrate_records *records)
{
	bool is_systemd = false, is_other = false;

	for (size_t i = 0; i < records->count; i++) {
		const struct migrate_record *record = &records->all[i];

		if (!record->text || !streq(record->section, "cgroup") ||
		    !streq(record->key, "manager"))
			continue;
		is_systemd |= streq(record->text, "systemd");
		is_other |= !*record->text;
	}
	for (size_t i = 0; is_systemd && is_other && i < records->count; i++) {
		struct migrate_record *record = &records->all[i];

		if (!record->text || !streq(record->section, "cgroup") ||
		    !streq(record->key, "manager"))
			continue;
		record->action = MIGRATE_NONE;
		set_note(
			record,
			"the runtimes disagree about SystemdCgroup, and coracle has one manager for all");
	}
}

void migrate_records(const struct migrate_edit *edit, const char *path, struct migrate_records *ret)
{
	struct recorder recorder = { .edit = edit, .out = ret, .path = path };

	*ret = (struct migrate_records){ .count = 0 };
	migrate_each_leaf(edit->toml, record_leaf, &recorder);
	recorder.is_outside = true;
	migrate_each_leaf(edit->toml, record_leaf, &recorder);
	name_plain_handlers(ret);
	settle_default(ret);
	settle_cgroup_manager(ret);
}

void migrate_records_release(struct migrate_records *records)
{
	for (size_t i = 0; i < records->count; i++) {
		free(records->all[i].path);
		free(records->all[i].section);
		free(records->all[i].key);
		free(records->all[i].text);
		free(records->all[i].note);
	}
	free(records->all);
	*records = (struct migrate_records){ .count = 0 };
}
