/* cmd/ctl/stats.c: stats. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cmd/ctl/ctl.h"
#include "cmd/ctl/resolve.h"
#include "cmd/ctl/verbs.h"
#include "cmd/engine.h"
#include "core/base/str.h"

#define INTERVAL_S 1 /* over which the processor share is measured */

static int fetch(struct ctl *ctl, cri_ListContainerStatsResponse *ret, struct err *err)
{
	const cri_ListContainerStatsRequest request = { 0 };

	return CALL_RUNTIME(ctl, ListContainerStats, &request, ret, READ_TIMEOUT_MS, err);
}

static const cri_ContainerStats *find(const cri_ListContainerStatsResponse *list, const char *id)
{
	for (size_t i = 0; i < list->stats_count; i++)
		if (streq(list->stats[i].attributes.id, id))
			return &list->stats[i];
	return NULL;
}

/* Hundredths of a percent of one processor between two samples; -1: not known. */
static int64_t cpu_share(const cri_ContainerStats *before, const cri_ContainerStats *after)
{
	int64_t ns = before ? after->cpu.timestamp - before->cpu.timestamp : 0;

	if (ns <= 0 || !before->cpu.has_usage_core_nano_seconds ||
	    !after->cpu.has_usage_core_nano_seconds ||
	    after->cpu.usage_core_nano_seconds.value < before->cpu.usage_core_nano_seconds.value)
		return -1;
	return (int64_t)((double)(after->cpu.usage_core_nano_seconds.value -
	                          before->cpu.usage_core_nano_seconds.value) *
	                 10000 / (double)ns);
}

static void put_bytes(struct table *table, bool has, uint64_t bytes)
{
	char text[TEXT_SIZE] = "";

	if (has)
		text_bytes(bytes, text);
	table_add(table, "%s", text);
}

static void put_row(struct table *table, const cri_ContainerStats *s, int64_t share)
{
	table_add(table, "%.12s", or_empty(s->attributes.id));
	table_add(table, "%s", or_empty(s->attributes.metadata.name));
	if (share >= 0)
		table_add(table, "%" PRId64 ".%02" PRId64 "%%", share / 100, share % 100);
	else
		table_add(table, "%s", "");
	if (s->cpu.has_usage_core_nano_seconds)
		table_add(table, "%.2fs", (double)s->cpu.usage_core_nano_seconds.value / 1e9);
	else
		table_add(table, "%s", "");
	put_bytes(table, s->memory.has_working_set_bytes, s->memory.working_set_bytes.value);
	put_bytes(table, s->memory.has_rss_bytes, s->memory.rss_bytes.value);
	put_bytes(table, s->writable_layer.has_used_bytes, s->writable_layer.used_bytes.value);
}

static void put_uint(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key, bool has,
                     uint64_t value)
{
	if (has)
		yyjson_mut_obj_add_uint(doc, obj, key, value);
}

static void put_json(yyjson_mut_doc *doc, yyjson_mut_val *arr, const cri_ContainerStats *s,
                     int64_t share)
{
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);

	yyjson_mut_obj_add_strcpy(doc, obj, "id", or_empty(s->attributes.id));
	yyjson_mut_obj_add_strcpy(doc, obj, "name", or_empty(s->attributes.metadata.name));
	ctl_json_time(doc, obj, "time", s->cpu.timestamp);
	if (share >= 0)
		yyjson_mut_obj_add_real(doc, obj, "cpu_percent", (double)share / 100);
	put_uint(doc, obj, "cpu_ns", s->cpu.has_usage_core_nano_seconds,
	         s->cpu.usage_core_nano_seconds.value);
	put_uint(doc, obj, "memory_working_set_bytes", s->memory.has_working_set_bytes,
	         s->memory.working_set_bytes.value);
	put_uint(doc, obj, "memory_usage_bytes", s->memory.has_usage_bytes,
	         s->memory.usage_bytes.value);
	put_uint(doc, obj, "memory_rss_bytes", s->memory.has_rss_bytes, s->memory.rss_bytes.value);
	put_uint(doc, obj, "swap_bytes", s->swap.has_swap_usage_bytes,
	         s->swap.swap_usage_bytes.value);
	put_uint(doc, obj, "disk_bytes", s->writable_layer.has_used_bytes,
	         s->writable_layer.used_bytes.value);
	put_uint(doc, obj, "disk_inodes", s->writable_layer.has_inodes_used,
	         s->writable_layer.inodes_used.value);
}

static bool is_wanted(const cri_ContainerStats *s, const cri_Container **wanted, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (streq(wanted[i]->id, s->attributes.id))
			return true;
	return n == 0;
}

int verb_stats(struct ctl *ctl, int argc, char **argv)
{
	static const char *const headings[] = { "CONTAINER", "NAME", "+CPU",  "+CPU TIME",
		                                "+MEMORY",   "+RSS", "+DISK", NULL };
	int words = ctl_args(ctl, argc, argv, NULL, 0, 0, -1);
	cleanup(table_release) struct table table = { 0 };
	cri_ListContainerStatsResponse before, after;
	const cri_Container **wanted;
	yyjson_mut_doc *doc = NULL;
	yyjson_mut_val *arr = NULL;
	struct objects objects;
	struct err err = { 0 };

	table_init(&table, headings);
	if (words < 0)
		return CTL_OVER(words);
	if (ctl_connect(ctl) < 0)
		return EXIT_FAILED;
	wanted = ctl_alloc(ctl, (size_t)words * sizeof(*wanted));
	if (words && objects_fetch(ctl, &objects, &err) < 0)
		return ctl_fail(ctl, &err);
	for (int i = 0; i < words; i++) {
		wanted[i] = resolve_container(&objects, argv[1 + i], &err);
		if (!wanted[i])
			return ctl_fail(ctl, &err);
	}
	if (fetch(ctl, &before, &err) < 0)
		return ctl_fail(ctl, &err);
	nanosleep(&(struct timespec){ .tv_sec = INTERVAL_S }, NULL);
	if (fetch(ctl, &after, &err) < 0)
		return ctl_fail(ctl, &err);
	if (ctl->json) {
		doc = yyjson_mut_doc_new(NULL);
		arr = yyjson_mut_arr(doc);
	}
	for (size_t i = 0; i < after.stats_count; i++) {
		const cri_ContainerStats *s = &after.stats[i];
		int64_t share = cpu_share(find(&before, s->attributes.id), s);

		if (!is_wanted(s, wanted, (size_t)words))
			continue;
		if (ctl->json)
			put_json(doc, arr, s, share);
		else
			put_row(&table, s, share);
	}
	if (ctl->json)
		return ctl_print_json(ctl, doc, arr, true);
	table_print(&table, stdout);
	return ctl_flush(ctl);
}
