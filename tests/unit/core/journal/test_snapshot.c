#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/codec.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/journal/snapshot.h"
#include "core/state/dump.h"
#include "core/state/record.pb.h"

static void apply(struct state *state, enum record_kind kind, const void *msg)
{
	cleanup(buf_release) struct buf payload = { 0 };
	struct record rec = {
		.seq = state->seq + 1, .kind = (uint16_t)kind, .version = 1, .time_ns = 5
	};
	struct err err = { 0 };

	buf_init(&payload, RECORD_MAX_BYTES);
	assert_int_equal(pb_encode_msg(&payload, record_info(rec.kind)->desc, msg, &err), 0);
	rec.payload = (const uint8_t *)payload.data;
	rec.len = (uint32_t)payload.len;
	state_apply(state, &rec);
}

static struct state *sample(void)
{
	struct state *state = state_new();
	char id[ID_SIZE], pod[ID_SIZE];

	assert_int_equal(str_format(id, sizeof(id), "%064x", 1), 0);
	assert_int_equal(str_format(pod, sizeof(pod), "%064x", 2), 0);
	apply(state, RECORD_BOOT, &(rec_Boot){ .version = (char *)"1", .dev = 7 });
	apply(state, RECORD_IMAGE_ADDED, &(rec_Image){ .id = id, .user = (char *)"u" });
	apply(state, RECORD_PLUGIN_SEEN, &(rec_Plugin){ .name = (char *)"10-a" });
	apply(state, RECORD_SANDBOX_CREATING,
	      &(rec_Sandbox){
		      .id = pod, .name = (char *)"p", .uid = (char *)"u", .ns = (char *)"n" });
	apply(state, RECORD_SANDBOX_READY, &(rec_Ref){ .id = pod });
	return state;
}

static int apply_one(void *arg, const struct record *rec, struct err *err UNUSED)
{
	state_apply(arg, rec);
	return 0;
}

static void the_state_comes_back(void **arg UNUSED)
{
	cleanup(state_free) struct state *state = sample();
	cleanup(state_free) struct state *again = state_new();
	cleanup(buf_release) struct buf image = { 0 };
	cleanup_free char *before = NULL, *after = NULL;
	struct err err = { 0 };

	assert_int_equal(snapshot_encode(state, &image, &err), 0);
	assert_int_equal(snapshot_check((uint8_t *)image.data, image.len, state->seq, &err), 0);
	assert_int_equal(snapshot_visit((uint8_t *)image.data, image.len, apply_one, again, &err),
	                 0);
	before = dump_state_text(state, true);
	after = dump_state_text(again, true);
	assert_string_equal(before, after);
	assert_int_equal(again->seq, state->seq);
}

static void every_changed_byte_and_every_cut_is_noticed(void **arg UNUSED)
{
	cleanup(state_free) struct state *state = sample();
	cleanup(buf_release) struct buf image = { 0 };
	struct err err = { 0 };

	assert_int_equal(snapshot_encode(state, &image, &err), 0);
	for (size_t i = 0; i < image.len; i++) {
		image.data[i] ^= 0x10;
		assert_int_equal(snapshot_check((uint8_t *)image.data, image.len, state->seq, &err),
		                 -1);
		image.data[i] ^= 0x10;
		assert_int_equal(snapshot_check((uint8_t *)image.data, i, state->seq, &err), -1);
	}
	err_clear(&err);
	assert_int_equal(snapshot_check((uint8_t *)image.data, image.len, state->seq + 1, &err),
	                 -1); /* under another name */
	assert_int_equal(err.code, CODE_DATA_LOSS);
}

static void a_newer_version_is_told_apart(void **arg UNUSED)
{
	cleanup(state_free) struct state *state = sample();
	cleanup(buf_release) struct buf image = { 0 };
	struct err err = { 0 };

	assert_int_equal(snapshot_encode(state, &image, &err), 0);
	put_le16((uint8_t *)image.data + 8, SNAPSHOT_VERSION + 1);
	put_le32((uint8_t *)image.data + 60, crc32c(0, image.data, 60));
	assert_int_equal(snapshot_check((uint8_t *)image.data, image.len, state->seq, &err), -1);
	assert_int_equal(err.code, CODE_FAILED_PRECONDITION);
}

static void a_name_has_one_spelling(void **arg UNUSED)
{
	char name[SNAPSHOT_NAME_SIZE];
	uint64_t seq;

	snapshot_name(name, 42);
	assert_string_equal(name, "snapshot-00000000000000000042");
	assert_true(snapshot_name_parse(name, &seq));
	assert_int_equal(seq, 42);
	assert_false(snapshot_name_parse("snapshot-42", &seq));
	assert_false(snapshot_name_parse("snapshot-00000000000000000042.tmp", &seq));
	assert_false(snapshot_name_parse("snapshot-99999999999999999999", &seq));
}

static void the_reserve_is_kept_and_not_written_again(void **arg UNUSED)
{
	char root[] = "/tmp/coracle-snapshot-XXXXXX";
	struct err err = { 0 };
	struct stat st;
	ino_t ino;
	int dir;

	assert_non_null(mkdtemp(root));
	dir = disk_open_dir(root, false);
	assert_true(dir >= 0);
	assert_int_equal(snapshot_reserve(dir, 64 * 1024, &err), 0);
	assert_int_equal(fstatat(dir, SNAPSHOT_RESERVE_NAME, &st, 0), 0);
	assert_true(st.st_size >= 16 * 1024);
	ino = st.st_ino;
	assert_int_equal(snapshot_reserve(dir, 64 * 1024, &err), 0);
	assert_int_equal(fstatat(dir, SNAPSHOT_RESERVE_NAME, &st, 0), 0);
	assert_int_equal(st.st_ino, ino);
	disk_close(dir);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, root), 0);
}

static void the_applet_says_what_it_wants_and_what_is_wrong(void **arg UNUSED)
{
	char *none[] = { (char *)"snapshot", NULL };
	char *word[] = { (char *)"snapshot", (char *)"/tmp", (char *)"x", NULL };
	char *missing[] = { (char *)"snapshot", (char *)"/nonexistent/journal", (char *)"7", NULL };

	assert_int_equal(snapshot_main(1, none), 2);
	assert_int_equal(snapshot_main(3, word), 2);
	assert_int_equal(snapshot_main(3, missing), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_state_comes_back),
		cmocka_unit_test(every_changed_byte_and_every_cut_is_noticed),
		cmocka_unit_test(a_newer_version_is_told_apart),
		cmocka_unit_test(a_name_has_one_spelling),
		cmocka_unit_test(the_reserve_is_kept_and_not_written_again),
		cmocka_unit_test(the_applet_says_what_it_wants_and_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
