#include "core/life/life.h"

#include <string.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/pb.h"
#include "core/base/proc.h"
#include "core/base/str.h"
#include "core/life/life_internal.h"

#define STOP_LIMIT_MS 10000

static void scan_now(void *arg)
{
	struct life *life = arg;
	struct err err = { 0 };

	if (spool_scan(life->args.spool, life_exit, life, &err) < 0)
		log_error(NULL, "exit records cannot be read: %s", err.msg);
	list_for_each(l, &life->state->containers) {
		const struct container *c = list_entry(l, struct container, link);

		if (c->state == CONTAINER_RUNNING && !monitor_connected(life->args.monitors, c->id))
			life_probe(life, c);
	}
}

static void stop_done(void *arg);

static void rescan_due(void *arg)
{
	life_adopted_retry(arg);
	life_scan_soon(arg);
}

static void inbox_message(void *arg, struct inbox_msg *msg)
{
	struct life *life = arg;

	switch (msg->kind) {
	case INBOX_CONNECTED:
	case INBOX_ANSWER:
	case INBOX_CLOSED:
		outbox_message(life->outbox, msg);
		break;
	case INBOX_UPDATE:
	case INBOX_EVICT:
		log_warn(&(struct log_ctx){ .container = msg->container_id },
		         "a plugin asked for an %s, which this version does not do",
		         msg->kind == INBOX_EVICT ? "eviction" : "update");
		break;
	}
}

struct life *life_new(const struct life_args *args)
{
	struct life *life;

	ensure(args->loop && args->config && args->state && args->journal && args->spool &&
	       args->monitors && args->events && args->inbox && args->builder.build);
	ensure(args->gate.ready && args->gate.synchronize && args->gate.call && args->gate.forget &&
	       args->gate.close && args->gate.subscribed);

	life = xcalloc(1, sizeof(*life));
	life->args = *args;
	life->loop = args->loop;
	life->state = args->state;
	life->journal = args->journal;
	life->root = xstrdup(args->config->root);
	life->state_dir = xstrdup(args->config->state);
	life->ops_dir = xasprintf("%s/ops", life->state_dir);
	life->sandboxes_dir = xasprintf("%s/sandboxes", life->state_dir);
	life->containers_dir = xasprintf("%s/containers", life->root);
	ignore(proc_boot_id(
		life->boot_id)); /* without /proc nothing runs anyway: zeros match zeros */
	list_init(&life->ops);
	list_init(&life->wait_records);
	list_init(&life->exit_waits);
	list_init(&life->left_locks);
	list_init(&life->image_jobs);
	map_init(&life->turns);
	map_init(&life->creating);
	map_init(&life->starting);
	map_init(&life->exiting);
	map_init(&life->adopted);
	map_init(&life->cleaned);
	old_locks_init(life);
	life->scratch = pb_arena_new(4 * RECORD_MAX_BYTES);
	life->op_serial = clock_real_ns() > 0 ? (uint64_t)clock_real_ns()
	                                      : 1; /* names of op files differ between lives */
	life->first_serial = life->op_serial;
	life->unknown_limit = (struct log_limit){ .burst = 5, .interval_ms = 60000 };
	loop_defer_init(&life->scan, scan_now, life);
	replay_init(life);
	loop_defer_init(&life->stop_defer, stop_done, life);
	loop_timer_init(&life->stop_timer, stop_done, life, "stop limit");
	loop_timer_init(&life->rescan, rescan_due, life, "exit rescan");
	life->outbox = outbox_new(&(struct outbox_args){
		.loop = life->loop,
		.state = life->state,
		.journal = life->journal,
		.gate = args->gate,
		.hold_ms = args->config->nri_hold_ms,
	});
	inbox_read(args->inbox, inbox_message, life);
	return life;
}

void life_free(struct life *life)
{
	if (!life)
		return;
	/* what still runs goes on in its children; the next start finds the objects as the journal has them */
	while (!list_empty(&life->ops))
		op_abandon(list_entry(life->ops.next, struct op, link));
	loop_defer_cancel(&life->scan);
	loop_defer_cancel(&life->stop_defer);
	replay_free(life);
	loop_timer_disarm(life->loop, &life->rescan);
	loop_timer_disarm(life->loop, &life->stop_timer);
	left_locks_free(life);
	outbox_free(life->outbox);
	life_exits_free(life);
	map_release(&life->turns);
	map_release(&life->creating);
	map_release(&life->starting);
	map_release(&life->cleaned);
	old_locks_free(life);
	pb_arena_free(life->scratch);
	free(life->root);
	free(life->state_dir);
	free(life->ops_dir);
	free(life->sandboxes_dir);
	free(life->containers_dir);
	free(life);
}

/* --- small things */

void life_scan_soon(struct life *life)
{
	loop_defer_queue(life->loop, &life->scan);
}

void life_monitor_gone(void *arg, const char *id UNUSED)
{
	life_scan_soon(arg);
}

void life_monitor_record(void *arg, const char *id, const struct exit_record *rec)
{
	life_exit(arg, id, rec);
}

int64_t life_created_ns(struct life *life)
{
	int64_t now = clock_real_ns();
	int64_t last = MAX(life->state->last_created_ns, life->last_created_ns);

	life->last_created_ns = MAX(now, last + 1);
	return life->last_created_ns;
}

char *life_sandbox_dir(const struct life *life, const char *id)
{
	return xasprintf("%s/%s", life->sandboxes_dir, id);
}

char *life_container_dir(const struct life *life, const char *id)
{
	return xasprintf("%s/%s", life->containers_dir, id);
}

bool life_ready(const struct life *life)
{
	return !life->replay_rest && life->args.gate.ready(life->args.gate.arg);
}

void removing_plugins(const struct life *life, uint64_t mask, rec_Removing *msg,
                      char *names[PLUGIN_MAX])
{
	msg->plugins = names;
	msg->plugins_count = 0;
	for (int i = 0; i < PLUGIN_MAX; i++)
		if ((mask >> i & 1) && life->state->plugins[i].name)
			names[msg->plugins_count++] = life->state->plugins[i].name;
}

/* Every payload of a pod or container record has the id as field 1: decoded as a Ref, the rest is skipped. */
static const char *record_id(const struct life *life, const struct record *rec)
{
	rec_Ref ref = { 0 };
	struct err err = { 0 };

	pb_arena_reset(life->scratch);
	if (pb_decode_msg(life->scratch, rec_Ref_fields, &ref, rec->payload, rec->len, "record",
	                  &err) < 0)
		return NULL;
	return ref.id;
}

const struct sandbox *life_record_sandbox(const struct life *life, const struct record *rec)
{
	return sandbox_get(life->state, record_id(life, rec));
}

const struct container *life_record_container(const struct life *life, const struct record *rec)
{
	return container_get(life->state, record_id(life, rec));
}

/* --- answers */

static void answer_now(void *arg)
{
	struct life_wait *wait = arg;

	wait->done(wait->arg, wait->err.code == CODE_OK ? wait->id : NULL,
	           wait->err.code == CODE_OK ? NULL : &wait->err);
}

void life_answer(struct life_wait *wait, struct life *life, const char *id, const struct err *err)
{
	wait->life = life;
	wait->op = NULL;
	list_init(&wait->waiter.link);
	err_clear(&wait->err);
	if (err)
		wait->err = *err;
	ignore(str_copy(wait->id, sizeof(wait->id), or_empty(id))); /* ids fit; others give "" */
	loop_defer_init(&wait->defer, answer_now, wait);
	loop_defer_queue(life->loop, &wait->defer);
}

static void op_answered(void *arg, struct op *op)
{
	struct life_wait *wait = arg;

	wait->op = NULL;
	wait->done(wait->arg,
	           op->failed   ? NULL
	           : op->answer ? op->answer
	                        : op->id,
	           op->failed ? &op->err : NULL);
}

void life_wait_op(struct life_wait *wait, struct life *life, struct op *op)
{
	wait->life = life;
	wait->op = op;
	wait->waiter.fn = op_answered;
	wait->waiter.arg = wait;
	loop_defer_init(&wait->defer, answer_now, wait);
	op_wait(op, &wait->waiter);
}

void life_forget(struct life_wait *wait)
{
	struct op *op = wait->op;

	if (!wait->life)
		return;
	loop_defer_cancel(&wait->defer);
	if (!op)
		return;
	wait->op = NULL;
	op_unwait(&wait->waiter);
	if (list_empty(&op->waiters))
		op_cancel(op);
}

/* --- release of a record: state is applied already; then plugins, events, and whoever waits */

static void release_events(struct life *life, const struct record *rec)
{
	struct events *events = life->args.events;
	const struct sandbox *sb;
	const struct container *c;

	switch (rec->kind) {
	case RECORD_SANDBOX_READY:
		sb = life_record_sandbox(life, rec);
		if (!sb)
			break;
		events_push(events, EVENT_CREATED, sb->id, sb->id, sb->created_ns);
		events_push(events, EVENT_STARTED, sb->id, sb->id, rec->time_ns);
		break;
	case RECORD_SANDBOX_STOPPING:
		sb = life_record_sandbox(life, rec);
		if (sb)
			events_push(events, EVENT_STOPPED, sb->id, sb->id, rec->time_ns);
		break;
	case RECORD_CONTAINER_CREATED:
		c = life_record_container(life, rec);
		if (!c || c->hidden)
			break;
		outbox_notify(life->outbox, GATE_POST_CREATE, c->sandbox_id, c->id);
		events_push(events, EVENT_CREATED, c->id, c->sandbox_id, c->created_ns);
		break;
	case RECORD_CONTAINER_RUNNING:
		c = life_record_container(life, rec);
		if (!c || c->hidden)
			break;
		outbox_notify(life->outbox, GATE_POST_START, c->sandbox_id, c->id);
		events_push(events, EVENT_STARTED, c->id, c->sandbox_id, c->started_ns);
		break;
	case RECORD_CONTAINER_EXITED:
		c = life_record_container(life, rec);
		if (!c)
			break;
		life_exit_released(life, c);
		if (!life->stopping)
			op_start(life, container_clean_new(life, c));
		break;
	default:
		break;
	}
}

void life_released(void *arg, const struct record *rec)
{
	struct life *life = arg;

	outbox_released(life->outbox, rec);
	release_events(life, rec);
	op_released(life, rec->seq);
	replay_released(life, rec->seq);
}

/* --- stop */

static void stop_done(void *arg)
{
	struct life *life = arg;

	loop_timer_disarm(life->loop, &life->stop_timer);
	if (life->stopped) {
		void (*fn)(void *) = life->stopped;

		life->stopped = NULL;
		fn(life->stopped_arg);
	}
}

void life_stop_check(struct life *life)
{
	if (!life->stopping)
		return;
	list_for_each(l, &life->ops)
		if (list_entry(l, struct op, link)->busy)
			return;
	loop_defer_queue(life->loop, &life->stop_defer);
}

void life_stop(struct life *life, void (*fn)(void *arg), void *arg)
{
	life->stopping = true;
	life->stopped = fn;
	life->stopped_arg = arg;
	loop_timer_arm_in(life->loop, &life->stop_timer, STOP_LIMIT_MS);
	life_stop_check(life);
}

bool life_idle(const struct life *life)
{
	return list_empty(&life->ops) && !map_count(&life->exiting) && !life->replay_rest;
}

/* --- dump */

yyjson_mut_val *life_dump(const struct life *life, yyjson_mut_doc *doc)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *arr = yyjson_mut_obj_add_arr(doc, root, "ops");
	int64_t now = clock_mono_ns();

	list_for_each(l, &life->ops) {
		const struct op *op = list_entry(l, struct op, link);
		yyjson_mut_val *obj = yyjson_mut_arr_add_obj(doc, arr);

		yyjson_mut_obj_add_strcpy(doc, obj, "op", op->name);
		yyjson_mut_obj_add_strcpy(doc, obj, "id", op->id);
		yyjson_mut_obj_add_strcpy(doc, obj, "step", op_step_name(op));
		yyjson_mut_obj_add_bool(doc, obj, "undoing", op->undoing);
		yyjson_mut_obj_add_int(doc, obj, "age_ms", (now - op->started_ns) / NS_PER_MS);
	}
	yyjson_mut_obj_add_val(doc, root, "outbox", outbox_dump(life->outbox, doc));
	return root;
}
