/* core/state/record.c
 *
 * The table of record kinds and the framing around their payloads.
 *
 * Two checksums, for two questions. hcrc covers the header alone: after damage it tells whether the 36 bytes at a block
 * boundary are a header, and so what was synced when they were written. crc covers header and payload and is chained: it is
 * seeded with the record before, so a frame is only good behind the one it was written behind, in the segment it was written to.
 */
#include "core/state/record.h"

#include <string.h>

#include "core/base/bug.h"
#include "core/base/codec.h"
#include "core/state/record.pb.h"

/* A snapshot holds whole objects: a request of 1 MiB, and what later records added to it. */
#define SNAP_MAX_BYTES (8 * RECORD_MAX_BYTES)

#define KIND(name_, msg_, class_, reserve_)                                                        \
	[RECORD_##name_] = { .kind = RECORD_##name_,                                               \
		             .name = #name_,                                                       \
		             .class = (class_),                                                    \
		             .reserve = (reserve_),                                                \
		             .desc = rec_##msg_##_fields,                                          \
		             .struct_size = sizeof(rec_##msg_) }

/* clang-format off */
static const struct record_info infos[] = {
	KIND(BOOT,                   Boot,                 RECORD_SYNCED,  false),
	KIND(SANDBOX_CREATING,       Sandbox,              RECORD_WRITTEN, false),
	KIND(SANDBOX_NAMESPACES,     SandboxNamespaces,    RECORD_WRITTEN, false),
	KIND(SANDBOX_NETWORK_INTENT, SandboxNetworkIntent, RECORD_SYNCED,  false),
	KIND(SANDBOX_NETWORK,        SandboxNetwork,       RECORD_WRITTEN, false),
	KIND(SANDBOX_READY,          Ref,                  RECORD_SYNCED,  false),
	KIND(SANDBOX_STOPPING,       Ref,                  RECORD_WRITTEN, true),
	KIND(SANDBOX_STOPPED,        Ref,                  RECORD_SYNCED,  true),
	KIND(SANDBOX_REMOVING,       Removing,             RECORD_WRITTEN, true),
	KIND(SANDBOX_REMOVED,        Ref,                  RECORD_WRITTEN, true),
	KIND(SANDBOX_RESOURCES,      Resources,            RECORD_SYNCED,  false),
	KIND(CONTAINER_CREATING,     Container,            RECORD_WRITTEN, false),
	KIND(CONTAINER_CREATED,      Ref,                  RECORD_SYNCED,  false),
	KIND(CONTAINER_STARTING,     ContainerStarting,    RECORD_WRITTEN, false),
	KIND(CONTAINER_RUNNING,      ContainerRunning,     RECORD_SYNCED,  false),
	KIND(CONTAINER_STOPPING,     ContainerStopping,    RECORD_WRITTEN, true),
	KIND(CONTAINER_EXITED,       ContainerExited,      RECORD_SYNCED,  true),
	KIND(CONTAINER_REMOVING,     Removing,             RECORD_WRITTEN, true),
	KIND(CONTAINER_REMOVED,      Ref,                  RECORD_WRITTEN, true),
	KIND(CONTAINER_RESOURCES,    Resources,            RECORD_SYNCED,  false),
	KIND(PLUGIN_SEEN,            Plugin,               RECORD_SYNCED,  false),
	KIND(PLUGIN_ACKED,           PluginAcked,          RECORD_WRITTEN, true),
	KIND(PLUGIN_FORGOTTEN,       Plugin,               RECORD_WRITTEN, false),
	KIND(PLUGIN_CAPPED,          PluginAcked,          RECORD_WRITTEN, false),
	KIND(IMAGE_ADDED,            Image,                RECORD_SYNCED,  false),
	KIND(IMAGE_NAMED,            ImageNamed,           RECORD_SYNCED,  false),
	KIND(IMAGE_REMOVED,          Ref,                  RECORD_SYNCED,  true),
	KIND(RUNTIME_CONFIG,         RuntimeConfig,        RECORD_SYNCED,  false),
	KIND(SNAP_META,              SnapMeta,             RECORD_WRITTEN, false),
	KIND(SNAP_SANDBOX,           Sandbox,              RECORD_WRITTEN, false),
	KIND(SNAP_CONTAINER,         Container,            RECORD_WRITTEN, false),
	KIND(SNAP_PLUGIN,            Plugin,               RECORD_WRITTEN, false),
	KIND(SNAP_IMAGE,             Image,                RECORD_WRITTEN, false),
	KIND(SNAP_QUARANTINE,        Quarantine,           RECORD_WRITTEN, false),
};
/* clang-format on */

const struct record_info *record_info(uint16_t kind)
{
	return kind < ARRAY_SIZE(infos) && infos[kind].name ? &infos[kind] : NULL;
}

const char *record_name(uint16_t kind)
{
	const struct record_info *info = record_info(kind);

	return info ? info->name : "UNKNOWN";
}

static uint32_t max_bytes(uint16_t kind)
{
	return kind >= RECORD_SNAP_META ? SNAP_MAX_BYTES : RECORD_MAX_BYTES;
}

/* The seed of a frame's crc: salt and the crc of the record before. */
static uint32_t chain_seed(uint32_t salt, uint32_t prev)
{
	uint8_t bytes[4];

	put_le32(bytes, prev);
	return crc32c(salt, bytes, sizeof(bytes));
}

int record_encode(struct buf *out, const struct record *rec, uint32_t salt, uint32_t *inout_crc,
                  struct err *err)
{
	uint32_t crc;
	uint8_t *p;

	if (rec->len > max_bytes(rec->kind))
		return err_set(err, CODE_RESOURCE_EXHAUSTED, "record %s: %u bytes, the limit is %u",
		               record_name(rec->kind), rec->len, max_bytes(rec->kind));
	p = (uint8_t *)buf_reserve(out, RECORD_FRAME_BYTES + (size_t)rec->len);
	if (!p)
		return buf_err_full(out, record_name(rec->kind), err);

	put_le32(p, rec->len);
	put_le64(p + 4, rec->seq);
	put_le64(p + 12, (uint64_t)rec->time_ns);
	put_le16(p + 20, rec->kind);
	put_le16(p + 22, rec->version);
	put_le64(p + 24, rec->synced_seq);
	put_le32(p + 32, crc32c(salt, p, 32));
	if (rec->len)
		memcpy(p + RECORD_HEADER_BYTES, rec->payload, rec->len);
	crc = crc32c(chain_seed(salt, *inout_crc), p, RECORD_HEADER_BYTES + (size_t)rec->len);
	put_le32(p + RECORD_HEADER_BYTES + rec->len, crc);
	buf_grew(out, RECORD_FRAME_BYTES + (size_t)rec->len);
	*inout_crc = crc;
	return 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

enum record_parse record_decode_header(const uint8_t *data, size_t len, uint32_t salt,
                                       struct record *ret)
{
	struct record rec;

	if (len < RECORD_HEADER_BYTES || is_zero(data, RECORD_HEADER_BYTES))
		return RECORD_SHORT;
	rec = (struct record){
		.len = get_le32(data),
		.seq = get_le64(data + 4),
		.time_ns = (int64_t)get_le64(data + 12),
		.kind = get_le16(data + 20),
		.version = get_le16(data + 22),
		.synced_seq = get_le64(data + 24),
		.payload = data + RECORD_HEADER_BYTES,
	};
	if (get_le32(data + 32) != crc32c(salt, data, 32) || rec.len > max_bytes(rec.kind) ||
	    !rec.seq)
		return RECORD_DAMAGED;
	*ret = rec;
	return RECORD_OK;
}

enum record_parse record_decode(const uint8_t *data, size_t len, uint32_t salt, uint32_t *inout_crc,
                                struct record *ret, size_t *ret_size)
{
	enum record_parse parse;
	struct record rec;
	uint32_t crc;

	parse = record_decode_header(data, len, salt, &rec);
	if (parse != RECORD_OK)
		return parse;
	if (len - RECORD_HEADER_BYTES < (size_t)rec.len + 4)
		return RECORD_SHORT;
	crc = crc32c(chain_seed(salt, *inout_crc), data, RECORD_HEADER_BYTES + (size_t)rec.len);
	if (crc != get_le32(data + RECORD_HEADER_BYTES + rec.len))
		return RECORD_DAMAGED;
	*ret = rec;
	*ret_size = RECORD_FRAME_BYTES + (size_t)rec.len;
	*inout_crc = crc;
	return RECORD_OK;
}
