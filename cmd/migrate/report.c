/* cmd/migrate/report.c: what became of each setting, for people and for programs. Credentials never get here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/migrate/output.h"
#include "core/base/mem.h"
#include "core/base/str.h"

#define SECRET       "***"
#define MAX_VALUE    (64 * 1024)
#define VALUE_COLUMN 48 /* characters of a value in the text report */

/* --------------------------------------------------------------------------------------------------------- values */

static void time_text(const struct toml_value *value, char *out, size_t size)
{
	const struct toml_time *t = value->time;
	char date[24] = "", clock[32] = "", offset[16] = "";

	if (value->type != TOML_TIME_LOCAL)
		snprintf(date, sizeof(date), "%04u-%02u-%02u", t->year, t->month, t->day);
	if (value->type != TOML_DATE_LOCAL) {
		snprintf(clock, sizeof(clock), "%02u:%02u:%02u", t->hour, t->minute, t->second);
		if (t->nanosecond)
			snprintf(clock + 8, sizeof(clock) - 8, ".%09u", t->nanosecond);
	}
	if (value->type == TOML_DATETIME && t->offset_minutes)
		snprintf(offset, sizeof(offset), "%c%02d:%02d", t->offset_minutes < 0 ? '-' : '+',
		         abs(t->offset_minutes) / 60, abs(t->offset_minutes) % 60);
	snprintf(out, size, "%s%s%s%s", date, *date && *clock ? "T" : "", clock,
	         value->type != TOML_DATETIME ? ""
	         : *offset                    ? offset
	                                      : "Z");
}

static yyjson_mut_val *json_string(yyjson_mut_doc *doc, struct str s)
{
	return yyjson_mut_strncpy(doc, s.p, s.len);
}

static yyjson_mut_val *json_value(yyjson_mut_doc *doc, const struct toml_value *value)
{
	char text[80];
	yyjson_mut_val *out;

	switch ((enum toml_type)value->type) {
	case TOML_STRING:
		return json_string(doc, value->string);
	case TOML_INTEGER:
		return yyjson_mut_sint(doc, value->integer);
	case TOML_FLOAT:
		if (isfinite(value->real))
			return yyjson_mut_real(doc, value->real);
		return yyjson_mut_str(doc, isnan(value->real) ? "nan"
		                           : value->real < 0  ? "-inf"
		                                              : "inf");
	case TOML_BOOL:
		return yyjson_mut_bool(doc, value->boolean);
	case TOML_DATETIME:
	case TOML_DATETIME_LOCAL:
	case TOML_DATE_LOCAL:
	case TOML_TIME_LOCAL:
		time_text(value, text, sizeof(text));
		return yyjson_mut_strcpy(doc, text);
	case TOML_ARRAY:
		out = yyjson_mut_arr(doc);
		for (size_t i = 0; i < toml_count(value); i++)
			yyjson_mut_arr_append(out, json_value(doc, toml_item_at(value, i)));
		return out;
	case TOML_TABLE:
		out = yyjson_mut_obj(doc);
		for (size_t i = 0; i < toml_count(value); i++)
			yyjson_mut_obj_add(out, json_string(doc, toml_entry_at(value, i)->key),
			                   json_value(doc, toml_entry_at(value, i)->value));
		return out;
	}
	return yyjson_mut_null(doc);
}

/* The value on one line, as JSON writes it: TOML reads that too, but for tables. */
static char *value_text(const struct toml_value *value)
{
	cleanup(yyjson_mut_doc_free) yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	yyjson_mut_doc_set_root(doc, json_value(doc, value));
	return yyjson_mut_write(doc, 0, NULL);
}

static bool is_bare(struct str part)
{
	for (size_t i = 0; i < part.len; i++) {
		char c = part.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    c != '_' && c != '-')
			return false;
	}
	return part.len > 0;
}

static int print_path(struct buf *out, const struct str *path, uint32_t nparts)
{
	for (uint32_t i = 0; i < nparts; i++) {
		cleanup_free char *copy = str_dup(path[i]);
		cleanup_free char *quoted = is_bare(path[i]) ? NULL : json_quote(copy);

		if (buf_printf(out, "%s%s", i ? "." : "", quoted ? quoted : copy) < 0)
			return -1;
	}
	return 0;
}

/* ----------------------------------------------------------------------------------------------------------- text */

static int print_record(const struct migrate_record *record, struct buf *out)
{
	cleanup(buf_release) struct buf setting = { 0 };
	cleanup_free char *value = record->is_masked ? xstrdup(SECRET) : value_text(record->value);
	bool is_long = value && strlen(value) > VALUE_COLUMN;

	buf_init(&setting, MAX_VALUE);
	if (print_path(&setting, record->path + record->nplace, record->nparts - record->nplace) <
	            0 ||
	    buf_printf(&setting, " = %.*s%s", VALUE_COLUMN, or_empty(value), is_long ? "..." : "") <
	            0 ||
	    buf_printf(out, "  %-8s %4u  %-*s", migrate_action_name(record->action),
	               record->place.line, record->action == MIGRATE_KEPT && !record->note ? 0 : 52,
	               setting.data) < 0)
		return -1;
	if (record->action == MIGRATE_HOSTS &&
	    buf_printf(out, "  %s%shosts.toml", or_empty(record->section),
	               record->section ? "/" : "every ") < 0)
		return -1;
	if (record->action == MIGRATE_CONF &&
	    buf_printf(out, "  [%s] %s = %s%s", record->section, record->key, record->text,
	               record->is_later ? " (later)" : "") < 0)
		return -1;
	if (record->note && buf_printf(out, "  %s", record->note) < 0)
		return -1;
	while (out->len && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	return buf_add_str(out, "\n");
}

static int print_total(const struct migrate_records *records, struct buf *out)
{
	static const struct {
		enum migrate_action action;
		const char *one, *many;
	} words[] = {
		{ MIGRATE_KEPT, "kept", "kept" },
		{ MIGRATE_CONF, "to coracle.conf", "to coracle.conf" },
		{ MIGRATE_HOSTS, "to hosts.toml", "to hosts.toml" },
		{ MIGRATE_DEFAULT, "default", "defaults" },
		{ MIGRATE_OBSOLETE, "obsolete", "obsolete" },
		{ MIGRATE_NONE, "without equivalent", "without equivalent" },
		{ MIGRATE_SECRET, "secret", "secrets" },
		{ MIGRATE_UNKNOWN, "unknown", "unknown" },
		{ MIGRATE_NOTE, "note", "notes" },
	};
	size_t count[MIGRATE_ACTIONS] = { 0 }, later = 0;
	bool is_first = true;

	for (size_t i = 0; i < records->count; i++) {
		count[records->all[i].action]++;
		later += records->all[i].action == MIGRATE_CONF && records->all[i].is_later;
	}
	if (buf_printf(out, "  %zu setting%s", records->count, records->count == 1 ? "" : "s") < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t n = count[words[i].action];

		if (!n)
			continue;
		if (buf_printf(out, "%s%zu %s", is_first ? ": " : ", ", n,
		               n == 1 ? words[i].one : words[i].many) < 0)
			return -1;
		if (words[i].action == MIGRATE_CONF && later &&
		    buf_printf(out, " (%zu of them not read by this version yet)", later) < 0)
			return -1;
		is_first = false;
	}
	return buf_add_str(out, "\n");
}

int migrate_report_text(const struct migrate_report *report, struct buf *out)
{
	if (report->error)
		return buf_printf(out, "%s: %s [%s]\n", report->file, report->error->text,
		                  migrate_code_name(report->error->code));
	if (buf_printf(out, "%s: version %lld", report->file, (long long)report->edit->version) < 0)
		return -1;
	for (size_t i = 0; i < report->edit->ntables; i++)
		if (buf_printf(out, ", plugins.%s%s%s",
		               streq(report->edit->tables[i], MIGRATE_CRI_SHORT) ? "" : "\"",
		               report->edit->tables[i],
		               streq(report->edit->tables[i], MIGRATE_CRI_SHORT) ? "" : "\"") < 0)
			return -1;
	if (buf_add_str(out, "\n") < 0)
		return -1;
	for (size_t i = 0; i < report->records->count; i++)
		if (print_record(&report->records->all[i], out) < 0)
			return -1;
	return print_total(report->records, out);
}

/* ----------------------------------------------------------------------------------------------------------- JSON */

static void json_message(yyjson_mut_doc *doc, yyjson_mut_val *obj,
                         const struct migrate_message *message)
{
	yyjson_mut_obj_add_str(doc, obj, "code", migrate_code_name(message->code));
	yyjson_mut_obj_add_uint(doc, obj, "line", message->place.line);
	yyjson_mut_obj_add_uint(doc, obj, "col", message->place.col);
	yyjson_mut_obj_add_strcpy(doc, obj, "text", message->text);
}

static void json_optional(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *key,
                          const char *text)
{
	if (text)
		yyjson_mut_obj_add_strcpy(doc, obj, key, text);
}

static void json_record(yyjson_mut_doc *doc, yyjson_mut_val *array,
                        const struct migrate_record *record)
{
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, array);
	yyjson_mut_val *path = yyjson_mut_obj_add_arr(doc, obj, "path");

	for (uint32_t i = 0; i < record->nparts; i++)
		yyjson_mut_arr_append(path, json_string(doc, record->path[i]));
	yyjson_mut_obj_add_uint(doc, obj, "line", record->place.line);
	yyjson_mut_obj_add_uint(doc, obj, "col", record->place.col);
	yyjson_mut_obj_add_val(doc, obj, "value",
	                       record->is_masked ? yyjson_mut_str(doc, SECRET)
	                                         : json_value(doc, record->value));
	yyjson_mut_obj_add_str(doc, obj, "action", migrate_action_name(record->action));
	json_optional(doc, obj, "section", record->section);
	json_optional(doc, obj, "key", record->key);
	json_optional(doc, obj, "text", record->text);
	if (record->action == MIGRATE_CONF)
		yyjson_mut_obj_add_bool(doc, obj, "later", record->is_later);
	json_optional(doc, obj, "note", record->note);
}

void migrate_report_json(const struct migrate_report *report, yyjson_mut_doc *doc,
                         yyjson_mut_val *array)
{
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, array), *list;

	yyjson_mut_obj_add_strcpy(doc, obj, "file", report->file);
	yyjson_mut_obj_add_sint(doc, obj, "version", report->edit ? report->edit->version : 0);
	yyjson_mut_obj_add_bool(doc, obj, "changed", report->edit && report->edit->ncuts > 0);
	list = yyjson_mut_obj_add_arr(doc, obj, "tables");
	for (size_t i = 0; report->edit && i < report->edit->ntables; i++)
		yyjson_mut_arr_add_str(doc, list, report->edit->tables[i]);
	list = yyjson_mut_obj_add_arr(doc, obj, "keys");
	for (size_t i = 0; report->records && i < report->records->count; i++)
		json_record(doc, list, &report->records->all[i]);
	list = yyjson_mut_obj_add_arr(doc, obj, "warnings");
	for (size_t i = 0; report->edit && i < report->edit->nwarnings; i++)
		json_message(doc, yyjson_mut_arr_add_obj(doc, list), &report->edit->warnings[i]);
	if (report->error)
		json_message(doc, yyjson_mut_obj_add_obj(doc, obj, "error"), report->error);
	else
		yyjson_mut_obj_add_null(doc, obj, "error");
}
