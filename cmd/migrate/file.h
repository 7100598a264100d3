/* cmd/migrate/file.h
 *
 * A configuration file in place: read whole, replaced whole. At every moment the name stands for the old or the new
 * file, complete and with its owner, mode and extended attributes; links to it stay links.
 *
 * Blocking; for the command line only.
 */
#ifndef CORACLE_CMD_MIGRATE_FILE_H
#define CORACLE_CMD_MIGRATE_FILE_H

#include <stddef.h>
#include <sys/stat.h>

#include "cmd/migrate/edit.h"
#include "core/base/attr.h"

#define MIGRATE_BACKUP_SUFFIX ".pre-coracle"

struct migrate_file {
	const char *name; /* as messages call it */
	char *path;       /* behind all links; NULL: standard input */
	char *text;
	size_t len;
	struct stat st;
};

/* The whole file; "-" is standard input. E_OPEN. */
NODISCARD int migrate_file_read(const char *name, struct migrate_file *ret,
                                struct migrate_message *error);
void migrate_file_release(struct migrate_file *file);

/*
 * migrate_file_replace - put @text where the file was.
 * @suffix:     of the backup; NULL: none. A backup of other contents is never overwritten.
 * @ret_backup: base name of the backup, on the heap; NULL if there is none.
 * Returns:     0; -1 with @error set (E_OPEN, E_WRITE, E_BACKUP): the file is as it was; or the number of the signal
 *              that ended the work before anything was changed.
 */
NODISCARD int migrate_file_replace(const struct migrate_file *file, const char *text, size_t len,
                                   const char *suffix, char **ret_backup,
                                   struct migrate_message *error);

/* Remove temporary files that a killed run left beside the file. Never fails. */
void migrate_file_tidy(const struct migrate_file *file);

/* Names of the file beyond this one and a backup of ours: they keep the old contents. */
unsigned int migrate_file_other_names(const struct migrate_file *file, const char *suffix);

#endif
