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
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/spool.h"

struct fixture {
	char root[64];
	struct spool *spool;
	enum exit_verdict verdict;
	char log[512];
	int wakes;
};

static int setup(void **arg)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err err = { 0 };

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(str_copy(f->root, sizeof(f->root), "/tmp/coracle-spool-XXXXXX"), 0);
	assert_non_null(mkdtemp(f->root));
	f->spool = spool_new(f->root, &err);
	assert_non_null(f->spool);
	*arg = f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;

	spool_free(f->spool);
	assert_int_equal(fsx_remove_tree(AT_FDCWD, f->root), 0);
	free(f);
	return 0;
}

static char *path_of(const struct fixture *f, const char *place, const char *name)
{
	return xasprintf("%s/%s/%s", f->root, place, name);
}

static bool is_at(const struct fixture *f, const char *place, const char *name)
{
	cleanup_free char *path = path_of(f, place, name);

	return fsx_exists(path);
}

static void put(const struct fixture *f, const char *place, const char *name, const void *data,
                size_t len)
{
	cleanup_free char *path = path_of(f, place, name);

	assert_int_equal(fsx_write(AT_FDCWD, path, data, len, 0600), 0);
}

static void put_record(const struct fixture *f, const char *place, const char *name, const char *id,
                       bool filled)
{
	struct exit_record rec = { .filled = filled, .pid = 42, .start_ticks = 7, .started_ns = 5 };
	uint8_t data[EXIT_RECORD_BYTES];

	assert_int_equal(str_copy(rec.id, sizeof(rec.id), id), 0);
	if (filled) {
		rec.exited_ns = 9;
		rec.wstatus = 3 << 8;
		rec.exit_code = 3;
	}
	exit_record_encode(&rec, data);
	put(f, place, name, data, sizeof(data));
}

static enum exit_verdict on_exit_record(void *arg, const char *id, const struct exit_record *rec)
{
	struct fixture *f = arg;
	size_t len = strlen(f->log);

	if (rec)
		ignore(str_format(f->log + len, sizeof(f->log) - len, "%s:%u ", id,
		                  rec->exit_code)); /* asserted on */
	else
		ignore(str_format(f->log + len, sizeof(f->log) - len, "%s:damaged ",
		                  id)); /* asserted on */
	return f->verdict;
}

static int scan(struct fixture *f, enum exit_verdict verdict)
{
	struct err err = { 0 };

	f->log[0] = '\0';
	f->verdict = verdict;
	return spool_scan(f->spool, on_exit_record, f, &err);
}

static void directories_are_made_for_us_alone(void **arg)
{
	struct fixture *f = *arg;
	const char *const places[] = { "tmp", "new", "unknown", "bad" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		cleanup_free char *path = path_of(f, places[i], "");
		struct stat st;

		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
	}
}

static void a_record_stays_until_its_exit_is_consumed(void **arg)
{
	struct fixture *f = *arg;

	put_record(f, "new", "c1", "c1", true);
	assert_int_equal(scan(f, EXIT_APPENDED), 1);
	assert_string_equal(f->log, "c1:3 ");
	assert_int_equal(scan(f, EXIT_IN_FLIGHT), 1);
	assert_true(is_at(f, "new", "c1"));
	put_record(f, "tmp", "c1", "c1", true);
	spool_consume(f->spool, "c1");
	assert_false(is_at(f, "new", "c1"));
	assert_false(is_at(f, "tmp", "c1"));
	assert_int_equal(scan(f, EXIT_APPENDED), 0);
}

static void verdicts_move_and_delete(void **arg)
{
	struct fixture *f = *arg;

	put_record(f, "new", "c1", "c1", true);
	assert_int_equal(scan(f, EXIT_CONSUME), 1);
	assert_false(is_at(f, "new", "c1"));
	put_record(f, "new", "c2", "c2", true);
	assert_int_equal(scan(f, EXIT_UNKNOWN), 1);
	assert_true(is_at(f, "unknown", "c2"));
	put_record(f, "new", "c3", "c3", true);
	assert_int_equal(scan(f, EXIT_BAD), 1);
	assert_true(is_at(f, "bad", "c3"));
	assert_int_equal(scan(f, EXIT_BAD), 0);
}

static void damage_is_told_by_name(void **arg)
{
	struct fixture *f = *arg;

	put(f, "new", "c1", "", 0);
	put(f, "new", "c2", "not a record", 12);
	put_record(f, "new", "c3", "other", true); /* another's record under this name */
	put_record(f, "new", "c4", "c4", false);   /* in new/ an exit must be told */
	assert_int_equal(scan(f, EXIT_BAD), 4);
	assert_string_equal(f->log, "c1:damaged c2:damaged c3:damaged c4:damaged ");
	assert_true(is_at(f, "bad", "c4"));
}

static void a_record_of_a_newer_version_is_left_alone(void **arg)
{
	struct fixture *f = *arg;
	struct exit_record rec = { .id = "c1", .filled = true, .exited_ns = 9 };
	uint8_t data[EXIT_RECORD_BYTES];

	exit_record_encode(&rec, data);
	put_le16(data + 8, EXIT_RECORD_VERSION + 1);
	put_le32(data + 132, crc32c(0, data, 132));
	put(f, "new", "c1", data, sizeof(data));
	assert_int_equal(scan(f, EXIT_BAD), 0);
	assert_true(is_at(f, "new", "c1"));
}

static void what_no_monitor_made_is_put_away_unasked(void **arg)
{
	struct fixture *f = *arg;

	put(f, "new", ".swp", "x", 1);
	put(f, "new", "a b", "x", 1);
	assert_int_equal(scan(f, EXIT_APPENDED), 0);
	assert_string_equal(f->log, "");
	assert_true(is_at(f, "bad", ".swp"));
	assert_true(is_at(f, "bad", "a b"));
}

static void one_container_is_looked_for_in_new_then_in_tmp(void **arg)
{
	struct fixture *f = *arg;

	f->verdict = EXIT_APPENDED;
	assert_false(spool_scan_one(f->spool, "c1", true, on_exit_record, f));
	put_record(f, "tmp", "c1", "c1", false);
	assert_false(spool_scan_one(f->spool, "c1", true, on_exit_record,
	                            f)); /* the monitor is not done */
	put_record(f, "tmp", "c1", "c1", true);
	assert_false(spool_scan_one(f->spool, "c1", false, on_exit_record, f));
	assert_true(spool_scan_one(f->spool, "c1", true, on_exit_record, f));
	put_record(f, "new", "c2", "c2", true);
	assert_true(spool_scan_one(f->spool, "c2", false, on_exit_record, f));
	assert_string_equal(f->log, "c1:3 c2:3 ");
}

static void tmp_is_listed(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **ids = NULL;
	struct err err = { 0 };

	put_record(f, "tmp", "c2", "c2", true);
	put_record(f, "tmp", "c1", "c1", false);
	assert_int_equal(spool_list_tmp(f->spool, &ids, &err), 0);
	assert_int_equal(strv_len(ids), 2);
	assert_string_equal(ids[0], "c1");
	assert_string_equal(ids[1], "c2");
}

static void a_read_only_spool_moves_nothing_and_makes_nothing(void **arg)
{
	struct fixture *f = *arg;
	cleanup(strv_free) char **ids = NULL;
	struct err err = { 0 };
	struct spool *other;
	cleanup_free char *empty = xasprintf("%s/none", f->root);

	put_record(f, "new", "c1", "c1", true);
	put(f, "new", ".swp", "x", 1);
	spool_set_readonly(f->spool);
	assert_int_equal(scan(f, EXIT_CONSUME), 1);
	assert_int_equal(scan(f, EXIT_BAD), 1);
	spool_consume(f->spool, "c1");
	assert_true(is_at(f, "new", "c1"));
	assert_true(is_at(f, "new", ".swp"));

	other = spool_new_readonly(empty, &err);
	assert_non_null(other);
	assert_int_equal(spool_scan(other, on_exit_record, f, &err), 0);
	assert_int_equal(spool_list_tmp(other, &ids, &err), 0);
	assert_int_equal(strv_len(ids), 0);
	spool_free(other);
	assert_false(fsx_exists(empty));
}

static void on_wake(void *arg)
{
	((struct fixture *)arg)->wakes++;
}

static void a_rename_into_new_wakes_the_loop(void **arg)
{
	struct fixture *f = *arg;
	cleanup_free char *from = path_of(f, "tmp", "c1"), *to = path_of(f, "new", "c1");
	struct err err = { 0 };
	struct loop *loop = loop_new(&err);

	assert_int_equal(spool_watch(f->spool, loop, on_wake, f, &err), 0);
	put_record(f, "tmp", "c1", "c1", true);
	ignore(loop_turn(loop, false)); /* nothing may have come of that */
	assert_int_equal(f->wakes, 0);
	assert_int_equal(rename(from, to), 0);
	assert_true(loop_turn(loop, false));
	assert_int_equal(f->wakes, 1);
	assert_false(loop_turn(loop, false)); /* drained */
	spool_free(take_ptr(f->spool));
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(directories_are_made_for_us_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_stays_until_its_exit_is_consumed, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(verdicts_move_and_delete, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_is_told_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_of_a_newer_version_is_left_alone, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(what_no_monitor_made_is_put_away_unasked, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(one_container_is_looked_for_in_new_then_in_tmp,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(tmp_is_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_read_only_spool_moves_nothing_and_makes_nothing,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_rename_into_new_wakes_the_loop, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
