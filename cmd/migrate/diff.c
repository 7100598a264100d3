/* cmd/migrate/diff.c
 *
 * The cuts say what changed, so nothing has to be compared: lines that a cut touches become a region, its old lines
 * followed by what the cuts leave of them; regions closer than two contexts share a hunk.
 */
#include "cmd/migrate/diff.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"

#define CONTEXT 3

struct region {
	uint32_t first, end; /* old lines, from 0 */
	char *text;          /* what becomes of them */
	size_t len;
	uint32_t lines;
};

static uint32_t line_count(const struct toml *toml)
{
	return toml->lines[toml->nlines - 1] == toml->len ? toml->nlines - 1 : toml->nlines;
}

static uint32_t line_start(const struct toml *toml, uint32_t line)
{
	return line < toml->nlines ? toml->lines[line] : toml->len;
}

static uint32_t line_of(const struct toml *toml, uint32_t offset)
{
	return toml_place(toml, offset).line - 1;
}

/* A cut that begins inside a line also touches the line its rest is joined with. */
static struct region touched(const struct toml *toml, const struct migrate_cut *cut)
{
	struct region region = { .first = line_of(toml, cut->start) };
	bool is_inside = line_start(toml, region.first) != cut->start;

	region.end = line_of(toml, is_inside && cut->end < toml->len ? cut->end : cut->end - 1) + 1;
	return region;
}

static uint32_t count_lines(const char *text, size_t len)
{
	uint32_t lines = 0;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines + (len && text[len - 1] != '\n');
}

/* Regions with their new text. */
static size_t find_regions(const struct migrate_edit *edit, struct region *regions)
{
	const struct toml *toml = edit->toml;
	size_t n = 0, c = 0;

	for (size_t i = 0; i < edit->ncuts; i++) {
		struct region region = touched(toml, &edit->cuts[i]);

		if (n && region.first <= regions[n - 1].end)
			regions[n - 1].end = MAX(regions[n - 1].end, region.end);
		else
			regions[n++] = region;
	}
	for (size_t i = 0; i < n; i++) {
		struct region *region = &regions[i];
		uint32_t at = line_start(toml, region->first), end = line_start(toml, region->end);

		region->text = xcalloc(1, (size_t)end - at + 1);
		for (; c < edit->ncuts && edit->cuts[c].start < end; c++) {
			memcpy(region->text + region->len, toml->text + at,
			       edit->cuts[c].start - at);
			region->len += edit->cuts[c].start - at;
			at = edit->cuts[c].end;
		}
		memcpy(region->text + region->len, toml->text + at, end - at);
		region->len += end - at;
		region->lines = count_lines(region->text, region->len);
	}
	return n;
}

static int print_line(struct buf *out, char mark, const char *text, size_t len)
{
	bool is_ended = len && text[len - 1] == '\n';

	if (buf_add(out, &mark, 1) < 0 || buf_add(out, text, len) < 0)
		return -1;
	return is_ended ? 0 : buf_add_str(out, "\n\\ No newline at end of file\n");
}

static int print_old(struct buf *out, const struct toml *toml, char mark, uint32_t first,
                     uint32_t end)
{
	for (uint32_t i = first; i < end; i++) {
		uint32_t start = line_start(toml, i);

		if (print_line(out, mark, toml->text + start, line_start(toml, i + 1) - start) < 0)
			return -1;
	}
	return 0;
}

static int print_new(struct buf *out, const struct region *region)
{
	const char *text = region->text, *end = text + region->len, *newline;

	for (; text < end; text = newline) {
		newline = memchr(text, '\n', (size_t)(end - text));
		newline = newline ? newline + 1 : end;
		if (print_line(out, '+', text, (size_t)(newline - text)) < 0)
			return -1;
	}
	return 0;
}

/* "3,7"; an empty range names the line before it. */
static int print_range(struct buf *out, char mark, uint32_t first, uint32_t count)
{
	if (count == 1)
		return buf_printf(out, " %c%u", mark, first + 1);
	return buf_printf(out, " %c%u,%u", mark, count ? first + 1 : first, count);
}

/* @shift: how many lines the hunks before have taken away. */
static int print_hunk(struct buf *out, const struct toml *toml, const struct region *regions,
                      size_t n, uint32_t *inout_shift)
{
	uint32_t lines = line_count(toml), shift = 0;
	uint32_t first = regions[0].first > CONTEXT ? regions[0].first - CONTEXT : 0;
	uint32_t end = MIN(regions[n - 1].end + CONTEXT, lines), at = first;

	for (size_t i = 0; i < n; i++)
		shift += regions[i].end - regions[i].first - regions[i].lines;
	if (buf_add_str(out, "@@") < 0 || print_range(out, '-', first, end - first) < 0 ||
	    print_range(out, '+', first - *inout_shift, end - first - shift) < 0 ||
	    buf_add_str(out, " @@\n") < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (print_old(out, toml, ' ', at, regions[i].first) < 0 ||
		    print_old(out, toml, '-', regions[i].first, regions[i].end) < 0 ||
		    print_new(out, &regions[i]) < 0)
			return -1;
		at = regions[i].end;
	}
	*inout_shift += shift;
	return print_old(out, toml, ' ', at, end);
}

int migrate_diff(const struct migrate_edit *edit, const char *name, struct buf *out)
{
	cleanup_free struct region *regions = xcalloc(edit->ncuts + 1, sizeof(*regions));
	size_t n = find_regions(edit, regions), i = 0, end;
	uint32_t shift = 0;
	int rc = 0;

	if (n)
		rc = buf_printf(out, "--- %s\n+++ %s (migrated)\n", name, name);
	for (; rc == 0 && i < n; i = end) {
		for (end = i + 1;
		     end < n && regions[end].first <= regions[end - 1].end + 2 * CONTEXT;)
			end++;
		rc = print_hunk(out, edit->toml, regions + i, end - i, &shift);
	}
	for (i = 0; i < n; i++)
		free(regions[i].text);
	return rc;
}
