/* tests/crash/test_journal_matrix.c
 *
 * The journal on a simulated disk, stopped at every step. A scenario is a script for the first life of a daemon and one for its
 * second. Every step of the first is a stop; what is left is looked at as a kill and as every outcome of a power cut; each
 * different disk that results is started again, its second life is stopped at every step as well, and a third life looks at
 * what came of it all. Equal disks with equal promises are tried once.
 *
 * What must hold (the letters are those of tests/model/journal_model.py):
 *
 *   a  what was told is there: of class synced always, of class written unless power was cut
 *   b  no start is refused, unless a block rotted
 *   c  after rot: refused, or all that was told is there; after a power cut all that slots and headers call synced
 *   f  what a life did not see when it opened its gate never comes back
 *   +  what is there is a prefix: every record up to the last one and none behind it; state_verify() is content; reading
 *      without writing sees the same state and leaves the disk as it was
 *
 * Scripts: S image added (synced), W pod creating (written), L a large S, V a large W, R a record of a reserve kind, space: a turn of the loop,
 * '!' the next fdatasync fails, '?' the next write of a block fails, '^' the disk is full, '_' it is not any more, 't' time passes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/rand.h"
#include "core/base/str.h"
#include "core/journal/journal.h"
#include "core/loop/loop.h"
#include "core/state/dump.h"
#include "core/state/record.pb.h"
#include "tests/crash/simdisk.h"

#define DIR_PATH      "/sim/journal"
#define SEGMENT_BYTES (64 * 1024)
#define MAX_FACTS     128
#define SETTLE_TURNS  12
#define PEEK_EVERY    8 /* starts that are also looked at through a reader's eyes */

struct scenario {
	const char *name;
	const char *first, *second; /* scripts */
	size_t cuts;                /* outcomes per power cut */
	size_t nested; /* of the disks that a cut leaves, every how many-th is stopped again in its second life */
	size_t rot; /* of the disks that a kill leaves, every how many-th has each of its blocks rot (and a 16th as often after a cut); 0: none */
};

struct fact {
	uint64_t seq;   /* where it was appended last */
	bool is_synced; /* class */
	bool told;
	bool lost; /* a life opened its gate without it */
	bool must; /* has to be there, or the start be refused, although something rotted */
	bool limbo; /* a life began without it, but did not get as far as its gate: it may be gone, or come back */
};

struct ghost {
	struct fact facts[MAX_FACTS];
	size_t count;
	bool was_cut, rotted;
};

struct matrix {
	const struct scenario *scenario;
	struct loop *loop;
	uint64_t *seen; /* hashes; a set with open addressing */
	size_t seen_cap, seen_count;
	size_t points, outcomes, starts;
	char trace[4][64];
	const char *scripts[3];
};

/* One life. */
struct life {
	struct matrix *matrix;
	struct simdisk *disk;
	struct ghost *ghost;
	struct state *state;
	struct journal *journal;
	struct journal_report report;
	size_t script_facts;
};

static void violated(const struct matrix *m, const struct simdisk *disk, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
static void violated(const struct matrix *m, const struct simdisk *disk, const char *fmt, ...)
{
	va_list ap;

	printf("%s: VIOLATED ", m->scenario->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	for (size_t i = 0; i < ARRAY_SIZE(m->trace); i++)
		if (m->trace[i][0])
			printf("  %s\n", m->trace[i]);
	simdisk_print(disk);
	if (getenv("CORACLE_MUTANT"))
		exit(1); /* found: what else it breaks does not matter */
	fail();
}

static bool first_time(struct matrix *m, uint64_t hash)
{
	if (2 * (m->seen_count + 1) > m->seen_cap) {
		uint64_t *old = m->seen;
		size_t old_cap = m->seen_cap;

		m->seen_cap = old_cap ? 2 * old_cap : 4096;
		m->seen = xcalloc(m->seen_cap, sizeof(*m->seen));
		m->seen_count = 0;
		for (size_t i = 0; i < old_cap; i++)
			if (old[i])
				ignore(first_time(m, old[i]));
		free(old);
	}
	hash += !hash;
	for (size_t i = hash % m->seen_cap;; i = (i + 1) % m->seen_cap) {
		if (m->seen[i] == hash)
			return false;
		if (m->seen[i])
			continue;
		m->seen[i] = hash;
		m->seen_count++;
		return true;
	}
}

static uint64_t ghost_hash(const struct ghost *ghost, unsigned life)
{
	uint64_t hash = life * 3 + ghost->was_cut + 7;

	for (size_t i = 0; i < ghost->count; i++) {
		const struct fact *f = &ghost->facts[i];

		hash = (hash ^ (f->seq * 8 + f->is_synced * 4 + f->told * 2 + f->lost +
		                f->limbo * UINT64_C(0x100000000))) *
		       UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 31;
	}
	return hash;
}

/* --- facts */

static void fact_id(char id[ID_SIZE], size_t n)
{
	assert_int_equal(str_format(id, ID_SIZE, "%064zx", n + 1), 0);
}

static bool has_fact(const struct state *state, const struct ghost *ghost, size_t n)
{
	char id[ID_SIZE];

	fact_id(id, n);
	return ghost->facts[n].is_synced ? image_get(state, id) != NULL
	                                 : sandbox_get(state, id) != NULL;
}

static void append_fact(struct life *life, char what)
{
	struct ghost *ghost = life->ghost;
	struct err err = { 0 };
	char id[ID_SIZE], large[20001];
	uint64_t seq;

	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	assert_true(ghost->count < MAX_FACTS);
	fact_id(id, ghost->count);
	if (what == 'W' || what == 'V') {
		rec_Sandbox msg = { .id = id, .name = id, .uid = (char *)"u", .ns = (char *)"n" };

		large[5000] = '\0';
		msg.hostname = what == 'V' ? large : NULL;
		seq = journal_append(life->journal, RECORD_SANDBOX_CREATING, RECORD_WRITTEN, &msg,
		                     &err);
	} else {
		rec_Image msg = { .id = id, .user = what == 'L' ? large : (char *)"u" };

		seq = journal_append(life->journal, RECORD_IMAGE_ADDED, RECORD_SYNCED, &msg, &err);
	}
	if (!seq) {
		assert_int_equal(err.code, CODE_UNAVAILABLE); /* refused, which is an answer */
		return;
	}
	ghost->facts[ghost->count++] =
		(struct fact){ .seq = seq, .is_synced = what != 'W' && what != 'V' };
}

static void append_reserve(struct life *life)
{
	rec_PluginAcked msg = { .name = (char *)"nobody", .cursor = 1 };
	struct err err = { 0 };

	assert_true(journal_append(life->journal, RECORD_PLUGIN_ACKED, RECORD_SYNCED, &msg, &err) !=
	                    0 ||
	            err.code == CODE_UNAVAILABLE);
}

static void on_released(void *arg, const struct record *rec)
{
	struct life *life = arg;

	if (simdisk_stopped(life->disk))
		return; /* it died before it could say so */
	for (size_t i = 0; i < life->ghost->count; i++)
		if (life->ghost->facts[i].seq == rec->seq && !life->ghost->facts[i].lost)
			life->ghost->facts[i].told = true;
}

/* --- what a start shows */

static struct journal_args args_for(struct state *state, enum journal_mode mode)
{
	return (struct journal_args){
		.dir = DIR_PATH,
		.mode = mode,
		.state = state,
		.segment_bytes = SEGMENT_BYTES,
		.keep_bytes = 3 * SEGMENT_BYTES,
		.boot = { .version = (char *)"1" },
		.inline_io = true,
	};
}

static void check_start(const struct life *life)
{
	const struct matrix *m = life->matrix;
	const struct ghost *ghost = life->ghost;
	struct err err = { 0 };

	if (state_verify(life->state, &err) < 0 || !list_empty(&life->state->quarantine))
		violated(m, life->disk, "the state is not sound: %s", err.msg);
	for (size_t i = 0; i < ghost->count; i++) {
		const struct fact *f = &ghost->facts[i];
		bool has = has_fact(life->state, ghost, i);

		if (ghost->rotted) {
			if (f->must && !has)
				violated(m, life->disk, "c: rot silently dropped record %llu",
				         (unsigned long long)f->seq);
			continue;
		}
		if (f->lost && has)
			violated(m, life->disk,
			         "f: record %llu was dropped by an earlier life, back again",
			         (unsigned long long)f->seq);
		if (f->lost)
			continue;
		if (f->told && !has && (f->is_synced || !ghost->was_cut))
			violated(m, life->disk, "a: record %llu is lost although told",
			         (unsigned long long)f->seq);
		if (has ? f->seq > life->report.last_seq
		        : f->seq <= life->report.last_seq && !f->limbo)
			violated(m, life->disk, "record %llu is %s, but the log ends at %llu",
			         (unsigned long long)f->seq, has ? "there" : "missing",
			         (unsigned long long)life->report.last_seq);
	}
}

/* Everything that is there has now been told again; what is not must never come. */
static void open_gate(struct life *life)
{
	for (size_t i = 0; i < life->ghost->count; i++) {
		struct fact *f = &life->ghost->facts[i];

		if (f->lost)
			continue;
		f->told = has_fact(life->state, life->ghost, i);
		f->lost = !f->told;
	}
}

static void note_limbo(struct life *life)
{
	for (size_t i = 0; i < life->ghost->count && life->report.segments; i++)
		if (life->ghost->facts[i].seq > life->report.last_seq)
			life->ghost->facts[i].limbo = true;
}

/* A reader without rights to write sees what the daemon will see, and leaves no trace. */
static char *peek(struct life *life)
{
	struct journal_args args = args_for(NULL, JOURNAL_MEMORY);
	uint64_t before = simdisk_hash(life->disk);
	struct journal_report report;
	struct journal *journal;
	struct err err = { 0 };
	char *text = NULL;

	args.state = state_new();
	journal = journal_open(&args, &report, &err);
	if (journal)
		text = dump_state_text(args.state, false);
	else if (err.code != CODE_DATA_LOSS)
		violated(life->matrix, life->disk, "memory mode: %s", err.msg);
	journal_close(journal);
	state_free(args.state);
	assert_true(simdisk_hash(life->disk) == before);
	return text;
}

/* The daemon has added its BOOT since, so versions and seqs may differ in nothing but that. */
static void check_peek(const struct life *life, const char *seen)
{
	struct state *again = state_new();
	struct journal_args args = args_for(again, JOURNAL_MEMORY);
	struct journal_report report;
	struct err err = { 0 };
	struct journal *journal = journal_open(&args, &report, &err);
	char *text = dump_state_text(again, false), *live = dump_state_text(life->state, false);

	if (!simdisk_stopped(life->disk) && !streq(text, live))
		violated(life->matrix, life->disk,
		         "the daemon holds another state than its disk: %s %s", live, text);
	if (!simdisk_stopped(life->disk) && !strstr(seen, "\"images\""))
		violated(life->matrix, life->disk, "memory mode saw no state: %s", seen);
	free(text);
	free(live);
	journal_close(journal);
	state_free(again);
}

/* --- lives */

static void life_end(struct life *life)
{
	if (!simdisk_stopped(life->disk)) {
		simdisk_stop_at(life->disk,
		                1); /* killed: whatever it does from now on did not happen */
		simdisk_steps(life->disk);
	}
	journal_close(life->journal);
	state_free(life->state);
	simdisk_kill(life->disk);
}

/* False: refused, or stopped on the way. */
static bool life_start(struct life *life, bool check)
{
	struct journal_args args;
	struct err err = { 0 };
	char *seen = NULL;

	life->matrix->starts++;
	life->state = state_new();
	args = args_for(life->state, JOURNAL_SERVE);
	if (check && life->matrix->starts % PEEK_EVERY == 0)
		seen = peek(life);
	life->journal = journal_open(&args, &life->report, &err);
	if (!life->journal && !simdisk_stopped(life->disk) && err.code == CODE_DATA_LOSS &&
	    !life->ghost->rotted)
		violated(life->matrix, life->disk, "b: %s", err.msg);
	if (!life->journal && !simdisk_stopped(life->disk) && err.code != CODE_DATA_LOSS)
		violated(life->matrix, life->disk, "start: %s", err.msg);
	if (life->journal && check)
		check_start(life);
	if (life->journal && seen)
		check_peek(life, seen);
	free(seen);
	note_limbo(life);
	if (!life->journal || simdisk_stopped(life->disk))
		return false;
	if (journal_start(life->journal, life->matrix->loop, on_released, life, &err) < 0)
		fail_msg("journal_start: %s", err.msg);
	/* the helper has made a spare by now, and may have been stopped at it; BOOT was told with the start */
	if (simdisk_stopped(life->disk))
		return false;
	open_gate(life);
	return true;
}

static void play(struct life *life, const char *script)
{
	for (const char *p = script; *p && !simdisk_stopped(life->disk); p++) {
		switch (*p) {
		case 'S':
		case 'W':
		case 'L':
		case 'V':
			append_fact(life, *p);
			break;
		case 'R':
			append_reserve(life);
			break;
		case '!':
			simdisk_fail(life->disk, SIMDISK_FDATASYNC, 1, EIO, false);
			break;
		case '?':
			simdisk_fail(life->disk, SIMDISK_PWRITE, 1, EIO, false);
			break;
		case '^':
			simdisk_set_space(life->disk, simdisk_used(life->disk));
			break;
		case '_':
			simdisk_set_space(life->disk, 0);
			break;
		case 't':
			clock_virtual_advance(2 * NS_PER_S);
			break;
		default:
			ignore(loop_turn(life->matrix->loop, false)); /* the next one goes on */
		}
	}
	for (int i = 0; i < SETTLE_TURNS && !simdisk_stopped(life->disk); i++)
		if (!loop_turn(life->matrix->loop, true))
			break;
}

/* Run a life on @disk up to its stop (0: to its end, where it is killed). Returns the steps it took. */
static uint64_t run_life(struct matrix *m, struct simdisk *disk, struct ghost *ghost,
                         const char *script, uint64_t stop, bool check)
{
	struct life life = { .matrix = m, .disk = disk, .ghost = ghost };
	uint64_t before = simdisk_steps(disk);

	simdisk_use(disk);
	simdisk_stop_at(disk, stop);
	if (life_start(&life, check))
		play(&life, script);
	simdisk_set_space(disk, 0);
	before = simdisk_steps(disk) - before;
	life_end(&life);
	return before;
}

/* --- exploring */

struct branch {
	struct matrix *matrix;
	const struct ghost *ghost;
	unsigned life; /* that comes next: 1 or 2 */
	size_t n;
};

static void explore(struct matrix *m, const struct simdisk *disk, const struct ghost *ghost,
                    unsigned life, bool stops);

static void rot_all(struct matrix *m, const struct simdisk *disk, const struct ghost *ghost)
{
	size_t count = simdisk_rottable(disk);
	struct simdisk *good = simdisk_clone(disk);
	struct journal_report report;
	struct journal_args args = args_for(state_new(), JOURNAL_MEMORY);
	struct journal *journal;
	struct err err = { 0 };
	struct ghost rotted = *ghost;

	simdisk_use(good);
	journal = journal_open(&args, &report, &err);
	assert_non_null(journal);
	/* What the disk itself knows to be synced must not go unnoticed; nor, while power never failed, what was told as synced. */
	rotted.rotted = true;
	for (size_t i = 0; i < rotted.count; i++) {
		struct fact *f = &rotted.facts[i];

		f->must = f->told && !f->lost && has_fact(args.state, ghost, i) &&
		          (f->seq <= report.synced_seq || (f->is_synced && !ghost->was_cut));
	}
	journal_close(journal);
	state_free(args.state);
	simdisk_free(good);
	for (size_t i = 0; i < count; i++) {
		struct simdisk *bad = simdisk_clone(disk);
		struct ghost g = rotted;

		simdisk_rot_name(bad, i, m->trace[3], sizeof(m->trace[3]));
		simdisk_rot(bad, i);
		ignore(run_life(m, bad, &g, "", 0, true) == 0); /* it is the start that counts */
		simdisk_free(bad);
		m->points++;
	}
	m->trace[3][0] = '\0';
}

static void on_outcome(void *arg, struct simdisk *outcome)
{
	struct branch *branch = arg;
	struct matrix *m = branch->matrix;
	struct ghost ghost = *branch->ghost;
	size_t n = branch->n++;

	ghost.was_cut = true;
	if (first_time(m, simdisk_hash(outcome) ^ ghost_hash(&ghost, branch->life))) {
		m->outcomes++;
		assert_true(strlen(m->trace[branch->life - 1]) < sizeof(m->trace[0]) - 24);
		explore(m, outcome, &ghost, branch->life, m->outcomes % m->scenario->nested == 0);
		if (m->scenario->rot && m->outcomes % (16 * m->scenario->rot) == 0)
			rot_all(m, outcome, &ghost);
	}
	simdisk_free(outcome);
	(void)n;
}

/* The process is gone: what may be on the disk now, and what a next life makes of it. */
static void aftermath(struct matrix *m, struct simdisk *disk, const struct ghost *ghost,
                      unsigned life)
{
	struct branch branch = { .matrix = m, .ghost = ghost, .life = life };
	char *trace = m->trace[life - 1];
	size_t len = strlen(trace);

	if (first_time(m, simdisk_hash(disk) ^ ghost_hash(ghost, life))) {
		m->outcomes++;
		ignore(str_format(trace + len, sizeof(m->trace[0]) - len, ", killed")); /* fits */
		explore(m, disk, ghost, life, true);
		if (m->scenario->rot && m->outcomes % m->scenario->rot == 0)
			rot_all(m, disk, ghost);
	}
	ignore(str_format(trace + len, sizeof(m->trace[0]) - len, ", power cut")); /* fits */
	ignore(simdisk_power_cuts(disk, m->scenario->cuts, m->points, on_outcome, &branch) ==
	       0); /* there is always one */
	trace[len] = '\0';
}

/* @disk is what life number @life finds. With @stops it is stopped at each step; always it is run to its end. */
static void explore(struct matrix *m, const struct simdisk *disk, const struct ghost *ghost,
                    unsigned life, bool stops)
{
	const char *script = m->scripts[life];
	bool last = life == 2;
	struct simdisk *copy = simdisk_clone(disk);
	struct ghost g = *ghost;
	uint64_t steps = run_life(m, copy, &g, script, 0, true);

	if (!last) {
		ignore(str_format(m->trace[life], sizeof(m->trace[0]), "life %u: to its end",
		                  life + 1)); /* fits */
		aftermath(m, copy, &g, life + 1);
	}
	simdisk_free(copy);
	for (uint64_t n = 1; stops && !last && n <= steps; n++) {
		copy = simdisk_clone(disk);
		g = *ghost;
		m->points++;
		run_life(m, copy, &g, script, n, false);
		ignore(str_format(m->trace[life], sizeof(m->trace[0]), "life %u: step %llu of %llu",
		                  life + 1, /* fits */
		                  (unsigned long long)n, (unsigned long long)steps));
		aftermath(m, copy, &g, life + 1);
		simdisk_free(copy);
	}
	m->trace[life][0] = '\0';
}

static void run_scenario(const struct scenario *scenario)
{
	struct matrix m = { .scenario = scenario,
		            .scripts = { scenario->first, scenario->second, "" } };
	struct simdisk *disk = simdisk_new();
	struct ghost ghost = { 0 };
	struct err err = { 0 };

	clock_virtual_set(INT64_C(1700000000) * NS_PER_S);
	rand_seed_for_tests(42);
	log_set_level((enum log_level)0); /* failures are what this is about */
	m.loop = loop_new(&err);
	assert_non_null(m.loop);
	explore(&m, disk, &ghost, 0, true);
	printf("%-28s %7zu stops, %7zu different disks, %7zu starts\n", scenario->name, m.points,
	       m.outcomes, m.starts);
	simdisk_free(disk);
	loop_free(m.loop);
	free(m.seen);
}

static void synced_and_written_records_in_separate_batches(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "separate batches", "S W S WW W ", "W S ", .cuts = 64,
	                                 .nested = 16, .rot = 1 });
}

static void batches_that_share_a_block(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "shared blocks", "WSW SSS W W S", "WW S", .cuts = 64,
	                                 .nested = 16, .rot = 1 });
}

static void batches_of_several_blocks(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "large batches", "LW SL ", "L S", .cuts = 32, .nested = 64,
	                                 .rot = 4 });
}

static void copies_of_several_blocks(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "large copies", "S VV V W ", "W ", .cuts = 32, .nested = 8,
	                                 .rot = 4 });
}

static void rotations_and_a_snapshot(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "rotation and snapshot", "L LW L L WL L", "LW S",
	                                 .cuts = 8, .nested = 400, .rot = 16 });
}

static void a_failing_fdatasync(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "fdatasync fails", "S W  !S W   S ", "W S ", .cuts = 32,
	                                 .nested = 64 });
}

static void a_failing_write(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "write fails", "S W  ?SW S  W S ", "W S ", .cuts = 32,
	                                 .nested = 64 });
}

static void a_failure_in_the_middle_of_a_rotation(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "fails while rotating", "L LW  !LLS W  S ", "W L ",
	                                 .cuts = 8, .nested = 400 });
}

static void a_full_disk_and_the_way_out(void **arg UNUSED)
{
	run_scenario(&(struct scenario){ "full disk", "^L L LtW S L L R R S t_S W ", "W S ",
	                                 .cuts = 8, .nested = 400 });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(synced_and_written_records_in_separate_batches),
		cmocka_unit_test(batches_that_share_a_block),
		cmocka_unit_test(batches_of_several_blocks),
		cmocka_unit_test(copies_of_several_blocks),
		cmocka_unit_test(rotations_and_a_snapshot),
		cmocka_unit_test(a_failing_fdatasync),
		cmocka_unit_test(a_failing_write),
		cmocka_unit_test(a_failure_in_the_middle_of_a_rotation),
		cmocka_unit_test(a_full_disk_and_the_way_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
