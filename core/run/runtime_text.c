/* core/run/runtime_text.c
 *
 * What runtimes can do and what they print: versions, `features`, state, errors. Pure; every byte here comes from another
 * program and may be anything.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/run/runtime.h"

#define TEXT_MAX                     (1u << 20)
#define NEVER                        UINT32_MAX
#define VERSION(major, minor, patch) ((major)*1000000u + (minor)*1000u + (patch))

/* ------------------------------------------------------------------------------------------------------- features */

/*
 * From which version on a runtime honours a field of the spec that older ones ignore without a word; for other runtimes,
 * which version of the OCI specification brought it. Sources: crun's NEWS, runc's CHANGELOG, the specification's releases.
 */
/* clang-format off */
static const struct {
	const char *field;
	uint32_t crun, runc, oci;
} table[RUNTIME_FEATURES] = {
	[RUNTIME_RRO]            = { "mounts[].options rro",             VERSION(1, 4, 0),  VERSION(1, 1, 0), NEVER },
	[RUNTIME_IDMAP]          = { "mounts[].uidMappings",             VERSION(1, 9, 0),  VERSION(1, 2, 0), NEVER },
	[RUNTIME_DOMAINNAME]     = { "domainname",                       VERSION(1, 7, 0),  VERSION(1, 2, 0), VERSION(1, 1, 0) },
	[RUNTIME_TIME_NAMESPACE] = { "linux.timeOffsets",                VERSION(1, 8, 4),  VERSION(1, 2, 0), VERSION(1, 1, 0) },
	[RUNTIME_SCHEDULER]      = { "process.scheduler",                VERSION(1, 8, 5),  VERSION(1, 2, 0), VERSION(1, 1, 0) },
	[RUNTIME_IO_PRIORITY]    = { "process.ioPriority",               VERSION(1, 8, 6),  VERSION(1, 2, 0), VERSION(1, 1, 0) },
	[RUNTIME_CPU_AFFINITY]   = { "process.execCPUAffinity",          VERSION(1, 19, 0), VERSION(1, 3, 0), VERSION(1, 2, 1) },
	[RUNTIME_NET_DEVICES]    = { "linux.netDevices",                 VERSION(1, 22, 0), VERSION(1, 4, 0), VERSION(1, 3, 0) },
	[RUNTIME_MEMORY_POLICY]  = { "linux.memoryPolicy",               VERSION(1, 24, 0), VERSION(1, 4, 0), VERSION(1, 3, 0) },
	[RUNTIME_RDT]            = { "linux.intelRdt",                   VERSION(1, 10, 0), VERSION(1, 0, 0), VERSION(1, 0, 2) },
	[RUNTIME_RDT_SCHEMATA]   = { "linux.intelRdt.schemata",          NEVER,             VERSION(1, 4, 0), VERSION(1, 3, 0) },
	[RUNTIME_RDT_MONITORING] = { "linux.intelRdt.enableMonitoring",  VERSION(1, 24, 0), VERSION(1, 4, 0), VERSION(1, 3, 0) },
	[RUNTIME_CPU_BURST]      = { "linux.resources.cpu.burst",        VERSION(1, 11, 0), VERSION(1, 2, 0), VERSION(1, 1, 0) },
	[RUNTIME_CPU_IDLE]       = { "linux.resources.cpu.idle",         VERSION(1, 5, 0),  VERSION(1, 2, 0), VERSION(1, 1, 0) },
	[RUNTIME_PERSONALITY]    = { "linux.personality",                VERSION(0, 11, 0), VERSION(1, 2, 0), VERSION(1, 0, 2) },
	[RUNTIME_SECCOMP]        = { "linux.seccomp",                    NEVER,             1,                VERSION(1, 0, 0) },
	[RUNTIME_SECCOMP_NOTIFY] = { "linux.seccomp.listenerPath",       VERSION(0, 19, 0), VERSION(1, 1, 0), VERSION(1, 0, 2) },
	[RUNTIME_APPARMOR]       = { "process.apparmorProfile",          NEVER,             1,                VERSION(1, 0, 0) },
	[RUNTIME_SELINUX]        = { "process.selinuxLabel",             NEVER,             1,                VERSION(1, 0, 0) },
	[RUNTIME_CGROUP_V1]      = { "cgroup v1",                        1,                 1,                VERSION(1, 0, 0) },
	[RUNTIME_CGROUP_V2]      = { "cgroup v2",                        VERSION(0, 10, 0), VERSION(1, 0, 0), VERSION(1, 0, 2) },
	[RUNTIME_SYSTEMD_CGROUP] = { "systemd cgroups",                  NEVER,             1,                NEVER },
	[RUNTIME_EXEC_CGROUP]    = { "exec --cgroup",                    VERSION(1, 3, 0),  VERSION(1, 1, 0), NEVER },
};
/* clang-format on */

static uint64_t bit(enum runtime_feature feature)
{
	return UINT64_C(1) << feature;
}

static void set(struct runtime_info *info, enum runtime_feature feature, bool on)
{
	info->features = on ? info->features | bit(feature) : info->features & ~bit(feature);
}

const char *runtime_feature_field(enum runtime_feature feature)
{
	return table[feature].field;
}

bool runtime_has(const struct runtime_info *info, enum runtime_feature feature)
{
	return (info->features & bit(feature)) != 0;
}

static uint32_t since(enum runtime_kind kind, enum runtime_feature feature)
{
	switch (kind) {
	case RUNTIME_CRUN:
		return table[feature].crun;
	case RUNTIME_RUNC:
		return table[feature].runc;
	case RUNTIME_OTHER:
		break;
	}
	return NEVER;
}

void runtime_features_from_version(struct runtime_info *info)
{
	for (int f = 0; f < RUNTIME_FEATURES; f++)
		set(info, (enum runtime_feature)f,
		    info->number > 0 && info->number >= since(info->kind, (enum runtime_feature)f));
}

int runtime_require(const struct runtime_info *info, enum runtime_feature feature, struct err *err)
{
	uint32_t from = since(info->kind, feature);
	char later[64] = "";

	if (runtime_has(info, feature))
		return 0;
	if (from != NEVER && from > info->number)
		snprintf(later, sizeof(later), " (%s %u.%u.%u and later can)",
		         or_empty(info->program), from / 1000000, from / 1000 % 1000, from % 1000);
	return err_set(err, CODE_FAILED_PRECONDITION, "%s %s cannot apply %s%s",
	               info->program ? info->program : info->name,
	               info->version ? info->version : "(unknown version)", table[feature].field,
	               later);
}

uint32_t runtime_version_number(struct str text)
{
	uint64_t part[3] = { 0 };
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
		size_t digits = 0;

		while (at + digits < text.len && text.p[at + digits] >= '0' &&
		       text.p[at + digits] <= '9')
			digits++;
		if (str_u64((struct str){ text.p + at, digits }, 999, &part[i]) < 0)
			return i == 0 ? 0
			              : VERSION((uint32_t)part[0], (uint32_t)part[1],
			                        (uint32_t)part[2]);
		at += digits;
		if (at >= text.len || text.p[at] != '.')
			break;
		at++;
	}
	return VERSION((uint32_t)part[0], (uint32_t)part[1], (uint32_t)part[2]);
}

/* Printable text that can go into messages and files. */
static bool is_plain(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] <= ' ' || (unsigned char)text.p[i] >= 0x7f)
			return false;
	return text.len > 0 && text.len <= 64;
}

/* crun says what it was built with: "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP ..." */
static void crun_build_flags(struct str line, struct runtime_info *info)
{
	static const struct {
		const char *flag;
		enum runtime_feature feature;
	} flags[] = {
		{ "+SYSTEMD", RUNTIME_SYSTEMD_CGROUP },
		{ "+SELINUX", RUNTIME_SELINUX },
		{ "+APPARMOR", RUNTIME_APPARMOR },
		{ "+SECCOMP", RUNTIME_SECCOMP },
	};
	struct str word;

	while (line.len > 0) {
		str_cut(line, ' ', &word, &line);
		for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
			if (str_eq_c(word, flags[i].flag))
				set(info, flags[i].feature, true);
	}
}

/* "version 1.8.1", "version release-20240212.0", "0.3.3", ": 3.2.0": what follows the word, else what begins with a digit */
static struct str version_word(struct str line)
{
	bool next = false;
	struct str word;

	while (line.len > 0) {
		str_cut(line, ' ', &word, &line);
		if (word.len > 0 && (next || (word.p[0] >= '0' && word.p[0] <= '9')))
			return word;
		next = next || str_eq_c(word, "version");
	}
	return (struct str){ "", 0 };
}

int runtime_parse_version(struct str text, struct runtime_info *info, struct err *err)
{
	struct str line, rest, program, version;

	str_cut(text, '\n', &line, &rest);
	line = str_trim(line);
	str_cut(line, ' ', &program, &line);
	version = version_word(line);
	if (!is_plain(program) || !is_plain(version))
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "the first line is not \"NAME version X\"");

	free(info->program);
	free(info->version);
	info->program = str_dup(program);
	info->version = str_dup(version);
	info->number = runtime_version_number(version);
	info->kind = str_eq_c(program, "crun")   ? RUNTIME_CRUN
	             : str_eq_c(program, "runc") ? RUNTIME_RUNC
	                                         : RUNTIME_OTHER;
	runtime_features_from_version(info);
	while (info->kind == RUNTIME_CRUN && rest.len > 0) {
		str_cut(rest, '\n', &line, &rest);
		if (str_starts(line, "+") || str_starts(line, "-"))
			crun_build_flags(str_trim(line), info);
	}
	return 0;
}

static bool array_has(yyjson_val *array, const char *word)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(array);
	yyjson_val *item;

	while ((item = yyjson_arr_iter_next(&it)))
		if (yyjson_equals_str(item, word))
			return true;
	return false;
}

/* {"enabled": true} */
static void set_enabled(struct runtime_info *info, enum runtime_feature feature, yyjson_val *parent,
                        const char *member, const char *key)
{
	yyjson_val *value = yyjson_obj_get(json_obj(parent, member), key);

	if (yyjson_is_bool(value))
		set(info, feature, yyjson_get_bool(value));
}

int runtime_parse_features(struct str text, struct runtime_info *info, struct err *err)
{
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(text.p, text.len, TEXT_MAX, "features", err);
	yyjson_val *root, *linux_obj, *array;

	if (!doc)
		return -1;
	root = yyjson_doc_get_root(doc);
	if (!yyjson_is_obj(root))
		return err_set(err, CODE_INVALID_ARGUMENT, "features: not an object");
	if (info->kind == RUNTIME_OTHER) {
		uint32_t max = runtime_version_number(str_of(json_str(root, "ociVersionMax", "")));

		for (int f = 0; f < RUNTIME_FEATURES; f++)
			set(info, (enum runtime_feature)f, max > 0 && table[f].oci <= max);
	}
	array = json_arr(root, "mountOptions");
	if (array) {
		set(info, RUNTIME_RRO, array_has(array, "rro"));
		if (array_has(array, "idmap"))
			set(info, RUNTIME_IDMAP, true);
	}
	linux_obj = json_obj(root, "linux");
	array = json_arr(linux_obj, "namespaces");
	if (array)
		set(info, RUNTIME_TIME_NAMESPACE, array_has(array, "time"));
	set_enabled(info, RUNTIME_SECCOMP, linux_obj, "seccomp", "enabled");
	array = json_arr(json_obj(linux_obj, "seccomp"), "actions");
	if (array)
		set(info, RUNTIME_SECCOMP_NOTIFY, array_has(array, "SCMP_ACT_NOTIFY"));
	set_enabled(info, RUNTIME_APPARMOR, linux_obj, "apparmor", "enabled");
	set_enabled(info, RUNTIME_SELINUX, linux_obj, "selinux", "enabled");
	set_enabled(info, RUNTIME_CGROUP_V1, linux_obj, "cgroup", "v1");
	set_enabled(info, RUNTIME_CGROUP_V2, linux_obj, "cgroup", "v2");
	set_enabled(info, RUNTIME_SYSTEMD_CGROUP, linux_obj, "cgroup", "systemd");
	set_enabled(info, RUNTIME_RDT, linux_obj, "intelRdt", "enabled");
	set_enabled(info, RUNTIME_RDT_SCHEMATA, linux_obj, "intelRdt", "schemata");
	set_enabled(info, RUNTIME_RDT_MONITORING, linux_obj, "intelRdt", "monitoring");
	set_enabled(info, RUNTIME_NET_DEVICES, linux_obj, "netDevices", "enabled");
	set_enabled(info, RUNTIME_IDMAP, json_obj(linux_obj, "mountExtensions"), "idmap",
	            "enabled");
	if (json_obj(linux_obj, "memoryPolicy"))
		set(info, RUNTIME_MEMORY_POLICY,
		    json_arr(json_obj(linux_obj, "memoryPolicy"), "modes") != NULL);
	return 0;
}

int runtime_parse_state(struct str text, struct runtime_result *ret, struct err *err)
{
	static const struct {
		const char *word;
		enum runtime_status status;
	} words[] = {
		{ "creating", RUNTIME_CREATING }, { "created", RUNTIME_CREATED },
		{ "running", RUNTIME_RUNNING },   { "stopped", RUNTIME_STOPPED },
		{ "paused", RUNTIME_PAUSED },
	};
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(text.p, text.len, TEXT_MAX, "state", err);
	const char *status;
	int64_t pid;

	if (!doc || json_str_req(yyjson_doc_get_root(doc), "status", "state", &status, err) < 0)
		return -1;
	pid = json_i64(yyjson_doc_get_root(doc), "pid", 0);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!streq(status, words[i].word))
			continue;
		ret->status = words[i].status;
		ret->pid = pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
		return 0;
	}
	return err_set(err, CODE_INTERNAL, "state: unknown status \"%.40s\"", status);
}

/* --------------------------------------------------------------------------------------------------------- errors */

/* One line without control characters, cut at the room there is, not within a character. */
static void copy_sentence(struct str from, char *text, size_t size)
{
	size_t n = 0;

	from = str_trim(from);
	for (size_t i = 0; i < from.len && n + 1 < size; i++) {
		unsigned char c = (unsigned char)from.p[i];

		if (c < ' ' || c == 0x7f) {
			if (n > 0 && text[n - 1] != ' ')
				text[n++] = ' ';
			continue;
		}
		text[n++] = (char)c;
	}
	while (n > 0 && !str_utf8_valid((struct str){ text, n }) && n + 4 > size - 1)
		n--;
	while (n > 0 && text[n - 1] == ' ')
		n--;
	text[n] = '\0';
}

/* What a layer of Go puts in front without saying anything. */
static struct str without_prefix(struct str text)
{
	static const char *const prefixes[] = {
		"runc create failed: ", "runc run failed: ", "runc start failed: ",
		"runc exec failed: ",   "exec failed: ",     "unable to start container process: ",
	};

	for (size_t i = 0; i < ARRAY_SIZE(prefixes);) {
		size_t n = strlen(prefixes[i]);

		if (text.len > n && str_starts(text, prefixes[i])) {
			text.p += n;
			text.len -= n;
			i = 0;
		} else {
			i++;
		}
	}
	return text;
}

/* time="..." level=error msg="..." : the quoted text, unescaped into @heap. */
static bool logrus_message(struct str line, bool *ret_is_error, char **ret_text)
{
	const char *level = memmem(line.p, line.len, "level=", 6);
	const char *msg = memmem(line.p, line.len, "msg=\"", 5);
	const char *end = line.p + line.len;
	char *text;
	size_t n = 0;

	if (!level || !msg)
		return false;
	*ret_is_error = memmem(level, (size_t)(end - level), "level=error", 11) ||
	                memmem(level, (size_t)(end - level), "level=fatal", 11);
	msg += 5;
	text = xcalloc(1, (size_t)(end - msg) + 1);
	for (; msg < end && *msg != '"'; msg++) {
		if (*msg != '\\' || msg + 1 == end) {
			text[n++] = *msg;
			continue;
		}
		msg++;
		text[n++] = *msg == 'n' || *msg == 't' || *msg == 'r' ? ' ' : *msg;
	}
	*ret_text = text;
	return true;
}

static bool json_message(struct str line, bool *ret_is_error, char **ret_text)
{
	struct err unused;
	cleanup(yyjson_doc_free) yyjson_doc *doc =
		json_parse(line.p, line.len, TEXT_MAX, "log", &unused);
	yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
	const char *msg = json_str(root, "msg", NULL);
	const char *level = json_str(root, "level", "error");

	if (!msg)
		return false;
	*ret_is_error = streq(level, "error") || streq(level, "fatal") || streq(level, "panic");
	*ret_text = xstrdup(msg);
	return true;
}

void runtime_error(struct str log, char *text, size_t size)
{
	bool have_error = false;
	struct str line;

	text[0] = '\0';
	if (log.len > TEXT_MAX) {
		log.p += log.len - TEXT_MAX;
		log.len = TEXT_MAX;
	}
	while (log.len > 0) {
		cleanup_free char *message = NULL;
		bool is_error = false;

		str_cut(log, '\n', &line, &log);
		line = str_trim(line);
		if (line.len == 0)
			continue;
		/* Plain text counts for less than a message that says it is an error. */
		if (!(line.p[0] == '{' && json_message(line, &is_error, &message)))
			ignore(!logrus_message(line, &is_error, &message));
		if (have_error && !is_error)
			continue;
		have_error = is_error;
		copy_sentence(without_prefix(message ? str_of(message) : line), text, size);
	}
}

static bool has(const char *text, const char *words)
{
	return strstr(text, words) != NULL;
}

bool runtime_error_is_unknown(const char *text)
{
	/* runc; older runc names the container in between */
	if (has(text, "container does not exist") ||
	    (has(text, "container ") && has(text, "does not exist")))
		return true;
	/* crun: its status file, or their directory (below our --root), cannot be opened */
	if (!has(text, "No such file or directory"))
		return false;
	return has(text, "/status`: ") || has(text, "/status': ") ||
	       (has(text, "cannot open directory ") && has(text, "/runtime/"));
}

bool runtime_error_is_ended(const char *text)
{
	return has(text, "container not running") || has(text, "process already finished") ||
	       has(text, "No such process") || has(text, "no such process") ||
	       has(text, "is not running");
}

/* ------------------------------------------------------------------------------------------------------- search path */

static bool has_dir(const char *path, struct str dir)
{
	struct str rest = str_of(path), part;

	while (rest.len > 0) {
		str_cut(rest, ':', &part, &rest);
		if (str_eq(part, dir))
			return true;
	}
	return false;
}

char *runtime_search_path(const char *env)
{
	static const char usual[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	struct str rest = str_of(usual), dir;
	char *path = xstrdup(or_empty(env));

	while (rest.len > 0) {
		cleanup_free char *before = NULL;

		str_cut(rest, ':', &dir, &rest);
		if (has_dir(path, dir))
			continue;
		before = path;
		path = xasprintf("%s%s" STR_FMT, path, *path ? ":" : "", STR_ARG(dir));
	}
	return path;
}
