/* Exit records: what is accepted can be written back, and is what was read. */
#include <stdint.h>
#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/state/exit_record.h"

static void check(const uint8_t *data, size_t size)
{
	uint8_t again[EXIT_RECORD_BYTES];
	struct exit_record rec;
	struct err err;
	int kind = exit_record_decode(data, size, &rec, &err);

	ensure((kind == EXIT_RECORD_FILLED) == exit_record_is_filled(data, size));
	if (kind == EXIT_RECORD_DAMAGED)
		return;
	ensure(exit_record_id_valid(rec.id) && rec.exit_code <= 255);
	ensure((kind == EXIT_RECORD_FILLED) == rec.filled);
	exit_record_encode(&rec, again);
	ensure(size == sizeof(again) && memcmp(data, again, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t sealed[EXIT_RECORD_BYTES] = { 0 };

	check(data, size);
	/* Nobody guesses a checksum: the same bytes with a good envelope, so that the fields get
	 * their turn. */
	memcpy(sealed, data, size < sizeof(sealed) ? size : sizeof(sealed));
	memcpy(sealed, "coraexit\1\0", 10);
	put_le32(sealed + 132, crc32c(0, sealed, 132));
	check(sealed, sizeof(sealed));
	return 0;
}
