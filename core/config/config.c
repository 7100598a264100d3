/* core/config/config.c
 *
 * One table of keys. A value travels as text until the end: each line is checked when it is read (so that the problem can name
 * file and line), the text in force and its origin are kept per key, and finish() turns the texts into the fields of struct
 * config. So the defaults take the same way as everything else, and --print-config can show where a value came from.
 *
 * inih's quirks, all settled here: a section name of 49 bytes was cut; a line that starts with a blank continues the value
 * above (one more list item); the parser goes on after a bad line and names the first one only; a NUL byte would hide the rest
 * of its line, so such a file is refused.
 */
#include "core/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <ini.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/config/value.h"

#define DEFAULT_FILE      "/etc/coracle/coracle.conf"
#define MAX_FILE_BYTES    (1024 * 1024)
#define MAX_DROPINS       256
#define MAX_PROBLEMS      64
#define MAX_RUNTIMES      64
#define INI_SECTION_LIMIT 49 /* inih cuts silently here */
#define RUNTIME_SECTION   "runtime "
#define KIB               INT64_C(1024)
#define MIB               (1024 * KIB)
#define HOUR_NS           (3600 * NS_PER_S)

#define AT(field)         offsetof(struct config, field)
#define AT_RUNTIME(field) offsetof(struct config_runtime, field)

/* clang-format off */
static const struct config_key keys[] = {
	{ .section = "daemon", .name = "root", .type = CONFIG_PATH, .dflt = "/var/lib/coracle", .flag = "--root", .fatal = true,
	  .doc = "What survives a reboot: the journal, exit records, images and their layers. Must be on a local disk.",
	  .offset = AT(root) },
	{ .section = "daemon", .name = "state", .type = CONFIG_PATH, .dflt = "/run/coracle", .flag = "--state", .fatal = true,
	  .doc = "What must vanish at a reboot: sockets, namespace pins, locks, bundles. Must be on a tmpfs.",
	  .offset = AT(state) },
	{ .section = "daemon", .name = "listen", .type = CONFIG_PATH, .dflt = "", .flag = "--listen", .fatal = true,
	  .doc = "The CRI socket. Default: coracle.sock in the state directory.",
	  .offset = AT(listen) },
	{ .section = "log", .name = "level", .type = CONFIG_CHOICE, .dflt = "info", .choices = "error|warn|notice|info|debug",
	  .flag = "--log-level", .reloadable = true,
	  .doc = "The least important kind of message that is logged.",
	  .offset = AT(log_level) },
	{ .section = "cri", .name = "ignore_deprecations", .type = CONFIG_LIST, .dflt = "", .reloadable = true,
	  .doc = "Deprecations that the condition CoracleHasNoDeprecationWarnings does not show, by their ids: config.deprecated, "
		 "cgroup.version. They are logged at start all the same.",
	  .offset = AT(ignore_deprecations) },
	{ .section = "runtime", .name = "default", .type = CONFIG_HANDLER, .dflt = "",
	  .doc = "The handler of pods that name none. Default: the first one configured, else crun, else runc.",
	  .offset = AT(default_runtime) },
	{ .section = "runtime", .name = "timeout", .type = CONFIG_DURATION, .dflt = "2m", .min = NS_PER_S, .max = HOUR_NS,
	  .reloadable = true,
	  .doc = "How long one call of an OCI runtime may take; then it is killed, and what it has done is undone. Not longer than "
		 "kubelet's runtimeRequestTimeout, which is 2m by default.",
	  .offset = AT(runtime_timeout_ms) },
	{ .section = "runtime NAME", .name = "handler", .type = CONFIG_HANDLER, .dflt = "",
	  .doc = "The handler's name as a RuntimeClass gives it, where it is longer than a section name may be (40 bytes). "
		 "Default: NAME.",
	  .offset = AT_RUNTIME(name) },
	{ .section = "runtime NAME", .name = "path", .type = CONFIG_PROGRAM, .dflt = "", .fatal = true,
	  .doc = "The OCI runtime: an absolute path, or a name that is looked up on PATH. Default: NAME.",
	  .offset = AT_RUNTIME(path) },
	{ .section = "runtime NAME", .name = "sandbox", .type = CONFIG_CHOICE, .dflt = "pinned", .choices = "pinned|pause",
	  .fatal = true,
	  .doc = "What holds a pod together: pinned namespaces without a process, or a hidden pause container as runtimes with "
		 "a virtual machine need it.",
	  .offset = AT_RUNTIME(sandbox) },
	{ .section = "cni", .name = "conf_dir", .type = CONFIG_PATH, .dflt = "/etc/cni/net.d", .reloadable = true,
	  .doc = "Where the pod network is configured: the first of *.conf, *.conflist, *.json in byte order is used. While there "
		 "is none, see builtin.",
	  .offset = AT(cni_conf_dir) },
	{ .section = "cni", .name = "bin_dirs", .type = CONFIG_PATH_LIST, .dflt = "/opt/cni/bin, /usr/lib/cni",
	  .reloadable = true,
	  .doc = "Where CNI plugins are looked up, in this order.",
	  .offset = AT(cni_bin_dirs) },
	{ .section = "cni", .name = "builtin", .type = CONFIG_BOOL, .dflt = "true", .reloadable = true,
	  .doc = "Use the built-in bridge network while conf_dir holds no configuration. Switch it off on nodes that get theirs "
		 "later, from a DaemonSet: until then the node is reported as not ready.",
	  .offset = AT(cni_builtin) },
	{ .section = "cni", .name = "timeout", .type = CONFIG_DURATION, .dflt = "1m", .min = NS_PER_S, .max = HOUR_NS,
	  .reloadable = true,
	  .doc = "How long one call of a CNI plugin may take; then it is killed.",
	  .offset = AT(cni_timeout_ms) },
	{ .section = "image", .name = "pinned_images", .type = CONFIG_LIST, .dflt = "", .reloadable = true,
	  .doc = "Images that kubelet must not remove when disk space runs low.",
	  .offset = AT(pinned_images) },
	{ .section = "registry", .name = "config_path", .type = CONFIG_PATH_LIST,
	  .dflt = "/etc/coracle/hosts.d, /etc/containerd/certs.d", .reloadable = true,
	  .doc = "Directories with one HOST/hosts.toml per registry (mirrors, certificates); a host is configured by the first "
		 "directory that has it. May be separated by ':' as well.",
	  .offset = AT(registry_hosts_dir) },
	{ .section = "journal", .name = "keep", .type = CONFIG_BYTES, .dflt = "64MiB", .min = MIB, .max = 1024 * 1024 * MIB,
	  .doc = "How much of the past stays on disk for recover explain, timeline and at.",
	  .offset = AT(journal_keep_bytes) },
	{ .section = "journal", .name = "segment_size", .type = CONFIG_BYTES, .dflt = "4MiB", .min = 64 * KIB, .max = 1024 * MIB,
	  .doc = "Size of one journal file; it is written in full before its first use.",
	  .offset = AT(journal_segment_bytes) },
	{ .section = "nri", .name = "hold", .type = CONFIG_DURATION, .dflt = "24h", .min = 0, .max = 720 * HOUR_NS,
	  .doc = "How long notifications are kept for a plugin that connected before and is away.",
	  .offset = AT(nri_hold_ms) },
};
/* clang-format on */

/* Names that still work and are told to be replaced. */
static const struct {
	const char *section, *old_name, *name;
} renamed[] = {
	{ "cni", "bin_dir", "bin_dirs" }, /* containerd's, which deprecates it as well */
};

size_t config_key_count(void)
{
	return ARRAY_SIZE(keys);
}

const struct config_key *config_key_at(size_t i)
{
	ensure(i < ARRAY_SIZE(keys));
	return &keys[i];
}

/* The section's name in the table: every [runtime X] is "runtime NAME". */
static const char *table_section(const char *section)
{
	return starts_with(section, RUNTIME_SECTION) ? "runtime NAME" : section;
}

const struct config_key *config_key_find(const char *section, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (streq(keys[i].section, table_section(section)) && streq(keys[i].name, name))
			return &keys[i];
	}
	return NULL;
}

/* ------------------------------------------------------------------ problems */

const char *config_trouble_id(enum config_trouble trouble)
{
	static const char *const ids[] = {
		[CONFIG_UNREADABLE] = "config.readable",   [CONFIG_SYNTAX] = "config.syntax",
		[CONFIG_UNKNOWN] = "config.unknown",       [CONFIG_DUPLICATE] = "config.duplicate",
		[CONFIG_DEPRECATED] = "config.deprecated", [CONFIG_VALUE] = "config.value",
		[CONFIG_RUNTIME] = "config.runtime",       [CONFIG_PATHS] = "config.paths",
	};

	return ids[trouble];
}

static PRINTF_LIKE(4, 5) void problem(struct config *config, enum config_trouble trouble,
                                      bool fatal, const char *fmt, ...)
{
	struct config_problem *p;
	va_list ap;

	/* The 64th says that there are more; a fatal one still has to get in. */
	if (config->nproblems >= MAX_PROBLEMS && !fatal)
		return;
	config->problems =
		xrealloc(config->problems, config->nproblems + 1, sizeof(*config->problems));
	p = &config->problems[config->nproblems++];
	p->fatal = fatal;
	p->trouble = trouble;
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
	if (config->nproblems == MAX_PROBLEMS && !fatal)
		snprintf(p->text, sizeof(p->text), "%s: more problems than are listed here",
		         config->file);
	for (char *c = p->text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
}

/* ------------------------------------------------------------------ the values in force */

static struct config_value *find_value(const struct config *config, const char *section,
                                       const struct config_key *key)
{
	for (size_t i = 0; i < config->nvalues; i++) {
		if (config->values[i].key == key && streq(config->values[i].section, section))
			return &config->values[i];
	}
	return NULL;
}

static void add_defaults(struct config *config, const char *table_name, const char *section)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (table_name ? !streq(keys[i].section, table_name)
		               : streq(keys[i].section, "runtime NAME"))
			continue;
		config->values =
			xrealloc(config->values, config->nvalues + 1, sizeof(*config->values));
		config->values[config->nvalues++] = (struct config_value){
			.key = &keys[i],
			.section = xstrdup(section ? section : keys[i].section),
			.text = xstrdup(keys[i].dflt),
			.origin = xstrdup("default"),
		};
	}
}

static void set_text(char **slot, char *text)
{
	free(*slot);
	*slot = text;
}

/* ------------------------------------------------------------------ reading one file */

struct reader {
	struct config *config;
	const char *file;
	const char *text; /* the whole of it */
	const char *line; /* start of line @line_no */
	int line_no;
	bool skip; /* unknown section: one problem is enough */
	char section[INI_SECTION_LIMIT + 1];
	struct config_value
		*last;  /* what a continuation line continues; NULL: a value that was refused */
	bool seen[256]; /* values set by this file, by index: duplicates */
	bool seen_section;
	bool had_key; /* since the section began: without one, an indented line continues nothing */
};

/* Does this line continue the one above? */
static bool is_continuation(struct reader *reader, int line_no)
{
	while (reader->line_no < line_no) {
		const char *newline = strchr(reader->line, '\n');

		if (!newline)
			break;
		reader->line = newline + 1;
		reader->line_no++;
	}
	return *reader->line == ' ' || *reader->line == '\t';
}

static const char *suggest_section(const char *section)
{
	const char *names[ARRAY_SIZE(keys)];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		names[i] = keys[i].section;
	return str_suggest(section, names, ARRAY_SIZE(names));
}

static void enter_section(struct reader *reader, const char *section, int line_no)
{
	struct config *config = reader->config;
	const char *name;
	struct err err;

	reader->skip = true;
	reader->seen_section = true;
	reader->last = NULL;
	reader->had_key = false;
	ignore(str_copy(reader->section, sizeof(reader->section),
	                section)); /* inih's limit is the same */
	if (strlen(section) >= INI_SECTION_LIMIT) {
		problem(config, CONFIG_SYNTAX, false,
		        "%s:%d: section name too long (at most %d bytes; a longer handler is named by the key \"handler\")",
		        reader->file, line_no, INI_SECTION_LIMIT - 1);
		return;
	}
	if (starts_with(section, RUNTIME_SECTION)) {
		name = section + strlen(RUNTIME_SECTION);
		if (value_handler(name, &err) < 0) {
			problem(config, CONFIG_VALUE, false, "%s:%d: [%s]: %s", reader->file,
			        line_no, section, err.msg);
			return;
		}
		if (!find_value(config, section, config_key_find(section, "path"))) {
			if (config->nruntimes >= MAX_RUNTIMES) {
				problem(config, CONFIG_RUNTIME, false,
				        "%s:%d: [%s]: more than %d runtimes", reader->file, line_no,
				        section, MAX_RUNTIMES);
				return;
			}
			config->nruntimes++;
			add_defaults(config, "runtime NAME", section);
		}
		reader->skip = false;
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (streq(keys[i].section, section))
			reader->skip = false;
	}
	if (reader->skip) {
		const char *hint = suggest_section(section);

		problem(config, CONFIG_UNKNOWN, false, "%s:%d: unknown section [%s]%s%s%s",
		        reader->file, line_no, section, hint ? " (did you mean [" : "",
		        or_empty(hint), hint ? "]?)" : "");
	}
}

/* The key that is meant by a name it had; NULL: no such name. */
static const struct config_key *find_renamed(const struct reader *reader, const char *name,
                                             int line_no)
{
	for (size_t i = 0; i < ARRAY_SIZE(renamed); i++) {
		if (!streq(renamed[i].section, reader->section) ||
		    !streq(renamed[i].old_name, name))
			continue;
		problem(reader->config, CONFIG_DEPRECATED, false,
		        "%s:%d: [%s] %s is deprecated, write %s", reader->file, line_no,
		        reader->section, name, renamed[i].name);
		return config_key_find(reader->section, renamed[i].name);
	}
	return NULL;
}

static void unknown_key(struct reader *reader, const char *name, int line_no)
{
	const char *names[ARRAY_SIZE(keys)], *hint, *elsewhere = NULL;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (streq(keys[i].section, table_section(reader->section)))
			names[n++] = keys[i].name;
		else if (streq(keys[i].name, name))
			elsewhere = keys[i].section;
	}
	hint = str_suggest(name, names, n);
	if (hint)
		problem(reader->config, CONFIG_UNKNOWN, false,
		        "%s:%d: unknown key \"%s\" in [%s] (did you mean \"%s\"?)", reader->file,
		        line_no, name, reader->section, hint);
	else if (elsewhere)
		problem(reader->config, CONFIG_UNKNOWN, false,
		        "%s:%d: unknown key \"%s\" in [%s] (it belongs to [%s])", reader->file,
		        line_no, name, reader->section, elsewhere);
	else
		problem(reader->config, CONFIG_UNKNOWN, false, "%s:%d: unknown key \"%s\" in [%s]",
		        reader->file, line_no, name, reader->section);
}

static void set_value(struct reader *reader, const struct config_key *key, const char *text,
                      int line_no)
{
	struct config *config = reader->config;
	struct config_value *value = find_value(config, reader->section, key);
	size_t index;
	struct err err;

	ensure(value);
	index = (size_t)(value - config->values);
	reader->last = NULL;
	if (config_key_check(key, text, &err) < 0) {
		problem(config, CONFIG_VALUE, key->fatal, "%s:%d: [%s] %s: %s", reader->file,
		        line_no, reader->section, key->name, err.msg);
		return;
	}
	if (index < ARRAY_SIZE(reader->seen)) {
		if (reader->seen[index])
			problem(config, CONFIG_DUPLICATE, false,
			        "%s:%d: [%s] %s is set twice in this file, the later value counts",
			        reader->file, line_no, reader->section, key->name);
		reader->seen[index] = true;
	}
	set_text(&value->text, xstrdup(*text ? text : key->dflt));
	set_text(&value->origin,
	         *text ? xasprintf("%s:%d", reader->file, line_no) : xstrdup("default"));
	reader->last = value;
}

static void continue_value(struct reader *reader, const char *text, int line_no)
{
	struct config_value *value = reader->last;
	struct err err;

	if (!value)
		return; /* the line above was refused, and that was said */
	if (!value_is_list(value->key)) {
		problem(reader->config, CONFIG_DUPLICATE, value->key->fatal,
		        "%s:%d: [%s] %s takes one value, this indented line would be a second",
		        reader->file, line_no, reader->section, value->key->name);
		return;
	}
	if (config_key_check(value->key, text, &err) < 0) {
		problem(reader->config, CONFIG_VALUE, value->key->fatal, "%s:%d: [%s] %s: %s",
		        reader->file, line_no, reader->section, value->key->name, err.msg);
		return;
	}
	if (streq(value->origin, "default")) { /* "key =" with the items on lines of their own */
		set_text(&value->text, xstrdup(text));
		set_text(&value->origin, xasprintf("%s:%d", reader->file, line_no));
		return;
	}
	if (strlen(value->text) + strlen(text) > MAX_FILE_BYTES)
		return;
	set_text(&value->text, xasprintf("%s, %s", value->text, text));
}

/* inih's callback: 1 goes on. */
static int on_entry(void *user, const char *section, const char *name, const char *value,
                    int line_no)
{
	struct reader *reader = user;
	const struct config_key *key;
	bool had_key = reader->had_key;

	if (!name) {
		enter_section(reader, section, line_no);
		return 1;
	}
	if (!reader->seen_section) {
		reader->seen_section = reader->skip = true;
		problem(reader->config, CONFIG_SYNTAX, false,
		        "%s:%d: \"%s\" stands before the first [section]", reader->file, line_no,
		        name);
	}
	if (reader->skip)
		return 1;
	reader->had_key = true;
	if (had_key && is_continuation(reader, line_no)) {
		continue_value(reader, or_empty(value), line_no);
		return 1;
	}
	key = config_key_find(reader->section, name);
	if (!key)
		key = find_renamed(reader, name, line_no);
	if (!key) {
		reader->last = NULL;
		unknown_key(reader, name, line_no);
		return 1;
	}
	set_value(reader, key, or_empty(value), line_no);
	return 1;
}

static void read_text(struct config *config, const char *file, const char *text, size_t len)
{
	struct reader reader = {
		.config = config, .file = file, .text = text, .line = text, .line_no = 1
	};
	int bad;

	if (memchr(text, '\0', len)) {
		problem(config, CONFIG_SYNTAX, true, "%s: holds a NUL byte: not a text file", file);
		return;
	}
	bad = ini_parse_string(text, on_entry, &reader);
	if (bad > 0)
		problem(config, CONFIG_SYNTAX, false, "%s:%d: neither a [section] nor key = value",
		        file, bad);
	else if (bad < 0)
		problem(config, CONFIG_UNREADABLE, true, "%s: out of memory", file);
}

/* Missing is fine unless somebody named the file. */
static void read_file(struct config *config, const char *file, bool must_exist)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int rc;

	rc = fsx_read(AT_FDCWD, file, MAX_FILE_BYTES, &text, &len);
	if (rc == -ENOENT && !must_exist)
		return;
	if (rc == -EFBIG)
		problem(config, CONFIG_UNREADABLE, true, "%s: larger than %d bytes", file,
		        MAX_FILE_BYTES);
	else if (rc < 0)
		problem(config, CONFIG_UNREADABLE, true, "%s: %s", file, errno_name(-rc));
	else
		read_text(config, file, text, len);
}

static void read_dropins(struct config *config)
{
	cleanup_free char *dir = xasprintf("%s.d", config->file);
	cleanup(strv_free) char **names = NULL;
	size_t n = 0;
	int rc;

	rc = fsx_list(AT_FDCWD, dir, &names);
	if (rc == -ENOENT)
		return;
	if (rc < 0) {
		problem(config, CONFIG_UNREADABLE, true, "%s: %s", dir, errno_name(-rc));
		return;
	}
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = NULL;

		if (!ends_with(names[i], ".conf") || names[i][0] == '.')
			continue;
		if (n++ == MAX_DROPINS) {
			problem(config, CONFIG_UNREADABLE, true, "%s: more than %d files", dir,
			        MAX_DROPINS);
			return;
		}
		path = xasprintf("%s/%s", dir, names[i]);
		read_file(config, path, true);
	}
}

/* ------------------------------------------------------------------ from text to fields */

/* One slash where there are several, none at the end. */
static char *normal_path(const char *path)
{
	char *normal = xstrdup(path);
	size_t n = 0;

	for (const char *c = path; *c; c++) {
		if (*c != '/' || n == 0 || normal[n - 1] != '/')
			normal[n++] = *c;
	}
	while (n > 1 && normal[n - 1] == '/')
		n--;
	normal[n] = '\0';
	return normal;
}

static void store_string(void *at, char *text)
{
	char **slot = at;

	free(*slot);
	*slot = text;
}

static void store(void *base, const struct config_value *value)
{
	void *at = (char *)base + value->key->offset;
	int64_t number = 0;

	switch (value->key->type) {
	case CONFIG_PATH:
		store_string(at, normal_path(value->text));
		break;
	case CONFIG_PROGRAM:
	case CONFIG_HANDLER:
		store_string(at, *value->text ? xstrdup(value->text) : NULL);
		break;
	case CONFIG_PATH_LIST:
	case CONFIG_LIST:
		strv_free(*(char ***)at);
		*(char ***)at = value_split(value->key, value->text);
		break;
	case CONFIG_BOOL:
		ensure(value_bool(value->text, at) == 0);
		break;
	case CONFIG_BYTES:
		ensure(value_bytes(value->text, &number) == 0);
		*(uint64_t *)at = (uint64_t)number;
		break;
	case CONFIG_DURATION: /* fields hold milliseconds */
		ensure(value_duration(value->text, &number) == 0);
		*(int64_t *)at = number / NS_PER_MS;
		break;
	case CONFIG_CHOICE:
		store_string(at, xstrdup(value->text));
		break;
	}
}

static char *join_paths(char *const *paths)
{
	char *joined = xstrdup("");

	for (size_t i = 0; paths[i]; i++) {
		cleanup_free char *before = joined;

		joined = xasprintf("%s%s%s", before, i ? ":" : "", paths[i]);
	}
	return joined;
}

static void store_all(struct config *config)
{
	size_t n = 0;

	config->runtimes = xcalloc(MAX(config->nruntimes, 1), sizeof(*config->runtimes));
	for (size_t i = 0; i < config->nvalues; i++) {
		const struct config_value *value = &config->values[i];

		if (streq(value->key->section, "runtime NAME")) {
			/* Values of one section stand together, the first key opens it. */
			if (i == 0 || !streq(config->values[i - 1].section, value->section))
				n++;
			ensure(n > 0 && n <= config->nruntimes);
			store(&config->runtimes[n - 1], value);
		} else if (value->key->offset == AT(log_level)) {
			config->log_level = (enum log_level)log_level_parse(value->text);
		} else if (value->key->offset == AT(registry_hosts_dir)) {
			cleanup(strv_free) char **dirs = value_split(value->key, value->text);

			set_text(&config->registry_hosts_dir, join_paths(dirs));
		} else {
			store(config, value);
		}
	}
	ensure(n == config->nruntimes);
}

static const char *origin_of(const struct config *config, const char *section, const char *name)
{
	return find_value(config, section, config_key_find(section, name))->origin;
}

static void finish_runtimes(struct config *config)
{
	bool found = false;
	size_t at = 0;

	/* Defaults that derive from the section's name. */
	for (size_t i = 0; i < config->nvalues; i++) {
		const struct config_value *value = &config->values[i];
		const char *name = value->section + strlen(RUNTIME_SECTION);
		struct config_runtime *runtime;

		if (!streq(value->key->section, "runtime NAME") ||
		    !streq(value->key->name, "handler"))
			continue;
		runtime = &config->runtimes[at++];
		if (!runtime->name)
			runtime->name = xstrdup(name);
		if (!runtime->path)
			runtime->path = xstrdup(name);
		for (size_t k = 0; k + 1 < at; k++) {
			if (streq(config->runtimes[k].name, runtime->name))
				problem(config, CONFIG_RUNTIME, true,
				        "%s: handler \"%s\" is defined twice",
				        origin_of(config, value->section, "handler"),
				        runtime->name);
		}
	}
	if (!config->default_runtime || config->nruntimes == 0)
		return;
	for (size_t i = 0; i < config->nruntimes; i++)
		found |= streq(config->runtimes[i].name, config->default_runtime);
	if (!found) {
		problem(config, CONFIG_RUNTIME, true,
		        "%s: [runtime] default: there is no [runtime %s]",
		        origin_of(config, "runtime", "default"), config->default_runtime);
	}
}

/* Is @inner the same as @outer or below it? Both normal. */
static bool is_within(const char *inner, const char *outer)
{
	size_t len = strlen(outer);

	return streq(outer, "/") ||
	       (strncmp(inner, outer, len) == 0 && (inner[len] == '\0' || inner[len] == '/'));
}

static void finish_paths(struct config *config)
{
	size_t limit = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	const char *root_origin = origin_of(config, "daemon", "root");
	const char *state_origin = origin_of(config, "daemon", "state");
	struct config_value *listen;

	if (streq(config->root, "/"))
		problem(config, CONFIG_PATHS, true, "%s: [daemon] root may not be \"/\"",
		        root_origin);
	else if (streq(config->state, "/"))
		problem(config, CONFIG_PATHS, true, "%s: [daemon] state may not be \"/\"",
		        state_origin);
	else if (streq(config->root, config->state))
		problem(config, CONFIG_PATHS, true,
		        "%s: [daemon] root and state are the same directory %s", root_origin,
		        config->root);
	else if (is_within(config->root, config->state))
		problem(config, CONFIG_PATHS, true,
		        "%s: [daemon] root %s is inside state %s, which vanishes at a reboot",
		        root_origin, config->root, config->state);
	else if (is_within(config->state, config->root))
		problem(config, CONFIG_PATHS, true,
		        "%s: [daemon] state %s is inside root %s, which survives a reboot",
		        state_origin, config->state, config->root);

	listen = find_value(config, "daemon", config_key_find("daemon", "listen"));
	if (!*listen->text) {
		set_text(&listen->text, xasprintf("%s/coracle.sock", config->state));
		store(config, listen);
		if (strlen(config->listen) > limit)
			problem(config, CONFIG_PATHS, true,
			        "%s: [daemon] state: a socket in %s would have a path of %zu bytes, the kernel takes %zu; "
			        "use a shorter directory or set listen",
			        state_origin, config->state, strlen(config->listen), limit);
	} else if (strlen(config->listen) > limit) {
		problem(config, CONFIG_PATHS, true,
		        "%s: [daemon] listen: a socket path has at most %zu bytes, this one %zu: %s",
		        listen->origin, limit, strlen(config->listen), config->listen);
	} else if (is_within(config->root, config->listen) ||
	           is_within(config->state, config->listen)) {
		problem(config, CONFIG_PATHS, true,
		        "%s: [daemon] listen: %s is a directory, the one of root or state or above it",
		        listen->origin, config->listen);
	}
}

static void apply_flag(struct config *config, const char *section, const char *name,
                       const char *text)
{
	const struct config_key *key = config_key_find(section, name);
	struct config_value *value = find_value(config, section, key);
	struct err err;

	if (!text)
		return;
	if (streq(name, "listen") && starts_with(text, "unix://"))
		text += strlen("unix://");
	if (!*text) {
		problem(config, CONFIG_VALUE, true, "%s: needs a value", key->flag);
		return;
	}
	if (config_key_check(key, text, &err) < 0) {
		problem(config, CONFIG_VALUE, true, "%s: %s", key->flag, err.msg);
		return;
	}
	set_text(&value->text, xstrdup(text));
	set_text(&value->origin, xstrdup(key->flag));
}

static struct config *config_start(const char *file)
{
	struct config *config = xcalloc(1, sizeof(*config));

	config->file = xstrdup(file);
	add_defaults(config, NULL, NULL);
	return config;
}

static void settle(struct config *config, const struct config_flags *flags)
{
	apply_flag(config, "daemon", "root", flags->root);
	apply_flag(config, "daemon", "state", flags->state);
	apply_flag(config, "daemon", "listen", flags->listen);
	apply_flag(config, "log", "level", flags->log_level);
	store_all(config);
	finish_runtimes(config);
	finish_paths(config);
}

static struct config *config_finish(struct config *config, const struct config_flags *flags,
                                    struct err *err)
{
	settle(config, flags);
	for (size_t i = 0; i < config->nproblems; i++) {
		if (config->problems[i].fatal) {
			err_set(err, CODE_FAILED_PRECONDITION, "%s", config->problems[i].text);
			config_free(config);
			return NULL;
		}
	}
	return config;
}

struct config *config_from_text(const char *file, const char *text, size_t len,
                                const struct config_flags *flags, struct err *err)
{
	struct config *config = config_start(file);
	cleanup_free char *copy = xcalloc(1, len + 1); /* terminated */

	memcpy(copy, text, len);
	read_text(config, file, copy, len);
	return config_finish(config, flags, err);
}

struct config *config_load(const struct config_flags *flags, struct err *err)
{
	struct config *config = config_start(flags->file ? flags->file : DEFAULT_FILE);

	read_file(config, config->file, flags->file != NULL);
	read_dropins(config);
	return config_finish(config, flags, err);
}

struct config *config_inspect(const struct config_flags *flags, const char *sysroot)
{
	cleanup_free char *file =
		xasprintf("%s%s", sysroot, flags->file ? flags->file : DEFAULT_FILE);
	struct config *config = config_start(file);

	read_file(config, config->file, flags->file != NULL);
	read_dropins(config);
	settle(config, flags);
	return config;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->nvalues; i++) {
		free(config->values[i].section);
		free(config->values[i].text);
		free(config->values[i].origin);
	}
	for (size_t i = 0; config->runtimes && i < config->nruntimes; i++) {
		free(config->runtimes[i].name);
		free(config->runtimes[i].path);
		free(config->runtimes[i].sandbox);
	}
	free(config->values);
	free(config->runtimes);
	free(config->problems);
	free(config->file);
	free(config->root);
	free(config->state);
	free(config->listen);
	free(config->default_runtime);
	free(config->cni_conf_dir);
	strv_free(config->cni_bin_dirs);
	free(config->registry_hosts_dir);
	strv_free(config->pinned_images);
	strv_free(config->ignore_deprecations);
	free(config);
}
