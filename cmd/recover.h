/* cmd/recover.h
 *
 * coracle recover: what the journal says happened (recover_history.c), what state that leaves, and what the next start would do
 * about it (recover.c). Private to the two.
 */
#ifndef CORACLE_CMD_RECOVER_H
#define CORACLE_CMD_RECOVER_H

#include <stdbool.h>

#include "cmd/engine.h"

struct recover {
	struct engine engine; /* INSPECT, or FIX */
	bool json, fix, truncate;
};

/* What a record is about and says, for people. */
#define RECORD_TEXT 320
struct record_text {
	char subject[96]; /* id of pod, container or image; plugin name; "" */
	char owner[96];   /* pod of a container, where the record tells; "" */
	char name
		[256]; /* "container web of pod 0123456789ab", "pod default/web", "image NAME NAME"; "" where it is not told */
	char text[RECORD_TEXT];
};
void record_describe(const struct record *rec, struct record_text *ret);

/* "owed:  plugin 10-a is to hear that container 0123456789ab stopped (record 7)" */
void recover_print_owed(const char *plugin, const struct owed *owed);

/* The subcommands; an exit status. */
int recover_timeline(const struct config *config, const char *id, bool json); /* NULL: everything */
int recover_explain(struct recover *r, const char *id);
int recover_at(const struct config *config, const char *text);

#endif
