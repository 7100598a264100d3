/* core/life/life_internal.h
 *
 * What the operations share. Private to core/life.
 */
#ifndef CORACLE_CORE_LIFE_LIFE_INTERNAL_H
#define CORACLE_CORE_LIFE_LIFE_INTERNAL_H

#include "core/base/map.h"
#include "core/life/life.h"
#include "core/life/outbox.h"
#include "core/state/record.pb.h"

#define CHILD_TIMEOUT_MS                                                                           \
	120000 /* our own children; OCI runtimes and CNI plugins have theirs in the configuration */
#define CLEANUP_TIMEOUT_MS 60000
#define MOUNT_TIMEOUT_MS   30000

struct life {
	struct life_args args; /* engine's objects, borrowed */
	struct loop *loop;
	const struct state *state;
	struct journal *journal;
	struct outbox *outbox;

	/* directories, heap */
	char *root, *state_dir;
	char *ops_dir;        /* <state>/ops */
	char *sandboxes_dir;  /* <state>/sandboxes/<id>: resolv.conf, hostname, shm */
	char *containers_dir; /* <root>/containers/<id>: what outlives a reboot with the container */
	uint8_t boot_id[16];
	struct pb_arena *scratch; /* one record's id at a time */

	struct list ops;          /* struct op */
	struct list wait_records; /* struct op.wait_link, by wait_seq */
	struct map turns;         /* key -> struct turn_queue */
	struct map creating;      /* name index key -> struct op that makes it (D7) */
	struct map starting;      /* container id -> struct op of its start */
	struct map exiting; /* container id -> set while its EXITED is appended and not released */
	struct map adopted; /* container id -> struct adopted: init watched without a monitor */
	struct map
		old_locks; /* object id -> struct old_lock: children of an earlier daemon work for it */
	struct loop_timer old_lock_timer;
	struct map cleaned;     /* container ids whose runtime `delete` is done in this life */
	struct list exit_waits; /* struct exit_wait */
	struct list left_locks; /* of operations that have ended: somebody holds them on */
	struct list image_jobs; /* struct image_add: what they pin is not deleted */
	uint64_t op_serial,
		first_serial;    /* the last one given out; before the first of this life */
	int64_t last_created_ns; /* handed out, perhaps not on record yet */

	struct loop_defer scan;   /* the spool wants a look */
	struct loop_timer rescan; /* appending an exit failed: look again */
	struct log_limit unknown_limit;

	uint64_t replay_seq; /* its release ends the recovery; 0: not waited for */
	void (*replay_done)(void *arg);
	void *replay_arg;
	struct loop_defer replay_defer;
	struct replay_rest *
		replay_rest; /* of the recovery, while reads are served already; NULL: nothing left */

	void (*stopped)(void *arg);
	void *stopped_arg;
	struct loop_timer stop_timer;
	struct loop_defer stop_defer;
	bool stopping;
};

/* --- life.c */
void life_stop_check(struct life *life); /* stopping: are all running steps at their end? */
/* The object that a released record is about. */
const struct sandbox *life_record_sandbox(const struct life *life, const struct record *rec);
const struct container *life_record_container(const struct life *life, const struct record *rec);
/* Look at every record in the spool, soon. */
void life_scan_soon(struct life *life);
/* A fresh created_ns: larger than any on record and in this life (D28). */
int64_t life_created_ns(struct life *life);
char *life_sandbox_dir(const struct life *life, const char *id);   /* heap */
char *life_container_dir(const struct life *life, const char *id); /* heap */
/* Tie a caller to an operation, or answer it from the loop without one. */
void life_wait_op(struct life_wait *wait, struct life *life, struct op *op);
void life_answer(struct life_wait *wait, struct life *life, const char *id, const struct err *err);

/* Owed-plugin mask of an undo, as names: arrays borrowed from @names (PLUGIN_MAX). */
void removing_plugins(const struct life *life, uint64_t mask, rec_Removing *msg,
                      char *names[PLUGIN_MAX]);

/* Who waits for a container's released EXITED. */
struct exit_wait {
	struct list link;
	char id[ID_SIZE];
	struct op *op; /* resumed with STEP_WAIT */
};
void exit_wait_add(struct life *life, struct exit_wait *wait, const char *id, struct op *op);
void exit_wait_remove(struct exit_wait *wait);

/* --- op.c */
void left_locks_free(struct life *life);

/* --- exit.c */
void life_exit_released(struct life *life, const struct container *c);
void life_adopt(struct life *life, const struct container *c); /* watch init without a monitor */
/* 8.4 row 4: where is the truth about this RUNNING container, whose monitor does not answer? */
void life_probe(struct life *life, const struct container *c);
void life_adopted_retry(struct life *life); /* after the journal refused an exit: look again */
void life_exits_free(struct life *life);

/* --- old_lock.c */
void old_locks_init(struct life *life);
void old_locks_free(struct life *life);
/* Look at the lock files that are there: none of them is this daemon's. Their holders get @timeout_ms. */
void old_locks_find(struct life *life, int64_t timeout_ms);
char **old_lock_ids(const struct life *life); /* objects that have lock files; strv */
bool old_lock_is_held(const struct life *life, const char *id);

/* --- replay.c, image_ops.c, container_exec.c: what a start finds */
void replay_init(struct life *life);
void replay_free(struct life *life);
void replay_released(struct life *life, uint64_t seq);
/* Layers, documents and staging that no image owns: removed, or only counted. */
size_t images_sweep(struct life *life, bool act);
/* An image that was removed while containers used it goes with the last of them. */
void life_image_unused(struct life *life, const char *image_id);
/* Kill and remove the exec-<n> cgroups that an earlier daemon left in @c. */
void exec_sweep(struct life *life, const struct container *c);

/* --- shared steps */
/* Host id of a user namespace's root; 0 without one. */
uint32_t id_map_root(const struct id_maps *maps);
NODISCARD int life_copy_pairs(struct pb_arena *arena, const struct pairs *pairs,
                              rec_Pair **ret_items, pb_size_t *ret_count);
/* REMOVING again, with the step whose undo failed; not waited for. */
void life_record_stuck(struct op *op, enum record_kind kind);
/* RESOURCES of a pod or container. */
NODISCARD enum step op_record_resources(struct op *op, enum record_kind kind,
                                        const struct bytes *resources);
/* Detach and remove all that has the container's name: bundle, writable layer, directory, monitor files. */
NODISCARD enum step container_files_remove(struct op *op);
/* `runtime delete --force`, once per life. */
NODISCARD enum step container_runtime_delete(struct op *op, const struct container *c);
/* Steps that RunPodSandbox's undo and StopPodSandbox share; the pod is op->sandbox_id. */
NODISCARD enum step sandbox_files_remove(struct op *op);
NODISCARD enum step sandbox_unpin(struct op *op);
NODISCARD enum step sandbox_network_delete(struct op *op);
NODISCARD enum step sandbox_pause_remove(struct op *op);
struct op *sandbox_stop_new(const struct sandbox *sb, bool remove);
/* READY, and its pins or its files on the run directory are gone: after a reboot, or by somebody's hand. */
bool sandbox_is_lost(const struct life *life, const struct sandbox *sb);
/* OCI spec of the hidden container. */
NODISCARD enum step pause_spec(struct op *op, const struct sandbox *sb, char **ret_json);
/* The hidden container of a `pause` pod. */
struct op *pause_create_new(struct life *life, const struct sandbox *sb);
/* Children for stop and remove; inherit the parent's turns. */
struct op *container_stop_new(struct life *life, const struct container *c, int64_t timeout_ms,
                              bool own_turn);
int signal_parse(const char *text);
/* NULL: nothing quarantined under that id. */
struct op *quarantine_remove_new(struct life *life, const char *id);
struct op *container_remove_new(struct life *life, const struct container *c, bool own_turn);
/* Runtime delete, monitor files, cgroup: after an exit, and for what a dead daemon left. Idempotent. */
struct op *container_clean_new(struct life *life, const struct container *c);
struct op *container_start_new(struct life *life, const char *id, const char *sandbox_id,
                               bool own_turn);
/* Continue what a crash or a stuck clean-up left (replay, Stop, Remove). */
struct op *sandbox_undo_start(struct life *life, const struct sandbox *sb);
struct op *container_undo_start(struct life *life, const struct container *c);

#endif
