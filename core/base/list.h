/* core/base/list.h
 *
 * Intrusive circular doubly linked list (musl has no sys/queue.h). A struct list is a head or a
 * link.
 */
#ifndef CORACLE_CORE_BASE_LIST_H
#define CORACLE_CORE_BASE_LIST_H

#include <stdbool.h>

#include "core/base/attr.h"

struct list {
	struct list *prev, *next;
};

#define LIST_INIT(name)                                                                            \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* On a list (linked), as opposed to initialised or removed. */
static inline bool list_linked(const struct list *l)
{
	return l->next && l->next != l;
}

static inline void list_insert_after(struct list *at, struct list *l)
{
	l->prev = at;
	l->next = at->next;
	at->next->prev = l;
	at->next = l;
}

static inline void list_push_back(struct list *head, struct list *l)
{
	list_insert_after(head->prev, l);
}

static inline void list_push_front(struct list *head, struct list *l)
{
	list_insert_after(head, l);
}

/* Safe on an initialised link that is on no list. */
static inline void list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

static inline struct list *list_pop_front(struct list *head)
{
	struct list *l = head->next;

	if (l == head)
		return NULL;
	list_remove(l);
	return l;
}

/* Move everything of @from to the end of @to. */
static inline void list_splice_back(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_entry(l, type, member) container_of(l, type, member)
#define list_for_each(l, head)      for (struct list *l = (head)->next; l != (head); l = l->next)
/* The current link may be removed in the body; nothing else may. */
#define list_for_each_safe(l, head)                                                                \
	for (struct list *l = (head)->next, *l##_next = l->next; l != (head);                      \
	     l = l##_next, l##_next = l->next)

#endif
