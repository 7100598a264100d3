/* cmd/ctl/dump.c
 *
 * dump: what the daemon knows, from the daemon or, --offline, folded from its journal by the same code. Their `state` members
 * are equal.
 */
#include "core/state/dump.h"

#include <string.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "cmd/offline.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "cri/proto/ctl.pb.h"

static int put_chunk(void *arg, const void *message)
{
	const ctl_DumpChunk *chunk = message;
	size_t *all = arg;

	if (chunk->json)
		*all += fwrite(chunk->json->bytes, 1, chunk->json->size, stdout);
	return ferror(stdout) ? -1 : 0;
}

static int dump_live(struct ctl *ctl)
{
	const ctl_DumpRequest request = { 0 };
	ctl_DumpChunk chunk;
	const struct grpc_client_call call = {
		.method = "/coracle.v1.Control/Dump",
		.request_desc = ctl_DumpRequest_fields,
		.request = &request,
		.response_desc = ctl_DumpChunk_fields,
		.timeout_ms = READ_TIMEOUT_MS,
	};
	struct err err = { 0 };
	size_t all = 0;

	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	if (grpc_client_stream(ctl->client, &call, &chunk, put_chunk, &all, &err) < 0)
		return ctl_fail(ctl, &err);
	if (all)
		putchar('\n');
	return ctl_flush(ctl);
}

static int dump_offline(struct ctl *ctl)
{
	const struct config *config = ctl_config(ctl);
	cleanup(offline_release) struct offline offline = { 0 };
	cleanup_free char *dir = NULL;
	struct err err = { 0 };
	yyjson_mut_doc *doc;
	yyjson_mut_val *root, *obj;

	if (!config)
		return EXIT_FAILED;
	if (offline_read(config->root, config, false, &offline, &err) < 0)
		return ctl_fail(ctl, &err);
	dir = xasprintf("%s/journal", config->root);
	doc = yyjson_mut_doc_new(NULL);
	root = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_str(doc, root, "version", CORACLE_VERSION);
	yyjson_mut_obj_add_val(doc, root, "state", dump_state(offline.state, doc));
	obj = yyjson_mut_obj_add_obj(doc, root, "journal");
	yyjson_mut_obj_add_strcpy(doc, obj, "directory", dir);
	offline_journal_json(doc, obj, &offline.load);
	return ctl_print_json(ctl, doc, root, true);
}

int verb_dump(struct ctl *ctl, int argc, char **argv)
{
	bool offline = false;
	const struct arg_option options[] = {
		{ "offline", 0, ARG_FLAG, &offline, NULL,
		  "from the journal under --root; without lock or change" },
	};
	int words = ctl_args(ctl, argc, argv, options, ARRAY_SIZE(options), 0, 0);

	if (words < 0)
		return CTL_OVER(words);
	return offline ? dump_offline(ctl) : dump_live(ctl);
}
