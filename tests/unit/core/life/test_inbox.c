/* link-with: tests/lib/fixture.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/life/inbox.h"
#include "tests/lib/fixture.h"

struct seen {
	struct inbox *inbox;
	char text[200];
	bool post_more;
};

static void read_one(void *arg, struct inbox_msg *msg)
{
	struct seen *seen = arg;

	ignore(str_format(seen->text + strlen(seen->text), sizeof(seen->text) - strlen(seen->text),
	                  "%d:%u ", msg->kind, msg->conn));
	if (seen->post_more) {
		seen->post_more = false;
		inbox_closed(seen->inbox, 99, "later");
	}
}

static void what_was_posted_before_anyone_reads_is_delivered_in_order(void **arg)
{
	struct fixture *f = *arg;
	struct inbox *inbox = inbox_new(f->loop);
	struct seen seen = { .inbox = inbox };

	inbox_connected(inbox, 1, "10-a", false);
	inbox_answer(inbox, 1, 0, NULL);
	fixture_settle(f);
	inbox_read(inbox, read_one, &seen);
	assert_string_equal(seen.text, ""); /* never inside the call */
	fixture_settle(f);
	assert_string_equal(seen.text, "0:1 1:1 ");
	inbox_free(inbox);
}

static void what_a_reader_posts_comes_in_a_later_turn(void **arg)
{
	struct fixture *f = *arg;
	struct inbox *inbox = inbox_new(f->loop);
	struct seen seen = { .inbox = inbox, .post_more = true };

	inbox_read(inbox, read_one, &seen);
	inbox_connected(inbox, 1, "10-a", false);
	inbox_connected(inbox, 2, "20-b", false);
	fixture_turn(f);
	assert_string_equal(seen.text, "0:1 0:2 ");
	fixture_settle(f);
	assert_string_equal(seen.text, "0:1 0:2 2:99 ");
	inbox_free(inbox);
}

static void a_message_owns_its_resources_to_the_end(void **arg)
{
	struct fixture *f = *arg;
	struct inbox *inbox = inbox_new(f->loop);
	struct seen seen = { .inbox = inbox };
	const struct inbox_msg msg = { .kind = INBOX_UPDATE,
		                       .conn = 3,
		                       .resources = { xmemdup("abc", 3), 3 } };

	inbox_post(inbox, &msg);
	inbox_post(inbox, &(struct inbox_msg){ .kind = INBOX_UPDATE,
	                                       .conn = 4,
	                                       .resources = { xmemdup("abc", 3), 3 } });
	inbox_read(inbox, read_one, &seen);
	inbox_free(inbox); /* undelivered: freed with it */
	assert_string_equal(seen.text, "");
	fixture_settle(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_was_posted_before_anyone_reads_is_delivered_in_order, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(what_a_reader_posts_comes_in_a_later_turn,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_message_owns_its_resources_to_the_end,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
