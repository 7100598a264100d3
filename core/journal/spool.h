/* core/journal/spool.h
 *
 * Exit records left by monitors: <root>/spool/{tmp,new,unknown,bad}/<container id>. The directory is the truth, inotify only a
 * wake-up: watch first, then scan. A monitor fills tmp/<id> and renames it into new/.
 */
#ifndef CORACLE_CORE_JOURNAL_SPOOL_H
#define CORACLE_CORE_JOURNAL_SPOOL_H

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/loop/loop.h"
#include "core/state/exit_record.h"

struct spool;

enum exit_verdict {
	EXIT_APPENDED, /* CONTAINER_EXITED is on its way; the file stays until it is released */
	EXIT_IN_FLIGHT, /* already on its way, or its start op is running: leave it, look again later */
	EXIT_CONSUME, /* already on record: unlink */
	EXIT_UNKNOWN, /* no such container: moved to unknown/ */
	EXIT_BAD,     /* damaged: moved to bad/ */
};
/* @rec is NULL when the file is damaged (the id is its name). */
typedef enum exit_verdict (*spool_fn)(void *arg, const char *id, const struct exit_record *rec);

/* Makes the directories. */
NODISCARD struct spool *spool_new(const char *dir, struct err *err);
/* Makes nothing (missing directories are empty ones) and is read-only from the start. */
NODISCARD struct spool *spool_new_readonly(const char *dir, struct err *err);
void spool_free(struct spool *spool);
/* wake is called (from the loop) when something appeared in new/, or inotify overflowed. */
NODISCARD int spool_watch(struct spool *spool, struct loop *loop, void (*wake)(void *arg),
                          void *arg, struct err *err);
/* Every file in new/, once. Returns how many were seen, -1 when the directory cannot be read. */
NODISCARD int spool_scan(struct spool *spool, spool_fn fn, void *arg, struct err *err);
/* The record of one container in new/, else (with_tmp) a filled one in tmp/. True if fn was called. */
bool spool_scan_one(struct spool *spool, const char *id, bool with_tmp, spool_fn fn, void *arg);
/* Ids in tmp/ (for replay: valid ones whose monitor is dead, and orphans), as a strv. */
NODISCARD int spool_list_tmp(struct spool *spool, char ***ret_ids, struct err *err);
/* After its EXITED was released: unlink new/<id> and tmp/<id>. */
void spool_consume(struct spool *spool, const char *id);
/* Read-only (recover without --fix): no verdict moves or unlinks anything. */
void spool_set_readonly(struct spool *spool);

#endif
