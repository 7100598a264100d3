/* cmd/ctl/text.h
 *
 * What people read: aligned tables, sizes, ages, one line of progress.
 */
#ifndef CORACLE_CMD_CTL_TEXT_H
#define CORACLE_CMD_CTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/attr.h"

enum { TABLE_COLUMNS_MAX = 12 };

/* Cells are copied; what a terminal would take for a command is shown as '?': names and labels come from outside. */
struct table {
	char **cells; /* row by row */
	size_t ncells, columns;
	uint32_t right; /* bit per column: aligned to the right */
};

/* @headings: "NAME", "+SIZE" (aligned to the right), ended by NULL. */
void table_init(struct table *table, const char *const *headings);
void table_add(struct table *table, const char *fmt, ...) PRINTF_LIKE(2, 3);
void table_print(const struct table *table, FILE *out);
void table_release(struct table *table);
DEFINE_CLEANUP(struct table, table_release);

#define TEXT_SIZE 32
/* "512 B", "1.5 MiB" */
void text_bytes(uint64_t bytes, char ret[TEXT_SIZE]);
/* How long ago: "7s", "12m", "5h", "3d"; "-" when @then_ns is not positive. */
void text_age(int64_t then_ns, int64_t now_ns, char ret[TEXT_SIZE]);
/* A copy of @s without control characters, on the heap. */
NODISCARD char *text_clean(const char *s);

/*
 * One line that is written over and over while something goes on. Nothing at all where nobody looks (not a terminal).
 * Zero-initialised with out and live.
 */
struct progress {
	FILE *out;
	bool live;
	int64_t started_ns;
	size_t width; /* of what stands there */
};
void progress_show(struct progress *progress, const char *what, uint64_t done, uint64_t total);
void progress_end(struct progress *progress); /* wipes the line */

#endif
