/* core/image/confine.h
 *
 * What the two image processes give up before they look at a single byte from outside.
 *
 *		   pull (parses everything)	   unpack (writes files)
 *   identity	   nobody			   root
 *   capabilities  none				   CHOWN DAC_OVERRIDE FOWNER FSETID MKNOD SETFCAP SYS_ADMIN (trusted.* xattrs)
 *   sees	   its spool directory		   the staging directory; committed layers, read-only
 *   system calls  files, memory, threads,	   files, fork; nothing that mounts, loads, traces or
 *		   sockets (registry pulls)	   changes namespaces
 *   both	   no new privileges, not dumpable, own mount namespace with a pivoted root, no core file
 */
#ifndef CORACLE_CORE_IMAGE_CONFINE_H
#define CORACLE_CORE_IMAGE_CONFINE_H

#include <stdbool.h>

#include "core/base/attr.h"
#include "core/base/err.h"

enum confine_role {
	CONFINE_IMPORT, /* pull process without network */
	CONFINE_REGISTRY,
	CONFINE_UNPACK,
};

struct confine_bind {
	const char *from; /* missing: skipped */
	const char *to;   /* below the new root, "/" in front */
};

/*
 * confine_root - own mount namespace whose root is @root (nosuid, nodev, noexec for the pull roles); @binds appear in it
 * read-only. The old root is gone afterwards.
 */
NODISCARD int confine_root(enum confine_role role, const char *root,
                           const struct confine_bind *binds, size_t nbinds, struct err *err);

/* confine_self - limits, identity, capabilities, no new privileges and the system call filter, in that order. */
NODISCARD int confine_self(enum confine_role role, struct err *err);

#define CONFINE_UID 65534
#define CONFINE_GID 65534

#endif
