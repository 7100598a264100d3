/* cmd/migrate/edit.h
 *
 * The rule of `coracle migrate-config`: in a containerd configuration older than version 3 the table of the CRI plugin
 * keeps disable_tcp_service alone, and goes where it lacks that. Everything else stays, byte for byte.
 *
 * Source: containerd, migration of plugin io.containerd.grpc.v1.cri in release 2.0.0 (and six kept keys since 2.0.1).
 *
 * The result is the input with pieces cut out; nothing is ever added, moved or spelled anew. It is parsed again and
 * compared with what the rule makes of the input's tree before anybody gets to see it.
 */
#ifndef CORACLE_CMD_MIGRATE_EDIT_H
#define CORACLE_CMD_MIGRATE_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/toml.h"

#define MIGRATE_CRI         "io.containerd.grpc.v1.cri"
#define MIGRATE_CRI_SHORT   "cri" /* its name in files of version 0 and 1 */
#define MIGRATE_CRI_RUNTIME "io.containerd.cri.v1.runtime" /* since version 3 */
#define MIGRATE_CRI_IMAGES  "io.containerd.cri.v1.images"
#define MIGRATE_FROM        3 /* files of this version and newer ones keep their table */
#define MIGRATE_NEWEST      4 /* newest version containerd has */
#define MIGRATE_MAX_TABLES  2

/* What is wrong, with the code that messages end in. */
enum migrate_code {
	E_OPEN = 1,
	E_UTF8,
	E_SYNTAX,
	E_VERSION,
	E_TYPE,
	E_WRITE,
	E_BACKUP,
	E_SELF,
	W_TYPE,
	W_SHORT,
	W_BOTH,
	W_UNQUOTED,
	W_VERSION,
	W_VERSION_PLACE,
	W_BOM,
	W_HARDLINK,
	W_LIVE,
};

const char *migrate_code_name(enum migrate_code code);

struct migrate_message {
	enum migrate_code code;
	struct toml_place place; /* line 0: none */
	char text[400];
};

struct migrate_cut {
	uint32_t start, end;
};

struct migrate_edit {
	const struct toml *toml; /* borrowed */
	int64_t version;
	const char *tables
		[MIGRATE_MAX_TABLES]; /* names of the CRI plugin that this version reads and the file has */
	size_t ntables;
	bool keep_streaming;

	struct migrate_cut *cuts; /* ascending, apart */
	size_t ncuts;
	char *text; /* the result; the input's own bytes where nothing is cut */
	size_t len;
	size_t removed;   /* settings that went */
	const char *kept; /* "disable_tcp_service" or a list of them; "" */
	char *kept_text;  /* private */

	struct migrate_message *warnings;
	size_t nwarnings;
};

/*
 * migrate_edit - apply the rule to a parsed file.
 * @keep_streaming: keep the five streaming settings as well.
 * @edit:           filled also where nothing changes (ncuts == 0). Release in either case.
 * Returns:         0, or -1 with @error set: E_VERSION, E_TYPE, E_SELF.
 */
NODISCARD int migrate_edit(const struct toml *toml, bool keep_streaming, struct migrate_edit *edit,
                           struct migrate_message *error);
void migrate_edit_release(struct migrate_edit *edit);
DEFINE_CLEANUP(struct migrate_edit, migrate_edit_release);

/* Does the rule keep this setting of the CRI table? */
bool migrate_keeps(struct str key, bool keep_streaming);
/* The names of the CRI plugin in a file of this version. */
size_t migrate_names(int64_t version, const char *ret_names[MIGRATE_MAX_TABLES]);

#endif
