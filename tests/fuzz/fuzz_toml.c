/* TOML and migrate-config: what parses is found again byte for byte in its items; what is edited parses again and is
 * what the rule asks for (migrate_edit itself answers E_SELF otherwise); what is mapped never trips a reader of ours. */
#include <stdint.h>
#include <string.h>

#include "cmd/migrate/diff.h"
#include "cmd/migrate/edit.h"
#include "cmd/migrate/keys.h"
#include "cmd/migrate/output.h"
#include "core/base/buf.h"
#include "core/base/bug.h"
#include "core/base/err.h"
#include "core/base/toml.h"

static void items_cover_every_byte(const struct toml *toml, const uint8_t *data)
{
	uint32_t at = toml->has_bom ? 3 : 0;

	ensure(memcmp(toml->text, data, toml->len) == 0);
	for (uint32_t i = 0; i < toml->nitems; i++) {
		ensure(toml->items[i].start == at && toml->items[i].end > at);
		at = toml->items[i].end;
	}
	ensure(at == toml->len);
}

/* A mirror may be none that the daemon takes, but it never gets lost. Certificates would be files of this machine. */
static void no_mirror_gets_lost(const struct migrate_host *host)
{
	struct err err = { .code = CODE_OK };

	if (!strstr(host->text, "  ca = ") && !strstr(host->text, "  client = ") &&
	    migrate_host_check(host, &err) < 0)
		ensure(err.code == CODE_INVALID_ARGUMENT);
}

static void outputs_are_readable(const struct migrate_edit *edit)
{
	struct migrate_records records;
	const struct migrate_records *list[] = { &records };
	struct migrate_conf_count count;
	cleanup(migrate_hosts_release) struct migrate_hosts hosts = { 0 };
	cleanup(buf_release) struct buf out = { 0 };
	struct err err = { .code = CODE_OK };

	buf_init(&out, 64u << 20);
	migrate_records(edit, NULL, &records);
	if (migrate_conf(list, 1, NULL, &out, &count, &err) < 0)
		ensure(err.code ==
		       CODE_RESOURCE_EXHAUSTED); /* never INTERNAL: what was written was not found again */
	if (migrate_hosts(edit, &hosts, &err) < 0)
		ensure(err.code == CODE_RESOURCE_EXHAUSTED ||
		       strstr(err.msg, "the new hosts.toml") == NULL);
	for (size_t i = 0; i < hosts.count; i++)
		no_mirror_gets_lost(&hosts.all[i]);
	buf_clear(&out);
	ensure(migrate_diff(edit, "f", &out) == 0);
	ensure((out.len > 0) == (edit->ncuts > 0));
	migrate_records_release(&records);
}

static void the_edit_follows_the_rule(const struct toml *toml, bool keep_streaming)
{
	cleanup(migrate_edit_release) struct migrate_edit edit = { .ncuts = 0 };
	struct migrate_message error = { .text = "" };

	if (migrate_edit(toml, keep_streaming, &edit, &error) < 0) {
		ensure(error.code == E_VERSION || error.code == E_TYPE);
		return;
	}
	ensure(edit.len <= toml->len && (edit.len < toml->len) == (edit.ncuts > 0));
	outputs_are_readable(&edit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct toml_fault fault = { .place = { 0, 0 } };
	struct err err = { .code = CODE_OK };
	cleanup(toml_free) struct toml *toml =
		toml_parse("fuzz", (const char *)data, size, &fault, &err);

	if (!toml) {
		ensure(err.code == CODE_RESOURCE_EXHAUSTED ||
		       (fault.place.line >= 1 && fault.place.col >= 1));
		return 0;
	}
	items_cover_every_byte(toml, data);
	ensure(toml_equal(toml->root, toml->root));
	the_edit_follows_the_rule(toml, false);
	the_edit_follows_the_rule(toml, true);
	return 0;
}
