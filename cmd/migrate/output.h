/* cmd/migrate/output.h
 *
 * What migrate-config makes beside the file itself: a coracle.conf and hosts.toml files from the settings that the rule
 * drops, and the report about each of them. Texts only; the command writes them.
 */
#ifndef CORACLE_CMD_MIGRATE_OUTPUT_H
#define CORACLE_CMD_MIGRATE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include <yyjson.h>

#include "cmd/migrate/edit.h"
#include "cmd/migrate/keys.h"
#include "core/base/attr.h"
#include "core/base/buf.h"
#include "core/base/json.h"

struct migrate_conf_count {
	size_t all, later; /* later: those among them that are comments */
};

/*
 * migrate_conf - the settings of @records as a coracle.conf.
 * Keys that this version does not read yet are comments, "# later: [section] key = value".
 * @hosts_dir: where hosts.toml files are written, absolute: config_path will name it; NULL: nowhere.
 * @ret_count: how many settings it holds; none: there is nothing to map, @out is empty.
 * Returns:    0, or -1 with @err set when the daemon's own reader would not find in it what was meant.
 */
NODISCARD int migrate_conf(const struct migrate_records *const *records, size_t n,
                           const char *hosts_dir, struct buf *out,
                           struct migrate_conf_count *ret_count, struct err *err);
/* Does the daemon look for hosts.toml in @dir unless it is told otherwise? */
bool migrate_hosts_default(const char *dir);
/* Is every line of @wanted in force, or a comment, in @there? Then there is nothing left to write. */
bool migrate_conf_holds(const char *there, const char *wanted);

struct migrate_host {
	char *dir; /* of the registry: "docker.io", "_default" */
	char *text;
};

struct migrate_hosts {
	struct migrate_host *all;
	size_t count;
};

/* One hosts.toml per registry with mirrors or certificates in the CRI tables of @edit. INVALID_ARGUMENT names a
 * registry or endpoint that makes none. */
NODISCARD int migrate_hosts(const struct migrate_edit *edit, struct migrate_hosts *ret,
                            struct err *err);
/* Does the daemon's own reader find every mirror? It reads the certificates, too. INVALID_ARGUMENT, or why not. */
NODISCARD int migrate_host_check(const struct migrate_host *host, struct err *err);
void migrate_hosts_release(struct migrate_hosts *hosts);
DEFINE_CLEANUP(struct migrate_hosts, migrate_hosts_release);

/* One file's part of the report. @error: NULL, or why there is no edit (then @edit and @records are NULL too). */
struct migrate_report {
	const char *file;
	const struct migrate_edit *edit;
	const struct migrate_records *records;
	const struct migrate_message *error;
};

NODISCARD int migrate_report_text(const struct migrate_report *report, struct buf *out);
void migrate_report_json(const struct migrate_report *report, yyjson_mut_doc *doc,
                         yyjson_mut_val *array);

#endif
