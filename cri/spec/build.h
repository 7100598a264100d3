/* cri/spec/build.h
 *
 * What the parts of the builder share: one struct build per container, filled by base.c, then handed from part to part in the
 * order in which later ones win. Each part looks at one area of the request and writes one area of the spec.
 */
#ifndef CORACLE_CRI_SPEC_BUILD_H
#define CORACLE_CRI_SPEC_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/attr.h"
#include "core/base/err.h"
#include "core/base/pb.h"
#include "core/life/life.h"
#include "core/run/spec.h"
#include "cri/proto/cri.h"
#include "cri/spec/image_process.h"

/* What decides about a spec besides the request; read from the machine once per build, made up by tests. */
struct host_facts {
	bool cgroup2; /* /sys/fs/cgroup is version 2 */
	bool cgroup_nsdelegate,
		cgroup_recursiveprot; /* options it is mounted with: a second mount must repeat them */
	bool swap, hugetlb;           /* there are controllers for them */
	bool seccomp;                 /* filters can be loaded */
	bool apparmor;                /* compiled in and switched on */
	uint64_t capabilities;        /* 1 << CAP_x: what this process may hand on */
	char hostname[65];
};
NODISCARD int host_facts_read(struct host_facts *ret, struct err *err);

struct build {
	const struct spec_input *in;
	const struct host_facts *host;
	const cri_PodSandboxConfig *pod;
	const cri_ContainerConfig *config;
	const cri_LinuxSandboxSecurityContext *pod_security; /* absent parts read as zeros */
	const cri_LinuxContainerSecurityContext *security;
	struct image_process image;
	bool userns; /* the pod has a user namespace of its own */
	bool host_network,
		host_ipc; /* it has none of its own of these (with the network goes UTS) */
	struct spec spec;
};

#define SECURITY_FIELD "config.linux.security_context"

/* INVALID_ARGUMENT "config.<field>: ..." */
int build_invalid(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* base.c: the whole, with facts given */
NODISCARD int spec_build(const struct spec_input *in, const struct host_facts *host,
                         char **ret_json, struct err *err);
/* The image's root user as the host sees it: 0, or what the user namespace makes of it. */
uint32_t build_root_uid(const struct build *build);
uint32_t build_root_gid(const struct build *build);

/* security.c: capabilities, privileges, profiles, hidden paths */
NODISCARD int build_capabilities(struct build *build, struct err *err);
NODISCARD int build_security(struct build *build, struct err *err);

/* seccomp_default.c: the profile RuntimeDefault for what may be in @bounding (1 << CAP_x) */
void seccomp_default(struct spec *spec, uint64_t bounding);

/* mounts.c */
NODISCARD int build_mounts(struct build *build, struct err *err);

/* resources.c */
NODISCARD int build_resources(struct build *build, struct err *err);

/* devices.c */
NODISCARD int build_devices(struct build *build, struct err *err);

/* identity.c: process.user */
NODISCARD int build_user(struct build *build, struct err *err);

/* capability.c */
#define CAPABILITY_COUNT 41
/* "CAP_CHOWN" */
const char *capability_name(int cap);
/* "chown", "CHOWN", "CAP_CHOWN": its number, or -1. */
int capability_find(const char *name);

#endif
