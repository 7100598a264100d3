/* cmd/migrate/conf.c: coracle.conf from records. What was written is read back by the daemon's reader before anybody
 * sees it: each key must be in force with the value that was meant, and without a problem. */
#include <string.h>

#include "cmd/migrate/output.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/config.h"

#define MAX_CONF (1024 * 1024)
#define LATER    "# later: "

struct conf {
	const struct migrate_record **all; /* one per section and key: what the last file says */
	size_t count;
};

static bool is_written(const struct migrate_record *record)
{
	return (record->action == MIGRATE_CONF || record->action == MIGRATE_KEPT) &&
	       record->section && record->text;
}

static void collect(struct conf *conf, const struct migrate_records *records)
{
	for (size_t i = 0; i < records->count; i++) {
		const struct migrate_record *record = &records->all[i];
		size_t k;

		if (!is_written(record))
			continue;
		for (k = 0; k < conf->count; k++)
			if (streq(conf->all[k]->section, record->section) &&
			    streq(conf->all[k]->key, record->key))
				break;
		if (k == conf->count) {
			conf->all = xrealloc(conf->all, conf->count + 1, sizeof(*conf->all));
			conf->count++;
		}
		conf->all[k] = record;
	}
}

/* A section's keys stand together, where its first one stood. */
static int print_section(const struct conf *conf, size_t first, struct buf *out)
{
	const char *section = conf->all[first]->section;

	for (size_t i = 0; i < first; i++)
		if (!conf->all[i]->is_later && streq(conf->all[i]->section, section))
			return 0;
	if (buf_printf(out, "\n[%s]\n", section) < 0)
		return -1;
	for (size_t i = first; i < conf->count; i++)
		if (!conf->all[i]->is_later && streq(conf->all[i]->section, section) &&
		    buf_printf(out, "%s = %s\n", conf->all[i]->key, conf->all[i]->text) < 0)
			return -1;
	return 0;
}

static int print_conf(const struct conf *conf, struct buf *out)
{
	bool any_later = false;

	if (buf_add_str(
		    out,
		    "# Settings of containerd's CRI plugin, as found by coracle migrate-config.\n") <
	    0)
		return -1;
	for (size_t i = 0; i < conf->count; i++) {
		any_later |= conf->all[i]->is_later;
		if (!conf->all[i]->is_later && print_section(conf, i, out) < 0)
			return -1;
	}
	if (any_later &&
	    buf_add_str(out, "\n# This version of coracle does not read these yet.\n") < 0)
		return -1;
	for (size_t i = 0; i < conf->count; i++)
		if (conf->all[i]->is_later &&
		    buf_printf(out, LATER "[%s] %s = %s\n", conf->all[i]->section,
		               conf->all[i]->key, conf->all[i]->text) < 0)
			return -1;
	return 0;
}

struct found {
	const struct migrate_record *record;
	bool is_right;
};

static void compare(void *arg, const struct config_value *value)
{
	struct found *found = arg;

	if (streq(value->section, found->record->section) &&
	    streq(value->key->name, found->record->key))
		found->is_right =
			streq(value->text, found->record->text) && !streq(value->origin, "default");
}

/* Does the daemon find each value? */
static int read_back(const struct conf *conf, const struct buf *text, struct err *err)
{
	static const struct config_flags no_flags;
	cleanup(config_free) struct config *config =
		config_from_text("the new coracle.conf", text->data, text->len, &no_flags, err);

	if (!config)
		return -1;
	if (config->nproblems)
		return err_set(err, CODE_INTERNAL, "%s", config->problems[0].text);
	for (size_t i = 0; i < conf->count; i++) {
		struct found found = { .record = conf->all[i] };

		if (conf->all[i]->is_later)
			continue;
		config_each(config, compare, &found);
		if (!found.is_right)
			return err_set(err, CODE_INTERNAL,
			               "the new coracle.conf: [%s] %s is not found again",
			               conf->all[i]->section, conf->all[i]->key);
	}
	return 0;
}

/* Is @dir one of the directories, which ',' or ':' separates? */
static bool has_dir(const char *dirs, const char *dir)
{
	size_t len = strlen(dir);

	for (const char *p = dirs; *p;) {
		size_t n = strcspn(p, ",:");
		struct str one = str_trim((struct str){ p, n });

		while (len > 1 && dir[len - 1] == '/')
			len--;
		if (str_eq(one, (struct str){ dir, len }))
			return true;
		p += n + (p[n] != '\0');
	}
	return false;
}

bool migrate_hosts_default(const char *dir)
{
	return has_dir(config_key_find("registry", "config_path")->dflt, dir);
}

/* Where new hosts.toml files are looked for first; what was there before stays behind. */
static void name_hosts_dir(struct migrate_records *own, const struct conf *conf, const char *dir)
{
	const char *before = config_key_find("registry", "config_path")->dflt;

	for (size_t i = 0; i < conf->count; i++)
		if (streq(conf->all[i]->section, "registry") &&
		    streq(conf->all[i]->key, "config_path"))
			before = conf->all[i]->text;
	if (has_dir(before, dir))
		return;
	own->all = xcalloc(1, sizeof(*own->all));
	own->count = 1;
	own->all[0] = (struct migrate_record){
		.action = MIGRATE_CONF,
		.section = xstrdup("registry"),
		.key = xstrdup("config_path"),
		.text = xasprintf("%s, %s", dir, before),
	};
}

int migrate_conf(const struct migrate_records *const *records, size_t n, const char *hosts_dir,
                 struct buf *out, struct migrate_conf_count *ret_count, struct err *err)
{
	cleanup(migrate_records_release) struct migrate_records own = { .count = 0 };
	struct conf conf = { .count = 0 };
	bool has_news = false;
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		collect(&conf, records[i]);
	if (hosts_dir)
		name_hosts_dir(&own, &conf, hosts_dir);
	collect(&conf, &own);
	/* What stays in containerd's file is no reason to write one. */
	for (size_t i = 0; i < conf.count; i++)
		has_news |= conf.all[i]->action != MIGRATE_KEPT;
	if (has_news && print_conf(&conf, out) < 0)
		rc = buf_err_full(out, "coracle.conf", err);
	else if (has_news)
		rc = read_back(&conf, out, err);
	*ret_count = (struct migrate_conf_count){ .all = has_news ? conf.count : 0 };
	for (size_t i = 0; has_news && i < conf.count; i++)
		ret_count->later += conf.all[i]->is_later;
	free(conf.all);
	return rc;
}

/* Does @text set this line below this header (NULL: a comment, wherever it stands)? */
static bool has_line(const char *text, struct str header, struct str line)
{
	struct str rest = str_of(text), one, section = { NULL, 0 };

	while (rest.len) {
		str_cut(rest, '\n', &one, &rest);
		one = str_trim(one);
		if (str_starts(one, "["))
			section = one;
		if (str_eq(one, line) && (str_starts(line, "#") || str_eq(section, header)))
			return true;
	}
	return false;
}

bool migrate_conf_holds(const char *there, const char *wanted)
{
	struct str rest = str_of(wanted), line, header = { NULL, 0 };

	while (rest.len) {
		str_cut(rest, '\n', &line, &rest);
		if (str_starts(line, "["))
			header = line;
		else if (line.len && (!str_starts(line, "#") || str_starts(line, LATER)) &&
		         !has_line(there, header, line))
			return false;
	}
	return true;
}
