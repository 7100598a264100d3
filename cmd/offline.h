/* cmd/offline.h
 *
 * What lies on disk, read without a daemon: the state that the journal leaves, folded by the daemon's own code, and whose it is. No
 * lock is taken or tried and nothing is changed, so a daemon may run, or start, meanwhile.
 */
#ifndef CORACLE_CMD_OFFLINE_H
#define CORACLE_CMD_OFFLINE_H

#include <stdbool.h>
#include <sys/types.h>

#include <yyjson.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/config/config.h"
#include "core/journal/journal.h"
#include "core/state/state.h"

/* Whose state is this? What the last BOOT on record says about machine, boot and directory (D26). */
enum home {
	HOME_NEW,      /* nobody's yet */
	HOME_HERE,     /* this machine, this boot */
	HOME_REBOOTED, /* this machine, another boot */
	HOME_AWAY, /* another machine, or a copy of the directory: nothing here can be probed, or repaired */
};

/* What a BOOT record of now would say about @root. */
NODISCARD int boot_identity(const char *root, struct boot *ret, struct err *err);
enum home home_of(const struct boot *now, const struct boot *then);

struct offline {
	struct state *state;
	struct journal_report load;
	enum home home;
};

/*
 * offline_read - the state below @root.
 * @damaged: of a damaged journal, what precedes the damage (load.damage tells); else that is an error.
 * Errors:   as of journal_open().
 */
NODISCARD int offline_read(const char *root, const struct config *config, bool damaged,
                           struct offline *ret, struct err *err);
void offline_release(struct offline *offline);
/* What reading the journal told, into @obj. */
void offline_journal_json(yyjson_mut_doc *doc, yyjson_mut_val *obj,
                          const struct journal_report *load);

/* The daemon that holds @root; 0: none that can be seen (those of others cannot be seen without rights). */
pid_t offline_daemon(const char *root);

DEFINE_CLEANUP(struct offline, offline_release);

#endif
