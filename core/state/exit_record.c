/* core/state/exit_record.c
 *
 * The codec of exit records. Every field is checked against the others, so that what decodes can be
 * believed: a record that claims an exit has times, a wait status and a code that agree.
 */
#include "core/state/exit_record.h"

#include <string.h>
#include <sys/wait.h>

#include "core/base/codec.h"

enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_FLAGS = 10,
	AT_EXIT_CODE = 12,
	AT_ID = 16,
	AT_BOOT_ID = 80,
	AT_START_TICKS = 96,
	AT_STARTED = 104,
	AT_EXITED = 112,
	AT_PID = 120,
	AT_WSTATUS = 124,
	AT_RESERVED = 128,
	AT_CRC = 132,
};

enum { FLAG_FILLED = 1, FLAG_OOM = 2 };

static const char magic[8] = { 'c', 'o', 'r', 'a', 'e', 'x', 'i', 't' };

_Static_assert(AT_CRC + 4 == EXIT_RECORD_BYTES, "the checksum ends the record");
_Static_assert(AT_BOOT_ID - AT_ID == EXIT_RECORD_ID_MAX, "the id fills its field");

uint32_t exit_code_from_wstatus(int wstatus)
{
	if (WIFSIGNALED(wstatus))
		return 128 + (uint32_t)WTERMSIG(wstatus);
	return (uint32_t)WEXITSTATUS(wstatus);
}

static bool id_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c == '-' || c == '.';
}

bool exit_record_id_valid(const char *id)
{
	size_t len = 0;

	if (id[0] == '.')
		return false;
	for (; id[len]; len++)
		if (len == EXIT_RECORD_ID_MAX || !id_char(id[len]))
			return false;
	return len > 0;
}

void exit_record_encode(const struct exit_record *rec, uint8_t ret[EXIT_RECORD_BYTES])
{
	memset(ret, 0, EXIT_RECORD_BYTES);
	memcpy(ret + AT_MAGIC, magic, sizeof(magic));
	put_le16(ret + AT_VERSION, EXIT_RECORD_VERSION);
	put_le16(ret + AT_FLAGS,
	         (uint16_t)((rec->filled ? FLAG_FILLED : 0) | (rec->oom ? FLAG_OOM : 0)));
	put_le32(ret + AT_EXIT_CODE, rec->exit_code);
	memcpy(ret + AT_ID, rec->id, strnlen(rec->id, EXIT_RECORD_ID_MAX));
	memcpy(ret + AT_BOOT_ID, rec->boot_id, sizeof(rec->boot_id));
	put_le64(ret + AT_START_TICKS, rec->start_ticks);
	put_le64(ret + AT_STARTED, (uint64_t)rec->started_ns);
	put_le64(ret + AT_EXITED, (uint64_t)rec->exited_ns);
	put_le32(ret + AT_PID, (uint32_t)rec->pid);
	put_le32(ret + AT_WSTATUS, (uint32_t)rec->wstatus);
	put_le32(ret + AT_CRC, crc32c(0, ret, AT_CRC));
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* What makes these bytes no record of this or a later version; NULL when nothing does. */
static const char *envelope_fault(const uint8_t *p, size_t len)
{
	if (len != EXIT_RECORD_BYTES)
		return "wrong length";
	if (memcmp(p + AT_MAGIC, magic, sizeof(magic)) != 0)
		return "not an exit record";
	if (get_le32(p + AT_CRC) != crc32c(0, p, AT_CRC))
		return "checksum does not match";
	if (get_le16(p + AT_VERSION) == 0)
		return "version 0";
	return NULL;
}

/* Fills @rec; NULL, or the first field that cannot be. */
static const char *parse(const uint8_t *p, struct exit_record *rec)
{
	uint16_t flags = get_le16(p + AT_FLAGS);
	size_t id_len = strnlen((const char *)p + AT_ID, EXIT_RECORD_ID_MAX);

	*rec = (struct exit_record){
		.filled = flags & FLAG_FILLED,
		.oom = flags & FLAG_OOM,
		.pid = (int32_t)get_le32(p + AT_PID),
		.start_ticks = get_le64(p + AT_START_TICKS),
		.started_ns = (int64_t)get_le64(p + AT_STARTED),
		.exited_ns = (int64_t)get_le64(p + AT_EXITED),
		.wstatus = (int)get_le32(p + AT_WSTATUS),
		.exit_code = get_le32(p + AT_EXIT_CODE),
	};
	memcpy(rec->id, p + AT_ID, id_len);
	memcpy(rec->boot_id, p + AT_BOOT_ID, sizeof(rec->boot_id));

	if (!exit_record_id_valid(rec->id) ||
	    !all_zero(p + AT_ID + id_len, EXIT_RECORD_ID_MAX - id_len))
		return "bad container id";
	if (flags & ~(FLAG_FILLED | FLAG_OOM))
		return "unknown flags";
	if (!all_zero(p + AT_RESERVED, AT_CRC - AT_RESERVED))
		return "reserved bytes are not zero";
	if (rec->pid < 0 || (rec->pid == 0 && rec->start_ticks != 0))
		return "bad pid";
	if (rec->started_ns < 0)
		return "bad start time";
	if (!rec->filled) {
		if (rec->exited_ns != 0 || rec->wstatus != 0 || rec->exit_code != 0)
			return "exit details without an exit";
		return NULL;
	}
	if (rec->pid == 0)
		return "an exit without a process";
	if (!WIFEXITED(rec->wstatus) && !WIFSIGNALED(rec->wstatus))
		return "wait status is not an exit";
	if (rec->exit_code != exit_code_from_wstatus(rec->wstatus))
		return "exit code does not match the wait status";
	if (rec->exited_ns <= 0 || rec->exited_ns < rec->started_ns)
		return "bad exit time";
	return NULL;
}

int exit_record_decode(const void *data, size_t len, struct exit_record *ret, struct err *err)
{
	const uint8_t *p = data;
	const char *fault;
	struct exit_record rec;

	fault = envelope_fault(p, len);
	if (fault)
		return err_set(err, CODE_DATA_LOSS, "exit record: %s", fault);
	if (get_le16(p + AT_VERSION) != EXIT_RECORD_VERSION)
		return err_set(err, CODE_FAILED_PRECONDITION,
		               "exit record: version %u is newer than %u", get_le16(p + AT_VERSION),
		               EXIT_RECORD_VERSION);
	fault = parse(p, &rec);
	if (fault)
		return err_set(err, CODE_DATA_LOSS, "exit record: %s", fault);

	*ret = rec;
	return rec.filled ? EXIT_RECORD_FILLED : EXIT_RECORD_UNFILLED;
}

bool exit_record_is_filled(const void *data, size_t len)
{
	struct exit_record rec;

	return !envelope_fault(data, len) &&
	       get_le16((const uint8_t *)data + AT_VERSION) == EXIT_RECORD_VERSION &&
	       !parse(data, &rec) && rec.filled;
}
