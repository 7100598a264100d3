/* core/run/runtime_info.h
 *
 * What an OCI runtime can carry and what this host lets us hand to a container: facts, found out once at start. The part of the
 * runtimes that the spec builder may know.
 */
#ifndef CORACLE_CORE_RUN_RUNTIME_INFO_H
#define CORACLE_CORE_RUN_RUNTIME_INFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "core/base/attr.h"
#include "core/base/err.h"

enum runtime_kind { RUNTIME_OTHER, RUNTIME_CRUN, RUNTIME_RUNC };

/* What not every runtime carries; the table in runtime.c says from which version on, and where `features` tells. */
enum runtime_feature {
	RUNTIME_RRO,            /* mount options rro, rnosuid, ... */
	RUNTIME_IDMAP,          /* mounts[].uidMappings, gidMappings */
	RUNTIME_DOMAINNAME,     /* domainname */
	RUNTIME_TIME_NAMESPACE, /* linux.timeOffsets, time namespace */
	RUNTIME_SCHEDULER,      /* process.scheduler */
	RUNTIME_IO_PRIORITY,    /* process.ioPriority */
	RUNTIME_CPU_AFFINITY,   /* process.execCPUAffinity */
	RUNTIME_NET_DEVICES,    /* linux.netDevices */
	RUNTIME_MEMORY_POLICY,  /* linux.memoryPolicy */
	RUNTIME_RDT,            /* linux.intelRdt.closID, l3CacheSchema */
	RUNTIME_RDT_SCHEMATA,   /* linux.intelRdt.schemata */
	RUNTIME_RDT_MONITORING, /* linux.intelRdt.enableMonitoring */
	RUNTIME_CPU_BURST,      /* linux.resources.cpu.burst */
	RUNTIME_CPU_IDLE,       /* linux.resources.cpu.idle */
	RUNTIME_PERSONALITY,    /* linux.personality */
	RUNTIME_SECCOMP,        /* linux.seccomp */
	RUNTIME_SECCOMP_NOTIFY, /* linux.seccomp.listenerPath */
	RUNTIME_APPARMOR,       /* process.apparmorProfile */
	RUNTIME_SELINUX,        /* process.selinuxLabel */
	RUNTIME_CGROUP_V1,
	RUNTIME_CGROUP_V2,
	RUNTIME_SYSTEMD_CGROUP, /* --systemd-cgroup */
	RUNTIME_EXEC_CGROUP,    /* exec --cgroup */
	RUNTIME_FEATURES,
};

struct runtime_info {
	char *name;    /* handler */
	char *path;    /* of the program; NULL: not found */
	char *sandbox; /* controller key: "pinned" or "pause" */
	enum runtime_kind kind;
	char *program;     /* "crun", as it calls itself */
	char *version;     /* "1.8.1", "1.1.5+ds1"; NULL: unknown */
	uint32_t number;   /* 1.8.1 -> 1008001; 0: unknown */
	uint64_t features; /* 1 << enum runtime_feature: known to be there */
	char *problem;     /* NULL: usable; else one sentence */
	char *features_json; /* what `NAME features` said, for Status and check; NULL: it has no such command */
};

/* What this process may hand to a container, found out once (D22). The OCI runtime fails on what lies beyond. */
struct host_limits {
	bool cap_sys_resource;
	int oom_score_adj; /* ours: without the capability a child cannot go below it */
	bool can_lower_oom;
	uint64_t rlimit_max
		[RLIM_NLIMITS]; /* by RLIMIT_x: the highest hard limit that can be set; UINT64_MAX: unlimited */
	char note[200]; /* one sentence for the log when something is limited, else "" */
};

bool runtime_has(const struct runtime_info *info, enum runtime_feature feature);
/* FAILED_PRECONDITION "crun 1.8.1 cannot apply process.scheduler (crun 1.8.5 and later can)"; wrap it with who asked. */
NODISCARD int runtime_require(const struct runtime_info *info, enum runtime_feature feature,
                              struct err *err);

/* The score that can be set: @adj, or ours where that would have to be lowered without CAP_SYS_RESOURCE. */
int runtime_clamp_oom(const struct host_limits *limits, int adj);
/* The value that can be set, of "RLIMIT_NOFILE" and the like; an unknown name leaves @value to the runtime's judgement. */
uint64_t runtime_clamp_rlimit(const struct host_limits *limits, const char *name, uint64_t value);
/* Find out about this process; runtime_new() does. */
void host_limits_detect(struct host_limits *ret);
const char *runtime_feature_field(enum runtime_feature feature); /* OCI name, "process.scheduler" */

#endif
