#include "cmd/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/proc.h"
#include "core/base/str.h"

#define LOCK_TEXT_MAX 64

int boot_identity(const char *root, struct boot *ret, struct err *err)
{
	struct stat st;
	int rc;

	*ret = (struct boot){ .version = (char *)CORACLE_VERSION };
	rc = proc_boot_id(ret->boot_id);
	if (rc < 0)
		return err_sys(err, -rc, "boot id");
	rc = proc_machine_id(ret->machine_id);
	if (rc < 0)
		return err_sys(err, -rc, "machine id");
	if (stat(root, &st) < 0)
		return err_sys(err, errno, "stat %s", root);
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	return 0;
}

enum home home_of(const struct boot *now, const struct boot *then)
{
	bool same_boot = memcmp(now->boot_id, then->boot_id, sizeof(now->boot_id)) == 0;

	if (!then->seq)
		return HOME_NEW;
	if (memcmp(now->machine_id, then->machine_id, sizeof(now->machine_id)) != 0 ||
	    now->ino != then->ino)
		return HOME_AWAY;
	if (same_boot &&
	    now->dev != then->dev) /* the kernel numbers some file systems anew at each boot */
		return HOME_AWAY;
	return same_boot ? HOME_HERE : HOME_REBOOTED;
}

static int find_home(const char *root, struct offline *offline, struct err *err)
{
	struct boot now;

	if (!offline->state->boot.seq)
		return 0; /* HOME_NEW, and perhaps no directory either */
	if (boot_identity(root, &now, err) < 0)
		return -1;
	offline->home = home_of(&now, &offline->state->boot);
	return 0;
}

int offline_read(const char *root, const struct config *config, bool damaged, struct offline *ret,
                 struct err *err)
{
	cleanup_free char *dir = xasprintf("%s/journal", root);
	cleanup(offline_release) struct offline offline = { .state = state_new() };
	struct journal *journal;
	const struct journal_args args = {
		.dir = dir,
		.mode = JOURNAL_MEMORY,
		.state = offline.state,
		.segment_bytes = config->journal_segment_bytes,
		.keep_bytes = config->journal_keep_bytes,
		.truncate = damaged,
	};

	journal = journal_open(&args, &offline.load, err);
	if (!journal)
		return -1;
	journal_close(journal);
	if (find_home(root, &offline, err) < 0)
		return -1;
	*ret = offline;
	offline.state = NULL;
	return 0;
}

void offline_release(struct offline *offline)
{
	state_free(take_ptr(offline->state));
}

void offline_journal_json(yyjson_mut_doc *doc, yyjson_mut_val *obj,
                          const struct journal_report *load)
{
	yyjson_mut_obj_add_uint(doc, obj, "last_seq", load->last_seq);
	yyjson_mut_obj_add_uint(doc, obj, "synced_seq", load->synced_seq);
	yyjson_mut_obj_add_uint(doc, obj, "snapshot_seq", load->snapshot_seq);
	yyjson_mut_obj_add_uint(doc, obj, "records", load->records);
	yyjson_mut_obj_add_uint(doc, obj, "segments", load->segments);
	yyjson_mut_obj_add_uint(doc, obj, "torn_records", load->torn_records);
	yyjson_mut_obj_add_uint(doc, obj, "torn_bytes", load->torn_bytes);
	if (load->damage[0])
		yyjson_mut_obj_add_strcpy(doc, obj, "damage", load->damage);
}

/* --- a daemon that runs */

/* Does process @pid have the file open? Locks are not tried: even a failing one could get in a starting daemon's way. */
static bool has_open(pid_t pid, const struct stat *file)
{
	cleanup_free char *dir = xasprintf("/proc/%d/fd", (int)pid);
	cleanup(strv_free) char **names = NULL;

	if (fsx_list(AT_FDCWD, dir, &names) < 0)
		return false;
	for (size_t i = 0; names[i]; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);
		struct stat st;

		if (stat(path, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino)
			return true;
	}
	return false;
}

pid_t offline_daemon(const char *root)
{
	cleanup_free char *path = xasprintf("%s/lock", root);
	cleanup_free char *text = NULL;
	struct stat st;
	uint64_t pid;
	size_t len;

	if (stat(path, &st) < 0 || fsx_read(AT_FDCWD, path, LOCK_TEXT_MAX, &text, &len) < 0 ||
	    str_u64(str_trim((struct str){ text, len }), INT32_MAX, &pid) < 0)
		return 0;
	return has_open((pid_t)pid, &st) ? (pid_t)pid : 0;
}
