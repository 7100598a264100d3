/* cmd/recover_history.c
 *
 * The journal as a story: one line per record, of everything or of one object, and the state as it was after any record that is
 * still there ([journal] keep).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/recover.h"
#include "core/base/clock.h"
#include "core/base/codec.h"
#include "core/base/json.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/str.h"
#include "core/image/ref.h"
#include "core/state/dump.h"
#include "core/state/record.pb.h"

#define DECODE_BUDGET (64 * 1024 * 1024)

/* --- one record */

#define SUBJECT(...) snprintf(t->subject, sizeof(t->subject), __VA_ARGS__)
#define NAME(...)    snprintf(t->name, sizeof(t->name), __VA_ARGS__)
#define TEXT(...)    snprintf(t->text, sizeof(t->text), __VA_ARGS__)

static void describe_boot(const rec_Boot *msg, struct record_text *t)
{
	char boot[33] = "?";

	if (msg->boot_id && msg->boot_id->size == 16)
		hex_encode(msg->boot_id->bytes, 16, boot);
	TEXT("coracle %s starts, boot %.8s", or_empty(msg->version), boot);
}

static void describe_removing(const rec_Removing *msg, struct record_text *t)
{
	SUBJECT("%s", or_empty(msg->id));
	if (msg->step)
		TEXT("%s is stuck at step %u", msg->undo ? "undo of its creation" : "removal",
		     msg->step - 1);
	else
		TEXT("%s", msg->undo ? "its creation is undone" : "is being removed");
}

static void describe_sandbox(const rec_Sandbox *msg, struct record_text *t)
{
	SUBJECT("%s", or_empty(msg->id));
	NAME("pod %s/%s", or_empty(msg->ns), or_empty(msg->name));
	TEXT("pod %s/%s, uid %s, attempt %" PRIu32 ", runtime %s", or_empty(msg->ns),
	     or_empty(msg->name), or_empty(msg->uid), msg->attempt, or_empty(msg->runtime));
}

static void describe_container(const rec_Container *msg, struct record_text *t)
{
	SUBJECT("%s", or_empty(msg->id));
	snprintf(t->owner, sizeof(t->owner), "%s", or_empty(msg->sandbox_id));
	NAME("container %s of pod %.12s", or_empty(msg->name), or_empty(msg->sandbox_id));
	TEXT("container %s of pod %.12s, attempt %" PRIu32 ", image %s%s", or_empty(msg->name),
	     or_empty(msg->sandbox_id), msg->attempt, or_empty(msg->image_ref),
	     msg->hidden ? ", pause" : "");
}

static void describe_network(const rec_SandboxNetwork *msg, struct record_text *t)
{
	size_t n;

	SUBJECT("%s", or_empty(msg->id));
	n = (size_t)TEXT("network is up:");
	for (size_t i = 0; i < msg->ips_count && n < sizeof(t->text); i++)
		n += (size_t)snprintf(t->text + n, sizeof(t->text) - n, " %s",
		                      or_empty(msg->ips[i]));
}

static void describe_exited(const rec_ContainerExited *msg, struct record_text *t)
{
	SUBJECT("%s", or_empty(msg->id));
	TEXT("exit code %" PRId32 " (%s)%s%s", msg->exit_code, or_empty(msg->reason),
	     or_empty(msg->message)[0] ? ": " : "", or_empty(msg->message));
}

static void describe_names(const char *what, char *const *names, size_t count,
                           struct record_text *t)
{
	size_t n = (size_t)TEXT("%s", what);

	for (size_t i = 0; i < count && n < sizeof(t->text); i++)
		n += (size_t)snprintf(t->text + n, sizeof(t->text) - n, " %s", or_empty(names[i]));
	n = (size_t)NAME("image");
	for (size_t i = 0; i < count && n < sizeof(t->name); i++)
		n += (size_t)snprintf(t->name + n, sizeof(t->name) - n, " %s", or_empty(names[i]));
}

static void describe_ref(enum record_kind kind, const rec_Ref *msg, struct record_text *t)
{
	static const char *const texts[] = {
		[RECORD_SANDBOX_READY] = "ready",
		[RECORD_SANDBOX_STOPPING] = "is being stopped; its containers have ended",
		[RECORD_SANDBOX_STOPPED] = "stopped: network down, namespaces gone",
		[RECORD_SANDBOX_REMOVED] = "removed",
		[RECORD_CONTAINER_CREATED] = "created",
		[RECORD_CONTAINER_REMOVED] = "removed",
		[RECORD_IMAGE_REMOVED] = "removed",
	};

	SUBJECT("%s", or_empty(msg->id));
	TEXT("%s", kind < ARRAY_SIZE(texts) ? or_empty(texts[kind]) : "");
}

static void describe_plugin(const rec_Plugin *msg, const char *what, struct record_text *t)
{
	SUBJECT("%s", or_empty(msg->name));
	TEXT("plugin %s%s", what, msg->preinstalled ? ", pre-installed" : "");
}

static void describe_resources(const rec_Resources *msg, struct record_text *t)
{
	SUBJECT("%s", or_empty(msg->id));
	TEXT("new resources, %zu bytes", msg->resources ? (size_t)msg->resources->size : 0);
}

static void describe_message(enum record_kind kind, const void *msg, struct record_text *t)
{
	switch (kind) {
	case RECORD_BOOT:
		describe_boot(msg, t);
		break;
	case RECORD_SANDBOX_CREATING:
	case RECORD_SNAP_SANDBOX:
		describe_sandbox(msg, t);
		break;
	case RECORD_SANDBOX_NAMESPACES:
		SUBJECT("%s", or_empty(((const rec_SandboxNamespaces *)msg)->id));
		TEXT("namespaces are pinned");
		break;
	case RECORD_SANDBOX_NETWORK_INTENT:
		SUBJECT("%s", or_empty(((const rec_SandboxNetworkIntent *)msg)->id));
		TEXT("network is about to be set up");
		break;
	case RECORD_SANDBOX_NETWORK:
		describe_network(msg, t);
		break;
	case RECORD_SANDBOX_READY:
	case RECORD_SANDBOX_STOPPING:
	case RECORD_SANDBOX_STOPPED:
	case RECORD_SANDBOX_REMOVED:
	case RECORD_CONTAINER_CREATED:
	case RECORD_CONTAINER_REMOVED:
	case RECORD_IMAGE_REMOVED:
		describe_ref(kind, msg, t);
		break;
	case RECORD_SANDBOX_REMOVING:
	case RECORD_CONTAINER_REMOVING:
		describe_removing(msg, t);
		break;
	case RECORD_SANDBOX_RESOURCES:
	case RECORD_CONTAINER_RESOURCES:
		describe_resources(msg, t);
		break;
	case RECORD_CONTAINER_CREATING:
	case RECORD_SNAP_CONTAINER:
		describe_container(msg, t);
		break;
	case RECORD_CONTAINER_STARTING:
		SUBJECT("%s", or_empty(((const rec_ContainerStarting *)msg)->id));
		TEXT("is being started");
		break;
	case RECORD_CONTAINER_RUNNING:
		SUBJECT("%s", or_empty(((const rec_ContainerRunning *)msg)->id));
		TEXT("runs, pid %" PRId32, ((const rec_ContainerRunning *)msg)->pid);
		break;
	case RECORD_CONTAINER_STOPPING:
		SUBJECT("%s", or_empty(((const rec_ContainerStopping *)msg)->id));
		TEXT("is being stopped with signal %" PRId32,
		     ((const rec_ContainerStopping *)msg)->signal);
		break;
	case RECORD_CONTAINER_EXITED:
		describe_exited(msg, t);
		break;
	case RECORD_PLUGIN_SEEN:
	case RECORD_SNAP_PLUGIN:
		describe_plugin(msg, "seen", t);
		break;
	case RECORD_PLUGIN_FORGOTTEN:
		describe_plugin(msg, "forgotten: nothing is owed to it any more", t);
		break;
	case RECORD_PLUGIN_ACKED:
		SUBJECT("%s", or_empty(((const rec_PluginAcked *)msg)->name));
		TEXT("plugin has heard all up to %" PRIu64, ((const rec_PluginAcked *)msg)->cursor);
		break;
	case RECORD_PLUGIN_CAPPED:
		SUBJECT("%s", or_empty(((const rec_PluginAcked *)msg)->name));
		TEXT("too much was owed to this plugin: all up to %" PRIu64 " is dropped",
		     ((const rec_PluginAcked *)msg)->cursor);
		break;
	case RECORD_IMAGE_ADDED:
	case RECORD_SNAP_IMAGE:
		SUBJECT("%s", or_empty(((const rec_Image *)msg)->id));
		describe_names("image", ((const rec_Image *)msg)->names,
		               ((const rec_Image *)msg)->names_count, t);
		break;
	case RECORD_IMAGE_NAMED:
		SUBJECT("%s", or_empty(((const rec_ImageNamed *)msg)->id));
		describe_names("image is now called", ((const rec_ImageNamed *)msg)->names,
		               ((const rec_ImageNamed *)msg)->names_count, t);
		break;
	case RECORD_RUNTIME_CONFIG:
		TEXT("pod network is %s", or_empty(((const rec_RuntimeConfig *)msg)->pod_cidr));
		break;
	case RECORD_SNAP_META:
		TEXT("what is older has been folded into a snapshot");
		break;
	case RECORD_SNAP_QUARANTINE:
		SUBJECT("%s", or_empty(((const rec_Quarantine *)msg)->id));
		TEXT("in quarantine: %s", or_empty(((const rec_Quarantine *)msg)->why));
		break;
	case RECORD_INVALID:
		break;
	}
}

void record_describe(const struct record *rec, struct record_text *t)
{
	const struct record_info *info = record_info(rec->kind);
	cleanup(pb_arena_free) struct pb_arena *arena = NULL;
	cleanup_free void *msg = NULL;
	struct err err = { 0 };

	*t = (struct record_text){ 0 };
	if (!info) {
		TEXT("kind %u is not known to this version", rec->kind);
		return;
	}
	arena = pb_arena_new(DECODE_BUDGET);
	msg = xcalloc(1, info->struct_size);
	if (pb_decode_msg(arena, info->desc, msg, rec->payload, rec->len, info->name, &err) < 0)
		TEXT("cannot be followed: %s", err.msg);
	else
		describe_message(info->kind, msg, t);
}

/* --- whom does a word mean? Ids, beginnings of ids and names of everything that ever was. */

struct search {
	const char *word, *image; /* image: as the store spells it */
	char found[96], other[96];
	char found_owner[96], other_owner[96]; /* pods of containers */
	size_t count;
};

static void search_hit(struct search *s, const struct record_text *t)
{
	if (streq(t->subject, s->found) || streq(t->subject, s->other))
		return;
	memcpy(s->count ? s->other : s->found, t->subject, sizeof(s->found));
	memcpy(s->count ? s->other_owner : s->found_owner, t->owner, sizeof(s->found_owner));
	s->count++;
}

/* "container web of pod ..." and "pod default/web" are both called web; "image docker.io/library/web:1 ..." is called so */
static bool is_named(const struct search *s, const struct record_text *t)
{
	struct str kind, rest, word, part;

	if (!str_cut(str_of(t->name), ' ', &kind, &rest))
		return false;
	while (rest.len) {
		str_cut(rest, ' ', &word, &rest);
		if (str_eq_c(word, s->word) || (s->image && str_eq_c(word, s->image)))
			return true;
		if (str_eq_c(kind, "pod") && str_cut(word, '/', &part, &word) &&
		    str_eq_c(word, s->word))
			return true;
		if (!str_eq_c(kind, "image")) /* the rest is no name */
			return false;
	}
	return false;
}

static bool begins(const char *subject, const char *word)
{
	return starts_with(subject, word) ||
	       (starts_with(subject, "sha256:") && starts_with(subject + strlen("sha256:"), word));
}

static int search_record(void *arg, const struct record *rec, struct err *err UNUSED)
{
	struct search *s = arg;
	struct record_text t;

	record_describe(rec, &t);
	if (!t.subject[0])
		return 0;
	if (streq(t.subject, s->word)) {
		memcpy(s->found, t.subject, sizeof(s->found));
		s->count = 1;
		return 0;
	}
	if (streq(s->found, s->word)) /* exactly what was asked for: no need to guess */
		return 0;
	if (is_named(s, &t) || begins(t.subject, s->word))
		search_hit(s, &t);
	return 0;
}

static int find_subject(const char *dir, const char *word, char ret[96], struct err *err)
{
	cleanup_free char *image = NULL;
	struct search s = { .word = word };
	struct journal_report report;
	struct err no_image = { 0 };

	if (ref_canonical(str_of(word), &image, &no_image) ==
	    0) /* most words are no reference, and need not be */
		s.image = image;
	if (journal_visit(dir, search_record, &s, &report, err) < 0)
		return -1;
	/* a container that is called like its pod: what happened, happened to it */
	if (s.count == 2 && streq(s.other_owner, s.found)) {
		memcpy(s.found, s.other, sizeof(s.found));
		s.count = 1;
	}
	if (!s.count)
		return err_set(err, CODE_NOT_FOUND, "the journal knows no '%.80s'", word);
	if (s.count > 1)
		return err_set(err, CODE_INVALID_ARGUMENT, "'%.80s' may be any of %.24s, %.24s%s",
		               word, s.found, s.other, s.count > 2 ? ", ..." : "");
	memcpy(ret, s.found, sizeof(s.found));
	return 0;
}

/* --- timeline */

struct timeline {
	const char *subject; /* NULL: all */
	yyjson_mut_doc *doc; /* NULL: text */
	yyjson_mut_val *arr;
	size_t shown;
	char name[256];
};

static void timeline_json(struct timeline *tl, const struct record *rec,
                          const struct record_text *t)
{
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(tl->doc, tl->arr);
	char time[CLOCK_TEXT_SIZE];

	clock_format_utc(rec->time_ns, time);
	yyjson_mut_obj_add_uint(tl->doc, obj, "seq", rec->seq);
	yyjson_mut_obj_add_strcpy(tl->doc, obj, "time", time);
	yyjson_mut_obj_add_str(tl->doc, obj, "record", record_name(rec->kind));
	yyjson_mut_obj_add_strcpy(tl->doc, obj, "id", t->subject);
	yyjson_mut_obj_add_strcpy(tl->doc, obj, "text", t->text);
}

static int timeline_record(void *arg, const struct record *rec, struct err *err UNUSED)
{
	struct timeline *tl = arg;
	const char *shown;
	struct record_text t;
	char time[CLOCK_TEXT_SIZE];

	record_describe(rec, &t);
	if (tl->subject && !streq(t.subject, tl->subject))
		return 0;
	if (t.name[0])
		memcpy(tl->name, t.name, sizeof(tl->name));
	if (!tl->subject && rec->kind > RECORD_SNAP_META)
		return 0; /* the objects of a snapshot did not happen then */
	tl->shown++;
	if (tl->doc) {
		timeline_json(tl, rec, &t);
		return 0;
	}
	clock_format_utc(rec->time_ns, time);
	shown = starts_with(t.subject, "sha256:") ? t.subject + strlen("sha256:") : t.subject;
	printf("%8" PRIu64 "  %s  %-22s  ", rec->seq, time, record_name(rec->kind));
	if (!tl->subject)
		printf("%-12.12s  ", shown);
	puts(t.text);
	return 0;
}

static void timeline_run(struct timeline *tl, const char *dir, struct err *err)
{
	struct journal_report report;

	if (journal_visit(dir, timeline_record, tl, &report, err) == 0 && report.damage[0])
		fprintf(stderr, "coracle recover: %s\n", report.damage);
}

static int fail(const struct err *err)
{
	fprintf(stderr, "coracle recover: %s\n", err->msg);
	return EXIT_FAILED;
}

static int print_doc(yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	cleanup_free char *text = NULL;

	yyjson_mut_doc_set_root(doc, root);
	text = json_write(doc, true, NULL);
	yyjson_mut_doc_free(doc);
	puts(text);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

int recover_timeline(const struct config *config, const char *id, bool json)
{
	cleanup_free char *dir = xasprintf("%s/journal", config->root);
	struct timeline tl = { 0 };
	struct err err = { 0 };
	char subject[96];

	if (id) {
		if (find_subject(dir, id, subject, &err) < 0)
			return fail(&err);
		tl.subject = subject;
	}
	if (json) {
		tl.doc = yyjson_mut_doc_new(NULL);
		tl.arr = yyjson_mut_arr(tl.doc);
	}
	timeline_run(&tl, dir, &err);
	if (err.code) {
		yyjson_mut_doc_free(tl.doc);
		return fail(&err);
	}
	return json ? print_doc(tl.doc, tl.arr) : fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* --- explain: the story of one object, and how it goes on */

static void explain_container(const struct container *c, char text[RECORD_TEXT])
{
	if (c->state == CONTAINER_GONE)
		snprintf(text, RECORD_TEXT, "removed; kept for plugins that have not heard of it");
	else if (c->state == CONTAINER_EXITED || c->state == CONTAINER_REMOVING)
		snprintf(text, RECORD_TEXT, "%s, exit code %d (%s)%s%s",
		         container_state_name(c->state), c->exit_code, c->reason,
		         c->message[0] ? ": " : "", c->message);
	else if (c->pid)
		snprintf(text, RECORD_TEXT, "%s, pid %d", container_state_name(c->state),
		         (int)c->pid);
	else
		snprintf(text, RECORD_TEXT, "%s", container_state_name(c->state));
}

static void explain_now(const struct state *state, const char *subject, char text[RECORD_TEXT])
{
	const struct sandbox *sb = sandbox_get(state, subject);
	const struct container *c = container_get(state, subject);
	const struct image *image = image_get(state, subject);
	int slot = plugin_slot(state, subject);

	if (c)
		explain_container(c, text);
	else if (sb && sb->state == SANDBOX_GONE)
		snprintf(text, RECORD_TEXT, "removed; kept for plugins that have not heard of it");
	else if (sb)
		snprintf(text, RECORD_TEXT, "%s%s", sandbox_state_name(sb->state),
		         sb->stopped ? ", stopped" : "");
	else if (image)
		snprintf(text, RECORD_TEXT, "here, %" PRIu64 " bytes", image->size_bytes);
	else if (slot >= 0)
		snprintf(text, RECORD_TEXT, "known, has heard all up to %" PRIu64,
		         state->plugins[slot].cursor);
	else
		snprintf(text, RECORD_TEXT, "gone");
}

/* What each plugin is still to be told about @subject (or, if it is a plugin, what that one is). */
typedef void (*owed_fn)(void *arg, const char *plugin, const struct owed *owed);
static void for_each_owed(const struct state *state, const char *subject, owed_fn fn, void *arg)
{
	for (int slot = 0; slot < PLUGIN_MAX; slot++) {
		const char *name = state->plugins[slot].name;
		struct owed *owed;
		size_t n;

		if (!name)
			continue;
		n = state_owed(state, slot, &owed);
		for (size_t i = 0; i < n; i++)
			if (streq(owed[i].id, subject) || streq(name, subject))
				fn(arg, name, &owed[i]);
		free(owed);
	}
}

void recover_print_owed(const char *plugin, const struct owed *owed)
{
	bool pod = owed->kind == OWED_SANDBOX_STOP || owed->kind == OWED_SANDBOX_REMOVE;
	bool stop = owed->kind == OWED_SANDBOX_STOP || owed->kind == OWED_CONTAINER_STOP;

	printf("owed:  plugin %s is to hear that %s %.12s %s (record %" PRIu64 ")\n", plugin,
	       pod ? "pod" : "container", owed->id, stop ? "stopped" : "was removed", owed->seq);
}

static void print_owed(void *arg UNUSED, const char *plugin, const struct owed *owed)
{
	recover_print_owed(plugin, owed);
}

struct owed_json {
	yyjson_mut_doc *doc;
	yyjson_mut_val *arr;
};

static void add_owed(void *arg, const char *plugin, const struct owed *owed)
{
	struct owed_json *json = arg;
	yyjson_mut_val *obj = yyjson_mut_arr_add_obj(json->doc, json->arr);

	yyjson_mut_obj_add_strcpy(json->doc, obj, "plugin", plugin);
	yyjson_mut_obj_add_uint(json->doc, obj, "seq", owed->seq);
	yyjson_mut_obj_add_strcpy(json->doc, obj, "id", owed->id);
}

/* Lines of the report name objects by twelve characters. */
static bool line_is_about(const struct replay_line *line, const char *subject)
{
	char shown[13];

	snprintf(shown, sizeof(shown), "%.12s", subject);
	return strlen(shown) == 12 && strstr(line->text, shown);
}

static int explain_json(const struct recover *r, const char *subject, struct timeline *tl,
                        const char *now)
{
	yyjson_mut_val *root = yyjson_mut_obj(tl->doc);
	struct owed_json owed = { .doc = tl->doc };

	yyjson_mut_obj_add_strcpy(tl->doc, root, "id", subject);
	yyjson_mut_obj_add_strcpy(tl->doc, root, "name", tl->name);
	yyjson_mut_obj_add_strcpy(tl->doc, root, "now", now);
	yyjson_mut_obj_add_val(tl->doc, root, "records", tl->arr);
	owed.arr = yyjson_mut_obj_add_arr(tl->doc, root, "owed");
	for_each_owed(r->engine.state, subject, add_owed, &owed);
	tl->arr = yyjson_mut_obj_add_arr(tl->doc, root, "next_start");
	list_for_each(l, &r->engine.report.lines) {
		const struct replay_line *line = list_entry(l, struct replay_line, link);

		if (line_is_about(line, subject))
			yyjson_mut_arr_add_strcpy(tl->doc, tl->arr, line->text);
	}
	return print_doc(tl->doc, root);
}

int recover_explain(struct recover *r, const char *id)
{
	cleanup_free char *dir = xasprintf("%s/journal", r->engine.config->root);
	struct timeline tl = { 0 };
	struct err err = { 0 };
	char subject[96], now[RECORD_TEXT];

	if (find_subject(dir, id, subject, &err) < 0)
		return fail(&err);
	tl.subject = subject;
	if (r->json) {
		tl.doc = yyjson_mut_doc_new(NULL);
		tl.arr = yyjson_mut_arr(tl.doc);
	} else {
		printf("%s\n", subject);
	}
	timeline_run(&tl, dir, &err);
	if (err.code) {
		yyjson_mut_doc_free(tl.doc);
		return fail(&err);
	}
	explain_now(r->engine.state, subject, now);
	if (r->json)
		return explain_json(r, subject, &tl, now);
	if (tl.name[0])
		printf("is:    %s\n", tl.name);
	printf("now:   %s\n", now);
	for_each_owed(r->engine.state, subject, print_owed, NULL);
	list_for_each(l, &r->engine.report.lines) {
		const struct replay_line *line = list_entry(l, struct replay_line, link);

		if (line_is_about(line, subject))
			printf("next:  %s\n", line->text);
	}
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* --- at: the state after a record */

struct fold {
	struct state *state;
	uint64_t upto, first, last;
};

static int fold_record(void *arg, const struct record *rec, struct err *err UNUSED)
{
	struct fold *fold = arg;

	if (rec->kind == RECORD_SNAP_META) {
		state_free(fold->state);
		fold->state = state_new();
	}
	if (!fold->first)
		fold->first = rec->seq;
	fold->last = rec->seq;
	if (rec->seq <= fold->upto)
		state_apply(fold->state, rec);
	return 0;
}

int recover_at(const struct config *config, const char *text)
{
	cleanup_free char *dir = xasprintf("%s/journal", config->root);
	struct fold fold = { 0 };
	struct journal_report report;
	struct err err = { 0 };
	cleanup_free char *json = NULL;

	if (str_u64(str_of(text), UINT64_MAX, &fold.upto) < 0 || !fold.upto) {
		fprintf(stderr, "coracle recover: at: '%s' is not the number of a record\n", text);
		return EXIT_USAGE;
	}
	fold.state = state_new();
	if (journal_visit(dir, fold_record, &fold, &report, &err) < 0) {
		state_free(fold.state);
		return fail(&err);
	}
	if (fold.upto < fold.first || fold.upto > fold.last) {
		err_set(&err, CODE_OUT_OF_RANGE,
		        "record %" PRIu64 " is not in the journal: it has %" PRIu64 " to %" PRIu64,
		        fold.upto, fold.first, fold.last);
		state_free(fold.state);
		return fail(&err);
	}
	json = dump_state_text(fold.state, true);
	state_free(fold.state);
	puts(json);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}
