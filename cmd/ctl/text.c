#include "cmd/ctl/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define PROGRESS_BAR 24

/* --- text of others */

char *text_clean(const char *s)
{
	struct str rest = str_of(s);
	char *clean = xcalloc(1, rest.len + 1);
	size_t n = 0;

	while (rest.len) {
		size_t seq = str_utf8_seq(rest);
		unsigned char c = (unsigned char)rest.p[0];
		/* C1 controls, which some terminals obey, are U+0080..U+009F: c2 80..9f */
		bool control = !seq || c < 0x20 || c == 0x7f ||
		               (c == 0xc2 && (unsigned char)rest.p[1] < 0xa0);

		if (!seq)
			seq = 1;
		if (control) {
			clean[n++] = '?';
		} else {
			memcpy(clean + n, rest.p, seq);
			n += seq;
		}
		rest.p += seq;
		rest.len -= seq;
	}
	return clean;
}

/* Characters, which are columns for all that names are made of. */
static size_t width_of(const char *clean)
{
	size_t n = 0;

	for (; *clean; clean++)
		n += ((unsigned char)*clean & 0xc0) != 0x80;
	return n;
}

/* --- tables */

static void add_cell(struct table *table, char *cell)
{
	table->cells = xrealloc(table->cells, table->ncells + 1, sizeof(*table->cells));
	table->cells[table->ncells++] = cell;
}

void table_init(struct table *table, const char *const *headings)
{
	*table = (struct table){ 0 };
	for (; headings[table->columns]; table->columns++) {
		const char *name = headings[table->columns];

		if (name[0] == '+') {
			table->right |= UINT32_C(1) << table->columns;
			name++;
		}
		add_cell(table, xstrdup(name));
	}
}

void table_add(struct table *table, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add_cell(table, text_clean(text[0] ? text : "-"));
}

void table_print(const struct table *table, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX] = { 0 };

	for (size_t i = 0; i < table->ncells; i++) {
		size_t width = width_of(table->cells[i]);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	for (size_t i = 0; i < table->ncells; i++) {
		size_t column = i % table->columns;
		int pad = (int)(widths[column] - width_of(table->cells[i]));
		bool last = column + 1 == table->columns;

		if (table->right & UINT32_C(1) << column)
			fprintf(out, "%*s%s%s", pad, "", table->cells[i], last ? "\n" : "   ");
		else if (last)
			fprintf(out, "%s\n", table->cells[i]);
		else
			fprintf(out, "%s%*s", table->cells[i], pad + 3, "");
	}
}

void table_release(struct table *table)
{
	for (size_t i = 0; i < table->ncells; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ 0 };
}

/* --- numbers */

void text_bytes(uint64_t bytes, char ret[TEXT_SIZE])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 &&
	       unit + 1 < ARRAY_SIZE(units)) { /* 1023.96 would print as 1024.0 */
		value /= 1024;
		unit++;
	}
	if (unit)
		snprintf(ret, TEXT_SIZE, "%.1f %s", value, units[unit]);
	else
		snprintf(ret, TEXT_SIZE, "%" PRIu64 " B", bytes);
}

void text_age(int64_t then_ns, int64_t now_ns, char ret[TEXT_SIZE])
{
	int64_t s = now_ns > then_ns ? (now_ns - then_ns) / NS_PER_S
	                             : 0; /* the wall clock may have been set back */

	if (then_ns <= 0)
		snprintf(ret, TEXT_SIZE, "-");
	else if (s < 120)
		snprintf(ret, TEXT_SIZE, "%" PRId64 "s", s);
	else if (s < 120 * 60)
		snprintf(ret, TEXT_SIZE, "%" PRId64 "m", s / 60);
	else if (s < 48 * 3600)
		snprintf(ret, TEXT_SIZE, "%" PRId64 "h", s / 3600);
	else
		snprintf(ret, TEXT_SIZE, "%" PRId64 "d", s / 86400);
}

/* --- progress */

void progress_show(struct progress *p, const char *what, uint64_t done, uint64_t total)
{
	char line[256], have[TEXT_SIZE], all[TEXT_SIZE], rate[TEXT_SIZE], bar[PROGRESS_BAR + 1];
	int64_t now = clock_mono_ns();
	size_t n = 0, width;

	if (!p->live)
		return;
	if (!p->started_ns)
		p->started_ns = now;
	text_bytes(done, have);
	text_bytes(total, all);
	text_bytes((uint64_t)((double)done * (double)NS_PER_S /
	                      (double)MAX(now - p->started_ns, NS_PER_MS)),
	           rate);
	if (total) {
		uint64_t filled = done >= total
		                          ? PROGRESS_BAR
		                          : (uint64_t)((double)done / (double)total * PROGRESS_BAR);

		for (; n < PROGRESS_BAR; n++)
			bar[n] = n < filled ? '=' : n == filled ? '>' : ' ';
		bar[n] = '\0';
		snprintf(line, sizeof(line), "%.40s [%s] %s of %s, %s/s", what, bar, have, all,
		         rate);
	} else if (done) {
		snprintf(line, sizeof(line), "%.40s %s, %s/s", what, have, rate);
	} else {
		snprintf(line, sizeof(line), "%.40s ...", what);
	}
	width = strlen(line);
	fprintf(p->out, "\r%s%*s", line, p->width > width ? (int)(p->width - width) : 0, "");
	fflush(p->out);
	p->width = width;
}

void progress_end(struct progress *p)
{
	if (p->width)
		fprintf(p->out, "\r%*s\r", (int)p->width, "");
	fflush(p->out);
	p->width = 0;
}
