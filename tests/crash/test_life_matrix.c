/* link-with: tests/lib/fixture.c tests/crash/life/scenarios.c */
/* tests/crash/test_life_matrix.c
 *
 * Life, stopped everywhere. A scenario is played once to count its steps: those of the disk (tests/crash/simdisk.h) and those of
 * the world (tests/lib/fake_world.h: before a child is forked, and after it has acted). Then it is played again for each step,
 * up to there. What follows is
 *
 *   kill        the children go on to their ends; or they sleep into the next daemon's life; or containers end meanwhile, or
 *               just as it recovers; or they end and power is cut before it starts
 *   power cut   each of the outcomes that the disk may have; another boot
 *
 * then the next daemon, whose client asks again for what was not answered and goes on; some of these are stopped, too. When all
 * is at rest the invariants must hold (fixture_check), and what a client was told or could read must still be so: facts of class
 * synced always, the others unless power was cut. In the end everything is removed, and nothing may be left.
 *
 * CORACLE_ONLY=text plays only scenarios whose name has it, CORACLE_POINT="disk 17 kill" only that point, CORACLE_SEED another
 * choice where not everything is tried.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bug.h"
#include "core/base/clock.h"
#include "core/base/fsx.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/journal/disk.h"
#include "core/life/life_internal.h"
#include "core/state/exit_record.h"
#include "core/state/record.pb.h"
#include "tests/crash/life/scenarios.h"
#include "tests/lib/fake_image.h"
#include "tests/lib/fixture.h"

#define MAX_LINES    64
#define MAX_FACTS    32
#define WAIT_STEP_MS 50
#define WAIT_MAX_MS  (400 * 1000)

enum how { HOW_NONE, HOW_KILL, HOW_SLEEP, HOW_DOWN, HOW_RECOVERY, HOW_DOWN_POWER, HOW_POWER, HOWS };
static const char *const how_names[HOWS] = { "run",      "kill",       "sleep", "down",
	                                     "recovery", "down+power", "power" };

/* What a client knows of an object. */
struct fact {
	char id[80], name[80];
	enum { FACT_POD, FACT_CONTAINER, FACT_IMAGE } kind;
	bool there;       /* it was told that it exists (READY, CREATED, pulled) */
	bool ran, exited; /* it could read RUNNING, EXITED */
	int code;
	bool stopped; /* the pod: StopPodSandbox was answered well */
	bool stop_asked, remove_asked;
	bool removed; /* answered well */
	bool ended,
		real_exit; /* it ended by itself; while a monitor looked on: its code cannot be lost but by a power cut */
	bool record; /* a power cut has left its exit record: so the code must be told */
	int real_code;
};

struct point {
	bool of_world;
	uint64_t n;
	enum how how;
	size_t cut;     /* which outcome */
	uint64_t again; /* the second life is stopped at this step of the disk; 0: not */
};

struct play {
	const struct scenario *scenario;
	struct fixture *f;
	struct point point;
	const char *lines[MAX_LINES];
	size_t nlines, begin;
	size_t at;
	struct fact facts[MAX_FACTS];
	size_t nfacts;
	struct fixture_call *calls[8];
	bool expect_error[8];
	size_t ncalls;
	char plugged[4][32];
	size_t nplugged;
	unsigned lives;
	bool was_cut, crashed;
	bool pauses_ended; /* and with them the pods */
	uint64_t fills;
};

struct tally {
	size_t points, lives, outcomes;
	uint64_t seed;
};

static void violated(void *arg, const char *text)
{
	const struct play *p = arg;

	printf("%s: VIOLATED\n  stopped at %s step %llu: %s", p->scenario->name,
	       p->point.of_world ? "world" : "disk", (unsigned long long)p->point.n,
	       how_names[p->point.how]);
	if (p->point.how == HOW_POWER)
		printf(", outcome %zu", p->point.cut);
	if (p->point.again)
		printf(", again at %llu", (unsigned long long)p->point.again);
	printf("; life %u, line \"%s\"\n  %s\n", p->lives,
	       p->at < p->nlines ? p->lines[p->at] : "(finale)", text);
	printf("  CORACLE_ONLY=\"%s\" CORACLE_POINT=\"%s %llu %s %zu %llu\"\n", p->scenario->name,
	       p->point.of_world ? "world" : "disk", (unsigned long long)p->point.n,
	       how_names[p->point.how], p->point.cut, (unsigned long long)p->point.again);
	ignore(fsx_remove_tree(AT_FDCWD, p->f->dir)); /* no clean-up follows */
	if (getenv("CORACLE_MUTANT"))
		exit(1); /* found: what else it breaks does not matter */
	fail();
}

/* --- facts */

static struct fact *fact(struct play *p, const char *id, const char *name, int kind)
{
	for (size_t i = 0; i < p->nfacts; i++)
		if (!strcmp(p->facts[i].id, id))
			return &p->facts[i];
	ensure(p->nfacts < MAX_FACTS);
	p->facts[p->nfacts] = (struct fact){ .kind = kind };
	ensure(str_copy(p->facts[p->nfacts].id, sizeof(p->facts[0].id), id) == 0);
	ensure(str_copy(p->facts[p->nfacts].name, sizeof(p->facts[0].name), name) == 0);
	return &p->facts[p->nfacts++];
}

/* Whatever a reader could see now. */
static void look(struct play *p)
{
	if (fixture_is_dead(p->f) || !p->f->recovered)
		return;
	list_for_each(l, &p->f->state->containers) {
		const struct container *c = list_entry(l, struct container, link);
		struct fact *fa;

		if (c->state == CONTAINER_CREATING || c->undone || c->hidden)
			continue;
		fa = fact(p, c->id, c->name, FACT_CONTAINER);
		fa->there = true;
		fa->ran |= c->state == CONTAINER_RUNNING;
		if (c->state == CONTAINER_EXITED) {
			fa->exited = true;
			fa->code = c->exit_code;
		}
	}
	list_for_each(l, &p->f->state->sandboxes) {
		const struct sandbox *sb = list_entry(l, struct sandbox, link);

		if (sb->state == SANDBOX_READY)
			fact(p, sb->id, sb->name, FACT_POD)->there = true;
	}
}

static void check_pod_fact(struct play *p, const struct fact *fa)
{
	const struct sandbox *sb = sandbox_get(p->f->state, fa->id);
	bool lives = sb && !sandbox_is_tombstone(sb);

	if (fa->there && !fa->remove_asked && !lives)
		fixture_violation(p->f, "pod %s was told to be there and is lost", fa->name);
	if (fa->removed && !p->was_cut && lives)
		fixture_violation(p->f, "pod %s was told to be removed and is back", fa->name);
	if (fa->stopped && lives && !sb->stopped)
		fixture_violation(p->f, "pod %s was told to be stopped and is not", fa->name);
	if (fa->there && lives && !fa->stop_asked && !fa->remove_asked && !p->was_cut &&
	    !p->pauses_ended && sb->state != SANDBOX_READY)
		fixture_violation(p->f, "pod %s was told to be ready and is %s", fa->name,
		                  sandbox_state_name(sb->state));
}

static void check_container_fact(struct play *p, const struct fact *fa)
{
	const struct container *c = container_get(p->f->state, fa->id);
	const struct world_container *w = world_container(p->f->world, fa->id);
	bool lives = c && !container_is_tombstone(c);

	if (fa->there && !fa->remove_asked && !lives)
		fixture_violation(p->f, "container %s was told to be there and is lost", fa->name);
	if (fa->removed && !p->was_cut && lives)
		fixture_violation(p->f, "container %s was told to be removed and is back",
		                  fa->name);
	if (!lives || c->state == CONTAINER_REMOVING)
		return;
	if (fa->exited && (c->state != CONTAINER_EXITED || c->exit_code != fa->code))
		fixture_violation(p->f, "container %s was seen exited %d and is %s %d", fa->name,
		                  fa->code, container_state_name(c->state), c->exit_code);
	if (fa->ran && c->state == CONTAINER_CREATED)
		fixture_violation(p->f, "container %s was seen running and is only created",
		                  fa->name);
	if (c->state == CONTAINER_EXITED && fa->real_exit && !p->was_cut &&
	    c->exit_code != fa->real_code)
		fixture_violation(p->f,
		                  "container %s ended with %d and is told to have exited %d (%s)",
		                  fa->name, fa->real_code, c->exit_code, c->reason);
	if (fa->record && (c->state != CONTAINER_EXITED || c->exit_code != fa->real_code))
		fixture_violation(
			p->f, "container %s left a record of its exit %d and is told to be %s %d",
			fa->name, fa->real_code, container_state_name(c->state), c->exit_code);
	if (fa->ended && c->state == CONTAINER_EXITED && c->exit_code != fa->real_code &&
	    (c->exit_code != 255 || !c->reason[0]))
		fixture_violation(p->f, "container %s ended with %d and is told to have exited %d",
		                  fa->name, fa->real_code, c->exit_code);
	if (fa->ran && !p->was_cut && w && w->stage == WORLD_RUNNING &&
	    c->state != CONTAINER_RUNNING)
		fixture_violation(p->f, "container %s runs and is told to be %s", fa->name,
		                  container_state_name(c->state));
}

static void check_facts(struct play *p)
{
	for (size_t i = 0; i < p->nfacts; i++) {
		const struct fact *fa = &p->facts[i];

		if (fa->kind == FACT_POD)
			check_pod_fact(p, fa);
		else if (fa->kind == FACT_CONTAINER)
			check_container_fact(p, fa);
		else if (fa->there && !fa->remove_asked && !image_get(p->f->state, fa->id))
			fixture_violation(p->f, "image %s was told to be there and is lost",
			                  fa->name);
	}
}

/* --- a line of the script */

static void words(char *line, char *ret[4])
{
	size_t n = 0;

	for (char *w; n < 4 && (w = strsep(&line, " "));)
		ret[n++] = w;
	while (n < 4)
		ret[n++] = (char *)"";
}

static void answered(struct play *p, const struct fixture_call *call, bool expect_error)
{
	struct fact *fa;

	if (expect_error != (call->err.code != CODE_OK) && !p->crashed)
		fixture_violation(p->f, "%s %s: %s", call->verb, call->name,
		                  call->err.code == CODE_OK ? "should fail" : call->err.msg);
	if (call->err.code != CODE_OK)
		return;
	if (!strcmp(call->verb, "RunPodSandbox")) {
		fact(p, call->id, call->name, FACT_POD)->there = true;
	} else if (!strcmp(call->verb, "CreateContainer")) {
		fact(p, call->id, call->name, FACT_CONTAINER)->there = true;
	} else if (!strcmp(call->verb, "PullImage")) {
		fact(p, call->id, call->name, FACT_IMAGE)->there = true;
	} else if (!strcmp(call->verb, "StartContainer")) {
		fact(p, call->id, call->name, FACT_CONTAINER)->ran = true;
	} else if (!strcmp(call->verb, "StopPodSandbox") && strlen(call->id) == 64) {
		fact(p, call->id, call->name, FACT_POD)->stopped = true;
	} else if (!strncmp(call->verb, "Remove", 6) && call->id[0]) {
		fa = NULL;
		for (size_t i = 0; i < p->nfacts; i++)
			if (!strcmp(p->facts[i].id, call->id))
				fa = &p->facts[i];
		if (fa)
			fa->removed = true;
	}
}

static bool all_answered(const struct play *p)
{
	for (size_t i = 0; i < p->ncalls; i++)
		if (!p->calls[i]->done)
			return false;
	return true;
}

static void turn_and_look(struct play *p)
{
	for (int i = 0; i < 20000 && !fixture_is_dead(p->f); i++) {
		if (!loop_turn(p->f->loop, false))
			return;
		look(p);
	}
}

static void pass(struct play *p, int64_t ms)
{
	fixture_advance(p->f, ms);
	look(p);
}

static void wait_answers(struct play *p)
{
	for (int64_t ms = 0; ms < WAIT_MAX_MS; ms += WAIT_STEP_MS) {
		turn_and_look(p);
		if (fixture_is_dead(p->f) || all_answered(p))
			break;
		pass(p, WAIT_STEP_MS);
	}
	if (fixture_is_dead(p->f))
		return;
	for (size_t i = 0; i < p->ncalls; i++) {
		if (!p->calls[i]->done)
			fixture_violation(p->f, "%s %s is never answered", p->calls[i]->verb,
			                  p->calls[i]->name);
		answered(p, p->calls[i], p->expect_error[i]);
	}
	p->ncalls = 0;
}

static void asked_to_go(struct play *p, const char *name, bool remove)
{
	for (size_t i = 0; i < p->nfacts; i++) {
		struct fact *fa = &p->facts[i];
		const struct container *c =
			fa->kind == FACT_CONTAINER ? container_get(p->f->state, fa->id) : NULL;
		const struct sandbox *sb = c ? sandbox_get(p->f->state, c->sandbox_id) : NULL;

		if (!strcmp(fa->name, name) || (sb && !strcmp(sb->name, name))) {
			fa->stop_asked = true;
			fa->remove_asked |= remove;
		}
	}
}

static void line_exit(struct play *p, const char *name, int code)
{
	struct world_container *w = fixture_world(p->f, name);
	struct fact *fa;

	if (!w || w->stage != WORLD_RUNNING)
		return;
	fa = fact(p, w->id, name, FACT_CONTAINER);
	fa->real_exit = w->monitor;
	fa->ended = true;
	fa->real_code = code;
	world_container_ends(w, code > 128 ? code - 128 : code << 8);
}

static enum world_kind kind_of(const char *name)
{
	for (int i = 0; i < WORLD_KINDS; i++)
		if (!strcmp(world_kind_name((enum world_kind)i), name))
			return (enum world_kind)i;
	fail_msg("script: no such kind \"%s\"", name);
	return WORLD_KINDS;
}

/* Records that nobody misses, to fill segments: an image with a long user. */
static void line_fill(struct play *p, int n)
{
	char user[4001], id[ID_SIZE];
	struct err err = { 0 };

	memset(user, 'x', sizeof(user) - 1);
	user[sizeof(user) - 1] = '\0';
	for (int i = 0; i < n && !fixture_is_dead(p->f); i++) {
		const rec_Image msg = { .id = id, .user = user };

		ensure(str_format(id, sizeof(id), "%064x", 1) == 0);
		ignore(journal_append(p->f->journal, RECORD_IMAGE_ADDED, RECORD_WRITTEN, &msg,
		                      &err) == 0);
		turn_and_look(p);
	}
	if (!fixture_is_dead(p->f)) {
		const rec_Ref ref = { .id = id };

		ignore(journal_append(p->f->journal, RECORD_IMAGE_REMOVED, RECORD_WRITTEN, &ref,
		                      &err) == 0);
		turn_and_look(p);
	}
}

static void plug(struct play *p, const char *name)
{
	for (size_t i = 0; i < p->nplugged; i++)
		if (!strcmp(p->plugged[i], name))
			return;
	ensure(p->nplugged < ARRAY_SIZE(p->plugged));
	ensure(str_copy(p->plugged[p->nplugged++], sizeof(p->plugged[0]), name) == 0);
	fake_gate_connect(&p->f->gate, name);
}

static void unplug(struct play *p, const char *name)
{
	for (size_t i = 0; i < p->nplugged; i++)
		if (!strcmp(p->plugged[i], name)) {
			memmove(p->plugged[i], p->plugged[p->nplugged - 1], sizeof(p->plugged[0]));
			p->nplugged--;
		}
	fake_gate_disconnect(&p->f->gate, name);
}

static struct fixture_call *line_call(struct play *p, char *w[4])
{
	struct fixture *f = p->f;

	if (!strcmp(w[0], "pull"))
		return fixture_ask_pull(f, w[1]);
	if (!strcmp(w[0], "run"))
		return fixture_ask_run(f, w[1]);
	if (!strcmp(w[0], "create"))
		return fixture_ask_create(f, w[1], w[2]);
	if (!strcmp(w[0], "start"))
		return fixture_ask_start(f, w[1]);
	if (!strcmp(w[0], "update"))
		return fixture_ask_update(f, w[1]);
	if (!strcmp(w[0], "stop")) {
		asked_to_go(p, w[1], false);
		return fixture_ask_stop(f, w[1], atol(w[2]));
	}
	if (!strcmp(w[0], "stopp")) {
		asked_to_go(p, w[1], false);
		return fixture_ask_stop_pod(f, w[1]);
	}
	asked_to_go(p, w[1], true);
	if (!strcmp(w[0], "rm"))
		return fixture_ask_remove(f, w[1]);
	if (!strcmp(w[0], "rmp"))
		return fixture_ask_remove_pod(f, w[1]);
	if (!strcmp(w[0], "unimage")) {
		char id[80];

		fake_image_id(w[1], id);
		for (size_t i = 0; i < p->nfacts; i++)
			p->facts[i].remove_asked |=
				!strcmp(p->facts[i].id, id) || !strcmp(p->facts[i].name, w[1]);
		return fixture_ask_remove_image(f, w[1]);
	}
	fail_msg("script: \"%s\"", w[0]);
	return NULL;
}

static void do_line(struct play *p, const char *line)
{
	struct fixture *f = p->f;
	char copy[160], *w[4];
	bool together = line[0] == '&', bad = line[0] == '!';

	ensure(str_copy(copy, sizeof(copy), line + (together || bad)) == 0);
	words(copy, w);
	if (!strcmp(w[0], "exit")) {
		line_exit(p, w[1], atoi(w[2]));
	} else if (!strcmp(w[0], "mdie")) {
		if (fixture_world(f, w[1]))
			world_monitor_dies(fixture_world(f, w[1]));
	} else if (!strcmp(w[0], "plug")) {
		plug(p, w[1]);
	} else if (!strcmp(w[0], "unplug")) {
		unplug(p, w[1]);
	} else if (!strcmp(w[0], "mute")) {
		fake_gate_mode(&f->gate, w[1], PLUGIN_SILENT);
	} else if (!strcmp(w[0], "speak")) {
		fake_gate_mode(&f->gate, w[1], PLUGIN_ANSWERS);
	} else if (!strcmp(w[0], "fail") || !strcmp(w[0], "late") || !strcmp(w[0], "hang")) {
		if (!p->crashed)
			world_next(f->world, kind_of(w[1]),
			           w[0][0] == 'f'   ? WORLD_FAILS
			           : w[0][0] == 'l' ? WORLD_FAILS_DONE
			                            : WORLD_HANGS);
	} else if (!strcmp(w[0], "quick")) {
		f->world->quit_ms = 0;
		f->world->quit_wstatus = atoi(w[1]) << 8;
	} else if (!strcmp(w[0], "pause")) {
		f->pod_pid = true;
	} else if (!strcmp(w[0], "nopause")) {
		f->pod_pid = false;
	} else if (!strcmp(w[0], "fill")) {
		line_fill(p, atoi(w[1]));
	} else if (!strcmp(w[0], "wait")) {
		pass(p, atoi(w[1]));
	} else {
		ensure(p->ncalls < ARRAY_SIZE(p->calls));
		p->expect_error[p->ncalls] = bad;
		p->calls[p->ncalls++] = line_call(p, w);
	}
	if (!together)
		wait_answers(p);
}

/* False: it died on the way; p->at is where. */
static bool do_lines(struct play *p, size_t end)
{
	for (; p->at < end; p->at++) {
		do_line(p, p->lines[p->at]);
		if (fixture_is_dead(p->f))
			return false;
	}
	return true;
}

static void split(struct play *p, char *script)
{
	for (char *line; (line = strsep(&script, "\n"));) {
		if (!strcmp(line, "--")) {
			p->begin = p->nlines;
		} else if (line[0]) {
			ensure(p->nlines < MAX_LINES);
			p->lines[p->nlines++] = line;
		}
	}
}

/* --- one play */

static void new_life(struct play *p)
{
	p->lives++;
	p->ncalls = 0;
	memset(p->f->world->mode_in, 0, sizeof(p->f->world->mode_in));
	/* lines that run together with the one that was not answered are asked again, too */
	while (p->at > p->begin && p->lines[p->at - 1][0] == '&')
		p->at--;
}

static void plug_again(struct play *p)
{
	for (size_t i = 0; i < p->nplugged; i++)
		fake_gate_connect(&p->f->gate, p->plugged[i]);
}

static void rest(struct play *p)
{
	turn_and_look(p);
	pass(p, 2000);
	/* a job that hangs is killed when its time is over */
	if (!fixture_is_dead(p->f) &&
	    (world_jobs_old(p->f->world) || !list_empty(&p->f->life->ops)))
		pass(p, 150 * 1000);
}

struct pick {
	struct simdisk *disk;
	size_t n, wanted;
};

static void keep_outcome(void *arg, struct simdisk *outcome)
{
	struct pick *pick = arg;

	if (pick->n++ == pick->wanted)
		pick->disk = outcome;
	else
		simdisk_free(outcome);
}

static size_t outcomes(struct play *p, size_t wanted, struct simdisk **ret)
{
	struct pick pick = { .wanted = wanted };

	ignore(simdisk_power_cuts(p->f->disk, p->scenario->cuts, p->point.n, keep_outcome, &pick) ==
	       0);
	*ret = pick.disk;
	return pick.n;
}

/* The @wanted one of them; a second cut may have fewer. Returns how many there are. */
static size_t cut_power(struct play *p, size_t wanted)
{
	struct simdisk *disk;
	size_t n = outcomes(p, wanted, &disk);

	if (!disk)
		n = outcomes(p, wanted % n, &disk);
	p->was_cut = true;
	fixture_power_cut(p->f, disk);
	return n;
}

/* Containers that run end while nobody but their monitors is there. */
static void end_all(struct play *p)
{
	list_for_each(l, &p->f->world->containers) {
		struct world_container *w = list_entry(l, struct world_container, link);

		if (w->stage != WORLD_RUNNING)
			continue;
		p->pauses_ended |= p->f->pod_pid;
		for (size_t i = 0; i < p->nfacts; i++)
			if (!strcmp(p->facts[i].id, w->id)) {
				p->facts[i].real_exit = w->monitor;
				p->facts[i].ended = true;
				p->facts[i].real_code = 9;
			}
		world_container_ends(w, 9 << 8);
	}
}

static bool is_record(int dir, const char *id)
{
	uint8_t data[EXIT_RECORD_BYTES];
	int fd = dir < 0 ? -1 : disk_open(dir, id, O_RDONLY);
	bool filled = fd >= 0 && disk_pread(fd, data, sizeof(data), 0) == sizeof(data) &&
	              exit_record_is_filled(data, sizeof(data));

	if (fd >= 0)
		disk_close(fd);
	return filled;
}

/* What does the disk know of those that have ended? */
static void find_records(struct play *p)
{
	int tmp, new;

	simdisk_outside(p->f->disk, true);
	tmp = disk_open_dir(WORLD_SPOOL "/tmp", false);
	new = disk_open_dir(WORLD_SPOOL "/new", false);
	for (size_t i = 0; i < p->nfacts; i++)
		if (p->facts[i].ended)
			p->facts[i].record =
				is_record(new, p->facts[i].id) || is_record(tmp, p->facts[i].id);
	if (tmp >= 0)
		disk_close(tmp);
	if (new >= 0)
		disk_close(new);
	simdisk_outside(p->f->disk, false);
}

/* Returns how many outcomes there are. */
static size_t crash(struct play *p)
{
	size_t n = 1;

	p->crashed = true;
	p->f->world->after = p->point.how == HOW_SLEEP ? WORLD_SLEEP_ON : WORLD_FINISH;
	if (p->point.how == HOW_POWER) {
		n = cut_power(p, p->point.cut);
	} else {
		fixture_kill(p->f);
		if (p->point.how == HOW_DOWN || p->point.how == HOW_DOWN_POWER)
			end_all(p);
		if (p->point.how == HOW_DOWN_POWER)
			cut_power(p, 0);
	}
	if (p->was_cut)
		find_records(p);
	new_life(p);
	return n;
}

static void remove_all(struct play *p)
{
	struct fixture *f = p->f;

	p->at = p->nlines;
	f->gate.ready = true;
	for (size_t i = 0; i < p->nplugged; i++)
		fake_gate_mode(&f->gate, p->plugged[i], PLUGIN_ANSWERS);
	for (int round = 0; round < 3 && !list_empty(&f->state->sandboxes); round++) {
		list_for_each(l, &f->state->sandboxes) {
			const struct sandbox *sb = list_entry(l, struct sandbox, link);
			struct fixture_call *call;

			if (p->ncalls == ARRAY_SIZE(p->calls))
				break;
			asked_to_go(p, sb->name, true);
			call = fixture_ask_remove_pod(f, sb->name);
			p->expect_error[p->ncalls] = false;
			p->calls[p->ncalls++] = call;
		}
		wait_answers(p);
	}
	while (!list_empty(&f->state->images)) {
		const struct image *image = list_entry(f->state->images.next, struct image, link);
		cleanup_free char *id = xstrdup(image->id);

		for (size_t i = 0; i < p->nfacts; i++)
			p->facts[i].remove_asked |= !strcmp(p->facts[i].id, id);
		p->expect_error[0] = false;
		p->calls[p->ncalls++] = fixture_ask_remove_image(f, id);
		wait_answers(p);
		if (image_get(f->state, id)) {
			if (image_get(f->state, id)->names[0] ||
			    image_get(f->state, id)->digests[0])
				fixture_violation(f, "image %s cannot be removed", id);
			break; /* only un-named, of a fill */
		}
	}
}

static void finale(struct play *p)
{
	cleanup_free char *left = NULL;

	/* the plugins come back, so that nothing is owed any more */
	remove_all(p);
	rest(p);
	fixture_check(p->f);
	check_facts(p);
	list_for_each(l, &p->f->state->containers)
		fixture_violation(p->f, "container %s cannot be removed",
		                  list_entry(l, struct container, link)->name);
	list_for_each(l, &p->f->state->sandboxes)
		fixture_violation(p->f, "pod %s cannot be removed",
		                  list_entry(l, struct sandbox, link)->name);
	left = world_leftovers(p->f->world);
	if (left[0])
		fixture_violation(p->f, "left over:\n%s", left);
}

/* Returns the steps that were taken between the beginning and the end (or the stop). */
static void run_play(const struct scenario *scenario, const struct point *point,
                     struct tally *tally, uint64_t *ret_disk, uint64_t *ret_world, size_t *ret_cuts)
{
	cleanup_free char *script = xstrdup(scenario->script);
	struct play play = { .scenario = scenario, .point = *point }, *p = &play;
	struct fixture *f = p->f = fixture_new();
	uint64_t disk, world;
	bool alive;

	tally->lives++;
	f->violated = violated;
	f->violated_arg = p;
	f->check_released = true;
	if (scenario->segment_bytes)
		f->segment_bytes = scenario->segment_bytes;
	split(p, script);
	p->lives = 1;
	alive = fixture_start(f);
	turn_and_look(p); /* changes are served when the recovery is over */
	ensure(alive && do_lines(p, p->begin));
	disk = simdisk_steps(f->disk);
	world = f->world->steps;
	if (point->n && point->of_world)
		world_stop_at(f->world, point->n);
	else if (point->n)
		simdisk_stop_at(f->disk, point->n);
	alive = do_lines(p, p->nlines);
	if (ret_disk) {
		*ret_disk = simdisk_steps(f->disk) - disk;
		*ret_world = f->world->steps - world;
	}
	while (!alive) {
		bool again = p->lives == 1 && point->again;
		size_t n = crash(p);

		if (ret_cuts && p->lives == 2)
			*ret_cuts = n;
		tally->lives++;
		if (again)
			simdisk_stop_at(f->disk, point->again);
		alive = fixture_start(f);
		if (alive) {
			if (point->how == HOW_RECOVERY && p->lives == 2)
				end_all(p);
			plug_again(p);
			rest(p);
			alive = !fixture_is_dead(f);
		}
		if (!alive && !again)
			fixture_violation(f, "the next daemon does not start");
		if (!alive)
			continue;
		fixture_check(f);
		check_facts(p);
		/* after a reboot the pods are history; else the client goes on where it was */
		if (!p->was_cut)
			alive = do_lines(p, p->nlines);
		else
			p->at = p->nlines;
		if (alive && again) { /* it was not reached */
			simdisk_stop_at(f->disk, 0);
		}
	}
	if (!p->was_cut && !p->crashed) {
		rest(p);
		fixture_check(f);
		check_facts(p);
	}
	finale(p);
	fixture_free(f);
}

static bool chosen(const struct scenario *scenario, struct tally *tally)
{
	if (scenario->every < 2)
		return true;
	tally->seed = tally->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (tally->seed >> 33) % scenario->every == 0;
}

static void try_point(const struct scenario *scenario, struct point point, struct tally *tally)
{
	size_t cuts = 1;

	tally->points++;
	for (int how = HOW_KILL; how < HOW_POWER; how++) {
		point.how = (enum how)how;
		point.again = scenario->nested && tally->points % scenario->nested == (unsigned)how
		                      ? 1 + tally->points % 23
		                      : 0;
		run_play(scenario, &point, tally, NULL, NULL, NULL);
	}
	point.how = HOW_POWER;
	for (point.cut = 0; point.cut < cuts; point.cut++) {
		point.again = scenario->nested && tally->points % scenario->nested == 5
		                      ? 1 + (tally->points + point.cut) % 23
		                      : 0;
		run_play(scenario, &point, tally, NULL, NULL, point.cut ? NULL : &cuts);
		tally->outcomes++;
	}
}

static void run_scenario(void **arg)
{
	const struct scenario *scenario = *arg;
	const char *only = getenv("CORACLE_ONLY"), *one = getenv("CORACLE_POINT"),
		   *seed = getenv("CORACLE_SEED");
	struct tally tally = { .seed = seed ? strtoull(seed, NULL, 0) : 20251125 };
	uint64_t first_seed = tally.seed, disk, world;
	struct point point = { 0 };

	if (only && !strstr(scenario->name, only)) {
		skip();
		return;
	}
	if (one) {
		char what[16], how[16];
		unsigned long long n, again = 0;

		ensure(sscanf(one, "%15s %llu %15s %zu %llu", what, &n, how, &point.cut, &again) >=
		       3);
		point.of_world = what[0] == 'w';
		point.n = n;
		point.again = again;
		while (strcmp(how_names[point.how], how) != 0)
			ensure(++point.how < HOWS);
		run_play(scenario, &point, &tally, NULL, NULL, NULL);
		return;
	}
	run_play(scenario, &point, &tally, &disk, &world, NULL);
	for (point.n = 1; point.n <= disk; point.n++)
		if (chosen(scenario, &tally))
			try_point(scenario, point, &tally);
	point.of_world = true;
	for (point.n = 1; point.n <= world; point.n++)
		if (chosen(scenario, &tally))
			try_point(scenario, point, &tally);
	printf("%-42s %4llu disk + %3llu world steps, %4zu stops tried, %5zu power cuts, %6zu lives",
	       scenario->name, (unsigned long long)disk, (unsigned long long)world, tally.points,
	       tally.outcomes, tally.lives);
	if (scenario->every > 1)
		printf(" (1 in %u, seed %llu)", scenario->every, (unsigned long long)first_seed);
	printf("\n");
}

int main(void)
{
	struct CMUnitTest *tests = xcalloc(nscenarios, sizeof(*tests));
	int failed;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < nscenarios; i++)
		tests[i] = (struct CMUnitTest){ .name = scenarios[i].name,
			                        .test_func = run_scenario,
			                        .initial_state = (void *)(uintptr_t)&scenarios[i] };
	failed = _cmocka_run_group_tests("life matrix", tests, nscenarios, NULL, NULL);
	free(tests);
	return failed;
}
