/* core/run/cgroup.h
 *
 * Control groups, version 1, version 2 and the hybrid of both (version 1 controllers beside a bare version 2 tree).
 * A cgroup is named by its path below the hierarchies' roots; the same path is used in every hierarchy, as the OCI
 * runtimes do.
 *
 * Thread: struct cgroup_host is immutable after cgroup_host_new(); all functions that take it const may run in a worker
 *         and do block (cgroupfs, up to their time-out). The loop itself only reads kept-open files (cgroup_files_read).
 */
#ifndef CORACLE_CORE_RUN_CGROUP_H
#define CORACLE_CORE_RUN_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/proc.h"
#include "core/base/str.h"

enum cgroup_mode {
	CGROUP_NONE, /* nothing mounted: containers cannot run */
	CGROUP_V1,
	CGROUP_HYBRID, /* v1 controllers, and a v2 tree without them */
	CGROUP_V2,
};

enum cgroup_controller {
	CGROUP_CPU,
	CGROUP_CPUACCT, /* v2: part of cpu */
	CGROUP_CPUSET,
	CGROUP_MEMORY,
	CGROUP_PIDS,
	CGROUP_IO, /* v1: blkio */
	CGROUP_HUGETLB,
	CGROUP_FREEZER, /* v2: always there */
	CGROUP_DEVICES, /* v2: eBPF, always there */
	CGROUP_SYSTEMD, /* v1: name=systemd */
	CGROUP_CONTROLLERS,
};

#define CGROUP_HAS(controller) (1u << (controller))
#define CGROUP_HIERARCHIES_MAX 24

struct cgroup_hierarchy {
	char *mount; /* "/sys/fs/cgroup/memory" */
	char *root;  /* the part of the hierarchy that is mounted there, "/" normally */
	char *name;  /* "memory", "cpu,cpuacct", "name=systemd"; "" for v2 */
	bool v2;
	uint32_t has; /* CGROUP_HAS(enum cgroup_controller) */
	char *own; /* the daemon's cgroup below mount: "" (root) or "/system.slice/coracle.service"; NULL: unknown */
};

struct cgroup_host {
	enum cgroup_mode mode;
	struct cgroup_hierarchy hierarchies[CGROUP_HIERARCHIES_MAX];
	size_t nhierarchies;
	bool swap; /* containers can have a swap limit */
};

/* From /proc/self/mountinfo and /proc/self/cgroup. NONE is an answer, not an error. */
NODISCARD struct cgroup_host *cgroup_host_new(struct err *err);
/* The pure part: as if these mounts and this /proc/self/cgroup had been read. */
NODISCARD struct cgroup_host *cgroup_host_parse(const struct proc_mount *mounts, size_t nmounts,
                                                const char *self_cgroup);
/* Adds what the files below the mounts tell, as cgroup_host_new() does: version 2's controllers, swap. */
void cgroup_host_look_closer(struct cgroup_host *host);
/* Has a version 2 cgroup @file? Not asked of the root, which lacks many. */
bool cgroup_shows(const struct cgroup_hierarchy *h, const char *file);
void cgroup_host_free(struct cgroup_host *host);
const char *cgroup_mode_name(enum cgroup_mode mode); /* "v1" "hybrid" "v2" "none" */
const char *
cgroup_controller_name(enum cgroup_controller c); /* OCI and kernel name, v1 style ("blkio") */
/* The hierarchy that has @controller (v2 in CGROUP_V2 mode), or NULL. */
const struct cgroup_hierarchy *cgroup_find(const struct cgroup_host *host,
                                           enum cgroup_controller controller);
/* One line for log and Status: "cgroup v1 (hybrid); missing: hugetlb; no swap accounting". */
void cgroup_describe(const struct cgroup_host *host, char *text, size_t size);

/* --- names (cgroup_path.c) */

/* Longest directory: leaves room for the mount point, an exec's name and a file's. */
#define CGROUP_DIR_MAX 1024

/*
 * cgroup_oci_path - OCI linux.cgroupsPath of a container (or pause container) @id under @parent.
 * A parent whose last element ends in ".slice" gives the systemd form "kubepods-pod1.slice:coracle:<id>", any other
 * "<parent>/<id>", an empty one "/coracle/<id>". Heap.
 * Errors: INVALID_ARGUMENT naming the parent ("..", a ':' in it, too long).
 */
NODISCARD char *cgroup_oci_path(const char *parent, const char *id, struct err *err);
/* True for "slice:prefix:name": the runtime then needs --systemd-cgroup. */
bool cgroup_path_is_systemd(const char *oci_path);
/*
 * cgroup_dir - the path below the hierarchies' roots that the runtimes make of an OCI path: "/a.slice/a-b.slice/
 * coracle-<id>.scope", "/kubepods/pod1/<id>". Heap, always with a leading '/'. Also accepts a pod's cgroup_parent
 * ("kubepods-pod1.slice" is expanded).
 */
NODISCARD char *cgroup_dir(const char *oci_path, struct err *err);

/* --- directories and processes; @dir as from cgroup_dir() */

/* mkdir -p in every hierarchy; v1 cpusets inherit cpus and mems, without which nothing can be put into them. */
NODISCARD int cgroup_create(const struct cgroup_host *host, const char *dir, struct err *err);
/* Remove it with all below (exec-<n>, what the container nested), in every hierarchy; missing: fine. EBUSY is retried
 * until @timeout_ms, then FAILED_PRECONDITION naming the directory and a process in it. */
NODISCARD int cgroup_remove(const struct cgroup_host *host, const char *dir, int64_t timeout_ms,
                            struct err *err);
/* SIGKILL every process at and below @dir until none is left: v2 cgroup.kill; v1 freeze, kill, thaw. Missing: fine.
 * DEADLINE_EXCEEDED names a survivor. */
NODISCARD int cgroup_kill(const struct cgroup_host *host, const char *dir, int64_t timeout_ms,
                          struct err *err);
NODISCARD bool cgroup_exists(const struct cgroup_host *host, const char *dir);
/* Processes at and below @dir, in any hierarchy; at most @max are filled in, the count of all is returned; -1 on error. */
NODISCARD ssize_t cgroup_procs(const struct cgroup_host *host, const char *dir, pid_t *ret,
                               size_t max, struct err *err);
NODISCARD int cgroup_move(const struct cgroup_host *host, const char *dir, pid_t pid,
                          struct err *err);
/* Names of the cgroups directly below @dir (any hierarchy), sorted; missing: an empty list. */
NODISCARD int cgroup_list(const struct cgroup_host *host, const char *dir, char ***ret_names,
                          struct err *err);

/* --- exec sub-cgroups (D6): <container dir>/exec-<n> */

/* Make exec-<n> below @dir and return its name (what the runtimes' --cgroup takes) in @ret_name. */
#define CGROUP_EXEC_NAME 32
NODISCARD int cgroup_exec_create(const struct cgroup_host *host, const char *dir, uint64_t n,
                                 char ret_name[CGROUP_EXEC_NAME], struct err *err);
/* Kill and remove it. */
NODISCARD int cgroup_exec_remove(const struct cgroup_host *host, const char *dir, const char *name,
                                 int64_t timeout_ms, struct err *err);
/* Kill and remove every exec-<n> with n < @below (what an earlier daemon left); how many there were, -1 on error. */
NODISCARD int cgroup_exec_sweep(const struct cgroup_host *host, const char *dir, uint64_t below,
                                int64_t timeout_ms, struct err *err);
bool cgroup_is_exec_name(const char *name);
/*
 * cgroup_dir_of - where @pid is now, as from cgroup_dir(); heap. A runtime may put a container one level below the path it
 * was told (crun with systemd on v2: ".../coracle-<id>.scope/container"), and its exec sub-cgroups are relative to that.
 */
NODISCARD char *cgroup_dir_of(const struct cgroup_host *host, pid_t pid, struct err *err);

/* --- the monitors' cgroup */

/*
 * cgroup_monitors_open - make "<own cgroup>/monitors" (its name carries a key of @state unless that is the default
 * directory, and "coracle-" where the daemon lives in the root) in the one hierarchy by which the service manager tracks
 * processes, and open what child_args.cgroup_fd takes: the v2 directory, or v1's cgroup.procs.
 * No controller is enabled: the service manager can still put the next main process into the service's cgroup.
 */
NODISCARD int cgroup_monitors_open(const struct cgroup_host *host, const char *state, int *ret_fd,
                                   struct err *err);
/* Closes @fd, and removes the cgroup unless monitors live in it. */
void cgroup_monitors_close(int fd);

/* --- statistics */

struct cgroup_psi_line {
	uint32_t avg10_c, avg60_c, avg300_c; /* hundredths of a percent */
	uint64_t total_us;
};

struct cgroup_psi {
	bool has;
	struct cgroup_psi_line some, full;
};

#define CGROUP_PAGE_SIZES_MAX 8
#define CGROUP_IO_MAX         32

struct cgroup_hugetlb {
	char page_size[16]; /* "2MB" */
	uint64_t usage, max_usage, failcnt;
};

struct cgroup_io {
	uint32_t major, minor;
	uint64_t read_bytes, write_bytes, reads, writes, discard_bytes, discards;
};

struct cgroup_stats {
	int64_t time_ns; /* wall clock of the reading */

	bool has_cpu;
	uint64_t cpu_usage_ns, cpu_user_ns, cpu_system_ns;
	uint64_t cpu_periods, cpu_throttled_periods, cpu_throttled_ns;
	uint64_t cpu_shares, cpu_period_us; /* as set; 0: unknown */
	int64_t cpu_quota_us;               /* -1: none */

	bool has_memory;
	uint64_t memory_usage, memory_working_set, memory_rss;
	uint64_t memory_limit, memory_available; /* 0: no limit */
	uint64_t page_faults, major_page_faults;
	uint64_t memory_cache, memory_mapped_file, memory_kernel;
	uint64_t memory_active_file, memory_inactive_file;
	uint64_t memory_max_usage, memory_failcnt;
	uint64_t oom_kills;

	bool has_swap;
	uint64_t swap_usage, swap_limit, swap_available; /* of swap alone; limit 0: none set */

	bool has_pids;
	uint64_t pids, pids_limit; /* limit 0: none */

	struct cgroup_hugetlb hugetlb[CGROUP_PAGE_SIZES_MAX];
	size_t nhugetlb;
	struct cgroup_io io[CGROUP_IO_MAX];
	size_t nio;
	struct cgroup_psi cpu_psi, memory_psi, io_psi;
};

struct cgroup_files;

/* Opens what every reading needs (4 descriptors on v1, up to 10 on v2) and keeps it; NULL and NOT_FOUND when the cgroup is
 * gone. @host is borrowed for the life of the files. */
NODISCARD struct cgroup_files *cgroup_files_open(const struct cgroup_host *host, const char *dir,
                                                 struct err *err);
void cgroup_files_free(struct cgroup_files *files);
/*
 * cgroup_files_read - one reading. @all false: cpu, memory, pids, swap and pressure, from kept-open files alone; true: also
 * limits, throttling, hugetlb, io, which opens files (worker).
 * Errors: NOT_FOUND when the cgroup was removed meanwhile.
 */
NODISCARD int cgroup_files_read(struct cgroup_files *files, bool all, struct cgroup_stats *ret,
                                struct err *err);

/* Parsers of the kernel's text: pure, take anything, set what they find and leave the rest. */
void cgroup_parse_cpu_stat_v2(struct str text, struct cgroup_stats *stats);
void cgroup_parse_memory_stat_v2(struct str text, struct cgroup_stats *stats);
void cgroup_parse_memory_events(struct str text, struct cgroup_stats *stats);
void cgroup_parse_memory_stat_v1(struct str text, struct cgroup_stats *stats);
void cgroup_parse_cpu_stat_v1(struct str text, struct cgroup_stats *stats);
void cgroup_parse_io_stat_v2(struct str text, struct cgroup_stats *stats);
void cgroup_parse_blkio_v1(struct str bytes, struct str ops, struct cgroup_stats *stats);
void cgroup_parse_psi(struct str text, struct cgroup_psi *psi);
/* "max" and v1's "unlimited" (>= 2^62) give 0; -1 when it is no number. */
NODISCARD int cgroup_parse_limit(struct str text, uint64_t *ret);

/* Conversion that the runtimes use between cpu.shares (2..262144) and cpu.weight (1..10000). */
uint64_t cgroup_weight_from_shares(uint64_t shares);
uint64_t cgroup_shares_from_weight(uint64_t weight);

DEFINE_CLEANUP_PTR(struct cgroup_host, cgroup_host_free);
DEFINE_CLEANUP_PTR(struct cgroup_files, cgroup_files_free);

#endif
