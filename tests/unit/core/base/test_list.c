#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/list.h"

struct item {
	int id;
	struct list link;
};

/* The ids in order as one decimal number: 123 */
static int digits(struct list *head)
{
	int number = 0;

	list_for_each(l, head)
		number = number * 10 + list_entry(l, struct item, link)->id;
	return number;
}

static void items_stay_in_the_order_they_were_put(void **arg)
{
	struct item a = { .id = 1 }, b = { .id = 2 }, c = { .id = 3 }, d = { .id = 4 };
	struct list head = LIST_INIT(head);

	(void)arg;
	assert_true(list_empty(&head));
	assert_null(list_pop_front(&head));
	list_push_back(&head, &b.link);
	list_push_back(&head, &d.link);
	list_push_front(&head, &a.link);
	list_insert_after(&b.link, &c.link);
	assert_int_equal(digits(&head), 1234);
	assert_ptr_equal(list_entry(list_pop_front(&head), struct item, link), &a);
	assert_int_equal(digits(&head), 234);
}

static void a_removed_link_knows_it_and_may_be_removed_again(void **arg)
{
	struct item a = { .id = 1 }, b = { .id = 2 };
	struct list head = LIST_INIT(head);

	(void)arg;
	assert_false(list_linked(&a.link)); /* zeroed */
	list_init(&b.link);
	assert_false(list_linked(&b.link));
	list_push_back(&head, &a.link);
	list_push_back(&head, &b.link);
	assert_true(list_linked(&a.link));
	list_remove(&a.link);
	assert_false(list_linked(&a.link));
	list_remove(&a.link);
	assert_int_equal(digits(&head), 2);
}

static void the_current_item_may_go_while_walking(void **arg)
{
	struct item items[4] = { { .id = 1 }, { .id = 2 }, { .id = 3 }, { .id = 4 } };
	struct list head = LIST_INIT(head);

	(void)arg;
	for (int i = 0; i < 4; i++)
		list_push_back(&head, &items[i].link);
	list_for_each_safe(l, &head)
		if (list_entry(l, struct item, link)->id % 2)
			list_remove(l);
	assert_int_equal(digits(&head), 24);
}

static void splicing_moves_everything_to_the_end(void **arg)
{
	struct item items[3] = { { .id = 1 }, { .id = 2 }, { .id = 3 } };
	struct list to = LIST_INIT(to), from = LIST_INIT(from);

	(void)arg;
	list_push_back(&to, &items[0].link);
	list_splice_back(&to, &from);
	assert_int_equal(digits(&to), 1);
	list_push_back(&from, &items[1].link);
	list_push_back(&from, &items[2].link);
	list_splice_back(&to, &from);
	assert_int_equal(digits(&to), 123);
	assert_true(list_empty(&from));
	list_remove(&items[2].link);
	assert_int_equal(digits(&to), 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_stay_in_the_order_they_were_put),
		cmocka_unit_test(a_removed_link_knows_it_and_may_be_removed_again),
		cmocka_unit_test(the_current_item_may_go_while_walking),
		cmocka_unit_test(splicing_moves_everything_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
