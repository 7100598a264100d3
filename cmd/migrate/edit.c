/* cmd/migrate/edit.c
 *
 * Three passes over the items of the file: mark what the rule removes, carry comments and blank lines along, cut.
 *
 * Every absolute path A is one of
 *     DROP    below a CRI table, and not one of its kept settings
 *     INSIDE  "plugins", or the CRI table itself: it may hold both
 *     KEEP    everything else
 */
#include "cmd/migrate/edit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/mem.h"
#include "core/base/str.h"

static const char *const kept_keys[] = {
	"disable_tcp_service", "stream_server_address", "stream_server_port",
	"stream_idle_timeout", "enable_tls_streaming",  "x509_key_pair_streaming",
};

static const char *const code_names[] = {
	[E_OPEN] = "E_OPEN",       [E_UTF8] = "E_UTF8",
	[E_SYNTAX] = "E_SYNTAX",   [E_VERSION] = "E_VERSION",
	[E_TYPE] = "E_TYPE",       [E_WRITE] = "E_WRITE",
	[E_BACKUP] = "E_BACKUP",   [E_SELF] = "E_SELF",
	[W_TYPE] = "W_TYPE",       [W_SHORT] = "W_SHORT",
	[W_BOTH] = "W_BOTH",       [W_UNQUOTED] = "W_UNQUOTED",
	[W_VERSION] = "W_VERSION", [W_VERSION_PLACE] = "W_VERSION_PLACE",
	[W_BOM] = "W_BOM",         [W_HARDLINK] = "W_HARDLINK",
	[W_LIVE] = "W_LIVE",
};

const char *migrate_code_name(enum migrate_code code)
{
	return code_names[code];
}

bool migrate_keeps(struct str key, bool keep_streaming)
{
	for (size_t i = 0; i < (keep_streaming ? ARRAY_SIZE(kept_keys) : 1); i++)
		if (str_eq_c(key, kept_keys[i]))
			return true;
	return false;
}

size_t migrate_names(int64_t version, const char *ret_names[MIGRATE_MAX_TABLES])
{
	ret_names[0] = MIGRATE_CRI;
	ret_names[1] = MIGRATE_CRI_SHORT;
	return version < 2 ? 2 : 1;
}

static PRINTF_LIKE(4, 5) int fail(struct migrate_message *error, enum migrate_code code,
                                  struct toml_place place, const char *fmt, ...)
{
	va_list ap;

	error->code = code;
	error->place = place;
	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	return -1;
}

static PRINTF_LIKE(4, 5) void warn(struct migrate_edit *edit, enum migrate_code code,
                                   uint32_t offset, const char *fmt, ...)
{
	struct migrate_message *message;
	va_list ap;

	edit->warnings = xrealloc(edit->warnings, edit->nwarnings + 1, sizeof(*edit->warnings));
	message = &edit->warnings[edit->nwarnings++];
	message->code = code;
	message->place = toml_place(edit->toml, offset);
	va_start(ap, fmt);
	vsnprintf(message->text, sizeof(message->text), fmt, ap);
	va_end(ap);
}

/* ------------------------------------------------------------------------------------------------------- classes */

enum fate { KEEP = 1, INSIDE, DROP };

/* A path that begins with an item's and goes on with the parts of inline tables. */
struct path {
	struct str first[3]; /* more is never looked at */
	uint32_t nparts;
};

static void path_add(struct path *path, struct str part)
{
	if (path->nparts < ARRAY_SIZE(path->first))
		path->first[path->nparts] = part;
	path->nparts++;
}

static struct path item_path(const struct toml_item *item)
{
	struct path path = { .nparts = 0 };

	for (uint32_t i = 0; i < toml_item_nparts(item); i++)
		path_add(&path, toml_item_part(item, i));
	return path;
}

static bool is_cri_name(const struct migrate_edit *edit, struct str name)
{
	const char *names[MIGRATE_MAX_TABLES];
	size_t n = migrate_names(edit->version, names);

	for (size_t i = 0; i < n; i++)
		if (str_eq_c(name, names[i]))
			return true;
	return false;
}

static enum fate classify(const struct migrate_edit *edit, const struct path *path)
{
	if (!str_eq_c(path->first[0], "plugins"))
		return KEEP;
	if (path->nparts == 1)
		return INSIDE;
	if (!is_cri_name(edit, path->first[1]))
		return KEEP;
	if (path->nparts == 2)
		return INSIDE;
	return migrate_keeps(path->first[2], edit->keep_streaming) ? KEEP : DROP;
}

static bool is_cri_table(const struct migrate_edit *edit, const struct path *path)
{
	return path->nparts == 2 && classify(edit, path) == INSIDE;
}

/* ---------------------------------------------------------------------------------------------------------- cuts */

static void cut(struct migrate_edit *edit, uint32_t start, uint32_t end)
{
	edit->cuts = xrealloc(edit->cuts, edit->ncuts + 1, sizeof(*edit->cuts));
	edit->cuts[edit->ncuts++] = (struct migrate_cut){ start, end };
}

static struct path inline_path(const struct path *table, const struct toml_inline *entry)
{
	struct path path = *table;

	for (uint32_t i = 0; i < entry->nparts; i++)
		path_add(&path, entry->path[i]);
	return path;
}

static bool is_inline_table(const struct toml_value *value)
{
	return value->type == TOML_TABLE && value->origin == TOML_CLOSED;
}

/* Does this entry go? The CRI table goes as a whole when it would keep nothing. */
static bool inline_goes(const struct migrate_edit *edit, const struct path *path,
                        const struct toml_value *value)
{
	enum fate fate = classify(edit, path);

	if (fate != INSIDE || !is_cri_table(edit, path))
		return fate == DROP;
	for (uint32_t i = 0; i < value->table->ninlines; i++) {
		struct path below = inline_path(path, &value->table->inlines[i]);

		if (classify(edit, &below) == KEEP)
			return false;
	}
	return true;
}

/* Cut from { } what goes. A run of entries goes with the comma behind it, the last run with the one before. */
static void cut_inline(struct migrate_edit *edit, const struct path *path,
                       const struct toml_value *value)
{
	const struct toml_inline *inlines = value->table->inlines;
	uint32_t n = value->table->ninlines, i = 0;

	while (i < n) {
		struct path below = inline_path(path, &inlines[i]);
		uint32_t run = i;

		if (!inline_goes(edit, &below, inlines[i].value)) {
			if (classify(edit, &below) == INSIDE && is_inline_table(inlines[i].value))
				cut_inline(edit, &below, inlines[i].value);
			i++;
			continue;
		}
		for (; i < n; i++) {
			below = inline_path(path, &inlines[i]);
			if (!inline_goes(edit, &below, inlines[i].value))
				break;
		}
		if (i < n)
			cut(edit, inlines[run].key_start, inlines[i].key_start);
		else if (run > 0)
			cut(edit, inlines[run - 1].value_end, inlines[n - 1].value_end);
		else
			cut(edit, inlines[0].key_start, value->end - 1);
	}
}

/* --------------------------------------------------------------------------------------------------------- marks */

static bool is_key(const struct toml_item *item)
{
	return item->kind >= TOML_ITEM_TABLE;
}

static bool is_header(const struct toml_item *item)
{
	return item->kind == TOML_ITEM_TABLE || item->kind == TOML_ITEM_ELEMENT;
}

static void mark_keys(const struct migrate_edit *edit, bool *gone)
{
	const struct toml *toml = edit->toml;
	bool keeps_a_key = false;

	/* Backwards, so that a header knows about its own section. */
	for (uint32_t i = toml->nitems; i-- > 0;) {
		const struct toml_item *item = &toml->items[i];
		struct path path;

		if (!is_key(item))
			continue;
		path = item_path(item);
		if (!is_header(item)) {
			gone[i] = is_inline_table(item->value)
			                  ? inline_goes(edit, &path, item->value)
			                  : classify(edit, &path) == DROP;
			keeps_a_key |= !gone[i];
			continue;
		}
		gone[i] = is_cri_table(edit, &path) ? !keeps_a_key : classify(edit, &path) == DROP;
		keeps_a_key = false;
	}
}

/* What the nearest key or header in one direction says: 1 gone, 0 stays, -1 there is none. */
static int neighbour(const struct toml *toml, const bool *gone, uint32_t from, int step)
{
	for (uint32_t i = from; i < toml->nitems;
	     i += (uint32_t)step) /* below 0 wraps to the end of the loop */
		if (is_key(&toml->items[i]))
			return gone[i];
	return -1;
}

static void mark_comments(const struct toml *toml, bool *gone)
{
	uint32_t i = 0, end;

	while (i < toml->nitems) {
		bool goes;

		if (toml->items[i].kind != TOML_ITEM_COMMENT) {
			i++;
			continue;
		}
		for (end = i; end < toml->nitems && toml->items[end].kind == TOML_ITEM_COMMENT;)
			end++;
		if (end < toml->nitems && is_key(&toml->items[end]))
			goes = gone[end]; /* it speaks of what stands right below */
		else
			goes = neighbour(toml, gone, i - 1, -1) == 1 &&
			       neighbour(toml, gone, end, 1) == 1;
		for (goes &= i > 0; i < end; i++)
			gone[i] = goes;
	}
}

static bool is_blank(const struct toml *toml, uint32_t i)
{
	return toml->items[i].kind == TOML_ITEM_BLANK;
}

static void mark_blanks(const struct toml *toml, bool *gone)
{
	uint32_t n = toml->nitems, i, end, above, below;

	for (i = 0; i < n; i = end) {
		end = i + 1;
		if (!is_blank(toml, i))
			continue;
		while (end < n && is_blank(toml, end))
			end++;
		if (i > 0 && gone[i - 1] && end < n && gone[end])
			memset(gone + i, true, end - i);
	}
	for (i = 0; i < n; i = end) {
		end = i + 1;
		if (!gone[i])
			continue;
		while (end < n && gone[end])
			end++;
		for (above = i; above > 0 && is_blank(toml, above - 1) && !gone[above - 1];)
			above--;
		for (below = end; below < n && is_blank(toml, below);)
			below++;
		if (above == 0 || below == n)
			memset(gone + above, true, i - above);
		else if (above == i)
			continue; /* no blank line above: the ones below keep the rest apart */
		memset(gone + end, true, below - end);
		end = below;
	}
}

/* ------------------------------------------------------------------------------------------------------ warnings */

static const struct toml_value *plugins_of(const struct migrate_edit *edit)
{
	return toml_get(edit->toml->root, "plugins");
}

static void warn_about_names(struct migrate_edit *edit)
{
	const struct toml_value *plugins = plugins_of(edit), *table;
	const struct toml_entry *entry = toml_entry(plugins, STR(MIGRATE_CRI_SHORT));

	if (edit->version >= 2 && entry && entry->value->type == TOML_TABLE)
		warn(edit, W_SHORT, entry->key_at,
		     "containerd ignores [plugins.cri] in a file of version %lld: the table is called \"" MIGRATE_CRI
		     "\" there",
		     (long long)edit->version);
	if (edit->ntables == 2 && entry)
		warn(edit, W_BOTH, entry->key_at,
		     "both [plugins.cri] and [plugins.\"" MIGRATE_CRI
		     "\"]: containerd 1.x reads the first, 2.x either of them by chance");
	table = toml_get(toml_get(toml_get(toml_get(plugins, "io"), "containerd"), "grpc"), "v1");
	entry = toml_entry(table, STR("cri"));
	if (entry)
		warn(edit, W_UNQUOTED, entry->key_at,
		     "five tables inside each other, not the CRI plugin's: its name needs quotes, [plugins.\"" MIGRATE_CRI
		     "\"]");
}

static void warn_about_version(struct migrate_edit *edit)
{
	const struct toml *toml = edit->toml;
	const struct toml_entry *entry = toml_entry(toml->root, STR("version"));
	uint32_t last = 0;

	if (edit->version > MIGRATE_NEWEST)
		warn(edit, W_VERSION, entry->value->start,
		     "version %lld: the newest one known here is %d", (long long)edit->version,
		     MIGRATE_NEWEST);
	if (entry)
		return;
	for (uint32_t i = 0; i < toml->nitems; i++)
		if (is_header(&toml->items[i]))
			last = i;
	/* A line that was meant for the file stands below a header: typically the first, or the last one. */
	for (uint32_t i = 0; i < toml->nitems; i++) {
		const struct toml_item *item = &toml->items[i];
		bool is_in_plugins = item->nheader == 1 && str_eq_c(item->header[0], "plugins");

		if (item->kind == TOML_ITEM_KEY && item->nheader && item->nkey == 1 &&
		    str_eq_c(item->key[0], "version") && (is_in_plugins || i > last))
			warn(edit, W_VERSION_PLACE, item->key_start,
			     "belongs to the table above it; the file itself has no version and counts as version 0");
	}
}

static void warn_about_values(struct migrate_edit *edit)
{
	const struct toml_value *table;
	const struct toml_entry *entry;

	for (size_t i = 0; i < edit->ntables; i++) {
		table = toml_get(plugins_of(edit), edit->tables[i]);
		entry = toml_entry(table, STR("disable_tcp_service"));
		if (entry && entry->value->type != TOML_BOOL)
			warn(edit, W_TYPE, entry->value->start,
			     "disable_tcp_service is %s where containerd takes a boolean: it refuses to start",
			     toml_type_name((enum toml_type)entry->value->type));
	}
	if (edit->toml->has_bom)
		warn(edit, W_BOM, 0,
		     "starts with a byte-order mark: containerd refuses such a file");
}

/* ---------------------------------------------------------------------------------------------------- self-check */

/* Is @out what the rule makes of the CRI table @in? */
static bool cri_follows_rule(const struct migrate_edit *edit, const struct toml_value *in,
                             const struct toml_value *out)
{
	size_t kept = 0;

	for (size_t i = 0; i < toml_count(in); i++) {
		const struct toml_entry *entry = toml_entry_at(in, i);
		const struct toml_value *other = toml_get_str(out, entry->key);

		if (!migrate_keeps(entry->key, edit->keep_streaming))
			continue;
		kept++;
		if (!other || !toml_equal(entry->value, other))
			return false;
	}
	return kept ? toml_is(out, TOML_TABLE) && toml_count(out) == kept : !out;
}

static bool plugins_follow_rule(const struct migrate_edit *edit, const struct toml_value *in,
                                const struct toml_value *out)
{
	size_t count = 0;

	for (size_t i = 0; i < toml_count(in); i++) {
		const struct toml_entry *entry = toml_entry_at(in, i);
		const struct toml_value *other = toml_get_str(out, entry->key);

		count += other != NULL;
		if (is_cri_name(edit, entry->key) ? !cri_follows_rule(edit, entry->value, other)
		                                  : !other || !toml_equal(entry->value, other))
			return false;
	}
	return toml_count(out) == count;
}

static bool follows_rule(const struct migrate_edit *edit, const struct toml_value *out)
{
	const struct toml_value *in = edit->toml->root;
	size_t count = 0;

	for (size_t i = 0; i < toml_count(in); i++) {
		const struct toml_entry *entry = toml_entry_at(in, i);
		const struct toml_value *other = toml_get_str(out, entry->key);

		count += other != NULL;
		if (str_eq_c(entry->key, "plugins")
		            ? !plugins_follow_rule(edit, entry->value, other)
		            : !other || !toml_equal(entry->value, other))
			return false;
	}
	return toml_count(out) == count;
}

static void find_cuts(struct migrate_edit *edit)
{
	const struct toml *toml = edit->toml;
	cleanup_free bool *gone = xcalloc((size_t)toml->nitems + 1, sizeof(*gone));
	bool any = false;

	mark_keys(edit, gone);
	for (uint32_t i = 0; i < toml->nitems; i++)
		any |= gone[i];
	if (any) {
		mark_comments(toml, gone);
		mark_blanks(toml, gone);
	}
	for (uint32_t i = 0; i < toml->nitems; i++) {
		const struct toml_item *item = &toml->items[i];
		struct path path;

		if (gone[i] && i > 0 && gone[i - 1]) {
			edit->cuts[edit->ncuts - 1].end = item->end;
		} else if (gone[i]) {
			cut(edit, item->start, item->end);
		} else if (item->kind == TOML_ITEM_KEY && is_inline_table(item->value)) {
			path = item_path(item);
			if (classify(edit, &path) == INSIDE)
				cut_inline(edit, &path, item->value);
		}
	}
}

static int check_result(struct migrate_edit *edit, struct migrate_message *error)
{
	struct err err = { .code = CODE_OK };
	cleanup(toml_free) struct toml *again =
		toml_parse("result", edit->text, edit->len, NULL, &err);
	struct migrate_edit second = { .toml = again,
		                       .version = edit->version,
		                       .keep_streaming = edit->keep_streaming };
	bool is_right = again && follows_rule(edit, again->root);

	if (is_right) {
		find_cuts(&second);
		is_right = second.ncuts == 0;
		free(second.cuts);
	}
	if (is_right)
		return 0;
	return fail(
		error, E_SELF, (struct toml_place){ 0, 0 },
		"the result is not what the rule asks for; this is a bug of coracle, please report it with the file%s%s",
		again ? "" : ": ", again ? "" : err.msg);
}

/* -------------------------------------------------------------------------------------------------------- result */

static void apply_cuts(struct migrate_edit *edit)
{
	const struct toml *toml = edit->toml;
	uint32_t at = 0;

	edit->text = xcalloc(1, (size_t)toml->len + 1);
	for (size_t i = 0; i <= edit->ncuts; i++) {
		uint32_t end = i < edit->ncuts ? edit->cuts[i].start : toml->len;

		ensure(end >= at);
		memcpy(edit->text + edit->len, toml->text + at, end - at);
		edit->len += end - at;
		at = i < edit->ncuts ? edit->cuts[i].end : end;
	}
}

/* Settings are leaves: what is no table. */
static size_t count_settings(const struct toml_value *value)
{
	size_t count = 0;

	if (value->type != TOML_TABLE)
		return 1;
	for (size_t i = 0; i < toml_count(value); i++)
		count += count_settings(toml_entry_at(value, i)->value);
	return count;
}

static void count_removed(struct migrate_edit *edit)
{
	bool is_kept[ARRAY_SIZE(kept_keys)] = { false };
	struct buf kept;

	for (size_t t = 0; t < edit->ntables; t++) {
		const struct toml_value *table = toml_get(plugins_of(edit), edit->tables[t]);

		for (size_t i = 0; i < toml_count(table); i++) {
			const struct toml_entry *entry = toml_entry_at(table, i);

			if (!migrate_keeps(entry->key, edit->keep_streaming))
				edit->removed += count_settings(entry->value);
			for (size_t k = 0; k < ARRAY_SIZE(kept_keys); k++)
				is_kept[k] |= migrate_keeps(entry->key, edit->keep_streaming) &&
				              str_eq_c(entry->key, kept_keys[k]);
		}
	}
	buf_init(&kept, 1024);
	for (size_t k = 0; k < ARRAY_SIZE(kept_keys); k++)
		if (is_kept[k])
			ensure(buf_printf(&kept, "%s%s", kept.len ? ", " : "", kept_keys[k]) == 0);
	edit->kept = edit->kept_text = buf_take_str(&kept);
}

static int read_version(struct migrate_edit *edit, struct migrate_message *error)
{
	const struct toml_value *version = toml_get(edit->toml->root, "version");

	if (!version)
		return 0;
	if (version->type != TOML_INTEGER)
		return fail(error, E_VERSION, toml_place(edit->toml, version->start),
		            "version is %s, not an integer",
		            toml_type_name((enum toml_type)version->type));
	if (version->integer < 0)
		return fail(error, E_VERSION, toml_place(edit->toml, version->start),
		            "version %lld is negative", (long long)version->integer);
	edit->version = version->integer;
	return 0;
}

static int find_tables(struct migrate_edit *edit, struct migrate_message *error)
{
	const struct toml_value *plugins = plugins_of(edit), *table;
	const char *names[MIGRATE_MAX_TABLES];
	size_t n = migrate_names(edit->version, names);

	if (!plugins)
		return 0;
	if (plugins->type != TOML_TABLE && edit->version < MIGRATE_FROM)
		return fail(error, E_TYPE, toml_place(edit->toml, plugins->start),
		            "plugins is %s, not a table",
		            toml_type_name((enum toml_type)plugins->type));
	for (size_t i = 0; i < n; i++) {
		table = toml_get(plugins, names[i]);
		if (!table)
			continue;
		if (table->type == TOML_TABLE)
			edit->tables[edit->ntables++] = names[i];
		else if (edit->version < MIGRATE_FROM)
			return fail(error, E_TYPE, toml_place(edit->toml, table->start),
			            "plugins.\"%s\" is %s, not a table", names[i],
			            toml_type_name((enum toml_type)table->type));
	}
	return 0;
}

int migrate_edit(const struct toml *toml, bool keep_streaming, struct migrate_edit *edit,
                 struct migrate_message *error)
{
	*edit = (struct migrate_edit){ .toml = toml, .keep_streaming = keep_streaming, .kept = "" };
	if (read_version(edit, error) < 0 || find_tables(edit, error) < 0)
		return -1;
	warn_about_version(edit);
	warn_about_names(edit);
	warn_about_values(edit);
	if (edit->version < MIGRATE_FROM) {
		find_cuts(edit);
		count_removed(edit);
	}
	apply_cuts(edit);
	return edit->ncuts ? check_result(edit, error) : 0;
}

void migrate_edit_release(struct migrate_edit *edit)
{
	free(edit->cuts);
	free(edit->text);
	free(edit->kept_text);
	free(edit->warnings);
	*edit = (struct migrate_edit){ .kept = "" };
}
